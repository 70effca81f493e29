// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server on its socket, with the vfio_user crate's client as the machine.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use vfio_user::Client;

use super::super::{Handle, Server, Stop};
use super::*;

struct Served {
    drive: Arc<Slow>,
    handle: Handle,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let drive = Slow::new();
        let server = Server::bind(&folder.path().join("s"), drive.clone(), "nqn.test").unwrap();
        let (handle, stop) = (server.handle(), server.stop_handle());
        let thread = Some(std::thread::spawn(move || server.run().unwrap()));
        Self { drive, handle, stop, thread, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn resets(&self) -> Vec<ResetKind> {
        self.drive.drive.resets()
    }

    fn until_resets(&self, count: usize) {
        let from = Instant::now();
        while self.resets().len() < count {
            assert!(from.elapsed() < LIMIT, "{:?}", self.resets());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.path().exists(), "the socket goes with its server");
    }
}

const BAR: u32 = 0;
const CONFIG: u32 = 7;
const MSI_X: u32 = 2;

fn set(client: &mut Client, offset: u64, data: &[u8]) {
    client.region_write(BAR, offset, data).unwrap();
}

#[test]
fn a_machine_maps_memory_enables_the_controller_and_hears_interrupts() {
    let served = Served::start();
    let mut client = Client::new(&served.path()).unwrap();
    assert_eq!(client.region(BAR).unwrap().size, 0x4000);
    let msi_x = client.get_irq_info(MSI_X).unwrap();
    assert_eq!((msi_x.count, msi_x.flags & 1), (17, 1));
    assert_eq!(client.get_irq_info(0).unwrap().count, 0);
    let mut id = [0; 4];
    client.region_read(CONFIG, 0, &mut id).unwrap();
    assert_eq!(id, [0xF4, 0x1A, 0xF0, 0x10]);

    let memory = pages(16);
    client.dma_map(0, BASE, 16 * PAGE, memory.as_raw_fd()).unwrap();
    let (mut heard, event) = std::io::pipe().unwrap();
    // Trigger by event, vector 0.
    client.set_irqs(MSI_X, 0x24, 0, 1, &[event.as_raw_fd()]).unwrap();
    client.region_write(CONFIG, 4, &[6, 0]).unwrap();
    set(&mut client, 0x24, &0x0007_0007_u32.to_le_bytes());
    set(&mut client, 0x28, &at(0).to_le_bytes());
    set(&mut client, 0x30, &at(1).to_le_bytes());
    set(&mut client, 0x14, &0x0046_0001_u32.to_le_bytes());
    memory.write_all_at(&entry(6, 0, (at(4), 0), &[(10, 1)]), 0).unwrap();
    set(&mut client, 0x1000, &1_u32.to_le_bytes());
    let mut count = [0; 8];
    heard.read_exact(&mut count).unwrap();
    let mut page = [0; 4096];
    memory.read_exact_at(&mut page, 4 * PAGE).unwrap();
    assert_eq!(&page[24..44], b"OPALBOX MEMORY DRIVE");

    served.handle.power_lost();
    let mut status = [0xFF; 4];
    client.region_read(BAR, 0x1C, &mut status).unwrap();
    assert_eq!(status, [0; 4]);
    client.reset().unwrap();
    assert_eq!(served.resets(), [ResetKind::Hardware]);
    client.dma_unmap(BASE, 16 * PAGE).unwrap();
    drop(client);
    served.until_resets(2);
    assert_eq!(served.resets()[1], ResetKind::PowerCycle, "the machine is gone");
    // The next machine is served.
    let mut client = Client::new(&served.path()).unwrap();
    client.region_read(CONFIG, 0, &mut id).unwrap();
    assert_eq!(id, [0xF4, 0x1A, 0xF0, 0x10]);
}

#[test]
fn peers_that_are_no_machines_cost_their_connection_only() {
    let served = Served::start();
    drop(UnixStream::connect(served.path()).unwrap());
    for greeting in [
        // Version, shorter than itself; with text that does not end; unknown; absurdly long.
        vec![0, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        [&[0, 0, 1, 0, 24, 0, 0, 0][..], &[0; 8], &[0, 0, 1, 0, 1, 2, 3, 4]].concat(),
        vec![0xFF; 64],
        [&[0, 0, 1, 0, 0xFF, 0xFF, 0xFF, 0x7F][..], &[0; 12]].concat(),
    ] {
        let mut peer = UnixStream::connect(served.path()).unwrap();
        peer.write_all(&greeting).unwrap();
    }
    let mut client = Client::new(&served.path()).unwrap();
    let mut id = [0; 4];
    client.region_read(CONFIG, 0, &mut id).unwrap();
    assert_eq!(id, [0xF4, 0x1A, 0xF0, 0x10]);
    assert!(served.resets().is_empty(), "none of them was a machine");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let served = Served::start();
    let second = Server::bind(&served.path(), served.drive.clone(), "nqn.test").err().unwrap();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Server::bind(&path, served.drive.clone(), "nqn.test").unwrap());
    // Whatever else is there stays.
    std::fs::write(&path, "precious").unwrap();
    assert!(Server::bind(&path, served.drive.clone(), "nqn.test").is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_server_ends_though_its_machine_stays() {
    let served = Served::start();
    let mut client = Client::new(&served.path()).unwrap();
    client.region_write(CONFIG, 4, &[6, 0]).unwrap();
    let drive = Arc::clone(&served.drive);
    let from = Instant::now();
    drop(served);
    assert!(from.elapsed() < LIMIT);
    assert_eq!(drive.drive.resets(), [ResetKind::PowerCycle]);
    // What is left of it does nothing more.
    set(&mut client, 0x14, &0x0046_0001_u32.to_le_bytes());
    let mut status = [0xFF; 4];
    client.region_read(BAR, 0x1C, &mut status).unwrap();
    assert_eq!(status, [0; 4]);
    client.reset().unwrap();
    assert_eq!(drive.drive.resets(), [ResetKind::PowerCycle]);
}

#[test]
fn a_drive_that_calls_back_when_it_loses_power_does_not_hang() {
    struct CallsBack(MemoryDrive, std::sync::Mutex<Option<Handle>>);
    impl Backend for CallsBack {
        fn identity(&self) -> DriveIdentity {
            self.0.identity()
        }
        fn if_send(&self, _: u8, _: u16, _: &[u8]) -> Result<(), CommandStatus> {
            Ok(())
        }
        fn if_recv(&self, _: u8, _: u16, _: usize) -> Result<Vec<u8>, CommandStatus> {
            Ok(Vec::new())
        }
        fn read(&self, lba: u64, data: &mut [u8]) -> Result<(), CommandStatus> {
            self.0.read(lba, data)
        }
        fn write(&self, lba: u64, data: &[u8]) -> Result<(), CommandStatus> {
            self.0.write(lba, data)
        }
        fn flush(&self) -> Result<(), CommandStatus> {
            Ok(())
        }
        fn discard(&self, lba: u64, blocks: u64) -> Result<(), CommandStatus> {
            self.0.discard(lba, blocks)
        }
        fn reset(&self, kind: ResetKind) {
            self.0.reset(kind);
            if let Some(handle) = &*self.1.lock().unwrap() {
                handle.power_lost();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let drive = Arc::new(CallsBack(MemoryDrive::new(512, 8), std::sync::Mutex::new(None)));
    let server = Server::bind(&path, drive.clone(), "nqn.test").unwrap();
    *drive.1.lock().unwrap() = Some(server.handle());
    let stop = server.stop_handle();
    let thread = std::thread::spawn(move || server.run().unwrap());
    let mut client = Client::new(&path).unwrap();
    client.reset().unwrap();
    client.region_write(CONFIG, 0x68, &[0x10, 0xA8]).unwrap();
    drop(client);
    stop.stop();
    thread.join().unwrap();
    let expected = [ResetKind::Hardware, ResetKind::Hardware, ResetKind::PowerCycle];
    assert_eq!(drive.0.resets(), expected);
}
