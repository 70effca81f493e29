// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects of Enterprise, where parameters and columns go by name (Enterprise 1.01).

use crate::Uid;

/// DataStore of Enterprise, a byte table.
pub const DATA_STORE: Uid = Uid::new(0x8001, 0);

/// The Locking row of band `n`; 0 is the Global Range.
#[must_use]
pub const fn band(n: u16) -> Uid {
    Uid::new(super::table::LOCKING, n as u32 + 1)
}

/// Columns.
#[allow(missing_docs, reason = "the names say it")]
pub mod column {
    pub const PIN: &str = "PIN";
    pub const MAX_RANGES: &str = "MaxRanges";
    pub const RANGE_START: &str = "RangeStart";
    pub const RANGE_LENGTH: &str = "RangeLength";
    pub const READ_LOCK_ENABLED: &str = "ReadLockEnabled";
    pub const WRITE_LOCK_ENABLED: &str = "WriteLockEnabled";
    pub const READ_LOCKED: &str = "ReadLocked";
    pub const WRITE_LOCKED: &str = "WriteLocked";
    pub const LOCK_ON_RESET: &str = "LockOnReset";
}

/// Parameters and components of a cell block.
#[allow(missing_docs, reason = "the names say it")]
pub mod parameter {
    pub const SESSION_TIMEOUT: &str = "SessionTimeout";
    pub const CHALLENGE: &str = "Challenge";
    pub const PARAM_CHECK: &str = "ParamCheck";
    pub const START_ROW: &str = "startRow";
    pub const END_ROW: &str = "endRow";
    pub const START_COLUMN: &str = "startColumn";
    pub const END_COLUMN: &str = "endColumn";
}
