// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rows of the store: how records, credentials and assets are read, checked and written.
//!
//! A row that steers what is sent to a drive carries a MAC under the epoch's key, which is checked
//! before the row is used and before it is changed, so a change never launders a forged row.

use std::collections::BTreeMap;

use minicbor::Decoder;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::asset::Asset;
use super::credential::{Credential, Version, VersionState};
use super::encode::cbor;
use super::epoch::EpochKeys;
use super::error::{Error, Refusal};
use super::id::{KeyId, Kind};
use super::record::{self, RecordId};
use crate::secret::Secret;

/// What a MAC row protects.
#[derive(Clone, Copy)]
pub(super) enum Subject {
    Asset,
    References,
    Credential,
    Head,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Asset => "asset",
            Self::References => "references",
            Self::Credential => "credential",
            Self::Head => "head",
        }
    }
}

/// Writes the row of a new key, without versions, used by no asset.
pub(super) fn insert_key(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    id: KeyId,
    kind: Kind,
) -> Result<(), Error> {
    tx.prepare_cached("INSERT INTO key (id, domain, kind) VALUES (?1, ?2, ?3)")?
        .execute(params![id.as_bytes(), keys.scope().domain, kind.name()])?;
    write_references(tx, keys, id)
}

/// Kind of a key of this domain.
pub(super) fn key_kind(tx: &Transaction<'_>, keys: &EpochKeys, id: KeyId) -> Result<Kind, Error> {
    let row: Option<(String, String)> = tx
        .prepare_cached("SELECT domain, kind FROM key WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (domain, kind) = row.ok_or_else(|| Error::Unknown { what: "key", name: id.to_string() })?;
    let refused = |reason| Error::Refused { what: format!("key {id}"), reason };
    if domain != keys.scope().domain {
        return Err(refused(Refusal::Domain));
    }
    Kind::from_name(&kind).ok_or_else(|| refused(Refusal::Kind))
}

/// Removes a key with all its versions, records and MACs.
pub(super) fn delete_key(tx: &Transaction<'_>, id: KeyId) -> Result<(), Error> {
    for statement in [
        "DELETE FROM record WHERE key = ?1",
        "DELETE FROM credential WHERE key = ?1",
        "DELETE FROM version WHERE key = ?1",
        "DELETE FROM key WHERE id = ?1",
        "DELETE FROM mac WHERE id = ?1 AND subject IN ('references', 'credential')",
    ] {
        tx.prepare_cached(statement)?.execute([id.as_bytes()])?;
    }
    Ok(())
}

/// Seals a secret into its record row.
pub(super) fn write_record(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    id: &RecordId,
    secret: &Secret,
) -> Result<(), Error> {
    let sealed = record::seal(keys, id, secret)?;
    tx.prepare_cached("INSERT INTO record (key, version, epoch, sealed) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id.key.as_bytes(), id.version, keys.scope().epoch, sealed])?;
    Ok(())
}

/// Opens a secret from its record row.
pub(super) fn read_record(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    id: &RecordId,
) -> Result<Secret, Error> {
    let refused = |reason| Error::Refused {
        what: format!("the record of key {} version {}", id.key, id.version),
        reason,
    };
    let sealed: Option<Vec<u8>> = tx
        .prepare_cached("SELECT sealed FROM record WHERE key = ?1 AND version = ?2 AND epoch = ?3")?
        .query_row(params![id.key.as_bytes(), id.version, keys.scope().epoch], |row| row.get(0))
        .optional()?;
    let sealed = sealed.ok_or_else(|| refused(Refusal::Missing))?;
    record::open(keys, id, &sealed).map_err(refused)
}

/// Writes the row of a version that belongs to no journal.
pub(super) fn write_version(
    tx: &Transaction<'_>,
    key: KeyId,
    version: &Version,
) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO version (key, number, state, origin, sent) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET state = ?3, origin = ?4, sent = ?5",
    )?
    .execute(params![
        key.as_bytes(),
        version.number,
        state_name(version.state),
        version.origin.to_string(),
        version.sent
    ])?;
    Ok(())
}

/// Versions of a key, oldest first.
pub(super) fn versions(tx: &Transaction<'_>, key: KeyId) -> Result<Vec<Version>, Error> {
    let mut statement = tx.prepare_cached(
        "SELECT number, state, origin, sent FROM version WHERE key = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([key.as_bytes()])?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        versions.push(version_row(row, key, 0)?);
    }
    Ok(versions)
}

/// A version of a key, or why its row is refused.
pub(super) type KeyVersion = (KeyId, Result<Version, Error>);

/// Versions of all keys, those of a key oldest first; a malformed row is an error of its own.
pub(super) fn all_versions(tx: &Transaction<'_>) -> Result<Vec<KeyVersion>, Error> {
    let mut statement = tx.prepare_cached(
        "SELECT key, number, state, origin, sent FROM version ORDER BY key, number",
    )?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let key = KeyId::from_bytes(row.get(0)?);
        match version_row(row, key, 1) {
            Err(error) if !matches!(error, Error::Refused { .. }) => return Err(error),
            version => all.push((key, version)),
        }
    }
    Ok(all)
}

/// `first` is the column of the number.
fn version_row(row: &Row<'_>, key: KeyId, first: usize) -> Result<Version, Error> {
    let state: String = row.get(first + 1)?;
    let origin: String = row.get(first + 2)?;
    let malformed = || Error::Refused { what: format!("key {key}"), reason: Refusal::Malformed };
    Ok(Version {
        number: row.get(first)?,
        state: state_from(&state).ok_or_else(malformed)?,
        origin: origin.parse().map_err(|_| malformed())?,
        sent: row.get(first + 3)?,
    })
}

/// The credential's row as it stands, not checked: for display only.
pub(super) fn peek_credential(
    tx: &Transaction<'_>,
    owner: &str,
    role: &str,
) -> Result<Option<Credential>, Error> {
    let row = tx
        .prepare_cached(&format!("{CREDENTIAL} WHERE c.owner = ?1 AND c.role = ?2"))?
        .query_row([owner, role], credential_row)
        .optional()?;
    row.map(|row| complete(tx, row)).transpose()
}

/// All credentials, of one owner or of everyone, not checked.
pub(super) fn peek_credentials(
    tx: &Transaction<'_>,
    owner: Option<&str>,
) -> Result<Vec<Credential>, Error> {
    let mut statement = tx.prepare_cached(&format!(
        "{CREDENTIAL} WHERE ?1 IS NULL OR c.owner = ?1 ORDER BY c.owner, c.role"
    ))?;
    let rows = statement.query_map([owner], credential_row)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|row| complete(tx, row)).collect()
}

/// Everyone who has credentials.
pub(super) fn owners(tx: &Transaction<'_>) -> Result<Vec<String>, Error> {
    let mut statement =
        tx.prepare_cached("SELECT DISTINCT owner FROM credential ORDER BY owner")?;
    let owners = statement.query_map([], |row| row.get(0))?;
    Ok(owners.collect::<Result<_, _>>()?)
}

/// Checks a credential's MAC.
pub(super) fn check_credential(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    credential: &Credential,
) -> Result<(), Error> {
    let what = || format!("the journal of {} {}", credential.owner, credential.role);
    let content = credential_content(credential);
    check_mac(tx, keys, Subject::Credential, credential.key_id.as_bytes(), &content, what)
}

/// Writes a credential's rows and MAC, and deletes the records of destroyed versions.
pub(super) fn write_credential(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    c: &Credential,
) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO credential
           (owner, role, key, active, staged, set_issued, attempts, power_cycle, active_since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (owner, role) DO UPDATE SET active = ?4, staged = ?5, set_issued = ?6,
           attempts = ?7, power_cycle = ?8, active_since = ?9",
    )?
    .execute(params![
        c.owner,
        c.role,
        c.key_id.as_bytes(),
        c.active,
        c.staged,
        c.set_issued,
        c.attempts,
        c.power_cycle,
        c.active_since
    ])?;
    for version in &c.versions {
        write_version(tx, c.key_id, version)?;
        if version.state == VersionState::Destroyed {
            tx.prepare_cached("DELETE FROM record WHERE key = ?1 AND version = ?2")?
                .execute(params![c.key_id.as_bytes(), version.number])?;
        }
    }
    write_mac(tx, keys, Subject::Credential, c.key_id.as_bytes(), &credential_content(c))
}

/// Number of the last anchored change, its MAC checked.
pub(super) fn read_head(tx: &Transaction<'_>, keys: &EpochKeys) -> Result<u64, Error> {
    let what = || "the number of the store's last change".to_owned();
    let missing = || Error::Refused { what: what(), reason: Refusal::Missing };
    let head = peek_head(tx)?.ok_or_else(missing)?;
    check_mac(tx, keys, Subject::Head, &[], &head_content(head), what)?;
    Ok(head)
}

/// As it stands, not checked; `None` where nothing anchors it.
pub(super) fn peek_head(tx: &Transaction<'_>) -> Result<Option<u64>, Error> {
    let value: Option<Vec<u8>> = tx
        .prepare_cached("SELECT value FROM note WHERE name = ?1")?
        .query_row([HEAD], |row| row.get(0))
        .optional()?;
    let malformed = || Error::Refused {
        what: "the number of the store's last change".into(),
        reason: Refusal::Malformed,
    };
    let number = |bytes: Vec<u8>| bytes.try_into().map(u64::from_be_bytes).map_err(|_| malformed());
    value.map(number).transpose()
}

/// Writes the number of a change, and its MAC.
pub(super) fn write_head(tx: &Transaction<'_>, keys: &EpochKeys, head: u64) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO note (provider, name, value) SELECT min(id), ?1, ?2 FROM provider WHERE true
         ON CONFLICT DO UPDATE SET value = ?2",
    )?
    .execute(params![HEAD, head.to_be_bytes()])?;
    write_mac(tx, keys, Subject::Head, &[], &head_content(head))
}

/// The note that holds the number of the last anchored change.
const HEAD: &str = "store/head";

/// Assets that name a key, in order.
pub(super) fn references(tx: &Transaction<'_>, key: KeyId) -> Result<Vec<String>, Error> {
    let mut statement = tx.prepare_cached("SELECT id FROM asset WHERE key = ?1 ORDER BY id")?;
    let ids = statement.query_map([key.as_bytes()], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Every asset with the key it names, in order.
pub(super) fn all_references(tx: &Transaction<'_>) -> Result<Vec<(KeyId, String)>, Error> {
    let mut statement = tx.prepare_cached("SELECT key, id FROM asset ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok((KeyId::from_bytes(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes the MAC over the set of assets that name a key.
pub(super) fn write_references(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    key: KeyId,
) -> Result<(), Error> {
    let content = references_content(key, &references(tx, key)?);
    write_mac(tx, keys, Subject::References, key.as_bytes(), &content)
}

/// Checks that no asset that names the key was added or deleted behind our back.
pub(super) fn check_references(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    key: KeyId,
) -> Result<(), Error> {
    let content = references_content(key, &references(tx, key)?);
    let what = || format!("the list of assets of key {key}");
    check_mac(tx, keys, Subject::References, key.as_bytes(), &content, what).map_err(|error| {
        match error {
            Error::Refused { what, .. } => Error::Refused { what, reason: Refusal::References },
            other => other,
        }
    })
}

/// An asset's row as it stands, not checked.
pub(super) fn peek_asset(tx: &Transaction<'_>, id: &str) -> Result<Option<Asset>, Error> {
    let row = tx
        .prepare_cached("SELECT id, key, attributes FROM asset WHERE id = ?1")?
        .query_row([id], asset_row)
        .optional()?;
    row.map(decode_asset).transpose()
}

/// All assets, not checked; a malformed row is an error of its own.
pub(super) fn peek_assets(tx: &Transaction<'_>) -> Result<Vec<Result<Asset, Error>>, Error> {
    let mut statement = tx.prepare_cached("SELECT id, key, attributes FROM asset ORDER BY id")?;
    let rows = statement.query_map([], asset_row)?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().map(decode_asset).collect())
}

/// Checks an asset's MAC.
pub(super) fn check_asset(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    asset: &Asset,
) -> Result<(), Error> {
    let what = || format!("asset {}", asset.id);
    let content = asset_content(asset);
    check_mac(tx, keys, Subject::Asset, asset.id.as_bytes(), &content, what)
}

/// Writes an asset's row and MAC.
pub(super) fn write_asset(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    asset: &Asset,
) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO asset (id, key, attributes) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET key = ?2, attributes = ?3",
    )?
    .execute(params![asset.id, asset.key_id.as_bytes(), attributes(&asset.attributes)])?;
    write_mac(tx, keys, Subject::Asset, asset.id.as_bytes(), &asset_content(asset))
}

/// Removes an asset's row and MACs.
pub(super) fn delete_asset(tx: &Transaction<'_>, id: &str) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM asset WHERE id = ?1")?.execute([id])?;
    tx.prepare_cached("DELETE FROM mac WHERE subject = 'asset' AND id = ?1")?
        .execute([id.as_bytes()])?;
    Ok(())
}

fn write_mac(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    subject: Subject,
    id: &[u8],
    content: &[u8],
) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO mac (subject, id, epoch, mac) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET mac = ?4",
    )?
    .execute(params![subject.name(), id, keys.scope().epoch, keys.row_mac(content)])?;
    Ok(())
}

fn check_mac(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    subject: Subject,
    id: &[u8],
    content: &[u8],
    what: impl Fn() -> String,
) -> Result<(), Error> {
    let mac: Option<Vec<u8>> = tx
        .prepare_cached("SELECT mac FROM mac WHERE subject = ?1 AND id = ?2 AND epoch = ?3")?
        .query_row(params![subject.name(), id, keys.scope().epoch], |row| row.get(0))
        .optional()?;
    if mac.is_some_and(|mac| keys.row_mac_matches(content, &mac)) {
        Ok(())
    } else {
        Err(Error::Refused { what: what(), reason: Refusal::RowMac })
    }
}

const CREDENTIAL: &str = "SELECT c.owner, c.role, c.key, k.kind, c.active, c.staged, c.set_issued,
    c.attempts, c.power_cycle, c.active_since FROM credential c JOIN key k ON k.id = c.key";

fn credential_row(row: &Row<'_>) -> rusqlite::Result<(Credential, String)> {
    let kind: String = row.get(3)?;
    let mut c = Credential::new(
        &row.get::<_, String>(0)?,
        &row.get::<_, String>(1)?,
        KeyId::from_bytes(row.get(2)?),
        Kind::Opaque,
    );
    c.active = row.get(4)?;
    c.staged = row.get(5)?;
    c.set_issued = row.get(6)?;
    c.attempts = row.get(7)?;
    c.power_cycle = row.get(8)?;
    c.active_since = row.get(9)?;
    Ok((c, kind))
}

fn complete(tx: &Transaction<'_>, row: (Credential, String)) -> Result<Credential, Error> {
    let (mut credential, kind) = row;
    credential.kind = Kind::from_name(&kind).ok_or_else(|| Error::Refused {
        what: format!("key {}", credential.key_id),
        reason: Refusal::Kind,
    })?;
    credential.versions = versions(tx, credential.key_id)?;
    Ok(credential)
}

fn credential_content(c: &Credential) -> Vec<u8> {
    cbor(|e| {
        let optional = |e: &mut minicbor::Encoder<_>, value: Option<u64>| match value {
            Some(value) => e.u64(value).map(|_| ()),
            None => e.null().map(|_| ()),
        };
        e.array(12)?.str(Subject::Credential.name())?.str(&c.owner)?.str(&c.role)?;
        e.bytes(c.key_id.as_bytes())?.str(c.kind.name())?;
        optional(e, c.active)?;
        optional(e, c.staged)?;
        e.bool(c.set_issued)?.u32(c.attempts)?;
        optional(e, c.power_cycle)?;
        optional(e, c.active_since)?;
        e.array(c.versions.len() as u64)?;
        for version in &c.versions {
            e.array(4)?.u64(version.number)?.str(state_name(version.state))?;
            e.str(&version.origin.to_string())?.bool(version.sent)?;
        }
        Ok(())
    })
}

fn head_content(head: u64) -> Vec<u8> {
    cbor(|e| {
        e.array(2)?.str(Subject::Head.name())?.u64(head)?;
        Ok(())
    })
}

fn references_content(key: KeyId, ids: &[String]) -> Vec<u8> {
    cbor(|e| {
        e.array(3)?.str(Subject::References.name())?.bytes(key.as_bytes())?;
        e.array(ids.len() as u64)?;
        for id in ids {
            e.str(id)?;
        }
        Ok(())
    })
}

fn asset_content(asset: &Asset) -> Vec<u8> {
    cbor(|e| {
        e.array(4)?.str(Subject::Asset.name())?.str(&asset.id)?;
        e.bytes(asset.key_id.as_bytes())?.bytes(&attributes(&asset.attributes))?;
        Ok(())
    })
}

fn attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    cbor(|e| {
        e.map(attributes.len() as u64)?;
        for (name, value) in attributes {
            e.str(name)?.str(value)?;
        }
        Ok(())
    })
}

type AssetRow = (String, [u8; 16], Vec<u8>);

fn asset_row(row: &Row<'_>) -> rusqlite::Result<AssetRow> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn decode_asset((id, key, encoded): AssetRow) -> Result<Asset, Error> {
    let decode = || -> Result<BTreeMap<String, String>, minicbor::decode::Error> {
        let mut d = Decoder::new(&encoded);
        let count = d.map()?.unwrap_or(0);
        (0..count).map(|_| Ok((d.str()?.to_owned(), d.str()?.to_owned()))).collect()
    };
    let refused = || Error::Refused { what: format!("asset {id}"), reason: Refusal::Malformed };
    let decoded = decode().map_err(|_| refused())?;
    if attributes(&decoded) != encoded {
        return Err(refused());
    }
    Ok(Asset { key_id: KeyId::from_bytes(key), attributes: decoded, id })
}

fn state_name(state: VersionState) -> &'static str {
    match state {
        VersionState::Staged => "staged",
        VersionState::Active => "active",
        VersionState::Superseded => "superseded",
        VersionState::Destroyed => "destroyed",
    }
}

fn state_from(name: &str) -> Option<VersionState> {
    use VersionState::{Active, Destroyed, Staged, Superseded};
    [Staged, Active, Superseded, Destroyed].into_iter().find(|state| state_name(*state) == name)
}
