// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names and types of columns, and names of enumerated values (Core 2.01 §5.1.3, §5.3.2, §5.4.2,
//! §5.7.2; Opal 2.30; Single User Mode).

use crate::spec::table;

/// What a column holds, as far as printing needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A UID, or another byte string of its length or half of it.
    Uid,
    /// Text.
    Name,
    /// Bytes that may be shown.
    Bytes,
    /// A number.
    Number,
    /// A boolean.
    Boolean,
    /// A number that has names; see [`value`].
    Enumeration(Enumeration),
    /// A list of numbers that have names.
    Set(Enumeration),
    /// A list of column numbers of another table.
    Columns,
    /// A list of UIDs, expressions or numbers.
    List,
    /// A list of names.
    Names,
    /// A PIN, a key, a digest of one: never shown.
    Secret,
}

/// An enumerated type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enumeration {
    /// auth_method.
    AuthMethod,
    /// boolean_ACE.
    BooleanAce,
    /// hash_protocol.
    HashProtocol,
    /// reset_types.
    ResetType,
    /// life_cycle_state.
    LifeCycle,
    /// data_removal_mechanism.
    DataRemoval,
    /// enc_supported.
    EncryptSupport,
    /// keys_avail_conds.
    KeysAvailable,
    /// adv_key_mode.
    AdvKeyMode,
    /// verify_mode.
    VerifyMode,
    /// reencrypt_state.
    ReEncryptState,
    /// reencrypt_request.
    ReEncryptRequest,
    /// last_reenc_stat.
    LastReEncStat,
    /// gen_status.
    GeneralStatus,
    /// symmetric_mode_media.
    MediaMode,
    /// table_kind.
    TableKind,
    /// log_select.
    LogSelect,
}

/// A column: its name and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

use Enumeration as E;
use Kind::Enumeration as Named;
use Kind::{Boolean, Bytes, Columns, List, Name, Names, Number, Secret, Set, Uid};

/// The columns of each table, by number from 0.
fn columns(number: u32) -> &'static [(&'static str, Kind)] {
    match number {
        table::TABLE => &[
            ("UID", Uid),
            ("Name", Name),
            ("CommonName", Name),
            ("TemplateID", Uid),
            ("Kind", Named(E::TableKind)),
            ("Column", Uid),
            ("NumColumns", Number),
            ("Rows", Number),
            ("RowsFree", Number),
            ("RowBytes", Number),
            ("LastID", Uid),
            ("MinSize", Number),
            ("MaxSize", Number),
            ("MandatoryWriteGranularity", Number),
            ("RecommendedAccessGranularity", Number),
        ],
        table::SP_INFO => &[
            ("UID", Uid),
            ("SPID", Uid),
            ("Name", Name),
            ("Size", Number),
            ("SizeInUse", Number),
            ("SPSessionTimeout", Number),
            ("Enabled", Boolean),
        ],
        table::SP_TEMPLATES => {
            &[("UID", Uid), ("TemplateID", Uid), ("Name", Name), ("Version", Uid)]
        }
        table::METHOD_ID => {
            &[("UID", Uid), ("Name", Name), ("CommonName", Name), ("TemplateID", Uid)]
        }
        table::ACCESS_CONTROL => &[
            ("UID", Uid),
            ("InvokingID", Uid),
            ("MethodID", Uid),
            ("CommonName", Name),
            ("ACL", List),
            ("Log", Named(E::LogSelect)),
            ("AddACEACL", List),
            ("RemoveACEACL", List),
            ("GetACLACL", List),
            ("DeleteMethodACL", List),
            ("AddACELog", Named(E::LogSelect)),
            ("RemoveACELog", Named(E::LogSelect)),
            ("GetACLLog", Named(E::LogSelect)),
            ("DeleteMethodLog", Named(E::LogSelect)),
            ("LogTo", Uid),
        ],
        table::ACE => &[
            ("UID", Uid),
            ("Name", Name),
            ("CommonName", Name),
            ("BooleanExpr", List),
            ("Columns", Columns),
        ],
        table::AUTHORITY => &[
            ("UID", Uid),
            ("Name", Name),
            ("CommonName", Name),
            ("IsClass", Boolean),
            ("Class", Uid),
            ("Enabled", Boolean),
            ("Secure", Number),
            ("HashAndSign", Named(E::HashProtocol)),
            ("PresentCertificate", Boolean),
            ("Operation", Named(E::AuthMethod)),
            ("Credential", Uid),
            ("ResponseSign", Uid),
            ("ResponseExch", Uid),
            ("ClockStart", List),
            ("ClockEnd", List),
            ("Limit", Number),
            ("Uses", Number),
            ("Log", Named(E::LogSelect)),
            ("LogTo", Uid),
        ],
        table::C_PIN => &[
            ("UID", Uid),
            ("Name", Name),
            ("CommonName", Name),
            ("PIN", Secret),
            ("CharSet", Uid),
            ("TryLimit", Number),
            ("Tries", Number),
            ("Persistence", Boolean),
        ],
        table::SECRET_PROTECT => {
            &[("UID", Uid), ("Table", Uid), ("ColumnNumber", Number), ("ProtectMechanisms", List)]
        }
        table::TPER_INFO => &[
            ("UID", Uid),
            ("Bytes", Number),
            ("GUDID", Bytes),
            ("Generation", Number),
            ("FirmwareVersion", Number),
            ("ProtocolVersion", Number),
            ("SpaceForIssuance", Number),
            ("SSC", Names),
            ("ProgrammaticResetEnable", Boolean),
        ],
        table::TEMPLATE => &[
            ("UID", Uid),
            ("Name", Name),
            ("RevisionNumber", Number),
            ("Instances", Number),
            ("MaxInstances", Number),
        ],
        table::SP => &[
            ("UID", Uid),
            ("Name", Name),
            ("ORG", Uid),
            ("EffectiveAuth", Secret),
            ("DateOfIssue", List),
            ("Bytes", Number),
            ("LifeCycleState", Named(E::LifeCycle)),
            ("Frozen", Boolean),
        ],
        table::DATA_REMOVAL_MECHANISM => {
            &[("UID", Uid), ("ActiveDataRemovalMechanism", Named(E::DataRemoval))]
        }
        table::LOCKING_INFO => &[
            ("UID", Uid),
            ("Name", Name),
            ("Version", Number),
            ("EncryptSupport", Named(E::EncryptSupport)),
            ("MaxRanges", Number),
            ("MaxReEncryptions", Number),
            ("KeysAvailableCfg", Named(E::KeysAvailable)),
            ("AlignmentRequired", Boolean),
            ("LogicalBlockSize", Number),
            ("AlignmentGranularity", Number),
            ("LowestAlignedLBA", Number),
        ],
        table::LOCKING => &[
            ("UID", Uid),
            ("Name", Name),
            ("CommonName", Name),
            ("RangeStart", Number),
            ("RangeLength", Number),
            ("ReadLockEnabled", Boolean),
            ("WriteLockEnabled", Boolean),
            ("ReadLocked", Boolean),
            ("WriteLocked", Boolean),
            ("LockOnReset", Set(E::ResetType)),
            ("ActiveKey", Uid),
            ("NextKey", Uid),
            ("ReEncryptState", Named(E::ReEncryptState)),
            ("ReEncryptRequest", Named(E::ReEncryptRequest)),
            ("AdvKeyMode", Named(E::AdvKeyMode)),
            ("VerifyMode", Named(E::VerifyMode)),
            ("ContOnReset", Set(E::ResetType)),
            ("LastReEncryptLBA", Number),
            ("LastReEncStat", Named(E::LastReEncStat)),
            ("GeneralStatus", Set(E::GeneralStatus)),
            ("NamespaceID", Number),
            ("NamespaceGlobalRange", Boolean),
        ],
        table::MBR_CONTROL => &[
            ("UID", Uid),
            ("Enable", Boolean),
            ("Done", Boolean),
            ("DoneOnReset", Set(E::ResetType)),
            ("NamespaceID", Number),
        ],
        table::K_AES_128 | table::K_AES_256 => &[
            ("UID", Uid),
            ("Name", Name),
            ("CommonName", Name),
            ("Key", Secret),
            ("Mode", Named(E::MediaMode)),
        ],
        _ => &[],
    }
}

/// Whether the columns of `table` are known: it is an object table whose cells have names.
#[must_use]
pub fn has_columns(table: u32) -> bool {
    !columns(table).is_empty()
}

/// Column `number` of table `table`.
#[must_use]
pub fn column(table: u32, number: u64) -> Option<Column> {
    let extra = match (table, number) {
        (table::LOCKING_INFO, 0x06_0000) => Some(("SingleUserModeRanges", List)),
        (table::LOCKING_INFO, 0x06_0001) => Some(("RangeStartLengthPolicy", Number)),
        _ => None,
    };
    let index = usize::try_from(number).ok()?;
    let (name, kind) = extra.or_else(|| columns(table).get(index).copied())?;
    Some(Column { name, kind })
}

/// The column of `table` that Enterprise calls `text`.
#[must_use]
pub fn column_by_text(table: u32, text: &[u8]) -> Option<Column> {
    columns(table)
        .iter()
        .find(|(name, _)| name.as_bytes() == text)
        .map(|(name, kind)| Column { name, kind: *kind })
}

/// The name of `value` in `enumeration`.
#[must_use]
pub const fn value(enumeration: Enumeration, value: u64) -> Option<&'static str> {
    Some(match (enumeration, value) {
        (E::AuthMethod, 0) => "None",
        (E::AuthMethod, 1) => "Password",
        (E::AuthMethod, 2) => "Exchange",
        (E::AuthMethod, 3) => "Sign",
        (E::AuthMethod, 4) => "SymK",
        (E::AuthMethod, 5) => "HMAC",
        (E::AuthMethod, 6) => "TPerSign",
        (E::AuthMethod, 7) => "TPerExchange",
        (E::BooleanAce, 0) => "And",
        (E::BooleanAce, 1) => "Or",
        (E::BooleanAce, 2) => "Not",
        (E::HashProtocol, 0) => "None",
        (E::HashProtocol, 1) => "SHA-1",
        (E::HashProtocol, 2) => "SHA-256",
        (E::HashProtocol, 3) => "SHA-384",
        (E::HashProtocol, 4) => "SHA-512",
        (E::ResetType, 0) => "Power Cycle",
        (E::ResetType, 1) => "Hardware",
        (E::ResetType, 2) => "HotPlug",
        (E::ResetType, 3) => "Programmatic",
        (E::LifeCycle, 0) => "Issued",
        (E::LifeCycle, 1) => "Issued-Disabled",
        (E::LifeCycle, 2) => "Issued-Frozen",
        (E::LifeCycle, 3) => "Issued-Disabled-Frozen",
        (E::LifeCycle, 4) => "Issued-Failed",
        (E::LifeCycle, 8) => "Manufactured-Inactive",
        (E::LifeCycle, 9) => "Manufactured",
        (E::LifeCycle, 10) => "Manufactured-Disabled",
        (E::LifeCycle, 11) => "Manufactured-Frozen",
        (E::LifeCycle, 12) => "Manufactured-Disabled-Frozen",
        (E::LifeCycle, 13) => "Manufactured-Failed",
        (E::DataRemoval, 0) => "Overwrite Data Erase",
        (E::DataRemoval, 1) => "Block Erase",
        (E::DataRemoval, 2) => "Cryptographic Erase",
        (E::DataRemoval, 3) => "Unmap",
        (E::DataRemoval, 4) => "Reset Write Pointers",
        (E::DataRemoval, 5) => "Vendor Specific Erase",
        (E::EncryptSupport, 0) => "None",
        (E::EncryptSupport, 1) => "Media Encryption",
        (E::KeysAvailable, 0) => "None",
        (E::KeysAvailable, 1) => "after authentication",
        (E::AdvKeyMode, 0) => "wait for ADVKEY",
        (E::AdvKeyMode, 1) => "automatic",
        (E::VerifyMode, 0) => "no verify",
        (E::VerifyMode, 1) => "verify",
        (E::ReEncryptState, 1) => "Idle",
        (E::ReEncryptState, 2) => "Pending",
        (E::ReEncryptState, 3) => "Active",
        (E::ReEncryptState, 4) => "Completed",
        (E::ReEncryptState, 5) => "Paused",
        (E::ReEncryptRequest, 1) => "START",
        (E::ReEncryptRequest, 2) => "ADVKEY",
        (E::ReEncryptRequest, 3) => "RETIDLE",
        (E::ReEncryptRequest, 4) => "CONT",
        (E::ReEncryptRequest, 5) => "PAUSE",
        (E::LastReEncStat, 0) => "success",
        (E::LastReEncStat, 1) => "read error",
        (E::LastReEncStat, 2) => "write error",
        (E::LastReEncStat, 3) => "verify error",
        (E::GeneralStatus, 0) => "None",
        (E::GeneralStatus, 1) => "pending_tper_error",
        (E::GeneralStatus, 2) => "active_tper_error",
        (E::GeneralStatus, 3) => "active_pause_requested",
        (E::GeneralStatus, 4) => "pend_pause_requested",
        (E::GeneralStatus, 5) => "pend_reset_stop_detect",
        (E::GeneralStatus, 6) => "key_error",
        (E::GeneralStatus, 32) => "wait_AvailableKeys",
        (E::GeneralStatus, 33) => "wait_TPer_resources",
        (E::GeneralStatus, 34) => "active_reset_stop_detect",
        (E::MediaMode, 0) => "ECB",
        (E::MediaMode, 1) => "CBC",
        (E::MediaMode, 2) => "CFB",
        (E::MediaMode, 3) => "OFB",
        (E::MediaMode, 4) => "GCM",
        (E::MediaMode, 5) => "CTR",
        (E::MediaMode, 6) => "CCM",
        (E::MediaMode, 7) => "XTS",
        (E::MediaMode, 8) => "LRW",
        (E::MediaMode, 9) => "EME",
        (E::MediaMode, 10) => "CMC",
        (E::MediaMode, 11) => "XEX",
        (E::MediaMode, 23) => "Media Encryption",
        (E::TableKind, 1) => "Object",
        (E::TableKind, 2) => "Byte",
        (E::LogSelect, 0) => "none",
        (E::LogSelect, 1) => "success",
        (E::LogSelect, 2) => "fail",
        (E::LogSelect, 3) => "always",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::column as numbers;

    #[test]
    fn names_agree_with_the_numbers_used_elsewhere() {
        let name = |table, number| column(table, number).unwrap().name;
        assert_eq!(name(table::C_PIN, numbers::c_pin::PIN), "PIN");
        assert_eq!(name(table::C_PIN, numbers::c_pin::PERSISTENCE), "Persistence");
        assert_eq!(name(table::LOCKING, numbers::locking::GENERAL_STATUS), "GeneralStatus");
        assert_eq!(name(table::AUTHORITY, numbers::authority::LOG_TO), "LogTo");
        assert_eq!(
            name(table::TABLE, numbers::table::RECOMMENDED_ACCESS_GRANULARITY),
            "RecommendedAccessGranularity"
        );
        assert_eq!(
            name(table::LOCKING_INFO, numbers::locking_info::LOWEST_ALIGNED_LBA),
            "LowestAlignedLBA"
        );
        assert_eq!(
            name(table::LOCKING_INFO, numbers::locking_info::SINGLE_USER_MODE_RANGES),
            "SingleUserModeRanges"
        );
        assert_eq!(
            name(table::TPER_INFO, numbers::tper_info::PROGRAMMATIC_RESET_ENABLE),
            "ProgrammaticResetEnable"
        );
        assert_eq!(column(table::LOCKING, 99), None);
        assert_eq!(column(0xDEAD, 0), None);
        assert_eq!(column_by_text(table::C_PIN, b"PIN").unwrap().kind, Secret);
    }
}
