// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file that [`record`](super::record) writes and [`replay`](super::replay) answers from.
//!
//! JSON lines: a header `{"schema":"opalbox-recording/1",…}`, then one [`Exchange`] a line. Bytes are
//! hexadecimal without their trailing zeros; hidden bytes are zeros, and `hidden` says where.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use opal::{TransportError, TransportErrorKind};
use serde::{Deserialize, Serialize};

use super::Direction;

/// Value of `schema` in the header.
pub const SCHEMA: &str = "opalbox-recording/1";

/// Longest line read from a file, in bytes: a transfer of 1 MiB with room for its hidden places.
const MAX_LINE: u64 = 8 << 20;
/// Most exchanges read from a file.
const MAX_EXCHANGES: usize = 1 << 20;
/// Longest transfer in a file.
const MAX_TRANSFER: usize = 1 << 24;

/// First line of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    /// Largest transfer of the recorded path, in bytes.
    pub max_transfer: usize,
}

/// One interface command and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// IF-SEND or IF-RECV.
    pub dir: Direction,
    /// Security protocol.
    pub protocol: u8,
    /// Security protocol specific, a ComID.
    pub specific: u16,
    /// Bytes sent, or asked for.
    pub length: usize,
    /// Bytes received; absent for a send and for a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<usize>,
    /// Payload in hexadecimal, hidden bytes zero, trailing zeros left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hex: String,
    /// Hidden places as offset and length, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<(usize, usize)>,
    /// Present when the command failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// A command that failed, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Sorted cause, by its name in lower case with dashes.
    #[serde(with = "kind")]
    pub kind: TransportErrorKind,
    /// Its text.
    pub detail: String,
}

/// A recording that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("cannot read the recording: {0}")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the recording: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Header {
    /// A header of this version.
    pub fn new(max_transfer: usize) -> Self {
        Self { schema: SCHEMA.into(), max_transfer }
    }
}

impl Exchange {
    /// Puts `data` in, with the bytes of `hidden` replaced by zeros.
    pub fn set_data(&mut self, data: &[u8], hidden: &[Range<usize>]) {
        let used = data.len() - data.iter().rev().take_while(|&&byte| byte == 0).count();
        self.hex.clear();
        self.hex.reserve(2 * used);
        let mut hidden_at = hidden.iter().peekable();
        for (at, byte) in data.iter().enumerate().take(used) {
            while hidden_at.next_if(|range| range.end <= at).is_some() {}
            let secret = hidden_at.peek().is_some_and(|range| range.contains(&at));
            let byte = if secret { 0 } else { *byte };
            for nibble in [byte >> 4, byte & 0x0F] {
                self.hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        self.hidden = hidden.iter().map(|range| (range.start, range.len())).collect();
    }

    /// The payload with its trailing zeros, hidden bytes zero.
    ///
    /// # Errors
    /// The hexadecimal text is malformed or longer than the transfer.
    pub fn data(&self) -> Result<Vec<u8>, String> {
        let length = self.valid.unwrap_or(self.length);
        if self.length > MAX_TRANSFER || length > self.length {
            return Err(format!("a transfer of {length} bytes of {}", self.length));
        }
        let digits = self.hex.as_bytes();
        if !digits.len().is_multiple_of(2) || digits.len() / 2 > length {
            return Err("hex digits do not fit the length".into());
        }
        let mut data = Vec::with_capacity(length);
        for pair in digits.chunks_exact(2) {
            let &[high, low] = pair else { continue };
            let nibble = |digit: u8| {
                char::from(digit).to_digit(16).ok_or_else(|| "not a hex digit".to_owned())
            };
            data.push((nibble(high)? << 4 | nibble(low)?) as u8);
        }
        data.resize(length, 0);
        Ok(data)
    }
}

impl From<&TransportError> for Failure {
    fn from(error: &TransportError) -> Self {
        Self { kind: error.kind, detail: error.detail.clone() }
    }
}

impl From<&Failure> for TransportError {
    fn from(failure: &Failure) -> Self {
        Self::new(failure.kind, failure.detail.clone())
    }
}

/// Reads a whole recording.
///
/// # Errors
/// The reader failed, or a line is not of [`SCHEMA`] or too long.
pub fn read(mut reader: impl BufRead) -> Result<(Header, Vec<Exchange>), RecordingError> {
    let mut number = 0;
    let mut header = None;
    let mut exchanges = Vec::new();
    loop {
        number += 1;
        let mut line = String::new();
        if reader.by_ref().take(MAX_LINE).read_line(&mut line)? == 0 {
            break;
        }
        let wrong = |reason: String| RecordingError::Line { line: number, reason };
        if line.len() as u64 == MAX_LINE {
            return Err(wrong(format!("longer than {MAX_LINE} bytes")));
        }
        if header.is_none() {
            let parsed: Header =
                serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
            if parsed.schema != SCHEMA {
                return Err(wrong(format!("schema {:?}, not {SCHEMA:?}", parsed.schema)));
            }
            header = Some(parsed);
            continue;
        }
        if exchanges.len() == MAX_EXCHANGES {
            return Err(wrong(format!("more than {MAX_EXCHANGES} exchanges")));
        }
        let exchange: Exchange =
            serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        exchange.data().map_err(wrong)?;
        exchanges.push(exchange);
    }
    match header {
        Some(header) => Ok((header, exchanges)),
        None => Err(RecordingError::Line { line: 1, reason: "the file is empty".into() }),
    }
}

/// Kinds of errors by name: `unsupported`, `denied`, `invalid-command`, `protocol-violation`,
/// `invalid-length`, `timed-out`, `gone`, `failed`.
pub(super) mod kind {
    use opal::TransportErrorKind;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::KINDS;

    pub(in super::super) fn serialize<S: Serializer>(
        kind: &TransportErrorKind,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let found = KINDS.iter().find(|(_, known)| known == kind);
        serializer.serialize_str(found.map_or("failed", |(name, _)| name))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<TransportErrorKind, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = KINDS.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, kind)| *kind)
            .ok_or_else(|| D::Error::custom(format!("unknown kind of error {name:?}")))
    }
}

const KINDS: [(&str, TransportErrorKind); 8] = [
    ("unsupported", TransportErrorKind::Unsupported),
    ("denied", TransportErrorKind::Denied),
    ("invalid-command", TransportErrorKind::InvalidCommand),
    ("protocol-violation", TransportErrorKind::ProtocolViolation),
    ("invalid-length", TransportErrorKind::InvalidLength),
    ("timed-out", TransportErrorKind::TimedOut),
    ("gone", TransportErrorKind::Gone),
    ("failed", TransportErrorKind::Failed),
];
