// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`MemoryPlatform`]: a platform in memory for tests. Real behaviour, no cryptography: a media key
//! is a number, and who opens it is a list.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::{Effect, Grants, Platform, SessionId, Vault, VaultError};
use crate::{Pin, Uid, spec};

/// Keeps PINs, media keys and byte tables in memory, and refuses what a vault with real keys could
/// not do.
#[derive(Clone)]
pub struct MemoryPlatform {
    current: Contents,
    saved: Option<Contents>,
}

#[derive(Clone)]
struct Contents {
    pins: BTreeMap<Uid, Pin>,
    sessions: BTreeMap<SessionId, BTreeSet<Uid>>,
    keys: BTreeMap<u16, u64>,
    loaded: BTreeSet<u16>,
    grants: Grants,
    tables: BTreeMap<(Uid, u64), Vec<u8>>,
    random: u64,
}

/// Byte tables are kept in pages of this size.
const PAGE: u64 = 4096;

impl MemoryPlatform {
    /// An empty platform that knows the label's PSID and draws "random" numbers from `seed`.
    #[must_use]
    pub fn new(seed: u64, psid: &[u8]) -> Self {
        let mut pins = BTreeMap::new();
        pins.insert(spec::authority::PSID, Pin::new(psid).unwrap_or_default());
        let current = Contents {
            pins,
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            loaded: BTreeSet::new(),
            grants: Grants::default(),
            tables: BTreeMap::new(),
            random: seed | 1,
        };
        Self { current, saved: None }
    }

    /// The platform after power was off: memory is empty, the rest is kept.
    #[must_use]
    pub fn power_cycled(&self) -> Self {
        let mut current = self.saved.as_ref().unwrap_or(&self.current).clone();
        current.sessions.clear();
        current.loaded.clear();
        Self { current, saved: None }
    }

    /// The media key of a range: a number that changes with it.
    #[must_use]
    pub fn key(&self, range: u16) -> Option<u64> {
        self.current.keys.get(&range).copied()
    }

    /// Whether the media key of `range` is in memory.
    #[must_use]
    pub fn is_loaded(&self, range: u16) -> bool {
        self.current.loaded.contains(&range)
    }

    /// What the TPer said last.
    #[must_use]
    pub const fn grants(&self) -> &Grants {
        &self.current.grants
    }

    /// Sessions whose secrets are held.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.current.sessions.len()
    }

    /// Whether some session holds what the PIN of `authority` opens.
    #[must_use]
    pub fn holds(&self, authority: Uid) -> bool {
        self.current.sessions.values().any(|held| held.contains(&authority))
    }

    /// Does what an owner does with [`Effect`]s.
    pub fn apply(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::WriteTable { table, offset, data } => {
                    self.current.write_table(*table, *offset, data);
                }
                Effect::WipeTable { table, .. } => {
                    self.current.tables.retain(|(of, _), _| of != table);
                }
                Effect::EraseRange { .. } | Effect::RangesMoved => {}
            }
        }
    }
}

impl Contents {
    fn write_table(&mut self, table: Uid, offset: u64, data: &[u8]) {
        let mut at = offset;
        let mut left = data;
        while !left.is_empty() {
            let inside = (at % PAGE) as usize;
            let take = left.len().min(PAGE as usize - inside);
            let (now, later) = left.split_at(take);
            let page = self
                .tables
                .entry((table, at / PAGE))
                .or_insert_with(|| alloc::vec![0; PAGE as usize]);
            if let Some(target) = page.get_mut(inside..inside + take) {
                target.copy_from_slice(now);
            }
            at += take as u64;
            left = later;
        }
    }

    fn has_empty_pin(&self, authority: Uid) -> bool {
        self.pins.get(&authority).is_none_or(Pin::is_empty)
    }

    fn holds(&self, session: Option<SessionId>, any_of: &[Uid]) -> bool {
        let held = session.and_then(|s| self.sessions.get(&s));
        any_of.iter().any(|a| held.is_some_and(|h| h.contains(a)))
    }

    /// Whether `session` has the vault open, or an administrator without PIN leaves it open.
    fn vault_is_open(&self, session: Option<SessionId>) -> bool {
        let administrators = &self.grants.administrators;
        self.holds(session, administrators) || administrators.iter().any(|a| self.has_empty_pin(*a))
    }

    fn opens(&self, session: Option<SessionId>, range: u16) -> bool {
        if self.loaded.contains(&range) || !self.grants.active {
            return true;
        }
        let Some(grant) = self.grants.ranges.iter().find(|g| g.range == range) else {
            return false;
        };
        grant.open
            || grant.authorities.iter().any(|a| self.has_empty_pin(*a))
            || self.holds(session, &grant.authorities)
            || (!grant.single_user && self.vault_is_open(session))
    }
}

impl Vault for MemoryPlatform {
    fn begin(&mut self) {
        debug_assert!(self.saved.is_none(), "stages do not nest");
        self.saved = Some(self.current.clone());
    }

    fn commit(&mut self) {
        self.saved = None;
    }

    fn rollback(&mut self) {
        if let Some(saved) = self.saved.take() {
            self.current = saved;
        }
    }

    fn verify(&mut self, session: SessionId, authority: Uid, challenge: &[u8]) -> bool {
        let (Some(pin), Ok(challenge)) = (self.current.pins.get(&authority), Pin::new(challenge))
        else {
            return false;
        };
        let right = pin.matches(&challenge);
        if right {
            self.current.sessions.entry(session).or_default().insert(authority);
        }
        right
    }

    fn forget(&mut self, session: SessionId, authority: Uid) {
        if let Some(held) = self.current.sessions.get_mut(&session) {
            held.remove(&authority);
        }
    }

    fn close_session(&mut self, session: SessionId) {
        self.current.sessions.remove(&session);
    }

    fn set_pin(
        &mut self,
        session: SessionId,
        authority: Uid,
        pin: &[u8],
    ) -> Result<(), VaultError> {
        let current = &self.current;
        let may = current.has_empty_pin(authority)
            || current.holds(Some(session), &[authority])
            || current.vault_is_open(Some(session))
            // Admin SP: SID sets the PINs of administrators, and they their own.
            || current.holds(Some(session), &[spec::authority::SID]);
        if !may {
            return Err(VaultError::Refused);
        }
        let pin = Pin::new(pin).map_err(|_| VaultError::Failed)?;
        self.current.pins.insert(authority, pin);
        Ok(())
    }

    fn copy_pin(&mut self, session: SessionId, from: Uid, to: Uid) -> Result<(), VaultError> {
        if !self.current.has_empty_pin(from) && !self.current.holds(Some(session), &[from]) {
            return Err(VaultError::Refused);
        }
        let pin = self.current.pins.get(&from).cloned().unwrap_or_default();
        self.current.pins.insert(to, pin);
        Ok(())
    }

    fn reset_pin(&mut self, authority: Uid, pin: &[u8]) -> Result<(), VaultError> {
        let pin = Pin::new(pin).map_err(|_| VaultError::Failed)?;
        self.current.pins.insert(authority, pin);
        Ok(())
    }

    fn new_key(&mut self, range: u16) -> Result<(), VaultError> {
        let mut key = [0; 8];
        self.random(&mut key);
        self.current.keys.insert(range, u64::from_be_bytes(key));
        self.current.loaded.insert(range);
        Ok(())
    }

    fn unlock(&mut self, session: Option<SessionId>, range: u16) -> Result<(), VaultError> {
        if !self.current.opens(session, range) {
            return Err(VaultError::Refused);
        }
        self.current.loaded.insert(range);
        Ok(())
    }

    fn lock(&mut self, range: u16) {
        self.current.loaded.remove(&range);
    }

    fn reseal(&mut self, session: Option<SessionId>, grants: &Grants) -> Result<(), VaultError> {
        for grant in &grants.ranges {
            let before = self.current.grants.ranges.iter().find(|g| g.range == grant.range);
            let adds = match before {
                Some(before) => {
                    (grant.open && !before.open)
                        || grant.authorities.iter().any(|a| !before.authorities.contains(a))
                }
                None => true,
            };
            if adds && !self.current.opens(session, grant.range) {
                return Err(VaultError::Refused);
            }
        }
        self.current.grants = grants.clone();
        Ok(())
    }

    fn random(&mut self, out: &mut [u8]) {
        for byte in out {
            // xorshift64
            let mut x = self.current.random;
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.current.random = x;
            *byte = (x >> 24) as u8;
        }
    }
}

impl Platform for MemoryPlatform {
    fn read_table(
        &mut self,
        _session: Option<SessionId>,
        table: Uid,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), VaultError> {
        for (index, byte) in (offset..).zip(out) {
            let page = self.current.tables.get(&(table, index / PAGE));
            *byte = page.and_then(|p| p.get((index % PAGE) as usize)).copied().unwrap_or(0);
        }
        Ok(())
    }
}
