// SPDX-License-Identifier: MIT OR Apache-2.0
//! Single User Mode: Activate and Reactivate with a selection, who owns what, Erase.

use opal::Uid;
use opal::spec::method::parameter;
use opal::spec::{ace, authority, c_pin, locking, method, sp, table};
use opal::wire::{Encoder, Status};

use crate::support::{Bench, MSID, Session, profile, uids};

fn bench() -> Bench {
    let mut profile = profile();
    profile.features.single_user_mode = true;
    Bench::new(profile)
}

fn selection(t: &mut Encoder, uids: &[Uid], policy: Option<u64>) {
    t.named(parameter::SINGLE_USER_MODE_SELECTION_LIST, |t| {
        t.list(|t| {
            for uid in uids {
                t.uid(*uid);
            }
        });
    });
    if let Some(policy) = policy {
        t.named(parameter::RANGE_START_RANGE_LENGTH_POLICY, |t| {
            t.uint(policy);
        });
    }
}

fn activate(bench: &mut Bench, uids: &[Uid], policy: Option<u64>) -> Result<Vec<u8>, Status> {
    let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    let result = bench.call(session, sp::LOCKING, method::ACTIVATE, |t| selection(t, uids, policy));
    bench.end(session);
    result
}

fn admin(bench: &mut Bench) -> Session {
    bench.start(sp::LOCKING, Some((authority::admin(1), MSID))).unwrap()
}

fn user(bench: &mut Bench, number: u16, pin: &[u8]) -> Session {
    bench.start(sp::LOCKING, Some((authority::user(number), pin))).unwrap()
}

/// What LockingInfo and the descriptor tell anybody.
fn announced(bench: &mut Bench) -> (Vec<Uid>, u64, u8) {
    let session = bench.start(sp::LOCKING, None).unwrap();
    let row = table::row::LOCKING_INFO_ROW;
    let cells = bench.get(session, row, 0x06_0000..=0x06_0001).unwrap();
    let policy = bench.get_uint(session, row, 0x06_0001);
    bench.end(session);
    (uids(&cells[0].1), policy, bench.tper.discovery()[0x78])
}

#[test]
fn selections() {
    let mut bench = bench();
    let bad: &[&[Uid]] = &[
        &[locking::range(9)],
        &[locking::key_256(1)],
        &[locking::range(1), locking::range(1)],
        &[table::uid(table::LOCKING), locking::range(1)],
        &[locking::range(1), table::uid(table::LOCKING)],
    ];
    for uids in bad {
        assert_eq!(activate(&mut bench, uids, None), Err(Status::INVALID_PARAMETER));
    }
    assert_eq!(activate(&mut bench, &[], Some(2)), Err(Status::INVALID_PARAMETER));
    assert!(!bench.tper.is_active());
    activate(&mut bench, &[locking::range(3), locking::range(0)], Some(1)).unwrap();
    let expected = vec![locking::range(0), locking::range(3)];
    assert_eq!(announced(&mut bench), (expected.clone(), 1, 0b101));
    bench.power_cycle();
    assert_eq!(announced(&mut bench), (expected, 1, 0b101));
}

#[test]
fn all_ranges() {
    let mut bench = bench();
    activate(&mut bench, &[table::uid(table::LOCKING)], None).unwrap();
    let (ranges, policy, bits) = announced(&mut bench);
    assert_eq!((ranges.len(), policy, bits), (9, 0, 0b011));
}

#[test]
fn a_drive_without_the_feature() {
    let mut bench = Bench::opal2();
    assert_eq!(activate(&mut bench, &[locking::range(1)], None), Err(Status::INVALID_PARAMETER));
}

#[test]
fn a_range_belongs_to_its_user() {
    let mut bench = bench();
    let range = locking::range(1);
    activate(&mut bench, &[range], None).unwrap();
    let grants = bench.tper.platform().grants().ranges[1].clone();
    assert!(grants.single_user && grants.open);
    assert_eq!(grants.authorities, [authority::user(2)]);

    let session = user(&mut bench, 2, b"");
    bench.set_pin(session, c_pin::user(2), b"mine").unwrap();
    bench.set_uint(session, range, &[(3, 8), (4, 4096)]).unwrap();
    bench.set_uint(session, range, &[(5, 1), (6, 1), (7, 1), (8, 1)]).unwrap();
    assert_eq!(bench.set_uint(session, locking::range(2), &[(7, 1)]), Err(Status::NOT_AUTHORIZED));
    bench.end(session);

    let session = admin(&mut bench);
    let refused = Err(Status::NOT_AUTHORIZED);
    assert_eq!(bench.set_uint(session, range, &[(7, 0), (8, 0)]), refused);
    assert_eq!(bench.set_uint(session, range, &[(3, 16)]), refused);
    assert_eq!(bench.set_pin(session, c_pin::user(2), b"stolen"), refused);
    assert_eq!(bench.set_uint(session, authority::user(2), &[(5, 0)]), refused);
    let gen_key = bench.call(session, locking::key_256(1), method::GEN_KEY, |_| {});
    assert_eq!(gen_key, Err(Status::NOT_AUTHORIZED));
    for ace in [
        ace::locking_sp::locking_set_read_locked(1),
        ace::locking_sp::c_pin_user_set_pin(2),
        ace::single_user::set_read_to_lor(1),
    ] {
        assert_eq!(bench.set_ace(session, ace, &[authority::ADMINS]), refused);
    }
    // Other ranges are the administrators' as ever.
    assert_eq!(bench.set_uint(session, locking::range(2), &[(5, 1), (7, 1)]), Ok(()));
    bench.end(session);

    let session = bench.start(sp::LOCKING, None).unwrap();
    assert_eq!(bench.get_uint(session, range, 7), 1, "anybody sees the locks");
    assert_eq!(bench.get_uint(session, c_pin::user(2), 6), 0, "and the tries");
    bench.end(session);

    bench.power_cycle();
    assert!(!bench.tper.platform().is_loaded(1));
    let session = user(&mut bench, 2, b"mine");
    bench.set_uint(session, range, &[(7, 0), (8, 0)]).unwrap();
    assert!(bench.tper.platform().is_loaded(1));
}

#[test]
fn policy_1_leaves_the_bounds_to_administrators() {
    let mut bench = bench();
    let range = locking::range(1);
    activate(&mut bench, &[range], Some(1)).unwrap();
    let session = admin(&mut bench);
    assert_eq!(bench.set_uint(session, range, &[(3, 8), (4, 8)]), Ok(()));
    assert_eq!(bench.set_uint(session, range, &[(5, 1)]), Err(Status::NOT_AUTHORIZED));
    bench.end(session);
    let session = user(&mut bench, 2, b"");
    assert_eq!(bench.set_uint(session, range, &[(4, 16)]), Err(Status::NOT_AUTHORIZED));
    assert_eq!(bench.set_uint(session, range, &[(5, 1)]), Ok(()));
}

#[test]
fn erase() {
    let mut bench = bench();
    let range = locking::range(1);
    activate(&mut bench, &[range], None).unwrap();
    let session = user(&mut bench, 2, b"");
    bench.set_pin(session, c_pin::user(2), b"mine").unwrap();
    bench.set_uint(session, range, &[(3, 8), (4, 4096)]).unwrap();
    bench.set_uint(session, range, &[(5, 1), (6, 1), (7, 1), (8, 1)]).unwrap();
    let key = bench.tper.platform().key(1);
    bench.end(session);
    let session = bench.start(sp::LOCKING, None).unwrap();
    let anybody = bench.call(session, range, method::ERASE, |_| {});
    assert_eq!(anybody, Err(Status::NOT_AUTHORIZED));
    bench.end(session);
    let session = admin(&mut bench);
    let other = bench.call(session, locking::range(2), method::ERASE, |_| {});
    assert_eq!(other, Err(Status::NOT_AUTHORIZED), "not in Single User Mode");
    bench.call(session, range, method::ERASE, |_| {}).unwrap();
    bench.end(session);
    assert_ne!(bench.tper.platform().key(1), key);
    let ranges = bench.tper.ranges();
    assert_eq!((ranges[1].start, ranges[1].length), (8, 4096));
    assert!(!ranges[1].read_locked && !ranges[1].write_locked);
    assert!(bench.tper.platform().is_loaded(1));
    user(&mut bench, 2, b"");
}

fn reactivate(
    bench: &mut Bench,
    uids: &[Uid],
    policy: Option<u64>,
    pin: Option<&[u8]>,
) -> Result<Vec<u8>, Status> {
    let session = admin(bench);
    let result = bench.call(session, sp::THIS_SP, method::REACTIVATE, |t| {
        selection(t, uids, policy);
        if let Some(pin) = pin {
            t.named(parameter::REACTIVATE_ADMIN1_PIN, |t| {
                t.bytes(pin);
            });
        }
    });
    if result.is_ok() {
        assert_eq!(bench.tper.open_sessions(), 0, "the session ends by itself");
    } else {
        bench.end(session);
    }
    result
}

#[test]
fn reactivation() {
    let mut bench = bench();
    activate(&mut bench, &[], None).unwrap();
    let keys = |bench: &Bench| (0..=8).map(|n| bench.tper.platform().key(n)).collect::<Vec<_>>();
    let before = keys(&bench);
    let session = admin(&mut bench);
    bench.set_uint(session, locking::range(1), &[(3, 8), (4, 4096)]).unwrap();
    bench.set_uint(session, locking::range(1), &[(5, 1)]).unwrap();
    bench.enable(session, authority::user(1)).unwrap();
    bench.set_pin(session, c_pin::user(1), b"one").unwrap();
    bench.end(session);

    let all: Vec<Uid> = (1..=8).map(locking::range).collect();
    assert_eq!(reactivate(&mut bench, &all, Some(1), None), Err(Status::FAIL));
    let session = admin(&mut bench);
    bench.set_uint(session, locking::range(1), &[(5, 0)]).unwrap();
    bench.end(session);
    assert_eq!(reactivate(&mut bench, &all, Some(1), None), Ok(vec![]));
    assert_eq!(announced(&mut bench), (all, 1, 0b101));
    assert_eq!(keys(&bench), before, "no data is lost");
    assert_eq!(bench.tper.ranges()[1].length, 4096);
    assert_eq!(
        bench.start(sp::LOCKING, Some((authority::user(1), b"one"))).unwrap_err(),
        Status::NOT_AUTHORIZED,
        "User1 would own the Global Range, which is not in the list"
    );
    let session = user(&mut bench, 2, b"");
    bench.set_pin(session, c_pin::user(2), b"two").unwrap();
    bench.end(session);

    // Out of Single User Mode again, with a new PIN for Admin1.
    assert_eq!(reactivate(&mut bench, &[], None, Some(b"new")), Ok(vec![]));
    assert_eq!(announced(&mut bench), (vec![], 0, 0));
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"new"))).unwrap();
    assert_eq!(bench.get_uint(session, authority::user(2), 5), 0);
    assert_eq!(bench.set_uint(session, locking::range(1), &[(5, 1), (6, 1)]), Ok(()));
    bench.end(session);
    bench.power_cycle();
    assert_eq!(announced(&mut bench), (vec![], 0, 0));
}
