// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON records `sed-drive/1` and `sed-trace/1`: where in them the bytes are.

use opal::spec::protocol;
use opal::wire::print::{Direction, Message, Printer};
use serde_json::{Map, Value};

use super::detect::fragment;
use super::{DecodeError, Input, Part, Report, Step, hex, query_text};

pub(super) fn decode(text: &str) -> Result<Report, DecodeError> {
    let record: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        DecodeError::Record(format!("this looks like JSON and is not: {error}"))
    })?;
    let mut report = Report::default();
    match record.get("schema").and_then(Value::as_str) {
        Some("sed-drive/1") => drive(&record, &mut report),
        Some("sed-trace/1") => trace(&record, &mut report),
        Some(schema) => {
            return Err(DecodeError::Record(format!(
                "records of schema {schema:?} hold no bytes this command knows; it reads \
                 sed-drive/1 and sed-trace/1"
            )));
        }
        None => {
            return Err(DecodeError::Record(
                "this JSON names no schema; give a sed-drive/1 or sed-trace/1 record, or the raw \
                 bytes"
                    .into(),
            ));
        }
    }
    if report.parts.is_empty() {
        return Err(DecodeError::Record("the record holds nothing to decode".into()));
    }
    Ok(report)
}

fn drive(record: &Map<String, Value>, report: &mut Report) {
    report.input = Input::DriveRecord;
    for key in ["id", "vendor", "model", "firmware", "interface"] {
        if let Some(value) = record.get(key).and_then(Value::as_str) {
            report.drive.push((key, value.to_owned()));
        }
    }
    let mut printer = Printer::new();
    if let Some(bytes) = bytes_of(record, "security_protocol_list", report) {
        let message = printer.received(protocol::INFORMATION, 0, &bytes);
        report.parts.push(Part::Message(Box::new(message)));
    }
    if let Some(bytes) = bytes_of(record, "level0", report) {
        let message = printer.received(protocol::TCG, protocol::DISCOVERY, &bytes);
        report.parts.push(Part::Message(Box::new(message)));
    }
    if let Some(text) = record.get("query_text_raw").and_then(Value::as_str) {
        report.parts.push(Part::QueryText(query_text::parse(text)));
    }
    if let Some(Value::Object(properties)) = record.get("tper_properties") {
        let properties = properties
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
            .collect();
        report.parts.push(Part::Properties(properties));
    }
    for key in ["scan_ssc_column", "seachest_report", "locking_listing"] {
        match record.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(value)) => evidence(report, key, value.clone()),
            Some(other) => evidence(report, key, other.to_string()),
        }
    }
}

fn evidence(report: &mut Report, key: &str, value: String) {
    report.parts.push(Part::Evidence { key: key.to_owned(), value });
}

/// The bytes of `record[key].hex`.
fn bytes_of(record: &Map<String, Value>, key: &str, report: &mut Report) -> Option<Vec<u8>> {
    let text = record.get(key)?.get("hex")?.as_str()?;
    hex_bytes(text, key, report)
}

fn hex_bytes(text: &str, what: &str, report: &mut Report) -> Option<Vec<u8>> {
    match hex::parse(text) {
        Ok(dump) => Some(dump.bytes),
        Err(error) => {
            report.notes.push(format!("{what}: {error}"));
            None
        }
    }
}

fn trace(record: &Map<String, Value>, report: &mut Report) {
    report.input = Input::TraceRecord;
    for key in ["id", "drive", "interface", "kind"] {
        if let Some(value) = record.get(key).and_then(Value::as_str) {
            report.drive.push((key, value.to_owned()));
        }
    }
    let mut printer = Printer::new();
    for (index, entry) in list(record, "messages").iter().enumerate() {
        match message(&mut printer, entry, index, report) {
            Some(message) => report.parts.push(Part::Message(Box::new(message))),
            None => report.notes.push(format!("message {index} holds no bytes to decode")),
        }
    }
    for (index, entry) in list(record, "steps").iter().enumerate() {
        match step(entry) {
            Some(step) => report.parts.push(Part::Step(step)),
            None => report.notes.push(format!("step {index} is of no known kind")),
        }
    }
}

fn list<'a>(record: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    record.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn message(
    printer: &mut Printer,
    entry: &Value,
    index: usize,
    report: &mut Report,
) -> Option<Message> {
    let direction = match entry.get("dir").and_then(Value::as_str) {
        Some("send") => Direction::Send,
        Some("recv") => Direction::Receive,
        _ => {
            report.notes.push(format!("message {index} does not say who sent it"));
            Direction::Receive
        }
    };
    let what = format!("message {index}");
    if let Some(text) = entry.get("payload_hex").and_then(Value::as_str) {
        let bytes = hex_bytes(text, &what, report)?;
        return Some(printer.tokens(direction, &bytes));
    }
    let bytes = hex_bytes(entry.get("hex")?.as_str()?, &what, report)?;
    let first_offset = entry.get("first_offset").and_then(Value::as_u64).unwrap_or(0);
    if first_offset > 0 {
        return Some(fragment(printer, direction, &bytes, first_offset));
    }
    let protocol = entry.get("protocol").and_then(Value::as_u64).unwrap_or(protocol::TCG.into());
    let protocol = u8::try_from(protocol).ok()?;
    let specific = match (entry.get("comid"), protocol) {
        (Some(Value::String(com_id)), _) => parse_com_id(com_id),
        (Some(Value::Number(com_id)), _) => com_id.as_u64().and_then(|n| u16::try_from(n).ok()),
        // The ComID of the command, as far as the bytes tell it.
        (_, protocol::TCG) => bytes.get(4..6)?.try_into().ok().map(u16::from_be_bytes),
        _ => None,
    };
    let specific = specific.unwrap_or(0);
    Some(match direction {
        Direction::Send => printer.sent(protocol, specific, &bytes),
        Direction::Receive => printer.received(protocol, specific, &bytes),
    })
}

fn parse_com_id(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

fn step(entry: &Value) -> Option<Step> {
    if let Some(action) = entry.get("action").and_then(Value::as_str) {
        return Some(Step::Action(action.to_owned()));
    }
    if let Some(Value::Object(flags)) = entry.get("discovery_locking") {
        return Some(Step::Locking(flag_list(flags)));
    }
    let fields = entry.as_object()?;
    let number = fields.get("range")?.as_u64()?;
    let start = fields.get("start").and_then(Value::as_u64);
    let length = fields.get("length").and_then(Value::as_u64);
    Some(Step::Range { number, extent: start.zip(length), flags: flag_list(fields) })
}

fn flag_list(fields: &Map<String, Value>) -> Vec<(String, bool)> {
    fields.iter().filter_map(|(name, value)| Some((name.clone(), value.as_bool()?))).collect()
}
