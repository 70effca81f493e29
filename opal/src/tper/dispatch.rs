// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a ComPacket to its answer: packets, sub-packets, the token stream of a session
//! (Core 2.01 §3.2.2.4, §3.3.10).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use zeroize::Zeroizing;

use super::distort;
use super::machine::Machine;
use super::methods::{self, Later};
use super::platform::Platform;
use super::quirk::Quirk;
use super::removal::Removal;
use super::sessions::Transaction;
use crate::Uid;
use crate::spec::method;
use crate::wire::packet::{Envelope, KIND_DATA, PACKET_HEADER};
use crate::wire::{ComPacket, Encoder, Packet, ParseError, Reader, Status, Token, Tokens, call};

/// Sub-packets taken in a packet; we announce MaxSubpackets = 1.
const MAX_SUB_PACKETS: usize = 1;

/// Bytes of an answer without results.
const SMALLEST_ANSWER: usize = 8;

/// Why a session's token stream cannot be read on.
struct Abort;

impl From<ParseError> for Abort {
    fn from(_: ParseError) -> Self {
        Self
    }
}

/// A method call found in a stream.
pub(super) struct Found<'a> {
    /// None: what should name an object or a method is no UID.
    pub(super) names: Option<(Uid, Uid)>,
    pub(super) parameters: Reader<'a>,
    pub(super) status: Status,
}

/// What became of a session's stream.
enum End {
    Open,
    /// A method takes its time; what follows it is ignored.
    Later(Box<Later>),
    Closed,
    Aborted,
}

impl<P: Platform> Machine<'_, P> {
    /// Takes a ComPacket on `channel`, which waits for one, and leaves the answer there. Damaged
    /// packets that belong to no session are dropped without an answer (Core 2.01 §3.3.10.7).
    pub(super) fn com_packet(&mut self, channel: usize, com_id: u16, data: &[u8]) {
        let Ok(packet) = ComPacket::parse(data) else { return };
        let Some(state) = self.inner.channels.get(channel).filter(|c| c.is_active() && !c.dead)
        else {
            return;
        };
        let extension = state.extension;
        if packet.com_id != com_id || packet.extension != extension {
            return;
        }
        // MaxPackets is 1; further packets may be ignored (Core 2.01 §5.2.2.4.1).
        let Some(Ok(packet)) = packet.packets().next() else { return };
        let mut envelope = Envelope { com_id, extension, ..Envelope::default() };
        let tokens = if (packet.tsn, packet.hsn) == (0, 0) {
            self.control_packet(channel, &packet)
        } else {
            let session = (packet.tsn, packet.hsn);
            let known = self
                .inner
                .sessions
                .iter()
                .any(|s| s.channel == channel && (s.tsn, s.hsn) == session);
            if !known {
                return;
            }
            let whose = Envelope { tsn: session.0, hsn: session.1, ..envelope };
            let (tokens, aborted) = self.session_packet(channel, &whose, &packet);
            self.inner.abandoned |= aborted;
            if tokens.is_empty() && aborted {
                Some(call::control_answer(method::CLOSE_SESSION, Status::SUCCESS, |t| {
                    t.uint(u64::from(packet.hsn)).uint(u64::from(packet.tsn));
                }))
            } else {
                (envelope.tsn, envelope.hsn) = session;
                (!tokens.is_empty()).then_some(tokens)
            }
        };
        if let Some(tokens) = tokens {
            self.leave_answer(channel, &envelope, &tokens);
        }
    }

    /// Puts an answer where the host fetches it.
    pub(super) fn leave_answer(&mut self, channel: usize, envelope: &Envelope, tokens: &[u8]) {
        let Some(channel) = self.inner.channels.get_mut(channel) else { return };
        let quirks = &self.profile.quirks;
        let most = channel.host.max_answer(&self.profile.limits);
        channel.answer = distort::wrap(quirks, envelope, tokens, most).map(Arc::new);
        channel.polls = if quirks.has(Quirk::SlowAnswers) { quirks.polls } else { 0 };
    }

    /// Calls taken in one packet.
    const fn max_methods(&self) -> u32 {
        if self.quirk(Quirk::MaxMethods) { 1 } else { self.profile.limits.max_methods }
    }

    /// The token streams of a packet, if it keeps the limits we announced.
    fn streams<'a>(&self, packet: &Packet<'a>) -> Option<Vec<&'a [u8]>> {
        let limit = self.profile.limits.max_com_packet as usize;
        if packet.missing() > 0 || packet.payload().len() + PACKET_HEADER > limit {
            return None;
        }
        let mut streams = Vec::new();
        for part in packet.sub_packets() {
            let part = part.ok().filter(|p| p.missing() == 0)?;
            if part.kind != KIND_DATA {
                // Credit means nothing under the synchronous protocol.
                continue;
            }
            if streams.len() == MAX_SUB_PACKETS {
                return None;
            }
            streams.push(part.payload());
        }
        Some(streams)
    }

    fn control_packet(
        &mut self,
        channel: usize,
        packet: &Packet<'_>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Encoder::new();
        for stream in self.streams(packet)? {
            let mut reader = Reader::new(stream);
            let mut calls = 0;
            loop {
                match reader.peek() {
                    Ok(Some(next)) if next.token == Token::Call => {
                        let Ok(found) = take_call(&mut reader) else { break };
                        calls += 1;
                        if calls > self.max_methods() {
                            break;
                        }
                        let answer = methods::control::call(self, channel, found);
                        let host = self.inner.channels.get(channel).map(|c| c.host)?;
                        if out.as_bytes().len() + answer.len()
                            > host.max_answer(&self.profile.limits)
                        {
                            break;
                        }
                        out.raw(&answer);
                    }
                    // Tokens that mean nothing here are passed over (Core 2.01 §3.2.2.4).
                    Ok(Some(_)) if reader.next("token").is_ok() => {}
                    _ => break,
                }
            }
        }
        let tokens = out.finish();
        (!tokens.is_empty()).then_some(tokens)
    }

    /// Answers to a session's packet, and whether the session was aborted.
    fn session_packet(
        &mut self,
        channel: usize,
        envelope: &Envelope,
        packet: &Packet<'_>,
    ) -> (Zeroizing<Vec<u8>>, bool) {
        let mut out = Encoder::new();
        for session in self.inner.sessions.iter_mut().filter(|s| s.tsn == packet.tsn) {
            session.idle = core::time::Duration::ZERO;
        }
        let end = match self.streams(packet) {
            None => End::Aborted,
            Some(streams) => {
                let mut end = End::Open;
                for stream in streams {
                    end = self.session_stream(packet.tsn, stream, &mut out);
                    if !matches!(end, End::Open) {
                        break;
                    }
                }
                end
            }
        };
        if let End::Later(later) = end {
            let Later { draft, answer } = *later;
            self.inner.ledger.interrupted = true;
            self.inner.removal = Some(Removal {
                channel,
                envelope: *envelope,
                draft,
                before: Arc::new(out.finish()),
                answer: Arc::new(answer),
                left: self.profile.data_removal.duration,
            });
            return (Zeroizing::default(), false);
        }
        if !matches!(end, End::Open) {
            self.close(packet.tsn);
        }
        (out.finish(), matches!(end, End::Aborted))
    }

    fn session_stream(&mut self, tsn: u32, stream: &[u8], out: &mut Encoder) -> End {
        if continues(stream) {
            return End::Aborted;
        }
        let mut reader = Reader::new(stream);
        let mut calls = 0;
        loop {
            let next = match reader.peek() {
                Ok(Some(next)) => next.token,
                Ok(None) => return End::Open,
                Err(_) => return End::Aborted,
            };
            let needed = if next == Token::EndOfSession { 1 } else { SMALLEST_ANSWER };
            if self.room(tsn, out) < needed {
                return End::Aborted;
            }
            let step = match next {
                Token::Call => {
                    calls += 1;
                    if calls > self.max_methods() {
                        return End::Aborted;
                    }
                    match take_call(&mut reader) {
                        Ok(found) => match self.session_call(tsn, found, out) {
                            Ok(None) => Ok(()),
                            Ok(Some(later)) => return End::Later(later),
                            Err(Abort) => Err(Abort),
                        },
                        Err(Abort) => return End::Aborted,
                    }
                }
                Token::StartTransaction => self.start_transaction(tsn, &mut reader, out),
                Token::EndTransaction => self.end_transaction(tsn, &mut reader, out),
                Token::EndOfSession => {
                    // What follows is ignored.
                    out.token(Token::EndOfSession);
                    return End::Closed;
                }
                _ => Err(Abort),
            };
            match step {
                // A method such as Revert may have ended the session.
                Ok(()) if self.inner.sessions.iter().any(|s| s.tsn == tsn) => {}
                Ok(()) => return End::Closed,
                Err(Abort) => return End::Aborted,
            }
        }
    }

    fn session_call(
        &mut self,
        tsn: u32,
        found: Found<'_>,
        out: &mut Encoder,
    ) -> Result<Option<Box<Later>>, Abort> {
        let Some(session) = self.inner.sessions.iter().find(|s| s.tsn == tsn) else {
            return Err(Abort);
        };
        let longest = session.host.max_token();
        let room = methods::Room { tokens: self.room(tsn, out), longest };
        match methods::call(self, tsn, found, room) {
            Ok(answer) => {
                out.raw(&answer);
                Ok(None)
            }
            Err(later) => Ok(Some(later)),
        }
    }

    /// Bytes of tokens that the host's buffer has left for this answer.
    fn room(&self, tsn: u32, out: &Encoder) -> usize {
        let session = self.inner.sessions.iter().find(|s| s.tsn == tsn);
        let most = session.map_or(0, |s| s.host.max_answer(&self.profile.limits));
        most.saturating_sub(out.as_bytes().len())
    }

    fn start_transaction(
        &mut self,
        tsn: u32,
        reader: &mut Reader<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        reader.expect(Token::StartTransaction)?;
        reader.uint()?;
        let tables = self.inner.tables.clone();
        let session = self.inner.sessions.iter_mut().find(|s| s.tsn == tsn).ok_or(Abort)?;
        if session.transaction.is_some() {
            // MaxTransactionLimit is 1.
            return Err(Abort);
        }
        let authenticated = session.authenticated.clone();
        session.transaction = Some(Transaction { tables, ops: Vec::new(), authenticated });
        out.token(Token::StartTransaction).uint(0);
        Ok(())
    }

    fn end_transaction(
        &mut self,
        tsn: u32,
        reader: &mut Reader<'_>,
        out: &mut Encoder,
    ) -> Result<(), Abort> {
        reader.expect(Token::EndTransaction)?;
        let commit = reader.uint()? == 0;
        let session = self.inner.sessions.iter_mut().find(|s| s.tsn == tsn).ok_or(Abort)?;
        let id = session.id;
        let mut committed = false;
        if commit {
            let transaction = session.transaction.clone().ok_or(Abort)?;
            committed = self.apply(Some(id), transaction.tables, &transaction.ops).is_ok();
        } else if session.transaction.is_none() {
            return Err(Abort);
        }
        let session = self.inner.sessions.iter_mut().find(|s| s.tsn == tsn).ok_or(Abort)?;
        if committed {
            session.transaction = None;
        } else {
            session.abort_transaction();
        }
        out.token(Token::EndTransaction).uint(u64::from(!committed));
        Ok(())
    }
}

/// Whether a byte string is sent in pieces, which we do not announce (ContinuedTokens). That tokens
/// are no longer than MaxIndTokenSize follows from MaxComPacketSize. Where the bytes are no tokens
/// is for the reader to find, after what stands before was done.
fn continues(stream: &[u8]) -> bool {
    Tokens::new(stream).map_while(Result::ok).any(|t| matches!(t.token, Token::Continued(_)))
}

/// Takes a call out of the stream. Only what makes it impossible to tell where the call ends is an
/// error here; a bad name is reported in the call's answer.
fn take_call<'a>(reader: &mut Reader<'a>) -> Result<Found<'a>, Abort> {
    reader.expect(Token::Call)?;
    let mut names = Vec::new();
    let mut well_formed = true;
    loop {
        match reader.peek()?.map(|s| s.token) {
            Some(Token::StartList) => break,
            Some(Token::Bytes(bytes)) if names.len() < 2 => {
                names.extend(Uid::from_bytes(bytes));
                well_formed &= bytes.len() == 8;
            }
            Some(Token::Bytes(_) | Token::Uint(_) | Token::Int(_)) => well_formed = false,
            _ => return Err(Abort),
        }
        reader.next("UID")?;
    }
    let mut list = reader.value()?;
    let whole = list.rest();
    list.start_list()?;
    let inside = whole.get(list.offset()..whole.len().saturating_sub(1)).unwrap_or_default();
    reader.expect(Token::EndOfData)?;
    reader.start_list()?;
    let status = Status(reader.uint_as()?);
    while !reader.accept(Token::EndList)? {
        reader.uint()?;
    }
    let names = match (well_formed, &names[..]) {
        (true, [invoking, method]) => Some((*invoking, *method)),
        _ => None,
    };
    Ok(Found { names, parameters: Reader::new(inside), status })
}

/// The ComPacket that tells a host its command failed inside the drive. None if the command is one
/// that gets no answer.
pub(super) fn malfunction(com_id: u16, data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let packet = ComPacket::parse(data).ok()?;
    let packet = packet.packets().next()?.ok()?;
    let mut envelope = Envelope { com_id, tsn: packet.tsn, hsn: packet.hsn, ..Envelope::default() };
    if (packet.tsn, packet.hsn) != (0, 0) {
        return Some(envelope.wrap(&call::answer(Status::TPER_MALFUNCTION, |_| {})));
    }
    envelope.tsn = 0;
    let stream = packet.sub_packets().flatten().find(|s| s.kind == KIND_DATA)?;
    let mut found = take_call(&mut Reader::new(stream.payload())).ok()?;
    let answer = match found.names?.1 {
        method::PROPERTIES => {
            call::control_answer(method::PROPERTIES, Status::TPER_MALFUNCTION, |_| {})
        }
        method::START_SESSION => {
            let host_session = found.parameters.uint().ok()?;
            call::control_answer(method::SYNC_SESSION, Status::TPER_MALFUNCTION, |t| {
                t.uint(host_session).uint(0);
            })
        }
        _ => return None,
    };
    Some(envelope.wrap(&answer))
}
