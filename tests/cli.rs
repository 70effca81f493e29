// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the command says: help, tables, JSON, errors with their advice, and exit codes, each from a
//! situation that is real. `INSTA_UPDATE=always cargo test --test cli` writes the snapshots anew.

#[path = "support/emulator.rs"]
mod emulator;

#[path = "support/machine.rs"]
mod machine;

#[path = "support/swtpm.rs"]
mod swtpm;

#[path = "cli/codes.rs"]
mod codes;

#[path = "cli/output.rs"]
mod output;

#[path = "cli/secrets.rs"]
mod secrets;
