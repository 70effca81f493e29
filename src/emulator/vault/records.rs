// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the vault keeps in the image: wraps, seals, public keys, and keys in clear where access
//! control protects nothing. `docs/formats/image.md` describes the encoding.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::decode::Error as DecodeError;
use minicbor::{Decoder, Encoder};
use opal::Uid;

use super::seal::{KEY, SALT};
use crate::secret::Secret;

/// A key that protects data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::emulator) enum KeyName {
    /// The media key of a range, 0 for the Global Range.
    Range(u16),
    /// The key of a DataStore table, by its row in the Table table.
    Table(u32),
}

impl KeyName {
    /// A number that no other key has.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Range(range) => u32::from(range),
            Self::Table(row) => 0x8000_0000 | row,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        if number & 0x8000_0000 != 0 {
            return Some(Self::Table(number & 0x7FFF_FFFF));
        }
        u16::try_from(number).ok().map(Self::Range)
    }
}

/// A password authority whose PIN is not empty.
#[derive(Clone)]
pub(super) struct Authority {
    pub(super) salt: [u8; SALT],
    pub(super) public: [u8; KEY],
    /// The private half under the PIN.
    pub(super) wrap: Vec<u8>,
    /// The private half, sealed to the vault.
    pub(super) member: Option<Vec<u8>>,
}

/// The pair that every administrator opens.
#[derive(Default)]
pub(super) struct VaultPair {
    pub(super) public: [u8; KEY],
    /// The private half, sealed to administrators.
    pub(super) sealed: BTreeMap<Uid, Vec<u8>>,
    /// The private half in clear: an administrator is enabled and has an empty PIN.
    pub(super) open: Option<Secret>,
}

/// One data key, in all the forms that open it.
#[derive(Default)]
pub(super) struct DataKey {
    /// Sealed to the vault.
    pub(super) vault: Option<Vec<u8>>,
    /// Sealed to users.
    pub(super) sealed: BTreeMap<Uid, Vec<u8>>,
    /// In clear: the data can be had without authentication.
    pub(super) open: Option<Secret>,
}

/// All of it.
pub(super) struct Records {
    /// Binds every wrap to this drive.
    pub(super) drive: [u8; 16],
    /// PBKDF2 rounds.
    pub(super) rounds: u32,
    /// Bytes of a data key: 32 for AES-128-XTS, 64 for AES-256-XTS.
    pub(super) key_length: usize,
    pub(super) authorities: BTreeMap<Uid, Authority>,
    pub(super) vault: Option<VaultPair>,
    pub(super) keys: BTreeMap<KeyName, DataKey>,
}

impl Records {
    /// A second copy, for taking changes back.
    pub(super) fn duplicate(&self) -> Self {
        let open = |key: &Option<Secret>| key.as_ref().map(Secret::duplicate);
        Self {
            drive: self.drive,
            rounds: self.rounds,
            key_length: self.key_length,
            authorities: self.authorities.clone(),
            vault: self.vault.as_ref().map(|vault| VaultPair {
                public: vault.public,
                sealed: vault.sealed.clone(),
                open: open(&vault.open),
            }),
            keys: self
                .keys
                .iter()
                .map(|(name, key)| {
                    let copy = DataKey {
                        vault: key.vault.clone(),
                        sealed: key.sealed.clone(),
                        open: open(&key.open),
                    };
                    (*name, copy)
                })
                .collect(),
        }
    }

    /// Whether something that opens a key is in `self` and not in `later`.
    pub(super) fn loses_a_wrap(&self, later: &Self) -> bool {
        let later: BTreeSet<&[u8]> = later.wraps().collect();
        self.wraps().any(|wrap| !later.contains(wrap))
    }

    /// Drops what is sealed to `authority`: it has another public key now, or none.
    pub(super) fn drop_seals_to(&mut self, authority: Uid) {
        if let Some(vault) = &mut self.vault {
            vault.sealed.remove(&authority);
        }
        for key in self.keys.values_mut() {
            key.sealed.remove(&authority);
        }
    }

    /// Everything that opens a key.
    pub(super) fn wraps(&self) -> impl Iterator<Item = &[u8]> {
        let authorities = self.authorities.values().flat_map(|authority| {
            [Some(&authority.wrap[..]), authority.member.as_deref()].into_iter().flatten()
        });
        let vault = self.vault.iter().flat_map(|vault| {
            vault.sealed.values().map(Vec::as_slice).chain(vault.open.as_ref().map(Secret::expose))
        });
        let keys = self.keys.values().flat_map(|key| {
            key.sealed
                .values()
                .map(Vec::as_slice)
                .chain(key.vault.as_deref())
                .chain(key.open.as_ref().map(Secret::expose))
        });
        authorities.chain(vault).chain(keys)
    }

    /// Bytes that [`Records::encode`] may need at most, so that its buffer never moves.
    pub(super) fn encoded_bound(&self) -> usize {
        let seals: usize = self.keys.values().map(|key| key.sealed.len() + 3).sum();
        let vault = self.vault.as_ref().map_or(0, |vault| vault.sealed.len() + 3);
        256 * (1 + self.authorities.len() * 2 + seals + vault)
    }

    /// Appends `[drive, rounds, key length, authorities, vault, keys]`.
    pub(super) fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) -> Encoded {
        e.array(6)?.bytes(&self.drive)?.u32(self.rounds)?.u32(self.key_length as u32)?;
        e.map(self.authorities.len() as u64)?;
        for (uid, authority) in &self.authorities {
            e.u64(uid.0)?.array(4)?.bytes(&authority.salt)?.bytes(&authority.public)?;
            e.bytes(&authority.wrap)?;
            optional(e, authority.member.as_deref())?;
        }
        match &self.vault {
            None => e.null()?.ok()?,
            Some(vault) => {
                e.array(3)?.bytes(&vault.public)?;
                seals(e, &vault.sealed)?;
                optional(e, vault.open.as_ref().map(Secret::expose))?;
            }
        }
        e.map(self.keys.len() as u64)?;
        for (name, key) in &self.keys {
            e.u32(name.number())?.array(3)?;
            optional(e, key.vault.as_deref())?;
            seals(e, &key.sealed)?;
            optional(e, key.open.as_ref().map(Secret::expose))?;
        }
        Ok(())
    }

    /// Reads what [`Records::encode`] wrote.
    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array(d, 6)?;
        let mut records = Self {
            drive: fixed(d)?,
            rounds: d.u32()?,
            key_length: d.u32()? as usize,
            authorities: BTreeMap::new(),
            vault: None,
            keys: BTreeMap::new(),
        };
        if !matches!(records.key_length, 32 | 64) || records.rounds == 0 {
            return Err(DecodeError::message("key length or rounds out of bounds"));
        }
        for _ in 0..map(d)? {
            let uid = Uid(d.u64()?);
            array(d, 4)?;
            let authority = Authority {
                salt: fixed(d)?,
                public: fixed(d)?,
                wrap: d.bytes()?.to_vec(),
                member: maybe(d)?.map(<[u8]>::to_vec),
            };
            records.authorities.insert(uid, authority);
        }
        if !null(d)? {
            array(d, 3)?;
            records.vault = Some(VaultPair {
                public: fixed(d)?,
                sealed: read_seals(d)?,
                open: maybe(d)?.map(Secret::from_slice),
            });
        }
        for _ in 0..map(d)? {
            let name = KeyName::from_number(d.u32()?)
                .ok_or_else(|| DecodeError::message("unknown data key"))?;
            array(d, 3)?;
            let key = DataKey {
                vault: maybe(d)?.map(<[u8]>::to_vec),
                sealed: read_seals(d)?,
                open: maybe(d)?.map(Secret::from_slice),
            };
            records.keys.insert(name, key);
        }
        Ok(records)
    }
}

type Encoded = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn optional(e: &mut Encoder<&mut Vec<u8>>, bytes: Option<&[u8]>) -> Encoded {
    match bytes {
        None => e.null()?.ok(),
        Some(bytes) => e.bytes(bytes)?.ok(),
    }
}

fn seals(e: &mut Encoder<&mut Vec<u8>>, seals: &BTreeMap<Uid, Vec<u8>>) -> Encoded {
    e.map(seals.len() as u64)?;
    for (uid, sealed) in seals {
        e.u64(uid.0)?.bytes(sealed)?;
    }
    Ok(())
}

fn read_seals(d: &mut Decoder<'_>) -> Result<BTreeMap<Uid, Vec<u8>>, DecodeError> {
    let mut seals = BTreeMap::new();
    for _ in 0..map(d)? {
        seals.insert(Uid(d.u64()?), d.bytes()?.to_vec());
    }
    Ok(seals)
}

fn maybe<'b>(d: &mut Decoder<'b>) -> Result<Option<&'b [u8]>, DecodeError> {
    if null(d)? { Ok(None) } else { d.bytes().map(Some) }
}

fn null(d: &mut Decoder<'_>) -> Result<bool, DecodeError> {
    let is_null = d.datatype()? == minicbor::data::Type::Null;
    if is_null {
        d.null()?;
    }
    Ok(is_null)
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], DecodeError> {
    d.bytes()?.try_into().map_err(|_| DecodeError::message("a byte string of another length"))
}

fn array(d: &mut Decoder<'_>, length: u64) -> Result<(), DecodeError> {
    if d.array()? == Some(length) {
        return Ok(());
    }
    Err(DecodeError::message("an array of another length"))
}

fn map(d: &mut Decoder<'_>) -> Result<u64, DecodeError> {
    d.map()?.ok_or_else(|| DecodeError::message("a map without length"))
}
