// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel for VAES with AVX2: two blocks in a vector.
#![expect(unsafe_code, reason = "the kernel reads and writes through Span")]

use std::arch::x86_64::*;

use super::Sectors;
use super::kernel::{AHEAD, GROUP, WAYS, xts_kernel};
use super::schedule::{RoundKeys, Schedule};
use super::span::Span;

type Vector = __m256i;

xts_kernel!("aes,avx2,vaes,vpclmulqdq", 2);

#[target_feature(enable = "avx2")]
#[inline]
fn broadcast(block: __m128i) -> Vector {
    _mm256_broadcastsi128_si256(block)
}

/// The numbers of two neighbouring sectors.
#[target_feature(enable = "avx2")]
#[inline]
fn numbers(first: u128, step: u128) -> Vector {
    let low = first as i64;
    let high = (first >> 64) as i64;
    _mm256_set_epi64x(high, low.wrapping_add(step as i64), high, low)
}

/// What leads from two sectors' numbers to the next two's.
#[target_feature(enable = "avx2")]
#[inline]
fn numbers_step(step: u128) -> Vector {
    broadcast(_mm_set_epi64x(0, (step as i64).wrapping_mul(2)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(a: Vector, b: Vector) -> Vector {
    _mm256_add_epi64(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(a: Vector, b: Vector) -> Vector {
    _mm256_xor_si256(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor3(a: Vector, b: Vector, c: Vector) -> Vector {
    xor(xor(a, b), c)
}

#[target_feature(enable = "avx2,vaes")]
#[inline]
fn encrypt_round(state: Vector, key: Vector) -> Vector {
    _mm256_aesenc_epi128(state, key)
}

#[target_feature(enable = "avx2,vaes")]
#[inline]
fn encrypt_last(state: Vector, key: Vector) -> Vector {
    _mm256_aesenclast_epi128(state, key)
}

#[target_feature(enable = "avx2,vaes")]
#[inline]
fn decrypt_round(state: Vector, key: Vector) -> Vector {
    _mm256_aesdec_epi128(state, key)
}

#[target_feature(enable = "avx2,vaes")]
#[inline]
fn decrypt_last(state: Vector, key: Vector) -> Vector {
    _mm256_aesdeclast_epi128(state, key)
}

/// Block `j` times x^(2 `at` + j), for `at` 0 to 3.
#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn power(start: Vector, at: usize) -> Vector {
    let up = _mm256_set_epi64x(1, 1, 0, 0);
    let up = add(up, _mm256_set1_epi64x(2 * at as i64));
    let carry = _mm256_srlv_epi64(start, _mm256_sub_epi64(_mm256_set1_epi64x(64), up));
    xor3(
        _mm256_sllv_epi64(start, up),
        _mm256_bslli_epi128::<8>(carry),
        _mm256_clmulepi64_epi128::<0x01>(carry, polynomial()),
    )
}

/// Every block times x^8.
#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn times_x8(tweak: Vector) -> Vector {
    let carry = _mm256_bsrli_epi128::<15>(tweak);
    let reduced = _mm256_clmulepi64_epi128::<0x00>(carry, polynomial());
    xor(_mm256_bslli_epi128::<1>(tweak), reduced)
}

/// Every block times x^16: from one stride to the next.
#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn times_stride(tweak: Vector) -> Vector {
    let carry = _mm256_bsrli_epi128::<14>(tweak);
    let reduced = _mm256_clmulepi64_epi128::<0x00>(carry, polynomial());
    xor(_mm256_bslli_epi128::<2>(tweak), reduced)
}

/// What reduces x^128: x^7 + x^2 + x + 1 (IEEE 1619 §5.2).
#[target_feature(enable = "avx2")]
#[inline]
fn polynomial() -> Vector {
    _mm256_set1_epi64x(0x87)
}
