// SPDX-License-Identifier: MIT OR Apache-2.0
//! A drive in memory that is no TPer: to try a front-end alone, and to measure what it costs.

use std::sync::{PoisonError, RwLock};

use super::{Backend, CommandStatus, DriveIdentity, ResetKind};

/// Blocks in memory, a fixed answer to level 0 discovery, and nothing behind it.
///
/// Its discovery says Opal 2 so that clients go on to ask; every ComPacket is refused.
pub struct MemoryDrive {
    identity: DriveIdentity,
    blocks: RwLock<Vec<u8>>,
    locked: RwLock<Option<std::ops::Range<u64>>>,
    resets: RwLock<Vec<ResetKind>>,
}

impl MemoryDrive {
    /// A drive of `blocks` zeroed blocks.
    ///
    /// # Panics
    /// When that many bytes cannot be addressed.
    #[must_use]
    pub fn new(block_size: u32, blocks: u64) -> Self {
        let bytes = usize::try_from(u64::from(block_size) * blocks).expect("fits in memory");
        Self {
            identity: DriveIdentity {
                model: "OPALBOX MEMORY DRIVE".to_owned(),
                serial: "MEM0001".to_owned(),
                firmware: "1.0".to_owned(),
                wwn: 0x5000_0000_0000_0001,
                nguid: *b"\0\0\0\0\0\0\0\0opal-mem",
                block_size,
                blocks,
            },
            blocks: RwLock::new(vec![0; bytes]),
            locked: RwLock::new(None),
            resets: RwLock::new(Vec::new()),
        }
    }

    /// Refuses reads and writes of these blocks from now on.
    pub fn lock(&self, blocks: Option<std::ops::Range<u64>>) {
        *self.locked.write().unwrap_or_else(PoisonError::into_inner) = blocks;
    }

    /// The resets seen so far.
    #[must_use]
    pub fn resets(&self) -> Vec<ResetKind> {
        self.resets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bytes of a transfer, checked.
    fn extent(&self, lba: u64, bytes: usize) -> Result<std::ops::Range<usize>, CommandStatus> {
        let size = u64::from(self.identity.block_size);
        let bytes = bytes as u64;
        let count = bytes.div_ceil(size);
        let end = lba.checked_add(count).ok_or(CommandStatus::LbaOutOfRange)?;
        if end > self.identity.blocks {
            return Err(CommandStatus::LbaOutOfRange);
        }
        let locked = self.locked.read().unwrap_or_else(PoisonError::into_inner);
        if locked.as_ref().is_some_and(|range| lba < range.end && range.start < end) {
            return Err(CommandStatus::DataProtection);
        }
        let from = usize::try_from(lba * size).map_err(|_| CommandStatus::LbaOutOfRange)?;
        let to = usize::try_from(lba * size + bytes).map_err(|_| CommandStatus::LbaOutOfRange)?;
        Ok(from..to)
    }
}

impl Backend for MemoryDrive {
    fn identity(&self) -> DriveIdentity {
        self.identity.clone()
    }

    fn if_send(&self, _protocol: u8, _specific: u16, _data: &[u8]) -> Result<(), CommandStatus> {
        Err(CommandStatus::InvalidParameter)
    }

    fn if_recv(&self, protocol: u8, specific: u16, len: usize) -> Result<Vec<u8>, CommandStatus> {
        let mut answer = match (protocol, specific) {
            (0, 0) => vec![0, 0, 0, 0, 0, 0, 0, 2, 0, 1],
            (1, 1) => discovery(),
            _ => return Err(CommandStatus::InvalidParameter),
        };
        answer.truncate(len);
        Ok(answer)
    }

    fn read(&self, lba: u64, data: &mut [u8]) -> Result<(), CommandStatus> {
        let extent = self.extent(lba, data.len())?;
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        data.copy_from_slice(blocks.get(extent).ok_or(CommandStatus::LbaOutOfRange)?);
        Ok(())
    }

    fn write(&self, lba: u64, data: &[u8]) -> Result<(), CommandStatus> {
        let extent = self.extent(lba, data.len())?;
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        blocks.get_mut(extent).ok_or(CommandStatus::LbaOutOfRange)?.copy_from_slice(data);
        Ok(())
    }

    fn flush(&self) -> Result<(), CommandStatus> {
        Ok(())
    }

    fn discard(&self, lba: u64, blocks: u64) -> Result<(), CommandStatus> {
        let bytes = blocks.checked_mul(u64::from(self.identity.block_size));
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let extent = self.extent(lba, bytes.ok_or(CommandStatus::LbaOutOfRange)?)?;
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        blocks.get_mut(extent).ok_or(CommandStatus::LbaOutOfRange)?.fill(0);
        Ok(())
    }

    fn reset(&self, kind: ResetKind) {
        self.resets.write().unwrap_or_else(PoisonError::into_inner).push(kind);
    }
}

/// Level 0 discovery: TPer (sync), Locking (unlocked, media encryption), Opal 2 (Core §3.3.6).
fn discovery() -> Vec<u8> {
    let features: [(u16, u8, &[u8]); 3] = [
        (0x0001, 0x10, &[0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (0x0002, 0x10, &[0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (0x0203, 0x10, &[0x07, 0xFE, 0, 1, 0, 0, 4, 0, 9, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let mut answer = vec![0; 48];
    if let Some(revision) = answer.get_mut(7) {
        *revision = 1;
    }
    for (code, version, data) in features {
        answer.extend(code.to_be_bytes());
        answer.extend([version, u8::try_from(data.len()).unwrap_or(u8::MAX)]);
        answer.extend(data);
    }
    let length = u32::try_from(answer.len() - 4).unwrap_or(u32::MAX).to_be_bytes();
    for (slot, byte) in answer.iter_mut().zip(length) {
        *slot = byte;
    }
    answer
}
