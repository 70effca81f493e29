// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Hash`]: the hash functions that LUKS2 headers name, and the anti-forensic splitter over them.

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

/// A hash function by the name it has in LUKS2 metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// SHA-1: read in headers converted from LUKS1, never written.
    Sha1,
    /// SHA-256, cryptsetup's usual choice.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Bytes of its result.
    #[must_use]
    pub fn output_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// PBKDF2 with HMAC over this hash (RFC 8018 §5.2).
    pub(super) fn pbkdf2(self, secret: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(secret, salt, iterations, out),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(secret, salt, iterations, out),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(secret, salt, iterations, out),
        }
    }

    /// Replaces each piece of `block`, as long as a result or the rest of it, by the hash of its
    /// number and itself: every bit then depends on all bits of its piece (LUKS1 §2.4).
    fn diffuse(self, block: &mut [u8]) {
        for (number, piece) in (0u32..).zip(block.chunks_mut(self.output_len())) {
            let number = number.to_be_bytes();
            match self {
                Self::Sha1 => copy(piece, &Sha1::new().chain_update(number).chain_update(&piece)),
                Self::Sha256 => {
                    copy(piece, &Sha256::new().chain_update(number).chain_update(&piece));
                }
                Self::Sha512 => {
                    copy(piece, &Sha512::new().chain_update(number).chain_update(&piece));
                }
            }
        }
    }
}

/// Overwrites `piece` with the head of the hash.
fn copy<D: Digest + Clone>(piece: &mut [u8], hasher: &D) {
    for (to, from) in piece.iter_mut().zip(hasher.clone().finalize()) {
        *to = from;
    }
}

/// Blows `key` up to `stripes` times its length, so that losing any part of the result loses the
/// key (anti-forensic splitting, LUKS1 §2.4).
///
/// # Errors
/// The system's, where it gives no random bytes.
pub(super) fn split(
    key: &[u8],
    stripes: usize,
    hash: Hash,
) -> Result<Zeroizing<Vec<u8>>, getrandom::Error> {
    let mut out = Zeroizing::new(vec![0; key.len() * stripes]);
    let whole = out.len();
    getrandom::fill(&mut out[..whole - key.len()])?;
    let last = accumulate(&out[..whole - key.len()], key.len(), hash);
    for ((to, sum), key) in out[whole - key.len()..].iter_mut().zip(&*last).zip(key) {
        *to = sum ^ key;
    }
    Ok(out)
}

/// The key that [`split`] blew up; `split.len()` is a multiple of `key_size`.
pub(super) fn merge(split: &[u8], key_size: usize, hash: Hash) -> Zeroizing<Vec<u8>> {
    let (head, last) = split.split_at(split.len().saturating_sub(key_size));
    let mut key = accumulate(head, key_size, hash);
    for (to, last) in key.iter_mut().zip(last) {
        *to ^= last;
    }
    key
}

/// Adds up the stripes, diffusing after each.
fn accumulate(stripes: &[u8], key_size: usize, hash: Hash) -> Zeroizing<Vec<u8>> {
    let mut sum = Zeroizing::new(vec![0; key_size]);
    for stripe in stripes.chunks_exact(key_size) {
        for (sum, byte) in sum.iter_mut().zip(stripe) {
            *sum ^= byte;
        }
        hash.diffuse(&mut sum);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_undoes_split_and_every_stripe_counts() {
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
            for key_size in [32, 64] {
                let key: Vec<u8> = (0..key_size as u8).collect();
                let mut parts = split(&key, 7, hash).unwrap();
                assert_eq!(parts.len(), 7 * key_size);
                assert_eq!(*merge(&parts, key_size, hash), key);
                for at in (0..parts.len()).step_by(key_size) {
                    parts[at] ^= 1;
                    assert_ne!(*merge(&parts, key_size, hash), key, "{hash:?} {at}");
                    parts[at] ^= 1;
                }
            }
        }
    }
}
