// SPDX-License-Identifier: MIT OR Apache-2.0
//! What state a drive is in, who owns it as far as can be told, what will not work, and what to do
//! next. Looks only: discovery and the lockbox, no session, no attempt.

use opal::wire::discovery::{Discovery, FeatureCode};
use serde::Serialize;

use super::{ManagerError, Target, catalogue};
use crate::lockbox::Lockbox;

/// The state of a drive, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// No TCG security: not a self-encrypting drive through this path.
    NoSecurity,
    /// Factory state: nobody owns it, nothing is protected.
    Unowned,
    /// Owned, but locking is not active: nothing is protected.
    Inactive,
    /// Locking is active and nothing is locked now.
    Unlocked,
    /// Something is locked now.
    Locked,
}

/// Who owns a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Nobody: SID has the factory's PIN.
    Nobody,
    /// This lockbox has its credentials.
    ThisLockbox,
    /// Somebody whose credentials this lockbox does not have.
    SomebodyElse,
    /// Discovery does not tell, and looking further would use up an attempt.
    Unknown,
}

/// One thing worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Whether something will not work because of it.
    pub problem: bool,
    /// What it is.
    pub what: String,
}

/// What the doctor found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The state.
    pub condition: Condition,
    /// The owner.
    pub owner: Owner,
    /// The lockbox has credentials of it, and it is in factory state: it was reverted behind the
    /// lockbox's back.
    pub reverted: bool,
    /// Whether the drive says that it encrypts.
    pub encrypts: bool,
    /// What else is worth knowing.
    pub notes: Vec<Note>,
    /// What to do next.
    pub next: String,
}

/// Examines a drive by what discovery told.
///
/// # Errors
/// The lockbox refuses.
pub fn examine(
    discovery: Option<&Discovery>,
    target: &Target,
    block_size: u32,
    lockbox: Option<&Lockbox>,
) -> Result<Diagnosis, ManagerError> {
    let Some(discovery) = discovery.filter(|discovery| discovery.ssc().is_some()) else {
        return Ok(Diagnosis {
            condition: Condition::NoSecurity,
            owner: Owner::Unknown,
            reverted: false,
            encrypts: false,
            notes: Vec::new(),
            next: "nothing to do here: the drive has no TCG security, or the path hides it".into(),
        });
    };
    let held = match lockbox {
        Some(lockbox) => !lockbox.credentials(&target.owner())?.is_empty(),
        None => false,
    };
    let ranges = match lockbox {
        Some(lockbox) => catalogue::ranges(lockbox, target)?.len(),
        None => 0,
    };
    let locking = discovery.locking().unwrap_or_default();
    let sid_changed = discovery.block_sid().map(|feature| feature.sid_changed);
    let owner = match (locking.enabled, sid_changed, held) {
        (false, Some(false), _) => Owner::Nobody,
        (_, _, true) => Owner::ThisLockbox,
        (true, _, false) | (false, Some(true), false) => Owner::SomebodyElse,
        (false, None, false) => Owner::Unknown,
    };
    let condition = match (locking.enabled, locking.locked, owner) {
        (true, true, _) => Condition::Locked,
        (true, false, _) => Condition::Unlocked,
        (false, _, Owner::Nobody) => Condition::Unowned,
        (false, _, Owner::Unknown) => Condition::Unowned,
        (false, ..) => Condition::Inactive,
    };
    Ok(Diagnosis {
        condition,
        owner,
        reverted: owner == Owner::Nobody && held,
        encrypts: discovery.encrypts(),
        notes: notes(discovery, block_size, owner, held),
        next: next_step(condition, owner, held, ranges),
    })
}

fn notes(discovery: &Discovery, block_size: u32, owner: Owner, held: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut add = |problem: bool, what: String| notes.push(Note { problem, what });
    if owner == Owner::Nobody && held {
        add(
            true,
            "the lockbox has credentials of this drive, but it is in factory state: it was \
             reverted elsewhere and is UNPROTECTED"
                .into(),
        );
    }
    if !discovery.encrypts() {
        add(
            true,
            "the drive locks but does not promise to encrypt: whoever reads its flash chips reads \
             the data"
                .into(),
        );
    }
    if discovery.has(FeatureCode::ENTERPRISE) {
        add(true, "Enterprise drives are shown, not provisioned, by this version".into());
    }
    if let Some(feature) = discovery.block_sid() {
        if feature.blocked {
            add(
                true,
                "the firmware blocks SID until the next power cycle: ownership cannot be taken or \
                 given up; look for Block SID in the firmware's set-up"
                    .into(),
            );
        }
        if feature.frozen {
            add(true, "the Locking SP is frozen until the next power cycle".into());
        }
    }
    match discovery.geometry() {
        None => add(false, "no Geometry feature: alignment of ranges is unknown".into()),
        Some(geometry) => {
            if block_size != 0 && geometry.logical_block_size != block_size {
                add(
                    true,
                    format!(
                        "the drive's security subsystem counts blocks of {} bytes, the interface \
                         blocks of {block_size}: ranges would not be where you mean",
                        geometry.logical_block_size
                    ),
                );
            }
            if geometry.align && geometry.granularity() > 1 {
                add(
                    false,
                    format!(
                        "starts and lengths of ranges are multiples of {} blocks",
                        geometry.granularity()
                    ),
                );
            }
        }
    }
    let locking = discovery.locking().unwrap_or_default();
    if locking.mbr_enabled && !locking.mbr_done {
        add(
            true,
            "the shadow MBR is on: the first blocks show its content instead of the drive's".into(),
        );
    }
    if discovery.single_user_mode().is_some_and(|feature| feature.in_use()) {
        add(true, "ranges are in Single User Mode: their administrators cannot open them".into());
    }
    if let Some(removal) = discovery.data_removal() {
        if removal.processing {
            add(true, "the drive is still removing data from an earlier revert or erase".into());
        }
        if removal.interrupted {
            add(
                true,
                "an earlier revert or erase was interrupted: data may be left; do it again".into(),
            );
        }
    }
    if discovery.missing_bytes() > 0 {
        add(false, format!("discovery was cut short by {} bytes", discovery.missing_bytes()));
    }
    notes
}

fn next_step(condition: Condition, owner: Owner, held: bool, ranges: usize) -> String {
    match (condition, owner) {
        (Condition::NoSecurity, _) => "nothing to do here",
        (_, Owner::Nobody) if held => {
            "`opalbox drive revert` clears the old credentials; then provision it anew"
        }
        (Condition::Unowned, Owner::Nobody) => {
            "`opalbox drive provision` takes ownership and protects the data"
        }
        (Condition::Unowned, _) => "`opalbox drive provision` takes ownership, if nobody else has",
        (Condition::Inactive, Owner::ThisLockbox) => {
            "provisioning was interrupted: run `opalbox drive provision` again, it goes on"
        }
        (Condition::Locked, Owner::ThisLockbox) if ranges > 0 => "`opalbox unlock` opens it",
        (Condition::Unlocked, Owner::ThisLockbox) if ranges > 0 => {
            "nothing to do; `opalbox drive verify` proves that every credential works"
        }
        (_, Owner::ThisLockbox) => {
            "run `opalbox drive provision` again to finish, or `opalbox range create`"
        }
        _ => {
            "unlock it with the tool that owns it, or give it up for empty: `opalbox drive revert \
             --psid` with the PSID from its label"
        }
    }
    .into()
}
