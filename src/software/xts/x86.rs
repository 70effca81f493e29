// SPDX-License-Identifier: MIT OR Apache-2.0
//! The x86-64 kernels behind one safe type: a [`Kernel`] exists only where its instructions do.
#![expect(unsafe_code, reason = "calls into code compiled for instructions found at run time")]

use super::schedule::Schedule;
use super::span::Span;
use super::{Backend, Direction, Sectors, aes_ni, vaes256, vaes512};

/// An expanded key and the kernel that uses it.
pub(super) struct Kernel {
    /// One of the three kernels, available on this processor: checked by [`Kernel::new`], the
    /// only place that makes one. The calls below rely on it.
    backend: Backend,
    schedule: Box<Schedule>,
}

/// Whether this processor, and the operating system for the wide registers, can run `backend`.
pub(super) fn is_available(backend: Backend) -> bool {
    let vaes = is_x86_feature_detected!("aes") && is_x86_feature_detected!("vaes");
    match backend {
        Backend::Portable => true,
        Backend::AesNi => is_x86_feature_detected!("aes"),
        Backend::Vaes256 => {
            vaes && is_x86_feature_detected!("vpclmulqdq") && is_x86_feature_detected!("avx2")
        }
        Backend::Vaes512 => {
            vaes && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
        }
    }
}

impl Kernel {
    /// `None` where `backend` is not a kernel or cannot run here, or for keys of other lengths
    /// than 16 or 32 bytes.
    pub(super) fn new(data_key: &[u8], tweak_key: &[u8], backend: Backend) -> Option<Self> {
        if backend == Backend::Portable || !is_available(backend) {
            return None;
        }
        // SAFETY: every kernel's check includes `aes`.
        let schedule = unsafe { Schedule::new(data_key, tweak_key) }?;
        Some(Self { backend, schedule })
    }

    pub(super) fn backend(&self) -> Backend {
        self.backend
    }

    /// Encrypts or decrypts whole sectors.
    pub(super) fn apply(&self, direction: Direction, sectors: Sectors, span: Span<'_>) {
        use Direction::{Decrypt, Encrypt};
        let keys = &*self.schedule;
        // SAFETY: `new` has found the features that `run` of this back end is compiled for.
        unsafe {
            match (self.backend, direction) {
                (Backend::Vaes512, Encrypt) => vaes512::run::<true>(keys, sectors, span),
                (Backend::Vaes512, Decrypt) => vaes512::run::<false>(keys, sectors, span),
                (Backend::Vaes256, Encrypt) => vaes256::run::<true>(keys, sectors, span),
                (Backend::Vaes256, Decrypt) => vaes256::run::<false>(keys, sectors, span),
                (_, Encrypt) => aes_ni::run::<true>(keys, sectors, span),
                (_, Decrypt) => aes_ni::run::<false>(keys, sectors, span),
            }
        }
    }
}
