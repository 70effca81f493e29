// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal's face: each step of a credential's life as one durable transaction.
//!
//! The steps themselves are [`Credential`]'s; here they meet the store.

use rusqlite::Transaction;

use super::credential::Credential;
use super::epoch::EpochKeys;
use super::error::{Error, JournalProblem};
use super::id::{self, KeyId, Kind, Origin};
use super::record::RecordId;
use super::{Lockbox, Weight, rows};
use crate::secret::Secret;

impl Lockbox {
    /// Everyone who has credentials, in order. Needs no provider.
    ///
    /// # Errors
    /// The store's.
    pub fn owners(&self) -> Result<Vec<String>, Error> {
        self.inner().store.read(rows::owners)
    }

    /// The credential of that owner and role, its row checked.
    ///
    /// # Errors
    /// [`Error::Refused`] if the row was altered; the provider's and the store's.
    pub fn credential(&self, owner: &str, role: &str) -> Result<Option<Credential>, Error> {
        self.read(|tx, keys| checked(tx, keys, rows::peek_credential(tx, owner, role)?))
    }

    /// All credentials of an owner, their rows checked, in the order of their roles.
    ///
    /// # Errors
    /// As [`Lockbox::credential`].
    pub fn credentials(&self, owner: &str) -> Result<Vec<Credential>, Error> {
        self.read(|tx, keys| {
            let all = rows::peek_credentials(tx, Some(owner))?;
            all.iter().try_for_each(|c| rows::check_credential(tx, keys, c))?;
            Ok(all)
        })
    }

    /// Seals a secret as the next version of a credential, which it makes if there is none yet.
    /// Version 0 is a first secret that was not generated here. Durable when it returns.
    ///
    /// # Errors
    /// [`JournalProblem::AlreadyStaged`], [`JournalProblem::Unresolved`]; the provider's and the
    /// store's.
    pub fn stage(
        &self,
        owner: &str,
        role: &str,
        kind: Kind,
        secret: &Secret,
        origin: Origin,
    ) -> Result<u64, Error> {
        id::check_name("an owner", owner)?;
        id::check_name("a role", role)?;
        let new_id = KeyId::random()?;
        self.write(Weight::Guarded, "stage", |tx, keys| {
            let known = checked(tx, keys, rows::peek_credential(tx, owner, role)?)?;
            let mut credential = match known {
                Some(credential) => credential,
                None => {
                    rows::insert_key(tx, keys, new_id, kind)?;
                    Credential::new(owner, role, new_id, kind)
                }
            };
            let version = credential
                .stage(kind, origin.clone())
                .map_err(|problem| Error::journal(owner, role, problem))?;
            rows::write_credential(tx, keys, &credential)?;
            let id = RecordId { key: credential.key_id, version, kind };
            rows::write_record(tx, keys, &id, secret)?;
            Ok(version)
        })
    }

    /// Notes, before it is done, that the staged version is sent to the drive.
    ///
    /// # Errors
    /// [`JournalProblem::NothingStaged`]; the provider's and the store's.
    pub fn mark_set_issued(&self, owner: &str, role: &str) -> Result<(), Error> {
        self.step(Weight::Guarded, "mark set issued", owner, role, Credential::mark_set_issued)
    }

    /// Notes that the drive has proven to hold `version`, be it the staged one, the active one or
    /// an older one: it becomes active, the marker and the attempts are dropped. `power_cycle` is
    /// the drive's count, where known.
    ///
    /// # Errors
    /// [`JournalProblem::NoVersion`]; the provider's and the store's.
    pub fn activate(
        &self,
        owner: &str,
        role: &str,
        version: u64,
        power_cycle: Option<u64>,
    ) -> Result<(), Error> {
        self.step(Weight::Anchored, "activate", owner, role, |c| c.activate(version, power_cycle))
    }

    /// Gives up the staged version. If it may once have reached the drive it is kept as
    /// superseded, otherwise its record is destroyed.
    ///
    /// # Errors
    /// [`JournalProblem::NothingStaged`], [`JournalProblem::Unresolved`]; the provider's and the
    /// store's.
    pub fn abandon_staged(&self, owner: &str, role: &str) -> Result<(), Error> {
        self.step(Weight::Anchored, "abandon staged", owner, role, Credential::abandon_staged)?;
        self.inner().store.scrub()
    }

    /// Marks an attempt before it is made. Gives the number of marks since the drive's power
    /// cycle; marks of an older known cycle are dropped first.
    ///
    /// # Errors
    /// The provider's and the store's; [`Error::Unknown`].
    pub fn note_attempt(
        &self,
        owner: &str,
        role: &str,
        power_cycle: Option<u64>,
    ) -> Result<u32, Error> {
        self.step(Weight::Plain, "note attempt", owner, role, |c| Ok(c.note_attempt(power_cycle)))
    }

    /// Drops the marks, after a success or a power cycle.
    ///
    /// # Errors
    /// The provider's and the store's; [`Error::Unknown`].
    pub fn clear_attempts(
        &self,
        owner: &str,
        role: &str,
        power_cycle: Option<u64>,
    ) -> Result<(), Error> {
        self.step(Weight::Plain, "clear attempts", owner, role, |c| {
            c.clear_attempts(power_cycle);
            Ok(())
        })
    }

    /// Destroys every superseded version: once the drive has proven, after a power cycle, that it
    /// holds the active one ([`Credential::cycled_since_change`]). Gives the destroyed numbers.
    ///
    /// # Errors
    /// [`JournalProblem::Unresolved`]; the provider's and the store's.
    pub fn retire_superseded(&self, owner: &str, role: &str) -> Result<Vec<u64>, Error> {
        let retired = self.step(
            Weight::Anchored,
            "retire superseded",
            owner,
            role,
            Credential::retire_superseded,
        )?;
        if !retired.is_empty() {
            self.inner().store.scrub()?;
        }
        Ok(retired)
    }

    /// The secret of one version, whatever its state.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`JournalProblem::NoVersion`], [`Error::Refused`]; the provider's.
    pub fn credential_secret(
        &self,
        owner: &str,
        role: &str,
        version: u64,
    ) -> Result<Secret, Error> {
        self.read(|tx, keys| {
            let credential = known(tx, keys, owner, role)?;
            if credential.version(version).is_none() {
                let problem = JournalProblem::NoVersion(version);
                return Err(Error::journal(owner, role, problem));
            }
            let id = RecordId { key: credential.key_id, version, kind: credential.kind };
            rows::read_record(tx, keys, &id)
        })
    }

    /// Destroys all credentials of an owner, for example after its drive was reverted. A
    /// passphrase is not asked for; a TPM counts the change. An owner without credentials is no error.
    ///
    /// # Errors
    /// [`Error::Referenced`] while assets name one of its keys; the store's.
    pub fn forget(&self, owner: &str) -> Result<(), Error> {
        self.forget_owner(owner, false)
    }

    /// As [`Lockbox::forget`], and removes the assets that name its keys, in one transaction.
    ///
    /// # Errors
    /// The store's.
    pub fn forget_with_assets(&self, owner: &str) -> Result<(), Error> {
        self.forget_owner(owner, true)
    }

    fn step<T>(
        &self,
        weight: Weight,
        name: &'static str,
        owner: &str,
        role: &str,
        step: impl Fn(&mut Credential) -> Result<T, JournalProblem>,
    ) -> Result<T, Error> {
        self.write(weight, name, |tx, keys| {
            let mut credential = known(tx, keys, owner, role)?;
            let value =
                step(&mut credential).map_err(|problem| Error::journal(owner, role, problem))?;
            rows::write_credential(tx, keys, &credential)?;
            Ok(value)
        })
    }

    fn forget_owner(&self, owner: &str, with_assets: bool) -> Result<(), Error> {
        let forget = |tx: &Transaction<'_>| {
            for credential in rows::peek_credentials(tx, Some(owner))? {
                let key = credential.key_id;
                let assets = rows::references(tx, key)?;
                if !assets.is_empty() && !with_assets {
                    return Err(Error::Referenced { key, assets });
                }
                assets.iter().try_for_each(|id| rows::delete_asset(tx, id))?;
                rows::delete_key(tx, key)?;
            }
            Ok(())
        };
        if self.inner().keyring.is_anchored() {
            let known = self.inner().store.read(|tx| rows::peek_credentials(tx, Some(owner)))?;
            if known.is_empty() {
                return Ok(());
            }
            self.write(Weight::Anchored, "forget", |tx, _| forget(tx))?;
        } else {
            self.inner().store.write("forget", forget)?;
        }
        self.inner().store.scrub()
    }
}

fn checked(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    credential: Option<Credential>,
) -> Result<Option<Credential>, Error> {
    if let Some(credential) = &credential {
        rows::check_credential(tx, keys, credential)?;
    }
    Ok(credential)
}

fn known(
    tx: &Transaction<'_>,
    keys: &EpochKeys,
    owner: &str,
    role: &str,
) -> Result<Credential, Error> {
    checked(tx, keys, rows::peek_credential(tx, owner, role)?)?
        .ok_or_else(|| Error::Unknown { what: "credential", name: format!("{owner} {role}") })
}
