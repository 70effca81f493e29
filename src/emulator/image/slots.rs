// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two copies of the drive's state, of which one is always whole.
//!
//! A step writes the older copy and syncs it; that decides the step. A step that destroys
//! something then brings the other copy to the same bytes, because destroyed means gone from both.
//! Each write covers everything the copy held before, so no tail of an older state stays behind.

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::disk::Disk;
use super::error::ImageError;

/// Bytes before the payload: magic, sequence number, length, checksum.
pub(super) const HEAD: usize = 8 + 8 + 4 + 32;
const MAGIC: &[u8; 8] = b"OPALSTA1";
static ZEROS: [u8; 1 << 14] = [0; 1 << 14];

/// The pair of copies on a disk.
pub(super) struct Slots {
    offset: u64,
    size: usize,
    sequence: u64,
    newest: usize,
    /// How many bytes of each copy may be other than zero.
    extent: [usize; 2],
}

struct Copy {
    sequence: u64,
    /// Head and payload.
    state: Zeroizing<Vec<u8>>,
    /// Nothing but zeros follows.
    clean: bool,
}

impl Slots {
    /// Writes both copies of a new image's first state.
    pub(super) fn create(
        disk: &mut dyn Disk,
        offset: u64,
        size: usize,
        payload: &[u8],
    ) -> Result<Self, ImageError> {
        let mut slots = Self { offset, size, sequence: 0, newest: 1, extent: [0; 2] };
        slots.commit(disk, payload, true)?;
        Ok(slots)
    }

    /// Reads the newest whole state, after making the other copy equal to it.
    pub(super) fn open(
        disk: &mut dyn Disk,
        offset: u64,
        size: usize,
    ) -> Result<(Self, Zeroizing<Vec<u8>>), ImageError> {
        let mut slots = Self { offset, size, sequence: 0, newest: 0, extent: [size; 2] };
        let copies = [slots.read(disk, 0)?, slots.read(disk, 1)?];
        slots.newest = match &copies {
            [Some(first), Some(second)] => usize::from(second.sequence > first.sequence),
            [Some(_), None] => 0,
            [None, Some(_)] => 1,
            [None, None] => return Err(ImageError::NoState),
        };
        let [first, second] = copies;
        let (chosen, other) = if slots.newest == 0 { (first, second) } else { (second, first) };
        let chosen = chosen.ok_or(ImageError::NoState)?;
        slots.sequence = chosen.sequence;
        // A crash inside a write may have left an older state, or the tail of one, in either copy.
        let equal = other.is_some_and(|other| other.clean && other.state == chosen.state);
        if !chosen.clean {
            slots.write(disk, slots.newest, &chosen.state)?;
        }
        if !equal {
            slots.write(disk, 1 - slots.newest, &chosen.state)?;
        }
        slots.extent = [chosen.state.len(); 2];
        let payload = chosen.state.get(HEAD..).unwrap_or_default();
        let payload = Zeroizing::new(payload.to_vec());
        Ok((slots, payload))
    }

    /// Makes `payload` the state; durable on return. `both`: nothing of the old state stays.
    ///
    /// After an error the image holds the old state or the new one, and only opening it again
    /// tells which.
    pub(super) fn commit(
        &mut self,
        disk: &mut dyn Disk,
        payload: &[u8],
        both: bool,
    ) -> Result<(), ImageError> {
        let used = HEAD + payload.len();
        let (Ok(length), true) = (u32::try_from(payload.len()), used <= self.size) else {
            return Err(ImageError::StateTooLarge { length: payload.len() });
        };
        let sequence = self.sequence + 1;
        let mut state = Zeroizing::new(Vec::with_capacity(used));
        state.extend(MAGIC);
        state.extend(sequence.to_be_bytes());
        state.extend(length.to_be_bytes());
        let checksum = checksum(&state, payload);
        state.extend(checksum);
        state.extend(payload);
        let older = 1 - self.newest;
        self.write(disk, older, &state)?;
        self.newest = older;
        self.sequence = sequence;
        if both {
            self.write(disk, 1 - older, &state)?;
        }
        Ok(())
    }

    fn write(&mut self, disk: &mut dyn Disk, which: usize, state: &[u8]) -> Result<(), ImageError> {
        let held = self.extent.get(which).copied().unwrap_or(self.size);
        let mut bytes = Zeroizing::new(Vec::with_capacity(held.max(state.len())));
        bytes.extend_from_slice(state);
        bytes.resize(held.max(state.len()), 0);
        disk.write_at(self.position(which), &bytes)?;
        disk.sync()?;
        if let Some(extent) = self.extent.get_mut(which) {
            *extent = state.len();
        }
        Ok(())
    }

    fn read(&self, disk: &dyn Disk, which: usize) -> Result<Option<Copy>, ImageError> {
        let position = self.position(which);
        let mut head = [0u8; HEAD];
        disk.read_at(position, &mut head)?;
        let (head, stored) = head.split_at(20);
        let sequence = head.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
        let length = head.get(16..20).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let (Some(sequence), Some(length)) = (sequence, length) else { return Ok(None) };
        let used = HEAD.saturating_add(length as usize);
        if !head.starts_with(MAGIC) || used > self.size {
            return Ok(None);
        }
        let mut state = Zeroizing::new(vec![0u8; used]);
        disk.read_at(position, &mut state)?;
        let payload = state.get(HEAD..).unwrap_or_default();
        if checksum(head, payload) != stored {
            return Ok(None);
        }
        let clean = self.is_blank(disk, position + used as u64, position + self.size as u64)?;
        Ok(Some(Copy { sequence, state, clean }))
    }

    fn is_blank(&self, disk: &dyn Disk, mut from: u64, to: u64) -> Result<bool, ImageError> {
        let mut part = [0u8; 1 << 14];
        while from < to {
            let now = usize::try_from(to - from).unwrap_or(usize::MAX).min(part.len());
            let part = part.get_mut(..now).unwrap_or_default();
            disk.read_at(from, part)?;
            if !ZEROS.starts_with(part) {
                // What is there may be part of an older state.
                part.zeroize();
                return Ok(false);
            }
            from += now as u64;
        }
        Ok(true)
    }

    fn position(&self, which: usize) -> u64 {
        self.offset + (which * self.size) as u64
    }
}

fn checksum(head: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(head);
    hash.update(payload);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Cut, MemoryDisk, Unsynced};
    use super::*;

    const SIZE: usize = 8192;
    const OLD: &[u8] = &[0xA5; 700];
    const NEW: &[u8] = &[0x3C; 300];

    fn with_old() -> MemoryDisk {
        let mut disk = MemoryDisk::new();
        let mut slots = Slots::create(&mut disk, 0, SIZE, b"first").unwrap();
        slots.commit(&mut disk, OLD, true).unwrap();
        disk.after_power_loss(Unsynced::Lost)
    }

    /// Every cut, every torn length: the old state or the new one, and after reopening a `both`
    /// step that took effect leaves nothing of the old one.
    #[test]
    fn a_cut_anywhere_leaves_one_whole_state() {
        let (mut old, mut new) = (0, 0);
        for both in [false, true] {
            for after in 0..5 {
                for torn in (0..HEAD + 720).step_by(7) {
                    for unsynced in [Unsynced::Kept, Unsynced::Lost, Unsynced::Mixed(torn as u64)] {
                        let mut disk = with_old();
                        let (mut slots, _) = Slots::open(&mut disk, 0, SIZE).unwrap();
                        disk.cut(Cut { after, torn });
                        let answered = slots.commit(&mut disk, NEW, both).is_ok();
                        let mut disk = disk.after_power_loss(unsynced);
                        let (_, payload) = Slots::open(&mut disk, 0, SIZE).unwrap();
                        assert!(payload[..] == *OLD || payload[..] == *NEW);
                        assert!(!answered || payload[..] == *NEW);
                        if payload[..] == *NEW {
                            new += 1;
                            assert!(!disk.contains(&OLD[..64]), "the older state is still there");
                        } else {
                            old += 1;
                        }
                    }
                }
            }
        }
        assert!(old > 100 && new > 100, "both outcomes were seen");
    }

    #[test]
    fn a_step_that_keeps_everything_writes_one_copy() {
        let mut disk = with_old();
        let (mut slots, _) = Slots::open(&mut disk, 0, SIZE).unwrap();
        let before = disk.operations();
        slots.commit(&mut disk, NEW, false).unwrap();
        assert_eq!(disk.operations() - before, 2, "one write, one sync");
        assert!(disk.contains(&OLD[..64]), "the older copy is untouched");
        slots.commit(&mut disk, NEW, true).unwrap();
        assert!(!disk.contains(&OLD[..64]));
    }

    #[test]
    fn garbage_is_no_state_and_no_panic() {
        for fill in [0u8, 0xFF] {
            let mut disk = MemoryDisk::new();
            disk.write_at(0, &vec![fill; 2 * SIZE]).unwrap();
            assert!(matches!(Slots::open(&mut disk, 0, SIZE), Err(ImageError::NoState)));
        }
        let mut disk = MemoryDisk::new();
        let mut slots = Slots::create(&mut disk, 0, SIZE, OLD).unwrap();
        assert!(slots.commit(&mut disk, &vec![0; SIZE], false).is_err());
        slots.commit(&mut disk, &[], true).unwrap();
        assert!(Slots::open(&mut disk, 0, SIZE).unwrap().1.is_empty());
    }
}
