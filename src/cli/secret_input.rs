// SPDX-License-Identifier: MIT OR Apache-2.0
//! How secrets reach the command: a terminal prompt, a file, a file descriptor, or a systemd
//! credential. Never an argument, never the environment (which only names the credentials folder).
//!
//! One trailing newline is stripped from what a person types; files and descriptors count byte for
//! byte.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use crate::secret::Secret;

/// Longest secret accepted from any source, in bytes.
const MAX_SECRET: u64 = 4096;

/// Where a secret comes from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SecretSource {
    /// Read the secret from this file, byte for byte; `-` is standard input
    #[arg(long, value_name = "PATH", conflicts_with = "pin_fd")]
    pub(crate) pin_file: Option<PathBuf>,
    /// Read the secret from this open file descriptor, byte for byte
    #[arg(long, value_name = "N")]
    pub(crate) pin_fd: Option<RawFd>,
}

impl SecretSource {
    /// Reads the secret; `what` names it in the prompt and in errors, `credential` is its name
    /// among systemd's credentials.
    ///
    /// # Errors
    /// No source, or it cannot be read.
    pub(crate) fn read(&self, what: &str, credential: &str) -> Result<Secret, Failure> {
        if let Some(path) = &self.pin_file {
            return from_file(path, what);
        }
        if let Some(fd) = self.pin_fd {
            let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
            return from_file(&path, what);
        }
        if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            let path = Path::new(&folder).join(format!("{credential}.pin"));
            if path.exists() {
                return from_file(&path, what);
            }
        }
        prompt(what)
    }
}

fn from_file(path: &Path, what: &str) -> Result<Secret, Failure> {
    let refuse = |error: std::io::Error| {
        Failure::new(
            Exit::Secret,
            format!("cannot read the {what} from {}: {error}", path.display()),
        )
    };
    // Room for everything at once: a growing buffer would leave copies behind.
    let mut bytes = Vec::with_capacity(MAX_SECRET as usize + 1);
    let limit = MAX_SECRET + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(refuse)?;
    } else {
        File::open(path).map_err(refuse)?.take(limit).read_to_end(&mut bytes).map_err(refuse)?;
    }
    let secret = Secret::new(bytes);
    if secret.expose().len() as u64 > MAX_SECRET {
        return Err(Failure::new(Exit::Secret, format!("the {what} is longer than 4096 bytes")));
    }
    Ok(secret)
}

fn prompt(what: &str) -> Result<Secret, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Secret,
            format!("the {what} is needed, and there is no terminal to ask on"),
        )
        .advise("give it with --pin-file PATH, --pin-file -, --pin-fd N or a systemd credential"));
    }
    let typed = rpassword::prompt_password(format!("{what}: "))?;
    Ok(Secret::new(typed.into_bytes()))
}

/// Asks for a new secret twice.
///
/// # Errors
/// The two differ, or there is no terminal and no other source.
pub(crate) fn new_secret(
    source: &SecretSource,
    what: &str,
    credential: &str,
) -> Result<Secret, Failure> {
    let first = source.read(what, credential)?;
    let typed = source.pin_file.is_none() && source.pin_fd.is_none();
    if typed && std::io::stdin().is_terminal() {
        let again = prompt(&format!("{what} again"))?;
        if !first.matches(again.expose()) {
            return Err(Failure::new(Exit::Secret, "the two entries differ; nothing was changed"));
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        std::fs::write(&path, b"abc\n").unwrap();
        let source = SecretSource { pin_file: Some(path), pin_fd: None };
        assert_eq!(source.read("PIN", "x").ok().unwrap().expose(), b"abc\n");
    }

    #[test]
    fn too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        std::fs::write(&path, vec![b'x'; 5000]).unwrap();
        let source = SecretSource { pin_file: Some(path), pin_fd: None };
        assert!(source.read("PIN", "x").is_err());
    }
}
