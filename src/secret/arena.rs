// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages that secrets live in: locked, undumped, wiped on fork, between guard pages.
//!
//! A chunk is 64 KiB cut into cells of 64 bytes; a larger secret gets a chunk of its own. The
//! usual `RLIMIT_MEMLOCK` of 8 MiB holds about 120,000 small secrets.

use core::alloc::Layout;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags};
use nix::sys::mman::{madvise, mlock, mmap_anonymous, mprotect, munmap};

const CELL: usize = 64;
const CHUNK: usize = 64 * 1024;

static ARENA: Mutex<Vec<Chunk>> = Mutex::new(Vec::new());
static NOT_LOCKED: AtomicBool = AtomicBool::new(false);

/// Whether every page that holds secrets so far could be locked into memory. `false` means that
/// secrets may reach swap: raise `RLIMIT_MEMLOCK` (`LimitMEMLOCK=` in a unit) or encrypt swap.
#[must_use]
pub fn memory_locked() -> bool {
    !NOT_LOCKED.load(Ordering::Relaxed)
}

/// `len` zero bytes of arena memory, to be given back with [`release`].
pub(super) fn allocate(len: usize) -> NonNull<u8> {
    if len == 0 {
        return NonNull::dangling();
    }
    let cells = len.div_ceil(CELL);
    let mut chunks = chunks();
    for chunk in chunks.iter_mut().filter(|chunk| chunk.len == CHUNK) {
        if let Some(start) = chunk.take(cells) {
            return start;
        }
    }
    let Some(mut chunk) = Chunk::map(len) else {
        std::alloc::handle_alloc_error(
            Layout::from_size_align(len, CELL).unwrap_or(Layout::new::<u8>()),
        )
    };
    let start = chunk.take(cells).unwrap_or(chunk.base);
    chunks.push(chunk);
    start
}

/// Gives back what [`allocate`] handed out. The caller has wiped it.
pub(super) fn release(start: NonNull<u8>, len: usize) {
    if len == 0 {
        return;
    }
    let mut chunks = chunks();
    let Some(index) = chunks.iter().position(|chunk| chunk.owns(start)) else { return };
    let Some(chunk) = chunks.get_mut(index) else { return };
    chunk.give_back(start, len.div_ceil(CELL));
    if chunk.len > CHUNK {
        chunks.swap_remove(index).unmap();
    }
}

struct Chunk {
    base: NonNull<u8>,
    len: usize,
    used: Vec<bool>,
    free: usize,
}

// SAFETY: a chunk is only reached through the arena's mutex.
unsafe impl Send for Chunk {}

impl Chunk {
    fn map(len: usize) -> Option<Self> {
        let page = page_size();
        let len = len.max(CHUNK).checked_next_multiple_of(page)?;
        let whole = NonZeroUsize::new(len.checked_add(2 * page)?)?;
        // SAFETY: a fresh anonymous private mapping, at an address of the kernel's choice.
        let start = unsafe {
            mmap_anonymous(None, whole, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE).ok()?
        };
        // SAFETY: one page into a mapping of `len` + 2 pages.
        let base = unsafe { start.byte_add(page) };
        let read_write = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: `base..base + len` lies within the mapping; nothing else refers to it yet.
        unsafe {
            if mprotect(base, len, read_write).is_err() {
                let _ = munmap(start, whole.get());
                return None;
            }
            if mlock(base, len).is_err() {
                NOT_LOCKED.store(true, Ordering::Relaxed);
            }
            // Old kernels know neither; locking and wiping still hold there.
            let _ = madvise(base, len, MmapAdvise::MADV_DONTDUMP);
            let _ = madvise(base, len, MmapAdvise::MADV_WIPEONFORK);
        }
        let cells = len / CELL;
        Some(Self { base: base.cast(), len, used: vec![false; cells], free: cells })
    }

    fn take(&mut self, cells: usize) -> Option<NonNull<u8>> {
        if self.free < cells {
            return None;
        }
        let mut run = 0;
        let end = self.used.iter().position(|used| {
            run = if *used { 0 } else { run + 1 };
            run == cells
        })?;
        let first = end + 1 - cells;
        self.used.get_mut(first..=end)?.fill(true);
        self.free -= cells;
        // SAFETY: `first` is a cell of this chunk, so the sum stays inside the mapping.
        Some(unsafe { self.base.add(first * CELL) })
    }

    fn give_back(&mut self, start: NonNull<u8>, cells: usize) {
        let first = (start.addr().get() - self.base.addr().get()) / CELL;
        if let Some(run) = self.used.get_mut(first..first + cells) {
            run.fill(false);
            self.free += cells;
        }
    }

    fn owns(&self, start: NonNull<u8>) -> bool {
        let base = self.base.addr().get();
        (base..base + self.len).contains(&start.addr().get())
    }

    fn unmap(self) {
        let page = page_size();
        // SAFETY: the exact mapping made in `map`; its only secret has been given back.
        unsafe {
            let _ = munmap(self.base.byte_sub(page).cast(), self.len + 2 * page);
        }
    }
}

fn chunks() -> MutexGuard<'static, Vec<Chunk>> {
    // The book-keeping is consistent at every step, so a poisoned lock is still usable.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(4096)
}
