// SPDX-License-Identifier: MIT OR Apache-2.0
//! Security Protocol 2: ComID management, TPER_RESET, Block SID (Core 2.01 §3.3.4.3; Opal 2.30
//! §3.2.3; Block SID feature set).

use alloc::vec::Vec;

use super::IfError;
use super::machine::{Block, Channel, Machine};
use super::platform::Platform;
use super::tables::Sp;
use crate::spec::protocol::com_id_request::{STACK_RESET, VERIFY};
use crate::spec::{column, locking, sp, table};

/// ComID states in the answer to VERIFY_COMID_VALID.
const ISSUED: u32 = 2;
const ASSOCIATED: u32 = 3;

impl<P: Platform> Machine<'_, P> {
    /// HANDLE_COMID_REQUEST on the ComID of `channel`. Requests we do not know, or for another
    /// ComID, get "no response available".
    pub(super) fn com_id_request(&mut self, channel: usize, com_id: u16, data: &[u8]) {
        let mut answer = Vec::with_capacity(64);
        answer.extend_from_slice(&com_id.to_be_bytes());
        answer.extend_from_slice(&[0; 2]);
        let request = match data {
            [a, b, 0, 0, c, d, e, f, ..] if [*a, *b] == com_id.to_be_bytes() => {
                u32::from_be_bytes([*c, *d, *e, *f])
            }
            _ => 0,
        };
        match request {
            VERIFY => {
                let used = self.inner.sessions.iter().any(|s| s.channel == channel);
                let state = if used { ASSOCIATED } else { ISSUED };
                answer.extend_from_slice(&VERIFY.to_be_bytes());
                answer.extend_from_slice(&[0, 0, 0, 0x22]);
                answer.extend_from_slice(&state.to_be_bytes());
                // Three times of day; a drive without a clock gives zeros.
                answer.extend_from_slice(&[0; 30]);
            }
            STACK_RESET => {
                self.stack_reset(channel);
                answer.extend_from_slice(&STACK_RESET.to_be_bytes());
                answer.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0]);
            }
            _ => answer.extend_from_slice(&[0; 8]),
        }
        if let Some(channel) = self.inner.channels.get_mut(channel) {
            channel.management = Some(answer);
        }
    }

    /// Ends everything on one ComID.
    fn stack_reset(&mut self, channel: usize) {
        self.inner.sessions.retain(|s| s.channel != channel);
        if let Some(channel) = self.inner.channels.get_mut(channel) {
            *channel = Channel::new(self.profile);
        }
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

/// GET_COMID on a TPer without dynamic ComIDs: none can be given.
pub(super) fn no_com_id() -> Vec<u8> {
    Vec::from([0; 4])
}

/// "No response available" on `com_id`, before any request.
pub(super) fn no_response() -> Vec<u8> {
    Vec::from([0; 12])
}
