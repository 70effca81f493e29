// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire format of the sim socket: how a host talks to an emulated drive over a Unix socket.
//!
//! Bytes only, used by both ends; `docs/formats/sim.md` is its description. A connection carries one
//! request at a time: a frame from the host, then a frame from the drive. Nothing here waits on its
//! own account; time limits belong to whoever owns the socket.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};

use zeroize::{Zeroize, Zeroizing};

/// Version of this format, carried by [`Request::Identify`] and [`Identity`].
pub const VERSION: u16 = 1;

/// Largest payload of a send, receive, read or write, in bytes.
pub const MAX_DATA: usize = 1 << 20;

/// Largest frame body, in bytes, the length prefix not counted.
pub const MAX_FRAME: usize = MAX_DATA + 64;

/// Longest text in an [`Identity`], in bytes.
pub const MAX_TEXT: usize = 64;

/// What a host asks of the drive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Who are you, and do you speak `version`? Answered by [`Reply::Identity`].
    Identify {
        /// The host's [`VERSION`].
        version: u16,
    },
    /// IF-SEND. Answered by [`Reply::Done`].
    IfSend {
        /// Security protocol.
        protocol: u8,
        /// Security protocol specific, a ComID.
        specific: u16,
        /// What the drive receives, at most [`MAX_DATA`].
        data: &'a [u8],
    },
    /// IF-RECV. Answered by [`Reply::Data`], no longer than `length`.
    IfRecv {
        /// Security protocol.
        protocol: u8,
        /// Security protocol specific, a ComID.
        specific: u16,
        /// Transfer length in bytes, at most [`MAX_DATA`].
        length: u32,
    },
    /// Read `blocks` logical blocks from `lba`. Answered by [`Reply::Data`].
    Read {
        /// First logical block.
        lba: u64,
        /// Number of logical blocks.
        blocks: u32,
    },
    /// Write whole logical blocks from `lba` on. Answered by [`Reply::Done`].
    Write {
        /// First logical block.
        lba: u64,
        /// A whole number of logical blocks, at most [`MAX_DATA`] bytes.
        data: &'a [u8],
    },
    /// Make all completed writes durable. Answered by [`Reply::Done`].
    Flush,
    /// Deallocate `blocks` logical blocks from `lba`. Answered by [`Reply::Done`].
    Discard {
        /// First logical block.
        lba: u64,
        /// Number of logical blocks.
        blocks: u32,
    },
    /// How often has power come on? Answered by [`Reply::PowerCycleId`].
    PowerCycleId,
}

/// What the drive answers to a request it carried out.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Done; nothing to hand over.
    Done,
    /// To [`Request::Identify`].
    Identity(Identity),
    /// To [`Request::IfRecv`] and [`Request::Read`].
    Data(&'a [u8]),
    /// To [`Request::PowerCycleId`]; see [`Identity::power_cycle_id`].
    PowerCycleId(u64),
}

/// The answer to one request: a reply, or the interface status it was refused with.
pub type Answer<'a> = Result<Reply<'a>, Refusal>;

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

/// Interface status of a request that was not carried out.
///
/// A closed list: every front-end maps each one to a status of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// "Other Invalid Command Parameter": a bad ComID, a refused TPER_RESET, a range crossing.
    #[error("other invalid command parameter")]
    OtherInvalidCommandParameter,
    /// "Synchronous Protocol Violation": the other half of an exchange is due.
    #[error("synchronous protocol violation")]
    SynchronousProtocolViolation,
    /// "Invalid Transfer Length parameter on IF-SEND".
    #[error("invalid transfer length")]
    InvalidTransferLength,
    /// "Data Protection Error": a read or write of a locked range.
    #[error("data protection error")]
    DataProtectionError,
    /// Blocks past the end of the drive.
    #[error("logical block address out of range")]
    LbaOutOfRange,
    /// The medium failed.
    #[error("medium error")]
    MediaError,
    /// The drive's security state does not allow the command now.
    #[error("invalid security state")]
    InvalidSecurityState,
    /// "Invalid Security Protocol ID parameter".
    #[error("invalid security protocol")]
    InvalidSecurityProtocol,
    /// The drive, or the bridge it imitates, has no such command.
    #[error("command not supported")]
    NotSupported,
    /// The frame does not parse, or asks for a version that the drive does not speak.
    #[error("request not understood")]
    NotUnderstood,
}

/// Bytes that are not a frame of this format, or values that do not fit one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The frame ends inside a field.
    #[error("sim frame ends early")]
    Short,
    /// Bytes follow the last field.
    #[error("sim frame has bytes after its last field")]
    Trailing,
    /// A field has a value that this format does not define.
    #[error("sim frame has an unknown {field}: 0x{value:02x}")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u8,
    },
    /// A field is longer than this format allows.
    #[error("sim frame {field} of {length} bytes, the limit is {limit}")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its length.
        length: usize,
        /// Longest allowed.
        limit: usize,
    },
    /// A text is not printable UTF-8.
    #[error("sim frame has a {0} that is not printable text")]
    Text(&'static str),
}

/// A frame could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The socket failed, timed out, or closed inside a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not a frame; the connection is of no further use.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Request<'_> {
    /// Replaces `body` by this request's frame body.
    ///
    /// # Errors
    /// The payload is longer than [`MAX_DATA`].
    pub fn encode(&self, body: &mut Zeroizing<Vec<u8>>) -> Result<(), WireError> {
        let data: &[u8] = match self {
            Self::IfSend { data, .. } | Self::Write { data, .. } => data,
            _ => &[],
        };
        bounded("payload", data.len(), MAX_DATA)?;
        make_room(body, 16 + data.len());
        body.push(self.operation());
        match *self {
            Self::Identify { version } => body.extend(version.to_be_bytes()),
            Self::IfSend { protocol, specific, .. } => {
                body.push(protocol);
                body.extend(specific.to_be_bytes());
            }
            Self::IfRecv { protocol, specific, length } => {
                body.push(protocol);
                body.extend(specific.to_be_bytes());
                body.extend(length.to_be_bytes());
            }
            Self::Write { lba, .. } => body.extend(lba.to_be_bytes()),
            Self::Read { lba, blocks } | Self::Discard { lba, blocks } => {
                body.extend(lba.to_be_bytes());
                body.extend(blocks.to_be_bytes());
            }
            Self::Flush | Self::PowerCycleId => {}
        }
        body.extend_from_slice(data);
        Ok(())
    }

    fn operation(&self) -> u8 {
        match self {
            Self::Identify { .. } => op::IDENTIFY,
            Self::IfSend { .. } => op::IF_SEND,
            Self::IfRecv { .. } => op::IF_RECV,
            Self::Read { .. } => op::READ,
            Self::Write { .. } => op::WRITE,
            Self::Flush => op::FLUSH,
            Self::Discard { .. } => op::DISCARD,
            Self::PowerCycleId => op::POWER_CYCLE_ID,
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a frame body as a request.
    ///
    /// # Errors
    /// The bytes are not a request of this version.
    pub fn decode(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields(body);
        let request = match fields.u8()? {
            op::IDENTIFY => Self::Identify { version: fields.u16()? },
            op::IF_SEND => Self::IfSend {
                protocol: fields.u8()?,
                specific: fields.u16()?,
                data: fields.data()?,
            },
            op::IF_RECV => Self::IfRecv {
                protocol: fields.u8()?,
                specific: fields.u16()?,
                length: fields.length()?,
            },
            op::READ => Self::Read { lba: fields.u64()?, blocks: fields.u32()? },
            op::WRITE => Self::Write { lba: fields.u64()?, data: fields.data()? },
            op::FLUSH => Self::Flush,
            op::DISCARD => Self::Discard { lba: fields.u64()?, blocks: fields.u32()? },
            op::POWER_CYCLE_ID => Self::PowerCycleId,
            value => return Err(WireError::Unknown { field: "operation", value }),
        };
        fields.end()?;
        Ok(request)
    }
}

/// Replaces `body` by the frame body of `answer`.
///
/// # Errors
/// A text or payload is longer than this format allows, or a text is not printable.
pub fn encode_answer(answer: &Answer<'_>, body: &mut Zeroizing<Vec<u8>>) -> Result<(), WireError> {
    let data: &[u8] = match answer {
        Ok(Reply::Data(data)) => data,
        _ => &[],
    };
    bounded("payload", data.len(), MAX_DATA)?;
    make_room(body, 4 * MAX_TEXT + data.len());
    let reply = match answer {
        Err(refusal) => {
            body.push(refusal.to_byte());
            return Ok(());
        }
        Ok(reply) => reply,
    };
    body.push(STATUS_OK);
    match reply {
        Reply::Done => body.push(tag::DONE),
        Reply::Identity(identity) => {
            body.push(tag::IDENTITY);
            identity.encode(body)?;
        }
        Reply::Data(data) => {
            body.push(tag::DATA);
            body.extend_from_slice(data);
        }
        Reply::PowerCycleId(id) => {
            body.push(tag::POWER_CYCLE_ID);
            body.extend(id.to_be_bytes());
        }
    }
    Ok(())
}

/// Reads a frame body as an answer.
///
/// # Errors
/// The bytes are not an answer of this version.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, WireError> {
    let mut fields = Fields(body);
    let status = fields.u8()?;
    let answer = if status == STATUS_OK {
        Ok(match fields.u8()? {
            tag::DONE => Reply::Done,
            tag::IDENTITY => Reply::Identity(Identity::decode(&mut fields)?),
            tag::DATA => Reply::Data(fields.data()?),
            tag::POWER_CYCLE_ID => Reply::PowerCycleId(fields.u64()?),
            value => return Err(WireError::Unknown { field: "reply", value }),
        })
    } else {
        Err(Refusal::from_byte(status)?)
    };
    fields.end()?;
    Ok(answer)
}

/// Reads one frame into `body`, blocking; `false` when the peer closed between frames.
///
/// What `body` held is overwritten, and wiped before its memory is given back.
///
/// # Errors
/// The reader failed, ended inside a frame, or announced more than [`MAX_FRAME`].
pub fn read_frame(
    reader: &mut impl Read,
    body: &mut Zeroizing<Vec<u8>>,
) -> Result<bool, FrameError> {
    let mut prefix = [0u8; 4];
    loop {
        match reader.read(&mut prefix[..1]) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    reader.read_exact(&mut prefix[1..])?;
    let length = u32::from_be_bytes(prefix) as usize;
    bounded("body", length, MAX_FRAME)?;
    make_room(body, length);
    body.resize(length, 0);
    reader.read_exact(body)?;
    Ok(true)
}

/// Writes one frame, blocking.
///
/// # Errors
/// The writer failed, or `body` is longer than [`MAX_FRAME`].
pub fn write_frame(writer: &mut impl Write, body: &[u8]) -> Result<(), FrameError> {
    bounded("body", body.len(), MAX_FRAME)?;
    let prefix = (body.len() as u32).to_be_bytes();
    // One system call in the common case, so that the peer wakes once per frame.
    let sent = loop {
        match writer.write_vectored(&[IoSlice::new(&prefix), IoSlice::new(body)]) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(sent) => break sent,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    };
    if let Some(rest) = prefix.get(sent..) {
        writer.write_all(rest)?;
    }
    if let Some(rest) = body.get(sent.saturating_sub(prefix.len())..) {
        writer.write_all(rest)?;
    }
    writer.flush()?;
    Ok(())
}

const STATUS_OK: u8 = 0x00;

mod op {
    pub(super) const IDENTIFY: u8 = 0x01;
    pub(super) const IF_SEND: u8 = 0x02;
    pub(super) const IF_RECV: u8 = 0x03;
    pub(super) const READ: u8 = 0x04;
    pub(super) const WRITE: u8 = 0x05;
    pub(super) const FLUSH: u8 = 0x06;
    pub(super) const DISCARD: u8 = 0x07;
    pub(super) const POWER_CYCLE_ID: u8 = 0x08;
}

mod tag {
    pub(super) const DONE: u8 = 0x00;
    pub(super) const IDENTITY: u8 = 0x01;
    pub(super) const DATA: u8 = 0x02;
    pub(super) const POWER_CYCLE_ID: u8 = 0x03;
}

impl Refusal {
    /// Every status, in the order of its number on the wire from 0x01 on.
    pub const ALL: [Self; 10] = [
        Self::OtherInvalidCommandParameter,
        Self::SynchronousProtocolViolation,
        Self::InvalidTransferLength,
        Self::DataProtectionError,
        Self::LbaOutOfRange,
        Self::MediaError,
        Self::InvalidSecurityState,
        Self::InvalidSecurityProtocol,
        Self::NotSupported,
        Self::NotUnderstood,
    ];

    fn to_byte(self) -> u8 {
        match self {
            Self::OtherInvalidCommandParameter => 0x01,
            Self::SynchronousProtocolViolation => 0x02,
            Self::InvalidTransferLength => 0x03,
            Self::DataProtectionError => 0x04,
            Self::LbaOutOfRange => 0x05,
            Self::MediaError => 0x06,
            Self::InvalidSecurityState => 0x07,
            Self::InvalidSecurityProtocol => 0x08,
            Self::NotSupported => 0x09,
            Self::NotUnderstood => 0x0A,
        }
    }

    fn from_byte(value: u8) -> Result<Self, WireError> {
        Self::ALL
            .into_iter()
            .find(|refusal| refusal.to_byte() == value)
            .ok_or(WireError::Unknown { field: "status", value })
    }
}

impl Interface {
    fn to_byte(self) -> u8 {
        match self {
            Self::Nvme => 0x01,
            Self::Sata => 0x02,
            Self::Sas => 0x03,
        }
    }

    fn from_byte(value: u8) -> Result<Self, WireError> {
        [Self::Nvme, Self::Sata, Self::Sas]
            .into_iter()
            .find(|interface| interface.to_byte() == value)
            .ok_or(WireError::Unknown { field: "interface", value })
    }
}

impl Identity {
    fn encode(&self, body: &mut Vec<u8>) -> Result<(), WireError> {
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

    fn decode(fields: &mut Fields<'_>) -> Result<Self, WireError> {
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

/// The unread rest of a frame body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.take().map(u64::from_be_bytes)
    }

    fn length(&mut self) -> Result<u32, WireError> {
        let length = self.u32()?;
        bounded("length", length as usize, MAX_DATA)?;
        Ok(length)
    }

    fn data(&mut self) -> Result<&'a [u8], WireError> {
        let data = std::mem::take(&mut self.0);
        bounded("payload", data.len(), MAX_DATA)?;
        Ok(data)
    }

    fn optional<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<[u8; N]>, WireError> {
        match self.u8()? {
            0 => Ok(None),
            1 => self.take().map(Some),
            value => Err(WireError::Unknown { field, value }),
        }
    }

    fn text(&mut self, field: &'static str) -> Result<String, WireError> {
        let length = usize::from(self.u8()?);
        bounded(field, length, MAX_TEXT)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        self.0 = rest;
        let text = std::str::from_utf8(bytes).map_err(|_| WireError::Text(field))?;
        printable(field, text)?;
        Ok(text.to_owned())
    }

    fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
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

// These texts end up on terminals, where a control character is an attack.
fn printable(field: &'static str, text: &str) -> Result<(), WireError> {
    if text.chars().any(char::is_control) { Err(WireError::Text(field)) } else { Ok(()) }
}

fn bounded(field: &'static str, length: usize, limit: usize) -> Result<(), WireError> {
    if length > limit { Err(WireError::TooLong { field, length, limit }) } else { Ok(()) }
}

/// Empties `body` and makes it hold `capacity` bytes; old contents never go back to the heap unwiped.
fn make_room(body: &mut Zeroizing<Vec<u8>>, capacity: usize) {
    if body.capacity() < capacity {
        body.zeroize();
        **body = Vec::with_capacity(capacity);
    }
    body.clear();
}

// Payloads carry PINs: a debug print gives their length.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identify { version } => write!(f, "Identify {{ version: {version} }}"),
            Self::IfSend { protocol, specific, data } => {
                write!(f, "IfSend {{ {protocol:#04x}, {specific:#06x}, {} bytes }}", data.len())
            }
            Self::IfRecv { protocol, specific, length } => {
                write!(f, "IfRecv {{ {protocol:#04x}, {specific:#06x}, {length} bytes }}")
            }
            Self::Read { lba, blocks } => write!(f, "Read {{ lba: {lba}, blocks: {blocks} }}"),
            Self::Write { lba, data } => write!(f, "Write {{ lba: {lba}, {} bytes }}", data.len()),
            Self::Flush => f.write_str("Flush"),
            Self::Discard { lba, blocks } => {
                write!(f, "Discard {{ lba: {lba}, blocks: {blocks} }}")
            }
            Self::PowerCycleId => f.write_str("PowerCycleId"),
        }
    }
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("Done"),
            Self::Identity(identity) => identity.fmt(f),
            Self::Data(data) => write!(f, "Data {{ {} bytes }}", data.len()),
            Self::PowerCycleId(id) => write!(f, "PowerCycleId({id})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample_identity() -> Identity {
        Identity {
            version: 1,
            model: "Opalbox emulated drive".into(),
            serial: "OB000001".into(),
            firmware: "1.0".into(),
            nguid: Some([0x11; 16]),
            wwn: None,
            interface: Interface::Nvme,
            logical_block_size: 512,
            blocks: 2048,
            max_transfer: 65536,
            power_cycle_id: 7,
        }
    }

    fn encoded(request: Request<'_>) -> Vec<u8> {
        let mut body = Zeroizing::new(Vec::new());
        request.encode(&mut body).unwrap();
        body.to_vec()
    }

    fn encoded_answer(answer: &Answer<'_>) -> Vec<u8> {
        let mut body = Zeroizing::new(Vec::new());
        encode_answer(answer, &mut body).unwrap();
        body.to_vec()
    }

    // Typed from docs/formats/sim.md; a change here is a change of the format.
    #[test]
    fn golden_requests() {
        assert_eq!(encoded(Request::Identify { version: 1 }), [0x01, 0x00, 0x01]);
        assert_eq!(
            encoded(Request::IfSend { protocol: 1, specific: 0x07FE, data: &[0xAA, 0xBB] }),
            [0x02, 0x01, 0x07, 0xFE, 0xAA, 0xBB]
        );
        assert_eq!(
            encoded(Request::IfRecv { protocol: 2, specific: 0x1004, length: 512 }),
            [0x03, 0x02, 0x10, 0x04, 0x00, 0x00, 0x02, 0x00]
        );
        assert_eq!(
            encoded(Request::Read { lba: 0x0102, blocks: 3 }),
            [0x04, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]
        );
        assert_eq!(
            encoded(Request::Write { lba: 1, data: &[0xCC] }),
            [0x05, 0, 0, 0, 0, 0, 0, 0, 1, 0xCC]
        );
        assert_eq!(encoded(Request::Flush), [0x06]);
        assert_eq!(
            encoded(Request::Discard { lba: 9, blocks: 8 }),
            [0x07, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 8]
        );
        assert_eq!(encoded(Request::PowerCycleId), [0x08]);
    }

    #[test]
    fn golden_answers() {
        assert_eq!(encoded_answer(&Ok(Reply::Done)), [0x00, 0x00]);
        assert_eq!(encoded_answer(&Ok(Reply::Data(&[1, 2]))), [0x00, 0x02, 1, 2]);
        assert_eq!(
            encoded_answer(&Ok(Reply::PowerCycleId(7))),
            [0x00, 0x03, 0, 0, 0, 0, 0, 0, 0, 7]
        );
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(encoded_answer(&Err(refusal)), [index as u8 + 1]);
        }
        let mut expected = vec![0x00, 0x01, 0x00, 0x01, 0x01, 0, 0, 0x02, 0];
        expected.extend([0, 0, 0, 0, 0, 0, 0x08, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        expected.push(1);
        expected.extend([0x11; 16]);
        expected.push(0);
        expected.push(22);
        expected.extend(b"Opalbox emulated drive");
        expected.push(8);
        expected.extend(b"OB000001");
        expected.push(3);
        expected.extend(b"1.0");
        assert_eq!(encoded_answer(&Ok(Reply::Identity(sample_identity()))), expected);
    }

    #[test]
    fn control_characters_do_not_pass() {
        let mut identity = sample_identity();
        identity.model = "\u{1b}[2J".into();
        let mut body = Zeroizing::new(Vec::new());
        assert_eq!(
            encode_answer(&Ok(Reply::Identity(identity)), &mut body),
            Err(WireError::Text("model"))
        );
    }

    #[test]
    fn frames_are_bounded() {
        let mut body = Zeroizing::new(Vec::new());
        let huge = u32::MAX.to_be_bytes();
        assert!(matches!(
            read_frame(&mut huge.as_slice(), &mut body),
            Err(FrameError::Wire(WireError::TooLong { .. }))
        ));
        assert_eq!(body.capacity(), 0, "nothing is allocated for a frame that is refused");
        assert!(write_frame(&mut Vec::new(), &vec![0; MAX_FRAME + 1]).is_err());
        let data = vec![0; MAX_DATA + 1];
        let request = Request::IfSend { protocol: 1, specific: 1, data: &data };
        assert!(request.encode(&mut body).is_err());
        let recv = [0x03, 1, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF];
        assert!(matches!(Request::decode(&recv), Err(WireError::TooLong { .. })));
    }

    #[test]
    fn end_between_frames_is_an_end_and_inside_a_frame_an_error() {
        let mut body = Zeroizing::new(Vec::new());
        assert!(!read_frame(&mut [].as_slice(), &mut body).unwrap());
        assert!(read_frame(&mut [0, 0].as_slice(), &mut body).is_err());
        assert!(read_frame(&mut [0, 0, 0, 2, 1].as_slice(), &mut body).is_err());
    }

    #[test]
    fn largest_payload_makes_the_trip() {
        let data = vec![0x5A; MAX_DATA];
        let mut body = Zeroizing::new(Vec::new());
        Request::Write { lba: 0, data: &data }.encode(&mut body).unwrap();
        let mut wire = Vec::new();
        write_frame(&mut wire, &body).unwrap();
        let mut back = Zeroizing::new(Vec::new());
        assert!(read_frame(&mut wire.as_slice(), &mut back).unwrap());
        assert_eq!(Request::decode(&back).unwrap(), Request::Write { lba: 0, data: &data });
    }

    #[test]
    fn debug_shows_no_payload() {
        let secret = b"correct horse battery staple 123";
        let send = Request::IfSend { protocol: 1, specific: 0x1000, data: secret };
        assert_eq!(format!("{send:?}"), "IfSend { 0x01, 0x1000, 32 bytes }");
        assert_eq!(format!("{:?}", Reply::Data(secret)), "Data { 32 bytes }");
    }

    /// A writer that takes one byte a call, as a full socket may.
    struct Trickle(Vec<u8>);
    impl Write for Trickle {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.extend(data.first());
            Ok(data.len().min(1))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn text() -> impl Strategy<Value = String> {
        "[ -~]{0,64}"
    }

    prop_compose! {
        fn identity()(
            version: u16, model in text(), serial in text(), firmware in text(),
            nguid: Option<[u8; 16]>, wwn: Option<[u8; 8]>, interface in 1u8..=3,
            logical_block_size: u32, blocks: u64, max_transfer: u32, power_cycle_id: u64,
        ) -> Identity {
            Identity {
                version, model, serial, firmware, nguid, wwn,
                interface: Interface::from_byte(interface).unwrap(),
                logical_block_size, blocks, max_transfer, power_cycle_id,
            }
        }
    }

    proptest! {
        #[test]
        fn requests_round_trip(
            kind in 0u8..8, protocol: u8, specific: u16, lba: u64, blocks: u32,
            length in 0u32..=MAX_DATA as u32, data in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let request = match kind {
                0 => Request::Identify { version: specific },
                1 => Request::IfSend { protocol, specific, data: &data },
                2 => Request::IfRecv { protocol, specific, length },
                3 => Request::Read { lba, blocks },
                4 => Request::Write { lba, data: &data },
                5 => Request::Flush,
                6 => Request::Discard { lba, blocks },
                _ => Request::PowerCycleId,
            };
            let mut wire = Trickle(Vec::new());
            write_frame(&mut wire, &encoded(request)).unwrap();
            let mut body = Zeroizing::new(Vec::new());
            prop_assert!(read_frame(&mut wire.0.as_slice(), &mut body).unwrap());
            prop_assert_eq!(Request::decode(&body).unwrap(), request);
        }

        #[test]
        fn answers_round_trip(
            kind in 0u8..5, identity in identity(), id: u64, refusal in 0usize..10,
            data in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let answer = match kind {
                0 => Ok(Reply::Done),
                1 => Ok(Reply::Identity(identity)),
                2 => Ok(Reply::Data(&data)),
                3 => Ok(Reply::PowerCycleId(id)),
                _ => Err(Refusal::ALL[refusal]),
            };
            let body = encoded_answer(&answer);
            prop_assert_eq!(decode_answer(&body).unwrap(), answer);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut body = Zeroizing::new(Vec::new());
            let _ = read_frame(&mut bytes.as_slice(), &mut body);
            // What decodes is canonical: it encodes to the same bytes.
            if let Ok(request) = Request::decode(&bytes) {
                prop_assert_eq!(&encoded(request), &bytes);
            }
            if let Ok(answer) = decode_answer(&bytes) {
                prop_assert_eq!(&encoded_answer(&answer), &bytes);
            }
        }
    }
}
