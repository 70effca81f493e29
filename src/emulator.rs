// SPDX-License-Identifier: MIT OR Apache-2.0
//! (placeholder)

pub mod ata;
pub mod backend;
pub mod frontend;
pub mod nvme;
pub mod scsi;
