// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON metadata (LUKS2 on-disk format §3). Members that are not known here are kept as they
//! are, so that a change made by Opalbox loses nothing of another tool's.

use std::collections::BTreeMap;
use std::fmt;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Hash;
use super::kdf::SaltedKdf;

/// Unknown members of an object.
pub(super) type Rest = Map<String, Value>;

/// The whole metadata.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Metadata {
    pub(super) keyslots: BTreeMap<Id, Keyslot>,
    pub(super) tokens: BTreeMap<Id, Value>,
    pub(super) segments: BTreeMap<Id, Segment>,
    pub(super) digests: BTreeMap<Id, Digest>,
    pub(super) config: Config,
    #[serde(flatten)]
    pub(super) rest: Rest,
}

/// A place for one secret that opens the volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Keyslot {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) key_size: usize,
    pub(super) area: Area,
    /// These two are absent from keyslots of other types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) af: Option<AntiForensic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kdf: Option<SaltedKdf>,
    /// 0 only if asked for, 1 usual, 2 first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<u8>,
    #[serde(flatten)]
    pub(super) rest: Rest,
}

/// Where a keyslot's bytes are and how they are encrypted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Area {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: Decimal,
    pub(super) size: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_size: Option<usize>,
    #[serde(flatten)]
    pub(super) rest: Rest,
}

/// The anti-forensic splitter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AntiForensic {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) stripes: usize,
    pub(super) hash: Hash,
}

/// A stretch of data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Segment {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: Decimal,
    pub(super) size: Extent,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iv_tweak: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sector_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) integrity: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) flags: Vec<String>,
    #[serde(flatten)]
    pub(super) rest: Rest,
}

/// What tells the right volume key from a wrong one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Digest {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) keyslots: Vec<Id>,
    pub(super) segments: Vec<Id>,
    pub(super) hash: Hash,
    pub(super) iterations: u32,
    pub(super) salt: Bytes,
    pub(super) digest: Bytes,
    #[serde(flatten)]
    pub(super) rest: Rest,
}

/// Sizes, and what a reader must understand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) json_size: Decimal,
    pub(super) keyslots_size: Decimal,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) flags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requirements: Option<Value>,
    #[serde(flatten)]
    pub(super) rest: Rest,
}

/// The number of an object, 0 to 31; a decimal string in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Id(pub(super) u8);

/// Numbers an object can have.
pub(super) const IDS: u8 = 32;

/// A 64-bit number; a decimal string in JSON, whose own numbers are too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Decimal(pub(super) u64);

/// The size of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum Extent {
    /// Up to the device's end.
    Dynamic,
    /// This many bytes.
    Fixed(u64),
}

/// Bytes; Base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Bytes(pub(super) Vec<u8>);

/// A string that is not what it should be.
#[derive(Debug)]
pub(super) struct NotA(&'static str);

impl fmt::Display for NotA {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}", self.0)
    }
}

/// A number as the format writes it: digits, no sign, no needless zeros.
fn decimal<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|it| it.to_string() == text)
}

impl TryFrom<String> for Id {
    type Error = NotA;

    fn try_from(text: String) -> Result<Self, NotA> {
        decimal(&text).filter(|it| *it < IDS).map(Self).ok_or(NotA("an object number below 32"))
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0.to_string()
    }
}

impl TryFrom<String> for Decimal {
    type Error = NotA;

    fn try_from(text: String) -> Result<Self, NotA> {
        decimal(&text).map(Self).ok_or(NotA("a decimal number in a string"))
    }
}

impl From<Decimal> for String {
    fn from(number: Decimal) -> Self {
        number.0.to_string()
    }
}

impl TryFrom<String> for Extent {
    type Error = NotA;

    fn try_from(text: String) -> Result<Self, NotA> {
        if text == "dynamic" {
            return Ok(Self::Dynamic);
        }
        decimal(&text).map(Self::Fixed).ok_or(NotA("a size"))
    }
}

impl From<Extent> for String {
    fn from(extent: Extent) -> Self {
        match extent {
            Extent::Dynamic => "dynamic".into(),
            Extent::Fixed(bytes) => bytes.to_string(),
        }
    }
}

impl TryFrom<String> for Bytes {
    type Error = NotA;

    fn try_from(text: String) -> Result<Self, NotA> {
        Base64::decode_vec(&text).map(Self).map_err(|_| NotA("Base64"))
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        Base64::encode_string(&bytes.0)
    }
}

impl Metadata {
    /// Parses the metadata area of a copy: JSON text, then zeros to the end.
    pub(super) fn parse(area: &[u8]) -> Result<Self, String> {
        let end = area.iter().position(|it| *it == 0).unwrap_or(area.len());
        let (text, padding) = area.split_at(end);
        if padding.iter().any(|it| *it != 0) {
            return Err("there is something after the metadata".into());
        }
        serde_json::from_slice(text).map_err(|error| format!("metadata: {error}"))
    }

    /// The text to write.
    pub(super) fn emit(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys only: nothing that JSON cannot hold.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
