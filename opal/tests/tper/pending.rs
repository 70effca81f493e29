// SPDX-License-Identifier: MIT OR Apache-2.0
//! A command that is dropped before it is committed has not happened.

use opal::spec::{authority, c_pin, locking, method, sp, table};
use opal::tper::Reset;
use opal::wire::packet::Envelope;
use opal::wire::{Answer, Call, CallBuilder, ComPacket, Encoder, Reader, Status};
use opal::{Uid, wire};

use crate::support::{Bench, COM_ID, HSN, MSID, Session, profile};

/// Sends tokens, drops what comes of it, and returns the status the host hears.
fn dropped(bench: &mut Bench, session: (u32, u32), tokens: &[u8]) -> Option<Status> {
    let envelope =
        Envelope { com_id: COM_ID, tsn: session.0, hsn: session.1, ..Envelope::default() };
    let state = bench.tper.state();
    let sessions = bench.tper.open_sessions();
    let held = bench.tper.platform().open_sessions();
    let keys: Vec<_> = (0..=8).map(|n| bench.tper.platform().key(n)).collect();
    drop(bench.tper.if_send(1, COM_ID, &envelope.wrap(tokens)).unwrap());
    assert_eq!(bench.tper.state(), state);
    assert_eq!(bench.tper.open_sessions(), sessions);
    assert_eq!(bench.tper.platform().open_sessions(), held);
    let after: Vec<_> = (0..=8).map(|n| bench.tper.platform().key(n)).collect();
    assert_eq!(after, keys);
    let answer = bench.tper.if_recv(1, COM_ID, 65536).unwrap();
    let packet = ComPacket::parse(&answer).unwrap().packets().next()?.unwrap();
    let part = packet.sub_packets().next()?.unwrap();
    let mut reader = Reader::new(part.payload());
    Some(if session == (0, 0) {
        Call::parse(&mut reader).unwrap().status
    } else {
        Answer::parse(&mut reader).unwrap().status
    })
}

fn call(invoking: Uid, method: Uid, parameters: impl FnOnce(&mut Encoder)) -> wire::CallBuilder {
    CallBuilder::new(invoking, method).with(parameters)
}

fn set(row: Uid, column: u64, value: u64) -> wire::CallBuilder {
    call(row, method::SET, |t| {
        t.named(1, |t| {
            t.list(|t| {
                t.named(column, |t| {
                    t.uint(value);
                });
            });
        });
    })
}

fn owned() -> (Bench, Session) {
    let mut profile = profile();
    profile.limits.max_authentications = 5;
    let mut bench = Bench::activated(profile, b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    (bench, session)
}

#[test]
fn methods_leave_no_trace() {
    let (mut bench, session) = owned();
    let ids = (session.tsn, HSN);
    let lock = call(locking::range(0), method::SET, |t| {
        t.named(1, |t| {
            t.list(|t| {
                for column in 5..=8 {
                    t.named(column, |t| {
                        t.boolean(true);
                    });
                }
            });
        });
    });
    let pin = call(c_pin::admin(1), method::SET, |t| {
        t.named(1, |t| {
            t.list(|t| {
                t.named(3, |t| {
                    t.bytes(b"never");
                });
            });
        });
    });
    let write = call(table::data_store(1), method::SET, |t| {
        t.named(1, |t| {
            t.bytes(b"never");
        });
    });
    let authenticate = call(sp::THIS_SP, method::AUTHENTICATE, |t| {
        t.uid(authority::admin(1)).named(0, |t| {
            t.bytes(b"owner");
        });
    });
    let calls = [
        lock,
        pin,
        write,
        authenticate,
        set(authority::user(1), 5, 1),
        set(table::row::MBR_CONTROL_ROW, 1, 1),
        call(locking::key_256(2), method::GEN_KEY, |_| {}),
        call(sp::THIS_SP, method::REVERT_SP, |_| {}),
    ];
    for call in calls {
        let status = dropped(&mut bench, ids, &call.finish());
        assert_eq!(status, Some(Status::TPER_MALFUNCTION));
    }
    assert_eq!(dropped(&mut bench, ids, &[0xFA]), Some(Status::TPER_MALFUNCTION));
    assert!(bench.tper.platform().is_loaded(0), "no lock stayed");
    assert_eq!(bench.read_bytes(session, table::data_store(1), 0, 4).unwrap(), [0; 5]);
    bench.end(session);
    assert!(bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).is_ok());
}

#[test]
fn sessions_leave_no_trace() {
    let mut profile = profile();
    profile.try_limits.sid = 3;
    let mut bench = Bench::new(profile);
    for pin in [MSID, b"wrong"] {
        let start = call(sp::SESSION_MANAGER, method::START_SESSION, |t| {
            t.uint(1).uid(sp::ADMIN).boolean(true);
            t.named(0, |t| {
                t.bytes(pin);
            });
            t.named(3, |t| {
                t.uid(authority::SID);
            });
        });
        let status = dropped(&mut bench, (0, 0), &start.finish());
        assert_eq!(status, Some(Status::TPER_MALFUNCTION));
    }
    assert_eq!(bench.tper.counters().sessions, 0);
    assert_eq!(bench.tper.platform().open_sessions(), 0);
}

#[test]
fn what_needs_no_answer_gets_none() {
    let (mut bench, _) = owned();
    assert_eq!(dropped(&mut bench, (0x7777, 1), &[0xFA]), None, "an unknown session");
}

#[test]
fn a_whole_life_step_by_step() {
    // Every command of a provisioning is first sent and dropped, then sent for good: the result is
    // that of a drive that never lost one.
    let run = |drop_first: bool| {
        let mut bench = Bench::opal2();
        let go = |bench: &mut Bench, session: Session, call: wire::CallBuilder| {
            let tokens = call.finish();
            if drop_first {
                dropped(bench, (session.tsn, HSN), &tokens);
            }
            let answer = bench.tokens((session.tsn, HSN), &tokens);
            let answer = Answer::parse(&mut Reader::new(&answer)).unwrap().status;
            assert_eq!(answer, Status::SUCCESS);
        };
        let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
        go(&mut bench, session, call(sp::LOCKING, method::ACTIVATE, |_| {}));
        bench.end(session);
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), MSID))).unwrap();
        go(&mut bench, session, set(authority::user(1), 5, 1));
        go(&mut bench, session, set(locking::range(1), 4, 4096));
        go(&mut bench, session, set(locking::range(1), 5, 1));
        go(&mut bench, session, set(locking::range(1), 6, 1));
        go(&mut bench, session, call(locking::key_256(1), method::GEN_KEY, |_| {}));
        bench.end(session);
        bench.disk.0
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_dropped_reset_has_not_happened() {
    let (mut bench, session) = owned();
    bench.set_uint(session, locking::range(0), &[(5, 1), (6, 1)]).unwrap();
    let state = bench.tper.state();
    drop(bench.tper.reset(Reset::PowerCycle));
    assert_eq!(bench.tper.state(), state);
    assert_eq!(bench.tper.open_sessions(), 1);
    assert!(bench.tper.platform().is_loaded(0));
    bench.tper.reset(Reset::PowerCycle).commit();
    assert_ne!(bench.tper.state(), state);
    assert!(!bench.tper.platform().is_loaded(0));
    assert_eq!(bench.tper.platform().open_sessions(), 0);
}

#[test]
fn what_has_to_be_persisted() {
    let (mut bench, session) = owned();
    let mut changed = |tokens: &[u8]| {
        let envelope =
            Envelope { com_id: COM_ID, tsn: session.tsn, hsn: HSN, ..Envelope::default() };
        let pending = bench.tper.if_send(1, COM_ID, &envelope.wrap(tokens)).unwrap();
        let changed = pending.changed();
        pending.commit();
        bench.tper.if_recv(1, COM_ID, 2048).unwrap();
        changed
    };
    assert!(changed(&set(authority::user(1), 5, 1).finish()));
    assert!(!changed(&set(authority::user(1), 5, 1).finish()), "the same again");
    assert!(changed(&call(locking::key_256(1), method::GEN_KEY, |_| {}).finish()));
    assert!(!changed(&[0xFB, 0x00]));
    assert!(!changed(&set(authority::user(1), 5, 0).finish()), "held back");
    assert!(changed(&[0xFC, 0x00]));
    assert!(!changed(&[0xFA]));
    assert!(!bench.tper.reset(Reset::PowerCycle).changed());
}
