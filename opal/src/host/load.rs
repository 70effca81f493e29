// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Load`]: a whole image into a byte table, such as a pre-boot program into the shadow MBR.
//!
//! A load compares before it writes, piece by piece: what is there already is left alone. So a
//! load that was interrupted, by anything, is resumed by doing it again. Sessions that a drive ends
//! in the middle (quirk C1) are opened anew. At the end everything is read back.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::byte_table::aligned;
use super::{Authority, ByteTable, Host, LockingSp, Session, TableInfo, WriteOptions};
use crate::Pin;
use crate::error::Error;
use crate::transport::Transport;
use crate::wire::Status;

/// Bytes compared and written at a time, before the transfer size splits them: small enough that
/// a session that ends costs little.
const PIECE: usize = 256 * 1024;
/// Sessions opened anew without a piece done in between.
const MAX_RENEWALS: u32 = 3;

/// What to load, and how.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The table.
    pub table: ByteTable<LockingSp>,
    /// Where the image begins in it.
    pub offset: u64,
    /// The image. Where the drive writes only whole granules, zeros fill up the last one.
    pub image: &'a [u8],
    /// Compare first, and write only what differs. Off, everything is written.
    pub compare: bool,
    /// Read everything back at the end.
    pub verify: bool,
    /// Largest single write in bytes; otherwise what was negotiated (quirk B20).
    pub max_chunk: Option<usize>,
}

impl<'a> Load<'a> {
    /// The image to the table's beginning, compared first and read back.
    #[must_use]
    pub const fn new(table: ByteTable<LockingSp>, image: &'a [u8]) -> Self {
        Self { table, offset: 0, image, compare: true, verify: true, max_chunk: None }
    }
}

/// What a load is at, with bytes done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStep {
    /// Compared or written so far.
    Writing(usize),
    /// Read back so far.
    Verifying(usize),
}

/// What a load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Bytes written; the rest was there already.
    pub written: usize,
    /// Sessions that the drive ended in the middle.
    pub renewed: u32,
}

impl<T: Transport> Host<T> {
    /// Loads an image into a byte table as `authority`; `progress` hears of each piece. Negotiate
    /// [`Host::properties`] first, or it takes long.
    ///
    /// # Errors
    /// [`Error::Usage`] where the image does not fit or suit the table's granularity;
    /// [`Error::Mismatch`] where other bytes are read back than were written; what the drive
    /// says; or the path failed. Doing it again goes on where it stopped.
    pub fn load(
        &mut self,
        authority: Authority<LockingSp>,
        pin: &Pin,
        load: &Load<'_>,
        progress: &mut dyn FnMut(LoadStep),
    ) -> Result<Loaded, Error> {
        let mut state = State { load, done: 0, verified: 0, loaded: Loaded::default(), info: None };
        let mut in_vain = 0;
        loop {
            let before = (state.done, state.verified);
            let mut session = self.start::<LockingSp>().authority(authority, pin).open()?;
            match state.go_on(&mut session, progress) {
                Ok(()) => {
                    session.close()?;
                    return Ok(state.loaded);
                }
                // A drive that ended the session has no answer to what comes in it, unless it still
                // says so.
                Err(error @ (Error::SessionClosed | Error::NoAnswer { .. })) => {
                    in_vain = if (state.done, state.verified) == before { in_vain + 1 } else { 0 };
                    if in_vain >= MAX_RENEWALS {
                        return Err(error);
                    }
                    state.loaded.renewed += 1;
                }
                Err(error) => {
                    // What the drive says of the end matters less than why it comes.
                    let _ = session.close();
                    return Err(error);
                }
            }
        }
    }
}

/// How far a load is, across sessions.
struct State<'l, 'a> {
    load: &'l Load<'a>,
    done: usize,
    verified: usize,
    loaded: Loaded,
    info: Option<TableInfo>,
}

impl State<'_, '_> {
    fn go_on(
        &mut self,
        session: &mut Session<'_, LockingSp>,
        progress: &mut dyn FnMut(LoadStep),
    ) -> Result<(), Error> {
        let info = match self.info {
            Some(info) => info,
            None => *self.info.insert(session.table_info(self.load.table)?),
        };
        self.check(info)?;
        let granularity = usize::try_from(info.mandatory_write_granularity).unwrap_or(usize::MAX);
        let step = aligned(PIECE.max(granularity), granularity)?;
        let Load { table, image, compare, verify, max_chunk, .. } = *self.load;
        while self.done < image.len() {
            let (at, piece) = self.piece(self.done, step, granularity);
            if !(compare && Self::is_there(session, table, at, &piece)?) {
                let options =
                    WriteOptions { max_chunk, granularity: info.mandatory_write_granularity };
                session.write(table, at, &piece, options, &mut |_| {})?;
                self.loaded.written += piece.len().min(image.len() - self.done);
            }
            self.done = self.done.saturating_add(step).min(image.len());
            progress(LoadStep::Writing(self.done));
        }
        while verify && self.verified < image.len() {
            let (at, piece) = self.piece(self.verified, step, granularity);
            if !Self::is_there(session, table, at, &piece)? {
                return Err(Error::Mismatch("other bytes than were written"));
            }
            self.verified = self.verified.saturating_add(step).min(image.len());
            progress(LoadStep::Verifying(self.verified));
        }
        Ok(())
    }

    fn check(&self, info: TableInfo) -> Result<(), Error> {
        let granularity = info.mandatory_write_granularity;
        if self.load.offset % granularity != 0 {
            return Err(Error::Usage("the offset is no multiple of the table's write granularity"));
        }
        let length = (self.load.image.len() as u64).checked_next_multiple_of(granularity);
        let end = length.and_then(|length| length.checked_add(self.load.offset));
        if end.is_none_or(|end| end > info.size) {
            return Err(Error::Usage("the image is larger than the table"));
        }
        Ok(())
    }

    /// Where the piece at `done` of the image goes, and its bytes, filled up to whole granules.
    fn piece(&self, done: usize, step: usize, granularity: usize) -> (u64, Zeroizing<Vec<u8>>) {
        let rest = self.load.image.get(done..).unwrap_or_default();
        let mut piece = Zeroizing::new(rest.get(..step).unwrap_or(rest).to_vec());
        let whole = piece.len().next_multiple_of(granularity);
        piece.resize(whole, 0);
        (self.load.offset.saturating_add(done as u64), piece)
    }

    /// Whether the drive shows these bytes there. One that lets write but not read shows nothing.
    fn is_there(
        session: &mut Session<'_, LockingSp>,
        table: ByteTable<LockingSp>,
        at: u64,
        piece: &[u8],
    ) -> Result<bool, Error> {
        match session.read(table, at, piece.len(), &mut |_| {}) {
            Ok(found) => Ok(found[..] == *piece),
            Err(error) if error.status() == Some(Status::NOT_AUTHORIZED) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
