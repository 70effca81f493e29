// SPDX-License-Identifier: MIT OR Apache-2.0
//! The known-answer check that a back end passes before it may be used in this process.

use std::sync::OnceLock;

use super::{Backend, Direction, Engine, Sectors, XtsError};

/// Answers, by position in [`Backend::ALL`]; each back end is asked once in a process.
static ANSWERS: [OnceLock<bool>; Backend::ALL.len()] = [const { OnceLock::new() }; 4];

/// The first block of IEEE 1619-2018 annex B vector 4 (AES-128, 512-byte unit 0).
const AES_128: [u8; 16] = 0x27a7479befa1d476489f308cd4cfa6e2u128.to_be_bytes();
/// The first block of vector 10 (AES-256, 512-byte unit 0xff).
const AES_256: [u8; 16] = 0x1c3b3a102f770386e4836c99e370cf9bu128.to_be_bytes();

/// Runs the check, or remembers its result.
pub(super) fn passed(backend: Backend) -> Result<(), XtsError> {
    let position = Backend::ALL.iter().position(|it| *it == backend);
    let passed = match position.and_then(|at| ANSWERS.get(at)) {
        Some(answer) => *answer.get_or_init(|| check(backend).unwrap_or(false)),
        None => false,
    };
    if passed { Ok(()) } else { Err(XtsError::SelfTest(backend)) }
}

/// Both published answers, then both directions against the portable path on shapes that use
/// every part of a kernel: groups of sectors that are full and not full, small and large sectors.
fn check(backend: Backend) -> Result<bool, XtsError> {
    const DIGITS: [u128; 4] = [
        0x27182818284590452353602874713526,
        0x62497757247093699959574966967627,
        0x31415926535897932384626433832795,
        0x02884197169399375105820974944592,
    ];
    let digits: Vec<[u8; 16]> = DIGITS.iter().map(|it| it.to_be_bytes()).collect();
    let known = [
        (digits[0].to_vec(), digits[2].to_vec(), 0, AES_128),
        (digits[..2].concat(), digits[2..].concat(), 0xff, AES_256),
    ];
    // An interpreter would take minutes for the long ones.
    let shapes: &[(usize, usize)] =
        if cfg!(miri) { &[(512, 1)] } else { &[(512, 1), (512, 35), (4096, 2)] };
    for (data_key, tweak_key, number, answer) in known {
        let engine = Engine::new(&data_key, &tweak_key, backend)?;
        let oracle = Engine::new(&data_key, &tweak_key, Backend::Portable)?;
        for &(size, count) in shapes {
            let sectors = Sectors { size, first: number, step: 1 };
            let plain: Vec<u8> = (0..size * count).map(|at| at as u8).collect();
            let mut expected = plain.clone();
            oracle.in_place(Direction::Encrypt, sectors, &mut expected);
            let mut text = plain.clone();
            engine.in_place(Direction::Encrypt, sectors, &mut text);
            if text != expected || !text.starts_with(&answer) {
                return Ok(false);
            }
            engine.in_place(Direction::Decrypt, sectors, &mut text);
            if text != plain {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
