// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proving that PINs are accepted and settings hold, by deeds where there is one: a user that may
//! open a range sets its locks to what they are.

use std::collections::BTreeMap;

use opal::Transport;
use opal::host::{Authority, Host, RangeConfig, RangeState};
use opal::wire::Status;

use super::login::{self, LockingSession};
use super::{Sed, provisioned, report};
use crate::drive::{DriveError, Escrow, RangeReport, RangeSpec, Role};

/// What a look at the Locking SP found.
#[derive(Default)]
pub(super) struct Findings {
    /// The ranges as their users see them.
    pub(super) ranges: Vec<RangeReport>,
    /// What is not as it should be, in words.
    pub(super) wrong: Vec<String>,
}

/// See [`crate::drive::Drive::verify`].
pub(super) fn run<T: Transport>(
    drive: &mut Sed<T>,
    ranges: &[RangeSpec],
    escrow: &mut dyn Escrow,
) -> Result<Vec<String>, DriveError> {
    if !drive.is_active() {
        return Ok(vec!["locking is not active: the drive is UNPROTECTED".into()]);
    }
    let mut wrong = Vec::new();
    let mut proved = |result: Result<(), DriveError>| match result {
        Err(DriveError::Refused { role }) => {
            wrong.push(format!("{role}'s PIN is refused"));
            Ok(())
        }
        other => other,
    };
    proved(login::admin(&mut drive.host, escrow, |session, _, _| Ok(session.close()?)))?;
    proved(admin1(&mut drive.host, escrow))?;
    let mut findings = Findings::default();
    for (user, theirs) in by_user(ranges) {
        proved(as_user(&mut drive.host, user, &theirs, escrow, &mut findings))?;
    }
    wrong.extend(findings.wrong);
    Ok(wrong)
}

/// Fresh sessions of the Locking SP as Admin1 and as each user, with everything read back.
pub(super) fn locking_sp<T: Transport>(
    host: &mut Host<T>,
    ranges: &[RangeSpec],
    escrow: &mut dyn Escrow,
) -> Result<Findings, DriveError> {
    let mut findings = Findings::default();
    admin1(host, escrow)?;
    for (user, theirs) in by_user(ranges) {
        as_user(host, user, &theirs, escrow, &mut findings)?;
    }
    Ok(findings)
}

fn admin1<T: Transport>(host: &mut Host<T>, escrow: &mut dyn Escrow) -> Result<(), DriveError> {
    let role = Role::Admin(1);
    login::locking(host, role, Authority::admin(1), escrow, |session, _| Ok(session.close()?))
}

fn as_user<T: Transport>(
    host: &mut Host<T>,
    user: u16,
    ranges: &[RangeSpec],
    escrow: &mut dyn Escrow,
    findings: &mut Findings,
) -> Result<(), DriveError> {
    let role = Role::User(user);
    login::locking(host, role, Authority::user(user), escrow, |mut session, _| {
        for spec in ranges {
            examine(&mut session, spec, findings)?;
        }
        Ok(session.close()?)
    })
}

/// Reads a range as its user, then sets its locks to what they are, which only those may who can
/// open it.
fn examine(
    session: &mut LockingSession<'_>,
    spec: &RangeSpec,
    findings: &mut Findings,
) -> Result<(), DriveError> {
    let number = spec.number;
    let state = session.range(number)?;
    for (what, met) in differences(&provisioned(spec), &state) {
        if !met {
            findings.wrong.push(format!("range {number}: {what}"));
        }
    }
    findings.ranges.push(report(number, &state));
    let same = RangeConfig {
        read_locked: state.read_locked,
        write_locked: state.write_locked,
        ..RangeConfig::default()
    };
    match session.set_range(number, &same) {
        Err(error) if error.status() == Some(Status::NOT_AUTHORIZED) => {
            findings.wrong.push(format!("range {number}: User{} may not open it", spec.user));
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Whether a range is set up as `spec` says, locked or not.
pub(super) fn holds(spec: &RangeSpec, state: &RangeState) -> bool {
    differences(&provisioned(spec), state).iter().all(|(_, met)| *met)
}

/// The settings that must hold whatever is locked just now.
fn differences(config: &RangeConfig, state: &RangeState) -> [(&'static str, bool); 4] {
    [
        ("it lies elsewhere on the drive", config.start.is_none_or(|s| state.start == Some(s))),
        ("it has another length", config.length.is_none_or(|l| state.length == Some(l))),
        (
            "its locks do not count",
            state.read_lock_enabled == Some(true) && state.write_lock_enabled == Some(true),
        ),
        ("the loss of power does not lock it", config.lock_on_reset == state.lock_on_reset),
    ]
}

fn by_user(ranges: &[RangeSpec]) -> BTreeMap<u16, Vec<RangeSpec>> {
    let mut users: BTreeMap<u16, Vec<RangeSpec>> = BTreeMap::new();
    for range in ranges {
        users.entry(range.user).or_default().push(*range);
    }
    users
}
