// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Pin`]: the bytes that authenticate an authority.

use core::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Longest PIN a C_PIN row holds (`password` type, Core 2.01 §5.1.3).
pub const MAX_PIN: usize = 32;

/// A PIN of 0 to 32 bytes, exactly as it goes to the drive. Wiped when dropped; printing one does
/// not compile:
///
/// ```compile_fail
/// let pin = opal::Pin::new(b"secret").unwrap();
/// println!("{pin:?}");
/// ```
#[derive(Clone, Default)]
pub struct Pin {
    bytes: [u8; MAX_PIN],
    len: usize,
}

impl Pin {
    /// Takes the exact bytes.
    ///
    /// # Errors
    /// More than [`MAX_PIN`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, PinTooLong> {
        let mut pin = Self::default();
        pin.bytes.get_mut(..bytes.len()).ok_or(PinTooLong)?.copy_from_slice(bytes);
        pin.len = bytes.len();
        Ok(pin)
    }

    /// The bytes for the drive. Keep the borrow short.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether the PIN has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Compares in constant time over the full width, lengths included.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        (self.bytes.ct_eq(&other.bytes) & (self.len as u64).ct_eq(&(other.len as u64))).into()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.bytes.zeroize();
        self.len.zeroize();
    }
}

/// A PIN of more than 32 bytes: no drive takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinTooLong;

impl fmt::Display for PinTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a PIN has at most {MAX_PIN} bytes")
    }
}

impl core::error::Error for PinTooLong {}
