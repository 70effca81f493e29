// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lives from CC.EN = 1 to CC.EN = 0: queues and their workers.
//!
//! Each submission queue has a thread, so that a slow command holds up its own queue only and
//! never the machine, which waits for register accesses. Closing a session cuts its workers off
//! from the guest's memory at once; the command that one is executing may still end in the drive,
//! which [`Session::drain`] waits for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::interrupts::{Interrupts, VECTORS};
use super::prp::{self, Segment};
use super::queue::{Completion, Submission, Taken};
use super::registers::{Configuration, QUEUE_ENTRIES, Registers};
use super::status;
use crate::emulator::frontend::guest_memory::{GuestMemory, Unreachable};
use crate::emulator::nvme::{Command, Controller, Direction, MAX_IO_QUEUES, Reply, Status};

/// Admin opcodes that only a controller with queues in memory has (NVMe Base 1.4 figure 138).
mod opcode {
    pub(super) const DELETE_SUBMISSION: u8 = 0x00;
    pub(super) const CREATE_SUBMISSION: u8 = 0x01;
    pub(super) const DELETE_COMPLETION: u8 = 0x04;
    pub(super) const CREATE_COMPLETION: u8 = 0x05;
}

/// One enabled period of a controller.
pub(super) struct Session {
    controller: Arc<Controller>,
    memory: Arc<GuestMemory>,
    interrupts: Arc<Interrupts>,
    /// Whether workers may touch the guest's memory.
    open: RwLock<bool>,
    fatal: AtomicBool,
    configuration: AtomicU32,
    queues: Mutex<Queues>,
    workers: Mutex<usize>,
    idle: Condvar,
}

#[derive(Default)]
struct Queues {
    closed: bool,
    submission: BTreeMap<u16, Arc<Submission>>,
    completion: BTreeMap<u16, Arc<Completion>>,
}

/// Why the guest's memory could not be used.
enum Dma {
    /// The session is closed; nobody is waiting for an answer.
    Closed,
    Unreachable,
}

impl From<Unreachable> for Dma {
    fn from(_: Unreachable) -> Self {
        Self::Unreachable
    }
}

impl From<Dma> for Status {
    fn from(_: Dma) -> Self {
        // Of a closed session nobody sees it.
        status::DATA_TRANSFER
    }
}

impl Session {
    /// Begins one, with the admin queue that the registers describe.
    ///
    /// # Errors
    /// No thread could be started.
    pub(super) fn start(
        controller: Arc<Controller>,
        memory: Arc<GuestMemory>,
        interrupts: Arc<Interrupts>,
        registers: &Registers,
    ) -> io::Result<Arc<Self>> {
        let session = Arc::new(Self {
            controller,
            memory,
            interrupts,
            open: RwLock::new(true),
            fatal: AtomicBool::new(false),
            configuration: AtomicU32::new(registers.configuration().0),
            queues: Mutex::default(),
            workers: Mutex::new(0),
            idle: Condvar::new(),
        });
        let (base, entries) = registers.admin_completion();
        let completion = Arc::new(Completion::new(base, entries, Some(0)));
        let (base, entries) = registers.admin_submission();
        let submission = Arc::new(Submission::new(0, base, entries, Arc::clone(&completion)));
        let mut queues = session.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.completion.insert(0, completion);
        queues.submission.insert(0, Arc::clone(&submission));
        drop(queues);
        session.spawn(submission)?;
        Ok(session)
    }

    /// CC changed without disabling the controller.
    pub(super) fn configure(&self, configuration: Configuration) {
        self.configuration.store(configuration.0, Ordering::Release);
    }

    /// A doorbell; one of a queue that is not there is ignored.
    pub(super) fn ring(&self, queue: u16, completion: bool, value: u16) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if completion {
            if let Some(queue) = queues.completion.get(&queue) {
                queue.ring(value);
            }
        } else if let Some(queue) = queues.submission.get(&queue) {
            queue.ring(value);
        }
    }

    /// Whether a queue's memory could not be reached, after which nothing more is executed.
    pub(super) fn fatal(&self) -> bool {
        self.fatal.load(Ordering::Acquire)
    }

    /// Ends it. When this returns, no worker touches the guest's memory any more.
    pub(super) fn close(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = false;
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.closed = true;
        for queue in queues.submission.values() {
            queue.stop();
        }
    }

    /// Waits until all workers have ended; whether they have within `limit`.
    pub(super) fn drain(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        while *workers > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.idle.wait_timeout(workers, left);
            (workers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Whether all workers have ended.
    pub(super) fn drained(&self) -> bool {
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner) == 0
    }

    fn spawn(self: &Arc<Self>, queue: Arc<Submission>) -> io::Result<()> {
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let worker = Worker { session: Arc::clone(self), queue };
        // If there is no thread, the worker is dropped here and counts itself out.
        let name = format!("nvme queue {}", worker.queue.id);
        thread::Builder::new().name(name).spawn(move || worker.serve())?;
        Ok(())
    }

    fn fail(&self, what: &str, queue: u16) {
        tracing::warn!(queue, "the memory of a {what} queue cannot be reached: fatal status");
        self.fatal.store(true, Ordering::Release);
        self.close();
    }

    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Dma> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if !*open {
            return Err(Dma::Closed);
        }
        Ok(self.memory.read(address, data)?)
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), Dma> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if !*open {
            return Err(Dma::Closed);
        }
        Ok(self.memory.write(address, data)?)
    }

    fn gather(&self, segments: &[Segment], length: usize) -> Result<Vec<u8>, Dma> {
        let mut data = vec![0; length];
        let mut rest = data.as_mut_slice();
        for segment in segments {
            let Some((part, more)) = rest.split_at_mut_checked(segment.length) else { break };
            self.read(segment.address, part)?;
            rest = more;
        }
        Ok(data)
    }

    fn scatter(&self, segments: &[Segment], data: &[u8]) -> Result<(), Dma> {
        let mut rest = data;
        for segment in segments {
            let (part, more) = rest.split_at(segment.length.min(rest.len()));
            self.write(segment.address, part)?;
            rest = more;
        }
        Ok(())
    }

    /// A command's status, and dword 0 of its completion; `None` while a request is held.
    fn execute(self: &Arc<Self>, queue: u16, command: &Command) -> Option<(Status, u32)> {
        let admin = queue == 0;
        // Fused operations and SGLs are not offered (dword 0 bits 9:8 and 15:14).
        if command.dword(0) & 0xC300 != 0 {
            return Some((Status::INVALID_FIELD, 0));
        }
        let own = match command.opcode() {
            opcode::CREATE_COMPLETION if admin => Some(self.create_completion(command)),
            opcode::CREATE_SUBMISSION if admin => Some(self.create_submission(command)),
            opcode::DELETE_SUBMISSION if admin => Some(self.delete_submission(command)),
            opcode::DELETE_COMPLETION if admin => Some(self.delete_completion(command)),
            _ => None,
        };
        if let Some(result) = own {
            return Some((result.err().unwrap_or(Status::SUCCESS), 0));
        }
        match self.transfer(admin, command) {
            Ok(Reply::Done { status, result, .. }) => Some((status, result as u32)),
            Ok(Reply::Held) => None,
            Err(status) => Some((status, 0)),
        }
    }

    /// Fetches a command's data, executes it, delivers the answer.
    fn transfer(&self, admin: bool, command: &Command) -> Result<Reply, Status> {
        if command.direction() == Direction::Both {
            return Err(Status::INVALID_OPCODE);
        }
        let length = self.controller.transfer_length(command, admin)?;
        let segments = prp::segments(command, length, |address, data| {
            self.read(address, data).map_err(Status::from)
        })?;
        let sent = match command.direction() {
            Direction::ToController => self.gather(&segments, length)?,
            _ => Vec::new(),
        };
        let mut reply = if admin {
            self.controller.admin(command, &sent)
        } else {
            self.controller.io(command, &sent)
        };
        if let Reply::Done { data, .. } = &mut reply {
            self.scatter(&segments, data)?;
            data.clear();
        }
        Ok(reply)
    }

    fn complete(
        &self,
        from: &Submission,
        taken: Taken,
        id: u16,
        (status, result): (Status, u32),
    ) -> Result<(), Dma> {
        let completion = &from.completion;
        let Some(slot) = completion.slot(from) else { return Ok(()) };
        let mut entry = [0; 12];
        let fields = u128::from(result) | u128::from(taken.head) << 64 | u128::from(from.id) << 80;
        entry.copy_from_slice(fields.to_le_bytes().first_chunk::<12>().unwrap_or(&[0; 12]));
        self.write(slot.address, &entry)?;
        // The dword with the phase last: that is how the host sees that the entry is there.
        let last = u32::from(id) | u32::from(status.0 << 1 | u16::from(slot.phase)) << 16;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if !*open {
            return Err(Dma::Closed);
        }
        self.memory.publish(slot.address.wrapping_add(12), last)?;
        drop(open);
        slot.advance();
        if let Some(vector) = completion.vector {
            self.interrupts.raise(vector);
        }
        Ok(())
    }

    /// Create I/O Completion Queue (NVMe Base 1.4 §5.3).
    fn create_completion(&self, command: &Command) -> Result<(), Status> {
        let (id, base, entries) = self.requested(command)?;
        let flags = command.dword(11);
        let vector = (flags >> 16) as u16;
        if vector >= VECTORS {
            return Err(status::INTERRUPT_VECTOR);
        }
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.completion.contains_key(&id) {
            return Err(status::QUEUE_IDENTIFIER);
        }
        let vector = (flags & 2 != 0).then_some(vector);
        queues.completion.insert(id, Arc::new(Completion::new(base, entries, vector)));
        Ok(())
    }

    /// Create I/O Submission Queue (NVMe Base 1.4 §5.4).
    fn create_submission(self: &Arc<Self>, command: &Command) -> Result<(), Status> {
        let (id, base, entries) = self.requested(command)?;
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.closed {
            return Err(Status::ABORT_REQUESTED);
        }
        if queues.submission.contains_key(&id) {
            return Err(status::QUEUE_IDENTIFIER);
        }
        let completion = (command.dword(11) >> 16) as u16;
        // Completion queue 0 is the admin queue's.
        let completion = Some(completion).filter(|id| *id != 0);
        let completion = completion.and_then(|id| queues.completion.get(&id));
        let completion = Arc::clone(completion.ok_or(status::COMPLETION_QUEUE_INVALID)?);
        let queue = Arc::new(Submission::new(id, base, entries, completion));
        queues.submission.insert(id, Arc::clone(&queue));
        drop(queues);
        self.spawn(queue).map_err(|_| {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.submission.remove(&id);
            // Internal error; the host may try again.
            Status(0x006)
        })
    }

    /// Delete I/O Submission Queue: returns when its last command is done (NVMe Base 1.4 §5.6).
    fn delete_submission(&self, command: &Command) -> Result<(), Status> {
        let id = (command.dword(10) & 0xFFFF) as u16;
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = Some(id).filter(|id| *id != 0).and_then(|id| queues.submission.remove(&id));
        drop(queues);
        let queue = queue.ok_or(status::QUEUE_IDENTIFIER)?;
        queue.stop();
        queue.join();
        Ok(())
    }

    /// Delete I/O Completion Queue (NVMe Base 1.4 §5.5).
    fn delete_completion(&self, command: &Command) -> Result<(), Status> {
        let id = (command.dword(10) & 0xFFFF) as u16;
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = Some(id).filter(|id| *id != 0).and_then(|id| queues.completion.get(&id));
        let queue = queue.ok_or(status::QUEUE_IDENTIFIER)?;
        if queues.submission.values().any(|user| Arc::ptr_eq(&user.completion, queue)) {
            return Err(status::QUEUE_DELETION);
        }
        queues.completion.remove(&id);
        Ok(())
    }

    /// Number, base and entries of the queue that a command asks for.
    fn requested(&self, command: &Command) -> Result<(u16, u64, u16), Status> {
        let (id, last) = ((command.dword(10) & 0xFFFF) as u16, (command.dword(10) >> 16) as u16);
        if id == 0 || id > MAX_IO_QUEUES {
            return Err(status::QUEUE_IDENTIFIER);
        }
        let sizes = Configuration(self.configuration.load(Ordering::Acquire)).entry_sizes();
        if last == 0 || last >= QUEUE_ENTRIES || !sizes {
            return Err(status::QUEUE_SIZE);
        }
        // CAP.CQR: the queue is one piece of memory, and PRP1 is its first page.
        if command.dword(11) & 1 == 0 {
            return Err(Status::INVALID_FIELD);
        }
        if !command.qword(6).is_multiple_of(prp::PAGE as u64) {
            return Err(status::PRP_OFFSET);
        }
        Ok((id, command.qword(6), last + 1))
    }
}

/// Serves one submission queue; counts itself out however it ends.
struct Worker {
    session: Arc<Session>,
    queue: Arc<Submission>,
}

impl Worker {
    fn serve(&self) {
        while let Some(taken) = self.queue.take() {
            let mut entry = [0; 64];
            match self.session.read(taken.address, &mut entry) {
                Ok(()) => {}
                Err(Dma::Closed) => return,
                Err(Dma::Unreachable) => return self.session.fail("submission", self.queue.id),
            }
            let command = Command::new(entry);
            let Some(result) = self.session.execute(self.queue.id, &command) else { continue };
            match self.session.complete(&self.queue, taken, command.id(), result) {
                Ok(()) => {}
                Err(Dma::Closed) => return,
                Err(Dma::Unreachable) => return self.session.fail("completion", self.queue.id),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if thread::panicking() {
            // A fault in the drive must not look like a drive that is merely slow.
            self.session.fatal.store(true, Ordering::Release);
        }
        self.queue.ended();
        let mut workers = self.session.workers.lock().unwrap_or_else(PoisonError::into_inner);
        *workers -= 1;
        drop(workers);
        self.session.idle.notify_all();
    }
}
