// SPDX-License-Identifier: MIT OR Apache-2.0
//! A self-encrypting drive of the Opal family behind [`Drive`], in as few sessions as the work
//! allows.

mod login;
mod provision;
mod tables;
mod verify;

pub use tables::{Bytes, Table};

use opal::Transport;
use opal::host::{Authority, DataLoss, Host, Identity, RangeConfig, RangeState, ResetTypes};
use opal::wire::discovery::{Discovery, FeatureCode};

use super::{
    Drive, DriveError, Escrow, Geometry, Locks, Progress, Protection, RangeReport, RangeSpec, Role,
};

/// Most ranges asked for, whatever a drive claims to have.
const MAX_RANGES: u64 = 1024;

/// A drive with a TPer.
pub struct Sed<T> {
    host: Host<T>,
    discovery: Discovery,
    geometry: Geometry,
}

impl<T: Transport> Sed<T> {
    /// Reads discovery over `transport`. `blocks` and `block_size` are what the interface says.
    ///
    /// # Errors
    /// The path failed, or the drive shows no security subsystem that has ranges and users.
    pub fn open(
        transport: T,
        identity: Identity,
        blocks: u64,
        block_size: u32,
    ) -> Result<Self, DriveError> {
        let mut host = Host::new(transport, identity);
        let discovery = read_discovery(&mut host)?;
        let rule = discovery.geometry();
        let geometry = Geometry {
            blocks,
            block_size,
            granularity: rule.filter(|g| g.align).map_or(1, |g| g.granularity()),
            lowest_aligned: rule.filter(|g| g.align).map_or(0, |g| g.lowest_aligned_lba),
        };
        Ok(Self { host, discovery, geometry })
    }

    /// What the drive says about itself, as last read.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// What extents must fit to.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whether the Locking SP is active, as last read.
    pub fn is_active(&self) -> bool {
        self.discovery.locking().is_some_and(|locking| locking.enabled)
    }

    /// Users that the Locking SP has, as far as discovery tells.
    pub fn users(&self) -> u16 {
        match (self.discovery.opal2(), self.discovery.ruby()) {
            (Some(ssc), _) | (_, Some(ssc)) => ssc.users,
            // Opal 1 has four users at least, Opalite and Pyrite two.
            _ if self.discovery.has(FeatureCode::OPAL_1) => 4,
            _ => 2,
        }
    }

    /// Whether the drive can have `spec`, as far as discovery tells: what a person should hear
    /// before anything is asked or done.
    ///
    /// # Errors
    /// The range does not fit, or there is no such user.
    pub fn check(&self, spec: &RangeSpec) -> Result<(), DriveError> {
        if let Some(extent) = spec.extent {
            self.geometry.check(extent)?;
        }
        let users = self.users();
        if spec.user == 0 || spec.user > users {
            let text = format!("User{}: it has User1 to User{users}", spec.user);
            return Err(DriveError::Unsupported(text));
        }
        Ok(())
    }

    /// Reverts with the PSID from the drive's label: the way back when no PIN is known. All data
    /// is lost.
    ///
    /// # Errors
    /// The PSID is refused, `loss` is for another drive, or the drive fails.
    pub fn psid_revert(&mut self, psid: &opal::Pin, loss: &DataLoss) -> Result<(), DriveError> {
        let mut rival = login::Rival::default();
        while let Err(error) = self.host.psid_revert(psid, loss) {
            if matches!(error, opal::Error::NotAuthenticated { .. }) {
                return Err(DriveError::WrongPsid);
            }
            rival.make_way(&mut self.host, error)?;
        }
        self.expect_factory_state()
    }

    /// Whether discovery proves that the drive has no owner, as last read. Where it has no Block SID
    /// feature nothing is proved.
    pub fn shows_factory_state(&self) -> bool {
        let changed = self.discovery.block_sid().map(|feature| feature.sid_changed);
        !self.is_active() && changed == Some(false)
    }

    /// Blocks SID until the next power cycle, and a hardware reset if `hardware_reset` says so:
    /// nobody can then take or give up ownership. Does nothing on a drive that has its factory
    /// PIN changed already.
    ///
    /// # Errors
    /// The drive has no such feature, or refuses.
    pub fn block_sid(&mut self, hardware_reset: bool) -> Result<(), DriveError> {
        let Some(feature) = self.discovery.block_sid() else {
            return Err(DriveError::Unsupported("Block SID".into()));
        };
        if feature.blocked {
            return Ok(());
        }
        if feature.sid_changed {
            return Err(DriveError::Unsupported(
                "Block SID while it is owned: it protects factory-fresh drives".into(),
            ));
        }
        self.host.block_sid(hardware_reset, false)?;
        self.refresh()?;
        if self.discovery.block_sid().is_some_and(|feature| feature.blocked) {
            Ok(())
        } else {
            Err(DriveError::NotKept { what: "Block SID".into() })
        }
    }

    /// Replaces the media key of `range`: all data in it is lost, its settings stay.
    ///
    /// # Errors
    /// `loss` is for another drive, Admin1 is refused, or the drive fails or was interrupted.
    pub fn erase_range(
        &mut self,
        range: u16,
        loss: &DataLoss,
        escrow: &mut dyn Escrow,
    ) -> Result<(), DriveError> {
        let role = Role::Admin(1);
        let authority = login::locking_authority(role)?;
        login::locking(&mut self.host, role, authority, escrow, |mut session, _| {
            session.erase_range(range, loss)?;
            Ok(session.close()?)
        })?;
        self.refresh()?;
        if self.discovery.data_removal().is_some_and(|removal| removal.interrupted) {
            return Err(DriveError::NotKept { what: "the erasure".into() });
        }
        Ok(())
    }

    /// Whether the drive has no owner: locking is inactive and SID has the factory's PIN. Where
    /// discovery does not tell (no Block SID feature) the MSID is tried, once.
    ///
    /// # Errors
    /// The drive fails.
    pub fn is_factory(&mut self) -> Result<bool, DriveError> {
        self.refresh()?;
        if self.is_active() {
            return Ok(false);
        }
        if let Some(feature) = self.discovery.block_sid() {
            return Ok(!feature.sid_changed);
        }
        login::anybody(&mut self.host, |mut session| {
            let msid = session.msid()?;
            let accepted = login::accepts(&mut session, Authority::SID, &msid)?;
            session.close()?;
            Ok(matches!(accepted, login::Accepted::Yes))
        })
    }

    fn refresh(&mut self) -> Result<(), DriveError> {
        self.discovery = read_discovery(&mut self.host)?;
        Ok(())
    }

    fn expect_factory_state(&mut self) -> Result<(), DriveError> {
        self.refresh()?;
        let sid_changed = self.discovery.block_sid().is_some_and(|feature| feature.sid_changed);
        if self.is_active() || sid_changed {
            return Err(DriveError::NotKept { what: "the revert".into() });
        }
        Ok(())
    }
}

impl<T: Transport> Drive for Sed<T> {
    fn protection(&self) -> Protection {
        if self.discovery.encrypts() { Protection::SelfEncrypting } else { Protection::LockingOnly }
    }

    fn provision(
        &mut self,
        ranges: &[RangeSpec],
        escrow: &mut dyn Escrow,
        progress: Progress<'_>,
    ) -> Result<Vec<RangeReport>, DriveError> {
        provision::run(self, ranges, escrow, progress)
    }

    fn set_locks(
        &mut self,
        user: Role,
        ranges: &[u16],
        locks: Locks,
        escrow: &mut dyn Escrow,
    ) -> Result<(), DriveError> {
        let config = RangeConfig {
            read_locked: locks.read,
            write_locked: locks.write,
            ..RangeConfig::default()
        };
        let opens = locks.read == Some(false) && locks.write == Some(false);
        let authority = login::locking_authority(user)?;
        login::locking(&mut self.host, user, authority, escrow, |mut session, _| {
            for range in ranges {
                session.set_range(*range, &config)?;
            }
            // A lone IF-RECV proves an unlock when nothing else on the drive is locked.
            let discovered = session.discovery()?;
            let proved = opens && discovered.locking().is_some_and(|locking| !locking.locked);
            if !proved {
                for range in ranges {
                    if !config.is_met_by(&session.range(*range)?) {
                        let what = format!("the locks of range {range}");
                        return Err(DriveError::NotKept { what });
                    }
                }
            }
            Ok(session.close()?)
        })?;
        self.refresh()
    }

    fn ranges(&mut self, escrow: &mut dyn Escrow) -> Result<Vec<RangeReport>, DriveError> {
        let role = Role::Admin(1);
        let authority = login::locking_authority(role)?;
        login::locking(&mut self.host, role, authority, escrow, |mut session, _| {
            let last = session.locking_info()?.max_ranges.min(MAX_RANGES) as u16;
            let mut reports = Vec::new();
            for number in 0..=last {
                let report = report(number, &session.range(number)?);
                if number == 0 || report.length > 0 {
                    reports.push(report);
                }
            }
            session.close()?;
            Ok(reports)
        })
    }

    fn verify(
        &mut self,
        ranges: &[RangeSpec],
        escrow: &mut dyn Escrow,
    ) -> Result<Vec<String>, DriveError> {
        self.refresh()?;
        verify::run(self, ranges, escrow)
    }

    fn revert(&mut self, loss: &DataLoss, escrow: &mut dyn Escrow) -> Result<(), DriveError> {
        login::admin(&mut self.host, escrow, |session, _, _| Ok(session.revert(loss)?))?;
        self.expect_factory_state()
    }
}

/// What a provisioned range looks like: both locks count, nothing is locked yet, and the loss of
/// power locks it.
fn provisioned(spec: &RangeSpec) -> RangeConfig {
    RangeConfig {
        start: spec.extent.map(|extent| extent.start),
        length: spec.extent.map(|extent| extent.length),
        read_lock_enabled: Some(true),
        write_lock_enabled: Some(true),
        read_locked: Some(false),
        write_locked: Some(false),
        lock_on_reset: Some(ResetTypes::POWER_CYCLE),
    }
}

fn report(number: u16, state: &RangeState) -> RangeReport {
    RangeReport {
        number,
        start: state.start.unwrap_or(0),
        length: state.length.unwrap_or(0),
        read_lock_enabled: state.read_lock_enabled.unwrap_or(false),
        write_lock_enabled: state.write_lock_enabled.unwrap_or(false),
        read_locked: state.read_locked.unwrap_or(false),
        write_locked: state.write_locked.unwrap_or(false),
        locks_at_power_off: state
            .lock_on_reset
            .is_some_and(|resets| resets.contains(ResetTypes::POWER_CYCLE)),
    }
}

fn read_discovery<T: Transport>(host: &mut Host<T>) -> Result<Discovery, DriveError> {
    let discovery = host.discovery()?;
    match discovery.ssc() {
        Some((code, _)) if code != FeatureCode::ENTERPRISE => Ok(discovery),
        Some(_) => Err(DriveError::Unsupported(
            "the Opal family's ranges and users: it is an Enterprise drive".into(),
        )),
        None => Err(DriveError::Unsupported(
            "any security subsystem class: it is no self-encrypting drive".into(),
        )),
    }
}
