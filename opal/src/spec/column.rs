// SPDX-License-Identifier: MIT OR Apache-2.0
//! Column numbers, one module per table (Core 2.01 §5.3.2, §5.4.2, §5.7.2; Opal 2.30).

macro_rules! columns {
    ($($(#[$doc:meta])* $table:ident { $($name:ident = $value:literal,)* })*) => {
        $($(#[$doc])* #[allow(missing_docs)] pub mod $table { $(pub const $name: u64 = $value;)* })*
    };
}

/// UID is column 0 of every object table.
pub const UID: u64 = 0;

columns! {
    /// Table.
    table { NAME = 1, COMMON_NAME = 2, TEMPLATE_ID = 3, KIND = 4, COLUMN = 5, NUM_COLUMNS = 6,
        ROWS = 7, ROWS_FREE = 8, ROW_BYTES = 9, LAST_ID = 10, MIN_SIZE = 11, MAX_SIZE = 12,
        MANDATORY_WRITE_GRANULARITY = 13, RECOMMENDED_ACCESS_GRANULARITY = 14, }
    /// SPInfo.
    sp_info { SP_ID = 1, NAME = 2, SIZE = 3, SIZE_IN_USE = 4, SP_SESSION_TIMEOUT = 5, ENABLED = 6, }
    /// SPTemplates.
    sp_templates { TEMPLATE_ID = 1, NAME = 2, VERSION = 3, }
    /// MethodID.
    method_id { NAME = 1, COMMON_NAME = 2, TEMPLATE_ID = 3, }
    /// ACE.
    ace { NAME = 1, COMMON_NAME = 2, BOOLEAN_EXPR = 3, COLUMNS = 4, }
    /// Authority.
    authority { NAME = 1, COMMON_NAME = 2, IS_CLASS = 3, CLASS = 4, ENABLED = 5, SECURE = 6,
        HASH_AND_SIGN = 7, PRESENT_CERTIFICATE = 8, OPERATION = 9, CREDENTIAL = 10,
        RESPONSE_SIGN = 11, RESPONSE_EXCH = 12, CLOCK_START = 13, CLOCK_END = 14, LIMIT = 15,
        USES = 16, LOG = 17, LOG_TO = 18, }
    /// C_PIN.
    c_pin { NAME = 1, COMMON_NAME = 2, PIN = 3, CHAR_SET = 4, TRY_LIMIT = 5, TRIES = 6,
        PERSISTENCE = 7, }
    /// SecretProtect.
    secret_protect { TABLE = 1, COLUMN_NUMBER = 2, PROTECT_MECHANISMS = 3, }
    /// TPerInfo.
    tper_info { BYTES = 1, GUDID = 2, GENERATION = 3, FIRMWARE_VERSION = 4, PROTOCOL_VERSION = 5,
        SPACE_FOR_ISSUANCE = 6, SSC = 7, PROGRAMMATIC_RESET_ENABLE = 8, }
    /// Template.
    template { NAME = 1, REVISION_NUMBER = 2, INSTANCES = 3, MAX_INSTANCES = 4, }
    /// SP.
    sp { NAME = 1, ORG = 2, EFFECTIVE_AUTH = 3, DATE_OF_ISSUE = 4, BYTES = 5,
        LIFE_CYCLE_STATE = 6, FROZEN = 7, }
    /// DataRemovalMechanism.
    data_removal_mechanism { ACTIVE = 1, }
    /// LockingInfo.
    locking_info { NAME = 1, VERSION = 2, ENCRYPT_SUPPORT = 3, MAX_RANGES = 4,
        MAX_RE_ENCRYPTIONS = 5, KEYS_AVAILABLE_CFG = 6, ALIGNMENT_REQUIRED = 7,
        LOGICAL_BLOCK_SIZE = 8, ALIGNMENT_GRANULARITY = 9, LOWEST_ALIGNED_LBA = 10,
        SINGLE_USER_MODE_RANGES = 0x060000, RANGE_START_LENGTH_POLICY = 0x060001, }
    /// Locking.
    locking { NAME = 1, COMMON_NAME = 2, RANGE_START = 3, RANGE_LENGTH = 4,
        READ_LOCK_ENABLED = 5, WRITE_LOCK_ENABLED = 6, READ_LOCKED = 7, WRITE_LOCKED = 8,
        LOCK_ON_RESET = 9, ACTIVE_KEY = 10, NEXT_KEY = 11, RE_ENCRYPT_STATE = 12,
        RE_ENCRYPT_REQUEST = 13, ADV_KEY_MODE = 14, VERIFY_MODE = 15, CONT_ON_RESET = 16,
        LAST_RE_ENCRYPT_LBA = 17, LAST_RE_ENC_STAT = 18, GENERAL_STATUS = 19, }
    /// MBRControl.
    mbr_control { ENABLE = 1, DONE = 2, DONE_ON_RESET = 3, }
    /// K_AES_128 and K_AES_256.
    media_key { NAME = 1, COMMON_NAME = 2, KEY = 3, MODE = 4, }
}
