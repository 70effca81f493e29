// SPDX-License-Identifier: MIT OR Apache-2.0
//! What real drives do that the specification does not lead you to expect: one test for each way,
//! by the number of the project's list of quirks, against a scripted drive.

#[path = "host_support/script.rs"]
mod script;

use std::time::Duration;

use opal::exchange::{ComId, SessionNumbers};
use opal::host::{
    Activation, AdminSp, Authority, ByteTable, LockingSp, Login, RangeConfig, Row, WriteOptions,
};
use opal::spec::{column, method};
use opal::wire::Status;
use opal::{Error, Pin, TransportErrorKind};
use script::*;

fn pin() -> Pin {
    Pin::new(b"secret").unwrap()
}

fn properties(drive: &[(&str, u64)], host: Option<&[(&str, u64)]>) -> Vec<u8> {
    let write = |t: &mut opal::wire::Encoder, list: &[(&str, u64)]| {
        t.list(|t| {
            for (name, value) in list {
                t.named_bytes(name.as_bytes(), |t| {
                    t.uint(*value);
                });
            }
        });
    };
    control(method::PROPERTIES, Status::SUCCESS, |t| {
        write(t, drive);
        if let Some(host) = host {
            t.named(0, |t| write(t, host));
        }
    })
}

/// Range 1 as a drive shows it.
fn range_row() -> Vec<u8> {
    row(|t| {
        t.named(3, |t| {
            t.uint(2048);
        });
        t.named(7, |t| {
            t.boolean(true);
        });
    })
}

#[test]
fn a22_a_row_that_begins_with_call() {
    let tokens = [0xF0, 0xF0, 0xF8, 0xF2, 3, 0x82, 8, 0, 0xF3, 0xF1, 0xF1];
    let end = [0xF9, 0xF0, 0, 0, 0, 0xF1];
    let odd = packet(SESSION, &[&tokens[..], &end].concat());
    let mut script = Script::new([opened(), odd, ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    assert_eq!(session.range(1).unwrap().start, Some(2048));
    session.close().unwrap();
}

#[test]
fn b3_a_large_receive_that_fails_is_made_smaller() {
    let mut script = Script::new([
        properties(&[("MaxComPacketSize", 65536)], Some(&[("MaxComPacketSize", 65536)])),
        opened(),
    ]);
    script.answers.push_back(Err(TransportErrorKind::Failed));
    script.answers.push_back(Err(TransportErrorKind::InvalidLength));
    let data = vec![7; 1000];
    script.answers.push_back(Ok(answer(Status::SUCCESS, |t| {
        t.bytes(&data);
    })));
    script.answers.push_back(Ok(ended()));
    let mut host = host(&mut script);
    host.properties().unwrap();
    let mut session = host.start::<LockingSp>().open().unwrap();
    let read = session.read(ByteTable::data_store(1), 0, 1000, &mut |_| {}).unwrap();
    assert_eq!(read[..], data);
    session.close().unwrap();
    assert!(script.log.contains(&Did::Receive(65536)));
    assert!(script.log.contains(&Did::Receive(32768)));
    assert!(script.log.contains(&Did::Receive(16384)));
    assert_eq!(script.sends(), 4, "nothing was sent twice");
}

#[test]
fn b4_b5_a_short_list_with_no_more_than_the_path_carries() {
    let mut script = Script::new([properties(&[("MaxComPacketSize", 1 << 20)], None)]);
    script.path = Some(8192);
    let limits = {
        let mut host = host(&mut script);
        host.properties().unwrap();
        host.limits()
    };
    assert_eq!(limits.send, 8192);
    let tokens = script.tokens(0);
    let named = tokens.windows(3).filter(|w| *w == b"Max").count();
    assert_eq!(named, 3);
    let mut size = opal::wire::Encoder::new();
    size.named_bytes(b"MaxComPacketSize", |t| {
        t.uint(8192);
    });
    assert!(tokens.windows(size.as_bytes().len()).any(|w| w == size.as_bytes()));
}

#[test]
fn b5_properties_are_asked_for_again_without_a_list() {
    // More polls than the host's patience for the first request lasts.
    let silence = vec![not_ready(); 200];
    for first in [vec![empty(0, 0)], silence] {
        let answers = first.into_iter().chain([properties(&[("MaxComPacketSize", 4096)], None)]);
        let mut script = Script::new(answers);
        let properties = host(&mut script).properties().unwrap();
        assert_eq!(properties.of_drive("MaxComPacketSize"), Some(4096));
        assert_eq!(script.sends(), 2);
        assert!(!script.tokens(1).windows(3).any(|w| w == b"Max"));
    }
}

#[test]
fn b6_the_credential_goes_into_start_session() {
    let mut script = Script::new([opened(), ended()]);
    host(&mut script)
        .start::<LockingSp>()
        .authority(Authority::admin(1), &pin())
        .open()
        .unwrap()
        .close()
        .unwrap();
    assert!(script.tokens(0).windows(6).any(|w| w == b"secret"));
    assert_eq!((script.sends(), script.receives()), (2, 2));
}

#[test]
fn a_drive_that_wants_authenticate_gets_it() {
    let refused = sync(Status::INVALID_PARAMETER, 1, 0);
    let second = SessionNumbers { tsn: 0x1001, hsn: 2 };
    let yes = packet(
        second,
        &opal::wire::call::answer(Status::SUCCESS, |t| {
            t.boolean(true);
        }),
    );
    let opened = sync(Status::SUCCESS, 2, 0x1001);
    let mut script = Script::new([refused, opened, yes, packet(second, &[0xFA])]);
    host(&mut script)
        .start::<LockingSp>()
        .authority(Authority::admin(1), &pin())
        .open()
        .unwrap()
        .close()
        .unwrap();
    assert!(calls(&script.tokens(2), method::AUTHENTICATE));
    assert!(!script.tokens(1).windows(6).any(|w| w == b"secret"));
}

#[test]
fn a_rejected_pin_is_offered_only_once() {
    for status in [Status::NOT_AUTHORIZED, Status::AUTHORITY_LOCKED_OUT, Status::FAIL] {
        let mut script = Script::new([sync(status, 1, 0)]);
        let error = host(&mut script)
            .start::<LockingSp>()
            .authority(Authority::user(3), &pin())
            .open()
            .map(drop)
            .unwrap_err();
        if status == Status::NOT_AUTHORIZED {
            let authority = Authority::user(3).uid();
            assert_eq!(error, Error::NotAuthenticated { authority });
        } else {
            assert_eq!(error.status(), Some(status));
        }
        assert_eq!(script.sends(), 1);
    }
}

#[test]
fn an_authenticate_that_says_no_ends_the_session() {
    let no = answer(Status::SUCCESS, |t| {
        t.boolean(false);
    });
    let mut script = Script::new([opened(), no, ended()]);
    let error = host(&mut script)
        .start::<LockingSp>()
        .authority(Authority::admin(1), &pin())
        .login(Login::Authenticate)
        .open()
        .map(drop)
        .unwrap_err();
    assert_eq!(error, Error::NotAuthenticated { authority: Authority::admin(1).uid() });
    assert_eq!(script.tokens(2), [0xFA]);
}

#[test]
fn b7_busy_is_told_with_advice_and_nothing_is_reset_unasked() {
    for status in [Status::SP_BUSY, Status::NO_SESSIONS_AVAILABLE] {
        let mut script = Script::new([sync(status, 1, 0)]);
        let error = host(&mut script).start::<AdminSp>().open().map(drop).unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert!(error.advice().unwrap().contains("reset"));
        assert!(script.sent.iter().all(|(protocol, ..)| *protocol == 1));
    }
}

#[test]
fn b8_a_stack_reset_is_polled_until_it_is_done() {
    let reply = |length: u8| {
        let mut reply = vec![0x10, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, length];
        reply.resize(512, 0);
        reply
    };
    let mut script = Script::new([reply(0), reply(0), reply(4)]);
    host(&mut script).stack_reset().unwrap();
    assert_eq!((script.sends(), script.receives()), (1, 3));
    assert_eq!(script.sent[0].0, 2);

    let mut never = Script::new(vec![reply(0); 9000]);
    assert!(matches!(host(&mut never).stack_reset(), Err(Error::TimedOut { .. })));

    let mut failed = reply(4);
    failed[15] = 1;
    assert!(host(&mut Script::new([failed])).stack_reset().is_err());
}

#[test]
fn b9_the_static_com_id_on_request() {
    let mut script = Script::new([vec![0x10, 0, 0, 0, 0, 0, 0, 0], vec![0; 512]]);
    let mut host = host(&mut script);
    // Extension 0 is what a drive with only the static one has to give.
    assert_eq!(host.request_com_id(), Ok(ComId::fixed(0x1000)));
    assert!(matches!(host.request_com_id(), Err(Error::Unsupported(_))));
    assert_eq!(host.com_id(), Some(ComId::fixed(0x1000)));
}

#[test]
fn b10_polls_soon_then_seldom_and_not_for_ever() {
    let slow = [opened()].into_iter().chain(vec![not_ready(); 30]).chain([range_row(), ended()]);
    let mut script = Script::new(slow);
    let mut host_ = host(&mut script);
    let mut session = host_.start::<LockingSp>().open().unwrap();
    assert_eq!(session.range(1).unwrap().start, Some(2048));
    session.close().unwrap();
    let pauses: Vec<_> = script.log.iter().filter(|did| matches!(did, Did::Pause(_))).collect();
    let millis = |n| Did::Pause(Duration::from_millis(n));
    assert_eq!(pauses[..5], [&millis(1), &millis(2), &millis(5), &millis(10), &millis(25)]);
    assert!(script.paused() < Duration::from_secs(1));

    let mut script = Script::new([opened()].into_iter().chain(vec![not_ready(); 9000]));
    let mut host_ = host(&mut script);
    let mut session = host_.start::<LockingSp>().open().unwrap();
    let late = session.range(1).map(drop);
    assert_eq!(late, Err(Error::TimedOut { method: "Get", seconds: 20 }));
    drop(session);
    assert!(script.paused() <= Duration::from_secs(23));
}

#[test]
fn b10_slow_methods_get_minutes() {
    // 2.7 s of polling would be a revert on a spinning drive; here it is two minutes.
    let answers = [opened()].into_iter().chain(vec![not_ready(); 360]).chain([done(), ended()]);
    let mut script = Script::new(answers);
    let mut host = host(&mut script);
    let mut session = host.start::<AdminSp>().open().unwrap();
    session.activate(&Activation::default()).unwrap();
    session.close().unwrap();
    assert!(script.paused() > Duration::from_secs(100));
}

#[test]
fn b11_an_empty_com_packet_is_no_answer() {
    let long = Pin::new(&[b'x'; 32]).unwrap();
    let mut script = Script::new([empty(0, 0)]);
    let error = host(&mut script)
        .start::<AdminSp>()
        .authority(Authority::SID, &long)
        .open()
        .map(drop)
        .unwrap_err();
    assert_eq!(error, Error::NoAnswer { method: "StartSession" });
    assert!(error.advice().unwrap().contains("shorter"));
    assert_eq!((script.sends(), script.receives()), (1, 1), "no polling, no second attempt");

    // A packet without sub-packets says as little.
    let mut hollow = empty(0, 0);
    hollow[19] = 24;
    hollow.extend_from_slice(&[0; 24]);
    let mut script = Script::new([hollow]);
    let error = host(&mut script).start::<AdminSp>().open().map(drop).unwrap_err();
    assert_eq!(error, Error::NoAnswer { method: "StartSession" });
}

#[test]
fn b12_unpadded_sub_packets() {
    // SyncSession tokens are 31 bytes: one pad byte that the lengths leave out.
    let mut unpadded = opened();
    assert_eq!(unpadded[19], 0x44);
    unpadded[19] -= 1;
    unpadded[43] -= 1;
    unpadded.pop();
    let mut script = Script::new([unpadded, ended()]);
    host(&mut script).start::<AdminSp>().open().unwrap().close().unwrap();
}

#[test]
fn b13_empty_atoms_anywhere() {
    let tokens = [0xFF, 0xF0, 0xFF, 0xF0, 0xF2, 0xFF, 3, 0x82, 8, 0, 0xF3, 0xFF, 0xF1, 0xF1];
    let end = [0xFF, 0xF9, 0xF0, 0, 0xFF, 0, 0, 0xF1, 0xFF, 0xFF, 0xFF];
    let filled = packet(SESSION, &[&tokens[..], &end].concat());
    let mut script = Script::new([opened(), filled, packet(SESSION, &[0xFF, 0xFA, 0xFF])]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    assert_eq!(session.range(1).unwrap().start, Some(2048));
    session.close().unwrap();
}

#[test]
fn b14_wide_integers() {
    // HSN 1 in four bytes, TSN in a medium atom, the status in three.
    let tokens = [
        &[0xF8, 0xA8, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xA8, 0, 0, 0, 0, 0, 0, 0xFF, 3][..],
        &[0xF0, 0x84, 0, 0, 0, 1, 0xC0, 4, 0, 0, 0x10, 1, 0xF1, 0xF9],
        &[0xF0, 0x83, 0, 0, 0, 0x84, 0, 0, 0, 0, 0, 0xF1],
    ]
    .concat();
    let mut script = Script::new([packet(SessionNumbers::CONTROL, &tokens), ended()]);
    let mut host = host(&mut script);
    let session = host.start::<AdminSp>().open().unwrap();
    assert_eq!(session.numbers(), SESSION);
    session.close().unwrap();
}

#[test]
fn b15_short_strings_in_medium_atoms() {
    let tokens = [0xF0, 0xF0, 0xF2, 3, 0xD0, 4, b'M', b'S', b'I', b'D', 0xF3, 0xF1, 0xF1];
    let end = [0xF9, 0xF0, 0, 0, 0, 0xF1];
    let msid = packet(SESSION, &[&tokens[..], &end].concat());
    let mut script = Script::new([opened(), msid, ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<AdminSp>().open().unwrap();
    assert_eq!(session.msid().unwrap().expose(), b"MSID");
    session.close().unwrap();
}

#[test]
fn status_lists_of_more_than_three_values() {
    let tokens = [0xF0, 0xF1, 0xF9, 0xF0, 1, 0, 0, 0x0C, 0xF1];
    let mut script = Script::new([opened(), packet(SESSION, &tokens), ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<AdminSp>().open().unwrap();
    let error = session.msid().map(drop).unwrap_err();
    assert_eq!(error.status(), Some(Status::NOT_AUTHORIZED), "the first value is the status");
    session.close().unwrap();
}

#[test]
fn b16_b17_b18_b21_properties_as_they_come() {
    // Another order, no sizes at all; the host keeps to what every drive takes.
    let mut script =
        Script::new([properties(&[("MaxMethods", 1)], None), properties(&[], Some(&[]))]);
    let mut host_ = host(&mut script);
    for _ in 0..2 {
        host_.properties().unwrap();
        assert_eq!((host_.limits().send, host_.limits().receive), (2048, 2048));
    }

    // Sizes that do not follow from each other, each used by itself; echoes never sent; a drive
    // that takes 2 KiB and answers 128 KiB; 0 for no limit.
    let odd = [("AckNak", 0), ("MaxIndTokenSize", 900), ("MaxComPacketSize", 4096)];
    let echo = [("MaxResponseComPacketSize", 999), ("MaxComPacketSize", 16384)];
    let small = [("MaxComPacketSize", 2048), ("MaxResponseComPacketSize", 131_072)];
    let unlimited = [("MaxComPacketSize", 0), ("MaxPacketSize", 0), ("MaxIndTokenSize", 0)];
    let mut script = Script::new([
        properties(&odd, Some(&echo)),
        properties(&small, Some(&[("MaxComPacketSize", 65536)])),
        properties(&unlimited, None),
    ]);
    let mut host_ = host(&mut script);
    host_.properties().unwrap();
    assert_eq!((host_.limits().send, host_.limits().receive), (4096, 16384));
    assert_eq!(host_.limits().write_chunk(), 896);
    host_.properties().unwrap();
    assert_eq!((host_.limits().send, host_.limits().receive), (2048, 65536));
    host_.properties().unwrap();
    assert_eq!(host_.limits().send, 65536);
}

/// Opens a session on a drive that takes 64 KiB, writes, and returns offset and size of each Set
/// that went out.
fn write_with(
    answers: Vec<Vec<u8>>,
    data: &[u8],
    options: WriteOptions,
) -> (Result<(), Error>, Vec<usize>, usize) {
    let head = [properties(&[("MaxComPacketSize", 65536)], None), opened()];
    let mut script = Script::new(head.into_iter().chain(answers));
    let mut done = 0;
    let result = {
        let mut host = host(&mut script);
        host.properties().unwrap();
        let mut session = host.start::<LockingSp>().open().unwrap();
        session.write(ByteTable::MBR, 0, data, options, &mut |n| done = n)
    };
    let sizes = (2..script.sent.len())
        .map(|index| script.tokens(index))
        .filter(|tokens| calls(tokens, method::SET))
        .map(|tokens| tokens.iter().filter(|byte| **byte == 0x5A).count())
        .collect();
    (result, sizes, done)
}

#[test]
fn b19_a_refused_size_is_halved() {
    let data = vec![0x5A; 100_000];
    let refusals = vec![fails(Status::INVALID_PARAMETER); 2];
    let answers = refusals.into_iter().chain(vec![done(); 20]).collect();
    let (result, sizes, done) = write_with(answers, &data, WriteOptions::default());
    result.unwrap();
    assert_eq!(sizes[..4], [61440, 28672, 12288, 12288]);
    assert_eq!((sizes[2..].iter().sum::<usize>(), done), (100_000, 100_000));
}

#[test]
fn b19_an_end_to_halving() {
    let answers = vec![fails(Status::INVALID_PARAMETER); 40];
    let (result, sizes, done) = write_with(answers, &[0x5A; 5000], WriteOptions::default());
    assert_eq!(result.unwrap_err().status(), Some(Status::INVALID_PARAMETER));
    assert!(sizes.len() < 10, "{sizes:?}");
    assert_eq!(done, 0);
}

#[test]
fn b20_a_cap_by_the_user_and_granularity() {
    let options = WriteOptions { max_chunk: Some(3000), granularity: 520 };
    let (result, sizes, _) = write_with(vec![done(); 9], &[0x5A; 5200], options);
    result.unwrap();
    assert_eq!(sizes, [2600, 2600]);
}

#[test]
fn b22_session_numbers_are_checked() {
    let wrong = [
        sync(Status::SUCCESS, 7, 0x1001),
        sync(Status::SUCCESS, 1, 0x0FFF),
        sync(Status::SUCCESS, 1, 0),
    ];
    for answer in wrong {
        let mut script = Script::new([answer]);
        let error = host(&mut script).start::<AdminSp>().open().map(drop).unwrap_err();
        assert!(matches!(error, Error::Mismatch(_)), "{error}");
    }
    // A failed one has number 0, or no numbers at all; only the status counts.
    for answer in
        [sync(Status::SP_FROZEN, 1, 0), control(method::SYNC_SESSION, Status::SP_FROZEN, |_| {})]
    {
        let mut script = Script::new([answer]);
        let error = host(&mut script).start::<AdminSp>().open().map(drop).unwrap_err();
        assert_eq!(error.status(), Some(Status::SP_FROZEN));
    }
}

#[test]
fn c1_a_session_that_ends_in_the_middle() {
    let data = vec![0x5A; 150_000];
    let (result, sizes, written) =
        write_with(vec![done(), closed()], &data, WriteOptions::default());
    assert_eq!(result, Err(Error::SessionClosed));
    assert_eq!((sizes.len(), written), (2, 61440));
}

#[test]
fn c2_a_session_timeout_only_on_demand_and_again_without() {
    let mut script = Script::new([opened(), ended()]);
    host(&mut script).start::<AdminSp>().open().unwrap().close().unwrap();
    assert!(!has_timeout(&script.tokens(0)));

    for refusal in [empty(0, 0), sync(Status::INVALID_PARAMETER, 1, 0)] {
        let second = SessionNumbers { tsn: 0x1001, hsn: 2 };
        let opened = sync(Status::SUCCESS, second.hsn, second.tsn);
        let mut script = Script::new([refusal, opened, packet(second, &[0xFA])]);
        host(&mut script).start::<AdminSp>().timeout(60_000).open().unwrap().close().unwrap();
        assert!(has_timeout(&script.tokens(0)));
        assert!(!has_timeout(&script.tokens(1)));
    }
}

fn has_timeout(tokens: &[u8]) -> bool {
    tokens.windows(2).any(|w| w == [0xF2, 5])
}

#[test]
fn c16_an_empty_answer_then_a_refusal() {
    let mut script = Script::new([empty(0, 0), sync(Status::NOT_AUTHORIZED, 2, 0)]);
    let mut host = host(&mut script);
    for _ in 0..2 {
        assert!(host.start::<AdminSp>().authority(Authority::SID, &pin()).open().is_err());
    }
    assert_eq!(script.receives(), 2);
}

#[test]
fn d2_d3_what_a_drive_does_not_do_is_seen_when_read_back() {
    let mut script = Script::new([opened(), done(), range_row(), ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    let unlock = RangeConfig::locked(false, false);
    session.set_range(1, &unlock).unwrap();
    assert!(!unlock.is_met_by(&session.range(1).unwrap()), "still locked");
    session.close().unwrap();
}

#[test]
fn c9_columns_a_drive_does_not_show() {
    let mut script = Script::new([opened(), row(|_| {}), row(|_| {}), ended()]);
    let mut host = host(&mut script);
    let mut session = host.start::<LockingSp>().open().unwrap();
    let hidden = Error::NotShown { column: column::authority::ENABLED };
    assert_eq!(session.is_enabled(Authority::user(1)), Err(hidden));
    assert!(session.get_row(Row::range(1)).unwrap().is_empty());
    session.close().unwrap();
}
