// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`TpmError`]: what a TPM's answer means and what to do about it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tss_esapi::constants::response_code::Tss2ResponseCode;

/// A failure of the TPM or of the way to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TpmError {
    /// The TPM refused a command.
    #[error("the TPM refused to {doing}: {} (code {code:#x})", meaning(*.code).0)]
    Refused {
        /// What was being done.
        doing: Cow<'static, str>,
        /// The response code.
        code: u32,
    },
    /// The TPM cannot be reached.
    #[error("the TPM cannot be reached at {tcti} (code {code:#x})")]
    Unreachable {
        /// The connection.
        tcti: String,
        /// The response code.
        code: u32,
    },
    /// Not a connection string that is taken literally.
    #[error("{0:?} is not a TPM connection")]
    Tcti(String),
    /// The TPM's parent key is not the lockbox's.
    #[error("this is not the TPM that the lockbox was made with, or it has been cleared")]
    Foreign,
    /// The boot state is not an approved one.
    #[error("the measured boot state is not an approved one{}", changed_text(.changed))]
    NotApproved {
        /// The PCRs whose values differ from the nearest approved state.
        changed: Vec<u8>,
    },
    /// The owner authorisation is set and is not ours.
    #[error("the TPM's owner authorisation was set by someone else")]
    OwnerTaken,
    /// Both slots of the domain are in use.
    #[error("both key slots of the domain are in use")]
    NoIdleSlot,
    /// A slot is not what was defined.
    #[error("the TPM's key slot is missing or is not the one that was defined")]
    SlotChanged,
    /// The PCRs would protect nothing, or may not be used.
    #[error("{0}")]
    Pcrs(String),
    /// The TPM lacks something the lockbox needs.
    #[error("the TPM lacks {0}")]
    Lacks(Cow<'static, str>),
    /// The provider's notes in the store are damaged.
    #[error("the lockbox's notes about the TPM are damaged ({0})")]
    Notes(Cow<'static, str>),
    /// The process that speaks with the TPM did not do its part.
    #[error("the process that speaks with the TPM {0}")]
    Helper(String),
    /// The TPM did not answer in time.
    #[error("the TPM did not answer within {0} seconds")]
    TimedOut(u64),
    /// The TPM library refused a value before sending it.
    #[error("the TPM library refused to {doing}: {what}")]
    Library {
        /// What was being done.
        doing: Cow<'static, str>,
        /// Its words.
        what: String,
    },
}

impl TpmError {
    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Refused { code, .. } => meaning(*code).1.into(),
            Self::Unreachable { .. } => {
                "Check that the machine has a TPM 2.0, that it is switched on in the firmware, \
                 and that the user is in group tss; name another connection with --tcti."
                    .into()
            }
            Self::Tcti(_) => "Give device:/dev/tpmrm0 or swtpm:host=127.0.0.1,port=PORT, with \
                              nothing else in it."
                .into(),
            Self::Foreign => {
                "Use the machine the lockbox was made on. If its TPM was replaced or cleared, \
                 restore the lockbox from its backup onto this one."
                    .into()
            }
            Self::NotApproved { .. } => {
                "If you changed firmware, boot loader, kernel or settings, approve the new state \
                 with `opalbox lockbox enroll`. If you did not, find out what changed \
                 before you give it any secret."
                    .into()
            }
            Self::OwnerTaken => {
                "Use the lockbox that owns this TPM, or clear the TPM in the firmware (that \
                 destroys everything sealed in it) and run init again."
                    .into()
            }
            Self::NoIdleSlot => "Finish or abort the rotation that is under way.".into(),
            Self::SlotChanged => {
                "Somebody removed or replaced it in the TPM: restore the lockbox from its backup."
                    .into()
            }
            Self::Pcrs(_) => "Choose other PCRs with --pcrs, for example 4,7,8,9.".into(),
            Self::Lacks(_) => "Update its firmware, or use another TPM or a passphrase.".into(),
            Self::Notes(_) => "Restore the lockbox from its backup.".into(),
            Self::Helper(_) => "Try again; if it stays so, report it.".into(),
            Self::TimedOut(_) => {
                "Check whether another program keeps the TPM busy, then try again. If it never \
                 answers, switch the machine off and on."
                    .into()
            }
            Self::Library { .. } => {
                "Report this with the output of `opalbox lockbox status`.".into()
            }
        }
    }

    /// The response code, if the TPM gave one.
    pub(super) fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } | Self::Unreachable { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same conversation may work a moment later.
    pub(super) fn is_passing(&self) -> bool {
        // RETRY, TESTING, YIELDED, NV_RATE, CONTEXT_GAP, and a PCR extended in between.
        self.code().is_some_and(|code| {
            matches!(strip(code), 0x922 | 0x90a | 0x908 | 0x920 | 0x901 | 0x128)
        })
    }

    /// Whether killed conversations have left the TPM's few slots full.
    pub(super) fn is_full(&self) -> bool {
        self.code().is_some_and(|code| matches!(strip(code), 0x902 | 0x903))
    }

    /// Whether an answer was altered on the way. The library then refuses even to clean up.
    pub(super) fn is_tampered(&self) -> bool {
        matches!(self.code(), Some(0x7_001b | 0x7_0007))
    }
}

/// Gives a library error the name of what was being done.
pub(super) fn refused(doing: &'static str) -> impl Fn(tss_esapi::Error) -> TpmError {
    move |error| match error {
        tss_esapi::Error::Tss2Error(code) => {
            TpmError::Refused { doing: doing.into(), code: number(code) }
        }
        tss_esapi::Error::WrapperError(kind) => {
            TpmError::Library { doing: doing.into(), what: kind.to_string() }
        }
    }
}

/// The number of a response code. The library keeps it private but prints it.
pub(super) fn number(code: Tss2ResponseCode) -> u32 {
    let text = match code {
        Tss2ResponseCode::Success => return 0,
        Tss2ResponseCode::FormatZero(code) => code.to_string(),
        Tss2ResponseCode::FormatOne(code) => code.to_string(),
    };
    text.rsplit_once("0x").and_then(|(_, hex)| u32::from_str_radix(hex, 16).ok()).unwrap_or(0)
}

/// The kernel's resource manager marks its own answers; the code below is the TPM's.
fn strip(code: u32) -> u32 {
    if code & 0xffff_0000 == 0x000b_0000 { code & 0xffff } else { code }
}

/// Cause and remedy of a response code that a user can meet.
fn meaning(code: u32) -> (&'static str, &'static str) {
    const AGAIN: &str = "Try again in a moment.";
    const ENROLL: &str = "If you changed firmware, boot loader or kernel, approve the new state \
                          with `opalbox lockbox enroll`.";
    const BACKUP: &str = "Restore the lockbox from its backup.";
    const REPORT: &str = "Report this with the output of `opalbox lockbox status`.";
    match strip(code) {
        0x0084 | 0x01c4 => ("the boot state is not the approved one", ENROLL),
        0x04c4 => ("the stored approval is for another boot state or another TPM", ENROLL),
        0x0128 => ("a boot measurement changed during the conversation", AGAIN),
        0x099d => ("the approval does not cover this key", ENROLL),
        0x014a => ("the key slot has never been written", "Run init again: it was interrupted."),
        0x014b => (
            "its non-volatile memory is full",
            "Remove what other programs left in it \
                    (tpm2_getcap handles-nv-index), then try again.",
        ),
        0x018b | 0x028b => (
            "the object is not in this TPM",
            "The TPM was cleared or is another \
                    one: restore the lockbox from its backup.",
        ),
        0x01df | 0x03df => ("the stored object is damaged or of another TPM", BACKUP),
        0x02db | 0x05db => ("a signature is forged or damaged", BACKUP),
        0x098e => (
            "wrong authorisation; the TPM counts these",
            "Check the PIN; after a few more \
                    the TPM locks for a while.",
        ),
        0x09a2 => (
            "wrong authorisation",
            "The TPM's owner authorisation is not the one in this \
                    lockbox's admin box.",
        ),
        0x0921 => (
            "too many wrong authorisations: it is locked",
            "Wait for the TPM's lockout \
                    time to pass (tpm2_getcap properties-variable), then try with care.",
        ),
        0x0902..=0x0904 => (
            "its few slots are full",
            "Another program holds them: use \
                    device:/dev/tpmrm0 rather than /dev/tpm0, or wait.",
        ),
        0x0922 | 0x090a | 0x0908 => ("it is busy", AGAIN),
        0x0920 => ("it limits writes to its memory", "Wait a minute, then try again."),
        0x0901 => ("its session counter wrapped", AGAIN),
        0x0101 => (
            "it has failed",
            "Restart the machine; if it stays so, the TPM is broken: \
                    restore the lockbox from its backup on another machine.",
        ),
        0x0143 => ("it does not know the command", "Use another TPM or a passphrase."),
        0x0082 | 0x0149 | 0x012f => ("the object has other attributes than expected", REPORT),
        0x01d5 | 0x03d5 | 0x02d6 => ("a value has the wrong size or form", REPORT),
        _ => match code {
            0x7_001b => (
                "its answer was altered on the way",
                "Somebody may be tampering with \
                    the TPM's bus: inspect the machine before you trust it.",
            ),
            0x7_001a => ("two sessions tried to encrypt one command", REPORT),
            0xa_000a => (
                "the connection failed",
                "Check that the TPM or swtpm is running and \
                    that its control channel is open.",
            ),
            0x7_0007 | 0x7_0018 => ("the TPM library lost its state", AGAIN),
            _ => ("it gives no cause known here", REPORT),
        },
    }
}

fn changed_text(changed: &[u8]) -> String {
    if changed.is_empty() {
        return String::new();
    }
    let list: Vec<String> = changed.iter().map(u8::to_string).collect();
    format!(" (changed: PCR {})", list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_librarys_types() {
        for code in [0x1c4, 0x98e, 0x921, 0x902, 0x7_001b, 0xa_000a, 0xb_0143, 0x14b] {
            assert_eq!(number(Tss2ResponseCode::from(code)), code, "{code:#x}");
        }
    }

    #[test]
    fn every_code_of_the_table_is_explained() {
        let unknown = meaning(0xdead).0;
        for code in [
            0x84, 0x82, 0x128, 0x12f, 0x14a, 0x14b, 0x1c4, 0x4c4, 0x1d5, 0x3d5, 0x1df, 0x3df,
            0x2d6, 0x2db, 0x5db, 0x98e, 0x9a2, 0x99d, 0x902, 0x903, 0x921, 0x7_001a, 0xa_000a,
            0x922, 0x90a, 0x908, 0x920, 0x901, 0xb_0143,
        ] {
            let (cause, advice) = meaning(code);
            assert_ne!(cause, unknown, "{code:#x}");
            assert!(advice.len() > 10, "{code:#x}");
        }
    }

    #[test]
    fn the_resource_managers_mark_is_masked() {
        assert_eq!(meaning(0xb_0902), meaning(0x902));
        assert!(TpmError::Refused { doing: "x".into(), code: 0xb_0922 }.is_passing());
        assert!(TpmError::Refused { doing: "x".into(), code: 0xb_0902 }.is_full());
    }
}
