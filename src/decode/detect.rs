// SPDX-License-Identifier: MIT OR Apache-2.0
//! What bytes without a label are: told by their own structure, never by whose they may be.

use opal::Uid;
use opal::spec::{method, protocol, sp};
use opal::wire::packet::{BLOCK, COM_PACKET_HEADER, ComPacket, PACKET_HEADER, SUB_PACKET_HEADER};
use opal::wire::print::{Body, Direction, Message, Printer};
use opal::wire::token::{Token, Tokens};

use super::{DecodeError, Part, Report};

/// Protocol EF, ATA security.
pub(super) const ATA_SECURITY: u8 = 0xEF;
/// Headers in front of the tokens of the first sub-packet.
const HEADERS: usize = COM_PACKET_HEADER + PACKET_HEADER + SUB_PACKET_HEADER;
/// Most ComPackets taken from one file.
const MESSAGES_MAX: usize = 1024;

/// Decodes bytes that begin at `first_offset` of whatever they are from.
pub(super) fn messages(data: &[u8], first_offset: u64) -> Result<Report, DecodeError> {
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

fn one(message: Message, data: &[u8]) -> Result<Report, DecodeError> {
    match &message.body {
        Body::Opaque => Err(DecodeError::Unrecognised(data.len())),
        Body::Tokens(items) if items.is_empty() => Err(DecodeError::Unrecognised(data.len())),
        _ => Ok(Report { parts: vec![Part::Message(Box::new(message))], ..Report::default() }),
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
        _ if begins_com_packet(data) => Some(Kind::ComPackets),
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

/// A ComPacket begins with four reserved bytes and a ComID, a discovery answer with its length.
fn begins_com_packet(data: &[u8]) -> bool {
    matches!(data, [0, 0, 0, 0, high, low, ..] if (*high, *low) != (0, 0))
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
fn com_packets(printer: &mut Printer, data: &[u8]) -> Report {
    let mut report = Report::default();
    let mut rest = data;
    while begins_com_packet(rest) && report.parts.len() < MESSAGES_MAX {
        let (size, direction) = match ComPacket::parse_prefix(rest) {
            Ok(com) => (COM_PACKET_HEADER + com.payload().len(), direction_of(&com)),
            Err(_) => (rest.len(), Direction::Receive),
        };
        let bytes = rest.get(..size).unwrap_or(rest);
        let com_id =
            bytes.get(4..6).and_then(|id| id.try_into().ok()).map_or(0, u16::from_be_bytes);
        let message = match direction {
            Direction::Send => printer.sent(protocol::TCG, com_id, bytes),
            Direction::Receive => printer.received(protocol::TCG, com_id, bytes),
        };
        report.parts.push(Part::Message(Box::new(message)));
        let at = data.len() - rest.len() + size;
        rest = data.get(next_com_packet(data, at, size)..).unwrap_or_default();
    }
    if rest.iter().any(|b| *b != 0) {
        report
            .notes
            .push(format!("{} bytes behind the last ComPacket are not decoded", rest.len()));
    }
    report
}

/// Where the next ComPacket may begin behind one of `size` bytes that ends at `end`: at once, or
/// behind the zeros that fill a block or a buffer of several blocks, counted from the file's or the
/// ComPacket's beginning.
fn next_com_packet(data: &[u8], end: usize, size: usize) -> usize {
    let is_packet = |at: &usize| begins_com_packet(data.get(*at..).unwrap_or_default());
    let zeros = data.iter().skip(end).take_while(|byte| **byte == 0).count();
    // A ComPacket itself begins with zeros: it may begin before they end.
    [0, size, end]
        .into_iter()
        .flat_map(|from| {
            let first = end + (from.next_multiple_of(BLOCK) - from);
            (first..=end + zeros).step_by(BLOCK)
        })
        .find(is_packet)
        .unwrap_or(end)
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

#[cfg(test)]
mod tests {
    use super::*;
    use opal::Uid;
    use opal::wire::CallBuilder;
    use opal::wire::packet::Envelope;

    fn get() -> Vec<u8> {
        CallBuilder::new(Uid::new(0x802, 1), method::GET).finish().to_vec()
    }

    fn packet(tokens: &[u8]) -> Vec<u8> {
        Envelope { com_id: 0x1000, tsn: 0x1001, hsn: 1, ..Envelope::default() }
            .wrap(tokens)
            .to_vec()
    }

    #[test]
    fn several_com_packets_with_and_without_padding() {
        let answer = [0xF0, 0xF1, 0xF9, 0xF0, 1, 0, 0, 0xF1];
        let mut data = packet(&get());
        data.extend(packet(&answer));
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        data.extend(packet(&[0xFA]));
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        // The second one stands behind the first, not at a block: the first decides.
        let report = messages(&data, 0).unwrap();
        let text = report.to_string();
        assert!(text.contains("answer to Locking_GlobalRange.Get: NOT_AUTHORIZED"), "{text}");
        assert!(text.contains("IF-SEND") && text.contains("IF-RECV"), "{text}");
        assert_eq!(report.notes, [] as [String; 0], "{text}");
    }

    #[test]
    fn what_follows_is_told() {
        let mut data = packet(&get());
        data.extend(b"something else");
        let report = messages(&data, 0).unwrap();
        assert_eq!(report.notes, ["14 bytes behind the last ComPacket are not decoded"]);
    }

    /// Takes minutes where each block of zeros is looked at to its end.
    #[test]
    fn a_large_buffer_of_zeros() {
        let mut data = packet(&get());
        data.resize(8 << 20, 0);
        assert_eq!(messages(&data, 0).unwrap().parts.len(), 1);
    }

    #[test]
    fn kinds() {
        assert_eq!(kind(&get()), Some(Kind::Tokens));
        assert_eq!(kind(&packet(&get())), Some(Kind::ComPackets));
        assert_eq!(kind(&[0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2, 0]), Some(Kind::Protocols));
        assert_eq!(kind(&[0, 0x0E, 0, 1, 0, 1, 0xFF, 0xFE]), Some(Kind::AtaSecurity));
        assert_eq!(kind(&[0, 0, 0, 0xD4, 0, 0, 0, 1]), Some(Kind::Discovery));
        assert_eq!(kind(&[0; 512]), Some(Kind::Discovery));
        assert_eq!(kind(b"\x7fELF\x02\x01"), None);
        assert_eq!(kind(&[]), None);
        assert!(messages(b"\x7fELF\x02\x01", 0).is_err());
    }
}
