// SPDX-License-Identifier: MIT OR Apache-2.0
//! Protocol data units of NVMe/TCP (NVMe/TCP Transport 1.0 §3.6): framing only.

use std::io::{self, Read, Write};

/// Everything before the data: the common header and the type's own fields.
pub(super) const CAPSULE_COMMAND: u8 = 0x04;
pub(super) const H2C_DATA: u8 = 0x06;
const IC_REQUEST: u8 = 0x00;
const IC_RESPONSE: u8 = 0x01;
const H2C_TERMINATE: u8 = 0x02;
const C2H_TERMINATE: u8 = 0x03;
const CAPSULE_RESPONSE: u8 = 0x05;
const C2H_DATA: u8 = 0x07;
const R2T: u8 = 0x09;

const COMMON: usize = 8;
const IC_LENGTH: usize = 128;
const CAPSULE_COMMAND_LENGTH: usize = 72;
const LAST_DATA: u8 = 0x04;

/// Fatal error statuses of a termination request (§3.6.2.3).
pub(super) const INVALID_HEADER: u16 = 0x01;
pub(super) const SEQUENCE_ERROR: u16 = 0x02;
pub(super) const DATA_OUT_OF_RANGE: u16 = 0x04;

/// What the host asked for when the connection began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Initialize {
    /// Bytes to which the host wants the data of PDUs aligned.
    pub(super) data_alignment: usize,
}

/// A PDU from the host after initialization.
#[derive(Debug)]
pub(super) enum Pdu {
    /// A command, and the data in its capsule.
    Command([u8; 64], Vec<u8>),
    /// Data for the write with this command id and tag.
    Data { command: u16, tag: u16, offset: u32, data: Vec<u8> },
    /// The host gives the connection up.
    Terminate,
}

/// Why no PDU could be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection ended or stalled.
    Io,
    /// The host broke the rules: tell it which (fatal error status), with the header in question.
    Rule(u16, [u8; COMMON]),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

/// Reads ICReq and answers ICResp: version 0, no digests, `max_data` bytes per H2CData.
pub(super) fn initialize<S: Read + Write>(
    stream: &mut S,
    max_data: u32,
) -> Result<Initialize, Broken> {
    let mut request = [0; IC_LENGTH];
    stream.read_exact(&mut request)?;
    let [kind, _, hlen, _, plen @ ..] = first::<8>(&request);
    let [version_low, version_high, alignment, ..] = at::<8>(&request, COMMON);
    let fits = kind == IC_REQUEST
        && usize::from(hlen) == IC_LENGTH
        && u32::from_le_bytes(plen) as usize == IC_LENGTH
        && [version_low, version_high] == [0, 0]
        // Alignment in dwords, zero-based, up to 128 bytes.
        && alignment < 32;
    if !fits {
        return Err(Broken::Rule(INVALID_HEADER, first::<8>(&request)));
    }
    let mut response = [0; IC_LENGTH];
    header(&mut response, IC_RESPONSE, 0, IC_LENGTH, 0, IC_LENGTH);
    put(&mut response, 12, &max_data.to_le_bytes());
    stream.write_all(&response)?;
    stream.flush()?;
    Ok(Initialize { data_alignment: (usize::from(alignment) + 1) * 4 })
}

/// Reads one PDU; its data is at most `max_data` bytes.
pub(super) fn read<R: Read>(stream: &mut R, max_data: usize) -> Result<Pdu, Broken> {
    let mut common = [0; COMMON];
    stream.read_exact(&mut common)?;
    let [kind, flags, hlen, pdo, plen @ ..] = common;
    let (hlen, pdo) = (usize::from(hlen), usize::from(pdo));
    let plen = u32::from_le_bytes(plen) as usize;
    let rule = Err(Broken::Rule(INVALID_HEADER, common));
    let expected = match kind {
        CAPSULE_COMMAND => CAPSULE_COMMAND_LENGTH,
        H2C_DATA => 24,
        H2C_TERMINATE => return Ok(Pdu::Terminate),
        _ => return rule,
    };
    // Digests were not agreed on: bits 1:0 of the flags must be clear.
    if hlen != expected || flags & 3 != 0 || plen < hlen || plen > hlen + 128 + max_data {
        return rule;
    }
    let mut rest = [0; CAPSULE_COMMAND_LENGTH - COMMON];
    let rest = rest.get_mut(..hlen - COMMON).unwrap_or_default();
    stream.read_exact(rest)?;
    let data = if plen == hlen {
        Vec::new()
    } else {
        if pdo < hlen || pdo > plen || plen - pdo > max_data {
            return rule;
        }
        let mut padding = [0; 256];
        stream.read_exact(padding.get_mut(..pdo - hlen).unwrap_or_default())?;
        let mut data = vec![0; plen - pdo];
        stream.read_exact(&mut data)?;
        data
    };
    if kind == CAPSULE_COMMAND {
        return Ok(Pdu::Command(first::<64>(rest), data));
    }
    let [c0, c1, t0, t1, offset @ ..] = first::<8>(rest);
    let length = u32::from_le_bytes(at::<4>(rest, 8));
    if length as usize != data.len() {
        return Err(Broken::Rule(DATA_OUT_OF_RANGE, common));
    }
    Ok(Pdu::Data {
        command: u16::from_le_bytes([c0, c1]),
        tag: u16::from_le_bytes([t0, t1]),
        offset: u32::from_le_bytes(offset),
        data,
    })
}

/// A command's completion.
pub(super) fn response<W: Write>(stream: &mut W, entry: &[u8; 16]) -> io::Result<()> {
    let mut pdu = [0; 24];
    header(&mut pdu, CAPSULE_RESPONSE, 0, 24, 0, 24);
    put(&mut pdu, 8, entry);
    stream.write_all(&pdu)
}

/// All data of a command, in one PDU.
pub(super) fn data<W: Write>(
    stream: &mut W,
    command: u16,
    data: &[u8],
    alignment: usize,
) -> io::Result<()> {
    let offset = 24_usize.next_multiple_of(alignment.max(1));
    let length = u32::try_from(data.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut pdu = [0; 256];
    header(&mut pdu, C2H_DATA, LAST_DATA, 24, offset, offset + data.len());
    put(&mut pdu, 8, &command.to_le_bytes());
    put(&mut pdu, 16, &length.to_le_bytes());
    stream.write_all(pdu.get(..offset).unwrap_or_default())?;
    stream.write_all(data)
}

/// Asks for `length` bytes of the command's data from its beginning.
pub(super) fn ready_to_transfer<W: Write>(
    stream: &mut W,
    command: u16,
    tag: u16,
    length: u32,
) -> io::Result<()> {
    let mut pdu = [0; 24];
    header(&mut pdu, R2T, 0, 24, 0, 24);
    put(&mut pdu, 8, &command.to_le_bytes());
    put(&mut pdu, 10, &tag.to_le_bytes());
    put(&mut pdu, 16, &length.to_le_bytes());
    stream.write_all(&pdu)
}

/// Tells the host why the connection ends.
pub(super) fn terminate<W: Write>(
    stream: &mut W,
    status: u16,
    offending: &[u8; COMMON],
) -> io::Result<()> {
    let mut pdu = [0; 32];
    header(&mut pdu, C2H_TERMINATE, 0, 24, 0, 32);
    put(&mut pdu, 8, &status.to_le_bytes());
    put(&mut pdu, 24, offending);
    stream.write_all(&pdu)?;
    stream.flush()
}

fn header(pdu: &mut [u8], kind: u8, flags: u8, hlen: usize, pdo: usize, plen: usize) {
    let small = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    put(pdu, 0, &[kind, flags, small(hlen), small(pdo)]);
    put(pdu, 4, &u32::try_from(plen).unwrap_or(u32::MAX).to_le_bytes());
}

fn put(pdu: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(slot) = pdu.get_mut(at..at + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
}

/// The first `N` bytes; zeros where there are fewer.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    at(bytes, 0)
}

pub(super) fn at<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    bytes.get(from..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}
