// SPDX-License-Identifier: MIT OR Apache-2.0
//! The XTS algorithm of the x86-64 kernels, written once for vectors of one, two and four blocks.
//!
//! [`xts_kernel!`] expects these in scope, each an instruction or two: `Vector`, `broadcast`,
//! `numbers`, `add`, `xor`, `xor3`, `encrypt_round`, `encrypt_last`, `decrypt_round`,
//! `decrypt_last`, `power` and `times_x8`, `times_step`.
//!
//! What makes it fast, in order of weight:
//!
//! 1. The numbers of up to 32 sectors are encrypted together: a lone one would cost the latency
//!    of all rounds, as long as a quarter of a 512-byte sector takes.
//! 2. While eight vectors go through a round, one line is prefetched two kibibytes ahead.
//! 3. Tweaks advance by byte shifts and a carry-less product, which do not use the AES unit.
//! 4. The first round key joins data and tweak in one instruction, the last joins the tweak
//!    inside the last round.
//! 5. The loop over rounds has a count known only at run time, so that it stays a loop and eight
//!    vectors stay in flight.

/// Sectors whose numbers are encrypted together.
pub(super) const GROUP: usize = 32;
/// Vectors in flight.
pub(super) const WAYS: usize = 8;
/// How far ahead to prefetch, in bytes.
pub(super) const AHEAD: usize = 2048;

/// Defines `run` for vectors of `$lanes` blocks.
macro_rules! xts_kernel {
    ($features:literal, $lanes:literal) => {
        /// Blocks in a vector.
        const LANES: usize = $lanes;
        /// Bytes in a vector.
        const WIDTH: usize = 16 * LANES;
        /// Bytes that go through the rounds together.
        const STRIDE: usize = WIDTH * WAYS;
        /// Vectors that hold the first eight tweaks of a sector.
        const SEEDS: usize = 8 / LANES;

        /// Encrypts or decrypts the sectors of `span`, whose length is a multiple of the size.
        #[target_feature(enable = $features)]
        pub(super) fn run<const ENCRYPT: bool>(
            keys: &Schedule,
            sectors: Sectors,
            mut span: Span<'_>,
        ) {
            let data_keys = if ENCRYPT { &keys.encrypt } else { &keys.decrypt };
            let Sectors { size, first, step } = sectors;
            let mut at = 0;
            while at < AHEAD.min(span.len()) {
                span.prefetch(at);
                at += 64;
            }
            let mut starts = [_mm_setzero_si128(); GROUP];
            let mut number = numbers(first, step);
            let advance = numbers_step(step);
            let mut at = 0;
            let mut used = 0;
            while at < span.len() {
                let count = ((span.len() - at) / size).min(GROUP);
                used = used.max(count);
                number = encrypt_numbers(&keys.tweak, &mut starts, count, number, advance);
                for start in &starts[..count] {
                    let mut tweaks = first_tweaks(*start);
                    let end = at + size;
                    loop {
                        // SAFETY: the span is whole sectors, a sector is whole strides.
                        unsafe { stride::<ENCRYPT>(data_keys, &tweaks, &mut span, at) };
                        at += STRIDE;
                        if at >= end {
                            break;
                        }
                        for tweak in &mut tweaks {
                            *tweak = times_stride(*tweak);
                        }
                    }
                }
            }
            starts[..used].fill(_mm_setzero_si128());
            zeroize::optimization_barrier(&starts);
        }

        /// Encrypts `count` numbers from `number` on into `starts`; returns the number after
        /// them.
        #[target_feature(enable = $features)]
        #[inline]
        fn encrypt_numbers(
            keys: &RoundKeys,
            starts: &mut [__m128i; GROUP],
            count: usize,
            number: Vector,
            advance: Vector,
        ) -> Vector {
            const TOGETHER: usize = 4;
            let (head, middle, last) = keys.parts();
            let mut number = number;
            for starts in
                starts.chunks_exact_mut(LANES * TOGETHER).take(count.div_ceil(LANES * TOGETHER))
            {
                let mut state = [broadcast(head); TOGETHER];
                for it in &mut state {
                    *it = xor(*it, number);
                    number = add(number, advance);
                }
                for key in middle {
                    let key = broadcast(*key);
                    for it in &mut state {
                        *it = encrypt_round(*it, key);
                    }
                }
                for (it, out) in state.iter().zip(starts.chunks_exact_mut(LANES)) {
                    let out: &mut [__m128i; LANES] = out.try_into().expect("chunks of LANES");
                    let value = encrypt_last(*it, broadcast(last));
                    // SAFETY: LANES blocks are exactly one vector.
                    unsafe { std::ptr::from_mut(out).cast::<Vector>().write_unaligned(value) };
                }
            }
            number
        }

        /// The tweaks of a sector's first stride, from its encrypted number.
        #[target_feature(enable = $features)]
        #[inline]
        fn first_tweaks(start: __m128i) -> [Vector; WAYS] {
            let start = broadcast(start);
            let mut tweaks = [start; WAYS];
            for (at, tweak) in tweaks[..SEEDS].iter_mut().enumerate() {
                *tweak = power(start, at);
            }
            for at in SEEDS..WAYS {
                tweaks[at] = times_x8(tweaks[at - SEEDS]);
            }
            tweaks
        }

        /// Takes one stride of data through the cipher.
        ///
        /// # Safety
        /// `at + STRIDE <= span.len()`.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn stride<const ENCRYPT: bool>(
            keys: &RoundKeys,
            tweaks: &[Vector; WAYS],
            span: &mut Span<'_>,
            at: usize,
        ) {
            let (head, middle, last) = keys.parts();
            let head = broadcast(head);
            let mut state = *tweaks;
            for (way, it) in state.iter_mut().enumerate() {
                // SAFETY: way < WAYS and the caller's promise.
                let data = unsafe { span.read::<Vector>(at + way * WIDTH) };
                *it = xor3(data, *it, head);
            }
            // Past the end there is nothing to fetch: then this stride's own lines, which cost
            // nothing.
            let ahead = if at + AHEAD + STRIDE <= span.len() { at + AHEAD } else { at };
            let mut line = 0;
            for key in middle {
                let key = broadcast(*key);
                for it in &mut state {
                    *it = if ENCRYPT { encrypt_round(*it, key) } else { decrypt_round(*it, key) };
                }
                span.prefetch(ahead + line % STRIDE);
                line += 64;
            }
            let last = broadcast(last);
            for (way, (it, tweak)) in state.iter().zip(tweaks).enumerate() {
                let key = xor(*tweak, last);
                let data = if ENCRYPT { encrypt_last(*it, key) } else { decrypt_last(*it, key) };
                // SAFETY: as for reading.
                unsafe { span.write(at + way * WIDTH, data) };
            }
        }
    };
}
pub(super) use xts_kernel;
