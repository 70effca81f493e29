// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which disks a directory's files really are on.
//!
//! A lockbox must not stand on the drive that it opens. This follows a path down through
//! partitions, device-mapper, md and loop devices by what sysfs says, and names the whole disks
//! at the bottom; the caller compares them with the drive.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::store::StoreError;

/// How many layers are followed before giving up.
const MAX_DEPTH: u32 = 32;

/// Names of the whole disks below `path`, such as `nvme0n1` or `sda`. Empty where no block device
/// is below: a memory or network file system, or an overlay. `sys` is `/sys`, or a copy in tests.
///
/// # Errors
/// If `path` cannot be looked at.
pub fn disks_below(path: &Path, sys: &Path) -> Result<BTreeSet<String>, Error> {
    let mut disks = BTreeSet::new();
    follow_path(path, sys, MAX_DEPTH, &mut disks)?;
    Ok(disks)
}

fn follow_path(
    path: &Path,
    sys: &Path,
    depth: u32,
    disks: &mut BTreeSet<String>,
) -> Result<(), Error> {
    let device = fs::metadata(path).map_err(StoreError::io(path))?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    if let Ok(node) = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))) {
        follow_node(&node, sys, depth, disks)?;
    }
    Ok(())
}

/// `node` is a block device's directory in sysfs.
fn follow_node(
    node: &Path,
    sys: &Path,
    depth: u32,
    disks: &mut BTreeSet<String>,
) -> Result<(), Error> {
    let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
    if node.join("partition").exists() {
        return node.parent().map_or(Ok(()), |disk| follow_node(disk, sys, depth, disks));
    }
    if let Some(file) = backing_file(node) {
        return follow_path(&file, sys, depth, disks);
    }
    let slaves = slaves(node);
    if slaves.is_empty() {
        disks.extend(node.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    slaves.iter().try_for_each(|slave| follow_node(slave, sys, depth, disks))
}

/// The file below a loop device, if it can still be reached.
fn backing_file(node: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(node.join("loop/backing_file")).ok()?;
    Some(PathBuf::from(text.trim_end_matches('\n'))).filter(|file| file.exists())
}

/// The devices that a device-mapper or md device is made of.
fn slaves(node: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(node.join("slaves")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A sysfs in which the test's own directory is on `device`.
    fn sysfs(device: &str, build: impl Fn(&Path)) -> (tempfile::TempDir, BTreeSet<String>) {
        let temp = tempfile::tempdir().unwrap();
        let sys = temp.path().join("sys");
        fs::create_dir_all(sys.join("dev/block")).unwrap();
        build(&sys.join("devices"));
        let number = fs::metadata(temp.path()).unwrap().dev();
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        let link = sys.join(format!("dev/block/{major}:{minor}"));
        symlink(sys.join("devices").join(device), link).unwrap();
        let disks = disks_below(temp.path(), &sys).unwrap();
        (temp, disks)
    }

    fn partition(devices: &Path, disk: &str, part: &str) -> PathBuf {
        let node = devices.join(disk).join(part);
        fs::create_dir_all(&node).unwrap();
        fs::write(node.join("partition"), "1\n").unwrap();
        node
    }

    fn stack(devices: &Path, name: &str, slaves: &[PathBuf]) {
        let dir = devices.join(name).join("slaves");
        fs::create_dir_all(&dir).unwrap();
        for (n, slave) in slaves.iter().enumerate() {
            symlink(slave, dir.join(n.to_string())).unwrap();
        }
    }

    #[test]
    fn a_partition_leads_to_its_disk() {
        let (_temp, disks) = sysfs("sda/sda2", |devices| {
            partition(devices, "sda", "sda2");
        });
        assert_eq!(disks, BTreeSet::from(["sda".into()]));
    }

    #[test]
    fn lvm_on_luks_on_raid_leads_to_both_disks() {
        let (_temp, disks) = sysfs("dm-1", |devices| {
            let legs = [
                partition(devices, "nvme0n1", "nvme0n1p3"),
                partition(devices, "nvme1n1", "nvme1n1p3"),
            ];
            stack(devices, "md0", &legs);
            stack(devices, "dm-0", &[devices.join("md0")]);
            stack(devices, "dm-1", &[devices.join("dm-0")]);
        });
        assert_eq!(disks, BTreeSet::from(["nvme0n1".into(), "nvme1n1".into()]));
    }

    #[test]
    fn a_loop_device_leads_to_its_files_disk() {
        let temp = tempfile::tempdir().unwrap();
        let sys = temp.path().join("sys");
        let image = temp.path().join("image");
        fs::write(&image, b"").unwrap();
        let node = sys.join("devices/loop0");
        fs::create_dir_all(node.join("loop")).unwrap();
        fs::write(node.join("loop/backing_file"), format!("{}\n", image.display())).unwrap();
        partition(&sys.join("devices"), "sdb", "sdb1");
        fs::create_dir_all(sys.join("dev/block")).unwrap();
        let number = fs::metadata(&image).unwrap().dev();
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        let link = sys.join(format!("dev/block/{major}:{minor}"));
        symlink(sys.join("devices/sdb/sdb1"), link).unwrap();
        let mut disks = BTreeSet::new();
        follow_node(&node, &sys, MAX_DEPTH, &mut disks).unwrap();
        assert_eq!(disks, BTreeSet::from(["sdb".into()]));
    }

    #[test]
    fn a_circle_of_devices_ends() {
        let (_temp, disks) = sysfs("dm-0", |devices| {
            stack(devices, "dm-0", &[devices.join("dm-1")]);
            fs::create_dir_all(devices.join("dm-1/slaves")).unwrap();
            symlink(devices.join("dm-0"), devices.join("dm-1/slaves/0")).unwrap();
        });
        assert!(disks.is_empty());
    }

    #[test]
    fn nothing_below_is_no_disk() {
        let temp = tempfile::tempdir().unwrap();
        assert!(disks_below(temp.path(), &temp.path().join("no-sys")).unwrap().is_empty());
        assert!(disks_below(&temp.path().join("absent"), Path::new("/sys")).is_err());
    }
}
