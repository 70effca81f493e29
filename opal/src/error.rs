// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of the crate, by who is at fault.
