// SPDX-License-Identifier: MIT OR Apache-2.0
//! The policy above a domain's key and slots, and the approvals that satisfy it.
//!
//! The objects carry PolicyAuthorize(enrolment key, reference). An approval is that key's
//! signature over one PCR state, kept as the TPM's ticket; so new boot states need new approvals
//! and no resealing.

use minicbor::{Decoder, Encoder};
use sha2::{Digest as _, Sha256};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, ObjectHandle};
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{
    Digest, HashScheme, HashcheckTicket, Name, Nonce, SignatureScheme, Ticket, VerifiedTicket,
};
use tss_esapi::tss2_esys::{TPM2B_DIGEST, TPMT_TK_HASHCHECK, TPMT_TK_VERIFIED};

use super::code::{TpmError, refused};
use super::conversation::Conversation;
use super::measured::PcrSelection;
use super::notes::Blob;
use super::objects::Suite;
use crate::lockbox::encode::{Written, cbor};
use crate::secret::Secret;

/// TPM_CC_PolicySecret, TPM_CC_PolicyAuthorize, TPM_RH_OWNER, TPM_RH_NULL, TPM_ST_HASHCHECK.
const POLICY_SECRET: u32 = 0x0000_0151;
const POLICY_AUTHORIZE: u32 = 0x0000_016a;
const RH_OWNER: u32 = 0x4000_0001;
const RH_NULL: u32 = 0x4000_0007;
const ST_HASHCHECK: u16 = 0x8024;

/// Signed permission for one PCR state.
pub(super) struct Approval {
    /// The policy digest of that state.
    pub(super) digest: Vec<u8>,
    ticket: StoredTicket,
    /// The PCR values, to say later which one changed.
    pub(super) values: Vec<(u8, Vec<u8>)>,
}

/// The fields of TPMT_TK_VERIFIED, for which the library has no encoding.
struct StoredTicket {
    tag: u16,
    hierarchy: u32,
    digest: Vec<u8>,
}

/// What an object of a domain class and policy generation is bound to. The same on every machine,
/// without the epoch, so one signature serves a fleet and a rotation needs none.
pub(super) fn reference(class: &str, generation: u64) -> Vec<u8> {
    let text = cbor(|e| {
        e.array(3)?.str("opalbox-policy-1")?.str(class)?.u64(generation)?;
        Ok(())
    });
    Sha256::digest(&text).to_vec()
}

/// Digest of PolicyAuthorize(key, reference) (TPM 2.0 Part 3 §23.16).
pub(super) fn authorize_digest(suite: Suite, key_name: &[u8], reference: &[u8]) -> Vec<u8> {
    let zero = vec![0; suite.hash(&[]).len()];
    let inner = suite.hash(&[&zero, &POLICY_AUTHORIZE.to_be_bytes(), key_name]);
    suite.hash(&[&inner, reference])
}

/// Digest of PolicySecret(owner) (TPM 2.0 Part 3 §23.4).
pub(super) fn owner_digest(suite: Suite) -> Vec<u8> {
    let zero = vec![0; suite.hash(&[]).len()];
    let inner = suite.hash(&[&zero, &POLICY_SECRET.to_be_bytes(), &RH_OWNER.to_be_bytes()]);
    suite.hash(&[&inner])
}

/// Satisfies the policy in `session` for the state measured now.
pub(super) fn satisfy(
    talk: &mut Conversation,
    session: PolicySession,
    pcrs: &PcrSelection,
    bound: &Bound<'_>,
) -> Result<(), TpmError> {
    let list = pcrs.list()?;
    let context = talk.context();
    context
        .policy_pcr(session, Digest::default(), list)
        .map_err(refused("check the boot state"))?;
    let approval = match bound.approvals {
        [] => None,
        [only] => Some(only),
        several => {
            let digest =
                context.policy_get_digest(session).map_err(refused("read a policy digest"))?;
            several.iter().find(|approval| approval.digest == digest.value())
        }
    };
    let approval = approval.ok_or(TpmError::NotApproved { changed: Vec::new() })?;
    let name = Name::try_from(bound.key_name.to_vec()).map_err(refused("name a key"))?;
    let digest = Digest::try_from(&approval.digest[..]).map_err(refused("take a digest"))?;
    let reference = Nonce::try_from(bound.reference).map_err(refused("take a digest"))?;
    let ticket = approval.ticket.restore()?;
    talk.context()
        .policy_authorize(session, digest, reference, &name, ticket)
        .map_err(refused("check the boot state's approval"))
        .map_err(|error| match error.code() {
            Some(0x1c4) => TpmError::NotApproved { changed: Vec::new() },
            _ => error,
        })
}

/// What [`satisfy`] checks against.
pub(super) struct Bound<'a> {
    pub(super) key_name: &'a [u8],
    pub(super) reference: &'a [u8],
    pub(super) approvals: &'a [Approval],
}

/// Signs the state measured now. `owner` is the TPM's owner authorisation.
pub(super) fn approve(
    talk: &mut Conversation,
    enrolment: &Blob,
    pcrs: &PcrSelection,
    reference: &[u8],
    owner: &Secret,
) -> Result<Approval, TpmError> {
    let suite = talk.suite();
    let list = pcrs.list()?;
    let plain = talk.session(SessionType::Hmac)?;

    // The digest comes back in an encrypted, authenticated answer: nobody on the bus chooses it.
    let (session, policy) = talk.policy_session()?;
    talk.context()
        .policy_pcr(policy, Digest::default(), list)
        .map_err(refused("measure the boot state"))?;
    let digest =
        talk.secret(plain, "read a policy digest", |context| context.policy_get_digest(policy))?;
    talk.end(session)?;

    let key = talk.load(enrolment, "load the enrolment key")?;
    talk.set_auth(ObjectHandle::Owner, owner)?;
    let (session, policy) = talk.policy_session()?;
    let no = Digest::default;
    talk.secret(plain, "prove the owner authorisation", |context| {
        context.policy_secret(
            policy,
            AuthHandle::Owner,
            Nonce::default(),
            no(),
            Nonce::default(),
            None,
        )
    })?;
    let signed = Digest::try_from(suite.hash(&[digest.value(), reference]))
        .map_err(refused("take a digest"))?;
    let scheme = SignatureScheme::EcDsa { hash_scheme: HashScheme::new(suite.hash_algorithm()) };
    let unrestricted = HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
        tag: ST_HASHCHECK,
        hierarchy: RH_NULL,
        digest: TPM2B_DIGEST::default(),
    })
    .map_err(refused("sign the boot state"))?;
    let signature = talk.secret(session, "sign the boot state", |context| {
        context.sign(key, signed.clone(), scheme, unrestricted)
    })?;
    let ticket = talk.secret(plain, "verify the approval", |context| {
        context.verify_signature(key, signed, signature)
    })?;
    talk.end(session)?;
    talk.end(plain)?;
    talk.flush(ObjectHandle::from(key))?;
    Ok(Approval {
        digest: digest.value().to_vec(),
        ticket: StoredTicket::keep(ticket)?,
        values: Vec::new(),
    })
}

impl StoredTicket {
    fn keep(ticket: VerifiedTicket) -> Result<Self, TpmError> {
        let digest = ticket.digest().to_vec();
        let raw = TPMT_TK_VERIFIED::try_from(ticket).map_err(refused("keep a ticket"))?;
        Ok(Self { tag: raw.tag, hierarchy: raw.hierarchy, digest })
    }

    fn restore(&self) -> Result<VerifiedTicket, TpmError> {
        let mut digest = TPM2B_DIGEST { size: 0, ..TPM2B_DIGEST::default() };
        let place = digest
            .buffer
            .get_mut(..self.digest.len())
            .ok_or_else(|| TpmError::Notes("an approval".into()))?;
        place.copy_from_slice(&self.digest);
        // At most 64, or `get_mut` had failed.
        digest.size = self.digest.len() as u16;
        let raw = TPMT_TK_VERIFIED { tag: self.tag, hierarchy: self.hierarchy, digest };
        VerifiedTicket::try_from(raw).map_err(|_| TpmError::Notes("an approval".into()))
    }
}

impl Approval {
    pub(super) fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) -> Written {
        e.array(5)?.bytes(&self.digest)?;
        e.u16(self.ticket.tag)?.u32(self.ticket.hierarchy)?.bytes(&self.ticket.digest)?;
        e.array(self.values.len() as u64)?;
        for (pcr, value) in &self.values {
            e.array(2)?.u8(*pcr)?.bytes(value)?;
        }
        Ok(())
    }

    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, minicbor::decode::Error> {
        d.array()?;
        let digest = d.bytes()?.to_vec();
        let ticket =
            StoredTicket { tag: d.u16()?, hierarchy: d.u32()?, digest: d.bytes()?.to_vec() };
        let count = d.array()?.unwrap_or(0);
        let values = (0..count)
            .map(|_| {
                d.array()?;
                Ok((d.u8()?, d.bytes()?.to_vec()))
            })
            .collect::<Result<_, minicbor::decode::Error>>()?;
        Ok(Self { digest, ticket, values })
    }
}

/// The PCRs in which `now` differs from the approved state nearest to it.
pub(super) fn changed(approvals: &[Approval], now: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let differing = |approval: &Approval| -> Vec<u8> {
        let differs = |(pcr, value): &(u8, Vec<u8>)| {
            !approval.values.iter().any(|(other, before)| other == pcr && before == value)
        };
        now.iter().filter(|pair| differs(pair)).map(|(pcr, _)| *pcr).collect()
    };
    approvals.iter().map(differing).min_by_key(Vec::len).unwrap_or_default()
}

/// The policy digest of the objects of a class.
pub(super) fn class_policy(
    suite: Suite,
    enrolment: &Blob,
    class: &str,
    generation: u64,
) -> Vec<u8> {
    authorize_digest(suite, &enrolment.name(suite), &reference(class, generation))
}
