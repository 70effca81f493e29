// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables of both SPs, as data: rows of cells, and who may do what to them.
//!
//! Rows and whole tables are shared until they are changed, so that keeping the state before a
//! command costs next to nothing.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cell::{Cell, Element};
use crate::Uid;
use crate::spec::{self, column, table};

/// One row: cells by column number.
pub(super) type Row = BTreeMap<u64, Cell>;

/// One security provider: its rows and its AccessControl table.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    /// The SP object.
    pub(super) uid: Uid,
    pub(super) rows: Arc<BTreeMap<Uid, Arc<Row>>>,
    pub(super) access: Arc<BTreeMap<(Uid, Uid), AccessRow>>,
}

/// A row of the AccessControl table, found by InvokingID and MethodID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccessRow {
    /// Any one of these ACEs lets a caller use the method.
    pub(super) acl: Vec<Uid>,
    /// Any one of these lets a caller read `acl`.
    pub(super) get_acl_acl: Vec<Uid>,
}

/// Which SP a session is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sp {
    Admin,
    Locking,
}

/// Choices made at Activate and Reactivate that shape the Locking SP's preset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LockingConfig {
    /// Sizes of the DataStore tables; empty is the default, one table of all space.
    pub(super) data_stores: Vec<u32>,
    /// Ranges in Single User Mode, ascending.
    pub(super) single_user: Vec<u16>,
    /// RangeStartRangeLengthPolicy: administrators own the geometry of those ranges.
    pub(super) policy: bool,
}

/// Everything a transaction can take back.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) admin: Provider,
    pub(super) locking: Provider,
    /// The Locking SP as `config` makes it, before any change by a host.
    pub(super) locking_base: Provider,
    pub(super) config: LockingConfig,
    /// The SID's PIN is the MSID (Block SID descriptor, SID Value State).
    pub(super) sid_is_msid: bool,
}

impl Tables {
    pub(super) fn of(&self, sp: Sp) -> &Provider {
        match sp {
            Sp::Admin => &self.admin,
            Sp::Locking => &self.locking,
        }
    }

    pub(super) fn of_mut(&mut self, sp: Sp) -> &mut Provider {
        match sp {
            Sp::Admin => &mut self.admin,
            Sp::Locking => &mut self.locking,
        }
    }

    /// `life_cycle_state` of the Locking SP.
    pub(super) fn life_cycle(&self) -> u64 {
        self.admin
            .uint(self.locking.uid, column::sp::LIFE_CYCLE_STATE)
            .unwrap_or(spec::sp::life_cycle::MANUFACTURED_INACTIVE)
    }

    /// Whether the SPs are those of Enterprise.
    pub(super) fn is_enterprise(&self) -> bool {
        self.locking.uid == spec::sp::ENTERPRISE_LOCKING
    }

    /// Whether the Locking SP is activated.
    pub(super) fn is_active(&self) -> bool {
        self.life_cycle() != spec::sp::life_cycle::MANUFACTURED_INACTIVE
    }

    pub(super) fn set_life_cycle(&mut self, state: u64) {
        let row = self.locking.uid;
        self.admin.set(row, column::sp::LIFE_CYCLE_STATE, Cell::Uint(state));
    }

    /// Whether both share everything.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |a: &Provider, b: &Provider| Arc::ptr_eq(&a.rows, &b.rows) || a.rows == b.rows;
        same(&self.admin, &other.admin)
            && same(&self.locking, &other.locking)
            && self.config == other.config
            && self.sid_is_msid == other.sid_is_msid
    }
}

impl Provider {
    pub(super) fn row(&self, uid: Uid) -> Option<&Row> {
        self.rows.get(&uid).map(|row| &**row)
    }

    pub(super) fn cell(&self, row: Uid, column: u64) -> Option<&Cell> {
        self.row(row)?.get(&column)
    }

    pub(super) fn uint(&self, row: Uid, column: u64) -> Option<u64> {
        self.cell(row, column)?.as_uint()
    }

    /// A boolean cell; an absent one is False.
    pub(super) fn flag(&self, row: Uid, column: u64) -> bool {
        self.uint(row, column) == Some(1)
    }

    /// Puts a cell into an existing row.
    pub(super) fn set(&mut self, row: Uid, column: u64, cell: Cell) {
        if self.cell(row, column) == Some(&cell) {
            return;
        }
        if let Some(row) = Arc::make_mut(&mut self.rows).get_mut(&row) {
            Arc::make_mut(row).insert(column, cell);
        }
    }

    /// The rows of an object table, ascending.
    pub(super) fn rows_of(&self, table: u32) -> impl Iterator<Item = (Uid, &Row)> {
        self.rows.range(Uid::new(table, 1)..=Uid::new(table, u32::MAX)).map(|(u, r)| (*u, &**r))
    }

    /// Size in bytes of the byte table `invoking`, if it is one.
    pub(super) fn byte_table(&self, invoking: Uid) -> Option<u64> {
        if invoking.row() != 0 {
            return None;
        }
        let descriptor = table::descriptor(invoking.table());
        let is_byte = self.uint(descriptor, column::table::KIND) == Some(KIND_BYTE);
        is_byte.then(|| self.uint(descriptor, column::table::ROWS)).flatten()
    }

    /// The byte tables and their sizes.
    pub(super) fn byte_tables(&self) -> impl Iterator<Item = (Uid, u64)> {
        self.rows_of(table::TABLE).filter_map(|(descriptor, _)| {
            let uid = table::uid(descriptor.row());
            Some((uid, self.byte_table(uid)?))
        })
    }

    /// The authority that uses a C_PIN row.
    pub(super) fn owner_of(&self, c_pin: Uid) -> Option<Uid> {
        self.rows_of(table::AUTHORITY)
            .find(|(_, row)| {
                row.get(&column::authority::CREDENTIAL).and_then(Cell::as_uid) == Some(c_pin)
            })
            .map(|(uid, _)| uid)
    }

    /// The class an authority is a member of.
    pub(super) fn class_of(&self, authority: Uid) -> Option<Uid> {
        self.cell(authority, column::authority::CLASS)?.as_uid().filter(|c| *c != Uid::NULL)
    }

    /// The expression of an ACE; an unknown ACE has none.
    pub(super) fn expression(&self, ace: Uid) -> &[Element] {
        self.cell(ace, column::ace::BOOLEAN_EXPR).map_or(&[], Cell::as_expression)
    }

    /// The columns of an ACE; none means all.
    pub(super) fn ace_columns(&self, ace: Uid) -> &[u64] {
        self.cell(ace, column::ace::COLUMNS).map_or(&[], Cell::as_set)
    }
}

/// The range of a Locking or media key row, however the SSC numbers them.
pub(super) fn range_number(row: Uid) -> Option<u16> {
    spec::locking::range_number(row).or_else(|| spec::locking::band_number(row))
}

/// `table_kind` of object tables.
pub(super) const KIND_OBJECT: u64 = 1;
/// `table_kind` of byte tables.
pub(super) const KIND_BYTE: u64 = 2;
