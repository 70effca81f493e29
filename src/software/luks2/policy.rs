// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Policy`]: what a header may ask for.
//!
//! LUKS2 does not authenticate its metadata: whoever can write to the device can make a header
//! that names a null cipher, a digest of one byte, or gigabytes of memory for a key derivation.
//! So a header is accepted only if it is of the one shape that Opalbox itself makes, or that
//! cryptsetup makes by default; anything else is refused with the reason.

use super::binary::SIZES;
use super::kdf::check_iterations;
use super::metadata::{Area, Digest, Extent, Id, Keyslot, Metadata, Segment};
use super::{AreaRange, DataSegment, Luks2Error};

/// The only cipher, for data and for keyslots.
pub(super) const CIPHER: &str = "aes-xts-plain64";
/// The only number of stripes the format knows.
pub(super) const STRIPES: usize = 4000;
/// Areas begin and end at multiples of this.
pub(super) const ALIGNMENT: u64 = 4096;
/// The largest keyslots area.
pub(super) const MAX_KEYSLOTS_SIZE: u64 = 128 << 20;

/// Bounds on what an unauthenticated header can make this process do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Most memory for Argon2, in KiB.
    pub max_memory: u32,
    /// Most Argon2 passes times KiB.
    pub max_passes: u64,
    /// Most PBKDF2 iterations.
    pub max_iterations: u32,
    /// Whether the header lies apart from the data; then data may begin anywhere.
    pub detached: bool,
}

impl Default for Policy {
    /// 4 GiB, as much as the format allows; a few minutes of computing; header and data on one
    /// device.
    fn default() -> Self {
        Self {
            max_memory: 4 << 20,
            max_passes: 1 << 28,
            max_iterations: 200_000_000,
            detached: false,
        }
    }
}

/// The checked outline of a header.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) segment: DataSegment,
    /// The digest of the segment's key, and its number.
    pub(super) digest: Digest,
    pub(super) digest_id: Id,
}

impl Policy {
    /// Checks metadata from a copy of `size` bytes.
    pub(super) fn check(&self, size: u64, metadata: &Metadata) -> Result<Checked, Luks2Error> {
        self.outline(size, metadata).map_err(Luks2Error::Refused)
    }

    fn outline(&self, size: u64, metadata: &Metadata) -> Result<Checked, String> {
        requirements(metadata)?;
        let areas = keyslots_area(size, metadata)?;
        let mut taken: Vec<AreaRange> = Vec::new();
        for (id, keyslot) in &metadata.keyslots {
            let range = self.keyslot(keyslot).map_err(|it| format!("keyslot {}: {it}", id.0))?;
            if range.start < areas.start || range.end > areas.end {
                return Err(format!("keyslot {} lies outside the keyslots area", id.0));
            }
            if taken.iter().any(|it| it.start < range.end && range.start < it.end) {
                return Err(format!("keyslot {} overlaps another", id.0));
            }
            taken.push(range);
        }
        let [(segment_id, segment)] = metadata.segments.iter().collect::<Vec<_>>()[..] else {
            return Err(format!("{} data segments instead of one", metadata.segments.len()));
        };
        let segment = self.segment(segment, areas.end)?;
        for (id, digest) in &metadata.digests {
            self.digest(digest, metadata).map_err(|it| format!("digest {}: {it}", id.0))?;
        }
        let mut digests =
            metadata.digests.iter().filter(|(_, it)| it.segments.contains(segment_id));
        match (digests.next(), digests.next()) {
            (Some((id, digest)), None) => {
                let keyslots = digest.keyslots.iter().filter_map(|it| metadata.keyslots.get(it));
                let sizes: Vec<usize> = keyslots.map(|it| it.key_size).collect();
                if sizes.windows(2).any(|it| it[0] != it[1]) {
                    return Err("keyslots of one volume differ in key size".into());
                }
                Ok(Checked { segment, digest: digest.clone(), digest_id: *id })
            }
            (None, _) => Err("no digest for the data segment".into()),
            (Some(_), Some(_)) => Err("several digests for the data segment".into()),
        }
    }

    fn keyslot(&self, keyslot: &Keyslot) -> Result<AreaRange, String> {
        if keyslot.kind == "reencrypt" {
            return Err("the volume is being re-encrypted; finish that with cryptsetup".into());
        }
        if keyslot.kind != "luks2" {
            return Err(format!("type {:?} is not supported", keyslot.kind));
        }
        key_size(keyslot.key_size)?;
        let Area { kind, offset, size, encryption, key_size: area_key, .. } = &keyslot.area;
        if kind != "raw" {
            return Err(format!("an area of type {kind:?} is not supported"));
        }
        cipher(encryption.as_deref())?;
        key_size(area_key.unwrap_or_default())?;
        let Some(af) = &keyslot.af else { return Err("no anti-forensic splitter".into()) };
        if af.kind != "luks1" || af.stripes != STRIPES {
            return Err(format!("splitter {:?} with {} stripes", af.kind, af.stripes));
        }
        let Some(kdf) = &keyslot.kdf else { return Err("no key derivation".into()) };
        kdf.check(self)?;
        if keyslot.priority.is_some_and(|it| it > 2) {
            return Err("a priority above 2".into());
        }
        let need = (keyslot.key_size * STRIPES) as u64;
        let end = offset.0.checked_add(size.0);
        match end {
            Some(end) if size.0 >= need && size.0.is_multiple_of(ALIGNMENT) => {
                Ok(AreaRange { start: offset.0, end })
            }
            _ => Err(format!("an area of {} bytes at {}", size.0, offset.0)),
        }
    }

    fn segment(&self, segment: &Segment, areas_end: u64) -> Result<DataSegment, String> {
        if segment.kind != "crypt" {
            return Err(format!("a data segment of type {:?}", segment.kind));
        }
        cipher(segment.encryption.as_deref())?;
        if segment.integrity.is_some() {
            return Err("integrity tags are not supported".into());
        }
        if let Some(flag) = segment.flags.first() {
            return Err(format!("data segment flag {flag:?}: finish this with cryptsetup"));
        }
        let sector_size = segment.sector_size.unwrap_or_default();
        if !matches!(sector_size, 512 | 1024 | 2048 | 4096) {
            return Err(format!("sectors of {sector_size} bytes"));
        }
        let offset = segment.offset.0;
        if !offset.is_multiple_of(u64::from(sector_size)) {
            return Err(format!("data begins at {offset}, within a sector"));
        }
        if !self.detached && offset < areas_end {
            return Err(format!(
                "data begins at {offset}, inside the header; give the data device too if this \
                 header is detached"
            ));
        }
        let length = match segment.size {
            Extent::Dynamic => None,
            Extent::Fixed(length) => {
                let whole = length > 0 && length.is_multiple_of(u64::from(sector_size));
                if !whole || offset.checked_add(length).is_none() {
                    return Err(format!("a data segment of {length} bytes"));
                }
                Some(length)
            }
        };
        let iv_offset = segment.iv_tweak.map_or(0, |it| it.0);
        if iv_offset > u64::MAX / 2 {
            return Err(format!("sector numbers begin at {iv_offset}"));
        }
        Ok(DataSegment { offset, length, sector_size, iv_offset })
    }

    fn digest(&self, digest: &Digest, metadata: &Metadata) -> Result<(), String> {
        if digest.kind != "pbkdf2" {
            return Err(format!("type {:?} is not supported", digest.kind));
        }
        check_iterations(digest.iterations, self)?;
        if !(8..=64).contains(&digest.salt.0.len()) {
            return Err(format!("a salt of {} bytes", digest.salt.0.len()));
        }
        // A short digest would let wrong keys pass.
        if digest.digest.0.len() != digest.hash.output_len() {
            return Err(format!("{} bytes instead of a whole hash", digest.digest.0.len()));
        }
        let known = digest.keyslots.iter().all(|it| metadata.keyslots.contains_key(it))
            && digest.segments.iter().all(|it| metadata.segments.contains_key(it));
        if known { Ok(()) } else { Err("it names a keyslot or segment that is not there".into()) }
    }
}

/// Where keyslots may lie.
pub(super) fn keyslots_area(size: u64, metadata: &Metadata) -> Result<AreaRange, String> {
    let config = &metadata.config;
    if !SIZES.contains(&size) || config.json_size.0 != size - ALIGNMENT {
        return Err(format!("a metadata area of {} bytes", config.json_size.0));
    }
    let length = config.keyslots_size.0;
    if length > MAX_KEYSLOTS_SIZE || !length.is_multiple_of(ALIGNMENT) {
        return Err(format!("a keyslots area of {length} bytes"));
    }
    Ok(AreaRange { start: 2 * size, end: 2 * size + length })
}

/// Anything that must be understood is not.
fn requirements(metadata: &Metadata) -> Result<(), String> {
    let Some(requirements) = &metadata.config.requirements else { return Ok(()) };
    let mandatory = match requirements {
        serde_json::Value::Object(all) => all.get("mandatory").unwrap_or(&serde_json::Value::Null),
        other => other,
    };
    let names: Vec<&str> = match mandatory {
        serde_json::Value::Null => Vec::new(),
        serde_json::Value::Array(names) => {
            names.iter().map(|it| it.as_str().unwrap_or("(not a name)")).collect()
        }
        _ => return Err("requirements that cannot be read".into()),
    };
    match names.iter().find(|it| it.contains("reencrypt")) {
        Some(name) => Err(format!(
            "requirement {name:?}: the volume is being re-encrypted; finish that with cryptsetup"
        )),
        None if names.is_empty() => Ok(()),
        None => Err(format!("requirements that are not supported: {names:?}")),
    }
}

fn cipher(name: Option<&str>) -> Result<(), String> {
    match name {
        Some(CIPHER) => Ok(()),
        other => Err(format!("cipher {:?}, only {CIPHER} is accepted", other.unwrap_or("none"))),
    }
}

fn key_size(bytes: usize) -> Result<(), String> {
    match bytes {
        32 | 64 => Ok(()),
        other => Err(format!("a key of {other} bytes")),
    }
}
