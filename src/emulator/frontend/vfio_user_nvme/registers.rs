// SPDX-License-Identifier: MIT OR Apache-2.0
//! Controller registers and doorbells in BAR 0 (NVMe Base 1.4 §3.1).
//!
//! Only what a host can store is kept here; CSTS is composed by the function, which knows what
//! state the controller is in.

use crate::emulator::nvme::MAX_IO_QUEUES;
use crate::emulator::nvme::identify::VERSION;

/// Bytes of BAR 0: a page of registers, one of doorbells, the MSI-X table, its pending bits.
pub(super) const SIZE: usize = 0x4000;
/// Offset of the MSI-X table, which the machine keeps itself.
pub(super) const MSI_X_TABLE: u32 = 0x2000;
/// Offset of the MSI-X pending bits.
pub(super) const MSI_X_PENDING: u32 = 0x3000;
/// Entries of an I/O queue at most.
pub(super) const QUEUE_ENTRIES: u16 = 1024;

const CAPABILITIES: u64 = 0x00;
const VERSION_REGISTER: u64 = 0x08;
const CONFIGURATION: u64 = 0x14;
const STATUS: u64 = 0x1C;
const ADMIN_ATTRIBUTES: u64 = 0x24;
const ADMIN_SUBMISSION: u64 = 0x28;
const ADMIN_COMPLETION: u64 = 0x30;
const DOORBELLS: u64 = 0x1000;

/// CSTS: ready.
pub(super) const READY: u32 = 1;
/// CSTS: controller fatal status.
pub(super) const FATAL: u32 = 1 << 1;
/// CSTS: shutdown processing occurring.
pub(super) const SHUTDOWN_OCCURRING: u32 = 1 << 2;
/// CSTS: shutdown processing complete.
pub(super) const SHUTDOWN_COMPLETE: u32 = 2 << 2;

/// What a write of a dword asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// CC changed.
    Configured {
        before: Configuration,
        after: Configuration,
    },
    /// A queue's tail (submission) or head (completion) moved.
    Doorbell {
        queue: u16,
        completion: bool,
        value: u16,
    },
}

/// CC, the controller configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Configuration(pub(super) u32);

impl Configuration {
    pub(super) fn enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether CC.SHN announces a shutdown, normal or abrupt.
    pub(super) fn shutdown(self) -> bool {
        self.0 >> 14 & 3 != 0
    }

    /// Whether it asks for what CAP offers: NVM commands, 4 KiB pages, round robin.
    pub(super) fn supported(self) -> bool {
        self.0 & 0x3FF0 == 0
    }

    /// Whether I/O queue entries are of 64 and 16 bytes.
    pub(super) fn entry_sizes(self) -> bool {
        self.0 >> 16 & 0xFF == 0x46
    }
}

/// The registers that a host stores to.
#[derive(Debug, Clone, Default)]
pub(super) struct Registers {
    configuration: Configuration,
    attributes: u32,
    submission: u64,
    completion: u64,
}

impl Registers {
    pub(super) fn configuration(&self) -> Configuration {
        self.configuration
    }

    /// Forgets CC only, as a controller reset leaves the admin queue's registers.
    pub(super) fn set_configuration(&mut self, configuration: Configuration) {
        self.configuration = configuration;
    }

    /// Base and entries of the admin submission queue.
    pub(super) fn admin_submission(&self) -> (u64, u16) {
        (self.submission & !0xFFF, (self.attributes & 0xFFF) as u16 + 1)
    }

    /// Base and entries of the admin completion queue.
    pub(super) fn admin_completion(&self) -> (u64, u16) {
        (self.completion & !0xFFF, (self.attributes >> 16 & 0xFFF) as u16 + 1)
    }

    /// Fills `data` from `offset` on; `status` is CSTS.
    pub(super) fn read(&self, status: u32, offset: u64, data: &mut [u8]) {
        for (at, byte) in (0..).map(|n| offset.wrapping_add(n)).zip(data) {
            let (register, value) = match at {
                0x00..0x08 => (CAPABILITIES, capabilities()),
                0x08..0x0C => (VERSION_REGISTER, u64::from(VERSION)),
                0x14..0x18 => (CONFIGURATION, u64::from(self.configuration.0)),
                0x1C..0x20 => (STATUS, u64::from(status)),
                0x24..0x28 => (ADMIN_ATTRIBUTES, u64::from(self.attributes)),
                0x28..0x30 => (ADMIN_SUBMISSION, self.submission),
                0x30..0x38 => (ADMIN_COMPLETION, self.completion),
                // Interrupt masks are for pins and MSI; a subsystem reset is not offered.
                _ => (at, 0),
            };
            *byte = (value >> ((at - register) * 8)) as u8;
        }
    }

    /// Stores a dword; `offset` is one of a dword.
    pub(super) fn write(&mut self, offset: u64, value: u32) -> Effect {
        let low = |old: u64| old & !0xFFFF_FFFF | u64::from(value);
        let high = |old: u64| old & 0xFFFF_FFFF | u64::from(value) << 32;
        // The admin queue's place is fixed while the controller is enabled.
        let idle = !self.configuration.enabled();
        match offset {
            CONFIGURATION => {
                let before = self.configuration;
                self.configuration = Configuration(value & 0x00FF_FFF1);
                return Effect::Configured { before, after: self.configuration };
            }
            ADMIN_ATTRIBUTES if idle => self.attributes = value & 0x0FFF_0FFF,
            ADMIN_SUBMISSION if idle => self.submission = low(self.submission),
            0x2C if idle => self.submission = high(self.submission),
            ADMIN_COMPLETION if idle => self.completion = low(self.completion),
            0x34 if idle => self.completion = high(self.completion),
            DOORBELLS.. => {
                let number = (offset - DOORBELLS) / 4;
                let queue = u16::try_from(number / 2).unwrap_or(u16::MAX);
                if queue <= MAX_IO_QUEUES {
                    let completion = number % 2 == 1;
                    // The upper half is reserved.
                    return Effect::Doorbell { queue, completion, value: value as u16 };
                }
            }
            _ => {}
        }
        Effect::Nothing
    }
}

/// CAP: MQES, contiguous queues required, 10 s to become ready, NVM commands, 4 KiB pages only.
fn capabilities() -> u64 {
    u64::from(QUEUE_ENTRIES - 1) | 1 << 16 | 20 << 24 | 1 << 37
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dword(registers: &Registers, offset: u64) -> u32 {
        let mut data = [0; 4];
        registers.read(0, offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn every_width_reads_the_same_registers() {
        let registers = Registers::default();
        let mut eight = [0; 8];
        registers.read(0, 0, &mut eight);
        assert_eq!(u64::from_le_bytes(eight), 0x20_1401_03FF);
        assert_eq!(dword(&registers, 0), 0x1401_03FF);
        assert_eq!(dword(&registers, 4), 0x20);
        assert_eq!(dword(&registers, 8), 0x0001_0400);
        let mut one = [0; 1];
        registers.read(0x0102_0304, 0x1E, &mut one);
        assert_eq!(one, [2]);
        let mut across = [0; 8];
        registers.read(0x0102_0304, 0x1A, &mut across);
        assert_eq!(across, [0, 0, 4, 3, 2, 1, 0, 0]);
        registers.read(u32::MAX, u64::MAX - 3, &mut across);
        assert_eq!(across[..4], [0; 4], "around the end");
    }

    #[test]
    fn the_admin_queue_is_set_before_enabling() {
        let mut registers = Registers::default();
        for (offset, value) in [(0x24, 0x00FF_001F), (0x28, 0x1234_5000), (0x2C, 1), (0x30, 0x6FFF)]
        {
            assert_eq!(registers.write(offset, value), Effect::Nothing);
        }
        assert_eq!(registers.admin_submission(), (0x1_1234_5000, 32));
        assert_eq!(registers.admin_completion(), (0x6000, 256));
        let Effect::Configured { before, after } = registers.write(0x14, 0x0046_0001) else {
            panic!("CC")
        };
        assert!(!before.enabled() && after.enabled() && after.supported() && after.entry_sizes());
        let _ = registers.write(0x28, 0);
        assert_eq!(registers.admin_submission(), (0x1_1234_5000, 32));
        assert_eq!(dword(&registers, 0x14), 0x0046_0001);
        assert!(!Configuration(0x0046_0081).supported(), "8 KiB pages");
        assert!(!Configuration(0x0046_0011).supported(), "another command set");
        assert!(Configuration(0x0046_4001).shutdown());
    }

    #[test]
    fn doorbells_are_told_apart() {
        let mut registers = Registers::default();
        let bell = |queue, completion, value| Effect::Doorbell { queue, completion, value };
        assert_eq!(registers.write(0x1000, 5), bell(0, false, 5));
        assert_eq!(registers.write(0x1004, 5), bell(0, true, 5));
        assert_eq!(registers.write(0x1008, 0xABCD_0006), bell(1, false, 6));
        assert_eq!(registers.write(0x1084, 7), bell(16, true, 7));
        assert_eq!(registers.write(0x1088, 7), Effect::Nothing);
        assert_eq!(registers.write(!3, 7), Effect::Nothing);
        assert_eq!(registers.write(0x20, 0x4E56_4D65), Effect::Nothing, "no subsystem reset");
    }
}
