// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lockbox's promises, on real software TPMs, each test with its own.

#[path = "support/swtpm.rs"]
mod swtpm;

#[path = "lockbox/support.rs"]
mod support;

#[path = "lockbox/anchor.rs"]
mod anchor;

#[path = "lockbox/child.rs"]
mod child;

#[path = "lockbox/crash.rs"]
mod crash;

#[path = "lockbox/facade.rs"]
mod facade;

#[path = "lockbox/tamper.rs"]
mod tamper;

#[path = "lockbox/tpm.rs"]
mod tpm;
