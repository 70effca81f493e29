// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a volume.

use std::collections::BTreeMap;

use serde_json::Map;

use super::binary::{BINARY, Binary, NAME, SIZES, fits};
use super::kdf::SALT;
use super::metadata::{Bytes, Config, Decimal, Digest, Extent, Id, Metadata, Segment};
use super::policy::{ALIGNMENT, CIPHER, MAX_KEYSLOTS_SIZE};
use super::{Copies, Found, Hash, Kdf, Luks2, Luks2Error, Policy, Storage, copies, keyslot};
use crate::secret::Secret;

/// Bytes of one copy of a new header.
const HEADER: u64 = SIZES[0];
/// Bytes of a new volume key: AES-256-XTS.
const KEY: usize = 64;
/// Iterations of the digest. The key is random, so they need not be many.
const DIGEST_ITERATIONS: u32 = 1000;

/// The outline of a new volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// 512 or 4096: the data device's logical block size must divide it.
    pub sector_size: u32,
    /// Where data begins on a device that also holds the header: a multiple of 4096. The space
    /// between takes the keyslots, a quarter of a MiB each.
    pub data_offset: u64,
    /// The header lies on another device or file: data begins at 0.
    pub detached: bool,
    /// Shown by tools; at most 47 bytes.
    pub label: String,
    /// Shown by tools; at most 47 bytes.
    pub subsystem: String,
    /// Go over a LUKS header that is there.
    pub replace: bool,
}

impl Default for Format {
    /// As cryptsetup does it: sectors of 4096 bytes, data from 16 MiB on.
    fn default() -> Self {
        Self {
            sector_size: 4096,
            data_offset: 16 << 20,
            detached: false,
            label: String::new(),
            subsystem: String::new(),
            replace: false,
        }
    }
}

impl<S: Storage> Luks2<S> {
    /// Makes a volume with a new random key and keyslot 0 for `secret`. Whatever the data device
    /// holds is lost. A crash before the end leaves no header, or a whole one: the old or the new.
    ///
    /// # Errors
    /// [`Luks2Error::Exists`], [`Luks2Error::TooSmall`], [`Luks2Error::Parameter`],
    /// [`Luks2Error::Random`], [`Luks2Error::Io`].
    pub fn create(
        mut storage: S,
        format: &Format,
        secret: &[u8],
        kdf: Kdf,
    ) -> Result<(Self, Secret), Luks2Error> {
        format.check(&storage)?;
        let mut key = vec![0; KEY];
        getrandom::fill(&mut key).map_err(Luks2Error::Random)?;
        let key = Secret::new(key);
        let mut metadata = format.metadata(&key)?;
        let keyslots_end = 2 * HEADER + format.keyslots_size();
        let area = keyslot::free_area(HEADER, &metadata, KEY)?;
        // An old header must not come back to life on top of new keyslots.
        erase_headers(&mut storage, HEADER, keyslots_end)?;
        let keyslot = keyslot::write(&mut storage, area, key.expose(), secret, kdf)?;
        metadata.keyslots.insert(Id(0), keyslot);
        let policy = Policy { detached: format.detached, ..Policy::default() };
        let checked = policy.check(HEADER, &metadata)?;
        let binary = Binary {
            size: HEADER,
            sequence: 1,
            label: format.label.clone(),
            subsystem: format.subsystem.clone(),
            uuid: random_uuid()?,
        };
        copies::write(&mut storage, &binary, &metadata)?;
        let found = Found { binary, metadata, copies: Copies::Whole };
        Ok((Self { storage, found, checked, policy }, key))
    }
}

impl Format {
    fn check<S: Storage>(&self, storage: &S) -> Result<(), Luks2Error> {
        if !matches!(self.sector_size, 512 | 4096) {
            return Err(Luks2Error::Parameter("the sector size is 512 or 4096"));
        }
        if !fits(&self.label, NAME) || !fits(&self.subsystem, NAME) {
            return Err(Luks2Error::Parameter("label and subsystem have at most 47 bytes of text"));
        }
        let one_keyslot = 2 * HEADER + (256 << 10);
        if !self.data_offset.is_multiple_of(ALIGNMENT) || self.data_offset < one_keyslot {
            return Err(Luks2Error::Parameter(
                "data begins at a multiple of 4096 that leaves 288 KiB for the header",
            ));
        }
        let have = storage.size().map_err(Luks2Error::io("asking for the device's size"))?;
        let sector = if self.detached { 0 } else { u64::from(self.sector_size) };
        let need = self.header_end() + sector;
        if have < need {
            return Err(Luks2Error::TooSmall { have, need });
        }
        match copies::read(storage) {
            Err(Luks2Error::NotLuks2) => Ok(()),
            Err(Luks2Error::Io { doing, source }) => Err(Luks2Error::Io { doing, source }),
            _ if self.replace => Ok(()),
            _ => Err(Luks2Error::Exists),
        }
    }

    fn keyslots_size(&self) -> u64 {
        (self.data_offset - 2 * HEADER).min(MAX_KEYSLOTS_SIZE)
    }

    /// Bytes that the header takes from the device it lies on.
    fn header_end(&self) -> u64 {
        if self.detached { 2 * HEADER + self.keyslots_size() } else { self.data_offset }
    }

    /// Metadata without keyslots, for a volume with this key.
    fn metadata(&self, key: &Secret) -> Result<Metadata, Luks2Error> {
        let mut salt = vec![0; SALT];
        getrandom::fill(&mut salt).map_err(Luks2Error::Random)?;
        let hash = Hash::Sha256;
        let mut digest = vec![0; hash.output_len()];
        hash.pbkdf2(key.expose(), &salt, DIGEST_ITERATIONS, &mut digest);
        let segment = Segment {
            kind: "crypt".into(),
            offset: Decimal(if self.detached { 0 } else { self.data_offset }),
            size: Extent::Dynamic,
            iv_tweak: Some(Decimal(0)),
            encryption: Some(CIPHER.into()),
            sector_size: Some(self.sector_size),
            integrity: None,
            flags: Vec::new(),
            rest: Map::new(),
        };
        let digest = Digest {
            kind: "pbkdf2".into(),
            keyslots: vec![Id(0)],
            segments: vec![Id(0)],
            hash,
            iterations: DIGEST_ITERATIONS,
            salt: Bytes(salt),
            digest: Bytes(digest),
            rest: Map::new(),
        };
        Ok(Metadata {
            keyslots: BTreeMap::new(),
            tokens: BTreeMap::new(),
            segments: BTreeMap::from([(Id(0), segment)]),
            digests: BTreeMap::from([(Id(0), digest)]),
            config: Config {
                json_size: Decimal(HEADER - BINARY as u64),
                keyslots_size: Decimal(self.keyslots_size()),
                flags: Vec::new(),
                requirements: None,
                rest: Map::new(),
            },
            rest: Map::new(),
        })
    }
}

/// Overwrites both copies of a header of `size` bytes; then, once they are gone, every place
/// before `end` where another second copy can begin. Whatever is lost on the way, an old header
/// that can still be read has its keyslots.
pub(super) fn erase_headers<S: Storage>(
    storage: &mut S,
    size: u64,
    end: u64,
) -> Result<(), Luks2Error> {
    let have = storage.size().map_err(Luks2Error::io("asking for the device's size"))?;
    let end = end.min(have);
    zero(storage, 0, size.min(end))?;
    zero(storage, size.min(end), size.min(end - size.min(end)))?;
    storage.sync().map_err(Luks2Error::io("making the erasure durable"))?;
    for offset in SIZES.into_iter().filter(|it| it + BINARY as u64 <= end) {
        zero(storage, offset, BINARY as u64)?;
    }
    storage.sync().map_err(Luks2Error::io("making the erasure durable"))
}

fn zero<S: Storage>(storage: &mut S, offset: u64, length: u64) -> Result<(), Luks2Error> {
    let zeros = vec![0; usize::try_from(length).unwrap_or_default()];
    storage.write_at(offset, &zeros).map_err(Luks2Error::io("erasing a header"))
}

/// A random UUID (RFC 9562 §5.4) in lower-case text.
fn random_uuid() -> Result<String, Luks2Error> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(Luks2Error::Random)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let part = |at: std::ops::Range<usize>| digits.get(at).unwrap_or_default();
    Ok([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
}
