// SPDX-License-Identifier: MIT OR Apache-2.0
//! An emulated drive run as a user runs it: `opal-emulator create`, `serve`, `control`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Context as _, Error};
use crate::guest::Drive;
use crate::programs::{Program, Service};

/// How a guest reaches the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEnd {
    /// `/dev/nvme0` over TCP.
    NvmeTcp,
    /// `/dev/nvme0`, a PCI function over vfio-user.
    VfioUser,
    /// `/dev/sda` with native security commands.
    Scsi,
    /// `/dev/sda`, an ATA drive behind a translation layer.
    Sat,
}

impl FrontEnd {
    /// The path to the drive in the words of the page of results.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NvmeTcp => "NVMe/TCP",
            Self::VfioUser => "PCI NVMe (vfio-user)",
            Self::Scsi => "SAS (vhost-user-scsi)",
            Self::Sat => "SATA by translation (vhost-user-scsi --sat)",
        }
    }
}

/// A served drive in a temporary folder. Clones are handles on the same one.
#[derive(Clone)]
pub struct Emulator {
    program: Program,
    folder: Arc<tempfile::TempDir>,
    front_end: FrontEnd,
    service: Arc<Mutex<Option<Service>>>,
    label: Arc<serde_json::Value>,
    address: Arc<Mutex<String>>,
}

impl Emulator {
    /// Makes a drive of `size` ("128M") in factory state and serves it.
    ///
    /// # Errors
    /// The program is not built, or refuses.
    pub fn start(front_end: FrontEnd, size: &str) -> Result<Self, Error> {
        let program = Program::find("opal-emulator")?;
        let folder = tempfile::Builder::new().prefix("drive-").tempdir();
        let folder = folder.context("creating the drive's folder")?;
        let image = folder.path().join("image");
        let output = Command::new(program.path())
            .arg("create")
            .arg(&image)
            // Few rounds: guests without KVM are slow enough.
            .args(["--size", size, "--pbkdf2-rounds", "1000", "--output", "json"])
            .output()
            .context("running opal-emulator create")?;
        let label = serde_json::from_slice(&output.stdout).map_err(|_| Error::Service {
            name: "opal-emulator create".to_owned(),
            why: "no label was printed".to_owned(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        })?;
        let emulator = Self {
            program,
            folder: Arc::new(folder),
            front_end,
            service: Arc::default(),
            label: Arc::new(label),
            address: Arc::new(Mutex::new("127.0.0.1:0".to_owned())),
        };
        emulator.power_on()?;
        Ok(emulator)
    }

    /// How a guest attaches it.
    ///
    /// # Panics
    /// When the emulator printed an address that is none.
    #[must_use]
    pub fn drive(&self) -> Drive {
        match self.front_end {
            FrontEnd::NvmeTcp => {
                let address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
                let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
                Drive::NvmeTcp { port: port.expect("a port"), nqn: NQN.to_owned() }
            }
            FrontEnd::VfioUser => Drive::VfioUserNvme(self.path("vfio")),
            FrontEnd::Scsi | FrontEnd::Sat => Drive::VhostUserScsi(self.path("scsi")),
        }
    }

    /// A field of the drive's label: `psid`, `msid`, `serial`, `model`.
    ///
    /// # Panics
    /// When the label has no such text.
    #[must_use]
    pub fn label(&self, field: &str) -> &str {
        self.label.get(field).and_then(|value| value.as_str()).expect("a field of the label")
    }

    /// Serves the drive again after [`cut_power`](Self::cut_power), at the same address.
    ///
    /// # Errors
    /// The emulator does not come up.
    pub fn power_on(&self) -> Result<(), Error> {
        let path = |name| self.path(name).display().to_string();
        let (image, control) = (path("image"), path("control"));
        let (vfio, scsi) = (path("vfio"), path("scsi"));
        let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arguments = vec!["serve", &image, "--control", &control];
        match self.front_end {
            FrontEnd::NvmeTcp => arguments.extend(["--nvme-tcp", &address, "--nqn", NQN]),
            FrontEnd::VfioUser => arguments.extend(["--vfio-user-nvme", &vfio, "--nqn", NQN]),
            FrontEnd::Scsi => arguments.extend(["--vhost-user-scsi", &scsi]),
            FrontEnd::Sat => arguments.extend(["--vhost-user-scsi", &scsi, "--sat"]),
        }
        let service = self.program.serve(&arguments, self.label("model"))?;
        if let Some(line) = service.line("nvme-tcp ") {
            *address = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        }
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
        Ok(())
    }

    /// Ends the emulator with SIGKILL.
    pub fn cut_power(&self) {
        // Dropping the service kills it.
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// `opal-emulator control`: its line of JSON.
    ///
    /// # Errors
    /// The emulator refuses; the text is its own.
    pub fn control(&self, words: &[&str]) -> Result<String, String> {
        let output = Command::new(self.program.path())
            .arg("control")
            .arg(self.path("control"))
            .args(words)
            .output()
            .map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Answers a script's `host` calls: `power-cycle`, `cut-power` (SIGKILL and on again),
    /// `absent TEXT` (fails if the image holds it), else what `control` knows.
    pub fn host_call(&self) -> impl FnMut(&str) -> Result<String, String> + Send + 'static {
        let emulator = self.clone();
        move |call| match call.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["cut-power"] => {
                emulator.cut_power();
                emulator.power_on().map_err(|error| error.to_string())?;
                Ok("on again".to_owned())
            }
            ["absent", text] => match emulator.holds(text)? {
                false => Ok("not in the image".to_owned()),
                true => Err(format!("{text:?} is in the image")),
            },
            words => emulator.control(words),
        }
    }

    /// Whether the image file holds this text anywhere. grep is faster than a debug build.
    fn holds(&self, text: &str) -> Result<bool, String> {
        let output = Command::new("grep")
            .args(["-q", "-a", "-F", "-e", text])
            .arg(self.path("image"))
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

const NQN: &str = "nqn.2026-01.io.github.opalbox:vm";
