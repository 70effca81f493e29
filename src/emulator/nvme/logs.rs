// SPDX-License-Identifier: MIT OR Apache-2.0
//! Get Log Page (NVMe Base 1.4 §5.14): errors, health, firmware slots.

use super::identify::{put, text};
use super::{Command, Reply, Status};
use crate::emulator::backend::DriveIdentity;

const ERROR_INFORMATION: u8 = 0x01;
const HEALTH: u8 = 0x02;
const FIRMWARE_SLOTS: u8 = 0x03;
const PAGE: usize = 512;

/// Bytes asked for: dwords, zero-based, over dwords 10 and 11.
pub(super) fn length(command: &Command) -> u64 {
    let lower = u64::from(command.dword(10) >> 16);
    let upper = u64::from(command.dword(11) & 0xFFFF);
    (upper << 16 | lower).saturating_add(1) * 4
}

/// The part of the page that was asked for, padded with zeros.
pub(super) fn page(command: &Command, identity: &DriveIdentity) -> Reply {
    let mut page = vec![0; PAGE];
    match (command.dword(10) & 0xFF) as u8 {
        // No command that failed is remembered: no entry is valid.
        ERROR_INFORMATION => {}
        HEALTH => {
            put(&mut page, 1, &298_u16.to_le_bytes()); // composite temperature in kelvin
            put(&mut page, 3, &[100, 10]); // spare left, and the threshold of a warning
        }
        FIRMWARE_SLOTS => {
            put(&mut page, 0, &[1]);
            put(&mut page, 8, &text::<8>(&identity.firmware));
        }
        _ => return Status::INVALID_LOG_PAGE.into(),
    }
    let Ok(offset) = usize::try_from(command.qword(12)) else {
        return Status::INVALID_FIELD.into();
    };
    if offset % 4 != 0 || offset > PAGE {
        return Status::INVALID_FIELD.into();
    }
    let Some(length) = usize::try_from(length(command)).ok().filter(|n| *n <= super::MAX_TRANSFER)
    else {
        return Status::INVALID_FIELD.into();
    };
    let mut part = page.get(offset..).unwrap_or_default().to_vec();
    part.resize(length, 0);
    Reply::data(part)
}
