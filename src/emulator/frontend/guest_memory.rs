// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory that a machine shares with a device outside its process: mapped, bounded, checked.
//!
//! No `unsafe` is needed here: vm-memory maps files and hands out volatile slices that check every
//! access. What is left to check is that an address belongs to a map, that the map allows the
//! access, and that the file behind it is long enough.
//!
//! A machine that shortens the file of a map later ends this process with SIGBUS. Only the machine
//! can do that, not a program in its guest, and QEMU's `memory-backend-memfd` is sealed against it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nix::sys::mman::ProtFlags;
use vm_memory::mmap::MmapRegion;
use vm_memory::{Bytes as _, FileOffset, VolatileMemory as _, VolatileSlice};

/// Maps at once; a machine has some dozens.
const MAX_MAPS: usize = 1024;

/// An address, or a part of what lies behind it, is in no map that allows the access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no shared memory at {0:#x} for this access")]
pub(super) struct Unreachable(pub(super) u64);

/// What a device may do to a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) read: bool,
    pub(super) write: bool,
}

/// The maps of one machine, by bus address. Shared by all threads of a device.
#[derive(Debug, Default)]
pub(super) struct GuestMemory {
    maps: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    /// Whether the device may master the bus (PCI command register, bit 2).
    master: bool,
    by_address: BTreeMap<u64, Map>,
}

#[derive(Debug)]
struct Map {
    region: MmapRegion,
    access: Access,
}

impl GuestMemory {
    /// Adds `size` bytes of `file` from `offset` on at `address`.
    ///
    /// # Errors
    /// The map is empty, overlaps another, ends beyond the file, is one too many, or the system
    /// refuses it.
    pub(super) fn map(
        &self,
        address: u64,
        size: u64,
        file: File,
        offset: u64,
        access: Access,
    ) -> io::Result<()> {
        let invalid = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let (Some(end), Some(file_end)) = (address.checked_add(size), offset.checked_add(size))
        else {
            return invalid("a DMA map wraps around");
        };
        let Ok(bytes) = usize::try_from(size) else { return invalid("a DMA map is too large") };
        if bytes == 0 {
            return invalid("a DMA map is empty");
        }
        if file_end > file.metadata()?.len() {
            return invalid("a DMA map ends beyond its file");
        }
        let mut maps = self.change();
        if maps.by_address.len() >= MAX_MAPS {
            return invalid("too many DMA maps");
        }
        if maps.overlapping(address, end).next().is_some() {
            return invalid("a DMA map overlaps another");
        }
        let mut protection = ProtFlags::PROT_NONE;
        protection.set(ProtFlags::PROT_READ, access.read);
        protection.set(ProtFlags::PROT_WRITE, access.write);
        let region = MmapRegion::build(
            Some(FileOffset::new(file, offset)),
            bytes,
            protection.bits(),
            nix::sys::mman::MapFlags::MAP_SHARED.bits(),
        )
        .map_err(io::Error::other)?;
        maps.by_address.insert(address, Map { region, access });
        Ok(())
    }

    /// Removes every map within these bounds. When it returns, nothing touches them any more.
    ///
    /// # Errors
    /// A map lies partly within.
    pub(super) fn unmap(&self, address: u64, size: u64) -> io::Result<()> {
        let mut maps = self.change();
        let end = address.saturating_add(size);
        let found: Vec<(u64, u64)> = maps.overlapping(address, end).collect();
        if found.iter().any(|(from, to)| *from < address || *to > end) {
            let why = "a DMA map would be removed in part";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        for (from, _) in found {
            maps.by_address.remove(&from);
        }
        Ok(())
    }

    /// Removes every map.
    pub(super) fn unmap_all(&self) {
        self.change().by_address.clear();
    }

    /// Lets the device reach the memory, or not.
    pub(super) fn set_bus_master(&self, master: bool) {
        self.change().master = master;
    }

    /// Copies from the guest.
    ///
    /// # Errors
    /// [`Unreachable`]; `data` then holds nothing in particular.
    pub(super) fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Unreachable> {
        let maps = self.look();
        let mut done = 0;
        while let Some(part) = data.get_mut(done..).filter(|part| !part.is_empty()) {
            let at = address.checked_add(done as u64).ok_or(Unreachable(address))?;
            let slice = maps.slice(at, part.len(), |access| access.read)?;
            done += slice.copy_to(part);
        }
        Ok(())
    }

    /// Copies to the guest.
    ///
    /// # Errors
    /// [`Unreachable`]; a first part may have been written.
    pub(super) fn write(&self, address: u64, data: &[u8]) -> Result<(), Unreachable> {
        let maps = self.look();
        let mut done = 0;
        while let Some(part) = data.get(done..).filter(|part| !part.is_empty()) {
            let at = address.checked_add(done as u64).ok_or(Unreachable(address))?;
            let slice = maps.slice(at, part.len(), |access| access.write)?;
            let count = slice.len().min(part.len());
            slice.copy_from(part.get(..count).unwrap_or_default());
            done += count;
        }
        Ok(())
    }

    /// Stores a number at an aligned address, after everything written before.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub(super) fn publish(&self, address: u64, value: u32) -> Result<(), Unreachable> {
        let maps = self.look();
        let slice = maps.slice(address, size_of::<u32>(), |access| access.write)?;
        slice.store(value.to_le(), 0, Ordering::Release).map_err(|_| Unreachable(address))
    }

    fn look(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maps {
    /// Bounds of the maps that share a byte with these bounds.
    fn overlapping(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
        let bounds = |(at, map): (&u64, &Map)| (*at, *at + map.region.size() as u64);
        // Maps do not overlap, so only the last one that begins before can reach in.
        let before = self.by_address.range(..from).next_back().map(bounds);
        let within = self.by_address.range(from..to.max(from)).map(bounds);
        before.into_iter().chain(within).filter(move |(at, end)| *at < to && from < *end)
    }

    /// At most `length` bytes from `address` on, of one map.
    fn slice(
        &self,
        address: u64,
        length: usize,
        allowed: impl Fn(Access) -> bool,
    ) -> Result<VolatileSlice<'_, ()>, Unreachable> {
        let unreachable = Unreachable(address);
        let (base, map) = self.by_address.range(..=address).next_back().ok_or(unreachable)?;
        if !self.master || !allowed(map.access) {
            return Err(unreachable);
        }
        let offset = usize::try_from(address - base).map_err(|_| unreachable)?;
        let left = map.region.size().checked_sub(offset).filter(|left| *left > 0);
        let length = left.ok_or(unreachable)?.min(length);
        map.region.get_slice(offset, length).map_err(|_| unreachable)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const PAGE: u64 = 4096;
    const ALL: Access = Access { read: true, write: true };

    /// A file of so many pages that can be shared.
    pub(in super::super) fn pages(count: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(count * PAGE).unwrap();
        file
    }

    fn memory() -> GuestMemory {
        let memory = GuestMemory::default();
        memory.set_bus_master(true);
        memory
    }

    #[test]
    fn accesses_cross_adjacent_maps_and_stop_at_holes() {
        let memory = memory();
        let file = pages(4);
        memory.map(0x10000, 2 * PAGE, file.try_clone().unwrap(), 0, ALL).unwrap();
        memory.map(0x12000, PAGE, file.try_clone().unwrap(), 2 * PAGE, ALL).unwrap();
        let data: Vec<u8> = (0..8192_u32).map(|n| (n * 7) as u8).collect();
        memory.write(0x10800, &data).unwrap();
        let mut back = vec![0; 8192];
        memory.read(0x10800, &mut back).unwrap();
        assert_eq!(back, data);
        // The same bytes are in the file: the maps are shared, and at their offsets.
        let mut of_file = vec![0; 8192];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut of_file, 0x800).unwrap();
        assert_eq!(of_file, data);
        assert_eq!(memory.read(0x12800, &mut back), Err(Unreachable(0x13000)));
        assert_eq!(memory.write(0xFFFF, &[1]), Err(Unreachable(0xFFFF)));
        assert_eq!(memory.read(u64::MAX, &mut [0; 2]), Err(Unreachable(u64::MAX)));
        memory.read(u64::MAX, &mut []).unwrap();
    }

    #[test]
    fn maps_are_checked() {
        let memory = memory();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        let invalid = io::ErrorKind::InvalidInput;
        assert_eq!(kind(memory.map(0, 0, pages(1), 0, ALL)), invalid);
        assert_eq!(kind(memory.map(0, 2 * PAGE, pages(1), 0, ALL)), invalid);
        assert_eq!(kind(memory.map(0, PAGE, pages(1), PAGE, ALL)), invalid);
        assert_eq!(kind(memory.map(u64::MAX - 100, PAGE, pages(1), 0, ALL)), invalid);
        assert_eq!(kind(memory.map(0, PAGE, pages(1), u64::MAX - 100, ALL)), invalid);
        memory.map(4 * PAGE, 4 * PAGE, pages(4), 0, ALL).unwrap();
        for (from, size) in [(0, 5), (4, 1), (5, 1), (7, 9), (0, 20)] {
            let clash = memory.map(from * PAGE, size * PAGE, pages(20), 0, ALL);
            assert_eq!(kind(clash), invalid, "{from} {size}");
        }
        memory.map(8 * PAGE, PAGE, pages(1), 0, ALL).unwrap();
        memory.map(3 * PAGE, PAGE, pages(1), 0, ALL).unwrap();
        // Not in part; nothing at all is fine.
        assert_eq!(kind(memory.unmap(4 * PAGE, PAGE)), invalid);
        assert_eq!(kind(memory.unmap(5 * PAGE, 8 * PAGE)), invalid);
        memory.unmap(100 * PAGE, PAGE).unwrap();
        memory.unmap(0, 9 * PAGE).unwrap();
        assert!(memory.read(4 * PAGE, &mut [0]).is_err());
    }

    #[test]
    fn there_is_an_end_to_maps() {
        let memory = memory();
        let file = pages(1);
        for n in 0..MAX_MAPS as u64 {
            memory.map(n * PAGE, PAGE, file.try_clone().unwrap(), 0, ALL).unwrap();
        }
        let more = memory.map(1 << 40, PAGE, file.try_clone().unwrap(), 0, ALL);
        assert!(more.unwrap_err().to_string().contains("too many"));
        memory.unmap_all();
        memory.map(1 << 40, PAGE, file, 0, ALL).unwrap();
    }

    #[test]
    fn permissions_and_bus_mastering_are_kept() {
        let memory = memory();
        let read_only = Access { read: true, write: false };
        memory.map(0, PAGE, pages(1), 0, read_only).unwrap();
        memory.map(PAGE, PAGE, pages(1), 0, Access { read: false, write: true }).unwrap();
        memory.map(2 * PAGE, PAGE, pages(1), 0, ALL).unwrap();
        memory.read(0, &mut [0; 8]).unwrap();
        assert_eq!(memory.write(0, &[0; 8]), Err(Unreachable(0)));
        assert_eq!(memory.publish(0, 1), Err(Unreachable(0)));
        memory.write(PAGE, &[0; 8]).unwrap();
        assert_eq!(memory.read(PAGE, &mut [0; 8]), Err(Unreachable(PAGE)));
        memory.publish(2 * PAGE + 4, 0x0102_0304).unwrap();
        let mut back = [0; 8];
        memory.read(2 * PAGE, &mut back).unwrap();
        assert_eq!(back, [0, 0, 0, 0, 4, 3, 2, 1]);
        assert!(memory.publish(2 * PAGE + 3, 1).is_err(), "misaligned");
        memory.set_bus_master(false);
        assert!(memory.read(0, &mut [0; 8]).is_err());
        assert!(memory.publish(2 * PAGE, 1).is_err());
    }
}
