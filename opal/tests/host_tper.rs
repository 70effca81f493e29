// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host against our own TPer: what a host's operations do to a drive, and how many request and
//! response pairs they take.

#[path = "host_support/local.rs"]
mod local;

use local::{Drive, PSID, Path, SERIAL};
use opal::exchange::com_id::ComIdState;
use opal::host::{
    Activation, AdminSp, Authority, BooleanExpr, ByteTable, DataLoss, Host, LifeCycle, LockingSp,
    Login, RangeConfig, ResetTypes, Row, Table, WriteOptions,
};
use opal::spec::{ace::locking_sp as ace, column, method, table};
use opal::tper::Profile;
use opal::wire::Status;
use opal::{Error, Pin, Uid};

fn pin(text: &str) -> Pin {
    Pin::new(text.as_bytes()).unwrap()
}

fn loss() -> DataLoss {
    DataLoss::accepted_for(SERIAL)
}

fn pairs(host: &mut Host<Path>) -> (usize, usize) {
    (host.transport().sends, host.transport().receives)
}

/// A drive that is owned: SID and Admin1 have `owner` as PIN, the Locking SP is active.
fn owned() -> Drive {
    let drive = Drive::opal2();
    let mut host = drive.host();
    let mut session = host.start::<AdminSp>().open().unwrap();
    let msid = session.msid().unwrap();
    session.authenticate(Authority::SID, &msid).unwrap();
    session.set_pin(Authority::SID, &pin("owner")).unwrap();
    assert_eq!(session.life_cycle(Row::LOCKING_SP).unwrap(), LifeCycle::ManufacturedInactive);
    session.activate(&Activation::default()).unwrap();
    assert_eq!(session.life_cycle(Row::LOCKING_SP).unwrap(), LifeCycle::Manufactured);
    session.close().unwrap();
    drive
}

fn range(n: u16) -> RangeConfig {
    RangeConfig {
        start: Some(u64::from(n) * 4096),
        length: Some(4096),
        read_lock_enabled: Some(true),
        write_lock_enabled: Some(true),
        lock_on_reset: Some(ResetTypes::POWER_CYCLE),
        ..RangeConfig::default()
    }
}

/// User1 may unlock these ranges of an owned drive.
fn with_user(ranges: u16) -> Drive {
    let drive = owned();
    let mut host = drive.host();
    let admin = Authority::admin(1);
    let mut session = host.start::<LockingSp>().authority(admin, &pin("owner")).open().unwrap();
    session.set_pin(Authority::user(1), &pin("user one")).unwrap();
    session.set_enabled(Authority::user(1), true).unwrap();
    let who = BooleanExpr::any_of(&[Authority::user(1), Authority::admin(1)]);
    for n in 1..=ranges {
        session.set_range(n, &range(n)).unwrap();
        session.set_ace(ace::locking_set_read_locked(n), &who).unwrap();
        session.set_ace(ace::locking_set_write_locked(n), &who).unwrap();
        session.set_ace(ace::locking_get(n), &who).unwrap();
        session.set_range(n, &RangeConfig::locked(true, true)).unwrap();
    }
    session.close().unwrap();
    drive
}

#[test]
fn taking_ownership_changes_the_pin_for_good() {
    let drive = owned();
    let mut host = drive.host();
    let open = |host: &mut Host<Path>, pin: &Pin| {
        host.start::<AdminSp>().authority(Authority::SID, pin).open().map(|s| s.close().unwrap())
    };
    let msid = {
        let mut session = host.start::<AdminSp>().open().unwrap();
        let msid = session.msid().unwrap();
        session.close().unwrap();
        msid
    };
    let refused = Error::NotAuthenticated { authority: Authority::SID.uid() };
    assert_eq!(open(&mut host, &msid), Err(refused));
    drive.power_cycle(Profile::opal2());
    assert_eq!(open(&mut host, &pin("owner")), Ok(()));
}

#[test]
fn provisioning_one_range_fits_the_budget() {
    let drive = Drive::opal2();
    let mut host = drive.host();
    host.discovery().unwrap();

    // Ownership and activation; the new PIN is proved by Authenticate.
    let mut session = host.start::<AdminSp>().open().unwrap();
    let msid = session.msid().unwrap();
    session.authenticate(Authority::SID, &msid).unwrap();
    session.set_pin(Authority::SID, &pin("sid")).unwrap();
    session.authenticate(Authority::SID, &pin("sid")).unwrap();
    session.activate(&Activation::default()).unwrap();
    assert_eq!(session.life_cycle(Row::LOCKING_SP), Ok(LifeCycle::Manufactured));
    session.close().unwrap();

    // Locking SP: Admin1's own PIN, the range, its user; everything is read back.
    let admin = Authority::admin(1);
    let user = Authority::user(1);
    let mut session = host.start::<LockingSp>().authority(admin, &pin("sid")).open().unwrap();
    session.set_pin(admin, &pin("admin one")).unwrap();
    session.authenticate(admin, &pin("admin one")).unwrap();
    session.set_range(1, &range(1)).unwrap();
    assert!(range(1).is_met_by(&session.range(1).unwrap()));
    let who = BooleanExpr::any_of(&[user, admin]);
    for row in [ace::locking_set_read_locked(1), ace::locking_set_write_locked(1)] {
        session.set_ace(row, &who).unwrap();
        assert_eq!(session.ace(row).unwrap(), who);
    }
    session.set_pin(user, &pin("user one")).unwrap();
    session.set_enabled(user, true).unwrap();
    assert!(session.is_enabled(user).unwrap());
    session.close().unwrap();

    // The user's PIN, in a session of its own.
    let session = host.start::<LockingSp>().authority(user, &pin("user one")).open().unwrap();
    session.close().unwrap();

    let (sends, receives) = pairs(&mut host);
    assert_eq!(receives, sends + 1, "one receive a request, and discovery");
    assert!(sends <= 26, "{sends} pairs");
    assert_eq!(drive.sessions(), 3);
}

#[test]
fn unlocking_one_range_and_eight() {
    for (ranges, most) in [(1, 3), (8, 10)] {
        let drive = with_user(ranges);
        drive.power_cycle(Profile::opal2());
        let mut host = drive.host();
        let discovery = host.discovery().unwrap();
        assert!(discovery.locking().unwrap().locked);
        let user = Authority::user(1);
        let user_pin = pin("user one");
        let mut session = host.start::<LockingSp>().authority(user, &user_pin).open().unwrap();
        for n in 1..=ranges {
            session.set_range(n, &RangeConfig::locked(false, false)).unwrap();
        }
        assert!(!session.discovery().unwrap().locking().unwrap().locked);
        session.close().unwrap();
        assert_eq!(pairs(&mut host), (most, most + 2), "two lone receives for discovery");
    }
}

#[test]
fn a_user_reads_its_range_and_changes_no_other() {
    let drive = with_user(1);
    let mut host = drive.host();
    let user_pin = pin("user one");
    let start = || (Authority::user(1), &user_pin);
    let (user, pin) = start();
    let mut session = host.start::<LockingSp>().authority(user, pin).open().unwrap();
    let state = session.range(1).unwrap();
    assert!(state.refuses_reads() && state.refuses_writes());
    assert_eq!((state.start, state.length), (Some(4096), Some(4096)));
    let unlock = RangeConfig::locked(false, false);
    for wrong in [0, 2] {
        let error = session.set_range(wrong, &unlock).unwrap_err();
        assert_eq!(error.status(), Some(Status::NOT_AUTHORIZED));
    }
    session.set_range(1, &unlock).unwrap();
    assert!(unlock.is_met_by(&session.range(1).unwrap()));
    session.close().unwrap();
}

#[test]
fn both_forms_of_login_and_wrong_pins() {
    let drive = with_user(1);
    let mut host = drive.host();
    for login in [Login::Either, Login::InStartSession, Login::Authenticate] {
        let mut open = |with: &Pin| {
            let user = Authority::user(1);
            let session = host.start::<LockingSp>().authority(user, with).login(login).open()?;
            session.close()
        };
        assert_eq!(open(&pin("user one")), Ok(()));
        let authority = Authority::user(1).uid();
        assert_eq!(open(&pin("user two")), Err(Error::NotAuthenticated { authority }));
        assert_eq!(open(&pin("user one")), Ok(()), "no session was left open");
    }
}

#[test]
fn several_authorities_in_one_session() {
    let drive = with_user(1);
    let mut host = drive.host();
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &pin("owner")).open().unwrap();
    session.authenticate(Authority::admin(1), &pin("owner")).unwrap();
    assert!(session.authenticate(Authority::admin(1), &pin("other")).is_err());
    session.authenticate(Authority::ANYBODY, &Pin::default()).unwrap();
    assert!(session.locking_info().is_ok(), "the session goes on");
    session.close().unwrap();
}

#[test]
fn an_abandoned_session_is_busy_until_the_stack_is_reset() {
    let drive = owned();
    let mut first = drive.host();
    std::mem::forget(first.start::<LockingSp>().open().unwrap());
    let mut host = drive.host();
    let error = host.start::<LockingSp>().open().map(drop).unwrap_err();
    let status = error.status().unwrap();
    assert!([Status::SP_BUSY, Status::NO_SESSIONS_AVAILABLE].contains(&status), "{error}");
    assert!(error.advice().is_some());
    assert_eq!(host.verify_com_id(), Ok(ComIdState::Associated));
    host.stack_reset().unwrap();
    host.start::<LockingSp>().open().unwrap().close().unwrap();
}

#[test]
fn a_dropped_session_leaves_the_drive_free() {
    let drive = owned();
    let mut host = drive.host();
    for _ in 0..3 {
        drop(host.start::<LockingSp>().open().unwrap());
    }
    host.start::<AdminSp>().open().unwrap().close().unwrap();
}

#[test]
fn an_answer_left_behind_is_drained() {
    let drive = owned();
    let mut first = drive.host();
    let com_id = {
        first.discovery().unwrap();
        first.com_id().unwrap()
    };
    // A program that was killed between its IF-SEND and its IF-RECV.
    let mut left = opal::exchange::properties::properties(com_id, None);
    match left.step() {
        opal::exchange::Step::Send { protocol, specific, data } => {
            opal::Transport::if_send(first.transport(), protocol, specific, data).unwrap();
        }
        _ => panic!("nothing to send"),
    }
    let mut host = drive.host();
    host.start::<AdminSp>().open().unwrap().close().unwrap();
}

#[test]
fn byte_tables_at_the_negotiated_size() {
    let drive = owned();
    let mut host = drive.host();
    host.properties().unwrap();
    let limits = host.limits();
    assert!(limits.write_chunk() > 1024, "{limits:?}");
    let admin_pin = pin("owner");
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    let data: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    for (bytes, offset) in [(ByteTable::MBR, 0), (ByteTable::data_store(1), 12345)] {
        let info = session.table_info(bytes).unwrap();
        assert!(info.size > 1 << 20);
        let mut steps = Vec::new();
        let options = WriteOptions::default();
        session.write(bytes, offset, &data, options, &mut |done| steps.push(done)).unwrap();
        assert_eq!(steps.last(), Some(&data.len()));
        assert!(steps.is_sorted());
        let read = session.read(bytes, offset, data.len(), &mut |_| {}).unwrap();
        assert!(read[..] == data[..]);
        let beyond = session.write(bytes, info.size - 10, &data, options, &mut |_| {});
        assert_eq!(beyond.unwrap_err().status(), Some(Status::INVALID_PARAMETER));
    }
    session.close().unwrap();
}

#[test]
fn byte_tables_without_negotiation() {
    let drive = owned();
    let mut host = drive.host();
    let admin_pin = pin("owner");
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    let data = vec![0xA5; 10_000];
    let bytes = ByteTable::data_store(1);
    session.write(bytes, 0, &data, WriteOptions::default(), &mut |_| {}).unwrap();
    assert!(session.read(bytes, 0, data.len(), &mut |_| {}).unwrap()[..] == data[..]);
    session.close().unwrap();
}

#[test]
fn shadow_mbr_control() {
    let drive = owned();
    let mut host = drive.host();
    let admin_pin = pin("owner");
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    assert!(!session.mbr_control().unwrap().enable);
    let resets = ResetTypes::POWER_CYCLE | ResetTypes::PROGRAMMATIC;
    session.set_mbr_control(Some(true), Some(true), Some(resets)).unwrap();
    let control = session.mbr_control().unwrap();
    assert!(control.enable && control.done);
    assert_eq!(control.done_on_reset, resets);
    session.close().unwrap();
    drive.power_cycle(Profile::opal2());
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    assert!(!session.mbr_control().unwrap().done);
    session.close().unwrap();
}

#[test]
fn what_the_locking_sp_tells() {
    let drive = owned();
    let mut host = drive.host();
    let admin_pin = pin("owner");
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    let info = session.locking_info().unwrap();
    assert_eq!((info.max_ranges, info.alignment_granularity), (8, Some(8)));
    let rows = session.rows(Table::LOCKING).unwrap();
    assert_eq!(rows, (0..=8).map(Row::range).collect::<Vec<_>>());
    let some = session.next(Table::LOCKING, Some(Row::range(2).uid()), Some(2)).unwrap();
    assert_eq!(some, [Row::range(3), Row::range(4)]);
    let acl = session.acl(Row::range(1).uid(), method::GET).unwrap();
    assert!(acl.contains(&ace::locking_get(1)));
    let tries = session.c_pin(Authority::user(1)).unwrap();
    assert_eq!((tries.try_limit, tries.tries), (0, 0));
    let (one, two) = (session.random(32).unwrap(), session.random(32).unwrap());
    assert_ne!(one, two);
    let raw = opal::exchange::request::get_row(Row::range(1).uid());
    assert!(session.raw(raw).unwrap().cells().unwrap().columns().count() > 8);
    let unknown = session.get_row(Row::at(Uid::new(table::LOCKING, 0x0003_FFF0)));
    assert_eq!(unknown.map(drop).unwrap_err().status(), Some(Status::NOT_AUTHORIZED));
    session.close().unwrap();
}

#[test]
fn alignment_and_overlap_are_refused() {
    let drive = with_user(2);
    let mut host = drive.host();
    let admin_pin = pin("owner");
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    let odd = RangeConfig { start: Some(65_537), ..range(3) };
    let over = RangeConfig { start: Some(4096), ..range(3) };
    for wrong in [odd, over] {
        let error = session.set_range(3, &wrong).unwrap_err();
        assert_eq!(error.status(), Some(Status::INVALID_PARAMETER));
        assert_eq!(session.range(3).unwrap().length, Some(0), "all or nothing");
    }
    session.close().unwrap();
}

#[test]
fn transactions() {
    let drive = with_user(1);
    let mut host = drive.host();
    let admin_pin = pin("owner");
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    for commit in [false, true] {
        session.start_transaction().unwrap();
        session.set_range(1, &RangeConfig::locked(false, false)).unwrap();
        session.end_transaction(commit).unwrap();
        assert_eq!(session.range(1).unwrap().read_locked, Some(!commit));
    }
    session.close().unwrap();
}

#[test]
fn erasing_a_range_gives_it_a_new_key() {
    let drive = with_user(1);
    let mut host = drive.host();
    let admin_pin = pin("owner");
    let before = (drive.key(1), drive.key(2));
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    let other = DataLoss::accepted_for("ANOTHER");
    assert_eq!(session.erase_range(1, &other), Err(Error::NotThisDrive));
    assert_eq!(drive.key(1), before.0);
    session.erase_range(1, &loss()).unwrap();
    session.close().unwrap();
    assert_ne!(drive.key(1), before.0);
    assert_eq!(drive.key(2), before.1);
}

#[test]
fn reverts() {
    let admin_pin = pin("owner");
    // RevertSP that keeps the Global Range's key.
    let drive = with_user(1);
    let mut host = drive.host();
    let before = (drive.key(0), drive.key(1));
    let session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    session.revert_sp(true, &loss()).unwrap();
    assert_eq!(drive.key(0), before.0);
    assert_ne!(drive.key(1), before.1);
    let error = host.start::<LockingSp>().open().map(drop).unwrap_err();
    assert_eq!(error.status(), Some(Status::INVALID_PARAMETER), "the SP is not active");

    // Revert of the Admin SP, by SID and by PSID.
    for (authority, pin) in
        [(Authority::SID, pin("owner")), (Authority::PSID, Pin::new(PSID).unwrap())]
    {
        let drive = with_user(1);
        let mut host = drive.host();
        let before = (drive.key(0), drive.key(1));
        let session = host.start::<AdminSp>().authority(authority, &pin).open().unwrap();
        session.revert(&loss()).unwrap();
        assert!(drive.key(0) != before.0 && drive.key(1) != before.1);
        let mut session = host.start::<AdminSp>().open().unwrap();
        let msid = session.msid().unwrap();
        session.authenticate(Authority::SID, &msid).unwrap();
        assert_eq!(session.life_cycle(Row::LOCKING_SP), Ok(LifeCycle::ManufacturedInactive));
        session.close().unwrap();
    }

    let drive = with_user(1);
    let mut host = drive.host();
    let wrong = host.psid_revert(&pin("not on the label"), &loss());
    assert_eq!(wrong, Err(Error::NotAuthenticated { authority: Authority::PSID.uid() }));
    host.psid_revert(&Pin::new(PSID).unwrap(), &loss()).unwrap();
}

#[test]
fn a_programmatic_reset_locks_what_asks_for_it() {
    let drive = with_user(1);
    let mut host = drive.host();
    let admin_pin = pin("owner");
    let mut session = host.start::<AdminSp>().authority(Authority::SID, &admin_pin).open().unwrap();
    session.set_programmatic_reset(true).unwrap();
    let column = column::tper_info::PROGRAMMATIC_RESET_ENABLE;
    assert_eq!(session.get(Row::TPER_INFO, column..=column).unwrap().boolean(column), Ok(true));
    session.close().unwrap();

    let open = RangeConfig {
        lock_on_reset: Some(ResetTypes::POWER_CYCLE | ResetTypes::PROGRAMMATIC),
        ..RangeConfig::locked(false, false)
    };
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    session.set_range(1, &open).unwrap();
    session.close().unwrap();
    host.tper_reset().unwrap();
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin_pin).open().unwrap();
    assert!(session.range(1).unwrap().refuses_reads());
    session.close().unwrap();
}
