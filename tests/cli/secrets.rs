// SPDX-License-Identifier: MIT OR Apache-2.0
//! How secrets reach the command: files, standard input, descriptors, systemd credentials.

use std::process::Command;

use crate::emulator::Emulator;
use crate::machine::{Machine, Run};

/// A PSID is read from wherever it is given, in the form that labels have.
#[test]
fn a_psid_from_everywhere() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("PSID0001");
    let revert = Revert { machine: &machine, drive: &drive };
    let label = &drive.psid;
    revert.with_stdin(label).ok();
    revert.with_stdin(&format!("{label}\n")).ok();
    let grouped: Vec<&str> = (0..8).map(|n| &label[4 * n..4 * n + 4]).collect();
    revert.with_stdin(&grouped.join("-")).ok();
    revert.with_stdin(&format!("{} \r\n", grouped.join(" "))).ok();

    let file = machine.path().join("label");
    std::fs::write(&file, label).unwrap();
    let path = file.to_str().unwrap();
    machine.opalbox(&revert.arguments(&["--pin-file", path])).ok();
    let output = Command::new("sh")
        .arg("-c")
        .arg("exec 7<\"$1\"; shift; exec \"$@\" --pin-fd 7")
        .args(["sh", path, env!("CARGO_BIN_EXE_opalbox"), "--store"])
        .arg(machine.store())
        .args(revert.arguments(&[]))
        .output()
        .unwrap();
    Run::new(&["--pin-fd"], output).ok();

    let credentials = machine.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("opalbox-psid.pin"), label).unwrap();
    let output = crate::machine::opalbox()
        .env("CREDENTIALS_DIRECTORY", &credentials)
        .arg("--store")
        .arg(machine.store())
        .args(revert.arguments(&[]))
        .output()
        .unwrap();
    Run::new(&["credential"], output).ok();
}

/// What cannot be a PSID is not tried; what is wrong is tried once.
#[test]
fn a_psid_that_is_none() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("PSID0002");
    let revert = Revert { machine: &machine, drive: &drive };
    drive.reset_counters();
    for wrong in ["", "SHORT", &drive.psid[1..], &format!("{}0", drive.psid), &"x".repeat(5000)] {
        let run = revert.with_stdin(wrong).exits(2);
        assert!(!wrong.is_empty() || run.err.contains("this has 0"), "{run:?}");
    }
    let nobody = machine.opalbox(&revert.arguments(&[])).exits(2);
    assert!(nobody.err.contains("--pin-fd"), "{nobody:?}");
    machine.opalbox(&revert.arguments(&["--pin-file", "/nonexistent"])).exits(2);
    machine.opalbox(&revert.arguments(&["--pin-fd", "77"])).exits(2);
    machine.opalbox(&revert.arguments(&["--pin-fd", "3", "--pin-file", "x"])).exits(1);
    assert_eq!(drive.traffic().sessions, 0);

    // Letters keep their case: a label has capitals.
    let small = revert.with_stdin(&drive.psid.to_lowercase()).exits(2);
    assert!(small.err.contains("capital"), "{small:?}");
    assert!(!small.err.contains(&drive.psid.to_lowercase()), "it is not repeated");
    assert_eq!(drive.traffic().pairs, 1, "one attempt");
    revert.with_stdin(&drive.psid).ok();
}

/// A lockbox with a passphrase, for machines without a TPM.
#[test]
fn a_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let right = file("right", "correct horse battery staple");
    let run = |arguments: &[&str], passphrase: &std::path::Path| {
        let output = crate::machine::opalbox()
            .arg("--store")
            .arg(folder.path().join("store"))
            .arg("--passphrase-file")
            .arg(passphrase)
            .args(arguments)
            .output()
            .unwrap();
        Run::new(arguments, output)
    };
    let short = run(&["lockbox", "init", "--provider", "file"], &file("short", "abc"));
    assert_ne!(short.code, Some(0));
    assert!(!folder.path().join("store/lockbox.db").exists() || short.err.contains("passphrase"));
    let made = run(&["lockbox", "init", "--provider", "file"], &right).ok();
    assert!(made.out.contains("Warning"), "it says what it does not protect: {}", made.out);
    run(&["lockbox", "check"], &right).ok();
    // Files count byte for byte, so a trailing newline is another passphrase.
    for wrong in ["correct horse battery staple\n", "wrong horse battery staple", ""] {
        let run = run(&["unlock"], &file("wrong", wrong));
        assert!(matches!(run.code, Some(2 | 6)), "{run:?}");
        assert!(!run.err.contains("staple"), "{run:?}");
    }
}

struct Revert<'a> {
    machine: &'a Machine,
    drive: &'a Emulator,
}

impl Revert<'_> {
    fn with_stdin(&self, psid: &str) -> Run {
        self.machine.opalbox_fed(&self.arguments(&["--pin-file", "-"]), psid.as_bytes())
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let device = Box::leak(self.drive.device().into_boxed_str());
        let all = ["drive", "revert", device, "--psid", "--yes-erase", &self.drive.serial];
        all.iter().chain(more).copied().collect()
    }
}
