// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serves a plain drive in memory: a front-end alone, without a TPer behind it.
//!
//! ```sh
//! cargo run --example memory_drive -- 64 nvme-tcp nqn.2026-01.example:memory 127.0.0.1:0
//! cargo run --example memory_drive -- 64 vhost-user-scsi /tmp/drive.sock
//! cargo run --example memory_drive -- 64 vhost-user-sat /tmp/drive.sock
//! ```
//!
//! Prints `listening on ADDRESS` and serves until it is killed. `nvme connect -t tcp -a 127.0.0.1
//! -s PORT -n NQN`, or QEMU's `vhost-user-scsi-pci`, attach it.

use std::env;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use opalbox::emulator::backend::memory::MemoryDrive;
use opalbox::emulator::frontend::nvme_tcp::Target;
use opalbox::emulator::frontend::vhost_user_scsi::Server;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let usage = "usage: memory_drive MEBIBYTES (nvme-tcp NQN ADDRESS | vhost-user-scsi SOCKET | \
                 vhost-user-sat SOCKET)";
    let drive = |mebibytes: &str| -> Result<_, Box<dyn Error>> {
        Ok(Arc::new(MemoryDrive::new(512, mebibytes.parse::<u64>()? * 2048)))
    };
    match words.as_slice() {
        [mebibytes, "nvme-tcp", subsystem, address] => {
            let target = Target::bind(address, drive(mebibytes)?, subsystem)?;
            println!("listening on {}", target.local_addr()?);
            target.run()?;
        }
        [mebibytes, front_end @ ("vhost-user-scsi" | "vhost-user-sat"), socket] => {
            let sat = *front_end == "vhost-user-sat";
            let server = Server::bind(Path::new(socket), drive(mebibytes)?, sat)?;
            println!("listening on {socket}");
            server.run()?;
        }
        _ => return Err(usage.into()),
    }
    Ok(())
}
