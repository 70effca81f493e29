// SPDX-License-Identifier: MIT OR Apache-2.0
//! From what the user typed to a path that carries commands.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use opal::{Transport, TransportError};

use super::DeviceSpec;
use super::enumerate::{Found, NotSed, block_device, is_partition, scsi_device};
use super::identity::Identity;
use super::in_use::{self, Claim, InUseError};
use super::probe::{self, Geometry, Probed, Route};
use super::sysfs::{System, link_name, names, number, scsi_bus};
use crate::transport::passthrough::{Attachment, Bus, MAX_TRANSFER};
use crate::transport::sim::SimTransport;
use crate::transport::sys::Node;

/// An open drive.
pub struct Opened {
    /// What the user typed.
    pub spec: DeviceSpec,
    /// What the drive says about itself.
    pub identity: Identity,
    /// The path to it.
    pub transport: Box<dyn Transport + Send>,
    /// What the path is.
    pub route: Route,
    /// Kernel names of the block devices on it, `sda`; all namespaces of an NVMe controller, none for
    /// an emulated drive.
    pub disks: Vec<String>,
    system: System,
}

/// A device cannot be opened as a drive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is nothing by that name, or no permission to look.
    #[error("cannot open {path}: {error}{}", advice(error))]
    Io {
        /// What was to be opened.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// It is a partition.
    #[error("{path} is a partition; security commands go to the whole drive, {whole}")]
    Partition {
        /// What was to be opened.
        path: String,
        /// The node of the drive.
        whole: String,
    },
    /// It is a device of another kind.
    #[error("{path} cannot be a self-encrypting drive: {reason}")]
    NotSed {
        /// What was to be opened.
        path: String,
        /// Why not.
        reason: NotSed,
    },
    /// It is not a device, or none that takes drive commands.
    #[error("{path} is {what}; name a drive, such as /dev/nvme0n1, /dev/sda or /dev/sg3")]
    NotADrive {
        /// What was to be opened.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// The drive, or what lies between, does not carry security commands now.
    #[error(transparent)]
    Path(#[from] TransportError),
}

/// Opens a drive of this machine.
///
/// # Errors
/// There is none by that name, or no path that carries security commands leads to it.
pub fn open(spec: &DeviceSpec) -> Result<Opened, OpenError> {
    open_in(&System::default(), spec)
}

/// [`open`] with roots of the caller's choice.
///
/// # Errors
/// As `open`.
pub fn open_in(system: &System, spec: &DeviceSpec) -> Result<Opened, OpenError> {
    let path = match spec {
        DeviceSpec::Sim(socket) => {
            let sim = SimTransport::connect(socket)?;
            return Ok(Opened {
                spec: spec.clone(),
                identity: sim.identity().into(),
                transport: Box::new(sim),
                route: Route::Sim,
                disks: Vec::new(),
                system: system.clone(),
            });
        }
        DeviceSpec::Node(path) => path,
    };
    let shown = path.display().to_string();
    let failed = |error| OpenError::Io { path: shown.clone(), error };
    let metadata = fs::metadata(path).map_err(failed)?;
    let kind = match metadata.file_type() {
        kind if kind.is_block_device() => NodeKind::Block,
        kind if kind.is_char_device() => NodeKind::Char,
        kind if kind.is_socket() => {
            return Err(OpenError::NotADrive {
                path: shown,
                what: "a socket (an emulated drive is named sim:SOCKET)",
            });
        }
        _ => return Err(OpenError::NotADrive { path: shown, what: "not a device node" }),
    };
    let device = metadata.rdev();
    let number = (libc::major(device).into(), libc::minor(device).into());
    let located = locate(system, &shown, kind, number)?;
    let node = Node::new(open_node(path).map_err(failed)?);
    let Located { driver, attachment, geometry, disks } = located;
    let Probed { identity, transport, route } = match driver {
        Driver::Nvme => probe::nvme(node, attachment, geometry)?,
        Driver::Scsi => probe::scsi(node, attachment, geometry)?,
    };
    Ok(Opened { spec: spec.clone(), identity, transport, route, disks, system: system.clone() })
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("identity", &self.identity)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl Opened {
    /// Claims the drive for work that destroys what is on it; an emulated drive is always free.
    ///
    /// # Errors
    /// It is mounted or held, or that cannot be found out.
    pub fn claim(&self) -> Result<Claim, InUseError> {
        in_use::claim(&self.system, &self.disks)
    }

    /// Makes the kernel see what the drive shows now, after a range was unlocked or the shadow MBR
    /// went out of sight.
    ///
    /// # Errors
    /// A disk cannot be opened, or a partition of it stays in use.
    pub fn reread_partitions(&self) -> io::Result<()> {
        in_use::reread_partitions(&self.system, &self.disks)
    }
}

/// Kind of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Block device.
    Block,
    /// Character device.
    Char,
}

/// Driver that takes a node's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// NVMe passthrough.
    Nvme,
    /// SG_IO.
    Scsi,
}

/// What sysfs tells about a node that is about to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Driver that takes its commands.
    pub driver: Driver,
    /// Where it hangs.
    pub attachment: Attachment,
    /// What the kernel knows of its disk.
    pub geometry: Geometry,
    /// Kernel names of the block devices on the drive.
    pub disks: Vec<String>,
}

/// Finds the device with `number` in sysfs; `path` is for error texts.
///
/// # Errors
/// It is a partition, or cannot be a self-encrypting drive.
pub fn locate(
    system: &System,
    path: &str,
    kind: NodeKind,
    number: (u64, u64),
) -> Result<Located, OpenError> {
    let class = match kind {
        NodeKind::Block => "block",
        NodeKind::Char => "char",
    };
    let directory = system
        .device_by_number(class, number)
        .map_err(|error| OpenError::Io { path: path.to_owned(), error })?;
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match (kind, link_name(&directory, "subsystem").as_deref()) {
        (NodeKind::Block, _) if is_partition(&directory) => {
            let whole = directory.parent().and_then(Path::file_name).unwrap_or_default();
            let whole = system.node(&whole.to_string_lossy()).display().to_string();
            Err(OpenError::Partition { path: path.to_owned(), whole })
        }
        (NodeKind::Block, _) => located_block(system, path, name, &directory),
        (NodeKind::Char, Some("nvme")) => Ok(located_controller(system, path, &directory)),
        (NodeKind::Char, Some("nvme-generic")) => {
            let controller = directory.join("device").canonicalize().unwrap_or(directory);
            Ok(located_controller(system, path, &controller))
        }
        (NodeKind::Char, Some("scsi_generic")) => {
            let block = names(&directory.join("device/block")).unwrap_or_default();
            match block.first() {
                Some(disk) => {
                    located_block(system, path, disk, &directory.join("device/block").join(disk))
                }
                None => {
                    let found = scsi_device(system, name, &directory);
                    located(system, path, found, Driver::Scsi, &directory, Vec::new())
                }
            }
        }
        (NodeKind::Char, Some("bsg")) => Err(OpenError::NotADrive {
            path: path.to_owned(),
            what: "a bsg node, which is not supported",
        }),
        (NodeKind::Char, _) => Err(OpenError::NotADrive {
            path: path.to_owned(),
            what: "a character device of another kind",
        }),
    }
}

fn located_block(
    system: &System,
    path: &str,
    name: &str,
    directory: &Path,
) -> Result<Located, OpenError> {
    let found = block_device(system, name, directory);
    match link_name(&directory.join("device"), "subsystem").as_deref() {
        Some("nvme" | "nvme-subsystem") => {
            let disks = namespaces(system, &directory.join("device"));
            located(system, path, found, Driver::Nvme, directory, disks)
        }
        _ => located(system, path, found, Driver::Scsi, directory, vec![name.to_owned()]),
    }
}

fn located_controller(system: &System, path: &str, directory: &Path) -> Located {
    let disks = namespaces(system, directory);
    // One namespace is the drive; of several, none stands for all.
    let geometry = match disks.as_slice() {
        [only] => match system.device("block", only) {
            Ok(directory) => geometry(&block_device(system, only, &directory)),
            Err(_) => Geometry::default(),
        },
        _ => Geometry::default(),
    };
    let attachment = Attachment {
        node: path.to_owned(),
        bus: Bus::Nvme,
        allow_tpm: None,
        max_transfer: MAX_TRANSFER,
    };
    Located { driver: Driver::Nvme, attachment, geometry, disks }
}

/// Block devices of the controller or subsystem at `device`.
fn namespaces(system: &System, device: &Path) -> Vec<String> {
    let Ok(device) = device.canonicalize() else { return Vec::new() };
    let controller = device.file_name().unwrap_or_default();
    let belongs = |name: &String| {
        let Ok(directory) = system.device("block", name) else { return false };
        if is_partition(&directory) || number(&directory, "hidden") == Some(1) {
            return false;
        }
        let Ok(its) = directory.join("device").canonicalize() else { return false };
        // With multipath a namespace belongs to a subsystem, which lists its controllers.
        its == device || its.join(controller).exists()
    };
    system.class("block").unwrap_or_default().into_iter().filter(belongs).collect()
}

fn located(
    system: &System,
    path: &str,
    found: Found,
    driver: Driver,
    directory: &Path,
    disks: Vec<String>,
) -> Result<Located, OpenError> {
    if let Some(reason) = found.not_sed {
        return Err(OpenError::NotSed { path: path.to_owned(), reason });
    }
    let bus = match driver {
        Driver::Nvme => Bus::Nvme,
        Driver::Scsi => {
            scsi_bus(&directory.join("device").canonicalize().unwrap_or(directory.to_owned()))
        }
    };
    let queue = number(directory, "queue/max_hw_sectors_kb")
        .and_then(|kilobytes| usize::try_from(kilobytes.saturating_mul(1024)).ok())
        .filter(|&bytes| bytes >= 512);
    let attachment = Attachment {
        node: path.to_owned(),
        bus,
        allow_tpm: system.allow_tpm(),
        max_transfer: queue.unwrap_or(MAX_TRANSFER).min(MAX_TRANSFER),
    };
    Ok(Located { driver, attachment, geometry: geometry(&found), disks })
}

fn geometry(found: &Found) -> Geometry {
    Geometry { logical_block_size: found.logical_block_size, capacity: found.capacity }
}

/// Opens for reading and writing, or for reading only where a locked drive allows no more.
fn open_node(path: &PathBuf) -> io::Result<File> {
    let open = |write| {
        OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
    };
    open(true).or_else(|error| match error.raw_os_error() {
        Some(libc::EROFS | libc::EACCES | libc::EPERM) => open(false).map_err(|_| error),
        _ => Err(error),
    })
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run as root",
        io::ErrorKind::NotFound => "; `opalbox drive list` shows what there is",
        _ => "",
    }
}
