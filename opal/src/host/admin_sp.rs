// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Admin SP: MSID, ownership, life cycle, revert (Opal 2.30 §4.2, §5.1).

use super::{Access, AdminSp, Authority, DataLoss, ReadWrite, Row, SecurityProvider, Session};
use crate::error::Error;
use crate::exchange::{Columns, request};
use crate::spec::{column, sp};
use crate::{Pin, Uid};

pub use crate::exchange::request::Activate as Activation;

/// Life cycle state of an SP (Core 2.01 §5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeCycle {
    /// Not activated; sessions with it are refused.
    ManufacturedInactive,
    /// Active.
    Manufactured,
    /// Frozen until the next power cycle.
    ManufacturedFrozen,
    /// Another number.
    Other(u64),
}

/// What a C_PIN row tells about a PIN, without the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CPin {
    /// Wrong attempts after which the authority is locked out; 0 is no limit.
    pub try_limit: u64,
    /// Wrong attempts so far.
    pub tries: u64,
    /// Whether a power cycle leaves the count as it is.
    pub persistent: bool,
}

impl<A: Access> Session<'_, AdminSp, A> {
    /// The MSID, which anybody may read: one pair.
    ///
    /// # Errors
    /// The drive does not show it, or the path failed.
    pub fn msid(&mut self) -> Result<Pin, Error> {
        let column = column::c_pin::PIN;
        self.get(Row::C_PIN_MSID, column..=column)?.pin(column)
    }

    /// Life cycle state of the Locking SP, or of another by its row: one pair.
    ///
    /// # Errors
    /// The session may not read it, or the path failed.
    pub fn life_cycle(&mut self, of: Row<AdminSp>) -> Result<LifeCycle, Error> {
        let column = column::sp::LIFE_CYCLE_STATE;
        Ok(match self.get(of, column..=column)?.uint(column)? {
            sp::life_cycle::MANUFACTURED_INACTIVE => LifeCycle::ManufacturedInactive,
            sp::life_cycle::MANUFACTURED => LifeCycle::Manufactured,
            sp::life_cycle::MANUFACTURED_FROZEN => LifeCycle::ManufacturedFrozen,
            other => LifeCycle::Other(other),
        })
    }
}

impl<A: Access> Session<'_, AdminSp, A> {
    /// Whether TPER_RESET works: one pair.
    ///
    /// # Errors
    /// The session may not read it, or the path failed.
    pub fn programmatic_reset(&mut self) -> Result<bool, Error> {
        let column = column::tper_info::PROGRAMMATIC_RESET_ENABLE;
        self.get(Row::TPER_INFO, column..=column)?.boolean(column)
    }

    /// How reverts remove data, by discovery's bit number: one pair.
    ///
    /// # Errors
    /// The session may not read it, or the path failed.
    pub fn data_removal(&mut self) -> Result<u8, Error> {
        let column = column::data_removal_mechanism::ACTIVE;
        let number = self.get(Row::DATA_REMOVAL_MECHANISM, column..=column)?.uint(column)?;
        u8::try_from(number).map_err(|_| Error::Mismatch("a data removal mechanism over 255"))
    }
}

impl Session<'_, AdminSp, ReadWrite> {
    /// Activates the Locking SP: one pair, up to some seconds. Admin1's PIN becomes a copy of
    /// SID's. No data is lost. An SP that is active already stays as it is, and `activation` is
    /// ignored then.
    ///
    /// # Errors
    /// `FAIL` where the firmware holds the drive (BIOS disk password), or the path failed.
    pub fn activate(&mut self, activation: &Activation) -> Result<(), Error> {
        self.raw_long(request::activate(Row::LOCKING_SP.uid(), activation)).map(drop)
    }

    /// Reverts the whole drive to its factory state, all data lost: one pair. Ends the session.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`], or the drive refuses, or the path failed.
    pub fn revert(self, loss: &DataLoss) -> Result<(), Error> {
        self.end_with(request::revert(Row::ADMIN_SP.uid()), loss)
    }

    /// Reverts only the Locking SP, all data lost: one pair. The session goes on.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`], or the drive refuses, or the path failed.
    pub fn revert_locking_sp(&mut self, loss: &DataLoss) -> Result<(), Error> {
        let patience = self.revert_patience();
        self.lose_data(request::revert(Row::LOCKING_SP.uid()), loss, patience)
    }

    /// Lets TPER_RESET work, or not: one pair.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn set_programmatic_reset(&mut self, enabled: bool) -> Result<(), Error> {
        let columns = Columns::new().boolean(column::tper_info::PROGRAMMATIC_RESET_ENABLE, enabled);
        self.set(Row::TPER_INFO, &columns)
    }

    /// Chooses how reverts remove data, by discovery's bit number: one pair.
    ///
    /// # Errors
    /// The drive refuses, or the path failed.
    pub fn set_data_removal(&mut self, mechanism: u8) -> Result<(), Error> {
        let columns =
            Columns::new().uint(column::data_removal_mechanism::ACTIVE, u64::from(mechanism));
        self.set(Row::DATA_REMOVAL_MECHANISM, &columns)
    }
}

impl<S: SecurityProvider, A: Access> Session<'_, S, A> {
    /// Tries and try limit of an authority's PIN: one pair. On Opal 2.30 only readable once an
    /// Admin or SID is authenticated.
    ///
    /// # Errors
    /// The session may not read them, or the path failed.
    pub fn c_pin(&mut self, authority: Authority<S>) -> Result<CPin, Error> {
        use column::c_pin::{PERSISTENCE, TRIES, TRY_LIMIT};
        let cells = self.get(authority.c_pin(), TRY_LIMIT..=PERSISTENCE)?;
        Ok(CPin {
            try_limit: cells.uint(TRY_LIMIT)?,
            tries: cells.uint(TRIES)?,
            persistent: cells.optional(PERSISTENCE, |c, n| c.boolean(n))?.unwrap_or(false),
        })
    }

    /// The row's own UID as the drive reports it, which tells that the row is there: one pair.
    ///
    /// # Errors
    /// The session may not read it, or the path failed.
    pub fn uid_of(&mut self, row: Row<S>) -> Result<Uid, Error> {
        self.get(row, column::UID..=column::UID)?.uid(column::UID)
    }
}
