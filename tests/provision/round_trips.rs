// SPDX-License-Identifier: MIT OR Apache-2.0
//! How little goes over the wire, by the drive's own counters.

use crate::emulator::{Emulator, Traffic};
use crate::machine::Machine;

#[test]
fn provisioning_does_what_the_plan_says() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("TRIPS001");
    let did = as_planned(&machine, &drive, &["drive", "provision", &drive.device()], &[]);
    assert!(did.pairs <= 26 && did.sessions <= 5, "{did:?}");
    println!("one range and its user: {did:?}");
    machine.opalbox(&["drive", "verify", &drive.device()]).ok();

    let further = ["range", "create", &drive.device(), "2", "8M+8M", "--user", "1"];
    // The whole drive is range 1: no place is left, and the refusal comes from the drive.
    machine.opalbox(&[&further[..], &["--yes-erase", "TRIPS001"]].concat()).exits(4);

    let did = as_planned(&machine, &drive, &["drive", "revert", &drive.device()], &[]);
    println!("revert: {did:?}");
}

#[test]
fn taking_ownership_alone() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("TRIPS002");
    let provision = ["drive", "provision", &drive.device(), "--no-range"];
    let did = as_planned(&machine, &drive, &provision, &[]);
    assert!(did.pairs <= 12, "{did:?}");
    println!("no range: {did:?}");
}

#[test]
fn unlocking_one_range_and_eight() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("TRIPS003");
    let device = drive.device();
    let erase = ["--yes-erase", "TRIPS003"];
    let provision = ["drive", "provision", &device, "--range", "0+4M"];
    machine.opalbox(&[&provision[..], &erase].concat()).ok();
    drive.power_cycle();
    let one = measured(&drive, || drop(machine.opalbox(&["unlock", &device]).ok()));
    println!("unlock of one range: {one:?}");
    assert!(one.pairs <= 4 && one.sessions == 1, "{one:?}");

    for range in 2..=8 {
        let (number, extent) = (range.to_string(), format!("{}M+4M", 4 * (range - 1)));
        let create = ["range", "create", &device, &number, &extent, "--user", "1"];
        machine.opalbox(&[&create[..], &erase].concat()).ok();
    }
    drive.power_cycle();
    let eight = measured(&drive, || {
        let opened = machine.json(&["unlock", &device]);
        assert_eq!(opened["drives"][0]["ranges"].as_array().unwrap().len(), 8);
    });
    println!("unlock of eight ranges: {eight:?}");
    assert!(eight.pairs <= 11 && eight.sessions == 1, "{eight:?}");
    for range in 0..8 {
        assert!(drive.read(range * 8192).is_some(), "range {}", range + 1);
    }
    machine.opalbox(&["drive", "verify", &device]).ok();
}

/// Runs a command after its own `--plan`, and holds it to that.
fn as_planned(machine: &Machine, drive: &Emulator, command: &[&str], more: &[&str]) -> Traffic {
    let planned = measured(drive, || {
        machine.opalbox(&[command, more, &["--plan"]].concat()).ok();
    });
    assert_eq!((planned.pairs, planned.sessions), (0, 0), "a plan only looks");
    let plan = machine.json(&[command, more, &["--plan"]].concat());
    let did = measured(drive, || {
        machine.opalbox(&[command, more, &["--yes-erase", &drive.serial]].concat()).ok();
    });
    assert_eq!(did.pairs, plan["round_trips"].as_u64().unwrap(), "{plan:#}");
    assert_eq!(did.sessions, plan["sessions"].as_array().unwrap().len() as u64, "{plan:#}");
    did
}

fn measured(drive: &Emulator, work: impl FnOnce()) -> Traffic {
    drive.reset_counters();
    work();
    drive.traffic()
}
