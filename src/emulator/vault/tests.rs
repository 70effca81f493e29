// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the records give to whom: an attacker with the image against the owner with PINs.

use std::collections::{BTreeMap, BTreeSet};

use opal::tper::{RangeGrant, TableGrant};
use proptest::prelude::*;

use super::*;

const DRIVE: [u8; 16] = [3; 16];
const SESSION: SessionId = SessionId(1);
const ADMINS: [Uid; 2] = [Uid::new(9, 0x0001_0001), Uid::new(9, 0x0001_0002)];
const USERS: [Uid; 3] =
    [Uid::new(9, 0x0003_0001), Uid::new(9, 0x0003_0002), Uid::new(9, 0x0003_0003)];
const TABLE: Uid = Uid::new(0x1001, 0);

/// Every data key that the records give to an attacker who knows `pins` and tries everything.
pub(in crate::emulator) fn opened_with(vault: &Vault, pins: &[&[u8]]) -> BTreeSet<KeyName> {
    let known = Known::by(vault, pins);
    let names = vault.records.keys.iter();
    names.filter_map(|(name, key)| known.any_key(vault, *name, key).map(|_| *name)).collect()
}

/// The keys that whoever knows `pins` has by right.
pub(in crate::emulator) fn keys_with(vault: &Vault, pins: &[&[u8]]) -> BTreeMap<KeyName, Secret> {
    let known = Known::by(vault, pins);
    let keys = vault.records.keys.iter();
    keys.filter_map(|(name, key)| Some((*name, known.key(vault, *name, key)?))).collect()
}

/// Private halves that some PINs lead to.
struct Known {
    authorities: BTreeMap<Uid, Secret>,
    vault: Option<Secret>,
}

impl Known {
    fn by(vault: &Vault, pins: &[&[u8]]) -> Self {
        let records = &vault.records;
        let drive = &records.drive;
        let mut authorities: BTreeMap<Uid, Secret> = BTreeMap::new();
        for (uid, record) in &records.authorities {
            for pin in pins {
                let kek = seal::kek(pin, &record.salt, records.rounds);
                if let Some(key) = seal::unwrap(drive, Purpose::PinCheck(*uid), &kek, &record.wrap)
                {
                    authorities.insert(*uid, key);
                }
            }
        }
        let open = records.vault.as_ref().and_then(|pair| pair.open.as_ref());
        let mut known = Self { authorities, vault: open.map(Secret::duplicate) };
        if let (Some(pair), None) = (&records.vault, &known.vault) {
            known.vault = pair.sealed.iter().find_map(|(uid, sealed)| {
                seal::open(drive, Purpose::Vault(*uid), known.authorities.get(uid)?, sealed)
            });
        }
        // Whoever opens the vault has all of its members.
        if let Some(vault_key) = &known.vault {
            for (uid, record) in &records.authorities {
                let Some(sealed) = &record.member else { continue };
                if let Some(key) = seal::open(drive, Purpose::Member(*uid), vault_key, sealed) {
                    known.authorities.insert(*uid, key);
                }
            }
        }
        known
    }

    fn key(&self, vault: &Vault, name: KeyName, key: &DataKey) -> Option<Secret> {
        let drive = &vault.records.drive;
        let number = name.number();
        let open = key.open.as_ref().map(Secret::duplicate);
        let by_user = || {
            key.sealed.iter().find_map(|(uid, sealed)| {
                let purpose = Purpose::Data { key: number, to: Some(*uid) };
                seal::open(drive, purpose, self.authorities.get(uid)?, sealed)
            })
        };
        let by_vault = || {
            let purpose = Purpose::Data { key: number, to: None };
            seal::open(drive, purpose, self.vault.as_ref()?, key.vault.as_ref()?)
        };
        open.or_else(by_user).or_else(by_vault)
    }

    /// Every private half against every seal under every purpose.
    fn any_key(&self, vault: &Vault, name: KeyName, key: &DataKey) -> Option<Secret> {
        let drive = &vault.records.drive;
        let purposes = key.sealed.keys().map(|uid| Some(*uid)).chain([None]);
        let purposes: Vec<_> =
            purposes.map(|to| Purpose::Data { key: name.number(), to }).collect();
        let seals: Vec<&Vec<u8>> = key.sealed.values().chain(&key.vault).collect();
        let tried = self.authorities.values().chain(&self.vault).find_map(|private| {
            seals.iter().find_map(|sealed| {
                purposes.iter().find_map(|purpose| seal::open(drive, *purpose, private, sealed))
            })
        });
        key.open.as_ref().map(Secret::duplicate).or(tried)
    }
}

impl Vault {
    /// Everything in the records that opens a key.
    pub(in crate::emulator) fn wraps(&self) -> Vec<Vec<u8>> {
        self.records.wraps().map(<[u8]>::to_vec).collect()
    }

    /// Who has what, without the bytes: for each key the authorities that open it, 0 standing for
    /// the vault and 1 for everybody; first the authorities with a PIN, then the vault.
    pub(in crate::emulator) fn shape(&self) -> Vec<Vec<u64>> {
        let records = &self.records;
        let mut shape = vec![records.authorities.keys().map(|uid| uid.0).collect()];
        shape.push(records.authorities.values().map(|a| u64::from(a.member.is_some())).collect());
        if let Some(pair) = &records.vault {
            let open = pair.open.iter().map(|_| 1);
            shape.push(pair.sealed.keys().map(|uid| uid.0).chain(open).collect());
        }
        for (name, key) in &records.keys {
            let (vault, open) = (key.vault.iter().map(|_| 0), key.open.iter().map(|_| 1));
            let seals = key.sealed.keys().map(|uid| uid.0);
            shape.push(
                [u64::from(name.number())]
                    .into_iter()
                    .chain(seals)
                    .chain(vault)
                    .chain(open)
                    .collect(),
            );
        }
        shape
    }

    /// For each of `pins`, the authorities whose PIN it is.
    pub(in crate::emulator) fn owners(&self, pins: &[&[u8]]) -> Vec<Vec<Uid>> {
        let is = |pin: &[u8], uid: &Uid, record: &Authority| {
            let kek = seal::kek(pin, &record.salt, self.records.rounds);
            seal::unwrap(&self.records.drive, Purpose::PinCheck(*uid), &kek, &record.wrap).is_some()
        };
        let of = |pin: &&[u8]| {
            let all = self.records.authorities.iter();
            all.filter(|(uid, record)| is(pin, uid, record)).map(|(uid, _)| *uid).collect()
        };
        pins.iter().map(of).collect()
    }
}

/// One step, as the TPer makes it.
fn step(
    vault: &mut Vault,
    grants: &Grants,
    change: impl FnOnce(&mut Vault) -> Result<(), VaultError>,
) -> Result<(), VaultError> {
    vault.begin();
    match change(vault).and_then(|()| vault.reseal(Some(SESSION), grants)) {
        Ok(()) => {
            vault.commit();
            Ok(())
        }
        Err(error) => {
            vault.rollback();
            Err(error)
        }
    }
}

fn power_cycled(vault: &Vault) -> Vault {
    let mut bytes = Vec::with_capacity(vault.encoded_bound());
    vault.encode(&mut Encoder::new(&mut bytes)).unwrap();
    assert!(bytes.len() <= vault.encoded_bound());
    Vault::decode(&mut Decoder::new(&bytes)).unwrap()
}

fn grants(active: bool) -> Grants {
    let range =
        |range| RangeGrant { range, open: true, authorities: vec![ADMINS[0]], single_user: false };
    Grants {
        active,
        administrators: vec![ADMINS[0]],
        ranges: vec![range(0), range(1)],
        tables: vec![TableGrant { table: TABLE, open: false, authorities: vec![ADMINS[0]] }],
    }
}

/// A drive whose SID and Admin1 have the PIN "owner".
fn owned() -> (Vault, Grants) {
    let mut vault = Vault::new(DRIVE, 1, 64);
    let inactive = grants(false);
    step(&mut vault, &inactive, |vault| {
        vault.reset_pin(opal::spec::authority::SID, b"msid")?;
        vault.new_key(KeyName::Range(0))
    })
    .unwrap();
    let active = grants(true);
    step(&mut vault, &active, |vault| {
        assert!(!vault.verify(SESSION, opal::spec::authority::SID, b"owner"));
        assert!(vault.verify(SESSION, opal::spec::authority::SID, b"msid"));
        vault.set_pin(SESSION, opal::spec::authority::SID, b"owner")?;
        vault.copy_pin(SESSION, opal::spec::authority::SID, ADMINS[0])
    })
    .unwrap();
    let mut vault = power_cycled(&vault);
    vault.begin();
    assert!(vault.verify(SESSION, ADMINS[0], b"owner"));
    vault.commit();
    (vault, active)
}

#[test]
fn a_copied_pin_lives_on_its_own() {
    let (mut vault, grants) = owned();
    step(&mut vault, &grants, |vault| vault.set_pin(SESSION, ADMINS[0], b"admin")).unwrap();
    let mut closed = grants.clone();
    closed.ranges.iter_mut().for_each(|range| range.open = false);
    step(&mut vault, &closed, |_| Ok(())).unwrap();
    assert_eq!(opened_with(&vault, &[b"admin"]).len(), 3);
    assert!(opened_with(&vault, &[b"owner", b"msid", b""]).is_empty(), "SID opens nothing");
}

#[test]
fn an_administrator_without_secrets_cannot_be_made_up() {
    let (vault, mut grants) = owned();
    // Nobody is authenticated after a power cycle: a step that needs a key is refused whole.
    let mut vault = power_cycled(&vault);
    grants.ranges[1].open = false;
    step(&mut vault, &grants, |_| Ok(())).unwrap();
    let before = opened_with(&vault, &[]);
    grants.ranges[1].authorities.push(USERS[0]);
    let refused = step(&mut vault, &grants, |vault| vault.set_pin(SESSION, USERS[0], b"user"));
    assert_eq!(refused, Err(VaultError::Refused));
    grants.administrators.push(ADMINS[1]);
    let refused = step(&mut vault, &grants, |_| Ok(()));
    assert_eq!(refused, Err(VaultError::Refused), "an empty PIN would open the vault");
    let refused = step(&mut vault, &grants, |vault| vault.set_pin(SESSION, ADMINS[0], b"mine"));
    assert_eq!(refused, Err(VaultError::Refused));
    assert_eq!(opened_with(&vault, &[b"", b"user", b"mine"]), before);
    assert!(opened_with(&vault, &[b"owner"]).contains(&KeyName::Range(1)));
}

#[test]
fn a_new_key_goes_to_the_same_people_and_the_old_one_is_gone() {
    let (mut vault, mut grants) = owned();
    for range in &mut grants.ranges {
        range.open = false;
        range.authorities.push(USERS[0]);
    }
    step(&mut vault, &grants, |vault| vault.set_pin(SESSION, USERS[0], b"user")).unwrap();
    let name = KeyName::Range(1);
    let old = vault.key(Some(SESSION), name).unwrap();
    // Someone with no secrets at all may be allowed to GenKey.
    let mut vault = power_cycled(&vault);
    vault.begin();
    vault.new_key(name).unwrap();
    assert!(vault.destroys());
    vault.commit();
    let mut vault = power_cycled(&vault);
    for (uid, pin) in [(USERS[0], &b"user"[..]), (ADMINS[0], b"owner")] {
        vault.begin();
        assert!(vault.verify(SESSION, uid, pin));
        let new = vault.key(Some(SESSION), name).unwrap();
        assert!(!new.secret.matches(old.secret.expose()));
        vault.rollback();
        assert!(vault.key(Some(SESSION), name).is_none(), "rolled back");
    }
}

#[test]
fn single_user_ranges_are_not_for_administrators() {
    let (mut vault, mut grants) = owned();
    grants.ranges[1].single_user = true;
    grants.ranges[1].open = false;
    grants.ranges[1].authorities = vec![USERS[1]];
    step(&mut vault, &grants, |vault| vault.set_pin(SESSION, USERS[1], b"single")).unwrap();
    assert!(!opened_with(&vault, &[b"owner"]).contains(&KeyName::Range(1)));
    assert!(opened_with(&vault, &[b"single"]).contains(&KeyName::Range(1)));
}

#[derive(Clone, Debug)]
enum Op {
    Pin(usize, u8),
    Enable(usize, bool),
    Grant(usize, BTreeSet<usize>),
    Open(usize, bool),
    NewKey(usize),
    Reset(usize),
    PowerCycle,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..5usize, 0..3u8).prop_map(|(who, pin)| Op::Pin(who, pin)),
        3 => (0..5usize, any::<bool>()).prop_map(|(who, on)| Op::Enable(who, on)),
        3 => (0..2usize, prop::collection::btree_set(0..5usize, 0..4))
            .prop_map(|(range, who)| Op::Grant(range, who)),
        3 => (0..2usize, any::<bool>()).prop_map(|(range, open)| Op::Open(range, open)),
        1 => (0..2usize).prop_map(Op::NewKey),
        1 => (1..5usize).prop_map(Op::Reset),
        1 => Just(Op::PowerCycle),
    ]
}

/// What the access control tables say, without cryptography.
struct Model {
    pins: [Vec<u8>; 5],
    enabled: [bool; 5],
    granted: [BTreeSet<usize>; 2],
    open: [bool; 2],
}

fn everyone() -> [Uid; 5] {
    [ADMINS[0], ADMINS[1], USERS[0], USERS[1], USERS[2]]
}

impl Model {
    fn grants(&self) -> Grants {
        let all = everyone();
        let enabled = |who: &usize| self.enabled[*who];
        let range = |range: usize| RangeGrant {
            range: range as u16,
            open: self.open[range],
            authorities: self.granted[range]
                .iter()
                .filter(|w| enabled(w))
                .map(|w| all[*w])
                .collect(),
            single_user: false,
        };
        Grants {
            active: true,
            administrators: (0..2).filter(enabled).map(|who| all[who]).collect(),
            ranges: vec![range(0), range(1)],
            tables: vec![TableGrant { table: TABLE, open: false, authorities: vec![] }],
        }
    }

    /// Ranges that `pins` open, the empty one always among them.
    fn opened(&self, pins: &[&[u8]]) -> BTreeSet<KeyName> {
        let knows = |who: &usize| {
            self.enabled[*who]
                && (self.pins[*who].is_empty() || pins.contains(&self.pins[*who].as_slice()))
        };
        let vault = (0..2).any(|who| knows(&who));
        let mut opened: BTreeSet<_> = (0..2)
            .filter(|range| self.open[*range] || vault || self.granted[*range].iter().any(knows))
            .map(|range| KeyName::Range(range as u16))
            .collect();
        if vault {
            opened.insert(KeyName::Table(TABLE.table()));
        }
        opened
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// After any history the image gives each set of PINs exactly what the tables say.
    #[test]
    fn the_records_say_what_the_tables_say(ops in prop::collection::vec(op(), 1..25)) {
        let all = everyone();
        let (mut vault, _) = owned();
        let mut model = Model {
            pins: [b"owner".to_vec(), vec![], vec![], vec![], vec![]],
            enabled: [true, false, false, false, false],
            granted: [BTreeSet::from([0]), BTreeSet::from([0])],
            open: [true, true],
        };
        step(&mut vault, &model.grants(), |_| Ok(())).unwrap();
        for op in ops {
            // Admin1 acts throughout; it must stay enabled and known.
            match &op {
                Op::Pin(0, pin) => model.pins[0] = vec![b'A', *pin],
                Op::Pin(who, 0) => model.pins[*who].clear(),
                Op::Pin(who, pin) => model.pins[*who] = vec![b'0' + *who as u8, *pin],
                Op::Enable(0, _) | Op::PowerCycle | Op::NewKey(_) => {}
                Op::Enable(who, on) => model.enabled[*who] = *on,
                Op::Grant(range, who) => model.granted[*range].clone_from(who),
                Op::Open(range, open) => model.open[*range] = *open,
                Op::Reset(who) => {
                    model.pins[*who] = b"factory".to_vec();
                }
            }
            if let Op::PowerCycle = op {
                vault = power_cycled(&vault);
                vault.begin();
                prop_assert!(vault.verify(SESSION, ADMINS[0], &model.pins[0]));
                vault.commit();
            }
            let grants = model.grants();
            let done = step(&mut vault, &grants, |vault| match &op {
                Op::Pin(who, _) => vault.set_pin(SESSION, all[*who], &model.pins[*who]),
                Op::NewKey(range) => vault.new_key(KeyName::Range(*range as u16)),
                Op::Reset(who) => vault.reset_pin(all[*who], b"factory"),
                _ => Ok(()),
            });
            prop_assert_eq!(done, Ok(()));
            let image = power_cycled(&vault);
            prop_assert_eq!(opened_with(&image, &[b""]), model.opened(&[]));
            for who in 0..5 {
                let pin = model.pins[who].as_slice();
                prop_assert_eq!(opened_with(&image, &[pin]), model.opened(&[pin]), "{}", who);
            }
        }
    }
}
