// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an emulated drive says about itself.

use super::{Fields, MAX_TEXT, WireError, bounded, printable};

/// What an emulated drive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Version of this format that the drive speaks.
    pub version: u16,
    /// Model, printable, at most [`MAX_TEXT`] bytes.
    pub model: String,
    /// Serial number, printable, at most [`MAX_TEXT`] bytes.
    pub serial: String,
    /// Firmware revision, printable, at most [`MAX_TEXT`] bytes.
    pub firmware: String,
    /// Namespace globally unique identifier (NVMe).
    pub nguid: Option<[u8; 16]>,
    /// World wide name (SATA, SAS).
    pub wwn: Option<[u8; 8]>,
    /// What the drive would be attached by.
    pub interface: Interface,
    /// Logical block size in bytes.
    pub logical_block_size: u32,
    /// Capacity in logical blocks.
    pub blocks: u64,
    /// Largest IF-SEND or IF-RECV in bytes.
    pub max_transfer: u32,
    /// Counts up by at least one with each Power Cycle; never goes back for one drive.
    pub power_cycle_id: u64,
}

/// Interface that an emulated drive imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// NVM Express.
    Nvme,
    /// Serial ATA.
    Sata,
    /// Serial attached SCSI.
    Sas,
}

impl Interface {
    fn to_byte(self) -> u8 {
        match self {
            Self::Nvme => 0x01,
            Self::Sata => 0x02,
            Self::Sas => 0x03,
        }
    }

    pub(super) fn from_byte(value: u8) -> Result<Self, WireError> {
        [Self::Nvme, Self::Sata, Self::Sas]
            .into_iter()
            .find(|interface| interface.to_byte() == value)
            .ok_or(WireError::Unknown { field: "interface", value })
    }
}

impl Identity {
    pub(super) fn encode(&self, body: &mut Vec<u8>) -> Result<(), WireError> {
        body.extend(self.version.to_be_bytes());
        body.push(self.interface.to_byte());
        body.extend(self.logical_block_size.to_be_bytes());
        body.extend(self.blocks.to_be_bytes());
        body.extend(self.max_transfer.to_be_bytes());
        body.extend(self.power_cycle_id.to_be_bytes());
        put_optional(body, self.nguid.as_ref().map(<[u8; 16]>::as_slice));
        put_optional(body, self.wwn.as_ref().map(<[u8; 8]>::as_slice));
        put_text(body, "model", &self.model)?;
        put_text(body, "serial", &self.serial)?;
        put_text(body, "firmware", &self.firmware)
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self, WireError> {
        Ok(Self {
            version: fields.u16()?,
            interface: Interface::from_byte(fields.u8()?)?,
            logical_block_size: fields.u32()?,
            blocks: fields.u64()?,
            max_transfer: fields.u32()?,
            power_cycle_id: fields.u64()?,
            nguid: fields.optional("nguid")?,
            wwn: fields.optional("wwn")?,
            model: fields.text("model")?,
            serial: fields.text("serial")?,
            firmware: fields.text("firmware")?,
        })
    }
}

fn put_optional(body: &mut Vec<u8>, value: Option<&[u8]>) {
    body.push(u8::from(value.is_some()));
    body.extend_from_slice(value.unwrap_or_default());
}

fn put_text(body: &mut Vec<u8>, field: &'static str, text: &str) -> Result<(), WireError> {
    bounded(field, text.len(), MAX_TEXT)?;
    printable(field, text)?;
    body.push(text.len() as u8);
    body.extend_from_slice(text.as_bytes());
    Ok(())
}
