// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reactivate with a look at what came of it, and less where a drive does not do all (quirk D4).

use alloc::vec::Vec;

use super::{Activation, Authority, DataLoss, Host, LockingInfo, LockingSp};
use crate::error::Error;
use crate::exchange::request::SingleUser;
use crate::spec::table;
use crate::transport::Transport;
use crate::wire::Status;
use crate::{Pin, Uid};

/// What a Reactivate led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reactivated {
    /// What was asked for.
    AsAsked,
    /// The ranges asked for, but start and length belong to the others: the drive does not do the
    /// policy that was asked for.
    OtherPolicy,
    /// The drive does not do Single User Mode with either policy; it is off.
    WithoutSingleUser,
}

impl<T: Transport> Host<T> {
    /// Changes Single User Mode of an active Locking SP as Admin1, and reads back what the drive
    /// made of it (feature set; one source). Some firmware ignores the policy or refuses it: then
    /// the other policy is tried if `less` allows it, then no Single User Mode. Eight pairs for
    /// each try. `new` becomes Admin1's PIN if given; users lose their PINs and DataStore tables
    /// their bytes; ranges keep keys and data.
    ///
    /// # Errors
    /// [`Error::NotThisDrive`]; `FAIL` while a range is lock-enabled, which less would not help;
    /// [`Error::Mismatch`] where the drive did not do what was asked and `less` is false, or does
    /// nothing of it at all; or the path failed.
    pub fn reactivate(
        &mut self,
        admin1: &Pin,
        new: Option<&Pin>,
        activation: &Activation,
        less: bool,
        loss: &DataLoss,
    ) -> Result<Reactivated, Error> {
        let mut pin = admin1;
        for outcome in
            [Reactivated::AsAsked, Reactivated::OtherPolicy, Reactivated::WithoutSingleUser]
        {
            let mut attempt = activation.clone();
            match (outcome, activation.admins_own_geometry) {
                (Reactivated::AsAsked, _) => {}
                (Reactivated::OtherPolicy, Some(policy)) => {
                    attempt.admins_own_geometry = Some(!policy);
                }
                // No policy was asked for: there is no other.
                (Reactivated::OtherPolicy, None) => continue,
                (Reactivated::WithoutSingleUser, _) => {
                    attempt.single_user = Some(SingleUser::Ranges(Vec::new()));
                    attempt.admins_own_geometry = None;
                }
            }
            let admin = Authority::admin(1);
            let session = self.start::<LockingSp>().authority(admin, pin).open()?;
            match session.reactivate(&attempt, new, loss) {
                Ok(()) => {
                    pin = new.unwrap_or(admin1);
                    if is_done(&attempt, &self.locking_info()?) {
                        return Ok(outcome);
                    }
                }
                // The drive dislikes the parameters. Anything else is not about them.
                Err(error) if less && error.status() == Some(Status::INVALID_PARAMETER) => {}
                Err(error) => return Err(error),
            }
            if !less {
                break;
            }
        }
        Err(Error::Mismatch("that Single User Mode is what was asked for, but shows another"))
    }

    /// LockingInfo as anybody reads it.
    fn locking_info(&mut self) -> Result<LockingInfo, Error> {
        let mut session = self.start::<LockingSp>().open()?;
        let info = session.locking_info()?;
        session.close()?;
        Ok(info)
    }
}

/// Whether LockingInfo shows what was asked for. What it does not show was not done.
fn is_done(asked: &Activation, found: &LockingInfo) -> bool {
    let ranges = found.single_user_ranges.as_deref();
    let ranges_done = match &asked.single_user {
        None => true,
        Some(SingleUser::All) => {
            let whole = table::uid(table::LOCKING);
            let all = usize::try_from(found.max_ranges).unwrap_or(usize::MAX).saturating_add(1);
            ranges.is_some_and(|r| r == [whole] || r.len() >= all)
        }
        Some(SingleUser::Ranges(rows)) => sorted(ranges.unwrap_or_default()) == sorted(rows),
    };
    let policy = asked.admins_own_geometry;
    ranges_done && (policy.is_none() || policy == found.admins_own_geometry)
}

fn sorted(rows: &[Uid]) -> Vec<Uid> {
    let mut rows = rows.to_vec();
    rows.sort_unstable_by_key(|uid| uid.0);
    rows.dedup();
    rows
}
