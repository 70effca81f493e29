// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection: initialization, Connect, then commands until either side ends it.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::fabrics::{self, Asked, Connect, QUEUE_ENTRIES};
use super::pdu::{self, Broken, Initialize, Pdu};
use super::{Association, IN_CAPSULE, Shared};
use crate::emulator::nvme::{
    Command, Direction, MAX_IO_QUEUES, MAX_TRANSFER, Reply, Status, opcode,
};

/// Bytes of write data that one queue may have asked for and not yet received.
const OUTSTANDING_LIMIT: usize = 8 << 20;
/// Largest H2CData that a host may send.
const MAX_H2C_DATA: u32 = 1 << 20;
/// Answers gathered before they are sent. A data header, its data and the completion in segments of
/// their own wait for delayed acknowledgements on some paths, 40 ms a command.
const OUTPUT_BUFFER: usize = 260 << 10;
/// Time beyond the keep-alive timeout after which a silent host is given up.
const KEEP_ALIVE_GRACE: Duration = Duration::from_secs(10);

const _: () = assert!(MAX_TRANSFER <= OUTSTANDING_LIMIT && IN_CAPSULE < MAX_H2C_DATA);

/// Serves one connection to its end.
pub(super) fn serve(mut stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let output = stream.try_clone()?;
    let initialize = match pdu::initialize(&mut stream, MAX_H2C_DATA) {
        Ok(initialize) => initialize,
        Err(Broken::Rule(status, header)) => {
            return pdu::terminate(&mut BufWriter::new(output), status, &header);
        }
        Err(Broken::Io) => return Ok(()),
    };
    let mut queue = Queue {
        input: BufReader::with_capacity(64 << 10, stream),
        output: BufWriter::with_capacity(OUTPUT_BUFFER, output),
        shared,
        initialize,
        joined: None,
        head: 0,
        held: 0,
        waiting: VecDeque::new(),
        receiving: HashMap::new(),
        outstanding: 0,
    };
    let result = queue.run();
    queue.end();
    result
}

struct Queue<'a> {
    input: BufReader<TcpStream>,
    output: BufWriter<TcpStream>,
    shared: &'a Arc<Shared>,
    initialize: Initialize,
    joined: Option<Joined>,
    /// Submission queue head that completions report.
    head: u16,
    /// Asynchronous event requests kept.
    held: usize,
    /// Writes whose data has not been asked for yet.
    waiting: VecDeque<(Command, usize)>,
    /// Writes whose data is on its way, by command id.
    receiving: HashMap<u16, Receiving>,
    outstanding: usize,
}

/// What Connect made of the connection.
struct Joined {
    association: Arc<Association>,
    queue: u16,
    size: u16,
}

struct Receiving {
    command: Command,
    data: Vec<u8>,
    received: usize,
}

impl Queue<'_> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            // Answers leave together when the host has sent nothing more.
            if self.input.buffer().is_empty() {
                self.output.flush()?;
            }
            match pdu::read(&mut self.input, MAX_H2C_DATA as usize) {
                Ok(Pdu::Command(bytes, data)) => self.command(Command::new(bytes), data)?,
                Ok(Pdu::Data { command, tag, offset, data }) => {
                    let sound = command == tag && self.data(command, offset, &data)?;
                    if !sound {
                        let header = [pdu::H2C_DATA, 0, 24, 0, 0, 0, 0, 0];
                        return pdu::terminate(&mut self.output, pdu::DATA_OUT_OF_RANGE, &header);
                    }
                }
                Ok(Pdu::Terminate) | Err(Broken::Io) => return Ok(()),
                Err(Broken::Rule(status, header)) => {
                    return pdu::terminate(&mut self.output, status, &header);
                }
            }
        }
    }

    /// Leaves the controller; requests that were held are gone with the queue.
    fn end(&mut self) {
        if let Some(joined) = self.joined.take() {
            for _ in 0..self.held {
                joined.association.controller.event_released();
            }
            self.shared.left(&joined.association, joined.queue);
        }
    }

    /// A command arrived: complete it, or ask for its data.
    fn command(&mut self, command: Command, data: Vec<u8>) -> io::Result<()> {
        let entries = self.joined.as_ref().map_or(QUEUE_ENTRIES, |joined| joined.size + 1);
        self.head = (self.head + 1) % entries;
        let in_use = self.waiting.len() + self.receiving.len() + self.held;
        if in_use >= usize::from(entries) || self.receiving.contains_key(&command.id()) {
            // More commands than entries, or an id in use: the host has lost count.
            let header = [pdu::CAPSULE_COMMAND, 0, 72, 0, 0, 0, 0, 0];
            pdu::terminate(&mut self.output, pdu::SEQUENCE_ERROR, &header)?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        let sgl = match Sgl::of(&command) {
            Ok(sgl) => sgl,
            Err(status) => return self.answer(&command, status.into()),
        };
        let length = match self.length(&command) {
            Ok(length) => length,
            Err(status) => return self.answer(&command, status.into()),
        };
        if length > sgl.length {
            return self.answer(&command, Status::SGL_LENGTH.into());
        }
        if command.direction() != Direction::ToController || length == 0 {
            let reply = self.execute(&command, &[]);
            return self.answer(&command, reply);
        }
        if sgl.in_capsule {
            let reply = match data.get(..length) {
                Some(data) => self.execute(&command, data),
                None => Status::SGL_LENGTH.into(),
            };
            return self.answer(&command, reply);
        }
        self.waiting.push_back((command, length));
        self.grant()
    }

    /// Asks for the data of waiting writes as far as memory is granted.
    fn grant(&mut self) -> io::Result<()> {
        while let Some((command, length)) = self.waiting.front().copied() {
            if self.outstanding + length > OUTSTANDING_LIMIT && self.outstanding > 0 {
                break;
            }
            self.waiting.pop_front();
            self.outstanding += length;
            let size = u32::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?;
            // One request for all of it, so the command's id serves as the tag.
            pdu::ready_to_transfer(&mut self.output, command.id(), command.id(), size)?;
            let receiving = Receiving { command, data: vec![0; length], received: 0 };
            self.receiving.insert(command.id(), receiving);
        }
        Ok(())
    }

    /// Data for a write arrived; `false` if it fits no write.
    fn data(&mut self, id: u16, offset: u32, data: &[u8]) -> io::Result<bool> {
        let Some(receiving) = self.receiving.get_mut(&id) else { return Ok(false) };
        // Hosts send in order (NVMe/TCP §3.5): anything else would leave holes.
        if offset as usize != receiving.received {
            return Ok(false);
        }
        let end = receiving.received + data.len();
        let Some(slot) = receiving.data.get_mut(receiving.received..end) else { return Ok(false) };
        slot.copy_from_slice(data);
        receiving.received = end;
        if receiving.received == receiving.data.len()
            && let Some(Receiving { command, data, .. }) = self.receiving.remove(&id)
        {
            self.outstanding -= data.len();
            let reply = self.execute(&command, &data);
            self.answer(&command, reply)?;
            self.grant()?;
        }
        Ok(true)
    }

    /// Bytes that the command moves.
    fn length(&self, command: &Command) -> Result<usize, Status> {
        if command.opcode() == opcode::FABRICS {
            return Ok(match command.fabrics_type() {
                fabrics::CONNECT => fabrics::CONNECT_DATA,
                _ => 0,
            });
        }
        let joined = self.joined.as_ref().ok_or(Status::COMMAND_SEQUENCE)?;
        joined.association.controller.transfer_length(command, joined.queue == 0)
    }

    fn execute(&mut self, command: &Command, data: &[u8]) -> Reply {
        let Some(joined) = &self.joined else {
            let is_connect =
                command.opcode() == opcode::FABRICS && command.fabrics_type() == fabrics::CONNECT;
            return match is_connect.then(|| self.connect(command, data)) {
                Some(Ok(id)) => Reply::result(u64::from(id)),
                Some(Err((status, result))) => Reply::Done { status, result, data: Vec::new() },
                None => Status::COMMAND_SEQUENCE.into(),
            };
        };
        let association = &joined.association;
        let mut properties = association.properties.lock().unwrap_or_else(PoisonError::into_inner);
        if command.opcode() == opcode::FABRICS {
            if joined.queue != 0 {
                return Status::INVALID_FIELD.into();
            }
            return match command.fabrics_type() {
                fabrics::PROPERTY_GET => match properties.get(command) {
                    Ok(value) => Reply::result(value),
                    Err(status) => status.into(),
                },
                fabrics::PROPERTY_SET => match properties.set(command) {
                    Ok(Asked::ControllerReset) => {
                        association.controller.clear();
                        self.held = 0;
                        Reply::result(0)
                    }
                    Ok(Asked::Nothing) => Reply::result(0),
                    Err(status) => status.into(),
                },
                fabrics::CONNECT => Status::COMMAND_SEQUENCE.into(),
                _ => Status::INVALID_FIELD.into(),
            };
        }
        if !properties.enabled() {
            return Status::COMMAND_SEQUENCE.into();
        }
        drop(properties);
        if joined.queue == 0 {
            association.controller.admin(command, data)
        } else {
            association.controller.io(command, data)
        }
    }

    fn connect(&mut self, command: &Command, data: &[u8]) -> Result<u16, (Status, u64)> {
        let connect = Connect::decode(command, data)?;
        if connect.queue > MAX_IO_QUEUES {
            return Err((Status::CONNECT_PARAMETERS, fabrics::invalid(false, 42)));
        }
        let internal = |_| (Status(0x006), 0);
        let stream = self.input.get_ref().try_clone().map_err(internal)?;
        let association = if connect.queue == 0 {
            self.shared.create(&connect, stream)?
        } else {
            self.shared.join(&connect, stream)?
        };
        // I/O queues may be silent for ever; the admin queue's keep-alive watches for both.
        let keep_alive = u64::from(connect.keep_alive_milliseconds);
        let limit = (connect.queue == 0 && keep_alive > 0)
            .then(|| Duration::from_millis(keep_alive) + KEEP_ALIVE_GRACE);
        let id = association.controller.id();
        self.joined = Some(Joined { association, queue: connect.queue, size: connect.size });
        self.input.get_ref().set_read_timeout(limit).map_err(internal)?;
        Ok(id)
    }

    fn answer(&mut self, command: &Command, reply: Reply) -> io::Result<()> {
        let Reply::Done { status, result, data } = reply else {
            self.held += 1;
            return Ok(());
        };
        if !data.is_empty() {
            let alignment = self.initialize.data_alignment;
            pdu::data(&mut self.output, command.id(), &data, alignment)?;
        }
        let queue = self.joined.as_ref().map_or(0, |joined| joined.queue);
        let mut entry = [0; 16];
        let fields = [
            (0, result.to_le_bytes().as_slice()),
            (8, &self.head.to_le_bytes()),
            (10, &queue.to_le_bytes()),
            (12, &command.id().to_le_bytes()),
            // Bit 0 is the phase tag, unused on fabrics.
            (14, &(status.0 << 1).to_le_bytes()),
        ]
        .map(|(at, bytes)| (at, bytes.to_vec()));
        for (at, bytes) in fields {
            if let Some(slot) = entry.get_mut(at..at + bytes.len()) {
                slot.copy_from_slice(&bytes);
            }
        }
        pdu::response(&mut self.output, &entry)
    }
}

/// The SGL descriptor of a command (NVMe Base 1.4 §4.4).
struct Sgl {
    length: usize,
    in_capsule: bool,
}

impl Sgl {
    /// Data block with an offset in the capsule (01h, only offset 0), or transport data block (5Ah).
    fn of(command: &Command) -> Result<Self, Status> {
        let length = command.dword(8) as usize;
        match (command.dword(9) >> 24, command.direction()) {
            (_, Direction::None) | (0, _) if length == 0 => Ok(Self { length, in_capsule: false }),
            (0x5A, _) => Ok(Self { length, in_capsule: false }),
            (0x01, _) if command.qword(6) == 0 => Ok(Self { length, in_capsule: true }),
            (_, Direction::None) => Ok(Self { length: 0, in_capsule: false }),
            _ => Err(Status::SGL_TYPE),
        }
    }
}
