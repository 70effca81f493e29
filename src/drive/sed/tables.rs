// SPDX-License-Identifier: MIT OR Apache-2.0
//! Byte tables of a drive as Admin1: the shadow MBR and the DataStore, written in pieces, renewed
//! where the drive ends the session, and read back.

use opal::host::{Authority, ByteTable, LockingSp, MbrControl, ResetTypes, WriteOptions};
use opal::{Error, Transport};
use zeroize::Zeroizing;

use super::{Sed, login};
use crate::drive::{DriveError, Escrow, Role};

/// Sessions that one write may need: a drive that ends them every few minutes (quirk C1) gets a
/// long image in this many.
const MAX_SESSIONS: usize = 64;
/// Bytes compared at a time.
const PIECE: usize = 64 * 1024;

/// A byte table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The shadow MBR.
    Mbr,
    /// DataStore table N, from 1.
    DataStore(u16),
}

impl Table {
    const fn locking_sp(self) -> ByteTable<LockingSp> {
        match self {
            Self::Mbr => ByteTable::MBR,
            Self::DataStore(n) => ByteTable::data_store(n),
        }
    }
}

/// Told how many bytes are done.
pub type Bytes<'a> = &'a mut dyn FnMut(usize);

impl<T: Transport> Sed<T> {
    /// Size of a table in bytes.
    ///
    /// # Errors
    /// Admin1 is refused, or the drive has no such table.
    pub fn table_size(&mut self, table: Table, escrow: &mut dyn Escrow) -> Result<u64, DriveError> {
        self.as_admin1(escrow, |session| Ok(session.table_info(table.locking_sp())?.size))
    }

    /// Writes `data` at `offset` and reads it back. A session that the drive ends in between is
    /// renewed, and the write goes on where it was.
    ///
    /// # Errors
    /// The data does not fit, Admin1 is refused, or what is read back differs.
    pub fn write_table(
        &mut self,
        table: Table,
        offset: u64,
        data: &[u8],
        escrow: &mut dyn Escrow,
        progress: Bytes<'_>,
    ) -> Result<(), DriveError> {
        self.host.properties()?;
        let bytes = table.locking_sp();
        let info = self.as_admin1(escrow, |session| Ok(session.table_info(bytes)?))?;
        let end = offset.saturating_add(data.len() as u64);
        if end > info.size {
            return Err(DriveError::Unsupported(format!(
                "{end} bytes in this table: it has {}",
                info.size
            )));
        }
        let options =
            WriteOptions { max_chunk: None, granularity: info.mandatory_write_granularity };
        let mut done = 0;
        for _ in 0..MAX_SESSIONS {
            let rest = data.get(done..).unwrap_or_default();
            let base = done;
            let result = self.as_admin1(escrow, |session| {
                let at = offset + base as u64;
                Ok(session.write(bytes, at, rest, options, &mut |written| {
                    done = base + written;
                    progress(done);
                })?)
            });
            match result {
                // The drive's session time-out: what was written stays written.
                Err(DriveError::Opal(Error::SessionClosed)) if done > base => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        let back = self.read_table(table, offset, data.len(), escrow, &mut |_| {})?;
        if *back == data { Ok(()) } else { Err(DriveError::NotKept { what: "the table".into() }) }
    }

    /// Reads `length` bytes at `offset`.
    ///
    /// # Errors
    /// The table is shorter, or Admin1 is refused.
    pub fn read_table(
        &mut self,
        table: Table,
        offset: u64,
        length: usize,
        escrow: &mut dyn Escrow,
        progress: Bytes<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, DriveError> {
        self.host.properties()?;
        let bytes = table.locking_sp();
        let mut data = Zeroizing::new(Vec::with_capacity(length));
        for _ in 0..MAX_SESSIONS {
            let result = self.as_admin1(escrow, |session| {
                while data.len() < length {
                    let size = PIECE.min(length - data.len());
                    let at = offset + data.len() as u64;
                    data.extend_from_slice(&session.read(bytes, at, size, &mut |_| {})?);
                    progress(data.len());
                }
                Ok(())
            });
            match result {
                Err(DriveError::Opal(Error::SessionClosed)) if !data.is_empty() => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        Ok(data)
    }

    /// The shadow MBR's switches.
    ///
    /// # Errors
    /// The drive has no shadow MBR, or Admin1 is refused.
    pub fn mbr_control(&mut self, escrow: &mut dyn Escrow) -> Result<MbrControl, DriveError> {
        self.as_admin1(escrow, |session| Ok(session.mbr_control()?))
    }

    /// Changes the shadow MBR's switches and reads them back; it comes back at each power cycle.
    ///
    /// # Errors
    /// The drive has no shadow MBR, Admin1 is refused, or the drive did not keep the change.
    pub fn set_mbr_control(
        &mut self,
        enable: Option<bool>,
        done: Option<bool>,
        escrow: &mut dyn Escrow,
    ) -> Result<MbrControl, DriveError> {
        if self.discovery.locking().is_some_and(|l| l.mbr_shadowing_not_supported) {
            return Err(DriveError::Unsupported("a shadow MBR".into()));
        }
        let control = self.as_admin1(escrow, |session| {
            session.set_mbr_control(enable, done, Some(ResetTypes::POWER_CYCLE))?;
            Ok(session.mbr_control()?)
        })?;
        let kept =
            enable.is_none_or(|e| e == control.enable) && done.is_none_or(|d| d == control.done);
        if !kept {
            return Err(DriveError::NotKept { what: "the shadow MBR's switches".into() });
        }
        self.refresh()?;
        Ok(control)
    }

    /// Runs `body` in a session as Admin1 and ends it.
    fn as_admin1<R>(
        &mut self,
        escrow: &mut dyn Escrow,
        body: impl FnOnce(&mut login::LockingSession<'_>) -> Result<R, DriveError>,
    ) -> Result<R, DriveError> {
        let role = Role::Admin(1);
        login::locking(&mut self.host, role, Authority::admin(1), escrow, |mut session, _| {
            let result = body(&mut session)?;
            session.close()?;
            Ok(result)
        })
    }
}
