// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Header`]: what a drive is. Written once, when the image is made, and kept in clear.

use minicbor::decode::Error as DecodeError;
use minicbor::{Decoder, Encoder};
use opal::Uid;
use opal::tper::Profile;
use opal::tper::profile::{DataStore, Features, Geometry, KeyBits, Limits, TryLimits};
use sha2::{Digest, Sha256};

use super::disk::Disk;
use super::error::ImageError;
use super::{PAGE, SLOT_SIZE};
use crate::sim_wire::Interface;

/// Version of the image format.
const VERSION: u64 = 1;
const MAGIC: &[u8; 8] = b"OPALEMU1";
/// Magic, length, checksum.
const HEAD: usize = 8 + 4 + 32;
/// The header's place, from the start of the image.
const SIZE: usize = 4096;
/// Where the first copy of the state begins.
const STATE: u64 = 64 << 10;

/// The constants of one emulated drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Names this image; every wrapped key is bound to it.
    pub drive: [u8; 16],
    /// Model, printable ASCII, at most 40 bytes.
    pub model: String,
    /// Serial number, printable ASCII, at most 20 bytes.
    pub serial: String,
    /// Firmware revision, printable ASCII, at most 8 bytes.
    pub firmware: String,
    /// World wide name.
    pub wwn: u64,
    /// Namespace globally unique identifier.
    pub nguid: [u8; 16],
    /// The interface it says it has, where a front-end leaves that open.
    pub interface: Interface,
    /// Name of the profile it was made from.
    pub profile_name: String,
    /// The TPer's constants.
    pub profile: Profile,
}

/// Where things are in an image: offsets and sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Two copies of the state.
    pub state: u64,
    /// The journal: two halves.
    pub journal: u64,
    /// Size of both halves together.
    pub journal_size: u64,
    /// The byte tables: the MBR, then room for each DataStore table.
    pub tables: u64,
    /// Room for the MBR table.
    pub mbr_size: u64,
    /// Room for each DataStore table.
    pub data_store_size: u64,
    /// How many DataStore tables there is room for.
    pub data_stores: u32,
    /// The media.
    pub media: u64,
    /// The whole image.
    pub length: u64,
}

impl Layout {
    /// Offset and room of a byte table.
    #[must_use]
    pub fn table(&self, table: Uid) -> Option<(u64, u64)> {
        if table.table() == MBR {
            return Some((self.tables, self.mbr_size));
        }
        let index = table.table().checked_sub(DATA_STORE)?;
        let offset = self.tables + self.mbr_size + u64::from(index) * self.data_store_size;
        (index < self.data_stores).then_some((offset, self.data_store_size))
    }

    /// Offset and size of one half of the journal.
    pub(super) fn journal_half(&self, half: u8) -> (u64, u64) {
        let size = self.journal_size / 2;
        (self.journal + u64::from(half.min(1)) * size, size)
    }
}

/// Table UIDs (Core 2.01 table 241): the MBR, and the first DataStore.
const MBR: u32 = 0x0804;
const DATA_STORE: u32 = 0x1001;

impl Header {
    /// Where things are; follows from the profile.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let page = PAGE as u64;
        let mbr_size = self.profile.mbr_size.next_multiple_of(page);
        let data_store_size = u64::from(self.profile.data_store.total).next_multiple_of(page);
        let data_stores = u32::from(self.profile.data_store.tables);
        let journal = STATE + 2 * SLOT_SIZE;
        // A step may write every table once: a page takes a little more in the journal.
        let tables_size = mbr_size + u64::from(data_stores) * data_store_size;
        let journal_size = 2 * (tables_size + tables_size / 64 + page).next_multiple_of(page);
        let tables = journal + journal_size;
        let media = (tables + tables_size).next_multiple_of(1 << 20);
        let size = u64::from(self.profile.geometry.block_size) * self.profile.blocks;
        Layout {
            state: STATE,
            journal,
            journal_size,
            tables,
            mbr_size,
            data_store_size,
            data_stores,
            media,
            length: media + size,
        }
    }

    /// Checks what a new image is asked to be.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(&self) -> Result<(), ImageError> {
        let bad = |what: String| Err(ImageError::Parameter(what));
        for (name, text, limit) in [
            ("model", &self.model, 40),
            ("serial number", &self.serial, 20),
            ("firmware revision", &self.firmware, 8),
            ("profile name", &self.profile_name, 40),
        ] {
            let printable = text.bytes().all(|byte| matches!(byte, 0x20..=0x7E));
            if text.is_empty() || text.len() > limit || !printable {
                return bad(format!("the {name} is 1 to {limit} printable ASCII characters"));
            }
        }
        if !matches!(self.profile.geometry.block_size, 512 | 4096) {
            return bad("blocks have 512 or 4096 bytes".into());
        }
        if self.profile.blocks > 1 << 40 {
            return bad("at most 2^40 blocks".into());
        }
        self.profile.check().map_err(|what| ImageError::Parameter(what.into()))
    }

    /// Bytes of a media key.
    pub(in crate::emulator) fn key_length(&self) -> usize {
        match self.profile.key_bits {
            KeyBits::Aes128 => 32,
            KeyBits::Aes256 => 64,
        }
    }

    pub(super) fn write(&self, disk: &mut dyn Disk) -> Result<(), ImageError> {
        let mut payload = Vec::new();
        self.encode(&mut Encoder::new(&mut payload)).map_err(super::never)?;
        if payload.len() > SIZE - HEAD {
            return Err(ImageError::Parameter("the header outgrows its place".into()));
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(Sha256::digest(&payload));
        bytes.extend(payload);
        bytes.resize(SIZE, 0);
        Ok(disk.write_at(0, &bytes)?)
    }

    /// Reads the header of an image.
    ///
    /// # Errors
    /// The disk failed, or holds no image of a version known here.
    pub fn read(disk: &dyn Disk) -> Result<Self, ImageError> {
        let mut bytes = [0u8; SIZE];
        disk.read_at(0, &mut bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ImageError::NotAnImage("the file is too short"),
            _ => error.into(),
        })?;
        let (head, rest) = bytes.split_at(HEAD);
        if !head.starts_with(MAGIC) {
            return Err(ImageError::NotAnImage("it does not begin like one"));
        }
        let length = head.get(8..12).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let payload = length.and_then(|length| rest.get(..length as usize));
        let payload = payload.ok_or(ImageError::NotAnImage("its header is damaged"))?;
        if head.get(12..) != Some(&Sha256::digest(payload)[..]) {
            return Err(ImageError::NotAnImage("its header is damaged"));
        }
        let mut d = Decoder::new(payload);
        if d.map().is_err() || d.u8().ok() != Some(0) {
            return Err(ImageError::NotAnImage("its header has no version"));
        }
        let version = d.u64().unwrap_or(0);
        if version != VERSION {
            return Err(ImageError::Version(version));
        }
        let header =
            Self::decode(payload).map_err(|error| ImageError::State(format!("header: {error}")))?;
        header.check()?;
        Ok(header)
    }

    fn encode(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        let p = &self.profile;
        e.map(10)?.u8(0)?.u64(VERSION)?;
        e.u8(1)?.bytes(&self.drive)?.u8(2)?.str(&self.model)?.u8(3)?.str(&self.serial)?;
        e.u8(4)?.str(&self.firmware)?.u8(5)?.u64(self.wwn)?.u8(6)?.bytes(&self.nguid)?;
        e.u8(7)?.u8(match self.interface {
            Interface::Nvme => 0,
            Interface::Sata => 1,
            Interface::Sas => 2,
        })?;
        e.u8(8)?.str(&self.profile_name)?;
        let numbers = numbers(p);
        e.u8(9)?.map(3)?.u8(0)?.array(numbers.len() as u64)?;
        for number in numbers {
            e.u64(number)?;
        }
        e.u8(1)?.bytes(&p.msid)?.u8(2)?.bytes(&p.gudid)?.ok()
    }

    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(payload);
        let d = &mut d;
        d.map()?;
        key(d, 0)?;
        d.u64()?;
        key(d, 1)?;
        let drive = fixed(d)?;
        key(d, 2)?;
        let model = d.str()?.to_owned();
        key(d, 3)?;
        let serial = d.str()?.to_owned();
        key(d, 4)?;
        let firmware = d.str()?.to_owned();
        key(d, 5)?;
        let wwn = d.u64()?;
        key(d, 6)?;
        let nguid = fixed(d)?;
        key(d, 7)?;
        let interface = match d.u8()? {
            0 => Interface::Nvme,
            1 => Interface::Sata,
            2 => Interface::Sas,
            _ => return Err(DecodeError::message("unknown interface")),
        };
        key(d, 8)?;
        let profile_name = d.str()?.to_owned();
        key(d, 9)?;
        d.map()?;
        key(d, 0)?;
        let mut numbers = Vec::new();
        for _ in 0..d.array()?.unwrap_or(0) {
            numbers.push(d.u64()?);
        }
        let mut profile = profile(&numbers).ok_or_else(|| {
            DecodeError::message("profile numbers that this program does not know")
        })?;
        key(d, 1)?;
        profile.msid = d.bytes()?.to_vec();
        key(d, 2)?;
        profile.gudid = fixed(d)?;
        Ok(Self { drive, model, serial, firmware, wwn, nguid, interface, profile_name, profile })
    }
}

/// A profile as numbers, in the order of `docs/formats/image.md`.
fn numbers(p: &Profile) -> [u64; 39] {
    let (g, s, t, l, f) = (&p.geometry, &p.data_store, &p.try_limits, &p.limits, &p.features);
    [
        2, // SSC: Opal 2
        p.base_com_id.into(),
        p.com_ids.into(),
        p.range_crossing_forbidden.into(),
        p.admins.into(),
        p.users.into(),
        p.ranges.into(),
        p.blocks,
        g.block_size.into(),
        g.alignment_required.into(),
        g.alignment_granularity,
        g.lowest_aligned_lba,
        match p.key_bits {
            KeyBits::Aes128 => 128,
            KeyBits::Aes256 => 256,
        },
        p.mbr_size,
        s.total.into(),
        s.tables.into(),
        s.alignment.into(),
        p.write_granularity.into(),
        t.sid.into(),
        t.psid.into(),
        t.others.into(),
        t.persistent.into(),
        l.max_com_packet.into(),
        l.max_response_com_packet.into(),
        l.max_methods.into(),
        l.max_sessions.into(),
        l.max_read_sessions.into(),
        l.max_authentications.into(),
        l.default_session_timeout.into(),
        l.min_session_timeout.into(),
        l.max_session_timeout.into(),
        f.psid.into(),
        f.block_sid.into(),
        f.data_stores.into(),
        f.single_user_mode.into(),
        f.hardware_reset.into(),
        p.firmware_version.into(),
        0,
        0,
    ]
}

/// Undoes [`numbers`]; none where a number is out of its type's bounds or means something unknown.
fn profile(numbers: &[u64]) -> Option<Profile> {
    let mut next = numbers.iter().copied();
    let mut number = || next.next();
    let flag = |value: u64| match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    if number()? != 2 {
        return None;
    }
    let mut p = Profile::opal2();
    p.base_com_id = number()?.try_into().ok()?;
    p.com_ids = number()?.try_into().ok()?;
    p.range_crossing_forbidden = flag(number()?)?;
    p.admins = number()?.try_into().ok()?;
    p.users = number()?.try_into().ok()?;
    p.ranges = number()?.try_into().ok()?;
    p.blocks = number()?;
    p.geometry = Geometry {
        block_size: number()?.try_into().ok()?,
        alignment_required: flag(number()?)?,
        alignment_granularity: number()?,
        lowest_aligned_lba: number()?,
    };
    p.key_bits = match number()? {
        128 => KeyBits::Aes128,
        256 => KeyBits::Aes256,
        _ => return None,
    };
    p.mbr_size = number()?;
    p.data_store = DataStore {
        total: number()?.try_into().ok()?,
        tables: number()?.try_into().ok()?,
        alignment: number()?.try_into().ok()?,
    };
    p.write_granularity = number()?.try_into().ok()?;
    p.try_limits = TryLimits {
        sid: number()?.try_into().ok()?,
        psid: number()?.try_into().ok()?,
        others: number()?.try_into().ok()?,
        persistent: flag(number()?)?,
    };
    p.limits = Limits {
        max_com_packet: number()?.try_into().ok()?,
        max_response_com_packet: number()?.try_into().ok()?,
        max_methods: number()?.try_into().ok()?,
        max_sessions: number()?.try_into().ok()?,
        max_read_sessions: number()?.try_into().ok()?,
        max_authentications: number()?.try_into().ok()?,
        default_session_timeout: number()?.try_into().ok()?,
        min_session_timeout: number()?.try_into().ok()?,
        max_session_timeout: number()?.try_into().ok()?,
    };
    p.features = features([
        flag(number()?)?,
        flag(number()?)?,
        flag(number()?)?,
        flag(number()?)?,
        flag(number()?)?,
    ]);
    p.firmware_version = number()?.try_into().ok()?;
    // Two places kept free for what later versions need.
    (number()? == 0 && number()? == 0 && number().is_none()).then_some(p)
}

fn features(
    [psid, block_sid, data_stores, single_user_mode, hardware_reset]: [bool; 5],
) -> Features {
    let mut features = Profile::opal2().features;
    features.psid = psid;
    features.block_sid = block_sid;
    features.data_stores = data_stores;
    features.single_user_mode = single_user_mode;
    features.hardware_reset = hardware_reset;
    features
}

fn key(d: &mut Decoder<'_>, expected: u8) -> Result<(), DecodeError> {
    if d.u8()? == expected {
        return Ok(());
    }
    Err(DecodeError::message("a header field out of order"))
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], DecodeError> {
    d.bytes()?.try_into().map_err(|_| DecodeError::message("a byte string of another length"))
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryDisk;
    use super::*;

    fn header() -> Header {
        Header {
            drive: [1; 16],
            model: "OPALBOX EMULATED".into(),
            serial: "EMU0001".into(),
            firmware: "1.0".into(),
            wwn: 0x5000_0000_0000_0001,
            nguid: [2; 16],
            interface: Interface::Sata,
            profile_name: "opal2".into(),
            profile: Profile::opal2(),
        }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        let mut header = header();
        header.profile.ranges = 15;
        header.profile.features.block_sid = true;
        header.profile.geometry.block_size = 4096;
        header.profile.key_bits = KeyBits::Aes128;
        let mut disk = MemoryDisk::new();
        header.write(&mut disk).unwrap();
        assert_eq!(Header::read(&disk).unwrap(), header);
    }

    #[test]
    fn areas_follow_each_other() {
        let layout = header().layout();
        assert_eq!(layout.state + 2 * SLOT_SIZE, layout.journal);
        assert_eq!(layout.journal + layout.journal_size, layout.tables);
        let (mbr, size) = layout.table(Uid::new(MBR, 0)).unwrap();
        let (first, room) = layout.table(Uid::new(DATA_STORE, 0)).unwrap();
        assert_eq!((mbr, mbr + size), (layout.tables, first));
        let (last, _) = layout.table(Uid::new(DATA_STORE + 8, 0)).unwrap();
        assert!(last + room <= layout.media);
        assert_eq!(layout.table(Uid::new(DATA_STORE + 9, 0)), None);
        assert_eq!(layout.table(Uid::new(0x0803, 1)), None);
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let mut disk = MemoryDisk::new();
        header().write(&mut disk).unwrap();
        let mut good = [0u8; 512];
        disk.read_at(0, &mut good).unwrap();
        let used = HEAD + u32::from_be_bytes(good[8..12].try_into().unwrap()) as usize;
        for at in 0..used {
            let mut bad = good;
            bad[at] ^= 0x10;
            disk.write_at(0, &bad).unwrap();
            assert!(Header::read(&disk).is_err(), "byte {at}");
        }
    }
}
