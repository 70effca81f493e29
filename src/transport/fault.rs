// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transport that does harm as told: a fault description is data, and the same one does the same
//! harm each time.

use std::time::Duration;

use opal::{Transport, TransportError, TransportErrorKind as Kind};
use serde::{Deserialize, Serialize};

use super::Direction;

/// One fault: which commands it meets, and what happens to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Commands to be counted.
    #[serde(default)]
    pub when: When,
    /// The first command of those that is met, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many are met, from `nth` on.
    #[serde(default = "one")]
    pub times: u64,
    /// What happens to a command that is met.
    pub action: Action,
}

/// What a command must be to count; what is absent does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// IF-SEND or IF-RECV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<Direction>,
    /// Security protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Security protocol specific, a ComID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specific: Option<u16>,
}

/// What happens to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Action {
    /// It does not reach the drive, and the host hears of a time-out.
    Drop,
    /// It reaches the drive, and the host hears of a time-out.
    LoseAnswer,
    /// The host waits that many milliseconds first, through the path's own pause.
    Delay(u64),
    /// It does not reach the drive, and the host hears of this kind of error, by its name in
    /// recordings: `unsupported`, `denied`, `invalid-command`, `protocol-violation`,
    /// `invalid-length`, `timed-out`, `gone`, `failed`.
    Status(#[serde(with = "super::recording::kind")] Kind),
    /// The byte at `offset` of the payload is changed by `xor`; no harm past the end.
    Corrupt {
        /// Offset into what is sent, or into what is received.
        offset: usize,
        /// Bits to turn.
        xor: u8,
    },
    /// Only that many bytes arrive; the rest are zeros.
    Truncate(usize),
    /// It does not reach the drive, nor does any later command: the path is gone.
    Cut,
    /// It reaches the drive, but its answer is lost, and so is any later command.
    CutAfter,
}

/// Does the harm of a list of faults to the commands of `inner`.
#[derive(Debug)]
pub struct FaultInjector<T> {
    inner: T,
    faults: Vec<(Fault, u64)>,
    cut: bool,
    done: u64,
}

impl<T> FaultInjector<T> {
    /// Disturbs `inner` by `faults`; where several meet one command, the first in the list wins.
    pub fn new(inner: T, faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = faults.into_iter().map(|fault| (fault, 0)).collect();
        Self { inner, faults, cut: false, done: 0 }
    }

    /// How many commands have met a fault so far: a test that meets none has tested nothing.
    pub fn met(&self) -> u64 {
        self.done
    }

    /// The transport inside, unharmed.
    pub fn into_inner(self) -> T {
        self.inner
    }

    fn action(&mut self, dir: Direction, protocol: u8, specific: u16) -> Option<Action> {
        let mut chosen = None;
        for (fault, seen) in &mut self.faults {
            let When { dir: d, protocol: p, specific: s } = fault.when;
            let counts = d.is_none_or(|d| d == dir)
                && p.is_none_or(|p| p == protocol)
                && s.is_none_or(|s| s == specific);
            if !counts {
                continue;
            }
            *seen += 1;
            let met = *seen >= fault.nth && *seen - fault.nth < fault.times;
            if met && chosen.is_none() {
                chosen = Some(fault.action.clone());
            }
        }
        self.done += u64::from(chosen.is_some());
        chosen
    }
}

impl<T: Transport> FaultInjector<T> {
    /// Harm done before the command; what is left is to be done with its payload or afterwards.
    fn before(
        &mut self,
        dir: Direction,
        protocol: u8,
        specific: u16,
    ) -> Result<Option<Action>, TransportError> {
        if self.cut {
            return Err(gone());
        }
        match self.action(dir, protocol, specific) {
            Some(Action::Drop) => Err(timed_out()),
            Some(Action::Status(kind)) => {
                Err(TransportError::new(kind, format!("injected fault: {kind:?}")))
            }
            Some(Action::Cut) => {
                self.cut = true;
                Err(gone())
            }
            Some(Action::Delay(milliseconds)) => {
                self.inner.pause(Duration::from_millis(milliseconds));
                Ok(None)
            }
            rest => Ok(rest),
        }
    }

    fn after<R>(&mut self, action: Option<&Action>, value: R) -> Result<R, TransportError> {
        match action {
            Some(Action::LoseAnswer) => Err(timed_out()),
            Some(Action::CutAfter) => {
                self.cut = true;
                Err(gone())
            }
            _ => Ok(value),
        }
    }
}

impl<T: Transport> Transport for FaultInjector<T> {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        let action = self.before(Direction::Send, protocol, specific)?;
        match &action {
            Some(harm @ (Action::Corrupt { .. } | Action::Truncate(_))) => {
                let mut changed = zeroize::Zeroizing::new(data.to_vec());
                harm_payload(harm, &mut changed);
                self.inner.if_send(protocol, specific, &changed)?;
            }
            _ => self.inner.if_send(protocol, specific, data)?,
        }
        self.after(action.as_ref(), ())
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        let action = self.before(Direction::Recv, protocol, specific)?;
        let mut valid = self.inner.if_recv(protocol, specific, buffer)?;
        match &action {
            Some(harm @ Action::Corrupt { .. }) => harm_payload(harm, buffer),
            Some(harm @ Action::Truncate(length)) => {
                harm_payload(harm, buffer);
                valid = valid.min(*length);
            }
            Some(Action::LoseAnswer | Action::CutAfter) => buffer.fill(0),
            _ => {}
        }
        self.after(action.as_ref(), valid)
    }

    fn pause(&mut self, duration: Duration) {
        self.inner.pause(duration);
    }

    fn max_transfer(&self) -> usize {
        self.inner.max_transfer()
    }
}

fn one() -> u64 {
    1
}

fn harm_payload(action: &Action, data: &mut [u8]) {
    match *action {
        Action::Corrupt { offset, xor } => {
            if let Some(byte) = data.get_mut(offset) {
                *byte ^= xor;
            }
        }
        Action::Truncate(length) => {
            if let Some(rest) = data.get_mut(length..) {
                rest.fill(0);
            }
        }
        _ => {}
    }
}

fn gone() -> TransportError {
    TransportError::new(Kind::Gone, "injected fault: the drive is gone")
}

fn timed_out() -> TransportError {
    TransportError::new(Kind::TimedOut, "injected fault: no answer in time")
}
