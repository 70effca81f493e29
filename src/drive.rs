// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the manager knows of a drive, whatever protects the data inside.
//!
//! [`opal`] is a self-encrypting drive over `opal::host`. Whoever holds the credentials is behind
//! [`Escrow`]: a drive asks for PINs, and says *before* each step that changes one.

use std::fmt;
use std::str::FromStr;

use opal::Pin;
use serde::{Serialize, Serializer};

pub mod opal_drive;

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

/// Logical blocks of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// First block.
    pub start: u64,
    /// Number of blocks.
    pub length: u64,
}

/// A PIN that the drive may have.
pub struct Candidate {
    /// Its version in the lockbox.
    pub version: u64,
    /// The exact bytes.
    pub pin: Pin,
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

    /// Counts an attempt that may fail, before it is made.
    ///
    /// # Errors
    /// The budget is spent, or the lockbox refuses.
    fn attempt(&mut self, role: Role) -> Result<(), EscrowError>;

    /// The drive accepted `version`: it is the only one from now on.
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
