// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding the path that a drive answers on, by asking: never by its name.

use std::fmt;

use opal::{Transport, TransportError, TransportErrorKind as Kind};

use super::identity::{Identity, Interface};
use crate::transport::ata::{self, AtaTransport, DataPhase, Form, PassThrough};
use crate::transport::nvme::{self, NvmeTransport};
use crate::transport::passthrough::{Attachment, Bus, Passthrough};
use crate::transport::scsi::{self, LengthUnit, ScsiTransport};

/// How commands get to a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// The sim socket.
    Sim,
    /// NVMe Security Send and Receive.
    Nvme,
    /// SCSI SECURITY PROTOCOL IN and OUT.
    Scsi(LengthUnit),
    /// ATA TRUSTED SEND and RECEIVE in SCSI pass-through commands.
    Ata(Form),
}

/// A drive that answers.
pub struct Probed {
    /// What it says about itself.
    pub identity: Identity,
    /// The path to it.
    pub transport: Box<dyn Transport + Send>,
    /// What the path is.
    pub route: Route,
}

/// What the kernel knows of a disk; zeros where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Logical block size in bytes.
    pub logical_block_size: u32,
    /// Capacity in bytes.
    pub capacity: u64,
}

/// Probes an NVMe controller or namespace.
///
/// # Errors
/// It cannot be asked, or it has no security commands ([`Kind::Unsupported`]).
pub fn nvme<P: Passthrough + Send + 'static>(
    mut node: P,
    at: Attachment,
    geometry: Geometry,
) -> Result<Probed, TransportError> {
    let controller = nvme::identify(&mut node, &at)?;
    if !controller.security {
        return Err(TransportError::new(
            Kind::Unsupported,
            format!(
                "the controller of {} ({}) has no Security Send and Receive; it is not a \
                 self-encrypting drive",
                at.node, controller.model
            ),
        ));
    }
    let identity = Identity {
        model: controller.model.clone(),
        serial: controller.serial.clone(),
        firmware: controller.firmware.clone(),
        interface: Interface::Nvme,
        logical_block_size: geometry.logical_block_size,
        capacity: geometry.capacity,
        power_cycles: nvme::power_cycles(&mut node, &at),
    };
    let transport = Box::new(NvmeTransport::new(node, at, &controller));
    Ok(Probed { identity, transport, route: Route::Nvme })
}

/// Probes a SCSI device: its own security commands first, then ATA pass-through.
///
/// # Errors
/// It is not a disk, cannot be asked, or nothing that carries security commands leads to it.
pub fn scsi<P: Passthrough + Send + 'static>(
    mut node: P,
    at: Attachment,
    geometry: Geometry,
) -> Result<Probed, TransportError> {
    let inquiry = scsi::inquire(&mut node, &at)?;
    if !super::enumerate::is_disk(u64::from(inquiry.peripheral)) {
        return Err(TransportError::new(
            Kind::Unsupported,
            format!("{} is not a disk (SCSI device type {:#04x})", at.node, inquiry.peripheral),
        ));
    }
    let page = scsi::vital_product_data(&mut node, &at, 0x89);
    let translated =
        page.as_deref().and_then(scsi::parse_ata_information).and_then(ata::parse_identify);
    let serial = scsi::vital_product_data(&mut node, &at, 0x80)
        .as_deref()
        .and_then(scsi::parse_serial)
        .unwrap_or_default();
    let (logical_block_size, capacity) = match geometry {
        Geometry { logical_block_size: 0, .. } | Geometry { capacity: 0, .. } => {
            scsi::capacity(&mut node, &at).unwrap_or_default()
        }
        known => (known.logical_block_size, known.capacity),
    };
    let is_ata = at.bus == Bus::Ata || translated.is_some() || inquiry.vendor == "ATA";
    let mut identity = Identity {
        model: match inquiry.vendor.as_str() {
            "" | "ATA" => inquiry.product,
            vendor => format!("{vendor} {}", inquiry.product),
        },
        serial,
        firmware: inquiry.revision,
        interface: match at.bus {
            Bus::Usb => Interface::Usb,
            _ if is_ata => Interface::Sata,
            _ => Interface::Scsi,
        },
        logical_block_size,
        capacity,
        power_cycles: None,
    };
    if let Some(identify) = &translated {
        name_after(&mut identity, identify);
    }

    // A translation layer may misread a count of blocks as one of bytes, silently: bytes first there.
    let units = match (at.bus, is_ata) {
        (Bus::Ata, _) => &[LengthUnit::Bytes][..],
        (_, true) => &[LengthUnit::Bytes, LengthUnit::Blocks],
        (_, false) => &[LengthUnit::Blocks, LengthUnit::Bytes],
    };
    let refused = match scsi::probe(&mut node, &at, units) {
        Ok(unit) => {
            let transport = Box::new(ScsiTransport::new(node, at, unit));
            return Ok(Probed { identity, transport, route: Route::Scsi(unit) });
        }
        Err(error) if is_final(error.kind) => return Err(error),
        Err(error) => error,
    };
    // What is certainly no ATA drive has refused for itself.
    let may_be_ata = is_ata || at.bus == Bus::Usb;
    if !may_be_ata {
        return Err(refused);
    }
    let (pass_through, identify) = match ata::identify(&mut node, &at) {
        Ok(found) => found,
        Err(error) if is_final(error.kind) => return Err(error),
        Err(_) => return Err(refused),
    };
    name_after(&mut identity, &identify);
    if !identify.trusted_computing {
        return Err(TransportError::new(
            Kind::Unsupported,
            format!(
                "{} ({}) has no Trusted Computing feature set; it is not a self-encrypting drive",
                at.node, identify.model
            ),
        ));
    }
    let form = ata::probe(&mut node, &at, pass_through)?;
    let transport = Box::new(AtaTransport::new(node, at, form));
    Ok(Probed { identity, transport, route: Route::Ata(form) })
}

impl fmt::Debug for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probed")
            .field("identity", &self.identity)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim => f.write_str("sim socket"),
            Self::Nvme => f.write_str("NVMe Security Send/Receive"),
            Self::Scsi(LengthUnit::Bytes) => f.write_str("SCSI SECURITY PROTOCOL, bytes"),
            Self::Scsi(LengthUnit::Blocks) => f.write_str("SCSI SECURITY PROTOCOL, INC_512"),
            Self::Ata(Form { cdb, protocol }) => write!(
                f,
                "ATA TRUSTED SEND/RECEIVE{}, SAT-{}",
                match protocol {
                    DataPhase::Pio => "",
                    DataPhase::Dma => " DMA",
                },
                match cdb {
                    PassThrough::Sat12 => 12,
                    PassThrough::Sat16 => 16,
                }
            ),
        }
    }
}

/// IDENTIFY DEVICE has the drive's full names, where INQUIRY cuts them short or has a bridge's own.
fn name_after(identity: &mut Identity, identify: &ata::Identify) {
    identity.model.clone_from(&identify.model);
    identity.firmware.clone_from(&identify.firmware);
    if !identify.serial.is_empty() {
        identity.serial.clone_from(&identify.serial);
    }
}

fn is_final(kind: Kind) -> bool {
    matches!(kind, Kind::Denied | Kind::Gone | Kind::TimedOut)
}
