// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locking and unlocking ranges of one drive, one session a user.

use std::collections::BTreeMap;

use opal::Transport;

use super::{LockboxEscrow, ManagerError, Target, catalogue};
use crate::drive::sed::Sed;
use crate::drive::{Drive, Locks, RangeSpec, Role};
use crate::lockbox::Lockbox;

/// Ranges that were changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Changed {
    /// Numbers of the ranges.
    pub ranges: Vec<u16>,
}

/// Changes the locks of the `wanted` ranges, or of all that the lockbox opens on this drive.
///
/// # Errors
/// The lockbox knows none of them, or the drive refuses.
pub fn set_locks<T: Transport>(
    drive: &mut Sed<T>,
    target: &Target,
    wanted: &[u16],
    locks: Locks,
    lockbox: &Lockbox,
) -> Result<Changed, ManagerError> {
    let known = catalogue::ranges(lockbox, target)?;
    let chosen: Vec<RangeSpec> = known
        .into_iter()
        .filter(|range| wanted.is_empty() || wanted.contains(&range.number))
        .collect();
    let missing = wanted.iter().find(|number| chosen.iter().all(|range| range.number != **number));
    if let Some(number) = missing {
        let serial = target.serial.clone();
        return Err(ManagerError::UnknownRange { serial, range: *number });
    }
    if chosen.is_empty() {
        return Err(ManagerError::Unknown { serial: target.serial.clone() });
    }
    let mut by_user: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    for range in &chosen {
        by_user.entry(range.user).or_default().push(range.number);
    }
    let mut escrow = LockboxEscrow::new(lockbox, target);
    for (user, ranges) in by_user {
        drive.set_locks(Role::User(user), &ranges, locks, &mut escrow)?;
    }
    Ok(Changed { ranges: chosen.iter().map(|range| range.number).collect() })
}
