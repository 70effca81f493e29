// SPDX-License-Identifier: MIT OR Apache-2.0
//! AES-128-XTS and AES-256-XTS over whole sectors (IEEE 1619, NIST SP 800-38E).
//!
//! One [`Xts`] holds one key and the implementation chosen for this processor. Sectors are 512,
//! 1024, 2048 or 4096 bytes; ciphertext stealing is not offered because no sector needs it.
//!
//! The tweak of a sector is its number in little-endian under the second half of the key
//! (`plain64`). dm-crypt and LUKS2 count in 512-byte units whatever the sector size is, so every
//! call takes the number of the first sector **and a step**: 1 for 512-byte sectors or for a
//! format that counts in its own sectors, `sector_size / 512` for LUKS2.
//!
//! ```
//! use opalbox::software::xts::Xts;
//!
//! let mut key = [0u8; 64];
//! for (at, byte) in key.iter_mut().enumerate() {
//!     *byte = at as u8;
//! }
//! let xts = Xts::new(&key)?;
//! let mut sectors = vec![0u8; 8192];
//! xts.encrypt(4096, 0, 8, &mut sectors)?;
//! xts.decrypt(4096, 0, 8, &mut sectors)?;
//! assert!(sectors.iter().all(|byte| *byte == 0));
//! # Ok::<(), opalbox::software::xts::XtsError>(())
//! ```
//!
//! # What XTS does not give
//!
//! No integrity: a changed ciphertext block decrypts to a random plaintext block and nothing
//! notices. It is deterministic: the same plaintext in the same sector gives the same ciphertext,
//! so whoever sees two snapshots learns which 16-byte blocks changed, and can put an old block
//! back in its place.
//!
//! # Constant time
//!
//! No implementation here has a table, a branch or an address that depends on a key, a tweak or
//! data. The portable one inherits this from the `aes` crate. Keys are wiped when an [`Xts`] is
//! dropped, the buffer of encrypted sector numbers before each call returns. What registers, and
//! places where the compiler put them for a while, hold afterwards is not.

#[cfg(target_arch = "x86_64")]
mod aes_ni;
mod backend;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod portable;
#[cfg(target_arch = "x86_64")]
mod schedule;
mod self_test;
#[cfg(target_arch = "x86_64")]
mod span;
#[cfg(target_arch = "x86_64")]
mod vaes256;
#[cfg(target_arch = "x86_64")]
mod vaes512;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;

use subtle::ConstantTimeEq;

pub use backend::Backend;
use portable::Portable;

/// Smallest sector, in bytes.
pub const MIN_SECTOR: usize = 512;
/// Largest sector, in bytes.
pub const MAX_SECTOR: usize = 4096;

/// Why a key or a call was refused. Nothing was read or written when one of these is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XtsError {
    /// The key is neither 32 (AES-128) nor 64 bytes (AES-256) long.
    #[error("an XTS key is 32 or 64 bytes long, this one is {0}; pass both halves together")]
    KeyLength(usize),
    /// Both halves of the key are equal, which voids the security proof of XTS.
    #[error("both halves of the XTS key are equal; generate a new key from a random source")]
    EqualHalves,
    /// The sector size is not 512, 1024, 2048 or 4096.
    #[error("sector size {0} is not supported; use 512, 1024, 2048 or 4096")]
    SectorSize(usize),
    /// The data is not a whole number of sectors.
    #[error("{length} bytes are not whole sectors of {sector_size} bytes")]
    PartialSector {
        /// Bytes passed.
        length: usize,
        /// Bytes in a sector.
        sector_size: usize,
    },
    /// Source and destination differ in length.
    #[error("source has {source_length} bytes and destination {destination_length}")]
    LengthMismatch {
        /// Bytes to read.
        source_length: usize,
        /// Bytes to write.
        destination_length: usize,
    },
    /// The last sector's number would not fit 64 bits.
    #[error("sector numbers from {first} in steps of {step} pass 2^64 in this call")]
    SectorNumber {
        /// Number of the first sector.
        first: u64,
        /// Distance between the numbers of neighbouring sectors.
        step: u64,
    },
    /// This processor or build lacks what the forced back end needs.
    #[error("back end {0} cannot run on this processor; use one of Backend::available()")]
    Unavailable(Backend),
    /// The back end gave a wrong answer to a question whose answer is known.
    #[error("back end {0} fails its self-test: do not use this machine for encryption")]
    SelfTest(Backend),
}

/// An XTS key, expanded, with the implementation that uses it. Cheap to share between threads.
pub struct Xts {
    engine: Engine,
}

/// What encrypts. The choice is made once, by the constructor.
enum Engine {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Kernel(x86::Kernel),
}

/// Encrypt or decrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Encrypt,
    Decrypt,
}

/// The sectors of one call: size in bytes, number of the first, distance between numbers.
#[derive(Debug, Clone, Copy)]
struct Sectors {
    size: usize,
    first: u128,
    step: u128,
}

impl Xts {
    /// Expands `key` for the fastest implementation this processor has. `key` is the data key
    /// followed by the tweak key, 32 bytes together for AES-128 or 64 for AES-256.
    ///
    /// # Errors
    /// [`XtsError::KeyLength`], [`XtsError::EqualHalves`], or [`XtsError::SelfTest`] when the
    /// implementation computes wrong results on this machine.
    pub fn new(key: &[u8]) -> Result<Self, XtsError> {
        Self::with_backend(key, Backend::detect())
    }

    /// As [`Xts::new`], with the implementation given: for tests and measurements.
    ///
    /// # Errors
    /// Those of [`Xts::new`], and [`XtsError::Unavailable`].
    pub fn with_backend(key: &[u8], backend: Backend) -> Result<Self, XtsError> {
        if !matches!(key.len(), 32 | 64) {
            return Err(XtsError::KeyLength(key.len()));
        }
        let (data_key, tweak_key) = key.split_at(key.len() / 2);
        if data_key.ct_eq(tweak_key).into() {
            return Err(XtsError::EqualHalves);
        }
        if !backend.is_available() {
            return Err(XtsError::Unavailable(backend));
        }
        self_test::passed(backend)?;
        Ok(Self { engine: Engine::new(data_key, tweak_key, backend)? })
    }

    /// The implementation in use.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match &self.engine {
            Engine::Portable(_) => Backend::Portable,
            #[cfg(target_arch = "x86_64")]
            Engine::Kernel(kernel) => kernel.backend(),
        }
    }

    /// Encrypts `data` in place. Sector `i` of it has the number `first + i * step`.
    ///
    /// # Errors
    /// [`XtsError::SectorSize`], [`XtsError::PartialSector`] or [`XtsError::SectorNumber`];
    /// `data` is then unchanged.
    pub fn encrypt(
        &self,
        sector_size: usize,
        first: u64,
        step: u64,
        data: &mut [u8],
    ) -> Result<(), XtsError> {
        let sectors = Sectors::new(sector_size, first, step, data.len())?;
        self.engine.in_place(Direction::Encrypt, sectors, data);
        Ok(())
    }

    /// Decrypts `data` in place, as [`Xts::encrypt`].
    ///
    /// # Errors
    /// Those of [`Xts::encrypt`].
    pub fn decrypt(
        &self,
        sector_size: usize,
        first: u64,
        step: u64,
        data: &mut [u8],
    ) -> Result<(), XtsError> {
        let sectors = Sectors::new(sector_size, first, step, data.len())?;
        self.engine.in_place(Direction::Decrypt, sectors, data);
        Ok(())
    }

    /// Encrypts `source` into `destination`, which has the same length.
    ///
    /// # Errors
    /// Those of [`Xts::encrypt`] and [`XtsError::LengthMismatch`].
    pub fn encrypt_to(
        &self,
        sector_size: usize,
        first: u64,
        step: u64,
        source: &[u8],
        destination: &mut [u8],
    ) -> Result<(), XtsError> {
        let sectors = Sectors::pair(sector_size, first, step, source.len(), destination.len())?;
        self.engine.copy(Direction::Encrypt, sectors, source, destination);
        Ok(())
    }

    /// Decrypts from `source` into `destination`, which has the same length.
    ///
    /// # Errors
    /// Those of [`Xts::encrypt_to`].
    pub fn decrypt_from(
        &self,
        sector_size: usize,
        first: u64,
        step: u64,
        source: &[u8],
        destination: &mut [u8],
    ) -> Result<(), XtsError> {
        let sectors = Sectors::pair(sector_size, first, step, source.len(), destination.len())?;
        self.engine.copy(Direction::Decrypt, sectors, source, destination);
        Ok(())
    }

    /// Encrypts one sector in place under a tweak that is not a 64-bit number, as public test
    /// vectors and some formats have it. The sector is 512, 1024, 2048 or 4096 bytes long.
    ///
    /// # Errors
    /// [`XtsError::SectorSize`].
    pub fn encrypt_unit(&self, tweak: [u8; 16], sector: &mut [u8]) -> Result<(), XtsError> {
        let sectors = Sectors::unit(tweak, sector.len())?;
        self.engine.in_place(Direction::Encrypt, sectors, sector);
        Ok(())
    }

    /// Decrypts one sector in place, as [`Xts::encrypt_unit`].
    ///
    /// # Errors
    /// [`XtsError::SectorSize`].
    pub fn decrypt_unit(&self, tweak: [u8; 16], sector: &mut [u8]) -> Result<(), XtsError> {
        let sectors = Sectors::unit(tweak, sector.len())?;
        self.engine.in_place(Direction::Decrypt, sectors, sector);
        Ok(())
    }
}

impl fmt::Debug for Xts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xts").field("backend", &self.backend()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Both keys are 16 or both 32 bytes long; `backend` is available.
    fn new(data_key: &[u8], tweak_key: &[u8], backend: Backend) -> Result<Self, XtsError> {
        match backend {
            Backend::Portable => Portable::new(data_key, tweak_key)
                .map(Self::Portable)
                .ok_or(XtsError::KeyLength(data_key.len() + tweak_key.len())),
            #[cfg(target_arch = "x86_64")]
            kernel => x86::Kernel::new(data_key, tweak_key, kernel)
                .map(Self::Kernel)
                .ok_or(XtsError::Unavailable(kernel)),
            #[cfg(not(target_arch = "x86_64"))]
            other => Err(XtsError::Unavailable(other)),
        }
    }

    fn in_place(&self, direction: Direction, sectors: Sectors, data: &mut [u8]) {
        match self {
            Self::Portable(portable) => portable.apply(direction, sectors, data),
            #[cfg(target_arch = "x86_64")]
            Self::Kernel(kernel) => {
                kernel.apply(direction, sectors, span::Span::in_place(data));
            }
        }
    }

    /// Both slices have the same length.
    fn copy(&self, direction: Direction, sectors: Sectors, source: &[u8], out: &mut [u8]) {
        match self {
            Self::Portable(portable) => {
                out.copy_from_slice(source);
                portable.apply(direction, sectors, out);
            }
            #[cfg(target_arch = "x86_64")]
            Self::Kernel(kernel) => {
                kernel.apply(direction, sectors, span::Span::copy(source, out));
            }
        }
    }
}

impl Sectors {
    /// Checks the shape of one call on `length` bytes.
    fn new(size: usize, first: u64, step: u64, length: usize) -> Result<Self, XtsError> {
        if !size.is_power_of_two() || !(MIN_SECTOR..=MAX_SECTOR).contains(&size) {
            return Err(XtsError::SectorSize(size));
        }
        if !length.is_multiple_of(size) {
            return Err(XtsError::PartialSector { length, sector_size: size });
        }
        let last = (length / size).saturating_sub(1) as u64;
        if step.checked_mul(last).and_then(|offset| offset.checked_add(first)).is_none() {
            return Err(XtsError::SectorNumber { first, step });
        }
        Ok(Self { size, first: first.into(), step: step.into() })
    }

    fn pair(size: usize, first: u64, step: u64, from: usize, to: usize) -> Result<Self, XtsError> {
        if from != to {
            return Err(XtsError::LengthMismatch { source_length: from, destination_length: to });
        }
        Self::new(size, first, step, from)
    }

    fn unit(tweak: [u8; 16], size: usize) -> Result<Self, XtsError> {
        let shape = Self::new(size, 0, 0, size)?;
        Ok(Self { first: u128::from_le_bytes(tweak), ..shape })
    }
}
