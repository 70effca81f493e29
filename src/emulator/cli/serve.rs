// SPDX-License-Identifier: MIT OR Apache-2.0
//! `serve`: powers a drive on and lets front-ends at it until a signal comes.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::super::Drive;
use super::super::backend::Backend;
use super::super::control::ControlServer;
use super::super::frontend::listen::Stop;
use super::super::frontend::nvme_tcp::Target;
use super::super::frontend::sim::SimTarget;
use super::super::frontend::vfio_user_nvme;
use super::super::frontend::vhost_user_scsi::Server;
use super::{CliError, file_error};

/// How often sessions are looked at for their time-outs.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("front-ends").required(true).multiple(true)))]
#[command(group(clap::ArgGroup::new("nvme-front-ends").multiple(true)))]
pub(super) struct Serve {
    /// The image file. No other process can serve it meanwhile.
    image: PathBuf,
    /// Serve the sim socket here: any process of this user is a host.
    #[arg(long, group = "front-ends")]
    sim: Option<PathBuf>,
    /// Be an NVMe/TCP target at ADDRESS:PORT; port 0 takes a free one, which is printed.
    #[arg(long, groups = ["front-ends", "nvme-front-ends"], value_name = "ADDRESS:PORT")]
    nvme_tcp: Option<SocketAddr>,
    /// Name of the NVMe subsystem; made from the serial number if left out.
    #[arg(long, requires = "nvme-front-ends")]
    nqn: Option<String>,
    /// Serve a SCSI disk to QEMU's vhost-user-scsi-pci on this socket. The end of QEMU is a loss of
    /// power.
    #[arg(long, group = "front-ends", value_name = "SOCKET")]
    vhost_user_scsi: Option<PathBuf>,
    /// The SCSI disk is a SATA drive behind a translation layer.
    #[arg(long, requires = "vhost_user_scsi")]
    sat: bool,
    /// Serve a PCI NVMe controller to QEMU's vfio-user-pci on this socket. The end of QEMU is a
    /// loss of power; a reset of the machine is a hardware reset; a machine that suspends to RAM
    /// keeps its connection, so power-cycle the drive by the control socket while it sleeps.
    #[arg(long, groups = ["front-ends", "nvme-front-ends"], value_name = "SOCKET")]
    vfio_user_nvme: Option<PathBuf>,
    /// Serve the control socket here.
    #[arg(long)]
    control: Option<PathBuf>,
}

/// What ends the command.
enum Event {
    Signal,
    Ended(PathBuf, io::Result<()>),
}

impl Serve {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), CliError> {
        // Before anything is there to be killed half-way.
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let drive = Arc::new(Drive::open(&self.image)?);
        let (events, inbox) = mpsc::channel();
        let mut running = Running::default();

        // The control socket first: who sees the data socket can rely on it.
        if let Some(path) = &self.control {
            let server = ControlServer::bind(path, Arc::clone(&drive))
                .map_err(|error| file_error(path, error))?;
            let stop = server.stop_handle();
            running.start(path.clone(), stop, &events, move || server.run())?;
        }
        if let Some(path) = &self.sim {
            let target = SimTarget::bind(path, Arc::clone(&drive))
                .map_err(|error| file_error(path, error))?;
            let stop = target.stop_handle();
            running.start(path.clone(), stop, &events, move || target.run())?;
        }
        if let Some(address) = self.nvme_tcp {
            let name = PathBuf::from(address.to_string());
            let backend: Arc<dyn Backend> = Arc::clone(&drive) as _;
            let nqn = self.subsystem(&drive);
            let target =
                Target::bind(address, backend, &nqn).map_err(|error| file_error(&name, error))?;
            writeln!(out, "nvme-tcp {} {nqn}", target.local_addr()?)?;
            // Who loses power loses its connections.
            let connections = target.handle();
            drive.on_power_cycle(move || connections.disconnect());
            let stop = target.stop_handle();
            running.start(name, stop, &events, move || target.run())?;
        }
        if let Some(path) = &self.vhost_user_scsi {
            let backend: Arc<dyn Backend> = Arc::clone(&drive) as _;
            let server =
                Server::bind(path, backend, self.sat).map_err(|error| file_error(path, error))?;
            let stop = server.stop_handle();
            running.start(path.clone(), stop, &events, move || server.run())?;
        }
        if let Some(path) = &self.vfio_user_nvme {
            let backend: Arc<dyn Backend> = Arc::clone(&drive) as _;
            let nqn = self.subsystem(&drive);
            let server = vfio_user_nvme::Server::bind(path, backend, &nqn)
                .map_err(|error| file_error(path, error))?;
            let controller = server.handle();
            drive.on_power_cycle(move || controller.power_lost());
            let stop = server.stop_handle();
            running.start(path.clone(), stop, &events, move || server.run())?;
        }
        let handle = signals.handle();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if signals.forever().next().is_some() {
                let _ = events.send(Event::Signal);
            }
        })?;

        let header = drive.header();
        writeln!(
            out,
            "{} {} is on (power cycle {})",
            header.model,
            header.serial,
            drive.power_cycles()
        )?;
        out.flush()?;

        let ended = wait(&drive, &inbox);
        running.stop();
        handle.close();
        // What hosts were told is written is on disk before power goes.
        let _ = drive.flush();
        ended
    }
}

impl Serve {
    /// The name of the NVMe subsystem.
    fn subsystem(&self, drive: &Drive) -> String {
        self.nqn.clone().unwrap_or_else(|| {
            let serial = drive.header().serial.trim().to_ascii_lowercase();
            format!("nqn.2026-01.io.github.opalbox:{serial}")
        })
    }
}

/// Lets time pass for the drive until something ends the command.
fn wait(drive: &Drive, inbox: &mpsc::Receiver<Event>) -> Result<(), CliError> {
    let mut last = Instant::now();
    loop {
        match inbox.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {
                drive.tick(last.elapsed());
                last = Instant::now();
            }
            Ok(Event::Signal) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(Event::Ended(_, Ok(()))) => return Ok(()),
            Ok(Event::Ended(path, Err(error))) => return Err(file_error(&path, error)),
        }
    }
}

/// The threads that serve, each with what stops it.
#[derive(Default)]
struct Running(Vec<(Stop, thread::JoinHandle<()>)>);

impl Running {
    fn start(
        &mut self,
        path: PathBuf,
        stop: Stop,
        events: &Sender<Event>,
        run: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let events = events.clone();
        let thread = thread::Builder::new().name("front-end".to_owned()).spawn(move || {
            let ended = run();
            // The command may be over already.
            let _ = events.send(Event::Ended(path, ended));
        })?;
        self.0.push((stop, thread));
        Ok(())
    }

    fn stop(self) {
        for (stop, _) in &self.0 {
            stop.stop();
        }
        for (_, thread) in self.0 {
            // Its listener is gone, and with it the socket's name.
            let _ = thread.join();
        }
    }
}
