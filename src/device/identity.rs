// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who a drive is, whichever path leads to it.

use std::fmt;

use serde::Serialize;

use crate::sim_wire;

/// What a drive says about itself below the TCG protocol.
///
/// Model and serial number are what the path tells: a USB bridge may put its own in their place, and
/// then the drive looks like another one when it is attached directly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Model.
    pub model: String,
    /// Serial number; empty where the path does not tell.
    pub serial: String,
    /// Firmware revision.
    pub firmware: String,
    /// What the drive is attached by.
    pub interface: Interface,
    /// Logical block size in bytes; 0 where there is no namespace.
    pub logical_block_size: u32,
    /// Capacity in bytes; of the namespace opened, for NVMe.
    pub capacity: u64,
    /// How often the drive has been powered on, where it tells. It never goes back, so a number that
    /// has grown is proof of a power cycle; where it is unknown, assume that there was none.
    pub power_cycles: Option<u64>,
}

/// What a drive is attached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interface {
    /// NVM Express.
    Nvme,
    /// Serial ATA, on any host adapter.
    Sata,
    /// SAS and other SCSI.
    Scsi,
    /// A USB bridge.
    Usb,
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nvme => "NVMe",
            Self::Sata => "SATA",
            Self::Scsi => "SCSI",
            Self::Usb => "USB",
        })
    }
}

impl From<&sim_wire::Identity> for Identity {
    fn from(identity: &sim_wire::Identity) -> Self {
        Self {
            model: identity.model.clone(),
            serial: identity.serial.clone(),
            firmware: identity.firmware.clone(),
            interface: match identity.interface {
                sim_wire::Interface::Nvme => Interface::Nvme,
                sim_wire::Interface::Sata => Interface::Sata,
                sim_wire::Interface::Sas => Interface::Scsi,
            },
            logical_block_size: identity.logical_block_size,
            capacity: identity.blocks.saturating_mul(u64::from(identity.logical_block_size)),
            power_cycles: Some(identity.power_cycle_id),
        }
    }
}
