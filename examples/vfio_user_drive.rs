// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serves a plain drive in memory over vfio-user: a PCI NVMe controller without a TPer behind it.
//!
//! ```sh
//! cargo run --example vfio_user_drive -- 64 /tmp/drive.sock /tmp/control.sock [IMAGE]
//! ```
//!
//! Prints `listening on SOCKET` and serves until it is killed. IMAGE is what the drive holds first.
//! Each line sent to the control socket gets a line back: `power-cycle`, `resets` (those that the
//! drive saw, the last one last), `lock FROM TO` (blocks), `unlock`, `text LBA` (what a block holds up
//! to its first zero).

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use opalbox::emulator::backend::memory::MemoryDrive;
use opalbox::emulator::backend::{Backend as _, ResetKind};
use opalbox::emulator::frontend::vfio_user_nvme::{Handle, Server};

const SUBSYSTEM: &str = "nqn.2026-01.example:memory";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let usage = "usage: vfio_user_drive MEBIBYTES SOCKET CONTROL_SOCKET [IMAGE]";
    let mebibytes: u64 = arguments.next().ok_or(usage)?.parse()?;
    let socket = arguments.next().ok_or(usage)?;
    let control = arguments.next().ok_or(usage)?;
    let drive = Arc::new(MemoryDrive::new(512, mebibytes * 2048));
    if let Some(image) = arguments.next() {
        let mut data = fs::read(image)?;
        data.resize(data.len().next_multiple_of(512), 0);
        drive.write(0, &data).map_err(|status| format!("the image: {status:?}"))?;
    }
    let server = Server::bind(Path::new(&socket), drive.clone(), SUBSYSTEM)?;
    let handle = server.handle();
    let listener = UnixListener::bind(control)?;
    thread::spawn(move || {
        for line in listener.incoming().flatten() {
            // A caller that goes away has had its answers.
            let _ = answer(line, &drive, &handle);
        }
    });
    println!("listening on {socket}");
    Ok(server.run()?)
}

fn answer(mut line: UnixStream, drive: &MemoryDrive, handle: &Handle) -> std::io::Result<()> {
    for order in BufReader::new(line.try_clone()?).lines() {
        let order = order?;
        let words: Vec<&str> = order.split_whitespace().collect();
        let reply = match words.as_slice() {
            ["power-cycle"] => {
                drive.reset(ResetKind::PowerCycle);
                handle.power_lost();
                "done".to_owned()
            }
            ["resets"] => format!("{:?}", drive.resets()),
            ["unlock"] => {
                drive.lock(None);
                "done".to_owned()
            }
            ["text", lba] => {
                let mut block = [0; 512];
                match lba.parse().map(|lba| drive.read(lba, &mut block)) {
                    Ok(Ok(())) => {
                        let text = block.split(|byte| *byte == 0).next().unwrap_or_default();
                        String::from_utf8_lossy(text).into_owned()
                    }
                    other => format!("{other:?}"),
                }
            }
            ["lock", from, to] => match (from.parse(), to.parse()) {
                (Ok(from), Ok(to)) => {
                    drive.lock(Some(from..to));
                    "done".to_owned()
                }
                _ => "lock FROM TO takes two numbers".to_owned(),
            },
            _ => format!("unknown order {order:?}"),
        };
        writeln!(line, "{reply}")?;
    }
    Ok(())
}
