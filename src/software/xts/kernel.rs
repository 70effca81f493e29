// SPDX-License-Identifier: MIT OR Apache-2.0
//! The XTS algorithm of the x86-64 kernels, written once for vectors of one, two and four blocks.
//!
//! [`xts_kernel!`] expects these in scope, each a few instructions: `Vector`, `numbers`,
//! `numbers_step`, `add`, `xor`, `xor3`, `encrypt_round`, `encrypt_last`, `decrypt_round`,
//! `decrypt_last`, and `Powers` with `new`, `first` and `next`, which makes the tweaks.
//!
//! What makes it fast, in order of weight:
//!
//! 1. The numbers of up to 32 sectors are encrypted together: a lone one would cost the latency
//!    of all rounds, as long as a quarter of a 512-byte sector takes.
//! 2. While eight vectors go through a round, one line is prefetched two kibibytes ahead.
//! 3. Tweak arithmetic stays off the AES unit. With four blocks in a vector it is shifts and
//!    exclusive or alone: a carry-less product would be shorter, but costs an AES round's place
//!    on processors where one unit does both.
//! 4. Tweaks are kept with the last round key in them, so that the last round takes both at once
//!    and the first exclusive or joins data, tweak and both outer keys.
//! 5. The loop over rounds has a count known only at run time, so that it stays a loop and eight
//!    vectors stay in flight.

/// Sectors whose numbers are encrypted together.
pub(super) const GROUP: usize = 32;
/// Vectors in flight.
pub(super) const WAYS: usize = 8;
/// How far ahead to prefetch, in bytes.
pub(super) const AHEAD: usize = 2048;
/// Bytes in a cache line.
pub(super) const LINE: usize = 64;

/// An array of `$body` for each way, written out: a loop would keep the vectors in memory.
macro_rules! ways {
    ($way:ident => $body:expr) => {
        [
            ways!(0, $way, $body),
            ways!(1, $way, $body),
            ways!(2, $way, $body),
            ways!(3, $way, $body),
            ways!(4, $way, $body),
            ways!(5, $way, $body),
            ways!(6, $way, $body),
            ways!(7, $way, $body),
        ]
    };
    ($number:literal, $way:ident, $body:expr) => {{
        const $way: usize = $number;
        $body
    }};
}
pub(super) use ways;

/// Defines `run` for vectors of `$lanes` blocks.
macro_rules! xts_kernel {
    ($features:literal, $lanes:literal) => {
        /// Blocks in a vector.
        const LANES: usize = $lanes;
        /// Bytes in a vector.
        const WIDTH: usize = 16 * LANES;
        /// Bytes that go through the rounds together.
        const STRIDE: usize = WIDTH * WAYS;

        /// Encrypts or decrypts the sectors of `span`, whose length is a multiple of the size.
        #[target_feature(enable = $features)]
        pub(super) fn run<const ENCRYPT: bool>(
            keys: &Schedule,
            sectors: Sectors,
            mut span: Span<'_>,
        ) {
            let data_keys = if ENCRYPT { &keys.encrypt } else { &keys.decrypt };
            let (head, middle, last) = data_keys.parts();
            let powers = Powers::new(load(last));
            let outer = xor(load(head), load(last));
            let Sectors { size, first, step } = sectors;
            // In a short buffer the distance is a quarter: more requests at once would delay the
            // lines wanted first.
            let ahead = AHEAD.min(span.len() / 4);
            for line in (0..ahead).step_by(LINE) {
                span.prefetch(line);
            }
            let mut starts = [_mm_setzero_si128(); GROUP];
            let mut number = numbers(first, step);
            let advance = numbers_step(step);
            let mut at = 0;
            while at < span.len() {
                let count = ((span.len() - at) / size).min(GROUP);
                number = if count <= LANES {
                    encrypt_numbers::<1>(&keys.tweak, &mut starts, count, number, advance)
                } else {
                    encrypt_numbers::<4>(&keys.tweak, &mut starts, count, number, advance)
                };
                for start in &starts[..count] {
                    let mut tweaks = powers.first(*start);
                    let end = at + size;
                    loop {
                        // SAFETY: the span is whole sectors, a sector is whole strides.
                        unsafe { stride::<ENCRYPT>(outer, middle, tweaks, &mut span, at, ahead) };
                        at += STRIDE;
                        if at >= end {
                            break;
                        }
                        tweaks = powers.next(tweaks);
                    }
                }
            }
            starts = [_mm_setzero_si128(); GROUP];
            zeroize::optimization_barrier(&starts);
        }

        /// Encrypts `count` numbers from `number` on into `starts`, `TOGETHER` vectors at a
        /// time; returns the number after them.
        #[target_feature(enable = $features)]
        #[inline]
        fn encrypt_numbers<const TOGETHER: usize>(
            keys: &RoundKeys,
            starts: &mut [__m128i; GROUP],
            count: usize,
            number: Vector,
            advance: Vector,
        ) -> Vector {
            let (head, middle, last) = keys.parts();
            let mut number = number;
            for starts in
                starts.chunks_exact_mut(LANES * TOGETHER).take(count.div_ceil(LANES * TOGETHER))
            {
                let mut state = [load(head); TOGETHER];
                for it in &mut state {
                    *it = xor(*it, number);
                    number = add(number, advance);
                }
                for key in middle {
                    let key = load(key);
                    for it in &mut state {
                        *it = encrypt_round(*it, key);
                    }
                }
                for (it, out) in state.iter().zip(starts.as_chunks_mut::<LANES>().0) {
                    let value = encrypt_last(*it, load(last));
                    // SAFETY: LANES blocks are exactly one vector.
                    unsafe { std::ptr::from_mut(out).cast::<Vector>().write_unaligned(value) };
                }
            }
            number
        }

        /// Takes one stride of data through the cipher.
        ///
        /// # Safety
        /// `at + STRIDE <= span.len()`.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn stride<const ENCRYPT: bool>(
            outer: Vector,
            middle: &[RoundKey],
            tweaks: [Vector; WAYS],
            span: &mut Span<'_>,
            at: usize,
            ahead: usize,
        ) {
            let mut state = ways!(WAY => {
                // SAFETY: WAY < WAYS and the caller's promise.
                let data = unsafe { span.read::<Vector>(at + WAY * WIDTH) };
                xor3(tweaks[WAY], outer, data)
            });
            // Past the end there is nothing to fetch: then this stride's own lines, which costs
            // nothing.
            let fetch = if at + ahead + STRIDE <= span.len() { at + ahead } else { at };
            let mut line = 0;
            for key in middle {
                let key = load(key);
                state = ways!(WAY => if ENCRYPT {
                    encrypt_round(state[WAY], key)
                } else {
                    decrypt_round(state[WAY], key)
                });
                span.prefetch(fetch + line % STRIDE);
                line += LINE;
            }
            let _: [(); WAYS] = ways!(WAY => {
                let data = if ENCRYPT {
                    encrypt_last(state[WAY], tweaks[WAY])
                } else {
                    decrypt_last(state[WAY], tweaks[WAY])
                };
                // SAFETY: as for reading.
                unsafe { span.write(at + WAY * WIDTH, data) };
            });
        }

        /// A round key in every block of a vector.
        #[target_feature(enable = $features)]
        #[inline]
        fn load(key: &RoundKey) -> Vector {
            // SAFETY: a vector is at most the four blocks of a RoundKey.
            unsafe { key.0.as_ptr().cast::<Vector>().read() }
        }
    };
}
pub(super) use xts_kernel;
