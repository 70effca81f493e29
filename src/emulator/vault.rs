// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Vault`]: PINs and keys at rest, so that a locked, powered-off image gives nothing away.
//!
//! No PIN is stored. Each password authority with a PIN has an X25519 pair whose private half is
//! wrapped under a key derived from the PIN; opening the wrap is the PIN check. The vault pair is
//! sealed to every enabled administrator, and each data key to the vault and to the users whom an
//! ACE lets unlock it. Sealing needs public keys only. A data key is in clear exactly while access
//! control protects nothing: see [`opal::tper::RangeGrant::open`].
//!
//! An authority without a record has an empty PIN. It has no pair, and what would be sealed to it
//! is open instead.

mod records;
mod reseal;
mod seal;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use minicbor::{Decoder, Encoder};
use opal::Uid;
use opal::tper::{Grants, SessionId};

pub(in crate::emulator) use records::KeyName;
use records::{Authority, DataKey, Records};
use seal::{Pair, Purpose, SALT};

use crate::secret::Secret;
use crate::software::xts::Xts;

/// Why a key cannot be had or kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Nothing at hand opens what is needed.
    #[error("nothing in this session opens the key that is needed")]
    Refused,
    /// The operating system has no randomness to give.
    #[error("no randomness from the operating system")]
    Random,
    /// A record does not hold what it should.
    #[error("a key record in the image is damaged")]
    Damaged,
}

/// Keys at rest, and those that sessions and unlocked ranges have in memory.
pub(in crate::emulator) struct Vault {
    records: Records,
    memory: Memory,
    /// What [`Vault::rollback`] goes back to.
    staged: Option<Box<(Records, Memory)>>,
    /// The staged step replaced a data key.
    drop_old: bool,
}

/// What is gone at power-off.
#[derive(Clone, Default)]
struct Memory {
    sessions: BTreeMap<SessionId, BTreeMap<Uid, Arc<Credentials>>>,
    keys: BTreeMap<KeyName, Arc<LoadedKey>>,
    /// Private halves made in the present step: they can still be sealed.
    fresh: BTreeMap<Uid, Arc<Secret>>,
}

/// A data key in memory.
pub(in crate::emulator) struct LoadedKey {
    secret: Secret,
    cipher: OnceLock<Xts>,
}

impl LoadedKey {
    fn new(secret: Secret) -> Arc<Self> {
        Arc::new(Self { secret, cipher: OnceLock::new() })
    }

    /// The key, expanded.
    ///
    /// # Errors
    /// The key is no XTS key, or this machine computes it wrongly.
    pub(in crate::emulator) fn cipher(&self) -> Result<&Xts, VaultError> {
        if self.cipher.get().is_none() {
            let cipher = Xts::new(self.secret.expose()).map_err(|_| VaultError::Damaged)?;
            let _ = self.cipher.set(cipher);
        }
        self.cipher.get().ok_or(VaultError::Damaged)
    }
}

/// What a PIN opened.
struct Credentials {
    private: Secret,
    /// The key that the PIN gave with its record's salt, to copy the PIN without knowing it.
    kek: Secret,
    salt: [u8; SALT],
}

impl Vault {
    /// A vault that holds nothing: every PIN is empty.
    pub(in crate::emulator) fn new(drive: [u8; 16], rounds: u32, key_length: usize) -> Self {
        Self::with(Records {
            drive,
            rounds,
            key_length,
            authorities: BTreeMap::new(),
            vault: None,
            keys: BTreeMap::new(),
        })
    }

    /// The vault as the image has it; nothing is in memory.
    pub(in crate::emulator) fn decode(
        d: &mut Decoder<'_>,
    ) -> Result<Self, minicbor::decode::Error> {
        Records::decode(d).map(Self::with)
    }

    /// Appends the records to a state.
    pub(in crate::emulator) fn encode(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        self.records.encode(e)
    }

    /// Bytes that [`Vault::encode`] appends at most.
    pub(in crate::emulator) fn encoded_bound(&self) -> usize {
        self.records.encoded_bound()
    }

    /// Starts staging.
    pub(in crate::emulator) fn begin(&mut self) {
        self.staged = Some(Box::new((self.records.duplicate(), self.memory.clone())));
        self.drop_old = false;
    }

    /// Keeps what was staged.
    pub(in crate::emulator) fn commit(&mut self) {
        self.staged = None;
        self.memory.fresh.clear();
    }

    /// Goes back to [`Vault::begin`].
    pub(in crate::emulator) fn rollback(&mut self) {
        if let Some(staged) = self.staged.take() {
            (self.records, self.memory) = *staged;
        }
    }

    /// Whether the staged step destroys something that opens a key: it must then go from every
    /// copy of the state.
    pub(in crate::emulator) fn destroys(&self) -> bool {
        self.drop_old
            || self.staged.as_ref().is_some_and(|staged| staged.0.loses_a_wrap(&self.records))
    }

    /// Checks a PIN and keeps what it opens for `session`.
    pub(in crate::emulator) fn verify(
        &mut self,
        session: SessionId,
        authority: Uid,
        challenge: &[u8],
    ) -> bool {
        let Some(record) = self.records.authorities.get(&authority) else {
            return challenge.is_empty();
        };
        let kek = seal::kek(challenge, &record.salt, self.records.rounds);
        let purpose = Purpose::PinCheck(authority);
        let Some(private) = seal::unwrap(&self.records.drive, purpose, &kek, &record.wrap) else {
            return false;
        };
        let credentials = Arc::new(Credentials { private, kek, salt: record.salt });
        self.memory.sessions.entry(session).or_default().insert(authority, credentials);
        true
    }

    /// Wipes what `authority` brought into `session`.
    pub(in crate::emulator) fn forget(&mut self, session: SessionId, authority: Uid) {
        if let Some(held) = self.memory.sessions.get_mut(&session) {
            held.remove(&authority);
        }
    }

    /// Wipes what `session` has.
    pub(in crate::emulator) fn close_session(&mut self, session: SessionId) {
        self.memory.sessions.remove(&session);
    }

    /// Changes a PIN. In the Locking SP this needs the authority's private half or the vault,
    /// because data keys are sealed to the pair, which stays; an Admin SP pair opens nothing, so
    /// its owner gets a new one.
    pub(in crate::emulator) fn set_pin(
        &mut self,
        session: SessionId,
        authority: Uid,
        pin: &[u8],
    ) -> Result<(), VaultError> {
        let pair = match self.records.authorities.get(&authority) {
            Some(record) if is_member(authority) => {
                let private = self.private_of(session, authority).ok_or(VaultError::Refused)?;
                Pair { private, public: record.public }
            }
            _ => {
                self.records.drop_seals_to(authority);
                Pair::generate()?
            }
        };
        let member = self.records.authorities.get(&authority).and_then(|old| old.member.clone());
        let member = match member {
            Some(sealed) => Some(sealed),
            None => self.member_seal(authority, &pair.private)?,
        };
        self.store_pin(authority, pin, pair, member)?;
        // A session that is authenticated stays so, with the PIN there is now.
        let record = self.records.authorities.get(&authority);
        let held = self.memory.sessions.get_mut(&session).and_then(|held| held.get_mut(&authority));
        if let (Some(record), Some(held), Some(private)) =
            (record, held, self.memory.fresh.get(&authority))
        {
            *held = Arc::new(Credentials {
                private: private.duplicate(),
                kek: seal::kek(pin, &record.salt, self.records.rounds),
                salt: record.salt,
            });
        }
        Ok(())
    }

    /// Gives `to` the PIN of `from` with a pair of its own.
    pub(in crate::emulator) fn copy_pin(
        &mut self,
        session: SessionId,
        from: Uid,
        to: Uid,
    ) -> Result<(), VaultError> {
        self.records.drop_seals_to(to);
        if !self.records.authorities.contains_key(&from) {
            self.records.authorities.remove(&to);
            return Ok(());
        }
        let held = self.memory.sessions.get(&session).and_then(|held| held.get(&from));
        let held = held.ok_or(VaultError::Refused)?;
        let pair = Pair::generate()?;
        let wrap =
            seal::wrap(&self.records.drive, Purpose::PinCheck(to), &held.kek, &pair.private)?;
        let member = self.member_seal(to, &pair.private)?;
        let record = Authority { salt: held.salt, public: pair.public, wrap, member };
        self.records.authorities.insert(to, record);
        self.memory.fresh.insert(to, Arc::new(pair.private));
        Ok(())
    }

    /// Puts a factory PIN in place; what only the old one opened is lost.
    pub(in crate::emulator) fn reset_pin(
        &mut self,
        authority: Uid,
        pin: &[u8],
    ) -> Result<(), VaultError> {
        self.records.drop_seals_to(authority);
        self.records.authorities.remove(&authority);
        for held in self.memory.sessions.values_mut() {
            held.remove(&authority);
        }
        let pair = Pair::generate()?;
        let member = self.member_seal(authority, &pair.private)?;
        self.store_pin(authority, pin, pair, member)
    }

    /// Replaces a data key by a random one, sealed to whomever the old one was sealed to.
    pub(in crate::emulator) fn new_key(&mut self, name: KeyName) -> Result<(), VaultError> {
        let key = seal::random_secret(self.records.key_length)?;
        if let Some(old) = self.records.keys.remove(&name) {
            let mut new = DataKey::default();
            if let (Some(_), Some(vault)) = (&old.vault, &self.records.vault) {
                let purpose = Purpose::Data { key: name.number(), to: None };
                let sealed = seal::seal(&self.records.drive, purpose, &vault.public, &key)?;
                new.vault = Some(sealed);
            }
            for uid in old.sealed.keys() {
                let Some(record) = self.records.authorities.get(uid) else { continue };
                let purpose = Purpose::Data { key: name.number(), to: Some(*uid) };
                let sealed = seal::seal(&self.records.drive, purpose, &record.public, &key)?;
                new.sealed.insert(*uid, sealed);
            }
            new.open = old.open.as_ref().map(|_| key.duplicate());
            self.records.keys.insert(name, new);
        }
        self.drop_old = true;
        self.memory.keys.insert(name, LoadedKey::new(key));
        Ok(())
    }

    /// Brings a data key into memory with whatever opens it.
    pub(in crate::emulator) fn unlock(
        &mut self,
        session: Option<SessionId>,
        name: KeyName,
    ) -> Result<(), VaultError> {
        if !self.memory.keys.contains_key(&name) {
            let key = self.find_key(session, name).ok_or(VaultError::Refused)?;
            self.memory.keys.insert(name, LoadedKey::new(key));
        }
        Ok(())
    }

    /// Wipes a data key from memory.
    pub(in crate::emulator) fn lock(&mut self, name: KeyName) {
        self.memory.keys.remove(&name);
    }

    /// A data key: the one in memory, or by whatever opens it, for one use.
    pub(in crate::emulator) fn key(
        &self,
        session: Option<SessionId>,
        name: KeyName,
    ) -> Option<Arc<LoadedKey>> {
        let loaded = self.memory.keys.get(&name).cloned();
        loaded.or_else(|| self.find_key(session, name).map(LoadedKey::new))
    }

    /// A data key by whatever any session opens.
    pub(in crate::emulator) fn key_of_any_session(&self, name: KeyName) -> Option<Arc<LoadedKey>> {
        let sessions = self.memory.sessions.keys().copied().map(Some);
        sessions.chain([None]).find_map(|session| self.key(session, name))
    }

    /// Whether there is such a key.
    pub(in crate::emulator) fn has_key(&self, name: KeyName) -> bool {
        self.records.keys.contains_key(&name)
    }

    /// Brings every wrap in line with `grants`.
    pub(in crate::emulator) fn reseal(
        &mut self,
        session: Option<SessionId>,
        grants: &Grants,
    ) -> Result<(), VaultError> {
        reseal::reseal(self, session, grants)
    }

    /// Sessions that hold secrets, and data keys in memory: for the control socket.
    pub(in crate::emulator) fn in_memory(&self) -> (usize, Vec<KeyName>) {
        (self.memory.sessions.len(), self.memory.keys.keys().copied().collect())
    }

    fn with(records: Records) -> Self {
        Self { records, memory: Memory::default(), staged: None, drop_old: false }
    }

    fn store_pin(
        &mut self,
        authority: Uid,
        pin: &[u8],
        pair: Pair,
        member: Option<Vec<u8>>,
    ) -> Result<(), VaultError> {
        if pin.is_empty() {
            self.records.drop_seals_to(authority);
            self.records.authorities.remove(&authority);
            return Ok(());
        }
        let mut salt = [0u8; SALT];
        seal::random(&mut salt)?;
        let kek = seal::kek(pin, &salt, self.records.rounds);
        let purpose = Purpose::PinCheck(authority);
        let wrap = seal::wrap(&self.records.drive, purpose, &kek, &pair.private)?;
        let record = Authority { salt, public: pair.public, wrap, member };
        self.records.authorities.insert(authority, record);
        self.memory.fresh.insert(authority, Arc::new(pair.private));
        Ok(())
    }

    /// A private half for administrators to set its owner's PIN with, where there is a vault.
    fn member_seal(&self, authority: Uid, private: &Secret) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(vault) = self.records.vault.as_ref().filter(|_| is_member(authority)) else {
            return Ok(None);
        };
        let purpose = Purpose::Member(authority);
        seal::seal(&self.records.drive, purpose, &vault.public, private).map(Some)
    }

    /// The vault's private half: open, made in this step, or opened by an administrator in
    /// `session`.
    fn vault_private(&self, session: Option<SessionId>) -> Option<Secret> {
        let vault = self.records.vault.as_ref()?;
        if let Some(open) = &vault.open {
            return Some(open.duplicate());
        }
        let held = self.memory.sessions.get(&session?)?;
        vault.sealed.iter().find_map(|(uid, sealed)| {
            let private = &held.get(uid)?.private;
            seal::open(&self.records.drive, Purpose::Vault(*uid), private, sealed)
        })
    }

    /// An authority's private half: made in this step, authenticated in `session`, or by the vault.
    fn private_of(&self, session: SessionId, authority: Uid) -> Option<Secret> {
        if let Some(private) = self.memory.fresh.get(&authority) {
            return Some(private.duplicate());
        }
        let held = self.memory.sessions.get(&session).and_then(|held| held.get(&authority));
        if let Some(held) = held {
            return Some(held.private.duplicate());
        }
        let sealed = self.records.authorities.get(&authority)?.member.as_ref()?;
        let vault = self.vault_private(Some(session))?;
        seal::open(&self.records.drive, Purpose::Member(authority), &vault, sealed)
    }

    /// A data key that is not in memory.
    fn find_key(&self, session: Option<SessionId>, name: KeyName) -> Option<Secret> {
        let key = self.records.keys.get(&name)?;
        if let Some(open) = &key.open {
            return Some(open.duplicate());
        }
        let number = name.number();
        let held = session.and_then(|session| self.memory.sessions.get(&session));
        let own = key.sealed.iter().find_map(|(uid, sealed)| {
            let private = &held?.get(uid)?.private;
            let purpose = Purpose::Data { key: number, to: Some(*uid) };
            seal::open(&self.records.drive, purpose, private, sealed)
        });
        own.or_else(|| {
            let vault = self.vault_private(session)?;
            let purpose = Purpose::Data { key: number, to: None };
            seal::open(&self.records.drive, purpose, &vault, key.vault.as_ref()?)
        })
    }
}

/// Whether an authority belongs to the Locking SP, where pairs open data keys (Opal 2.30 §4.3.1.8).
fn is_member(authority: Uid) -> bool {
    authority != opal::spec::authority::PSID && matches!(authority.row() >> 16, 1 | 3)
}
