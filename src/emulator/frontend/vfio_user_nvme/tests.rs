// SPDX-License-Identifier: MIT OR Apache-2.0
//! The controller as a host drives it: registers and queues in shared memory, then the socket.

mod hostile;
mod socket;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::function::Function;
use crate::emulator::backend::memory::MemoryDrive;
use crate::emulator::backend::{Backend, CommandStatus, DriveIdentity, ResetKind};
use crate::emulator::frontend::guest_memory::Access;
use crate::emulator::frontend::guest_memory::tests::pages;

const PAGE: u64 = 4096;
/// Where the host's memory begins on the bus.
const BASE: u64 = 0x10_0000;
const PAGES: u64 = 512;
const LIMIT: Duration = Duration::from_secs(20);
const ENTRIES: u16 = 8;

/// A drive whose reads can be held up, and which counts flushes.
struct Slow {
    drive: MemoryDrive,
    held: AtomicBool,
    reading: AtomicBool,
    flushes: AtomicUsize,
}

impl Slow {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            drive: MemoryDrive::new(512, 8192),
            held: AtomicBool::new(false),
            reading: AtomicBool::new(false),
            flushes: AtomicUsize::new(0),
        })
    }

    fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }
}

impl Backend for Slow {
    fn identity(&self) -> DriveIdentity {
        self.drive.identity()
    }
    fn if_send(&self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), CommandStatus> {
        self.drive.if_send(protocol, specific, data)
    }
    fn if_recv(&self, protocol: u8, specific: u16, len: usize) -> Result<Vec<u8>, CommandStatus> {
        self.drive.if_recv(protocol, specific, len)
    }
    fn read(&self, lba: u64, data: &mut [u8]) -> Result<(), CommandStatus> {
        self.reading.store(true, Ordering::SeqCst);
        while self.held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.drive.read(lba, data)
    }
    fn write(&self, lba: u64, data: &[u8]) -> Result<(), CommandStatus> {
        self.drive.write(lba, data)
    }
    fn flush(&self) -> Result<(), CommandStatus> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn discard(&self, lba: u64, blocks: u64) -> Result<(), CommandStatus> {
        self.drive.discard(lba, blocks)
    }
    fn reset(&self, kind: ResetKind) {
        self.drive.reset(kind);
    }
}

/// A host: its memory, and where its queues stand.
struct Host {
    function: Arc<Function>,
    drive: Arc<Slow>,
    memory: File,
    queues: Vec<Queue>,
    next: u16,
}

/// A pair of queues of [`ENTRIES`], at pages `2 * id` and `2 * id + 1`.
#[derive(Clone, Copy)]
struct Queue {
    tail: u16,
    head: u16,
    phase: bool,
}

impl Queue {
    const NEW: Self = Self { tail: 0, head: 0, phase: true };
}

/// Status without the phase, dword 0, submission queue head.
type Completed = (u16, u32, u16);

fn at(page: u64) -> u64 {
    BASE + page * PAGE
}

/// A command with PRPs.
fn entry(opcode: u8, namespace: u32, prp: (u64, u64), dwords: &[(usize, u32)]) -> [u8; 64] {
    let mut entry = [0; 64];
    entry[0] = opcode;
    entry[4..8].copy_from_slice(&namespace.to_le_bytes());
    entry[24..32].copy_from_slice(&prp.0.to_le_bytes());
    entry[32..40].copy_from_slice(&prp.1.to_le_bytes());
    for (n, value) in dwords {
        entry[n * 4..n * 4 + 4].copy_from_slice(&value.to_le_bytes());
    }
    entry
}

impl Host {
    /// A machine with memory, its controller not enabled yet.
    fn new() -> Self {
        let drive = Slow::new();
        let function = Function::new(drive.clone(), "nqn.test");
        let memory = pages(PAGES);
        let access = Access { read: true, write: true };
        let shared = memory.try_clone().unwrap();
        function.memory.map(BASE, PAGES * PAGE, shared, 0, access).unwrap();
        function.write_config(4, &[6, 0]);
        Self { function, drive, memory, queues: Vec::new(), next: 0 }
    }

    fn enabled() -> Self {
        let mut host = Self::new();
        host.enable();
        host
    }

    fn enable(&mut self) {
        let last = u32::from(ENTRIES - 1);
        self.memory.write_all_at(&[0; 2 * PAGE as usize], 0).unwrap();
        self.set(0x24, last | last << 16);
        self.function.write_registers(0x28, &at(0).to_le_bytes());
        self.function.write_registers(0x30, &at(1).to_le_bytes());
        self.set(0x14, 0x0046_0001);
        assert_eq!(self.status(), 1);
        self.queues = vec![Queue::NEW];
    }

    fn set(&self, offset: u64, value: u32) {
        self.function.write_registers(offset, &value.to_le_bytes());
    }

    /// CSTS.
    fn status(&self) -> u32 {
        let mut data = [0; 4];
        self.function.read_registers(0x1C, &mut data);
        u32::from_le_bytes(data)
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let from = Instant::now();
        while !condition(self) {
            assert!(from.elapsed() < LIMIT, "{what}: CSTS {:#x}", self.status());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Puts a command into a queue and rings; returns its identifier.
    fn submit(&mut self, queue: u16, mut entry: [u8; 64]) -> u16 {
        self.next += 1;
        entry[2..4].copy_from_slice(&self.next.to_le_bytes());
        let state = &mut self.queues[usize::from(queue)];
        let place = u64::from(2 * queue) * PAGE + u64::from(state.tail) * 64;
        self.memory.write_all_at(&entry, place).unwrap();
        state.tail = (state.tail + 1) % ENTRIES;
        let tail = u32::from(state.tail);
        self.set(0x1000 + 8 * u64::from(queue), tail);
        self.next
    }

    /// The next completion, once it is there: identifier and the rest.
    fn completion(&mut self, queue: u16) -> (u16, Completed) {
        let state = self.queues[usize::from(queue)];
        let place = u64::from(2 * queue + 1) * PAGE + u64::from(state.head) * 16;
        let from = Instant::now();
        let bytes = loop {
            let mut bytes = [0; 16];
            self.memory.read_exact_at(&mut bytes, place).unwrap();
            if (bytes[14] & 1 == 1) == state.phase {
                break bytes;
            }
            assert!(from.elapsed() < LIMIT, "no completion; CSTS {:#x}", self.status());
            std::thread::sleep(Duration::from_micros(100));
        };
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        assert_eq!(half(10), queue);
        let state = &mut self.queues[usize::from(queue)];
        state.head = (state.head + 1) % ENTRIES;
        state.phase ^= state.head == 0;
        let head = u32::from(state.head);
        self.set(0x1004 + 8 * u64::from(queue), head);
        let result = u32::from_le_bytes(bytes[..4].try_into().unwrap());
        (half(12), (half(14) >> 1, result, half(8)))
    }

    fn run(&mut self, queue: u16, entry: [u8; 64]) -> Completed {
        let id = self.submit(queue, entry);
        let (completed, rest) = self.completion(queue);
        assert_eq!(completed, id);
        rest
    }

    fn admin(&mut self, opcode: u8, prp: u64, dwords: &[(usize, u32)]) -> u16 {
        self.run(0, entry(opcode, 0, (prp, 0), dwords)).0
    }

    /// Creates queue pair `id`, which must be the next.
    fn create(&mut self, id: u16) {
        assert_eq!(usize::from(id), self.queues.len());
        let size = u32::from(id) | u32::from(ENTRIES - 1) << 16;
        let pair = u64::from(2 * id);
        self.memory.write_all_at(&[0; 2 * PAGE as usize], pair * PAGE).unwrap();
        let vector = u32::from(id) << 16 | 3;
        assert_eq!(self.admin(5, at(pair + 1), &[(10, size), (11, vector)]), 0);
        assert_eq!(self.admin(1, at(pair), &[(10, size), (11, u32::from(id) << 16 | 1)]), 0);
        self.queues.push(Queue::NEW);
    }

    fn bytes(&self, page: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.memory.read_exact_at(&mut data, page * PAGE).unwrap();
        data
    }
}

fn read(lba: u32, blocks: u32, prp: (u64, u64)) -> [u8; 64] {
    entry(2, 1, prp, &[(10, lba), (12, blocks - 1)])
}

fn write(lba: u32, blocks: u32, prp: (u64, u64)) -> [u8; 64] {
    entry(1, 1, prp, &[(10, lba), (12, blocks - 1)])
}

#[test]
fn identify_arrives_in_two_pages_with_the_pci_numbers() {
    let mut host = Host::enabled();
    let (status, _, head) = host.run(0, entry(6, 0, (at(40) + 0x200, at(42)), &[(10, 1)]));
    assert_eq!((status, head), (0, 1));
    let page = [host.bytes(40, 4096)[0x200..].to_vec(), host.bytes(42, 0x200)].concat();
    assert_eq!(page[..4], [0xF4, 0x1A, 0xF4, 0x1A]);
    assert_eq!(&page[24..44], b"OPALBOX MEMORY DRIVE");
    assert_eq!(page[77], 8, "MDTS");
    assert_eq!(host.bytes(42, 4096)[0x200..], [0; 3584], "nothing beyond");
}

#[test]
fn a_megabyte_goes_through_a_list_and_back_on_several_queues() {
    let mut host = Host::enabled();
    host.create(1);
    host.create(2);
    let data: Vec<u8> = (0..1_u32 << 20).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect();
    // Pages 100 to 355 in reverse, listed in page 90.
    let mut list = Vec::new();
    for (n, chunk) in (0..256).zip(data.chunks(4096)) {
        host.memory.write_all_at(chunk, (355 - n) * PAGE).unwrap();
        list.extend(at(355 - n).to_le_bytes());
    }
    host.memory.write_all_at(&list[8..], 90 * PAGE).unwrap();
    let prp = (at(355), at(90));
    assert_eq!(host.run(1, write(100, 2048, prp)).0, 0);
    let mut stored = vec![0; 1 << 20];
    host.drive.drive.read(100, &mut stored).unwrap();
    assert!(stored == data);
    host.memory.write_all_at(&vec![0; 1 << 20], 100 * PAGE).unwrap();
    assert_eq!(host.run(2, read(100, 2048, prp)).0, 0);
    for (n, chunk) in (0..256).zip(data.chunks(4096)) {
        assert!(host.bytes(355 - n, 4096) == chunk, "page {n}");
    }
    // Around the end of both queues several times.
    for round in 0..5 * u32::from(ENTRIES) {
        assert_eq!(host.run(1, read(round, 1, (at(60), 0))).0, 0);
    }
    // More than MDTS.
    assert_eq!(host.run(1, read(0, 2049, prp)).0, 0x4002);
}

#[test]
fn refusals_reach_the_host_as_status() {
    let mut host = Host::enabled();
    host.create(1);
    let page = (at(60), 0);
    host.drive.drive.lock(Some(8..16));
    host.memory.write_all_at(&[0xEE; 512], 60 * PAGE).unwrap();
    assert_eq!(host.run(1, read(8, 1, page)).0, 0x4286);
    assert_eq!(host.bytes(60, 512), [0xEE; 512]);
    assert_eq!(host.run(1, write(15, 1, page)).0, 0x4286);
    assert_eq!(host.run(1, read(8192, 1, page)).0, 0x4080);
    assert_eq!(host.run(1, read(0, 1, (at(60) + 2, 0))).0, 0x4013);
    assert_eq!(host.run(1, read(0, 16, (at(60), at(61) + 8))).0, 0x4013);
    assert_eq!(host.run(1, read(0, 1, (0x5000, 0))).0, 0x0004, "no such memory");
    assert_eq!(host.run(1, write(0, 16, (at(60), 0x5000))).0, 0x0004);
    assert_eq!(host.run(1, read(0, 32, (at(60), 0x5000))).0, 0x0004, "a list that is not there");
    let mut sgl = read(0, 1, page);
    sgl[1] = 0x40;
    assert_eq!(host.run(1, sgl).0, 0x4002);
    let mut fused = read(0, 1, page);
    fused[1] = 0x01;
    assert_eq!(host.run(1, fused).0, 0x4002);
    assert_eq!(host.run(1, entry(0x7F, 1, page, &[])).0, 0x4001);
    assert_eq!(host.run(1, read(0, 1, page)).0, 0, "and the queue goes on");
    assert_eq!(host.status(), 1);
}

#[test]
fn queues_are_created_and_deleted_by_the_rules() {
    let mut host = Host::enabled();
    let size = |id: u32, entries: u32| (10, id | (entries - 1) << 16);
    let flags = |value: u32| (11, value);
    let table = [
        (5, at(5), size(0, 8), flags(1), 0x4101),
        (5, at(5), size(17, 8), flags(1), 0x4101),
        (5, at(5), size(1, 1), flags(1), 0x4102),
        (5, at(5), size(1, 1025), flags(1), 0x4102),
        (5, at(5), size(1, 8), flags(0), 0x4002),
        (5, at(5) + 64, size(1, 8), flags(1), 0x4013),
        (5, at(5), size(1, 8), flags(17 << 16 | 3), 0x4108),
        (1, at(4), size(1, 8), flags(1 << 16 | 1), 0x4100),
        (1, at(4), size(1, 8), flags(1), 0x4100),
        (0, 0, size(0, 1), flags(0), 0x4101),
        (0, 0, size(3, 1), flags(0), 0x4101),
        (4, 0, size(0, 1), flags(0), 0x4101),
        (4, 0, size(3, 1), flags(0), 0x4101),
    ];
    for (n, (opcode, prp, size, flags, status)) in table.into_iter().enumerate() {
        assert_eq!(host.admin(opcode, prp, &[size, flags]), status, "row {n}");
    }
    host.create(1);
    assert_eq!(host.admin(5, at(5), &[size(1, 8), flags(1)]), 0x4101, "twice");
    assert_eq!(host.admin(1, at(4), &[size(1, 8), flags(1 << 16 | 1)]), 0x4101, "twice");
    assert_eq!(host.admin(4, 0, &[size(1, 1)]), 0x410C, "in use");
    assert_eq!(host.admin(0, 0, &[size(1, 1)]), 0);
    assert_eq!(host.admin(4, 0, &[size(1, 1)]), 0);
    host.queues.pop();
    host.create(1);
    assert_eq!(host.run(1, read(0, 1, (at(60), 0))).0, 0);
}

#[test]
fn deleting_a_queue_whose_completions_nobody_takes_does_not_hang() {
    let mut host = Host::enabled();
    host.create(1);
    // A completion queue that nobody empties: eight entries hold seven completions.
    for _ in 0..3 * ENTRIES {
        host.submit(1, read(0, 1, (at(60), 0)));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(host.admin(0, 0, &[(10, 1)]), 0);
    assert_eq!(host.admin(4, 0, &[(10, 1)]), 0);
}

#[test]
fn a_controller_reset_waits_for_the_drive_and_writes_nothing_after() {
    let mut host = Host::enabled();
    host.create(1);
    let held = host.submit(0, entry(0x0C, 0, (0, 0), &[]));
    assert_ne!(held, 0);
    host.drive.hold(true);
    host.memory.write_all_at(&[0xEE; 512], 60 * PAGE).unwrap();
    host.submit(1, read(0, 1, (at(60), 0)));
    host.until("the read begins", |host| host.drive.reading.load(Ordering::SeqCst));
    host.set(0x14, 0x0046_0000);
    assert_eq!(host.status(), 1, "ready until the read has ended");
    host.drive.hold(false);
    host.until("the read ends", |host| host.status() == 0);
    assert_eq!(host.bytes(60, 512), [0xEE; 512]);
    host.enable();
    assert_eq!(host.admin(6, at(60), &[(10, 1)]), 0);
    assert!(host.drive.drive.resets().is_empty(), "no TCG reset");
    // A host that does not wait: enabled again while a command is in the drive.
    host.create(1);
    host.drive.reading.store(false, Ordering::SeqCst);
    host.drive.hold(true);
    host.submit(1, read(0, 1, (at(61), 0)));
    host.until("the read begins", |host| host.drive.reading.load(Ordering::SeqCst));
    host.set(0x14, 0x0046_0000);
    let drive = Arc::clone(&host.drive);
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        drive.hold(false);
    });
    host.enable();
    release.join().unwrap();
    assert_eq!(host.admin(6, at(60), &[(10, 1)]), 0);
}

#[test]
fn shutdown_flushes_and_says_so() {
    let mut host = Host::enabled();
    host.set(0x14, 0x0046_4001);
    host.until("shutdown", |host| host.status() >> 2 & 3 == 2);
    assert_eq!(host.drive.flushes.load(Ordering::SeqCst), 1);
    host.set(0x14, 0x0046_4001);
    assert_eq!(host.status(), 9);
    host.set(0x14, 0x0046_0000);
    host.until("disabled", |host| host.status() == 0);
    host.enable();
    // Again and again, faster than any flush: one thread at a time does it.
    for _ in 0..100 {
        host.set(0x14, 0x0046_8001);
        host.set(0x14, 0x0046_0000);
        host.set(0x14, 0x0046_0001);
    }
    host.set(0x14, 0x0046_8001);
    host.until("shutdown", |host| host.status() >> 2 & 3 == 2);
    assert!(host.drive.drive.resets().is_empty());
}

#[test]
fn each_reset_is_what_the_table_says() {
    let mut host = Host::enabled();
    host.create(1);
    host.function.reset(ResetKind::Hardware);
    assert_eq!(host.status(), 0);
    let mut command = [0; 2];
    host.function.read_config(4, &mut command);
    assert_eq!(command, [0, 0], "bus mastering is off");
    host.function.write_config(4, &[6, 0]);
    host.enable();
    // Function level reset: Device Control at 68h.
    host.function.write_config(0x68, &[0x10, 0xA8]);
    assert_eq!(host.status(), 0);
    host.function.write_config(4, &[6, 0]);
    host.enable();
    host.function.write_config(0x44, &[3]);
    host.function.write_config(0x44, &[0]);
    assert_eq!(host.admin(6, at(60), &[(10, 1)]), 0, "D3hot keeps everything");
    host.function.reset(ResetKind::PowerCycle);
    assert_eq!(host.status(), 0);
    host.function.write_config(4, &[6, 0]);
    host.enable();
    host.function.machine_gone();
    assert!(host.function.memory.read(at(0), &mut [0]).is_err());
    let expected = [ResetKind::Hardware, ResetKind::Hardware, ResetKind::PowerCycle];
    assert_eq!(host.drive.drive.resets()[..3], expected);
    assert_eq!(host.drive.drive.resets()[3..], [ResetKind::PowerCycle]);
}

#[test]
fn queues_out_of_reach_are_fatal_until_a_reset() {
    let mut host = Host::new();
    host.function.write_registers(0x28, &0x5000_0000_u64.to_le_bytes());
    host.set(0x24, 0x0007_0007);
    host.set(0x14, 0x0046_0001);
    assert_eq!(host.status(), 1);
    host.set(0x1000, 1);
    host.until("fatal", |host| host.status() & 2 != 0);
    host.set(0x14, 0);
    host.until("disabled", |host| host.status() == 0);
    // Completions to nowhere.
    host.function.write_registers(0x28, &at(0).to_le_bytes());
    host.function.write_registers(0x30, &0x5000_0000_u64.to_le_bytes());
    host.set(0x14, 0x0046_0001);
    host.set(0x1000, 1);
    host.until("fatal", |host| host.status() & 2 != 0);
    host.set(0x14, 0);
    host.until("disabled", |host| host.status() == 0);
    // Pages of 8 KiB, another command set: never ready.
    for configuration in [0x0046_0081, 0x0046_0011] {
        host.set(0x14, configuration);
        assert_eq!(host.status(), 2);
        host.set(0x14, 0);
        assert_eq!(host.status(), 0);
    }
    host.enable();
    assert_eq!(host.admin(6, at(60), &[(10, 1)]), 0);
    // Without bus mastering nothing is reached either.
    host.function.write_config(4, &[2, 0]);
    host.submit(0, entry(6, 0, (at(60), 0), &[(10, 1)]));
    host.until("fatal", |host| host.status() & 2 != 0);
}

#[test]
fn odd_register_accesses_have_no_effect() {
    let host = Host::new();
    for (offset, data) in [
        (0x14, &[1_u8][..]),
        (0x14, &[1, 0]),
        (0x12, &[0, 0, 1, 0]),
        (0x14, &[1, 0, 0]),
        (0x14, &[1; 12]),
        (u64::MAX - 3, &[1; 8]),
        (u64::MAX, &[1; 4]),
    ] {
        host.function.write_registers(offset, data);
        assert_eq!(host.status(), 0, "{offset:#x} {data:?}");
    }
    let mut all = vec![0; 0x5000];
    host.function.read_registers(0, &mut all);
    assert_eq!(all[0x38..], vec![0; 0x5000 - 0x38]);
}
