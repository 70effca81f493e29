// SPDX-License-Identifier: MIT OR Apache-2.0
//! XTS against other implementations and published vectors, every back end in turn.

use opalbox::software::xts::{Backend, Xts, XtsError};
use openssl::symm::{Cipher, Crypter, Mode};
use proptest::prelude::*;
use xts_mode::Xts128;

/// Bytes that differ everywhere and are the same in each run.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// XTS by the `xts-mode` crate, sector by sector.
fn xts_mode(key: &[u8], size: usize, first: u64, step: u64, data: &mut [u8], encrypt: bool) {
    use aes::cipher::KeyInit;
    let (one, two) = key.split_at(key.len() / 2);
    for (at, sector) in data.chunks_exact_mut(size).enumerate() {
        let tweak = u128::from(first + at as u64 * step).to_le_bytes().into();
        macro_rules! run {
            ($aes:ty) => {{
                let xts = Xts128::new(
                    <$aes>::new_from_slice(one).unwrap(),
                    <$aes>::new_from_slice(two).unwrap(),
                );
                match encrypt {
                    true => xts.encrypt_sector(sector, tweak),
                    false => xts.decrypt_sector(sector, tweak),
                }
            }};
        }
        match one.len() {
            16 => run!(aes::Aes128),
            _ => run!(aes::Aes256),
        }
    }
}

#[test]
fn agrees_with_xts_mode() {
    for backend in Backend::available() {
        for key_length in [32, 64] {
            let key = pattern(key_length, 7);
            let xts = Xts::with_backend(&key, backend).unwrap();
            assert_eq!(xts.backend(), backend);
            for size in [512, 1024, 2048, 4096] {
                for count in [0, 1, 2, 3, 7, 8, 31, 32, 33, 65] {
                    let plain = pattern(size * count, count as u64);
                    let (first, step) = (0xffff_ff00, size as u64 / 512);
                    let mut expected = plain.clone();
                    xts_mode(&key, size, first, step, &mut expected, true);
                    let mut data = plain.clone();
                    xts.encrypt(size, first, step, &mut data).unwrap();
                    assert!(data == expected, "{backend} {key_length} {size}x{count} encrypt");
                    xts.decrypt(size, first, step, &mut data).unwrap();
                    assert!(data == plain, "{backend} {key_length} {size}x{count} decrypt");
                    let mut out = vec![0; data.len()];
                    xts.encrypt_to(size, first, step, &plain, &mut out).unwrap();
                    assert!(out == expected, "{backend} {key_length} {size}x{count} encrypt_to");
                    xts.decrypt_from(size, first, step, &expected, &mut out).unwrap();
                    assert!(out == plain, "{backend} {key_length} {size}x{count} decrypt_from");
                }
            }
        }
    }
}

#[test]
fn refuses_bad_keys() {
    for length in [0, 1, 16, 31, 33, 48, 63, 65, 128] {
        let error = Xts::new(&pattern(length, 1)).unwrap_err();
        assert_eq!(error, XtsError::KeyLength(length));
    }
    for half in [16, 32] {
        let key = pattern(half, 3).repeat(2);
        assert_eq!(Xts::new(&key).unwrap_err(), XtsError::EqualHalves);
        let mut key = key;
        *key.last_mut().unwrap() ^= 1;
        Xts::new(&key).unwrap();
    }
}

#[test]
fn refuses_bad_shapes_and_leaves_data_alone() {
    let xts = Xts::new(&pattern(64, 2)).unwrap();
    let before = pattern(8192, 4);
    let mut data = before.clone();
    for size in [0, 1, 16, 256, 511, 513, 520, 1536, 4095, 4104, 8192, usize::MAX] {
        assert_eq!(xts.encrypt(size, 0, 1, &mut data), Err(XtsError::SectorSize(size)));
        assert_eq!(xts.decrypt(size, 0, 1, &mut data), Err(XtsError::SectorSize(size)));
    }
    for length in [1, 16, 511, 513, 4095] {
        let error = XtsError::PartialSector { length, sector_size: 512 };
        assert_eq!(xts.encrypt(512, 0, 1, &mut data[..length]), Err(error));
        assert_eq!(xts.decrypt(512, 0, 1, &mut data[..length]), Err(error));
    }
    let error = XtsError::LengthMismatch { source_length: 4096, destination_length: 8192 };
    assert_eq!(xts.encrypt_to(512, 0, 1, &before[..4096], &mut data), Err(error));
    assert_eq!(xts.decrypt_from(512, 0, 1, &before[..4096], &mut data), Err(error));
    let error = XtsError::SectorNumber { first: u64::MAX, step: 8 };
    assert_eq!(xts.encrypt(4096, u64::MAX, 8, &mut data), Err(error));
    assert_eq!(xts.encrypt_unit([0; 16], &mut data[..528]), Err(XtsError::SectorSize(528)));
    assert_eq!(data, before);
    xts.encrypt(4096, u64::MAX, 8, &mut data[..4096]).unwrap();
    xts.decrypt(4096, u64::MAX, 8, &mut data[..4096]).unwrap();
    assert_eq!(data, before);
}

#[test]
fn what_cannot_run_is_refused() {
    let key = pattern(64, 5);
    for backend in Backend::ALL {
        match Xts::with_backend(&key, backend) {
            Ok(xts) => assert!(backend.is_available() && xts.backend() == backend),
            Err(error) => {
                assert!(!backend.is_available());
                assert_eq!(error, XtsError::Unavailable(backend));
            }
        }
    }
    assert_eq!(Some(Xts::new(&key).unwrap().backend()), Backend::available().last());
}

#[test]
fn debug_shows_no_key() {
    let key = [0xa5; 32].into_iter().chain([0x5a; 32]).collect::<Vec<u8>>();
    let text = format!("{:?}", Xts::new(&key).unwrap());
    assert!(text.starts_with("Xts { backend: "), "{text}");
    assert!(!text.contains("165") && !text.contains("a5"), "{text}");
}

/// XTS by the system's OpenSSL, sector by sector.
fn openssl(key: &[u8], size: usize, first: u64, step: u64, data: &[u8], mode: Mode) -> Vec<u8> {
    let cipher = if key.len() == 32 { Cipher::aes_128_xts() } else { Cipher::aes_256_xts() };
    let mut out = Vec::new();
    for (at, sector) in data.chunks_exact(size).enumerate() {
        let tweak = u128::from(first + at as u64 * step).to_le_bytes();
        let mut crypter = Crypter::new(cipher, mode, key, Some(&tweak)).unwrap();
        let mut block = vec![0; size + cipher.block_size()];
        let length = crypter.update(sector, &mut block).unwrap();
        out.extend_from_slice(&block[..length]);
    }
    out
}

/// One line of tests/vectors/xts.txt.
struct Vector {
    source: String,
    key: Vec<u8>,
    tweak: [u8; 16],
    plain: Vec<u8>,
    cipher: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let bytes = |text: &str| -> Vec<u8> {
        let (pairs, odd) = text.as_bytes().as_chunks::<2>();
        assert!(odd.is_empty(), "{text}");
        let digit = |it: u8| char::from(it).to_digit(16).unwrap() as u8;
        pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
    };
    let lines = include_str!("vectors/xts.txt").lines().filter(|it| !it.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [source, key, tweak, plain, cipher] = fields[..] else { panic!("{line}") };
            Vector {
                source: source.to_owned(),
                key: bytes(key),
                tweak: bytes(tweak).try_into().unwrap(),
                plain: bytes(plain),
                cipher: bytes(cipher),
            }
        })
        .collect()
}

#[test]
fn published_vectors() {
    let vectors = vectors();
    for source in ["ieee-1619/", "nist-cavs/", "wycheproof/"] {
        assert!(vectors.iter().any(|it| it.source.starts_with(source)), "no {source}");
    }
    for backend in Backend::available() {
        for Vector { source, key, tweak, plain, cipher } in &vectors {
            let xts = Xts::with_backend(key, backend).unwrap();
            // Without ciphertext stealing a short unit is the head of a longer one.
            let mut unit = [0xee; 512];
            unit[..plain.len()].copy_from_slice(plain);
            xts.encrypt_unit(*tweak, &mut unit).unwrap();
            assert_eq!(unit[..cipher.len()], cipher[..], "{backend} {source} encrypt");
            xts.decrypt_unit(*tweak, &mut unit).unwrap();
            assert_eq!(unit[..plain.len()], plain[..], "{backend} {source} decrypt");
        }
    }
}

#[test]
fn first_ieee_vector_is_refused() {
    // Vector 1 has two zero keys: FIPS 140 forbids what IEEE 1619 gives as an example.
    assert_eq!(Xts::new(&[0; 32]).unwrap_err(), XtsError::EqualHalves);
}

/// Any shape the interface accepts: back ends against each other and against two libraries.
fn any_call() -> impl Strategy<Value = (Vec<u8>, usize, u64, u64, Vec<u8>)> {
    let key = prop_oneof![
        proptest::collection::vec(any::<u8>(), 32),
        proptest::collection::vec(any::<u8>(), 64),
    ];
    let shape = (9u32..=12, 0usize..70);
    let number = prop_oneof![any::<u32>().prop_map(u64::from), (0u64..1000), Just(u64::MAX >> 1)];
    (key, shape, number, 0u64..=9, any::<u64>()).prop_map(
        |(key, (log, count), first, step, seed)| {
            let count = if log > 10 { count % 36 } else { count };
            (key, 1 << log, first, step, pattern(count << log, seed))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_agree_on_random_calls((key, size, first, step, plain) in any_call()) {
        let (one, two) = key.split_at(key.len() / 2);
        prop_assume!(one != two);
        let mut expected = plain.clone();
        xts_mode(&key, size, first, step, &mut expected, true);
        prop_assert!(expected == openssl(&key, size, first, step, &plain, Mode::Encrypt));
        for backend in Backend::available() {
            let xts = Xts::with_backend(&key, backend).unwrap();
            // Not aligned to a vector, so that aligned access would fault.
            let mut room = vec![0x77; plain.len() + 2];
            let length = plain.len();
            let data = &mut room[1..=length];
            data.copy_from_slice(&plain);
            xts.encrypt(size, first, step, data).unwrap();
            prop_assert!(*data == expected[..], "{backend} encrypt");
            xts.decrypt(size, first, step, data).unwrap();
            prop_assert!(*data == plain[..], "{backend} decrypt");
            xts.decrypt_from(size, first, step, &expected, data).unwrap();
            prop_assert!(*data == plain[..], "{backend} decrypt_from");
            prop_assert!(room[0] == 0x77 && room[length + 1] == 0x77, "{backend} overruns");
        }
    }
}

#[test]
fn openssl_decrypts_what_every_backend_encrypts() {
    for backend in Backend::available() {
        for (key_length, size) in [(32, 512), (32, 4096), (64, 512), (64, 4096)] {
            let key = pattern(key_length, 11);
            let plain = pattern(size * 9, 12);
            let mut data = plain.clone();
            let xts = Xts::with_backend(&key, backend).unwrap();
            xts.encrypt(size, 40, 8, &mut data).unwrap();
            assert!(openssl(&key, size, 40, 8, &data, Mode::Decrypt) == plain, "{backend}");
        }
    }
}

#[test]
fn shared_between_threads() {
    let xts = Xts::new(&pattern(64, 21)).unwrap();
    let plain = pattern(64 << 10, 22);
    let mut whole = plain.clone();
    xts.encrypt(512, 0, 1, &mut whole).unwrap();
    let mut parts = plain.clone();
    std::thread::scope(|scope| {
        for (at, part) in parts.chunks_mut(16 << 10).enumerate() {
            let xts = &xts;
            scope.spawn(move || xts.encrypt(512, at as u64 * 32, 1, part).unwrap());
        }
    });
    assert!(whole == parts);
}
