// SPDX-License-Identifier: MIT OR Apache-2.0
//! Level 0 Discovery: the worked example byte by byte, every layout, and damaged answers.

use opal::wire::discovery::{
    BlockSid, ComIds, DataRemoval, DataStore, Descriptor, Discovery, DiscoveryError, Feature,
    FeatureCode, Geometry, KeyPerIo, LengthForm, Locking, Mechanism, NamespaceLocking,
    NamespaceMbr, Opal2, PinIndicator, Port, RemovalTime, Siis, SingleUserMode, SmallSsc, Ssc1,
    Tper,
};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A new Opal 2.30 drive, typed from the reference's worked example (216 bytes).
fn worked_example() -> Vec<u8> {
    let mut bytes = hex("00 00 00 D4 00 00 00 01");
    bytes.extend([0; 40]);
    bytes.extend(hex("00 01 10 0C 11 00 00 00 00 00 00 00 00 00 00 00
         00 02 30 0C 09 00 00 00 00 00 00 00 00 00 00 00
         00 03 10 1C 01 00 00 00 00 00 00 00 00 00 02 00
         00 00 00 00 00 00 00 08 00 00 00 00 00 00 00 00
         02 01 10 0C 00 00 00 09 00 00 00 00 00 00 00 00
         02 02 20 0C 00 00 00 09 00 A0 00 00 00 00 00 01
         02 03 23 10 10 00 00 01 00 00 04 00 09 00 00 00
         00 00 00 00
         04 02 20 0C 00 00 00 00 00 00 00 00 00 00 00 00
         04 04 20 20 00 00 04 00 00 00 00 00 00 01 00 00
         00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
         00 00 00 00"));
    assert_eq!(bytes.len(), 216);
    bytes
}

fn worked_features() -> Vec<Descriptor> {
    let mut times = [0; 6];
    times[2] = 1;
    vec![
        Descriptor::new(&Feature::Tper(Tper { sync: true, streaming: true, ..Tper::default() })),
        Descriptor::new(&Feature::Locking(Locking {
            supported: true,
            media_encryption: true,
            ..Locking::default()
        })),
        Descriptor::new(&Feature::Geometry(Geometry {
            align: true,
            logical_block_size: 512,
            alignment_granularity: 8,
            lowest_aligned_lba: 0,
        })),
        Descriptor::new(&Feature::SingleUserMode(SingleUserMode {
            locking_objects: 9,
            ..SingleUserMode::default()
        })),
        Descriptor::new(&Feature::DataStore(DataStore {
            max_tables: 9,
            max_total_size: 10 << 20,
            size_alignment: 1,
        })),
        Descriptor::new(&Feature::Opal2(Opal2 {
            com_ids: ComIds { base: 0x1000, count: 1 },
            admins: 4,
            users: 9,
            ..Opal2::default()
        }))
        .with_version(2, 3),
        Descriptor::new(&Feature::BlockSid(BlockSid::default())),
        Descriptor::new(&Feature::DataRemoval(DataRemoval {
            mechanisms: 1 << Mechanism::CRYPTOGRAPHIC_ERASE.0,
            times,
            ..DataRemoval::default()
        })),
    ]
}

#[test]
fn the_worked_example_is_built_byte_by_byte() {
    let mut discovery = Discovery::new([0; 32]);
    for descriptor in worked_features() {
        discovery.push(descriptor);
    }
    assert_eq!(discovery.to_bytes(), worked_example());
}

#[test]
fn the_worked_example_is_read() {
    let discovery = Discovery::parse(&worked_example()).unwrap();
    assert_eq!(discovery.descriptors(), worked_features());
    assert_eq!((discovery.missing_bytes(), discovery.tail().len()), (0, 0));
    assert_eq!(discovery.base_com_id(), Some(0x1000));
    assert_eq!(discovery.ssc().unwrap().0, FeatureCode::OPAL_2);
    assert!(discovery.encrypts() && discovery.shadow_mbr());
    assert_eq!(discovery.geometry().unwrap().granularity(), 8);
    assert_eq!(discovery.descriptor(FeatureCode::OPAL_2).unwrap().minor(), 3);
    let removal = discovery.data_removal().unwrap();
    assert!(removal.supports(Mechanism::CRYPTOGRAPHIC_ERASE));
    assert!(!removal.supports(Mechanism::OVERWRITE));
    assert_eq!(removal.time(Mechanism::CRYPTOGRAPHIC_ERASE), RemovalTime::Seconds(2));
}

#[test]
fn a_longer_buffer_is_padding() {
    let mut bytes = worked_example();
    bytes.resize(512, 0xAA);
    assert_eq!(Discovery::parse(&bytes).unwrap().to_bytes(), worked_example());
}

/// Each layout with values that tell every field from its neighbours, typed by hand from the offset
/// tables.
#[test]
fn every_layout() {
    let com_ids = ComIds { base: 0x0102, count: 0x0304 };
    let opal2 = Opal2 {
        com_ids,
        range_crossing: true,
        admins: 0x0506,
        users: 0x0708,
        initial_pin: PinIndicator::VENDOR_UNIQUE,
        reverted_pin: PinIndicator(0x0A),
    };
    let opal2_bytes = "01020304 01 0506 0708 FF 0A 0000000000";
    let small = SmallSsc {
        com_ids,
        initial_pin: PinIndicator::MSID,
        reverted_pin: PinIndicator::VENDOR_UNIQUE,
    };
    let small_bytes = "01020304 0000000000 00 FF 0000000000";
    let ssc1 = Ssc1 { com_ids, range_crossing: true };
    let ssc1_bytes = "01020304 01 0000000000000000000000";
    let geometry = Geometry {
        align: true,
        logical_block_size: 520,
        alignment_granularity: 0x0102_0304_0506_0708,
        lowest_aligned_lba: 0x1112_1314_1516_1718,
    };
    let geometry_bytes = "01 00000000000000 00000208 0102030405060708 1112131415161718";
    let cases: &[(Feature, &str, &str)] = &[
        (
            Feature::Tper(Tper {
                sync: true,
                asynchronous: false,
                ack_nak: true,
                buffer_management: false,
                streaming: true,
                com_id_management: true,
            }),
            "0001 10 0C",
            "55 0000000000000000000000",
        ),
        (
            Feature::Locking(Locking {
                supported: true,
                enabled: true,
                locked: false,
                media_encryption: true,
                mbr_enabled: false,
                mbr_done: true,
                mbr_shadowing_not_supported: false,
                hardware_reset: true,
            }),
            "0002 30 0C",
            "AB 0000000000000000000000",
        ),
        (Feature::Geometry(geometry), "0003 10 1C", geometry_bytes),
        (
            Feature::Siis(Siis {
                revision: 7,
                key_change_zone_behavior: true,
                identifier_usage_scope: 2,
            }),
            "0005 10 0C",
            "07 05 00000000000000000000",
        ),
        (Feature::Enterprise(ssc1), "0100 10 10", ssc1_bytes),
        (Feature::Opal1(ssc1), "0200 10 10", ssc1_bytes),
        (
            Feature::SingleUserMode(SingleUserMode {
                locking_objects: 0x0102_0304,
                any: true,
                all: false,
                policy: true,
            }),
            "0201 10 0C",
            "01020304 05 00000000000000",
        ),
        (
            Feature::DataStore(DataStore {
                max_tables: 0x0102,
                max_total_size: 0x0304_0506,
                size_alignment: 0x0708_090A,
            }),
            "0202 20 0C",
            "0000 0102 03040506 0708090A",
        ),
        (Feature::Opal2(opal2), "0203 20 10", opal2_bytes),
        (Feature::Opalite(small), "0301 10 10", small_bytes),
        (Feature::Pyrite1(small), "0302 10 10", small_bytes),
        (Feature::Pyrite2(small), "0303 10 10", small_bytes),
        (Feature::Ruby(opal2), "0304 10 10", opal2_bytes),
        (
            Feature::KeyPerIo(KeyPerIo {
                com_ids,
                injection_com_ids: ComIds { base: 0x0506, count: 0x0708 },
            }),
            "0305 10 10",
            "01020304 05060708 0000000000000000",
        ),
        (
            Feature::BlockSid(BlockSid {
                sid_changed: true,
                blocked: false,
                freeze_supported: true,
                frozen: false,
                hardware_reset: true,
            }),
            "0402 20 0C",
            "05 01 00000000000000000000",
        ),
        (
            Feature::NamespaceLocking(NamespaceLocking {
                range_creation: true,
                range_present: false,
                single_user: true,
                max_keys: 0x0102_0304,
                unused_keys: 0x0506_0708,
                max_ranges_per_namespace: u32::MAX,
            }),
            "0403 10 10",
            "A0 000000 01020304 05060708 FFFFFFFF",
        ),
        (
            Feature::DataRemoval(DataRemoval {
                processing: true,
                interrupted: true,
                mechanisms: 0b10_0110,
                time_format: 0b00_0100,
                times: [0x0101, 0x0202, 0x0303, 0x0404, 0x0505, 0x0606],
            }),
            "0404 20 20",
            "00 03 26 04 0101 0202 0303 0404 0505 0606 00000000000000000000000000000000",
        ),
        (Feature::NamespaceGeometry(geometry), "0405 10 1C", geometry_bytes),
        (
            Feature::NamespaceMbr(NamespaceMbr { all_namespaces: true }),
            "0407 10 0C",
            "01 0000000000000000000000",
        ),
        (
            Feature::LogicalPorts(vec![
                Port { id: 0x0001_0002, state: 1 },
                Port { id: 0x0001_0014, state: 0 },
            ]),
            "C001 10 10",
            "00010002 01 000000 00010014 00 000000",
        ),
    ];
    for (feature, header, data) in cases {
        let mut discovery = Discovery::new([0; 32]);
        discovery.push(Descriptor::new(feature));
        let built = discovery.to_bytes();
        assert_eq!(built[48..], hex(&format!("{header}{data}")), "{feature:?}");
        let parsed = Discovery::parse(&built).unwrap();
        assert_eq!(parsed.descriptors()[0].feature(), *feature);
    }
}

#[test]
fn bits_that_a_version_does_not_have() {
    let locking = |version: u8| {
        let bytes = [&[0x00, 0x02, version << 4, 4][..], &[0xC0, 0, 0, 0]].concat();
        answer(&bytes).locking().unwrap()
    };
    assert_eq!(locking(1), Locking::default());
    assert!(locking(2).mbr_shadowing_not_supported && !locking(2).hardware_reset);
    assert!(locking(3).mbr_shadowing_not_supported && locking(3).hardware_reset);

    let block_sid = |version: u8| {
        let bytes = [&[0x04, 0x02, version << 4, 4][..], &[0x0F, 0, 0, 0]].concat();
        answer(&bytes).block_sid().unwrap()
    };
    assert!(!block_sid(1).frozen && !block_sid(1).freeze_supported && block_sid(1).blocked);
    assert!(block_sid(2).frozen && block_sid(2).freeze_supported);
}

#[test]
fn shorter_and_longer_descriptors_than_known() {
    // Opal 1 with four data bytes, as some drives send it.
    let short = answer(&hex("0200 10 04 07FE0001"));
    assert_eq!(short.base_com_id(), Some(0x07FE));
    assert!(!short.opal1().unwrap().range_crossing);
    // TPer with four bytes more than known.
    let bytes = hex("0001 10 10 11 000000 00000000 00000000 DEADBEEF");
    let long = answer(&bytes);
    assert!(long.tper().unwrap().sync);
    assert_eq!(long.to_bytes()[48..], bytes);
    assert_eq!(long.descriptors()[0].data()[12..], [0xDE, 0xAD, 0xBE, 0xEF]);
}

#[test]
fn unknown_features_in_any_order() {
    let bytes = hex("C0DE 51 02 ABCD 0402 10 04 01000000 0406 10 03 010203 0001 10 01 01");
    let discovery = answer(&bytes);
    let codes: Vec<_> = discovery.descriptors().iter().map(|d| d.code.0).collect();
    assert_eq!(codes, [0xC0DE, 0x0402, 0x0406, 0x0001]);
    assert_eq!(discovery.descriptors()[0].feature(), Feature::Raw(FeatureCode(0xC0DE)));
    assert_eq!(discovery.descriptors()[0].version_byte, 0x51);
    assert!(discovery.tper().unwrap().sync && discovery.block_sid().unwrap().sid_changed);
    assert_eq!(discovery.to_bytes()[48..], bytes);
}

#[test]
fn the_ssc_a_host_prefers() {
    let ssc = |text| answer(&hex(text)).ssc();
    let com_ids = |base, count| ComIds { base, count };
    assert_eq!(
        ssc("0200 10 04 10020001  0203 10 04 10040001"),
        Some((FeatureCode::OPAL_2, com_ids(0x1004, 1)))
    );
    assert_eq!(
        ssc("0304 10 04 20000002  0203 10 04 20000002"),
        Some((FeatureCode::OPAL_2, com_ids(0x2000, 2)))
    );
    assert_eq!(
        ssc("0100 10 04 07FE0002  0302 10 04 10000001"),
        Some((FeatureCode::PYRITE_1, com_ids(0x1000, 1)))
    );
    assert_eq!(ssc("0001 10 04 11000000"), None);
    // Not even the ComID is there: no answer rather than ComID 0.
    assert_eq!(ssc("0203 10 02 1004"), None);
}

#[test]
fn a_length_that_excludes_the_header() {
    let mut bytes = worked_example();
    // 168 bytes of descriptors: larger than a header, so only the descriptors themselves tell.
    bytes[3] = 168;
    let discovery = Discovery::parse(&bytes).unwrap();
    assert_eq!(discovery.length_form, LengthForm::DescriptorsOnly);
    assert_eq!(discovery.descriptors(), worked_features());
    assert_eq!(discovery.to_bytes(), bytes);
    // Padding behind it changes nothing.
    bytes.resize(512, 0);
    assert_eq!(Discovery::parse(&bytes).unwrap().descriptors(), worked_features());

    // Smaller than a header.
    let mut bytes = hex("00000010 00000001");
    bytes.extend([0; 40]);
    bytes.extend(hex("0001 10 0C 11 0000000000000000000000"));
    let discovery = Discovery::parse(&bytes).unwrap();
    assert_eq!(discovery.length_form, LengthForm::DescriptorsOnly);
    assert!(discovery.tper().unwrap().streaming);
    assert_eq!((discovery.declared_bytes(), discovery.missing_bytes()), (64, 0));
}

#[test]
fn filler_of_zeros_is_no_feature() {
    let mut bytes = worked_example();
    bytes.resize(512, 0);
    bytes[..4].copy_from_slice(&508u32.to_be_bytes());
    let discovery = Discovery::parse(&bytes).unwrap();
    assert_eq!(discovery.length_form, LengthForm::Standard);
    assert_eq!(discovery.descriptors(), worked_features());
    assert_eq!(discovery.tail().len(), 512 - 216);
    assert_eq!(discovery.to_bytes(), bytes);
}

#[test]
fn no_tcg_at_all() {
    let discovery = Discovery::parse(&[0; 512]).unwrap();
    assert!(discovery.descriptors().is_empty());
    assert_eq!((discovery.ssc(), discovery.encrypts()), (None, false));
    assert_eq!(Discovery::parse(&[]), Err(DiscoveryError::Truncated { present: 0 }));
}

#[test]
fn every_truncation_is_told_and_kept() {
    let whole = worked_example();
    for cut in 0..whole.len() {
        let bytes = &whole[..cut];
        match Discovery::parse(bytes) {
            Err(error) => {
                assert!(cut < 48);
                assert_eq!(error, DiscoveryError::Truncated { present: cut });
            }
            Ok(discovery) => {
                assert!(cut >= 48);
                assert_eq!(discovery.missing_bytes(), 216 - cut);
                assert_eq!(discovery.to_bytes(), bytes);
                // Every descriptor but the cut one is as in the whole answer.
                let complete = discovery.descriptors().iter().filter(|d| d.missing() == 0);
                assert!(
                    complete.eq(worked_features()
                        .iter()
                        .take(discovery.descriptors().iter().filter(|d| d.missing() == 0).count()))
                );
            }
        }
    }
}

#[test]
fn removal_times() {
    let removal = DataRemoval {
        mechanisms: 0x3F,
        time_format: 0b10,
        times: [0, 3, u16::MAX, 1, 1, 1],
        ..DataRemoval::default()
    };
    assert_eq!(removal.time(Mechanism(0)), RemovalTime::NotReported);
    assert_eq!(removal.time(Mechanism(1)), RemovalTime::Seconds(360));
    assert_eq!(removal.time(Mechanism(2)), RemovalTime::AtLeast(131_068));
    assert_eq!(removal.time(Mechanism(9)), RemovalTime::NotReported);
}

#[test]
fn single_user_mode_with_all_but_not_any() {
    assert!(answer(&hex("0201 10 08 00000009 02000000")).single_user_mode().unwrap().in_use());
}

fn answer(descriptors: &[u8]) -> Discovery {
    let mut bytes = ((44 + descriptors.len()) as u32).to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 1]);
    bytes.extend([0; 40]);
    bytes.extend(descriptors);
    let discovery = Discovery::parse(&bytes).unwrap();
    assert_eq!(discovery.missing_bytes(), 0);
    assert_eq!(discovery.to_bytes(), bytes);
    discovery
}

const KNOWN: [u16; 24] = [
    0x0001, 0x0002, 0x0003, 0x0004, 0x0005, 0x0100, 0x0200, 0x0201, 0x0202, 0x0203, 0x0301, 0x0302,
    0x0303, 0x0304, 0x0305, 0x0401, 0x0402, 0x0403, 0x0404, 0x0405, 0x0407, 0x0409, 0x040A, 0xC001,
];

proptest! {
    /// Any bytes: no panic, nothing beyond the buffer or the declared length, the same bytes back.
    #[test]
    fn any_bytes_come_back(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        length: Option<u8>,
    ) {
        if let (Some(length), Some(field)) = (length, bytes.first_chunk_mut::<4>()) {
            *field = u32::from(length).to_be_bytes();
        }
        if let Ok(discovery) = Discovery::parse(&bytes) {
            let out = discovery.to_bytes();
            prop_assert_eq!(out.len(), bytes.len().min(discovery.declared_bytes()));
            prop_assert_eq!(&out[..], &bytes[..out.len()]);
            prop_assert_eq!(out.len() + discovery.missing_bytes(), discovery.declared_bytes());
        }
    }

    /// Writing back what was read changes no bit, whatever the reserved bits, length and version.
    #[test]
    fn typed_forms_keep_every_bit(
        code in proptest::sample::select(&KNOWN[..]),
        version: u8,
        data in proptest::collection::vec(any::<u8>(), 0..48),
    ) {
        let raw = Descriptor::raw(FeatureCode(code), version, &data);
        let mut copy = raw.clone();
        copy.set_feature(&raw.feature());
        prop_assert_eq!(&copy, &raw);
        // A descriptor of our own at the same version means the same.
        let fresh = Descriptor::new(&raw.feature()).with_version(raw.version(), raw.minor());
        prop_assert_eq!(fresh.feature(), raw.feature());
    }
}
