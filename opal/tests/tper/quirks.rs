// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every quirk by name: the drive really does it, and a drive without it does not.

use opal::Uid;
use opal::spec::{authority, c_pin, column, locking, method, sp, table};
use opal::tper::{Profile, Quirk, ReadVerdict, Reset, Ssc};
use opal::wire::packet::Envelope;
use opal::wire::{CallBuilder, ComPacket, Status, Token, Tokens};

use crate::support::{Bench, COM_ID, HSN, MSID, PSID, profile, profile_of};

fn with(quirk: Quirk) -> Profile {
    let mut profile = profile();
    profile.quirks.insert(quirk);
    profile
}

/// Both kinds of drive, the one with the quirk second.
fn both(quirk: Quirk) -> [(bool, Profile); 2] {
    [(false, profile()), (true, with(quirk))]
}

fn properties(with_host: bool) -> Vec<u8> {
    CallBuilder::new(sp::SESSION_MANAGER, method::PROPERTIES)
        .with(|t| {
            if with_host {
                t.named(0, |t| {
                    t.list(|_| {});
                });
            }
        })
        .finish()
        .to_vec()
}

/// The answer to a request, as bytes.
fn ask(bench: &mut Bench, tokens: &[u8]) -> Vec<u8> {
    bench.exchange(&Envelope { com_id: COM_ID, ..Envelope::default() }.wrap(tokens))
}

fn length(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Codes of discovery's descriptors with their bytes.
fn descriptors(discovery: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = 48;
    while at + 4 <= discovery.len() {
        let end = at + 4 + usize::from(discovery[at + 3]);
        let code = u16::from_be_bytes([discovery[at], discovery[at + 1]]);
        found.push((code, discovery[at..end].to_vec()));
        at = end;
    }
    found
}

fn codes(profile: Profile) -> Vec<u16> {
    descriptors(&Bench::new(profile).tper.discovery()).into_iter().map(|(code, _)| code).collect()
}

#[test]
fn names_lead_back_and_are_kebab() {
    let mut all = Profile::opal2().quirks;
    assert_eq!(all.iter().count(), 0);
    for quirk in Quirk::ALL {
        let name = quirk.name();
        assert_eq!(Quirk::from_name(name), Some(*quirk));
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.chars().all(kebab), "{name}");
        assert!(!all.has(*quirk));
        all.insert(*quirk);
        assert!(all.has(*quirk));
    }
    assert_eq!(all.iter().collect::<Vec<_>>(), Quirk::ALL);
    assert_eq!(Quirk::from_name("none"), None);
}

#[test]
fn unpadded_subpackets() {
    for (on, profile) in both(Quirk::UnpaddedSubpackets) {
        let mut bench = Bench::new(profile);
        let answer = ask(&mut bench, &properties(false));
        let tokens = length(&answer[52..56]);
        assert_ne!(tokens % 4, 0, "the example needs padding");
        let rest = if on { tokens } else { tokens.next_multiple_of(4) };
        assert_eq!(answer.len(), 56 + rest);
        assert_eq!((length(&answer[16..20]), length(&answer[40..44])), (36 + rest, 12 + rest));
    }
}

#[test]
fn wide_atoms() {
    let mut bench = Bench::new(with(Quirk::WideAtoms));
    let answer = ask(&mut bench, &properties(false));
    let packet = ComPacket::parse(&answer).unwrap();
    let packet = packet.packets().next().unwrap().unwrap();
    let part = packet.sub_packets().next().unwrap().unwrap();
    let wide = Tokens::new(part.payload()).flatten();
    let wide: Vec<_> = wide.filter(|t| matches!(t.token, Token::Uint(_))).collect();
    assert!(wide.len() > 10 && wide.iter().all(|t| t.size == 5));
    // Sessions work all the same.
    let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    assert_eq!(bench.get_uint(session, sp::LOCKING, 6), 8);
}

#[test]
fn medium_strings() {
    let mut bench = Bench::new(with(Quirk::MediumStrings));
    let answer = ask(&mut bench, &properties(false));
    let short = b"\xD0\x0DMaxPacketSize";
    assert!(answer.windows(short.len()).any(|w| w == short));
}

#[test]
fn ff_filler() {
    for (on, profile) in both(Quirk::FfFiller) {
        let mut bench = Bench::new(profile);
        let answer = ask(&mut bench, &properties(false));
        let tokens = &answer[56..56 + length(&answer[52..56])];
        assert_eq!(tokens.ends_with(&[0xF1, 0xFF, 0xFF]), on);
        assert_eq!(tokens.windows(2).any(|w| w == [0xF0, 0xFF]), on);
        bench.start(sp::ADMIN, None).unwrap();
    }
}

#[test]
fn what_no_longer_fits_the_host_is_sent_as_it_is() {
    let mut bench = Bench::activated(with(Quirk::WideAtoms), b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    // A host that said nothing takes 1992 bytes of tokens; these are 1980 and 1992, if short.
    for (last, wide) in [(1969, true), (1981, false)] {
        let call = CallBuilder::new(table::uid(table::MBR), method::GET)
            .with(|t| {
                t.list(|t| {
                    t.named(2, |t| {
                        t.uint(last);
                    });
                });
            })
            .finish();
        let answer = bench.tokens((session.tsn, HSN), &call);
        assert_eq!(answer.len(), 1992, "{last}");
        assert_eq!(answer.ends_with(&[0xF1, 0xF9, 0xF0, 0, 0, 0, 0xF1]), !wide);
    }
}

#[test]
fn empty_com_packet_for_bad_arguments() {
    for (on, profile) in both(Quirk::EmptyComPacketForBadArguments) {
        let mut bench = Bench::new(profile);
        let call = CallBuilder::new(sp::SESSION_MANAGER, method::START_SESSION)
            .with(|t| {
                t.uint(1).uid(Uid(1)).boolean(true);
            })
            .finish();
        let answer = ask(&mut bench, &call);
        assert_eq!(answer.len() == 20, on);
        if on {
            assert_eq!(answer[8..20], [0; 12]);
        }
        // Other failures have a status.
        let wrong = bench.start(sp::ADMIN, Some((authority::SID, b"wrong")));
        assert_eq!(wrong.unwrap_err(), Status::NOT_AUTHORIZED);
    }
}

#[test]
fn slow_answers() {
    let mut profile = with(Quirk::SlowAnswers);
    profile.quirks.polls = 2;
    let mut bench = Bench::new(profile);
    let request =
        Envelope { com_id: COM_ID, ..Envelope::default() }.wrap(&properties(false)).to_vec();
    bench.send(1, COM_ID, &request).unwrap();
    for _ in 0..2 {
        let answer = bench.tper.if_recv(1, COM_ID, 2048).unwrap();
        assert_eq!((answer.len(), &answer[8..20]), (20, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..]));
        assert!(bench.tper.if_send(1, COM_ID, &request).is_err());
    }
    assert!(bench.tper.if_recv(1, COM_ID, 2048).unwrap().len() > 56);
}

/// STACK_RESET, and what IF-RECV then says three times.
fn stack_reset(bench: &mut Bench) -> [Vec<u8>; 3] {
    let com_id = COM_ID.to_be_bytes();
    let request = [com_id[0], com_id[1], 0, 0, 0, 0, 0, 2].to_vec();
    bench.send(2, COM_ID, &request).unwrap();
    [(); 3].map(|()| bench.tper.if_recv(2, COM_ID, 512).unwrap())
}

#[test]
fn stack_reset_pending() {
    let mut profile = with(Quirk::StackResetPending);
    profile.quirks.polls = 2;
    let answers = stack_reset(&mut Bench::new(profile));
    let pending = [0x10, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
    assert_eq!([&answers[0][..], &answers[1]], [&pending; 2]);
    assert_eq!(answers[2], [0x10, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 0]);
}

#[test]
fn stack_reset_hangs() {
    let mut bench = Bench::new(with(Quirk::StackResetHangs));
    assert_eq!(stack_reset(&mut bench)[2], [0; 12]);
    let answer = ask(&mut bench, &properties(false));
    assert_eq!(answer[8..20], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    bench.power_cycle();
    assert!(ask(&mut bench, &properties(false)).len() > 56);
}

#[test]
fn max_methods() {
    let two = [properties(false), properties(false)].concat();
    let answers = |quirk: bool| {
        let mut profile = profile();
        profile.limits.max_methods = 2;
        if quirk {
            profile.quirks.insert(Quirk::MaxMethods);
        }
        let mut bench = Bench::new(profile);
        let tokens = bench.tokens((0, 0), &two);
        let calls = Tokens::new(&tokens).flatten().filter(|t| t.token == Token::Call).count();
        let session = bench.start(sp::ADMIN, None).unwrap();
        let call = CallBuilder::new(sp::THIS_SP, method::RANDOM).with(|t| _ = t.uint(1)).finish();
        bench.tokens((session.tsn, HSN), &[&call[..], &call].concat());
        (calls, bench.tper.open_sessions())
    };
    assert_eq!(answers(false), (2, 1));
    assert_eq!(answers(true), (1, 0));
}

#[test]
fn sp_busy_after_abandoned_session() {
    for (on, profile) in both(Quirk::SpBusyAfterAbandonedSession) {
        let mut bench = Bench::new(profile);
        let session = bench.start(sp::ADMIN, None).unwrap();
        let expected = if on { Status::SP_BUSY } else { Status::NO_SESSIONS_AVAILABLE };
        assert_eq!(bench.start(sp::ADMIN, None).unwrap_err(), expected);
        bench.end(session);
        bench.start(sp::ADMIN, None).unwrap();
        stack_reset(&mut bench);
        assert_eq!(bench.start(sp::ADMIN, None).err(), on.then_some(Status::SP_BUSY));
        bench.power_cycle();
        bench.start(sp::ADMIN, None).unwrap();
    }
}

#[test]
fn sessions_survive_reset() {
    for (on, profile) in both(Quirk::SessionsSurviveReset) {
        let mut bench = Bench::new(profile);
        bench.start(sp::ADMIN, None).unwrap();
        bench.reset(Reset::Hardware);
        assert_eq!(bench.tper.open_sessions(), usize::from(on));
        bench.reset(Reset::PowerCycle);
        assert_eq!(bench.tper.open_sessions(), 0);
    }
}

#[test]
fn lockout_with_and_without_its_status_and_over_power_cycles() {
    for (on, mut profile) in both(Quirk::LockoutWithout12) {
        profile.try_limits.sid = 1;
        let mut bench = Bench::new(profile);
        let start = |bench: &mut Bench, pin: &[u8]| {
            bench.start(sp::ADMIN, Some((authority::SID, pin))).map(drop)
        };
        assert_eq!(start(&mut bench, b"wrong"), Err(Status::NOT_AUTHORIZED));
        let status = if on { Status::NOT_AUTHORIZED } else { Status::AUTHORITY_LOCKED_OUT };
        assert_eq!(start(&mut bench, MSID), Err(status));
        let session = bench.start(sp::ADMIN, None).unwrap();
        let proof = bench.authenticate(session, authority::SID, Some(MSID));
        assert_eq!(proof, if on { Ok(false) } else { Err(status) });
        bench.power_cycle();
        assert_eq!(start(&mut bench, MSID), Ok(()));
    }
    for (on, mut profile) in both(Quirk::PersistentTryLimit) {
        profile.try_limits.sid = 1;
        let mut bench = Bench::new(profile);
        bench.start(sp::ADMIN, Some((authority::SID, b"wrong"))).unwrap_err();
        bench.power_cycle();
        let result = bench.start(sp::ADMIN, Some((authority::SID, MSID)));
        assert_eq!(result.err(), on.then_some(Status::AUTHORITY_LOCKED_OUT));
    }
}

#[test]
fn refuse_session_timeout() {
    for (on, profile) in both(Quirk::RefuseSessionTimeout) {
        let mut bench = Bench::new(profile);
        let result = bench.start_with(sp::ADMIN, |t| {
            t.named(5, |t| {
                t.uint(60000);
            });
        });
        assert_eq!(result.err(), on.then_some(Status::INVALID_PARAMETER));
        bench.power_cycle();
        bench.start(sp::ADMIN, None).unwrap();
    }
}

#[test]
fn authenticate_fails() {
    for (on, profile) in both(Quirk::AuthenticateFails) {
        let mut bench = Bench::new(profile);
        let session = bench.start(sp::ADMIN, None).unwrap();
        assert_eq!(bench.authenticate(session, authority::SID, Some(MSID)), Ok(!on));
        bench.end(session);
        bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
    }
}

#[test]
fn no_psid() {
    for (on, profile) in both(Quirk::NoPsid) {
        let mut bench = Bench::new(profile);
        let result = bench.start(sp::ADMIN, Some((authority::PSID, PSID)));
        assert_eq!(result.err(), on.then_some(Status::INVALID_PARAMETER));
    }
    assert_eq!(with(Quirk::NoPsid).opal2_minor(), 1);
}

#[test]
fn block_sid_at_power_on() {
    let mut bench = Bench::new(with(Quirk::BlockSidAtPowerOn));
    let sid = Some((authority::SID, MSID));
    let session = bench.start(sp::ADMIN, sid).unwrap();
    bench.end(session);
    bench.power_cycle();
    assert_eq!(bench.start(sp::ADMIN, sid).unwrap_err(), Status::NOT_AUTHORIZED);
    let block = descriptors(&bench.tper.discovery()).into_iter().find(|(c, _)| *c == 0x0402);
    assert_eq!(block.unwrap().1[4] & 2, 2);
    // An owned drive is not blocked.
    let mut bench = Bench::activated(with(Quirk::BlockSidAtPowerOn), b"owner");
    bench.power_cycle();
    bench.start(sp::ADMIN, Some((authority::SID, b"owner"))).unwrap();
}

#[test]
fn lock_on_power_cycle_only() {
    for (on, mut profile) in both(Quirk::LockOnPowerCycleOnly) {
        profile.features.hardware_reset = true;
        let mut bench = Bench::activated(profile, b"owner");
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
        bench.set_uint(session, locking::range(0), &[(5, 1), (6, 1)]).unwrap();
        bench
            .set(session, locking::range(0), |t| {
                t.named(9, |t| {
                    t.list(|t| {
                        t.uint(0).uint(1);
                    });
                });
            })
            .unwrap();
        bench.reset(Reset::Hardware);
        assert_eq!(bench.tper.ranges()[0].read_locked, !on);
        bench.power_cycle();
        assert!(bench.tper.ranges()[0].read_locked);
    }
}

#[test]
fn geometry() {
    assert!(codes(profile()).contains(&0x0003));
    assert!(!codes(with(Quirk::NoGeometry)).contains(&0x0003));
    for (size, odd) in [(512u32, 4096u32), (4096, 512), (520, 512)] {
        let mut profile = with(Quirk::OddGeometry);
        profile.geometry.block_size = size;
        let bytes = Bench::new(profile).tper.discovery();
        let found = descriptors(&bytes).into_iter().find(|(code, _)| *code == 3).unwrap().1;
        assert_eq!(found[12..16], odd.to_be_bytes());
    }
}

#[test]
fn order_and_kinds_of_features() {
    let mut usual = codes(profile());
    usual.reverse();
    assert_eq!(codes(with(Quirk::FeaturesOutOfOrder)), usual);
    let unknown = codes(with(Quirk::UnknownFeatures));
    assert_eq!(unknown[unknown.len() - 2..], [0x0406, 0xC001]);
    assert!(codes(with(Quirk::TwoSscs)).windows(2).any(|w| w == [0x0200, 0x0203]));
    let mut ruby = profile_of(Ssc::Ruby);
    ruby.quirks.insert(Quirk::TwoSscs);
    assert!(codes(ruby).windows(2).any(|w| w == [0x0203, 0x0304]));
}

#[test]
fn header_of_discovery() {
    let usual = Bench::new(profile()).tper.discovery();
    let short = Bench::new(with(Quirk::ShortDiscoveryLength)).tper.discovery();
    assert_eq!((length(&usual[..4]), usual[4..].len()), (usual.len() - 4, short[4..].len()));
    assert_eq!(length(&short[..4]), short.len() - 48);
    let vendor = Bench::new(with(Quirk::VendorHeader)).tper.discovery();
    assert!(usual[16..48].iter().all(|byte| *byte == 0));
    assert!(vendor[16..48].iter().all(|byte| *byte != 0));
    assert_eq!(vendor[48..], usual[48..]);
}

#[test]
fn odd_single_user_flags() {
    for (on, mut profile) in both(Quirk::OddSingleUserFlags) {
        profile.features.single_user_mode = true;
        let bytes = Bench::new(profile).tper.discovery();
        let found = descriptors(&bytes).into_iter().find(|(code, _)| *code == 0x0201).unwrap().1;
        assert_eq!(found[8], if on { 2 } else { 0 });
    }
}

#[test]
fn mbr_refused_without_bit() {
    let mut bench = Bench::activated(with(Quirk::MbrRefusedWithoutBit), b"owner");
    let found = descriptors(&bench.tper.discovery()).into_iter().find(|(c, _)| *c == 2).unwrap().1;
    assert_eq!(found[4] & 0x40, 0);
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    let refused = bench.set_uint(session, table::row::MBR_CONTROL_ROW, &[(1, 1)]);
    assert_eq!(refused, Err(Status::NOT_AUTHORIZED));
}

#[test]
fn mbr_done_clears() {
    for (on, profile) in both(Quirk::MbrDoneClears) {
        let mut bench = Bench::activated(profile, b"owner");
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
        let row = table::row::MBR_CONTROL_ROW;
        bench.set_uint(session, row, &[(1, 1), (2, 1)]).unwrap();
        assert_eq!(bench.get_uint(session, row, 2), 1);
        bench.set_uint(session, row, &[(1, 0)]).unwrap();
        assert_eq!(bench.get_uint(session, row, 2), u64::from(!on));
    }
}

#[test]
fn reads_fail_after_revert() {
    for (on, profile) in both(Quirk::ReadsFailAfterRevert) {
        let mut bench = Bench::activated(profile, b"owner");
        let session = bench.start(sp::ADMIN, Some((authority::PSID, PSID))).unwrap();
        assert!(matches!(bench.tper.check_read(0, 1), ReadVerdict::Serve(_)));
        bench.call(session, sp::ADMIN, method::REVERT, |_| {}).unwrap();
        assert_eq!(bench.tper.check_read(0, 1) == ReadVerdict::Denied, on);
        bench.reset(Reset::Hardware);
        assert_eq!(bench.tper.check_read(0, 1) == ReadVerdict::Denied, on);
        bench.power_cycle();
        assert!(matches!(bench.tper.check_read(0, 1), ReadVerdict::Serve(_)));
    }
}

#[test]
fn announced_packet_too_large() {
    for (on, mut profile) in both(Quirk::AnnouncedPacketTooLarge) {
        profile.quirks.real_packet = 100;
        let mut bench = Bench::activated(profile, b"owner");
        let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
        let mbr = table::uid(table::MBR);
        assert_eq!(bench.write_bytes(session, mbr, 0, &[1; 100]), Ok(()));
        let more = bench.write_bytes(session, mbr, 0, &[2; 101]);
        assert_eq!(more, if on { Err(Status::INVALID_PARAMETER) } else { Ok(()) });
    }
}

/// Names of the drive's properties, and whether the host's came back.
fn names(profile: Profile) -> (Vec<String>, bool) {
    let answer = Bench::new(profile).tokens((0, 0), &properties(true));
    let call = opal::wire::Call::parse(&mut opal::wire::Reader::new(&answer)).unwrap();
    let mut parameters = call.parameters;
    parameters.start_list().unwrap();
    let mut names = Vec::new();
    while let Some(name) = parameters.start_name().unwrap() {
        let opal::wire::Name::Text(name) = name else { panic!("a property with a number") };
        names.push(String::from_utf8(name.to_vec()).unwrap());
        parameters.uint().unwrap();
        parameters.end_name().unwrap();
    }
    parameters.end_list().unwrap();
    (names, !parameters.at_end().unwrap())
}

#[test]
fn order_and_set_of_properties() {
    let (usual, host) = names(profile());
    assert!(host);
    let (mut reversed, _) = names(with(Quirk::ReversedProperties));
    reversed.reverse();
    assert_eq!(reversed, usual);
    let missing = names(with(Quirk::MissingProperties));
    let few = ["MaxComPacketSize", "MaxPacketSize", "MaxIndTokenSize"].map(str::to_owned);
    assert_eq!(missing, (few.to_vec(), false));
    let (extra, _) = names(with(Quirk::ExtraProperties));
    assert_eq!(extra[..usual.len()], usual);
    assert!(extra.contains(&"Asynchronous".to_owned()));
    let echo = Bench::new(with(Quirk::ExtraProperties)).tokens((0, 0), &properties(true));
    let name = b"MaxResponseComPacketSize";
    assert_eq!(echo.windows(name.len()).filter(|w| w == name).count(), 2);
}

#[test]
fn a_drive_with_all_quirks_at_once_still_lives() {
    let mut profile = profile();
    for quirk in Quirk::ALL {
        let fatal = [Quirk::StackResetHangs, Quirk::SlowAnswers, Quirk::NoPsid];
        if !fatal.contains(quirk) {
            profile.quirks.insert(*quirk);
        }
    }
    let mut bench = Bench::activated(profile, b"owner");
    bench.power_cycle();
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    bench.set_pin(session, c_pin::user(1), b"user").unwrap();
    bench.set_uint(session, locking::range(1), &[(column::locking::READ_LOCKED, 1)]).unwrap();
    bench.power_cycle();
    bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
}
