// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transport that plays a drive from a script and writes down everything the host did.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::VecDeque;
use std::time::Duration;

use opal::exchange::{ComId, SessionNumbers};
use opal::host::{Host, Identity};
use opal::wire::packet::Envelope;
use opal::wire::{CallBuilder, Encoder, Status, call};
use opal::{Transport, TransportError, TransportErrorKind, Uid};

pub(crate) const SERIAL: &str = "S3YANB0K123456";
pub(crate) const COM_ID: u16 = 0x1000;
pub(crate) const SESSION: SessionNumbers = SessionNumbers { tsn: 0x1001, hsn: 1 };

/// What the host did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    /// IF-SEND of this many bytes.
    Send(usize),
    /// IF-RECV of at most this many bytes.
    Receive(usize),
    Pause(Duration),
}

type Refusal = TransportErrorKind;

/// Plays the answers in order; when they run out the drive has nothing to say.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) answers: VecDeque<Result<Vec<u8>, Refusal>>,
    /// Refusals of the next IF-SENDs.
    pub(crate) refusals: VecDeque<Option<Refusal>>,
    /// Everything sent, transfer by transfer.
    pub(crate) sent: Vec<(u8, u16, Vec<u8>)>,
    pub(crate) log: Vec<Did>,
    pub(crate) path: Option<usize>,
    /// Tell how long an answer is instead of filling the transfer with zeros.
    pub(crate) exact: bool,
}

impl Script {
    pub(crate) fn new(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { answers: answers.into_iter().map(Ok).collect(), ..Self::default() }
    }

    pub(crate) fn sends(&self) -> usize {
        self.log.iter().filter(|did| matches!(did, Did::Send(_))).count()
    }

    pub(crate) fn receives(&self) -> usize {
        self.log.iter().filter(|did| matches!(did, Did::Receive(_))).count()
    }

    pub(crate) fn paused(&self) -> Duration {
        let pauses = self.log.iter().map(|did| match did {
            Did::Pause(duration) => *duration,
            _ => Duration::ZERO,
        });
        pauses.sum()
    }

    /// The tokens of the transfer `index`, as far as the lengths say.
    pub(crate) fn tokens(&self, index: usize) -> Vec<u8> {
        let com = opal::wire::ComPacket::parse(&self.sent[index].2).unwrap();
        let packet = com.packets().next().unwrap().unwrap();
        packet.sub_packets().next().unwrap().unwrap().payload().to_vec()
    }
}

impl Transport for Script {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        assert_eq!(data.len() % 512, 0, "quirks B1, B2: transfers are whole blocks");
        self.log.push(Did::Send(data.len()));
        if let Some(Some(kind)) = self.refusals.pop_front() {
            return Err(TransportError::new(kind, "refused by the script"));
        }
        self.sent.push((protocol, specific, data.to_vec()));
        Ok(())
    }

    fn if_recv(
        &mut self,
        _protocol: u8,
        _specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        assert_eq!(buffer.len() % 512, 0, "quirks B1, B2: transfers are whole blocks");
        assert!(self.log.len() < 10_000, "the host does not end");
        self.log.push(Did::Receive(buffer.len()));
        let answer = self.answers.pop_front().unwrap_or_else(|| Ok(empty(0, 0)));
        let answer = answer.map_err(|kind| TransportError::new(kind, "refused by the script"))?;
        buffer.fill(0);
        let length = answer.len().min(buffer.len());
        buffer[..length].copy_from_slice(&answer[..length]);
        Ok(if self.exact { length } else { buffer.len() })
    }

    fn pause(&mut self, duration: Duration) {
        self.log.push(Did::Pause(duration));
    }

    fn max_transfer(&self) -> usize {
        self.path.unwrap_or(64 * 1024)
    }
}

/// A host over the script, which knows its ComID.
pub(crate) fn host(script: &mut Script) -> Host<&mut Script> {
    let identity = Identity { serial: SERIAL.into(), model: "Example".into() };
    let mut host = Host::new(script, identity);
    host.use_com_id(ComId::fixed(COM_ID));
    host
}

fn envelope(numbers: SessionNumbers) -> Envelope {
    Envelope { com_id: COM_ID, tsn: numbers.tsn, hsn: numbers.hsn, ..Envelope::default() }
}

/// Tokens in a ComPacket of a session.
pub(crate) fn packet(numbers: SessionNumbers, tokens: &[u8]) -> Vec<u8> {
    envelope(numbers).wrap(tokens).to_vec()
}

/// Tokens in a ComPacket that says more is to come.
pub(crate) fn part(numbers: SessionNumbers, tokens: &[u8], outstanding: u32, min: u32) -> Vec<u8> {
    let envelope =
        Envelope { outstanding_data: outstanding, min_transfer: min, ..envelope(numbers) };
    envelope.wrap(tokens).to_vec()
}

/// A ComPacket without payload.
pub(crate) fn empty(outstanding: u32, min: u32) -> Vec<u8> {
    let envelope = Envelope {
        com_id: COM_ID,
        outstanding_data: outstanding,
        min_transfer: min,
        ..Envelope::default()
    };
    envelope.empty()
}

/// The drive is not ready (quirk B10).
pub(crate) fn not_ready() -> Vec<u8> {
    empty(1, 0)
}

/// An answer in the session.
pub(crate) fn answer(status: Status, results: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    packet(SESSION, &call::answer(status, results))
}

/// "Done", without results.
pub(crate) fn done() -> Vec<u8> {
    answer(Status::SUCCESS, |_| {})
}

/// A failure.
pub(crate) fn fails(status: Status) -> Vec<u8> {
    answer(status, |_| {})
}

/// Columns of a row.
pub(crate) fn row(columns: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    answer(Status::SUCCESS, |t| {
        t.list(columns);
    })
}

/// End of Session.
pub(crate) fn ended() -> Vec<u8> {
    packet(SESSION, &[0xFA])
}

/// A call of the drive on the control session.
pub(crate) fn control(
    method: Uid,
    status: Status,
    parameters: impl FnOnce(&mut Encoder),
) -> Vec<u8> {
    packet(SessionNumbers::CONTROL, &call::control_answer(method, status, parameters))
}

/// SyncSession.
pub(crate) fn sync(status: Status, hsn: u32, tsn: u32) -> Vec<u8> {
    control(opal::spec::method::SYNC_SESSION, status, |t| {
        t.uint(hsn.into()).uint(tsn.into());
    })
}

/// A session was opened as [`SESSION`].
pub(crate) fn opened() -> Vec<u8> {
    sync(Status::SUCCESS, SESSION.hsn, SESSION.tsn)
}

/// The drive closed [`SESSION`].
pub(crate) fn closed() -> Vec<u8> {
    control(opal::spec::method::CLOSE_SESSION, Status::SUCCESS, |t| {
        t.uint(SESSION.hsn.into()).uint(SESSION.tsn.into());
    })
}

/// Whether the tokens are a call of this method.
pub(crate) fn calls(tokens: &[u8], method: Uid) -> bool {
    let call = CallBuilder::new(Uid::NULL, method).finish();
    tokens.get(10..19) == call.get(10..19)
}
