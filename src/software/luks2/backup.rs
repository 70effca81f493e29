// SPDX-License-Identifier: MIT OR Apache-2.0
//! Header backups, in the layout that cryptsetup uses too: both copies and the keyslots area, as
//! they lie on the device.
//!
//! Whoever has a backup and a secret that opened a keyslot when it was made can open the volume,
//! also after that keyslot was removed.

use std::io::{self, Read, Write};

use super::policy::{MAX_KEYSLOTS_SIZE, keyslots_area};
use super::{Luks2, Luks2Error, Policy, Storage, copies};

/// Bytes moved at once.
const PIECE: usize = 1 << 20;
/// The largest backup there can be: two copies of 4 MiB and the keyslots area.
const MAX_BACKUP: u64 = MAX_KEYSLOTS_SIZE + (8 << 20);

/// Writes a backup of the header to `out`.
///
/// # Errors
/// [`Luks2Error::Io`].
pub fn write_backup<S: Storage>(header: &Luks2<S>, out: &mut impl Write) -> Result<(), Luks2Error> {
    let area = keyslots_area(header.found.binary.size, header.metadata());
    let end = area.map_err(Luks2Error::Refused)?.end;
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    while done < end {
        let length = usize::try_from(end - done).unwrap_or(PIECE).min(PIECE);
        let storage = header.storage();
        storage
            .read_at(done, &mut piece[..length])
            .map_err(Luks2Error::io("reading the header"))?;
        out.write_all(&piece[..length]).map_err(Luks2Error::io("writing the backup"))?;
        done += length as u64;
    }
    out.flush().map_err(Luks2Error::io("writing the backup"))
}

/// Puts a backup back and opens the volume. The backup is checked first; where `storage` holds a
/// header that can be read, it must be of the same volume and begin its data at the same place.
/// Between the first write and the last the volume may not open: repeat a restore that failed.
///
/// # Errors
/// [`Luks2Error::Refused`] and others of [`Luks2::open`] for the backup, [`Luks2Error::Exists`]
/// where another volume is on `storage`, [`Luks2Error::TooSmall`], [`Luks2Error::Io`].
pub fn restore<S: Storage>(
    mut storage: S,
    backup: &mut impl Read,
    policy: Policy,
) -> Result<Luks2<S>, Luks2Error> {
    let mut bytes = Vec::new();
    let read = backup.take(MAX_BACKUP + 1).read_to_end(&mut bytes);
    read.map_err(Luks2Error::io("reading the backup"))?;
    let saved = Luks2::open(bytes, policy)?;
    let size = saved.found.binary.size;
    let end = keyslots_area(size, saved.metadata()).map_err(Luks2Error::Refused)?.end;
    let bytes = saved.storage();
    let Some(bytes) = usize::try_from(end).ok().and_then(|end| bytes.get(..end)) else {
        let source = io::ErrorKind::UnexpectedEof.into();
        return Err(Luks2Error::Io { doing: "reading the backup", source });
    };
    let have = storage.size().map_err(Luks2Error::io("asking for the device's size"))?;
    if have < end {
        return Err(Luks2Error::TooSmall { have, need: end });
    }
    if let Ok(present) = copies::read(&storage) {
        let same = present.binary.uuid == saved.found.binary.uuid
            && present.metadata.segments.values().map(|it| it.offset).eq(saved
                .metadata()
                .segments
                .values()
                .map(|it| it.offset));
        if !same {
            return Err(Luks2Error::Exists);
        }
    }
    let (headers, keyslots) = bytes.split_at(usize::try_from(2 * size).unwrap_or(bytes.len()));
    storage.write_at(2 * size, keyslots).map_err(Luks2Error::io("restoring the keyslots"))?;
    storage.sync().map_err(Luks2Error::io("restoring the keyslots"))?;
    let (first, second) = headers.split_at(headers.len() / 2);
    for (offset, copy) in [(size, second), (0, first)] {
        storage.write_at(offset, copy).map_err(Luks2Error::io("restoring the header"))?;
        storage.sync().map_err(Luks2Error::io("restoring the header"))?;
    }
    Luks2::open(storage, policy)
}
