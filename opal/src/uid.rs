// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Uid`]: the 8-byte names of tables, rows and methods (Core 2.01 §5.1.2).

use core::fmt;

/// The UID of a table, row, SP, authority or method. The high half names the table, the low half
/// the row. Any value survives a round trip; unknown ones print as hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uid(pub u64);

impl Uid {
    /// All zero: "no object".
    pub const NULL: Self = Self(0);

    /// Builds a UID from its halves, as the specifications print it.
    #[must_use]
    pub const fn new(table: u32, row: u32) -> Self {
        Self(((table as u64) << 32) | row as u64)
    }

    /// High half: the table this row is in.
    #[must_use]
    pub const fn table(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Low half: the row in its table.
    #[must_use]
    pub const fn row(self) -> u32 {
        self.0 as u32
    }

    /// The eight bytes on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Reads the eight bytes from the wire; any other length is not a UID.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|b| Self(u64::from_be_bytes(b)))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X} {:08X}", self.table(), self.row())
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uid({self})")
    }
}
