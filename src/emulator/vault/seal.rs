// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three operations on keys at rest: a KEK from a PIN, wrapping under a KEK, sealing to a
//! public key.
//!
//! Sealing is X25519 with an ephemeral key, HKDF-SHA256 over the shared secret with both public
//! keys as salt, and AES-256-GCM. The associated data names the drive, what is sealed and for
//! whom, so that no sealed key can stand in for another. `docs/formats/image.md` has the bytes.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use hkdf::Hkdf;
use opal::Uid;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::VaultError;
use crate::secret::Secret;

/// Length of a public key, a private key and a KEK.
pub(super) const KEY: usize = 32;
/// Length of a KEK's salt.
pub(super) const SALT: usize = 16;

/// What a wrapped or sealed key is and whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An authority's private key, wrapped under its PIN.
    PinCheck(Uid),
    /// An authority's private key, sealed to the vault.
    Member(Uid),
    /// The vault's private key, sealed to an administrator.
    Vault(Uid),
    /// A key that protects data, sealed to a user, or to the vault (`None`).
    Data {
        /// Number of the key (see [`super::KeyName`]).
        key: u32,
        /// For whom.
        to: Option<Uid>,
    },
}

/// An X25519 pair of which the private half is in hand.
pub(super) struct Pair {
    pub(super) private: Secret,
    pub(super) public: [u8; KEY],
}

impl Pair {
    pub(super) fn generate() -> Result<Self, VaultError> {
        let private = random_secret(KEY)?;
        let public = public_of(&private).ok_or(VaultError::Random)?;
        Ok(Self { private, public })
    }
}

/// `PBKDF2-HMAC-SHA256(pin, salt, rounds)`.
pub(super) fn kek(pin: &[u8], salt: &[u8; SALT], rounds: u32) -> Secret {
    let mut key = vec![0u8; KEY];
    pbkdf2::pbkdf2_hmac::<Sha256>(pin, salt, rounds, &mut key);
    Secret::new(key)
}

/// Encrypts `plain` under `kek`: nonce, ciphertext, tag.
pub(super) fn wrap(
    drive: &[u8; 16],
    purpose: Purpose,
    kek: &Secret,
    plain: &Secret,
) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0u8; NONCE];
    random(&mut nonce)?;
    let mut wrapped = nonce.to_vec();
    wrapped.extend(encrypt(kek.expose(), &nonce, drive, purpose, plain)?);
    Ok(wrapped)
}

/// Undoes [`wrap`]; `None` for a wrong KEK, which is how a PIN is checked.
pub(super) fn unwrap(
    drive: &[u8; 16],
    purpose: Purpose,
    kek: &Secret,
    wrapped: &[u8],
) -> Option<Secret> {
    let (nonce, rest) = wrapped.split_first_chunk::<NONCE>()?;
    decrypt(kek.expose(), nonce, drive, purpose, rest)
}

/// Encrypts `plain` to whoever has the private half of `to`: ephemeral public key, ciphertext, tag.
pub(super) fn seal(
    drive: &[u8; 16],
    purpose: Purpose,
    to: &[u8; KEY],
    plain: &Secret,
) -> Result<Vec<u8>, VaultError> {
    let ephemeral = Pair::generate()?;
    let keys = agree(&ephemeral.private, to, &ephemeral.public, to).ok_or(VaultError::Damaged)?;
    let (key, nonce) = keys.split_first_chunk::<KEY>().ok_or(VaultError::Damaged)?;
    let nonce = nonce.first_chunk::<NONCE>().ok_or(VaultError::Damaged)?;
    let mut sealed = ephemeral.public.to_vec();
    sealed.extend(encrypt(key, nonce, drive, purpose, plain)?);
    Ok(sealed)
}

/// Undoes [`seal`] with the recipient's private half.
pub(super) fn open(
    drive: &[u8; 16],
    purpose: Purpose,
    private: &Secret,
    sealed: &[u8],
) -> Option<Secret> {
    let (ephemeral, rest) = sealed.split_first_chunk::<KEY>()?;
    let own = public_of(private)?;
    let keys = agree(private, ephemeral, ephemeral, &own)?;
    let (key, nonce) = keys.split_first_chunk::<KEY>()?;
    decrypt(key, nonce.first_chunk::<NONCE>()?, drive, purpose, rest)
}

/// `length` random bytes that are secret.
pub(super) fn random_secret(length: usize) -> Result<Secret, VaultError> {
    let mut bytes = vec![0u8; length];
    random(&mut bytes)?;
    Ok(Secret::new(bytes))
}

/// Fills `bytes` from the operating system.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(bytes).map_err(|_| VaultError::Random)
}

const NONCE: usize = 12;

fn public_of(private: &Secret) -> Option<[u8; KEY]> {
    let mut bytes: [u8; KEY] = private.expose().try_into().ok()?;
    let public = PublicKey::from(&StaticSecret::from(bytes)).to_bytes();
    bytes.zeroize();
    Some(public)
}

/// Key and nonce from the shared secret. The nonce may be derived because the key is fresh.
fn agree(
    private: &Secret,
    peer: &[u8; KEY],
    ephemeral: &[u8; KEY],
    recipient: &[u8; KEY],
) -> Option<Zeroizing<[u8; KEY + NONCE]>> {
    let mut bytes: [u8; KEY] = private.expose().try_into().ok()?;
    let shared = StaticSecret::from(bytes).diffie_hellman(&PublicKey::from(*peer));
    bytes.zeroize();
    if !shared.was_contributory() {
        return None;
    }
    let mut salt = [0u8; 2 * KEY];
    salt[..KEY].copy_from_slice(ephemeral);
    salt[KEY..].copy_from_slice(recipient);
    let mut keys = Zeroizing::new([0u8; KEY + NONCE]);
    Hkdf::<Sha256>::new(Some(&salt), shared.as_bytes())
        .expand(b"opal-emulator seal 1", keys.as_mut())
        .ok()?;
    Some(keys)
}

fn encrypt(
    key: &[u8],
    nonce: &[u8; NONCE],
    drive: &[u8; 16],
    purpose: Purpose,
    plain: &Secret,
) -> Result<Vec<u8>, VaultError> {
    let cipher = Aes256Gcm::new_from_slice(key).map_err(|_| VaultError::Damaged)?;
    let aad = purpose.associated_data(drive);
    cipher
        .encrypt(&Nonce::from(*nonce), Payload { msg: plain.expose(), aad: &aad })
        .map_err(|_| VaultError::Damaged)
}

fn decrypt(
    key: &[u8],
    nonce: &[u8; NONCE],
    drive: &[u8; 16],
    purpose: Purpose,
    sealed: &[u8],
) -> Option<Secret> {
    let cipher = Aes256Gcm::new_from_slice(key).ok()?;
    let aad = purpose.associated_data(drive);
    cipher.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: &aad }).ok().map(Secret::new)
}

impl Purpose {
    /// Fixed width, so that no two purposes share bytes: drive, kind, key, recipient.
    fn associated_data(self, drive: &[u8; 16]) -> [u8; 16 + 1 + 4 + 8] {
        let (kind, key, uid) = match self {
            Self::PinCheck(authority) => (1u8, 0, authority),
            Self::Member(authority) => (2, 0, authority),
            Self::Vault(authority) => (3, 0, authority),
            Self::Data { key, to: Some(authority) } => (4, key, authority),
            Self::Data { key, to: None } => (5, key, Uid::NULL),
        };
        let mut bytes = [0u8; 29];
        bytes[..16].copy_from_slice(drive);
        bytes[16] = kind;
        bytes[17..21].copy_from_slice(&key.to_be_bytes());
        bytes[21..].copy_from_slice(&uid.to_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVE: [u8; 16] = [7; 16];
    const USER: Uid = Uid::new(9, 0x0003_0001);

    #[test]
    fn a_sealed_key_opens_for_its_recipient_and_purpose_only() {
        let (one, two) = (Pair::generate().unwrap(), Pair::generate().unwrap());
        let secret = random_secret(64).unwrap();
        let purpose = Purpose::Data { key: 3, to: Some(USER) };
        let sealed = seal(&DRIVE, purpose, &one.public, &secret).unwrap();
        assert!(open(&DRIVE, purpose, &one.private, &sealed).unwrap().matches(secret.expose()));
        assert!(open(&DRIVE, purpose, &two.private, &sealed).is_none());
        assert!(open(&[8; 16], purpose, &one.private, &sealed).is_none());
        for other in [
            Purpose::Data { key: 2, to: Some(USER) },
            Purpose::Data { key: 3, to: None },
            Purpose::Member(USER),
        ] {
            assert!(open(&DRIVE, other, &one.private, &sealed).is_none());
        }
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&DRIVE, purpose, &one.private, &bad).is_none(), "byte {at}");
            assert!(open(&DRIVE, purpose, &one.private, &sealed[..at]).is_none());
        }
        assert_ne!(sealed, seal(&DRIVE, purpose, &one.public, &secret).unwrap());
    }

    #[test]
    fn a_wrap_checks_the_pin() {
        let salt = [1; SALT];
        let pair = Pair::generate().unwrap();
        let purpose = Purpose::PinCheck(USER);
        let wrapped = wrap(&DRIVE, purpose, &kek(b"right", &salt, 2), &pair.private).unwrap();
        let opened = unwrap(&DRIVE, purpose, &kek(b"right", &salt, 2), &wrapped).unwrap();
        assert_eq!(public_of(&opened), Some(pair.public));
        for (pin, rounds) in [(&b"wrong"[..], 2), (b"right", 3), (b"", 2)] {
            assert!(unwrap(&DRIVE, purpose, &kek(pin, &salt, rounds), &wrapped).is_none());
        }
    }

    /// RFC 7914 §11 gives PBKDF2-HMAC-SHA256("passwd", "salt", 1), of which these are the first
    /// 32 bytes; here the salt has 16 bytes, so the known answer is checked through the crate.
    #[test]
    fn the_kdf_is_pbkdf2_hmac_sha256() {
        let mut known = [0u8; 4];
        pbkdf2::pbkdf2_hmac::<Sha256>(b"passwd", b"salt", 1, &mut known);
        assert_eq!(known, [0x55, 0xac, 0x04, 0x6e]);
        let mut expected = [0u8; KEY];
        pbkdf2::pbkdf2_hmac::<Sha256>(b"pin", &[9; SALT], 10, &mut expected);
        assert!(kek(b"pin", &[9; SALT], 10).matches(&expected));
    }
}
