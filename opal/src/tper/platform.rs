// SPDX-License-Identifier: MIT OR Apache-2.0
//! What surrounds a TPer: keys and PINs ([`Vault`]), byte tables and the interface ([`Platform`]).
//!
//! The TPer decides *who may*, from its tables; the platform makes it true. The TPer keeps no PIN
//! and no key, and the platform knows no ACE: it is told, as [`Grants`], which authorities open
//! what.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::Uid;

/// Names a session towards the platform, from [`Vault::verify`] to [`Vault::close_session`]. Never
/// reused while the TPer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Why the platform did not do what the TPer asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The session holds no secret that opens what is needed. The host hears NOT_AUTHORIZED.
    #[error("nothing in this session opens the key that is needed")]
    Refused,
    /// Storage, memory or hardware failed. The host hears TPER_MALFUNCTION.
    #[error("the platform failed to keep or use a key")]
    Failed,
}

/// Keeps PINs and media keys. Authorities are named by their Authority row, ranges by number (0 is
/// the Global Range).
///
/// Changes are staged: between [`begin`](Self::begin) and [`commit`](Self::commit) everything can
/// be taken back by [`rollback`](Self::rollback), what is in memory included. Calls outside such a
/// pair do not happen, but for [`random`](Self::random). Pairs are never nested.
pub trait Vault {
    /// Starts staging.
    fn begin(&mut self);

    /// What was staged is final. The owner has persisted it already
    /// (see [`Pending`](super::Pending)); nothing here may fail.
    fn commit(&mut self);

    /// Takes back everything since [`begin`](Self::begin).
    fn rollback(&mut self);

    /// Whether `challenge` is the PIN of `authority`; compares in constant time. On success the
    /// secrets that the PIN opens belong to `session` until [`close_session`](Self::close_session)
    /// or [`forget`](Self::forget). The TPer has checked try limits and that the authority is
    /// enabled. An empty PIN equals an empty challenge only.
    fn verify(&mut self, session: SessionId, authority: Uid, challenge: &[u8]) -> bool;

    /// Wipes what `authority` brought into `session` (a transaction was rolled back).
    fn forget(&mut self, session: SessionId, authority: Uid);

    /// Wipes every secret of `session`.
    fn close_session(&mut self, session: SessionId);

    /// Changes a PIN (0 to 32 bytes) with the secrets of `session`.
    ///
    /// # Errors
    /// [`VaultError::Refused`]: neither the authority's own secret nor the vault is open in
    /// `session`.
    fn set_pin(&mut self, session: SessionId, authority: Uid, pin: &[u8])
    -> Result<(), VaultError>;

    /// Gives `to` the PIN of `from` (Activate: SID to Admin1). `from` is authenticated in `session`
    /// whenever it has a PIN of its own.
    ///
    /// # Errors
    /// The platform could not.
    fn copy_pin(&mut self, session: SessionId, from: Uid, to: Uid) -> Result<(), VaultError>;

    /// Puts a PIN back to its factory value, `pin` (the MSID, or empty). Needs no secret; what only
    /// the old PIN opened is lost, which the TPer accounts for.
    ///
    /// # Errors
    /// The platform could not.
    fn reset_pin(&mut self, authority: Uid, pin: &[u8]) -> Result<(), VaultError>;

    /// Replaces the media key of `range` (making it if there was none). After
    /// [`commit`](Self::commit) no copy of the old one exists. The new key is in memory until
    /// [`lock`](Self::lock).
    ///
    /// # Errors
    /// The platform could not.
    fn new_key(&mut self, range: u16) -> Result<(), VaultError>;

    /// Brings the media key of `range` into memory, with the secrets of `session` or, without one,
    /// from the open wrap. Does nothing if it is there already.
    ///
    /// # Errors
    /// [`VaultError::Refused`]: nothing opens it.
    fn unlock(&mut self, session: Option<SessionId>, range: u16) -> Result<(), VaultError>;

    /// Wipes the media key of `range` from memory.
    fn lock(&mut self, range: u16);

    /// Brings every wrap in line with `grants`. Called after anything that may have changed them:
    /// PINs (also whether one is empty), Enabled, ACE expressions, lock settings, life cycle.
    /// Without a session only removals and what is in memory are possible, and suffice.
    ///
    /// # Errors
    /// [`VaultError::Refused`]: a wrap is missing that this session cannot make.
    fn reseal(&mut self, session: Option<SessionId>, grants: &Grants) -> Result<(), VaultError>;

    /// Fills `out` from a source fit for keys (method Random).
    fn random(&mut self, out: &mut [u8]);
}

/// A vault, byte tables, and what the interface knows.
pub trait Platform: Vault {
    /// Reads a byte table (MBR, DataStore) at `offset`; never past its size. What was never written
    /// reads as zeros. `session` is none when the shadow MBR is read as disk content.
    ///
    /// # Errors
    /// [`VaultError::Refused`]: nothing opens the table's key; [`VaultError::Failed`]: storage.
    fn read_table(
        &mut self,
        session: Option<SessionId>,
        table: Uid,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), VaultError>;

    /// Whether the interface forbids Activate now (ATA Security enabled; Opal 2.30 §5.1.1.2).
    fn activation_forbidden(&self) -> bool {
        false
    }
}

/// Who opens which key, computed from the tables (ACEs, Enabled, lock settings).
///
/// The platform refines it with what only it knows: an enabled authority **with an empty PIN**
/// protects nothing, so whatever it is listed for counts as open, and an administrator with one
/// opens the vault for everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The Locking SP is activated. While it is not, everything is open and nobody is listed.
    pub active: bool,
    /// Enabled administrators of the Locking SP: each opens the vault.
    pub administrators: Vec<Uid>,
    /// One per range, Global Range first, in ascending order.
    pub ranges: Vec<RangeGrant>,
    /// One per DataStore table, in ascending order.
    pub tables: Vec<TableGrant>,
}

/// Who opens a range's media key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeGrant {
    /// Range number; 0 is the Global Range.
    pub range: u16,
    /// Readable or writable after a power cycle without authentication, or unlockable by Anybody:
    /// an open wrap is needed. Otherwise there must be none.
    pub open: bool,
    /// Enabled authorities, classes resolved, that an ACE lets change the range's lock settings.
    pub authorities: Vec<Uid>,
    /// The range is in Single User Mode: its key is not for the vault.
    pub single_user: bool,
}

/// Who reads a DataStore table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableGrant {
    /// The table, as an InvokingID.
    pub table: Uid,
    /// Anybody may read it.
    pub open: bool,
    /// Enabled authorities, classes resolved, that an ACE lets read it.
    pub authorities: Vec<Uid>,
}

/// What the owner has to do to media and byte tables before `Pending::commit`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Write `data` into a byte table.
    WriteTable {
        /// The table, as an InvokingID.
        table: Uid,
        /// Byte offset; `offset + data.len()` is within the table.
        offset: u64,
        /// What to write. Host data: may be secret.
        data: Arc<[u8]>,
    },
    /// A byte table of `size` bytes reads as zeros from now on; 0 removes it.
    WipeTable {
        /// The table, as an InvokingID.
        table: Uid,
        /// Its size from now on.
        size: u64,
    },
    /// The range has a new media key: what it held is gone. The keys are changed already, through
    /// the vault; the owner may discard blocks and drop caches.
    EraseRange {
        /// Range number; 0 is the Global Range.
        range: u16,
    },
    /// Bounds of ranges changed: the owner drops whatever it derived from them.
    RangesMoved,
}

impl core::fmt::Debug for Effect {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::WriteTable { table, offset, data } => {
                write!(f, "WriteTable({table}, at {offset}, {} bytes)", data.len())
            }
            Self::WipeTable { table, size } => write!(f, "WipeTable({table}, {size} bytes)"),
            Self::EraseRange { range } => write!(f, "EraseRange({range})"),
            Self::RangesMoved => f.write_str("RangesMoved"),
        }
    }
}
