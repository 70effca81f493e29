// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Kdf`]: how a keyslot turns a secret into the key of its area, and what it may cost.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::metadata::Bytes;
use super::{Hash, Luks2Error, Policy};

/// A key derivation function and its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kdf {
    /// PBKDF2 with HMAC (RFC 8018): for secrets that are random already.
    Pbkdf2 {
        /// The hash under the HMAC.
        hash: Hash,
        /// At least 1,000.
        iterations: u32,
    },
    /// Argon2id (RFC 9106): for what people type.
    Argon2id {
        /// Passes over the memory.
        time: u32,
        /// Memory in KiB.
        memory: u32,
        /// Parallel lanes, 1 to 4.
        cpus: u32,
    },
}

/// As the metadata has it, salt included.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum SaltedKdf {
    Pbkdf2 { hash: Hash, iterations: u32, salt: Bytes },
    Argon2i { time: u32, memory: u32, cpus: u32, salt: Bytes },
    Argon2id { time: u32, memory: u32, cpus: u32, salt: Bytes },
}

/// Bytes of a new salt, as cryptsetup makes them.
pub(super) const SALT: usize = 32;

impl Kdf {
    /// For 32 or more random bytes, such as a secret from a lockbox: guessing is hopeless, so
    /// iterations would only slow down start-up.
    #[must_use]
    pub fn for_random_secret() -> Self {
        Self::Pbkdf2 { hash: Hash::Sha512, iterations: 1000 }
    }

    /// For a passphrase: about a second and 256 MiB on a desktop processor.
    #[must_use]
    pub fn for_passphrase() -> Self {
        Self::Argon2id { time: 4, memory: 256 << 10, cpus: 4 }
    }

    /// Checks the cost against the format's limits and adds a fresh salt.
    pub(super) fn salted(self) -> Result<SaltedKdf, Luks2Error> {
        let mut salt = vec![0; SALT];
        getrandom::fill(&mut salt).map_err(Luks2Error::Random)?;
        let salt = Bytes(salt);
        let salted = match self {
            Self::Pbkdf2 { hash: Hash::Sha1, .. } => {
                return Err(Luks2Error::Parameter("SHA-1 is not used for new keyslots"));
            }
            Self::Pbkdf2 { hash, iterations } => SaltedKdf::Pbkdf2 { hash, iterations, salt },
            Self::Argon2id { time, memory, cpus } => {
                SaltedKdf::Argon2id { time, memory, cpus, salt }
            }
        };
        if salted.check(&Policy::default()).is_err() {
            return Err(Luks2Error::Parameter(
                "key derivation: at least 1,000 iterations, or 4 passes over 32 KiB in 1 to 4 \
                 lanes",
            ));
        }
        Ok(salted)
    }
}

impl SaltedKdf {
    /// Refuses what is too weak for the format, or would take memory or time without bound.
    pub(super) fn check(&self, policy: &Policy) -> Result<(), String> {
        let salt = match self {
            Self::Pbkdf2 { iterations, salt, .. } => {
                check_iterations(*iterations, policy)?;
                salt
            }
            Self::Argon2i { time, memory, cpus, salt }
            | Self::Argon2id { time, memory, cpus, salt } => {
                if !(1..=4).contains(cpus) || *memory < 32 || *time < 4 {
                    return Err(format!("Argon2 with {time} passes, {memory} KiB, {cpus} lanes"));
                }
                if *memory > policy.max_memory {
                    return Err(format!(
                        "Argon2 wants {memory} KiB of memory, at most {} are allowed",
                        policy.max_memory
                    ));
                }
                let passes = u64::from(*time) * u64::from(*memory);
                if passes > policy.max_passes {
                    return Err(format!("Argon2 with {time} passes over {memory} KiB takes hours"));
                }
                salt
            }
        };
        if !(8..=64).contains(&salt.0.len()) {
            return Err(format!("a salt of {} bytes", salt.0.len()));
        }
        Ok(())
    }

    /// Fills `out` from the secret.
    pub(super) fn derive(&self, secret: &[u8], out: &mut [u8]) -> Result<(), Luks2Error> {
        match self {
            Self::Pbkdf2 { hash, iterations, salt } => {
                hash.pbkdf2(secret, &salt.0, *iterations, out);
                Ok(())
            }
            Self::Argon2i { time, memory, cpus, salt } => {
                argon2(Algorithm::Argon2i, [*time, *memory, *cpus], secret, &salt.0, out)
            }
            Self::Argon2id { time, memory, cpus, salt } => {
                argon2(Algorithm::Argon2id, [*time, *memory, *cpus], secret, &salt.0, out)
            }
        }
    }

    /// Name and cost, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Pbkdf2 { hash, iterations, .. } => {
                format!("pbkdf2-{hash:?} {iterations}").to_lowercase()
            }
            Self::Argon2i { time, memory, cpus, .. } => format!("argon2i {time} {memory} {cpus}"),
            Self::Argon2id { time, memory, cpus, .. } => {
                format!("argon2id {time} {memory} {cpus}")
            }
        }
    }
}

/// PBKDF2 iterations that are neither weak nor endless.
pub(super) fn check_iterations(iterations: u32, policy: &Policy) -> Result<(), String> {
    if iterations < 1000 {
        return Err(format!("PBKDF2 with {iterations} iterations"));
    }
    if iterations > policy.max_iterations {
        return Err(format!(
            "PBKDF2 wants {iterations} iterations, at most {} are allowed",
            policy.max_iterations
        ));
    }
    Ok(())
}

fn argon2(
    algorithm: Algorithm,
    [time, memory, cpus]: [u32; 3],
    secret: &[u8],
    salt: &[u8],
    out: &mut [u8],
) -> Result<(), Luks2Error> {
    let refused = |error| Luks2Error::refused(format!("Argon2: {error}"));
    let params = Params::new(memory, time, cpus, Some(out.len())).map_err(refused)?;
    let mut blocks: Vec<Block> = Vec::new();
    let count = params.block_count();
    blocks.try_reserve_exact(count).map_err(|_| Luks2Error::Memory(memory))?;
    blocks.resize(count, Block::default());
    let done = Argon2::new(algorithm, Version::V0x13, params).hash_password_into_with_memory(
        secret,
        salt,
        out,
        &mut blocks,
    );
    blocks.fill(Block::default());
    zeroize::optimization_barrier(blocks.as_slice());
    done.map_err(refused)
}

/// A derived key of `length` bytes.
pub(super) fn derive(
    kdf: &SaltedKdf,
    secret: &[u8],
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, Luks2Error> {
    let mut key = Zeroizing::new(vec![0; length]);
    kdf.derive(secret, &mut key)?;
    Ok(key)
}
