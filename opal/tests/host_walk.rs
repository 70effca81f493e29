// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a host does in several steps: dumping every table, handing ranges and DataStores to users,
//! Reactivate with less, TPER_RESET, and how long a revert may take.

#[path = "host_support/local.rs"]
mod local;
#[path = "host_support/script.rs"]
#[allow(unused_imports, reason = "the other scripts' part")]
mod script;

use std::time::Duration;

use local::Drive;
use opal::exchange::SessionNumbers;
use opal::exchange::request::SingleUser;
use opal::host::{
    Activation, AdminSp, Authority, BooleanExpr, ByteTable, Cell, DataLoss, Host, LockingSp,
    Operand, RangeConfig, Reactivated, ResetTypes, Table, WriteOptions, revert_patience,
};
use opal::spec::ace::locking_sp as ace;
use opal::spec::{authority, column, locking, method, table};
use opal::tper::Profile;
use opal::wire::discovery::{DataRemoval, Mechanism};
use opal::wire::{Status, call};
use opal::{Error, Pin, Uid};
use script::Script;

const ADMIN1: Authority<LockingSp> = Authority::admin(1);

fn pin(text: &str) -> Pin {
    Pin::new(text.as_bytes()).unwrap()
}

fn profile() -> Profile {
    let mut profile = Profile::opal2();
    profile.features.single_user_mode = true;
    profile
}

/// An owned drive whose Locking SP is active; every PIN is "owner".
fn active(activation: &Activation) -> Drive {
    let drive = Drive::new(profile());
    let mut host = drive.host();
    let mut session = host.start::<AdminSp>().open().unwrap();
    let msid = session.msid().unwrap();
    session.authenticate(Authority::SID, &msid).unwrap();
    session.set_pin(Authority::SID, &pin("owner")).unwrap();
    session.activate(activation).unwrap();
    session.close().unwrap();
    drive
}

#[test]
fn a_dump_shows_every_table_and_no_secret() {
    let drive = active(&Activation::default());
    let mut host = drive.host();
    let owner = pin("owner");
    let mut session = host.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    let dump = session.dump().unwrap();
    session.close().unwrap();
    let of = |number| dump.iter().find(|t| t.table == table::uid(number)).unwrap();
    let ranges = of(table::LOCKING).rows.as_ref().unwrap();
    assert_eq!(ranges.len(), 9);
    assert_eq!(of(table::LOCKING).name.as_deref(), Some("Locking"));
    let first = ranges[0].cells.as_ref().unwrap();
    assert!(first.contains(&(column::locking::READ_LOCKED, Cell::Uint(0))));
    assert!(first.contains(&(column::locking::LOCK_ON_RESET, Cell::List(vec![Cell::Uint(0)]))));
    let mbr = of(table::MBR);
    assert!(mbr.is_bytes && mbr.rows == Ok(Vec::new()));
    assert_eq!(mbr.size, Some(0x0800_0000));
    let expression = of(table::ACE).rows.as_ref().unwrap().iter().any(|row| {
        let cells = row.cells.as_ref().unwrap();
        cells.iter().any(|(_, cell)| match cell {
            Cell::List(parts) => matches!(parts.first(), Some(Cell::Named(..))),
            _ => false,
        })
    });
    assert!(expression, "conditions are shown");
    for row in of(table::C_PIN).rows.as_ref().unwrap() {
        for (column, cell) in row.cells.as_ref().unwrap() {
            assert!(*column != column::c_pin::PIN || matches!(cell, Cell::Hidden(_)));
        }
    }

    // The MSID is a PIN too, although anybody may read it.
    let mut session = host.start::<AdminSp>().open().unwrap();
    let pins = session.dump_table(Table::C_PIN);
    let dump = session.dump().unwrap();
    session.close().unwrap();
    let msid = format!("{dump:?}{pins:?}");
    let digits: Vec<String> = b"OPALBOX-EMU".iter().map(|byte| format!("{byte}")).collect();
    assert!(!msid.contains(&digits.join(", ")));
    assert!(dump.len() > 5);
}

#[test]
fn a_dump_outlives_what_the_drive_refuses() {
    use script::{SESSION, answer, ended, fails, host, opened, packet, row};
    let tables = answer(Status::SUCCESS, |t| {
        t.list(|t| {
            for number in [table::ACE, table::C_PIN, table::LOCKING] {
                t.uid(table::descriptor(number));
            }
        });
    });
    let kind = |kind| {
        row(move |t| {
            t.named(column::table::KIND, |t| {
                t.uint(kind);
            });
        })
    };
    let rows = answer(Status::SUCCESS, |t| {
        t.list(|t| {
            t.uid(locking::range(0)).uid(locking::range(1));
        });
    });
    // Lists within lists: more than any cell.
    let deep: Vec<u8> = [
        &[0xF0, 0xF0, 0xF2, 3][..],
        &[0xF0; 40],
        &[0xF1; 40],
        &[0xF3, 0xF1, 0xF1, 0xF9, 0xF0, 0, 0, 0, 0xF1],
    ]
    .concat();
    let mut script = Script::new([
        opened(),
        tables,
        fails(Status::NOT_AUTHORIZED),
        kind(1),
        fails(Status::NOT_AUTHORIZED),
        kind(1),
        rows,
        packet(SESSION, &deep),
        fails(Status::TPER_MALFUNCTION),
        ended(),
    ]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    let dump = session.dump().unwrap();
    session.close().unwrap();
    let refused = |status| Error::Method { method: "Get", status };
    assert_eq!(dump[0].rows, Err(refused(Status::NOT_AUTHORIZED)));
    assert!(matches!(dump[1].rows, Err(Error::Method { method: "Next", .. })));
    let rows = dump[2].rows.as_ref().unwrap();
    assert!(matches!(rows[0].cells, Err(Error::Parse(_))));
    assert_eq!(rows[1].cells, Err(refused(Status::TPER_MALFUNCTION)));
}

#[test]
fn conditions_grow_and_shrink() {
    let user = |n| Authority::<LockingSp>::user(n);
    let admins = BooleanExpr::any_of(&[Authority::ADMINS]);
    let two = admins.clone().or(user(1)).or(user(2));
    assert_eq!(two, BooleanExpr::any_of(&[Authority::ADMINS, user(1), user(2)]));
    assert_eq!(two.clone().or(user(1)), two, "nobody twice");
    let one = BooleanExpr::any_of(&[Authority::ADMINS, user(2)]);
    assert_eq!(two.without(user(1)), Some(one));
    assert_eq!(admins.without(Authority::ADMINS), Some(BooleanExpr::default()));
    assert_eq!(BooleanExpr::default().or(user(3)), BooleanExpr::any_of(&[user(3)]));
    // "User1 and User2" is not a list; an alternative can be added, nothing taken away.
    let [a, b] = [1, 2].map(|n| Operand::Authority(authority::user(n)));
    let both = BooleanExpr(vec![a, b, Operand::And]);
    assert_eq!(both.without(user(1)), None);
    let or_one = BooleanExpr(vec![a, b, Operand::And, a, Operand::Or]);
    assert_eq!(both.or(user(1)), or_one);
}

#[test]
fn several_users_share_a_range() {
    let drive = active(&Activation::default());
    let mut host = drive.host();
    let owner = pin("owner");
    let mut session = host.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    let config = RangeConfig {
        start: Some(4096),
        length: Some(4096),
        read_lock_enabled: Some(true),
        write_lock_enabled: Some(true),
        ..RangeConfig::locked(true, true)
    };
    session.set_range(1, &config).unwrap();
    for n in 1..=2 {
        session.set_pin(Authority::user(n), &pin("user")).unwrap();
        session.set_enabled(Authority::user(n), true).unwrap();
        session.grant_range(1, Authority::user(n)).unwrap();
    }
    session.grant_range(1, Authority::user(1)).unwrap();
    let three = BooleanExpr::any_of(&[Authority::ADMINS, Authority::user(1), Authority::user(2)]);
    assert_eq!(session.ace(ace::locking_set_read_locked(1)).unwrap(), three, "nobody twice");
    session.close().unwrap();

    let unlock = |host: &mut Host<local::Path>, n| {
        let user_pin = pin("user");
        let mut session =
            host.start::<LockingSp>().authority(Authority::user(n), &user_pin).open().unwrap();
        let result = session.set_range(1, &RangeConfig::locked(false, false));
        session.close().unwrap();
        result
    };
    assert_eq!(unlock(&mut host, 1), Ok(()));
    assert_eq!(unlock(&mut host, 2), Ok(()));

    let mut session = host.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    session.revoke_range(1, Authority::user(1)).unwrap();
    session.revoke_range(1, Authority::user(1)).unwrap();
    let last = session.revoke(ace::locking_get(2), Authority::ADMINS);
    assert!(matches!(last, Err(Error::Usage(_))), "nobody would be left");
    session.close().unwrap();
    let refused = unlock(&mut host, 1).unwrap_err();
    assert_eq!(refused.status(), Some(Status::NOT_AUTHORIZED));
    assert_eq!(unlock(&mut host, 2), Ok(()), "the other user keeps the range");
    let mut session = host.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    session.set_range(1, &RangeConfig::locked(true, true)).unwrap();
    session.close().unwrap();
}

#[test]
fn data_stores_are_found_and_handed_out() {
    let sizes = vec![8192, 4096, 12288];
    let drive =
        active(&Activation { data_store_sizes: Some(sizes.clone()), ..Activation::default() });
    let mut host = drive.host();
    let owner = pin("owner");
    let mut session = host.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    let found = session.data_stores().unwrap();
    let expected: Vec<(u16, u64)> = (1..).zip(sizes).collect();
    assert_eq!(found.iter().map(|t| (t.number, t.info.size)).collect::<Vec<_>>(), expected);
    let user = Authority::user(1);
    session.set_pin(user, &pin("user")).unwrap();
    session.set_enabled(user, true).unwrap();
    session.grant_data_store(2, user, true).unwrap();
    session.grant_data_store(3, user, false).unwrap();
    session.close().unwrap();

    let user_pin = pin("user");
    let mut session = host.start::<LockingSp>().authority(user, &user_pin).open().unwrap();
    let mut write = |n| {
        let table = ByteTable::data_store(n);
        session.write(table, 0, b"mine", WriteOptions::default(), &mut |_| {})
    };
    assert_eq!(write(2), Ok(()));
    assert_eq!(write(3).unwrap_err().status(), Some(Status::NOT_AUTHORIZED));
    let mut read =
        |n| session.read(ByteTable::data_store(n), 0, 4, &mut |_| {}).map(|bytes| bytes.to_vec());
    assert_eq!(read(2).unwrap(), b"mine");
    assert_eq!(read(3).unwrap(), [0; 4]);
    assert_eq!(read(1).unwrap_err().status(), Some(Status::NOT_AUTHORIZED));
    session.close().unwrap();

    let mut session = host.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    session.revoke_data_store(2, user).unwrap();
    session.close().unwrap();
    let mut session = host.start::<LockingSp>().authority(user, &user_pin).open().unwrap();
    assert!(session.read(ByteTable::data_store(2), 0, 4, &mut |_| {}).is_err());
    session.close().unwrap();
}

#[test]
fn tper_reset_only_where_it_does_something() {
    let drive = active(&Activation::default());
    let mut host = drive.host();
    assert!(matches!(host.tper_reset_if_enabled(), Err(Error::Unsupported(_))));
    let owner = pin("owner");
    let mut session = host.start::<AdminSp>().authority(Authority::SID, &owner).open().unwrap();
    session.set_programmatic_reset(true).unwrap();
    session.close().unwrap();
    let mut session = host.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    let resets = ResetTypes::POWER_CYCLE | ResetTypes::PROGRAMMATIC;
    let config = RangeConfig {
        start: Some(4096),
        length: Some(4096),
        read_lock_enabled: Some(true),
        write_lock_enabled: Some(true),
        lock_on_reset: Some(resets),
        ..RangeConfig::default()
    };
    session.set_range(1, &config).unwrap();
    session
        .set_range(
            2,
            &RangeConfig {
                start: Some(8192),
                lock_on_reset: Some(ResetTypes::POWER_CYCLE),
                ..config
            },
        )
        .unwrap();
    session.close().unwrap();
    host.tper_reset_if_enabled().unwrap();
    let mut session = host.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    assert_eq!(session.range(1).unwrap().read_locked, Some(true));
    assert_eq!(session.range(1).unwrap().lock_on_reset, Some(resets));
    assert_eq!(session.range(2).unwrap().read_locked, Some(false), "only power cycles lock it");
    session.close().unwrap();
}

#[test]
fn reverts_get_the_time_the_drive_announces() {
    let mut removal =
        DataRemoval { mechanisms: 1 << Mechanism::OVERWRITE.0, ..DataRemoval::default() };
    assert_eq!(revert_patience(&removal), None);
    removal.times[0] = 60;
    assert_eq!(revert_patience(&removal), Some(Duration::from_secs(240)));
    removal.time_format = 1;
    assert_eq!(revert_patience(&removal), Some(Duration::from_secs(4 * 3600)));
    removal.times = [u16::MAX; 6];
    let week = Duration::from_secs(7 * 24 * 3600);
    assert_eq!(revert_patience(&removal), Some(week), "bounded");
    removal.mechanisms = 0;
    assert_eq!(revert_patience(&removal), None, "only what the drive has counts");
}

fn loss() -> DataLoss {
    DataLoss::accepted_for(local::SERIAL)
}

fn wanted(policy: bool) -> Activation {
    Activation {
        single_user: Some(SingleUser::Ranges(vec![locking::range(1), locking::range(2)])),
        admins_own_geometry: Some(policy),
        data_store_sizes: None,
    }
}

#[test]
fn reactivate_does_what_was_asked_and_proves_it() {
    let drive = active(&Activation::default());
    let mut host = drive.host();
    let key = drive.key(1);
    let (old, new) = (pin("owner"), pin("another"));
    for policy in [true, false] {
        let pins = if policy { (&old, Some(&new)) } else { (&new, None) };
        let outcome = host.reactivate(pins.0, pins.1, &wanted(policy), false, &loss());
        assert_eq!(outcome, Ok(Reactivated::AsAsked));
        let mut session = host.start::<LockingSp>().open().unwrap();
        let info = session.locking_info().unwrap();
        assert_eq!(info.admins_own_geometry, Some(policy));
        assert_eq!(info.single_user_ranges.unwrap().len(), 2);
        session.close().unwrap();
    }
    let all = Activation { single_user: Some(SingleUser::All), ..Activation::default() };
    assert_eq!(host.reactivate(&new, None, &all, false, &loss()), Ok(Reactivated::AsAsked));
    let off =
        Activation { single_user: Some(SingleUser::Ranges(Vec::new())), ..Activation::default() };
    assert_eq!(host.reactivate(&new, None, &off, false, &loss()), Ok(Reactivated::AsAsked));
    assert_eq!(drive.key(1), key, "no media key changed");
    let other = DataLoss::accepted_for("ANOTHER");
    assert_eq!(host.reactivate(&new, None, &off, false, &other), Err(Error::NotThisDrive));
    assert_eq!(
        host.reactivate(&old, None, &off, true, &loss()),
        Err(Error::NotAuthenticated { authority: ADMIN1.uid() }),
        "the old PIN is not valid any more"
    );
}

/// Answers of a drive for one session after the other, each opened and ended.
fn sessions(answers: Vec<Vec<u8>>) -> Script {
    let mut all = Vec::new();
    for (index, tokens) in answers.into_iter().enumerate() {
        let hsn = index as u32 + 1;
        let numbers = SessionNumbers { tsn: 0x1001, hsn };
        all.push(script::sync(Status::SUCCESS, hsn, numbers.tsn));
        // A Reactivate that succeeds ends the session; one that fails leaves it to be ended.
        let reactivated = hsn % 2 == 1 && tokens[tokens.len() - 4] == 0;
        all.push(script::packet(numbers, &tokens));
        if !reactivated {
            all.push(script::packet(numbers, &[0xFA]));
        }
    }
    Script::new(all)
}

fn success() -> Vec<u8> {
    call::answer(Status::SUCCESS, |_| {}).to_vec()
}

/// LockingInfo with these ranges in Single User Mode.
fn info(ranges: &[Uid], policy: bool) -> Vec<u8> {
    let tokens = call::answer(Status::SUCCESS, |t| {
        t.list(|t| {
            t.named(column::locking_info::MAX_RANGES, |t| {
                t.uint(8);
            });
            t.named(column::locking_info::SINGLE_USER_MODE_RANGES, |t| {
                t.list(|t| {
                    for range in ranges {
                        t.uid(*range);
                    }
                });
            });
            t.named(column::locking_info::RANGE_START_LENGTH_POLICY, |t| {
                t.boolean(policy);
            });
        });
    });
    tokens.to_vec()
}

#[test]
fn d4_a_policy_that_is_not_honoured_gives_less() {
    let ranges = [locking::range(2), locking::range(1)];
    let reactivate = |answers: Vec<Vec<u8>>, less| {
        let mut script = sessions(answers);
        let loss = DataLoss::accepted_for(script::SERIAL);
        let outcome =
            script::host(&mut script).reactivate(&pin("owner"), None, &wanted(true), less, &loss);
        let calls = (0..script.sent.len()).map(|index| script.tokens(index));
        (outcome, calls.filter(|tokens| script::calls(tokens, method::REACTIVATE)).count())
    };
    // The drive says yes and does the other policy; asked for the other one it does that.
    let stubborn = vec![success(), info(&ranges, false), success(), info(&ranges, false)];
    assert_eq!(reactivate(stubborn.clone(), true), (Ok(Reactivated::OtherPolicy), 2));
    let (strict, tries) = reactivate(stubborn, false);
    assert!(matches!(strict, Err(Error::Mismatch(_))));
    assert_eq!(tries, 1);
    // It does neither: Single User Mode is off in the end, and that is seen too.
    let hopeless = vec![
        success(),
        info(&ranges[..1], true),
        success(),
        info(&ranges[..1], false),
        success(),
        info(&[], false),
    ];
    assert_eq!(reactivate(hopeless.clone(), true), (Ok(Reactivated::WithoutSingleUser), 3));
    let mut lying = hopeless;
    lying[5] = info(&ranges, false);
    assert!(matches!(reactivate(lying, true), (Err(Error::Mismatch(_)), 3)));
    // A range that is lock-enabled makes it fail, which less would not cure.
    let fail = call::answer(Status::FAIL, |_| {}).to_vec();
    let (failed, tries) = reactivate(vec![fail], true);
    assert_eq!((failed.unwrap_err().status(), tries), (Some(Status::FAIL), 1));
}
