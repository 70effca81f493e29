// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways by which real clients reach the emulated drive.

pub mod listen;
pub mod nvme_tcp;
pub mod sim;
pub mod vhost_user_scsi;
