// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Luks2Error`]: why a LUKS2 volume could not be made, read or changed.

use std::io;

/// What went wrong, by who has to do something about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Luks2Error {
    /// The device or file under the header failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no LUKS2 header at any place where one can be.
    #[error("no LUKS2 header found; check the device, or give the detached header")]
    NotLuks2,
    /// A LUKS header of another version.
    #[error("the header is LUKS version {0}; only version 2 is supported")]
    Version(u16),
    /// Both copies of the header are damaged.
    #[error(
        "both copies of the header are damaged (first: {primary}; second: {secondary}); restore \
         a header backup"
    )]
    Damaged {
        /// What is wrong with the first copy.
        primary: String,
        /// What is wrong with the second.
        secondary: String,
    },
    /// The header is whole, but asks for something that is not supported or not safe.
    #[error("the LUKS2 header is refused: {0}")]
    Refused(String),
    /// No keyslot opens with this secret.
    #[error("no keyslot opens with this secret")]
    WrongSecret,
    /// The key that was passed is not this volume's.
    #[error("this is not the volume's key")]
    WrongKey,
    /// There is no such keyslot.
    #[error("there is no keyslot {0}")]
    NoSuchKeyslot(u8),
    /// Removing the last keyslot would lose the data.
    #[error("keyslot {0} is the last one; add another first, or destroy the volume")]
    LastKeyslot(u8),
    /// All 32 keyslots, or all the space for them, are taken.
    #[error("no room for another keyslot; remove one first")]
    NoRoom,
    /// The metadata does not fit its area.
    #[error("the metadata would have {need} bytes and only {room} fit; remove a token or keyslot")]
    MetadataFull {
        /// Bytes wanted.
        need: usize,
        /// Bytes there are.
        room: usize,
    },
    /// The device cannot hold the header and a sector of data.
    #[error("the device has {have} bytes and needs at least {need}")]
    TooSmall {
        /// Bytes there are.
        have: u64,
        /// Bytes wanted.
        need: u64,
    },
    /// There is a LUKS header already.
    #[error("there is a LUKS header already; destroy it first, or ask to replace it")]
    Exists,
    /// A parameter that the caller chose is out of range.
    #[error("{0}")]
    Parameter(&'static str),
    /// Not enough memory for the key derivation.
    #[error("the key derivation needs {0} KiB of memory, which this machine does not give")]
    Memory(u32),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
    /// What was written reads back differently.
    #[error("{0} reads back differently from what was written; the device may be failing")]
    NotWritten(&'static str),
}

impl Luks2Error {
    pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }
}
