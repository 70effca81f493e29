// SPDX-License-Identifier: MIT OR Apache-2.0
//! The protocols beside protocol 1: what a drive supports, ComID management, ATA security.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::model::{AtaSecurity, Body, ComIdRequest, Direction};
use crate::spec::protocol;

/// ATA security through SECURITY PROTOCOL IN/OUT (SAT).
const ATA_SECURITY: u8 = 0xEF;

pub(super) fn body(
    direction: Direction,
    protocol: u8,
    specific: u16,
    data: &[u8],
    notes: &mut Vec<String>,
) -> Body {
    match (direction, protocol, specific) {
        (Direction::Receive, protocol::INFORMATION, 0) => protocols(data, notes),
        (Direction::Receive, protocol::INFORMATION, 1) => match be16(data, 2) {
            Some(length) => Body::Certificate(length.into()),
            None => short(notes, 4, data),
        },
        (Direction::Receive, protocol::TCG_MANAGEMENT, protocol::GET_COM_ID) => {
            match (be16(data, 0), be16(data, 2)) {
                (Some(com_id), Some(extension)) => Body::NewComId { com_id, extension },
                _ => short(notes, 4, data),
            }
        }
        (Direction::Send, protocol::TCG_MANAGEMENT, protocol::TPER_RESET) => Body::TperReset,
        (Direction::Send, protocol::TCG_MANAGEMENT, protocol::BLOCK_SID) => match data {
            [reset, freeze, ..] => {
                Body::BlockSid { hardware_reset: reset & 1 == 1, freeze: freeze & 1 == 1 }
            }
            _ => short(notes, 2, data),
        },
        (_, protocol::TCG_MANAGEMENT, _) => com_id_request(direction, data, notes),
        (Direction::Receive, ATA_SECURITY, 0) => ata_security(data, notes),
        // Protocol EF sends passwords, protocol 3 injects keys: nothing of an unknown payload is
        // shown.
        _ => Body::Opaque,
    }
}

fn protocols(data: &[u8], notes: &mut Vec<String>) -> Body {
    let Some(count) = be16(data, 6) else { return short(notes, 8, data) };
    let list = data.get(8..).unwrap_or_default();
    let count = usize::from(count);
    if list.len() < count {
        let missing = count - list.len();
        notes.push(format!("truncated: {} of {count} protocols, {missing} missing", list.len()));
    }
    Body::Protocols(list.get(..count).unwrap_or(list).to_vec())
}

fn com_id_request(direction: Direction, data: &[u8], notes: &mut Vec<String>) -> Body {
    let (Some(com_id), Some(extension), Some(code)) = (be16(data, 0), be16(data, 2), be32(data, 4))
    else {
        return short(notes, 8, data);
    };
    let (mut length, mut result) = (None, None);
    if direction == Direction::Receive {
        length = be16(data, 10);
        result = length.filter(|length| *length >= 4).and_then(|_| be32(data, 12));
        if length.is_none() {
            short(notes, 12, data);
        }
    }
    Body::ComIdRequest(ComIdRequest { com_id, extension, code, length, result })
}

fn ata_security(data: &[u8], notes: &mut Vec<String>) -> Body {
    // Byte 1 counts the bytes behind it.
    let declared = data.get(1).map_or(2, |length| usize::from(*length) + 2);
    if data.len() < declared {
        short(notes, declared, data);
    }
    Body::AtaSecurity(AtaSecurity {
        erase_time: be16(data, 2),
        enhanced_erase_time: be16(data, 4),
        master_password_identifier: be16(data, 6),
        status: be16(data, 8),
    })
}

fn short(notes: &mut Vec<String>, needed: usize, data: &[u8]) -> Body {
    let missing = needed.saturating_sub(data.len());
    notes.push(format!("truncated: {} of {needed} bytes, {missing} missing", data.len()));
    Body::Opaque
}

fn be16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn be32(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}
