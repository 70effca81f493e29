// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Enterprise SSC: bands and their masters, names for numbers, Erase.

use opal::Uid;
use opal::spec::authority::enterprise::{BAND_MASTERS, ERASE_MASTER, band_master};
use opal::spec::{authority, c_pin, locking, method, sp, table};
use opal::tper::{ReadVerdict, Ssc, WriteVerdict};
use opal::wire::{Encoder, Name, Reader, Status, Token};

use crate::golden::play;
use crate::support::{Bench, MSID, PSID, Session, profile_of, uids};

/// A named cell: its name and the tokens of its value.
type Cells = Vec<(String, Vec<u8>)>;

fn bench() -> Bench {
    Bench::new(profile_of(Ssc::Enterprise))
}

/// A session with the Locking SP, authenticated.
fn master(bench: &mut Bench, who: Uid, pin: &[u8]) -> Session {
    let session = bench.start(sp::ENTERPRISE_LOCKING, None).unwrap();
    assert_eq!(prove(bench, session, who, pin), Ok(true));
    session
}

fn prove(bench: &mut Bench, session: Session, who: Uid, pin: &[u8]) -> Result<bool, Status> {
    let results = bench.call(session, sp::THIS_SP, method::ENTERPRISE_AUTHENTICATE, |t| {
        t.uid(who).named_bytes(b"Challenge", |t| {
            t.bytes(pin);
        });
    })?;
    Ok(Reader::new(&results).boolean().unwrap())
}

fn text(t: &mut Encoder, name: &str, value: &str) {
    t.named_bytes(name.as_bytes(), |t| {
        t.bytes(value.as_bytes());
    });
}

/// Gets columns from one name to another: one list of cells a row.
fn get(
    bench: &mut Bench,
    session: Session,
    row: Uid,
    columns: Option<(&str, &str)>,
) -> Result<Vec<Cells>, Status> {
    let results = bench.call(session, row, method::ENTERPRISE_GET, |t| {
        t.list(|t| {
            if let Some((first, last)) = columns {
                text(t, "startColumn", first);
                text(t, "endColumn", last);
            }
        });
    })?;
    let mut reader = Reader::new(&results);
    reader.start_list().unwrap();
    let mut rows = Vec::new();
    while reader.accept(Token::StartList).unwrap() {
        let mut cells = Vec::new();
        while let Some(name) = reader.start_name().unwrap() {
            let Name::Text(name) = name else { panic!("a column with a number") };
            let name = String::from_utf8(name.to_vec()).unwrap();
            cells.push((name, reader.value().unwrap().rest().to_vec()));
            reader.end_name().unwrap();
        }
        reader.end_list().unwrap();
        rows.push(cells);
    }
    reader.end_list().unwrap();
    Ok(rows)
}

fn set(
    bench: &mut Bench,
    session: Session,
    row: Uid,
    values: impl FnOnce(&mut Encoder),
) -> Result<(), Status> {
    let results = bench.call(session, row, method::ENTERPRISE_SET, |t| {
        t.list(|_| {}).list(|t| {
            t.list(values);
        });
    })?;
    assert_eq!(results, [1]);
    Ok(())
}

fn set_uints(
    bench: &mut Bench,
    session: Session,
    row: Uid,
    values: &[(&str, u64)],
) -> Result<(), Status> {
    set(bench, session, row, |t| {
        for (name, value) in values {
            t.named_bytes(name.as_bytes(), |t| {
                t.uint(*value);
            });
        }
    })
}

fn set_pin(bench: &mut Bench, session: Session, row: Uid, pin: &[u8]) -> Result<(), Status> {
    set(bench, session, row, |t| {
        t.named_bytes(b"PIN", |t| {
            t.bytes(pin);
        });
    })
}

/// Band 0 lock-enabled, and never locked by a reset.
fn example() -> Bench {
    let mut bench = bench();
    let session = master(&mut bench, band_master(0), MSID);
    let enables = [("ReadLockEnabled", 1), ("WriteLockEnabled", 1)];
    set_uints(&mut bench, session, locking::band(0), &enables).unwrap();
    set(&mut bench, session, locking::band(0), |t| {
        t.named_bytes(b"LockOnReset", |t| {
            t.list(|_| {});
        });
    })
    .unwrap();
    bench.power_cycle();
    bench
}

#[test]
fn a_session_byte_for_byte() {
    let mut bench = example();
    play(&mut bench, include_str!("../golden/tper_enterprise.txt"));
    let global = bench.tper.ranges()[0];
    assert!(global.read_locked && global.write_locked);
}

#[test]
fn erase_byte_for_byte() {
    let mut bench = bench();
    let session = master(&mut bench, band_master(1), MSID);
    set_pin(&mut bench, session, c_pin::of(band_master(1)), b"one").unwrap();
    let band = [("RangeStart", 64), ("RangeLength", 64), ("ReadLockEnabled", 1)];
    set_uints(&mut bench, session, locking::band(1), &band).unwrap();
    bench.power_cycle();
    assert!(bench.tper.ranges()[1].read_locked);
    let key = bench.tper.platform().key(1);

    master(&mut bench, ERASE_MASTER, MSID);
    play(&mut bench, include_str!("../golden/tper_enterprise_erase.txt"));
    let band = bench.tper.ranges()[1];
    assert_eq!((band.start, band.length), (64, 64));
    assert!(!band.read_locked && !band.write_locked);
    assert_ne!(bench.tper.platform().key(1), key);
    // The band master's PIN is the MSID again.
    bench.power_cycle();
    let session = master(&mut bench, band_master(1), MSID);
    assert_eq!(prove(&mut bench, session, band_master(1), b"one"), Ok(false));
}

#[test]
fn the_owner_takes_the_drive() {
    let mut bench = bench();
    let session = bench.start(sp::ADMIN, None).unwrap();
    let msid = get(&mut bench, session, c_pin::MSID, Some(("PIN", "PIN"))).unwrap();
    let mut value = Encoder::new();
    value.bytes(MSID);
    assert_eq!(msid, [[("PIN".to_owned(), value.as_bytes().to_vec())].to_vec()]);
    assert_eq!(set_pin(&mut bench, session, c_pin::SID, b"me"), Err(Status::NOT_AUTHORIZED));
    assert_eq!(prove(&mut bench, session, authority::SID, MSID), Ok(true));
    set_pin(&mut bench, session, c_pin::SID, b"me").unwrap();
    bench.end(session);
    bench.power_cycle();
    let session = bench.start(sp::ADMIN, None).unwrap();
    assert_eq!(prove(&mut bench, session, authority::SID, MSID), Ok(false));
    assert_eq!(prove(&mut bench, session, authority::SID, b"me"), Ok(true));
}

#[test]
fn start_session_authenticates_nobody() {
    let mut bench = bench();
    let refused = bench.start(sp::ENTERPRISE_LOCKING, Some((band_master(0), MSID)));
    assert_eq!(refused.unwrap_err(), Status::INVALID_PARAMETER);
    for name in [&b"HostChallenge"[..], b"HostSigningAuthority", b"SPSigning", b"sessionTimeout"] {
        let refused = bench.start_with(sp::ENTERPRISE_LOCKING, |t| {
            t.named_bytes(name, |t| {
                t.uint(1);
            });
        });
        assert_eq!(refused.unwrap_err(), Status::INVALID_PARAMETER);
    }
    // The Opal Locking SP is not there.
    assert_eq!(bench.start(sp::LOCKING, None).unwrap_err(), Status::INVALID_PARAMETER);
}

#[test]
fn session_time_out_by_name() {
    let mut bench = bench();
    bench
        .start_with(sp::ENTERPRISE_LOCKING, |t| {
            t.named_bytes(b"SessionTimeout", |t| {
                t.uint(60000);
            });
        })
        .unwrap();
    bench.tper.session_timeouts(std::time::Duration::from_secs(59)).commit();
    assert_eq!(bench.tper.open_sessions(), 1);
    bench.tper.session_timeouts(std::time::Duration::from_secs(1)).commit();
    assert_eq!(bench.tper.open_sessions(), 0);
}

#[test]
fn methods_of_opal_are_excluded() {
    let mut bench = bench();
    let session = master(&mut bench, band_master(0), MSID);
    for excluded in
        [method::GET, method::SET, method::AUTHENTICATE, method::GEN_KEY, method::ACTIVATE, Uid(5)]
    {
        let refused = bench.call(session, locking::band(0), excluded, |_| {});
        assert_eq!(refused, Err(Status::INVALID_COMMAND), "{excluded}");
    }
    // What the SSC has, but not here, is a matter of access control.
    let refused = bench.call(session, locking::band(0), method::ERASE, |_| {});
    assert_eq!(refused, Err(Status::NOT_AUTHORIZED));
    let refused = bench.call(session, c_pin::of(ERASE_MASTER), method::ERASE, |_| {});
    assert_eq!(refused, Err(Status::NOT_AUTHORIZED));
}

#[test]
fn bands_are_public_and_each_its_masters() {
    let mut bench = bench();
    let session = bench.start(sp::ENTERPRISE_LOCKING, None).unwrap();
    let rows = get(&mut bench, session, locking::band(3), Some(("Name", "LockOnReset"))).unwrap();
    let names: Vec<&str> = rows[0].iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(
        names,
        [
            "Name",
            "CommonName",
            "RangeStart",
            "RangeLength",
            "ReadLockEnabled",
            "WriteLockEnabled",
            "ReadLocked",
            "WriteLocked",
            "LockOnReset"
        ]
    );
    assert_eq!(rows[0][0].1, b"\xA5Band3");
    assert_eq!(rows[0][8].1, [0xF0, 0x00, 0xF1]);
    let info =
        get(&mut bench, session, table::uid(table::LOCKING_INFO), Some(("MaxRanges", "MaxRanges")));
    assert_eq!(info.unwrap(), [[("MaxRanges".to_owned(), vec![15])].to_vec()]);
    let next = bench.call(session, table::uid(table::LOCKING), method::NEXT, |_| {});
    assert_eq!(next, Err(Status::NOT_AUTHORIZED));

    assert_eq!(prove(&mut bench, session, band_master(1), MSID), Ok(true));
    let next = bench
        .call(session, table::uid(table::LOCKING), method::NEXT, |t| {
            t.uid(locking::band(0)).uint(2);
        })
        .unwrap();
    assert_eq!(uids(&next), [locking::band(1), locking::band(2)]);
    let read_locked = [("ReadLocked", 1)];
    assert_eq!(set_uints(&mut bench, session, locking::band(1), &read_locked), Ok(()));
    assert_eq!(
        set_uints(&mut bench, session, locking::band(2), &read_locked),
        Err(Status::NOT_AUTHORIZED)
    );
    // The Global Range has no bounds to set, even for its master.
    bench.end(session);
    let session = master(&mut bench, band_master(0), MSID);
    assert_eq!(
        set_uints(&mut bench, session, locking::band(0), &[("RangeStart", 0)]),
        Err(Status::NOT_AUTHORIZED)
    );
}

#[test]
fn locked_bands_and_the_data_path() {
    let mut bench = bench();
    let session = master(&mut bench, band_master(1), MSID);
    set_pin(&mut bench, session, c_pin::of(band_master(1)), b"secret").unwrap();
    let band = [
        ("RangeStart", 1024),
        ("RangeLength", 1024),
        ("ReadLockEnabled", 1),
        ("WriteLockEnabled", 1),
    ];
    set_uints(&mut bench, session, locking::band(1), &band).unwrap();
    bench.end(session);
    bench.power_cycle();
    assert!(!bench.tper.platform().is_loaded(1));
    assert_eq!(bench.tper.check_read(1024, 1), ReadVerdict::Denied);
    assert_eq!(bench.tper.check_write(2047, 1), WriteVerdict::Denied);
    assert!(matches!(bench.tper.check_read(1023, 1), ReadVerdict::Serve(_)));
    let session = master(&mut bench, band_master(1), b"secret");
    let unlock = [("WriteLocked", 0), ("ReadLocked", 0)];
    set_uints(&mut bench, session, locking::band(1), &unlock).unwrap();
    assert!(bench.tper.platform().is_loaded(1));
    assert!(matches!(bench.tper.check_read(1024, 1), ReadVerdict::Serve(_)));
}

#[test]
fn set_is_strict_about_form() {
    let mut bench = bench();
    let session = master(&mut bench, band_master(1), MSID);
    let row = locking::band(1);
    let bad = Err(Status::INVALID_PARAMETER);
    let call = |bench: &mut Bench, write: &dyn Fn(&mut Encoder)| {
        bench.call(session, row, method::ENTERPRISE_SET, write).map(drop)
    };
    // No values, empty row, two rows, unknown column, number for a name, column twice.
    assert_eq!(call(&mut bench, &|t| _ = t.list(|_| {})), bad);
    assert_eq!(call(&mut bench, &|t| _ = t.list(|_| {}).list(|_| {})), bad);
    assert_eq!(set(&mut bench, session, row, |_| {}), bad);
    assert_eq!(
        call(&mut bench, &|t| {
            t.list(|_| {}).list(|t| {
                t.list(|_| {}).list(|_| {});
            });
        }),
        bad
    );
    assert_eq!(set_uints(&mut bench, session, row, &[("readLocked", 1)]), bad);
    assert_eq!(set_uints(&mut bench, session, row, &[("ReadLocked", 2)]), bad);
    assert_eq!(set_uints(&mut bench, session, row, &[("ReadLocked", 1), ("ReadLocked", 1)]), bad);
    let number = set(&mut bench, session, row, |t| {
        t.named(7, |t| {
            t.uint(1);
        });
    });
    assert_eq!(number, bad);
    assert!(!bench.tper.ranges()[1].read_locked);
}

#[test]
fn param_check_of_a_pin() {
    let mut bench = bench();
    let session = master(&mut bench, ERASE_MASTER, MSID);
    let own = c_pin::of(ERASE_MASTER);
    let mut with_check = |check: u64| {
        bench
            .call(session, own, method::ENTERPRISE_SET, |t| {
                t.list(|_| {})
                    .list(|t| {
                        t.list(|t| {
                            t.named_bytes(b"PIN", |t| {
                                t.bytes(b"ThisIsMyPin");
                            });
                        });
                    })
                    .named_bytes(b"ParamCheck", |t| {
                        t.uint(check);
                    });
            })
            .map(drop)
    };
    assert_eq!(with_check(0x2852), Err(Status::INVALID_PARAMETER));
    assert_eq!(with_check(0x2851), Ok(()));
    bench.power_cycle();
    master(&mut bench, ERASE_MASTER, b"ThisIsMyPin");
}

#[test]
fn data_store_is_read_by_all_and_written_by_band_masters() {
    let mut bench = bench();
    let store = table::uid(table::ENTERPRISE_DATA_STORE);
    assert_eq!(bench.tper.byte_tables(), [(store, 1024)]);
    let write = |bench: &mut Bench, session: Session, offset: u64, data: &[u8]| {
        bench
            .call(session, store, method::ENTERPRISE_SET, |t| {
                t.list(|t| {
                    t.named_bytes(b"startRow", |t| {
                        t.uint(offset);
                    });
                })
                .bytes(data);
            })
            .map(drop)
    };
    let session = master(&mut bench, ERASE_MASTER, MSID);
    assert_eq!(write(&mut bench, session, 0, b"x"), Err(Status::NOT_AUTHORIZED));
    bench.end(session);
    let session = master(&mut bench, band_master(7), MSID);
    assert_eq!(write(&mut bench, session, 1020, b"data"), Ok(()));
    assert_eq!(write(&mut bench, session, 1021, b"data"), Err(Status::INVALID_PARAMETER));
    bench.end(session);
    bench.power_cycle();
    let session = bench.start(sp::ENTERPRISE_LOCKING, None).unwrap();
    let read = bench
        .call(session, store, method::ENTERPRISE_GET, |t| {
            t.list(|t| {
                t.named_bytes(b"startRow", |t| {
                    t.uint(1019);
                });
                t.named_bytes(b"endRow", |t| {
                    t.uint(1023);
                });
            });
        })
        .unwrap();
    assert_eq!(read, b"\xA5\0data");
}

#[test]
fn host_properties_under_either_name_and_small_buffers() {
    let mut bench = bench();
    for text in [false, true] {
        let call = opal::wire::CallBuilder::new(sp::SESSION_MANAGER, method::PROPERTIES)
            .with(|t| {
                let list = |t: &mut Encoder| {
                    t.list(|t| {
                        t.named_bytes(b"MaxComPacketSize", |t| {
                            t.uint(1);
                        });
                    });
                };
                if text {
                    t.named_bytes(b"HostProperties", list);
                } else {
                    t.named(0, list);
                }
            })
            .finish();
        let answer = bench.tokens((0, 0), &call);
        let name: &[u8] = if text { b"\xF2\xAEHostProperties\xF0" } else { b"\xF2\x00\xF0" };
        let echo = [name, b"\xF2\xD0\x10MaxComPacketSize\x82\x04\x00\xF3"].concat();
        assert!(answer.windows(echo.len()).any(|w| w == echo), "{answer:02X?}");
    }
}

#[test]
fn revert_as_vendors_have_it() {
    for (who, pin, by_object) in
        [(authority::SID, &b"me"[..], false), (authority::PSID, PSID, true)]
    {
        let mut bench = bench();
        let session = bench.start(sp::ADMIN, None).unwrap();
        assert_eq!(prove(&mut bench, session, authority::SID, MSID), Ok(true));
        set_pin(&mut bench, session, c_pin::SID, b"me").unwrap();
        bench.end(session);
        let session = master(&mut bench, band_master(0), MSID);
        set_pin(&mut bench, session, c_pin::of(band_master(0)), b"zero").unwrap();
        set_uints(&mut bench, session, locking::band(0), &[("ReadLockEnabled", 1)]).unwrap();
        bench.end(session);
        bench.power_cycle();
        let key = bench.tper.platform().key(0);

        let session = bench.start(sp::ADMIN, None).unwrap();
        let (object, method) =
            if by_object { (sp::ADMIN, method::REVERT) } else { (sp::THIS_SP, method::REVERT_SP) };
        assert_eq!(bench.call(session, object, method, |_| {}), Err(Status::NOT_AUTHORIZED));
        assert_eq!(prove(&mut bench, session, who, pin), Ok(true));
        bench.call(session, object, method, |_| {}).unwrap();
        assert_eq!(bench.tper.open_sessions(), 0);
        assert_ne!(bench.tper.platform().key(0), key);
        // Never inactive, not owned, nothing locked.
        assert!(bench.tper.is_active());
        assert!(!bench.tper.ranges()[0].read_locked);
        bench.power_cycle();
        master(&mut bench, band_master(0), MSID);
    }
}

#[test]
fn authorities_of_the_locking_sp() {
    let mut bench = bench();
    let session = bench.start(sp::ENTERPRISE_LOCKING, None).unwrap();
    let all = bench.call(session, table::uid(table::AUTHORITY), method::NEXT, |_| {}).unwrap();
    let mut expected = vec![authority::ANYBODY];
    expected.extend((0..=15).map(band_master));
    expected.extend([ERASE_MASTER, BAND_MASTERS]);
    assert_eq!(uids(&all), expected);
    // A class has no PIN to prove.
    assert_eq!(prove(&mut bench, session, BAND_MASTERS, MSID), Err(Status::INVALID_PARAMETER));
    assert_eq!(prove(&mut bench, session, band_master(16), MSID), Err(Status::INVALID_PARAMETER));
}
