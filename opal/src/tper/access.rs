// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access control: AccessControl rows, ACEs and their expressions (Core 2.01 §5.3.4.3).
//!
//! Nothing in the TPer decides by authority: who may do what stands in the tables, and is found
//! here.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::cell::{Cell, Element};
use super::tables::Provider;
use crate::Uid;
use crate::spec::{authority, column, table};
use crate::wire::Status;

/// What satisfied ACEs allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// Every column; also any method that is not about columns.
    All,
    /// These columns.
    Columns(BTreeSet<u64>),
}

impl Permission {
    pub(super) fn covers(&self, column: u64) -> bool {
        match self {
            Self::All => true,
            Self::Columns(columns) => columns.contains(&column),
        }
    }
}

/// Whether and how far a session with `authenticated` may use `method` on `invoking`. NOT_AUTHORIZED
/// when there is no AccessControl row, or no ACE in it is satisfied.
pub(super) fn authorise(
    sp: &Provider,
    authenticated: &[Uid],
    invoking: Uid,
    method: Uid,
) -> Result<Permission, Status> {
    let row = sp.access.get(&(invoking, method)).ok_or(Status::NOT_AUTHORIZED)?;
    permission(sp, authenticated, &row.acl).ok_or(Status::NOT_AUTHORIZED)
}

/// The union of what the satisfied ACEs of `acl` allow; none if no ACE is satisfied.
pub(super) fn permission(sp: &Provider, authenticated: &[Uid], acl: &[Uid]) -> Option<Permission> {
    let satisfied: Vec<Uid> =
        acl.iter().copied().filter(|ace| satisfies(sp, authenticated, *ace)).collect();
    if satisfied.is_empty() {
        return None;
    }
    let mut columns = BTreeSet::new();
    for ace in satisfied {
        let of_ace = sp.ace_columns(ace);
        if of_ace.is_empty() {
            return Some(Permission::All);
        }
        columns.extend(of_ace);
    }
    Some(Permission::Columns(columns))
}

/// Whether a session with `authenticated` satisfies an ACE.
pub(super) fn satisfies(sp: &Provider, authenticated: &[Uid], ace: Uid) -> bool {
    evaluate(sp.expression(ace), |operand| is_authenticated(sp, authenticated, operand))
}

/// Evaluates a postfix expression. Anything malformed is False, the empty expression too.
pub(super) fn evaluate(elements: &[Element], holds: impl Fn(Uid) -> bool) -> bool {
    let mut stack = Vec::new();
    for element in elements {
        let value = match element {
            Element::Authority(uid) => Some(holds(*uid)),
            Element::Not => stack.pop().map(|a: bool| !a),
            Element::And => pop_two(&mut stack).map(|(a, b)| a && b),
            Element::Or => pop_two(&mut stack).map(|(a, b)| a || b),
        };
        match value {
            Some(value) => stack.push(value),
            None => return false,
        }
    }
    stack == [true]
}

fn pop_two(stack: &mut Vec<bool>) -> Option<(bool, bool)> {
    Some((stack.pop()?, stack.pop()?))
}

/// Whether `operand` (an authority or a class) counts as authenticated.
fn is_authenticated(sp: &Provider, authenticated: &[Uid], operand: Uid) -> bool {
    operand == authority::ANYBODY
        || authenticated.iter().any(|a| *a == operand || is_member(sp, *a, operand))
}

/// Whether `authority` is in `class`, directly or through one class between (Core 2.01 §5.3.4.1.3).
fn is_member(sp: &Provider, authority: Uid, class: Uid) -> bool {
    let Some(direct) = sp.class_of(authority) else { return false };
    direct == class || sp.class_of(direct) == Some(class)
}

/// Checks an expression a host wants to store: authorities exist and the operators add up.
pub(super) fn check_expression(sp: &Provider, elements: &[Element]) -> Result<(), Status> {
    let mut depth = 0usize;
    for element in elements {
        let (takes, known) = match element {
            Element::Authority(uid) => {
                (0, uid.table() == table::AUTHORITY && sp.row(*uid).is_some())
            }
            Element::Not => (1, true),
            Element::And | Element::Or => (2, true),
        };
        if !known || depth < takes {
            return Err(Status::INVALID_PARAMETER);
        }
        depth = depth - takes + 1;
    }
    if depth <= 1 { Ok(()) } else { Err(Status::INVALID_PARAMETER) }
}

/// Who can use `method` on `invoking` for at least one of `columns`.
pub(super) struct Openers {
    /// Nobody need authenticate.
    pub(super) anybody: bool,
    /// Enabled authorities that take part in a satisfiable ACE, classes resolved, ascending.
    pub(super) authorities: Vec<Uid>,
}

/// Collects the enabled authorities that ACEs name for `method` on `invoking`. An expression with
/// And counts for each of its operands: better a key sealed to one too many than to one too few.
pub(super) fn openers(
    sp: &Provider,
    invoking: Uid,
    method: Uid,
    columns: core::ops::RangeInclusive<u64>,
) -> Openers {
    let mut found = BTreeSet::new();
    let mut anybody = false;
    let acl = sp.access.get(&(invoking, method)).map_or(&[][..], |row| &row.acl);
    for ace in acl {
        let of_ace = sp.ace_columns(*ace);
        if !of_ace.is_empty() && !of_ace.iter().any(|c| columns.contains(c)) {
            continue;
        }
        anybody |= satisfies(sp, &[], *ace);
        for element in sp.expression(*ace) {
            if let Element::Authority(operand) = element {
                found.extend(enabled_in(sp, *operand));
            }
        }
    }
    Openers { anybody, authorities: found.into_iter().collect() }
}

/// The enabled authorities that `operand` stands for: itself, or the members of the class.
pub(super) fn enabled_in(sp: &Provider, operand: Uid) -> impl Iterator<Item = Uid> {
    sp.rows_of(table::AUTHORITY)
        .filter(move |(uid, row)| {
            let password = row.get(&column::authority::OPERATION).and_then(Cell::as_uint)
                == Some(OPERATION_PASSWORD);
            let enabled = row.get(&column::authority::ENABLED).and_then(Cell::as_uint) == Some(1);
            password && enabled && (*uid == operand || is_member(sp, *uid, operand))
        })
        .map(|(uid, _)| uid)
}

/// Every authority with a password, enabled or not.
pub(super) fn password_authorities(sp: &Provider) -> impl Iterator<Item = Uid> {
    sp.rows_of(table::AUTHORITY)
        .filter(|(_, row)| {
            row.get(&column::authority::OPERATION).and_then(Cell::as_uint)
                == Some(OPERATION_PASSWORD)
        })
        .map(|(uid, _)| uid)
}

/// `auth_method`: Password.
pub(super) const OPERATION_PASSWORD: u64 = 1;
