// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deterministic CBOR (RFC 8949 §4.2.1): whatever is hashed, MACed or stored has one encoding.

use core::convert::Infallible;

use minicbor::Encoder;

/// What an encoding step returns.
pub(super) type Written = Result<(), minicbor::encode::Error<Infallible>>;

/// The bytes that `write` encodes.
pub(super) fn cbor(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) -> Vec<u8> {
    let mut bytes = Vec::new();
    if write(&mut Encoder::new(&mut bytes)).is_err() {
        unreachable!("a vector takes every byte")
    }
    bytes
}
