// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control socket: one JSON object a line, the hands on the drive's power switch and label.
//!
//! Requests and answers are described in `docs/emulator.md`. Nothing here tells a secret.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Drive;
use super::backend::{Backend as _, CommandStatus};
use super::fault::Fault;
use super::frontend::listen::{Listener, Stop};

/// Version of requests and answers.
pub const VERSION: u32 = 1;
/// Longest line, in bytes.
const MAX_LINE: u64 = 1 << 20;
/// Most blocks in one dump.
const MAX_DUMP: u32 = 256;
/// Connections at once.
const MAX_CONNECTIONS: usize = 16;
/// How long a client waits for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// What the control socket is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Power off and on.
    PowerCycle,
    /// Another reset that an interface reports.
    Reset {
        /// Which one.
        kind: ResetKind,
    },
    /// What the tables say.
    State,
    /// IF-SEND, IF-RECV and sessions since the last [`Request::CountersReset`].
    Counters,
    /// Counts from zero.
    CountersReset,
    /// Stored bytes of media blocks, as they are: ciphertext.
    Dump {
        /// First block.
        lba: u64,
        /// How many, at most 256.
        blocks: u32,
    },
    /// Arms a fault.
    Fault {
        /// Which.
        fault: Fault,
    },
    /// The n-th write, punch or sync of the image file from now on fails.
    FailWrite {
        /// 1 is the next; 0 takes it back.
        nth: u64,
    },
    /// Faults that have not happened.
    Faults,
    /// Takes them back.
    FaultsClear,
}

/// Resets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetKind {
    /// Power off and on.
    PowerCycle,
    /// A reset of the hardware that keeps the power.
    Hardware,
    /// Taken out and put back.
    HotPlug,
}

/// A listening control socket.
pub struct ControlServer {
    listener: Listener,
    drive: Arc<Drive>,
}

impl ControlServer {
    /// Listens at `path`.
    ///
    /// # Errors
    /// Somebody serves there, or the file system refused.
    pub fn bind(path: &Path, drive: Arc<Drive>) -> io::Result<Self> {
        Ok(Self { listener: Listener::bind(path)?, drive })
    }

    /// A handle that ends [`ControlServer::run`].
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
            if let Err(error) = serve(stream, &drive, stop) {
                tracing::debug!(%error, "control connection ended");
            }
        })
    }
}

/// Sends one request to the control socket at `path` and returns its answer: an object with
/// `version`, `ok`, and `result` or `error`.
///
/// # Errors
/// Nobody serves there, or the answer is not JSON.
pub fn ask(path: &Path, request: &Request) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(8 * MAX_LINE)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&answer)?)
}

/// Does what a request asks; the answer as it goes over the socket.
#[must_use]
pub fn answer(drive: &Drive, request: &Request) -> Value {
    match perform(drive, request) {
        Ok(result) => json!({ "version": VERSION, "ok": true, "result": result }),
        Err(error) => json!({ "version": VERSION, "ok": false, "error": error }),
    }
}

fn serve(stream: UnixStream, drive: &Drive, stop: &Stop) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        if reader.buffer().is_empty() && !stop.wait_readable(reader.get_ref())? {
            return Ok(());
        }
        let mut line = Vec::new();
        (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => answer(drive, &request),
            Err(error) => json!({
                "version": VERSION,
                "ok": false,
                "error": format!("not a request: {error}; see docs/emulator.md"),
            }),
        };
        let mut bytes = serde_json::to_vec(&reply)?;
        bytes.push(b'\n');
        writer.write_all(&bytes)?;
        // A line that was cut at the limit leaves a rest that means nothing.
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

fn perform(drive: &Drive, request: &Request) -> Result<Value, String> {
    match *request {
        Request::PowerCycle
        | Request::Reset { kind: ResetKind::PowerCycle | ResetKind::HotPlug } => {
            let cycles = drive.power_cycle().map_err(|error| error.to_string())?;
            Ok(json!({ "power_cycles": cycles }))
        }
        Request::Reset { kind: ResetKind::Hardware } => {
            drive.hardware_reset().map_err(words)?;
            Ok(json!({ "power_cycles": drive.power_cycles() }))
        }
        Request::State => Ok(state(drive)),
        Request::Counters => {
            let counters = drive.counters();
            Ok(json!({
                "if_send": counters.if_send,
                "if_recv": counters.if_recv,
                "sessions": counters.sessions,
            }))
        }
        Request::CountersReset => {
            drive.reset_counters();
            Ok(json!({}))
        }
        Request::Dump { lba, blocks } => {
            if blocks == 0 || blocks > MAX_DUMP {
                return Err(format!("a dump has 1 to {MAX_DUMP} blocks"));
            }
            let mut data = vec![0u8; blocks as usize * drive.identity().block_size as usize];
            drive.ciphertext(lba, &mut data).map_err(words)?;
            Ok(json!({ "lba": lba, "blocks": blocks, "data": hex(&data) }))
        }
        Request::Fault { fault } => {
            drive.inject(fault);
            Ok(json!({ "armed": drive.armed_faults() }))
        }
        Request::FailWrite { nth } => {
            drive.fail_image_write(nth);
            Ok(json!({}))
        }
        Request::Faults => Ok(json!({ "armed": drive.armed_faults() })),
        Request::FaultsClear => {
            drive.clear_faults();
            Ok(json!({}))
        }
    }
}

fn state(drive: &Drive) -> Value {
    let header = drive.header();
    let status = drive.status();
    let ranges: Vec<Value> = status
        .ranges
        .iter()
        .map(|range| {
            json!({
                "range": range.number,
                "start": range.start,
                "length": range.length,
                "read_locked": range.read_locked,
                "write_locked": range.write_locked,
                "key_in_memory": status.keys_in_memory.contains(&range.number),
            })
        })
        .collect();
    let tables: Vec<Value> = status
        .byte_tables
        .iter()
        .map(|(table, size)| json!({ "table": hex(&table.to_bytes()), "size": size }))
        .collect();
    json!({
        "model": header.model,
        "serial": header.serial,
        "firmware": header.firmware,
        "profile": header.profile_name,
        "block_size": header.profile.geometry.block_size,
        "blocks": header.profile.blocks,
        "msid": String::from_utf8_lossy(&header.profile.msid),
        "power_cycles": status.power_cycles,
        "failed": status.failed,
        "shadowing": status.shadowing,
        "ranges": ranges,
        "byte_tables": tables,
        "sessions_with_secrets": status.sessions_with_secrets,
        "discovery": hex(&status.discovery),
    })
}

fn words(status: CommandStatus) -> String {
    match status {
        CommandStatus::MediaError => "the image failed; power-cycle the drive".to_owned(),
        CommandStatus::LbaOutOfRange => "blocks past the end of the drive".to_owned(),
        other => format!("the drive refused: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
