// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making, finding, repairing, saving and destroying headers.

use opalbox::software::luks2::{
    Copies, Format, Kdf, Luks2, Luks2Error, Policy, restore, write_backup,
};
use opalbox::software::xts::Xts;

use crate::support::{SECRET, edited, open, seal, small, volume};

#[test]
fn created_volumes_open_and_have_the_shape_asked_for() {
    for sector_size in [512, 4096] {
        let format = Format { sector_size, label: "a label".into(), ..small() };
        let storage = vec![0; (2 << 20) + 4096];
        let (made, key) =
            Luks2::create(storage, &format, SECRET, Kdf::for_random_secret()).unwrap();
        let read = open(made.storage());
        assert_eq!(read.copies(), Copies::Whole);
        assert_eq!(read.label(), "a label");
        assert_eq!(read.uuid().len(), 36);
        assert_eq!(read.uuid(), made.uuid());
        assert_eq!(read.segment().sector_size, sector_size);
        assert_eq!(read.segment().offset, 2 << 20);
        assert_eq!(read.segment().length, None);
        let unlocked = read.unlock(SECRET).unwrap();
        assert_eq!(unlocked.keyslot, 0);
        assert!(unlocked.key.matches(key.expose()));
        assert_eq!(key.expose().len(), 64);
        Xts::new(key.expose()).unwrap();
        assert!(matches!(read.unlock(b"something else"), Err(Luks2Error::WrongSecret)));
    }
}

#[test]
fn two_volumes_share_nothing() {
    let ((one, key), (two, other)) = (volume(), volume());
    assert!(!key.matches(other.expose()));
    assert_ne!(one.uuid(), two.uuid());
    assert!(one.storage()[0x8000..0x9000] != two.storage()[0x8000..0x9000]);
    assert!(!one.is_volume_key(other.expose()) && one.is_volume_key(key.expose()));
}

#[test]
fn create_refuses_what_cannot_work_and_leaves_the_device_alone() {
    let create = |size: usize, format: Format| {
        Luks2::create(vec![0xaa; size], &format, SECRET, Kdf::for_random_secret()).map(|it| it.0)
    };
    let room = (2 << 20) + 4096;
    assert!(matches!(create(room - 1, small()), Err(Luks2Error::TooSmall { .. })));
    for format in [
        Format { sector_size: 520, ..small() },
        Format { sector_size: 1024, ..small() },
        Format { data_offset: (2 << 20) + 512, ..small() },
        Format { data_offset: 64 << 10, ..small() },
        Format { label: "x".repeat(48), ..small() },
        Format { subsystem: "line\nbreak".into(), ..small() },
    ] {
        assert!(matches!(create(room, format), Err(Luks2Error::Parameter(_))));
    }
    let storage = vec![0; room];
    let empty = Luks2::create(storage, &small(), b"", Kdf::for_random_secret());
    assert!(matches!(empty, Err(Luks2Error::Parameter(_))));
    for kdf in [
        Kdf::Pbkdf2 { hash: opalbox::software::luks2::Hash::Sha256, iterations: 999 },
        Kdf::Pbkdf2 { hash: opalbox::software::luks2::Hash::Sha1, iterations: 1000 },
        Kdf::Argon2id { time: 1, memory: 64, cpus: 1 },
        Kdf::Argon2id { time: 4, memory: u32::MAX, cpus: 1 },
        Kdf::Argon2id { time: 4, memory: 64, cpus: 5 },
    ] {
        let weak = Luks2::create(vec![0; room], &small(), SECRET, kdf);
        assert!(matches!(weak, Err(Luks2Error::Parameter(_))), "{kdf:?}");
    }
}

#[test]
fn create_goes_over_a_header_only_when_asked() {
    let (old, _) = volume();
    let storage = old.into_storage();
    let again = Luks2::create(storage.clone(), &small(), SECRET, Kdf::for_random_secret());
    assert!(matches!(again, Err(Luks2Error::Exists)));
    let mut half = storage.clone();
    half[..4096].fill(0);
    let again = Luks2::create(half, &small(), SECRET, Kdf::for_random_secret());
    assert!(matches!(again, Err(Luks2Error::Exists)), "the second copy counts too");
    let format = Format { replace: true, ..small() };
    let (new, _) = Luks2::create(storage, &format, b"new", Kdf::for_random_secret()).unwrap();
    let new = open(new.storage());
    assert!(matches!(new.unlock(SECRET), Err(Luks2Error::WrongSecret)));
    new.unlock(b"new").unwrap();
}

#[test]
fn either_copy_alone_is_enough_and_repair_brings_back_the_other() {
    let (made, _) = volume();
    let whole = made.into_storage();
    for (damaged, expected) in [(0, Copies::PrimaryStale), (0x4000, Copies::SecondaryStale)] {
        for at in [0, 7, 100, 460, 4096, 5000, 0x3fff] {
            let mut bytes = whole.clone();
            bytes[damaged + at] ^= 0x55;
            let mut header = open(&bytes);
            assert_eq!(header.copies(), expected, "{damaged} {at}");
            header.unlock(SECRET).unwrap();
            header.repair().unwrap();
            let header = open(header.storage());
            assert_eq!(header.copies(), Copies::Whole);
            header.unlock(SECRET).unwrap();
        }
    }
    let mut bytes = whole.clone();
    bytes[5000] ^= 1;
    bytes[0x4000 + 5000] ^= 1;
    let both = Luks2::open(bytes, Policy::default());
    assert!(matches!(both, Err(Luks2Error::Damaged { .. })), "{both:?}");
}

#[test]
fn the_newer_copy_counts() {
    let (mut header, key) = volume();
    let old = header.storage().clone();
    header.add_keyslot(&key, b"second", Kdf::for_random_secret()).unwrap();
    let new = header.into_storage();
    for (copy, expected) in [(0, Copies::PrimaryStale), (0x4000, Copies::SecondaryStale)] {
        let mut mixed = new.clone();
        mixed[copy..copy + 0x4000].copy_from_slice(&old[copy..copy + 0x4000]);
        let header = open(&mixed);
        assert_eq!(header.copies(), expected);
        assert_eq!(header.keyslots().len(), 2);
        header.unlock(b"second").unwrap();
    }
}

#[test]
fn other_formats_are_told_apart() {
    let empty = Luks2::open(vec![0; 1 << 20], Policy::default());
    assert!(matches!(empty, Err(Luks2Error::NotLuks2)));
    let short = Luks2::open(vec![0; 100], Policy::default());
    assert!(matches!(short, Err(Luks2Error::NotLuks2)));
    let mut luks1 = vec![0; 1 << 20];
    luks1[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x01");
    let luks1 = Luks2::open(luks1, Policy::default());
    assert!(matches!(luks1, Err(Luks2Error::Version(1))));
}

#[test]
fn a_larger_header_is_read_and_found_again() {
    let (made, _) = volume();
    let small = made.into_storage();
    // The same metadata in copies of 64 KiB, the keyslot moved out of their way.
    let mut bytes = vec![0; small.len()];
    let text = edited(&small, |it| {
        it["config"]["json_size"] = "61440".into();
        it["config"]["keyslots_size"] = "1048576".into();
        it["keyslots"]["0"]["area"]["offset"] = "131072".into();
    });
    for copy in [0usize, 0x1_0000] {
        let source = if copy == 0 { 0 } else { 0x4000 };
        bytes[copy..copy + 0x4000].copy_from_slice(&text[source..source + 0x4000]);
        bytes[copy + 8..copy + 16].copy_from_slice(&0x1_0000u64.to_be_bytes());
        bytes[copy + 256..copy + 264].copy_from_slice(&(copy as u64).to_be_bytes());
        seal(&mut bytes[copy..copy + 0x1_0000]);
    }
    bytes[131_072..131_072 + 258_048].copy_from_slice(&small[0x8000..0x8000 + 258_048]);
    open(&bytes).unlock(SECRET).unwrap();
    bytes[..4096].fill(0);
    let mut header = open(&bytes);
    assert_eq!(header.copies(), Copies::PrimaryStale);
    header.repair().unwrap();
    assert_eq!(open(header.storage()).copies(), Copies::Whole);
    open(header.storage()).unlock(SECRET).unwrap();
}

#[test]
fn detached_headers() {
    let format = Format { detached: true, ..small() };
    let (made, _) =
        Luks2::create(vec![0; 2 << 20], &format, SECRET, Kdf::for_random_secret()).unwrap();
    assert_eq!(made.segment().offset, 0);
    let bytes = made.into_storage();
    let error = Luks2::open(bytes.clone(), Policy::default()).unwrap_err();
    assert!(error.to_string().contains("detached"), "{error}");
    let policy = Policy { detached: true, ..Policy::default() };
    Luks2::open(bytes, policy).unwrap().unlock(SECRET).unwrap();
}

#[test]
fn backups_come_back() {
    let (mut header, key) = volume();
    let mut backup = Vec::new();
    write_backup(&header, &mut backup).unwrap();
    header.add_keyslot(&key, b"second", Kdf::for_random_secret()).unwrap();
    header.remove_keyslot(0).unwrap();
    let policy = Policy::default();
    let header = restore(header.into_storage(), &mut &backup[..], policy).unwrap();
    assert!(matches!(header.unlock(b"second"), Err(Luks2Error::WrongSecret)));
    assert!(header.unlock(SECRET).unwrap().key.matches(key.expose()));
    // After the header is gone, too.
    let erased = header.destroy().unwrap();
    let header = restore(erased, &mut &backup[..], policy).unwrap();
    header.unlock(SECRET).unwrap();
    // Not over another volume, not from half a backup, not onto a small device.
    let (other, _) = volume();
    let before = other.storage().clone();
    let error = restore(other.into_storage(), &mut &backup[..], policy).unwrap_err();
    assert!(matches!(error, Luks2Error::Exists));
    let error = restore(before.clone(), &mut &backup[..backup.len() - 1], policy).unwrap_err();
    assert!(matches!(error, Luks2Error::Io { .. }), "{error}");
    let error = restore(vec![0; 1 << 20], &mut &backup[..], policy).unwrap_err();
    assert!(matches!(error, Luks2Error::TooSmall { .. }), "{error}");
    backup[0] ^= 1;
    backup[0x4000] ^= 1;
    let error = restore(vec![0; 4 << 20], &mut &backup[..], policy).unwrap_err();
    assert!(matches!(error, Luks2Error::NotLuks2), "{error}");
}

#[test]
fn destroyed_means_destroyed() {
    let (header, _) = volume();
    let before = header.storage().clone();
    let after = header.destroy().unwrap();
    assert!(matches!(Luks2::open(after.clone(), Policy::default()), Err(Luks2Error::NotLuks2)));
    // With the old metadata put back, the keyslot still opens nothing.
    let mut revived = after.clone();
    revived[..0x8000].copy_from_slice(&before[..0x8000]);
    assert!(matches!(open(&revived).unlock(SECRET), Err(Luks2Error::WrongSecret)));
    for (at, piece) in after[0x8000..2 << 20].chunks(4096).enumerate() {
        let old = &before[0x8000 + at * 4096..][..4096];
        assert!(piece != old || old.iter().all(|it| *it == 0), "{at}");
    }
    assert!(after[2 << 20..] == before[2 << 20..], "data is not touched");
}

#[test]
fn the_binding_follows_what_it_should() {
    let (mut header, key) = volume();
    let binding = header.binding();
    header.add_keyslot(&key, b"second", Kdf::for_random_secret()).unwrap();
    header.remove_keyslot(0).unwrap();
    assert_eq!(header.binding(), binding);
    assert_eq!(open(header.storage()).binding(), binding);
    let changed = edited(header.storage(), |it| {
        it["segments"]["0"]["iv_tweak"] = "8".into();
    });
    assert_ne!(open(&changed).binding(), binding);
    let changed = edited(header.storage(), |it| {
        it["digests"]["0"]["iterations"] = 1001.into();
    });
    assert_ne!(open(&changed).binding(), binding);
    assert_ne!(volume().0.binding(), binding);
}
