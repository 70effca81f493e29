// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both SPs of an Enterprise drive (Enterprise 1.01): bands, their masters and the EraseMaster.
//!
//! Experimental: the PSID and both reverts are vendors' additions; which rows of small tables
//! Anybody reads was recalled.

use alloc::format;
use alloc::vec::Vec;

use super::admin_sp::{base_tables, template};
use super::locking_sp::{MODE_XTS, key_table};
use super::{Builder, either, only};
use crate::Uid;
use crate::spec::ace::enterprise as e;
use crate::spec::authority::enterprise as masters;
use crate::spec::{ace, authority, c_pin, column, locking, method, sp, table};
use crate::tper::cell::Cell;
use crate::tper::profile::Profile;
use crate::tper::tables::Provider;

/// `auth_method`: SymK.
const OPERATION_SYM_K: u64 = 4;

/// Builds the Admin SP.
pub(in crate::tper) fn admin_sp(profile: &Profile) -> Provider {
    let mut b = Builder::new(profile);
    base_tables(&mut b, sp::ADMIN, "Admin", (template::ADMIN, "Admin"));
    methods(&mut b);
    b.methods(&[(method::REVERT, "Revert"), (method::REVERT_SP, "RevertSP")]);
    sps(&mut b);
    admin_authorities(&mut b, profile);
    admin_aces(&mut b, profile);
    admin_access(&mut b, profile);
    b.object_tables(&[
        (table::TABLE, "Table"),
        (table::SP_INFO, "SPInfo"),
        (table::SP_TEMPLATES, "SPTemplates"),
        (table::METHOD_ID, "MethodID"),
        (table::ACCESS_CONTROL, "AccessControl"),
        (table::ACE, "ACE"),
        (table::AUTHORITY, "Authority"),
        (table::C_PIN, "C_PIN"),
        (table::SP, "SP"),
    ]);
    readable(&mut b, &[table::TABLE]);
    b.finish(sp::ADMIN)
}

fn methods(b: &mut Builder) {
    b.methods(&[
        (method::ENTERPRISE_GET, "Get"),
        (method::ENTERPRISE_SET, "Set"),
        (method::NEXT, "Next"),
        (method::ENTERPRISE_AUTHENTICATE, "Authenticate"),
        (method::GET_ACL, "GetACL"),
        (method::RANDOM, "Random"),
    ]);
}

/// Both SPs are Manufactured for good.
fn sps(b: &mut Builder) {
    use column::sp as s;
    for (uid, name) in [(sp::ADMIN, "Admin"), (sp::ENTERPRISE_LOCKING, "Locking")] {
        b.row(
            uid,
            [
                (s::NAME, Cell::text(name)),
                (s::ORG, Cell::uid(Uid::NULL)),
                (s::EFFECTIVE_AUTH, Cell::text("")),
                (s::BYTES, Cell::Uint(0)),
                (s::LIFE_CYCLE_STATE, Cell::Uint(sp::life_cycle::MANUFACTURED)),
                (s::FROZEN, Cell::boolean(false)),
            ],
        );
    }
}

fn admin_authorities(b: &mut Builder, profile: &Profile) {
    let tries = &profile.try_limits;
    b.class(authority::ANYBODY, "Anybody");
    b.class(authority::MAKERS, "Makers");
    let maker = masters::MAKER_SYM_K;
    b.authority(maker, "MakerSymK", false, authority::MAKERS, true, None);
    b.put(maker, column::authority::OPERATION, Cell::Uint(OPERATION_SYM_K));
    b.authority(authority::SID, "SID", false, Uid::NULL, true, Some(c_pin::SID));
    b.c_pin(c_pin::SID, "C_PIN_SID", tries.sid, tries.persistent);
    b.row(
        c_pin::MSID,
        [
            (column::c_pin::NAME, Cell::text("C_PIN_MSID")),
            (column::c_pin::PIN, Cell::Bytes(profile.msid.clone())),
        ],
    );
    if profile.has_psid() {
        b.authority(authority::PSID, "PSID", false, Uid::NULL, true, Some(c_pin::PSID));
        b.c_pin(c_pin::PSID, "C_PIN_PSID", tries.psid, tries.persistent);
    }
}

fn admin_aces(b: &mut Builder, profile: &Profile) {
    use authority::{ANYBODY, MAKERS, PSID, SID};
    let pin = [column::c_pin::PIN];
    b.ace(ace::ANYBODY, "ACE_Anybody", &only(ANYBODY), &[]);
    b.ace(e::MAKERS, "ACE_Makers", &only(MAKERS), &[]);
    b.ace(e::SID, "ACE_SID", &only(SID), &[]);
    b.ace(e::C_PIN_SID_SET_SELF, "ACE_C_PIN_SID_Set_SelfPIN", &only(SID), &pin);
    b.ace(e::C_PIN_MSID_GET_PIN, "ACE_C_PIN_MSID_Get_PIN", &only(ANYBODY), &pin);
    b.ace(e::SID_SET_MAKERS, "ACE_SID_SetMakers", &only(SID), &[column::authority::ENABLED]);
    if profile.has_psid() {
        b.ace(ace::admin_sp::SP_PSID, "ACE_SP_PSID", &only(PSID), &[]);
    }
}

fn admin_access(b: &mut Builder, profile: &Profile) {
    this_sp(b);
    b.allow(c_pin::MSID, method::ENTERPRISE_GET, &[e::C_PIN_MSID_GET_PIN]);
    b.allow(c_pin::SID, method::ENTERPRISE_SET, &[e::C_PIN_SID_SET_SELF]);
    b.allow(table::uid(table::AUTHORITY), method::NEXT, &[e::MAKERS]);
    b.allow_rows(&[table::AUTHORITY], method::ENTERPRISE_GET, &[e::SID]);
    b.allow(authority::MAKERS, method::ENTERPRISE_SET, &[e::SID_SET_MAKERS]);
    let tables = [table::SP, table::METHOD_ID, table::SP_INFO, table::SP_TEMPLATES, table::ACE];
    b.allow_next(&tables);
    readable(b, &tables);
    let psid: &[Uid] = if profile.has_psid() { &[ace::admin_sp::SP_PSID] } else { &[] };
    let reverters = [&[e::SID], psid].concat();
    b.allow(sp::THIS_SP, method::REVERT_SP, &reverters);
    b.allow(sp::ADMIN, method::REVERT, &reverters);
}

/// Methods of ThisSP in both SPs.
fn this_sp(b: &mut Builder) {
    b.allow(sp::THIS_SP, method::ENTERPRISE_AUTHENTICATE, &[ace::ANYBODY]);
    b.allow(sp::THIS_SP, method::RANDOM, &[ace::ANYBODY]);
}

/// Lets Anybody use Get on every row of tables built so far.
fn readable(b: &mut Builder, tables: &[u32]) {
    b.allow_rows(tables, method::ENTERPRISE_GET, &[ace::ANYBODY]);
}

/// Builds the Locking SP.
pub(in crate::tper) fn locking_sp(profile: &Profile) -> Provider {
    let mut b = Builder::new(profile);
    base_tables(&mut b, sp::ENTERPRISE_LOCKING, "Locking", (template::LOCKING, "Locking"));
    methods(&mut b);
    b.methods(&[(method::ERASE, "Erase")]);
    locking_info(&mut b, profile);
    locking_authorities(&mut b, profile);
    bands(&mut b, profile);
    locking_aces(&mut b, profile);
    locking_access(&mut b, profile);
    let store = table::ENTERPRISE_DATA_STORE;
    b.byte_table(store, "DataStore", u64::from(profile.data_store.total), 1);
    b.allow(table::uid(store), method::ENTERPRISE_GET, &[ace::ANYBODY]);
    b.allow(table::uid(store), method::ENTERPRISE_SET, &[e::BAND_MASTERS]);
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
        key_table(profile),
    ]);
    readable(&mut b, &[table::TABLE]);
    b.finish(sp::ENTERPRISE_LOCKING)
}

fn locking_info(b: &mut Builder, profile: &Profile) {
    use column::locking_info as l;
    b.row(
        table::row::LOCKING_INFO_ROW,
        [
            (l::NAME, Cell::text("")),
            (l::VERSION, Cell::Uint(1)),
            (l::ENCRYPT_SUPPORT, Cell::Uint(1)),
            (l::MAX_RANGES, Cell::Uint(u64::from(profile.ranges))),
            (l::MAX_RE_ENCRYPTIONS, Cell::Uint(0)),
            (l::KEYS_AVAILABLE_CFG, Cell::Uint(0)),
        ],
    );
}

fn locking_authorities(b: &mut Builder, profile: &Profile) {
    let tries = &profile.try_limits;
    b.class(authority::ANYBODY, "Anybody");
    b.class(masters::BAND_MASTERS, "BandMasters");
    for n in 0..=profile.ranges {
        let (uid, name) = (masters::band_master(n), format!("BandMaster{n}"));
        let pin = c_pin::of(uid);
        b.authority(uid, &name, false, masters::BAND_MASTERS, true, Some(pin));
        b.c_pin(pin, &format!("C_PIN_{name}"), tries.others, tries.persistent);
    }
    let pin = c_pin::of(masters::ERASE_MASTER);
    b.authority(masters::ERASE_MASTER, "EraseMaster", false, Uid::NULL, true, Some(pin));
    b.c_pin(pin, "C_PIN_EraseMaster", tries.others, tries.persistent);
}

fn bands(b: &mut Builder, profile: &Profile) {
    use column::{locking as l, media_key as k};
    let (keys, keys_name) = key_table(profile);
    for n in 0..=profile.ranges {
        let name = if n == 0 { "Global_Range".into() } else { format!("Band{n}") };
        let key = locking::band_key(keys, n);
        b.named(
            locking::band(n),
            &name,
            [
                (l::RANGE_START, Cell::Uint(0)),
                (l::RANGE_LENGTH, Cell::Uint(0)),
                (l::READ_LOCK_ENABLED, Cell::boolean(false)),
                (l::WRITE_LOCK_ENABLED, Cell::boolean(false)),
                (l::READ_LOCKED, Cell::boolean(false)),
                (l::WRITE_LOCKED, Cell::boolean(false)),
                (l::LOCK_ON_RESET, Cell::Set([locking::reset::POWER_CYCLE].to_vec())),
                (l::ACTIVE_KEY, Cell::uid(key)),
            ],
        );
        b.put(locking::band(n), l::COMMON_NAME, Cell::text("Locking"));
        b.named(key, &format!("{keys_name}_{name}_Key"), [(k::MODE, Cell::Uint(MODE_XTS))]);
    }
}

fn locking_aces(b: &mut Builder, profile: &Profile) {
    use column::locking as l;
    let pin = [column::c_pin::PIN];
    b.ace(ace::ANYBODY, "ACE_Anybody", &only(authority::ANYBODY), &[]);
    for n in 0..=profile.ranges {
        let master = only(masters::band_master(n));
        b.ace(e::band_master(n), &format!("ACE_BandMaster{n}"), &master, &[]);
        let own = format!("ACE_C_PIN_BandMaster{n}_SetSelf");
        b.ace(e::c_pin_band_master_set_self(n), &own, &master, &pin);
        let first = if n == 0 { l::READ_LOCK_ENABLED } else { l::RANGE_START };
        let columns: Vec<u64> = (first..=l::LOCK_ON_RESET).collect();
        let band = format!("ACE_Locking_BandMaster{n}_SetBand");
        b.ace(e::locking_band_master_set_band(n), &band, &master, &columns);
    }
    let eraser = only(masters::ERASE_MASTER);
    b.ace(e::ERASE_MASTER, "ACE_EraseMaster", &eraser, &[]);
    b.ace(e::C_PIN_ERASE_MASTER_SET_SELF, "ACE_C_PIN_EraseMaster_SetSelf", &eraser, &pin);
    let any = either(masters::BAND_MASTERS, masters::ERASE_MASTER);
    b.ace(e::ANY_MASTER, "ACE_AnyMaster", &any, &[]);
    b.ace(e::BAND_MASTERS, "ACE_BandMasters", &only(masters::BAND_MASTERS), &[]);
    let public: Vec<u64> = (column::UID..=l::ACTIVE_KEY).collect();
    b.ace(e::ANYBODY_GET_BAND, "ACE_Anybody_GetBand", &only(authority::ANYBODY), &public);
    let mode = [column::media_key::MODE];
    b.ace(e::GET_K_AES_MODE, "ACE_Get_K_AES_Mode", &only(authority::ANYBODY), &mode);
}

fn locking_access(b: &mut Builder, profile: &Profile) {
    use method::{ENTERPRISE_GET, ENTERPRISE_SET, ERASE, NEXT};
    this_sp(b);
    let small = [table::METHOD_ID, table::SP_INFO, table::SP_TEMPLATES, table::ACE];
    b.allow_next(&small);
    b.allow_next(&[table::AUTHORITY]);
    readable(b, &small);
    readable(b, &[table::LOCKING_INFO]);
    b.allow(table::uid(table::LOCKING_INFO), ENTERPRISE_GET, &[ace::ANYBODY]);
    b.allow(table::uid(table::LOCKING), NEXT, &[e::ANY_MASTER]);
    b.allow_rows(&[key_table(profile).0], ENTERPRISE_GET, &[e::GET_K_AES_MODE]);
    for n in 0..=profile.ranges {
        let row = locking::band(n);
        b.allow(row, ENTERPRISE_GET, &[e::ANYBODY_GET_BAND]);
        b.allow(row, ENTERPRISE_SET, &[e::locking_band_master_set_band(n)]);
        b.allow(row, ERASE, &[e::ERASE_MASTER]);
        let pin = c_pin::of(masters::band_master(n));
        b.allow(pin, ENTERPRISE_SET, &[e::c_pin_band_master_set_self(n)]);
    }
    let pin = c_pin::of(masters::ERASE_MASTER);
    b.allow(pin, ENTERPRISE_SET, &[e::C_PIN_ERASE_MASTER_SET_SELF]);
}
