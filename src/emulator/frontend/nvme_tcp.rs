// SPDX-License-Identifier: MIT OR Apache-2.0
//! An NVMe/TCP target with one subsystem and one namespace: the emulated drive.
//!
//! A thread per connection, which is a queue. Commands of a queue are executed in order; the data
//! of a write may arrive between other commands, so writes wait by their command id. No digests,
//! no authentication, no TLS: bind it to loopback.

mod fabrics;
mod pdu;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use self::fabrics::{Connect, Properties};
use super::super::backend::Backend;
use super::super::nvme::{Attachment, Controller, Status};
use super::listen::Stop;

/// In-capsule data of an I/O command: two pages, as admin commands may carry in any case.
const IN_CAPSULE: u32 = 8192;
/// Connections at once: beyond it new ones are closed.
const MAX_CONNECTIONS: usize = 256;
/// How long a new connection may take to initialize.
const INITIALIZE_LIMIT: Duration = Duration::from_secs(10);
/// How long a write to a host that reads nothing may take.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// A listening target.
pub struct Target {
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: Stop,
}

/// Drops the connections of a running target from another thread.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<dyn Backend>,
    subsystem: String,
    controllers: Mutex<HashMap<u16, Arc<Association>>>,
    next: Mutex<u16>,
    connections: AtomicUsize,
}

/// A host's controller: its admin queue, its I/O queues and what they share.
struct Association {
    controller: Controller,
    host: [u8; 16],
    host_name: String,
    properties: Mutex<Properties>,
    /// Connections of all its queues, by queue.
    streams: Mutex<HashMap<u16, TcpStream>>,
}

impl Target {
    /// Listens on `address` for hosts that ask for the subsystem named `subsystem`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(
        address: impl ToSocketAddrs,
        backend: Arc<dyn Backend>,
        subsystem: &str,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        // Readiness is waited for, so that a stop is noticed.
        listener.set_nonblocking(true)?;
        let shared = Shared {
            backend,
            subsystem: subsystem.to_owned(),
            controllers: Mutex::default(),
            next: Mutex::new(0),
            connections: AtomicUsize::new(0),
        };
        Ok(Self { listener, shared: Arc::new(shared), stop: Stop::default() })
    }

    /// Where it listens; of use when bound to port 0.
    ///
    /// # Errors
    /// The socket has no address any more.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A handle on its connections.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// A handle that ends [`run`](Self::run).
    #[must_use]
    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until stopped, then drops every connection.
    ///
    /// # Errors
    /// The listening socket failed.
    pub fn run(&self) -> io::Result<()> {
        let result = self.accept();
        self.handle().disconnect();
        result
    }

    fn accept(&self) -> io::Result<()> {
        use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
        while self.stop.wait_readable(&self.listener)? {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                // The host gave up before it was accepted; the listener is fine.
                Err(error)
                    if matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let shared = Arc::clone(&self.shared);
            if shared.connections.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
                shared.connections.fetch_sub(1, Ordering::AcqRel);
                continue;
            }
            thread::Builder::new().name("nvme-tcp queue".to_owned()).spawn(move || {
                // A queue that breaks ends its own connection, nothing else.
                let _ = prepare(&stream).and_then(|()| queue::serve(stream, &shared));
                shared.connections.fetch_sub(1, Ordering::AcqRel);
            })?;
        }
        Ok(())
    }
}

impl Handle {
    /// Drops every connection, as a loss of power does; hosts reconnect on their own.
    pub fn disconnect(&self) {
        let controllers: Vec<_> = self
            .shared
            .controllers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
            .collect();
        for (_, association) in controllers {
            association.disconnect();
        }
    }
}

impl Shared {
    /// The admin queue's Connect: a new controller.
    fn create(
        &self,
        connect: &Connect,
        stream: TcpStream,
    ) -> Result<Arc<Association>, (Status, u64)> {
        if connect.subsystem != self.subsystem {
            return Err((Status::CONNECT_PARAMETERS, fabrics::invalid(true, 256)));
        }
        // Only the dynamic controller model: the host may not choose.
        if connect.controller != u16::MAX {
            return Err((Status::CONNECT_PARAMETERS, fabrics::invalid(true, 16)));
        }
        let mut controllers = self.controllers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let id = loop {
            // FFF0h and above are reserved.
            *next = if *next >= 0xFFEF { 1 } else { *next + 1 };
            if !controllers.contains_key(&next) {
                break *next;
            }
        };
        let attachment = Attachment::Fabrics { in_capsule: IN_CAPSULE };
        let backend = Arc::clone(&self.backend);
        let association = Arc::new(Association {
            controller: Controller::new(backend, id, &self.subsystem, attachment),
            host: connect.host,
            host_name: connect.host_name.clone(),
            properties: Mutex::default(),
            streams: Mutex::new(HashMap::from([(0, stream)])),
        });
        controllers.insert(id, Arc::clone(&association));
        Ok(association)
    }

    /// An I/O queue's Connect: it joins a controller of the same host.
    fn join(
        &self,
        connect: &Connect,
        stream: TcpStream,
    ) -> Result<Arc<Association>, (Status, u64)> {
        let wrong = |offset| (Status::CONNECT_PARAMETERS, fabrics::invalid(true, offset));
        let association = self
            .controllers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&connect.controller)
            .cloned()
            .ok_or(wrong(16))?;
        if connect.subsystem != self.subsystem {
            return Err(wrong(256));
        }
        if association.host != connect.host || association.host_name != connect.host_name {
            return Err(wrong(0));
        }
        if !association.properties.lock().unwrap_or_else(PoisonError::into_inner).enabled() {
            return Err((Status::COMMAND_SEQUENCE, 0));
        }
        let mut streams = association.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.contains_key(&connect.queue) {
            return Err((Status::CONNECT_PARAMETERS, fabrics::invalid(false, 42)));
        }
        streams.insert(connect.queue, stream);
        drop(streams);
        Ok(association)
    }

    /// A queue's connection has ended; with the admin queue goes the controller.
    fn left(&self, association: &Arc<Association>, queue: u16) {
        association.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(&queue);
        if queue == 0 {
            let mut controllers = self.controllers.lock().unwrap_or_else(PoisonError::into_inner);
            let id = association.controller.id();
            if controllers.get(&id).is_some_and(|known| Arc::ptr_eq(known, association)) {
                controllers.remove(&id);
            }
            drop(controllers);
            association.disconnect();
        }
    }
}

impl Association {
    fn disconnect(&self) {
        for (_, stream) in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(INITIALIZE_LIMIT))?;
    stream.set_write_timeout(Some(WRITE_LIMIT))
}
