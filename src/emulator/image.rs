// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Image`]: one drive in one file. `docs/formats/image.md` describes the bytes.
//!
//! The header never changes. The state (TPer rows and key records) is kept twice and replaced
//! whole. A byte-table write travels inside the state that it belongs to and is carried out
//! afterwards; opening an image carries out again what the newest state says, so a crash loses
//! none of it. Media blocks are written in place: a disk promises no more.

pub mod disk;
pub mod memory;

mod error;
mod header;
mod journal;
mod slots;

use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use disk::{Disk, FileDisk, ReadOnlyFile};
pub use error::ImageError;
pub use header::{Header, Layout};
pub use memory::{Cut, MemoryDisk, Unsynced};

pub(super) use journal::{PAGE, TableWrites};
use slots::Slots;

use super::vault::Vault;

/// Version of the state's encoding.
const STATE_VERSION: u64 = 1;
/// Table writes up to this many bytes travel in the state itself, larger ones in the journal.
const INLINE: usize = 512 << 10;
/// Room for the TPer's rows and key records, and for inline writes.
const SLOT_SIZE: u64 = 1 << 20;

/// An open image. One process at a time has it.
pub(super) struct Image {
    disk: Box<dyn Disk>,
    header: Header,
    slots: Slots,
    /// Which half of the journal is next: the newest state may still need the other one.
    half: u8,
    /// The newest state's table writes are done but may not be durable yet.
    unsynced_tables: bool,
    /// Those writes, if they are few: the next state vouches for them too, which saves a sync.
    carried: Option<TableWrites>,
    /// A write failed: what the image holds is only known after opening it again.
    failed: bool,
}

/// What survives power-off, the byte tables and the media apart.
pub(super) struct Stored {
    /// How often power came on.
    pub(super) power_cycles: u64,
    /// Made by `Tper::state`.
    pub(super) tper: Vec<u8>,
    /// Keys at rest.
    pub(super) vault: Vault,
}

impl Image {
    /// Lays a new image out on an empty disk.
    pub(super) fn create(
        mut disk: Box<dyn Disk>,
        header: Header,
        power_cycles: u64,
        tper: &[u8],
        vault: &Vault,
    ) -> Result<Self, ImageError> {
        let payload = encode(power_cycles, tper, vault, &Writes::None)?;
        let layout = header.layout();
        let slots = Slots::create(&mut *disk, layout.state, SLOT_SIZE as usize, &payload)?;
        // The header comes last: a file without one is no image.
        header.write(&mut *disk)?;
        disk.sync()?;
        Ok(Self {
            disk,
            header,
            slots,
            half: 0,
            unsynced_tables: false,
            carried: None,
            failed: false,
        })
    }

    /// Opens an image and finishes what a crash interrupted.
    pub(super) fn open(mut disk: Box<dyn Disk>) -> Result<(Self, Stored), ImageError> {
        let header = Header::read(&*disk)?;
        let state = header.layout().state;
        let (slots, payload) = Slots::open(&mut *disk, state, SLOT_SIZE as usize)?;
        let (stored, writes) = decode(&payload)?;
        let mut image = Self {
            disk,
            header,
            slots,
            half: 0,
            unsynced_tables: false,
            carried: None,
            failed: false,
        };
        let writes = match writes {
            Writes::None => None,
            Writes::Inline(writes) => Some(writes),
            Writes::Journal { half, length, digest } => {
                image.half = 1 - half;
                Some(image.read_journal(half, length, &digest)?)
            }
        };
        if let Some(writes) = writes {
            image.carry_out(&writes)?;
        }
        Ok((image, stored))
    }

    /// Reads the image again from its disk, as after power was off.
    pub(super) fn reopen(self) -> Result<(Self, Stored), ImageError> {
        Self::open(self.disk)
    }

    /// What the drive is.
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Makes a state and its table writes durable in one step. `destroys`: something that opened a
    /// key is gone and must not stay in the older copy.
    pub(super) fn commit(
        &mut self,
        power_cycles: u64,
        tper: &[u8],
        vault: &Vault,
        writes: &TableWrites,
        destroys: bool,
    ) -> Result<(), ImageError> {
        self.guarded(|image| {
            // The state about to be replaced vouches for its table writes until they are durable.
            let mut all = TableWrites::default();
            if let Some(carried) = image.carried.take().filter(|_| image.unsynced_tables) {
                all = carried;
                all.extend(writes);
            }
            if image.unsynced_tables && (all.is_empty() || all.encoded_bound() > INLINE) {
                image.disk.sync()?;
                all = TableWrites::default();
            }
            let all = if all.is_empty() { writes } else { &all };
            let encoded = image.store_writes(all)?;
            let payload = encode(power_cycles, tper, vault, &encoded)?;
            image.slots.commit(&mut *image.disk, &payload, destroys)?;
            // That sync covered what was written before it.
            image.unsynced_tables = false;
            image.carry_out(writes)
        })
    }

    /// Reads bytes of the area at `offset`.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        Ok(self.disk.read_at(offset, buffer)?)
    }

    /// Writes media bytes; durable after [`Image::sync`].
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ImageError> {
        self.guarded(|image| Ok(image.disk.write_at(offset, data)?))
    }

    /// Makes media bytes read as zero and gives their space back.
    pub(super) fn punch(&mut self, offset: u64, length: u64) -> Result<(), ImageError> {
        self.guarded(|image| Ok(image.disk.punch(offset, length)?))
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> Result<(), ImageError> {
        self.guarded(|image| {
            image.disk.sync()?;
            image.unsynced_tables = false;
            image.carried = None;
            Ok(())
        })
    }

    /// After a failure nothing more is written until the image is opened again.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        if self.failed {
            return Err(ImageError::Failed);
        }
        let done = work(self);
        self.failed = done.is_err();
        done
    }

    fn store_writes<'a>(
        &mut self,
        writes: &'a TableWrites,
    ) -> Result<Writes<&'a TableWrites>, ImageError> {
        if writes.is_empty() {
            return Ok(Writes::None);
        }
        if writes.encoded_bound() <= INLINE {
            return Ok(Writes::Inline(writes));
        }
        let mut bytes = Vec::with_capacity(writes.encoded_bound());
        writes.encode(&mut Encoder::new(&mut bytes)).map_err(never)?;
        let half = self.half;
        let (offset, size) = self.header.layout().journal_half(half);
        if bytes.len() as u64 > size {
            return Err(ImageError::StateTooLarge { length: bytes.len() });
        }
        self.disk.write_at(offset, &bytes)?;
        self.disk.sync()?;
        self.half = 1 - half;
        let digest = Sha256::digest(&bytes).into();
        Ok(Writes::Journal { half, length: bytes.len() as u64, digest })
    }

    fn read_journal(
        &self,
        half: u8,
        length: u64,
        digest: &[u8; 32],
    ) -> Result<TableWrites, ImageError> {
        let (offset, limit) = self.header.layout().journal_half(half);
        let size = usize::try_from(length).ok().filter(|_| length <= limit);
        let size = size.ok_or_else(|| ImageError::State("a journal of another size".into()))?;
        let mut bytes = vec![0u8; size];
        self.disk.read_at(offset, &mut bytes)?;
        if Sha256::digest(&bytes)[..] != digest[..] {
            return Err(ImageError::State("a damaged journal".into()));
        }
        TableWrites::decode(&mut Decoder::new(&bytes)).map_err(undecodable)
    }

    fn carry_out(&mut self, writes: &TableWrites) -> Result<(), ImageError> {
        if writes.is_empty() {
            return Ok(());
        }
        let layout = self.header.layout();
        // Nothing that a damaged or foreign state says may reach beyond the byte tables.
        if !writes.are_within(layout.tables, layout.media) {
            return Err(ImageError::State("a table write outside the byte tables".into()));
        }
        writes.apply(&mut *self.disk)?;
        self.unsynced_tables = true;
        self.carried = (writes.encoded_bound() <= INLINE / 2).then(|| writes.clone());
        Ok(())
    }
}

/// How a state carries its table writes.
enum Writes<T> {
    None,
    Inline(T),
    Journal { half: u8, length: u64, digest: [u8; 32] },
}

/// `[version, power cycles, TPer state, vault records, table writes]`
fn encode(
    power_cycles: u64,
    tper: &[u8],
    vault: &Vault,
    writes: &Writes<&TableWrites>,
) -> Result<Zeroizing<Vec<u8>>, ImageError> {
    let inline = match writes {
        Writes::Inline(writes) => writes.encoded_bound(),
        _ => 0,
    };
    // Sized so that it never moves: it holds keys of open ranges.
    let bound = 256 + tper.len() + vault.encoded_bound() + inline;
    let mut payload = Zeroizing::new(Vec::with_capacity(bound));
    let mut e = Encoder::new(&mut *payload);
    let mut write = || {
        e.array(5)?.u64(STATE_VERSION)?.u64(power_cycles)?.bytes(tper)?;
        vault.encode(&mut e)?;
        match writes {
            Writes::None => e.null()?.ok(),
            Writes::Inline(writes) => writes.encode(&mut e),
            Writes::Journal { half, length, digest } => {
                e.array(3)?.u8(*half)?.u64(*length)?.bytes(digest)?.ok()
            }
        }
    };
    write().map_err(never)?;
    debug_assert!(payload.len() <= bound, "the state's buffer was sized too small");
    Ok(payload)
}

fn decode(payload: &[u8]) -> Result<(Stored, Writes<TableWrites>), ImageError> {
    let mut d = Decoder::new(payload);
    let mut read = || {
        let fields = d.array()?;
        let version = d.u64()?;
        if version != STATE_VERSION || fields != Some(5) {
            return Ok(Err(ImageError::Version(version)));
        }
        let power_cycles = d.u64()?;
        let tper = d.bytes()?.to_vec();
        let vault = Vault::decode(&mut d)?;
        let writes = match d.datatype()? {
            minicbor::data::Type::Null => {
                d.null()?;
                Writes::None
            }
            minicbor::data::Type::Array => {
                d.array()?;
                let half = d.u8()?.min(1);
                let length = d.u64()?;
                let digest = d.bytes()?.try_into();
                let digest =
                    digest.map_err(|_| minicbor::decode::Error::message("a digest of 32 bytes"))?;
                Writes::Journal { half, length, digest }
            }
            _ => Writes::Inline(TableWrites::decode(&mut d)?),
        };
        if d.position() != payload.len() {
            return Err(minicbor::decode::Error::message("bytes after the state"));
        }
        Ok(Ok((Stored { power_cycles, tper, vault }, writes)))
    };
    read().map_err(undecodable)?
}

fn undecodable(error: minicbor::decode::Error) -> ImageError {
    ImageError::State(error.to_string())
}

fn never(error: minicbor::encode::Error<std::convert::Infallible>) -> ImageError {
    ImageError::State(error.to_string())
}
