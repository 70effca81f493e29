// SPDX-License-Identifier: MIT OR Apache-2.0
//! The main job: a drive provisioned, locked, unlocked and reverted, by the built programs. What it
//! promises when everything goes well, how little it says to the drive, what it does with drives
//! that are not as they should be, and that neither a kill nor a scan finds a way in.

#[path = "support/emulator.rs"]
mod emulator;

#[path = "support/machine.rs"]
mod machine;

#[path = "support/random.rs"]
mod random;

#[path = "support/swtpm.rs"]
mod swtpm;

#[path = "provision/crash.rs"]
mod crash;

#[path = "provision/lab.rs"]
mod lab;

#[path = "provision/life.rs"]
mod life;

#[path = "provision/verbs.rs"]
mod verbs;

#[path = "provision/round_trips.rs"]
mod round_trips;
