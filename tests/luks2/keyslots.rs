// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keyslots and tokens.

use opalbox::secret::Secret;
use opalbox::software::luks2::{Hash, Kdf, Luks2, Luks2Error, Owner};
use serde_json::json;

use crate::support::{SECRET, edited, metadata, open, volume};

/// Cheap, but Argon2id.
const ARGON: Kdf = Kdf::Argon2id { time: 4, memory: 64, cpus: 4 };

#[test]
fn every_kdf_opens() {
    let (mut header, key) = volume();
    for (number, kdf) in [
        ARGON,
        Kdf::Argon2id { time: 5, memory: 1000, cpus: 1 },
        Kdf::Pbkdf2 { hash: Hash::Sha256, iterations: 1000 },
        Kdf::Pbkdf2 { hash: Hash::Sha512, iterations: 2000 },
    ]
    .into_iter()
    .enumerate()
    {
        let secret = format!("secret {number}");
        let keyslot = header.add_keyslot(&key, secret.as_bytes(), kdf).unwrap();
        assert_eq!(usize::from(keyslot), number + 1);
        let read = open(header.storage());
        let unlocked = read.unlock(secret.as_bytes()).unwrap();
        assert_eq!(unlocked.keyslot, keyslot);
        assert!(unlocked.key.matches(key.expose()));
        assert_eq!(read.keyslots().len(), number + 2);
        assert!(read.keyslots().iter().all(|it| it.bound));
    }
    assert_eq!(header.keyslots()[1].kdf, "argon2id 4 64 4");
    assert_eq!(header.keyslots()[0].kdf, "pbkdf2-sha512 1000");
}

#[test]
fn only_the_volume_key_gets_a_keyslot() {
    let (mut header, key) = volume();
    let before = header.storage().clone();
    let mut wrong = key.expose().to_vec();
    wrong[63] ^= 1;
    let error = header.add_keyslot(&Secret::new(wrong), b"x", ARGON).unwrap_err();
    assert!(matches!(error, Luks2Error::WrongKey));
    let short = Secret::from_slice(&key.expose()[..32]);
    assert!(matches!(header.add_keyslot(&short, b"x", ARGON), Err(Luks2Error::WrongKey)));
    assert!(*header.storage() == before);
}

#[test]
fn keyslots_run_out_and_come_back() {
    let (mut header, key) = volume();
    // 2 MiB less two copies of 16 KiB hold eight areas of 252 KiB.
    for number in 1..=7 {
        let secret = [number; 8];
        header.add_keyslot(&key, &secret, Kdf::for_random_secret()).unwrap();
    }
    let full = header.add_keyslot(&key, b"ninth", Kdf::for_random_secret());
    assert!(matches!(full, Err(Luks2Error::NoRoom)), "{full:?}");
    assert_eq!(header.keyslots().len(), 8);
    header.remove_keyslot(3).unwrap();
    assert!(matches!(header.unlock(&[3; 8]), Err(Luks2Error::WrongSecret)));
    assert_eq!(header.add_keyslot(&key, b"again", ARGON).unwrap(), 3);
    let read = open(header.storage());
    for number in [1, 2, 4, 5, 6] {
        assert_eq!(read.unlock(&[number; 8]).unwrap().keyslot, number);
    }
    assert_eq!(read.unlock(b"again").unwrap().keyslot, 3);
}

#[test]
fn the_last_keyslot_stays() {
    let (mut header, key) = volume();
    assert!(matches!(header.remove_keyslot(0), Err(Luks2Error::LastKeyslot(0))));
    assert!(matches!(header.remove_keyslot(5), Err(Luks2Error::NoSuchKeyslot(5))));
    header.add_keyslot(&key, b"second", ARGON).unwrap();
    header.remove_keyslot(0).unwrap();
    assert!(matches!(header.remove_keyslot(1), Err(Luks2Error::LastKeyslot(1))));
    open(header.storage()).unlock(b"second").unwrap();
}

#[test]
fn a_removed_keyslot_is_gone_from_the_device() {
    let (mut header, key) = volume();
    header.add_keyslot(&key, b"second", ARGON).unwrap();
    let before = header.storage().clone();
    header.remove_keyslot(0).unwrap();
    let mut revived = header.storage().clone();
    revived[..0x8000].copy_from_slice(&before[..0x8000]);
    let revived = open(&revived);
    assert!(matches!(revived.unlock_keyslot(0, SECRET), Err(Luks2Error::WrongSecret)));
    revived.unlock(b"second").unwrap();
}

#[test]
fn a_changed_secret_keeps_its_number_and_tokens() {
    let (mut header, key) = volume();
    let owner = Owner { key_id: "box-1/7".into(), keyslots: vec![0] };
    header.set_owner(&owner).unwrap();
    let wrong = header.change_secret(0, b"not it", b"new", ARGON);
    assert!(matches!(wrong, Err(Luks2Error::WrongSecret)));
    header.change_secret(0, SECRET, b"new", ARGON).unwrap();
    let read = open(header.storage());
    assert!(matches!(read.unlock(SECRET), Err(Luks2Error::WrongSecret)));
    let unlocked = read.unlock(b"new").unwrap();
    assert_eq!(unlocked.keyslot, 0);
    assert!(unlocked.key.matches(key.expose()));
    assert_eq!(read.keyslots().len(), 1);
    assert_eq!(read.owner(), Some(owner));
}

#[test]
fn tokens_of_others_are_kept() {
    let (mut header, key) = volume();
    header.add_keyslot(&key, b"second", ARGON).unwrap();
    let foreign = json!({
        "type": "systemd-tpm2", "keyslots": ["0", "1"], "tpm2-blob": "AAAA", "odd": [1, {"a": null}]
    });
    let bytes = edited(header.storage(), |it| {
        it["tokens"]["4"] = foreign.clone();
        it["config"]["flags"] = json!(["allow-discards"]);
        it["keyslots"]["0"]["note"] = json!({"kept": true});
    });
    let mut header = open(&bytes);
    assert_eq!(header.owner(), None);
    let owner = Owner { key_id: "k".into(), keyslots: vec![0, 1] };
    header.set_owner(&owner).unwrap();
    header.set_owner(&owner).unwrap();
    let after = metadata(header.storage());
    assert_eq!(after["tokens"]["4"], foreign);
    assert_eq!(after["tokens"].as_object().unwrap().len(), 2);
    assert_eq!(after["config"]["flags"], json!(["allow-discards"]));
    assert_eq!(after["keyslots"]["0"]["note"], json!({"kept": true}));
    header.remove_keyslot(1).unwrap();
    let after = metadata(header.storage());
    assert_eq!(after["tokens"]["4"]["keyslots"], json!(["0"]));
    assert_eq!(header.owner().unwrap().keyslots, [0]);
}

#[test]
fn owners_must_make_sense() {
    let (mut header, _) = volume();
    for key_id in ["", "with space", "line\n", "ö", &"x".repeat(129)] {
        let owner = Owner { key_id: key_id.into(), keyslots: vec![0] };
        assert!(matches!(header.set_owner(&owner), Err(Luks2Error::Parameter(_))), "{key_id:?}");
    }
    let owner = Owner { key_id: "k".into(), keyslots: vec![9] };
    assert!(matches!(header.set_owner(&owner), Err(Luks2Error::NoSuchKeyslot(9))));
}

#[test]
fn priorities_are_followed() {
    let (mut header, key) = volume();
    header.add_keyslot(&key, b"same", ARGON).unwrap();
    header.add_keyslot(&key, b"same", ARGON).unwrap();
    assert_eq!(header.unlock(b"same").unwrap().keyslot, 1);
    let bytes = edited(header.storage(), |it| it["keyslots"]["2"]["priority"] = 2.into());
    assert_eq!(open(&bytes).unlock(b"same").unwrap().keyslot, 2);
    let bytes = edited(header.storage(), |it| it["keyslots"]["0"]["priority"] = 0.into());
    assert!(matches!(open(&bytes).unlock(SECRET), Err(Luks2Error::WrongSecret)));
    assert!(open(&bytes).unlock_keyslot(0, SECRET).is_ok());
}

#[test]
fn metadata_that_grows_too_large_is_refused_and_nothing_is_lost() {
    let (header, key) = volume();
    // A token that leaves 150 bytes: too few for a keyslot.
    let used = serde_json::to_vec(&metadata(header.storage())).unwrap().len();
    let filler = "x".repeat(12_288 - used - 150 - r#""9":{"type":"","keyslots":[],"x":""}"#.len());
    let bytes = edited(header.storage(), |it| {
        it["tokens"]["9"] = json!({"type": "", "keyslots": [], "x": filler});
    });
    let mut header: Luks2<Vec<u8>> = open(&bytes);
    let full = header.add_keyslot(&key, b"second", ARGON);
    assert!(matches!(full, Err(Luks2Error::MetadataFull { .. })), "{full:?}");
    let read = open(header.storage());
    assert_eq!(read.keyslots().len(), 1);
    read.unlock(SECRET).unwrap();
    header.unlock(SECRET).unwrap();
}
