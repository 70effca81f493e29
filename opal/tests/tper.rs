// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drive side, driven through its interface by a small host of its own.

#[path = "tper/access.rs"]
mod access;
#[path = "tper/byte_tables.rs"]
mod byte_tables;
#[path = "tper/enterprise.rs"]
mod enterprise;
#[path = "tper/failing.rs"]
mod failing;
#[path = "tper/golden.rs"]
mod golden;
#[path = "tper/life_cycle.rs"]
mod life_cycle;
#[path = "tper/locking.rs"]
mod locking;
#[path = "tper/pending.rs"]
mod pending;
#[path = "tper/persistence.rs"]
mod persistence;
#[path = "tper/profiles.rs"]
mod profiles;
#[path = "tper/protocol.rs"]
mod protocol;
#[path = "tper/quirks.rs"]
mod quirks;
#[path = "tper/removal.rs"]
mod removal;
#[path = "tper/robustness.rs"]
mod robustness;
#[path = "tper/sessions.rs"]
mod sessions;
#[path = "tper/single_user.rs"]
mod single_user;
#[path = "tper/support.rs"]
mod support;
