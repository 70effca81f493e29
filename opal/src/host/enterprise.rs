// SPDX-License-Identifier: MIT OR Apache-2.0
//! Enterprise drives: bands instead of ranges, BandMasters and EraseMaster instead of users
//! (Enterprise 1.01).
//!
//! ```no_run
//! use opal::host::{Authority, EnterpriseSp, Host, Identity, RangeConfig};
//! # fn run(host: &mut Host<impl opal::Transport>, pin: &opal::Pin) -> Result<(), opal::Error> {
//! let master = Authority::band_master(1);
//! let mut session = host.start_enterprise::<EnterpriseSp>().authority(master, pin).open()?;
//! session.set_band(1, &RangeConfig::locked(true, true))?;
//! session.close()
//! # }
//! ```
//!
//! Sessions of the Opal family do not open on these drives, nor these on those:
//!
//! ```compile_fail,E0277
//! # use opal::host::*;
//! # fn f(host: &mut Host<impl opal::Transport>) -> Result<(), opal::Error> {
//! host.start::<EnterpriseSp>().open()?;
//! # Ok(()) }
//! ```
//!
//! **Experimental** where one source tells: [`EnterpriseSession::read_data_store`],
//! [`EnterpriseSession::revert`], [`EnterpriseSession::set_pin_checked`]. Each says so.

use alloc::vec::Vec;
use core::marker::PhantomData;

use zeroize::Zeroizing;

use super::{
    AdminSp, Authority, DataLoss, Link, RangeConfig, RangeState, ReadWrite, ResetTypes, Row,
    Session, com_id_or_discover, run,
};
use crate::Pin;
use crate::error::Error;
use crate::exchange::enterprise::{self as request, NamedCells, NamedColumns};
use crate::exchange::request as core_request;
use crate::exchange::start_session::start_session_with;
use crate::exchange::{Request, Results, SessionNumbers};
use crate::spec::enterprise::{self, column};
use crate::spec::{authority, c_pin, sp, table};
use crate::transport::Transport;
use crate::wire::token::Token;
use crate::wire::{Reader, Status};

/// SessionTimeout that sessions ask for unless told otherwise, in milliseconds: what other hosts
/// send, because a session that is lost would block the drive.
const TIMEOUT: u32 = 60_000;
/// More bands than the specification allows.
const MAX_BANDS: u64 = 1023;

/// An SP of an Enterprise drive: [`EnterpriseAdminSp`] or [`EnterpriseSp`].
pub trait EnterpriseProvider: super::provider::Sealed + 'static {
    /// Its UID.
    const UID: crate::Uid;
}

/// The Admin SP of an Enterprise drive: MSID and SID.
#[derive(Debug)]
pub enum EnterpriseAdminSp {}

/// The Locking SP of an Enterprise drive: bands and their masters. Always active.
#[derive(Debug)]
pub enum EnterpriseSp {}

impl super::provider::Sealed for EnterpriseAdminSp {}
impl EnterpriseProvider for EnterpriseAdminSp {
    const UID: crate::Uid = sp::ADMIN;
}

impl super::provider::Sealed for EnterpriseSp {}
impl EnterpriseProvider for EnterpriseSp {
    const UID: crate::Uid = sp::ENTERPRISE_LOCKING;
}

impl Authority<EnterpriseAdminSp> {
    /// The owner of an Enterprise drive.
    pub const ENTERPRISE_SID: Self = Self::at(authority::SID);
    /// Whoever can read an Enterprise drive's label, where it has a PSID (quirks C5, C6).
    pub const ENTERPRISE_PSID: Self = Self::at(authority::PSID);
}

impl Authority<EnterpriseSp> {
    /// The master of band `n`; band 0 is the Global Range.
    #[must_use]
    pub const fn band_master(n: u16) -> Self {
        Self::at(authority::enterprise::band_master(n))
    }

    /// The authority that may erase bands.
    pub const ERASE_MASTER: Self = Self::at(authority::enterprise::ERASE_MASTER);
}

impl Row<EnterpriseSp> {
    /// The Locking row of band `n`; 0 is the Global Range.
    #[must_use]
    pub const fn band(n: u16) -> Self {
        Self::at(enterprise::band(n))
    }
}

/// A session with an Enterprise SP about to be opened. As Anybody unless
/// [`EnterpriseStart::authority`] is called.
#[must_use = "nothing is sent before `open`"]
pub struct EnterpriseStart<'h, 'p, S> {
    transport: &'h mut dyn Transport,
    link: &'h mut Link,
    credential: Option<(Authority<S>, &'p Pin)>,
    timeout: Option<u32>,
}

impl<'h, 'p, S: EnterpriseProvider> EnterpriseStart<'h, 'p, S> {
    pub(super) fn new<T: Transport>(transport: &'h mut T, link: &'h mut Link) -> Self {
        Self { transport, link, credential: None, timeout: Some(TIMEOUT) }
    }

    /// Who authenticates when the session is open: Enterprise takes no credential before.
    pub fn authority(mut self, authority: Authority<S>, pin: &'p Pin) -> Self {
        self.credential = Some((authority, pin));
        self
    }

    /// The session time-out to ask for, in milliseconds; `None` leaves it to the drive.
    pub fn timeout(mut self, milliseconds: Option<u32>) -> Self {
        self.timeout = milliseconds;
        self
    }

    /// Opens the session: one pair, and one more with a credential. A drive that does not like
    /// the time-out is asked again without.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] if the drive rejects the credential (an attempt is used up), or
    /// what the drive says.
    pub fn open(self) -> Result<EnterpriseSession<'h, S>, Error> {
        let com_id = com_id_or_discover(self.transport, self.link)?;
        let Self { transport, link, credential, mut timeout } = self;
        let numbers = loop {
            link.last_hsn = link.last_hsn.checked_add(1).unwrap_or(1);
            let hsn = link.last_hsn;
            let start = request::start_session(hsn, S::UID, true, timeout);
            let exchange = start_session_with(com_id, hsn, start);
            match run(transport, exchange.with_patience(link.patience.ordinary)) {
                Ok(numbers) => break numbers,
                Err(error) => {
                    let refused = error.status() == Some(Status::INVALID_PARAMETER)
                        || matches!(error, Error::NoAnswer { .. });
                    if timeout.take().is_none() || !refused {
                        return Err(error);
                    }
                }
            }
        };
        let channel = Session::new(transport, link, com_id, numbers);
        let mut session = EnterpriseSession { channel, provider: PhantomData };
        if let Some((authority, pin)) = credential {
            session.authenticate(authority, pin)?;
        }
        Ok(session)
    }
}

/// An open session with the SP `S` of an Enterprise drive. One that is dropped is ended too, as
/// well as that goes.
pub struct EnterpriseSession<'h, S> {
    /// Carries calls; its typed methods speak Opal and are not for these drives.
    channel: Session<'h, AdminSp, ReadWrite>,
    provider: PhantomData<fn() -> S>,
}

impl<S: EnterpriseProvider> EnterpriseSession<'_, S> {
    /// The numbers that name this session.
    #[must_use]
    pub const fn numbers(&self) -> SessionNumbers {
        self.channel.numbers()
    }

    /// Ends the session: one pair.
    ///
    /// # Errors
    /// The drive did not confirm, or the path failed.
    pub fn close(self) -> Result<(), Error> {
        self.channel.close()
    }

    /// Calls any method, such as a vendor's. Calls are in [`crate::exchange::enterprise`].
    ///
    /// # Errors
    /// [`Error::Method`] with the drive's status, or the path failed.
    pub fn raw(&mut self, call: Request) -> Result<Results, Error> {
        self.channel.raw(call)
    }

    /// Authenticates one more authority in this session: one pair.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] if the drive says no; an attempt may be used up.
    pub fn authenticate(&mut self, authority: Authority<S>, pin: &Pin) -> Result<(), Error> {
        let refused = Error::NotAuthenticated { authority: authority.uid() };
        match self.raw(request::authenticate(authority.uid(), pin)) {
            Ok(results) => {
                if results.boolean()? {
                    Ok(())
                } else {
                    Err(refused)
                }
            }
            Err(error) if error.status() == Some(Status::NOT_AUTHORIZED) => Err(refused),
            Err(error) => Err(error),
        }
    }

    /// Get of the columns from `first` to `last`, in the drive's order: one pair. Columns the
    /// session may not read are left out.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn get(&mut self, row: Row<S>, first: &str, last: &str) -> Result<NamedCells, Error> {
        NamedCells::parse(&self.raw(request::get(row.uid(), first, last))?)
    }

    /// Set of columns of a row, all or none: one pair.
    ///
    /// # Errors
    /// The drive refuses or says that it did not, or the path failed.
    pub fn set(&mut self, row: Row<S>, columns: &NamedColumns) -> Result<(), Error> {
        self.set_with(row, columns, None)
    }

    /// Changes an authority's PIN: one pair. Persist the new PIN before calling this. On some
    /// drives only the first BandMasters accept it (quirk C7).
    ///
    /// # Errors
    /// The drive refuses, or the path failed; the PIN may have changed if no answer came.
    pub fn set_pin(&mut self, authority: Authority<S>, pin: &Pin) -> Result<(), Error> {
        self.set(authority.c_pin(), &NamedColumns::new().pin(column::PIN, pin))
    }

    /// As [`EnterpriseSession::set_pin`], with a check value by which the drive notices a PIN that
    /// was damaged on its way. Experimental: no drive is known to have been tried.
    ///
    /// # Errors
    /// As [`EnterpriseSession::set_pin`]; `INVALID_PARAMETER` also where the drive does not know
    /// the check value.
    pub fn set_pin_checked(&mut self, authority: Authority<S>, pin: &Pin) -> Result<(), Error> {
        let columns = NamedColumns::new().pin(column::PIN, pin);
        self.set_with(authority.c_pin(), &columns, Some(request::pin_check(pin)))
    }

    /// Random bytes from the drive, up to 32.
    ///
    /// # Errors
    /// The drive refuses, gives another count, or the path failed.
    pub fn random(&mut self, count: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.channel.random(count)
    }

    fn set_with(
        &mut self,
        row: Row<S>,
        columns: &NamedColumns,
        check: Option<u16>,
    ) -> Result<(), Error> {
        if columns.is_empty() {
            return Err(Error::Usage("a Set on an Enterprise drive needs a column"));
        }
        let results = self.raw(request::set(row.uid(), columns, check))?;
        // The result is one boolean; other hosts do not look at it, so its absence is no error.
        if !results.reader().at_end()? && !results.boolean()? {
            return Err(Error::Mismatch("that it did not set the values"));
        }
        Ok(())
    }
}

impl EnterpriseSession<'_, EnterpriseAdminSp> {
    /// The MSID, which anybody may read and which every master's PIN begins as: one pair.
    ///
    /// # Errors
    /// The drive does not show it, or the path failed.
    pub fn msid(&mut self) -> Result<Pin, Error> {
        self.get(Row::at(c_pin::MSID), column::PIN, column::PIN)?.pin(column::PIN)
    }

    /// Reverts the drive, all data lost; the session must be SID's or PSID's. Ends the session.
    /// Experimental: a vendor's addition that not every drive has (quirk C8).
    ///
    /// # Errors
    /// [`Error::NotThisDrive`], or the drive refuses, or the path failed.
    pub fn revert(self, loss: &DataLoss) -> Result<(), Error> {
        self.channel.revert(loss)
    }
}

impl EnterpriseSession<'_, EnterpriseSp> {
    /// How many bands there are beside the Global Range: one pair.
    ///
    /// # Errors
    /// The drive does not show it, or the path failed.
    pub fn max_bands(&mut self) -> Result<u16, Error> {
        let info = Row::at(table::uid(table::LOCKING_INFO));
        let bands = self.get(info, column::MAX_RANGES, column::MAX_RANGES)?;
        // Never more than the specification's most: hosts ask for each of them.
        Ok(bands.uint(column::MAX_RANGES)?.min(MAX_BANDS) as u16)
    }

    /// State of band `n` (0 is the Global Range), which anybody may read: one pair.
    ///
    /// # Errors
    /// There is no such band, or the path failed.
    pub fn band(&mut self, n: u16) -> Result<RangeState, Error> {
        let cells = self.get(Row::band(n), column::RANGE_START, column::LOCK_ON_RESET)?;
        if cells.columns().next().is_none() {
            return Err(Error::NameNotShown { column: column::RANGE_START });
        }
        Ok(RangeState {
            start: cells.optional(column::RANGE_START, Reader::uint)?,
            length: cells.optional(column::RANGE_LENGTH, Reader::uint)?,
            read_lock_enabled: cells.optional(column::READ_LOCK_ENABLED, Reader::boolean)?,
            write_lock_enabled: cells.optional(column::WRITE_LOCK_ENABLED, Reader::boolean)?,
            read_locked: cells.optional(column::READ_LOCKED, Reader::boolean)?,
            write_locked: cells.optional(column::WRITE_LOCKED, Reader::boolean)?,
            lock_on_reset: cells.optional(column::LOCK_ON_RESET, |value| {
                let mut numbers = Vec::new();
                value.start_list()?;
                while !value.accept(Token::EndList)? {
                    numbers.push(value.uint()?);
                }
                Ok(ResetTypes::from_numbers(numbers))
            })?,
            active_key: None,
        })
    }

    /// Changes band `n` with one Set, as its BandMaster: one pair. Read it back with
    /// [`EnterpriseSession::band`] and [`RangeConfig::is_met_by`].
    ///
    /// # Errors
    /// The drive refuses (the Global Range has no start and length to set), or the path failed.
    pub fn set_band(&mut self, n: u16, config: &RangeConfig) -> Result<(), Error> {
        let mut columns = NamedColumns::new();
        let numbers = [(column::RANGE_START, config.start), (column::RANGE_LENGTH, config.length)];
        for (name, value) in numbers {
            columns = if let Some(value) = value { columns.uint(name, value) } else { columns };
        }
        let flags = [
            (column::READ_LOCK_ENABLED, config.read_lock_enabled),
            (column::WRITE_LOCK_ENABLED, config.write_lock_enabled),
            (column::READ_LOCKED, config.read_locked),
            (column::WRITE_LOCKED, config.write_locked),
        ];
        for (name, value) in flags {
            columns = if let Some(value) = value { columns.boolean(name, value) } else { columns };
        }
        if let Some(resets) = config.lock_on_reset {
            columns = columns.value(column::LOCK_ON_RESET, |t| {
                t.list(|t| {
                    for number in resets.numbers() {
                        t.uint(number);
                    }
                });
            });
        }
        self.set(Row::band(n), &columns)
    }

    /// Erases band `n`, as EraseMaster: its key is new, its locks are off, its master's PIN is the
    /// MSID again; start and length stay. One pair.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`], or the drive refuses, or the path failed.
    pub fn erase_band(&mut self, n: u16, loss: &DataLoss) -> Result<(), Error> {
        let patience = self.channel.long_patience();
        self.channel.lose_data(core_request::erase(enterprise::band(n)), loss, patience)
    }

    /// Bytes of the DataStore, which anybody may read; at most what one answer carries. One pair.
    /// Experimental: the answer's form rests on one source.
    ///
    /// # Errors
    /// The drive refuses, gives another count, or the path failed.
    pub fn read_data_store(
        &mut self,
        offset: u64,
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let limits = self.channel.limits();
        if length == 0 || length > limits.read_chunk() {
            return Err(Error::Usage("between one byte and what one answer carries, please"));
        }
        let last = offset
            .checked_add(length as u64 - 1)
            .ok_or(Error::Usage("an offset beyond any table"))?;
        let ask = request::read(enterprise::DATA_STORE, offset, last);
        let results = self.channel.call_large(ask, limits.receive)?;
        let mut reader = results.reader();
        // Some list it, some do not.
        reader.accept(Token::StartList)?;
        let bytes = reader.bytes()?;
        if bytes.len() != length {
            return Err(Error::Mismatch("another count of bytes"));
        }
        Ok(Zeroizing::new(bytes.to_vec()))
    }
}
