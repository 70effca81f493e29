// SPDX-License-Identifier: MIT OR Apache-2.0
//! Method calls and their answers as token streams (Core 2.01 §3.2.4).

use alloc::vec::Vec;
use zeroize::Zeroizing;

use crate::Uid;
use crate::wire::reader::{ParseError, Reader};
use crate::wire::status::Status;
use crate::wire::token::{Encoder, Token};

/// Writes a method call: `Call, InvokingID, MethodID, [ parameters ], End of Data, [ status ]`.
pub struct CallBuilder {
    tokens: Encoder,
}

impl CallBuilder {
    /// A call of `method` on `invoking`.
    #[must_use]
    pub fn new(invoking: Uid, method: Uid) -> Self {
        let mut tokens = Encoder::new();
        tokens.token(Token::Call).uid(invoking).uid(method).token(Token::StartList);
        Self { tokens }
    }

    /// Appends parameters.
    #[must_use]
    pub fn with(mut self, parameters: impl FnOnce(&mut Encoder)) -> Self {
        parameters(&mut self.tokens);
        self
    }

    /// The finished call.
    #[must_use]
    pub fn finish(mut self) -> Zeroizing<Vec<u8>> {
        self.tokens.token(Token::EndList);
        end(&mut self.tokens, Status::SUCCESS);
        self.tokens.finish()
    }
}

/// Writes an answer on a regular session: `[ results ], End of Data, [ status ]`. A failure has
/// empty results, whatever `results` would write (Core 2.01 §3.2.4.2).
#[must_use]
pub fn answer(status: Status, results: impl FnOnce(&mut Encoder)) -> Zeroizing<Vec<u8>> {
    let mut tokens = Encoder::new();
    tokens.token(Token::StartList);
    if status.is_success() {
        results(&mut tokens);
    }
    tokens.token(Token::EndList);
    end(&mut tokens, status);
    tokens.finish()
}

/// Writes an answer on the control session: a call back to the host (Core 2.01 §5.2.1).
#[must_use]
pub fn control_answer(
    method: Uid,
    status: Status,
    parameters: impl FnOnce(&mut Encoder),
) -> Zeroizing<Vec<u8>> {
    let mut tokens = Encoder::new();
    tokens.token(Token::Call).uid(SESSION_MANAGER).uid(method).token(Token::StartList);
    parameters(&mut tokens);
    tokens.token(Token::EndList);
    end(&mut tokens, status);
    tokens.finish()
}

/// SMUID, the InvokingID of the control session.
const SESSION_MANAGER: Uid = Uid::new(0, 0xFF);

fn end(tokens: &mut Encoder, status: Status) {
    tokens.token(Token::EndOfData).list(|t| {
        t.uint(u64::from(status.0)).uint(0).uint(0);
    });
}

/// A call as read from the wire.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// InvokingID.
    pub invoking: Uid,
    /// MethodID.
    pub method: Uid,
    /// What stands between the parameter list's brackets.
    pub parameters: Reader<'a>,
    /// Status as the sender wrote it: a host writes SUCCESS unless it calls the method off.
    pub status: Status,
}

impl<'a> Call<'a> {
    /// Takes a call from `reader`.
    ///
    /// # Errors
    /// The tokens there are no well-formed call.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        reader.expect(Token::Call)?;
        let invoking = reader.uid()?;
        let method = reader.uid()?;
        let parameters = bracketed(reader)?;
        let status = status_list(reader)?;
        Ok(Self { invoking, method, parameters, status })
    }
}

/// An answer as read from the wire.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// What stands between the result list's brackets.
    pub results: Reader<'a>,
    /// Status of the method.
    pub status: Status,
}

impl<'a> Answer<'a> {
    /// Takes an answer from `reader`.
    ///
    /// # Errors
    /// The tokens there are no well-formed answer.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let results = bracketed(reader)?;
        let status = status_list(reader)?;
        Ok(Self { results, status })
    }
}

/// Takes a list and returns a reader over its inside.
fn bracketed<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, ParseError> {
    let offset = reader.offset();
    let mut list = reader.value()?;
    let whole = list.rest();
    if !list.accept(Token::StartList)? {
        return Err(ParseError::Unexpected {
            offset,
            expected: "Start List",
            found: "another value",
        });
    }
    let start = list.offset();
    Ok(Reader::new(whole.get(start..whole.len().saturating_sub(1)).unwrap_or_default()))
}

/// Takes End of Data and the status list. More than three values are allowed and ignored
/// (Core 2.01 §3.2.4.2).
fn status_list(reader: &mut Reader<'_>) -> Result<Status, ParseError> {
    reader.expect(Token::EndOfData)?;
    reader.start_list()?;
    let status = Status(reader.uint_as()?);
    while !reader.accept(Token::EndList)? {
        reader.uint()?;
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_round_trip() {
        let bytes = CallBuilder::new(Uid::new(1, 2), Uid::new(6, 0x16))
            .with(|t| {
                t.list(|t| {
                    t.named(3, |t| {
                        t.uint(7);
                    });
                });
            })
            .finish();
        let mut reader = Reader::new(&bytes);
        let call = Call::parse(&mut reader).unwrap();
        assert_eq!((call.invoking, call.method), (Uid::new(1, 2), Uid::new(6, 0x16)));
        assert_eq!(call.parameters.rest(), [0xF0, 0xF2, 0x03, 0x07, 0xF3, 0xF1]);
        assert!(reader.at_end().unwrap());
    }

    #[test]
    fn answers() {
        let bytes = answer(Status::SUCCESS, |t| {
            t.bytes(b"x");
        });
        assert_eq!(&bytes[..], [0xF0, 0xA1, b'x', 0xF1, 0xF9, 0xF0, 0, 0, 0, 0xF1]);
        let failed = answer(Status::NOT_AUTHORIZED, |t| {
            t.bytes(b"x");
        });
        assert_eq!(&failed[..], [0xF0, 0xF1, 0xF9, 0xF0, 1, 0, 0, 0xF1]);
        let parsed = Answer::parse(&mut Reader::new(&failed)).unwrap();
        assert_eq!(parsed.status, Status::NOT_AUTHORIZED);
    }

    #[test]
    fn filler_and_extra_status_values_are_tolerated() {
        let bytes = [0xFF, 0xF0, 0xFF, 0xF1, 0xF9, 0xF0, 0x0C, 0, 0, 5, 0xFF, 0xF1];
        let answer = Answer::parse(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(answer.status, Status::INVALID_PARAMETER);
        assert!(answer.results.at_end().unwrap());
    }

    #[test]
    fn a_result_that_is_no_list() {
        assert!(Answer::parse(&mut Reader::new(&[0x01, 0xF9, 0xF0, 0, 0, 0, 0xF1])).is_err());
    }
}
