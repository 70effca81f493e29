// SPDX-License-Identifier: MIT OR Apache-2.0
//! The NV counter that anchors the store's head, so that an old store put back is noticed.
//!
//! It only ever counts up, by a policy that the boot state must satisfy; anyone may read it. A
//! counter that is removed and made anew goes on above every value a counter in this TPM ever had
//! (TPM 2.0 Part 3 §31.8), so nobody can wind it back.

use tss_esapi::constants::SessionType;
use tss_esapi::handles::NvIndexHandle;
use tss_esapi::interface_types::resource_handles::NvAuth;

use super::TpmConfig;
use super::code::{TpmError, refused};
use super::conversation::{self, Conversation};
use super::notes::{self, Blob, HEAD, Head, Parent};
use super::objects::HEAD_LEN;
use super::policy::{self, Bound};
use super::provision::GENERATION;
use super::slot::{HANDLES, define_at, random_handle, raw_index};
use crate::lockbox::provider::{Place, ProviderError};
use crate::secret::Secret;

/// TPM_RC_NV_UNINITIALIZED.
const NEVER_COUNTED: u32 = 0x14a;

/// Makes the counter and its first value, or what is missing of that.
pub(super) fn define(
    config: &TpmConfig,
    place: &mut Place<'_>,
    parent: &Parent,
    enrolment: &Blob,
    owner: &Secret,
) -> Result<(), ProviderError> {
    let mut noted = notes::head(place)?;
    if noted.is_some_and(|head| head.ready) {
        return Ok(());
    }
    let policy = policy::class_policy(parent.suite, enrolment, HEAD, GENERATION);
    for _ in 0..HANDLES {
        let head = match noted.take() {
            Some(head) => head,
            None => {
                let fresh = Head { handle: random_handle()?, ready: false };
                notes::set_head(place, "note counter intended", fresh)?;
                fresh
            }
        };
        let faults = place.faults;
        let defined = faults.around("define counter", || {
            conversation::hold(&config.tcti, parent, |talk| {
                let doing = "define the counter";
                let suite = talk.suite();
                let public = suite.head(head.handle, &policy).map_err(refused(doing))?;
                let names = [false, true]
                    .map(|written| suite.head_name(head.handle, &policy, written))
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(refused(doing))?;
                define_at(talk, head.handle, public, &names, owner)
            })
            .map_err(ProviderError::from)
        })?;
        if defined {
            let counter = Counter::of(config, place, head.handle)?;
            faults.around("start counter", || counter.start())?;
            return notes::set_head(place, "note counter", Head { ready: true, ..head });
        }
    }
    Err(TpmError::Lacks("a free NV index".into()).into())
}

/// Its value.
pub(super) fn read(config: &TpmConfig, place: &Place<'_>) -> Result<u64, ProviderError> {
    Counter::noted(config, place)?.hold(|counter, talk| {
        let index = counter.index(talk, &[true])?;
        value(talk, index)
    })
}

/// Moves it to `to` if it is at the value before.
pub(super) fn advance(config: &TpmConfig, place: &Place<'_>, to: u64) -> Result<(), ProviderError> {
    Counter::noted(config, place)?.hold(|counter, talk| {
        let index = counter.index(talk, &[true])?;
        let now = value(talk, index)?;
        if now.checked_add(1) == Some(to) {
            counter.increment(talk, index)?;
        }
        if value(talk, index)? == to { Ok(()) } else { Err(TpmError::SlotChanged) }
    })
}

/// Everything that is needed to use the counter.
struct Counter<'a> {
    config: &'a TpmConfig,
    parent: Parent,
    key_name: Vec<u8>,
    policy: Vec<u8>,
    approvals: Vec<policy::Approval>,
    handle: u32,
}

impl<'a> Counter<'a> {
    fn noted(config: &'a TpmConfig, place: &Place<'_>) -> Result<Self, ProviderError> {
        match notes::head(place)? {
            Some(head) if head.ready => Self::of(config, place, head.handle),
            _ => Err(TpmError::Notes("the counter".into()).into()),
        }
    }

    fn of(config: &'a TpmConfig, place: &Place<'_>, handle: u32) -> Result<Self, ProviderError> {
        let missing = |what: &'static str| TpmError::Notes(what.into());
        let parent = notes::parent(place)?.ok_or_else(|| missing("the parent key"))?;
        let enrolment = notes::enrolment(place)?.ok_or_else(|| missing("the enrolment key"))?;
        Ok(Self {
            config,
            key_name: enrolment.name(parent.suite),
            policy: policy::class_policy(parent.suite, &enrolment, HEAD, GENERATION),
            approvals: notes::approvals(place, HEAD, GENERATION)?,
            handle,
            parent,
        })
    }

    /// A counter reads only once it has counted.
    fn start(&self) -> Result<(), ProviderError> {
        self.hold(|counter, talk| {
            let index = counter.index(talk, &[false, true])?;
            match value(talk, index) {
                Ok(_) => Ok(()),
                Err(error) if error.code() == Some(NEVER_COUNTED) => counter.increment(talk, index),
                Err(error) => Err(error),
            }
        })
    }

    fn increment(&self, talk: &mut Conversation, index: NvIndexHandle) -> Result<(), TpmError> {
        let reference = policy::reference(HEAD, GENERATION);
        let bound =
            Bound { key_name: &self.key_name, reference: &reference, approvals: &self.approvals };
        let (session, policy) = talk.policy_session()?;
        policy::satisfy(talk, policy, &self.config.pcrs, &bound)?;
        talk.secret(session, "count a change", |context| {
            context.nv_increment(NvAuth::NvIndex(index), index)
        })?;
        talk.end(session)
    }

    /// The counter, its Name checked.
    fn index(&self, talk: &mut Conversation, written: &[bool]) -> Result<NvIndexHandle, TpmError> {
        let doing = "name the counter";
        let index = raw_index(talk, self.handle)?;
        let name = talk.context().tr_get_name(index.into()).map_err(refused(doing))?;
        for written in written {
            let ours = talk
                .suite()
                .head_name(self.handle, &self.policy, *written)
                .map_err(refused(doing))?;
            if name.value() == ours {
                return Ok(index);
            }
        }
        Err(TpmError::SlotChanged)
    }

    fn hold<T>(
        &self,
        talk: impl Fn(&Self, &mut Conversation) -> Result<T, TpmError>,
    ) -> Result<T, ProviderError> {
        let held = conversation::hold(&self.config.tcti, &self.parent, |conversation| {
            talk(self, conversation)
        });
        match held {
            Err(TpmError::NotApproved { .. }) => {
                let now = conversation::read_pcrs(&self.config.tcti, &self.config.pcrs)?;
                let changed = policy::changed(&self.approvals, &now);
                Err(TpmError::NotApproved { changed }.into())
            }
            other => Ok(other?),
        }
    }
}

/// Read in a salted session, so that the answer is authenticated.
fn value(talk: &mut Conversation, index: NvIndexHandle) -> Result<u64, TpmError> {
    let session = talk.session(SessionType::Hmac)?;
    let read = talk.secret(session, "read the counter", |context| {
        context.nv_read(NvAuth::NvIndex(index), index, HEAD_LEN as u16, 0)
    })?;
    talk.end(session)?;
    let bytes = read.value().try_into().map_err(|_| TpmError::SlotChanged)?;
    Ok(u64::from_be_bytes(bytes))
}
