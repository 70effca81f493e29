// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives that are not as they should be: reverted behind the lockbox's back, owned by somebody
//! else, blocked by the firmware; and destruction that nobody confirmed.

use opal::host::{Host, Identity};
use opalbox::transport::sim::SimTransport;
use serde_json::json;

use crate::emulator::Emulator;
use crate::machine::{Machine, Run};

#[test]
fn a_drive_reverted_behind_the_lockboxs_back() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("ODD00001");
    let device = drive.device();
    let provision = ["drive", "provision", &device, "--yes-erase", "ODD00001"];
    // Once while the factory's PIN is still remembered, once after a power cycle, when it is not.
    for cycle in [false, true] {
        machine.opalbox(&provision).ok();
        if cycle {
            drive.power_cycle();
            machine.opalbox(&["drive", "verify", &device]).ok();
        }
        revert_elsewhere(&machine, &drive);
        // Whoever uses it now has data on it.
        drive.write(7, 0x77);

        let found = machine.json(&["drive", "doctor", &device]);
        assert_eq!((&found["condition"], &found["owner"]), (&json!("unowned"), &json!("nobody")));
        let note = &found["notes"][0];
        assert_eq!(note["problem"], true);
        assert!(note["what"].as_str().unwrap().contains("UNPROTECTED"), "{note}");
        assert!(found["next"].as_str().unwrap().contains("drive revert"), "{found}");
        let text = machine.opalbox(&["drive", "list", &device]).ok().out;
        assert!(text.contains("UNPROTECTED"), "{text}");

        drive.reset_counters();
        let refused = machine.opalbox(&provision[..3]).exits(4);
        assert!(refused.err.contains("UNPROTECTED") && refused.err.contains("drive revert"));
        assert_eq!(drive.traffic().sessions, 0, "no attempt is spent on it");
        assert_eq!(drive.read(7).unwrap(), [0x77; 512]);

        let verify = machine.opalbox(&["drive", "verify", &device]).exits(8);
        assert!(verify.out.contains("UNPROTECTED"), "{verify:?}");
        machine.opalbox(&["drive", "revert", &device, "--yes-erase", "ODD00001"]).ok();
        assert_eq!(machine.json(&["key", "show"])["keys"], json!([]));
    }
    machine.opalbox(&provision).ok();
    machine.opalbox(&["drive", "verify", &device]).ok();
}

#[test]
fn a_drive_of_somebody_else() {
    let Some(machine) = Machine::start() else { return };
    let Some(other) = Machine::start() else { return };
    let drive = machine.drive("ODD00002");
    let device = drive.device();
    other.opalbox(&["drive", "provision", &device, "--yes-erase", "ODD00002"]).ok();

    assert_eq!(machine.json(&["drive", "doctor", &device])["owner"], "somebody-else");
    drive.reset_counters();
    let refused = machine.opalbox(&["drive", "provision", &device, "--yes-erase", "ODD00002"]);
    let refused = refused.exits(4);
    assert!(refused.err.contains("has an owner already"), "{refused:?}");
    assert!(refused.err.contains("revert --psid"), "{refused:?}");
    assert_eq!(drive.traffic().sessions, 0, "no attempt is spent on it");
    machine.opalbox(&["unlock", &device]).exits(6);
    machine.opalbox(&["drive", "revert", &device, "--yes-erase", "ODD00002"]).exits(6);
    other.opalbox(&["drive", "verify", &device]).ok();
}

/// Owned without locking being active: only SID was changed.
#[test]
fn a_drive_whose_sid_somebody_changed() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("ODD00003");
    let mut host = host(&drive);
    let mut session = host.start::<opal::host::AdminSp>().open().unwrap();
    let msid = session.msid().unwrap();
    session.authenticate(opal::host::Authority::SID, &msid).unwrap();
    let pin = opal::Pin::new(b"somebody else's").unwrap();
    session.set_pin(opal::host::Authority::SID, &pin).unwrap();
    session.close().unwrap();

    let device = drive.device();
    assert_eq!(machine.json(&["drive", "doctor", &device])["owner"], "somebody-else");
    let refused =
        machine.opalbox(&["drive", "provision", &device, "--yes-erase", "ODD00003"]).exits(4);
    assert!(refused.err.contains("SID's PIN is not the factory's"), "{refused:?}");
    assert_eq!(machine.json(&["key", "show"])["keys"], json!([]));
}

#[test]
fn a_drive_whose_sid_the_firmware_blocks() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("ODD00004");
    let device = drive.device();
    host(&drive).block_sid(false, false).unwrap();
    let found = machine.json(&["drive", "doctor", &device]);
    assert!(found["notes"].to_string().contains("blocks SID"), "{found}");
    let provision = ["drive", "provision", &device, "--yes-erase", "ODD00004"];
    let refused = machine.opalbox(&provision).exits(4);
    assert!(refused.err.contains("blocks SID") && refused.err.contains("Block SID"));
    assert_eq!(machine.json(&["key", "show"])["keys"], json!([]), "nothing was begun");

    drive.power_cycle();
    machine.opalbox(&provision).ok();
    // Owned by us and blocked: the ranges still open, what needs SID is refused in words.
    drive.power_cycle();
    host(&drive).block_sid(false, false).unwrap();
    machine.opalbox(&["unlock", &device]).ok();
    let revert = ["drive", "revert", &device, "--yes-erase", "ODD00004"];
    let refused = machine.opalbox(&revert).exits(4);
    assert!(refused.err.contains("blocks SID"), "{refused:?}");
    machine.opalbox(&provision[..3]).exits(4);
    drive.power_cycle();
    machine.opalbox(&["drive", "verify", &device]).ok();
    machine.opalbox(&revert).ok();
}

#[test]
fn destruction_wants_the_right_serial() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("ODD00005");
    let device = drive.device();
    drive.write(0, 0x42);
    let untouched = |run: Run| {
        let run = run.exits(7);
        assert_eq!(drive.traffic().pairs, 0, "{run:?}");
        assert_eq!(drive.read(0).unwrap(), [0x42; 512]);
        assert_eq!(machine.json(&["key", "show"])["keys"], json!([]));
        run
    };
    drive.reset_counters();
    let wrong = untouched(machine.opalbox(&["drive", "provision", &device, "--yes-erase", "ODD5"]));
    assert!(wrong.err.contains("ODD5") && wrong.err.contains("ODD00005"), "{wrong:?}");
    let nobody = untouched(machine.opalbox(&["drive", "provision", &device]));
    assert!(nobody.err.contains("no terminal") && nobody.err.contains("--yes-erase ODD00005"));
    // The serial on a pipe is no terminal either.
    untouched(machine.opalbox_fed(&["drive", "provision", &device], b"ODD00005\n"));
    let psid = machine.path().join("label");
    std::fs::write(&psid, &drive.psid).unwrap();
    let psid = psid.to_str().unwrap();
    let revert = ["drive", "revert", &device, "--psid", "--pin-file", psid];
    untouched(machine.opalbox(&[&revert[..], &["--yes-erase", "WRONG"]].concat()));
    untouched(machine.opalbox(&revert));
}

/// Refused PINs are counted, so that the drive's own limit is never reached.
#[test]
fn the_attempt_budget_is_spent_before_the_drives() {
    let Some(machine) = Machine::start() else { return };
    let Some(other) = Machine::start() else { return };
    let drive = machine.drive("ODD00006");
    let device = drive.device();
    let provision = ["drive", "provision", &device, "--yes-erase", "ODD00006"];
    machine.opalbox(&provision).ok();
    drive.power_cycle();
    machine.opalbox(&["drive", "verify", &device]).ok();
    revert_elsewhere(&machine, &drive);
    other.opalbox(&provision).ok();

    // Five tries lock the drive out. However often this is run, two are made.
    machine.opalbox(&["unlock", &device]).exits(2);
    machine.opalbox(&["unlock", &device]).exits(2);
    for _ in 0..5 {
        let spent = machine.opalbox(&["unlock", &device]).exits(10);
        assert!(spent.out.contains("power it off and on"), "{spent:?}");
    }
    other.opalbox(&["drive", "verify", &device]).ok();
    drive.power_cycle();
    machine.opalbox(&["unlock", &device]).exits(2);
    other.opalbox(&["unlock", &device]).ok();
}

/// A PSID revert by a command that knows no lockbox.
fn revert_elsewhere(machine: &Machine, drive: &Emulator) {
    let output = crate::machine::opalbox()
        .arg("--store")
        .arg(machine.path().join("no store"))
        .args(["drive", "revert", &drive.device(), "--psid", "--pin-file", "-"])
        .args(["--yes-erase", &drive.serial])
        .stdin({
            let label = machine.path().join("label of the drive");
            std::fs::write(&label, &drive.psid).unwrap();
            std::fs::File::open(label).unwrap()
        })
        .output()
        .unwrap();
    let run = Run::new(&["drive", "revert", "--psid"], output).ok();
    assert!(!run.out.contains("credentials"), "no lockbox was there: {}", run.out);
}

fn host(drive: &Emulator) -> Host<SimTransport> {
    Host::new(SimTransport::connect(drive.socket()).unwrap(), Identity::default())
}
