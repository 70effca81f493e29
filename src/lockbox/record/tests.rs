// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every byte of a record, every field of its header, and the golden record that opens for ever.

use super::*;

const GOLDEN: &str = include_str!("../../../docs/formats/lockbox/record-1.hex");

fn scope() -> Scope {
    Scope { fleet: [0x11; 16], node: [0x22; 16], domain: "drives".into(), epoch: 3 }
}

fn keys() -> EpochKeys {
    EpochKeys::new(scope(), Secret::from_slice(&[0x33; 32]))
}

fn id() -> RecordId {
    RecordId { key: KeyId::from_bytes([0x44; 16]), version: 5, kind: Kind::DrivePin }
}

fn pin() -> Secret {
    Secret::from_slice(b"0123456789ABCDEFGHIJKLMNOPQRSTUV")
}

fn reason(record: &[u8]) -> Refusal {
    open(&keys(), &id(), record).err().expect("refused")
}

#[test]
fn seals_and_opens_every_length() {
    for len in [0, 1, 32, 61, 62, 63, 64, 126, 127, 1000, MAX_SECRET] {
        let secret = Secret::random(len).unwrap();
        let record = seal(&keys(), &id(), &secret).unwrap();
        assert!(open(&keys(), &id(), &record).unwrap().matches(secret.expose()), "{len}");
    }
    let long = Secret::zeroed(MAX_SECRET + 1);
    assert!(matches!(seal(&keys(), &id(), &long), Err(Error::Input(_))));
}

#[test]
fn records_of_short_secrets_have_one_size() {
    let sizes: Vec<usize> = [0, 1, 20, 32, 62]
        .map(|len| seal(&keys(), &id(), &Secret::zeroed(len)).unwrap().len())
        .to_vec();
    assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}

#[test]
fn the_golden_record_is_what_is_written_and_opens() {
    let golden = unhex(GOLDEN);
    let written = seal_with_salt(&keys(), &id(), &pin(), &[0x55; 32]).unwrap();
    assert_eq!(crate::lockbox::id::hex(&written), crate::lockbox::id::hex(&golden));
    assert!(open(&keys(), &id(), &golden).unwrap().matches(pin().expose()));
}

#[test]
fn every_flipped_bit_is_refused() {
    let record = seal(&keys(), &id(), &pin()).unwrap();
    for index in 0..record.len() {
        for bit in 0..8 {
            let mut bad = record.clone();
            bad[index] ^= 1 << bit;
            assert!(open(&keys(), &id(), &bad).is_err(), "byte {index} bit {bit}");
        }
    }
    for len in 0..record.len() {
        assert_eq!(reason(&record[..len]), Refusal::Malformed, "length {len}");
    }
    let longer = [&record[..], &[0]].concat();
    assert_eq!(reason(&longer), Refusal::Malformed);
}

#[test]
fn each_part_is_refused_with_its_own_reason() {
    let record = seal(&keys(), &id(), &pin()).unwrap();
    let parts = Parts::parse(&record).unwrap();
    type Change = fn(&mut [u8; 32], &mut Vec<u8>, &mut Vec<u8>);
    let with = |change: Change| {
        let (mut salt, mut commitment, mut sealed) =
            (*parts.salt, parts.commitment.to_vec(), parts.sealed.to_vec());
        change(&mut salt, &mut commitment, &mut sealed);
        let parts =
            Parts { header: parts.header, salt: &salt, commitment: &commitment, sealed: &sealed };
        reason(&parts.write())
    };
    assert_eq!(with(|salt, _, _| salt[0] ^= 1), Refusal::WrongKey);
    assert_eq!(with(|_, commitment, _| commitment[31] ^= 1), Refusal::WrongKey);
    assert_eq!(with(|_, _, sealed| sealed[0] ^= 1), Refusal::Altered);
    assert_eq!(with(|_, _, sealed| *sealed.last_mut().unwrap() ^= 1), Refusal::Altered);
    assert_eq!(with(|_, _, sealed| sealed.truncate(40)), Refusal::Length);
    assert_eq!(with(|_, commitment, _| commitment.truncate(16)), Refusal::Malformed);
}

/// A header for exactly that scope and id, over a real record of another one: the named reason
/// comes first, and a header forged to fit is caught by the tag.
#[test]
fn each_field_is_refused_with_its_own_reason() {
    type Change = fn(&mut Scope, &mut RecordId);
    let cases: [(Change, Refusal); 7] = [
        (|s, _| s.fleet[0] ^= 1, Refusal::Fleet),
        (|s, _| s.node[0] ^= 1, Refusal::Node),
        (|s, _| s.domain.push('x'), Refusal::Domain),
        (|s, _| s.epoch += 1, Refusal::Epoch),
        (|_, i| i.key = KeyId::from_bytes([0; 16]), Refusal::KeyId),
        (|_, i| i.version += 1, Refusal::Version),
        (|_, i| i.kind = Kind::VolumeDek, Refusal::Kind),
    ];
    for (change, expected) in cases {
        let (mut scope, mut other) = (scope(), id());
        change(&mut scope, &mut other);
        let elsewhere = EpochKeys::new(scope.clone(), Secret::from_slice(&[0x33; 32]));
        let record = seal(&elsewhere, &other, &pin()).unwrap();
        assert_eq!(reason(&record), expected);
        // The same bytes under a forged header that fits.
        let parts = Parts::parse(&record).unwrap();
        let length = Header::parse(parts.header).unwrap().length;
        let header = Header::write(keys().scope(), &id(), length);
        let forged = Parts { header: &header, ..parts }.write();
        assert!(matches!(reason(&forged), Refusal::WrongKey | Refusal::Altered));
    }
}

#[test]
fn unknown_format_suite_and_second_half_are_refused_before_any_cryptography() {
    let header = |format, suite, second: bool| {
        let scope = scope();
        cbor(|e| {
            e.map(if second { 11 } else { 10 })?.u64(0)?.u64(format)?.u64(1)?.u64(suite)?;
            e.u64(2)?.bytes(&scope.fleet)?.u64(3)?.bytes(&scope.node)?;
            e.u64(4)?.str(&scope.domain)?.u64(5)?.u64(scope.epoch)?;
            e.u64(6)?.bytes(&[0x44; 16])?.u64(7)?.u64(5)?.u64(8)?.str("drive-pin")?;
            e.u64(9)?.u64(64)?;
            if second {
                e.u64(10)?.str("kmip")?;
            }
            Ok(())
        })
    };
    let record = |header: &[u8]| {
        Parts { header, salt: &[0; 32], commitment: &[0; 32], sealed: &[0; 80] }.write()
    };
    assert_eq!(reason(&record(&header(2, 1, false))), Refusal::FormatVersion);
    assert_eq!(reason(&record(&header(1, 2, false))), Refusal::Suite);
    assert_eq!(reason(&record(&header(1, 1, true))), Refusal::SecondHalf);
    assert_eq!(reason(&record(&header(1, 1, false))), Refusal::WrongKey);
    assert_eq!(reason(&record(&header(1, 1, false)[1..])), Refusal::Malformed);
}

#[test]
fn another_nek_opens_nothing() {
    let record = seal(&keys(), &id(), &pin()).unwrap();
    let other = EpochKeys::new(scope(), Secret::from_slice(&[0x34; 32]));
    assert_eq!(open(&other, &id(), &record).err(), Some(Refusal::WrongKey));
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        proptest::prop_assert!(open(&keys(), &id(), &bytes).is_err());
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.lines().filter(|l| !l.starts_with('#')).flat_map(str::bytes).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
