// SPDX-License-Identifier: MIT OR Apache-2.0
//! A drive's life under the command, from the factory to the factory, checked by its JSON.

use serde_json::{Value, json};

use crate::machine::Machine;

#[test]
fn from_factory_to_factory() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("LIFE0001");
    let device = drive.device();
    let doctor = |condition: &str, owner: &str| {
        let found = machine.json(&["drive", "doctor", &device]);
        assert_eq!((&found["condition"], &found["owner"]), (&json!(condition), &json!(owner)));
        assert_eq!(found["encrypts"], true);
    };

    doctor("unowned", "nobody");
    let listed = machine.json(&["drive", "list", &device]);
    let row = only(&listed["drives"]);
    assert_eq!((&row["serial"], &row["sed"]), (&json!("LIFE0001"), &json!(true)));
    assert_eq!((&row["bytes"], &row["state"]), (&json!(64 << 20), &json!("unprotected")));

    let done = machine.json(&["drive", "provision", &device, "--yes-erase", "LIFE0001"]);
    assert_eq!(done["serial"], "LIFE0001");
    assert_eq!(done["protection"], "self-encrypting");
    assert_eq!(done["credentials"], json!(["Admin1", "SID", "User1"]));
    let range = only(&done["ranges"]);
    let expected = json!({
        "number": 1, "start": 0, "length": 131_072,
        "read_lock_enabled": true, "write_lock_enabled": true,
        "read_locked": false, "write_locked": false, "locks_at_power_off": true,
    });
    assert_eq!(*range, expected);
    doctor("unlocked", "this-lockbox");
    assert_eq!(machine.json(&["drive", "verify", &device])["ok"], true);

    drive.write(2048, 0x5A);
    drive.power_cycle();
    doctor("locked", "this-lockbox");
    assert_eq!(drive.read(2048), None, "locked by the loss of power");
    let ranges = machine.json(&["range", "list", &device]);
    assert_eq!(ranges["ranges"][1]["read_locked"], true);

    let unlocked = machine.json(&["unlock"]);
    assert_eq!(only(&unlocked["drives"])["ranges"], json!([1]));
    assert_eq!(drive.read(2048).unwrap(), [0x5A; 512]);
    assert_eq!(machine.json(&["drive", "verify", &device])["ok"], true);

    let locked = machine.json(&["range", "lock", &device, "1"]);
    assert_eq!((&locked["locked"], &locked["ranges"]), (&json!(true), &json!([1])));
    assert_eq!(drive.read(2048), None);
    machine.json(&["range", "unlock", &device]);
    assert_eq!(drive.read(2048).unwrap(), [0x5A; 512]);
    machine.json(&["range", "lock", &device, "1", "--access", "write"]);
    assert!(drive.read(2048).is_some(), "only writing is locked");

    let reverted = machine.json(&["drive", "revert", &device, "--yes-erase", "LIFE0001"]);
    assert_eq!((&reverted["serial"], &reverted["forgotten"]), (&json!("LIFE0001"), &json!(true)));
    assert_ne!(drive.read(2048).unwrap(), [0x5A; 512], "the data is gone");
    doctor("unowned", "nobody");
    assert_eq!(machine.json(&["key", "show"])["keys"], json!([]));
    assert_eq!(machine.json(&["lockbox", "check"])["ok"], true);
}

#[test]
fn provisioning_again_changes_nothing() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("AGAIN001");
    let provision = ["drive", "provision", &drive.device(), "--yes-erase", "AGAIN001"];
    let first = machine.json(&provision);
    let keys = machine.json(&["key", "show"]);
    drive.write(0, 0x33);
    // No --yes-erase: nothing is lost, so nothing is asked.
    let again = machine.json(&provision[..3]);
    assert_eq!(first, again);
    assert_eq!(drive.read(0).unwrap(), [0x33; 512]);
    assert_eq!(machine.json(&["key", "show"]), keys, "no credential changed");
    // Locked by a loss of power, it is as provisioned as before; and it stays locked.
    drive.power_cycle();
    let locked = machine.json(&provision[..3]);
    assert_eq!(only(&locked["ranges"])["read_locked"], true);
    assert_eq!(drive.read(0), None);
    machine.opalbox(&["drive", "verify", &drive.device()]).ok();
    machine.opalbox(&["unlock"]).ok();
    assert_eq!(drive.read(0).unwrap(), [0x33; 512]);
    let keys_then = machine.json(&["key", "show"]);
    assert_eq!(actives(&keys_then), actives(&keys));
}

#[test]
fn a_further_range_and_the_global_range() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("MORE0001");
    let device = drive.device();
    drive.write(0, 0x11);
    // Data on the drive is kept, so no word is needed.
    let done = machine.json(&["drive", "provision", &device, "--range", "global"]);
    assert_eq!(only(&done["ranges"])["number"], 0);
    assert_eq!(drive.read(0).unwrap(), [0x11; 512], "protecting the Global Range keeps data");
    let create = ["range", "create", &device, "2", "16M+8M"];
    machine.opalbox(&create).exits(7);
    let made = machine.json(&[&create[..], &["--yes-erase", "MORE0001"]].concat());
    assert_eq!(made["ranges"][1]["number"], 2);
    assert_eq!(made["ranges"][1]["start"], 32_768);
    drive.power_cycle();
    assert_eq!(drive.read(0), None);
    assert_eq!(drive.read(32_768), None);
    let opened = machine.json(&["unlock", &device]);
    assert_eq!(only(&opened["drives"])["ranges"], json!([0, 2]));
    assert_eq!(drive.read(0).unwrap(), [0x11; 512]);
    assert_eq!(machine.json(&["drive", "verify", &device])["ok"], true);
}

fn only(list: &Value) -> &Value {
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 1, "{list:?}");
    &list[0]
}

/// Key IDs with the version that is active.
fn actives(keys: &Value) -> Vec<(String, u64)> {
    let keys = keys["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| {
            let versions = key["versions"].as_array().unwrap();
            let active = versions.iter().find(|version| version["state"] == "active").unwrap();
            (key["key_id"].to_string(), active["number"].as_u64().unwrap())
        })
        .collect()
}
