// SPDX-License-Identifier: MIT OR Apache-2.0
//! What follows from a node epoch key (NEK): record keys, the row MAC key, the epoch's tag.

use aes_gcm::aead::KeyInit;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use minicbor::Encoder;
use sha2::Sha384;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::encode::cbor;
use crate::secret::Secret;

/// Length of a NEK.
pub const NEK_LEN: usize = 32;

/// Where a lockbox's keys apply. All of it goes into every derivation and every record's header,
/// so nothing sealed for one place opens in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The fleet; on a single machine a random value of its own.
    pub fleet: [u8; 16],
    /// This machine's lockbox.
    pub node: [u8; 16],
    /// The service scope, for example `drives`.
    pub domain: String,
    /// The number of the domain's master key, from 1.
    pub epoch: u64,
}

impl Scope {
    /// `CBOR(fleet, node, domain, epoch)`, the info of every derivation.
    pub(super) fn encode(&self) -> Vec<u8> {
        cbor(|e| self.write(e.array(4)?))
    }

    fn write(&self, e: &mut Encoder<&mut Vec<u8>>) -> super::encode::Written {
        e.bytes(&self.fleet)?.bytes(&self.node)?.str(&self.domain)?.u64(self.epoch)?;
        Ok(())
    }
}

/// An opened epoch: its NEK and what hangs from it.
pub struct EpochKeys {
    scope: Scope,
    nek: Secret,
}

impl EpochKeys {
    /// From an opened NEK.
    #[must_use]
    pub fn new(scope: Scope, nek: Secret) -> Self {
        Self { scope, nek }
    }

    /// Where these keys apply.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Public name of the NEK: 16 bytes that tell two NEKs apart and give nothing away.
    #[must_use]
    pub fn tag(&self) -> [u8; 16] {
        let mut tag = [0; 16];
        self.derive(None, "opalbox-tag-1", &mut tag);
        tag
    }

    /// Key and commitment for a record with this salt.
    pub(super) fn record_key(&self, salt: &[u8; 32]) -> RecordKey {
        let mut bytes = Zeroizing::new([0; 64]);
        self.derive(Some(salt), "opalbox-record-1", bytes.as_mut());
        RecordKey(bytes)
    }

    /// MAC over the encoded content of a row.
    pub(super) fn row_mac(&self, content: &[u8]) -> [u8; 48] {
        let mut key = Zeroizing::new([0; 48]);
        self.derive(None, "opalbox-row-1", key.as_mut());
        mac384(key.as_ref(), content)
    }

    /// Whether `mac` is the MAC of that content, in constant time.
    pub(super) fn row_mac_matches(&self, content: &[u8], mac: &[u8]) -> bool {
        self.row_mac(content).ct_eq(mac).into()
    }

    /// Answers a challenge with the NEK, without giving it away.
    #[must_use]
    pub fn prove(&self, nonce: &[u8]) -> [u8; 48] {
        let mut key = Zeroizing::new([0; 48]);
        self.derive(None, "opalbox-prove-1", key.as_mut());
        mac384(key.as_ref(), nonce)
    }

    fn derive(&self, salt: Option<&[u8]>, purpose: &str, out: &mut [u8]) {
        let info = cbor(|e| {
            e.array(5)?.str(purpose)?;
            self.scope.write(e)
        });
        let hkdf = Hkdf::<Sha384>::new(salt, self.nek.expose());
        // HKDF-SHA384 gives up to 255 × 48 bytes; every caller asks for at most 64.
        if hkdf.expand(&info, out).is_err() {
            unreachable!("the output length is fixed and short")
        }
    }
}

/// Key (32 bytes) and commitment (32 bytes) of one record.
pub(super) struct RecordKey(Zeroizing<[u8; 64]>);

impl RecordKey {
    pub(super) fn cipher(&self) -> aes_gcm::Aes256Gcm {
        let (key, _) = self.0.split_at(32);
        match aes_gcm::Aes256Gcm::new_from_slice(key) {
            Ok(cipher) => cipher,
            Err(_) => unreachable!("the key has 32 bytes"),
        }
    }

    pub(super) fn commitment(&self) -> &[u8] {
        self.0.split_at(32).1
    }
}

fn mac384(key: &[u8], content: &[u8]) -> [u8; 48] {
    let Ok(mut mac) = Hmac::<Sha384>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(content);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(change: impl Fn(&mut Scope)) -> EpochKeys {
        let mut scope = Scope { fleet: [1; 16], node: [2; 16], domain: "drives".into(), epoch: 1 };
        change(&mut scope);
        EpochKeys::new(scope, Secret::from_slice(&[9; NEK_LEN]))
    }

    #[test]
    fn every_part_of_the_scope_changes_every_key() {
        let base = keys(|_| {});
        let others = [
            keys(|s| s.fleet[0] = 0),
            keys(|s| s.node[15] = 0),
            keys(|s| s.domain.push('x')),
            keys(|s| s.epoch = 2),
        ];
        for other in others {
            assert_ne!(base.tag(), other.tag());
            assert_ne!(base.row_mac(b"row"), other.row_mac(b"row"));
            assert_ne!(base.prove(b"nonce"), other.prove(b"nonce"));
            assert_ne!(base.record_key(&[0; 32]).0[..], other.record_key(&[0; 32]).0[..]);
        }
    }

    #[test]
    fn purposes_do_not_share_keys() {
        let keys = keys(|_| {});
        assert_ne!(keys.row_mac(b"x"), keys.prove(b"x"));
        let record = keys.record_key(&[3; 32]);
        assert_ne!(record.0[..32], record.0[32..]);
        assert_ne!(record.0[..], keys.record_key(&[4; 32]).0[..]);
    }
}
