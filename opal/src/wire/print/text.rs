// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages as indented text.

use core::fmt::{self, Display, Formatter, Write};

use super::model::{
    AtaSecurity, Body, ComIdRequest, ComPacketView, Direction, Item, Label, Message, PacketView,
    SubPacketView, Value,
};
use crate::Uid;
use crate::spec::name;
use crate::wire::Status;
use crate::wire::discovery::{Discovery, LengthForm};
use crate::wire::packet::KIND_DATA;

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verb = match self.direction {
            Direction::Send => "IF-SEND",
            Direction::Receive => "IF-RECV",
        };
        write!(f, "{verb} protocol {:#04x}, specific 0x{:04X}, ", self.protocol, self.specific)?;
        writeln!(f, "{} bytes", self.bytes)?;
        self.content().fmt(f)
    }
}

/// A message without its first line; see [`Message::content`].
pub struct Content<'a>(&'a Message);

impl Message {
    /// What the message says, without the line that tells protocol, ComID and size.
    #[must_use]
    pub const fn content(&self) -> Content<'_> {
        Content(self)
    }
}

impl Display for Content<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.body.fmt(f)?;
        self.0.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

impl Display for Body {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery(discovery) => discovery.fmt(f),
            Self::DiscoveryHeader { length: Some(length) } => {
                writeln!(f, "  Level 0 Discovery header, cut short: length {length}")
            }
            Self::DiscoveryHeader { length: None } => {
                writeln!(f, "  Level 0 Discovery header, cut short")
            }
            Self::ComPacket(com) => com.fmt(f),
            Self::ComPacketHeader { com_id: Some(com_id) } => {
                writeln!(f, "  ComPacket header, cut short: ComID 0x{com_id:04X}")
            }
            Self::ComPacketHeader { com_id: None } => {
                writeln!(f, "  ComPacket header, cut short")
            }
            Self::Tokens(items) => items.iter().try_for_each(|item| write_item(f, item, 1)),
            Self::Protocols(protocols) => {
                write!(f, "  security protocols:")?;
                for protocol in protocols {
                    write!(f, " {protocol:#04x}")?;
                }
                writeln!(f)
            }
            Self::Certificate(length) => writeln!(f, "  certificate, {length} bytes"),
            Self::NewComId { com_id, extension } => {
                writeln!(f, "  GET_COMID: ComID 0x{com_id:04X}, extension 0x{extension:04X}")
            }
            Self::ComIdRequest(request) => request.fmt(f),
            Self::TperReset => writeln!(f, "  TPER_RESET"),
            Self::BlockSid { hardware_reset, freeze } => {
                write!(f, "  Block SID; a hardware reset ends it: {}", yes(*hardware_reset))?;
                writeln!(f, "; freeze the Locking SP: {}", yes(*freeze))
            }
            Self::AtaSecurity(security) => security.fmt(f),
            Self::Opaque => writeln!(f, "  content not shown"),
        }
    }
}

impl Display for ComIdRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = match self.code {
            0 => "no response available",
            1 => "VERIFY_COMID_VALID",
            2 => "STACK_RESET",
            _ => "unknown ComID request",
        };
        write!(f, "  {name} ({}), ", self.code)?;
        write!(f, "ComID 0x{:04X}, extension 0x{:04X}", self.com_id, self.extension)?;
        match (self.code, self.length, self.result) {
            (_, None, _) => {}
            (1, _, Some(state)) => {
                let name = match state {
                    0 => "Invalid",
                    1 => "Inactive",
                    2 => "Issued",
                    3 => "Associated",
                    _ => "unknown",
                };
                write!(f, ": {name} ({state})")?;
            }
            (2, _, Some(0)) => write!(f, ": success")?,
            (2, _, Some(result)) => write!(f, ": failed ({result})")?,
            (2, Some(0), _) => write!(f, ": pending")?,
            (_, Some(length), _) => write!(f, ": {length} bytes of data")?,
        }
        writeln!(f)
    }
}

impl Display for AtaSecurity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "  ATA security")?;
        let fields = [
            ("erase time", self.erase_time),
            ("enhanced erase time", self.enhanced_erase_time),
            ("master password identifier", self.master_password_identifier),
        ];
        for (name, value) in fields {
            match value {
                Some(value) => writeln!(f, "    {name} = 0x{value:04X}")?,
                None => writeln!(f, "    {name}: missing")?,
            }
        }
        match (self.status, self.flags()) {
            (Some(status), Some(flags)) => {
                write!(f, "    status = 0x{status:04X}:")?;
                flags.iter().try_for_each(|flag| write!(f, " {flag}"))?;
                writeln!(f)
            }
            _ => writeln!(f, "    status: missing"),
        }
    }
}

impl Display for ComPacketView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "  ComPacket: ComID 0x{:04X}", self.com_id)?;
        if self.extension != 0 {
            write!(f, ", extension 0x{:04X}", self.extension)?;
        }
        write!(f, ", length {}", self.length)?;
        if (self.outstanding_data, self.min_transfer) != (0, 0) {
            write!(f, ", outstanding {}", self.outstanding_data)?;
            write!(f, ", minimum transfer {}", self.min_transfer)?;
        }
        if self.length == 0 {
            f.write_str(match (self.extension, self.outstanding_data) {
                (0xFFFF, _) => " (inactive ComID)",
                (_, 0) => " (empty)",
                (_, 1) => " (not ready)",
                _ => " (ask for more)",
            })?;
        }
        writeln!(f)?;
        self.packets.iter().try_for_each(|packet| packet.fmt(f))
    }
}

impl Display for PacketView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "    Packet: ")?;
        match (self.tsn, self.hsn, self.sp) {
            (0, 0, _) => write!(f, "control session")?,
            (tsn, hsn, None) => write!(f, "session {tsn:#x}:{hsn:#x}")?,
            (tsn, hsn, Some(sp)) => {
                write!(f, "session {tsn:#x}:{hsn:#x} to ")?;
                write_uid(f, sp)?;
            }
        }
        write!(f, ", length {}", self.length)?;
        if self.sequence != 0 {
            write!(f, ", sequence {}", self.sequence)?;
        }
        match self.ack_type {
            0 => {}
            1 => write!(f, ", ACK {}", self.acknowledgement)?,
            2 => write!(f, ", NAK {}", self.acknowledgement)?,
            other => write!(f, ", acknowledgement type {other} {}", self.acknowledgement)?,
        }
        writeln!(f)?;
        self.sub_packets.iter().try_for_each(|sub_packet| sub_packet.fmt(f))
    }
}

impl Display for SubPacketView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.kind, self.credit) {
            (_, Some(credit)) => writeln!(f, "      SubPacket: credit {credit}")?,
            (KIND_DATA, _) => writeln!(f, "      SubPacket: data, {} bytes", self.length)?,
            (kind, _) => {
                writeln!(f, "      SubPacket: kind 0x{kind:04X}, {} bytes", self.length)?;
            }
        }
        self.items.iter().try_for_each(|item| write_item(f, item, 4))
    }
}

fn write_item(f: &mut Formatter<'_>, item: &Item, depth: usize) -> fmt::Result {
    indent(f, depth)?;
    match item {
        Item::Call { invoking, method, parameters, status } => {
            write_call(f, *invoking, *method)?;
            write_status(f, *status, "call", Some(Status::SUCCESS))?;
            write_values(f, parameters, depth + 1)
        }
        Item::Answer { to, results, status } => {
            f.write_str("answer")?;
            if let Some((invoking, method)) = to {
                f.write_str(" to ")?;
                write_call(f, Some(*invoking), Some(*method))?;
            }
            write_status(f, *status, "answer", None)?;
            write_values(f, results, depth + 1)
        }
        Item::EndOfSession => writeln!(f, "End of Session"),
        Item::StartTransaction(status) => write_transaction(f, "Start Transaction", *status),
        Item::EndTransaction(status) => write_transaction(f, "End Transaction", *status),
        Item::End(Some(status)) => writeln!(f, "End of Data: {status}"),
        Item::End(None) => writeln!(f, "End of Data: the status is missing"),
        Item::Loose(values) => {
            writeln!(f, "tokens outside a call or answer")?;
            write_values(f, values, depth + 1)
        }
    }
}

fn write_transaction(f: &mut Formatter<'_>, what: &str, status: Option<u64>) -> fmt::Result {
    match status {
        Some(status) => writeln!(f, "{what}, status {status}"),
        None => writeln!(f, "{what}"),
    }
}

fn write_call(f: &mut Formatter<'_>, invoking: Option<Uid>, method: Option<Uid>) -> fmt::Result {
    match invoking {
        Some(uid) => write_uid(f, uid)?,
        None => f.write_str("(InvokingID missing)")?,
    }
    f.write_char('.')?;
    match method {
        Some(uid) => write_uid(f, uid),
        None => f.write_str("(MethodID missing)"),
    }
}

/// Ends the line with the status; `usual` goes without saying.
fn write_status(
    f: &mut Formatter<'_>,
    status: Option<Status>,
    what: &str,
    usual: Option<Status>,
) -> fmt::Result {
    match status {
        Some(status) if usual == Some(status) => writeln!(f),
        Some(status) => writeln!(f, ": {status}"),
        None => writeln!(f, ": the {what}'s end is missing"),
    }
}

fn write_values(f: &mut Formatter<'_>, values: &[Value], depth: usize) -> fmt::Result {
    values.iter().try_for_each(|value| {
        indent(f, depth)?;
        write_value(f, value, depth)
    })
}

/// Writes `value` behind an indented line's beginning and ends the line.
fn write_value(f: &mut Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    match value {
        Value::List { items, closed } => {
            if items.is_empty() && *closed {
                return writeln!(f, "[]");
            }
            if *closed && items.iter().all(is_short) {
                f.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    write_atom(f, item)?;
                }
                return writeln!(f, "]");
            }
            writeln!(f, "{}", if *closed { "[" } else { "[ (its end is missing)" })?;
            write_values(f, items, depth + 1)?;
            if *closed {
                indent(f, depth)?;
                writeln!(f, "]")?;
            }
            Ok(())
        }
        Value::Named { label, value } => {
            write_label(f, label)?;
            match value {
                Some(value) => {
                    f.write_str(" = ")?;
                    write_value(f, value, depth)
                }
                None => writeln!(f, ": missing"),
            }
        }
        atom => {
            write_atom(f, atom)?;
            writeln!(f)
        }
    }
}

/// Values that several of go on one line.
fn is_short(value: &Value) -> bool {
    matches!(value, Value::Uint(..) | Value::Int(_) | Value::Text(_) | Value::HalfUid(_))
}

fn write_atom(f: &mut Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Uint(number, None) => write!(f, "{number}"),
        Value::Uint(number, Some(meaning)) => write!(f, "{number} ({meaning})"),
        Value::Int(number) => write!(f, "{number:+}"),
        Value::Uid(uid) => write_uid(f, *uid),
        Value::HalfUid(half) => write!(f, "{half:08X}"),
        Value::Text(text) => write!(f, "{text:?}"),
        Value::Hex(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}")),
        Value::Hidden { length } => write!(f, "<{length} bytes hidden>"),
        Value::HiddenNumber => f.write_str("<number hidden>"),
        Value::Cut { shown: Some(text), present, missing } => {
            write!(f, "{text:?}... <cut: {present} bytes there, {missing} missing>")
        }
        Value::Cut { shown: None, present, missing } => {
            write!(f, "<cut: {present} bytes there, {missing} missing>")
        }
        Value::Control(kind) => write!(f, "<{kind}>"),
        Value::List { .. } | Value::Named { .. } => Ok(()),
    }
}

fn write_label(f: &mut Formatter<'_>, label: &Label) -> fmt::Result {
    match label {
        Label::Positional(name) => f.write_str(name),
        Label::Number(number, Some(name)) => write!(f, "{name} ({number:#x})"),
        Label::Number(number, None) => write!(f, "{number:#x}"),
        Label::Selector(half) => match name::uid(Uid::new(5, *half)) {
            Some(name) => write!(f, "{name}"),
            None => write!(f, "type {half:08X}"),
        },
        Label::Text(text) => f.write_str(text),
        Label::Hidden(length) => write!(f, "<name of {length} bytes hidden>"),
        Label::Absent => f.write_str("<no name>"),
    }
}

fn write_uid(f: &mut Formatter<'_>, uid: Uid) -> fmt::Result {
    match name::uid(uid) {
        Some(name) => write!(f, "{name}"),
        None => write!(f, "{uid}"),
    }
}

fn indent(f: &mut Formatter<'_>, depth: usize) -> fmt::Result {
    (0..depth).try_for_each(|_| f.write_str("  "))
}

const fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

impl Display for Discovery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "  Level 0 Discovery {}.{}", self.major, self.minor)?;
        match self.ssc() {
            Some((code, com_ids)) => {
                writeln!(f, "    a host uses {code}, ComID 0x{:04X}", com_ids.base)?;
            }
            None if self.missing_bytes() > 0 => writeln!(f, "    no SSC is among what is there")?,
            None => writeln!(f, "    no SSC with a ComID that a host could use")?,
        }
        if self.length_form == LengthForm::DescriptorsOnly {
            writeln!(f, "    the length field leaves out the header")?;
        }
        for (name, bytes) in
            [("reserved", &self.reserved[..]), ("vendor", &self.vendor), ("tail", self.tail())]
        {
            if bytes.iter().any(|byte| *byte != 0) {
                write!(f, "    {name} bytes = ")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}"))?;
                writeln!(f)?;
            }
        }
        for descriptor in self.descriptors() {
            write!(f, "    {}, version {}", descriptor.code, descriptor.version())?;
            match (descriptor.edition(), descriptor.minor()) {
                (Some(edition), _) => write!(f, ", {edition}")?,
                (None, 0) => {}
                (None, minor) => write!(f, ", minor version {minor}")?,
            }
            if descriptor.missing() > 0 {
                write!(f, ", {} of {} bytes missing", descriptor.missing(), descriptor.length)?;
            }
            writeln!(f)?;
            for (name, value) in descriptor.fields() {
                writeln!(f, "      {name} = {value}")?;
            }
        }
        Ok(())
    }
}
