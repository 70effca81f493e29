// SPDX-License-Identifier: MIT OR Apache-2.0
//! The target over loopback, driven byte by byte.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Handle, Stop, Target};
use crate::emulator::backend::memory::MemoryDrive;

const SUBSYSTEM: &str = "nqn.2026-01.example:unit";
const HOST: [u8; 16] = [0x11; 16];

struct Served {
    drive: Arc<MemoryDrive>,
    handle: Handle,
    stop: Stop,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start() -> Self {
        let drive = Arc::new(MemoryDrive::new(512, 8192));
        let target = Target::bind("127.0.0.1:0", drive.clone(), SUBSYSTEM).unwrap();
        let (handle, stop) = (target.handle(), target.stop_handle());
        let address = target.local_addr().unwrap();
        let thread = Some(std::thread::spawn(move || target.run().unwrap()));
        Self { drive, handle, stop, address, thread }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A host's end of one queue.
struct Host(TcpStream);

/// A PDU as it came: its type and everything after the common header.
type Answer = (u8, Vec<u8>);

impl Host {
    fn open(served: &Served) -> Self {
        let stream = TcpStream::connect(served.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// ICReq and ICResp.
    fn initialized(served: &Served) -> Self {
        let mut host = Self::open(served);
        let mut request = [0; 128];
        request[..8].copy_from_slice(&[0, 0, 128, 0, 128, 0, 0, 0]);
        host.0.write_all(&request).unwrap();
        let mut response = [0; 128];
        host.0.read_exact(&mut response).unwrap();
        // Type 1, header and PDU of 128 bytes, version 0, no digests, 1 MiB of H2CData.
        assert_eq!(response[..8], [1, 0, 128, 0, 128, 0, 0, 0]);
        assert_eq!(response[8..16], [0, 0, 0, 0, 0, 0, 16, 0]);
        host
    }

    fn connected(served: &Served, queue: u16, controller: u16) -> (Self, u16) {
        let mut host = Self::initialized(served);
        let (status, result) = host.connect(queue, controller, SUBSYSTEM);
        assert_eq!(status, 0, "connect");
        (host, result as u16)
    }

    fn connect(&mut self, queue: u16, controller: u16, subsystem: &str) -> (u16, u64) {
        let mut entry = entry(0x7F, 0, 1024, 0x01);
        entry[4] = 1;
        entry[42..44].copy_from_slice(&queue.to_le_bytes());
        entry[44..46].copy_from_slice(&31_u16.to_le_bytes());
        entry[48..52].copy_from_slice(&15_000_u32.to_le_bytes());
        let mut data = vec![0; 1024];
        data[..16].copy_from_slice(&HOST);
        data[16..18].copy_from_slice(&controller.to_le_bytes());
        data[256..256 + subsystem.len()].copy_from_slice(subsystem.as_bytes());
        data[512..520].copy_from_slice(b"nqn.host");
        self.command(&entry, &data);
        self.completion(0)
    }

    /// Sets CC.EN.
    fn enable(&mut self) {
        let mut set = entry(0x7F, 9, 0, 0);
        set[44..48].copy_from_slice(&0x14_u32.to_le_bytes());
        set[48..52].copy_from_slice(&0x0046_0001_u32.to_le_bytes());
        self.command(&set, &[]);
        assert_eq!(self.completion(9), (0, 0));
    }

    fn property(&mut self, offset: u32, eight: bool) -> u64 {
        let mut get = entry(0x7F, 8, 0, 0);
        get[4] = 4;
        get[40] = u8::from(eight);
        get[44..48].copy_from_slice(&offset.to_le_bytes());
        self.command(&get, &[]);
        let (status, value) = self.completion(8);
        assert_eq!(status, 0);
        value
    }

    fn command(&mut self, entry: &[u8; 64], data: &[u8]) {
        let mut pdu = vec![4, 0, 72, if data.is_empty() { 0 } else { 72 }];
        pdu.extend((72 + data.len() as u32).to_le_bytes());
        pdu.extend(entry);
        pdu.extend(data);
        self.0.write_all(&pdu).unwrap();
    }

    fn send_data(&mut self, id: u16, offset: u32, data: &[u8], last: bool) {
        let mut pdu = vec![6, if last { 4 } else { 0 }, 24, 24];
        pdu.extend((24 + data.len() as u32).to_le_bytes());
        pdu.extend(id.to_le_bytes());
        pdu.extend(id.to_le_bytes());
        pdu.extend(offset.to_le_bytes());
        pdu.extend((data.len() as u32).to_le_bytes());
        pdu.extend([0; 4]);
        pdu.extend(data);
        self.0.write_all(&pdu).unwrap();
    }

    fn answer(&mut self) -> Answer {
        let mut common = [0; 8];
        self.0.read_exact(&mut common).unwrap();
        let length = u32::from_le_bytes(common[4..].try_into().unwrap()) as usize;
        let mut rest = vec![0; length - 8];
        self.0.read_exact(&mut rest).unwrap();
        (common[0], rest)
    }

    /// Status (without phase) and result of the completion of `id`, which must come next.
    fn completion(&mut self, id: u16) -> (u16, u64) {
        let (kind, rest) = self.answer();
        assert_eq!(kind, 5, "a completion of {id}");
        assert_eq!(u16::from_le_bytes([rest[12], rest[13]]), id);
        let status = u16::from_le_bytes([rest[14], rest[15]]);
        assert_eq!(status & 1, 0, "phase");
        (status >> 1, u64::from_le_bytes(rest[..8].try_into().unwrap()))
    }

    /// The data of `id`, which must come next in one PDU.
    fn data(&mut self, id: u16) -> Vec<u8> {
        let (kind, rest) = self.answer();
        assert_eq!((kind, u16::from_le_bytes([rest[0], rest[1]])), (7, id));
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        assert_eq!((length, &rest[4..8]), (rest.len() - 16, &[0; 4][..]));
        rest[16..].to_vec()
    }

    fn ended(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

/// A command with an SGL descriptor of `length` bytes and this type.
fn entry(opcode: u8, id: u16, length: u32, sgl: u8) -> [u8; 64] {
    let mut entry = [0; 64];
    entry[0] = opcode;
    entry[1] = 0x40;
    entry[2..4].copy_from_slice(&id.to_le_bytes());
    entry[32..36].copy_from_slice(&length.to_le_bytes());
    entry[39] = sgl;
    entry
}

fn io(opcode: u8, id: u16, lba: u32, blocks: u32, sgl: u8) -> [u8; 64] {
    let mut entry = entry(opcode, id, blocks * 512, sgl);
    entry[4] = 1;
    entry[40..44].copy_from_slice(&lba.to_le_bytes());
    entry[48..52].copy_from_slice(&(blocks - 1).to_le_bytes());
    entry
}

/// An admin queue that is enabled, and an I/O queue.
fn attached(served: &Served) -> (Host, Host) {
    let (mut admin, id) = Host::connected(served, 0, u16::MAX);
    admin.enable();
    let (queue, joined) = Host::connected(served, 1, id);
    assert_eq!(joined, id);
    (admin, queue)
}

#[test]
fn properties_follow_the_configuration() {
    let served = Served::start();
    let (mut admin, _) = Host::connected(&served, 0, u16::MAX);
    assert_eq!(admin.property(0x00, true), 0x20_0A01_007F);
    assert_eq!(admin.property(0x08, false), 0x0001_0400);
    assert_eq!(admin.property(0x1C, false), 0);
    admin.enable();
    assert_eq!(admin.property(0x1C, false), 1);
    let mut shutdown = entry(0x7F, 3, 0, 0);
    shutdown[44..48].copy_from_slice(&0x14_u32.to_le_bytes());
    shutdown[48..52].copy_from_slice(&0x0046_4001_u32.to_le_bytes());
    admin.command(&shutdown, &[]);
    assert_eq!(admin.completion(3), (0, 0));
    assert_eq!(admin.property(0x1C, false), 9, "ready, shutdown complete");
}

#[test]
fn discovery_is_received_over_the_wire() {
    let served = Served::start();
    let (mut admin, _) = attached(&served);
    let mut receive = entry(0x82, 5, 512, 0x5A);
    receive[40..44].copy_from_slice(&0x0100_0100_u32.to_le_bytes());
    receive[44..48].copy_from_slice(&512_u32.to_le_bytes());
    admin.command(&receive, &[]);
    let data = admin.data(5);
    assert_eq!(data.len(), 512);
    // Length field, data structure 0.1, and the TPer feature with Sync set.
    assert_eq!(data[..8], [0, 0, 0, 0x60, 0, 0, 0, 1]);
    assert_eq!(data[48..53], [0, 1, 0x10, 0x0C, 1]);
    assert_eq!(admin.completion(5), (0, 0));
}

#[test]
fn writes_come_in_the_capsule_or_on_request_and_may_interleave() {
    let served = Served::start();
    let (_admin, mut queue) = attached(&served);
    let small: Vec<u8> = (0..4096_u32).map(|n| n as u8).collect();
    queue.command(&io(1, 1, 0, 8, 0x01), &small);
    assert_eq!(queue.completion(1), (0, 0));

    let large: Vec<u8> = (0..65536_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    queue.command(&io(1, 2, 100, 128, 0x5A), &[]);
    let (kind, rest) = queue.answer();
    // R2T: command id, tag, offset 0, all of it.
    assert_eq!((kind, &rest[..12]), (9, &[2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0][..]));
    // Another command between the request and the data must be answered at once.
    queue.send_data(2, 0, &large[..16384], false);
    queue.command(&io(2, 3, 0, 8, 0x5A), &[]);
    assert_eq!(queue.data(3), small);
    assert_eq!(queue.completion(3), (0, 0));
    queue.send_data(2, 16384, &large[16384..], true);
    assert_eq!(queue.completion(2), (0, 0));
    queue.command(&io(2, 4, 100, 128, 0x5A), &[]);
    assert_eq!(queue.data(4), large);
    assert_eq!(queue.completion(4), (0, 0));
}

#[test]
fn refusals_have_their_status_and_the_queue_goes_on() {
    let served = Served::start();
    let (_admin, mut queue) = attached(&served);
    served.drive.lock(Some(0..8));
    queue.command(&io(2, 1, 7, 1, 0x5A), &[]);
    assert_eq!(queue.completion(1), (0x4286, 0));
    queue.command(&io(2, 2, 8192, 1, 0x5A), &[]);
    assert_eq!(queue.completion(2), (0x4080, 0));
    // The descriptor is shorter than what the command moves.
    let mut short = io(2, 3, 16, 2, 0x5A);
    short[32..36].copy_from_slice(&512_u32.to_le_bytes());
    queue.command(&short, &[]);
    assert_eq!(queue.completion(3), (0x400F, 0));
    queue.command(&io(2, 4, 16, 2, 0x33), &[]);
    assert_eq!(queue.completion(4), (0x4011, 0));
    queue.command(&io(0x7E, 5, 16, 1, 0x5A), &[]);
    assert_eq!(queue.completion(5).0, 0x4001);
    queue.command(&io(0, 6, 0, 1, 0), &[]);
    assert_eq!(queue.completion(6), (0, 0));
}

#[test]
fn queues_join_only_their_own_controller() {
    let served = Served::start();
    let mut host = Host::initialized(&served);
    assert_eq!(host.connect(0, u16::MAX, "nqn.2026-01.example:other"), (0x4182, 1 << 16 | 256));
    assert_eq!(host.connect(1, 77, SUBSYSTEM), (0x4182, 1 << 16 | 16));
    // Nothing but Connect before Connect.
    host.command(&entry(0x06, 3, 4096, 0x5A), &[]);
    assert_eq!(host.completion(3).0, 0x400C);
    let (status, id) = host.connect(0, u16::MAX, SUBSYSTEM);
    assert_eq!(status, 0);
    // Not enabled yet.
    let mut queue = Host::initialized(&served);
    assert_eq!(queue.connect(1, id as u16, SUBSYSTEM).0, 0x400C);
    host.enable();
    assert_eq!(queue.connect(1, id as u16, SUBSYSTEM).0, 0);
    let mut second = Host::initialized(&served);
    assert_eq!(second.connect(1, id as u16, SUBSYSTEM), (0x4182, 42));
    // With the admin queue goes everything.
    drop(host);
    assert!(queue.ended());
}

#[test]
fn broken_framing_ends_the_connection_with_a_reason() {
    let served = Served::start();
    let mut host = Host::open(&served);
    host.0.write_all(&[0xFF; 128]).unwrap();
    let (kind, rest) = host.answer();
    assert_eq!((kind, rest[0]), (3, 1));
    assert!(host.ended());
    for header in [
        [9, 0, 24, 0, 24, 0, 0, 0],
        [4, 1, 72, 0, 72, 0, 0, 0],
        [4, 0, 72, 72, 0xFF, 0xFF, 0xFF, 0xFF],
    ] {
        let mut host = Host::initialized(&served);
        host.0.write_all(&header).unwrap();
        let (kind, rest) = host.answer();
        assert_eq!((kind, rest[0], &rest[16..24]), (3, 1, &header[..]));
        assert!(host.ended());
    }
    let (_admin, mut queue) = attached(&served);
    queue.send_data(9, 0, &[0; 512], true);
    let (kind, rest) = queue.answer();
    assert_eq!((kind, rest[0]), (3, 4), "data for no command");
    assert!(queue.ended());
}

#[test]
fn a_power_cut_drops_every_queue() {
    let served = Served::start();
    let (mut admin, mut queue) = attached(&served);
    served.handle.disconnect();
    assert!(admin.ended() && queue.ended());
    let (_admin, mut queue) = attached(&served);
    queue.command(&io(0, 6, 0, 1, 0), &[]);
    assert_eq!(queue.completion(6), (0, 0));
}

#[test]
fn large_reads_do_not_wait_for_acknowledgements() {
    let served = Served::start();
    let (_admin, mut queue) = attached(&served);
    let from = Instant::now();
    for round in 0..50 {
        queue.command(&io(2, round, 0, 128, 0x5A), &[]);
        assert_eq!(queue.data(round).len(), 65536);
        assert_eq!(queue.completion(round), (0, 0));
    }
    // A delayed acknowledgement takes 40 ms: fifty of them would be two seconds.
    assert!(from.elapsed() < Duration::from_secs(1), "{:?}", from.elapsed());
}
