// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transport that answers from a recording, as long as the host asks what was recorded.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use opal::{Transport, TransportError, TransportErrorKind as Kind};

use super::Direction;
use super::recording::{self, Exchange, Header, RecordingError};

/// Plays a recording back.
///
/// Every command must be the recorded next one: direction, protocol, ComID, length and all bytes of a
/// send that are not hidden. Hidden bytes of an answer come back as zeros. Pauses return at once.
#[derive(Debug)]
pub struct Replay {
    header: Header,
    exchanges: Vec<Exchange>,
    next: usize,
}

impl Replay {
    /// Reads the recording at `path`.
    ///
    /// # Errors
    /// It cannot be read or is not a recording.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        Self::from_reader(BufReader::new(File::open(path)?))
    }

    /// Reads a recording.
    ///
    /// # Errors
    /// It cannot be read or is not a recording.
    pub fn from_reader(reader: impl BufRead) -> Result<Self, RecordingError> {
        let (header, exchanges) = recording::read(reader)?;
        Ok(Self { header, exchanges, next: 0 })
    }

    /// How many recorded exchanges the host has not made yet.
    pub fn remaining(&self) -> usize {
        self.exchanges.len() - self.next
    }

    /// The recorded next exchange, if it is the command described; it counts as made then.
    fn advance(
        &mut self,
        direction: Direction,
        protocol: u8,
        specific: u16,
        length: usize,
        sent: Option<&[u8]>,
    ) -> Result<Exchange, TransportError> {
        let number = self.next + 1;
        let Some(expected) = self.exchanges.get(self.next) else {
            return Err(TransportError::new(
                Kind::Gone,
                format!("the recording ends after {} exchanges", self.exchanges.len()),
            ));
        };
        let differs = |what: String| {
            Err(TransportError::new(
                Kind::Failed,
                format!("exchange {number} is not the recorded one: {what}"),
            ))
        };
        let Exchange { dir, protocol: p, specific: s, length: l, .. } = *expected;
        if (dir, p, s, l) != (direction, protocol, specific, length) {
            return differs(format!(
                "{direction} protocol {protocol:#04x} ComID {specific:#06x} of {length} bytes, \
                 recorded {dir} {p:#04x} {s:#06x} of {l} bytes"
            ));
        }
        if let Some(sent) = sent {
            let recorded = expected.data().map_err(|e| TransportError::new(Kind::Failed, e))?;
            let hidden = |at: usize| {
                expected.hidden.iter().any(|&(start, length)| at >= start && at - start < length)
            };
            let differing = sent
                .iter()
                .zip(&recorded)
                .enumerate()
                .find(|(at, (now, then))| now != then && !hidden(*at));
            if let Some((at, _)) = differing {
                return differs(format!("byte {at} of the payload differs"));
            }
        }
        let expected = expected.clone();
        self.next += 1;
        Ok(expected)
    }
}

impl Transport for Replay {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        let recorded = self.advance(Direction::Send, protocol, specific, data.len(), Some(data))?;
        recorded.error.as_ref().map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        let recorded = self.advance(Direction::Recv, protocol, specific, buffer.len(), None)?;
        if let Some(failure) = &recorded.error {
            return Err(failure.into());
        }
        let data = recorded.data().map_err(|e| TransportError::new(Kind::Failed, e))?;
        let Some((head, rest)) = buffer.split_at_mut_checked(data.len()) else {
            return Err(TransportError::new(Kind::Failed, "recorded answer does not fit"));
        };
        head.copy_from_slice(&data);
        rest.fill(0);
        Ok(data.len())
    }

    fn pause(&mut self, _duration: Duration) {}

    fn max_transfer(&self) -> usize {
        self.header.max_transfer.max(512)
    }
}
