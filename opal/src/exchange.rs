// SPDX-License-Identifier: MIT OR Apache-2.0
//! One request to a drive and its answer, with no I/O and no clock.
//!
//! An [`Exchange`] says what it wants done next ([`Step`]): carry bytes to the drive, fetch bytes
//! from it, let time pass. Whoever owns the transport does that, feeds what came back, and asks
//! again until the exchange is done. [`crate::host::run`] is the blocking loop most people use.
//!
//! ```
//! use opal::exchange::{self, ComId, Step, request};
//! use opal::spec::{c_pin, column};
//!
//! // Ask for the MSID in session 0x1001/1, by hand.
//! let numbers = exchange::SessionNumbers { tsn: 0x1001, hsn: 1 };
//! let ask = request::get(c_pin::MSID, column::c_pin::PIN..=column::c_pin::PIN);
//! let mut exchange = exchange::method(ComId::fixed(0x1000), numbers, ask);
//! assert!(matches!(exchange.step(), Step::Send { protocol: 1, specific: 0x1000, .. }));
//! assert!(matches!(exchange.step(), Step::Receive { max: 2048, .. }));
//! exchange.received(&[0; 512]);
//! assert!(matches!(exchange.step(), Step::Done(Err(opal::Error::NoAnswer { method: "Get" }))));
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::transport::{TransportError, TransportErrorKind};
use crate::wire::packet::BLOCK;

pub mod cells;
pub mod columns;
pub mod com_id;
pub mod enterprise;
mod listen;
pub mod method;
pub mod properties;
pub mod request;
pub mod start_session;

pub use cells::Cells;
pub use columns::Columns;
pub use method::{Results, method};
pub use request::Request;

/// First guess at the size of an answer, and what every Opal drive keeps to until properties are
/// negotiated (Opal 2.30 §3.3.1).
pub const DEFAULT_TRANSFER: usize = 2048;
/// No answer makes the host ask for more than this at once, whatever the drive claims to hold.
pub const MAX_TRANSFER: usize = 1024 * 1024;
/// How long an ordinary method may take before the host gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a method that changes keys or the life cycle may take before the host gives up.
pub const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// Asking an exchange that has given its result.
const ENDED: Error = Error::Usage("this exchange has already ended");

/// IF-RECVs of one exchange that bring data or ask for a larger buffer; a drive that goes on
/// longer is not making sense.
const MAX_RECEIVES: u32 = 1024;

/// A ComID with its extension, which is 0 for the ComIDs of discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComId {
    /// The ComID, as in the interface command.
    pub number: u16,
    /// The extension that GET_COMID gave.
    pub extension: u16,
}

impl ComId {
    /// A ComID from discovery: extension 0.
    #[must_use]
    pub const fn fixed(number: u16) -> Self {
        Self { number, extension: 0 }
    }
}

/// The two numbers that name a session (Core 2.01 §3.3.7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionNumbers {
    /// Chosen by the drive; 4096 or more.
    pub tsn: u32,
    /// Chosen by the host.
    pub hsn: u32,
}

impl SessionNumbers {
    /// The control session.
    pub const CONTROL: Self = Self { tsn: 0, hsn: 0 };
}

/// What an exchange wants next.
#[derive(Debug)]
pub enum Step<'a, T> {
    /// IF-SEND these bytes, then ask again; on failure call [`Exchange::failed`] first.
    Send {
        /// Security protocol.
        protocol: u8,
        /// Protocol specific field: the ComID.
        specific: u16,
        /// A multiple of 512 bytes. May hold a PIN.
        data: &'a [u8],
    },
    /// IF-RECV at most `max` bytes and hand them to [`Exchange::received`], or call
    /// [`Exchange::failed`].
    Receive {
        /// Security protocol.
        protocol: u8,
        /// Protocol specific field: the ComID.
        specific: u16,
        /// A multiple of 512.
        max: usize,
    },
    /// Let this much time pass, then ask again.
    Wait(Duration),
    /// The end. Asking once more yields [`Error::Usage`].
    Done(Result<T, Error>),
}

/// What a listener makes of the bytes of one IF-RECV.
pub(crate) enum Heard<T> {
    /// Nothing yet: ask again after a while.
    NotReady,
    /// There is more: ask again at once, for at least this many bytes.
    More(usize),
    /// The transfer was too small for what the drive has: this many bytes are needed.
    TooSmall(usize),
    /// The answer, or why there is none.
    Done(Result<T, Error>),
}

/// Takes in the answer of an exchange piece by piece.
pub(crate) trait Listen<T> {
    /// Takes what one IF-RECV brought.
    fn hear(&mut self, data: &[u8]) -> Heard<T>;

    /// Time is up: the answer after all, if what came so far is one.
    fn time_is_up(&mut self) -> Option<Result<T, Error>> {
        None
    }
}

enum State<T> {
    Send,
    /// Sent, and nothing to listen for.
    Sent,
    Receive,
    Wait(Duration),
    /// The drive said the other half of an earlier exchange is due: fetch and discard it.
    Drain,
    DrainWait(Duration),
    Done(Option<Result<T, Error>>),
}

enum Goal<T> {
    /// The interface command is all there is.
    Sent(Option<Result<T, Error>>),
    Answer(Box<dyn Listen<T>>),
}

/// The command that [`Exchange::failed`] would be about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Send,
    Receive,
}

/// One request and its answer. See the [module](self).
pub struct Exchange<T> {
    name: &'static str,
    protocol: u8,
    specific: u16,
    request: Zeroizing<Vec<u8>>,
    goal: Goal<T>,
    state: State<T>,
    asked: Asked,
    max: usize,
    /// The path refused a larger transfer, so this is the largest.
    ceiling: usize,
    receives: u32,
    drained: bool,
    patience: Duration,
    polls: Polls,
}

impl<T> Exchange<T> {
    /// Sends `request`, then listens.
    pub(crate) fn new(
        name: &'static str,
        (protocol, specific): (u8, u16),
        request: Zeroizing<Vec<u8>>,
        listener: impl Listen<T> + 'static,
    ) -> Self {
        Self::with_goal(name, (protocol, specific), request, Goal::Answer(Box::new(listener)))
    }

    /// Sends `request`; there is no answer to wait for.
    pub(crate) fn one_way(
        name: &'static str,
        (protocol, specific): (u8, u16),
        request: Zeroizing<Vec<u8>>,
        value: T,
    ) -> Self {
        Self::with_goal(name, (protocol, specific), request, Goal::Sent(Some(Ok(value))))
    }

    fn with_goal(
        name: &'static str,
        (protocol, specific): (u8, u16),
        request: Zeroizing<Vec<u8>>,
        goal: Goal<T>,
    ) -> Self {
        let state = if request.is_empty() { State::Receive } else { State::Send };
        Self {
            name,
            protocol,
            specific,
            request,
            goal,
            state,
            asked: Asked::Nothing,
            max: DEFAULT_TRANSFER,
            ceiling: MAX_TRANSFER,
            receives: 0,
            drained: false,
            patience: PATIENCE,
            polls: Polls::default(),
        }
    }

    /// Asks for answers of up to `max` bytes from the start; rounded up to whole blocks.
    #[must_use]
    pub fn with_transfer(mut self, max: usize) -> Self {
        self.max = max.clamp(BLOCK, MAX_TRANSFER).next_multiple_of(BLOCK);
        self
    }

    /// Gives up after this much waiting; the default is [`PATIENCE`].
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Name of the method or command, for messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What to do next. Asking again after [`Step::Send`] or [`Step::Wait`] means it was done.
    pub fn step(&mut self) -> Step<'_, T> {
        self.asked = Asked::Nothing;
        match &mut self.state {
            State::Send => {
                self.asked = Asked::Send;
                self.state = match self.goal {
                    Goal::Sent(_) => State::Sent,
                    Goal::Answer(_) => State::Receive,
                };
                let (protocol, specific) = (self.protocol, self.specific);
                Step::Send { protocol, specific, data: &self.request }
            }
            State::Receive | State::Drain => {
                self.asked = Asked::Receive;
                self.receives += 1;
                let (protocol, specific, max) = (self.protocol, self.specific, self.max);
                Step::Receive { protocol, specific, max }
            }
            State::Wait(pause) => {
                let pause = *pause;
                self.state = State::Receive;
                Step::Wait(pause)
            }
            State::DrainWait(pause) => {
                let pause = *pause;
                self.state = State::Drain;
                Step::Wait(pause)
            }
            State::Sent => {
                self.state = State::Done(None);
                let value = match &mut self.goal {
                    Goal::Sent(value) => value.take(),
                    Goal::Answer(_) => None,
                };
                Step::Done(value.unwrap_or(Err(ENDED)))
            }
            State::Done(result) => Step::Done(result.take().unwrap_or(Err(ENDED))),
        }
    }

    /// Takes the bytes of an IF-RECV. Ignored unless one was asked for.
    pub fn received(&mut self, data: &[u8]) {
        match self.state {
            State::Receive => self.hear(data),
            State::Drain => self.drain(data),
            _ => {}
        }
    }

    /// Takes the news that the last [`Step::Send`] or [`Step::Receive`] failed. The exchange
    /// copes where it can (an unread answer is drained, a transfer the path refuses is made
    /// smaller) and ends otherwise.
    pub fn failed(&mut self, error: TransportError) {
        match error.kind {
            TransportErrorKind::ProtocolViolation if self.asked == Asked::Send && !self.drained => {
                self.drained = true;
                self.polls = Polls::default();
                self.state = State::Drain;
            }
            // Quirk B3: large receives fail on some paths, with whatever error.
            TransportErrorKind::InvalidLength | TransportErrorKind::Failed
                if self.asked == Asked::Receive && self.max > DEFAULT_TRANSFER =>
            {
                self.ceiling = (self.max / 2).max(DEFAULT_TRANSFER).next_multiple_of(BLOCK);
                self.max = self.ceiling;
            }
            _ => self.state = State::Done(Some(Err(error.into()))),
        }
    }

    fn hear(&mut self, data: &[u8]) {
        let Goal::Answer(listener) = &mut self.goal else { return };
        self.state = match listener.hear(data) {
            Heard::Done(result) => State::Done(Some(result)),
            Heard::NotReady => match self.polls.next(self.patience) {
                Some(pause) => State::Wait(pause),
                None => {
                    let seconds = self.patience.as_secs();
                    let late = Err(Error::TimedOut { method: self.name, seconds });
                    State::Done(Some(listener.time_is_up().unwrap_or(late)))
                }
            },
            Heard::More(_) if self.receives >= MAX_RECEIVES => {
                State::Done(Some(Err(Error::Mismatch("an answer without end"))))
            }
            Heard::TooSmall(needed) if needed <= self.max => {
                State::Done(Some(Err(Error::Mismatch("a ComPacket cut short"))))
            }
            Heard::More(needed) | Heard::TooSmall(needed) if needed > self.ceiling => {
                State::Done(Some(Err(Error::Mismatch("an answer larger than one transfer"))))
            }
            Heard::More(needed) | Heard::TooSmall(needed) => {
                self.max = self.max.max(needed.next_multiple_of(BLOCK));
                State::Receive
            }
        };
    }

    /// Discards what an earlier exchange left, until the drive has nothing more.
    fn drain(&mut self, data: &[u8]) {
        let over = State::Done(Some(Err(Error::Mismatch("an earlier answer without end"))));
        self.state = match listen::waiting(data) {
            listen::Waiting::Nothing => {
                self.receives = 0;
                self.polls = Polls::default();
                State::Send
            }
            _ if self.receives >= MAX_RECEIVES => over,
            listen::Waiting::NotReady => match self.polls.next(self.patience) {
                Some(pause) => State::DrainWait(pause),
                None => over,
            },
            listen::Waiting::Data { needed } if needed > self.ceiling => over,
            listen::Waiting::Data { needed } => {
                self.max = self.max.max(needed.next_multiple_of(BLOCK));
                State::Drain
            }
        };
    }
}

/// How long to wait before each further IF-RECV: hardly at all at first, because most answers are
/// there at once, then ever longer. Counts the time it asked for, having no clock.
#[derive(Default)]
struct Polls {
    count: u32,
    spent: Duration,
}

impl Polls {
    fn next(&mut self, patience: Duration) -> Option<Duration> {
        if self.spent >= patience {
            return None;
        }
        let millis = match self.count {
            0 => 1,
            1 => 2,
            2 => 5,
            3 => 10,
            // 25 ms for the first second, as other hosts do (quirk B10).
            4..=43 => 25,
            44..=133 => 100,
            _ => 500,
        };
        self.count += 1;
        let pause = Duration::from_millis(millis).min(patience - self.spent);
        self.spent += pause;
        Some(pause)
    }
}
