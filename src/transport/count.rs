// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transport that counts what passes through it.

use std::time::Duration;

use opal::{Transport, TransportError};

/// Commands and bytes that a [`Count`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// IF-SENDs, failed ones too.
    pub sends: u64,
    /// IF-RECVs, failed ones and polls too.
    pub recvs: u64,
    /// Commands that did not succeed.
    pub failures: u64,
    /// Bytes handed to the drive, padding too.
    pub sent_bytes: u64,
    /// Valid bytes received.
    pub received_bytes: u64,
    /// Pauses between commands.
    pub pauses: u64,
}

/// Counts the commands of `inner`.
#[derive(Debug)]
pub struct Count<T> {
    inner: T,
    counts: Counts,
}

impl<T> Count<T> {
    /// Counts from zero.
    pub fn new(inner: T) -> Self {
        Self { inner, counts: Counts::default() }
    }

    /// What has passed so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What has passed so far; counting starts again.
    pub fn take(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The transport inside.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Transport> Transport for Count<T> {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        self.counts.sends += 1;
        let result = self.inner.if_send(protocol, specific, data);
        match result {
            Ok(()) => self.counts.sent_bytes += data.len() as u64,
            Err(_) => self.counts.failures += 1,
        }
        result
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        self.counts.recvs += 1;
        let result = self.inner.if_recv(protocol, specific, buffer);
        match result {
            Ok(length) => self.counts.received_bytes += length as u64,
            Err(_) => self.counts.failures += 1,
        }
        result
    }

    fn pause(&mut self, duration: Duration) {
        self.counts.pauses += 1;
        self.inner.pause(duration);
    }

    fn max_transfer(&self) -> usize {
        self.inner.max_transfer()
    }
}
