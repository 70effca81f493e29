// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Start`]: how to open a session.

use core::marker::PhantomData;

use super::{
    Access, Authority, Link, ReadOnly, ReadWrite, SecurityProvider, Session, com_id_or_discover,
    run,
};
use crate::Pin;
use crate::error::Error;
use crate::exchange::request::StartSession;
use crate::exchange::start_session::start_session;
use crate::transport::Transport;
use crate::wire::Status;

/// When the credential is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// In StartSession, and with Authenticate only if the drive does not take it there. A PIN
    /// that the drive rejects is not offered a second time. One pair on nearly every drive.
    #[default]
    Either,
    /// Only in StartSession (one drive fails Authenticate inside a session: quirk B6).
    InStartSession,
    /// Only with Authenticate, after opening the session as Anybody.
    Authenticate,
}

/// A session about to be opened. As Anybody unless [`Start::authority`] is called.
#[must_use = "nothing is sent before `open`"]
pub struct Start<'h, 'p, S, A> {
    transport: &'h mut dyn Transport,
    link: &'h mut Link,
    credential: Option<(Authority<S>, &'p Pin)>,
    login: Login,
    timeout: Option<u32>,
    access: PhantomData<A>,
}

impl<'h, 'p, S: SecurityProvider> Start<'h, 'p, S, ReadWrite> {
    pub(super) fn new<T: Transport>(transport: &'h mut T, link: &'h mut Link) -> Self {
        Self {
            transport,
            link,
            credential: None,
            login: Login::default(),
            timeout: None,
            access: PhantomData,
        }
    }

    /// A session that changes nothing. Opal drives may refuse it; a read-write session can read
    /// too.
    pub fn read_only(self) -> Start<'h, 'p, S, ReadOnly> {
        Start {
            transport: self.transport,
            link: self.link,
            credential: self.credential,
            login: self.login,
            timeout: self.timeout,
            access: PhantomData,
        }
    }
}

impl<'h, 'p, S: SecurityProvider, A: Access> Start<'h, 'p, S, A> {
    /// Who opens the session.
    pub fn authority(mut self, authority: Authority<S>, pin: &'p Pin) -> Self {
        self.credential = Some((authority, pin));
        self
    }

    /// When to offer the credential.
    pub fn login(mut self, login: Login) -> Self {
        self.login = login;
        self
    }

    /// Asks for a session time-out in milliseconds. Left out otherwise, and tried again without
    /// if the drive does not like it (quirk C2).
    pub fn timeout(mut self, milliseconds: u32) -> Self {
        self.timeout = Some(milliseconds);
        self
    }

    /// Opens the session: one pair, or more where the drive needs another form.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] if the drive rejects the credential (an attempt is used up),
    /// [`Error::Method`] with `SP_BUSY` or `NO_SESSIONS_AVAILABLE` if another session is open
    /// (see [`super::Host::stack_reset`]), with `INVALID_PARAMETER` if the SP is not active.
    pub fn open(self) -> Result<Session<'h, S, A>, Error> {
        let com_id = com_id_or_discover(self.transport, self.link)?;
        let Self { transport, link, credential, login, timeout, .. } = self;
        let at_start = credential.filter(|_| login != Login::Authenticate);
        let mut later = credential.filter(|_| login == Login::Authenticate);

        let mut start = StartSession {
            hsn: 0,
            sp: S::UID,
            write: A::WRITE,
            credential: at_start.map(|(authority, pin)| (authority.uid(), pin)),
            timeout,
        };
        let numbers = loop {
            link.last_hsn = link.last_hsn.checked_add(1).unwrap_or(1);
            start.hsn = link.last_hsn;
            let exchange = start_session(com_id, &start).with_patience(link.patience.ordinary);
            let error = match run(transport, exchange) {
                Ok(numbers) => break numbers,
                Err(error) => error,
            };
            let form_refused = error.status() == Some(Status::INVALID_PARAMETER);
            if start.timeout.is_some() && (form_refused || matches!(error, Error::NoAnswer { .. }))
            {
                start.timeout = None;
            } else if form_refused && start.credential.is_some() && login == Login::Either {
                // Parameters are checked before the credential, so no attempt was used up
                // (Core 2.01 §5.3.4.1).
                start.credential = None;
                later = credential;
            } else {
                return Err(match (error.status(), start.credential) {
                    (Some(Status::NOT_AUTHORIZED), Some((authority, _))) => {
                        Error::NotAuthenticated { authority }
                    }
                    _ => error,
                });
            }
        };
        let mut session = Session::new(transport, link, com_id, numbers);
        if let Some((authority, pin)) = later {
            session.authenticate(authority, pin)?;
        }
        Ok(session)
    }
}
