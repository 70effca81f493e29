// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes on the wire: tokens, packets, method calls and their answers, status codes.
//!
//! Everything here reads from a borrowed slice without recursion and without allocation; every
//! error carries the byte offset and what was expected there. Whatever a drive sends, reading it
//! ends in a value or an error.

pub mod call;
pub mod discovery;
pub mod packet;
pub mod print;
pub mod reader;
pub mod status;
pub mod token;

pub use call::{Answer, Call, CallBuilder};
pub use discovery::{Discovery, Feature, FeatureCode};
pub use packet::{ComPacket, Packet, SubPacket};
pub use reader::{Name, ParseError, Reader};
pub use status::Status;
pub use token::{Encoder, Token, TokenError, Tokens};
