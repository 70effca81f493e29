// SPDX-License-Identifier: MIT OR Apache-2.0
//! ACEs: who may do what (Core 2.01 §5.1.3, §5.3.4.3).

use alloc::vec::Vec;

use super::{Access, Authority, ReadWrite, Row, SecurityProvider, Session};
use crate::Uid;
use crate::error::Error;
use crate::exchange::Columns;
use crate::spec::column;
use crate::wire::Encoder;
use crate::wire::reader::{Name, ParseError, Reader};
use crate::wire::token::Token;

/// Half-UID that says "an authority follows" (Core 2.01 §5.1.3, Authority_object_ref).
const AUTHORITY_OBJECT_REF: [u8; 4] = 0x0000_0C05_u32.to_be_bytes();
/// Half-UID that says "an operator follows" (Core 2.01 §5.1.3, boolean_ACE).
const BOOLEAN_ACE: [u8; 4] = 0x0000_040E_u32.to_be_bytes();

/// Part of a [`BooleanExpr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// True while this authority, or a member of this class, is authenticated.
    Authority(Uid),
    /// Both of the two before it.
    And,
    /// One of the two before it.
    Or,
    /// Not the one before it.
    Not,
}

/// The condition of an ACE, in postfix order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BooleanExpr(pub Vec<Operand>);

impl BooleanExpr {
    /// True while any of these authorities is authenticated. False for none.
    #[must_use]
    pub fn any_of<S>(authorities: &[Authority<S>]) -> Self {
        let mut operands = Vec::new();
        for (index, authority) in authorities.iter().enumerate() {
            operands.push(Operand::Authority(authority.uid()));
            if index > 0 {
                operands.push(Operand::Or);
            }
        }
        Self(operands)
    }

    /// The authorities it names, in order.
    pub fn authorities(&self) -> impl Iterator<Item = Uid> + '_ {
        self.0.iter().filter_map(|operand| match operand {
            Operand::Authority(uid) => Some(*uid),
            _ => None,
        })
    }

    /// Writes it as the value of a column.
    pub fn write(&self, t: &mut Encoder) {
        t.list(|t| {
            for operand in &self.0 {
                match operand {
                    Operand::Authority(uid) => t.named_bytes(&AUTHORITY_OBJECT_REF, |t| {
                        t.uid(*uid);
                    }),
                    Operand::And => operator(t, 0),
                    Operand::Or => operator(t, 1),
                    Operand::Not => operator(t, 2),
                };
            }
        });
    }

    fn parse(mut reader: Reader<'_>) -> Result<Self, ParseError> {
        let mut operands = Vec::new();
        reader.start_list()?;
        while !reader.accept(Token::EndList)? {
            let offset = reader.offset();
            let invalid = |what| ParseError::Value { offset, what };
            let name = reader.start_name()?;
            operands.push(match name {
                Some(Name::Text(kind)) if kind == BOOLEAN_ACE => match reader.uint()? {
                    0 => Operand::And,
                    1 => Operand::Or,
                    2 => Operand::Not,
                    _ => return Err(invalid("an operator that is neither And, Or nor Not")),
                },
                // Other reference types name authorities as well.
                Some(Name::Text(_)) => Operand::Authority(reader.uid()?),
                _ => return Err(invalid("an access control element without its type")),
            });
            reader.end_name()?;
        }
        Ok(Self(operands))
    }
}

fn operator(t: &mut Encoder, number: u64) -> &mut Encoder {
    t.named_bytes(&BOOLEAN_ACE, |t| {
        t.uint(number);
    })
}

impl<S: SecurityProvider, A: Access> Session<'_, S, A> {
    /// The condition of an ACE: one pair. ACEs are in [`crate::spec::ace`].
    ///
    /// # Errors
    /// The session may not read it, or the path failed.
    pub fn ace(&mut self, ace: Uid) -> Result<BooleanExpr, Error> {
        let column = column::ace::BOOLEAN_EXPR;
        let cells = self.get(Row::at(ace), column..=column)?;
        let value = cells.value(column).ok_or(Error::NotShown { column })?;
        Ok(BooleanExpr::parse(value)?)
    }
}

impl<S: SecurityProvider> Session<'_, S, ReadWrite> {
    /// Changes the condition of an ACE: one pair.
    ///
    /// # Errors
    /// The drive refuses (some take only certain forms), or the path failed.
    pub fn set_ace(&mut self, ace: Uid, condition: &BooleanExpr) -> Result<(), Error> {
        let columns = Columns::new().value(column::ace::BOOLEAN_EXPR, |t| condition.write(t));
        self.set(Row::at(ace), &columns)
    }
}
