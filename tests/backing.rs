// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which drives a file lies on, on machines made of files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use opalbox::device::{Backing, System, backing, backing_of_device};
use opalbox::drive::RangeSpec;
use opalbox::lockbox::provider::{Ask, Prompt, PromptError, ProviderConfig};
use opalbox::lockbox::{FileConfig, InitOptions, Kind, Lockbox, Origin};
use opalbox::manager::separation::{Place, examine, require_apart};
use opalbox::manager::{ManagerError, Target, catalogue};
use opalbox::secret::Secret;

struct Machine {
    root: tempfile::TempDir,
    system: System,
}

impl Machine {
    /// sda with two partitions, nvme0n1 with one.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let system = System { sys: path("sys"), proc: path("proc"), dev: path("dev") };
        let machine = Self { root, system };
        machine.file("proc/self/mountinfo", "");
        machine.file("data/store/lockbox.db", "");
        machine.disk("sda", "8:0");
        machine.partition("sda", "sda1", "8:1");
        machine.partition("sda", "sda2", "8:2");
        machine.disk("nvme0n1", "259:0");
        machine.partition("nvme0n1", "nvme0n1p1", "259:1");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn file(&self, name: &str, contents: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn link(&self, name: &str, target: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(self.path(target), path).unwrap();
    }

    fn disk(&self, name: &str, number: &str) {
        let directory = format!("sys/devices/{name}");
        self.file(&format!("{directory}/dev"), number);
        fs::create_dir_all(self.path(&format!("{directory}/slaves"))).unwrap();
        self.link(&format!("sys/class/block/{name}"), &directory);
        self.link(&format!("sys/dev/block/{number}"), &directory);
        self.file(&format!("dev/{}", name.replace('!', "/")), "");
    }

    fn partition(&self, disk: &str, name: &str, number: &str) {
        let directory = format!("sys/devices/{disk}/{name}");
        self.file(&format!("{directory}/partition"), "1\n");
        self.link(&format!("sys/class/block/{name}"), &directory);
        self.link(&format!("sys/dev/block/{number}"), &directory);
        self.file(&format!("dev/{name}"), "");
    }

    /// A device that is made of others.
    fn over(&self, name: &str, number: &str, slaves: &[&str]) {
        self.disk(name, number);
        for slave in slaves {
            let target = fs::canonicalize(self.path("sys/class/block").join(slave)).unwrap();
            let link = self.path(&format!("sys/devices/{name}/slaves/{slave}"));
            symlink(target, link).unwrap();
        }
    }

    /// Makes the file system of this test's own files lie on `device`, whatever it really is.
    fn files_lie_on(&self, device: &str) {
        let number = fs::metadata(self.root.path()).unwrap().dev();
        let (major, minor) = (libc::major(number), libc::minor(number));
        if major == 0 {
            self.mount(&format!("{major}:{minor}"), "/", "btrfs", &format!("/dev/{device}"), "rw");
        } else {
            let target = fs::canonicalize(self.path("sys/class/block").join(device)).unwrap();
            symlink(target, self.path(&format!("sys/dev/block/{major}:{minor}"))).unwrap();
        }
    }

    fn mount(&self, number: &str, at: &str, kind: &str, source: &str, options: &str) {
        let line = format!("9 1 {number} / {at} rw shared:1 - {kind} {source} {options}\n");
        let path = self.path("proc/self/mountinfo");
        let before = fs::read_to_string(&path).unwrap();
        fs::write(path, before + &line).unwrap();
    }

    fn of(&self, major: u64, minor: u64) -> Backing {
        backing_of_device(&self.system, (major, minor)).unwrap()
    }
}

fn disks(names: &[&str]) -> Backing {
    let disks = names.iter().map(|name| (*name).to_owned()).collect();
    Backing { disks, untold: BTreeSet::new() }
}

#[test]
fn partitions_and_whole_disks() {
    let machine = Machine::new();
    assert_eq!(machine.of(8, 0), disks(&["sda"]));
    assert_eq!(machine.of(8, 2), disks(&["sda"]));
    assert_eq!(machine.of(259, 1), disks(&["nvme0n1"]));
    assert!(backing_of_device(&machine.system, (99, 9)).is_err(), "nothing is known of it");
}

#[test]
fn volumes_over_volumes() {
    let machine = Machine::new();
    machine.disk("sdb", "8:16");
    machine.partition("sdb", "sdb1", "8:17");
    // LVM over LUKS over a RAID of two disks.
    machine.over("md0", "9:0", &["sda2", "sdb1"]);
    machine.over("dm-0", "253:0", &["md0"]);
    machine.over("dm-1", "253:1", &["dm-0"]);
    assert_eq!(machine.of(253, 1), disks(&["sda", "sdb"]));
    // A volume over a partition of a RAID.
    machine.partition("md0", "md0p1", "259:7");
    machine.over("dm-2", "253:2", &["md0p1", "nvme0n1"]);
    assert_eq!(machine.of(253, 2), disks(&["sda", "sdb", "nvme0n1"]));
}

#[test]
fn a_circle_of_devices_ends() {
    let machine = Machine::new();
    machine.disk("dm-7", "253:7");
    machine.over("dm-8", "253:8", &["dm-7"]);
    machine.link("sys/devices/dm-7/slaves/dm-8", "sys/devices/dm-8");
    assert!(machine.of(253, 7).disks.is_empty());
}

#[test]
fn files_and_loop_devices_over_them() {
    let machine = Machine::new();
    machine.files_lie_on("nvme0n1p1");
    let store = machine.path("data/store");
    assert_eq!(backing(&machine.system, &store).unwrap(), disks(&["nvme0n1"]));
    let later = machine.path("data/not/there/yet");
    assert_eq!(backing(&machine.system, &later).unwrap(), disks(&["nvme0n1"]));

    machine.disk("loop0", "7:0");
    let image = machine.path("data/store/lockbox.db").display().to_string();
    machine.file("sys/devices/loop0/loop/backing_file", &format!("{image}\n"));
    machine.over("dm-5", "253:5", &["loop0", "sda1"]);
    assert_eq!(machine.of(253, 5), disks(&["nvme0n1", "sda"]));

    machine.file("sys/devices/loop0/loop/backing_file", &format!("{image} (deleted)\n"));
    assert_eq!(machine.of(7, 0).untold.len(), 1, "said, not passed over");
}

#[test]
fn a_loop_device_over_a_file_on_itself_ends() {
    let machine = Machine::new();
    machine.disk("loop0", "7:0");
    machine.files_lie_on("loop0");
    let image = machine.path("data/store/lockbox.db").display().to_string();
    machine.file("sys/devices/loop0/loop/backing_file", &format!("{image}\n"));
    assert_eq!(machine.of(7, 0), disks(&[]));
}

/// File systems whose `st_dev` is no device. Only where the test's own files are on one can the
/// whole way be walked; memory has one everywhere.
#[test]
fn file_systems_without_a_device_number() {
    let machine = Machine::new();
    let shm = PathBuf::from("/dev/shm");
    if !shm.exists() {
        println!("SKIPPED: no /dev/shm");
        return;
    }
    let number = fs::metadata(&shm).unwrap().dev();
    let number = format!("{}:{}", libc::major(number), libc::minor(number));
    if !number.starts_with("0:") {
        println!("SKIPPED: /dev/shm has a device");
        return;
    }
    let mounted = |kind: &str, source: &str, options: &str| {
        fs::write(machine.path("proc/self/mountinfo"), "8 1 0:999 / / rw - zfs tank rw\n").unwrap();
        machine.mount(&number, "/dev/shm", kind, source, options);
        backing(&machine.system, &shm).unwrap()
    };
    assert_eq!(mounted("tmpfs", "none", "rw"), disks(&[]));
    assert_eq!(mounted("btrfs", "/dev/sda2", "rw,subvol=/@"), disks(&["sda"]));
    // A second device of the same file system, which no mount names.
    machine.link("sys/fs/btrfs/0000-11/devices/sda2", "sys/devices/sda/sda2");
    machine.link("sys/fs/btrfs/0000-11/devices/nvme0n1p1", "sys/devices/nvme0n1/nvme0n1p1");
    assert_eq!(mounted("btrfs", "/dev/sda2", "rw"), disks(&["sda", "nvme0n1"]));
    machine.link("dev/mapper/root", "dev/nvme0n1");
    assert_eq!(mounted("btrfs", "/dev/mapper/root", "rw"), disks(&["nvme0n1"]));

    machine.files_lie_on("sda1");
    let upper = machine.path("data").display().to_string();
    if !libc_major_of(&machine).eq(&0) {
        let layers = format!("rw,lowerdir=/nowhere:{upper},upperdir={upper},workdir=/x");
        assert_eq!(mounted("overlay", "overlay", &layers), disks(&["sda"]));
    }

    let untold = mounted("nfs4", "server:/export", "rw");
    assert_eq!(untold.untold, BTreeSet::from(["nfs4".to_owned()]));
    assert!(untold.disks.is_empty());
}

fn libc_major_of(machine: &Machine) -> u32 {
    libc::major(fs::metadata(machine.root.path()).unwrap().dev())
}

/// The lockbox refuses to be kept on what it opens.
#[test]
fn a_store_on_the_drive_is_refused() {
    let machine = Machine::new();
    machine.over("dm-0", "253:0", &["sda2"]);
    machine.files_lie_on("dm-0");
    let store = machine.path("data/store");
    let apart = |disks: &[&str]| {
        let disks: Vec<String> = disks.iter().map(|disk| (*disk).to_owned()).collect();
        require_apart(&machine.system, &store, "S1", &disks)
    };
    let refusal = apart(&["sda"]).unwrap_err();
    assert!(matches!(&refusal, ManagerError::StoreOnDrive { disk, .. } if disk == "sda"));
    assert!(refusal.to_string().contains("S1"), "{refusal}");
    assert!(apart(&["sdz", "sda"]).is_err(), "one of several namespaces");
    assert_eq!(apart(&["nvme0n1"]).unwrap(), Vec::<String>::new());
    assert_eq!(apart(&[]).unwrap(), Vec::<String>::new(), "an emulated drive");
}

/// `lockbox check` finds a drive by its serial, whatever it is called today.
#[test]
fn a_store_on_a_drive_of_the_catalogue_is_found() {
    let machine = Machine::new();
    machine.files_lie_on("sda1");
    let device = "sys/devices/host0/0:0:0:0";
    for (name, text) in [("vendor", "ATA     "), ("model", "Example"), ("rev", "1"), ("type", "0")]
    {
        machine.file(&format!("{device}/{name}"), text);
    }
    machine.file(&format!("{device}/vpd_pg80"), "\0\u{0}\0\u{6}SER-01");
    machine.link(&format!("{device}/subsystem"), "sys/bus/scsi");
    machine.link("sys/devices/sda/device", device);
    machine.file("sys/devices/sda/size", "2048");

    let config = ProviderConfig::File(FileConfig { memory_kib: 64, passes: 1, lanes: 1 });
    let options = InitOptions::new(config, Arc::new(Person));
    let lockbox = Lockbox::init(&machine.path("data/box"), options).unwrap();
    assert_eq!(examine(&machine.system, &lockbox).unwrap(), Place::default());
    for serial in ["OTHER", "SER-01"] {
        let target = Target {
            serial: serial.into(),
            model: "Example".into(),
            device: "/dev/sdq".into(),
            power_cycles: None,
        };
        let pin = Secret::from_slice(&[7; 32]);
        lockbox.stage(&target.owner(), "User1", Kind::DrivePin, &pin, Origin::Generated).unwrap();
        let range = RangeSpec { number: 0, extent: None, user: 1 };
        catalogue::record(&lockbox, &target, &range).unwrap();
    }
    assert_eq!(examine(&machine.system, &lockbox).unwrap().opens, ["SER-01"]);
}

struct Person;

impl Prompt for Person {
    fn ask(&self, _: &Ask<'_>) -> Result<Secret, PromptError> {
        Ok(Secret::from_slice(b"correct horse battery staple"))
    }
}

/// The machine that runs the test: whatever it is, it is walked without a failure.
#[test]
fn this_machine() {
    let folder = tempfile::tempdir().unwrap();
    match backing(&System::default(), folder.path()) {
        Ok(found) => println!("{found:?}"),
        Err(error) => println!("SKIPPED: {error}"),
    }
}
