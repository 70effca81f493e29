// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways by which real clients reach the emulated drive.

mod guest_memory;
pub mod listen;
pub mod nvme_tcp;
pub mod sim;
pub mod vfio_user_nvme;
pub mod vhost_user_scsi;
