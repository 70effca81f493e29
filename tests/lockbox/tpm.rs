// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TPM provider against software TPMs: theft, power cuts, the bus, changed boots.

use std::sync::Arc;

use opalbox::lockbox::provider::{ProviderConfig, ProviderError};
use opalbox::lockbox::tpm::{BootFacts, PcrChoice, TpmConfig, TpmError};
use opalbox::lockbox::{Error, InitOptions, Kind, Lockbox, OpenOptions, Origin};
use opalbox::secret::Secret;

use crate::support::{
    Answers, PIN, any_file_holds, copy_dir, holds, pin, place, reopen, tpm_provider,
};
use crate::swtpm::Swtpm;

#[test]
fn opens_again_in_a_new_process_and_after_a_power_cut() {
    let Some(tpm) = Swtpm::start() else { return };
    for admin_pin in [false, true] {
        let (_temp, dir) = place();
        let options = InitOptions::new(tpm_provider(&tpm, admin_pin), Answers::right());
        let lockbox = Lockbox::init(&dir, options).unwrap();
        lockbox.stage("drive", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
        drop(lockbox);
        tpm.power_cut();
        let lockbox = reopen(&dir);
        let secret = lockbox.credential_secret("drive", "SID", 1).unwrap();
        assert!(secret.matches(pin(1).expose()));
    }
}

#[test]
fn another_tpm_opens_nothing() {
    let (Some(tpm), Some(other)) = (Swtpm::start(), Swtpm::start()) else { return };
    let (_temp, dir) = place();
    let lockbox =
        Lockbox::init(&dir, InitOptions::new(tpm_provider(&tpm, false), Answers::right())).unwrap();
    lockbox.stage("drive", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    drop(lockbox);
    let stolen = open_on(&dir, &other);
    let error = stolen.credential_secret("drive", "SID", 1).err().unwrap();
    assert!(matches!(tpm_error(&error), TpmError::Foreign), "{error}");
    // Nor does one that has a lockbox of its own, with a parent key at the same handle.
    let (_temp2, dir2) = place();
    made(&dir2, &other, false);
    let error = open_on(&dir, &other).unlock().err().unwrap();
    assert!(matches!(tpm_error(&error), TpmError::Foreign), "{error}");
    assert!(error.advice().contains("machine the lockbox was made on"));
    // It takes both the store and the TPM.
    assert!(reopen(&dir).credential_secret("drive", "SID", 1).is_ok());
}

/// R3: the store copied away opens nothing; with the software TPM's state copied as well it does,
/// which is why such a TPM is warned about.
#[test]
fn a_copy_of_the_store_needs_the_tpms_state() {
    let Some(tpm) = Swtpm::start() else { return };
    let (temp, dir) = place();
    let lockbox = made(&dir, &tpm, false);
    let copy = temp.path().join("copy");
    copy_dir(&dir, &copy);
    tpm.power_off();
    let error = reopen(&copy).unlock().err().unwrap();
    assert!(matches!(tpm_error(&error), TpmError::Unreachable { .. } | TpmError::Refused { .. }));
    tpm.power_on();
    let warned = lockbox.status().unwrap().warnings;
    assert!(warned.iter().any(|w| w.contains("software one")), "{warned:?}");
    let clone = tpm.cloned();
    assert!(open_on(&copy, &clone).credential_secret("drive", "SID", 1).is_ok());
}

#[test]
fn a_changed_boot_is_refused_named_and_can_be_approved() {
    let Some(tpm) = Swtpm::start() else { return };
    for admin_pin in [false, true] {
        let (_temp, dir) = place();
        drop(made(&dir, &tpm, admin_pin));
        tpm.extend_pcr(0);
        reopen(&dir).unlock().expect("PCR 0 is not among the selected");
        tpm.extend_pcr(8);
        let error = reopen(&dir).unlock().err().unwrap();
        assert_eq!(tpm_error(&error), &TpmError::NotApproved { changed: vec![8] });
        assert!(error.to_string().contains("PCR 8"), "{error}");
        assert!(error.advice().contains("enroll"));

        reopen(&dir).enroll().unwrap();
        assert!(reopen(&dir).credential_secret("drive", "SID", 1).is_ok());
        tpm.power_cut();
        assert!(reopen(&dir).unlock().is_ok(), "the first approval still stands");
        tpm.extend_pcr(8);
        assert!(reopen(&dir).unlock().is_ok(), "and so does the second");
        tpm.extend_pcr(9);
        let error = reopen(&dir).unlock().err().unwrap();
        assert_eq!(tpm_error(&error), &TpmError::NotApproved { changed: vec![9] });
        tpm.power_cut();
    }
}

#[test]
fn approving_needs_the_pin() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    drop(made(&dir, &tpm, true));
    let with_pin = |pin| {
        let prompt = Arc::new(Answers { pin: Some(pin), ..Answers::default() });
        Lockbox::open(&dir, OpenOptions { prompt, ..OpenOptions::default() }).unwrap()
    };
    tpm.extend_pcr(4);
    for _ in 0..2 {
        let error = with_pin("000000").enroll().err().unwrap();
        assert!(matches!(error, Error::Provider(ProviderError::WrongPin)), "{error}");
        assert!(error.advice().contains("counts"));
    }
    let unattended = Lockbox::open(&dir, OpenOptions::default()).unwrap();
    assert!(unattended.unlock().is_err());
    // A third wrong one locks the PIN out, and nothing else.
    assert!(with_pin("000000").enroll().is_err());
    let error = with_pin(PIN).enroll().err().unwrap();
    assert!(matches!(tpm_error(&error), TpmError::Refused { code: 0x921, .. }), "{error}");
    assert!(error.advice().contains("lockout"));
    tpm.power_cut();
    assert!(unattended.credential_secret("drive", "SID", 1).is_ok(), "no person is needed");
}

/// With a PIN nobody can clear the TPM or take the owner hierarchy with an empty password; without
/// one they can, which status says.
#[test]
fn a_pin_takes_the_owner_and_lockout_authorisations() {
    let clear = |tpm: &Swtpm| {
        let mut body = 0x4000_000a_u32.to_be_bytes().to_vec();
        body.extend(crate::swtpm::PASSWORD_SESSION);
        tpm.try_command(0x8002, 0x126, &body)
    };
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    let lockbox = made(&dir, &tpm, true);
    assert_ne!(clear(&tpm), 0);
    assert!(!lockbox.status().unwrap().warnings.iter().any(|w| w.contains("No administrator")));
    assert!(reopen(&dir).unlock().is_ok());
    let status = lockbox.status().unwrap().tpm.unwrap();
    assert!(status.admin_box);
    assert_eq!(status.parent.as_deref(), Some("0x81010b01"));
    assert_eq!((status.approved_states, status.slots.len()), (1, 2));
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    let lockbox = made(&dir, &tpm, false);
    assert!(lockbox.status().unwrap().warnings.iter().any(|w| w.contains("No administrator")));
    assert_eq!(clear(&tpm), 0);
    let error = reopen(&dir).unlock().err().unwrap();
    assert!(matches!(tpm_error(&error), TpmError::Foreign), "{error}");
    assert!(!reopen(&dir).check().unwrap().ok);
}

#[test]
fn a_second_lockbox_on_a_taken_tpm_is_refused_before_anything_changes() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    drop(made(&dir, &tpm, true));
    let (_temp2, dir2) = place();
    let options = InitOptions::new(tpm_provider(&tpm, true), Answers::right());
    let error = Lockbox::init(&dir2, options).err().unwrap();
    assert!(matches!(tpm_error(&error), TpmError::OwnerTaken), "{error}");
    assert!(reopen(&dir).unlock().is_ok());
}

/// The whole way through the facade: no secret in any file, none on the bus.
#[test]
fn neither_files_nor_bus_hold_a_secret() {
    let Some(tpm) = Swtpm::start() else { return };
    let (temp, dir) = place();
    let lockbox =
        Lockbox::init(&dir, InitOptions::new(tpm_provider(&tpm, true), Answers::right())).unwrap();
    let secrets: Vec<Secret> = (0..10).map(|_| Secret::random(32).unwrap()).collect();
    for (n, secret) in secrets.iter().enumerate() {
        let owner = format!("S{n}");
        lockbox.stage(&owner, "SID", Kind::DrivePin, secret, Origin::Generated).unwrap();
        lockbox.relock();
        lockbox.credential_secret(&owner, "SID", 1).unwrap();
    }
    let recording = tpm.take_recording();
    assert!(recording.len() > 20_000);
    // Commands as such are seen: TPM2_HMAC's header.
    assert!(holds(&recording, &[0, 0, 1, 0x55]), "the control: the scan sees what is there");
    for secret in &secrets {
        assert!(!holds(&recording, &secret.expose()[..16]));
        assert!(!any_file_holds(temp.path(), &secret.expose()[..16]));
    }
    assert!(!holds(&recording, PIN.as_bytes()) && !any_file_holds(temp.path(), PIN.as_bytes()));
}

#[test]
fn pcrs_that_protect_nothing_are_refused() {
    let Some(tpm) = Swtpm::start() else { return };
    let tcti: opalbox::lockbox::tpm::Tcti = tpm.tcti().parse().unwrap();
    let choose = |text: &str| {
        let given = PcrChoice::Given(text.parse().unwrap());
        TpmConfig::choose(tcti.clone(), given, BootFacts::default(), false)
    };
    assert!(choose("sha384:7").is_ok());
    let chosen =
        TpmConfig::choose(tcti.clone(), PcrChoice::Default, BootFacts::default(), false).unwrap();
    assert_eq!(chosen.pcrs.to_string(), "sha256:4,7,8,9");
    tpm.extend_pcr(11);
    let chosen =
        TpmConfig::choose(tcti.clone(), PcrChoice::Default, BootFacts::default(), false).unwrap();
    assert_eq!(chosen.pcrs.to_string(), "sha256:7,11,14");
    // More PCRs than a TPM tells at a time.
    assert!(choose("0,1,2,3,4,5,6,7,8,9,10,11,12").is_ok());
}

#[test]
fn another_pcr_selection_works_from_end_to_end() {
    let Some(tpm) = Swtpm::start() else { return };
    let given = PcrChoice::Given("sha384:0,1,2,3,4,5,6,7,8,9,10,11".parse().unwrap());
    let tcti = tpm.tcti().parse().unwrap();
    let config = TpmConfig::choose(tcti, given, BootFacts::default(), false).unwrap();
    let (_temp, dir) = place();
    let options = InitOptions::new(ProviderConfig::Tpm(config), Answers::right());
    drop(Lockbox::init(&dir, options).unwrap());
    assert!(reopen(&dir).unlock().is_ok());
    tpm.extend_pcr(11);
    assert!(reopen(&dir).unlock().is_ok(), "only the SHA-256 bank was extended");
}

#[test]
fn an_absent_tpm_is_said_so() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let tcti = format!("swtpm:host=127.0.0.1,port={port}").parse().unwrap();
    let error = TpmConfig::choose(tcti, PcrChoice::Default, BootFacts::default(), false);
    let error = error.err().unwrap();
    assert!(matches!(error, TpmError::Unreachable { .. }), "{error}");
    assert!(error.advice().contains("--tcti"));
    let device = "device:/nonexistent/tpmrm0".parse().unwrap();
    let error = TpmConfig::choose(device, PcrChoice::Default, BootFacts::default(), false);
    assert!(matches!(error.err().unwrap(), TpmError::Unreachable { .. }));
}

fn made(dir: &std::path::Path, tpm: &Swtpm, admin_pin: bool) -> Lockbox {
    let options = InitOptions::new(tpm_provider(tpm, admin_pin), Answers::right());
    let lockbox = Lockbox::init(dir, options).unwrap();
    lockbox.stage("drive", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    lockbox
}

fn open_on(dir: &std::path::Path, tpm: &Swtpm) -> Lockbox {
    let tcti = Some(tpm.tcti().parse().unwrap());
    Lockbox::open(dir, OpenOptions { tcti, ..OpenOptions::default() }).unwrap()
}

fn tpm_error(error: &Error) -> &TpmError {
    match error {
        Error::Provider(ProviderError::Tpm(error)) => error,
        other => panic!("{other}"),
    }
}
