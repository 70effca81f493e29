// SPDX-License-Identifier: MIT OR Apache-2.0
//! What surrounds the TPer: the vault's keys, byte tables in the image, and one atomic step for
//! both.

use opal::Uid;
use opal::tper::platform::Grants;
use opal::tper::{Effect, Platform, SessionId, Vault as TperVault, VaultError as TperVaultError};
use zeroize::Zeroize;

use super::super::image::{Image, ImageError, PAGE, TableWrites};
use super::super::vault::{KeyName, LoadedKey, Vault, VaultError};
use crate::software::xts::Xts;

/// The MBR table (Core 2.01 table 241); its content is shown before authentication, so it is in
/// clear.
const MBR: u32 = 0x0804;

/// The platform of an emulated drive.
pub(in crate::emulator) struct DrivePlatform {
    /// None while a drive is being made, and after its image was taken for a power cycle.
    pub(in crate::emulator) image: Option<Image>,
    pub(in crate::emulator) vault: Vault,
    pub(in crate::emulator) power_cycles: u64,
    /// The operating system failed to give randomness: what was made with it must not be kept.
    random_failed: bool,
}

/// Why a step could not be made durable.
#[derive(Debug, thiserror::Error)]
pub(in crate::emulator) enum PersistError {
    /// Nothing was written; the step does not happen.
    #[error(transparent)]
    Refused(#[from] VaultError),
    /// The image failed; what it holds is only known after opening it again.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl DrivePlatform {
    pub(in crate::emulator) fn new(image: Option<Image>, vault: Vault, power_cycles: u64) -> Self {
        Self { image, vault, power_cycles, random_failed: false }
    }

    /// Makes a step durable: the TPer's state, the vault's records and what happens to byte tables.
    pub(in crate::emulator) fn persist(
        &mut self,
        state: &[u8],
        effects: &[Effect],
    ) -> Result<(), PersistError> {
        if self.random_failed {
            return Err(VaultError::Random.into());
        }
        let mut writes = TableWrites::default();
        for effect in effects {
            self.stage(&mut writes, effect)?;
        }
        let destroys = self.vault.destroys();
        let image = self.image.as_mut().ok_or(ImageError::Failed)?;
        image.commit(self.power_cycles, state, &self.vault, &writes, destroys)?;
        Ok(())
    }

    fn stage(&mut self, writes: &mut TableWrites, effect: &Effect) -> Result<(), PersistError> {
        match effect {
            Effect::WriteTable { table, offset, data } => {
                self.stage_write(writes, *table, *offset, data)
            }
            Effect::WipeTable { table, .. } => {
                let layout = self.image.as_ref().ok_or(ImageError::Failed)?.header().layout();
                if let Some((offset, room)) = layout.table(*table) {
                    writes.wipe(offset, room);
                }
                // The old ciphertext may live on in holes and journals; its key does not.
                let name = KeyName::Table(table.table());
                if self.vault.has_key(name) {
                    self.vault.new_key(name)?;
                }
                Ok(())
            }
            // The vault has made the new keys; old ciphertext is worth nothing.
            _ => Ok(()),
        }
    }

    fn stage_write(
        &mut self,
        writes: &mut TableWrites,
        table: Uid,
        offset: u64,
        data: &[u8],
    ) -> Result<(), PersistError> {
        let image = self.image.as_ref().ok_or(ImageError::Failed)?;
        let (start, room) = image.header().layout().table(table).ok_or(VaultError::Damaged)?;
        let end = offset.checked_add(data.len() as u64).ok_or(VaultError::Damaged)?;
        if end > room {
            return Err(VaultError::Damaged.into());
        }
        let key = match table.table() {
            MBR => None,
            row => {
                let key = self.vault.key_of_any_session(KeyName::Table(row));
                Some(key.ok_or(VaultError::Refused)?)
            }
        };
        let cipher = key.as_deref().map(LoadedKey::cipher).transpose()?;
        let mut left = data;
        let mut at = offset;
        while !left.is_empty() {
            let number = at / PAGE as u64;
            let inside = (at % PAGE as u64) as usize;
            let (now, later) = left.split_at(left.len().min(PAGE - inside));
            let position = start + number * PAGE as u64;
            let mut page = vec![0u8; PAGE];
            read_page(image, writes, position, &mut page)?;
            crypt_page(cipher, number, &mut page, Xts::decrypt)?;
            if let Some(target) = page.get_mut(inside..inside + now.len()) {
                target.copy_from_slice(now);
            }
            crypt_page(cipher, number, &mut page, Xts::encrypt)?;
            writes.set_page(position, page);
            at += now.len() as u64;
            left = later;
        }
        Ok(())
    }

    fn read_table_bytes(
        &self,
        session: Option<SessionId>,
        table: Uid,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), PersistError> {
        out.fill(0);
        let Some(image) = &self.image else { return Ok(()) };
        let Some((start, room)) = image.header().layout().table(table) else { return Ok(()) };
        let key = match table.table() {
            MBR => None,
            row => Some(self.vault.key(session, KeyName::Table(row)).ok_or(VaultError::Refused)?),
        };
        let cipher = key.as_deref().map(LoadedKey::cipher).transpose()?;
        let mut page = vec![0u8; PAGE];
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let inside = (at % PAGE as u64) as usize;
            let Some(target) = out.get_mut(done..) else { break };
            let now = target.len().min(PAGE - inside);
            if at + now as u64 > room {
                break;
            }
            let number = at / PAGE as u64;
            image.read(start + number * PAGE as u64, &mut page)?;
            crypt_page(cipher, number, &mut page, Xts::decrypt)?;
            if let (Some(target), Some(bytes)) =
                (target.get_mut(..now), page.get(inside..inside + now))
            {
                target.copy_from_slice(bytes);
            }
            done += now;
        }
        page.zeroize();
        Ok(())
    }
}

/// A page as this step has left it so far.
fn read_page(
    image: &Image,
    writes: &TableWrites,
    position: u64,
    page: &mut [u8],
) -> Result<(), ImageError> {
    match writes.page(position) {
        Some([]) => page.fill(0),
        Some(staged) if staged.len() == page.len() => page.copy_from_slice(staged),
        _ => image.read(position, page)?,
    }
    Ok(())
}

type Crypt = fn(&Xts, usize, u64, u64, &mut [u8]) -> Result<(), crate::software::xts::XtsError>;

/// A page is one XTS sector with its number as tweak. All zero means never written.
fn crypt_page(
    cipher: Option<&Xts>,
    number: u64,
    page: &mut [u8],
    crypt: Crypt,
) -> Result<(), VaultError> {
    let Some(cipher) = cipher else { return Ok(()) };
    if page.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    crypt(cipher, PAGE, number, 1, page).map_err(|_| VaultError::Damaged)
}

impl TperVault for DrivePlatform {
    fn begin(&mut self) {
        self.vault.begin();
        self.random_failed = false;
    }

    fn commit(&mut self) {
        self.vault.commit();
    }

    fn rollback(&mut self) {
        self.vault.rollback();
    }

    fn verify(&mut self, session: SessionId, authority: Uid, challenge: &[u8]) -> bool {
        self.vault.verify(session, authority, challenge)
    }

    fn forget(&mut self, session: SessionId, authority: Uid) {
        self.vault.forget(session, authority);
    }

    fn close_session(&mut self, session: SessionId) {
        self.vault.close_session(session);
    }

    fn set_pin(
        &mut self,
        session: SessionId,
        authority: Uid,
        pin: &[u8],
    ) -> Result<(), TperVaultError> {
        self.vault.set_pin(session, authority, pin).map_err(told)
    }

    fn copy_pin(&mut self, session: SessionId, from: Uid, to: Uid) -> Result<(), TperVaultError> {
        self.vault.copy_pin(session, from, to).map_err(told)
    }

    fn reset_pin(&mut self, authority: Uid, pin: &[u8]) -> Result<(), TperVaultError> {
        self.vault.reset_pin(authority, pin).map_err(told)
    }

    fn new_key(&mut self, range: u16) -> Result<(), TperVaultError> {
        self.vault.new_key(KeyName::Range(range)).map_err(told)
    }

    fn unlock(&mut self, session: Option<SessionId>, range: u16) -> Result<(), TperVaultError> {
        self.vault.unlock(session, KeyName::Range(range)).map_err(told)
    }

    fn lock(&mut self, range: u16) {
        self.vault.lock(KeyName::Range(range));
    }

    fn reseal(
        &mut self,
        session: Option<SessionId>,
        grants: &Grants,
    ) -> Result<(), TperVaultError> {
        self.vault.reseal(session, grants).map_err(told)
    }

    fn random(&mut self, out: &mut [u8]) {
        if getrandom::fill(out).is_err() {
            out.fill(0);
            self.random_failed = true;
        }
    }
}

impl Platform for DrivePlatform {
    fn read_table(
        &mut self,
        session: Option<SessionId>,
        table: Uid,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), TperVaultError> {
        self.read_table_bytes(session, table, offset, out).map_err(|error| {
            out.fill(0);
            match error {
                PersistError::Refused(error) => told(error),
                PersistError::Image(_) => TperVaultError::Failed,
            }
        })
    }
}

fn told(error: VaultError) -> TperVaultError {
    match error {
        VaultError::Refused => TperVaultError::Refused,
        VaultError::Random | VaultError::Damaged => TperVaultError::Failed,
    }
}
