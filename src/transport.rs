// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths to a drive, and wrappers that are paths themselves.
//!
//! Paths: [`nvme`], [`scsi`] and [`ata`] through the kernel ([`passthrough`], [`sys`]), [`sim`] to an
//! emulated drive behind a socket. Wrappers: [`trace`] prints, [`record`]
//! keeps, [`fault`] disturbs and [`count`] counts every exchange; [`replay`] answers from what was
//! recorded. All of them are [`opal::Transport`], so any can stand in for any other.

pub mod ata;
pub mod count;
pub mod fault;
pub mod nvme;
pub mod passthrough;
pub mod record;
pub mod recording;
pub mod redact;
pub mod replay;
pub mod scsi;
pub mod sense;
pub mod sim;
pub mod sys;
pub mod trace;

/// Which way the payload of a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// IF-SEND, host to drive.
    Send,
    /// IF-RECV, drive to host.
    Recv,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Send => "IF-SEND",
            Self::Recv => "IF-RECV",
        })
    }
}
