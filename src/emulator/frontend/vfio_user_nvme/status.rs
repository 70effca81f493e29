// SPDX-License-Identifier: MIT OR Apache-2.0
//! Statuses that only a controller with queues in the host's memory gives (NVMe Base 1.4 §4.6.1).

use crate::emulator::nvme::Status;

const DO_NOT_RETRY: u16 = 1 << 14;

pub(super) const DATA_TRANSFER: Status = Status(0x004);
pub(super) const PRP_OFFSET: Status = Status(DO_NOT_RETRY | 0x013);
pub(super) const COMPLETION_QUEUE_INVALID: Status = Status(DO_NOT_RETRY | 0x100);
pub(super) const QUEUE_IDENTIFIER: Status = Status(DO_NOT_RETRY | 0x101);
pub(super) const QUEUE_SIZE: Status = Status(DO_NOT_RETRY | 0x102);
pub(super) const INTERRUPT_VECTOR: Status = Status(DO_NOT_RETRY | 0x108);
pub(super) const QUEUE_DELETION: Status = Status(DO_NOT_RETRY | 0x10C);
