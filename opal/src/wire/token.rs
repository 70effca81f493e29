// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tokens: the atoms and control bytes that method calls are made of (Core 2.01 §3.2.2.3).
//!
//! [`Tokens`] accepts every form a drive may send (wide atoms, leading zeros, empty atoms as
//! filler); [`Encoder`] always writes the shortest form.

use alloc::vec::Vec;
use core::fmt;
use zeroize::{Zeroize, Zeroizing};

use crate::Uid;

/// Control and sequence bytes.
mod byte {
    pub(super) const START_LIST: u8 = 0xF0;
    pub(super) const END_LIST: u8 = 0xF1;
    pub(super) const START_NAME: u8 = 0xF2;
    pub(super) const END_NAME: u8 = 0xF3;
    pub(super) const CALL: u8 = 0xF8;
    pub(super) const END_OF_DATA: u8 = 0xF9;
    pub(super) const END_OF_SESSION: u8 = 0xFA;
    pub(super) const START_TRANSACTION: u8 = 0xFB;
    pub(super) const END_TRANSACTION: u8 = 0xFC;
    pub(super) const EMPTY: u8 = 0xFF;
}

/// Longest data a medium atom holds.
const MEDIUM_MAX: usize = 0x7FF;
/// Longest data a long atom holds.
const LONG_MAX: usize = 0xFF_FFFF;

/// One token. Empty atoms (FF) never appear: they are skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// Unsigned integer, any width up to 64 bits after leading zeros.
    Uint(u64),
    /// Signed integer.
    Int(i64),
    /// Byte string, or the last fragment of a continued one.
    Bytes(&'a [u8]),
    /// A fragment of a byte string with more to follow.
    Continued(&'a [u8]),
    /// F0
    StartList,
    /// F1
    EndList,
    /// F2
    StartName,
    /// F3
    EndName,
    /// F8
    Call,
    /// F9
    EndOfData,
    /// FA
    EndOfSession,
    /// FB
    StartTransaction,
    /// FC
    EndTransaction,
}

impl Token<'_> {
    /// What kind of token this is, for messages; never its content.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Uint(_) => "unsigned integer",
            Self::Int(_) => "signed integer",
            Self::Bytes(_) => "byte string",
            Self::Continued(_) => "continued byte string",
            Self::StartList => "Start List",
            Self::EndList => "End List",
            Self::StartName => "Start Name",
            Self::EndName => "End Name",
            Self::Call => "Call",
            Self::EndOfData => "End of Data",
            Self::EndOfSession => "End of Session",
            Self::StartTransaction => "Start Transaction",
            Self::EndTransaction => "End Transaction",
        }
    }
}

/// Byte strings print as their length: they may be PINs.
impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uint(value) => write!(f, "Uint({value})"),
            Self::Int(value) => write!(f, "Int({value})"),
            Self::Bytes(data) => write!(f, "Bytes({} bytes)", data.len()),
            Self::Continued(data) => write!(f, "Continued({} bytes)", data.len()),
            other => f.write_str(other.kind()),
        }
    }
}

/// A token, where it stood and how many bytes it took, header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spanned<'a> {
    /// The token.
    pub token: Token<'a>,
    /// Offset of its first byte in the stream.
    pub offset: usize,
    /// Bytes taken, header included (what `MaxIndTokenSize` limits).
    pub size: usize,
}

/// Bytes that are no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset}: {kind}")]
pub struct TokenError {
    /// Offset of the offending token's first byte.
    pub offset: usize,
    /// What is wrong with it.
    pub kind: TokenErrorKind,
}

/// Why bytes are no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenErrorKind {
    /// The stream ends inside the token.
    #[error("truncated: the token needs {missing} more bytes")]
    Truncated {
        /// Bytes that are not there.
        missing: usize,
    },
    /// A reserved first byte.
    #[error("{0:02X} is a reserved token")]
    Reserved(u8),
    /// An integer or a continued fragment of length 0.
    #[error("an atom of length 0 that is no byte string")]
    EmptyAtom,
    /// An integer that does not fit in 64 bits.
    #[error("an integer wider than 64 bits")]
    TooWide,
}

/// Splits a byte stream into tokens. Stops for good at the first error.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    data: &'a [u8],
    offset: usize,
    failed: bool,
}

impl<'a> Tokens<'a> {
    /// Reads `data` from its start.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self { data, offset: 0, failed: false }
    }

    /// Offset of the next unread byte.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.data.get(self.offset..).unwrap_or_default()
    }

    fn skip_empty_atoms(&mut self) {
        while self.data.get(self.offset) == Some(&byte::EMPTY) {
            self.offset += 1;
        }
    }

    fn read(&mut self, first: u8) -> Result<Spanned<'a>, TokenErrorKind> {
        let control = match first {
            0x00..=0x3F => Some(Token::Uint(u64::from(first))),
            // Six-bit two's complement.
            0x40..=0x7F => Some(Token::Int(i64::from(i8::from_be_bytes([first << 2]) >> 2))),
            byte::START_LIST => Some(Token::StartList),
            byte::END_LIST => Some(Token::EndList),
            byte::START_NAME => Some(Token::StartName),
            byte::END_NAME => Some(Token::EndName),
            byte::CALL => Some(Token::Call),
            byte::END_OF_DATA => Some(Token::EndOfData),
            byte::END_OF_SESSION => Some(Token::EndOfSession),
            byte::START_TRANSACTION => Some(Token::StartTransaction),
            byte::END_TRANSACTION => Some(Token::EndTransaction),
            _ => None,
        };
        if let Some(token) = control {
            return Ok(Spanned { token, offset: self.offset, size: 1 });
        }

        let rest = self.rest();
        let at = |index: usize| {
            rest.get(index).copied().map(usize::from).ok_or(TokenErrorKind::Truncated {
                missing: (index + 1).saturating_sub(rest.len()),
            })
        };
        let (header, length, is_bytes, sign) = match first {
            0x80..=0xBF => (1, usize::from(first & 0x0F), first & 0x20 != 0, first & 0x10 != 0),
            0xC0..=0xDF => {
                (2, usize::from(first & 0x07) << 8 | at(1)?, first & 0x10 != 0, first & 0x08 != 0)
            }
            0xE0..=0xE3 => {
                (4, at(1)? << 16 | at(2)? << 8 | at(3)?, first & 0x02 != 0, first & 0x01 != 0)
            }
            _ => return Err(TokenErrorKind::Reserved(first)),
        };
        if length == 0 && (!is_bytes || sign) {
            return Err(TokenErrorKind::EmptyAtom);
        }
        let size = header + length;
        let data = rest
            .get(header..size)
            .ok_or_else(|| TokenErrorKind::Truncated { missing: size - rest.len() })?;
        let token = match (is_bytes, sign) {
            (true, false) => Token::Bytes(data),
            (true, true) => Token::Continued(data),
            (false, false) => Token::Uint(unsigned(data)?),
            (false, true) => Token::Int(signed(data)?),
        };
        Ok(Spanned { token, offset: self.offset, size })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<Spanned<'a>, TokenError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        self.skip_empty_atoms();
        let first = *self.data.get(self.offset)?;
        match self.read(first) {
            Ok(spanned) => {
                self.offset += spanned.size;
                Some(Ok(spanned))
            }
            Err(kind) => {
                self.failed = true;
                Some(Err(TokenError { offset: self.offset, kind }))
            }
        }
    }
}

fn unsigned(data: &[u8]) -> Result<u64, TokenErrorKind> {
    let leading = data.iter().take_while(|b| **b == 0).count();
    let value = data.get(leading..).unwrap_or_default();
    if value.len() > 8 {
        return Err(TokenErrorKind::TooWide);
    }
    Ok(value.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)))
}

fn signed(data: &[u8]) -> Result<i64, TokenErrorKind> {
    let negative = data.first().is_some_and(|b| b & 0x80 != 0);
    let fill = if negative { 0xFF } else { 0x00 };
    let extra = data.len().saturating_sub(8);
    let (head, value) = data.split_at(extra);
    let sign_kept = value.first().is_some_and(|b| (b & 0x80 != 0) == negative);
    if head.iter().any(|b| *b != fill) || !sign_kept {
        return Err(TokenErrorKind::TooWide);
    }
    let start = if negative { -1i64 } else { 0 };
    Ok(value.iter().fold(start, |sum, b| sum << 8 | i64::from(*b)))
}

/// Writes tokens in their shortest form. The buffer is wiped when it grows and when it is dropped,
/// because calls carry PINs.
#[derive(Default)]
pub struct Encoder {
    buffer: Zeroizing<Vec<u8>>,
}

impl Encoder {
    /// An empty stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The finished stream.
    #[must_use]
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.buffer
    }

    /// Unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        if let Ok(small @ 0..=0x3F) = u8::try_from(value) {
            return self.raw(&[small]);
        }
        let bytes = value.to_be_bytes();
        let used = significant(&bytes, 0);
        self.raw(&[0x80 | used.len() as u8]).raw(used)
    }

    /// Signed integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        if (-32..=31).contains(&value) {
            return self.raw(&[0x40 | (value.to_be_bytes()[7] & 0x3F)]);
        }
        let bytes = value.to_be_bytes();
        let fill = if value < 0 { 0xFF } else { 0 };
        let mut used = significant(&bytes, fill);
        // The top bit must still carry the sign.
        if used.first().is_none_or(|b| (b & 0x80 != 0) != (value < 0)) {
            used = &bytes[8 - used.len() - 1..];
        }
        self.raw(&[0x90 | used.len() as u8]).raw(used)
    }

    /// Boolean: the integers 0 and 1.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.uint(u64::from(value))
    }

    /// Byte string of at most 2^24 - 1 bytes; longer input is cut there, which no
    /// negotiated packet can hold anyway.
    pub fn bytes(&mut self, data: &[u8]) -> &mut Self {
        let data = data.get(..LONG_MAX).unwrap_or(data);
        let length = data.len();
        match length {
            0..=15 => self.raw(&[0xA0 | length as u8]),
            16..=MEDIUM_MAX => self.raw(&[0xD0 | (length >> 8) as u8, length as u8]),
            _ => self.raw(&[0xE2, (length >> 16) as u8, (length >> 8) as u8, length as u8]),
        };
        self.raw(data)
    }

    /// A UID: always eight bytes.
    pub fn uid(&mut self, uid: Uid) -> &mut Self {
        self.bytes(&uid.to_bytes())
    }

    /// A list around whatever `body` writes.
    pub fn list(&mut self, body: impl FnOnce(&mut Self)) -> &mut Self {
        self.raw(&[byte::START_LIST]);
        body(self);
        self.raw(&[byte::END_LIST])
    }

    /// A named value with an integer name (Core, Opal).
    pub fn named(&mut self, name: u64, value: impl FnOnce(&mut Self)) -> &mut Self {
        self.raw(&[byte::START_NAME]).uint(name);
        value(self);
        self.raw(&[byte::END_NAME])
    }

    /// A named value with a byte-string name (properties, Enterprise, half-UID selectors).
    pub fn named_bytes(&mut self, name: &[u8], value: impl FnOnce(&mut Self)) -> &mut Self {
        self.raw(&[byte::START_NAME]).bytes(name);
        value(self);
        self.raw(&[byte::END_NAME])
    }

    /// Any single token.
    pub fn token(&mut self, token: Token<'_>) -> &mut Self {
        match token {
            Token::Uint(value) => self.uint(value),
            Token::Int(value) => self.int(value),
            Token::Bytes(data) => self.bytes(data),
            Token::Continued(data) => self.continued(data),
            Token::StartList => self.raw(&[byte::START_LIST]),
            Token::EndList => self.raw(&[byte::END_LIST]),
            Token::StartName => self.raw(&[byte::START_NAME]),
            Token::EndName => self.raw(&[byte::END_NAME]),
            Token::Call => self.raw(&[byte::CALL]),
            Token::EndOfData => self.raw(&[byte::END_OF_DATA]),
            Token::EndOfSession => self.raw(&[byte::END_OF_SESSION]),
            Token::StartTransaction => self.raw(&[byte::START_TRANSACTION]),
            Token::EndTransaction => self.raw(&[byte::END_TRANSACTION]),
        }
    }

    /// A fragment of a continued byte string; the last fragment is written with [`Self::bytes`].
    fn continued(&mut self, data: &[u8]) -> &mut Self {
        let data = data.get(..LONG_MAX).unwrap_or(data);
        let length = data.len();
        match length {
            0..=15 => self.raw(&[0xB0 | length as u8]),
            16..=MEDIUM_MAX => self.raw(&[0xD8 | (length >> 8) as u8, length as u8]),
            _ => self.raw(&[0xE3, (length >> 16) as u8, (length >> 8) as u8, length as u8]),
        };
        self.raw(data)
    }

    /// Bytes that are tokens already.
    pub fn raw(&mut self, tokens: &[u8]) -> &mut Self {
        let needed = self.buffer.len() + tokens.len();
        if needed > self.buffer.capacity() {
            // Grow by hand: a plain reallocation would leave the old content behind.
            let mut larger = Vec::with_capacity(needed.max(512).next_power_of_two());
            larger.extend_from_slice(&self.buffer);
            self.buffer.zeroize();
            self.buffer = Zeroizing::new(larger);
        }
        self.buffer.extend_from_slice(tokens);
        self
    }
}

/// `bytes` without the leading bytes equal to `fill`, but never empty.
fn significant(bytes: &[u8; 8], fill: u8) -> &[u8] {
    let leading = bytes.iter().take(7).take_while(|b| **b == fill).count();
    &bytes[leading..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn all(data: &[u8]) -> Result<Vec<Token<'_>>, TokenError> {
        Tokens::new(data).map(|t| t.map(|s| s.token)).collect()
    }

    fn one(data: &[u8]) -> Token<'_> {
        let tokens = all(data).unwrap();
        assert_eq!(tokens.len(), 1, "{data:02X?}");
        tokens[0]
    }

    fn error(data: &[u8]) -> TokenErrorKind {
        all(data).unwrap_err().kind
    }

    #[test]
    fn tiny_atoms() {
        assert_eq!(one(&[0x00]), Token::Uint(0));
        assert_eq!(one(&[0x3F]), Token::Uint(63));
        assert_eq!(one(&[0x40]), Token::Int(0));
        assert_eq!(one(&[0x5F]), Token::Int(31));
        assert_eq!(one(&[0x60]), Token::Int(-32));
        assert_eq!(one(&[0x7F]), Token::Int(-1));
    }

    #[test]
    fn integers_in_every_width() {
        assert_eq!(one(&[0x81, 0x01]), Token::Uint(1));
        assert_eq!(one(&[0x84, 0, 0, 0, 1]), Token::Uint(1));
        assert_eq!(one(&[0xC0, 0x02, 0x10, 0x01]), Token::Uint(0x1001));
        assert_eq!(one(&[0xE0, 0, 0, 2, 0x10, 0x01]), Token::Uint(0x1001));
        assert_eq!(one(&[0x8A, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]), Token::Uint(0x0102_0304_0506_0708));
        assert_eq!(one(&[0x91, 0xFF]), Token::Int(-1));
        assert_eq!(one(&[0x92, 0x00, 0xFF]), Token::Int(255));
        assert_eq!(one(&[0xC8, 0x02, 0xFF, 0x00]), Token::Int(-256));
        assert_eq!(one(&[0xE1, 0, 0, 1, 0x80]), Token::Int(-128));
        assert_eq!(error(&[0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0]), TokenErrorKind::TooWide);
        assert_eq!(error(&[0x99, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), TokenErrorKind::TooWide);
    }

    #[test]
    fn byte_strings_in_every_form() {
        assert_eq!(one(&[0xA0]), Token::Bytes(&[]));
        assert_eq!(one(&[0xD0, 0x00]), Token::Bytes(&[]));
        assert_eq!(one(&[0xE2, 0, 0, 0]), Token::Bytes(&[]));
        assert_eq!(one(&[0xA3, b'a', b'b', b'c']), Token::Bytes(b"abc"));
        assert_eq!(one(&[0xD0, 0x03, b'a', b'b', b'c']), Token::Bytes(b"abc"));
        assert_eq!(one(&[0xE2, 0, 0, 3, b'a', b'b', b'c']), Token::Bytes(b"abc"));
        assert_eq!(one(&[0xB1, 7]), Token::Continued(&[7]));
        assert_eq!(one(&[0xD8, 0x01, 7]), Token::Continued(&[7]));
        assert_eq!(one(&[0xE3, 0, 0, 1, 7]), Token::Continued(&[7]));
    }

    #[test]
    fn what_is_no_token() {
        assert_eq!(error(&[0x80]), TokenErrorKind::EmptyAtom);
        assert_eq!(error(&[0xB0]), TokenErrorKind::EmptyAtom);
        assert_eq!(error(&[0xC0, 0]), TokenErrorKind::EmptyAtom);
        for reserved in (0xE4..=0xEF).chain(0xF4..=0xF7).chain(0xFD..=0xFE) {
            assert_eq!(error(&[reserved]), TokenErrorKind::Reserved(reserved));
        }
        assert_eq!(error(&[0xA3, 1]), TokenErrorKind::Truncated { missing: 2 });
        assert_eq!(error(&[0xE2, 0]), TokenErrorKind::Truncated { missing: 1 });
        let mut tokens = Tokens::new(&[0x01, 0xEF, 0x02]);
        assert!(tokens.next().unwrap().is_ok());
        assert_eq!(tokens.next().unwrap().unwrap_err().offset, 1);
        assert!(tokens.next().is_none(), "nothing after an error");
    }

    #[test]
    fn empty_atoms_are_filler() {
        assert_eq!(
            all(&[0xFF, 0x01, 0xFF, 0xFF, 0xF1, 0xFF]).unwrap(),
            [Token::Uint(1), Token::EndList]
        );
        assert_eq!(all(&[0xFF, 0xFF]).unwrap(), []);
    }

    #[test]
    fn shortest_forms() {
        let mut e = Encoder::new();
        e.uint(63).uint(64).uint(0x100).uint(u64::MAX).int(-33).int(-1).int(31).int(128);
        assert_eq!(
            e.as_bytes(),
            [
                0x3F, 0x81, 64, 0x82, 1, 0, 0x88, 255, 255, 255, 255, 255, 255, 255, 255, 0x91,
                0xDF, 0x7F, 0x5F, 0x92, 0, 0x80
            ]
        );
        let mut e = Encoder::new();
        e.bytes(&[7; 16]);
        assert_eq!(e.as_bytes()[..2], [0xD0, 0x10]);
        let mut e = Encoder::new();
        e.bytes(&vec![7; 2048]);
        assert_eq!(e.as_bytes()[..4], [0xE2, 0x00, 0x08, 0x00]);
    }

    proptest! {
        #[test]
        fn round_trips(u: u64, i: i64, b in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let mut e = Encoder::new();
            e.uint(u).int(i).bytes(&b);
            if !b.is_empty() {
                e.token(Token::Continued(&b));
            }
            let tokens = all(e.as_bytes()).unwrap();
            prop_assert_eq!(&tokens[..3], [Token::Uint(u), Token::Int(i), Token::Bytes(&b)]);
        }

        #[test]
        fn any_bytes_end(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut at = 0;
            for spanned in Tokens::new(&data).flatten() {
                prop_assert!(spanned.offset >= at);
                at = spanned.offset + spanned.size;
                prop_assert!(at <= data.len());
                let mut e = Encoder::new();
                e.token(spanned.token);
                prop_assert!(e.as_bytes().len() <= spanned.size, "never longer than it was");
                prop_assert_eq!(all(e.as_bytes()).unwrap(), [spanned.token]);
            }
        }
    }
}
