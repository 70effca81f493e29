// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TPM 2.0 provider: a node epoch key that the TPM rebuilds and nothing stores.
//!
//! `NEK = HKDF-SHA256(salt = NV slot, ikm = TPM2_HMAC(MK, domain and epoch), info = scope)`. The
//! HMAC key MK never leaves the chip; the slot is 32 bytes of NV memory; both answer only while
//! the boot state is one that the lockbox's signing key has approved. Overwriting the slot retires
//! an epoch for good, copies of the store included.
//!
//! Each call is a few conversations on TPM connections of their own, and needs nothing but the
//! provider's notes; [`TpmRunner`] says in which process they are held.

mod code;
mod conversation;
mod head;
mod measured;
mod notes;
mod objects;
mod policy;
mod provision;
mod runner;
mod slot;
mod tcti;
mod wire;

use minicbor::Decoder;
use serde::{Deserialize, Serialize};

pub use code::TpmError;
pub use measured::{BootFacts, PcrBank, PcrChoice, PcrSelection};
pub use objects::Suite;
pub use runner::{CHILD_VERB, ChildProgram, TpmRunner, serve_child};
pub use tcti::Tcti;

use wire::{Answer, Call, GARBLED};

use super::encode::cbor;
use super::epoch::Scope;
use super::provider::{Capabilities, Created, KeyRef, KeyState, Place, Provider, ProviderError};
use crate::secret::Secret;

/// Public settings of the TPM provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TpmConfig {
    /// How the TPM is reached.
    pub tcti: Tcti,
    /// The measured boot state the lockbox opens in.
    pub pcrs: PcrSelection,
    /// Whether an administrator's PIN guards the approval of further boot states, and the TPM's
    /// owner and lockout authorisations are taken.
    pub admin_pin: bool,
}

impl TpmConfig {
    /// Looks at the machine and its TPM and settles the PCRs.
    ///
    /// # Errors
    /// [`TpmError`], among them a refusal of PCRs that would protect nothing on this machine.
    pub fn choose(
        tcti: Tcti,
        pcrs: PcrChoice,
        boot: BootFacts,
        admin_pin: bool,
    ) -> Result<Self, TpmError> {
        Self::choose_by(&TpmRunner::InProcess, tcti, pcrs, boot, admin_pin)
    }

    /// As [`TpmConfig::choose`], asking the TPM in the process that `runner` names.
    ///
    /// # Errors
    /// As [`TpmConfig::choose`].
    pub fn choose_by(
        runner: &TpmRunner,
        tcti: Tcti,
        pcrs: PcrChoice,
        boot: BootFacts,
        admin_pin: bool,
    ) -> Result<Self, TpmError> {
        let mut config = Self { tcti, pcrs: PcrSelection::any(), admin_pin };
        match runner.run_alone(&config, Call::Choose { pcrs, boot })? {
            Answer::Pcrs(pcrs) => config.pcrs = pcrs.parse()?,
            _ => return Err(TpmError::Helper(GARBLED.into())),
        }
        Ok(config)
    }
}

/// What the lockbox has in the TPM, from its notes; the TPM is not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TpmStatus {
    /// Algorithms in use.
    pub suite: Option<Suite>,
    /// Persistent handle of the parent key, `0x81…`.
    pub parent: Option<String>,
    /// Approved boot states.
    pub approved_states: usize,
    /// NV indexes of the domains' key slots, `0x01…`.
    pub slots: Vec<String>,
    /// NV index of the counter that anchors the store's head, `0x01…`.
    pub counter: Option<String>,
    /// Whether an admin box holds the TPM's owner and lockout authorisations.
    pub admin_box: bool,
}

/// See the module's text.
pub(super) struct TpmProvider {
    config: TpmConfig,
    runner: TpmRunner,
}

impl TpmProvider {
    pub(super) fn new(config: TpmConfig, runner: TpmRunner) -> Self {
        Self { config, runner }
    }

    /// Uses another way to the same TPM.
    pub(super) fn reach_by(&mut self, tcti: Tcti) {
        self.config.tcti = tcti;
    }

    /// What is noted about the TPM.
    pub(super) fn describe(place: &Place<'_>) -> Result<TpmStatus, ProviderError> {
        let parent = notes::parent(place)?;
        let (mut slots, mut approved_states) = (Vec::new(), 0);
        for domain in notes::domains(place)? {
            let generation = notes::domain(place, &domain)?.generation;
            approved_states = notes::approvals(place, notes::CLASS, generation)?.len();
            for number in slot::SLOTS {
                slots.extend(notes::slot(place, &domain, number)?.map(|slot| handle(slot.handle)));
            }
        }
        Ok(TpmStatus {
            suite: parent.as_ref().map(|parent| parent.suite),
            parent: parent.map(|parent| handle(parent.handle)),
            approved_states,
            slots,
            counter: notes::head(place)?.map(|head| handle(head.handle)),
            admin_box: notes::admin_box(place)?.is_some(),
        })
    }

    /// Approves the boot state measured now.
    pub(super) fn enroll(&mut self, place: &mut Place<'_>) -> Result<(), ProviderError> {
        done(self.runner.run(&self.config, place, Call::Enroll)?)
    }

    /// The value of the counter that anchors the store's head.
    pub(super) fn head(&mut self, place: &mut Place<'_>) -> Result<u64, ProviderError> {
        match self.runner.run(&self.config, place, Call::Head)? {
            Answer::Head(value) => Ok(value),
            _ => Err(garbled()),
        }
    }

    /// Moves the counter to `to`, from the value before it. Doing it twice is no error.
    pub(super) fn advance(&mut self, place: &mut Place<'_>, to: u64) -> Result<(), ProviderError> {
        let faults = place.faults;
        faults.around("advance counter", || {
            done(self.runner.run(&self.config, place, Call::Advance { to })?)
        })
    }

    /// Asks for the administrator's PIN, if there is one, and proves it.
    pub(super) fn prove_owner(&mut self, place: &mut Place<'_>) -> Result<(), ProviderError> {
        done(self.runner.run(&self.config, place, Call::ProveOwner)?)
    }
}

/// Holds the conversations of one call, in this process.
fn perform(config: &TpmConfig, place: &mut Place<'_>, call: Call) -> Result<Answer, ProviderError> {
    Ok(match call {
        Call::Choose { pcrs, boot } => {
            Answer::Pcrs(measured::choose(&config.tcti, pcrs, boot)?.to_string())
        }
        Call::Create { scope, label } => Answer::Created(create(config, place, &scope, &label)?),
        Call::Open { scope, key, blob } => Answer::Nek(open(config, place, &scope, &key, &blob)?),
        Call::State { key } => {
            let reference = Reference::parse(&key)?;
            Answer::State(slot::state(config, place, &reference.domain, reference.slot)?)
        }
        Call::Destroy { key } => {
            let reference = Reference::parse(&key)?;
            slot::retire(config, place, &reference.domain, reference.slot)?;
            Answer::Done
        }
        Call::Enroll => {
            provision::enroll(config, place)?;
            Answer::Done
        }
        Call::Head => Answer::Head(head::read(config, place)?),
        Call::Advance { to } => {
            head::advance(config, place, to)?;
            Answer::Done
        }
        Call::ProveOwner => {
            provision::prove_owner(config, place)?;
            Answer::Done
        }
    })
}

fn create(
    config: &TpmConfig,
    place: &mut Place<'_>,
    scope: &Scope,
    label: &[u8],
) -> Result<Created, ProviderError> {
    provision::domain(config, place, &scope.domain)?;
    let number = slot::occupy(config, place, scope, label)?;
    let key = Reference { domain: scope.domain.clone(), slot: number }.write();
    let blob = notes::domain(place, &scope.domain)?.master.write();
    let nek = open(config, place, scope, &key, &blob)?;
    Ok(Created { key, blob, nek })
}

fn open(
    config: &TpmConfig,
    place: &Place<'_>,
    scope: &Scope,
    key: &KeyRef,
    blob: &[u8],
) -> Result<Secret, ProviderError> {
    let reference = Reference::parse(key)?;
    let master = notes::Blob::parse(blob)?;
    slot::open_nek(config, place, scope, reference.slot, &master)
}

fn done(answer: Answer) -> Result<(), ProviderError> {
    if let Answer::Done = answer { Ok(()) } else { Err(garbled()) }
}

fn garbled() -> ProviderError {
    TpmError::Helper(GARBLED.into()).into()
}

impl Provider for TpmProvider {
    fn capabilities(&self) -> Capabilities {
        let mut warnings = Vec::new();
        if !self.config.admin_pin {
            warnings.push(
                "No administrator's PIN: whoever has the machine can start another system on it, \
                 approve that system's boot state in the TPM, and open the lockbox. Only a copy \
                 of the store without this TPM is safe."
                    .into(),
            );
        }
        if self.config.tcti.is_software() {
            warnings.push(
                "The TPM is a software one: its state is a file, and a copy of that file together \
                 with the store opens the lockbox. For tests and demonstrations only."
                    .into(),
            );
        }
        Capabilities {
            name: "tpm",
            hardware_bound: !self.config.tcti.is_software(),
            needs_person: false,
            needs_network: false,
            warnings,
        }
    }

    fn create(
        &mut self,
        place: &mut Place<'_>,
        scope: &Scope,
        label: &[u8],
    ) -> Result<Created, ProviderError> {
        let call = Call::Create { scope: scope.clone(), label: label.to_vec() };
        match self.runner.run(&self.config, place, call)? {
            Answer::Created(made) => Ok(made),
            _ => Err(garbled()),
        }
    }

    fn open(
        &mut self,
        place: &mut Place<'_>,
        scope: &Scope,
        key: &KeyRef,
        blob: &[u8],
    ) -> Result<Secret, ProviderError> {
        let call = Call::Open { scope: scope.clone(), key: key.clone(), blob: blob.to_vec() };
        match self.runner.run(&self.config, place, call)? {
            Answer::Nek(nek) => Ok(nek),
            _ => Err(garbled()),
        }
    }

    fn state(&mut self, place: &mut Place<'_>, key: &KeyRef) -> Result<KeyState, ProviderError> {
        match self.runner.run(&self.config, place, Call::State { key: key.clone() })? {
            Answer::State(state) => Ok(state),
            _ => Err(garbled()),
        }
    }

    fn destroy(
        &mut self,
        place: &mut Place<'_>,
        key: &KeyRef,
        _: &[u8],
    ) -> Result<(), ProviderError> {
        done(self.runner.run(&self.config, place, Call::Destroy { key: key.clone() })?)
    }

    fn lookup(
        &mut self,
        place: &mut Place<'_>,
        label: &[u8],
    ) -> Result<Option<KeyRef>, ProviderError> {
        for domain in notes::domains(place)? {
            if let Some(slot) = slot::labelled(place, &domain, label)? {
                return Ok(Some(Reference { domain, slot }.write()));
            }
        }
        Ok(None)
    }
}

fn handle(number: u32) -> String {
    format!("{number:#010x}")
}

/// A [`KeyRef`] of this provider.
struct Reference {
    domain: String,
    slot: u8,
}

impl Reference {
    fn write(&self) -> KeyRef {
        KeyRef(cbor(|e| {
            e.array(2)?.str(&self.domain)?.u8(self.slot)?;
            Ok(())
        }))
    }

    fn parse(key: &KeyRef) -> Result<Self, TpmError> {
        let mut d = Decoder::new(&key.0);
        let mut decode = || -> Result<Self, minicbor::decode::Error> {
            d.array()?;
            Ok(Self { domain: d.str()?.to_owned(), slot: d.u8()? })
        };
        decode().map_err(|_| TpmError::Notes("the key reference".into()))
    }
}

#[cfg(test)]
mod tests;
