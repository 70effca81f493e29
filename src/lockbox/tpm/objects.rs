// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lockbox's objects in a TPM: their templates, attributes and Names.

use serde::{Deserialize, Serialize};
use sha2::{Sha256, Sha384};
use tss_esapi::attributes::{NvIndexAttributes, NvIndexAttributesBuilder, ObjectAttributesBuilder};
use tss_esapi::constants::NvIndexType;
use tss_esapi::handles::NvIndexTpmHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    Digest, EccPoint, EccScheme, HashScheme, HmacScheme, KeyedHashScheme, NvPublic, Public,
    PublicBuilder, PublicEccParameters, PublicEccParametersBuilder, PublicKeyedHashParameters,
    SymmetricDefinition, SymmetricDefinitionObject,
};

/// First choice of persistent handle for the lockbox parent.
pub(super) const PARENT_HANDLE: u32 = 0x8101_0b01;
/// How many handles from there are tried when other programs hold them.
pub(super) const PARENT_HANDLES: u32 = 15;
/// Bytes of a slot.
pub(super) const SLOT_LEN: usize = 32;
/// Length of the counter.
pub(super) const HEAD_LEN: usize = 8;
/// NV indexes that belong to the TPM's owner.
pub(super) const NV_FIRST: u32 = 0x0180_0000;
/// See [`NV_FIRST`].
pub(super) const NV_LAST: u32 = 0x01bf_ffff;

/// The algorithms a TPM is used with, probed when it is provisioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suite {
    /// P-384, AES-256, SHA-384.
    P384,
    /// P-256, AES-128, SHA-256: for TPMs that have no more.
    P256,
}

type Built<T> = Result<T, tss_esapi::Error>;

impl Suite {
    /// Strongest first.
    pub(super) const ALL: [Self; 2] = [Self::P384, Self::P256];

    pub(super) fn number(self) -> u8 {
        match self {
            Self::P384 => 1,
            Self::P256 => 2,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.number() == number)
    }

    pub(super) fn hash_algorithm(self) -> HashingAlgorithm {
        match self {
            Self::P384 => HashingAlgorithm::Sha384,
            Self::P256 => HashingAlgorithm::Sha256,
        }
    }

    pub(super) fn session_cipher(self) -> SymmetricDefinition {
        match self {
            Self::P384 => SymmetricDefinition::AES_256_CFB,
            Self::P256 => SymmetricDefinition::AES_128_CFB,
        }
    }

    /// Hash of the concatenated parts.
    pub(super) fn hash(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::P384 => hash::<Sha384>(parts),
            Self::P256 => hash::<Sha256>(parts),
        }
    }

    pub(super) fn parent_parameters(self) -> Built<PublicEccParameters> {
        let cipher = match self {
            Self::P384 => SymmetricDefinitionObject::AES_256_CFB,
            Self::P256 => SymmetricDefinitionObject::AES_128_CFB,
        };
        PublicEccParametersBuilder::new_restricted_decryption_key(cipher, self.curve()).build()
    }

    /// LBP, the parent of everything: empty auth, no dictionary-attack counting.
    pub(super) fn parent(self) -> Built<Public> {
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_sensitive_data_origin(true)
            .with_user_with_auth(true)
            .with_restricted(true)
            .with_decrypt(true)
            .with_no_da(true)
            .build()?;
        PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::Ecc)
            .with_name_hashing_algorithm(self.hash_algorithm())
            .with_object_attributes(attributes)
            .with_ecc_parameters(self.parent_parameters()?)
            .with_ecc_unique_identifier(EccPoint::default())
            .build()
    }

    /// MK, a domain's HMAC key: usable by policy only.
    pub(super) fn master(self, policy: &[u8]) -> Built<Public> {
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_sensitive_data_origin(true)
            .with_admin_with_policy(true)
            .with_sign_encrypt(true)
            .with_no_da(true)
            .build()?;
        let scheme = KeyedHashScheme::Hmac { hmac_scheme: HmacScheme::new(self.hash_algorithm()) };
        PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::KeyedHash)
            .with_name_hashing_algorithm(self.hash_algorithm())
            .with_object_attributes(attributes)
            .with_auth_policy(Digest::try_from(policy)?)
            .with_keyed_hash_parameters(PublicKeyedHashParameters::new(scheme))
            .with_keyed_hash_unique_identifier(Digest::default())
            .build()
    }

    /// The enrolment key, which signs approved boot states: usable with owner authorisation only.
    pub(super) fn enrolment(self, policy: &[u8]) -> Built<Public> {
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_sensitive_data_origin(true)
            .with_admin_with_policy(true)
            .with_sign_encrypt(true)
            .with_no_da(true)
            .build()?;
        let scheme = EccScheme::EcDsa(HashScheme::new(self.hash_algorithm()));
        let parameters =
            PublicEccParametersBuilder::new_unrestricted_signing_key(scheme, self.curve());
        PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::Ecc)
            .with_name_hashing_algorithm(self.hash_algorithm())
            .with_object_attributes(attributes)
            .with_auth_policy(Digest::try_from(policy)?)
            .with_ecc_parameters(parameters.build()?)
            .with_ecc_unique_identifier(EccPoint::default())
            .build()
    }

    /// The admin box: sealed bytes behind a PIN, wrong PINs counted by the TPM.
    pub(super) fn admin_box(self) -> Built<Public> {
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_user_with_auth(true)
            .build()?;
        PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::KeyedHash)
            .with_name_hashing_algorithm(self.hash_algorithm())
            .with_object_attributes(attributes)
            .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
            .with_keyed_hash_unique_identifier(Digest::default())
            .build()
    }

    /// A slot: read and written by policy, whole writes only. Its auth must be empty: a non-empty
    /// one enters the session's encryption key, and a read would give wrong bytes with success.
    pub(super) fn slot(self, index: u32, policy: &[u8]) -> Built<NvPublic> {
        NvPublic::builder()
            .with_nv_index(NvIndexTpmHandle::new(index)?)
            .with_index_name_algorithm(self.hash_algorithm())
            .with_index_attributes(slot_attributes(false)?)
            .with_index_auth_policy(Digest::try_from(policy)?)
            .with_data_area_size(SLOT_LEN)
            .build()
    }

    /// The counter that anchors the store's head: incremented by policy, read by anyone. Not
    /// ORDERLY, or a power cut makes it jump.
    pub(super) fn head(self, index: u32, policy: &[u8]) -> Built<NvPublic> {
        NvPublic::builder()
            .with_nv_index(NvIndexTpmHandle::new(index)?)
            .with_index_name_algorithm(self.hash_algorithm())
            .with_index_attributes(head_attributes(false)?)
            .with_index_auth_policy(Digest::try_from(policy)?)
            .with_data_area_size(HEAD_LEN)
            .build()
    }

    /// The Name a slot has before and after it was written: computed here, never taken from the
    /// wire (TPM 2.0 Part 1 §16, TPMS_NV_PUBLIC).
    pub(super) fn slot_name(self, index: u32, policy: &[u8], written: bool) -> Built<Vec<u8>> {
        self.nv_name(index, slot_attributes(written)?, policy, SLOT_LEN)
    }

    /// As [`Suite::slot_name`], of the counter.
    pub(super) fn head_name(self, index: u32, policy: &[u8], written: bool) -> Built<Vec<u8>> {
        self.nv_name(index, head_attributes(written)?, policy, HEAD_LEN)
    }

    fn nv_name(
        self,
        index: u32,
        attributes: NvIndexAttributes,
        policy: &[u8],
        size: usize,
    ) -> Built<Vec<u8>> {
        let algorithm = self.hash_number().to_be_bytes();
        let digest = self.hash(&[
            &index.to_be_bytes(),
            &algorithm,
            &u32::try_from(attributes)?.to_be_bytes(),
            &length(policy),
            policy,
            &(size as u16).to_be_bytes(),
        ]);
        Ok([&algorithm[..], &digest].concat())
    }

    /// TPM_ALG_ID of the hash.
    fn hash_number(self) -> u16 {
        match self {
            Self::P384 => 0x000c,
            Self::P256 => 0x000b,
        }
    }

    fn curve(self) -> EccCurve {
        match self {
            Self::P384 => EccCurve::NistP384,
            Self::P256 => EccCurve::NistP256,
        }
    }
}

fn head_attributes(written: bool) -> Built<NvIndexAttributes> {
    NvIndexAttributesBuilder::new()
        .with_nv_index_type(NvIndexType::Counter)
        .with_policy_write(true)
        .with_auth_read(true)
        .with_no_da(true)
        .with_written(written)
        .build()
}

fn slot_attributes(written: bool) -> Built<NvIndexAttributes> {
    NvIndexAttributesBuilder::new()
        .with_nv_index_type(NvIndexType::Ordinary)
        .with_policy_read(true)
        .with_policy_write(true)
        .with_write_all(true)
        .with_no_da(true)
        .with_written(written)
        .build()
}

fn length(bytes: &[u8]) -> [u8; 2] {
    // Digests have at most 64 bytes.
    (bytes.len() as u16).to_be_bytes()
}

fn hash<H: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = H::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec()
}
