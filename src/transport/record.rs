// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transport that keeps what passes through it, as far as that is safe.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use opal::{Transport, TransportError};

use super::Direction;
use super::recording::{Exchange, Failure, Header};
use super::redact::{HideByteStrings, Redact};

/// Writes each exchange of `inner` as a line of a recording ([`super::recording`]).
///
/// A recording that cannot be written does not stop the drive's work: the first failure is kept, and
/// nothing is written after it.
pub struct Record<T> {
    inner: T,
    redact: Box<dyn Redact + Send>,
    sink: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl<T: Transport> Record<T> {
    /// Records to a new file at `path`, readable by its owner only, with secrets left out.
    ///
    /// # Errors
    /// The file exists or cannot be made.
    pub fn create(inner: T, path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self::new(inner, BufWriter::new(file), HideByteStrings))
    }

    /// Records to `sink`, each line flushed, leaving out what `redact` says.
    pub fn new(
        inner: T,
        sink: impl Write + Send + 'static,
        redact: impl Redact + Send + 'static,
    ) -> Self {
        let header = Header::new(inner.max_transfer());
        let mut record =
            Self { inner, redact: Box::new(redact), sink: Box::new(sink), failure: None };
        record.write(&header);
        record
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// The first failure to write it; what was written before is in the sink.
    pub fn finish(self) -> io::Result<T> {
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.inner),
        }
    }

    fn write(&mut self, line: &impl serde::Serialize) {
        if self.failure.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut self.sink, line)
            .map_err(io::Error::from)
            .and_then(|()| self.sink.write_all(b"\n"))
            .and_then(|()| self.sink.flush());
        if let Err(error) = written {
            self.failure = Some(error);
        }
    }

    fn keep(&mut self, mut exchange: Exchange, data: Option<&[u8]>) {
        if let Some(data) = data {
            let Exchange { dir, protocol, specific, .. } = exchange;
            let hidden = self.redact.hidden(dir, protocol, specific, data);
            exchange.set_data(data, &hidden);
        }
        self.write(&exchange);
    }
}

impl<T: Transport> Transport for Record<T> {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        let result = self.inner.if_send(protocol, specific, data);
        let exchange = Exchange {
            dir: Direction::Send,
            protocol,
            specific,
            length: data.len(),
            valid: None,
            hex: String::new(),
            hidden: Vec::new(),
            error: result.as_ref().err().map(Failure::from),
        };
        self.keep(exchange, Some(data));
        result
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        let result = self.inner.if_recv(protocol, specific, buffer);
        let exchange = Exchange {
            dir: Direction::Recv,
            protocol,
            specific,
            length: buffer.len(),
            valid: result.as_ref().ok().copied(),
            hex: String::new(),
            hidden: Vec::new(),
            error: result.as_ref().err().map(Failure::from),
        };
        let data = result.as_ref().ok().and_then(|&valid| buffer.get(..valid));
        self.keep(exchange, data);
        result
    }

    fn pause(&mut self, duration: Duration) {
        self.inner.pause(duration);
    }

    fn max_transfer(&self) -> usize {
        self.inner.max_transfer()
    }
}
