// SPDX-License-Identifier: MIT OR Apache-2.0
//! Quirks of what drives say about themselves and of what they refuse: one test for each way, by
//! the numbers of `docs/quirks.md`.

#[path = "host_support/script.rs"]
mod script;

use opal::host::{
    Activation, AdminSp, Authority, DataLoss, EnterpriseSp, Host, Identity, LockingSp, RangeState,
    ResetTypes,
};
use opal::spec::column::{locking, mbr_control};
use opal::wire::Status;
use opal::wire::discovery::{
    ComIds, Descriptor, Discovery, Feature, FeatureCode, Locking, SmallSsc, Ssc1,
};
use opal::{Error, Pin};
use script::*;

fn pin() -> Pin {
    Pin::new(b"secret").unwrap()
}

fn loss() -> DataLoss {
    DataLoss::accepted_for(SERIAL)
}

fn discovered(features: &[Feature]) -> Discovery {
    let mut discovery = Discovery::new([0; 32]);
    for feature in features {
        discovery.push(Descriptor::new(feature));
    }
    Discovery::parse(&discovery.to_bytes()).unwrap()
}

fn locking_feature() -> Locking {
    Locking { supported: true, media_encryption: true, ..Locking::default() }
}

const COM_IDS: ComIds = ComIds { base: 0x07FE, count: 1 };

#[test]
fn a8_a10_what_a_drive_is_follows_from_discovery_alone() {
    let pyrite = SmallSsc { com_ids: COM_IDS, ..SmallSsc::default() };
    let plain = Locking { media_encryption: false, ..locking_feature() };
    let discovery = discovered(&[Feature::Locking(plain), Feature::Pyrite1(pyrite)]);
    assert_eq!(discovery.ssc().unwrap().0, FeatureCode::PYRITE_1);
    assert!(!discovery.encrypts(), "Pyrite does not promise encryption");
    // The host knows a model name, which says Opal; it makes no difference.
    let mut script = Script::new([discovery.to_bytes()]);
    let identity = Identity { serial: SERIAL.into(), model: "Opal 2 Drive Pro".into() };
    let mut host = Host::new(&mut script, identity);
    assert!(!host.discovery().unwrap().encrypts());
}

#[test]
fn a11_no_tcg_is_an_answer_and_sessions_say_so() {
    for answer in
        [discovered(&[]).to_bytes(), discovered(&[Feature::Locking(locking_feature())]).to_bytes()]
    {
        let mut script = Script::new([answer.clone(), answer]);
        let mut host = Host::new(&mut script, Identity::default());
        assert_eq!(host.discovery().unwrap().base_com_id(), None);
        let refused = host.start::<AdminSp>().open().map(drop);
        assert!(matches!(refused, Err(Error::Unsupported(_))));
        assert_eq!(script.sends(), 0, "nothing is sent to a drive without TCG");
    }
}

#[test]
fn a12_a_drive_without_geometry() {
    let discovery = discovered(&[Feature::Locking(locking_feature())]);
    assert_eq!(discovery.geometry(), None);
    // LockingInfo need not have it either.
    let info = row(|t| {
        t.named(4, |t| {
            t.uint(8);
        });
    });
    let mut script = Script::new([opened(), info, ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    let info = session.locking_info().unwrap();
    assert_eq!((info.max_ranges, info.alignment_granularity), (8, None));
    session.close().unwrap();
}

#[test]
fn a17_no_shadow_mbr_although_discovery_does_not_say_so() {
    let discovery = discovered(&[
        Feature::Locking(locking_feature()),
        Feature::Opalite(SmallSsc { com_ids: COM_IDS, ..SmallSsc::default() }),
    ]);
    assert!(discovery.shadow_mbr());
    let mut script = Script::new([opened(), fails(Status::NOT_AUTHORIZED), done(), ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    let refused = session.set_mbr_control(Some(true), None, None).unwrap_err();
    assert_eq!(refused.status(), Some(Status::NOT_AUTHORIZED));
    // The session goes on: the caller can leave the shadow MBR out.
    session.set_enabled(Authority::user(1), true).unwrap();
    session.close().unwrap();
}

#[test]
fn a18_a19_drives_that_say_they_have_no_shadow_mbr() {
    let without = Locking { mbr_shadowing_not_supported: true, ..locking_feature() };
    assert!(!discovered(&[Feature::Locking(without)]).shadow_mbr());
    let enterprise = Feature::Enterprise(Ssc1 { com_ids: COM_IDS, range_crossing: false });
    let discovery = discovered(&[Feature::Locking(locking_feature()), enterprise]);
    assert!(!discovery.shadow_mbr());
    assert_eq!(discovery.base_com_id(), Some(0x07FE));
}

#[test]
fn a21_an_enterprise_drive_is_always_active() {
    // No life cycle is asked for and nothing is activated: a band is read at once, by anybody.
    let state = row(|t| {
        t.list(|t| {
            t.named_bytes(b"ReadLocked", |t| {
                t.boolean(false);
            });
        });
    });
    let mut script = Script::new([opened(), state, ended()]);
    let mut host = host(&mut script);
    let mut session = host.start_enterprise::<EnterpriseSp>().open().unwrap();
    assert_eq!(session.band(0).unwrap().read_locked, Some(false));
    session.close().unwrap();
    assert_eq!(script.sends(), 3);
}

/// What opening a session as SID gives when the drive answers so.
fn refused_start(status: Status) -> Error {
    let mut script = Script::new([sync(status, 1, 0)]);
    let mut host = host(&mut script);
    host.start::<AdminSp>().authority(Authority::SID, &pin()).open().map(drop).unwrap_err()
}

#[test]
fn c5_c10_a_drive_without_psid_revert() {
    // The first refuses the parameters, with and without the credential; the other just fails.
    for (first, then) in
        [(Status::INVALID_PARAMETER, Some(Status::INVALID_PARAMETER)), (Status::FAIL, None)]
    {
        let second = then.map(|status| sync(status, 2, 0));
        let mut script = Script::new([sync(first, 1, 0)].into_iter().chain(second));
        let error = host(&mut script).psid_revert(&pin(), &loss()).unwrap_err();
        assert_eq!(error.status(), Some(first));
        assert!(error.to_string().contains(first.name().unwrap()), "{error}");
    }
}

#[test]
fn c8_revert_sp_refused_to_sid_leaves_the_session_to_revert_otherwise() {
    let mut script = Script::new([opened(), fails(Status::NOT_AUTHORIZED), ended()]);
    let mut host = host(&mut script);
    let session = host.start::<LockingSp>().open().unwrap();
    let error = session.revert_sp(false, &loss()).unwrap_err();
    assert_eq!(error.status(), Some(Status::NOT_AUTHORIZED));
    assert_eq!(script.tokens(2), [0xFA], "the session is ended, so that a Revert can follow");
}

#[test]
fn c4_c12_c15_c18_c19_c20_refusals_come_with_what_helps() {
    let cases = [
        (Status::SP_BUSY, "power"),
        (Status::NO_SESSIONS_AVAILABLE, "power"),
        (Status::AUTHORITY_LOCKED_OUT, "power the drive off fully"),
        (Status::FAIL, "BIOS disk password"),
        (Status::FAIL, "locked range"),
        (Status::FAIL, "shadow MBR"),
        (Status::TPER_MALFUNCTION, "firmware update"),
    ];
    for (status, helps) in cases {
        let error = refused_start(status);
        assert_eq!(error.status(), Some(status));
        assert!(error.advice().unwrap().contains(helps), "{status}: {:?}", error.advice());
    }
}

#[test]
fn c13_a_refused_msid_points_to_block_sid() {
    let error = refused_start(Status::NOT_AUTHORIZED);
    assert_eq!(error, Error::NotAuthenticated { authority: Authority::SID.uid() });
    assert!(error.advice().unwrap().contains("firmware blocks it"));
}

#[test]
fn c15_activate_that_fails_leaves_the_session_usable() {
    let mut script = Script::new([opened(), fails(Status::FAIL), done(), ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<AdminSp>().open().unwrap();
    let error = session.activate(&Activation::default()).unwrap_err();
    assert!(error.advice().unwrap().contains("BIOS disk password"));
    session.set_pin(Authority::SID, &pin()).unwrap();
    session.close().unwrap();
}

#[test]
fn d1_locks_that_are_not_enabled_mean_nothing() {
    let locked = RangeState {
        read_locked: Some(true),
        write_locked: Some(true),
        read_lock_enabled: Some(false),
        write_lock_enabled: None,
        ..RangeState::default()
    };
    assert!(!locked.refuses_reads() && !locked.refuses_writes());
    let enabled =
        RangeState { read_lock_enabled: Some(true), write_lock_enabled: Some(true), ..locked };
    assert!(enabled.refuses_reads() && enabled.refuses_writes());
}

#[test]
fn d5_erase_outside_single_user_mode_is_refused_and_gen_key_does_it() {
    let key = opal::spec::locking::key_256(1);
    let range = row(|t| {
        t.named(locking::ACTIVE_KEY, |t| {
            t.uid(key);
        });
    });
    let mut script = Script::new([opened(), fails(Status::NOT_AUTHORIZED), range, done(), ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    let error = session.erase_single_user_range(1, &loss()).unwrap_err();
    assert_eq!(error.status(), Some(Status::NOT_AUTHORIZED));
    session.erase_range(1, &loss()).unwrap();
    session.close().unwrap();
    assert!(calls(&script.tokens(3), opal::spec::method::GEN_KEY));
}

#[test]
fn d10_an_empty_list_of_resets_is_never() {
    let resets = |numbers: &[u64]| {
        let numbers = numbers.to_vec();
        row(move |t| {
            for (column, value) in [(mbr_control::ENABLE, true), (mbr_control::DONE, true)] {
                t.named(column, |t| {
                    t.boolean(value);
                });
            }
            t.named(mbr_control::DONE_ON_RESET, |t| {
                t.list(|t| {
                    for number in &numbers {
                        t.uint(*number);
                    }
                });
            });
        })
    };
    let mut script =
        Script::new([opened(), resets(&[]), resets(&[0, 3]), resets(&[77, 0]), ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    let mut found = || session.mbr_control().unwrap().done_on_reset;
    assert_eq!(found(), ResetTypes::empty());
    assert_eq!(found(), ResetTypes::POWER_CYCLE | ResetTypes::PROGRAMMATIC);
    assert_eq!(found(), ResetTypes::POWER_CYCLE, "numbers beyond all resets are none");
    session.close().unwrap();
}
