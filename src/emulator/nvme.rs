// SPDX-License-Identifier: MIT OR Apache-2.0
//! NVMe commands without any transport: admin and I/O, answered from a [`Backend`].
//!
//! A front-end moves data; this layer says which way and how much ([`Command::direction`],
//! [`Controller::transfer_length`]), executes, and words refusals as status (NVMe Base 1.4 §4.6.1).
//! One namespace, number 1.

pub mod identify;
mod logs;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::backend::{Backend, CommandStatus, DriveIdentity};

/// The only namespace.
pub const NAMESPACE: u32 = 1;
/// Largest transfer of one command in bytes: 2^MDTS pages of 4 KiB.
pub const MAX_TRANSFER: usize = 4096 << MDTS;
/// Maximum Data Transfer Size (Identify Controller byte 77).
pub(crate) const MDTS: u8 = 8;
/// Asynchronous event requests that a controller holds at once.
pub const MAX_EVENT_REQUESTS: usize = 4;
/// I/O queue pairs that a host is granted.
pub const MAX_IO_QUEUES: u16 = 16;

/// A submission queue entry.
#[derive(Debug, Clone, Copy)]
pub struct Command([u8; 64]);

/// Which way a command moves data: its opcode's bits 1:0 (NVMe Base 1.4 §5, figure 138).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// No data.
    None,
    /// Host to controller.
    ToController,
    /// Controller to host.
    ToHost,
    /// Both ways; no command here does.
    Both,
}

impl Command {
    /// The entry in these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Byte 0.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.0[0]
    }

    /// Command identifier.
    #[must_use]
    pub fn id(&self) -> u16 {
        (self.dword(0) >> 16) as u16
    }

    /// Namespace identifier.
    #[must_use]
    pub fn namespace(&self) -> u32 {
        self.dword(1)
    }

    /// Fabrics command type: byte 4, which is where other commands keep their namespace.
    #[must_use]
    pub fn fabrics_type(&self) -> u8 {
        self.0[4]
    }

    /// Dword `n`, 0 to 15.
    #[must_use]
    pub fn dword(&self, n: usize) -> u32 {
        let (dwords, _) = self.0.as_chunks::<4>();
        dwords.get(n).map_or(0, |dword| u32::from_le_bytes(*dword))
    }

    /// Dwords `n` and `n + 1` as one number.
    #[must_use]
    pub fn qword(&self, n: usize) -> u64 {
        u64::from(self.dword(n)) | u64::from(self.dword(n + 1)) << 32
    }

    /// The direction its opcode states; of a fabrics command, its type.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let code = if self.opcode() == opcode::FABRICS { self.fabrics_type() } else { self.0[0] };
        match code & 3 {
            0 => Direction::None,
            1 => Direction::ToController,
            2 => Direction::ToHost,
            _ => Direction::Both,
        }
    }
}

/// Command opcodes (NVMe Base 1.4 figures 138 and 346).
pub mod opcode {
    #![expect(missing_docs, reason = "the names are the specification's")]
    pub const GET_LOG_PAGE: u8 = 0x02;
    pub const IDENTIFY: u8 = 0x06;
    pub const ABORT: u8 = 0x08;
    pub const SET_FEATURES: u8 = 0x09;
    pub const GET_FEATURES: u8 = 0x0A;
    pub const ASYNC_EVENT_REQUEST: u8 = 0x0C;
    pub const KEEP_ALIVE: u8 = 0x18;
    pub const FABRICS: u8 = 0x7F;
    pub const SECURITY_SEND: u8 = 0x81;
    pub const SECURITY_RECEIVE: u8 = 0x82;

    pub const FLUSH: u8 = 0x00;
    pub const WRITE: u8 = 0x01;
    pub const READ: u8 = 0x02;
    pub const WRITE_ZEROES: u8 = 0x08;
    pub const DATASET_MANAGEMENT: u8 = 0x09;
}

/// Status of a completion, without the phase bit: DNR in bit 14, SCT in 10:8, SC in 7:0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u16);

#[expect(missing_docs, reason = "the names are the specification's, NVMe Base 1.4 §4.6.1")]
impl Status {
    pub const SUCCESS: Self = Self(0);
    pub const INVALID_OPCODE: Self = Self(Self::DO_NOT_RETRY | 0x001);
    pub const INVALID_FIELD: Self = Self(Self::DO_NOT_RETRY | 0x002);
    pub const ABORT_REQUESTED: Self = Self(0x007);
    pub const INVALID_NAMESPACE: Self = Self(Self::DO_NOT_RETRY | 0x00B);
    pub const COMMAND_SEQUENCE: Self = Self(Self::DO_NOT_RETRY | 0x00C);
    pub const SGL_LENGTH: Self = Self(Self::DO_NOT_RETRY | 0x00F);
    pub const SGL_TYPE: Self = Self(Self::DO_NOT_RETRY | 0x011);
    pub const LBA_OUT_OF_RANGE: Self = Self(Self::DO_NOT_RETRY | 0x080);
    pub const EVENT_LIMIT: Self = Self(Self::DO_NOT_RETRY | 0x105);
    pub const INVALID_LOG_PAGE: Self = Self(Self::DO_NOT_RETRY | 0x109);
    pub const CONNECT_PARAMETERS: Self = Self(Self::DO_NOT_RETRY | 0x182);
    pub const WRITE_FAULT: Self = Self(Self::DO_NOT_RETRY | 0x280);
    pub const READ_ERROR: Self = Self(Self::DO_NOT_RETRY | 0x281);
    pub const ACCESS_DENIED: Self = Self(Self::DO_NOT_RETRY | 0x286);

    const DO_NOT_RETRY: u16 = 1 << 14;
}

impl Status {
    /// The wording of a refusal; media errors differ by direction.
    #[must_use]
    pub fn of(refusal: CommandStatus, direction: Direction) -> Self {
        match refusal {
            CommandStatus::InvalidParameter | CommandStatus::InvalidLength => Self::INVALID_FIELD,
            CommandStatus::ProtocolViolation | CommandStatus::InvalidSecurityState => {
                Self::COMMAND_SEQUENCE
            }
            CommandStatus::DataProtection => Self::ACCESS_DENIED,
            CommandStatus::LbaOutOfRange => Self::LBA_OUT_OF_RANGE,
            CommandStatus::MediaError if direction == Direction::ToHost => Self::READ_ERROR,
            CommandStatus::MediaError => Self::WRITE_FAULT,
        }
    }
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A completion, and data for the host.
    Done {
        /// Status field.
        status: Status,
        /// Dword 0 of the completion (and dword 1 of fabrics' Property Get).
        result: u64,
        /// Data for the host.
        data: Vec<u8>,
    },
    /// No completion yet: the front-end keeps the request (asynchronous events).
    Held,
}

impl Reply {
    /// Success without data.
    #[must_use]
    pub fn result(result: u64) -> Self {
        Self::Done { status: Status::SUCCESS, result, data: Vec::new() }
    }

    /// Success with data.
    #[must_use]
    pub fn data(data: Vec<u8>) -> Self {
        Self::Done { status: Status::SUCCESS, result: 0, data }
    }
}

impl From<Status> for Reply {
    fn from(status: Status) -> Self {
        Self::Done { status, result: 0, data: Vec::new() }
    }
}

/// How a controller is reached; Identify differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// PCI Express, with these vendor numbers.
    Pci {
        /// PCI vendor.
        vendor: u16,
        /// PCI subsystem vendor.
        subsystem_vendor: u16,
    },
    /// A fabric, with the bytes a command capsule can carry after the command.
    Fabrics {
        /// In-capsule data of an I/O command in bytes; a multiple of 16.
        in_capsule: u32,
    },
}

/// One controller: a host's view of the drive.
pub struct Controller {
    backend: Arc<dyn Backend>,
    identity: DriveIdentity,
    id: u16,
    subsystem: String,
    attachment: Attachment,
    features: Mutex<BTreeMap<u8, u32>>,
    write_cache: AtomicBool,
    events: Mutex<usize>,
}

impl Controller {
    /// A controller numbered `id` of the subsystem named `subsystem` (an NQN).
    #[must_use]
    pub fn new(
        backend: Arc<dyn Backend>,
        id: u16,
        subsystem: &str,
        attachment: Attachment,
    ) -> Self {
        let identity = backend.identity();
        Self {
            backend,
            identity,
            id,
            subsystem: subsystem.to_owned(),
            attachment,
            features: Mutex::default(),
            write_cache: AtomicBool::new(true),
            events: Mutex::new(0),
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Forgets what a controller reset (CC.EN 1 to 0) clears. Not a TCG reset.
    pub fn clear(&self) {
        self.features.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.write_cache.store(true, Ordering::Relaxed);
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = 0;
    }

    /// A held event request was completed or dropped by the front-end.
    pub fn event_released(&self) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        *events = events.saturating_sub(1);
    }

    /// Bytes that an admin command (`admin`) or I/O command moves, either way.
    ///
    /// # Errors
    /// More than [`MAX_TRANSFER`], or an unknown opcode with a data direction.
    pub fn transfer_length(&self, command: &Command, admin: bool) -> Result<usize, Status> {
        let length: u64 = match (admin, command.opcode()) {
            (true, opcode::IDENTIFY) => 4096,
            (true, opcode::GET_LOG_PAGE) => logs::length(command),
            (true, opcode::SECURITY_SEND | opcode::SECURITY_RECEIVE) => {
                u64::from(command.dword(11))
            }
            // None of the features kept here carries data.
            (true, opcode::GET_FEATURES | opcode::SET_FEATURES) => 0,
            (false, opcode::READ | opcode::WRITE) => {
                (u64::from(command.dword(12) & 0xFFFF) + 1) * u64::from(self.identity.block_size)
            }
            (false, opcode::DATASET_MANAGEMENT) => (u64::from(command.dword(10) & 0xFF) + 1) * 16,
            _ => match command.direction() {
                Direction::None => 0,
                _ => return Err(Status::INVALID_OPCODE),
            },
        };
        match usize::try_from(length) {
            Ok(length) if length <= MAX_TRANSFER => Ok(length),
            _ => Err(Status::INVALID_FIELD),
        }
    }

    /// Executes an admin command; `data` is what the host sent with it.
    ///
    /// Queue creation and deletion belong to the PCI front-end, fabrics commands to the fabrics one.
    #[must_use]
    pub fn admin(&self, command: &Command, data: &[u8]) -> Reply {
        match command.opcode() {
            opcode::IDENTIFY => self.identify(command),
            opcode::GET_LOG_PAGE => logs::page(command, &self.identity),
            opcode::GET_FEATURES => self.get_features(command),
            opcode::SET_FEATURES => self.set_features(command),
            opcode::ASYNC_EVENT_REQUEST => {
                let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
                if *events >= MAX_EVENT_REQUESTS {
                    return Status::EVENT_LIMIT.into();
                }
                *events += 1;
                Reply::Held
            }
            opcode::KEEP_ALIVE => Reply::result(0),
            // Commands are executed as they come, so there is never one to abort.
            opcode::ABORT => Reply::result(1),
            opcode::SECURITY_SEND => {
                let (protocol, specific) = security(command);
                match self.backend.if_send(protocol, specific, data) {
                    Ok(()) => Reply::result(0),
                    Err(refusal) => Status::of(refusal, Direction::ToController).into(),
                }
            }
            opcode::SECURITY_RECEIVE => self.security_receive(command),
            _ => Status::INVALID_OPCODE.into(),
        }
    }

    /// Executes an I/O command; `data` is what the host sent with it.
    #[must_use]
    pub fn io(&self, command: &Command, data: &[u8]) -> Reply {
        let direction = command.direction();
        match self.execute(command, data) {
            Ok(reply) => reply,
            Err(Refused::Status(status)) => status.into(),
            Err(Refused::Drive(refusal)) => Status::of(refusal, direction).into(),
        }
    }

    fn execute(&self, command: &Command, data: &[u8]) -> Result<Reply, Refused> {
        let every = command.opcode() == opcode::FLUSH && command.namespace() == u32::MAX;
        if command.namespace() != NAMESPACE && !every {
            return Err(Refused::Status(Status::INVALID_NAMESPACE));
        }
        let lba = command.qword(10);
        match command.opcode() {
            opcode::FLUSH => self.backend.flush()?,
            opcode::READ => {
                self.in_range(lba, u64::from(command.dword(12) & 0xFFFF) + 1)?;
                let length = self.transfer_length(command, false).map_err(Refused::Status)?;
                let mut data = vec![0; length];
                self.backend.read(lba, &mut data)?;
                return Ok(Reply::data(data));
            }
            opcode::WRITE => {
                let blocks = u64::from(command.dword(12) & 0xFFFF) + 1;
                self.in_range(lba, blocks)?;
                if data.len() as u64 != blocks * u64::from(self.identity.block_size) {
                    return Err(Refused::Status(Status::SGL_LENGTH));
                }
                self.backend.write(lba, data)?;
                self.written(command)?;
            }
            opcode::WRITE_ZEROES => {
                self.write_zeroes(lba, u64::from(command.dword(12) & 0xFFFF) + 1)?;
                self.written(command)?;
            }
            opcode::DATASET_MANAGEMENT => self.dataset_management(command, data)?,
            _ => return Err(Refused::Status(Status::INVALID_OPCODE)),
        }
        Ok(Reply::result(0))
    }

    /// Force Unit Access (dword 12 bit 30), or no write cache: durable before the answer.
    fn written(&self, command: &Command) -> Result<(), CommandStatus> {
        let forced = command.dword(12) & 1 << 30 != 0;
        if forced || !self.write_cache.load(Ordering::Relaxed) {
            self.backend.flush()
        } else {
            Ok(())
        }
    }

    fn write_zeroes(&self, lba: u64, blocks: u64) -> Result<(), CommandStatus> {
        self.in_range(lba, blocks)?;
        let size = u64::from(self.identity.block_size);
        let at_once = ((128 << 10) / size).max(1);
        let zeros = vec![0; usize::try_from(at_once * size).unwrap_or(0)];
        let mut done = 0;
        while done < blocks {
            let count = at_once.min(blocks - done);
            let bytes = usize::try_from(count * size).unwrap_or(0);
            let part = zeros.get(..bytes).ok_or(CommandStatus::InvalidLength)?;
            self.backend.write(lba + done, part)?;
            done += count;
        }
        Ok(())
    }

    /// Deallocate (NVM command set §6.7): all ranges are checked before the first is discarded.
    fn dataset_management(&self, command: &Command, data: &[u8]) -> Result<(), Refused> {
        let count = (command.dword(10) & 0xFF) as usize + 1;
        let (ranges, _) = data.as_chunks::<16>();
        let ranges = ranges.get(..count).ok_or(Refused::Status(Status::SGL_LENGTH))?;
        let ranges: Vec<(u64, u64)> = ranges
            .iter()
            .map(|range| {
                let number = u128::from_le_bytes(*range);
                ((number >> 64) as u64, u64::from((number >> 32) as u32))
            })
            .collect();
        for (lba, blocks) in &ranges {
            self.in_range(*lba, *blocks)?;
        }
        // Integral read and write hints need nothing done.
        if command.dword(11) & 1 << 2 != 0 {
            for (lba, blocks) in ranges {
                self.backend.discard(lba, blocks)?;
            }
        }
        Ok(())
    }

    fn in_range(&self, lba: u64, blocks: u64) -> Result<(), CommandStatus> {
        match lba.checked_add(blocks) {
            Some(end) if end <= self.identity.blocks => Ok(()),
            _ => Err(CommandStatus::LbaOutOfRange),
        }
    }

    fn identify(&self, command: &Command) -> Reply {
        let structure = (command.dword(10) & 0xFF) as u8;
        match structure {
            0x00 => match command.namespace() {
                NAMESPACE => Reply::data(identify::namespace(&self.identity)),
                _ => Status::INVALID_NAMESPACE.into(),
            },
            0x01 => Reply::data(identify::controller(
                &self.identity,
                self.id,
                &self.subsystem,
                &self.attachment,
            )),
            // The two highest numbers can have nothing above them (NVMe Base 1.4 §5.15.2.3).
            0x02 if command.namespace() >= u32::MAX - 1 => Status::INVALID_NAMESPACE.into(),
            0x02 => Reply::data(identify::active_namespaces(command.namespace())),
            0x03 => match command.namespace() {
                NAMESPACE => Reply::data(identify::namespace_descriptors(&self.identity)),
                _ => Status::INVALID_NAMESPACE.into(),
            },
            _ => Status::INVALID_FIELD.into(),
        }
    }

    fn security_receive(&self, command: &Command) -> Reply {
        let (protocol, specific) = security(command);
        let length = match self.transfer_length(command, true) {
            Ok(length) => length,
            Err(status) => return status.into(),
        };
        match self.backend.if_recv(protocol, specific, length) {
            Ok(mut data) => {
                data.resize(length, 0);
                Reply::data(data)
            }
            Err(refusal) => Status::of(refusal, Direction::ToHost).into(),
        }
    }

    fn get_features(&self, command: &Command) -> Reply {
        let feature = (command.dword(10) & 0xFF) as u8;
        // Bits 10:8 ask for the current, default or saved value; none is saved.
        let stored = match command.dword(10) >> 8 & 7 {
            0 => {
                self.features.lock().unwrap_or_else(PoisonError::into_inner).get(&feature).copied()
            }
            1 | 2 => None,
            _ => return Status::INVALID_FIELD.into(),
        };
        let value = match feature {
            feature::VOLATILE_WRITE_CACHE => stored.unwrap_or(1),
            feature::NUMBER_OF_QUEUES => queues_granted(),
            _ if SETTABLE.contains(&feature) => stored.unwrap_or(0),
            _ => return Status::INVALID_FIELD.into(),
        };
        Reply::result(u64::from(value))
    }

    fn set_features(&self, command: &Command) -> Reply {
        let feature = (command.dword(10) & 0xFF) as u8;
        let value = command.dword(11);
        match feature {
            feature::NUMBER_OF_QUEUES => return self.grant_queues(value),
            feature::VOLATILE_WRITE_CACHE => {
                self.write_cache.store(value & 1 != 0, Ordering::Relaxed)
            }
            _ if SETTABLE.contains(&feature) => {}
            _ => return Status::INVALID_FIELD.into(),
        }
        self.features.lock().unwrap_or_else(PoisonError::into_inner).insert(feature, value);
        Reply::result(0)
    }

    fn grant_queues(&self, asked: u32) -> Reply {
        let most = u32::from(MAX_IO_QUEUES - 1);
        let (submission, completion) = (asked & 0xFFFF, asked >> 16);
        // FFFFh is not a number of queues (NVMe Base 1.4 §5.21.1.7).
        if submission == 0xFFFF || completion == 0xFFFF {
            return Status::INVALID_FIELD.into();
        }
        Reply::result(u64::from(submission.min(most) | completion.min(most) << 16))
    }
}

/// Feature identifiers (NVMe Base 1.4 figure 275).
mod feature {
    pub(super) const VOLATILE_WRITE_CACHE: u8 = 0x06;
    pub(super) const NUMBER_OF_QUEUES: u8 = 0x07;
}

/// Features that keep a value and need nothing done: arbitration, power, temperature, error
/// recovery, write cache, interrupts, atomicity, events, keep-alive.
const SETTABLE: &[u8] = &[0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0A, 0x0B, 0x0F];

fn queues_granted() -> u32 {
    let most = u32::from(MAX_IO_QUEUES - 1);
    most | most << 16
}

/// SECP and SPSP of dword 10.
fn security(command: &Command) -> (u8, u16) {
    let dword = command.dword(10);
    ((dword >> 24) as u8, (dword >> 8) as u16)
}

/// A refusal by the drive, or by this layer.
enum Refused {
    Drive(CommandStatus),
    Status(Status),
}

impl From<CommandStatus> for Refused {
    fn from(refusal: CommandStatus) -> Self {
        Self::Drive(refusal)
    }
}

#[cfg(test)]
mod tests;
