// SPDX-License-Identifier: MIT OR Apache-2.0
//! Get (Core 2.01 §5.3.3.6).

use alloc::vec;

use super::Draft;
use crate::Uid;
use crate::spec::{column, table};
use crate::tper::cell::{Cell, wrong};
use crate::tper::effects::{Op, status};
use crate::tper::machine::Machine;
use crate::tper::platform::Platform;
use crate::tper::schema;
use crate::tper::sessions::{finished, optional};
use crate::wire::{Encoder, Reader, Status};

/// Names of a Cellblock's components.
mod component {
    pub(super) const START_ROW: u64 = 1;
    pub(super) const END_ROW: u64 = 2;
    pub(super) const START_COLUMN: u64 = 3;
    pub(super) const END_COLUMN: u64 = 4;
}

/// The first and last of something, both given or not.
pub(super) type Bounds = (Option<u64>, Option<u64>);

pub(super) fn get<P: Platform>(
    machine: &mut Machine<'_, P>,
    draft: &Draft,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    let mut block = wrong(parameters.value())?;
    finished(parameters)?;
    let (rows, columns) = cell_block(&mut block)?;
    match draft.provider().byte_table(draft.invoking) {
        Some(size) if columns == (None, None) => bytes(machine, draft, size, rows, results),
        None if rows == (None, None) => cells(machine, draft, columns, results),
        _ => Err(Status::INVALID_PARAMETER),
    }
}

fn cell_block(block: &mut Reader<'_>) -> Result<(Bounds, Bounds), Status> {
    let whole = block.rest();
    wrong(block.start_list())?;
    let inside = whole.get(block.offset()..whole.len().saturating_sub(1)).unwrap_or_default();
    let mut inside = Reader::new(inside);
    let (mut rows, mut columns) = ((None, None), (None, None));
    let mut last = None;
    while let Some((name, mut value)) = optional(&mut inside, &mut last)? {
        let slot = match name {
            component::START_ROW => &mut rows.0,
            component::END_ROW => &mut rows.1,
            component::START_COLUMN => &mut columns.0,
            component::END_COLUMN => &mut columns.1,
            _ => return Err(Status::INVALID_PARAMETER),
        };
        *slot = Some(wrong(value.uint())?);
        finished(&value)?;
    }
    Ok((rows, columns))
}

/// Cells of one row, in ascending order; those that no satisfied ACE names are left out.
fn cells<P: Platform>(
    machine: &Machine<'_, P>,
    draft: &Draft,
    columns: Bounds,
    results: &mut Encoder,
) -> Result<(), Status> {
    let uid = draft.invoking;
    let row = draft.provider().row(uid).ok_or(Status::NOT_AUTHORIZED)?;
    // Feature sets add columns far behind the table's own.
    let in_row = row.keys().next_back().copied().unwrap_or(0);
    let last = schema::last_column(uid.table()).unwrap_or(0).max(in_row);
    let (first, end) = (columns.0.unwrap_or(0), columns.1.unwrap_or(last));
    if first > end || end > last {
        return Err(Status::INVALID_PARAMETER);
    }
    results.list(|t| {
        for (column, cell) in row.range(first..=end) {
            if !draft.permission.covers(*column) {
                continue;
            }
            t.named(*column, |t| encode(machine, draft, uid, (*column, cell), t));
        }
    });
    Ok(())
}

/// Writes the value of a cell; some are not kept in the tables.
pub(super) fn encode<P: Platform>(
    machine: &Machine<'_, P>,
    draft: &Draft,
    uid: Uid,
    (column, cell): (u64, &Cell),
    t: &mut Encoder,
) {
    match (uid.table(), column) {
        (table::C_PIN, column::c_pin::TRIES) => {
            let tries = machine.inner.ledger.tries.get(&uid).copied().unwrap_or(0);
            Cell::Uint(u64::from(tries)).encode(t);
        }
        (table::SP, column::sp::LIFE_CYCLE_STATE | column::sp::FROZEN)
            if machine.inner.block.frozen && uid == draft.tables.locking.uid =>
        {
            frozen(column).encode(t);
        }
        _ => cell.encode(t),
    }
}

/// What the SP table says of a frozen Locking SP.
fn frozen(column: u64) -> Cell {
    if column == column::sp::FROZEN {
        Cell::boolean(true)
    } else {
        Cell::Uint(crate::spec::sp::life_cycle::MANUFACTURED_FROZEN)
    }
}

/// Bytes of a byte table, from `rows.0` to `rows.1` inclusive.
pub(super) fn bytes<P: Platform>(
    machine: &mut Machine<'_, P>,
    draft: &Draft,
    size: u64,
    rows: Bounds,
    results: &mut Encoder,
) -> Result<(), Status> {
    let (first, last) = (rows.0.unwrap_or(0), rows.1.unwrap_or(size.saturating_sub(1)));
    if first > last || last >= size {
        return Err(Status::INVALID_PARAMETER);
    }
    let length = last - first + 1;
    // More than any answer can hold: no need to read it.
    let length = usize::try_from(length).ok();
    let limit = machine.profile.limits.max_response_com_packet as usize;
    let length = length.filter(|l| *l <= limit).ok_or(Status::RESPONSE_OVERFLOW)?;
    let mut data = zeroize::Zeroizing::new(vec![0; length]);
    machine
        .platform
        .read_table(Some(draft.id), draft.invoking, first, &mut data)
        .map_err(status)?;
    let held_back = machine
        .inner
        .sessions
        .iter()
        .find(|s| s.tsn == draft.tsn)
        .and_then(|s| s.transaction.as_ref())
        .map_or(&[][..], |t| &t.ops);
    for op in held_back {
        match op {
            Op::WriteTable { table, offset, data: written } if *table == draft.invoking => {
                overlay(&mut data, first, written, *offset);
            }
            _ => {}
        }
    }
    results.bytes(&data);
    Ok(())
}

/// Puts `written`, which stands at `offset`, into `data`, which stands at `first`.
fn overlay(data: &mut [u8], first: u64, written: &[u8], offset: u64) {
    let from = offset.max(first);
    let to = (offset + written.len() as u64).min(first + data.len() as u64);
    if from >= to {
        return;
    }
    let (target, source) = ((from - first) as usize, (from - offset) as usize);
    let length = (to - from) as usize;
    if let (Some(target), Some(source)) =
        (data.get_mut(target..target + length), written.get(source..source + length))
    {
        target.copy_from_slice(source);
    }
}
