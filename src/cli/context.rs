// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every command needs: the lockbox, drives, and how to ask.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use opal::Transport;
use opal::host;
use opal::wire::print::Printer;

use super::args::Global;
use super::exit::{Exit, Failure};
use super::output::{self, ErasedReport};
use super::secret_input::{SecretSource, new_secret};
use crate::device::{self, DeviceSpec, Opened};
use crate::drive::sed::Sed;
use crate::lockbox::provider::{Ask, Prompt, PromptError};
use crate::lockbox::tpm::{ChildProgram, TpmRunner};
use crate::lockbox::{self, Lockbox};
use crate::manager::{Target, separation};
use crate::secret::Secret;
use crate::transport::Direction;
use crate::transport::trace::Trace;

/// The path to a drive, traced or not.
pub(crate) type DrivePath = Box<dyn Transport + Send>;

/// A drive opened by name.
pub(crate) struct Device {
    /// What it is and where.
    pub(crate) target: Target,
    /// What the interface says.
    pub(crate) identity: device::Identity,
    /// What holds or mounts it can be asked of this.
    pub(crate) opened: Opened,
}

/// What the command line gave, ready to use.
pub(crate) struct Context {
    global: Global,
}

impl Context {
    /// Takes the global options.
    ///
    /// # Errors
    /// Never yet.
    pub(crate) fn new(global: Global) -> Result<Self, Failure> {
        Ok(Self { global })
    }

    /// Prints a result the way that was asked for.
    ///
    /// # Errors
    /// Standard output is gone.
    pub(crate) fn print(&self, report: &dyn ErasedReport) -> Result<(), Failure> {
        output::print(self.global.output, report)
    }

    /// The lockbox's directory.
    pub(crate) fn store(&self) -> &Path {
        &self.global.store
    }

    /// How the TPM is reached, if that was said.
    pub(crate) fn tcti(&self) -> Option<&lockbox::tpm::Tcti> {
        self.global.tcti.as_ref()
    }

    /// How people are asked; `pin` is where an administrator's PIN comes from.
    pub(crate) fn prompt(&self, pin: SecretSource) -> Arc<dyn Prompt> {
        Arc::new(Asking { passphrase: self.global.passphrase_file.clone(), pin })
    }

    /// Opens this machine's lockbox.
    ///
    /// # Errors
    /// There is none, or it is damaged or exposed.
    pub(crate) fn lockbox(&self) -> Result<Lockbox, Failure> {
        self.lockbox_asking(SecretSource::default())
    }

    /// As [`Context::lockbox`]; `pin` is where an administrator's PIN comes from.
    ///
    /// # Errors
    /// As [`Context::lockbox`].
    pub(crate) fn lockbox_asking(&self, pin: SecretSource) -> Result<Lockbox, Failure> {
        Ok(self.open_lockbox(pin)?)
    }

    fn open_lockbox(&self, pin: SecretSource) -> Result<Lockbox, lockbox::Error> {
        let options = lockbox::OpenOptions {
            prompt: self.prompt(pin),
            tcti: self.global.tcti.clone(),
            runner: tpm_runner(),
            faults: lockbox::Faults::none(),
        };
        Lockbox::open(&self.global.store, options)
    }

    /// Opens this machine's lockbox, if it has one.
    ///
    /// # Errors
    /// It is damaged or exposed.
    pub(crate) fn lockbox_if_any(&self) -> Result<Option<Lockbox>, Failure> {
        match self.open_lockbox(SecretSource::default()) {
            Ok(lockbox) => Ok(Some(lockbox)),
            Err(lockbox::Error::NoLockbox(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the device that `name` names.
    ///
    /// # Errors
    /// It names none, or no path leads to it.
    pub(crate) fn device(&self, name: &str) -> Result<Device, Failure> {
        let spec: DeviceSpec = name.parse().map_err(|error: device::DeviceSpecError| {
            Failure::new(Exit::Device, error.to_string())
        })?;
        let mut opened = device::open(&spec)?;
        let transport = std::mem::replace(&mut opened.transport, Box::new(Nowhere));
        opened.transport = self.traced(transport, name)?;
        let identity = opened.identity.clone();
        let target = Target {
            serial: identity.serial.trim().to_owned(),
            model: identity.model.trim().to_owned(),
            device: absolute(&spec),
            power_cycles: identity.power_cycles,
        };
        Ok(Device { target, identity, opened })
    }

    fn traced(&self, transport: DrivePath, name: &str) -> Result<DrivePath, Failure> {
        let transport = if self.global.verbose > 1 { outlined(transport) } else { transport };
        let Some(path) = &self.global.trace_wire else { return Ok(transport) };
        let file = private_append(path).map_err(|error| {
            Failure::new(Exit::Usage, format!("cannot write {}: {error}", path.display()))
        })?;
        let mut printer = Printer::new();
        let name = name.to_owned();
        let print = move |direction, protocol, specific, data: &[u8]| {
            let message = match direction {
                Direction::Send => printer.sent(protocol, specific, data),
                Direction::Recv => printer.received(protocol, specific, data),
            };
            format!("{name}: {}", message.content())
        };
        Ok(Box::new(Trace::new(transport, file, print)))
    }
}

/// Says each method and its outcome.
fn outlined(transport: DrivePath) -> DrivePath {
    let mut printer = Printer::new();
    let print = move |direction, protocol, specific, data: &[u8]| {
        let message = match direction {
            Direction::Send => printer.sent(protocol, specific, data),
            Direction::Recv => printer.received(protocol, specific, data),
        };
        tracing::debug!("{}", outline(&message.to_string()));
        String::new()
    };
    Box::new(Trace::new(transport, std::io::sink(), print))
}

/// The line of a printed message that says what it is for: behind the headings of its envelopes.
fn outline(message: &str) -> &str {
    let envelopes = ["IF-SEND", "IF-RECV", "ComPacket", "Packet", "SubPacket"];
    let mut lines = message.lines().map(str::trim);
    lines.find(|line| !envelopes.iter().any(|name| line.starts_with(name))).unwrap_or("no data")
}

impl Device {
    /// The self-encrypting drive behind it.
    ///
    /// # Errors
    /// It is none, or the path fails.
    pub(crate) fn sed(self) -> Result<(Sed<DrivePath>, Target, Holder), Failure> {
        let identity =
            host::Identity { serial: self.target.serial.clone(), model: self.target.model.clone() };
        let block_size = self.identity.logical_block_size;
        let blocks = self.identity.capacity.checked_div(u64::from(block_size)).unwrap_or(0);
        let mut opened = self.opened;
        let transport = std::mem::replace(&mut opened.transport, Box::new(Nowhere));
        let sed = Sed::open(transport, identity, blocks, block_size)?;
        Ok((sed, self.target, Holder(opened)))
    }
}

/// What the operating system does with the drive.
pub(crate) struct Holder(Opened);

impl Holder {
    /// Refuses drives that are mounted or held.
    ///
    /// # Errors
    /// It is.
    pub(crate) fn claim(&self) -> Result<device::Claim, Failure> {
        Ok(self.0.claim()?)
    }

    /// Refuses a drive that the lockbox's own store lies on.
    ///
    /// # Errors
    /// It does.
    pub(crate) fn require_apart(&self, store: &Path, target: &Target) -> Result<(), Failure> {
        let system = device::System::default();
        for unknown in separation::require_apart(&system, store, &target.serial, &self.0.disks)? {
            tracing::warn!("{unknown}");
        }
        Ok(())
    }

    /// Ends destructive work: gives the drive back, then makes the kernel look at the partitions
    /// anew, which it does not do for a drive that is claimed.
    pub(crate) fn release(&self, claim: device::Claim) {
        drop(claim);
        self.reread_partitions();
    }

    /// Makes the kernel look at the partitions anew. A partition that stays in use is no failure
    /// of the unlock; it is said.
    pub(crate) fn reread_partitions(&self) {
        if let Err(error) = self.0.reread_partitions() {
            tracing::warn!("the kernel did not read the partition table anew: {error}");
        }
    }
}

/// The TPM library runs in a process of its own, so that its copies of secrets end with it and its
/// log lines reach nobody.
pub(crate) fn tpm_runner() -> TpmRunner {
    TpmRunner::Child(ChildProgram::this())
}

/// A credential is bound to a serial number: a drive without one cannot be told from another.
///
/// # Errors
/// The serial is empty.
pub(crate) fn require_serial(target: &Target) -> Result<(), Failure> {
    if target.serial.is_empty() {
        return Err(Failure::new(Exit::Device, "the path to this drive does not tell its serial")
            .advise("attach the drive directly, without the bridge in between"));
    }
    Ok(())
}

/// Relative socket names would be useless as hints for the next time.
fn absolute(spec: &DeviceSpec) -> String {
    match spec {
        DeviceSpec::Sim(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("sim:{}", path.display())
        }
        DeviceSpec::Node(path) => path.display().to_string(),
    }
}

fn private_append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Asks on the terminal, or reads what the options name.
struct Asking {
    passphrase: Option<PathBuf>,
    pin: SecretSource,
}

impl Prompt for Asking {
    fn ask(&self, ask: &Ask<'_>) -> Result<Secret, PromptError> {
        let passphrase = SecretSource { pin_file: self.passphrase.clone(), pin_fd: None };
        let answer = match ask {
            Ask::Passphrase { .. } => passphrase.read("lockbox passphrase", "opalbox-passphrase"),
            Ask::NewPassphrase { .. } => {
                new_secret(&passphrase, "new lockbox passphrase", "opalbox-passphrase")
            }
            Ask::NewAdminPin { .. } => {
                new_secret(&self.pin, "new administrator's PIN", "opalbox-admin")
            }
            _ => self.pin.read("administrator's PIN", "opalbox-admin"),
        };
        answer.map_err(|failure| {
            tracing::error!("{}", failure.what);
            PromptError::Nobody
        })
    }
}

/// Stands where a transport was taken out.
struct Nowhere;

impl Transport for Nowhere {
    fn if_send(&mut self, _: u8, _: u16, _: &[u8]) -> Result<(), opal::TransportError> {
        Err(gone())
    }
    fn if_recv(&mut self, _: u8, _: u16, _: &mut [u8]) -> Result<usize, opal::TransportError> {
        Err(gone())
    }
    fn pause(&mut self, _: std::time::Duration) {}
}

fn gone() -> opal::TransportError {
    opal::TransportError::new(opal::TransportErrorKind::Gone, "the path was handed on")
}
