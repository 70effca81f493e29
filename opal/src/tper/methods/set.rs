// SPDX-License-Identifier: MIT OR Apache-2.0
//! Set (Core 2.01 §5.3.3.7; Opal 2.30 §4.3.5, §5.3).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use subtle::ConstantTimeEq;

use super::Draft;
use crate::spec::{authority, column, locking, table};
use crate::tper::access::check_expression;
use crate::tper::cell::{Cell, Kind, wrong};
use crate::tper::data_path::ranges;
use crate::tper::effects::Op;
use crate::tper::machine::Machine;
use crate::tper::platform::Platform;
use crate::tper::profile::{Profile, Quirk};
use crate::tper::schema;
use crate::tper::sessions::{finished, optional};
use crate::tper::tables::range_number;
use crate::wire::{Name, Reader, Status};
use crate::{Pin, Uid};

/// Names of Set's parameters.
const WHERE: u64 = 0;
const VALUES: u64 = 1;

pub(super) fn set<P: Platform>(
    machine: &mut Machine<'_, P>,
    draft: &mut Draft,
    parameters: &mut Reader<'_>,
) -> Result<(), Status> {
    let (mut place, mut values) = (None, None);
    let mut last = None;
    while let Some((name, value)) = optional(parameters, &mut last)? {
        match name {
            WHERE => place = Some(value),
            VALUES => values = Some(value),
            _ => return Err(Status::INVALID_PARAMETER),
        }
    }
    match draft.provider().byte_table(draft.invoking) {
        Some(size) => bytes(machine.profile, draft, size, place, values),
        None if place.is_some() => Err(Status::INVALID_PARAMETER),
        None => match values {
            Some(values) => cells(machine.profile, draft, values),
            None => Ok(()),
        },
    }
}

fn bytes(
    profile: &Profile,
    draft: &mut Draft,
    size: u64,
    place: Option<Reader<'_>>,
    values: Option<Reader<'_>>,
) -> Result<(), Status> {
    let offset = match place {
        Some(mut place) => {
            let offset = wrong(place.uint())?;
            finished(&place)?;
            offset
        }
        None => 0,
    };
    let Some(mut values) = values else { return Ok(()) };
    let data = wrong(values.bytes())?;
    finished(&values)?;
    write(profile, draft, size, offset, data)
}

/// Writes `data` at `offset` of the byte table of `size` bytes that is invoked.
pub(super) fn write(
    profile: &Profile,
    draft: &mut Draft,
    size: u64,
    offset: u64,
    data: &[u8],
) -> Result<(), Status> {
    let quirks = &profile.quirks;
    if quirks.has(Quirk::AnnouncedPacketTooLarge) && data.len() > quirks.real_packet as usize {
        return Err(Status::INVALID_PARAMETER);
    }
    let length = data.len() as u64;
    let granularity = u64::from(profile.write_granularity);
    let fits = offset.checked_add(length).is_some_and(|end| end <= size);
    if !fits || offset % granularity != 0 || length % granularity != 0 {
        return Err(Status::INVALID_PARAMETER);
    }
    if !data.is_empty() {
        draft.ops.push(Op::WriteTable { table: draft.invoking, offset, data: Arc::from(data) });
    }
    Ok(())
}

/// Row values under column numbers.
fn cells(profile: &Profile, draft: &mut Draft, values: Reader<'_>) -> Result<(), Status> {
    let columns = named_columns(values)?;
    let row = draft.invoking;
    change(profile, draft, row, columns)
}

/// Checks in the order: names, columns exist, columns permitted, types, meaning. All or nothing.
pub(super) fn change(
    profile: &Profile,
    draft: &mut Draft,
    uid: Uid,
    columns: BTreeMap<u64, Reader<'_>>,
) -> Result<(), Status> {
    let row = draft.provider().row(uid).ok_or(Status::NOT_AUTHORIZED)?;
    let last = schema::last_column(uid.table()).unwrap_or(0);
    if columns.keys().any(|c| *c > last && !row.contains_key(c)) {
        return Err(Status::INVALID_PARAMETER);
    }
    if columns.keys().any(|c| !draft.permission.covers(*c)) {
        return Err(Status::NOT_AUTHORIZED);
    }
    let mut cells: Vec<(u64, Cell)> = Vec::new();
    let mut pin = None;
    for (column, mut value) in columns {
        match schema::kind(uid.table(), column) {
            Kind::Password => pin = Some(password(&mut value)?),
            kind => cells.push((column, kind.decode(&mut value)?)),
        }
    }
    for (column, cell) in &cells {
        check(profile, draft, *column, cell)?;
    }
    let moves = cells.iter().any(|(column, _)| {
        uid.table() == table::LOCKING
            && [column::locking::RANGE_START, column::locking::RANGE_LENGTH].contains(column)
    });
    for (column, cell) in cells {
        draft.provider_mut().set(uid, column, cell);
    }
    let mbr = table::row::MBR_CONTROL_ROW;
    let disabled = uid == mbr && !draft.provider().flag(mbr, column::mbr_control::ENABLE);
    if disabled && profile.quirks.has(Quirk::MbrDoneClears) {
        draft.provider_mut().set(mbr, column::mbr_control::DONE, Cell::boolean(false));
    }
    if moves {
        check_bounds(profile, draft, uid)?;
    }
    match pin {
        Some(pin) => set_pin(profile, draft, uid, pin),
        None => Ok(()),
    }
}

/// The row values by column; each column once.
fn named_columns(values: Reader<'_>) -> Result<BTreeMap<u64, Reader<'_>>, Status> {
    let mut values = values;
    let mut columns = BTreeMap::new();
    wrong(values.start_list())?;
    while let Some(name) = wrong(values.start_name())? {
        let Name::Number(column) = name else { return Err(Status::INVALID_PARAMETER) };
        let value = wrong(values.value())?;
        wrong(values.end_name())?;
        if columns.insert(column, value).is_some() {
            return Err(Status::INVALID_PARAMETER);
        }
    }
    wrong(values.end_list())?;
    finished(&values)?;
    Ok(columns)
}

fn password(value: &mut Reader<'_>) -> Result<Pin, Status> {
    let pin = Pin::new(wrong(value.bytes())?).map_err(|_| Status::INVALID_PARAMETER)?;
    finished(value)?;
    Ok(pin)
}

/// What a value has to be beyond its type.
fn check(profile: &Profile, draft: &Draft, column: u64, cell: &Cell) -> Result<(), Status> {
    let fits = match schema::kind(draft.invoking.table(), column) {
        Kind::Expression => {
            return check_expression(draft.provider(), cell.as_expression());
        }
        Kind::ResetTypes => supports_resets(profile, cell.as_set()),
        Kind::Enumeration => cell.as_uint().is_some_and(|m| profile.data_removal.supports(m)),
        _ => true,
    };
    if fits { Ok(()) } else { Err(Status::INVALID_PARAMETER) }
}

/// Supported sets of reset types (Opal 2.30 §4.3.5.2.2, §4.3.5.3.1): power cycle always, with it
/// programmatic and, if the profile has it, hardware reset.
fn supports_resets(profile: &Profile, members: &[u64]) -> bool {
    use locking::reset::{HARDWARE, POWER_CYCLE, PROGRAMMATIC};
    let known = |member: &u64| match *member {
        POWER_CYCLE => true,
        PROGRAMMATIC => profile.ssc.has_programmatic_reset(),
        HARDWARE => profile.features.hardware_reset,
        _ => false,
    };
    if profile.ssc.is_enterprise() {
        return members.iter().all(|member| *member == POWER_CYCLE);
    }
    members.contains(&POWER_CYCLE) && members.iter().all(known)
}

/// The bounds of a range as the row has them now (Opal 2.30 §4.3.5.2.1).
fn check_bounds(profile: &Profile, draft: &Draft, uid: Uid) -> Result<(), Status> {
    let Some(number) = range_number(uid).filter(|n| *n != 0) else { return Ok(()) };
    let ranges = ranges(&draft.tables);
    let Some(range) = ranges.iter().find(|r| r.number == number) else { return Ok(()) };
    let geometry = &profile.geometry;
    let granularity = i128::from(geometry.alignment_granularity.max(1));
    let lowest = i128::from(geometry.lowest_aligned_lba);
    let (start, length) = (i128::from(range.start), i128::from(range.length));
    let from_lowest = |value: i128| (value - lowest).rem_euclid(granularity) == 0;
    let aligned = (start == 0 || from_lowest(start))
        && match (start, length) {
            (_, 0) => true,
            (0, _) => from_lowest(length),
            _ => length % granularity == 0,
        };
    let overlaps = |other: &&crate::tper::Range| {
        let (other_start, other_length) = (i128::from(other.start), i128::from(other.length));
        other.number != number
            && other_length != 0
            && start < other_start + other_length
            && other_start < start + length
    };
    let fits = length == 0
        || (start + length <= i128::from(profile.blocks) && !ranges.iter().any(|r| overlaps(&r)));
    if fits && (aligned || !geometry.alignment_required) {
        Ok(())
    } else {
        Err(Status::INVALID_PARAMETER)
    }
}

fn set_pin(profile: &Profile, draft: &mut Draft, c_pin: Uid, pin: Pin) -> Result<(), Status> {
    let authority = draft.provider().owner_of(c_pin).ok_or(Status::NOT_AUTHORIZED)?;
    if authority == authority::SID {
        draft.tables.sid_is_msid = pin.expose().ct_eq(&profile.msid).into();
    }
    draft.ops.push(Op::SetPin { authority, pin });
    draft.ops.push(Op::ClearTries { c_pin });
    Ok(())
}
