// SPDX-License-Identifier: MIT OR Apache-2.0
//! INQUIRY: standard data and vital product data pages (SPC-4 §6.4 and §7.8, SBC-3 §6.6, SAT-3).

use super::{MAX_TRANSFER, Sense, text};
use crate::emulator::ata;
use crate::emulator::backend::DriveIdentity;

/// Who a drive is that is not behind a SAT layer.
const VENDOR: &str = "OPALBOX";
/// Who every drive behind a SAT layer is (SAT-3 §8.1.2).
const SAT_VENDOR: &str = "ATA";
/// Blocks that one UNMAP descriptor may free.
const UNMAP_BLOCKS: u32 = u32::MAX;
/// Descriptors of one UNMAP.
pub(super) const UNMAP_DESCRIPTORS: u32 = 256;
/// Blocks of one WRITE SAME.
pub(super) const WRITE_SAME_BLOCKS: u64 = 0x1_0000;

/// Standard INQUIRY data, 96 bytes.
pub(super) fn standard(identity: &DriveIdentity, sat: bool) -> Vec<u8> {
    let mut data = vec![0x00, 0x00, 0x06, 0x02, 91, 0x00, 0x00, 0x02];
    data.extend(text::<8>(vendor(sat)));
    data.extend(text::<16>(&identity.model));
    data.extend(revision(identity, sat));
    data.resize(58, 0);
    // Version descriptors: SAM-5, SPC-4, SBC-3.
    for descriptor in [0x00A0_u16, 0x0460, 0x04C0] {
        data.extend(descriptor.to_be_bytes());
    }
    data.resize(96, 0);
    data
}

/// A vital product data page.
pub(super) fn page(identity: &DriveIdentity, sat: bool, page: u8) -> Result<Vec<u8>, Sense> {
    let body = match page {
        0x00 => {
            let mut pages = vec![0x00, 0x80, 0x83];
            pages.extend(sat.then_some(0x89));
            pages.extend([0xB0, 0xB1, 0xB2]);
            pages
        }
        0x80 => text::<20>(&identity.serial).to_vec(),
        0x83 => designators(identity, sat),
        0x89 if sat => ata_information(identity),
        0xB0 => block_limits(identity),
        // Not rotating, 2.5 inch.
        0xB1 => [&[0, 1, 0, 3][..], &[0; 56]].concat(),
        // UNMAP and WRITE SAME (16) unmap; thin provisioning; nothing promised of what is read.
        0xB2 => vec![0, 0xC0, 2, 0],
        _ => return Err(Sense::INVALID_FIELD),
    };
    let length = u16::try_from(body.len()).map_err(|_| Sense::INVALID_FIELD)?;
    let mut data = vec![0x00, page];
    data.extend(length.to_be_bytes());
    data.extend(body);
    Ok(data)
}

fn vendor(sat: bool) -> &'static str {
    if sat { SAT_VENDOR } else { VENDOR }
}

/// Four characters of the firmware revision; SAT takes the last four unless they are blank.
fn revision(identity: &DriveIdentity, sat: bool) -> [u8; 4] {
    let [a, b, c, d, last @ ..] = text::<8>(&identity.firmware);
    if sat && last != *b"    " { last } else { [a, b, c, d] }
}

/// Device identification: NAA, and the vendor's own designator.
fn designators(identity: &DriveIdentity, sat: bool) -> Vec<u8> {
    let mut data = vec![0x01, 0x03, 0, 8];
    data.extend(identity.wwn.to_be_bytes());
    let mut vendor_specific = text::<8>(vendor(sat)).to_vec();
    if sat {
        vendor_specific.extend(text::<40>(&identity.model));
    } else {
        vendor_specific.extend(text::<16>(&identity.model));
    }
    vendor_specific.extend(text::<20>(&identity.serial));
    data.extend([0x02, 0x01, 0, u8::try_from(vendor_specific.len()).unwrap_or(u8::MAX)]);
    data.extend(vendor_specific);
    data
}

/// ATA Information (SAT-3 §12.4.2): who translates, the device's signature, IDENTIFY data.
fn ata_information(identity: &DriveIdentity) -> Vec<u8> {
    let mut data = vec![0; 4];
    data.extend(text::<8>(VENDOR));
    data.extend(text::<16>("SAT LAYER"));
    data.extend(text::<4>("1"));
    // Register FIS with the signature of an ATA device.
    let mut signature = [0; 20];
    signature[0] = 0x34;
    signature[2] = ata::READY;
    signature[3] = 1;
    signature[4] = 1;
    signature[12] = 1;
    data.extend(signature);
    data.extend([ata::command::IDENTIFY_DEVICE, 0, 0, 0]);
    data.extend(ata::identify::device(identity));
    data
}

fn block_limits(identity: &DriveIdentity) -> Vec<u8> {
    let blocks = u32::try_from(MAX_TRANSFER).unwrap_or(u32::MAX) / identity.block_size;
    let mut data = vec![0x00, 0x00, 0, 1];
    data.extend(blocks.to_be_bytes()); // maximum transfer
    data.extend(0_u32.to_be_bytes()); // optimal transfer: not said
    data.extend(0_u32.to_be_bytes()); // prefetch
    data.extend(UNMAP_BLOCKS.to_be_bytes());
    data.extend(UNMAP_DESCRIPTORS.to_be_bytes());
    data.extend(1_u32.to_be_bytes()); // unmap granularity
    data.extend(0_u32.to_be_bytes()); // its alignment: not valid
    data.extend(WRITE_SAME_BLOCKS.to_be_bytes());
    data.resize(0x3C, 0);
    data
}
