// SPDX-License-Identifier: MIT OR Apache-2.0
//! `control`: one request to the control socket, its answer as one line of JSON.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::super::control::{self, Request, ResetKind};
use super::super::fault::{Action, Command, Fault, Status};
use super::{CliError, no_drive_there};

#[derive(Debug, Args)]
pub(super) struct Control {
    /// The control socket of a served drive.
    socket: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Verb {
    /// Power off and on.
    PowerCycle,
    /// Another reset that an interface reports.
    Reset {
        /// Which one.
        #[arg(value_enum, default_value_t = Reset::Hardware)]
        kind: Reset,
    },
    /// What the drive's tables say; no secrets.
    State,
    /// IF-SEND, IF-RECV and sessions since the last counters-reset.
    Counters,
    /// Count from zero.
    CountersReset,
    /// Stored bytes of blocks, as they are: ciphertext.
    Dump {
        /// First block.
        #[arg(long, default_value_t = 0)]
        lba: u64,
        /// How many, at most 256.
        #[arg(long, default_value_t = 1)]
        blocks: u32,
    },
    /// Let something go wrong.
    Fault {
        /// Which commands count.
        #[arg(long, value_enum, default_value_t = Kind::Any)]
        command: Kind,
        /// It happens at the n-th of them from now on.
        #[arg(long, default_value_t = 1)]
        nth: u32,
        /// To how many in a row.
        #[arg(long, default_value_t = 1)]
        times: u32,
        #[command(subcommand)]
        action: What,
    },
    /// The n-th write, punch or sync of the image file from now on fails; 0 takes it back.
    FailWrite {
        /// 1 is the next.
        nth: u64,
    },
    /// Faults that have not happened.
    Faults,
    /// Take them back.
    FaultsClear,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reset {
    PowerCycle,
    Hardware,
    HotPlug,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    IfSend,
    IfRecv,
    Read,
    Write,
    Flush,
    Discard,
    Any,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Carried out, but the host hears of a failure: the answer is lost.
    Drop,
    /// The command waits first.
    Delay {
        /// How long, at most a minute.
        milliseconds: u32,
    },
    /// Refused and not carried out.
    Status {
        /// With this status.
        #[arg(value_enum)]
        status: Word,
    },
    /// A byte of the answer arrives changed.
    Corrupt {
        /// Which byte.
        offset: u32,
        /// Bits that flip.
        #[arg(default_value_t = 0xFF)]
        mask: u8,
    },
    /// The answer ends early.
    Truncate {
        /// Bytes that arrive.
        length: u32,
    },
    /// Power goes before the command is carried out, and comes back.
    PowerCutBefore,
    /// Power goes after it was carried out, before its answer, and comes back.
    PowerCutAfter,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    InvalidParameter,
    ProtocolViolation,
    InvalidLength,
    DataProtection,
    LbaOutOfRange,
    MediaError,
    InvalidSecurityState,
}

impl Control {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), CliError> {
        let answer = control::ask(&self.socket, &self.verb.request())
            .map_err(|error| no_drive_there(&self.socket, error))?;
        if answer.get("ok") != Some(&Value::Bool(true)) {
            let error = answer.get("error").and_then(Value::as_str);
            return Err(CliError::Refused(error.unwrap_or("an answer without words").to_owned()));
        }
        let mut result = answer.get("result").cloned().unwrap_or_else(|| json!({}));
        if let Value::Object(fields) = &mut result {
            fields.insert("version".to_owned(), json!(control::VERSION));
        }
        writeln!(out, "{result}")?;
        Ok(())
    }
}

impl Verb {
    fn request(self) -> Request {
        match self {
            Self::PowerCycle => Request::PowerCycle,
            Self::Reset { kind } => Request::Reset {
                kind: match kind {
                    Reset::PowerCycle => ResetKind::PowerCycle,
                    Reset::Hardware => ResetKind::Hardware,
                    Reset::HotPlug => ResetKind::HotPlug,
                },
            },
            Self::State => Request::State,
            Self::Counters => Request::Counters,
            Self::CountersReset => Request::CountersReset,
            Self::Dump { lba, blocks } => Request::Dump { lba, blocks },
            Self::Fault { command, nth, times, action } => Request::Fault {
                fault: Fault { command: command.into(), nth, times, action: action.into() },
            },
            Self::FailWrite { nth } => Request::FailWrite { nth },
            Self::Faults => Request::Faults,
            Self::FaultsClear => Request::FaultsClear,
        }
    }
}

impl From<Kind> for Command {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::IfSend => Self::IfSend,
            Kind::IfRecv => Self::IfRecv,
            Kind::Read => Self::Read,
            Kind::Write => Self::Write,
            Kind::Flush => Self::Flush,
            Kind::Discard => Self::Discard,
            Kind::Any => Self::Any,
        }
    }
}

impl From<What> for Action {
    fn from(what: What) -> Self {
        match what {
            What::Drop => Self::Drop,
            What::Delay { milliseconds } => Self::Delay { milliseconds },
            What::Status { status } => Self::Status { status: status.into() },
            What::Corrupt { offset, mask } => Self::Corrupt { offset, mask },
            What::Truncate { length } => Self::Truncate { length },
            What::PowerCutBefore => Self::PowerCutBefore,
            What::PowerCutAfter => Self::PowerCutAfter,
        }
    }
}

impl From<Word> for Status {
    fn from(word: Word) -> Self {
        match word {
            Word::InvalidParameter => Self::InvalidParameter,
            Word::ProtocolViolation => Self::ProtocolViolation,
            Word::InvalidLength => Self::InvalidLength,
            Word::DataProtection => Self::DataProtection,
            Word::LbaOutOfRange => Self::LbaOutOfRange,
            Word::MediaError => Self::MediaError,
            Word::InvalidSecurityState => Self::InvalidSecurityState,
        }
    }
}
