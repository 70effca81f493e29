// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading sysfs and procfs below roots that a test may choose.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::transport::passthrough::Bus;

/// Where the machine's sysfs, procfs and device nodes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// `/sys`
    pub sys: PathBuf,
    /// `/proc`
    pub proc: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into() }
    }
}

impl System {
    /// Names in a class directory, sorted the way a person counts; none if there is no such class.
    pub(super) fn class(&self, class: &str) -> io::Result<Vec<String>> {
        match names(&self.sys.join("class").join(class)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// The directory of `name` in `class`, links resolved.
    pub(super) fn device(&self, class: &str, name: &str) -> io::Result<PathBuf> {
        fs::canonicalize(self.sys.join("class").join(class).join(name))
    }

    /// The directory of the device with this number, links resolved.
    pub(super) fn device_by_number(
        &self,
        kind: &str,
        (major, minor): (u64, u64),
    ) -> io::Result<PathBuf> {
        fs::canonicalize(self.sys.join("dev").join(kind).join(format!("{major}:{minor}")))
    }

    /// The node of the kernel name `name`; sysfs has `!` where a node has a directory.
    pub(super) fn node(&self, name: &str) -> PathBuf {
        self.dev.join(name.replace('!', "/"))
    }

    /// Kernel parameter `libata.allow_tpm`, if libata is there.
    pub(super) fn allow_tpm(&self) -> Option<bool> {
        let value = attribute(&self.sys, "module/libata/parameters/allow_tpm")?;
        Some(matches!(value.as_str(), "1" | "Y" | "y"))
    }
}

/// What carries the commands of the SCSI device at `directory`, links resolved: ports are named in
/// its path (`ata3`, `usb2`).
pub(super) fn scsi_bus(directory: &Path) -> Bus {
    let has = |prefix: &str| {
        directory.components().any(|part| {
            let number = part.as_os_str().to_str().and_then(|name| name.strip_prefix(prefix));
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    if has("usb") {
        Bus::Usb
    } else if has("ata") {
        Bus::Ata
    } else {
        Bus::Scsi
    }
}

/// Names in `directory`, sorted the way a person counts.
pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        // Kernel names are ASCII; anything else is not ours to handle.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    Ok(names)
}

/// The text of an attribute, without padding; `None` if it is absent or unreadable.
///
/// Characters that a terminal would act on are left out: a drive chooses its own model name.
pub(super) fn attribute(directory: &Path, name: &str) -> Option<String> {
    let bytes = bytes(directory, name)?;
    let text: String =
        String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect();
    Some(text.trim().to_owned())
}

/// The number in an attribute.
pub(super) fn number(directory: &Path, name: &str) -> Option<u64> {
    attribute(directory, name)?.parse().ok()
}

/// The bytes of an attribute, at most a page.
pub(super) fn bytes(directory: &Path, name: &str) -> Option<Vec<u8>> {
    let file = fs::File::open(directory.join(name)).ok()?;
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The last component of the link `name` in `directory`.
pub(super) fn link_name(directory: &Path, name: &str) -> Option<String> {
    let target = fs::read_link(directory.join(name)).ok()?;
    target.file_name()?.to_str().map(str::to_owned)
}
