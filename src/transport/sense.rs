// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a SCSI command has ended: status, sense data, host adapter, and what to do about it.
//!
//! Sense data formats are those of SPC-4 §4.5; the ATA return descriptor that of SAT-3 §12.2.

use std::time::Duration;

use opal::{TransportError, TransportErrorKind as Kind};

use super::passthrough::{Attachment, Bus, Cdb, Data, Passthrough, ScsiReply, os_error};

/// Sense data, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Its qualifier.
    pub ascq: u8,
    /// ATA registers, where a translation layer gives them.
    pub ata: Option<AtaRegisters>,
}

/// Registers of an ATA command that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtaRegisters {
    /// Error register.
    pub error: u8,
    /// Status register.
    pub status: u8,
}

impl AtaRegisters {
    /// ERR or DF: the command did not succeed.
    pub fn failed(self) -> bool {
        self.status & 0x21 != 0
    }

    /// ABRT: the drive did not take the command.
    pub fn aborted(self) -> bool {
        self.error & 0x04 != 0
    }
}

/// Sense keys that decide something here.
mod key {
    pub(super) const RECOVERED: u8 = 0x1;
    pub(super) const NOT_READY: u8 = 0x2;
    pub(super) const ILLEGAL_REQUEST: u8 = 0x5;
    pub(super) const UNIT_ATTENTION: u8 = 0x6;
    pub(super) const DATA_PROTECT: u8 = 0x7;
    pub(super) const ABORTED: u8 = 0xB;
}

/// SCSI status values.
mod status {
    pub(super) const GOOD: u8 = 0x00;
    pub(super) const CHECK_CONDITION: u8 = 0x02;
    pub(super) const BUSY: u8 = 0x08;
    pub(super) const RESERVATION_CONFLICT: u8 = 0x18;
    pub(super) const TASK_SET_FULL: u8 = 0x28;
}

/// Outcomes of the host adapter (Linux `DID_*`).
mod host {
    pub(super) const OK: u16 = 0x00;
    pub(super) const NO_CONNECT: u16 = 0x01;
    pub(super) const TIME_OUT: u16 = 0x03;
    pub(super) const BAD_TARGET: u16 = 0x04;
}

/// Decodes sense data of either format; `None` if there is none that makes sense.
pub fn parse(sense: &[u8]) -> Option<Sense> {
    let byte = |at: usize| sense.get(at).copied().unwrap_or(0);
    match sense.first()? & 0x7F {
        0x70 | 0x71 if sense.len() >= 3 => {
            let (asc, ascq) = (byte(12), byte(13));
            // "ATA PASS-THROUGH information available": registers in the information field.
            let ata = (asc == 0x00 && ascq == 0x1D)
                .then(|| AtaRegisters { error: byte(3), status: byte(4) });
            Some(Sense { key: byte(2) & 0x0F, asc, ascq, ata })
        }
        0x72 | 0x73 if sense.len() >= 4 => {
            let end = sense.len().min(8 + usize::from(byte(7)));
            let descriptors = sense.get(8..end).unwrap_or_default();
            Some(Sense {
                key: byte(1) & 0x0F,
                asc: byte(2),
                ascq: byte(3),
                ata: ata_registers(descriptors),
            })
        }
        _ => None,
    }
}

/// Whether a command of this outcome was not begun and may simply be sent again.
pub fn may_retry(reply: &ScsiReply) -> bool {
    match reply.status {
        status::BUSY | status::TASK_SET_FULL => true,
        status::CHECK_CONDITION => match parse(&reply.sense) {
            Some(Sense { key: key::UNIT_ATTENTION, .. }) => true,
            // "In process of becoming ready".
            Some(Sense { key: key::NOT_READY, asc: 0x04, ascq: 0x01, .. }) => true,
            _ => false,
        },
        _ => false,
    }
}

/// Judges how a command has ended.
///
/// # Errors
/// It has not succeeded; the text says what to do.
pub fn judge(reply: &ScsiReply, at: &Attachment) -> Result<(), TransportError> {
    let node = &at.node;
    let fail = |kind, text: String| Err(TransportError::new(kind, text));
    match reply.host_status {
        host::OK => {}
        host::NO_CONNECT | host::BAD_TARGET => {
            return fail(Kind::Gone, format!("{node} is gone; was it unplugged?"));
        }
        host::TIME_OUT => {
            return fail(
                Kind::TimedOut,
                format!("{node} did not answer in time; a full power cycle may bring it back"),
            );
        }
        other => {
            return fail(
                Kind::Failed,
                format!(
                    "the host adapter failed the command to {node} (host status {other:#04x}); \
                     see the kernel log for the reason"
                ),
            );
        }
    }
    let sense = parse(&reply.sense);
    match (reply.status, sense) {
        (status::GOOD | status::CHECK_CONDITION, Some(sense)) => judge_sense(sense, at),
        // Driver status 8 says no more than that there is sense data.
        (status::GOOD, None) if reply.driver_status & !0x08 == 0 => Ok(()),
        (status::GOOD, None) => fail(
            Kind::Failed,
            format!(
                "the driver failed the command to {node} (driver status {:#04x}); see the kernel \
                 log for the reason",
                reply.driver_status
            ),
        ),
        (status::CHECK_CONDITION, None) => {
            fail(Kind::Failed, format!("{node} failed the command and did not say why; try again"))
        }
        (status::RESERVATION_CONFLICT, _) => fail(
            Kind::Denied,
            format!("{node} is reserved by another host; release the reservation first"),
        ),
        (status::BUSY | status::TASK_SET_FULL, _) => fail(
            Kind::TimedOut,
            format!("{node} stayed busy; wait for its other work, then try again"),
        ),
        (other, _) => fail(
            Kind::Failed,
            format!("{node} failed the command (SCSI status {other:#04x}); try again"),
        ),
    }
}

/// Runs a SCSI command, sends it again while it was not begun, and judges its outcome.
///
/// Returns the number of payload bytes transferred. Tries and waits are bounded.
///
/// # Errors
/// The kernel did not carry it, or it has not succeeded.
pub(super) fn execute(
    node: &mut impl Passthrough,
    at: &Attachment,
    cdb: &Cdb,
    mut data: Data<'_>,
    timeout: Duration,
) -> Result<usize, TransportError> {
    const TRIES: u32 = 20;
    let length = data.len();
    let mut left = TRIES;
    loop {
        let reply = node.scsi(cdb, data.again(), timeout).map_err(|e| os_error(&e, at, length))?;
        left -= 1;
        if left > 0 && reply.host_status == host::OK && may_retry(&reply) {
            // The first retry is for the unit attention that a fresh device owes everybody.
            if left < TRIES - 1 {
                node.pause(Duration::from_millis(200));
            }
            continue;
        }
        judge(&reply, at)?;
        return Ok(reply.transferred.min(length));
    }
}

fn judge_sense(sense: Sense, at: &Attachment) -> Result<(), TransportError> {
    let node = &at.node;
    let Sense { key, asc, ascq, ata } = sense;
    let (kind, text) = match (key, asc, ascq) {
        (0 | key::RECOVERED, ..) => match ata {
            Some(registers) if registers.failed() => return Err(ata_error(registers, at)),
            _ => return Ok(()),
        },
        (key::ABORTED, ..) if ata.is_some_and(AtaRegisters::failed) => {
            return Err(ata_error(ata.unwrap_or(AtaRegisters { error: 0, status: 1 }), at));
        }
        (key::ILLEGAL_REQUEST, 0x20, _) => (Kind::Unsupported, no_security_commands(at)),
        (key::ILLEGAL_REQUEST, 0x1A, _) => {
            (Kind::InvalidLength, format!("{node} does not take a transfer of this length"))
        }
        (key::ILLEGAL_REQUEST, 0x2C, _) => (
            Kind::ProtocolViolation,
            format!("{node} expects the other half of an exchange; another program may use it"),
        ),
        (key::ILLEGAL_REQUEST, 0x25, _) => {
            (Kind::Gone, format!("{node} has no such logical unit any more"))
        }
        (key::ILLEGAL_REQUEST, ..) => (
            Kind::InvalidCommand,
            format!(
                "{node} refused the command: invalid field; either the drive speaks no TCG \
                 protocol through this path, or its state does not allow this"
            ),
        ),
        // How libata passes on that the drive did not take a command.
        (key::ABORTED, 0x00, 0x00) => {
            (Kind::InvalidCommand, format!("{node} did not take the command"))
        }
        (key::NOT_READY, ..) => (
            Kind::Failed,
            format!("{node} is not ready; wait until it has started, or power-cycle it"),
        ),
        (key::DATA_PROTECT, ..) => {
            (Kind::Failed, format!("{node} denied the command: its data is protected"))
        }
        _ => (
            Kind::Failed,
            format!("{node} failed the command; try again, then after a power cycle"),
        ),
    };
    Err(TransportError::new(kind, format!("{text} (sense {key:x}/{asc:02x}/{ascq:02x})")))
}

fn ata_error(registers: AtaRegisters, at: &Attachment) -> TransportError {
    let AtaRegisters { error, status } = registers;
    let registers_text = format!("(ATA status {status:#04x}, error {error:#04x})");
    if registers.aborted() {
        TransportError::new(
            Kind::InvalidCommand,
            format!("{} did not take the command {registers_text}", at.node),
        )
    } else {
        TransportError::new(
            Kind::Failed,
            format!("{} failed the command; try again {registers_text}", at.node),
        )
    }
}

pub(super) fn no_security_commands(at: &Attachment) -> String {
    let node = &at.node;
    match at.bus {
        Bus::Usb => format!(
            "the USB bridge of {node} does not pass security commands; attach the drive directly, \
             or look for newer firmware of the bridge"
        ),
        Bus::Ata => format!("{node} has no security commands; it is not a self-encrypting drive"),
        Bus::Nvme | Bus::Scsi => format!(
            "{node} takes no security commands; it is not a self-encrypting drive, or its host \
             adapter does not pass them"
        ),
    }
}

fn ata_registers(mut descriptors: &[u8]) -> Option<AtaRegisters> {
    while let [kind, length, rest @ ..] = descriptors {
        let body = rest.get(..usize::from(*length))?;
        if *kind == 0x09 && body.len() >= 12 {
            return Some(AtaRegisters { error: *body.get(1)?, status: *body.get(11)? });
        }
        descriptors = rest.get(usize::from(*length)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(bus: Bus) -> Attachment {
        Attachment { node: "/dev/sdx".into(), bus, allow_tpm: None, max_transfer: 65536 }
    }

    fn check(sense: &[u8]) -> ScsiReply {
        ScsiReply { status: 2, driver_status: 8, sense: sense.to_vec(), ..ScsiReply::default() }
    }

    fn fixed(key: u8, asc: u8, ascq: u8) -> Vec<u8> {
        let mut sense = vec![0; 18];
        (sense[0], sense[2], sense[7], sense[12], sense[13]) = (0xF0, key, 10, asc, ascq);
        sense
    }

    fn descriptor(key: u8, asc: u8, ascq: u8, error: u8, status: u8) -> Vec<u8> {
        let mut sense = vec![0x72, key, asc, ascq, 0, 0, 0, 14, 0x09, 0x0C, 0, error];
        sense.extend([0; 9]);
        sense.push(status);
        sense
    }

    #[test]
    fn both_formats_decode() {
        assert_eq!(
            parse(&fixed(5, 0x24, 0)),
            Some(Sense { key: 5, asc: 0x24, ascq: 0, ata: None })
        );
        assert_eq!(
            parse(&[0x72, 0x05, 0x2C, 0x00, 0, 0, 0, 0]),
            Some(Sense { key: 5, asc: 0x2C, ascq: 0, ata: None })
        );
        let ata = Some(AtaRegisters { error: 0x04, status: 0x51 });
        assert_eq!(
            parse(&descriptor(1, 0, 0x1D, 0x04, 0x51)),
            Some(Sense { key: 1, asc: 0, ascq: 0x1D, ata })
        );
        let mut sense = fixed(1, 0, 0x1D);
        (sense[3], sense[4]) = (0x04, 0x51);
        assert_eq!(parse(&sense).unwrap().ata, ata);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0x00; 18]), None);
    }

    #[test]
    fn the_ata_descriptor_is_found_behind_others() {
        let mut sense = vec![0x72, 0x0B, 0, 0, 0, 0, 0, 26, 0x00, 0x0A];
        sense.extend([0; 10]);
        sense.extend(&descriptor(0, 0, 0, 0x04, 0x51)[8..]);
        assert_eq!(parse(&sense).unwrap().ata, Some(AtaRegisters { error: 4, status: 0x51 }));
        // One that claims more than there is.
        sense[9] = 200;
        assert_eq!(parse(&sense).unwrap().ata, None);
    }

    #[test]
    fn outcomes_become_kinds() {
        let kind = |reply: &ScsiReply| judge(reply, &at(Bus::Scsi)).map_err(|e| e.kind);
        assert_eq!(kind(&ScsiReply::default()), Ok(()));
        assert_eq!(kind(&check(&fixed(5, 0x20, 0))), Err(Kind::Unsupported));
        assert_eq!(kind(&check(&fixed(5, 0x24, 0))), Err(Kind::InvalidCommand));
        assert_eq!(kind(&check(&fixed(5, 0x1A, 0))), Err(Kind::InvalidLength));
        assert_eq!(kind(&check(&fixed(5, 0x2C, 0))), Err(Kind::ProtocolViolation));
        assert_eq!(kind(&check(&fixed(7, 0x20, 2))), Err(Kind::Failed));
        assert_eq!(kind(&check(&fixed(0xB, 0, 0))), Err(Kind::InvalidCommand));
        assert_eq!(kind(&check(&fixed(0xB, 0x47, 0))), Err(Kind::Failed));
        assert_eq!(kind(&check(&[])), Err(Kind::Failed));
        // Recovered error with ATA registers: the status register decides.
        assert_eq!(kind(&check(&descriptor(1, 0, 0x1D, 0, 0x50))), Ok(()));
        assert_eq!(kind(&check(&descriptor(1, 0, 0x1D, 4, 0x51))), Err(Kind::InvalidCommand));
        assert_eq!(kind(&check(&descriptor(0xB, 0, 0, 4, 0x51))), Err(Kind::InvalidCommand));
        assert_eq!(kind(&check(&descriptor(0xB, 0, 0, 0x40, 0x51))), Err(Kind::Failed));
        let host = |host_status| ScsiReply { host_status, ..ScsiReply::default() };
        assert_eq!(kind(&host(1)), Err(Kind::Gone));
        assert_eq!(kind(&host(3)), Err(Kind::TimedOut));
        assert_eq!(kind(&host(7)), Err(Kind::Failed));
        let status = |status| ScsiReply { status, ..ScsiReply::default() };
        assert_eq!(kind(&status(0x08)), Err(Kind::TimedOut));
        assert_eq!(kind(&status(0x18)), Err(Kind::Denied));
        let driver = ScsiReply { driver_status: 6, ..ScsiReply::default() };
        assert_eq!(kind(&driver), Err(Kind::Failed));
    }

    #[test]
    fn advice_fits_the_bus() {
        let text = |bus| judge(&check(&fixed(5, 0x20, 0)), &at(bus)).unwrap_err().detail;
        assert!(text(Bus::Usb).contains("bridge"));
        assert!(!text(Bus::Ata).contains("bridge"));
        assert!(text(Bus::Scsi).contains("host adapter"));
    }

    #[test]
    fn only_what_was_not_begun_is_sent_again() {
        assert!(may_retry(&check(&fixed(6, 0x29, 0))));
        assert!(may_retry(&check(&fixed(2, 0x04, 1))));
        assert!(may_retry(&ScsiReply { status: 0x28, ..ScsiReply::default() }));
        assert!(!may_retry(&check(&fixed(2, 0x3A, 0))));
        assert!(!may_retry(&check(&fixed(0xB, 0x47, 0))));
        assert!(!may_retry(&check(&fixed(5, 0x24, 0))));
        assert!(!may_retry(&ScsiReply::default()));
    }

    proptest! {
        #[test]
        fn no_sense_panics(
            status: u8, host_status: u16, driver_status: u16,
            sense in prop::collection::vec(any::<u8>(), 0..64), format in 0x70u8..=0x73, force: bool,
        ) {
            let mut sense = sense;
            if let (true, Some(first)) = (force, sense.first_mut()) {
                *first = format;
            }
            let reply =
                ScsiReply { status, host_status, driver_status, sense, transferred: 0 };
            let _ = may_retry(&reply);
            let _ = judge(&reply, &at(Bus::Ata));
        }
    }
}
