// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever a drive answers, every operation of the host ends in a value or an error, in bounded
//! time and memory.

#[path = "host_support/script.rs"]
mod script;

use opal::host::{
    Activation, AdminSp, Authority, ByteTable, DataLoss, LockingSp, RangeConfig, ResetTypes, Row,
    Table, WriteOptions,
};
use opal::spec::ace;
use opal::wire::Status;
use opal::{Error, Pin, Transport};
use proptest::collection::vec;
use proptest::prelude::*;
use script::*;

/// A ComPacket that means something, or almost.
fn com_packet() -> impl Strategy<Value = Vec<u8>> {
    let tokens = vec(
        prop_oneof![
            Just(vec![0xF0]),
            Just(vec![0xF1]),
            Just(vec![0xF2]),
            Just(vec![0xF3]),
            Just(vec![0xF8]),
            Just(vec![0xFA]),
            Just(vec![0xF9, 0xF0, 0, 0, 0, 0xF1]),
            Just(vec![0xA8, 0, 0, 0, 0, 0, 0, 0, 0xFF]),
            Just(vec![0xA4, 0, 0, 0x0C, 5]),
            (0u8..0x40).prop_map(|n| vec![n]),
            Just(vec![0x83, 6, 0, 0]),
        ],
        0..24,
    )
    .prop_map(|parts| parts.concat());
    let headers = (0u32..3, prop_oneof![Just(0u32), Just(76), Just(4000), any::<u32>()]);
    prop_oneof![
        4 => (tokens, headers).prop_map(|(tokens, (outstanding, min))| {
            part(SESSION, &tokens, outstanding, min)
        }),
        1 => (0u32..5000, 0u32..5000).prop_map(|(outstanding, min)| empty(outstanding, min)),
        1 => vec(any::<u8>(), 0..600),
        1 => Just(done()),
    ]
}

/// Good answers with some bytes turned.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let good = prop_oneof![
        Just(opened()),
        Just(ended()),
        Just(closed()),
        Just(row(|t| {
            for column in 1..20 {
                t.named(column, |t| {
                    t.list(|t| {
                        t.uint(column);
                    });
                });
            }
        })),
        Just(answer(Status::SUCCESS, |t| {
            t.bytes(&[7; 700]);
        })),
    ];
    (good, vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)).prop_map(|(mut bytes, turns)| {
        for (index, value) in turns {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        bytes
    })
}

/// Everything a session with the Admin SP offers; errors are what is expected.
fn everything_admin(script: &mut Script) -> Result<(), Error> {
    let pin = Pin::new(b"secret").unwrap();
    let loss = DataLoss::accepted_for(SERIAL);
    let mut host = host(script);
    let mut session = host.start::<AdminSp>().authority(Authority::SID, &pin).open()?;
    let _ = session.msid().map(drop);
    let _ = session.life_cycle(Row::LOCKING_SP);
    let _ = session.c_pin(Authority::SID);
    let _ = session.is_enabled(Authority::SID);
    let _ = session.uid_of(Row::TPER_INFO);
    let _ = session.authenticate(Authority::PSID, &pin);
    let _ = session.random(32);
    let _ = session.acl(opal::Uid::NULL, opal::Uid::NULL);
    let _ = session.start_transaction();
    let _ = session.end_transaction(true);
    let _ = session.activate(&Activation::default());
    let _ = session.set_pin(Authority::SID, &pin);
    let _ = session.revert_locking_sp(&loss);
    session.revert(&loss)
}

/// Everything a session with the Locking SP offers.
fn everything_locking(script: &mut Script) -> Result<(), Error> {
    let loss = DataLoss::accepted_for(SERIAL);
    let mut host = host(script);
    let mut session = host.start::<LockingSp>().open()?;
    let _ = session.rows(Table::LOCKING);
    let _ = session.range(1);
    let _ = session.mbr_control();
    let _ = session.locking_info();
    let _ = session.ace(ace::locking_sp::locking_get(1));
    let _ = session.table_info(ByteTable::MBR);
    let _ = session.read(ByteTable::MBR, 0, 3000, &mut |_| {});
    let _ = session.write(ByteTable::MBR, 0, &[1; 3000], WriteOptions::default(), &mut |_| {});
    let _ = session.set_range(1, &RangeConfig::locked(true, true));
    let _ = session.set_mbr_control(Some(true), None, Some(ResetTypes::all()));
    let _ = session.erase_range(1, &loss);
    session.close()
}

fn everything_without_session(script: &mut Script) {
    let mut host = host(script);
    let _ = host.discovery();
    let _ = host.supported_protocols();
    let _ = host.properties();
    let _ = host.verify_com_id();
    let _ = host.stack_reset();
    let _ = host.request_com_id();
    let _ = host.tper_reset();
    let _ = host.block_sid(true, true);
    assert_eq!(host.transport().max_transfer() % 512, 0);
}

proptest! {
    #[test]
    fn any_answers_end(
        exact: bool,
        answers in vec(prop_oneof![com_packet(), damaged()], 0..12),
        bytes in vec(vec(any::<u8>(), 0..200), 0..4),
    ) {
        let play = |first: Option<Vec<u8>>| {
            let mut script =
                Script::new(first.into_iter().chain(bytes.clone()).chain(answers.clone()));
            script.exact = exact;
            script
        };
        let _ = everything_admin(&mut play(Some(opened())));
        let _ = everything_admin(&mut play(None));
        let _ = everything_locking(&mut play(Some(opened())));
        everything_without_session(&mut play(None));
    }

    #[test]
    fn any_order_of_com_packets_ends(answers in vec(com_packet(), 0..20)) {
        let answers = || [opened()].into_iter().chain(answers.clone());
        let _ = everything_locking(&mut Script::new(answers()));
        let _ = everything_admin(&mut Script::new(answers()));
    }
}
