// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ranges, locks, resets and the data path (Opal 2.30 §4.3.5; Core 2.01 §5.7).

use opal::spec::{authority, locking, method, sp, table};
use opal::tper::{Extent, IfError, Profile, ReadVerdict, Reset, Source, WriteVerdict};
use opal::wire::Status;

use crate::support::{Bench, Session, profile};

fn set_up(profile: Profile) -> (Bench, Session) {
    let mut bench = Bench::activated(profile, b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    (bench, session)
}

fn bounds(start: u64, length: u64) -> [(u64, u64); 2] {
    [(3, start), (4, length)]
}

#[test]
fn alignment_and_overlap() {
    let mut profile = profile();
    profile.blocks = 100_000;
    profile.geometry.alignment_granularity = 8;
    profile.geometry.lowest_aligned_lba = 3;
    let (mut bench, session) = set_up(profile);
    let mut try_bounds = |range: u16, start, length| {
        bench.set_uint(session, locking::range(range), &bounds(start, length))
    };
    let bad = Err(Status::INVALID_PARAMETER);
    // Alignment counts from the lowest aligned block, also below it.
    assert_eq!(try_bounds(1, 11, 16), Ok(()));
    assert_eq!(try_bounds(1, 12, 16), bad);
    assert_eq!(try_bounds(1, 11, 12), bad);
    assert_eq!(try_bounds(1, 0, 11), Ok(()), "from 0 the end is aligned");
    assert_eq!(try_bounds(1, 0, 16), bad);
    assert_eq!(try_bounds(1, 12, 0), bad, "an empty range is aligned too");
    assert_eq!(try_bounds(1, 3, 8), Ok(()));
    // Ends with the media at the latest.
    assert_eq!(try_bounds(1, 99_995, 0), Ok(()));
    assert_eq!(try_bounds(1, 99_979, 16), Ok(()));
    assert_eq!(try_bounds(1, 99_987, 16), bad);
    assert_eq!(try_bounds(1, u64::MAX - 4, 8), bad);
    // Overlap counts only between ranges in use.
    assert_eq!(try_bounds(1, 1003, 800), Ok(()));
    assert_eq!(try_bounds(2, 1003, 0), Ok(()));
    assert_eq!(try_bounds(2, 1011, 0), Ok(()));
    assert_eq!(try_bounds(1, 1003, 800), Ok(()), "over an empty range");
    assert_eq!(try_bounds(2, 1803, 8), Ok(()));
    assert_eq!(try_bounds(2, 1795, 8), bad);
    assert_eq!(try_bounds(2, 995, 8), Ok(()));
    assert_eq!(try_bounds(2, 995, 16), bad);
    assert_eq!(try_bounds(2, 3, 1600), bad);
    assert_eq!(try_bounds(0, 0, 8), Err(Status::NOT_AUTHORIZED), "the Global Range has no bounds");
}

#[test]
fn without_required_alignment() {
    let mut profile = profile();
    profile.geometry.alignment_required = false;
    let (mut bench, session) = set_up(profile);
    assert_eq!(bench.set_uint(session, locking::range(1), &bounds(5, 3)), Ok(()));
}

fn range_extent(lba: u64, blocks: u64, range: u16) -> Extent {
    Extent { lba, blocks, source: Source::Range(range) }
}

#[test]
fn commands_are_split_at_ranges() {
    let (mut bench, session) = set_up(profile());
    bench.set_uint(session, locking::range(2), &bounds(80, 16)).unwrap();
    bench.set_uint(session, locking::range(1), &bounds(96, 8)).unwrap();
    let expected = vec![
        range_extent(70, 10, 0),
        range_extent(80, 16, 2),
        range_extent(96, 8, 1),
        range_extent(104, 6, 0),
    ];
    assert_eq!(bench.tper.check_read(70, 40), ReadVerdict::Serve(expected.clone()));
    assert_eq!(bench.tper.check_write(70, 40), WriteVerdict::Allow(expected));
    let inside = vec![range_extent(85, 3, 2)];
    assert_eq!(bench.tper.check_read(85, 3), ReadVerdict::Serve(inside));
    assert_eq!(bench.tper.check_read(0, 0), ReadVerdict::Serve(vec![]));
    let end = bench.tper.profile().blocks;
    assert_eq!(bench.tper.check_read(end, 0), ReadVerdict::Serve(vec![]));
    assert_eq!(bench.tper.check_read(end - 1, 2), ReadVerdict::Invalid);
    assert_eq!(bench.tper.check_write(u64::MAX, 2), WriteVerdict::Invalid);
}

#[test]
fn crossing_may_be_forbidden() {
    let mut profile = profile();
    profile.range_crossing_forbidden = true;
    let (mut bench, session) = set_up(profile);
    bench.set_uint(session, locking::range(1), &bounds(80, 16)).unwrap();
    assert_eq!(bench.tper.check_read(70, 11), ReadVerdict::Invalid);
    assert_eq!(bench.tper.check_write(95, 2), WriteVerdict::Invalid);
    assert!(matches!(bench.tper.check_write(80, 16), WriteVerdict::Allow(_)));
    assert_eq!(bench.tper.discovery()[0x90 - 0x10 + 8], 1, "the descriptor says so");
}

/// Byte 4 of the Locking descriptor.
fn locking_bits(bench: &Bench) -> u8 {
    let discovery = bench.tper.discovery();
    assert_eq!(discovery[0x40..0x42], [0, 2]);
    discovery[0x44]
}

#[test]
fn locked_means_enabled_and_locked() {
    let (mut bench, session) = set_up(profile());
    let range = locking::range(1);
    bench.set_uint(session, range, &bounds(0, 4096)).unwrap();
    // RLE, WLE, RL, WL; what reads and writes get.
    let cases = [
        ([0, 0, 1, 1], true, true),
        ([1, 0, 0, 1], true, true),
        ([1, 0, 1, 1], false, true),
        ([0, 1, 1, 1], true, false),
        ([1, 1, 1, 0], false, true),
        ([1, 1, 1, 1], false, false),
    ];
    for (flags, reads, writes) in cases {
        let columns: Vec<(u64, u64)> = (5..=8).zip(flags).collect();
        bench.set_uint(session, range, &columns).unwrap();
        let read = bench.tper.check_read(8, 8) != ReadVerdict::Denied;
        let write = bench.tper.check_write(8, 8) != WriteVerdict::Denied;
        assert_eq!((read, write), (reads, writes), "{flags:?}");
        // One locked block spoils the command.
        assert_eq!(bench.tper.check_read(4095, 2) != ReadVerdict::Denied, reads);
        assert!(matches!(bench.tper.check_read(4096, 2), ReadVerdict::Serve(_)));
        assert_eq!(locking_bits(&bench) & 0x04 != 0, !reads || !writes, "{flags:?}");
        assert_eq!(bench.tper.platform().is_loaded(1), reads || writes, "{flags:?}");
    }
}

#[test]
fn shadow_mbr() {
    let mut profile = profile();
    profile.mbr_size = 0x0800_0000;
    profile.blocks = 1 << 20;
    let (mut bench, session) = set_up(profile);
    let shadow = 0x0800_0000 / 512;
    let mbr = table::row::MBR_CONTROL_ROW;
    bench.set_uint(session, locking::range(1), &bounds(shadow + 1024, 1024)).unwrap();
    bench.set_uint(session, locking::range(1), &[(5, 1), (6, 1), (7, 1), (8, 1)]).unwrap();
    bench.set_uint(session, mbr, &[(2, 1)]).unwrap();
    bench.set_uint(session, mbr, &[(1, 1)]).unwrap();
    assert!(!bench.tper.is_shadowing());
    assert_eq!(locking_bits(&bench), 0x3F);
    bench.set_uint(session, mbr, &[(2, 0)]).unwrap();
    assert!(bench.tper.is_shadowing());
    assert_eq!(locking_bits(&bench), 0x1F);

    let served = |source, lba, blocks| ReadVerdict::Serve(vec![Extent { lba, blocks, source }]);
    let tper = &bench.tper;
    assert_eq!(tper.check_read(0, 8), served(Source::Shadow, 0, 8));
    assert_eq!(tper.check_read(shadow - 8, 8), served(Source::Shadow, shadow - 8, 8));
    assert_eq!(tper.check_read(shadow - 8, 9), ReadVerdict::Denied);
    assert_eq!(tper.check_read(shadow, 8), served(Source::Range(0), shadow, 8));
    assert_eq!(tper.check_read(shadow + 1024, 8), served(Source::Zeros, shadow + 1024, 8));
    assert_eq!(tper.check_read(shadow + 1020, 8), ReadVerdict::Denied, "locked and unlocked");
    assert_eq!(tper.check_write(shadow - 1, 1), WriteVerdict::Denied);
    assert!(matches!(tper.check_write(shadow, 1), WriteVerdict::Allow(_)));
    assert_eq!(tper.check_write(shadow + 1024, 1), WriteVerdict::Denied);
}

#[test]
fn resets_lock_what_lists_them() {
    let mut profile = profile();
    profile.features.hardware_reset = true;
    let (mut bench, session) = set_up(profile);
    let sets: [(u16, &[u64]); 4] = [(1, &[0]), (2, &[0, 3]), (3, &[0, 1]), (4, &[0, 1, 3])];
    for (number, set) in sets {
        let row = locking::range(number);
        bench.set_uint(session, row, &bounds(u64::from(number) * 4096, 4096)).unwrap();
        bench.set_uint(session, row, &[(5, 1), (6, 1)]).unwrap();
        bench
            .set(session, row, |t| {
                t.named(9, |t| {
                    t.list(|t| {
                        for member in set {
                            t.uint(*member);
                        }
                    });
                });
            })
            .unwrap();
    }
    for bad in [&[][..], &[1], &[3], &[0, 2], &[0, 4], &[0, 0], &[0, 99]] {
        let result = bench.set(session, locking::range(1), |t| {
            t.named(9, |t| {
                t.list(|t| {
                    for member in bad {
                        t.uint(*member);
                    }
                });
            });
        });
        assert_eq!(result, Err(Status::INVALID_PARAMETER), "{bad:?}");
    }
    let locked = |bench: &Bench| -> Vec<u16> {
        let ranges = bench.tper.ranges();
        ranges.iter().filter(|r| r.is_locked_both_ways()).map(|r| r.number).collect()
    };
    let unlock = |bench: &mut Bench| {
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
        for number in 1..=4 {
            bench.set_uint(session, locking::range(number), &[(7, 0), (8, 0)]).unwrap();
        }
        bench.end(session);
        assert_eq!(locked(bench), []);
    };
    bench.reset(Reset::Hardware);
    assert_eq!(locked(&bench), [3, 4]);
    assert_eq!(bench.tper.open_sessions(), 0);
    unlock(&mut bench);
    bench.reset(Reset::PowerCycle);
    assert_eq!(locked(&bench), [1, 2, 3, 4]);
    unlock(&mut bench);
    bench.power_cycle();
    assert_eq!(locked(&bench), [1, 2, 3, 4], "the same from what was persisted");
    for number in 0..=8u16 {
        let expected = !(1..=4).contains(&number);
        assert_eq!(bench.tper.platform().is_loaded(number), expected, "key of range {number}");
    }
    unlock(&mut bench);
}

#[test]
fn tper_reset() {
    // Opal test case SPF-12.
    let (mut bench, session) = set_up(profile());
    assert_eq!(
        bench.send(2, 4, &[1]),
        Err(IfError::InvalidCommandParameter),
        "not before ProgrammaticResetEnable"
    );
    let set = |bench: &mut Bench, row, column| {
        bench.set(session, row, |t| {
            t.named(column, |t| {
                t.list(|t| {
                    t.uint(0).uint(3);
                });
            });
        })
    };
    set(&mut bench, locking::range(0), 9).unwrap();
    set(&mut bench, table::row::MBR_CONTROL_ROW, 3).unwrap();
    set(&mut bench, locking::range(4), 9).unwrap();
    bench.set_uint(session, locking::range(0), &[(5, 1), (6, 1)]).unwrap();
    bench.set_uint(session, table::row::MBR_CONTROL_ROW, &[(1, 1), (2, 1)]).unwrap();
    bench.end(session);
    let admin = bench.start(sp::ADMIN, Some((authority::SID, b"owner"))).unwrap();
    bench.set_uint(admin, table::row::TPER_INFO_ROW, &[(8, 1)]).unwrap();
    bench.end(admin);

    let open = bench.start(sp::LOCKING, None).unwrap();
    assert!(matches!(bench.tper.check_write(0, 8), WriteVerdict::Allow(_)));
    assert_eq!(bench.send(2, 4, &[]), Err(IfError::InvalidTransferLength));
    assert_eq!(bench.send(2, 4, &[0; 512]), Ok(()));
    assert_eq!(bench.tper.open_sessions(), 0);
    assert_eq!(bench.tokens((open.tsn, 1), &[0xFA]), []);
    assert!(bench.tper.is_shadowing());
    assert_eq!(bench.tper.check_write(0, 8), WriteVerdict::Denied);
    assert!(matches!(bench.tper.check_read(0, 8), ReadVerdict::Serve(_)));
    // Every row that lists it, also where locks are not enabled (Opal 2.30 §3.2.3 h).
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    assert_eq!(bench.get_uint(session, locking::range(4), 7), 1);
    assert_eq!(bench.get_uint(session, locking::range(5), 7), 0);
}

#[test]
fn what_is_open_without_a_pin() {
    let (mut bench, session) = set_up(profile());
    let range = locking::range(1);
    let open = |bench: &Bench| bench.tper.platform().grants().ranges[1].open;
    // RLE, WLE, RL, WL: a power cycle locks what is enabled.
    for (flags, expected) in [
        ([0, 0, 0, 0], true),
        ([0, 0, 1, 1], true),
        ([1, 0, 1, 0], true),
        ([0, 1, 0, 1], true),
        ([1, 1, 0, 0], false),
        ([1, 1, 1, 1], false),
    ] {
        let columns: Vec<(u64, u64)> = (5..=8).zip(flags).collect();
        bench.set_uint(session, range, &columns).unwrap();
        assert_eq!(open(&bench), expected, "{flags:?}");
    }
    use opal::spec::ace::locking_sp::locking_set_write_locked;
    bench.set_ace(session, locking_set_write_locked(1), &[authority::ANYBODY]).unwrap();
    assert!(open(&bench), "anybody may unlock it");
    bench.set_ace(session, locking_set_write_locked(1), &[authority::ADMINS]).unwrap();
    assert!(!open(&bench));
}

#[test]
fn gen_key_replaces_one_key() {
    let (mut bench, session) = set_up(profile());
    let keys = |bench: &Bench| (0..=8).map(|n| bench.tper.platform().key(n)).collect::<Vec<_>>();
    let before = keys(&bench);
    bench.set_uint(session, locking::range(3), &bounds(8, 8)).unwrap();
    bench.set_uint(session, locking::range(3), &[(5, 1), (6, 1), (7, 1), (8, 1)]).unwrap();
    assert!(!bench.tper.platform().is_loaded(3));
    bench.call(session, locking::key_256(3), method::GEN_KEY, |_| {}).unwrap();
    let after = keys(&bench);
    for number in 0..=8 {
        assert_eq!(before[number] == after[number], number != 3, "range {number}");
    }
    assert!(!bench.tper.platform().is_loaded(3), "still locked");
    assert_eq!(bench.get_uint(session, locking::range(3), 7), 1);
    let parameter = bench.call(session, locking::key_256(3), method::GEN_KEY, |t| {
        t.named(1, |t| {
            t.uint(8);
        });
    });
    assert_eq!(parameter, Err(Status::INVALID_PARAMETER));
    let absent = bench.call(session, locking::key_128(3), method::GEN_KEY, |_| {});
    assert_eq!(absent, Err(Status::NOT_AUTHORIZED));
    bench.end(session);
    let session = bench.start(sp::LOCKING, None).unwrap();
    let anybody = bench.call(session, locking::key_256(3), method::GEN_KEY, |_| {});
    assert_eq!(anybody, Err(Status::NOT_AUTHORIZED));
}
