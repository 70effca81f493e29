// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manual pages in `docs/man` are those of the command as it is.
//! `UPDATE_MANUAL=1 cargo test --test manual` writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn pages_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man");
    let pages = opalbox::cli::manual::pages().unwrap();
    if std::env::var_os("UPDATE_MANUAL").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &pages {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let there = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(there == *text, "docs/man/{name} is stale: UPDATE_MANUAL=1 writes it anew");
    }
    let expected: BTreeSet<_> = pages.iter().map(|(name, _)| name.clone()).collect();
    let there: BTreeSet<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".1"))
        .collect();
    assert_eq!(there, expected, "no page of a command that is gone");
}

#[test]
fn the_page_lists_every_exit_code() {
    let pages = opalbox::cli::manual::pages().unwrap();
    let (_, main) = pages.iter().find(|(name, _)| name == "opalbox.1").unwrap();
    for (_, meaning) in opalbox::cli::exit::Exit::ALL {
        let in_roff = meaning.replace('-', "\\-").replace('\'', "\\*(Aq");
        assert!(main.contains(&in_roff), "{meaning}");
    }
}

#[test]
fn completions_know_the_verbs() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
    {
        let mut script = Vec::new();
        opalbox::cli::manual::completions(shell, &mut script);
        let script = String::from_utf8(script).unwrap();
        for verb in ["provision", "doctor", "unlock", "lockbox", "--yes-erase"] {
            let verb = verb.trim_start_matches('-');
            assert!(script.contains(verb), "{verb} is missing for {shell}");
        }
    }
}
