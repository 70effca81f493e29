// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Pending`]: what a command has done, before it counts.

use alloc::vec::Vec;

use super::{Effect, Platform, Tper};

/// The outcome of a command, to be persisted and then committed; see the [module](super).
///
/// Dropping it takes everything back: tables, sessions and the platform are as before the command,
/// and the host hears a failure (TPER_MALFUNCTION, where an answer was due).
#[must_use = "dropping a Pending undoes the command; call commit()"]
pub struct Pending<'a, P: Platform> {
    tper: &'a mut Tper<P>,
    effects: Vec<Effect>,
    changed: bool,
}

impl<'a, P: Platform> Pending<'a, P> {
    pub(super) fn new(tper: &'a mut Tper<P>) -> Self {
        Self { tper, effects: Vec::new(), changed: false }
    }

    /// Whether [`Pending::state`] or the platform's own staged state differs from what was
    /// persisted last. Locks of volatile things (sessions) do not count.
    #[must_use]
    pub const fn changed(&self) -> bool {
        self.changed
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

    /// Makes it count: the host can fetch the answer.
    pub fn commit(self) {
        let _ = self;
    }
}
