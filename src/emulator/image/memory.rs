// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`MemoryDisk`]: a disk in memory whose power can be cut at any operation, at any byte.
//!
//! It keeps what was synced apart from what was only written, so a test can look at every content
//! that a real medium could show after the cut.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;

const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];

/// A handle to a disk in memory; clones share it, so a test keeps one and the drive has another.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Core>>);

/// What happens to the writes that no sync covered, when power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All reached the medium: a killed process on a machine that lives on.
    Kept,
    /// None reached it.
    Lost,
    /// A pseudo-random choice of them did, set by this seed: writes are not ordered.
    Mixed(u64),
}

/// Where power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many writes, punches and syncs from now on still succeed.
    pub after: u64,
    /// How many bytes of the next write still arrive.
    pub torn: usize,
}

#[derive(Default)]
struct Core {
    durable: BTreeMap<u64, Box<[u8; PAGE]>>,
    current: BTreeMap<u64, Box<[u8; PAGE]>>,
    pending: Vec<(u64, Change)>,
    operations: u64,
    cut: Option<Cut>,
    dead: bool,
    died_writing: bool,
}

#[derive(Clone)]
enum Change {
    Write(Vec<u8>),
    Punch(u64),
}

impl MemoryDisk {
    /// An empty disk: every byte reads as zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes, punches and syncs so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.core().operations
    }

    /// Arms a power cut.
    pub fn cut(&self, cut: Cut) {
        self.core().cut = Some(cut);
    }

    /// Whether power is gone.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.core().dead
    }

    /// Whether the operation that power was cut in was a write, which can be torn.
    #[must_use]
    pub fn died_writing(&self) -> bool {
        self.core().died_writing
    }

    /// The disk as the next power-on finds it; this one is left as it is.
    #[must_use]
    pub fn after_power_loss(&self, unsynced: Unsynced) -> Self {
        let core = self.core();
        let mut pages = core.durable.clone();
        let mut state = match unsynced {
            Unsynced::Mixed(seed) => seed | 1,
            _ => 1,
        };
        for (offset, change) in &core.pending {
            // xorshift64: a choice that a seed repeats is all that is needed.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let arrives = match unsynced {
                Unsynced::Kept => true,
                Unsynced::Lost => false,
                Unsynced::Mixed(_) => state & 0x100 != 0,
            };
            if arrives {
                apply(&mut pages, *offset, change);
            }
        }
        let core = Core { durable: pages.clone(), current: pages, ..Core::default() };
        Self(Arc::new(Mutex::new(core)))
    }

    /// Whether `needle` is anywhere on the disk.
    #[must_use]
    pub fn contains(&self, needle: &[u8]) -> bool {
        self.find(&[needle]).is_some()
    }

    /// The first of `needles` that is anywhere on the disk. Needles have two bytes or more.
    #[must_use]
    pub fn find<'n>(&self, needles: &[&'n [u8]]) -> Option<&'n [u8]> {
        // By their first two bytes: one pass for all of them.
        let mut heads = vec![false; 1 << 16];
        let head = |bytes: &[u8]| bytes.first_chunk().map(|two| u16::from_be_bytes(*two));
        for first in needles.iter().filter_map(|needle| head(needle)) {
            if let Some(seen) = heads.get_mut(usize::from(first)) {
                *seen = true;
            }
        }
        for run in self.runs() {
            let mut rest = run.as_slice();
            while let Some(first) = head(rest) {
                if heads.get(usize::from(first)) == Some(&true)
                    && let Some(found) = needles.iter().find(|needle| rest.starts_with(needle))
                {
                    return Some(found);
                }
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        None
    }

    /// Pages that were ever written, neighbours joined.
    fn runs(&self) -> Vec<Vec<u8>> {
        let core = self.core();
        let mut runs: Vec<Vec<u8>> = Vec::new();
        let mut expected = None;
        for (page, bytes) in &core.current {
            match runs.last_mut() {
                Some(run) if expected == Some(*page) => run.extend_from_slice(&bytes[..]),
                _ => runs.push(bytes.to_vec()),
            }
            expected = Some(page + 1);
        }
        runs
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Counts an operation. `Err` when power is gone; with how many bytes still arrive, when it
    /// goes now.
    fn step(&mut self) -> Result<(), Option<usize>> {
        if self.dead {
            return Err(None);
        }
        if let Some(cut) = &mut self.cut {
            if cut.after == 0 {
                self.dead = true;
                return Err(Some(cut.torn));
            }
            cut.after -= 1;
        }
        self.operations += 1;
        Ok(())
    }

    fn change(&mut self, offset: u64, change: Change) {
        apply(&mut self.current, offset, &change);
        self.pending.push((offset, change));
    }
}

impl Disk for MemoryDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let core = self.core();
        if core.dead {
            return Err(power_lost());
        }
        pieces(offset, buffer.len(), |page, at, range| {
            let Some(part) = buffer.get_mut(range) else { return };
            match core.current.get(&page).and_then(|bytes| bytes.get(at..at + part.len())) {
                Some(bytes) => part.copy_from_slice(bytes),
                None => part.fill(0),
            }
        });
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut core = self.core();
        match core.step() {
            Ok(()) => {
                core.change(offset, Change::Write(data.to_vec()));
                Ok(())
            }
            Err(torn) => {
                if let Some(torn) = torn {
                    let arrived = data.get(..torn.min(data.len())).unwrap_or_default().to_vec();
                    core.died_writing = true;
                    core.change(offset, Change::Write(arrived));
                }
                Err(power_lost())
            }
        }
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let mut core = self.core();
        core.step().map_err(|_| power_lost())?;
        core.change(offset, Change::Punch(length));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut core = self.core();
        core.step().map_err(|_| power_lost())?;
        let core = &mut *core;
        for (offset, change) in core.pending.drain(..) {
            apply(&mut core.durable, offset, &change);
        }
        Ok(())
    }
}

fn power_lost() -> io::Error {
    io::Error::other("the simulated disk has lost power")
}

fn apply(pages: &mut BTreeMap<u64, Box<[u8; PAGE]>>, offset: u64, change: &Change) {
    match change {
        Change::Write(data) => pieces(offset, data.len(), |page, at, range| {
            let Some(part) = data.get(range) else { return };
            if !pages.contains_key(&page) && ZEROS.starts_with(part) {
                return;
            }
            let bytes = pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
            if let Some(target) = bytes.get_mut(at..at + part.len()) {
                target.copy_from_slice(part);
            }
        }),
        Change::Punch(length) => {
            let end = offset.saturating_add(*length);
            let held: Vec<u64> =
                pages.range(offset / PAGE as u64..).map(|(page, _)| *page).collect();
            for page in held {
                let first = page * PAGE as u64;
                let last = first + PAGE as u64;
                if first >= end {
                    break;
                }
                if first >= offset && last <= end {
                    pages.remove(&page);
                } else if let Some(bytes) = pages.get_mut(&page) {
                    let from = offset.max(first) - first;
                    let to = end.min(last) - first;
                    if let Some(part) = bytes.get_mut(from as usize..to as usize) {
                        part.fill(0);
                    }
                }
            }
        }
    }
}

/// Calls `piece(page, offset in page, range in the data)` for each page that the span touches.
fn pieces(offset: u64, length: usize, mut piece: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < length {
        let position = offset + done as u64;
        let at = (position % PAGE as u64) as usize;
        let now = (PAGE - at).min(length - done);
        piece(position / PAGE as u64, at, done..done + now);
        done += now;
    }
}
