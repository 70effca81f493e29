// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gathers the tokens of one answer from the ComPackets a drive hands out (Core 2.01 §3.3.10).

use alloc::boxed::Box;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::{ComId, ENDED, Heard, Listen, SessionNumbers};
use crate::error::Error;
use crate::spec::method::CLOSE_SESSION;
use crate::wire::packet::KIND_DATA;
use crate::wire::token::Encoder;
use crate::wire::{Call, ComPacket, Reader};

/// More tokens than any answer to one call holds.
const MAX_TOKENS: usize = super::MAX_TRANSFER;
/// IF-RECVs that may bring packets of other sessions before ours comes.
const MAX_FOREIGN: u8 = 4;
/// Extension in a header that says the ComID is not in use (Core 2.01 §3.3.4.3).
const INACTIVE: u16 = 0xFFFF;

/// Turns the gathered tokens into a value.
type Decode<T> = Box<dyn FnOnce(&[u8]) -> Result<T, Error>>;

/// Listens for one answer in one session, or on the control session.
pub(super) struct Listener<T> {
    method: &'static str,
    com_id: ComId,
    numbers: SessionNumbers,
    tokens: Encoder,
    control: Vec<u8>,
    foreign: u8,
    decode: Option<Decode<T>>,
}

impl<T> Listener<T> {
    pub(super) fn new(
        method: &'static str,
        com_id: ComId,
        numbers: SessionNumbers,
        decode: impl FnOnce(&[u8]) -> Result<T, Error> + 'static,
    ) -> Self {
        Self {
            method,
            com_id,
            numbers,
            tokens: Encoder::new(),
            control: Vec::new(),
            foreign: 0,
            decode: Some(Box::new(decode)),
        }
    }

    /// Keeps the tokens of the packets that concern this session.
    fn take_in(&mut self, com: &ComPacket<'_>) -> Result<(), Error> {
        let mut others = false;
        for packet in com.packets() {
            let packet = packet?;
            let from = SessionNumbers { tsn: packet.tsn, hsn: packet.hsn };
            for sub in packet.sub_packets() {
                let sub = sub?;
                if sub.kind != KIND_DATA {
                    continue;
                }
                let held = self.tokens.as_bytes().len() + self.control.len();
                if held.saturating_add(sub.payload().len()) > MAX_TOKENS {
                    return Err(Error::Mismatch("an answer without end"));
                }
                if from == self.numbers {
                    self.tokens.raw(sub.payload());
                    continue;
                }
                others |= !sub.payload().is_empty();
                if from == SessionNumbers::CONTROL {
                    self.control.extend_from_slice(sub.payload());
                }
            }
        }
        if others && self.tokens.as_bytes().is_empty() && !self.is_closed() {
            self.foreign += 1;
        }
        Ok(())
    }

    /// Whether the drive has said on the control session that it closed this one.
    fn is_closed(&self) -> bool {
        let mut reader = Reader::new(&self.control);
        while let Ok(call) = Call::parse(&mut reader) {
            let mut parameters = call.parameters;
            let numbers = (parameters.uint_as(), parameters.uint_as());
            if call.method == CLOSE_SESSION
                && numbers == (Ok(self.numbers.hsn), Ok(self.numbers.tsn))
            {
                return true;
            }
        }
        false
    }

    fn finish(&mut self) -> Result<T, Error> {
        if self.tokens.as_bytes().is_empty() {
            return Err(if self.is_closed() {
                Error::SessionClosed
            } else if self.foreign > 0 {
                Error::Mismatch("only packets of other sessions")
            } else {
                Error::NoAnswer { method: self.method }
            });
        }
        let decode = self.decode.take().ok_or(ENDED)?;
        decode(self.tokens.as_bytes())
    }
}

impl<T> Listen<T> for Listener<T> {
    fn hear(&mut self, data: &[u8]) -> Heard<T> {
        let com = match ComPacket::parse_prefix(data) {
            Ok(com) => com,
            Err(error) => return Heard::Done(Err(error.into())),
        };
        if com.extension == INACTIVE && self.com_id.extension != INACTIVE {
            return Heard::Done(Err(Error::Mismatch("that this ComID is not in use")));
        }
        if com.missing() > 0 {
            let needed = com.missing().saturating_add(data.len());
            return Heard::TooSmall(needed);
        }
        if com.length > 0 {
            if let Err(error) = self.take_in(&com) {
                return Heard::Done(Err(error));
            }
        }
        match (com.outstanding_data, com.min_transfer) {
            (1.., needed @ 1..) if com.length == 0 => Heard::TooSmall(needed as usize),
            (0, _) if com.length > 0 && self.has_only_others() => Heard::NotReady,
            (0, _) => Heard::Done(self.finish()),
            (_, 0) => Heard::NotReady,
            (_, needed) => Heard::More(needed as usize),
        }
    }

    fn time_is_up(&mut self) -> Option<Result<T, Error>> {
        (!self.tokens.as_bytes().is_empty()).then(|| self.finish())
    }
}

impl<T> Listener<T> {
    /// Only stale packets so far: the answer may be behind them.
    fn has_only_others(&self) -> bool {
        self.tokens.as_bytes().is_empty()
            && !self.is_closed()
            && (1..MAX_FOREIGN).contains(&self.foreign)
    }
}

/// What a drive has for a host that only wants to empty it.
pub(super) enum Waiting {
    Nothing,
    NotReady,
    Data { needed: usize },
}

/// Reads just the header. Bytes that are no ComPacket count as nothing.
pub(super) fn waiting(data: &[u8]) -> Waiting {
    let Ok(com) = ComPacket::parse_prefix(data) else { return Waiting::Nothing };
    match (com.length, com.outstanding_data, com.min_transfer) {
        (0, 0, _) => Waiting::Nothing,
        (0, _, 0) => Waiting::NotReady,
        (_, _, needed) => Waiting::Data { needed: needed as usize },
    }
}

/// Listens for one IF-RECV whose bytes are the answer: discovery and protocol 2.
pub(super) struct Plain<F>(pub(super) Option<F>);

impl<T, F: FnOnce(&[u8]) -> Result<T, Error>> Listen<T> for Plain<F> {
    fn hear(&mut self, data: &[u8]) -> Heard<T> {
        Heard::Done(match self.0.take() {
            Some(decode) => decode(data),
            None => Err(ENDED),
        })
    }
}

/// The bytes as they came, for discovery.
pub(super) fn copy(data: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    Ok(Zeroizing::new(data.to_vec()))
}
