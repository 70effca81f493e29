// SPDX-License-Identifier: MIT OR Apache-2.0
//! A report as JSON. Numbers that people know in hex are strings (`"0x1004"`, UIDs); what is not
//! shown is an object that says so.

use opal::Uid;
use opal::spec::name;
use opal::wire::Status;
use opal::wire::discovery::{Descriptor, Discovery, FeatureCode, FieldValue, LengthForm};
use opal::wire::print::{
    Body, ComPacketView, Direction, Item, Label, Message, PacketView, SubPacketView, Value as Wire,
};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{Part, QueryText, Report, Step};

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl Report {
    /// The report as a JSON document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let drive: Map<_, _> =
            self.drive.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        json!({
            "version": 1,
            "input": self.input.name(),
            "drive": drive,
            "parts": self.parts.iter().map(part).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

fn part(part: &Part) -> Value {
    match part {
        Part::Message(m) => message(m),
        Part::QueryText(query) => query_text(query),
        Part::Properties(properties) => {
            json!({ "kind": "properties", "tper_properties": numbers(properties) })
        }
        Part::Evidence { key, value } => json!({ "kind": "evidence", "key": key, "value": value }),
        Part::Step(Step::Action(action)) => json!({ "kind": "action", "action": action }),
        Part::Step(Step::Locking(flags)) => {
            json!({ "kind": "locking-state", "flags": flag_map(flags) })
        }
        Part::Step(Step::Range { number, extent, flags }) => json!({
            "kind": "range-state",
            "range": number,
            "start": extent.map(|(start, _)| start),
            "length": extent.map(|(_, length)| length),
            "flags": flag_map(flags),
        }),
    }
}

fn query_text(query: &QueryText) -> Value {
    let features: Vec<_> = query
        .features
        .iter()
        .map(|feature| {
            let fields: Map<_, _> =
                feature.fields.iter().map(|(name, value)| (name.clone(), field(value))).collect();
            json!({
                "code": code(feature.code),
                "name": feature.code.name(),
                "fields": fields,
            })
        })
        .collect();
    json!({
        "kind": "query-text",
        "features": features,
        "unknown_features": query.unknown_features,
        "tper_properties": numbers(&query.tper_properties),
        "host_properties": numbers(&query.host_properties),
    })
}

fn message(message: &Message) -> Value {
    json!({
        "kind": "message",
        "direction": match message.direction {
            Direction::Send => "send",
            Direction::Receive => "receive",
        },
        "protocol": message.protocol,
        "specific": hex16(message.specific),
        "bytes": message.bytes,
        "content": body(&message.body),
        "notes": message.notes,
    })
}

fn body(body: &Body) -> Value {
    match body {
        Body::Discovery(d) => discovery(d),
        Body::DiscoveryHeader { length } => json!({ "kind": "discovery-header", "length": length }),
        Body::ComPacket(com) => com_packet(com),
        Body::ComPacketHeader { com_id } => {
            json!({ "kind": "com-packet-header", "com_id": com_id.map(hex16) })
        }
        Body::Tokens(items) => json!({ "kind": "tokens", "items": all(items, item) }),
        Body::Protocols(list) => json!({
            "kind": "security-protocols",
            "protocols": list.iter().map(|p| format!("{p:#04x}")).collect::<Vec<_>>(),
        }),
        Body::Certificate(length) => json!({ "kind": "certificate", "length": length }),
        Body::NewComId { com_id, extension } => json!({
            "kind": "get-com-id",
            "com_id": hex16(*com_id),
            "extension": hex16(*extension),
        }),
        Body::ComIdRequest(request) => json!({
            "kind": "com-id-request",
            "com_id": hex16(request.com_id),
            "extension": hex16(request.extension),
            "code": request.code,
            "length": request.length,
            "result": request.result,
        }),
        Body::TperReset => json!({ "kind": "tper-reset" }),
        Body::BlockSid { hardware_reset, freeze } => json!({
            "kind": "block-sid",
            "hardware_reset": hardware_reset,
            "freeze": freeze,
        }),
        Body::AtaSecurity(security) => json!({
            "kind": "ata-security",
            "erase_time": security.erase_time,
            "enhanced_erase_time": security.enhanced_erase_time,
            "master_password_identifier": security.master_password_identifier.map(hex16),
            "status": security.status.map(hex16),
            "flags": security.flags(),
        }),
        _ => json!({ "kind": "not-shown" }),
    }
}

fn discovery(discovery: &Discovery) -> Value {
    let ssc = discovery.ssc();
    json!({
        "kind": "discovery",
        "length": discovery.length,
        "length_excludes_header": discovery.length_form == LengthForm::DescriptorsOnly,
        "declared_bytes": discovery.declared_bytes(),
        "present_bytes": discovery.present_bytes(),
        "missing_bytes": discovery.missing_bytes(),
        "revision": format!("{}.{}", discovery.major, discovery.minor),
        "vendor": bytes(&discovery.vendor),
        "ssc": ssc.and_then(|(code, _)| code.name()),
        "base_com_id": ssc.map(|(_, com_ids)| hex16(com_ids.base)),
        "encrypts": discovery.encrypts(),
        "features": all(discovery.descriptors(), descriptor),
        "tail": bytes(discovery.tail()),
    })
}

fn descriptor(descriptor: &Descriptor) -> Value {
    // A name may come several times: ports, removal mechanisms.
    let mut fields = Map::new();
    for (name, value) in descriptor.fields() {
        match fields.get_mut(name) {
            None => {
                fields.insert(name.to_owned(), field(&value));
            }
            Some(Value::Array(values)) => values.push(field(&value)),
            Some(first) => *first = json!([first.take(), field(&value)]),
        }
    }
    json!({
        "code": code(descriptor.code),
        "name": descriptor.code.name(),
        "version": descriptor.version(),
        "minor": descriptor.minor(),
        "edition": descriptor.edition(),
        "length": descriptor.length,
        "missing_bytes": descriptor.missing(),
        "data": bytes(descriptor.data()),
        "fields": fields,
    })
}

fn field(value: &FieldValue) -> Value {
    match value {
        FieldValue::Flag(flag) => json!(flag),
        FieldValue::Number(number) => json!(number),
        FieldValue::ComId(com_id) => json!(hex16(*com_id)),
        FieldValue::Text(text) => json!(text),
        FieldValue::Bytes(data) => json!(bytes(data)),
        _ => Value::Null,
    }
}

fn com_packet(com: &ComPacketView) -> Value {
    json!({
        "kind": "com-packet",
        "com_id": hex16(com.com_id),
        "extension": hex16(com.extension),
        "outstanding_data": com.outstanding_data,
        "min_transfer": com.min_transfer,
        "length": com.length,
        "missing_bytes": com.missing,
        "packets": all(&com.packets, packet),
    })
}

fn packet(packet: &PacketView) -> Value {
    json!({
        "tsn": packet.tsn,
        "hsn": packet.hsn,
        "sp": packet.sp.map(uid),
        "sequence": packet.sequence,
        "ack_type": packet.ack_type,
        "acknowledgement": packet.acknowledgement,
        "length": packet.length,
        "missing_bytes": packet.missing,
        "sub_packets": all(&packet.sub_packets, sub_packet),
    })
}

fn sub_packet(sub_packet: &SubPacketView) -> Value {
    json!({
        "kind": hex16(sub_packet.kind),
        "length": sub_packet.length,
        "missing_bytes": sub_packet.missing,
        "credit": sub_packet.credit,
        "items": all(&sub_packet.items, item),
    })
}

fn item(item: &Item) -> Value {
    match item {
        Item::Call { invoking, method, parameters, status: s } => json!({
            "item": "call",
            "invoking": invoking.map(uid),
            "method": method.map(uid),
            "parameters": all(parameters, value),
            "status": s.map(status),
        }),
        Item::Answer { to, results, status: s } => json!({
            "item": "answer",
            "to": to.map(|(invoking, method)| json!({
                "invoking": uid(invoking),
                "method": uid(method),
            })),
            "results": all(results, value),
            "status": s.map(status),
        }),
        Item::EndOfSession => json!({ "item": "end-of-session" }),
        Item::StartTransaction(s) => json!({ "item": "start-transaction", "status": s }),
        Item::EndTransaction(s) => json!({ "item": "end-transaction", "status": s }),
        Item::End(s) => json!({ "item": "end-of-data", "status": s.map(status) }),
        Item::Loose(values) => json!({ "item": "tokens", "values": all(values, value) }),
    }
}

fn value(wire: &Wire) -> Value {
    match wire {
        Wire::Uint(number, None) => json!(number),
        Wire::Uint(number, Some(meaning)) => json!({ "value": number, "meaning": meaning }),
        Wire::Int(number) => json!({ "signed": number }),
        Wire::Uid(u) => uid(*u),
        Wire::HalfUid(half) => json!({ "half_uid": format!("{half:08X}") }),
        Wire::Text(text) => json!({ "text": text }),
        Wire::Hex(data) => json!({ "hex": bytes(data) }),
        Wire::Hidden { length } => json!({ "hidden_bytes": length }),
        Wire::HiddenNumber => json!({ "hidden_number": true }),
        Wire::Cut { shown, present, missing } => {
            json!({ "cut": { "begins": shown, "present": present, "missing": missing } })
        }
        Wire::List { items, closed: true } => Value::Array(items.iter().map(value).collect()),
        Wire::List { items, closed: false } => json!({ "list": all(items, value), "cut": true }),
        Wire::Named { label: l, value: inner } => {
            json!({ "name": label(l), "value": inner.as_deref().map(value) })
        }
        Wire::Control(kind) => json!({ "control": kind }),
    }
}

fn label(label: &Label) -> Value {
    match label {
        Label::Positional(name) => json!({ "meaning": name }),
        Label::Number(number, meaning) => json!({ "number": number, "meaning": meaning }),
        Label::Selector(half) => json!({
            "half_uid": format!("{half:08X}"),
            "meaning": name::uid(Uid::new(5, *half)).map(|name| name.to_string()),
        }),
        Label::Text(text) => json!({ "text": text }),
        Label::Hidden(length) => json!({ "hidden_bytes": length }),
        Label::Absent => Value::Null,
    }
}

fn uid(uid: Uid) -> Value {
    json!({ "uid": uid.to_string(), "name": name::uid(uid).map(|name| name.to_string()) })
}

fn status(status: Status) -> Value {
    json!({ "code": status.0, "name": status.name() })
}

fn all<T>(items: &[T], form: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().map(form).collect()
}

fn numbers(properties: &[(String, u64)]) -> Map<String, Value> {
    properties.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

fn flag_map(flags: &[(String, bool)]) -> Map<String, Value> {
    flags.iter().map(|(name, on)| (name.clone(), json!(on))).collect()
}

fn code(code: FeatureCode) -> String {
    hex16(code.0)
}

fn hex16(number: u16) -> String {
    format!("0x{number:04X}")
}

fn bytes(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02X}")).collect()
}
