// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Pending`]: what a command has done, before it counts.

use alloc::sync::Arc;
use alloc::vec::Vec;
use zeroize::Zeroizing;

use super::machine::Inner;
use super::{Effect, Platform, SessionId, Tper};
use crate::Uid;

/// The outcome of a command, to be persisted and then committed; see the [module](super).
///
/// Dropping it takes everything back: tables, sessions and the platform are as before the command,
/// and the host hears a failure (TPER_MALFUNCTION, where an answer was due).
#[must_use = "dropping a Pending undoes the command; call commit()"]
pub struct Pending<'a, P: Platform> {
    pub(super) tper: &'a mut Tper<P>,
    /// What to go back to. None once committed.
    pub(super) before: Option<Inner>,
    pub(super) effects: Vec<Effect>,
    pub(super) vault_changed: bool,
    /// Channel and ComPacket that tell the host of a dropped command.
    pub(super) refusal: Option<(usize, Zeroizing<Vec<u8>>)>,
    /// PINs found right by this command.
    pub(super) verified: Vec<(SessionId, Uid)>,
    pub(super) opened: u64,
}

impl<P: Platform> Pending<'_, P> {
    /// Whether [`Pending::state`] or what the platform staged has to be persisted. Sessions are
    /// volatile and do not count, nor does what an open transaction holds back.
    #[must_use]
    pub fn changed(&self) -> bool {
        let now = &self.tper.inner;
        let same =
            |before: &Inner| before.ledger == now.ledger && before.tables.is_same(&now.tables);
        self.vault_changed || !self.effects.is_empty() || !self.before.as_ref().is_none_or(same)
    }

    /// The TPer's state to persist.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        self.tper.state()
    }

    /// What to do to media and byte tables, in order, after persisting and before committing.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// The platform, to persist what it staged and to apply the effects.
    pub const fn platform(&mut self) -> &mut P {
        &mut self.tper.platform
    }

    /// The TPer as it will be, for questions that do not change it.
    #[must_use]
    pub const fn tper(&self) -> &Tper<P> {
        self.tper
    }

    /// Makes it count: the host can fetch the answer.
    pub fn commit(mut self) {
        let Some(before) = self.before.take() else { return };
        let platform = &mut self.tper.platform;
        let open = &self.tper.inner.sessions;
        for session in &before.sessions {
            if !open.iter().any(|s| s.id == session.id) {
                platform.close_session(session.id);
            }
        }
        let held = before.sessions.iter().flat_map(|s| s.authenticated.iter().map(|a| (s.id, *a)));
        for (id, authority) in held.chain(self.verified.iter().copied()) {
            match open.iter().find(|s| s.id == id) {
                Some(session) if session.authenticated.contains(&authority) => {}
                Some(_) => platform.forget(id, authority),
                None if before.sessions.iter().any(|s| s.id == id) => {}
                // It began and ended with this command.
                None => platform.close_session(id),
            }
        }
        platform.commit();
        self.tper.counters.sessions += self.opened;
    }
}

impl<P: Platform> Pending<'_, P> {
    /// Undoes the command and leaves an empty one: the host's answer is the refusal.
    pub(super) fn undo(&mut self) {
        if let Some(before) = self.before.clone() {
            self.tper.inner = before;
        }
        self.tper.platform.rollback();
        self.tper.platform.begin();
        self.effects.clear();
        self.verified.clear();
        (self.vault_changed, self.opened) = (false, 0);
        self.refuse();
    }

    fn refuse(&mut self) {
        if let Some((channel, answer)) = self.refusal.take() {
            if let Some(channel) = self.tper.inner.channels.get_mut(channel) {
                channel.answer = Some(Arc::new(answer));
            }
        }
    }
}

impl<P: Platform> Drop for Pending<'_, P> {
    fn drop(&mut self) {
        let Some(before) = self.before.take() else { return };
        let channels = &self.tper.inner.channels;
        let due = self
            .refusal
            .as_ref()
            .and_then(|(channel, _)| channels.get(*channel))
            .is_some_and(|channel| channel.answer.is_some())
            // A removal that was begun owes an answer too.
            || (self.tper.inner.removal.is_some() && before.removal.is_none());
        self.tper.inner = before;
        self.tper.platform.rollback();
        if due {
            self.refuse();
        }
    }
}
