// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small volumes in memory, and a way to edit their headers with checksums that hold.

use opalbox::secret::Secret;
use opalbox::software::luks2::{Format, Kdf, Luks2, Policy};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) const SECRET: &[u8] = b"thirty-two bytes of a test's key";

/// A format that leaves room for eight keyslots and nothing else.
pub(crate) fn small() -> Format {
    Format { data_offset: 2 << 20, ..Format::default() }
}

/// A volume of 2 MiB and a few sectors, opened by [`SECRET`].
pub(crate) fn volume() -> (Luks2<Vec<u8>>, Secret) {
    let storage = vec![0xd5; (2 << 20) + 8192];
    Luks2::create(storage, &small(), SECRET, Kdf::for_random_secret()).unwrap()
}

/// Opens with the default policy.
pub(crate) fn open(bytes: &[u8]) -> Luks2<Vec<u8>> {
    Luks2::open(bytes.to_vec(), Policy::default()).unwrap()
}

/// The metadata of the first copy.
pub(crate) fn metadata(bytes: &[u8]) -> Value {
    let end = bytes[4096..].iter().position(|it| *it == 0).unwrap();
    serde_json::from_slice(&bytes[4096..4096 + end]).unwrap()
}

/// Both copies with other metadata, their checksums right.
pub(crate) fn with_metadata(bytes: &[u8], text: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for copy in [0, 0x4000] {
        let area = &mut bytes[copy + 4096..copy + 0x4000];
        area.fill(0);
        area[..text.len()].copy_from_slice(text);
        seal(&mut bytes[copy..copy + 0x4000]);
    }
    bytes
}

/// Both copies after `edit`.
pub(crate) fn edited(bytes: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = metadata(bytes);
    edit(&mut value);
    with_metadata(bytes, &serde_json::to_vec(&value).unwrap())
}

/// Makes the checksum of one copy right.
pub(crate) fn seal(copy: &mut [u8]) {
    copy[448..512].fill(0);
    let checksum = Sha256::digest(&*copy);
    copy[448..480].copy_from_slice(&checksum);
}
