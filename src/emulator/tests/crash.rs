// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power cut at every write and sync of every step, between bytes too: afterwards the drive is as
//! before the step or as after it, and what a finished step destroyed is nowhere.

use std::collections::{BTreeMap, BTreeSet};

use opal::Uid;
use opal::spec::table;
use opal::tper::Effect;
use sha2::{Digest, Sha256};

use super::host::Session;
use super::life::{self, ENDS, LIFE, RANGE, Step, all_keys, done, made, stored};
use crate::emulator::Drive;
use crate::emulator::backend::Backend as _;
use crate::emulator::drive::platform::DrivePlatform;
use crate::emulator::image::{Cut, Image, MemoryDisk, PAGE, Unsynced};
use crate::emulator::vault::KeyName;

/// What a host or an attacker can tell about a drive, keys compared with those before the step.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    tper: [u8; 32],
    shape: Vec<Vec<u64>>,
    owners: Vec<Vec<Uid>>,
    renewed: BTreeSet<KeyName>,
    mbr: [u8; 32],
    /// Stored bytes, for a table whose key was not renewed.
    store: Option<[u8; 32]>,
}

fn picture(disk: &MemoryDisk, before: &BTreeMap<KeyName, Vec<u8>>) -> Picture {
    let (image, stored) = stored(disk);
    let keys = all_keys(&stored);
    let renewed: BTreeSet<KeyName> =
        keys.iter().filter(|(name, key)| before.get(name) != Some(key)).map(|(n, _)| *n).collect();
    let area = |table: Uid| {
        let (offset, _) = image.header().layout().table(table).unwrap();
        let mut bytes = vec![0; 4 * PAGE];
        image.read(offset, &mut bytes).unwrap();
        Sha256::digest(bytes).into()
    };
    let same_key = !renewed.contains(&KeyName::Table(table::DATA_STORE));
    Picture {
        tper: Sha256::digest(&stored.tper).into(),
        shape: stored.vault.shape(),
        owners: stored.vault.owners(&life::SECRETS),
        renewed,
        mbr: area(table::uid(table::MBR)),
        store: same_key.then(|| area(table::data_store(1))),
    }
}

/// Secrets and wraps that the old state has and the new one has not.
fn destroyed(old: &MemoryDisk, new: &MemoryDisk) -> Vec<Vec<u8>> {
    let wraps = |disk: &MemoryDisk| -> BTreeSet<Vec<u8>> {
        stored(disk).1.vault.wraps().into_iter().collect()
    };
    wraps(old).difference(&wraps(new)).cloned().collect()
}

/// Runs `step` on a copy of `disk` with power cut at `cut`. The disk afterwards, and whether the
/// host heard an answer.
fn cut_short(disk: &MemoryDisk, step: &Step, cut: Cut) -> (MemoryDisk, bool, bool) {
    let disk = disk.after_power_loss(Unsynced::Lost);
    let drive = Drive::power_on(Box::new(disk.clone())).unwrap();
    let session = step
        .actor
        .map(|(provider, who, pin)| Session::start(&drive, provider, Some((who, pin))).unwrap());
    disk.cut(cut);
    let answered = (step.act)(&drive, session.as_ref()).is_ok_and(|answer| answer.0 == step.status);
    let was_cut = disk.is_dead();
    // A drive whose disk is gone answers nothing more.
    if was_cut {
        assert!(drive.read(0, &mut [0; 512]).is_err() || answered);
    }
    (disk, answered, was_cut)
}

/// Every cut of one step; how many ended before it and how many after.
fn torture(disk: &MemoryDisk, step: &Step) -> (usize, usize) {
    let before = all_keys(&stored(disk).1);
    let old = picture(&started(disk, step), &before);
    let finished = done(disk, step);
    drop(Drive::power_on(Box::new(finished.clone())).unwrap());
    let new = picture(&finished, &before);
    let (mut as_before, mut as_after) = (0, 0);
    for after in 0.. {
        let mut finished = false;
        let mut in_a_write = true;
        for torn in [0, 53, 6000] {
            if torn > 0 && !in_a_write {
                continue;
            }
            let (cut, answered, was_cut) = cut_short(disk, step, Cut { after, torn });
            (finished, in_a_write) = (!was_cut, cut.died_writing());
            let seed = after * 31 + torn as u64;
            // A torn write that is lost was seen already.
            let lost: &[_] = &[Unsynced::Lost, Unsynced::Mixed(seed)];
            let modes =
                [Unsynced::Kept].into_iter().chain(lost.iter().copied().filter(|_| torn == 0));
            for unsynced in modes {
                let survivor = cut.after_power_loss(unsynced);
                let at = format!("{}, cut after {after} at {torn}, {unsynced:?}", step.name);
                // Opening settles which state it is; the picture is of the disk after that.
                drop(Drive::power_on(Box::new(survivor.clone())).expect(&at));
                let now = picture(&survivor, &before);
                assert!(now == old || now == new, "{at}: neither as before nor as after: {now:?}");
                assert!(now == new || !answered, "{at}: answered and lost");
                if now == new {
                    let gone = destroyed(disk, &survivor);
                    let gone: Vec<&[u8]> = gone.iter().map(Vec::as_slice).collect();
                    assert_eq!(survivor.find(&gone), None, "{at}: something destroyed is there");
                }
                // An unlock and the like leave no trace at the next power-on: both.
                as_before += usize::from(now == old);
                as_after += usize::from(now == new);
            }
            if finished {
                assert!(answered, "{}: not cut and not answered", step.name);
                break;
            }
        }
        if finished {
            return (as_before, as_after);
        }
    }
    unreachable!("a step ends")
}

/// The disk after power-on and the actor's authentication, which may leave their own marks.
fn started(disk: &MemoryDisk, step: &Step) -> MemoryDisk {
    let disk = disk.after_power_loss(Unsynced::Lost);
    let drive = Drive::power_on(Box::new(disk.clone())).unwrap();
    let session = step
        .actor
        .map(|(provider, who, pin)| Session::start(&drive, provider, Some((who, pin))).unwrap());
    let _ = session;
    drop(drive);
    let after = disk.after_power_loss(Unsynced::Lost);
    drop(Drive::power_on(Box::new(after.clone())).unwrap());
    after
}

/// Steps of which this file says nothing, because they are several acts or none of the TPer's.
const ELSEWHERE: [&str; 3] = ["write media", "write the range", "power cycle"];

#[test]
fn a_power_cut_anywhere_in_a_life_leaves_before_or_after() {
    let mut disk = made();
    for step in LIFE {
        if !ELSEWHERE.contains(&step.name) {
            let (before, after) = torture(&disk, step);
            assert!(before > 0 && after > 0, "{}: {before} and {after}", step.name);
        }
        disk = done(&disk, step);
    }
}

#[test]
fn a_power_cut_anywhere_in_a_revert_leaves_before_or_after() {
    let disk = LIFE.iter().fold(made(), |disk, step| done(&disk, step));
    for step in ENDS {
        let (before, after) = torture(&disk, step);
        assert!(before > 0 && after > 0, "{}: {before} and {after}", step.name);
    }
}

/// Byte-table writes that fit the state travel in it; the others go through the journal.
#[test]
fn table_writes_in_a_row_are_whole_or_absent() {
    for size in [9000, 700 << 10] {
        table_writes_in_a_row(size);
    }
}

fn table_writes_in_a_row(size: usize) {
    let base = LIFE.iter().take(3).fold(made(), |disk, step| done(&disk, step));
    let mbr = table::uid(table::MBR);
    let effect =
        |fill: u8| Effect::WriteTable { table: mbr, offset: 4000, data: vec![fill; size].into() };
    let content = |disk: &MemoryDisk| {
        let (image, _) = stored(disk);
        let (offset, _) = image.header().layout().table(mbr).unwrap();
        let mut bytes = vec![0; size];
        image.read(offset + 4000, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn");
        bytes[0]
    };
    let mut seen = BTreeSet::new();
    for after in 0..12 {
        for torn in [0, size / 2] {
            let disk = base.after_power_loss(Unsynced::Lost);
            let (image, stored) = Image::open(Box::new(disk.clone())).unwrap();
            let mut platform = DrivePlatform::new(Some(image), stored.vault, 1);
            platform.persist(&stored.tper, &[effect(1)]).unwrap();
            disk.cut(Cut { after, torn });
            // A later one must not hurt what an earlier one still needs.
            let second = platform.persist(&stored.tper, &[effect(2)]);
            let third = platform.persist(&stored.tper, &[effect(3)]);
            for unsynced in modes(after) {
                let found = content(&disk.after_power_loss(unsynced));
                let least = 1 + u8::from(second.is_ok()) + u8::from(third.is_ok());
                assert!(found >= least, "cut after {after}, {unsynced:?}: {found} < {least}");
                seen.insert(found);
            }
        }
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
}

#[test]
fn power_cut_while_powering_on_loses_nothing() {
    let disk = LIFE.iter().take(12).fold(made(), |disk, step| done(&disk, step));
    let before = all_keys(&stored(&disk).1);
    let old = picture(&started(&disk, &LIFE[12]), &before);
    for after in 0..12 {
        for torn in [0, 30, 4000] {
            let cut = disk.after_power_loss(Unsynced::Lost);
            cut.cut(Cut { after, torn });
            let _ = Drive::power_on(Box::new(cut.clone()));
            for unsynced in [Unsynced::Kept, Unsynced::Lost, Unsynced::Mixed(after)] {
                let survivor = cut.after_power_loss(unsynced);
                let drive = Drive::power_on(Box::new(survivor.clone())).unwrap();
                assert!(drive.status().ranges[usize::from(RANGE)].read_locked);
                drop(drive);
                assert_eq!(picture(&survivor, &before), old);
            }
        }
    }
}

#[test]
fn a_failed_write_stops_the_drive_until_a_power_cycle() {
    let disk = LIFE.iter().take(3).fold(made(), |disk, step| done(&disk, step));
    let step = &LIFE[4];
    for nth in 1..4 {
        let disk = disk.after_power_loss(Unsynced::Lost);
        let drive = Drive::power_on(Box::new(disk)).unwrap();
        let (provider, who, pin) = step.actor.unwrap();
        let session = Session::start(&drive, provider, Some((who, pin))).unwrap();
        drive.fail_image_write(nth);
        let answer = (step.act)(&drive, Some(&session));
        if nth <= 2 {
            assert!(answer.is_err(), "write {nth}");
            assert!(drive.status().failed);
            assert!(drive.read(0, &mut [0; 512]).is_err());
            drive.power_cycle().unwrap();
        } else {
            drive.clear_faults();
        }
        assert!(!drive.status().failed);
        assert!(drive.read(0, &mut [0; 512]).is_ok());
        assert!(Session::start(&drive, provider, Some((who, pin))).is_ok() || nth > 2);
    }
}

/// All, none, and some of what was not synced.
fn modes(seed: u64) -> impl Iterator<Item = Unsynced> {
    let mixed = (0..3).map(move |more| Unsynced::Mixed(seed * 7 + more));
    [Unsynced::Kept, Unsynced::Lost].into_iter().chain(mixed)
}
