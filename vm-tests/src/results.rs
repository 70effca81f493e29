// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tests found, kept one file a test, and the page of them all: `docs/interoperability.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{Context as _, Error};
use crate::guest::{Expectation, Outcome};

/// What a test is about, in the words of the page.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) client: String,
    pub(crate) path: String,
    /// The test's own name, of its thread.
    pub(crate) test: String,
}

/// The file of a test's result below the cache folder.
fn file(cache: &Path, test: &str) -> PathBuf {
    cache.join("results").join(format!("{}.json", test.replace("::", ".")))
}

/// Forgets what an earlier run found.
pub(crate) fn forget(cache: &Path, row: &Row) {
    // It need not have been there.
    let _ = fs::remove_file(file(cache, &row.test));
}

/// Keeps what a run found.
pub(crate) fn keep(cache: &Path, row: &Row, outcome: &Outcome) -> Result<(), Error> {
    let steps: Vec<Value> = outcome
        .steps
        .iter()
        .map(|step| {
            let refused = step.expectation == Expectation::Fails;
            json!({ "name": step.name, "refused": refused, "passed": step.passed() })
        })
        .collect();
    let result = json!({
        "test": row.test,
        "client": row.client,
        "path": row.path,
        "kernel": outcome.kernel,
        "passed": outcome.passed(),
        "steps": steps,
    });
    let path = file(cache, &row.test);
    fs::create_dir_all(path.parent().unwrap_or(cache)).context("creating the results folder")?;
    fs::write(&path, format!("{result:#}\n")).context(format!("writing {}", path.display()))
}

/// The page of all results below `cache`, and whether every test ran and passed.
///
/// # Errors
/// There are none, or one cannot be read.
pub fn page(cache: &Path) -> Result<(String, bool), Error> {
    let folder = cache.join("results");
    let mut rows = Vec::new();
    for entry in fs::read_dir(&folder).context("listing results; run the VM tests first")? {
        let path = entry.context("listing results")?.path();
        let what = format!("reading {}", path.display());
        let text = fs::read_to_string(&path).context(&what)?;
        let row: Value = serde_json::from_str(&text).map_err(std::io::Error::from).context(what)?;
        rows.push(row);
    }
    // Tests come and go; what is gone has no row, and what was not run says so.
    let declared: Vec<String> = declared().collect();
    rows.retain(|row| declared.contains(&text(row, "test")));
    for test in declared {
        if !rows.iter().any(|row| text(row, "test") == test) {
            rows.push(json!({ "test": test, "client": "-", "path": "-", "kernel": "-" }));
        }
    }
    rows.sort_by_key(|row| [text(row, "client"), text(row, "path"), text(row, "test")]);
    Ok((render(&rows), rows.iter().all(passed)))
}

/// Every test that has a row, by its source.
fn declared() -> impl Iterator<Item = String> {
    const HEAD: &str = "#[test]\nfn ";
    let sources = [
        ("foreign", include_str!("../tests/vm/foreign.rs")),
        ("own", include_str!("../tests/vm/own.rs")),
    ];
    sources.into_iter().flat_map(|(module, source)| {
        source.split(HEAD).skip(1).filter_map(move |rest| {
            let name = rest.split('(').next()?;
            Some(format!("{module}::{name}"))
        })
    })
}

fn render(rows: &[Value]) -> String {
    let mut page = String::from(
        "<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->\n\
         <!-- Written by `vm report` from the results of `make vm-test`; do not edit. -->\n\
         # Interoperability\n\n\
         Clients against the emulated drive, each in a guest with the Linux kernel named, as Debian \
         ships them. Every row is one test of `vm-tests`; what it does is below.\n\n\
         | Client | Path to the drive | Kernel | Operations | Result | Test |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in rows {
        let steps = steps(row);
        let result = match steps.iter().find(|step| !passed(step)) {
            _ if passed(row) => "passes".to_owned(),
            _ if row.get("passed").is_none() => "not run".to_owned(),
            Some(step) => format!("**fails** at: {}", text(step, "name")),
            None => "**fails**".to_owned(),
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {result} | `{}` |",
            text(row, "client"),
            text(row, "path"),
            text(row, "kernel"),
            steps.len(),
            text(row, "test"),
        );
    }
    page.push_str("\n## What each test does\n\nIn order; *in italics* what must be refused.\n");
    for row in rows.iter().filter(|row| row.get("passed").is_some()) {
        let names: Vec<String> = steps(row)
            .iter()
            .map(|step| match step.get("refused").and_then(Value::as_bool) {
                Some(true) => format!("*{}*", text(step, "name")),
                _ => text(step, "name"),
            })
            .collect();
        let _ = writeln!(page, "\n**{}**: {}.", text(row, "test"), names.join(", "));
    }
    page
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().replace('|', "\\|")
}

fn passed(value: &Value) -> bool {
    value.get("passed").and_then(Value::as_bool) == Some(true)
}

fn steps(row: &Value) -> &[Value] {
    row.get("steps").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_shown() {
        let good = json!({ "test": "a::b", "client": "c", "path": "p", "kernel": "6.1",
            "passed": true, "steps": [{ "name": "one|two", "refused": true, "passed": true }] });
        let bad = json!({ "test": "a::c", "passed": false,
            "steps": [{ "name": "write", "refused": false, "passed": false }] });
        let text = render(&[good, bad]);
        assert!(text.contains("| c | p | 6.1 | 1 | passes | `a::b` |"), "{text}");
        assert!(text.contains("*one\\|two*"), "{text}");
        assert!(text.contains("**fails** at: write"), "{text}");
    }

    #[test]
    fn a_test_without_a_result_is_listed_as_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("results");
        fs::create_dir_all(&results).unwrap();
        let declared: Vec<String> = declared().collect();
        let (ran, rest) = declared.split_first().unwrap();
        let good = json!({ "test": ran, "passed": true, "steps": [] });
        fs::write(results.join("ran.json"), good.to_string()).unwrap();
        let gone = json!({ "test": "foreign::of_long_ago", "passed": true, "steps": [] });
        fs::write(results.join("gone.json"), gone.to_string()).unwrap();
        let (text, all) = page(folder.path()).unwrap();
        assert!(!all && !text.contains("of_long_ago"), "{text}");
        assert_eq!(text.matches("| not run |").count(), rest.len());
    }

    #[test]
    fn the_page_lists_exactly_the_tests_that_exist() {
        let page = include_str!("../../docs/interoperability.md");
        let mut listed: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| "))
            .filter_map(|line| line.strip_suffix("` |")?.rsplit('`').next())
            .collect();
        let mut exist: Vec<String> = declared().collect();
        exist.sort();
        listed.sort_unstable();
        assert_eq!(listed, exist, "run `make vm-test`, which writes the page anew");
        assert!(!page.contains("**fails**"), "a failing result was committed");
    }
}
