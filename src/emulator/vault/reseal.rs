// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the wraps say what the access control tables say.

use std::collections::{BTreeMap, BTreeSet};

use opal::Uid;
use opal::tper::{Grants, SessionId};

use super::records::{DataKey, KeyName, VaultPair};
use super::seal::{self, Pair, Purpose};
use super::{Vault, VaultError};
use crate::secret::Secret;

/// Who opens one data key from now on.
struct Wanted {
    name: KeyName,
    open: bool,
    vault: bool,
    users: BTreeSet<Uid>,
}

/// Brings `vault` in line with `grants`, adding with the secrets of `session` and removing freely.
pub(super) fn reseal(
    vault: &mut Vault,
    session: Option<SessionId>,
    grants: &Grants,
) -> Result<(), VaultError> {
    // Keys first: once the vault pair is gone, what only it opens is lost.
    let wanted = wanted(vault, grants);
    let mut plain: BTreeMap<KeyName, Secret> = BTreeMap::new();
    for want in &wanted {
        if !vault.records.keys.contains_key(&want.name) {
            let key = match vault.memory.keys.get(&want.name) {
                Some(key) => key.secret.duplicate(),
                None => seal::random_secret(vault.records.key_length)?,
            };
            vault.records.keys.insert(want.name, DataKey::default());
            plain.insert(want.name, key);
        } else if want.is_missing_in(vault, grants) {
            let key = match vault.key(session, want.name) {
                Some(key) => key.secret.duplicate(),
                // A revert without anybody's PIN. The DataStore goes with the Locking SP.
                None if want.is_table_of_inactive(grants) => {
                    seal::random_secret(vault.records.key_length)?
                }
                None => return Err(VaultError::Refused),
            };
            plain.insert(want.name, key);
        }
    }
    reseal_vault(vault, session, grants)?;
    // What a Single User Mode user has is not for administrators.
    for uid in grants.ranges.iter().filter(|grant| grant.single_user).flat_map(|g| &g.authorities) {
        if let Some(record) = vault.records.authorities.get_mut(uid) {
            record.member = None;
        }
    }
    for want in &wanted {
        apply(vault, want, plain.get(&want.name))?;
    }
    let names: BTreeSet<KeyName> = wanted.iter().map(|want| want.name).collect();
    vault.records.keys.retain(|name, _| names.contains(name));
    vault.memory.keys.retain(|name, _| names.contains(name));
    Ok(())
}

fn wanted(vault: &Vault, grants: &Grants) -> Vec<Wanted> {
    let has_pin = |uid: &Uid| vault.records.authorities.contains_key(uid);
    let want = |name, open, single_user: bool, authorities: &[Uid]| {
        if !grants.active {
            return Wanted { name, open: true, vault: false, users: BTreeSet::new() };
        }
        // Administrators come in through the vault.
        let users = authorities
            .iter()
            .filter(|uid| has_pin(uid) && (single_user || !grants.administrators.contains(uid)));
        let empty_pin = authorities.iter().any(|uid| !has_pin(uid));
        let users = users.copied().collect();
        Wanted { name, open: open || empty_pin, vault: !single_user, users }
    };
    let ranges = grants.ranges.iter().map(|grant| {
        let name = KeyName::Range(grant.range);
        want(name, grant.open, grant.single_user, &grant.authorities)
    });
    let tables = grants.tables.iter().map(|grant| {
        want(KeyName::Table(grant.table.table()), grant.open, false, &grant.authorities)
    });
    ranges.chain(tables).collect()
}

impl Wanted {
    fn is_table_of_inactive(&self, grants: &Grants) -> bool {
        !grants.active && matches!(self.name, KeyName::Table(_))
    }

    /// Whether a form of the key has to be made, so that its bytes are needed.
    fn is_missing_in(&self, vault: &Vault, grants: &Grants) -> bool {
        let Some(key) = vault.records.keys.get(&self.name) else { return true };
        let vault_is_new = grants.active && vault.records.vault.is_none();
        (self.open && key.open.is_none())
            || (self.vault && (key.vault.is_none() || vault_is_new))
            || self.users.iter().any(|uid| !key.sealed.contains_key(uid))
    }
}

/// The vault pair: there while the Locking SP is active, sealed to administrators with a PIN, open
/// while one has none.
fn reseal_vault(
    vault: &mut Vault,
    session: Option<SessionId>,
    grants: &Grants,
) -> Result<(), VaultError> {
    if !grants.active {
        vault.records.vault = None;
        for authority in vault.records.authorities.values_mut() {
            authority.member = None;
        }
        for key in vault.records.keys.values_mut() {
            key.vault = None;
            key.sealed.clear();
        }
        return Ok(());
    }
    let mut private = None;
    if vault.records.vault.is_none() {
        let pair = Pair::generate()?;
        vault.records.vault = Some(VaultPair { public: pair.public, ..VaultPair::default() });
        for key in vault.records.keys.values_mut() {
            key.vault = None;
        }
        private = Some(pair.private);
        seal_members(vault, &pair.public)?;
    }
    let (with_pin, without): (Vec<Uid>, Vec<Uid>) =
        grants.administrators.iter().partition(|uid| vault.records.authorities.contains_key(uid));
    let missing: Vec<Uid> = match &vault.records.vault {
        Some(pair) => {
            with_pin.iter().filter(|uid| !pair.sealed.contains_key(uid)).copied().collect()
        }
        None => Vec::new(),
    };
    let opens = !without.is_empty();
    let is_open = vault.records.vault.as_ref().is_some_and(|pair| pair.open.is_some());
    if private.is_none() && (!missing.is_empty() || (opens && !is_open)) {
        private = Some(vault.vault_private(session).ok_or(VaultError::Refused)?);
    }
    let drive = vault.records.drive;
    let mut seals = Vec::new();
    if let Some(private) = &private {
        for uid in missing {
            let Some(record) = vault.records.authorities.get(&uid) else { continue };
            seals.push((uid, seal::seal(&drive, Purpose::Vault(uid), &record.public, private)?));
        }
    }
    if let Some(pair) = &mut vault.records.vault {
        pair.sealed.retain(|uid, _| with_pin.contains(uid));
        pair.sealed.extend(seals);
        match (opens, private) {
            (false, _) => pair.open = None,
            (true, Some(private)) if pair.open.is_none() => pair.open = Some(private),
            (true, _) => {}
        }
    }
    Ok(())
}

/// Seals to a new vault pair the private halves that are at hand: those made in this step.
fn seal_members(vault: &mut Vault, public: &[u8; seal::KEY]) -> Result<(), VaultError> {
    let drive = vault.records.drive;
    for (uid, private) in &vault.memory.fresh {
        if !super::is_member(*uid) {
            continue;
        }
        if let Some(record) = vault.records.authorities.get_mut(uid) {
            record.member = Some(seal::seal(&drive, Purpose::Member(*uid), public, private)?);
        }
    }
    Ok(())
}

fn apply(vault: &mut Vault, want: &Wanted, plain: Option<&Secret>) -> Result<(), VaultError> {
    let records = &mut vault.records;
    let number = want.name.number();
    let Some(key) = records.keys.get_mut(&want.name) else { return Ok(()) };
    key.sealed.retain(|uid, _| want.users.contains(uid));
    if !want.vault {
        key.vault = None;
    }
    if !want.open {
        key.open = None;
    }
    let Some(plain) = plain else { return Ok(()) };
    if want.open && key.open.is_none() {
        key.open = Some(plain.duplicate());
    }
    if let (true, None, Some(pair)) = (want.vault, &key.vault, &records.vault) {
        let purpose = Purpose::Data { key: number, to: None };
        key.vault = Some(seal::seal(&records.drive, purpose, &pair.public, plain)?);
    }
    for uid in &want.users {
        let Some(record) = records.authorities.get(uid) else { continue };
        if !key.sealed.contains_key(uid) {
            let purpose = Purpose::Data { key: number, to: Some(*uid) };
            key.sealed.insert(*uid, seal::seal(&records.drive, purpose, &record.public, plain)?);
        }
    }
    Ok(())
}
