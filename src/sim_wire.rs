// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire format of the sim socket: how a host talks to an emulated drive over a Unix socket.
//!
//! Bytes only, used by both ends; `docs/formats/sim.md` is its description. A connection carries one
//! request at a time: a frame from the host, then a frame from the drive. Nothing here waits on its
//! own account; time limits belong to whoever owns the socket.

mod frame;
mod identity;
#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

pub use frame::{FrameError, read_frame, write_frame};
pub use identity::{Identity, Interface};

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
