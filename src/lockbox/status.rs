// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a lockbox says about itself: status, the list of keys, and the full check. No secrets.

use std::collections::HashMap;
use std::path::PathBuf;

use rusqlite::Transaction;
use serde::Serialize;

use super::credential::{Version, VersionState};
use super::epoch::EpochKeys;
use super::error::Error;
use super::id::{KeyId, Kind, hex};
use super::keyring::Keyring;
use super::provider::{Capabilities, KeyState, ProviderConfig};
use super::record::RecordId;
use super::store::{SCHEMA, Store};
use super::tpm::TpmStatus;
use super::{anchor, epoch, rows};

/// A lockbox seen from outside.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its directory.
    pub directory: PathBuf,
    /// Format of its store.
    pub format: u32,
    /// Fleet and node identifiers, hexadecimal.
    pub fleet: String,
    /// See `fleet`.
    pub node: String,
    /// What protects it.
    pub provider: ProviderConfig,
    /// What that provider can do.
    pub capabilities: Capabilities,
    /// What it has in the TPM, if that is what protects it.
    pub tpm: Option<TpmStatus>,
    /// Number of its last change, which the TPM counts too; `None` where nothing anchors it.
    pub head: Option<u64>,
    /// Its domains.
    pub domains: Vec<DomainStatus>,
    /// Credentials whose last change is not settled, as (owner, role).
    pub unresolved: Vec<(String, String)>,
    /// Whether secrets in this process are locked into memory.
    pub memory_locked: bool,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// One domain.
#[derive(Clone, Debug, Serialize)]
pub struct DomainStatus {
    /// Its name.
    pub name: String,
    /// Number of its current key.
    pub epoch: u64,
    /// Public name of its current key, hexadecimal.
    pub tag: String,
    /// Keys in it.
    pub keys: u64,
    /// Records in it.
    pub records: u64,
    /// Assets that name its keys.
    pub assets: u64,
}

/// One key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    /// Its Key ID.
    pub key_id: KeyId,
    /// What its secret is; `None` if this software does not know the kind.
    pub kind: Option<Kind>,
    /// Its domain.
    pub domain: String,
    /// Owner and role, if a journal holds it.
    pub owner: Option<String>,
    /// See `owner`.
    pub role: Option<String>,
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
    /// The assets that name it.
    pub assets: Vec<String>,
    /// Why its versions cannot be shown, if they cannot.
    pub problem: Option<String>,
}

/// What [`super::Lockbox::check`] found.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// No finding is an error.
    pub ok: bool,
    /// Records that opened.
    pub records_opened: u64,
    /// Rows whose MAC was right.
    pub rows_verified: u64,
    /// Everything worth saying, the worst first.
    pub findings: Vec<Finding>,
}

/// One finding of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something is lost or altered.
    Error,
    /// Something is weaker than it could be, or unfinished.
    Warning,
}

pub(super) fn status(store: &mut Store, keyring: &mut Keyring) -> Result<Status, Error> {
    let capabilities = keyring.capabilities();
    let memory_locked = crate::secret::memory_locked();
    let mut warnings = capabilities.warnings.clone();
    if !memory_locked {
        warnings.push(MEMORY.into());
    }
    let directory = store.dir().to_owned();
    let tpm = keyring.tpm_status(store)?;
    store.read(|tx| {
        let (fleet, node): ([u8; 16], [u8; 16]) =
            tx.query_row("SELECT fleet, node FROM lockbox", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let unresolved = tx
            .prepare("SELECT owner, role FROM credential WHERE set_issued ORDER BY owner, role")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        Ok(Status {
            directory,
            format: SCHEMA,
            fleet: hex(&fleet),
            node: hex(&node),
            provider: keyring.config().clone(),
            capabilities,
            tpm,
            head: rows::peek_head(tx)?,
            domains: domains(tx)?,
            unresolved,
            memory_locked,
            warnings,
        })
    })
}

pub(super) fn keys(tx: &Transaction<'_>) -> Result<Vec<KeyInfo>, Error> {
    let mut statement = tx.prepare_cached(
        "SELECT k.id, k.kind, k.domain, c.owner, c.role
         FROM key k LEFT JOIN credential c ON c.key = k.id ORDER BY c.owner, c.role, k.id",
    )?;
    let mut list = statement
        .query_map([], |row| {
            Ok(KeyInfo {
                key_id: KeyId::from_bytes(row.get(0)?),
                kind: Kind::from_name(&row.get::<_, String>(1)?),
                domain: row.get(2)?,
                owner: row.get(3)?,
                role: row.get(4)?,
                versions: Vec::new(),
                assets: Vec::new(),
                problem: None,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    // One walk over each table: a query per key would take minutes where there are many.
    let places: HashMap<KeyId, usize> =
        list.iter().enumerate().map(|(place, key)| (key.key_id, place)).collect();
    for (id, version) in rows::all_versions(tx)? {
        let Some(key) = places.get(&id).and_then(|place| list.get_mut(*place)) else {
            continue;
        };
        match version {
            Ok(version) => key.versions.push(version),
            // One bad row is shown as such and never hides the others.
            Err(error) => key.problem = Some(error.to_string()),
        }
    }
    for (id, asset) in rows::all_references(tx)? {
        if let Some(key) = places.get(&id).and_then(|place| list.get_mut(*place)) {
            key.assets.push(asset);
        }
    }
    for key in list.iter_mut().filter(|key| key.problem.is_some()) {
        key.versions.clear();
    }
    Ok(list)
}

pub(super) fn check(store: &mut Store, keyring: &mut Keyring) -> Result<Check, Error> {
    let mut check = Check { ok: true, records_opened: 0, rows_verified: 0, findings: Vec::new() };
    for problem in store.integrity()? {
        check.error(&format!("the store's file: {problem}"), "Restore it from the backup.");
    }
    for warning in status(store, keyring)?.warnings {
        check.warn(&warning, "");
    }
    match keyring.keys(store) {
        Ok(keys) => {
            store.read(|tx| check_rows(tx, &keys, &mut check))?;
            let alone = store.lock_changes()?;
            if let Err(error) = anchor::check(store, keyring) {
                check.failed(&error);
            }
            drop(alone);
        }
        Err(error) => check.failed(&error),
    }
    match keyring.provider_state(store) {
        Ok(KeyState::Active) => {}
        Ok(state) => check.error(
            &format!("the provider's key is {state:?}"),
            "Restore the lockbox from its backup.",
        ),
        Err(error) => check.failed(&error),
    }
    check.findings.sort_by_key(|finding| finding.severity);
    Ok(check)
}

const MEMORY: &str = "Secrets cannot be locked into memory and may reach swap: raise \
                      LimitMEMLOCK or encrypt swap.";

fn domains(tx: &Transaction<'_>) -> Result<Vec<DomainStatus>, Error> {
    let mut statement = tx.prepare_cached(
        "SELECT d.name, d.active, e.tag,
           (SELECT count(*) FROM key k WHERE k.domain = d.name),
           (SELECT count(*) FROM record r JOIN key k ON k.id = r.key WHERE k.domain = d.name),
           (SELECT count(*) FROM asset a JOIN key k ON k.id = a.key WHERE k.domain = d.name)
         FROM domain d JOIN epoch e ON e.domain = d.name AND e.number = d.active ORDER BY d.name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(DomainStatus {
            name: row.get(0)?,
            epoch: row.get(1)?,
            tag: hex(&row.get::<_, Vec<u8>>(2)?),
            keys: row.get(3)?,
            records: row.get(4)?,
            assets: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn check_rows(
    tx: &Transaction<'_>,
    keys: &epoch::EpochKeys,
    check: &mut Check,
) -> Result<(), Error> {
    for key in self::keys(tx)?.iter().filter(|key| key.domain == keys.scope().domain) {
        let Some(kind) = key.kind else {
            check.error(
                &format!("key {} is of an unknown kind", key.key_id),
                "Use the version of opalbox that wrote it, or a newer one.",
            );
            continue;
        };
        if let Some(problem) = &key.problem {
            check.error(problem, "Restore the store from the backup.");
        }
        check.verified(rows::check_references(tx, keys, key.key_id));
        check_journal(tx, keys, key, check);
        for version in key.versions.iter().filter(|v| v.state != VersionState::Destroyed) {
            let id = RecordId { key: key.key_id, version: version.number, kind };
            match rows::read_record(tx, keys, &id) {
                Ok(_) => check.records_opened += 1,
                Err(error) => check.failed(&error),
            }
        }
    }
    for asset in rows::peek_assets(tx)? {
        let asset = match asset {
            Ok(asset) => asset,
            Err(error) => {
                check.failed(&error);
                continue;
            }
        };
        check.verified(rows::check_asset(tx, keys, &asset));
        if let Err(error) = rows::key_kind(tx, keys, asset.key_id) {
            check.failed(&error);
        }
    }
    Ok(())
}

fn check_journal(tx: &Transaction<'_>, keys: &EpochKeys, key: &KeyInfo, check: &mut Check) {
    let (Some(owner), Some(role)) = (&key.owner, &key.role) else { return };
    let credential = match rows::peek_credential(tx, owner, role) {
        Ok(Some(credential)) => credential,
        Ok(None) => return,
        Err(error) => return check.failed(&error),
    };
    check.verified(rows::check_credential(tx, keys, &credential));
    if credential.set_issued {
        check.warn(
            &format!("a change of {owner} {role} was sent and its result is not known"),
            "Run the command that changes it again, with the drive present.",
        );
    }
}

impl Check {
    fn verified(&mut self, result: Result<(), Error>) {
        match result {
            Ok(()) => self.rows_verified += 1,
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &Error) {
        self.error(&error.to_string(), &error.advice());
    }

    fn error(&mut self, what: &str, advice: &str) {
        self.ok = false;
        self.push(Severity::Error, what, advice);
    }

    fn warn(&mut self, what: &str, advice: &str) {
        self.push(Severity::Warning, what, advice);
    }

    fn push(&mut self, severity: Severity, what: &str, advice: &str) {
        self.findings.push(Finding { severity, what: what.into(), advice: advice.into() });
    }
}
