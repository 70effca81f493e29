// SPDX-License-Identifier: MIT OR Apache-2.0
//! AES key expansion with the AES instructions, for the x86-64 kernels (FIPS 197 §5.2).

use std::arch::x86_64::*;

use zeroize::Zeroize;

/// Round keys of AES-256, the longest schedule.
const MAX_ROUND_KEYS: usize = 15;

/// The round keys of one XTS key: data key both ways, tweak key forwards. Wiped on drop; it
/// lives in a box, so that moving its owner leaves no copy behind.
pub(super) struct Schedule {
    /// Data key, for encryption.
    pub(super) encrypt: RoundKeys,
    /// Data key, for the equivalent inverse cipher (FIPS 197 §5.3.5).
    pub(super) decrypt: RoundKeys,
    /// Tweak key, for encryption.
    pub(super) tweak: RoundKeys,
}

/// One expanded AES key, each round key four times so that a vector of any width loads it as it
/// is: on some processors a broadcast takes a place that the cipher needs.
pub(super) struct RoundKeys {
    keys: [RoundKey; MAX_ROUND_KEYS],
    rounds: usize,
}

/// Four copies of a round key.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct RoundKey(pub(super) [__m128i; 4]);

impl Schedule {
    /// `None` unless both keys have 16 or both 32 bytes.
    #[target_feature(enable = "aes,sse2")]
    pub(super) fn new(data_key: &[u8], tweak_key: &[u8]) -> Option<Box<Self>> {
        if data_key.len() != tweak_key.len() {
            return None;
        }
        let mut schedule = Box::new(Self {
            encrypt: RoundKeys::blank(),
            decrypt: RoundKeys::blank(),
            tweak: RoundKeys::blank(),
        });
        schedule.encrypt.expand(data_key)?;
        schedule.tweak.expand(tweak_key)?;
        let Self { encrypt, decrypt, .. } = &mut *schedule;
        decrypt.invert(encrypt);
        Some(schedule)
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        for round_keys in [&mut self.encrypt, &mut self.decrypt, &mut self.tweak] {
            for key in &mut round_keys.keys {
                key.0.zeroize();
            }
        }
    }
}

impl RoundKeys {
    /// First round key, those between, and the last.
    #[inline]
    pub(super) fn parts(&self) -> (&RoundKey, &[RoundKey], &RoundKey) {
        match self.rounds {
            10 => (&self.keys[0], &self.keys[1..10], &self.keys[10]),
            _ => (&self.keys[0], &self.keys[1..14], &self.keys[14]),
        }
    }

    #[target_feature(enable = "sse2")]
    fn blank() -> Self {
        Self { keys: [RoundKey([_mm_setzero_si128(); 4]); MAX_ROUND_KEYS], rounds: 0 }
    }

    /// Fills in the round keys of `key`; `None` unless it has 16 or 32 bytes.
    #[target_feature(enable = "aes,sse2")]
    fn expand(&mut self, key: &[u8]) -> Option<()> {
        let key_words = match key.len() {
            16 => 4,
            32 => 8,
            _ => return None,
        };
        self.rounds = key_words + 6;
        let mut words = [0u32; MAX_ROUND_KEYS * 4];
        for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut constant = 1u8;
        for at in key_words..(self.rounds + 1) * 4 {
            let mut word = words[at - 1];
            if at % key_words == 0 {
                word = substitute(word).rotate_right(8) ^ u32::from(constant);
                constant = (constant << 1) ^ ((constant >> 7) * 0x1b);
            } else if key_words == 8 && at % 8 == 4 {
                word = substitute(word);
            }
            words[at] = words[at - key_words] ^ word;
        }
        for (key, word) in self.keys.iter_mut().zip(words.as_chunks::<4>().0) {
            let [a, b, c, d] = word.map(u32::cast_signed);
            *key = RoundKey([_mm_set_epi32(d, c, b, a); 4]);
        }
        words = [0; MAX_ROUND_KEYS * 4];
        zeroize::optimization_barrier(&words);
        Some(())
    }

    #[target_feature(enable = "aes,sse2")]
    fn invert(&mut self, forward: &Self) {
        let last = forward.rounds;
        self.rounds = last;
        for (at, key) in self.keys.iter_mut().take(last + 1).enumerate() {
            let source = forward.keys[last - at].0[0];
            let inverse = if at == 0 || at == last { source } else { _mm_aesimc_si128(source) };
            *key = RoundKey([inverse; 4]);
        }
    }
}

/// SubWord (FIPS 197 §5.2), in constant time: with four equal columns ShiftRows changes nothing,
/// so the last round under a zero key is SubBytes alone.
#[target_feature(enable = "aes,sse2")]
fn substitute(word: u32) -> u32 {
    let column = _mm_set1_epi32(word.cast_signed());
    _mm_cvtsi128_si32(_mm_aesenclast_si128(column, _mm_setzero_si128())).cast_unsigned()
}
