// SPDX-License-Identifier: MIT OR Apache-2.0
//! Named profiles: what kind of drive a new image becomes.

use opal::tper::Profile;
use opal::tper::profile::Geometry;

use super::image::{Header, ImageError};
use crate::sim_wire::Interface;

/// A kind of drive that `opal-emulator create --profile NAME` makes.
#[derive(Clone, Copy, Debug)]
pub struct NamedProfile {
    /// What to type.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    interface: Interface,
    adjust: fn(&mut Profile),
}

/// All of them.
pub const PROFILES: &[NamedProfile] = &[
    NamedProfile {
        name: "opal2",
        about: "NVMe, Opal 2.01: 8 ranges, 9 users, 4 administrators, PSID, no try limits",
        interface: Interface::Nvme,
        adjust: |_| {},
    },
    NamedProfile {
        name: "opal2-sata",
        about: "the same on SATA",
        interface: Interface::Sata,
        adjust: |_| {},
    },
    NamedProfile {
        name: "opal2-sas",
        about: "the same on SAS",
        interface: Interface::Sas,
        adjust: |_| {},
    },
    NamedProfile {
        name: "opal2-strict",
        about: "NVMe; 5 wrong PINs lock an authority out, ranges cannot be crossed, 1 MiB alignment",
        interface: Interface::Nvme,
        adjust: |profile| {
            profile.try_limits.sid = 5;
            profile.try_limits.psid = 5;
            profile.try_limits.others = 5;
            profile.range_crossing_forbidden = true;
            let size = u64::from(profile.geometry.block_size);
            profile.geometry.alignment_granularity = (1 << 20) / size;
        },
    },
];

/// What a person chooses about a new drive; what is left out is random.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Size of the media in bytes: whole megabytes.
    pub size: u64,
    /// 512 or 4096.
    pub block_size: u32,
    /// Serial number.
    pub serial: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// MSID: 1 to 32 bytes.
    pub msid: Option<String>,
}

impl NamedProfile {
    /// The profile called `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// The header of a new drive.
    ///
    /// # Errors
    /// A choice is out of bounds.
    pub fn header(&self, choices: &Choices) -> Result<Header, ImageError> {
        let block_size = choices.block_size;
        if !matches!(block_size, 512 | 4096) {
            return Err(ImageError::Parameter("--block-size is 512 or 4096".into()));
        }
        if choices.size == 0 || !choices.size.is_multiple_of(1 << 20) {
            return Err(ImageError::Parameter("--size is a whole number of megabytes".into()));
        }
        let mut identity = [0u8; 40];
        getrandom::fill(&mut identity).map_err(|_| ImageError::Random)?;
        let (drive, rest) = identity.split_first_chunk::<16>().ok_or(ImageError::Random)?;
        let (nguid, rest) = rest.split_first_chunk::<16>().ok_or(ImageError::Random)?;
        let unit = rest.first_chunk::<8>().ok_or(ImageError::Random)?;
        // NAA 5h (IEEE registered) with the company id 000000h, which belongs to nobody who makes
        // drives, and a random unit.
        let wwn = 0x5 << 60 | u64::from_be_bytes(*unit) & 0xF_FFFF_FFFF;
        let mut profile = Profile::opal2();
        profile.blocks = choices.size / u64::from(block_size);
        profile.geometry = Geometry { block_size, ..profile.geometry };
        if block_size == 4096 {
            profile.geometry.alignment_granularity = 1;
        }
        profile.msid = match &choices.msid {
            Some(msid) => msid.as_bytes().to_vec(),
            None => label(32)?.into_bytes(),
        };
        if let Some(naa) = profile.gudid.get_mut(4..) {
            naa.copy_from_slice(&wwn.to_be_bytes());
        }
        (self.adjust)(&mut profile);
        let serial = match &choices.serial {
            Some(serial) => serial.clone(),
            None => format!("EMU{}", label(9)?),
        };
        let header = Header {
            drive: *drive,
            model: choices.model.clone().unwrap_or_else(|| "Opalbox emulated drive".to_owned()),
            serial,
            firmware: env!("CARGO_PKG_VERSION").chars().take(8).collect(),
            wwn,
            nguid: *nguid,
            interface: self.interface,
            profile_name: self.name.to_owned(),
            profile,
        };
        header.check()?;
        Ok(header)
    }
}

/// A random text as labels carry it: `length` characters of 0-9 and A-Z without I, L, O and U.
///
/// # Errors
/// No randomness.
pub fn label(length: usize) -> Result<String, ImageError> {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut bytes = zeroize::Zeroizing::new(vec![0u8; length]);
    getrandom::fill(&mut bytes).map_err(|_| ImageError::Random)?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'0')))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_makes_a_drive() {
        for profile in PROFILES {
            for block_size in [512, 4096] {
                let choices = Choices { size: 64 << 20, block_size, ..Choices::default() };
                let header = profile.header(&choices).unwrap();
                assert_eq!(header.profile.blocks * u64::from(block_size), 64 << 20);
                assert_eq!(NamedProfile::find(profile.name).unwrap().name, profile.name);
                let other = profile.header(&choices).unwrap();
                assert_ne!(header.profile.msid, other.profile.msid);
                assert_ne!(header.serial, other.serial);
            }
        }
    }

    #[test]
    fn unusable_choices_are_refused() {
        let profile = &PROFILES[0];
        let good = Choices { size: 1 << 20, block_size: 512, ..Choices::default() };
        assert!(profile.header(&good).is_ok());
        for bad in [
            Choices { size: 0, ..good.clone() },
            Choices { size: (1 << 20) + 512, ..good.clone() },
            Choices { block_size: 520, ..good.clone() },
            Choices { serial: Some("much too long a serial number".into()), ..good.clone() },
            Choices { model: Some("tab\there".into()), ..good.clone() },
            Choices { msid: Some(String::new()), ..good.clone() },
            Choices { msid: Some("x".repeat(33)), ..good },
        ] {
            assert!(profile.header(&bad).is_err(), "{bad:?}");
        }
    }
}
