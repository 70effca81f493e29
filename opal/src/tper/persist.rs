// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TPer's persistent state as bytes: what differs from the factory, in tagged records.
//!
//! ```text
//! "OPALTPER"  u16 format  records…
//! record: u8 tag, u32 length, payload     all integers big endian
//!   1 profile   u8 ssc, u16 ranges, u16 admins, u16 users, u8 key length / 64
//!   2 flags     u8: bit 0 SID's PIN is the MSID, bit 1 SID has been authenticated,
//!               bit 2 data removal was begun and has not come to its end
//!   3 layout    u8 policy, u16 n, n × u32 DataStore sizes, u16 m, m × u16 ranges in SUM
//!   4 tries     u64 C_PIN row, u32 tries
//!   5 cell      u8 SP (0 Admin, 1 Locking), u64 row, u64 column, value
//! value: u8 kind: 0 u64 | 1 bytes | 2 set: n × u64 | 4 expression: n × (u8 operator, u64 authority)
//! ```
//!
//! Records 1 to 3 come once and first. A restored state gives the same bytes again.

use alloc::vec::Vec;

use super::StateError;
use super::cell::{Cell, Element};
use super::machine::{Inner, Ledger};
use super::preset;
use super::profile::{KeyBits, Profile, Ssc};
use super::tables::{LockingConfig, Provider, Sp, Tables};
use crate::Uid;

const MAGIC: &[u8; 8] = b"OPALTPER";
/// Newest format written and read.
const FORMAT: u16 = 1;
/// Longest value of a cell that is read back.
const MAX_VALUE: usize = 4096;

mod tag {
    pub(super) const PROFILE: u8 = 1;
    pub(super) const FLAGS: u8 = 2;
    pub(super) const LAYOUT: u8 = 3;
    pub(super) const TRIES: u8 = 4;
    pub(super) const CELL: u8 = 5;
}

const SID_IS_MSID: u8 = 1;
const SID_AUTHENTICATED: u8 = 2;
const INTERRUPTED: u8 = 4;

/// Tables at the factory.
pub(super) fn factory(profile: &Profile, config: LockingConfig) -> Tables {
    let base = preset::locking_sp(profile, &config);
    Tables {
        admin: preset::admin_sp(profile),
        locking: base.clone(),
        locking_base: base,
        config,
        sid_is_msid: true,
    }
}

/// Writes the state. `admin_base` is the Admin SP at the factory.
pub(super) fn write(profile: &Profile, admin_base: &Provider, inner: &Inner) -> Vec<u8> {
    let tables = &inner.tables;
    let mut out = Vec::from(*MAGIC);
    out.extend_from_slice(&FORMAT.to_be_bytes());
    record(&mut out, tag::PROFILE, &fingerprint(profile));
    let mut flags = 0;
    if tables.sid_is_msid {
        flags |= SID_IS_MSID;
    }
    if inner.ledger.sid_authenticated {
        flags |= SID_AUTHENTICATED;
    }
    if inner.ledger.interrupted {
        flags |= INTERRUPTED;
    }
    record(&mut out, tag::FLAGS, &[flags]);
    record(&mut out, tag::LAYOUT, &layout(&tables.config));
    for (c_pin, tries) in &inner.ledger.tries {
        record(&mut out, tag::TRIES, &[&c_pin.to_bytes()[..], &tries.to_be_bytes()].concat());
    }
    changes(&mut out, 0, admin_base, &tables.admin);
    changes(&mut out, 1, &tables.locking_base, &tables.locking);
    out
}

fn record(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

fn fingerprint(profile: &Profile) -> Vec<u8> {
    let ssc = match profile.ssc {
        Ssc::Opal1 => 1,
        Ssc::Opal2 => 2,
        Ssc::Opalite => 3,
        Ssc::Pyrite1 => 4,
        Ssc::Pyrite2 => 5,
        Ssc::Ruby => 6,
        Ssc::Enterprise => 7,
    };
    let key = match profile.key_bits {
        KeyBits::Aes128 => 2,
        KeyBits::Aes256 => 4,
    };
    let mut out = Vec::from([ssc]);
    for count in [profile.ranges, profile.admins, profile.users] {
        out.extend_from_slice(&count.to_be_bytes());
    }
    out.push(key);
    out
}

fn layout(config: &LockingConfig) -> Vec<u8> {
    let mut out = Vec::from([u8::from(config.policy)]);
    out.extend_from_slice(&(config.data_stores.len() as u16).to_be_bytes());
    for size in &config.data_stores {
        out.extend_from_slice(&size.to_be_bytes());
    }
    out.extend_from_slice(&(config.single_user.len() as u16).to_be_bytes());
    for range in &config.single_user {
        out.extend_from_slice(&range.to_be_bytes());
    }
    out
}

/// Cells of `now` that are not as in `base`.
fn changes(out: &mut Vec<u8>, sp: u8, base: &Provider, now: &Provider) {
    for (uid, row) in &*now.rows {
        let old = base.rows.get(uid);
        if old.is_some_and(|old| alloc::sync::Arc::ptr_eq(old, row)) {
            continue;
        }
        for (column, cell) in &**row {
            if old.and_then(|old| old.get(column)) != Some(cell) {
                let mut payload = Vec::from([sp]);
                payload.extend_from_slice(&uid.to_bytes());
                payload.extend_from_slice(&column.to_be_bytes());
                value(&mut payload, cell);
                record(out, tag::CELL, &payload);
            }
        }
    }
}

fn value(out: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Uint(value) => {
            out.push(0);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Cell::Bytes(bytes) => {
            out.push(1);
            out.extend_from_slice(bytes);
        }
        Cell::Set(members) => {
            out.push(2);
            for member in members {
                out.extend_from_slice(&member.to_be_bytes());
            }
        }
        Cell::Expression(elements) => {
            out.push(4);
            for element in elements {
                let (operator, uid) = match element {
                    Element::Authority(uid) => (0, *uid),
                    Element::And => (1, Uid::NULL),
                    Element::Or => (2, Uid::NULL),
                    Element::Not => (3, Uid::NULL),
                };
                out.push(operator);
                out.extend_from_slice(&uid.to_bytes());
            }
        }
        // Columns of these kinds are never set: the preset has them.
        Cell::Uids(_) | Cell::Names(_) => out.push(0xFF),
    }
}

/// Reads a state for a drive of this profile.
pub(super) fn read(profile: &Profile, state: &[u8]) -> Result<Inner, StateError> {
    let mut input = Input { data: state, offset: 0 };
    if input.take(8, "its name")? != MAGIC {
        return Err(StateError::Damaged { offset: 0, what: "it does not begin like a TPer state" });
    }
    let found = input.u16("the format number")?;
    if found != FORMAT {
        return Err(StateError::Version { found, known: FORMAT });
    }
    let own = input.record(tag::PROFILE, "the profile record")?;
    if own.data != fingerprint(profile) {
        return Err(StateError::OtherProfile(
            "SSC, ranges, administrators, users or key length differ",
        ));
    }
    let mut flags = input.record(tag::FLAGS, "the flags")?;
    let flags = flags.u8("the flags")?;
    let config = read_layout(profile, &mut input.record(tag::LAYOUT, "the layout")?)?;
    let mut tables = factory(profile, config);
    tables.sid_is_msid = flags & SID_IS_MSID != 0;
    let mut ledger = Ledger {
        sid_authenticated: flags & SID_AUTHENTICATED != 0,
        interrupted: flags & INTERRUPTED != 0,
        ..Ledger::default()
    };
    while !input.is_at_end() {
        let offset = input.offset;
        let (tag, mut payload) = input.any_record()?;
        match tag {
            tag::TRIES => {
                let c_pin = payload.uid("a C_PIN row")?;
                ledger.tries.insert(c_pin, payload.u32("tries")?);
            }
            tag::CELL => read_cell(&mut tables, &mut payload)?,
            _ => return Err(StateError::Damaged { offset, what: "a record of unknown kind" }),
        }
    }
    let mut inner = Inner::new(profile, tables);
    inner.ledger = ledger;
    Ok(inner)
}

fn read_layout(profile: &Profile, input: &mut Input<'_>) -> Result<LockingConfig, StateError> {
    let mut config =
        LockingConfig { policy: input.u8("the policy")? != 0, ..LockingConfig::default() };
    let stores = input.u16("the number of DataStore tables")?;
    if stores > profile.data_store.tables {
        return Err(StateError::OtherProfile("it has more DataStore tables"));
    }
    for _ in 0..stores {
        config.data_stores.push(input.u32("a DataStore size")?);
    }
    let total: u64 = config.data_stores.iter().map(|s| u64::from(*s)).sum();
    if total > u64::from(profile.data_store.total) {
        return Err(StateError::OtherProfile("its DataStore tables are larger"));
    }
    let ranges = input.u16("the number of ranges in Single User Mode")?;
    for _ in 0..ranges {
        let offset = input.offset;
        let range = input.u16("a range number")?;
        let ascends = config.single_user.last().is_none_or(|last| *last < range);
        if range > profile.ranges || !ascends {
            return Err(StateError::Damaged { offset, what: "ranges in Single User Mode" });
        }
        config.single_user.push(range);
    }
    Ok(config)
}

fn read_cell(tables: &mut Tables, input: &mut Input<'_>) -> Result<(), StateError> {
    let offset = input.offset;
    let sp = match input.u8("an SP")? {
        0 => Sp::Admin,
        1 => Sp::Locking,
        _ => return Err(StateError::Damaged { offset, what: "an SP that is neither" }),
    };
    let row = input.uid("a row")?;
    let column = input.u64("a column")?;
    let kind = input.u8("a value")?;
    let bytes = input.take(input.left(), "a value")?;
    if bytes.len() > MAX_VALUE {
        return Err(StateError::Damaged { offset, what: "a value too long for any cell" });
    }
    let cell = read_value(kind, bytes)
        .ok_or(StateError::Damaged { offset, what: "a value that cannot be read" })?;
    let sp = tables.of_mut(sp);
    let fits = sp
        .cell(row, column)
        .is_some_and(|old| core::mem::discriminant(old) == core::mem::discriminant(&cell));
    if !fits {
        return Err(StateError::Damaged { offset, what: "a cell that this drive does not have" });
    }
    sp.set(row, column, cell);
    Ok(())
}

fn read_value(kind: u8, bytes: &[u8]) -> Option<Cell> {
    let u64_of = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    Some(match kind {
        0 => Cell::Uint(u64_of(bytes)?),
        1 => Cell::Bytes(bytes.to_vec()),
        2 => Cell::Set(bytes.chunks(8).map(u64_of).collect::<Option<_>>()?),
        4 => Cell::Expression(
            bytes
                .chunks(9)
                .map(|chunk| {
                    let (operator, uid) = chunk.split_first()?;
                    let uid = Uid(u64_of(uid)?);
                    Some(match operator {
                        0 => Element::Authority(uid),
                        1 => Element::And,
                        2 => Element::Or,
                        3 => Element::Not,
                        _ => return None,
                    })
                })
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

/// Bytes read from the front, with the offset in the whole state for messages.
struct Input<'a> {
    data: &'a [u8],
    offset: usize,
}

impl<'a> Input<'a> {
    fn is_at_end(&self) -> bool {
        self.data.is_empty()
    }

    fn left(&self) -> usize {
        self.data.len()
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], StateError> {
        let damaged = StateError::Damaged { offset: self.offset, what };
        let (taken, rest) = self.data.split_at_checked(length).ok_or(damaged)?;
        self.data = rest;
        self.offset += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], StateError> {
        let offset = self.offset;
        let bytes = self.take(N, what)?;
        bytes.try_into().map_err(|_| StateError::Damaged { offset, what })
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, StateError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, StateError> {
        self.array(what).map(u16::from_be_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, StateError> {
        self.array(what).map(u32::from_be_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, StateError> {
        self.array(what).map(u64::from_be_bytes)
    }

    fn uid(&mut self, what: &'static str) -> Result<Uid, StateError> {
        self.u64(what).map(Uid)
    }

    fn any_record(&mut self) -> Result<(u8, Input<'a>), StateError> {
        let tag = self.u8("a record")?;
        let length = self.u32("a record's length")? as usize;
        let offset = self.offset;
        Ok((tag, Input { data: self.take(length, "a record")?, offset }))
    }

    fn record(&mut self, tag: u8, what: &'static str) -> Result<Input<'a>, StateError> {
        let offset = self.offset;
        let (found, payload) = self.any_record()?;
        if found == tag { Ok(payload) } else { Err(StateError::Damaged { offset, what }) }
    }
}
