// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Secret`]: bytes that are wiped when dropped and never printed.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes of any length. No `Debug`, no `Display`, no `Clone`: a copy is made on purpose
/// with [`Secret::duplicate`].
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of `bytes`; the caller's buffer becomes the secret's buffer.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Copies `bytes`; the caller wipes its own copy.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }

    /// The secret bytes. Keep the borrow short, never store or print it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A second copy, on purpose.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::from_slice(&self.0)
    }

    /// Compares in constant time for equal lengths.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}
