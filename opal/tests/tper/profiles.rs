// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every SSC of the Opal family: what its preset has, what it lacks, and its life. Enterprise is in
//! `enterprise.rs`.

use opal::Uid;
use opal::spec::{authority, c_pin, column, locking, method, sp, table};
use opal::tper::profile::DataRemoval;
use opal::tper::{MemoryPlatform, Reset, Ssc, StateError, Tper};
use opal::wire::Status;
use opal::wire::discovery::Discovery;

use crate::support::{Bench, MSID, PSID, Session, profile_of, uids};

const OPAL_FAMILY: [Ssc; 6] =
    [Ssc::Opal1, Ssc::Opal2, Ssc::Opalite, Ssc::Pyrite1, Ssc::Pyrite2, Ssc::Ruby];

fn next(bench: &mut Bench, session: Session, of: u32) -> Result<Vec<Uid>, Status> {
    bench.call(session, table::uid(of), method::NEXT, |_| {}).map(|results| uids(&results))
}

#[test]
fn names_lead_back() {
    for ssc in Ssc::ALL {
        assert_eq!(Ssc::from_name(ssc.name()), Some(ssc));
        assert_eq!(profile_of(ssc).check(), Ok(()), "{ssc:?}");
    }
    assert_eq!(Ssc::from_name("opal3"), None);
}

#[test]
fn each_says_what_it_is_in_discovery() {
    for (ssc, code, version) in [
        (Ssc::Opal1, 0x0200, 0x10),
        (Ssc::Opal2, 0x0203, 0x23),
        (Ssc::Opalite, 0x0301, 0x10),
        (Ssc::Pyrite1, 0x0302, 0x10),
        (Ssc::Pyrite2, 0x0303, 0x10),
        (Ssc::Ruby, 0x0304, 0x10),
        (Ssc::Enterprise, 0x0100, 0x10),
    ] {
        let bench = Bench::new(profile_of(ssc));
        let bytes = bench.tper.discovery();
        let (found, _) = descriptor(&bytes, code).unwrap_or_else(|| panic!("{ssc:?}"));
        let com_id = bench.com_id().to_be_bytes();
        assert_eq!(found[2..6], [version, 0x10, com_id[0], com_id[1]], "{ssc:?}");
        let sscs = [0x0100, 0x0200, 0x0203, 0x0301, 0x0302, 0x0303, 0x0304];
        for other in sscs.iter().filter(|other| **other != code) {
            assert!(descriptor(&bytes, *other).is_none(), "{ssc:?} says it is {other:04X}");
        }
        // The host's decoder, written apart from the encoder, finds the same.
        let decoded = Discovery::parse(&bytes).unwrap();
        assert_eq!(decoded.sscs().count(), 1, "{ssc:?}");
    }
}

/// A descriptor's bytes and its place among the others.
fn descriptor(discovery: &[u8], code: u16) -> Option<(&[u8], usize)> {
    let mut at = 48;
    let mut place = 0;
    while at + 4 <= discovery.len() {
        let end = at + 4 + usize::from(discovery[at + 3]);
        if discovery[at..at + 2] == code.to_be_bytes() {
            return Some((&discovery[at..end], place));
        }
        (at, place) = (end, place + 1);
    }
    None
}

#[test]
fn encryption_and_shadow_mbr_in_discovery() {
    for (ssc, version, flags) in [
        (Ssc::Opal1, 1, 0b0000_1001),
        (Ssc::Opal2, 3, 0b0000_1001),
        (Ssc::Opalite, 2, 0b0000_1001),
        (Ssc::Pyrite1, 2, 0b0000_0001),
        (Ssc::Pyrite2, 2, 0b0000_0001),
        (Ssc::Ruby, 2, 0b0100_1001),
        (Ssc::Enterprise, 1, 0b0000_1011),
    ] {
        let bytes = Bench::new(profile_of(ssc)).tper.discovery();
        let (found, _) = descriptor(&bytes, 0x0002).unwrap();
        assert_eq!((found[2] >> 4, found[4]), (version, flags), "{ssc:?}");
        let geometry = descriptor(&bytes, 0x0003).is_some();
        assert_eq!(geometry, ssc != Ssc::Opal1, "{ssc:?}");
    }
}

#[test]
fn authorities_and_ranges() {
    for (ssc, admins, users, ranges) in [
        (Ssc::Opal1, 4, 8, 4),
        (Ssc::Opal2, 4, 9, 8),
        (Ssc::Opalite, 1, 2, 0),
        (Ssc::Pyrite1, 1, 2, 0),
        (Ssc::Pyrite2, 1, 2, 0),
        (Ssc::Ruby, 4, 9, 8),
    ] {
        let mut bench = Bench::activated(profile_of(ssc), b"owner");
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
        let mut expected = vec![authority::ANYBODY, authority::ADMINS];
        expected.extend((1..=admins).map(authority::admin));
        expected.push(authority::USERS);
        expected.extend((1..=users).map(authority::user));
        assert_eq!(next(&mut bench, session, table::AUTHORITY).unwrap(), expected, "{ssc:?}");
        let expected: Vec<Uid> = (0..=ranges).map(locking::range).collect();
        assert_eq!(next(&mut bench, session, table::LOCKING).unwrap(), expected, "{ssc:?}");
        let max = bench.get_uint(session, table::row::LOCKING_INFO_ROW, 4);
        assert_eq!(max, u64::from(ranges));
        assert_eq!(bench.tper.ranges().len(), usize::from(ranges) + 1);
    }
}

#[test]
fn pyrite_has_no_keys() {
    for ssc in [Ssc::Pyrite1, Ssc::Pyrite2] {
        let mut bench = Bench::activated(profile_of(ssc), b"owner");
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
        let methods = next(&mut bench, session, table::METHOD_ID).unwrap();
        assert_eq!(methods.len(), 7);
        assert!(!methods.contains(&method::GEN_KEY));
        for key in [locking::key_128(0), locking::key_256(0)] {
            let refused = bench.call(session, key, method::GEN_KEY, |_| {});
            assert_eq!(refused, Err(Status::NOT_AUTHORIZED));
            assert_eq!(bench.get_row(session, key), Err(Status::NOT_AUTHORIZED));
        }
        let aces = next(&mut bench, session, table::ACE).unwrap();
        for absent in [0x0003_B000, 0x0003_B800, 0x0003_BFFF] {
            assert!(!aces.contains(&Uid::new(table::ACE, absent)), "{absent:X}");
        }
        assert_eq!(bench.get_uint(session, table::row::LOCKING_INFO_ROW, 3), 0);
        let active = column::locking::ACTIVE_KEY;
        let key = bench.get(session, locking::range(0), active..=active).unwrap();
        assert_eq!(key, [(active, [0xA8, 0, 0, 0, 0, 0, 0, 0, 0].to_vec())]);
    }
}

#[test]
fn ruby_has_no_shadow_mbr_unless_it_has() {
    for size in [0, 0x0800_0000] {
        let mut profile = profile_of(Ssc::Ruby);
        profile.mbr_size = size;
        let mut bench = Bench::activated(profile, b"owner");
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
        let set = bench.set_uint(session, table::row::MBR_CONTROL_ROW, &[(1, 1)]);
        let read = bench.read_bytes(session, table::uid(table::MBR), 0, 0);
        let bytes = bench.tper.discovery();
        let (found, _) = descriptor(&bytes, 0x0002).unwrap();
        if size == 0 {
            assert_eq!(set, Err(Status::NOT_AUTHORIZED));
            assert_eq!(read, Err(Status::NOT_AUTHORIZED));
            assert_eq!(found[4] & 0x70, 0x40);
        } else {
            assert_eq!(set, Ok(()));
            assert_eq!(read, Ok(vec![0]));
            assert_eq!(found[4] & 0x70, 0x10);
        }
        assert_eq!(bench.tper.is_shadowing(), size != 0);
    }
}

#[test]
fn opal_1_has_no_programmatic_reset_and_no_granularity() {
    let mut bench = Bench::activated(profile_of(Ssc::Opal1), b"owner");
    assert!(bench.tper.if_send(2, 4, &[0; 512]).is_err());
    let session = bench.start(sp::ADMIN, Some((authority::SID, b"owner"))).unwrap();
    let enable = [(column::tper_info::PROGRAMMATIC_RESET_ENABLE, 1)];
    let refused = bench.set_uint(session, table::row::TPER_INFO_ROW, &enable);
    assert_eq!(refused, Err(Status::NOT_AUTHORIZED));
    bench.end(session);
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    let store = table::descriptor(table::DATA_STORE);
    let columns: Vec<u64> =
        bench.get_row(session, store).unwrap().iter().map(|(column, _)| *column).collect();
    assert!(columns.contains(&7) && !columns.contains(&13) && !columns.contains(&14));
    let info = bench.get_row(session, table::row::LOCKING_INFO_ROW).unwrap();
    assert_eq!(info.last().unwrap().0, column::locking_info::KEYS_AVAILABLE_CFG);
    let resets = bench.set(session, locking::range(1), |t| {
        t.named(column::locking::LOCK_ON_RESET, |t| {
            t.list(|t| {
                t.uint(0).uint(3);
            });
        });
    });
    assert_eq!(resets, Err(Status::INVALID_PARAMETER));
}

#[test]
fn data_removal_mechanisms() {
    let row = table::row::DATA_REMOVAL_MECHANISM_ROW;
    for (ssc, mechanisms) in [
        (Ssc::Opal1, 0),
        (Ssc::Opal2, DataRemoval::CRYPTOGRAPHIC),
        (Ssc::Opalite, 0),
        (Ssc::Pyrite1, 0),
        (Ssc::Pyrite2, 0b1011),
        (Ssc::Ruby, DataRemoval::CRYPTOGRAPHIC),
    ] {
        let mut bench = Bench::new(profile_of(ssc));
        let bytes = bench.tper.discovery();
        let found = descriptor(&bytes, 0x0404);
        assert_eq!(found.map_or(0, |(found, _)| found[6]), mechanisms, "{ssc:?}");
        let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
        for mechanism in 0..8 {
            let set = bench.set_uint(session, row, &[(1, mechanism)]);
            let expected = match mechanisms {
                0 => Err(Status::NOT_AUTHORIZED),
                _ if mechanisms & 1 << mechanism != 0 => Ok(()),
                _ => Err(Status::INVALID_PARAMETER),
            };
            assert_eq!(set, expected, "{ssc:?} {mechanism}");
        }
    }
}

#[test]
fn the_life_of_each() {
    for ssc in OPAL_FAMILY {
        let mut bench = Bench::activated(profile_of(ssc), b"owner");
        assert!(bench.tper.is_active());
        let admin = Some((authority::admin(1), &b"owner"[..]));
        let session = bench.start(sp::LOCKING, admin).unwrap();
        let row = locking::range(0);
        bench.set_uint(session, row, &[(5, 1), (6, 1)]).unwrap();
        bench.end(session);
        let key = bench.tper.platform().key(0);

        bench.power_cycle();
        let range = bench.tper.ranges()[0];
        assert!(range.read_locked && range.write_locked, "{ssc:?}");
        assert!(!bench.tper.platform().is_loaded(0), "{ssc:?}");
        assert!(bench.start(sp::LOCKING, Some((authority::admin(1), b"wrong"))).is_err());
        let session = bench.start(sp::LOCKING, admin).unwrap();
        bench.set_uint(session, row, &[(7, 0), (8, 0)]).unwrap();
        assert!(bench.tper.platform().is_loaded(0), "{ssc:?}");
        assert_eq!(bench.tper.platform().key(0), key);

        // Users work.
        let user = authority::user(1);
        bench.set_pin(session, c_pin::user(1), b"user").unwrap();
        bench.enable(session, user).unwrap();
        bench.end(session);
        let session = bench.start(sp::LOCKING, Some((user, b"user"))).unwrap();
        bench.end(session);

        // RevertSP erases and leaves the SP inactive.
        let session = bench.start(sp::LOCKING, admin).unwrap();
        bench.call(session, sp::THIS_SP, method::REVERT_SP, |_| {}).unwrap();
        assert!(!bench.tper.is_active(), "{ssc:?}");
        assert_ne!(bench.tper.platform().key(0), key, "{ssc:?}");

        // PSID gets back what the owner lost.
        let session = bench.start(sp::ADMIN, Some((authority::PSID, PSID))).unwrap();
        bench.call(session, sp::ADMIN, method::REVERT, |_| {}).unwrap();
        let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
        bench.end(session);
    }
}

#[test]
fn states_belong_to_their_ssc() {
    for ssc in Ssc::ALL {
        let mut bench = Bench::new(profile_of(ssc));
        bench.reset(Reset::Hardware);
        let state = bench.tper.state();
        for other in Ssc::ALL {
            let mut profile = profile_of(other);
            let here = bench.tper.profile();
            (profile.admins, profile.users) = (here.admins, here.users);
            profile.ranges = here.ranges;
            let restored = Tper::restore(profile, MemoryPlatform::new(1, PSID), &state);
            match restored.map(|tper| tper.state()) {
                Err(StateError::OtherProfile(_)) => assert_ne!(ssc, other),
                // A fresh platform has no keys to load: what counts is that the state was taken.
                Ok(again) => assert_eq!((other, &again), (ssc, &state)),
                Err(error) => panic!("{ssc:?} as {other:?}: {error}"),
            }
        }
    }
}
