// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Printer`]: turns what goes over the wire into something a person can read, secrets left out.
//!
//! It keeps what it saw, so that an answer is read as the answer to its call: that is how it knows
//! which byte strings are PINs. An answer on its own shows only byte strings of the length and
//! shape of UIDs, and names that are known. Nothing here fails: what is cut or damaged is shown as
//! far as it goes, and [`Message::notes`] say what is wrong.

mod fragment;
mod management;
mod meaning;
mod model;
mod text;
mod tree;

pub use model::{
    AtaSecurity, Body, ComIdRequest, ComPacketView, Direction, Item, Label, Message, PacketView,
    SubPacketView, Value,
};
pub use text::Content;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Uid;
use crate::spec::{method, protocol, sp};
use crate::wire::Status;
use crate::wire::discovery::Discovery;
use crate::wire::packet::{ComPacket, KIND_CREDIT, KIND_DATA, Packet, SubPacket};
use crate::wire::token::Token;
use tree::{Node, Tree};

/// Most tokens and packets shown of one message; no real message comes near.
const BUDGET: usize = 4096;
/// Most sessions and unanswered calls remembered.
const MEMORY: usize = 64;

/// Decodes messages one after the other and remembers what answers need.
#[derive(Clone, Debug, Default)]
pub struct Printer {
    sessions: Vec<Session>,
    starting: Vec<Starting>,
    unanswered: Vec<Unanswered>,
}

/// A StartSession that was not answered yet.
#[derive(Clone, Debug)]
struct Starting {
    com_id: u16,
    hsn: u64,
    sp: Uid,
}

#[derive(Clone, Debug)]
struct Session {
    com_id: u16,
    tsn: u32,
    hsn: u32,
    sp: Uid,
}

#[derive(Clone, Debug)]
struct Unanswered {
    com_id: u16,
    tsn: u32,
    hsn: u32,
    invoking: Uid,
    method: Uid,
}

/// Where a token stream came from.
#[derive(Clone, Copy)]
struct Origin {
    direction: Direction,
    com_id: u16,
    tsn: u32,
    hsn: u32,
}

impl Printer {
    /// A printer that saw nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes an IF-SEND.
    pub fn sent(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Message {
        self.message(Direction::Send, protocol, specific, data)
    }

    /// Decodes what an IF-RECV returned.
    pub fn received(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Message {
        self.message(Direction::Receive, protocol, specific, data)
    }

    fn message(
        &mut self,
        direction: Direction,
        protocol: u8,
        specific: u16,
        data: &[u8],
    ) -> Message {
        let mut notes = Vec::new();
        let body = match (protocol, specific) {
            (protocol::TCG, protocol::DISCOVERY) if direction == Direction::Receive => {
                discovery(data, &mut notes)
            }
            (protocol::TCG, _) => self.com_packet(direction, data, &mut notes),
            _ => management::body(direction, protocol, specific, data, &mut notes),
        };
        Message { direction, protocol, specific, bytes: data.len(), body, notes }
    }

    /// Decodes the tokens of one sub-packet without the headers around them.
    pub fn tokens(&mut self, direction: Direction, data: &[u8]) -> Message {
        let mut notes = Vec::new();
        let origin = Origin { direction, com_id: 0, tsn: 0, hsn: 0 };
        if direction == Direction::Send {
            self.unanswered.clear();
        }
        let items = self.items(origin, data, &mut { BUDGET }, &mut notes);
        Message {
            direction,
            protocol: protocol::TCG,
            specific: 0,
            bytes: data.len(),
            body: Body::Tokens(items),
            notes,
        }
    }

    /// Decodes a piece from the middle of a ComPacket's tokens, which may begin inside a token.
    ///
    /// Bytes in front of the first place where tokens can be told for sure are not shown: they may
    /// be the rest of a PIN.
    pub fn fragment(&mut self, direction: Direction, data: &[u8]) -> Message {
        let mut notes = Vec::new();
        let start = fragment::first_token(data);
        if start > 0 {
            notes.push(format!("{start} bytes before the first whole token are not shown"));
        }
        let origin = Origin { direction, com_id: 0, tsn: 0, hsn: 0 };
        self.unanswered.clear();
        let tree = tree::read(data.get(start..).unwrap_or_default(), &mut { BUDGET }, true);
        let items = self.tree_items(origin, tree, &mut notes);
        Message {
            direction,
            protocol: protocol::TCG,
            specific: 0,
            bytes: data.len(),
            body: Body::Tokens(items),
            notes,
        }
    }

    fn com_packet(&mut self, direction: Direction, data: &[u8], notes: &mut Vec<String>) -> Body {
        let com = match ComPacket::parse_prefix(data) {
            Ok(com) => com,
            Err(error) => {
                notes.push(format!("truncated: {error}"));
                let com_id = data.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_be_bytes);
                return Body::ComPacketHeader { com_id };
            }
        };
        if com.missing() > 0 {
            notes.push(cut("the ComPacket", com.payload().len(), com.length));
        }
        if direction == Direction::Send {
            // The synchronous protocol: whatever was unanswered stays so.
            self.unanswered.retain(|call| call.com_id != com.com_id);
        }
        let mut budget = BUDGET;
        let mut packets = Vec::new();
        for packet in com.packets() {
            match packet {
                Ok(packet) if budget > 0 => {
                    budget -= 1;
                    let view = self.packet(direction, &com, &packet, &mut budget, notes);
                    packets.push(view);
                }
                Ok(_) => {
                    notes.push("too many packets to show; the rest is left out".into());
                    break;
                }
                Err(error) => notes.push(format!("truncated: {error}")),
            }
        }
        Body::ComPacket(ComPacketView {
            com_id: com.com_id,
            extension: com.extension,
            outstanding_data: com.outstanding_data,
            min_transfer: com.min_transfer,
            length: com.length,
            missing: com.missing(),
            packets,
        })
    }

    fn packet(
        &mut self,
        direction: Direction,
        com: &ComPacket<'_>,
        packet: &Packet<'_>,
        budget: &mut usize,
        notes: &mut Vec<String>,
    ) -> PacketView {
        // Told once: where the ComPacket is cut, so is everything inside.
        if packet.missing() > 0 && com.missing() == 0 {
            notes.push(cut("a Packet", packet.payload().len(), packet.length));
        }
        let origin = Origin { direction, com_id: com.com_id, tsn: packet.tsn, hsn: packet.hsn };
        let mut sub_packets = Vec::new();
        for sub_packet in packet.sub_packets() {
            match sub_packet {
                Ok(sub_packet) if *budget > 0 => {
                    *budget -= 1;
                    if sub_packet.missing() > 0 && packet.missing() == 0 {
                        let present = sub_packet.payload().len();
                        notes.push(cut("a SubPacket", present, sub_packet.length));
                    }
                    sub_packets.push(self.sub_packet(origin, &sub_packet, budget, notes));
                }
                Ok(_) => {
                    notes.push("too many sub-packets to show; the rest is left out".into());
                    break;
                }
                Err(error) => notes.push(format!("truncated: {error}")),
            }
        }
        PacketView {
            tsn: packet.tsn,
            hsn: packet.hsn,
            sp: self.session_sp(origin),
            sequence: packet.sequence,
            ack_type: packet.ack_type,
            acknowledgement: packet.acknowledgement,
            length: packet.length,
            missing: packet.missing(),
            sub_packets,
        }
    }

    fn sub_packet(
        &mut self,
        origin: Origin,
        sub_packet: &SubPacket<'_>,
        budget: &mut usize,
        notes: &mut Vec<String>,
    ) -> SubPacketView {
        let items = match sub_packet.kind {
            KIND_DATA => self.items(origin, sub_packet.payload(), budget, notes),
            KIND_CREDIT => Vec::new(),
            kind => {
                notes.push(format!("a SubPacket of unknown kind 0x{kind:04X} is not decoded"));
                Vec::new()
            }
        };
        SubPacketView {
            kind: sub_packet.kind,
            length: sub_packet.length,
            missing: sub_packet.missing(),
            credit: sub_packet.credit(),
            items,
        }
    }

    fn items(
        &mut self,
        origin: Origin,
        data: &[u8],
        budget: &mut usize,
        notes: &mut Vec<String>,
    ) -> Vec<Item> {
        let tree = tree::read(data, budget, false);
        self.tree_items(origin, tree, notes)
    }

    fn tree_items(&mut self, origin: Origin, tree: Tree<'_>, notes: &mut Vec<String>) -> Vec<Item> {
        notes.extend(tree.problem);
        let mut nodes = tree.nodes.as_slice();
        let mut items = Vec::new();
        while let Some((first, rest)) = nodes.split_first() {
            let all = nodes;
            nodes = rest;
            match first {
                Node::Control(Token::Call) => items.push(self.call(origin, &mut nodes)),
                Node::List { items: results, .. } => {
                    items.push(self.answer(origin, results, &mut nodes));
                }
                Node::Control(Token::EndOfSession) => {
                    items.push(Item::EndOfSession);
                    // What follows in the same message is ignored by a drive; some hosts send it.
                    if !nodes.is_empty() {
                        items.push(Item::Loose(meaning::loose(nodes)));
                    }
                    break;
                }
                Node::Control(Token::EndOfData) => {
                    nodes = all;
                    items.push(Item::End(take_status(&mut nodes)));
                }
                Node::Control(Token::StartTransaction) => {
                    items.push(Item::StartTransaction(take_uint(&mut nodes)));
                }
                Node::Control(Token::EndTransaction) => {
                    items.push(Item::EndTransaction(take_uint(&mut nodes)));
                }
                _ => {
                    // All of them together: their neighbours tell what may be shown.
                    let more = rest.iter().take_while(|node| is_loose(node)).count();
                    let loose = all.get(..=more).unwrap_or_default();
                    nodes = all.get(loose.len()..).unwrap_or_default();
                    items.push(Item::Loose(meaning::loose(loose)));
                }
            }
        }
        items
    }

    fn call(&mut self, origin: Origin, nodes: &mut &[Node<'_>]) -> Item {
        let invoking = take_uid(nodes);
        let method = invoking.and_then(|_| take_uid(nodes));
        let list = take_list(nodes);
        let status = take_status(nodes);
        let inside = list.unwrap_or_default();
        if let (Some(invoking), Some(method)) = (invoking, method) {
            self.remember(origin, invoking, method, inside, status);
        }
        let parameters = meaning::parameters(invoking, method, inside);
        Item::Call { invoking, method, parameters, status }
    }

    fn answer(&mut self, origin: Origin, results: &[Node<'_>], nodes: &mut &[Node<'_>]) -> Item {
        let status = take_status(nodes);
        let to = match origin.direction {
            Direction::Receive => self.answered(origin),
            Direction::Send => None,
        };
        Item::Answer { to, results: meaning::results(to, results), status }
    }

    /// Keeps what later messages need of a call.
    fn remember(
        &mut self,
        origin: Origin,
        invoking: Uid,
        method: Uid,
        parameters: &[Node<'_>],
        status: Option<Status>,
    ) {
        let com_id = origin.com_id;
        match (origin.direction, method, parameters) {
            (Direction::Send, method::START_SESSION, [Node::Uint(hsn), Node::Bytes(sp), ..])
                if invoking == sp::SESSION_MANAGER =>
            {
                if let Some(sp) = Uid::from_bytes(sp) {
                    push(&mut self.starting, Starting { com_id, hsn: *hsn, sp });
                }
            }
            (Direction::Receive, method::SYNC_SESSION, [Node::Uint(hsn), Node::Uint(tsn), ..])
                if invoking == sp::SESSION_MANAGER =>
            {
                let at = self.starting.iter().position(|s| s.com_id == com_id && s.hsn == *hsn);
                let Some(at) = at else { return };
                let sp = self.starting.remove(at).sp;
                if let (Ok(hsn), Ok(tsn), Some(Status::SUCCESS)) =
                    (u32::try_from(*hsn), u32::try_from(*tsn), status)
                {
                    self.sessions.retain(|s| (s.com_id, s.tsn) != (com_id, tsn));
                    push(&mut self.sessions, Session { com_id, tsn, hsn, sp });
                }
            }
            (Direction::Send, _, _) if invoking != sp::SESSION_MANAGER => {
                let Origin { tsn, hsn, .. } = origin;
                let call = Unanswered { com_id, tsn, hsn, invoking, method };
                push(&mut self.unanswered, call);
            }
            _ => {}
        }
    }

    /// The call that an answer from `origin` belongs to: the oldest one of that session.
    fn answered(&mut self, origin: Origin) -> Option<(Uid, Uid)> {
        let at = self.unanswered.iter().position(|call| {
            (call.com_id, call.tsn, call.hsn) == (origin.com_id, origin.tsn, origin.hsn)
        })?;
        let call = self.unanswered.remove(at);
        Some((call.invoking, call.method))
    }

    fn session_sp(&self, origin: Origin) -> Option<Uid> {
        self.sessions
            .iter()
            .find(|s| (s.com_id, s.tsn, s.hsn) == (origin.com_id, origin.tsn, origin.hsn))
            .map(|s| s.sp)
    }
}

/// Appends, and forgets the oldest where there are too many.
fn push<T>(memory: &mut Vec<T>, item: T) {
    if memory.len() >= MEMORY {
        memory.remove(0);
    }
    memory.push(item);
}

fn discovery(data: &[u8], notes: &mut Vec<String>) -> Body {
    match Discovery::parse(data) {
        Ok(discovery) => {
            if discovery.missing_bytes() > 0 {
                notes.push(format!(
                    "truncated: {} of {} bytes are there, {} are missing",
                    discovery.present_bytes(),
                    discovery.declared_bytes(),
                    discovery.missing_bytes()
                ));
            }
            Body::Discovery(discovery)
        }
        Err(error) => {
            notes.push(format!("truncated: {error}"));
            let length = data.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
            Body::DiscoveryHeader { length }
        }
    }
}

fn cut(what: &str, present: usize, declared: u32) -> String {
    let missing = (declared as usize).saturating_sub(present);
    format!("truncated: {what} declares {declared} bytes, {present} are there, {missing} missing")
}

/// Whether a token begins no call, answer or control of a session.
fn is_loose(node: &Node<'_>) -> bool {
    match node {
        Node::List { .. } => false,
        Node::Control(token) => matches!(token, Token::EndList | Token::EndName),
        _ => true,
    }
}

fn take_uid(nodes: &mut &[Node<'_>]) -> Option<Uid> {
    let (Node::Bytes(bytes), rest) = nodes.split_first()? else { return None };
    let uid = Uid::from_bytes(bytes)?;
    *nodes = rest;
    Some(uid)
}

fn take_list<'t, 'a>(nodes: &mut &'t [Node<'a>]) -> Option<&'t [Node<'a>]> {
    let (Node::List { items, .. }, rest) = nodes.split_first()? else { return None };
    *nodes = rest;
    Some(items)
}

fn take_uint(nodes: &mut &[Node<'_>]) -> Option<u64> {
    let (Node::Uint(number), rest) = nodes.split_first()? else { return None };
    *nodes = rest;
    Some(*number)
}

/// End of Data and the first number of the status list, even if the list is cut behind it.
fn take_status(nodes: &mut &[Node<'_>]) -> Option<Status> {
    let (Node::Control(Token::EndOfData), rest) = nodes.split_first()? else { return None };
    *nodes = rest;
    match take_list(nodes)?.first()? {
        Node::Uint(status) => u8::try_from(*status).ok().map(Status),
        _ => None,
    }
}
