// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening sessions, authenticating in them, try limits (Core 2.01 §5.2.3, §5.3.4.1).

use std::time::Duration;

use opal::Uid;
use opal::spec::{authority, c_pin, column, method, sp};
use opal::wire::Status;

use crate::support::{Bench, HSN, MSID, PSID, profile};

/// An authority and the PIN it gives.
type Who = Option<(Uid, &'static [u8])>;

#[test]
fn which_sessions_open() {
    let mut bench = Bench::opal2();
    let refusals: &[(Uid, Who, Status)] = &[
        (sp::LOCKING, None, Status::INVALID_PARAMETER),
        (Uid::new(0x205, 9), None, Status::INVALID_PARAMETER),
        (sp::ADMIN, Some((authority::SID, b"wrong")), Status::NOT_AUTHORIZED),
        (sp::ADMIN, Some((authority::SID, b"")), Status::NOT_AUTHORIZED),
        (sp::ADMIN, Some((authority::SID, &[0x41; 33])), Status::NOT_AUTHORIZED),
        (sp::ADMIN, Some((authority::ADMINS, MSID)), Status::INVALID_PARAMETER),
        (sp::ADMIN, Some((authority::user(1), MSID)), Status::INVALID_PARAMETER),
        (sp::ADMIN, Some((c_pin::SID, MSID)), Status::INVALID_PARAMETER),
        // Disabled, with an empty PIN.
        (sp::ADMIN, Some((authority::admin_sp_admin(1), b"")), Status::NOT_AUTHORIZED),
    ];
    for (sp, who, status) in refusals {
        assert_eq!(bench.start(*sp, *who).unwrap_err(), *status, "{sp} {who:?}");
    }
    let good: &[Who] = &[
        None,
        Some((authority::ANYBODY, b"ignored")),
        Some((authority::SID, MSID)),
        Some((authority::PSID, PSID)),
    ];
    for who in good {
        let session = bench.start(sp::ADMIN, *who).unwrap();
        bench.end(session);
    }
    assert_eq!(bench.tper.counters().sessions, good.len() as u64);
    assert_eq!(bench.tper.platform().open_sessions(), 0, "no secrets stay behind");
}

#[test]
fn an_absent_challenge_is_a_wrong_one() {
    let mut bench = Bench::opal2();
    let status = bench.start_with(sp::ADMIN, |t| {
        t.named(3, |t| {
            t.uid(authority::SID);
        });
    });
    assert_eq!(status.unwrap_err(), Status::NOT_AUTHORIZED);
    let anybody = bench.start_with(sp::ADMIN, |t| {
        t.named(0, |t| {
            t.bytes(b"a challenge for nobody");
        });
    });
    assert!(anybody.is_ok());
}

#[test]
fn malformed_parameters() {
    let mut bench = Bench::opal2();
    let wrong: [fn(&mut opal::wire::Encoder); 6] = [
        // A certificate, which is not supported.
        |t| {
            t.named(2, |t| {
                t.bytes(b"x");
            });
        },
        // Out of order.
        |t| {
            t.named(3, |t| {
                t.uid(authority::ANYBODY);
            })
            .named(0, |t| {
                t.bytes(b"x");
            });
        },
        // Twice.
        |t| {
            for _ in 0..2 {
                t.named(0, |t| {
                    t.bytes(b"x");
                });
            }
        },
        // Not named.
        |t| {
            t.uint(1);
        },
        // Of the wrong type.
        |t| {
            t.named(0, |t| {
                t.uint(1);
            });
        },
        // A name that is text.
        |t| {
            t.named_bytes(b"SessionTimeout", |t| {
                t.uint(60000);
            });
        },
    ];
    for parameters in wrong {
        assert_eq!(bench.start_with(sp::ADMIN, parameters).unwrap_err(), Status::INVALID_PARAMETER);
    }
    assert_eq!(bench.tper.open_sessions(), 0);
}

#[test]
fn one_session_at_a_time() {
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, None).unwrap();
    assert_eq!(bench.start(sp::ADMIN, None).unwrap_err(), Status::NO_SESSIONS_AVAILABLE);
    bench.end(session);
    assert!(bench.start(sp::ADMIN, None).is_ok());
}

#[test]
fn read_write_sessions_exclude_others() {
    let mut profile = profile();
    profile.limits.max_sessions = 4;
    let mut bench = Bench::activated(profile, b"owner");
    let locking = bench.start(sp::LOCKING, None).unwrap();
    assert_eq!(bench.start(sp::LOCKING, None).unwrap_err(), Status::SP_BUSY);
    assert_eq!(bench.start(sp::ADMIN, None).unwrap_err(), Status::SP_BUSY);
    bench.end(locking);
    bench.start(sp::ADMIN, None).unwrap();
    assert_eq!(bench.start(sp::LOCKING, None).unwrap_err(), Status::SP_BUSY);
}

fn with_try_limit(limit: u32) -> Bench {
    let mut profile = profile();
    profile.try_limits.sid = limit;
    profile.try_limits.others = limit;
    Bench::new(profile)
}

#[test]
fn tries_are_counted_and_forgotten() {
    let mut bench = with_try_limit(3);
    let wrong = Some((authority::SID, &b"wrong"[..]));
    for _ in 0..2 {
        assert_eq!(bench.start(sp::ADMIN, wrong).unwrap_err(), Status::NOT_AUTHORIZED);
    }
    let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    assert_eq!(bench.get_uint(session, c_pin::SID, column::c_pin::TRIES), 0);
    assert_eq!(bench.get_uint(session, c_pin::SID, column::c_pin::TRY_LIMIT), 3);
    bench.end(session);
    for _ in 0..3 {
        assert_eq!(bench.start(sp::ADMIN, wrong).unwrap_err(), Status::NOT_AUTHORIZED);
    }
    let right = Some((authority::SID, MSID));
    assert_eq!(bench.start(sp::ADMIN, right).unwrap_err(), Status::AUTHORITY_LOCKED_OUT);
    bench.reset(opal::tper::Reset::Hardware);
    assert_eq!(bench.start(sp::ADMIN, right).unwrap_err(), Status::AUTHORITY_LOCKED_OUT);
    bench.power_cycle();
    assert!(bench.start(sp::ADMIN, right).is_ok());
}

#[test]
fn persistent_tries_survive_a_power_cycle() {
    let mut profile = profile();
    profile.try_limits.sid = 1;
    profile.try_limits.persistent = true;
    let mut bench = Bench::new(profile);
    bench.start(sp::ADMIN, Some((authority::SID, b"wrong"))).unwrap_err();
    bench.power_cycle();
    let status = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap_err();
    assert_eq!(status, Status::AUTHORITY_LOCKED_OUT);
}

#[test]
fn a_wrong_pin_is_persisted_before_it_is_answered() {
    let mut bench = with_try_limit(5);
    let before = bench.tper.state();
    bench.start(sp::ADMIN, Some((authority::SID, b"wrong"))).unwrap_err();
    assert_ne!(bench.disk.0, before, "the owner was told to persist the try");
    assert_eq!(bench.disk.0, bench.tper.state());
}

#[test]
fn authenticate_in_a_session() {
    let mut profile = profile();
    profile.limits.max_authentications = 3;
    profile.try_limits.others = 2;
    let mut bench = Bench::activated(profile, b"owner");
    let session = bench.start(sp::LOCKING, None).unwrap();
    assert_eq!(bench.authenticate(session, authority::ANYBODY, None), Ok(true));
    assert_eq!(bench.authenticate(session, authority::ANYBODY, Some(b"x")), Ok(true));
    assert_eq!(
        bench.authenticate(session, authority::ADMINS, Some(b"owner")),
        Err(Status::INVALID_PARAMETER)
    );
    assert_eq!(
        bench.authenticate(session, authority::user(99), Some(b"owner")),
        Err(Status::INVALID_PARAMETER)
    );
    assert_eq!(bench.authenticate(session, authority::user(1), Some(b"")), Ok(false), "disabled");
    assert_eq!(bench.authenticate(session, authority::admin(1), Some(b"wrong")), Ok(false));
    assert_eq!(bench.authenticate(session, authority::admin(1), Some(b"owner")), Ok(true));
    assert_eq!(bench.authenticate(session, authority::admin(1), Some(b"owner")), Ok(true));
    bench.enable(session, authority::user(1)).unwrap();
    bench.enable(session, authority::user(2)).unwrap();
    assert_eq!(bench.authenticate(session, authority::user(1), Some(b"")), Ok(true));
    assert_eq!(
        bench.authenticate(session, authority::user(2), Some(b"")),
        Ok(false),
        "MaxAuthentications counts Anybody"
    );
    bench.end(session);

    let session = bench.start(sp::LOCKING, None).unwrap();
    for _ in 0..2 {
        assert_eq!(bench.authenticate(session, authority::admin(1), None), Ok(false));
    }
    assert_eq!(
        bench.authenticate(session, authority::admin(1), Some(b"owner")),
        Err(Status::AUTHORITY_LOCKED_OUT)
    );
}

#[test]
fn setting_a_pin_clears_its_tries() {
    let mut profile = profile();
    profile.try_limits.others = 1;
    let mut bench = Bench::activated(profile, b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    bench.enable(session, authority::user(1)).unwrap();
    bench.set_pin(session, c_pin::user(1), b"user").unwrap();
    bench.end(session);
    let user = Some((authority::user(1), &b"user"[..]));
    bench.start(sp::LOCKING, Some((authority::user(1), b"?"))).unwrap_err();
    assert_eq!(bench.start(sp::LOCKING, user).unwrap_err(), Status::AUTHORITY_LOCKED_OUT);
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    assert_eq!(bench.get_uint(session, c_pin::user(1), column::c_pin::TRIES), 1);
    bench.set_pin(session, c_pin::user(1), b"user").unwrap();
    assert_eq!(bench.get_uint(session, c_pin::user(1), column::c_pin::TRIES), 0);
    bench.end(session);
    assert!(bench.start(sp::LOCKING, user).is_ok());
}

#[test]
fn idle_sessions_end() {
    let mut profile = profile();
    profile.limits.default_session_timeout = 1000;
    let mut bench = Bench::new(profile);
    let session = bench.start(sp::ADMIN, None).unwrap();
    bench.tper.session_timeouts(Duration::from_millis(900)).commit();
    let msid = opal::spec::c_pin::MSID;
    assert!(bench.get(session, msid, 3..=3).is_ok());
    bench.tper.session_timeouts(Duration::from_millis(900)).commit();
    assert_eq!(bench.tper.open_sessions(), 1, "the exchange between them was a sign of life");
    bench.tper.session_timeouts(Duration::from_millis(100)).commit();
    assert_eq!(bench.tper.open_sessions(), 0);
    assert_eq!(bench.tokens((session.tsn, HSN), &[0xFA]), [], "an unknown session: no answer");
}

#[test]
fn random_numbers() {
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, None).unwrap();
    let mut draw = |count: u64| {
        bench.call(session, sp::THIS_SP, method::RANDOM, |t| {
            t.uint(count);
        })
    };
    let (a, b) = (draw(32).unwrap(), draw(32).unwrap());
    assert_eq!((a.len(), &a[..2]), (34, &[0xD0, 32][..]));
    assert_ne!(a, b);
    assert_eq!(draw(0).unwrap(), [0xA0]);
    assert_eq!(draw(1 << 20), Err(Status::INVALID_PARAMETER));
}

#[test]
fn the_sid_reads_its_own_row() {
    // Opal test case SPF-13.
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, None).unwrap();
    assert_eq!(bench.get_row(session, c_pin::SID), Err(Status::NOT_AUTHORIZED));
    assert_eq!(bench.authenticate(session, authority::SID, Some(MSID)), Ok(true));
    let cells = bench.get(session, c_pin::SID, 0..=0).unwrap();
    assert_eq!(cells[0].1, [&[0xA8][..], &c_pin::SID.to_bytes()].concat());
}

#[test]
fn an_aborted_transaction_takes_back_authentication() {
    let mut profile = profile();
    profile.limits.max_authentications = 3;
    profile.try_limits.others = 3;
    let mut bench = Bench::activated(profile, b"owner");
    let (session, admin) = (bench.start(sp::LOCKING, None).unwrap(), authority::admin(1));
    let ids = (session.tsn, HSN);
    bench.tokens(ids, &[0xFB, 0]);
    assert_eq!(bench.authenticate(session, admin, Some(b"wrong")), Ok(false));
    assert_eq!(bench.authenticate(session, admin, Some(b"owner")), Ok(true));
    assert!(bench.enable(session, authority::user(1)).is_ok());
    assert!(bench.tper.platform().holds(admin));
    bench.tokens(ids, &[0xFC, 1]);
    assert!(!bench.tper.platform().holds(admin));
    assert_eq!(bench.enable(session, authority::user(1)), Err(Status::NOT_AUTHORIZED));

    // One made before the transaction stays; wrong PINs are never taken back.
    assert_eq!(bench.authenticate(session, admin, Some(b"owner")), Ok(true));
    bench.tokens(ids, &[0xFB, 0]);
    assert_eq!(bench.authenticate(session, admin, Some(b"wrong")), Ok(false));
    bench.tokens(ids, &[0xFC, 1]);
    assert_eq!(bench.get_uint(session, c_pin::admin(1), column::c_pin::TRIES), 1);
    assert!(bench.tper.platform().holds(admin));
    bench.end(session);
    assert!(!bench.tper.platform().holds(admin));
}

#[test]
fn read_only_sessions() {
    let mut profile = profile();
    profile.limits.max_sessions = 4;
    profile.limits.max_read_sessions = 2;
    let mut bench = Bench::activated(profile, b"owner");
    let mut start = |write: bool| {
        let call = opal::wire::CallBuilder::new(sp::SESSION_MANAGER, method::START_SESSION)
            .with(|t| {
                t.uint(u64::from(HSN)).uid(sp::LOCKING).boolean(write);
                t.named(0, |t| {
                    t.bytes(b"owner");
                })
                .named(3, |t| {
                    t.uid(authority::admin(1));
                });
            })
            .finish();
        let answer = bench.tokens((0, 0), &call);
        let mut answer = opal::wire::Call::parse(&mut opal::wire::Reader::new(&answer)).unwrap();
        answer.parameters.uint().unwrap();
        (answer.status, answer.parameters.uint_as::<u32>().unwrap())
    };
    let (status, tsn) = start(false);
    assert_eq!(status, Status::SUCCESS);
    assert_eq!(start(false).0, Status::SUCCESS);
    assert_eq!(start(false).0, Status::NO_SESSIONS_AVAILABLE);
    assert_eq!(start(true).0, Status::SP_BUSY);
    let session = crate::support::Session { tsn };
    assert_eq!(bench.get_uint(session, authority::user(1), 5), 0);
    assert_eq!(bench.enable(session, authority::user(1)), Err(Status::NOT_AUTHORIZED));
}
