// SPDX-License-Identifier: MIT OR Apache-2.0
//! The SCSI command layer against a drive in memory.

use super::*;
use crate::emulator::backend::memory::MemoryDrive;

const BLOCKS: u64 = 4096;

fn drive(sat: bool) -> (Arc<MemoryDrive>, LogicalUnit) {
    let drive = Arc::new(MemoryDrive::new(512, BLOCKS));
    (drive.clone(), LogicalUnit::new(drive, sat))
}

/// Sense key, ASC and ASCQ of a refused command.
fn refused(response: &Response) -> (u8, u8, u8) {
    assert_eq!((response.status, response.data.len()), (2, 0), "{response:x?}");
    assert_eq!((response.sense[0], response.sense.len()), (0x70, 18));
    (response.sense[2], response.sense[12], response.sense[13])
}

fn good(response: Response) -> Vec<u8> {
    assert_eq!(response.status, 0, "{response:x?}");
    response.data
}

#[test]
fn security_protocol_in_counts_bytes_or_blocks() {
    let (_, unit) = drive(false);
    let bytes = good(unit.execute(&[0xA2, 1, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0], &[]));
    assert_eq!(bytes.len(), 2048);
    assert_eq!(bytes[..8], [0, 0, 0, 0x60, 0, 0, 0, 1]);
    let blocks = good(unit.execute(&[0xA2, 1, 0, 1, 0x80, 0, 0, 0, 0, 4, 0, 0], &[]));
    assert_eq!(blocks, bytes);
    let short = good(unit.execute(&[0xA2, 1, 0, 1, 0, 0, 0, 0, 0, 6, 0, 0], &[]));
    assert_eq!(short, [0, 0, 0, 0x60, 0, 0]);
    let list = good(unit.execute(&[0xA2, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0], &[]));
    assert_eq!(list, [0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0]);
    let unknown = unit.execute(&[0xA2, 0xEE, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0], &[]);
    assert_eq!(refused(&unknown), (5, 0x24, 0));
    // FFFFFFFFh blocks of 512 must not be believed.
    let huge = unit.execute(&[0xA2, 1, 0, 1, 0x80, 0, 255, 255, 255, 255, 0, 0], &[]);
    assert_eq!(refused(&huge), (5, 0x24, 0));
    let nothing = unit.execute(&[0xB5, 1, 7, 0xFE, 0, 0, 0, 0, 8, 0, 0, 0], &[0; 512]);
    assert_eq!(refused(&nothing), (5, 0x24, 0), "less data than the CDB says");
}

#[test]
fn every_refusal_has_its_sense() {
    // Reference: transport §7.
    let table = [
        (CommandStatus::InvalidParameter, (5, 0x24, 0)),
        (CommandStatus::InvalidLength, (5, 0x24, 0)),
        (CommandStatus::ProtocolViolation, (5, 0x2C, 0)),
        (CommandStatus::InvalidSecurityState, (5, 0x2C, 0)),
        (CommandStatus::DataProtection, (7, 0x20, 2)),
        (CommandStatus::LbaOutOfRange, (5, 0x21, 0)),
    ];
    for (refusal, sense) in table {
        assert_eq!(refused(&Sense::of(refusal, false).into()), sense, "{refusal:?}");
        assert_eq!(refused(&Sense::of(refusal, true).into()), sense, "{refusal:?}");
    }
    assert_eq!(refused(&Sense::of(CommandStatus::MediaError, false).into()), (3, 0x11, 0));
    assert_eq!(refused(&Sense::of(CommandStatus::MediaError, true).into()), (3, 0x0C, 0));
}

#[test]
fn inquiry_has_the_fields_clients_read() {
    let (_, unit) = drive(false);
    let data = good(unit.execute(&[0x12, 0, 0, 0, 96, 0], &[]));
    assert_eq!((data.len(), data[0], data[4]), (96, 0, 91));
    assert_eq!(&data[8..36], b"OPALBOX OPALBOX MEMORY D1.0 ");
    let pages = good(unit.execute(&[0x12, 1, 0, 0, 255, 0], &[]));
    assert_eq!(pages, [0, 0, 0, 6, 0, 0x80, 0x83, 0xB0, 0xB1, 0xB2]);
    assert_eq!(refused(&unit.execute(&[0x12, 1, 0x89, 2, 0x3C, 0], &[])), (5, 0x24, 0));
    let naa = good(unit.execute(&[0x12, 1, 0x83, 0, 255, 0], &[]));
    assert_eq!(naa[4..16], [1, 3, 0, 8, 0x50, 0, 0, 0, 0, 0, 0, 1]);
    let limits = good(unit.execute(&[0x12, 1, 0xB0, 0, 255, 0], &[]));
    assert_eq!((limits.len(), &limits[..4]), (64, &[0, 0xB0, 0, 0x3C][..]));
    assert_eq!(limits[8..12], 8192_u32.to_be_bytes());
}

#[test]
fn a_translation_layer_shows_the_ata_device() {
    let (_, unit) = drive(true);
    let data = good(unit.execute(&[0x12, 0, 0, 0, 96, 0], &[]));
    assert_eq!(&data[8..16], b"ATA     ");
    let ata = good(unit.execute(&[0x12, 1, 0x89, 2, 0x3C, 0], &[]));
    assert_eq!((ata.len(), &ata[..4], ata[56]), (572, &[0, 0x89, 2, 0x38][..], 0xEC));
    assert_eq!(ata[60 + 96..60 + 98], [1, 0x40], "word 48");
}

#[test]
fn linux_is_told_that_security_commands_are_supported() {
    let (_, unit) = drive(false);
    for code in [0xA2, 0xB5] {
        let answer = good(unit.execute(&[0xA3, 0x0C, 1, code, 0, 0, 0, 0, 0, 66, 0, 0], &[]));
        assert_eq!((answer.len(), &answer[..5]), (16, &[0, 3, 0, 12, code][..]));
    }
    let absent = good(unit.execute(&[0xA3, 0x0C, 1, 0x85, 0, 0, 0, 0, 0, 66, 0, 0], &[]));
    assert_eq!(absent, [0, 1, 0, 0]);
    let capacity = good(unit.execute(&[0xA3, 0x0C, 3, 0x9E, 0, 0x10, 0, 0, 0, 66, 0, 0], &[]));
    assert_eq!(capacity[..6], [0, 3, 0, 16, 0x9E, 0x10]);
    // Every command that is listed is executed: none says that its code is invalid.
    let list = good(unit.execute(&[0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0], &[]));
    let (entries, _) = list[4..].as_chunks::<8>();
    assert_eq!(u32::from_be_bytes(list[..4].try_into().unwrap()) as usize, list.len() - 4);
    for entry in entries {
        let mut cdb = [0; 16];
        cdb[..2].copy_from_slice(&[entry[0], entry[3]]);
        let response = unit.execute(&cdb, &[]);
        assert!(response.status == 0 || refused(&response) != (5, 0x20, 0), "{entry:x?}");
    }
}

#[test]
fn data_goes_out_and_comes_back_in_each_form() {
    let (_, unit) = drive(false);
    let data: Vec<u8> = (0..1024_u32).map(|n| (n * 3) as u8).collect();
    let forms: [(&[u8], &[u8]); 4] = [
        (&[0x0A, 0, 0, 8, 2, 0], &[0x08, 0, 0, 8, 2, 0]),
        (&[0x2A, 0, 0, 0, 0, 16, 0, 0, 2, 0], &[0x28, 0, 0, 0, 0, 16, 0, 0, 2, 0]),
        (&[0xAA, 8, 0, 0, 0, 32, 0, 0, 0, 2, 0, 0], &[0xA8, 0, 0, 0, 0, 32, 0, 0, 0, 2, 0, 0]),
        (
            &[0x8A, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 2, 0, 0],
            &[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 2, 0, 0],
        ),
    ];
    for (write, read) in forms {
        assert!(good(unit.execute(write, &data)).is_empty());
        assert_eq!(good(unit.execute(read, &[])), data, "{read:x?}");
    }
    let nothing: [u8; 10] = [0x28, 0, 0, 0, 0, 16, 0, 0, 0, 0];
    assert!(good(unit.execute(&nothing, &[])).is_empty(), "zero blocks are no error");
    let protected = [0x28, 0x20, 0, 0, 0, 16, 0, 0, 1, 0];
    assert_eq!(refused(&unit.execute(&protected, &[])), (5, 0x24, 0));
}

#[test]
fn ranges_and_locks_are_respected() {
    let (drive, unit) = drive(false);
    let read = |lba: u64, blocks: u32| {
        let mut cdb = [0x88; 16];
        cdb[1] = 0;
        cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
        cdb[14..].fill(0);
        unit.execute(&cdb, &[])
    };
    for (lba, blocks) in [(BLOCKS, 1), (BLOCKS - 1, 2), (u64::MAX, 1), (0, u32::MAX)] {
        assert_eq!(refused(&read(lba, blocks)), (5, 0x21, 0), "{lba} {blocks}");
    }
    drive.lock(Some(100..200));
    assert_eq!(refused(&read(199, 2)), (7, 0x20, 2));
    assert_eq!(good(read(200, 1)).len(), 512);
    let write = unit.execute(&[0x2A, 0, 0, 0, 0, 150, 0, 0, 1, 0], &[0; 512]);
    assert_eq!(refused(&write), (7, 0x20, 2));
    let same = unit.execute(&[0x41, 0, 0, 0, 0, 150, 0, 0, 1, 0], &[0; 512]);
    assert_eq!(refused(&same), (7, 0x20, 2));
    let verify = unit.execute(&[0x2F, 0, 0, 0, 0, 150, 0, 0, 1, 0], &[]);
    assert_eq!(refused(&verify), (7, 0x20, 2));
}

#[test]
fn unmap_checks_every_descriptor_first() {
    let (_, unit) = drive(false);
    good(unit.execute(&[0x2A, 0, 0, 0, 0, 3, 0, 0, 1, 0], &[7; 512]));
    let list = |extents: &[(u64, u32)]| {
        let length = 16 * extents.len() as u16;
        let mut list = [(length + 6).to_be_bytes(), length.to_be_bytes(), [0; 2], [0; 2]].concat();
        for (lba, blocks) in extents {
            list.extend(lba.to_be_bytes());
            list.extend(blocks.to_be_bytes());
            list.extend([0; 4]);
        }
        list
    };
    let unmap = |list: &[u8]| unit.execute(&[0x42, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0], list);
    assert_eq!(refused(&unmap(&list(&[(3, 1), (BLOCKS, 1)]))), (5, 0x21, 0));
    let read = [0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0];
    assert_eq!(good(unit.execute(&read, &[])), [7; 512]);
    good(unmap(&list(&[(3, 1), (9, 0)])));
    assert_eq!(good(unit.execute(&read, &[])), [0; 512]);
    let short = unit.execute(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &[0; 8]);
    assert_eq!(refused(&short), (5, 0x1A, 0));
}

#[test]
fn pass_through_reaches_the_ata_device() {
    let (_, unit) = drive(true);
    // IDENTIFY, as sedutil asks for it.
    let identify = [0xA1, 0x08, 0x0E, 0, 1, 0, 0, 0, 0, 0xEC, 0, 0];
    let data = good(unit.execute(&identify, &[]));
    assert_eq!((data.len(), data[96..98].to_vec()), (512, vec![1, 0x40]));
    // Level 0 discovery, PIO in 12 bytes and DMA in 16.
    let twelve = [0xA1, 0x08, 0x0E, 1, 1, 0, 1, 0, 0x40, 0x5C, 0, 0];
    let discovery = good(unit.execute(&twelve, &[]));
    assert_eq!(discovery[..8], [0, 0, 0, 0x60, 0, 0, 0, 1]);
    let sixteen = [0x85, 0x0C, 0x0E, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0x40, 0x5D, 0];
    assert_eq!(good(unit.execute(&sixteen, &[])), discovery);
    // CK_COND: the registers come back with a recovered error.
    let checked = unit.execute(&[0xA1, 0x08, 0x2E, 1, 1, 0, 1, 0, 0x40, 0x5C, 0, 0], &[]);
    assert_eq!((checked.status, checked.data), (2, discovery));
    assert_eq!(checked.sense[..10], [0x72, 1, 0, 0x1D, 0, 0, 0, 14, 9, 12]);
    assert_eq!(checked.sense[8 + 13], 0x50);
    // A command that the device aborts.
    let aborted = unit.execute(&[0xA1, 0x08, 0x0E, 0xEE, 1, 0, 1, 0, 0x40, 0x5C, 0, 0], &[]);
    assert_eq!(aborted.sense[..4], [0x72, 0xB, 0, 0]);
    assert_eq!((aborted.sense[8 + 3], aborted.sense[8 + 13]), (0x04, 0x51));
    // Direction or length that do not fit the command.
    for (byte1, byte2, count) in [(0x0A, 0x06, 1), (0x08, 0x0C, 1), (0x08, 0x06, 1)] {
        let cdb = [0xA1, byte1, byte2, 1, count, 0, 1, 0, 0x40, 0x5C, 0, 0];
        assert_eq!(refused(&unit.execute(&cdb, &[])), (5, 0x24, 0), "{cdb:x?}");
    }
    let (_, native) = drive(false);
    assert_eq!(refused(&native.execute(&identify, &[])), (5, 0x20, 0));
}

#[test]
fn a_hard_reset_of_the_bridge_is_a_hardware_reset() {
    let (drive, unit) = drive(true);
    good(unit.execute(&[0xA1, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]));
    assert!(drive.resets().is_empty(), "a software reset is none");
    good(unit.execute(&[0xA1, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]));
    assert_eq!(drive.resets(), [ResetKind::Hardware]);
}

#[test]
fn no_command_panics_or_answers_too_much() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for sat in [false, true] {
        let (_, unit) = drive(sat);
        for round in 0..100_000_u32 {
            let mut cdb = [0; 16];
            for byte in &mut cdb {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
            // Small extents, so that many commands get past the first check.
            if round % 2 == 0 {
                cdb[1] &= 0x1F;
                cdb[2..4].fill(0);
                cdb[6..8].fill(0);
                cdb[10..12].fill(0);
            }
            let response = unit.execute(&cdb[..6 + (round % 11) as usize], &[0; 64]);
            assert!(response.data.len() <= MAX_TRANSFER);
            assert_eq!(response.status == 0, response.sense.is_empty());
        }
    }
}
