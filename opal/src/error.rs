// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors a host meets, by who is at fault: the path, the drive's bytes, the drive's answer, the
//! caller.

use crate::Uid;
use crate::transport::TransportError;
use crate::wire::packet::PacketError;
use crate::wire::{ParseError, Status};

/// Why an exchange with a drive did not give its result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path to the drive failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The drive's answer is no ComPacket.
    #[error("the drive's answer is malformed: {0}")]
    Packet(#[from] PacketError),
    /// The drive's answer is no well-formed method answer.
    #[error("the drive's answer is malformed: {0}")]
    Parse(#[from] ParseError),
    /// The method failed with a status.
    #[error("{method} failed: {status}")]
    Method {
        /// Name of the method.
        method: &'static str,
        /// What the drive said.
        status: Status,
    },
    /// The drive did not have an answer ready in time.
    #[error("the drive did not answer {method} within {seconds} s")]
    TimedOut {
        /// Name of the method.
        method: &'static str,
        /// How long the host waited.
        seconds: u64,
    },
    /// An empty ComPacket where an answer was due (quirk B11).
    #[error(
        "the drive gave no answer to {method}; it may dislike an argument, such as a PIN that is \
         too long"
    )]
    NoAnswer {
        /// Name of the method.
        method: &'static str,
    },
    /// The drive closed the session.
    #[error("the drive closed the session")]
    SessionClosed,
    /// An answer that belongs to another session or method.
    #[error("the drive answered something else: {0}")]
    Mismatch(&'static str),
    /// The drive answered a Get without this column: the session may not read it, or the drive
    /// does not have it.
    #[error("the drive does not show column {column}")]
    NotShown {
        /// Number of the column.
        column: u64,
    },
    /// The same on Enterprise, where columns have names.
    #[error("the drive does not show column {column}")]
    NameNotShown {
        /// Name of the column.
        column: &'static str,
    },
    /// The drive did not accept a credential: wrong PIN, disabled authority, or a block.
    #[error("the drive does not accept the PIN of authority {authority}")]
    NotAuthenticated {
        /// The authority.
        authority: Uid,
    },
    /// The consent to losing data names another drive.
    #[error("the agreement to lose data names another drive than this one")]
    NotThisDrive,
    /// The drive lacks what the operation needs.
    #[error("the drive does not support {0}")]
    Unsupported(&'static str),
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Usage(&'static str),
}

impl Error {
    /// The method status, if the drive gave one.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        match self {
            Self::Method { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What a person can do about it, where there is something particular (experience with
    /// drives, not specification).
    #[must_use]
    pub const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Method { status, .. } => status_advice(*status),
            Self::NotAuthenticated { .. } => Some(
                "check the PIN and whether the authority is enabled; if it is SID, discovery \
                 shows whether the firmware blocks it",
            ),
            Self::NoAnswer { .. } => Some("check the arguments; a shorter PIN may be accepted"),
            Self::SessionClosed => Some(
                "the drive ended the session, by its session time-out or after an error: start a \
                 new one",
            ),
            Self::TimedOut { .. } => Some("power the drive off and on if it stays silent"),
            _ => None,
        }
    }
}

const fn status_advice(status: Status) -> Option<&'static str> {
    Some(match status {
        Status::SP_BUSY | Status::NO_SESSIONS_AVAILABLE => {
            "another session is open, perhaps left by a program that was killed: wait for it, \
             reset the ComID's stack, or power the drive off and on"
        }
        Status::AUTHORITY_LOCKED_OUT => {
            "the tries are used up: power the drive off fully, then use the right PIN"
        }
        Status::SP_FROZEN => "the SP is frozen until the next power cycle",
        Status::TPER_MALFUNCTION => "power the drive off and on; look for a firmware update",
        Status::FAIL => {
            "a state of the drive forbids it: a BIOS disk password, a locked range or an enabled \
             shadow MBR are the usual ones"
        }
        _ => return None,
    })
}
