// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sim socket: any process on this machine is the host (`docs/formats/sim.md`).

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::listen::{Listener, Stop};
use crate::emulator::Drive;
use crate::emulator::backend::{Backend, CommandStatus};
use crate::sim_wire::{
    self, Answer, FrameError, Identity, MAX_DATA, Refusal, Reply, Request, encode_answer,
    read_frame, write_frame,
};

/// Connections at once.
const MAX_CONNECTIONS: usize = 64;

/// A drive behind a Unix socket.
pub struct SimTarget {
    listener: Listener,
    drive: Arc<Drive>,
}

impl SimTarget {
    /// Listens at `path`.
    ///
    /// # Errors
    /// Somebody serves there, or the file system refused.
    pub fn bind(path: &Path, drive: Arc<Drive>) -> io::Result<Self> {
        Ok(Self { listener: Listener::bind(path)?, drive })
    }

    /// A handle that ends [`SimTarget::run`].
    #[must_use]
    pub fn stop_handle(&self) -> Stop {
        self.listener.stop_handle()
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// The listening socket failed.
    pub fn run(&self) -> io::Result<()> {
        let drive = Arc::clone(&self.drive);
        self.listener.run(MAX_CONNECTIONS, move |stream, stop| {
            // A connection that breaks ends alone; there is nobody to tell.
            if let Err(error) = serve(stream, &drive, stop) {
                tracing::debug!(%error, "sim connection ended");
            }
        })
    }
}

fn serve(mut stream: UnixStream, drive: &Drive, stop: &Stop) -> Result<(), FrameError> {
    let mut body = Zeroizing::new(Vec::new());
    let mut scratch = Zeroizing::new(Vec::new());
    while stop.wait_readable(&stream)? {
        if !read_frame(&mut stream, &mut body)? {
            return Ok(());
        }
        let answer = match Request::decode(&body) {
            Ok(request) => answer(drive, request, &mut scratch),
            Err(_) => Err(Refusal::NotUnderstood),
        };
        let mut reply = Zeroizing::new(Vec::new());
        encode_answer(&answer, &mut reply)?;
        write_frame(&mut stream, &reply)?;
    }
    Ok(())
}

fn answer<'a>(
    drive: &Drive,
    request: Request<'_>,
    scratch: &'a mut Zeroizing<Vec<u8>>,
) -> Answer<'a> {
    let block_size = drive.identity().block_size;
    match request {
        // The host learns our version from the answer and decides.
        Request::Identify { .. } => Ok(Reply::Identity(identity(drive))),
        Request::PowerCycleId => Ok(Reply::PowerCycleId(drive.power_cycles())),
        Request::IfSend { protocol, specific, data } => {
            done(drive.if_send(protocol, specific, data))
        }
        Request::IfRecv { protocol, specific, length } => {
            let data = drive.if_recv(protocol, specific, length as usize).map_err(refusal)?;
            *scratch = Zeroizing::new(data);
            Ok(Reply::Data(scratch))
        }
        Request::Read { lba, blocks } => {
            let length = u64::from(blocks) * u64::from(block_size);
            if length > MAX_DATA as u64 {
                return Err(Refusal::InvalidTransferLength);
            }
            *scratch = Zeroizing::new(vec![0; length as usize]);
            drive.read(lba, scratch).map_err(refusal)?;
            Ok(Reply::Data(scratch))
        }
        Request::Write { lba, data } => done(drive.write(lba, data)),
        Request::Flush => done(drive.flush()),
        Request::Discard { lba, blocks } => done(drive.discard(lba, blocks.into())),
    }
}

fn done<'a>(result: Result<(), CommandStatus>) -> Answer<'a> {
    result.map(|()| Reply::Done).map_err(refusal)
}

fn identity(drive: &Drive) -> Identity {
    let header = drive.header();
    Identity {
        version: sim_wire::VERSION,
        model: header.model.clone(),
        serial: header.serial.clone(),
        firmware: header.firmware.clone(),
        nguid: Some(header.nguid),
        wwn: Some(header.wwn.to_be_bytes()),
        interface: header.interface,
        logical_block_size: header.profile.geometry.block_size,
        blocks: header.profile.blocks,
        max_transfer: MAX_DATA as u32,
        power_cycle_id: drive.power_cycles(),
    }
}

fn refusal(status: CommandStatus) -> Refusal {
    match status {
        CommandStatus::InvalidParameter => Refusal::OtherInvalidCommandParameter,
        CommandStatus::ProtocolViolation => Refusal::SynchronousProtocolViolation,
        CommandStatus::InvalidLength => Refusal::InvalidTransferLength,
        CommandStatus::DataProtection => Refusal::DataProtectionError,
        CommandStatus::LbaOutOfRange => Refusal::LbaOutOfRange,
        CommandStatus::MediaError => Refusal::MediaError,
        CommandStatus::InvalidSecurityState => Refusal::InvalidSecurityState,
    }
}
