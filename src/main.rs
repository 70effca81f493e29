// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `opalbox` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    opalbox::cli::main()
}
