// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox decode`: what a capture says, for a person or as JSON.
//!
//! Takes raw bytes, hex text as dump tools print it, and the JSON records `sed-drive/1` and
//! `sed-trace/1`. What is cut is shown as far as it goes; secrets are never shown.

mod detect;
mod hex;
mod json;
mod query_text;
mod record;
mod text;

pub use query_text::{QueryText, TextFeature};

use opal::wire::print::Message;

/// Larger files are no captures of this protocol.
const INPUT_MAX: usize = 16 << 20;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What kind of file it is.
    pub input: Input,
    /// Whose bytes these are, as the record tells.
    pub drive: Vec<(&'static str, String)>,
    /// What it holds, in its order.
    pub parts: Vec<Part>,
    /// What is missing or odd about the file itself.
    pub notes: Vec<String>,
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// Bytes.
    #[default]
    Binary,
    /// Hex text.
    Hex,
    /// A drive record.
    DriveRecord,
    /// A trace record.
    TraceRecord,
}

impl Input {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Hex => "hex",
            Self::DriveRecord => "sed-drive/1",
            Self::TraceRecord => "sed-trace/1",
        }
    }
}

/// A thing decoded.
#[derive(Clone, Debug)]
pub enum Part {
    /// One interface command.
    Message(Box<Message>),
    /// What another tool printed about a drive's discovery and properties.
    QueryText(QueryText),
    /// Communication properties without the bytes they came from.
    Properties(Vec<(String, u64)>),
    /// One line of evidence about a drive, in the words of the record.
    Evidence {
        /// The key it stood under.
        key: String,
        /// What stood there.
        value: String,
    },
    /// A step of a state sequence: what was done, or what the drive then said.
    Step(Step),
}

/// A step of a state sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was done to the drive.
    Action(String),
    /// The Locking feature's flags.
    Locking(Vec<(String, bool)>),
    /// A row of the locking table.
    Range {
        /// Number of the range.
        number: u64,
        /// Start and length in logical blocks, if told.
        extent: Option<(u64, u64)>,
        /// Its flags.
        flags: Vec<(String, bool)>,
    },
}

/// Nothing in the file could be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// Too large.
    #[error("the file is larger than {} MiB; captures of security commands are small", INPUT_MAX >> 20)]
    TooLarge,
    /// Neither discovery, nor a ComPacket, nor tokens.
    #[error(
        "nothing in these {0} bytes is known: no discovery answer, ComPacket, token stream or \
         protocol list begins here; give the raw answer from its first byte"
    )]
    Unrecognised(usize),
    /// Text that is neither hex nor JSON.
    #[error(
        "line {line}: {what}; give raw bytes, a hex dump, or a sed-drive/1 or sed-trace/1 record"
    )]
    Hex {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// JSON that is none of the records.
    #[error("{0}")]
    Record(String),
}

/// Decodes a file.
///
/// # Errors
/// Nothing in it could be decoded; the error says why and what to give instead.
pub fn decode(input: &[u8]) -> Result<Report, DecodeError> {
    if input.is_empty() {
        return Err(DecodeError::Empty);
    }
    if input.len() > INPUT_MAX {
        return Err(DecodeError::TooLarge);
    }
    let report = match core::str::from_utf8(input) {
        Ok(text) if text.trim_start().starts_with('{') => record::decode(text)?,
        Ok(text) if is_text(text) => from_hex(text)?,
        _ => detect::messages(input, 0)?,
    };
    if report.parts.is_empty() {
        return Err(DecodeError::Unrecognised(input.len()));
    }
    Ok(report)
}

fn is_text(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace())
        && text.chars().any(|c| !c.is_whitespace())
}

fn from_hex(text: &str) -> Result<Report, DecodeError> {
    let dump = hex::parse(text)?;
    let mut report = detect::messages(&dump.bytes, dump.first_offset)?;
    report.input = Input::Hex;
    report.notes.splice(0..0, dump.notes);
    Ok(report)
}
