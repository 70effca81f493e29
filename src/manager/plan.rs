// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a change would do, before it is done: sessions, methods, round trips, losses.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::drive::RangeSpec;

/// One session and the methods in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedSession {
    /// SP and authority.
    pub with: String,
    /// Methods in order, StartSession and EndSession included.
    pub methods: Vec<String>,
}

/// A plan. Nothing of it has been done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What will be lost.
    pub losses: Vec<String>,
    /// The sessions.
    pub sessions: Vec<PlannedSession>,
    /// Request and response pairs.
    pub round_trips: usize,
}

/// The plan of provisioning a factory-fresh drive. A drive where part is done already takes fewer
/// steps.
#[must_use]
pub fn provision(ranges: &[RangeSpec]) -> Plan {
    let mut owner = Session::new("Admin SP as Anybody, then SID");
    owner.add("Get C_PIN_MSID");
    owner.add("Authenticate SID with the MSID");
    owner.add("Set C_PIN_SID: a new PIN, escrowed before");
    owner.add("Activate the Locking SP");
    let mut sessions = vec![owner.end()];
    if !ranges.is_empty() {
        sessions.push(Session::new("Admin SP as SID, with the new PIN").end());
    }
    let mut admin = Session::new("Locking SP as Admin1");
    admin.add("Set C_PIN_Admin1: a new PIN, escrowed before");
    if !ranges.is_empty() {
        admin.add("Get LockingInfo");
    }
    let mut users: BTreeMap<u16, Session> = BTreeMap::new();
    for range in ranges {
        let name = name(range.number);
        let user = range.user;
        admin.add(format!("Set {name}: {}lock-enabled, locked at power-off", place(range)));
        for what in ["see", "unlock reading of", "unlock writing of"] {
            admin.add(format!("Set ACE: User{user} may {what} {name}"));
        }
        let with = format!("Locking SP as User{user}, with the new PIN");
        let proof = users.entry(user).or_insert_with(|| Session::new(&with));
        proof.add(format!("Get {name}"));
        proof.add(format!("Set {name}: its locks as they are"));
    }
    for user in users.keys() {
        admin.add(format!("Set C_PIN_User{user}: a new PIN, escrowed before"));
        admin.add(format!("Set User{user}: enabled"));
    }
    sessions.push(admin.end());
    sessions.push(Session::new("Locking SP as Admin1, with the new PIN").end());
    sessions.extend(users.into_values().map(Session::end));
    Plan { losses: losses(ranges), round_trips: count(&sessions), sessions }
}

/// The plan of a revert.
#[must_use]
pub fn revert(psid: bool) -> Plan {
    let with = if psid { "Admin SP as PSID" } else { "Admin SP as SID" };
    let methods = vec!["StartSession".into(), "Revert the Admin SP".into()];
    let sessions = vec![PlannedSession { with: with.into(), methods }];
    Plan {
        losses: vec!["all data on the drive".into(), "every credential of the drive".into()],
        round_trips: count(&sessions),
        sessions,
    }
}

/// The plan of a range's erasure.
#[must_use]
pub fn erase(range: u16) -> Plan {
    let name = name(range);
    let mut admin = Session::new("Locking SP as Admin1");
    admin.add(format!("Get {name}: which media key"));
    admin.add(format!("GenKey of {name}"));
    let sessions = vec![admin.end()];
    Plan { losses: vec![format!("all data in {name}")], round_trips: count(&sessions), sessions }
}

/// What making these ranges costs: a range of its own has a media key of its own, so blocks that
/// move into it become unreadable. The Global Range keeps its data.
#[must_use]
pub fn losses(ranges: &[RangeSpec]) -> Vec<String> {
    ranges
        .iter()
        .filter_map(|range| {
            let extent = range.extent?;
            let last = extent.start + extent.length - 1;
            Some(format!("data on blocks {} to {last} (range {})", extent.start, range.number))
        })
        .collect()
}

struct Session(PlannedSession);

impl Session {
    fn new(with: &str) -> Self {
        Self(PlannedSession { with: with.into(), methods: vec!["StartSession".into()] })
    }

    fn add(&mut self, method: impl Into<String>) {
        self.0.methods.push(method.into());
    }

    fn end(mut self) -> PlannedSession {
        self.add("EndSession");
        self.0
    }
}

fn count(sessions: &[PlannedSession]) -> usize {
    sessions.iter().map(|session| session.methods.len()).sum()
}

fn name(range: u16) -> String {
    if range == 0 { "the Global Range".into() } else { format!("range {range}") }
}

fn place(range: &RangeSpec) -> String {
    match range.extent {
        Some(extent) => format!("{} blocks from {}, ", extent.length, extent.start),
        None => String::new(),
    }
}
