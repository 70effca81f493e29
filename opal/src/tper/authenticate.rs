// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checking a PIN and counting wrong ones (Core 2.01 §5.3.4.1.1.2).

use super::effects::Op;
use super::machine::Machine;
use super::platform::{Platform, SessionId};
use super::tables::{Sp, Tables};
use crate::spec::{authority as names, column};
use crate::{Pin, Uid};

/// Outcome of an attempt to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Right,
    /// The PIN is wrong or missing. Counted.
    Wrong,
    /// Too many wrong ones before; the PIN was not looked at.
    LockedOut,
    /// Disabled, blocked or without a password. Not counted.
    Unusable,
}

/// Tries `challenge` for `authority`. `queued` are changes that the session's open transaction has
/// not made yet: a PIN set there is the one that counts.
pub(super) fn authenticate<P: Platform>(
    machine: &mut Machine<'_, P>,
    tables: &Tables,
    sp: Sp,
    session: SessionId,
    authority: Uid,
    challenge: Option<&[u8]>,
    queued: &[Op],
) -> Attempt {
    let provider = tables.of(sp);
    let enabled = provider.flag(authority, column::authority::ENABLED);
    let operation = provider.uint(authority, column::authority::OPERATION);
    let credential =
        provider.cell(authority, column::authority::CREDENTIAL).and_then(|c| c.as_uid());
    let blocked = authority == names::SID && machine.inner.block.blocked;
    let Some(credential) = credential
        .filter(|_| enabled && !blocked && operation == Some(super::access::OPERATION_PASSWORD))
    else {
        return Attempt::Unusable;
    };

    let limit = provider.uint(credential, column::c_pin::TRY_LIMIT).unwrap_or(0);
    let ledger = &machine.inner.ledger;
    let tries = ledger.tries.get(&credential).copied().unwrap_or(0);
    if limit != 0 && u64::from(tries) >= limit {
        return Attempt::LockedOut;
    }

    let changed = queued.iter().rev().find_map(|op| match op {
        Op::SetPin { authority: of, pin } if *of == authority => Some(pin),
        _ => None,
    });
    let right = match (challenge, changed) {
        (None, _) => false,
        (Some(challenge), Some(pin)) => Pin::new(challenge).is_ok_and(|c| c.matches(pin)),
        (Some(challenge), None) => machine.platform.verify(session, authority, challenge),
    };
    let ledger = &mut machine.inner.ledger;
    if right {
        machine.staged = true;
        machine.verified.push((session, authority));
        ledger.tries.remove(&credential);
        ledger.sid_authenticated |= authority == names::SID;
        Attempt::Right
    } else {
        if limit != 0 {
            ledger.tries.insert(credential, tries.saturating_add(1));
        }
        Attempt::Wrong
    }
}
