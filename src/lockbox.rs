// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lockbox: the one place where secrets persist.
//!
//! A [`Lockbox`] keeps opaque secrets in sealed records in a local store. A provider (a TPM, or a
//! passphrase) rebuilds the key above them, once per process, at the first operation that needs
//! it. It knows nothing of drives: owners, roles and asset ids are the caller's words.
//!
//! ```no_run
//! use std::sync::Arc;
//! use opalbox::lockbox::{Kind, Lockbox, OpenOptions, Origin};
//! use opalbox::secret::Secret;
//!
//! # fn main() -> Result<(), opalbox::lockbox::Error> {
//! let lockbox = Lockbox::open("/var/lib/opalbox".as_ref(), OpenOptions::default())?;
//! let pin = Secret::from_slice(b"0123456789abcdef0123456789abcdef");
//! let version = lockbox.stage("drive/S1", "SID", Kind::DrivePin, &pin, Origin::Generated)?;
//! lockbox.mark_set_issued("drive/S1", "SID")?;
//! // … Set the PIN in the drive, prove it with a fresh session, then:
//! lockbox.activate("drive/S1", "SID", version, None)?;
//! # Ok(())
//! # }
//! ```

mod anchor;
mod asset;
mod credential;
mod encode;
mod epoch;
mod error;
mod faults;
mod file;
mod id;
mod journal;
mod keyring;
pub mod provider;
mod record;
mod rows;
mod status;
mod store;
pub mod tpm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Transaction;

use keyring::Keyring;
use provider::{Capabilities, Prompt, ProviderConfig, Unattended};
use record::RecordId;
use store::Store;
use tpm::{Tcti, TpmRunner};

pub use asset::{Asset, Assets, MAX_ATTRIBUTES, MAX_VALUE};
pub use credential::{Credential, Version, VersionState};
pub use epoch::{EpochKeys, NEK_LEN, Scope};
pub use error::{AnchorProblem, Error, JournalProblem, Refusal};
pub use faults::{Faults, Point};
pub use file::{FileConfig, MIN_PASSPHRASE};
pub use id::{KeyId, Kind, MAX_NAME, Origin};
pub use record::MAX_SECRET;
pub use status::{Check, DomainStatus, Finding, KeyInfo, Severity, Status};
pub use store::{SCHEMA, StoreError};

use crate::secret::Secret;

/// Where a machine's lockbox is unless `--store` says otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/opalbox";
/// The domain of drive credentials.
pub const DEFAULT_DOMAIN: &str = "drives";

/// How to make a lockbox.
pub struct InitOptions {
    /// What protects it.
    pub provider: ProviderConfig,
    /// Its first domain.
    pub domain: String,
    /// Asks for the new passphrase or PIN.
    pub prompt: Arc<dyn Prompt>,
    /// In which process the TPM library runs.
    pub runner: TpmRunner,
    /// Fault injection, for tests.
    pub faults: Faults,
}

impl InitOptions {
    /// The usual domain, no faults.
    #[must_use]
    pub fn new(provider: ProviderConfig, prompt: Arc<dyn Prompt>) -> Self {
        Self {
            provider,
            domain: DEFAULT_DOMAIN.into(),
            prompt,
            runner: TpmRunner::default(),
            faults: Faults::none(),
        }
    }
}

/// How to open a lockbox.
pub struct OpenOptions {
    /// Asks for a passphrase or PIN when the provider needs one.
    pub prompt: Arc<dyn Prompt>,
    /// Reach the TPM this way instead of the way noted at init.
    pub tcti: Option<Tcti>,
    /// In which process the TPM library runs.
    pub runner: TpmRunner,
    /// Fault injection, for tests.
    pub faults: Faults,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            prompt: Arc::new(Unattended),
            tcti: None,
            runner: TpmRunner::default(),
            faults: Faults::none(),
        }
    }
}

/// An open lockbox. Shared by reference between threads; several processes may have the same one
/// open.
pub struct Lockbox {
    inner: Mutex<Inner>,
    dir: PathBuf,
}

struct Inner {
    store: Store,
    keyring: Keyring,
    /// Whether the store was found to be the newest one.
    newest: bool,
}

/// How much an old store put back would matter to a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Not at all: part of unlocking.
    Plain,
    /// It must be the newest store.
    Guarded,
    /// And the TPM counts the change.
    Anchored,
}

impl Lockbox {
    /// Makes a lockbox in `dir`, or goes on where an interrupted `init` stopped. Returns it open.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is a complete one; otherwise the store's or the provider's.
    pub fn init(dir: &Path, options: InitOptions) -> Result<Self, Error> {
        id::check_name("a domain", &options.domain)?;
        let mut store = Store::create(dir, options.faults.clone())?;
        let keyring = Keyring::init(&mut store, options)?;
        Ok(Self { inner: Mutex::new(Inner { store, keyring, newest: false }), dir: dir.to_owned() })
    }

    /// Opens the lockbox in `dir`. Talks to no provider and asks nobody yet.
    ///
    /// # Errors
    /// [`Error::NoLockbox`], [`Error::Unfinished`], [`Error::Exposed`], or the store's.
    pub fn open(dir: &Path, options: OpenOptions) -> Result<Self, Error> {
        let mut store = Store::open(dir, options.faults.clone())?;
        let keyring = Keyring::open(&mut store, options)?;
        Ok(Self { inner: Mutex::new(Inner { store, keyring, newest: false }), dir: dir.to_owned() })
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the provider can do and what it does not protect. Needs no provider.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inner().keyring.capabilities()
    }

    /// What is in it, without opening it.
    ///
    /// # Errors
    /// The store's.
    pub fn status(&self) -> Result<Status, Error> {
        let Inner { store, keyring, .. } = &mut *self.inner();
        status::status(store, keyring)
    }

    /// Opens it and looks at every record and row. A damaged one is a finding, never an error.
    ///
    /// # Errors
    /// The store's, if it cannot be read at all.
    pub fn check(&self) -> Result<Check, Error> {
        let Inner { store, keyring, .. } = &mut *self.inner();
        status::check(store, keyring)
    }

    /// Every key, what it is for and which versions it has. Needs no provider; the rows are shown
    /// as they stand, unchecked.
    ///
    /// # Errors
    /// The store's.
    pub fn keys(&self) -> Result<Vec<KeyInfo>, Error> {
        self.inner().store.read(status::keys)
    }

    /// Opens the provider now rather than at the first secret, to fail early.
    ///
    /// # Errors
    /// The provider's.
    pub fn unlock(&self) -> Result<(), Error> {
        let Inner { store, keyring, .. } = &mut *self.inner();
        keyring.keys(store).map(|_| ())
    }

    /// Wipes the opened key from memory. The next secret opens the provider again.
    pub fn relock(&self) {
        self.inner().keyring.forget();
    }

    /// Approves the boot state that is measured now, so that the lockbox opens in it. Asks for the
    /// administrator's PIN if there is one.
    ///
    /// # Errors
    /// The provider's; [`Error::Input`] if it is not a TPM.
    pub fn enroll(&self) -> Result<(), Error> {
        let Inner { store, keyring, .. } = &mut *self.inner();
        keyring.enroll(store)
    }

    /// Takes the store as it is for the newest one, after an old copy was put back on purpose or
    /// the TPM's state was. Asks for the administrator's PIN if there is one.
    ///
    /// # Errors
    /// The provider's and the store's.
    pub fn accept_store(&self) -> Result<(), Error> {
        let Inner { store, keyring, .. } = &mut *self.inner();
        let _alone = store.lock_changes()?;
        anchor::accept(store, keyring)
    }

    // Keys that belong to no journal

    /// Seals a secret under a new Key ID, as version 1.
    ///
    /// # Errors
    /// The provider's and the store's.
    pub fn key_create(&self, kind: Kind, secret: &Secret, origin: Origin) -> Result<KeyId, Error> {
        let key = KeyId::random()?;
        self.write(Weight::Guarded, "create key", |tx, keys| {
            rows::insert_key(tx, keys, key, kind)?;
            let origin = origin.clone();
            let version = Version { number: 1, state: VersionState::Active, origin, sent: false };
            rows::write_version(tx, key, &version)?;
            rows::write_record(tx, keys, &RecordId { key, version: 1, kind }, secret)
        })?;
        Ok(key)
    }

    /// The secret of one version of a key.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Refused`]; the provider's and the store's.
    pub fn key_secret(&self, key: KeyId, version: u64) -> Result<Secret, Error> {
        self.read(|tx, keys| {
            let kind = rows::key_kind(tx, keys, key)?;
            rows::read_record(tx, keys, &RecordId { key, version, kind })
        })
    }

    /// The secrets of many versions of keys, in that order, from one consistent state. One that is
    /// refused or unknown is an error in its place and never stands in the way of the others.
    ///
    /// # Errors
    /// The provider's and the store's.
    pub fn key_secrets(
        &self,
        wanted: &[(KeyId, u64)],
    ) -> Result<Vec<Result<Secret, Error>>, Error> {
        self.read(|tx, keys| {
            wanted
                .iter()
                .map(|&(key, version)| {
                    let opened = rows::key_kind(tx, keys, key).and_then(|kind| {
                        rows::read_record(tx, keys, &RecordId { key, version, kind })
                    });
                    match opened {
                        Err(error @ (Error::Refused { .. } | Error::Unknown { .. })) => {
                            Ok(Err(error))
                        }
                        Err(error) => Err(error),
                        Ok(secret) => Ok(Ok(secret)),
                    }
                })
                .collect()
        })
    }

    /// Destroys a key that no asset names and no journal holds.
    ///
    /// # Errors
    /// [`Error::Referenced`], [`Error::Unknown`]; the provider's and the store's.
    pub fn key_destroy(&self, key: KeyId) -> Result<(), Error> {
        self.write(Weight::Anchored, "destroy key", |tx, keys| {
            rows::key_kind(tx, keys, key)?;
            rows::check_references(tx, keys, key)?;
            let mut holders = rows::references(tx, key)?;
            let journals = rows::peek_credentials(tx, None)?;
            let journal = journals.iter().find(|c| c.key_id == key);
            holders.extend(journal.map(|c| format!("{} {}", c.owner, c.role)));
            if holders.is_empty() {
                rows::delete_key(tx, key)
            } else {
                Err(Error::Referenced { key, assets: holders })
            }
        })?;
        self.inner().store.scrub()
    }

    // Assets

    /// Writes or replaces an asset that names a key.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Unknown`] for the key, [`Error::Refused`] if rows were altered.
    pub fn asset_put(
        &self,
        id: &str,
        key_id: KeyId,
        attributes: BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let asset = Asset { id: id.to_owned(), key_id, attributes };
        asset.check()?;
        self.write(Weight::Anchored, "put asset", |tx, keys| {
            rows::key_kind(tx, keys, key_id)?;
            rows::check_references(tx, keys, key_id)?;
            let before = checked_asset(tx, keys, rows::peek_asset(tx, id)?)?;
            let moved = before.map(|before| before.key_id).filter(|old| *old != key_id);
            if let Some(old) = moved {
                rows::check_references(tx, keys, old)?;
            }
            rows::write_asset(tx, keys, &asset)?;
            rows::write_references(tx, keys, key_id)?;
            moved.map_or(Ok(()), |old| rows::write_references(tx, keys, old))
        })
    }

    /// An asset, its row checked.
    ///
    /// # Errors
    /// [`Error::Refused`] if the row was altered; the provider's and the store's.
    pub fn asset(&self, id: &str) -> Result<Option<Asset>, Error> {
        self.read(|tx, keys| checked_asset(tx, keys, rows::peek_asset(tx, id)?))
    }

    /// All assets, their rows checked.
    ///
    /// # Errors
    /// The provider's and the store's; altered rows are in the answer.
    pub fn assets(&self) -> Result<Assets, Error> {
        self.read(|tx, keys| {
            let mut all = Assets::default();
            for asset in rows::peek_assets(tx)? {
                let checked =
                    asset.and_then(|asset| rows::check_asset(tx, keys, &asset).map(|()| asset));
                match checked {
                    Ok(asset) => all.assets.push(asset),
                    Err(error @ Error::Refused { .. }) => all.refused.push(error),
                    Err(error) => return Err(error),
                }
            }
            Ok(all)
        })
    }

    /// Removes an asset; its key stays. Gives whether it was there.
    ///
    /// # Errors
    /// [`Error::Refused`] if rows were altered; the provider's and the store's.
    pub fn asset_remove(&self, id: &str) -> Result<bool, Error> {
        self.write(Weight::Anchored, "remove asset", |tx, keys| {
            let Some(asset) = checked_asset(tx, keys, rows::peek_asset(tx, id)?)? else {
                return Ok(false);
            };
            rows::check_references(tx, keys, asset.key_id)?;
            rows::delete_asset(tx, id)?;
            rows::write_references(tx, keys, asset.key_id)?;
            Ok(true)
        })
    }

    fn read<T>(
        &self,
        look: impl Fn(&Transaction<'_>, &EpochKeys) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Inner { store, keyring, .. } = &mut *self.inner();
        keyring.with_keys(store, |store, keys, guard| {
            store.read(|tx| {
                guard.check(tx)?;
                look(tx, keys)
            })
        })
    }

    fn write<T>(
        &self,
        weight: Weight,
        step: &'static str,
        change: impl Fn(&Transaction<'_>, &EpochKeys) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let inner = &mut *self.inner();
        let _alone = match weight {
            Weight::Plain => None,
            Weight::Guarded if inner.newest => None,
            _ => Some(inner.store.lock_changes()?),
        };
        let Inner { store, keyring, newest } = inner;
        let next = match weight {
            Weight::Plain => None,
            Weight::Guarded => {
                if !*newest {
                    anchor::check(store, keyring)?;
                }
                None
            }
            Weight::Anchored => Some(anchor::begin(store, keyring)?),
        };
        *newest |= weight != Weight::Plain;
        let value = keyring.with_keys(store, |store, keys, guard| {
            store.write(step, |tx| {
                guard.check(tx)?;
                let value = change(tx, keys)?;
                next.as_ref().map_or(Ok(()), |next| anchor::write(tx, keys, next))?;
                Ok(value)
            })
        })?;
        if let Some(next) = next {
            anchor::finish(store, keyring, &next)?;
        }
        Ok(value)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change is one transaction, so a panic elsewhere left nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn checked_asset(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    asset: Option<Asset>,
) -> Result<Option<Asset>, Error> {
    if let Some(asset) = &asset {
        rows::check_asset(tx, keys, asset)?;
    }
    Ok(asset)
}
