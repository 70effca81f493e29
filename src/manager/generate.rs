// SPDX-License-Identifier: MIT OR Apache-2.0
//! New PINs: 32 characters of a 64-symbol ASCII alphabet, 192 bits.
//!
//! Raw bytes would hold more, but other tools could not carry them: nvme-cli wants 8 to 32
//! characters, firmware set-up wants ASCII, sedutil stops at a NUL.

use opal::Pin;

use crate::secret::Secret;

/// Symbols of a PIN: no quote, backslash or blank, so a PIN survives shells and prompts.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters of a generated PIN.
const LENGTH: usize = 32;

/// A new random PIN.
///
/// # Errors
/// The system's random source failed.
pub(super) fn pin() -> Result<Pin, getrandom::Error> {
    let mut random = zeroize::Zeroizing::new([0u8; LENGTH]);
    getrandom::fill(random.as_mut_slice())?;
    for byte in random.iter_mut() {
        // 64 symbols: the low six bits choose evenly. The index does depend on the secret, in a
        // table of one cache line.
        *byte = ALPHABET[usize::from(*byte & 0x3F)];
    }
    Ok(Pin::new(random.as_slice()).unwrap_or_default())
}

/// The PIN as the lockbox keeps it.
#[must_use]
pub(super) fn to_secret(pin: &Pin) -> Secret {
    Secret::from_slice(pin.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_long_printable_and_different() {
        let first = pin().unwrap();
        let second = pin().unwrap();
        assert_eq!(first.expose().len(), LENGTH);
        assert!(first.expose().iter().all(|byte| ALPHABET.contains(byte)));
        assert!(!first.matches(&second));
    }

    #[test]
    fn every_symbol_occurs() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            seen.extend(pin().unwrap().expose().iter().copied());
        }
        assert_eq!(seen.len(), ALPHABET.len());
    }
}
