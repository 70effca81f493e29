// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers as quirky drives send them: other atoms, filler, no padding, or nothing at all.

use alloc::vec::Vec;
use zeroize::Zeroizing;

use super::quirk::{Quirk, Quirks};
use crate::wire::packet::{COM_PACKET_HEADER, Envelope, PACKET_HEADER};
use crate::wire::{Encoder, Status, Token, Tokens};

/// Empty atom.
const FILLER: u8 = 0xFF;

/// The ComPacket that carries `tokens`, of which the host takes at most `most` bytes. None if this
/// drive would rather say nothing.
pub(super) fn wrap(
    quirks: &Quirks,
    envelope: &Envelope,
    tokens: &[u8],
    most: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    if quirks.has(Quirk::EmptyComPacketForBadArguments) && ends_badly(tokens) {
        return None;
    }
    let other = rewrite(quirks, tokens);
    // What would no longer fit is sent as it is.
    let tokens = if other.len() <= most { &other[..] } else { tokens };
    let mut packet = envelope.wrap(tokens);
    if quirks.has(Quirk::UnpaddedSubpackets) {
        unpad(&mut packet, tokens.len());
    }
    Some(packet)
}

/// Whether the last status is INVALID_PARAMETER.
fn ends_badly(tokens: &[u8]) -> bool {
    tokens.ends_with(&[0xF9, 0xF0, Status::INVALID_PARAMETER.0, 0, 0, 0xF1])
}

fn rewrite(quirks: &Quirks, tokens: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Encoder::new();
    for spanned in Tokens::new(tokens).map_while(Result::ok) {
        let bytes = tokens.get(spanned.offset..spanned.offset + spanned.size).unwrap_or_default();
        match spanned.token {
            Token::Uint(value) if quirks.has(Quirk::WideAtoms) => {
                match u32::try_from(value) {
                    Ok(value) => out.raw(&[0x84]).raw(&value.to_be_bytes()),
                    Err(_) => out.raw(&[0x88]).raw(&value.to_be_bytes()),
                };
            }
            Token::Bytes(data) if quirks.has(Quirk::MediumStrings) && data.len() < 16 => {
                out.raw(&[0xD0, data.len() as u8]).raw(data);
            }
            _ => {
                out.raw(bytes);
            }
        }
        if quirks.has(Quirk::FfFiller) && spanned.token == Token::StartList {
            out.raw(&[FILLER]);
        }
    }
    if quirks.has(Quirk::FfFiller) {
        out.raw(&[FILLER; 2]);
    }
    out.finish()
}

/// Takes the padding away, in bytes and in the lengths above the sub-packet.
fn unpad(packet: &mut Vec<u8>, tokens: usize) {
    let pad = tokens.next_multiple_of(4) - tokens;
    packet.truncate(packet.len().saturating_sub(pad));
    for end in [COM_PACKET_HEADER, COM_PACKET_HEADER + PACKET_HEADER] {
        let Some(length) = packet.get_mut(end - 4..end) else { return };
        let padded = length.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        length.copy_from_slice(&padded.saturating_sub(pad as u32).to_be_bytes());
    }
}
