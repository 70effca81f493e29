// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Profile`]: what kind of drive a TPer is. Never changes in a drive's life.

mod ssc;

use alloc::vec::Vec;
use core::time::Duration;

pub use super::quirk::{Quirk, Quirks};
pub use ssc::Ssc;

/// The constants of a drive model and unit. Start from [`Profile::of`] and change fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// Which SSC's preset the tables follow.
    pub ssc: Ssc,
    /// First static ComID; at least 0x1000 (0x07FE for Enterprise).
    pub base_com_id: u16,
    /// Number of static ComIDs; at least 1.
    pub com_ids: u16,
    /// Number of dynamic ComIDs that GET_COMID hands out; they follow the static ones.
    pub dynamic_com_ids: u16,
    /// A command that touches two ranges is refused (SSC descriptor, Range Crossing Behavior).
    pub range_crossing_forbidden: bool,
    /// Locking SP administrators; 4 or more for Opal 2.
    pub admins: u16,
    /// Locking SP users; 8 or more for Opal 2.
    pub users: u16,
    /// Ranges besides the Global Range; 8 or more for Opal 2, at most 1023.
    pub ranges: u16,
    /// Size of the media in logical blocks.
    pub blocks: u64,
    /// Block size and alignment.
    pub geometry: Geometry,
    /// The MSID, readable by anybody: 1 to 32 bytes, none of them 0.
    pub msid: Vec<u8>,
    /// Length of media keys; decides between K_AES_128 and K_AES_256.
    pub key_bits: KeyBits,
    /// Size of the shadow MBR in bytes; at least 0x08000000 for Opal 2. 0: the drive has none.
    pub mbr_size: u64,
    /// DataStore tables.
    pub data_store: DataStore,
    /// Byte tables take writes only at multiples of this; 1 to 8192.
    pub write_granularity: u32,
    /// How many wrong PINs before an authority is locked out.
    pub try_limits: TryLimits,
    /// What the drive announces in Properties.
    pub limits: Limits,
    /// Optional feature sets.
    pub features: Features,
    /// How Revert, RevertSP and GenKey remove data.
    pub data_removal: DataRemoval,
    /// Deviations from the specifications.
    pub quirks: Quirks,
    /// TPerInfo.GUDID.
    pub gudid: [u8; 12],
    /// TPerInfo.FirmwareVersion.
    pub firmware_version: u32,
}

impl Profile {
    /// An Opal 2 drive of 1 GiB: 8 ranges, 9 users, 4 administrators, AES-256, no try limits.
    #[must_use]
    pub fn opal2() -> Self {
        Self {
            ssc: Ssc::Opal2,
            base_com_id: 0x1000,
            com_ids: 1,
            dynamic_com_ids: 0,
            range_crossing_forbidden: false,
            admins: 4,
            users: 9,
            ranges: 8,
            blocks: 1 << 21,
            geometry: Geometry {
                block_size: 512,
                alignment_required: true,
                alignment_granularity: 8,
                lowest_aligned_lba: 0,
            },
            msid: b"OPALBOX-EMULATED-MSID-0123456789".to_vec(),
            key_bits: KeyBits::Aes256,
            mbr_size: 0x0800_0000,
            data_store: DataStore { total: 0x00A0_0000, tables: 9, alignment: 1 },
            write_granularity: 1,
            try_limits: TryLimits { sid: 0, psid: 0, others: 0, persistent: false },
            limits: Limits::default(),
            features: Features {
                psid: true,
                block_sid: true,
                data_stores: true,
                single_user_mode: false,
                hardware_reset: false,
            },
            data_removal: DataRemoval {
                mechanisms: DataRemoval::CRYPTOGRAPHIC,
                active: 2,
                duration: Duration::ZERO,
            },
            quirks: Quirks::NONE,
            gudid: [0x02, 0x23, 0x00, 0x08, 0x50, 0, 0, 0, 0, 0, 0, 1],
            firmware_version: 1,
        }
    }

    /// A drive of 1 GiB of any SSC, with the fewest authorities and ranges it may have.
    #[must_use]
    pub fn of(ssc: Ssc) -> Self {
        let mut profile = Self { ssc, ..Self::opal2() };
        match ssc {
            Ssc::Opal2 => {}
            Ssc::Opal1 => {
                (profile.users, profile.ranges) = (8, 4);
                profile.geometry.alignment_required = false;
                profile.geometry.alignment_granularity = 1;
                profile.data_store.total = 0x40_0000;
                profile.features.block_sid = false;
                profile.features.data_stores = false;
                profile.data_removal.mechanisms = 0;
            }
            Ssc::Opalite | Ssc::Pyrite1 | Ssc::Pyrite2 => {
                (profile.admins, profile.users, profile.ranges) = (1, 2, 0);
                profile.data_store.total = 0x2_0000;
                profile.features.data_stores = false;
                profile.data_removal.mechanisms = 0;
                if ssc == Ssc::Pyrite2 {
                    profile.data_removal.mechanisms =
                        DataRemoval::OVERWRITE | DataRemoval::BLOCK_ERASE | DataRemoval::UNMAP;
                    profile.data_removal.active = 1;
                }
            }
            Ssc::Ruby => {
                profile.mbr_size = 0;
                profile.features.data_stores = false;
            }
            Ssc::Enterprise => {
                (profile.base_com_id, profile.com_ids) = (0x07FE, 2);
                (profile.admins, profile.users, profile.ranges) = (1, 1, 15);
                profile.mbr_size = 0;
                profile.data_store = DataStore { total: 1024, tables: 1, alignment: 1 };
                profile.features.block_sid = false;
                profile.features.data_stores = false;
                profile.data_removal.mechanisms = 0;
            }
        }
        profile
    }

    /// The PIN of every authority at the factory, but for SID and PSID.
    #[must_use]
    pub fn factory_pin(&self) -> &[u8] {
        if self.ssc.is_enterprise() { &self.msid } else { &[] }
    }

    /// Whether there is a shadow MBR.
    #[must_use]
    pub const fn has_mbr(&self) -> bool {
        self.mbr_size != 0 && !self.quirks.has(Quirk::MbrRefusedWithoutBit)
    }

    /// Whether the PSID authority is there.
    #[must_use]
    pub const fn has_psid(&self) -> bool {
        self.features.psid && !self.quirks.has(Quirk::NoPsid)
    }

    /// Checks that the fields go together.
    ///
    /// # Errors
    /// Text that names the first field that does not.
    pub fn check(&self) -> Result<(), &'static str> {
        let limits = &self.limits;
        let rules = [
            (self.com_ids >= 1, "a drive has at least one ComID"),
            (
                u32::from(self.base_com_id)
                    + u32::from(self.com_ids)
                    + u32::from(self.dynamic_com_ids)
                    <= 0x1_0000,
                "the ComIDs go past FFFF",
            ),
            (
                u32::from(self.com_ids) + u32::from(self.dynamic_com_ids) <= 256,
                "at most 256 ComIDs together",
            ),
            (
                self.dynamic_com_ids == 0
                    || u32::from(self.base_com_id) + u32::from(self.com_ids) >= 0x1000,
                "dynamic ComIDs begin at 1000",
            ),
            (self.base_com_id >= 0x07FE, "the base ComID is in the reserved area"),
            ((1..=255).contains(&self.admins), "1 to 255 administrators"),
            ((1..=1024).contains(&self.users), "1 to 1024 users"),
            (self.ranges <= 1023, "at most 1023 ranges"),
            (
                !self.features.single_user_mode || self.users > self.ranges,
                "Single User Mode needs a user more than ranges",
            ),
            (self.blocks >= 1, "the media has no blocks"),
            (
                (self.geometry.block_size >= 512) && (self.geometry.block_size <= 0x1_0000),
                "the block size is 512 to 65536 bytes",
            ),
            (self.geometry.alignment_granularity >= 1, "the alignment granularity is at least 1"),
            ((1..=32).contains(&self.msid.len()), "the MSID has 1 to 32 bytes"),
            (u32::try_from(self.mbr_size).is_ok(), "the MBR table is below 4 GiB"),
            (
                self.data_store.total >= 1 && self.data_store.total <= 0x4000_0000,
                "the DataStore is 1 byte to 1 GiB",
            ),
            ((1..=128).contains(&self.data_store.tables), "1 to 128 DataStore tables"),
            (self.data_removal.is_sound(), "the active data removal mechanism is supported"),
            (
                !self.ssc.is_enterprise()
                    || (self.mbr_size == 0
                        && !self.features.single_user_mode
                        && !self.features.block_sid
                        && !self.features.data_stores
                        && !self.features.hardware_reset
                        && self.data_removal.mechanisms == 0),
                "Enterprise has no shadow MBR and none of Opal's feature sets",
            ),
            (
                self.ssc.encrypts() || !self.features.single_user_mode,
                "Single User Mode needs encryption",
            ),
            (self.data_store.alignment >= 1, "the DataStore alignment is at least 1"),
            (
                (1..=8192).contains(&self.write_granularity),
                "the mandatory write granularity is 1 to 8192",
            ),
            (
                (1024..=0x10_0000).contains(&limits.max_com_packet),
                "MaxComPacketSize is 1024 to 1 MiB",
            ),
            (
                (1024..=0x10_0000).contains(&limits.max_response_com_packet),
                "MaxResponseComPacketSize is 1024 to 1 MiB",
            ),
            ((1..=64).contains(&limits.max_sessions), "1 to 64 sessions"),
            ((2..=64).contains(&limits.max_authentications), "2 to 64 authentications"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, text)| Err(text))
    }

    /// Minor version in the Opal 2 descriptor: 3 (2.30) only with the three feature sets that 2.30
    /// makes mandatory, else 1 (2.01).
    #[must_use]
    pub const fn opal2_minor(&self) -> u8 {
        let features = &self.features;
        if self.has_psid() && features.block_sid && features.data_stores { 3 } else { 1 }
    }
}

/// Block size and alignment (Geometry Reporting, LockingInfo).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a logical block.
    pub block_size: u32,
    /// Ranges must be aligned.
    pub alignment_required: bool,
    /// In blocks.
    pub alignment_granularity: u64,
    /// First aligned block.
    pub lowest_aligned_lba: u64,
}

/// Length of media keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBits {
    /// K_AES_128.
    Aes128,
    /// K_AES_256.
    Aes256,
}

/// DataStore tables. Without the Additional DataStore feature there is one, of `total` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataStore {
    /// Bytes of all tables together; at least 0x00A00000 for Opal 2.
    pub total: u32,
    /// How many there can be.
    pub tables: u16,
    /// Table sizes are multiples of this.
    pub alignment: u32,
}

/// Data removal (Supported Data Removal Mechanism descriptor; Opal 2.30 table 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRemoval {
    /// Mechanisms, as bits of the descriptor; 0: the drive does not have the feature. Whatever is
    /// chosen, this TPer removes data by replacing keys.
    pub mechanisms: u8,
    /// The one active at the factory: a bit number.
    pub active: u8,
    /// How long a Revert, RevertSP or GenKey takes. Zero: it is done when the answer is fetched.
    /// Otherwise time comes from `Tper::session_timeouts`, and a reset before it has passed
    /// interrupts the removal.
    pub duration: Duration,
}

impl DataRemoval {
    /// Overwrite Data Erase.
    pub const OVERWRITE: u8 = 1;
    /// Block Erase.
    pub const BLOCK_ERASE: u8 = 1 << 1;
    /// Cryptographic Erase.
    pub const CRYPTOGRAPHIC: u8 = 1 << 2;
    /// Unmap (Pyrite 2 only).
    pub const UNMAP: u8 = 1 << 3;

    /// Whether mechanism number `mechanism` is there.
    #[must_use]
    pub const fn supports(&self, mechanism: u64) -> bool {
        mechanism < 8 && self.mechanisms & (1 << mechanism) != 0
    }

    const fn is_sound(&self) -> bool {
        self.mechanisms == 0 || self.supports(self.active as u64)
    }
}

/// C_PIN.TryLimit at the factory; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryLimits {
    /// C_PIN_SID.
    pub sid: u32,
    /// C_PIN_PSID.
    pub psid: u32,
    /// All other C_PINs.
    pub others: u32,
    /// C_PIN.Persistence: Tries survive a power cycle.
    pub persistent: bool,
}

/// TPer properties (Core 2.01 table 168). Sizes in bytes, headers included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// MaxComPacketSize. MaxPacketSize is 20 less, MaxIndTokenSize 36 less again.
    pub max_com_packet: u32,
    /// MaxResponseComPacketSize.
    pub max_response_com_packet: u32,
    /// MaxMethods in one sub-packet.
    pub max_methods: u32,
    /// MaxSessions over all SPs.
    pub max_sessions: u32,
    /// MaxReadSessions per SP; 0 if read-only sessions are not supported.
    pub max_read_sessions: u32,
    /// MaxAuthentications in a session, Anybody included.
    pub max_authentications: u32,
    /// DefSessionTimeout in ms; 0 is none.
    pub default_session_timeout: u32,
    /// MinSessionTimeout in ms; 0 means time-outs other than the default are not supported.
    pub min_session_timeout: u32,
    /// MaxSessionTimeout in ms; 0 is no limit.
    pub max_session_timeout: u32,
}

impl Limits {
    /// MaxPacketSize.
    #[must_use]
    pub const fn max_packet(&self) -> u32 {
        self.max_com_packet.saturating_sub(20)
    }

    /// MaxIndTokenSize.
    #[must_use]
    pub const fn max_token(&self) -> u32 {
        self.max_packet().saturating_sub(36)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_com_packet: 0x1_0000,
            max_response_com_packet: 0x1_0000,
            max_methods: 1,
            max_sessions: 1,
            max_read_sessions: 0,
            max_authentications: 2,
            default_session_timeout: 0,
            min_session_timeout: 0,
            max_session_timeout: 0,
        }
    }
}

/// Optional feature sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// PSID.
    pub psid: bool,
    /// Block SID Authentication.
    pub block_sid: bool,
    /// Additional DataStore Tables.
    pub data_stores: bool,
    /// Single User Mode.
    pub single_user_mode: bool,
    /// Hardware reset in LockOnReset and DoneOnReset.
    pub hardware_reset: bool,
}
