// SPDX-License-Identifier: MIT OR Apache-2.0
//! ATA commands without any transport, answered from a [`Backend`] (ACS-3).
//!
//! Used through SCSI's ATA PASS-THROUGH today; written so that an AHCI front-end can follow: it
//! builds [`Registers`] from a FIS, asks [`Device::transfer`] which way data goes, and executes.

pub mod identify;

use std::sync::Arc;

use super::backend::{Backend, CommandStatus, DriveIdentity};

/// Bytes of a block of everything that is not user data.
pub const BLOCK: usize = 512;
/// Largest transfer of one command in bytes: 65,536 sectors, the most a command can name.
pub const MAX_TRANSFER: usize = 65_536 * BLOCK;

/// The task file a command comes with; 28-bit commands leave the upper halves zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers {
    /// FEATURE, 16 bits.
    pub feature: u16,
    /// COUNT, 16 bits.
    pub count: u16,
    /// LBA, 48 bits.
    pub lba: u64,
    /// DEVICE; in 28-bit commands its low nibble is LBA (27:24).
    pub device: u8,
    /// COMMAND.
    pub command: u8,
}

/// What a command's end leaves in the registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// STATUS: [`READY`] alone, or with [`ERROR`].
    pub status: u8,
    /// ERROR, meaningful when STATUS says so.
    pub error: u8,
    /// COUNT.
    pub count: u16,
    /// Data for the host.
    pub data: Vec<u8>,
}

/// Which way data goes and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// No data.
    None,
    /// Device to host.
    In(usize),
    /// Host to device.
    Out(usize),
}

/// STATUS: ready (DRDY and the obsolete seek-complete bit hosts expect).
pub const READY: u8 = 0x50;
/// STATUS bit 0: the command failed.
pub const ERROR: u8 = 0x01;
/// ERROR bit 2: command aborted.
pub const ABORTED: u8 = 0x04;
/// ERROR bit 4: no such sector.
pub const ID_NOT_FOUND: u8 = 0x10;
/// ERROR bit 6: uncorrectable data.
pub const UNCORRECTABLE: u8 = 0x40;

/// Command codes (ACS-3 §7).
pub mod command {
    #![expect(missing_docs, reason = "the names are the standard's")]
    pub const DATA_SET_MANAGEMENT: u8 = 0x06;
    pub const READ_SECTORS: u8 = 0x20;
    pub const READ_SECTORS_EXT: u8 = 0x24;
    pub const READ_DMA_EXT: u8 = 0x25;
    pub const READ_LOG_EXT: u8 = 0x2F;
    pub const WRITE_SECTORS: u8 = 0x30;
    pub const WRITE_SECTORS_EXT: u8 = 0x34;
    pub const WRITE_DMA_EXT: u8 = 0x35;
    pub const WRITE_DMA_FUA_EXT: u8 = 0x3D;
    pub const READ_VERIFY: u8 = 0x40;
    pub const READ_VERIFY_EXT: u8 = 0x42;
    pub const READ_LOG_DMA_EXT: u8 = 0x47;
    pub const TRUSTED_NON_DATA: u8 = 0x5B;
    pub const TRUSTED_RECEIVE: u8 = 0x5C;
    pub const TRUSTED_RECEIVE_DMA: u8 = 0x5D;
    pub const TRUSTED_SEND: u8 = 0x5E;
    pub const TRUSTED_SEND_DMA: u8 = 0x5F;
    pub const READ_FPDMA_QUEUED: u8 = 0x60;
    pub const WRITE_FPDMA_QUEUED: u8 = 0x61;
    pub const READ_DMA: u8 = 0xC8;
    pub const WRITE_DMA: u8 = 0xCA;
    pub const STANDBY_IMMEDIATE: u8 = 0xE0;
    pub const IDLE_IMMEDIATE: u8 = 0xE1;
    pub const CHECK_POWER_MODE: u8 = 0xE5;
    pub const FLUSH_CACHE: u8 = 0xE7;
    pub const FLUSH_CACHE_EXT: u8 = 0xEA;
    pub const IDENTIFY_DEVICE: u8 = 0xEC;
    pub const SET_FEATURES: u8 = 0xEF;
}

/// An ATA device over a drive.
pub struct Device {
    backend: Arc<dyn Backend>,
    identity: DriveIdentity,
}

/// A sector range of user data.
struct Extent {
    lba: u64,
    sectors: u64,
}

impl Device {
    /// The ATA face of `backend`.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let identity = backend.identity();
        Self { backend, identity }
    }

    /// IDENTIFY DEVICE data.
    #[must_use]
    pub fn identify(&self) -> [u8; BLOCK] {
        identify::device(&self.identity)
    }

    /// Which way the command moves data and how much.
    ///
    /// # Errors
    /// The reply that refuses it: unknown, or more than [`MAX_TRANSFER`].
    pub fn transfer(&self, registers: &Registers) -> Result<Transfer, Reply> {
        let sectors = |extent: Extent| {
            usize::try_from(extent.sectors)
                .ok()
                .and_then(|count| count.checked_mul(self.identity.block_size as usize))
                .filter(|bytes| *bytes <= MAX_TRANSFER)
                .ok_or_else(Reply::aborted)
        };
        let blocks = |count: usize| match count.checked_mul(BLOCK) {
            Some(bytes) if bytes <= MAX_TRANSFER => Ok(bytes),
            _ => Err(Reply::aborted()),
        };
        Ok(match registers.command {
            command::IDENTIFY_DEVICE => Transfer::In(BLOCK),
            command::READ_LOG_EXT | command::READ_LOG_DMA_EXT => {
                Transfer::In(blocks(usize::from(registers.count))?)
            }
            command::TRUSTED_RECEIVE | command::TRUSTED_RECEIVE_DMA => {
                Transfer::In(blocks(trusted_blocks(registers))?)
            }
            command::TRUSTED_SEND | command::TRUSTED_SEND_DMA => {
                Transfer::Out(blocks(trusted_blocks(registers))?)
            }
            command::DATA_SET_MANAGEMENT => Transfer::Out(blocks(usize::from(registers.count))?),
            code if READS.contains(&code) => Transfer::In(sectors(extent(registers))?),
            code if WRITES.contains(&code) => Transfer::Out(sectors(extent(registers))?),
            code if NON_DATA.contains(&code) => Transfer::None,
            _ => return Err(Reply::aborted()),
        })
    }

    /// Executes a command; `data` is what the host sent with it.
    #[must_use]
    pub fn execute(&self, registers: &Registers, data: &[u8]) -> Reply {
        let transfer = match self.transfer(registers) {
            Ok(transfer) => transfer,
            Err(reply) => return reply,
        };
        let result = match transfer {
            Transfer::In(bytes) => self.read(registers, bytes).map(Reply::data),
            Transfer::Out(bytes) => match data.get(..bytes) {
                Some(data) => self.write(registers, data).map(|()| Reply::good()),
                None => return Reply::aborted(),
            },
            Transfer::None => self.non_data(registers),
        };
        result.unwrap_or_else(Reply::refused)
    }

    fn read(&self, registers: &Registers, bytes: usize) -> Result<Vec<u8>, CommandStatus> {
        match registers.command {
            command::IDENTIFY_DEVICE => Ok(self.identify().to_vec()),
            command::READ_LOG_EXT | command::READ_LOG_DMA_EXT => {
                let log = (registers.lba & 0xFF) as u8;
                let page = (registers.lba >> 8 & 0xFF) | (registers.lba >> 24 & 0xFF00);
                identify::log(&self.identity, log, page, bytes / BLOCK)
                    .ok_or(CommandStatus::InvalidParameter)
            }
            command::TRUSTED_RECEIVE | command::TRUSTED_RECEIVE_DMA => {
                let (protocol, specific) = trusted(registers);
                let mut data = self.backend.if_recv(protocol, specific, bytes)?;
                data.resize(bytes, 0);
                Ok(data)
            }
            _ => {
                let extent = extent(registers);
                self.in_range(&extent)?;
                let mut data = vec![0; bytes];
                self.backend.read(extent.lba, &mut data)?;
                Ok(data)
            }
        }
    }

    fn write(&self, registers: &Registers, data: &[u8]) -> Result<(), CommandStatus> {
        match registers.command {
            command::TRUSTED_SEND | command::TRUSTED_SEND_DMA => {
                let (protocol, specific) = trusted(registers);
                self.backend.if_send(protocol, specific, data)
            }
            command::DATA_SET_MANAGEMENT => self.trim(registers, data),
            code => {
                let extent = extent(registers);
                self.in_range(&extent)?;
                self.backend.write(extent.lba, data)?;
                let queued_forced =
                    code == command::WRITE_FPDMA_QUEUED && registers.device & 0x80 != 0;
                if queued_forced || code == command::WRITE_DMA_FUA_EXT {
                    self.backend.flush()?;
                }
                Ok(())
            }
        }
    }

    fn non_data(&self, registers: &Registers) -> Result<Reply, CommandStatus> {
        match registers.command {
            command::FLUSH_CACHE | command::FLUSH_CACHE_EXT => self.backend.flush()?,
            command::READ_VERIFY | command::READ_VERIFY_EXT => {
                let extent = extent(registers);
                self.in_range(&extent)?;
                let size = self.identity.block_size as usize;
                let mut sector = vec![0; size];
                for lba in extent.lba..extent.lba + extent.sectors {
                    self.backend.read(lba, &mut sector)?;
                }
            }
            command::TRUSTED_NON_DATA => {
                let (protocol, specific) = trusted(registers);
                // LBA bit 24 tells receive from send (ACS-3 §7.54).
                if registers.device & 1 != 0 {
                    self.backend.if_recv(protocol, specific, 0)?;
                } else {
                    self.backend.if_send(protocol, specific, &[])?;
                }
            }
            command::CHECK_POWER_MODE => {
                return Ok(Reply { count: 0xFF, ..Reply::good() });
            }
            command::SET_FEATURES if !FEATURES.contains(&(registers.feature as u8)) => {
                return Err(CommandStatus::InvalidParameter);
            }
            _ => {}
        }
        Ok(Reply::good())
    }

    /// DATA SET MANAGEMENT with TRIM: LBA in bits 47:0, sectors in 63:48; zero sectors end nothing.
    fn trim(&self, registers: &Registers, data: &[u8]) -> Result<(), CommandStatus> {
        if registers.feature & 1 == 0 {
            return Err(CommandStatus::InvalidParameter);
        }
        let (entries, _) = data.as_chunks::<8>();
        let extents: Vec<Extent> = entries
            .iter()
            .map(|entry| u64::from_le_bytes(*entry))
            .map(|entry| Extent { lba: entry & 0xFFFF_FFFF_FFFF, sectors: entry >> 48 })
            .filter(|extent| extent.sectors > 0)
            .collect();
        for extent in &extents {
            self.in_range(extent)?;
        }
        extents.iter().try_for_each(|extent| self.backend.discard(extent.lba, extent.sectors))
    }

    fn in_range(&self, extent: &Extent) -> Result<(), CommandStatus> {
        match extent.lba.checked_add(extent.sectors) {
            Some(end) if end <= self.identity.blocks => Ok(()),
            _ => Err(CommandStatus::LbaOutOfRange),
        }
    }
}

impl Reply {
    fn good() -> Self {
        Self { status: READY, error: 0, count: 0, data: Vec::new() }
    }

    fn data(data: Vec<u8>) -> Self {
        Self { data, ..Self::good() }
    }

    fn aborted() -> Self {
        Self { status: READY | ERROR, error: ABORTED, ..Self::good() }
    }

    fn refused(refusal: CommandStatus) -> Self {
        let error = match refusal {
            CommandStatus::LbaOutOfRange => ID_NOT_FOUND,
            CommandStatus::MediaError => UNCORRECTABLE,
            _ => ABORTED,
        };
        Self { error, ..Self::aborted() }
    }

    /// Whether the command ended well.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status & ERROR == 0
    }
}

const READS: [u8; 5] = [
    command::READ_SECTORS,
    command::READ_SECTORS_EXT,
    command::READ_DMA,
    command::READ_DMA_EXT,
    command::READ_FPDMA_QUEUED,
];

const WRITES: [u8; 6] = [
    command::WRITE_SECTORS,
    command::WRITE_SECTORS_EXT,
    command::WRITE_DMA,
    command::WRITE_DMA_EXT,
    command::WRITE_DMA_FUA_EXT,
    command::WRITE_FPDMA_QUEUED,
];

const NON_DATA: [u8; 9] = [
    command::READ_VERIFY,
    command::READ_VERIFY_EXT,
    command::TRUSTED_NON_DATA,
    command::STANDBY_IMMEDIATE,
    command::IDLE_IMMEDIATE,
    command::CHECK_POWER_MODE,
    command::FLUSH_CACHE,
    command::FLUSH_CACHE_EXT,
    command::SET_FEATURES,
];

/// SET FEATURES that change nothing here: transfer mode, write cache on, read look-ahead on and off.
const FEATURES: [u8; 4] = [0x03, 0x02, 0xAA, 0x55];

const EXTENDED: [u8; 6] = [
    command::READ_SECTORS_EXT,
    command::READ_DMA_EXT,
    command::READ_VERIFY_EXT,
    command::WRITE_SECTORS_EXT,
    command::WRITE_DMA_EXT,
    command::WRITE_DMA_FUA_EXT,
];

/// The user data a command is about; a count of zero is the largest.
fn extent(registers: &Registers) -> Extent {
    let long = |count: u16| if count == 0 { 0x1_0000 } else { u64::from(count) };
    let code = registers.command;
    if code == command::READ_FPDMA_QUEUED || code == command::WRITE_FPDMA_QUEUED {
        return Extent { lba: registers.lba, sectors: long(registers.feature) };
    }
    if EXTENDED.contains(&code) {
        return Extent { lba: registers.lba, sectors: long(registers.count) };
    }
    let count = registers.count & 0xFF;
    Extent {
        lba: registers.lba & 0xFF_FFFF | u64::from(registers.device & 0xF) << 24,
        sectors: if count == 0 { 256 } else { u64::from(count) },
    }
}

/// Security protocol and SP specific of a TRUSTED command.
fn trusted(registers: &Registers) -> (u8, u16) {
    ((registers.feature & 0xFF) as u8, (registers.lba >> 8 & 0xFFFF) as u16)
}

/// Length of a TRUSTED command in blocks: COUNT (7:0), and LBA (7:0) above it.
fn trusted_blocks(registers: &Registers) -> usize {
    usize::from(registers.count & 0xFF) | ((registers.lba & 0xFF) as usize) << 8
}

#[cfg(test)]
mod tests;
