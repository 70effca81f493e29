// SPDX-License-Identifier: MIT OR Apache-2.0
//! `docs/quirks.md` is true: every quirk has a row, every test it names exists, and every test
//! named after a quirk stands in that quirk's row.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How many quirks each part of the list has.
const PARTS: [(char, u32); 5] = [('A', 24), ('B', 24), ('C', 22), ('D', 20), ('E', 13)];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A row: what the host does, and the tests as (file, function).
type Row = (String, BTreeSet<(String, String)>);

fn rows() -> BTreeMap<String, Row> {
    let page = fs::read_to_string(here("../docs/quirks.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [quirk, what, tests] = cells[..] else { panic!("not three cells: {line}") };
        let tests = tests.trim_end_matches('|').split(", ").filter(|test| *test != "—");
        let tests = tests.map(|test| {
            let (function, file) = test.split_once(" in ").unwrap_or_else(|| panic!("{test}"));
            (file.trim_matches('`').to_owned(), function.trim_matches('`').to_owned())
        });
        let row = (what.to_owned(), tests.collect());
        assert!(rows.insert(quirk.to_owned(), row).is_none(), "{quirk} has two rows");
    }
    rows
}

/// Names of the test functions of a file.
fn functions(file: &str) -> BTreeSet<String> {
    let text =
        fs::read_to_string(here("tests").join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let mut after_attribute = false;
    let mut names = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("fn ").filter(|_| after_attribute) {
            names.insert(rest.split('(').next().unwrap().to_owned());
        }
        after_attribute = line == "#[test]" || (after_attribute && line.starts_with("#["));
    }
    names
}

/// The quirks a test is named after: `b4_b5_a_short_list` is about B4 and B5.
fn quirks_of(function: &str) -> Vec<String> {
    let is_quirk = |word: &&str| {
        let mut chars = word.chars();
        chars.next().is_some_and(|c| ('a'..='e').contains(&c))
            && word.len() > 1
            && chars.all(|c| c.is_ascii_digit())
    };
    function.split('_').take_while(is_quirk).map(str::to_uppercase).collect()
}

#[test]
fn every_quirk_has_one_row_and_no_other_has() {
    let rows = rows();
    let all: BTreeSet<String> = PARTS
        .iter()
        .flat_map(|(part, count)| (1..=*count).map(move |n| format!("{part}{n}")))
        .collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), all);
    for (quirk, (what, tests)) in rows {
        assert!(!what.is_empty(), "{quirk}");
        let elsewhere = what.strip_prefix("Not here: ").is_some_and(|reason| reason.len() > 10);
        assert!(elsewhere || !tests.is_empty(), "{quirk} has neither a test nor a reason");
    }
}

#[test]
fn every_test_named_exists() {
    for (quirk, (_, tests)) in rows() {
        for (file, function) in tests {
            assert!(functions(&file).contains(&function), "{quirk}: no {function} in {file}");
        }
    }
}

#[test]
fn every_test_named_after_a_quirk_is_in_its_row() {
    let rows = rows();
    let mut found = 0;
    for entry in fs::read_dir(here("tests")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if !file.ends_with(".rs") {
            continue;
        }
        for function in functions(&file) {
            for quirk in quirks_of(&function) {
                let (_, tests) =
                    rows.get(&quirk).unwrap_or_else(|| panic!("{function}: no {quirk}"));
                let listed = tests.contains(&(file.clone(), function.clone()));
                assert!(listed, "{quirk} lacks `{function}` in `{file}`");
                found += 1;
            }
        }
    }
    assert!(found > 40, "only {found} tests are named after quirks");
}
