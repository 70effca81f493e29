// SPDX-License-Identifier: MIT OR Apache-2.0
//! Byte tables: shadow MBR and DataStore, read and written in pieces.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::{Access, ByteTable, LockingSp, ReadWrite, SecurityProvider, Session, Table};
use crate::error::Error;
use crate::exchange::request;
use crate::spec::{column, table};
use crate::wire::Status;

/// Pieces are not halved below this many bytes.
const SMALLEST_CHUNK: usize = 512;
/// Pieces at least this large are kept to whole pages, which drives write faster.
const PAGE: usize = 4096;
/// Most bytes one call reads: more than any shadow MBR is read in pieces by the caller.
const MAX_READ: usize = 256 * 1024 * 1024;

/// What the Table table says about a byte table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its size in bytes.
    pub size: u64,
    /// Offsets and lengths of writes must be multiples of this; 1 if the drive does not say.
    pub mandatory_write_granularity: u64,
    /// Accesses are best multiples of this; 1 if the drive does not say.
    pub recommended_granularity: u64,
}

/// How to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Largest piece in bytes; otherwise what was negotiated (quirk B20: some drives crawl with
    /// large ones).
    pub max_chunk: Option<usize>,
    /// [`TableInfo::mandatory_write_granularity`]; 0 counts as 1.
    pub granularity: u64,
}

impl<S: SecurityProvider, A: Access> Session<'_, S, A> {
    /// Size and granularity of a byte table: one pair.
    ///
    /// # Errors
    /// The session may not read them, or the path failed.
    pub fn table_info(&mut self, table: ByteTable<S>) -> Result<TableInfo, Error> {
        use column::table::{MANDATORY_WRITE_GRANULARITY, RECOMMENDED_ACCESS_GRANULARITY, ROWS};
        let cells = self.get(table.descriptor(), ROWS..=RECOMMENDED_ACCESS_GRANULARITY)?;
        let granularity =
            |column| Ok::<_, Error>(cells.optional(column, |c, n| c.uint(n))?.unwrap_or(1).max(1));
        Ok(TableInfo {
            size: cells.uint(ROWS)?,
            mandatory_write_granularity: granularity(MANDATORY_WRITE_GRANULARITY)?,
            recommended_granularity: granularity(RECOMMENDED_ACCESS_GRANULARITY)?,
        })
    }

    /// Reads `length` bytes from `offset`, in as many pairs as the transfer size needs; `progress`
    /// hears how many bytes are there.
    ///
    /// # Errors
    /// The session may not read them, the table is shorter, or the path failed.
    pub fn read(
        &mut self,
        table: ByteTable<S>,
        offset: u64,
        length: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        if length > MAX_READ {
            return Err(Error::Usage("too many bytes for one read"));
        }
        let mut data = Zeroizing::new(Vec::with_capacity(length));
        let mut chunk = self.limits().read_chunk();
        while data.len() < length {
            let first = offset
                .checked_add(data.len() as u64)
                .ok_or(Error::Usage("an offset beyond any table"))?;
            let size = chunk.min(length - data.len());
            let last = first.saturating_add(size as u64 - 1);
            let ask = request::read(table.uid(), first, last);
            let results = match self.call_large(ask, self.limits().receive) {
                Err(error) if may_be_size(&error) && size > SMALLEST_CHUNK => {
                    chunk = (size / 2).max(SMALLEST_CHUNK);
                    continue;
                }
                other => other?,
            };
            match results.bytes()? {
                Some(bytes) if bytes.len() == size => data.extend_from_slice(bytes),
                Some(_) => return Err(Error::Mismatch("another count of bytes")),
                None => {
                    let status = Status::NOT_AUTHORIZED;
                    return Err(Error::Method { method: "Get", status });
                }
            }
            progress(data.len());
        }
        Ok(data)
    }
}

/// A DataStore table: its number from 1, and what the drive says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataStoreTable {
    /// Its number.
    pub number: u16,
    /// Its size and granularity.
    pub info: TableInfo,
}

/// DataStore tables a drive can have: their UIDs leave room for so many (DataStore feature set).
const MAX_DATA_STORES: u32 = 2048;

impl<A: Access> Session<'_, LockingSp, A> {
    /// The DataStore tables there are: as many pairs as tables, and those of [`Session::rows`].
    ///
    /// # Errors
    /// The session may not read the Table table, or the path failed.
    pub fn data_stores(&mut self) -> Result<Vec<DataStoreTable>, Error> {
        let mut found = Vec::new();
        for descriptor in self.rows(Table::TABLE)? {
            let index = descriptor.uid().row().wrapping_sub(table::DATA_STORE);
            if index >= MAX_DATA_STORES {
                continue;
            }
            let number = index as u16 + 1;
            let info = self.table_info(ByteTable::data_store(number))?;
            found.push(DataStoreTable { number, info });
        }
        Ok(found)
    }
}

impl<S: SecurityProvider> Session<'_, S, ReadWrite> {
    /// Writes `data` from `offset` on, in as many pairs as the transfer size needs; `progress`
    /// hears how many bytes are written. Where a drive refuses a size it had announced, the
    /// pieces are halved (quirk B19). A drive that ends the session in the middle (quirk C1) is
    /// reported; a new session can go on where `progress` was.
    ///
    /// # Errors
    /// The session may not write there, the table is shorter, or the path failed.
    pub fn write(
        &mut self,
        table: ByteTable<S>,
        offset: u64,
        data: &[u8],
        options: WriteOptions,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), Error> {
        let granularity = usize::try_from(options.granularity.max(1)).unwrap_or(usize::MAX);
        let most = self.limits().write_chunk();
        let mut chunk = aligned(options.max_chunk.unwrap_or(most).min(most), granularity)?;
        let mut rest = data;
        while !rest.is_empty() {
            let done = data.len() - rest.len();
            let at = offset
                .checked_add(done as u64)
                .ok_or(Error::Usage("an offset beyond any table"))?;
            let size = chunk.min(rest.len());
            let Some((piece, behind)) = rest.split_at_checked(size) else { break };
            match self.raw(request::write(table.uid(), at, piece)) {
                Err(error) if may_be_size(&error) && size > SMALLEST_CHUNK.max(granularity) => {
                    chunk = aligned(size / 2, granularity)?;
                    continue;
                }
                other => other?,
            };
            rest = behind;
            progress(data.len() - rest.len());
        }
        Ok(())
    }
}

/// Statuses with which drives refuse a size.
fn may_be_size(error: &Error) -> bool {
    matches!(error.status(), Some(Status::INVALID_PARAMETER | Status::RESPONSE_OVERFLOW))
}

/// The largest piece that is no larger and suits the granularity.
pub(super) fn aligned(chunk: usize, granularity: usize) -> Result<usize, Error> {
    let whole = chunk / granularity * granularity;
    if whole == 0 {
        return Err(Error::Usage(
            "the table's write granularity is larger than one transfer; negotiate properties first",
        ));
    }
    let pages = whole / PAGE * PAGE;
    if pages > 0 && pages % granularity == 0 { Ok(pages) } else { Ok(whole) }
}
