// SPDX-License-Identifier: MIT OR Apache-2.0
//! Batched XTS over the `aes` crate: the path on machines without a kernel of ours, and the
//! oracle the kernels are compared with.
//!
//! The crate's cost per call is high and its cost per block low, so blocks go to it 64 at a time,
//! and so do the numbers of up to 64 sectors whose tweaks are wanted.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256, Block};

use super::{Direction, Sectors};

/// Blocks handed to the `aes` crate at once.
const BATCH: usize = 64;
/// Bytes in such a batch.
const BATCH_BYTES: usize = BATCH * 16;
/// The polynomial that reduces x^128: x^7 + x^2 + x + 1 (IEEE 1619 §5.2).
const POLYNOMIAL: u128 = 0x87;

/// The expanded key. The `aes` crate wipes it on drop (feature `zeroize`).
pub(super) enum Portable {
    Aes128(Box<Keys<Aes128>>),
    Aes256(Box<Keys<Aes256>>),
}

/// Data key and tweak key.
pub(super) struct Keys<C> {
    data: C,
    tweak: C,
}

impl Portable {
    /// `None` unless both keys have 16 or both 32 bytes.
    pub(super) fn new(data_key: &[u8], tweak_key: &[u8]) -> Option<Self> {
        match data_key.len() {
            16 => Keys::new(data_key, tweak_key).map(Self::Aes128),
            _ => Keys::new(data_key, tweak_key).map(Self::Aes256),
        }
    }

    /// Encrypts or decrypts whole sectors in place.
    pub(super) fn apply(&self, direction: Direction, sectors: Sectors, data: &mut [u8]) {
        match self {
            Self::Aes128(keys) => keys.apply(direction, sectors, data),
            Self::Aes256(keys) => keys.apply(direction, sectors, data),
        }
    }
}

impl<C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16> + BlockCipherDecrypt + KeyInit>
    Keys<C>
{
    fn new(data_key: &[u8], tweak_key: &[u8]) -> Option<Box<Self>> {
        let data = C::new_from_slice(data_key).ok()?;
        let tweak = C::new_from_slice(tweak_key).ok()?;
        Some(Box::new(Self { data, tweak }))
    }

    fn apply(&self, direction: Direction, sectors: Sectors, data: &mut [u8]) {
        let mut scratch = Scratch::default();
        let mut number = sectors.first;
        for group in data.chunks_mut(BATCH * sectors.size) {
            let count = group.len() / sectors.size;
            for start in &mut scratch.starts[..count] {
                *start = number.to_le_bytes().into();
                number = number.wrapping_add(sectors.step);
            }
            self.tweak.encrypt_blocks(&mut scratch.starts[..count]);
            self.apply_group(direction, sectors.size, group, &mut scratch);
        }
        scratch.wipe();
    }

    /// The sectors whose encrypted numbers are in `scratch.starts`.
    fn apply_group(&self, way: Direction, size: usize, group: &mut [u8], scratch: &mut Scratch) {
        let Scratch { starts, tweaks, blocks } = scratch;
        let mut starts = starts.iter();
        let mut tweak = 0u128;
        let mut left_in_sector = 0;
        for batch in group.chunks_mut(BATCH_BYTES) {
            let (pieces, _) = batch.as_chunks_mut::<16>();
            for it in &mut tweaks[..pieces.len()] {
                if left_in_sector == 0 {
                    tweak = starts.next().map_or(0, |start| u128::from_le_bytes(start.0));
                    left_in_sector = size / 16;
                } else {
                    tweak = double(tweak);
                }
                left_in_sector -= 1;
                *it = tweak;
            }
            for ((block, piece), tweak) in blocks.iter_mut().zip(&*pieces).zip(&*tweaks) {
                *block = (u128::from_le_bytes(*piece) ^ tweak).to_le_bytes().into();
            }
            match way {
                Direction::Encrypt => self.data.encrypt_blocks(&mut blocks[..pieces.len()]),
                Direction::Decrypt => self.data.decrypt_blocks(&mut blocks[..pieces.len()]),
            }
            for ((block, piece), tweak) in blocks.iter().zip(pieces).zip(&*tweaks) {
                *piece = (u128::from_le_bytes(block.0) ^ tweak).to_le_bytes();
            }
        }
    }
}

/// Multiplies by x in GF(2^128), without a branch.
fn double(tweak: u128) -> u128 {
    (tweak << 1) ^ ((tweak >> 127) * POLYNOMIAL)
}

/// What a call keeps on its stack and wipes.
struct Scratch {
    starts: [Block; BATCH],
    tweaks: [u128; BATCH],
    blocks: [Block; BATCH],
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            starts: [Block::default(); BATCH],
            tweaks: [0; BATCH],
            blocks: [Block::default(); BATCH],
        }
    }
}

impl Scratch {
    fn wipe(&mut self) {
        *self = Self::default();
        zeroize::optimization_barrier(self);
    }
}
