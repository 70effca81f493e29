// SPDX-License-Identifier: MIT OR Apache-2.0
//! ComPacket, Packet and SubPacket framing (Core 2.01 §3.2.3).
//!
//! Reading tolerates what real drives do: lengths without the padding to four bytes, and filler
//! behind the last sub-packet.

use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Bytes of a ComPacket header.
pub const COM_PACKET_HEADER: usize = 20;
/// Bytes of a Packet header.
pub const PACKET_HEADER: usize = 24;
/// Bytes of a SubPacket header.
pub const SUB_PACKET_HEADER: usize = 12;
/// Transfers of protocol 1 are padded to a multiple of this.
pub const BLOCK: usize = 512;

/// SubPacket kind: token data.
pub const KIND_DATA: u16 = 0x0000;
/// SubPacket kind: credit control (Core 2.01 §3.2.3.4.2).
pub const KIND_CREDIT: u16 = 0x8001;

/// Framing that does not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Fewer bytes than a length field or a header asks for.
    #[error("offset {offset}: {what} needs {needed} bytes, {present} are there")]
    Truncated {
        /// Where the part begins in its parent.
        offset: usize,
        /// Which part.
        what: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes present.
        present: usize,
    },
}

/// A ComPacket: the unit of one IF-SEND or IF-RECV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComPacket<'a> {
    /// ComID.
    pub com_id: u16,
    /// ComID Extension; 0 for static ComIDs, FFFF from a drive means "inactive".
    pub extension: u16,
    /// Bytes the drive still holds for the host; 1 with no data means "still working".
    pub outstanding_data: u32,
    /// Smallest transfer that gets the next ComPacket.
    pub min_transfer: u32,
    /// Bytes after this header, as declared.
    pub length: u32,
    payload: &'a [u8],
}

impl<'a> ComPacket<'a> {
    /// Reads a whole ComPacket from the front of `data`; bytes behind it are padding.
    ///
    /// # Errors
    /// The header or the declared length does not fit in `data`.
    pub fn parse(data: &'a [u8]) -> Result<Self, PacketError> {
        let packet = Self::parse_prefix(data)?;
        match packet.missing() {
            0 => Ok(packet),
            missing => Err(PacketError::Truncated {
                offset: COM_PACKET_HEADER,
                what: "the ComPacket's payload",
                needed: packet.payload.len() + missing,
                present: packet.payload.len(),
            }),
        }
    }

    /// Reads the header and as much of the payload as there is; [`Self::missing`] tells the rest.
    ///
    /// # Errors
    /// The header itself is cut short.
    pub fn parse_prefix(data: &'a [u8]) -> Result<Self, PacketError> {
        let (header, rest) = split_header::<COM_PACKET_HEADER>(data, 0, "a ComPacket header")?;
        let length = be32(header, 16);
        let present = rest.len().min(length as usize);
        Ok(Self {
            com_id: be16(header, 4),
            extension: be16(header, 6),
            outstanding_data: be32(header, 8),
            min_transfer: be32(header, 12),
            length,
            payload: rest.get(..present).unwrap_or_default(),
        })
    }

    /// Declared payload bytes that are not there.
    #[must_use]
    pub fn missing(&self) -> usize {
        (self.length as usize).saturating_sub(self.payload.len())
    }

    /// The payload bytes that are there.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The packets inside, in order.
    #[must_use]
    pub fn packets(&self) -> Parts<'a, Packet<'a>> {
        Parts::new(self.payload)
    }
}

/// A Packet: data of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// TPer session number; 0 on the control session.
    pub tsn: u32,
    /// Host session number; 0 on the control session.
    pub hsn: u32,
    /// Sequence number; 0 unless negotiated.
    pub sequence: u32,
    /// 0 none, 1 ACK, 2 NAK.
    pub ack_type: u16,
    /// Sequence number acknowledged.
    pub acknowledgement: u32,
    /// Bytes after this header, as declared.
    pub length: u32,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Declared payload bytes that are not there.
    #[must_use]
    pub fn missing(&self) -> usize {
        (self.length as usize).saturating_sub(self.payload.len())
    }

    /// The payload bytes that are there.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The sub-packets inside, in order.
    #[must_use]
    pub fn sub_packets(&self) -> Parts<'a, SubPacket<'a>> {
        Parts::new(self.payload)
    }
}

/// A SubPacket: tokens, or credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubPacket<'a> {
    /// [`KIND_DATA`], [`KIND_CREDIT`] or something unknown.
    pub kind: u16,
    /// Payload bytes as declared, padding not counted.
    pub length: u32,
    payload: &'a [u8],
}

impl<'a> SubPacket<'a> {
    /// Declared payload bytes that are not there.
    #[must_use]
    pub fn missing(&self) -> usize {
        (self.length as usize).saturating_sub(self.payload.len())
    }

    /// The payload bytes that are there (tokens, if [`KIND_DATA`]).
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The credit of a [`KIND_CREDIT`] sub-packet, in bytes.
    #[must_use]
    pub fn credit(&self) -> Option<u32> {
        match self.payload {
            [a, b, c, d] if self.kind == KIND_CREDIT => Some(u32::from_be_bytes([*a, *b, *c, *d])),
            _ => None,
        }
    }
}

/// Packets of a ComPacket, or sub-packets of a Packet.
#[derive(Clone, Debug)]
pub struct Parts<'a, T> {
    data: &'a [u8],
    offset: usize,
    part: core::marker::PhantomData<T>,
}

impl<'a, T> Parts<'a, T> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, offset: 0, part: core::marker::PhantomData }
    }

    /// Filler of fewer bytes than a header, or zeros to the end, is no further part.
    fn only_filler_left(&self) -> bool {
        let rest = self.data.get(self.offset..).unwrap_or_default();
        rest.iter().all(|b| *b == 0) || rest.iter().all(|b| *b == 0xFF)
    }
}

impl<'a> Iterator for Parts<'a, Packet<'a>> {
    type Item = Result<Packet<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.data.len() || (self.offset > 0 && self.only_filler_left()) {
            return None;
        }
        let rest = self.data.get(self.offset..).unwrap_or_default();
        let (header, rest) =
            match split_header::<PACKET_HEADER>(rest, self.offset, "a Packet header") {
                Ok(split) => split,
                Err(error) => {
                    self.offset = self.data.len();
                    return Some(Err(error));
                }
            };
        let length = be32(header, 20);
        let payload = rest.get(..rest.len().min(length as usize)).unwrap_or_default();
        self.offset += PACKET_HEADER + payload.len();
        Some(Ok(Packet {
            tsn: be32(header, 0),
            hsn: be32(header, 4),
            sequence: be32(header, 8),
            ack_type: be16(header, 14),
            acknowledgement: be32(header, 16),
            length,
            payload,
        }))
    }
}

impl<'a> Iterator for Parts<'a, SubPacket<'a>> {
    type Item = Result<SubPacket<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.data.len() || (self.offset > 0 && self.only_filler_left()) {
            return None;
        }
        let rest = self.data.get(self.offset..).unwrap_or_default();
        let (header, rest) =
            match split_header::<SUB_PACKET_HEADER>(rest, self.offset, "a SubPacket header") {
                Ok(split) => split,
                Err(error) => {
                    self.offset = self.data.len();
                    return Some(Err(error));
                }
            };
        let length = be32(header, 8);
        let payload = rest.get(..rest.len().min(length as usize)).unwrap_or_default();
        // Some drives leave the padding out (quirk B12), at least behind the last one.
        let pad = pad_to_4(payload.len()).min(rest.len() - payload.len());
        self.offset += SUB_PACKET_HEADER + payload.len() + pad;
        Some(Ok(SubPacket { kind: be16(header, 6), length, payload }))
    }
}

/// What goes around one sub-packet of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// ComID.
    pub com_id: u16,
    /// ComID Extension.
    pub extension: u16,
    /// TPer session number.
    pub tsn: u32,
    /// Host session number.
    pub hsn: u32,
    /// Only a TPer sets this: more answers wait, this many bytes of them.
    pub outstanding_data: u32,
    /// Only a TPer sets this: bytes the next answer needs.
    pub min_transfer: u32,
}

impl Envelope {
    /// Wraps `tokens` in one SubPacket, Packet and ComPacket. Not padded to [`BLOCK`].
    #[must_use]
    pub fn wrap(&self, tokens: &[u8]) -> Zeroizing<Vec<u8>> {
        let pad = pad_to_4(tokens.len());
        let sub_packet = SUB_PACKET_HEADER + tokens.len() + pad;
        let packet = PACKET_HEADER + sub_packet;
        let mut out = Vec::with_capacity((COM_PACKET_HEADER + packet).next_multiple_of(BLOCK));
        self.header(&mut out, packet);
        out.extend_from_slice(&self.tsn.to_be_bytes());
        out.extend_from_slice(&self.hsn.to_be_bytes());
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&be(sub_packet));
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&KIND_DATA.to_be_bytes());
        out.extend_from_slice(&be(tokens.len()));
        out.extend_from_slice(tokens);
        out.resize(out.len() + pad, 0);
        Zeroizing::new(out)
    }

    /// A ComPacket with no payload: "nothing to send", "still working", "ask for more".
    #[must_use]
    pub fn empty(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(COM_PACKET_HEADER);
        self.header(&mut out, 0);
        out
    }

    fn header(&self, out: &mut Vec<u8>, length: usize) {
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.com_id.to_be_bytes());
        out.extend_from_slice(&self.extension.to_be_bytes());
        out.extend_from_slice(&self.outstanding_data.to_be_bytes());
        out.extend_from_slice(&self.min_transfer.to_be_bytes());
        out.extend_from_slice(&be(length));
    }
}

/// Pads with zeros to a multiple of [`BLOCK`] without leaving a copy behind.
#[must_use]
pub fn pad_to_block(data: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let target = data.len().next_multiple_of(BLOCK);
    let mut out = Zeroizing::new(Vec::with_capacity(target));
    out.extend_from_slice(&data);
    out.resize(target, 0);
    out
}

/// A credit control ComPacket (Core 2.01 §3.2.3.4.2).
#[must_use]
pub fn credit(envelope: Envelope, credit: u32) -> Vec<u8> {
    let mut out = Vec::new();
    envelope.header(&mut out, PACKET_HEADER + SUB_PACKET_HEADER + 4);
    out.extend_from_slice(&envelope.tsn.to_be_bytes());
    out.extend_from_slice(&envelope.hsn.to_be_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&be(SUB_PACKET_HEADER + 4));
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&KIND_CREDIT.to_be_bytes());
    out.extend_from_slice(&be(4));
    out.extend_from_slice(&credit.to_be_bytes());
    out
}

const fn pad_to_4(length: usize) -> usize {
    length.wrapping_neg() & 3
}

/// Lengths here are bounded by what a buffer in memory holds; a field cannot overflow in practice,
/// and saturates rather than lie if it ever did.
fn be(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn split_header<'a, const N: usize>(
    data: &'a [u8],
    offset: usize,
    what: &'static str,
) -> Result<(&'a [u8; N], &'a [u8]), PacketError> {
    data.split_first_chunk::<N>().ok_or(PacketError::Truncated {
        offset,
        what,
        needed: N,
        present: data.len(),
    })
}

fn be16<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

fn be32<const N: usize>(header: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const ENVELOPE: Envelope = Envelope {
        com_id: 0x1000,
        extension: 0,
        tsn: 0x1001,
        hsn: 1,
        outstanding_data: 0,
        min_transfer: 0,
    };

    #[test]
    fn wraps_and_reads_back() {
        for size in 0..9 {
            let tokens = vec![0xFA; size];
            let bytes = ENVELOPE.wrap(&tokens);
            assert_eq!(bytes.len() % 4, 0);
            let com = ComPacket::parse(&bytes).unwrap();
            assert_eq!((com.com_id, com.length as usize), (0x1000, bytes.len() - 20));
            let packets: Vec<_> = com.packets().collect::<Result<_, _>>().unwrap();
            assert_eq!(packets.len(), 1);
            assert_eq!((packets[0].tsn, packets[0].hsn), (0x1001, 1));
            let subs: Vec<_> = packets[0].sub_packets().collect::<Result<_, _>>().unwrap();
            assert_eq!(subs.len(), 1);
            assert_eq!(subs[0].payload(), tokens);
            assert_eq!(pad_to_block(bytes).len(), 512);
        }
    }

    #[test]
    fn unpadded_lengths_are_accepted() {
        // One token, lengths that do not count the three pad bytes: 12 + 1, 24 + 13.
        let mut bytes = ENVELOPE.wrap(&[0xFA]).to_vec();
        bytes[19] = 37;
        bytes[43] = 13;
        bytes.truncate(57);
        let com = ComPacket::parse(&bytes).unwrap();
        let packet = com.packets().next().unwrap().unwrap();
        assert_eq!(packet.sub_packets().next().unwrap().unwrap().payload(), [0xFA]);
        assert_eq!(packet.sub_packets().count(), 1);
    }

    #[test]
    fn truncation_is_told() {
        let bytes = ENVELOPE.wrap(&[0xFA; 40]);
        assert!(ComPacket::parse_prefix(&bytes[..19]).is_err());
        for cut in 20..bytes.len() {
            assert!(ComPacket::parse(&bytes[..cut]).is_err());
            let com = ComPacket::parse_prefix(&bytes[..cut]).unwrap();
            assert_eq!(com.missing(), bytes.len() - cut);
        }
    }

    #[test]
    fn credit_round_trip() {
        let bytes = credit(ENVELOPE, 2048);
        let com = ComPacket::parse(&bytes).unwrap();
        let packet = com.packets().next().unwrap().unwrap();
        assert_eq!(packet.sub_packets().next().unwrap().unwrap().credit(), Some(2048));
    }

    proptest! {
        #[test]
        fn any_bytes_end(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(com) = ComPacket::parse_prefix(&data) {
                prop_assert!(com.packets().count() <= data.len());
                for packet in com.packets().flatten() {
                    prop_assert!(packet.sub_packets().count() <= data.len());
                }
            }
        }
    }
}
