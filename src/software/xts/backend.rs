// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Backend`]: which implementation of XTS runs, and what this processor can run.

use std::fmt;

/// An implementation of XTS. All give the same results; later ones are faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Backend {
    /// Batched XTS over the `aes` crate, which itself uses the ARMv8 or x86 AES instructions
    /// where it finds them. Runs anywhere, contains no `unsafe`.
    Portable,
    /// x86-64 with AES-NI, one block an instruction.
    AesNi,
    /// x86-64 with VAES and AVX2, two blocks an instruction.
    Vaes256,
    /// x86-64 with VAES and AVX-512, four blocks an instruction.
    Vaes512,
}

impl Backend {
    /// Every back end, slowest first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::AesNi, Self::Vaes256, Self::Vaes512];

    /// The fastest back end this processor can run.
    #[must_use]
    pub fn detect() -> Self {
        Self::ALL.into_iter().rev().find(|it| it.is_available()).unwrap_or(Self::Portable)
    }

    /// The back ends this processor can run, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|it| it.is_available())
    }

    /// Whether this processor can run it.
    #[must_use]
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return super::x86::is_available(self);
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Portable;
    }

    /// Short stable name: `portable`, `aes-ni`, `vaes-256`, `vaes-512`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::AesNi => "aes-ni",
            Self::Vaes256 => "vaes-256",
            Self::Vaes512 => "vaes-512",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
