// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the fields of a descriptor are and what they are called, said once for reading, writing
//! and listing.
//!
//! Offsets count from the descriptor's first byte, as the specifications print them; data begins at
//! 4. Reading past the end gives 0, writing past it does nothing: descriptors may be shorter than
//! the one we know.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Offset of the first data byte in a descriptor.
pub(super) const DATA: usize = 4;

/// Names of the fields that hold ComIDs: they are listed as such.
pub(super) const BASE_COM_ID: &str = "base_com_id";
pub(super) const INJECTION_COM_ID: &str = "injection_base_com_id";

/// The value of a descriptor's field, for printing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldValue {
    /// One bit.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A ComID.
    ComId(u16),
    /// Words.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// The answer was cut before it.
    Missing,
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(if *flag { "yes" } else { "no" }),
            Self::Number(number) => write!(f, "{number}"),
            Self::ComId(com_id) => write!(f, "0x{com_id:04X}"),
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}")),
            Self::Missing => f.write_str("missing"),
        }
    }
}

/// Visits the fields of a descriptor: a reader fills them, a writer stores them, a lister names
/// them.
pub(super) trait FieldIo {
    /// `width` bytes at `at`, big endian; at most 8.
    fn number(&mut self, name: &'static str, at: usize, width: usize, value: &mut u64);
    /// Bits `low..low + width` of the byte at `at`.
    fn bits(&mut self, name: &'static str, at: usize, low: u32, width: u32, value: &mut u8);

    fn bit(&mut self, name: &'static str, at: usize, bit: u32, value: &mut bool) {
        let mut bits = u8::from(*value);
        self.bits(name, at, bit, 1, &mut bits);
        *value = bits != 0;
    }
    fn u8(&mut self, name: &'static str, at: usize, value: &mut u8) {
        self.bits(name, at, 0, 8, value);
    }
    fn u16(&mut self, name: &'static str, at: usize, value: &mut u16) {
        let mut wide = u64::from(*value);
        self.number(name, at, 2, &mut wide);
        *value = wide as u16;
    }
    fn u32(&mut self, name: &'static str, at: usize, value: &mut u32) {
        let mut wide = u64::from(*value);
        self.number(name, at, 4, &mut wide);
        *value = wide as u32;
    }
    fn u64(&mut self, name: &'static str, at: usize, value: &mut u64) {
        self.number(name, at, 8, value);
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

/// Names and values of the fields. `cut` says that the data ends before its declared length:
/// fields behind that end are missing, not 0.
pub(super) fn list<T: Fields>(
    version: u8,
    data: &[u8],
    cut: bool,
) -> Vec<(&'static str, FieldValue)> {
    let mut list =
        List { read: Read(data), end: if cut { data.len() } else { usize::MAX }, out: Vec::new() };
    T::default().fields(version, &mut list);
    list.out
}

struct Read<'a>(&'a [u8]);

impl FieldIo for Read<'_> {
    fn number(&mut self, _name: &'static str, at: usize, width: usize, value: &mut u64) {
        *value = (at..at + width).fold(0, |sum, at| sum << 8 | u64::from(self.byte(at)));
    }
    fn bits(&mut self, _name: &'static str, at: usize, low: u32, width: u32, value: &mut u8) {
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
    fn number(&mut self, _name: &'static str, at: usize, width: usize, value: &mut u64) {
        for (index, byte) in value.to_be_bytes()[8 - width..].iter().enumerate() {
            if let Some(place) = self.0.get_mut(at - DATA + index) {
                *place = *byte;
            }
        }
    }
    fn bits(&mut self, _name: &'static str, at: usize, low: u32, width: u32, value: &mut u8) {
        if let Some(place) = self.0.get_mut(at - DATA) {
            let mask = mask(low, width);
            *place = (*place & !mask) | ((*value << low) & mask);
        }
    }
}

struct List<'a> {
    read: Read<'a>,
    /// Data bytes there, if fewer than declared.
    end: usize,
    out: Vec<(&'static str, FieldValue)>,
}

impl List<'_> {
    fn push(&mut self, name: &'static str, end: usize, value: FieldValue) {
        let there = end - DATA <= self.end;
        self.out.push((name, if there { value } else { FieldValue::Missing }));
    }
}

impl FieldIo for List<'_> {
    fn number(&mut self, name: &'static str, at: usize, width: usize, value: &mut u64) {
        self.read.number(name, at, width, value);
        let value = match name {
            BASE_COM_ID | INJECTION_COM_ID => FieldValue::ComId(*value as u16),
            _ => FieldValue::Number(*value),
        };
        self.push(name, at + width, value);
    }
    fn bits(&mut self, name: &'static str, at: usize, low: u32, width: u32, value: &mut u8) {
        self.read.bits(name, at, low, width, value);
        let value = match width {
            1 => FieldValue::Flag(*value != 0),
            _ => FieldValue::Number((*value).into()),
        };
        self.push(name, at + 1, value);
    }
}

const fn mask(low: u32, width: u32) -> u8 {
    (((1u16 << width) - 1) << low) as u8
}
