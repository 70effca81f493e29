// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a SCSI command ends: status and sense data (SPC-4 §4.5).

use crate::emulator::backend::CommandStatus;

/// Status GOOD.
pub const GOOD: u8 = 0x00;
/// Status CHECK CONDITION.
pub const CHECK_CONDITION: u8 = 0x02;

/// Sense key, additional sense code and qualifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// ASC and ASCQ.
    pub code: [u8; 2],
}

#[expect(missing_docs, reason = "the names are the standard's")]
impl Sense {
    pub const NONE: Self = Self::new(0x0, 0x00, 0x00);
    pub const READ_ERROR: Self = Self::new(0x3, 0x11, 0x00);
    pub const WRITE_ERROR: Self = Self::new(0x3, 0x0C, 0x00);
    pub const INVALID_OPCODE: Self = Self::new(0x5, 0x20, 0x00);
    pub const LBA_OUT_OF_RANGE: Self = Self::new(0x5, 0x21, 0x00);
    pub const INVALID_FIELD: Self = Self::new(0x5, 0x24, 0x00);
    pub const LUN_NOT_SUPPORTED: Self = Self::new(0x5, 0x25, 0x00);
    pub const INVALID_PARAMETER_LIST: Self = Self::new(0x5, 0x26, 0x00);
    pub const COMMAND_SEQUENCE: Self = Self::new(0x5, 0x2C, 0x00);
    pub const PARAMETER_LIST_LENGTH: Self = Self::new(0x5, 0x1A, 0x00);
    pub const ACCESS_DENIED: Self = Self::new(0x7, 0x20, 0x02);
    pub const ABORTED_COMMAND: Self = Self::new(0xB, 0x00, 0x00);
    pub const ATA_INFORMATION: Self = Self::new(0x1, 0x00, 0x1D);
}

impl Sense {
    const fn new(key: u8, asc: u8, ascq: u8) -> Self {
        Self { key, code: [asc, ascq] }
    }

    /// The wording of a refusal; media errors differ by direction.
    #[must_use]
    pub fn of(refusal: CommandStatus, writing: bool) -> Self {
        match refusal {
            CommandStatus::InvalidParameter | CommandStatus::InvalidLength => Self::INVALID_FIELD,
            CommandStatus::ProtocolViolation | CommandStatus::InvalidSecurityState => {
                Self::COMMAND_SEQUENCE
            }
            CommandStatus::DataProtection => Self::ACCESS_DENIED,
            CommandStatus::LbaOutOfRange => Self::LBA_OUT_OF_RANGE,
            CommandStatus::MediaError if writing => Self::WRITE_ERROR,
            CommandStatus::MediaError => Self::READ_ERROR,
        }
    }

    /// Fixed format, current error.
    #[must_use]
    pub fn fixed(self) -> Vec<u8> {
        let [asc, ascq] = self.code;
        vec![0x70, 0, self.key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0]
    }

    /// Descriptor format, current error, with these descriptors.
    #[must_use]
    pub fn descriptors(self, descriptors: &[u8]) -> Vec<u8> {
        let [asc, ascq] = self.code;
        let length = u8::try_from(descriptors.len()).unwrap_or(u8::MAX);
        let mut sense = vec![0x72, self.key, asc, ascq, 0, 0, 0, length];
        sense.extend(descriptors);
        sense
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// SCSI status.
    pub status: u8,
    /// Sense data, empty with GOOD.
    pub sense: Vec<u8>,
    /// Data for the host.
    pub data: Vec<u8>,
}

impl Response {
    /// GOOD with data, perhaps none.
    #[must_use]
    pub fn good(data: Vec<u8>) -> Self {
        Self { status: GOOD, sense: Vec::new(), data }
    }
}

impl From<Sense> for Response {
    fn from(sense: Sense) -> Self {
        Self { status: CHECK_CONDITION, sense: sense.fixed(), data: Vec::new() }
    }
}
