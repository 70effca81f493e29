// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which SP a session, authority, row or table belongs to, as types.

use core::fmt;
use core::marker::PhantomData;

use crate::Uid;
use crate::spec::{authority, c_pin, locking, sp, table};

mod sealed {
    pub trait Sealed {}
}
pub(super) use sealed::Sealed;

/// A security provider: [`AdminSp`] or [`LockingSp`].
pub trait SecurityProvider: sealed::Sealed + 'static {
    /// Its UID.
    const UID: Uid;
    /// Its name, for messages.
    const NAME: &'static str;
}

/// The Admin SP: ownership, life cycle, revert.
#[derive(Debug)]
pub enum AdminSp {}

/// The Locking SP of the Opal family: ranges, users, shadow MBR, DataStore.
#[derive(Debug)]
pub enum LockingSp {}

impl sealed::Sealed for AdminSp {}
impl SecurityProvider for AdminSp {
    const UID: Uid = sp::ADMIN;
    const NAME: &'static str = "Admin SP";
}

impl sealed::Sealed for LockingSp {}
impl SecurityProvider for LockingSp {
    const UID: Uid = sp::LOCKING;
    const NAME: &'static str = "Locking SP";
}

/// What a session may do: [`ReadOnly`] or [`ReadWrite`].
pub trait Access: sealed::Sealed + 'static {
    /// The Write parameter of StartSession.
    const WRITE: bool;
}

/// A session that changes nothing. Opal drives may refuse to open one.
#[derive(Debug)]
pub enum ReadOnly {}

/// A session that may change things.
#[derive(Debug)]
pub enum ReadWrite {}

impl sealed::Sealed for ReadOnly {}
impl Access for ReadOnly {
    const WRITE: bool = false;
}

impl sealed::Sealed for ReadWrite {}
impl Access for ReadWrite {
    const WRITE: bool = true;
}

macro_rules! of_provider {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub struct $name<S> {
                uid: Uid,
                provider: PhantomData<fn() -> S>,
            }

            impl<S> $name<S> {
                /// Any UID, on the caller's word that it belongs to this SP.
                #[must_use]
                pub const fn at(uid: Uid) -> Self {
                    Self { uid, provider: PhantomData }
                }

                /// The UID.
                #[must_use]
                pub const fn uid(self) -> Uid {
                    self.uid
                }
            }

            impl<S> Clone for $name<S> {
                fn clone(&self) -> Self {
                    *self
                }
            }
            impl<S> Copy for $name<S> {}
            impl<S> PartialEq for $name<S> {
                fn eq(&self, other: &Self) -> bool {
                    self.uid == other.uid
                }
            }
            impl<S> Eq for $name<S> {}
            impl<S: SecurityProvider> fmt::Debug for $name<S> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, concat!(stringify!($name), "({}, {})"), self.uid, S::NAME)
                }
            }
        )*
    };
}

of_provider! {
    /// An authority of an SP: who authenticates.
    Authority;
    /// A row of an object table.
    Row;
    /// An object table as a whole, for Next.
    Table;
    /// A table of bytes.
    ByteTable;
}

impl<S> Authority<S> {
    /// Everybody; needs no PIN.
    pub const ANYBODY: Self = Self::at(authority::ANYBODY);

    /// The C_PIN row that holds this authority's PIN.
    #[must_use]
    pub const fn c_pin(self) -> Row<S> {
        Row::at(c_pin::of(self.uid))
    }

    /// The row of the Authority table.
    #[must_use]
    pub const fn row(self) -> Row<S> {
        Row::at(self.uid)
    }
}

impl Authority<AdminSp> {
    /// The drive's owner.
    pub const SID: Self = Self::at(authority::SID);
    /// Whoever can read the drive's label.
    pub const PSID: Self = Self::at(authority::PSID);

    /// AdminN of the Admin SP; `n` from 1.
    #[must_use]
    pub const fn admin_sp_admin(n: u16) -> Self {
        Self::at(authority::admin_sp_admin(n))
    }
}

impl Authority<LockingSp> {
    /// AdminN; `n` from 1.
    #[must_use]
    pub const fn admin(n: u16) -> Self {
        Self::at(authority::admin(n))
    }

    /// UserN; `n` from 1.
    #[must_use]
    pub const fn user(n: u16) -> Self {
        Self::at(authority::user(n))
    }

    /// The class of all Admins, for access control expressions.
    pub const ADMINS: Self = Self::at(authority::ADMINS);
    /// The class of all Users, for access control expressions.
    pub const USERS: Self = Self::at(authority::USERS);
}

impl Row<AdminSp> {
    /// C_PIN_MSID.
    pub const C_PIN_MSID: Self = Self::at(c_pin::MSID);
    /// The Admin SP's own object.
    pub const ADMIN_SP: Self = Self::at(sp::ADMIN);
    /// The Locking SP's object.
    pub const LOCKING_SP: Self = Self::at(sp::LOCKING);
    /// TPerInfo.
    pub const TPER_INFO: Self = Self::at(table::row::TPER_INFO_ROW);
    /// DataRemovalMechanism.
    pub const DATA_REMOVAL_MECHANISM: Self = Self::at(table::row::DATA_REMOVAL_MECHANISM_ROW);
}

impl Row<LockingSp> {
    /// LockingInfo.
    pub const LOCKING_INFO: Self = Self::at(table::row::LOCKING_INFO_ROW);
    /// MBRControl.
    pub const MBR_CONTROL: Self = Self::at(table::row::MBR_CONTROL_ROW);

    /// The Locking row of range `n`; 0 is the Global Range.
    #[must_use]
    pub const fn range(n: u16) -> Self {
        Self::at(locking::range(n))
    }
}

impl Table<LockingSp> {
    /// Locking: one row a range.
    pub const LOCKING: Self = Self::at(table::uid(table::LOCKING));
}

impl<S> Table<S> {
    /// Authority.
    pub const AUTHORITY: Self = Self::at(table::uid(table::AUTHORITY));
    /// C_PIN.
    pub const C_PIN: Self = Self::at(table::uid(table::C_PIN));
    /// ACE.
    pub const ACE: Self = Self::at(table::uid(table::ACE));
    /// Table.
    pub const TABLE: Self = Self::at(table::uid(table::TABLE));
}

impl ByteTable<LockingSp> {
    /// The shadow MBR.
    pub const MBR: Self = Self::at(table::uid(table::MBR));

    /// DataStore table `n`, from 1.
    #[must_use]
    pub const fn data_store(n: u16) -> Self {
        Self::at(table::data_store(n))
    }
}

impl<S> ByteTable<S> {
    /// The row of the Table table that describes this one.
    #[must_use]
    pub const fn descriptor(self) -> Row<S> {
        Row::at(table::descriptor(self.uid.table()))
    }
}
