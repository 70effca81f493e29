// SPDX-License-Identifier: MIT OR Apache-2.0
//! C_PIN rows (Opal 2.30 tables 25 and 41; PSID feature set).

use crate::Uid;

const fn row(row: u32) -> Uid {
    Uid::new(super::table::C_PIN, row)
}

/// C_PIN_SID.
pub const SID: Uid = row(1);
/// C_PIN_MSID, readable by anybody.
pub const MSID: Uid = row(0x8402);
/// C_PIN_PSID.
pub const PSID: Uid = row(0x0001_FF01);

/// C_PIN_AdminN of the Admin SP; `n` from 1.
#[must_use]
pub const fn admin_sp_admin(n: u16) -> Uid {
    row(0x200 + n as u32)
}

/// C_PIN_AdminN of the Locking SP; `n` from 1.
#[must_use]
pub const fn admin(n: u16) -> Uid {
    row(0x0001_0000 + n as u32)
}

/// C_PIN_UserN of the Locking SP; `n` from 1.
#[must_use]
pub const fn user(n: u16) -> Uid {
    row(0x0003_0000 + n as u32)
}

/// The C_PIN row that a password authority of the presets uses: same row number.
#[must_use]
pub const fn of(authority: Uid) -> Uid {
    // SID is authority 6 and C_PIN 1; all others agree.
    if authority.0 == super::authority::SID.0 { SID } else { row(authority.row()) }
}
