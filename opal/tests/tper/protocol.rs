// SPDX-License-Identifier: MIT OR Apache-2.0
//! Below methods: discovery, the synchronous protocol, malformed streams, ComID management.

use opal::spec::{authority, c_pin, method, sp, table};
use opal::tper::IfError;
use opal::wire::packet::Envelope;
use opal::wire::{Call, CallBuilder, Reader, Status};

use crate::support::{Bench, COM_ID, HSN, MSID, Session, profile};

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}

/// The SSC's example of a new Opal 2.30 drive, typed byte by byte.
const NEW_DRIVE: &str = "
    000000D4 00000001 0000000000000000
    0000000000000000 0000000000000000 0000000000000000 0000000000000000
    0001100C 11000000 00000000 00000000
    0002300C 09000000 00000000 00000000
    0003101C 01000000 00000000 00000200 0000000000000008 0000000000000000
    0201100C 00000009 00000000 00000000
    0202200C 00000009 00A00000 00000001
    02032310 10000001 00000400 09000000 00000000
    0402200C 00000000 00000000 00000000
    04042020 00000400 00000000 00010000 0000000000000000 0000000000000000 00000000";

#[test]
fn discovery_of_a_new_drive() {
    let mut profile = profile();
    profile.features.single_user_mode = true;
    let mut bench = Bench::new(profile);
    let mut expected = hex(NEW_DRIVE);
    assert_eq!(expected.len(), 216);
    // This drive supports the freeze lock, which the example does not.
    expected[0xA4 + 4] |= 0x04;
    assert_eq!(bench.tper.if_recv(1, 1, 4096).unwrap(), expected);
    assert_eq!(bench.tper.if_recv(1, 1, 100).unwrap(), expected[..100]);
    assert_eq!(bench.tper.if_recv(1, 1, 0).unwrap(), []);
    // Sending there is allowed and means nothing, also while an answer waits.
    assert_eq!(bench.send(1, 1, b"whatever"), Ok(()));
}

#[test]
fn discovery_follows_the_state() {
    let mut bench = Bench::activated(profile(), b"owner");
    assert_eq!(bench.tper.discovery()[0x44], 0x0B);
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    bench.set_uint(session, opal::spec::locking::range(5), &[(5, 1), (7, 1)]).unwrap();
    assert_eq!(bench.tper.discovery()[0x44], 0x0F, "also with an empty range");
    let mbr = table::row::MBR_CONTROL_ROW;
    bench.set_uint(session, mbr, &[(2, 1)]).unwrap();
    assert_eq!(bench.tper.discovery()[0x44], 0x0F, "Done counts only with Enable");
    bench.set_uint(session, mbr, &[(1, 1)]).unwrap();
    assert_eq!(bench.tper.discovery()[0x44], 0x3F);
}

#[test]
fn minor_version_follows_the_feature_sets() {
    let version = |change: fn(&mut opal::tper::Profile)| {
        let mut profile = profile();
        change(&mut profile);
        let bench = Bench::new(profile);
        let discovery = bench.tper.discovery();
        let at = discovery.windows(2).position(|w| w == [0x02, 0x03]).unwrap();
        discovery[at + 2]
    };
    assert_eq!(version(|_| {}), 0x23);
    assert_eq!(version(|p| p.features.psid = false), 0x11);
    assert_eq!(version(|p| p.features.block_sid = false), 0x11);
    assert_eq!(version(|p| p.features.data_stores = false), 0x11);
}

#[test]
fn security_protocol_0() {
    let mut bench = Bench::opal2();
    let list = bench.tper.if_recv(0, 0, 512).unwrap();
    assert_eq!(list, [0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2]);
    assert_eq!(bench.tper.if_recv(3, 0, 512), Err(IfError::InvalidCommandParameter));
    assert_eq!(bench.send(0, 0, &[0; 512]), Err(IfError::InvalidCommandParameter));
}

const EMPTY: &str = "00000000 10000000 00000000 00000000 00000000";

#[test]
fn the_synchronous_protocol() {
    // Opal test cases SPF-02, ETC-02, ETC-03.
    let mut bench = Bench::activated(profile(), b"owner");
    assert_eq!(bench.tper.if_recv(1, COM_ID, 512).unwrap(), hex(EMPTY));
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    let get = CallBuilder::new(table::data_store(1), method::GET)
        .with(|t| {
            t.list(|t| {
                t.named(1, |t| {
                    t.uint(0);
                })
                .named(2, |t| {
                    t.uint(1023);
                });
            });
        })
        .finish();
    let envelope = Envelope { com_id: COM_ID, tsn: session.tsn, hsn: HSN, ..Envelope::default() };
    let request = envelope.wrap(&get);
    bench.send(1, COM_ID, &request).unwrap();
    assert_eq!(bench.send(1, COM_ID, &request), Err(IfError::ProtocolViolation));
    assert_eq!(bench.tper.if_recv(1, COM_ID, 1).unwrap(), [0]);
    let header = bench.tper.if_recv(1, COM_ID, 512).unwrap();
    assert_eq!(header, hex("00000000 10000000 00000444 00000444 00000000"));
    assert_eq!(bench.send(1, COM_ID, &request), Err(IfError::ProtocolViolation));
    let answer = bench.tper.if_recv(1, COM_ID, 0x444).unwrap();
    assert_eq!(answer.len(), 0x444);
    assert_eq!(answer[..20], hex("00000000 10000000 00000000 00000000 00000430")[..]);
    assert_eq!(bench.tper.if_recv(1, COM_ID, 512).unwrap(), hex(EMPTY), "read once");
    let large = vec![0; 65536 + 512];
    assert_eq!(bench.send(1, COM_ID, &large), Err(IfError::InvalidTransferLength));
    assert_eq!(bench.send(1, 0x1001, &request), Err(IfError::InvalidCommandParameter));
    assert_eq!(bench.tper.if_recv(1, 0x0FFF, 512), Err(IfError::InvalidCommandParameter));
}

#[test]
fn com_packets_that_are_dropped() {
    // Opal test cases ETC-04, ETC-13: no answer, and the session stays.
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, None).unwrap();
    let envelope = Envelope { com_id: COM_ID, tsn: session.tsn, hsn: HSN, ..Envelope::default() };
    let good = envelope.wrap(&[0xFA]).to_vec();
    let with = |at: usize, bytes: &[u8]| {
        let mut packet = good.clone();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let dropped = [
        Vec::new(),
        good[..19].to_vec(),
        vec![0; 512],
        with(4, &[0x10, 0x01]),
        with(6, &[0, 1]),
        with(16, &[0, 0, 0x10, 0]),
        with(16, &[0, 0, 0, 0]),
        with(20, &[0, 0, 0x20, 0]),
        with(24, &[0, 0, 0, 9]),
    ];
    for packet in dropped {
        assert_eq!(bench.exchange(&packet), hex(EMPTY), "{packet:02X?}");
        assert_eq!(bench.tper.open_sessions(), 1);
    }
    assert_eq!(bench.exchange(&good).len(), good.len());
}

/// What a host in a session hears for `tokens`, and whether the session is still there.
fn stray(tokens: &[u8]) -> (Vec<u8>, bool) {
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, None).unwrap();
    let answer = bench.tokens((session.tsn, HSN), tokens);
    (answer, bench.tper.open_sessions() == 1)
}

fn get_msid() -> Vec<u8> {
    CallBuilder::new(c_pin::MSID, method::GET)
        .with(|t| {
            t.list(|_| {});
        })
        .finish()
        .to_vec()
}

#[test]
fn malformed_streams() {
    // Core 2.01 §3.2.2.4; Opal test cases ETC-05 to ETC-08.
    let close = |answer: &[u8]| {
        let call = Call::parse(&mut Reader::new(answer)).unwrap();
        assert_eq!((call.invoking, call.method), (sp::SESSION_MANAGER, method::CLOSE_SESSION));
    };
    let call = get_msid();
    let aborting: Vec<Vec<u8>> = vec![
        vec![0xF1],
        vec![0xF0, 0xF1],
        vec![0x05],
        vec![0xE4],
        vec![0xFD],
        vec![0xF8],
        call[..call.len() - 1].to_vec(),
        call.iter().map(|b| if *b == 0xF9 { 0xFA } else { *b }).collect(),
        [&[0xF8][..], &[0xFB], &call[1..]].concat(),
        // Nested lists that do not match.
        [&call[..19], &[0xF0, 0xF2, 0xF1, 0xF1], &call[23..]].concat(),
        // A continued token.
        [&call[..19], &[0xF0, 0xB1, 0x00, 0xF1], &call[22..]].concat(),
        // Deeper than anything needs.
        [&call[..19], &[0xF0; 40], &[0xF1; 40], &call[23..]].concat(),
    ];
    for tokens in &aborting {
        let (answer, open) = stray(tokens);
        assert!(!open, "{tokens:02X?}");
        close(&answer);
    }
    // Two calls where one is allowed: the first one's answer is delivered.
    let (answer, open) = stray(&[&call[..], &call].concat());
    assert!(!open);
    assert_eq!(answer[..2], [0xF0, 0xF0]);

    // Names that are no UIDs.
    let unnamed = [
        [&[0xF8, 0xA4, 0, 0, 0, 1][..], &call[10..]].concat(),
        [&[0xF8][..], &call[10..]].concat(),
        [&[0xF8, 0x01][..], &call[10..]].concat(),
        [&[0xF8, 0x01][..], &call[1..]].concat(),
    ];
    for tokens in &unnamed {
        let (answer, open) = stray(tokens);
        assert!(open);
        assert_eq!(answer, [0xF0, 0xF1, 0xF9, 0xF0, 0x01, 0, 0, 0xF1], "{tokens:02X?}");
    }
    // Empty atoms anywhere.
    let filled: Vec<u8> =
        call.iter().flat_map(|b| if *b >= 0xF0 { vec![0xFF, *b] } else { vec![*b] }).collect();
    let (answer, open) = stray(&filled);
    assert!(open && answer.len() > 20);
    // Nothing but filler: no answer.
    assert_eq!(stray(&[0xFF; 8]), (vec![], true));
    assert_eq!(stray(&[]), (vec![], true));
    // A call the host itself calls off.
    let mut called_off = call.clone();
    let at = called_off.len() - 4;
    called_off[at] = 0x3F;
    assert_eq!(stray(&called_off), (vec![0xF0, 0xF1, 0xF9, 0xF0, 0x3F, 0, 0, 0xF1], true));
    // What follows the end of a session is ignored.
    let (answer, open) = stray(&hex("FA F1 F9 F0 00 00 00 F1"));
    assert_eq!((&answer[..], open), (&[0xFA][..], false));
}

#[test]
fn malformed_sub_packets_abort_the_session() {
    let mut bench = Bench::opal2();
    for (at, bytes) in [(40, [0, 0, 0x10, 0]), (52, [0, 0, 0x10, 0])] {
        let session = bench.start(sp::ADMIN, None).unwrap();
        let envelope =
            Envelope { com_id: COM_ID, tsn: session.tsn, hsn: HSN, ..Envelope::default() };
        let mut packet = envelope.wrap(&get_msid()).to_vec();
        packet[at..at + 4].copy_from_slice(&bytes);
        assert_ne!(bench.exchange(&packet), hex(EMPTY), "the host is told");
        assert_eq!(bench.tper.open_sessions(), 0);
    }
}

#[test]
fn calls_on_the_control_session_that_are_ignored() {
    let mut bench = Bench::opal2();
    let start = |invoking, method| CallBuilder::new(invoking, method).finish();
    for tokens in [
        &start(sp::THIS_SP, method::PROPERTIES)[..],
        &start(sp::SESSION_MANAGER, method::GET),
        &start(sp::SESSION_MANAGER, method::CLOSE_SESSION),
        &start(sp::SESSION_MANAGER, method::START_SESSION),
        &[0xFA],
        &[0xFB, 0x00],
        &[0xE7],
    ] {
        assert_eq!(bench.tokens((0, 0), tokens), [], "{tokens:02X?}");
    }
    // Its answer to a bad parameter.
    let bad = CallBuilder::new(sp::SESSION_MANAGER, method::PROPERTIES)
        .with(|t| {
            t.named(1, |t| {
                t.list(|_| {});
            });
        })
        .finish();
    let answer = bench.tokens((0, 0), &bad);
    let answer = Call::parse(&mut Reader::new(&answer)).unwrap();
    assert_eq!(answer.status, Status::INVALID_PARAMETER);
}

#[test]
fn properties_without_host_properties() {
    let mut bench = Bench::opal2();
    let call = CallBuilder::new(sp::SESSION_MANAGER, method::PROPERTIES).finish();
    let answer = bench.tokens((0, 0), &call);
    let mut answer = Call::parse(&mut Reader::new(&answer)).unwrap();
    answer.parameters.value().unwrap();
    assert!(answer.parameters.at_end().unwrap(), "the TPer's list and nothing else");
}

#[test]
fn com_id_management() {
    let mut bench = Bench::opal2();
    assert_eq!(bench.tper.if_recv(2, 0, 512).unwrap(), [0; 4], "no dynamic ComIDs");
    assert_eq!(bench.tper.if_recv(2, COM_ID, 512).unwrap(), [0; 12]);
    bench.send(2, COM_ID, &hex("10000000 00000001 0000000000000000")).unwrap();
    let mut expected = hex("10000000 00000001 00000022 00000002");
    expected.resize(46, 0);
    assert_eq!(bench.tper.if_recv(2, COM_ID, 512).unwrap(), expected);
    let session = bench.start(sp::ADMIN, None).unwrap();
    bench.send(2, COM_ID, &hex("10000000 00000001")).unwrap();
    expected[15] = 3;
    assert_eq!(bench.tper.if_recv(2, COM_ID, 512).unwrap(), expected, "Associated");
    bench.send(2, COM_ID, &hex("10000000 00000009")).unwrap();
    assert_eq!(bench.tper.if_recv(2, COM_ID, 512).unwrap(), hex("10000000 00000000 00000000"));
    assert_eq!(bench.send(2, 0x2000, &[0; 8]), Err(IfError::InvalidCommandParameter));

    let envelope = Envelope { com_id: COM_ID, tsn: session.tsn, hsn: HSN, ..Envelope::default() };
    bench.send(1, COM_ID, &envelope.wrap(&get_msid())).unwrap();
    bench.send(2, COM_ID, &hex("10000000 00000002")).unwrap();
    let answer = bench.tper.if_recv(2, COM_ID, 512).unwrap();
    assert_eq!(answer, hex("10000000 00000002 00000004 00000000"));
    assert_eq!(bench.tper.if_recv(1, COM_ID, 2048).unwrap(), hex(EMPTY), "the answer is gone");
    assert_eq!(bench.tper.open_sessions(), 0);
}

#[test]
fn stack_reset_undoes_transactions() {
    // Opal test case SPF-11.
    let mut bench = Bench::activated(profile(), b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    bench.tokens((session.tsn, HSN), &[0xFB, 0]);
    bench.enable(session, authority::user(1)).unwrap();
    bench.send(2, COM_ID, &hex("10000000 00000002")).unwrap();
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    assert_eq!(bench.get_uint(session, authority::user(1), 5), 0);
}

#[test]
fn each_com_id_is_its_own_channel() {
    let mut profile = profile();
    profile.com_ids = 2;
    profile.limits.max_sessions = 2;
    let mut bench = Bench::new(profile);
    let Session { tsn } = bench.start(sp::ADMIN, None).unwrap();
    let other = Envelope { com_id: COM_ID + 1, tsn, hsn: HSN, ..Envelope::default() };
    bench.send(1, COM_ID + 1, &other.wrap(&[0xFA])).unwrap();
    let answer = bench.tper.if_recv(1, COM_ID + 1, 512).unwrap();
    assert_eq!(answer.len(), 20, "the session is not of this ComID");
    bench.send(2, COM_ID + 1, &hex("10010000 00000002")).unwrap();
    assert_eq!(bench.tper.open_sessions(), 1);
    assert!(bench.authenticate(Session { tsn }, authority::SID, Some(MSID)).unwrap());
}

#[test]
fn counters() {
    let mut bench = Bench::opal2();
    let session = bench.start(sp::ADMIN, None).unwrap();
    bench.end(session);
    let counters = bench.tper.counters();
    assert_eq!((counters.if_send, counters.if_recv, counters.sessions), (2, 2, 1));
    bench.tper.reset_counters();
    assert_eq!(bench.tper.counters(), opal::tper::Counters::default());
}

#[test]
fn an_answer_never_outgrows_the_hosts_buffer() {
    let mut profile = profile();
    profile.limits.max_methods = 10_000;
    let mut bench = Bench::new(profile);
    let properties = CallBuilder::new(sp::SESSION_MANAGER, method::PROPERTIES).finish();
    let random = CallBuilder::new(sp::THIS_SP, method::RANDOM)
        .with(|t| {
            t.uint(32);
        })
        .finish();
    let transaction = [0xFB, 0x00, 0xFC, 0x00].repeat(4000);
    for (control, stream) in
        [(true, properties.repeat(100)), (false, random.repeat(500)), (false, transaction)]
    {
        let session = bench.start(sp::ADMIN, None).unwrap();
        let (tsn, hsn) = if control { (0, 0) } else { (session.tsn, HSN) };
        let envelope = Envelope { com_id: COM_ID, tsn, hsn, ..Envelope::default() };
        let answer = bench.exchange(&envelope.wrap(&stream));
        assert!((1000..=2048).contains(&answer.len()), "{} bytes", answer.len());
        assert_eq!(bench.tper.open_sessions(), usize::from(control));
        bench.reset(opal::tper::Reset::Hardware);
    }
}
