// SPDX-License-Identifier: MIT OR Apache-2.0
//! A software TPM as the guest's own: `/dev/tpm0` and `/dev/tpmrm0`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Context as _, Error};

const READY_LIMIT: Duration = Duration::from_secs(20);

/// A running swtpm. It ends when QEMU leaves it, so every boot has one of its own.
pub(crate) struct Tpm {
    child: Child,
    socket: PathBuf,
}

impl Tpm {
    /// Starts one; its state stays below `folder` for the next.
    pub(crate) fn start(folder: &Path) -> Result<Self, Error> {
        let state = folder.join("tpm");
        let socket = folder.join("tpm.sock");
        fs::create_dir_all(&state).context("creating the TPM's folder")?;
        let _ = fs::remove_file(&socket);
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "swtpm", "socket", "--tpm2"])
            .args(["--flags", "startup-clear", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting swtpm through setpriv")?;
        let mut tpm = Self { child, socket };
        let from = Instant::now();
        while !tpm.socket.exists() {
            let ended = !matches!(tpm.child.try_wait(), Ok(None));
            if ended || from.elapsed() > READY_LIMIT {
                return Err(Error::Service {
                    name: "swtpm".to_owned(),
                    why: "its socket did not appear; is the package swtpm installed?".to_owned(),
                    log: String::new(),
                });
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(tpm)
    }

    /// What QEMU is told.
    pub(crate) fn arguments(&self) -> [String; 6] {
        [
            "-chardev".to_owned(),
            format!("socket,id=tpm-socket,path={}", self.socket.display()),
            "-tpmdev".to_owned(),
            "emulator,id=tpm,chardev=tpm-socket".to_owned(),
            "-device".to_owned(),
            "tpm-crb,tpmdev=tpm".to_owned(),
        ]
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
