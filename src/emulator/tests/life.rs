// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps of a drive's life, and what an attacker finds in the image after each.

use std::collections::{BTreeMap, BTreeSet};

use opal::spec::{ace, authority, c_pin, locking, method, sp, table};
use opal::wire::token::Encoder;
use opal::{Pin, Uid};

use super::host::{Outcome, Session};
use crate::emulator::Drive;
use crate::emulator::backend::{Backend as _, CommandStatus};
use crate::emulator::image::{Header, Image, MemoryDisk, Stored, Unsynced};
use crate::emulator::profile::{Choices, NamedProfile};
use crate::emulator::vault::KeyName;
use crate::emulator::vault::tests::{keys_with, opened_with};

pub(super) const MSID: &[u8] = b"MSID-of-the-drive-under-test-123";
pub(super) const PSID: &[u8] = b"PSID-of-the-drive-under-test-123";
const SID_PIN: &[u8] = b"sid-pin-that-nobody-else-has-123";
const ADMIN_PIN: &[u8] = b"admin1-pin-that-nobody-has-12345";
const USER_PIN: &[u8] = b"user1-pin-that-nobody-has-123456";
const USER_PIN_2: &[u8] = b"user1-second-pin-nobody-has-1234";
/// What the attacker does not have.
pub(super) const SECRETS: [&[u8]; 5] = [PSID, SID_PIN, ADMIN_PIN, USER_PIN, USER_PIN_2];
/// What anybody has.
const PUBLIC: [&[u8]; 2] = [b"", MSID];
const PLAIN: &[u8; 16] = b"attack at dawn!!";
pub(super) const RANGE: u16 = 1;

/// One step: what comes before, on the same power cycle, and the one act that counts.
pub(super) struct Step {
    pub(super) name: &'static str,
    /// Who acts, in which SP.
    pub(super) actor: Option<(Uid, Uid, &'static [u8])>,
    pub(super) act: fn(&Drive, Option<&Session<'_>>) -> Outcome,
    /// The status that an act without accident ends with.
    pub(super) status: u8,
}

const SID: Option<(Uid, Uid, &[u8])> = Some((sp::ADMIN, authority::SID, SID_PIN));
const ADMIN: Option<(Uid, Uid, &[u8])> = Some((sp::LOCKING, authority::admin(1), ADMIN_PIN));
const USER: Option<(Uid, Uid, &[u8])> = Some((sp::LOCKING, authority::user(1), USER_PIN));

/// A life without its end.
pub(super) const LIFE: &[Step] = &[
    Step {
        name: "take ownership",
        actor: Some((sp::ADMIN, authority::SID, MSID)),
        act: |_, session| session.unwrap().set(c_pin::SID, pin(SID_PIN)),
        status: 0,
    },
    Step {
        name: "activate",
        actor: SID,
        act: |_, session| session.unwrap().call(sp::LOCKING, method::ACTIVATE, |_| {}),
        status: 0,
    },
    Step {
        name: "Admin1's own PIN",
        actor: Some((sp::LOCKING, authority::admin(1), SID_PIN)),
        act: |_, session| session.unwrap().set(c_pin::admin(1), pin(ADMIN_PIN)),
        status: 0,
    },
    Step {
        name: "write media",
        actor: None,
        act: |drive, _| {
            drive.write(0, &PLAIN.repeat(64))?;
            drive.write(2048, &PLAIN.repeat(64))?;
            drive.flush().map(|()| (0, Vec::new()))
        },
        status: 0,
    },
    Step {
        name: "a user's PIN",
        actor: ADMIN,
        act: |_, session| session.unwrap().set(c_pin::user(1), pin(USER_PIN)),
        status: 0,
    },
    Step {
        name: "enable the user",
        actor: ADMIN,
        act: |_, session| session.unwrap().set(authority::user(1), flags(&[(5, true)])),
        status: 0,
    },
    Step {
        name: "the user may unlock reading",
        actor: ADMIN,
        act: |_, session| {
            session.unwrap().set(ace::locking_sp::locking_set_read_locked(RANGE), admins_or_user)
        },
        status: 0,
    },
    Step {
        name: "the user may unlock writing",
        actor: ADMIN,
        act: |_, session| {
            session.unwrap().set(ace::locking_sp::locking_set_write_locked(RANGE), admins_or_user)
        },
        status: 0,
    },
    Step {
        name: "range bounds",
        actor: ADMIN,
        act: |_, session| {
            session.unwrap().set(locking::range(RANGE), |t| {
                t.named(3, |t| {
                    t.uint(2048);
                })
                .named(4, |t| {
                    t.uint(2048);
                });
            })
        },
        status: 0,
    },
    Step {
        name: "lock enables",
        actor: ADMIN,
        act: |_, session| {
            session.unwrap().set(locking::range(RANGE), flags(&[(5, true), (6, true)]))
        },
        status: 0,
    },
    Step {
        name: "write the range",
        actor: None,
        act: |drive, _| {
            // The power cycle before this step locked it.
            let session = Session::start(drive, sp::LOCKING, Some((authority::user(1), USER_PIN)))
                .map_err(|refused| refused.unwrap_err())?;
            session.set(locking::range(RANGE), flags(&[(7, false), (8, false)]))?;
            session.end();
            drive.write(2048, &PLAIN.repeat(64))?;
            drive.flush().map(|()| (0, Vec::new()))
        },
        status: 0,
    },
    Step {
        name: "unlock",
        actor: USER,
        act: |_, session| {
            session.unwrap().set(locking::range(RANGE), flags(&[(7, false), (8, false)]))
        },
        status: 0,
    },
    Step {
        name: "lock",
        actor: USER,
        act: |_, session| {
            session.unwrap().set(locking::range(RANGE), flags(&[(7, true), (8, true)]))
        },
        status: 0,
    },
    Step {
        name: "DataStore",
        actor: ADMIN,
        act: |_, session| session.unwrap().write(table::data_store(1), 4090, &PLAIN.repeat(32)),
        status: 0,
    },
    Step {
        name: "shadow MBR",
        actor: ADMIN,
        act: |_, session| session.unwrap().write(table::uid(table::MBR), 100, &[0xB0; 9000]),
        status: 0,
    },
    Step {
        name: "shadowing",
        actor: ADMIN,
        act: |_, session| session.unwrap().set(table::row::MBR_CONTROL_ROW, flags(&[(1, true)])),
        status: 0,
    },
    Step {
        name: "the user's new PIN",
        actor: USER,
        act: |_, session| session.unwrap().set(c_pin::user(1), pin(USER_PIN_2)),
        status: 0,
    },
    Step {
        name: "a wrong PIN",
        actor: None,
        act: |drive, _| match Session::start(
            drive,
            sp::LOCKING,
            Some((authority::user(1), b"wrong")),
        ) {
            Ok(_) => Ok((0, Vec::new())),
            Err(Ok(status)) => Ok((status, Vec::new())),
            Err(Err(status)) => Err(status),
        },
        status: 1,
    },
    Step {
        name: "new key",
        actor: ADMIN,
        act: |_, session| session.unwrap().call(locking::key_256(RANGE), method::GEN_KEY, |_| {}),
        status: 0,
    },
    Step {
        name: "disable the user",
        actor: ADMIN,
        act: |_, session| session.unwrap().set(authority::user(1), flags(&[(5, false)])),
        status: 0,
    },
    Step {
        name: "power cycle",
        actor: None,
        act: |drive, _| {
            drive.power_cycle().map_err(|_| CommandStatus::MediaError)?;
            Ok((0, Vec::new()))
        },
        status: 0,
    },
];

/// Ways for it to end.
pub(super) const ENDS: &[Step] = &[
    Step {
        name: "RevertSP, keeping the global range's data",
        actor: ADMIN,
        act: |_, session| {
            session.unwrap().call(sp::THIS_SP, method::REVERT_SP, |t| {
                t.named(method::parameter::KEEP_GLOBAL_RANGE_KEY, |t| {
                    t.boolean(true);
                });
            })
        },
        status: 0,
    },
    Step {
        name: "RevertSP",
        actor: ADMIN,
        act: |_, session| session.unwrap().call(sp::THIS_SP, method::REVERT_SP, |_| {}),
        status: 0,
    },
    Step {
        name: "Revert by SID",
        actor: SID,
        act: |_, session| session.unwrap().call(sp::ADMIN, method::REVERT, |_| {}),
        status: 0,
    },
    Step {
        name: "Revert by the label",
        actor: Some((sp::ADMIN, authority::PSID, PSID)),
        act: |_, session| session.unwrap().call(sp::ADMIN, method::REVERT, |_| {}),
        status: 0,
    },
];

/// The drive as made, on a disk of its own.
pub(super) fn made() -> MemoryDisk {
    let profile = NamedProfile::find("opal2-strict").unwrap();
    let msid = String::from_utf8(MSID.to_vec()).unwrap();
    let choices =
        Choices { size: 8 << 20, block_size: 512, msid: Some(msid), ..Choices::default() };
    let header: Header = profile.header(&choices).unwrap();
    let disk = MemoryDisk::new();
    let psid = Pin::new(PSID).unwrap();
    Drive::manufacture(Box::new(disk.clone()), &header, &psid, 1).unwrap();
    disk.after_power_loss(Unsynced::Lost)
}

/// Powers on and does a step; whatever it leaves, with power off.
pub(super) fn done(disk: &MemoryDisk, step: &Step) -> MemoryDisk {
    let disk = disk.after_power_loss(Unsynced::Lost);
    let drive = Drive::power_on(Box::new(disk.clone())).unwrap();
    let session = step.actor.map(|(provider, who, pin)| {
        Session::start(&drive, provider, Some((who, pin)))
            .unwrap_or_else(|status| panic!("{}: {status:?}", step.name))
    });
    let (status, _) = (step.act)(&drive, session.as_ref()).unwrap();
    assert_eq!(status, step.status, "{}", step.name);
    let _ = session;
    drop(drive);
    disk.after_power_loss(Unsynced::Lost)
}

/// What the image holds.
pub(super) fn stored(disk: &MemoryDisk) -> (Image, Stored) {
    Image::open(Box::new(disk.after_power_loss(Unsynced::Kept))).unwrap()
}

/// Every data key, by all PINs there ever were.
pub(super) fn all_keys(stored: &Stored) -> BTreeMap<KeyName, Vec<u8>> {
    let pins: Vec<&[u8]> = SECRETS.iter().chain(&PUBLIC).copied().collect();
    let keys = keys_with(&stored.vault, &pins);
    keys.into_iter().map(|(name, key)| (name, key.expose().to_vec())).collect()
}

/// The image without any PIN gives exactly what the drive gives after power-on without one.
fn attack(disk: &MemoryDisk, after: &str) {
    let (_, stored) = stored(disk);
    let drive = Drive::power_on(Box::new(disk.after_power_loss(Unsynced::Kept))).unwrap();
    let status = drive.status();
    let mut expected: BTreeSet<KeyName> = status
        .ranges
        .iter()
        .filter(|range| !range.is_locked_both_ways())
        .map(|range| KeyName::Range(range.number))
        .collect();
    let is_active = Session::start(&drive, sp::LOCKING, None).is_ok();
    if !is_active {
        expected.insert(KeyName::Table(table::DATA_STORE));
    }
    assert_eq!(opened_with(&stored.vault, &PUBLIC), expected, "after: {after}");
    let keys = all_keys(&stored);
    // Neither half of a closed key, no PIN, and no plaintext: media blocks are ciphertext.
    let mut absent: Vec<&[u8]> = SECRETS.to_vec();
    absent.push(PLAIN);
    for (name, key) in &keys {
        if expected.contains(name) {
            assert!(disk.contains(key), "{name:?} is in clear: the search finds what is there");
        } else {
            absent.extend(key.chunks(key.len() / 2));
        }
    }
    assert_eq!(disk.find(&absent), None, "after: {after}");
}

#[test]
fn nothing_in_the_image_opens_more_than_the_drive_gives_unasked() {
    let mut disk = made();
    attack(&disk, "manufacture");
    let mut locked = false;
    let mut gone: Vec<Vec<u8>> = Vec::new();
    for step in LIFE {
        let before = all_keys(&stored(&disk).1);
        disk = done(&disk, step);
        attack(&disk, step.name);
        let (_, now) = stored(&disk);
        locked |= !opened_with(&now.vault, &PUBLIC).contains(&KeyName::Range(RANGE));
        let after = all_keys(&now);
        gone.extend(before.into_iter().filter(|(n, k)| after.get(n) != Some(k)).map(|(_, k)| k));
    }
    assert!(locked, "the range was locked at some time, or this test tests nothing");
    assert_eq!(gone.len(), 1, "GenKey replaced one key");
    for step in ENDS {
        let before = all_keys(&stored(&disk).1);
        let ended = done(&disk, step);
        attack(&ended, step.name);
        let after = all_keys(&stored(&ended).1);
        let kept: Vec<_> =
            before.iter().filter(|(name, key)| after.get(name) == Some(key)).collect();
        let keeps = step.name.contains("keeping");
        assert_eq!(kept.len(), usize::from(keeps), "{}", step.name);
        let lost = before.values().filter(|key| !after.values().any(|kept| kept == *key));
        let lost: Vec<&[u8]> = gone.iter().chain(lost).map(Vec::as_slice).collect();
        assert_eq!(ended.find(&lost), None, "{}: an old key is there", step.name);
    }
}

#[test]
fn data_comes_back_with_the_pin_and_only_then() {
    let disk = LIFE
        .iter()
        .take_while(|step| step.name != "shadowing")
        .fold(made(), |disk, step| done(&disk, step));
    let drive = Drive::power_on(Box::new(disk.clone())).unwrap();
    let mut data = vec![0xEE; 1024];
    drive.read(0, &mut data).unwrap();
    assert_eq!(data, PLAIN.repeat(64), "the global range was never locked");
    assert_eq!(drive.read(2048, &mut data), Err(CommandStatus::DataProtection));
    assert_eq!(data, vec![0; 1024], "nothing of the buffer or the medium is left");
    assert_eq!(drive.write(2047, &data), Err(CommandStatus::InvalidParameter), "crossing");
    assert_eq!(drive.discard(2048, 8), Err(CommandStatus::DataProtection));
    assert!(!drive.status().keys_in_memory.contains(&RANGE));

    let session =
        Session::start(&drive, sp::LOCKING, Some((authority::user(1), USER_PIN))).unwrap();
    let unlock = flags(&[(7, false), (8, false)]);
    assert_eq!(session.set(locking::range(RANGE), unlock).unwrap().0, 0);
    session.end();
    assert!(drive.status().keys_in_memory.contains(&RANGE));
    assert_eq!(drive.status().sessions_with_secrets, 0);
    drive.read(2048, &mut data).unwrap();
    assert_eq!(data, PLAIN.repeat(64));
    drive.discard(2048, 1).unwrap();
    drive.read(2048, &mut data).unwrap();
    assert_eq!(data[..512], [0; 512]);
    assert_eq!(data[512..], PLAIN.repeat(32)[..]);

    let session =
        Session::start(&drive, sp::LOCKING, Some((authority::admin(1), ADMIN_PIN))).unwrap();
    let store = table::data_store(1);
    assert_eq!(session.read(store, 4080, 40), [&[0; 10][..], &PLAIN.repeat(2)[..30]].concat());
    let genkey = session.call(locking::key_256(RANGE), method::GEN_KEY, |_| {});
    assert_eq!(genkey.unwrap().0, 0);
    session.end();
    drive.read(2049, &mut data[..512]).unwrap();
    assert_ne!(data[..512], PLAIN.repeat(32)[..], "the data went with its key");
    assert!(data[..512].iter().any(|byte| *byte != 0), "and is garbage");

    let before = drive.power_cycles();
    assert_eq!(drive.power_cycle().unwrap(), before + 1);
    assert_eq!(drive.read(2048, &mut data), Err(CommandStatus::DataProtection));
    let counters = drive.counters();
    assert!(counters.if_send > 5 && counters.sessions == 2, "counters outlive a power cycle");
    drive.reset_counters();
    assert_eq!(drive.counters().if_send, 0);
}

#[test]
fn the_shadow_is_shown_until_done() {
    let disk = LIFE
        .iter()
        .take_while(|step| step.name != "the user's new PIN")
        .fold(made(), |disk, step| done(&disk, step));
    let drive = Drive::power_on(Box::new(disk)).unwrap();
    assert!(drive.status().shadowing);
    let mut data = vec![0; 1024];
    drive.read(0, &mut data).unwrap();
    assert_eq!(data[..100], [0; 100]);
    assert_eq!(data[100..], [0xB0; 924]);
    assert_eq!(drive.write(0, &data), Err(CommandStatus::DataProtection));
    let session =
        Session::start(&drive, sp::LOCKING, Some((authority::admin(1), ADMIN_PIN))).unwrap();
    let status = session.set(table::row::MBR_CONTROL_ROW, flags(&[(2, true)])).unwrap().0;
    assert_eq!(status, 0);
    drive.read(0, &mut data).unwrap();
    assert_eq!(data, PLAIN.repeat(64));
}

fn pin(pin: &'static [u8]) -> impl FnOnce(&mut Encoder) {
    move |t| {
        t.named(3, |t| {
            t.bytes(pin);
        });
    }
}

fn flags(values: &[(u64, bool)]) -> impl FnOnce(&mut Encoder) {
    move |t| {
        for (column, value) in values {
            t.named(*column, |t| {
                t.boolean(*value);
            });
        }
    }
}

/// `Admins OR User1` (Core 2.01 §5.1.3.3: half-UIDs name the operands' types).
fn admins_or_user(t: &mut Encoder) {
    t.named(3, |t| {
        t.list(|t| {
            for operand in [authority::ADMINS, authority::user(1)] {
                t.named_bytes(&[0, 0, 0x0C, 0x05], |t| {
                    t.uid(operand);
                });
            }
            t.named_bytes(&[0, 0, 0x04, 0x0E], |t| {
                t.uint(1);
            });
        });
    });
}
