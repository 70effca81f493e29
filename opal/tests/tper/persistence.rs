// SPDX-License-Identifier: MIT OR Apache-2.0
//! `state()` and `restore()`: what survives power off, and what restore does with bad bytes.

use opal::spec::ace::locking_sp as ace;
use opal::spec::{authority, c_pin, locking, method, sp, table};
use opal::tper::{MemoryPlatform, Profile, StateError, Tper};

use crate::support::{Bench, MSID, PSID, Session, profile};

type Step = fn(&mut Bench, Session);

/// Every kind of change an administrator of the Locking SP makes.
const STEPS: &[Step] = &[
    |b, s| b.enable(s, authority::user(1)).unwrap(),
    |b, s| b.set_pin(s, c_pin::user(1), b"one").unwrap(),
    |b, s| b.set_uint(s, locking::range(1), &[(3, 8), (4, 4096)]).unwrap(),
    |b, s| b.set_uint(s, locking::range(1), &[(5, 1), (6, 1), (7, 1), (8, 1)]).unwrap(),
    |b, s| b.set_ace(s, ace::locking_set_read_locked(1), &[authority::user(1)]).unwrap(),
    |b, s| b.set_ace(s, ace::locking_set_write_locked(1), &[authority::user(1)]).unwrap(),
    |b, s| b.set_ace(s, ace::locking_get(1), &[authority::user(1), authority::ADMINS]).unwrap(),
    |b, s| {
        b.set(s, locking::range(1), |t| {
            t.named(9, |t| {
                t.list(|t| {
                    t.uint(0).uint(3);
                });
            });
        })
        .unwrap();
    },
    |b, s| {
        b.set(s, locking::range(0), |t| {
            t.named(2, |t| {
                t.bytes(b"boot");
            });
        })
        .unwrap();
    },
    |b, s| {
        b.set(s, locking::range(0), |t| {
            t.named(9, |t| {
                t.list(|t| {
                    t.uint(0).uint(3);
                });
            });
        })
        .unwrap();
    },
    |b, s| b.set_uint(s, table::row::MBR_CONTROL_ROW, &[(1, 1), (2, 1)]).unwrap(),
    |b, s| drop(b.call(s, locking::key_256(2), method::GEN_KEY, |_| {}).unwrap()),
    |b, s| b.set_pin(s, c_pin::admin(1), b"new admin").unwrap(),
    |b, s| b.write_bytes(s, table::data_store(1), 9, b"data").unwrap(),
];

#[test]
fn every_change_survives() {
    let mut bench = Bench::activated(profile(), b"owner");
    let mut pin: &[u8] = b"owner";
    for (index, step) in STEPS.iter().enumerate() {
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), pin))).unwrap();
        step(&mut bench, session);
        bench.end(session);
        if index == 12 {
            pin = b"new admin";
        }
        let state = bench.disk.0.clone();
        assert_eq!(state, bench.tper.state(), "step {index}: persisted as it is");
        // What the power cycle itself does, the running TPer does too.
        bench.tper.reset(opal::tper::Reset::PowerCycle).commit();
        let (running, ranges) = (bench.tper.state(), bench.tper.ranges());
        let discovery = bench.tper.discovery();
        bench.power_cycle();
        assert_eq!(bench.tper.state(), running, "step {index}");
        assert_eq!(bench.tper.ranges(), ranges, "step {index}");
        assert_eq!(bench.tper.discovery(), discovery, "step {index}");
        for number in 0..=8 {
            let locked = ranges[usize::from(number)].is_locked_both_ways();
            assert_eq!(bench.tper.platform().is_loaded(number), !locked, "step {index}");
        }
    }
    // The user whom the ACEs name, and nobody else, opens the range.
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), pin))).unwrap();
    let grants = bench.tper.platform().grants().clone();
    assert!(!grants.ranges[1].open && grants.ranges[0].open);
    assert!(grants.ranges[1].authorities.contains(&authority::user(1)));
    assert_eq!(bench.read_bytes(session, table::data_store(1), 9, 12).unwrap(), b"data");
    bench.end(session);
    let session = bench.start(sp::LOCKING, Some((authority::user(1), b"one"))).unwrap();
    bench.set_uint(session, locking::range(1), &[(7, 0), (8, 0)]).unwrap();
    assert!(bench.tper.platform().is_loaded(1));
}

#[test]
fn changes_of_the_admin_sp_survive() {
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    bench.set_uint(session, table::row::TPER_INFO_ROW, &[(8, 1)]).unwrap();
    bench.enable(session, authority::admin_sp_admin(1)).unwrap();
    bench.set_pin(session, c_pin::admin_sp_admin(1), b"admin").unwrap();
    bench.set_pin(session, c_pin::SID, b"owner").unwrap();
    bench.power_cycle();
    let session = bench.start(sp::ADMIN, Some((authority::admin_sp_admin(1), b"admin"))).unwrap();
    assert_eq!(bench.get_uint(session, table::row::TPER_INFO_ROW, 8), 1);
    bench.set_pin(session, c_pin::admin_sp_admin(1), b"other").unwrap();
    assert!(bench.set_pin(session, c_pin::SID, b"stolen").is_err());
    bench.call(session, sp::ADMIN, method::REVERT, |_| {}).unwrap();
    let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    assert_eq!(bench.get_uint(session, table::row::TPER_INFO_ROW, 8), 0);
}

fn restore(profile: Profile, platform: &MemoryPlatform, state: &[u8]) -> Result<(), StateError> {
    Tper::restore(profile, platform.power_cycled(), state).map(drop)
}

#[test]
fn bytes_that_are_no_state() {
    let mut bench = Bench::activated(profile(), b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    for step in &STEPS[..10] {
        step(&mut bench, session);
    }
    let state = bench.tper.state();
    // Ranges of other sizes and states: a platform that opens everything.
    let open = Bench::opal2().disk.1;
    let restore = |profile, state: &[u8]| restore(profile, &open, state);
    assert!(restore(profile(), &[]).is_err());
    // Cut anywhere but between records, it is damaged; nothing panics.
    let tries: Vec<usize> = (0..state.len()).step_by(5).collect();
    let cuts = tries.iter().filter(|cut| restore(profile(), &state[..**cut]).is_err()).count();
    assert!(cuts > tries.len() * 9 / 10);
    for at in tries {
        let mut damaged = state.clone();
        damaged[at] ^= 1 << (at % 8);
        let _ = restore(profile(), &damaged);
    }
    let mut newer = state.clone();
    newer[9] = 9;
    assert_eq!(restore(profile(), &newer), Err(StateError::Version { found: 9, known: 1 }));
    let mut other = profile();
    other.ranges = 12;
    assert!(matches!(restore(other, &state), Err(StateError::OtherProfile(_))));
    let mut impossible = profile();
    impossible.com_ids = 0;
    let platform = MemoryPlatform::new(1, PSID);
    assert!(matches!(Tper::manufacture(impossible, platform), Err(StateError::Profile(_))));
}

#[test]
fn no_secret_in_the_state() {
    let mut bench = Bench::activated(profile(), b"the owner's own PIN");
    let session =
        bench.start(sp::LOCKING, Some((authority::admin(1), b"the owner's own PIN"))).unwrap();
    bench.enable(session, authority::user(1)).unwrap();
    bench.set_pin(session, c_pin::user(1), b"the user's own PIN").unwrap();
    let state = bench.tper.state();
    for secret in [&b"owner's own"[..], b"user's own", PSID, MSID] {
        assert!(!state.windows(secret.len()).any(|w| w == secret));
    }
}

/// A state as format 1 has it, byte for byte: it must be readable for ever.
#[test]
fn format_1_is_frozen() {
    let expected = "\
        4F50414C54504552 0001 \
        01 00000008 02 0008 0004 0009 04 \
        02 00000001 03 \
        03 00000005 00 0000 0000 \
        05 0000001A 00 0000020500000002 0000000000000006 00 0000000000000009 \
        05 0000001A 01 0000000900030001 0000000000000005 00 0000000000000001";
    let expected: String = expected.split_whitespace().collect();
    let mut bench = Bench::activated(profile(), MSID);
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), MSID))).unwrap();
    bench.enable(session, authority::user(1)).unwrap();
    let written: String = bench.disk.0.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(written, expected);
    bench.power_cycle();
    assert!(bench.tper.is_active());
}
