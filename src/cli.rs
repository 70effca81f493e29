// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command: parses arguments, asks and prints. What is done is in `manager`.

mod args;
mod color;
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

use clap::FromArgMatches;
use clap::error::ErrorKind;

use args::{Cli, Command};
use color::Color;
use context::Context;
use exit::{Exit, Failure};

use crate::lockbox::tpm::{CHILD_VERB, serve_child};

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Not a sub-command for people: no help names it, no log is started.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|verb| verb == CHILD_VERB) && arguments.next().is_none() {
        return tpm_conversation();
    }
    let parsed =
        manual::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
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
    start_log(cli.global.verbose, cli.global.color);
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

/// The child's side of a TPM conversation: the parent speaks on the standard streams.
fn tpm_conversation() -> ExitCode {
    let _ = crate::secret::harden_process();
    // What this would still do for a parent that is gone, nobody has asked for.
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    match serve_child(std::io::stdin(), std::io::stdout()) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            eprintln!("opalbox {CHILD_VERB} is started by opalbox itself: {error}");
            Exit::Usage.into()
        }
    }
}

fn start_log(verbose: u8, color: Color) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(color.on(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
}
