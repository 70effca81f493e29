// SPDX-License-Identifier: MIT OR Apache-2.0
//! The methods of Enterprise 1.01 §5: names where Opal has numbers, required parameters by
//! position, one list level more around rows.
//!
//! Experimental, as they rest on one source each: the form of byte table results and values, what
//! Get answers with ParamCheck, and every revert.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Draft, get, life_cycle, session, set};
use crate::Uid;
use crate::spec::{column, method, sp, table};
use crate::tper::cell::wrong;
use crate::tper::machine::Machine;
use crate::tper::platform::Platform;
use crate::tper::schema;
use crate::tper::sessions::finished;
use crate::wire::{Encoder, Name, Reader, Status, Token};

/// Whether the SSC has the method at all; others are INVALID_COMMAND.
pub(super) fn has(method: Uid) -> bool {
    [
        method::ENTERPRISE_GET,
        method::ENTERPRISE_SET,
        method::ENTERPRISE_AUTHENTICATE,
        method::NEXT,
        method::GET_ACL,
        method::RANDOM,
        method::ERASE,
        method::REVERT,
        method::REVERT_SP,
    ]
    .contains(&method)
}

/// Takes a named value whose name is text. None at the end of the list.
fn named<'a>(parameters: &mut Reader<'a>) -> Result<Option<(&'a [u8], Reader<'a>)>, Status> {
    if wrong(parameters.at_end())? {
        return Ok(None);
    }
    let Some(Name::Text(name)) = wrong(parameters.start_name())? else { return invalid() };
    let value = wrong(parameters.value())?;
    wrong(parameters.end_name())?;
    Ok(Some((name, value)))
}

fn invalid<T>() -> Result<T, Status> {
    Err(Status::INVALID_PARAMETER)
}

/// What is between the brackets of a list.
fn inside<'a>(list: &mut Reader<'a>) -> Result<Reader<'a>, Status> {
    let whole = list.rest();
    wrong(list.start_list())?;
    let inside = whole.get(list.offset()..whole.len().saturating_sub(1)).unwrap_or_default();
    Ok(Reader::new(inside))
}

/// Components of a Cellblock, in the order the signature has them.
const COMPONENTS: [&[u8]; 5] = [b"Table", b"startRow", b"endRow", b"startColumn", b"endColumn"];

/// A Cellblock with names for numbers; columns are those of `table`.
#[derive(Default)]
struct CellBlock {
    rows: get::Bounds,
    columns: get::Bounds,
}

impl CellBlock {
    fn read(block: &mut Reader<'_>, table: u32) -> Result<Self, Status> {
        let mut block = inside(block)?;
        let mut read = Self::default();
        let mut last = None;
        while let Some((name, mut value)) = named(&mut block)? {
            let place = COMPONENTS.iter().position(|c| *c == name);
            let place = place.ok_or(Status::INVALID_PARAMETER)?;
            if last.is_some_and(|last| place <= last) {
                return invalid();
            }
            last = Some(place);
            match place {
                0 => return invalid(),
                1 => read.rows.0 = Some(wrong(value.uint())?),
                2 => read.rows.1 = Some(wrong(value.uint())?),
                _ => {
                    let name = wrong(value.bytes())?;
                    let column = schema::column_named(table, name);
                    let column = Some(column.ok_or(Status::INVALID_PARAMETER)?);
                    if place == 3 { read.columns.0 = column } else { read.columns.1 = column }
                }
            }
            finished(&value)?;
        }
        Ok(read)
    }
}

/// The optional ParamCheck behind the required parameters.
fn param_check<'a>(parameters: &mut Reader<'a>) -> Result<Option<Reader<'a>>, Status> {
    let check = match named(parameters)? {
        None => None,
        Some((b"ParamCheck", value)) => Some(value),
        Some(_) => return invalid(),
    };
    finished(parameters)?;
    Ok(check)
}

/// Get: a list of rows, each a list of named columns; or the bytes of a byte table.
pub(super) fn get<P: Platform>(
    machine: &mut Machine<'_, P>,
    draft: &Draft,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    let table = draft.invoking.table();
    let block = CellBlock::read(&mut wrong(parameters.value())?, table)?;
    let check = match param_check(parameters)? {
        Some(mut value) => {
            let wanted = wrong(value.boolean())?;
            finished(&value)?;
            wanted
        }
        None => false,
    };
    if let Some(size) = draft.provider().byte_table(draft.invoking) {
        if block.columns != (None, None) || check {
            return invalid();
        }
        return get::bytes(machine, draft, size, block.rows, results);
    }
    if block.rows != (None, None) {
        return invalid();
    }
    let pin = Some(column::c_pin::PIN);
    if check && (table != table::C_PIN || block.columns != (pin, pin)) {
        return invalid();
    }
    let provider = draft.provider();
    // A table as InvokingID stands for its rows.
    let rows: Vec<Uid> = if draft.invoking.row() == 0 {
        provider.rows_of(table).map(|(uid, _)| uid).collect()
    } else {
        Vec::from([draft.invoking])
    };
    if rows.iter().any(|uid| provider.row(*uid).is_none()) {
        return Err(Status::NOT_AUTHORIZED);
    }
    let last = schema::last_column(table).unwrap_or(0);
    let (first, end) = (block.columns.0.unwrap_or(0), block.columns.1.unwrap_or(last));
    if first > end {
        return invalid();
    }
    results.list(|t| {
        for uid in &rows {
            let cells = provider.row(*uid).into_iter().flat_map(|row| row.range(first..=end));
            t.list(|t| {
                for (column, cell) in cells.filter(|(c, _)| draft.permission.covers(**c)) {
                    let Some(name) = schema::column_name(table, *column) else { continue };
                    t.named_bytes(name.as_bytes(), |t| {
                        get::encode(machine, draft, *uid, (*column, cell), t);
                    });
                }
            });
        }
    });
    if check {
        results.uint(u64::from(lrc(&machine.profile.msid)));
    }
    Ok(())
}

/// Set: Where by position, then a list of rows of named columns, or bytes for a byte table.
pub(super) fn set<P: Platform>(
    machine: &Machine<'_, P>,
    draft: &mut Draft,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    let (profile, table) = (machine.profile, draft.invoking.table());
    let block = CellBlock::read(&mut wrong(parameters.value())?, table)?;
    let mut values = wrong(parameters.value())?;
    let check = param_check(parameters)?;
    if block.columns != (None, None) {
        return invalid();
    }
    if let Some(size) = draft.provider().byte_table(draft.invoking) {
        if check.is_some() {
            return invalid();
        }
        let in_list = wrong(values.accept(Token::StartList))?;
        let data = wrong(values.bytes())?;
        if in_list {
            wrong(values.end_list())?;
        }
        finished(&values)?;
        let offset = block.rows.0.unwrap_or(0);
        let end = offset.checked_add(data.len() as u64);
        if block.rows.1.is_some_and(|last| last.checked_add(1) != end) {
            return invalid();
        }
        set::write(profile, draft, size, offset, data)?;
    } else {
        if block.rows != (None, None) {
            return invalid();
        }
        let columns = one_row(&mut values, table)?;
        if let Some(mut check) = check {
            let expected: u16 = wrong(check.uint_as())?;
            finished(&check)?;
            let pin = columns.get(&column::c_pin::PIN).filter(|_| table == table::C_PIN);
            let mut pin = pin.cloned().ok_or(Status::INVALID_PARAMETER)?;
            if lrc(wrong(pin.bytes())?) != expected {
                return invalid();
            }
        }
        let row = draft.invoking;
        set::change(profile, draft, row, columns)?;
    }
    results.boolean(true);
    Ok(())
}

/// The one row that a Set of an object may have, by column number.
fn one_row<'a>(values: &mut Reader<'a>, table: u32) -> Result<BTreeMap<u64, Reader<'a>>, Status> {
    let mut rows = inside(values)?;
    let mut row = inside(&mut wrong(rows.value())?)?;
    finished(&rows)?;
    let mut columns = BTreeMap::new();
    while let Some((name, value)) = named(&mut row)? {
        let column = schema::column_named(table, name).ok_or(Status::INVALID_PARAMETER)?;
        if columns.insert(column, value).is_some() {
            return invalid();
        }
    }
    if columns.is_empty() { invalid() } else { Ok(columns) }
}

/// Next: Where and Count by position.
pub(super) fn next(
    draft: &Draft,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    let mut after = None;
    let mut count = usize::MAX;
    if !wrong(parameters.at_end())? {
        after = Some(wrong(parameters.uid())?).filter(|uid| *uid != Uid::NULL);
    }
    if !wrong(parameters.at_end())? {
        count = usize::try_from(wrong(parameters.uint())?).unwrap_or(usize::MAX);
    }
    finished(parameters)?;
    super::list::rows_after(draft, after, count, results)
}

/// Authenticate with the proof called Challenge.
pub(super) fn authenticate<P: Platform>(
    machine: &mut Machine<'_, P>,
    draft: &Draft,
    parameters: &mut Reader<'_>,
    results: &mut Encoder,
) -> Result<(), Status> {
    let authority = wrong(parameters.uid())?;
    let proof = match named(parameters)? {
        None => None,
        Some((b"Challenge", mut value)) => {
            let proof = wrong(value.bytes())?;
            finished(&value)?;
            Some(proof)
        }
        Some(_) => return invalid(),
    };
    finished(parameters)?;
    session::prove(machine, draft, authority, proof, results)
}

/// RevertSP of the Admin SP: everything to the factory state, with or without the Global Range's
/// data. KeepGlobalRangeKey is known from one host only, and refused: erasing what somebody asked
/// to keep would be worse.
pub(super) fn revert_sp<P: Platform>(
    machine: &Machine<'_, P>,
    draft: &mut Draft,
    parameters: &mut Reader<'_>,
) -> Result<(), Status> {
    if let Some((name, mut value)) = named(parameters)? {
        if name != b"KeepGlobalRangeKey" || wrong(value.boolean())? {
            return invalid();
        }
        finished(&value)?;
    }
    finished(parameters)?;
    life_cycle::revert_object(machine, draft, draft.provider().uid == sp::ADMIN)
}

/// The check value of a PIN: from 5056, exclusive or over big-endian 16-bit words, an odd length
/// with a zero byte in front.
pub(in crate::tper) fn lrc(pin: &[u8]) -> u16 {
    let odd = pin.len() % 2;
    let (first, rest) = pin.split_at(odd);
    let start = first.first().map_or(0x5056, |byte| 0x5056 ^ u16::from(*byte));
    rest.chunks_exact(2).fold(start, |sum, word| match word {
        [high, low] => sum ^ u16::from_be_bytes([*high, *low]),
        _ => sum,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value_of_the_specifications_example() {
        assert_eq!(super::lrc(b"ThisIsMyPin"), 0x2851);
        assert_eq!(super::lrc(b""), 0x5056);
    }
}
