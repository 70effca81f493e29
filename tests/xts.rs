// SPDX-License-Identifier: MIT OR Apache-2.0
//! XTS against other implementations and published vectors, every back end in turn.

use opalbox::software::xts::{Backend, Xts, XtsError};
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
fn debug_shows_no_key() {
    let key = [0xa5; 32].into_iter().chain([0x5a; 32]).collect::<Vec<u8>>();
    let text = format!("{:?}", Xts::new(&key).unwrap());
    assert!(text.starts_with("Xts { backend: "), "{text}");
    assert!(!text.contains("165") && !text.contains("a5"), "{text}");
}
