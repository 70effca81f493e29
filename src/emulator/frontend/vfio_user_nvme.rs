// SPDX-License-Identifier: MIT OR Apache-2.0
//! A PCI NVMe controller over vfio-user: the emulated drive as a drive of a virtual machine, which
//! its firmware can boot and whose loss of power (S3) its kernel notices.
//!
//! QEMU 10.1 and later attach it; the machine's memory must be shared:
//!
//! ```text
//! -object memory-backend-memfd,id=ram,size=1G,share=on -machine q35,memory-backend=ram
//! -device '{"driver":"vfio-user-pci","socket":{"path":"SOCKET","type":"unix"}}'
//! ```
//!
//! What is a TCG reset, and what is not (Core 2.01 table 128):
//!
//! | event | to the drive |
//! |---|---|
//! | the machine disconnects: it ended or was killed | power cycle |
//! | the machine resets the device: its start, a warm reboot, the end of S3 | hardware reset |
//! | function level reset by the guest | hardware reset |
//! | CC.EN from 1 to 0, shutdown notification (CC.SHN, which flushes), D3hot | nothing |
//!
//! **S3.** A suspended machine keeps its connection, and vfio-user has no message for the loss of
//! power. Who suspends the machine power-cycles the drive while it sleeps, by the control socket,
//! which ends in [`Handle::power_lost`]; the device reset at the end of S3 comes on top.
//!
//! One machine at a time; the next one waits. The peer on the socket is trusted with its own
//! memory and no more: a greeting that the vfio_user crate cannot digest ends the connection. What
//! a guest does through its machine is not trusted at all.

mod config;
mod function;
mod interrupts;
mod prp;
mod queue;
mod registers;
mod session;
mod status;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_IRQ_SET_DATA_NONE, VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, ServerBackend, ServerRegion};

use self::function::Function;
use super::super::backend::{Backend, ResetKind};
use super::guest_memory::Access;
use super::listen::{Listener, Stop};

/// How often a server whose machine is attached looks whether it should end.
const TURN: Duration = Duration::from_millis(100);

/// A server on a Unix socket.
pub struct Server {
    listener: Listener,
    function: Arc<Function>,
}

/// Tells a running server's controller about its drive.
#[derive(Clone)]
pub struct Handle {
    function: Arc<Function>,
}

impl Server {
    /// Listens on `socket` for a machine; the controller belongs to the subsystem with this NQN.
    ///
    /// # Errors
    /// The socket cannot be made, or is another server's.
    pub fn bind(socket: &Path, backend: Arc<dyn Backend>, subsystem: &str) -> io::Result<Self> {
        let listener = Listener::bind(socket)?;
        Ok(Self { listener, function: Function::new(backend, subsystem) })
    }

    /// A handle on the controller.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { function: Arc::clone(&self.function) }
    }

    /// A handle that ends [`run`](Self::run).
    #[must_use]
    pub fn stop_handle(&self) -> Stop {
        self.listener.stop_handle()
    }

    /// Serves one machine after another until stopped. The end of a machine is a loss of power.
    ///
    /// A machine that is attached when the server is stopped keeps a dead drive; the connection
    /// goes with the process.
    ///
    /// # Errors
    /// The listening socket failed.
    pub fn run(&self) -> io::Result<()> {
        let socket = self.listener.try_clone()?;
        let stop = self.stop_handle();
        while stop.wait_readable(&socket)? {
            self.machine(&socket, &stop)?;
        }
        Ok(())
    }

    /// Serves the machine that waits on `socket` until it goes or it is time to end.
    fn machine(&self, socket: &UnixListener, stop: &Stop) -> io::Result<()> {
        let protocol = vfio_user::Server::from_owned_fd(
            socket.try_clone()?.into(),
            true,
            interrupts_offered(),
            regions_offered(),
        );
        let mut machine = Machine { function: Arc::clone(&self.function), seen: false };
        let (sender, ended) = mpsc::channel();
        // The crate waits for messages without limit, so it waits in a thread that can be left.
        thread::Builder::new().name("vfio-user".to_owned()).spawn(move || {
            // It also panics on a greeting that is not text (0.1.7); that is the peer's loss.
            let served = panic::catch_unwind(AssertUnwindSafe(|| protocol.run(&mut machine)));
            // Nobody waits for a machine that outlived its server.
            let _ = sender.send((machine.seen, served.ok()));
        })?;
        let (seen, served) = loop {
            match ended.recv_timeout(TURN) {
                Ok(ended) => break ended,
                Err(RecvTimeoutError::Timeout) if stop.is_stopped() => {
                    self.function.retire();
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break (true, None),
            }
        };
        if seen {
            self.function.machine_gone();
        }
        match served {
            Some(Ok(())) => tracing::debug!("a machine disconnected"),
            Some(Err(error)) => tracing::debug!("a machine's connection ended: {error}"),
            None => tracing::warn!("a connection ended: its messages are not vfio-user"),
        }
        Ok(())
    }
}

impl Handle {
    /// The drive lost power and has it again: call this after the drive was told.
    ///
    /// The controller comes back disabled, as after power-on; a running guest finds it dead and
    /// resets it, a suspended one expects nothing else.
    pub fn power_lost(&self) {
        self.function.forget();
    }
}

/// One connection.
struct Machine {
    function: Arc<Function>,
    /// Something was asked: it is a machine, not a probe of the socket.
    seen: bool,
}

impl ServerBackend for Machine {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.seen = true;
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => self.function.read_registers(offset, data),
            VFIO_PCI_CONFIG_REGION_INDEX => self.function.read_config(offset, data),
            _ => data.fill(0xFF),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        self.seen = true;
        match region {
            VFIO_PCI_BAR0_REGION_INDEX => self.function.write_registers(offset, data),
            VFIO_PCI_CONFIG_REGION_INDEX => self.function.write_config(offset, data),
            _ => {}
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        file: Option<File>,
    ) -> io::Result<()> {
        self.seen = true;
        // What comes without a file (another device's BAR, video memory) cannot be reached from
        // here. It is accepted, or the machine would not start.
        let Some(file) = file else { return Ok(()) };
        let access = Access {
            read: flags.contains(DmaMapFlags::READ),
            write: flags.contains(DmaMapFlags::WRITE),
        };
        self.function.memory.map(address, size, file, offset, access)
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        self.seen = true;
        if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            self.function.memory.unmap_all();
            return Ok(());
        }
        self.function.memory.unmap(address, size)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.seen = true;
        self.function.reset(ResetKind::Hardware);
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        files: Vec<File>,
    ) -> io::Result<()> {
        self.seen = true;
        // Only MSI-X is offered; masking is the machine's, which takes a masked vector's event away.
        if index != VFIO_PCI_MSIX_IRQ_INDEX || flags & VFIO_IRQ_SET_ACTION_TRIGGER == 0 {
            return Ok(());
        }
        if flags & VFIO_IRQ_SET_DATA_NONE != 0 && count == 0 {
            self.function.interrupts.clear();
            return Ok(());
        }
        if flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
            return self.function.interrupts.assign(start, count, files);
        }
        Ok(())
    }
}

/// Every kind of interrupt by its index; only MSI-X has vectors.
fn interrupts_offered() -> Vec<IrqInfo> {
    let msi_x = |index| index == VFIO_PCI_MSIX_IRQ_INDEX;
    let count = |index| if msi_x(index) { u32::from(interrupts::VECTORS) } else { 0 };
    let flags = |index| if msi_x(index) { VFIO_IRQ_INFO_EVENTFD } else { 0 };
    (0..VFIO_PCI_NUM_IRQS)
        .map(|index| IrqInfo { index, flags: flags(index), count: count(index) })
        .collect()
}

/// Every region by its index; those of size 0 are absent.
fn regions_offered() -> Vec<ServerRegion> {
    let region = |index| {
        let size = match index {
            VFIO_PCI_BAR0_REGION_INDEX => registers::SIZE,
            VFIO_PCI_CONFIG_REGION_INDEX => config::SIZE,
            _ => 0,
        };
        let flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
        let region_info = vfio_region_info {
            argsz: u32::try_from(size_of::<vfio_region_info>()).unwrap_or(0),
            flags: if size > 0 { flags } else { 0 },
            index,
            size: size as u64,
            ..vfio_region_info::default()
        };
        ServerRegion { region_info, sparse_areas: Vec::new(), mmap_fd: None }
    };
    (0..VFIO_PCI_NUM_REGIONS).map(region).collect()
}
