// SPDX-License-Identifier: MIT OR Apache-2.0
//! Security Protocol 2: ComID management, TPER_RESET, Block SID (Core 2.01 §3.3.4.3; Opal 2.30
//! §3.2.3; Block SID feature set).

use alloc::vec::Vec;
use core::time::Duration;

use super::IfError;
use super::machine::{Block, Channel, ComIdState, Inner, Machine};
use super::platform::Platform;
use super::profile::Profile;
use super::quirk::Quirk;
use super::tables::Sp;
use crate::spec::protocol::com_id_request::{STACK_RESET, VERIFY};
use crate::spec::{column, locking, sp, table};

/// ComID states in the answer to VERIFY_COMID_VALID.
const INVALID: u32 = 0;
const INACTIVE: u32 = 1;
const ISSUED: u32 = 2;
const ASSOCIATED: u32 = 3;

impl<P: Platform> Machine<'_, P> {
    /// HANDLE_COMID_REQUEST on the ComID of `channel`. Requests we do not know, or for another
    /// ComID, get "no response available".
    pub(super) fn com_id_request(&mut self, channel: usize, com_id: u16, data: &[u8]) {
        let Some(now) = self.inner.channels.get(channel).filter(|c| !c.dead) else { return };
        let mut answer = Vec::with_capacity(64);
        answer.extend_from_slice(&com_id.to_be_bytes());
        let (asked, request) = match data {
            [a, b, x, y, c, d, e, f, ..] if [*a, *b] == com_id.to_be_bytes() => {
                (u16::from_be_bytes([*x, *y]), u32::from_be_bytes([*c, *d, *e, *f]))
            }
            _ => (0, 0),
        };
        answer.extend_from_slice(&asked.to_be_bytes());
        let state = match now.state {
            _ if asked != now.extension => INVALID,
            ComIdState::Inactive => INACTIVE,
            _ if self.inner.sessions.iter().any(|s| s.channel == channel) => ASSOCIATED,
            _ => ISSUED,
        };
        let mut polls = 0;
        match request {
            VERIFY => {
                answer.extend_from_slice(&VERIFY.to_be_bytes());
                answer.extend_from_slice(&[0, 0, 0, 0x22]);
                answer.extend_from_slice(&state.to_be_bytes());
                // Three times of day; a drive without a clock gives zeros.
                answer.extend_from_slice(&[0; 30]);
            }
            STACK_RESET if [ISSUED, ASSOCIATED].contains(&state) => {
                self.stack_reset(channel);
                if self.quirk(Quirk::StackResetHangs) {
                    if let Some(channel) = self.inner.channels.get_mut(channel) {
                        channel.dead = true;
                    }
                    return;
                }
                if self.quirk(Quirk::StackResetPending) {
                    polls = self.profile.quirks.polls;
                }
                answer.extend_from_slice(&STACK_RESET.to_be_bytes());
                answer.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0]);
            }
            _ => answer.extend_from_slice(&[0; 8]),
        }
        if let Some(channel) = self.inner.channels.get_mut(channel) {
            channel.management = Some(answer);
            channel.management_polls = polls;
        }
    }

    /// Ends everything on one ComID.
    fn stack_reset(&mut self, channel: usize) {
        self.interrupt_removal(Some(channel));
        let before = self.inner.sessions.len();
        self.inner.sessions.retain(|s| s.channel != channel);
        self.inner.abandoned |= self.inner.sessions.len() != before;
        let index = channel;
        if let Some(channel) = self.inner.channels.get_mut(index) {
            let Channel { extension, age, .. } = *channel;
            *channel = Channel { extension, age, ..Channel::new(self.profile, index) };
            channel.state = ComIdState::Issued;
        }
    }

    /// Takes back dynamic ComIDs whose sessions are all gone, and those nobody used in time.
    pub(super) fn retire_com_ids(&mut self) {
        self.inner.retire_com_ids(self.profile);
    }

    /// TPER_RESET, if ProgrammaticResetEnable allows it.
    pub(super) fn tper_reset(&mut self) -> Result<(), IfError> {
        let enabled = self
            .inner
            .tables
            .admin
            .flag(table::row::TPER_INFO_ROW, column::tper_info::PROGRAMMATIC_RESET_ENABLE);
        if !enabled {
            return Err(IfError::InvalidCommandParameter);
        }
        self.reset_all(&[locking::reset::PROGRAMMATIC]);
        Ok(())
    }

    /// Block SID Authentication, with the freeze lock.
    pub(super) fn block_sid(&mut self, data: &[u8]) -> Result<(), IfError> {
        let block = self.inner.block;
        let [reset, freeze, ..] = data else { return Err(IfError::InvalidTransferLength) };
        if block.blocked || block.frozen {
            return Err(IfError::InvalidCommandParameter);
        }
        // Neither does anything that a Manufactured-Inactive SP or an owned SID makes pointless.
        let manufactured = self.inner.tables.life_cycle() == sp::life_cycle::MANUFACTURED;
        let frozen = freeze & 1 != 0 && manufactured;
        let blocked = self.inner.tables.sid_is_msid;
        self.inner.block = Block {
            blocked,
            frozen,
            cleared_by_hardware_reset: reset & 1 != 0 && (blocked || frozen),
        };
        if frozen {
            self.inner.sessions.retain(|s| s.sp != Sp::Locking);
        }
        Ok(())
    }
}

impl Inner {
    /// GET_COMID: the next inactive ComID and its extension; zeros if there is none.
    pub(super) fn issue_com_id(&mut self, profile: &Profile) -> Vec<u8> {
        let first = usize::from(profile.com_ids);
        let count = usize::from(profile.dynamic_com_ids);
        let start = self.next_com_id.saturating_sub(first);
        let free = (0..count)
            .map(|step| first + (start + step) % count)
            .find(|index| self.channels.get(*index).is_some_and(|c| !c.is_active()));
        let Some(index) = free else { return Vec::from([0; 4]) };
        let extension = self.next_extension;
        self.next_com_id = index + 1;
        self.next_extension = if extension >= 0xFFFE { 1 } else { extension + 1 };
        if let Some(channel) = self.channels.get_mut(index) {
            let state = ComIdState::Issued;
            *channel = Channel { extension, state, ..Channel::new(profile, index) };
        }
        let com_id = profile.base_com_id.saturating_add(index as u16);
        [com_id.to_be_bytes(), extension.to_be_bytes()].concat()
    }

    /// Takes back dynamic ComIDs whose sessions are all gone, and those nobody used in time. An
    /// answer that waits can still be fetched.
    pub(super) fn retire_com_ids(&mut self, profile: &Profile) {
        let first = usize::from(profile.com_ids);
        for (index, channel) in self.channels.iter_mut().enumerate().skip(first) {
            let used = self.sessions.iter().any(|s| s.channel == index);
            let over = match channel.state {
                ComIdState::Inactive => false,
                ComIdState::Issued => channel.age >= MAX_COM_ID_TIME,
                ComIdState::Associated => true,
            };
            if over && !used && channel.answer.is_none() {
                *channel = Channel::new(profile, index);
            }
        }
    }
}

/// MaxComIDTime: how long a dynamic ComID waits for its first session.
const MAX_COM_ID_TIME: Duration = Duration::from_secs(60);

/// "Pending" in the place of the answer to STACK_RESET on `com_id`.
pub(super) fn pending_reset(com_id: u16, extension: u16) -> Vec<u8> {
    let com_id = [com_id.to_be_bytes(), extension.to_be_bytes()].concat();
    [&com_id[..], &STACK_RESET.to_be_bytes(), &[0; 4]].concat()
}

/// "No response available" on `com_id`, before any request.
pub(super) fn no_response() -> Vec<u8> {
    Vec::from([0; 12])
}
