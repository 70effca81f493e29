// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whoever can write the store's file: every change is refused with its reason, and one bad row
//! never blocks the others.

use std::collections::BTreeMap;

use opalbox::lockbox::{Error, Kind, Lockbox, Origin, Refusal};

use crate::facade::raw;
use crate::support::{file_box, pin};

fn filled() -> (tempfile::TempDir, Lockbox) {
    let (temp, lockbox) = file_box();
    for owner in ["S1", "S2"] {
        lockbox.stage(owner, "SID", Kind::DrivePin, &pin(1), Origin::FactoryMsid).unwrap();
        lockbox.activate(owner, "SID", 0, Some(1)).unwrap();
        lockbox.stage(owner, "SID", Kind::DrivePin, &pin(2), Origin::Generated).unwrap();
        let key = lockbox.credential(owner, "SID").unwrap().unwrap().key_id;
        let attributes = BTreeMap::from([("serial".into(), owner.into())]);
        lockbox.asset_put(&format!("{owner}/range1"), key, attributes).unwrap();
        lockbox.asset_put(&format!("{owner}/range2"), key, BTreeMap::new()).unwrap();
    }
    (temp, lockbox)
}

fn refusal<T>(result: Result<T, Error>) -> Refusal {
    match result.err().expect("refused") {
        Error::Refused { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

/// S2 is untouched: all of it works.
fn others_work(lockbox: &Lockbox) {
    assert!(lockbox.credential_secret("S2", "SID", 0).unwrap().matches(pin(1).expose()));
    assert!(lockbox.credential("S2", "SID").unwrap().is_some());
    assert!(lockbox.asset("S2/range1").unwrap().is_some());
    assert_eq!(lockbox.keys().unwrap().len(), 2);
    lockbox.status().unwrap();
    assert!(lockbox.assets().unwrap().assets.iter().any(|a| a.id == "S2/range2"));
}

#[test]
fn every_byte_of_a_record() {
    let (_temp, lockbox) = filled();
    let key = *lockbox.credential("S1", "SID").unwrap().unwrap().key_id.as_bytes();
    let raw = raw(&lockbox);
    raw.pragma_update(None, "synchronous", "OFF").unwrap();
    let sealed: Vec<u8> = raw
        .query_row("SELECT sealed FROM record WHERE key = ?1 AND version = 1", [key], |r| r.get(0))
        .unwrap();
    let put = |bytes: &[u8]| {
        let sql = "UPDATE record SET sealed = ?1 WHERE key = ?2 AND version = 1";
        raw.execute(sql, rusqlite::params![bytes, key]).unwrap();
    };
    for index in 0..sealed.len() {
        let mut bad = sealed.clone();
        bad[index] ^= 0x40;
        put(&bad);
        let reason = refusal(lockbox.credential_secret("S1", "SID", 1));
        assert_ne!(reason, Refusal::Missing, "byte {index}");
    }
    assert!(lockbox.credential_secret("S1", "SID", 0).is_ok(), "the version beside it");
    others_work(&lockbox);
    let check = lockbox.check().unwrap();
    assert!(!check.ok);
    assert_eq!(check.records_opened, 3);
    put(&sealed);
    assert!(lockbox.credential_secret("S1", "SID", 1).is_ok());
    assert!(lockbox.check().unwrap().ok);
}

#[test]
fn records_swapped_between_versions_keys_and_kinds() {
    let (_temp, lockbox) = filled();
    let raw = raw(&lockbox);
    let key = |owner| *lockbox.credential(owner, "SID").unwrap().unwrap().key_id.as_bytes();
    let (one, other) = (key("S1"), key("S2"));
    let move_to = |from_key: [u8; 16], from: u64, to: u64| {
        raw.execute(
            "UPDATE record SET sealed =
               (SELECT sealed FROM record WHERE key = ?1 AND version = ?2)
             WHERE key = ?3 AND version = ?4",
            rusqlite::params![from_key, from as i64, one, to as i64],
        )
        .unwrap();
    };
    move_to(one, 1, 0);
    assert_eq!(refusal(lockbox.credential_secret("S1", "SID", 0)), Refusal::Version);
    move_to(other, 0, 0);
    assert_eq!(refusal(lockbox.credential_secret("S1", "SID", 0)), Refusal::KeyId);
    raw.execute("DELETE FROM record WHERE key = ?1 AND version = 0", [one]).unwrap();
    assert_eq!(refusal(lockbox.credential_secret("S1", "SID", 0)), Refusal::Missing);
    others_work(&lockbox);
    raw.execute("UPDATE key SET kind = 'opaque' WHERE id = ?1", [one]).unwrap();
    assert_eq!(refusal(lockbox.credential_secret("S1", "SID", 1)), Refusal::RowMac);
    assert!(!lockbox.check().unwrap().ok);
}

#[test]
fn every_column_of_a_journal_row() {
    for change in [
        "UPDATE credential SET owner = 'S3' WHERE owner = 'S1'",
        "UPDATE credential SET role = 'Admin1' WHERE owner = 'S1'",
        "UPDATE credential SET active = 1 WHERE owner = 'S1'",
        "UPDATE credential SET active = NULL WHERE owner = 'S1'",
        "UPDATE credential SET staged = NULL WHERE owner = 'S1'",
        "UPDATE credential SET set_issued = 1 WHERE owner = 'S1'",
        "UPDATE credential SET attempts = 1 WHERE owner = 'S1'",
        "UPDATE credential SET power_cycle = 9 WHERE owner = 'S1'",
        "UPDATE credential SET active_since = NULL WHERE owner = 'S1'",
        "UPDATE version SET state = 'superseded' WHERE number = 0 AND key =
           (SELECT key FROM credential WHERE owner = 'S1')",
        "UPDATE version SET state = 'nonsense' WHERE number = 0 AND key =
           (SELECT key FROM credential WHERE owner = 'S1')",
        "UPDATE version SET origin = 'generated' WHERE number = 0 AND key =
           (SELECT key FROM credential WHERE owner = 'S1')",
        "UPDATE version SET sent = 1 WHERE number = 1 AND key =
           (SELECT key FROM credential WHERE owner = 'S1')",
        "UPDATE version SET number = 5 WHERE number = 1 AND key =
           (SELECT key FROM credential WHERE owner = 'S1')",
        "DELETE FROM mac WHERE subject = 'credential' AND id =
           (SELECT key FROM credential WHERE owner = 'S1')",
        "UPDATE mac SET mac = (SELECT mac FROM mac WHERE subject = 'credential' AND id =
           (SELECT key FROM credential WHERE owner = 'S2'))
         WHERE subject = 'credential' AND id = (SELECT key FROM credential WHERE owner = 'S1')",
        "UPDATE mac SET mac = zeroblob(48) WHERE subject = 'credential' AND id =
           (SELECT key FROM credential WHERE owner = 'S1')",
    ] {
        let (_temp, lockbox) = filled();
        let raw = raw(&lockbox);
        raw.pragma_update(None, "foreign_keys", "OFF").unwrap();
        assert_eq!(raw.execute(change, []).unwrap(), 1, "{change}");
        let (owner, role) = match change {
            c if c.contains("'S3'") => ("S3", "SID"),
            c if c.contains("'Admin1'") => ("S1", "Admin1"),
            _ => ("S1", "SID"),
        };
        let reason = refusal(lockbox.credential_secret(owner, role, 0));
        assert!(matches!(reason, Refusal::RowMac | Refusal::Malformed), "{change}: {reason}");
        // A change must not launder the forged row.
        assert!(lockbox.note_attempt(owner, role, None).is_err(), "{change}");
        assert!(lockbox.credential(owner, role).is_err(), "{change}");
        others_work(&lockbox);
        assert!(!lockbox.check().unwrap().ok, "{change}");
    }
}

#[test]
fn asset_rows_and_their_set() {
    for (change, reason) in [
        ("UPDATE asset SET attributes = x'a0' WHERE id = 'S1/range1'", Refusal::RowMac),
        ("UPDATE asset SET attributes = x'a000' WHERE id = 'S1/range1'", Refusal::Malformed),
        ("UPDATE asset SET attributes = x'bfff' WHERE id = 'S1/range1'", Refusal::Malformed),
        (
            "UPDATE asset SET key = (SELECT key FROM credential WHERE owner = 'S2')
          WHERE id = 'S1/range1'",
            Refusal::RowMac,
        ),
        (
            "DELETE FROM mac WHERE subject = 'asset' AND id = CAST('S1/range1' AS BLOB)",
            Refusal::RowMac,
        ),
    ] {
        let (_temp, lockbox) = filled();
        assert_eq!(raw(&lockbox).execute(change, []).unwrap(), 1, "{change}");
        assert_eq!(refusal(lockbox.asset("S1/range1")), reason, "{change}");
        assert!(lockbox.asset_remove("S1/range1").is_err(), "{change}");
        assert_eq!(lockbox.assets().unwrap().refused.len(), 1);
        others_work(&lockbox);
        assert!(!lockbox.check().unwrap().ok, "{change}");
    }
    // A row deleted or added as a whole: noticed through the key's set of references.
    for change in [
        "DELETE FROM asset WHERE id = 'S1/range2'",
        "INSERT INTO asset SELECT 'S1/range9', key, attributes FROM asset WHERE id = 'S1/range1'",
    ] {
        let (_temp, lockbox) = filled();
        let key = lockbox.credential("S1", "SID").unwrap().unwrap().key_id;
        assert_eq!(raw(&lockbox).execute(change, []).unwrap(), 1);
        let put = lockbox.asset_put("S1/range3", key, BTreeMap::new());
        assert_eq!(refusal(put), Refusal::References, "{change}");
        assert_eq!(refusal(lockbox.asset_remove("S1/range1")), Refusal::References, "{change}");
        assert_eq!(refusal(lockbox.key_destroy(key)), Refusal::References, "{change}");
        assert!(!lockbox.check().unwrap().ok, "{change}");
    }
}

#[test]
fn the_wrapped_key_and_its_tag() {
    for change in [
        "UPDATE epoch SET tag = zeroblob(16)",
        "UPDATE epoch SET blob = zeroblob(100)",
        "UPDATE lockbox SET node = zeroblob(16)",
        "UPDATE lockbox SET fleet = zeroblob(16)",
    ] {
        let (_temp, lockbox) = filled();
        let raw = raw(&lockbox);
        raw.execute(change, []).unwrap();
        let lockbox = crate::support::reopen(lockbox.dir());
        let error = lockbox.unlock().err().unwrap();
        assert!(matches!(error, Error::Provider(_)), "{change}: {error}");
        assert!(!lockbox.check().unwrap().ok);
        assert_eq!(lockbox.keys().unwrap().len(), 2, "listing needs no key");
    }
}

/// The file itself torn: an answer, never a panic, whatever page is hit.
#[test]
fn a_damaged_file_gives_errors_and_no_panic() {
    let (_temp, lockbox) = filled();
    let dir = lockbox.dir().to_owned();
    raw(&lockbox).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(lockbox);
    let file = dir.join("lockbox.db");
    let good = std::fs::read(&file).unwrap();
    let mut complaints = 0;
    for start in (0..good.len()).step_by(1024) {
        let mut bad = good.clone();
        let end = (start + 512).min(bad.len());
        bad[start..end].fill(0xa5);
        for name in ["lockbox.db-wal", "lockbox.db-shm"] {
            let _ = std::fs::remove_file(dir.join(name));
        }
        std::fs::write(&file, &bad).unwrap();
        let options = opalbox::lockbox::OpenOptions {
            prompt: crate::support::Answers::right(),
            ..Default::default()
        };
        let complained = match Lockbox::open(&dir, options) {
            Err(_) => true,
            Ok(lockbox) => lockbox.check().map_or(true, |check| !check.ok),
        };
        complaints += u32::from(complained);
    }
    assert!(complaints > 10, "{complaints}");
}
