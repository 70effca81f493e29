// SPDX-License-Identifier: MIT OR Apache-2.0
//! SCSI commands without any transport, answered from a [`Backend`] (SPC-4, SBC-3).
//!
//! Security protocols travel in A2h and B5h, and with SAT in ATA PASS-THROUGH too. A front-end
//! hands over the CDB and the data from the host, and carries status, sense and data back.

mod inquiry;
mod parameters;
mod sat;
pub mod sense;

use std::sync::Arc;

pub use self::sense::{Response, Sense};
use super::ata;
use super::backend::{Backend, CommandStatus, DriveIdentity, ResetKind};

/// Largest transfer of one command in bytes; told in the Block Limits page.
pub const MAX_TRANSFER: usize = 4 << 20;

/// One logical unit: the drive as a SCSI disk.
pub struct LogicalUnit {
    backend: Arc<dyn Backend>,
    identity: DriveIdentity,
    ata: Option<ata::Device>,
}

/// A command descriptor block; what is missing at its end reads as zero.
#[derive(Debug, Clone, Copy)]
pub struct Cdb<'a>(pub &'a [u8]);

impl Cdb<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn big16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.byte(at), self.byte(at + 1)])
    }

    fn big32(&self, at: usize) -> u32 {
        u32::from(self.big16(at)) << 16 | u32::from(self.big16(at + 2))
    }

    fn big64(&self, at: usize) -> u64 {
        u64::from(self.big32(at)) << 32 | u64::from(self.big32(at + 4))
    }

    /// First block and number of blocks of a medium command, by the size of its CDB.
    fn extent(&self) -> Extent {
        match self.byte(0) >> 5 {
            0 => Extent {
                lba: u64::from(self.big32(0) & 0x1F_FFFF),
                // Zero means 256 in the 6-byte forms only.
                blocks: if self.byte(4) == 0 { 256 } else { self.byte(4).into() },
            },
            1 | 2 => Extent { lba: self.big32(2).into(), blocks: self.big16(7).into() },
            4 => Extent { lba: self.big64(2), blocks: self.big32(10).into() },
            _ => Extent { lba: self.big32(2).into(), blocks: self.big32(6).into() },
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    lba: u64,
    blocks: u64,
}

impl LogicalUnit {
    /// The SCSI face of `backend`; with `sat` it is a SATA drive behind a translation layer.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, sat: bool) -> Self {
        let identity = backend.identity();
        let ata = sat.then(|| ata::Device::new(Arc::clone(&backend)));
        Self { backend, identity, ata }
    }

    /// Executes a command with the data that came with it.
    #[must_use]
    pub fn execute(&self, cdb: &[u8], data: &[u8]) -> Response {
        let cdb = Cdb(cdb);
        if let (0x85 | 0xA1, Some(device)) = (cdb.byte(0), &self.ata) {
            let block_size = self.identity.block_size as usize;
            return match sat::execute(device, &cdb, block_size, data) {
                sat::Outcome::Answered(response) => response,
                sat::Outcome::HardwareReset => {
                    self.backend.reset(ResetKind::Hardware);
                    Response::good(Vec::new())
                }
            };
        }
        match self.dispatch(&cdb, data) {
            Ok(data) => Response::good(data),
            Err(Refused::Sense(sense)) => sense.into(),
            Err(Refused::Drive(refusal)) => {
                Sense::of(refusal, WRITES.contains(&cdb.byte(0))).into()
            }
        }
    }

    fn dispatch(&self, cdb: &Cdb, data: &[u8]) -> Result<Vec<u8>, Refused> {
        let sat = self.ata.is_some();
        let nothing = Ok(Vec::new());
        match (cdb.byte(0), cdb.byte(1) & 0x1F) {
            // TEST UNIT READY, PREVENT ALLOW MEDIUM REMOVAL.
            (0x00 | 0x1E, _) => nothing,
            (0x03, _) => Ok(cut(Sense::NONE.fixed(), cdb.byte(4).into())),
            (0x12, _) => self.inquiry(cdb),
            (0x1A, _) => Ok(cut(parameters::mode_sense(cdb, false)?, cdb.byte(4).into())),
            (0x5A, _) => Ok(cut(parameters::mode_sense(cdb, true)?, cdb.big16(7).into())),
            // START STOP UNIT: stopping makes the cache durable.
            (0x1B, _) => {
                if cdb.byte(4) & 1 == 0 {
                    self.backend.flush()?;
                }
                nothing
            }
            (0x25, _) => Ok(parameters::capacity_10(&self.identity)),
            (0x9E, 0x10) => Ok(cut(parameters::capacity_16(&self.identity), cdb.big32(10))),
            (0x08 | 0x28 | 0x88 | 0xA8, _) => self.read(cdb),
            (0x0A | 0x2A | 0x8A | 0xAA, _) => self.write(cdb, data),
            (0x2F | 0x8F, _) => self.verify(cdb),
            (0x35 | 0x91, _) => {
                self.backend.flush()?;
                nothing
            }
            (0x41 | 0x93, _) => self.write_same(cdb, data),
            (0x42, _) => self.unmap(cdb, data),
            (0xA0, _) => Ok(cut(parameters::luns(), cdb.big32(6))),
            (0xA2, _) => self.security_in(cdb),
            (0xB5, _) => self.security_out(cdb, data),
            (0xA3, 0x0C) => Ok(cut(parameters::operation_codes(cdb, sat)?, cdb.big32(6))),
            (0x9E | 0xA3, _) => Err(Sense::INVALID_FIELD.into()),
            _ => Err(Sense::INVALID_OPCODE.into()),
        }
    }

    fn inquiry(&self, cdb: &Cdb) -> Result<Vec<u8>, Refused> {
        let sat = self.ata.is_some();
        let data = match (cdb.byte(1) & 1, cdb.byte(2)) {
            (0, 0) => inquiry::standard(&self.identity, sat),
            (0, _) => return Err(Sense::INVALID_FIELD.into()),
            (_, page) => inquiry::page(&self.identity, sat, page)?,
        };
        Ok(cut(data, cdb.big16(3).into()))
    }

    fn read(&self, cdb: &Cdb) -> Result<Vec<u8>, Refused> {
        let (extent, bytes) = self.transfer(cdb)?;
        let mut data = vec![0; bytes];
        if bytes > 0 {
            self.backend.read(extent.lba, &mut data)?;
        }
        Ok(data)
    }

    fn write(&self, cdb: &Cdb, data: &[u8]) -> Result<Vec<u8>, Refused> {
        let (extent, bytes) = self.transfer(cdb)?;
        let data = data.get(..bytes).ok_or(Sense::INVALID_FIELD)?;
        if bytes > 0 {
            self.backend.write(extent.lba, data)?;
        }
        // FUA, which the 6-byte form has no room for.
        if cdb.byte(0) != 0x0A && cdb.byte(1) & 1 << 3 != 0 {
            self.backend.flush()?;
        }
        Ok(Vec::new())
    }

    /// VERIFY without a comparison: the blocks can be read.
    fn verify(&self, cdb: &Cdb) -> Result<Vec<u8>, Refused> {
        if cdb.byte(1) & 0x06 != 0 {
            return Err(Sense::INVALID_FIELD.into());
        }
        self.read(cdb)?;
        Ok(Vec::new())
    }

    fn write_same(&self, cdb: &Cdb, data: &[u8]) -> Result<Vec<u8>, Refused> {
        const UNMAP: u8 = 1 << 3;
        const NO_DATA: u8 = 1;
        let mut extent = cdb.extent();
        // Zero means to the end of the medium, if that is not too much (SBC-3 §5.43).
        if extent.blocks == 0 {
            extent.blocks = self.identity.blocks.saturating_sub(extent.lba);
        }
        self.in_range(extent)?;
        if extent.blocks > inquiry::WRITE_SAME_BLOCKS {
            return Err(Sense::INVALID_FIELD.into());
        }
        if cdb.byte(1) & UNMAP != 0 && cdb.byte(0) == 0x93 {
            self.backend.discard(extent.lba, extent.blocks)?;
            return Ok(Vec::new());
        }
        let size = self.identity.block_size as usize;
        let block = if cdb.byte(1) & NO_DATA != 0 && cdb.byte(0) == 0x93 {
            vec![0; size]
        } else {
            data.get(..size).ok_or(Sense::INVALID_FIELD)?.to_vec()
        };
        let at_once = ((128 << 10) / size).max(1);
        let pattern = block.repeat(at_once);
        let mut done = 0;
        while done < extent.blocks {
            let count = (extent.blocks - done).min(at_once as u64);
            let part = pattern.get(..count as usize * size).ok_or(Sense::INVALID_FIELD)?;
            self.backend.write(extent.lba + done, part)?;
            done += count;
        }
        Ok(Vec::new())
    }

    /// UNMAP (SBC-3 §5.28): every descriptor is checked before the first is obeyed.
    fn unmap(&self, cdb: &Cdb, data: &[u8]) -> Result<Vec<u8>, Refused> {
        let length = usize::from(cdb.big16(7));
        if length == 0 {
            return Ok(Vec::new());
        }
        let list = Cdb(data.get(..length).ok_or(Sense::PARAMETER_LIST_LENGTH)?);
        if length < 8 {
            return Err(Sense::PARAMETER_LIST_LENGTH.into());
        }
        let described = usize::from(list.big16(2)).min(length - 8) / 16;
        if described > inquiry::UNMAP_DESCRIPTORS as usize {
            return Err(Sense::INVALID_PARAMETER_LIST.into());
        }
        let extents: Vec<Extent> = (0..described)
            .map(|n| 8 + 16 * n)
            .map(|at| Extent { lba: list.big64(at), blocks: list.big32(at + 8).into() })
            .collect();
        for extent in &extents {
            self.in_range(*extent)?;
        }
        for extent in extents.iter().filter(|extent| extent.blocks > 0) {
            self.backend.discard(extent.lba, extent.blocks)?;
        }
        Ok(Vec::new())
    }

    fn security_in(&self, cdb: &Cdb) -> Result<Vec<u8>, Refused> {
        let length = security_length(cdb)?;
        let mut data = self.backend.if_recv(cdb.byte(1), cdb.big16(2), length)?;
        data.resize(length, 0);
        Ok(data)
    }

    fn security_out(&self, cdb: &Cdb, data: &[u8]) -> Result<Vec<u8>, Refused> {
        let length = security_length(cdb)?;
        let data = data.get(..length).ok_or(Sense::INVALID_FIELD)?;
        self.backend.if_send(cdb.byte(1), cdb.big16(2), data)?;
        Ok(Vec::new())
    }

    /// The extent of a medium command and its bytes, both within bounds.
    fn transfer(&self, cdb: &Cdb) -> Result<(Extent, usize), Refused> {
        let extent = cdb.extent();
        self.in_range(extent)?;
        // Protection information is not supported: RDPROTECT and WRPROTECT must be zero.
        if !matches!(cdb.byte(0), 0x08 | 0x0A) && cdb.byte(1) >> 5 != 0 {
            return Err(Sense::INVALID_FIELD.into());
        }
        let bytes = extent.blocks.checked_mul(u64::from(self.identity.block_size));
        match bytes.and_then(|bytes| usize::try_from(bytes).ok()) {
            Some(bytes) if bytes <= MAX_TRANSFER => Ok((extent, bytes)),
            _ => Err(Sense::INVALID_FIELD.into()),
        }
    }

    fn in_range(&self, extent: Extent) -> Result<(), CommandStatus> {
        match extent.lba.checked_add(extent.blocks) {
            Some(end) if end <= self.identity.blocks => Ok(()),
            _ => Err(CommandStatus::LbaOutOfRange),
        }
    }
}

/// Operation codes whose media errors are write errors.
const WRITES: [u8; 7] = [0x0A, 0x2A, 0x8A, 0xAA, 0x41, 0x93, 0x42];

/// Length of A2h and B5h in bytes: INC_512 counts blocks of 512.
fn security_length(cdb: &Cdb) -> Result<usize, Sense> {
    let unit = if cdb.byte(4) & 0x80 != 0 { 512 } else { 1 };
    let length = u64::from(cdb.big32(6)) * unit;
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_TRANSFER)
        .ok_or(Sense::INVALID_FIELD)
}

/// Data cut to the allocation length.
fn cut(mut data: Vec<u8>, allocation: u32) -> Vec<u8> {
    data.truncate(usize::try_from(allocation).unwrap_or(usize::MAX));
    data
}

/// ASCII padded with spaces; what is not printable becomes `?`.
fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (slot, character) in field.iter_mut().zip(text.chars()) {
        *slot = if matches!(character, ' '..='~') { character as u8 } else { b'?' };
    }
    field
}

/// A refusal by the drive, or by this layer.
enum Refused {
    Drive(CommandStatus),
    Sense(Sense),
}

impl From<CommandStatus> for Refused {
    fn from(refusal: CommandStatus) -> Self {
        Self::Drive(refusal)
    }
}

impl From<Sense> for Refused {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

#[cfg(test)]
mod tests;
