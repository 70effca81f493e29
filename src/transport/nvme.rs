// SPDX-License-Identifier: MIT OR Apache-2.0
//! NVMe: Security Send and Security Receive as admin commands (NVMe Base 2.0).

use std::time::Duration;

use opal::{Transport, TransportError, TransportErrorKind as Kind};

use super::passthrough::{
    Attachment, COMMAND_TIMEOUT, Data, NvmeAdmin, PROBE_TIMEOUT, Passthrough, os_error, shrinking,
};

/// A path through NVMe admin commands.
#[derive(Debug)]
pub struct NvmeTransport<P> {
    node: P,
    at: Attachment,
    limit: usize,
}

/// What a controller says of itself in Identify Controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Serial number, padding taken off.
    pub serial: String,
    /// Model number, padding taken off.
    pub model: String,
    /// Firmware revision, padding taken off.
    pub firmware: String,
    /// Whether it has Security Send and Security Receive (OACS bit 0).
    pub security: bool,
    /// Largest transfer in bytes, for memory pages of 4 KiB; `None` for no limit.
    pub max_transfer: Option<usize>,
}

impl<P: Passthrough> NvmeTransport<P> {
    /// A path through `node`, whose controller has said that it has security commands.
    pub fn new(node: P, at: Attachment, controller: &Controller) -> Self {
        let limit = controller.max_transfer.unwrap_or(usize::MAX).min(at.max_transfer);
        Self { node, at, limit: (limit / 512 * 512).max(512) }
    }

    fn run(&mut self, command: &NvmeAdmin, data: Data<'_>) -> Result<(), TransportError> {
        execute(&mut self.node, &self.at, command, data, COMMAND_TIMEOUT)
    }
}

impl<P: Passthrough> Transport for NvmeTransport<P> {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        self.run(&security_send(protocol, specific, data.len() as u32), Data::Out(data))
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        let mut limit = self.limit;
        let received = shrinking(buffer, &mut limit, |buffer| {
            // The interface tells no length; what the drive leaves out must not be old memory.
            buffer.fill(0);
            let length = buffer.len();
            self.run(&security_receive(protocol, specific, length as u32), Data::In(buffer))?;
            Ok(length)
        });
        self.limit = limit;
        received
    }

    fn pause(&mut self, duration: Duration) {
        self.node.pause(duration);
    }

    fn max_transfer(&self) -> usize {
        self.limit
    }
}

/// Asks the controller behind `node` who it is.
///
/// # Errors
/// The command did not succeed.
pub fn identify(
    node: &mut impl Passthrough,
    at: &Attachment,
) -> Result<Controller, TransportError> {
    let mut data = vec![0; 4096];
    execute(node, at, &identify_controller(), Data::In(&mut data), PROBE_TIMEOUT)?;
    Ok(parse_controller(&data))
}

/// How often the drive has been powered on (SMART / Health log), where it tells.
pub fn power_cycles(node: &mut impl Passthrough, at: &Attachment) -> Option<u64> {
    let mut data = vec![0; 512];
    execute(node, at, &smart_log(), Data::In(&mut data), PROBE_TIMEOUT).ok()?;
    parse_power_cycles(&data)
}

/// Security Send of `length` bytes.
pub fn security_send(protocol: u8, specific: u16, length: u32) -> NvmeAdmin {
    security(0x81, protocol, specific, length)
}

/// Security Receive of at most `length` bytes.
pub fn security_receive(protocol: u8, specific: u16, length: u32) -> NvmeAdmin {
    security(0x82, protocol, specific, length)
}

/// Identify with the controller data structure, 4096 bytes.
pub fn identify_controller() -> NvmeAdmin {
    NvmeAdmin { opcode: 0x06, nsid: 0, cdw10: [0x01, 0, 0, 0, 0, 0] }
}

/// Get Log Page of SMART / Health, 512 bytes, for the whole controller.
pub fn smart_log() -> NvmeAdmin {
    const DWORDS: u32 = 512 / 4 - 1;
    NvmeAdmin { opcode: 0x02, nsid: 0xFFFF_FFFF, cdw10: [DWORDS << 16 | 0x02, 0, 0, 0, 0, 0] }
}

/// Reads an Identify Controller data structure; what is missing reads as zeros.
pub fn parse_controller(data: &[u8]) -> Controller {
    // MDTS is a power of two of memory pages; 2^8 of them are past any limit used here.
    let max_transfer = match data.get(77) {
        None | Some(0) => None,
        Some(&exponent) => Some(4096usize << exponent.min(16)),
    };
    Controller {
        serial: text(data, 4, 20),
        model: text(data, 24, 40),
        firmware: text(data, 64, 8),
        security: data.get(256).is_some_and(|oacs| oacs & 1 != 0),
        max_transfer,
    }
}

/// Power Cycles of a SMART / Health log; `None` for a log that is too short or was left empty.
pub fn parse_power_cycles(data: &[u8]) -> Option<u64> {
    let count = u128::from_le_bytes(*data.get(112..)?.first_chunk()?);
    // A drive that is on has been powered on: zero means that the field is not kept.
    u64::try_from(count).ok().filter(|&count| count != 0)
}

/// Judges the status field of a completion, phase bit shifted out.
///
/// # Errors
/// The status is not success; the text says what to do.
pub fn judge(status: u16, at: &Attachment) -> Result<(), TransportError> {
    let node = &at.node;
    let (kind, text) = match (status >> 8 & 0x7, status & 0xFF) {
        (0, 0x00) => return Ok(()),
        (0, 0x01) => (
            Kind::Unsupported,
            format!("{node} has no security commands; it is not a self-encrypting drive"),
        ),
        (0, 0x02) => (
            Kind::InvalidCommand,
            format!(
                "{node} refused the command: invalid field; either the drive speaks no TCG \
                 protocol, or its state does not allow this"
            ),
        ),
        (0, 0x0C) => (
            Kind::ProtocolViolation,
            format!("{node} expects the other half of an exchange; another program may use it"),
        ),
        (0, 0x07) | (3, 0x70 | 0x71) => (
            Kind::TimedOut,
            format!("the kernel gave up the command to {node}; a power cycle may bring it back"),
        ),
        (0, 0x15) | (2, 0x86) => {
            (Kind::Failed, format!("{node} denied the command in its present security state"))
        }
        _ => (
            Kind::Failed,
            format!("{node} failed the command; try again, then after a power cycle"),
        ),
    };
    Err(TransportError::new(kind, format!("{text} (NVMe status {status:#06x})")))
}

fn security(opcode: u8, protocol: u8, specific: u16, length: u32) -> NvmeAdmin {
    let cdw10 = u32::from(protocol) << 24 | u32::from(specific) << 8;
    NvmeAdmin { opcode, nsid: 0, cdw10: [cdw10, length, 0, 0, 0, 0] }
}

fn execute(
    node: &mut impl Passthrough,
    at: &Attachment,
    command: &NvmeAdmin,
    mut data: Data<'_>,
    timeout: Duration,
) -> Result<(), TransportError> {
    const RETRIES: u32 = 10;
    let length = data.len();
    for _ in 0..RETRIES {
        let status =
            node.nvme(command, data.again(), timeout).map_err(|e| os_error(&e, at, length))?;
        // Command Interrupted and Namespace Not Ready: not carried out, and worth another try
        // unless the drive says Do Not Retry.
        if matches!(status & 0x47FF, 0x0021 | 0x0082) {
            node.pause(Duration::from_millis(200));
            continue;
        }
        return judge(status, at);
    }
    Err(TransportError::new(
        Kind::TimedOut,
        format!("{} was not ready after {RETRIES} tries; wait, then try again", at.node),
    ))
}

fn text(data: &[u8], at: usize, length: usize) -> String {
    let bytes = data.get(at..at + length).unwrap_or_default();
    super::scsi::padded_text(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::passthrough::Bus;

    fn at() -> Attachment {
        Attachment {
            node: "/dev/nvme0n1".into(),
            bus: Bus::Nvme,
            allow_tpm: None,
            max_transfer: 65536,
        }
    }

    #[test]
    fn commands_to_the_bit() {
        let send = security_send(0x01, 0x07FE, 2048);
        assert_eq!((send.opcode, send.nsid), (0x81, 0));
        assert_eq!(send.cdw10, [0x0107_FE00, 2048, 0, 0, 0, 0]);
        let receive = security_receive(0x02, 0x1004, 512);
        assert_eq!((receive.opcode, receive.nsid), (0x82, 0));
        assert_eq!(receive.cdw10, [0x0210_0400, 512, 0, 0, 0, 0]);
        assert_eq!(identify_controller().cdw10[0], 1);
        assert_eq!(smart_log().cdw10[0], 0x007F_0002);
    }

    #[test]
    fn a_controller_is_read_and_a_short_one_too() {
        let mut data = vec![0u8; 4096];
        data[4..24].copy_from_slice(b"S3Z8\x1bNX0K\0\0         ");
        data[24..64].copy_from_slice(format!("{:40}", "Some Drive 1TB").as_bytes());
        data[64..72].copy_from_slice(b"2B7QCXE7");
        data[77] = 5;
        data[256] = 0x17;
        let controller = parse_controller(&data);
        assert_eq!(controller.serial, "S3Z8NX0K");
        assert_eq!(controller.model, "Some Drive 1TB");
        assert_eq!(controller.firmware, "2B7QCXE7");
        assert!(controller.security);
        assert_eq!(controller.max_transfer, Some(128 * 1024));
        for length in 0..300 {
            let short = parse_controller(&data[..length]);
            assert_eq!(short.security, length > 256);
        }
        data[77] = 255;
        assert!(parse_controller(&data).max_transfer.is_some());
        data[77] = 0;
        assert_eq!(parse_controller(&data).max_transfer, None);
    }

    #[test]
    fn power_cycles_are_sixteen_bytes() {
        let mut log = [0u8; 512];
        assert_eq!(parse_power_cycles(&log), None);
        log[112] = 0x34;
        log[113] = 0x12;
        assert_eq!(parse_power_cycles(&log), Some(0x1234));
        log[127] = 1;
        assert_eq!(parse_power_cycles(&log), None);
        assert_eq!(parse_power_cycles(&log[..120]), None);
    }

    #[test]
    fn statuses_become_kinds() {
        let kind = |status| judge(status, &at()).unwrap_err().kind;
        assert_eq!(judge(0, &at()), Ok(()));
        assert_eq!(kind(0x2001), Kind::Unsupported);
        assert_eq!(kind(0x4002), Kind::InvalidCommand);
        assert_eq!(kind(0x2002), Kind::InvalidCommand);
        assert_eq!(kind(0x400C), Kind::ProtocolViolation);
        assert_eq!(kind(0x0007), Kind::TimedOut);
        assert_eq!(kind(0x0371), Kind::TimedOut);
        assert_eq!(kind(0x4286), Kind::Failed);
        for status in 1..=u16::MAX {
            assert_eq!(judge(status, &at()).is_ok(), status & 0x7FF == 0, "{status:#x}");
        }
    }
}
