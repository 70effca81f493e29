// SPDX-License-Identifier: MIT OR Apache-2.0
//! One case: all implementations take turns on the same buffers.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock;
use crate::limit;
use crate::peers::{self, Implementation};

/// Far more than the caches that a core can use.
const POOL: usize = 192 << 20;

/// Cycles in a sample of the core's clock, and AES rounds in one of the AES unit: microseconds.
const CYCLES: u64 = 24 * 400;
const ROUNDS: u64 = 48 * 1000;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub key_bits: usize,
    pub sector: usize,
    pub buffer: usize,
    /// Whether the buffer is in no cache when the call begins.
    pub cold: bool,
    pub threads: usize,
    /// Turns; each yields a sample of every implementation.
    pub turns: usize,
}

impl Case {
    /// Both sectors and three buffers: AES-256 warm and cold with one and two threads, AES-128
    /// warm with one.
    pub fn all(quick: bool) -> Vec<Self> {
        let mut cases = Vec::new();
        let shapes =
            [(256, false, 1), (256, true, 1), (256, false, 2), (256, true, 2), (128, false, 1)];
        for (key_bits, cold, threads) in shapes {
            for sector in [512, 4096] {
                for buffer in [4 << 10, 64 << 10, 1 << 20] {
                    let turns = match (cold, quick) {
                        (false, true) => 200,
                        (false, false) => 1000,
                        (true, true) => 8,
                        (true, false) => 40,
                    };
                    cases.push(Self { key_bits, sector, buffer, cold, threads, turns });
                }
            }
        }
        cases
    }
}

/// What came out, in core cycles for each byte and thread.
#[derive(Debug)]
pub struct Row {
    pub case: Case,
    /// Our back ends, fastest first.
    pub ours: Vec<(&'static str, f64)>,
    pub peers: Vec<(&'static str, f64)>,
    /// What the AES unit would take.
    pub limit: f64,
    /// Core cycles a nanosecond.
    pub gigahertz: f64,
}

impl Row {
    /// The back end that `Xts::new` picks.
    pub fn best(&self) -> f64 {
        self.ours.first().map_or(f64::NAN, |it| it.1)
    }

    /// 1 is the limit.
    pub fn of_limit(&self) -> f64 {
        self.limit / self.best()
    }

    /// How many times faster than the fastest other library.
    pub fn vs_best_peer(&self) -> f64 {
        self.peers.iter().map(|it| it.1).fold(f64::INFINITY, f64::min) / self.best()
    }
}

/// Measures `case`.
pub fn run(case: Case) -> Row {
    let key: Vec<u8> = (0..case.key_bits / 4).map(|at| at as u8).collect();
    let (ours, others) = peers::all(&key);
    let ours_count = ours.len();
    let mut runners: Vec<Vec<Box<dyn Implementation>>> =
        vec![ours.into_iter().chain(others).collect()];
    for _ in 1..case.threads {
        let (ours, others) = peers::all(&key);
        runners.push(ours.into_iter().chain(others).collect());
    }
    for it in &mut runners {
        agree(it, case.sector, case.buffer);
    }
    let (names, samples) = sample(case, &mut runners);
    let pick = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        // Code has one true speed and other users of the machine only add to it; memory has a
        // spread of its own.
        if case.cold { values[values.len() / 4] } else { values[values.len() / 50] }
    };
    let mut values: Vec<f64> = samples.into_iter().map(pick).collect();
    let rounds = values.pop().expect("pushed last");
    let cycle = values.pop().expect("pushed before it");
    let data_rounds = (case.key_bits / 32 + 6) as f64;
    let limit = rounds / cycle * data_rounds * (1.0 / 16.0 + 1.0 / case.sector as f64);
    let mut all: Vec<_> = names.into_iter().zip(values.iter().map(|it| it / cycle)).collect();
    let peers = all.split_off(ours_count);
    Row { case, ours: all, peers, limit, gigahertz: clock::ticks_per_nanosecond() / cycle }
}

/// All must compute the same, or the times mean nothing.
fn agree(all: &mut [Box<dyn Implementation>], sector: usize, buffer: usize) {
    let plain: Vec<u8> = (0..buffer).map(|at| (at * 31 >> 3) as u8).collect();
    let mut expected: Option<Vec<u8>> = None;
    for it in all {
        let mut data = plain.clone();
        it.encrypt(sector, 77, &mut data);
        match &expected {
            None => expected = Some(data),
            Some(expected) => assert!(*expected == data, "{} computes something else", it.name()),
        }
    }
}

/// Names, and samples in ticks a byte of each; then of the cycle loop and the rounds.
fn sample(
    case: Case,
    runners: &mut [Vec<Box<dyn Implementation>>],
) -> (Vec<&'static str>, Vec<Vec<f64>>) {
    let names: Vec<_> = runners[0].iter().map(|it| it.name()).collect();
    let mut samples = vec![Vec::new(); names.len() + 2];
    let gate = Gate::new(case.threads);
    let collected: Vec<Vec<Vec<f64>>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            runners.iter_mut().map(|runner| scope.spawn(|| turns(case, runner, &gate))).collect();
        threads.into_iter().map(|it| it.join().expect("no panic")).collect()
    });
    // The threads ran side by side: a sample is the slower one's.
    for (at, all) in samples.iter_mut().enumerate() {
        for turn in 0..case.turns {
            all.push(collected.iter().map(|it| it[at][turn]).fold(0.0, f64::max));
        }
    }
    (names, samples)
}

fn turns(case: Case, runner: &mut [Box<dyn Implementation>], gate: &Gate) -> Vec<Vec<f64>> {
    let mut samples = vec![Vec::new(); runner.len() + 2];
    let mut memory = Memory::new(case);
    for turn in 0..case.turns {
        for (at, it) in runner.iter_mut().enumerate() {
            // The slow one would otherwise take most of the run.
            let slow = it.name() == "xts-mode";
            if slow && turn % 16 != 0 {
                let last = samples[at].last().copied().unwrap_or(f64::NAN);
                samples[at].push(last);
                continue;
            }
            let length = if slow { case.buffer.min(16 << 10) } else { case.buffer };
            let calls = if slow { 1 } else { case.bytes().div_ceil(case.buffer) };
            memory.touch(case);
            gate.wait();
            let start = clock::ticks();
            for _ in 0..calls {
                it.encrypt(case.sector, 77, &mut memory.next(case)[..length]);
            }
            samples[at].push((clock::ticks() - start) as f64 / (calls * length) as f64);
        }
        gate.wait();
        let last = samples.len() - 1;
        samples[last - 1].push(clock::cycles(CYCLES) as f64 / CYCLES as f64);
        samples[last].push(limit::ticks_for(ROUNDS) as f64 / ROUNDS as f64);
    }
    samples
}

impl Case {
    /// Bytes in a sample. Warm ones are microseconds long, to fall between the disturbances of a
    /// shared machine; cold ones must be many buffers.
    fn bytes(self) -> usize {
        if self.cold { 4 << 20 } else { 64 << 10 }
    }
}

/// One warm buffer, or a pool of cold ones visited in a scattered order.
struct Memory {
    bytes: Vec<u8>,
    order: Vec<usize>,
    at: usize,
}

impl Memory {
    fn new(case: Case) -> Self {
        let count = if case.cold { POOL / case.buffer } else { 1 };
        let mut order: Vec<usize> = (0..count).collect();
        let mut state = 0x2545_f491_4f6c_dd1du64;
        for at in (1..count).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(at, (state % (at as u64 + 1)) as usize);
        }
        Self { bytes: vec![1; count * case.buffer], order, at: 0 }
    }

    /// Makes a warm buffer warm again.
    fn touch(&self, case: Case) {
        if !case.cold {
            std::hint::black_box(self.bytes.iter().step_by(64).fold(0, |sum, it| sum ^ it));
        }
    }

    fn next(&mut self, case: Case) -> &mut [u8] {
        let place = self.order[self.at % self.order.len()] * case.buffer;
        self.at += 1;
        &mut self.bytes[place..place + case.buffer]
    }
}

/// Lets all threads go at once, by spinning: a sleeping one would start late.
struct Gate {
    threads: usize,
    arrived: AtomicUsize,
}

impl Gate {
    fn new(threads: usize) -> Self {
        Self { threads, arrived: AtomicUsize::new(0) }
    }

    fn wait(&self) {
        let mine = self.arrived.fetch_add(1, Ordering::AcqRel);
        let all = (mine / self.threads + 1) * self.threads;
        while self.arrived.load(Ordering::Acquire) < all {
            std::hint::spin_loop();
        }
    }
}
