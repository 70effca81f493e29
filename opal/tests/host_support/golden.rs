// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads `tests/golden/*.txt`: exchanges byte by byte, typed from the specification.
//!
//! A file has `[sections]`. In a section every line is hex bytes, `|` between fields for the eye,
//! then `;` and a comment. Lines that begin with `#` are comments too.

use std::fs;
use std::path::PathBuf;

/// The bytes of `section` in `golden/NAME.txt`.
pub(crate) fn golden(name: &str, section: &str) -> Vec<u8> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.txt")].iter().collect();
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut found = false;
    let mut bytes = Vec::new();
    for line in text.lines() {
        let line = line.split([';', '#']).next().unwrap().trim();
        if let Some(title) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            found = found || title == section;
            if found && title != section {
                break;
            }
        } else if found {
            let fields = line.split_whitespace().filter(|field| *field != "|");
            bytes.extend(fields.map(|hex| u8::from_str_radix(hex, 16).expect(hex)));
        }
    }
    assert!(!bytes.is_empty(), "{name}.txt has no section [{section}]");
    bytes
}

/// The same, padded with zeros to whole blocks, as it is transferred.
pub(crate) fn golden_transfer(name: &str, section: &str) -> Vec<u8> {
    let mut bytes = golden(name, section);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
