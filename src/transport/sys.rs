// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's interfaces: SG_IO, NVMe passthrough and the block ioctls.
//!
//! Structures and numbers are those of the Linux user-space API (`scsi/sg.h`, `linux/nvme_ioctl.h`,
//! `linux/fs.h`); nothing outside this file has to know them.

#![expect(unsafe_code, reason = "ioctls take pointers to structures of the kernel's")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use super::passthrough::{Cdb, Data, NvmeAdmin, Passthrough, ScsiReply};

/// An open device node as the kernel's [`Passthrough`].
#[derive(Debug)]
pub struct Node(File);

impl Node {
    /// Commands go through `file`, an open device node.
    pub fn new(file: File) -> Self {
        Self(file)
    }
}

impl Passthrough for Node {
    fn scsi(&mut self, cdb: &Cdb, data: Data<'_>, timeout: Duration) -> io::Result<ScsiReply> {
        let length = u32::try_from(data.len()).map_err(|_| too_long())?;
        let (direction, pointer) = match data {
            Data::None => (SG_DXFER_NONE, std::ptr::null_mut()),
            // The kernel only reads through this pointer: the direction says so.
            Data::Out(data) => (SG_DXFER_TO_DEV, data.as_ptr().cast_mut()),
            Data::In(data) => (SG_DXFER_FROM_DEV, data.as_mut_ptr()),
        };
        let mut sense = [0u8; SENSE_LENGTH];
        let command = cdb.as_bytes();
        let mut header = SgIoHeader {
            interface_id: i32::from(b'S'),
            dxfer_direction: direction,
            cmd_len: command.len() as u8,
            mx_sb_len: SENSE_LENGTH as u8,
            iovec_count: 0,
            dxfer_len: length,
            dxferp: pointer.cast(),
            cmdp: command.as_ptr(),
            sbp: sense.as_mut_ptr(),
            timeout: milliseconds(timeout),
            flags: 0,
            pack_id: 0,
            usr_ptr: std::ptr::null_mut(),
            status: 0,
            masked_status: 0,
            msg_status: 0,
            sb_len_wr: 0,
            host_status: 0,
            driver_status: 0,
            resid: 0,
            duration: 0,
            info: 0,
        };
        // SAFETY: `header` is the structure that SG_IO takes (its size is asserted below). Payload,
        // command and sense pointers each are valid for the length beside them and outlive the call,
        // and only the sense buffer and a payload borrowed mutably are written to.
        unsafe { ioctl(self.0.as_fd(), SG_IO, (&raw mut header).cast()) }?;
        let written = usize::from(header.sb_len_wr).min(SENSE_LENGTH);
        let missing = usize::try_from(header.resid).unwrap_or(0).min(length as usize);
        Ok(ScsiReply {
            status: header.status,
            host_status: header.host_status,
            driver_status: header.driver_status,
            sense: sense.iter().take(written).copied().collect(),
            transferred: length as usize - missing,
        })
    }

    fn nvme(&mut self, command: &NvmeAdmin, data: Data<'_>, timeout: Duration) -> io::Result<u16> {
        if !fits(command, &data) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let data_len = u32::try_from(data.len()).map_err(|_| too_long())?;
        let addr = match data {
            Data::None => 0,
            Data::Out(data) => data.as_ptr().expose_provenance() as u64,
            Data::In(data) => data.as_mut_ptr().expose_provenance() as u64,
        };
        let mut request = NvmeAdminCommand {
            opcode: command.opcode,
            flags: 0,
            rsvd1: 0,
            nsid: command.nsid,
            cdw2: 0,
            cdw3: 0,
            metadata: 0,
            addr,
            metadata_len: 0,
            data_len,
            cdw10: command.cdw10,
            timeout_ms: milliseconds(timeout),
            result: 0,
        };
        // SAFETY: `request` is the structure of this ioctl number (the number holds its size, which
        // is asserted below). `addr` points to `data_len` bytes that outlive the call; `fits` has made
        // sure that the controller transfers no more than that, and in the direction that the borrow
        // allows.
        let status =
            unsafe { ioctl(self.0.as_fd(), NVME_IOCTL_ADMIN_CMD, (&raw mut request).cast()) };
        let status = match status {
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => {
                let mut request = NvmeAdminCommand64 { head: request, result: 0 };
                // SAFETY: as above, with the structure and number of the 64-bit form.
                unsafe { ioctl(self.0.as_fd(), NVME_IOCTL_ADMIN64_CMD, (&raw mut request).cast()) }?
            }
            other => other?,
        };
        // A positive result is the status field.
        Ok(u16::try_from(status).unwrap_or(u16::MAX))
    }
}

/// Makes the kernel read the partition table of the whole-disk node `file` again.
///
/// # Errors
/// EBUSY while a partition is in use, EINVAL where the device cannot have partitions.
pub fn reread_partition_table(file: &File) -> io::Result<()> {
    // SAFETY: this ioctl takes no argument.
    unsafe { ioctl(file.as_fd(), BLKRRPART, std::ptr::null_mut()) }.map(drop)
}

/// Drops what the kernel has cached of the block device `file`.
///
/// # Errors
/// Those of the ioctl.
pub fn drop_cached_blocks(file: &File) -> io::Result<()> {
    // SAFETY: this ioctl takes no argument.
    unsafe { ioctl(file.as_fd(), BLKFLSBUF, std::ptr::null_mut()) }.map(drop)
}

/// Capacity of the block device `file`, in bytes.
///
/// # Errors
/// Those of the ioctl.
pub fn block_device_size(file: &File) -> io::Result<u64> {
    let mut size = 0u64;
    // SAFETY: this ioctl writes one u64 through its argument.
    unsafe { ioctl(file.as_fd(), BLKGETSIZE64, (&raw mut size).cast()) }?;
    Ok(size)
}

/// Logical block size of the block device `file`, in bytes.
///
/// # Errors
/// Those of the ioctl.
pub fn logical_block_size(file: &File) -> io::Result<u32> {
    let mut size: libc::c_int = 0;
    // SAFETY: this ioctl writes one int through its argument.
    unsafe { ioctl(file.as_fd(), BLKSSZGET, (&raw mut size).cast()) }?;
    u32::try_from(size).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// `sg_io_hdr_t`, interface version 3.
#[repr(C)]
struct SgIoHeader {
    interface_id: i32,
    dxfer_direction: i32,
    cmd_len: u8,
    mx_sb_len: u8,
    iovec_count: u16,
    dxfer_len: u32,
    dxferp: *mut libc::c_void,
    cmdp: *const u8,
    sbp: *mut u8,
    timeout: u32,
    flags: u32,
    pack_id: i32,
    usr_ptr: *mut libc::c_void,
    status: u8,
    masked_status: u8,
    msg_status: u8,
    sb_len_wr: u8,
    host_status: u16,
    driver_status: u16,
    resid: i32,
    duration: u32,
    info: u32,
}

/// `struct nvme_admin_cmd`.
#[repr(C)]
struct NvmeAdminCommand {
    opcode: u8,
    flags: u8,
    rsvd1: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: [u32; 6],
    timeout_ms: u32,
    /// Result of the 32-bit form; reserved in the 64-bit form.
    result: u32,
}

/// `struct nvme_passthru_cmd64`: the same with a result of 64 bits behind.
#[repr(C)]
struct NvmeAdminCommand64 {
    head: NvmeAdminCommand,
    result: u64,
}

const SENSE_LENGTH: usize = 252;

const SG_DXFER_NONE: i32 = -1;
const SG_DXFER_TO_DEV: i32 = -2;
const SG_DXFER_FROM_DEV: i32 = -3;

type Request = libc::c_ulong;

const SG_IO: Request = 0x2285;
const NVME_IOCTL_ADMIN_CMD: Request =
    nix::request_code_readwrite!(b'N', 0x41, size_of::<NvmeAdminCommand>()) as Request;
const NVME_IOCTL_ADMIN64_CMD: Request =
    nix::request_code_readwrite!(b'N', 0x47, size_of::<NvmeAdminCommand64>()) as Request;
const BLKRRPART: Request = nix::request_code_none!(0x12, 95) as Request;
const BLKFLSBUF: Request = nix::request_code_none!(0x12, 97) as Request;
const BLKSSZGET: Request = nix::request_code_none!(0x12, 104) as Request;
const BLKGETSIZE64: Request = nix::request_code_read!(0x12, 114, size_of::<usize>()) as Request;

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<SgIoHeader>() == 88);
#[cfg(target_pointer_width = "32")]
const _: () = assert!(size_of::<SgIoHeader>() == 64);
const _: () = assert!(size_of::<NvmeAdminCommand>() == 72);
const _: () = assert!(size_of::<NvmeAdminCommand64>() == 80);

/// # Safety
/// `argument` must be what `request` takes, and valid for the whole call.
unsafe fn ioctl(
    file: BorrowedFd<'_>,
    request: Request,
    argument: *mut libc::c_void,
) -> io::Result<libc::c_int> {
    // SAFETY: the caller's promise; the descriptor is open, as it is borrowed.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether the payload of `command` is what a controller will transfer.
///
/// The kernel maps the payload, but the length that a controller goes by stands in the command; and
/// bits 1:0 of the opcode tell the direction (NVMe Base 2.0, opcodes of admin commands).
fn fits(command: &NvmeAdmin, data: &Data<'_>) -> bool {
    let [cdw10, cdw11, ..] = command.cdw10;
    let length = match command.opcode {
        // Get Log Page: a number of dwords, zero-based, in two halves.
        0x02 => (u64::from(cdw11 & 0xFFFF) << 16 | u64::from(cdw10 >> 16)).saturating_add(1) * 4,
        0x06 => 4096,
        0x81 | 0x82 => u64::from(cdw11),
        _ => return false,
    };
    let direction = match data {
        Data::None => 0b00,
        Data::Out(_) => 0b01,
        Data::In(_) => 0b10,
    };
    length == data.len() as u64 && (data.is_empty() || command.opcode & 0b11 == direction)
}

fn milliseconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1)
}

fn too_long() -> io::Error {
    io::Error::from_raw_os_error(libc::E2BIG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::nvme::{identify_controller, security_receive, security_send, smart_log};
    use std::mem::offset_of;

    #[test]
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn numbers_are_the_kernels() {
        assert_eq!(NVME_IOCTL_ADMIN_CMD, 0xC048_4E41);
        assert_eq!(NVME_IOCTL_ADMIN64_CMD, 0xC050_4E47);
        assert_eq!(BLKRRPART, 0x125F);
        assert_eq!(BLKFLSBUF, 0x1261);
        assert_eq!(BLKSSZGET, 0x1268);
        assert_eq!(BLKGETSIZE64, 0x8008_1272);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn fields_are_where_the_kernel_looks() {
        assert_eq!(offset_of!(SgIoHeader, cmd_len), 8);
        assert_eq!(offset_of!(SgIoHeader, dxfer_len), 12);
        assert_eq!(offset_of!(SgIoHeader, dxferp), 16);
        assert_eq!(offset_of!(SgIoHeader, cmdp), 24);
        assert_eq!(offset_of!(SgIoHeader, sbp), 32);
        assert_eq!(offset_of!(SgIoHeader, timeout), 40);
        assert_eq!(offset_of!(SgIoHeader, usr_ptr), 56);
        assert_eq!(offset_of!(SgIoHeader, status), 64);
        assert_eq!(offset_of!(SgIoHeader, sb_len_wr), 67);
        assert_eq!(offset_of!(SgIoHeader, host_status), 68);
        assert_eq!(offset_of!(SgIoHeader, resid), 72);
        assert_eq!(offset_of!(SgIoHeader, info), 80);
        assert_eq!(offset_of!(NvmeAdminCommand, nsid), 4);
        assert_eq!(offset_of!(NvmeAdminCommand, addr), 24);
        assert_eq!(offset_of!(NvmeAdminCommand, data_len), 36);
        assert_eq!(offset_of!(NvmeAdminCommand, cdw10), 40);
        assert_eq!(offset_of!(NvmeAdminCommand, timeout_ms), 64);
        assert_eq!(offset_of!(NvmeAdminCommand, result), 68);
        assert_eq!(offset_of!(NvmeAdminCommand64, result), 72);
    }

    // The kernel itself answers for a file that is no device: the call is made and refused.
    #[test]
    fn a_plain_file_takes_no_device_commands() {
        let file = tempfile::tempfile().unwrap();
        assert!(reread_partition_table(&file).is_err());
        assert!(block_device_size(&file).is_err());
        assert!(logical_block_size(&file).is_err());
        assert!(drop_cached_blocks(&file).is_err());
        let mut node = Node::new(file);
        let mut buffer = [0; 512];
        let cdb = Cdb::from([0x12, 0, 0, 0, 96, 0]);
        let error = node.scsi(&cdb, Data::In(&mut buffer), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        let command = security_receive(1, 1, 512);
        let error = node.nvme(&command, Data::In(&mut buffer), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }

    #[test]
    fn a_controller_is_never_told_of_more_than_there_is() {
        let (mut buffer, sent) = ([0; 512], [0; 512]);
        assert!(fits(&security_receive(1, 1, 512), &Data::In(&mut buffer)));
        assert!(!fits(&security_receive(1, 1, 1024), &Data::In(&mut buffer)));
        assert!(!fits(&security_receive(1, 1, 512), &Data::Out(&sent)));
        assert!(fits(&security_send(1, 1, 512), &Data::Out(&sent)));
        assert!(!fits(&security_send(1, 1, 512), &Data::In(&mut buffer)));
        assert!(!fits(&security_send(1, 1, 512), &Data::None));
        assert!(fits(&smart_log(), &Data::In(&mut buffer)));
        assert!(!fits(&identify_controller(), &Data::In(&mut buffer)));
        assert!(fits(&identify_controller(), &Data::In(&mut [0; 4096])));
        assert!(!fits(&NvmeAdmin::default(), &Data::None));
        let mut node = Node::new(tempfile::tempfile().unwrap());
        let command = security_receive(1, 1, 1024);
        let error = node.nvme(&command, Data::In(&mut buffer), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
