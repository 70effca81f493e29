// SPDX-License-Identifier: MIT OR Apache-2.0
//! Submission and completion queues in the host's memory (NVMe Base 1.4 §4.1).
//!
//! A submission queue has one worker that waits on it; a completion queue is written by the workers
//! of all submission queues that use it. Whatever a host writes to a doorbell, a head or tail stays
//! within its queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of a submission queue entry.
const SUBMISSION_ENTRY: u64 = 64;
/// Bytes of a completion queue entry.
const COMPLETION_ENTRY: u64 = 16;

/// Where commands come from.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) id: u16,
    base: u64,
    entries: u16,
    pub(super) completion: Arc<Completion>,
    state: Mutex<SubmissionState>,
    /// Set once: the worker is to end, and completions that find no room are dropped.
    stopping: AtomicBool,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SubmissionState {
    head: u16,
    tail: u16,
    ended: bool,
}

/// A command that was taken from a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Where the entry is.
    pub(super) address: u64,
    /// The queue's head after it, which its completion reports.
    pub(super) head: u16,
}

impl Submission {
    pub(super) fn new(id: u16, base: u64, entries: u16, completion: Arc<Completion>) -> Self {
        Self {
            id,
            base,
            entries,
            completion,
            state: Mutex::default(),
            stopping: AtomicBool::new(false),
            changed: Condvar::new(),
        }
    }

    /// The tail doorbell. A value outside the queue is ignored.
    pub(super) fn ring(&self, tail: u16) {
        if tail < self.entries {
            self.lock().tail = tail;
            self.changed.notify_all();
        }
    }

    /// Waits for the next command; `None` once the queue is stopped.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut state = self.lock();
        loop {
            if self.stopping() {
                return None;
            }
            if state.head != state.tail {
                let address = self.base.wrapping_add(u64::from(state.head) * SUBMISSION_ENTRY);
                state.head = (state.head + 1) % self.entries;
                return Some(Taken { address, head: state.head });
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes the worker end after the command in execution.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // Under the lock, so that a waiter has either seen the flag or is woken.
        drop(self.lock());
        self.changed.notify_all();
        self.completion.wake();
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The worker's last act.
    pub(super) fn ended(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until the worker has ended.
    pub(super) fn join(&self) {
        let mut state = self.lock();
        while !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, SubmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where completions go.
#[derive(Debug)]
pub(super) struct Completion {
    base: u64,
    entries: u16,
    /// The interrupt vector, if interrupts are enabled for it.
    pub(super) vector: Option<u16>,
    state: Mutex<CompletionState>,
    room: Condvar,
}

#[derive(Debug)]
struct CompletionState {
    head: u16,
    tail: u16,
    phase: bool,
}

/// The slot for one completion; the queue is held until it is advanced or dropped.
pub(super) struct Slot<'a> {
    queue: &'a Completion,
    state: MutexGuard<'a, CompletionState>,
    pub(super) address: u64,
    pub(super) phase: bool,
}

impl Slot<'_> {
    /// The entry was written.
    pub(super) fn advance(mut self) {
        self.state.tail = (self.state.tail + 1) % self.queue.entries;
        if self.state.tail == 0 {
            self.state.phase = !self.state.phase;
        }
    }
}

impl Completion {
    pub(super) fn new(base: u64, entries: u16, vector: Option<u16>) -> Self {
        let state = Mutex::new(CompletionState { head: 0, tail: 0, phase: true });
        Self { base, entries, vector, state, room: Condvar::new() }
    }

    /// The head doorbell. A value outside the queue is ignored.
    pub(super) fn ring(&self, head: u16) {
        if head < self.entries {
            self.lock().head = head;
            self.room.notify_all();
        }
    }

    /// Waits for room; `None` once `from` is stopped.
    pub(super) fn slot(&self, from: &Submission) -> Option<Slot<'_>> {
        let mut state = self.lock();
        while (state.tail + 1) % self.entries == state.head {
            if from.stopping() {
                return None;
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let address = self.base.wrapping_add(u64::from(state.tail) * COMPLETION_ENTRY);
        Some(Slot { queue: self, address, phase: state.phase, state })
    }

    /// Lets every waiter look again.
    fn wake(&self) {
        drop(self.lock());
        self.room.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, CompletionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn pair(entries: u16) -> (Arc<Completion>, Arc<Submission>) {
        let completion = Arc::new(Completion::new(0x8000, entries, Some(3)));
        let submission = Submission::new(1, 0x4000, entries, Arc::clone(&completion));
        (completion, Arc::new(submission))
    }

    #[test]
    fn commands_are_taken_in_order_and_around_the_end() {
        let (_, queue) = pair(4);
        queue.ring(3);
        for (slot, head) in [(0, 1), (1, 2), (2, 3)] {
            assert_eq!(queue.take(), Some(Taken { address: 0x4000 + slot * 64, head }));
        }
        queue.ring(4);
        queue.ring(u16::MAX);
        queue.ring(1);
        assert_eq!(queue.take(), Some(Taken { address: 0x40C0, head: 0 }));
        assert_eq!(queue.take(), Some(Taken { address: 0x4000, head: 1 }));
        let waiter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.take()
        });
        queue.stop();
        assert_eq!(waiter.join().unwrap(), None);
        queue.ring(3);
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn the_phase_flips_at_the_end_and_a_full_queue_waits() {
        let (queue, from) = pair(3);
        let mut seen = Vec::new();
        for head in [1, 2, 0, 1, 2] {
            let slot = queue.slot(&from).unwrap();
            seen.push((slot.address, slot.phase));
            slot.advance();
            queue.ring(head);
        }
        let expected =
            [(0x8000, true), (0x8010, true), (0x8020, true), (0x8000, false), (0x8010, false)];
        assert_eq!(seen, expected);
        queue.slot(&from).unwrap().advance();
        queue.slot(&from).unwrap().advance();
        queue.ring(3);
        let waiter = thread::spawn({
            let (queue, from) = (Arc::clone(&queue), Arc::clone(&from));
            move || queue.slot(&from).is_some()
        });
        from.stop();
        assert!(!waiter.join().unwrap(), "nobody made room");
        queue.ring(0);
        assert!(queue.slot(&from).is_some());
    }

    #[test]
    fn ending_is_waited_for() {
        let (_, queue) = pair(2);
        let waiter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.join()
        });
        queue.ended();
        waiter.join().unwrap();
    }
}
