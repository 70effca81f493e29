// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the TPM provider notes in the store: handles, Names, blobs. Nothing here is secret, and
//! nothing of it opens anything without the TPM.

use minicbor::{Decoder, Encoder};
use tss_esapi::structures::{Private, Public};
use tss_esapi::traits::{Marshall, UnMarshall};

use super::code::{TpmError, refused};
use super::objects::Suite;
use super::policy::Approval;
use crate::lockbox::encode::{Written, cbor};
use crate::lockbox::provider::{Place, ProviderError};

type Decoded<T> = Result<T, minicbor::decode::Error>;

/// The lockbox parent: where it is and what it must be.
#[derive(Clone)]
pub(super) struct Parent {
    pub(super) suite: Suite,
    pub(super) handle: u32,
    pub(super) name: Vec<u8>,
}

/// A TPM object outside the TPM.
#[derive(Clone)]
pub(super) struct Blob {
    private: Vec<u8>,
    public: Vec<u8>,
}

impl Blob {
    pub(super) fn new(private: &Private, public: &Public) -> Result<Self, TpmError> {
        let public = public.marshall().map_err(refused("encode a public area"))?;
        Ok(Self { private: private.value().to_vec(), public })
    }

    pub(super) fn objects(&self) -> Result<(Private, Public), TpmError> {
        let private = Private::try_from(&self.private[..]);
        let public = Public::unmarshall(&self.public);
        match (private, public) {
            (Ok(private), Ok(public)) => Ok((private, public)),
            _ => Err(TpmError::Notes("a key blob".into())),
        }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        cbor(|e| self.encode(e))
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        whole(bytes, Self::decode).ok_or_else(|| TpmError::Notes("a key blob".into()))
    }

    /// The object's Name under its own name algorithm (TPM 2.0 Part 1 §16).
    pub(super) fn name(&self, suite: Suite) -> Vec<u8> {
        let algorithm: [u8; 2] = match suite {
            Suite::P384 => [0x00, 0x0c],
            Suite::P256 => [0x00, 0x0b],
        };
        [&algorithm[..], &suite.hash(&[&self.public])].concat()
    }

    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) -> Written {
        e.array(2)?.bytes(&self.private)?.bytes(&self.public)?;
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Decoded<Self> {
        d.array()?;
        Ok(Self { private: d.bytes()?.to_vec(), public: d.bytes()?.to_vec() })
    }
}

/// A domain's objects and the policy above them.
pub(super) struct Domain {
    /// Counts up when all old approvals are to become useless.
    pub(super) generation: u64,
    pub(super) master: Blob,
}

/// A domain class: who must be there for its keys to open. `attended` (with PIN) will follow.
pub(super) const CLASS: &str = "auto";
/// The class of the counter, which has approvals of its own.
pub(super) const HEAD: &str = "head";

/// The counter that anchors the store's head.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) handle: u32,
    /// Whether it is defined and counts.
    pub(super) ready: bool,
}

/// A slot and who is in it.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) handle: u32,
    pub(super) state: SlotState,
    /// The label and epoch of its occupant.
    pub(super) label: Vec<u8>,
    pub(super) epoch: u64,
}

/// State of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// About to be defined at this handle; may or may not exist.
    Intended,
    /// Written, belongs to no epoch.
    Idle,
    /// Being written for its occupant.
    Filling,
    /// Holds its occupant's share.
    Live,
}

const STATES: [SlotState; 4] =
    [SlotState::Intended, SlotState::Idle, SlotState::Filling, SlotState::Live];

pub(super) fn parent(place: &Place<'_>) -> Result<Option<Parent>, ProviderError> {
    read(place, "parent", "the parent key", |d| {
        d.array()?;
        let suite = Suite::from_number(d.u8()?).ok_or_else(unknown)?;
        Ok(Parent { suite, handle: d.u32()?, name: d.bytes()?.to_vec() })
    })
}

pub(super) fn set_parent(place: &mut Place<'_>, parent: &Parent) -> Result<(), ProviderError> {
    let value = cbor(|e| {
        e.array(3)?.u8(parent.suite.number())?.u32(parent.handle)?.bytes(&parent.name)?;
        Ok(())
    });
    place.notes.write("note parent", "parent", Some(&value))
}

pub(super) fn enrolment(place: &Place<'_>) -> Result<Option<Blob>, ProviderError> {
    read(place, "enrolment", "the enrolment key", Blob::decode)
}

pub(super) fn set_enrolment(place: &mut Place<'_>, blob: &Blob) -> Result<(), ProviderError> {
    place.notes.write("note enrolment key", "enrolment", Some(&blob.write()))
}

pub(super) fn admin_box(place: &Place<'_>) -> Result<Option<Blob>, ProviderError> {
    read(place, "admin-box", "the admin box", Blob::decode)
}

pub(super) fn set_admin_box(place: &mut Place<'_>, blob: &Blob) -> Result<(), ProviderError> {
    place.notes.write("note admin box", "admin-box", Some(&blob.write()))
}

pub(super) fn domains(place: &Place<'_>) -> Result<Vec<String>, ProviderError> {
    let names = place.notes.names(DOMAIN)?;
    Ok(names.iter().filter_map(|name| name.strip_prefix(DOMAIN)).map(str::to_owned).collect())
}

pub(super) fn find_domain(
    place: &Place<'_>,
    domain: &str,
) -> Result<Option<Domain>, ProviderError> {
    read(place, &format!("{DOMAIN}{domain}"), "a domain", |d| {
        d.array()?;
        if d.str()? != CLASS {
            return Err(unknown());
        }
        Ok(Domain { generation: d.u64()?, master: Blob::decode(d)? })
    })
}

pub(super) fn domain(place: &Place<'_>, domain: &str) -> Result<Domain, ProviderError> {
    Ok(find_domain(place, domain)?.ok_or_else(|| TpmError::Notes("a domain".into()))?)
}

pub(super) fn set_domain(
    place: &mut Place<'_>,
    name: &str,
    domain: &Domain,
) -> Result<(), ProviderError> {
    let value = cbor(|e| {
        e.array(3)?.str(CLASS)?.u64(domain.generation)?;
        domain.master.encode(e)
    });
    place.notes.write("note domain", &format!("{DOMAIN}{name}"), Some(&value))
}

pub(super) fn approvals(
    place: &Place<'_>,
    class: &str,
    generation: u64,
) -> Result<Vec<Approval>, ProviderError> {
    let name = format!("approvals/{class}/{generation}");
    let list = read(place, &name, "the approvals", |d| {
        let count = d.array()?.unwrap_or(0);
        (0..count).map(|_| Approval::decode(d)).collect()
    })?;
    Ok(list.unwrap_or_default())
}

pub(super) fn set_approvals(
    place: &mut Place<'_>,
    class: &str,
    generation: u64,
    approvals: &[Approval],
) -> Result<(), ProviderError> {
    let value = cbor(|e| {
        e.array(approvals.len() as u64)?;
        approvals.iter().try_for_each(|approval| approval.encode(e))
    });
    place.notes.write("note approvals", &format!("approvals/{class}/{generation}"), Some(&value))
}

pub(super) fn head(place: &Place<'_>) -> Result<Option<Head>, ProviderError> {
    read(place, HEAD, "the counter", |d| {
        d.array()?;
        Ok(Head { handle: d.u32()?, ready: d.bool()? })
    })
}

pub(super) fn set_head(
    place: &mut Place<'_>,
    step: &'static str,
    head: Head,
) -> Result<(), ProviderError> {
    let value = cbor(|e| {
        e.array(2)?.u32(head.handle)?.bool(head.ready)?;
        Ok(())
    });
    place.notes.write(step, HEAD, Some(&value))
}

pub(super) fn slot(
    place: &Place<'_>,
    domain: &str,
    number: u8,
) -> Result<Option<Slot>, ProviderError> {
    read(place, &format!("slot/{number}/{domain}"), "a slot", |d| {
        d.array()?;
        let handle = d.u32()?;
        let state = *STATES.get(usize::from(d.u8()?)).ok_or_else(unknown)?;
        Ok(Slot { handle, state, label: d.bytes()?.to_vec(), epoch: d.u64()? })
    })
}

pub(super) fn set_slot(
    place: &mut Place<'_>,
    step: &'static str,
    domain: &str,
    number: u8,
    slot: &Slot,
) -> Result<(), ProviderError> {
    let state = STATES.iter().position(|state| *state == slot.state).unwrap_or_default();
    let value = cbor(|e| {
        // Four states.
        e.array(4)?.u32(slot.handle)?.u8(state as u8)?.bytes(&slot.label)?.u64(slot.epoch)?;
        Ok(())
    });
    place.notes.write(step, &format!("slot/{number}/{domain}"), Some(&value))
}

const DOMAIN: &str = "domain/";

fn read<T>(
    place: &Place<'_>,
    name: &str,
    what: &'static str,
    decode: impl FnOnce(&mut Decoder<'_>) -> Decoded<T>,
) -> Result<Option<T>, ProviderError> {
    let Some(bytes) = place.notes.read(name)? else { return Ok(None) };
    Ok(Some(whole(&bytes, decode).ok_or_else(|| TpmError::Notes(what.into()))?))
}

fn whole<T>(bytes: &[u8], decode: impl FnOnce(&mut Decoder<'_>) -> Decoded<T>) -> Option<T> {
    let mut d = Decoder::new(bytes);
    let value = decode(&mut d).ok()?;
    (d.position() == bytes.len()).then_some(value)
}

fn unknown() -> minicbor::decode::Error {
    minicbor::decode::Error::message("unknown value")
}
