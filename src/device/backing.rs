// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which drives the bytes of a file lie on: through partitions, device-mapper (LVM, LUKS), software
//! RAID, loop devices, bcache, overlay file systems and file systems over several devices.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::enumerate::is_partition;
use super::sysfs::{System, attribute, names};

/// Devices looked at before a system is taken for one that goes round in circles.
const MOST_DEVICES: usize = 4096;

/// What a file lies on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backing {
    /// Kernel names of block devices that are made of nothing else, `sda`, `nvme0n1`.
    pub disks: BTreeSet<String>,
    /// File systems that do not tell what they lie on, by their type: `nfs4`, `zfs`.
    pub untold: BTreeSet<String>,
}

/// Finds what `path` lies on. It exists, or the nearest folder above it does. Memory is no device.
///
/// # Errors
/// The file, sysfs or procfs cannot be read: then nothing is known.
pub fn backing(system: &System, path: &Path) -> io::Result<Backing> {
    let mut walk = Walk { system, found: Backing::default(), seen: BTreeSet::new() };
    walk.file(path)?;
    Ok(walk.found)
}

/// Finds what the block device with this number lies on.
///
/// # Errors
/// As [`backing`].
pub fn backing_of_device(system: &System, number: (u64, u64)) -> io::Result<Backing> {
    let mut walk = Walk { system, found: Backing::default(), seen: BTreeSet::new() };
    walk.number(number.0, number.1)?;
    Ok(walk.found)
}

struct Walk<'a> {
    system: &'a System,
    found: Backing,
    /// Device numbers and folders that were looked at.
    seen: BTreeSet<String>,
}

impl Walk<'_> {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let path = nearest(path)?;
        let device = fs::metadata(&path)?.dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        // Major 0 is no device: the file system is in memory, on a network, or has several devices.
        if major == 0 {
            self.mounted(&path, &format!("{major}:{minor}"))
        } else {
            self.number(major.into(), minor.into())
        }
    }

    fn number(&mut self, major: u64, minor: u64) -> io::Result<()> {
        let directory = self.system.device_by_number("block", (major, minor))?;
        self.device(&directory)
    }

    /// The device that sysfs shows in `directory`, links resolved.
    fn device(&mut self, directory: &Path) -> io::Result<()> {
        if !self.first_time(directory.display().to_string())? {
            return Ok(());
        }
        if is_partition(directory) {
            return match directory.parent() {
                Some(disk) => self.device(disk),
                None => Err(io::ErrorKind::InvalidData.into()),
            };
        }
        if let Some(file) = attribute(directory, "loop/backing_file") {
            // The kernel marks files that were removed; their blocks are no longer found by name.
            return match file.strip_suffix(" (deleted)") {
                Some(_) => self.untold("a loop device over a removed file"),
                None => self.file(Path::new(&file)),
            };
        }
        let slaves = match names(&directory.join("slaves")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        for slave in &slaves {
            let below = fs::canonicalize(directory.join("slaves").join(slave))?;
            self.device(&below)?;
        }
        if slaves.is_empty()
            && let Some(name) = directory.file_name().and_then(|name| name.to_str())
        {
            self.found.disks.insert(name.to_owned());
        }
        Ok(())
    }

    /// A file system without a device number of its own: the mount that `path` is in tells.
    fn mounted(&mut self, path: &Path, number: &str) -> io::Result<()> {
        let table = fs::read(self.system.proc.join("self/mountinfo"))?;
        let table = String::from_utf8_lossy(&table);
        let path = fs::canonicalize(path)?;
        let mounts = table.lines().filter_map(Mount::parse);
        // Mounts over one another are listed in their order; subvolumes have numbers of their own
        // that no mount shows.
        let found = mounts
            .filter(|mount| path.starts_with(&mount.at))
            .max_by_key(|mount| (mount.number == number, mount.at.components().count()));
        let Some(mount) = found else { return self.untold("a file system that is not mounted") };
        match mount.kind.as_str() {
            "tmpfs" | "ramfs" | "devtmpfs" => Ok(()),
            "overlay" => {
                for layer in mount.layers() {
                    if self.first_time(format!("layer {}", layer.display()))? {
                        self.file(&layer)?;
                    }
                }
                Ok(())
            }
            "btrfs" | "bcachefs" => self.several(&mount),
            kind => self.untold(kind),
        }
    }

    /// The mount's source is one of its devices; sysfs has the others.
    fn several(&mut self, mount: &Mount) -> io::Result<()> {
        let Some(name) = self.kernel_name(&mount.source) else { return self.untold(&mount.kind) };
        let mut members = BTreeSet::from([name]);
        let pools = self.system.sys.join("fs").join(&mount.kind);
        for pool in names(&pools).unwrap_or_default() {
            let devices = names(&pools.join(pool).join("devices")).unwrap_or_default();
            if devices.iter().any(|device| members.contains(device)) {
                members.extend(devices);
            }
        }
        for member in members {
            let directory = self.system.device("block", &member)?;
            self.device(&directory)?;
        }
        Ok(())
    }

    /// The kernel's name of a node such as `/dev/mapper/root`.
    fn kernel_name(&self, source: &Path) -> Option<String> {
        let relative = source.strip_prefix("/dev").ok()?;
        let node = fs::canonicalize(self.system.dev.join(relative)).ok()?;
        let dev = fs::canonicalize(&self.system.dev).ok()?;
        Some(node.strip_prefix(dev).ok()?.to_str()?.replace('/', "!"))
    }

    fn untold(&mut self, kind: &str) -> io::Result<()> {
        self.found.untold.insert(kind.to_owned());
        Ok(())
    }

    fn first_time(&mut self, what: String) -> io::Result<bool> {
        if self.seen.len() >= MOST_DEVICES {
            return Err(io::Error::other("devices below devices without an end"));
        }
        Ok(self.seen.insert(what))
    }
}

/// One line of `mountinfo`.
struct Mount {
    number: String,
    at: PathBuf,
    kind: String,
    source: PathBuf,
    options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let mut after = after.split(' ');
        Some(Self {
            number: before.next()?.to_owned(),
            at: unescape(before.nth(1)?).into(),
            kind: after.next()?.to_owned(),
            source: unescape(after.next()?).into(),
            options: after.next().unwrap_or_default().to_owned(),
        })
    }

    /// The folders that an overlay is made of.
    fn layers(&self) -> Vec<PathBuf> {
        let mut layers = Vec::new();
        for option in self.options.split(',') {
            if let Some(upper) = option.strip_prefix("upperdir=") {
                layers.push(unescape(upper).into());
            } else if let Some(lower) = option.strip_prefix("lowerdir=") {
                layers.extend(lower.split(':').map(|folder| PathBuf::from(unescape(folder))));
            }
        }
        // Layers may be out of sight, in another mount namespace.
        layers.retain(|folder| folder.exists());
        layers
    }
}

/// `path`, or the nearest folder above it that exists.
fn nearest(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    while let Err(error) = fs::metadata(&path) {
        if error.kind() != io::ErrorKind::NotFound || !path.pop() {
            return Err(error);
        }
    }
    Ok(path)
}

fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}
