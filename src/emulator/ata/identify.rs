// SPDX-License-Identifier: MIT OR Apache-2.0
//! IDENTIFY DEVICE data and the log pages a host reads before it believes in Trusted Computing.

use super::BLOCK;
use crate::emulator::backend::DriveIdentity;

/// Highest LBA count that 28-bit commands can address.
const LBA28: u64 = 0x0FFF_FFFF;

/// IDENTIFY DEVICE data (ACS-3 §7.12.7), by word.
#[must_use]
pub fn device(identity: &DriveIdentity) -> [u8; BLOCK] {
    let mut words = Words([0; 256]);
    words.set(0, 0x0040);
    words.set(1, 16383);
    words.set(3, 16);
    words.set(6, 63);
    words.text(10, 10, &identity.serial);
    words.text(23, 4, &identity.firmware);
    words.text(27, 20, &identity.model);
    words.set(47, 0x8001);
    words.set(48, 0x4001); // Trusted Computing
    words.set(49, 0x0F00); // LBA, DMA, IORDY
    words.set(50, 0x4000);
    words.set(53, 0x0006);
    words.number(60, 2, identity.blocks.min(LBA28));
    words.set(63, 0x0007);
    words.set(64, 0x0003);
    for word in 65..=68 {
        words.set(word, 120);
    }
    words.set(75, 31);
    words.set(76, 0x010E); // NCQ, generations 1 to 3
    words.set(80, 0x07E0); // up to ACS-3
    let supported = [0x4060, 0x7400, 0x4120]; // cache, look-ahead; 48-bit, flush; GPL, WWN
    for (offset, value) in supported.into_iter().enumerate() {
        words.set(82 + offset, value);
        words.set(85 + offset, value);
    }
    words.set(86, 0x3400 | 0x8000); // words 119 and 120 are valid
    words.set(88, 0x407F);
    words.number(100, 4, identity.blocks);
    words.set(105, 8);
    if identity.block_size > 512 {
        words.set(106, 0x5000);
        words.number(117, 2, u64::from(identity.block_size / 2));
    } else {
        words.set(106, 0x4000);
    }
    for word in 0..4 {
        words.set(108 + word, (identity.wwn >> (48 - 16 * word)) as u16);
    }
    words.set(119, 0x4000);
    words.set(120, 0x4000);
    words.set(169, 1); // TRIM
    words.set(217, 1); // not rotating
    words.set(222, 0x107F); // SATA 3.1
    words.sealed()
}

/// `count` pages of a log from `page` on; `None` if there is no such log or page.
///
/// Log 30h page 6 is where Linux looks before it uses A2h/B5h.
pub(super) fn log(identity: &DriveIdentity, log: u8, page: u64, count: usize) -> Option<Vec<u8>> {
    const DIRECTORY: u8 = 0x00;
    const QUEUED_ERROR: u8 = 0x10;
    const IDENTIFY_DATA: u8 = 0x30;
    const IDENTIFY_PAGES: u64 = 9;
    let mut data = Vec::new();
    for page in (page..).take(count) {
        data.extend(match (log, page) {
            (DIRECTORY, 0) => {
                let mut words = Words([0; 256]);
                words.set(0, 1);
                words.set(usize::from(QUEUED_ERROR), 1);
                words.set(usize::from(IDENTIFY_DATA), IDENTIFY_PAGES as u16);
                words.plain()
            }
            (QUEUED_ERROR, 0) => [0; BLOCK],
            (IDENTIFY_DATA, 0) => {
                let mut block = header(0);
                // Entries, then the numbers of the pages that exist.
                for (slot, byte) in block.iter_mut().skip(8).zip([3, 0, 1, 6]) {
                    *slot = byte;
                }
                block
            }
            (IDENTIFY_DATA, 1) => device(identity),
            (IDENTIFY_DATA, 6) => {
                let mut block = header(6);
                // Qword 40: valid, Trusted Computing supported.
                let (qwords, _) = block.as_chunks_mut::<8>();
                if let Some(qword) = qwords.get_mut(5) {
                    *qword = (1_u64 << 63 | 1).to_le_bytes();
                }
                block
            }
            (IDENTIFY_DATA, 2..IDENTIFY_PAGES) => [0; BLOCK],
            _ => return None,
        });
    }
    (count > 0).then_some(data)
}

/// A page of the IDENTIFY DEVICE data log with its header qword.
fn header(page: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    if let Some(qword) = block.first_chunk_mut::<8>() {
        *qword = (1_u64 << 63 | page << 16 | 1).to_le_bytes();
    }
    block
}

struct Words([u16; 256]);

impl Words {
    fn set(&mut self, word: usize, value: u16) {
        if let Some(slot) = self.0.get_mut(word) {
            *slot = value;
        }
    }

    /// A number over `count` words, lowest first.
    fn number(&mut self, word: usize, count: usize, value: u64) {
        for n in 0..count {
            self.set(word + n, (value >> (16 * n)) as u16);
        }
    }

    /// ASCII, padded with spaces, two characters a word with the first in the upper half.
    fn text(&mut self, word: usize, count: usize, text: &str) {
        let printable = |c: char| if matches!(c, ' '..='~') { c as u8 } else { b'?' };
        let mut characters = text.chars().map(printable).chain(std::iter::repeat(b' '));
        for n in 0..count {
            let upper = characters.next().unwrap_or(b' ');
            let lower = characters.next().unwrap_or(b' ');
            self.set(word + n, u16::from_be_bytes([upper, lower]));
        }
    }

    fn plain(&self) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        for (slot, word) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *slot = word.to_le_bytes();
        }
        bytes
    }

    /// With the integrity word: A5h, and a sum of all bytes of zero.
    fn sealed(mut self) -> [u8; BLOCK] {
        self.set(255, 0x00A5);
        let sum = self.plain().iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        self.set(255, 0x00A5 | u16::from(sum.wrapping_neg()) << 8);
        self.plain()
    }
}
