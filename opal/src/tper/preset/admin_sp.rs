// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Admin SP at the factory (Opal 2.30 §4.2, tables 18 to 31; PSID feature set).

use super::{Builder, NO_PIN, either, only};
use crate::Uid;
use crate::spec::ace::{self, admin_sp as a};
use crate::spec::{authority, c_pin, column, method, sp, table};
use crate::tper::cell::Cell;
use crate::tper::profile::Profile;
use crate::tper::tables::Provider;

/// Rows of the Template table and of SPTemplates.
pub(super) mod template {
    use crate::Uid;
    pub(in crate::tper::preset) const BASE: Uid = Uid::new(crate::spec::table::TEMPLATE, 1);
    pub(in crate::tper::preset) const ADMIN: Uid = Uid::new(crate::spec::table::TEMPLATE, 2);
    pub(in crate::tper::preset) const LOCKING: Uid = Uid::new(crate::spec::table::TEMPLATE, 6);
}

/// Builds the Admin SP of a drive of the Opal family: Opal, Opalite, Pyrite, Ruby.
pub(in crate::tper) fn opal(profile: &Profile) -> Provider {
    let mut b = Builder::new(profile);
    small_tables(&mut b, profile);
    authorities(&mut b, profile);
    aces(&mut b, profile);
    access(&mut b, profile);
    b.object_tables(&[
        (table::TABLE, "Table"),
        (table::SP_INFO, "SPInfo"),
        (table::SP_TEMPLATES, "SPTemplates"),
        (table::METHOD_ID, "MethodID"),
        (table::ACCESS_CONTROL, "AccessControl"),
        (table::ACE, "ACE"),
        (table::AUTHORITY, "Authority"),
        (table::C_PIN, "C_PIN"),
        (table::TPER_INFO, "TPerInfo"),
        (table::TEMPLATE, "Template"),
        (table::SP, "SP"),
    ]);
    if profile.data_removal.mechanisms != 0 {
        b.object_tables(&[(table::DATA_REMOVAL_MECHANISM, "DataRemovalMechanism")]);
    }
    b.allow_get_rows(&[table::TABLE], &[ace::ANYBODY]);
    b.finish(sp::ADMIN)
}

/// SPInfo and SPTemplates, which every SP has.
pub(super) fn base_tables(b: &mut Builder, uid: Uid, name: &str, own: (Uid, &str)) {
    use column::{sp_info, sp_templates};
    b.row(
        table::row::SP_INFO_ROW,
        [
            (sp_info::SP_ID, Cell::uid(uid)),
            (sp_info::NAME, Cell::text(name)),
            (sp_info::SIZE, Cell::Uint(0)),
            (sp_info::SIZE_IN_USE, Cell::Uint(0)),
            (sp_info::SP_SESSION_TIMEOUT, Cell::Uint(0)),
            (sp_info::ENABLED, Cell::boolean(true)),
        ],
    );
    for (row, (template, name)) in (1..).zip([(template::BASE, "Base"), own]) {
        b.row(
            Uid::new(table::SP_TEMPLATES, row),
            [
                (sp_templates::TEMPLATE_ID, Cell::uid(template)),
                (sp_templates::NAME, Cell::text(name)),
                (sp_templates::VERSION, Cell::Bytes([0, 0, 0, 2].to_vec())),
            ],
        );
    }
}

fn small_tables(b: &mut Builder, profile: &Profile) {
    base_tables(b, sp::ADMIN, "Admin", (template::ADMIN, "Admin"));
    b.methods(&[
        (method::NEXT, "Next"),
        (method::GET_ACL, "GetACL"),
        (method::GET, "Get"),
        (method::SET, "Set"),
        (method::AUTHENTICATE, "Authenticate"),
        (method::REVERT, "Revert"),
        (method::ACTIVATE, "Activate"),
        (method::RANDOM, "Random"),
    ]);
    use column::tper_info as t;
    b.row(
        table::row::TPER_INFO_ROW,
        [
            (t::BYTES, Cell::Uint(0)),
            (t::GUDID, Cell::Bytes(profile.gudid.to_vec())),
            (t::GENERATION, Cell::Uint(0)),
            (t::FIRMWARE_VERSION, Cell::Uint(u64::from(profile.firmware_version))),
            (t::PROTOCOL_VERSION, Cell::Uint(1)),
            (t::SPACE_FOR_ISSUANCE, Cell::Uint(0)),
            (t::SSC, Cell::Names([profile.ssc.tper_info_name()].to_vec())),
        ],
    );
    if profile.ssc.has_programmatic_reset() {
        let off = Cell::boolean(false);
        b.put(table::row::TPER_INFO_ROW, t::PROGRAMMATIC_RESET_ENABLE, off);
    }
    use column::template as te;
    for (uid, name) in
        [(template::BASE, "Base"), (template::ADMIN, "Admin"), (template::LOCKING, "Locking")]
    {
        let instances = if uid == template::BASE { 2 } else { 1 };
        b.row(
            uid,
            [
                (te::NAME, Cell::text(name)),
                (te::REVISION_NUMBER, Cell::Uint(1)),
                (te::INSTANCES, Cell::Uint(instances)),
                (te::MAX_INSTANCES, Cell::Uint(instances)),
            ],
        );
    }
    use column::sp as s;
    for (uid, name, state) in [
        (sp::ADMIN, "Admin", sp::life_cycle::MANUFACTURED),
        (sp::LOCKING, "Locking", sp::life_cycle::MANUFACTURED_INACTIVE),
    ] {
        b.row(
            uid,
            [
                (s::NAME, Cell::text(name)),
                (s::ORG, Cell::uid(Uid::NULL)),
                (s::EFFECTIVE_AUTH, Cell::text("")),
                (s::BYTES, Cell::Uint(0)),
                (s::LIFE_CYCLE_STATE, Cell::Uint(state)),
                (s::FROZEN, Cell::boolean(false)),
            ],
        );
    }
    let removal = &profile.data_removal;
    if removal.mechanisms != 0 {
        let active = Cell::Uint(u64::from(removal.active));
        let mechanism = (column::data_removal_mechanism::ACTIVE, active);
        b.row(table::row::DATA_REMOVAL_MECHANISM_ROW, [mechanism]);
    }
}

fn authorities(b: &mut Builder, profile: &Profile) {
    let tries = &profile.try_limits;
    b.class(authority::ANYBODY, "Anybody");
    b.class(authority::ADMINS, "Admins");
    b.class(authority::MAKERS, "Makers");
    b.authority(authority::SID, "SID", false, Uid::NULL, true, Some(c_pin::SID));
    b.c_pin(c_pin::SID, "C_PIN_SID", tries.sid, tries.persistent);
    let admin1 = authority::admin_sp_admin(1);
    let admin1_pin = c_pin::admin_sp_admin(1);
    b.authority(admin1, "Admin1", false, authority::ADMINS, false, Some(admin1_pin));
    b.c_pin(admin1_pin, "C_PIN_Admin1", tries.others, tries.persistent);
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

fn aces(b: &mut Builder, profile: &Profile) {
    use authority::{ADMINS, ANYBODY, PSID, SID};
    b.ace(ace::ANYBODY, "ACE_Anybody", &only(ANYBODY), &[]);
    b.ace(ace::ADMIN, "ACE_Admin", &only(ADMINS), &[]);
    b.ace(a::SET_ENABLED, "ACE_Set_Enabled", &only(SID), &[column::authority::ENABLED]);
    b.ace(a::SP_SID, "ACE_SP_SID", &only(SID), &[]);
    b.ace(a::C_PIN_SID_GET_NO_PIN, "ACE_C_PIN_SID_Get_NOPIN", &either(ADMINS, SID), &NO_PIN);
    b.ace(a::C_PIN_SID_SET_PIN, "ACE_C_PIN_SID_Set_PIN", &only(SID), &[column::c_pin::PIN]);
    b.ace(
        a::C_PIN_MSID_GET_PIN,
        "ACE_C_PIN_MSID_Get_PIN",
        &only(ANYBODY),
        &[column::UID, column::c_pin::PIN],
    );
    b.ace(
        a::C_PIN_ADMINS_SET_PIN,
        "ACE_C_PIN_Admins_Set_PIN",
        &either(ADMINS, SID),
        &[column::c_pin::PIN],
    );
    if profile.ssc.has_programmatic_reset() {
        b.ace(
            a::TPER_INFO_SET_PROGRAMMATIC_RESET_ENABLE,
            "ACE_TPerInfo_Set_ProgrammaticResetEnable",
            &only(SID),
            &[column::tper_info::PROGRAMMATIC_RESET_ENABLE],
        );
    }
    if profile.data_removal.mechanisms != 0 {
        // The specification's name is longer than a name cell holds in some readers; kept as it is.
        b.ace(
            a::DATA_REMOVAL_SET_ACTIVE,
            "ACE_DataRemovalMechanism_Set_ActiveDataRemovalMechanism",
            &either(ADMINS, SID),
            &[column::data_removal_mechanism::ACTIVE],
        );
    }
    if profile.has_psid() {
        b.ace(a::SP_PSID, "ACE_SP_PSID", &only(PSID), &[]);
        b.ace(a::C_PIN_GET_PSID_NO_PIN, "ACE_C_PIN_Get_PSID_NoPIN", &only(ANYBODY), &NO_PIN);
    }
}

fn access(b: &mut Builder, profile: &Profile) {
    use method::{ACTIVATE, AUTHENTICATE, GET, RANDOM, REVERT, SET};
    let anybody = [ace::ANYBODY];
    b.allow(sp::THIS_SP, AUTHENTICATE, &anybody);
    b.allow(sp::THIS_SP, RANDOM, &anybody);
    b.allow_next(&[
        table::TABLE,
        table::SP_TEMPLATES,
        table::METHOD_ID,
        table::ACE,
        table::AUTHORITY,
        table::TEMPLATE,
        table::SP,
        table::C_PIN,
    ]);
    b.allow_get_rows(
        &[
            table::SP_INFO,
            table::SP_TEMPLATES,
            table::METHOD_ID,
            table::ACE,
            table::AUTHORITY,
            table::TEMPLATE,
            table::SP,
            table::TPER_INFO,
            table::DATA_REMOVAL_MECHANISM,
        ],
        &anybody,
    );
    for admin in [authority::MAKERS, authority::admin_sp_admin(1)] {
        b.allow(admin, SET, &[a::SET_ENABLED]);
    }
    b.allow(c_pin::SID, GET, &[a::C_PIN_SID_GET_NO_PIN]);
    b.allow(c_pin::SID, SET, &[a::C_PIN_SID_SET_PIN]);
    b.allow(c_pin::MSID, GET, &[a::C_PIN_MSID_GET_PIN]);
    b.allow(c_pin::admin_sp_admin(1), GET, &[a::C_PIN_SID_GET_NO_PIN]);
    b.allow(c_pin::admin_sp_admin(1), SET, &[a::C_PIN_ADMINS_SET_PIN]);
    if profile.ssc.has_programmatic_reset() {
        b.allow(table::row::TPER_INFO_ROW, SET, &[a::TPER_INFO_SET_PROGRAMMATIC_RESET_ENABLE]);
    }
    if profile.data_removal.mechanisms != 0 {
        b.allow(table::row::DATA_REMOVAL_MECHANISM_ROW, SET, &[a::DATA_REMOVAL_SET_ACTIVE]);
    }
    b.allow(sp::ADMIN, REVERT, &[a::SP_SID, ace::ADMIN]);
    b.allow(sp::LOCKING, REVERT, &[a::SP_SID, ace::ADMIN]);
    b.allow(sp::ADMIN, ACTIVATE, &[a::SP_SID]);
    b.allow(sp::LOCKING, ACTIVATE, &[a::SP_SID]);
    if profile.has_psid() {
        b.allow(c_pin::PSID, GET, &[a::C_PIN_GET_PSID_NO_PIN]);
        b.allow(sp::ADMIN, REVERT, &[a::SP_SID, ace::ADMIN, a::SP_PSID]);
    }
}
