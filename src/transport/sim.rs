// SPDX-License-Identifier: MIT OR Apache-2.0
//! An emulated drive behind a Unix socket (`docs/formats/sim.md`).
//!
//! Besides IF-SEND and IF-RECV the socket carries block I/O, so a test can play a whole machine.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use opal::{Transport, TransportError, TransportErrorKind as Kind};
use zeroize::{Zeroize, Zeroizing};

use crate::sim_wire::{self, FrameError, Identity, Refusal, Reply, Request, WireError};

/// How long a [`SimTransport`] waits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For a whole command, from the first byte sent to the last received.
    pub command: Duration,
}

impl Default for Timeouts {
    /// 5 s to connect, and the 60 s that Linux gives an admin command.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), command: Duration::from_secs(60) }
    }
}

/// A connection to an emulated drive.
///
/// After a command fails on the way the connection is given up, because a late answer would be taken
/// for the next one; the next command connects again, if the same drive still answers there.
#[derive(Debug)]
pub struct SimTransport {
    path: PathBuf,
    timeouts: Timeouts,
    identity: Identity,
    stream: Option<UnixStream>,
    frame: Zeroizing<Vec<u8>>,
}

/// A read, write, flush or discard that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The drive refused it; [`Refusal::DataProtectionError`] means that the blocks are locked.
    #[error("the emulated drive refused: {0}")]
    Refused(Refusal),
    /// The command is not one that this drive's geometry allows; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The socket failed.
    #[error(transparent)]
    Path(#[from] TransportError),
}

impl SimTransport {
    /// Connects to the drive served at the socket `path` and asks who it is.
    ///
    /// # Errors
    /// Nobody serves there, or not in time, or not this format.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, TransportError> {
        Self::connect_with(path, Timeouts::default())
    }

    /// [`connect`](Self::connect) with time limits of the caller's choice.
    ///
    /// # Errors
    /// As `connect`.
    pub fn connect_with(
        path: impl AsRef<Path>,
        timeouts: Timeouts,
    ) -> Result<Self, TransportError> {
        let path = path.as_ref().to_path_buf();
        let mut frame = Zeroizing::new(Vec::new());
        let (stream, identity) = establish(&path, timeouts, &mut frame)?;
        Ok(Self { path, timeouts, identity, stream: Some(stream), frame })
    }

    /// What the drive said about itself when the connection was made.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Asks for the drive's present power-cycle id.
    ///
    /// # Errors
    /// The socket failed.
    pub fn power_cycle_id(&mut self) -> Result<u64, TransportError> {
        let answer = self.command(Request::PowerCycleId, |reply| match reply {
            Reply::PowerCycleId(id) => Some(*id),
            _ => None,
        });
        answer?.map_err(refused)
    }

    /// Reads whole logical blocks from `lba` on until `buffer` is full.
    ///
    /// # Errors
    /// `buffer` is not whole blocks, the drive refused, or the socket failed.
    pub fn read(&mut self, lba: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let per_command = self.bytes_per_command(buffer.len())?;
        let size = self.identity.logical_block_size;
        let mut at = lba;
        for chunk in buffer.chunks_mut(per_command) {
            let blocks = chunk.len() as u32 / size;
            let request = Request::Read { lba: at, blocks };
            self.command(request, |reply| match reply {
                Reply::Data(data) if data.len() == chunk.len() => {
                    chunk.copy_from_slice(data);
                    Some(())
                }
                _ => None,
            })?
            .map_err(BlockError::Refused)?;
            at = at.saturating_add(u64::from(blocks));
        }
        Ok(())
    }

    /// Writes `data`, whole logical blocks, from `lba` on.
    ///
    /// More than one command's worth is written in order; what was refused half-way is half written.
    ///
    /// # Errors
    /// `data` is not whole blocks, the drive refused, or the socket failed.
    pub fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), BlockError> {
        let per_command = self.bytes_per_command(data.len())?;
        let size = self.identity.logical_block_size;
        let mut at = lba;
        for chunk in data.chunks(per_command) {
            let request = Request::Write { lba: at, data: chunk };
            self.command(request, done)?.map_err(BlockError::Refused)?;
            at = at.saturating_add(chunk.len() as u64 / u64::from(size));
        }
        Ok(())
    }

    /// Makes all completed writes durable.
    ///
    /// # Errors
    /// The drive refused, or the socket failed.
    pub fn flush(&mut self) -> Result<(), BlockError> {
        self.command(Request::Flush, done)?.map_err(BlockError::Refused)
    }

    /// Deallocates `blocks` logical blocks from `lba` on.
    ///
    /// # Errors
    /// The drive refused, or the socket failed.
    pub fn discard(&mut self, lba: u64, blocks: u32) -> Result<(), BlockError> {
        self.command(Request::Discard { lba, blocks }, done)?.map_err(BlockError::Refused)
    }

    fn bytes_per_command(&self, length: usize) -> Result<usize, BlockError> {
        let size = self.identity.logical_block_size as usize;
        if !length.is_multiple_of(size) {
            return Err(BlockError::Invalid(format!(
                "{length} bytes are not a whole number of logical blocks of {size} bytes"
            )));
        }
        Ok(sim_wire::MAX_DATA / size * size)
    }

    /// One request and its answer; `take` reads the reply, `None` meaning that it does not fit.
    fn command<T>(
        &mut self,
        request: Request<'_>,
        take: impl FnOnce(&Reply<'_>) -> Option<T>,
    ) -> Result<Result<T, Refusal>, TransportError> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.reconnect()?,
        };
        let answer = exchange(&stream, self.timeouts.command, request, &mut self.frame, take);
        // PINs go both ways in IF-SEND and IF-RECV; blocks are the user's own business.
        if matches!(request, Request::IfSend { .. } | Request::IfRecv { .. }) {
            self.frame.as_mut_slice().zeroize();
        }
        match answer {
            Ok(answer) => {
                self.stream = Some(stream);
                Ok(answer)
            }
            Err(error) => Err(path_error(&self.path, error)),
        }
    }

    fn reconnect(&mut self) -> Result<UnixStream, TransportError> {
        let (stream, identity) = establish(&self.path, self.timeouts, &mut self.frame)?;
        if identity.serial != self.identity.serial || identity.model != self.identity.model {
            return Err(TransportError::new(
                Kind::Gone,
                format!(
                    "another emulated drive (serial {}) now answers at {}; run the command again \
                     if that is meant",
                    identity.serial,
                    self.path.display()
                ),
            ));
        }
        self.identity = identity;
        Ok(stream)
    }
}

impl Transport for SimTransport {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        self.command(Request::IfSend { protocol, specific, data }, done)?.map_err(refused)
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        let length = buffer.len().min(sim_wire::MAX_DATA) as u32;
        let request = Request::IfRecv { protocol, specific, length };
        let answer = self.command(request, |reply| match reply {
            Reply::Data(data) if data.len() <= length as usize => {
                let (head, rest) = buffer.split_at_mut_checked(data.len())?;
                head.copy_from_slice(data);
                rest.fill(0);
                Some(data.len())
            }
            _ => None,
        });
        answer?.map_err(refused)
    }

    fn pause(&mut self, duration: Duration) {
        thread::sleep(duration);
    }

    fn max_transfer(&self) -> usize {
        let limit = (self.identity.max_transfer as usize).clamp(512, sim_wire::MAX_DATA);
        limit / 512 * 512
    }
}

/// Why an exchange did not happen; the connection is of no further use.
#[derive(Debug)]
enum Broken {
    Frame(FrameError),
    Closed,
    Misfit,
}

impl From<FrameError> for Broken {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Self::Frame(error.into())
    }
}

fn exchange<T>(
    stream: &UnixStream,
    limit: Duration,
    request: Request<'_>,
    frame: &mut Zeroizing<Vec<u8>>,
    take: impl FnOnce(&Reply<'_>) -> Option<T>,
) -> Result<Result<T, Refusal>, Broken> {
    let mut timed = Timed { stream, deadline: Instant::now() + limit };
    request.encode(frame)?;
    sim_wire::write_frame(&mut timed, frame)?;
    if !sim_wire::read_frame(&mut timed, frame)? {
        return Err(Broken::Closed);
    }
    match sim_wire::decode_answer(frame)? {
        Ok(reply) => take(&reply).map(Ok).ok_or(Broken::Misfit),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn done(reply: &Reply<'_>) -> Option<()> {
    matches!(reply, Reply::Done).then_some(())
}

fn establish(
    path: &Path,
    timeouts: Timeouts,
    frame: &mut Zeroizing<Vec<u8>>,
) -> Result<(UnixStream, Identity), TransportError> {
    let stream = connect_within(path, timeouts.connect).map_err(|error| {
        let kind = match error {
            Errno::ENOENT | Errno::ECONNREFUSED => Kind::Gone,
            Errno::EACCES | Errno::EPERM => Kind::Denied,
            Errno::ETIMEDOUT => Kind::TimedOut,
            _ => Kind::Failed,
        };
        TransportError::new(
            kind,
            format!(
                "cannot connect to the emulated drive at {}: {}; start one with \
                 `opal-emulator serve IMAGE --sim {0}`",
                path.display(),
                error.desc()
            ),
        )
    })?;
    let request = Request::Identify { version: sim_wire::VERSION };
    let answer = exchange(&stream, timeouts.command, request, frame, |reply| match reply {
        Reply::Identity(identity) => Some(identity.clone()),
        _ => None,
    });
    let identity = match answer.map_err(|error| path_error(path, error))? {
        Ok(identity) => identity,
        Err(refusal) => {
            return Err(TransportError::new(
                Kind::Unsupported,
                format!(
                    "the server at {} does not speak version {} of the sim format ({refusal}); \
                     use an emulator and a command of the same release",
                    path.display(),
                    sim_wire::VERSION
                ),
            ));
        }
    };
    let size = identity.logical_block_size as usize;
    if !size.is_power_of_two() || !(512..=65536).contains(&size) {
        return Err(TransportError::new(
            Kind::Failed,
            format!("the server at {} claims logical blocks of {size} bytes", path.display()),
        ));
    }
    Ok((stream, identity))
}

/// Connects without blocking for longer than `limit`: a full backlog makes a blocking connect wait.
fn connect_within(path: &Path, limit: Duration) -> Result<UnixStream, Errno> {
    let address = UnixAddr::new(path)?;
    let deadline = Instant::now() + limit;
    loop {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => {
                let stream = UnixStream::from(fd);
                stream.set_nonblocking(false).map_err(|_| Errno::last())?;
                return Ok(stream);
            }
            Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return Err(Errno::ETIMEDOUT),
            Err(error) => return Err(error),
        }
    }
}

/// A stream whose every read and write ends by one deadline, so that a trickle cannot prolong it.
struct Timed<'a> {
    stream: &'a UnixStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            // A time-out under the kernel's tick would round to "for ever".
            left => Ok(Some(left.max(Duration::from_millis(1)))),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(data)
    }

    fn write_vectored(&mut self, data: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write_vectored(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn path_error(path: &Path, error: Broken) -> TransportError {
    let path = path.display();
    match error {
        Broken::Closed => TransportError::new(
            Kind::Gone,
            format!("the emulated drive at {path} closed the connection; is it still running?"),
        ),
        Broken::Misfit => TransportError::new(
            Kind::Failed,
            format!("the server at {path} gave an answer that does not belong to the request"),
        ),
        Broken::Frame(FrameError::Wire(error)) => {
            TransportError::new(Kind::Failed, format!("{error}, at {path}"))
        }
        Broken::Frame(FrameError::Io(error)) => match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => TransportError::new(
                Kind::TimedOut,
                format!("the emulated drive at {path} did not answer in time"),
            ),
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => TransportError::new(
                Kind::Gone,
                format!("the emulated drive at {path} went away during a command"),
            ),
            _ => TransportError::new(Kind::Failed, format!("sim socket {path}: {error}")),
        },
    }
}

fn refused(refusal: Refusal) -> TransportError {
    let kind = match refusal {
        Refusal::OtherInvalidCommandParameter | Refusal::InvalidSecurityProtocol => {
            Kind::InvalidCommand
        }
        Refusal::SynchronousProtocolViolation => Kind::ProtocolViolation,
        Refusal::InvalidTransferLength => Kind::InvalidLength,
        Refusal::NotSupported => Kind::Unsupported,
        _ => Kind::Failed,
    };
    TransportError::new(kind, format!("the emulated drive refused the command: {refusal}"))
}
