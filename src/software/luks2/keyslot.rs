// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keyslots: the volume key, blown up by the anti-forensic splitter and encrypted under a key
//! derived from a secret (LUKS2 on-disk format §3.2).

use zeroize::{Zeroize, Zeroizing};

use super::hash::{merge, split};
use super::kdf::derive;
use super::metadata::{AntiForensic, Area, Decimal, IDS, Id, Keyslot, Metadata, Rest};
use super::policy::{ALIGNMENT, CIPHER, STRIPES, keyslots_area};
use super::{AreaRange, Hash, Kdf, Luks2Error, Storage};
use crate::software::xts::Xts;

/// Keyslot areas are encrypted in sectors of this size, numbered from zero.
const SECTOR: usize = 512;
/// Bytes of the key of a new keyslot's area: AES-256.
const AREA_KEY: usize = 64;

/// What is in a keyslot, if `secret` is the right one; garbage otherwise, which the digest tells.
/// The policy has accepted `keyslot`.
pub(super) fn read<S: Storage>(
    storage: &S,
    keyslot: &Keyslot,
    secret: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Luks2Error> {
    let (Some(kdf), Some(af), Some(area_key)) = (&keyslot.kdf, &keyslot.af, keyslot.area.key_size)
    else {
        return Err(Luks2Error::refused("a keyslot without key derivation"));
    };
    let length = keyslot.key_size * af.stripes;
    let mut material = Zeroizing::new(vec![0; length.next_multiple_of(SECTOR)]);
    storage
        .read_at(keyslot.area.offset.0, &mut material)
        .map_err(Luks2Error::io("reading a keyslot"))?;
    let key = derive(kdf, secret, area_key)?;
    xts(&key)?.decrypt(SECTOR, 0, 1, &mut material).map_err(refused)?;
    material.truncate(length);
    Ok(merge(&material, keyslot.key_size, af.hash))
}

/// Writes `key` into `area` so that `secret` opens it, and returns what the metadata must say.
/// The bytes are durable then.
pub(super) fn write<S: Storage>(
    storage: &mut S,
    area: AreaRange,
    key: &[u8],
    secret: &[u8],
    kdf: Kdf,
) -> Result<Keyslot, Luks2Error> {
    if secret.is_empty() {
        return Err(Luks2Error::Parameter("an empty secret protects nothing"));
    }
    let kdf = kdf.salted()?;
    let area_key = derive(&kdf, secret, AREA_KEY)?;
    let mut material = split(key, STRIPES, Hash::Sha256).map_err(Luks2Error::Random)?;
    let length = material.len().next_multiple_of(SECTOR);
    if length > material.capacity() {
        // Growing in place would leave a copy of the old allocation behind.
        let mut padded = Zeroizing::new(vec![0; length]);
        padded[..material.len()].copy_from_slice(&material);
        material = padded;
    } else {
        material.resize(length, 0);
    }
    xts(&area_key)?.encrypt(SECTOR, 0, 1, &mut material).map_err(refused)?;
    storage.write_at(area.start, &material).map_err(Luks2Error::io("writing a keyslot"))?;
    storage.sync().map_err(Luks2Error::io("making a keyslot durable"))?;
    let mut back = Zeroizing::new(vec![0; length]);
    storage.read_at(area.start, &mut back).map_err(Luks2Error::io("reading a keyslot back"))?;
    if *back != *material {
        return Err(Luks2Error::NotWritten("the keyslot"));
    }
    Ok(Keyslot {
        kind: "luks2".into(),
        key_size: key.len(),
        area: Area {
            kind: "raw".into(),
            offset: Decimal(area.start),
            size: Decimal(area.end - area.start),
            encryption: Some(CIPHER.into()),
            key_size: Some(AREA_KEY),
            rest: Rest::new(),
        },
        af: Some(AntiForensic { kind: "luks1".into(), stripes: STRIPES, hash: Hash::Sha256 }),
        kdf: Some(kdf),
        priority: None,
        rest: Rest::new(),
    })
}

/// Overwrites a stretch with random bytes, durably.
pub(super) fn wipe<S: Storage>(storage: &mut S, offset: u64, size: u64) -> Result<(), Luks2Error> {
    const PIECE: u64 = 1 << 20;
    let mut noise = vec![0; usize::try_from(size.min(PIECE)).unwrap_or_default()];
    let mut done = 0;
    while done < size {
        let piece = usize::try_from((size - done).min(PIECE)).unwrap_or_default();
        getrandom::fill(&mut noise[..piece]).map_err(Luks2Error::Random)?;
        storage
            .write_at(offset + done, &noise[..piece])
            .map_err(Luks2Error::io("destroying a keyslot"))?;
        done += piece as u64;
    }
    noise.zeroize();
    storage.sync().map_err(Luks2Error::io("making the destruction of a keyslot durable"))
}

/// The lowest keyslot number that is free.
pub(super) fn free_id(metadata: &Metadata) -> Option<Id> {
    (0..IDS).map(Id).find(|it| !metadata.keyslots.contains_key(it))
}

/// The first gap in the keyslots area that takes a keyslot for a key of `key_size` bytes.
pub(super) fn free_area(
    header: u64,
    metadata: &Metadata,
    key_size: usize,
) -> Result<AreaRange, Luks2Error> {
    let room = keyslots_area(header, metadata).map_err(Luks2Error::Refused)?;
    let need = ((key_size * STRIPES) as u64).next_multiple_of(ALIGNMENT);
    let mut taken: Vec<(u64, u64)> = Vec::new();
    for keyslot in metadata.keyslots.values() {
        let start = keyslot.area.offset.0;
        taken.push((start, start.saturating_add(keyslot.area.size.0)));
    }
    taken.push((room.end, room.end));
    taken.sort_unstable();
    let mut start = room.start;
    for (from, to) in taken {
        if from >= start.saturating_add(need) {
            return Ok(AreaRange { start, end: start + need });
        }
        start = start.max(to.next_multiple_of(ALIGNMENT));
    }
    Err(Luks2Error::NoRoom)
}

fn xts(key: &[u8]) -> Result<Xts, Luks2Error> {
    Xts::new(key).map_err(refused)
}

fn refused(error: crate::software::xts::XtsError) -> Luks2Error {
    Luks2Error::refused(error.to_string())
}
