// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text that query tools print about a drive's discovery and properties, read back into the
//! names that our own decoder uses, so that both can be compared.

use opal::wire::discovery::{FeatureCode, FieldValue};

/// What a tool printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryText {
    /// Features, in the order printed.
    pub features: Vec<TextFeature>,
    /// The drive's communication properties.
    pub tper_properties: Vec<(String, u64)>,
    /// The host's, as the drive echoed them.
    pub host_properties: Vec<(String, u64)>,
    /// How many features the tool saw and did not know.
    pub unknown_features: u64,
}

/// A feature as a tool printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFeature {
    /// Feature code.
    pub code: FeatureCode,
    /// Fields by our names; a key we have no name for keeps the tool's.
    pub fields: Vec<(String, FieldValue)>,
}

/// Reads `text`. Lines that say nothing of the kind are skipped.
pub(super) fn parse(text: &str) -> QueryText {
    let mut query = QueryText::default();
    let mut section = Section::None;
    for line in text.lines() {
        if let Some(code) = feature_code(line) {
            query.features.push(TextFeature { code, fields: Vec::new() });
            section = Section::Feature;
            continue;
        }
        match line.trim() {
            heading if heading.starts_with("TPer Properties") => section = Section::Tper,
            heading if heading.starts_with("Host Properties") => section = Section::Host,
            heading if heading.contains("Unknown function codes") => {
                query.unknown_features = first_number(heading).unwrap_or(0);
                section = Section::None;
            }
            _ => {
                let dividers = match section {
                    // Names and values of properties have no blanks inside.
                    Section::Tper | Section::Host => &[" "][..],
                    _ => &[", ", ". ", "  "],
                };
                for (key, value) in pairs(line, dividers) {
                    query.add(section, &key, &value);
                }
            }
        }
    }
    query
}

#[derive(Clone, Copy)]
enum Section {
    None,
    Feature,
    Tper,
    Host,
}

impl QueryText {
    fn add(&mut self, section: Section, key: &str, value: &str) {
        match section {
            Section::Feature => {
                if let Some(feature) = self.features.last_mut() {
                    let name = field_name(feature.code, key).unwrap_or(key);
                    feature.fields.push((name.to_owned(), field_value(name, value)));
                }
            }
            Section::Tper => self.tper_properties.extend(property(key, value)),
            Section::Host => self.host_properties.extend(property(key, value)),
            Section::None => {}
        }
    }
}

/// A heading names the feature and its code in parentheses.
fn feature_code(line: &str) -> Option<FeatureCode> {
    let (name, rest) = line.split_once("(0x")?;
    let digits = rest.split_once(')')?.0;
    if name.contains('=') || digits.len() != 4 {
        return None;
    }
    u16::from_str_radix(digits, 16).ok().map(FeatureCode)
}

/// `key = value` pairs of a line.
fn pairs(line: &str, dividers: &[&str]) -> Vec<(String, String)> {
    let mut pieces: Vec<String> = Vec::new();
    for (index, piece) in line.split('=').enumerate() {
        if index == 0 {
            pieces.push(piece.trim().to_owned());
            continue;
        }
        // What follows an equals sign is a value and, behind a divider, the next key.
        let piece = piece.trim();
        let divider = dividers.iter().filter_map(|d| piece.find(d)).min();
        match divider {
            Some(at) => {
                let (value, key) = piece.split_at(at);
                pieces.push(value.trim().to_owned());
                pieces.push(key.trim_start_matches([',', '.', ' ']).trim().to_owned());
            }
            None => pieces.push(piece.trim_end_matches([',', '.']).to_owned()),
        }
    }
    pieces
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [key, value] if !key.is_empty() && !value.is_empty() => {
                Some((key.clone(), value.clone()))
            }
            _ => None,
        })
        .collect()
}

fn property(key: &str, value: &str) -> Option<(String, u64)> {
    Some((key.to_owned(), value.parse().ok()?))
}

fn first_number(text: &str) -> Option<u64> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let digits = text.get(start..)?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

/// Y and N, hexadecimal numbers, decimal numbers with something behind them, words.
fn field_value(name: &str, value: &str) -> FieldValue {
    let number = match value.strip_prefix("0x") {
        Some(hex) => {
            let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            hex.get(..end).and_then(|digits| u64::from_str_radix(digits, 16).ok())
        }
        None => value.split(' ').next().and_then(|word| word.parse().ok()),
    };
    match (value, number) {
        ("Y", _) => FieldValue::Flag(true),
        ("N", _) => FieldValue::Flag(false),
        (_, Some(number))
            if name == "sid_changed" || name == "blocked" || name == "hardware_reset" =>
        {
            FieldValue::Flag(number != 0)
        }
        (_, Some(number)) if name == "base_com_id" => {
            u16::try_from(number).map_or(FieldValue::Number(number), FieldValue::ComId)
        }
        (_, Some(number)) => FieldValue::Number(number),
        (text, None) => FieldValue::Text(text.to_owned()),
    }
}

/// Our name of a field for what tools call it; they spell several ways.
fn field_name(code: FeatureCode, key: &str) -> Option<&'static str> {
    let key: String =
        key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    Some(match (code, key.as_str()) {
        (FeatureCode::TPER, "acknak" | "acknack") => "ack_nak",
        (FeatureCode::TPER, "async") => "asynchronous",
        (FeatureCode::TPER, "buffermanagement") => "buffer_management",
        (FeatureCode::TPER, "comidmanagement") => "com_id_management",
        (FeatureCode::TPER, "streaming") => "streaming",
        (FeatureCode::TPER, "sync") => "sync",
        (FeatureCode::LOCKING, "locked") => "locked",
        (FeatureCode::LOCKING, "lockingenabled") => "enabled",
        (FeatureCode::LOCKING, "lockingsupported") => "supported",
        (FeatureCode::LOCKING, "mbrdone") => "mbr_done",
        (FeatureCode::LOCKING, "mbrenabled") => "mbr_enabled",
        (FeatureCode::LOCKING, "mbrabsent" | "mbrshadowingnotsupported") => {
            "mbr_shadowing_not_supported"
        }
        (FeatureCode::LOCKING, "mediaencrypt") => "media_encryption",
        (FeatureCode::GEOMETRY, "align") => "align",
        (FeatureCode::GEOMETRY, "alignmentgranularity") => "alignment_granularity",
        (FeatureCode::GEOMETRY, "logicalblocksize") => "logical_block_size",
        (FeatureCode::GEOMETRY, "lowestalignedlba") => "lowest_aligned_lba",
        (FeatureCode::SINGLE_USER_MODE, "all") => "all",
        (FeatureCode::SINGLE_USER_MODE, "any") => "any",
        (FeatureCode::SINGLE_USER_MODE, "policy") => "policy",
        (FeatureCode::SINGLE_USER_MODE, "lockingobjects") => "locking_objects",
        (FeatureCode::DATA_STORE, "maxtables") => "max_tables",
        (FeatureCode::DATA_STORE, "maxsizetables") => "max_total_size",
        (FeatureCode::DATA_STORE, "tablesizealignment") => "size_alignment",
        (FeatureCode::BLOCK_SID, "sidblockedstate" | "blocksidstate") => "blocked",
        (FeatureCode::BLOCK_SID, "sidvaluestate") => "sid_changed",
        (FeatureCode::BLOCK_SID, "hardwarereset" | "hardreset") => "hardware_reset",
        (_, "basecomid") => "base_com_id",
        (_, "comids" | "numberofcomids") => "com_ids",
        (_, "rangecrossing") => "range_crossing",
        (_, "initialpin") => "initial_pin",
        (_, "revertedpin") => "reverted_pin",
        (_, "lockingadmins") => "admins",
        (_, "lockingusers") => "users",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_back() {
        let query = parse(
            "/dev/x SATA Some Drive\n\
             TPer function (0x0001)\n    ACKNAK = N, ASYNC = N. BufferManagement = N, \
             comIDManagement  = N, Streaming = Y, SYNC = Y\n\
             Geometry function (0x0003)\n    Align = Y, Alignment Granularity = 8 (4096), \
             Logical Block size = 512\n\
             OPAL 2.0 function (0x0203)\n    Base comID = 0x1004, Initial PIN = 0x0\\00, comIDs = 1\n\
             **** 2 **** Unknown function codes IGNORED\n\n\
             TPer Properties:\n  MaxComPacketSize = 66048  MaxPackets = 1\n  \
             MaxMethods = 1 MaxSessions = 4\n  MaxSubpackets =\n",
        );
        let fields = |index: usize| query.features[index].fields.clone();
        assert_eq!(fields(0)[3], ("com_id_management".into(), FieldValue::Flag(false)));
        assert_eq!(fields(0)[2], ("buffer_management".into(), FieldValue::Flag(false)));
        assert_eq!(fields(0).len(), 6);
        assert_eq!(fields(1)[1], ("alignment_granularity".into(), FieldValue::Number(8)));
        assert_eq!(fields(2)[0], ("base_com_id".into(), FieldValue::ComId(0x1004)));
        assert_eq!(fields(2)[1], ("initial_pin".into(), FieldValue::Number(0)));
        assert_eq!(query.unknown_features, 2);
        let expected =
            [("MaxComPacketSize", 66048), ("MaxPackets", 1), ("MaxMethods", 1), ("MaxSessions", 4)];
        assert_eq!(query.tper_properties, expected.map(|(n, v)| (n.to_owned(), v)));
    }
}
