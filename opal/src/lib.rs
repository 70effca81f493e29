// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TCG Storage protocol, both sides, with no I/O and no clock.
//!
//! - [`wire`]: bytes. Tokens, packets, method calls, status lists, Level 0 discovery.
//! - [`spec`]: names and numbers from the specifications (UIDs, columns, enumerations).
//! - [`exchange`]: one request and its answer, without I/O.
//! - [`host`]: sessions over a transport, with types that carry what the specification fixes.
//! - [`tper`]: the drive side, a machine without I/O.
//! - [`transport`]: what a host needs from the path to a drive (three methods).
//!
//! `no_std` with `alloc`; nothing here reads a clock, a random source or a file.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod error;
pub mod exchange;
pub mod host;
pub mod pin;
pub mod spec;
pub mod tper;
pub mod transport;
pub mod uid;
pub mod wire;

pub use error::Error;
pub use host::{DataLoss, Host, Identity, Session};
pub use pin::Pin;
pub use transport::{Transport, TransportError, TransportErrorKind};
pub use uid::Uid;
