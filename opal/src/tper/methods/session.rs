// SPDX-License-Identifier: MIT OR Apache-2.0
//! Methods of ThisSP that serve the session: Authenticate, Random.

use super::Draft;
use crate::Uid;
use crate::spec::authority;
use crate::tper::authenticate::{self, Attempt};
use crate::tper::cell::wrong;
use crate::tper::machine::Machine;
use crate::tper::platform::Platform;
use crate::tper::quirk::Quirk;
use crate::tper::sessions::{finished, optional, usable};
use crate::wire::{Encoder, Reader, Status};

/// Most bytes Random gives at once; every TPer must give 32.
const MAX_RANDOM: usize = 1024;

/// Authenticate (Core 2.01 §5.3.4.1.14). A wrong password is a success with the result False.
pub(super) fn authenticate<P: Platform>(
    machine: &mut Machine<'_, P>,
    draft: &Draft,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    let authority = wrong(parameters.uid())?;
    let mut proof = None;
    let mut last = None;
    while let Some((name, mut value)) = optional(parameters, &mut last)? {
        if name != 0 {
            return Err(Status::INVALID_PARAMETER);
        }
        proof = Some(wrong(value.bytes())?);
        finished(&value)?;
    }
    prove(machine, draft, authority, proof, results)
}

/// Authenticate once its parameters are read.
pub(super) fn prove<P: Platform>(
    machine: &mut Machine<'_, P>,
    draft: &Draft,
    authority: Uid,
    proof: Option<&[u8]>,
    results: &mut Encoder,
) -> Result<(), Status> {
    usable(draft.provider(), authority)?;
    if authority == authority::ANYBODY {
        results.boolean(true);
        return Ok(());
    }
    if machine.quirk(Quirk::AuthenticateFails) {
        results.boolean(false);
        return Ok(());
    }
    let known = draft.authenticated.contains(&authority);
    let most = machine.profile.limits.max_authentications as usize;
    // Anybody counts as one.
    if !known && draft.authenticated.len() + 1 >= most {
        results.boolean(false);
        return Ok(());
    }
    let queued = machine
        .inner
        .sessions
        .iter()
        .find(|s| s.tsn == draft.tsn)
        .and_then(|s| s.transaction.as_ref())
        .map(|t| t.ops.clone())
        .unwrap_or_default();
    let attempt = authenticate::authenticate(
        machine,
        &draft.tables,
        draft.sp,
        draft.id,
        authority,
        proof,
        &queued,
    );
    let right = match attempt {
        Attempt::Right => true,
        Attempt::Wrong | Attempt::Unusable => false,
        Attempt::LockedOut if machine.quirk(Quirk::LockoutWithout12) => false,
        Attempt::LockedOut => return Err(Status::AUTHORITY_LOCKED_OUT),
    };
    if right && !known {
        let session = machine.inner.sessions.iter_mut().find(|s| s.tsn == draft.tsn);
        if let Some(session) = session {
            session.authenticated.push(authority);
        }
    }
    results.boolean(right);
    Ok(())
}

/// Random (Core 2.01 §5.6.4.1).
pub(super) fn random<P: Platform>(
    machine: &mut Machine<'_, P>,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    let count: usize = wrong(parameters.uint_as())?;
    // BufferOut is not supported.
    finished(parameters)?;
    if count > MAX_RANDOM {
        return Err(Status::INVALID_PARAMETER);
    }
    let mut bytes = zeroize::Zeroizing::new([0; MAX_RANDOM]);
    if let Some(bytes) = bytes.get_mut(..count) {
        machine.platform.random(bytes);
        results.bytes(bytes);
    }
    Ok(())
}
