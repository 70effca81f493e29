// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether anything uses a drive, and a claim that keeps others off it during destructive work.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::sysfs::{System, attribute, names};
use crate::transport::sys;

/// One use of a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Use {
    /// A file system on it is mounted.
    Mounted {
        /// Kernel name of disk or partition.
        device: String,
        /// Mount point.
        at: String,
    },
    /// It is swap space.
    Swap {
        /// Kernel name of disk or partition.
        device: String,
    },
    /// Another block device is made out of it.
    Holder {
        /// Kernel name of disk or partition.
        device: String,
        /// Kernel name of the device on top, `dm-0`.
        holder: String,
    },
    /// Some program or driver has claimed it.
    Claimed {
        /// Kernel name of disk or partition.
        device: String,
    },
}

/// Exclusive use of a drive's disks, as long as this lives.
#[derive(Debug)]
pub struct Claim {
    _disks: Vec<File>,
}

/// A drive cannot be claimed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InUseError {
    /// It is in use.
    #[error("the drive is in use: {}; unmount or stop that first", list(.0))]
    InUse(Vec<Use>),
    /// It cannot be found out.
    #[error("cannot find out whether {device} is in use: {error}")]
    Io {
        /// Kernel name or file.
        device: String,
        /// Why not.
        error: io::Error,
    },
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted { device, at } => write!(f, "{device} is mounted at {at}"),
            Self::Swap { device } => write!(f, "{device} is swap space"),
            Self::Holder { device, holder } => write!(f, "{device} is part of {holder}"),
            Self::Claimed { device } => write!(f, "{device} is claimed by another program"),
        }
    }
}

/// What uses `disks` (kernel names, `sda`) and their partitions, as far as the kernel tells anyone.
///
/// # Errors
/// Sysfs or procfs cannot be read: then nothing is known, which is not the same as unused.
pub fn in_use(system: &System, disks: &[String]) -> Result<Vec<Use>, InUseError> {
    let mut members = Vec::new();
    for disk in disks {
        let failed = |error| InUseError::Io { device: disk.clone(), error };
        let directory = system.device("block", disk).map_err(failed)?;
        for name in names(&directory).map_err(failed)? {
            let partition = directory.join(&name);
            if partition.join("partition").exists() {
                members.push((name, partition));
            }
        }
        members.push((disk.clone(), directory));
    }
    let mounts = read(&system.proc.join("self/mountinfo"))?;
    // A kernel without swap has no such file.
    let swaps = match read(&system.proc.join("swaps")) {
        Err(InUseError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            String::new()
        }
        other => other?,
    };
    let mut uses = Vec::new();
    for (device, directory) in members {
        let number = attribute(&directory, "dev").unwrap_or_default();
        let node = system.node(&device);
        uses.extend(
            mount_points(&mounts, &number, &node)
                .map(|at| Use::Mounted { device: device.clone(), at }),
        );
        if swaps.lines().skip(1).any(|line| line.split_whitespace().next() == node.to_str()) {
            uses.push(Use::Swap { device: device.clone() });
        }
        for holder in names(&directory.join("holders")).unwrap_or_default() {
            uses.push(Use::Holder { device: device.clone(), holder });
        }
    }
    Ok(uses)
}

/// Claims `disks` for work that destroys what is on them.
///
/// # Errors
/// Something uses them, found by [`in_use`] or by the kernel when they are opened exclusively.
pub fn claim(system: &System, disks: &[String]) -> Result<Claim, InUseError> {
    let mut uses = in_use(system, disks)?;
    let mut files = Vec::new();
    for disk in disks {
        // Without O_CREAT and on a block device, O_EXCL asks for the device itself: a mounted
        // partition of it, or a driver on it, is in the way.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_EXCL | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(system.node(disk));
        match file {
            Ok(file) => files.push(file),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                // Said once more only where the reason is not known already.
                if uses.is_empty() {
                    uses.push(Use::Claimed { device: disk.clone() });
                }
            }
            Err(error) => return Err(InUseError::Io { device: disk.clone(), error }),
        }
    }
    if uses.is_empty() { Ok(Claim { _disks: files }) } else { Err(InUseError::InUse(uses)) }
}

/// Makes the kernel see what an unlocked drive now shows: drops cached blocks, and reads the partition
/// table again.
///
/// # Errors
/// A disk cannot be opened, or a partition of it stays in use.
pub fn reread_partitions(system: &System, disks: &[String]) -> io::Result<()> {
    for disk in disks {
        let path = system.node(disk);
        // A write-locked drive opens for reading only.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(&path)
            .or_else(|_| File::open(&path))?;
        sys::drop_cached_blocks(&file)?;
        reread(&file, thread::sleep, sys::reread_partition_table)?;
    }
    Ok(())
}

/// Udev probes a device after each change, and while it does the kernel says EBUSY.
fn reread(
    file: &File,
    mut pause: impl FnMut(Duration),
    mut call: impl FnMut(&File) -> io::Result<()>,
) -> io::Result<()> {
    const TRIES: u32 = 20;
    for _ in 1..TRIES {
        match call(file) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                pause(Duration::from_millis(100));
            }
            // A device that cannot have partitions has none to read.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            other => return other,
        }
    }
    call(file)
}

fn read(path: &Path) -> Result<String, InUseError> {
    let bytes = fs::read(path)
        .map_err(|error| InUseError::Io { device: path.display().to_string(), error })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Mount points of the device with `number` (`8:1`) or node `node` in the text of `mountinfo`.
///
/// Some file systems have a device number of their own, so the source counts as well.
fn mount_points<'a>(
    mountinfo: &'a str,
    number: &'a str,
    node: &'a Path,
) -> impl Iterator<Item = String> + 'a {
    mountinfo.lines().filter_map(move |line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let (its_number, at) = (fields.next()?, fields.nth(1)?);
        let source = unescape(after.split(' ').nth(1)?);
        let same = (!number.is_empty() && its_number == number) || Path::new(&source) == node;
        same.then(|| unescape(at))
    })
}

/// Undoes the octal escapes of `mountinfo`; control characters stay escaped.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\134", "\\")
}

fn list(uses: &[Use]) -> String {
    let texts: Vec<String> = uses.iter().map(Use::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_by_number_by_source_and_escaped() {
        let text = "22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n\
                    23 22 0:35 /@home /home rw shared:2 - btrfs /dev/sda3 rw\n\
                    24 22 8:1 / /mnt/a\\040b rw - vfat /dev/disk rw\n\
                    short line\n";
        let at = |number: &str, node: &str| -> Vec<String> {
            mount_points(text, number, Path::new(node)).collect()
        };
        assert_eq!(at("8:2", "/dev/x"), ["/"]);
        assert_eq!(at("8:3", "/dev/sda3"), ["/home"]);
        assert_eq!(at("8:1", "/dev/sda1"), ["/mnt/a b"]);
        assert!(at("8:20", "/dev/sda").is_empty());
        assert!(at("", "/dev/sda").is_empty());
    }

    #[test]
    fn rereading_waits_for_udev_and_not_for_ever() {
        let file = tempfile::tempfile().unwrap();
        let busy = || Err(io::Error::from_raw_os_error(libc::EBUSY));
        let (mut calls, mut waited) = (0, Duration::ZERO);
        let result = reread(
            &file,
            |wait| waited += wait,
            |_| {
                calls += 1;
                if calls < 4 { busy() } else { Ok(()) }
            },
        );
        assert!(result.is_ok());
        assert_eq!((calls, waited), (4, Duration::from_millis(300)));

        let mut waited = Duration::ZERO;
        let error = reread(&file, |wait| waited += wait, |_| busy()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
        assert!(waited < Duration::from_secs(5));

        let none = |_: &File| Err(io::Error::from_raw_os_error(libc::EINVAL));
        assert!(reread(&file, |_| (), none).is_ok());
        let other = |_: &File| Err(io::Error::from_raw_os_error(libc::EIO));
        assert!(reread(&file, |_| (), other).is_err());
    }
}
