// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vhost-user-scsi server: the emulated drive as a SCSI disk of a QEMU guest (virtio 1.2 §5.6).
//!
//! `-object memory-backend-memfd,id=m,size=512M,share=on -machine q35,memory-backend=m
//! -chardev socket,id=c,path=SOCKET -device vhost-user-scsi-pci,chardev=c,num_queues=1`
//!
//! One target with one LUN. Each request queue has a thread of its own.

mod request;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringRwLock, VringT};
use virtio_queue::QueueT as _;
use vm_memory::{GuestAddressSpace as _, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use super::super::backend::{Backend, ResetKind};
use super::super::scsi::LogicalUnit;
use super::listen::{Listener, Stop};

/// Request queues offered; QEMU's `num_queues` may be any number up to it.
pub const REQUEST_QUEUES: usize = 4;
const CONTROL_QUEUE: u16 = 0;
const EVENT_QUEUE: u16 = 1;
const FIXED_QUEUES: usize = 2;
/// QEMU asks for 128 or 256 entries, depending on its version.
const QUEUE_SIZE: usize = 1024;
/// How often it is looked whether a connection should end.
const STOP_TURN: Duration = Duration::from_millis(100);

/// Virtio and virtio-scsi feature bits.
mod feature {
    pub(super) const SCSI_HOTPLUG: u64 = 1 << 1;
    /// QEMU acknowledges it whether offered or not.
    pub(super) const SCSI_CHANGE: u64 = 1 << 2;
    pub(super) const INDIRECT_DESCRIPTORS: u64 = 1 << 28;
    pub(super) const EVENT_INDEX: u64 = 1 << 29;
    pub(super) const VERSION_1: u64 = 1 << 32;
}

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// A server on a Unix socket, removed when it is dropped.
pub struct Server {
    listener: Listener,
    backend: Arc<dyn Backend>,
    sat: bool,
}

impl Server {
    /// Listens for QEMU on `socket`; with `sat` the disk is a SATA drive behind a translation layer.
    ///
    /// # Errors
    /// The socket cannot be made, or is another server's.
    pub fn bind(socket: &Path, backend: Arc<dyn Backend>, sat: bool) -> io::Result<Self> {
        Ok(Self { listener: Listener::bind(socket)?, backend, sat })
    }

    /// A handle that ends [`run`](Self::run).
    #[must_use]
    pub fn stop_handle(&self) -> Stop {
        self.listener.stop_handle()
    }

    /// Serves one QEMU after another until stopped. The end of a QEMU is a loss of power.
    ///
    /// # Errors
    /// The listening socket failed.
    pub fn run(&self) -> io::Result<()> {
        let socket = self.listener.try_clone()?;
        let stop = self.stop_handle();
        while stop.wait_readable(&socket)? {
            self.connection(socket.try_clone()?, &stop)?;
            self.backend.reset(ResetKind::PowerCycle);
        }
        Ok(())
    }

    /// Serves the QEMU that waits on `socket` until it goes or it is time to end.
    fn connection(&self, socket: UnixListener, stop: &Stop) -> io::Result<()> {
        // The error type of this library is no error.
        let failed = |error: vhost_user_backend::Error| io::Error::other(error.to_string());
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let device = Device::new(Arc::clone(&self.backend), self.sat, memory.clone())?;
        let mut daemon =
            VhostUserDaemon::new("vhost-user-scsi".to_owned(), Arc::new(device), memory)
                .map_err(failed)?;
        daemon.start(&mut socket.into()).map_err(failed)?;
        let shutdown = daemon.shutdown_handle();
        let gone = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !gone.load(Ordering::Acquire) {
                    if stop.is_stopped()
                        && let Some(shutdown) = &shutdown
                    {
                        shutdown.shutdown();
                        return;
                    }
                    thread::park_timeout(STOP_TURN);
                }
            });
            // A guest that goes away in the middle of a message is no failure of the server.
            if let Err(error) = daemon.wait() {
                tracing::debug!("vhost-user connection ended: {error}");
            }
            gone.store(true, Ordering::Release);
        });
        Ok(())
    }
}

/// The device side of one connection.
struct Device {
    unit: LogicalUnit,
    memory: RwLock<Memory>,
    event_index: AtomicBool,
    exits: Vec<(EventConsumer, EventNotifier)>,
}

impl Device {
    fn new(backend: Arc<dyn Backend>, sat: bool, memory: Memory) -> io::Result<Self> {
        let exits = (0..REQUEST_QUEUES)
            .map(|_| new_event_consumer_and_notifier(EventFlag::NONBLOCK))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            unit: LogicalUnit::new(backend, sat),
            memory: RwLock::new(memory),
            event_index: AtomicBool::new(false),
            exits,
        })
    }

    /// Answers everything that waits in a queue; whether anything did.
    fn drain(&self, vring: &VringRwLock, kind: Queue) -> io::Result<bool> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner).memory();
        let mut any = false;
        loop {
            let chain = vring.get_mut().get_queue_mut().pop_descriptor_chain(memory.clone());
            let Some(chain) = chain else { return Ok(any) };
            any = true;
            let head = chain.head_index();
            let written = match kind {
                Queue::Control => request::control(&memory, chain),
                Queue::Request => request::command(&self.unit, &memory, chain),
            };
            // What no answer can be written for is given back empty, so that nothing hangs.
            let written = written.unwrap_or(0);
            vring.add_used(head, written).map_err(io::Error::other)?;
            if vring.needs_notification().map_err(io::Error::other)? {
                vring.signal_used_queue()?;
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Queue {
    Control,
    Request,
}

impl VhostUserBackend for Device {
    type Bitmap = ();
    type Vring = VringRwLock;

    fn num_queues(&self) -> usize {
        FIXED_QUEUES + REQUEST_QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        feature::SCSI_HOTPLUG
            | feature::SCSI_CHANGE
            | feature::INDIRECT_DESCRIPTORS
            | feature::EVENT_INDEX
            | feature::VERSION_1
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&self, enabled: bool) {
        self.event_index.store(enabled, Ordering::Relaxed);
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        *self.memory.write().unwrap_or_else(PoisonError::into_inner) = memory;
        Ok(())
    }

    /// The control, event and first request queue share a thread; the others have their own.
    fn queues_per_thread(&self) -> Vec<u64> {
        (0..REQUEST_QUEUES).map(|n| if n == 0 { 0b111 } else { 1 << (FIXED_QUEUES + n) }).collect()
    }

    fn exit_event(&self, thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        let (consumer, notifier) = self.exits.get(thread)?;
        Some((consumer.try_clone().ok()?, notifier.try_clone().ok()?))
    }

    fn handle_event(
        &self,
        event: u16,
        events: EventSet,
        vrings: &[VringRwLock],
        thread: usize,
    ) -> io::Result<()> {
        if events != EventSet::IN {
            return Ok(());
        }
        // Events count the queues of their thread.
        let (kind, index) = match (thread, event) {
            (0, CONTROL_QUEUE) => (Queue::Control, 0),
            // Nothing ever happens to this disk, so the guest's event buffers stay with us.
            (0, EVENT_QUEUE) => return Ok(()),
            (0, _) => (Queue::Request, FIXED_QUEUES),
            _ => (Queue::Request, 0),
        };
        let Some(vring) = vrings.get(index) else { return Ok(()) };
        if !self.event_index.load(Ordering::Relaxed) {
            self.drain(vring, kind)?;
            return Ok(());
        }
        loop {
            vring.disable_notification().map_err(io::Error::other)?;
            self.drain(vring, kind)?;
            if !vring.enable_notification().map_err(io::Error::other)? {
                return Ok(());
            }
        }
    }
}
