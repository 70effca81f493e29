// SPDX-License-Identifier: MIT OR Apache-2.0
//! The seam between command layers (NVMe, SCSI, ATA) and the emulated drive behind them.
//!
//! A command layer decodes what an interface carries, asks the [`Backend`], and words the answer in
//! the interface's own terms. Access control, encryption and the shadow MBR are behind this trait,
//! so that every front-end gets them alike.

pub mod memory;

/// One emulated drive as a command layer sees it.
///
/// Calls come from many threads. A call that returns has taken effect as far as the interface can
/// tell: a read sees every write that returned before, and after [`flush`](Self::flush) nothing
/// that was written is lost with the power.
pub trait Backend: Send + Sync {
    /// What the drive says about itself. Does not change while it is attached.
    fn identity(&self) -> DriveIdentity;

    /// IF-SEND (Core 2.01 §3.3.1).
    ///
    /// # Errors
    /// The interface status that the TPer asks for.
    fn if_send(&self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), CommandStatus>;

    /// IF-RECV: at most `len` bytes; a command layer pads a shorter answer with zeros.
    ///
    /// # Errors
    /// The interface status that the TPer asks for.
    fn if_recv(&self, protocol: u8, specific: u16, len: usize) -> Result<Vec<u8>, CommandStatus>;

    /// Fills `data`, a whole number of blocks, from block `lba` on.
    ///
    /// # Errors
    /// [`CommandStatus::DataProtection`] where any block is locked; `data` then holds nothing of
    /// the medium. [`CommandStatus::LbaOutOfRange`], [`CommandStatus::MediaError`].
    fn read(&self, lba: u64, data: &mut [u8]) -> Result<(), CommandStatus>;

    /// Writes `data`, a whole number of blocks, from block `lba` on.
    ///
    /// # Errors
    /// As for [`read`](Self::read); nothing is written where any block is locked.
    fn write(&self, lba: u64, data: &[u8]) -> Result<(), CommandStatus>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// [`CommandStatus::MediaError`].
    fn flush(&self) -> Result<(), CommandStatus>;

    /// Says that the content of `blocks` blocks from `lba` on is no longer needed.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn discard(&self, lba: u64, blocks: u64) -> Result<(), CommandStatus>;

    /// Something happened to the interface that is a TCG reset (Core 2.01 §3.3.8).
    fn reset(&self, kind: ResetKind);
}

/// What a drive says about itself, in no interface's layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveIdentity {
    /// Model name; at most 40 ASCII characters are shown.
    pub model: String,
    /// Serial number; at most 20 ASCII characters are shown.
    pub serial: String,
    /// Firmware revision; at most 8 ASCII characters are shown.
    pub firmware: String,
    /// World wide name (NAA, 64 bits): SCSI and ATA.
    pub wwn: u64,
    /// Namespace globally unique identifier: NVMe.
    pub nguid: [u8; 16],
    /// Bytes in a logical block: a power of two, 512 to 65,536.
    pub block_size: u32,
    /// Logical blocks.
    pub blocks: u64,
}

/// Why a drive refuses a command, before any interface gives it a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandStatus {
    /// Protocol, ComID or another parameter is not acceptable.
    InvalidParameter,
    /// An IF-SEND came while the answer to the last one was not fetched.
    ProtocolViolation,
    /// The transfer length is not acceptable.
    InvalidLength,
    /// A block in the range is locked.
    DataProtection,
    /// The range ends beyond the drive.
    LbaOutOfRange,
    /// The medium failed.
    MediaError,
    /// The drive's security state forbids the command for now.
    InvalidSecurityState,
}

/// TCG resets that an interface can cause (Core 2.01 table 128). The programmatic one is a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKind {
    /// The drive lost power.
    PowerCycle,
    /// A reset of the hardware that keeps the power.
    Hardware,
    /// Taken out and put back.
    HotPlug,
}
