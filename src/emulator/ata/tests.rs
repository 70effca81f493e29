// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ATA command layer against a drive in memory.

use super::*;
use crate::emulator::backend::memory::MemoryDrive;

fn drive() -> (Arc<MemoryDrive>, Device) {
    let drive = Arc::new(MemoryDrive::new(512, 1024));
    (drive.clone(), Device::new(drive))
}

fn word(data: &[u8], n: usize) -> u16 {
    u16::from_le_bytes([data[2 * n], data[2 * n + 1]])
}

fn registers(command: u8, feature: u16, count: u16, lba: u64) -> Registers {
    Registers { feature, count, lba, device: 0x40, command }
}

#[test]
fn identify_says_trusted_computing_and_sums_to_zero() {
    let (_, device) = drive();
    let data = device.execute(&registers(0xEC, 0, 1, 0), &[]).data;
    assert_eq!(data.len(), 512);
    assert_eq!(word(&data, 48), 0x4001);
    assert_ne!(word(&data, 80) & 1 << 8, 0, "major version 8");
    assert_ne!(word(&data, 84) & word(&data, 87) & 1 << 5, 0, "general purpose logging");
    assert_eq!(data[60 * 2..62 * 2], 1024_u32.to_le_bytes());
    assert_eq!(data[100 * 2..104 * 2], 1024_u64.to_le_bytes());
    // The two characters of a word are swapped.
    assert_eq!(&data[20..40], b"EM0M00 1            ");
    assert_eq!(word(&data, 82) & 1 << 1, 0, "no ATA security, which would stop Activate");
    assert_eq!(data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
}

#[test]
fn linux_finds_trusted_computing_in_the_log() {
    let (_, device) = drive();
    let read = |log: u64, page: u64, count| {
        device.execute(&registers(0x2F, 0, count, log | page << 8), &[])
    };
    let directory = read(0, 0, 1).data;
    assert_eq!((word(&directory, 0), word(&directory, 0x30)), (1, 9));
    let pages = read(0x30, 0, 1).data;
    assert_eq!(pages[8..12], [3, 0, 1, 6]);
    let security = read(0x30, 6, 1).data;
    assert_eq!(security[40..48], (1_u64 << 63 | 1).to_le_bytes());
    assert_eq!(security[..8], (1_u64 << 63 | 6 << 16 | 1).to_le_bytes());
    assert_eq!(read(0x30, 0, 2).data.len(), 1024);
    assert!(!read(0x55, 0, 1).is_good());
    assert!(!read(0x30, 8, 2).is_good(), "beyond the last page");
}

#[test]
fn trusted_commands_split_length_and_com_id_over_the_registers() {
    let (_, device) = drive();
    // Protocol 1, ComID 0001h little endian in LBA (23:8), one block.
    let discovery = registers(0x5C, 1, 1, 0x00_0100);
    assert_eq!(device.transfer(&discovery), Ok(Transfer::In(512)));
    let reply = device.execute(&discovery, &[]);
    assert!(reply.is_good());
    assert_eq!(reply.data[..8], [0, 0, 0, 0x60, 0, 0, 0, 1]);
    // Blocks 15:8 are in LBA (7:0).
    let long = registers(0x5F, 1, 2, 0x07_FE01);
    assert_eq!(device.transfer(&long), Ok(Transfer::Out(0x102 * 512)));
    assert_eq!(trusted(&long), (1, 0x07FE));
    let refused = device.execute(&registers(0x5C, 0xEE, 1, 0), &[]);
    assert_eq!((refused.status, refused.error), (0x51, 0x04));
}

#[test]
fn data_goes_out_and_comes_back_by_each_addressing() {
    let (drive, device) = drive();
    let data: Vec<u8> = (0..1024_u32).map(|n| (n * 5) as u8).collect();
    let forms = [(0x35, 0x25, 2, 0), (0xCA, 0xC8, 2, 0), (0x30, 0x20, 2, 0), (0x61, 0x60, 0, 2)];
    for (round, (write, read, count, feature)) in forms.into_iter().enumerate() {
        let lba = 10 * round as u64;
        assert!(device.execute(&registers(write, feature, count, lba), &data).is_good());
        let reply = device.execute(&registers(read, feature, count, lba), &[]);
        assert_eq!(reply.data, data, "{read:#x}");
    }
    drive.lock(Some(0..4));
    let reply = device.execute(&registers(0x25, 0, 1, 3), &[]);
    assert_eq!((reply.status, reply.error, reply.data.len()), (0x51, 0x04, 0));
    let reply = device.execute(&registers(0x25, 0, 1, 1024), &[]);
    assert_eq!((reply.status, reply.error), (0x51, 0x10));
    // Data shorter than the command says.
    assert!(!device.execute(&registers(0x35, 0, 2, 100), &data[..512]).is_good());
}

#[test]
fn trim_checks_every_range_first() {
    let (_, device) = drive();
    device.execute(&registers(0x35, 0, 1, 8), &[1; 512]).is_good().then_some(()).unwrap();
    let mut list = vec![0; 512];
    list[..8].copy_from_slice(&(8_u64 | 1 << 48).to_le_bytes());
    list[8..16].copy_from_slice(&(1023_u64 | 2 << 48).to_le_bytes());
    assert!(!device.execute(&registers(0x06, 1, 1, 0), &list).is_good());
    assert_eq!(device.execute(&registers(0x25, 0, 1, 8), &[]).data, [1; 512]);
    list[8..16].fill(0);
    assert!(device.execute(&registers(0x06, 1, 1, 0), &list).is_good());
    assert_eq!(device.execute(&registers(0x25, 0, 1, 8), &[]).data, [0; 512]);
}

#[test]
fn unknown_commands_are_aborted() {
    let (_, device) = drive();
    let known = [
        0x06, 0x20, 0x24, 0x25, 0x2F, 0x30, 0x34, 0x35, 0x3D, 0x40, 0x42, 0x47, 0x5B, 0x5C, 0x5D,
        0x5E, 0x5F, 0x60, 0x61, 0xC8, 0xCA, 0xE0, 0xE1, 0xE5, 0xE7, 0xEA, 0xEC, 0xEF,
    ];
    for code in 0..=0xFF {
        let reply = device.transfer(&registers(code, 0, 1, 0));
        assert_eq!(reply.is_ok(), known.contains(&code), "{code:#x}");
    }
}
