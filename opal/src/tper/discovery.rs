// SPDX-License-Identifier: MIT OR Apache-2.0
//! Level 0 Discovery of this TPer (Core 2.01 §3.3.6; Opal 2.30 §3.1.1), and the protocol list.
//!
//! Written out byte by byte, apart from the host's decoder on purpose: one that shares its layouts
//! would agree with itself.

use alloc::vec::Vec;

use super::data_path::ranges;
use super::machine::Inner;
use super::preset::admin_sp::CRYPTOGRAPHIC_ERASE;
use super::profile::{Profile, Ssc};
use crate::spec::{column, protocol, table};

/// Bytes of the discovery header.
const HEADER: usize = 48;

/// The whole answer.
pub(super) fn level_0(profile: &Profile, inner: &Inner) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.resize(HEADER, 0);
    // Major version 0, minor 1.
    set(&mut out, 6, &[0, 1]);
    tper(&mut out);
    locking(&mut out, profile, inner);
    geometry(&mut out, profile);
    if profile.features.single_user_mode {
        single_user_mode(&mut out, profile, inner);
    }
    if profile.features.data_stores {
        data_stores(&mut out, profile);
    }
    match profile.ssc {
        Ssc::Opal2 => opal2(&mut out, profile),
    }
    if profile.features.block_sid {
        block_sid(&mut out, inner);
    }
    data_removal(&mut out);
    let length = (out.len() - 4) as u32;
    set(&mut out, 0, &length.to_be_bytes());
    out
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

fn tper(out: &mut Vec<u8>) {
    let at = descriptor(out, 0x0001, 0x10, 0x0C);
    // Sync and Streaming.
    set(out, at + 4, &[0x11]);
}

fn locking(out: &mut Vec<u8>, profile: &Profile, inner: &Inner) {
    use column::mbr_control as m;
    let tables = &inner.tables;
    let active = tables.is_active();
    let mbr = table::row::MBR_CONTROL_ROW;
    let mbr_enabled = active && tables.locking.flag(mbr, m::ENABLE);
    let locked = active && ranges(tables).iter().any(|r| r.read_locked || r.write_locked);
    let at = descriptor(out, 0x0002, 0x30, 0x0C);
    let byte = bits([
        true,
        active,
        locked,
        true,
        mbr_enabled,
        mbr_enabled && tables.locking.flag(mbr, m::DONE),
        false,
        profile.features.hardware_reset,
    ]);
    set(out, at + 4, &[byte]);
}

fn geometry(out: &mut Vec<u8>, profile: &Profile) {
    let geometry = &profile.geometry;
    let at = descriptor(out, 0x0003, 0x10, 0x1C);
    set(out, at + 4, &[u8::from(geometry.alignment_required)]);
    set(out, at + 12, &geometry.block_size.to_be_bytes());
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
    set(out, at + 8, &[bits([any, all, any && config.policy])]);
}

fn data_stores(out: &mut Vec<u8>, profile: &Profile) {
    let at = descriptor(out, 0x0202, 0x20, 0x0C);
    set(out, at + 6, &profile.data_store.tables.to_be_bytes());
    set(out, at + 8, &profile.data_store.total.to_be_bytes());
    set(out, at + 12, &profile.data_store.alignment.to_be_bytes());
}

fn opal2(out: &mut Vec<u8>, profile: &Profile) {
    let minor = profile.opal2_minor();
    let version = if minor >= 2 { 0x20 } else { 0x10 };
    let at = descriptor(out, 0x0203, version | minor, 0x10);
    set(out, at + 4, &profile.base_com_id.to_be_bytes());
    set(out, at + 6, &profile.com_ids.to_be_bytes());
    set(out, at + 8, &[u8::from(profile.range_crossing_forbidden)]);
    set(out, at + 9, &profile.admins.to_be_bytes());
    set(out, at + 11, &profile.users.to_be_bytes());
    // Bytes 13 and 14: the SID's PIN is the MSID, also after Revert.
}

fn block_sid(out: &mut Vec<u8>, inner: &Inner) {
    let block = &inner.block;
    let at = descriptor(out, 0x0402, 0x20, 0x0C);
    let state = bits([!inner.tables.sid_is_msid, block.blocked, true, block.frozen]);
    set(out, at + 4, &[state, u8::from(block.cleared_by_hardware_reset)]);
}

fn data_removal(out: &mut Vec<u8>) {
    let at = descriptor(out, 0x0404, 0x20, 0x20);
    set(out, at + 6, &[1 << CRYPTOGRAPHIC_ERASE]);
    // One unit of two seconds.
    set(out, at + 8 + 2 * CRYPTOGRAPHIC_ERASE as usize, &1u16.to_be_bytes());
}
