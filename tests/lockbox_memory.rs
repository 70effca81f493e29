// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this process's memory holds of the keys after use: nothing. One test, in a process of its
//! own, since it reads all of it.

#[path = "support/swtpm.rs"]
mod swtpm;

#[path = "lockbox/support.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use opalbox::lockbox::tpm::{ChildProgram, TpmRunner};
use opalbox::lockbox::{
    EpochKeys, InitOptions, Kind, Lockbox, NEK_LEN, OpenOptions, Origin, Scope, Status,
};
use opalbox::secret::Secret;

use support::{Answers, place, tpm_provider};
use swtpm::Swtpm;

/// The needles are kept masked, so that the scan does not find itself.
const MASK: u8 = 0xa7;

#[test]
fn no_key_stays_in_memory() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    let runner = || TpmRunner::Child(ChildProgram::new(Path::new(env!("CARGO_BIN_EXE_opalbox"))));
    let mut options = InitOptions::new(tpm_provider(&tpm, false), Answers::right());
    options.runner = runner();
    let lockbox = Lockbox::init(&dir, options).unwrap();
    let secret = Secret::random(32).unwrap();
    let needle: Vec<u8> = secret.expose().iter().map(|byte| byte ^ MASK).collect();
    lockbox.stage("drive", "SID", Kind::DrivePin, &secret, Origin::Generated).unwrap();
    lockbox.activate("drive", "SID", 1, None).unwrap();
    drop((lockbox, secret));

    let open = || {
        let options = OpenOptions { runner: runner(), ..OpenOptions::default() };
        Lockbox::open(&dir, options).unwrap()
    };
    let lockbox = open();
    let status = lockbox.status().unwrap();
    let opened = lockbox.credential_secret("drive", "SID", 1).unwrap();
    // The control: while both are in use, the scan finds them.
    let (secrets, keys) = scan(&needle, &status);
    assert!(secrets >= 1, "the scan sees a secret in use");
    assert!(keys >= 1, "the scan sees a key in use");
    drop((lockbox, opened));
    assert_eq!(scan(&needle, &status), (0, 0), "secrets and keys left after use");
}

/// How often the secret and the domain's key are in this process's writable memory. The key is
/// known by its public tag alone: whatever gives the tag is the key.
fn scan(needle: &[u8], status: &Status) -> (usize, usize) {
    let hex = |text: &str| -> [u8; 16] {
        std::array::from_fn(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap())
    };
    let scope = Scope {
        fleet: hex(&status.fleet),
        node: hex(&status.node),
        domain: status.domains[0].name.clone(),
        epoch: status.domains[0].epoch,
    };
    let tag = hex(&status.domains[0].tag);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let (mut secrets, mut keys) = (0, 0);
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let (Some(range), Some(flags)) = (fields.next(), fields.next()) else { continue };
        let Some((from, to)) = range.split_once('-') else { continue };
        if !flags.starts_with("rw") {
            continue;
        }
        let from = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        // The buffer would be found again in itself.
        bytes.iter_mut().for_each(|byte| *byte ^= MASK);
        secrets += bytes.windows(needle.len()).filter(|window| *window == needle).count();
        for window in bytes.windows(NEK_LEN).step_by(8).filter(|window| is_random(window)) {
            let mut candidate = Secret::from_slice(window);
            candidate.expose_mut().iter_mut().for_each(|byte| *byte ^= MASK);
            keys += usize::from(EpochKeys::new(scope.clone(), candidate).tag() == tag);
        }
        // A later buffer may hold a copy of this one and unmask it.
        std::hint::black_box(&mut bytes).fill(0);
    }
    (secrets, keys)
}

/// Whether these bytes could be a key: 32 random ones have fewer different values in about one case of 200.
fn is_random(bytes: &[u8]) -> bool {
    // Most of memory is zero.
    if bytes[..8] == [MASK; 8] {
        return false;
    }
    let mut seen = [false; 256];
    bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|seen| **seen).count() >= 26
}
