// SPDX-License-Identifier: MIT OR Apache-2.0
//! ATA: TRUSTED SEND and TRUSTED RECEIVE through SCSI/ATA pass-through (ACS-3, SAT-3 §12.2).

use std::time::Duration;

use opal::{Transport, TransportError, TransportErrorKind as Kind};

use super::passthrough::{
    Attachment, Bus, COMMAND_TIMEOUT, Cdb, Data, PROBE_TIMEOUT, Passthrough, shrinking,
};
use super::scsi::{PROBE_QUERIES, is_answer, padded_text};
use super::sense::{execute, no_security_commands};

/// How a trusted command is wrapped and how its data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Length of the pass-through command.
    pub cdb: PassThrough,
    /// Protocol of the data phase.
    pub protocol: DataPhase,
}

/// ATA PASS-THROUGH command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassThrough {
    /// ATA PASS-THROUGH (12), A1h.
    Sat12,
    /// ATA PASS-THROUGH (16), 85h.
    Sat16,
}

/// How the data of a command is transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPhase {
    /// Programmed I/O: 5Ch and 5Eh.
    Pio,
    /// Direct memory access: 5Dh and 5Fh.
    Dma,
}

/// A path through TRUSTED SEND and TRUSTED RECEIVE.
#[derive(Debug)]
pub struct AtaTransport<P> {
    node: P,
    at: Attachment,
    form: Form,
    limit: usize,
}

/// What an ATA drive says of itself in IDENTIFY DEVICE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identify {
    /// Serial number, padding taken off.
    pub serial: String,
    /// Model number, padding taken off.
    pub model: String,
    /// Firmware revision, padding taken off.
    pub firmware: String,
    /// Whether it has the Trusted Computing feature set (word 48).
    pub trusted_computing: bool,
    /// ATA Security (passwords) is enabled (word 85): TCG activation will be refused.
    pub ata_security_enabled: bool,
    /// Logical block size in bytes.
    pub logical_block_size: u32,
    /// Capacity in bytes.
    pub capacity: u64,
}

impl<P: Passthrough> AtaTransport<P> {
    /// A path through `node` by commands of `form`.
    pub fn new(node: P, at: Attachment, form: Form) -> Self {
        let limit = (at.max_transfer / 512 * 512).clamp(512, MAX_BLOCKS * 512);
        Self { node, at, form, limit }
    }

    /// How this path's commands are wrapped.
    pub fn form(&self) -> Form {
        self.form
    }
}

impl<P: Passthrough> Transport for AtaTransport<P> {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        let cdb = trusted_send(self.form, protocol, specific, data.len())?;
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
                self.form,
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

/// Finds a form of pass-through that `node` understands, by IDENTIFY DEVICE.
///
/// # Errors
/// Neither form works: the error of the last one tried.
pub fn identify(
    node: &mut impl Passthrough,
    at: &Attachment,
) -> Result<(PassThrough, Identify), TransportError> {
    let mut last = TransportError::new(Kind::Unsupported, no_security_commands(at));
    for cdb in [PassThrough::Sat16, PassThrough::Sat12] {
        let mut data = [0; 512];
        let command = identify_device(cdb);
        match execute(node, at, &command, Data::In(&mut data), PROBE_TIMEOUT) {
            Ok(512) => match parse_identify(&data) {
                Some(identify) => return Ok((cdb, identify)),
                None => continue,
            },
            Ok(_) => {}
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Finds a form in which `node` carries trusted commands, beginning with pass-through `first`.
///
/// # Errors
/// None works; the text says whether kernel, bridge or drive is in the way.
pub fn probe(
    node: &mut impl Passthrough,
    at: &Attachment,
    first: PassThrough,
) -> Result<Form, TransportError> {
    let second = match first {
        PassThrough::Sat12 => PassThrough::Sat16,
        PassThrough::Sat16 => PassThrough::Sat12,
    };
    let mut last = TransportError::new(Kind::Unsupported, no_security_commands(at));
    for query in PROBE_QUERIES {
        for cdb in [first, second] {
            for protocol in [DataPhase::Pio, DataPhase::Dma] {
                let form = Form { cdb, protocol };
                let mut buffer = [0; 512];
                match receive(node, at, form, query, &mut buffer, PROBE_TIMEOUT) {
                    Ok(valid) if is_answer(query, buffer.get(..valid).unwrap_or_default()) => {
                        return Ok(form);
                    }
                    Ok(_) => {}
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => last = error,
                }
            }
        }
    }
    Err(explain(last, at))
}

/// TRUSTED SEND of `length` bytes.
///
/// # Errors
/// `length` is not 1 to 65535 blocks of 512 bytes.
pub fn trusted_send(
    form: Form,
    protocol: u8,
    specific: u16,
    length: usize,
) -> Result<Cdb, TransportError> {
    let command = match form.protocol {
        DataPhase::Pio => 0x5E,
        DataPhase::Dma => 0x5F,
    };
    trusted(form, Towards::Drive, command, protocol, specific, length)
}

/// TRUSTED RECEIVE of `length` bytes.
///
/// # Errors
/// `length` is not 1 to 65535 blocks of 512 bytes.
pub fn trusted_receive(
    form: Form,
    protocol: u8,
    specific: u16,
    length: usize,
) -> Result<Cdb, TransportError> {
    let command = match form.protocol {
        DataPhase::Pio => 0x5C,
        DataPhase::Dma => 0x5D,
    };
    trusted(form, Towards::Host, command, protocol, specific, length)
}

/// IDENTIFY DEVICE.
pub fn identify_device(cdb: PassThrough) -> Cdb {
    let form = Form { cdb, protocol: DataPhase::Pio };
    let file = TaskFile { feature: 0, count: 1, lba: [0; 3], device: 0, command: 0xEC };
    pass_through(form, Towards::Host, file)
}

/// Reads IDENTIFY DEVICE data; `None` if it is not that.
pub fn parse_identify(data: &[u8]) -> Option<Identify> {
    let data: &[u8; 512] = data.first_chunk()?;
    let word = |at: usize| {
        let byte = |at: usize| u16::from(data.get(at).copied().unwrap_or(0));
        byte(2 * at + 1) << 8 | byte(2 * at)
    };
    // Bit 15 of word 0 clear: an ATA device. All zeros: a bridge that made something up.
    if word(0) & 0x8000 != 0 || data.iter().all(|&byte| byte == 0) {
        return None;
    }
    let wide = |at: usize, words: usize| {
        (0..words).rev().fold(0u64, |value, i| value << 16 | u64::from(word(at + i)))
    };
    let text = |from: usize, words: usize| {
        let bytes: Vec<u8> = (from..from + words).flat_map(|at| word(at).to_be_bytes()).collect();
        padded_text(&bytes)
    };
    let valid = |at: usize| word(at) & 0xC000 == 0x4000;
    let logical_block_size = match valid(106) && word(106) & 0x1000 != 0 {
        true => u32::try_from(wide(117, 2) * 2).ok().filter(|size| size.is_power_of_two()),
        false => None,
    };
    let logical_block_size = logical_block_size.unwrap_or(512);
    let blocks = if word(83) & 0x0400 != 0 { wide(100, 4) } else { wide(60, 2) };
    Some(Identify {
        serial: text(10, 10),
        model: text(27, 20),
        firmware: text(23, 4),
        trusted_computing: valid(48) && word(48) & 1 != 0,
        ata_security_enabled: word(82) & 0x0002 != 0 && word(85) & 0x0002 != 0,
        logical_block_size,
        capacity: blocks.saturating_mul(u64::from(logical_block_size)),
    })
}

const MAX_BLOCKS: usize = 65535;

#[derive(Clone, Copy)]
enum Towards {
    Host,
    Drive,
}

/// Registers of a 28-bit command.
struct TaskFile {
    feature: u8,
    count: u8,
    /// LBA 7:0, 15:8, 23:16.
    lba: [u8; 3],
    device: u8,
    command: u8,
}

fn trusted(
    form: Form,
    towards: Towards,
    command: u8,
    protocol: u8,
    specific: u16,
    length: usize,
) -> Result<Cdb, TransportError> {
    let blocks = length.is_multiple_of(512).then_some(length / 512);
    let blocks = blocks.and_then(|blocks| u16::try_from(blocks).ok()).filter(|&blocks| blocks > 0);
    let Some(blocks) = blocks else {
        return Err(TransportError::new(
            Kind::InvalidLength,
            format!("ATA carries 1 to {MAX_BLOCKS} blocks of 512 bytes, not {length} bytes"),
        ));
    };
    // The ComID is little endian here, unlike in SCSI commands.
    let ([count, count_high], [id_low, id_high]) = (blocks.to_le_bytes(), specific.to_le_bytes());
    let file = TaskFile {
        feature: protocol,
        count,
        lba: [count_high, id_low, id_high],
        device: 0x40,
        command,
    };
    Ok(pass_through(form, towards, file))
}

fn pass_through(form: Form, towards: Towards, file: TaskFile) -> Cdb {
    let protocol = match (form.protocol, towards) {
        (DataPhase::Pio, Towards::Host) => 4 << 1,
        (DataPhase::Pio, Towards::Drive) => 5 << 1,
        (DataPhase::Dma, _) => 6 << 1,
    };
    // BYT_BLOK (512-byte blocks) and T_LENGTH 2 (in the count register); T_DIR; no CK_COND, so that
    // sense data means trouble.
    let flags = match towards {
        Towards::Host => 0x0E,
        Towards::Drive => 0x06,
    };
    let TaskFile { feature, count, lba: [low, mid, high], device, command } = file;
    match form.cdb {
        PassThrough::Sat12 => {
            [0xA1, protocol, flags, feature, count, low, mid, high, device, command, 0, 0].into()
        }
        PassThrough::Sat16 => [
            0x85, protocol, flags, 0, feature, 0, count, 0, low, 0, mid, 0, high, device, command,
            0,
        ]
        .into(),
    }
}

fn receive(
    node: &mut impl Passthrough,
    at: &Attachment,
    form: Form,
    (protocol, specific): (u8, u16),
    buffer: &mut [u8],
    timeout: Duration,
) -> Result<usize, TransportError> {
    let cdb = trusted_receive(form, protocol, specific, buffer.len())?;
    // Drivers do not always fill in the residual; what was not written must not be old memory.
    buffer.fill(0);
    execute(node, at, &cdb, Data::In(buffer), timeout)
}

fn is_final(error: &TransportError) -> bool {
    matches!(error.kind, Kind::Denied | Kind::Gone | Kind::TimedOut)
}

/// Says who is in the way of trusted commands that a drive claims to have.
fn explain(error: TransportError, at: &Attachment) -> TransportError {
    let node = &at.node;
    match (at.bus, at.allow_tpm) {
        (Bus::Ata, Some(false)) => TransportError::new(
            Kind::Denied,
            format!(
                "the kernel filters security commands to {node}; boot with libata.allow_tpm=1, or \
                 write 1 to /sys/module/libata/parameters/allow_tpm"
            ),
        ),
        (Bus::Usb, _) => TransportError::new(Kind::Unsupported, no_security_commands(at)),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMS: [Form; 4] = [
        Form { cdb: PassThrough::Sat12, protocol: DataPhase::Pio },
        Form { cdb: PassThrough::Sat12, protocol: DataPhase::Dma },
        Form { cdb: PassThrough::Sat16, protocol: DataPhase::Pio },
        Form { cdb: PassThrough::Sat16, protocol: DataPhase::Dma },
    ];

    #[test]
    fn commands_to_the_byte() {
        let receive = |form| trusted_receive(form, 0x01, 0x07FE, 2048).unwrap().as_bytes().to_vec();
        let send =
            |form| trusted_send(form, 0x02, 0x1004, 512 * 0x0203).unwrap().as_bytes().to_vec();
        let [pio12, dma12, pio16, dma16] = FORMS;
        assert_eq!(receive(pio12), [0xA1, 0x08, 0x0E, 0x01, 4, 0, 0xFE, 0x07, 0x40, 0x5C, 0, 0]);
        assert_eq!(receive(dma12), [0xA1, 0x0C, 0x0E, 0x01, 4, 0, 0xFE, 0x07, 0x40, 0x5D, 0, 0]);
        assert_eq!(
            receive(pio16),
            [0x85, 0x08, 0x0E, 0, 0x01, 0, 4, 0, 0, 0, 0xFE, 0, 0x07, 0x40, 0x5C, 0]
        );
        assert_eq!(
            receive(dma16),
            [0x85, 0x0C, 0x0E, 0, 0x01, 0, 4, 0, 0, 0, 0xFE, 0, 0x07, 0x40, 0x5D, 0]
        );
        assert_eq!(send(pio12), [0xA1, 0x0A, 0x06, 0x02, 3, 2, 0x04, 0x10, 0x40, 0x5E, 0, 0]);
        assert_eq!(send(dma12), [0xA1, 0x0C, 0x06, 0x02, 3, 2, 0x04, 0x10, 0x40, 0x5F, 0, 0]);
        assert_eq!(
            send(pio16),
            [0x85, 0x0A, 0x06, 0, 0x02, 0, 3, 0, 2, 0, 0x04, 0, 0x10, 0x40, 0x5E, 0]
        );
        assert_eq!(
            send(dma16),
            [0x85, 0x0C, 0x06, 0, 0x02, 0, 3, 0, 2, 0, 0x04, 0, 0x10, 0x40, 0x5F, 0]
        );
        assert_eq!(
            identify_device(PassThrough::Sat12).as_bytes(),
            [0xA1, 0x08, 0x0E, 0, 1, 0, 0, 0, 0, 0xEC, 0, 0]
        );
        assert_eq!(
            identify_device(PassThrough::Sat16).as_bytes(),
            [0x85, 0x08, 0x0E, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xEC, 0]
        );
    }

    #[test]
    fn lengths_are_blocks() {
        for length in [0, 1, 511, 513, 65536 * 512] {
            for form in FORMS {
                let error = trusted_send(form, 1, 1, length).unwrap_err();
                assert_eq!(error.kind, Kind::InvalidLength);
            }
        }
        assert!(trusted_receive(FORMS[0], 1, 1, 65535 * 512).is_ok());
    }

    fn identify_data() -> [u8; 512] {
        let mut data = [0u8; 512];
        let mut put = |word: usize, value: u16| {
            data[2 * word..2 * word + 2].copy_from_slice(&value.to_le_bytes());
        };
        put(0, 0x0040);
        put(48, 0x4001);
        put(82, 0x0002);
        put(83, 0x0400);
        put(60, 0xFFFF);
        put(61, 0x0FFF);
        put(101, 0x1BF2);
        put(100, 0x0AB0);
        let swap = |at: usize, text: &str, length: usize, data: &mut [u8; 512]| {
            let padded = format!("{text:length$}");
            for (i, byte) in padded.bytes().enumerate() {
                data[2 * at + (i ^ 1)] = byte;
            }
        };
        swap(10, "     S1D5NSAF", 20, &mut data);
        swap(23, "EXT0DB6Q", 8, &mut data);
        swap(27, "Samsung SSD 840 EVO 120GB", 40, &mut data);
        data
    }

    #[test]
    fn a_drive_is_identified() {
        let mut data = identify_data();
        let identify = parse_identify(&data).unwrap();
        assert_eq!(identify.serial, "S1D5NSAF");
        assert_eq!(identify.firmware, "EXT0DB6Q");
        assert_eq!(identify.model, "Samsung SSD 840 EVO 120GB");
        assert!(identify.trusted_computing && !identify.ata_security_enabled);
        assert_eq!(identify.logical_block_size, 512);
        assert_eq!(identify.capacity, 0x1BF2_0AB0 * 512);
        // Logical sectors of 4096 bytes, ATA security on, word 48 not valid.
        data[212..214].copy_from_slice(&0x5000u16.to_le_bytes());
        data[234..236].copy_from_slice(&2048u16.to_le_bytes());
        data[170] = 0x02;
        data[97] = 0x80;
        let identify = parse_identify(&data).unwrap();
        assert_eq!(identify.logical_block_size, 4096);
        assert!(!identify.trusted_computing && identify.ata_security_enabled);
        // Not ATA at all.
        assert_eq!(parse_identify(&[0; 512]), None);
        assert_eq!(parse_identify(&data[..511]), None);
        data[1] = 0x80;
        assert_eq!(parse_identify(&data), None);
    }

    proptest! {
        #[test]
        fn no_identify_data_panics(data in prop::collection::vec(any::<u8>(), 500..520)) {
            let _ = parse_identify(&data);
        }
    }
}
