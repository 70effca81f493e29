// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Tcti`]: how the TPM is reached.
//!
//! The library below accepts strings and silently drops the parts it does not know, so that
//! `swtpm:path=/x` would talk to whatever listens on port 2321. Only strings that it takes
//! literally pass here.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use tss_esapi::TctiNameConf;

use super::code::TpmError;

/// A TPM connection: `device:PATH` or `swtpm:host=HOST,port=PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tcti(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Device(String),
    Swtpm { host: String, port: u16 },
}

impl Tcti {
    /// The kernel's resource manager, which needs no root (group `tss`).
    pub const DEFAULT: &'static str = "device:/dev/tpmrm0";

    /// Whether the TPM is a program on this machine and not a chip or firmware.
    #[must_use]
    pub fn is_software(&self) -> bool {
        matches!(self.0, Kind::Swtpm { .. })
    }

    /// Whether nobody else uses this TPM at the same time, so that whatever is loaded in it at the
    /// start of a conversation was left behind by a killed one.
    pub(super) fn is_private(&self) -> bool {
        self.is_software()
    }

    pub(super) fn name_conf(&self) -> Result<TctiNameConf, TpmError> {
        TctiNameConf::from_str(&self.to_string()).map_err(|_| TpmError::Tcti(self.to_string()))
    }
}

impl Default for Tcti {
    fn default() -> Self {
        Self(Kind::Device("/dev/tpmrm0".into()))
    }
}

impl fmt::Display for Tcti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Device(path) => write!(f, "device:{path}"),
            Kind::Swtpm { host, port } => write!(f, "swtpm:host={host},port={port}"),
        }
    }
}

impl FromStr for Tcti {
    type Err = TpmError;

    fn from_str(text: &str) -> Result<Self, TpmError> {
        let refused = || TpmError::Tcti(text.to_owned());
        let (name, settings) = text.split_once(':').ok_or_else(refused)?;
        match name {
            "device" => {
                let plain = settings.starts_with('/')
                    && settings.bytes().all(|b| b.is_ascii_graphic() && b != b';');
                plain.then(|| Self(Kind::Device(settings.to_owned()))).ok_or_else(refused)
            }
            "swtpm" => {
                let (mut host, mut port) = (None, None);
                for setting in settings.split(',') {
                    let (key, value) = setting.split_once('=').ok_or_else(refused)?;
                    let place = match key {
                        "host" => &mut host,
                        "port" => &mut port,
                        _ => return Err(refused()),
                    };
                    if place.replace(value).is_some() {
                        return Err(refused());
                    }
                }
                let host = host.unwrap_or("127.0.0.1");
                let named = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
                // The port above this one is the control channel.
                let port = port.and_then(|port| port.parse().ok()).filter(|port| *port < u16::MAX);
                match (port, !host.is_empty() && named) {
                    (Some(port), true) => Ok(Self(Kind::Swtpm { host: host.to_owned(), port })),
                    _ => Err(refused()),
                }
            }
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for Tcti {
    type Error = TpmError;

    fn try_from(text: String) -> Result<Self, TpmError> {
        text.parse()
    }
}

impl From<Tcti> for String {
    fn from(tcti: Tcti) -> Self {
        tcti.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_means_what_it_says() {
        for (text, shown) in [
            ("device:/dev/tpmrm0", "device:/dev/tpmrm0"),
            ("swtpm:host=127.0.0.1,port=4000", "swtpm:host=127.0.0.1,port=4000"),
            ("swtpm:port=4000,host=localhost", "swtpm:host=localhost,port=4000"),
            ("swtpm:port=4000", "swtpm:host=127.0.0.1,port=4000"),
        ] {
            let tcti: Tcti = text.parse().unwrap();
            assert_eq!(tcti.to_string(), shown);
            assert!(tcti.name_conf().is_ok());
        }
        assert_eq!(Tcti::default().to_string(), Tcti::DEFAULT);
    }

    #[test]
    fn refuses_what_would_be_dropped_or_guessed() {
        for text in [
            "",
            "device",
            "device:",
            "device:tpm0",
            "device:/dev/tpm0;x",
            "swtpm",
            "swtpm:",
            "swtpm:path=/tmp/s",
            "swtpm:host=127.0.0.1",
            "swtpm:port=1,port=2",
            "swtpm:port=65535",
            "swtpm:port=70000",
            "swtpm:host=::1,port=4000",
            "swtpm:host=a b,port=4000",
            "swtpm:port=4000 ",
            "swtpm:host=,port=4000",
            "mssim:host=127.0.0.1,port=2321",
            "tabrmd:",
            "cmd:cat",
            "libtss2-tcti-device.so",
        ] {
            assert!(matches!(text.parse::<Tcti>(), Err(TpmError::Tcti(_))), "{text}");
        }
    }
}
