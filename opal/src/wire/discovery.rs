// SPDX-License-Identifier: MIT OR Apache-2.0
//! Level 0 Discovery: what a drive says about itself without a session (Core 2.01 §3.3.6).
//!
//! [`Discovery::parse`] keeps every byte: unknown features, reserved bits, odd lengths, and what a
//! short buffer cut off stays visible, so that [`Discovery::to_bytes`] gives back exactly what
//! came in. A drive builds its answer with [`Discovery::new`] and [`Discovery::push`].

mod descriptor;
mod feature;
mod field;

pub use descriptor::{
    BlockSid, ComIds, DataRemoval, DataStore, Geometry, KeyPerIo, Locking, Mechanism,
    NamespaceLocking, NamespaceMbr, Opal2, PinIndicator, Port, RemovalTime, Siis, SingleUserMode,
    SmallSsc, Ssc1, Tper,
};
pub use feature::{Descriptor, Feature, FeatureCode};
pub use field::FieldValue;

use alloc::vec::Vec;

/// Bytes of the header.
pub const HEADER: usize = 48;

/// SSCs in the order a host prefers them, where a drive offers several.
pub const PREFERENCE: [FeatureCode; 7] = [
    FeatureCode::OPAL_2,
    FeatureCode::RUBY,
    FeatureCode::OPAL_1,
    FeatureCode::OPALITE,
    FeatureCode::PYRITE_2,
    FeatureCode::PYRITE_1,
    FeatureCode::ENTERPRISE,
];

/// Bytes that are no discovery answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The header is cut short.
    #[error("a discovery answer begins with {HEADER} header bytes, {present} are there")]
    Truncated {
        /// Bytes there.
        present: usize,
    },
}

/// What the length field counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthForm {
    /// Everything behind itself, as specified.
    Standard,
    /// The descriptors only, without the rest of the header (quirk A2).
    DescriptorsOnly,
}

/// A discovery answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The length field.
    pub length: u32,
    /// What it counts.
    pub length_form: LengthForm,
    /// Major version of the header; 0 in all texts.
    pub major: u16,
    /// Minor version of the header; 1 or more.
    pub minor: u16,
    /// Reserved bytes 8 to 15.
    pub reserved: [u8; 8],
    /// Vendor bytes 16 to 47; not to be interpreted (quirk A4).
    pub vendor: [u8; 32],
    descriptors: Vec<Descriptor>,
    /// What follows the last descriptor within the declared length: filler, or a cut header.
    tail: Vec<u8>,
}

impl Discovery {
    /// An answer without features.
    #[must_use]
    pub fn new(vendor: [u8; 32]) -> Self {
        Self {
            length: (HEADER - 4) as u32,
            length_form: LengthForm::Standard,
            major: 0,
            minor: 1,
            reserved: [0; 8],
            vendor,
            descriptors: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Appends a descriptor and counts it in the length. A device sends them by ascending code.
    pub fn push(&mut self, descriptor: Descriptor) {
        self.length = self.length.saturating_add(descriptor.size() as u32);
        self.descriptors.push(descriptor);
    }

    /// Reads an answer; what lies behind its declared end is padding of the transfer. An answer
    /// that is cut short behind the header is read as far as it goes: see
    /// [`Self::missing_bytes`].
    ///
    /// # Errors
    /// Fewer bytes than a header.
    pub fn parse(data: &[u8]) -> Result<Self, DiscoveryError> {
        let truncated = DiscoveryError::Truncated { present: data.len() };
        let (header, rest) = data.split_first_chunk::<HEADER>().ok_or(truncated)?;
        let (length, header) = header.split_first_chunk::<4>().ok_or(truncated)?;
        let (&[major_high, major_low, minor_high, minor_low], header) =
            header.split_first_chunk::<4>().ok_or(truncated)?;
        let (reserved, vendor) = header.split_first_chunk::<8>().ok_or(truncated)?;

        let length = u32::from_be_bytes(*length);
        let length_form = length_form(length, rest);
        let declared = descriptor_bytes(length, length_form);
        let body = rest.get(..declared).unwrap_or(rest);
        let (descriptors, tail) = split(body);
        Ok(Self {
            length,
            length_form,
            major: u16::from_be_bytes([major_high, major_low]),
            minor: u16::from_be_bytes([minor_high, minor_low]),
            reserved: *reserved,
            vendor: vendor.try_into().map_err(|_| truncated)?,
            descriptors,
            tail: tail.to_vec(),
        })
    }

    /// The answer's bytes: those that were parsed, or those to send.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.present_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.major.to_be_bytes());
        out.extend_from_slice(&self.minor.to_be_bytes());
        out.extend_from_slice(&self.reserved);
        out.extend_from_slice(&self.vendor);
        for descriptor in &self.descriptors {
            descriptor.encode(&mut out);
        }
        out.extend_from_slice(&self.tail);
        out
    }

    /// Bytes of the whole answer, header included, as declared.
    #[must_use]
    pub fn declared_bytes(&self) -> usize {
        HEADER.saturating_add(descriptor_bytes(self.length, self.length_form))
    }

    /// Bytes of the answer that are there.
    #[must_use]
    pub fn present_bytes(&self) -> usize {
        HEADER + self.descriptors.iter().map(Descriptor::size).sum::<usize>() + self.tail.len()
    }

    /// Declared bytes that are not there.
    #[must_use]
    pub fn missing_bytes(&self) -> usize {
        self.declared_bytes().saturating_sub(self.present_bytes())
    }

    /// What follows the last descriptor within the declared length.
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// All descriptors, in the drive's order.
    #[must_use]
    pub fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    /// The first descriptor with `code`.
    #[must_use]
    pub fn descriptor(&self, code: FeatureCode) -> Option<&Descriptor> {
        self.descriptors.iter().find(|d| d.code == code)
    }

    /// Whether there is a descriptor with `code`.
    #[must_use]
    pub fn has(&self, code: FeatureCode) -> bool {
        self.descriptor(code).is_some()
    }

    /// The SSC to use and its ComIDs: the first of [`PREFERENCE`] whose ComIDs are all there.
    #[must_use]
    pub fn ssc(&self) -> Option<(FeatureCode, ComIds)> {
        PREFERENCE.iter().find_map(|code| {
            let descriptor = self.descriptor(*code)?;
            let com_ids = descriptor.feature().com_ids()?;
            (descriptor.data().len() >= 4).then_some((*code, com_ids))
        })
    }

    /// The ComID to use.
    #[must_use]
    pub fn base_com_id(&self) -> Option<u16> {
        self.ssc().map(|(_, com_ids)| com_ids.base)
    }

    /// Every SSC the drive offers, in its order.
    pub fn sscs(&self) -> impl Iterator<Item = FeatureCode> + '_ {
        self.descriptors
            .iter()
            .map(|d| d.code)
            .filter(|code| PREFERENCE.contains(code) || *code == FeatureCode::KEY_PER_IO)
    }

    /// Whether the drive says that it encrypts what is on the medium. Pyrite does not promise it.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.locking().is_some_and(|locking| locking.media_encryption)
    }

    /// Whether the drive has a shadow MBR as far as discovery tells: Enterprise has none, others
    /// may say so. Some drives have none and do not say so (quirk A17).
    #[must_use]
    pub fn shadow_mbr(&self) -> bool {
        let enterprise = self.ssc().is_some_and(|(code, _)| code == FeatureCode::ENTERPRISE);
        !enterprise && self.locking().is_some_and(|l| l.supported && !l.mbr_shadowing_not_supported)
    }
}

macro_rules! views {
    ($($(#[$doc:meta])* $name:ident: $code:ident, $variant:ident($layout:ty);)*) => {
        /// Typed views of single features.
        impl Discovery {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> Option<$layout> {
                match self.descriptor(FeatureCode::$code)?.feature() {
                    Feature::$variant(layout) => Some(layout),
                    _ => None,
                }
            })*
        }
    };
}

views! {
    /// TPer.
    tper: TPER, Tper(Tper);
    /// Locking.
    locking: LOCKING, Locking(Locking);
    /// Geometry; optional on some drives (quirk A12).
    geometry: GEOMETRY, Geometry(Geometry);
    /// Single User Mode.
    single_user_mode: SINGLE_USER_MODE, SingleUserMode(SingleUserMode);
    /// Additional DataStore Tables.
    data_store: DATA_STORE, DataStore(DataStore);
    /// Opal 2.
    opal2: OPAL_2, Opal2(Opal2);
    /// Ruby.
    ruby: RUBY, Ruby(Opal2);
    /// Opal 1.
    opal1: OPAL_1, Opal1(Ssc1);
    /// Enterprise.
    enterprise: ENTERPRISE, Enterprise(Ssc1);
    /// Opalite.
    opalite: OPALITE, Opalite(SmallSsc);
    /// Pyrite 1.
    pyrite1: PYRITE_1, Pyrite1(SmallSsc);
    /// Pyrite 2.
    pyrite2: PYRITE_2, Pyrite2(SmallSsc);
    /// Block SID Authentication.
    block_sid: BLOCK_SID, BlockSid(BlockSid);
    /// Configurable Namespace Locking.
    namespace_locking: NAMESPACE_LOCKING, NamespaceLocking(NamespaceLocking);
    /// Supported Data Removal Mechanism.
    data_removal: DATA_REMOVAL, DataRemoval(DataRemoval);
}

/// Bytes of descriptors that `length` declares.
fn descriptor_bytes(length: u32, form: LengthForm) -> usize {
    let length = length as usize;
    match form {
        LengthForm::Standard => length.saturating_sub(HEADER - 4),
        LengthForm::DescriptorsOnly => length,
    }
}

/// Quirk A2: some drives count the descriptors only. Such a length is smaller than a header, or
/// descriptors fill it exactly where they do not fill the length as specified.
fn length_form(length: u32, rest: &[u8]) -> LengthForm {
    let fills = |form| {
        let body = rest.get(..descriptor_bytes(length, form))?;
        let (descriptors, tail) = split(body);
        let whole = descriptors.iter().all(|d| d.missing() == 0);
        Some(whole && tail.iter().all(|b| *b == 0) && !descriptors.is_empty())
    };
    let short = length > 0 && (length as usize) < HEADER - 4;
    let standard = fills(LengthForm::Standard);
    if short
        || (standard == Some(false)
            && fills(LengthForm::DescriptorsOnly) == Some(true)
            && split_ends_clean(rest, length))
    {
        LengthForm::DescriptorsOnly
    } else {
        LengthForm::Standard
    }
}

/// Whether descriptors alone, with no filler behind them, take exactly `length` bytes.
fn split_ends_clean(rest: &[u8], length: u32) -> bool {
    rest.get(..length as usize).is_some_and(|body| split(body).1.is_empty())
}

/// Splits descriptors off `body`; what is left is filler of zeros or a cut header.
fn split(body: &[u8]) -> (Vec<Descriptor>, &[u8]) {
    let mut descriptors = Vec::new();
    let mut rest = body;
    let filler = body.iter().rev().take_while(|b| **b == 0).count();
    while rest.len() > filler {
        let Some(descriptor) = Descriptor::parse(rest) else { break };
        rest = rest.get(descriptor.size()..).unwrap_or_default();
        descriptors.push(descriptor);
    }
    (descriptors, rest)
}
