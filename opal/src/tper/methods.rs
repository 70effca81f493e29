// SPDX-License-Identifier: MIT OR Apache-2.0
//! Methods of regular sessions: access control first, then one function per method.

pub(super) mod control;
mod enterprise;
mod get;
mod key;
mod life_cycle;
mod list;
mod session;
mod set;
mod single_user;

use alloc::boxed::Box;
use alloc::vec::Vec;
use zeroize::Zeroizing;

use super::access::{Permission, authorise};
use super::dispatch::Found;
use super::effects::Op;
use super::machine::Machine;
use super::platform::{Platform, SessionId};
use super::sessions::Session;
use super::tables::{Provider, Sp, Tables};
use crate::Uid;
use crate::spec::method;
use crate::wire::{Encoder, Reader, Status, Tokens, call};

/// Space left for an answer.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Bytes of tokens.
    pub(super) tokens: usize,
    /// Bytes of one token, header included.
    pub(super) longest: u64,
}

/// Bytes of table writes that one transaction may hold back, and how many pieces.
const MAX_HELD_BACK: usize = 16 << 20;
const MAX_OPS: usize = 1 << 14;

/// A method at work: what it sees and what it has changed so far. Dropped if it fails.
#[derive(Clone)]
pub(super) struct Draft {
    tsn: u32,
    id: SessionId,
    sp: Sp,
    write: bool,
    in_transaction: bool,
    authenticated: Vec<Uid>,
    invoking: Uid,
    permission: Permission,
    tables: Tables,
    ops: Vec<Op>,
    ends: Ends,
}

/// Sessions that end after the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Nothing,
    /// The one that called.
    This,
    /// Those with the Locking SP (the caller is not among them).
    Locking,
    All,
}

impl Draft {
    fn provider(&self) -> &Provider {
        self.tables.of(self.sp)
    }

    fn provider_mut(&mut self) -> &mut Provider {
        self.tables.of_mut(self.sp)
    }
}

/// A method that was found right and takes its time: what it will change, and its answer then.
pub(super) struct Later {
    pub(super) draft: Draft,
    pub(super) answer: Zeroizing<Vec<u8>>,
}

/// Why a method has not been done.
enum Undone {
    Failed(Status),
    Later(Box<Later>),
}

impl From<Status> for Undone {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

/// Runs a call in the session `tsn` and returns its answer.
///
/// # Errors
/// The call will be done, but not now.
pub(super) fn call<P: Platform>(
    machine: &mut Machine<'_, P>,
    tsn: u32,
    found: Found<'_>,
    room: Room,
) -> Result<Zeroizing<Vec<u8>>, Box<Later>> {
    if !found.status.is_success() {
        // The host called it off (Core 2.01 §3.2.4.2).
        return Ok(call::answer(found.status, |_| {}));
    }
    match run(machine, tsn, found, room) {
        Ok(answer) => Ok(answer),
        Err(Undone::Failed(status)) => Ok(call::answer(status, |_| {})),
        Err(Undone::Later(later)) => Err(later),
    }
}

fn run<P: Platform>(
    machine: &mut Machine<'_, P>,
    tsn: u32,
    found: Found<'_>,
    room: Room,
) -> Result<Zeroizing<Vec<u8>>, Undone> {
    let (invoking, method) = found.names.ok_or(Status::NOT_AUTHORIZED)?;
    if machine.profile.ssc.is_enterprise() && !enterprise::has(method) {
        return Err(Status::INVALID_COMMAND.into());
    }
    let session =
        machine.inner.sessions.iter().find(|s| s.tsn == tsn).ok_or(Status::TPER_MALFUNCTION)?;
    let mut draft = draft(session, &machine.inner.tables, invoking, method)?;
    let mut parameters = found.parameters;
    let mut results = Encoder::new();
    perform(machine, &mut draft, method, &mut parameters, &mut results)?;

    let answer = call::answer(Status::SUCCESS, |t| {
        t.raw(results.as_bytes());
    });
    let longest = Tokens::new(&answer).flatten().map(|t| t.size as u64).max();
    if answer.len() > room.tokens || longest.is_some_and(|longest| longest > room.longest) {
        return Err(Status::RESPONSE_OVERFLOW.into());
    }
    let removes = draft.ops.iter().any(|op| matches!(op, Op::NewKey { .. }));
    let takes_time = !machine.profile.data_removal.duration.is_zero();
    if removes && takes_time && !draft.in_transaction {
        return Err(Undone::Later(Box::new(Later { draft, answer })));
    }
    finish(machine, draft)?;
    Ok(answer)
}

/// What the method starts from, if access control lets it start.
fn draft(
    session: &Session,
    committed: &Tables,
    invoking: Uid,
    method: Uid,
) -> Result<Draft, Status> {
    let tables = session.tables(committed).clone();
    let provider = tables.of(session.sp);
    // GetACL has its access control in the row it asks about.
    let permission = if method == method::GET_ACL {
        Permission::All
    } else {
        authorise(provider, &session.authenticated, invoking, method)?
    };
    Ok(Draft {
        tsn: session.tsn,
        id: session.id,
        sp: session.sp,
        write: session.write,
        in_transaction: session.transaction.is_some(),
        authenticated: session.authenticated.clone(),
        invoking,
        permission,
        tables,
        ops: Vec::new(),
        ends: Ends::Nothing,
    })
}

fn perform<P: Platform>(
    machine: &mut Machine<'_, P>,
    draft: &mut Draft,
    method: Uid,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    match method {
        method::GET => get::get(machine, draft, parameters, results),
        method::ENTERPRISE_GET => enterprise::get(machine, draft, parameters, results),
        method::NEXT if machine.profile.ssc.is_enterprise() => {
            enterprise::next(draft, parameters, results)
        }
        method::NEXT => list::next(draft, parameters, results),
        method::GET_ACL => list::get_acl(draft, parameters, results),
        method::AUTHENTICATE => session::authenticate(machine, draft, parameters, results),
        method::ENTERPRISE_AUTHENTICATE => {
            enterprise::authenticate(machine, draft, parameters, results)
        }
        method::RANDOM => session::random(machine, parameters, results),
        // Everything below changes something (Core 2.01 §3.3.7.1).
        _ if !draft.write => Err(Status::NOT_AUTHORIZED),
        method::SET => set::set(machine, draft, parameters),
        method::ENTERPRISE_SET => enterprise::set(machine, draft, parameters, results),
        method::GEN_KEY => key::gen_key(draft, parameters),
        method::ACTIVATE => life_cycle::activate(machine, draft, parameters),
        method::REVERT => life_cycle::revert(machine, draft, parameters),
        method::REVERT_SP => life_cycle::revert_sp(machine, draft, parameters),
        method::REACTIVATE => single_user::reactivate(machine, draft, parameters),
        method::ERASE => single_user::erase(machine.profile, draft, parameters),
        // An AccessControl row for a method that nobody wrote.
        _ => Err(Status::TPER_MALFUNCTION),
    }
}

/// Puts what the method has done where it belongs: into the transaction, or into the drive.
pub(super) fn finish<P: Platform>(
    machine: &mut Machine<'_, P>,
    draft: Draft,
) -> Result<(), Status> {
    let Draft { tsn, id, tables, ops, ends, .. } = draft;
    let session = machine.inner.sessions.iter_mut().find(|s| s.tsn == tsn);
    match session.and_then(|s| s.transaction.as_mut()) {
        Some(transaction) => {
            let held: usize = transaction.ops.iter().chain(&ops).map(size).sum();
            if held > MAX_HELD_BACK || transaction.ops.len() + ops.len() > MAX_OPS {
                return Err(Status::INSUFFICIENT_SPACE);
            }
            transaction.tables = tables;
            transaction.ops.extend(ops);
        }
        None => machine.apply(Some(id), tables, &ops)?,
    }
    machine.inner.sessions.retain(|s| match ends {
        Ends::Nothing => true,
        Ends::This => s.tsn != tsn,
        Ends::Locking => s.sp != Sp::Locking,
        Ends::All => false,
    });
    Ok(())
}

fn size(op: &Op) -> usize {
    match op {
        Op::WriteTable { data, .. } => data.len(),
        _ => 0,
    }
}
