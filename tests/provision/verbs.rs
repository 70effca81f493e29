// SPDX-License-Identifier: MIT OR Apache-2.0
//! What else an owner does with a provisioned drive: shadow MBR, DataStore, erasing a range,
//! Block SID.

use std::fs;

use serde_json::json;

use crate::machine::Machine;

#[test]
fn the_shadow_mbr_covers_a_locked_drive() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("MBR00001");
    let device = drive.device();
    machine.json(&["drive", "provision", &device, "--yes-erase", "MBR00001"]);
    drive.write(0, 0x5A);

    let image = machine.path().join("image");
    let content: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(&image, &content).unwrap();
    let image = image.to_str().unwrap();
    assert_eq!(machine.json(&["mbr", "load", &device, image])["bytes"], 100_000);
    let shown = machine.json(&["mbr", "enable", &device]);
    assert_eq!((&shown["enabled"], &shown["done"]), (&json!(true), &json!(false)));
    assert_eq!(drive.read(0).unwrap(), content[..512], "the shadow covers block 0");

    let done = machine.json(&["mbr", "done", &device]);
    assert_eq!(done["done"], true);
    assert_eq!(drive.read(0).unwrap(), [0x5A; 512], "the drive's own blocks show");
    drive.power_cycle();
    assert_eq!(drive.read(0).unwrap(), content[..512], "the shadow is back after power-off");

    let copy = machine.path().join("copy");
    let to = copy.to_str().unwrap();
    machine.json(&["mbr", "read", &device, to, "--length", "100000"]);
    assert_eq!(fs::read(&copy).unwrap(), content);
    machine.opalbox(&["mbr", "read", &device, to]).exits(5);
    machine.json(&["mbr", "disable", &device]);
    assert_eq!(drive.read(0), None, "without the shadow the range is simply locked");

    let large = machine.path().join("large");
    fs::File::create(&large).unwrap().set_len(256 << 20).unwrap();
    machine.opalbox(&["mbr", "load", &device, large.to_str().unwrap()]).exits(9);
}

#[test]
fn the_data_store_keeps_what_hosts_store() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("STORE001");
    let device = drive.device();
    machine.json(&["drive", "provision", &device, "--yes-erase", "STORE001"]);
    let (from, to) = (machine.path().join("from"), machine.path().join("to"));
    fs::write(&from, b"kept in the drive").unwrap();
    let written = ["datastore", "write", &device, from.to_str().unwrap(), "--offset", "4096"];
    machine.json(&written);
    drive.power_cycle();
    let read =
        ["datastore", "read", &device, to.to_str().unwrap(), "--offset", "4096", "--length", "17"];
    machine.json(&read);
    assert_eq!(fs::read(&to).unwrap(), b"kept in the drive");
    let past = ["datastore", "read", &device, "/nowhere", "--offset", "99999999999"];
    machine.opalbox(&past).exits(1);
}

#[test]
fn an_erased_range_keeps_its_settings_and_loses_its_data() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("ERASE001");
    let device = drive.device();
    machine.json(&["drive", "provision", &device, "--yes-erase", "ERASE001"]);
    drive.write(2048, 0x5A);
    machine.opalbox(&["range", "erase", &device, "1"]).exits(7);
    machine.opalbox(&["range", "erase", &device, "1", "--yes-erase", "OTHER"]).exits(7);
    assert_eq!(drive.read(2048).unwrap(), [0x5A; 512], "nothing was lost unasked");

    drive.reset_counters();
    let plan = machine.json(&["range", "erase", &device, "1", "--plan"]);
    machine.json(&["range", "erase", &device, "1", "--yes-erase", "ERASE001"]);
    assert_eq!(plan["round_trips"], drive.traffic().pairs);
    assert_ne!(drive.read(2048).unwrap(), [0x5A; 512]);
    assert_eq!(machine.json(&["drive", "verify", &device])["ok"], true);
}

#[test]
fn block_sid_holds_until_the_power_cycle() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("BLOCK001");
    let device = drive.device();
    machine.json(&["drive", "block-sid", &device]);
    machine.json(&["drive", "block-sid", &device]);
    machine.opalbox(&["drive", "provision", &device, "--yes-erase", "BLOCK001"]).exits(4);
    drive.power_cycle();
    machine.json(&["drive", "provision", &device, "--yes-erase", "BLOCK001"]);
    machine.opalbox(&["drive", "block-sid", &device]).exits(9);
}
