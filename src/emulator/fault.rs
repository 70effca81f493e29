// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults as data: match a command, then drop, delay, refuse, corrupt, truncate, or cut power; or
//! fail a write to the image.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::backend::CommandStatus;
use super::image::Disk;

/// One fault, armed until it has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which commands count.
    pub command: Command,
    /// It happens at the n-th of them from now on; 1 is the next.
    #[serde(default = "one")]
    pub nth: u32,
    /// How many commands in a row it happens to.
    #[serde(default = "one")]
    pub times: u32,
    /// What happens.
    pub action: Action,
}

/// Commands that a fault can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// IF-SEND.
    IfSend,
    /// IF-RECV.
    IfRecv,
    /// Read.
    Read,
    /// Write.
    Write,
    /// Flush.
    Flush,
    /// Discard.
    Discard,
    /// Any of them.
    Any,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// The command is carried out, but the host hears of a failure: its answer is lost.
    Drop,
    /// The command waits first.
    Delay {
        /// How long; at most a minute is honoured.
        #[serde(deserialize_with = "a_minute_at_most")]
        milliseconds: u32,
    },
    /// The command is refused and not carried out.
    Status {
        /// With this.
        status: Status,
    },
    /// A byte of the answer (IF-RECV, read) arrives changed.
    Corrupt {
        /// Which byte; past the end nothing happens.
        offset: u32,
        /// Bits that flip.
        mask: u8,
    },
    /// The answer (IF-RECV) ends early.
    Truncate {
        /// Bytes that arrive.
        length: u32,
    },
    /// Power goes before the command is carried out, and comes back.
    PowerCutBefore,
    /// Power goes after the command was carried out and before its answer, and comes back.
    PowerCutAfter,
}

/// [`CommandStatus`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// See [`CommandStatus::InvalidParameter`].
    InvalidParameter,
    /// See [`CommandStatus::ProtocolViolation`].
    ProtocolViolation,
    /// See [`CommandStatus::InvalidLength`].
    InvalidLength,
    /// See [`CommandStatus::DataProtection`].
    DataProtection,
    /// See [`CommandStatus::LbaOutOfRange`].
    LbaOutOfRange,
    /// See [`CommandStatus::MediaError`].
    MediaError,
    /// See [`CommandStatus::InvalidSecurityState`].
    InvalidSecurityState,
}

impl From<Status> for CommandStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::InvalidParameter => Self::InvalidParameter,
            Status::ProtocolViolation => Self::ProtocolViolation,
            Status::InvalidLength => Self::InvalidLength,
            Status::DataProtection => Self::DataProtection,
            Status::LbaOutOfRange => Self::LbaOutOfRange,
            Status::MediaError => Self::MediaError,
            Status::InvalidSecurityState => Self::InvalidSecurityState,
        }
    }
}

impl Action {
    /// Changes an answer that may get shorter.
    pub(super) fn alter(self, answer: &mut Vec<u8>) {
        if let Self::Truncate { length } = self {
            answer.truncate(length as usize);
        }
        self.alter_in_place(answer);
    }

    /// Changes an answer of fixed length.
    pub(super) fn alter_in_place(self, answer: &mut [u8]) {
        if let Self::Corrupt { offset, mask } = self
            && let Some(byte) = answer.get_mut(offset as usize)
        {
            *byte ^= mask;
        }
    }
}

/// The faults of one drive.
#[derive(Default)]
pub(super) struct Faults {
    armed: Mutex<Vec<Fault>>,
    writes: Arc<FailingWrites>,
}

/// Most faults armed at once.
const MOST: usize = 64;

impl Faults {
    pub(super) fn inject(&self, fault: Fault) {
        let mut armed = self.armed();
        if armed.len() < MOST {
            armed.push(Fault { nth: fault.nth.max(1), times: fault.times.max(1), ..fault });
        }
    }

    pub(super) fn clear(&self) {
        self.armed().clear();
        self.writes.arm(0);
    }

    pub(super) fn list(&self) -> Vec<Fault> {
        self.armed().clone()
    }

    pub(super) fn writes(&self) -> Arc<FailingWrites> {
        Arc::clone(&self.writes)
    }

    /// Counts a command; what happens to it, if anything.
    pub(super) fn next(&self, command: Command) -> Option<Action> {
        let mut armed = self.armed();
        let mut due = None;
        for fault in armed.iter_mut() {
            if fault.command != Command::Any && fault.command != command {
                continue;
            }
            if fault.nth > 1 {
                fault.nth -= 1;
            } else if due.is_none() {
                fault.times -= 1;
                due = Some(fault.action);
            }
        }
        armed.retain(|fault| fault.times > 0);
        due
    }

    fn armed(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the n-th write, punch or sync of the image fail, once.
#[derive(Default)]
pub struct FailingWrites(AtomicU64);

impl FailingWrites {
    /// Arms it; 0 disarms.
    pub fn arm(&self, nth: u64) {
        self.0.store(nth, Ordering::SeqCst);
    }

    fn step(&self) -> io::Result<()> {
        let before =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if before == Ok(1) {
            return Err(io::Error::other("a write failed on request"));
        }
        Ok(())
    }
}

/// A disk whose writes fail on request.
pub(super) struct FaultDisk {
    disk: Box<dyn Disk>,
    failing: Arc<FailingWrites>,
}

impl FaultDisk {
    pub(super) fn new(disk: Box<dyn Disk>, failing: Arc<FailingWrites>) -> Self {
        Self { disk, failing }
    }
}

impl Disk for FaultDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.failing.step()?;
        self.disk.write_at(offset, data)
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.failing.step()?;
        self.disk.punch(offset, length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.failing.step()?;
        self.disk.sync()
    }
}

fn one() -> u32 {
    1
}

fn a_minute_at_most<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(u32::deserialize(deserializer)?.min(60_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_happens_when_its_time_has_come() {
        let faults = Faults::default();
        let action = Action::Status { status: Status::MediaError };
        faults.inject(Fault { command: Command::IfSend, nth: 2, times: 2, action });
        faults.inject(Fault { command: Command::Any, nth: 5, times: 1, action: Action::Drop });
        let seen: Vec<_> = (0..6).map(|_| faults.next(Command::IfSend)).collect();
        assert_eq!(seen, [None, Some(action), Some(action), None, Some(Action::Drop), None]);
        assert!(faults.list().is_empty());
    }

    #[test]
    fn faults_read_as_json() {
        let text = r#"{"command":"if-recv","nth":3,"action":{"corrupt":{"offset":20,"mask":255}}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(fault.action, Action::Corrupt { offset: 20, mask: 255 });
        assert_eq!((fault.command, fault.nth, fault.times), (Command::IfRecv, 3, 1));
        let drop = serde_json::from_str::<Fault>(r#"{"command":"any","action":"drop"}"#).unwrap();
        assert_eq!(drop.action, Action::Drop);
        for bad in [
            r#"{"command":"if-recv"}"#,
            r#"{"command":"if-recv","action":"drop","nht":3}"#,
            r#"{"command":"if-recv","action":{"delay":{"seconds":1}}}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(bad).is_err(), "{bad}");
        }
    }
}
