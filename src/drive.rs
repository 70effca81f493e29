// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the manager knows of a drive, whatever protects the data inside.
//!
//! [`opal`] is a self-encrypting drive over `opal::host`. Whoever holds the credentials is behind
//! [`Escrow`]: a drive asks for PINs, and says *before* each step that changes one.

use std::fmt;
use std::str::FromStr;

use opal::Pin;
use opal::host::DataLoss;
use serde::{Serialize, Serializer};

mod extent;
pub mod sed;

pub use extent::{Extent, ExtentError, Geometry};

/// Who authenticates to a drive. `Display` and `FromStr` are the names that the lockbox keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Owner of the drive (Admin SP).
    Sid,
    /// AdminN of the Locking SP, from 1.
    Admin(u16),
    /// UserN of the Locking SP, from 1.
    User(u16),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sid => f.write_str("SID"),
            Self::Admin(n) => write!(f, "Admin{n}"),
            Self::User(n) => write!(f, "User{n}"),
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        let number = |prefix: &str| name.strip_prefix(prefix)?.parse().ok().filter(|n| *n > 0);
        match name {
            "SID" => Ok(Self::Sid),
            _ => (number("Admin").map(Self::Admin))
                .or_else(|| number("User").map(Self::User))
                .ok_or(UnknownRole),
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A role name that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not SID, AdminN or UserN")]
pub struct UnknownRole;

/// A PIN that the drive may have.
pub struct Candidate {
    /// Its version in the lockbox.
    pub version: u64,
    /// The exact bytes.
    pub pin: Pin,
    /// Whether we made it, so that it need not be replaced.
    pub generated: bool,
    /// Whether the drive has accepted it, and nothing was sent since that might have changed it.
    pub proved: bool,
}

/// Where a PIN came from that was not generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The drive's MSID.
    FactoryMsid,
    /// Activate copied SID's PIN, of this version, to Admin1 (Opal 2.30 §5.1.1).
    CopyOfSid(u64),
    /// The factory's empty PIN.
    Empty,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FactoryMsid => f.write_str("factory-msid"),
            Self::CopyOfSid(version) => write!(f, "copy-of SID v{version}"),
            Self::Empty => f.write_str("empty"),
        }
    }
}

/// Keeps the credentials of one drive. Every method is durable before it returns, so a power cut
/// between any two steps leaves the PIN that the drive has among the candidates.
pub trait Escrow {
    /// The PINs that the drive may have for `role`, the likeliest first; empty if none is known.
    /// One candidate means there is no doubt.
    ///
    /// # Errors
    /// The lockbox refuses.
    fn candidates(&mut self, role: Role) -> Result<Vec<Candidate>, EscrowError>;

    /// An attempt with `version` is about to be made. Counted durably if it may fail.
    ///
    /// # Errors
    /// The budget is spent, or the lockbox refuses.
    fn attempt(&mut self, role: Role, version: u64) -> Result<(), EscrowError>;

    /// The drive refused `version`: from now on attempts are counted.
    ///
    /// # Errors
    /// The lockbox refuses.
    fn refused(&mut self, role: Role, version: u64) -> Result<(), EscrowError>;

    /// The drive accepted `version`.
    ///
    /// # Errors
    /// The lockbox refuses.
    fn confirmed(&mut self, role: Role, version: u64) -> Result<(), EscrowError>;

    /// Records a PIN that the drive has, or is about to have, without our having made it.
    ///
    /// # Errors
    /// The lockbox refuses.
    fn adopt(&mut self, role: Role, origin: Origin, pin: &Pin) -> Result<u64, EscrowError>;

    /// Makes the next PIN, or returns the one that was made and never confirmed.
    ///
    /// # Errors
    /// The lockbox refuses.
    fn stage(&mut self, role: Role) -> Result<Candidate, EscrowError>;

    /// The staged PIN is about to be sent: from now on the drive may have it.
    ///
    /// # Errors
    /// The lockbox refuses.
    fn about_to_set(&mut self, role: Role) -> Result<(), EscrowError>;
}

/// One range and who opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RangeSpec {
    /// Number of the range; 0 is the Global Range.
    pub number: u16,
    /// Its blocks; `None` for the Global Range, which has all that no other range has.
    pub extent: Option<Extent>,
    /// Number of the user that opens it.
    pub user: u16,
}

/// A range as the drive has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RangeReport {
    /// Number of the range; 0 is the Global Range.
    pub number: u16,
    /// First logical block.
    pub start: u64,
    /// Logical blocks; 0 for the Global Range and for ranges not in use.
    pub length: u64,
    /// Whether the read lock counts.
    pub read_lock_enabled: bool,
    /// Whether the write lock counts.
    pub write_lock_enabled: bool,
    /// Whether reading is locked now.
    pub read_locked: bool,
    /// Whether writing is locked now.
    pub write_locked: bool,
    /// Whether the loss of power locks it.
    pub locks_at_power_off: bool,
}

/// Which locks to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locks {
    /// The read lock: `Some(true)` locks.
    pub read: Option<bool>,
    /// The write lock: `Some(true)` locks.
    pub write: Option<bool>,
}

/// What protects the data on a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// The drive encrypts and locks.
    SelfEncrypting,
    /// The drive locks, and does not promise to encrypt (Pyrite).
    LockingOnly,
}

/// Told while a long operation goes on.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// A drive that protects its data. The same verbs for whatever does the protecting.
pub trait Drive {
    /// What protects the data.
    fn protection(&self) -> Protection;

    /// Takes ownership, activates locking and sets up `ranges`, each with its user. Every new PIN
    /// is escrowed before it is sent and proved afterwards; every setting is read back, and
    /// returned as it was read. Run again after an interruption, it finishes the job.
    ///
    /// # Errors
    /// What went wrong; what was done stays done, and is in the escrow.
    fn provision(
        &mut self,
        ranges: &[RangeSpec],
        escrow: &mut dyn Escrow,
        progress: Progress<'_>,
    ) -> Result<Vec<RangeReport>, DriveError>;

    /// Changes the locks of `ranges`, all opened by `user`, and checks that they changed.
    ///
    /// # Errors
    /// The user is refused, or the locks did not change.
    fn set_locks(
        &mut self,
        user: Role,
        ranges: &[u16],
        locks: Locks,
        escrow: &mut dyn Escrow,
    ) -> Result<(), DriveError>;

    /// The ranges as the drive has them, unused ones left out.
    ///
    /// # Errors
    /// The administrator is refused, or the drive fails.
    fn ranges(&mut self, escrow: &mut dyn Escrow) -> Result<Vec<RangeReport>, DriveError>;

    /// Proves that each role's PIN is accepted, and that `ranges` are set up as given. Returns
    /// what is not, in words; empty is good.
    ///
    /// # Errors
    /// The drive failed before everything was looked at.
    fn verify(
        &mut self,
        ranges: &[RangeSpec],
        escrow: &mut dyn Escrow,
    ) -> Result<Vec<String>, DriveError>;

    /// Returns the drive to its factory state. All data is lost.
    ///
    /// # Errors
    /// The owner is refused, `loss` is for another drive, or the drive fails.
    fn revert(&mut self, loss: &DataLoss, escrow: &mut dyn Escrow) -> Result<(), DriveError>;
}

/// Why a drive did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The protocol, the path, or the drive's answer.
    #[error(transparent)]
    Opal(#[from] opal::Error),
    /// The keeper of the credentials.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
    /// The lockbox has no PIN for a role that is needed.
    #[error("the lockbox has no PIN of {role} for this drive")]
    NoCredential {
        /// Whose.
        role: Role,
    },
    /// The drive accepts none of the PINs that the lockbox has.
    #[error("the drive accepts no PIN of {role} that the lockbox has")]
    Refused {
        /// Whose.
        role: Role,
    },
    /// Somebody else owns the drive.
    #[error("the drive has an owner already: {evidence}")]
    Owned {
        /// How that shows.
        evidence: &'static str,
    },
    /// Firmware blocks SID until the drive loses power.
    #[error("the firmware blocks SID on this drive until the next power cycle")]
    SidBlocked,
    /// A setting was accepted and is not there.
    #[error("the drive accepted {what}, but reads back otherwise")]
    NotKept {
        /// Which setting.
        what: String,
    },
    /// A range that does not fit.
    #[error(transparent)]
    Extent(#[from] ExtentError),
    /// The drive cannot.
    #[error("the drive does not support {0}")]
    Unsupported(String),
}

/// The keeper of the credentials refused.
#[derive(Debug, thiserror::Error)]
pub enum EscrowError {
    /// No further attempt may be made until the drive has lost power.
    #[error("the attempt budget of {role} is spent")]
    BudgetSpent {
        /// Whose.
        role: Role,
    },
    /// The lockbox failed; its own words.
    #[error(transparent)]
    Lockbox(#[from] Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_round_trip() {
        for role in [Role::Sid, Role::Admin(1), Role::User(12)] {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        for name in ["", "sid", "User", "User0", "User-1", "Admin70000"] {
            assert_eq!(name.parse::<Role>(), Err(UnknownRole), "{name}");
        }
    }
}
