// SPDX-License-Identifier: MIT OR Apache-2.0
//! Manual pages and shell completion, made from the same definitions as the parser.

use std::io::Write;

use clap::builder::Resettable;
use clap::{Command, CommandFactory};

use super::args::{Cli, NOTES};
use super::exit::Exit;

/// Writes a completion script for `shell`.
pub fn completions(shell: clap_complete::Shell, out: &mut dyn Write) {
    clap_complete::generate(shell, &mut command(), "opalbox", &mut &mut *out);
}

/// Every manual page of both commands as (file name, roff).
///
/// # Errors
/// Formatting failed.
pub fn pages() -> std::io::Result<Vec<(String, String)>> {
    let mut pages = Vec::new();
    collect(command(), "opalbox".to_owned(), &mut pages)?;
    let mut emulator = crate::emulator::cli::Cli::command().disable_help_subcommand(true);
    emulator.build();
    collect(emulator, "opal-emulator".to_owned(), &mut pages)?;
    Ok(pages)
}

/// The parser, its help with the exit codes.
pub(super) fn command() -> Command {
    let mut codes = format!("{NOTES}\n\nExit status:\n");
    for (exit, meaning) in Exit::ALL {
        codes.push_str(&format!("  {:>2}  {meaning}\n", exit as u8));
    }
    let mut command = Cli::command().after_long_help(codes);
    command.build();
    command
}

fn collect(
    command: Command,
    name: String,
    pages: &mut Vec<(String, String)>,
) -> std::io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub.clone(), format!("{name}-{}", sub.get_name()), pages)?;
    }
    let mut roff = Vec::new();
    let page = name.clone();
    // No date and no version in the file, so that it changes only when the command does.
    clap_mangen::Man::new(command.name(page).version(Resettable::Reset))
        .date("")
        .source("Opalbox")
        .manual("Opalbox")
        .render(&mut roff)?;
    let text = String::from_utf8(roff).map_err(std::io::Error::other)?;
    pages.push((format!("{name}.1"), text));
    Ok(())
}
