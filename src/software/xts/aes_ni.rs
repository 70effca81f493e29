// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel for AES-NI: one block in a vector.
#![expect(unsafe_code, reason = "the kernel reads and writes through Span")]

use std::arch::x86_64::*;

use super::Sectors;
use super::kernel::{AHEAD, GROUP, WAYS, xts_kernel};
use super::schedule::{RoundKeys, Schedule};
use super::span::Span;

type Vector = __m128i;

xts_kernel!("aes,pclmulqdq,sse2", 1);

#[target_feature(enable = "sse2")]
#[inline]
fn broadcast(block: __m128i) -> Vector {
    block
}

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

/// The block times x^`at`, for `at` 0 to 7.
#[target_feature(enable = "sse2,pclmulqdq")]
#[inline]
fn power(start: Vector, at: usize) -> Vector {
    let up = _mm_cvtsi32_si128(at as i32);
    let carry = _mm_srl_epi64(start, _mm_cvtsi32_si128(64 - at as i32));
    xor3(
        _mm_sll_epi64(start, up),
        _mm_bslli_si128::<8>(carry),
        _mm_clmulepi64_si128::<0x01>(carry, polynomial()),
    )
}

/// The block times x^8.
#[target_feature(enable = "sse2,pclmulqdq")]
#[inline]
fn times_x8(tweak: Vector) -> Vector {
    let carry = _mm_bsrli_si128::<15>(tweak);
    let reduced = _mm_clmulepi64_si128::<0x00>(carry, polynomial());
    xor(_mm_bslli_si128::<1>(tweak), reduced)
}

/// From one stride of eight blocks to the next.
#[target_feature(enable = "sse2,pclmulqdq")]
#[inline]
fn times_stride(tweak: Vector) -> Vector {
    times_x8(tweak)
}

/// What reduces x^128: x^7 + x^2 + x + 1 (IEEE 1619 §5.2).
#[target_feature(enable = "sse2")]
#[inline]
fn polynomial() -> Vector {
    _mm_set1_epi64x(0x87)
}
