// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever a host sends: no panic, an answer the host can parse or none, and never a state that
//! cannot be restored.

use core::time::Duration;

use opal::spec::{authority, c_pin, locking, method, sp, table};
use opal::tper::{Quirk, Reset, Ssc, Tper};
use opal::wire::packet::Envelope;
use opal::wire::{CallBuilder, ComPacket, Encoder, Token, Tokens};
use proptest::prelude::*;

use crate::support::{Bench, COM_ID, HSN, MSID, profile, profile_of};

/// A drive in the middle of things, with a session of Admin1, cheap to copy.
fn busy() -> (Bench, u32) {
    let mut profile = profile();
    profile.features.single_user_mode = true;
    profile.limits.max_authentications = 8;
    profile.limits.max_sessions = 3;
    profile.limits.max_methods = 3;
    profile.try_limits.others = 5;
    let mut bench = Bench::activated(profile, b"owner");
    let session = bench.start(sp::LOCKING, Some((authority::admin(1), b"owner"))).unwrap();
    (bench, session.tsn)
}

fn envelope(tsn: u32, hsn: u32) -> Envelope {
    Envelope { com_id: COM_ID, tsn, hsn, ..Envelope::default() }
}

/// Sends bytes as an owner would, and checks what must hold whatever they are.
fn feed(bench: &mut Bench, data: &[u8], commit: bool) {
    let com_id = bench.com_id();
    // A drive that is slow or still removing data lets nobody send.
    let polls = bench.tper.if_recv(1, com_id, 1 << 20);
    assert!(polls.is_ok());
    let Ok(mut pending) = bench.tper.if_send(1, com_id, data) else { return };
    let effects = pending.effects().to_vec();
    if commit {
        pending.platform().apply(&effects);
        pending.commit();
    } else {
        drop(pending);
    }
    let answer = bench.tper.if_recv(1, com_id, 1 << 20).unwrap();
    let packet = ComPacket::parse(&answer).expect("an answer is a ComPacket");
    for packet in packet.packets() {
        for part in packet.unwrap().sub_packets() {
            assert!(Tokens::new(part.unwrap().payload()).all(|t| t.is_ok()));
        }
    }
    let profile = bench.tper.profile().clone();
    let state = bench.tper.state();
    let platform = bench.tper.platform().power_cycled();
    let restored = Tper::restore(profile, platform, &state).expect("a state it wrote itself");
    assert_eq!(restored.ranges().len(), bench.tper.ranges().len());
}

fn any_uid() -> impl Strategy<Value = opal::Uid> {
    prop_oneof![
        prop::sample::select(vec![
            sp::THIS_SP,
            sp::ADMIN,
            sp::LOCKING,
            locking::range(0),
            locking::range(1),
            locking::range(8),
            locking::key_256(0),
            locking::key_256(1),
            authority::admin(1),
            authority::user(1),
            authority::USERS,
            c_pin::admin(1),
            c_pin::user(1),
            table::uid(table::LOCKING),
            table::uid(table::MBR),
            table::uid(table::ACCESS_CONTROL),
            table::data_store(1),
            table::row::MBR_CONTROL_ROW,
            table::row::LOCKING_INFO_ROW,
            opal::spec::ace::locking_sp::locking_set_read_locked(1),
            opal::spec::ace::locking_sp::ACE_GET_ALL,
            locking::band(1),
            authority::enterprise::band_master(0),
            authority::enterprise::ERASE_MASTER,
            c_pin::of(authority::enterprise::band_master(0)),
            c_pin::MSID,
            table::uid(table::LOCKING_INFO),
            table::uid(table::ENTERPRISE_DATA_STORE),
        ]),
        any::<u64>().prop_map(opal::Uid),
    ]
}

fn any_method() -> impl Strategy<Value = opal::Uid> {
    prop::sample::select(vec![
        method::GET,
        method::SET,
        method::NEXT,
        method::GET_ACL,
        method::AUTHENTICATE,
        method::GEN_KEY,
        method::RANDOM,
        method::REVERT,
        method::REVERT_SP,
        method::ACTIVATE,
        method::ERASE,
        method::REACTIVATE,
        method::CREATE_ROW,
        method::ENTERPRISE_GET,
        method::ENTERPRISE_SET,
        method::ENTERPRISE_AUTHENTICATE,
    ])
}

/// Names that are text: half-UIDs of Opal's expressions, and what Enterprise calls things.
const NAMES: [&[u8]; 10] = [
    &[0, 0, 0x0C, 5],
    &[0, 0, 4, 0x0E],
    b"startColumn",
    b"endColumn",
    b"startRow",
    b"Challenge",
    b"ParamCheck",
    b"PIN",
    b"ReadLocked",
    b"LockOnReset",
];

/// A value as parameters have them, nested a little.
#[derive(Clone, Debug)]
enum Value {
    Uint(u64),
    Bytes(Vec<u8>),
    Uid(opal::Uid),
    List(Vec<Value>),
    Named(u64, Box<Value>),
    Half(u8, Box<Value>),
}

fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![0u64..24, 0x06_0000u64..0x06_0004, any::<u64>()];
    let leaf = prop_oneof![
        prop_oneof![0u64..4, 0u64..0x1_0000, any::<u64>()].prop_map(Value::Uint),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        any_uid().prop_map(Value::Uid),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            (number.clone(), inner.clone()).prop_map(|(n, v)| Value::Named(n, Box::new(v))),
            (0..NAMES.len(), inner).prop_map(|(h, v)| Value::Half(h as u8, Box::new(v))),
        ]
    })
}

impl Value {
    fn write(&self, t: &mut Encoder) {
        match self {
            Self::Uint(value) => drop(t.uint(*value)),
            Self::Bytes(bytes) => drop(t.bytes(bytes)),
            Self::Uid(uid) => drop(t.uid(*uid)),
            Self::List(values) => drop(t.list(|t| values.iter().for_each(|v| v.write(t)))),
            Self::Named(name, value) => drop(t.named(*name, |t| value.write(t))),
            Self::Half(which, value) => {
                t.named_bytes(NAMES[usize::from(*which)], |t| value.write(t));
            }
        }
    }
}

/// One thing a host does.
#[derive(Clone, Debug)]
enum Deed {
    Call(opal::Uid, opal::Uid, Vec<Value>),
    SetCells(opal::Uid, Vec<(u64, Value)>),
    Transaction(bool, u8),
    Start(opal::Uid, opal::Uid, Vec<u8>),
    End,
    Raw(Vec<u8>),
    Reset(bool),
}

fn any_deed() -> impl Strategy<Value = Deed> {
    let values = prop::collection::vec(any_value(), 0..4);
    let cells = prop::collection::vec((0u64..12, any_value()), 0..4);
    prop_oneof![
        6 => (any_uid(), any_method(), values).prop_map(|(u, m, v)| Deed::Call(u, m, v)),
        6 => (any_uid(), cells).prop_map(|(u, c)| Deed::SetCells(u, c)),
        2 => (any::<bool>(), 0u8..3).prop_map(|(s, v)| Deed::Transaction(s, v)),
        2 => (
            prop::sample::select(vec![sp::ADMIN, sp::LOCKING]),
            any_uid(),
            prop::sample::select(vec![b"owner".to_vec(), vec![], b"x".to_vec()]),
        )
            .prop_map(|(s, a, p)| Deed::Start(s, a, p)),
        1 => Just(Deed::End),
        2 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Deed::Raw),
        1 => any::<bool>().prop_map(Deed::Reset),
    ]
}

fn tokens(deed: &Deed) -> Option<(bool, Vec<u8>)> {
    Some(match deed {
        Deed::Call(invoking, method, values) => {
            let call = CallBuilder::new(*invoking, *method)
                .with(|t| values.iter().for_each(|v| v.write(t)))
                .finish();
            (false, call.to_vec())
        }
        Deed::SetCells(row, cells) => {
            let call = CallBuilder::new(*row, method::SET)
                .with(|t| {
                    t.named(1, |t| {
                        t.list(|t| {
                            for (column, value) in cells {
                                t.named(*column, |t| value.write(t));
                            }
                        });
                    });
                })
                .finish();
            (false, call.to_vec())
        }
        Deed::Transaction(start, value) => (false, vec![if *start { 0xFB } else { 0xFC }, *value]),
        Deed::Start(sp, authority, pin) => {
            let call = CallBuilder::new(sp::SESSION_MANAGER, method::START_SESSION)
                .with(|t| {
                    t.uint(u64::from(HSN)).uid(*sp).boolean(true);
                    t.named(0, |t| {
                        t.bytes(pin);
                    });
                    t.named(3, |t| {
                        t.uid(*authority);
                    });
                })
                .finish();
            (true, call.to_vec())
        }
        Deed::End => (false, vec![0xFA]),
        Deed::Raw(bytes) => (false, bytes.clone()),
        Deed::Reset(_) => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn sessions_of_random_deeds(deeds in prop::collection::vec((any_deed(), 0u8..8), 1..24)) {
        let (mut bench, tsn) = busy();
        let mut tsn = tsn;
        for (deed, chance) in deeds {
            match (&deed, tokens(&deed)) {
                (_, Some((control, tokens))) => {
                    let session = if control { (0, 0) } else { (tsn, HSN) };
                    feed(&mut bench, &envelope(session.0, session.1).wrap(&tokens), chance > 0);
                    if control && chance > 0 {
                        // A session may have opened; follow it.
                        tsn += 1;
                    }
                }
                (Deed::Reset(cold), None) => {
                    let kind = if *cold { Reset::PowerCycle } else { Reset::Hardware };
                    bench.reset(kind);
                }
                _ => unreachable!("only resets have no tokens"),
            }
        }
    }

    /// Any SSC with any quirks, fast or slow at removing data.
    #[test]
    fn random_deeds_on_any_profile(
        ssc in prop::sample::select(Ssc::ALL.to_vec()),
        quirks in prop::collection::vec(prop::sample::select(Quirk::ALL.to_vec()), 0..6),
        seconds in 0u64..3,
        deeds in prop::collection::vec((any_deed(), 0u8..8), 1..20),
    ) {
        let mut profile = profile_of(ssc);
        profile.data_removal.duration = Duration::from_secs(seconds);
        profile.dynamic_com_ids = if ssc == Ssc::Enterprise { 0 } else { 2 };
        profile.quirks.polls = 2;
        profile.limits.max_authentications = 4;
        for quirk in quirks {
            profile.quirks.insert(quirk);
        }
        let com_id = profile.base_com_id;
        let enterprise = ssc == Ssc::Enterprise;
        let mut bench = Bench::new(profile);
        let sp = if enterprise { sp::ENTERPRISE_LOCKING } else { sp::ADMIN };
        let start = CallBuilder::new(sp::SESSION_MANAGER, method::START_SESSION)
            .with(|t| {
                t.uint(u64::from(HSN)).uid(sp).boolean(true);
            })
            .finish();
        let envelope = |tsn, hsn| Envelope { com_id, tsn, hsn, ..Envelope::default() };
        feed(&mut bench, &envelope(0, 0).wrap(&start), true);
        let mut tsn = 0x1001;
        for _ in 0..3 {
            // Slow answers: fetch that of StartSession before going on.
            bench.tper.if_recv(1, com_id, 1 << 16).unwrap();
        }
        let (who, method, name): (_, _, &[u8]) = if enterprise {
            (authority::enterprise::band_master(0), method::ENTERPRISE_AUTHENTICATE, b"Challenge")
        } else {
            (authority::SID, method::AUTHENTICATE, &[])
        };
        let prove = CallBuilder::new(sp::THIS_SP, method)
            .with(|t| {
                t.uid(who);
                let proof = |t: &mut Encoder| _ = t.bytes(MSID);
                if enterprise { t.named_bytes(name, proof) } else { t.named(0, proof) };
            })
            .finish();
        feed(&mut bench, &envelope(tsn, HSN).wrap(&prove), true);
        for (deed, chance) in deeds {
            match (&deed, tokens(&deed)) {
                (_, Some((control, tokens))) => {
                    let (tsn_now, hsn) = if control { (0, 0) } else { (tsn, HSN) };
                    let before = bench.tper.counters().sessions;
                    feed(&mut bench, &envelope(tsn_now, hsn).wrap(&tokens), chance > 0);
                    tsn += (bench.tper.counters().sessions - before) as u32;
                }
                (Deed::Reset(cold), None) => {
                    let kind = if *cold { Reset::PowerCycle } else { Reset::Hardware };
                    bench.reset(kind);
                }
                _ => unreachable!("only resets have no tokens"),
            }
            let pending = bench.tper.session_timeouts(Duration::from_secs(u64::from(chance)));
            if chance == 1 {
                drop(pending);
            } else {
                pending.commit();
            }
            let discovery = bench.tper.discovery();
            prop_assert!(opal::wire::discovery::Discovery::parse(&discovery).is_ok());
            bench.tper.if_recv(2, 0, 64).unwrap();
        }
    }

    #[test]
    fn any_bytes_at_all(
        data in prop::collection::vec(any::<u8>(), 0..600),
        protocol in 0u8..4,
        specific in prop_oneof![0u16..8, Just(COM_ID), any::<u16>()],
        max in 0usize..3000,
    ) {
        let (mut bench, _) = busy();
        if let Ok(pending) = bench.tper.if_send(protocol, specific, &data) {
            pending.commit();
        }
        if let Ok(answer) = bench.tper.if_recv(protocol, specific, max) {
            prop_assert!(answer.len() <= max);
        }
    }

    #[test]
    fn mutated_calls(at in any::<prop::sample::Index>(), byte: u8, insert: bool, which in 0usize..4) {
        let (mut bench, tsn) = busy();
        let calls = [
            include_str!("../golden/tper_admin1.txt"),
            include_str!("../golden/tper_take_ownership.txt"),
            include_str!("../golden/tper_properties.txt"),
            include_str!("../golden/tper_revert.txt"),
        ];
        let requests: Vec<Vec<u8>> = calls[which]
            .split("\n>")
            .skip(1)
            .map(|step| {
                let step = step.split("\n<").next().unwrap();
                step.lines()
                    .skip(1)
                    .flat_map(|line| line.split(';').next().unwrap().split_whitespace())
                    .filter(|word| word.len() == 2)
                    .map(|word| u8::from_str_radix(word, 16).unwrap())
                    .collect()
            })
            .collect();
        for mut request in requests {
            let session = if request[27] == 0 { [0; 4] } else { tsn.to_be_bytes() };
            request[20..24].copy_from_slice(&session);
            let at = at.index(request.len());
            if insert {
                request.insert(at, byte);
            } else {
                request[at] = byte;
            }
            feed(&mut bench, &request, true);
        }
    }
}

#[test]
fn a_large_stream_of_lists() {
    let (mut bench, tsn) = busy();
    for token in [Token::StartList, Token::StartName, Token::EndList, Token::Call, Token::Uint(1)] {
        let mut encoder = Encoder::new();
        for _ in 0..60_000 {
            encoder.token(token);
        }
        feed(&mut bench, &envelope(tsn, HSN).wrap(encoder.as_bytes()), true);
    }
    // One call with as many cells as fit.
    let call = CallBuilder::new(locking::range(1), method::SET)
        .with(|t| {
            t.named(1, |t| {
                t.list(|t| {
                    for column in 0..8000 {
                        t.named(column, |t| {
                            t.uint(0);
                        });
                    }
                });
            });
        })
        .finish();
    let (mut bench, tsn) = busy();
    feed(&mut bench, &envelope(tsn, HSN).wrap(&call), true);
}
