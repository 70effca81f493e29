// SPDX-License-Identifier: MIT OR Apache-2.0
//! The built programs of this workspace, found and run as a user would run them.

use std::env;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::artifacts::target_folder;
use crate::error::{Context as _, Error};

const READY_LIMIT: Duration = Duration::from_secs(20);

/// A built program: of `target/release` or `target/debug`, the newer of the two.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// Finds a binary or example.
    ///
    /// # Errors
    /// [`Error::Program`] when it is not built.
    pub fn find(name: &str) -> Result<Self, Error> {
        let target = target_folder();
        let built = ["debug", "release"]
            .iter()
            .flat_map(|profile| {
                [target.join(profile).join(name), target.join(profile).join("examples").join(name)]
            })
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .max();
        match built {
            Some((_, path)) => Ok(Self { path }),
            None => Err(Error::Program {
                name: name.to_owned(),
                looked: format!("{0}/debug and {0}/release", target.display()),
            }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it as a service and waits for the line of its output that begins with `ready`.
    ///
    /// # Errors
    /// [`Error::Service`] when that line does not come.
    pub fn serve(&self, arguments: &[&str], ready: &str) -> Result<Service, Error> {
        let log = tempfile::NamedTempFile::new().context("creating a service's log")?;
        let errors = log.reopen().context("opening a service's log")?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .context(format!("starting {}", self.path.display()))?;
        let output = child.stdout.take();
        let mut service = Service { child, log, lines: Vec::new() };
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // Reads to the end, so that the service never blocks on a full pipe.
            for line in BufReader::new(output?).lines() {
                let line = line.ok()?;
                // Nobody listens once it is ready.
                let _ = sender.send(line);
            }
            Some(())
        });
        let deadline = Instant::now() + READY_LIMIT;
        while !service.ready_line().starts_with(ready) {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => service.lines.push(line),
                Err(_) => {
                    let why = format!("no line {ready:?} within {READY_LIMIT:?}, or it ended");
                    let name = self.path.display().to_string();
                    let log = service.log();
                    return Err(Error::Service { name, why, log });
                }
            }
        }
        Ok(service)
    }
}

/// A running program; it ends with its owner.
#[derive(Debug)]
pub struct Service {
    child: Child,
    log: tempfile::NamedTempFile,
    lines: Vec<String>,
}

impl Service {
    /// The line by which it said that it is ready.
    #[must_use]
    pub fn ready_line(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    /// The line it printed, up to the ready one, that begins with `prefix`.
    #[must_use]
    pub fn line(&self, prefix: &str) -> Option<&str> {
        self.lines.iter().map(String::as_str).find(|line| line.starts_with(prefix))
    }

    /// What it wrote to its standard error.
    #[must_use]
    pub fn log(&self) -> String {
        let text = File::open(self.log.path()).and_then(std::io::read_to_string);
        text.unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Ends it as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a test whose program is not built may be left out: only outside CI, and never silently.
///
/// # Panics
/// With `CI=true`, where everything must be there.
#[must_use]
pub fn skip_at_home(test: &str, error: &Error) -> bool {
    let absent = matches!(error, Error::Program { .. });
    if !absent {
        return false;
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "{test}: {error}");
    // Not captured output: a skipped test must be seen.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("SKIPPED {test}: {error}\n").as_bytes(),
    );
    true
}
