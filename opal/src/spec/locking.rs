// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locking rows, media keys, and how ranges are numbered.

use crate::Uid;

/// Row number of range `n`: 0 is the Global Range. The reference gives Global as row 1 and range N
/// as row 0x00030000 + N (Opal 2.30 table 44).
const fn range_row(n: u16) -> u32 {
    if n == 0 { 1 } else { 0x0003_0000 + n as u32 }
}

/// The Locking row of range `n`; 0 is the Global Range.
#[must_use]
pub const fn range(n: u16) -> Uid {
    Uid::new(super::table::LOCKING, range_row(n))
}

/// The range number of a Locking or media key row, if the row is numbered as in Opal.
#[must_use]
pub const fn range_number(row: Uid) -> Option<u16> {
    match row.row() {
        1 => Some(0),
        low if low > 0x0003_0000 && low <= 0x0003_FFFF => Some((low & 0xFFFF) as u16),
        _ => None,
    }
}

/// The AES-128 media key row of range `n`.
#[must_use]
pub const fn key_128(n: u16) -> Uid {
    Uid::new(super::table::K_AES_128, range_row(n))
}

/// The AES-256 media key row of range `n`.
#[must_use]
pub const fn key_256(n: u16) -> Uid {
    Uid::new(super::table::K_AES_256, range_row(n))
}

/// The Locking row of band `n` of Enterprise; 0 is the Global Range, 1023 the last.
#[must_use]
pub const fn band(n: u16) -> Uid {
    Uid::new(super::table::LOCKING, n as u32 + 1)
}

/// The media key row of band `n` of Enterprise in K_AES table `table`.
#[must_use]
pub const fn band_key(table: u32, n: u16) -> Uid {
    Uid::new(table, n as u32 + 1)
}

/// The band of a Locking or media key row, if the row is numbered as in Enterprise.
#[must_use]
pub const fn band_number(row: Uid) -> Option<u16> {
    match row.row() {
        low @ 1..=0x400 => Some((low - 1) as u16),
        _ => None,
    }
}

/// `reset_types` members (Core 2.01 §5.1.3; Opal 2.30 for Programmatic).
pub mod reset {
    /// Power cycle.
    pub const POWER_CYCLE: u64 = 0;
    /// Hardware reset.
    pub const HARDWARE: u64 = 1;
    /// Hot plug.
    pub const HOT_PLUG: u64 = 2;
    /// TPER_RESET.
    pub const PROGRAMMATIC: u64 = 3;
}
