// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reactivate and Erase (Single User Mode feature set; rests on one source each).

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::life_cycle::{data_store_sizes, resize_tables};
use super::{Draft, Ends};
use crate::spec::method::parameter;
use crate::spec::{authority, c_pin, column, locking, table};
use crate::tper::access::password_authorities;
use crate::tper::cell::{Cell, wrong};
use crate::tper::effects::Op;
use crate::tper::machine::Machine;
use crate::tper::platform::Platform;
use crate::tper::preset;
use crate::tper::preset::single_user::owner;
use crate::tper::profile::Profile;
use crate::tper::sessions::{finished, optional};
use crate::tper::tables::{LockingConfig, range_number};
use crate::wire::{Reader, Status, Token};
use crate::{Pin, Uid};

/// SingleUserModeSelectionList: Locking rows, or the Locking table alone for all of them. Ascending.
pub(super) fn selection(profile: &Profile, value: &mut Reader<'_>) -> Result<Vec<u16>, Status> {
    let all = || (0..=profile.ranges).collect();
    let whole_table = table::uid(table::LOCKING);
    if !wrong(value.accept(Token::StartList))? {
        return if wrong(value.uid())? == whole_table { Ok(all()) } else { invalid() };
    }
    let mut ranges = Vec::new();
    let mut whole = false;
    while !wrong(value.accept(Token::EndList))? {
        let uid = wrong(value.uid())?;
        if whole || (uid == whole_table && !ranges.is_empty()) {
            return invalid();
        }
        if uid == whole_table {
            whole = true;
            continue;
        }
        let range = locking::range_number(uid)
            .filter(|n| uid.table() == table::LOCKING && *n <= profile.ranges)
            .ok_or(Status::INVALID_PARAMETER)?;
        if ranges.contains(&range) {
            return invalid();
        }
        ranges.push(range);
    }
    ranges.sort_unstable();
    Ok(if whole { all() } else { ranges })
}

fn invalid<T>() -> Result<T, Status> {
    Err(Status::INVALID_PARAMETER)
}

/// Reactivate: another choice of ranges in Single User Mode. Data, keys and bounds of ranges stay,
/// and Admin1 with its PIN unless a new one is given; all else is as after Activate.
pub(super) fn reactivate<P: Platform>(
    machine: &Machine<'_, P>,
    draft: &mut Draft,
    parameters: &mut Reader<'_>,
) -> Result<(), Status> {
    let profile = machine.profile;
    let (config, admin1_pin) = choices(profile, parameters)?;
    let sp = draft.provider();
    let lock_enabled = sp.rows_of(table::LOCKING).any(|(uid, _)| {
        sp.flag(uid, column::locking::READ_LOCK_ENABLED)
            || sp.flag(uid, column::locking::WRITE_LOCK_ENABLED)
    });
    if draft.in_transaction || lock_enabled {
        return Err(Status::FAIL);
    }
    let base = preset::locking_sp(profile, &config);
    resize_tables(draft, &base);
    let old = core::mem::replace(&mut draft.tables.locking, base.clone());
    for (row, _) in old.rows_of(table::LOCKING) {
        for bound in [column::locking::RANGE_START, column::locking::RANGE_LENGTH] {
            if let Some(cell) = old.cell(row, bound) {
                draft.tables.locking.set(row, bound, cell.clone());
            }
        }
    }
    let admin1 = authority::admin(1);
    if let Some(pin) = admin1_pin {
        draft.ops.push(Op::SetPin { authority: admin1, pin });
    }
    let others: Vec<Uid> = password_authorities(&old).filter(|a| *a != admin1).collect();
    for authority in others {
        draft.ops.push(Op::ResetPin { authority, pin: Arc::from(&[][..]) });
        draft.ops.push(Op::ClearTries { c_pin: c_pin::of(authority) });
    }
    draft.ops.push(Op::ClearTries { c_pin: c_pin::of(admin1) });
    draft.tables.locking_base = base;
    draft.tables.config = config;
    draft.ends = Ends::This;
    Ok(())
}

fn choices(
    profile: &Profile,
    parameters: &mut Reader<'_>,
) -> Result<(LockingConfig, Option<Pin>), Status> {
    let mut config = LockingConfig::default();
    let mut pin = None;
    let mut last = None;
    while let Some((name, mut value)) = optional(parameters, &mut last)? {
        match name {
            parameter::SINGLE_USER_MODE_SELECTION_LIST => {
                config.single_user = selection(profile, &mut value)?;
            }
            parameter::RANGE_START_RANGE_LENGTH_POLICY => {
                config.policy = wrong(value.boolean())?;
            }
            parameter::REACTIVATE_ADMIN1_PIN => {
                let bytes = wrong(value.bytes())?;
                pin = Some(Pin::new(bytes).map_err(|_| Status::INVALID_PARAMETER)?);
            }
            parameter::REACTIVATE_DATA_STORE_TABLE_SIZES if profile.features.data_stores => {
                config.data_stores = data_store_sizes(profile, &mut value)?;
            }
            _ => return invalid(),
        }
        finished(&value)?;
    }
    Ok((config, pin))
}

/// Erase of a range in Single User Mode, or of a band: a new key, no locks, and its owner with the
/// factory PIN. Bounds and LockOnReset stay.
pub(super) fn erase(
    profile: &Profile,
    draft: &mut Draft,
    parameters: &Reader<'_>,
) -> Result<(), Status> {
    finished(parameters)?;
    let row = draft.invoking;
    let range = range_number(row).ok_or(Status::INVALID_PARAMETER)?;
    use column::locking as l;
    for flag in [l::READ_LOCK_ENABLED, l::WRITE_LOCK_ENABLED, l::READ_LOCKED, l::WRITE_LOCKED] {
        draft.provider_mut().set(row, flag, Cell::boolean(false));
    }
    let user = if profile.ssc.is_enterprise() {
        authority::enterprise::band_master(range)
    } else {
        authority::user(owner(range))
    };
    draft.ops.push(Op::NewKey { range });
    draft.ops.push(Op::ResetPin { authority: user, pin: Arc::from(profile.factory_pin()) });
    draft.ops.push(Op::ClearTries { c_pin: c_pin::of(user) });
    Ok(())
}
