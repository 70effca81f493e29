// SPDX-License-Identifier: MIT OR Apache-2.0
//! Factory states: the tables that an SSC preconfigures, written as rows.

pub(super) mod admin_sp;
pub(super) mod enterprise;
pub(super) mod locking_sp;
pub(super) mod single_user;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cell::{Cell, Element};
use super::profile::{Profile, Ssc};
use super::tables::{AccessRow, KIND_BYTE, KIND_OBJECT, LockingConfig, Provider, Row};
use crate::Uid;
use crate::spec::{ace, authority, column, method, table};

/// The Admin SP of a drive at the factory.
pub(super) fn admin_sp(profile: &Profile) -> Provider {
    match profile.ssc {
        Ssc::Enterprise => enterprise::admin_sp(profile),
        _ => admin_sp::opal(profile),
    }
}

/// The Locking SP of a drive at activation.
pub(super) fn locking_sp(profile: &Profile, config: &LockingConfig) -> Provider {
    match profile.ssc {
        Ssc::Enterprise => enterprise::locking_sp(profile),
        _ => locking_sp::opal(profile, config),
    }
}

/// Collects the rows and AccessControl rows of one SP.
pub(super) struct Builder {
    rows: BTreeMap<Uid, Row>,
    access: BTreeMap<(Uid, Uid), AccessRow>,
    /// Rows of the Table table have the granularity columns.
    granularity: bool,
}

impl Builder {
    pub(super) fn new(profile: &Profile) -> Self {
        let granularity = profile.ssc.has_alignment_columns();
        Self { rows: BTreeMap::new(), access: BTreeMap::new(), granularity }
    }

    /// A row; its UID column is filled in.
    pub(super) fn row(&mut self, uid: Uid, cells: impl IntoIterator<Item = (u64, Cell)>) {
        let mut row: Row = cells.into_iter().collect();
        row.insert(column::UID, Cell::uid(uid));
        self.rows.insert(uid, row);
    }

    /// A row whose columns 1 and 2 are a name and an empty CommonName.
    pub(super) fn named(
        &mut self,
        uid: Uid,
        name: &str,
        cells: impl IntoIterator<Item = (u64, Cell)>,
    ) {
        let names = [(1, Cell::text(name)), (2, Cell::text(""))];
        self.row(uid, names.into_iter().chain(cells));
    }

    /// Lets `aces` use `method` on `invoking`. Anybody reads the list with GetACL.
    pub(super) fn allow(&mut self, invoking: Uid, method: Uid, aces: &[Uid]) {
        let row = AccessRow { acl: aces.to_vec(), get_acl_acl: [ace::ANYBODY].to_vec() };
        self.access.insert((invoking, method), row);
    }

    /// Nobody may use `method` on `invoking`.
    pub(super) fn forbid(&mut self, invoking: Uid, method: Uid) {
        self.access.remove(&(invoking, method));
    }

    /// Puts a cell into a row built before.
    pub(super) fn put(&mut self, row: Uid, column: u64, cell: Cell) {
        if let Some(row) = self.rows.get_mut(&row) {
            row.insert(column, cell);
        }
    }

    /// Lets Anybody use Next on tables.
    pub(super) fn allow_next(&mut self, tables: &[u32]) {
        for number in tables {
            self.allow(table::uid(*number), method::NEXT, &[ace::ANYBODY]);
        }
    }

    /// Lets `aces` use Get on every row of tables built so far.
    pub(super) fn allow_get_rows(&mut self, tables: &[u32], aces: &[Uid]) {
        self.allow_rows(tables, method::GET, aces);
    }

    /// Lets `aces` use `method` on every row of tables built so far.
    pub(super) fn allow_rows(&mut self, tables: &[u32], method: Uid, aces: &[Uid]) {
        let rows: Vec<Uid> =
            self.rows.keys().copied().filter(|uid| tables.contains(&uid.table())).collect();
        for row in rows {
            self.allow(row, method, aces);
        }
    }

    /// An ACE; no columns means all.
    pub(super) fn ace(&mut self, uid: Uid, name: &str, expression: &[Element], columns: &[u64]) {
        self.named(
            uid,
            name,
            [
                (column::ace::BOOLEAN_EXPR, Cell::Expression(expression.to_vec())),
                (column::ace::COLUMNS, Cell::Set(columns.to_vec())),
            ],
        );
    }

    /// An authority without credential: Anybody, or a class.
    pub(super) fn class(&mut self, uid: Uid, name: &str) {
        self.authority(uid, name, uid != authority::ANYBODY, Uid::NULL, true, None);
    }

    pub(super) fn authority(
        &mut self,
        uid: Uid,
        name: &str,
        is_class: bool,
        class: Uid,
        enabled: bool,
        credential: Option<Uid>,
    ) {
        use column::authority as c;
        self.named(
            uid,
            name,
            [
                (c::IS_CLASS, Cell::boolean(is_class)),
                (c::CLASS, Cell::uid(class)),
                (c::ENABLED, Cell::boolean(enabled)),
                (c::SECURE, Cell::Uint(0)),
                (c::HASH_AND_SIGN, Cell::Uint(0)),
                (c::PRESENT_CERTIFICATE, Cell::boolean(false)),
                (c::OPERATION, Cell::Uint(u64::from(credential.is_some()))),
                (c::CREDENTIAL, Cell::uid(credential.unwrap_or(Uid::NULL))),
                (c::RESPONSE_SIGN, Cell::uid(Uid::NULL)),
                (c::RESPONSE_EXCH, Cell::uid(Uid::NULL)),
                (c::LIMIT, Cell::Uint(0)),
                (c::USES, Cell::Uint(0)),
                (c::LOG, Cell::Uint(0)),
                (c::LOG_TO, Cell::uid(Uid::NULL)),
            ],
        );
    }

    /// A C_PIN row. The PIN itself is never in a cell; Tries is filled in when read.
    pub(super) fn c_pin(&mut self, uid: Uid, name: &str, try_limit: u32, persistent: bool) {
        use column::c_pin as c;
        self.named(
            uid,
            name,
            [
                (c::CHAR_SET, Cell::uid(Uid::NULL)),
                (c::TRY_LIMIT, Cell::Uint(u64::from(try_limit))),
                (c::TRIES, Cell::Uint(0)),
                (c::PERSISTENCE, Cell::boolean(persistent)),
            ],
        );
    }

    /// Rows of MethodID.
    pub(super) fn methods(&mut self, methods: &[(Uid, &str)]) {
        for (uid, name) in methods {
            let template = (column::method_id::TEMPLATE_ID, Cell::uid(Uid::NULL));
            self.named(*uid, name, [template]);
        }
    }

    /// Rows of the Table table for object tables, counting the rows built so far. The Table table
    /// itself and AccessControl are counted at the end.
    pub(super) fn object_tables(&mut self, tables: &[(u32, &str)]) {
        for (number, name) in tables {
            let rows = self.rows.keys().filter(|uid| uid.table() == *number).count();
            self.table(*number, name, KIND_OBJECT, rows as u64, 0, 0);
        }
    }

    /// A row of the Table table for a byte table.
    pub(super) fn byte_table(&mut self, number: u32, name: &str, size: u64, granularity: u32) {
        let granularity = u64::from(granularity);
        self.table(number, name, KIND_BYTE, size, granularity, granularity);
    }

    fn table(
        &mut self,
        number: u32,
        name: &str,
        kind: u64,
        rows: u64,
        mandatory: u64,
        recommended: u64,
    ) {
        use column::table as c;
        self.named(
            table::descriptor(number),
            name,
            [
                (c::TEMPLATE_ID, Cell::uid(Uid::NULL)),
                (c::KIND, Cell::Uint(kind)),
                (c::COLUMN, Cell::uid(Uid::NULL)),
                (
                    c::NUM_COLUMNS,
                    Cell::Uint(super::schema::last_column(number).map_or(0, |n| n + 1)),
                ),
                (c::ROWS, Cell::Uint(rows)),
                (c::ROWS_FREE, Cell::Uint(0)),
                (c::ROW_BYTES, Cell::Uint(0)),
                (c::LAST_ID, Cell::uid(Uid::NULL)),
                (c::MIN_SIZE, Cell::Uint(rows)),
                (c::MAX_SIZE, Cell::Uint(rows)),
            ],
        );
        if self.granularity {
            let row = table::descriptor(number);
            self.put(row, c::MANDATORY_WRITE_GRANULARITY, Cell::Uint(mandatory));
            self.put(row, c::RECOMMENDED_ACCESS_GRANULARITY, Cell::Uint(recommended));
        }
    }

    pub(super) fn finish(mut self, uid: Uid) -> Provider {
        let tables = self.rows.keys().filter(|uid| uid.table() == table::TABLE).count();
        for (number, count) in [(table::TABLE, tables), (table::ACCESS_CONTROL, self.access.len())]
        {
            use column::table as c;
            for size in [c::ROWS, c::MIN_SIZE, c::MAX_SIZE] {
                self.put(table::descriptor(number), size, Cell::Uint(count as u64));
            }
        }
        let rows = self.rows.into_iter().map(|(uid, row)| (uid, Arc::new(row))).collect();
        Provider { uid, rows: Arc::new(rows), access: Arc::new(self.access) }
    }
}

/// The expression of one authority.
pub(super) const fn only(authority: Uid) -> [Element; 1] {
    [Element::Authority(authority)]
}

/// One of two authorities.
pub(super) const fn either(a: Uid, b: Uid) -> [Element; 3] {
    [Element::Authority(a), Element::Authority(b), Element::Or]
}

/// UID, CharSet, TryLimit, Tries, Persistence: a C_PIN row without the PIN.
pub(super) const NO_PIN: [u64; 5] = [
    column::UID,
    column::c_pin::CHAR_SET,
    column::c_pin::TRY_LIMIT,
    column::c_pin::TRIES,
    column::c_pin::PERSISTENCE,
];
