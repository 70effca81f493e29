// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers of real drives: every record decodes to what its own text says, whole, cut or damaged.
//!
//! The corpus is not part of the source tree. `OPALBOX_CORPUS` names its folder, by default
//! `../shared/data` beside the tree. Where it is absent the tests say so, and fail if `CI=true`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use opal::wire::discovery::{Descriptor, Discovery, Feature, FeatureCode, FieldValue};
use opal::wire::packet::{ComPacket, Envelope};
use opal::wire::print::{Direction, Printer};
use opal::wire::token::{Encoder, Token, TokenErrorKind, Tokens};
use opalbox::decode::{Part, QueryText, Report, decode};
use serde_json::Value;

/// The folder of the corpus, if there is one.
fn corpus() -> Option<PathBuf> {
    let path = match std::env::var_os("OPALBOX_CORPUS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    };
    if path.join("drives").is_dir() && path.join("traces").is_dir() {
        return Some(path);
    }
    let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!ci, "no corpus at {}; set OPALBOX_CORPUS", path.display());
    println!("skipped: no corpus at {}; set OPALBOX_CORPUS", path.display());
    None
}

/// A record: the name of its file, its text, and that as JSON.
struct Record {
    name: String,
    text: String,
    json: Value,
}

fn records(folder: &str) -> Vec<Record> {
    let Some(corpus) = corpus() else { return Vec::new() };
    let mut records: Vec<_> = fs::read_dir(corpus.join(folder))
        .expect("the corpus is readable")
        .map(|entry| entry.expect("the corpus is readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a record is readable");
            let json = serde_json::from_str(&text).expect("a record is JSON");
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            Record { name, text, json }
        })
        .collect();
    records.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!records.is_empty(), "{folder} of the corpus is empty");
    records
}

fn drives() -> impl Iterator<Item = Record> {
    records("drives").into_iter().filter(|r| r.json["schema"] == "sed-drive/1")
}

fn traces() -> impl Iterator<Item = Record> {
    records("traces").into_iter().filter(|r| r.json["schema"] == "sed-trace/1")
}

/// Drive records with a discovery answer, and its bytes.
fn discoveries() -> impl Iterator<Item = (Record, Vec<u8>)> {
    drives().filter_map(|record| {
        let bytes = unhex(record.json["level0"]["hex"].as_str()?);
        Some((record, bytes))
    })
}

/// Every message with bytes, and whether it is a token stream alone.
fn messages() -> impl Iterator<Item = (String, Value, Vec<u8>, bool)> {
    traces().flat_map(|record| {
        let messages = record.json["messages"].as_array().cloned().unwrap_or_default();
        messages.into_iter().enumerate().filter_map(move |(index, message)| {
            let name = format!("{} message {index}", record.name);
            let (hex, tokens) = match message["payload_hex"].as_str() {
                Some(hex) => (hex, true),
                None => (message["hex"].as_str()?, false),
            };
            let bytes = unhex(hex);
            Some((name, message, bytes, tokens))
        })
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn report(record: &Record) -> Report {
    decode(record.text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", record.name))
}

fn query(report: &Report) -> Option<&QueryText> {
    report.parts.iter().find_map(|part| match part {
        Part::QueryText(query) => Some(query),
        _ => None,
    })
}

#[test]
fn every_record_decodes() {
    for record in drives().chain(traces()) {
        let report = report(&record);
        assert_eq!(report.notes, [] as [String; 0], "{}", record.name);
        let json = report.to_json();
        assert_eq!(json["version"], 1);
        assert_eq!(json["input"], record.json["schema"]);
        // Every part that the record lists is there.
        let evidence = ["level0", "query_text_raw", "security_protocol_list", "tper_properties"]
            .iter()
            .filter(|key| record.json.get(**key).is_some_and(|value| !value.is_null()))
            .count();
        let listed = ["messages", "steps"]
            .iter()
            .filter_map(|key| record.json[*key].as_array().map(Vec::len))
            .sum::<usize>();
        assert!(report.parts.len() >= evidence + listed, "{}", record.name);
        assert!(!report.to_string().is_empty());
    }
}

#[test]
fn discovery_says_what_the_records_say() {
    for (Record { name, json, .. }, bytes) in discoveries() {
        let level0 = &json["level0"];
        let discovery = Discovery::parse(&bytes).unwrap();
        let number = |key: &str| level0[key].as_u64().unwrap() as usize;
        assert_eq!(discovery.length as usize, number("length_field"), "{name}");
        assert_eq!(discovery.declared_bytes(), number("declared_total"), "{name}");
        assert_eq!(discovery.present_bytes(), number("bytes_present"), "{name}");
        assert_eq!(discovery.missing_bytes(), number("missing_tail_bytes"), "{name}");

        let derived = &level0["derived_by_our_script"];
        assert_eq!(u64::from(discovery.major), derived["revision_major"], "{name}");
        assert_eq!(u64::from(discovery.minor), derived["revision_minor"], "{name}");
        assert_eq!(hex(&discovery.reserved), derived["reserved_8_15"], "{name}");
        assert_eq!(hex(&discovery.vendor), derived["vendor_specific_16_47"], "{name}");

        let features = derived["features"].as_array().unwrap();
        assert_eq!(discovery.descriptors().len(), features.len(), "{name}");
        let mut offset = 48;
        for (descriptor, expected) in discovery.descriptors().iter().zip(features) {
            let code = format!("0x{:04x}", descriptor.code.0);
            assert_eq!(expected["offset"], offset, "{name} {code}");
            assert_eq!(expected["code"].as_str().unwrap().to_lowercase(), code, "{name}");
            assert_eq!(expected["version_nibble"], descriptor.version(), "{name} {code}");
            assert_eq!(expected["reserved_nibble"], descriptor.minor(), "{name} {code}");
            assert_eq!(expected["length"], descriptor.length, "{name} {code}");
            assert_eq!(expected["data_hex"], hex(descriptor.data()), "{name} {code}");
            let cut = expected["cut_short_by"].as_u64().unwrap_or(0);
            assert_eq!(cut as usize, descriptor.missing(), "{name} {code}");
            if let Some(decoded) = expected["decoded"].as_object() {
                fields_agree(&format!("{name} {code}"), descriptor, decoded);
            }
            offset += 4 + usize::from(descriptor.length);
        }
        assert_eq!(offset, number("features_end_at"), "{name}");
    }
}

/// The script's names for fields, where they are not ours.
const SCRIPT_NAMES: [(&str, &str); 22] = [
    ("async_", "asynchronous"),
    ("acknak", "ack_nak"),
    ("buffer_mgmt", "buffer_management"),
    ("comid_mgmt", "com_id_management"),
    ("locking_supported", "supported"),
    ("locking_enabled", "enabled"),
    ("bit7", "hardware_reset"),
    ("base_comid", "base_com_id"),
    ("num_comids", "com_ids"),
    ("range_crossing_bit", "range_crossing"),
    ("num_locking_objects", "locking_objects"),
    ("max_size", "max_total_size"),
    ("num_admins", "admins"),
    ("num_users", "users"),
    ("sid_value_state", "sid_changed"),
    ("sid_blocked_state", "blocked"),
    ("range_c", "range_creation"),
    ("range_p", "range_present"),
    ("max_key_count", "max_keys"),
    ("unused_key_count", "unused_keys"),
    ("max_ranges_per_ns", "max_ranges_per_namespace"),
    ("sum_c", "single_user"),
];

fn fields_agree(what: &str, descriptor: &Descriptor, decoded: &serde_json::Map<String, Value>) {
    let ours = descriptor.fields();
    for (name, expected) in decoded {
        let name = SCRIPT_NAMES.iter().find(|(s, _)| s == name).map_or(name.as_str(), |(_, o)| o);
        let value = ours.iter().find(|(n, _)| *n == name).map(|(_, value)| value);
        let number = match expected {
            Value::String(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap(),
            other => other.as_u64().unwrap(),
        };
        let Some(value) = value else {
            // Bits that the descriptor's version does not have.
            assert!(number == 0, "{what}: {name} is not among {ours:?}");
            continue;
        };
        assert_eq!(as_number(value), Some(number), "{what}: {name}");
    }
}

fn as_number(value: &FieldValue) -> Option<u64> {
    match value {
        FieldValue::Flag(flag) => Some(u64::from(*flag)),
        FieldValue::Number(number) => Some(*number),
        FieldValue::ComId(com_id) => Some(u64::from(*com_id)),
        _ => None,
    }
}

/// The tools' names for fields, by feature.
const TEXT_NAMES: [(u16, &str, &str); 44] = [
    (0x0001, "ACKNAK", "ack_nak"),
    (0x0001, "ACKNACK", "ack_nak"),
    (0x0001, "ASYNC", "asynchronous"),
    (0x0001, "BufferManagement", "buffer_management"),
    (0x0001, "comIDManagement", "com_id_management"),
    (0x0001, "Streaming", "streaming"),
    (0x0001, "SYNC", "sync"),
    (0x0002, "Locked", "locked"),
    (0x0002, "LockingEnabled", "enabled"),
    (0x0002, "LockingSupported", "supported"),
    (0x0002, "MBRDone", "mbr_done"),
    (0x0002, "MBREnabled", "mbr_enabled"),
    (0x0002, "MediaEncrypt", "media_encryption"),
    (0x0002, "MBRAbsent", "mbr_shadowing_not_supported"),
    (0x0002, "MBR shadowing Not Supported", "mbr_shadowing_not_supported"),
    (0x0003, "Align", "align"),
    (0x0003, "Alignment Granularity", "alignment_granularity"),
    (0x0003, "Logical Block size", "logical_block_size"),
    (0x0003, "Lowest Aligned LBA", "lowest_aligned_lba"),
    (0x0100, "Range crossing", "range_crossing"),
    (0x0100, "Base comID", "base_com_id"),
    (0x0100, "comIDs", "com_ids"),
    (0x0200, "Base comID", "base_com_id"),
    (0x0200, "comIDs", "com_ids"),
    (0x0201, "ALL", "all"),
    (0x0201, "ANY", "any"),
    (0x0201, "Policy", "policy"),
    (0x0201, "Locking Objects", "locking_objects"),
    (0x0202, "Max Tables", "max_tables"),
    (0x0202, "Max Size Tables", "max_total_size"),
    (0x0202, "Table size alignment", "size_alignment"),
    (0x0203, "Base comID", "base_com_id"),
    (0x0203, "Initial PIN", "initial_pin"),
    (0x0203, "Reverted PIN", "reverted_pin"),
    (0x0203, "comIDs", "com_ids"),
    (0x0203, "Locking Admins", "admins"),
    (0x0203, "Locking Users", "users"),
    (0x0203, "Range Crossing", "range_crossing"),
    (0x0402, "SID Blocked State", "blocked"),
    (0x0402, "BlockSIDState", "blocked"),
    (0x0402, "SID Value State", "sid_changed"),
    (0x0402, "SIDvalueState", "sid_changed"),
    (0x0402, "Hardware Reset", "hardware_reset"),
    (0x0402, "HardReset", "hardware_reset"),
];

/// The number in a value as the script took it from a tool's text.
fn text_number(value: &Value) -> u64 {
    match value {
        Value::Bool(flag) => u64::from(*flag),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(hex) => {
                let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
                u64::from_str_radix(&hex[..end], 16).unwrap()
            }
            None => text.split(' ').next().unwrap().parse().unwrap(),
        },
        other => other.as_u64().unwrap(),
    }
}

/// What a record's text says of its features: (code, our name, number).
fn text_facts(record: &Record) -> BTreeSet<(u16, &'static str, u64)> {
    let mut facts = BTreeSet::new();
    let features = record.json["query_parsed_by_our_script"]["features"].as_object();
    for (code, fields) in features.into_iter().flatten() {
        let code = u16::from_str_radix(code.trim_start_matches("0x"), 16).unwrap();
        for (key, value) in fields.as_object().unwrap().iter().filter(|(key, _)| *key != "name") {
            let known = TEXT_NAMES.iter().find(|(c, k, _)| *c == code && k == key);
            let (_, _, name) =
                known.unwrap_or_else(|| panic!("{}: {code:#06x} {key} is new", record.name));
            facts.insert((code, *name, text_number(value)));
        }
    }
    facts
}

#[test]
fn what_tools_printed_is_read_back() {
    for record in drives().filter(|r| r.json.get("query_parsed_by_our_script").is_some()) {
        let report = report(&record);
        let query = query(&report).expect("the text is a part of the report");
        let name = &record.name;

        let ours: BTreeSet<_> = query
            .features
            .iter()
            .flat_map(|feature| {
                feature.fields.iter().map(|(field, value)| {
                    let number = as_number(value)
                        .unwrap_or_else(|| panic!("{name}: {field} = {value:?} is no number"));
                    (feature.code.0, field.as_str(), number)
                })
            })
            .collect();
        let theirs = text_facts(&record);
        assert_eq!(ours, theirs, "{name}");

        let parsed = &record.json["query_parsed_by_our_script"];
        let codes: BTreeSet<_> =
            query.features.iter().map(|f| format!("0x{:04x}", f.code.0)).collect();
        let expected: BTreeSet<_> =
            parsed["features"].as_object().unwrap().keys().map(|k| k.to_lowercase()).collect();
        assert_eq!(codes, expected, "{name}");
        let unknown = parsed["unknown_function_codes_ignored"].as_u64().unwrap_or(0);
        assert_eq!(query.unknown_features, unknown, "{name}");
        for (ours, key) in [
            (&query.tper_properties, "tper_properties"),
            (&query.host_properties, "host_properties"),
        ] {
            let ours: BTreeSet<_> = ours.iter().map(|(n, v)| (n.as_str(), *v)).collect();
            let theirs: BTreeSet<_> = parsed[key]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(n, v)| (n.as_str(), v.as_u64().unwrap()))
                .collect();
            assert_eq!(ours, theirs, "{name} {key}");
        }
    }
}

/// Where a record has both, the bytes say what a tool's text says.
#[test]
fn bytes_and_text_of_one_drive_agree() {
    let mut compared = 0;
    for (record, bytes) in discoveries() {
        let discovery = Discovery::parse(&bytes).unwrap();
        // One version of the tool prints ASYNC = Y whatever the bit; it spells this name its way.
        let text = record.json["query_text_raw"].as_str().unwrap_or_default();
        let async_is_wrong = text.contains("ACKNACK");
        for (code, name, number) in text_facts(&record) {
            let what = format!("{} {code:#06x} {name}", record.name);
            if async_is_wrong && name == "asynchronous" {
                continue;
            }
            let descriptor = discovery.descriptor(FeatureCode(code)).expect(&what);
            let fields = descriptor.fields();
            let value = match fields.iter().find(|(field, _)| *field == name) {
                Some((_, FieldValue::Missing)) => continue,
                Some((_, value)) => as_number(value).expect(&what),
                None => 0,
            };
            assert_eq!(value, number, "{what}");
            compared += 1;
        }
        let unknown = record.json["query_parsed_by_our_script"]["unknown_function_codes_ignored"]
            .as_u64()
            .unwrap_or(0) as usize;
        if unknown > 0 {
            let printed =
                record.json["query_parsed_by_our_script"]["features"].as_object().unwrap();
            let total = discovery.descriptors().len();
            assert_eq!(total, printed.len() + unknown, "{}", record.name);
        }
    }
    assert!(compared > 0 || corpus().is_none(), "no record has both bytes and text");
}

/// Rule 1: the same bytes come out of the decoded form, and out of our own descriptors.
#[test]
fn discovery_is_encoded_back() {
    for (Record { name, .. }, bytes) in discoveries() {
        let discovery = Discovery::parse(&bytes).unwrap();
        assert_eq!(discovery.to_bytes(), bytes, "{name}");

        let mut rebuilt = Discovery::new(discovery.vendor);
        let complete = discovery.descriptors().iter().take_while(|d| d.missing() == 0);
        for descriptor in complete {
            rebuilt.push(match descriptor.feature() {
                Feature::Raw(code) => {
                    Descriptor::raw(code, descriptor.version_byte, descriptor.data())
                }
                feature => {
                    Descriptor::new(&feature).with_version(descriptor.version(), descriptor.minor())
                }
            });
        }
        let rebuilt = rebuilt.to_bytes();
        assert!(rebuilt.len() >= 48 && bytes.len() >= rebuilt.len(), "{name}");
        assert_eq!(hex(&rebuilt[4..]), hex(&bytes[4..rebuilt.len()]), "{name}");
    }
}

/// Rule 2: unknown features in any order; nothing beyond the shorter of buffer and declared total.
#[test]
fn order_and_unknown_features_do_not_matter() {
    for (Record { name, .. }, bytes) in discoveries() {
        let discovery = Discovery::parse(&bytes).unwrap();
        let mut shuffled = Discovery::new(discovery.vendor);
        for descriptor in discovery.descriptors().iter().rev().filter(|d| d.missing() == 0) {
            shuffled.push(Descriptor::raw(FeatureCode(0xDEAD), 0x7F, &[0xFF; 6]));
            shuffled.push(descriptor.clone());
        }
        let mut bytes = shuffled.to_bytes();
        // Behind the declared end: what looks like features, and is none of them.
        bytes.extend([0x02, 0x03, 0x10, 0x10].repeat(20));
        let read = Discovery::parse(&bytes).unwrap();
        assert_eq!(read, shuffled, "{name}");
        for descriptor in discovery.descriptors().iter().filter(|d| d.missing() == 0) {
            assert_eq!(read.descriptor(descriptor.code), Some(descriptor), "{name}");
        }
    }
}

#[test]
fn com_packets_say_what_the_records_say() {
    for (name, message, bytes, tokens_alone) in messages() {
        let derived = &message["derived_by_our_script"];
        if derived.is_null() || message["first_offset"].as_u64().unwrap_or(0) > 0 {
            continue;
        }
        let number = |value: &Value| match value {
            Value::String(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap(),
            other => other.as_u64().unwrap(),
        };
        let mut payload = bytes.as_slice();
        if !tokens_alone {
            let Ok(com) = ComPacket::parse_prefix(&bytes) else {
                assert_eq!(message["complete"], false, "{name}");
                continue;
            };
            assert_eq!(u64::from(com.com_id), number(&derived["comid"]), "{name}");
            assert_eq!(u64::from(com.extension), number(&derived["comid_ext"]), "{name}");
            assert_eq!(u64::from(com.outstanding_data), derived["outstanding"], "{name}");
            assert_eq!(u64::from(com.min_transfer), derived["min_transfer"], "{name}");
            assert_eq!(u64::from(com.length), derived["length"], "{name}");
            assert_eq!(com.missing() == 0, message["complete"], "{name}");
            let Some(packet) = com.packets().next() else {
                assert!(derived["packet"].is_null(), "{name}");
                continue;
            };
            let packet = packet.unwrap();
            let expected = &derived["packet"];
            assert_eq!(u64::from(packet.tsn), number(&expected["tsn"]), "{name}");
            assert_eq!(u64::from(packet.hsn), number(&expected["hsn"]), "{name}");
            assert_eq!(u64::from(packet.length), expected["length"], "{name}");
            let sub_packet = packet.sub_packets().next().unwrap().unwrap();
            assert_eq!(u64::from(sub_packet.kind), derived["subpacket"]["kind"], "{name}");
            assert_eq!(u64::from(sub_packet.length), derived["subpacket"]["length"], "{name}");
            payload = sub_packet.payload();
        }
        tokens_agree(&name, payload, derived["tokens"].as_array().unwrap());
    }
}

fn tokens_agree(name: &str, payload: &[u8], expected: &[Value]) {
    let mut tokens = Tokens::new(payload);
    for (index, expected) in expected.iter().enumerate() {
        let what = format!("{name} token {index}");
        let token = match tokens.next().expect(&what) {
            Ok(spanned) => spanned.token,
            Err(error) => {
                assert!(matches!(error.kind, TokenErrorKind::Truncated { .. }), "{what}: {error}");
                assert_eq!(expected["truncated"], true, "{what}");
                break;
            }
        };
        match token {
            Token::Uint(value) => assert_eq!(expected["uint"], value, "{what}"),
            Token::Bytes(data) => {
                // The script lists only the head of long strings.
                let head = expected["bytes"].as_str().expect(&what);
                assert!(hex(data).starts_with(head), "{what}");
            }
            control => {
                let names = match control {
                    Token::StartList => "[",
                    Token::EndList => "]",
                    Token::StartName => "{",
                    Token::EndName => "}",
                    Token::Call => "CALL",
                    Token::EndOfData => "EOD",
                    Token::EndOfSession => "EOS",
                    other => other.kind(),
                };
                assert_eq!(expected["ctl"], names, "{what}");
            }
        }
    }
    assert!(tokens.next().is_none_or(|token| token.is_err()), "{name}: more tokens than recorded");
}

/// Rule 3: complete ComPackets decode, and mean the same when we encode them.
#[test]
fn complete_com_packets_are_encoded_back_to_the_same_meaning() {
    for (name, message, bytes, tokens_alone) in messages() {
        if message["complete"] != true || message["protocol"] != 1 {
            continue;
        }
        if tokens_alone {
            assert_eq!(all_tokens(&name, &encode(&name, &bytes)), all_tokens(&name, &bytes));
            continue;
        }
        let com = ComPacket::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        for packet in com.packets() {
            let packet = packet.unwrap();
            let sub_packets: Vec<_> = packet.sub_packets().map(Result::unwrap).collect();
            assert_eq!(sub_packets.len(), 1, "{name}");
            let payload = sub_packets[0].payload();
            let envelope = Envelope {
                com_id: com.com_id,
                extension: com.extension,
                tsn: packet.tsn,
                hsn: packet.hsn,
                outstanding_data: com.outstanding_data,
                min_transfer: com.min_transfer,
            };
            let ours = envelope.wrap(&encode(&name, payload));
            let again = ComPacket::parse(&ours).unwrap();
            let packet = again.packets().next().unwrap().unwrap();
            let sub_packet = packet.sub_packets().next().unwrap().unwrap();
            assert_eq!(all_tokens(&name, sub_packet.payload()), all_tokens(&name, payload));
            // And a person reads the same.
            let mut printer = Printer::new();
            let direction = direction(&message);
            let theirs = printed(printer.clone(), direction, com.com_id, &bytes);
            let ours = printed(printer.clone(), direction, com.com_id, &ours);
            assert_eq!(without_lengths(&ours), without_lengths(&theirs), "{name}");
            printer.sent(1, com.com_id, &bytes);
        }
    }
}

fn all_tokens<'a>(name: &str, payload: &'a [u8]) -> Vec<Token<'a>> {
    Tokens::new(payload)
        .map(|token| token.unwrap_or_else(|error| panic!("{name}: {error}")).token)
        .collect()
}

fn encode(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for token in all_tokens(name, payload) {
        encoder.token(token);
    }
    encoder.finish().to_vec()
}

fn direction(message: &Value) -> Direction {
    if message["dir"] == "send" { Direction::Send } else { Direction::Receive }
}

fn printed(mut printer: Printer, direction: Direction, com_id: u16, bytes: &[u8]) -> String {
    match direction {
        Direction::Send => printer.sent(1, com_id, bytes),
        Direction::Receive => printer.received(1, com_id, bytes),
    }
    .to_string()
}

/// Headers differ by padding; what they hold does not.
fn without_lengths(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("        ")).collect()
}

/// Rule 4: what is incomplete is called so, and what is there is shown.
#[test]
fn incomplete_answers_are_called_truncated() {
    for record in traces() {
        let report = report(&record);
        let entries = record.json["messages"].as_array().cloned().unwrap_or_default();
        for (part, entry) in report.parts.iter().zip(&entries) {
            let Part::Message(message) = part else { continue };
            let whole = entry["complete"] == true;
            let truncated = message.notes.iter().any(|note| note.contains("truncated"));
            assert_eq!(truncated, !whole, "{}: {message}", record.name);
        }
    }
    for (record, bytes) in discoveries() {
        let report = report(&record);
        let complete = record.json["level0"]["complete"] == true;
        let text = report.to_string();
        let missing = record.json["level0"]["missing_tail_bytes"].as_u64().unwrap();
        let note = format!(", {missing} are missing");
        assert_eq!(text.contains(&note), !complete, "{}: {text}", record.name);
        // Filled up to its declared length here, it is whole.
        let mut padded = bytes;
        padded.resize(record.json["level0"]["declared_total"].as_u64().unwrap() as usize, 0);
        assert_eq!(Discovery::parse(&padded).unwrap().missing_bytes(), 0, "{}", record.name);
    }
}

#[test]
fn security_protocol_lists() {
    for record in drives() {
        let list = &record.json["security_protocol_list"];
        let Some(text) = list["hex"].as_str() else { continue };
        let message = Printer::new().received(0, 0, &unhex(text)).to_string();
        for protocol in list["derived_by_our_script"]["protocols"].as_array().unwrap() {
            assert!(message.contains(protocol.as_str().unwrap()), "{}: {message}", record.name);
        }
    }
}

/// Every hex of the corpus with what is known of it.
fn all_bytes() -> Vec<(String, u8, u16, Direction, Vec<u8>)> {
    let mut all: Vec<_> = discoveries()
        .map(|(record, bytes)| (record.name, 1, 1, Direction::Receive, bytes))
        .collect();
    all.extend(messages().map(|(name, message, bytes, _)| {
        let protocol = message["protocol"].as_u64().unwrap_or(1) as u8;
        (name, protocol, 0x1000, direction(&message), bytes)
    }));
    all
}

/// Without a label the same bytes are told from their structure alone.
#[test]
fn raw_bytes_and_hex_text_decode_without_a_label() {
    for (record, bytes) in discoveries() {
        for input in [bytes.clone(), hex(&bytes).into_bytes(), dump(&bytes).into_bytes()] {
            let json = decode(&input).unwrap_or_else(|e| panic!("{}: {e}", record.name)).to_json();
            assert_eq!(json["parts"][0]["content"]["kind"], "discovery", "{}", record.name);
            let features = json["parts"][0]["content"]["features"].as_array().unwrap().len();
            let expected = &record.json["level0"]["derived_by_our_script"]["features"];
            assert_eq!(features, expected.as_array().unwrap().len(), "{}", record.name);
        }
    }
    for (name, message, bytes, tokens_alone) in messages() {
        if message["first_offset"].as_u64().unwrap_or(0) > 0 {
            continue;
        }
        let json = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}")).to_json();
        let kind = match (message["protocol"].as_u64(), tokens_alone) {
            (Some(0), _) => "security-protocols",
            (Some(0xEF), _) => "ata-security",
            (_, true) => "tokens",
            _ if bytes.len() < 20 => "com-packet-header",
            _ => "com-packet",
        };
        assert_eq!(json["parts"][0]["content"]["kind"], kind, "{name}");
        // A lone End of Session does not tell who sent it.
        if kind == "com-packet" && bytes.len() > 60 {
            let direction = json["parts"][0]["direction"].as_str().unwrap();
            let expected = if message["dir"] == "send" { "send" } else { "receive" };
            assert_eq!(direction, expected, "{name}");
        }
    }
}

/// Rows as a dump tool prints them.
fn dump(bytes: &[u8]) -> String {
    bytes
        .chunks(16)
        .enumerate()
        .map(|(row, chunk)| {
            let text: String = chunk
                .iter()
                .map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' })
                .collect();
            let bytes: Vec<_> = chunk.iter().map(|b| format!("{b:02x}")).collect();
            format!("{:08x}  {:<47}  |{text}|\n", row * 16, bytes.join(" "))
        })
        .collect()
}

#[test]
fn every_truncation_ends_in_an_answer() {
    for (name, protocol, specific, direction, bytes) in all_bytes() {
        for cut in 0..bytes.len() {
            no_panic(&name, protocol, specific, direction, &bytes[..cut], true);
        }
    }
}

#[test]
fn every_bit_flip_ends_in_an_answer() {
    for (name, protocol, specific, direction, bytes) in all_bytes() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            no_panic(&name, protocol, specific, direction, &flipped, bit % 8 == 7);
        }
    }
}

/// Decodes with and without a label; whatever comes out prints, and discovery keeps its bytes.
/// `all_forms` also takes the slow ones.
fn no_panic(
    name: &str,
    protocol: u8,
    specific: u16,
    direction: Direction,
    bytes: &[u8],
    all_forms: bool,
) {
    let mut printer = Printer::new();
    let message = match direction {
        Direction::Send => printer.sent(protocol, specific, bytes),
        Direction::Receive => printer.received(protocol, specific, bytes),
    };
    assert!(!message.to_string().is_empty(), "{name}");
    if let Ok(report) = decode(bytes) {
        assert!(!report.parts.is_empty(), "{name}");
        if all_forms {
            assert!(!report.to_string().is_empty(), "{name}");
            assert_eq!(report.to_json()["version"], 1, "{name}");
        }
    }
    if all_forms {
        assert!(!printer.fragment(direction, bytes).to_string().is_empty(), "{name}");
    }
    if let Ok(discovery) = Discovery::parse(bytes) {
        let out = discovery.to_bytes();
        assert_eq!(out, bytes[..out.len()], "{name}");
    }
}

/// Our own form of each record. Records that have no snapshot are listed and not compared: whoever
/// has other records can point `OPALBOX_CORPUS` at them. `INSTA_UPDATE=always` writes new ones.
#[test]
fn snapshots() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let update = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    let (mut compared, mut without) = (0, Vec::new());
    for record in drives().chain(traces()) {
        let name = format!("corpus__{}", record.name);
        if !update && !folder.join(format!("{name}.snap")).exists() {
            without.push(record.name);
            continue;
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, facts(&report(&record))));
        compared += 1;
    }
    if !without.is_empty() {
        println!("no snapshot of: {}", without.join(", "));
    }
    assert!(compared > 0 || corpus().is_none(), "no record of this corpus has a snapshot");
}

/// The parts of a report that we decoded; not the record's own words.
fn facts(report: &Report) -> String {
    let parts = report.parts.iter().filter(|part| match part {
        Part::Evidence { .. } => false,
        Part::Step(step) => !matches!(step, opalbox::decode::Step::Action(_)),
        _ => true,
    });
    parts.map(ToString::to_string).collect()
}
