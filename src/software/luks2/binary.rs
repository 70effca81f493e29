// SPDX-License-Identifier: MIT OR Apache-2.0
//! The binary header: the first 4096 bytes of each copy (LUKS2 on-disk format §2.1). All numbers
//! are big-endian.

use std::ops::Range;

use sha2::{Digest, Sha256};

/// Bytes of a binary header.
pub(super) const BINARY: usize = 4096;
/// Sizes that a copy, binary header and metadata, may have; a second copy lies at its size.
pub(super) const SIZES: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];

/// Where the fields are.
mod field {
    use super::Range;

    pub(super) const MAGIC: Range<usize> = 0..6;
    pub(super) const VERSION: Range<usize> = 6..8;
    pub(super) const SIZE: Range<usize> = 8..16;
    pub(super) const SEQUENCE: Range<usize> = 16..24;
    pub(super) const LABEL: Range<usize> = 24..72;
    pub(super) const CHECKSUM_NAME: Range<usize> = 72..104;
    pub(super) const SALT: Range<usize> = 104..168;
    pub(super) const UUID: Range<usize> = 168..208;
    pub(super) const SUBSYSTEM: Range<usize> = 208..256;
    pub(super) const OFFSET: Range<usize> = 256..264;
    pub(super) const CHECKSUM: Range<usize> = 448..512;
}

const PRIMARY_MAGIC: &[u8] = b"LUKS\xba\xbe";
const SECONDARY_MAGIC: &[u8] = b"SKUL\xba\xbe";

/// What a binary header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    /// Bytes of a copy, metadata included.
    pub(super) size: u64,
    /// Grows with each change: of two valid copies the higher one is newer.
    pub(super) sequence: u64,
    pub(super) label: String,
    pub(super) subsystem: String,
    pub(super) uuid: String,
}

/// Why a copy is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bad {
    /// Nothing there that looks like a header.
    Magic,
    Version(u16),
    Other(String),
}

impl Binary {
    /// Reads the fixed part of the copy at `offset`; the checksum needs the whole copy.
    pub(super) fn parse(bytes: &[u8; BINARY], offset: u64) -> Result<Self, Bad> {
        let magic = if offset == 0 { PRIMARY_MAGIC } else { SECONDARY_MAGIC };
        if &bytes[field::MAGIC] != magic {
            return Err(Bad::Magic);
        }
        let version = u16::from_be_bytes([bytes[6], bytes[7]]);
        if version != 2 {
            return Err(Bad::Version(version));
        }
        let number =
            |at: Range<usize>| bytes[at].iter().fold(0, |sum, it| sum << 8 | u64::from(*it));
        let size = number(field::SIZE);
        if !SIZES.contains(&size) {
            return Err(Bad::Other(format!("its size is {size}")));
        }
        if number(field::OFFSET) != offset {
            return Err(Bad::Other(format!("it says that it lies at {}", number(field::OFFSET))));
        }
        let text = |at: Range<usize>, what: &str| {
            let raw = bytes[at].split(|it| *it == 0).next().unwrap_or_default();
            match std::str::from_utf8(raw) {
                Ok(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
                _ => Err(Bad::Other(format!("its {what} is not text"))),
            }
        };
        let checksum = text(field::CHECKSUM_NAME, "checksum's name")?;
        if checksum != "sha256" {
            return Err(Bad::Other(format!("its checksum is {checksum:?}")));
        }
        Ok(Self {
            size,
            sequence: number(field::SEQUENCE),
            label: text(field::LABEL, "label")?,
            subsystem: text(field::SUBSYSTEM, "subsystem")?,
            uuid: text(field::UUID, "UUID")?,
        })
    }

    /// A whole copy for `offset`, its metadata the text in `json`, which fits.
    pub(super) fn emit(&self, offset: u64, json: &[u8], salt: &[u8; 64]) -> Vec<u8> {
        let mut copy = vec![0; usize::try_from(self.size).unwrap_or(BINARY).max(BINARY)];
        let mut put = |at: Range<usize>, data: &[u8]| {
            for (to, from) in copy[at].iter_mut().zip(data) {
                *to = *from;
            }
        };
        put(field::MAGIC, if offset == 0 { PRIMARY_MAGIC } else { SECONDARY_MAGIC });
        put(field::VERSION, &2u16.to_be_bytes());
        put(field::SIZE, &self.size.to_be_bytes());
        put(field::SEQUENCE, &self.sequence.to_be_bytes());
        put(field::LABEL, self.label.as_bytes());
        put(field::CHECKSUM_NAME, b"sha256");
        put(field::SALT, salt);
        put(field::UUID, self.uuid.as_bytes());
        put(field::SUBSYSTEM, self.subsystem.as_bytes());
        put(field::OFFSET, &offset.to_be_bytes());
        put(BINARY..BINARY + json.len(), json);
        let checksum = checksum(&copy);
        copy[field::CHECKSUM][..32].copy_from_slice(&checksum);
        copy
    }
}

/// Whether the checksum in a whole copy is right.
pub(super) fn checksum_holds(copy: &[u8]) -> bool {
    copy.get(field::CHECKSUM).is_some_and(|stored| stored[..32] == checksum(copy))
}

/// SHA-256 of a copy with its checksum field zero.
fn checksum(copy: &[u8]) -> [u8; 32] {
    let (head, rest) = copy.split_at(field::CHECKSUM.start.min(copy.len()));
    let rest = rest.get(field::CHECKSUM.len()..).unwrap_or_default();
    let hash = Sha256::new().chain_update(head).chain_update([0; 64]).chain_update(rest);
    hash.finalize().into()
}

/// Whether `text` fits a field of `room` bytes with the NUL that ends it.
pub(super) fn fits(text: &str, room: usize) -> bool {
    text.len() < room && !text.contains(char::is_control)
}

/// Room of the label, and of the subsystem.
pub(super) const NAME: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Binary {
        Binary {
            size: 0x4000,
            sequence: 7,
            label: "label".into(),
            subsystem: "subsystem".into(),
            uuid: "7174a94c-99f1-46de-a8e2-e93749524ef7".into(),
        }
    }

    #[test]
    fn parse_undoes_emit() {
        for offset in [0, 0x4000] {
            let copy = example().emit(offset, b"{}", &[9; 64]);
            assert_eq!(copy.len(), 0x4000);
            assert!(checksum_holds(&copy));
            let head = copy.first_chunk().unwrap();
            assert_eq!(Binary::parse(head, offset).unwrap(), example());
            assert_eq!(Binary::parse(head, 0x4000 - offset), Err(Bad::Magic));
        }
    }

    #[test]
    fn every_byte_is_under_the_checksum() {
        let mut copy = example().emit(0, b"{\"a\":1}", &[9; 64]);
        for at in (0..copy.len()).filter(|at| !(480..512).contains(at)) {
            copy[at] ^= 0x40;
            assert!(!checksum_holds(&copy), "{at}");
            copy[at] ^= 0x40;
        }
        assert!(!checksum_holds(&copy[..100]));
    }
}
