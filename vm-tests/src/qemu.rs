// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts an unpacked QEMU through its own loader, and decides whether KVM can be trusted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::artifacts::Artifacts;
use crate::error::Error;
use crate::guest::Guest;

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Tcg,
}

/// A command that runs the QEMU below `root`. It dies with the thread that started it.
pub(crate) fn command(root: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(root.join("usr/lib64/ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(root.join("usr/lib/x86_64-linux-gnu"))
        .arg(root.join("usr/bin/qemu-system-x86_64"))
        // Modules and firmware are the unpacked ones, never the host's.
        .env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"))
        .arg("-L")
        .arg(root.join("usr/share/qemu"))
        .arg("-L")
        .arg(root.join("usr/share/seabios"))
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// KVM if a guest was seen to boot with it on this boot of the host, else TCG.
///
/// The presence of `/dev/kvm` says little: there are nodes that open and then stop on stock kernels.
pub(crate) fn accelerator(artifacts: &Artifacts) -> Result<Accelerator, Error> {
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accelerator::Tcg);
    }
    let note = note(artifacts);
    if let Ok(known) = fs::read_to_string(&note) {
        return Ok(if known == "kvm" { Accelerator::Kvm } else { Accelerator::Tcg });
    }
    let works = Guest::probe(artifacts)?;
    // A note that cannot be written costs a second probe, nothing else.
    let _ = fs::write(note, if works { "kvm" } else { "tcg" });
    Ok(if works { Accelerator::Kvm } else { Accelerator::Tcg })
}

fn note(artifacts: &Artifacts) -> PathBuf {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    artifacts.folder().join(format!("accelerator-{}", boot.trim()))
}
