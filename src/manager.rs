// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the commands do: drives and the lockbox brought together. No printing, no terminal.

pub mod catalogue;
pub mod doctor;
mod escrow;
mod generate;
pub mod plan;
mod provision;
pub mod separation;
mod unlock;

use crate::drive::DriveError;
use crate::lockbox;

pub use escrow::LockboxEscrow;
pub use provision::{check_conflicts, provision, revert, verify};
pub use unlock::{Changed, set_locks};

/// A drive as the lockbox knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Serial number, without padding.
    pub serial: String,
    /// Model, without padding.
    pub model: String,
    /// How it was reached: a hint for the next time, never an identity.
    pub device: String,
    /// The drive's count of power cycles, where it tells one.
    pub power_cycles: Option<u64>,
}

impl Target {
    /// The owner name of this drive's credentials.
    #[must_use]
    pub fn owner(&self) -> String {
        format!("drive/{}", self.serial)
    }
}

/// Why a command's work failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The drive, or what stands between.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The lockbox.
    #[error(transparent)]
    Lockbox(#[from] lockbox::Error),
    /// The lockbox has no ranges or no credentials of this drive.
    #[error("the lockbox does not know the drive {serial}")]
    Unknown {
        /// The drive's.
        serial: String,
    },
    /// The lockbox does not open this range.
    #[error("the lockbox does not open range {range} of the drive {serial}")]
    UnknownRange {
        /// The drive's.
        serial: String,
        /// Its number.
        range: u16,
    },
    /// The lockbox has credentials, and the drive is as it left the factory.
    #[error("the drive {serial} was reverted behind the lockbox's back: it is UNPROTECTED")]
    RevertedElsewhere {
        /// The drive's.
        serial: String,
    },
    /// The store lies on the drive itself.
    #[error(
        "the lockbox's store lies on {disk}, which is the drive {serial} itself: it would be \
         locked away with what it opens"
    )]
    StoreOnDrive {
        /// The drive's.
        serial: String,
        /// Kernel name of its block device.
        disk: String,
    },
    /// A range of another shape is there.
    #[error("{0}")]
    Conflict(String),
}
