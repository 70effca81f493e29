// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`DataLoss`]: the word without which nothing is destroyed.

use alloc::string::String;

use super::Identity;
use crate::error::Error;

/// Agreement to lose the data on one drive, named by its serial number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataLoss {
    serial: String,
}

impl DataLoss {
    /// Someone has agreed that the drive with this serial number loses its data.
    #[must_use]
    pub fn accepted_for(serial: &str) -> Self {
        Self { serial: serial.trim().into() }
    }

    /// Refused for another drive, and for a drive whose serial number is not known.
    pub(super) fn check(&self, identity: &Identity) -> Result<(), Error> {
        let serial = identity.serial.trim();
        if serial.is_empty() || serial != self.serial {
            return Err(Error::NotThisDrive);
        }
        Ok(())
    }
}
