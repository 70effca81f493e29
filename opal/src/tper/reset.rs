// SPDX-License-Identifier: MIT OR Apache-2.0
//! Resets: locks, the shadow MBR, sessions, try counters (Core 2.01 §3.3.3, §5.7.3.1;
//! Opal 2.30 §3.2.3).

use alloc::vec::Vec;
use core::time::Duration;

use super::Reset;
use super::cell::Cell;
use super::data_path::ranges;
use super::machine::{Block, Channel, Machine};
use super::platform::{Platform, VaultError};
use super::quirk::Quirk;
use super::tables::Tables;
use crate::Uid;
use crate::spec::{column, locking, table};

impl<P: Platform> Machine<'_, P> {
    /// A reset the interface reports.
    pub(super) fn reset(&mut self, kind: Reset) {
        match kind {
            Reset::PowerCycle => {
                self.inner.block = Block {
                    blocked: self.quirk(Quirk::BlockSidAtPowerOn) && self.inner.tables.sid_is_msid,
                    ..Block::default()
                };
                self.inner.reads_fail = false;
                let keep = self.quirk(Quirk::PersistentTryLimit);
                let sps = [&self.inner.tables.admin, &self.inner.tables.locking];
                self.inner.ledger.tries.retain(|c_pin, _| {
                    keep || sps.iter().any(|sp| sp.flag(*c_pin, column::c_pin::PERSISTENCE))
                });
                self.reset_all(&[locking::reset::POWER_CYCLE, locking::reset::HOT_PLUG]);
            }
            Reset::Hardware => {
                if self.inner.block.cleared_by_hardware_reset {
                    self.inner.block = Block::default();
                }
                self.reset_all(&[locking::reset::HARDWARE]);
            }
        }
    }

    /// Ends every session and sets the locks that list one of `types`.
    pub(super) fn reset_all(&mut self, types: &[u64]) {
        self.interrupt_removal(None);
        let by_hardware = types.contains(&locking::reset::HARDWARE);
        if !(by_hardware && self.quirk(Quirk::SessionsSurviveReset)) {
            self.inner.sessions.clear();
            self.inner.abandoned = false;
            for (index, channel) in self.inner.channels.iter_mut().enumerate() {
                *channel = Channel::new(self.profile, index);
            }
        }
        let mut tables = self.inner.tables.clone();
        let by_power = types.contains(&locking::reset::POWER_CYCLE);
        let ignored = !by_power && self.quirk(Quirk::LockOnPowerCycleOnly);
        if tables.is_active() && !ignored {
            lock(&mut tables, types);
        }
        if self.apply(None, tables.clone(), &[]).is_err() {
            // A vault that fails must not leave anything open. The tables say locked, and so does
            // the data path; keys leave memory.
            for range in ranges(&tables).iter().filter(|r| r.is_locked_both_ways()) {
                self.platform.lock(range.number);
            }
            self.inner.tables = tables;
            self.staged = true;
        }
    }

    /// Brings the keys into memory that nobody has to unlock. For power-on.
    pub(super) fn load_open_keys(&mut self) -> Result<(), VaultError> {
        for range in ranges(&self.inner.tables) {
            if range.is_locked_both_ways() {
                self.platform.lock(range.number);
            } else {
                self.platform.unlock(None, range.number)?;
            }
        }
        Ok(())
    }

    /// Aborts sessions that have idled too long.
    pub(super) fn time_passes(&mut self, elapsed: Duration) {
        let busy = self.inner.removal.as_ref().map(|removal| removal.envelope.tsn);
        for session in self.inner.sessions.iter_mut().filter(|s| Some(s.tsn) != busy) {
            session.idle = session.idle.saturating_add(elapsed);
        }
        let before = self.inner.sessions.len();
        self.inner.sessions.retain(|s| s.timeout.is_none_or(|timeout| s.idle < timeout));
        self.inner.abandoned |= self.inner.sessions.len() != before;
        self.go_on_removing(elapsed);
        for channel in &mut self.inner.channels {
            channel.age = channel.age.saturating_add(elapsed);
        }
        self.retire_com_ids();
    }
}

/// Sets ReadLocked, WriteLocked and not Done where LockOnReset and DoneOnReset say so. TPER_RESET
/// locks every row that lists it; the others, by the state diagram of Core 2.01 §5.7.3.1, only what
/// is enabled.
fn lock(tables: &mut Tables, types: &[u64]) {
    use column::locking as l;
    let by_text = types.contains(&locking::reset::PROGRAMMATIC);
    let sp = &mut tables.locking;
    let lists = |sp: &super::tables::Provider, row: Uid, column: u64| {
        sp.cell(row, column).is_some_and(|c| c.as_set().iter().any(|t| types.contains(t)))
    };
    let rows: Vec<Uid> = sp.rows_of(table::LOCKING).map(|(uid, _)| uid).collect();
    for row in rows.into_iter().filter(|row| lists(sp, *row, l::LOCK_ON_RESET)).collect::<Vec<_>>()
    {
        for (enabled, locked) in
            [(l::READ_LOCK_ENABLED, l::READ_LOCKED), (l::WRITE_LOCK_ENABLED, l::WRITE_LOCKED)]
        {
            if by_text || sp.flag(row, enabled) {
                sp.set(row, locked, Cell::boolean(true));
            }
        }
    }
    let mbr = table::row::MBR_CONTROL_ROW;
    if lists(sp, mbr, column::mbr_control::DONE_ON_RESET) {
        sp.set(mbr, column::mbr_control::DONE, Cell::boolean(false));
    }
}
