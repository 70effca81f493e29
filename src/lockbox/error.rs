// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong, by whose fault: the caller, the store, the provider, or whoever altered
//! data. Every error says what happened; [`Error::advice`] says what to do next.

use std::path::PathBuf;

use super::faults::Point;
use super::id::KeyId;
use super::provider::ProviderError;
use super::store::StoreError;

/// An error of the lockbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no lockbox in the directory.
    #[error("there is no lockbox in {}", .0.display())]
    NoLockbox(PathBuf),
    /// There is one already, complete and in use.
    #[error("there is a lockbox in {} already", .0.display())]
    Exists(PathBuf),
    /// `init` was interrupted.
    #[error("the lockbox in {} was not completed", .0.display())]
    Unfinished(PathBuf),
    /// The directory or a file in it is open to others.
    #[error("{} {}", .path.display(), .what)]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A value from the caller is not acceptable.
    #[error("{0}")]
    Input(String),
    /// Nothing is known under that name.
    #[error("the lockbox knows no {what} {name}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The journal does not allow this step now.
    #[error("{owner} {role}: {problem}")]
    Journal {
        /// Whose credential.
        owner: String,
        /// Which role.
        role: String,
        /// What stands in the way.
        problem: JournalProblem,
    },
    /// The key is still used by assets.
    #[error("key {key} is still used by {}", .assets.join(", "))]
    Referenced {
        /// The key.
        key: KeyId,
        /// The assets that name it.
        assets: Vec<String>,
    },
    /// Stored data is not what was written: altered, moved, or of another lockbox.
    #[error("{what} is refused: {reason}")]
    Refused {
        /// Which record or row.
        what: String,
        /// Why.
        reason: Refusal,
    },
    /// The store is not the newest one.
    #[error(transparent)]
    Anchor(#[from] AnchorProblem),
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The provider failed.
    #[error(transparent)]
    Provider(ProviderError),
    /// The operating system has no randomness to give.
    #[error("the operating system's random generator failed: {0}")]
    Random(#[from] getrandom::Error),
    /// A fault was injected.
    #[error("interrupted {0}")]
    Interrupted(Point),
}

impl Error {
    /// What to do next, in one or two sentences.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::NoLockbox(_) => {
                "Make one with `opalbox lockbox init`, or name its directory with --store.".into()
            }
            Self::Exists(_) => {
                "Use it as it is (`opalbox lockbox status`), or choose another directory.".into()
            }
            Self::Unfinished(_) => {
                "Run `opalbox lockbox init` again with the same options: it goes on where it \
                 stopped. Do not delete the directory: it may hold the TPM's owner authorisation."
                    .into()
            }
            Self::Exposed { .. } => {
                "Make it belong to the user who runs opalbox and to nobody else (chmod 700 for \
                 the directory, 600 for files), then find out who could read it."
                    .into()
            }
            Self::Input(_) => "Correct the value and try again; nothing was changed.".into(),
            Self::Unknown { .. } => {
                "List what there is with `opalbox key show`; check the name and --store.".into()
            }
            Self::Journal { problem, .. } => problem.advice().into(),
            Self::Referenced { .. } => {
                "Remove these assets first, once their data is no longer needed.".into()
            }
            Self::Refused { reason, .. } => reason.advice().into(),
            Self::Anchor(problem) => problem.advice().into(),
            Self::Store(error) => error.advice().into(),
            Self::Provider(error) => error.advice(),
            Self::Random(_) => "Try again later in the boot, or outside the sandbox.".into(),
            Self::Interrupted(_) => "Run the same command again.".into(),
        }
    }

    pub(crate) fn journal(owner: &str, role: &str, problem: JournalProblem) -> Self {
        Self::Journal { owner: owner.to_owned(), role: role.to_owned(), problem }
    }
}

impl From<Point> for Error {
    fn from(point: Point) -> Self {
        Self::Interrupted(point)
    }
}

impl From<ProviderError> for Error {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Interrupted(point) => Self::Interrupted(point),
            ProviderError::Store(error) => Self::Store(error),
            other => Self::Provider(other),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// How the store and the TPM's counter contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorProblem {
    /// An old copy of the store was put back, or a power cut undid what the disk had confirmed.
    #[error(
        "the store is an old one: it holds changes up to {store}, the TPM counted {tpm}; drives \
         still unlock, but nothing is changed or destroyed"
    )]
    StoreOld {
        /// The store's last change.
        store: u64,
        /// The TPM's counter.
        tpm: u64,
    },
    /// The TPM's own state was put back, as with a snapshot of a virtual machine.
    #[error(
        "the TPM is older than the store: it counted {tpm} changes, the store holds {store}; \
         drives still unlock, but nothing is changed or destroyed"
    )]
    TpmOld {
        /// The store's last change.
        store: u64,
        /// The TPM's counter.
        tpm: u64,
    },
}

impl AnchorProblem {
    fn advice(self) -> &'static str {
        match self {
            Self::StoreOld { .. } => {
                "Restore the newest copy of the store. If there is none and you know that no \
                 drive's PIN was changed since, take this one as it is with \
                 `opalbox lockbox enroll --accept-store`."
            }
            Self::TpmOld { .. } => {
                "Find out who restored the TPM's state: a restored TPM opens retired keys again. \
                 If it was you, go on with `opalbox lockbox enroll --accept-store`."
            }
        }
    }
}

/// Why the journal refuses a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalProblem {
    /// A version is staged already.
    #[error("version {0} is staged already")]
    AlreadyStaged(u64),
    /// No version is staged.
    #[error("no new version is staged")]
    NothingStaged,
    /// A Set was issued and nobody knows yet what the drive holds.
    #[error("a change was sent to the drive and its result is not known")]
    Unresolved,
    /// No such version, or its secret is destroyed.
    #[error("version {0} does not exist or has been destroyed")]
    NoVersion(u64),
    /// The role holds another kind of secret.
    #[error("the credential is not of that kind")]
    OtherKind,
}

impl JournalProblem {
    fn advice(&self) -> &'static str {
        match self {
            Self::AlreadyStaged(_) => {
                "Go on with the staged version, or abandon it if no Set was sent."
            }
            Self::NothingStaged => "Stage a version first.",
            Self::Unresolved => {
                "Find out which version the drive holds (the new one first), record it as \
                 active, then go on."
            }
            Self::NoVersion(_) => "Look at the versions with `opalbox key show`.",
            Self::OtherKind => "Use the kind the credential was made with.",
        }
    }
}

/// Why a record or a row is refused. The checks run in this order; those before
/// [`Refusal::WrongKey`] need no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not in the record format, or not in its one valid encoding.
    #[error("it is not a well-formed record")]
    Malformed,
    /// A format version that this software does not know.
    #[error("its format version is unknown")]
    FormatVersion,
    /// An algorithm suite that this software does not know.
    #[error("its algorithm suite is unknown")]
    Suite,
    /// It needs a second key half, which this version cannot combine.
    #[error("it needs a second key half, which this version of opalbox cannot combine")]
    SecondHalf,
    /// Of another fleet.
    #[error("it belongs to another fleet")]
    Fleet,
    /// Of another node.
    #[error("it belongs to another node's lockbox")]
    Node,
    /// Of another domain.
    #[error("it belongs to another domain")]
    Domain,
    /// Of another epoch.
    #[error("it belongs to another epoch")]
    Epoch,
    /// Of another Key ID.
    #[error("it belongs to another Key ID")]
    KeyId,
    /// Of another version of the secret.
    #[error("it belongs to another version of the secret")]
    Version,
    /// Of another kind.
    #[error("it is of another kind")]
    Kind,
    /// Its length does not fit.
    #[error("its length is not the one its header states")]
    Length,
    /// Salt or commitment do not fit the key.
    #[error("its key commitment does not match: sealed by another key, or salt altered")]
    WrongKey,
    /// The authentication tag does not fit.
    #[error("its content or header has been altered")]
    Altered,
    /// The row's MAC does not fit or is missing.
    #[error("its MAC does not match: the row has been altered")]
    RowMac,
    /// The set of rows is not the one that was written.
    #[error("a row that belongs to it was added or deleted")]
    References,
    /// The record is gone.
    #[error("it is missing from the store")]
    Missing,
}

impl Refusal {
    fn advice(self) -> &'static str {
        match self {
            Self::FormatVersion | Self::Suite | Self::SecondHalf => {
                "Use the version of opalbox that wrote it, or a newer one."
            }
            Self::Fleet | Self::Node | Self::Domain | Self::Epoch => {
                "The store was mixed with another one or an older one: restore it from the \
                 backup, and find out who put the record there."
            }
            _ => {
                "Somebody or something changed the store: keep a copy for inspection, restore \
                 the store from the backup, and run `opalbox lockbox check`."
            }
        }
    }
}
