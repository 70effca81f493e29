// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel for VAES with AVX-512: four blocks in a vector.
#![expect(unsafe_code, reason = "the kernel reads and writes through Span")]

use std::arch::x86_64::*;

use super::Sectors;
use super::kernel::{AHEAD, GROUP, LINE, WAYS, ways, xts_kernel};
use super::schedule::{RoundKey, RoundKeys, Schedule};
use super::span::Span;

type Vector = __m512i;

xts_kernel!("aes,avx512f,avx512bw,vaes", 4);

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

/// Multiplication of tweaks by powers of x (IEEE 1619 §5.2), on tweaks to which a mask was added:
/// the last round key. As the products are linear, taking a mask along costs a constant that
/// depends on the mask, and here that constant is free.
#[derive(Clone, Copy)]
struct Powers {
    mask: Vector,
    mask_8: Vector,
    mask_16: Vector,
    mask_32: Vector,
}

impl Powers {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn new(mask: Vector) -> Self {
        Self {
            mask,
            mask_8: times_8(mask, mask),
            mask_16: times_16(mask, mask),
            mask_32: times_32(mask, mask),
        }
    }

    /// The 32 masked tweaks of a sector's first stride, from its encrypted number.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn first(&self, start: __m128i) -> [Vector; WAYS] {
        let start = broadcast(start);
        let a = times_up_to_7(start, _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0), self.mask);
        let b = times_up_to_7(start, _mm512_set_epi64(7, 7, 6, 6, 5, 5, 4, 4), self.mask);
        let c = times_8(a, self.mask_8);
        let d = times_8(b, self.mask_8);
        let e = [a, b, c, d];
        ways!(WAY => if WAY < 4 { e[WAY % 4] } else { times_16(e[WAY % 4], self.mask_16) })
    }

    /// Those of the next stride.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn next(&self, tweaks: [Vector; WAYS]) -> [Vector; WAYS] {
        ways!(WAY => times_32(tweaks[WAY], self.mask_32))
    }
}

/// Each block times x^`up`, plus `mask`; `up` holds each block's exponent, 0 to 7, twice.
#[target_feature(enable = "avx512f")]
#[inline]
fn times_up_to_7(block: Vector, up: Vector, mask: Vector) -> Vector {
    let out = _mm512_srlv_epi64(block, _mm512_sub_epi64(_mm512_set1_epi64(64), up));
    let swapped = _mm512_shuffle_epi32::<0b01_00_11_10>(out);
    let over = _mm512_maskz_shuffle_epi32::<0b01_00_11_10>(LOW_HALVES, out);
    // Swapped, the lower half's lost bits enter the upper half, and the upper half's the lower
    // one: those are the 1 of the polynomial.
    xor(reduce(_mm512_sllv_epi64(block, up), over, mask), swapped)
}

/// Each block times x^8, plus `mask`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn times_8(block: Vector, mask: Vector) -> Vector {
    let rotate = _mm_set_epi8(14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15);
    let over = _mm512_bsrli_epi128::<15>(block);
    reduce(_mm512_shuffle_epi8(block, broadcast(rotate)), over, mask)
}

/// Each block times x^16, plus `mask`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn times_16(block: Vector, mask: Vector) -> Vector {
    let rotate = _mm_set_epi8(13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14);
    let over = _mm512_bsrli_epi128::<14>(block);
    reduce(_mm512_shuffle_epi8(block, broadcast(rotate)), over, mask)
}

/// Each block times x^32, plus `mask`.
#[target_feature(enable = "avx512f")]
#[inline]
fn times_32(block: Vector, mask: Vector) -> Vector {
    let over = _mm512_maskz_shuffle_epi32::<0b00_00_00_11>(LOW_WORDS, block);
    reduce(_mm512_shuffle_epi32::<0b10_01_00_11>(block), over, mask)
}

/// The lowest 64 of each 128 bits, in a mask of 32-bit words.
const LOW_HALVES: __mmask16 = 0b0011_0011_0011_0011;
/// The lowest 32 of each 128 bits.
const LOW_WORDS: __mmask16 = 0b0001_0001_0001_0001;

/// Adds to `rotated` what the bits shifted out reduce to. They are `over`, and x^128 is
/// x^7 + x^2 + x + 1; the 1 is in `rotated` already, where they came in at the bottom.
#[target_feature(enable = "avx512f")]
#[inline]
fn reduce(rotated: Vector, over: Vector, mask: Vector) -> Vector {
    let one = _mm512_slli_epi64::<1>(over);
    let two = _mm512_slli_epi64::<2>(over);
    let seven = _mm512_slli_epi64::<7>(over);
    xor3(xor3(rotated, one, two), seven, mask)
}
