// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`LockboxEscrow`]: the lockbox as the keeper of one drive's credentials, with the attempt budget.
//!
//! Attempts are counted only while more than one PIN is possible, or after a refusal: the steady
//! state writes nothing before it unlocks. A mark is durable before the attempt it stands for,
//! because an attempt without an answer may have reached the drive.

use opal::Pin;

use super::{Target, generate};
use crate::drive::{Candidate, Escrow, EscrowError, Origin, Role};
use crate::lockbox::{self, Credential, Kind, Lockbox, VersionState};

/// Attempts that may fail between two power cycles of a drive. Drives lock out at five tries
/// (OCP SEC-36), some at three; two leave room for a person.
const BUDGET: u32 = 2;

/// One drive's credentials in the lockbox.
pub struct LockboxEscrow<'a> {
    lockbox: &'a Lockbox,
    owner: String,
    power_cycles: Option<u64>,
}

impl<'a> LockboxEscrow<'a> {
    /// The credentials of `target`.
    #[must_use]
    pub fn new(lockbox: &'a Lockbox, target: &Target) -> Self {
        Self { lockbox, owner: target.owner(), power_cycles: target.power_cycles }
    }

    fn known(&self, role: Role) -> Result<Option<Credential>, EscrowError> {
        self.lockbox.credential(&self.owner, &role.to_string()).map_err(refuse)
    }

    fn candidate(&self, credential: &Credential, version: u64) -> Result<Candidate, EscrowError> {
        let secret = self
            .lockbox
            .credential_secret(&self.owner, &credential.role, version)
            .map_err(refuse)?;
        let pin = Pin::new(secret.expose()).map_err(|error| refuse_other(Box::new(error)))?;
        let generated = credential
            .version(version)
            .is_some_and(|version| version.origin == lockbox::Origin::Generated);
        let proved = credential.active == Some(version) && !credential.set_issued;
        Ok(Candidate { version, pin, generated, proved })
    }

    /// Marks that count now: those of an older power cycle do not.
    fn marks(&self, credential: &Credential) -> u32 {
        match (credential.power_cycle, self.power_cycles) {
            (Some(then), Some(now)) if then != now => 0,
            _ => credential.attempts,
        }
    }

    fn mark(&self, role: Role) -> Result<(), EscrowError> {
        self.lockbox
            .note_attempt(&self.owner, &role.to_string(), self.power_cycles)
            .map(drop)
            .map_err(refuse)
    }

    fn counts(&self, credential: &Credential) -> bool {
        credential.candidates().len() > 1 || self.marks(credential) > 0
    }
}

impl Escrow for LockboxEscrow<'_> {
    fn candidates(&mut self, role: Role) -> Result<Vec<Candidate>, EscrowError> {
        let Some(credential) = self.known(role)? else { return Ok(Vec::new()) };
        let versions = credential.candidates();
        versions.into_iter().map(|version| self.candidate(&credential, version)).collect()
    }

    fn attempt(&mut self, role: Role, _version: u64) -> Result<(), EscrowError> {
        let Some(credential) = self.known(role)? else { return Ok(()) };
        if !self.counts(&credential) {
            return Ok(());
        }
        if self.marks(&credential) >= BUDGET {
            return Err(EscrowError::BudgetSpent { role });
        }
        self.mark(role)
    }

    fn refused(&mut self, role: Role, _version: u64) -> Result<(), EscrowError> {
        let Some(credential) = self.known(role)? else { return Ok(()) };
        // What was counted before the attempt is counted once.
        if self.counts(&credential) { Ok(()) } else { self.mark(role) }
    }

    fn confirmed(&mut self, role: Role, version: u64) -> Result<(), EscrowError> {
        let Some(credential) = self.known(role)? else { return Ok(()) };
        let name = role.to_string();
        let settled = credential.active == Some(version)
            && !credential.set_issued
            && credential.attempts == 0;
        if !settled {
            allow_old_store(self.lockbox.activate(&self.owner, &name, version, self.power_cycles))?;
        }
        // The version before stays until the drive has shown, after a loss of power, that it
        // kept the new one.
        let superseded =
            credential.versions.iter().any(|version| version.state == VersionState::Superseded);
        let proved = credential.active == Some(version)
            && credential.staged.is_none()
            && credential.cycled_since_change(self.power_cycles);
        if superseded && proved {
            allow_old_store(self.lockbox.retire_superseded(&self.owner, &name).map(drop))?;
        }
        Ok(())
    }

    fn adopt(&mut self, role: Role, origin: Origin, pin: &Pin) -> Result<u64, EscrowError> {
        let name = role.to_string();
        let origin = match origin {
            Origin::FactoryMsid => lockbox::Origin::FactoryMsid,
            Origin::Empty => lockbox::Origin::Empty,
            Origin::CopyOfSid(version) => {
                lockbox::Origin::CopyOf { role: Role::Sid.to_string(), version }
            }
        };
        if let Some(credential) = self.known(role)? {
            for version in credential.candidates() {
                let same = credential.version(version).is_some_and(|v| v.origin == origin);
                if same && self.candidate(&credential, version)?.pin.matches(pin) {
                    return Ok(version);
                }
            }
            if credential.staged.is_some() && !credential.set_issued {
                self.lockbox.abandon_staged(&self.owner, &name).map_err(refuse)?;
            }
        }
        let secret = generate::to_secret(pin);
        let certain = origin == lockbox::Origin::Empty;
        let version = self
            .lockbox
            .stage(&self.owner, &name, Kind::DrivePin, &secret, origin)
            .map_err(refuse)?;
        if certain {
            // Nobody proves an empty PIN; the Set that follows does not need it either.
            self.lockbox
                .activate(&self.owner, &name, version, self.power_cycles)
                .map_err(refuse)?;
        }
        Ok(version)
    }

    fn stage(&mut self, role: Role) -> Result<Candidate, EscrowError> {
        if let Some(credential) = self.known(role)?
            && let Some(staged) = credential.staged
        {
            return self.candidate(&credential, staged);
        }
        let pin = generate::pin().map_err(|error| refuse_other(Box::new(error)))?;
        let secret = generate::to_secret(&pin);
        let origin = lockbox::Origin::Generated;
        let version = self
            .lockbox
            .stage(&self.owner, &role.to_string(), Kind::DrivePin, &secret, origin)
            .map_err(refuse)?;
        Ok(Candidate { version, pin, generated: true, proved: false })
    }

    fn about_to_set(&mut self, role: Role) -> Result<(), EscrowError> {
        self.lockbox.mark_set_issued(&self.owner, &role.to_string()).map_err(refuse)
    }
}

fn refuse(error: lockbox::Error) -> EscrowError {
    EscrowError::Lockbox(Box::new(error))
}

fn refuse_other(error: Box<dyn std::error::Error + Send + Sync>) -> EscrowError {
    EscrowError::Lockbox(error)
}

/// An old store put back still unlocks drives: what a success would have changed stays open.
fn allow_old_store(result: Result<(), lockbox::Error>) -> Result<(), EscrowError> {
    match result {
        Err(error @ lockbox::Error::Anchor(_)) => {
            tracing::warn!("{error}. {}", error.advice());
            Ok(())
        }
        other => other.map_err(refuse),
    }
}
