// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TPM provider against software TPMs: theft, power cuts, the bus, changed boots.

use opalbox::lockbox::{Error, InitOptions, Kind, Lockbox, Origin};

use crate::support::{Answers, pin, place, reopen, tpm_provider};
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
    let options = opalbox::lockbox::OpenOptions {
        tcti: Some(other.tcti().parse().unwrap()),
        ..Default::default()
    };
    let stolen = Lockbox::open(&dir, options).unwrap();
    let error = stolen.credential_secret("drive", "SID", 1).err().unwrap();
    assert!(matches!(error, Error::Provider(_)), "{error}");
    assert!(error.to_string().contains("not the TPM"), "{error}");
}

#[test]
fn timing_probe() {
    let t = std::time::Instant::now();
    let Some(tpm) = Swtpm::start() else { return };
    let provider = tpm_provider(&tpm, true);
    eprintln!("start+choose {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let (_temp, dir) = place();
    let lockbox = Lockbox::init(&dir, InitOptions::new(provider, Answers::right())).unwrap();
    eprintln!("init {:?} {} commands", t.elapsed(), tpm.take_commands().len());
    let t = std::time::Instant::now();
    tpm.power_cut();
    eprintln!("cut {:?}", t.elapsed());
    let t = std::time::Instant::now();
    reopen(&dir).unlock().unwrap();
    eprintln!("unlock {:?}", t.elapsed());
    let t = std::time::Instant::now();
    lockbox.enroll().unwrap();
    eprintln!("enroll {:?}", t.elapsed());
    let t = std::time::Instant::now();
    lockbox.relock();
    lockbox.unlock().unwrap();
    eprintln!("unlock {:?}", t.elapsed());
}
