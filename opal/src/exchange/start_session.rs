// SPDX-License-Identifier: MIT OR Apache-2.0
//! StartSession and its answer, SyncSession.

use super::method::conversation;
use super::request::{self, StartSession};
use super::{ComId, Exchange, Request, SessionNumbers};
use crate::Uid;
use crate::error::Error;
use crate::spec::method::SYNC_SESSION;
use crate::wire::{Call, Reader};

/// Session numbers below this are reserved (Core 2.01 §3.3.7.1.1).
const FIRST_TSN: u32 = 4096;

/// Starts a session.
///
/// The exchange ends with the session's numbers, or with [`Error::Method`] and the drive's status
/// (`NOT_AUTHORIZED`: wrong PIN, disabled authority, or SID blocked).
#[must_use]
pub fn start_session(com_id: ComId, start: &StartSession<'_>) -> Exchange<SessionNumbers> {
    start_session_with(com_id, start.hsn, request::start_session(start))
}

/// Starts a session with a StartSession of any form, which gives it the number `hsn`.
#[must_use]
pub fn start_session_with(com_id: ComId, hsn: u32, request: Request) -> Exchange<SessionNumbers> {
    conversation(com_id, SessionNumbers::CONTROL, request, move |tokens| {
        let call = control_call("StartSession", tokens, SYNC_SESSION)?;
        let mut parameters = call.parameters;
        // Compared as values: a number sent in one byte may return in four (quirk B14).
        let echoed: u32 = parameters.uint_as()?;
        let tsn: u32 = parameters.uint_as()?;
        if echoed != hsn {
            return Err(Error::Mismatch("another session's SyncSession"));
        }
        if tsn < FIRST_TSN {
            return Err(Error::Mismatch("a session number that is reserved"));
        }
        Ok(SessionNumbers { tsn, hsn })
    })
}

/// Finds the call of `method` among the calls on the control session; a CloseSession of an earlier
/// session may stand before it.
pub(super) fn control_call<'a>(
    name: &'static str,
    tokens: &'a [u8],
    method: Uid,
) -> Result<Call<'a>, Error> {
    let mut reader = Reader::new(tokens);
    loop {
        let call = Call::parse(&mut reader)?;
        if call.method != method {
            if reader.at_end()? {
                return Err(Error::Mismatch("a call of another method"));
            }
            continue;
        }
        if !call.status.is_success() {
            return Err(Error::Method { method: name, status: call.status });
        }
        return Ok(call);
    }
}
