// SPDX-License-Identifier: MIT OR Apache-2.0
//! Choices that a seed repeats: `SEED=` in the environment, else the clock's; printed, so that a
//! failure can be played again.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub(crate) fn from_environment() -> Self {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let seed = std::env::var("SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        Self { seed, state: seed }
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// splitmix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
