// SPDX-License-Identifier: MIT OR Apache-2.0
//! Read and write commands: which range an LBA belongs to, locks, the shadow MBR (Core 2.01 §5.7.2,
//! tables 230 and 231).

use alloc::vec::Vec;

/// What a read command gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadVerdict {
    /// Serve these extents, in order; together they are exactly the blocks asked for.
    Serve(Vec<Extent>),
    /// Data Protection Error (NVMe 2/86h, SCSI 7/20/02, ATA abort).
    Denied,
    /// Other Invalid Command Parameter: past the end, or the profile forbids crossing ranges.
    Invalid,
}

/// What a write command (trim, write zeroes and the like included) gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteVerdict {
    /// Write these extents, in order; `source` is always a range.
    Allow(Vec<Extent>),
    /// Data Protection Error.
    Denied,
    /// Other Invalid Command Parameter: past the end, or the profile forbids crossing ranges.
    Invalid,
}

/// Consecutive blocks that come from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block.
    pub lba: u64,
    /// How many; never 0.
    pub blocks: u64,
    /// Where they come from.
    pub source: Source,
}

/// Where blocks come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Media, under the key of this range (0 is the Global Range).
    Range(u16),
    /// The MBR table, at byte offset LBA times block size; past the table's end, zeros.
    Shadow,
    /// Zeros, whatever the media holds.
    Zeros,
}

/// A range as the data path sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Number; 0 is the Global Range.
    pub number: u16,
    /// First block; 0 for the Global Range, which is everything in no other range.
    pub start: u64,
    /// Blocks; 0 for a range not in use, and for the Global Range.
    pub length: u64,
    /// Reads are refused (ReadLockEnabled and ReadLocked).
    pub read_locked: bool,
    /// Writes are refused (WriteLockEnabled and WriteLocked).
    pub write_locked: bool,
}

impl Range {
    /// Whether the media key is of no use to anyone now.
    #[must_use]
    pub const fn is_locked_both_ways(&self) -> bool {
        self.read_locked && self.write_locked
    }
}
