// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Single User Mode changes in the Locking SP's preset. The feature set's text was not at
//! hand: rows and UIDs rest on one public source each, and on what Linux and cryptsetup expect.
//!
//! A range in Single User Mode belongs to one user, range N to User N + 1: it is enabled, sets its
//! own PIN and its own locks, and administrators can do neither, only erase.

use alloc::vec::Vec;

use super::locking_sp::gen_key_ace;
use super::{Builder, NO_PIN, either, only};
use crate::Uid;
use crate::spec::ace::locking_sp as a;
use crate::spec::ace::single_user as s;
use crate::spec::{authority, c_pin, column, locking, method, sp, table};
use crate::tper::cell::Cell;
use crate::tper::profile::Profile;
use crate::tper::tables::LockingConfig;

/// The user that owns a range in Single User Mode.
pub(in crate::tper) const fn owner(range: u16) -> u16 {
    range + 1
}

/// Adds the feature set's rows, and gives the ranges of `config` to their users.
pub(super) fn apply(b: &mut Builder, profile: &Profile, config: &LockingConfig) {
    b.methods(&[(method::REACTIVATE, "Reactivate"), (method::ERASE, "Erase")]);
    let admins = only(authority::ADMINS);
    b.ace(s::SP_REACTIVATE_ADMIN, "ACE_SP_Reactivate_Admin", &admins, &[]);
    b.ace(
        s::C_PIN_ANYBODY_GET_NO_PIN,
        "ACE_C_PIN_Anybody_Get_NoPIN",
        &only(authority::ANYBODY),
        &NO_PIN,
    );
    b.allow(sp::THIS_SP, method::REACTIVATE, &[s::SP_REACTIVATE_ADMIN]);
    for added in [method::REACTIVATE, method::ERASE] {
        b.allow(added, method::GET, &[crate::spec::ace::ANYBODY]);
    }
    use column::locking_info as l;
    let ranges: Vec<Uid> = config.single_user.iter().map(|n| locking::range(*n)).collect();
    b.put(table::row::LOCKING_INFO_ROW, l::SINGLE_USER_MODE_RANGES, Cell::Uids(ranges));
    let policy = Cell::boolean(config.policy);
    b.put(table::row::LOCKING_INFO_ROW, l::RANGE_START_LENGTH_POLICY, policy);
    for range in &config.single_user {
        give(b, profile, *range, config.policy);
    }
    for added in [s::SP_REACTIVATE_ADMIN, s::C_PIN_ANYBODY_GET_NO_PIN] {
        b.allow(added, method::GET, &[a::ACE_GET_ALL]);
    }
}

/// Takes `range` from the administrators and gives it to its user.
fn give(b: &mut Builder, profile: &Profile, range: u16, policy: bool) {
    let number = owner(range);
    let (user, pin, row) = (authority::user(number), c_pin::user(number), locking::range(range));
    let own = Cell::Expression(only(user).to_vec());
    let name = super::locking_sp::range_name(range);

    b.put(user, column::authority::ENABLED, Cell::boolean(true));
    b.allow(user, method::SET, &[a::user_set_common_name(number)]);

    b.put(a::c_pin_user_set_pin(number), column::ace::BOOLEAN_EXPR, own.clone());
    b.allow(pin, method::GET, &[a::C_PIN_ADMINS_GET_ALL_NO_PIN, s::C_PIN_ANYBODY_GET_NO_PIN]);

    let locks: Vec<u64> =
        (column::locking::READ_LOCK_ENABLED..=column::locking::LOCK_ON_RESET).collect();
    let set_locks = alloc::format!("ACE_Locking_{name}_Set_ReadToLOR");
    b.ace(s::set_read_to_lor(range), &set_locks, &only(user), &locks);
    let mut set = Vec::from([s::set_read_to_lor(range)]);
    if range != 0 {
        let bounds = [column::locking::RANGE_START, column::locking::RANGE_LENGTH];
        let by = if policy { authority::ADMINS } else { user };
        let set_range = alloc::format!("ACE_Locking_{name}_Set_Range");
        b.ace(s::set_range(range), &set_range, &only(by), &bounds);
        set.push(s::set_range(range));
        b.allow(s::set_range(range), method::GET, &[a::ACE_GET_ALL]);
    }
    set.push(a::ADMINS_SET_COMMON_NAME);
    b.allow(row, method::SET, &set);
    let anybody = Cell::Expression(only(authority::ANYBODY).to_vec());
    b.put(a::locking_get(range), column::ace::BOOLEAN_EXPR, anybody);

    b.put(gen_key_ace(profile, range), column::ace::BOOLEAN_EXPR, own);
    let erase = alloc::format!("ACE_Locking_{name}_Erase");
    b.ace(s::erase(range), &erase, &either(authority::ADMINS, user), &[]);
    b.allow(row, method::ERASE, &[s::erase(range)]);
    for added in [s::set_read_to_lor(range), s::erase(range)] {
        b.allow(added, method::GET, &[a::ACE_GET_ALL]);
    }

    // None of this is an administrator's to hand on.
    for fixed in [
        a::c_pin_user_set_pin(number),
        a::locking_get(range),
        a::locking_set_read_locked(range),
        a::locking_set_write_locked(range),
        gen_key_ace(profile, range),
    ] {
        b.forbid(fixed, method::SET);
    }
}
