// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replays the fuzzers' corpus with the code the fuzzers run: seeds made from the golden exchanges,
//! whatever the fuzzers found, and the bytes of real drives where they are present.
//!
//! `OPALBOX_CORPUS_UPDATE=1` writes the seeds for the fuzzers anew after a golden file changed.

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library of the fuzz package too")]
mod fuzz;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use opal::tper::{MemoryPlatform, Profile, Tper};
use opal::wire::ComPacket;

fn here(parts: &[&str]) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(parts.iter().collect::<PathBuf>())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// One message of a golden file: whether the host sends it, and its bytes.
type Message = (bool, Vec<u8>);

/// Messages of a golden file, of either form: `[request]` and `[answer]` sections, or `>` and `<`.
fn messages(path: &Path) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        if let Some(section) = line.strip_prefix('[') {
            messages.push((section.starts_with("request"), Vec::new()));
        } else if line.starts_with(['>', '<']) {
            messages.push((line.starts_with('>'), Vec::new()));
        } else if let Some((_, bytes)) = messages.last_mut() {
            let words = line.split([';', '#']).next().unwrap().split_whitespace();
            let words = words.filter(|word| word.len() == 2);
            bytes.extend(words.map(|word| u8::from_str_radix(word, 16).expect(word)));
        }
    }
    assert!(messages.iter().all(|(_, bytes)| !bytes.is_empty()), "{}", path.display());
    messages
}

/// The tokens of each sub-packet of a ComPacket.
fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Ok(com) = ComPacket::parse_prefix(bytes) else { return Vec::new() };
    let subs = com.packets().flatten().flat_map(|p| p.sub_packets().flatten().collect::<Vec<_>>());
    subs.map(|sub| sub.payload().to_vec()).filter(|tokens| !tokens.is_empty()).collect()
}

fn frame(operation: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[operation], &length[..], body].concat()
}

/// Every seed: its path below `corpus/`, and its bytes.
fn seeds() -> BTreeMap<String, Vec<u8>> {
    let mut seeds = BTreeMap::new();
    let mut opened = Vec::new();
    let golden = files(&here(&["tests", "golden"]));
    for path in &golden {
        if path.file_stem().unwrap() == "host_start_session_anybody" {
            opened = messages(path).pop().unwrap().1;
        }
    }
    assert!(!opened.is_empty());
    for path in golden {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let messages = messages(&path);
        for (index, (_, bytes)) in messages.iter().enumerate() {
            seeds.insert(format!("packets/{name}-{index}"), bytes.clone());
            for tokens in payloads(bytes) {
                seeds.insert(format!("tokens/{name}-{index}"), tokens);
            }
        }
        let printed = messages.iter().map(|(sent, b)| frame(if *sent { 0 } else { 0x80 }, b));
        seeds.insert(format!("printer/{name}"), printed.collect::<Vec<_>>().concat());

        let requests = messages.iter().filter(|(sent, _)| *sent);
        let requests: Vec<_> = requests.map(|(_, bytes)| frame(0, bytes)).collect();
        // A drive that is new, and one in use.
        for drive in 0..2u8 {
            let input = [&[drive][..], &requests.concat()].concat();
            seeds.insert(format!("tper_input/{name}-{drive}"), input);
        }
        let answers = messages.iter().filter(|(sent, _)| !*sent);
        let answers: Vec<_> = answers.map(|(_, bytes)| frame(0, bytes)).collect();
        for choice in 0..14u8 {
            let input = [&[choice][..], &frame(0, &opened), &answers.concat()].concat();
            // The same answers suit every operation; some are enough to begin with.
            if usize::from(choice) == name.len() % 14 || name.contains("get") {
                seeds.insert(format!("method_answers/{name}-{choice}"), input);
            }
        }
    }
    let platform = MemoryPlatform::new(1, b"PSID");
    let discovery = Tper::manufacture(Profile::opal2(), platform).unwrap().discovery();
    seeds.insert("discovery/opal2".into(), discovery.clone());
    seeds.insert("discovery/opal2-cut".into(), discovery[..discovery.len() - 4].to_vec());
    seeds.insert("discovery/every-code".into(), every_code());
    seeds
}

/// A descriptor of every code with a layout, its data counting up.
fn every_code() -> Vec<u8> {
    let codes = (1..=4).chain(0x0100..=0x0105).chain(0x0200..=0x0203).chain(0x0300..=0x0305);
    let mut body = Vec::new();
    for code in codes.chain(0x0400..=0x040A).chain([0x0006, 0xC001]) {
        body.extend(u16::to_be_bytes(code));
        body.extend([0x20, 32]);
        body.extend(1..=32u8);
    }
    let mut answer = (body.len() as u32 + 44).to_be_bytes().to_vec();
    answer.extend([0, 0, 0, 1]);
    answer.resize(48, 0);
    answer.extend(body);
    answer
}

#[test]
fn every_target_has_seeds() {
    let seeds = seeds();
    if env::var_os("OPALBOX_CORPUS_UPDATE").is_some() {
        for (name, bytes) in &seeds {
            let path = here(&["fuzz", "corpus"]).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
    for (target, _) in fuzz::TARGETS {
        assert!(seeds.keys().any(|name| name.starts_with(target)), "{target} has no seed");
        assert!(!files(&here(&["fuzz", "corpus", target])).is_empty(), "{target} has no corpus");
    }
}

#[test]
fn every_file_of_the_corpus_is_harmless() {
    // The seeds as the golden files have them now, whether or not they were written.
    let mut seeds = seeds();
    for (target, run) in fuzz::TARGETS {
        for path in files(&here(&["fuzz", "corpus", target])) {
            let name = format!("{target}/{}", path.file_name().unwrap().to_str().unwrap());
            seeds.entry(name).or_insert_with(|| fs::read(&path).unwrap());
        }
        for (_, bytes) in seeds.iter().filter(|(name, _)| name.split('/').next() == Some(target)) {
            // Cut anywhere and with any one bit turned it is harmless as well: a little fuzzing.
            run(bytes);
            for at in (0..bytes.len()).step_by(bytes.len() / 6 + 1) {
                run(&bytes[..at]);
                let mut turned = bytes.clone();
                turned[at] ^= 1 << (at % 8);
                run(&turned);
            }
        }
    }
}

/// What real drives said, for every target: the targets take any bytes.
#[test]
fn bytes_of_real_drives_are_harmless() {
    let path = match env::var_os("OPALBOX_CORPUS") {
        Some(path) => PathBuf::from(path),
        None => here(&["..", "..", "shared", "data"]),
    };
    if !path.is_dir() {
        let ci = env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!ci, "no corpus at {}; set OPALBOX_CORPUS", path.display());
        println!("skipped: no corpus at {}; set OPALBOX_CORPUS", path.display());
        return;
    }
    let mut found = 0;
    for folder in ["drives", "traces"].map(|name| path.join(name)).iter().filter(|p| p.is_dir()) {
        for file in files(folder) {
            for bytes in hex_strings(&fs::read_to_string(&file).unwrap_or_default()) {
                found += 1;
                for (target, run) in fuzz::TARGETS {
                    run(&bytes);
                    if matches!(target, "method_answers" | "printer" | "tper_input") {
                        let length = bytes.len().min(60_000);
                        for choice in 0..14 {
                            run(&[&[choice][..], &frame(0, &bytes[..length])].concat());
                        }
                    }
                }
            }
        }
    }
    assert!(found > 0, "no hex in {}", path.display());
}

/// JSON strings that are hex bytes and nothing else, at least a header long.
fn hex_strings(text: &str) -> Vec<Vec<u8>> {
    let strings = text.split('"').filter(|s| s.len() >= 40 && s.len() % 2 == 0);
    let hex = strings.filter(|s| s.bytes().all(|b| b.is_ascii_hexdigit()));
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.map(|s| s.as_bytes().chunks(2).map(byte).collect()).collect()
}
