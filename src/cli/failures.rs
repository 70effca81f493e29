// SPDX-License-Identifier: MIT OR Apache-2.0
//! How each layer's errors become a failure: exit code and advice.

use opal::{TransportErrorKind, wire::Status};

use super::exit::{Exit, Failure};
use crate::device::{InUseError, OpenError};
use crate::drive::{DriveError, EscrowError, Role};
use crate::lockbox;
use crate::manager::ManagerError;

impl From<ManagerError> for Failure {
    fn from(error: ManagerError) -> Self {
        match error {
            ManagerError::Drive(error) => error.into(),
            ManagerError::Lockbox(error) => error.into(),
            ManagerError::Unknown { .. } => Self::new(Exit::Lockbox, error.to_string())
                .advise("`opalbox key show` lists what it has; `opalbox drive doctor` tells more"),
            ManagerError::UnknownRange { .. } => Self::new(Exit::Lockbox, error.to_string())
                .advise("`opalbox key show` lists what it opens"),
            ManagerError::RevertedElsewhere { .. } => Self::new(Exit::Device, error.to_string())
                .advise(
                    "`opalbox drive revert` clears the old credentials; then provision it anew",
                ),
            ManagerError::StoreOnDrive { .. } => Self::new(Exit::Lockbox, error.to_string())
                .advise("keep the lockbox on another device: `--store DIR`"),
            ManagerError::Conflict(_) => Self::new(Exit::Busy, error.to_string())
                .advise("`opalbox range list` shows the ranges; `opalbox drive revert` clears all"),
        }
    }
}

impl From<DriveError> for Failure {
    fn from(error: DriveError) -> Self {
        let text = error.to_string();
        match error {
            DriveError::Opal(error) => error.into(),
            DriveError::Escrow(error) => error.into(),
            DriveError::NoCredential { .. } => Self::new(Exit::Lockbox, text).advise(
                "use the lockbox that provisioned the drive (--store), or revert the drive with \
                 its PSID: `opalbox drive revert --psid`",
            ),
            DriveError::Refused { role } => {
                let other = match role {
                    Role::Sid => "the firmware may block SID: see `opalbox drive doctor`",
                    _ => "`opalbox drive verify` shows which credentials work",
                };
                Self::new(Exit::Secret, text).advise(other)
            }
            DriveError::WrongPsid => Self::new(Exit::Secret, text).advise(
                "compare it with the label of this very drive, letter by letter: 0 and O, 1 and I, \
                 8 and B are easily mistaken; capital and small letters differ",
            ),
            DriveError::Owned { .. } => Self::new(Exit::Device, text).advise(
                "release it with the tool that owns it, or give its data up: `opalbox drive \
                 revert --psid` with the PSID from its label",
            ),
            DriveError::Reverted => Self::new(Exit::Device, text).advise(
                "`opalbox drive revert` clears the old credentials; then provision it anew",
            ),
            DriveError::SidBlocked => Self::new(Exit::Device, text).advise(
                "turn Block SID off in the firmware's set-up, or power-cycle the drive without it",
            ),
            DriveError::NotKept { .. } => Self::new(Exit::Partial, text)
                .advise("run the command again; if it stays so, the drive's firmware is at fault"),
            DriveError::Extent(_) => Self::new(Exit::Usage, text),
            DriveError::Unsupported(_) => Self::new(Exit::Unsupported, text),
        }
    }
}

impl From<EscrowError> for Failure {
    fn from(error: EscrowError) -> Self {
        match error {
            EscrowError::BudgetSpent { .. } => Self::new(Exit::BudgetSpent, error.to_string())
                .advise(
                    "no further attempt is made, so that the drive does not lock itself: power it \
                     off and on, then run the command again",
                ),
            EscrowError::Lockbox(error) => match error.downcast::<lockbox::Error>() {
                Ok(error) => (*error).into(),
                Err(error) => Self::new(Exit::Lockbox, error.to_string()),
            },
        }
    }
}

impl From<lockbox::Error> for Failure {
    fn from(error: lockbox::Error) -> Self {
        let exit = match &error {
            lockbox::Error::Exists(_) => Exit::Busy,
            lockbox::Error::Provider(
                lockbox::provider::ProviderError::WrongPassphrase
                | lockbox::provider::ProviderError::WrongPin,
            ) => Exit::Secret,
            lockbox::Error::Input(_) => Exit::Usage,
            _ => Exit::Lockbox,
        };
        Self::new(exit, error.to_string()).advise(error.advice())
    }
}

impl From<opal::Error> for Failure {
    fn from(error: opal::Error) -> Self {
        let exit = match &error {
            opal::Error::NotAuthenticated { .. } => Exit::Secret,
            opal::Error::Unsupported(_) => Exit::Unsupported,
            opal::Error::Transport(error) => path_exit(error.kind),
            opal::Error::Method { status, .. } if *status == Status::SP_BUSY => Exit::Busy,
            _ => Exit::Device,
        };
        let failure = Self::new(exit, error.to_string());
        match error.advice() {
            Some(advice) => failure.advise(advice),
            None => failure,
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Path(error) => path_exit(error.kind),
            _ => Exit::Device,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<InUseError> for Failure {
    fn from(error: InUseError) -> Self {
        Self::new(Exit::Busy, error.to_string())
            .advise("unmount it and stop what holds it, then run the command again")
    }
}

const fn path_exit(kind: TransportErrorKind) -> Exit {
    match kind {
        TransportErrorKind::Unsupported => Exit::Unsupported,
        _ => Exit::Device,
    }
}
