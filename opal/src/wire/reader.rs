// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Reader`]: takes a token stream apart by asking for what should come next.

use core::fmt;

use crate::Uid;
use crate::wire::token::{Spanned, Token, TokenError, Tokens};

/// Lists and names nested deeper than this are refused: no method needs a third of it.
pub const MAX_DEPTH: usize = 16;

/// The name of a named value: a number in Core and Opal, text in properties and Enterprise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// Integer name.
    Number(u64),
    /// Byte-string name.
    Text(&'a [u8]),
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "0x{number:X}"),
            Self::Text(text) => write!(f, "{:?}", alloc::string::String::from_utf8_lossy(text)),
        }
    }
}

/// The stream does not hold what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Another token stood there.
    #[error("offset {offset}: expected {expected}, found {found}")]
    Unexpected {
        /// Offset of the token.
        offset: usize,
        /// What should have stood there.
        expected: &'static str,
        /// Its kind; never its content.
        found: &'static str,
    },
    /// The stream ended.
    #[error("offset {offset}: expected {expected}, but the data ends")]
    Ended {
        /// Length of the stream.
        offset: usize,
        /// What should have followed.
        expected: &'static str,
    },
    /// A value of the right kind that the protocol does not allow here.
    #[error("offset {offset}: {what}")]
    Value {
        /// Offset of the token.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Bytes that are no token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Pull parser over tokens. Cheap to clone, so a caller can look ahead and go back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    tokens: Tokens<'a>,
    data: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `data` from its start.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self { tokens: Tokens::new(data), data }
    }

    /// Offset of the next unread byte.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.tokens.offset()
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.tokens.rest()
    }

    /// The next token without taking it; `None` at the end.
    ///
    /// # Errors
    /// The bytes there are no token.
    pub fn peek(&self) -> Result<Option<Spanned<'a>>, ParseError> {
        Ok(self.tokens.clone().next().transpose()?)
    }

    /// Whether nothing but filler is left.
    ///
    /// # Errors
    /// The bytes there are no token.
    pub fn at_end(&self) -> Result<bool, ParseError> {
        Ok(self.peek()?.is_none())
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// The stream ends or holds no token there.
    pub fn next(&mut self, expected: &'static str) -> Result<Spanned<'a>, ParseError> {
        match self.tokens.next() {
            Some(spanned) => Ok(spanned?),
            None => Err(ParseError::Ended { offset: self.data.len(), expected }),
        }
    }

    /// Takes exactly `token`.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn expect(&mut self, token: Token<'static>) -> Result<(), ParseError> {
        let found = self.next(token.kind())?;
        if found.token == token { Ok(()) } else { Err(unexpected(found, token.kind())) }
    }

    /// Takes `token` if it is next; says whether it was.
    ///
    /// # Errors
    /// The bytes there are no token.
    pub fn accept(&mut self, token: Token<'static>) -> Result<bool, ParseError> {
        let there = self.peek()?.is_some_and(|s| s.token == token);
        if there {
            self.next(token.kind())?;
        }
        Ok(there)
    }

    /// Takes an unsigned integer of any width. A non-negative signed one counts.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn uint(&mut self) -> Result<u64, ParseError> {
        let spanned = self.next("unsigned integer")?;
        match spanned.token {
            Token::Uint(value) => Ok(value),
            Token::Int(value) => u64::try_from(value).map_err(|_| ParseError::Value {
                offset: spanned.offset,
                what: "a negative integer where an unsigned one belongs",
            }),
            _ => Err(unexpected(spanned, "unsigned integer")),
        }
    }

    /// Takes an integer that fits in `T`.
    ///
    /// # Errors
    /// Something else stands there, or the value is too large.
    pub fn uint_as<T: TryFrom<u64>>(&mut self) -> Result<T, ParseError> {
        let offset = self.offset();
        T::try_from(self.uint()?)
            .map_err(|_| ParseError::Value { offset, what: "an integer larger than its type" })
    }

    /// Takes a boolean: 0 or 1 (Core 2.01 §5.1.4.2.2).
    ///
    /// # Errors
    /// Something else stands there.
    pub fn boolean(&mut self) -> Result<bool, ParseError> {
        let offset = self.offset();
        match self.uint()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ParseError::Value { offset, what: "a boolean that is neither 0 nor 1" }),
        }
    }

    /// Takes a byte string that is not continued.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn bytes(&mut self) -> Result<&'a [u8], ParseError> {
        let spanned = self.next("byte string")?;
        match spanned.token {
            Token::Bytes(data) => Ok(data),
            _ => Err(unexpected(spanned, "byte string")),
        }
    }

    /// Takes an 8-byte UID.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn uid(&mut self) -> Result<Uid, ParseError> {
        let spanned = self.next("8-byte UID")?;
        let uid = match spanned.token {
            Token::Bytes(data) => Uid::from_bytes(data),
            _ => None,
        };
        uid.ok_or_else(|| unexpected(spanned, "8-byte UID"))
    }

    /// Takes Start List.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn start_list(&mut self) -> Result<(), ParseError> {
        self.expect(Token::StartList)
    }

    /// Takes End List.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn end_list(&mut self) -> Result<(), ParseError> {
        self.expect(Token::EndList)
    }

    /// Takes Start Name and the name behind it, if a named value is next.
    ///
    /// # Errors
    /// The name is neither integer nor byte string.
    pub fn start_name(&mut self) -> Result<Option<Name<'a>>, ParseError> {
        if !self.accept(Token::StartName)? {
            return Ok(None);
        }
        let spanned = self.next("name")?;
        match spanned.token {
            Token::Uint(number) => Ok(Some(Name::Number(number))),
            Token::Bytes(text) => Ok(Some(Name::Text(text))),
            _ => Err(unexpected(spanned, "name")),
        }
    }

    /// Takes End Name.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn end_name(&mut self) -> Result<(), ParseError> {
        self.expect(Token::EndName)
    }

    /// Takes one whole value (an atom, or everything from a Start List or Start Name to its end)
    /// and returns a reader over just that.
    ///
    /// # Errors
    /// Badly nested, deeper than [`MAX_DEPTH`], or no value there.
    pub fn value(&mut self) -> Result<Reader<'a>, ParseError> {
        let start = self.offset();
        let mut open = [Token::EndList; MAX_DEPTH];
        let mut depth = 0;
        loop {
            let spanned = self.next("value")?;
            match spanned.token {
                Token::StartList | Token::StartName => {
                    let slot = open.get_mut(depth).ok_or(ParseError::Value {
                        offset: spanned.offset,
                        what: "lists nested too deeply",
                    })?;
                    *slot = if spanned.token == Token::StartList {
                        Token::EndList
                    } else {
                        Token::EndName
                    };
                    depth += 1;
                }
                Token::EndList | Token::EndName => {
                    let closes = depth.checked_sub(1).and_then(|top| open.get(top));
                    if closes != Some(&spanned.token) {
                        return Err(unexpected(spanned, "a well-nested value"));
                    }
                    depth -= 1;
                }
                Token::Uint(_) | Token::Int(_) | Token::Bytes(_) => {}
                // A chain of fragments is one value.
                Token::Continued(_) => continue,
                _ => return Err(unexpected(spanned, "value")),
            }
            if depth == 0 {
                let end = self.offset();
                return Ok(Reader::new(self.data.get(start..end).unwrap_or_default()));
            }
        }
    }
}

fn unexpected(found: Spanned<'_>, expected: &'static str) -> ParseError {
    ParseError::Unexpected { offset: found.offset, expected, found: found.token.kind() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_what_comes_next() {
        let mut r = Reader::new(&[0xF0, 0xF2, 0x03, 0xA1, 7, 0xF3, 0xF1]);
        r.start_list().unwrap();
        assert_eq!(r.start_name().unwrap(), Some(Name::Number(3)));
        assert_eq!(r.bytes().unwrap(), [7]);
        r.end_name().unwrap();
        assert_eq!(r.start_name().unwrap(), None);
        r.end_list().unwrap();
        assert!(r.at_end().unwrap());
    }

    #[test]
    fn errors_say_where_and_what() {
        let mut r = Reader::new(&[0x01, 0xF1]);
        r.uint().unwrap();
        assert_eq!(
            r.uint().unwrap_err(),
            ParseError::Unexpected { offset: 1, expected: "unsigned integer", found: "End List" }
        );
        assert_eq!(
            r.uint().unwrap_err(),
            ParseError::Ended { offset: 2, expected: "unsigned integer" }
        );
        assert!(Reader::new(&[0x02]).boolean().is_err());
        assert!(Reader::new(&[0x7F]).uint().is_err());
        assert!(Reader::new(&[0xA7, 1, 2, 3, 4, 5, 6, 7]).uid().is_err());
        assert_eq!(
            Reader::new(&[0x82, 1, 0]).uint_as::<u8>().unwrap_err(),
            ParseError::Value { offset: 0, what: "an integer larger than its type" }
        );
    }

    #[test]
    fn whole_values() {
        let data = [0xF0, 0xF0, 0x01, 0xF1, 0xF2, 0x00, 0x05, 0xF3, 0xF1, 0x09];
        let mut r = Reader::new(&data);
        assert_eq!(r.value().unwrap().rest(), &data[..9]);
        assert_eq!(r.uint().unwrap(), 9);
        assert!(Reader::new(&[0xF0, 0xF3]).value().is_err());
        assert!(Reader::new(&[0xF1]).value().is_err());
        assert!(Reader::new(&[0xF0; 40]).value().is_err(), "depth is bounded");
    }
}
