// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Span`]: what a kernel reads and writes, the same bytes or two separate buffers.
#![expect(unsafe_code, reason = "one kernel serves both cases, so it needs pointers")]

use std::marker::PhantomData;

/// Bytes to read and bytes to write, of one length; they are either the same or do not overlap.
pub(super) struct Span<'a> {
    from: *const u8,
    to: *mut u8,
    length: usize,
    life: PhantomData<&'a mut [u8]>,
}

impl<'a> Span<'a> {
    /// Reads and writes `data`.
    pub(super) fn in_place(data: &'a mut [u8]) -> Self {
        let to = data.as_mut_ptr();
        Self { from: to, to, length: data.len(), life: PhantomData }
    }

    /// Reads `source` and writes `destination`, up to the shorter one's end.
    pub(super) fn copy(source: &'a [u8], destination: &'a mut [u8]) -> Self {
        Self {
            from: source.as_ptr(),
            to: destination.as_mut_ptr(),
            length: source.len().min(destination.len()),
            life: PhantomData,
        }
    }

    /// Bytes on either side.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Reads a vector at byte `at`; `T` is a plain vector of integers, all bit patterns valid.
    ///
    /// # Safety
    /// `at + size_of::<T>() <= self.len()`.
    #[inline(always)]
    pub(super) unsafe fn read<T>(&self, at: usize) -> T {
        debug_assert!(at + size_of::<T>() <= self.length);
        // SAFETY: in bounds by the caller; the buffer is borrowed for 'a; no alignment needed.
        unsafe { self.from.add(at).cast::<T>().read_unaligned() }
    }

    /// Writes a vector at byte `at`.
    ///
    /// # Safety
    /// `at + size_of::<T>() <= self.len()`.
    #[inline(always)]
    pub(super) unsafe fn write<T>(&mut self, at: usize, value: T) {
        debug_assert!(at + size_of::<T>() <= self.length);
        // SAFETY: in bounds by the caller; mutably borrowed for 'a; no alignment needed.
        unsafe { self.to.add(at).cast::<T>().write_unaligned(value) }
    }

    /// Asks for the line that holds byte `at`, which may lie anywhere: this is only a hint.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: usize) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of every x86-64 and a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(self.from.wrapping_add(at).cast()) }
    }
}
