// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Unix socket that hands each connection to a thread: for the sim socket and the control socket.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How often a thread that waits looks whether it should stop, in milliseconds.
const TURN: u16 = 200;
/// How long a peer may take within one message, either way.
const MESSAGE_LIMIT: Duration = Duration::from_secs(30);

/// A listening socket, removed from the file system when dropped.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    stop: Stop,
}

/// Ends a [`Listener`] and its connections from another thread.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends them, within a fraction of a second.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is time to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Waits until `socket` has something to read; `false` when it is time to end.
    ///
    /// # Errors
    /// The socket failed.
    pub fn wait_readable(&self, socket: &impl AsFd) -> io::Result<bool> {
        while !self.is_stopped() {
            let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut sockets, PollTimeout::from(TURN)) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(false)
    }
}

impl Listener {
    /// Listens at `path`, for this user only. A socket there that nobody serves any more is
    /// replaced.
    ///
    /// # Errors
    /// Somebody serves there, `path` is something else, or the file system refused.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        }?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned(), stop: Stop::default() })
    }

    /// A handle that ends it.
    #[must_use]
    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// The socket itself, for a front-end that accepts on its own terms.
    ///
    /// # Errors
    /// It cannot be duplicated.
    pub(super) fn try_clone(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Gives each connection to `serve` in a thread of its own, at most `limit` at once, until
    /// stopped. More than `limit` are closed.
    ///
    /// # Errors
    /// The listening socket failed.
    pub fn run(
        &self,
        limit: usize,
        serve: impl Fn(UnixStream, &Stop) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let serve = Arc::new(serve);
        let open = Arc::new(AtomicUsize::new(0));
        while self.stop.wait_readable(&self.listener)? {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(error),
            };
            if open.fetch_add(1, Ordering::AcqRel) >= limit || prepare(&stream).is_err() {
                open.fetch_sub(1, Ordering::AcqRel);
                continue;
            }
            let (serve, stop, counter) = (Arc::clone(&serve), self.stop.clone(), Arc::clone(&open));
            thread::Builder::new().name("socket".to_owned()).spawn(move || {
                serve(stream, &stop);
                counter.fetch_sub(1, Ordering::AcqRel);
            })?;
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Another one may have been put there only if ours was removed before.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn prepare(stream: &UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(MESSAGE_LIMIT))?;
    stream.set_write_timeout(Some(MESSAGE_LIMIT))
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

/// A socket that refuses connections: its server is gone.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    let refused = UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    is_socket && refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the socket of a dead server stays");
        let first = Listener::bind(&path).unwrap();
        assert_eq!(Listener::bind(&path).err().unwrap().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, b"precious").unwrap();
        assert!(Listener::bind(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
