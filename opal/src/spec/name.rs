// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names for people: what a UID, method, column, parameter or value is called.
//!
//! Names come from number ranges of the specifications, never from what a drive is called. What has
//! no name here prints as its number.

mod column;
mod method;
mod uid;

pub use column::{Column, Enumeration, Kind, column, column_by_text, has_columns, value};
pub use method::{Parameter, begins_property, method, parameter, positional, property};
pub use uid::{UidName, table, uid};
