// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests against emulated drives. Run by `make vm-test`.

#[path = "vm/foreign.rs"]
mod foreign;
#[path = "vm/harness.rs"]
mod harness;
#[path = "vm/nvme_tcp.rs"]
mod nvme_tcp;
#[path = "vm/own.rs"]
mod own;
#[path = "vm/vfio_user_nvme.rs"]
mod vfio_user_nvme;
#[path = "vm/vhost_user_scsi.rs"]
mod vhost_user_scsi;
