// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which drives and ranges the lockbox opens: assets that name the keys, with where and what.

use std::collections::BTreeMap;

use super::{ManagerError, Target};
use crate::drive::{Extent, RangeSpec, Role};
use crate::lockbox::{Asset, Lockbox};

/// A drive in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The drive, with the device it was last seen at.
    pub target: Target,
    /// Its ranges, by number.
    pub ranges: Vec<RangeSpec>,
}

/// Every drive that this machine opens.
///
/// # Errors
/// The lockbox refuses.
pub fn entries(lockbox: &Lockbox) -> Result<Vec<Entry>, ManagerError> {
    let mut drives: BTreeMap<String, Entry> = BTreeMap::new();
    let all = lockbox.assets()?;
    for refused in &all.refused {
        // One bad row never hides the others.
        tracing::warn!("{refused}");
    }
    for asset in all.assets {
        let Some((target, range)) = parse(&asset) else { continue };
        let entry = drives
            .entry(target.serial.clone())
            .or_insert_with(|| Entry { target, ranges: Vec::new() });
        entry.ranges.push(range);
        entry.ranges.sort_by_key(|range| range.number);
    }
    Ok(drives.into_values().collect())
}

/// The ranges of one drive.
///
/// # Errors
/// The lockbox refuses.
pub fn ranges(lockbox: &Lockbox, target: &Target) -> Result<Vec<RangeSpec>, ManagerError> {
    let all = entries(lockbox)?;
    let found = all.into_iter().find(|entry| entry.target.serial == target.serial);
    Ok(found.map(|entry| entry.ranges).unwrap_or_default())
}

/// Records `range`, whose user's credential is in the lockbox.
///
/// # Errors
/// The lockbox refuses.
pub fn record(lockbox: &Lockbox, target: &Target, range: &RangeSpec) -> Result<(), ManagerError> {
    let role = Role::User(range.user);
    let credential = lockbox
        .credential(&target.owner(), &role.to_string())?
        .ok_or(crate::drive::DriveError::NoCredential { role })?;
    let mut attributes = BTreeMap::from([
        ("kind".into(), "range".into()),
        ("serial".into(), target.serial.clone()),
        ("model".into(), target.model.clone()),
        ("device".into(), target.device.clone()),
        ("range".into(), range.number.to_string()),
        ("user".into(), range.user.to_string()),
    ]);
    if let Some(extent) = range.extent {
        attributes.insert("start".into(), extent.start.to_string());
        attributes.insert("length".into(), extent.length.to_string());
    }
    lockbox.asset_put(&asset_id(target, range.number), credential.key_id, attributes)?;
    Ok(())
}

fn asset_id(target: &Target, range: u16) -> String {
    format!("{}/range/{range}", target.owner())
}

/// An asset that is a range of ours; anything else is not for this module.
fn parse(asset: &Asset) -> Option<(Target, RangeSpec)> {
    let text = |name: &str| asset.attributes.get(name).cloned();
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    if text("kind")? != "range" {
        return None;
    }
    let target = Target {
        serial: text("serial")?,
        model: text("model")?,
        device: text("device")?,
        power_cycles: None,
    };
    let extent = match (number("start"), number("length")) {
        (Some(start), Some(length)) => Some(Extent { start, length }),
        _ => None,
    };
    let range = RangeSpec {
        number: u16::try_from(number("range")?).ok()?,
        user: u16::try_from(number("user")?).ok()?,
        extent,
    };
    Some((target, range))
}
