// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two copies of a header: finding them, telling which one counts, and writing both.

use super::binary::{BINARY, Bad, Binary, SIZES, checksum_holds};
use super::metadata::Metadata;
use super::{Luks2Error, Storage};

/// What was found of the two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Both are valid and say the same.
    Whole,
    /// The first copy is damaged or older; the second was used.
    PrimaryStale,
    /// The second copy is damaged or older; the first was used.
    SecondaryStale,
}

/// The copy that counts.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) binary: Binary,
    pub(super) metadata: Metadata,
    pub(super) copies: Copies,
}

/// One valid copy.
struct Copy {
    binary: Binary,
    metadata: Metadata,
}

/// Reads both copies and picks the newer valid one.
pub(super) fn read<S: Storage>(storage: &S) -> Result<Found, Luks2Error> {
    let size = storage.size().map_err(Luks2Error::io("asking for the device's size"))?;
    let primary = read_copy(storage, size, 0);
    let secondary = match &primary {
        Ok(copy) => read_copy(storage, size, copy.binary.size),
        Err(_) => recover(storage, size),
    };
    match (primary, secondary) {
        (Ok(first), Ok(second)) => Ok(newer(first, second)),
        (Ok(first), Err(_)) => Ok(first.found(Copies::SecondaryStale)),
        (Err(_), Ok(second)) => Ok(second.found(Copies::PrimaryStale)),
        (Err(Bad::Magic), Err(Bad::Magic)) => Err(Luks2Error::NotLuks2),
        (Err(Bad::Version(version)), Err(Bad::Magic)) => Err(Luks2Error::Version(version)),
        (Err(first), Err(second)) => {
            Err(Luks2Error::Damaged { primary: first.to_string(), secondary: second.to_string() })
        }
    }
}

/// Writes both copies, one after the other, each durable before the next begins: at any moment
/// one is whole.
pub(super) fn write<S: Storage>(
    storage: &mut S,
    binary: &Binary,
    metadata: &Metadata,
) -> Result<(), Luks2Error> {
    for offset in [0, binary.size] {
        write_copy(storage, binary, metadata, offset)?;
    }
    Ok(())
}

/// Writes the copy that is not the good one.
pub(super) fn repair<S: Storage>(storage: &mut S, found: &Found) -> Result<(), Luks2Error> {
    let offset = match found.copies {
        Copies::Whole => return Ok(()),
        Copies::PrimaryStale => 0,
        Copies::SecondaryStale => found.binary.size,
    };
    write_copy(storage, &found.binary, &found.metadata, offset)
}

fn write_copy<S: Storage>(
    storage: &mut S,
    binary: &Binary,
    metadata: &Metadata,
    offset: u64,
) -> Result<(), Luks2Error> {
    let json = metadata.emit();
    let room = usize::try_from(binary.size).unwrap_or(usize::MAX).saturating_sub(BINARY);
    // A zero must end the text.
    if json.is_empty() || json.len() >= room {
        return Err(Luks2Error::MetadataFull { need: json.len() + 1, room });
    }
    let mut salt = [0; 64];
    getrandom::fill(&mut salt).map_err(Luks2Error::Random)?;
    let copy = binary.emit(offset, &json, &salt);
    storage.write_at(offset, &copy).map_err(Luks2Error::io("writing the header"))?;
    storage.sync().map_err(Luks2Error::io("making the header durable"))
}

/// Reads and checks the copy at `offset`. A copy that cannot be read is as bad as a damaged one:
/// the other may be on good sectors.
fn read_copy<S: Storage>(storage: &S, end: u64, offset: u64) -> Result<Copy, Bad> {
    if end.saturating_sub(offset) < BINARY as u64 {
        return Err(Bad::Magic);
    }
    let unreadable = |error| Bad::Other(format!("it cannot be read: {error}"));
    let mut head = [0; BINARY];
    storage.read_at(offset, &mut head).map_err(unreadable)?;
    let binary = Binary::parse(&head, offset)?;
    if offset != 0 && binary.size != offset {
        return Err(Bad::Other("its size is not where it lies".into()));
    }
    if end - offset < binary.size {
        return Err(Bad::Other("the device ends inside it".into()));
    }
    let mut whole = vec![0; usize::try_from(binary.size).unwrap_or(BINARY)];
    storage.read_at(offset, &mut whole).map_err(unreadable)?;
    if !checksum_holds(&whole) {
        return Err(Bad::Other("its checksum is wrong".into()));
    }
    let json = whole.split_off(BINARY);
    let metadata = Metadata::parse(&json).map_err(Bad::Other)?;
    Ok(Copy { binary, metadata })
}

/// With the first copy unusable, the second one may be at any of the format's places.
fn recover<S: Storage>(storage: &S, end: u64) -> Result<Copy, Bad> {
    let mut worst = Bad::Magic;
    for offset in SIZES {
        match read_copy(storage, end, offset) {
            Ok(copy) => return Ok(copy),
            Err(Bad::Magic) => {}
            Err(bad) => worst = bad,
        }
    }
    Err(worst)
}

fn newer(first: Copy, second: Copy) -> Found {
    // Texts may differ in the order of members and mean the same.
    let same = first.metadata.emit() == second.metadata.emit() && first.binary == second.binary;
    if first.binary.sequence >= second.binary.sequence {
        first.found(if same { Copies::Whole } else { Copies::SecondaryStale })
    } else {
        second.found(Copies::PrimaryStale)
    }
}

impl Copy {
    fn found(self, copies: Copies) -> Found {
        Found { binary: self.binary, metadata: self.metadata, copies }
    }
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Magic => f.write_str("no header there"),
            Self::Version(version) => write!(f, "its version is {version}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}
