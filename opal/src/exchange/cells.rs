// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Cells`]: the columns of a row that a Get brought.

use alloc::vec::Vec;
use core::ops::Range;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::wire::reader::Name;
use crate::wire::token::Token;
use crate::wire::{ParseError, Reader};
use crate::{Pin, Uid};

/// Columns of a row. Which ones are there is the drive's choice: it leaves out those that the
/// session may not read. Wiped when dropped, because a cell may be a PIN.
pub struct Cells {
    tokens: Zeroizing<Vec<u8>>,
    index: Vec<(u64, Range<usize>)>,
}

impl Cells {
    /// Takes the result list's inside: `[ column = value, … ]`.
    ///
    /// # Errors
    /// Something else stands there.
    pub(super) fn parse(tokens: Zeroizing<Vec<u8>>) -> Result<Self, ParseError> {
        let mut index = Vec::new();
        let mut reader = Reader::new(&tokens);
        // A drive with nothing to show may leave even the row's brackets out.
        if !reader.at_end()? {
            reader.start_list()?;
            while let Some(name) = reader.start_name()? {
                let value = reader.value()?;
                let end = reader.offset();
                reader.end_name()?;
                if let Name::Number(column) = name {
                    index.push((column, end - value.rest().len()..end));
                }
            }
            reader.end_list()?;
        }
        Ok(Self { tokens, index })
    }

    /// Whether the drive showed nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Numbers of the columns that are there, in the drive's order.
    pub fn columns(&self) -> impl Iterator<Item = u64> + '_ {
        self.index.iter().map(|(column, _)| *column)
    }

    /// The tokens of a column's value, if it is there.
    #[must_use]
    pub fn value(&self, column: u64) -> Option<Reader<'_>> {
        let (_, range) = self.index.iter().find(|(number, _)| *number == column)?;
        self.tokens.get(range.clone()).map(Reader::new)
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// The column is absent or of another type.
    pub fn uint(&self, column: u64) -> Result<u64, Error> {
        Ok(self.required(column)?.uint()?)
    }

    /// A boolean.
    ///
    /// # Errors
    /// The column is absent or of another type.
    pub fn boolean(&self, column: u64) -> Result<bool, Error> {
        Ok(self.required(column)?.boolean()?)
    }

    /// A byte string.
    ///
    /// # Errors
    /// The column is absent or of another type.
    pub fn bytes(&self, column: u64) -> Result<&[u8], Error> {
        Ok(self.required(column)?.bytes()?)
    }

    /// A PIN.
    ///
    /// # Errors
    /// The column is absent, of another type, or too long.
    pub fn pin(&self, column: u64) -> Result<Pin, Error> {
        Pin::new(self.bytes(column)?).map_err(|_| Error::Mismatch("a PIN of more than 32 bytes"))
    }

    /// A reference to a row.
    ///
    /// # Errors
    /// The column is absent or of another type.
    pub fn uid(&self, column: u64) -> Result<Uid, Error> {
        Ok(self.required(column)?.uid()?)
    }

    /// A list or set of unsigned integers.
    ///
    /// # Errors
    /// The column is absent or of another type.
    pub fn uints(&self, column: u64) -> Result<Vec<u64>, Error> {
        let mut reader = self.required(column)?;
        let mut values = Vec::new();
        reader.start_list()?;
        while !reader.accept(Token::EndList)? {
            values.push(reader.uint()?);
        }
        Ok(values)
    }

    /// A list or set of UIDs.
    ///
    /// # Errors
    /// The column is absent or of another type.
    pub fn uids(&self, column: u64) -> Result<Vec<Uid>, Error> {
        let mut reader = self.required(column)?;
        let mut values = Vec::new();
        reader.start_list()?;
        while !reader.accept(Token::EndList)? {
            values.push(reader.uid()?);
        }
        Ok(values)
    }

    /// `read`'s result, or `None` where the drive did not show the column.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn optional<'a, T>(
        &'a self,
        column: u64,
        read: impl FnOnce(&'a Self, u64) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.value(column).is_none() {
            return Ok(None);
        }
        read(self, column).map(Some)
    }

    fn required(&self, column: u64) -> Result<Reader<'_>, Error> {
        self.value(column).ok_or(Error::NotShown { column })
    }
}
