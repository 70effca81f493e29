// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store's head and the TPM's counter: an old store put back is noticed.
//!
//! The store carries the number of its last anchored change, with a MAC; the TPM carries the same
//! number in a counter that nobody can wind back. A change writes n + 1 into the store, durably,
//! and then moves the counter; so after a power cut the store may be one ahead, and never behind.
//! A store that is behind still unlocks drives, but changes and destroys nothing.

use rusqlite::Transaction;

use super::epoch::EpochKeys;
use super::error::{AnchorProblem, Error};
use super::keyring::Keyring;
use super::rows;
use super::store::Store;

/// What the next change must write, where there is a counter.
pub(super) struct Next(Option<u64>);

/// Checks that the store is the newest one. The caller holds the lock on changes.
pub(super) fn check(store: &mut Store, keyring: &mut Keyring) -> Result<(), Error> {
    compare(store, keyring).map(drop)
}

/// As [`check`], and finishes what a power cut interrupted.
pub(super) fn begin(store: &mut Store, keyring: &mut Keyring) -> Result<Next, Error> {
    let Some((head, counter)) = compare(store, keyring)? else { return Ok(Next(None)) };
    if head > counter {
        keyring.advance(store, head)?;
    }
    let next = head.checked_add(1).ok_or(AnchorProblem::TpmOld { store: head, tpm: counter })?;
    Ok(Next(Some(next)))
}

/// Writes the number of this change, in its transaction.
pub(super) fn write(tx: &Transaction<'_>, keys: &EpochKeys, next: &Next) -> Result<(), Error> {
    next.0.map_or(Ok(()), |head| rows::write_head(tx, keys, head))
}

/// Moves the counter after the change is durable. If that fails, the change stands and the next
/// one catches up.
pub(super) fn finish(store: &mut Store, keyring: &mut Keyring, next: &Next) -> Result<(), Error> {
    let Some(head) = next.0 else { return Ok(()) };
    match keyring.advance(store, head) {
        Err(error @ Error::Interrupted(_)) => Err(error),
        Err(error) => {
            tracing::warn!("the change is made, but the TPM did not count it yet: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Takes the store as it is for the newest one, once the administrator has said so.
pub(super) fn accept(store: &mut Store, keyring: &mut Keyring) -> Result<(), Error> {
    keyring.prove_owner(store)?;
    let Some(counter) = keyring.counter(store)? else { return Ok(()) };
    keyring.with_keys(store, |store, keys, guard| {
        store.write("accept store", |tx| {
            guard.check(tx)?;
            rows::write_head(tx, keys, counter)
        })
    })
}

/// The head of the store and the counter, where there is one and they fit.
fn compare(store: &mut Store, keyring: &mut Keyring) -> Result<Option<(u64, u64)>, Error> {
    let Some(counter) = keyring.counter(store)? else { return Ok(None) };
    let head = keyring.with_keys(store, |store, keys, guard| {
        store.read(|tx| {
            guard.check(tx)?;
            rows::read_head(tx, keys)
        })
    })?;
    if head < counter {
        Err(AnchorProblem::StoreOld { store: head, tpm: counter }.into())
    } else if head - counter > 1 {
        Err(AnchorProblem::TpmOld { store: head, tpm: counter }.into())
    } else {
        Ok(Some((head, counter)))
    }
}
