// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exit codes (cryptsetup's 0 to 5, then ours) and the failure that carries one.

use std::fmt;
use std::process::ExitCode;

/// What the command tells its caller. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked was done.
    Done = 0,
    /// Wrong usage, or a failure without a code of its own.
    Usage = 1,
    /// A PIN, PSID or passphrase was refused.
    Secret = 2,
    /// Out of memory.
    Memory = 3,
    /// The device is not there, or is not what the command needs.
    Device = 4,
    /// The device is in use, or what should be made exists.
    Busy = 5,
    /// The lockbox refused: locked, damaged, of another machine, or asked for what it must not do.
    Lockbox = 6,
    /// Destruction was not confirmed.
    NotConfirmed = 7,
    /// Part of the work failed.
    Partial = 8,
    /// The drive lacks the feature.
    Unsupported = 9,
    /// The drive's attempt budget is spent.
    BudgetSpent = 10,
}

impl Exit {
    /// Every code with its meaning, for the manual page.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Done, "everything asked was done"),
        (Self::Usage, "wrong usage, or a failure without a code of its own"),
        (Self::Secret, "a PIN, PSID or passphrase was refused"),
        (Self::Memory, "out of memory"),
        (Self::Device, "the device is not there, or is not what the command needs"),
        (Self::Busy, "the device is in use, or what should be made exists"),
        (Self::Lockbox, "the lockbox refused"),
        (Self::NotConfirmed, "destruction was not confirmed"),
        (Self::Partial, "part of the work failed"),
        (Self::Unsupported, "the drive lacks the feature"),
        (Self::BudgetSpent, "the drive's attempt budget is spent"),
    ];
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not succeed: what happened, what to do next, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub what: String,
    /// What to do next, if there is something.
    pub advice: Option<String>,
    /// The code to leave with.
    pub exit: Exit,
}

impl Failure {
    /// A failure with `exit`.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { what: what.into(), advice: None, exit }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.advice {
            Some(advice) => write!(f, "\n  next: {advice}"),
            None => Ok(()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let exit = match error.kind() {
            std::io::ErrorKind::OutOfMemory => Exit::Memory,
            _ => Exit::Usage,
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_and_documented() {
        for (index, (exit, meaning)) in Exit::ALL.iter().enumerate() {
            assert_eq!(*exit as usize, index, "no gap, no reuse");
            assert!(!meaning.is_empty());
        }
    }
}
