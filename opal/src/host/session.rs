// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Session`]: an open session with one SP.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::RangeInclusive;
use core::time::Duration;

use zeroize::Zeroizing;

use super::{
    Access, Authority, DataLoss, Limits, Link, ReadWrite, Row, SecurityProvider, Table,
    read_discovery, run,
};
use crate::error::Error;
use crate::exchange::method::{end_session, end_transaction, start_transaction};
use crate::exchange::{
    self, Cells, Columns, ComId, Exchange, Request, Results, SessionNumbers, request,
};
use crate::spec::column;
use crate::transport::Transport;
use crate::wire::discovery::Discovery;
use crate::wire::packet::BLOCK;
use crate::{Pin, Uid};

/// How long a session that was dropped may take to be ended.
const DROP_PATIENCE: Duration = Duration::from_secs(2);
/// Rows asked for with one Next: their UIDs fit any answer.
const NEXT_COUNT: u64 = 128;
/// More rows than any table has; a drive that goes on is not making sense.
const MAX_ROWS: usize = 65_536;

/// An open session with the SP `S`; `A` says whether it may change anything.
///
/// End it with [`Session::close`], which reports what the drive says. A session that is dropped,
/// such as by an early return with `?`, is ended too, as well as that goes: without it the drive
/// would answer SP_BUSY to the next one.
pub struct Session<'h, S, A = ReadWrite> {
    transport: &'h mut dyn Transport,
    link: &'h mut Link,
    com_id: ComId,
    numbers: SessionNumbers,
    open: bool,
    kind: PhantomData<fn() -> (S, A)>,
}

impl<'h, S: SecurityProvider, A: Access> Session<'h, S, A> {
    pub(super) fn new(
        transport: &'h mut dyn Transport,
        link: &'h mut Link,
        com_id: ComId,
        numbers: SessionNumbers,
    ) -> Self {
        Self { transport, link, com_id, numbers, open: true, kind: PhantomData }
    }

    /// The numbers that name this session.
    #[must_use]
    pub const fn numbers(&self) -> SessionNumbers {
        self.numbers
    }

    /// Ends the session: one pair.
    ///
    /// # Errors
    /// The drive did not confirm, or the path failed.
    pub fn close(mut self) -> Result<(), Error> {
        if !core::mem::replace(&mut self.open, false) {
            return Ok(());
        }
        let exchange = end_session(self.com_id, self.numbers);
        match self.run(exchange) {
            // It ended by itself just before.
            Err(Error::SessionClosed) => Ok(()),
            other => other,
        }
    }

    /// Calls any method: vendor methods, conformance tests, what has no typed form. In a session
    /// whose type is read-only the drive is the judge.
    ///
    /// # Errors
    /// [`Error::Method`] with the drive's status, or the path failed.
    pub fn raw(&mut self, call: Request) -> Result<Results, Error> {
        self.call(call, self.link.patience.ordinary)
    }

    /// Like [`Session::raw`], for a method that takes long.
    ///
    /// # Errors
    /// As [`Session::raw`].
    pub fn raw_long(&mut self, call: Request) -> Result<Results, Error> {
        self.call(call, self.link.patience.long)
    }

    /// Get of some columns of a row: one pair. Columns the session may not read are left out.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn get(&mut self, row: Row<S>, columns: RangeInclusive<u64>) -> Result<Cells, Error> {
        self.raw(request::get(row.uid(), columns))?.cells()
    }

    /// Get of every column that the session may read: one pair.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn get_row(&mut self, row: Row<S>) -> Result<Cells, Error> {
        self.raw(request::get_row(row.uid()))?.cells()
    }

    /// Rows of a table: as many pairs as the drive needs for all of them, at least one and one
    /// more for each 128 rows.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn rows(&mut self, table: Table<S>) -> Result<Vec<Row<S>>, Error> {
        let mut rows: Vec<Row<S>> = Vec::new();
        loop {
            let after = rows.last().map(|row| row.uid());
            let page = self.next(table, after, Some(NEXT_COUNT))?;
            let full = page.len() as u64 >= NEXT_COUNT;
            // A drive that ignores Where would send the same page for ever.
            if page.first().is_some_and(|first| rows.contains(first)) || rows.len() > MAX_ROWS {
                return Err(Error::Mismatch("the same rows again"));
            }
            rows.extend(page);
            if !full {
                return Ok(rows);
            }
        }
    }

    /// One Next: at most `count` rows behind `after`, in the drive's order.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn next(
        &mut self,
        table: Table<S>,
        after: Option<Uid>,
        count: Option<u64>,
    ) -> Result<Vec<Row<S>>, Error> {
        let uids = self.raw(request::next(table.uid(), after, count))?.uids()?;
        Ok(uids.into_iter().map(Row::at).collect())
    }

    /// Authenticates one more authority in this session: one pair. The session then has the
    /// rights of all of them, up to the drive's MaxAuthentications (at least one beside Anybody).
    /// Authenticating an authority again checks its PIN again, which is how a new PIN is tested
    /// without a second session.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] if the drive says no; an attempt may be used up.
    pub fn authenticate(&mut self, authority: Authority<S>, pin: &Pin) -> Result<(), Error> {
        let accepted = self.raw(request::authenticate(authority.uid(), pin))?.boolean()?;
        if accepted { Ok(()) } else { Err(Error::NotAuthenticated { authority: authority.uid() }) }
    }

    /// Random bytes from the drive; every drive gives up to 32 at once.
    ///
    /// # Errors
    /// The drive refuses, gives another count, or the path failed.
    pub fn random(&mut self, count: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let results = self.raw(request::random(count as u64))?;
        let bytes = results.bytes()?.unwrap_or_default();
        if bytes.len() != count {
            return Err(Error::Mismatch("another count of random bytes"));
        }
        Ok(Zeroizing::new(bytes.to_vec()))
    }

    /// The ACEs that guard `method` on `object` (GetACL): one pair.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn acl(&mut self, object: Uid, method: Uid) -> Result<Vec<Uid>, Error> {
        self.raw(request::acl(object, method))?.uids()
    }

    /// Whether an authority is enabled: one pair.
    ///
    /// # Errors
    /// The session may not read it (quirk C9: some drives show little of that table).
    pub fn is_enabled(&mut self, authority: Authority<S>) -> Result<bool, Error> {
        let column = column::authority::ENABLED;
        self.get(authority.row(), column..=column)?.boolean(column)
    }

    /// Level 0 discovery while the session is open, such as for the Locked bit: one lone IF-RECV.
    ///
    /// # Errors
    /// The path failed.
    pub fn discovery(&mut self) -> Result<Discovery, Error> {
        read_discovery(self.transport)
    }

    /// Starts a transaction: what follows takes effect at its end or not at all.
    ///
    /// # Errors
    /// The drive has no transactions (it may then close the session), or the path failed.
    pub fn start_transaction(&mut self) -> Result<(), Error> {
        let exchange = start_transaction(self.com_id, self.numbers);
        self.run(exchange)
    }

    /// Ends a transaction: `commit` keeps the changes, otherwise they are undone.
    ///
    /// # Errors
    /// The commit failed and everything was undone, or the path failed.
    pub fn end_transaction(&mut self, commit: bool) -> Result<(), Error> {
        let exchange = end_transaction(self.com_id, self.numbers, commit);
        self.run(exchange)
    }

    pub(super) const fn limits(&self) -> Limits {
        self.link.limits
    }

    /// How long a revert may take on this drive.
    pub(super) fn revert_patience(&self) -> Duration {
        self.link.revert_patience()
    }

    pub(super) fn call(&mut self, call: Request, patience: Duration) -> Result<Results, Error> {
        if call.com_packet_size().next_multiple_of(BLOCK) > self.link.limits.send {
            return Err(Error::Usage(
                "the request is larger than the drive takes; negotiate properties first",
            ));
        }
        let receive = self.link.limits.receive.min(exchange::DEFAULT_TRANSFER);
        let exchange = exchange::method(self.com_id, self.numbers, call).with_transfer(receive);
        self.run(exchange.with_patience(patience))
    }

    /// A Get whose answer is expected to be large.
    pub(super) fn call_large(&mut self, call: Request, size: usize) -> Result<Results, Error> {
        let exchange = exchange::method(self.com_id, self.numbers, call).with_transfer(size);
        self.run(exchange.with_patience(self.link.patience.ordinary))
    }

    fn run<V>(&mut self, exchange: Exchange<V>) -> Result<V, Error> {
        let result = run(self.transport, exchange);
        if matches!(result, Err(Error::SessionClosed)) {
            self.open = false;
        }
        result
    }
}

impl<S: SecurityProvider> Session<'_, S, ReadWrite> {
    /// Set of columns of a row, all or none: one pair.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn set(&mut self, row: Row<S>, columns: &Columns) -> Result<(), Error> {
        self.raw(request::set(row.uid(), columns)).map(drop)
    }

    /// Changes an authority's PIN: one pair. Persist the new PIN before calling this.
    ///
    /// # Errors
    /// The drive refuses, or the path failed; the PIN may have changed if no answer came.
    pub fn set_pin(&mut self, authority: Authority<S>, pin: &Pin) -> Result<(), Error> {
        self.set(authority.c_pin(), &Columns::new().pin(column::c_pin::PIN, pin))
    }

    /// Enables or disables an authority: one pair.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn set_enabled(&mut self, authority: Authority<S>, enabled: bool) -> Result<(), Error> {
        let columns = Columns::new().boolean(column::authority::ENABLED, enabled);
        self.set(authority.row(), &columns)
    }

    /// GenKey: one pair. On a media key all data under it is lost.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`], or the drive refuses, or the path failed.
    pub fn gen_key(&mut self, key: Row<S>, loss: &DataLoss) -> Result<(), Error> {
        loss.check(&self.link.identity)?;
        self.raw_long(request::gen_key(key.uid())).map(drop)
    }

    /// A method that ends the session when it succeeds.
    pub(super) fn end_with(mut self, call: Request, loss: &DataLoss) -> Result<(), Error> {
        loss.check(&self.link.identity)?;
        self.call(call, self.link.revert_patience())?;
        self.open = false;
        Ok(())
    }

    /// A destructive method after which the session goes on.
    pub(super) fn lose_data(
        &mut self,
        call: Request,
        loss: &DataLoss,
        patience: Duration,
    ) -> Result<(), Error> {
        loss.check(&self.link.identity)?;
        self.call(call, patience).map(drop)
    }

    /// How long a method that changes keys may take.
    pub(super) fn long_patience(&self) -> Duration {
        self.link.patience.long
    }
}

impl<S, A> Drop for Session<'_, S, A> {
    /// Ends the session as well as that goes; its result is lost.
    fn drop(&mut self) {
        if self.open {
            let exchange = end_session(self.com_id, self.numbers).with_patience(DROP_PATIENCE);
            let _ = run(self.transport, exchange);
        }
    }
}
