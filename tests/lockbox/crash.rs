// SPDX-License-Identifier: MIT OR Apache-2.0
//! The power fails before and after every durable write of every operation: running it again
//! finishes the job, and no secret that was acknowledged is lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use opalbox::lockbox::provider::ProviderConfig;
use opalbox::lockbox::{
    Error, Faults, InitOptions, JournalProblem, Kind, Lockbox, OpenOptions, Origin,
};

use crate::support::{Answers, file_provider, pin, place, reopen, tpm_provider};
use crate::swtpm::Swtpm;

/// Stops at the `n`th point.
fn cut_at(n: usize) -> Faults {
    let reached = AtomicUsize::new(0);
    Faults::when(move |_| reached.fetch_add(1, Ordering::SeqCst) == n)
}

fn init(dir: &Path, provider: ProviderConfig, faults: Faults) -> Result<Lockbox, Error> {
    let options = InitOptions { faults, ..InitOptions::new(provider, Answers::right()) };
    Lockbox::init(dir, options)
}

fn open(dir: &Path, faults: Faults) -> Lockbox {
    let options = OpenOptions { prompt: Answers::right(), faults, ..OpenOptions::default() };
    Lockbox::open(dir, options).unwrap()
}

/// Cuts `init` at every `step`th point in turn until one run gets through; gives that number.
fn every_cut_of_init(provider: &ProviderConfig, step: usize, mut after_cut: impl FnMut()) -> usize {
    for n in (0..).step_by(step) {
        let (_temp, dir) = place();
        let faults = cut_at(n);
        match init(&dir, provider.clone(), faults) {
            Err(Error::Interrupted(_)) => after_cut(),
            Err(other) => panic!("cut {n}: {other}"),
            Ok(_) => return n,
        }
        let finished = match init(&dir, provider.clone(), Faults::none()) {
            // The very last point is after everything was done.
            Err(Error::Exists(_)) => reopen(&dir),
            other => other.unwrap_or_else(|e| panic!("after cut {n}: {e}: {}", e.advice())),
        };
        finished.stage("S1", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
        drop(finished);
        let secret = reopen(&dir).credential_secret("S1", "SID", 1).unwrap();
        assert!(secret.matches(pin(1).expose()), "cut {n}");
    }
    unreachable!()
}

#[test]
fn init_with_a_passphrase() {
    assert_eq!(every_cut_of_init(&file_provider(), 1, || {}), 6);
}

/// Every NV index and persistent handle that a cut leaves behind is one that the next run uses:
/// the TPM holds two slots and a counter for each lockbox, and one parent.
#[test]
fn init_with_a_tpm() {
    let Some(tpm) = Swtpm::start() else { return };
    let provider = tpm_provider(&tpm, false);
    let mut power = 0;
    // The test with a PIN passes through all of these points and more.
    let points = every_cut_of_init(&provider, 3, || {
        // Every other cut takes the TPM's power as well.
        power += 1;
        if power % 2 == 0 {
            tpm.power_cut();
        }
    });
    assert!(points > 30, "{points}");
    let boxes = points as u32 / 3 + 1;
    assert_eq!(handles(&tpm, 0x0100_0000), 3 * boxes);
    assert_eq!(handles(&tpm, 0x8100_0000), 1);
}

/// With a PIN the owner and lockout authorisations change hands; each cut gets a TPM of its own.
/// Every durable write, in the TPM too, is between two points, so the state after one write is
/// the state before the next: cutting before each covers both.
#[test]
fn init_with_a_tpm_and_pin() {
    let mut n = 0;
    loop {
        let Some(tpm) = Swtpm::start() else { return };
        let provider = tpm_provider(&tpm, true);
        let (_temp, dir) = place();
        let before = AtomicUsize::new(0);
        let faults =
            Faults::when(move |p| !p.written && before.fetch_add(1, Ordering::SeqCst) == n);
        let cut = match init(&dir, provider.clone(), faults) {
            Ok(_) => false,
            Err(Error::Interrupted(_)) => true,
            Err(other) => panic!("cut {n}: {other}"),
        };
        if !cut {
            break;
        }
        tpm.power_cut();
        match init(&dir, provider, Faults::none()) {
            Ok(_) | Err(Error::Exists(_)) => {}
            Err(error) => panic!("after cut {n}: {error}: {}", error.advice()),
        }
        reopen(&dir).enroll().unwrap_or_else(|e| panic!("owner auth lost at cut {n}: {e}"));
        assert_eq!((handles(&tpm, 0x0100_0000), handles(&tpm, 0x8100_0000)), (3, 1), "cut {n}");
        n += 1;
    }
    assert!(n > 20, "{n}");
}

/// SIGKILL of the TPM at each command of init and of opening.
#[test]
fn the_tpm_dies_at_every_command() {
    let Some(tpm) = Swtpm::start() else { return };
    let provider = tpm_provider(&tpm, false);
    let (_temp, done) = place();
    drop(init(&done, provider.clone(), Faults::none()).unwrap());
    reopen(&done).stage("S1", "SID", Kind::DrivePin, &pin(1), Origin::Generated).unwrap();
    tpm.take_commands();
    reopen(&done).unlock().unwrap();
    let commands = tpm.take_commands().len();
    assert_eq!(commands, 12, "one TPM conversation of twelve commands opens a domain");
    for n in 0..commands {
        tpm.cut_at_command(n);
        assert!(reopen(&done).unlock().is_err(), "command {n}");
        tpm.meddle_no_more();
        tpm.power_on();
        let secret = reopen(&done).credential_secret("S1", "SID", 1).unwrap();
        assert!(secret.matches(pin(1).expose()), "command {n}");
    }
    for n in (0..).step_by(5) {
        let (_temp, dir) = place();
        tpm.cut_at_command(n);
        let cut = init(&dir, provider.clone(), Faults::none()).is_err();
        tpm.meddle_no_more();
        if !cut {
            assert!(n > 40, "{n}");
            break;
        }
        tpm.power_on();
        init(&dir, provider.clone(), Faults::none())
            .unwrap_or_else(|e| panic!("after command {n}: {e}: {}", e.advice()));
    }
}

/// A whole life of a credential, cut at every point, each step run again as its caller would.
#[test]
fn every_step_of_a_credentials_life() {
    let mut n = 0;
    loop {
        let (_temp, dir) = place();
        drop(init(&dir, file_provider(), Faults::none()).unwrap());
        let faults = cut_at(n);
        let cut = match life(&open(&dir, faults)) {
            Ok(()) => false,
            Err(Error::Interrupted(_)) => true,
            Err(other) => panic!("cut {n}: {other}"),
        };
        // The store is whole at every point, and what was acknowledged opens.
        let lockbox = reopen(&dir);
        let check = lockbox.check().unwrap();
        assert!(check.ok, "cut {n}: {check:?}");
        for credential in lockbox.credentials("S1").unwrap() {
            for number in credential.candidates() {
                let secret = lockbox.credential_secret("S1", &credential.role, number).unwrap();
                assert!(secret.matches(pin(number as u8).expose()), "cut {n}");
            }
        }
        life(&lockbox).unwrap_or_else(|e| panic!("again after cut {n}: {e}"));
        assert!(lockbox.owners().unwrap().is_empty());
        assert!(lockbox.check().unwrap().ok);
        if !cut {
            break;
        }
        n += 1;
    }
    assert!(n >= 24, "{n} points");
}

/// Goes on from wherever the lockbox stands, as a manager does.
fn life(lockbox: &Lockbox) -> Result<(), Error> {
    let (owner, role) = ("S1", "SID");
    let state = || lockbox.credential(owner, role);
    let kind = Kind::DrivePin;
    if state()?.is_none() {
        lockbox.stage(owner, role, kind, &pin(0), Origin::FactoryMsid)?;
    }
    if state()?.is_some_and(|c| c.active.is_none()) {
        lockbox.activate(owner, role, 0, Some(1))?;
    }
    let key = match state()? {
        Some(credential) => credential.key_id,
        None => return Err(Error::Input("the credential is lost".into())),
    };
    lockbox.asset_put("S1/range1", key, BTreeMap::new())?;
    if state()?.is_some_and(|c| c.active == Some(0)) {
        match lockbox.stage(owner, role, kind, &pin(1), Origin::Generated) {
            Ok(_) => {}
            Err(Error::Journal {
                problem: JournalProblem::AlreadyStaged(1) | JournalProblem::Unresolved,
                ..
            }) => {}
            Err(other) => return Err(other),
        }
        lockbox.mark_set_issued(owner, role)?;
        lockbox.note_attempt(owner, role, Some(1))?;
        lockbox.activate(owner, role, 1, Some(1))?;
    }
    lockbox.clear_attempts(owner, role, Some(2))?;
    lockbox.retire_superseded(owner, role)?;
    if state()?.is_some_and(|c| c.staged.is_none()) {
        lockbox.stage(owner, role, kind, &pin(2), Origin::Generated)?;
    }
    lockbox.abandon_staged(owner, role)?;
    lockbox.asset_remove("S1/range1")?;
    lockbox.forget_with_assets(owner)
}

const CHILD: &str = "OPALBOX_TEST_KILL_AT";

/// Not a test of its own: the process that [`a_killed_process_loses_nothing`] kills.
#[test]
fn killed_child() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let (n, dir) = text.split_once(' ').unwrap();
    let n: usize = n.parse().unwrap();
    let counter = AtomicUsize::new(0);
    let faults = Faults::when(move |_| {
        if counter.fetch_add(1, Ordering::SeqCst) == n {
            let me = nix::unistd::Pid::this();
            nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        false
    });
    let dir = Path::new(dir);
    let lockbox = match init(dir, file_provider(), faults.clone()) {
        Err(Error::Exists(_)) => open(dir, faults),
        other => other.unwrap(),
    };
    life(&lockbox).unwrap();
}

/// Real SIGKILLs at every point of init and of a credential's life, one after the other on the
/// same lockbox, each run going on where the last was killed.
#[test]
fn a_killed_process_loses_nothing() {
    let (_temp, dir) = place();
    let mut killed = 0;
    for n in 0..40 {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::killed_child", "--test-threads=1"])
            .env(CHILD, format!("{n} {}", dir.display()))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        if status.success() {
            break;
        }
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{n}");
        killed += 1;
        if let Ok(lockbox) =
            Lockbox::open(&dir, OpenOptions { prompt: Answers::right(), ..OpenOptions::default() })
        {
            assert!(lockbox.check().unwrap().ok, "after kill {n}");
        }
    }
    assert!(killed > 10, "{killed}");
    let lockbox = match init(&dir, file_provider(), Faults::none()) {
        Err(Error::Exists(_)) => reopen(&dir),
        other => other.unwrap(),
    };
    life(&lockbox).unwrap();
}

/// How many handles of a range the TPM has (TPM2_GetCapability, TPM_CAP_HANDLES).
fn handles(tpm: &Swtpm, first: u32) -> u32 {
    let mut body = 1_u32.to_be_bytes().to_vec();
    body.extend(first.to_be_bytes());
    body.extend(254_u32.to_be_bytes());
    let answer = tpm.command(0x8001, 0x17a, &body);
    let count = u32::from_be_bytes(answer[15..19].try_into().unwrap());
    let range = first & 0xff00_0000;
    let all = answer[19..].chunks_exact(4).take(count as usize);
    all.filter(|h| u32::from_be_bytes((*h).try_into().unwrap()) & 0xff00_0000 == range).count()
        as u32
}
