// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of things in the lockbox: Key IDs, kinds of secret, where a secret came from.

use core::fmt;
use core::str::FromStr;

use serde::{Serialize, Serializer};

use super::error::Error;

/// Longest owner, role, domain, asset id or attribute name, in bytes.
pub const MAX_NAME: usize = 256;

/// Names a secret for ever: 128 random bits, printed as 32 lower-case hexadecimal digits. Every
/// derived asset (snapshot, clone, replica) carries the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// A new one from the operating system's generator.
    ///
    /// # Errors
    /// The generator's error.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(Error::from)?;
        Ok(Self(bytes))
    }

    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits: &[u8; 32] = text
            .as_bytes()
            .try_into()
            .map_err(|_| Error::Input(format!("a Key ID has 32 hexadecimal digits: {text:?}")))?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = core::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or_else(|| Error::Input(format!("not a hexadecimal Key ID: {text:?}")))?;
        }
        Ok(Self(bytes))
    }
}

/// What a secret opens. It stands in the record's header, so a PIN never passes for a volume key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The exact bytes of a drive authority's PIN.
    DrivePin,
    /// The key of a software volume's key slot.
    VolumeDek,
    /// Anything else that the caller keeps.
    Opaque,
}

impl Kind {
    /// The name in records and rows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DrivePin => "drive-pin",
            Self::VolumeDek => "volume-dek",
            Self::Opaque => "opaque",
        }
    }

    /// The kind of that name, if this software knows it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::DrivePin, Self::VolumeDek, Self::Opaque].into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a version's secret came from. Everything but [`Origin::Generated`] makes version 0 when
/// it is a credential's first: what the factory or the last owner left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Made here from random bytes.
    Generated,
    /// The drive's manufactured SID, printed or readable by anyone.
    FactoryMsid,
    /// Taken over from another role of the same drive, as Activate does (Opal 2.30 §5.1.1.2).
    CopyOf {
        /// The role it was copied from.
        role: String,
        /// That role's version.
        version: u64,
    },
    /// Given by a person or another tool.
    Imported,
    /// No bytes at all.
    Empty,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated => f.write_str("generated"),
            Self::FactoryMsid => f.write_str("factory-msid"),
            Self::CopyOf { role, version } => write!(f, "copy-of {role} v{version}"),
            Self::Imported => f.write_str("imported"),
            Self::Empty => f.write_str("empty"),
        }
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "generated" => Self::Generated,
            "factory-msid" => Self::FactoryMsid,
            "imported" => Self::Imported,
            "empty" => Self::Empty,
            other => other
                .strip_prefix("copy-of ")
                .and_then(|rest| rest.rsplit_once(" v"))
                .and_then(|(role, version)| {
                    Some(Self::CopyOf { role: role.to_owned(), version: version.parse().ok()? })
                })
                .ok_or_else(|| Error::Input(format!("unknown origin of a secret: {other:?}")))?,
        })
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Lower-case hexadecimal, for identifiers and public values.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A name that may stand in a row: 1 to [`MAX_NAME`] bytes, no control characters.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::Input(format!(
            "{what} must have 1 to {MAX_NAME} bytes and no control characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_round_trip_as_hex() {
        let id = KeyId::from_bytes([0x0f; 16]);
        assert_eq!(id.to_string(), "0f".repeat(16));
        assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        for bad in ["", "0f", &"+f".repeat(16), &"é".repeat(16), &"0f".repeat(17)] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_round_trip() {
        for origin in [
            Origin::Generated,
            Origin::FactoryMsid,
            Origin::CopyOf { role: "SID v2 v".into(), version: 7 },
            Origin::Imported,
            Origin::Empty,
        ] {
            assert_eq!(origin.to_string().parse::<Origin>().unwrap(), origin);
        }
        assert!("copy-of SID".parse::<Origin>().is_err());
    }
}
