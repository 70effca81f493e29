// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the fields of a descriptor are, said once for reading and writing.
//!
//! Offsets count from the descriptor's first byte, as the specifications print them; data begins at
//! 4. Reading past the end gives 0, writing past it does nothing: descriptors may be shorter than
//! the one we know.

/// Offset of the first data byte in a descriptor.
pub(super) const DATA: usize = 4;

/// Visits the fields of a descriptor: a reader fills them, a writer stores them.
pub(super) trait FieldIo {
    /// `width` bytes at `at`, big endian; at most 8.
    fn number(&mut self, at: usize, width: usize, value: &mut u64);
    /// Bits `low..low + width` of the byte at `at`.
    fn bits(&mut self, at: usize, low: u32, width: u32, value: &mut u8);

    fn bit(&mut self, at: usize, bit: u32, value: &mut bool) {
        let mut bits = u8::from(*value);
        self.bits(at, bit, 1, &mut bits);
        *value = bits != 0;
    }
    fn u8(&mut self, at: usize, value: &mut u8) {
        self.bits(at, 0, 8, value);
    }
    fn u16(&mut self, at: usize, value: &mut u16) {
        let mut wide = u64::from(*value);
        self.number(at, 2, &mut wide);
        *value = wide as u16;
    }
    fn u32(&mut self, at: usize, value: &mut u32) {
        let mut wide = u64::from(*value);
        self.number(at, 4, &mut wide);
        *value = wide as u32;
    }
    fn u64(&mut self, at: usize, value: &mut u64) {
        self.number(at, 8, value);
    }
}

/// A descriptor's typed form: knows its fields, given the version nibble of the descriptor.
pub(super) trait Fields: Default + Copy {
    fn fields(&mut self, version: u8, io: &mut dyn FieldIo);
}

/// Reads the typed form out of descriptor data.
pub(super) fn read<T: Fields>(version: u8, data: &[u8]) -> T {
    let mut value = T::default();
    value.fields(version, &mut Read(data));
    value
}

/// Stores the typed form into descriptor data; bits that no field names stay as they are.
pub(super) fn write<T: Fields>(mut value: T, version: u8, data: &mut [u8]) {
    value.fields(version, &mut Write(data));
}

struct Read<'a>(&'a [u8]);

impl FieldIo for Read<'_> {
    fn number(&mut self, at: usize, width: usize, value: &mut u64) {
        *value = (at..at + width).fold(0, |sum, at| sum << 8 | u64::from(self.byte(at)));
    }
    fn bits(&mut self, at: usize, low: u32, width: u32, value: &mut u8) {
        *value = (self.byte(at) & mask(low, width)) >> low;
    }
}

impl Read<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.0.get(at - DATA).copied().unwrap_or(0)
    }
}

struct Write<'a>(&'a mut [u8]);

impl FieldIo for Write<'_> {
    fn number(&mut self, at: usize, width: usize, value: &mut u64) {
        for (index, byte) in value.to_be_bytes()[8 - width..].iter().enumerate() {
            if let Some(place) = self.0.get_mut(at - DATA + index) {
                *place = *byte;
            }
        }
    }
    fn bits(&mut self, at: usize, low: u32, width: u32, value: &mut u8) {
        if let Some(place) = self.0.get_mut(at - DATA) {
            let mask = mask(low, width);
            *place = (*place & !mask) | ((*value << low) & mask);
        }
    }
}

const fn mask(low: u32, width: u32) -> u8 {
    (((1u16 << width) - 1) << low) as u8
}
