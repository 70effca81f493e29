// SPDX-License-Identifier: MIT OR Apache-2.0
//! ACEs with a fixed UID (Opal 2.30 tables 23 and 39; DataStore, PSID and SUM feature sets).

use crate::Uid;

const fn row(row: u32) -> Uid {
    Uid::new(super::table::ACE, row)
}

/// ACE_Anybody.
pub const ANYBODY: Uid = row(1);
/// ACE_Admin.
pub const ADMIN: Uid = row(2);

/// ACEs of the Admin SP.
pub mod admin_sp {
    use super::{Uid, row};

    /// ACE_Set_Enabled.
    pub const SET_ENABLED: Uid = row(0x0003_0001);
    /// ACE_SP_SID.
    pub const SP_SID: Uid = row(0x0003_0002);
    /// ACE_TPerInfo_Set_ProgrammaticResetEnable.
    pub const TPER_INFO_SET_PROGRAMMATIC_RESET_ENABLE: Uid = row(0x0003_0003);
    /// ACE_C_PIN_SID_Get_NOPIN.
    pub const C_PIN_SID_GET_NO_PIN: Uid = row(0x8C02);
    /// ACE_C_PIN_SID_Set_PIN.
    pub const C_PIN_SID_SET_PIN: Uid = row(0x8C03);
    /// ACE_C_PIN_MSID_Get_PIN.
    pub const C_PIN_MSID_GET_PIN: Uid = row(0x8C04);
    /// ACE_C_PIN_Admins_Set_PIN.
    pub const C_PIN_ADMINS_SET_PIN: Uid = row(0x0003_A001);
    /// ACE_DataRemovalMechanism_Set_ActiveDataRemovalMechanism.
    pub const DATA_REMOVAL_SET_ACTIVE: Uid = row(0x0005_0001);
    /// ACE_SP_PSID.
    pub const SP_PSID: Uid = row(0x0001_00E0);
    /// ACE_C_PIN_Get_PSID_NoPIN.
    pub const C_PIN_GET_PSID_NO_PIN: Uid = row(0x0001_00E1);
}

/// ACEs of the Locking SP.
pub mod locking_sp {
    use super::{Uid, row};

    /// ACE_Anybody_Get_CommonName.
    pub const ANYBODY_GET_COMMON_NAME: Uid = row(3);
    /// ACE_Admins_Set_CommonName.
    pub const ADMINS_SET_COMMON_NAME: Uid = row(4);
    /// ACE_ACE_Get_All.
    pub const ACE_GET_ALL: Uid = row(0x0003_8000);
    /// ACE_ACE_Set_BooleanExpression.
    pub const ACE_SET_BOOLEAN_EXPRESSION: Uid = row(0x0003_8001);
    /// ACE_Authority_Get_All.
    pub const AUTHORITY_GET_ALL: Uid = row(0x0003_9000);
    /// ACE_Authority_Set_Enabled.
    pub const AUTHORITY_SET_ENABLED: Uid = row(0x0003_9001);
    /// ACE_C_PIN_Admins_Get_All_NOPIN.
    pub const C_PIN_ADMINS_GET_ALL_NO_PIN: Uid = row(0x0003_A000);
    /// ACE_C_PIN_Admins_Set_PIN.
    pub const C_PIN_ADMINS_SET_PIN: Uid = row(0x0003_A001);
    /// ACE_K_AES_Mode.
    pub const K_AES_MODE: Uid = row(0x0003_BFFF);
    /// ACE_Locking_GlblRng_Admins_Set.
    pub const LOCKING_GLOBAL_ADMINS_SET: Uid = row(0x0003_F000);
    /// ACE_Locking_Admins_RangeStartToLOR.
    pub const LOCKING_ADMINS_RANGE_START_TO_LOR: Uid = row(0x0003_F001);
    /// ACE_MBRControl_Admins_Set.
    pub const MBR_CONTROL_ADMINS_SET: Uid = row(0x0003_F800);
    /// ACE_MBRControl_Set_DoneToDOR.
    pub const MBR_CONTROL_SET_DONE_TO_DOR: Uid = row(0x0003_F801);

    /// ACE_C_PIN_UserMM_Set_PIN; `user` from 1.
    #[must_use]
    pub const fn c_pin_user_set_pin(user: u16) -> Uid {
        row(0x0003_A800 + user as u32)
    }
    /// ACE_UserMM_Set_CommonName; `user` from 1.
    #[must_use]
    pub const fn user_set_common_name(user: u16) -> Uid {
        row(0x0004_4000 + user as u32)
    }
    /// ACE_K_AES_128_…_GenKey of a range; 0 is the Global Range.
    #[must_use]
    pub const fn k_aes_128_gen_key(range: u16) -> Uid {
        row(0x0003_B000 + range as u32)
    }
    /// ACE_K_AES_256_…_GenKey of a range; 0 is the Global Range.
    #[must_use]
    pub const fn k_aes_256_gen_key(range: u16) -> Uid {
        row(0x0003_B800 + range as u32)
    }
    /// ACE_Locking_…_Get_RangeStartToActiveKey; 0 is the Global Range.
    #[must_use]
    pub const fn locking_get(range: u16) -> Uid {
        row(0x0003_D000 + range as u32)
    }
    /// ACE_Locking_…_Set_RdLocked; 0 is the Global Range.
    #[must_use]
    pub const fn locking_set_read_locked(range: u16) -> Uid {
        row(0x0003_E000 + range as u32)
    }
    /// ACE_Locking_…_Set_WrLocked; 0 is the Global Range.
    #[must_use]
    pub const fn locking_set_write_locked(range: u16) -> Uid {
        row(0x0003_E800 + range as u32)
    }
    /// ACE_DataStoreN_Get_All; `n` from 1 to 2048.
    #[must_use]
    pub const fn data_store_get(n: u16) -> Uid {
        let index = (n as u32).saturating_sub(1);
        let first = if index < 128 { 0x0003_FC00 } else { 0x0004_5000 };
        row(first + 2 * index)
    }
    /// ACE_DataStoreN_Set_All; `n` from 1 to 2048.
    #[must_use]
    pub const fn data_store_set(n: u16) -> Uid {
        Uid(data_store_get(n).0 + 1)
    }
}

/// ACEs that Single User Mode adds to the Locking SP (one source).
pub mod single_user {
    use super::{Uid, row};

    /// ACE_C_PIN_Anybody_Get_NoPIN.
    pub const C_PIN_ANYBODY_GET_NO_PIN: Uid = row(0x0004_2000);
    /// ACE_SP_Reactivate_Admin.
    pub const SP_REACTIVATE_ADMIN: Uid = row(0x0004_2001);

    /// ACE_Locking_…_Set_ReadToLOR; 0 is the Global Range.
    #[must_use]
    pub const fn set_read_to_lor(range: u16) -> Uid {
        row(0x0004_0000 + range as u32)
    }
    /// ACE_Locking_RangeNN_Set_Range; `range` from 1.
    #[must_use]
    pub const fn set_range(range: u16) -> Uid {
        row(0x0004_1000 + range as u32)
    }
    /// ACE_Locking_…_Erase; 0 is the Global Range.
    #[must_use]
    pub const fn erase(range: u16) -> Uid {
        row(0x0004_3000 + range as u32)
    }
}

/// ACEs of Enterprise (Enterprise 1.01).
pub mod enterprise {
    use super::{Uid, row};

    /// ACE_Makers (Admin SP).
    pub const MAKERS: Uid = row(3);
    /// ACE_SID (Admin SP).
    pub const SID: Uid = row(0x201);
    /// ACE_C_PIN_SID_Set_SelfPIN (Admin SP).
    pub const C_PIN_SID_SET_SELF: Uid = row(0x8C03);
    /// ACE_C_PIN_MSID_Get_PIN (Admin SP).
    pub const C_PIN_MSID_GET_PIN: Uid = row(0x8C04);
    /// ACE_SID_SetMakers (Admin SP).
    pub const SID_SET_MAKERS: Uid = row(0x8C05);
    /// ACE_EraseMaster (Locking SP).
    pub const ERASE_MASTER: Uid = row(0x8C01);
    /// ACE_C_PIN_EraseMaster_SetSelf (Locking SP).
    pub const C_PIN_ERASE_MASTER_SET_SELF: Uid = row(0x8C02);
    /// ACE_AnyMaster (Locking SP).
    pub const ANY_MASTER: Uid = row(0x8C05);
    /// ACE_BandMasters (Locking SP).
    pub const BAND_MASTERS: Uid = row(0x8C06);
    /// ACE_Anybody_GetBand (Locking SP).
    pub const ANYBODY_GET_BAND: Uid = row(0x201);
    /// ACE_Get_K_AES_Mode (Locking SP).
    pub const GET_K_AES_MODE: Uid = row(0x0003_BFFF);

    /// ACE_BandMasterN; `n` from 0.
    #[must_use]
    pub const fn band_master(n: u16) -> Uid {
        row(0x8001 + n as u32)
    }
    /// ACE_C_PIN_BandMasterN_SetSelf; `n` from 0.
    #[must_use]
    pub const fn c_pin_band_master_set_self(n: u16) -> Uid {
        row(0x8401 + n as u32)
    }
    /// ACE_Locking_BandMasterN_SetBand; `n` from 0.
    #[must_use]
    pub const fn locking_band_master_set_band(n: u16) -> Uid {
        row(0x8801 + n as u32)
    }
}
