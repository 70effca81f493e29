// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names and numbers from the specifications.
