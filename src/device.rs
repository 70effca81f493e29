// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices: what there is, what it is, and a path to it.
//!
//! [`enumerate()`] lists drives and says why a device is none; [`open()`] finds the path that a drive
//! answers on; [`in_use`] keeps destructive work off what is mounted or held; [`backing()`] tells
//! which drives a file lies on. The roots of sysfs, procfs and `/dev` are a [`System`], so that a
//! test can make a machine out of files.

pub mod backing;
pub mod enumerate;
pub mod identity;
pub mod in_use;
pub mod open;
pub mod probe;
mod sysfs;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use backing::{Backing, backing, backing_of_device};
pub use enumerate::{Found, NotSed, enumerate};
pub use identity::{Identity, Interface};
pub use in_use::{Claim, InUseError, Use};
pub use open::{OpenError, Opened, open, open_in};
pub use probe::Route;
pub use sysfs::System;

/// How a user names a drive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeviceSpec {
    /// `sim:SOCKET`: an emulated drive.
    Sim(PathBuf),
    /// An absolute path to a device node, or a link to one such as those in `/dev/disk/by-id`.
    Node(PathBuf),
}

/// A text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no device; give a path such as /dev/nvme0n1, /dev/sda, /dev/sg3 or \
     /dev/disk/by-id/..., or sim:SOCKET for an emulated drive"
)]
pub struct DeviceSpecError(String);

impl FromStr for DeviceSpec {
    type Err = DeviceSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("sim:") {
            Some("") => Err(DeviceSpecError(text.into())),
            Some(socket) => Ok(Self::Sim(socket.into())),
            None if Path::new(text).is_absolute() => Ok(Self::Node(text.into())),
            None => Err(DeviceSpecError(text.into())),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim(socket) => write!(f, "sim:{}", socket.display()),
            Self::Node(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_round_trip() {
        for text in ["/dev/nvme0n1", "/dev/disk/by-id/ata-X_Y", "sim:/run/a b", "sim:relative"] {
            let spec: DeviceSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
        assert_eq!("sim:s".parse(), Ok(DeviceSpec::Sim("s".into())));
        for text in ["", "sda", "sim:", "./sda", "nvme:0"] {
            let error = text.parse::<DeviceSpec>().unwrap_err();
            assert!(error.to_string().contains("/dev/nvme0n1"), "{error}");
        }
    }
}
