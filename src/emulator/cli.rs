// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `opal-emulator` command. Writes what it says to the writers it is given.

mod block;
mod control;
mod create;
mod serve;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::DriveError;
use super::image::ImageError;

/// An emulated Opal drive in a file.
#[derive(Debug, Parser)]
#[command(name = "opal-emulator", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new drive in original factory state, and print its label.
    Create(create::Create),
    /// Say what a drive is. Works while it is served.
    Info(create::Info),
    /// Power a drive on and serve it until SIGTERM or SIGINT.
    Serve(serve::Serve),
    /// Act on a served drive: power, resets, counters, faults. Prints one line of JSON.
    Control(control::Control),
    /// Read blocks of a served drive, as its host.
    Read(block::Read),
    /// Write blocks of a served drive, as its host.
    Write(block::Write),
}

/// Why the command failed; the text says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The arguments do not parse, or ask for help. Clap words and prints it.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// An argument has a value that cannot be used.
    #[error("{0}")]
    Argument(String),
    /// The drive cannot be made, opened or reached.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// A served drive refused.
    #[error("{0}")]
    Refused(String),
    /// A file or socket failed.
    #[error("{path}: {error}{advice}")]
    File {
        /// Which.
        path: PathBuf,
        /// How.
        error: io::Error,
        /// What to do, with its punctuation; may be empty.
        advice: &'static str,
    },
    /// Standard output is gone.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The exit code; cryptsetup's numbers where it has one.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(error) if !error.use_stderr() => 0,
            Self::Drive(DriveError::Image(ImageError::Locked)) => 5,
            Self::Drive(_) | Self::File { .. } => 4,
            Self::Usage(_) | Self::Argument(_) | Self::Refused(_) | Self::Output(_) => 1,
        }
    }
}

impl From<ImageError> for CliError {
    fn from(error: ImageError) -> Self {
        Self::Drive(error.into())
    }
}

/// Runs the command with `arguments`, the program's name first.
///
/// # Errors
/// What [`CliError`] lists; nothing but `out` was written to.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    match Cli::try_parse_from(arguments)?.command {
        Command::Create(create) => create.run(out),
        Command::Info(info) => info.run(out),
        Command::Serve(serve) => serve.run(out),
        Command::Control(control) => control.run(out),
        Command::Read(read) => read.run(out),
        Command::Write(write) => write.run(out),
    }
}

fn file_error(path: &std::path::Path, error: io::Error) -> CliError {
    CliError::File { path: path.to_owned(), error, advice: "" }
}

fn no_drive_there(path: &std::path::Path, error: io::Error) -> CliError {
    let advice = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "; is `opal-emulator serve` running with this socket?"
        }
        _ => "",
    };
    CliError::File { path: path.to_owned(), error, advice }
}

/// A number with K, M, G or T (powers of 1024).
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "m" | "MiB" => 20,
        "G" | "g" | "GiB" => 30,
        "T" | "t" | "TiB" => 40,
        other => return Err(format!("unknown unit `{other}`; use K, M, G or T")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a size; write 256M or 1G".to_owned())?;
    number.checked_mul(1 << unit).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("256M"), Ok(256 << 20));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        for bad in ["", "M", "1X", "-1", "99999999999T", "1.5G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
