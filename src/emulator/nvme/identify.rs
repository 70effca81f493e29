// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 4,096-byte structures of Identify (NVMe Base 1.4 §5.15).

use super::{Attachment, MAX_EVENT_REQUESTS, MDTS, NAMESPACE};
use crate::emulator::backend::DriveIdentity;

/// NVMe 1.4: what hosts ask of newer versions (more Identify structures) is not offered.
pub const VERSION: u32 = 0x0001_0400;
const PAGE: usize = 4096;

/// CNS 01h.
#[must_use]
pub fn controller(
    identity: &DriveIdentity,
    id: u16,
    subsystem: &str,
    attachment: &Attachment,
) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    if let Attachment::Pci { vendor, subsystem_vendor } = attachment {
        put(&mut page, 0, &vendor.to_le_bytes());
        put(&mut page, 2, &subsystem_vendor.to_le_bytes());
    }
    put(&mut page, 4, &text::<20>(&identity.serial));
    put(&mut page, 24, &text::<40>(&identity.model));
    put(&mut page, 64, &text::<8>(&identity.firmware));
    put(&mut page, 77, &[MDTS]);
    put(&mut page, 78, &id.to_le_bytes());
    put(&mut page, 80, &VERSION.to_le_bytes());
    put(&mut page, 111, &[1]); // CNTRLTYPE: I/O controller
    put(&mut page, 256, &1_u16.to_le_bytes()); // OACS: Security Send and Receive
    put(&mut page, 258, &[3]); // ACL, zero-based
    put(&mut page, 259, &[u8::try_from(MAX_EVENT_REQUESTS - 1).unwrap_or(0)]); // AERL
    put(&mut page, 260, &[0x03]); // FRMW: one slot, read only
    put(&mut page, 261, &[0x04]); // LPA: extended data
    put(&mut page, 266, &343_u16.to_le_bytes()); // WCTEMP
    put(&mut page, 268, &353_u16.to_le_bytes()); // CCTEMP
    put(&mut page, 512, &[0x66]); // SQES
    put(&mut page, 513, &[0x44]); // CQES
    put(&mut page, 514, &128_u16.to_le_bytes()); // MAXCMD
    put(&mut page, 516, &NAMESPACE.to_le_bytes()); // NN
    put(&mut page, 520, &0x000C_u16.to_le_bytes()); // ONCS: Dataset Management, Write Zeroes
    put(&mut page, 525, &[1]); // VWC
    put(&mut page, 768, subsystem.as_bytes().get(..223).unwrap_or(subsystem.as_bytes())); // SUBNQN
    if let Attachment::Fabrics { in_capsule } = attachment {
        put(&mut page, 320, &10_u16.to_le_bytes()); // KAS: keep-alive granularity, 1 s
        // SGLs, address is an offset in the capsule.
        put(&mut page, 536, &0x0010_0001_u32.to_le_bytes());
        put(&mut page, 1792, &((64 + in_capsule) / 16).to_le_bytes()); // IOCCSZ
        put(&mut page, 1796, &1_u32.to_le_bytes()); // IORCSZ
        put(&mut page, 1803, &[1]); // MSDBD
    }
    page
}

/// CNS 00h.
#[must_use]
pub fn namespace(identity: &DriveIdentity) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    for at in [0, 8, 16] {
        put(&mut page, at, &identity.blocks.to_le_bytes()); // NSZE, NCAP, NUSE
    }
    put(&mut page, 104, &identity.nguid);
    let shift = u8::try_from(identity.block_size.ilog2()).unwrap_or(9);
    put(&mut page, 128, &[0, 0, shift, 0]); // LBAF0
    page
}

/// CNS 02h: active namespaces above `after`.
#[must_use]
pub fn active_namespaces(after: u32) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    if after < NAMESPACE {
        put(&mut page, 0, &NAMESPACE.to_le_bytes());
    }
    page
}

/// CNS 03h: the namespace's NGUID as a descriptor (type 2).
#[must_use]
pub fn namespace_descriptors(identity: &DriveIdentity) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    put(&mut page, 0, &[2, 16, 0, 0]);
    put(&mut page, 4, &identity.nguid);
    page
}

/// ASCII padded with spaces; what is not printable becomes `?`.
pub(super) fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (slot, character) in field.iter_mut().zip(text.chars()) {
        *slot = if matches!(character, ' '..='~') { character as u8 } else { b'?' };
    }
    field
}

pub(super) fn put(page: &mut [u8], at: usize, data: &[u8]) {
    if let Some(slot) = page.get_mut(at..at + data.len()) {
        slot.copy_from_slice(data);
    }
}
