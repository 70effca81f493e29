// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a caller of the lockbox may rely on, with the passphrase provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use opalbox::lockbox::provider::{ProviderError, Unattended};
use opalbox::lockbox::{
    Error, FileConfig, InitOptions, JournalProblem, KeyId, Kind, Lockbox, OpenOptions, Origin,
    VersionState,
};
use opalbox::secret::Secret;

use crate::support::{
    Answers, PASSPHRASE, any_file_holds, copy_dir, file_box, file_provider, pin, place, reopen,
};

#[test]
fn a_pin_change_from_factory_to_settled() {
    let (_temp, lockbox) = file_box();
    let msid = Secret::from_slice(b"factory msid");
    let stage = |secret, origin| lockbox.stage("S1", "SID", Kind::DrivePin, secret, origin);
    assert_eq!(stage(&msid, Origin::FactoryMsid).unwrap(), 0);
    lockbox.activate("S1", "SID", 0, Some(4)).unwrap();
    assert_eq!(stage(&pin(1), Origin::Generated).unwrap(), 1);
    lockbox.mark_set_issued("S1", "SID").unwrap();
    assert_eq!(lockbox.status().unwrap().unresolved, [("S1".into(), "SID".into())]);
    assert_eq!(lockbox.note_attempt("S1", "SID", Some(4)).unwrap(), 1);

    let lockbox = reopen(lockbox.dir());
    let sid = lockbox.credential("S1", "SID").unwrap().unwrap();
    assert_eq!(sid.candidates(), [1, 0]);
    assert_eq!((sid.attempts, sid.set_issued), (1, true));
    lockbox.activate("S1", "SID", 1, Some(4)).unwrap();
    let sid = lockbox.credential("S1", "SID").unwrap().unwrap();
    assert_eq!((sid.active, sid.staged, sid.attempts, sid.set_issued), (Some(1), None, 0, false));
    assert!(!sid.cycled_since_change(Some(4)));
    assert!(lockbox.credential_secret("S1", "SID", 0).unwrap().matches(msid.expose()));

    assert!(sid.cycled_since_change(Some(5)));
    assert_eq!(lockbox.retire_superseded("S1", "SID").unwrap(), [0]);
    let gone = lockbox.credential_secret("S1", "SID", 0).err().unwrap();
    assert!(matches!(gone, Error::Journal { problem: JournalProblem::NoVersion(0), .. }), "{gone}");
    assert!(lockbox.credential_secret("S1", "SID", 1).unwrap().matches(pin(1).expose()));
    let keys = lockbox.keys().unwrap();
    let states: Vec<_> = keys[0].versions.iter().map(|v| v.state).collect();
    assert_eq!(states, [VersionState::Destroyed, VersionState::Active]);
    assert!(lockbox.check().unwrap().ok);
}

#[test]
fn owners_and_roles_do_not_mix() {
    let (_temp, lockbox) = file_box();
    for (n, (owner, role)) in
        [("S1", "SID"), ("S1", "Admin1"), ("S2", "SID"), ("S2", "User1")].into_iter().enumerate()
    {
        let secret = pin(n as u8);
        lockbox.stage(owner, role, Kind::DrivePin, &secret, Origin::Generated).unwrap();
    }
    assert_eq!(lockbox.owners().unwrap(), ["S1", "S2"]);
    let roles: Vec<_> = lockbox.credentials("S1").unwrap().into_iter().map(|c| c.role).collect();
    assert_eq!(roles, ["Admin1", "SID"]);
    assert!(lockbox.credential_secret("S2", "User1", 1).unwrap().matches(pin(3).expose()));
    assert!(lockbox.credential("S3", "SID").unwrap().is_none());
    assert!(matches!(lockbox.note_attempt("S3", "SID", None), Err(Error::Unknown { .. })));
    let other = lockbox.stage("S1", "SID", Kind::Opaque, &pin(0), Origin::Generated);
    assert!(matches!(other, Err(Error::Journal { problem: JournalProblem::OtherKind, .. })));
}

#[test]
fn forgetting_destroys_records_and_respects_assets() {
    let (_temp, lockbox) = file_box();
    lockbox.stage("S1", "User1", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    lockbox.stage("S2", "User1", Kind::DrivePin, &pin(2), Origin::Generated).unwrap();
    let key = lockbox.credential("S1", "User1").unwrap().unwrap().key_id;
    lockbox.asset_put("S1/range1", key, BTreeMap::new()).unwrap();
    let refused = lockbox.forget("S1").err().unwrap();
    assert!(matches!(&refused, Error::Referenced { assets, .. } if assets == &["S1/range1"]));
    lockbox.forget_with_assets("S1").unwrap();
    lockbox.forget("S1").unwrap();
    assert!(lockbox.credential("S1", "User1").unwrap().is_none());
    assert!(lockbox.asset("S1/range1").unwrap().is_none());
    assert_eq!(lockbox.owners().unwrap(), ["S2"]);
    let check = lockbox.check().unwrap();
    assert!(check.ok, "{check:?}");
    assert_eq!(check.records_opened, 1);
}

#[test]
fn forgetting_works_when_the_provider_is_gone() {
    let (_temp, lockbox) = file_box();
    lockbox.stage("S1", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    let unattended = Lockbox::open(lockbox.dir(), OpenOptions::default()).unwrap();
    let needs = unattended.credential("S1", "SID").err().unwrap();
    assert!(matches!(needs, Error::Provider(ProviderError::Prompt(_))), "{needs}");
    unattended.forget("S1").unwrap();
    assert!(unattended.owners().unwrap().is_empty());
}

#[test]
fn assets_share_a_key_until_the_last_is_gone() {
    let (_temp, lockbox) = file_box();
    let dek = Secret::random(64).unwrap();
    let key = lockbox.key_create(Kind::VolumeDek, &dek, Origin::Generated).unwrap();
    let attributes = BTreeMap::from([("serial".into(), "S1".into()), ("range".into(), "3".into())]);
    lockbox.asset_put("volume", key, attributes.clone()).unwrap();
    lockbox.asset_put("snapshot", key, BTreeMap::new()).unwrap();
    assert_eq!(lockbox.asset("volume").unwrap().unwrap().attributes, attributes);
    let assets = lockbox.assets().unwrap();
    assert_eq!(assets.assets.len(), 2);
    assert!(assets.refused.is_empty());
    assert!(matches!(lockbox.key_destroy(key), Err(Error::Referenced { .. })));
    assert!(lockbox.asset_remove("volume").unwrap());
    assert!(!lockbox.asset_remove("volume").unwrap());
    assert!(lockbox.key_secret(key, 1).unwrap().matches(dek.expose()));
    assert!(lockbox.asset_remove("snapshot").unwrap());
    lockbox.key_destroy(key).unwrap();
    assert!(matches!(lockbox.key_secret(key, 1), Err(Error::Unknown { .. })));
    assert!(lockbox.keys().unwrap().is_empty());
    let nobody = KeyId::from_bytes([9; 16]);
    let unknown = lockbox.asset_put("x", nobody, BTreeMap::new());
    assert!(matches!(unknown, Err(Error::Unknown { what: "key", .. })));
}

#[test]
fn an_asset_may_move_to_another_key() {
    let (_temp, lockbox) = file_box();
    let key = |n| lockbox.key_create(Kind::Opaque, &pin(n), Origin::Imported).unwrap();
    let (one, other) = (key(1), key(2));
    lockbox.asset_put("a", one, BTreeMap::new()).unwrap();
    lockbox.asset_put("a", other, BTreeMap::new()).unwrap();
    lockbox.key_destroy(one).unwrap();
    assert!(matches!(lockbox.key_destroy(other), Err(Error::Referenced { .. })));
    assert!(lockbox.check().unwrap().ok);
}

#[test]
fn the_provider_is_opened_once_and_only_when_needed() {
    let (_temp, lockbox) = file_box();
    lockbox.stage("S1", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    let answers = Answers::right();
    let options = OpenOptions { prompt: answers.clone(), ..OpenOptions::default() };
    let lockbox = Lockbox::open(lockbox.dir(), options).unwrap();
    lockbox.status().unwrap();
    lockbox.keys().unwrap();
    lockbox.owners().unwrap();
    assert_eq!(answers.count(), 0);
    for _ in 0..3 {
        lockbox.credential_secret("S1", "SID", 1).unwrap();
    }
    assert_eq!(answers.count(), 1);
    lockbox.relock();
    lockbox.unlock().unwrap();
    assert_eq!(answers.count(), 2);
}

#[test]
fn a_wrong_passphrase_is_said_so_and_may_be_tried_again() {
    let (_temp, lockbox) = file_box();
    let wrong = Arc::new(Answers { passphrase: Some("not it"), ..Answers::default() });
    let options = OpenOptions { prompt: wrong, ..OpenOptions::default() };
    let lockbox = Lockbox::open(lockbox.dir(), options).unwrap();
    for _ in 0..2 {
        let error = lockbox.unlock().err().unwrap();
        assert!(matches!(error, Error::Provider(ProviderError::WrongPassphrase)), "{error}");
        assert!(error.advice().contains("Try again"));
    }
}

#[test]
fn a_new_passphrase_must_not_be_short() {
    let (_temp, dir) = place();
    let short = Arc::new(Answers { passphrase: Some("1234567"), ..Answers::default() });
    let error = Lockbox::init(&dir, InitOptions::new(file_provider(), short)).err().unwrap();
    assert!(matches!(error, Error::Provider(ProviderError::Weak(_))), "{error}");
    let good = InitOptions::new(file_provider(), Answers::right());
    assert!(Lockbox::init(&dir, good).is_ok(), "and may then be better");
}

#[test]
fn init_refuses_a_second_time_and_open_needs_a_finished_one() {
    let (_temp, lockbox) = file_box();
    let dir = lockbox.dir().to_owned();
    let again = Lockbox::init(&dir, InitOptions::new(file_provider(), Answers::right()));
    assert!(matches!(again, Err(Error::Exists(_))));
    let (_temp, dir) = place();
    let nobody = Arc::new(Unattended);
    assert!(Lockbox::init(&dir, InitOptions::new(file_provider(), nobody)).is_err());
    let open = Lockbox::open(&dir, OpenOptions::default()).err().unwrap();
    assert!(matches!(open, Error::Unfinished(_)), "{open}");
    let other = opalbox::lockbox::provider::ProviderConfig::File(FileConfig::default());
    let mixed = Lockbox::init(&dir, InitOptions::new(other, Answers::right())).err().unwrap();
    assert!(mixed.to_string().contains("unfinished init has other settings"), "{mixed}");
}

#[test]
fn no_file_holds_a_secret_or_the_passphrase() {
    let (temp, lockbox) = file_box();
    let secrets: Vec<Secret> = (0..20).map(|_| Secret::random(32).unwrap()).collect();
    for (n, secret) in secrets.iter().enumerate() {
        let owner = format!("S{n}");
        let kind = Kind::DrivePin;
        lockbox.stage(&owner, "SID", kind, secret, Origin::Generated).unwrap();
        lockbox.mark_set_issued(&owner, "SID").unwrap();
        lockbox.activate(&owner, "SID", 1, None).unwrap();
    }
    assert!(any_file_holds(temp.path(), b"S19"), "the control: public names are found");
    for secret in &secrets {
        assert!(!any_file_holds(temp.path(), secret.expose()));
        assert!(!any_file_holds(temp.path(), &secret.expose()[..16]));
    }
    assert!(!any_file_holds(temp.path(), PASSPHRASE.as_bytes()));
}

/// The sealed bytes of a destroyed version are gone from every file, not only out of reach.
#[test]
fn destroyed_records_leave_no_sealed_bytes() {
    let (temp, lockbox) = file_box();
    lockbox.stage("S1", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    let sealed: Vec<u8> =
        raw(&lockbox).query_row("SELECT sealed FROM record", [], |row| row.get(0)).unwrap();
    let middle = sealed[sealed.len() - 60..].to_vec();
    assert!(any_file_holds(temp.path(), &middle));
    lockbox.forget("S1").unwrap();
    assert!(!any_file_holds(temp.path(), &middle));
}

#[test]
fn several_threads_and_handles_share_one_store() {
    let (_temp, lockbox) = file_box();
    let dir = lockbox.dir();
    std::thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || {
                let lockbox = reopen(dir);
                for m in 0..10 {
                    let owner = format!("S{n}-{m}");
                    let version = lockbox
                        .stage(&owner, "SID", Kind::DrivePin, &pin(n), Origin::Generated)
                        .unwrap();
                    lockbox.activate(&owner, "SID", version, None).unwrap();
                }
            });
        }
    });
    assert_eq!(lockbox.owners().unwrap().len(), 40);
    assert_eq!(lockbox.check().unwrap().records_opened, 40);
}

#[test]
fn status_and_keys_are_json_without_secrets() {
    let (_temp, lockbox) = file_box();
    lockbox.stage("S1", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    let status = serde_json::to_value(lockbox.status().unwrap()).unwrap();
    assert_eq!(status["provider"]["kind"], "file");
    assert_eq!(status["domains"][0]["name"], "drives");
    assert_eq!(status["domains"][0]["records"], 1);
    assert!(status["warnings"][0].as_str().unwrap().contains("passphrase"));
    let keys = serde_json::to_value(lockbox.keys().unwrap()).unwrap();
    assert_eq!(keys[0]["kind"], "drive-pin");
    assert_eq!(keys[0]["versions"][0]["origin"], "generated");
    assert_eq!(keys[0]["key_id"].as_str().unwrap().len(), 32);
    let check = serde_json::to_string(&lockbox.check().unwrap()).unwrap();
    for text in [status.to_string(), keys.to_string(), check] {
        assert!(!text.contains(core::str::from_utf8(pin(1).expose()).unwrap()));
    }
}

#[test]
fn names_are_bounded() {
    let (_temp, lockbox) = file_box();
    for bad in ["", "a\nb", &"x".repeat(257)] {
        let staged = lockbox.stage(bad, "SID", Kind::DrivePin, &pin(1), Origin::Generated);
        assert!(matches!(staged, Err(Error::Input(_))), "{bad:?}");
    }
    let key = lockbox.key_create(Kind::Opaque, &pin(1), Origin::Imported).unwrap();
    let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
    assert!(matches!(lockbox.asset_put("a", key, many), Err(Error::Input(_))));
}

/// A copy of the store is a copy: with its passphrase it opens, and its records are its own.
#[test]
fn records_of_one_lockbox_do_not_pass_in_another() {
    let (temp, one) = file_box();
    let (_temp2, other) = file_box();
    for lockbox in [&one, &other] {
        lockbox.stage("S1", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    }
    let sealed: Vec<u8> =
        raw(&one).query_row("SELECT sealed FROM record", [], |row| row.get(0)).unwrap();
    raw(&other).execute("UPDATE record SET sealed = ?1", [sealed]).unwrap();
    let refused = other.credential_secret("S1", "SID", 1).err().unwrap();
    assert!(refused.to_string().contains("another fleet"), "{refused}");
    let copy = temp.path().join("copy");
    copy_dir(one.dir(), &copy);
    assert!(reopen(&copy).credential_secret("S1", "SID", 1).is_ok());
}

pub(crate) fn raw(lockbox: &Lockbox) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(lockbox.dir().join("lockbox.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    connection
}

/// A store of format 1, written once and never again: it opens for ever.
#[test]
fn the_golden_store_opens() {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let (_temp, dir) = place();
    std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    let file = dir.join("lockbox.db");
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.execute_batch(include_str!("../../docs/formats/lockbox/store-1.sql")).unwrap();
    drop(raw);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let lockbox = reopen(&dir);
    let check = lockbox.check().unwrap();
    assert!(check.ok, "{check:?}");
    assert_eq!((check.records_opened, check.rows_verified), (3, 4));
    let sid = lockbox.credential("WDC-0001", "SID").unwrap().unwrap();
    assert_eq!((sid.active, sid.staged, sid.set_issued), (Some(0), Some(1), true));
    let secret = |version| lockbox.credential_secret("WDC-0001", "SID", version).unwrap();
    assert!(secret(0).matches(b"factory msid"));
    assert!(secret(1).matches(&[b'B'; 32]));
    let asset = lockbox.asset("WDC-0001/range1").unwrap().unwrap();
    assert_eq!(asset.attributes["model"], "Golden Drive");
    assert!(lockbox.key_secret(asset.key_id, 1).unwrap().matches(&[7; 64]));
    lockbox.activate("WDC-0001", "SID", 1, None).unwrap();
}

/// Writes a new golden store to standard output; run by hand when the format changes:
/// `cargo test --test lockbox golden_store_writer -- --ignored --nocapture`.
#[test]
#[ignore = "writes a fixture"]
fn golden_store_writer() {
    let (_temp, lockbox) = file_box();
    let msid = Secret::from_slice(b"factory msid");
    let (owner, role) = ("WDC-0001", "SID");
    lockbox.stage(owner, role, Kind::DrivePin, &msid, Origin::FactoryMsid).unwrap();
    lockbox.activate(owner, role, 0, Some(3)).unwrap();
    lockbox.stage(owner, role, Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    lockbox.mark_set_issued(owner, role).unwrap();
    let dek = Secret::from_slice(&[7; 64]);
    let key = lockbox.key_create(Kind::VolumeDek, &dek, Origin::Imported).unwrap();
    let model = BTreeMap::from([("model".into(), "Golden Drive".into())]);
    lockbox.asset_put("WDC-0001/range1", key, model).unwrap();
    let raw = raw(&lockbox);
    println!("PRAGMA application_id = {};", 0x4f50_4c42);
    println!("PRAGMA user_version = 1;");
    let mut schema =
        raw.prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").unwrap();
    for sql in schema.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        println!("{};", sql.unwrap());
    }
    for table in [
        "lockbox",
        "provider",
        "domain",
        "epoch",
        "key",
        "version",
        "record",
        "credential",
        "asset",
        "mac",
    ] {
        let mut rows = raw.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<String> = (0..columns)
                .map(|n| match row.get_ref(n).unwrap() {
                    rusqlite::types::ValueRef::Null => "NULL".into(),
                    rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                    rusqlite::types::ValueRef::Real(_) => unreachable!(),
                    rusqlite::types::ValueRef::Text(text) => {
                        format!("'{}'", core::str::from_utf8(text).unwrap().replace('\'', "''"))
                    }
                    rusqlite::types::ValueRef::Blob(bytes) => {
                        format!(
                            "x'{}'",
                            bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
                        )
                    }
                })
                .collect();
            println!("INSERT INTO {table} VALUES ({});", values.join(", "));
        }
    }
}

/// Two processes that run init at once: one makes the lockbox, the other is told so.
#[test]
fn simultaneous_inits_make_one_lockbox() {
    let (_temp, dir) = place();
    let results: Vec<_> = std::thread::scope(|scope| {
        let inits: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    Lockbox::init(&dir, InitOptions::new(file_provider(), Answers::right()))
                })
            })
            .collect();
        inits.into_iter().map(|init| init.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert!(matches!(error, Error::Exists(_) | Error::Store(_)), "{error}");
    }
    reopen(&dir).unlock().unwrap();
}

#[test]
fn threads_may_share_one_lockbox() {
    fn shared<T: Send + Sync>(_: &T) {}
    let (_temp, lockbox) = file_box();
    shared(&lockbox);
    std::thread::scope(|scope| {
        for n in 0..4_u8 {
            let lockbox = &lockbox;
            scope.spawn(move || {
                let owner = format!("S{n}");
                lockbox.stage(&owner, "SID", Kind::DrivePin, &pin(n), Origin::Generated).unwrap();
                let secret = lockbox.credential_secret(&owner, "SID", 1).unwrap();
                assert!(secret.matches(pin(n).expose()));
            });
        }
    });
}

/// Listing walks each table once, however many keys there are, and one bad row hides nothing.
#[test]
fn a_hundred_thousand_keys_are_listed_at_once() {
    let (_temp, lockbox) = file_box();
    let key = lockbox.key_create(Kind::Opaque, &pin(1), Origin::Generated).unwrap();
    let file = rusqlite::Connection::open(lockbox.dir().join("lockbox.db")).unwrap();
    file.execute_batch(
        "BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
           INSERT INTO key SELECT randomblob(16), 'drives', 'opaque' FROM n;
         INSERT OR IGNORE INTO version SELECT id, 1, 'active', 'generated', 0 FROM key;
         INSERT INTO asset SELECT 'range/' || hex(id), id, x'a0' FROM key;
         UPDATE version SET state = 'odd' WHERE key = (SELECT max(id) FROM key);
         COMMIT;",
    )
    .unwrap();
    let start = std::time::Instant::now();
    let keys = lockbox.keys().unwrap();
    let took = start.elapsed();
    assert_eq!(keys.len(), 100_001);
    assert_eq!(keys.iter().filter(|key| key.problem.is_some()).count(), 1);
    let whole = keys.iter().filter(|key| key.versions.len() == 1 && key.assets.len() == 1);
    assert_eq!(whole.count(), 100_000);
    assert!(keys.iter().any(|listed| listed.key_id == key));
    // The promise, under a second, is the release build's; this bound is for a busy machine.
    assert!(took < std::time::Duration::from_secs(60), "{took:?}");
    println!("100,001 keys in {took:?}");
}

#[test]
fn many_secrets_at_once_and_one_bad_one_among_them() {
    let (_temp, lockbox) = file_box();
    let mut wanted: Vec<_> = (0..5)
        .map(|n| (lockbox.key_create(Kind::Opaque, &pin(n), Origin::Generated).unwrap(), 1))
        .collect();
    let file = rusqlite::Connection::open(lockbox.dir().join("lockbox.db")).unwrap();
    let damaged = wanted[2].0;
    file.execute("DELETE FROM record WHERE hex(key) = upper(?1)", [damaged.to_string()]).unwrap();
    wanted.push((opalbox::lockbox::KeyId::random().unwrap(), 1));
    let opened = lockbox.key_secrets(&wanted).unwrap();
    for (n, secret) in opened.iter().enumerate() {
        match (n, secret) {
            (2, Err(Error::Refused { .. })) | (5, Err(Error::Unknown { .. })) => {}
            (_, Ok(secret)) => assert!(secret.matches(pin(n as u8).expose())),
            (_, Err(error)) => panic!("{n}: {error}"),
        }
    }
}
