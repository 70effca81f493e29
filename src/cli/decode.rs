// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox decode`.

use super::args::DecodeArgs;
use super::context::Context;
use super::exit::{Exit, Failure};

/// Runs `decode`.
pub(crate) fn run(_context: &Context, _args: &DecodeArgs) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Unsupported, "decode is not built in yet"))
}
