// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extents of ranges: alignment, and the text form people type.

use serde::Serialize;

/// Logical blocks of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// First block.
    pub start: u64,
    /// Number of blocks.
    pub length: u64,
}

impl Extent {
    /// Whether the two have a block in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.start.saturating_add(other.length)
            && other.start < self.start.saturating_add(self.length)
    }
}

/// What extents must fit to. Discovery's Geometry feature; where a drive has none, granularity 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of the drive.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_size: u32,
    /// Blocks that starts and lengths are multiples of; 1 where there is no rule.
    pub granularity: u64,
    /// The block that multiples count from.
    pub lowest_aligned: u64,
}

/// An extent that does not fit, with the numbers that would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtentError {
    /// Not `START+LENGTH`.
    #[error("`{0}` is no extent: write START+LENGTH in blocks, or with K, M, G, T in bytes")]
    Syntax(String),
    /// Bytes that are no whole number of blocks.
    #[error("{bytes} bytes are no whole number of {block_size}-byte blocks")]
    NotBlocks {
        /// What was given.
        bytes: u64,
        /// The drive's.
        block_size: u32,
    },
    /// Length 0.
    #[error("a range of no blocks protects nothing")]
    Empty,
    /// Past the end.
    #[error("the range ends at block {end}, the drive has {blocks}")]
    PastEnd {
        /// First block behind the range.
        end: u64,
        /// Blocks of the drive.
        blocks: u64,
    },
    /// Not aligned.
    #[error(
        "start {start} or length {length} is not aligned: both are multiples of {granularity} \
         blocks on this drive; {near_start}+{near_length} fits"
    )]
    Misaligned {
        /// As given.
        start: u64,
        /// As given.
        length: u64,
        /// Blocks.
        granularity: u64,
        /// The nearest start inside that fits.
        near_start: u64,
        /// The nearest length inside that fits.
        near_length: u64,
    },
}

impl Geometry {
    /// The whole drive, cut to what may be a range. The start 0 is always allowed
    /// (Opal 2.30 §4.3.5.2.1.1).
    #[must_use]
    pub fn whole(&self) -> Extent {
        let past = self.blocks.saturating_sub(self.lowest_aligned) % self.granularity.max(1);
        Extent { start: 0, length: self.blocks - past }
    }

    /// Parses `START+LENGTH`; numbers are blocks, or bytes with a unit.
    ///
    /// # Errors
    /// The text is no extent, or it does not fit this drive.
    pub fn parse(&self, text: &str) -> Result<Extent, ExtentError> {
        let syntax = || ExtentError::Syntax(text.to_owned());
        let (start, length) = text.split_once('+').ok_or_else(syntax)?;
        let extent = Extent {
            start: self.blocks_of(start.trim()).ok_or_else(syntax)??,
            length: self.blocks_of(length.trim()).ok_or_else(syntax)??,
        };
        self.check(extent)?;
        Ok(extent)
    }

    /// Checks that `extent` may be a range (Opal 2.30 §4.3.5.2.1).
    ///
    /// # Errors
    /// It may not; the error has numbers that would.
    pub fn check(&self, extent: Extent) -> Result<(), ExtentError> {
        let Extent { start, length } = extent;
        if length == 0 {
            return Err(ExtentError::Empty);
        }
        let end = start.saturating_add(length);
        if end > self.blocks {
            return Err(ExtentError::PastEnd { end, blocks: self.blocks });
        }
        let granularity = self.granularity.max(1);
        let remainder = |block: u64, base: u64| {
            let offset = i128::from(block) - i128::from(base);
            offset.rem_euclid(i128::from(granularity)) as u64
        };
        let start_off = if start == 0 { 0 } else { remainder(start, self.lowest_aligned) };
        let base = if start == 0 { self.lowest_aligned } else { 0 };
        let length_off = remainder(length, base);
        if start_off == 0 && length_off == 0 {
            return Ok(());
        }
        let moved = if start_off == 0 { 0 } else { granularity - start_off };
        let near_length = length.saturating_sub(moved);
        let near_length = near_length.saturating_sub(remainder(near_length, base));
        Err(ExtentError::Misaligned {
            start,
            length,
            granularity,
            near_start: start + moved,
            // Nothing fits inside: the least that there can be.
            near_length: if near_length == 0 { granularity } else { near_length },
        })
    }

    fn blocks_of(&self, text: &str) -> Option<Result<u64, ExtentError>> {
        let (digits, shift) = match text.char_indices().last()? {
            (at, 'K' | 'k') => (&text[..at], 10),
            (at, 'M' | 'm') => (&text[..at], 20),
            (at, 'G' | 'g') => (&text[..at], 30),
            (at, 'T' | 't') => (&text[..at], 40),
            _ => return text.parse().ok().map(Ok),
        };
        let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
        let block_size = self.block_size.max(1);
        Some(if bytes % u64::from(block_size) == 0 {
            Ok(bytes / u64::from(block_size))
        } else {
            Err(ExtentError::NotBlocks { bytes, block_size })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVE: Geometry =
        Geometry { blocks: 1003, block_size: 512, granularity: 8, lowest_aligned: 0 };

    #[test]
    fn texts() {
        assert_eq!(DRIVE.parse("8+16"), Ok(Extent { start: 8, length: 16 }));
        assert_eq!(DRIVE.parse("4K+8K"), Ok(Extent { start: 8, length: 16 }));
        for bad in ["", "8", "8+", "+8", "-8+8", "8+x", "8+9X", "99999999999T+8"] {
            assert!(matches!(DRIVE.parse(bad), Err(ExtentError::Syntax(_))), "{bad}");
        }
        let large = Geometry { block_size: 4096, ..DRIVE };
        assert_eq!(
            large.parse("1K+8"),
            Err(ExtentError::NotBlocks { bytes: 1024, block_size: 4096 })
        );
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let extent = |start, length| Extent { start, length };
        assert!(!extent(0, 8).overlaps(extent(8, 8)) && !extent(8, 8).overlaps(extent(0, 8)));
        assert!(extent(0, 9).overlaps(extent(8, 8)) && extent(8, 8).overlaps(extent(0, 9)));
        assert!(extent(0, 100).overlaps(extent(50, 1)));
    }

    #[test]
    fn the_whole_drive_is_cut_to_alignment() {
        assert_eq!(DRIVE.whole(), Extent { start: 0, length: 1000 });
        DRIVE.check(DRIVE.whole()).unwrap();
        let shifted = Geometry { lowest_aligned: 5, ..DRIVE };
        assert_eq!(shifted.whole(), Extent { start: 0, length: 997 });
        shifted.check(shifted.whole()).unwrap();
    }

    #[test]
    fn misaligned_extents_come_with_numbers_that_fit() {
        let error = DRIVE.check(Extent { start: 9, length: 20 }).unwrap_err();
        let ExtentError::Misaligned { near_start, near_length, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((near_start, near_length), (16, 8));
        let short = DRIVE.check(Extent { start: 9, length: 3 }).unwrap_err();
        assert!(short.to_string().ends_with("16+8 fits"), "{short}");
        DRIVE.check(Extent { start: near_start, length: near_length }).unwrap();
        assert_eq!(DRIVE.check(Extent { start: 0, length: 0 }), Err(ExtentError::Empty));
        assert_eq!(
            DRIVE.check(Extent { start: 8, length: u64::MAX }),
            Err(ExtentError::PastEnd { end: u64::MAX, blocks: 1003 })
        );
    }
}
