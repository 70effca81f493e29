// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serves a plain drive in memory over NVMe/TCP: a front-end alone, without a TPer behind it.
//!
//! ```sh
//! cargo run --example memory_drive -- nqn.2026-01.example:memory 64
//! # in another shell, as root:
//! nvme connect -t tcp -a 127.0.0.1 -s PORT -n nqn.2026-01.example:memory
//! ```
//!
//! Prints `listening on 127.0.0.1:PORT` and serves until it is killed.

use std::env;
use std::error::Error;
use std::sync::Arc;

use opalbox::emulator::backend::memory::MemoryDrive;
use opalbox::emulator::frontend::nvme_tcp::Target;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let usage = "usage: memory_drive SUBSYSTEM_NQN MEBIBYTES [ADDRESS:PORT]";
    let subsystem = arguments.next().ok_or(usage)?;
    let mebibytes: u64 = arguments.next().ok_or(usage)?.parse()?;
    let drive = Arc::new(MemoryDrive::new(512, mebibytes * 2048));
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let target = Target::bind(address, drive, &subsystem)?;
    println!("listening on {}", target.local_addr()?);
    Ok(target.run()?)
}
