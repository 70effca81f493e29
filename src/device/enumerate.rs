// SPDX-License-Identifier: MIT OR Apache-2.0
//! All block devices and SCSI devices of a machine, and why each is or is not worth asking.
//!
//! Nothing is opened here: sysfs tells without permissions and without waking a drive. Whether a
//! candidate speaks TCG is for [`open()`](super::open()) to find out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::identity::Interface;
use super::sysfs::{System, attribute, bytes, link_name, number, scsi_bus};
use crate::transport::passthrough::Bus;
use crate::transport::scsi;

/// A device that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The kernel's name: `nvme0n1`, `sda`, `sg3`.
    pub name: String,
    /// Its node.
    pub node: PathBuf,
    /// What it is attached by, if it may be a drive.
    pub interface: Option<Interface>,
    /// Model as the kernel has it, which may be cut short.
    pub model: String,
    /// Serial number as the kernel has it; empty if it does not know.
    pub serial: String,
    /// Firmware revision as the kernel has it, which may be cut short.
    pub firmware: String,
    /// Logical block size in bytes; 0 if unknown.
    pub logical_block_size: u32,
    /// Capacity in bytes; 0 if unknown.
    pub capacity: u64,
    /// Why it cannot be a self-encrypting drive; `None` for a candidate.
    pub not_sed: Option<NotSed>,
}

/// Why a device is not a self-encrypting drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NotSed {
    /// Made by the kernel out of something else; the text says of what.
    Virtual(&'static str),
    /// A SCSI device that is not a disk, by its device type.
    NotADisk(u64),
    /// A disk interface that has no security commands.
    NoSecurityCommands(&'static str),
    /// No medium, or no capacity.
    NoMedium,
    /// One of several paths to a namespace; the namespace itself is listed.
    HiddenPath,
    /// Sysfs does not tell what it is.
    Unknown,
}

/// Lists all block devices but partitions, and SCSI devices without a block device.
///
/// # Errors
/// Sysfs cannot be read.
pub fn enumerate(system: &System) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for name in system.class("block")? {
        // A device may go while we look; that is no error.
        let Ok(directory) = system.device("block", &name) else { continue };
        if !is_partition(&directory) {
            found.push(block_device(system, &name, &directory));
        }
    }
    for name in system.class("scsi_generic")? {
        let Ok(directory) = system.device("scsi_generic", &name) else { continue };
        if !directory.join("device/block").is_dir() {
            found.push(scsi_device(system, &name, &directory));
        }
    }
    Ok(found)
}

impl fmt::Display for NotSed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Virtual(what) => write!(f, "{what}, not a drive"),
            Self::NotADisk(kind) => {
                let name = match kind {
                    0x01 => "a tape",
                    0x02 => "a printer",
                    0x03 => "a processor device",
                    0x05 => "an optical drive",
                    0x07 => "an optical memory device",
                    0x08 => "a medium changer",
                    0x0C => "a RAID controller",
                    0x0D => "an enclosure",
                    0x0E => "a simplified disk",
                    0x11 => "an object store",
                    _ => "not a disk",
                };
                write!(f, "{name} (SCSI device type {kind})")
            }
            Self::NoSecurityCommands(what) => write!(f, "{what} has no security commands"),
            Self::NoMedium => f.write_str("no medium"),
            Self::HiddenPath => f.write_str("a path to a namespace that is listed by itself"),
            Self::Unknown => f.write_str("the kernel does not say what it is"),
        }
    }
}

pub(super) fn is_partition(directory: &Path) -> bool {
    directory.join("partition").exists()
}

/// Disks: direct access, and host-managed zoned.
pub(super) fn is_disk(scsi_type: u64) -> bool {
    matches!(scsi_type, 0x00 | 0x14)
}

pub(super) fn block_device(system: &System, name: &str, directory: &Path) -> Found {
    let device = directory.join("device");
    let subsystem = link_name(&device, "subsystem");
    let mut found = Found {
        name: name.to_owned(),
        node: system.node(name),
        interface: None,
        model: String::new(),
        serial: String::new(),
        firmware: String::new(),
        logical_block_size: number(directory, "queue/logical_block_size")
            .and_then(|size| u32::try_from(size).ok())
            .unwrap_or(0),
        // In units of 512 bytes, whatever the block size.
        capacity: number(directory, "size").unwrap_or(0).saturating_mul(512),
        not_sed: None,
    };
    found.not_sed = match subsystem.as_deref() {
        Some("nvme" | "nvme-subsystem") => {
            found.interface = Some(Interface::Nvme);
            found.model = attribute(&device, "model").unwrap_or_default();
            found.serial = attribute(&device, "serial").unwrap_or_default();
            found.firmware = attribute(&device, "firmware_rev").unwrap_or_default();
            (number(directory, "hidden") == Some(1)).then_some(NotSed::HiddenPath)
        }
        Some("scsi") => describe_scsi(&device, &mut found),
        Some("mmc") => Some(NotSed::NoSecurityCommands("an SD or eMMC card")),
        Some("virtio") => Some(NotSed::NoSecurityCommands("virtio-blk")),
        Some("xen") => Some(NotSed::NoSecurityCommands("a Xen disk")),
        Some("memstick") => Some(NotSed::NoSecurityCommands("a memory stick")),
        Some("nd") => Some(NotSed::NoSecurityCommands("persistent memory")),
        Some(_) => Some(NotSed::Unknown),
        None => Some(virtual_device(name)),
    };
    if found.not_sed.is_none() && found.capacity == 0 {
        found.not_sed = Some(NotSed::NoMedium);
    }
    found
}

pub(super) fn scsi_device(system: &System, name: &str, directory: &Path) -> Found {
    let mut found = Found {
        name: name.to_owned(),
        node: system.node(name),
        interface: None,
        model: String::new(),
        serial: String::new(),
        firmware: String::new(),
        logical_block_size: 0,
        capacity: 0,
        not_sed: None,
    };
    found.not_sed = describe_scsi(&directory.join("device"), &mut found);
    found
}

fn describe_scsi(device: &Path, found: &mut Found) -> Option<NotSed> {
    let vendor = attribute(device, "vendor").unwrap_or_default();
    found.model = attribute(device, "model").unwrap_or_default();
    found.firmware = attribute(device, "rev").unwrap_or_default();
    found.serial =
        bytes(device, "vpd_pg80").and_then(|page| scsi::parse_serial(&page)).unwrap_or_default();
    let resolved = device.canonicalize().unwrap_or_else(|_| device.to_owned());
    found.interface = Some(match scsi_bus(&resolved) {
        Bus::Usb => Interface::Usb,
        Bus::Ata => Interface::Sata,
        // A SATA drive behind a SAS adapter's own translation.
        _ if vendor == "ATA" => Interface::Sata,
        _ => Interface::Scsi,
    });
    if !vendor.is_empty() && vendor != "ATA" {
        found.model = format!("{vendor} {}", found.model);
    }
    match number(device, "type") {
        None => Some(NotSed::Unknown),
        Some(kind) if is_disk(kind) => None,
        Some(kind) => Some(NotSed::NotADisk(kind)),
    }
}

fn virtual_device(name: &str) -> NotSed {
    const KINDS: [(&str, &str); 14] = [
        ("loop", "a loop device over a file"),
        ("dm-", "a device-mapper volume"),
        ("md", "a software RAID"),
        ("zram", "compressed memory"),
        ("ram", "a RAM disk"),
        ("nbd", "a network block device"),
        ("rbd", "a Ceph block device"),
        ("drbd", "a replicated block device"),
        ("bcache", "a bcache volume"),
        ("nullb", "a null block device"),
        ("zd", "a ZFS volume"),
        ("sr", "an optical drive"),
        ("fd", "a floppy drive"),
        ("ublkb", "a user-space block device"),
    ];
    let kind = KINDS.iter().find(|(prefix, _)| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    NotSed::Virtual(kind.map_or("a block device made by the kernel", |(_, what)| what))
}
