// SPDX-License-Identifier: MIT OR Apache-2.0
//! Level 0 Discovery of this TPer (Core 2.01 §3.3.6; Opal 2.30 §3.1.1), and the protocol list.
//!
//! Written out byte by byte, apart from the host's decoder on purpose: one that shares its layouts
//! would agree with itself.

use alloc::vec::Vec;

use super::data_path::ranges;
use super::machine::Inner;
use super::profile::{Profile, Quirk, Ssc};
use crate::spec::{column, protocol, table};

/// Bytes of the discovery header.
const HEADER: usize = 48;

/// The whole answer.
pub(super) fn level_0(profile: &Profile, inner: &Inner) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.resize(HEADER, 0);
    // Major version 0, minor 1.
    set(&mut out, 6, &[0, 1]);
    tper(&mut out, profile);
    locking(&mut out, profile, inner);
    // Opal 1 is older than the descriptor.
    if profile.ssc != Ssc::Opal1 && !profile.quirks.has(Quirk::NoGeometry) {
        geometry(&mut out, profile);
    }
    if profile.features.single_user_mode {
        single_user_mode(&mut out, profile, inner);
    }
    if profile.features.data_stores {
        data_stores(&mut out, profile);
    }
    match profile.ssc {
        Ssc::Enterprise => first_ssc(&mut out, profile, 0x0100),
        Ssc::Opal1 => first_ssc(&mut out, profile, 0x0200),
        Ssc::Opal2 => {
            if profile.quirks.has(Quirk::TwoSscs) {
                first_ssc(&mut out, profile, 0x0200);
            }
            second_ssc(&mut out, profile, 0x0203, opal2_version(profile));
        }
        Ssc::Opalite => small_ssc(&mut out, profile, 0x0301),
        Ssc::Pyrite1 => small_ssc(&mut out, profile, 0x0302),
        Ssc::Pyrite2 => small_ssc(&mut out, profile, 0x0303),
        Ssc::Ruby => {
            if profile.quirks.has(Quirk::TwoSscs) {
                second_ssc(&mut out, profile, 0x0203, opal2_version(profile));
            }
            second_ssc(&mut out, profile, 0x0304, 0x10);
        }
    }
    if profile.features.block_sid {
        block_sid(&mut out, inner);
    }
    if profile.data_removal.mechanisms != 0 {
        data_removal(&mut out, profile, inner);
    }
    oddities(&mut out, profile);
    out
}

/// The header's length, and what some drives make of the whole.
fn oddities(out: &mut Vec<u8>, profile: &Profile) {
    let quirks = &profile.quirks;
    if quirks.has(Quirk::UnknownFeatures) {
        descriptor(out, 0x0406, 0x10, 0x0C);
        let at = descriptor(out, 0xC001, 0x10, 0x08);
        set(out, at + 4, &[0, 1, 0, 2, 1]);
    }
    if quirks.has(Quirk::FeaturesOutOfOrder) {
        let body = out.split_off(HEADER.min(out.len()));
        let mut parts = Vec::new();
        let mut rest = &body[..];
        while let Some(length) = rest.get(3) {
            let (part, after) = rest.split_at((4 + usize::from(*length)).min(rest.len()));
            parts.push(part);
            rest = after;
        }
        for part in parts.into_iter().rev() {
            out.extend_from_slice(part);
        }
    }
    if quirks.has(Quirk::VendorHeader) {
        set(out, 16, b"VENDOR UNIQUE AREA 0123456789 AB");
    }
    let uncounted = if quirks.has(Quirk::ShortDiscoveryLength) { HEADER } else { 4 };
    let length = out.len().saturating_sub(uncounted) as u32;
    set(out, 0, &length.to_be_bytes());
}

/// Security Protocol 0, the list of protocols (SPC-4): 0, 1 and 2.
pub(super) fn protocols() -> Vec<u8> {
    let list = [protocol::INFORMATION, protocol::TCG, protocol::TCG_MANAGEMENT];
    let mut out = Vec::from([0; 6]);
    out.extend_from_slice(&(list.len() as u16).to_be_bytes());
    out.extend_from_slice(&list);
    out
}

/// Appends a descriptor with zeroed data and returns where its code stands.
fn descriptor(out: &mut Vec<u8>, code: u16, version: u8, length: u8) -> usize {
    let at = out.len();
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&[version, length]);
    out.resize(at + 4 + usize::from(length), 0);
    at
}

fn set(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(slot) = out.get_mut(at..at + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
}

/// A byte from its bits, least significant first.
fn bits<const N: usize>(bits: [bool; N]) -> u8 {
    bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))
}

fn tper(out: &mut Vec<u8>, profile: &Profile) {
    let at = descriptor(out, 0x0001, 0x10, 0x0C);
    let com_id_management = profile.dynamic_com_ids != 0;
    // Sync, Streaming, ComID Management.
    set(out, at + 4, &[bits([true, false, false, false, true, false, com_id_management])]);
}

fn locking(out: &mut Vec<u8>, profile: &Profile, inner: &Inner) {
    use column::mbr_control as m;
    let tables = &inner.tables;
    let active = tables.is_active();
    let mbr = table::row::MBR_CONTROL_ROW;
    let mbr_enabled = active && tables.locking.flag(mbr, m::ENABLE);
    let locked = active && ranges(tables).iter().any(|r| r.read_locked || r.write_locked);
    // The bits for a missing shadow MBR and for hardware reset came with versions 2 and 3.
    let version = match profile.ssc {
        Ssc::Opal1 | Ssc::Enterprise => 0x10,
        Ssc::Opal2 => 0x30,
        _ if profile.features.hardware_reset => 0x30,
        _ => 0x20,
    };
    let no_mbr = version >= 0x20 && profile.mbr_size == 0;
    let at = descriptor(out, 0x0002, version, 0x0C);
    let byte = bits([
        true,
        active,
        locked,
        profile.ssc.encrypts(),
        mbr_enabled,
        mbr_enabled && tables.locking.flag(mbr, m::DONE),
        no_mbr,
        profile.features.hardware_reset,
    ]);
    set(out, at + 4, &[byte]);
}

fn geometry(out: &mut Vec<u8>, profile: &Profile) {
    let geometry = &profile.geometry;
    let at = descriptor(out, 0x0003, 0x10, 0x1C);
    set(out, at + 4, &[u8::from(geometry.alignment_required)]);
    let size = match geometry.block_size {
        512 if profile.quirks.has(Quirk::OddGeometry) => 4096,
        _ if profile.quirks.has(Quirk::OddGeometry) => 512,
        size => size,
    };
    set(out, at + 12, &size.to_be_bytes());
    set(out, at + 16, &geometry.alignment_granularity.to_be_bytes());
    set(out, at + 24, &geometry.lowest_aligned_lba.to_be_bytes());
}

fn single_user_mode(out: &mut Vec<u8>, profile: &Profile, inner: &Inner) {
    let config = &inner.tables.config;
    let objects = u32::from(profile.ranges) + 1;
    let any = !config.single_user.is_empty();
    let all = config.single_user.len() == objects as usize;
    let at = descriptor(out, 0x0201, 0x10, 0x0C);
    set(out, at + 4, &objects.to_be_bytes());
    let flags = if profile.quirks.has(Quirk::OddSingleUserFlags) {
        bits([false, true, false])
    } else {
        bits([any, all, any && config.policy])
    };
    set(out, at + 8, &[flags]);
}

fn data_stores(out: &mut Vec<u8>, profile: &Profile) {
    let at = descriptor(out, 0x0202, 0x20, 0x0C);
    set(out, at + 6, &profile.data_store.tables.to_be_bytes());
    set(out, at + 8, &profile.data_store.total.to_be_bytes());
    set(out, at + 12, &profile.data_store.alignment.to_be_bytes());
}

/// Enterprise and Opal 1.
fn first_ssc(out: &mut Vec<u8>, profile: &Profile, code: u16) {
    let at = com_ids(out, profile, code, 0x10);
    set(out, at + 8, &[u8::from(profile.range_crossing_forbidden)]);
}

/// Opalite and Pyrite. Bytes 13 and 14: the SID's PIN is the MSID, also after Revert.
fn small_ssc(out: &mut Vec<u8>, profile: &Profile, code: u16) {
    com_ids(out, profile, code, 0x10);
}

/// Opal 2 and Ruby.
fn second_ssc(out: &mut Vec<u8>, profile: &Profile, code: u16, version: u8) {
    let at = com_ids(out, profile, code, version);
    set(out, at + 8, &[u8::from(profile.range_crossing_forbidden)]);
    set(out, at + 9, &profile.admins.to_be_bytes());
    set(out, at + 11, &profile.users.to_be_bytes());
    // Bytes 13 and 14: the SID's PIN is the MSID, also after Revert.
}

/// What every SSC's descriptor begins with.
fn com_ids(out: &mut Vec<u8>, profile: &Profile, code: u16, version: u8) -> usize {
    let at = descriptor(out, code, version, 0x10);
    set(out, at + 4, &profile.base_com_id.to_be_bytes());
    set(out, at + 6, &profile.com_ids.to_be_bytes());
    at
}

const fn opal2_version(profile: &Profile) -> u8 {
    let minor = profile.opal2_minor();
    let version = if minor >= 2 { 0x20 } else { 0x10 };
    version | minor
}

fn block_sid(out: &mut Vec<u8>, inner: &Inner) {
    let block = &inner.block;
    let at = descriptor(out, 0x0402, 0x20, 0x0C);
    let state = bits([!inner.tables.sid_is_msid, block.blocked, true, block.frozen]);
    set(out, at + 4, &[state, u8::from(block.cleared_by_hardware_reset)]);
}

fn data_removal(out: &mut Vec<u8>, profile: &Profile, inner: &Inner) {
    let removal = &profile.data_removal;
    // Pyrite knows only the first version.
    let version = if profile.ssc.encrypts() { 0x20 } else { 0x10 };
    let at = descriptor(out, 0x0404, version, 0x20);
    let processing = inner.removal.is_some();
    let interrupted = inner.ledger.interrupted && !processing && version >= 0x20;
    set(out, at + 5, &[bits([processing, interrupted]), removal.mechanisms]);
    // In units of two seconds, at least one.
    let units = removal.duration.as_secs().div_ceil(2).clamp(1, 0xFFFF) as u16;
    for mechanism in 0..6 {
        if removal.supports(mechanism) {
            set(out, at + 8 + 2 * mechanism as usize, &units.to_be_bytes());
        }
    }
}
