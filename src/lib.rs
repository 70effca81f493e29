// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opalbox: self-encrypting drives under vendor-neutral control, their keys in a TPM lockbox.
//!
//! `docs/architecture.md` is the map: which layer may use which, and where a change belongs.

pub mod cli;
pub mod decode;
pub mod device;
pub mod drive;
pub mod emulator;
pub mod lockbox;
pub mod manager;
pub mod secret;
pub mod sim_wire;
pub mod software;
pub mod transport;
