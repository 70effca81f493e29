// SPDX-License-Identifier: MIT OR Apache-2.0
//! One guest: what it is made of, one boot, and what came of it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::artifacts::{Artifacts, Kernel, KernelImage, QemuRelease};
use crate::cpio::Archive;
use crate::error::{Context as _, Error};
use crate::image;
use crate::qemu::{self, Accelerator};
use crate::results::{self, Row};
use crate::serial::{self, Event, Shared, Transcript};
use crate::tpm::Tpm;

/// A boot that has not reached userspace by then is tried again. It takes 3 s on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
const BOOT_ATTEMPTS: u32 = 3;
/// How long QEMU may take to end after the script has.
const POWEROFF_LIMIT: Duration = Duration::from_secs(10);

/// Answers `host WORDS` of a script: `Ok` gives code 0, `Err` code 1, with the text printed.
pub(crate) type HostCalls = Box<dyn FnMut(&str) -> Result<String, String> + Send>;

/// How a guest reaches a drive.
#[derive(Debug, Clone)]
pub enum Drive {
    /// A vhost-user-scsi server on a Unix socket: `/dev/sda`, `/dev/sg0`.
    VhostUserScsi(PathBuf),
    /// A vfio-user PCI function on a Unix socket: `/dev/nvme0`. Needs [`QemuRelease::Backports`].
    VfioUserNvme(PathBuf),
    /// An NVMe/TCP target on the host's loopback, attached before the script: `/dev/nvme0`.
    NvmeTcp {
        /// Port on 127.0.0.1 of the host.
        port: u16,
        /// Name of the subsystem.
        nqn: String,
    },
    /// An NBD server on a Unix socket, seen as virtio-blk: `/dev/vda`.
    Nbd(PathBuf),
    /// A raw image file, seen as virtio-blk: `/dev/vda`.
    Image(PathBuf),
}

/// What a step's exit code should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// `step`: zero.
    Passes,
    /// `refuse`: anything but zero.
    Fails,
    /// `try`: whatever it is.
    Any,
}

/// One `step`, `refuse` or `try` of a script.
#[derive(Debug, Clone)]
pub struct Step {
    /// The name the script gave it.
    pub name: String,
    /// What it should do.
    pub expectation: Expectation,
    /// Its exit code; `None` if it never ended.
    pub exit: Option<i32>,
    /// What it printed.
    pub output: String,
    /// Duration by the guest's clock, to 10 ms.
    pub seconds: f64,
}

impl Step {
    /// Whether it did what was expected of it.
    #[must_use]
    pub fn passed(&self) -> bool {
        match (self.expectation, self.exit) {
            (_, None) => false,
            (Expectation::Passes, Some(code)) => code == 0,
            (Expectation::Fails, Some(code)) => code != 0,
            (Expectation::Any, Some(_)) => true,
        }
    }
}

/// What a guest that ran its script to the end left behind.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Exit code of the script.
    pub exit: i32,
    /// Release of the kernel that ran.
    pub kernel: String,
    /// The script's output with a line before and after each step.
    pub log: String,
    /// The kernel's console.
    pub console: String,
    /// Every step, in order.
    pub steps: Vec<Step>,
    /// Boots it took; more than one only if userspace never came up before.
    pub boots: u32,
    /// Wall clock from the start of QEMU to its end, last boot.
    pub elapsed: Duration,
}

impl Outcome {
    /// Whether the script ended with zero and every step did what was expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.exit == 0 && self.steps.iter().all(Step::passed)
    }

    /// # Panics
    /// When the script or a step failed; the message is the whole log.
    pub fn assert_passed(&self) {
        assert!(self.passed(), "the script ended with {}\n{}", self.exit, self.report());
    }

    /// The output of the step called `name`.
    ///
    /// # Panics
    /// When there is no such step.
    #[must_use]
    pub fn output(&self, name: &str) -> &str {
        let step = self.steps.iter().find(|step| step.name == name);
        step.map_or_else(|| panic!("no step {name:?}\n{}", self.report()), |step| &step.output)
    }

    /// The log, and the kernel's last words.
    #[must_use]
    pub fn report(&self) -> String {
        report(&self.log, &self.console)
    }
}

/// A guest ready to run. Built by [`Guest::builder`].
pub struct Guest {
    settings: GuestBuilder,
}

/// Says what a guest is made of; everything but the name has a default.
pub struct GuestBuilder {
    name: String,
    artifacts: Artifacts,
    kernel: Kernel,
    release: QemuRelease,
    drives: Vec<Drive>,
    modules: Vec<String>,
    programs: Vec<PathBuf>,
    files: Vec<(String, Vec<u8>)>,
    arguments: Vec<String>,
    append: String,
    memory: u32,
    network: bool,
    tpm: bool,
    row: Option<Row>,
    script: String,
    timeout: Duration,
    calls: Option<HostCalls>,
    accelerator: Option<Accelerator>,
}

impl Guest {
    /// Begins a guest; `name` also names its log, `target/vm/logs/NAME.log`.
    #[must_use]
    pub fn builder(name: &str) -> GuestBuilder {
        GuestBuilder {
            name: name.to_owned(),
            artifacts: Artifacts::of_workspace(),
            kernel: Kernel::V6_12,
            release: QemuRelease::Backports,
            drives: Vec::new(),
            modules: Vec::new(),
            programs: Vec::new(),
            files: Vec::new(),
            arguments: Vec::new(),
            append: String::new(),
            memory: 512,
            network: false,
            tpm: false,
            row: None,
            script: String::new(),
            timeout: Duration::from_secs(300),
            calls: None,
            accelerator: None,
        }
    }

    /// Whether an empty guest comes up under KVM within a few seconds.
    pub(crate) fn probe(artifacts: &Artifacts) -> Result<bool, Error> {
        let mut guest = Self::builder("kvm-probe").script("true").build();
        guest.settings.artifacts = artifacts.clone();
        guest.settings.accelerator = Some(Accelerator::Kvm);
        let made = guest.make()?;
        let mut calls = no_calls();
        let limits = (Duration::from_secs(10), Duration::from_secs(15));
        Ok(matches!(guest.boot(&made, Accelerator::Kvm, limits, &mut calls)?, Boot::Ended(..)))
    }

    /// Boots, runs the script, powers off.
    ///
    /// A boot that never reached userspace is repeated, and the log says so; nothing else is.
    ///
    /// # Errors
    /// Whatever kept the script from ending; a script that ends with a failure is an [`Outcome`].
    pub fn run(mut self) -> Result<Outcome, Error> {
        let accelerator = match self.settings.accelerator {
            Some(accelerator) => accelerator,
            None => qemu::accelerator(&self.settings.artifacts)?,
        };
        let cache = self.settings.artifacts.folder().to_owned();
        if let Some(row) = &self.settings.row {
            results::forget(&cache, row);
        }
        let made = self.make()?;
        let mut calls = self.settings.calls.take().unwrap_or_else(no_calls);
        let mut early = String::new();
        for attempt in 1..=BOOT_ATTEMPTS {
            let limits = (BOOT_LIMIT, self.settings.timeout);
            match self.boot(&made, accelerator, limits, &mut calls)? {
                Boot::Ended(exit, transcript, console, elapsed) => {
                    let outcome = Outcome {
                        exit,
                        kernel: transcript.kernel,
                        log: format!("{early}{}", transcript.log),
                        console,
                        steps: transcript.steps,
                        boots: attempt,
                        elapsed,
                    };
                    self.keep(&outcome.report());
                    if let Some(row) = &self.settings.row {
                        results::keep(&cache, row, &outcome)?;
                    }
                    return Ok(outcome);
                }
                Boot::NeverUp(why, console) => {
                    let _ = writeln!(
                        early,
                        "(boot {attempt} never reached userspace: {why})\n{}",
                        tail(&console, 40)
                    );
                }
                Boot::Died(why, transcript, console) => {
                    let log = report(&format!("{early}{}", transcript.log), &console);
                    self.keep(&log);
                    return Err(Error::GuestDied { why, log });
                }
                Boot::TimedOut(transcript, console) => {
                    let log = report(&format!("{early}{}", transcript.log), &console);
                    self.keep(&log);
                    return Err(Error::TimedOut { after: self.settings.timeout, log });
                }
            }
        }
        self.keep(&early);
        Err(Error::NoBoot { attempts: BOOT_ATTEMPTS, log: early })
    }

    /// Collects the parts and writes the initramfs.
    fn make(&self) -> Result<Made, Error> {
        let settings = &self.settings;
        let kernel = settings.artifacts.kernel(settings.kernel)?;
        let tools = settings.artifacts.tools()?;
        let root = settings.artifacts.qemu(settings.release)?;
        let folder = tempfile::Builder::new().prefix("vm-").tempdir();
        let folder = folder.context("creating the guest's folder")?;
        let initrd = folder.path().join("initrd");
        let mut out = File::create(&initrd).context("creating the initramfs")?;
        for part in [&tools, &kernel.modules] {
            let mut part = File::open(part).context(format!("opening {}", part.display()))?;
            io::copy(&mut part, &mut out).context("writing the initramfs")?;
        }
        let mut archive = Archive::new(io::BufWriter::new(out));
        let packed = "packing the guest's own files";
        archive.file("init", 0o755, include_bytes!("../guest/init")).context(packed)?;
        archive.file("vm/lib", 0o644, include_bytes!("../guest/lib")).context(packed)?;
        archive.file("vm/script", 0o644, settings.script.as_bytes()).context(packed)?;
        let lines = settings.guest_settings(&kernel);
        archive.file("vm/settings", 0o644, lines.as_bytes()).context(packed)?;
        for (path, data) in &settings.files {
            archive.file(path.trim_start_matches('/'), 0o644, data).context(packed)?;
        }
        for program in &settings.programs {
            image::host_program(&mut archive, program)?;
        }
        archive.finish().context(packed)?;
        Ok(Made { folder, initrd, kernel, root })
    }

    fn boot(
        &self,
        made: &Made,
        accelerator: Accelerator,
        (boot_limit, timeout): (Duration, Duration),
        calls: &mut HostCalls,
    ) -> Result<Boot, Error> {
        let socket = made.folder.path().join("serial");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).context("binding the serial line")?;
        listener.set_nonblocking(true).context("preparing the serial line")?;
        let started = Instant::now();
        let mut command = qemu::command(&made.root);
        self.settings.machine(&mut command, made, accelerator, &socket);
        let tpm = self.settings.tpm.then(|| Tpm::start(made.folder.path())).transpose()?;
        if let Some(tpm) = &tpm {
            command.args(tpm.arguments());
        }
        let mut child = command.spawn().context("starting QEMU through setpriv")?;
        let console = Arc::<Mutex<String>>::default();
        let errors = Arc::<Mutex<String>>::default();
        let readers = [
            child.stdout.take().map(|pipe| collect(pipe, &console)),
            child.stderr.take().map(|pipe| collect(pipe, &errors)),
        ];
        let mut guard = Killed(child);
        let shared = Shared::default();
        let (sender, events) = mpsc::channel();
        let ending = thread::scope(|scope| {
            let line = match accept(&listener, &mut guard.0, boot_limit) {
                Ok(line) => line,
                Err(why) => return Ending::NeverUp(why),
            };
            scope.spawn(|| serial::follow(line, &shared, &sender, calls));
            let ending = wait(&events, &mut guard.0, started, boot_limit, timeout);
            // Closes the line, which ends its reader.
            guard.end();
            ending
        });
        guard.end();
        drop(tpm);
        for reader in readers.into_iter().flatten() {
            // It ends with the pipe; a panic there has lost the console, not the verdict.
            let _ = reader.join();
        }
        let elapsed = started.elapsed();
        let transcript = serial::snapshot(&shared);
        let console = console.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let errors = errors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(match ending {
            Ending::Exit(code) => Boot::Ended(code, transcript, console, elapsed),
            Ending::NeverUp(why) => Boot::NeverUp(format!("{why}; {}", errors.trim()), console),
            Ending::TimedOut => Boot::TimedOut(transcript, console),
            Ending::Died(why) => {
                Boot::Died(format!("{why}; {}", errors.trim()), transcript, console)
            }
        })
    }

    /// Keeps a log for people; a test's verdict does not depend on it.
    fn keep(&self, log: &str) {
        let folder = self.settings.artifacts.folder().join("logs");
        let _ = fs::create_dir_all(&folder);
        let _ = fs::write(folder.join(format!("{}.log", self.settings.name)), log);
    }
}

impl GuestBuilder {
    /// The kernel; [`Kernel::V6_12`] unless told.
    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// The QEMU; [`QemuRelease::Backports`] unless told.
    #[must_use]
    pub fn qemu(mut self, release: QemuRelease) -> Self {
        self.release = release;
        self
    }

    /// Adds a drive.
    #[must_use]
    pub fn drive(mut self, drive: Drive) -> Self {
        self.network |= matches!(drive, Drive::NvmeTcp { .. });
        self.drives.push(drive);
        self
    }

    /// Connects the guest to the host's loopback, which it sees as 10.0.2.2.
    #[must_use]
    pub fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// Keeps the result for the page of results: whose client reaches the drive by which path. The
    /// test's name is the calling thread's.
    #[must_use]
    pub fn row(mut self, client: &str, path: &str) -> Self {
        let test = thread::current().name().unwrap_or("unnamed").to_owned();
        self.row = Some(Row { client: client.to_owned(), path: path.to_owned(), test });
        self
    }

    /// Gives the guest a TPM 2.0 of its own, in factory state: `/dev/tpmrm0`. Needs swtpm.
    #[must_use]
    pub fn tpm(mut self) -> Self {
        self.tpm = true;
        self.modules.push("tpm_crb".to_owned());
        self
    }

    /// Loads a module before the script; one that is built in is passed over.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Adds a program built on this host; the guest finds it on its path.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.programs.push(path.into());
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: &str, data: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), data.into()));
        self
    }

    /// Adds an argument of QEMU.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Adds to the kernel's command line.
    #[must_use]
    pub fn append(mut self, text: &str) -> Self {
        self.append.push(' ');
        self.append.push_str(text);
        self
    }

    /// Memory in MiB; 512 unless told.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// The shell script (busybox `sh`) with `step`, `refuse`, `try` and `host`; see `guest/lib`.
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        self.script.push_str(script);
        self.script.push('\n');
        self
    }

    /// Limit for the script, counted from the first sign of userspace; 300 s unless told.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Answers `host WORDS` of the script, for instance by cutting a drive's power.
    #[must_use]
    pub fn on_host_call(
        mut self,
        calls: impl FnMut(&str) -> Result<String, String> + Send + 'static,
    ) -> Self {
        self.calls = Some(Box::new(calls));
        self
    }

    /// The guest.
    #[must_use]
    pub fn build(self) -> Guest {
        Guest { settings: self }
    }

    /// [`Guest::run`].
    ///
    /// # Errors
    /// As there.
    pub fn run(self) -> Result<Outcome, Error> {
        self.build().run()
    }

    fn guest_settings(&self, kernel: &KernelImage) -> String {
        // No udev runs in the guest, so the bus comes before what is on it.
        let mut modules = vec!["virtio_pci"];
        modules.extend(self.modules.iter().map(String::as_str));
        if self.network {
            modules.push("virtio_net");
        }
        let mut attach = ":".to_owned();
        for drive in &self.drives {
            match drive {
                Drive::VhostUserScsi(_) => modules.extend(["virtio_scsi", "sd_mod", "sg"]),
                Drive::VfioUserNvme(_) => modules.push("nvme"),
                Drive::Nbd(_) | Drive::Image(_) => modules.push("virtio_blk"),
                Drive::NvmeTcp { port, nqn } => {
                    modules.push("nvme_tcp");
                    attach = format!("step attach nvme_tcp_connect 10.0.2.2 {port} {nqn}");
                }
            }
        }
        modules.retain(|name| kernel.loadable.iter().any(|module| module == name));
        format!(
            "MODULES='{}'\nNETWORK='{}'\nATTACH='{attach}'\n",
            modules.join(" "),
            if self.network { "yes" } else { "" },
        )
    }

    fn machine(
        &self,
        command: &mut std::process::Command,
        made: &Made,
        accelerator: Accelerator,
        socket: &Path,
    ) {
        match accelerator {
            Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
            // Five-level paging only slows emulation down.
            Accelerator::Tcg => command.args(["-accel", "tcg", "-cpu", "max,la57=off"]),
        };
        let memory = self.memory;
        command
            .args(["-machine", "q35,memory-backend=ram", "-m", &memory.to_string(), "-no-reboot"])
            // Shared, because vhost-user and vfio-user servers map it.
            .args(["-object", &format!("memory-backend-memfd,id=ram,size={memory}M,share=on")])
            .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            .args(["-chardev", &format!("socket,id=script,path={}", socket.display())])
            .args(["-serial", "chardev:script"])
            .arg("-kernel")
            .arg(&made.kernel.vmlinuz)
            .arg("-initrd")
            .arg(&made.initrd)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 panic=-1 mitigations=off random.trust_cpu=on{}",
                self.append
            ));
        if self.network {
            command.args(["-nic", "user,model=virtio-net-pci"]);
        }
        for (number, drive) in self.drives.iter().enumerate() {
            let id = format!("drive{number}");
            match drive {
                Drive::VhostUserScsi(path) => {
                    command
                        .args(["-chardev", &format!("socket,id={id},path={}", path.display())])
                        // One queue: more than one per CPU hangs a guest of one CPU.
                        .args([
                            "-device",
                            &format!("vhost-user-scsi-pci,chardev={id},num_queues=1"),
                        ])
                }
                Drive::VfioUserNvme(path) => command.arg("-device").arg(format!(
                    r#"{{"driver":"vfio-user-pci","socket":{{"path":"{}","type":"unix"}}}}"#,
                    path.display()
                )),
                Drive::Nbd(path) => command.arg("-drive").arg(format!(
                    "driver=nbd,server.type=unix,server.path={},if=virtio",
                    path.display()
                )),
                Drive::Image(path) => command.arg("-drive").arg(format!(
                    "driver=raw,file.driver=file,file.filename={},if=virtio",
                    path.display()
                )),
                Drive::NvmeTcp { .. } => command,
            };
        }
        command.args(&self.arguments);
    }
}

/// The parts of a guest on the host's disk; the folder goes with it.
struct Made {
    folder: tempfile::TempDir,
    initrd: PathBuf,
    kernel: KernelImage,
    root: PathBuf,
}

enum Boot {
    Ended(i32, Transcript, String, Duration),
    NeverUp(String, String),
    Died(String, Transcript, String),
    TimedOut(Transcript, String),
}

enum Ending {
    Exit(i32),
    NeverUp(String),
    Died(String),
    TimedOut,
}

/// A child that does not outlive its owner.
struct Killed(Child);

impl Killed {
    fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.end();
    }
}

fn no_calls() -> HostCalls {
    Box::new(|call| Err(format!("nobody answers {call:?}")))
}

fn accept(
    listener: &UnixListener,
    child: &mut Child,
    limit: Duration,
) -> Result<UnixStream, String> {
    let from = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                return match stream.set_nonblocking(false) {
                    Ok(()) => Ok(stream),
                    Err(error) => Err(format!("serial line: {error}")),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("serial line: {error}")),
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("QEMU ended with {status}"));
        }
        if from.elapsed() > limit {
            return Err("QEMU did not open the serial line".to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn wait(
    events: &Receiver<Event>,
    child: &mut Child,
    started: Instant,
    boot_limit: Duration,
    timeout: Duration,
) -> Ending {
    // A slow machine boots slowly; that is not the script's fault.
    let mut deadline = started + boot_limit;
    let mut up = false;
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Up) => {
                up = true;
                deadline = Instant::now() + timeout;
            }
            Ok(Event::Exit(code)) => {
                wind_down(child);
                return Ending::Exit(code);
            }
            Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => {
                let status = child.wait().map(|status| status.to_string()).unwrap_or_default();
                let why = format!("QEMU ended with {status}");
                return if up { Ending::Died(why) } else { Ending::NeverUp(why) };
            }
            Err(RecvTimeoutError::Timeout) if up => return Ending::TimedOut,
            Err(RecvTimeoutError::Timeout) => {
                return Ending::NeverUp(format!("nothing heard for {boot_limit:?}"));
            }
        }
    }
}

/// Lets the guest power itself off; the caller kills what is left.
fn wind_down(child: &mut Child) {
    let from = Instant::now();
    while from.elapsed() < POWEROFF_LIMIT {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn collect(
    mut pipe: impl io::Read + Send + 'static,
    into: &Arc<Mutex<String>>,
) -> thread::JoinHandle<()> {
    let into = Arc::clone(into);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count) = pipe.read(&mut buffer) {
            let Some(data) = buffer.get(..count).filter(|data| !data.is_empty()) else { return };
            let mut text = into.lock().unwrap_or_else(PoisonError::into_inner);
            if text.len() < 4 << 20 {
                text.push_str(&String::from_utf8_lossy(data));
            }
        }
    })
}

fn report(log: &str, console: &str) -> String {
    format!("{log}\n---- the kernel's console, last lines ----\n{}", tail(console, 60))
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}
