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

/// The enabled authorities of an SP that have a password, each with the classes it is in.
pub(super) struct Enabled(Vec<(Uid, [Option<Uid>; 2])>);

impl Enabled {
    pub(super) fn of(sp: &Provider) -> Self {
        let enabled = password_authorities(sp)
            .filter(|authority| sp.flag(*authority, column::authority::ENABLED))
            .map(|authority| {
                let class = sp.class_of(authority);
                (authority, [class, class.and_then(|class| sp.class_of(class))])
            });
        Self(enabled.collect())
    }

    /// Those that `operand` stands for: itself, or the members of the class.
    pub(super) fn within(&self, operand: Uid) -> impl Iterator<Item = Uid> {
        self.0
            .iter()
            .filter(move |(uid, classes)| *uid == operand || classes.contains(&Some(operand)))
            .map(|(uid, _)| *uid)
    }
}

/// Collects the enabled authorities that ACEs name for `method` on `invoking`. An expression with
/// And counts for each of its operands: better a key sealed to one too many than to one too few.
pub(super) fn openers(
    sp: &Provider,
    enabled: &Enabled,
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
                found.extend(enabled.within(*operand));
            }
        }
    }
    Openers { anybody, authorities: found.into_iter().collect() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tper::preset;
    use crate::tper::profile::Profile;
    use crate::tper::tables::LockingConfig;
    use Element::{And, Authority, Not, Or};

    const A: Uid = authority::user(1);
    const B: Uid = authority::user(2);

    fn locking_sp() -> Provider {
        preset::locking_sp(&Profile::opal2(), &LockingConfig::default())
    }

    #[test]
    fn postfix_expressions() {
        let (a, b) = (Authority(A), Authority(B));
        // Expression, and its value for neither, A, B, both.
        let table: &[(&[Element], [bool; 4])] = &[
            (&[], [false; 4]),
            (&[a], [false, true, false, true]),
            (&[a, b, Or], [false, true, true, true]),
            (&[a, b, And], [false, false, false, true]),
            (&[a, Not], [true, false, true, false]),
            (&[a, b, Or, Not], [true, false, false, false]),
            (&[a, b, Not, And], [false, true, false, false]),
            (&[a, a, Or], [false, true, false, true]),
            (&[a, b, Or, a, And, b, Not, Or], [true, true, false, true]),
            // Malformed: never true.
            (&[Or], [false; 4]),
            (&[Not], [false; 4]),
            (&[a, Or], [false; 4]),
            (&[a, And], [false; 4]),
            (&[a, b], [false; 4]),
            (&[a, Not, b, Not], [false; 4]),
        ];
        for (expression, expected) in table {
            for (index, expected) in expected.iter().enumerate() {
                let held = |uid: Uid| (uid == A && index & 1 != 0) || (uid == B && index & 2 != 0);
                assert_eq!(evaluate(expression, held), *expected, "{expression:?} case {index}");
            }
        }
    }

    #[test]
    fn classes_and_anybody() {
        let sp = locking_sp();
        let is = |held: &[Uid], operand| is_authenticated(&sp, held, operand);
        assert!(is(&[], authority::ANYBODY));
        assert!(is(&[A], authority::USERS) && is(&[A], A));
        assert!(!is(&[A], B) && !is(&[A], authority::ADMINS));
        assert!(is(&[authority::admin(3)], authority::ADMINS));
        assert!(!is(&[], authority::USERS) && !is(&[], Uid::NULL));
        // A class within a class.
        let mut sp = sp;
        sp.set(authority::USERS, column::authority::CLASS, Cell::uid(authority::ADMINS));
        assert!(is_authenticated(&sp, &[A], authority::ADMINS));
        assert!(!is_authenticated(&sp, &[authority::admin(1)], authority::USERS));
    }

    #[test]
    fn columns_are_the_union_of_satisfied_aces() {
        use crate::spec::ace::locking_sp as l;
        let sp = locking_sp();
        let get = |held: &[Uid]| authorise(&sp, held, crate::spec::locking::range(1), GET);
        const GET: Uid = crate::spec::method::GET;
        let columns = |permission: Permission| match permission {
            Permission::All => panic!("not all"),
            Permission::Columns(columns) => columns.into_iter().collect::<Vec<_>>(),
        };
        assert_eq!(columns(get(&[]).unwrap()), [0, 2]);
        let all = columns(get(&[authority::admin(1)]).unwrap());
        assert_eq!(all, [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(permission(&sp, &[A], &[l::ACE_GET_ALL]), None);
        assert_eq!(permission(&sp, &[], &[]), None);
        let some_all =
            permission(&sp, &[authority::admin(1)], &[l::ANYBODY_GET_COMMON_NAME, l::ACE_GET_ALL]);
        assert_eq!(some_all, Some(Permission::All));
        assert_eq!(
            authorise(&sp, &[], crate::spec::locking::range(1), crate::spec::method::NEXT),
            Err(Status::NOT_AUTHORIZED)
        );
    }

    #[test]
    fn openers_are_enabled_members() {
        let mut sp = locking_sp();
        let range = crate::spec::locking::range(1);
        let set = crate::spec::method::SET;
        let openers = |sp: &Provider, columns| openers(sp, &Enabled::of(sp), range, set, columns);
        let found = openers(&sp, 7..=8);
        assert_eq!((found.anybody, found.authorities), (false, Vec::from([authority::admin(1)])));

        let ace = crate::spec::ace::locking_sp::locking_set_read_locked(1);
        let users = Cell::Expression(Vec::from([Authority(authority::USERS)]));
        sp.set(ace, column::ace::BOOLEAN_EXPR, users);
        for user in [2, 5] {
            sp.set(authority::user(user), column::authority::ENABLED, Cell::boolean(true));
        }
        let found = openers(&sp, 7..=8);
        let expected = [authority::admin(1), authority::user(2), authority::user(5)];
        assert_eq!((found.anybody, &found.authorities[..]), (false, &expected[..]));
        assert_eq!(openers(&sp, 3..=4).authorities, [authority::admin(1)]);

        let open = Cell::Expression(Vec::from([Authority(B), Not]));
        sp.set(ace, column::ace::BOOLEAN_EXPR, open);
        assert!(openers(&sp, 7..=8).anybody);
    }
}
