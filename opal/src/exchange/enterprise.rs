// SPDX-License-Identifier: MIT OR Apache-2.0
//! Method calls of Enterprise and what they return (Enterprise 1.01): optional parameters and
//! columns go by name, Get, Set and Authenticate have UIDs of their own, and a Get returns rows in
//! one list more (quirk C3).

use alloc::vec::Vec;
use core::ops::Range;

use zeroize::Zeroizing;

use super::{Request, Results};
use crate::error::Error;
use crate::spec::enterprise::parameter;
use crate::spec::{method, sp};
use crate::wire::reader::Name;
use crate::wire::token::Token;
use crate::wire::{Encoder, ParseError, Reader};
use crate::{Pin, Uid};

/// StartSession. There is no credential in it: Authenticate follows. `timeout` is SessionTimeout
/// in milliseconds.
#[must_use]
pub fn start_session(hsn: u32, provider: Uid, write: bool, timeout: Option<u32>) -> Request {
    Request::new("StartSession", sp::SESSION_MANAGER, method::START_SESSION, |t| {
        t.uint(u64::from(hsn)).uid(provider).boolean(write);
        if let Some(timeout) = timeout {
            named(t, parameter::SESSION_TIMEOUT, |t| {
                t.uint(u64::from(timeout));
            });
        }
    })
}

/// Authenticate.
#[must_use]
pub fn authenticate(who: Uid, pin: &Pin) -> Request {
    Request::new("Authenticate", sp::THIS_SP, method::ENTERPRISE_AUTHENTICATE, |t| {
        t.uid(who);
        named(t, parameter::CHALLENGE, |t| {
            t.bytes(pin.expose());
        });
    })
}

/// Get of the columns from `first` to `last` of a row, or of a table of one row.
#[must_use]
pub fn get(object: Uid, first: &str, last: &str) -> Request {
    Request::new("Get", object, method::ENTERPRISE_GET, |t| {
        t.list(|t| {
            for (name, column) in [(parameter::START_COLUMN, first), (parameter::END_COLUMN, last)]
            {
                named(t, name, |t| {
                    t.bytes(column.as_bytes());
                });
            }
        });
    })
}

/// Get of bytes `first` to `last`, both included, of a byte table. One source for the answer's
/// form.
#[must_use]
pub fn read(table: Uid, first: u64, last: u64) -> Request {
    Request::new("Get", table, method::ENTERPRISE_GET, |t| {
        t.list(|t| {
            for (name, row) in [(parameter::START_ROW, first), (parameter::END_ROW, last)] {
                named(t, name, |t| {
                    t.uint(row);
                });
            }
        });
    })
}

/// Set of columns of a row. `check` is ParamCheck, which goes with a PIN and nothing else.
#[must_use]
pub fn set(row: Uid, columns: &NamedColumns, check: Option<u16>) -> Request {
    Request::new("Set", row, method::ENTERPRISE_SET, |t| {
        t.list(|_| {});
        t.list(|t| {
            t.list(|t| {
                t.raw(columns.tokens.as_bytes());
            });
        });
        if let Some(check) = check {
            named(t, parameter::PARAM_CHECK, |t| {
                t.uint(u64::from(check));
            });
        }
    })
}

/// The check value of a PIN: its 16-bit words, an odd length filled up in front, combined with a
/// fixed beginning by exclusive or.
#[must_use]
pub fn pin_check(pin: &Pin) -> u16 {
    let bytes = pin.expose();
    let odd = bytes.len() % 2;
    bytes.iter().enumerate().fold(0x5056, |check, (index, byte)| {
        let high = (index + odd) % 2 == 0;
        check ^ if high { u16::from(*byte) << 8 } else { u16::from(*byte) }
    })
}

/// The values a Set writes, by name. Wiped when dropped.
#[derive(Default)]
pub struct NamedColumns {
    tokens: Encoder,
}

impl NamedColumns {
    /// No columns yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more column: `write` writes its value's tokens.
    #[must_use]
    pub fn value(mut self, column: &str, write: impl FnOnce(&mut Encoder)) -> Self {
        named(&mut self.tokens, column, write);
        self
    }

    /// An unsigned integer.
    #[must_use]
    pub fn uint(self, column: &str, value: u64) -> Self {
        self.value(column, |t| {
            t.uint(value);
        })
    }

    /// A boolean.
    #[must_use]
    pub fn boolean(self, column: &str, value: bool) -> Self {
        self.value(column, |t| {
            t.boolean(value);
        })
    }

    /// A PIN.
    #[must_use]
    pub fn pin(self, column: &str, value: &Pin) -> Self {
        self.value(column, |t| {
            t.bytes(value.expose());
        })
    }

    /// Whether there is nothing to set; a drive takes that for a fault.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.as_bytes().is_empty()
    }
}

/// Columns of a row by name. The drive leaves out those that the session may not read. Wiped when
/// dropped, because a cell may be a PIN.
pub struct NamedCells {
    tokens: Zeroizing<Vec<u8>>,
    index: Vec<(Range<usize>, Range<usize>)>,
}

impl NamedCells {
    /// Takes the first row of a Get's result, in one or two lists within the result list.
    ///
    /// # Errors
    /// Something else stands there.
    pub fn parse(results: &Results) -> Result<Self, Error> {
        let tokens = Zeroizing::new(results.reader().rest().to_vec());
        let mut index = Vec::new();
        let mut reader = Reader::new(&tokens);
        let mut depth = 0;
        while depth < 3 && reader.accept(Token::StartList)? {
            depth += 1;
        }
        while !reader.at_end()? {
            let Some(name) = reader.start_name()? else { break };
            let name_end = reader.offset();
            let value = reader.value()?;
            let end = reader.offset();
            reader.end_name()?;
            if let Name::Text(name) = name {
                index.push((name_end - name.len()..name_end, end - value.rest().len()..end));
            }
        }
        if depth > 0 {
            reader.end_list()?;
        }
        Ok(Self { tokens, index })
    }

    /// The tokens of a column's value, if it is there.
    #[must_use]
    pub fn value(&self, column: &str) -> Option<Reader<'_>> {
        let named =
            |range: &Range<usize>| self.tokens.get(range.clone()) == Some(column.as_bytes());
        let (_, value) = self.index.iter().find(|(name, _)| named(name))?;
        self.tokens.get(value.clone()).map(Reader::new)
    }

    /// Names of the columns that are there, in the drive's order.
    pub fn columns(&self) -> impl Iterator<Item = &[u8]> + '_ {
        self.index.iter().filter_map(|(name, _)| self.tokens.get(name.clone()))
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// The column is absent or of another type.
    pub fn uint(&self, column: &'static str) -> Result<u64, Error> {
        Ok(self.required(column)?.uint()?)
    }

    /// A PIN.
    ///
    /// # Errors
    /// The column is absent, of another type, or too long.
    pub fn pin(&self, column: &'static str) -> Result<Pin, Error> {
        let mut value = self.required(column)?;
        Pin::new(value.bytes()?).map_err(|_| Error::Mismatch("a PIN of more than 32 bytes"))
    }

    /// What `read` makes of a column's value, or `None` where the drive did not show it.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn optional<'a, T>(
        &'a self,
        column: &str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, ParseError>,
    ) -> Result<Option<T>, Error> {
        Ok(self.value(column).map(|mut value| read(&mut value)).transpose()?)
    }

    fn required(&self, column: &'static str) -> Result<Reader<'_>, Error> {
        self.value(column).ok_or(Error::NameNotShown { column })
    }
}

fn named(t: &mut Encoder, name: &str, value: impl FnOnce(&mut Encoder)) {
    t.named_bytes(name.as_bytes(), value);
}
