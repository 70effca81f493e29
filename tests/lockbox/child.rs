// SPDX-License-Identifier: MIT OR Apache-2.0
//! Conversations with the TPM in a child process: same results, same errors, bounded, silent.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use opalbox::lockbox::provider::ProviderError;
use opalbox::lockbox::tpm::{BootFacts, ChildProgram, PcrChoice, TpmConfig, TpmError, TpmRunner};
use opalbox::lockbox::{Error, InitOptions, Kind, Lockbox, OpenOptions, Origin};

use crate::support::{Answers, PIN, pin, place, tpm_provider};
use crate::swtpm::Swtpm;

fn child() -> TpmRunner {
    TpmRunner::Child(ChildProgram::new(Path::new(env!("CARGO_BIN_EXE_opalbox"))))
}

fn init(dir: &Path, tpm: &Swtpm, admin_pin: bool) -> Result<Lockbox, Error> {
    let mut options = InitOptions::new(tpm_provider(tpm, admin_pin), Answers::right());
    options.runner = child();
    Lockbox::init(dir, options)
}

fn open(dir: &Path, runner: TpmRunner, pin: &'static str) -> Lockbox {
    let prompt = Arc::new(Answers { pin: Some(pin), ..Answers::default() });
    Lockbox::open(dir, OpenOptions { prompt, runner, ..OpenOptions::default() }).unwrap()
}

fn tpm_error(error: Error) -> TpmError {
    match error {
        Error::Provider(ProviderError::Tpm(error)) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn the_child_does_what_this_process_does() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    let lockbox = init(&dir, &tpm, true).unwrap();
    lockbox.stage("drive", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    lockbox.activate("drive", "SID", 1, None).unwrap();
    drop(lockbox);
    tpm.power_cut();
    for runner in [child(), TpmRunner::InProcess] {
        let lockbox = open(&dir, runner, PIN);
        let secret = lockbox.credential_secret("drive", "SID", 1).unwrap();
        assert!(secret.matches(pin(1).expose()));
        assert!(lockbox.check().unwrap().ok);
    }
    // Errors keep their kind, their code and what they name.
    tpm.extend_pcr(8);
    let error = open(&dir, child(), PIN).unlock().err().unwrap();
    assert_eq!(tpm_error(error), TpmError::NotApproved { changed: vec![8] });
    let error = open(&dir, child(), "000000").enroll().err().unwrap();
    assert!(matches!(error, Error::Provider(ProviderError::WrongPin)), "{error}");
    open(&dir, child(), PIN).enroll().unwrap();
    open(&dir, child(), PIN).unlock().unwrap();
    let unattended = OpenOptions { runner: child(), ..OpenOptions::default() };
    let error = Lockbox::open(&dir, unattended).unwrap().enroll().err().unwrap();
    assert!(matches!(error, Error::Provider(ProviderError::Prompt(_))), "{error}");
    tpm.power_off();
    let error = open(&dir, child(), PIN).unlock().err().unwrap();
    let here = open(&dir, TpmRunner::InProcess, PIN).unlock().err().unwrap();
    assert_eq!(tpm_error(error), tpm_error(here));
}

#[test]
fn a_tpm_that_hangs_is_given_up() {
    let Some(tpm) = Swtpm::start() else { return };
    let (_temp, dir) = place();
    drop(init(&dir, &tpm, false).unwrap());
    tpm.meddle(|_, _| std::thread::sleep(Duration::from_secs(5)));
    let program = ChildProgram::new(Path::new(env!("CARGO_BIN_EXE_opalbox")))
        .with_patience(Duration::from_millis(700));
    let start = Instant::now();
    let error = open(&dir, TpmRunner::Child(program), PIN).unlock().err().unwrap();
    assert!(matches!(tpm_error(error), TpmError::TimedOut(_)));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    tpm.meddle_no_more();
}

#[test]
fn a_child_that_is_none_is_said_so() {
    let Some(tpm) = Swtpm::start() else { return };
    for (program, words) in [
        ("/nonexistent/opalbox", "could not be started"),
        ("/bin/false", "ended without an answer"),
        ("/bin/echo", "too long"),
    ] {
        let runner = TpmRunner::Child(ChildProgram::new(Path::new(program)));
        let tcti = tpm.tcti().parse().unwrap();
        let chosen =
            TpmConfig::choose_by(&runner, tcti, PcrChoice::Default, BootFacts::default(), false);
        let error = chosen.err().unwrap();
        assert!(matches!(error, TpmError::Helper(_)), "{program}: {error}");
        // It may be gone before it was spoken to.
        let said = error.to_string();
        let gone = program != "/nonexistent/opalbox" && said.contains("ended without an answer");
        assert!(said.contains(words) || gone, "{program}: {said}");
    }
}

/// `WARNING:esys:` and the like reach nobody, in normal work and in refusals that are expected.
#[test]
fn the_command_prints_no_word_of_the_tpm_library() {
    let Some(tpm) = Swtpm::start() else { return };
    let (temp, dir) = place();
    let (right, wrong) = (temp.path().join("right"), temp.path().join("wrong"));
    std::fs::write(&right, PIN).unwrap();
    std::fs::write(&wrong, "000000").unwrap();
    let run = |arguments: &[&str]| -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_opalbox"))
            .args(["--store".as_ref(), dir.as_os_str()])
            .args(["--tcti", &tpm.tcti()])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        for word in ["esys", "tcti:", "tss_esapi", "warning:", "error tss", "fapi"] {
            assert!(!said.contains(word), "{arguments:?}: {said}");
        }
        output
    };
    let right = right.to_str().unwrap();
    let done = run(&["lockbox", "init", "--admin-pin", "--pin-file", right]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stdout).contains("counted by the TPM"));
    assert!(run(&["lockbox", "check"]).status.success());
    tpm.extend_pcr(9);
    let refused = run(&["lockbox", "check"]);
    assert!(String::from_utf8_lossy(&refused.stdout).contains("PCR 9"));
    assert!(!run(&["lockbox", "enroll", "--pin-file", wrong.to_str().unwrap()]).status.success());
    let done = run(&["lockbox", "enroll", "--pin-file", right]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stdout).contains("2 boot state"));
    assert!(run(&["lockbox", "check"]).status.success());
    tpm.power_off();
    assert!(!run(&["lockbox", "check"]).status.success());
}
