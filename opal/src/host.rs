// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host: sessions with a drive, over any [`Transport`].
//!
//! A [`Host`] owns the path to one drive. [`Host::start`] opens a [`Session`], which borrows the
//! host until it is closed: one session at a time. The session's type says which SP it is with and
//! whether it may change anything; [`Row`], [`ByteTable`] and [`Authority`] say which SP they
//! belong to. What the drive decides (access control, which authorities are enabled, how many
//! ranges there are) is decided at run time and comes back as an [`Error`].
//!
//! ```no_run
//! use opal::host::{AdminSp, Authority, Host, Identity};
//! # fn run(transport: impl opal::Transport, new_pin: &opal::Pin) -> Result<(), opal::Error> {
//! let identity = Identity { serial: "S3YANB0K123456".into(), model: "Example 1 TB".into() };
//! let mut host = Host::new(transport, identity);
//!
//! let mut anybody = host.start::<AdminSp>().open()?;
//! let msid = anybody.msid()?;
//! anybody.close()?;
//!
//! let mut owner = host.start::<AdminSp>().authority(Authority::SID, &msid).open()?;
//! owner.set_pin(Authority::SID, new_pin)?;
//! owner.close()
//! # }
//! ```
//!
//! # What does not compile
//!
//! A change in a read-only session:
//!
//! ```compile_fail,E0599
//! # use opal::host::*;
//! # fn f(host: &mut Host<impl opal::Transport>, pin: &opal::Pin) -> Result<(), opal::Error> {
//! let mut session = host.start::<AdminSp>().read_only().open()?;
//! session.set_pin(Authority::SID, pin)?;
//! # Ok(()) }
//! ```
//!
//! A row of the Locking SP in a session with the Admin SP:
//!
//! ```compile_fail,E0308
//! # use opal::host::*;
//! # fn f(host: &mut Host<impl opal::Transport>) -> Result<(), opal::Error> {
//! let mut session = host.start::<AdminSp>().open()?;
//! session.get_row(Row::range(1))?;
//! # Ok(()) }
//! ```
//!
//! An authority of another SP:
//!
//! ```compile_fail,E0308
//! # use opal::host::*;
//! # fn f(host: &mut Host<impl opal::Transport>, pin: &opal::Pin) -> Result<(), opal::Error> {
//! host.start::<AdminSp>().authority(Authority::user(1), pin).open()?;
//! # Ok(()) }
//! ```
//!
//! A second session beside the first:
//!
//! ```compile_fail,E0499
//! # use opal::host::*;
//! # fn f(host: &mut Host<impl opal::Transport>) -> Result<(), opal::Error> {
//! let first = host.start::<AdminSp>().open()?;
//! let second = host.start::<LockingSp>().open()?;
//! first.close()?;
//! second.close()
//! # }
//! ```
//!
//! Use after a revert, which ends the session:
//!
//! ```compile_fail,E0382
//! # use opal::host::*;
//! # fn f(host: &mut Host<impl opal::Transport>) -> Result<(), opal::Error> {
//! let mut session = host.start::<AdminSp>().open()?;
//! session.revert(&DataLoss::accepted_for("S3YANB0K123456"))?;
//! session.msid()?;
//! # Ok(()) }
//! ```
//!
//! Losing data without saying so:
//!
//! ```compile_fail,E0061
//! # use opal::host::*;
//! # fn f(host: &mut Host<impl opal::Transport>) -> Result<(), opal::Error> {
//! host.start::<AdminSp>().open()?.revert()
//! # }
//! ```
//!
//! Printing a PIN:
//!
//! ```compile_fail,E0277
//! # use opal::host::*;
//! # fn f(host: &mut Host<impl opal::Transport>) -> Result<(), opal::Error> {
//! println!("{:?}", host.start::<AdminSp>().open()?.msid()?);
//! # Ok(()) }
//! ```

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use zeroize::Zeroizing;

use crate::Pin;
use crate::error::Error;
use crate::exchange::com_id::ComIdState;
use crate::exchange::properties::Properties;
use crate::exchange::{self, ComId, Exchange, Step};
use crate::transport::Transport;
use crate::wire::discovery::{DataRemoval, Discovery, Mechanism, RemovalTime};

mod access_control;
mod admin_sp;
mod byte_table;
mod data_loss;
mod dump;
mod enterprise;
mod limits;
mod load;
mod locking_sp;
mod provider;
mod reactivate;
mod session;
mod start;

pub use access_control::{BooleanExpr, Operand};
pub use admin_sp::{Activation, CPin, LifeCycle};
pub use byte_table::{DataStoreTable, TableInfo, WriteOptions};
pub use data_loss::DataLoss;
pub use dump::{Cell, RowDump, TableDump};
pub use enterprise::{
    EnterpriseAdminSp, EnterpriseProvider, EnterpriseSession, EnterpriseSp, EnterpriseStart,
};
pub use limits::Limits;
pub use load::{Load, LoadStep, Loaded};
pub use locking_sp::{LockingInfo, MbrControl, RangeConfig, RangeState, ResetTypes};
pub use provider::{
    Access, AdminSp, Authority, ByteTable, LockingSp, ReadOnly, ReadWrite, Row, SecurityProvider,
    Table,
};
pub use reactivate::Reactivated;
pub use session::Session;
pub use start::{Login, Start};

/// Carries out an exchange, blocking until its end.
///
/// # Errors
/// Those of the exchange.
pub fn run<T, V>(transport: &mut T, mut exchange: Exchange<V>) -> Result<V, Error>
where
    T: Transport + ?Sized,
{
    let mut buffer = Zeroizing::new(Vec::new());
    loop {
        let failure = match exchange.step() {
            Step::Send { protocol, specific, data } => {
                transport.if_send(protocol, specific, data).err()
            }
            Step::Receive { protocol, specific, max } => {
                if buffer.len() != max {
                    buffer = Zeroizing::new(vec![0; max]);
                }
                match transport.if_recv(protocol, specific, &mut buffer) {
                    Ok(length) => {
                        exchange.received(buffer.get(..length).unwrap_or(&buffer));
                        None
                    }
                    Err(error) => Some(error),
                }
            }
            Step::Wait(duration) => {
                transport.pause(duration);
                None
            }
            Step::Done(result) => return result,
        };
        if let Some(error) = failure {
            exchange.failed(error);
        }
    }
}

/// Which drive this is, as the device layer knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Serial number, without padding.
    pub serial: String,
    /// Model, without padding.
    pub model: String,
}

/// How long the drive may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For ordinary methods.
    pub ordinary: Duration,
    /// For Activate, Revert, RevertSP, GenKey and Erase. A revert gets more where discovery's data
    /// removal feature says that it takes longer.
    pub long: Duration,
}

/// No revert is waited for longer than this, whatever the drive announces.
const MAX_REVERT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a revert may take on a drive with these ways to remove data: twice the longest time it
/// announces, since the times are estimates. `None` if it announces none.
#[must_use]
pub fn revert_patience(removal: &DataRemoval) -> Option<Duration> {
    let times = Mechanism::ALL.into_iter().filter(|m| removal.supports(*m)).map(|m| match removal
        .time(m)
    {
        RemovalTime::NotReported => 0,
        RemovalTime::Seconds(seconds) | RemovalTime::AtLeast(seconds) => seconds,
    });
    let longest = Duration::from_secs(times.max()?.into());
    (!longest.is_zero()).then(|| (longest * 2).min(MAX_REVERT))
}

impl Default for Patience {
    fn default() -> Self {
        Self { ordinary: exchange::PATIENCE, long: exchange::LONG_PATIENCE }
    }
}

/// One drive and the path to it.
pub struct Host<T> {
    transport: T,
    link: Link,
}

/// What a session needs to know about the drive.
pub(crate) struct Link {
    identity: Identity,
    com_id: Option<ComId>,
    limits: Limits,
    patience: Patience,
    /// What discovery says about reverts.
    revert: Option<Duration>,
    last_hsn: u32,
}

impl Link {
    fn revert_patience(&self) -> Duration {
        self.patience.long.max(self.revert.unwrap_or_default())
    }
}

impl<T: Transport> Host<T> {
    /// Takes the path to the drive that `identity` names. Nothing is sent yet.
    pub fn new(transport: T, identity: Identity) -> Self {
        let limits = Limits::initial(transport.max_transfer());
        let patience = Patience::default();
        let link = Link { identity, com_id: None, limits, patience, revert: None, last_hsn: 0 };
        Self { transport, link }
    }

    /// Which drive this is.
    pub fn identity(&self) -> &Identity {
        &self.link.identity
    }

    /// The path to the drive, for what is not a session.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Gives the path back.
    pub fn into_transport(self) -> T {
        self.transport
    }

    /// Changes how long the drive may take.
    pub fn set_patience(&mut self, patience: Patience) {
        self.link.patience = patience;
    }

    /// Reads Level 0 discovery and takes the ComID from it. One lone IF-RECV; the ComID is taken
    /// anew each time, never remembered by model (quirk A24).
    ///
    /// # Errors
    /// The path failed, or what came is no discovery answer. A drive without TCG features is no
    /// error here, but sessions will be.
    pub fn discovery(&mut self) -> Result<Discovery, Error> {
        let discovery = read_discovery(&mut self.transport)?;
        self.link.revert = discovery.data_removal().as_ref().and_then(revert_patience);
        if let Some(found) = discovery.base_com_id() {
            self.use_com_id(ComId::fixed(found));
        }
        Ok(discovery)
    }

    /// The list of security protocols that the interface carries, as raw bytes.
    ///
    /// # Errors
    /// The path failed.
    pub fn supported_protocols(&mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        run(&mut self.transport, exchange::com_id::supported_protocols())
    }

    /// The ComID in use.
    pub fn com_id(&self) -> Option<ComId> {
        self.link.com_id
    }

    /// Uses this ComID from now on: one from GET_COMID, or another of discovery's.
    pub fn use_com_id(&mut self, com_id: ComId) {
        if self.link.com_id != Some(com_id) {
            // Properties are negotiated per ComID (Core 2.01 §5.2.2.4.4).
            self.link.limits = Limits::initial(self.transport.max_transfer());
        }
        self.link.com_id = Some(com_id);
    }

    /// Negotiates transfer sizes: one pair. Optional; worth it before anything that carries more
    /// than 2048 bytes. Tells the drive no more than the path carries (quirk B4), in a short list
    /// (quirk B5); a drive that does not answer that is asked again without the list.
    ///
    /// # Errors
    /// The drive or the path failed.
    pub fn properties(&mut self) -> Result<Properties, Error> {
        let com_id = self.com_id_or_discover()?;
        let path = self.transport.max_transfer();
        let offer = Limits::offer(path);
        let ask = |host| {
            exchange::properties::properties(com_id, host)
                .with_patience(self.link.patience.ordinary)
        };
        let properties = match run(&mut self.transport, ask(Some(&offer))) {
            Err(Error::NoAnswer { .. } | Error::TimedOut { .. } | Error::Method { .. }) => {
                run(&mut self.transport, ask(None))?
            }
            other => other?,
        };
        self.link.limits = Limits::negotiated(path, &properties);
        Ok(properties)
    }

    /// Transfer sizes in force.
    pub fn limits(&self) -> Limits {
        self.link.limits
    }

    /// Begins to open a session; the ComID comes from discovery if none is known.
    pub fn start<'p, S: SecurityProvider>(&mut self) -> Start<'_, 'p, S, ReadWrite> {
        Start::new(&mut self.transport, &mut self.link)
    }

    /// Begins to open a session with an SP of an Enterprise drive.
    pub fn start_enterprise<'p, S: EnterpriseProvider>(&mut self) -> EnterpriseStart<'_, 'p, S> {
        EnterpriseStart::new(&mut self.transport, &mut self.link)
    }

    /// GET_COMID: asks for a ComID of one's own and uses it.
    ///
    /// # Errors
    /// The drive has none to give, or the path failed.
    pub fn request_com_id(&mut self) -> Result<ComId, Error> {
        let com_id = run(&mut self.transport, exchange::com_id::get_com_id())?;
        self.use_com_id(com_id);
        Ok(com_id)
    }

    /// VERIFY_COMID_VALID for the ComID in use.
    ///
    /// # Errors
    /// The drive has no ComID management, or the path failed.
    pub fn verify_com_id(&mut self) -> Result<ComIdState, Error> {
        let com_id = self.com_id_or_discover()?;
        let exchange = exchange::com_id::verify_com_id(com_id);
        run(&mut self.transport, exchange.with_patience(self.link.patience.ordinary))
    }

    /// STACK_RESET: ends every session on the ComID in use, also those of other programs. For
    /// when the drive says SP_BUSY or NO_SESSIONS_AVAILABLE; never done unasked, since one drive
    /// is known to hang on it (quirks B7, B8).
    ///
    /// # Errors
    /// The drive refused or does not end it, or the path failed.
    pub fn stack_reset(&mut self) -> Result<(), Error> {
        let com_id = self.com_id_or_discover()?;
        let exchange = exchange::com_id::stack_reset(com_id);
        run(&mut self.transport, exchange.with_patience(self.link.patience.ordinary))?;
        self.link.limits = Limits::initial(self.transport.max_transfer());
        Ok(())
    }

    /// TPER_RESET: ends all sessions and locks what is set to lock on a programmatic reset.
    /// Does nothing unless ProgrammaticResetEnable is set; has no answer.
    ///
    /// # Errors
    /// The path failed or the drive refused the command.
    pub fn tper_reset(&mut self) -> Result<(), Error> {
        run(&mut self.transport, exchange::com_id::tper_reset())?;
        self.link.limits = Limits::initial(self.transport.max_transfer());
        Ok(())
    }

    /// TPER_RESET, after a look at ProgrammaticResetEnable, without which it does nothing and says
    /// nothing: four pairs and the reset.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where it is not enabled, or the path failed.
    pub fn tper_reset_if_enabled(&mut self) -> Result<(), Error> {
        let mut session = self.start::<AdminSp>().open()?;
        let enabled = session.programmatic_reset();
        session.close()?;
        if !enabled? {
            return Err(Error::Unsupported("TPER_RESET while ProgrammaticResetEnable is off"));
        }
        self.tper_reset()
    }

    /// Block SID: nobody becomes SID until the next power cycle (or hardware reset, if chosen).
    /// Has no answer; discovery's Block SID feature tells whether it took.
    ///
    /// # Errors
    /// The path failed or the drive refused the command.
    pub fn block_sid(
        &mut self,
        clear_on_hardware_reset: bool,
        freeze_locking_sp: bool,
    ) -> Result<(), Error> {
        let exchange = exchange::com_id::block_sid(clear_on_hardware_reset, freeze_locking_sp);
        run(&mut self.transport, exchange)
    }

    /// Reverts the whole drive with the PSID from its label: two pairs. Everything is lost.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`], [`Error::NotAuthenticated`] for a wrong PSID, or what the drive
    /// says.
    pub fn psid_revert(&mut self, psid: &Pin, loss: &DataLoss) -> Result<(), Error> {
        loss.check(&self.link.identity)?;
        self.start::<AdminSp>().authority(Authority::PSID, psid).open()?.revert(loss)
    }

    fn com_id_or_discover(&mut self) -> Result<ComId, Error> {
        com_id_or_discover(&mut self.transport, &mut self.link)
    }
}

fn com_id_or_discover<T>(transport: &mut T, link: &mut Link) -> Result<ComId, Error>
where
    T: Transport + ?Sized,
{
    if let Some(com_id) = link.com_id {
        return Ok(com_id);
    }
    let discovery = read_discovery(transport)?;
    link.revert = discovery.data_removal().as_ref().and_then(revert_patience);
    let com_id = discovery
        .base_com_id()
        .map(ComId::fixed)
        .ok_or(Error::Unsupported("TCG sessions: discovery shows no security subsystem class"))?;
    link.com_id = Some(com_id);
    Ok(com_id)
}

/// Discovery is one IF-RECV, repeated with a larger buffer if the drive has more to tell.
fn read_discovery<T: Transport + ?Sized>(transport: &mut T) -> Result<Discovery, Error> {
    let parse = |bytes: &[u8]| {
        Discovery::parse(bytes).map_err(|_| Error::Mismatch("a discovery answer cut short"))
    };
    let first = parse(&run(transport, exchange::com_id::discovery())?)?;
    let needed = first.declared_bytes();
    let path = transport.max_transfer().min(exchange::MAX_TRANSFER);
    if first.missing_bytes() == 0 || needed <= exchange::DEFAULT_TRANSFER || needed > path {
        return Ok(first);
    }
    parse(&run(transport, exchange::com_id::discovery().with_transfer(needed))?)
}
