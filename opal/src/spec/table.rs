// SPDX-License-Identifier: MIT OR Apache-2.0
//! Table numbers: the high half of every UID (Core 2.01 §5.3, Opal 2.30 §4.2, §4.3).

use crate::Uid;

/// Table.
pub const TABLE: u32 = 0x0001;
/// SPInfo.
pub const SP_INFO: u32 = 0x0002;
/// SPTemplates.
pub const SP_TEMPLATES: u32 = 0x0003;
/// MethodID.
pub const METHOD_ID: u32 = 0x0006;
/// AccessControl.
pub const ACCESS_CONTROL: u32 = 0x0007;
/// ACE.
pub const ACE: u32 = 0x0008;
/// Authority.
pub const AUTHORITY: u32 = 0x0009;
/// C_PIN.
pub const C_PIN: u32 = 0x000B;
/// SecretProtect.
pub const SECRET_PROTECT: u32 = 0x001D;
/// TPerInfo.
pub const TPER_INFO: u32 = 0x0201;
/// Template.
pub const TEMPLATE: u32 = 0x0204;
/// SP.
pub const SP: u32 = 0x0205;
/// LockingInfo.
pub const LOCKING_INFO: u32 = 0x0801;
/// Locking.
pub const LOCKING: u32 = 0x0802;
/// MBRControl.
pub const MBR_CONTROL: u32 = 0x0803;
/// MBR, a byte table.
pub const MBR: u32 = 0x0804;
/// K_AES_128.
pub const K_AES_128: u32 = 0x0805;
/// K_AES_256.
pub const K_AES_256: u32 = 0x0806;
/// DataStore, a byte table; further ones follow it.
pub const DATA_STORE: u32 = 0x1001;
/// DataStore of Enterprise, a byte table.
pub const ENTERPRISE_DATA_STORE: u32 = 0x8001;
/// DataRemovalMechanism.
pub const DATA_REMOVAL_MECHANISM: u32 = 0x1101;

/// The table itself, as an InvokingID.
#[must_use]
pub const fn uid(table: u32) -> Uid {
    Uid::new(table, 0)
}

/// The row of the Table table that describes `table`.
#[must_use]
pub const fn descriptor(table: u32) -> Uid {
    Uid::new(TABLE, table)
}

/// DataStore table `n` (from 1) as an InvokingID.
#[must_use]
pub const fn data_store(n: u16) -> Uid {
    uid(DATA_STORE + n as u32 - 1)
}

/// The only rows of the one-row tables.
pub mod row {
    use super::{DATA_REMOVAL_MECHANISM, LOCKING_INFO, MBR_CONTROL, SP_INFO, TPER_INFO, Uid};

    /// SPInfo.
    pub const SP_INFO_ROW: Uid = Uid::new(SP_INFO, 1);
    /// TPerInfo.
    pub const TPER_INFO_ROW: Uid = Uid::new(TPER_INFO, 0x0003_0001);
    /// LockingInfo.
    pub const LOCKING_INFO_ROW: Uid = Uid::new(LOCKING_INFO, 1);
    /// MBRControl.
    pub const MBR_CONTROL_ROW: Uid = Uid::new(MBR_CONTROL, 1);
    /// DataRemovalMechanism.
    pub const DATA_REMOVAL_MECHANISM_ROW: Uid = Uid::new(DATA_REMOVAL_MECHANISM, 1);
}
