// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store's head in the TPM's counter: old stores, old TPMs, power cuts in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use opalbox::lockbox::{
    AnchorProblem, Error, Faults, InitOptions, Kind, Lockbox, OpenOptions, Origin, Refusal,
};

use crate::support::{Answers, copy_dir, pin, place, reopen, tpm_provider};
use crate::swtpm::Swtpm;

fn made(dir: &Path, tpm: &Swtpm, admin_pin: bool) -> Lockbox {
    let options = InitOptions::new(tpm_provider(tpm, admin_pin), Answers::right());
    let lockbox = Lockbox::init(dir, options).unwrap();
    lockbox.stage("drive", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    lockbox.mark_set_issued("drive", "SID").unwrap();
    lockbox.activate("drive", "SID", 1, None).unwrap();
    lockbox
}

fn rotate(lockbox: &Lockbox, version: u64) -> Result<(), Error> {
    let pin = pin(u8::try_from(version).unwrap());
    lockbox.stage("drive", "SID", Kind::DrivePin, &pin, Origin::Generated)?;
    lockbox.mark_set_issued("drive", "SID")?;
    lockbox.activate("drive", "SID", version, None)
}

fn head(lockbox: &Lockbox) -> u64 {
    lockbox.status().unwrap().head.unwrap()
}

fn put_back(copy: &Path, dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap();
    copy_dir(copy, dir);
}

fn problem<T>(result: Result<T, Error>) -> AnchorProblem {
    match result {
        Err(Error::Anchor(problem)) => problem,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("an old store was taken"),
    }
}

/// Decision 7: it unlocks, and that is all; the administrator can take it as it is.
#[test]
fn an_old_store_put_back_unlocks_and_changes_nothing() {
    let Some(tpm) = Swtpm::start() else { return };
    let (temp, dir) = place();
    let lockbox = made(&dir, &tpm, true);
    let key = lockbox.credential("drive", "SID").unwrap().unwrap().key_id;
    let copy = temp.path().join("copy");
    let old = head(&lockbox);
    drop(lockbox);
    copy_dir(&dir, &copy);
    rotate(&reopen(&dir), 2).unwrap();
    put_back(&copy, &dir);

    let lockbox = reopen(&dir);
    let expected = AnchorProblem::StoreOld { store: old, tpm: old + 1 };
    assert!(lockbox.credential_secret("drive", "SID", 1).unwrap().matches(pin(1).expose()));
    assert_eq!(lockbox.note_attempt("drive", "SID", None).unwrap(), 1, "part of unlocking");
    lockbox.clear_attempts("drive", "SID", None).unwrap();
    assert_eq!(problem(rotate(&lockbox, 2)), expected);
    assert_eq!(problem(lockbox.activate("drive", "SID", 1, None)), expected);
    assert_eq!(problem(lockbox.forget("drive")), expected);
    assert_eq!(problem(lockbox.retire_superseded("drive", "SID")), expected);
    assert_eq!(problem(lockbox.asset_put("range/1", key, BTreeMap::new())), expected);
    assert_eq!(problem(lockbox.asset_remove("range/1")), expected);
    assert_eq!(problem(lockbox.key_destroy(key)), expected);
    let secret = pin(9);
    let made = lockbox.key_create(Kind::Opaque, &secret, Origin::Generated);
    assert_eq!(problem(made), expected);
    let check = lockbox.check().unwrap();
    assert!(!check.ok && check.findings.iter().any(|f| f.what.contains("old one")));
    assert!(lockbox.credential_secret("drive", "SID", 1).is_ok(), "nothing was destroyed");
    drop(lockbox);

    let wrong = Answers { pin: Some("000000"), ..Answers::default() };
    let options = OpenOptions { prompt: std::sync::Arc::new(wrong), ..OpenOptions::default() };
    assert!(Lockbox::open(&dir, options).unwrap().accept_store().is_err());
    assert_eq!(problem(rotate(&reopen(&dir), 2)), expected);
    reopen(&dir).accept_store().unwrap();
    rotate(&reopen(&dir), 2).unwrap();
    assert_eq!(head(&reopen(&dir)), old + 2);
}

#[test]
fn a_tpm_put_back_is_told_apart() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    let lockbox = made(&dir, &tpm, false);
    let snapshot = tpm.cloned();
    let old = head(&lockbox);
    rotate(&lockbox, 2).unwrap();
    rotate(&lockbox, 3).unwrap();
    drop(lockbox);
    let tcti = Some(snapshot.tcti().parse().unwrap());
    let lockbox = Lockbox::open(&dir, OpenOptions { tcti, ..OpenOptions::default() }).unwrap();
    let expected = AnchorProblem::TpmOld { store: old + 2, tpm: old };
    assert_eq!(problem(rotate(&lockbox, 4)), expected);
    assert!(lockbox.credential_secret("drive", "SID", 3).is_ok());
    assert!(expected.to_string().contains("older than the store"));
}

#[test]
fn each_change_costs_one_count_and_reading_none() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    let lockbox = made(&dir, &tpm, false);
    let key = lockbox.credential("drive", "SID").unwrap().unwrap().key_id;
    let mut counted = {
        let mut before = head(&lockbox);
        move |lockbox: &Lockbox| {
            let now = head(lockbox);
            let count = now - before;
            before = now;
            count
        }
    };
    tpm.take_commands();
    lockbox.credential_secret("drive", "SID", 1).unwrap();
    lockbox.note_attempt("drive", "SID", Some(1)).unwrap();
    lockbox.stage("drive", "SID", Kind::DrivePin, &pin(2), Origin::Generated).unwrap();
    lockbox.mark_set_issued("drive", "SID").unwrap();
    assert_eq!(counted(&lockbox), 0);
    lockbox.activate("drive", "SID", 2, None).unwrap();
    assert_eq!(counted(&lockbox), 1);
    lockbox.retire_superseded("drive", "SID").unwrap();
    assert_eq!(counted(&lockbox), 1);
    lockbox.asset_put("range/1", key, BTreeMap::new()).unwrap();
    assert_eq!(counted(&lockbox), 1);
    lockbox.asset_remove("range/1").unwrap();
    assert_eq!(counted(&lockbox), 1);
    lockbox.forget("drive").unwrap();
    assert_eq!(counted(&lockbox), 1);
    lockbox.forget("drive").unwrap();
    assert_eq!(counted(&lockbox), 0, "there was nothing left to forget");
    // TPM_CC_NV_Increment.
    let increments = tpm.take_commands().iter().filter(|code| **code == 0x134).count();
    assert_eq!(increments, 5);
    // A power cut does not make it jump.
    tpm.power_cut();
    let before = head(&lockbox);
    let made = lockbox.key_create(Kind::Opaque, &pin(3), Origin::Generated).unwrap();
    lockbox.key_destroy(made).unwrap();
    assert_eq!(head(&lockbox), before + 1);
}

/// The power fails at each side of both writes: the store is one ahead or not, and goes on.
#[test]
fn a_power_cut_between_store_and_counter_is_no_rollback() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    drop(made(&dir, &tpm, false));
    let mut version = 1;
    for (step, written, stands) in [
        ("activate", false, false),
        ("activate", true, true),
        ("advance counter", false, true),
        ("advance counter", true, true),
    ] {
        let lockbox = reopen(&dir);
        version += 1;
        let secret = pin(version);
        lockbox.stage("drive", "SID", Kind::DrivePin, &secret, Origin::Generated).unwrap();
        lockbox.mark_set_issued("drive", "SID").unwrap();
        drop(lockbox);
        let faults = Faults::when(move |p| p.step == step && p.written == written);
        let options = OpenOptions { faults, ..OpenOptions::default() };
        let lockbox = Lockbox::open(&dir, options).unwrap();
        let cut = lockbox.activate("drive", "SID", version.into(), None);
        assert!(matches!(cut, Err(Error::Interrupted(_))), "{step}");
        drop(lockbox);
        tpm.power_cut();
        let lockbox = reopen(&dir);
        let active = lockbox.credential("drive", "SID").unwrap().unwrap().active;
        assert_eq!(active == Some(version.into()), stands, "{step} {written}");
        lockbox.activate("drive", "SID", version.into(), None).unwrap();
        assert!(lockbox.check().unwrap().ok);
    }
}

/// The TPM loses power at every command of a change in turn.
#[test]
fn a_tpm_cut_at_every_command_of_a_change() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    drop(made(&dir, &tpm, false));
    let key = reopen(&dir).credential("drive", "SID").unwrap().unwrap().key_id;
    let commands = {
        let lockbox = reopen(&dir);
        lockbox.unlock().unwrap();
        tpm.take_commands();
        lockbox.asset_put("range", key, BTreeMap::new()).unwrap();
        tpm.take_commands().len()
    };
    assert!(commands > 10, "{commands}");
    for cuts in 0..commands {
        let lockbox = reopen(&dir);
        lockbox.unlock().unwrap();
        tpm.cut_at_command(cuts);
        let id = format!("range/{cuts}");
        let put = lockbox.asset_put(&id, key, BTreeMap::new());
        tpm.meddle_no_more();
        tpm.power_cut();
        drop(lockbox);
        let there = reopen(&dir).asset(&id).unwrap().is_some();
        assert_eq!(there, put.is_ok(), "cut {cuts}: what was acknowledged stands");
        let after = reopen(&dir);
        after.asset_put(&id, key, BTreeMap::new()).unwrap_or_else(|e| panic!("cut {cuts}: {e}"));
    }
    assert!(reopen(&dir).check().unwrap().ok);
}

#[test]
fn an_edited_head_is_refused() {
    let Some(tpm) = Swtpm::start() else { return };
    let (temp, dir) = place();
    let lockbox = made(&dir, &tpm, false);
    let copy = temp.path().join("copy");
    drop(lockbox);
    copy_dir(&dir, &copy);
    rotate(&reopen(&dir), 2).unwrap();
    put_back(&copy, &dir);
    use Refusal as R;
    for edit in [
        "UPDATE note SET value = x'00000000000000ff' WHERE name = 'store/head'",
        "UPDATE note SET value = x'00' WHERE name = 'store/head'",
        "DELETE FROM note WHERE name = 'store/head'",
    ] {
        let file = rusqlite::Connection::open(dir.join("lockbox.db")).unwrap();
        file.execute(edit, []).unwrap();
        drop(file);
        match rotate(&reopen(&dir), 2) {
            Err(Error::Refused { reason: R::RowMac | R::Missing | R::Malformed, .. }) => {}
            other => panic!("{edit}: {other:?}"),
        }
        assert!(reopen(&dir).credential_secret("drive", "SID", 1).is_ok());
    }
}

/// Two processes change at once: neither mistakes the other's count for a rollback.
#[test]
fn changes_side_by_side_keep_the_count() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    let lockbox = made(&dir, &tpm, false);
    let key = lockbox.credential("drive", "SID").unwrap().unwrap().key_id;
    let before = head(&lockbox);
    let done = AtomicUsize::new(0);
    // A software TPM has no resource manager: only what the lock on changes covers may overlap.
    let others: Vec<Lockbox> = (0..3).map(|_| reopen(&dir)).collect();
    others.iter().for_each(|lockbox| lockbox.unlock().unwrap());
    std::thread::scope(|scope| {
        for (thread, lockbox) in others.iter().enumerate() {
            let done = &done;
            scope.spawn(move || {
                for n in 0..4 {
                    lockbox.asset_put(&format!("{thread}/{n}"), key, BTreeMap::new()).unwrap();
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::SeqCst), 12);
    assert_eq!(head(&lockbox), before + 12);
    assert!(lockbox.check().unwrap().ok);
}
