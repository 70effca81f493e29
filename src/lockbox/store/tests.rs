// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store's own promises: private files, clear errors, durable steps.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn dir() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("box");
    (temp, dir)
}

#[test]
fn files_are_private_from_the_start() {
    let (_temp, dir) = dir();
    let mut store = Store::create(&dir, Faults::none()).unwrap();
    store.write("x", |tx| Ok(tx.execute("INSERT INTO provider VALUES (1, '{}')", [])?)).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn an_exposed_directory_or_file_is_refused() {
    let (_temp, dir) = dir();
    drop(Store::create(&dir, Faults::none()).unwrap());
    fs::set_permissions(dir.join(FILE), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Store::open(&dir, Faults::none()), Err(Error::Exposed { .. })));
    fs::set_permissions(dir.join(FILE), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(Store::open(&dir, Faults::none()), Err(Error::Exposed { .. })));
}

#[test]
fn what_is_no_lockbox_is_said_so() {
    let (_temp, dir) = dir();
    assert!(matches!(Store::open(&dir, Faults::none()), Err(Error::NoLockbox(_))));
    drop(Store::create(&dir, Faults::none()).unwrap());
    let file = dir.join(FILE);
    let raw = Connection::open(&file).unwrap();
    raw.pragma_update(None, "user_version", 2).unwrap();
    let newer = Store::open(&dir, Faults::none()).err().unwrap();
    assert!(matches!(newer, Error::Store(StoreError::Newer { found: 2, known: 1 })), "{newer}");
    raw.pragma_update(None, "user_version", 1).unwrap();
    raw.pragma_update(None, "application_id", 7).unwrap();
    let other = Store::open(&dir, Faults::none()).err().unwrap();
    assert!(matches!(other, Error::Store(StoreError::NotOurs(_))), "{other}");
    drop(raw);
    fs::write(&file, vec![0x5a; 8192]).unwrap();
    let damaged = Store::open(&dir, Faults::none()).err().unwrap();
    assert!(matches!(damaged, Error::Store(StoreError::Damaged(_))), "{damaged}");
    fs::write(&file, b"").unwrap();
    assert!(matches!(Store::open(&dir, Faults::none()), Err(Error::Unfinished(_))));
}

#[test]
fn a_full_disk_is_said_so_and_changes_nothing() {
    let (_temp, dir) = dir();
    let mut store = Store::create(&dir, Faults::none()).unwrap();
    let pages: u32 =
        store.connection().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection().pragma_update(None, "max_page_count", pages).unwrap();
    let insert = |tx: &Transaction<'_>, size: usize| -> Result<(), Error> {
        tx.execute("INSERT INTO provider VALUES (1, ?1)", ["x".repeat(size)])?;
        Ok(())
    };
    let full = store.write("x", |tx| insert(tx, 100_000)).err().unwrap();
    assert!(matches!(full, Error::Store(StoreError::Full)), "{full}");
    assert!(full.advice().contains("space"));
    store.write("x", |tx| insert(tx, 10)).unwrap();
}

#[test]
fn two_writers_wait_for_each_other() {
    let (_temp, dir) = dir();
    let mut one = Store::create(&dir, Faults::none()).unwrap();
    let mut other = Store::open(&dir, Faults::none()).unwrap();
    other.connection.busy_timeout(Duration::from_millis(50)).unwrap();
    one.write("x", |_| {
        let busy = other.write("y", |_| Ok(())).err().unwrap();
        assert!(matches!(busy, Error::Store(StoreError::Busy)), "{busy}");
        Ok(())
    })
    .unwrap();
    other.write("y", |_| Ok(())).unwrap();
}

#[test]
fn a_cut_before_the_commit_changes_nothing_and_after_it_everything() {
    for (written, rows) in [(false, 0), (true, 1)] {
        let (_temp, dir) = dir();
        let faults = Faults::when(move |p| p == super::super::Point { step: "x", written });
        let mut store = Store::create(&dir, faults).unwrap();
        let cut = store
            .write("x", |tx| Ok(tx.execute("INSERT INTO provider VALUES (1, '')", [])?))
            .err()
            .unwrap();
        assert!(matches!(cut, Error::Interrupted(_)));
        drop(store);
        let mut store = Store::open(&dir, Faults::none()).unwrap();
        let count: u32 = store
            .read(|tx| Ok(tx.query_row("SELECT count(*) FROM provider", [], |r| r.get(0))?))
            .unwrap();
        assert_eq!(count, rows);
    }
}

#[test]
fn deleted_bytes_are_in_no_file() {
    let (_temp, dir) = dir();
    let mut store = Store::create(&dir, Faults::none()).unwrap();
    let marker = "remnant-of-a-deleted-row-".repeat(40);
    store
        .write("x", |tx| Ok(tx.execute("INSERT INTO provider VALUES (1, ?1)", [&marker])?))
        .unwrap();
    let found = || {
        fs::read_dir(&dir).unwrap().any(|entry| {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(25).any(|window| window == &marker.as_bytes()[..25])
        })
    };
    assert!(found(), "the control: it is there before");
    store.write("x", |tx| Ok(tx.execute("DELETE FROM provider", [])?)).unwrap();
    store.scrub().unwrap();
    assert!(!found());
}
