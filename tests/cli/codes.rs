// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each exit code from a situation of its own. Code 3, out of memory, has none that a test can
//! bring about: Rust ends a process that cannot allocate. Code 10 is made in `tests/provision/odd.rs`.

use opalbox::cli::exit::Exit;

use crate::machine::{Machine, Run};

fn exits(run: Run, exit: Exit) -> Run {
    run.exits(exit as i32)
}

#[test]
fn every_code_has_its_situation() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("CODE0001");
    let device = drive.device();
    let run = |arguments: &[&str], exit| exits(machine.opalbox(arguments), exit);
    let erase = ["--yes-erase", "CODE0001"];

    run(&["drive", "doctor", &device], Exit::Done);
    run(&["--version"], Exit::Done);
    run(&["drive", "provision"], Exit::Usage);
    run(&["drive", "provision", &device, "--range", "1+1"], Exit::Usage);
    run(&["drive", "show", "sim:gone"], Exit::Device);
    run(&["drive", "show", "/dev/null"], Exit::Device);
    run(&["lockbox", "init", "--tcti", &machine.tpm.tcti()], Exit::Busy);
    run(&["unlock", &device], Exit::Lockbox);
    run(&["drive", "provision", &device], Exit::NotConfirmed);
    let unknown_user = ["drive", "provision", &device, "--user", "99"];
    run(&unknown_user, Exit::Unsupported);

    run(&[&["drive", "provision", &device, "--range", "0+8M"][..], &erase].concat(), Exit::Done);
    let taken = ["range", "create", &device, "2", "4M+8M"];
    run(&[&taken[..], &erase].concat(), Exit::Busy);
    let partly = run(&["unlock", &device, "sim:gone"], Exit::Partial);
    assert!(partly.out.contains("unlocked") && partly.err.contains("sim:gone"), "{partly:?}");
    let unreadable = run(&["drive", "list", &device, "sim:gone"], Exit::Partial);
    assert!(unreadable.out.contains("CODE0001"), "{unreadable:?}");

    // A credential that the drive no longer has.
    let label = machine.path().join("label");
    std::fs::write(&label, "WRONGWRONGWRONGWRONGWRONGWRONG00").unwrap();
    let psid = ["drive", "revert", &device, "--psid", "--pin-file", label.to_str().unwrap()];
    run(&[&psid[..], &erase].concat(), Exit::Secret);
}

/// A drive in a session of somebody else is busy, until that program is taken for dead.
#[test]
fn a_session_that_nobody_ends() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("CODE0002");
    let device = drive.device();
    machine.opalbox(&["drive", "provision", &device, "--yes-erase", "CODE0002"]).ok();
    drive.power_cycle();
    let transport = opalbox::transport::sim::SimTransport::connect(drive.socket()).unwrap();
    let mut host = opal::host::Host::new(transport, opal::host::Identity::default());
    let session = host.start::<opal::host::LockingSp>().open().unwrap();
    std::mem::forget(session);

    let start = std::time::Instant::now();
    let run = machine.opalbox(&["unlock", &device]).ok();
    assert!(run.err.contains("open session"), "it is said: {run:?}");
    assert!(start.elapsed() >= std::time::Duration::from_secs(3), "a program that works has time");
}

#[test]
fn an_image_is_no_device_and_a_directory_is_no_store() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("CODE0003");
    let image = drive.image().to_str().unwrap();
    exits(machine.opalbox(&["drive", "show", image]), Exit::Device);
    let folder = machine.path().join("empty");
    std::fs::create_dir(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    exits(machine.opalbox(&["--store", folder, "lockbox", "check"]), Exit::Lockbox);
    // `drive list` looks into a store if there is one; an empty folder is none.
    exits(machine.opalbox(&["--store", folder, "drive", "list", &drive.device()]), Exit::Done);
}

#[test]
fn json_of_failures() {
    let Some(machine) = Machine::start() else { return };
    let failed = machine.opalbox(&["-o", "json", "drive", "show", "sim:gone"]).exits(4);
    let document = failed.document();
    assert_eq!(document["error"]["exit"], 4);
    assert!(document["error"]["what"].as_str().unwrap().contains("gone"));
    assert!(failed.out.starts_with("{\n  \"version\": 1,"), "{}", failed.out);
    assert!(!failed.err.is_empty(), "words for people as well");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = crate::machine::opalbox().args(["completions", shell]).output().unwrap();
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("provision") && script.contains("yes-erase"), "{shell}");
    }
    let output = crate::machine::opalbox().args(["completions", "dos"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
