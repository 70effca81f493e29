// SPDX-License-Identifier: MIT OR Apache-2.0
//! Authorities (Opal 2.30 tables 24 and 40; PSID feature set).

use crate::Uid;

const fn row(row: u32) -> Uid {
    Uid::new(super::table::AUTHORITY, row)
}

/// Anybody.
pub const ANYBODY: Uid = row(1);
/// Admins, a class.
pub const ADMINS: Uid = row(2);
/// Makers, a class.
pub const MAKERS: Uid = row(3);
/// SID, owner of the drive (Admin SP).
pub const SID: Uid = row(6);
/// PSID, the label's authority (Admin SP).
pub const PSID: Uid = row(0x0001_FF01);
/// Users, a class (Locking SP).
pub const USERS: Uid = row(0x0003_0000);

/// AdminN of the Admin SP; `n` from 1.
#[must_use]
pub const fn admin_sp_admin(n: u16) -> Uid {
    row(0x200 + n as u32)
}

/// AdminN of the Locking SP; `n` from 1.
#[must_use]
pub const fn admin(n: u16) -> Uid {
    row(0x0001_0000 + n as u32)
}

/// UserN of the Locking SP; `n` from 1.
#[must_use]
pub const fn user(n: u16) -> Uid {
    row(0x0003_0000 + n as u32)
}

/// Enterprise authorities (Enterprise 1.01).
pub mod enterprise {
    use super::{Uid, row};

    /// MakerSymK (Admin SP).
    pub const MAKER_SYM_K: Uid = row(4);

    /// BandMasterN; `n` from 0.
    #[must_use]
    pub const fn band_master(n: u16) -> Uid {
        row(0x8001 + n as u32)
    }

    /// EraseMaster.
    pub const ERASE_MASTER: Uid = row(0x8401);
    /// BandMasters, a class.
    pub const BAND_MASTERS: Uid = row(0x8403);
}
