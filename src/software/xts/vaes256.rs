// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel for VAES with AVX2: two blocks in a vector.
#![expect(unsafe_code, reason = "the kernel reads and writes through Span")]

use std::arch::x86_64::*;

use super::Sectors;
use super::kernel::{AHEAD, GROUP, LINE, WAYS, ways, xts_kernel};
use super::schedule::{RoundKey, RoundKeys, Schedule};
use super::span::Span;

type Vector = __m256i;

xts_kernel!("aes,avx2,vaes,vpclmulqdq", 2);

#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn broadcast(block: __m128i) -> Vector {
    _mm256_broadcastsi128_si256(block)
}

/// The numbers of two neighbouring sectors.
#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn numbers(first: u128, step: u128) -> Vector {
    let low = first as i64;
    let high = (first >> 64) as i64;
    _mm256_set_epi64x(high, low.wrapping_add(step as i64), high, low)
}

/// What leads from two sectors' numbers to the next two's.
#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn numbers_step(step: u128) -> Vector {
    broadcast(_mm_set_epi64x(0, (step as i64).wrapping_mul(2)))
}

#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn add(a: Vector, b: Vector) -> Vector {
    _mm256_add_epi64(a, b)
}

#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn xor(a: Vector, b: Vector) -> Vector {
    _mm256_xor_si256(a, b)
}

#[target_feature(enable = "avx2,vpclmulqdq")]
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

/// Multiplication of tweaks by powers of x (IEEE 1619 §5.2), on tweaks to which a mask was added:
/// the last round key. As the products are linear, taking a mask along costs a constant that
/// depends on the mask, and here that constant is free.
#[derive(Clone, Copy)]
struct Powers {
    mask: Vector,
    mask_8: Vector,
    mask_16: Vector,
}

impl Powers {
    #[target_feature(enable = "avx2,vpclmulqdq")]
    #[inline]
    fn new(mask: Vector) -> Self {
        Self { mask, mask_8: times_8(mask, mask), mask_16: times_16(mask, mask) }
    }

    /// The 16 masked tweaks of a sector's first stride, from its encrypted number.
    #[target_feature(enable = "avx2,vpclmulqdq")]
    #[inline]
    fn first(&self, start: __m128i) -> [Vector; WAYS] {
        let start = broadcast(start);
        let a = times_up_to_7(start, _mm256_set_epi64x(1, 1, 0, 0), self.mask);
        let b = times_up_to_7(start, _mm256_set_epi64x(3, 3, 2, 2), self.mask);
        let c = times_up_to_7(start, _mm256_set_epi64x(5, 5, 4, 4), self.mask);
        let d = times_up_to_7(start, _mm256_set_epi64x(7, 7, 6, 6), self.mask);
        let e = [a, b, c, d];
        ways!(WAY => if WAY < 4 { e[WAY % 4] } else { times_8(e[WAY % 4], self.mask_8) })
    }

    /// Those of the next stride.
    #[target_feature(enable = "avx2,vpclmulqdq")]
    #[inline]
    fn next(&self, tweaks: [Vector; WAYS]) -> [Vector; WAYS] {
        ways!(WAY => times_16(tweaks[WAY], self.mask_16))
    }
}

/// Each block times x^`up`, plus `mask`; `up` holds each block's exponent, 0 to 7, twice.
#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn times_up_to_7(block: Vector, up: Vector, mask: Vector) -> Vector {
    let out = _mm256_srlv_epi64(block, _mm256_sub_epi64(_mm256_set1_epi64x(64), up));
    let swapped = _mm256_shuffle_epi32::<0b01_00_11_10>(out);
    let over = _mm256_bsrli_epi128::<8>(out);
    // Swapped, the lower half's lost bits enter the upper half, and the upper half's the lower
    // one: those are the 1 of the polynomial.
    xor(reduce(_mm256_sllv_epi64(block, up), over, mask), swapped)
}

/// Each block times x^8, plus `mask`.
#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn times_8(block: Vector, mask: Vector) -> Vector {
    let rotate = _mm_set_epi8(14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15);
    let over = _mm256_bsrli_epi128::<15>(block);
    reduce(_mm256_shuffle_epi8(block, broadcast(rotate)), over, mask)
}

/// Each block times x^16, plus `mask`.
#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn times_16(block: Vector, mask: Vector) -> Vector {
    let rotate = _mm_set_epi8(13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14);
    let over = _mm256_bsrli_epi128::<14>(block);
    reduce(_mm256_shuffle_epi8(block, broadcast(rotate)), over, mask)
}

/// Adds to `rotated` what the bits shifted out reduce to. They are `over`, and x^128 is
/// x^7 + x^2 + x + 1; the 1 is in `rotated` already, where they came in at the bottom.
#[target_feature(enable = "avx2,vpclmulqdq")]
#[inline]
fn reduce(rotated: Vector, over: Vector, mask: Vector) -> Vector {
    let reduced = _mm256_clmulepi64_epi128::<0x00>(over, _mm256_set1_epi64x(0x86));
    xor3(rotated, reduced, mask)
}
