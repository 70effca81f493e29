// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transport that writes what passes through it for a person to read.

use std::io::{self, Write};
use std::time::Duration;

use opal::{Transport, TransportError};

use super::Direction;

/// Turns a payload into text, secrets left out.
///
/// It sees every exchange in order, so it may remember a request to make sense of its answer.
pub trait Print {
    /// Text of `data`, one or more lines without a trailing line end.
    fn print(&mut self, direction: Direction, protocol: u8, specific: u16, data: &[u8]) -> String;
}

impl<F: FnMut(Direction, u8, u16, &[u8]) -> String> Print for F {
    fn print(&mut self, direction: Direction, protocol: u8, specific: u16, data: &[u8]) -> String {
        self(direction, protocol, specific, data)
    }
}

/// Writes each exchange of `inner` to a sink.
///
/// A trace that cannot be written does not stop the drive's work: the first failure is kept, and
/// nothing is written after it.
pub struct Trace<T> {
    inner: T,
    print: Box<dyn Print + Send>,
    sink: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl<T: Transport> Trace<T> {
    /// Writes to `sink`, each exchange flushed, in the words of `print`.
    pub fn new(
        inner: T,
        sink: impl Write + Send + 'static,
        print: impl Print + Send + 'static,
    ) -> Self {
        Self { inner, print: Box::new(print), sink: Box::new(sink), failure: None }
    }

    /// Ends the trace.
    ///
    /// # Errors
    /// The first failure to write it; what was written before is in the sink.
    pub fn finish(self) -> io::Result<T> {
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.inner),
        }
    }

    fn write(&mut self, head: &str, body: &str) {
        if self.failure.is_some() {
            return;
        }
        let mut text = format!("{head}\n");
        for line in body.lines() {
            text.push_str("  ");
            text.push_str(line);
            text.push('\n');
        }
        let written = self.sink.write_all(text.as_bytes()).and_then(|()| self.sink.flush());
        if let Err(error) = written {
            self.failure = Some(error);
        }
    }
}

impl<T: Transport> Transport for Trace<T> {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        // Written before the command, so that a trace ends with what the drive was doing.
        let body = self.print.print(Direction::Send, protocol, specific, data);
        self.write(&head(Direction::Send, protocol, specific, data.len()), &body);
        let result = self.inner.if_send(protocol, specific, data);
        if let Err(error) = &result {
            self.write("IF-SEND failed", &error.detail);
        }
        result
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        let result = self.inner.if_recv(protocol, specific, buffer);
        let head = head(Direction::Recv, protocol, specific, buffer.len());
        match &result {
            Ok(valid) => {
                let data = buffer.get(..*valid).unwrap_or_default();
                let body = self.print.print(Direction::Recv, protocol, specific, data);
                self.write(&head, &body);
            }
            Err(error) => self.write(&format!("{head} failed"), &error.detail),
        }
        result
    }

    fn pause(&mut self, duration: Duration) {
        self.write(&format!("pause {} ms", duration.as_millis()), "");
        self.inner.pause(duration);
    }

    fn max_transfer(&self) -> usize {
        self.inner.max_transfer()
    }
}

fn head(direction: Direction, protocol: u8, specific: u16, length: usize) -> String {
    format!("{direction} protocol {protocol:#04x} ComID {specific:#06x}, {length} bytes")
}
