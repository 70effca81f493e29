// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time in ticks of the time-stamp counter, and how many core cycles a tick is.

use std::arch::{asm, x86_64};

/// Now, after everything before has finished.
#[inline]
pub fn ticks() -> u64 {
    // SAFETY: SSE2 and the counter are part of every x86-64 Linux process.
    unsafe {
        x86_64::_mm_lfence();
        let now = x86_64::_rdtsc();
        x86_64::_mm_lfence();
        now
    }
}

/// Ticks of a loop that takes `cycles` core cycles, a multiple of 24: eight multiplications, each
/// of which takes the result of the one before and three cycles.
pub fn cycles(cycles: u64) -> u64 {
    let start = ticks();
    // SAFETY: changes two registers and the flags.
    unsafe {
        asm!(
            "2:",
            "imul {1}, {1}", "imul {1}, {1}", "imul {1}, {1}", "imul {1}, {1}",
            "imul {1}, {1}", "imul {1}, {1}", "imul {1}, {1}", "imul {1}, {1}",
            "dec {0}",
            "jnz 2b",
            inout(reg) cycles / 24 => _,
            inout(reg) 3u64 => _,
            options(nomem, nostack),
        );
    }
    ticks() - start
}

/// Ticks a nanosecond, from a tenth of a second against the system's clock, measured once.
pub fn ticks_per_nanosecond() -> f64 {
    static RATE: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
    *RATE.get_or_init(|| {
        let (clock, start) = (std::time::Instant::now(), ticks());
        while clock.elapsed().as_millis() < 100 {}
        (ticks() - start) as f64 / clock.elapsed().as_nanos() as f64
    })
}
