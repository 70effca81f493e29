// SPDX-License-Identifier: MIT OR Apache-2.0
//! After a drive's life every file, log, trace, output and process listing is searched for its
//! PINs, in the forms that a careless program would leave them in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Child;

use opalbox::lockbox::{Lockbox, Origin};

use crate::machine::{Machine, Run};

#[test]
fn no_pin_is_left_anywhere() {
    let Some(machine) = Machine::start() else { return };
    let drive = machine.drive("SCAN0001");
    let device = drive.device();
    let trace = machine.path().join("trace");
    let mut search = Search::default();
    let run = |search: &mut Search, arguments: &[&str]| {
        let traced = ["-vv", "--trace-wire", trace.to_str().unwrap()];
        let all: Vec<&str> = arguments.iter().copied().chain(traced).collect();
        let child = machine.spawn(&all);
        let run = search.watch(&all, child).ok();
        search.texts.push((format!("output of {arguments:?}"), run.out.into_bytes()));
        search.texts.push((format!("words of {arguments:?}"), run.err.into_bytes()));
    };

    run(
        &mut search,
        &["drive", "provision", &device, "--yes-erase", "SCAN0001", "--range", "0+8M"],
    );
    run(&mut search, &["range", "create", &device, "2", "8M+8M", "--yes-erase", "SCAN0001"]);
    drive.power_cycle();
    for arguments in [
        &["unlock"][..],
        &["drive", "verify", &device],
        &["drive", "doctor", &device],
        &["drive", "show", &device, "-o", "json"],
        &["range", "list", &device],
        &["range", "lock", &device],
        &["key", "show", "-o", "json"],
        &["lockbox", "check"],
        &["lockbox", "status", "-o", "json"],
    ] {
        run(&mut search, arguments);
    }
    search.learn(&machine.lockbox(), "drive/SCAN0001");
    assert_eq!(search.secrets.len(), 4, "SID, Admin1, User1, User2");
    let label = machine.path().join("label");
    std::fs::write(&label, &drive.psid).unwrap();
    search.secrets.push(("PSID".into(), drive.psid.clone().into_bytes()));
    search.read_all(machine.path(), &label);

    // What a revert destroys is gone from the store as well.
    let label = label.to_str().unwrap().to_owned();
    let revert = ["drive", "revert", &device, "--psid", "--pin-file", &label];
    run(&mut search, &[&revert[..], &["--yes-erase", "SCAN0001"]].concat());
    search.read_all(machine.path(), Path::new(&label));
    search.read_processes();

    assert!(search.seen > 12, "only {} process listings were seen", search.seen);
    let found = search.found();
    assert!(found.is_empty(), "{found:#?}");
    println!("{} places, {} listings", search.texts.len(), search.seen);
}

/// The search finds what is there.
#[test]
fn the_search_is_not_blind() {
    let folder = tempfile::tempdir().unwrap();
    let secret = b"0123456789abcdefghijklmnopqrstuv";
    let nothing = Path::new("/nonexistent");
    for form in forms(secret) {
        let path = folder.path().join("deep");
        std::fs::write(&path, [b"before", &form[..], b"after"].concat()).unwrap();
        let mut search = Search { secrets: vec![("x".into(), secret.to_vec())], ..<_>::default() };
        search.read_all(folder.path(), nothing);
        assert_eq!(search.found().len(), 1, "{:?}", String::from_utf8_lossy(&form));
        search.read_all(folder.path(), &path);
    }
}

/// What is searched for, and what has been gathered to search in.
#[derive(Default)]
struct Search {
    secrets: Vec<(String, Vec<u8>)>,
    texts: Vec<(String, Vec<u8>)>,
    /// Process listings that were read while their process lived.
    seen: usize,
}

impl Search {
    /// Takes the secret of every version that is not public.
    fn learn(&mut self, lockbox: &Lockbox, owner: &str) {
        let mut known = BTreeSet::new();
        for credential in lockbox.credentials(owner).unwrap() {
            for version in &credential.versions {
                // The MSID can be read by anyone; an empty PIN is everywhere.
                if matches!(version.origin, Origin::FactoryMsid | Origin::Empty)
                    || credential.version(version.number).is_none()
                {
                    continue;
                }
                let role = &credential.role;
                let secret = lockbox.credential_secret(owner, role, version.number).unwrap();
                // Admin1's first PIN is a copy of SID's.
                if known.insert(secret.expose().to_vec()) {
                    let name = format!("{role} version {}", version.number);
                    self.secrets.push((name, secret.expose().to_vec()));
                }
            }
        }
    }

    /// Reads the command line and the environment of a process until it ends.
    fn watch(&mut self, arguments: &[&str], mut child: Child) -> Run {
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let read = |from: &mut dyn std::io::Read| {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let (stdout, stderr) = std::thread::scope(|scope| {
            let out = scope.spawn(|| read(&mut out));
            let err = scope.spawn(|| read(&mut err));
            while child.try_wait().unwrap().is_none() {
                self.read_process(child.id());
                // The TPM library runs in a child of its own.
                let children = format!("/proc/{0}/task/{0}/children", child.id());
                for pid in std::fs::read_to_string(children).unwrap_or_default().split(' ') {
                    if let Ok(pid) = pid.parse() {
                        self.read_process(pid);
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            (out.join().unwrap(), err.join().unwrap())
        });
        let status = child.wait().unwrap();
        Run::new(arguments, std::process::Output { status, stdout, stderr })
    }

    fn read_process(&mut self, pid: u32) {
        for what in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{what}");
            // It ends when it likes.
            if let Ok(bytes) = std::fs::read(&path)
                && !bytes.is_empty()
            {
                self.seen += 1;
                let known = self.texts.iter().any(|(name, text)| *name == path && *text == bytes);
                if !known {
                    self.texts.push((path, bytes));
                }
            }
        }
    }

    /// Every process of this machine that can be read.
    fn read_processes(&mut self) {
        for entry in std::fs::read_dir("/proc").unwrap() {
            let name = entry.unwrap().file_name();
            if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
                self.read_process(pid);
            }
        }
    }

    /// Every file below `folder` but `except`.
    fn read_all(&mut self, folder: &Path, except: &Path) {
        for path in files(folder) {
            if path != except {
                let bytes = without_empty_pages(&std::fs::read(&path).unwrap());
                self.texts.push((path.display().to_string(), bytes));
            }
        }
    }

    fn found(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (name, secret) in &self.secrets {
            for form in forms(secret) {
                for (place, text) in &self.texts {
                    if holds(text, &form) {
                        found.insert(format!("{name} in {place}"));
                    }
                }
            }
        }
        found
    }
}

/// As it is, in hexadecimal, and as numbers in a list.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let joined = |format: fn(&u8) -> String, between: &str| {
        secret.iter().map(format).collect::<Vec<_>>().join(between).into_bytes()
    };
    vec![
        secret.to_vec(),
        secret.iter().rev().copied().collect(),
        joined(|byte| format!("{byte:02x}"), ""),
        joined(|byte| format!("{byte:02X}"), ""),
        joined(|byte| format!("{byte:02x}"), " "),
        joined(|byte| format!("{byte:02X}"), " "),
        joined(u8::to_string, ", "),
        joined(u8::to_string, ","),
        // Half of it is too much as well.
        secret[..secret.len() / 2].to_vec(),
        secret[secret.len() / 2..].to_vec(),
    ]
}

fn holds(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// Zeros make up most of an image: no secret is in them.
fn without_empty_pages(bytes: &[u8]) -> Vec<u8> {
    const EMPTY: [u8; 4096] = [0; 4096];
    bytes.chunks(4096).filter(|page| *page != &EMPTY[..page.len()]).flatten().copied().collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}
