// SPDX-License-Identifier: MIT OR Apache-2.0
//! A platform that refuses, fails, and writes down what it was asked.

use std::cell::RefCell;
use std::rc::Rc;

use opal::Uid;
use opal::spec::{authority, c_pin, locking, method, sp, table};
use opal::tper::{Grants, MemoryPlatform, Platform, Reset, SessionId, Tper, Vault, VaultError};
use opal::wire::packet::Envelope;
use opal::wire::{Answer, Call, CallBuilder, ComPacket, Encoder, Reader, Status};

use crate::support::{COM_ID, HSN, MSID, PSID, profile};

/// What the test tells the platform, and what it saw.
#[derive(Default)]
struct Control {
    /// Fails the call of this name.
    fail: Option<(&'static str, VaultError)>,
    calls: Vec<String>,
}

struct Faulty {
    inner: MemoryPlatform,
    control: Rc<RefCell<Control>>,
}

impl Faulty {
    fn gate(&self, name: &'static str) -> Result<(), VaultError> {
        let mut control = self.control.borrow_mut();
        control.calls.push(name.into());
        match control.fail {
            Some((failing, error)) if failing == name => Err(error),
            _ => Ok(()),
        }
    }

    fn note(&self, text: String) {
        self.control.borrow_mut().calls.push(text);
    }
}

impl Vault for Faulty {
    fn begin(&mut self) {
        self.note("begin".into());
        self.inner.begin();
    }
    fn commit(&mut self) {
        self.note("commit".into());
        self.inner.commit();
    }
    fn rollback(&mut self) {
        self.note("rollback".into());
        self.inner.rollback();
    }
    fn verify(&mut self, session: SessionId, authority: Uid, challenge: &[u8]) -> bool {
        self.inner.verify(session, authority, challenge)
    }
    fn forget(&mut self, session: SessionId, authority: Uid) {
        self.note(format!("forget {}", session.0));
        self.inner.forget(session, authority);
    }
    fn close_session(&mut self, session: SessionId) {
        self.note(format!("close {}", session.0));
        self.inner.close_session(session);
    }
    fn set_pin(&mut self, session: SessionId, of: Uid, pin: &[u8]) -> Result<(), VaultError> {
        self.gate("set_pin")?;
        self.inner.set_pin(session, of, pin)
    }
    fn copy_pin(&mut self, session: SessionId, from: Uid, to: Uid) -> Result<(), VaultError> {
        self.gate("copy_pin")?;
        self.inner.copy_pin(session, from, to)
    }
    fn reset_pin(&mut self, authority: Uid, pin: &[u8]) -> Result<(), VaultError> {
        self.gate("reset_pin")?;
        self.inner.reset_pin(authority, pin)
    }
    fn new_key(&mut self, range: u16) -> Result<(), VaultError> {
        self.gate("new_key")?;
        self.inner.new_key(range)
    }
    fn unlock(&mut self, session: Option<SessionId>, range: u16) -> Result<(), VaultError> {
        self.gate("unlock")?;
        self.inner.unlock(session, range)
    }
    fn lock(&mut self, range: u16) {
        self.note(format!("lock {range}"));
        self.inner.lock(range);
    }
    fn reseal(&mut self, session: Option<SessionId>, grants: &Grants) -> Result<(), VaultError> {
        self.gate("reseal")?;
        self.inner.reseal(session, grants)
    }
    fn random(&mut self, out: &mut [u8]) {
        self.inner.random(out);
    }
}

impl Platform for Faulty {
    fn read_table(
        &mut self,
        session: Option<SessionId>,
        table: Uid,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), VaultError> {
        self.gate("read_table")?;
        self.inner.read_table(session, table, offset, out)
    }
    fn activation_forbidden(&self) -> bool {
        self.gate("activation_forbidden").is_err()
    }
}

struct Drive {
    tper: Tper<Faulty>,
    control: Rc<RefCell<Control>>,
}

impl Drive {
    fn new() -> Self {
        let control = Rc::new(RefCell::new(Control::default()));
        let mut profile = profile();
        profile.try_limits.others = 3;
        profile.limits.max_authentications = 4;
        let inner = MemoryPlatform::new(3, PSID);
        let platform = Faulty { inner, control: control.clone() };
        Self { tper: Tper::manufacture(profile, platform).unwrap(), control }
    }

    fn tokens(&mut self, tsn: u32, tokens: &[u8]) -> Vec<u8> {
        let hsn = if tsn == 0 { 0 } else { HSN };
        let envelope = Envelope { com_id: COM_ID, tsn, hsn, ..Envelope::default() };
        let mut pending = self.tper.if_send(1, COM_ID, &envelope.wrap(tokens)).unwrap();
        let effects = pending.effects().to_vec();
        pending.platform().inner.apply(&effects);
        pending.commit();
        let answer = self.tper.if_recv(1, COM_ID, 65536).unwrap();
        let packet = ComPacket::parse(&answer).unwrap().packets().next().unwrap().unwrap();
        packet.sub_packets().next().unwrap().unwrap().payload().to_vec()
    }

    fn start(&mut self, sp: Uid, authority: Uid, pin: &[u8]) -> u32 {
        let call = CallBuilder::new(sp::SESSION_MANAGER, method::START_SESSION)
            .with(|t| {
                t.uint(u64::from(HSN)).uid(sp).boolean(true);
                t.named(0, |t| {
                    t.bytes(pin);
                });
                t.named(3, |t| {
                    t.uid(authority);
                });
            })
            .finish();
        let answer = self.tokens(0, &call);
        let mut answer = Call::parse(&mut Reader::new(&answer)).unwrap();
        answer.parameters.uint().unwrap();
        answer.parameters.uint_as().unwrap()
    }

    fn call(
        &mut self,
        tsn: u32,
        invoking: Uid,
        method: Uid,
        parameters: impl FnOnce(&mut Encoder),
    ) -> Status {
        let call = CallBuilder::new(invoking, method).with(parameters).finish();
        let answer = self.tokens(tsn, &call);
        Answer::parse(&mut Reader::new(&answer)).unwrap().status
    }

    /// An activated drive with a session of Admin1.
    fn activated() -> (Self, u32) {
        let mut drive = Self::new();
        let tsn = drive.start(sp::ADMIN, authority::SID, MSID);
        assert!(drive.call(tsn, sp::LOCKING, method::ACTIVATE, |_| {}).is_success());
        drive.tokens(tsn, &[0xFA]);
        let tsn = drive.start(sp::LOCKING, authority::admin(1), MSID);
        (drive, tsn)
    }

    fn fail(&self, call: &'static str, error: VaultError) {
        self.control.borrow_mut().fail = Some((call, error));
    }

    fn heal(&self) {
        self.control.borrow_mut().fail = None;
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.control.borrow_mut().calls)
    }
}

fn set(t: &mut Encoder, cells: &[(u64, u64)]) {
    t.named(1, |t| {
        t.list(|t| {
            for (column, value) in cells {
                t.named(*column, |t| {
                    t.uint(*value);
                });
            }
        });
    });
}

fn set_pin(t: &mut Encoder, pin: &[u8]) {
    t.named(1, |t| {
        t.list(|t| {
            t.named(3, |t| {
                t.bytes(pin);
            });
        });
    });
}

#[test]
fn a_vault_that_fails_leaves_everything_as_it_was() {
    type Step = fn(&mut Drive, u32) -> Status;
    let steps: &[(&str, Step)] = &[
        ("set_pin", |d, s| d.call(s, c_pin::user(1), method::SET, |t| set_pin(t, b"x"))),
        ("reseal", |d, s| d.call(s, c_pin::user(1), method::SET, |t| set_pin(t, b"x"))),
        ("reseal", |d, s| d.call(s, authority::admin(2), method::SET, |t| set(t, &[(5, 1)]))),
        ("new_key", |d, s| d.call(s, locking::key_256(1), method::GEN_KEY, |_| {})),
        ("new_key", |d, s| d.call(s, sp::THIS_SP, method::REVERT_SP, |_| {})),
        ("reset_pin", |d, s| d.call(s, sp::THIS_SP, method::REVERT_SP, |_| {})),
        ("reseal", |d, s| d.call(s, sp::THIS_SP, method::REVERT_SP, |_| {})),
        ("reseal", |d, s| {
            let locked = [(5, 1), (6, 1), (7, 1), (8, 1)];
            d.call(s, locking::range(0), method::SET, |t| set(t, &locked))
        }),
    ];
    for (call, step) in steps {
        for (error, expected) in [
            (VaultError::Refused, Status::NOT_AUTHORIZED),
            (VaultError::Failed, Status::TPER_MALFUNCTION),
        ] {
            let (mut drive, tsn) = Drive::activated();
            // A try on record, which a new PIN would clear.
            let wrong = drive.call(tsn, sp::THIS_SP, method::AUTHENTICATE, |t| {
                t.uid(authority::admin(1)).named(0, |t| {
                    t.bytes(b"wrong");
                });
            });
            assert!(wrong.is_success());
            let state = drive.tper.state();
            let keys: Vec<_> = (0..=8).map(|n| drive.tper.platform().inner.key(n)).collect();
            drive.fail(call, error);
            assert_eq!(step(&mut drive, tsn), expected, "{call}");
            drive.heal();
            assert_eq!(drive.tper.state(), state, "{call}");
            assert_eq!(drive.tper.open_sessions(), 1, "{call}");
            let platform = &drive.tper.platform().inner;
            assert!((0..=8).all(|n| platform.is_loaded(n)), "{call}");
            assert_eq!((0..=8).map(|n| platform.key(n)).collect::<Vec<_>>(), keys, "{call}");
            assert!(step(&mut drive, tsn).is_success(), "{call}: it works once the fault is gone");
        }
    }
}

#[test]
fn activate_errors() {
    // Opal test case ETC-19 and a vault that cannot copy.
    let mut drive = Drive::new();
    let tsn = drive.start(sp::ADMIN, authority::SID, MSID);
    for (call, expected) in
        [("activation_forbidden", Status::FAIL), ("copy_pin", Status::TPER_MALFUNCTION)]
    {
        drive.fail(call, VaultError::Failed);
        assert_eq!(drive.call(tsn, sp::LOCKING, method::ACTIVATE, |_| {}), expected);
        drive.heal();
        assert!(!drive.tper.is_active());
    }
    assert!(drive.call(tsn, sp::LOCKING, method::ACTIVATE, |_| {}).is_success());
}

#[test]
fn a_transaction_that_cannot_be_committed_is_undone() {
    let (mut drive, tsn) = Drive::activated();
    let state = drive.tper.state();
    drive.tokens(tsn, &[0xFB, 0]);
    let enabled = drive.call(tsn, authority::admin(2), method::SET, |t| set(t, &[(5, 1)]));
    assert!(enabled.is_success());
    drive.fail("reseal", VaultError::Failed);
    assert_eq!(drive.tokens(tsn, &[0xFC, 0]), [0xFC, 1]);
    drive.heal();
    assert_eq!(drive.tper.state(), state);
    assert_eq!(drive.tokens(tsn, &[0xFB, 0]), [0xFB, 0], "the next one may begin");
}

#[test]
fn a_failure_after_something_counted_undoes_the_whole_command() {
    // The end of a transaction and a method in one packet: the first part is staged already when
    // the second fails.
    let (mut drive, tsn) = Drive::activated();
    let state = drive.tper.state();
    drive.tokens(tsn, &[0xFB, 0]);
    let enabled = drive.call(tsn, authority::user(1), method::SET, |t| set(t, &[(5, 1)]));
    assert!(enabled.is_success());
    drive.fail("new_key", VaultError::Failed);
    let call = CallBuilder::new(locking::key_256(1), method::GEN_KEY).finish();
    let answer = drive.tokens(tsn, &[&[0xFC, 0][..], &call].concat());
    let answer = Answer::parse(&mut Reader::new(&answer)).unwrap();
    assert_eq!(answer.status, Status::TPER_MALFUNCTION);
    assert_eq!(drive.tper.state(), state);
    drive.heal();
    assert_eq!(drive.tokens(tsn, &[0xFC, 0]), [0xFC, 0], "the transaction is still open");
    assert_ne!(drive.tper.state(), state);
}

#[test]
fn a_reset_asks_nothing_that_can_fail() {
    let (mut drive, tsn) = Drive::activated();
    let range = drive.call(tsn, locking::range(0), method::SET, |t| set(t, &[(5, 1), (6, 1)]));
    assert!(range.is_success());
    let mbr = drive.call(tsn, table::row::MBR_CONTROL_ROW, method::SET, |t| {
        set(t, &[(1, 1), (2, 1)]);
    });
    assert!(mbr.is_success());
    drive.calls();
    drive.tper.reset(Reset::PowerCycle).commit();
    assert_eq!(drive.calls(), ["begin", "lock 0", "close 2", "commit"]);
    assert!(drive.tper.ranges()[0].is_locked_both_ways());
    assert!(!drive.tper.platform().inner.is_loaded(0));
    assert!(drive.tper.is_shadowing());
}

#[test]
fn reading_a_table_may_fail() {
    let (mut drive, tsn) = Drive::activated();
    for (error, expected) in [
        (VaultError::Refused, Status::NOT_AUTHORIZED),
        (VaultError::Failed, Status::TPER_MALFUNCTION),
    ] {
        drive.fail("read_table", error);
        let status = drive.call(tsn, table::data_store(1), method::GET, |t| {
            t.list(|t| {
                t.named(2, |t| {
                    t.uint(3);
                });
            });
        });
        assert_eq!(status, expected);
    }
}

#[test]
fn how_a_platform_is_called() {
    let (mut drive, tsn) = Drive::activated();
    drive.calls();
    drive.tokens(tsn, &[0xFA]);
    assert_eq!(drive.calls(), ["begin", "close 2", "commit"], "each session is closed once");
    let refused = drive.start(sp::LOCKING, authority::admin(1), b"wrong");
    assert_eq!((refused, drive.calls().len()), (0, 2));
    // A session that begins and ends in nothing but itself; one that idles away.
    let tsn = drive.start(sp::LOCKING, authority::admin(1), MSID);
    drive.calls();
    drive.tper.reset(Reset::Hardware).commit();
    assert_eq!(drive.calls(), ["begin", "close 3", "commit"]);
    drop(drive.tper.reset(Reset::PowerCycle));
    assert_eq!(drive.calls(), ["begin", "rollback"]);
    let _ = tsn;
}
