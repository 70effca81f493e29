// SPDX-License-Identifier: MIT OR Apache-2.0
//! From changed rows to a changed drive: what a method queued, applied to the platform.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::access::{Enabled, openers};
use super::data_path::{Range, ranges};
use super::machine::{Block, Machine};
use super::platform::{Effect, Grants, Platform, RangeGrant, SessionId, TableGrant, VaultError};
use super::quirk::Quirk;
use super::tables::{Tables, range_number};
use crate::spec::{authority, column, locking, method, table};
use crate::wire::Status;
use crate::{Pin, Uid};

/// Something a method does beside changing rows. Kept until the transaction ends, if one is open.
#[derive(Clone)]
pub(super) enum Op {
    SetPin {
        authority: Uid,
        pin: Pin,
    },
    CopyPin {
        from: Uid,
        to: Uid,
    },
    ResetPin {
        authority: Uid,
        pin: Arc<[u8]>,
    },
    ClearTries {
        c_pin: Uid,
    },
    NewKey {
        range: u16,
    },
    WriteTable {
        table: Uid,
        offset: u64,
        data: Arc<[u8]>,
    },
    WipeTable {
        table: Uid,
        size: u64,
    },
    /// The Locking SP is as it left the factory.
    Reverted,
    /// The Admin SP is as it left the factory: nobody has been SID, nothing is blocked.
    FactoryState,
}

impl Op {
    fn touches_a_pin(&self) -> bool {
        matches!(self, Self::SetPin { .. } | Self::CopyPin { .. } | Self::ResetPin { .. })
    }
}

/// What a refused or failed vault call means for a method.
pub(super) const fn status(error: VaultError) -> Status {
    match error {
        VaultError::Refused => Status::NOT_AUTHORIZED,
        VaultError::Failed => Status::TPER_MALFUNCTION,
    }
}

impl<P: Platform> Machine<'_, P> {
    /// Makes `new` the committed tables and does what was queued. On an error nothing has changed,
    /// or [`Machine::fatal`] is set and the whole command will be undone.
    pub(super) fn apply(
        &mut self,
        session: Option<SessionId>,
        new: Tables,
        ops: &[Op],
    ) -> Result<(), Status> {
        let changed = !new.is_same(&self.inner.tables);
        if !changed && ops.is_empty() {
            return Ok(());
        }
        let (ledger, block) = (self.inner.ledger.clone(), self.inner.block);
        let effects = self.effects.len();
        match self.try_apply(session, &new, ops, changed) {
            Ok(()) => {
                self.inner.tables = new;
                self.staged = true;
                self.inner.reads_fail |= self.quirk(Quirk::ReadsFailAfterRevert)
                    && ops.iter().any(|op| matches!(op, Op::Reverted));
                Ok(())
            }
            Err(error) => {
                (self.inner.ledger, self.inner.block) = (ledger, block);
                self.effects.truncate(effects);
                if self.staged {
                    self.fatal = true;
                } else {
                    self.platform.rollback();
                    self.platform.begin();
                }
                Err(status(error))
            }
        }
    }

    fn try_apply(
        &mut self,
        session: Option<SessionId>,
        new: &Tables,
        ops: &[Op],
        changed: bool,
    ) -> Result<(), VaultError> {
        let mut new_keys = BTreeSet::new();
        for op in ops {
            self.vault_changed |= op.touches_a_pin() || matches!(op, Op::NewKey { .. });
            match op {
                Op::SetPin { authority, pin } => {
                    let session = session.ok_or(VaultError::Refused)?;
                    self.platform.set_pin(session, *authority, pin.expose())?;
                }
                Op::CopyPin { from, to } => {
                    let session = session.ok_or(VaultError::Refused)?;
                    self.platform.copy_pin(session, *from, *to)?;
                }
                Op::ResetPin { authority, pin } => self.platform.reset_pin(*authority, pin)?,
                Op::ClearTries { c_pin } => {
                    self.inner.ledger.tries.remove(c_pin);
                }
                Op::NewKey { range } => {
                    self.platform.new_key(*range)?;
                    new_keys.insert(*range);
                    self.effects.push(Effect::EraseRange { range: *range });
                }
                Op::WriteTable { table, offset, data } => self.effects.push(Effect::WriteTable {
                    table: *table,
                    offset: *offset,
                    data: data.clone(),
                }),
                Op::Reverted => {}
                Op::FactoryState => {
                    self.inner.ledger.sid_authenticated = false;
                    self.inner.block = Block::default();
                }
                Op::WipeTable { table, size } => {
                    self.effects.push(Effect::WipeTable { table: *table, size: *size });
                }
            }
        }
        let pins = ops.iter().any(Op::touches_a_pin);
        if !changed && !pins && new_keys.is_empty() {
            return Ok(());
        }
        self.bring_keys_in_line(session, new, pins, &new_keys)
    }

    /// Unlocks what the new tables leave open, seals keys to whom they name, locks the rest. In this
    /// order: sealing may need a key in memory.
    fn bring_keys_in_line(
        &mut self,
        session: Option<SessionId>,
        new: &Tables,
        pins: bool,
        new_keys: &BTreeSet<u16>,
    ) -> Result<(), VaultError> {
        let old = &self.inner.tables;
        let (before, after) = (ranges(old), ranges(new));
        let was_locked: BTreeSet<u16> = locked(&before).collect();
        let is_locked: BTreeSet<u16> = locked(&after).collect();
        if bounds(&before) != bounds(&after) {
            self.effects.push(Effect::RangesMoved);
        }
        let (old_grants, grants) = (grants(old), grants(new));
        for range in was_locked.difference(&is_locked) {
            self.platform.unlock(session, *range)?;
        }
        if pins || !new_keys.is_empty() || old_grants != grants {
            self.platform.reseal(session, &grants)?;
            self.vault_changed = true;
        }
        for range in &is_locked {
            if !was_locked.contains(range) || new_keys.contains(range) {
                self.platform.lock(*range);
            }
        }
        Ok(())
    }
}

fn locked(ranges: &[Range]) -> impl Iterator<Item = u16> {
    ranges.iter().filter(|r| r.is_locked_both_ways()).map(|r| r.number)
}

fn bounds(ranges: &[Range]) -> Vec<(u16, u64, u64)> {
    ranges.iter().map(|r| (r.number, r.start, r.length)).collect()
}

/// Who opens what, from the tables.
pub(super) fn grants(tables: &Tables) -> Grants {
    let sp = &tables.locking;
    let active = tables.is_active();
    let enabled = Enabled::of(sp);
    let (get, set) = if tables.is_enterprise() {
        (method::ENTERPRISE_GET, method::ENTERPRISE_SET)
    } else {
        (method::GET, method::SET)
    };
    let rows = sp.rows_of(table::LOCKING).filter_map(|(uid, _)| {
        let range = range_number(uid)?;
        let openers = openers(
            sp,
            &enabled,
            uid,
            set,
            column::locking::READ_LOCK_ENABLED..=column::locking::LOCK_ON_RESET,
        );
        let by_reset = sp
            .cell(uid, column::locking::LOCK_ON_RESET)
            .is_some_and(|c| c.as_set().contains(&locking::reset::POWER_CYCLE));
        let shut = |enabled, locked| sp.flag(uid, enabled) && (sp.flag(uid, locked) || by_reset);
        let shut_both = shut(column::locking::READ_LOCK_ENABLED, column::locking::READ_LOCKED)
            && shut(column::locking::WRITE_LOCK_ENABLED, column::locking::WRITE_LOCKED);
        Some(RangeGrant {
            range,
            open: !active || !shut_both || openers.anybody,
            authorities: if active { openers.authorities } else { Vec::new() },
            // A band is its master's alone, too.
            single_user: active
                && (tables.is_enterprise() || tables.config.single_user.contains(&range)),
        })
    });
    let stores = sp.byte_tables().filter(|(uid, _)| uid.table() != table::MBR).map(|(uid, _)| {
        let openers = openers(sp, &enabled, uid, get, 0..=u64::MAX);
        TableGrant {
            table: uid,
            open: !active || openers.anybody,
            authorities: if active { openers.authorities } else { Vec::new() },
        }
    });
    Grants {
        active,
        administrators: if active {
            enabled.within(authority::ADMINS).collect()
        } else {
            Vec::new()
        },
        ranges: rows.collect(),
        tables: stores.collect(),
    }
}
