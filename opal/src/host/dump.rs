// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every table that a session may read, without knowing them beforehand: what Core calls Level 2
//! discovery (Core 2.01 §3.3.6.2).

use alloc::string::String;
use alloc::vec::Vec;

use super::{Access, Row, SecurityProvider, Session, Table};
use crate::Uid;
use crate::error::Error;
use crate::spec::column;
use crate::spec::name::{Kind, column as known};
use crate::wire::reader::{Name, ParseError, Reader};
use crate::wire::token::Token;

/// `table_kind`: rows of columns.
const OBJECT: u64 = 1;
/// `table_kind`: bytes.
const BYTE: u64 = 2;
/// Rows of all tables together; a drive that shows more is not making sense.
const MAX_ROWS: usize = 16_384;
/// Lists within lists in one cell.
const MAX_DEPTH: usize = 16;

/// A table as the drive describes and shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDump {
    /// The table.
    pub table: Uid,
    /// Its name, where the drive gives one.
    pub name: Option<String>,
    /// Whether it holds bytes rather than rows. Bytes are not read: [`Session::read`] does that.
    pub is_bytes: bool,
    /// Rows it has, or bytes it holds, as the drive says.
    pub size: Option<u64>,
    /// Its rows, or why there are none to show. Empty for bytes.
    pub rows: Result<Vec<RowDump>, Error>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowDump {
    /// The row.
    pub row: Uid,
    /// The columns it shows this session, by number; or why it shows none.
    pub cells: Result<Vec<(u64, Cell)>, Error>,
}

/// A value of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// An unsigned integer, a boolean, an enumerated value.
    Uint(u64),
    /// A signed integer.
    Int(i64),
    /// Bytes: text, a UID, a number wider than 64 bits.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Cell>),
    /// A name and its value, inside a list.
    Named(Vec<u8>, alloc::boxed::Box<Cell>),
    /// A PIN or a key, which is not kept: so many bytes.
    Hidden(usize),
}

impl<S: SecurityProvider, A: Access> Session<'_, S, A> {
    /// Every table that the Table table lists, with every row and column that this session may
    /// read, PINs and keys left out. Some pairs a table and one a row: hundreds on most drives.
    /// What the drive refuses is part of the result.
    ///
    /// # Errors
    /// The Table table itself cannot be read, the drive closes the session, or the path failed.
    pub fn dump(&mut self) -> Result<Vec<TableDump>, Error> {
        let mut dump = Vec::new();
        let mut budget = MAX_ROWS;
        for descriptor in self.rows(Table::TABLE)? {
            let table = Uid::new(descriptor.uid().row(), 0);
            let described = survivable(self.get_row(descriptor))?;
            let cells = described.as_ref().ok();
            let text = cells.and_then(|c| c.bytes(column::table::NAME).ok());
            let kind = cells.and_then(|c| c.uint(column::table::KIND).ok());
            let is_bytes = kind == Some(BYTE);
            let rows = match (&described, kind) {
                (Err(error), _) => Err(error.clone()),
                (Ok(_), None | Some(OBJECT)) => self.dump_rows(table, &mut budget)?,
                (Ok(_), Some(_)) => Ok(Vec::new()),
            };
            dump.push(TableDump {
                table,
                name: text.map(|name| String::from_utf8_lossy(name).into_owned()),
                is_bytes,
                size: cells.and_then(|c| c.uint(column::table::ROWS).ok()),
                rows,
            });
        }
        Ok(dump)
    }

    /// The rows of one table, as in [`Session::dump`].
    ///
    /// # Errors
    /// The table cannot be read, the drive closes the session, or the path failed.
    pub fn dump_table(&mut self, table: Table<S>) -> Result<Vec<RowDump>, Error> {
        self.dump_rows(table.uid(), &mut { MAX_ROWS })?
    }

    fn dump_rows(
        &mut self,
        table: Uid,
        budget: &mut usize,
    ) -> Result<Result<Vec<RowDump>, Error>, Error> {
        let rows = match survivable(self.rows(Table::at(table)))? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        *budget = budget
            .checked_sub(rows.len())
            .ok_or(Error::Mismatch("more rows than a drive can have"))?;
        let mut dumped = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = survivable(self.get_row(row))?.and_then(|cells| {
                let columns: Vec<u64> = cells.columns().collect();
                let read = |column| {
                    let value = cells.value(column).ok_or(Error::NotShown { column })?;
                    Ok((column, cell(row, column, value)?))
                };
                columns.into_iter().map(read).collect()
            });
            dumped.push(RowDump { row: Row::uid(row), cells });
        }
        Ok(Ok(dumped))
    }
}

/// What concerns one object is part of a dump; what concerns the session or the path ends it.
fn survivable<T>(result: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match result {
        Err(error @ (Error::Transport(_) | Error::SessionClosed | Error::TimedOut { .. })) => {
            Err(error)
        }
        other => Ok(other),
    }
}

/// A cell, unless it is a secret.
fn cell(
    row: Row<impl SecurityProvider>,
    column: u64,
    mut value: Reader<'_>,
) -> Result<Cell, Error> {
    let secret = known(row.uid().table(), column).is_some_and(|column| column.kind == Kind::Secret);
    if secret {
        return Ok(Cell::Hidden(value.bytes().map_or(0, <[u8]>::len)));
    }
    Ok(Cell::parse(&mut value, MAX_DEPTH)?)
}

impl Cell {
    fn parse(reader: &mut Reader<'_>, depth: usize) -> Result<Self, ParseError> {
        let offset = reader.offset();
        let Some(deeper) = depth.checked_sub(1) else {
            return Err(ParseError::Value { offset, what: "lists within lists without end" });
        };
        if let Some(name) = reader.start_name()? {
            let name = match name {
                Name::Number(number) => number.to_be_bytes().to_vec(),
                Name::Text(text) => text.to_vec(),
            };
            let value = Self::parse(reader, deeper)?;
            reader.end_name()?;
            return Ok(Self::Named(name, value.into()));
        }
        let spanned = reader.next("value")?;
        match spanned.token {
            Token::Uint(value) => Ok(Self::Uint(value)),
            Token::Int(value) => Ok(Self::Int(value)),
            Token::Bytes(bytes) => Ok(Self::Bytes(bytes.to_vec())),
            Token::StartList => {
                let mut cells = Vec::new();
                while !reader.accept(Token::EndList)? {
                    cells.push(Self::parse(reader, deeper)?);
                }
                Ok(Self::List(cells))
            }
            // A value in several pieces is shown piece by piece nowhere else either.
            _ => Err(ParseError::Value { offset, what: "a token that is no value" }),
        }
    }
}
