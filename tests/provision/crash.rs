// SPDX-License-Identifier: MIT OR Apache-2.0
//! Provisioning is killed at every exchange and every durable write, the drive loses power at
//! every operation on its image, and both in random sequences. Running it again finishes the job,
//! nobody is locked out, and at no moment has the drive a PIN that the lockbox has not.

use std::sync::Arc;

use opal::Pin;
use opal::host::{AdminSp, Authority, Host, LockingSp, SecurityProvider};
use opalbox::drive::{DriveError, EscrowError};
use opalbox::emulator::image::{Cut, Unsynced};
use opalbox::manager::ManagerError;

use crate::lab::{Bench, Killer, Lab};
use crate::random::Random;

/// Two attempts may fail between two power cycles; drives lock out at five, some at three.
const BUDGET: u32 = 2;

#[test]
fn the_host_dies_at_every_point() {
    let lab = Lab::new();
    let mut points = 0;
    loop {
        let mut bench = lab.bench();
        bench.drain = points % 2 == 1;
        let killer = Killer::at(points);
        let result = bench.provision(&killer);
        if !killer.is_dead() {
            result.unwrap();
            break;
        }
        let when = format!("after a kill at point {points}");
        assert_no_pin_is_lost(&lab, &bench, &when);
        // The time that all of it takes is kept down: a power cycle in between every fourth time.
        if points % 4 == 3 {
            let mut powered = lab.copy(&bench);
            finish(&mut powered, &format!("{when} and a power cycle"));
        }
        finish(&mut bench, &when);
        points += 1;
    }
    println!("{points} points");
    assert!(points > 130, "only {points}: are exchanges and writes still points?");
}

#[test]
fn the_drive_loses_power_at_every_operation_of_its_image() {
    let lab = Lab::new();
    let before = lab.bench();
    let start = before.disk.operations();
    before.provision(&Arc::default()).unwrap();
    let operations = before.disk.operations() - start;
    drop(before);
    for n in 0..operations {
        let others = if n % 2 == 0 { Unsynced::Lost } else { Unsynced::Mixed(n) };
        for unsynced in [Unsynced::Kept, others] {
            let mut bench = lab.bench();
            bench.disk.cut(Cut { after: n, torn: (n as usize * 37) % 512 });
            bench.provision(&Arc::default()).unwrap_err();
            assert!(bench.disk.is_dead());
            bench.power_cycle(unsynced);
            let when = format!("after a power cut at operation {n}, {unsynced:?}");
            assert_no_pin_is_lost(&lab, &bench, &when);
            finish(&mut bench, &when);
        }
    }
    println!("{operations} operations");
    assert!(operations > 20, "only {operations}");
}

/// Several kills and power cuts in one provisioning. `SEED=` repeats a run that failed.
#[test]
fn both_die_at_random_again_and_again() {
    let lab = Lab::new();
    let mut random = Random::from_environment();
    for round in 0..60 {
        let mut bench = lab.bench();
        let mut story = format!("seed {} round {round}:", random.seed());
        for _ in 0..random.below(6) + 1 {
            let killer = Killer::at(random.below(150) as usize);
            bench.drain = random.below(2) == 0;
            let cut = Cut { after: random.below(60), torn: random.below(512) as usize };
            if random.below(3) == 0 {
                bench.disk.cut(cut);
            }
            let result = bench.provision(&killer);
            story.push_str(&match &result {
                Ok(_) => " done;".to_owned(),
                Err(error) => format!(" {} points, {error};", killer.seen()),
            });
            if bench.disk.is_dead() || budget_spent(&result) || random.below(4) == 0 {
                let unsynced = [Unsynced::Kept, Unsynced::Lost, Unsynced::Mixed(random.next())];
                bench.power_cycle(unsynced[random.below(3) as usize]);
                story.push_str(" power;");
            } else {
                // Takes an armed cut back.
                bench.disk.cut(Cut { after: u64::MAX, torn: 0 });
            }
            assert!(bench.most_wrong() <= BUDGET, "{story}");
            assert_no_pin_is_lost(&lab, &bench, &story);
        }
        finish(&mut bench, &story);
    }
}

/// Provisioning finishes: at once, or after the power cycle that it asks for.
fn finish(bench: &mut Bench, when: &str) {
    let mut result = bench.provision(&Arc::default());
    assert!(bench.most_wrong() <= BUDGET, "{when}: {} wrong attempts", bench.most_wrong());
    if budget_spent(&result) {
        bench.power_cycle(Unsynced::Kept);
        result = bench.provision(&Arc::default());
    }
    let ranges = result.unwrap_or_else(|error| panic!("{when}: {error}"));
    assert_eq!(ranges.len(), 1, "{when}");
    assert!(ranges[0].locks_at_power_off && ranges[0].read_lock_enabled, "{when}");
    assert_eq!(bench.verify(), Vec::<String>::new(), "{when}");
    assert!(bench.most_wrong() <= BUDGET, "{when}: {} wrong attempts", bench.most_wrong());
    bench.power_cycle(Unsynced::Kept);
    assert_eq!(bench.verify(), Vec::<String>::new(), "{when}, then a power cycle");
    assert_eq!(bench.most_wrong(), 0, "{when}: nothing is in doubt any more");
}

fn budget_spent<T>(result: &Result<T, ManagerError>) -> bool {
    matches!(result, Err(ManagerError::Drive(DriveError::Escrow(EscrowError::BudgetSpent { .. }))))
}

/// On a copy of the drive, each PIN that the lockbox has for a role is tried: one of them is right
/// for SID and, where locking is active, for Admin1 and for User1 if it is enabled. A drive that
/// was never touched has the factory's.
fn assert_no_pin_is_lost(lab: &Lab, bench: &Bench, when: &str) {
    let copy = lab.copy(bench);
    let mut host = Host::new(copy.wire(&Arc::default()), opal::host::Identity::default());
    let active = host.discovery().unwrap().locking().is_some_and(|locking| locking.enabled);
    let mut session = host.start::<AdminSp>().open().unwrap();
    let msid = session.msid().unwrap();
    session.close().unwrap();

    let mut sid = escrowed(&copy, "SID");
    if sid.is_empty() {
        sid.push(msid);
    }
    assert!(opens(&mut host, Authority::SID, &sid), "{when}: SID's PIN is not in the lockbox");
    if !active {
        return;
    }
    let admin1 = escrowed(&copy, "Admin1");
    let opened = admin1.iter().find(|pin| opens(&mut host, Authority::admin(1), &[(*pin).clone()]));
    let admin1 = opened.unwrap_or_else(|| panic!("{when}: Admin1's PIN is not in the lockbox"));
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), admin1).open().unwrap();
    let enabled = session.is_enabled(Authority::user(1)).unwrap();
    session.close().unwrap();
    if enabled {
        let user = escrowed(&copy, "User1");
        let known = opens(&mut host, Authority::user(1), &user);
        assert!(known, "{when}: User1's PIN is not in the lockbox");
    }
}

/// Every PIN of that role that the lockbox can produce.
fn escrowed(bench: &Bench, role: &str) -> Vec<Pin> {
    let lockbox = bench.lockbox();
    let owner = bench.target().owner();
    let Some(credential) = lockbox.credential(&owner, role).unwrap() else { return Vec::new() };
    credential
        .candidates()
        .into_iter()
        .map(|version| {
            let secret = lockbox.credential_secret(&owner, role, version).unwrap();
            Pin::new(secret.expose()).unwrap()
        })
        .collect()
}

fn opens<T: opal::Transport, S: SecurityProvider>(
    host: &mut Host<T>,
    authority: Authority<S>,
    pins: &[Pin],
) -> bool {
    pins.iter().any(|pin| match host.start::<S>().authority(authority, pin).open() {
        Ok(session) => {
            session.close().unwrap();
            true
        }
        Err(opal::Error::NotAuthenticated { .. }) => false,
        Err(error) => panic!("{error}"),
    })
}
