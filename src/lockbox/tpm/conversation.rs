// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Conversation`]: one connection to the TPM, with the parent's Name checked and every secret
//! in a salted, encrypted session.
//!
//! Two habits of the library below shape it. It drops a session's encryption after a refused
//! command and says nothing, so the attributes are set anew before each secret command
//! ([`Conversation::secret`]) and a conversation ends at its first error. And a Context that met
//! an altered answer refuses everything from then on, so each conversation has its own.

use std::thread::sleep;
use std::time::Duration;

use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::{CapabilityType, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Auth, CapabilityData};
use tss_esapi::{Context, Error as TssError};

use super::code::{TpmError, number, refused};
use super::measured::{PcrSelection, slot_number};
use super::notes::{Blob, Parent};
use super::objects::Suite;
use super::tcti::Tcti;
use crate::secret::Secret;

/// How often a conversation is held again after an answer that passes by itself.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// An open connection whose parent key is the pinned one.
pub(super) struct Conversation {
    context: Context,
    suite: Suite,
    parent: KeyHandle,
}

/// Holds a conversation: opens it, runs `talk`, drops the connection. Again, a bounded number of
/// times, if the TPM was busy or a measurement changed in between.
pub(super) fn hold<T>(
    tcti: &Tcti,
    parent: &Parent,
    talk: impl Fn(&mut Conversation) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    bare(tcti, |context| talk(&mut Conversation::open(context, parent)?))
}

/// As [`hold`], before there is a parent key.
pub(super) fn bare<T>(
    tcti: &Tcti,
    talk: impl Fn(Context) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    let mut attempt = 1;
    loop {
        let error = match talk(connect(tcti)?) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let full = error.is_full() && tcti.is_private();
        if error.is_tampered() && tcti.is_private() {
            // Cleaned up for whoever comes next; the tampering itself is reported, not retried.
            let _ = sweep(tcti);
        }
        if attempt == ATTEMPTS || !(full || error.is_passing()) {
            return Err(error);
        }
        if full {
            sweep(tcti)?;
        } else {
            sleep(PAUSE * attempt);
        }
        attempt += 1;
    }
}

/// The values of PCRs, ascending; those the TPM does not have are missing.
pub(super) fn read_pcrs(
    tcti: &Tcti,
    selection: &PcrSelection,
) -> Result<Vec<(u8, Vec<u8>)>, TpmError> {
    bare(tcti, |mut context| {
        let mut values = Vec::new();
        let mut wanted = selection.list()?;
        // A TPM gives up to eight at a time.
        for _ in 0..8 {
            if wanted.is_empty() {
                break;
            }
            let (_, given, digests) =
                context.pcr_read(wanted.clone()).map_err(refused("read PCRs"))?;
            let slots = given.get_selections().iter().flat_map(|bank| bank.selected());
            let before = values.len();
            values.extend(
                slots.map(slot_number).zip(digests.value().iter().map(|d| d.value().to_vec())),
            );
            if values.len() == before {
                break;
            }
            wanted.subtract(&given).map_err(refused("read PCRs"))?;
        }
        values.sort();
        Ok(values)
    })
}

impl Conversation {
    /// Reads the parent's public area and compares its Name, computed here, with the pinned one.
    fn open(mut context: Context, parent: &Parent) -> Result<Self, TpmError> {
        let handle = PersistentTpmHandle::new(parent.handle)
            .map_err(|_| TpmError::Notes("the parent's handle".into()))?;
        let object = context
            .tr_from_tpm_public(TpmHandle::Persistent(handle))
            .map_err(refused("open the lockbox parent key"))
            .map_err(absent_is(TpmError::Foreign))?;
        let name = context.tr_get_name(object).map_err(refused("name the parent key"))?;
        if name.value() != parent.name {
            return Err(TpmError::Foreign);
        }
        Ok(Self { context, suite: parent.suite, parent: object.into() })
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    pub(super) fn parent(&self) -> KeyHandle {
        self.parent
    }

    /// For commands without secrets; those with one go through [`Conversation::secret`].
    pub(super) fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    /// A session salted to the parent.
    pub(super) fn session(&mut self, kind: SessionType) -> Result<AuthSession, TpmError> {
        self.context
            .start_auth_session(
                Some(self.parent),
                None,
                None,
                kind,
                self.suite.session_cipher(),
                self.suite.hash_algorithm(),
            )
            .map_err(refused("start a session"))?
            .ok_or_else(|| TpmError::Lacks("a session".into()))
    }

    /// A salted policy session.
    pub(super) fn policy_session(&mut self) -> Result<(AuthSession, PolicySession), TpmError> {
        let session = self.session(SessionType::Policy)?;
        let policy = PolicySession::try_from(session).map_err(refused("start a session"))?;
        Ok((session, policy))
    }

    /// Runs one command in `session`, its first parameters encrypted both ways.
    pub(super) fn secret<T>(
        &mut self,
        session: AuthSession,
        doing: &'static str,
        command: impl FnOnce(&mut Context) -> Result<T, TssError>,
    ) -> Result<T, TpmError> {
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_continue_session(true)
            .with_decrypt(true)
            .with_encrypt(true)
            .build();
        self.context
            .tr_sess_set_attributes(session, attributes, mask)
            .map_err(refused("encrypt a session"))?;
        self.context.execute_with_session(Some(session), command).map_err(refused(doing))
    }

    /// Loads an object under the parent, whose auth is empty.
    pub(super) fn load(&mut self, blob: &Blob, doing: &'static str) -> Result<KeyHandle, TpmError> {
        let (private, public) = blob.objects()?;
        let parent = self.parent;
        self.context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.load(parent, private, public)
            })
            .map_err(refused(doing))
    }

    /// Gives a handle the auth that its next sessions prove.
    pub(super) fn set_auth(&mut self, handle: ObjectHandle, auth: &Secret) -> Result<(), TpmError> {
        let auth = Auth::try_from(auth.expose()).map_err(refused("take an authorisation"))?;
        self.context.tr_set_auth(handle, auth).map_err(refused("take an authorisation"))
    }

    pub(super) fn flush(&mut self, handle: impl Into<ObjectHandle>) -> Result<(), TpmError> {
        self.context.flush_context(handle.into()).map_err(refused("flush an object"))
    }

    pub(super) fn end(&mut self, session: AuthSession) -> Result<(), TpmError> {
        self.flush(SessionHandle::from(session))
    }
}

/// Turns "no such object" into `error`.
pub(super) fn absent_is(error: TpmError) -> impl FnOnce(TpmError) -> TpmError {
    move |found| if matches!(found.code(), Some(0x18b)) { error } else { found }
}

fn connect(tcti: &Tcti) -> Result<Context, TpmError> {
    Context::new(tcti.name_conf()?).map_err(|error| match error {
        TssError::Tss2Error(code) => {
            TpmError::Unreachable { tcti: tcti.to_string(), code: number(code) }
        }
        TssError::WrapperError(_) => TpmError::Tcti(tcti.to_string()),
    })
}

/// Removes what killed conversations left loaded. Only on a TPM that nobody else is using.
fn sweep(tcti: &Tcti) -> Result<(), TpmError> {
    // Transient objects, then HMAC and policy sessions (TPM 2.0 Part 2 §7.2).
    for first in [0x8000_0000, 0x0200_0000, 0x0300_0000] {
        let mut context = connect(tcti)?;
        let (data, _) = context
            .get_capability(CapabilityType::Handles, first, 64)
            .map_err(refused("list what is loaded"))?;
        let CapabilityData::Handles(handles) = data else { continue };
        for handle in handles.into_inner() {
            // The library reports an error for a session that it did flush.
            if let Ok(object) = context.tr_from_tpm_public(handle) {
                let _ = context.flush_context(object);
            }
        }
    }
    Ok(())
}
