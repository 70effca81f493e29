// SPDX-License-Identifier: MIT OR Apache-2.0
//! Media blocks: AES-XTS under the range's media key, the LBA as tweak.
//!
//! A block whose stored bytes are all zero was never written, or was discarded, and reads as
//! zeros. Ciphertext of a written block is all zero once in 2^4096 blocks.

use super::vault::VaultError;
use crate::software::xts::Xts;

/// Decrypts stored blocks in place, but for those that were never written.
pub(super) fn decrypt(
    cipher: &Xts,
    block_size: usize,
    lba: u64,
    data: &mut [u8],
) -> Result<(), VaultError> {
    // Runs of written blocks go through the cipher in one call.
    let mut start = 0;
    let mut blocks = 0u64;
    while start < data.len() {
        let rest = data.get_mut(start..).unwrap_or_default();
        let blank = |block: &[u8]| block.iter().all(|byte| *byte == 0);
        let mut run = 0;
        for block in rest.chunks_exact(block_size) {
            if blank(block) {
                break;
            }
            run += 1;
        }
        if run > 0 {
            let written = rest.get_mut(..run * block_size).unwrap_or_default();
            cipher
                .decrypt(block_size, lba + blocks, 1, written)
                .map_err(|_| VaultError::Damaged)?;
        }
        // The block that ended the run is blank.
        start += (run + 1) * block_size;
        blocks += run as u64 + 1;
    }
    Ok(())
}

/// Encrypts blocks for the medium.
pub(super) fn encrypt(
    cipher: &Xts,
    block_size: usize,
    lba: u64,
    data: &mut [u8],
) -> Result<(), VaultError> {
    cipher.encrypt(block_size, lba, 1, data).map_err(|_| VaultError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_blank_blocks_mix() {
        let key: Vec<u8> = (0..64).collect();
        let cipher = Xts::new(&key).unwrap();
        for pattern in 0u32..32 {
            let mut stored = vec![0u8; 5 * 512];
            let mut plain = stored.clone();
            for block in 0..5 {
                if pattern >> block & 1 == 1 {
                    let at = block * 512..(block + 1) * 512;
                    plain[at.clone()].fill(block as u8);
                    stored[at.clone()].copy_from_slice(&plain[at.clone()]);
                    encrypt(&cipher, 512, 7 + block as u64, &mut stored[at]).unwrap();
                }
            }
            decrypt(&cipher, 512, 7, &mut stored).unwrap();
            assert_eq!(stored, plain, "pattern {pattern:05b}");
        }
    }
}
