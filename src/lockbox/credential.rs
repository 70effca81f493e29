// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Credential`]: the two-phase journal of one PIN or key slot, as pure steps.
//!
//! Each step is a function from one durable state to the next and knows no store, so the tests
//! walk every sequence. The rules it serves: a new PIN is in the lockbox before it is in the
//! drive; nothing that the drive may still hold is destroyed; attempts that may count against the
//! drive's limit are marked before they are made.

use serde::Serialize;

use super::error::JournalProblem;
use super::id::{KeyId, Kind, Origin};

/// State of one version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionState {
    /// In the lockbox, not known to be in the drive.
    Staged,
    /// Proven to be what the drive holds.
    Active,
    /// Was active, or was sent and not taken; kept until the drive has proven the active one
    /// after a power cycle.
    Superseded,
    /// Its record is gone; the row stays as history.
    Destroyed,
}

/// One version of a credential's secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Counts up. 0 is what the factory or the last owner left.
    pub number: u64,
    /// Its state.
    pub state: VersionState,
    /// Where it came from.
    pub origin: Origin,
    /// Whether it was ever sent to the drive.
    pub sent: bool,
}

/// One role's credential at one owner (a drive, a volume), with its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// Whose: the identity of a drive or volume, as the caller writes it.
    pub owner: String,
    /// Which: `SID`, `Admin1`, `User1`, …
    pub role: String,
    /// The Key ID of its secret; versions count within it.
    pub key_id: KeyId,
    /// What the secret is.
    pub kind: Kind,
    /// The version that the drive is known to hold.
    pub active: Option<u64>,
    /// The version that is to become active.
    pub staged: Option<u64>,
    /// A Set of the staged version may have reached the drive.
    pub set_issued: bool,
    /// Attempts marked since `power_cycle` that were not confirmed as successes.
    pub attempts: u32,
    /// The drive's power-cycle count the attempts belong to, where known.
    pub power_cycle: Option<u64>,
    /// The drive's power-cycle count when the active version last changed, where known.
    pub active_since: Option<u64>,
    /// All versions, oldest first.
    pub versions: Vec<Version>,
}

impl Credential {
    /// A credential without versions.
    pub(super) fn new(owner: &str, role: &str, key_id: KeyId, kind: Kind) -> Self {
        Self {
            owner: owner.to_owned(),
            role: role.to_owned(),
            key_id,
            kind,
            active: None,
            staged: None,
            set_issued: false,
            attempts: 0,
            power_cycle: None,
            active_since: None,
            versions: Vec::new(),
        }
    }

    /// The version of that number, unless destroyed.
    #[must_use]
    pub fn version(&self, number: u64) -> Option<&Version> {
        self.versions
            .iter()
            .find(|version| version.number == number && version.state != VersionState::Destroyed)
    }

    /// The versions the drive may hold, most likely first. More than one means doubt: count the
    /// attempts.
    #[must_use]
    pub fn candidates(&self) -> Vec<u64> {
        let staged = self.staged.filter(|_| self.set_issued || self.active.is_none());
        let superseded = self.versions.iter().rev().filter(|version| {
            version.state == VersionState::Superseded
                || (version.state == VersionState::Staged && version.sent)
        });
        let mut candidates = Vec::new();
        let ordered =
            staged.into_iter().chain(self.active).chain(superseded.map(|version| version.number));
        for number in ordered {
            if !candidates.contains(&number) {
                candidates.push(number);
            }
        }
        candidates
    }

    /// Whether the drive has been power-cycled since the active version changed, so that a
    /// success with the active version now proves the others obsolete. Unknown counts are taken
    /// as "never cycled".
    #[must_use]
    pub fn cycled_since_change(&self, power_cycle: Option<u64>) -> bool {
        matches!((self.active_since, power_cycle), (Some(then), Some(now)) if now != then)
    }

    /// Adds a staged version and gives its number.
    pub(super) fn stage(&mut self, kind: Kind, origin: Origin) -> Result<u64, JournalProblem> {
        if kind != self.kind {
            return Err(JournalProblem::OtherKind);
        }
        if self.set_issued {
            return Err(JournalProblem::Unresolved);
        }
        if let Some(staged) = self.staged {
            return Err(JournalProblem::AlreadyStaged(staged));
        }
        let number = match self.versions.last() {
            Some(last) => last.number + 1,
            None if origin == Origin::Generated => 1,
            None => 0,
        };
        self.versions.push(Version { number, state: VersionState::Staged, origin, sent: false });
        self.staged = Some(number);
        Ok(number)
    }

    /// Notes that the staged version is about to be sent.
    pub(super) fn mark_set_issued(&mut self) -> Result<(), JournalProblem> {
        let staged = self.staged.ok_or(JournalProblem::NothingStaged)?;
        self.entry(staged)?.sent = true;
        self.set_issued = true;
        Ok(())
    }

    /// Notes that the drive has proven to hold `number`: drops the marker and the attempts.
    pub(super) fn activate(
        &mut self,
        number: u64,
        power_cycle: Option<u64>,
    ) -> Result<(), JournalProblem> {
        self.entry(number)?.state = VersionState::Active;
        if self.staged == Some(number) {
            self.staged = None;
        }
        if self.active != Some(number) {
            if let Some(old) = self.active {
                self.entry(old)?.state = VersionState::Superseded;
            }
            self.active = Some(number);
            self.active_since = power_cycle;
        }
        self.set_issued = false;
        self.attempts = 0;
        self.power_cycle = power_cycle;
        Ok(())
    }

    /// Gives up the staged version. One that may once have been sent is kept as superseded.
    pub(super) fn abandon_staged(&mut self) -> Result<(), JournalProblem> {
        let staged = self.staged.ok_or(JournalProblem::NothingStaged)?;
        if self.set_issued {
            return Err(JournalProblem::Unresolved);
        }
        let entry = self.entry(staged)?;
        entry.state = if entry.sent { VersionState::Superseded } else { VersionState::Destroyed };
        self.staged = None;
        Ok(())
    }

    /// Marks an attempt before it is made; gives the marks since this power cycle began.
    pub(super) fn note_attempt(&mut self, power_cycle: Option<u64>) -> u32 {
        self.forget_old_attempts(power_cycle);
        self.attempts = self.attempts.saturating_add(1);
        self.attempts
    }

    /// Clears the marks after a success, or after a power cycle.
    pub(super) fn clear_attempts(&mut self, power_cycle: Option<u64>) {
        self.attempts = 0;
        self.power_cycle = power_cycle.or(self.power_cycle);
    }

    /// Destroys every superseded version.
    pub(super) fn retire_superseded(&mut self) -> Result<Vec<u64>, JournalProblem> {
        if self.set_issued {
            return Err(JournalProblem::Unresolved);
        }
        let superseded = self.versions.iter_mut().filter(|v| v.state == VersionState::Superseded);
        Ok(superseded
            .map(|version| {
                version.state = VersionState::Destroyed;
                version.number
            })
            .collect())
    }

    fn forget_old_attempts(&mut self, power_cycle: Option<u64>) {
        if let Some(now) = power_cycle {
            if self.power_cycle.is_some_and(|then| then != now) {
                self.attempts = 0;
            }
            self.power_cycle = Some(now);
        }
    }

    fn entry(&mut self, number: u64) -> Result<&mut Version, JournalProblem> {
        self.versions
            .iter_mut()
            .find(|version| version.number == number && version.state != VersionState::Destroyed)
            .ok_or(JournalProblem::NoVersion(number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fresh() -> Credential {
        Credential::new("drive", "SID", KeyId::from_bytes([0; 16]), Kind::DrivePin)
    }

    #[test]
    fn an_ordinary_change() {
        let mut c = fresh();
        assert_eq!(c.stage(Kind::DrivePin, Origin::FactoryMsid), Ok(0));
        assert_eq!(c.candidates(), [0]);
        c.activate(0, Some(7)).unwrap();
        assert_eq!(c.stage(Kind::DrivePin, Origin::Generated), Ok(1));
        assert_eq!(c.candidates(), [0]);
        c.mark_set_issued().unwrap();
        assert_eq!(c.candidates(), [1, 0]);
        assert_eq!(c.stage(Kind::DrivePin, Origin::Generated), Err(JournalProblem::Unresolved));
        assert_eq!(c.abandon_staged(), Err(JournalProblem::Unresolved));
        assert_eq!(c.retire_superseded(), Err(JournalProblem::Unresolved));
        c.activate(1, Some(7)).unwrap();
        assert_eq!(c.candidates(), [1, 0]);
        assert!(!c.cycled_since_change(Some(7)) && !c.cycled_since_change(None));
        assert!(c.cycled_since_change(Some(8)));
        assert_eq!(c.retire_superseded(), Ok(vec![0]));
        assert_eq!(c.candidates(), [1]);
        assert_eq!(c.activate(0, None), Err(JournalProblem::NoVersion(0)));
    }

    #[test]
    fn a_first_generated_secret_is_version_1() {
        assert_eq!(fresh().stage(Kind::DrivePin, Origin::Generated), Ok(1));
    }

    #[test]
    fn a_set_that_was_not_taken() {
        let mut c = fresh();
        c.stage(Kind::DrivePin, Origin::FactoryMsid).unwrap();
        c.activate(0, None).unwrap();
        c.stage(Kind::DrivePin, Origin::Generated).unwrap();
        c.mark_set_issued().unwrap();
        c.activate(0, None).unwrap();
        assert!(!c.set_issued);
        assert_eq!(c.staged, Some(1), "to be sent again");
        assert_eq!(c.candidates(), [0, 1], "it was sent once, so it stays a candidate");
        c.abandon_staged().unwrap();
        assert_eq!(c.candidates(), [0, 1]);
        assert_eq!(c.stage(Kind::DrivePin, Origin::Generated), Ok(2));
    }

    #[test]
    fn attempts_count_within_one_power_cycle() {
        let mut c = fresh();
        assert_eq!(c.note_attempt(Some(1)), 1);
        assert_eq!(c.note_attempt(Some(1)), 2);
        assert_eq!(c.note_attempt(None), 3, "an unknown count is no new cycle");
        assert_eq!(c.note_attempt(Some(2)), 1);
        c.clear_attempts(Some(2));
        assert_eq!((c.attempts, c.power_cycle), (0, Some(2)));
        let mut unknown = fresh();
        assert_eq!(unknown.note_attempt(None), 1);
        assert_eq!(unknown.note_attempt(Some(9)), 2, "the mark may be of this cycle");
    }

    /// What the drive does and what the host does, in any order; the drive may take a Set or not,
    /// and its answer may be lost.
    #[derive(Clone, Debug)]
    enum Event {
        Stage,
        Mark,
        SetTaken,
        Learn,
        Abandon,
        Retire,
        PowerCycle,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Stage),
            Just(Event::Mark),
            Just(Event::SetTaken),
            Just(Event::Learn),
            Just(Event::Abandon),
            Just(Event::Retire),
            Just(Event::PowerCycle),
        ]
    }

    proptest! {
        /// I7: whatever happens, the drive's PIN is among the candidates, and its record exists.
        #[test]
        fn the_drives_pin_is_always_a_candidate(events in prop::collection::vec(event(), 0..60)) {
            let mut c = fresh();
            c.stage(Kind::DrivePin, Origin::FactoryMsid).unwrap();
            c.activate(0, Some(0)).unwrap();
            let (mut drive, mut cycle) = (0, 0);
            for event in events {
                match event {
                    Event::Stage => drop(c.stage(Kind::DrivePin, Origin::Generated)),
                    Event::Mark => drop(c.mark_set_issued()),
                    Event::SetTaken if c.set_issued => drive = c.staged.unwrap(),
                    Event::SetTaken => {}
                    Event::Learn => c.activate(drive, Some(cycle)).unwrap(),
                    Event::Abandon => drop(c.abandon_staged()),
                    // The manager retires only after a success with the active version.
                    Event::Retire if c.active == Some(drive) => drop(c.retire_superseded()),
                    Event::Retire => {}
                    Event::PowerCycle => cycle += 1,
                }
                prop_assert!(c.version(drive).is_some());
                prop_assert!(c.candidates().contains(&drive), "{c:?}");
                let mut sorted = c.candidates();
                sorted.sort_unstable();
                sorted.dedup();
                prop_assert_eq!(sorted.len(), c.candidates().len());
                let active = c.versions.iter().filter(|v| v.state == VersionState::Active);
                prop_assert_eq!(active.count(), 1);
            }
        }
    }
}
