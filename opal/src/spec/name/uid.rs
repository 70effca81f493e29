// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of tables and rows (Core 2.01 §5.3, §6; Opal 2.30 §4.2, §4.3; Enterprise 1.01; feature
//! sets).

use core::fmt;

use super::method::method;
use crate::Uid;
use crate::spec::table as number;

/// A name with the number that its range gives it, such as `C_PIN_User3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UidName {
    prefix: &'static str,
    number: Option<u32>,
    suffix: &'static str,
}

impl fmt::Display for UidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.prefix)?;
        if let Some(number) = self.number {
            write!(f, "{number}")?;
        }
        f.write_str(self.suffix)
    }
}

const fn plain(prefix: &'static str) -> Option<UidName> {
    Some(UidName { prefix, number: None, suffix: "" })
}

const fn numbered(prefix: &'static str, number: u32, suffix: &'static str) -> Option<UidName> {
    Some(UidName { prefix, number: Some(number), suffix })
}

/// The name of `uid`: an object, a table, a method, or one of the special identifiers.
#[must_use]
pub fn uid(uid: Uid) -> Option<UidName> {
    let row = uid.row();
    match (uid.table(), row) {
        (0, 0) => plain("null"),
        (0, 1) => plain("ThisSP"),
        (0, 0xFF) => plain("SessionManager"),
        (0, _) | (number::METHOD_ID, 1..) => {
            method(uid).map(|name| UidName { prefix: name, number: None, suffix: "" })
        }
        (_, 0) => data_store_table(uid.table()).or_else(|| {
            table(uid.table()).map(|prefix| UidName { prefix, number: None, suffix: " table" })
        }),
        (number::TABLE, row) => {
            table(row).map(|prefix| UidName { prefix, number: None, suffix: " table descriptor" })
        }
        (number::SP_INFO, 1) => plain("SPInfo"),
        (number::SP_TEMPLATES, n) => numbered("SPTemplates row ", n, ""),
        (TYPE, half) => half_uid(half),
        (number::ACE, row) => ace(row),
        (number::AUTHORITY, row) => authority(row),
        (number::C_PIN, row) => c_pin(row),
        (number::SECRET_PROTECT, 0x1D) => plain("SecretProtect_K_AES_128"),
        (number::SECRET_PROTECT, 0x1E) => plain("SecretProtect_K_AES_256"),
        (number::TPER_INFO, 0x0003_0001) => plain("TPerInfo"),
        (number::TEMPLATE, row) => template(row),
        (number::SP, 1) => plain("Admin SP"),
        (number::SP, 2) => plain("Locking SP"),
        (number::SP, 3) => plain("Key per I/O SP"),
        (number::SP, 0x0001_0001) => plain("Enterprise Locking SP"),
        (number::LOCKING_INFO, 1) => plain("LockingInfo"),
        (number::LOCKING, row) => range("Locking_", row, ""),
        (number::K_AES_128, row) => range("K_AES_128_", row, "_Key"),
        (number::K_AES_256, row) => range("K_AES_256_", row, "_Key"),
        (number::MBR_CONTROL, 1) => plain("MBRControl"),
        (number::DATA_REMOVAL_MECHANISM, 1) => plain("DataRemovalMechanism"),
        _ => None,
    }
}

/// Type objects; their low half selects an alternative type.
const TYPE: u32 = 0x0005;

fn half_uid(half: u32) -> Option<UidName> {
    plain(match half {
        0x0C04 => "ACE object reference",
        0x0C05 => "Authority object reference",
        0x040E => "boolean operator",
        0x0C08 => "Template object reference",
        0x0C09 => "Table object reference",
        _ => return None,
    })
}

/// The name of a table by its number.
#[must_use]
pub const fn table(table: u32) -> Option<&'static str> {
    Some(match table {
        number::TABLE => "Table",
        number::SP_INFO => "SPInfo",
        number::SP_TEMPLATES => "SPTemplates",
        0x0004 => "Column",
        TYPE => "Type",
        number::METHOD_ID => "MethodID",
        number::ACCESS_CONTROL => "AccessControl",
        number::ACE => "ACE",
        number::AUTHORITY => "Authority",
        0x000A => "Certificates",
        number::C_PIN => "C_PIN",
        0x000C => "C_RSA_1024",
        0x000D => "C_RSA_2048",
        0x000E => "C_AES_128",
        0x000F => "C_AES_256",
        0x0010 => "C_EC_160",
        0x0011 => "C_EC_192",
        0x0012 => "C_EC_224",
        0x0013 => "C_EC_256",
        0x0014 => "C_EC_384",
        0x0015 => "C_EC_521",
        0x0016 => "C_EC_163",
        0x0017 => "C_EC_233",
        0x0018 => "C_EC_283",
        0x0019 => "C_HMAC_160",
        0x001A => "C_HMAC_256",
        0x001B => "C_HMAC_384",
        0x001C => "C_HMAC_512",
        number::SECRET_PROTECT => "SecretProtect",
        number::TPER_INFO => "TPerInfo",
        0x0203 => "CryptoSuite",
        number::TEMPLATE => "Template",
        number::SP => "SP",
        0x0401 => "ClockTime",
        0x0601 => "H_SHA_1",
        0x0602 => "H_SHA_256",
        0x0603 => "H_SHA_384",
        0x0604 => "H_SHA_512",
        number::LOCKING_INFO => "LockingInfo",
        number::LOCKING => "Locking",
        number::MBR_CONTROL => "MBRControl",
        number::MBR => "MBR",
        number::K_AES_128 => "K_AES_128",
        number::K_AES_256 => "K_AES_256",
        0x0A01 => "Log",
        0x0A02 => "LogList",
        number::DATA_STORE | 0x8001 => "DataStore",
        number::DATA_REMOVAL_MECHANISM => "DataRemovalMechanism",
        _ => return None,
    })
}

/// DataStore tables from the second on; the last is number 2048. The number of the
/// DataRemovalMechanism table falls in their range and wins, because it is in every Admin SP.
fn data_store_table(table: u32) -> Option<UidName> {
    match table {
        number::DATA_REMOVAL_MECHANISM => None,
        0x1002..=0x1800 => numbered("DataStore", table - 0x1000, " table"),
        _ => None,
    }
}

fn range(prefix: &'static str, row: u32, suffix: &'static str) -> Option<UidName> {
    match row {
        1 => Some(UidName {
            prefix: match prefix {
                "Locking_" => "Locking_GlobalRange",
                "K_AES_128_" => "K_AES_128_GlobalRange",
                _ => "K_AES_256_GlobalRange",
            },
            number: None,
            suffix,
        }),
        // Enterprise bands follow the Global Range directly.
        2..=0x400 => {
            let prefix = match prefix {
                "Locking_" => "Locking_Band",
                "K_AES_128_" => "K_AES_128_Band",
                _ => "K_AES_256_Band",
            };
            numbered(prefix, row - 1, suffix)
        }
        0x0003_0001..=0x0003_FFFF => {
            let prefix = match prefix {
                "Locking_" => "Locking_Range",
                "K_AES_128_" => "K_AES_128_Range",
                _ => "K_AES_256_Range",
            };
            numbered(prefix, row & 0xFFFF, suffix)
        }
        _ => None,
    }
}

fn template(row: u32) -> Option<UidName> {
    plain(match row {
        1 => "Base template",
        2 => "Admin template",
        3 => "Clock template",
        4 => "Crypto template",
        5 => "Log template",
        6 => "Locking template",
        _ => return None,
    })
}

fn authority(row: u32) -> Option<UidName> {
    match row {
        1 => plain("Anybody"),
        2 => plain("Admins"),
        3 => plain("Makers"),
        4 => plain("MakerSymK"),
        5 => plain("MakerPuK"),
        6 => plain("SID"),
        7 => plain("TPerSign"),
        8 => plain("TPerExch"),
        9 => plain("AdminExch"),
        0x201..=0x2FF => numbered("Admin", row - 0x200, " (Admin SP)"),
        0x8001..=0x8400 => numbered("BandMaster", row - 0x8001, ""),
        0x8401 => plain("EraseMaster"),
        0x8403 => plain("BandMasters"),
        0x0001_FF01 => plain("PSID"),
        0x0001_0001..=0x0001_FEFF => numbered("Admin", row & 0xFFFF, ""),
        0x0003_0000 => plain("Users"),
        0x0003_0001..=0x0003_FFFF => numbered("User", row & 0xFFFF, ""),
        _ => None,
    }
}

fn c_pin(row: u32) -> Option<UidName> {
    match row {
        1 => plain("C_PIN_SID"),
        0x8402 => plain("C_PIN_MSID"),
        0x201..=0x2FF => numbered("C_PIN_Admin", row - 0x200, " (Admin SP)"),
        0x8001..=0x8400 => numbered("C_PIN_BandMaster", row - 0x8001, ""),
        0x8401 => plain("C_PIN_EraseMaster"),
        0x0001_FF01 => plain("C_PIN_PSID"),
        0x0001_0001..=0x0001_FEFF => numbered("C_PIN_Admin", row & 0xFFFF, ""),
        0x0003_0001..=0x0003_FFFF => numbered("C_PIN_User", row & 0xFFFF, ""),
        _ => None,
    }
}

/// ACE rows that carry the number of a range or an authority: row of number 0, last row, name
/// around the number.
const ACE_RANGES: [(u32, u32, &str, &str); 13] = [
    (0x8001, 0x8400, "ACE_BandMaster", ""),
    (0x8401, 0x8800, "ACE_C_PIN_BandMaster", "_SetSelf"),
    (0x8801, 0x8C00, "ACE_Locking_BandMaster", "_SetBand"),
    (0x0003_A800, 0x0003_AFFF, "ACE_C_PIN_User", "_Set_PIN"),
    (0x0003_B000, 0x0003_B7FF, "ACE_K_AES_128_Range", "_GenKey"),
    (0x0003_B800, 0x0003_BFFE, "ACE_K_AES_256_Range", "_GenKey"),
    (0x0003_D000, 0x0003_DFFF, "ACE_Locking_Range", "_Get_RangeStartToActiveKey"),
    (0x0003_E000, 0x0003_E7FF, "ACE_Locking_Range", "_Set_RdLocked"),
    (0x0003_E800, 0x0003_EFFF, "ACE_Locking_Range", "_Set_WrLocked"),
    (0x0004_0000, 0x0004_0FFF, "ACE_Locking_Range", "_Set_ReadToLOR"),
    (0x0004_1000, 0x0004_1FFF, "ACE_Locking_Range", "_Set_Range"),
    (0x0004_3000, 0x0004_3FFF, "ACE_Locking_Range", "_Erase"),
    (0x0004_4000, 0x0004_4FFF, "ACE_User", "_Set_CommonName"),
];

fn ace(row: u32) -> Option<UidName> {
    let single = match row {
        1 => "ACE_Anybody",
        2 => "ACE_Admin",
        // The same row in an Enterprise Admin SP is ACE_Makers.
        3 => "ACE_Anybody_Get_CommonName",
        4 => "ACE_Admins_Set_CommonName",
        // Enterprise only; the first in its Admin SP, the second in its Locking SP.
        0x201 => "ACE_SID or ACE_Anybody_GetBand",
        0x8C02 => "ACE_C_PIN_SID_Get_NOPIN",
        0x8C03 => "ACE_C_PIN_SID_Set_PIN",
        0x8C04 => "ACE_C_PIN_MSID_Get_PIN",
        0x8C05 => "ACE_SID_SetMakers or ACE_AnyMaster",
        0x8C06 => "ACE_BandMasters",
        0x0001_00E0 => "ACE_SP_PSID",
        0x0001_00E1 => "ACE_C_PIN_Get_PSID_NoPIN",
        0x0003_0001 => "ACE_Set_Enabled",
        0x0003_0002 => "ACE_SP_SID",
        0x0003_0003 => "ACE_TPerInfo_Set_ProgrammaticResetEnable",
        0x0003_8000 => "ACE_ACE_Get_All",
        0x0003_8001 => "ACE_ACE_Set_BooleanExpression",
        0x0003_9000 => "ACE_Authority_Get_All",
        0x0003_9001 => "ACE_Authority_Set_Enabled",
        0x0003_A000 => "ACE_C_PIN_Admins_Get_All_NOPIN",
        0x0003_A001 => "ACE_C_PIN_Admins_Set_PIN",
        0x0003_B000 => "ACE_K_AES_128_GlobalRange_GenKey",
        0x0003_B800 => "ACE_K_AES_256_GlobalRange_GenKey",
        0x0003_BFFF => "ACE_K_AES_Mode",
        0x0003_D000 => "ACE_Locking_GlobalRange_Get_RangeStartToActiveKey",
        0x0003_E000 => "ACE_Locking_GlobalRange_Set_RdLocked",
        0x0003_E800 => "ACE_Locking_GlobalRange_Set_WrLocked",
        0x0003_F000 => "ACE_Locking_GlblRng_Admins_Set",
        0x0003_F001 => "ACE_Locking_Admins_RangeStartToLOR",
        0x0003_F002 => "ACE_Locking_Namespace_IdtoGlbRng",
        0x0003_F800 => "ACE_MBRControl_Admins_Set",
        0x0003_F801 => "ACE_MBRControl_Set_DoneToDOR",
        0x0003_F901 => "ACE_Assign",
        0x0003_F902 => "ACE_Deassign",
        0x0004_2000 => "ACE_C_PIN_Anybody_Get_NoPIN",
        0x0004_2001 => "ACE_SP_Reactivate_Admin",
        0x0005_0001 => "ACE_DataRemovalMechanism_Set_ActiveDataRemovalMechanism",
        _ => "",
    };
    if !single.is_empty() {
        return plain(single);
    }
    if let 0x0003_FC00..=0x0003_FCFF | 0x0004_5000..=0x0004_5FFF = row {
        let first = if row < 0x0004_0000 { 0x0003_FC00 } else { 0x0004_5000 };
        let table = (row - first) / 2 + 1;
        return numbered(
            "ACE_DataStore",
            table,
            if row & 1 == 0 { "_Get_All" } else { "_Set_All" },
        );
    }
    let (zero, _, prefix, suffix) =
        *ACE_RANGES.iter().find(|(first, last, ..)| (*first..=*last).contains(&row))?;
    numbered(prefix, row - zero, suffix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{ace, authority, c_pin, locking, sp};
    use alloc::string::ToString;

    fn name(of: Uid) -> alloc::string::String {
        uid(of).map_or_else(|| "-".into(), |name| name.to_string())
    }

    #[test]
    fn ranges_of_numbers_have_names() {
        assert_eq!(name(c_pin::user(9)), "C_PIN_User9");
        assert_eq!(name(c_pin::MSID), "C_PIN_MSID");
        assert_eq!(name(authority::admin(1)), "Admin1");
        assert_eq!(name(authority::admin_sp_admin(1)), "Admin1 (Admin SP)");
        assert_eq!(name(authority::enterprise::band_master(1023)), "BandMaster1023");
        assert_eq!(name(authority::PSID), "PSID");
        assert_eq!(name(locking::range(0)), "Locking_GlobalRange");
        assert_eq!(name(locking::range(300)), "Locking_Range300");
        assert_eq!(name(locking::key_256(2)), "K_AES_256_Range2_Key");
        assert_eq!(name(Uid::new(0x802, 3)), "Locking_Band2");
        assert_eq!(name(sp::ENTERPRISE_LOCKING), "Enterprise Locking SP");
        assert_eq!(name(sp::THIS_SP), "ThisSP");
        assert_eq!(name(crate::spec::table::uid(0x804)), "MBR table");
        assert_eq!(name(crate::spec::table::data_store(1)), "DataStore table");
        assert_eq!(name(crate::spec::table::data_store(7)), "DataStore7 table");
        assert_eq!(name(crate::spec::table::descriptor(0x1001)), "DataStore table descriptor");
        assert_eq!(name(crate::spec::method::GET), "Get");
        assert_eq!(name(Uid::new(0xDEAD, 5)), "-");
    }

    #[test]
    fn aces() {
        assert_eq!(name(ace::ANYBODY), "ACE_Anybody");
        assert_eq!(name(ace::locking_sp::c_pin_user_set_pin(3)), "ACE_C_PIN_User3_Set_PIN");
        assert_eq!(
            name(ace::locking_sp::locking_set_read_locked(2)),
            "ACE_Locking_Range2_Set_RdLocked"
        );
        assert_eq!(
            name(ace::locking_sp::locking_set_write_locked(0)),
            "ACE_Locking_GlobalRange_Set_WrLocked"
        );
        assert_eq!(name(ace::locking_sp::k_aes_256_gen_key(8)), "ACE_K_AES_256_Range8_GenKey");
        assert_eq!(name(ace::locking_sp::user_set_common_name(5)), "ACE_User5_Set_CommonName");
        assert_eq!(name(ace::locking_sp::data_store_get(1)), "ACE_DataStore1_Get_All");
        assert_eq!(name(ace::locking_sp::data_store_set(128)), "ACE_DataStore128_Set_All");
        assert_eq!(name(Uid::new(8, 0x8801 + 5)), "ACE_Locking_BandMaster5_SetBand");
        assert_eq!(name(Uid::new(8, 0x8401 + 5)), "ACE_C_PIN_BandMaster5_SetSelf");
        assert_eq!(name(Uid::new(8, 0x4_0000 + 5)), "ACE_Locking_Range5_Set_ReadToLOR");
    }
}
