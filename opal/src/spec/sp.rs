// SPDX-License-Identifier: MIT OR Apache-2.0
//! Security providers and the objects that stand for "this SP" and "the session manager".

use crate::Uid;

/// InvokingID of control session methods (SMUID).
pub const SESSION_MANAGER: Uid = Uid::new(0, 0xFF);
/// InvokingID of SP methods: the SP of this session.
pub const THIS_SP: Uid = Uid::new(0, 1);
/// Admin SP.
pub const ADMIN: Uid = Uid::new(0x205, 1);
/// Locking SP of Opal, Opalite, Pyrite and Ruby.
pub const LOCKING: Uid = Uid::new(0x205, 2);
/// Locking SP of Enterprise.
pub const ENTERPRISE_LOCKING: Uid = Uid::new(0x205, 0x0001_0001);

/// `life_cycle_state` values (Core 2.01 §5.1.3).
pub mod life_cycle {
    /// Manufactured-Inactive.
    pub const MANUFACTURED_INACTIVE: u64 = 8;
    /// Manufactured.
    pub const MANUFACTURED: u64 = 9;
    /// Manufactured-Frozen.
    pub const MANUFACTURED_FROZEN: u64 = 11;
}
