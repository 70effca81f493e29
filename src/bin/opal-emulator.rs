// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `opal-emulator` command: an emulated Opal drive in a file.

use std::io::Write;
use std::process::ExitCode;

use nix::sys::resource::{Resource, setrlimit};
use opalbox::emulator::cli::{self, CliError};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // A core dump would hold the media keys of unlocked ranges. Where that cannot be had the drive
    // still works.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let filter = EnvFilter::try_from_env("OPAL_EMULATOR_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut out = std::io::stdout();
    match cli::run(std::env::args_os(), &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::Usage(error)) => {
            let _ = error.print();
            ExitCode::from(CliError::Usage(error).exit_code())
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "opal-emulator: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
