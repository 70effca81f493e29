// SPDX-License-Identifier: MIT OR Apache-2.0
//! LUKS2, the format of software volumes on disk: what Opalbox makes, cryptsetup opens, and the
//! other way round.
//!
//! A [`Luks2`] is a header on some [`Storage`], read and checked. It holds no keys:
//! [`Luks2::unlock`] gives the volume key, with which [`crate::software::xts::Xts`] reads the
//! sectors of [`Luks2::segment`].
//!
//! The source is the public LUKS2 on-disk format document. Made here: `aes-xts-plain64` with a
//! 512-bit key, one crypt segment, keyslots with PBKDF2 or Argon2id. Accepted: that, and what
//! [`Policy`] says, because the format does not authenticate its metadata. Whoever keeps a record
//! of a volume elsewhere keeps [`Luks2::binding`] with it, to notice a header that was changed.
//!
//! # What survives a crash
//!
//! Every change of the metadata is written to one copy, made durable, then to the other, so one
//! copy is always whole and [`Luks2::open`] finds it. A keyslot is written before the metadata
//! names it, and a new one opens before the one it replaces is destroyed.

mod backup;
mod binary;
mod copies;
mod create;
mod error;
mod hash;
mod kdf;
mod keyslot;
mod metadata;
mod policy;
mod storage;
mod token;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::secret::Secret;

pub use backup::{restore, write_backup};
pub use copies::Copies;
pub use create::Format;
pub use error::Luks2Error;
pub use hash::Hash;
pub use kdf::Kdf;
pub use policy::Policy;
pub use storage::Storage;
pub use token::Owner;

use copies::Found;
use metadata::{Id, Metadata};
use policy::Checked;

/// A LUKS2 header, checked against a [`Policy`].
pub struct Luks2<S> {
    storage: S,
    found: Found,
    checked: Checked,
    policy: Policy,
}

/// Where the encrypted data lies and how its sectors are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSegment {
    /// First byte on the data device.
    pub offset: u64,
    /// Bytes, or up to the device's end.
    pub length: Option<u64>,
    /// Bytes of an encryption sector: 512, 1024, 2048 or 4096.
    pub sector_size: u32,
    /// Added to sector numbers, in units of 512 bytes whatever the sector size is.
    pub iv_offset: u64,
}

/// A stretch of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AreaRange {
    start: u64,
    end: u64,
}

/// What a keyslot is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyslotInfo {
    /// Its number.
    pub number: u8,
    /// Key derivation and cost, such as `argon2id 4 262144 4`.
    pub kdf: String,
    /// Whether it opens the data; others belong to keys kept here for other uses.
    pub bound: bool,
}

/// A secret that opened a keyslot.
pub struct Unlocked {
    /// The keyslot.
    pub keyslot: u8,
    /// The volume key: data key and tweak key, 32 or 64 bytes together.
    pub key: Secret,
}

impl<S: Storage> Luks2<S> {
    /// Reads the header. Of two copies the newer valid one counts; nothing is written, see
    /// [`Luks2::repair`].
    ///
    /// # Errors
    /// [`Luks2Error::NotLuks2`], [`Luks2Error::Version`], [`Luks2Error::Damaged`], or
    /// [`Luks2Error::Refused`] with what `policy` does not accept.
    pub fn open(storage: S, policy: Policy) -> Result<Self, Luks2Error> {
        let found = copies::read(&storage)?;
        let checked = policy.check(found.binary.size, &found.metadata)?;
        Ok(Self { storage, found, checked, policy })
    }

    /// State of the two copies when the header was read.
    #[must_use]
    pub fn copies(&self) -> Copies {
        self.found.copies
    }

    /// Writes the good copy over the damaged or older one. Does nothing where both are whole.
    ///
    /// # Errors
    /// [`Luks2Error::Io`].
    pub fn repair(&mut self) -> Result<(), Luks2Error> {
        copies::repair(&mut self.storage, &self.found)?;
        self.found.copies = Copies::Whole;
        Ok(())
    }

    /// Tries `secret` on the keyslots, those with priority first, those to be used only by name
    /// not at all. This is slow by design where a passphrase's keyslot is tried.
    ///
    /// # Errors
    /// [`Luks2Error::WrongSecret`], [`Luks2Error::Memory`] or [`Luks2Error::Io`].
    pub fn unlock(&self, secret: &[u8]) -> Result<Unlocked, Luks2Error> {
        let digest = self.digest();
        let mut order: Vec<(u8, Id)> = Vec::new();
        for id in &digest.keyslots {
            let keyslot = self.metadata().keyslots.get(id);
            order.push((keyslot.and_then(|it| it.priority).unwrap_or(1), *id));
        }
        order.retain(|(priority, _)| *priority > 0);
        order.sort_by_key(|(priority, id)| (std::cmp::Reverse(*priority), *id));
        for (_, id) in order {
            match self.unlock_keyslot(id.0, secret) {
                Err(Luks2Error::WrongSecret) => {}
                done => return done.map(|key| Unlocked { keyslot: id.0, key }),
            }
        }
        Err(Luks2Error::WrongSecret)
    }

    /// Tries `secret` on one keyslot.
    ///
    /// # Errors
    /// As [`Luks2::unlock`], and [`Luks2Error::NoSuchKeyslot`].
    pub fn unlock_keyslot(&self, number: u8, secret: &[u8]) -> Result<Secret, Luks2Error> {
        let keyslot = self.bound_keyslot(number)?;
        let key = keyslot::read(&self.storage, keyslot, secret)?;
        match self.is_volume_key(&key) {
            true => Ok(Secret::from_slice(&key)),
            false => Err(Luks2Error::WrongSecret),
        }
    }

    /// Whether `key` is this volume's, by the header's digest.
    #[must_use]
    pub fn is_volume_key(&self, key: &[u8]) -> bool {
        let digest = self.digest();
        let mut computed = Zeroizing::new(vec![0; digest.hash.output_len()]);
        digest.hash.pbkdf2(key, &digest.salt.0, digest.iterations, &mut computed);
        computed.ct_eq(&digest.digest.0).into()
    }

    /// Adds a keyslot that opens with `secret`.
    ///
    /// # Errors
    /// [`Luks2Error::WrongKey`] where `key` is not this volume's; [`Luks2Error::NoRoom`],
    /// [`Luks2Error::MetadataFull`], [`Luks2Error::Parameter`], [`Luks2Error::Io`]. The volume
    /// is then as before.
    pub fn add_keyslot(&mut self, key: &Secret, secret: &[u8], kdf: Kdf) -> Result<u8, Luks2Error> {
        if !self.is_volume_key(key.expose()) {
            return Err(Luks2Error::WrongKey);
        }
        let mut metadata = self.metadata().clone();
        let id = keyslot::free_id(&metadata).ok_or(Luks2Error::NoRoom)?;
        let size = self.found.binary.size;
        let area = keyslot::free_area(size, &metadata, key.expose().len())?;
        let keyslot = keyslot::write(&mut self.storage, area, key.expose(), secret, kdf)?;
        metadata.keyslots.insert(id, keyslot);
        if let Some(digest) = metadata.digests.get_mut(&self.checked.digest_id) {
            digest.keyslots.push(id);
        }
        self.commit(metadata)?;
        Ok(id.0)
    }

    /// Destroys a keyslot: its bytes first, so that whatever happens then, its secret opens
    /// nothing.
    ///
    /// # Errors
    /// [`Luks2Error::NoSuchKeyslot`], [`Luks2Error::LastKeyslot`], [`Luks2Error::Io`].
    pub fn remove_keyslot(&mut self, number: u8) -> Result<(), Luks2Error> {
        let id = Id(number);
        let keyslot = self.metadata().keyslots.get(&id);
        let area = keyslot.ok_or(Luks2Error::NoSuchKeyslot(number))?.area.clone();
        if self.digest().keyslots == [id] {
            return Err(Luks2Error::LastKeyslot(number));
        }
        keyslot::wipe(&mut self.storage, area.offset.0, area.size.0)?;
        let mut metadata = self.metadata().clone();
        metadata.keyslots.remove(&id);
        for digest in metadata.digests.values_mut() {
            digest.keyslots.retain(|it| *it != id);
        }
        metadata.digests.retain(|_, it| !(it.keyslots.is_empty() && it.segments.is_empty()));
        token::forget_keyslot(&mut metadata, id);
        self.commit(metadata)
    }

    /// Replaces the secret of a keyslot, which keeps its number and tokens. The new secret opens
    /// the volume before the old one stops to; after a crash in between both may, or only the
    /// new one through another keyslot number: repeat the change then.
    ///
    /// # Errors
    /// [`Luks2Error::WrongSecret`] where `old` does not open this keyslot, and those of
    /// [`Luks2::add_keyslot`].
    pub fn change_secret(
        &mut self,
        number: u8,
        old: &[u8],
        new: &[u8],
        kdf: Kdf,
    ) -> Result<(), Luks2Error> {
        let key = self.unlock_keyslot(number, old)?;
        let added = self.add_keyslot(&key, new, kdf)?;
        let old_area = self.bound_keyslot(number)?.area.clone();
        keyslot::wipe(&mut self.storage, old_area.offset.0, old_area.size.0)?;
        let mut metadata = self.metadata().clone();
        let mut keyslot =
            metadata.keyslots.remove(&Id(added)).ok_or(Luks2Error::NoSuchKeyslot(added))?;
        if let Some(replaced) = metadata.keyslots.get(&Id(number)) {
            keyslot.priority = replaced.priority;
        }
        metadata.keyslots.insert(Id(number), keyslot);
        for digest in metadata.digests.values_mut() {
            digest.keyslots.retain(|it| *it != Id(added));
        }
        self.commit(metadata)
    }

    /// The keyslots, by number.
    #[must_use]
    pub fn keyslots(&self) -> Vec<KeyslotInfo> {
        let bound = &self.digest().keyslots;
        let mut all = Vec::new();
        for (id, keyslot) in &self.metadata().keyslots {
            let kdf = keyslot.kdf.as_ref().map(kdf::SaltedKdf::describe).unwrap_or_default();
            all.push(KeyslotInfo { number: id.0, kdf, bound: bound.contains(id) });
        }
        all
    }

    /// Where the data is.
    #[must_use]
    pub fn segment(&self) -> DataSegment {
        self.checked.segment
    }

    /// The volume's UUID, as text.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.found.binary.uuid
    }

    /// The volume's label; empty if it has none.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.found.binary.label
    }

    /// Grows with each change of the header.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.found.binary.sequence
    }

    /// A hash of all that decides how data is encrypted and with which key: UUID, segments,
    /// digests, but not the keyslots, which come and go. LUKS2 does not protect these; who keeps
    /// this value under a MAC can tell when someone changed them.
    #[must_use]
    pub fn binding(&self) -> [u8; 32] {
        let mut digests = self.metadata().digests.clone();
        digests.retain(|_, it| !it.segments.is_empty());
        for digest in digests.values_mut() {
            digest.keyslots.clear();
        }
        let fields = (&self.found.binary.uuid, &self.metadata().segments, &digests);
        // Maps with string keys, strings and numbers: this cannot fail.
        let text = serde_json::to_vec(&fields).unwrap_or_default();
        Sha256::new()
            .chain_update(b"opalbox-luks2-binding-1\0")
            .chain_update(text)
            .finalize()
            .into()
    }

    /// The storage under the header.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Gives the storage back.
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// Destroys all keyslots, then both copies of the header, and reads back that they are gone.
    /// Without a header backup the data is lost for ever. To be repeated after a failure.
    ///
    /// # Errors
    /// [`Luks2Error::Io`], [`Luks2Error::NotWritten`].
    pub fn destroy(mut self) -> Result<S, Luks2Error> {
        let areas = policy::keyslots_area(self.found.binary.size, self.metadata())
            .map_err(Luks2Error::Refused)?;
        let end = self.storage.size().map_err(Luks2Error::io("asking for the device's size"))?;
        for keyslot in self.found.metadata.keyslots.values() {
            let (offset, size) = (keyslot.area.offset.0, keyslot.area.size.0);
            keyslot::wipe(&mut self.storage, offset, size)?;
        }
        // Space that holds no keyslot now may have held one.
        let rest = areas.end.min(end).saturating_sub(areas.start);
        keyslot::wipe(&mut self.storage, areas.start, rest)?;
        create::erase_headers(&mut self.storage, self.found.binary.size, areas.end)?;
        match copies::read(&self.storage) {
            Err(Luks2Error::NotLuks2) => Ok(self.storage),
            Err(Luks2Error::Io { doing, source }) => Err(Luks2Error::Io { doing, source }),
            _ => Err(Luks2Error::NotWritten("the erased header")),
        }
    }

    fn metadata(&self) -> &Metadata {
        &self.found.metadata
    }

    /// The digest of the data's key.
    fn digest(&self) -> &metadata::Digest {
        &self.checked.digest
    }

    /// A keyslot that opens the data.
    fn bound_keyslot(&self, number: u8) -> Result<&metadata::Keyslot, Luks2Error> {
        let bound = self.digest().keyslots.contains(&Id(number));
        let keyslot = self.metadata().keyslots.get(&Id(number)).filter(|_| bound);
        keyslot.ok_or(Luks2Error::NoSuchKeyslot(number))
    }

    /// Makes `metadata` the header's: checked, durable in both copies, then in memory.
    fn commit(&mut self, metadata: Metadata) -> Result<(), Luks2Error> {
        let checked = self.policy.check(self.found.binary.size, &metadata)?;
        let mut binary = self.found.binary.clone();
        binary.sequence = binary.sequence.saturating_add(1);
        copies::write(&mut self.storage, &binary, &metadata)?;
        self.found = Found { binary, metadata, copies: Copies::Whole };
        self.checked = checked;
        Ok(())
    }
}

impl<S> std::fmt::Debug for Luks2<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Luks2")
            .field("uuid", &self.found.binary.uuid)
            .field("sequence", &self.found.binary.sequence)
            .field("segment", &self.checked.segment)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unlocked").field("keyslot", &self.keyslot).finish_non_exhaustive()
    }
}
