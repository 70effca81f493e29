// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's two NV slots: defining, filling, reading, overwriting, and the node epoch key that
//! follows from one.
//!
//! Two slots, so that a new epoch's share is written while the old one still opens. No owner
//! authorisation is needed once they are defined.

use hkdf::Hkdf;
use sha2::Sha256;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, ObjectHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::structures::{MaxBuffer, MaxNvBuffer, NvPublic};

use super::TpmConfig;
use super::code::{TpmError, refused};
use super::conversation::{self, Conversation, absent_is};
use super::notes::{self, Blob, CLASS, Parent, Slot, SlotState};
use super::objects::{NV_FIRST, NV_LAST, SLOT_LEN};
use super::policy::{self, Approval, Bound};
use crate::lockbox::encode::cbor;
use crate::lockbox::epoch::{NEK_LEN, Scope};
use crate::lockbox::provider::{KeyState, Place, ProviderError};
use crate::secret::Secret;

/// Numbers of a domain's slots.
pub(super) const SLOTS: [u8; 2] = [0, 1];
/// How many NV handles are tried when other programs hold them.
pub(super) const HANDLES: usize = 16;
/// TPM_RC_NV_DEFINED.
const NV_DEFINED: u32 = 0x14c;

/// Whether both slots exist and are written.
pub(super) fn are_defined(place: &Place<'_>, domain: &str) -> Result<bool, ProviderError> {
    for number in SLOTS {
        match notes::slot(place, domain, number)? {
            Some(slot) if slot.state != SlotState::Intended => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Defines and writes both slots, or what is missing of that.
pub(super) fn define_both(
    config: &TpmConfig,
    place: &mut Place<'_>,
    parent: &Parent,
    enrolment: &Blob,
    domain: &str,
    owner: &Secret,
) -> Result<(), ProviderError> {
    for number in SLOTS {
        let slot = match notes::slot(place, domain, number)? {
            Some(slot) if slot.state != SlotState::Intended => continue,
            slot => define(config, place, parent, enrolment, (domain, number), slot, owner)?,
        };
        let door = Door::open(config, place, domain, &slot)?;
        place.faults.around("write new slot", || door.refill())?;
        let idle = Slot { state: SlotState::Idle, ..slot };
        notes::set_slot(place, "note slot idle", domain, number, &idle)?;
    }
    Ok(())
}

/// Gives the epoch a slot with a fresh share, or finds the one it has under this label.
pub(super) fn occupy(
    config: &TpmConfig,
    place: &mut Place<'_>,
    scope: &Scope,
    label: &[u8],
) -> Result<u8, ProviderError> {
    let domain = &scope.domain;
    let number = match labelled(place, domain, label)? {
        Some(number) => number,
        None => idle(place, domain)?.ok_or(TpmError::NoIdleSlot)?,
    };
    let slot = known(place, domain, number)?;
    if slot.state == SlotState::Live {
        return Ok(number);
    }
    let (label, epoch) = (label.to_vec(), scope.epoch);
    let filling = Slot { handle: slot.handle, state: SlotState::Filling, label, epoch };
    notes::set_slot(place, "note slot filling", domain, number, &filling)?;
    let door = Door::open(config, place, domain, &filling)?;
    place.faults.around("fill slot", || door.refill())?;
    let live = Slot { state: SlotState::Live, ..filling };
    notes::set_slot(place, "note slot live", domain, number, &live)?;
    Ok(number)
}

/// The slot that was occupied under a label, even if that was interrupted.
pub(super) fn labelled(
    place: &Place<'_>,
    domain: &str,
    label: &[u8],
) -> Result<Option<u8>, ProviderError> {
    find(place, domain, |slot| {
        matches!(slot.state, SlotState::Filling | SlotState::Live) && slot.label == label
    })
}

/// Rebuilds the NEK: one salted session, twelve commands.
pub(super) fn open_nek(
    config: &TpmConfig,
    place: &Place<'_>,
    scope: &Scope,
    number: u8,
    master: &Blob,
) -> Result<Secret, ProviderError> {
    let slot = known(place, &scope.domain, number)?;
    if slot.epoch != scope.epoch || slot.state == SlotState::Idle {
        return Err(TpmError::SlotChanged.into());
    }
    Door::open(config, place, &scope.domain, &slot)?.nek(scope, master)
}

/// What has become of a slot's occupant.
pub(super) fn state(
    config: &TpmConfig,
    place: &Place<'_>,
    domain: &str,
    number: u8,
) -> Result<KeyState, ProviderError> {
    let slot = known(place, domain, number)?;
    if matches!(slot.state, SlotState::Idle | SlotState::Intended) {
        return Ok(KeyState::Destroyed);
    }
    let door = Door::open(config, place, domain, &slot)?;
    let found = conversation::hold(&config.tcti, &door.parent, |talk| door.index(talk).map(drop));
    match found {
        Ok(()) => Ok(KeyState::Active),
        Err(TpmError::SlotChanged) => Ok(KeyState::Destroyed),
        Err(error) => Err(error.into()),
    }
}

/// Overwrites a slot with fresh bytes: its epoch opens nowhere any more, not from old copies of
/// the store and not after other approvals.
pub(super) fn retire(
    config: &TpmConfig,
    place: &mut Place<'_>,
    domain: &str,
    number: u8,
) -> Result<(), ProviderError> {
    let slot = known(place, domain, number)?;
    if slot.state == SlotState::Idle {
        return Ok(());
    }
    let door = Door::open(config, place, domain, &slot)?;
    place.faults.around("overwrite slot", || door.refill())?;
    let idle = Slot { state: SlotState::Idle, label: Vec::new(), epoch: 0, ..slot };
    notes::set_slot(place, "note slot retired", domain, number, &idle)
}

fn idle(place: &Place<'_>, domain: &str) -> Result<Option<u8>, ProviderError> {
    find(place, domain, |slot| slot.state == SlotState::Idle)
}

fn find(
    place: &Place<'_>,
    domain: &str,
    wanted: impl Fn(&Slot) -> bool,
) -> Result<Option<u8>, ProviderError> {
    for number in SLOTS {
        if notes::slot(place, domain, number)?.is_some_and(|slot| wanted(&slot)) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn known(place: &Place<'_>, domain: &str, number: u8) -> Result<Slot, ProviderError> {
    Ok(notes::slot(place, domain, number)?.ok_or_else(|| TpmError::Notes("a slot".into()))?)
}

/// Defines a slot at its noted handle, or at another one if that turns out to be someone else's.
fn define(
    config: &TpmConfig,
    place: &mut Place<'_>,
    parent: &Parent,
    enrolment: &Blob,
    (domain, number): (&str, u8),
    mut slot: Option<Slot>,
    owner: &Secret,
) -> Result<Slot, ProviderError> {
    let generation = notes::domain(place, domain)?.generation;
    let policy = policy::class_policy(parent.suite, enrolment, CLASS, generation);
    for _ in 0..HANDLES {
        let intended = match slot.take() {
            Some(slot) => slot,
            None => {
                let fresh = Slot {
                    handle: random_handle()?,
                    state: SlotState::Intended,
                    label: Vec::new(),
                    epoch: 0,
                };
                notes::set_slot(place, "note slot intended", domain, number, &fresh)?;
                fresh
            }
        };
        let faults = place.faults;
        let defined = faults.around("define slot", || {
            conversation::hold(&config.tcti, parent, |talk| {
                let doing = "define a key slot";
                let suite = talk.suite();
                let handle = intended.handle;
                let public = suite.slot(handle, &policy).map_err(refused(doing))?;
                let names = [false, true]
                    .map(|written| suite.slot_name(handle, &policy, written))
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(refused(doing))?;
                define_at(talk, handle, public, &names, owner)
            })
            .map_err(ProviderError::from)
        })?;
        if defined {
            return Ok(intended);
        }
    }
    Err(TpmError::Lacks("a free NV index".into()).into())
}

/// Whether the index at that handle is now ours: one of these Names.
pub(super) fn define_at(
    talk: &mut Conversation,
    handle: u32,
    public: NvPublic,
    names: &[Vec<u8>],
    owner: &Secret,
) -> Result<bool, TpmError> {
    let doing = "define an NV index";
    talk.set_auth(ObjectHandle::Owner, owner)?;
    let session = talk.session(SessionType::Hmac)?;
    let defined = talk
        .secret(session, doing, |context| context.nv_define_space(Provision::Owner, None, public));
    match defined {
        Ok(_) => {
            talk.end(session)?;
            Ok(true)
        }
        // An interrupted run of ours, or another program's index.
        Err(error) if error.code() == Some(NV_DEFINED) => {
            let index = raw_index(talk, handle)?;
            let name = talk.context().tr_get_name(index.into()).map_err(refused(doing))?;
            Ok(names.iter().any(|ours| ours == name.value()))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn random_handle() -> Result<u32, ProviderError> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    Ok(NV_FIRST + u32::from_be_bytes(bytes) % (NV_LAST - NV_FIRST + 1))
}

pub(super) fn raw_index(talk: &mut Conversation, handle: u32) -> Result<NvIndexHandle, TpmError> {
    let doing = "open a key slot";
    let handle =
        NvIndexTpmHandle::new(handle).map_err(|_| TpmError::Notes("a slot's handle".into()))?;
    let object = talk
        .context()
        .tr_from_tpm_public(TpmHandle::NvIndex(handle))
        .map_err(refused(doing))
        .map_err(absent_is(TpmError::SlotChanged))?;
    Ok(object.into())
}

/// Everything that is needed to use one slot.
struct Door<'a> {
    config: &'a TpmConfig,
    parent: Parent,
    key_name: Vec<u8>,
    reference: Vec<u8>,
    policy: Vec<u8>,
    approvals: Vec<Approval>,
    handle: u32,
}

impl<'a> Door<'a> {
    fn open(
        config: &'a TpmConfig,
        place: &Place<'_>,
        domain: &str,
        slot: &Slot,
    ) -> Result<Self, ProviderError> {
        let parent =
            notes::parent(place)?.ok_or_else(|| TpmError::Notes("the parent key".into()))?;
        let enrolment =
            notes::enrolment(place)?.ok_or_else(|| TpmError::Notes("the enrolment key".into()))?;
        let generation = notes::domain(place, domain)?.generation;
        Ok(Self {
            config,
            key_name: enrolment.name(parent.suite),
            reference: policy::reference(CLASS, generation),
            policy: policy::class_policy(parent.suite, &enrolment, CLASS, generation),
            approvals: notes::approvals(place, CLASS, generation)?,
            handle: slot.handle,
            parent,
        })
    }

    /// Writes fresh random bytes, the TPM's mixed with ours, and reads them back.
    fn refill(&self) -> Result<(), ProviderError> {
        let own = Secret::random(SLOT_LEN)?;
        self.hold(|talk| {
            let index = raw_index(talk, self.handle)?;
            self.check_name(talk, index, &[false, true])?;
            let (session, policy) = talk.policy_session()?;
            let drawn =
                talk.secret(session, "draw random bytes", |context| context.get_random(SLOT_LEN))?;
            if drawn.value().len() != SLOT_LEN {
                return Err(TpmError::Lacks("random bytes".into()));
            }
            let mut share = own.duplicate();
            for (byte, drawn) in share.expose_mut().iter_mut().zip(drawn.value()) {
                *byte ^= drawn;
            }
            policy::satisfy(talk, policy, &self.config.pcrs, &self.bound())?;
            let data =
                MaxNvBuffer::try_from(share.expose()).map_err(refused("write a key slot"))?;
            talk.secret(session, "write a key slot", |context| {
                context.nv_write(NvAuth::NvIndex(index), index, data, 0)
            })?;
            policy::satisfy(talk, policy, &self.config.pcrs, &self.bound())?;
            let read = talk.secret(session, "read a key slot", |context| {
                context.nv_read(NvAuth::NvIndex(index), index, SLOT_LEN as u16, 0)
            })?;
            talk.end(session)?;
            if share.matches(read.value()) { Ok(()) } else { Err(TpmError::SlotChanged) }
        })
    }

    fn nek(&self, scope: &Scope, master: &Blob) -> Result<Secret, ProviderError> {
        let input = cbor(|e| {
            e.array(3)?.str("opalbox-nek")?.str(&scope.domain)?.u64(scope.epoch)?;
            Ok(())
        });
        self.hold(|talk| {
            let index = self.index(talk)?;
            let key = talk.load(master, "load the domain's key")?;
            let hash = talk.suite().hash_algorithm();
            let (session, policy) = talk.policy_session()?;
            policy::satisfy(talk, policy, &self.config.pcrs, &self.bound())?;
            let buffer =
                MaxBuffer::try_from(&input[..]).map_err(refused("use the domain's key"))?;
            let mac = talk.secret(session, "use the domain's key", |context| {
                context.hmac(key.into(), buffer, hash)
            })?;
            // A successful use has reset the session's policy: satisfy it again.
            policy::satisfy(talk, policy, &self.config.pcrs, &self.bound())?;
            let share = talk.secret(session, "read a key slot", |context| {
                context.nv_read(NvAuth::NvIndex(index), index, SLOT_LEN as u16, 0)
            })?;
            talk.end(session)?;
            talk.flush(ObjectHandle::from(key))?;
            derive(share.value(), mac.value(), scope)
        })
    }

    /// The written slot, its Name checked.
    fn index(&self, talk: &mut Conversation) -> Result<NvIndexHandle, TpmError> {
        let index = raw_index(talk, self.handle)?;
        self.check_name(talk, index, &[true])?;
        Ok(index)
    }

    fn check_name(
        &self,
        talk: &mut Conversation,
        index: NvIndexHandle,
        written: &[bool],
    ) -> Result<(), TpmError> {
        let name = talk.context().tr_get_name(index.into()).map_err(refused("name a key slot"))?;
        for written in written {
            let ours = talk
                .suite()
                .slot_name(self.handle, &self.policy, *written)
                .map_err(refused("name a key slot"))?;
            if name.value() == ours {
                return Ok(());
            }
        }
        Err(TpmError::SlotChanged)
    }

    fn bound(&self) -> Bound<'_> {
        Bound { key_name: &self.key_name, reference: &self.reference, approvals: &self.approvals }
    }

    fn hold<T>(
        &self,
        talk: impl Fn(&mut Conversation) -> Result<T, TpmError>,
    ) -> Result<T, ProviderError> {
        match conversation::hold(&self.config.tcti, &self.parent, talk) {
            Err(TpmError::NotApproved { .. }) => {
                let now = conversation::read_pcrs(&self.config.tcti, &self.config.pcrs)?;
                let changed = policy::changed(&self.approvals, &now);
                Err(TpmError::NotApproved { changed }.into())
            }
            other => Ok(other?),
        }
    }
}

fn derive(share: &[u8], mac: &[u8], scope: &Scope) -> Result<Secret, TpmError> {
    if share.len() != SLOT_LEN || mac.len() < NEK_LEN {
        return Err(TpmError::SlotChanged);
    }
    let mut nek = Secret::zeroed(NEK_LEN);
    let hkdf = Hkdf::<Sha256>::new(Some(share), mac);
    if hkdf.expand(&scope.encode(), nek.expose_mut()).is_err() {
        unreachable!("the output length is fixed and short")
    }
    Ok(nek)
}
