// SPDX-License-Identifier: MIT OR Apache-2.0
//! Headers that someone changed: refused with a reason, never a panic, never without bound.

use opalbox::software::luks2::{Luks2, Luks2Error, Policy};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{edited, metadata, seal, volume, with_metadata};

/// Why `bytes` are refused.
fn refusal(bytes: Vec<u8>) -> String {
    match Luks2::open(bytes, Policy::default()) {
        Err(Luks2Error::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn what_the_policy_does_not_accept_is_refused_with_the_reason() {
    let bytes = volume().0.into_storage();
    type Edit = fn(&mut Value);
    let cases: &[(&str, Edit)] = &[
        ("cipher", |it| it["segments"]["0"]["encryption"] = "cipher_null-ecb".into()),
        ("cipher", |it| it["segments"]["0"]["encryption"] = "aes-cbc-essiv:sha256".into()),
        ("cipher", |it| it["keyslots"]["0"]["area"]["encryption"] = "cipher_null-ecb".into()),
        ("cipher", |it| {
            it["keyslots"]["0"]["area"].as_object_mut().unwrap().remove("encryption");
        }),
        ("re-encrypted", |it| {
            it["config"]["requirements"] = json!({"mandatory": ["online-reencrypt-v2"]})
        }),
        ("re-encrypted", |it| it["config"]["requirements"] = json!(["online-reencrypt"])),
        ("re-encrypted", |it| it["keyslots"]["0"]["type"] = "reencrypt".into()),
        ("requirements", |it| it["config"]["requirements"] = json!({"mandatory": ["opal"]})),
        ("requirements", |it| it["config"]["requirements"] = json!({"mandatory": "x"})),
        ("integrity", |it| it["segments"]["0"]["integrity"] = json!({"type": "hmac(sha256)"})),
        ("flag", |it| it["segments"]["0"]["flags"] = json!(["in-reencryption"])),
        ("type", |it| it["segments"]["0"]["type"] = "linear".into()),
        ("type", |it| it["segments"]["0"]["type"] = "hw-opal".into()),
        ("sectors", |it| it["segments"]["0"]["sector_size"] = 520.into()),
        ("sectors", |it| it["segments"]["0"]["sector_size"] = 8192.into()),
        ("inside the header", |it| it["segments"]["0"]["offset"] = "32768".into()),
        ("within a sector", |it| it["segments"]["0"]["offset"] = "2097664".into()),
        ("segment of", |it| it["segments"]["0"]["size"] = "0".into()),
        ("segment of", |it| it["segments"]["0"]["size"] = "1000".into()),
        ("segment of", |it| it["segments"]["0"]["size"] = "18446744073709547520".into()),
        ("sector numbers", |it| it["segments"]["0"]["iv_tweak"] = "18446744073709551615".into()),
        ("instead of one", |it| {
            it["segments"]["1"] = it["segments"]["0"].clone();
        }),
        ("instead of one", |it| it["segments"] = json!({})),
        ("no digest", |it| it["digests"] = json!({})),
        ("several digests", |it| it["digests"]["1"] = it["digests"]["0"].clone()),
        ("whole hash", |it| it["digests"]["0"]["digest"] = "AA==".into()),
        ("whole hash", |it| it["digests"]["0"]["digest"] = "".into()),
        ("salt", |it| it["digests"]["0"]["salt"] = "".into()),
        ("iterations", |it| it["digests"]["0"]["iterations"] = 1.into()),
        ("iterations", |it| it["digests"]["0"]["iterations"] = u32::MAX.into()),
        ("not there", |it| it["digests"]["0"]["keyslots"] = json!(["7"])),
        ("iterations", |it| it["keyslots"]["0"]["kdf"]["iterations"] = 10.into()),
        ("iterations", |it| it["keyslots"]["0"]["kdf"]["iterations"] = u32::MAX.into()),
        ("salt", |it| it["keyslots"]["0"]["kdf"]["salt"] = "AAAA".into()),
        ("memory", |it| {
            it["keyslots"]["0"]["kdf"] = json!({"type": "argon2id", "time": 4, "memory": u32::MAX,
                "cpus": 4, "salt": "AAAAAAAAAAAAAAAAAAAAAA=="});
        }),
        ("hours", |it| {
            it["keyslots"]["0"]["kdf"] = json!({"type": "argon2i", "time": u32::MAX,
                "memory": 1 << 20, "cpus": 4, "salt": "AAAAAAAAAAAAAAAAAAAAAA=="});
        }),
        ("lanes", |it| {
            it["keyslots"]["0"]["kdf"] = json!({"type": "argon2id", "time": 4, "memory": 1024,
                "cpus": 100, "salt": "AAAAAAAAAAAAAAAAAAAAAA=="});
        }),
        ("splitter", |it| it["keyslots"]["0"]["af"]["stripes"] = 1.into()),
        ("splitter", |it| it["keyslots"]["0"]["af"]["stripes"] = u64::MAX.into()),
        ("splitter", |it| {
            it["keyslots"]["0"].as_object_mut().unwrap().remove("af");
        }),
        ("key of", |it| it["keyslots"]["0"]["key_size"] = 1.into()),
        ("key of", |it| it["keyslots"]["0"]["key_size"] = u64::MAX.into()),
        ("key of", |it| it["keyslots"]["0"]["area"]["key_size"] = 16.into()),
        ("area of", |it| it["keyslots"]["0"]["area"]["size"] = "4096".into()),
        ("area of", |it| it["keyslots"]["0"]["area"]["offset"] = "18446744073709551615".into()),
        ("outside", |it| it["keyslots"]["0"]["area"]["offset"] = "0".into()),
        ("outside", |it| it["keyslots"]["0"]["area"]["offset"] = "2097152".into()),
        ("overlaps", |it| it["keyslots"]["1"] = it["keyslots"]["0"].clone()),
        ("priority", |it| it["keyslots"]["0"]["priority"] = 3.into()),
        ("metadata area", |it| it["config"]["json_size"] = "4096".into()),
        ("keyslots area", |it| it["config"]["keyslots_size"] = "1099511627776".into()),
        ("keyslots area", |it| it["config"]["keyslots_size"] = "1000".into()),
    ];
    for (reason, edit) in cases {
        let why = refusal(edited(&bytes, edit));
        assert!(why.contains(reason), "{why:?} does not say {reason:?}");
    }
}

#[test]
fn damaged_metadata_is_damage() {
    let bytes = volume().0.into_storage();
    let text = serde_json::to_vec(&metadata(&bytes)).unwrap();
    let mut cases: Vec<Vec<u8>> = vec![b"".to_vec(), b"{}".to_vec(), b"[]".to_vec(), b"x".to_vec()];
    cases.push(text[..text.len() - 1].to_vec());
    cases.push(vec![b'['; 12_000]);
    cases.push([&text[..], b"\0trailing"].concat());
    for edit in [
        |it: &mut Value| it["keyslots"]["32"] = it["keyslots"]["0"].clone(),
        |it: &mut Value| it["keyslots"]["00"] = it["keyslots"]["0"].clone(),
        |it: &mut Value| it["config"]["json_size"] = 12288.into(),
        |it: &mut Value| it["config"]["json_size"] = "+12288".into(),
        |it: &mut Value| it["segments"]["0"]["size"] = "-1".into(),
        |it: &mut Value| it["digests"]["0"]["digest"] = "***".into(),
        |it: &mut Value| it["digests"]["0"]["hash"] = "md5".into(),
        |it: &mut Value| it["keyslots"]["0"]["kdf"]["type"] = "scrypt".into(),
        |it: &mut Value| it["keyslots"]["0"]["kdf"]["iterations"] = (1u64 << 40).into(),
        |it: &mut Value| {
            it.as_object_mut().unwrap().remove("tokens");
        },
    ] {
        let mut value = metadata(&bytes);
        edit(&mut value);
        cases.push(serde_json::to_vec(&value).unwrap());
    }
    for text in cases {
        let opened = Luks2::open(with_metadata(&bytes, &text), Policy::default());
        assert!(matches!(opened, Err(Luks2Error::Damaged { .. })), "{opened:?}");
    }
}

/// A value from somewhere in the tree, and what to put there.
fn mutate(value: &mut Value, path: &[prop::sample::Index], new: Value) {
    let Some((step, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(step.index(map.len())).unwrap().clone();
            mutate(&mut map[&key], rest, new);
        }
        Value::Array(list) if !list.is_empty() => {
            let length = list.len();
            mutate(&mut list[step.index(length)], rest, new);
        }
        leaf => *leaf = new,
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u64..100_000).prop_map(Value::from),
        any::<u64>().prop_map(|it| it.to_string().into()),
        (0u64..4096).prop_map(|it| (it * 4096).to_string().into()),
        (0u64..40).prop_map(|it| it.to_string().into()),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(json!({})),
        Just(json!([])),
        Just(json!(["0"])),
        prop_oneof![
            Just("dynamic"),
            Just("crypt"),
            Just("luks2"),
            Just("raw"),
            Just("pbkdf2"),
            Just("argon2id"),
            Just("sha1"),
            Just("sha512"),
            Just("aes-xts-plain64"),
        ]
        .prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_metadata_panics(
        changes in prop::collection::vec(
            (prop::collection::vec(any::<prop::sample::Index>(), 1..5), any_value()), 1..4),
    ) {
        let bytes = template();
        let mut value = metadata(bytes);
        for (path, new) in changes {
            mutate(&mut value, &path, new);
        }
        let text = serde_json::to_vec(&value).unwrap();
        prop_assume!(text.len() < 0x3000);
        if let Ok(header) = Luks2::open(with_metadata(bytes, &text), Policy::default()) {
            // Whatever was accepted stays within the device's header and has a usable outline.
            let segment = header.segment();
            prop_assert!(segment.offset >= 0x8000);
            prop_assert!(segment.offset % u64::from(segment.sector_size) == 0);
            prop_assert!(header.keyslots().len() <= 32);
            let _ = (header.owner(), header.binding(), format!("{header:?}"));
        }
    }

    #[test]
    fn no_binary_header_panics(
        edits in prop::collection::vec((0usize..512, any::<u8>()), 1..8),
        sealed in any::<bool>(),
        second in any::<bool>(),
    ) {
        let mut bytes = template().to_vec();
        let copies: &[usize] = if second { &[0, 0x4000] } else { &[0] };
        for copy in copies {
            for (at, value) in &edits {
                bytes[copy + at] = *value;
            }
            if sealed {
                seal(&mut bytes[*copy..copy + 0x4000]);
            }
        }
        let _ = Luks2::open(bytes, Policy::default());
    }

    #[test]
    fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Luks2::open(with_metadata(template(), &text), Policy::default());
    }
}

/// One volume for all cases.
fn template() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| volume().0.into_storage())
}
