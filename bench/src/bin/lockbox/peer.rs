// SPDX-License-Identifier: MIT OR Apache-2.0
//! How others keep secrets in a TPM: each is a sealed object under a PCR policy, loaded and
//! unsealed by itself.

use std::str::FromStr;
use std::time::Instant;

use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{KeyHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Digest, EccPoint, KeyedHashScheme, PcrSelectionList, PcrSlot, Private, Public, PublicBuilder,
    PublicEccParametersBuilder, PublicKeyedHashParameters, SensitiveData, SymmetricDefinition,
    SymmetricDefinitionObject,
};
use tss_esapi::{Context, TctiNameConf};

/// Milliseconds to unseal `count` secrets, one after the other, on one connection.
pub fn unseal_each(tcti: &str, count: usize) -> f64 {
    let mut context = Context::new(TctiNameConf::from_str(tcti).unwrap()).unwrap();
    let parent = parent(&mut context);
    let (private, public) = seal(&mut context, parent);
    let start = Instant::now();
    for _ in 0..count {
        let object = context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.load(parent, private.clone(), public.clone())
            })
            .unwrap();
        let session = session(&mut context, parent, SessionType::Policy);
        let policy = PolicySession::try_from(session).unwrap();
        context.policy_pcr(policy, Digest::default(), pcrs()).unwrap();
        let data = context
            .execute_with_session(Some(session), |context| context.unseal(object.into()))
            .unwrap();
        assert_eq!(data.value(), [0x42; 32]);
        context.flush_context(SessionHandle::from(session).into()).unwrap();
        context.flush_context(object.into()).unwrap();
    }
    start.elapsed().as_secs_f64() * 1e3
}

fn pcrs() -> PcrSelectionList {
    PcrSelectionList::builder()
        .with_selection(HashingAlgorithm::Sha256, &[PcrSlot::Slot7])
        .build()
        .unwrap()
}

fn parent(context: &mut Context) -> KeyHandle {
    let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(
        SymmetricDefinitionObject::AES_128_CFB,
        EccCurve::NistP256,
    );
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_restricted(true)
        .with_decrypt(true)
        .with_no_da(true)
        .build()
        .unwrap();
    let template = PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters.build().unwrap())
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
        .unwrap();
    context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Owner, template, None, None, None, None)
        })
        .unwrap()
        .key_handle
}

fn seal(context: &mut Context, parent: KeyHandle) -> (Private, Public) {
    let trial = session(context, parent, SessionType::Trial);
    let policy = PolicySession::try_from(trial).unwrap();
    context.policy_pcr(policy, Digest::default(), pcrs()).unwrap();
    let digest = context.policy_get_digest(policy).unwrap();
    context.flush_context(SessionHandle::from(trial).into()).unwrap();
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_no_da(true)
        .build()
        .unwrap();
    let template = PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(digest)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
        .unwrap();
    let data = SensitiveData::try_from(vec![0x42; 32]).unwrap();
    let made = context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.create(parent, template, None, Some(data), None, None)
        })
        .unwrap();
    (made.out_private, made.out_public)
}

/// Salted and encrypting, as a careful peer does it.
fn session(context: &mut Context, parent: KeyHandle, kind: SessionType) -> AuthSession {
    let session = context
        .start_auth_session(
            Some(parent),
            None,
            None,
            kind,
            SymmetricDefinition::AES_128_CFB,
            HashingAlgorithm::Sha256,
        )
        .unwrap()
        .unwrap();
    let (attributes, mask) = SessionAttributesBuilder::new()
        .with_continue_session(true)
        .with_decrypt(true)
        .with_encrypt(true)
        .build();
    context.tr_sess_set_attributes(session, attributes, mask).unwrap();
    session
}
