// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers in several transfers, answers meant for others, and sessions that end unexpectedly
//! (Core 2.01 §3.3.10), against a scripted drive.

#[path = "host_support/script.rs"]
mod script;

use opal::exchange::SessionNumbers;
use opal::host::{AdminSp, Authority, DataLoss, LockingSp};
use opal::spec::{locking, method};
use opal::wire::{Status, call};
use opal::{Error, Pin, TransportErrorKind};
use script::*;

fn msid_tokens() -> Vec<u8> {
    let tokens = call::answer(Status::SUCCESS, |t| {
        t.list(|t| {
            t.named(3, |t| {
                t.bytes(b"EXAMPLE-MSID");
            });
        });
    });
    tokens.to_vec()
}

/// Opens a session, reads the MSID, closes.
fn read_msid(script: &mut Script) -> Result<Vec<u8>, Error> {
    let mut host = host(script);
    let mut session = host.start::<AdminSp>().open()?;
    let msid = session.msid()?.expose().to_vec();
    session.close()?;
    Ok(msid)
}

#[test]
fn immediate_answers_take_one_receive_each_and_no_pause() {
    let mut script = Script::new([opened(), packet(SESSION, &msid_tokens()), ended()]);
    assert_eq!(read_msid(&mut script).unwrap(), b"EXAMPLE-MSID");
    assert_eq!((script.sends(), script.receives()), (3, 3));
    assert!(script.paused().is_zero());
}

#[test]
fn an_answer_in_two_com_packets() {
    let tokens = msid_tokens();
    let (first, second) = tokens.split_at(7);
    for parts in [
        vec![part(SESSION, first, 100, 76), packet(SESSION, second)],
        // More is being prepared.
        vec![part(SESSION, first, 1, 0), not_ready(), packet(SESSION, second)],
        // The drive promised more than it had.
        vec![part(SESSION, &tokens, 1, 0), empty(0, 0)],
    ] {
        let mut script = Script::new([opened()].into_iter().chain(parts).chain([ended()]));
        assert_eq!(read_msid(&mut script).unwrap(), b"EXAMPLE-MSID");
        assert_eq!(script.sends(), 3);
    }
}

#[test]
fn a_promise_of_more_that_is_never_kept_does_not_lose_the_answer() {
    let mut script = Script::new(
        [opened(), part(SESSION, &msid_tokens(), 1, 0)].into_iter().chain(vec![not_ready(); 1000]),
    );
    let mut host = host(&mut script);
    let mut session = host.start::<AdminSp>().open().unwrap();
    assert_eq!(session.msid().unwrap().expose(), b"EXAMPLE-MSID");
}

#[test]
fn a_transfer_that_was_too_small_is_repeated_larger() {
    // 300 rows fit no 2048-byte answer.
    let rows: Vec<_> = (0..100).map(locking::range).collect();
    let answer = answer(Status::SUCCESS, |t| {
        t.list(|t| {
            for row in rows.iter().chain(&rows).chain(&rows) {
                t.uid(*row);
            }
        });
    });
    let size = u32::try_from(answer.len()).unwrap();
    assert!(size > 2048);
    let mut script = Script::new([opened(), empty(size, size), answer, ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    let table = opal::host::Table::LOCKING;
    assert_eq!(session.next(table, None, None).unwrap().len(), 300);
    session.close().unwrap();
    assert!(script.log.contains(&Did::Receive(3072)));
    assert!(script.paused().is_zero());
}

#[test]
fn a_drive_that_cuts_its_answer_off_is_asked_for_the_rest_once() {
    let mut cut = packet(SESSION, &msid_tokens());
    // Claims 4000 bytes more than it sends.
    cut[18] = 0x10;
    let mut script = Script::new([opened(), cut.clone(), cut]);
    script.exact = true;
    let error = read_msid(&mut script).unwrap_err();
    assert!(error.to_string().contains("cut short"), "{error}");
    assert!(script.receives() < 6);
}

#[test]
fn sizes_beyond_reason_are_refused() {
    for wanted in [u32::MAX, 2 << 20] {
        let mut script = Script::new([opened(), empty(wanted, wanted)]);
        assert!(matches!(read_msid(&mut script), Err(Error::Mismatch(_))));
    }
    let mut endless = vec![opened()];
    endless.extend(vec![part(SESSION, &[0xFF; 1000], 9999, 76); 5000]);
    assert!(matches!(read_msid(&mut Script::new(endless)), Err(Error::Mismatch(_))));
}

#[test]
fn packets_of_other_sessions_are_passed_over() {
    let other = SessionNumbers { tsn: 0x2000, hsn: 9 };
    let stale = packet(other, &msid_tokens());
    let close_of_another = control(method::CLOSE_SESSION, Status::SUCCESS, |t| {
        t.uint(9).uint(0x2000);
    });
    let mut script = Script::new([
        opened(),
        stale.clone(),
        close_of_another.clone(),
        packet(SESSION, &msid_tokens()),
        ended(),
    ]);
    assert_eq!(read_msid(&mut script).unwrap(), b"EXAMPLE-MSID");

    // A CloseSession in the same ComPacket before SyncSession.
    let tokens = |com_packet: &[u8]| com_packet[56..56 + usize::from(com_packet[55])].to_vec();
    let both = [tokens(&close_of_another), tokens(&opened())].concat();
    let mut script = Script::new([
        packet(SessionNumbers::CONTROL, &both),
        packet(SESSION, &msid_tokens()),
        ended(),
    ]);
    assert_eq!(read_msid(&mut script).unwrap(), b"EXAMPLE-MSID");

    let mut script = Script::new([opened(), stale.clone(), stale.clone(), stale]);
    assert!(matches!(read_msid(&mut script), Err(Error::Mismatch(_))));
}

#[test]
fn a_session_the_drive_closes_is_not_ended_again() {
    for close in [closed(), ended()] {
        let mut script = Script::new([opened(), close]);
        assert_eq!(read_msid(&mut script), Err(Error::SessionClosed));
        assert_eq!(script.sends(), 2, "no End of Session for a session that is gone");
    }
    // Closing one that has just ended is what was wanted.
    let mut script = Script::new([opened(), packet(SESSION, &msid_tokens()), closed()]);
    assert!(read_msid(&mut script).is_ok());
}

#[test]
fn an_inactive_com_id_is_told() {
    let mut inactive = empty(0, 0);
    inactive[6..8].copy_from_slice(&[0xFF, 0xFF]);
    let mut script = Script::new([inactive]);
    let error = read_msid(&mut script).unwrap_err();
    assert!(error.to_string().contains("not in use"), "{error}");
}

#[test]
fn an_unread_answer_is_drained_and_the_request_sent_again() {
    let other = SessionNumbers { tsn: 0x2000, hsn: 9 };
    let left_over = part(other, &[0xFA], 4000, 4000);
    let mut script = Script::new([
        left_over,
        empty(4000, 4000),
        not_ready(),
        packet(other, &[0xFF; 100]),
        empty(0, 0),
        opened(),
        packet(SESSION, &msid_tokens()),
        ended(),
    ]);
    script.refusals.push_back(Some(TransportErrorKind::ProtocolViolation));
    assert_eq!(read_msid(&mut script).unwrap(), b"EXAMPLE-MSID");
    assert_eq!(script.sends(), 4);
    assert_eq!(script.sent.len(), 3, "what was refused did not reach the drive");

    // Twice in a row is an error, not a loop.
    let mut script = Script::new([]);
    script.refusals.extend([Some(TransportErrorKind::ProtocolViolation); 2]);
    let error = read_msid(&mut script).unwrap_err();
    assert!(
        matches!(error, Error::Transport(e) if e.kind == TransportErrorKind::ProtocolViolation)
    );
}

#[test]
fn a_dropped_session_is_ended() {
    let mut script = Script::new([opened(), fails(Status::NOT_AUTHORIZED), ended()]);
    assert!(read_msid(&mut script).is_err());
    assert_eq!(script.tokens(2), [0xFA]);
}

#[test]
fn reverts_end_the_session_and_failed_ones_do_not_leave_it_open() {
    let loss = DataLoss::accepted_for(SERIAL);
    let mut script = Script::new([opened(), done()]);
    host(&mut script).start::<AdminSp>().open().unwrap().revert(&loss).unwrap();
    assert_eq!(script.sends(), 2, "no End of Session after a revert");

    let mut script = Script::new([opened(), fails(Status::FAIL), ended()]);
    let mut host_ = host(&mut script);
    let session = host_.start::<LockingSp>().open().unwrap();
    assert_eq!(session.revert_sp(true, &loss).unwrap_err().status(), Some(Status::FAIL));
    assert_eq!(script.tokens(2), [0xFA]);
}

#[test]
fn nothing_is_lost_on_another_drive() {
    let psid = Pin::new(b"PSID").unwrap();
    let mut script = Script::new([opened(), ended()]);
    let mut host_ = host(&mut script);
    let other = DataLoss::accepted_for("ANOTHER");
    assert_eq!(host_.psid_revert(&psid, &other), Err(Error::NotThisDrive));
    assert_eq!(host_.psid_revert(&psid, &DataLoss::accepted_for("")), Err(Error::NotThisDrive));
    let mut session = host_.start::<LockingSp>().open().unwrap();
    let key = opal::host::Row::at(locking::key_256(1));
    assert_eq!(session.gen_key(key, &other), Err(Error::NotThisDrive));
    session.close().unwrap();
    assert_eq!(script.sends(), 2, "only the session itself");

    let nameless = opal::Identity::default();
    let mut host_ = opal::Host::new(Script::default(), nameless);
    assert_eq!(host_.psid_revert(&psid, &DataLoss::accepted_for("")), Err(Error::NotThisDrive));
}

#[test]
fn psid_revert_takes_two_pairs() {
    let psid = Pin::new(b"PSIDPSIDPSIDPSIDPSIDPSIDPSIDPSID").unwrap();
    let mut script = Script::new([opened(), done()]);
    host(&mut script).psid_revert(&psid, &DataLoss::accepted_for(SERIAL)).unwrap();
    assert_eq!((script.sends(), script.receives()), (2, 2));
    assert!(calls(&script.tokens(1), method::REVERT));
}

#[test]
fn unlocking_takes_three_pairs_and_eight_ranges_ten() {
    let pin = Pin::new(b"user one").unwrap();
    for ranges in [1, 8] {
        let answers = [opened()].into_iter().chain(vec![done(); ranges.into()]).chain([ended()]);
        let mut script = Script::new(answers);
        let mut host_ = host(&mut script);
        let mut session =
            host_.start::<LockingSp>().authority(Authority::user(1), &pin).open().unwrap();
        for range in 1..=ranges {
            let unlock = opal::host::RangeConfig::locked(false, false);
            session.set_range(range, &unlock).unwrap();
        }
        session.close().unwrap();
        let pairs = usize::from(ranges) + 2;
        assert_eq!((script.sends(), script.receives()), (pairs, pairs));
    }
}

#[test]
fn the_com_id_comes_from_discovery() {
    // TPer, Opal 1 on 07FE, Opal 2 on 1004.
    let mut discovery = vec![0; 48];
    discovery.extend([0x00, 0x01, 0x10, 0x0C, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    discovery.extend([0x02, 0x00, 0x10, 0x04, 0x07, 0xFE, 0, 1]);
    discovery.extend([0x02, 0x03, 0x10, 0x10, 0x10, 0x04, 0, 1, 0, 0, 4, 0, 9]);
    discovery.resize(96, 0);
    discovery[3] = 92;
    let mut script = Script::new([discovery.clone(), opened(), ended()]);
    let mut host = opal::Host::new(&mut script, opal::Identity::default());
    host.start::<AdminSp>().open().unwrap().close().unwrap();
    assert_eq!(host.com_id().unwrap().number, 0x1004);
    assert_eq!(script.sent[0].1, 0x1004);
    assert_eq!((script.sends(), script.receives()), (2, 3), "discovery is one lone receive");

    let mut none = Script::new([vec![0; 48]]);
    let mut host = opal::Host::new(&mut none, opal::Identity::default());
    assert!(matches!(host.start::<AdminSp>().open(), Err(Error::Unsupported(_))));
}
