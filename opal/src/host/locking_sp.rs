// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Locking SP: ranges, shadow MBR control, LockingInfo (Opal 2.30 §4.3.5).

use alloc::vec::Vec;

use super::{Access, Activation, DataLoss, LockingSp, ReadWrite, Row, Session};
use crate::error::Error;
use crate::exchange::{Cells, Columns, request};
use crate::spec::column::{locking, locking_info, mbr_control};
use crate::spec::locking::reset;
use crate::{Pin, Uid};

bitflags::bitflags! {
    /// Resets that lock a range or clear MBR Done (`reset_types`, Core 2.01 §5.1.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct ResetTypes: u32 {
        /// Power cycle.
        const POWER_CYCLE = 1 << reset::POWER_CYCLE;
        /// Hardware reset.
        const HARDWARE = 1 << reset::HARDWARE;
        /// Hot plug.
        const HOT_PLUG = 1 << reset::HOT_PLUG;
        /// TPER_RESET.
        const PROGRAMMATIC = 1 << reset::PROGRAMMATIC;
        /// Numbers above are the vendor's.
        const _ = !0;
    }
}

impl ResetTypes {
    pub(super) fn numbers(self) -> impl Iterator<Item = u64> {
        (0..u32::BITS).filter(move |n| self.bits() & (1 << n) != 0).map(u64::from)
    }

    /// Reads the list; an empty one is "never" (quirk D10). Numbers from 32 on are no resets.
    fn from_cells(cells: &Cells, column: u64) -> Result<Self, Error> {
        Ok(Self::from_numbers(cells.uints(column)?))
    }

    pub(super) fn from_numbers(numbers: impl IntoIterator<Item = u64>) -> Self {
        let bits = numbers.into_iter().filter_map(|n| 1u32.checked_shl(u32::try_from(n).ok()?));
        Self::from_bits_retain(bits.fold(0, |types, bit| types | bit))
    }
}

/// State of a range. Columns that the session may not read are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeState {
    /// First logical block.
    pub start: Option<u64>,
    /// Logical blocks; 0 is a range not in use.
    pub length: Option<u64>,
    /// Whether `read_locked` counts.
    pub read_lock_enabled: Option<bool>,
    /// Whether `write_locked` counts.
    pub write_lock_enabled: Option<bool>,
    /// Whether reading is locked.
    pub read_locked: Option<bool>,
    /// Whether writing is locked.
    pub write_locked: Option<bool>,
    /// Resets that lock it.
    pub lock_on_reset: Option<ResetTypes>,
    /// Row of its media key; absent on Pyrite.
    pub active_key: Option<Uid>,
}

impl RangeState {
    /// Whether reads are refused, as far as is shown.
    #[must_use]
    pub fn refuses_reads(&self) -> bool {
        self.read_lock_enabled == Some(true) && self.read_locked == Some(true)
    }

    /// Whether writes are refused, as far as is shown.
    #[must_use]
    pub fn refuses_writes(&self) -> bool {
        self.write_lock_enabled == Some(true) && self.write_locked == Some(true)
    }

    fn from_cells(cells: &Cells) -> Result<Self, Error> {
        let uint = |column| cells.optional(column, |c, n| c.uint(n));
        let boolean = |column| cells.optional(column, |c, n| c.boolean(n));
        Ok(Self {
            start: uint(locking::RANGE_START)?,
            length: uint(locking::RANGE_LENGTH)?,
            read_lock_enabled: boolean(locking::READ_LOCK_ENABLED)?,
            write_lock_enabled: boolean(locking::WRITE_LOCK_ENABLED)?,
            read_locked: boolean(locking::READ_LOCKED)?,
            write_locked: boolean(locking::WRITE_LOCKED)?,
            lock_on_reset: cells.optional(locking::LOCK_ON_RESET, ResetTypes::from_cells)?,
            active_key: cells.optional(locking::ACTIVE_KEY, |c, n| c.uid(n))?,
        })
    }
}

/// What to change of a range; `None` leaves a column as it is. All in one Set, except that some
/// drives want start and length in one of their own (see [`Session::set_range`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeConfig {
    /// First logical block.
    pub start: Option<u64>,
    /// Logical blocks.
    pub length: Option<u64>,
    /// Whether the read lock counts.
    pub read_lock_enabled: Option<bool>,
    /// Whether the write lock counts.
    pub write_lock_enabled: Option<bool>,
    /// Lock or unlock reading.
    pub read_locked: Option<bool>,
    /// Lock or unlock writing.
    pub write_locked: Option<bool>,
    /// Resets that lock it.
    pub lock_on_reset: Option<ResetTypes>,
}

impl RangeConfig {
    /// Locks or unlocks reading and writing, and nothing else.
    #[must_use]
    pub fn locked(read: bool, write: bool) -> Self {
        Self { read_locked: Some(read), write_locked: Some(write), ..Self::default() }
    }

    /// The columns of the Set.
    #[must_use]
    pub fn columns(&self) -> Columns {
        let mut columns = Columns::new();
        let uints = [(locking::RANGE_START, self.start), (locking::RANGE_LENGTH, self.length)];
        for (column, value) in uints {
            if let Some(value) = value {
                columns = columns.uint(column, value);
            }
        }
        let booleans = [
            (locking::READ_LOCK_ENABLED, self.read_lock_enabled),
            (locking::WRITE_LOCK_ENABLED, self.write_lock_enabled),
            (locking::READ_LOCKED, self.read_locked),
            (locking::WRITE_LOCKED, self.write_locked),
        ];
        for (column, value) in booleans {
            if let Some(value) = value {
                columns = columns.boolean(column, value);
            }
        }
        if let Some(resets) = self.lock_on_reset {
            columns = columns.uints(locking::LOCK_ON_RESET, resets.numbers());
        }
        columns
    }

    /// Whether `state`, read back, shows everything this asked for.
    #[must_use]
    pub fn is_met_by(&self, state: &RangeState) -> bool {
        fn met<T: PartialEq>(asked: Option<T>, found: Option<T>) -> bool {
            asked.is_none() || asked == found
        }
        met(self.start, state.start)
            && met(self.length, state.length)
            && met(self.read_lock_enabled, state.read_lock_enabled)
            && met(self.write_lock_enabled, state.write_lock_enabled)
            && met(self.read_locked, state.read_locked)
            && met(self.write_locked, state.write_locked)
            && met(self.lock_on_reset, state.lock_on_reset)
    }
}

/// The shadow MBR's switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MbrControl {
    /// Whether the shadow MBR is used at all.
    pub enable: bool,
    /// Whether it has done its work, so that the real blocks show.
    pub done: bool,
    /// Resets that clear `done`.
    pub done_on_reset: ResetTypes,
}

/// What the Locking SP can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockingInfo {
    /// Ranges beside the Global Range.
    pub max_ranges: u64,
    /// Whether starts and lengths must be aligned.
    pub alignment_required: Option<bool>,
    /// Bytes of a logical block.
    pub logical_block_size: Option<u64>,
    /// Logical blocks that starts and lengths are multiples of.
    pub alignment_granularity: Option<u64>,
    /// First block that a multiple counts from.
    pub lowest_aligned_lba: Option<u64>,
    /// Ranges in Single User Mode; the Locking table itself stands for all.
    pub single_user_ranges: Option<Vec<Uid>>,
    /// Single User Mode: whether Admins keep start and length of ranges.
    pub admins_own_geometry: Option<bool>,
}

impl<A: Access> Session<'_, LockingSp, A> {
    /// State of range `n` (0 is the Global Range): one pair.
    ///
    /// # Errors
    /// There is no such range, the session may read none of it, or the path failed.
    pub fn range(&mut self, n: u16) -> Result<RangeState, Error> {
        let cells = self.get(Row::range(n), locking::RANGE_START..=locking::ACTIVE_KEY)?;
        if cells.is_empty() {
            return Err(Error::NotShown { column: locking::RANGE_START });
        }
        RangeState::from_cells(&cells)
    }

    /// State of the shadow MBR: one pair.
    ///
    /// # Errors
    /// The drive has none, the session may not read it, or the path failed.
    pub fn mbr_control(&mut self) -> Result<MbrControl, Error> {
        let cells = self.get(Row::MBR_CONTROL, mbr_control::ENABLE..=mbr_control::DONE_ON_RESET)?;
        let column = mbr_control::DONE_ON_RESET;
        Ok(MbrControl {
            enable: cells.boolean(mbr_control::ENABLE)?,
            done: cells.boolean(mbr_control::DONE)?,
            done_on_reset: cells
                .optional(column, ResetTypes::from_cells)?
                .unwrap_or(ResetTypes::empty()),
        })
    }

    /// What the Locking SP can do: one pair.
    ///
    /// # Errors
    /// The session may not read it, or the path failed.
    pub fn locking_info(&mut self) -> Result<LockingInfo, Error> {
        let cells = self.get_row(Row::LOCKING_INFO)?;
        let uint = |column| cells.optional(column, |c, n| c.uint(n));
        let boolean = |column| cells.optional(column, |c, n| c.boolean(n));
        Ok(LockingInfo {
            max_ranges: cells.uint(locking_info::MAX_RANGES)?,
            alignment_required: boolean(locking_info::ALIGNMENT_REQUIRED)?,
            logical_block_size: uint(locking_info::LOGICAL_BLOCK_SIZE)?,
            alignment_granularity: uint(locking_info::ALIGNMENT_GRANULARITY)?,
            lowest_aligned_lba: uint(locking_info::LOWEST_ALIGNED_LBA)?,
            single_user_ranges: cells
                .optional(locking_info::SINGLE_USER_MODE_RANGES, |c, n| c.uids(n))?,
            admins_own_geometry: boolean(locking_info::RANGE_START_LENGTH_POLICY)?,
        })
    }
}

impl Session<'_, LockingSp, ReadWrite> {
    /// Changes range `n` with one Set: one pair. Read it back with [`Session::range`] and
    /// [`RangeConfig::is_met_by`]: some drives answer SUCCESS to what they do not do (quirks D2,
    /// D3).
    ///
    /// # Errors
    /// `INVALID_PARAMETER` for start or length off the drive's granularity (quirk D6) or over
    /// another range; the drive refuses; the path failed.
    pub fn set_range(&mut self, n: u16, config: &RangeConfig) -> Result<(), Error> {
        self.set(Row::range(n), &config.columns())
    }

    /// Replaces the media key of range `n`, whose data is lost: two pairs.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`], the session may not read which key it is, the drive refuses, or
    /// the path failed.
    pub fn erase_range(&mut self, n: u16, loss: &DataLoss) -> Result<(), Error> {
        let column = locking::ACTIVE_KEY;
        let key = self.get(Row::range(n), column..=column)?.uid(column)?;
        self.gen_key(Row::at(key), loss)
    }

    /// Erases range `n` in Single User Mode, where its user's PIN becomes empty: one pair.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`], `NOT_AUTHORIZED` outside Single User Mode (quirk D5), or the path
    /// failed.
    pub fn erase_single_user_range(&mut self, n: u16, loss: &DataLoss) -> Result<(), Error> {
        let patience = self.long_patience();
        self.lose_data(request::erase(Row::range(n).uid()), loss, patience)
    }

    /// Changes the shadow MBR's switches; `None` leaves one as it is: one pair.
    ///
    /// # Errors
    /// `NOT_AUTHORIZED` also from drives that have no shadow MBR (quirk A17), or the path failed.
    pub fn set_mbr_control(
        &mut self,
        enable: Option<bool>,
        done: Option<bool>,
        done_on_reset: Option<ResetTypes>,
    ) -> Result<(), Error> {
        let mut columns = Columns::new();
        for (column, value) in [(mbr_control::ENABLE, enable), (mbr_control::DONE, done)] {
            if let Some(value) = value {
                columns = columns.boolean(column, value);
            }
        }
        if let Some(resets) = done_on_reset {
            columns = columns.uints(mbr_control::DONE_ON_RESET, resets.numbers());
        }
        self.set(Row::MBR_CONTROL, &columns)
    }

    /// Changes Single User Mode of an active Locking SP (feature set; one source): one pair. Users
    /// lose their PINs and DataStore tables their bytes; ranges keep keys and data. Ends the
    /// session. [`super::Host::reactivate`] also looks whether the drive did what was asked.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`], `FAIL` while a range is lock-enabled, or the path failed.
    pub fn reactivate(
        self,
        activation: &Activation,
        admin1: Option<&Pin>,
        loss: &DataLoss,
    ) -> Result<(), Error> {
        self.end_with(request::reactivate(activation, admin1), loss)
    }

    /// RevertSP: the Locking SP becomes inactive and its data is lost; with
    /// `keep_global_range_key` the data of the Global Range stays. One pair. Ends the session.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`]; `FAIL` for keeping the key while the Global Range is locked or
    /// the shadow MBR is on (quirk C20); `NOT_AUTHORIZED` where SID or PSID must do it (quirk
    /// C8); or the path failed.
    pub fn revert_sp(self, keep_global_range_key: bool, loss: &DataLoss) -> Result<(), Error> {
        self.end_with(request::revert_sp(keep_global_range_key), loss)
    }
}
