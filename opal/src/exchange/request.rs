// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every method call a host makes, as tokens (Core 2.01 §5.3.3, Opal 2.30 §5.1).
//!
//! Untyped: any method on any object. Optional parameters are named by their number, ascending.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use zeroize::Zeroizing;

use super::Columns;
use crate::spec::{authority, method, sp, table};
use crate::wire::packet::{COM_PACKET_HEADER, PACKET_HEADER, SUB_PACKET_HEADER};
use crate::wire::{CallBuilder, Encoder};
use crate::{Pin, Uid};

/// Names of the components of a cell block (Core 2.01 §5.1.4.2.3).
mod cell_block {
    pub(super) const START_ROW: u64 = 1;
    pub(super) const END_ROW: u64 = 2;
    pub(super) const START_COLUMN: u64 = 3;
    pub(super) const END_COLUMN: u64 = 4;
}

/// Names of the parameters of Set.
mod set_parameter {
    pub(super) const WHERE: u64 = 0;
    pub(super) const VALUES: u64 = 1;
}

/// Names of the optional parameters of StartSession (Core 2.01 §5.2.3.1).
mod start_parameter {
    pub(super) const HOST_CHALLENGE: u64 = 0;
    pub(super) const HOST_SIGNING_AUTHORITY: u64 = 3;
    pub(super) const SESSION_TIMEOUT: u64 = 5;
}

/// A method call ready to be sent in a session. Wiped when dropped: it may hold a PIN.
pub struct Request {
    /// Name of the method, for messages.
    pub name: &'static str,
    /// The call from Call to the end of its status list.
    pub tokens: Zeroizing<Vec<u8>>,
}

impl Request {
    /// Any call: `name` for messages, `parameters` writes what stands in the parameter list.
    pub fn new(
        name: &'static str,
        invoking: Uid,
        method: Uid,
        parameters: impl FnOnce(&mut Encoder),
    ) -> Self {
        let tokens = CallBuilder::new(invoking, method).with(parameters).finish();
        Self { name, tokens }
    }

    /// Bytes of the ComPacket around this call, before padding.
    #[must_use]
    pub fn com_packet_size(&self) -> usize {
        let headers = COM_PACKET_HEADER + PACKET_HEADER + SUB_PACKET_HEADER;
        headers + self.tokens.len().next_multiple_of(4)
    }
}

/// Properties; `host` are the host's own, or `None` to only ask (Core 2.01 §5.2.2).
#[must_use]
pub fn properties(host: Option<&[(&str, u64)]>) -> Request {
    Request::new("Properties", sp::SESSION_MANAGER, method::PROPERTIES, |t| {
        if let Some(host) = host {
            t.named(0, |t| {
                t.list(|t| {
                    for (name, value) in host {
                        t.named_bytes(name.as_bytes(), |t| {
                            t.uint(*value);
                        });
                    }
                });
            });
        }
    })
}

/// Parameters of StartSession.
#[derive(Clone, Copy)]
pub struct StartSession<'a> {
    /// Number the host gives the session.
    pub hsn: u32,
    /// The SP.
    pub sp: Uid,
    /// Whether the session may change anything.
    pub write: bool,
    /// Who opens it, and their PIN; `None` for Anybody.
    pub credential: Option<(Uid, &'a Pin)>,
    /// SessionTimeout in milliseconds. Some drives refuse it whatever its value (quirk C2).
    pub timeout: Option<u32>,
}

/// StartSession (Core 2.01 §5.2.3.1).
#[must_use]
pub fn start_session(start: &StartSession<'_>) -> Request {
    Request::new("StartSession", sp::SESSION_MANAGER, method::START_SESSION, |t| {
        t.uint(u64::from(start.hsn)).uid(start.sp).boolean(start.write);
        if let Some((authority, pin)) = start.credential {
            t.named(start_parameter::HOST_CHALLENGE, |t| {
                t.bytes(pin.expose());
            });
            t.named(start_parameter::HOST_SIGNING_AUTHORITY, |t| {
                t.uid(authority);
            });
        }
        if let Some(timeout) = start.timeout {
            t.named(start_parameter::SESSION_TIMEOUT, |t| {
                t.uint(u64::from(timeout));
            });
        }
    })
}

/// Get of some columns of a row.
#[must_use]
pub fn get(row: Uid, columns: RangeInclusive<u64>) -> Request {
    Request::new("Get", row, method::GET, |t| {
        cells(
            t,
            cell_block::START_COLUMN,
            *columns.start(),
            cell_block::END_COLUMN,
            *columns.end(),
        );
    })
}

/// Get of every column of a row that the session may read.
#[must_use]
pub fn get_row(row: Uid) -> Request {
    Request::new("Get", row, method::GET, |t| {
        t.list(|_| {});
    })
}

/// Get of bytes `first` to `last`, both included, of a byte table.
#[must_use]
pub fn read(table: Uid, first: u64, last: u64) -> Request {
    Request::new("Get", table, method::GET, |t| {
        cells(t, cell_block::START_ROW, first, cell_block::END_ROW, last);
    })
}

fn cells(t: &mut Encoder, start: u64, first: u64, end: u64, last: u64) {
    t.list(|t| {
        t.named(start, |t| {
            t.uint(first);
        });
        t.named(end, |t| {
            t.uint(last);
        });
    });
}

/// Set of columns of a row.
#[must_use]
pub fn set(row: Uid, columns: &Columns) -> Request {
    Request::new("Set", row, method::SET, |t| {
        t.named(set_parameter::VALUES, |t| {
            t.list(|t| {
                t.raw(columns.as_tokens());
            });
        });
    })
}

/// Set of bytes of a byte table from `offset` on.
#[must_use]
pub fn write(table: Uid, offset: u64, data: &[u8]) -> Request {
    Request::new("Set", table, method::SET, |t| {
        t.named(set_parameter::WHERE, |t| {
            t.uint(offset);
        });
        t.named(set_parameter::VALUES, |t| {
            t.bytes(data);
        });
    })
}

/// Next: rows of a table behind `after`, at most `count` of them.
#[must_use]
pub fn next(table: Uid, after: Option<Uid>, count: Option<u64>) -> Request {
    Request::new("Next", table, method::NEXT, |t| {
        if let Some(after) = after {
            t.named(0, |t| {
                t.uid(after);
            });
        }
        if let Some(count) = count {
            t.named(1, |t| {
                t.uint(count);
            });
        }
    })
}

/// GetACL: the ACEs that guard `method` on `object`.
#[must_use]
pub fn acl(object: Uid, guarded: Uid) -> Request {
    let access_control = table::uid(table::ACCESS_CONTROL);
    Request::new("GetACL", access_control, method::GET_ACL, |t| {
        t.uid(object).uid(guarded);
    })
}

/// Authenticate; Anybody needs no PIN.
#[must_use]
pub fn authenticate(who: Uid, pin: &Pin) -> Request {
    Request::new("Authenticate", sp::THIS_SP, method::AUTHENTICATE, |t| {
        t.uid(who);
        if who != authority::ANYBODY {
            t.named(0, |t| {
                t.bytes(pin.expose());
            });
        }
    })
}

/// Random: `count` bytes; every drive gives 32.
#[must_use]
pub fn random(count: u64) -> Request {
    Request::new("Random", sp::THIS_SP, method::RANDOM, |t| {
        t.uint(count);
    })
}

/// GenKey on a media key or C_PIN row.
#[must_use]
pub fn gen_key(key: Uid) -> Request {
    Request::new("GenKey", key, method::GEN_KEY, |_| {})
}

/// Which ranges Activate and Reactivate put into Single User Mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SingleUser {
    /// Only these Locking rows; an empty list leaves the mode off.
    Ranges(Vec<Uid>),
    /// The whole Locking table.
    All,
}

/// Optional parameters of Activate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activate {
    /// SingleUserModeSelectionList.
    pub single_user: Option<SingleUser>,
    /// RangeStartRangeLengthPolicy: true leaves start and length to Admins, false to the user.
    pub admins_own_geometry: Option<bool>,
    /// DataStoreTableSizes, in bytes.
    pub data_store_sizes: Option<Vec<u64>>,
}

/// Activate of an SP (Opal 2.30 §5.1.1; SUM and DataStore feature sets).
#[must_use]
pub fn activate(sp: Uid, options: &Activate) -> Request {
    Request::new("Activate", sp, method::ACTIVATE, |t| {
        use method::parameter;
        single_user(t, options.single_user.as_ref());
        geometry_policy(t, options.admins_own_geometry);
        let sizes = options.data_store_sizes.as_deref();
        data_store_sizes(t, parameter::ACTIVATE_DATA_STORE_TABLE_SIZES, sizes);
    })
}

/// Reactivate of the session's SP (Single User Mode feature set; one source). `admin1` becomes
/// Admin1's PIN.
#[must_use]
pub fn reactivate(options: &Activate, admin1: Option<&Pin>) -> Request {
    Request::new("Reactivate", sp::THIS_SP, method::REACTIVATE, |t| {
        use method::parameter;
        single_user(t, options.single_user.as_ref());
        geometry_policy(t, options.admins_own_geometry);
        if let Some(pin) = admin1 {
            t.named(parameter::REACTIVATE_ADMIN1_PIN, |t| {
                t.bytes(pin.expose());
            });
        }
        let sizes = options.data_store_sizes.as_deref();
        data_store_sizes(t, parameter::REACTIVATE_DATA_STORE_TABLE_SIZES, sizes);
    })
}

fn single_user(t: &mut Encoder, selection: Option<&SingleUser>) {
    let Some(selection) = selection else { return };
    t.named(method::parameter::SINGLE_USER_MODE_SELECTION_LIST, |t| {
        t.list(|t| match selection {
            SingleUser::Ranges(rows) => {
                for row in rows {
                    t.uid(*row);
                }
            }
            SingleUser::All => {
                t.uid(table::uid(table::LOCKING));
            }
        });
    });
}

fn geometry_policy(t: &mut Encoder, policy: Option<bool>) {
    if let Some(policy) = policy {
        t.named(method::parameter::RANGE_START_RANGE_LENGTH_POLICY, |t| {
            t.boolean(policy);
        });
    }
}

fn data_store_sizes(t: &mut Encoder, name: u64, sizes: Option<&[u64]>) {
    let Some(sizes) = sizes else { return };
    t.named(name, |t| {
        t.list(|t| {
            for size in sizes {
                t.uint(*size);
            }
        });
    });
}

/// Erase of a range in Single User Mode.
#[must_use]
pub fn erase(range: Uid) -> Request {
    Request::new("Erase", range, method::ERASE, |_| {})
}

/// Revert of an SP (Opal 2.30 §5.1.2).
#[must_use]
pub fn revert(sp: Uid) -> Request {
    Request::new("Revert", sp, method::REVERT, |_| {})
}

/// RevertSP of the session's SP (Opal 2.30 §5.1.3).
#[must_use]
pub fn revert_sp(keep_global_range_key: bool) -> Request {
    Request::new("RevertSP", sp::THIS_SP, method::REVERT_SP, |t| {
        if keep_global_range_key {
            t.named(method::parameter::KEEP_GLOBAL_RANGE_KEY, |t| {
                t.boolean(true);
            });
        }
    })
}
