// SPDX-License-Identifier: MIT OR Apache-2.0
//! MBR and DataStore: bounds, granularity, size of answers, transactions.

use opal::spec::ace::locking_sp as ace;
use opal::spec::method::parameter;
use opal::spec::{authority, c_pin, method, sp, table};
use opal::tper::Profile;
use opal::wire::packet::Envelope;
use opal::wire::{CallBuilder, Status};

use crate::support::{Bench, COM_ID, HSN, MSID, Session, profile};

fn admin(profile: Profile) -> (Bench, Session) {
    let mut bench = Bench::activated(profile, b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    (bench, session)
}

const STORE_SIZE: u64 = 0x00A0_0000;

#[test]
fn what_is_written_is_read() {
    let (mut bench, session) = admin(profile());
    let (mbr, store) = (table::uid(table::MBR), table::data_store(1));
    assert_eq!(bench.tper.byte_tables(), [(mbr, 0x0800_0000), (store, STORE_SIZE)]);
    let data: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
    for uid in [mbr, store] {
        assert_eq!(bench.read_bytes(session, uid, 4000, 4009).unwrap(), [0; 10]);
        bench.write_bytes(session, uid, 4000, &data).unwrap();
        bench.write_bytes(session, uid, 4096, b"patch").unwrap();
        let mut expected = data.clone();
        expected[96..101].copy_from_slice(b"patch");
        assert_eq!(bench.read_bytes(session, uid, 4000, 4999).unwrap(), expected);
    }
    bench.power_cycle();
    let session = bench.start(sp::LOCKING, None).unwrap();
    assert_eq!(bench.read_bytes(session, mbr, 4096, 4100).unwrap(), b"patch", "MBR: anybody");
    assert_eq!(bench.read_bytes(session, store, 0, 0), Err(Status::NOT_AUTHORIZED));
    assert_eq!(bench.write_bytes(session, mbr, 0, b"x"), Err(Status::NOT_AUTHORIZED));
}

#[test]
fn bounds() {
    let (mut bench, session) = admin(profile());
    let store = table::data_store(1);
    let bad = Err(Status::INVALID_PARAMETER);
    assert_eq!(bench.write_bytes(session, store, STORE_SIZE - 2, b"ab"), Ok(()));
    assert_eq!(bench.write_bytes(session, store, STORE_SIZE - 1, b"ab"), bad);
    assert_eq!(bench.write_bytes(session, store, u64::MAX, b"ab"), bad);
    assert_eq!(bench.write_bytes(session, store, STORE_SIZE, b""), Ok(()));
    assert_eq!(bench.read_bytes(session, store, STORE_SIZE - 2, STORE_SIZE - 1).unwrap(), b"ab");
    assert_eq!(
        bench.read_bytes(session, store, STORE_SIZE - 2, STORE_SIZE),
        Err(Status::INVALID_PARAMETER)
    );
    assert_eq!(bench.read_bytes(session, store, 5, 4), Err(Status::INVALID_PARAMETER));
    assert_eq!(bench.get(session, store, 0..=1), Err(Status::INVALID_PARAMETER));
    assert_eq!(bench.read_bytes(session, table::data_store(2), 0, 0), Err(Status::NOT_AUTHORIZED));
    let cells = bench.get(session, table::descriptor(table::MBR), 7..=7).unwrap();
    assert_eq!(cells[0].1, [0x84, 0x08, 0, 0, 0]);
    let whole = bench.get_row(session, table::descriptor(table::MBR)).unwrap();
    assert_eq!(whole[0xD].1, [1]);
}

#[test]
fn granularity() {
    let mut profile = profile();
    profile.write_granularity = 16;
    let (mut bench, session) = admin(profile);
    let store = table::data_store(1);
    assert_eq!(bench.write_bytes(session, store, 16, &[1; 32]), Ok(()));
    assert_eq!(bench.write_bytes(session, store, 8, &[1; 32]), Err(Status::INVALID_PARAMETER));
    assert_eq!(bench.write_bytes(session, store, 16, &[1; 31]), Err(Status::INVALID_PARAMETER));
    assert_eq!(bench.get_uint(session, table::descriptor(table::DATA_STORE), 0xD), 16);
}

#[test]
fn answers_that_do_not_fit() {
    let (mut bench, session) = admin(profile());
    let store = table::data_store(1);
    // A host that never sent Properties takes 2048 bytes: 1992 of tokens, of which the lists and
    // the status take 8 and the atom's header 2 (up to 2047 bytes) or 4.
    assert!(bench.read_bytes(session, store, 0, 1981).is_ok());
    assert_eq!(bench.read_bytes(session, store, 0, 1982), Err(Status::RESPONSE_OVERFLOW));
    assert_eq!(bench.read_bytes(session, store, 0, 3000), Err(Status::RESPONSE_OVERFLOW));
    assert_eq!(bench.read_bytes(session, store, 0, STORE_SIZE - 1), Err(Status::RESPONSE_OVERFLOW));
    let whole = bench.call(session, store, method::GET, |t| {
        t.list(|_| {});
    });
    assert_eq!(whole, Err(Status::RESPONSE_OVERFLOW));
    bench.end(session);

    let properties = CallBuilder::new(sp::SESSION_MANAGER, method::PROPERTIES)
        .with(|t| {
            t.named(0, |t| {
                t.list(|t| {
                    for (name, value) in [
                        ("MaxComPacketSize", 70_000),
                        ("MaxPacketSize", 69_980),
                        ("MaxIndTokenSize", 69_944),
                        ("NobodyKnowsThis", 1),
                    ] {
                        t.named_bytes(name.as_bytes(), |t| {
                            t.uint(value);
                        });
                    }
                });
            });
        })
        .finish();
    bench.tokens((0, 0), &properties);
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    assert_eq!(bench.read_bytes(session, store, 0, 59_999).unwrap().len(), 60_000);
    assert_eq!(bench.read_bytes(session, store, 0, 65_535), Err(Status::RESPONSE_OVERFLOW));
}

#[test]
fn transactions_hold_writes_back() {
    // Opal test case SPF-01.
    let (mut bench, session) = admin(profile());
    let store = table::data_store(1);
    let ids = (session.tsn, HSN);
    bench.write_bytes(session, store, 0, b"old old old").unwrap();

    assert_eq!(bench.tokens(ids, &[0xFB, 0x00]), [0xFB, 0x00]);
    bench.write_bytes(session, store, 4, b"new").unwrap();
    bench.set_uint(session, table::row::MBR_CONTROL_ROW, &[(1, 1)]).unwrap();
    bench.set_pin(session, c_pin::user(1), b"secret").unwrap();
    bench.enable(session, authority::user(1)).unwrap();
    assert_eq!(bench.read_bytes(session, store, 0, 10).unwrap(), b"old new old");
    assert_eq!(bench.get_uint(session, table::row::MBR_CONTROL_ROW, 1), 1);
    assert!(!bench.tper.is_shadowing(), "the drive acts at the end of the transaction");
    assert_eq!(bench.tokens(ids, &[0xFC, 0x01]), [0xFC, 0x01]);
    assert_eq!(bench.read_bytes(session, store, 0, 10).unwrap(), b"old old old");
    assert_eq!(bench.get_uint(session, table::row::MBR_CONTROL_ROW, 1), 0);
    assert_eq!(bench.get_uint(session, authority::user(1), 5), 0);

    assert_eq!(bench.tokens(ids, &[0xFB, 0x00]), [0xFB, 0x00]);
    bench.write_bytes(session, store, 4, b"new").unwrap();
    bench.set_uint(session, table::row::MBR_CONTROL_ROW, &[(1, 1)]).unwrap();
    assert_eq!(bench.tokens(ids, &[0xFC, 0x00]), [0xFC, 0x00]);
    assert_eq!(bench.read_bytes(session, store, 0, 10).unwrap(), b"old new old");
    assert!(bench.tper.is_shadowing());

    bench.tokens(ids, &[0xFB, 0x00]);
    bench.write_bytes(session, store, 0, b"lost").unwrap();
    bench.end(session);
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    assert_eq!(bench.read_bytes(session, store, 0, 10).unwrap(), b"old new old");
}

#[test]
fn a_pin_set_in_a_transaction_counts_in_it() {
    let mut profile = profile();
    profile.limits.max_authentications = 4;
    let (mut bench, session) = admin(profile);
    let (user, ids) = (authority::user(1), (session.tsn, HSN));
    bench.tokens(ids, &[0xFB, 0x00]);
    bench.enable(session, user).unwrap();
    bench.set_pin(session, c_pin::user(1), b"inside").unwrap();
    assert_eq!(bench.authenticate(session, user, Some(b"")), Ok(false));
    assert_eq!(bench.authenticate(session, user, Some(b"inside")), Ok(true));
    bench.tokens(ids, &[0xFC, 0x01]);
    assert_eq!(bench.authenticate(session, user, Some(b"inside")), Ok(false));
    bench.end(session);
    assert_eq!(
        bench.start(sp::LOCKING, Some((user, b"inside"))).unwrap_err(),
        Status::NOT_AUTHORIZED
    );
}

#[test]
fn transactions_do_not_nest_and_do_not_revert() {
    let (mut bench, session) = admin(profile());
    let ids = (session.tsn, HSN);
    bench.tokens(ids, &[0xFB, 0x00]);
    let revert = bench.call(session, sp::THIS_SP, method::REVERT_SP, |_| {});
    assert_eq!(revert, Err(Status::FAIL));
    let closed = bench.tokens(ids, &[0xFB, 0x00]);
    assert_eq!(closed[11..19], method::CLOSE_SESSION.to_bytes()[..8], "aborted: {closed:02X?}");
    assert_eq!(bench.tper.open_sessions(), 0);
    // The end of a transaction that never began.
    let session = bench.start(sp::LOCKING, None).unwrap();
    bench.tokens((session.tsn, HSN), &[0xFC, 0x00]);
    assert_eq!(bench.tper.open_sessions(), 0);
}

#[test]
fn a_transaction_is_bounded() {
    let (mut bench, session) = admin(profile());
    let store = table::data_store(1);
    bench.tokens((session.tsn, HSN), &[0xFB, 0x00]);
    let chunk = vec![7; 60_000];
    let mut status = Ok(());
    for index in 0..300 {
        status = bench.write_bytes(session, store, index % 100 * 60_000, &chunk);
        if status.is_err() {
            break;
        }
    }
    assert_eq!(status, Err(Status::INSUFFICIENT_SPACE));
    assert_eq!(bench.tokens((session.tsn, HSN), &[0xFC, 0x00]), [0xFC, 0x00]);
    assert_eq!(bench.read_bytes(session, store, 0, 1).unwrap(), [7, 7]);
}

#[test]
fn more_than_one_data_store() {
    let mut profile = profile();
    profile.data_store.alignment = 512;
    let mut bench = Bench::new(profile);
    let activate = |bench: &mut Bench, sizes: &[u64]| {
        let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
        let result = bench.call(session, sp::LOCKING, method::ACTIVATE, |t| {
            t.named(parameter::ACTIVATE_DATA_STORE_TABLE_SIZES, |t| {
                t.list(|t| {
                    for size in sizes {
                        t.uint(*size);
                    }
                });
            });
        });
        bench.end(session);
        result
    };
    assert_eq!(activate(&mut bench, &[513]), Err(Status::INVALID_PARAMETER));
    assert_eq!(activate(&mut bench, &[0]), Err(Status::INVALID_PARAMETER));
    assert_eq!(activate(&mut bench, &[]), Err(Status::INVALID_PARAMETER));
    assert_eq!(activate(&mut bench, &[512; 10]), Err(Status::INSUFFICIENT_SPACE));
    assert_eq!(activate(&mut bench, &[STORE_SIZE, 512]), Err(Status::INSUFFICIENT_SPACE));
    assert!(!bench.tper.is_active());
    assert_eq!(activate(&mut bench, &[1024, 512, 2048]), Ok(vec![]));
    let sizes: Vec<u64> = bench.tper.byte_tables().iter().map(|(_, size)| *size).collect();
    assert_eq!(sizes, [0x0800_0000, 1024, 512, 2048]);

    bench.power_cycle();
    assert_eq!(bench.tper.byte_tables().len(), 4, "the layout persists");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), MSID))).unwrap();
    bench.write_bytes(session, table::data_store(2), 500, b"0123456789AB").unwrap();
    assert_eq!(
        bench.write_bytes(session, table::data_store(2), 501, b"0123456789AB"),
        Err(Status::INVALID_PARAMETER)
    );
    bench.enable(session, authority::user(1)).unwrap();
    bench.set_ace(session, ace::data_store_get(2), &[authority::user(1)]).unwrap();
    assert_eq!(
        bench.read_bytes(session, table::data_store(2), 500, 501),
        Err(Status::NOT_AUTHORIZED),
        "the administrator gave it away"
    );
    bench.end(session);
    let session = bench.start(sp::LOCKING, Some((authority::user(1), b""))).unwrap();
    assert_eq!(bench.read_bytes(session, table::data_store(2), 500, 501).unwrap(), b"01");
    assert_eq!(bench.read_bytes(session, table::data_store(3), 0, 0), Err(Status::NOT_AUTHORIZED));
}

#[test]
fn a_message_with_several_steps_counts_once() {
    let (mut bench, session) = admin(profile());
    let call = CallBuilder::new(table::data_store(1), method::SET)
        .with(|t| {
            t.named(1, |t| {
                t.bytes(b"in one go");
            });
        })
        .finish();
    let tokens = [&[0xFB, 0x00][..], &call, &[0xFC, 0x00]].concat();
    let envelope = Envelope { com_id: COM_ID, tsn: session.tsn, hsn: HSN, ..Envelope::default() };
    let answer = bench.exchange(&envelope.wrap(&tokens));
    let expected = [0xFB, 0, 0xF0, 0xF1, 0xF9, 0xF0, 0, 0, 0, 0xF1, 0xFC, 0];
    assert_eq!(answer[56..68], expected);
    assert_eq!(bench.read_bytes(session, table::data_store(1), 0, 8).unwrap(), b"in one go");
}

#[test]
fn a_token_longer_than_the_host_takes() {
    let (mut bench, session) = admin(profile());
    bench.end(session);
    let properties = CallBuilder::new(sp::SESSION_MANAGER, method::PROPERTIES)
        .with(|t| {
            t.named(0, |t| {
                t.list(|t| {
                    for name in ["MaxComPacketSize", "MaxPacketSize"] {
                        t.named_bytes(name.as_bytes(), |t| {
                            t.uint(70_000);
                        });
                    }
                });
            });
        })
        .finish();
    bench.tokens((0, 0), &properties);
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    let store = table::data_store(1);
    assert!(bench.read_bytes(session, store, 0, 1989).is_ok(), "1992 bytes with its header");
    assert_eq!(bench.read_bytes(session, store, 0, 1990), Err(Status::RESPONSE_OVERFLOW));
}
