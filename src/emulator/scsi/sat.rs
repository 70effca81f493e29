// SPDX-License-Identifier: MIT OR Apache-2.0
//! ATA PASS-THROUGH (12) and (16): SCSI's way to an ATA device (SAT-3 §12.2).

use super::{Cdb, Response, Sense, sense};
use crate::emulator::ata::{self, Device, Registers, Transfer};

/// A decoded pass-through CDB.
struct PassThrough {
    registers: Registers,
    protocol: u8,
    flags: u8,
    extended: bool,
}

const HARDWARE_RESET: u8 = 0;
const SOFTWARE_RESET: u8 = 1;
const NON_DATA: u8 = 3;
const PIO_IN: u8 = 4;
const PIO_OUT: u8 = 5;
const DMA: u8 = 6;
const UDMA_IN: u8 = 10;
const UDMA_OUT: u8 = 11;

const CHECK_CONDITION_WANTED: u8 = 1 << 5;
const FROM_DEVICE: u8 = 1 << 3;
const IN_BLOCKS: u8 = 1 << 2;
const LOGICAL_SECTORS: u8 = 1 << 4;

/// What a pass-through asks for beyond an ATA command.
pub(super) enum Outcome {
    /// It is answered.
    Answered(Response),
    /// The device is to be reset as by its hardware line.
    HardwareReset,
}

/// Executes A1h or 85h.
pub(super) fn execute(device: &Device, cdb: &Cdb, block_size: usize, data: &[u8]) -> Outcome {
    let command = decode(cdb);
    match command.protocol {
        HARDWARE_RESET => Outcome::HardwareReset,
        SOFTWARE_RESET => Outcome::Answered(Response::good(Vec::new())),
        _ => Outcome::Answered(
            run(device, &command, block_size, data).unwrap_or_else(Response::from),
        ),
    }
}

fn run(
    device: &Device,
    command: &PassThrough,
    block_size: usize,
    data: &[u8],
) -> Result<Response, Sense> {
    let transfer = match device.transfer(&command.registers) {
        Ok(transfer) => transfer,
        Err(reply) => return Ok(failed(command, &reply)),
    };
    let inward = match command.protocol {
        NON_DATA => None,
        PIO_IN | UDMA_IN => Some(true),
        PIO_OUT | UDMA_OUT => Some(false),
        DMA => Some(command.flags & FROM_DEVICE != 0),
        _ => return Err(Sense::INVALID_FIELD),
    };
    // Protocol, direction and length must be those of the command, or data would be lost.
    let stated = length(command, block_size);
    let fits = match (transfer, inward) {
        (Transfer::None, None) => true,
        (Transfer::In(bytes), Some(true)) => bytes == stated && command.flags & FROM_DEVICE != 0,
        (Transfer::Out(bytes), Some(false)) => bytes == stated && command.flags & FROM_DEVICE == 0,
        _ => false,
    };
    if !fits {
        return Err(Sense::INVALID_FIELD);
    }
    let reply = device.execute(&command.registers, data);
    if !reply.is_good() {
        return Ok(failed(command, &reply));
    }
    if command.flags & CHECK_CONDITION_WANTED != 0 {
        let sense = Sense::ATA_INFORMATION.descriptors(&descriptor(command, &reply));
        return Ok(Response { status: sense::CHECK_CONDITION, sense, data: reply.data });
    }
    Ok(Response::good(reply.data))
}

/// CHECK CONDITION, ABORTED COMMAND with the registers.
fn failed(command: &PassThrough, reply: &ata::Reply) -> Response {
    let sense = Sense::ABORTED_COMMAND.descriptors(&descriptor(command, reply));
    Response { status: sense::CHECK_CONDITION, sense, data: Vec::new() }
}

/// ATA Status Return descriptor (SAT-3 §12.2.7).
fn descriptor(command: &PassThrough, reply: &ata::Reply) -> [u8; 14] {
    let [count_high, count] = reply.count.to_be_bytes();
    let [low, mid, high, low_high, mid_high, high_high, ..] = command.registers.lba.to_le_bytes();
    let upper = |byte| if command.extended { byte } else { 0 };
    [
        0x09,
        0x0C,
        u8::from(command.extended),
        reply.error,
        upper(count_high),
        count,
        upper(low_high),
        low,
        upper(mid_high),
        mid,
        upper(high_high),
        high,
        command.registers.device,
        reply.status,
    ]
}

/// Bytes that the CDB says are moved.
fn length(command: &PassThrough, block_size: usize) -> usize {
    let field = match command.flags & 3 {
        1 => usize::from(command.registers.feature),
        2 => usize::from(command.registers.count),
        _ => return 0,
    };
    if command.flags & IN_BLOCKS == 0 {
        field
    } else if command.flags & LOGICAL_SECTORS != 0 {
        field * block_size
    } else {
        field * ata::BLOCK
    }
}

fn decode(cdb: &Cdb) -> PassThrough {
    let byte = |n| cdb.byte(n);
    let extended = cdb.byte(0) == 0x85 && byte(1) & 1 != 0;
    let registers = if cdb.byte(0) == 0x85 {
        let pair = |upper, lower| {
            let upper = if extended { byte(upper) } else { 0 };
            u16::from_be_bytes([upper, byte(lower)])
        };
        let (low, mid, high) = (pair(7, 8), pair(9, 10), pair(11, 12));
        let [low_high, low] = low.to_be_bytes();
        let [mid_high, mid] = mid.to_be_bytes();
        let [high_high, high] = high.to_be_bytes();
        Registers {
            feature: pair(3, 4),
            count: pair(5, 6),
            lba: u64::from_le_bytes([low, mid, high, low_high, mid_high, high_high, 0, 0]),
            device: byte(13),
            command: byte(14),
        }
    } else {
        Registers {
            feature: byte(3).into(),
            count: byte(4).into(),
            lba: u64::from_le_bytes([byte(5), byte(6), byte(7), 0, 0, 0, 0, 0]),
            device: byte(8),
            command: byte(9),
        }
    };
    PassThrough { registers, protocol: byte(1) >> 1 & 0xF, flags: byte(2), extended }
}
