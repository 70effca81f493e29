// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a message says, with everything secret already left out: safe to print, log and store.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Uid;
use crate::wire::Status;
use crate::wire::discovery::Discovery;

/// Who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// IF-SEND, host to drive.
    Send,
    /// IF-RECV, drive to host.
    Receive,
}

/// One interface command, decoded.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who sent it.
    pub direction: Direction,
    /// Security protocol.
    pub protocol: u8,
    /// Protocol specific value: the ComID, for protocols 1 and 2.
    pub specific: u16,
    /// Bytes of the transfer.
    pub bytes: usize,
    /// What it says.
    pub body: Body,
    /// What is missing, damaged or odd, in words.
    pub notes: Vec<String>,
}

/// What a message says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Body {
    /// Level 0 Discovery.
    Discovery(Discovery),
    /// Less than the header of a discovery answer.
    DiscoveryHeader {
        /// The length field, if its bytes are there.
        length: Option<u32>,
    },
    /// A ComPacket.
    ComPacket(ComPacketView),
    /// Less than a ComPacket header.
    ComPacketHeader {
        /// The ComID, if its bytes are there.
        com_id: Option<u16>,
    },
    /// Tokens with no packet around them.
    Tokens(Vec<Item>),
    /// Protocol 0: the security protocols a drive has.
    Protocols(Vec<u8>),
    /// Protocol 0: a certificate of this many bytes.
    Certificate(usize),
    /// Protocol 2: GET_COMID's answer.
    NewComId {
        /// ComID; 0 if none could be given.
        com_id: u16,
        /// Extension.
        extension: u16,
    },
    /// Protocol 2: HANDLE_COMID_REQUEST, or what GET_COMID_RESPONSE gives for one.
    ComIdRequest(ComIdRequest),
    /// Protocol 2: TPER_RESET.
    TperReset,
    /// Protocol 2: Block SID.
    BlockSid {
        /// A hardware reset ends the block.
        hardware_reset: bool,
        /// Freeze the Locking SP too.
        freeze: bool,
    },
    /// Protocol EF: ATA security.
    AtaSecurity(AtaSecurity),
    /// A protocol we do not know, or whose content must not be shown.
    Opaque,
}

/// A ComID management request, or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComIdRequest {
    /// ComID.
    pub com_id: u16,
    /// Extension.
    pub extension: u16,
    /// Request code; 0 in an answer says that there is none.
    pub code: u32,
    /// Answer only: bytes of data declared; 0 while the answer is pending.
    pub length: Option<u16>,
    /// Answer only: the first four bytes of data, a state or a result.
    pub result: Option<u32>,
}

/// ATA security as protocol EF reports it (SAT). Fields behind the cut are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtaSecurity {
    /// Time of SECURITY ERASE, in the units of ATA.
    pub erase_time: Option<u16>,
    /// Time of the enhanced erase.
    pub enhanced_erase_time: Option<u16>,
    /// Master password identifier.
    pub master_password_identifier: Option<u16>,
    /// Security status, as IDENTIFY DEVICE word 128 has it.
    pub status: Option<u16>,
}

impl AtaSecurity {
    /// Names of the status bits that are set; `None` if the status is not there.
    #[must_use]
    pub fn flags(&self) -> Option<Vec<&'static str>> {
        const BITS: [(u16, &str); 7] = [
            (0, "supported"),
            (1, "enabled"),
            (2, "locked"),
            (3, "frozen"),
            (4, "count expired"),
            (5, "enhanced erase"),
            (8, "maximum level"),
        ];
        let status = self.status?;
        Some(BITS.iter().filter(|(bit, _)| status >> bit & 1 == 1).map(|(_, n)| *n).collect())
    }
}

/// A ComPacket, decoded.
#[derive(Clone, Debug)]
pub struct ComPacketView {
    /// ComID.
    pub com_id: u16,
    /// ComID Extension.
    pub extension: u16,
    /// OutstandingData.
    pub outstanding_data: u32,
    /// MinTransfer.
    pub min_transfer: u32,
    /// Declared payload bytes.
    pub length: u32,
    /// Declared bytes that are not there.
    pub missing: usize,
    /// Packets.
    pub packets: Vec<PacketView>,
}

/// A Packet, decoded.
#[derive(Clone, Debug)]
pub struct PacketView {
    /// TPer session number.
    pub tsn: u32,
    /// Host session number.
    pub hsn: u32,
    /// The SP of the session, if its start was seen.
    pub sp: Option<Uid>,
    /// Sequence number.
    pub sequence: u32,
    /// 0 none, 1 ACK, 2 NAK.
    pub ack_type: u16,
    /// Sequence number acknowledged.
    pub acknowledgement: u32,
    /// Declared payload bytes.
    pub length: u32,
    /// Declared bytes that are not there.
    pub missing: usize,
    /// Sub-packets.
    pub sub_packets: Vec<SubPacketView>,
}

/// A SubPacket, decoded.
#[derive(Clone, Debug)]
pub struct SubPacketView {
    /// Kind.
    pub kind: u16,
    /// Declared payload bytes.
    pub length: u32,
    /// Declared bytes that are not there.
    pub missing: usize,
    /// Credit, if this is a credit control sub-packet.
    pub credit: Option<u32>,
    /// Calls, answers and control tokens.
    pub items: Vec<Item>,
}

/// What tokens say.
#[derive(Clone, Debug)]
pub enum Item {
    /// A method call.
    Call {
        /// InvokingID, if it is there.
        invoking: Option<Uid>,
        /// MethodID, if it is there.
        method: Option<Uid>,
        /// Parameters.
        parameters: Vec<Value>,
        /// Status, if it is there.
        status: Option<Status>,
    },
    /// An answer on a regular session.
    Answer {
        /// InvokingID and MethodID of the call it answers, if that was seen.
        to: Option<(Uid, Uid)>,
        /// Results.
        results: Vec<Value>,
        /// Status, if it is there.
        status: Option<Status>,
    },
    /// End of Session.
    EndOfSession,
    /// Start Transaction, with its status.
    StartTransaction(Option<u64>),
    /// End Transaction, with its status: 0 commit, 1 abort.
    EndTransaction(Option<u64>),
    /// End of Data and the status behind it, where the beginning is not there.
    End(Option<Status>),
    /// Tokens that are part of no call or answer.
    Loose(Vec<Value>),
}

/// A value that may be shown, or the place of one that may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An unsigned integer, and what it stands for.
    Uint(u64, Option<&'static str>),
    /// A signed integer.
    Int(i64),
    /// An 8-byte UID.
    Uid(Uid),
    /// A 4-byte half-UID.
    HalfUid(u32),
    /// Printable text.
    Text(String),
    /// Bytes that may be shown.
    Hex(Vec<u8>),
    /// A byte string that is not shown.
    Hidden {
        /// Its length.
        length: usize,
    },
    /// A number that is not shown.
    HiddenNumber,
    /// A value cut by the end of the data.
    Cut {
        /// What may be shown of it.
        shown: Option<String>,
        /// Bytes there.
        present: usize,
        /// Bytes missing.
        missing: usize,
    },
    /// A list.
    List {
        /// Its elements.
        items: Vec<Value>,
        /// Whether its end is there.
        closed: bool,
    },
    /// A value with a name.
    Named {
        /// The name.
        label: Label,
        /// The value; absent if the data ends before it.
        value: Option<Box<Value>>,
    },
    /// A control token among values.
    Control(&'static str),
}

/// The name of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// The signature names it; nothing of it is on the wire.
    Positional(&'static str),
    /// A number on the wire, and what it stands for.
    Number(u64, Option<&'static str>),
    /// A half-UID on the wire that selects a type.
    Selector(u32),
    /// Text on the wire.
    Text(String),
    /// Text on the wire that is not shown, of this length.
    Hidden(usize),
    /// The data ends before it.
    Absent,
}
