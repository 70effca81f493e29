// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where tokens begin in a piece cut out of the middle of a message.

use crate::spec::name;
use crate::wire::token::{Token, TokenErrorKind, Tokens};

/// Places tried; the inside of a cut token is seldom longer than a PIN.
const CANDIDATES: usize = 256;

/// Offset of the first byte that is the beginning of a token, as far as can be told; the length of
/// `data` if nowhere.
pub(super) fn first_token(data: &[u8]) -> usize {
    if begins_with_known_name(data) {
        return 0;
    }
    // A list or name that ends or begins, from where all is well-formed to the end.
    data.iter()
        .enumerate()
        .filter(|(_, byte)| matches!(byte, 0xF0..=0xF3 | 0xF8 | 0xF9))
        .map(|(at, _)| at)
        .take(CANDIDATES)
        .find(|at| reads_to_the_end(data.get(*at..).unwrap_or_default()))
        .unwrap_or(data.len())
}

fn begins_with_known_name(data: &[u8]) -> bool {
    let Some(Ok(first)) = Tokens::new(data).next() else { return false };
    matches!(first.token, Token::Bytes(text) if name::property(text).is_some())
}

fn reads_to_the_end(data: &[u8]) -> bool {
    Tokens::new(data).all(|token| match token {
        Ok(_) => true,
        Err(error) => matches!(error.kind, TokenErrorKind::Truncated { .. }),
    })
}
