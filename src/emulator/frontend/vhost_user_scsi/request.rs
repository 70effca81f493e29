// SPDX-License-Identifier: MIT OR Apache-2.0
//! One descriptor chain: a virtio-scsi request and its answer (virtio 1.2 §5.6.6).

use std::io::{self, Read as _, Write as _};

use virtio_queue::DescriptorChain;
use vm_memory::{GuestMemoryLoadGuard, GuestMemoryMmap};

use crate::emulator::scsi::{LogicalUnit, MAX_TRANSFER};

type Chain = DescriptorChain<GuestMemoryLoadGuard<GuestMemoryMmap>>;

/// Length of a request before its data: LUN, tag, attributes and 32 bytes of CDB.
const REQUEST: usize = 51;
const CDB_AT: usize = 19;
/// Length of a response before its data, with room for 96 bytes of sense.
const RESPONSE: usize = 108;
const SENSE: usize = 96;

/// Response codes.
const OK: u8 = 0;
const BAD_TARGET: u8 = 3;
const FAILURE: u8 = 9;
const INCORRECT_LUN: u8 = 12;

/// Answers a SCSI command; returns the bytes written to the guest.
pub(super) fn command(
    unit: &LogicalUnit,
    memory: &GuestMemoryMmap,
    chain: Chain,
) -> io::Result<u32> {
    let mut reader = chain.clone().reader(memory).map_err(io::Error::other)?;
    let mut writer = chain.writer(memory).map_err(io::Error::other)?;
    let room = writer.available_bytes().saturating_sub(RESPONSE);
    let mut data_in = writer.split_at(RESPONSE).map_err(io::Error::other)?;
    let mut request = [0; REQUEST];
    reader.read_exact(&mut request)?;
    let (header, cdb) = request.split_at(CDB_AT);

    let mut response = Header { code: OK, ..Header::default() };
    let outgoing = reader.available_bytes();
    match address(header) {
        Address::Unit if outgoing <= MAX_TRANSFER => {
            let mut data_out = vec![0; outgoing];
            reader.read_exact(&mut data_out)?;
            let answer = unit.execute(cdb, &data_out);
            let sent = answer.data.get(..room).unwrap_or(&answer.data);
            data_in.write_all(sent)?;
            response.status = answer.status;
            response.sense = answer.sense;
            // Clients look at what was not moved to find out how much was.
            response.residual = room - sent.len();
        }
        Address::Unit => response.code = FAILURE,
        Address::OtherUnit if cdb.first() == Some(&REPORT_LUNS) => {
            let answer = unit.execute(cdb, &[]);
            let sent = answer.data.get(..room).unwrap_or(&answer.data);
            data_in.write_all(sent)?;
            response.residual = room - sent.len();
        }
        Address::OtherUnit => response.code = INCORRECT_LUN,
        Address::OtherTarget => response.code = BAD_TARGET,
    }
    writer.write_all(&response.bytes())?;
    let written = writer.bytes_written() + data_in.bytes_written();
    u32::try_from(written).map_err(io::Error::other)
}

/// Answers a task management function or a query for events.
pub(super) fn control(memory: &GuestMemoryMmap, chain: Chain) -> io::Result<u32> {
    const TASK_MANAGEMENT: u32 = 0;
    let mut reader = chain.clone().reader(memory).map_err(io::Error::other)?;
    let mut writer = chain.writer(memory).map_err(io::Error::other)?;
    let mut kind = [0; 4];
    reader.read_exact(&mut kind)?;
    if u32::from_le_bytes(kind) == TASK_MANAGEMENT {
        // Commands are done when their queue is read, so there is nothing left to abort or reset.
        // A logical unit reset is no TCG reset.
        writer.write_all(&[OK])?;
    } else {
        // No event is subscribed to, because none will come.
        writer.write_all(&[0, 0, 0, 0, OK])?;
    }
    u32::try_from(writer.bytes_written()).map_err(io::Error::other)
}

const REPORT_LUNS: u8 = 0xA0;

enum Address {
    Unit,
    OtherUnit,
    OtherTarget,
}

/// Whom a request is for: byte 0 is 1, byte 1 the target, bytes 2 and 3 a flat LUN.
fn address(header: &[u8]) -> Address {
    match header {
        [1, 0, 0x40 | 0x00, 0, ..] => Address::Unit,
        // The well-known LUN of REPORT LUNS.
        [0xC1, 1, ..] | [1, 0, ..] => Address::OtherUnit,
        _ => Address::OtherTarget,
    }
}

#[derive(Default)]
struct Header {
    sense: Vec<u8>,
    residual: usize,
    status: u8,
    code: u8,
}

impl Header {
    fn bytes(&self) -> Vec<u8> {
        let sense = self.sense.get(..SENSE).unwrap_or(&self.sense);
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = number(sense.len()).to_vec();
        bytes.extend(number(self.residual));
        bytes.extend([0, 0, self.status, self.code]);
        bytes.extend(sense);
        bytes.resize(RESPONSE, 0);
        bytes
    }
}
