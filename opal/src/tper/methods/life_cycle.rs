// SPDX-License-Identifier: MIT OR Apache-2.0
//! Activate, Revert, RevertSP (Opal 2.30 §5.1).

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Draft, Ends, enterprise, single_user};
use crate::Uid;
use crate::spec::method::parameter;
use crate::spec::sp::life_cycle::{MANUFACTURED, MANUFACTURED_INACTIVE};
use crate::spec::{authority, c_pin, column, sp, table};
use crate::tper::cell::{Cell, wrong};
use crate::tper::data_path::ranges;
use crate::tper::effects::Op;
use crate::tper::machine::Machine;
use crate::tper::platform::Platform;
use crate::tper::preset;
use crate::tper::profile::Profile;
use crate::tper::sessions::{finished, optional};
use crate::tper::tables::{LockingConfig, Provider, Tables};
use crate::wire::{Reader, Status, Token};

/// Activate of an SP object: the Locking SP comes to life with the SID's PIN for Admin1.
pub(super) fn activate<P: Platform>(
    machine: &Machine<'_, P>,
    draft: &mut Draft,
    parameters: &mut Reader<'_>,
) -> Result<(), Status> {
    if draft.invoking != draft.tables.locking.uid || draft.tables.is_active() {
        // Already manufactured: a success without effect, whatever the parameters.
        return Ok(());
    }
    if draft.in_transaction || machine.platform.activation_forbidden() {
        return Err(Status::FAIL);
    }
    let config = activation(machine.profile, parameters)?;
    let base = preset::locking_sp(machine.profile, &config);
    resize_tables(draft, &base);
    draft.tables.locking = base.clone();
    draft.tables.locking_base = base;
    draft.tables.config = config;
    draft.tables.set_life_cycle(MANUFACTURED);
    draft.ops.push(Op::CopyPin { from: authority::SID, to: authority::admin(1) });
    draft.ops.push(Op::ClearTries { c_pin: c_pin::admin(1) });
    Ok(())
}

/// Parameters of Activate, as far as the profile has the feature.
fn activation(profile: &Profile, parameters: &mut Reader<'_>) -> Result<LockingConfig, Status> {
    let mut config = LockingConfig::default();
    let mut last = None;
    while let Some((name, mut value)) = optional(parameters, &mut last)? {
        match name {
            parameter::SINGLE_USER_MODE_SELECTION_LIST if profile.features.single_user_mode => {
                config.single_user = single_user::selection(profile, &mut value)?;
            }
            parameter::RANGE_START_RANGE_LENGTH_POLICY if profile.features.single_user_mode => {
                config.policy = wrong(value.boolean())?;
            }
            parameter::ACTIVATE_DATA_STORE_TABLE_SIZES if profile.features.data_stores => {
                config.data_stores = data_store_sizes(profile, &mut value)?;
            }
            _ => return Err(Status::INVALID_PARAMETER),
        }
        finished(&value)?;
    }
    Ok(config)
}

/// DataStoreTableSizes: at least one table, each aligned, all within the total.
pub(super) fn data_store_sizes(
    profile: &Profile,
    value: &mut Reader<'_>,
) -> Result<Vec<u32>, Status> {
    let store = &profile.data_store;
    let mut sizes = Vec::new();
    let mut total = 0u64;
    wrong(value.start_list())?;
    while !wrong(value.accept(Token::EndList))? {
        let size: u32 = wrong(value.uint_as())?;
        if size == 0 || size % store.alignment != 0 {
            return Err(Status::INVALID_PARAMETER);
        }
        total += u64::from(size);
        if sizes.len() >= usize::from(store.tables) || total > u64::from(store.total) {
            return Err(Status::INSUFFICIENT_SPACE);
        }
        sizes.push(size);
    }
    if sizes.is_empty() { Err(Status::INVALID_PARAMETER) } else { Ok(sizes) }
}

/// Revert of an SP object.
pub(super) fn revert<P: Platform>(
    machine: &Machine<'_, P>,
    draft: &mut Draft,
    parameters: &Reader<'_>,
) -> Result<(), Status> {
    finished(parameters)?;
    revert_object(machine, draft, draft.invoking == sp::ADMIN)
}

/// Reverts the Locking SP and, if `whole`, the Admin SP.
pub(super) fn revert_object<P: Platform>(
    machine: &Machine<'_, P>,
    draft: &mut Draft,
    whole: bool,
) -> Result<(), Status> {
    if draft.in_transaction {
        return Err(Status::FAIL);
    }
    // An inactive Locking SP is left as it is, data included (Opal 2.30 §5.1.2.2).
    if draft.tables.is_active() {
        revert_locking(machine.profile, draft, false);
        draft.ends = Ends::Locking;
    }
    if whole {
        revert_admin(machine, draft);
        draft.ends = Ends::All;
    }
    Ok(())
}

/// RevertSP of the Locking SP, or of the Admin SP as Enterprise drives have it (experimental).
pub(super) fn revert_sp<P: Platform>(
    machine: &Machine<'_, P>,
    draft: &mut Draft,
    parameters: &mut Reader<'_>,
) -> Result<(), Status> {
    if machine.profile.ssc.is_enterprise() {
        return enterprise::revert_sp(machine, draft, parameters);
    }
    let mut keep = false;
    let mut last = None;
    while let Some((name, mut value)) = optional(parameters, &mut last)? {
        if name != parameter::KEEP_GLOBAL_RANGE_KEY {
            return Err(Status::INVALID_PARAMETER);
        }
        keep = wrong(value.boolean())?;
        finished(&value)?;
    }
    let global_is_locked =
        ranges(&draft.tables).iter().any(|r| r.number == 0 && r.is_locked_both_ways());
    if draft.in_transaction || (keep && global_is_locked) {
        return Err(Status::FAIL);
    }
    revert_locking(machine.profile, draft, keep);
    draft.ends = Ends::This;
    Ok(())
}

/// The Locking SP to its factory state: new keys, empty tables, no PINs.
fn revert_locking(profile: &Profile, draft: &mut Draft, keep_global_key: bool) {
    for range in ranges(&draft.tables) {
        if range.number != 0 || !keep_global_key {
            draft.ops.push(Op::NewKey { range: range.number });
        }
    }
    draft.ops.push(Op::Reverted);
    let base = preset::locking_sp(profile, &LockingConfig::default());
    let old = core::mem::replace(&mut draft.tables.locking, base.clone());
    reset_pins(profile, draft, &old, &[]);
    for (table, size) in base.byte_tables() {
        draft.ops.push(Op::WipeTable { table, size });
    }
    for (table, _) in old.byte_tables().filter(|(t, _)| base.byte_table(*t).is_none()) {
        draft.ops.push(Op::WipeTable { table, size: 0 });
    }
    draft.tables.locking_base = base;
    draft.tables.config = LockingConfig::default();
    if !profile.ssc.is_enterprise() {
        draft.tables.set_life_cycle(MANUFACTURED_INACTIVE);
    }
}

/// The Admin SP to its factory state. The SID's PIN stays if nobody ever authenticated as SID; the
/// PSID's always does (Opal 2.30 §5.1.2.2.1).
fn revert_admin<P: Platform>(machine: &Machine<'_, P>, draft: &mut Draft) {
    let base = preset::admin_sp(machine.profile);
    let old = core::mem::replace(&mut draft.tables.admin, base);
    reset_pins(machine.profile, draft, &old, &[authority::SID, authority::PSID]);
    if machine.inner.ledger.sid_authenticated {
        let pin = Arc::from(&machine.profile.msid[..]);
        draft.ops.push(Op::ResetPin { authority: authority::SID, pin });
        draft.tables.sid_is_msid = true;
    }
    draft.ops.push(Op::ClearTries { c_pin: c_pin::SID });
    draft.ops.push(Op::FactoryState);
}

/// Gives all authorities of an SP but `kept` their factory PINs.
fn reset_pins(profile: &Profile, draft: &mut Draft, sp: &Provider, kept: &[Uid]) {
    let factory: Arc<[u8]> = Arc::from(profile.factory_pin());
    for (authority, row) in sp.rows_of(table::AUTHORITY) {
        let credential = row.get(&column::authority::CREDENTIAL).and_then(Cell::as_uid);
        let Some(c_pin) = credential.filter(|c| *c != Uid::NULL) else { continue };
        if !kept.contains(&authority) {
            draft.ops.push(Op::ResetPin { authority, pin: factory.clone() });
            draft.ops.push(Op::ClearTries { c_pin });
        }
    }
}

/// Tells the owner which byte tables a new layout has.
pub(super) fn resize_tables(draft: &mut Draft, new: &Provider) {
    let Tables { locking: old, .. } = &draft.tables;
    let mut ops = Vec::new();
    for (table, size) in new.byte_tables() {
        if old.byte_table(table) != Some(size) {
            ops.push(Op::WipeTable { table, size });
        }
    }
    for (table, _) in old.byte_tables().filter(|(t, _)| new.byte_table(*t).is_none()) {
        ops.push(Op::WipeTable { table, size: 0 });
    }
    draft.ops.extend(ops);
}
