// SPDX-License-Identifier: MIT OR Apache-2.0
//! SIGKILL of the real processes at random moments of `drive provision`: of the command, of the
//! emulated drive, of both. `SEED=` repeats the choices; the clock decides the rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::emulator::Emulator;
use crate::machine::{Machine, Run};
use crate::random::Random;

/// How long drives are killed.
const LIMIT: Duration = Duration::from_secs(45);
/// Attempts that may fail between two power cycles.
const BUDGET: u32 = 2;

#[test]
fn processes_die_at_random() {
    let Some(machine) = Machine::start() else { return };
    let mut random = Random::from_environment();
    let begin = Instant::now();
    // How long an undisturbed run takes on this machine, and that one is not disturbed.
    let calm = machine.drive("CALM0001");
    let device = calm.device();
    let started = Instant::now();
    machine.opalbox(&["drive", "provision", &device, "--yes-erase", "CALM0001"]).ok();
    let usual = started.elapsed();

    let mut kills = 0;
    let mut rounds = 0;
    while begin.elapsed() < LIMIT {
        let serial = format!("KILL{rounds:04}");
        let mut victim = Victim::new(&machine, &serial, random.seed());
        for _ in 0..random.below(4) + 1 {
            victim.attempt(&mut random, usual);
            kills += 1;
        }
        victim.finish();
        rounds += 1;
    }
    println!("{kills} kills on {rounds} drives, {usual:?} each undisturbed");
    assert!(rounds > 0);
    machine.opalbox(&["lockbox", "check"]).ok();
    machine.opalbox(&["drive", "verify", &device]).ok();
}

/// A drive that is being provisioned by processes that die.
struct Victim<'a> {
    machine: &'a Machine,
    drive: Emulator,
    /// What happened, for the report of a failure.
    story: String,
    /// One trace for each time that power came on.
    power: u32,
}

impl<'a> Victim<'a> {
    fn new(machine: &'a Machine, serial: &str, seed: u64) -> Self {
        let drive = machine.drive(serial);
        Self { machine, drive, story: format!("SEED={seed}, {serial}:"), power: 0 }
    }

    /// Starts the command and kills it, the drive, or both, some time later.
    fn attempt(&mut self, random: &mut Random, usual: Duration) {
        let after = usual.mul_f64(random.below(1200) as f64 / 1000.0);
        let whom = random.below(4);
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.machine.spawn(&arguments);
        thread::sleep(after);
        if whom >= 2 {
            self.drive.kill();
        }
        if whom != 2 {
            let _ = command.kill();
        }
        let output = command.wait_with_output().unwrap();
        self.story.push_str(&format!(" {after:?} {} ", ["C", "C", "D", "CD"][whom as usize]));
        let run = Run::new(&arguments, output);
        self.story.push_str(&run.code.map_or("killed;".to_owned(), |code| format!("exit {code};")));
        if whom >= 2 {
            self.power_on();
        } else if run.code == Some(10) {
            self.drive.power_cycle();
            self.power += 1;
        }
        self.check_attempts();
    }

    /// Running it again finishes: at once, or after the power cycle that it asks for.
    fn finish(&mut self) {
        let mut run = self.run();
        if run.code == Some(10) {
            self.drive.power_cycle();
            self.power += 1;
            run = self.run();
        }
        assert_eq!(run.code, Some(0), "{}\n{}{}", self.story, run.out, run.err);
        self.check_attempts();
        let device = self.drive.device();
        let verify = self.machine.opalbox(&["drive", "verify", &device]);
        assert_eq!(verify.code, Some(0), "{}\n{}{}", self.story, verify.out, verify.err);
        // A range that a power cut has locked stays locked.
        self.machine.opalbox(&["unlock", &device]).ok();
        self.drive.write(100, 0x99);
        self.drive.power_cycle();
        assert_eq!(self.drive.read(100), None, "{}", self.story);
        self.machine.opalbox(&["unlock", &device]).ok();
        assert_eq!(self.drive.read(100).unwrap(), [0x99; 512], "{}", self.story);
    }

    fn power_on(&mut self) {
        self.drive.power_on();
        self.power += 1;
    }

    fn run(&self) -> Run {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.machine.opalbox(&arguments)
    }

    fn arguments(&self) -> Vec<String> {
        let device = self.drive.device();
        let trace = self.trace();
        let trace = trace.to_str().unwrap();
        ["drive", "provision", &device, "--yes-erase", &self.drive.serial, "--trace-wire", trace]
            .map(str::to_owned)
            .to_vec()
    }

    fn trace(&self) -> std::path::PathBuf {
        self.machine.path().join(format!("{}-{}.trace", self.drive.serial, self.power))
    }

    fn check_attempts(&self) {
        let wrong = wrong_attempts(&self.trace());
        assert!(wrong.values().all(|n| *n <= BUDGET), "{}: {wrong:?}", self.story);
    }
}

/// Refused attempts in a trace, by authority.
fn wrong_attempts(trace: &Path) -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    let mut wrong = BTreeMap::new();
    let mut authority = String::new();
    let mut authenticating = false;
    for line in text.lines().map(str::trim) {
        if line.contains("StartSession") || line.ends_with(".Authenticate") {
            authenticating = true;
            authority.clear();
        } else if let Some(name) = line
            .strip_prefix("HostSigningAuthority (0x3) = ")
            .or_else(|| line.strip_prefix("Authority = "))
        {
            name.clone_into(&mut authority);
        } else if authenticating
            && !authority.is_empty()
            && (line.contains("SyncSession: NOT_AUTHORIZED") || line == "0 (False)")
        {
            *wrong.entry(authority.clone()).or_default() += 1;
            authenticating = false;
        }
    }
    wrong
}

/// The eye that counts is not blind.
#[test]
fn refused_attempts_are_seen_in_a_trace() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("SEEN0001");
    let device = drive.device();
    let label = machine.path().join("label");
    std::fs::write(&label, "0".repeat(32)).unwrap();
    let trace = machine.path().join("trace");
    let run = machine.opalbox(&[
        "drive",
        "revert",
        &device,
        "--psid",
        "--pin-file",
        label.to_str().unwrap(),
        "--yes-erase",
        "SEEN0001",
        "--trace-wire",
        trace.to_str().unwrap(),
    ]);
    let run = run.exits(2);
    assert!(run.err.contains("PSID") && run.err.contains("label"), "{run:?}");
    assert_eq!(wrong_attempts(&trace), BTreeMap::from([("PSID".to_owned(), 1)]));
}
