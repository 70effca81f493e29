// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts a machine from its firmware alone, without a kernel: what is booted comes from its drives.

use std::fs;
use std::io::Read as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::artifacts::{Artifacts, QemuRelease};
use crate::error::{Context as _, Error};
use crate::qemu::{self, Accelerator};

/// What a machine starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's own BIOS.
    SeaBios,
    /// UEFI, with an empty variable store.
    Ovmf,
}

/// Runs a machine with these further arguments of QEMU until its first serial line has printed
/// `expected`; returns what it printed.
///
/// # Errors
/// QEMU cannot be obtained or ended by itself, or `expected` did not come within `limit`.
pub fn boot_from_firmware(
    firmware: Firmware,
    arguments: &[&str],
    expected: &str,
    limit: Duration,
) -> Result<String, Error> {
    let artifacts = Artifacts::of_workspace();
    let root = artifacts.qemu(QemuRelease::Backports)?;
    let folder = tempfile::Builder::new().prefix("fw-").tempdir();
    let folder = folder.context("creating a machine's folder")?;
    let mut command = qemu::command(&root);
    match qemu::accelerator(&artifacts)? {
        Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
        Accelerator::Tcg => command.args(["-accel", "tcg", "-cpu", "max,la57=off"]),
    };
    command
        .args(["-machine", "q35,memory-backend=ram", "-m", "256"])
        .args(["-object", "memory-backend-memfd,id=ram,size=256M,share=on"])
        .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    if firmware == Firmware::Ovmf {
        let images = root.join("usr/share/OVMF");
        let variables = folder.path().join("variables");
        fs::copy(images.join("OVMF_VARS_4M.fd"), &variables).context("copying OVMF's variables")?;
        let code = images.join("OVMF_CODE_4M.fd");
        let flash = "if=pflash,format=raw";
        command
            .args(["-drive", &format!("{flash},readonly=on,file={}", code.display())])
            .args(["-drive", &format!("{flash},file={}", variables.display())]);
    }
    command.args(arguments);
    let started = Instant::now();
    let mut child = command.spawn().context("starting QEMU through setpriv")?;
    let (sender, receiver) = mpsc::channel();
    for pipe in [
        child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ] {
        let (sender, Some(mut pipe)) = (sender.clone(), pipe) else { continue };
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                // Nobody listens once the machine is given up.
                let _ = sender.send(buffer.get(..count).unwrap_or_default().to_vec());
            }
        });
    }
    drop(sender);
    let mut said = String::new();
    let ending = loop {
        match receiver.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok(part) => said.push_str(&String::from_utf8_lossy(&part)),
            Err(RecvTimeoutError::Timeout) => {
                break Err(Error::TimedOut { after: limit, log: said.clone() });
            }
            Err(RecvTimeoutError::Disconnected) => {
                let why = "QEMU ended".to_owned();
                break Err(Error::GuestDied { why, log: said.clone() });
            }
        }
        if said.contains(expected) {
            break Ok(());
        }
    };
    // Both fail only when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
    ending.map(|()| said)
}
