// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Inner`]: everything a TPer remembers. [`Machine`]: one command at work on it.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use zeroize::Zeroizing;

use super::platform::{Effect, Platform, SessionId};
use super::profile::{Profile, Quirk};
use super::properties::HostProperties;
use super::removal::Removal;
use super::sessions::{FIRST_TSN, Session};
use super::tables::Tables;
use crate::Uid;

/// What a TPer remembers. Cloned before each command and put back if the command is dropped.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) tables: Tables,
    pub(super) ledger: Ledger,
    pub(super) block: Block,
    pub(super) sessions: Vec<Session>,
    /// One per ComID, static ones first, in order.
    pub(super) channels: Vec<Channel>,
    /// Where the search for an inactive ComID begins, and the extension it gets.
    pub(super) next_com_id: usize,
    pub(super) next_extension: u16,
    /// Data removal under way.
    pub(super) removal: Option<Removal>,
    /// A session was aborted since the last reset ([`Quirk::SpBusyAfterAbandonedSession`]).
    pub(super) abandoned: bool,
    /// Reads fail until power is off ([`Quirk::ReadsFailAfterRevert`]).
    pub(super) reads_fail: bool,
    pub(super) next_tsn: u32,
    pub(super) next_session: u64,
}

/// Persistent facts that no transaction takes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// C_PIN.Tries, where not 0.
    pub(super) tries: BTreeMap<Uid, u32>,
    /// SID has been authenticated since the factory state (what Revert does to its PIN depends on
    /// it; Opal 2.30 §5.1.2.2.1).
    pub(super) sid_authenticated: bool,
    /// Data removal was begun and has not come to its end.
    pub(super) interrupted: bool,
}

/// Block SID and freeze lock. Volatile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// SID cannot be authenticated.
    pub(super) blocked: bool,
    /// A hardware reset lifts the block and the freeze.
    pub(super) cleared_by_hardware_reset: bool,
    /// No session with the Locking SP.
    pub(super) frozen: bool,
}

/// One ComID.
#[derive(Clone)]
pub(super) struct Channel {
    /// A whole ComPacket for the host. None is the state Awaiting IF-SEND.
    pub(super) answer: Option<Arc<Zeroizing<Vec<u8>>>>,
    pub(super) host: HostProperties,
    /// Answer to the last HANDLE_COMID_REQUEST.
    pub(super) management: Option<Vec<u8>>,
    /// IF-RECVs that find the answer, or the reset of the stack, not ready yet.
    pub(super) polls: u32,
    pub(super) management_polls: u32,
    /// Says nothing any more ([`Quirk::StackResetHangs`]).
    pub(super) dead: bool,
    /// ComID Extension; 0 for static ComIDs.
    pub(super) extension: u16,
    pub(super) state: ComIdState,
    /// Time since a dynamic ComID was issued.
    pub(super) age: Duration,
}

/// States of a ComID (Core 2.01 §3.3.3). Static ones are never inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ComIdState {
    Inactive,
    Issued,
    /// Had a session, and goes when the last one is gone.
    Associated,
}

impl Channel {
    /// The ComID of this index, as after a reset.
    pub(super) fn new(profile: &Profile, index: usize) -> Self {
        let is_static = index < usize::from(profile.com_ids);
        Self {
            answer: None,
            host: HostProperties::initial(profile.ssc),
            management: None,
            polls: 0,
            management_polls: 0,
            dead: false,
            extension: 0,
            state: if is_static { ComIdState::Issued } else { ComIdState::Inactive },
            age: Duration::ZERO,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.state != ComIdState::Inactive
    }
}

impl Inner {
    pub(super) fn new(profile: &Profile, tables: Tables) -> Self {
        let count = usize::from(profile.com_ids) + usize::from(profile.dynamic_com_ids);
        let channels = (0..count).map(|index| Channel::new(profile, index)).collect();
        Self {
            tables,
            ledger: Ledger::default(),
            block: Block::default(),
            sessions: Vec::new(),
            channels,
            next_com_id: usize::from(profile.com_ids),
            next_extension: 1,
            removal: None,
            abandoned: false,
            reads_fail: false,
            next_tsn: FIRST_TSN,
            next_session: 1,
        }
    }
}

/// One command at work. What it stages on the platform and changes here is undone together if the
/// command is dropped.
pub(super) struct Machine<'a, P: Platform> {
    pub(super) profile: &'a Profile,
    pub(super) platform: &'a mut P,
    pub(super) inner: &'a mut Inner,
    pub(super) effects: Vec<Effect>,
    /// The platform has something new to persist.
    pub(super) vault_changed: bool,
    /// Something in this command was staged on the platform and counts: a later failure cannot be
    /// taken back on its own.
    pub(super) staged: bool,
    /// The command cannot be finished and must be undone as a whole.
    pub(super) fatal: bool,
    /// PINs found right.
    pub(super) verified: Vec<(SessionId, Uid)>,
    /// Sessions opened.
    pub(super) opened: u64,
}

impl<'a, P: Platform> Machine<'a, P> {
    pub(super) fn new(profile: &'a Profile, platform: &'a mut P, inner: &'a mut Inner) -> Self {
        Self {
            profile,
            platform,
            inner,
            effects: Vec::new(),
            vault_changed: false,
            staged: false,
            fatal: false,
            verified: Vec::new(),
            opened: 0,
        }
    }

    /// Whether the drive has a quirk.
    pub(super) const fn quirk(&self, quirk: Quirk) -> bool {
        self.profile.quirks.has(quirk)
    }

    /// Drops a session and its transaction. The platform learns when the command is committed.
    pub(super) fn close(&mut self, tsn: u32) {
        self.inner.sessions.retain(|s| s.tsn != tsn);
    }
}
