// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots QEMU guests against emulated drives and runs other people's clients in them.
//!
//! A test states a kernel, the drives and a shell script; [`Guest::run`] returns what the script
//! printed, step by step, and its exit code:
//!
//! ```no_run
//! use vm_tests::{Guest, Kernel};
//!
//! let outcome = Guest::builder("discovery")
//!     .kernel(Kernel::V6_12)
//!     .script("step 'the client answers' nvme version")
//!     .run()?;
//! outcome.assert_passed();
//! # Ok::<(), vm_tests::Error>(())
//! ```
//!
//! What a guest needs (kernels, clients, QEMU itself) comes from the Debian archive that this
//! machine is already configured for, into `target/vm`, without root and without touching the
//! packages of the host. The guests never run as part of a plain `cargo test`: the test target has
//! `test = false` and is named explicitly, `cargo test -p vm-tests --test vm`.
//!
//! This crate uses nothing of Opalbox: it runs the built programs and looks at them from outside.

mod artifacts;
mod cpio;
mod emulator;
mod error;
mod firmware;
mod guest;
mod image;
mod modules;
mod packages;
mod programs;
mod qemu;
mod results;
mod serial;
mod sources;
mod tpm;

pub use artifacts::{Artifacts, Kernel, QemuRelease};
pub use emulator::{Emulator, FrontEnd};
pub use error::Error;
pub use firmware::{Firmware, boot_from_firmware};
pub use guest::{Drive, Expectation, Guest, GuestBuilder, Outcome, Step};
pub use programs::{Program, Service, skip_at_home};
pub use results::page;
