// SPDX-License-Identifier: MIT OR Apache-2.0
//! Level 0 discovery, ComID management, TPER_RESET and Block SID: what needs no session.

use alloc::vec;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::listen::{Plain, copy};
use super::{ComId, Exchange, Heard, Listen};
use crate::error::Error;
use crate::spec::protocol::{
    self, BLOCK_SID, DISCOVERY, GET_COM_ID, TCG, TCG_MANAGEMENT, TPER_RESET, com_id_request,
};
use crate::wire::packet::BLOCK;

/// Level 0 discovery: the raw bytes (Core 2.01 §3.3.6).
#[must_use]
pub fn discovery() -> Exchange<Zeroizing<Vec<u8>>> {
    Exchange::new("discovery", (TCG, DISCOVERY), Zeroizing::default(), Plain(Some(copy)))
}

/// The list of security protocols the interface carries (SPC-4): raw bytes.
#[must_use]
pub fn supported_protocols() -> Exchange<Zeroizing<Vec<u8>>> {
    let target = (protocol::INFORMATION, 0);
    Exchange::new("protocol list", target, Zeroizing::default(), Plain(Some(copy)))
        .with_transfer(BLOCK)
}

/// GET_COMID: asks for a ComID of one's own. A drive without any says so, and some hand out the
/// one of discovery (quirk B9).
#[must_use]
pub fn get_com_id() -> Exchange<ComId> {
    let decode = |data: &[u8]| match data {
        [0, 0, 0, 0, ..] => Err(Error::Unsupported("ComIDs on request, or has none left")),
        [a, b, c, d, ..] => Ok(ComId {
            number: u16::from_be_bytes([*a, *b]),
            extension: u16::from_be_bytes([*c, *d]),
        }),
        _ => Err(Error::Mismatch("a ComID cut short")),
    };
    let target = (TCG_MANAGEMENT, GET_COM_ID);
    Exchange::new("GET_COMID", target, Zeroizing::default(), Plain(Some(decode)))
        .with_transfer(BLOCK)
}

/// State of a ComID (Core 2.01 §3.3.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComIdState {
    /// No such ComID.
    Invalid,
    /// Not in use.
    Inactive,
    /// Handed out, no session yet.
    Issued,
    /// Has or had a session.
    Associated,
    /// A number the specification does not know.
    Other(u32),
}

/// VERIFY_COMID_VALID.
#[must_use]
pub fn verify_com_id(com_id: ComId) -> Exchange<ComIdState> {
    let request = com_id_request::VERIFY;
    management("VERIFY_COMID_VALID", com_id, request, |data| {
        Ok(match first_word(data)? {
            0 => ComIdState::Invalid,
            1 => ComIdState::Inactive,
            2 => ComIdState::Issued,
            3 => ComIdState::Associated,
            other => ComIdState::Other(other),
        })
    })
}

/// STACK_RESET: ends every session on this ComID and discards its answers. Sent only when a drive
/// says SP_BUSY or NO_SESSIONS_AVAILABLE and its user agrees: one drive is known to hang on it
/// (quirk B7).
#[must_use]
pub fn stack_reset(com_id: ComId) -> Exchange<()> {
    management("STACK_RESET", com_id, com_id_request::STACK_RESET, |data| match first_word(data)? {
        0 => Ok(()),
        _ => Err(Error::Mismatch("that the reset failed")),
    })
}

/// TPER_RESET: ends all sessions and locks what is set to lock on a programmatic reset. Has no
/// answer; works only while ProgrammaticResetEnable is set (Opal 2.30 §3.2.3).
#[must_use]
pub fn tper_reset() -> Exchange<()> {
    let payload = Zeroizing::new(vec![0; BLOCK]);
    Exchange::one_way("TPER_RESET", (TCG_MANAGEMENT, TPER_RESET), payload, ())
}

/// Block SID: SID cannot authenticate until the next power cycle. Has no answer; discovery tells
/// (Block SID feature set).
#[must_use]
pub fn block_sid(clear_on_hardware_reset: bool, freeze_locking_sp: bool) -> Exchange<()> {
    let mut payload = Zeroizing::new(vec![0; BLOCK]);
    for (byte, flag) in payload.iter_mut().zip([clear_on_hardware_reset, freeze_locking_sp]) {
        *byte = u8::from(flag);
    }
    Exchange::one_way("Block SID", (TCG_MANAGEMENT, BLOCK_SID), payload, ())
}

/// HANDLE_COMID_REQUEST and its response.
fn management<T: 'static>(
    name: &'static str,
    com_id: ComId,
    code: u32,
    decode: impl FnOnce(&[u8]) -> Result<T, Error> + 'static,
) -> Exchange<T> {
    let mut payload = Zeroizing::new(Vec::with_capacity(BLOCK));
    payload.extend_from_slice(&com_id.number.to_be_bytes());
    payload.extend_from_slice(&com_id.extension.to_be_bytes());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.resize(BLOCK, 0);
    let listener = Management { code, decode: Some(decode) };
    Exchange::new(name, (TCG_MANAGEMENT, com_id.number), payload, listener).with_transfer(BLOCK)
}

struct Management<F> {
    code: u32,
    decode: Option<F>,
}

impl<T, F: FnOnce(&[u8]) -> Result<T, Error>> Listen<T> for Management<F> {
    fn hear(&mut self, data: &[u8]) -> Heard<T> {
        let Some((header, rest)) = data.split_first_chunk::<12>() else {
            return Heard::Done(Err(Error::Mismatch("a ComID response cut short")));
        };
        let [_, _, _, _, c0, c1, c2, c3, _, _, n0, n1] = *header;
        let code = u32::from_be_bytes([c0, c1, c2, c3]);
        let length = usize::from(u16::from_be_bytes([n0, n1]));
        // "No response available" or length 0: the drive is still at it.
        if code == 0 || (code == self.code && length == 0) {
            return Heard::NotReady;
        }
        if code != self.code {
            return Heard::Done(Err(Error::Mismatch("another ComID request's response")));
        }
        let decode = self.decode.take();
        Heard::Done(match (decode, rest.get(..length)) {
            (Some(decode), Some(data)) => decode(data),
            (_, None) => Err(Error::Mismatch("a ComID response cut short")),
            (None, _) => Err(super::ENDED),
        })
    }
}

fn first_word(data: &[u8]) -> Result<u32, Error> {
    data.first_chunk()
        .map(|word| u32::from_be_bytes(*word))
        .ok_or(Error::Mismatch("a ComID response cut short"))
}
