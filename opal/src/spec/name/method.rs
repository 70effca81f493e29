// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of methods, their parameters, and communication properties (Core 2.01 §5.2, §5.3.3).

use crate::Uid;
use crate::spec::method as m;
use crate::wire::reader::Name;

/// The name of a method by its UID.
#[must_use]
pub const fn method(uid: Uid) -> Option<&'static str> {
    Some(match (uid.table(), uid.row()) {
        (0, 0xFF01) => "Properties",
        (0, 0xFF02) => "StartSession",
        (0, 0xFF03) => "SyncSession",
        (0, 0xFF04) => "StartTrustedSession",
        (0, 0xFF05) => "SyncTrustedSession",
        (0, 0xFF06) => "CloseSession",
        (6, row) => match row {
            0x0001 => "DeleteSP",
            0x0002 => "CreateTable",
            0x0003 => "Delete",
            0x0004 => "CreateRow",
            0x0005 => "DeleteRow",
            0x0006 => "Get (Enterprise)",
            0x0007 => "Set (Enterprise)",
            0x0008 => "Next",
            0x0009 => "GetFreeSpace",
            0x000A => "GetFreeRows",
            0x000B => "DeleteMethod",
            0x000C => "Authenticate (Enterprise)",
            0x000D => "GetACL",
            0x000E => "AddACE",
            0x000F => "RemoveACE",
            0x0010 => "GenKey",
            0x0011 => "RevertSP",
            0x0012 => "GetPackage",
            0x0013 => "SetPackage",
            0x0016 => "Get",
            0x0017 => "Set",
            0x001C => "Authenticate",
            0x0201 => "IssueSP",
            0x0202 => "Revert",
            0x0203 => "Activate",
            0x0401 => "GetClock",
            0x0402 => "ResetClock",
            0x0403 => "SetClockHigh",
            0x0404 => "SetLagHigh",
            0x0405 => "SetClockLow",
            0x0406 => "SetLagLow",
            0x0407 => "IncrementCounter",
            0x0601 => "Random",
            0x0602 => "Stir",
            0x0603 => "DecryptInit",
            0x0604 => "Decrypt",
            0x0605 => "DecryptFinalize",
            0x0606 => "EncryptInit",
            0x0607 => "Encrypt",
            0x0608 => "EncryptFinalize",
            0x0609 => "HMACInit",
            0x060A => "HMAC",
            0x060B => "HMACFinalize",
            0x060C => "HashInit",
            0x060D => "Hash",
            0x060E => "HashFinalize",
            0x060F => "Sign",
            0x0610 => "Verify",
            0x0611 => "XOR",
            0x0801 => "Reactivate",
            0x0803 => "Erase",
            0x0804 => "Assign",
            0x0805 => "Deassign",
            0x0A01 => "AddLog",
            0x0A02 => "CreateLog",
            0x0A03 => "ClearLog",
            0x0A04 => "FlushLog",
            _ => return None,
        },
        _ => return None,
    })
}

/// What a parameter is called and whether its value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The name in the signature.
    pub name: &'static str,
    /// A PIN, a proof, or what else must not be printed.
    pub secret: bool,
}

const fn open(name: &'static str) -> Option<Parameter> {
    Some(Parameter { name, secret: false })
}

const fn secret(name: &'static str) -> Option<Parameter> {
    Some(Parameter { name, secret: true })
}

/// The required parameter of `method` at `index`.
#[must_use]
pub fn positional(method: Uid, index: usize) -> Option<Parameter> {
    let names: &[&'static str] = match method {
        m::PROPERTIES => &["TPerProperties"],
        m::START_SESSION => &["HostSessionID", "SPID", "Write"],
        m::SYNC_SESSION | START_TRUSTED_SESSION | SYNC_TRUSTED_SESSION => {
            &["HostSessionID", "SPSessionID"]
        }
        m::CLOSE_SESSION => &["RemoteSessionNumber", "LocalSessionNumber"],
        m::GET | m::ENTERPRISE_GET => &["Cellblock"],
        m::ENTERPRISE_SET => &["Where", "Values"],
        m::ENTERPRISE_AUTHENTICATE | m::AUTHENTICATE => &["Authority"],
        m::NEXT => &["Where", "Count"],
        m::GET_ACL | m::ADD_ACE | m::REMOVE_ACE => &["InvokingID", "MethodID", "ACEs"],
        m::RANDOM => &["Count"],
        _ => &[],
    };
    names.get(index).and_then(|name| open(name))
}

const START_TRUSTED_SESSION: Uid = Uid::new(0, 0xFF04);
const SYNC_TRUSTED_SESSION: Uid = Uid::new(0, 0xFF05);

/// The optional parameter of `method` that `name` stands for, by number or, in Enterprise, by text.
#[must_use]
pub fn parameter(method: Uid, name: Name<'_>) -> Option<Parameter> {
    match name {
        Name::Number(number) => by_number(method, number),
        Name::Text(text) => by_text(text),
    }
}

fn by_number(method: Uid, number: u64) -> Option<Parameter> {
    match (method, number) {
        (m::PROPERTIES, 0) => open("HostProperties"),
        (m::START_SESSION, 0) => secret("HostChallenge"),
        (m::START_SESSION, 1) => open("HostExchangeAuthority"),
        (m::START_SESSION, 2) => secret("HostExchangeCert"),
        (m::START_SESSION, 3) => open("HostSigningAuthority"),
        (m::START_SESSION, 4) => secret("HostSigningCert"),
        (m::START_SESSION, 5) => open("SessionTimeout"),
        (m::START_SESSION, 6) => open("TransTimeout"),
        (m::START_SESSION, 7) => open("InitialCredit"),
        (m::START_SESSION, 8) => secret("SignedHash"),
        (m::SYNC_SESSION, 0) => secret("SPChallenge"),
        (m::SYNC_SESSION, 1) => secret("SPExchangeCert"),
        (m::SYNC_SESSION, 2) => secret("SPSigningCert"),
        (m::SYNC_SESSION, 3) => open("TransTimeout"),
        (m::SYNC_SESSION, 4) => open("InitialCredit"),
        (m::SYNC_SESSION, 5) => secret("SignedHash"),
        (START_TRUSTED_SESSION, 0) => secret("HostResponse"),
        (START_TRUSTED_SESSION, 1) => secret("HostEncryptSessionKey"),
        (START_TRUSTED_SESSION, 2) => secret("HostIntegritySessionKey"),
        (SYNC_TRUSTED_SESSION, 0) => secret("SPResponse"),
        (SYNC_TRUSTED_SESSION, 1) => secret("SPEncryptSessionKey"),
        (SYNC_TRUSTED_SESSION, 2) => secret("SPIntegritySessionKey"),
        (START_TRUSTED_SESSION | SYNC_TRUSTED_SESSION, 3) => secret("SignedHash"),
        (m::SET, 0) => open("Where"),
        (m::SET, 1) => open("Values"),
        (m::NEXT, 0) => open("Where"),
        (m::NEXT, 1) => open("Count"),
        (m::AUTHENTICATE | m::ENTERPRISE_AUTHENTICATE, 0) => secret("Proof"),
        (m::GEN_KEY, 0) => open("PublicExponent"),
        (m::GEN_KEY, 1) => open("PinLength"),
        (m::RANDOM, 0) => open("BufferOut"),
        (m::REVERT_SP, 0x06_0000) => open("KeepGlobalRangeKey"),
        (m::ACTIVATE | m::REACTIVATE, 0x06_0000) => open("SingleUserModeSelectionList"),
        (m::ACTIVATE | m::REACTIVATE, 0x06_0001) => open("RangeStartRangeLengthPolicy"),
        (m::ACTIVATE, 0x06_0002) | (m::REACTIVATE, 0x06_0003) => open("DataStoreTableSizes"),
        (m::REACTIVATE, 0x06_0002) => secret("Admin1PIN"),
        _ => None,
    }
}

/// Parameter names that travel as text.
const TEXT: [(&str, bool); 26] = [
    ("HostProperties", false),
    ("HostChallenge", true),
    ("HostExchangeAuthority", false),
    ("HostExchangeCert", true),
    ("HostSigningAuthority", false),
    ("HostSigningCert", true),
    ("SessionTimeout", false),
    ("TransTimeout", false),
    ("InitialCredit", false),
    ("SignedHash", true),
    ("SPChallenge", true),
    ("SPExchangeCert", true),
    ("SPSigningCert", true),
    ("Challenge", true),
    ("Proof", true),
    ("KeepGlobalRangeKey", false),
    ("ParamCheck", true),
    ("Where", false),
    ("Values", false),
    ("Count", false),
    ("Table", false),
    ("startRow", false),
    ("endRow", false),
    ("startColumn", false),
    ("endColumn", false),
    ("BufferOut", false),
];

fn by_text(text: &[u8]) -> Option<Parameter> {
    TEXT.iter()
        .find(|(name, _)| name.as_bytes() == text)
        .map(|(name, secret)| Parameter { name, secret: *secret })
}

/// Names of communication properties (Core 2.01 table 168; the last three seen on drives).
const PROPERTIES: [&str; 26] = [
    "MaxComPacketSize",
    "MaxResponseComPacketSize",
    "MaxPacketSize",
    "MaxIndTokenSize",
    "MaxAggTokenSize",
    "MaxPackets",
    "MaxSubpackets",
    "MaxMethods",
    "MaxSessions",
    "MaxReadSessions",
    "MaxAuthentications",
    "MaxTransactionLimit",
    "DefSessionTimeout",
    "MaxSessionTimeout",
    "MinSessionTimeout",
    "DefTransTimeout",
    "MaxTransTimeout",
    "MinTransTimeout",
    "MaxComIDTime",
    "ContinuedTokens",
    "SequenceNumbers",
    "AckNak",
    "Asynchronous",
    "MaxComIDCMD",
    "RealTimeClock",
    "MaxSubPackets",
];

/// The property whose name is `text`.
#[must_use]
pub fn property(text: &[u8]) -> Option<&'static str> {
    PROPERTIES.iter().find(|name| name.as_bytes() == text).copied()
}

/// Whether `text` is the beginning of a property's name.
#[must_use]
pub fn begins_property(text: &[u8]) -> bool {
    PROPERTIES.iter().any(|name| name.as_bytes().starts_with(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_mean_different_things_in_different_methods() {
        let name = |method, number| parameter(method, Name::Number(number)).unwrap();
        assert_eq!(name(m::ACTIVATE, 0x06_0002).name, "DataStoreTableSizes");
        assert_eq!(name(m::REACTIVATE, 0x06_0002).name, "Admin1PIN");
        assert!(name(m::REACTIVATE, 0x06_0002).secret);
        assert!(name(m::START_SESSION, 0).secret && !name(m::START_SESSION, 3).secret);
        assert_eq!(parameter(m::GET, Name::Number(9)), None);
    }

    #[test]
    fn enterprise_names() {
        let challenge = parameter(m::ENTERPRISE_AUTHENTICATE, Name::Text(b"Challenge")).unwrap();
        assert!(challenge.secret);
        assert_eq!(positional(m::ENTERPRISE_SET, 1).unwrap().name, "Values");
        assert_eq!(property(b"MaxComPacketSize"), Some("MaxComPacketSize"));
        assert_eq!(property(b"hunter2"), None);
    }
}
