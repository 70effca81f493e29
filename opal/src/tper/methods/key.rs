// SPDX-License-Identifier: MIT OR Apache-2.0
//! GenKey (Core 2.01 §5.3.3.16).

use super::Draft;
use crate::tper::effects::Op;
use crate::tper::sessions::finished;
use crate::tper::tables::range_number;
use crate::wire::{Reader, Status};

/// A new media key for the range of the K_AES row. Its parameters are for other credentials.
pub(super) fn gen_key(draft: &mut Draft, parameters: &Reader<'_>) -> Result<(), Status> {
    finished(parameters)?;
    let range = range_number(draft.invoking).ok_or(Status::INVALID_PARAMETER)?;
    draft.ops.push(Op::NewKey { range });
    Ok(())
}
