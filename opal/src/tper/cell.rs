// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Cell`]: the value in one column of one row, and how it goes over the wire (Core 2.01 §5.1.3).

use alloc::vec::Vec;

use crate::Uid;
use crate::wire::{Encoder, Name, ParseError, Reader, Status};

/// A cell's value. Booleans and enumerations are integers, UIDs and names are bytes, as on the
/// wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Uint(u64),
    Bytes(Vec<u8>),
    /// A set of small integers (reset_types, ACE_columns), in the order given.
    Set(Vec<u64>),
    /// A list of UIDs.
    Uids(Vec<Uid>),
    /// A list of names (SSC).
    Names(Vec<&'static str>),
    /// AC_element: a Boolean expression in postfix order.
    Expression(Vec<Element>),
}

/// One element of a Boolean expression over authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Authority(Uid),
    And,
    Or,
    Not,
}

/// Half-UID of the type Authority_object_ref, which selects an authority in an AC_element.
const AUTHORITY_REF: [u8; 4] = [0, 0, 0x0C, 0x05];
/// Half-UID of the type boolean_ACE, which selects an operator.
const BOOLEAN_ACE: [u8; 4] = [0, 0, 0x04, 0x0E];

/// Longest expression taken: Opal 2.30 §4.3.1.4 asks for 23, users and administrators may be more.
const MAX_EXPRESSION: usize = 128;

impl Cell {
    pub(super) fn uid(uid: Uid) -> Self {
        Self::Bytes(uid.to_bytes().to_vec())
    }

    pub(super) fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    pub(super) fn boolean(value: bool) -> Self {
        Self::Uint(u64::from(value))
    }

    pub(super) fn as_uint(&self) -> Option<u64> {
        match self {
            Self::Uint(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn as_uid(&self) -> Option<Uid> {
        match self {
            Self::Bytes(bytes) => Uid::from_bytes(bytes),
            _ => None,
        }
    }

    pub(super) fn as_set(&self) -> &[u64] {
        match self {
            Self::Set(members) => members,
            _ => &[],
        }
    }

    pub(super) fn as_expression(&self) -> &[Element] {
        match self {
            Self::Expression(elements) => elements,
            _ => &[],
        }
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Uint(value) => {
                out.uint(*value);
            }
            Self::Bytes(bytes) => {
                out.bytes(bytes);
            }
            Self::Set(members) => {
                out.list(|t| {
                    for member in members {
                        t.uint(*member);
                    }
                });
            }
            Self::Uids(uids) => {
                out.list(|t| {
                    for uid in uids {
                        t.uid(*uid);
                    }
                });
            }
            Self::Names(names) => {
                out.list(|t| {
                    for name in names {
                        t.bytes(name.as_bytes());
                    }
                });
            }
            Self::Expression(elements) => {
                out.list(|t| {
                    for element in elements {
                        element.encode(t);
                    }
                });
            }
        }
    }
}

impl Element {
    fn encode(self, out: &mut Encoder) {
        match self {
            Self::Authority(uid) => out.named_bytes(&AUTHORITY_REF, |t| {
                t.uid(uid);
            }),
            Self::And => Self::operator(out, 0),
            Self::Or => Self::operator(out, 1),
            Self::Not => Self::operator(out, 2),
        };
    }

    fn operator(out: &mut Encoder, number: u64) -> &mut Encoder {
        out.named_bytes(&BOOLEAN_ACE, |t| {
            t.uint(number);
        })
    }
}

/// What a column holds, as far as Set has to check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Never set by a host, whatever an ACE says.
    Fixed,
    Boolean,
    /// Unsigned integer of eight bytes.
    Uint8,
    /// Bytes of at most this many.
    Name(usize),
    /// A PIN: never a cell.
    Password,
    ResetTypes,
    Expression,
    /// An enumeration; which members a drive supports is the drive's matter.
    Enumeration,
}

impl Kind {
    /// Reads a value of this kind; all of `value` must be used.
    pub(super) fn decode(self, value: &mut Reader<'_>) -> Result<Cell, Status> {
        let cell = match self {
            Self::Fixed => return Err(Status::NOT_AUTHORIZED),
            Self::Boolean => Cell::boolean(wrong(value.boolean())?),
            Self::Uint8 | Self::Enumeration => Cell::Uint(wrong(value.uint())?),
            Self::Name(longest) => {
                let bytes = wrong(value.bytes())?;
                if bytes.len() > longest {
                    return Err(Status::INVALID_PARAMETER);
                }
                Cell::Bytes(bytes.to_vec())
            }
            // Kept out of cells: see `methods::set`.
            Self::Password => return Err(Status::TPER_MALFUNCTION),
            Self::ResetTypes => Cell::Set(reset_types(value)?),
            Self::Expression => Cell::Expression(expression(value)?),
        };
        if wrong(value.at_end())? { Ok(cell) } else { Err(Status::INVALID_PARAMETER) }
    }
}

/// Tokens that are not what the method's signature asks for.
pub(super) fn wrong<T>(result: Result<T, ParseError>) -> Result<T, Status> {
    result.map_err(|_| Status::INVALID_PARAMETER)
}

/// A set of reset types: members 0 to 31, each once; kept in ascending order.
fn reset_types(value: &mut Reader<'_>) -> Result<Vec<u64>, Status> {
    let mut members = Vec::new();
    wrong(value.start_list())?;
    while !wrong(value.accept(crate::wire::Token::EndList))? {
        let member = wrong(value.uint())?;
        if member > 31 || members.contains(&member) {
            return Err(Status::INVALID_PARAMETER);
        }
        members.push(member);
    }
    members.sort_unstable();
    Ok(members)
}

fn expression(value: &mut Reader<'_>) -> Result<Vec<Element>, Status> {
    let mut elements = Vec::new();
    wrong(value.start_list())?;
    while let Some(name) = wrong(value.start_name())? {
        let element = match name {
            Name::Text(half) if half == AUTHORITY_REF => Element::Authority(wrong(value.uid())?),
            Name::Text(half) if half == BOOLEAN_ACE => match wrong(value.uint())? {
                0 => Element::And,
                1 => Element::Or,
                2 => Element::Not,
                _ => return Err(Status::INVALID_PARAMETER),
            },
            _ => return Err(Status::INVALID_PARAMETER),
        };
        wrong(value.end_name())?;
        if elements.len() >= MAX_EXPRESSION {
            return Err(Status::INVALID_PARAMETER);
        }
        elements.push(element);
    }
    wrong(value.end_list())?;
    Ok(elements)
}
