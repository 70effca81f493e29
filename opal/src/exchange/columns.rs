// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Columns`]: the values a Set writes.

use crate::wire::Encoder;
use crate::{Pin, Uid};

/// Named column values for one Set, in the order they were added. Wiped when dropped.
///
/// ```
/// use opal::exchange::Columns;
/// use opal::spec::column::locking;
///
/// let unlock = Columns::new()
///     .boolean(locking::READ_LOCKED, false)
///     .boolean(locking::WRITE_LOCKED, false);
/// assert_eq!(unlock.as_tokens(), [0xF2, 7, 0, 0xF3, 0xF2, 8, 0, 0xF3]);
/// ```
#[derive(Default)]
pub struct Columns {
    tokens: Encoder,
}

impl Columns {
    /// No columns yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An unsigned integer.
    #[must_use]
    pub fn uint(self, column: u64, value: u64) -> Self {
        self.value(column, |t| {
            t.uint(value);
        })
    }

    /// A boolean.
    #[must_use]
    pub fn boolean(self, column: u64, value: bool) -> Self {
        self.value(column, |t| {
            t.boolean(value);
        })
    }

    /// A byte string.
    #[must_use]
    pub fn bytes(self, column: u64, value: &[u8]) -> Self {
        self.value(column, |t| {
            t.bytes(value);
        })
    }

    /// A PIN.
    #[must_use]
    pub fn pin(self, column: u64, value: &Pin) -> Self {
        self.bytes(column, value.expose())
    }

    /// A reference to a row.
    #[must_use]
    pub fn uid(self, column: u64, value: Uid) -> Self {
        self.value(column, |t| {
            t.uid(value);
        })
    }

    /// A list or set of unsigned integers.
    #[must_use]
    pub fn uints(self, column: u64, values: impl IntoIterator<Item = u64>) -> Self {
        self.value(column, |t| {
            t.list(|t| {
                for value in values {
                    t.uint(value);
                }
            });
        })
    }

    /// Anything else: `write` writes the value's tokens.
    #[must_use]
    pub fn value(mut self, column: u64, write: impl FnOnce(&mut Encoder)) -> Self {
        self.tokens.named(column, write);
        self
    }

    /// Whether there is nothing to set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.as_bytes().is_empty()
    }

    /// The named values, one after the other.
    #[must_use]
    pub fn as_tokens(&self) -> &[u8] {
        self.tokens.as_bytes()
    }
}
