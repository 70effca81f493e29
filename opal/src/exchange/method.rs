// SPDX-License-Identifier: MIT OR Apache-2.0
//! A method call in an open session and what it returns.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::listen::Listener;
use super::{Cells, ComId, Exchange, Request, SessionNumbers};
use crate::Uid;
use crate::error::Error;
use crate::spec::protocol;
use crate::wire::packet::{Envelope, pad_to_block};
use crate::wire::token::{Encoder, Token, Tokens};
use crate::wire::{Answer, ParseError, Reader};

/// Calls a method in the session `numbers`.
#[must_use]
pub fn method(com_id: ComId, numbers: SessionNumbers, request: Request) -> Exchange<Results> {
    let name = request.name;
    conversation(com_id, numbers, request, move |tokens| Results::parse(name, tokens))
}

/// Ends the session: End of Session both ways (Core 2.01 §3.3.7.1.5).
#[must_use]
pub fn end_session(com_id: ComId, numbers: SessionNumbers) -> Exchange<()> {
    let mut tokens = Encoder::new();
    tokens.token(Token::EndOfSession);
    let request = Request { name: "EndSession", tokens: tokens.finish() };
    conversation(com_id, numbers, request, |tokens| {
        Ok(Reader::new(tokens).expect(Token::EndOfSession)?)
    })
}

/// Starts a transaction (Core 2.01 §3.3.7.3).
#[must_use]
pub fn start_transaction(com_id: ComId, numbers: SessionNumbers) -> Exchange<()> {
    let mut tokens = Encoder::new();
    tokens.token(Token::StartTransaction).uint(0);
    let request = Request { name: "StartTransaction", tokens: tokens.finish() };
    conversation(com_id, numbers, request, |tokens| {
        transaction_answer("StartTransaction", tokens, Token::StartTransaction)
    })
}

/// Ends a transaction: commits or aborts it.
#[must_use]
pub fn end_transaction(com_id: ComId, numbers: SessionNumbers, commit: bool) -> Exchange<()> {
    let name = if commit { "EndTransaction" } else { "AbortTransaction" };
    let mut tokens = Encoder::new();
    tokens.token(Token::EndTransaction).uint(u64::from(!commit));
    let request = Request { name, tokens: tokens.finish() };
    conversation(com_id, numbers, request, move |tokens| {
        match transaction_answer(name, tokens, Token::EndTransaction) {
            Err(Error::Method { .. }) if !commit => Ok(()),
            other => other,
        }
    })
}

fn transaction_answer(
    method: &'static str,
    tokens: &[u8],
    echo: Token<'static>,
) -> Result<(), Error> {
    let mut reader = Reader::new(tokens);
    if reader.accept(Token::EndOfSession)? {
        return Err(Error::SessionClosed);
    }
    reader.expect(echo)?;
    match reader.uint_as::<u8>()? {
        0 => Ok(()),
        status => Err(Error::Method { method, status: crate::wire::Status(status) }),
    }
}

/// Sends tokens in a session and decodes the tokens that come back.
pub(super) fn conversation<T: 'static>(
    com_id: ComId,
    numbers: SessionNumbers,
    request: Request,
    decode: impl FnOnce(&[u8]) -> Result<T, Error> + 'static,
) -> Exchange<T> {
    let envelope = Envelope {
        com_id: com_id.number,
        extension: com_id.extension,
        tsn: numbers.tsn,
        hsn: numbers.hsn,
        ..Envelope::default()
    };
    let bytes = pad_to_block(envelope.wrap(&request.tokens));
    let listener = Listener::new(request.name, com_id, numbers, decode);
    Exchange::new(request.name, (protocol::TCG, com_id.number), bytes, listener)
}

/// Name of the token in parse errors.
const CALL: &str = Token::Call.kind();

/// The tokens without Call: some firmware begins a row with one (quirk A22).
fn without_calls(reader: Reader<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut cleaned = Encoder::new();
    for spanned in Tokens::new(reader.rest()) {
        let token = spanned.map_err(ParseError::from)?.token;
        if token != Token::Call {
            cleaned.token(token);
        }
    }
    Ok(cleaned.finish())
}

/// What a successful method returned: the inside of its result list. Wiped when dropped.
pub struct Results {
    tokens: Zeroizing<Vec<u8>>,
}

impl Results {
    fn parse(method: &'static str, tokens: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(tokens);
        if reader.accept(Token::EndOfSession)? {
            return Err(Error::SessionClosed);
        }
        let start = reader.clone();
        let cleaned;
        let answer = match Answer::parse(&mut reader) {
            Err(ParseError::Unexpected { found: CALL, .. }) => {
                cleaned = without_calls(start)?;
                Answer::parse(&mut Reader::new(&cleaned))?
            }
            other => other?,
        };
        if !answer.status.is_success() {
            return Err(Error::Method { method, status: answer.status });
        }
        Ok(Self { tokens: Zeroizing::new(answer.results.rest().to_vec()) })
    }

    /// The result tokens.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.tokens)
    }

    /// The columns a Get of a row brought.
    ///
    /// # Errors
    /// The result is something else.
    pub fn cells(self) -> Result<Cells, Error> {
        Ok(Cells::parse(self.tokens)?)
    }

    /// One byte string, as from Random or a Get of a byte table. A drive that may not show it can
    /// leave it out (Core 2.01 §5.3.4.2.2).
    ///
    /// # Errors
    /// The result is something else.
    pub fn bytes(&self) -> Result<Option<&[u8]>, Error> {
        let mut reader = self.reader();
        if reader.at_end()? { Ok(None) } else { Ok(Some(reader.bytes()?)) }
    }

    /// One boolean, as from Authenticate.
    ///
    /// # Errors
    /// The result is something else.
    pub fn boolean(&self) -> Result<bool, Error> {
        Ok(self.reader().boolean()?)
    }

    /// A list of UIDs, as from Next and GetACL.
    ///
    /// # Errors
    /// The result is something else.
    pub fn uids(&self) -> Result<Vec<Uid>, Error> {
        let mut reader = self.reader();
        let mut uids = Vec::new();
        reader.start_list()?;
        while !reader.accept(Token::EndList)? {
            uids.push(reader.uid()?);
        }
        Ok(uids)
    }
}
