// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lockbox's SQLite file: one durable transaction per change of state.
//!
//! It holds sealed records and public rows only. `secure_delete` overwrites what is deleted, and
//! a truncating checkpoint follows each destruction, so the files keep no remnant.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::error::Error;
use super::faults::Faults;

/// The store's format, in SQLite's `user_version`.
pub const SCHEMA: u32 = 1;

const FILE: &str = "lockbox.db";
/// "OPLB", SQLite's `application_id`.
const APPLICATION: u32 = 0x4f50_4c42;
const BUSY: Duration = Duration::from_secs(10);
/// A change waits for the TPM, and so do those behind it.
const CHANGES: Duration = Duration::from_secs(60);
const TABLES: &str = include_str!("store/schema.sql");

/// An open store.
pub(super) struct Store {
    connection: Connection,
    dir: PathBuf,
    faults: Faults,
}

impl Store {
    /// Makes the directory (0700), the file (0600) and the tables; goes on where an earlier
    /// attempt stopped.
    pub(super) fn create(dir: &Path, faults: Faults) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(StoreError::io(dir))?;
        check_private(dir)?;
        let file = dir.join(FILE);
        if !file.try_exists().map_err(StoreError::io(&file))? {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&file)
                .and_then(|file| file.sync_all())
                .map_err(StoreError::io(&file))?;
            sync_dir(dir)?;
            if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
                sync_dir(parent)?;
            }
        }
        let mut store = Self::connect(dir, faults)?;
        if store.schema()? == 0 {
            store.write("schema", |tx| {
                tx.execute_batch(TABLES)?;
                tx.pragma_update(None, "application_id", APPLICATION)?;
                tx.pragma_update(None, "user_version", SCHEMA)?;
                Ok(())
            })?;
        }
        store.check_format()?;
        Ok(store)
    }

    /// Keeps other processes from running `init` in the same directory meanwhile.
    pub(super) fn lock_init(&self) -> Result<Flock<File>, Error> {
        let dir = File::open(&self.dir).map_err(StoreError::io(&self.dir))?;
        Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|_| StoreError::Busy.into())
    }

    /// Keeps other processes from making anchored changes meanwhile.
    pub(super) fn lock_changes(&self) -> Result<Flock<File>, Error> {
        let until = Instant::now() + CHANGES;
        let mut dir = File::open(&self.dir).map_err(StoreError::io(&self.dir))?;
        loop {
            match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err(_) if Instant::now() >= until => return Err(StoreError::Busy.into()),
                Err((back, _)) => dir = back,
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Opens an existing store.
    pub(super) fn open(dir: &Path, faults: Faults) -> Result<Self, Error> {
        if !dir.join(FILE).try_exists().map_err(StoreError::io(dir))? {
            return Err(Error::NoLockbox(dir.to_owned()));
        }
        check_private(dir)?;
        let store = Self::connect(dir, faults)?;
        if store.schema()? == 0 {
            return Err(Error::Unfinished(dir.to_owned()));
        }
        store.check_format()?;
        Ok(store)
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The fault hook.
    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Runs `change` in one transaction that holds the write lock from its start, and makes it
    /// durable. An error leaves everything as it was.
    pub(super) fn write<T>(
        &mut self,
        step: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = change(&tx)?;
        self.faults.around(step, || tx.commit().map_err(Error::from))?;
        Ok(value)
    }

    /// Runs `look` on one consistent state.
    pub(super) fn read<T>(
        &mut self,
        look: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        look(&tx)
    }

    /// The bare connection, for single statements.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Empties the write-ahead log, so that deleted records are overwritten in every file. Another
    /// process's open transaction may delay it; its own next checkpoint then does it.
    pub(super) fn scrub(&self) -> Result<(), Error> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(Error::from)
    }

    /// SQLite's own check of the file, a line per problem.
    pub(super) fn integrity(&self) -> Result<Vec<String>, Error> {
        let mut statement = self.connection.prepare("PRAGMA integrity_check(20)")?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    fn connect(dir: &Path, faults: Faults) -> Result<Self, Error> {
        let file = dir.join(FILE);
        check_private(&file)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
             PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;",
        )?;
        Ok(Self { connection, dir: dir.to_owned(), faults })
    }

    fn schema(&self) -> Result<u32, Error> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }

    fn check_format(&self) -> Result<(), Error> {
        let application: u32 =
            self.connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if application != APPLICATION {
            return Err(StoreError::NotOurs(self.dir.join(FILE)).into());
        }
        match self.schema()? {
            SCHEMA => Ok(()),
            found => Err(StoreError::Newer { found, known: SCHEMA }.into()),
        }
    }
}

/// A failure of the store's file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds the store.
    #[error("another process is changing the lockbox")]
    Busy,
    /// The file system is full.
    #[error("no space is left where the lockbox is stored; nothing was changed")]
    Full,
    /// The file is damaged.
    #[error("the lockbox's file is damaged: {0}")]
    Damaged(String),
    /// The file cannot be written.
    #[error("the lockbox cannot be written: {0}")]
    ReadOnly(String),
    /// The file is another program's.
    #[error("{} is not a lockbox", .0.display())]
    NotOurs(PathBuf),
    /// The file is of a newer version.
    #[error("the lockbox has format {found}; this opalbox knows format {known}")]
    Newer {
        /// The file's format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The operating system refused.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its answer.
        error: std::io::Error,
    },
    /// Anything else that SQLite reports.
    #[error("the lockbox's file: {0}")]
    Other(String),
}

impl StoreError {
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Busy => "Wait for the other opalbox command to finish, then try again.",
            Self::Full => "Free some space, then run the same command again.",
            Self::Damaged(_) => {
                "Keep a copy of the directory, check the disk, and restore the lockbox from its \
                 backup."
            }
            Self::ReadOnly(_) | Self::Io { .. } => {
                "Check who owns the directory, how it is mounted, and that you run as that user."
            }
            Self::NotOurs(_) => "Name the lockbox's own directory with --store.",
            Self::Newer { .. } => "Use the newer opalbox that wrote it.",
            Self::Other(_) => "Run `opalbox lockbox check`.",
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io { path, error },
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(text),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly(text)
            }
            _ => Self::Other(text),
        }
    }
}

/// Refuses a file or directory that others may read or that belongs to someone else.
fn check_private(path: &Path) -> Result<(), Error> {
    let meta = fs::metadata(path).map_err(StoreError::io(path))?;
    let exposed = |what: String| Err(Error::Exposed { path: path.to_owned(), what });
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return exposed(format!("is open to other users (mode {mode:03o})"));
    }
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return exposed(format!("belongs to another user (uid {})", meta.uid()));
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io(dir))?;
    Ok(())
}

#[cfg(test)]
mod tests;
