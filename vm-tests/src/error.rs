// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can keep a guest from giving an answer. A script that fails is not an error: see `Outcome`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why no [`Outcome`](crate::Outcome) exists. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package, kernel or QEMU could not be obtained.
    #[error(
        "cannot obtain {what}: {why}\n\
         The VM tests take it from the Debian archive configured on this machine (apt-get, dpkg-deb \
         and a network path to that archive are needed; root is not). Run `cargo run -p vm-tests -- \
         fetch` to see the whole story, and delete {cache} to start afresh.",
        cache = cache.display()
    )]
    Artifact {
        /// What was wanted.
        what: String,
        /// What went wrong.
        why: String,
        /// The cache folder.
        cache: PathBuf,
    },
    /// A program of this workspace is not built.
    #[error(
        "{name} is not built (looked for {looked}). Run `cargo build --bins --examples` first."
    )]
    Program {
        /// The program.
        name: String,
        /// Where it was looked for.
        looked: String,
    },
    /// A program of this workspace did not come up.
    #[error("{name} did not become ready: {why}\n{log}")]
    Service {
        /// The program.
        name: String,
        /// What was waited for.
        why: String,
        /// What it printed.
        log: String,
    },
    /// The guest's userspace never came up, on any attempt.
    #[error("the guest never reached userspace in {attempts} attempts\n{log}")]
    NoBoot {
        /// Boots tried.
        attempts: u32,
        /// Consoles of all attempts.
        log: String,
    },
    /// The script did not end in time; the guest was killed.
    #[error("the guest was killed after {after:?}\n{log}")]
    TimedOut {
        /// The limit that was set.
        after: Duration,
        /// Everything said until then.
        log: String,
    },
    /// QEMU ended before the script did.
    #[error("QEMU ended before the script did: {why}\n{log}")]
    GuestDied {
        /// QEMU's status and last words.
        why: String,
        /// Everything said until then.
        log: String,
    },
    /// A file or process operation of the harness failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Adds the words that a bare [`io::Error`] lacks.
pub(crate) trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what.into(), source })
    }
}
