// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider for machines without a TPM: NEKs wrapped under a passphrase (Argon2id).
//!
//! Whoever copies the store may guess the passphrase at leisure; only its strength and the cost
//! of Argon2id stand in the way. [`FileProvider::capabilities`] says so.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use minicbor::Decoder;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::encode::cbor;
use super::epoch::{NEK_LEN, Scope};
use super::error::Refusal;
use super::provider::{
    Ask, Capabilities, Created, KeyRef, KeyState, Place, Provider, ProviderError,
};
use crate::secret::Secret;

/// Shortest passphrase taken for a new lockbox, in bytes.
pub const MIN_PASSPHRASE: usize = 8;

const FORMAT: u64 = 1;
const SALT: usize = 32;
const TAG: usize = 16;

/// Cost of the passphrase derivation. Stored with each wrapped key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileConfig {
    /// Memory in KiB, 8 to 4 GiB.
    pub memory_kib: u32,
    /// Passes over the memory, 1 to 64.
    pub passes: u32,
    /// Lanes, 1 to 16.
    pub lanes: u32,
}

impl Default for FileConfig {
    /// 256 MiB, three passes, four lanes: about a second on a server core, and dear to guess.
    fn default() -> Self {
        Self { memory_kib: 256 * 1024, passes: 3, lanes: 4 }
    }
}

impl FileConfig {
    fn params(self) -> Result<Params, ProviderError> {
        let bounded = (8..=4 * 1024 * 1024).contains(&self.memory_kib)
            && (1..=64).contains(&self.passes)
            && (1..=16).contains(&self.lanes);
        if !bounded {
            return Err(ProviderError::Derivation("its cost is out of bounds".into()));
        }
        Params::new(self.memory_kib, self.passes, self.lanes, Some(64))
            .map_err(|error| ProviderError::Derivation(error.to_string()))
    }
}

/// See the module's text.
pub(super) struct FileProvider {
    config: FileConfig,
}

impl FileProvider {
    pub(super) fn new(config: FileConfig) -> Self {
        Self { config }
    }
}

impl Provider for FileProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "file",
            hardware_bound: false,
            needs_person: true,
            needs_network: false,
            warnings: vec![
                "The lockbox is protected by a passphrase only: whoever copies it can guess the \
                 passphrase without limit. Use a TPM where there is one."
                    .into(),
                "A retired key still opens old copies of the lockbox with the old passphrase."
                    .into(),
            ],
        }
    }

    fn create(
        &mut self,
        place: &mut Place<'_>,
        scope: &Scope,
        label: &[u8],
    ) -> Result<Created, ProviderError> {
        let passphrase = place.prompt.ask(&Ask::NewPassphrase { dir: place.dir })?;
        if passphrase.expose().len() < MIN_PASSPHRASE {
            let text = format!("the passphrase must have at least {MIN_PASSPHRASE} bytes");
            return Err(ProviderError::Weak(text));
        }
        let nek = Secret::random(NEK_LEN)?;
        let blob = wrap(&passphrase, scope, self.config, &nek)?;
        Ok(Created { key: KeyRef(label.to_vec()), blob, nek })
    }

    fn open(
        &mut self,
        place: &mut Place<'_>,
        scope: &Scope,
        _: &KeyRef,
        blob: &[u8],
    ) -> Result<Secret, ProviderError> {
        // Bad blobs are refused before anyone is asked for anything.
        Wrapped::parse(blob).map_err(ProviderError::Blob)?.check(scope)?;
        let passphrase = place.prompt.ask(&Ask::Passphrase { dir: place.dir })?;
        unwrap(&passphrase, scope, blob)
    }

    fn state(&mut self, _: &mut Place<'_>, _: &KeyRef) -> Result<KeyState, ProviderError> {
        Ok(KeyState::Active)
    }

    fn destroy(&mut self, _: &mut Place<'_>, _: &KeyRef, _: &[u8]) -> Result<(), ProviderError> {
        // All there is to destroy is the blob, which is the store's.
        Ok(())
    }

    fn lookup(&mut self, _: &mut Place<'_>, _: &[u8]) -> Result<Option<KeyRef>, ProviderError> {
        // A NEK that was never recorded protects nothing; a second one does no harm.
        Ok(None)
    }
}

/// A wrapped NEK: header (the associated data), commitment, ciphertext with tag.
struct Wrapped<'a> {
    header: &'a [u8],
    scope: &'a [u8],
    cost: FileConfig,
    salt: &'a [u8],
    commitment: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Wrapped<'a> {
    fn parse(blob: &'a [u8]) -> Result<Self, Refusal> {
        Self::decode(blob).map_err(|_| Refusal::Malformed)?
    }

    fn decode(blob: &'a [u8]) -> Result<Result<Self, Refusal>, minicbor::decode::Error> {
        let mut d = Decoder::new(blob);
        if d.array()? != Some(3) {
            return Ok(Err(Refusal::Malformed));
        }
        let header = d.bytes()?;
        let (commitment, sealed) = (d.bytes()?, d.bytes()?);
        let mut h = Decoder::new(header);
        let fields = h.array()?;
        if h.u64()? != FORMAT || fields != Some(6) {
            return Ok(Err(Refusal::FormatVersion));
        }
        let scope = h.bytes()?;
        let cost = FileConfig { memory_kib: h.u32()?, passes: h.u32()?, lanes: h.u32()? };
        let salt = h.bytes()?;
        let ends = d.position() == blob.len() && h.position() == header.len();
        let sizes = salt.len() == SALT && commitment.len() == 32 && sealed.len() == NEK_LEN + TAG;
        if !ends || !sizes {
            return Ok(Err(Refusal::Malformed));
        }
        Ok(Ok(Self { header, scope, cost, salt, commitment, sealed }))
    }

    fn check(&self, scope: &Scope) -> Result<(), ProviderError> {
        if self.scope == scope.encode() {
            Ok(())
        } else {
            Err(ProviderError::Blob(Refusal::Domain))
        }
    }
}

fn wrap(
    passphrase: &Secret,
    scope: &Scope,
    cost: FileConfig,
    nek: &Secret,
) -> Result<Vec<u8>, ProviderError> {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt)?;
    let header = cbor(|e| {
        e.array(6)?.u64(FORMAT)?.bytes(&scope.encode())?;
        e.u32(cost.memory_kib)?.u32(cost.passes)?.u32(cost.lanes)?.bytes(&salt)?;
        Ok(())
    });
    let derived = derive(passphrase, cost, &salt)?;
    let (key, commitment) = derived.expose().split_at(32);
    let mut sealed = nek.duplicate();
    let tag = cipher(key)
        .encrypt_inout_detached(&Nonce::default(), &header, sealed.expose_mut().into())
        .map_err(|_| ProviderError::Blob(Refusal::Length))?;
    Ok(cbor(|e| {
        let sealed = [sealed.expose(), &tag].concat();
        e.array(3)?.bytes(&header)?.bytes(commitment)?.bytes(&sealed)?;
        Ok(())
    }))
}

fn unwrap(passphrase: &Secret, scope: &Scope, blob: &[u8]) -> Result<Secret, ProviderError> {
    let wrapped = Wrapped::parse(blob).map_err(ProviderError::Blob)?;
    wrapped.check(scope)?;
    let derived = derive(passphrase, wrapped.cost, wrapped.salt)?;
    let (key, commitment) = derived.expose().split_at(32);
    if !bool::from(commitment.ct_eq(wrapped.commitment)) {
        return Err(ProviderError::WrongPassphrase);
    }
    let (body, tag) = wrapped.sealed.split_at(NEK_LEN);
    let tag = <Tag>::try_from(tag).map_err(|_| ProviderError::Blob(Refusal::Length))?;
    let mut nek = Secret::from_slice(body);
    cipher(key)
        .decrypt_inout_detached(&Nonce::default(), wrapped.header, nek.expose_mut().into(), &tag)
        .map_err(|_| ProviderError::Blob(Refusal::Altered))?;
    Ok(nek)
}

/// Key (32 bytes) and commitment (32 bytes) from the passphrase. The salt is new for each wrap,
/// so the key is used once and the nonce may be zero.
fn derive(passphrase: &Secret, cost: FileConfig, salt: &[u8]) -> Result<Secret, ProviderError> {
    let params = cost.params()?;
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(params.block_count())
        .map_err(|error| ProviderError::Derivation(error.to_string()))?;
    memory.resize(params.block_count(), Block::default());
    let mut derived = Secret::zeroed(64);
    let result = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            passphrase.expose(),
            salt,
            derived.expose_mut(),
            &mut memory,
        );
    memory.zeroize();
    result.map_err(|error| ProviderError::Derivation(error.to_string()))?;
    Ok(derived)
}

fn cipher(key: &[u8]) -> Aes256Gcm {
    match Aes256Gcm::new_from_slice(key) {
        Ok(cipher) => cipher,
        Err(_) => unreachable!("the key has 32 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: FileConfig = FileConfig { memory_kib: 64, passes: 1, lanes: 1 };

    fn scope() -> Scope {
        Scope { fleet: [1; 16], node: [2; 16], domain: "drives".into(), epoch: 1 }
    }

    #[test]
    fn wraps_and_unwraps_and_tells_a_wrong_passphrase() {
        let nek = Secret::random(NEK_LEN).unwrap();
        let good = Secret::from_slice(b"correct horse battery");
        let blob = wrap(&good, &scope(), CHEAP, &nek).unwrap();
        assert!(unwrap(&good, &scope(), &blob).unwrap().matches(nek.expose()));
        let bad = Secret::from_slice(b"correct horse batterz");
        assert!(matches!(unwrap(&bad, &scope(), &blob), Err(ProviderError::WrongPassphrase)));
        let other = Scope { epoch: 2, ..scope() };
        let refused = unwrap(&good, &other, &blob);
        assert!(matches!(refused, Err(ProviderError::Blob(Refusal::Domain))));
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let nek = Secret::random(NEK_LEN).unwrap();
        let good = Secret::from_slice(b"correct horse battery");
        let blob = wrap(&good, &scope(), CHEAP, &nek).unwrap();
        for index in 0..blob.len() {
            let mut bad = blob.clone();
            bad[index] ^= 1;
            assert!(unwrap(&good, &scope(), &bad).is_err(), "byte {index}");
        }
        for len in 0..blob.len() {
            assert!(unwrap(&good, &scope(), &blob[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn an_absurd_cost_in_a_blob_allocates_nothing() {
        let cost = FileConfig { memory_kib: u32::MAX, passes: u32::MAX, lanes: u32::MAX };
        assert!(matches!(cost.params(), Err(ProviderError::Derivation(_))));
    }
}
