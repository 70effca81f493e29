// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel must do for a real path: carry one SCSI or NVMe command to an open device node.
//!
//! [`Passthrough`] is the seam under which a test puts a kernel of its own. Everything above it is
//! bytes and decisions; below it there are only ioctls ([`super::sys`]).

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use opal::{TransportError, TransportErrorKind as Kind};

/// Limit of a security command: what Linux gives NVMe admin commands.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Limit of a command that only asks whether something works; a path that stalls is no path.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Default for the largest transfer of a real path, in bytes.
///
/// What common controllers, bridges and drivers carry; `device` lowers it to the queue's own limit.
pub const MAX_TRANSFER: usize = 64 * 1024;

/// The payload of one command.
#[derive(Debug)]
pub enum Data<'a> {
    /// No payload.
    None,
    /// Host to drive.
    Out(&'a [u8]),
    /// Drive to host.
    In(&'a mut [u8]),
}

impl Data<'_> {
    /// Bytes of the payload.
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Out(data) => data.len(),
            Self::In(data) => data.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same payload once more, for another try.
    pub(super) fn again(&mut self) -> Data<'_> {
        match self {
            Self::None => Data::None,
            Self::Out(data) => Data::Out(data),
            Self::In(data) => Data::In(data),
        }
    }
}

/// A SCSI command descriptor block of at most 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cdb {
    bytes: [u8; 16],
    length: u8,
}

impl Cdb {
    /// The bytes as they go to the device.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&self.bytes)
    }
}

impl From<[u8; 6]> for Cdb {
    fn from(bytes: [u8; 6]) -> Self {
        Self::padded(&bytes)
    }
}

impl From<[u8; 12]> for Cdb {
    fn from(bytes: [u8; 12]) -> Self {
        Self::padded(&bytes)
    }
}

impl From<[u8; 16]> for Cdb {
    fn from(bytes: [u8; 16]) -> Self {
        Self { bytes, length: 16 }
    }
}

impl Cdb {
    fn padded<const N: usize>(from: &[u8; N]) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = *from;
        }
        Self { bytes, length: N as u8 }
    }
}

impl fmt::Debug for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cdb({:02x?})", self.as_bytes())
    }
}

/// How a SCSI command that the kernel carried has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScsiReply {
    /// SCSI status; 0 is GOOD.
    pub status: u8,
    /// What the host adapter says; 0 is fine.
    pub host_status: u16,
    /// What the driver says; 0 is fine, 8 tells of sense data.
    pub driver_status: u16,
    /// Sense data, as much as was given.
    pub sense: Vec<u8>,
    /// Payload bytes that were transferred.
    pub transferred: usize,
}

/// An NVMe admin command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NvmeAdmin {
    /// Opcode.
    pub opcode: u8,
    /// Namespace.
    pub nsid: u32,
    /// Command dwords 10 to 15.
    pub cdw10: [u32; 6],
}

/// Commands to one open device node.
pub trait Passthrough {
    /// Carries a SCSI command (SG_IO).
    ///
    /// # Errors
    /// The kernel did not carry it.
    fn scsi(&mut self, cdb: &Cdb, data: Data<'_>, timeout: Duration) -> io::Result<ScsiReply>;

    /// Carries an NVMe admin command and returns its status field, phase bit shifted out; 0 is
    /// success.
    ///
    /// # Errors
    /// The kernel did not carry it.
    fn nvme(&mut self, command: &NvmeAdmin, data: Data<'_>, timeout: Duration) -> io::Result<u16>;

    /// Lets time pass before a retry.
    fn pause(&mut self, duration: Duration) {
        thread::sleep(duration);
    }
}

/// Where a node hangs: what error texts and their advice need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The node as the user knows it, `/dev/sda`.
    pub node: String,
    /// What carries the commands.
    pub bus: Bus,
    /// Kernel parameter `libata.allow_tpm`, if libata is there.
    pub allow_tpm: Option<bool>,
    /// Largest transfer of the node's queue in bytes, at least 512.
    pub max_transfer: usize,
}

/// What carries the commands of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// NVMe, on PCI Express or a fabric.
    Nvme,
    /// SATA behind the kernel's own translation (libata).
    Ata,
    /// A bridge on USB.
    Usb,
    /// Any other SCSI host: SAS, RAID controllers, virtual ones.
    Scsi,
}

/// The error of a command that the kernel did not carry.
pub(super) fn os_error(error: &io::Error, at: &Attachment, length: usize) -> TransportError {
    let node = &at.node;
    let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    let (kind, text) = match errno {
        Errno::EACCES | Errno::EPERM => (
            Kind::Denied,
            format!(
                "no permission to send security commands to {node}; run as root \
                 (it takes {} and write access to the node)",
                if at.bus == Bus::Nvme { "CAP_SYS_ADMIN" } else { "CAP_SYS_RAWIO" }
            ),
        ),
        Errno::ENOTTY | Errno::ENOSYS | Errno::EOPNOTSUPP => (
            Kind::Unsupported,
            format!("the driver of {node} takes no commands of this kind; it is no path to a SED"),
        ),
        Errno::ENODEV | Errno::ENXIO | Errno::ENOENT | Errno::ESHUTDOWN => {
            (Kind::Gone, format!("{node} is gone; was it unplugged?"))
        }
        Errno::ETIMEDOUT | Errno::ETIME => (
            Kind::TimedOut,
            format!("{node} did not answer in time; a full power cycle may bring it back"),
        ),
        Errno::EINVAL | Errno::E2BIG => (
            Kind::InvalidLength,
            format!("the kernel refused a transfer of {length} bytes to {node}"),
        ),
        Errno::EBUSY | Errno::EAGAIN => {
            (Kind::Failed, format!("{node} is busy with other commands; try again"))
        }
        errno => (
            Kind::Failed,
            format!(
                "command to {node} failed: {}; see the kernel log for the reason",
                errno.desc()
            ),
        ),
    };
    TransportError::new(kind, text)
}

/// Runs a receive, asking for less where the path refuses the length.
///
/// Some drives and drivers refuse large receives with EINVAL; a TPer that is asked for too little
/// keeps its answer and says how much it needs (Core 2.01 §3.3.10.2).
pub(super) fn shrinking(
    buffer: &mut [u8],
    limit: &mut usize,
    mut receive: impl FnMut(&mut [u8]) -> Result<usize, TransportError>,
) -> Result<usize, TransportError> {
    const LEAST: usize = 2048;
    let mut length = buffer.len();
    loop {
        let (asked, rest) = buffer.split_at_mut_checked(length).unwrap_or_default();
        match receive(asked) {
            Err(error) if error.kind == Kind::InvalidLength && length > LEAST => {
                length = (length / 2).next_multiple_of(512).max(LEAST);
                *limit = (*limit).min(length);
            }
            Err(error) => return Err(error),
            Ok(valid) => {
                let valid = valid.min(asked.len());
                asked.get_mut(valid..).unwrap_or_default().fill(0);
                rest.fill(0);
                return Ok(valid);
            }
        }
    }
}
