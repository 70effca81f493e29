// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sessions: opening them, their limits, what each one knows (Core 2.01 §3.3.7, §5.2.3).

use alloc::vec::Vec;
use core::time::Duration;

use super::authenticate::{Attempt, authenticate};
use super::cell::{Cell, wrong};
use super::effects::Op;
use super::machine::{ComIdState, Machine};
use super::platform::{Platform, SessionId};
use super::properties::HostProperties;
use super::quirk::Quirk;
use super::tables::{Provider, Sp, Tables};
use crate::Uid;
use crate::spec::{authority, column, sp};
use crate::wire::{Name, Reader, Status};

/// First TPer session number; those below 4096 are reserved (Core 2.01 §3.3.7.1.1).
pub(super) const FIRST_TSN: u32 = 0x1001;

/// An open session.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// Index of the ComID it belongs to.
    pub(super) channel: usize,
    pub(super) tsn: u32,
    pub(super) hsn: u32,
    pub(super) sp: Sp,
    pub(super) write: bool,
    /// Authorities authenticated, Anybody not counted.
    pub(super) authenticated: Vec<Uid>,
    /// The host's limits when the session began.
    pub(super) host: HostProperties,
    /// None: never.
    pub(super) timeout: Option<Duration>,
    pub(super) idle: Duration,
    pub(super) transaction: Option<Transaction>,
}

/// What an open transaction has changed so far.
#[derive(Clone)]
pub(super) struct Transaction {
    pub(super) tables: Tables,
    pub(super) ops: Vec<Op>,
    /// Authorities authenticated before it began.
    pub(super) authenticated: Vec<Uid>,
}

impl Session {
    /// The tables as this session sees them.
    pub(super) fn tables<'a>(&'a self, committed: &'a Tables) -> &'a Tables {
        self.transaction.as_ref().map_or(committed, |t| &t.tables)
    }

    /// Takes back the open transaction, and authentications made inside it.
    pub(super) fn abort_transaction(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.authenticated.retain(|a| transaction.authenticated.contains(a));
        }
    }
}

/// Parameters of StartSession.
pub(super) struct StartSession<'a> {
    pub(super) host_session: u32,
    sp: Uid,
    write: bool,
    challenge: Option<&'a [u8]>,
    authority: Option<Uid>,
    timeout: Option<u64>,
}

/// Names of the optional parameters of StartSession (Core 2.01 §5.2.3.1).
mod parameter {
    pub(super) const HOST_CHALLENGE: u64 = 0;
    pub(super) const HOST_SIGNING_AUTHORITY: u64 = 3;
    pub(super) const SESSION_TIMEOUT: u64 = 5;
    pub(super) const TRANS_TIMEOUT: u64 = 6;
    pub(super) const INITIAL_CREDIT: u64 = 7;
}

impl<'a> StartSession<'a> {
    /// Reads what follows HostSessionID.
    pub(super) fn parse(
        host_session: u32,
        parameters: &mut Reader<'a>,
        enterprise: bool,
    ) -> Result<Self, Status> {
        let sp = wrong(parameters.uid())?;
        let write = wrong(parameters.boolean())?;
        let mut start =
            Self { host_session, sp, write, challenge: None, authority: None, timeout: None };
        if enterprise {
            start.enterprise_options(parameters)?;
            return Ok(start);
        }
        let mut last = None;
        while let Some((name, mut value)) = optional(parameters, &mut last)? {
            match name {
                parameter::HOST_CHALLENGE => start.challenge = Some(wrong(value.bytes())?),
                parameter::HOST_SIGNING_AUTHORITY => start.authority = Some(wrong(value.uid())?),
                parameter::SESSION_TIMEOUT => {
                    start.timeout = Some(u64::from(wrong(value.uint_as::<u32>())?));
                }
                parameter::TRANS_TIMEOUT | parameter::INITIAL_CREDIT => {
                    wrong(value.uint_as::<u32>())?;
                }
                _ => return Err(Status::INVALID_PARAMETER),
            }
            finished(&value)?;
        }
        Ok(start)
    }

    /// Optional parameters of Enterprise: those of Core by name and in their order. Nobody is
    /// authenticated here (Enterprise 1.01 §4).
    fn enterprise_options(&mut self, parameters: &mut Reader<'a>) -> Result<(), Status> {
        const KNOWN: [&[u8]; 3] = [b"SessionTimeout", b"TransTimeout", b"InitialCredit"];
        let mut last = None;
        while !wrong(parameters.at_end())? {
            let Some(Name::Text(name)) = wrong(parameters.start_name())? else {
                return Err(Status::INVALID_PARAMETER);
            };
            let place = KNOWN.iter().position(|known| *known == name);
            let place = place.filter(|place| last.is_none_or(|last| *place > last));
            last = Some(place.ok_or(Status::INVALID_PARAMETER)?);
            let value: u32 = wrong(parameters.uint_as())?;
            wrong(parameters.end_name())?;
            if last == Some(0) {
                self.timeout = Some(u64::from(value));
            }
        }
        Ok(())
    }
}

/// Takes an optional parameter: a named value with a number larger than the one before
/// (Core 2.01 §3.2.4.1). None at the end of the list.
pub(super) fn optional<'a>(
    parameters: &mut Reader<'a>,
    last: &mut Option<u64>,
) -> Result<Option<(u64, Reader<'a>)>, Status> {
    if wrong(parameters.at_end())? {
        return Ok(None);
    }
    let Some(Name::Number(name)) = wrong(parameters.start_name())? else {
        return Err(Status::INVALID_PARAMETER);
    };
    let value = wrong(parameters.value())?;
    wrong(parameters.end_name())?;
    if last.is_some_and(|last| name <= last) {
        return Err(Status::INVALID_PARAMETER);
    }
    *last = Some(name);
    Ok(Some((name, value)))
}

/// Nothing may follow.
pub(super) fn finished(reader: &Reader<'_>) -> Result<(), Status> {
    if wrong(reader.at_end())? { Ok(()) } else { Err(Status::INVALID_PARAMETER) }
}

impl<P: Platform> Machine<'_, P> {
    /// StartSession: the TPer session number, or why there is none (Core 2.01 §5.2.3.1). Checks go
    /// from the request's form to the drive's state to the authority.
    pub(super) fn start_session(
        &mut self,
        channel: usize,
        start: &StartSession<'_>,
    ) -> Result<u32, Status> {
        let sp = match start.sp {
            sp::ADMIN => Sp::Admin,
            uid if uid == self.inner.tables.locking.uid => Sp::Locking,
            _ => return Err(Status::INVALID_PARAMETER),
        };
        if sp == Sp::Locking {
            if !self.inner.tables.is_active() {
                return Err(Status::INVALID_PARAMETER);
            }
            if self.inner.block.frozen {
                return Err(Status::SP_FROZEN);
            }
        }
        let limits = &self.profile.limits;
        if !start.write && limits.max_read_sessions == 0 {
            return Err(Status::INVALID_PARAMETER);
        }
        let timeout = self.timeout(start.timeout)?;
        self.slot(sp, start.write)?;

        let id = SessionId(self.inner.next_session);
        let mut authenticated = Vec::new();
        match start.authority {
            None | Some(authority::ANYBODY) => {}
            Some(authority) => {
                usable(self.inner.tables.of(sp), authority)?;
                let tables = self.inner.tables.clone();
                match authenticate(self, &tables, sp, id, authority, start.challenge, &[]) {
                    Attempt::Right => authenticated.push(authority),
                    Attempt::LockedOut if !self.quirk(Quirk::LockoutWithout12) => {
                        return Err(Status::AUTHORITY_LOCKED_OUT);
                    }
                    Attempt::LockedOut | Attempt::Wrong | Attempt::Unusable => {
                        return Err(Status::NOT_AUTHORIZED);
                    }
                }
            }
        }

        let tsn = self.free_tsn();
        self.inner.next_session += 1;
        let host = self.inner.channels.get(channel).map(|c| c.host);
        let host = host.unwrap_or(HostProperties::initial(self.profile.ssc));
        self.inner.sessions.push(Session {
            id,
            channel,
            tsn,
            hsn: start.host_session,
            sp,
            write: start.write,
            authenticated,
            host,
            timeout,
            idle: Duration::ZERO,
            transaction: None,
        });
        if let Some(channel) = self.inner.channels.get_mut(channel) {
            channel.state = ComIdState::Associated;
        }
        self.opened += 1;
        Ok(tsn)
    }

    fn timeout(&self, asked: Option<u64>) -> Result<Option<Duration>, Status> {
        let limits = &self.profile.limits;
        let millis = match asked {
            None => u64::from(limits.default_session_timeout),
            Some(_) if self.quirk(Quirk::RefuseSessionTimeout) => {
                return Err(Status::INVALID_PARAMETER);
            }
            Some(asked) => {
                let max = u64::from(limits.max_session_timeout);
                let too_long = max != 0 && (asked > max || asked == 0);
                let too_short = asked != 0 && asked < u64::from(limits.min_session_timeout);
                if too_long || too_short {
                    return Err(Status::INVALID_PARAMETER);
                }
                asked
            }
        };
        Ok((millis != 0).then(|| Duration::from_millis(millis)))
    }

    /// Whether another session fits beside those open (Core 2.01 §3.3.7.1, §5.4.4.3).
    fn slot(&self, sp: Sp, write: bool) -> Result<(), Status> {
        let sessions = &self.inner.sessions;
        let limits = &self.profile.limits;
        if self.quirk(Quirk::SpBusyAfterAbandonedSession)
            && (self.inner.abandoned || !sessions.is_empty())
        {
            return Err(Status::SP_BUSY);
        }
        if sessions.len() >= limits.max_sessions as usize {
            return Err(Status::NO_SESSIONS_AVAILABLE);
        }
        let same = sessions.iter().filter(|s| s.sp == sp);
        if !write && same.clone().count() >= limits.max_read_sessions as usize {
            return Err(Status::NO_SESSIONS_AVAILABLE);
        }
        let busy = sessions.iter().any(|s| {
            if s.sp == sp {
                write || s.write
            } else {
                // A read-write session with the Admin SP excludes any session with another SP.
                (sp == Sp::Admin && write) || (s.sp == Sp::Admin && s.write)
            }
        });
        if busy { Err(Status::SP_BUSY) } else { Ok(()) }
    }

    fn free_tsn(&mut self) -> u32 {
        loop {
            let tsn = self.inner.next_tsn;
            self.inner.next_tsn = tsn.checked_add(1).unwrap_or(FIRST_TSN);
            if !self.inner.sessions.iter().any(|s| s.tsn == tsn) {
                return tsn;
            }
        }
    }
}

/// An authority that can be authenticated at all: known, and no class.
pub(super) fn usable(sp: &Provider, authority: Uid) -> Result<(), Status> {
    let row = sp.row(authority).filter(|_| authority.table() == crate::spec::table::AUTHORITY);
    let row = row.ok_or(Status::INVALID_PARAMETER)?;
    let is_class = row.get(&column::authority::IS_CLASS).and_then(Cell::as_uint) == Some(1);
    if is_class { Err(Status::INVALID_PARAMETER) } else { Ok(()) }
}
