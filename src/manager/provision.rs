// SPDX-License-Identifier: MIT OR Apache-2.0
//! Provision, verify and revert: the drive's verbs with the lockbox behind them.

use opal::Transport;
use opal::host::DataLoss;

use super::{LockboxEscrow, ManagerError, Target, catalogue};
use crate::drive::sed::Sed;
use crate::drive::{Drive, DriveError, Progress, RangeReport, RangeSpec, Role};
use crate::lockbox::Lockbox;

/// Provisions `ranges` on the drive, records them, and returns them as read back. Running it again
/// finishes what was cut.
///
/// # Errors
/// What went wrong; what was done stays done, with every PIN in the lockbox.
pub fn provision<T: Transport>(
    drive: &mut Sed<T>,
    target: &Target,
    ranges: &[RangeSpec],
    lockbox: &Lockbox,
    progress: Progress<'_>,
) -> Result<Vec<RangeReport>, ManagerError> {
    check_conflicts(target, ranges, lockbox)?;
    let mut escrow = LockboxEscrow::new(lockbox, target);
    let reports = match drive.provision(ranges, &mut escrow, progress) {
        Err(DriveError::Refused { role: Role::Sid }) if drive.is_factory()? => {
            return Err(reverted_elsewhere(target));
        }
        Err(DriveError::Reverted) => return Err(reverted_elsewhere(target)),
        other => other?,
    };
    for range in ranges {
        catalogue::record(lockbox, target, range)?;
    }
    Ok(reports)
}

/// Refuses ranges that the lockbox knows otherwise, or that would overlap with what it knows.
///
/// # Errors
/// [`ManagerError::Conflict`]; the lockbox's.
pub fn check_conflicts(
    target: &Target,
    ranges: &[RangeSpec],
    lockbox: &Lockbox,
) -> Result<(), ManagerError> {
    let known = catalogue::ranges(lockbox, target)?;
    ranges.iter().try_for_each(|new| known.iter().try_for_each(|old| conflict(old, new)))
}

/// Proves every credential and setting of the drive that the lockbox knows. Returns what is
/// wrong, in words.
///
/// # Errors
/// The drive or the lockbox failed before everything was looked at.
pub fn verify<T: Transport>(
    drive: &mut Sed<T>,
    target: &Target,
    lockbox: &Lockbox,
) -> Result<Vec<String>, ManagerError> {
    let ranges = catalogue::ranges(lockbox, target)?;
    if lockbox.credentials(&target.owner())?.is_empty() {
        return Err(ManagerError::Unknown { serial: target.serial.clone() });
    }
    Ok(drive.verify(&ranges, &mut LockboxEscrow::new(lockbox, target))?)
}

/// Reverts the drive with SID's credential, or with the label's `psid`, and forgets its
/// credentials once the drive shows its factory state. On a drive that is there already only the
/// forgetting is left to do.
///
/// # Errors
/// The drive or the lockbox refuses; nothing is forgotten then.
pub fn revert<T: Transport>(
    drive: &mut Sed<T>,
    target: &Target,
    psid: Option<&opal::Pin>,
    loss: &DataLoss,
    lockbox: &Lockbox,
) -> Result<(), ManagerError> {
    if let Some(psid) = psid {
        drive.psid_revert(psid, loss)?;
    } else if !drive.shows_factory_state() {
        match drive.revert(loss, &mut LockboxEscrow::new(lockbox, target)) {
            Err(DriveError::Refused { role: Role::Sid }) if drive.is_factory()? => Ok(()),
            other => other,
        }?;
    }
    lockbox.forget_with_assets(&target.owner())?;
    Ok(())
}

fn reverted_elsewhere(target: &Target) -> ManagerError {
    ManagerError::RevertedElsewhere { serial: target.serial.clone() }
}

fn conflict(old: &RangeSpec, new: &RangeSpec) -> Result<(), ManagerError> {
    let number = new.number;
    if old.number == number && old != new {
        let text = format!("range {number} is provisioned already, with another place or user");
        return Err(ManagerError::Conflict(text));
    }
    if old.number != number
        && let (Some(old_extent), Some(extent)) = (old.extent, new.extent)
        && old_extent.overlaps(extent)
    {
        let text = format!("range {number} would overlap range {}", old.number);
        return Err(ManagerError::Conflict(text));
    }
    Ok(())
}
