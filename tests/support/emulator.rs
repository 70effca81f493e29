// SPDX-License-Identifier: MIT OR Apache-2.0
//! An emulated drive of the test's own: `opal-emulator` as a process on temporary paths.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A drive: its image, its label, and the process that serves it while the power is on.
pub(crate) struct Emulator {
    image: PathBuf,
    socket: PathBuf,
    control: PathBuf,
    child: Option<Child>,
    pub(crate) serial: String,
    pub(crate) msid: String,
    pub(crate) psid: String,
}

/// What went over the drive's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Requests that were answered: IF-SENDs.
    pub(crate) pairs: u64,
    /// IF-RECVs: answers, Level 0 Discovery, and polls.
    pub(crate) receives: u64,
    pub(crate) sessions: u64,
}

impl Emulator {
    /// Makes a drive of 64 MiB and switches it on.
    pub(crate) fn start(dir: &Path, serial: &str) -> Self {
        Self::with(dir, serial, &["--profile", "opal2-strict"])
    }

    pub(crate) fn with(dir: &Path, serial: &str, options: &[&str]) -> Self {
        let mut drive = Self::create(dir, serial, options);
        drive.power_on();
        drive
    }

    /// Makes a drive and leaves it off.
    pub(crate) fn create(dir: &Path, serial: &str, options: &[&str]) -> Self {
        let image = dir.join(format!("{serial}.img"));
        // One round: the image is as well protected as a test needs, and kills come quickly.
        let made = program()
            .args(["create", "--size", "64M", "--serial", serial, "--pbkdf2-rounds", "1"])
            .args(["--output", "json"])
            .args(options)
            .arg(&image)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let label: Value = serde_json::from_slice(&made.stdout).unwrap();
        let text = |name: &str| label[name].as_str().unwrap().to_owned();
        Self {
            socket: dir.join(format!("{serial}.sock")),
            control: dir.join(format!("{serial}.ctl")),
            child: None,
            serial: serial.to_owned(),
            msid: text("msid"),
            psid: text("psid"),
            image,
        }
    }

    /// A second drive with the same label and content, as a clone of its flash would be.
    pub(crate) fn copy_of(&self, dir: &Path) -> Self {
        let image = dir.join(format!("{}.img", self.serial));
        std::fs::copy(&self.image, &image).unwrap();
        Self {
            socket: dir.join(format!("{}.sock", self.serial)),
            control: dir.join(format!("{}.ctl", self.serial)),
            child: None,
            serial: self.serial.clone(),
            msid: self.msid.clone(),
            psid: self.psid.clone(),
            image,
        }
    }

    /// What `opalbox` is to be given.
    pub(crate) fn device(&self) -> String {
        format!("sim:{}", self.socket.display())
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Returns when hosts are served.
    pub(crate) fn power_on(&mut self) {
        assert!(self.child.is_none(), "it is on already");
        let mut child = program()
            .arg("serve")
            .arg(&self.image)
            .arg("--sim")
            .arg(&self.socket)
            .arg("--control")
            .arg(&self.control)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if !line.contains(" is on ") {
            let output = child.wait_with_output().unwrap();
            panic!("no drive: {}", String::from_utf8_lossy(&output.stderr));
        }
        self.child = Some(child);
    }

    /// SIGKILL: the process is gone between two instructions.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Off and on again, by the control socket.
    pub(crate) fn power_cycle(&self) {
        self.control(&["power-cycle"]);
    }

    /// One request to the control socket; gives its answer.
    pub(crate) fn control(&self, request: &[&str]) -> Value {
        let output = program().arg("control").arg(&self.control).args(request).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{request:?}: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["version"], 1, "{text}");
        answer
    }

    /// Counts from zero.
    pub(crate) fn reset_counters(&self) {
        self.control(&["counters-reset"]);
    }

    /// What there was since the counters were reset.
    pub(crate) fn traffic(&self) -> Traffic {
        let counters = self.control(&["counters"]);
        Traffic {
            pairs: counters["if_send"].as_u64().unwrap(),
            receives: counters["if_recv"].as_u64().unwrap(),
            sessions: counters["sessions"].as_u64().unwrap(),
        }
    }

    /// Reads one block as a host; `None` if the drive refuses.
    pub(crate) fn read(&self, lba: u64) -> Option<Vec<u8>> {
        let to = self.image.with_extension(format!("read-{lba}"));
        let output = program()
            .arg("read")
            .arg(&self.socket)
            .args(["--lba", &lba.to_string(), "--blocks", "1", "--to"])
            .arg(&to)
            .output()
            .unwrap();
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(words.contains("locked"), "{words}");
            return None;
        }
        let data = std::fs::read(&to).unwrap();
        std::fs::remove_file(&to).unwrap();
        Some(data)
    }

    /// Writes one block as a host.
    pub(crate) fn write(&self, lba: u64, fill: u8) {
        let from = self.image.with_extension("write");
        std::fs::write(&from, vec![fill; 512]).unwrap();
        let output = program()
            .arg("write")
            .arg(&self.socket)
            .args(["--lba", &lba.to_string(), "--from"])
            .arg(&from)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::remove_file(&from).unwrap();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_opal-emulator"))
}
