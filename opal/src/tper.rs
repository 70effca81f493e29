// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drive side: a TPer as a machine without I/O, clock or random source of its own.
//!
//! A [`Tper`] takes IF-SEND and IF-RECV, keeps the tables of the Admin SP and the Locking SP, and
//! decides what read and write commands may do. What surrounds it (PINs, keys, byte tables,
//! storage) is its [`Platform`].
//!
//! **Nothing changes unless it is persisted first.** Whatever may change state returns a
//! [`Pending`]. Its owner
//! 1. if [`Pending::changed`]: makes [`Pending::state`], and whatever the platform staged
//!    ([`Pending::platform`]), durable in one atomic step;
//! 2. applies [`Pending::effects`];
//! 3. calls [`Pending::commit`]; only then can the host fetch the answer.
//!
//! A `Pending` that is dropped undoes everything, on both sides of the [`Platform`], and the host
//! hears a failure. A wrong PIN counts in `Tries`, so it changes state too: the owner persists that
//! before the host can know.
//!
//! One TPer serves one caller at a time; put it behind a lock to share it.

pub mod data_path;
pub mod memory;
pub mod platform;
pub mod profile;

mod pending;

pub use data_path::{Extent, Range, ReadVerdict, Source, WriteVerdict};
pub use memory::MemoryPlatform;
pub use pending::Pending;
pub use platform::{
    Effect, Grants, Platform, RangeGrant, SessionId, TableGrant, Vault, VaultError,
};
pub use profile::{Profile, Ssc};

use alloc::vec::Vec;
use core::time::Duration;

use crate::Uid;

/// A drive's security subsystem.
pub struct Tper<P: Platform> {
    profile: Profile,
    platform: P,
    counters: Counters,
}

impl<P: Platform> Tper<P> {
    /// A TPer in original factory state on a platform that holds nothing yet, except the PSID's
    /// PIN, which only the platform knows. Sets the factory PINs and makes the media keys; the
    /// owner persists [`Tper::state`] and the platform before the drive is used.
    ///
    /// # Errors
    /// The profile contradicts itself, or the platform failed.
    pub fn manufacture(profile: Profile, platform: P) -> Result<Self, StateError> {
        profile.check().map_err(StateError::Profile)?;
        Ok(Self { profile, platform, counters: Counters::default() })
    }

    /// A TPer at power-on from what [`Tper::state`] or [`Pending::state`] gave. The power cycle has
    /// happened when this returns: locks set, sessions and volatile tries gone, the media keys of
    /// open ranges in memory. Restoring the same state again gives the same TPer, so it need not
    /// be persisted at once.
    ///
    /// # Errors
    /// The state is damaged, of a newer version or of another profile, or the platform failed.
    pub fn restore(profile: Profile, platform: P, _state: &[u8]) -> Result<Self, StateError> {
        Self::manufacture(profile, platform)
    }

    /// Everything that survives a power cycle, in our own versioned encoding: no PIN, no key, no
    /// byte table. What an open transaction changed is not in it.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// IF-SEND: protocol 1 (ComPackets) and protocol 2 (ComID management, TPER_RESET, Block SID).
    /// `data` may be padded; it is read to its declared length.
    ///
    /// # Errors
    /// The interface command itself fails; nothing has changed.
    pub fn if_send(
        &mut self,
        _protocol: u8,
        _specific: u16,
        _data: &[u8],
    ) -> Result<Pending<'_, P>, IfError> {
        self.counters.if_send += 1;
        Err(IfError::InvalidCommandParameter)
    }

    /// IF-RECV with a transfer length of `max` bytes: protocols 0, 1 and 2. Returns at most `max`
    /// bytes; the rest of the transfer is zeros.
    ///
    /// # Errors
    /// The interface command itself fails.
    pub fn if_recv(
        &mut self,
        _protocol: u8,
        _specific: u16,
        _max: usize,
    ) -> Result<Vec<u8>, IfError> {
        self.counters.if_recv += 1;
        Err(IfError::InvalidCommandParameter)
    }

    /// A reset that the interface saw. (TPER_RESET comes by IF-SEND.)
    pub fn reset(&mut self, _kind: Reset) -> Pending<'_, P> {
        Pending::new(self)
    }

    /// Lets `elapsed` pass: sessions idle for longer than their time-out are aborted. Call it now
    /// and then, also without sessions open.
    pub fn session_timeouts(&mut self, _elapsed: Duration) -> Pending<'_, P> {
        Pending::new(self)
    }

    /// Decides a read command of `blocks` blocks from `lba`.
    #[must_use]
    pub fn check_read(&self, _lba: u64, _blocks: u64) -> ReadVerdict {
        ReadVerdict::Invalid
    }

    /// Decides a write command, or anything else that changes media (trim, write zeroes …).
    #[must_use]
    pub fn check_write(&self, _lba: u64, _blocks: u64) -> WriteVerdict {
        WriteVerdict::Invalid
    }

    /// The ranges: Global Range first, then by number, unused ones included.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range> {
        Vec::new()
    }

    /// Whether reads see the shadow MBR now.
    #[must_use]
    pub fn is_shadowing(&self) -> bool {
        false
    }

    /// The byte tables there are now and their sizes: MBR and DataStore tables.
    #[must_use]
    pub fn byte_tables(&self) -> Vec<(Uid, u64)> {
        Vec::new()
    }

    /// Level 0 Discovery as IF-RECV would give it, unbounded.
    #[must_use]
    pub fn discovery(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Commands since power-on or [`Tper::reset_counters`].
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Starts counting from zero.
    pub fn reset_counters(&mut self) {
        self.counters = Counters::default();
    }

    /// The constants of this drive.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What surrounds the TPer.
    #[must_use]
    pub const fn platform(&self) -> &P {
        &self.platform
    }

    /// What surrounds the TPer, for the owner's own business (reading shadow MBR and media).
    pub const fn platform_mut(&mut self) -> &mut P {
        &mut self.platform
    }
}

/// Resets an interface reports (Core 2.01 §5.1.3, `reset_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Power was off. Hot plug is one.
    PowerCycle,
    /// NVMe controller or subsystem reset, SATA COMRESET, SAS hard reset: as the interface text
    /// maps it.
    Hardware,
}

/// An interface command that fails, with nothing changed. Each interface has its own codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IfError {
    /// Other Invalid Command Parameter: unknown protocol or ComID, TPER_RESET while it is disabled.
    #[error("other invalid command parameter")]
    InvalidCommandParameter,
    /// Synchronous Protocol Violation: an IF-SEND while an answer waits.
    #[error("synchronous protocol violation")]
    ProtocolViolation,
    /// Invalid Transfer Length: longer than MaxComPacketSize, or shorter than the ComPacket in it.
    #[error("invalid transfer length")]
    InvalidTransferLength,
}

/// Why there is no TPer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The profile's fields do not go together.
    #[error("unusable profile: {0}")]
    Profile(&'static str),
    /// The bytes are no TPer state, or damaged.
    #[error("damaged TPer state at byte {offset}: {what}")]
    Damaged {
        /// Where.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A newer program wrote it.
    #[error("TPer state of format {found}; this program reads formats up to {known}")]
    Version {
        /// Format number found.
        found: u16,
        /// Newest format known here.
        known: u16,
    },
    /// The state belongs to a drive with another profile.
    #[error("the state is of another kind of drive: {0}")]
    OtherProfile(&'static str),
    /// The platform failed.
    #[error(transparent)]
    Platform(#[from] VaultError),
}

/// Commands seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// IF-SEND of protocols 1 and 2, failed ones included.
    pub if_send: u64,
    /// IF-RECV of protocols 0 to 2, failed ones included.
    pub if_recv: u64,
    /// Sessions opened.
    pub sessions: u64,
}
