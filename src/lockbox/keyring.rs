// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Keyring`]: which provider a lockbox has, and the epoch it has open.

use core::cell::Cell;
use std::sync::Arc;

use rusqlite::{OptionalExtension, Transaction, params};

use super::encode::cbor;
use super::epoch::{EpochKeys, Scope};
use super::error::Error;
use super::file::FileProvider;
use super::provider::{
    Capabilities, KeyRef, KeyState, Notes, Place, Prompt, Provider, ProviderConfig, ProviderError,
};
use super::store::{Store, StoreError};
use super::tpm::{TpmProvider, TpmRunner, TpmStatus};
use super::{InitOptions, OpenOptions, rows};

/// A cache that is dropped as soon as the store's generation moves on.
pub(super) struct Keyring {
    config: ProviderConfig,
    provider: Engine,
    prompt: Arc<dyn Prompt>,
    fleet: [u8; 16],
    node: [u8; 16],
    domain: String,
    open: Option<Open>,
}

struct Open {
    keys: Arc<EpochKeys>,
    guard: Guard,
}

enum Engine {
    File(FileProvider),
    Tpm(TpmProvider),
}

impl Engine {
    fn new(config: &ProviderConfig, runner: TpmRunner) -> Self {
        match config {
            ProviderConfig::Tpm(config) => Self::Tpm(TpmProvider::new(config.clone(), runner)),
            ProviderConfig::File(config) => Self::File(FileProvider::new(*config)),
        }
    }

    fn as_dyn(&mut self) -> &mut dyn Provider {
        match self {
            Self::File(provider) => provider,
            Self::Tpm(provider) => provider,
        }
    }
}

/// Says whether an opened key is still the domain's: checked inside every transaction.
pub(super) struct Guard {
    domain: String,
    epoch: u64,
    generation: u64,
    stale: Cell<bool>,
}

impl Guard {
    /// # Errors
    /// If another process has moved the domain on. The caller's transaction is given up and run
    /// again with the new key.
    pub(super) fn check(&self, tx: &Transaction<'_>) -> Result<(), Error> {
        let (epoch, generation): (u64, u64) = tx
            .prepare_cached("SELECT active, generation FROM domain WHERE name = ?1")?
            .query_row([&self.domain], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if (epoch, generation) == (self.epoch, self.generation) {
            Ok(())
        } else {
            self.stale.set(true);
            Err(StoreError::Busy.into())
        }
    }
}

/// How often a transaction is run again because the domain moved on under it.
const RETRIES: usize = 3;
/// The provider of a lockbox; more may follow.
const PROVIDER: i64 = 1;
const FIRST_EPOCH: u64 = 1;

impl Keyring {
    /// Provisions the provider and the first epoch, or goes on where that stopped.
    pub(super) fn init(store: &mut Store, options: InitOptions) -> Result<Self, Error> {
        let _alone = store.lock_init()?;
        let config = serde_json::to_string(&options.provider)
            .map_err(|error| Error::Input(format!("the provider's settings: {error}")))?;
        let mut identity = [0; 32];
        getrandom::fill(&mut identity)?;
        let (fleet, node) = identity.split_at(16);
        let dir = store.dir().to_owned();
        store.write("identity", |tx| {
            let complete: Option<bool> =
                tx.query_row("SELECT complete FROM lockbox", [], |row| row.get(0)).optional()?;
            match complete {
                Some(true) => Err(Error::Exists(dir)),
                Some(false) => same_config(tx, &config),
                None => {
                    tx.execute(
                        "INSERT INTO lockbox (one, fleet, node, complete) VALUES (1, ?1, ?2, 0)",
                        params![fleet, node],
                    )?;
                    tx.execute(
                        "INSERT INTO provider (id, config) VALUES (?1, ?2)",
                        params![PROVIDER, config],
                    )?;
                    Ok(())
                }
            }
        })?;
        let mut keyring = Self::load(store, options.prompt, options.domain, options.runner)?;
        keyring.first_epoch(store)?;
        Ok(keyring)
    }

    /// Of a complete lockbox; talks to no provider.
    pub(super) fn open(store: &mut Store, options: OpenOptions) -> Result<Self, Error> {
        let dir = store.dir().to_owned();
        let domain = store.read(|tx| {
            let complete: Option<bool> =
                tx.query_row("SELECT complete FROM lockbox", [], |row| row.get(0)).optional()?;
            if complete != Some(true) {
                return Err(Error::Unfinished(dir));
            }
            Ok(tx.query_row("SELECT name FROM domain ORDER BY name LIMIT 1", [], |row| {
                row.get::<_, String>(0)
            })?)
        })?;
        let mut keyring = Self::load(store, options.prompt, domain, options.runner)?;
        if let (Engine::Tpm(tpm), Some(tcti)) = (&mut keyring.provider, options.tcti) {
            tpm.reach_by(tcti);
        }
        Ok(keyring)
    }

    pub(super) fn config(&self) -> &ProviderConfig {
        &self.config
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        match &self.provider {
            Engine::File(provider) => provider.capabilities(),
            Engine::Tpm(provider) => provider.capabilities(),
        }
    }

    /// The keys of the active epoch, opened if need be.
    pub(super) fn keys(&mut self, store: &mut Store) -> Result<Arc<EpochKeys>, Error> {
        let domain = self.domain.clone();
        let row = store.read(|tx| epoch_row(tx, &domain))?;
        if let Some(open) = &self.open
            && (open.guard.epoch, open.guard.generation) == (row.epoch, row.generation)
        {
            return Ok(Arc::clone(&open.keys));
        }
        self.open = None;
        let scope = self.scope(row.epoch);
        let nek = self.with_place(store, |provider, place| {
            provider.as_dyn().open(place, &scope, &row.key, &row.blob)
        })?;
        let keys = Arc::new(EpochKeys::new(scope, nek));
        if keys.tag()[..] != row.tag[..] {
            return Err(ProviderError::OtherKey.into());
        }
        self.open = Some(Open {
            keys: Arc::clone(&keys),
            guard: Guard {
                domain,
                epoch: row.epoch,
                generation: row.generation,
                stale: Cell::new(false),
            },
        });
        Ok(keys)
    }

    /// Runs `work` with the active epoch's keys, again with newer ones if the domain moves on.
    pub(super) fn with_keys<T>(
        &mut self,
        store: &mut Store,
        work: impl Fn(&mut Store, &EpochKeys, &Guard) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..RETRIES {
            let keys = self.keys(store)?;
            let Some(open) = &self.open else { break };
            let result = work(store, &keys, &open.guard);
            if !open.guard.stale.get() {
                return result;
            }
            self.open = None;
        }
        Err(StoreError::Busy.into())
    }

    pub(super) fn forget(&mut self) {
        self.open = None;
    }

    /// What has become of the provider's key for the active epoch.
    pub(super) fn provider_state(&mut self, store: &mut Store) -> Result<KeyState, Error> {
        let domain = self.domain.clone();
        let row = store.read(|tx| epoch_row(tx, &domain))?;
        self.with_place(store, |provider, place| provider.as_dyn().state(place, &row.key))
    }

    /// What is noted about the TPM, if the provider is one.
    pub(super) fn tpm_status(&mut self, store: &mut Store) -> Result<Option<TpmStatus>, Error> {
        self.with_place(store, |provider, place| match provider {
            Engine::Tpm(_) => TpmProvider::describe(place).map(Some),
            Engine::File(_) => Ok(None),
        })
    }

    pub(super) fn enroll(&mut self, store: &mut Store) -> Result<(), Error> {
        self.with_place(store, |provider, place| match provider {
            Engine::Tpm(tpm) => Some(tpm.enroll(place)).transpose(),
            Engine::File(_) => Ok(None),
        })?
        .ok_or_else(|| {
            Error::Input(
                "this lockbox has a passphrase, not a TPM: no boot state to approve".into(),
            )
        })
    }

    /// The TPM's counter that anchors the store's head; `None` for another provider.
    pub(super) fn counter(&mut self, store: &mut Store) -> Result<Option<u64>, Error> {
        self.with_place(store, |provider, place| match provider {
            Engine::Tpm(tpm) => tpm.head(place).map(Some),
            Engine::File(_) => Ok(None),
        })
    }

    /// Whether there is such a counter.
    pub(super) fn is_anchored(&self) -> bool {
        matches!(self.provider, Engine::Tpm(_))
    }

    /// Moves that counter to `to`.
    pub(super) fn advance(&mut self, store: &mut Store, to: u64) -> Result<(), Error> {
        self.with_place(store, |provider, place| match provider {
            Engine::Tpm(tpm) => tpm.advance(place, to),
            Engine::File(_) => Ok(()),
        })
    }

    /// Asks for the administrator's PIN, if there is one, and proves it.
    pub(super) fn prove_owner(&mut self, store: &mut Store) -> Result<(), Error> {
        self.with_place(store, |provider, place| match provider {
            Engine::Tpm(tpm) => tpm.prove_owner(place),
            Engine::File(_) => Ok(()),
        })
    }

    fn load(
        store: &mut Store,
        prompt: Arc<dyn Prompt>,
        domain: String,
        runner: TpmRunner,
    ) -> Result<Self, Error> {
        let (fleet, node, config): ([u8; 16], [u8; 16], String) = store.read(|tx| {
            let (fleet, node) = tx.query_row("SELECT fleet, node FROM lockbox", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            let config =
                tx.query_row("SELECT config FROM provider WHERE id = ?1", [PROVIDER], |row| {
                    row.get(0)
                })?;
            Ok((fleet, node, config))
        })?;
        let config: ProviderConfig = serde_json::from_str(&config)
            .map_err(|error| StoreError::Damaged(format!("the provider's settings: {error}")))?;
        let provider = Engine::new(&config, runner);
        Ok(Self { config, provider, prompt, fleet, node, domain, open: None })
    }

    fn first_epoch(&mut self, store: &mut Store) -> Result<(), Error> {
        let scope = self.scope(FIRST_EPOCH);
        let label = cbor(|e| {
            e.array(2)?.str("opalbox-init-1")?.bytes(&scope.encode())?;
            Ok(())
        });
        let created = self
            .with_place(store, |provider, place| provider.as_dyn().create(place, &scope, &label))?;
        let keys = Arc::new(EpochKeys::new(scope.clone(), created.nek));
        let counter = self.counter(store)?;
        store.write("first epoch", |tx| {
            tx.execute(
                "INSERT INTO domain (name, provider, active, generation) VALUES (?1, ?2, ?3, 1)",
                params![scope.domain, PROVIDER, scope.epoch],
            )?;
            tx.execute(
                "INSERT INTO epoch (domain, number, key_ref, blob, tag)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![scope.domain, scope.epoch, created.key.0, created.blob, keys.tag()],
            )?;
            tx.execute("UPDATE lockbox SET complete = 1", [])?;
            counter.map_or(Ok(()), |head| rows::write_head(tx, &keys, head))
        })?;
        let guard = Guard {
            domain: scope.domain,
            epoch: scope.epoch,
            generation: 1,
            stale: Cell::new(false),
        };
        self.open = Some(Open { keys, guard });
        Ok(())
    }

    fn with_place<T>(
        &mut self,
        store: &mut Store,
        call: impl FnOnce(&mut Engine, &mut Place<'_>) -> Result<T, ProviderError>,
    ) -> Result<T, Error> {
        let prompt = Arc::clone(&self.prompt);
        let faults = store.faults().clone();
        let dir = store.dir().to_owned();
        let mut notes = StoreNotes(store);
        let mut place = Place { notes: &mut notes, prompt: &*prompt, faults: &faults, dir: &dir };
        Ok(call(&mut self.provider, &mut place)?)
    }

    fn scope(&self, epoch: u64) -> Scope {
        Scope { fleet: self.fleet, node: self.node, domain: self.domain.clone(), epoch }
    }
}

struct EpochRow {
    epoch: u64,
    generation: u64,
    key: KeyRef,
    blob: Vec<u8>,
    tag: Vec<u8>,
}

fn epoch_row(tx: &Transaction<'_>, domain: &str) -> Result<EpochRow, Error> {
    let row = tx
        .prepare_cached(
            "SELECT d.active, d.generation, e.key_ref, e.blob, e.tag
             FROM domain d JOIN epoch e ON e.domain = d.name AND e.number = d.active
             WHERE d.name = ?1",
        )?
        .query_row([domain], |row| {
            Ok(EpochRow {
                epoch: row.get(0)?,
                generation: row.get(1)?,
                key: KeyRef(row.get(2)?),
                blob: row.get(3)?,
                tag: row.get(4)?,
            })
        })
        .optional()?;
    row.ok_or_else(|| Error::Unknown { what: "domain", name: domain.to_owned() })
}

fn same_config(tx: &Transaction<'_>, wanted: &str) -> Result<(), Error> {
    let config: String =
        tx.query_row("SELECT config FROM provider WHERE id = ?1", [PROVIDER], |row| row.get(0))?;
    if config == wanted {
        return Ok(());
    }
    Err(Error::Input(format!(
        "an unfinished init has other settings ({config}): run it with those"
    )))
}

/// The provider's notes, as rows of the store.
struct StoreNotes<'a>(&'a mut Store);

impl Notes for StoreNotes<'_> {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        self.0
            .connection()
            .prepare_cached("SELECT value FROM note WHERE provider = ?1 AND name = ?2")
            .and_then(|mut statement| {
                statement.query_row(params![PROVIDER, name], |row| row.get(0)).optional()
            })
            .map_err(|error| ProviderError::Store(error.into()))
    }

    fn names(&self, prefix: &str) -> Result<Vec<String>, ProviderError> {
        let list = || -> rusqlite::Result<Vec<String>> {
            self.0
                .connection()
                .prepare_cached(
                    "SELECT name FROM note
                     WHERE provider = ?1 AND substr(name, 1, length(?2)) = ?2 ORDER BY name",
                )?
                .query_map(params![PROVIDER, prefix], |row| row.get(0))?
                .collect()
        };
        list().map_err(|error| ProviderError::Store(error.into()))
    }

    fn write(
        &mut self,
        step: &'static str,
        name: &str,
        value: Option<&[u8]>,
    ) -> Result<(), ProviderError> {
        let result = self.0.write(step, |tx| {
            match value {
                Some(value) => tx.execute(
                    "INSERT INTO note (provider, name, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET value = ?3",
                    params![PROVIDER, name, value],
                )?,
                None => tx.execute(
                    "DELETE FROM note WHERE provider = ?1 AND name = ?2",
                    params![PROVIDER, name],
                )?,
            };
            Ok(())
        });
        result.map_err(|error| match error {
            Error::Interrupted(point) => ProviderError::Interrupted(point),
            Error::Store(error) => ProviderError::Store(error),
            other => ProviderError::Store(StoreError::Other(other.to_string())),
        })
    }
}
