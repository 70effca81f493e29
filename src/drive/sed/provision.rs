// SPDX-License-Identifier: MIT OR Apache-2.0
//! Provisioning, in five sessions:
//!
//! 1. Admin SP: MSID, become SID with it, new SID PIN, Activate;
//! 2. Admin SP with the new PIN, which proves it;
//! 3. Locking SP as Admin1 with the copy of SID's PIN: new Admin1 PIN, ranges, access, users;
//! 4. Locking SP as Admin1 with the new PIN, which proves it;
//! 5. Locking SP as each user with its new PIN, which proves it: the settings are read back.
//!
//! Each PIN is in the escrow before it is sent, so that a run that was cut anywhere is continued
//! by the next one: PINs that were proved and ranges that are set up already are left alone, and
//! sessions that would only prove them are left out.

use std::collections::BTreeSet;

use opal::host::{Activation, Authority, BooleanExpr, Host, LockingSp};
use opal::spec::ace::locking_sp as ace;
use opal::{Pin, Transport, Uid};

use super::login::{self, Accepted, AdminSession, LockingSession};
use super::{Sed, provisioned, verify};
use crate::drive::{Candidate, DriveError, Escrow, Origin, Progress, RangeReport, RangeSpec, Role};

const ADMIN1: Role = Role::Admin(1);

/// See [`crate::drive::Drive::provision`].
pub(super) fn run<T: Transport>(
    drive: &mut Sed<T>,
    ranges: &[RangeSpec],
    escrow: &mut dyn Escrow,
    progress: Progress<'_>,
) -> Result<Vec<RangeReport>, DriveError> {
    for spec in ranges {
        drive.check(spec)?;
    }
    let owned = own_and_activate(drive, escrow, progress)?;
    let authority = Authority::admin(1);
    let replaced = if ranges.is_empty() && owned.activated {
        // Activate copied SID's PIN to Admin1 (Opal 2.30 §5.1.1): that Admin1 accepts it in a
        // fresh session proves SID's as well.
        progress("setting Admin1's PIN");
        login::with_session(&mut drive.host, ADMIN1, authority, escrow, |session, escrow, with| {
            confirm_sid(escrow)?;
            replace_admin1(session, escrow, with)
        })?
    } else {
        if owned.replaced {
            progress("proving SID's PIN");
            login::admin(&mut drive.host, escrow, |session, _, _| Ok(session.close()?))?;
        }
        progress("setting up the Locking SP");
        login::with_session(&mut drive.host, ADMIN1, authority, escrow, |session, escrow, with| {
            configure(session, escrow, with, ranges, owned.activated)
        })?
    };
    progress("proving the PINs and reading everything back");
    let findings = verify::locking_sp(&mut drive.host, ranges, replaced, escrow)?;
    match findings.wrong.into_iter().next() {
        Some(what) => Err(DriveError::NotKept { what }),
        None => Ok(findings.ranges),
    }
}

/// What taking ownership did.
#[derive(Clone, Copy)]
struct Owned {
    /// SID has a new PIN, which no session has proved.
    replaced: bool,
    /// The Locking SP was activated now.
    activated: bool,
}

/// Takes ownership and activates the Locking SP, as far as that is not done.
fn own_and_activate<T: Transport>(
    drive: &mut Sed<T>,
    escrow: &mut dyn Escrow,
    progress: Progress<'_>,
) -> Result<Owned, DriveError> {
    let active = drive.is_active();
    let known = escrow.candidates(Role::Sid)?;
    if active && known.first().is_some_and(|newest| newest.generated && newest.proved) {
        return Ok(Owned { replaced: false, activated: false });
    }
    if known.is_empty() {
        if active {
            return Err(DriveError::Owned { evidence: "locking is active" });
        }
        if let Some(feature) = drive.discovery.block_sid() {
            if feature.sid_changed {
                return Err(DriveError::Owned { evidence: "SID's PIN is not the factory's" });
            }
            if feature.blocked {
                return Err(DriveError::SidBlocked);
            }
        }
        progress("taking ownership");
        if take_ownership(&mut drive.host, escrow)? {
            expect_active(drive)?;
            return Ok(Owned { replaced: true, activated: true });
        }
    }
    let possible = possible(drive, escrow.candidates(Role::Sid)?)?;
    progress("taking ownership");
    let replaced = login::with_one_of(
        &mut drive.host,
        Role::Sid,
        Authority::SID,
        &possible,
        escrow,
        |session, escrow, accepted| become_owner(session, escrow, accepted, active),
    )?;
    if !active {
        expect_active(drive)?;
    }
    Ok(Owned { replaced, activated: !active })
}

/// Those of SID's candidates that discovery leaves possible, so that no attempt is spent on the
/// others. A drive that once accepted a PIN of ours and has the factory's was reverted.
fn possible<T: Transport>(
    drive: &Sed<T>,
    mut known: Vec<Candidate>,
) -> Result<Vec<Candidate>, DriveError> {
    let ours = known.iter().any(|candidate| candidate.generated && candidate.proved);
    let changed = drive.discovery.block_sid().map(|feature| feature.sid_changed);
    match changed {
        Some(false) if ours => return Err(DriveError::Reverted),
        Some(changed) => known.retain(|candidate| candidate.generated == changed),
        None if ours => known.retain(|candidate| candidate.generated),
        None => {}
    }
    if known.is_empty() {
        return Err(DriveError::Owned { evidence: "SID's PIN is not the factory's" });
    }
    if drive.discovery.block_sid().is_some_and(|feature| feature.blocked) {
        return Err(DriveError::SidBlocked);
    }
    Ok(known)
}

fn expect_active<T: Transport>(drive: &mut Sed<T>) -> Result<(), DriveError> {
    drive.refresh()?;
    if drive.is_active() {
        return Ok(());
    }
    Err(DriveError::NotKept { what: "the activation of locking".into() })
}

/// The whole first session on a factory-fresh drive. `false` if the drive wants the credential in
/// StartSession; the MSID is in the escrow then.
fn take_ownership<T: Transport>(
    host: &mut Host<T>,
    escrow: &mut dyn Escrow,
) -> Result<bool, DriveError> {
    login::anybody(host, |mut session| {
        let msid = session.msid()?;
        let version = escrow.adopt(Role::Sid, Origin::FactoryMsid, &msid)?;
        escrow.attempt(Role::Sid, version)?;
        match login::accepts(&mut session, Authority::SID, &msid)? {
            Accepted::Yes => {
                escrow.confirmed(Role::Sid, version)?;
                let accepted = Candidate { version, pin: msid, generated: false, proved: true };
                become_owner(session, escrow, &accepted, false)?;
                Ok(true)
            }
            Accepted::No => {
                escrow.refused(Role::Sid, version)?;
                session.close()?;
                Err(DriveError::Owned { evidence: "SID does not accept the factory's PIN" })
            }
            Accepted::NoSuchForm => {
                session.close()?;
                Ok(false)
            }
        }
    })
}

/// As SID: replaces a PIN that is not ours, and activates the Locking SP. Returns whether it
/// replaced the PIN.
fn become_owner(
    mut session: AdminSession<'_>,
    escrow: &mut dyn Escrow,
    accepted: &Candidate,
    active: bool,
) -> Result<bool, DriveError> {
    let staged;
    let now = if accepted.generated {
        accepted
    } else {
        staged = escrow.stage(Role::Sid)?;
        escrow.about_to_set(Role::Sid)?;
        session.set_pin(Authority::SID, &staged.pin)?;
        &staged
    };
    if !active {
        // Before Activate, whose answer may be lost.
        escrow.adopt(ADMIN1, Origin::CopyOfSid(now.version), &now.pin)?;
        session.activate(&Activation::default())?;
    }
    session.close()?;
    Ok(!accepted.generated)
}

/// SID's newest PIN is the drive's.
fn confirm_sid(escrow: &mut dyn Escrow) -> Result<(), DriveError> {
    match escrow.candidates(Role::Sid)?.first() {
        Some(newest) => Ok(escrow.confirmed(Role::Sid, newest.version)?),
        None => Err(DriveError::NoCredential { role: Role::Sid }),
    }
}

/// These three return whether Admin1 has a new PIN, which no session has proved.
fn replace_admin1(
    mut session: LockingSession<'_>,
    escrow: &mut dyn Escrow,
    accepted: &Candidate,
) -> Result<bool, DriveError> {
    let replaced = set_admin1(&mut session, escrow, accepted)?;
    session.close()?;
    Ok(replaced)
}

fn set_admin1(
    session: &mut LockingSession<'_>,
    escrow: &mut dyn Escrow,
    accepted: &Candidate,
) -> Result<bool, DriveError> {
    if accepted.generated {
        return Ok(false);
    }
    let staged = escrow.stage(ADMIN1)?;
    escrow.about_to_set(ADMIN1)?;
    session.set_pin(Authority::admin(1), &staged.pin)?;
    Ok(true)
}

/// The third session: Admin1's PIN, then each range, who may open it, and that user's PIN. Where
/// locking was active before, a range may be set up already, hold data and be locked: one that is
/// as it should be is not touched.
fn configure(
    mut session: LockingSession<'_>,
    escrow: &mut dyn Escrow,
    accepted: &Candidate,
    ranges: &[RangeSpec],
    fresh: bool,
) -> Result<bool, DriveError> {
    let replaced = set_admin1(&mut session, escrow, accepted)?;
    let most = session.locking_info()?.max_ranges;
    for spec in ranges {
        if u64::from(spec.number) > most {
            return Err(DriveError::Unsupported(format!(
                "range {}: it has {most} beside the Global Range",
                spec.number
            )));
        }
        if fresh || !verify::holds(spec, &session.range(spec.number)?) {
            session.set_range(spec.number, &provisioned(spec))?;
        }
        let condition = opened_by(spec.user);
        for ace in aces(spec.number) {
            session.set_ace(ace, &condition)?;
        }
    }
    let users: BTreeSet<u16> = ranges.iter().map(|spec| spec.user).collect();
    for user in users {
        set_user(&mut session, escrow, user)?;
    }
    session.close()?;
    Ok(replaced)
}

/// The ACEs that let a user open a range: read its state, set its read lock, set its write lock.
fn aces(range: u16) -> [Uid; 3] {
    [
        ace::locking_get(range),
        ace::locking_set_read_locked(range),
        ace::locking_set_write_locked(range),
    ]
}

/// Admins or this user.
fn opened_by(user: u16) -> BooleanExpr {
    BooleanExpr::any_of(&[Authority::<LockingSp>::ADMINS, Authority::user(user)])
}

/// Gives the user a PIN of ours, then enables it: never an enabled user with an empty PIN. Where
/// it is in doubt which PIN the drive has, setting one again resolves it without guessing.
fn set_user(
    session: &mut LockingSession<'_>,
    escrow: &mut dyn Escrow,
    user: u16,
) -> Result<(), DriveError> {
    let role = Role::User(user);
    let authority = Authority::user(user);
    let known = escrow.candidates(role)?;
    let settled = known.first().is_some_and(|newest| newest.generated && newest.proved);
    if !settled {
        if known.is_empty() {
            escrow.adopt(role, Origin::Empty, &Pin::default())?;
        }
        let staged = escrow.stage(role)?;
        escrow.about_to_set(role)?;
        session.set_pin(authority, &staged.pin)?;
    }
    Ok(session.set_enabled(authority, true)?)
}
