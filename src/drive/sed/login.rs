// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening sessions with what the escrow has, within the attempt budget.

use std::time::Duration;

use opal::host::{AdminSp, Authority, Host, LockingSp, SecurityProvider, Session};
use opal::wire::Status;
use opal::{Error, Pin, Transport};

use crate::drive::{Candidate, DriveError, Escrow, Role};

/// A read-write session with the Locking SP.
pub(super) type LockingSession<'h> = Session<'h, LockingSp>;
/// A read-write session with the Admin SP.
pub(super) type AdminSession<'h> = Session<'h, AdminSp>;

/// The authority of a role in the Locking SP.
pub(super) fn locking_authority(role: Role) -> Result<Authority<LockingSp>, DriveError> {
    match role {
        Role::Admin(n) => Ok(Authority::admin(n)),
        Role::User(n) => Ok(Authority::user(n)),
        Role::Sid => Err(DriveError::Unsupported("SID as an authority of the Locking SP".into())),
    }
}

/// Runs `body` in a session of the Locking SP as `role`.
pub(super) fn locking<T: Transport, R>(
    host: &mut Host<T>,
    role: Role,
    authority: Authority<LockingSp>,
    escrow: &mut dyn Escrow,
    body: impl FnOnce(LockingSession<'_>, &mut dyn Escrow) -> Result<R, DriveError>,
) -> Result<R, DriveError> {
    with_session(host, role, authority, escrow, |session, escrow, _| body(session, escrow))
}

/// Runs `body` in a session of the Admin SP as SID; `body` gets the PIN that was accepted.
pub(super) fn admin<T: Transport, R>(
    host: &mut Host<T>,
    escrow: &mut dyn Escrow,
    body: impl FnOnce(AdminSession<'_>, &mut dyn Escrow, &Candidate) -> Result<R, DriveError>,
) -> Result<R, DriveError> {
    with_session(host, Role::Sid, Authority::SID, escrow, body)
}

/// Runs `body` in a session of the Admin SP as Anybody.
pub(super) fn anybody<T: Transport, R>(
    host: &mut Host<T>,
    body: impl FnOnce(AdminSession<'_>) -> Result<R, DriveError>,
) -> Result<R, DriveError> {
    let mut rival = Rival::default();
    loop {
        let error = match host.start::<AdminSp>().open() {
            Ok(session) => return body(session),
            Err(error) => error,
        };
        rival.make_way(host, error)?;
    }
}

/// Runs `body` in a session as `role`, trying the candidates in the escrow's order. `body` gets
/// the one that was accepted.
pub(super) fn with_session<T: Transport, S: SecurityProvider, R>(
    host: &mut Host<T>,
    role: Role,
    authority: Authority<S>,
    escrow: &mut dyn Escrow,
    body: impl FnOnce(Session<'_, S>, &mut dyn Escrow, &Candidate) -> Result<R, DriveError>,
) -> Result<R, DriveError> {
    let candidates = escrow.candidates(role)?;
    if candidates.is_empty() {
        return Err(DriveError::NoCredential { role });
    }
    for candidate in &candidates {
        escrow.attempt(role, candidate.version)?;
        let mut rival = Rival::default();
        loop {
            let error = match host.start::<S>().authority(authority, &candidate.pin).open() {
                Ok(session) => {
                    escrow.confirmed(role, candidate.version)?;
                    return body(session, escrow, candidate);
                }
                Err(Error::NotAuthenticated { .. }) => {
                    escrow.refused(role, candidate.version)?;
                    break;
                }
                Err(error) => error,
            };
            // The credential was not looked at: the attempt is still to be made.
            rival.make_way(host, error)?;
        }
    }
    Err(DriveError::Refused { role })
}

/// A session of somebody else that is in the way: of a program that works, which ends it soon, or
/// of one that was killed, whose session stays until the ComID is reset.
#[derive(Default)]
pub(super) struct Rival {
    waited: u32,
}

impl Rival {
    /// Waits for the rival, 3 s in all, then ends its session; an `Ok` says "try again".
    ///
    /// Not done at once, because STACK_RESET hits every program's sessions and one drive is known
    /// to hang on it (quirks B7, B8).
    ///
    /// # Errors
    /// `error`, if it is not that a session is in the way, or nothing helped.
    pub(super) fn make_way<T: Transport>(
        &mut self,
        host: &mut Host<T>,
        error: Error,
    ) -> Result<(), Error> {
        const WAITS: u32 = 20;
        const WAIT: Duration = Duration::from_millis(150);
        if !matches!(error.status(), Some(Status::SP_BUSY | Status::NO_SESSIONS_AVAILABLE)) {
            return Err(error);
        }
        self.waited += 1;
        match self.waited {
            1..=WAITS => host.transport().pause(WAIT),
            n if n == WAITS + 1 => {
                tracing::warn!("the drive has an open session that nobody ends: it is reset");
                host.stack_reset()?;
            }
            _ => return Err(error),
        }
        Ok(())
    }
}

/// What a drive says to Authenticate.
pub(super) enum Accepted {
    /// The PIN is right.
    Yes,
    /// The PIN is wrong.
    No,
    /// The drive wants the credential in StartSession.
    NoSuchForm,
}

/// Offers `pin` with Authenticate.
pub(super) fn accepts<S: SecurityProvider>(
    session: &mut Session<'_, S>,
    authority: Authority<S>,
    pin: &Pin,
) -> Result<Accepted, DriveError> {
    match session.authenticate(authority, pin) {
        Ok(()) => Ok(Accepted::Yes),
        Err(Error::NotAuthenticated { .. }) => Ok(Accepted::No),
        Err(error) if error.status() == Some(Status::AUTHORITY_LOCKED_OUT) => Err(error.into()),
        Err(Error::NoAnswer { .. } | Error::Method { .. }) => Ok(Accepted::NoSuchForm),
        Err(error) => Err(error.into()),
    }
}
