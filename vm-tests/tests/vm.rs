// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests against emulated drives. Run by `make vm-test`.

#[path = "vm/harness.rs"]
mod harness;
#[path = "vm/nvme_tcp.rs"]
mod nvme_tcp;
