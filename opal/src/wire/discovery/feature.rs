// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Feature`]: what a descriptor's code says it is; [`Descriptor`]: its bytes, known or not.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::descriptor::{
    BlockSid, ComIds, DataRemoval, DataStore, Geometry, KeyPerIo, Locking, Mechanism,
    NamespaceLocking, NamespaceMbr, Opal2, Port, RemovalTime, Siis, SingleUserMode, SmallSsc, Ssc1,
    Tper,
};
use super::field::{DATA, FieldValue, list, read, write};

/// A feature code. Any value survives; unknown ones print as hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureCode(pub u16);

impl FeatureCode {
    /// The lowest code that belongs to vendors.
    pub const VENDOR: u16 = 0xC000;
}

impl fmt::Display for FeatureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} (0x{:04X})", self.0),
            None if self.0 >= Self::VENDOR => write!(f, "vendor feature 0x{:04X}", self.0),
            None => write!(f, "unknown feature 0x{:04X}", self.0),
        }
    }
}

impl fmt::Debug for FeatureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeatureCode(0x{:04X})", self.0)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $constant:ident = $code:literal, $name:literal;)*) => {
        impl FeatureCode {
            $($(#[$doc])* pub const $constant: Self = Self($code);)*

            /// The feature's name, if the code is assigned.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// TPer.
    TPER = 0x0001, "TPer";
    /// Locking.
    LOCKING = 0x0002, "Locking";
    /// Geometry Reporting.
    GEOMETRY = 0x0003, "Geometry Reporting";
    /// Secure Messaging.
    SECURE_MESSAGING = 0x0004, "Secure Messaging";
    /// SIIS.
    SIIS = 0x0005, "SIIS";
    /// Enterprise SSC.
    ENTERPRISE = 0x0100, "Enterprise SSC";
    /// Opal SSC 1.00.
    OPAL_1 = 0x0200, "Opal SSC 1.00";
    /// Single User Mode.
    SINGLE_USER_MODE = 0x0201, "Single User Mode";
    /// Additional DataStore Tables.
    DATA_STORE = 0x0202, "Additional DataStore Tables";
    /// Opal SSC 2.
    OPAL_2 = 0x0203, "Opal SSC 2";
    /// Opalite SSC.
    OPALITE = 0x0301, "Opalite SSC";
    /// Pyrite SSC 1.
    PYRITE_1 = 0x0302, "Pyrite SSC 1";
    /// Pyrite SSC 2.
    PYRITE_2 = 0x0303, "Pyrite SSC 2";
    /// Ruby SSC.
    RUBY = 0x0304, "Ruby SSC";
    /// Key per I/O SSC.
    KEY_PER_IO = 0x0305, "Key per I/O SSC";
    /// Locking LBA Ranges Control.
    LBA_RANGES_CONTROL = 0x0401, "Locking LBA Ranges Control";
    /// Block SID Authentication.
    BLOCK_SID = 0x0402, "Block SID Authentication";
    /// Configurable Namespace Locking.
    NAMESPACE_LOCKING = 0x0403, "Configurable Namespace Locking";
    /// Supported Data Removal Mechanism.
    DATA_REMOVAL = 0x0404, "Supported Data Removal Mechanism";
    /// Namespace Geometry Reporting.
    NAMESPACE_GEOMETRY = 0x0405, "Namespace Geometry Reporting";
    /// Shadow MBR for Multiple Namespaces.
    NAMESPACE_MBR = 0x0407, "Shadow MBR for Multiple Namespaces";
    /// C_PIN Enhancements (name only, one source).
    C_PIN_ENHANCEMENTS = 0x0409, "C_PIN Enhancements";
    /// Namespace Key per I/O Capabilities (name only, one source).
    NAMESPACE_KEY_PER_IO = 0x040A, "Namespace Key per I/O Capabilities";
    /// Logical ports of one vendor.
    LOGICAL_PORTS = 0xC001, "Logical Ports (vendor)";
}

/// A descriptor's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// TPer.
    Tper(Tper),
    /// Locking.
    Locking(Locking),
    /// Geometry Reporting.
    Geometry(Geometry),
    /// SIIS.
    Siis(Siis),
    /// Enterprise SSC.
    Enterprise(Ssc1),
    /// Opal SSC 1.00.
    Opal1(Ssc1),
    /// Single User Mode.
    SingleUserMode(SingleUserMode),
    /// Additional DataStore Tables.
    DataStore(DataStore),
    /// Opal SSC 2.
    Opal2(Opal2),
    /// Opalite SSC.
    Opalite(SmallSsc),
    /// Pyrite SSC 1.
    Pyrite1(SmallSsc),
    /// Pyrite SSC 2.
    Pyrite2(SmallSsc),
    /// Ruby SSC.
    Ruby(Opal2),
    /// Key per I/O SSC; display only.
    KeyPerIo(KeyPerIo),
    /// Block SID Authentication.
    BlockSid(BlockSid),
    /// Configurable Namespace Locking.
    NamespaceLocking(NamespaceLocking),
    /// Supported Data Removal Mechanism.
    DataRemoval(DataRemoval),
    /// Namespace Geometry Reporting.
    NamespaceGeometry(Geometry),
    /// Shadow MBR for Multiple Namespaces.
    NamespaceMbr(NamespaceMbr),
    /// Logical ports of one vendor.
    LogicalPorts(Vec<Port>),
    /// Kept raw: a code without an assignment here, or one whose layout is not known for sure
    /// (Secure Messaging, Locking LBA Ranges Control).
    Raw(FeatureCode),
}

/// One list says which code has which layout, at which version and length we write it.
macro_rules! layouts {
    ($($variant:ident($layout:ty) = $code:ident, $version:literal, $length:literal;)*) => {
        impl Feature {
            /// Code, version nibble and data length we write for this feature.
            fn shape(&self) -> (FeatureCode, u8, u8) {
                match self {
                    $(Self::$variant(_) => (FeatureCode::$code, $version, $length),)*
                    Self::LogicalPorts(ports) => {
                        let ports = ports.len().min(PORTS_MAX) as u8;
                        (FeatureCode::LOGICAL_PORTS, 1, ports * 8)
                    }
                    Self::Raw(code) => (*code, 1, 0),
                }
            }

            fn parse(code: FeatureCode, version: u8, data: &[u8]) -> Self {
                match code {
                    $(FeatureCode::$code => Self::$variant(read::<$layout>(version, data)),)*
                    FeatureCode::LOGICAL_PORTS => Self::LogicalPorts(ports(data)),
                    code => Self::Raw(code),
                }
            }

            fn list(&self, version: u8, data: &[u8], cut: bool) -> Vec<(&'static str, FieldValue)> {
                match self {
                    $(Self::$variant(_) => list::<$layout>(version, data, cut),)*
                    Self::LogicalPorts(ports) => list_ports(ports),
                    Self::Raw(_) => Vec::new(),
                }
            }

            fn store(&self, version: u8, data: &mut [u8]) {
                match self {
                    $(Self::$variant(layout) => write(*layout, version, data),)*
                    Self::LogicalPorts(ports) => store_ports(ports, data),
                    Self::Raw(_) => {}
                }
            }
        }
    };
}

layouts! {
    Tper(Tper) = TPER, 1, 12;
    Locking(Locking) = LOCKING, 3, 12;
    Geometry(Geometry) = GEOMETRY, 1, 28;
    Siis(Siis) = SIIS, 1, 12;
    Enterprise(Ssc1) = ENTERPRISE, 1, 16;
    Opal1(Ssc1) = OPAL_1, 1, 16;
    SingleUserMode(SingleUserMode) = SINGLE_USER_MODE, 1, 12;
    DataStore(DataStore) = DATA_STORE, 2, 12;
    Opal2(Opal2) = OPAL_2, 2, 16;
    Opalite(SmallSsc) = OPALITE, 1, 16;
    Pyrite1(SmallSsc) = PYRITE_1, 1, 16;
    Pyrite2(SmallSsc) = PYRITE_2, 1, 16;
    Ruby(Opal2) = RUBY, 1, 16;
    KeyPerIo(KeyPerIo) = KEY_PER_IO, 1, 16;
    BlockSid(BlockSid) = BLOCK_SID, 2, 12;
    NamespaceLocking(NamespaceLocking) = NAMESPACE_LOCKING, 1, 16;
    DataRemoval(DataRemoval) = DATA_REMOVAL, 2, 32;
    NamespaceGeometry(Geometry) = NAMESPACE_GEOMETRY, 1, 28;
    NamespaceMbr(NamespaceMbr) = NAMESPACE_MBR, 1, 12;
}

impl Feature {
    /// The ComIDs, if this is an SSC that has some.
    #[must_use]
    pub const fn com_ids(&self) -> Option<ComIds> {
        match self {
            Self::Enterprise(ssc) | Self::Opal1(ssc) => Some(ssc.com_ids),
            Self::Opal2(ssc) | Self::Ruby(ssc) => Some(ssc.com_ids),
            Self::Opalite(ssc) | Self::Pyrite1(ssc) | Self::Pyrite2(ssc) => Some(ssc.com_ids),
            Self::KeyPerIo(ssc) => Some(ssc.com_ids),
            _ => None,
        }
    }
}

/// A feature descriptor as it stood in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Feature code.
    pub code: FeatureCode,
    /// High nibble: descriptor version. Low nibble: reserved, or the minor version of an SSC.
    pub version_byte: u8,
    /// Data bytes, as declared.
    pub length: u8,
    data: Vec<u8>,
}

impl Descriptor {
    /// The descriptor we would send for `feature`, at the version and length this crate knows.
    #[must_use]
    pub fn new(feature: &Feature) -> Self {
        let (code, version, length) = feature.shape();
        let mut data = vec![0; usize::from(length)];
        feature.store(version, &mut data);
        Self { code, version_byte: version << 4, length, data }
    }

    /// A descriptor of raw bytes: `data` is cut at 255 bytes, all that a descriptor holds.
    #[must_use]
    pub fn raw(code: FeatureCode, version_byte: u8, data: &[u8]) -> Self {
        let length = u8::try_from(data.len()).unwrap_or(u8::MAX);
        let data = data.get(..usize::from(length)).unwrap_or(data).to_vec();
        Self { code, version_byte, length, data }
    }

    /// Another descriptor version (high nibble) and minor version (low nibble) for `feature`.
    #[must_use]
    pub fn with_version(mut self, version: u8, minor: u8) -> Self {
        // Which bits mean something depends on the version: store them again.
        let feature = self.feature();
        self.version_byte = version << 4 | (minor & 0x0F);
        self.data.fill(0);
        feature.store(version & 0x0F, &mut self.data);
        self
    }

    /// Reads one from the front of `bytes`; its data may be cut short by the end of `bytes`.
    /// `None` if not even its four header bytes are there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[high, low, version_byte, length], rest) = bytes.split_first_chunk::<DATA>()?;
        let data = rest.get(..usize::from(length)).unwrap_or(rest).to_vec();
        let code = FeatureCode(u16::from_be_bytes([high, low]));
        Some(Self { code, version_byte, length, data })
    }

    /// Bytes this descriptor takes in the answer, as far as they are there.
    pub(super) fn size(&self) -> usize {
        DATA + self.data.len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.code.0.to_be_bytes());
        out.extend_from_slice(&[self.version_byte, self.length]);
        out.extend_from_slice(&self.data);
    }

    /// Descriptor version.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_byte >> 4
    }

    /// Low nibble beside the version: SSC minor version where one is defined.
    #[must_use]
    pub const fn minor(&self) -> u8 {
        self.version_byte & 0x0F
    }

    /// The version of the specification that the minor version stands for, where one is defined.
    #[must_use]
    pub const fn edition(&self) -> Option<&'static str> {
        match (self.code, self.minor()) {
            (FeatureCode::OPAL_2, 0) => Some("Opal 2.00"),
            (FeatureCode::OPAL_2, 1) => Some("Opal 2.01"),
            (FeatureCode::OPAL_2, 2) => Some("Opal 2.02"),
            (FeatureCode::OPAL_2, 3) => Some("Opal 2.30"),
            _ => None,
        }
    }

    /// The data that is there.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Declared data bytes that are not there.
    #[must_use]
    pub fn missing(&self) -> usize {
        usize::from(self.length).saturating_sub(self.data.len())
    }

    /// What it means. Bytes that are not there read as 0.
    #[must_use]
    pub fn feature(&self) -> Feature {
        Feature::parse(self.code, self.version(), &self.data)
    }

    /// Names and values of the fields, for printing. Bytes that no field names come last, as
    /// `data`, where they are not zero.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, FieldValue)> {
        let feature = self.feature();
        let mut fields = match &feature {
            Feature::DataRemoval(removal) if self.missing() == 0 => list_removal(removal),
            feature => feature.list(self.version(), &self.data, self.missing() > 0),
        };
        let mut known = vec![0; self.data.len()];
        feature.store(self.version(), &mut known);
        if known != self.data {
            fields.push(("data", FieldValue::Bytes(self.data.clone())));
        }
        fields
    }

    /// Changes what it means and keeps every bit that no known field covers. Does nothing if
    /// `feature` has another code.
    pub fn set_feature(&mut self, feature: &Feature) {
        if feature.shape().0 == self.code {
            feature.store(self.version(), &mut self.data);
        }
    }
}

/// Ports that fit in a descriptor whose length is a multiple of 4.
const PORTS_MAX: usize = 31;

fn ports(data: &[u8]) -> Vec<Port> {
    data.chunks_exact(8)
        .filter_map(|chunk| match chunk {
            [a, b, c, d, state, ..] => {
                Some(Port { id: u32::from_be_bytes([*a, *b, *c, *d]), state: *state })
            }
            _ => None,
        })
        .collect()
}

fn store_ports(ports: &[Port], data: &mut [u8]) {
    for (port, chunk) in ports.iter().zip(data.chunks_exact_mut(8)) {
        if let [a, b, c, d, state, ..] = chunk {
            [*a, *b, *c, *d] = port.id.to_be_bytes();
            *state = port.state;
        }
    }
}

fn list_ports(ports: &[Port]) -> Vec<(&'static str, FieldValue)> {
    let text = |port: &Port| match port.state {
        0 => format!("{:08X} unlocked", port.id),
        1 => format!("{:08X} locked", port.id),
        state => format!("{:08X} state {state}", port.id),
    };
    ports.iter().map(|port| ("port", FieldValue::Text(text(port)))).collect()
}

fn list_removal(removal: &DataRemoval) -> Vec<(&'static str, FieldValue)> {
    let mut fields = vec![
        ("processing", FieldValue::Flag(removal.processing)),
        ("interrupted", FieldValue::Flag(removal.interrupted)),
    ];
    for mechanism in Mechanism::ALL.into_iter().filter(|m| removal.supports(*m)) {
        let name = mechanism.name().unwrap_or_default();
        let text = match removal.time(mechanism) {
            RemovalTime::NotReported => format!("{name}, time not reported"),
            RemovalTime::Seconds(seconds) => format!("{name}, {seconds} s"),
            RemovalTime::AtLeast(seconds) => format!("{name}, {seconds} s or more"),
        };
        fields.push(("mechanism", FieldValue::Text(text)));
    }
    fields
}
