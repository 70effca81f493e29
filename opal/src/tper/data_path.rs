// SPDX-License-Identifier: MIT OR Apache-2.0
//! Read and write commands: which range an LBA belongs to, locks, the shadow MBR (Core 2.01 §5.7.2,
//! tables 230 and 231).

use alloc::vec::Vec;

use super::profile::Profile;
use super::tables::{Tables, range_number};
use crate::spec::column::locking as column;
use crate::spec::table;

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

/// The ranges as the tables have them: Global Range first, then by number.
pub(super) fn ranges(tables: &Tables) -> Vec<Range> {
    let sp = &tables.locking;
    sp.rows_of(table::LOCKING)
        .filter_map(|(uid, _)| {
            let number = range_number(uid)?;
            let bound = |column| match number {
                0 => 0,
                _ => sp.uint(uid, column).unwrap_or(0),
            };
            Some(Range {
                number,
                start: bound(column::RANGE_START),
                length: bound(column::RANGE_LENGTH),
                read_locked: sp.flag(uid, column::READ_LOCK_ENABLED)
                    && sp.flag(uid, column::READ_LOCKED),
                write_locked: sp.flag(uid, column::WRITE_LOCK_ENABLED)
                    && sp.flag(uid, column::WRITE_LOCKED),
            })
        })
        .collect()
}

/// Whether reads see the shadow MBR.
pub(super) fn is_shadowing(tables: &Tables) -> bool {
    use crate::spec::column::mbr_control as m;
    let sp = &tables.locking;
    let row = table::row::MBR_CONTROL_ROW;
    tables.is_active() && sp.flag(row, m::ENABLE) && !sp.flag(row, m::DONE)
}

/// Where a command goes before locks are looked at.
enum Place {
    Invalid,
    /// First block inside the shadow area; `whole` if the last one is too.
    Shadow {
        whole: bool,
    },
    /// Extents with their ranges.
    Media(Vec<(Extent, Range)>),
}

fn place(tables: &Tables, profile: &Profile, lba: u64, blocks: u64) -> Place {
    let Some(end) = lba.checked_add(blocks).filter(|end| *end <= profile.blocks) else {
        return Place::Invalid;
    };
    if blocks == 0 {
        return Place::Media(Vec::new());
    }
    if is_shadowing(tables) {
        let size = profile.mbr_size.div_ceil(u64::from(profile.geometry.block_size));
        if lba < size {
            return Place::Shadow { whole: end <= size };
        }
    }
    let extents = split(&ranges(tables), lba, end);
    let first = extents.first().map(|(_, range)| range.number);
    let crosses = extents.iter().any(|(_, range)| Some(range.number) != first);
    if crosses && profile.range_crossing_forbidden {
        return Place::Invalid;
    }
    Place::Media(extents)
}

/// Cuts `lba..end` at the bounds of ranges; what no range covers is the Global Range's.
fn split(ranges: &[Range], lba: u64, end: u64) -> Vec<(Extent, Range)> {
    let Some(global) = ranges.iter().find(|r| r.number == 0) else { return Vec::new() };
    let mut sorted: Vec<&Range> = ranges.iter().filter(|r| r.length != 0).collect();
    sorted.sort_unstable_by_key(|r| r.start);
    let mut extents = Vec::new();
    let mut at = lba;
    let mut push = |at: &mut u64, until: u64, range: &Range| {
        if until > *at {
            let source = Source::Range(range.number);
            extents.push((Extent { lba: *at, blocks: until - *at, source }, *range));
            *at = until;
        }
    };
    for range in sorted {
        let range_end = range.start.saturating_add(range.length);
        if range_end <= at || range.start >= end {
            continue;
        }
        push(&mut at, range.start.min(end), global);
        push(&mut at, range_end.min(end), range);
    }
    push(&mut at, end, global);
    extents
}

/// Core 2.01 table 230.
pub(super) fn check_read(tables: &Tables, profile: &Profile, lba: u64, blocks: u64) -> ReadVerdict {
    let extents = match place(tables, profile, lba, blocks) {
        Place::Invalid => return ReadVerdict::Invalid,
        Place::Shadow { whole: true } => {
            return ReadVerdict::Serve([Extent { lba, blocks, source: Source::Shadow }].to_vec());
        }
        Place::Shadow { whole: false } => return ReadVerdict::Denied,
        Place::Media(extents) => extents,
    };
    let locked = extents.iter().filter(|(_, range)| range.read_locked).count();
    if locked == 0 {
        ReadVerdict::Serve(extents.into_iter().map(|(extent, _)| extent).collect())
    } else if is_shadowing(tables) && locked == extents.len() {
        ReadVerdict::Serve([Extent { lba, blocks, source: Source::Zeros }].to_vec())
    } else {
        ReadVerdict::Denied
    }
}

/// Core 2.01 table 231.
pub(super) fn check_write(
    tables: &Tables,
    profile: &Profile,
    lba: u64,
    blocks: u64,
) -> WriteVerdict {
    match place(tables, profile, lba, blocks) {
        Place::Invalid => WriteVerdict::Invalid,
        Place::Shadow { .. } => WriteVerdict::Denied,
        Place::Media(extents) if extents.iter().any(|(_, range)| range.write_locked) => {
            WriteVerdict::Denied
        }
        Place::Media(extents) => {
            WriteVerdict::Allow(extents.into_iter().map(|(extent, _)| extent).collect())
        }
    }
}
