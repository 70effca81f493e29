// SPDX-License-Identifier: MIT OR Apache-2.0
//! An emulated Opal drive in one image file.
//!
//! [`Drive`] is the TPer of `opal::tper` over an image: its state kept crash-safe, its media
//! encrypted per range, its keys at rest so that a locked, powered-off image gives nothing away.
//! Front-ends let others reach it; the control socket plays the part of the hands on the power
//! switch. `docs/emulator.md` is for users, `docs/formats/image.md` for those who read images.

pub mod ata;
pub mod backend;
pub mod cli;
pub mod control;
pub mod drive;
pub mod fault;
pub mod frontend;
pub mod image;
pub mod nvme;
pub mod profile;
pub mod scsi;

mod media;
#[cfg(test)]
mod tests;
mod vault;

pub use drive::{Drive, DriveError};
