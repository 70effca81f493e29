// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proving that PINs are accepted and settings hold.

use opal::host::{Authority, Host, RangeConfig, RangeState};
use opal::{Error, Transport};

use super::login::{self, LockingSession, locking_authority};
use super::provision::{aces, opened_by};
use super::{Sed, provisioned};
use crate::drive::{DriveError, Escrow, RangeSpec, Role};

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
    match login::admin(&mut drive.host, escrow, |session, _, _| Ok(session.close()?)) {
        Err(DriveError::Refused { role }) => wrong.push(format!("{role}'s PIN is refused")),
        other => other?,
    }
    match locking_sp(&mut drive.host, ranges, escrow) {
        Ok(more) => wrong.extend(more),
        Err(DriveError::Refused { role }) => wrong.push(format!("{role}'s PIN is refused")),
        Err(error) => return Err(error),
    }
    Ok(wrong)
}

/// A fresh session of the Locking SP as Admin1 that every user joins, with everything read back.
/// Returns what is not as it should be.
pub(super) fn locking_sp<T: Transport>(
    host: &mut Host<T>,
    ranges: &[RangeSpec],
    escrow: &mut dyn Escrow,
) -> Result<Vec<String>, DriveError> {
    let admin = Role::Admin(1);
    let mut users: Vec<u16> = ranges.iter().map(|spec| spec.user).collect();
    users.sort_unstable();
    users.dedup();

    let (wrong, apart) =
        login::locking(host, admin, Authority::admin(1), escrow, |mut session, escrow| {
            let mut apart = Vec::new();
            for user in users {
                let authority = Authority::user(user);
                if !login::also(&mut session, Role::User(user), authority, escrow)? {
                    apart.push(user);
                }
            }
            let mut wrong = Vec::new();
            for spec in ranges {
                read_back(&mut session, spec, &mut wrong)?;
            }
            session.close()?;
            Ok((wrong, apart))
        })?;
    for user in apart {
        let role = Role::User(user);
        let authority = locking_authority(role)?;
        login::locking(host, role, authority, escrow, |session, _| Ok(session.close()?))?;
    }
    Ok(wrong)
}

fn read_back(
    session: &mut LockingSession<'_>,
    spec: &RangeSpec,
    wrong: &mut Vec<String>,
) -> Result<(), DriveError> {
    let number = spec.number;
    let state = session.range(number)?;
    for (what, met) in differences(&provisioned(spec), &state) {
        if !met {
            wrong.push(format!("range {number}: {what}"));
        }
    }
    let condition = opened_by(spec.user);
    for ace in aces(number) {
        let opens = match session.ace(ace) {
            Ok(found) => condition.authorities().all(|uid| found.authorities().any(|f| f == uid)),
            // Some drives do not show ACEs; that the user opens the range shows in use.
            Err(Error::NotShown { .. }) => true,
            Err(error) => return Err(error.into()),
        };
        if !opens {
            wrong.push(format!("range {number}: User{} may not open it ({ace})", spec.user));
        }
    }
    Ok(())
}

/// The settings that must hold whatever is locked just now.
fn differences(config: &RangeConfig, state: &RangeState) -> [(&'static str, bool); 4] {
    [
        ("its place on the drive", config.start.is_none_or(|s| state.start == Some(s))),
        ("its length", config.length.is_none_or(|l| state.length == Some(l))),
        (
            "its locks do not count",
            state.read_lock_enabled == Some(true) && state.write_lock_enabled == Some(true),
        ),
        ("the loss of power does not lock it", config.lock_on_reset == state.lock_on_reset),
    ]
}
