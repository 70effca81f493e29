// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which columns tables have and what Set may put there (Core 2.01 §5.3.2, §5.4.2, §5.7.2).
//!
//! A column listed here may still be absent from a row: an optional column that this TPer leaves
//! out.

use super::cell::Kind;
use crate::spec::{column, table};

/// Highest column number of `table`, if it is an object table.
pub(super) fn last_column(table: u32) -> Option<u64> {
    Some(match table {
        table::TABLE => column::table::RECOMMENDED_ACCESS_GRANULARITY,
        table::SP_INFO => column::sp_info::ENABLED,
        table::SP_TEMPLATES => column::sp_templates::VERSION,
        table::METHOD_ID => column::method_id::TEMPLATE_ID,
        table::ACE => column::ace::COLUMNS,
        table::AUTHORITY => column::authority::LOG_TO,
        table::C_PIN => column::c_pin::PERSISTENCE,
        table::SECRET_PROTECT => column::secret_protect::PROTECT_MECHANISMS,
        table::TPER_INFO => column::tper_info::PROGRAMMATIC_RESET_ENABLE,
        table::TEMPLATE => column::template::MAX_INSTANCES,
        table::SP => column::sp::FROZEN,
        table::LOCKING_INFO => column::locking_info::LOWEST_ALIGNED_LBA,
        table::LOCKING => column::locking::GENERAL_STATUS,
        table::MBR_CONTROL => column::mbr_control::DONE_ON_RESET,
        table::K_AES_128 | table::K_AES_256 => column::media_key::MODE,
        table::DATA_REMOVAL_MECHANISM => column::data_removal_mechanism::ACTIVE,
        _ => return None,
    })
}

/// What Set may put into a column.
pub(super) fn kind(table: u32, column: u64) -> Kind {
    match (table, column) {
        (table::ACE, column::ace::BOOLEAN_EXPR) => Kind::Expression,
        (table::AUTHORITY, column::authority::ENABLED) => Kind::Boolean,
        (table::AUTHORITY, column::authority::COMMON_NAME)
        | (table::LOCKING, column::locking::COMMON_NAME) => Kind::Name(32),
        (table::C_PIN, column::c_pin::PIN) => Kind::Password,
        (table::TPER_INFO, column::tper_info::PROGRAMMATIC_RESET_ENABLE) => Kind::Boolean,
        (
            table::LOCKING,
            column::locking::READ_LOCK_ENABLED
            | column::locking::WRITE_LOCK_ENABLED
            | column::locking::READ_LOCKED
            | column::locking::WRITE_LOCKED,
        ) => Kind::Boolean,
        (table::LOCKING, column::locking::RANGE_START | column::locking::RANGE_LENGTH) => {
            Kind::Uint8
        }
        (table::LOCKING, column::locking::LOCK_ON_RESET)
        | (table::MBR_CONTROL, column::mbr_control::DONE_ON_RESET) => Kind::ResetTypes,
        (table::MBR_CONTROL, column::mbr_control::ENABLE | column::mbr_control::DONE) => {
            Kind::Boolean
        }
        (table::DATA_REMOVAL_MECHANISM, column::data_removal_mechanism::ACTIVE) => {
            Kind::Enumeration
        }
        _ => Kind::Fixed,
    }
}

/// Number of the column that Enterprise calls `name`.
pub(super) fn column_named(table: u32, name: &[u8]) -> Option<u64> {
    let names = column_names(table);
    names.iter().position(|n| n.as_bytes() == name).map(|number| number as u64)
}

/// What Enterprise calls a column; a number without a name has none.
pub(super) fn column_name(table: u32, column: u64) -> Option<&'static str> {
    column_names(table).get(usize::try_from(column).ok()?).copied()
}

/// Column names in the order of their numbers (Core 2.01 §5.3.2, §5.4.2, §5.7.2).
const fn column_names(table: u32) -> &'static [&'static str] {
    match table {
        table::TABLE => &[
            "UID",
            "Name",
            "CommonName",
            "TemplateID",
            "Kind",
            "Column",
            "NumColumns",
            "Rows",
            "RowsFree",
            "RowBytes",
            "LastID",
            "MinSize",
            "MaxSize",
        ],
        table::SP_INFO => {
            &["UID", "SPID", "Name", "Size", "SizeInUse", "SPSessionTimeout", "Enabled"]
        }
        table::SP_TEMPLATES => &["UID", "TemplateID", "Name", "Version"],
        table::METHOD_ID => &["UID", "Name", "CommonName", "TemplateID"],
        table::ACE => &["UID", "Name", "CommonName", "BooleanExpr", "Columns"],
        table::AUTHORITY => &[
            "UID",
            "Name",
            "CommonName",
            "IsClass",
            "Class",
            "Enabled",
            "Secure",
            "HashAndSign",
            "PresentCertificate",
            "Operation",
            "Credential",
            "ResponseSign",
            "ResponseExch",
            "ClockStart",
            "ClockEnd",
            "Limit",
            "Uses",
            "Log",
            "LogTo",
        ],
        table::C_PIN => {
            &["UID", "Name", "CommonName", "PIN", "CharSet", "TryLimit", "Tries", "Persistence"]
        }
        table::SP => {
            &["UID", "Name", "ORG", "EffectiveAuth", "DateOfIssue", "Bytes", "LifeCycle", "Frozen"]
        }
        table::LOCKING_INFO => &[
            "UID",
            "Name",
            "Version",
            "EncryptSupport",
            "MaxRanges",
            "MaxReEncryptions",
            "KeysAvailableCfg",
        ],
        table::LOCKING => &[
            "UID",
            "Name",
            "CommonName",
            "RangeStart",
            "RangeLength",
            "ReadLockEnabled",
            "WriteLockEnabled",
            "ReadLocked",
            "WriteLocked",
            "LockOnReset",
            "ActiveKey",
            "NextKey",
            "ReEncryptState",
            "ReEncryptRequest",
            "AdvKeyMode",
            "VerifyMode",
            "ContOnReset",
            "LastReEncryptLBA",
            "LastReEncStat",
            "GeneralStatus",
        ],
        table::K_AES_128 | table::K_AES_256 => &["UID", "Name", "CommonName", "Key", "Mode"],
        _ => &[],
    }
}
