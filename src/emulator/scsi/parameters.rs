// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that only tell: capacity, mode pages, supported operation codes, LUNs.

use super::{Cdb, Sense};
use crate::emulator::backend::DriveIdentity;

/// READ CAPACITY (10): the last block, FFFFFFFFh where it does not fit.
pub(super) fn capacity_10(identity: &DriveIdentity) -> Vec<u8> {
    let last = u32::try_from(identity.blocks.saturating_sub(1)).unwrap_or(u32::MAX);
    [last.to_be_bytes(), identity.block_size.to_be_bytes()].concat()
}

/// READ CAPACITY (16), with logical block provisioning enabled.
pub(super) fn capacity_16(identity: &DriveIdentity) -> Vec<u8> {
    let mut data = identity.blocks.saturating_sub(1).to_be_bytes().to_vec();
    data.extend(identity.block_size.to_be_bytes());
    data.extend([0, 0, 0x80, 0]);
    data.resize(32, 0);
    data
}

/// REPORT LUNS: one, number 0.
pub(super) fn luns() -> Vec<u8> {
    let mut data = vec![0, 0, 0, 8];
    data.resize(16, 0);
    data
}

/// MODE SENSE (6) and (10): caching and control pages, no block descriptor.
pub(super) fn mode_sense(cdb: &Cdb, long: bool) -> Result<Vec<u8>, Sense> {
    // Bits 7:6 of byte 2: current, changeable, default, saved.
    let control = cdb.byte(2) >> 6;
    if control == 3 {
        // SAVING PARAMETERS NOT SUPPORTED.
        return Err(Sense { key: 0x5, code: [0x39, 0x00] });
    }
    let (page, subpage) = (cdb.byte(2) & 0x3F, cdb.byte(3));
    if subpage != 0 && subpage != 0xFF {
        return Err(Sense::INVALID_FIELD);
    }
    let caching = {
        let mut page = vec![0x08, 18];
        // WCE.
        page.push(if control == 1 { 0 } else { 0x04 });
        page.resize(20, 0);
        page
    };
    let control_page = {
        let mut page = vec![0x0A, 10];
        page.resize(12, 0);
        page
    };
    let pages = match page {
        0x08 => caching,
        0x0A => control_page,
        0x3F => [caching, control_page].concat(),
        _ => return Err(Sense::INVALID_FIELD),
    };
    // DPOFUA: FUA is honoured.
    const SPECIFIC: u8 = 0x10;
    let length = u8::try_from(pages.len()).unwrap_or(u8::MAX);
    let header = if long {
        vec![0, length + 6, 0, SPECIFIC, 0, 0, 0, 0]
    } else {
        vec![length + 3, 0, SPECIFIC, 0]
    };
    Ok([header, pages].concat())
}

/// A command this layer executes: operation code, service action, length of its CDB.
type Supported = (u8, Option<u8>, u8);

const SUPPORTED: &[Supported] = &[
    (0x00, None, 6),
    (0x03, None, 6),
    (0x08, None, 6),
    (0x0A, None, 6),
    (0x12, None, 6),
    (0x1A, None, 6),
    (0x1B, None, 6),
    (0x1E, None, 6),
    (0x25, None, 10),
    (0x28, None, 10),
    (0x2A, None, 10),
    (0x2F, None, 10),
    (0x35, None, 10),
    (0x41, None, 10),
    (0x42, None, 10),
    (0x5A, None, 10),
    (0x88, None, 16),
    (0x8A, None, 16),
    (0x8F, None, 16),
    (0x91, None, 16),
    (0x93, None, 16),
    (0x9E, Some(0x10), 16),
    (0xA0, None, 12),
    (0xA2, None, 12),
    (0xA3, Some(0x0C), 12),
    (0xA8, None, 12),
    (0xAA, None, 12),
    (0xB5, None, 12),
];

const PASS_THROUGH: &[Supported] = &[(0x85, None, 16), (0xA1, None, 12)];

/// REPORT SUPPORTED OPERATION CODES (SPC-4 §6.31): Linux asks it for A2h and B5h.
pub(super) fn operation_codes(cdb: &Cdb, sat: bool) -> Result<Vec<u8>, Sense> {
    let all = SUPPORTED.iter().chain(if sat { PASS_THROUGH } else { &[] });
    let (code, action) = (cdb.byte(3), cdb.big16(4));
    let found = |with_action: bool| {
        all.clone().find(|(known, own, _)| {
            *known == code
                && own.is_some() == with_action
                && own.is_none_or(|own| u16::from(own) == action)
        })
    };
    let one = |entry: Option<&Supported>| {
        let mut data = vec![0, if entry.is_some() { 3 } else { 1 }, 0, 0];
        if let Some((code, action, length)) = entry {
            if let Some(slot) = data.get_mut(3) {
                *slot = *length;
            }
            data.push(*code);
            data.push(action.unwrap_or(0xFF));
            data.resize(usize::from(*length) + 4 - 1, 0xFF);
            // CONTROL: NACA is not supported.
            data.push(0);
        }
        data
    };
    match cdb.byte(2) & 7 {
        0 => {
            let mut list = Vec::new();
            for (code, action, length) in all {
                let with_action = u8::from(action.is_some());
                list.extend([*code, 0, 0, action.unwrap_or(0), 0, with_action, 0, *length]);
            }
            let length = u32::try_from(list.len()).map_err(|_| Sense::INVALID_FIELD)?;
            Ok([length.to_be_bytes().to_vec(), list].concat())
        }
        1 => Ok(one(found(false))),
        2 => Ok(one(found(true))),
        3 => Ok(one(found(false).or_else(|| found(true)))),
        _ => Err(Sense::INVALID_FIELD),
    }
}
