// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine of the test's own: a TPM, a lockbox, and the `opalbox` command.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use opalbox::lockbox::provider::Unattended;
use opalbox::lockbox::{Lockbox, OpenOptions};
use serde_json::Value;

use crate::emulator::Emulator;
use crate::swtpm::Swtpm;

/// A machine with a TPM; everything it owns is below one temporary directory.
pub(crate) struct Machine {
    pub(crate) tpm: Swtpm,
    pub(crate) dir: tempfile::TempDir,
}

/// How a run of the command ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) arguments: Vec<String>,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Machine {
    /// A machine with a lockbox in its TPM. `None` if there is no software TPM: see [`Swtpm`].
    pub(crate) fn start() -> Option<Self> {
        let machine = Self::without_lockbox()?;
        machine.opalbox(&["lockbox", "init", "--pcrs", "7", "--tcti", &machine.tpm.tcti()]).ok();
        Some(machine)
    }

    pub(crate) fn without_lockbox() -> Option<Self> {
        // In /tmp, so that paths have the same length everywhere.
        let dir = tempfile::Builder::new().prefix("opalbox-").tempdir_in("/tmp").unwrap();
        Some(Self { tpm: Swtpm::start()?, dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// A factory-fresh drive beside it.
    pub(crate) fn drive(&self, serial: &str) -> Emulator {
        Emulator::start(self.path(), serial)
    }

    /// Runs the command without a terminal.
    pub(crate) fn opalbox(&self, arguments: &[&str]) -> Run {
        self.opalbox_fed(arguments, b"")
    }

    /// Runs the command with something on its standard input.
    pub(crate) fn opalbox_fed(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // It may be over before it reads.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input);
        Run::new(arguments, child.wait_with_output().unwrap())
    }

    /// Starts the command and leaves it running.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdin(Stdio::null()).spawn().unwrap()
    }

    /// Runs the command with `-o json` and gives the document of its success.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.opalbox(&[arguments, &["-o", "json"]].concat()).json()
    }

    /// This machine's lockbox, by the library.
    pub(crate) fn lockbox(&self) -> Lockbox {
        let options = OpenOptions { prompt: Arc::new(Unattended), ..OpenOptions::default() };
        Lockbox::open(&self.store(), options).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = opalbox();
        if !arguments.contains(&"--store") {
            command.arg("--store").arg(self.store());
        }
        command
            .args(arguments)
            .current_dir(self.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// The command, with an environment that a test controls.
pub(crate) fn opalbox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opalbox"));
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

impl Run {
    pub(crate) fn new(arguments: &[&str], output: Output) -> Self {
        Self {
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails the test unless the command succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// Fails the test unless the command left with that code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{:?}\n{}{}", self.arguments, self.out, self.err);
        self
    }

    /// The JSON document of a success.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        self.ok().document()
    }

    /// The JSON document, whatever the code.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        let document: Value = serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err));
        assert_eq!(document["version"], 1, "{}", self.out);
        document
    }
}
