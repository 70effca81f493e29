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
//!
//! ```
//! use opal::tper::{MemoryPlatform, Profile, Tper};
//!
//! let platform = MemoryPlatform::new(1, b"PSID0123456789ABCDEFGHIJKLMNOPQR");
//! let mut tper = Tper::manufacture(Profile::opal2(), platform)?;
//! # let request = [0; 512];
//! let mut pending = tper.if_send(0x01, 0x1000, &request)?;
//! if pending.changed() {
//!     let state = pending.state();
//!     // Write `state` and what the platform staged, flush, …
//! }
//! let effects = pending.effects().to_vec();
//! pending.platform().apply(&effects);
//! pending.commit();
//! let answer = tper.if_recv(0x01, 0x1000, 2048)?;
//! # assert_eq!(answer.len(), 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod data_path;
pub mod memory;
pub mod platform;
pub mod profile;
pub mod quirk;

mod access;
mod authenticate;
mod cell;
mod com_id;
mod discovery;
mod dispatch;
mod distort;
mod effects;
mod machine;
mod methods;
mod pending;
mod persist;
mod preset;
mod properties;
mod removal;
mod reset;
mod schema;
mod sessions;
mod tables;

pub use data_path::{Extent, Range, ReadVerdict, Source, WriteVerdict};
pub use memory::MemoryPlatform;
pub use pending::Pending;
pub use platform::{
    Effect, Grants, Platform, RangeGrant, SessionId, TableGrant, Vault, VaultError,
};
pub use profile::{Profile, Ssc};
pub use quirk::{Quirk, Quirks};

use alloc::vec::Vec;
use core::time::Duration;

use crate::spec::protocol;
use crate::wire::packet::Envelope;
use crate::{Uid, spec};
use machine::{Inner, Machine};
use tables::{LockingConfig, Provider};

/// A drive's security subsystem.
pub struct Tper<P: Platform> {
    profile: Profile,
    platform: P,
    /// The Admin SP at the factory.
    admin_base: Provider,
    inner: Inner,
    counters: Counters,
}

impl<P: Platform> Tper<P> {
    /// A TPer in original factory state on a platform that holds nothing yet, except the PSID's
    /// PIN, which only the platform knows. Sets the factory PINs and makes the media keys; the
    /// owner persists [`Tper::state`] and the platform before the drive is used.
    ///
    /// # Errors
    /// The profile contradicts itself, or the platform failed.
    pub fn manufacture(profile: Profile, mut platform: P) -> Result<Self, StateError> {
        profile.check().map_err(StateError::Profile)?;
        let tables = persist::factory(&profile, LockingConfig::default());
        let inner = Inner::new(&profile, tables);
        platform.begin();
        match Self::factory_keys(&profile, &mut platform, &inner) {
            Ok(()) => platform.commit(),
            Err(error) => {
                platform.rollback();
                return Err(error.into());
            }
        }
        let admin_base = inner.tables.admin.clone();
        Ok(Self { profile, platform, admin_base, inner, counters: Counters::default() })
    }

    fn factory_keys(profile: &Profile, platform: &mut P, inner: &Inner) -> Result<(), VaultError> {
        platform.reset_pin(spec::authority::SID, &profile.msid)?;
        for sp in [&inner.tables.admin, &inner.tables.locking] {
            for authority in access::password_authorities(sp) {
                let kept = [spec::authority::SID, spec::authority::PSID];
                if !kept.contains(&authority) {
                    platform.reset_pin(authority, profile.factory_pin())?;
                }
            }
        }
        for range in 0..=profile.ranges {
            platform.new_key(range)?;
        }
        platform.reseal(None, &effects::grants(&inner.tables))
    }

    /// A TPer at power-on from what [`Tper::state`] or [`Pending::state`] gave. The power cycle has
    /// happened when this returns: locks set, sessions and volatile tries gone, the media keys of
    /// open ranges in memory. Restoring the same state again gives the same TPer, so it need not
    /// be persisted at once.
    ///
    /// # Errors
    /// The state is damaged, of a newer version or of another profile, or the platform failed.
    pub fn restore(profile: Profile, mut platform: P, state: &[u8]) -> Result<Self, StateError> {
        profile.check().map_err(StateError::Profile)?;
        let mut inner = persist::read(&profile, state)?;
        platform.begin();
        let mut machine = Machine::new(&profile, &mut platform, &mut inner);
        machine.reset(Reset::PowerCycle);
        if let Err(error) = machine.load_open_keys() {
            platform.rollback();
            return Err(error.into());
        }
        platform.commit();
        let admin_base = preset::admin_sp(&profile);
        Ok(Self { profile, platform, admin_base, inner, counters: Counters::default() })
    }

    /// Everything that survives a power cycle, in our own versioned encoding: no PIN, no key, no
    /// byte table. What an open transaction changed is not in it.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        persist::write(&self.profile, &self.admin_base, &self.inner)
    }

    /// IF-SEND: protocol 1 (ComPackets) and protocol 2 (ComID management, TPER_RESET, Block SID).
    /// `data` may be padded; it is read to its declared length.
    ///
    /// # Errors
    /// The interface command itself fails; nothing has changed.
    pub fn if_send(
        &mut self,
        security_protocol: u8,
        specific: u16,
        data: &[u8],
    ) -> Result<Pending<'_, P>, IfError> {
        self.counters.if_send += 1;
        if data.len() > self.profile.limits.max_com_packet as usize {
            return Err(IfError::InvalidTransferLength);
        }
        self.inner.retire_com_ids(&self.profile);
        match (security_protocol, specific) {
            // Discarded (Core 2.01 §3.3.6).
            (protocol::TCG, protocol::DISCOVERY) => self.command(None, |_| Ok(())),
            (protocol::TCG, com_id) => {
                let channel = self.channel(com_id)?;
                let answers = self.inner.channels.get(channel).is_some_and(|c| c.answer.is_some());
                let busy = self.inner.removal.as_ref().is_some_and(|r| r.channel == channel);
                if answers || busy {
                    return Err(IfError::ProtocolViolation);
                }
                let refusal = dispatch::malfunction(com_id, data).map(|answer| (channel, answer));
                self.command(refusal, |machine| {
                    machine.com_packet(channel, com_id, data);
                    Ok(())
                })
            }
            (protocol::TCG_MANAGEMENT, protocol::TPER_RESET)
                if self.profile.ssc.has_programmatic_reset() =>
            {
                if data.is_empty() {
                    return Err(IfError::InvalidTransferLength);
                }
                self.command(None, |machine| machine.tper_reset())
            }
            (protocol::TCG_MANAGEMENT, protocol::BLOCK_SID) if self.profile.features.block_sid => {
                self.command(None, |machine| machine.block_sid(data))
            }
            (protocol::TCG_MANAGEMENT, com_id) => {
                let channel = self.channel(com_id)?;
                self.command(None, |machine| {
                    machine.com_id_request(channel, com_id, data);
                    Ok(())
                })
            }
            _ => Err(IfError::InvalidCommandParameter),
        }
    }

    /// IF-RECV with a transfer length of `max` bytes: protocols 0, 1 and 2. Returns at most `max`
    /// bytes; the rest of the transfer is zeros.
    ///
    /// # Errors
    /// The interface command itself fails.
    pub fn if_recv(
        &mut self,
        security_protocol: u8,
        specific: u16,
        max: usize,
    ) -> Result<Vec<u8>, IfError> {
        self.counters.if_recv += 1;
        let mut answer = match (security_protocol, specific) {
            (protocol::INFORMATION, 0) => discovery::protocols(),
            // Certificate data: none.
            (protocol::INFORMATION, 1) => Vec::from([0; 4]),
            (protocol::TCG, protocol::DISCOVERY) => self.discovery(),
            (protocol::TCG, com_id) => self.receive(com_id, max)?,
            (protocol::TCG_MANAGEMENT, protocol::GET_COM_ID) => {
                self.inner.retire_com_ids(&self.profile);
                self.inner.issue_com_id(&self.profile)
            }
            (protocol::TCG_MANAGEMENT, com_id) => {
                let channel = self.channel(com_id)?;
                match self.inner.channels.get_mut(channel) {
                    Some(channel) if channel.management_polls > 0 => {
                        channel.management_polls -= 1;
                        com_id::pending_reset(com_id, channel.extension)
                    }
                    channel => {
                        let answer = channel.and_then(|c| c.management.clone());
                        answer.unwrap_or_else(com_id::no_response)
                    }
                }
            }
            _ => return Err(IfError::InvalidCommandParameter),
        };
        answer.truncate(max);
        Ok(answer)
    }

    /// The synchronous protocol's answer (Core 2.01 §3.3.10.2): a ComPacket, or a header that says
    /// that there is none or how large it is.
    fn receive(&mut self, com_id: u16, max: usize) -> Result<Vec<u8>, IfError> {
        let channel = self.channel(com_id)?;
        self.inner.retire_com_ids(&self.profile);
        let removing = self.inner.removal.as_ref().is_some_and(|r| r.channel == channel);
        let Some(channel) = self.inner.channels.get_mut(channel) else {
            return Err(IfError::InvalidCommandParameter);
        };
        let extension = if channel.is_active() { channel.extension } else { INACTIVE_EXTENSION };
        let header = Envelope { com_id, extension, ..Envelope::default() };
        let waiting = channel.polls > 0 && channel.answer.is_some();
        if removing || channel.dead || waiting {
            channel.polls = channel.polls.saturating_sub(1);
            return Ok(Envelope { outstanding_data: 1, ..header }.empty());
        }
        let Some(answer) = channel.answer.take() else { return Ok(header.empty()) };
        if answer.len() > max {
            let size = answer.len() as u32;
            channel.answer = Some(answer);
            return Ok(Envelope { outstanding_data: size, min_transfer: size, ..header }.empty());
        }
        Ok(answer.to_vec())
    }

    fn channel(&self, com_id: u16) -> Result<usize, IfError> {
        com_id
            .checked_sub(self.profile.base_com_id)
            .map(usize::from)
            .filter(|index| *index < self.inner.channels.len())
            .ok_or(IfError::InvalidCommandParameter)
    }

    /// Runs one command on a copy of what the TPer remembers, staged on the platform.
    fn command(
        &mut self,
        refusal: Option<(usize, zeroize::Zeroizing<Vec<u8>>)>,
        work: impl FnOnce(&mut Machine<'_, P>) -> Result<(), IfError>,
    ) -> Result<Pending<'_, P>, IfError> {
        let before = self.inner.clone();
        self.platform.begin();
        let mut machine = Machine::new(&self.profile, &mut self.platform, &mut self.inner);
        let result = work(&mut machine);
        let Machine { effects, vault_changed, fatal, verified, opened, .. } = machine;
        if let Err(error) = result {
            self.inner = before;
            self.platform.rollback();
            return Err(error);
        }
        let mut pending = Pending {
            tper: self,
            before: Some(before),
            effects,
            vault_changed,
            refusal,
            verified,
            opened,
        };
        if fatal {
            pending.undo();
        }
        Ok(pending)
    }

    /// A reset that the interface saw. (TPER_RESET comes by IF-SEND.)
    pub fn reset(&mut self, kind: Reset) -> Pending<'_, P> {
        self.silent_command(|machine| machine.reset(kind))
    }

    /// Lets `elapsed` pass: sessions idle for longer than their time-out are aborted, dynamic ComIDs
    /// nobody used are taken back, and data removal gets on, to its end and its answer if its time
    /// is over. Call it now and then, also without sessions open.
    pub fn session_timeouts(&mut self, elapsed: Duration) -> Pending<'_, P> {
        self.silent_command(|machine| machine.time_passes(elapsed))
    }

    /// A command that cannot fail at the interface and gets no answer.
    fn silent_command(&mut self, work: impl FnOnce(&mut Machine<'_, P>)) -> Pending<'_, P> {
        let before = self.inner.clone();
        self.platform.begin();
        let mut machine = Machine::new(&self.profile, &mut self.platform, &mut self.inner);
        work(&mut machine);
        let Machine { effects, vault_changed, verified, opened, .. } = machine;
        Pending {
            tper: self,
            before: Some(before),
            effects,
            vault_changed,
            refusal: None,
            verified,
            opened,
        }
    }

    /// Decides a read command of `blocks` blocks from `lba`.
    #[must_use]
    pub fn check_read(&self, lba: u64, blocks: u64) -> ReadVerdict {
        if self.inner.reads_fail {
            return ReadVerdict::Denied;
        }
        data_path::check_read(&self.inner.tables, &self.profile, lba, blocks)
    }

    /// Decides a write command, or anything else that changes media (trim, write zeroes …).
    #[must_use]
    pub fn check_write(&self, lba: u64, blocks: u64) -> WriteVerdict {
        data_path::check_write(&self.inner.tables, &self.profile, lba, blocks)
    }

    /// The ranges: Global Range first, then by number, unused ones included.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range> {
        data_path::ranges(&self.inner.tables)
    }

    /// Whether reads see the shadow MBR now.
    #[must_use]
    pub fn is_shadowing(&self) -> bool {
        data_path::is_shadowing(&self.inner.tables)
    }

    /// Whether the Locking SP is activated.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.inner.tables.is_active()
    }

    /// Sessions open now.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.inner.sessions.len()
    }

    /// The byte tables there are now and their sizes: MBR and DataStore tables.
    #[must_use]
    pub fn byte_tables(&self) -> Vec<(Uid, u64)> {
        self.inner.tables.locking.byte_tables().collect()
    }

    /// Level 0 Discovery as IF-RECV would give it, unbounded.
    #[must_use]
    pub fn discovery(&self) -> Vec<u8> {
        discovery::level_0(&self.profile, &self.inner)
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

    /// Takes the platform back; the TPer is gone.
    #[must_use]
    pub fn into_platform(self) -> P {
        self.platform
    }
}

/// ComID Extension that says: this ComID is inactive (Core 2.01 §3.3.4.7).
const INACTIVE_EXTENSION: u16 = 0xFFFF;

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
