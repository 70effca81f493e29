// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Provider`]: whatever makes and opens a node epoch key (NEK), be it a TPM or a passphrase.
//!
//! A provider wraps NEKs only, never single secrets: its calls are per domain and epoch.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::epoch::Scope;
use super::error::Refusal;
use super::faults::{Faults, Point};
use super::file::FileConfig;
use super::store::StoreError;
use super::tpm::{TpmConfig, TpmError};
use crate::secret::Secret;

/// Makes, opens and destroys NEKs.
pub trait Provider: Send {
    /// What this provider can do and what it does not protect.
    fn capabilities(&self) -> Capabilities;

    /// Makes the NEK of a scope. `label` makes it idempotent: after a lost answer or a crash the
    /// same label gives the same NEK, never a second one.
    ///
    /// # Errors
    /// [`ProviderError`].
    fn create(
        &mut self,
        place: &mut Place<'_>,
        scope: &Scope,
        label: &[u8],
    ) -> Result<Created, ProviderError>;

    /// Opens the NEK that `key` and `blob` stand for.
    ///
    /// # Errors
    /// [`ProviderError`]; nothing is cached after an error.
    fn open(
        &mut self,
        place: &mut Place<'_>,
        scope: &Scope,
        key: &KeyRef,
        blob: &[u8],
    ) -> Result<Secret, ProviderError>;

    /// Proves, by answering `nonce`, that the NEK opens now.
    ///
    /// # Errors
    /// Those of [`Provider::open`].
    fn prove(
        &mut self,
        place: &mut Place<'_>,
        scope: &Scope,
        key: &KeyRef,
        blob: &[u8],
        nonce: &[u8],
    ) -> Result<[u8; 48], ProviderError> {
        let nek = self.open(place, scope, key, blob)?;
        Ok(super::epoch::EpochKeys::new(scope.clone(), nek).prove(nonce))
    }

    /// What has become of the key behind `key`, without opening it.
    ///
    /// # Errors
    /// [`ProviderError`].
    fn state(&mut self, place: &mut Place<'_>, key: &KeyRef) -> Result<KeyState, ProviderError>;

    /// Makes the NEK impossible to rebuild, from copies too. Doing it twice is no error.
    ///
    /// # Errors
    /// [`ProviderError`].
    fn destroy(
        &mut self,
        place: &mut Place<'_>,
        key: &KeyRef,
        blob: &[u8],
    ) -> Result<(), ProviderError>;

    /// The key that [`Provider::create`] made under `label`, if it got that far.
    ///
    /// # Errors
    /// [`ProviderError`].
    fn lookup(
        &mut self,
        place: &mut Place<'_>,
        label: &[u8],
    ) -> Result<Option<KeyRef>, ProviderError>;
}

/// A NEK just made, and what to store so that it opens again.
pub struct Created {
    /// Reference to the provider's key.
    pub key: KeyRef,
    /// What the provider needs besides; useless without it.
    pub blob: Vec<u8>,
    /// The NEK.
    pub nek: Secret,
}

/// Names a key inside its provider. Opaque to everyone else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef(
    /// The provider's own encoding.
    pub Vec<u8>,
);

/// What a provider can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Short name: `tpm`, `file`.
    pub name: &'static str,
    /// The key never leaves a chip.
    pub hardware_bound: bool,
    /// Opening needs a person (passphrase or PIN).
    pub needs_person: bool,
    /// Opening needs the network.
    pub needs_network: bool,
    /// What the user should know, one sentence each.
    pub warnings: Vec<String>,
}

/// State of a provider's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyState {
    /// Usable.
    Active,
    /// Exists, may not be used now.
    Disabled,
    /// Will be destroyed after a waiting time.
    PendingDestroy,
    /// Gone.
    Destroyed,
    /// The provider cannot tell.
    Unknown,
}

/// What a provider is given for one call: its notes, a person to ask, and where it is.
pub struct Place<'a> {
    /// The provider's durable notes.
    pub notes: &'a mut dyn Notes,
    /// Asks a person for a passphrase or PIN.
    pub prompt: &'a dyn Prompt,
    /// Fault injection.
    pub faults: &'a Faults,
    /// The lockbox's directory, for messages.
    pub dir: &'a Path,
}

/// Small durable values that a provider keeps for itself, such as which NV handle it is about to
/// define. Each write is one transaction, durable when it returns.
pub trait Notes {
    /// The value of that name.
    ///
    /// # Errors
    /// The store's.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ProviderError>;

    /// The names that begin with `prefix`.
    ///
    /// # Errors
    /// The store's.
    fn names(&self, prefix: &str) -> Result<Vec<String>, ProviderError>;

    /// Sets or, with `None`, erases the value of that name. `step` names the write for tests.
    ///
    /// # Errors
    /// The store's.
    fn write(
        &mut self,
        step: &'static str,
        name: &str,
        value: Option<&[u8]>,
    ) -> Result<(), ProviderError>;
}

/// Asks a person. The command implements it with a terminal or files; the library never reads a
/// terminal itself.
pub trait Prompt: Send + Sync {
    /// The secret asked for.
    ///
    /// # Errors
    /// [`PromptError`].
    fn ask(&self, ask: &Ask<'_>) -> Result<Secret, PromptError>;
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ask<'a> {
    /// The passphrase of the lockbox in this directory.
    Passphrase {
        /// The lockbox's directory.
        dir: &'a Path,
    },
    /// A passphrase for a new lockbox; asking twice is the prompt's business.
    NewPassphrase {
        /// The lockbox's directory.
        dir: &'a Path,
    },
    /// The administrator's PIN, which opens the admin box.
    AdminPin {
        /// The lockbox's directory.
        dir: &'a Path,
    },
    /// An administrator's PIN for a new lockbox.
    NewAdminPin {
        /// The lockbox's directory.
        dir: &'a Path,
    },
}

/// Nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// There is nobody to ask.
    #[error("a passphrase or PIN is needed and there is nobody to ask")]
    Nobody,
    /// The person declined.
    #[error("no passphrase or PIN was given")]
    Declined,
}

/// A prompt for unattended use: it refuses every question.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Prompt for Unattended {
    fn ask(&self, _: &Ask<'_>) -> Result<Secret, PromptError> {
        Err(PromptError::Nobody)
    }
}

/// Which provider, with its public settings. Kept in the store; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProviderConfig {
    /// A TPM 2.0.
    Tpm(TpmConfig),
    /// A passphrase, for machines without a TPM.
    File(FileConfig),
}

impl ProviderConfig {
    /// The name that [`Capabilities::name`] will show.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tpm(_) => "tpm",
            Self::File(_) => "file",
        }
    }
}

/// A provider's failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The TPM refused a command or cannot be reached.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The passphrase is wrong.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// The administrator's PIN is wrong.
    #[error("the administrator's PIN is wrong")]
    WrongPin,
    /// A passphrase or PIN is unusable.
    #[error("{0}")]
    Weak(String),
    /// Nobody answered the prompt.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// What the provider rebuilt is not the key that the store expects.
    #[error("the provider gave another key than the one this lockbox was made with")]
    OtherKey,
    /// The stored blob is damaged or of a newer format.
    #[error("the wrapped key in the store is refused: {0}")]
    Blob(Refusal),
    /// No memory for the passphrase derivation, or parameters out of bounds.
    #[error("the passphrase derivation failed: {0}")]
    Derivation(String),
    /// The notes could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error("the operating system's random generator failed: {0}")]
    Random(#[from] getrandom::Error),
    /// A fault was injected.
    #[error("interrupted {0}")]
    Interrupted(Point),
}

impl ProviderError {
    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Tpm(error) => error.advice(),
            Self::WrongPassphrase => "Try again; check the keyboard layout and Caps Lock.".into(),
            Self::WrongPin => {
                "Try again with care: the TPM counts wrong PINs and locks after a few.".into()
            }
            Self::Weak(_) => "Choose another one.".into(),
            Self::Prompt(_) => {
                "Run the command on a terminal, or give a file with --passphrase-file.".into()
            }
            Self::OtherKey => {
                "The store and the provider do not belong together: was the store restored from \
                 an older copy, or the TPM replaced? Restore the backup that fits."
                    .into()
            }
            Self::Blob(_) => "Restore the store from the backup.".into(),
            Self::Derivation(_) => {
                "Free some memory; the derivation needs what was chosen at init.".into()
            }
            Self::Store(error) => error.advice().into(),
            Self::Random(_) => "Try again later in the boot, or outside the sandbox.".into(),
            Self::Interrupted(_) => "Run the same command again.".into(),
        }
    }
}

impl From<Point> for ProviderError {
    fn from(point: Point) -> Self {
        Self::Interrupted(point)
    }
}
