// SPDX-License-Identifier: MIT OR Apache-2.0
//! `read` and `write`: blocks of a served drive over its sim socket, as a host moves them.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use zeroize::Zeroizing;

use super::{CliError, file_error, no_drive_there};
use crate::sim_wire::{
    self, FrameError, Identity, MAX_DATA, Refusal, Reply, Request, decode_answer, read_frame,
    write_frame,
};

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Read {
    /// The sim socket of a served drive.
    socket: PathBuf,
    /// First block.
    #[arg(long)]
    lba: u64,
    /// How many.
    #[arg(long)]
    blocks: u64,
    /// The file to make.
    #[arg(long)]
    to: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Write {
    /// The sim socket of a served drive.
    socket: PathBuf,
    /// First block.
    #[arg(long)]
    lba: u64,
    /// The file to write; a whole number of blocks.
    #[arg(long)]
    from: PathBuf,
}

impl Read {
    pub(super) fn run(&self, out: &mut dyn io::Write) -> Result<(), CliError> {
        let mut host = Host::connect(&self.socket)?;
        let per_command = host.blocks_per_command();
        let mut file = None;
        let mut done = 0;
        while done < self.blocks {
            let now = (self.blocks - done).min(per_command.into());
            let lba = self.lba.saturating_add(done);
            let data = host.read(lba, now as u32)?;
            // Nothing is left behind when the drive refuses the first block.
            let file = match &mut file {
                Some(file) => file,
                none => none.insert(
                    OpenOptions::new()
                        .write(true)
                        .create(true)
                        .truncate(true)
                        .mode(0o600)
                        .open(&self.to)
                        .map_err(|error| file_error(&self.to, error))?,
                ),
            };
            file.write_all(&data).map_err(|error| file_error(&self.to, error))?;
            done += now;
        }
        writeln!(out, "{done} blocks read from block {}", self.lba)?;
        Ok(())
    }
}

impl Write {
    pub(super) fn run(&self, out: &mut dyn io::Write) -> Result<(), CliError> {
        let mut host = Host::connect(&self.socket)?;
        let mut file =
            std::fs::File::open(&self.from).map_err(|error| file_error(&self.from, error))?;
        let block_size = host.identity.logical_block_size as usize;
        let most = host.blocks_per_command() as usize * block_size;
        let mut done = 0;
        loop {
            let mut data = Zeroizing::new(Vec::with_capacity(most));
            (&mut file)
                .take(most as u64)
                .read_to_end(&mut data)
                .map_err(|error| file_error(&self.from, error))?;
            if data.is_empty() {
                break;
            }
            if !data.len().is_multiple_of(block_size) {
                let path = self.from.display();
                return Err(CliError::Argument(format!(
                    "{path} is not a whole number of {block_size}-byte blocks; pad it with zeros"
                )));
            }
            host.write(self.lba.saturating_add(done), &data)?;
            done += (data.len() / block_size) as u64;
        }
        host.flush()?;
        writeln!(out, "{done} blocks written from block {}", self.lba)?;
        Ok(())
    }
}

/// The host's end of a sim socket.
struct Host {
    path: PathBuf,
    stream: UnixStream,
    identity: Identity,
    frame: Zeroizing<Vec<u8>>,
}

impl Host {
    fn connect(path: &Path) -> Result<Self, CliError> {
        let stream = UnixStream::connect(path).map_err(|error| no_drive_there(path, error))?;
        let limits = stream
            .set_read_timeout(Some(LIMIT))
            .and_then(|()| stream.set_write_timeout(Some(LIMIT)));
        limits.map_err(|error| file_error(path, error))?;
        let mut frame = Zeroizing::new(Vec::new());
        let mut stream = stream;
        let identify = Request::Identify { version: sim_wire::VERSION };
        let identity = ask(&mut stream, &mut frame, &identify, |reply| match reply {
            Reply::Identity(identity) => Some(identity.clone()),
            _ => None,
        });
        let identity = identity.map_err(|error| file_error(path, error))?.map_err(refused)?;
        Ok(Self { path: path.to_owned(), stream, identity, frame })
    }

    fn blocks_per_command(&self) -> u32 {
        (MAX_DATA as u32 / self.identity.logical_block_size.max(1)).max(1)
    }

    fn read(&mut self, lba: u64, blocks: u32) -> Result<Zeroizing<Vec<u8>>, CliError> {
        self.ask(&Request::Read { lba, blocks }, |reply| match reply {
            Reply::Data(data) => Some(Zeroizing::new(data.to_vec())),
            _ => None,
        })
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), CliError> {
        self.ask(&Request::Write { lba, data }, is_done)
    }

    fn flush(&mut self) -> Result<(), CliError> {
        self.ask(&Request::Flush, is_done)
    }

    fn ask<T>(
        &mut self,
        request: &Request<'_>,
        take: impl FnOnce(&Reply<'_>) -> Option<T>,
    ) -> Result<T, CliError> {
        ask(&mut self.stream, &mut self.frame, request, take)
            .map_err(|error| file_error(&self.path, error))?
            .map_err(refused)
    }
}

fn is_done(reply: &Reply<'_>) -> Option<()> {
    matches!(reply, Reply::Done).then_some(())
}

fn ask<T>(
    stream: &mut UnixStream,
    frame: &mut Zeroizing<Vec<u8>>,
    request: &Request<'_>,
    take: impl FnOnce(&Reply<'_>) -> Option<T>,
) -> io::Result<Result<T, Refusal>> {
    let unusable = || io::Error::from(io::ErrorKind::InvalidData);
    request.encode(frame).map_err(|_| unusable())?;
    write_frame(stream, frame).map_err(broken)?;
    if !read_frame(stream, frame).map_err(broken)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match decode_answer(frame).map_err(|_| unusable())? {
        Ok(reply) => take(&reply).map(Ok).ok_or_else(unusable),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn broken(error: FrameError) -> io::Error {
    match error {
        FrameError::Io(error) => error,
        _ => io::ErrorKind::InvalidData.into(),
    }
}

fn refused(refusal: Refusal) -> CliError {
    let advice = match refusal {
        Refusal::DataProtectionError => ": the blocks are locked; unlock their range first",
        Refusal::LbaOutOfRange => ": the drive ends before these blocks",
        Refusal::MediaError => ": the drive's image failed; power-cycle it",
        _ => "",
    };
    CliError::Refused(format!("the drive refused: {refusal}{advice}"))
}
