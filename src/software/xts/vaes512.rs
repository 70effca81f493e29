// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel for VAES with AVX-512: four blocks in a vector.
#![expect(unsafe_code, reason = "the kernel reads and writes through Span")]

use std::arch::x86_64::*;

use super::Sectors;
use super::kernel::{AHEAD, GROUP, WAYS, xts_kernel};
use super::schedule::{RoundKeys, Schedule};
use super::span::Span;

type Vector = __m512i;

xts_kernel!("aes,avx512f,avx512bw,vaes,vpclmulqdq", 4);

#[target_feature(enable = "avx512f")]
#[inline]
fn broadcast(block: __m128i) -> Vector {
    _mm512_broadcast_i32x4(block)
}

/// The numbers of four neighbouring sectors.
#[target_feature(enable = "avx512f")]
#[inline]
fn numbers(first: u128, step: u128) -> Vector {
    let low = first as i64;
    let high = (first >> 64) as i64;
    let step = step as i64;
    let [one, two, three] = [1, 2, 3].map(|times| low.wrapping_add(step.wrapping_mul(times)));
    _mm512_set_epi64(high, three, high, two, high, one, high, low)
}

/// What leads from four sectors' numbers to the next four's.
#[target_feature(enable = "avx512f")]
#[inline]
fn numbers_step(step: u128) -> Vector {
    broadcast(_mm_set_epi64x(0, (step as i64).wrapping_mul(4)))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(a: Vector, b: Vector) -> Vector {
    _mm512_add_epi64(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor(a: Vector, b: Vector) -> Vector {
    _mm512_xor_si512(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor3(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

#[target_feature(enable = "avx512f,vaes")]
#[inline]
fn encrypt_round(state: Vector, key: Vector) -> Vector {
    _mm512_aesenc_epi128(state, key)
}

#[target_feature(enable = "avx512f,vaes")]
#[inline]
fn encrypt_last(state: Vector, key: Vector) -> Vector {
    _mm512_aesenclast_epi128(state, key)
}

#[target_feature(enable = "avx512f,vaes")]
#[inline]
fn decrypt_round(state: Vector, key: Vector) -> Vector {
    _mm512_aesdec_epi128(state, key)
}

#[target_feature(enable = "avx512f,vaes")]
#[inline]
fn decrypt_last(state: Vector, key: Vector) -> Vector {
    _mm512_aesdeclast_epi128(state, key)
}

/// Block `j` times x^(4 `at` + j), for `at` 0 and 1.
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
#[inline]
fn power(start: Vector, at: usize) -> Vector {
    let up = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
    let up = add(up, _mm512_set1_epi64(4 * at as i64));
    let carry = _mm512_srlv_epi64(start, _mm512_sub_epi64(_mm512_set1_epi64(64), up));
    xor3(
        _mm512_sllv_epi64(start, up),
        _mm512_bslli_epi128::<8>(carry),
        _mm512_clmulepi64_epi128::<0x01>(carry, polynomial()),
    )
}

/// Every block times x^8.
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
#[inline]
fn times_x8(tweak: Vector) -> Vector {
    let carry = _mm512_bsrli_epi128::<15>(tweak);
    let reduced = _mm512_clmulepi64_epi128::<0x00>(carry, polynomial());
    xor(_mm512_bslli_epi128::<1>(tweak), reduced)
}

/// Every block times x^32: from one stride to the next.
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
#[inline]
fn times_stride(tweak: Vector) -> Vector {
    let carry = _mm512_bsrli_epi128::<12>(tweak);
    let reduced = _mm512_clmulepi64_epi128::<0x00>(carry, polynomial());
    xor(_mm512_bslli_epi128::<4>(tweak), reduced)
}

/// What reduces x^128: x^7 + x^2 + x + 1 (IEEE 1619 §5.2).
#[target_feature(enable = "avx512f")]
#[inline]
fn polynomial() -> Vector {
    _mm512_set1_epi64(0x87)
}
