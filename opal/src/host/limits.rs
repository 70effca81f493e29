// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Limits`]: how much fits into one transfer.

use crate::exchange::properties::Properties;
use crate::exchange::{DEFAULT_TRANSFER, MAX_TRANSFER};
use crate::wire::packet::{BLOCK, COM_PACKET_HEADER, PACKET_HEADER, SUB_PACKET_HEADER};

/// A host offers at most this much: what every path carries and no answer exceeds.
const OFFER: usize = 64 * 1024;
/// Token bytes of a Set or its answer around the data itself, at most: two UIDs, names, offset,
/// long atom header, lists and status list.
const CALL_OVERHEAD: usize = 56;
/// Headers of ComPacket, Packet and SubPacket, and the SubPacket's padding.
const HEADERS: usize = COM_PACKET_HEADER + PACKET_HEADER + SUB_PACKET_HEADER + 3;
/// A long atom's header.
const ATOM_HEADER: usize = 4;

/// Transfer sizes in force, in bytes. Each is used by itself: some drives report sizes that do not
/// follow from each other, and take less than they send (quirks B18, B21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest ComPacket to the drive, a multiple of 512.
    pub send: usize,
    /// Largest packet to the drive, header included.
    pub send_packet: usize,
    /// Largest token to the drive, header included.
    pub send_token: usize,
    /// Largest ComPacket from the drive.
    pub receive: usize,
}

impl Limits {
    /// What holds before anything is negotiated (Opal 2.30 §3.3.1).
    pub(super) fn initial(path: usize) -> Self {
        let size = path.min(DEFAULT_TRANSFER);
        Self::of(size, size)
    }

    fn of(send: usize, receive: usize) -> Self {
        let send = (send / BLOCK * BLOCK).max(BLOCK);
        let send_packet = send - COM_PACKET_HEADER;
        let send_token = send_packet - PACKET_HEADER - SUB_PACKET_HEADER;
        Self { send, send_packet, send_token, receive: receive.max(BLOCK) }
    }

    /// The properties a host tells.
    pub(super) fn offer(path: usize) -> [(&'static str, u64); 3] {
        let offer = Self::of(path.min(OFFER), OFFER);
        [
            ("MaxComPacketSize", offer.send as u64),
            ("MaxPacketSize", offer.send_packet as u64),
            ("MaxIndTokenSize", offer.send_token as u64),
        ]
    }

    /// What follows from the drive's properties and the path.
    pub(super) fn negotiated(path: usize, properties: &Properties) -> Self {
        let path = path.min(MAX_TRANSFER);
        let drive = |name| match properties.of_drive(name) {
            // 0 means no limit.
            Some(0) => Some(usize::MAX),
            Some(size) => Some(usize::try_from(size).unwrap_or(usize::MAX)),
            None => None,
        };
        let send = drive("MaxComPacketSize").unwrap_or(DEFAULT_TRANSFER).min(path);
        // What the drive took from the offer; without an echo it keeps to the initial size.
        let told = properties.of_host("MaxComPacketSize").and_then(|n| usize::try_from(n).ok());
        let answer = drive("MaxResponseComPacketSize").unwrap_or(usize::MAX);
        let receive = told.unwrap_or(DEFAULT_TRANSFER).min(answer).min(path.min(OFFER));
        let plain = Self::of(send, receive);
        Self {
            send_packet: drive("MaxPacketSize").unwrap_or(usize::MAX).min(plain.send_packet),
            send_token: drive("MaxIndTokenSize").unwrap_or(usize::MAX).min(plain.send_token),
            ..plain
        }
    }

    /// Most bytes one Set of a byte table carries.
    #[must_use]
    pub fn write_chunk(&self) -> usize {
        let com_packet = self.send.saturating_sub(HEADERS + CALL_OVERHEAD);
        let packet = self.send_packet.saturating_sub(HEADERS - COM_PACKET_HEADER + CALL_OVERHEAD);
        let token = self.send_token.saturating_sub(ATOM_HEADER);
        com_packet.min(packet).min(token).max(1)
    }

    /// Most bytes one Get of a byte table brings.
    #[must_use]
    pub fn read_chunk(&self) -> usize {
        self.receive.saturating_sub(HEADERS + CALL_OVERHEAD).max(1)
    }
}
