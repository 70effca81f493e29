// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fabrics commands (NVMe over Fabrics 1.1 §3.3): Connect and properties.

use super::pdu::at;
use crate::emulator::nvme::identify::VERSION;
use crate::emulator::nvme::{Command, Status};

pub(super) const PROPERTY_SET: u8 = 0x00;
pub(super) const CONNECT: u8 = 0x01;
pub(super) const PROPERTY_GET: u8 = 0x04;
/// Bytes of a Connect command's data.
pub(super) const CONNECT_DATA: usize = 1024;
/// Entries of a queue that this target accepts.
pub(super) const QUEUE_ENTRIES: u16 = 128;

/// A Connect command, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connect {
    pub(super) queue: u16,
    /// Entries, zero-based.
    pub(super) size: u16,
    pub(super) keep_alive_milliseconds: u32,
    pub(super) controller: u16,
    pub(super) host: [u8; 16],
    pub(super) subsystem: String,
    pub(super) host_name: String,
}

impl Connect {
    /// Decodes the command and its data.
    ///
    /// # Errors
    /// The status, and the completion's dword 0 that points at the field.
    pub(super) fn decode(command: &Command, data: &[u8]) -> Result<Self, (Status, u64)> {
        if data.len() < CONNECT_DATA {
            return Err((Status::SGL_LENGTH, 0));
        }
        // Record format 0 is the only one; status 80h of the command-specific ones.
        if command.dword(10) & 0xFFFF != 0 {
            return Err((Status(1 << 14 | 0x180), 0));
        }
        let connect = Self {
            queue: (command.dword(10) >> 16) as u16,
            size: (command.dword(11) & 0xFFFF) as u16,
            keep_alive_milliseconds: command.dword(12),
            controller: u16::from_le_bytes(at(data, 16)),
            host: at(data, 0),
            subsystem: name(data, 256),
            host_name: name(data, 512),
        };
        if connect.size == 0 || connect.size >= QUEUE_ENTRIES {
            return Err((Status::CONNECT_PARAMETERS, invalid(false, 44)));
        }
        Ok(connect)
    }
}

/// Dword 0 of a refused Connect: offset of the field, in the data or in the command.
pub(super) fn invalid(in_data: bool, offset: u16) -> u64 {
    u64::from(offset) | u64::from(in_data) << 16
}

fn name(data: &[u8], from: usize) -> String {
    let field: [u8; 256] = at(data, from);
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// Controller properties (NVMe Base 1.4 §3.1).
#[derive(Debug, Default)]
pub(super) struct Properties {
    configuration: u32,
}

/// What setting a property asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    /// CC.EN went from 1 to 0.
    ControllerReset,
}

const CAPABILITIES: u32 = 0x00;
const VERSION_PROPERTY: u32 = 0x08;
const CONFIGURATION: u32 = 0x14;
const STATUS: u32 = 0x1C;
const ENABLE: u32 = 1;

impl Properties {
    /// Whether CC.EN is set.
    pub(super) fn enabled(&self) -> bool {
        self.configuration & ENABLE != 0
    }

    /// Property Get.
    pub(super) fn get(&self, command: &Command) -> Result<u64, Status> {
        let eight = command.dword(10) & 7 == 1;
        match (command.dword(11), eight) {
            // MQES, contiguous queues, 5 s to become ready, NVM command set.
            (CAPABILITIES, true) => Ok(u64::from(QUEUE_ENTRIES - 1) | 1 << 16 | 10 << 24 | 1 << 37),
            (VERSION_PROPERTY, false) => Ok(u64::from(VERSION)),
            (CONFIGURATION, false) => Ok(u64::from(self.configuration)),
            (STATUS, false) => {
                // A notified shutdown is complete at once (SHST 2), and RDY follows EN.
                let shutdown = if self.configuration >> 14 & 3 != 0 { 2 << 2 } else { 0 };
                Ok(u64::from(self.configuration & ENABLE | shutdown))
            }
            _ => Err(Status::INVALID_FIELD),
        }
    }

    /// Property Set.
    pub(super) fn set(&mut self, command: &Command) -> Result<Asked, Status> {
        if command.dword(11) != CONFIGURATION || command.dword(10) & 7 != 0 {
            return Err(Status::INVALID_FIELD);
        }
        let was = self.enabled();
        self.configuration = command.dword(12);
        Ok(if was && !self.enabled() { Asked::ControllerReset } else { Asked::Nothing })
    }
}
