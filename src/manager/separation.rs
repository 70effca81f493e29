// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lockbox is on another device than what it opens: a store on the drive that it unlocks is
//! locked away with it, and whoever steals the drive has both.
//!
//! Emulated drives have no place in sysfs, so nothing is compared for them: their image file may
//! well lie on the disk that the store is on.

use std::io;
use std::path::Path;

use super::{ManagerError, catalogue};
use crate::device::{Backing, System, backing, enumerate};
use crate::lockbox::Lockbox;

/// Refuses the drive that consists of `disks` (kernel names) if `store` lies on one of them.
/// Returns what could not be looked into, in words.
///
/// # Errors
/// [`ManagerError::StoreOnDrive`].
pub fn require_apart(
    system: &System,
    store: &Path,
    serial: &str,
    disks: &[String],
) -> Result<Vec<String>, ManagerError> {
    if disks.is_empty() {
        return Ok(Vec::new());
    }
    let under = match backing(system, store) {
        Ok(under) => under,
        Err(error) => return Ok(vec![unknown(store, &error)]),
    };
    match disks.iter().find(|disk| under.disks.contains(*disk)) {
        Some(disk) => {
            Err(ManagerError::StoreOnDrive { serial: serial.to_owned(), disk: disk.clone() })
        }
        None => Ok(untold(store, &under)),
    }
}

/// What a look at the store's place found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Serials of drives that the lockbox opens and that its own store lies on.
    pub opens: Vec<String>,
    /// What could not be looked into, in words.
    pub unknown: Vec<String>,
}

/// Looks whether the store lies on a drive that this lockbox opens.
///
/// # Errors
/// The lockbox refuses.
pub fn examine(system: &System, lockbox: &Lockbox) -> Result<Place, ManagerError> {
    let store = lockbox.dir();
    let known = catalogue::entries(lockbox)?;
    if known.is_empty() {
        return Ok(Place::default());
    }
    let looked = backing(system, store).and_then(|under| Ok((under, enumerate(system)?)));
    let (under, found) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            return Ok(Place { opens: Vec::new(), unknown: vec![unknown(store, &error)] });
        }
    };
    let mut opens: Vec<String> = found
        .iter()
        .filter(|device| under.disks.contains(&device.name))
        .map(|device| device.serial.trim().to_owned())
        .filter(|serial| known.iter().any(|entry| entry.target.serial == *serial))
        .collect();
    opens.dedup();
    Ok(Place { opens, unknown: untold(store, &under) })
}

fn unknown(store: &Path, error: &io::Error) -> String {
    format!("which device {} lies on cannot be found out: {error}", store.display())
}

fn untold(store: &Path, under: &Backing) -> Vec<String> {
    let words =
        |kind| format!("{} lies on {kind}, which does not tell its devices", store.display());
    under.untold.iter().map(words).collect()
}
