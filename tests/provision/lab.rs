// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drive, lockbox and manager in one process, where every exchange and every durable write is a
//! place at which the host can die, and every operation of the drive's image one at which the
//! drive can.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opal::wire::print::Printer;
use opal::{Pin, Transport, TransportError, TransportErrorKind};
use opalbox::drive::sed::Sed;
use opalbox::drive::{Extent, RangeReport, RangeSpec};
use opalbox::emulator::Drive;
use opalbox::emulator::backend::{Backend as _, CommandStatus};
use opalbox::emulator::image::{MemoryDisk, Unsynced};
use opalbox::emulator::profile::{Choices, NamedProfile};
use opalbox::lockbox::provider::{Ask, Prompt, PromptError, ProviderConfig};
use opalbox::lockbox::{Faults, FileConfig, InitOptions, Lockbox, OpenOptions};
use opalbox::manager::{self, ManagerError, Target};
use opalbox::secret::Secret;

pub(crate) const SERIAL: &str = "CRASH0001";

/// What is provisioned: the first MiB, opened by User1.
pub(crate) const RANGE: RangeSpec =
    RangeSpec { number: 1, extent: Some(Extent { start: 0, length: 2048 }), user: 1 };

/// A new drive and an empty lockbox, from which every experiment starts.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    factory: MemoryDisk,
    copies: AtomicUsize,
}

/// One experiment: a drive, a lockbox, and what has been seen on the wire between them.
pub(crate) struct Bench {
    pub(crate) disk: MemoryDisk,
    pub(crate) drive: Option<Arc<Drive>>,
    pub(crate) store: PathBuf,
    pub(crate) drain: bool,
    wrong: Arc<Mutex<Wrong>>,
}

/// Where the host dies: at the `at`th point it passes. A dead host does nothing more.
#[derive(Default)]
pub(crate) struct Killer {
    at: Option<usize>,
    seen: AtomicUsize,
    dead: AtomicBool,
}

/// Attempts that the drive refused since its power came on, by authority.
#[derive(Default)]
pub(crate) struct Wrong(BTreeMap<String, u32>);

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with_profile("opal2-strict")
    }

    pub(crate) fn with_profile(profile: &str) -> Self {
        // Hundreds of small databases: in memory where that can be had. What a power cut does to the
        // host's own disk is not looked at here.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let config = ProviderConfig::File(FileConfig { memory_kib: 64, passes: 1, lanes: 1 });
        Lockbox::init(&dir.path().join("empty"), InitOptions::new(config, Arc::new(Person)))
            .unwrap();
        let factory = MemoryDisk::new();
        let choices = Choices {
            size: 2 << 20,
            block_size: 512,
            serial: Some(SERIAL.into()),
            ..Choices::default()
        };
        let header = NamedProfile::find(profile).unwrap().header(&choices).unwrap();
        let psid = Pin::new(PSID.as_bytes()).unwrap();
        Drive::manufacture(Box::new(factory.clone()), &header, &psid, 1).unwrap();
        Self { dir, factory, copies: AtomicUsize::new(0) }
    }

    /// A drive fresh from the factory and an empty lockbox.
    pub(crate) fn bench(&self) -> Bench {
        let disk = self.factory.after_power_loss(Unsynced::Kept);
        let store = self.copy_store(&self.dir.path().join("empty"));
        let mut bench = Bench { disk, drive: None, store, drain: false, wrong: Arc::default() };
        bench.power_on();
        bench
    }

    /// The same drive and lockbox once more, the drive just switched on.
    pub(crate) fn copy(&self, of: &Bench) -> Bench {
        let disk = of.disk.after_power_loss(Unsynced::Kept);
        let store = self.copy_store(&of.store);
        let mut bench = Bench { disk, drive: None, store, drain: false, wrong: Arc::default() };
        bench.power_on();
        bench
    }

    fn copy_store(&self, from: &Path) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let copy = self.copies.fetch_add(1, Ordering::SeqCst);
        let to = self.dir.path().join(format!("store-{copy}"));
        std::fs::create_dir(&to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o700)).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    }
}

/// The label of the laboratory's drives.
pub(crate) const PSID: &str = "LABELLABELLABELLABELLABELLABEL00";

impl Bench {
    /// Power comes on at what is on the disk.
    pub(crate) fn power_on(&mut self) {
        self.wrong.lock().unwrap().0.clear();
        let disk = Box::new(self.disk.clone());
        self.drive = Some(Arc::new(Drive::power_on(disk).unwrap()));
    }

    /// Power goes with whatever was not synced, and comes back.
    pub(crate) fn power_cycle(&mut self, unsynced: Unsynced) {
        self.drive = None;
        self.disk = self.disk.after_power_loss(unsynced);
        self.power_on();
    }

    pub(crate) fn drive(&self) -> &Drive {
        self.drive.as_ref().unwrap()
    }

    pub(crate) fn lockbox(&self) -> Lockbox {
        self.lockbox_until(&Arc::default())
    }

    fn lockbox_until(&self, killer: &Arc<Killer>) -> Lockbox {
        let killer = Arc::clone(killer);
        let options = OpenOptions {
            prompt: Arc::new(Person),
            faults: Faults::when(move |_| killer.dies()),
            ..OpenOptions::default()
        };
        Lockbox::open(&self.store, options).unwrap()
    }

    pub(crate) fn wire(&self, killer: &Arc<Killer>) -> Wire {
        Wire {
            drive: Arc::clone(self.drive.as_ref().unwrap()),
            killer: Arc::clone(killer),
            printer: Printer::new(),
            asked: String::new(),
            due: None,
            drain: self.drain,
            wrong: Arc::clone(&self.wrong),
        }
    }

    pub(crate) fn sed(&self, killer: &Arc<Killer>) -> Result<Sed<Wire>, ManagerError> {
        let identity = opal::host::Identity { serial: SERIAL.into(), model: "Lab".into() };
        Ok(Sed::open(self.wire(killer), identity, 4096, 512)?)
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            serial: SERIAL.into(),
            model: "Lab".into(),
            device: "sim:lab".into(),
            power_cycles: Some(self.drive().power_cycles()),
        }
    }

    /// What `opalbox drive provision` does, by a host that may die.
    pub(crate) fn provision(&self, killer: &Arc<Killer>) -> Result<Vec<RangeReport>, ManagerError> {
        let lockbox = self.lockbox_until(killer);
        let mut sed = self.sed(killer)?;
        manager::provision(&mut sed, &self.target(), &[RANGE], &lockbox, &mut |_| ())
    }

    /// What `opalbox drive verify` finds.
    pub(crate) fn verify(&self) -> Vec<String> {
        let mut sed = self.sed(&Arc::default()).unwrap();
        manager::verify(&mut sed, &self.target(), &self.lockbox()).unwrap()
    }

    /// Most refused attempts of any authority since power came on.
    pub(crate) fn most_wrong(&self) -> u32 {
        self.wrong.lock().unwrap().0.values().copied().max().unwrap_or(0)
    }
}

impl Killer {
    pub(crate) fn at(point: usize) -> Arc<Self> {
        Arc::new(Self { at: Some(point), ..Self::default() })
    }

    /// Points passed so far.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Passes a point; `true` if the host is dead behind it.
    fn dies(&self) -> bool {
        if self.is_dead() {
            return true;
        }
        let dies = self.at == Some(self.seen.fetch_add(1, Ordering::SeqCst));
        if dies {
            self.dead.store(true, Ordering::SeqCst);
        }
        dies
    }
}

/// The path to the drive: two points for each command, and an eye on refused attempts.
pub(crate) struct Wire {
    drive: Arc<Drive>,
    killer: Arc<Killer>,
    printer: Printer,
    asked: String,
    /// An answer that nobody fetched yet: protocol and ComID.
    due: Option<(u8, u16)>,
    drain: bool,
    wrong: Arc<Mutex<Wrong>>,
}

impl Wire {
    fn pass(&self) -> Result<(), TransportError> {
        match self.killer.dies() {
            true => Err(TransportError::new(TransportErrorKind::Gone, "the host died")),
            false => Ok(()),
        }
    }

    /// Counts what the drive said no to.
    fn look(&mut self, protocol: u8, specific: u16, answer: &[u8]) {
        let said = self.printer.received(protocol, specific, answer).to_string();
        let refused = said.contains("SyncSession: NOT_AUTHORIZED")
            || self.asked.contains("Authenticate") && said.contains("0 (False)");
        assert!(!said.contains("AUTHORITY_LOCKED_OUT"), "locked out: {said}");
        let after =
            |marker: &str| Some(self.asked.split(marker).nth(1)?.lines().next()?.to_owned());
        let who = after("HostSigningAuthority (0x3) = ").or_else(|| after("Authority = "));
        if let (true, Some(who)) = (refused, who) {
            *self.wrong.lock().unwrap().0.entry(who).or_default() += 1;
        }
    }
}

impl Drop for Wire {
    /// In every other experiment the answer to a dead host is looked at, so that each refused
    /// attempt is counted; in the others it stays in the drive for the next host to stumble on.
    fn drop(&mut self) {
        if let (Some((protocol, specific)), true) = (self.due, self.drain)
            && let Ok(answer) = self.drive.if_recv(protocol, specific, 64 << 10)
        {
            self.look(protocol, specific, &answer);
        }
    }
}

impl Transport for Wire {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        self.pass()?;
        self.asked = self.printer.sent(protocol, specific, data).to_string();
        self.drive.if_send(protocol, specific, data).map_err(refused)?;
        self.due = Some((protocol, specific));
        self.pass()
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        self.pass()?;
        let answer = self.drive.if_recv(protocol, specific, buffer.len()).map_err(refused)?;
        self.due = None;
        self.look(protocol, specific, &answer);
        self.pass()?;
        buffer.fill(0);
        let length = answer.len().min(buffer.len());
        buffer[..length].copy_from_slice(&answer[..length]);
        Ok(length)
    }

    fn pause(&mut self, _: Duration) {}
}

struct Person;

impl Prompt for Person {
    fn ask(&self, _: &Ask<'_>) -> Result<Secret, PromptError> {
        Ok(Secret::from_slice(b"correct horse battery staple"))
    }
}

fn refused(status: CommandStatus) -> TransportError {
    let kind = match status {
        CommandStatus::InvalidParameter => TransportErrorKind::InvalidCommand,
        CommandStatus::ProtocolViolation => TransportErrorKind::ProtocolViolation,
        CommandStatus::InvalidLength => TransportErrorKind::InvalidLength,
        _ => TransportErrorKind::Failed,
    };
    TransportError::new(kind, format!("the drive says {status:?}"))
}
