// SPDX-License-Identifier: MIT OR Apache-2.0
//! What bytes without a label are: told by their own structure, never by whose they may be.

use opal::Uid;
use opal::spec::{method, protocol, sp};
use opal::wire::packet::{BLOCK, COM_PACKET_HEADER, ComPacket, PACKET_HEADER, SUB_PACKET_HEADER};
use opal::wire::print::{Body, Direction, Message, Printer};
use opal::wire::token::{Token, Tokens};

use super::{DecodeError, Part};

/// Protocol EF, ATA security.
pub(super) const ATA_SECURITY: u8 = 0xEF;
/// Headers in front of the tokens of the first sub-packet.
const HEADERS: usize = COM_PACKET_HEADER + PACKET_HEADER + SUB_PACKET_HEADER;
/// Most ComPackets taken from one file.
const MESSAGES_MAX: usize = 4096;

/// Decodes bytes that begin at `first_offset` of whatever they are from.
pub(super) fn messages(data: &[u8], first_offset: u64) -> Result<Vec<Part>, DecodeError> {
    let mut printer = Printer::new();
    if first_offset > 0 {
        return one(fragment(&mut printer, Direction::Receive, data, first_offset), data);
    }
    match kind(data) {
        Some(Kind::Discovery) => {
            one(printer.received(protocol::TCG, protocol::DISCOVERY, data), data)
        }
        Some(Kind::Protocols) => one(printer.received(protocol::INFORMATION, 0, data), data),
        Some(Kind::AtaSecurity) => one(printer.received(ATA_SECURITY, 0, data), data),
        Some(Kind::Tokens) => one(printer.tokens(direction(data), data), data),
        Some(Kind::ComPackets) => Ok(com_packets(&mut printer, data)),
        None => Err(DecodeError::Unrecognised(data.len())),
    }
}

fn one(message: Message, data: &[u8]) -> Result<Vec<Part>, DecodeError> {
    match &message.body {
        Body::Opaque => Err(DecodeError::Unrecognised(data.len())),
        Body::Tokens(items) if items.is_empty() => Err(DecodeError::Unrecognised(data.len())),
        _ => Ok(vec![Part::Message(Box::new(message))]),
    }
}

/// Decodes a piece of a ComPacket: what of the headers is there is skipped.
pub(super) fn fragment(
    printer: &mut Printer,
    direction: Direction,
    data: &[u8],
    first_offset: u64,
) -> Message {
    let headers = (HEADERS as u64).saturating_sub(first_offset) as usize;
    let mut message = printer.fragment(direction, data.get(headers..).unwrap_or_default());
    message.notes.insert(0, format!("truncated: the first {first_offset} bytes are missing"));
    message
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Discovery,
    ComPackets,
    Protocols,
    AtaSecurity,
    Tokens,
}

fn kind(data: &[u8]) -> Option<Kind> {
    if is_protocol_list(data) {
        return Some(Kind::Protocols);
    }
    if is_ata_security(data) {
        return Some(Kind::AtaSecurity);
    }
    match data {
        // A ComPacket begins with four reserved bytes and a ComID, a discovery answer with its
        // length.
        [0, 0, 0, 0, com_id @ ..] if com_id.get(..2).is_some_and(|id| id != [0, 0]) => {
            Some(Kind::ComPackets)
        }
        // All zero is how a drive without TCG may answer.
        [0, 0, 0, 0, ..] if data.len() >= 48 && data.iter().all(|b| *b == 0) => {
            Some(Kind::Discovery)
        }
        // Its version is 0.1, or a little more some day.
        [0, 0, _, _, 0, 0, 0, 1..=9, ..] => Some(Kind::Discovery),
        [0xF0 | 0xF8 | 0xFA..=0xFC, ..] => Some(Kind::Tokens),
        _ => None,
    }
}

/// Six reserved bytes, a count, and that many protocols in ascending order from 00.
fn is_protocol_list(data: &[u8]) -> bool {
    let [0, 0, 0, 0, 0, 0, high, low, list @ ..] = data else { return false };
    let count = usize::from(u16::from_be_bytes([*high, *low]));
    let list = list.get(..count).unwrap_or(list);
    count > 0 && list.first() == Some(&0) && list.is_sorted_by(|a, b| a < b)
}

/// Protocol EF answers with a length of 0E and little more.
fn is_ata_security(data: &[u8]) -> bool {
    matches!(data, [0, 0x0E, _, _, _, _, _, _, ..])
        && (data.len() <= 16 || data.get(16..).is_some_and(|rest| rest.iter().all(|b| *b == 0)))
        // A discovery answer of that length would have a version here.
        && data.get(4..8) != Some(&[0, 0, 0, 1])
}

/// ComPackets one after the other, with or without padding to blocks between them.
fn com_packets(printer: &mut Printer, data: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = data;
    while kind(rest) == Some(Kind::ComPackets) && parts.len() < MESSAGES_MAX {
        let Ok(com) = ComPacket::parse_prefix(rest) else {
            let message = printer.received(protocol::TCG, 0, rest);
            parts.push(Part::Message(Box::new(message)));
            break;
        };
        let size = COM_PACKET_HEADER + com.payload().len();
        let bytes = rest.get(..size).unwrap_or(rest);
        let message = match direction_of(&com) {
            Direction::Send => printer.sent(protocol::TCG, com.com_id, bytes),
            Direction::Receive => printer.received(protocol::TCG, com.com_id, bytes),
        };
        parts.push(Part::Message(Box::new(message)));
        let behind = rest.get(size..).unwrap_or_default();
        let padded = size.next_multiple_of(BLOCK);
        rest = if kind(behind) == Some(Kind::ComPackets) {
            behind
        } else {
            rest.get(padded..).unwrap_or_default()
        };
    }
    parts
}

/// Who sent a ComPacket, told by its first tokens.
fn direction_of(com: &ComPacket<'_>) -> Direction {
    let sub_packet = com.packets().flatten().flat_map(|packet| packet.sub_packets().flatten());
    sub_packet
        .take(1)
        .map(|sub_packet| direction(sub_packet.payload()))
        .next()
        .unwrap_or(Direction::Receive)
}

fn direction(tokens: &[u8]) -> Direction {
    let mut tokens = Tokens::new(tokens).flatten().map(|spanned| spanned.token);
    if tokens.next() != Some(Token::Call) {
        return Direction::Receive;
    }
    let uid = |token| match token {
        Some(Token::Bytes(bytes)) => Uid::from_bytes(bytes),
        _ => None,
    };
    let (invoking, called) = (uid(tokens.next()), uid(tokens.next()));
    let answers = [method::SYNC_SESSION, method::CLOSE_SESSION];
    if invoking == Some(sp::SESSION_MANAGER) && called.is_some_and(|m| answers.contains(&m)) {
        return Direction::Receive;
    }
    // The drive's properties stand in a list without a name; the host's have one.
    let properties = called == Some(method::PROPERTIES) && tokens.next() == Some(Token::StartList);
    if properties && tokens.next() == Some(Token::StartList) {
        return Direction::Receive;
    }
    Direction::Send
}
