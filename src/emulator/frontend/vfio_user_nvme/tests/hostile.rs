// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that writes anything anywhere: no panic, no hang, no byte outside what was shared.

use std::sync::Once;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Panics on worker threads, which no test's own thread would see.
static WORKER_PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_worker_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("nvme ")) {
                WORKER_PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
}

/// One thing that a guest does.
#[derive(Debug, Clone)]
enum Act {
    Register(u64, Vec<u8>),
    Config(u64, Vec<u8>),
    Memory(u64, Vec<u8>),
    /// Like a driver: a command in the next slot, the doorbell, and perhaps a wait for its end.
    Submit {
        queue: u16,
        entry: Box<[u8; 64]>,
        wait: bool,
    },
    /// Like a driver: enables the controller and creates three pairs of queues.
    Start,
    Reset,
    Unmap(u64),
    Map(u64),
}

/// Addresses that matter: mostly shared pages, some misaligned, some nowhere.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (0..40_u64).prop_map(at),
        2 => (0..40_u64, 0..PAGE).prop_map(|(page, offset)| at(page) + offset),
        1 => any::<u64>(),
        1 => Just(0),
        1 => Just(!0xFFF),
    ]
}

fn command() -> impl Strategy<Value = Box<[u8; 64]>> {
    let opcode = prop_oneof![
        6 => proptest::sample::select(vec![0_u8, 1, 1, 1, 2, 2, 2, 4, 5, 6, 8, 9, 0x0A, 0x0C, 0x18, 0x81, 0x82]),
        1 => any::<u8>(),
    ];
    let namespace = prop_oneof![2 => Just(0), 5 => Just(1), 1 => Just(u32::MAX), 1 => any::<u32>()];
    let small = || {
        prop_oneof![
            8 => Just(0),
            3 => 0..64_u32,
            1 => any::<u32>(),
            2 => (0..20_u32).prop_map(|n| n << 16 | 7),
            1 => Just(0x0100_0100),
        ]
    };
    let flags = prop_oneof![9 => Just(0_u8), 1 => any::<u8>()];
    (opcode, flags, namespace, address(), address(), vec(small(), 6)).prop_map(
        |(opcode, flags, namespace, first, second, dwords)| {
            let dwords: Vec<(usize, u32)> = (10..16).zip(dwords).collect();
            let mut entry = entry(opcode, namespace, (first, second), &dwords);
            entry[1] = flags;
            Box::new(entry)
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let offset = prop_oneof![
        4 => proptest::sample::select(vec![0x0C_u64, 0x14, 0x1C, 0x20, 0x24, 0x28, 0x2C, 0x30, 0x34]),
        4 => (0..40_u64).prop_map(|n| 0x1000 + n * 4),
        1 => any::<u64>(),
        1 => 0..0x4000_u64,
    ];
    let value = prop_oneof![
        vec(any::<u8>(), 0..12),
        any::<u32>().prop_map(|value| value.to_le_bytes().to_vec()),
        (0..16_u32).prop_map(|value| value.to_le_bytes().to_vec()),
        address().prop_map(|value| value.to_le_bytes().to_vec()),
    ];
    prop_oneof![
        2 => (offset, value).prop_map(|(offset, data)| Act::Register(offset, data)),
        1 => (0..0x110_u64, vec(any::<u8>(), 0..6)).prop_map(|(at, data)| Act::Config(at, data)),
        1 => (any::<u64>(), vec(any::<u8>(), 0..6)).prop_map(|(at, data)| Act::Config(at, data)),
        4 => (8..40_u64, vec(address(), 0..64)).prop_map(|(page, list)| {
            Act::Memory(page, list.into_iter().flat_map(u64::to_le_bytes).collect())
        }),
        1 => (0..8_u64, vec(any::<u8>(), 0..600)).prop_map(|(page, data)| Act::Memory(page, data)),
        40 => (0..4_u16, command(), proptest::bool::weighted(0.8))
            .prop_map(|(queue, entry, wait)| Act::Submit { queue, entry, wait }),
        2 => Just(Act::Start),
        1 => Just(Act::Reset),
        1 => (0..4_u64).prop_map(Act::Unmap),
        3 => (0..4_u64).prop_map(Act::Map),
    ]
}

/// Pages that are shared, of 64 in the file; the others must keep their content.
const SHARED: std::ops::Range<u64> = 12..52;
const GUARD: u8 = 0xC3;

/// A machine whose guest does not behave.
struct Guest {
    function: Arc<Function>,
    file: File,
    tails: [u16; 4],
    /// Completions that were seen, by status.
    seen: usize,
}

impl Guest {
    fn set(&self, offset: u64, value: u32) {
        self.function.write_registers(offset, &value.to_le_bytes());
    }

    fn store(&self, page: u64, offset: u64, data: &[u8]) {
        self.file.write_all_at(data, (SHARED.start + page) * PAGE + offset).unwrap();
    }

    fn load(&self, page: u64, offset: u64) -> [u8; 16] {
        let mut data = [0; 16];
        self.file.read_exact_at(&mut data, (SHARED.start + page) * PAGE + offset).unwrap();
        data
    }

    /// Maps tens of pages, each of which may come and go.
    fn map(&self, n: u64) {
        let (from, all) = (SHARED.start + n * 10, Access { read: true, write: true });
        let file = self.file.try_clone().unwrap();
        // It may be there already.
        let _ = self.function.memory.map(at(n * 10), 10 * PAGE, file, from * PAGE, all);
    }

    fn enable(&mut self) {
        self.function.write_config(4, &[6, 0]);
        self.set(0x14, 0);
        self.set(0x24, 0x0007_0007);
        self.function.write_registers(0x28, &at(0).to_le_bytes());
        self.function.write_registers(0x30, &at(1).to_le_bytes());
        self.store(1, 0, &[0; 128]);
        self.set(0x14, 0x0046_0001);
        self.tails = [0; 4];
    }

    fn start(&mut self) {
        self.enable();
        for id in 1..4_u16 {
            let (pair, size) = (u64::from(2 * id), u32::from(id) | 7 << 16);
            let flags = u32::from(id) << 16 | 3;
            for (opcode, page) in [(5, pair + 1), (1, pair)] {
                let dwords = [(10, size), (11, flags)];
                self.submit(0, &entry(opcode, 0, (at(page), 0), &dwords), true);
            }
        }
    }

    /// Submits; with `wait` gives the controller a moment to complete it.
    fn submit(&mut self, queue: u16, entry: &[u8; 64], wait: bool) {
        let tail = &mut self.tails[usize::from(queue)];
        let slot = u64::from(*tail);
        *tail = (*tail + 1) % ENTRIES;
        let tail = u32::from(*tail);
        let (page, bell) = (u64::from(2 * queue), 0x1000 + 8 * u64::from(queue));
        self.store(page, slot * 64, entry);
        self.store(page + 1, slot * 16, &[0xA5; 16]);
        self.set(bell, tail);
        if wait {
            let from = Instant::now();
            while from.elapsed() < Duration::from_millis(4) {
                if self.load(page + 1, slot * 16) != [0xA5; 16] {
                    self.seen += 1;
                    break;
                }
                std::thread::yield_now();
            }
            // All of them are taken, whatever came.
            self.set(bell + 4, tail);
        }
    }
}

fn play(acts: Vec<Act>) -> Result<usize, TestCaseError> {
    let mut guest = Guest {
        function: Function::new(Slow::new(), "nqn.test"),
        file: pages(64),
        tails: [0; 4],
        seen: 0,
    };
    let guard = [GUARD; PAGE as usize];
    for page in (0..64).filter(|page| !SHARED.contains(page)) {
        guest.file.write_all_at(&guard, page * PAGE).unwrap();
    }
    (0..4).for_each(|n| guest.map(n));
    let read_only = pages(1);
    read_only.write_all_at(&guard, 0).unwrap();
    let (access, shared) = (Access { read: true, write: false }, read_only.try_clone().unwrap());
    guest.function.memory.map(at(40), PAGE, shared, 0, access).unwrap();
    guest.start();
    for act in acts {
        match act {
            Act::Register(offset, data) => guest.function.write_registers(offset, &data),
            Act::Config(offset, data) => guest.function.write_config(offset, &data),
            Act::Memory(page, data) => guest.store(page.min(39), 0, &data),
            Act::Submit { queue, entry, wait } => guest.submit(queue, &entry, wait),
            Act::Start => guest.start(),
            Act::Reset => guest.function.reset(ResetKind::Hardware),
            Act::Unmap(n) => guest.function.memory.unmap(at(n * 10), 10 * PAGE).unwrap(),
            Act::Map(n) => guest.map(n),
        }
        let mut status = [0; 4];
        guest.function.read_registers(0x1C, &mut status);
        prop_assert_eq!(u32::from_le_bytes(status) & !0xF, 0);
    }
    // However it was left, a reset brings it back to a controller that works.
    guest.function.reset(ResetKind::PowerCycle);
    (0..4).for_each(|n| guest.map(n));
    guest.enable();
    guest.store(0, 0, &entry(6, 0, (at(20), 0), &[(10, 1)]));
    guest.set(0x1000, 1);
    let from = Instant::now();
    while guest.load(1, 0)[14] & 1 == 0 {
        prop_assert!(from.elapsed() < LIMIT, "the controller does not answer any more");
        std::thread::sleep(Duration::from_micros(50));
    }
    prop_assert_eq!(guest.load(1, 0)[14] >> 1, 0);
    guest.function.machine_gone();
    for page in (0..64).filter(|page| !SHARED.contains(page)) {
        let mut data = [0; PAGE as usize];
        guest.file.read_exact_at(&mut data, page * PAGE).unwrap();
        prop_assert!(data == guard, "page {} was written to", page);
    }
    let mut data = [0; PAGE as usize];
    read_only.read_exact_at(&mut data, 0).unwrap();
    prop_assert!(data == guard, "a map that is read only was written to");
    prop_assert_eq!(WORKER_PANICS.load(Ordering::SeqCst), 0);
    Ok(guest.seen)
}

/// Random guests, until enough of what they asked was answered.
#[test]
fn whatever_a_guest_writes_the_controller_survives() {
    count_worker_panics();
    let seen = AtomicUsize::new(0);
    let config =
        ProptestConfig { cases: 120, source_file: Some(file!()), ..ProptestConfig::default() };
    let run = proptest::test_runner::TestRunner::new(config).run(&vec(act(), 1..80), |acts| {
        seen.fetch_add(play(acts)?, Ordering::SeqCst);
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
    // A test of a controller that does nothing would pass as well.
    let seen = seen.into_inner();
    assert!(seen > 1000, "only {seen} completions were seen");
}
