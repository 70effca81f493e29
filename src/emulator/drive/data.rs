// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data path: what reads, writes, flushes and discards do to the medium.

use std::sync::Arc;

use opal::tper::{Extent, Platform as _, ReadVerdict, Source, WriteVerdict};
use opal::{Uid, tper};

use super::super::backend::CommandStatus;
use super::super::image::ImageError;
use super::super::media;
use super::super::vault::{KeyName, LoadedKey};
use super::Core;
use super::platform::DrivePlatform;

/// The MBR table as an InvokingID (Core 2.01 table 241).
const MBR: Uid = Uid::new(0x0804, 0);

impl Core {
    /// Fills `data` from block `lba` on; all zeros after an error.
    pub(super) fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), CommandStatus> {
        let done = self.read_extents(lba, data);
        if done.is_err() {
            data.fill(0);
        }
        done
    }

    /// Writes `data` from block `lba` on: all of it, or nothing where any block is refused.
    pub(super) fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), CommandStatus> {
        let blocks = self.blocks_in(lba, data.len())?;
        if blocks == 0 {
            return Ok(());
        }
        let tper = self.tper()?;
        let extents = allowed(tper.check_write(lba, blocks))?;
        let geometry = Geometry::of(tper.platform())?;
        let mut keys = Vec::with_capacity(extents.len());
        for extent in &extents {
            keys.push(media_key(tper.platform(), extent)?);
        }
        let mut stored = data.to_vec();
        for (extent, key) in extents.iter().zip(&keys) {
            let cipher = key.cipher().map_err(|_| CommandStatus::MediaError)?;
            let part = geometry.part(lba, extent, &mut stored)?;
            media::encrypt(cipher, geometry.block_size, extent.lba, part)
                .map_err(|_| CommandStatus::MediaError)?;
        }
        self.on_image(|image| image.write(geometry.position(lba), &stored))
    }

    /// Makes completed writes durable.
    pub(super) fn flush(&mut self) -> Result<(), CommandStatus> {
        self.on_image(super::super::image::Image::sync)
    }

    /// Forgets blocks: they read as zeros.
    pub(super) fn discard(&mut self, lba: u64, blocks: u64) -> Result<(), CommandStatus> {
        let tper = self.tper()?;
        let geometry = Geometry::of(tper.platform())?;
        if lba.checked_add(blocks).is_none_or(|end| end > geometry.blocks) {
            return Err(CommandStatus::LbaOutOfRange);
        }
        if blocks == 0 {
            return Ok(());
        }
        allowed(tper.check_write(lba, blocks))?;
        let length = blocks * geometry.block_size as u64;
        self.on_image(|image| image.punch(geometry.position(lba), length))
    }

    /// The stored bytes of blocks, as they are: ciphertext. For the control socket.
    pub(super) fn ciphertext(&mut self, lba: u64, data: &mut [u8]) -> Result<(), CommandStatus> {
        self.blocks_in(lba, data.len())?;
        let position = Geometry::of(self.tper()?.platform())?.position(lba);
        self.on_image(|image| image.read(position, data))
    }

    fn read_extents(&mut self, lba: u64, data: &mut [u8]) -> Result<(), CommandStatus> {
        let blocks = self.blocks_in(lba, data.len())?;
        if blocks == 0 {
            return Ok(());
        }
        let tper = self.tper()?;
        let extents = match tper.check_read(lba, blocks) {
            ReadVerdict::Serve(extents) => extents,
            ReadVerdict::Denied => return Err(CommandStatus::DataProtection),
            ReadVerdict::Invalid => return Err(CommandStatus::InvalidParameter),
        };
        let tables = tper.byte_tables();
        let platform = tper.platform_mut();
        let geometry = Geometry::of(platform)?;
        for extent in &extents {
            let part = geometry.part(lba, extent, data)?;
            match extent.source {
                Source::Zeros => part.fill(0),
                Source::Shadow => {
                    let size = tables.iter().find(|(table, _)| *table == MBR);
                    let size = size.map_or(0, |(_, size)| *size);
                    let offset = extent.lba.saturating_mul(geometry.block_size as u64);
                    let held = size.saturating_sub(offset).min(part.len() as u64) as usize;
                    let (table, beyond) = part.split_at_mut(held);
                    beyond.fill(0);
                    platform
                        .read_table(None, MBR, offset, table)
                        .map_err(|_| CommandStatus::MediaError)?;
                }
                Source::Range(_) => {
                    let key = media_key(platform, extent)?;
                    let cipher = key.cipher().map_err(|_| CommandStatus::MediaError)?;
                    let image = platform.image.as_ref().ok_or(CommandStatus::MediaError)?;
                    image
                        .read(geometry.position(extent.lba), part)
                        .map_err(|_| CommandStatus::MediaError)?;
                    media::decrypt(cipher, geometry.block_size, extent.lba, part)
                        .map_err(|_| CommandStatus::MediaError)?;
                }
            }
        }
        Ok(())
    }

    /// How many blocks `length` bytes are, all of them on the drive.
    fn blocks_in(&mut self, lba: u64, length: usize) -> Result<u64, CommandStatus> {
        let geometry = Geometry::of(self.tper()?.platform())?;
        if !length.is_multiple_of(geometry.block_size) {
            return Err(CommandStatus::InvalidLength);
        }
        let blocks = (length / geometry.block_size) as u64;
        match lba.checked_add(blocks) {
            Some(end) if end <= geometry.blocks => Ok(blocks),
            _ => Err(CommandStatus::LbaOutOfRange),
        }
    }

    fn on_image<T>(
        &mut self,
        work: impl FnOnce(&mut super::super::image::Image) -> Result<T, ImageError>,
    ) -> Result<T, CommandStatus> {
        let image = self.tper()?.platform_mut().image.as_mut();
        let image = image.ok_or(CommandStatus::MediaError)?;
        work(image).map_err(|error| {
            tracing::error!(%error, "the drive stops until a power cycle");
            self.failed = true;
            CommandStatus::MediaError
        })
    }
}

/// Where blocks are.
#[derive(Clone, Copy)]
struct Geometry {
    block_size: usize,
    blocks: u64,
    media: u64,
}

impl Geometry {
    fn of(platform: &DrivePlatform) -> Result<Self, CommandStatus> {
        let header = platform.image.as_ref().ok_or(CommandStatus::MediaError)?.header();
        Ok(Self {
            block_size: header.profile.geometry.block_size as usize,
            blocks: header.profile.blocks,
            media: header.layout().media,
        })
    }

    fn position(&self, lba: u64) -> u64 {
        self.media + lba * self.block_size as u64
    }

    /// The bytes of `data`, which begins at block `lba`, that `extent` covers.
    fn part<'a>(
        &self,
        lba: u64,
        extent: &Extent,
        data: &'a mut [u8],
    ) -> Result<&'a mut [u8], CommandStatus> {
        let size = self.block_size as u64;
        let start = extent.lba.checked_sub(lba).and_then(|blocks| blocks.checked_mul(size));
        let length = extent.blocks.checked_mul(size);
        let range = start.zip(length).and_then(|(start, length)| {
            let start = usize::try_from(start).ok()?;
            Some(start..start.checked_add(usize::try_from(length).ok()?)?)
        });
        range.and_then(|range| data.get_mut(range)).ok_or(CommandStatus::MediaError)
    }
}

fn allowed(verdict: WriteVerdict) -> Result<Vec<Extent>, CommandStatus> {
    match verdict {
        WriteVerdict::Allow(extents) => Ok(extents),
        WriteVerdict::Denied => Err(CommandStatus::DataProtection),
        WriteVerdict::Invalid => Err(CommandStatus::InvalidParameter),
    }
}

/// The media key for an extent. The TPer has the last word on locks; without its key a range that
/// it calls unlocked cannot be served either.
fn media_key(platform: &DrivePlatform, extent: &Extent) -> Result<Arc<LoadedKey>, CommandStatus> {
    let tper::Source::Range(range) = extent.source else { return Err(CommandStatus::MediaError) };
    platform.vault.key(None, KeyName::Range(range)).ok_or(CommandStatus::MediaError)
}
