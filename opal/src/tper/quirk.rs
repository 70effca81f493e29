// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Quirk`]: what real drives do that the specifications do not lead one to expect, each to be
//! switched on by name.
//!
//! Only behaviour of the TPer is here. What a bus bridge or a transport does is for whoever carries
//! the commands.

macro_rules! quirks {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One deviation. The row of the quirk catalogue it imitates is in parentheses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Quirk {
            $($(#[$doc])* $variant,)*
        }

        impl Quirk {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name people type, in kebab case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

quirks! {
    /// Sub-packets are not padded to four bytes, nor are the lengths above them (B12).
    UnpaddedSubpackets = "unpadded-subpackets",
    /// Integers come in four-byte atoms, however small (B14).
    WideAtoms = "wide-atoms",
    /// Byte strings below 16 bytes come as medium atoms (B15).
    MediumStrings = "medium-strings",
    /// Empty atoms (FF) behind every list's beginning and at the end of the payload (B13).
    FfFiller = "ff-filler",
    /// An empty ComPacket in place of the status INVALID_PARAMETER (B11).
    EmptyComPacketForBadArguments = "empty-compacket-for-bad-arguments",
    /// "Not ready" for the first [`Quirks::polls`] IF-RECVs of every answer (B10).
    SlowAnswers = "slow-answers",
    /// The answer to STACK_RESET is "pending" for the first [`Quirks::polls`] IF-RECVs (B8).
    StackResetPending = "stack-reset-pending",
    /// After STACK_RESET the ComID is dead until the drive is reset (B7).
    StackResetHangs = "stack-reset-hangs",
    /// A packet with more than one method call aborts the session, whatever MaxMethods says (B16).
    MaxMethods = "max-methods",
    /// SP_BUSY beside an open session, and after one that was aborted until the drive is reset (C4).
    SpBusyAfterAbandonedSession = "sp-busy-after-abandoned-session",
    /// Sessions outlive a hardware reset.
    SessionsSurviveReset = "sessions-survive-reset",
    /// Tries survive a power cycle, whatever Persistence says (C12 says the others do not).
    PersistentTryLimit = "persistent-try-limit",
    /// A locked out authority is answered like a wrong PIN, without 0x12 (C11).
    LockoutWithout12 = "lockout-without-0x12",
    /// StartSession with SessionTimeout is INVALID_PARAMETER (C2).
    RefuseSessionTimeout = "refuse-session-timeout",
    /// Authenticate in an open session is always False (B6).
    AuthenticateFails = "authenticate-fails",
    /// No PSID authority (C5).
    NoPsid = "no-psid",
    /// SID is blocked from power-on while its PIN is the MSID (C13).
    BlockSidAtPowerOn = "block-sid-at-power-on",
    /// Locks and shadow MBR ignore every reset but a power cycle (D12).
    LockOnPowerCycleOnly = "lock-on-power-cycle-only",
    /// Geometry's block size is not the one commands use (A16).
    OddGeometry = "odd-geometry",
    /// No Geometry descriptor (A12).
    NoGeometry = "no-geometry",
    /// Discovery lists its features in descending order (A3).
    FeaturesOutOfOrder = "features-out-of-order",
    /// The length of Level 0 Discovery leaves out the whole header (A2).
    ShortDiscoveryLength = "short-discovery-length",
    /// The vendor's part of the discovery header holds text (A4).
    VendorHeader = "vendor-header",
    /// Features nobody has defined: 0406, and C001 (A5).
    UnknownFeatures = "unknown-features",
    /// A second SSC's descriptor with the same ComIDs: Opal 1 beside Opal 2 (A6), Opal 2 beside Ruby
    /// (A7).
    TwoSscs = "two-sscs",
    /// Single User Mode flags: All without Any (A13).
    OddSingleUserFlags = "odd-single-user-flags",
    /// No shadow MBR, but the "not supported" bit is 0; MBRControl is NOT_AUTHORIZED (A17).
    MbrRefusedWithoutBit = "mbr-refused-without-bit",
    /// Turning MBREnable off clears MBRDone (D9).
    MbrDoneClears = "mbr-done-clears",
    /// After a revert that erased, every read fails until power is off (D13).
    ReadsFailAfterRevert = "reads-fail-after-revert",
    /// Byte table writes above [`Quirks::real_packet`] bytes are INVALID_PARAMETER, inside the
    /// announced sizes or not (B19).
    AnnouncedPacketTooLarge = "announced-packet-size-larger-than-real",
    /// Properties in reverse order (B16).
    ReversedProperties = "reversed-properties",
    /// Properties names MaxComPacketSize, MaxPacketSize and MaxIndTokenSize only, and no host's (B16).
    MissingProperties = "missing-properties",
    /// Properties the host did not ask about and cannot know (B16, B17).
    ExtraProperties = "extra-properties",
}

impl Quirk {
    /// The quirk that [`Quirk::name`] calls so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|quirk| quirk.name() == name)
    }

    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// A set of quirks, with the numbers some of them need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quirks {
    on: u64,
    /// IF-RECVs that find [`Quirk::SlowAnswers`] and [`Quirk::StackResetPending`] not ready.
    pub polls: u32,
    /// Bytes [`Quirk::AnnouncedPacketTooLarge`] really takes.
    pub real_packet: u32,
}

impl Quirks {
    /// None of them.
    pub const NONE: Self = Self { on: 0, polls: 3, real_packet: 1024 };

    /// Whether `quirk` is on.
    #[must_use]
    pub const fn has(&self, quirk: Quirk) -> bool {
        self.on & quirk.bit() != 0
    }

    /// Switches `quirk` on.
    pub const fn insert(&mut self, quirk: Quirk) {
        self.on |= quirk.bit();
    }

    /// This set with `quirk` on.
    #[must_use]
    pub const fn with(mut self, quirk: Quirk) -> Self {
        self.insert(quirk);
        self
    }

    /// Those that are on, in the order of [`Quirk::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Quirk> {
        let quirks = *self;
        Quirk::ALL.iter().copied().filter(move |quirk| quirks.has(*quirk))
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self::NONE
    }
}

const _: () = assert!(Quirk::ALL.len() <= 64);
