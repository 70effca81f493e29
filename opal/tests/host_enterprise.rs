// SPDX-License-Identifier: MIT OR Apache-2.0
//! Enterprise drives: requests byte for byte, and sessions with a scripted drive.

#[path = "host_support/golden.rs"]
mod golden;
#[path = "host_support/script.rs"]
mod script;

use golden::golden_transfer;
use opal::exchange::enterprise::{self as request, NamedCells, NamedColumns};
use opal::exchange::start_session::start_session_with;
use opal::exchange::{self, ComId, Exchange, SessionNumbers, Step};
use opal::host::{
    Authority, DataLoss, EnterpriseAdminSp, EnterpriseSp, RangeConfig, RangeState, ResetTypes,
};
use opal::spec::enterprise::{band, column};
use opal::spec::{authority, sp};
use opal::wire::{Encoder, Status};
use opal::{Error, Pin};
use script::*;

const BAND_COM_ID: ComId = ComId::fixed(0x07FE);
const MSID: &[u8] = b"EXAMPLE-MSID-0123456789ABCDEFGHI";

fn msid() -> Pin {
    Pin::new(MSID).unwrap()
}

/// Checks what an exchange sends, and hands it the golden answer if there is one.
fn sends<T>(mut exchange: Exchange<T>, name: &str, answered: bool) -> Option<Result<T, Error>> {
    let Step::Send { protocol: 1, specific: 0x07FE, data } = exchange.step() else {
        panic!("{name}: nothing to send")
    };
    assert_eq!(data, golden_transfer(name, "request"), "{name}");
    if !answered {
        return None;
    }
    assert!(matches!(exchange.step(), Step::Receive { .. }));
    exchange.received(&golden_transfer(name, "answer"));
    match exchange.step() {
        Step::Done(result) => Some(result),
        _ => panic!("{name}: not done"),
    }
}

fn method(call: exchange::Request) -> Exchange<exchange::Results> {
    exchange::method(BAND_COM_ID, SessionNumbers { tsn: 0x1001, hsn: 1 }, call)
}

#[test]
fn requests_are_those_of_the_specification() {
    let start = request::start_session(1, sp::ENTERPRISE_LOCKING, true, Some(60_000));
    sends(start_session_with(BAND_COM_ID, 1, start), "enterprise_start_session", false);
    let who = authority::enterprise::band_master(0);
    sends(method(request::authenticate(who, &msid())), "enterprise_authenticate", false);
    let erase = exchange::request::erase(band(1));
    sends(method(erase), "enterprise_erase_band", false);
    let lock =
        NamedColumns::new().boolean(column::READ_LOCKED, true).boolean(column::WRITE_LOCKED, true);
    let set = method(request::set(band(0), &lock, None));
    let done = sends(set, "enterprise_lock_band", true).unwrap().unwrap();
    assert_eq!(done.boolean(), Ok(true));
}

#[test]
fn a_row_in_one_list_more() {
    let get = request::get(band(0), column::RANGE_START, column::WRITE_LOCKED);
    let results = sends(method(get), "enterprise_get_band", true).unwrap().unwrap();
    let cells = NamedCells::parse(&results).unwrap();
    let names: Vec<_> = cells.columns().collect();
    let known: [&[u8]; 6] = [
        b"RangeStart",
        b"RangeLength",
        b"ReadLockEnabled",
        b"WriteLockEnabled",
        b"ReadLocked",
        b"WriteLocked",
    ];
    assert_eq!(names, known);
    assert_eq!(cells.uint(column::READ_LOCK_ENABLED), Ok(1));
    assert_eq!(cells.uint(column::READ_LOCKED), Ok(0));
    let missing = cells.uint(column::LOCK_ON_RESET);
    assert_eq!(missing, Err(Error::NameNotShown { column: "LockOnReset" }));
}

#[test]
fn the_check_value_of_a_pin() {
    assert_eq!(request::pin_check(&Pin::new(b"ThisIsMyPin").unwrap()), 0x2851);
    assert_eq!(request::pin_check(&Pin::default()), 0x5056);
    assert_eq!(request::pin_check(&Pin::new(&[0x12, 0x34]).unwrap()), 0x5056 ^ 0x1234);
    let pin = Pin::new(b"ThisIsMyPin").unwrap();
    let columns = NamedColumns::new().pin(column::PIN, &pin);
    let call = request::set(opal::spec::c_pin::SID, &columns, Some(request::pin_check(&pin)));
    let mut check = Encoder::new();
    check.named_bytes(b"ParamCheck", |t| {
        t.uint(0x2851);
    });
    let tokens = &call.tokens;
    let at = tokens.len() - check.as_bytes().len() - 7;
    assert_eq!(&tokens[at..tokens.len() - 7], check.as_bytes(), "the last parameter");
}

/// Rows as an Enterprise drive shows them.
fn named_row(columns: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    row(|t| {
        t.list(columns);
    })
}

fn truth(value: bool) -> Vec<u8> {
    answer(Status::SUCCESS, |t| {
        t.boolean(value);
    })
}

fn holds(tokens: &[u8], text: &str) -> bool {
    tokens.windows(text.len()).any(|w| w == text.as_bytes())
}

#[test]
fn taking_a_drive_and_a_band() {
    let pin = named_row(|t| {
        t.named_bytes(b"PIN", |t| {
            t.bytes(MSID);
        });
    });
    let mut script = Script::new([opened(), pin, truth(true), truth(true), ended()]);
    let new = Pin::new(b"owner").unwrap();
    let mut host = host(&mut script);
    let mut session = host.start_enterprise::<EnterpriseAdminSp>().open().unwrap();
    let factory = session.msid().unwrap();
    assert!(factory.matches(&msid()));
    session.authenticate(Authority::ENTERPRISE_SID, &factory).unwrap();
    session.set_pin(Authority::ENTERPRISE_SID, &new).unwrap();
    session.close().unwrap();
    assert!(holds(&script.tokens(0), "SessionTimeout"));
    assert!(!holds(&script.tokens(0), "EXAMPLE"), "no credential in StartSession");
    assert!(holds(&script.tokens(2), "Challenge"));
    assert_eq!(script.sends(), 5);
}

#[test]
fn a_band_is_changed_and_read_back() {
    let state = named_row(|t| {
        for (name, value) in [("RangeStart", 4096), ("RangeLength", 8192), ("ReadLockEnabled", 1)] {
            t.named_bytes(name.as_bytes(), |t| {
                t.uint(value);
            });
        }
        t.named_bytes(b"LockOnReset", |t| {
            t.list(|t| {
                t.uint(0);
            });
        });
    });
    let count = named_row(|t| {
        t.named_bytes(b"MaxRanges", |t| {
            t.uint(99_999);
        });
    });
    let mut script = Script::new([opened(), truth(true), truth(true), state, count, ended()]);
    let mut host = host(&mut script);
    let pin = msid();
    let who = Authority::band_master(1);
    let mut session = host.start_enterprise::<EnterpriseSp>().authority(who, &pin).open().unwrap();
    let config = RangeConfig {
        start: Some(4096),
        length: Some(8192),
        read_lock_enabled: Some(true),
        lock_on_reset: Some(ResetTypes::POWER_CYCLE),
        ..RangeConfig::default()
    };
    session.set_band(1, &config).unwrap();
    let state = session.band(1).unwrap();
    assert!(config.is_met_by(&state));
    assert_eq!(state, RangeState { write_locked: None, active_key: None, ..state });
    assert_eq!(session.max_bands(), Ok(1023), "no more than there can be");
    session.close().unwrap();
    assert!(holds(&script.tokens(2), "RangeStart") && holds(&script.tokens(2), "LockOnReset"));
    assert!(!holds(&script.tokens(2), "WriteLock"));
}

#[test]
fn c3_the_time_out_is_left_out_where_it_is_refused() {
    for refusal in [empty(0, 0), sync(Status::INVALID_PARAMETER, 1, 0)] {
        let second = SessionNumbers { tsn: 0x1001, hsn: 2 };
        let opened = sync(Status::SUCCESS, second.hsn, second.tsn);
        let mut script = Script::new([refusal, opened, packet(second, &[0xFA])]);
        host(&mut script).start_enterprise::<EnterpriseSp>().open().unwrap().close().unwrap();
        assert!(holds(&script.tokens(0), "SessionTimeout"));
        assert!(!holds(&script.tokens(1), "SessionTimeout"));
    }
    // Nothing left to leave out.
    let refusals = vec![sync(Status::INVALID_PARAMETER, 1, 0); 5];
    let mut script = Script::new(refusals);
    let error = host(&mut script).start_enterprise::<EnterpriseSp>().timeout(None).open().map(drop);
    assert_eq!(error.unwrap_err().status(), Some(Status::INVALID_PARAMETER));
    assert_eq!(script.sends(), 1);
}

#[test]
fn c6_c7_a_master_that_does_not_accept_the_msid() {
    for no in [truth(false), fails(Status::NOT_AUTHORIZED)] {
        let mut script = Script::new([opened(), no, ended()]);
        let who = Authority::band_master(2);
        let error = host(&mut script)
            .start_enterprise::<EnterpriseSp>()
            .authority(who, &msid())
            .open()
            .map(drop)
            .unwrap_err();
        assert_eq!(error, Error::NotAuthenticated { authority: who.uid() });
        assert_eq!(script.tokens(2), [0xFA], "the session is ended, the PIN not offered again");
    }
}

#[test]
fn a_set_that_says_no_and_one_that_says_nothing() {
    let mut script = Script::new([opened(), truth(false), done(), ended()]);
    let mut host = host(&mut script);
    let mut session = host.start_enterprise::<EnterpriseSp>().open().unwrap();
    let lock = RangeConfig::locked(true, true);
    assert!(matches!(session.set_band(1, &lock), Err(Error::Mismatch(_))));
    assert_eq!(session.set_band(1, &lock), Ok(()));
    assert!(matches!(session.set_band(1, &RangeConfig::default()), Err(Error::Usage(_))));
    session.close().unwrap();
    assert_eq!(script.sends(), 4);
}

#[test]
fn nothing_is_erased_without_agreement() {
    let mut script = Script::new([opened(), done(), ended()]);
    let mut host = host(&mut script);
    let mut session = host.start_enterprise::<EnterpriseSp>().open().unwrap();
    let other = DataLoss::accepted_for("ANOTHER");
    assert_eq!(session.erase_band(1, &other), Err(Error::NotThisDrive));
    session.erase_band(1, &DataLoss::accepted_for(SERIAL)).unwrap();
    session.close().unwrap();
    assert_eq!(script.sends(), 3);
    let mut script = Script::new([opened()]);
    let mut host = script::host(&mut script);
    let session = host.start_enterprise::<EnterpriseAdminSp>().open().unwrap();
    assert_eq!(session.revert(&other), Err(Error::NotThisDrive));
}

#[test]
fn the_data_store_in_a_list_or_without() {
    let plain = answer(Status::SUCCESS, |t| {
        t.bytes(&[7; 100]);
    });
    let listed = answer(Status::SUCCESS, |t| {
        t.list(|t| {
            t.bytes(&[7; 100]);
        });
    });
    let mut script = Script::new([opened(), plain, listed.clone(), listed, ended()]);
    let mut host = host(&mut script);
    let mut session = host.start_enterprise::<EnterpriseSp>().open().unwrap();
    for _ in 0..2 {
        assert_eq!(session.read_data_store(0, 100).unwrap()[..], [7; 100]);
    }
    assert!(matches!(session.read_data_store(0, 99), Err(Error::Mismatch(_))));
    assert!(matches!(session.read_data_store(0, 1 << 20), Err(Error::Usage(_))));
    assert!(matches!(session.read_data_store(u64::MAX, 2), Err(Error::Usage(_))));
    session.close().unwrap();
}

#[path = "host_support/local.rs"]
mod local;

/// The host against our own drive: MSID, ownership, a band with a master of its own, erase.
#[test]
fn an_enterprise_drive_from_the_factory_to_erase() {
    use opal::tper::{Profile, Ssc};

    let drive = local::Drive::new(Profile::of(Ssc::Enterprise));
    let mut host = drive.host();
    let discovery = host.discovery().unwrap();
    assert_eq!(discovery.base_com_id(), Some(0x07FE));
    let loss = DataLoss::accepted_for(local::SERIAL);
    let (owner, master) = (Pin::new(b"owner").unwrap(), Pin::new(b"master one").unwrap());

    let mut session = host.start_enterprise::<EnterpriseAdminSp>().open().unwrap();
    let msid = session.msid().unwrap();
    session.authenticate(Authority::ENTERPRISE_SID, &msid).unwrap();
    session.set_pin(Authority::ENTERPRISE_SID, &owner).unwrap();
    session.close().unwrap();

    let who = Authority::band_master(1);
    let mut session = host.start_enterprise::<EnterpriseSp>().authority(who, &msid).open().unwrap();
    assert!(session.max_bands().unwrap() >= 1);
    session.set_pin(who, &master).unwrap();
    let config = RangeConfig {
        start: Some(4096),
        length: Some(4096),
        read_lock_enabled: Some(true),
        write_lock_enabled: Some(true),
        lock_on_reset: Some(ResetTypes::POWER_CYCLE),
        ..RangeConfig::locked(true, true)
    };
    session.set_band(1, &config).unwrap();
    assert!(config.is_met_by(&session.band(1).unwrap()));
    assert!(session.set_band(0, &RangeConfig::locked(true, true)).is_err(), "another's band");
    session.close().unwrap();

    let refused = host.start_enterprise::<EnterpriseSp>().authority(who, &msid).open().map(drop);
    assert_eq!(refused, Err(Error::NotAuthenticated { authority: who.uid() }));
    let key = drive.key(1);
    let eraser = Authority::ERASE_MASTER;
    let mut session =
        host.start_enterprise::<EnterpriseSp>().authority(eraser, &msid).open().unwrap();
    session.erase_band(1, &loss).unwrap();
    let state = session.band(1).unwrap();
    assert_eq!((state.start, state.read_locked), (Some(4096), Some(false)));
    session.close().unwrap();
    assert_ne!(drive.key(1), key, "the data is gone");
    host.start_enterprise::<EnterpriseSp>().authority(who, &msid).open().unwrap().close().unwrap();
}
