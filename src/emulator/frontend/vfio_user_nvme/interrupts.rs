// SPDX-License-Identifier: MIT OR Apache-2.0
//! MSI-X vectors: for each the event by which the machine learns of an interrupt.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use crate::emulator::nvme::MAX_IO_QUEUES;

/// One for the admin queue, one for each I/O queue.
pub(super) const VECTORS: u16 = MAX_IO_QUEUES + 1;

/// The events, by vector. A vector without one stays silent.
#[derive(Debug)]
pub(super) struct Interrupts {
    events: Mutex<Vec<Option<File>>>,
}

impl Interrupts {
    pub(super) fn new() -> Self {
        Self { events: Mutex::new((0..VECTORS).map(|_| None).collect()) }
    }

    /// Sets the events of `count` vectors from `start` on; those without a file lose theirs.
    ///
    /// # Errors
    /// The vectors are not all there.
    pub(super) fn assign(&self, start: u32, count: u32, files: Vec<File>) -> io::Result<()> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let end = start.checked_add(count).and_then(|end| usize::try_from(end).ok());
        let range = usize::try_from(start).ok().zip(end).map(|(start, end)| start..end);
        let slots = range.and_then(|range| events.get_mut(range));
        let slots = slots.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "no such interrupt vector")
        })?;
        let mut files = files.into_iter();
        for slot in slots {
            *slot = files.next();
        }
        Ok(())
    }

    /// Takes every event away.
    pub(super) fn clear(&self) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).fill_with(|| None);
    }

    /// Tells the machine. Lost if it does not listen to this vector, as on a bus.
    pub(super) fn raise(&self, vector: u16) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(event)) = events.get(usize::from(vector)) {
            // An event counter takes eight bytes; a machine that is gone takes none.
            let _ = (&*event).write(&1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// A pipe takes what an event takes, and keeps each apart.
    fn event() -> (io::PipeReader, File) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, File::from(std::os::fd::OwnedFd::from(writer)))
    }

    #[test]
    fn events_are_raised_replaced_and_taken_away() {
        let interrupts = Interrupts::new();
        let (mut heard, given) = event();
        interrupts.raise(2);
        interrupts.assign(2, 1, vec![given]).unwrap();
        interrupts.raise(2);
        interrupts.raise(2);
        interrupts.raise(1);
        let mut count = [0; 16];
        heard.read_exact(&mut count).unwrap();
        assert_eq!(count, [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        // A placeholder: a count without a file.
        interrupts.assign(2, 1, vec![]).unwrap();
        interrupts.raise(2);
        assert_eq!(heard.read(&mut count).unwrap(), 0, "the event is closed, nothing came");
        let (mut last, given) = event();
        interrupts.assign(u32::from(VECTORS) - 1, 1, vec![given]).unwrap();
        interrupts.raise(VECTORS - 1);
        last.read_exact(&mut count[..8]).unwrap();
        assert_eq!(count[..8], 1_u64.to_le_bytes());
        interrupts.raise(u16::MAX);
        interrupts.clear();
        for (start, count) in [(0, 18), (17, 1), (u32::MAX, 2), (18, 0)] {
            assert!(interrupts.assign(start, count, vec![]).is_err(), "{start} {count}");
        }
        interrupts.assign(0, 0, vec![]).unwrap();
    }
}
