// SPDX-License-Identifier: MIT OR Apache-2.0
//! ACEs: who may do what (Core 2.01 §5.1.3, §5.3.4.3).

use alloc::vec::Vec;

use super::{Access, Authority, LockingSp, ReadWrite, Row, SecurityProvider, Session};
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

    /// The same for one authority more. A list of authorities of which one is enough becomes
    /// longer by one; any other condition is kept as it is and gets an alternative.
    #[must_use]
    pub fn or<S>(mut self, authority: Authority<S>) -> Self {
        if !self.authorities().any(|uid| uid == authority.uid()) || !self.is_any_of() {
            let first = self.0.is_empty();
            self.0.push(Operand::Authority(authority.uid()));
            if !first {
                self.0.push(Operand::Or);
            }
        }
        self
    }

    /// The same without one authority; `None` where the condition is more than a list of
    /// authorities of which one is enough, so that what is left is not for us to tell.
    #[must_use]
    pub fn without<S>(&self, authority: Authority<S>) -> Option<Self> {
        if !self.is_any_of() {
            return None;
        }
        let rest: Vec<Authority<S>> =
            self.authorities().filter(|uid| *uid != authority.uid()).map(Authority::at).collect();
        Some(Self::any_of(&rest))
    }

    /// Whether it is a list of authorities of which one is enough.
    fn is_any_of(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Operand::Authority(_) | Operand::Or))
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

impl<S: SecurityProvider> Session<'_, S, ReadWrite> {
    /// Adds an authority to those that an ACE lets do what it guards: one pair, and one more
    /// unless it is among them already.
    ///
    /// # Errors
    /// The drive refuses (some hold only so many authorities), or the path failed.
    pub fn grant(&mut self, ace: Uid, authority: Authority<S>) -> Result<(), Error> {
        let old = self.ace(ace)?;
        let new = old.clone().or(authority);
        if new == old { Ok(()) } else { self.set_ace(ace, &new) }
    }

    /// Takes an authority away from those of an ACE, the others stay: one pair, and one more if it
    /// was among them.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is the last one, or where the condition is more than a list of
    /// authorities; the drive refuses; the path failed.
    pub fn revoke(&mut self, ace: Uid, authority: Authority<S>) -> Result<(), Error> {
        let old = self.ace(ace)?;
        let new = old.without(authority).ok_or(Error::Usage(
            "the access control element is more than a list of authorities; set it as a whole",
        ))?;
        if new == old {
            return Ok(());
        }
        if new.0.is_empty() {
            return Err(Error::Usage(
                "nobody would be left in the access control element; put another authority in first",
            ));
        }
        self.set_ace(ace, &new)
    }
}

/// The ACEs by which a user sees, locks and unlocks range `n`.
const fn range_aces(n: u16) -> [Uid; 3] {
    use crate::spec::ace::locking_sp;
    [
        locking_sp::locking_get(n),
        locking_sp::locking_set_read_locked(n),
        locking_sp::locking_set_write_locked(n),
    ]
}

impl Session<'_, LockingSp, ReadWrite> {
    /// Lets a user see, lock and unlock range `n`, beside those who may already: up to six pairs.
    /// In Single User Mode who may is fixed, and the drive refuses.
    ///
    /// # Errors
    /// As [`Session::grant`]; some of the three ACEs may be changed then.
    pub fn grant_range(&mut self, n: u16, user: Authority<LockingSp>) -> Result<(), Error> {
        range_aces(n).into_iter().try_for_each(|ace| self.grant(ace, user))
    }

    /// Takes that right away from a user; the others keep it.
    ///
    /// # Errors
    /// As [`Session::revoke`]; some of the three ACEs may be changed then.
    pub fn revoke_range(&mut self, n: u16, user: Authority<LockingSp>) -> Result<(), Error> {
        range_aces(n).into_iter().try_for_each(|ace| self.revoke(ace, user))
    }

    /// Lets a user read DataStore table `n` (from 1) and, with `write`, write it.
    ///
    /// # Errors
    /// As [`Session::grant`].
    pub fn grant_data_store(
        &mut self,
        n: u16,
        user: Authority<LockingSp>,
        write: bool,
    ) -> Result<(), Error> {
        use crate::spec::ace::locking_sp;
        self.grant(locking_sp::data_store_get(n), user)?;
        if write { self.grant(locking_sp::data_store_set(n), user) } else { Ok(()) }
    }

    /// Takes both rights away again.
    ///
    /// # Errors
    /// As [`Session::revoke`].
    pub fn revoke_data_store(&mut self, n: u16, user: Authority<LockingSp>) -> Result<(), Error> {
        use crate::spec::ace::locking_sp;
        self.revoke(locking_sp::data_store_get(n), user)?;
        self.revoke(locking_sp::data_store_set(n), user)
    }
}
