// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which measurements of the boot the lockbox depends on.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{PcrSelectionList, PcrSlot};

use super::code::{TpmError, refused};
use super::conversation;
use super::tcti::Tcti;

/// A PCR bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcrBank {
    /// SHA-256, which every TPM 2.0 has.
    Sha256,
    /// SHA-384.
    Sha384,
}

impl PcrBank {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
        }
    }

    fn algorithm(self) -> HashingAlgorithm {
        match self {
            Self::Sha256 => HashingAlgorithm::Sha256,
            Self::Sha384 => HashingAlgorithm::Sha384,
        }
    }
}

/// PCRs of one bank, written `sha256:4,7,8,9` or just `4,7,8,9`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PcrSelection {
    bank: PcrBank,
    pcrs: BTreeSet<u8>,
}

impl PcrSelection {
    /// The PCRs, ascending.
    pub fn pcrs(&self) -> impl Iterator<Item = u8> + '_ {
        self.pcrs.iter().copied()
    }

    /// A stand-in where none is chosen yet.
    pub(super) fn any() -> Self {
        Self::of(PcrBank::Sha256, &[7])
    }

    pub(super) fn list(&self) -> Result<PcrSelectionList, TpmError> {
        let slots: Vec<PcrSlot> = self.pcrs.iter().filter_map(|pcr| slot(*pcr)).collect();
        PcrSelectionList::builder()
            .with_selection(self.bank.algorithm(), &slots)
            .build()
            .map_err(refused("select PCRs"))
    }

    fn of(bank: PcrBank, pcrs: &[u8]) -> Self {
        Self { bank, pcrs: pcrs.iter().copied().collect() }
    }
}

impl fmt::Display for PcrSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pcrs: Vec<String> = self.pcrs.iter().map(u8::to_string).collect();
        write!(f, "{}:{}", self.bank.name(), pcrs.join(","))
    }
}

impl FromStr for PcrSelection {
    type Err = TpmError;

    fn from_str(text: &str) -> Result<Self, TpmError> {
        let refused = |why: &str| TpmError::Pcrs(format!("{text:?}: {why}"));
        let (bank, list) = match text.split_once(':') {
            None => (PcrBank::Sha256, text),
            Some(("sha256", list)) => (PcrBank::Sha256, list),
            Some(("sha384", list)) => (PcrBank::Sha384, list),
            Some(_) => return Err(refused("the bank must be sha256 or sha384")),
        };
        let mut pcrs = BTreeSet::new();
        for pcr in list.split([',', '+']) {
            let number: u8 = pcr.parse().map_err(|_| refused("PCRs are numbers from 0 to 20"))?;
            // 16 and 21..=23 can be reset by anyone, and extending them does not even end a
            // policy session that has checked them.
            if matches!(number, 16 | 21..=23) {
                return Err(refused("PCR 16 and 21 to 23 can be reset and protect nothing"));
            }
            if number > 20 {
                return Err(refused("PCRs are numbers from 0 to 20"));
            }
            pcrs.insert(number);
        }
        Ok(Self { bank, pcrs })
    }
}

impl TryFrom<String> for PcrSelection {
    type Error = TpmError;

    fn try_from(text: String) -> Result<Self, TpmError> {
        text.parse()
    }
}

impl From<PcrSelection> for String {
    fn from(selection: PcrSelection) -> Self {
        selection.to_string()
    }
}

/// Who chooses the PCRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PcrChoice {
    /// By what the machine measures: 7, 11, 14 with a unified kernel image, else 4, 7, 8, 9.
    Default,
    /// The user.
    Given(PcrSelection),
}

/// What is known about the boot besides the PCRs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootFacts {
    /// Whether Secure Boot is on, where the firmware says.
    pub secure_boot: Option<bool>,
}

impl BootFacts {
    /// Reads the firmware's variable. `sys` is `/sys`, or a copy of it in tests.
    #[must_use]
    pub fn probe(sys: &Path) -> Self {
        let variable = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        // Four bytes of attributes, then the value (UEFI 2.10 §3.3).
        let secure_boot = std::fs::read(sys.join(variable))
            .ok()
            .and_then(|bytes| bytes.get(4).map(|value| *value == 1));
        Self { secure_boot }
    }
}

/// Settles the PCRs, and refuses those that would admit any edited system on this machine.
pub(super) fn choose(
    tcti: &Tcti,
    choice: PcrChoice,
    boot: BootFacts,
) -> Result<PcrSelection, TpmError> {
    let selection = match choice {
        PcrChoice::Given(selection) => selection,
        PcrChoice::Default => {
            let unified = conversation::read_pcrs(tcti, &PcrSelection::of(PcrBank::Sha256, &[11]))?
                .iter()
                .any(|(_, value)| value.iter().any(|byte| *byte != 0));
            let pcrs: &[u8] = if unified { &[7, 11, 14] } else { &[4, 7, 8, 9] };
            PcrSelection::of(PcrBank::Sha256, pcrs)
        }
    };
    let values = conversation::read_pcrs(tcti, &selection)?;
    if values.len() != selection.pcrs.len() {
        return Err(TpmError::Pcrs(format!("the TPM does not have all of PCRs {selection}")));
    }
    // Without Secure Boot, PCR 7 only says that it is off: any boot loader gives the same value.
    if !tcti.is_software() && boot.secure_boot != Some(true) && !selection.pcrs.contains(&4) {
        return Err(TpmError::Pcrs(format!(
            "Secure Boot is off and PCRs {selection} do not include 4: any boot loader would pass"
        )));
    }
    Ok(selection)
}

/// The library's name of a PCR.
fn slot(pcr: u8) -> Option<PcrSlot> {
    PcrSlot::try_from(1_u32.checked_shl(pcr.into())?).ok()
}

/// The number of the library's PCR.
pub(super) fn slot_number(slot: PcrSlot) -> u8 {
    // One bit per PCR, of 24.
    u32::from(slot).trailing_zeros() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_round_trip() {
        for (text, shown) in [
            ("7,4,9,8", "sha256:4,7,8,9"),
            ("sha384:7+11+14", "sha384:7,11,14"),
            ("sha256:0", "sha256:0"),
        ] {
            let selection: PcrSelection = text.parse().unwrap();
            assert_eq!(selection.to_string(), shown);
            assert!(selection.list().is_ok());
        }
    }

    #[test]
    fn resettable_and_absent_pcrs_are_refused() {
        for text in ["16", "7,21", "22", "23", "24", "99", "", "7,", "sha1:7", "x", "-1"] {
            assert!(text.parse::<PcrSelection>().is_err(), "{text}");
        }
    }

    #[test]
    fn pcr_numbers_map_both_ways() {
        for pcr in 0..24 {
            assert_eq!(slot(pcr).map(slot_number), Some(pcr));
        }
    }

    #[test]
    fn secure_boot_is_read_from_the_firmware_variable() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(BootFacts::probe(sys.path()).secure_boot, None);
        let vars = sys.path().join("firmware/efi/efivars");
        std::fs::create_dir_all(&vars).unwrap();
        let file = vars.join("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        for (value, expected) in [(1, Some(true)), (0, Some(false))] {
            std::fs::write(&file, [6, 0, 0, 0, value]).unwrap();
            assert_eq!(BootFacts::probe(sys.path()).secure_boot, expected);
        }
    }
}
