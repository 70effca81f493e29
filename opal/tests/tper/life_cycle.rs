// SPDX-License-Identifier: MIT OR Apache-2.0
//! Activate, Revert, RevertSP, Block SID (Opal 2.30 §5.1; Block SID feature set).

use opal::spec::method::parameter;
use opal::spec::{authority, c_pin, locking, method, sp, table};
use opal::tper::{IfError, ReadVerdict, Reset};
use opal::wire::Status;

use crate::support::{Bench, MSID, PSID, Session, profile};

fn keys(bench: &Bench) -> Vec<Option<u64>> {
    (0..=8).map(|n| bench.tper.platform().key(n)).collect()
}

fn admin1(bench: &mut Bench, pin: &[u8]) -> Session {
    bench.start(sp::LOCKING, Some((authority::admin(1), pin))).unwrap()
}

fn sid(bench: &mut Bench, pin: &[u8]) -> Session {
    bench.start(sp::ADMIN, Some((authority::SID, pin))).unwrap()
}

#[test]
fn activation_gives_admin1_the_sids_pin() {
    let mut bench = Bench::opal2();
    let before = keys(&bench);
    let session = bench.start(sp::ADMIN, None).unwrap();
    assert_eq!(
        bench.call(session, sp::LOCKING, method::ACTIVATE, |_| {}),
        Err(Status::NOT_AUTHORIZED)
    );
    bench.end(session);
    let session = sid(&mut bench, MSID);
    bench.set_pin(session, c_pin::SID, b"chosen").unwrap();
    assert_eq!(bench.get_uint(session, sp::LOCKING, 6), 8);
    assert_eq!(bench.call(session, sp::ADMIN, method::ACTIVATE, |_| {}), Ok(vec![]));
    assert!(!bench.tper.is_active(), "the Admin SP object: a success without effect");
    bench.call(session, sp::LOCKING, method::ACTIVATE, |_| {}).unwrap();
    assert_eq!(bench.get_uint(session, sp::LOCKING, 6), 9);
    bench.set_pin(session, c_pin::SID, b"changed later").unwrap();
    let again = bench.call(session, sp::LOCKING, method::ACTIVATE, |t| {
        t.named(77, |t| {
            t.uint(1);
        });
    });
    assert_eq!(again, Ok(vec![]), "active already: parameters do not matter");
    bench.end(session);
    let session = admin1(&mut bench, b"chosen");
    assert_eq!(bench.get_uint(session, authority::admin(1), 5), 1);
    assert_eq!(bench.get_uint(session, authority::admin(2), 5), 0);
    assert_eq!(keys(&bench), before, "activation loses no data");
    let grants = bench.tper.platform().grants();
    assert!(grants.active);
    assert_eq!(grants.administrators, [authority::admin(1)]);
    assert!(grants.ranges.iter().all(|g| g.open), "nothing is locked yet");
}

#[test]
fn unknown_parameters_of_activate() {
    let mut bench = Bench::opal2();
    let session = sid(&mut bench, MSID);
    for name in [0, parameter::SINGLE_USER_MODE_SELECTION_LIST + 7] {
        let result = bench.call(session, sp::LOCKING, method::ACTIVATE, |t| {
            t.named(name, |t| {
                t.list(|_| {});
            });
        });
        assert_eq!(result, Err(Status::INVALID_PARAMETER));
    }
    assert!(!bench.tper.is_active());
}

/// A drive with an owner, a locked range 1, a user, and something in every table.
fn in_use() -> Bench {
    let mut bench = Bench::activated(profile(), b"owner");
    let session = admin1(&mut bench, b"owner");
    let range = locking::range(1);
    bench.set_uint(session, range, &[(3, 80), (4, 8), (5, 1), (6, 1), (7, 1), (8, 1)]).unwrap();
    bench.enable(session, authority::user(1)).unwrap();
    bench.set_pin(session, c_pin::user(1), b"user").unwrap();
    bench.write_bytes(session, table::data_store(1), 0, b"data").unwrap();
    bench.write_bytes(session, table::uid(table::MBR), 0, b"image").unwrap();
    bench.end(session);
    bench
}

fn assert_locking_sp_is_new(bench: &mut Bench) {
    assert!(!bench.tper.is_active());
    let refused = bench.start(sp::LOCKING, None).unwrap_err();
    assert_eq!(refused, Status::INVALID_PARAMETER);
    assert!(bench.tper.ranges().iter().all(|r| r.length == 0 && !r.read_locked));
    assert!(matches!(bench.tper.check_read(80, 8), ReadVerdict::Serve(_)));
    let factory = Bench::opal2();
    assert_eq!(bench.tper.byte_tables(), factory.tper.byte_tables());
    assert!((0..=8).all(|n| bench.tper.platform().is_loaded(n)), "everything is open");
}

#[test]
fn revert_of_the_locking_sp() {
    let mut bench = in_use();
    let before = keys(&bench);
    let session = sid(&mut bench, b"owner");
    bench.call(session, sp::LOCKING, method::REVERT, |_| {}).unwrap();
    assert!(keys(&bench).iter().zip(&before).all(|(a, b)| a != b), "every key is new");
    assert_locking_sp_is_new(&mut bench);
    // The session goes on, the SID's PIN stays.
    assert_eq!(bench.get_uint(session, sp::LOCKING, 6), 8);
    let after = keys(&bench);
    bench.call(session, sp::LOCKING, method::REVERT, |_| {}).unwrap();
    assert_eq!(keys(&bench), after, "an inactive SP is left alone");
    bench.call(session, sp::LOCKING, method::ACTIVATE, |_| {}).unwrap();
    bench.end(session);
    let session = admin1(&mut bench, b"owner");
    assert_eq!(bench.read_bytes(session, table::data_store(1), 0, 3).unwrap(), [0; 4]);
    assert_eq!(bench.read_bytes(session, table::uid(table::MBR), 0, 3).unwrap(), [0; 4]);
    assert_eq!(bench.get_uint(session, authority::user(1), 5), 0);
    bench.enable(session, authority::user(1)).unwrap();
    bench.end(session);
    assert!(bench.start(sp::LOCKING, Some((authority::user(1), b""))).is_ok());
}

#[test]
fn revert_of_the_drive() {
    for who in [(authority::SID, &b"owner"[..]), (authority::PSID, PSID)] {
        let mut bench = in_use();
        let before = keys(&bench);
        let session = bench.start(sp::ADMIN, Some(who)).unwrap();
        bench.call(session, sp::ADMIN, method::REVERT, |_| {}).unwrap();
        assert_eq!(bench.tper.open_sessions(), 0);
        assert!(keys(&bench).iter().zip(&before).all(|(a, b)| a != b));
        assert_locking_sp_is_new(&mut bench);
        assert_eq!(bench.disk.0, Bench::opal2().disk.0, "the state of a new drive");
        bench.power_cycle();
        let session = sid(&mut bench, MSID);
        bench.end(session);
    }
}

#[test]
fn revert_of_a_drive_without_active_locking_keeps_data() {
    let mut bench = Bench::opal2();
    let before = keys(&bench);
    let session = sid(&mut bench, MSID);
    bench.set_pin(session, c_pin::SID, b"owner").unwrap();
    bench.call(session, sp::ADMIN, method::REVERT, |_| {}).unwrap();
    assert_eq!(keys(&bench), before);
    sid(&mut bench, MSID);
}

#[test]
fn revert_sp() {
    let mut bench = in_use();
    let before = keys(&bench);
    let session = admin1(&mut bench, b"owner");
    bench.call(session, sp::THIS_SP, method::REVERT_SP, |_| {}).unwrap();
    assert_eq!(bench.tper.open_sessions(), 0, "the session ends by itself");
    assert!(keys(&bench).iter().zip(&before).all(|(a, b)| a != b));
    assert_locking_sp_is_new(&mut bench);
    sid(&mut bench, b"owner");
}

fn keep(bench: &mut Bench, session: Session, value: u64) -> Result<Vec<u8>, Status> {
    bench.call(session, sp::THIS_SP, method::REVERT_SP, |t| {
        t.named(parameter::KEEP_GLOBAL_RANGE_KEY, |t| {
            t.uint(value);
        });
    })
}

#[test]
fn revert_sp_keeping_the_global_range() {
    // Opal test cases SPF-08, ETC-18.
    let mut bench = in_use();
    let before = keys(&bench);
    let session = admin1(&mut bench, b"owner");
    let global = locking::range(0);
    bench.set_uint(session, global, &[(5, 1), (6, 1), (7, 1), (8, 1)]).unwrap();
    assert_eq!(keep(&mut bench, session, 2), Err(Status::INVALID_PARAMETER));
    assert_eq!(keep(&mut bench, session, 1), Err(Status::FAIL));
    assert_eq!(keys(&bench), before);
    assert!(bench.tper.is_active());
    bench.set_uint(session, global, &[(7, 0)]).unwrap();
    assert_eq!(keep(&mut bench, session, 1), Ok(vec![]));
    let after = keys(&bench);
    assert_eq!(after[0], before[0]);
    assert!(after[1..].iter().zip(&before[1..]).all(|(a, b)| a != b));
    assert_locking_sp_is_new(&mut bench);
    let factory_reset = sid(&mut bench, b"owner");
    bench.call(factory_reset, sp::ADMIN, method::REVERT, |_| {}).unwrap();
    assert_eq!(keys(&bench), after, "the following Revert destroys nothing");
    bench.power_cycle();
    assert!(bench.tper.platform().is_loaded(0));
}

#[test]
fn revert_leaves_the_pin_of_a_sid_who_never_came() {
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, Some((authority::PSID, PSID))).unwrap();
    let state = bench.tper.state();
    bench.call(session, sp::ADMIN, method::REVERT, |_| {}).unwrap();
    assert_eq!(bench.tper.state(), state);
    sid(&mut bench, MSID);
}

#[test]
fn block_sid() {
    let mut bench = Bench::opal2();
    let state = |bench: &Bench| {
        let discovery = bench.tper.discovery();
        let at = discovery.windows(4).position(|w| w == [0x04, 0x02, 0x20, 0x0C]).unwrap();
        (discovery[at + 4], discovery[at + 5])
    };
    assert_eq!(state(&bench), (0x04, 0));
    assert_eq!(bench.send(2, 5, &[0]), Err(IfError::InvalidTransferLength));
    assert_eq!(bench.send(2, 5, &[1; 512]), Ok(()));
    assert_eq!(state(&bench), (0x06, 1));
    let refused = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap_err();
    assert_eq!(refused, Status::NOT_AUTHORIZED);
    let session = bench.start(sp::ADMIN, None).unwrap();
    assert_eq!(bench.authenticate(session, authority::SID, Some(MSID)), Ok(false));
    bench.end(session);
    assert_eq!(bench.send(2, 5, &[0; 512]), Err(IfError::InvalidCommandParameter));
    bench.reset(Reset::Hardware);
    assert_eq!(state(&bench), (0x04, 0));
    bench.send(2, 5, &[0; 512]).unwrap();
    bench.reset(Reset::Hardware);
    assert_eq!(state(&bench), (0x06, 0), "it was not asked to clear at a hardware reset");
    bench.power_cycle();
    assert_eq!(state(&bench), (0x04, 0));

    let session = sid(&mut bench, MSID);
    bench.set_pin(session, c_pin::SID, b"owner").unwrap();
    bench.end(session);
    assert_eq!(state(&bench), (0x05, 0));
    bench.send(2, 5, &[0; 512]).unwrap();
    assert_eq!(state(&bench), (0x05, 0), "a SID with an owner is not blocked");
    sid(&mut bench, b"owner");
}

#[test]
fn freeze_lock() {
    let mut bench = Bench::activated(profile(), b"owner");
    let open = bench.start(sp::LOCKING, None).unwrap();
    bench.send(2, 5, &[0, 1]).unwrap();
    assert_eq!(bench.tper.open_sessions(), 0);
    assert!(bench.tokens((open.tsn, 1), &[0xFA]).is_empty());
    assert_eq!(bench.start(sp::LOCKING, None).unwrap_err(), Status::SP_FROZEN);
    let session = bench.start(sp::ADMIN, None).unwrap();
    assert_eq!(bench.get_uint(session, sp::LOCKING, 6), 11);
    assert_eq!(bench.get_uint(session, sp::LOCKING, 7), 1);
    bench.end(session);
    assert_eq!(bench.send(2, 5, &[0, 0]), Err(IfError::InvalidCommandParameter));
    bench.power_cycle();
    assert!(bench.start(sp::LOCKING, None).is_ok());
}

#[test]
fn data_removal_mechanism() {
    // Opal test case ETC-23.
    let mut bench = Bench::opal2();
    let session = sid(&mut bench, MSID);
    let row = table::row::DATA_REMOVAL_MECHANISM_ROW;
    assert_eq!(bench.get_uint(session, row, 1), 2);
    assert_eq!(bench.set_uint(session, row, &[(1, 2)]), Ok(()));
    assert_eq!(bench.set_uint(session, row, &[(1, 1)]), Err(Status::INVALID_PARAMETER));
    bench.end(session);
    let session = bench.start(sp::ADMIN, None).unwrap();
    assert_eq!(bench.set_uint(session, row, &[(1, 2)]), Err(Status::NOT_AUTHORIZED));
}
