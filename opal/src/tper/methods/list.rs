// SPDX-License-Identifier: MIT OR Apache-2.0
//! Next and GetACL (Core 2.01 §5.3.3.8, §5.3.3.13).

use alloc::vec::Vec;

use super::Draft;
use crate::Uid;
use crate::spec::table;
use crate::tper::access::permission;
use crate::tper::cell::wrong;
use crate::tper::sessions::{finished, optional};
use crate::wire::{Encoder, Reader, Status};

/// Names of Next's parameters.
const WHERE: u64 = 0;
const COUNT: u64 = 1;

/// Row UIDs in ascending order, from behind Where.
pub(super) fn next(
    draft: &Draft,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    let (mut after, mut count) = (None, usize::MAX);
    let mut last = None;
    while let Some((name, mut value)) = optional(parameters, &mut last)? {
        match name {
            WHERE => after = Some(wrong(value.uid())?),
            COUNT => count = usize::try_from(wrong(value.uint())?).unwrap_or(usize::MAX),
            _ => return Err(Status::INVALID_PARAMETER),
        }
        finished(&value)?;
    }
    rows_after(draft, after, count, results)
}

/// At most `count` row UIDs of the table, from behind `after`.
pub(super) fn rows_after(
    draft: &Draft,
    after: Option<Uid>,
    count: usize,
    results: &mut Encoder,
) -> Result<(), Status> {
    let rows: Vec<Uid> =
        draft.provider().rows_of(draft.invoking.table()).map(|(uid, _)| uid).collect();
    if after.is_some_and(|after| !rows.contains(&after)) {
        return Err(Status::INVALID_PARAMETER);
    }
    results.list(|t| {
        for uid in rows.iter().filter(|uid| after.is_none_or(|after| **uid > after)).take(count) {
            t.uid(*uid);
        }
    });
    Ok(())
}

/// The ACL of an AccessControl row, if GetACLACL lets the caller see it.
pub(super) fn get_acl(
    draft: &Draft,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    if draft.invoking != table::uid(table::ACCESS_CONTROL) {
        return Err(Status::NOT_AUTHORIZED);
    }
    let invoking = wrong(parameters.uid())?;
    let method = wrong(parameters.uid())?;
    finished(parameters)?;
    let provider = draft.provider();
    let row = provider.access.get(&(invoking, method)).ok_or(Status::NOT_AUTHORIZED)?;
    permission(provider, &draft.authenticated, &row.get_acl_acl).ok_or(Status::NOT_AUTHORIZED)?;
    results.list(|t| {
        for ace in &row.acl {
            t.uid(*ace);
        }
    });
    Ok(())
}
