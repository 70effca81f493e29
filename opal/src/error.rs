// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors a host meets, by who is at fault: the path, the drive's bytes, the drive's answer, the
//! caller.

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
}
