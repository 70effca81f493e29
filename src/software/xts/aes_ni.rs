// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel for AES-NI: one block in a vector.
#![expect(unsafe_code, reason = "the kernel reads and writes through Span")]

use std::arch::x86_64::*;

use super::Sectors;
use super::kernel::{AHEAD, GROUP, LINE, WAYS, ways, xts_kernel};
use super::schedule::{RoundKey, RoundKeys, Schedule};
use super::span::Span;

type Vector = __m128i;

xts_kernel!("aes,sse2", 1);

/// A sector's number.
#[target_feature(enable = "sse2")]
#[inline]
fn numbers(first: u128, _step: u128) -> Vector {
    _mm_set_epi64x((first >> 64) as i64, first as i64)
}

/// What leads from a sector's number to the next one's.
#[target_feature(enable = "sse2")]
#[inline]
fn numbers_step(step: u128) -> Vector {
    _mm_set_epi64x(0, step as i64)
}

#[target_feature(enable = "sse2")]
#[inline]
fn add(a: Vector, b: Vector) -> Vector {
    _mm_add_epi64(a, b)
}

#[target_feature(enable = "sse2")]
#[inline]
fn xor(a: Vector, b: Vector) -> Vector {
    _mm_xor_si128(a, b)
}

#[target_feature(enable = "sse2")]
#[inline]
fn xor3(a: Vector, b: Vector, c: Vector) -> Vector {
    xor(xor(a, b), c)
}

#[target_feature(enable = "aes")]
#[inline]
fn encrypt_round(state: Vector, key: Vector) -> Vector {
    _mm_aesenc_si128(state, key)
}

#[target_feature(enable = "aes")]
#[inline]
fn encrypt_last(state: Vector, key: Vector) -> Vector {
    _mm_aesenclast_si128(state, key)
}

#[target_feature(enable = "aes")]
#[inline]
fn decrypt_round(state: Vector, key: Vector) -> Vector {
    _mm_aesdec_si128(state, key)
}

#[target_feature(enable = "aes")]
#[inline]
fn decrypt_last(state: Vector, key: Vector) -> Vector {
    _mm_aesdeclast_si128(state, key)
}

/// Multiplication of tweaks by powers of x (IEEE 1619 §5.2), on tweaks to which a mask was added:
/// the last round key.
#[derive(Clone, Copy)]
struct Powers {
    mask: Vector,
}

impl Powers {
    #[target_feature(enable = "sse2")]
    #[inline]
    fn new(mask: Vector) -> Self {
        Self { mask }
    }

    /// The eight masked tweaks of a sector's first stride, from its encrypted number.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn first(&self, start: __m128i) -> [Vector; WAYS] {
        let mut tweaks = [start; WAYS];
        for way in 1..WAYS {
            tweaks[way] = times_x(tweaks[way - 1]);
        }
        ways!(WAY => xor(tweaks[WAY], self.mask))
    }

    /// Those of the next stride.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn next(&self, tweaks: [Vector; WAYS]) -> [Vector; WAYS] {
        self.first(times_x(xor(tweaks[WAYS - 1], self.mask)))
    }
}

/// The block times x, where x^128 is x^7 + x^2 + x + 1. Each 64-bit half that loses its top bit
/// sends a one to the other: as it is to the upper half, as that polynomial to the lower.
#[target_feature(enable = "sse2")]
#[inline]
fn times_x(block: Vector) -> Vector {
    let signs = _mm_srai_epi32::<31>(_mm_shuffle_epi32::<0b00_01_00_11>(block));
    let carry = _mm_and_si128(signs, _mm_set_epi32(0, 1, 0, 0x87));
    xor(_mm_add_epi64(block, block), carry)
}
