// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Locking SP at activation (Opal 2.30 §4.3, tables 32 to 51; DataStore feature set).

use alloc::format;
use alloc::vec::Vec;

use super::admin_sp::{base_tables, template};
use super::{Builder, NO_PIN, either, only};
use crate::Uid;
use crate::spec::ace::{self, locking_sp as a};
use crate::spec::{authority, c_pin, column, locking, method, sp, table};
use crate::tper::cell::Cell;
use crate::tper::profile::{KeyBits, Profile};
use crate::tper::tables::{LockingConfig, Provider};

/// `symmetric_mode_media`: XTS.
pub(super) const MODE_XTS: u64 = 7;

/// Builds the Locking SP of a drive of the Opal family. What an SSC lacks is left out.
pub(in crate::tper) fn opal(profile: &Profile, config: &LockingConfig) -> Provider {
    let mut b = Builder::new(profile);
    small_tables(&mut b, profile);
    authorities(&mut b, profile);
    ranges(&mut b, profile);
    aces(&mut b, profile);
    access(&mut b, profile);
    if profile.features.single_user_mode {
        super::single_user::apply(&mut b, profile, config);
    }
    byte_tables(&mut b, profile, config);
    b.object_tables(&[
        (table::TABLE, "Table"),
        (table::SP_INFO, "SPInfo"),
        (table::SP_TEMPLATES, "SPTemplates"),
        (table::METHOD_ID, "MethodID"),
        (table::ACCESS_CONTROL, "AccessControl"),
        (table::ACE, "ACE"),
        (table::AUTHORITY, "Authority"),
        (table::C_PIN, "C_PIN"),
        (table::LOCKING_INFO, "LockingInfo"),
        (table::LOCKING, "Locking"),
    ]);
    if profile.has_mbr() {
        b.object_tables(&[(table::MBR_CONTROL, "MBRControl")]);
    }
    if profile.ssc.encrypts() {
        b.object_tables(&[(table::SECRET_PROTECT, "SecretProtect"), key_table(profile)]);
    }
    b.allow_get_rows(&[table::TABLE], &[ace::ANYBODY]);
    b.finish(sp::LOCKING)
}

pub(super) const fn key_table(profile: &Profile) -> (u32, &'static str) {
    match profile.key_bits {
        KeyBits::Aes128 => (table::K_AES_128, "K_AES_128"),
        KeyBits::Aes256 => (table::K_AES_256, "K_AES_256"),
    }
}

const fn key_row(profile: &Profile, range: u16) -> Uid {
    match profile.key_bits {
        KeyBits::Aes128 => locking::key_128(range),
        KeyBits::Aes256 => locking::key_256(range),
    }
}

pub(super) const fn gen_key_ace(profile: &Profile, range: u16) -> Uid {
    match profile.key_bits {
        KeyBits::Aes128 => a::k_aes_128_gen_key(range),
        KeyBits::Aes256 => a::k_aes_256_gen_key(range),
    }
}

/// "GlobalRange" or "Range5".
pub(super) fn range_name(range: u16) -> alloc::string::String {
    if range == 0 { "GlobalRange".into() } else { format!("Range{range}") }
}

fn small_tables(b: &mut Builder, profile: &Profile) {
    base_tables(b, sp::LOCKING, "Locking", (template::LOCKING, "Locking"));
    b.methods(&[
        (method::NEXT, "Next"),
        (method::GET_ACL, "GetACL"),
        (method::REVERT_SP, "RevertSP"),
        (method::GET, "Get"),
        (method::SET, "Set"),
        (method::AUTHENTICATE, "Authenticate"),
        (method::RANDOM, "Random"),
    ]);
    if profile.ssc.encrypts() {
        b.methods(&[(method::GEN_KEY, "GenKey")]);
        let protected = key_table(profile).0;
        // The row's number follows the key size (Opal 2.30 table 42).
        let row = if protected == table::K_AES_128 { 0x1D } else { 0x1E };
        b.row(
            Uid::new(table::SECRET_PROTECT, row),
            [
                (column::secret_protect::TABLE, Cell::uid(table::descriptor(protected))),
                (column::secret_protect::COLUMN_NUMBER, Cell::Uint(column::media_key::KEY)),
                (column::secret_protect::PROTECT_MECHANISMS, Cell::Set([0].to_vec())),
            ],
        );
    }
    use column::locking_info as l;
    let geometry = &profile.geometry;
    b.row(
        table::row::LOCKING_INFO_ROW,
        [
            (l::NAME, Cell::text("")),
            (l::VERSION, Cell::Uint(1)),
            (l::ENCRYPT_SUPPORT, Cell::boolean(profile.ssc.encrypts())),
            (l::MAX_RANGES, Cell::Uint(u64::from(profile.ranges))),
            (l::MAX_RE_ENCRYPTIONS, Cell::Uint(0)),
            (l::KEYS_AVAILABLE_CFG, Cell::Uint(0)),
        ],
    );
    if profile.ssc.has_alignment_columns() {
        let row = table::row::LOCKING_INFO_ROW;
        b.put(row, l::ALIGNMENT_REQUIRED, Cell::boolean(geometry.alignment_required));
        b.put(row, l::LOGICAL_BLOCK_SIZE, Cell::Uint(u64::from(geometry.block_size)));
        b.put(row, l::ALIGNMENT_GRANULARITY, Cell::Uint(geometry.alignment_granularity));
        b.put(row, l::LOWEST_ALIGNED_LBA, Cell::Uint(geometry.lowest_aligned_lba));
    }
    if profile.has_mbr() {
        use column::mbr_control as m;
        b.row(
            table::row::MBR_CONTROL_ROW,
            [
                (m::ENABLE, Cell::boolean(false)),
                (m::DONE, Cell::boolean(false)),
                (m::DONE_ON_RESET, Cell::Set([locking::reset::POWER_CYCLE].to_vec())),
            ],
        );
    }
}

fn authorities(b: &mut Builder, profile: &Profile) {
    let tries = &profile.try_limits;
    b.class(authority::ANYBODY, "Anybody");
    b.class(authority::ADMINS, "Admins");
    b.class(authority::USERS, "Users");
    for n in 1..=profile.admins {
        let (uid, pin) = (authority::admin(n), c_pin::admin(n));
        let class = authority::ADMINS;
        b.authority(uid, &format!("Admin{n}"), false, class, n == 1, Some(pin));
        b.c_pin(pin, &format!("C_PIN_Admin{n}"), tries.others, tries.persistent);
    }
    for n in 1..=profile.users {
        let (uid, pin) = (authority::user(n), c_pin::user(n));
        let class = authority::USERS;
        b.authority(uid, &format!("User{n}"), false, class, false, Some(pin));
        b.c_pin(pin, &format!("C_PIN_User{n}"), tries.others, tries.persistent);
    }
}

fn ranges(b: &mut Builder, profile: &Profile) {
    use column::{locking as l, media_key as k};
    let (_, key_table_name) = key_table(profile);
    let encrypts = profile.ssc.encrypts();
    for n in 0..=profile.ranges {
        let name = range_name(n);
        let active_key = if encrypts { key_row(profile, n) } else { Uid::NULL };
        b.named(
            locking::range(n),
            &format!("Locking_{name}"),
            [
                (l::RANGE_START, Cell::Uint(0)),
                (l::RANGE_LENGTH, Cell::Uint(0)),
                (l::READ_LOCK_ENABLED, Cell::boolean(false)),
                (l::WRITE_LOCK_ENABLED, Cell::boolean(false)),
                (l::READ_LOCKED, Cell::boolean(false)),
                (l::WRITE_LOCKED, Cell::boolean(false)),
                (l::LOCK_ON_RESET, Cell::Set([locking::reset::POWER_CYCLE].to_vec())),
                (l::ACTIVE_KEY, Cell::uid(active_key)),
                (l::NEXT_KEY, Cell::uid(Uid::NULL)),
                (l::RE_ENCRYPT_STATE, Cell::Uint(RE_ENCRYPT_IDLE)),
            ],
        );
        if encrypts {
            let key_name = format!("{key_table_name}_{name}_Key");
            b.named(active_key, &key_name, [(k::MODE, Cell::Uint(MODE_XTS))]);
        }
    }
}

/// `reencrypt_state`: Idle.
const RE_ENCRYPT_IDLE: u64 = 1;

fn aces(b: &mut Builder, profile: &Profile) {
    use authority::{ADMINS, ANYBODY};
    let admins = only(ADMINS);
    let common_name = column::authority::COMMON_NAME;
    b.ace(ace::ANYBODY, "ACE_Anybody", &only(ANYBODY), &[]);
    b.ace(ace::ADMIN, "ACE_Admin", &admins, &[]);
    b.ace(
        a::ANYBODY_GET_COMMON_NAME,
        "ACE_Anybody_Get_CommonName",
        &only(ANYBODY),
        &[column::UID, common_name],
    );
    b.ace(a::ADMINS_SET_COMMON_NAME, "ACE_Admins_Set_CommonName", &admins, &[common_name]);
    b.ace(a::ACE_GET_ALL, "ACE_ACE_Get_All", &admins, &[]);
    b.ace(
        a::ACE_SET_BOOLEAN_EXPRESSION,
        "ACE_ACE_Set_BooleanExpression",
        &admins,
        &[column::ace::BOOLEAN_EXPR],
    );
    b.ace(a::AUTHORITY_GET_ALL, "ACE_Authority_Get_All", &admins, &[]);
    b.ace(
        a::AUTHORITY_SET_ENABLED,
        "ACE_Authority_Set_Enabled",
        &admins,
        &[column::authority::ENABLED],
    );
    b.ace(a::C_PIN_ADMINS_GET_ALL_NO_PIN, "ACE_C_PIN_Admins_Get_All_NOPIN", &admins, &NO_PIN);
    b.ace(a::C_PIN_ADMINS_SET_PIN, "ACE_C_PIN_Admins_Set_PIN", &admins, &[column::c_pin::PIN]);
    for n in 1..=profile.users {
        b.ace(
            a::user_set_common_name(n),
            &format!("ACE_User{n}_Set_CommonName"),
            &admins,
            &[common_name],
        );
        b.ace(
            a::c_pin_user_set_pin(n),
            &format!("ACE_C_PIN_User{n}_Set_PIN"),
            &either(ADMINS, authority::user(n)),
            &[column::c_pin::PIN],
        );
    }
    if profile.ssc.encrypts() {
        b.ace(a::K_AES_MODE, "ACE_K_AES_Mode", &only(ANYBODY), &[column::media_key::MODE]);
    }
    let (_, key_table_name) = key_table(profile);
    use column::locking as l;
    for n in 0..=profile.ranges {
        let name = range_name(n);
        if profile.ssc.encrypts() {
            let gen_key = format!("ACE_{key_table_name}_{name}_GenKey");
            b.ace(gen_key_ace(profile, n), &gen_key, &admins, &[]);
        }
        let readable: Vec<u64> = (l::RANGE_START..=l::ACTIVE_KEY).collect();
        let get = format!("ACE_Locking_{name}_Get_RangeStartToActiveKey");
        b.ace(a::locking_get(n), &get, &admins, &readable);
        let read = format!("ACE_Locking_{name}_Set_RdLocked");
        b.ace(a::locking_set_read_locked(n), &read, &admins, &[l::READ_LOCKED]);
        let write = format!("ACE_Locking_{name}_Set_WrLocked");
        b.ace(a::locking_set_write_locked(n), &write, &admins, &[l::WRITE_LOCKED]);
    }
    let locks: Vec<u64> = (l::READ_LOCK_ENABLED..=l::LOCK_ON_RESET).collect();
    b.ace(a::LOCKING_GLOBAL_ADMINS_SET, "ACE_Locking_GlblRng_Admins_Set", &admins, &locks);
    let bounds_and_locks: Vec<u64> = (l::RANGE_START..=l::LOCK_ON_RESET).collect();
    b.ace(
        a::LOCKING_ADMINS_RANGE_START_TO_LOR,
        "ACE_Locking_Admins_RangeStartToLOR",
        &admins,
        &bounds_and_locks,
    );
    if profile.has_mbr() {
        use column::mbr_control as m;
        b.ace(
            a::MBR_CONTROL_ADMINS_SET,
            "ACE_MBRControl_Admins_Set",
            &admins,
            &[m::ENABLE, m::DONE, m::DONE_ON_RESET],
        );
        b.ace(
            a::MBR_CONTROL_SET_DONE_TO_DOR,
            "ACE_MBRControl_Set_DoneToDOR",
            &admins,
            &[m::DONE, m::DONE_ON_RESET],
        );
    }
    for n in 1..=data_stores(profile) {
        let label = if n == 1 { alloc::string::String::new() } else { format!("{n}") };
        b.ace(a::data_store_get(n), &format!("ACE_DataStore{label}_Get_All"), &admins, &[]);
        b.ace(a::data_store_set(n), &format!("ACE_DataStore{label}_Set_All"), &admins, &[]);
    }
}

/// How many DataStore tables there can be.
const fn data_stores(profile: &Profile) -> u16 {
    if profile.features.data_stores { profile.data_store.tables } else { 1 }
}

fn access(b: &mut Builder, profile: &Profile) {
    use method::{AUTHENTICATE, GEN_KEY, GET, RANDOM, REVERT_SP, SET};
    let anybody = [ace::ANYBODY];
    b.allow(sp::THIS_SP, AUTHENTICATE, &anybody);
    b.allow(sp::THIS_SP, RANDOM, &anybody);
    b.allow(sp::THIS_SP, REVERT_SP, &[ace::ADMIN]);
    b.allow_next(&[
        table::TABLE,
        table::SP_TEMPLATES,
        table::METHOD_ID,
        table::ACE,
        table::AUTHORITY,
        table::C_PIN,
        table::LOCKING,
    ]);
    if profile.ssc.encrypts() {
        b.allow_next(&[table::SECRET_PROTECT]);
    }
    b.allow_get_rows(
        &[
            table::SP_INFO,
            table::SP_TEMPLATES,
            table::METHOD_ID,
            table::SECRET_PROTECT,
            table::LOCKING_INFO,
            table::MBR_CONTROL,
        ],
        &anybody,
    );
    b.allow_get_rows(&[table::ACE], &[a::ACE_GET_ALL]);
    b.allow_get_rows(&[table::AUTHORITY], &[a::AUTHORITY_GET_ALL, a::ANYBODY_GET_COMMON_NAME]);
    b.allow_get_rows(&[table::C_PIN], &[a::C_PIN_ADMINS_GET_ALL_NO_PIN]);
    b.allow_get_rows(&[key_table(profile).0], &[a::K_AES_MODE]);
    for personal in personal_aces(profile) {
        b.allow(personal, SET, &[a::ACE_SET_BOOLEAN_EXPRESSION]);
    }
    for n in 1..=profile.admins {
        let enabled: &[Uid] = if n == 1 { &[] } else { &[a::AUTHORITY_SET_ENABLED] };
        let aces = [enabled, &[a::ADMINS_SET_COMMON_NAME]].concat();
        b.allow(authority::admin(n), SET, &aces);
        b.allow(c_pin::admin(n), SET, &[a::C_PIN_ADMINS_SET_PIN]);
    }
    for n in 1..=profile.users {
        let aces = [a::AUTHORITY_SET_ENABLED, a::user_set_common_name(n)];
        b.allow(authority::user(n), SET, &aces);
        b.allow(c_pin::user(n), SET, &[a::c_pin_user_set_pin(n)]);
    }
    for n in 0..=profile.ranges {
        let row = locking::range(n);
        b.allow(row, GET, &[a::locking_get(n), a::ANYBODY_GET_COMMON_NAME]);
        let admins_set = if n == 0 {
            a::LOCKING_GLOBAL_ADMINS_SET
        } else {
            a::LOCKING_ADMINS_RANGE_START_TO_LOR
        };
        let locks = [a::locking_set_read_locked(n), a::locking_set_write_locked(n)];
        b.allow(row, SET, &[admins_set, locks[0], locks[1], a::ADMINS_SET_COMMON_NAME]);
        if profile.ssc.encrypts() {
            b.allow(key_row(profile, n), GEN_KEY, &[gen_key_ace(profile, n)]);
        }
    }
    if profile.has_mbr() {
        b.allow(
            table::row::MBR_CONTROL_ROW,
            SET,
            &[a::MBR_CONTROL_ADMINS_SET, a::MBR_CONTROL_SET_DONE_TO_DOR],
        );
    }
}

/// ACEs whose expression an owner may change (Opal 2.30 table 38).
fn personal_aces(profile: &Profile) -> Vec<Uid> {
    let mut aces = [a::ACE_GET_ALL, a::AUTHORITY_GET_ALL].to_vec();
    if profile.has_mbr() {
        aces.push(a::MBR_CONTROL_SET_DONE_TO_DOR);
    }
    for n in 1..=profile.users {
        aces.extend([a::c_pin_user_set_pin(n), a::user_set_common_name(n)]);
    }
    for n in 0..=profile.ranges {
        if profile.ssc.encrypts() {
            aces.push(gen_key_ace(profile, n));
        }
        aces.extend([
            a::locking_get(n),
            a::locking_set_read_locked(n),
            a::locking_set_write_locked(n),
        ]);
    }
    for n in 1..=data_stores(profile) {
        aces.extend([a::data_store_get(n), a::data_store_set(n)]);
    }
    aces
}

fn byte_tables(b: &mut Builder, profile: &Profile, config: &LockingConfig) {
    use method::{GET, SET};
    let granularity = profile.write_granularity;
    if profile.has_mbr() {
        b.byte_table(table::MBR, "MBR", profile.mbr_size, granularity);
        b.allow(table::uid(table::MBR), GET, &[ace::ANYBODY]);
        b.allow(table::uid(table::MBR), SET, &[ace::ADMIN]);
    }
    let whole = [profile.data_store.total];
    let sizes = if config.data_stores.is_empty() { &whole[..] } else { &config.data_stores };
    for (n, size) in (1u16..).zip(sizes) {
        let name = if n == 1 { "DataStore".into() } else { format!("DataStore{n}") };
        let uid = table::data_store(n);
        b.byte_table(uid.table(), &name, u64::from(*size), granularity);
        b.allow(uid, GET, &[a::data_store_get(n)]);
        b.allow(uid, SET, &[a::data_store_set(n)]);
    }
}
