// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transport to a TPer in the same process, which does what an owner of a TPer does.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use opal::host::{Host, Identity};
use opal::tper::{IfError, MemoryPlatform, Pending, Profile, Reset, Tper};
use opal::{Transport, TransportError, TransportErrorKind};

pub(crate) const SERIAL: &str = "EMULATED-1";
pub(crate) const PSID: &[u8] = b"PSIDPSIDPSIDPSIDPSIDPSIDPSIDPSID";

/// A drive that outlives the hosts that talk to it.
#[derive(Clone)]
pub(crate) struct Drive(Rc<RefCell<Tper<MemoryPlatform>>>);

impl Drive {
    pub(crate) fn new(profile: Profile) -> Self {
        let platform = MemoryPlatform::new(7, PSID);
        Self(Rc::new(RefCell::new(Tper::manufacture(profile, platform).unwrap())))
    }

    pub(crate) fn opal2() -> Self {
        Self::new(Profile::opal2())
    }

    /// A host of this drive, as a newly started program would have it.
    pub(crate) fn host(&self) -> Host<Path> {
        let identity = Identity { serial: SERIAL.into(), model: "Opalbox emulated".into() };
        Host::new(Path { drive: self.clone(), sends: 0, receives: 0 }, identity)
    }

    /// Power off and on: restores the TPer from what was persisted.
    pub(crate) fn power_cycle(&self, profile: Profile) {
        let mut tper = self.0.borrow_mut();
        let state = tper.state();
        let platform = tper.platform().power_cycled();
        *tper = Tper::restore(profile, platform, &state).unwrap();
    }

    pub(crate) fn hardware_reset(&self) {
        own(self.0.borrow_mut().reset(Reset::Hardware));
    }

    /// Lets so much time pass that idle sessions are ended.
    pub(crate) fn idle(&self, duration: Duration) {
        own(self.0.borrow_mut().session_timeouts(duration));
    }

    /// Number of sessions opened so far.
    pub(crate) fn sessions(&self) -> u64 {
        self.0.borrow().counters().sessions
    }

    /// The media key of a range, as a number that changes with it.
    pub(crate) fn key(&self, range: u16) -> Option<u64> {
        self.0.borrow().platform().key(range)
    }
}

/// Persists, applies, commits.
fn own(mut pending: Pending<'_, MemoryPlatform>) {
    let effects = pending.effects().to_vec();
    pending.platform().apply(&effects);
    pending.commit();
}

/// One program's path to a [`Drive`].
pub(crate) struct Path {
    drive: Drive,
    pub(crate) sends: usize,
    pub(crate) receives: usize,
}

impl Transport for Path {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        self.sends += 1;
        let mut tper = self.drive.0.borrow_mut();
        own(tper.if_send(protocol, specific, data).map_err(refused)?);
        Ok(())
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        self.receives += 1;
        let mut tper = self.drive.0.borrow_mut();
        let answer = tper.if_recv(protocol, specific, buffer.len()).map_err(refused)?;
        buffer.fill(0);
        buffer[..answer.len()].copy_from_slice(&answer);
        Ok(buffer.len())
    }

    fn pause(&mut self, _: Duration) {}
}

fn refused(error: IfError) -> TransportError {
    let kind = match error {
        IfError::InvalidCommandParameter => TransportErrorKind::InvalidCommand,
        IfError::ProtocolViolation => TransportErrorKind::ProtocolViolation,
        IfError::InvalidTransferLength => TransportErrorKind::InvalidLength,
    };
    TransportError::new(kind, error.to_string())
}
