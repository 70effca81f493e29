// SPDX-License-Identifier: MIT OR Apache-2.0
//! The path to a drive, as a host sees it: two commands and a pause.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// Carries IF-SEND and IF-RECV to one drive (Core 2.01 §3.3.1).
///
/// Object-safe on purpose: wrappers that trace, record, replay or inject faults are transports too.
/// An implementation bounds every wait by a time-out of its own.
pub trait Transport {
    /// IF-SEND: hands `data` to the drive. `data` is a multiple of 512 bytes for protocol 1.
    ///
    /// # Errors
    /// The interface refused, failed or timed out.
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError>;

    /// IF-RECV: fills `buffer` (a multiple of 512 bytes) and returns how many bytes are valid.
    ///
    /// A transport that cannot tell the length returns `buffer.len()` with the rest zeroed.
    ///
    /// # Errors
    /// The interface refused, failed or timed out.
    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError>;

    /// Lets time pass before the next IF-RECV; a replay returns at once.
    fn pause(&mut self, duration: Duration);

    /// Largest transfer the path carries, in bytes. A multiple of 512.
    fn max_transfer(&self) -> usize {
        64 * 1024
    }
}

impl<T: Transport + ?Sized> Transport for &mut T {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        (**self).if_send(protocol, specific, data)
    }
    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        (**self).if_recv(protocol, specific, buffer)
    }
    fn pause(&mut self, duration: Duration) {
        (**self).pause(duration);
    }
    fn max_transfer(&self) -> usize {
        (**self).max_transfer()
    }
}

impl<T: Transport + ?Sized> Transport for alloc::boxed::Box<T> {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        (**self).if_send(protocol, specific, data)
    }
    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        (**self).if_recv(protocol, specific, buffer)
    }
    fn pause(&mut self, duration: Duration) {
        (**self).pause(duration);
    }
    fn max_transfer(&self) -> usize {
        (**self).max_transfer()
    }
}

/// What went wrong on the path, sorted by what a host can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The device, bridge or kernel does not carry security commands. Not a SED through this path.
    Unsupported,
    /// The operating system refused (permissions, `libata.allow_tpm`).
    Denied,
    /// The drive rejected the command: "Other Invalid Command Parameter".
    InvalidCommand,
    /// The drive says the other half of an exchange is due: "Synchronous Protocol Violation".
    ProtocolViolation,
    /// The transfer length does not suit the drive: "Invalid Transfer Length".
    InvalidLength,
    /// No answer in time.
    TimedOut,
    /// The device is gone.
    Gone,
    /// Anything else; the text says what.
    Failed,
}

/// An interface command that did not succeed, with a text for a person: what happened, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// Sorted cause.
    pub kind: TransportErrorKind,
    /// What happened and what to do next; never holds payload bytes.
    pub detail: String,
}

impl TransportError {
    /// An error of `kind` explained by `detail`.
    pub fn new(kind: TransportErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl core::error::Error for TransportError {}
