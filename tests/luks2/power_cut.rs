// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power cuts: after any number of writes, the last one torn or not, the volume opens with a
//! secret that was promised.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use opalbox::secret::Secret;
use opalbox::software::luks2::{
    Copies, Format, Kdf, Luks2, Luks2Error, Policy, Storage, restore, write_backup,
};

use crate::support::{SECRET, small, volume};

const NEW: &[u8] = b"the new secret";

/// What was written, and what was made durable by then.
#[derive(Default)]
struct Log {
    writes: Vec<(u64, Vec<u8>)>,
    synced: Vec<usize>,
}

/// Memory that remembers every write.
struct Recorder {
    bytes: Vec<u8>,
    log: Rc<RefCell<Log>>,
}

impl Storage for Recorder {
    fn size(&self) -> io::Result<u64> {
        self.bytes.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.bytes.read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.log.borrow_mut().writes.push((offset, data.to_vec()));
        self.bytes.write_at(offset, data)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut log = self.log.borrow_mut();
        let count = log.writes.len();
        log.synced.push(count);
        Ok(())
    }
}

/// Runs `change` on `start` and calls `check` with every state that a power cut can leave: all
/// writes up to a sync, and of those after it any one missing, torn, or there before the others.
fn every_cut(
    start: &[u8],
    change: impl FnOnce(Recorder),
    mut check: impl FnMut(usize, &'static str, Vec<u8>),
) {
    let log = Rc::new(RefCell::new(Log::default()));
    change(Recorder { bytes: start.to_vec(), log: Rc::clone(&log) });
    let log = log.borrow();
    assert!(!log.writes.is_empty());
    assert_eq!(log.synced.last(), Some(&log.writes.len()), "the last write is made durable");
    let apply = |bytes: &mut Vec<u8>, (offset, data): &(u64, Vec<u8>)| {
        bytes.write_at(*offset, data).unwrap();
    };
    for (number, write) in log.writes.iter().enumerate() {
        let durable = log.synced.iter().copied().filter(|it| *it <= number).max().unwrap_or(0);
        let mut before = start.to_vec();
        log.writes[..durable].iter().for_each(|it| apply(&mut before, it));
        let mut in_order = before.clone();
        log.writes[durable..number].iter().for_each(|it| apply(&mut in_order, it));
        let mut overtaken = before;
        apply(&mut overtaken, write);
        check(number, "overtaken", overtaken);
        for part in [write.1.len() / 3 / 512 * 512, write.1.len() / 2] {
            let mut torn = in_order.clone();
            apply(&mut torn, &(write.0, write.1[..part].to_vec()));
            check(number, "torn", torn);
        }
        let mut tail = in_order.clone();
        let half = write.1.len() / 2;
        apply(&mut tail, &(write.0 + half as u64, write.1[half..].to_vec()));
        check(number, "second half first", tail);
        check(number, "before", in_order);
    }
    let mut done = start.to_vec();
    log.writes.iter().for_each(|it| apply(&mut done, it));
    check(log.writes.len(), "done", done);
}

/// Which of the two secrets open the volume.
fn openers(bytes: Vec<u8>, key: &Secret) -> (bool, bool) {
    let mut header = Luks2::open(bytes, Policy::default()).unwrap();
    let opens = |header: &Luks2<Vec<u8>>, secret: &[u8]| match header.unlock(secret) {
        Ok(unlocked) => unlocked.key.matches(key.expose()),
        Err(Luks2Error::WrongSecret) => false,
        Err(other) => panic!("{other}"),
    };
    let found = (opens(&header, SECRET), opens(&header, NEW));
    if header.copies() != Copies::Whole {
        header.repair().unwrap();
        let header = Luks2::open(header.into_storage(), Policy::default()).unwrap();
        assert_eq!(header.copies(), Copies::Whole);
        assert_eq!(found, (opens(&header, SECRET), opens(&header, NEW)), "repair changes nothing");
    }
    found
}

#[test]
fn adding_a_keyslot() {
    let (header, key) = volume();
    let add = |storage| {
        let mut header = Luks2::open(storage, Policy::default()).unwrap();
        header.add_keyslot(&key, NEW, Kdf::for_random_secret()).unwrap();
    };
    let mut last = (true, false);
    every_cut(header.storage(), add, |number, how, bytes| {
        last = openers(bytes, &key);
        assert!(last.0, "{number} {how}");
    });
    assert_eq!(last, (true, true));
}

#[test]
fn changing_a_secret() {
    let (header, key) = volume();
    let change = |storage| {
        let mut header = Luks2::open(storage, Policy::default()).unwrap();
        header.change_secret(0, SECRET, NEW, Kdf::for_random_secret()).unwrap();
    };
    let mut last = (true, false);
    every_cut(header.storage(), change, |number, how, bytes| {
        last = openers(bytes, &key);
        assert!(last.0 || last.1, "{number} {how}");
    });
    assert_eq!(last, (false, true));
}

#[test]
fn removing_a_keyslot() {
    let (mut header, key) = volume();
    header.add_keyslot(&key, NEW, Kdf::for_random_secret()).unwrap();
    let remove = |storage| {
        let mut header = Luks2::open(storage, Policy::default()).unwrap();
        header.remove_keyslot(0).unwrap();
    };
    let mut last = (true, true);
    every_cut(header.storage(), remove, |number, how, bytes| {
        last = openers(bytes, &key);
        assert!(last.1, "{number} {how}");
    });
    assert_eq!(last, (false, true));
}

#[test]
fn creating_leaves_nothing_or_a_whole_volume() {
    let (old, _) = volume();
    let format = Format { replace: true, ..small() };
    let create = |storage| {
        Luks2::create(storage, &format, NEW, Kdf::for_random_secret()).unwrap();
    };
    let mut opened = 0;
    every_cut(old.storage(), create, |number, how, bytes| {
        let Ok(header) = Luks2::open(bytes, Policy::default()) else { return };
        if header.uuid() == old.uuid() {
            // Nothing durable yet, or the old header half erased: its keyslot is as it was.
            header.unlock(SECRET).unwrap_or_else(|it| panic!("{number} {how}: {it}"));
        } else {
            header.unlock(NEW).unwrap_or_else(|it| panic!("{number} {how}: {it}"));
            opened += 1;
        }
    });
    assert!(opened > 0);
}

#[test]
fn an_interrupted_destruction_can_be_repeated() {
    let (old, _) = volume();
    let destroy = |storage| {
        Luks2::open(storage, Policy::default()).unwrap().destroy().unwrap();
    };
    every_cut(old.storage(), destroy, |number, how, bytes| {
        match Luks2::open(bytes, Policy::default()) {
            Ok(header) => {
                let gone = header.destroy().unwrap();
                let gone = Luks2::open(gone, Policy::default());
                assert!(matches!(gone, Err(Luks2Error::NotLuks2)));
            }
            Err(Luks2Error::NotLuks2 | Luks2Error::Damaged { .. }) => {}
            Err(other) => panic!("{number} {how}: {other}"),
        }
    });
}

#[test]
fn an_interrupted_restore_can_be_repeated() {
    let (mut header, key) = volume();
    let mut backup = Vec::new();
    write_backup(&header, &mut backup).unwrap();
    header.change_secret(0, SECRET, NEW, Kdf::for_random_secret()).unwrap();
    let policy = Policy::default();
    let put_back = |storage| {
        restore(storage, &mut &backup[..], policy).unwrap();
    };
    every_cut(header.storage(), put_back, |_, _, bytes| {
        let header = restore(bytes, &mut &backup[..], policy).unwrap();
        assert!(header.unlock(SECRET).unwrap().key.matches(key.expose()));
    });
}
