// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command: parses arguments, asks and prints. What is done is in `manager`.

mod args;
mod confirm;
mod context;
mod decode;
mod drive;
pub mod exit;
mod failures;
mod key;
mod lockbox;
pub mod manual;
mod output;
mod progress;
mod range;
mod secret_input;
mod table;
mod unlock;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use context::Context;
use exit::{Exit, Failure};

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nowhere is left to report that the streams are gone.
            let _ = error.print();
            return if asked { Exit::Done } else { Exit::Usage }.into();
        }
    };
    let format = cli.global.output;
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::print_failure(format, &failure);
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    start_log(cli.global.verbose);
    let hardening = crate::secret::harden_process();
    if !hardening.no_core_files || !hardening.not_dumpable {
        tracing::warn!("core dumps of this process could not be turned off");
    }
    let context = Context::new(cli.global)?;
    match cli.command {
        Command::Drive(command) => drive::run(&context, command),
        Command::Range(command) => range::run(&context, command),
        Command::Mbr(command) => table::mbr(&context, &command),
        Command::Datastore(command) => table::datastore(&context, &command),
        Command::Unlock(args) => unlock::run(&context, &args),
        Command::Lockbox(command) => lockbox::run(&context, command),
        Command::Key(command) => key::run(&context, command),
        Command::Decode(args) => decode::run(&context, &args),
        Command::Completions { shell } => {
            manual::completions(shell, &mut std::io::stdout());
            Ok(Exit::Done)
        }
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
}
