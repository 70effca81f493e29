// SPDX-License-Identifier: MIT OR Apache-2.0
//! The feature descriptors we know, as structs (Core 2.01 §3.3.6.3 and following; the SSCs and
//! feature sets named at each).

use super::field::{BASE_COM_ID, FieldIo, Fields, INJECTION_COM_ID};

/// A range of ComIDs that an SSC uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComIds {
    /// The first one; hosts use it.
    pub base: u16,
    /// How many there are.
    pub count: u16,
}

impl ComIds {
    fn fields(&mut self, at: usize, io: &mut dyn FieldIo) {
        io.u16(BASE_COM_ID, at, &mut self.base);
        io.u16("com_ids", at + 2, &mut self.count);
    }
}

/// What C_PIN_SID holds from the factory or after a revert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinIndicator(pub u8);

impl PinIndicator {
    /// The MSID.
    pub const MSID: Self = Self(0x00);
    /// Something that only the vendor knows.
    pub const VENDOR_UNIQUE: Self = Self(0xFF);
}

/// TPer (Core 2.01 table 42): how the drive communicates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tper {
    /// Synchronous protocol; every host needs it.
    pub sync: bool,
    /// Asynchronous protocol.
    pub asynchronous: bool,
    /// ACK/NAK.
    pub ack_nak: bool,
    /// Buffer management (credit).
    pub buffer_management: bool,
    /// Streaming protocol; Opal demands it.
    pub streaming: bool,
    /// GET_COMID works.
    pub com_id_management: bool,
}

impl Fields for Tper {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        io.bit("sync", 4, 0, &mut self.sync);
        io.bit("asynchronous", 4, 1, &mut self.asynchronous);
        io.bit("ack_nak", 4, 2, &mut self.ack_nak);
        io.bit("buffer_management", 4, 3, &mut self.buffer_management);
        io.bit("streaming", 4, 4, &mut self.streaming);
        io.bit("com_id_management", 4, 6, &mut self.com_id_management);
    }
}

/// Locking (Core 2.01 §3.3.6.5; Opal 2.30 table 4): what is locked now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Locking {
    /// The Locking template exists.
    pub supported: bool,
    /// The Locking SP is active.
    pub enabled: bool,
    /// Some range is both lock-enabled and locked.
    pub locked: bool,
    /// Data is encrypted on the medium.
    pub media_encryption: bool,
    /// Shadow MBR enabled.
    pub mbr_enabled: bool,
    /// Shadow MBR done: the drive shows its real content.
    pub mbr_done: bool,
    /// There is no shadow MBR. Descriptor version 2 and later; false before.
    pub mbr_shadowing_not_supported: bool,
    /// LockOnReset and DoneOnReset may name the hardware reset. Version 3 and later; false before.
    pub hardware_reset: bool,
}

impl Fields for Locking {
    fn fields(&mut self, version: u8, io: &mut dyn FieldIo) {
        io.bit("supported", 4, 0, &mut self.supported);
        io.bit("enabled", 4, 1, &mut self.enabled);
        io.bit("locked", 4, 2, &mut self.locked);
        io.bit("media_encryption", 4, 3, &mut self.media_encryption);
        io.bit("mbr_enabled", 4, 4, &mut self.mbr_enabled);
        io.bit("mbr_done", 4, 5, &mut self.mbr_done);
        if version >= 2 {
            io.bit("mbr_shadowing_not_supported", 4, 6, &mut self.mbr_shadowing_not_supported);
        }
        if version >= 3 {
            io.bit("hardware_reset", 4, 7, &mut self.hardware_reset);
        }
    }
}

/// Geometry Reporting (Opal 2.30 table 5), and the namespace geometry of the same layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Ranges must be aligned.
    pub align: bool,
    /// Bytes; not always a power of two (quirk A15).
    pub logical_block_size: u32,
    /// Logical blocks; 0 in a faulty descriptor, see [`Self::granularity`].
    pub alignment_granularity: u64,
    /// First LBA that is aligned.
    pub lowest_aligned_lba: u64,
}

impl Geometry {
    /// The granularity a host should align to, in logical blocks: at least 1.
    #[must_use]
    pub fn granularity(&self) -> u64 {
        self.alignment_granularity.max(1)
    }
}

impl Fields for Geometry {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        io.bit("align", 4, 0, &mut self.align);
        io.u32("logical_block_size", 12, &mut self.logical_block_size);
        io.u64("alignment_granularity", 16, &mut self.alignment_granularity);
        io.u64("lowest_aligned_lba", 24, &mut self.lowest_aligned_lba);
    }
}

/// SIIS (one source).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Siis {
    /// Revision of the interface interactions specification.
    pub revision: u8,
    /// Key Change Zone Behavior.
    pub key_change_zone_behavior: bool,
    /// Identifier Usage Scope.
    pub identifier_usage_scope: u8,
}

impl Fields for Siis {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        io.u8("revision", 4, &mut self.revision);
        io.bit("key_change_zone_behavior", 5, 0, &mut self.key_change_zone_behavior);
        io.bits("identifier_usage_scope", 5, 1, 2, &mut self.identifier_usage_scope);
    }
}

/// Enterprise (Enterprise 1.01) and Opal 1.00, which have the same layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ssc1 {
    /// ComIDs.
    pub com_ids: ComIds,
    /// One command that crosses unlocked ranges is ended with an error.
    pub range_crossing: bool,
}

impl Fields for Ssc1 {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        self.com_ids.fields(4, io);
        io.bit("range_crossing", 8, 0, &mut self.range_crossing);
    }
}

/// Opal 2 (Opal 2.30 table 6) and Ruby, which has the same layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opal2 {
    /// ComIDs.
    pub com_ids: ComIds,
    /// One command that crosses unlocked ranges is ended with an error.
    pub range_crossing: bool,
    /// Admin authorities of the Locking SP.
    pub admins: u16,
    /// User authorities of the Locking SP.
    pub users: u16,
    /// C_PIN_SID from the factory.
    pub initial_pin: PinIndicator,
    /// C_PIN_SID after a TPer revert.
    pub reverted_pin: PinIndicator,
}

impl Fields for Opal2 {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        self.com_ids.fields(4, io);
        io.bit("range_crossing", 8, 0, &mut self.range_crossing);
        io.u16("admins", 9, &mut self.admins);
        io.u16("users", 11, &mut self.users);
        io.u8("initial_pin", 13, &mut self.initial_pin.0);
        io.u8("reverted_pin", 14, &mut self.reverted_pin.0);
    }
}

/// Opalite, Pyrite 1 and Pyrite 2: the Global Range alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmallSsc {
    /// ComIDs.
    pub com_ids: ComIds,
    /// C_PIN_SID from the factory.
    pub initial_pin: PinIndicator,
    /// C_PIN_SID after a TPer revert.
    pub reverted_pin: PinIndicator,
}

impl Fields for SmallSsc {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        self.com_ids.fields(4, io);
        io.u8("initial_pin", 13, &mut self.initial_pin.0);
        io.u8("reverted_pin", 14, &mut self.reverted_pin.0);
    }
}

/// Key per I/O. One source, recalled: for display only; the rest of the descriptor stays raw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPerIo {
    /// ComIDs.
    pub com_ids: ComIds,
    /// ComIDs of key injection, protocol 3.
    pub injection_com_ids: ComIds,
}

impl Fields for KeyPerIo {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        self.com_ids.fields(4, io);
        io.u16(INJECTION_COM_ID, 8, &mut self.injection_com_ids.base);
        io.u16("injection_com_ids", 10, &mut self.injection_com_ids.count);
    }
}

/// Single User Mode feature set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SingleUserMode {
    /// Locking objects that may be in single user mode, the Global Range included.
    pub locking_objects: u32,
    /// At least one range is. See [`Self::in_use`].
    pub any: bool,
    /// All ranges are.
    pub all: bool,
    /// Admins own the start and length of such ranges; otherwise the user does.
    pub policy: bool,
}

impl SingleUserMode {
    /// Whether some range is in single user mode: some drives set ALL without ANY (quirk A13).
    #[must_use]
    pub const fn in_use(&self) -> bool {
        self.any || self.all
    }
}

impl Fields for SingleUserMode {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        io.u32("locking_objects", 4, &mut self.locking_objects);
        io.bit("any", 8, 0, &mut self.any);
        io.bit("all", 8, 1, &mut self.all);
        io.bit("policy", 8, 2, &mut self.policy);
    }
}

/// Additional DataStore Tables feature set 1.01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataStore {
    /// Most tables there may be.
    pub max_tables: u16,
    /// Total size of all tables, bytes.
    pub max_total_size: u32,
    /// Table sizes are multiples of this many bytes.
    pub size_alignment: u32,
}

impl Fields for DataStore {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        io.u16("max_tables", 6, &mut self.max_tables);
        io.u32("max_total_size", 8, &mut self.max_total_size);
        io.u32("size_alignment", 12, &mut self.size_alignment);
    }
}

/// Block SID Authentication feature set 1.01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockSid {
    /// SID Value State: C_PIN_SID differs from C_PIN_MSID.
    pub sid_changed: bool,
    /// SID cannot authenticate now.
    pub blocked: bool,
    /// Locking SP freeze lock supported. Version 2 and later; false before.
    pub freeze_supported: bool,
    /// Locking SP frozen now. Version 2 and later; false before.
    pub frozen: bool,
    /// A hardware reset ends the block.
    pub hardware_reset: bool,
}

impl Fields for BlockSid {
    fn fields(&mut self, version: u8, io: &mut dyn FieldIo) {
        io.bit("sid_changed", 4, 0, &mut self.sid_changed);
        io.bit("blocked", 4, 1, &mut self.blocked);
        if version >= 2 {
            io.bit("freeze_supported", 4, 2, &mut self.freeze_supported);
            io.bit("frozen", 4, 3, &mut self.frozen);
        }
        io.bit("hardware_reset", 5, 0, &mut self.hardware_reset);
    }
}

/// Configurable Namespace Locking feature set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceLocking {
    /// Range_C: ranges of a namespace can be created.
    pub range_creation: bool,
    /// Range_P: there is one.
    pub range_present: bool,
    /// SUM_C: single user mode goes together with namespace ranges.
    pub single_user: bool,
    /// Most media keys.
    pub max_keys: u32,
    /// Media keys not in use.
    pub unused_keys: u32,
    /// Most ranges per namespace; FFFF_FFFF is "not reported" (recalled).
    pub max_ranges_per_namespace: u32,
}

impl Fields for NamespaceLocking {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        io.bit("range_creation", 4, 7, &mut self.range_creation);
        io.bit("range_present", 4, 6, &mut self.range_present);
        io.bit("single_user", 4, 5, &mut self.single_user);
        io.u32("max_keys", 8, &mut self.max_keys);
        io.u32("unused_keys", 12, &mut self.unused_keys);
        io.u32("max_ranges_per_namespace", 16, &mut self.max_ranges_per_namespace);
    }
}

/// Supported Data Removal Mechanism (Opal 2.30 tables 8 to 12; Pyrite 2.00).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataRemoval {
    /// A removal is running.
    pub processing: bool,
    /// A reset or power loss stopped one. Version 2 and later; false before.
    pub interrupted: bool,
    /// One bit per mechanism, see [`Self::supports`].
    pub mechanisms: u8,
    /// One bit per mechanism: its time counts in units of two minutes instead of two seconds.
    pub time_format: u8,
    /// Times of mechanisms 0 to 5, in those units; see [`Self::time`].
    pub times: [u16; 6],
}

/// A way to make data unreadable; the number is that of its bit, and that of
/// `data_removal_mechanism` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanism(pub u8);

impl Mechanism {
    /// Overwrite Data Erase.
    pub const OVERWRITE: Self = Self(0);
    /// Block Erase.
    pub const BLOCK_ERASE: Self = Self(1);
    /// Cryptographic Erase.
    pub const CRYPTOGRAPHIC_ERASE: Self = Self(2);
    /// Unmap (Pyrite 2).
    pub const UNMAP: Self = Self(3);
    /// Reset Write Pointers (Pyrite 2).
    pub const RESET_WRITE_POINTERS: Self = Self(4);
    /// Vendor Specific Erase.
    pub const VENDOR: Self = Self(5);

    /// All that have a name.
    pub const ALL: [Self; 6] = [
        Self::OVERWRITE,
        Self::BLOCK_ERASE,
        Self::CRYPTOGRAPHIC_ERASE,
        Self::UNMAP,
        Self::RESET_WRITE_POINTERS,
        Self::VENDOR,
    ];

    /// The name, if it has one.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self.0 {
            0 => Some("overwrite"),
            1 => Some("block erase"),
            2 => Some("cryptographic erase"),
            3 => Some("unmap"),
            4 => Some("reset write pointers"),
            5 => Some("vendor specific erase"),
            _ => None,
        }
    }
}

/// How long a removal takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalTime {
    /// The drive does not say.
    NotReported,
    /// About this many seconds.
    Seconds(u32),
    /// This many seconds or more.
    AtLeast(u32),
}

impl DataRemoval {
    /// Whether the drive has `mechanism`.
    #[must_use]
    pub const fn supports(&self, mechanism: Mechanism) -> bool {
        mechanism.0 < 8 && self.mechanisms >> mechanism.0 & 1 == 1
    }

    /// The time `mechanism` takes.
    #[must_use]
    pub fn time(&self, mechanism: Mechanism) -> RemovalTime {
        let Some(time) = self.times.get(usize::from(mechanism.0)) else {
            return RemovalTime::NotReported;
        };
        let unit = if self.time_format >> mechanism.0 & 1 == 1 { 120 } else { 2 };
        match *time {
            0 => RemovalTime::NotReported,
            u16::MAX => RemovalTime::AtLeast(u32::from(u16::MAX - 1) * unit),
            time => RemovalTime::Seconds(u32::from(time) * unit),
        }
    }
}

impl Fields for DataRemoval {
    fn fields(&mut self, version: u8, io: &mut dyn FieldIo) {
        io.bit("processing", 5, 0, &mut self.processing);
        if version >= 2 {
            io.bit("interrupted", 5, 1, &mut self.interrupted);
        }
        io.bits("mechanisms", 6, 0, 6, &mut self.mechanisms);
        io.bits("time_format", 7, 0, 6, &mut self.time_format);
        for (index, time) in self.times.iter_mut().enumerate() {
            io.u16("times", 8 + 2 * index, time);
        }
    }
}

/// Shadow MBR for Multiple Namespaces feature set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMbr {
    /// ANS_C: one MBRControl row may stand for all namespaces.
    pub all_namespaces: bool,
}

impl Fields for NamespaceMbr {
    fn fields(&mut self, _version: u8, io: &mut dyn FieldIo) {
        io.bit("all_namespaces", 4, 0, &mut self.all_namespaces);
    }
}

/// One logical port of the vendor descriptor C001 (one source): firmware download, diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Low half of the port's UID.
    pub id: u32,
    /// 1 is locked.
    pub state: u8,
}
