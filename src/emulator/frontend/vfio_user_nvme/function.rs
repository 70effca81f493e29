// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PCI function: registers and configuration space in front, sessions behind, and what each
//! kind of reset does to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::config::{self, ConfigSpace};
use super::interrupts::Interrupts;
use super::registers::{self, Configuration, Effect, Registers};
use super::session::Session;
use crate::emulator::backend::{Backend, ResetKind};
use crate::emulator::frontend::guest_memory::GuestMemory;
use crate::emulator::nvme::{Attachment, Controller};

/// How long a reset waits for commands that the drive is executing.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// One controller as the machine sees it.
pub(super) struct Function {
    backend: Arc<dyn Backend>,
    controller: Arc<Controller>,
    pub(super) memory: Arc<GuestMemory>,
    pub(super) interrupts: Arc<Interrupts>,
    state: Mutex<State>,
}

struct State {
    config: ConfigSpace,
    registers: Registers,
    session: Option<Arc<Session>>,
    /// The last session, until its last command is done: CSTS.RDY stays set that long.
    draining: Option<Arc<Session>>,
    /// The controller could not be enabled.
    fatal: bool,
    /// The server ends while its machine is still there.
    retired: bool,
    shutdown: Shutdown,
}

/// Progress of a shutdown that CC.SHN announced.
#[derive(Debug, Default)]
struct Shutdown {
    announced: bool,
    /// A thread is flushing, for this announcement or an older one.
    flushing: bool,
    /// It is to flush once more.
    again: bool,
}

impl Function {
    pub(super) fn new(backend: Arc<dyn Backend>, subsystem: &str) -> Arc<Self> {
        let vendor = config::VENDOR;
        let attachment = Attachment::Pci { vendor, subsystem_vendor: vendor };
        let controller = Controller::new(Arc::clone(&backend), 1, subsystem, attachment);
        Arc::new(Self {
            backend,
            controller: Arc::new(controller),
            memory: Arc::default(),
            interrupts: Arc::new(Interrupts::new()),
            state: Mutex::new(State {
                config: ConfigSpace::new(),
                registers: Registers::default(),
                session: None,
                draining: None,
                fatal: false,
                retired: false,
                shutdown: Shutdown::default(),
            }),
        })
    }

    pub(super) fn read_config(&self, offset: u64, data: &mut [u8]) {
        self.lock().config.read(offset, data);
    }

    pub(super) fn write_config(&self, offset: u64, data: &[u8]) {
        let mut state = self.lock();
        if state.retired {
            return;
        }
        let asked = state.config.write(offset, data);
        self.memory.set_bus_master(state.config.bus_master());
        drop(state);
        if asked == config::Asked::FunctionReset {
            self.reset(ResetKind::Hardware);
        }
    }

    pub(super) fn read_registers(&self, offset: u64, data: &mut [u8]) {
        let mut state = self.lock();
        let status = state.status();
        state.registers.read(status, offset, data);
    }

    /// A write of one or two aligned dwords; others have no effect (NVMe Base 1.4 §3.1).
    pub(super) fn write_registers(self: &Arc<Self>, offset: u64, data: &[u8]) {
        let (dwords, rest) = data.as_chunks::<4>();
        if !offset.is_multiple_of(4) || !rest.is_empty() || dwords.len() > 2 {
            return;
        }
        let mut state = self.lock();
        if state.retired {
            return;
        }
        for (n, dword) in (0_u64..).zip(dwords) {
            let Some(offset) = offset.checked_add(n * 4) else { return };
            match state.registers.write(offset, u32::from_le_bytes(*dword)) {
                Effect::Nothing => {}
                Effect::Configured { before, after } => self.configured(&mut state, before, after),
                Effect::Doorbell { queue, completion, value } => {
                    if let Some(session) = &state.session {
                        session.ring(queue, completion, value);
                    }
                }
            }
        }
    }

    /// The controller loses what a reset takes; then the drive is told.
    pub(super) fn reset(&self, kind: ResetKind) {
        if self.lock().retired {
            return;
        }
        self.forget();
        // Not under the lock: a drive that loses power may call back, to `forget`.
        self.backend.reset(kind);
    }

    /// The machine is gone, and with it the power.
    pub(super) fn machine_gone(&self) {
        self.forget();
        self.interrupts.clear();
        self.memory.unmap_all();
        self.backend.reset(ResetKind::PowerCycle);
    }

    /// Nothing that a machine says has an effect any more.
    pub(super) fn retire(&self) {
        self.lock().retired = true;
        self.machine_gone();
    }

    /// The controller loses what a reset or a loss of power takes.
    ///
    /// DMA maps and interrupt events stay: they are the machine's.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.stop();
        if let Some(session) = state.draining.take()
            && !session.drain(DRAIN_LIMIT)
        {
            tracing::warn!("a reset did not wait any longer for a command in the drive");
        }
        state.config = ConfigSpace::new();
        self.memory.set_bus_master(false);
        state.registers = Registers::default();
        state.fatal = false;
        state.shutdown.announced = false;
    }

    fn configured(
        self: &Arc<Self>,
        state: &mut State,
        before: Configuration,
        after: Configuration,
    ) {
        match (before.enabled(), after.enabled()) {
            (false, true) => self.enable(state),
            (true, false) => {
                // A controller reset is no TCG reset: drivers do it whenever they load.
                state.stop();
                state.fatal = false;
                state.shutdown.announced = false;
                state.registers.set_configuration(Configuration(after.0 & !0xC000));
                return;
            }
            _ => {
                if let Some(session) = &state.session {
                    session.configure(after);
                }
            }
        }
        if after.shutdown() && !before.shutdown() && !state.shutdown.announced {
            self.announce_shutdown(state);
        }
    }

    fn enable(&self, state: &mut State) {
        state.shutdown.announced = false;
        // A host that did not wait for CSTS.RDY to clear waits here.
        let drained = state.draining.as_ref().is_none_or(|session| session.drain(DRAIN_LIMIT));
        if !drained || !state.registers.configuration().supported() {
            state.fatal = true;
            return;
        }
        state.draining = None;
        self.controller.clear();
        let session = Session::start(
            Arc::clone(&self.controller),
            Arc::clone(&self.memory),
            Arc::clone(&self.interrupts),
            &state.registers,
        );
        match session {
            Ok(session) => state.session = Some(session),
            Err(error) => {
                tracing::warn!("the controller cannot be enabled: {error}");
                state.fatal = true;
            }
        }
    }

    /// CC.SHN: everything written becomes durable, then CSTS says so (NVMe Base 1.4 §7.6.2).
    fn announce_shutdown(self: &Arc<Self>, state: &mut State) {
        state.shutdown.announced = true;
        if state.shutdown.flushing {
            state.shutdown.again = true;
            return;
        }
        state.shutdown.flushing = true;
        let function = Arc::clone(self);
        let thread = thread::Builder::new().name("nvme shutdown".to_owned());
        if thread.spawn(move || function.flush_for_shutdown()).is_err() {
            state.shutdown.flushing = false;
            self.flush();
        }
    }

    fn flush_for_shutdown(&self) {
        loop {
            self.flush();
            let mut state = self.lock();
            if !std::mem::take(&mut state.shutdown.again) {
                state.shutdown.flushing = false;
                return;
            }
        }
    }

    fn flush(&self) {
        if let Err(status) = self.backend.flush() {
            // There is no status for this in the registers.
            tracing::warn!("the flush of a shutdown failed: {status:?}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// CSTS.
    fn status(&mut self) -> u32 {
        if self.draining.as_ref().is_some_and(|session| session.drained()) {
            self.draining = None;
        }
        let mut status = 0;
        if self.session.is_some() || self.draining.is_some() {
            status |= registers::READY;
        }
        if self.fatal || self.session.as_ref().is_some_and(|session| session.fatal()) {
            status |= registers::FATAL;
        }
        if self.shutdown.announced {
            status |= if self.shutdown.flushing {
                registers::SHUTDOWN_OCCURRING
            } else {
                registers::SHUTDOWN_COMPLETE
            };
        }
        status
    }

    /// Ends the session; its workers may be in the drive still.
    fn stop(&mut self) {
        if let Some(session) = self.session.take() {
            session.close();
            self.draining = Some(session);
        }
    }
}
