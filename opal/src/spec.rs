// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names and numbers from the specifications: one file per group of objects.
//!
//! Host and TPer share these. Values come from Core 2.01 and Opal SSC 2.30; where a value rests on
//! a single source its documentation says so.

pub mod ace;
pub mod authority;
pub mod c_pin;
pub mod column;
pub mod enterprise;
pub mod locking;
pub mod method;
pub mod name;
pub mod protocol;
pub mod sp;
pub mod table;
