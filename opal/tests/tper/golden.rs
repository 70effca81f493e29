// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole exchanges, byte for byte, from `golden/tper_*.txt`.

use opal::spec::{authority, c_pin, method, sp};
use opal::tper::Profile;

use crate::support::{Bench, MSID, profile};

/// Plays a file: what begins with `>` is sent, what begins with `<` must come back.
pub(crate) fn play(bench: &mut Bench, text: &str) {
    let mut steps: Vec<(char, String, Vec<u8>)> = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
        if let Some(title) = line.strip_prefix(['>', '<']) {
            steps.push((line.chars().next().unwrap(), title.trim().into(), Vec::new()));
            continue;
        }
        let bytes = line.split(';').next().unwrap();
        let bytes = bytes.split_whitespace().filter(|word| word.len() == 2);
        let bytes = bytes.map(|word| u8::from_str_radix(word, 16).unwrap());
        steps.last_mut().unwrap().2.extend(bytes);
    }
    assert!(steps.len() >= 2);
    for pair in steps.chunks(2) {
        let [(">", request), ("<", answer)] =
            [0, 1].map(|i| (if pair[i].0 == '>' { ">" } else { "<" }, &pair[i]))
        else {
            panic!("a file goes > < > <");
        };
        let got = bench.exchange(&request.2);
        assert_eq!(got, answer.2, "answer to {:?}: {:02X?}", request.1, got);
    }
}

/// A drive of two ranges on large media, as the examples have it.
fn example() -> Profile {
    let mut profile = profile();
    profile.ranges = 2;
    profile.blocks = 1 << 32;
    profile
}

#[test]
fn properties() {
    play(&mut Bench::new(example()), include_str!("../golden/tper_properties.txt"));
}

#[test]
fn anybody_reads_the_msid() {
    play(&mut Bench::new(example()), include_str!("../golden/tper_anybody.txt"));
}

#[test]
fn take_ownership_and_activate() {
    let mut bench = Bench::new(example());
    play(&mut bench, include_str!("../golden/tper_take_ownership.txt"));
    assert!(bench.tper.is_active());
}

#[test]
fn wrong_pin() {
    let mut bench = Bench::activated(example(), b"new-owner-password");
    bench.power_cycle();
    play(&mut bench, include_str!("../golden/tper_wrong_pin.txt"));
}

#[test]
fn administrator_sets_up_a_range() {
    let mut bench = Bench::activated(example(), b"secret");
    // A fresh power-on numbers sessions from 0x1001, as the examples do.
    bench.power_cycle();
    bench.start(sp::LOCKING, None).unwrap();
    play(&mut bench, include_str!("../golden/tper_admin1.txt"));
    assert!(!bench.tper.is_active());
}

#[test]
fn a_wrong_proof_is_a_success_that_says_false() {
    let mut bench = Bench::activated(example(), b"another");
    bench.power_cycle();
    bench.start(sp::LOCKING, None).unwrap();
    play(&mut bench, include_str!("../golden/tper_authenticate_false.txt"));
}

#[test]
fn start_of_a_transaction() {
    let mut bench = Bench::new(example());
    bench.start(sp::ADMIN, None).unwrap();
    play(&mut bench, include_str!("../golden/tper_transaction.txt"));
}

#[test]
fn revert() {
    let mut bench = Bench::activated(example(), b"owner");
    let session = bench.start(sp::ADMIN, Some((authority::SID, b"owner"))).unwrap();
    bench.set_pin(session, c_pin::SID, MSID).unwrap();
    bench.end(session);
    bench.power_cycle();
    play(&mut bench, include_str!("../golden/tper_revert.txt"));
    assert!(!bench.tper.is_active());
    assert_eq!(bench.tper.open_sessions(), 0);
    let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    assert!(bench.call(session, sp::LOCKING, method::ACTIVATE, |_| {}).is_ok());
}
