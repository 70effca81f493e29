// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Drive`]: a TPer, its image and its power, for front-ends to share.
//!
//! Every command that changes something is made durable before its answer can be fetched. When the
//! image fails the drive stops: it answers "medium error" until a power cycle, which goes on from
//! what is on disk.

mod data;
pub(super) mod platform;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opal::Pin;
use opal::tper::{Counters, IfError, Pending, Reset, StateError, Tper};

use self::platform::{DrivePlatform, PersistError};
use super::backend::{Backend, CommandStatus, DriveIdentity, ResetKind};
use super::fault::{Action, Command, Fault, FaultDisk, Faults};
use super::image::{Disk, FileDisk, Header, Image, ImageError};
use super::vault::{KeyName, Vault, VaultError};

/// Why there is no drive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The image cannot be made, opened or written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image's keys cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The TPer does not accept its state.
    #[error(transparent)]
    State(#[from] StateError),
}

/// One emulated drive, powered on for as long as it lives. Front-ends and the control socket share
/// it.
pub struct Drive {
    identity: DriveIdentity,
    header: Header,
    core: Mutex<Core>,
    faults: Faults,
    hooks: Mutex<Vec<Hook>>,
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// What the lock protects.
struct Core {
    /// None when the drive could not come up after a power cycle.
    tper: Option<Tper<DrivePlatform>>,
    /// The image failed; nothing is answered until a power cycle.
    failed: bool,
    power_cycles: u64,
    /// Counted by TPers before the last power cycle.
    counted: Counters,
}

/// What the control socket tells about a drive; no secrets.
#[derive(Clone, Debug)]
pub struct Status {
    /// How often power came on.
    pub power_cycles: u64,
    /// The image failed, or the drive did not come up.
    pub failed: bool,
    /// Reads see the shadow MBR.
    pub shadowing: bool,
    /// The ranges, Global Range first.
    pub ranges: Vec<opal::tper::Range>,
    /// The byte tables and their sizes.
    pub byte_tables: Vec<(opal::Uid, u64)>,
    /// Ranges whose media key is in memory.
    pub keys_in_memory: Vec<u16>,
    /// Sessions that hold secrets.
    pub sessions_with_secrets: usize,
    /// Level 0 Discovery.
    pub discovery: Vec<u8>,
}

impl Drive {
    /// Makes a drive in original factory state on an empty disk: its tables, keys and PINs, of
    /// which `psid` is the one printed on the label. Nothing of the disk is a drive before this
    /// returns.
    ///
    /// # Errors
    /// The header is out of bounds, or the disk failed.
    pub fn manufacture(
        disk: Box<dyn Disk>,
        header: &Header,
        psid: &Pin,
        rounds: u32,
    ) -> Result<(), DriveError> {
        header.check()?;
        if rounds == 0 {
            return Err(ImageError::Parameter("at least one PBKDF2 round".into()).into());
        }
        let mut vault = Vault::new(header.drive, rounds, header.key_length());
        vault.reset_pin(opal::spec::authority::PSID, psid.expose())?;
        let platform = DrivePlatform::new(None, vault, 0);
        let mut tper = Tper::manufacture(header.profile.clone(), platform)?;
        let state = tper.state();
        let platform = tper.platform_mut();
        Image::create(disk, header.clone(), 0, &state, &platform.vault)?;
        Ok(())
    }

    /// Makes a drive in a new file. See [`Drive::manufacture`].
    ///
    /// # Errors
    /// The file exists, the header is out of bounds, or the file system failed.
    pub fn create(
        path: &std::path::Path,
        header: &Header,
        psid: &Pin,
        rounds: u32,
    ) -> Result<(), DriveError> {
        header.check()?;
        let disk = FileDisk::create(path, header.layout().length).map_err(ImageError::from)?;
        let made = Self::manufacture(Box::new(disk), header, psid, rounds);
        if made.is_err() {
            // Ours, new, and no drive.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    /// Powers on the drive in a file, which stays locked until this is dropped.
    ///
    /// # Errors
    /// Another process has it, or it is no drive.
    pub fn open(path: &std::path::Path) -> Result<Self, DriveError> {
        let disk = FileDisk::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => ImageError::Locked,
            _ => error.into(),
        })?;
        Self::power_on(Box::new(disk))
    }

    /// Powers on the drive on a disk.
    ///
    /// # Errors
    /// The disk failed or holds no drive.
    pub fn power_on(disk: Box<dyn Disk>) -> Result<Self, DriveError> {
        let faults = Faults::default();
        let disk = FaultDisk::new(disk, faults.writes());
        let (image, stored) = Image::open(Box::new(disk))?;
        let header = image.header().clone();
        let (tper, power_cycles) = restore(image, stored)?;
        let geometry = &header.profile.geometry;
        let identity = DriveIdentity {
            model: header.model.clone(),
            serial: header.serial.clone(),
            firmware: header.firmware.clone(),
            wwn: header.wwn,
            nguid: header.nguid,
            block_size: geometry.block_size,
            blocks: header.profile.blocks,
        };
        let core =
            Core { tper: Some(tper), failed: false, power_cycles, counted: Counters::default() };
        Ok(Self { identity, header, core: Mutex::new(core), faults, hooks: Mutex::default() })
    }

    /// What the drive is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How often power came on, this time included.
    #[must_use]
    pub fn power_cycles(&self) -> u64 {
        self.core().power_cycles
    }

    /// Cuts power and turns it on again: whatever is in memory is gone, and the drive comes up from
    /// its image.
    ///
    /// # Errors
    /// The image failed; the drive stays dead until the next try.
    pub fn power_cycle(&self) -> Result<u64, DriveError> {
        let done = self.core().power_cycle();
        for hook in &*self.hooks.lock().unwrap_or_else(PoisonError::into_inner) {
            hook();
        }
        done
    }

    /// A hardware reset, as the interface would report it.
    ///
    /// # Errors
    /// The step could not be made durable.
    pub fn hardware_reset(&self) -> Result<(), CommandStatus> {
        self.core().settle(|tper| Ok(tper.reset(Reset::Hardware)))
    }

    /// Lets time pass for session time-outs.
    pub fn tick(&self, elapsed: Duration) {
        // A session that cannot be ended durably is ended by the failure.
        let _ = self.core().settle(|tper| Ok(tper.session_timeouts(elapsed)));
    }

    /// Commands since [`Drive::reset_counters`].
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core().counters()
    }

    /// Counts from zero.
    pub fn reset_counters(&self) {
        let mut core = self.core();
        core.counted = Counters::default();
        if let Some(tper) = &mut core.tper {
            tper.reset_counters();
        }
    }

    /// What the drive's tables say, without secrets.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = self.core();
        let tper = core.tper.as_ref();
        let (sessions, keys) =
            tper.map(|tper| tper.platform().vault.in_memory()).unwrap_or_default();
        let ranges = keys.iter().filter_map(|key| match key {
            KeyName::Range(range) => Some(*range),
            KeyName::Table(_) => None,
        });
        Status {
            power_cycles: core.power_cycles,
            failed: core.failed || tper.is_none(),
            shadowing: tper.is_some_and(Tper::is_shadowing),
            ranges: tper.map(Tper::ranges).unwrap_or_default(),
            byte_tables: tper.map(Tper::byte_tables).unwrap_or_default(),
            keys_in_memory: ranges.collect(),
            sessions_with_secrets: sessions,
            discovery: tper.map(Tper::discovery).unwrap_or_default(),
        }
    }

    /// Arms a fault.
    pub fn inject(&self, fault: Fault) {
        self.faults.inject(fault);
    }

    /// Takes back every fault that has not happened.
    pub fn clear_faults(&self) {
        self.faults.clear();
    }

    /// Faults that have not happened yet.
    #[must_use]
    pub fn armed_faults(&self) -> Vec<Fault> {
        self.faults.list()
    }

    /// The n-th write, punch or sync of the image from now on fails; 0 takes it back.
    pub fn fail_image_write(&self, nth: u64) {
        self.faults.writes().arm(nth);
    }

    /// Fills `data` with the stored bytes of blocks from `lba` on, as they are: ciphertext.
    ///
    /// # Errors
    /// The blocks are not on the drive, or the image failed.
    pub fn ciphertext(&self, lba: u64, data: &mut [u8]) -> Result<(), CommandStatus> {
        self.core().ciphertext(lba, data)
    }

    /// Calls `hook` after each power cycle: a front-end drops its connections.
    pub fn on_power_cycle(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock leaves at worst a step that was not committed.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command with the fault that is armed for it, if any.
    fn command<T>(
        &self,
        command: Command,
        run: impl FnOnce(&mut Core) -> Result<T, CommandStatus>,
        alter: impl FnOnce(&mut T, Action),
    ) -> Result<T, CommandStatus> {
        let Some(action) = self.faults.next(command) else { return run(&mut self.core()) };
        match action {
            Action::Delay { milliseconds } => {
                // Not under the lock: the control socket stays reachable.
                std::thread::sleep(Duration::from_millis(milliseconds.into()));
                run(&mut self.core())
            }
            Action::Status { status } => Err(status.into()),
            Action::Drop => {
                let _ = run(&mut self.core());
                Err(CommandStatus::MediaError)
            }
            Action::PowerCutBefore => {
                let _ = self.power_cycle();
                Err(CommandStatus::MediaError)
            }
            Action::PowerCutAfter => {
                let _ = run(&mut self.core());
                let _ = self.power_cycle();
                Err(CommandStatus::MediaError)
            }
            Action::Corrupt { .. } | Action::Truncate { .. } => {
                let mut answer = run(&mut self.core())?;
                alter(&mut answer, action);
                Ok(answer)
            }
        }
    }
}

impl Core {
    /// Persists, applies and commits what a command did; only then can its answer be fetched.
    fn settle(
        &mut self,
        command: impl FnOnce(
            &mut Tper<DrivePlatform>,
        ) -> Result<Pending<'_, DrivePlatform>, CommandStatus>,
    ) -> Result<(), CommandStatus> {
        let mut pending = command(self.tper()?)?;
        if pending.changed() || !pending.effects().is_empty() {
            let effects = pending.effects().to_vec();
            let state = pending.state();
            match pending.platform().persist(&state, &effects) {
                Ok(()) => {}
                // Dropped: nothing has changed and the host hears of a failure from the TPer.
                Err(PersistError::Refused(error)) => {
                    tracing::warn!(%error, "a step was refused");
                    return Ok(());
                }
                Err(PersistError::Image(error)) => {
                    drop(pending);
                    tracing::error!(%error, "the drive stops until a power cycle");
                    self.failed = true;
                    return Err(CommandStatus::MediaError);
                }
            }
        }
        pending.commit();
        Ok(())
    }

    fn tper(&mut self) -> Result<&mut Tper<DrivePlatform>, CommandStatus> {
        if self.failed {
            return Err(CommandStatus::MediaError);
        }
        self.tper.as_mut().ok_or(CommandStatus::MediaError)
    }

    fn power_cycle(&mut self) -> Result<u64, DriveError> {
        self.counted = self.counters();
        let image = self.tper.take().and_then(|mut tper| tper.platform_mut().image.take());
        // The TPer is dropped: sessions and keys in memory are wiped.
        let (image, stored) = image.ok_or(ImageError::Failed)?.reopen()?;
        let (tper, power_cycles) = restore(image, stored)?;
        self.tper = Some(tper);
        self.power_cycles = power_cycles;
        self.failed = false;
        Ok(power_cycles)
    }

    fn counters(&self) -> Counters {
        let now = self.tper.as_ref().map(Tper::counters).unwrap_or_default();
        Counters {
            if_send: self.counted.if_send + now.if_send,
            if_recv: self.counted.if_recv + now.if_recv,
            sessions: self.counted.sessions + now.sessions,
        }
    }
}

/// A TPer at power-on, with the power cycle made durable.
fn restore(
    image: Image,
    stored: super::image::Stored,
) -> Result<(Tper<DrivePlatform>, u64), DriveError> {
    let profile = image.header().profile.clone();
    let power_cycles = stored.power_cycles + 1;
    let platform = DrivePlatform::new(Some(image), stored.vault, power_cycles);
    let mut tper = Tper::restore(profile, platform, &stored.tper)?;
    let state = tper.state();
    let DrivePlatform { image, vault, .. } = tper.platform_mut();
    let image = image.as_mut().ok_or(ImageError::Failed)?;
    // Both copies: power-on may have dropped wraps that locks make superfluous.
    image.commit(power_cycles, &state, vault, &Default::default(), true)?;
    Ok((tper, power_cycles))
}

impl Backend for Drive {
    fn identity(&self) -> DriveIdentity {
        self.identity.clone()
    }

    fn if_send(&self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), CommandStatus> {
        self.command(
            Command::IfSend,
            |core| core.settle(|tper| tper.if_send(protocol, specific, data).map_err(refusal)),
            |(), _| {},
        )
    }

    fn if_recv(&self, protocol: u8, specific: u16, len: usize) -> Result<Vec<u8>, CommandStatus> {
        self.command(
            Command::IfRecv,
            |core| core.tper()?.if_recv(protocol, specific, len).map_err(refusal),
            |answer, action| action.alter(answer),
        )
    }

    fn read(&self, lba: u64, data: &mut [u8]) -> Result<(), CommandStatus> {
        let read = self.command(
            Command::Read,
            |core| {
                let done = core.read(lba, &mut *data);
                done.map(|()| data)
            },
            |data, action| action.alter_in_place(data),
        );
        read.map(|_| ())
    }

    fn write(&self, lba: u64, data: &[u8]) -> Result<(), CommandStatus> {
        self.command(Command::Write, |core| core.write(lba, data), |(), _| {})
    }

    fn flush(&self) -> Result<(), CommandStatus> {
        self.command(Command::Flush, Core::flush, |(), _| {})
    }

    fn discard(&self, lba: u64, blocks: u64) -> Result<(), CommandStatus> {
        self.command(Command::Discard, |core| core.discard(lba, blocks), |(), _| {})
    }

    fn reset(&self, kind: ResetKind) {
        // An interface cannot refuse a reset; a failure shows in the next command.
        match kind {
            ResetKind::PowerCycle | ResetKind::HotPlug => drop(self.power_cycle()),
            ResetKind::Hardware => drop(self.hardware_reset()),
        }
    }
}

fn refusal(error: IfError) -> CommandStatus {
    match error {
        IfError::InvalidCommandParameter => CommandStatus::InvalidParameter,
        IfError::ProtocolViolation => CommandStatus::ProtocolViolation,
        IfError::InvalidTransferLength => CommandStatus::InvalidLength,
    }
}
