// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which bytes of an exchange may be kept.
//!
//! Rather too much is hidden than too little: of a ComPacket only its headers, control tokens,
//! integers, identifiers and the names of communication properties stay.

use std::ops::Range;

use super::Direction;

/// Decides which bytes of a payload must not be written down.
///
/// A closure of the same shape is a redactor; one that returns nothing keeps everything and belongs
/// in tests only.
pub trait Redact {
    /// The bytes of `data` to hide, as offsets, ascending and without overlap.
    fn hidden(
        &mut self,
        direction: Direction,
        protocol: u8,
        specific: u16,
        data: &[u8],
    ) -> Vec<Range<usize>>;
}

impl<F> Redact for F
where
    F: FnMut(Direction, u8, u16, &[u8]) -> Vec<Range<usize>>,
{
    fn hidden(
        &mut self,
        direction: Direction,
        protocol: u8,
        specific: u16,
        data: &[u8],
    ) -> Vec<Range<usize>> {
        self(direction, protocol, specific, data)
    }
}

/// Hides every byte string that is not plainly an identifier or a property name, and every byte that
/// is not plainly part of a well-formed ComPacket.
#[derive(Clone, Copy, Debug, Default)]
pub struct HideByteStrings;

impl Redact for HideByteStrings {
    fn hidden(
        &mut self,
        _direction: Direction,
        protocol: u8,
        specific: u16,
        data: &[u8],
    ) -> Vec<Range<usize>> {
        match (protocol, specific) {
            // Protocol list and certificate, Level 0 discovery, ComID management: no secrets.
            (0x00, _) | (0x01, 0x0001) | (0x02, _) => Vec::new(),
            (0x01, _) => {
                let mut walk = Walk { data, hidden: Vec::new() };
                walk.com_packet();
                walk.hidden
            }
            // 0xEF carries ATA passwords; others are not known here.
            _ => non_zero(data, 0..data.len()).into_iter().collect(),
        }
    }
}

/// Names that Properties uses (Core 2.01 §5.2.2): without them a recording cannot be replayed.
const PROPERTY_NAMES: [&[u8]; 26] = [
    b"AckNak",
    b"Asynchronous",
    b"ContinuedTokens",
    b"DefSessionTimeout",
    b"DefTransTimeout",
    b"MaxAggTokenSize",
    b"MaxAuthentications",
    b"MaxComIDCMD",
    b"MaxComIDTime",
    b"MaxComPacketSize",
    b"MaxIndTokenSize",
    b"MaxMethods",
    b"MaxPackets",
    b"MaxPacketSize",
    b"MaxReadSessions",
    b"MaxResponseComPacketSize",
    b"MaxSessionTimeout",
    b"MaxSessions",
    b"MaxSubpackets",
    b"MaxTransTimeout",
    b"MaxTransactionLimit",
    b"MinSessionTimeout",
    b"MinTransTimeout",
    b"RealTimeClock",
    b"SequenceNumbers",
    b"HostProperties",
];

const COM_PACKET_HEADER: usize = 20;
const PACKET_HEADER: usize = 24;
const SUB_PACKET_HEADER: usize = 12;

const START_NAME: u8 = 0xF2;
const EMPTY: u8 = 0xFF;

struct Walk<'a> {
    data: &'a [u8],
    hidden: Vec<Range<usize>>,
}

impl Walk<'_> {
    fn com_packet(&mut self) {
        let Some(length) = self.u32_at(16) else { return self.hide(0..self.data.len()) };
        let end = COM_PACKET_HEADER.saturating_add(length);
        if end > self.data.len() {
            return self.hide(COM_PACKET_HEADER..self.data.len());
        }
        let mut at = COM_PACKET_HEADER;
        while at < end {
            let Some(length) = self.u32_at(at + 20) else { break };
            let packet_end = at.saturating_add(PACKET_HEADER).saturating_add(length);
            if packet_end > end {
                break;
            }
            self.packet(at + PACKET_HEADER, packet_end);
            at = packet_end;
        }
        // Padding, or the rest of something malformed; and what a buffer held before.
        self.hide(at..self.data.len());
    }

    fn packet(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let Some(length) = self.u32_at(at + 8) else { break };
            let kind = self.data.get(at + 6..at + 8);
            let payload = at + SUB_PACKET_HEADER;
            let payload_end = payload.saturating_add(length);
            if payload_end > end {
                break;
            }
            // Kind 0 is a data subpacket; 0x8001 gives credit.
            if kind == Some(&[0, 0]) {
                self.tokens(payload, payload_end);
            } else if length > 4 {
                self.hide(payload..payload_end);
            }
            // Some drives leave out the padding.
            at = payload_end.next_multiple_of(4).min(end);
            if self.data.get(payload_end..at).is_some_and(|pad| pad.iter().any(|&b| b != 0)) {
                at = payload_end;
            }
        }
        self.hide(at.min(end)..end);
    }

    fn tokens(&mut self, start: usize, end: usize) {
        // The two tokens before the current one tell whether it is a named value, and whose.
        let mut before = [Seen::Other, Seen::Other];
        let mut at = start;
        while at < end {
            let (seen, data) = match self.token(at, end) {
                Some(token) => token,
                None => return self.hide(at..end),
            };
            if seen == Seen::Bytes && !self.may_show(data.clone(), before) {
                self.hide(data.clone());
            }
            at = data.end;
            if seen != Seen::Empty {
                before = [before[1], seen];
            }
        }
    }

    /// The kind of the token at `at` and the place of its data; `None` if it does not fit.
    fn token(&self, at: usize, end: usize) -> Option<(Seen, Range<usize>)> {
        let first = *self.data.get(at)?;
        let (header, length, bytes) = match first {
            0x00..=0x7F => return Some((Seen::Integer(first & 0x3F), at + 1..at + 1)),
            0x80..=0xBF => (1, usize::from(first & 0x0F), first & 0x20 != 0),
            0xC0..=0xDF => {
                let low = *self.data.get(at + 1)?;
                (2, usize::from(first & 0x07) << 8 | usize::from(low), first & 0x10 != 0)
            }
            0xE0..=0xE3 => {
                let [a, b, c] = *self.data.get(at + 1..)?.first_chunk::<3>()?;
                (4, u32::from_be_bytes([0, a, b, c]) as usize, first & 0x02 != 0)
            }
            START_NAME => return Some((Seen::StartName, at + 1..at + 1)),
            EMPTY => return Some((Seen::Empty, at + 1..at + 1)),
            0xF0 | 0xF1 | 0xF3 | 0xF8..=0xFC => return Some((Seen::Other, at + 1..at + 1)),
            _ => return None,
        };
        let data = at + header..at + header + length;
        if data.end > end {
            return None;
        }
        let seen = match (bytes, self.data.get(data.clone())) {
            (true, _) => Seen::Bytes,
            // A drive may write a small number in a wide atom.
            (false, Some([zeros @ .., last])) if *last < 64 && zeros.iter().all(|&b| b == 0) => {
                Seen::Integer(*last)
            }
            _ => Seen::Other,
        };
        Some((seen, data))
    }

    fn may_show(&self, range: Range<usize>, before: [Seen; 2]) -> bool {
        let Some(value) = self.data.get(range) else { return false };
        if PROPERTY_NAMES.contains(&value) {
            return true;
        }
        match before {
            // HostChallenge of StartSession and Challenge of Authenticate: a PIN of any length.
            [Seen::StartName, Seen::Integer(0)] => false,
            // HostSigningAuthority of StartSession, but also the PIN column of C_PIN.
            [Seen::StartName, Seen::Integer(3)] => {
                value.len() == 8 && value.starts_with(&[0, 0, 0, 9])
            }
            // Enterprise names: a PIN may follow one, an identifier may too; tell nothing.
            [Seen::StartName, Seen::Bytes] => false,
            _ => matches!(value.len(), 4 | 8) && value.starts_with(&[0, 0]),
        }
    }

    fn hide(&mut self, range: Range<usize>) {
        // Zeros say nothing, and most of a transfer is padding.
        self.hidden.extend(non_zero(self.data, range));
    }

    fn u32_at(&self, at: usize) -> Option<usize> {
        let bytes = self.data.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*bytes) as usize)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    StartName,
    Integer(u8),
    Bytes,
    Empty,
    Other,
}

/// `range` unless it is empty or holds nothing but zeros.
fn non_zero(data: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let bytes = data.get(range.clone())?;
    bytes.iter().any(|&byte| byte != 0).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Wraps tokens as the specification has it and pads to 512.
    fn com_packet(tokens: &[u8]) -> Vec<u8> {
        let padded = tokens.len().next_multiple_of(4);
        let mut data = vec![0; 16];
        data.extend(((padded + 36) as u32).to_be_bytes());
        data.extend([0; 20]);
        data.extend(((padded + 12) as u32).to_be_bytes());
        data.extend([0; 8]);
        data.extend((tokens.len() as u32).to_be_bytes());
        data.extend(tokens);
        data.resize(data.len().next_multiple_of(512), 0);
        data
    }

    fn shown(data: &[u8]) -> Vec<u8> {
        let mut kept = data.to_vec();
        for range in HideByteStrings.hidden(Direction::Send, 1, 0x1000, data) {
            kept[range].fill(0);
        }
        kept
    }

    #[test]
    fn pins_go_and_identifiers_stay() {
        // StartSession as SID with a 32-byte and an 8-byte challenge, Set C_PIN, Authenticate.
        let sid = [0, 0, 0, 9, 0, 0, 0, 6];
        for pin in [&b"passw0rd"[..], b"1234", b"\0\0pin678", b"0123456789abcdef0123456789abcdef"] {
            let atom = |bytes: &[u8]| match bytes.len() {
                n @ 0..16 => [&[0xA0 | n as u8], bytes].concat(),
                n => [&[0xD0, n as u8], bytes].concat(),
            };
            for name in [0u8, 3] {
                let tokens = [
                    &[0xF8, 0xA8][..],
                    &sid,
                    &[0xF0, 0xF2, name],
                    &atom(pin),
                    &[0xF3, 0xF2, 0x03],
                    &atom(&sid),
                    &[0xF3, 0xF1, 0xF9, 0xF0, 0, 0, 0, 0xF1],
                ]
                .concat();
                let kept = shown(&com_packet(&tokens));
                assert!(!kept.windows(pin.len()).any(|w| w == pin), "{pin:?} under name {name}");
                assert_eq!(kept.windows(8).filter(|w| *w == sid).count(), 2);
            }
        }
    }

    #[test]
    fn enterprise_challenges_go_whatever_their_length() {
        let tokens =
            [&[0xF2, 0xA9][..], b"Challenge", &[0xA8, 0, 0, 1, 2, 3, 4, 5, 6, 0xF3]].concat();
        let kept = shown(&com_packet(&tokens));
        assert!(!kept.windows(6).any(|w| w == [1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn property_names_and_values_stay() {
        let tokens =
            [&[0xF2, 0xD0, 0x10][..], b"MaxComPacketSize", &[0x82, 0x10, 0x00, 0xF3]].concat();
        let data = com_packet(&tokens);
        assert_eq!(shown(&data), data);
    }

    #[test]
    fn nothing_of_a_malformed_packet_stays() {
        let mut data = com_packet(&[0xA8, 1, 2, 3, 4, 5, 6, 7, 8]);
        data[19] = 0xFF;
        data[18] = 0xFF;
        assert!(shown(&data)[20..].iter().all(|&b| b == 0));
        // Bytes behind the packet, left over in a buffer.
        let mut data = com_packet(&[0xF8]);
        data[200..208].copy_from_slice(b"leftover");
        assert!(!shown(&data).windows(8).any(|w| w == b"leftover"));
    }

    #[test]
    fn ata_passwords_go() {
        let mut data = [0; 512];
        data[2..10].copy_from_slice(b"password");
        let hidden = HideByteStrings.hidden(Direction::Send, 0xEF, 0x0001, &data);
        assert_eq!(hidden.len(), 1);
        assert_eq!(hidden[0], 0..512);
    }

    proptest! {
        #[test]
        fn any_bytes_give_ascending_ranges_inside(
            mut data in prop::collection::vec(any::<u8>(), 0..300),
            framed: bool,
        ) {
            if framed {
                data = com_packet(&data);
            }
            let mut last = 0;
            for range in HideByteStrings.hidden(Direction::Recv, 1, 0x1000, &data) {
                prop_assert!(range.start >= last && range.start < range.end);
                prop_assert!(range.end <= data.len());
                last = range.end;
            }
        }

        #[test]
        fn a_byte_string_that_is_no_identifier_never_stays(
            secret in prop::collection::vec(1u8.., 1..40),
            before in prop::collection::vec(
                prop::sample::select(vec![0x00u8, 0x03, 0x3F, 0xF0, 0xF1, 0xF2, 0xF3, 0xF8, 0xFF]),
                0..20,
            ),
            form in 0u8..3,
        ) {
            let mut tokens = before;
            match form {
                0 if secret.len() < 16 => tokens.push(0xA0 | secret.len() as u8),
                1 => tokens.extend([0xE2, 0, 0, secret.len() as u8]),
                _ => tokens.extend([0xD0, secret.len() as u8]),
            }
            let start = 56 + tokens.len();
            tokens.extend(&secret);
            tokens.push(0xF1);
            let kept = shown(&com_packet(&tokens));
            prop_assert!(kept[start..start + secret.len()].iter().all(|&byte| byte == 0));
        }
    }
}
