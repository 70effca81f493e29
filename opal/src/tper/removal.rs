// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data removal that takes time: processing, interrupted, done (Opal 2.30 §3.1.1.6, §5.1.2).
//!
//! A method that replaces keys is checked at once and done when its time has passed. Until then the
//! host is told to poll, and "interrupted" stands in the persistent state: a reset or power loss on
//! the way leaves everything as it was, and that bit. The same method again starts over, and takes
//! the bit away when it gets to its end.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use zeroize::Zeroizing;

use super::machine::Machine;
use super::methods::{self, Draft};
use super::platform::Platform;
use crate::wire::Encoder;
use crate::wire::packet::Envelope;

/// A method under way.
#[derive(Clone)]
pub(super) struct Removal {
    /// Who waits for the answer.
    pub(super) channel: usize,
    pub(super) envelope: Envelope,
    /// What the method will have changed.
    pub(super) draft: Draft,
    /// Answers to calls before it in the same packet.
    pub(super) before: Arc<Zeroizing<Vec<u8>>>,
    /// Its own answer.
    pub(super) answer: Arc<Zeroizing<Vec<u8>>>,
    pub(super) left: Duration,
}

impl<P: Platform> Machine<'_, P> {
    /// Lets the removal under way go on for `elapsed`.
    pub(super) fn go_on_removing(&mut self, elapsed: Duration) {
        let Some(mut removal) = self.inner.removal.take() else { return };
        removal.left = removal.left.saturating_sub(elapsed);
        if !removal.left.is_zero() {
            self.inner.removal = Some(removal);
            return;
        }
        let Removal { channel, envelope, draft, before, answer, .. } = removal;
        let mut out = Encoder::new();
        out.raw(&before);
        match methods::finish(self, draft) {
            Ok(()) => {
                self.inner.ledger.interrupted = false;
                out.raw(&answer);
            }
            Err(status) => {
                out.raw(&crate::wire::call::answer(status, |_| {}));
            }
        }
        self.leave_answer(channel, &envelope, &out.finish());
    }

    /// Gives up the removal under way on `channel`, or on any.
    pub(super) fn interrupt_removal(&mut self, channel: Option<usize>) {
        if self.inner.removal.as_ref().is_some_and(|r| channel.is_none_or(|c| c == r.channel)) {
            self.inner.removal = None;
        }
    }
}
