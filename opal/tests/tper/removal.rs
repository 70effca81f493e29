// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data removal that takes time, and what interrupts it; dynamic ComIDs.

use core::time::Duration;

use opal::spec::{authority, locking, method, sp};
use opal::tper::{IfError, Profile, Reset};
use opal::wire::packet::Envelope;
use opal::wire::{CallBuilder, Status};

use crate::support::{Bench, COM_ID, HSN, PSID, profile};

const SECOND: Duration = Duration::from_secs(1);

/// A drive that takes ten seconds to remove data.
fn slow() -> Profile {
    let mut profile = profile();
    profile.data_removal.duration = 10 * SECOND;
    profile
}

/// Processing and Interrupted in discovery.
fn bits(bench: &Bench) -> (bool, bool) {
    let discovery = bench.tper.discovery();
    let mut at = 48;
    while discovery[at..at + 2] != [0x04, 0x04] {
        at += 4 + usize::from(discovery[at + 3]);
    }
    (discovery[at + 5] & 1 != 0, discovery[at + 5] & 2 != 0)
}

/// Lets time pass, and persists what it changed.
fn wait(bench: &mut Bench, time: Duration) {
    let mut pending = bench.tper.session_timeouts(time);
    let (changed, state) = (pending.changed(), pending.state());
    let effects = pending.effects().to_vec();
    pending.platform().apply(&effects);
    pending.commit();
    if changed {
        bench.disk = (state, bench.tper.platform().clone());
    }
}

const BUSY: [u8; 12] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// Begins a Revert with the PSID; the session's number.
fn begin_revert(bench: &mut Bench) -> u32 {
    let session = bench.start(sp::ADMIN, Some((authority::PSID, PSID))).unwrap();
    let call = CallBuilder::new(sp::ADMIN, method::REVERT).finish();
    let envelope = Envelope { com_id: COM_ID, tsn: session.tsn, hsn: HSN, ..Envelope::default() };
    let answer = bench.exchange(&envelope.wrap(&call));
    assert_eq!(answer[8..20], BUSY);
    session.tsn
}

#[test]
fn a_revert_takes_its_time() {
    let mut bench = Bench::activated(slow(), b"owner");
    let key = bench.tper.platform().key(0);
    assert_eq!(bits(&bench), (false, false));
    begin_revert(&mut bench);
    assert_eq!(bits(&bench), (true, false));
    assert!(bench.tper.is_active());
    assert_eq!(bench.tper.platform().key(0), key);
    // The host may only poll.
    let again = bench.tper.if_send(1, COM_ID, &[0; 512]).map(drop);
    assert_eq!(again, Err(IfError::ProtocolViolation));
    wait(&mut bench, 9 * SECOND);
    assert_eq!(bench.tper.if_recv(1, COM_ID, 512).unwrap()[8..20], BUSY);
    wait(&mut bench, SECOND);
    assert_eq!(bits(&bench), (false, false));
    assert!(!bench.tper.is_active());
    assert_ne!(bench.tper.platform().key(0), key);
    let answer = bench.tper.if_recv(1, COM_ID, 512).unwrap();
    assert_eq!(answer[56..64], [0xF0, 0xF1, 0xF9, 0xF0, 0, 0, 0, 0xF1]);
    assert_eq!(bench.tper.open_sessions(), 0);
    bench.power_cycle();
    assert_eq!(bits(&bench), (false, false));
}

#[test]
fn power_loss_interrupts_and_another_revert_finishes() {
    let mut bench = Bench::activated(slow(), b"owner");
    let key = bench.tper.platform().key(0);
    begin_revert(&mut bench);
    wait(&mut bench, 5 * SECOND);
    bench.power_cycle();
    assert_eq!(bits(&bench), (false, true));
    assert!(bench.tper.is_active(), "the Locking SP is as it was");
    assert_eq!(bench.tper.platform().key(0), key);
    bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    // The bit stays, through more power cycles too, until a removal gets to its end.
    bench.power_cycle();
    assert_eq!(bits(&bench), (false, true));
    begin_revert(&mut bench);
    assert_eq!(bits(&bench), (true, false));
    wait(&mut bench, 10 * SECOND);
    bench.tper.if_recv(1, COM_ID, 512).unwrap();
    assert_eq!(bits(&bench), (false, false));
    bench.power_cycle();
    assert_eq!(bits(&bench), (false, false));
    assert_ne!(bench.tper.platform().key(0), key);
}

#[test]
fn resets_interrupt_a_gen_key() {
    for by_stack_reset in [false, true] {
        let mut bench = Bench::activated(slow(), b"owner");
        let key = bench.tper.platform().key(1);
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
        let call = CallBuilder::new(locking::key_256(1), method::GEN_KEY).finish();
        let envelope =
            Envelope { com_id: COM_ID, tsn: session.tsn, hsn: HSN, ..Envelope::default() };
        assert_eq!(bench.exchange(&envelope.wrap(&call))[8..20], BUSY);
        if by_stack_reset {
            bench.send(2, COM_ID, &[0x10, 0, 0, 0, 0, 0, 0, 2]).unwrap();
        } else {
            bench.reset(Reset::Hardware);
        }
        assert_eq!(bits(&bench), (false, true));
        wait(&mut bench, 20 * SECOND);
        assert_eq!(bench.tper.platform().key(1), key);
        assert_eq!(bench.tper.if_recv(1, COM_ID, 512).unwrap().len(), 20);
    }
}

#[test]
fn a_removal_that_is_not_persisted_never_began() {
    let mut bench = Bench::activated(slow(), b"owner");
    let session = bench.start(sp::ADMIN, Some((authority::PSID, PSID))).unwrap();
    let call = CallBuilder::new(sp::ADMIN, method::REVERT).finish();
    let envelope = Envelope { com_id: COM_ID, tsn: session.tsn, hsn: HSN, ..Envelope::default() };
    let pending = bench.tper.if_send(1, COM_ID, &envelope.wrap(&call)).unwrap();
    assert!(pending.changed(), "interrupted has to be durable before the host waits");
    drop(pending);
    assert_eq!(bits(&bench), (false, false));
    let answer = bench.tper.if_recv(1, COM_ID, 512).unwrap();
    assert_eq!(answer[60], Status::TPER_MALFUNCTION.0);
}

#[test]
fn failures_are_told_at_once() {
    let mut bench = Bench::activated(slow(), b"owner");
    let session = bench.start(sp::ADMIN, None).unwrap();
    let refused = bench.call(session, sp::ADMIN, method::REVERT, |_| {});
    assert_eq!(refused, Err(Status::NOT_AUTHORIZED));
    assert_eq!(bits(&bench), (false, false));
}

/// GET_COMID: ComID and extension.
fn issue(bench: &mut Bench) -> (u16, u16) {
    let answer = bench.tper.if_recv(2, 0, 512).unwrap();
    assert_eq!(answer.len(), 4);
    (u16::from_be_bytes([answer[0], answer[1]]), u16::from_be_bytes([answer[2], answer[3]]))
}

/// VERIFY_COMID_VALID: the state.
fn verify(bench: &mut Bench, com_id: u16, extension: u16) -> u8 {
    let request = [&com_id.to_be_bytes()[..], &extension.to_be_bytes(), &[0, 0, 0, 1]].concat();
    bench.send(2, com_id, &request).unwrap();
    let answer = bench.tper.if_recv(2, com_id, 512).unwrap();
    assert_eq!(answer[..8], request);
    assert_eq!(answer[8..12], [0, 0, 0, 0x22]);
    answer[15]
}

/// Asks on a ComID; the answer's ComPacket.
fn ask(bench: &mut Bench, com_id: u16, extension: u16, tsn: u32, tokens: &[u8]) -> Vec<u8> {
    let hsn = if tsn == 0 { 0 } else { HSN };
    let envelope = Envelope { com_id, extension, tsn, hsn, ..Envelope::default() };
    bench.send(1, com_id, &envelope.wrap(tokens)).unwrap();
    bench.tper.if_recv(1, com_id, 2048).unwrap()
}

fn start() -> Vec<u8> {
    CallBuilder::new(sp::SESSION_MANAGER, method::START_SESSION)
        .with(|t| {
            t.uint(u64::from(HSN)).uid(sp::ADMIN).boolean(true);
        })
        .finish()
        .to_vec()
}

#[test]
fn dynamic_com_ids() {
    let mut profile = profile();
    profile.dynamic_com_ids = 2;
    let mut bench = Bench::new(profile);
    assert_eq!(bench.tper.discovery()[52], 0x51);
    assert_eq!(verify(&mut bench, 0x1001, 0), 1, "inactive");
    let quiet = bench.tper.if_recv(1, 0x1001, 512).unwrap();
    assert_eq!(quiet[4..8], [0x10, 0x01, 0xFF, 0xFF]);
    assert_eq!(bench.tper.if_recv(1, 0x1003, 512), Err(IfError::InvalidCommandParameter));

    let (first, extension) = issue(&mut bench);
    assert_eq!(first, 0x1001);
    assert!(extension != 0 && extension != 0xFFFF);
    assert_eq!(issue(&mut bench).0, 0x1002);
    assert_eq!(issue(&mut bench), (0, 0), "all are out");
    assert_eq!(verify(&mut bench, first, extension), 2, "issued");
    assert_eq!(verify(&mut bench, first, extension + 9), 0, "invalid");

    // Another extension is discarded, the right one echoed.
    assert_eq!(ask(&mut bench, first, extension + 9, 0, &start()).len(), 20);
    let answer = ask(&mut bench, first, extension, 0, &start());
    assert_eq!(answer[4..6], first.to_be_bytes());
    assert_eq!(answer[6..8], extension.to_be_bytes());
    assert!(answer.len() > 56);
    assert_eq!(verify(&mut bench, first, extension), 3, "associated");

    // With its last session the ComID goes, but not before the host has its answer.
    let answer = ask(&mut bench, first, extension, 0x1001, &[0xFA]);
    assert_eq!(answer[56], 0xFA);
    assert_eq!(verify(&mut bench, first, extension), 0);
    let (again, newer) = issue(&mut bench);
    assert_eq!(again, first);
    assert_ne!(newer, extension);
}

#[test]
fn unused_com_ids_expire_and_resets_take_all() {
    let mut profile = profile();
    profile.dynamic_com_ids = 1;
    let mut bench = Bench::new(profile);
    let (com_id, extension) = issue(&mut bench);
    wait(&mut bench, 59 * SECOND);
    assert_eq!(verify(&mut bench, com_id, extension), 2);
    wait(&mut bench, SECOND);
    assert_eq!(verify(&mut bench, com_id, 0), 1);
    issue(&mut bench);
    bench.reset(Reset::Hardware);
    assert_eq!(verify(&mut bench, com_id, 0), 1);
}
