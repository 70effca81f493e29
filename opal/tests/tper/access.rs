// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may do what: ACLs as the SSC preconfigures them, and what follows from them.

use opal::Uid;
use opal::spec::ace::locking_sp as ace;
use opal::spec::{authority, c_pin, column, locking, method, sp, table};
use opal::wire::Status;

use crate::support::{Bench, MSID, PSID, Session, named, profile, uids};

/// UID from its halves as the specification prints them.
fn u(high: u32, low: u32) -> Uid {
    Uid::new(high, low)
}

fn ace_list(
    bench: &mut Bench,
    session: Session,
    invoking: Uid,
    method: u32,
) -> Result<Vec<u32>, Status> {
    let results = bench.call(session, u(7, 0), method::GET_ACL, |t| {
        t.uid(invoking).uid(u(6, method));
    })?;
    Ok(uids(&results)
        .into_iter()
        .map(|uid| (uid.table() == 8).then(|| uid.row()).unwrap())
        .collect())
}

/// Numbers of methods in MethodID.
mod m {
    pub(super) const NEXT: u32 = 0x08;
    pub(super) const GEN_KEY: u32 = 0x10;
    pub(super) const REVERT_SP: u32 = 0x11;
    pub(super) const GET: u32 = 0x16;
    pub(super) const SET: u32 = 0x17;
    pub(super) const AUTHENTICATE: u32 = 0x1C;
    pub(super) const REVERT: u32 = 0x202;
    pub(super) const ACTIVATE: u32 = 0x203;
    pub(super) const RANDOM: u32 = 0x601;
}

#[test]
fn access_control_of_the_admin_sp() {
    // Opal 2.30 table 22; PSID feature set.
    let expected: &[(Uid, u32, &[u32])] = &[
        (u(0, 1), m::AUTHENTICATE, &[1]),
        (u(0, 1), m::RANDOM, &[1]),
        (u(1, 0), m::NEXT, &[1]),
        (u(1, 0x205), m::GET, &[1]),
        (u(2, 1), m::GET, &[1]),
        (u(3, 0), m::NEXT, &[1]),
        (u(3, 2), m::GET, &[1]),
        (u(6, 0), m::NEXT, &[1]),
        (u(6, 0x203), m::GET, &[1]),
        (u(8, 0), m::NEXT, &[1]),
        (u(8, 0x30001), m::GET, &[1]),
        (u(9, 0), m::NEXT, &[1]),
        (u(9, 6), m::GET, &[1]),
        (u(9, 3), m::SET, &[0x30001]),
        (u(9, 0x201), m::SET, &[0x30001]),
        (u(0xB, 0), m::NEXT, &[1]),
        (u(0xB, 1), m::GET, &[0x8C02]),
        (u(0xB, 1), m::SET, &[0x8C03]),
        (u(0xB, 0x8402), m::GET, &[0x8C04]),
        (u(0xB, 0x201), m::GET, &[0x8C02]),
        (u(0xB, 0x201), m::SET, &[0x3A001]),
        (u(0xB, 0x1FF01), m::GET, &[0x100E1]),
        (u(0x201, 0x30001), m::GET, &[1]),
        (u(0x201, 0x30001), m::SET, &[0x30003]),
        (u(0x204, 0), m::NEXT, &[1]),
        (u(0x204, 6), m::GET, &[1]),
        (u(0x205, 0), m::NEXT, &[1]),
        (u(0x205, 1), m::GET, &[1]),
        (u(0x205, 1), m::REVERT, &[0x30002, 2, 0x100E0]),
        (u(0x205, 2), m::REVERT, &[0x30002, 2]),
        (u(0x205, 2), m::ACTIVATE, &[0x30002]),
        (u(0x1101, 1), m::GET, &[1]),
        (u(0x1101, 1), m::SET, &[0x50001]),
    ];
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, None).unwrap();
    for (invoking, method, aces) in expected {
        let found = ace_list(&mut bench, session, *invoking, *method);
        assert_eq!(found.as_deref(), Ok(*aces), "{invoking} method {method:X}");
    }
    let absent: &[(Uid, u32)] = &[
        (u(0xB, 0x8402), m::SET),
        (u(0xB, 0x1FF01), m::SET),
        (u(9, 6), m::SET),
        (u(9, 0x1FF01), m::SET),
        (u(0x205, 1), m::SET),
        (u(8, 2), m::SET),
        (u(0, 1), m::REVERT_SP),
        (u(0x802, 1), m::GET),
    ];
    for (invoking, method) in absent {
        let found = ace_list(&mut bench, session, *invoking, *method);
        assert_eq!(found, Err(Status::NOT_AUTHORIZED), "{invoking} method {method:X}");
    }
}

#[test]
fn access_control_of_the_locking_sp() {
    // Opal 2.30 table 38.
    let expected: &[(Uid, u32, &[u32])] = &[
        (u(0, 1), m::REVERT_SP, &[2]),
        (u(0xB, 0), m::NEXT, &[1]),
        (u(0x1D, 0), m::NEXT, &[1]),
        (u(0x1D, 0x1E), m::GET, &[1]),
        (u(0x802, 0), m::NEXT, &[1]),
        (u(0x801, 1), m::GET, &[1]),
        (u(0x803, 1), m::GET, &[1]),
        (u(0x803, 1), m::SET, &[0x3F800, 0x3F801]),
        (u(8, 2), m::GET, &[0x38000]),
        (u(8, 0x38000), m::SET, &[0x38001]),
        (u(8, 0x39000), m::SET, &[0x38001]),
        (u(8, 0x3A809), m::SET, &[0x38001]),
        (u(8, 0x44001), m::SET, &[0x38001]),
        (u(8, 0x3B800), m::SET, &[0x38001]),
        (u(8, 0x3B808), m::SET, &[0x38001]),
        (u(8, 0x3D000), m::SET, &[0x38001]),
        (u(8, 0x3E008), m::SET, &[0x38001]),
        (u(8, 0x3E801), m::SET, &[0x38001]),
        (u(8, 0x3F801), m::SET, &[0x38001]),
        (u(8, 0x3FC00), m::SET, &[0x38001]),
        (u(8, 0x3FC01), m::SET, &[0x38001]),
        (u(9, 1), m::GET, &[0x39000, 3]),
        (u(9, 0x10001), m::SET, &[4]),
        (u(9, 0x10004), m::SET, &[0x39001, 4]),
        (u(9, 0x30009), m::SET, &[0x39001, 0x44009]),
        (u(0xB, 0x10001), m::GET, &[0x3A000]),
        (u(0xB, 0x10002), m::SET, &[0x3A001]),
        (u(0xB, 0x30002), m::SET, &[0x3A802]),
        (u(0x802, 1), m::GET, &[0x3D000, 3]),
        (u(0x802, 1), m::SET, &[0x3F000, 0x3E000, 0x3E800, 4]),
        (u(0x802, 0x30008), m::GET, &[0x3D008, 3]),
        (u(0x802, 0x30008), m::SET, &[0x3F001, 0x3E008, 0x3E808, 4]),
        (u(0x804, 0), m::GET, &[1]),
        (u(0x804, 0), m::SET, &[2]),
        (u(0x806, 1), m::GET, &[0x3BFFF]),
        (u(0x806, 1), m::GEN_KEY, &[0x3B800]),
        (u(0x806, 0x30003), m::GEN_KEY, &[0x3B803]),
        (u(0x1001, 0), m::GET, &[0x3FC00]),
        (u(0x1001, 0), m::SET, &[0x3FC01]),
    ];
    let mut bench = Bench::activated(profile(), b"owner");
    let session = bench.start(sp::LOCKING, None).unwrap();
    for (invoking, method, aces) in expected {
        let found = ace_list(&mut bench, session, *invoking, *method);
        assert_eq!(found.as_deref(), Ok(*aces), "{invoking} method {method:X}");
    }
    let absent: &[(Uid, u32)] = &[
        (u(8, 1), m::SET),
        (u(8, 2), m::SET),
        (u(8, 0x38001), m::SET),
        (u(8, 0x3F800), m::SET),
        (u(8, 0x3F001), m::SET),
        (u(0x801, 1), m::SET),
        (u(0x802, 0x30009), m::GET),
        (u(0x805, 1), m::GET),
        (u(0x806, 1), m::SET),
        (u(0x1002, 0), m::GET),
        (u(0x205, 2), m::REVERT),
    ];
    for (invoking, method) in absent {
        let found = ace_list(&mut bench, session, *invoking, *method);
        assert_eq!(found, Err(Status::NOT_AUTHORIZED), "{invoking} method {method:X}");
    }
}

#[test]
fn get_leaves_out_what_is_not_readable() {
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    let columns = |row: Vec<(u64, Vec<u8>)>| row.into_iter().map(|(c, _)| c).collect::<Vec<_>>();
    let row = bench.get_row(session, c_pin::SID).unwrap();
    assert_eq!(columns(row), [0, 4, 5, 6, 7], "no name, no PIN");
    assert_eq!(bench.get(session, c_pin::SID, 3..=3), Ok(vec![]), "a success with nothing in it");
    let row = bench.get_row(session, c_pin::MSID).unwrap();
    assert_eq!(columns(row), [0, 3]);
    let row = bench.get_row(session, sp::LOCKING).unwrap();
    assert_eq!(columns(row.clone()), [0, 1, 2, 3, 5, 6, 7]);
    assert_eq!(row[1].1, [&[0xA7][..], b"Locking"].concat());
    assert_eq!(row[5].1, [8]);
    let row = bench.get_row(session, table::row::TPER_INFO_ROW).unwrap();
    assert_eq!(row[7], (7, [&[0xF0, 0xA4][..], b"Opal", &[0xF1]].concat()));
}

#[test]
fn get_of_what_cannot_be() {
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    assert_eq!(bench.get_row(session, u(0xB, 77)), Err(Status::NOT_AUTHORIZED));
    assert_eq!(bench.get_row(session, sp::THIS_SP), Err(Status::NOT_AUTHORIZED));
    assert_eq!(bench.get_row(session, u(0x205, 0)), Err(Status::NOT_AUTHORIZED));
    assert_eq!(bench.get(session, sp::LOCKING, 0..=8), Err(Status::INVALID_PARAMETER));
    #[expect(clippy::reversed_empty_ranges, reason = "what the host asks for")]
    let reversed = 6..=5;
    assert_eq!(bench.get(session, sp::LOCKING, reversed), Err(Status::INVALID_PARAMETER));
    for components in [&[1u64][..], &[2], &[0], &[1, 2, 3, 4], &[5]] {
        let status = bench.call(session, sp::LOCKING, method::GET, |t| {
            t.list(|t| {
                for name in components {
                    t.named(*name, |t| {
                        t.uint(1);
                    });
                }
            });
        });
        assert_eq!(status, Err(Status::INVALID_PARAMETER), "{components:?}");
    }
    // Only the start, only the end.
    for (name, first, last) in [(3, 6, 7), (4, 0, 6)] {
        let results = bench
            .call(session, sp::LOCKING, method::GET, |t| {
                t.list(|t| {
                    t.named(name, |t| {
                        t.uint(6);
                    });
                });
            })
            .unwrap();
        let cells = named(&results);
        assert_eq!((cells[0].0, cells[cells.len() - 1].0), (first, last));
    }
}

#[test]
fn set_is_all_or_nothing() {
    let mut bench = Bench::activated(profile(), b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    let range = locking::range(1);
    let cases: &[(&[(u64, u64)], Status)] = &[
        (&[(7, 1), (10, 1)], Status::NOT_AUTHORIZED),
        (&[(7, 1), (0, 1)], Status::NOT_AUTHORIZED),
        (&[(7, 1), (1, 1)], Status::NOT_AUTHORIZED),
        (&[(7, 1), (20, 1)], Status::INVALID_PARAMETER),
        (&[(7, 1), (7, 1)], Status::INVALID_PARAMETER),
        (&[(7, 1), (8, 2)], Status::INVALID_PARAMETER),
        (&[(7, 1), (9, 0)], Status::INVALID_PARAMETER),
        (&[(7, 1), (3, 3), (4, 8)], Status::INVALID_PARAMETER),
    ];
    for (values, status) in cases {
        assert_eq!(bench.set_uint(session, range, values), Err(*status), "{values:?}");
        assert_eq!(bench.get_uint(session, range, 7), 0, "{values:?}");
    }
    assert_eq!(bench.set_uint(session, range, &[]), Ok(()));
    let no_values = bench.call(session, range, method::SET, |_| {});
    assert_eq!(no_values, Ok(vec![]));
    let place = bench.call(session, range, method::SET, |t| {
        t.named(0, |t| {
            t.uint(0);
        });
    });
    assert_eq!(place, Err(Status::INVALID_PARAMETER));
}

#[test]
fn a_user_is_granted_a_range() {
    let mut bench = Bench::activated(profile(), b"owner");
    let admin = Some((authority::admin(1), &b"owner"[..]));
    let session = bench.start(sp::LOCKING, admin).unwrap();
    let (user, range) = (authority::user(3), locking::range(1));
    bench.enable(session, user).unwrap();
    bench.set_pin(session, c_pin::user(3), b"user three").unwrap();
    bench.set_uint(session, range, &[(3, 0), (4, 4096), (5, 1), (6, 1), (7, 1), (8, 1)]).unwrap();
    bench.end(session);

    let as_user = Some((user, &b"user three"[..]));
    let session = bench.start(sp::LOCKING, as_user).unwrap();
    assert_eq!(bench.set_uint(session, range, &[(7, 0)]), Err(Status::NOT_AUTHORIZED));
    let columns: Vec<u64> =
        bench.get_row(session, range).unwrap().into_iter().map(|(c, _)| c).collect();
    assert_eq!(columns, [0, 2], "UID and CommonName are for everybody");
    assert_eq!(bench.get_row(session, c_pin::user(3)), Err(Status::NOT_AUTHORIZED));
    assert_eq!(
        bench.set_ace(session, ace::locking_set_read_locked(1), &[user]),
        Err(Status::NOT_AUTHORIZED)
    );
    bench.end(session);

    let session = bench.start(sp::LOCKING, admin).unwrap();
    for granted in
        [ace::locking_get(1), ace::locking_set_read_locked(1), ace::locking_set_write_locked(1)]
    {
        bench.set_ace(session, granted, &[user, user, authority::ADMINS]).unwrap();
    }
    bench.end(session);

    let session = bench.start(sp::LOCKING, as_user).unwrap();
    let columns: Vec<u64> =
        bench.get_row(session, range).unwrap().into_iter().map(|(c, _)| c).collect();
    assert_eq!(columns, [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(bench.set_uint(session, range, &[(7, 0), (5, 0)]), Err(Status::NOT_AUTHORIZED));
    assert_eq!(bench.set_uint(session, range, &[(7, 0), (8, 0)]), Ok(()));
    assert!(bench.tper.platform().is_loaded(1), "the key came with the unlock");
    assert_eq!(bench.set_pin(session, c_pin::user(3), b"changed"), Ok(()));
    assert_eq!(bench.set_pin(session, c_pin::user(4), b"changed"), Err(Status::NOT_AUTHORIZED));
    bench.end(session);
    assert!(bench.start(sp::LOCKING, Some((user, b"changed"))).is_ok());
}

#[test]
fn expressions_a_host_may_store() {
    let mut bench = Bench::activated(profile(), b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    let row = ace::locking_set_read_locked(2);
    const AUTHORITY: [u8; 4] = [0, 0, 0x0C, 0x05];
    const BOOLEAN: [u8; 4] = [0, 0, 0x04, 0x0E];
    enum E {
        A([u8; 4], Uid),
        Op(u64),
    }
    use E::{A, Op};
    let user = || A(AUTHORITY, authority::user(1));
    let cases: Vec<(Vec<E>, bool)> = vec![
        (vec![user()], true),
        (vec![user(), A(AUTHORITY, authority::ANYBODY), Op(0)], true),
        (vec![user(), Op(2)], true),
        (vec![user(), user(), Op(1), A(AUTHORITY, authority::USERS), Op(1)], true),
        (vec![user(), Op(1)], false),
        (vec![Op(2)], false),
        (vec![user(), user()], false),
        (vec![user(), user(), Op(3)], false),
        (vec![A(AUTHORITY, authority::user(77))], false),
        (vec![A(AUTHORITY, authority::SID)], false),
        (vec![A(AUTHORITY, c_pin::user(1))], false),
        (vec![A([0, 0, 0x0C, 0x04], authority::user(1))], false),
    ];
    for (index, (elements, good)) in cases.iter().enumerate() {
        let result = bench.set(session, row, |t| {
            t.named(column::ace::BOOLEAN_EXPR, |t| {
                t.list(|t| {
                    for element in elements {
                        match element {
                            A(half, uid) => t.named_bytes(half, |t| {
                                t.uid(*uid);
                            }),
                            Op(number) => t.named_bytes(&BOOLEAN, |t| {
                                t.uint(*number);
                            }),
                        };
                    }
                });
            });
        });
        let expected = if *good { Ok(()) } else { Err(Status::INVALID_PARAMETER) };
        assert_eq!(result, expected, "case {index}");
    }
}

#[test]
fn common_names() {
    // Opal test case SPF-16.
    let mut bench = Bench::activated(profile(), b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    for row in [authority::admin(1), locking::range(0)] {
        for (name, expected) in
            [(&b"a name"[..], Ok(())), (&[65; 33], Err(Status::INVALID_PARAMETER))]
        {
            let result = bench.set(session, row, |t| {
                t.named(2, |t| {
                    t.bytes(name);
                });
            });
            assert_eq!(result, expected);
        }
        let cells = bench.get(session, row, 2..=2).unwrap();
        assert_eq!(cells, [(2, b"\xA6a name".to_vec())]);
    }
}

#[test]
fn rows_of_tables() {
    // Opal test case SPF-06.
    let mut bench = Bench::activated(profile(), b"owner");
    let session = bench.start(sp::LOCKING, None).unwrap();
    let mut next = |of: u32, after: Option<Uid>, count: Option<u64>| {
        bench
            .call(session, table::uid(of), method::NEXT, |t| {
                if let Some(after) = after {
                    t.named(0, |t| {
                        t.uid(after);
                    });
                }
                if let Some(count) = count {
                    t.named(1, |t| {
                        t.uint(count);
                    });
                }
            })
            .map(|results| uids(&results))
    };
    let all = next(table::LOCKING, None, None).unwrap();
    assert_eq!(all.len(), 9);
    assert_eq!((all[0], all[8]), (locking::range(0), locking::range(8)));
    assert_eq!(next(table::LOCKING, Some(all[0]), Some(1)).unwrap(), [all[1]]);
    assert_eq!(next(table::LOCKING, Some(all[8]), None).unwrap(), []);
    assert_eq!(next(table::LOCKING, None, Some(0)).unwrap(), []);
    assert_eq!(next(table::LOCKING, None, Some(u64::MAX)).unwrap(), all);
    assert_eq!(next(table::LOCKING, Some(u(0x802, 9)), None), Err(Status::INVALID_PARAMETER));
    assert!(next(table::METHOD_ID, None, None).unwrap().len() >= 7);
    assert_eq!(next(table::AUTHORITY, None, None).unwrap().len(), 3 + 4 + 9);
    assert_eq!(next(table::SP, None, None), Err(Status::NOT_AUTHORIZED));
    assert_eq!(next(table::MBR_CONTROL, None, None), Err(Status::NOT_AUTHORIZED));
    let table_rows = next(table::TABLE, None, None).unwrap();
    assert_eq!(table_rows.len(), 15, "13 object tables, MBR and DataStore: {table_rows:?}");
}

#[test]
fn the_psid_reverts_and_does_nothing_else() {
    let mut bench = Bench::activated(profile(), b"forgotten");
    let session = bench.start(sp::ADMIN, Some((authority::PSID, PSID))).unwrap();
    assert_eq!(bench.set_pin(session, c_pin::SID, b"stolen"), Err(Status::NOT_AUTHORIZED));
    assert_eq!(bench.set_pin(session, c_pin::PSID, b"stolen"), Err(Status::NOT_AUTHORIZED));
    let activate = bench.call(session, sp::LOCKING, method::ACTIVATE, |_| {});
    assert_eq!(activate, Err(Status::NOT_AUTHORIZED));
    let locking = bench.call(session, sp::LOCKING, method::REVERT, |_| {});
    assert_eq!(locking, Err(Status::NOT_AUTHORIZED));
    assert_eq!(bench.get_uint(session, c_pin::PSID, 5), 0);
    assert_eq!(bench.call(session, sp::ADMIN, method::REVERT, |_| {}), Ok(vec![]));
    assert_eq!(bench.tper.open_sessions(), 0);
    let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    bench.end(session);
    assert!(bench.start(sp::ADMIN, Some((authority::PSID, PSID))).is_ok(), "it never changes");
}
