// SPDX-License-Identifier: MIT OR Apache-2.0
//! SCSI: SECURITY PROTOCOL IN and OUT, and the commands that tell what a device is (SPC-4).

use std::time::Duration;

use opal::{Transport, TransportError, TransportErrorKind as Kind};

use super::passthrough::{
    Attachment, COMMAND_TIMEOUT, Cdb, Data, PROBE_TIMEOUT, Passthrough, shrinking,
};
use super::sense::execute;

/// What the length field of a security command counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthUnit {
    /// Bytes, INC_512 = 0.
    Bytes,
    /// 512-byte units, INC_512 = 1.
    Blocks,
}

/// A path through SECURITY PROTOCOL IN and OUT.
#[derive(Debug)]
pub struct ScsiTransport<P> {
    node: P,
    at: Attachment,
    unit: LengthUnit,
    limit: usize,
}

/// Standard INQUIRY data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inquiry {
    /// Peripheral qualifier and device type as they stand: 0x00 a disk, 0x14 a zoned one.
    pub peripheral: u8,
    /// Vendor; `ATA` for a translated SATA drive.
    pub vendor: String,
    /// Product, at most 16 characters.
    pub product: String,
    /// Revision, at most four characters.
    pub revision: String,
}

impl<P: Passthrough> ScsiTransport<P> {
    /// A path through `node`, whose length fields count `unit`s.
    pub fn new(node: P, at: Attachment, unit: LengthUnit) -> Self {
        let limit = (at.max_transfer / 512 * 512).max(512);
        Self { node, at, unit, limit }
    }

    /// What the length fields of this path count.
    pub fn unit(&self) -> LengthUnit {
        self.unit
    }
}

impl<P: Passthrough> Transport for ScsiTransport<P> {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        let cdb = security_protocol_out(protocol, specific, self.unit, data.len())?;
        let sent = execute(&mut self.node, &self.at, &cdb, Data::Out(data), COMMAND_TIMEOUT)?;
        if sent < data.len() {
            return Err(TransportError::new(
                Kind::InvalidLength,
                format!("{} took only {sent} of {} bytes", self.at.node, data.len()),
            ));
        }
        Ok(())
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        let mut limit = self.limit;
        let received = shrinking(buffer, &mut limit, |buffer| {
            receive(
                &mut self.node,
                &self.at,
                self.unit,
                (protocol, specific),
                buffer,
                COMMAND_TIMEOUT,
            )
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

/// Finds out what the length fields of `node` count, by asking what every such device must answer.
///
/// `units` are tried in order. A translation layer may take a count of blocks for one of bytes and
/// say nothing, so the answer itself must make sense.
///
/// # Errors
/// No unit works: the error of the last one tried.
pub fn probe(
    node: &mut impl Passthrough,
    at: &Attachment,
    units: &[LengthUnit],
) -> Result<LengthUnit, TransportError> {
    let mut last = TransportError::new(Kind::Unsupported, super::sense::no_security_commands(at));
    // The list of protocols, or where a drive keeps that to itself, Level 0 discovery.
    for query in [PROTOCOL_LIST, LEVEL_0_DISCOVERY] {
        for &unit in units {
            let mut buffer = [0; 512];
            match receive(node, at, unit, query, &mut buffer, PROBE_TIMEOUT) {
                Ok(valid) => {
                    if is_answer(query, buffer.get(..valid).unwrap_or_default()) {
                        return Ok(unit);
                    }
                }
                Err(error) => match error.kind {
                    Kind::Denied | Kind::Gone | Kind::TimedOut => return Err(error),
                    Kind::Unsupported => return Err(error),
                    _ => last = error,
                },
            }
        }
    }
    Err(last)
}

/// Asks a device for its standard INQUIRY data.
///
/// # Errors
/// The command did not succeed.
pub fn inquire(node: &mut impl Passthrough, at: &Attachment) -> Result<Inquiry, TransportError> {
    let mut data = [0; 96];
    let cdb = inquiry(None, data.len() as u16);
    execute(node, at, &cdb, Data::In(&mut data), PROBE_TIMEOUT)?;
    Ok(parse_inquiry(&data))
}

/// Asks a device for vital product data page `page`; `None` where it has none.
pub fn vital_product_data(
    node: &mut impl Passthrough,
    at: &Attachment,
    page: u8,
) -> Option<Vec<u8>> {
    let mut data = vec![0; 1024];
    let cdb = inquiry(Some(page), data.len() as u16);
    let length = execute(node, at, &cdb, Data::In(&mut data), PROBE_TIMEOUT).ok()?;
    data.truncate(length);
    (data.get(1) == Some(&page)).then_some(data)
}

/// Asks a device for its logical block size and capacity, both in bytes.
///
/// # Errors
/// The command did not succeed, or the answer makes no sense.
pub fn capacity(
    node: &mut impl Passthrough,
    at: &Attachment,
) -> Result<(u32, u64), TransportError> {
    let mut data = [0; 32];
    let cdb = read_capacity_16(data.len() as u32);
    execute(node, at, &cdb, Data::In(&mut data), PROBE_TIMEOUT)?;
    parse_capacity(&data).ok_or_else(|| {
        TransportError::new(Kind::Failed, format!("{} tells no sensible capacity", at.node))
    })
}

/// SECURITY PROTOCOL IN for `length` bytes.
///
/// # Errors
/// `length` does not suit `unit`.
pub fn security_protocol_in(
    protocol: u8,
    specific: u16,
    unit: LengthUnit,
    length: usize,
) -> Result<Cdb, TransportError> {
    security(0xA2, protocol, specific, unit, length)
}

/// SECURITY PROTOCOL OUT of `length` bytes.
///
/// # Errors
/// `length` does not suit `unit`.
pub fn security_protocol_out(
    protocol: u8,
    specific: u16,
    unit: LengthUnit,
    length: usize,
) -> Result<Cdb, TransportError> {
    security(0xB5, protocol, specific, unit, length)
}

/// INQUIRY, of a vital product data page if one is given.
pub fn inquiry(page: Option<u8>, length: u16) -> Cdb {
    let [high, low] = length.to_be_bytes();
    [0x12, u8::from(page.is_some()), page.unwrap_or(0), high, low, 0].into()
}

/// READ CAPACITY (16).
pub fn read_capacity_16(length: u32) -> Cdb {
    let [a, b, c, d] = length.to_be_bytes();
    [0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, 0, 0].into()
}

/// Reads standard INQUIRY data; what is missing reads as zeros.
pub fn parse_inquiry(data: &[u8]) -> Inquiry {
    let field = |range| padded_text(data.get(range).unwrap_or_default());
    Inquiry {
        peripheral: data.first().copied().unwrap_or(0x7F),
        vendor: field(8..16),
        product: field(16..32),
        revision: field(32..36),
    }
}

/// The serial number on vital product data page 80h.
pub fn parse_serial(page: &[u8]) -> Option<String> {
    let length = usize::from(*page.get(3)?);
    let text = padded_text(page.get(4..)?.get(..length)?);
    (!text.is_empty()).then_some(text)
}

/// IDENTIFY DEVICE data on vital product data page 89h (SAT-3): a translated ATA drive.
pub fn parse_ata_information(page: &[u8]) -> Option<&[u8]> {
    page.get(60..572)
}

/// Logical block size and capacity in bytes, from READ CAPACITY (16) data.
pub fn parse_capacity(data: &[u8]) -> Option<(u32, u64)> {
    let last = u64::from_be_bytes(*data.first_chunk()?);
    let size = u32::from_be_bytes(*data.get(8..)?.first_chunk()?);
    let blocks = last.checked_add(1)?;
    (size.is_power_of_two() && size >= 512).then_some(())?;
    Some((size, blocks.checked_mul(u64::from(size))?))
}

/// A text field of INQUIRY or IDENTIFY: padding off, nothing that a terminal would act on.
pub(super) fn padded_text(bytes: &[u8]) -> String {
    let text: String = bytes
        .iter()
        .map(|&byte| char::from(byte))
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .collect();
    text.trim().to_owned()
}

/// Security protocol information: the list of protocols (SPC-4).
const PROTOCOL_LIST: (u8, u16) = (0x00, 0x0000);
/// Core 2.01 §3.3.6.
const LEVEL_0_DISCOVERY: (u8, u16) = (0x01, 0x0001);

pub(super) fn is_answer(query: (u8, u16), data: &[u8]) -> bool {
    let count = |at: usize, width: usize| {
        let bytes = data.get(at..at + width)?;
        Some(bytes.iter().fold(0usize, |value, &byte| value << 8 | usize::from(byte)))
    };
    if query == PROTOCOL_LIST {
        // The list is not empty, and its first entry is always 00.
        count(6, 2).is_some_and(|length| length > 0 && length <= 256) && data.get(8) == Some(&0)
    } else {
        count(0, 4).is_some_and(|length| (44..65536).contains(&length))
    }
}

pub(super) const PROBE_QUERIES: [(u8, u16); 2] = [PROTOCOL_LIST, LEVEL_0_DISCOVERY];

fn receive(
    node: &mut impl Passthrough,
    at: &Attachment,
    unit: LengthUnit,
    (protocol, specific): (u8, u16),
    buffer: &mut [u8],
    timeout: Duration,
) -> Result<usize, TransportError> {
    let cdb = security_protocol_in(protocol, specific, unit, buffer.len())?;
    // Drivers do not always fill in the residual; what was not written must not be old memory.
    buffer.fill(0);
    execute(node, at, &cdb, Data::In(buffer), timeout)
}

fn security(
    opcode: u8,
    protocol: u8,
    specific: u16,
    unit: LengthUnit,
    length: usize,
) -> Result<Cdb, TransportError> {
    let (increment, count) = match unit {
        LengthUnit::Bytes => (0x00, Some(length)),
        LengthUnit::Blocks => (0x80, length.is_multiple_of(512).then_some(length / 512)),
    };
    let count = count.and_then(|count| u32::try_from(count).ok()).ok_or_else(|| {
        TransportError::new(
            Kind::InvalidLength,
            format!("this path carries multiples of 512 bytes, not {length} bytes"),
        )
    })?;
    let [high, low] = specific.to_be_bytes();
    let [a, b, c, d] = count.to_be_bytes();
    Ok([opcode, protocol, high, low, increment, 0, a, b, c, d, 0, 0].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_to_the_byte() {
        let cdb = |cdb: Result<Cdb, TransportError>| cdb.unwrap().as_bytes().to_vec();
        assert_eq!(
            cdb(security_protocol_in(0x01, 0x07FE, LengthUnit::Bytes, 2048)),
            [0xA2, 0x01, 0x07, 0xFE, 0x00, 0, 0, 0, 0x08, 0x00, 0, 0]
        );
        assert_eq!(
            cdb(security_protocol_in(0x01, 0x0001, LengthUnit::Blocks, 2048)),
            [0xA2, 0x01, 0x00, 0x01, 0x80, 0, 0, 0, 0, 4, 0, 0]
        );
        assert_eq!(
            cdb(security_protocol_out(0x02, 0x1004, LengthUnit::Bytes, 512)),
            [0xB5, 0x02, 0x10, 0x04, 0x00, 0, 0, 0, 0x02, 0x00, 0, 0]
        );
        assert_eq!(
            cdb(security_protocol_out(0x01, 0x1000, LengthUnit::Blocks, 512)),
            [0xB5, 0x01, 0x10, 0x00, 0x80, 0, 0, 0, 0, 1, 0, 0]
        );
        let odd = security_protocol_out(1, 1, LengthUnit::Blocks, 513).unwrap_err();
        assert_eq!(odd.kind, Kind::InvalidLength);
        assert_eq!(inquiry(None, 96).as_bytes(), [0x12, 0, 0, 0, 96, 0]);
        assert_eq!(inquiry(Some(0x89), 1024).as_bytes(), [0x12, 1, 0x89, 4, 0, 0]);
        assert_eq!(
            read_capacity_16(32).as_bytes(),
            [0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]
        );
    }

    #[test]
    fn answers_are_read_whole_or_short() {
        let mut data = [0u8; 96];
        data[8..16].copy_from_slice(b"SEAGATE ");
        data[16..32].copy_from_slice(b"ST4000NM0043    ");
        data[32..36].copy_from_slice(b"E073");
        let inquiry = parse_inquiry(&data);
        assert_eq!(
            (inquiry.peripheral, &*inquiry.vendor, &*inquiry.product, &*inquiry.revision),
            (0, "SEAGATE", "ST4000NM0043", "E073")
        );
        assert_eq!(parse_inquiry(&[]).peripheral, 0x7F, "no answer is not a disk");

        assert_eq!(parse_serial(b"\x00\x80\x00\x08  Z1Z0AB").as_deref(), Some("Z1Z0AB"));
        assert_eq!(parse_serial(b"\x00\x80\x00\x09  Z1Z0AB"), None);
        assert_eq!(parse_serial(b"\x00\x80\x00\x00"), None);

        let mut data = [0u8; 32];
        data[7] = 0xFF;
        data[10] = 0x10;
        assert_eq!(parse_capacity(&data), Some((4096, 256 * 4096)));
        data[10] = 0;
        assert_eq!(parse_capacity(&data), None);
        assert_eq!(parse_capacity(&[0xFF; 32]), None);
        assert_eq!(parse_capacity(&data[..9]), None);
        assert_eq!(parse_ata_information(&[0; 571]), None);
        assert_eq!(parse_ata_information(&[0; 572]).map(<[u8]>::len), Some(512));
    }

    #[test]
    fn a_misread_length_is_no_answer() {
        let list = [0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2, 0];
        assert!(is_answer(PROTOCOL_LIST, &list));
        assert!(!is_answer(PROTOCOL_LIST, &list[..1]));
        assert!(!is_answer(PROTOCOL_LIST, &[0; 512]));
        assert!(!is_answer(LEVEL_0_DISCOVERY, &[0; 512]));
        assert!(is_answer(LEVEL_0_DISCOVERY, &[0, 0, 0, 0x80]));
    }
}
