// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Secret`]: bytes that live in locked memory, are wiped when dropped and never printed.
//!
//! Secrets sit in an arena of pages that are locked into memory, left out of core dumps and empty
//! in a forked child, between guard pages. `mlockall` is not used: it fails for ordinary users.

#![expect(unsafe_code, reason = "mlock, madvise and the arena's raw pages have no safe form")]

mod arena;

use core::ptr::NonNull;
use core::slice;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

pub use arena::memory_locked;

/// Secret bytes of any length. No `Debug`, no `Display`, no `Clone`: a copy is made on purpose
/// with [`Secret::duplicate`]. Printing one does not compile:
///
/// ```compile_fail
/// let secret = opalbox::secret::Secret::from_slice(b"secret");
/// println!("{secret:?}");
/// ```
pub struct Secret {
    start: NonNull<u8>,
    len: usize,
}

impl Secret {
    /// Moves `bytes` into locked memory and wipes the caller's buffer.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let secret = Self::from_slice(&bytes);
        bytes.zeroize();
        secret
    }

    /// Copies `bytes`; the caller wipes its own copy.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut secret = Self::zeroed(bytes.len());
        secret.expose_mut().copy_from_slice(bytes);
        secret
    }

    /// `len` zero bytes, to be filled through [`Secret::expose_mut`] so that the plaintext is
    /// never anywhere but in locked memory.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self { start: arena::allocate(len), len }
    }

    /// `len` bytes from the operating system's generator.
    ///
    /// # Errors
    /// The generator's own error: very early boot, or a sandbox without `getrandom`.
    pub fn random(len: usize) -> Result<Self, getrandom::Error> {
        let mut secret = Self::zeroed(len);
        getrandom::fill(secret.expose_mut())?;
        Ok(secret)
    }

    /// The secret bytes. Keep the borrow short, never store or print it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        // SAFETY: `start` points at `len` initialised bytes that this value alone owns until drop.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The secret bytes, to be written in place.
    #[must_use]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `expose`, and the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// A second copy, on purpose.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::from_slice(self.expose())
    }

    /// Compares in constant time for equal lengths.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.expose().ct_eq(other).into()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.expose_mut().zeroize();
        arena::release(self.start, self.len);
    }
}

// SAFETY: the bytes are owned by this value alone; the arena's book-keeping is behind a mutex.
unsafe impl Send for Secret {}
// SAFETY: shared access only reads.
unsafe impl Sync for Secret {}

/// What [`harden_process`] achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardening {
    /// Core files are off (`RLIMIT_CORE` is 0).
    pub no_core_files: bool,
    /// The process is not dumpable: no core through a pipe handler, no ptrace by the same user.
    pub not_dumpable: bool,
}

/// Keeps this process's memory out of core dumps and away from debuggers of the same user. Call
/// it first thing in `main`; a refusal by the system is reported, not fatal.
#[must_use]
pub fn harden_process() -> Hardening {
    use nix::sys::resource::{Resource, setrlimit};
    Hardening {
        no_core_files: setrlimit(Resource::RLIMIT_CORE, 0, 0).is_ok(),
        not_dumpable: nix::sys::prctl::set_dumpable(false).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_compares_and_copies() {
        let secret = Secret::new(b"correct horse".to_vec());
        assert_eq!(secret.expose(), b"correct horse");
        assert!(secret.matches(b"correct horse"));
        assert!(!secret.matches(b"correct horsf"));
        assert!(!secret.matches(b"correct"));
        assert!(secret.duplicate().matches(secret.expose()));
        let empty = Secret::from_slice(b"");
        assert!(empty.expose().is_empty() && empty.matches(b""));
    }

    #[test]
    fn random_bytes_differ() {
        let (one, other) = (Secret::random(32).unwrap(), Secret::random(32).unwrap());
        assert_eq!(one.expose().len(), 32);
        assert!(!one.matches(other.expose()));
    }

    #[test]
    fn memory_is_wiped_on_drop() {
        let secret = Secret::from_slice(&[0xa5; 40_000]);
        let (start, len) = (secret.start.as_ptr(), secret.len);
        drop(secret);
        // SAFETY: chunks of the ordinary size stay mapped for the life of the process.
        let after = unsafe { slice::from_raw_parts(start, len) };
        // Another test's secret may sit there by now; the pattern may not.
        assert!(!after.windows(8).any(|run| run == [0xa5; 8]));
    }

    #[test]
    fn thousands_of_secrets_keep_their_bytes() {
        let mut kept = Vec::new();
        for n in 0..5_000_u32 {
            kept.push((n, Secret::from_slice(&n.to_le_bytes().repeat(n as usize % 70))));
            if n % 3 == 0 {
                kept.swap_remove(n as usize / 7);
            }
        }
        for (n, secret) in &kept {
            assert!(secret.matches(&n.to_le_bytes().repeat(*n as usize % 70)));
        }
    }

    #[test]
    fn secrets_larger_than_a_chunk() {
        let bytes = vec![7; 300_000];
        assert!(Secret::from_slice(&bytes).matches(&bytes));
    }

    /// The kernel's own view of the page: locked, not dumped, wiped on fork.
    #[test]
    fn pages_carry_the_flags() {
        let secret = Secret::from_slice(b"flags");
        let address = secret.start.as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        let mut flags = None;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|r| r.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) =
                    (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                here = (from..to).contains(&address);
            } else if here && let Some(rest) = line.strip_prefix("VmFlags:") {
                flags = Some(rest.to_owned());
            }
        }
        let flags = flags.expect("the page is mapped");
        let has = |flag| flags.split(' ').any(|f| f == flag);
        assert!(has("dd"), "left out of core dumps: {flags}");
        assert!(has("wf"), "wiped on fork: {flags}");
        assert_eq!(has("lo"), memory_locked(), "locked: {flags}");
    }
}
