// SPDX-License-Identifier: MIT OR Apache-2.0
//! Method UIDs (Core 2.01 §5; Opal 2.30 §4.2.1.4).

use crate::Uid;

const fn session_manager(number: u32) -> Uid {
    Uid::new(0, 0xFF00 | number)
}

const fn sp(number: u32) -> Uid {
    Uid::new(6, number)
}

/// Properties.
pub const PROPERTIES: Uid = session_manager(0x01);
/// StartSession.
pub const START_SESSION: Uid = session_manager(0x02);
/// SyncSession.
pub const SYNC_SESSION: Uid = session_manager(0x03);
/// CloseSession.
pub const CLOSE_SESSION: Uid = session_manager(0x06);

/// CreateRow.
pub const CREATE_ROW: Uid = sp(0x0004);
/// DeleteRow.
pub const DELETE_ROW: Uid = sp(0x0005);
/// Get of Enterprise.
pub const ENTERPRISE_GET: Uid = sp(0x0006);
/// Set of Enterprise.
pub const ENTERPRISE_SET: Uid = sp(0x0007);
/// Next.
pub const NEXT: Uid = sp(0x0008);
/// Authenticate of Enterprise.
pub const ENTERPRISE_AUTHENTICATE: Uid = sp(0x000C);
/// GetACL.
pub const GET_ACL: Uid = sp(0x000D);
/// AddACE.
pub const ADD_ACE: Uid = sp(0x000E);
/// RemoveACE.
pub const REMOVE_ACE: Uid = sp(0x000F);
/// GenKey.
pub const GEN_KEY: Uid = sp(0x0010);
/// RevertSP.
pub const REVERT_SP: Uid = sp(0x0011);
/// Get.
pub const GET: Uid = sp(0x0016);
/// Set.
pub const SET: Uid = sp(0x0017);
/// Authenticate.
pub const AUTHENTICATE: Uid = sp(0x001C);
/// Revert.
pub const REVERT: Uid = sp(0x0202);
/// Activate.
pub const ACTIVATE: Uid = sp(0x0203);
/// Random.
pub const RANDOM: Uid = sp(0x0601);
/// Reactivate (Single User Mode; one source).
pub const REACTIVATE: Uid = sp(0x0801);
/// Erase (Single User Mode, Enterprise).
pub const ERASE: Uid = sp(0x0803);
/// Assign (Configurable Namespace Locking; one source).
pub const ASSIGN: Uid = sp(0x0804);
/// Deassign (Configurable Namespace Locking; one source).
pub const DEASSIGN: Uid = sp(0x0805);

/// Names of SSC-specific optional parameters: they begin at this number.
pub mod parameter {
    /// RevertSP: KeepGlobalRangeKey.
    pub const KEEP_GLOBAL_RANGE_KEY: u64 = 0x06_0000;
    /// Activate, Reactivate: SingleUserModeSelectionList.
    pub const SINGLE_USER_MODE_SELECTION_LIST: u64 = 0x06_0000;
    /// Activate, Reactivate: RangeStartRangeLengthPolicy.
    pub const RANGE_START_RANGE_LENGTH_POLICY: u64 = 0x06_0001;
    /// Activate: DataStoreTableSizes.
    pub const ACTIVATE_DATA_STORE_TABLE_SIZES: u64 = 0x06_0002;
    /// Reactivate: Admin1PIN.
    pub const REACTIVATE_ADMIN1_PIN: u64 = 0x06_0002;
    /// Reactivate: DataStoreTableSizes.
    pub const REACTIVATE_DATA_STORE_TABLE_SIZES: u64 = 0x06_0003;
}
