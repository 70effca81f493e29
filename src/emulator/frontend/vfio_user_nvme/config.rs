// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI configuration space of the controller (PCI Local Bus 3.0 §6, PCI Express 3.0 §7).
//!
//! The machine keeps its own copy of what it virtualizes (BAR addresses, the MSI-X control); what
//! arrives here anyway is stored as far as the field can be written.

use super::interrupts::VECTORS;
use super::registers;

/// Bytes: conventional and, after 256, an empty extended configuration space.
pub(super) const SIZE: usize = 4096;

/// Vendor and device: of the numbers that QEMU's authors keep free for experimental devices.
///
/// 1B36h:0010h, QEMU's own NVMe controller, has quirks in drivers that this one must not inherit.
pub(super) const VENDOR: u16 = 0x1AF4;
const DEVICE: u16 = 0x10F0;

const COMMAND: usize = 0x04;
const POWER_MANAGEMENT: u8 = 0x40;
const MSI_X: u8 = 0x50;
const EXPRESS: u8 = 0x60;
const DEVICE_CONTROL: usize = EXPRESS as usize + 0x08;

/// Bus mastering, in the command register.
const BUS_MASTER: u8 = 1 << 2;
/// Initiate Function Level Reset, in the upper byte of Device Control; reads as zero.
const FUNCTION_RESET: u8 = 1 << 7;

/// What a write asks for beyond storing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    /// Function level reset.
    FunctionReset,
}

/// The first 256 bytes; all others are zero and stay so.
#[derive(Debug, Clone)]
pub(super) struct ConfigSpace {
    bytes: [u8; 256],
    writable: [u8; 256],
}

impl ConfigSpace {
    /// As after a reset.
    pub(super) fn new() -> Self {
        let mut space = Self { bytes: [0; 256], writable: [0; 256] };
        space.put(0x00, &VENDOR.to_le_bytes());
        space.put(0x02, &DEVICE.to_le_bytes());
        space.allow(COMMAND, &[0x46, 0x05]);
        space.put(0x06, &[0x10, 0]); // capabilities list
        // Revision 1, class 01h 08h 02h: a non-volatile memory controller with NVMe registers.
        space.put(0x08, &[1, 0x02, 0x08, 0x01]);
        space.allow(0x0C, &[0xFF]); // cache line size
        space.put(0x10, &[0x04]); // BAR 0: 64 bits, not prefetchable
        let size = registers::SIZE as u64;
        space.allow(0x10, &(!(size - 1) & !0xF).to_le_bytes());
        space.put(0x2C, &VENDOR.to_le_bytes());
        space.put(0x2E, &DEVICE.to_le_bytes());
        space.put(0x34, &[POWER_MANAGEMENT]);
        space.allow(0x3C, &[0xFF]); // interrupt line, which nothing uses: there is no pin

        // Version 3, only D0 and D3hot; D3hot keeps the state (No_Soft_Reset).
        space.put(POWER_MANAGEMENT as usize, &[0x01, MSI_X, 0x03, 0x00, 0x08]);
        space.allow(POWER_MANAGEMENT as usize + 4, &[0x03]);

        space.put(MSI_X as usize, &[0x11, EXPRESS]);
        space.put(MSI_X as usize + 2, &(VECTORS - 1).to_le_bytes());
        space.allow(MSI_X as usize + 3, &[0xC0]); // enable, mask all
        space.put(MSI_X as usize + 4, &registers::MSI_X_TABLE.to_le_bytes()); // in BAR 0
        space.put(MSI_X as usize + 8, &registers::MSI_X_PENDING.to_le_bytes());

        let express = EXPRESS as usize;
        space.put(express, &[0x10, 0x00, 0x02, 0x00]); // version 2, an endpoint
        // Function level reset, role-based error reporting.
        space.put(express + 0x04, &(1_u32 << 28 | 1 << 15).to_le_bytes());
        space.allow(DEVICE_CONTROL, &[0xFF, 0x7F]);
        space.put(express + 0x0C, &0x11_u32.to_le_bytes()); // one lane of 2.5 GT/s
        space.allow(express + 0x10, &[0xC3]);
        space.put(express + 0x12, &0x11_u16.to_le_bytes());
        space
    }

    /// Whether the controller may reach memory.
    pub(super) fn bus_master(&self) -> bool {
        self.bytes.get(COMMAND).is_some_and(|command| command & BUS_MASTER != 0)
    }

    /// Fills `data` from `offset` on; what is beyond the space reads as ones.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (0..).map(|n| offset.wrapping_add(n)).zip(data) {
            *byte = match usize::try_from(at) {
                Ok(at) if at < SIZE => self.bytes.get(at).copied().unwrap_or(0),
                _ => 0xFF,
            };
        }
    }

    /// Stores `data` as far as it can be written.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Asked {
        let mut asked = Asked::Nothing;
        for (at, value) in (0..).map(|n| offset.wrapping_add(n)).zip(data) {
            let Ok(at) = usize::try_from(at) else { break };
            let (Some(byte), Some(mask)) = (self.bytes.get_mut(at), self.writable.get(at)) else {
                break;
            };
            *byte = *byte & !mask | value & mask;
            if at == DEVICE_CONTROL + 1 && value & FUNCTION_RESET != 0 {
                asked = Asked::FunctionReset;
            }
        }
        asked
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        if let Some(slot) = self.bytes.get_mut(at..at + data.len()) {
            slot.copy_from_slice(data);
        }
    }

    fn allow(&mut self, at: usize, mask: &[u8]) {
        if let Some(slot) = self.writable.get_mut(at..at + mask.len()) {
            slot.copy_from_slice(mask);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dword(space: &ConfigSpace, offset: u64) -> u32 {
        let mut data = [0; 4];
        space.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn the_header_says_nvme_and_not_the_id_with_quirks() {
        let space = ConfigSpace::new();
        assert_eq!(dword(&space, 0), 0x10F0_1AF4);
        assert_ne!(dword(&space, 0), 0x0010_1B36);
        assert_eq!(dword(&space, 8) >> 8, 0x01_0802);
        assert_eq!(dword(&space, 0x3C) >> 8 & 0xFF, 0, "no interrupt pin");
    }

    #[test]
    fn capabilities_are_a_list_that_ends() {
        let space = ConfigSpace::new();
        let mut at = u64::from(dword(&space, 0x34) & 0xFF);
        let mut seen = Vec::new();
        while at != 0 {
            assert!(seen.len() < 8 && at >= 0x40 && at % 4 == 0);
            seen.push(dword(&space, at) & 0xFF);
            at = u64::from(dword(&space, at) >> 8 & 0xFF);
        }
        assert_eq!(seen, [0x01, 0x11, 0x10]);
        assert_eq!(dword(&space, 0x100), 0, "no extended capability");
    }

    #[test]
    fn the_bar_answers_with_its_size() {
        let mut space = ConfigSpace::new();
        let _ = space.write(0x10, &[0xFF; 8]);
        let bar = u64::from(dword(&space, 0x10)) | u64::from(dword(&space, 0x14)) << 32;
        assert_eq!(!(bar & !0xF) + 1, registers::SIZE as u64);
        assert_eq!(bar & 0xF, 4);
        let _ = space.write(0x00, &[0xFF; 4]);
        assert_eq!(dword(&space, 0), 0x10F0_1AF4);
    }

    #[test]
    fn writes_reach_only_what_can_be_written() {
        let mut space = ConfigSpace::new();
        assert!(!space.bus_master());
        assert_eq!(space.write(4, &[0x06, 0x04]), Asked::Nothing);
        assert!(space.bus_master());
        let control = DEVICE_CONTROL as u64;
        assert_eq!(space.write(control, &[0x10, 0x28]), Asked::Nothing);
        assert_eq!(space.write(control, &[0x10, 0xA8]), Asked::FunctionReset);
        assert_eq!(dword(&space, control) & 0xFFFF, 0x2810, "the reset bit reads as zero");
        // Beyond the end, around it, and far away.
        let _ = space.write(250, &[0xFF; 20]);
        let _ = space.write(u64::MAX, &[0xFF; 4]);
        assert_eq!(dword(&space, 4094), 0xFFFF_0000);
        assert_eq!(dword(&space, u64::MAX - 8), u32::MAX);
    }
}
