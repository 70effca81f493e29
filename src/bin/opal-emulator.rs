// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `opal-emulator` command.

fn main() {}
