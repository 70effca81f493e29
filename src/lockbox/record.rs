// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sealed form of one secret, as `docs/formats/lockbox.md` describes it.
//!
//! A record is AES-256-GCM under a key used once (HKDF-SHA384 of the NEK and a random salt), with
//! a key commitment, and a header that says exactly which secret it is. Nothing in a header is
//! believed: it must equal what the store's row promises before any cryptography runs.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Nonce, Tag};
use minicbor::Decoder;
use subtle::ConstantTimeEq;

use super::encode::cbor;
use super::epoch::{EpochKeys, Scope};
use super::error::{Error, Refusal};
use super::id::{KeyId, Kind};
use crate::secret::Secret;

/// Longest secret a record holds, in bytes.
pub const MAX_SECRET: usize = 4096;

/// Longest record that is looked at, in bytes.
const MAX_RECORD: usize = 8192;
const FORMAT: u64 = 1;
/// HKDF-SHA384, AES-256-GCM with a zero nonce, 32-byte commitment.
const SUITE: u64 = 1;
const PAD: usize = 64;
const LENGTH_PREFIX: usize = 2;
const TAG: usize = 16;

/// Which secret a record holds, besides its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordId {
    /// The Key ID.
    pub(super) key: KeyId,
    /// Its version.
    pub(super) version: u64,
    /// What it opens.
    pub(super) kind: Kind,
}

/// Seals `secret` as that version of that key.
///
/// # Errors
/// A secret of more than [`MAX_SECRET`] bytes, or no randomness for the salt.
pub(super) fn seal(keys: &EpochKeys, id: &RecordId, secret: &Secret) -> Result<Vec<u8>, Error> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt)?;
    seal_with_salt(keys, id, secret, &salt)
}

/// Opens a record that must be exactly this version of this key in this scope.
///
/// # Errors
/// The first check that fails, in the order of [`Refusal`].
pub(super) fn open(keys: &EpochKeys, id: &RecordId, record: &[u8]) -> Result<Secret, Refusal> {
    let parts = Parts::parse(record)?;
    let header = Header::parse(parts.header)?;
    header.check(keys.scope(), id)?;
    if parts.sealed.len() != header.length as usize + TAG {
        return Err(Refusal::Length);
    }
    let key = keys.record_key(parts.salt);
    if !bool::from(key.commitment().ct_eq(parts.commitment)) {
        return Err(Refusal::WrongKey);
    }
    let (body, tag) = parts.sealed.split_at(header.length as usize);
    let tag = <Tag>::try_from(tag).map_err(|_| Refusal::Length)?;
    let mut padded = Secret::from_slice(body);
    key.cipher()
        .decrypt_inout_detached(&Nonce::default(), parts.header, padded.expose_mut().into(), &tag)
        .map_err(|_| Refusal::Altered)?;
    unpad(&padded)
}

fn seal_with_salt(
    keys: &EpochKeys,
    id: &RecordId,
    secret: &Secret,
    salt: &[u8; 32],
) -> Result<Vec<u8>, Error> {
    let mut padded = pad(secret)?;
    let length = padded.expose().len() as u64;
    let header = Header::write(keys.scope(), id, length);
    let key = keys.record_key(salt);
    let tag = key
        .cipher()
        .encrypt_inout_detached(&Nonce::default(), &header, padded.expose_mut().into())
        .map_err(|_| Error::Input("the secret is too long to seal".into()))?;
    let mut sealed = padded.expose().to_vec();
    sealed.extend_from_slice(&tag);
    Ok(Parts { header: &header, salt, commitment: key.commitment(), sealed: &sealed }.write())
}

/// Length, secret, zeros up to a multiple of 64: the record's size tells an empty PIN from a full
/// one as little as it can.
fn pad(secret: &Secret) -> Result<Secret, Error> {
    let bytes = secret.expose();
    if bytes.len() > MAX_SECRET {
        return Err(Error::Input(format!("a secret has at most {MAX_SECRET} bytes")));
    }
    let mut padded = Secret::zeroed((LENGTH_PREFIX + bytes.len()).next_multiple_of(PAD));
    let (prefix, rest) = padded.expose_mut().split_at_mut(LENGTH_PREFIX);
    // MAX_SECRET fits in 16 bits.
    prefix.copy_from_slice(&(bytes.len() as u16).to_be_bytes());
    if let Some(place) = rest.get_mut(..bytes.len()) {
        place.copy_from_slice(bytes);
    }
    Ok(padded)
}

fn unpad(padded: &Secret) -> Result<Secret, Refusal> {
    let bytes = padded.expose();
    let (prefix, rest) = bytes.split_first_chunk::<LENGTH_PREFIX>().ok_or(Refusal::Length)?;
    let length = usize::from(u16::from_be_bytes(*prefix));
    let (secret, zeros) = rest.split_at_checked(length).ok_or(Refusal::Length)?;
    let canonical = (LENGTH_PREFIX + length).next_multiple_of(PAD) == bytes.len();
    if !canonical || zeros.iter().any(|byte| *byte != 0) {
        return Err(Refusal::Length);
    }
    Ok(Secret::from_slice(secret))
}

/// The four strings of a record.
struct Parts<'a> {
    header: &'a [u8],
    salt: &'a [u8; 32],
    commitment: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn parse(record: &'a [u8]) -> Result<Self, Refusal> {
        if record.len() > MAX_RECORD {
            return Err(Refusal::Malformed);
        }
        let parts = Self::decode(record).ok().flatten().ok_or(Refusal::Malformed)?;
        // One encoding only: what does not come out the same was not written by `write`.
        if parts.write() == record { Ok(parts) } else { Err(Refusal::Malformed) }
    }

    fn decode(record: &'a [u8]) -> Result<Option<Self>, minicbor::decode::Error> {
        let mut d = Decoder::new(record);
        if d.array()? != Some(4) {
            return Ok(None);
        }
        let header = d.bytes()?;
        let salt = d.bytes()?;
        let (commitment, sealed) = (d.bytes()?, d.bytes()?);
        let Ok(salt) = salt.try_into() else { return Ok(None) };
        Ok((commitment.len() == 32).then_some(Self { header, salt, commitment, sealed }))
    }

    fn write(&self) -> Vec<u8> {
        cbor(|e| {
            e.array(4)?.bytes(self.header)?.bytes(self.salt)?;
            e.bytes(self.commitment)?.bytes(self.sealed)?;
            Ok(())
        })
    }
}

/// Keys of the header's map, in ascending order.
mod field {
    pub(super) const FORMAT: u64 = 0;
    pub(super) const SUITE: u64 = 1;
    pub(super) const FLEET: u64 = 2;
    pub(super) const NODE: u64 = 3;
    pub(super) const DOMAIN: u64 = 4;
    pub(super) const EPOCH: u64 = 5;
    pub(super) const KEY: u64 = 6;
    pub(super) const VERSION: u64 = 7;
    pub(super) const KIND: u64 = 8;
    pub(super) const LENGTH: u64 = 9;
    /// Reserved: the provider of a second key half, combined with this one (R20).
    pub(super) const SECOND_HALF: u64 = 10;
}

struct Header<'a> {
    format: u64,
    suite: u64,
    fleet: &'a [u8],
    node: &'a [u8],
    domain: &'a str,
    epoch: u64,
    key: &'a [u8],
    version: u64,
    kind: &'a str,
    length: u64,
    second_half: bool,
}

impl<'a> Header<'a> {
    fn write(scope: &Scope, id: &RecordId, length: u64) -> Vec<u8> {
        cbor(|e| {
            e.map(10)?;
            e.u64(field::FORMAT)?.u64(FORMAT)?;
            e.u64(field::SUITE)?.u64(SUITE)?;
            e.u64(field::FLEET)?.bytes(&scope.fleet)?;
            e.u64(field::NODE)?.bytes(&scope.node)?;
            e.u64(field::DOMAIN)?.str(&scope.domain)?;
            e.u64(field::EPOCH)?.u64(scope.epoch)?;
            e.u64(field::KEY)?.bytes(id.key.as_bytes())?;
            e.u64(field::VERSION)?.u64(id.version)?;
            e.u64(field::KIND)?.str(id.kind.name())?;
            e.u64(field::LENGTH)?.u64(length)?;
            Ok(())
        })
    }

    fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let (header, end) = Self::decode(bytes).ok().flatten().ok_or(Refusal::Malformed)?;
        if end == bytes.len() { Ok(header) } else { Err(Refusal::Malformed) }
    }

    fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, minicbor::decode::Error> {
        let mut d = Decoder::new(bytes);
        let fields = d.map()?;
        expect(&mut d, field::FORMAT)?;
        let format = d.u64()?;
        expect(&mut d, field::SUITE)?;
        let suite = d.u64()?;
        expect(&mut d, field::FLEET)?;
        let fleet = d.bytes()?;
        expect(&mut d, field::NODE)?;
        let node = d.bytes()?;
        expect(&mut d, field::DOMAIN)?;
        let domain = d.str()?;
        expect(&mut d, field::EPOCH)?;
        let epoch = d.u64()?;
        expect(&mut d, field::KEY)?;
        let key_id = d.bytes()?;
        expect(&mut d, field::VERSION)?;
        let version = d.u64()?;
        expect(&mut d, field::KIND)?;
        let kind = d.str()?;
        expect(&mut d, field::LENGTH)?;
        let length = d.u64()?;
        let second_half = match fields {
            Some(10) => false,
            Some(11) => {
                expect(&mut d, field::SECOND_HALF)?;
                d.skip()?;
                true
            }
            _ => return Ok(None),
        };
        let header = Self {
            format,
            suite,
            fleet,
            node,
            domain,
            epoch,
            key: key_id,
            version,
            kind,
            length,
            second_half,
        };
        Ok(Some((header, d.position())))
    }

    fn check(&self, scope: &Scope, id: &RecordId) -> Result<(), Refusal> {
        let checks = [
            (self.format == FORMAT, Refusal::FormatVersion),
            (self.suite == SUITE, Refusal::Suite),
            (!self.second_half, Refusal::SecondHalf),
            (self.fleet == scope.fleet, Refusal::Fleet),
            (self.node == scope.node, Refusal::Node),
            (self.domain == scope.domain, Refusal::Domain),
            (self.epoch == scope.epoch, Refusal::Epoch),
            (self.key == id.key.as_bytes(), Refusal::KeyId),
            (self.version == id.version, Refusal::Version),
            (self.kind == id.kind.name(), Refusal::Kind),
            (self.length <= MAX_RECORD as u64, Refusal::Length),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, reason)) => Err(reason),
        }
    }
}

fn expect(d: &mut Decoder<'_>, wanted: u64) -> Result<(), minicbor::decode::Error> {
    if d.u64()? == wanted {
        Ok(())
    } else {
        Err(minicbor::decode::Error::message("field out of order"))
    }
}

#[cfg(test)]
mod tests;
