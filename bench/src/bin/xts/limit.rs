// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the AES unit can do at most: rounds on registers, nothing else.

use std::arch::x86_64::*;

use crate::clock;

/// Independent vectors, enough to hide the latency of a round.
const WAYS: usize = 12;

/// Ticks that `blocks` AES rounds on one block each take at least, at the widest instruction.
pub fn ticks_for(blocks: u64) -> u64 {
    if is_x86_feature_detected!("vaes") && is_x86_feature_detected!("avx512f") {
        // SAFETY: just checked.
        unsafe { wide(blocks / (4 * WAYS as u64)) }
    } else if is_x86_feature_detected!("vaes") {
        // SAFETY: VAES without AVX-512 comes with AVX2.
        unsafe { middle(blocks / (2 * WAYS as u64)) }
    } else {
        // SAFETY: every other processor this is measured on has AES-NI.
        unsafe { narrow(blocks / WAYS as u64) }
    }
}

macro_rules! rounds {
    ($name:ident, $features:literal, $vector:ty, $set:ident, $round:ident) => {
        #[target_feature(enable = $features)]
        fn $name(steps: u64) -> u64 {
            let key = $set(0x5a);
            let mut state: [$vector; WAYS] = std::array::from_fn(|at| $set(at as i64));
            let start = clock::ticks();
            for _ in 0..steps {
                for it in &mut state {
                    *it = $round(*it, key);
                }
            }
            let took = clock::ticks() - start;
            std::hint::black_box(state);
            took
        }
    };
}

rounds!(wide, "avx512f,vaes", __m512i, _mm512_set1_epi64, _mm512_aesenc_epi128);
rounds!(middle, "avx2,vaes", __m256i, _mm256_set1_epi64x, _mm256_aesenc_epi128);
rounds!(narrow, "aes,sse2", __m128i, _mm_set1_epi64x, _mm_aesenc_si128);
