// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the lockbox's objects in a TPM, step by durable step.
//!
//! Every step looks first whether it was done, so an interrupted run goes on where it stopped. A
//! random authorisation is sealed and noted before the TPM is told of it; an NV handle is noted
//! before it is defined, and only noted handles are ever touched.

use sha2::{Digest as _, Sha256};
use tss_esapi::Context;
use tss_esapi::constants::{CapabilityType, PropertyTag, SessionType};
use tss_esapi::handles::{AuthHandle, ObjectHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, CapabilityData, PublicParameters, SensitiveData};

use super::TpmConfig;
use super::code::{TpmError, refused};
use super::conversation::{self, Conversation};
use super::notes::{self, Blob, CLASS, Domain, HEAD, Parent};
use super::objects::{PARENT_HANDLE, PARENT_HANDLES, Suite};
use super::{head, policy, slot};
use crate::lockbox::encode::cbor;
use crate::lockbox::provider::{Ask, Place, ProviderError};
use crate::secret::Secret;

/// Shortest administrator's PIN, in bytes. The TPM counts wrong ones, so it need not be long.
const MIN_PIN: usize = 6;
/// Length of the owner and lockout authorisations.
const AUTH: usize = 32;
/// Boot states that may be approved at once; the oldest gives way.
const MAX_APPROVALS: usize = 16;
pub(super) const GENERATION: u64 = 1;
/// What each approval is given for.
const CLASSES: [&str; 2] = [CLASS, HEAD];
/// TPM_CC_HMAC.
const HMAC: u32 = 0x155;

/// Everything a domain needs before its first epoch: parent, authorisations, enrolment key, HMAC
/// key, an approval of the present boot state, two slots.
pub(super) fn domain(
    config: &TpmConfig,
    place: &mut Place<'_>,
    name: &str,
) -> Result<(), ProviderError> {
    if is_ready(place, name)? {
        return Ok(());
    }
    let parent = parent(config, place)?;
    let owner = owner(config, place, &parent)?;
    let enrolment = enrolment(config, place, &parent)?;
    if notes::find_domain(place, name)?.is_none() {
        let policy = policy::class_policy(parent.suite, &enrolment, CLASS, GENERATION);
        let master =
            create(config, &parent, "make the domain's key", |suite| suite.master(&policy))?;
        notes::set_domain(place, name, &Domain { generation: GENERATION, master })?;
    }
    if !is_approved(place)? {
        approve(config, place, &parent, &enrolment, &owner)?;
    }
    head::define(config, place, &parent, &enrolment, &owner)?;
    slot::define_both(config, place, &parent, &enrolment, name, &owner)
}

/// Approves the boot state measured now.
pub(super) fn enroll(config: &TpmConfig, place: &mut Place<'_>) -> Result<(), ProviderError> {
    let parent = notes::parent(place)?.ok_or_else(|| TpmError::Notes("the parent key".into()))?;
    let enrolment =
        notes::enrolment(place)?.ok_or_else(|| TpmError::Notes("the enrolment key".into()))?;
    let owner = owner(config, place, &parent)?;
    approve(config, place, &parent, &enrolment, &owner)
}

fn is_ready(place: &Place<'_>, name: &str) -> Result<bool, ProviderError> {
    Ok(notes::find_domain(place, name)?.is_some()
        && is_approved(place)?
        && notes::head(place)?.is_some_and(|head| head.ready)
        && slot::are_defined(place, name)?)
}

fn is_approved(place: &Place<'_>) -> Result<bool, ProviderError> {
    for class in CLASSES {
        if notes::approvals(place, class, GENERATION)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Shows that whoever asks is the administrator, if there is one: by the PIN.
pub(super) fn prove_owner(config: &TpmConfig, place: &mut Place<'_>) -> Result<(), ProviderError> {
    let parent = notes::parent(place)?.ok_or_else(|| TpmError::Notes("the parent key".into()))?;
    owner(config, place, &parent).map(drop)
}

/// The parent key: made, or found as noted.
fn parent(config: &TpmConfig, place: &mut Place<'_>) -> Result<Parent, ProviderError> {
    if let Some(parent) = notes::parent(place)? {
        return Ok(parent);
    }
    let faults = place.faults;
    let parent = faults.around("make parent persistent", || {
        Ok::<_, ProviderError>(conversation::bare(&config.tcti, make_parent)?)
    })?;
    notes::set_parent(place, &parent)?;
    Ok(parent)
}

fn make_parent(mut context: Context) -> Result<Parent, TpmError> {
    if hierarchies(&mut context)?.owner {
        return Err(TpmError::OwnerTaken);
    }
    let suite = probe(&mut context)?;
    if !has_command(&mut context, HMAC)? {
        return Err(TpmError::Lacks("the command TPM2_HMAC".into()));
    }
    let template = suite.parent().map_err(refused("describe the parent key"))?;
    context.set_sessions((Some(AuthSession::Password), None, None));
    let made = context
        .create_primary(Hierarchy::Owner, template, None, None, None, None)
        .map_err(refused("make the parent key"))?;
    let object = ObjectHandle::from(made.key_handle);
    let name =
        context.tr_get_name(object).map_err(refused("name the parent key"))?.value().to_vec();
    for number in PARENT_HANDLE..PARENT_HANDLE + PARENT_HANDLES {
        let handle =
            PersistentTpmHandle::new(number).map_err(refused("make the parent persistent"))?;
        context.clear_sessions();
        let found = context.tr_from_tpm_public(TpmHandle::Persistent(handle));
        context.set_sessions((Some(AuthSession::Password), None, None));
        match found {
            // The same template gives the same key: an earlier attempt's, or another lockbox's.
            Ok(found) => {
                let other = context.tr_get_name(found).map_err(refused("name a key"))?;
                if other.value() == name {
                    return Ok(Parent { suite, handle: number, name });
                }
            }
            Err(_) => {
                context
                    .evict_control(Provision::Owner, object, Persistent::Persistent(handle))
                    .map_err(refused("make the parent persistent"))?;
                return Ok(Parent { suite, handle: number, name });
            }
        }
    }
    Err(TpmError::Lacks("a free persistent handle".into()))
}

/// The strongest suite the TPM has.
fn probe(context: &mut Context) -> Result<Suite, TpmError> {
    for suite in Suite::ALL {
        let parameters = suite.parent_parameters().map_err(refused("describe the parent key"))?;
        match context.test_parms(PublicParameters::Ecc(parameters)) {
            Ok(()) => return Ok(suite),
            Err(error) => {
                tracing::debug!(?suite, %error, "the TPM does not have this suite");
            }
        }
    }
    Err(TpmError::Lacks("elliptic-curve keys".into()))
}

fn has_command(context: &mut Context, command: u32) -> Result<bool, TpmError> {
    let (data, _) = context
        .get_capability(CapabilityType::Command, command, 1)
        .map_err(refused("list its commands"))?;
    let CapabilityData::Commands(commands) = data else { return Ok(false) };
    // The list begins with the next command it has; the index is in the low 16 bits.
    Ok(commands.iter().any(|found| u32::from(found.command_index()) == command))
}

struct Hierarchies {
    owner: bool,
    lockout: bool,
}

/// Which authorisations are set (TPM 2.0 Part 2 §8.6, TPMA_PERMANENT).
fn hierarchies(context: &mut Context) -> Result<Hierarchies, TpmError> {
    let bits = context
        .get_tpm_property(PropertyTag::Permanent)
        .map_err(refused("tell its state"))?
        .ok_or_else(|| TpmError::Lacks("the state of its hierarchies".into()))?;
    Ok(Hierarchies { owner: bits & 1 != 0, lockout: bits & 4 != 0 })
}

/// The owner authorisation: empty without a PIN, otherwise from the admin box. Sets it, and the
/// lockout authorisation, where an earlier run did not get that far.
fn owner(
    config: &TpmConfig,
    place: &mut Place<'_>,
    parent: &Parent,
) -> Result<Secret, ProviderError> {
    let set = conversation::bare(&config.tcti, |mut context| hierarchies(&mut context))?;
    if !config.admin_pin {
        return if set.owner { Err(TpmError::OwnerTaken.into()) } else { Ok(Secret::zeroed(0)) };
    }
    let (owner, lockout) = match notes::admin_box(place)? {
        Some(sealed) => {
            let pin = pin_auth(&place.prompt.ask(&Ask::AdminPin { dir: place.dir })?);
            open_admin_box(config, parent, &sealed, &pin)?
        }
        None if set.owner => return Err(TpmError::OwnerTaken.into()),
        None => {
            let pin = place.prompt.ask(&Ask::NewAdminPin { dir: place.dir })?;
            if pin.expose().len() < MIN_PIN {
                let text = format!("the administrator's PIN must have at least {MIN_PIN} bytes");
                return Err(ProviderError::Weak(text));
            }
            let (owner, lockout) = (authorisation()?, authorisation()?);
            let sealed = make_admin_box(config, parent, &pin_auth(&pin), &owner, &lockout)?;
            notes::set_admin_box(place, &sealed)?;
            (owner, lockout)
        }
    };
    let faults = place.faults;
    if !set.lockout {
        faults.around("set lockout authorisation", || {
            change_auth(config, parent, AuthHandle::Lockout, &lockout)
        })?;
    }
    if !set.owner {
        faults.around("set owner authorisation", || {
            change_auth(config, parent, AuthHandle::Owner, &owner)
        })?;
    }
    Ok(owner)
}

/// Random bytes for a hierarchy. TPMs drop trailing zeros of an authorisation, so there are none.
fn authorisation() -> Result<Secret, ProviderError> {
    let mut auth = Secret::random(AUTH)?;
    if let Some(last) = auth.expose_mut().last_mut() {
        *last |= 1;
    }
    Ok(auth)
}

/// A PIN of any length as an authorisation of fixed length without trailing zeros. The TPM's
/// counting protects short PINs, so no slow derivation is needed.
pub(super) fn pin_auth(pin: &Secret) -> Secret {
    let mut auth = Secret::zeroed(AUTH);
    let mut hash = Sha256::new();
    hash.update(cbor(|e| {
        e.str("opalbox-admin-pin-1")?;
        Ok(())
    }));
    hash.update(pin.expose());
    let mut digest = hash.finalize();
    auth.expose_mut().copy_from_slice(&digest);
    zeroize::Zeroize::zeroize(&mut digest[..]);
    if let Some(last) = auth.expose_mut().last_mut() {
        *last |= 1;
    }
    auth
}

fn make_admin_box(
    config: &TpmConfig,
    parent: &Parent,
    pin: &Secret,
    owner: &Secret,
    lockout: &Secret,
) -> Result<Blob, ProviderError> {
    let made = conversation::hold(&config.tcti, parent, |talk| {
        let mut both = Secret::zeroed(2 * AUTH);
        let (first, second) = both.expose_mut().split_at_mut(AUTH);
        first.copy_from_slice(owner.expose());
        second.copy_from_slice(lockout.expose());
        let doing = "seal the admin box";
        let data = SensitiveData::try_from(both.expose()).map_err(refused(doing))?;
        let auth = Auth::try_from(pin.expose()).map_err(refused(doing))?;
        let template = talk.suite().admin_box().map_err(refused(doing))?;
        create_in(talk, doing, template, Some(auth), Some(data))
    })?;
    Ok(made)
}

pub(super) fn open_admin_box(
    config: &TpmConfig,
    parent: &Parent,
    sealed: &Blob,
    pin: &Secret,
) -> Result<(Secret, Secret), ProviderError> {
    let result = conversation::hold(&config.tcti, parent, |talk| {
        let object = ObjectHandle::from(talk.load(sealed, "load the admin box")?);
        talk.set_auth(object, pin)?;
        let session = talk.session(SessionType::Hmac)?;
        let data = talk.secret(session, "open the admin box", |context| context.unseal(object))?;
        let both = Secret::from_slice(data.value());
        talk.end(session)?;
        talk.flush(object)?;
        Ok(both)
    });
    let both = result.map_err(|error| match error.code() {
        Some(0x98e) => ProviderError::WrongPin,
        _ => error.into(),
    })?;
    match both.expose().split_at_checked(AUTH) {
        Some((owner, lockout)) if lockout.len() == AUTH => {
            Ok((Secret::from_slice(owner), Secret::from_slice(lockout)))
        }
        _ => Err(TpmError::Notes("the admin box".into()).into()),
    }
}

fn change_auth(
    config: &TpmConfig,
    parent: &Parent,
    hierarchy: AuthHandle,
    auth: &Secret,
) -> Result<(), ProviderError> {
    conversation::hold(&config.tcti, parent, |talk| {
        let doing = "set a hierarchy's authorisation";
        let session = talk.session(SessionType::Hmac)?;
        let auth = Auth::try_from(auth.expose()).map_err(refused(doing))?;
        talk.secret(session, doing, |context| context.hierarchy_change_auth(hierarchy, auth))?;
        talk.end(session)
    })?;
    Ok(())
}

/// The key that signs boot states; only the TPM's owner can use it.
fn enrolment(
    config: &TpmConfig,
    place: &mut Place<'_>,
    parent: &Parent,
) -> Result<Blob, ProviderError> {
    if let Some(blob) = notes::enrolment(place)? {
        return Ok(blob);
    }
    let policy = policy::owner_digest(parent.suite);
    let blob = create(config, parent, "make the enrolment key", |suite| suite.enrolment(&policy))?;
    notes::set_enrolment(place, &blob)?;
    Ok(blob)
}

fn approve(
    config: &TpmConfig,
    place: &mut Place<'_>,
    parent: &Parent,
    enrolment: &Blob,
    owner: &Secret,
) -> Result<(), ProviderError> {
    for class in CLASSES {
        let reference = policy::reference(class, GENERATION);
        let mut approval = conversation::hold(&config.tcti, parent, |talk| {
            policy::approve(talk, enrolment, &config.pcrs, &reference, owner)
        })?;
        approval.values = conversation::read_pcrs(&config.tcti, &config.pcrs)?;
        let mut approvals = notes::approvals(place, class, GENERATION)?;
        approvals.retain(|other| other.digest != approval.digest);
        approvals.insert(0, approval);
        approvals.truncate(MAX_APPROVALS);
        notes::set_approvals(place, class, GENERATION, &approvals)?;
    }
    Ok(())
}

fn create(
    config: &TpmConfig,
    parent: &Parent,
    doing: &'static str,
    template: impl Fn(Suite) -> Result<tss_esapi::structures::Public, tss_esapi::Error>,
) -> Result<Blob, ProviderError> {
    let made = conversation::hold(&config.tcti, parent, |talk| {
        let template = template(talk.suite()).map_err(refused(doing))?;
        create_in(talk, doing, template, None, None)
    })?;
    Ok(made)
}

fn create_in(
    talk: &mut Conversation,
    doing: &'static str,
    template: tss_esapi::structures::Public,
    auth: Option<Auth>,
    data: Option<SensitiveData>,
) -> Result<Blob, TpmError> {
    let parent = talk.parent();
    let session = talk.session(SessionType::Hmac)?;
    let made = talk.secret(session, doing, |context| {
        context.create(parent, template, auth, data, None, None)
    })?;
    talk.end(session)?;
    Blob::new(&made.out_private, &made.out_public)
}
