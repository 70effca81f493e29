// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox unlock`: everything that this machine should open, all drives at once.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::thread;

use serde::Serialize;

use super::args::UnlockArgs;
use super::context::Context;
use super::exit::{Exit, Failure};
use super::output::{self, Report, Table};
use crate::device::{self, System};
use crate::drive::Locks;
use crate::lockbox::Lockbox;
use crate::manager::{self, catalogue};

/// Runs `unlock`.
pub(crate) fn run(context: &Context, args: &UnlockArgs) -> Result<Exit, Failure> {
    let lockbox = context.lockbox()?;
    lockbox.unlock()?;
    let devices = if args.devices.is_empty() { present(&lockbox)? } else { named(args) };
    let results: Vec<Outcome> = thread::scope(|scope| {
        let workers: Vec<_> =
            devices.iter().map(|wanted| scope.spawn(|| open(context, &lockbox, wanted))).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    let opened = results.iter().filter(|outcome| outcome.error.is_none()).count();
    let complete = results.len() == devices.len();
    let exit = match (results.len() - opened, opened) {
        (0, _) if complete => Exit::Done,
        // One drive was asked for, or none opened: its own reason is the better answer.
        (_, 0) => results.first().map_or(Exit::Partial, |outcome| outcome.exit),
        _ => Exit::Partial,
    };
    for outcome in &results {
        if let Some(error) = &outcome.error {
            let failure = Failure {
                what: format!("{}: {error}", outcome.device),
                advice: outcome.advice.clone(),
                exit: outcome.exit,
            };
            output::print_words(&failure);
        }
    }
    context.print(&Unlocked { drives: results })?;
    Ok(exit)
}

/// A drive to open.
struct Wanted {
    device: String,
    /// Whose serial must be there; `None` where the user named the device.
    serial: Option<String>,
}

fn named(args: &UnlockArgs) -> Vec<Wanted> {
    args.devices.iter().map(|device| Wanted { device: device.clone(), serial: None }).collect()
}

/// Every drive of the catalogue, where it is now: by its serial among this machine's devices, or
/// where it was last seen.
fn present(lockbox: &Lockbox) -> Result<Vec<Wanted>, Failure> {
    let nodes: BTreeMap<String, String> = device::enumerate(&System::default())?
        .into_iter()
        .filter(|found| found.not_sed.is_none() && !found.serial.trim().is_empty())
        .map(|found| (found.serial.trim().to_owned(), found.node.display().to_string()))
        .collect();
    Ok(catalogue::entries(lockbox)?
        .into_iter()
        .map(|entry| {
            let target = entry.target;
            let device = nodes.get(&target.serial).cloned().unwrap_or(target.device);
            Wanted { device, serial: Some(target.serial) }
        })
        .collect())
}

fn open(context: &Context, lockbox: &Lockbox, wanted: &Wanted) -> Outcome {
    let mut outcome = Outcome {
        device: wanted.device.clone(),
        serial: wanted.serial.clone(),
        ranges: Vec::new(),
        error: None,
        advice: None,
        exit: Exit::Done,
    };
    match try_open(context, lockbox, wanted) {
        Ok((serial, changed)) => {
            outcome.serial = Some(serial);
            outcome.ranges = changed.ranges;
        }
        Err(failure) => {
            outcome.error = Some(failure.what);
            outcome.advice = failure.advice;
            outcome.exit = failure.exit;
        }
    }
    outcome
}

fn try_open(
    context: &Context,
    lockbox: &Lockbox,
    wanted: &Wanted,
) -> Result<(String, manager::Changed), Failure> {
    let (mut sed, target, holder) = context.device(&wanted.device)?.sed()?;
    if let Some(serial) = wanted.serial.as_ref().filter(|serial| **serial != target.serial) {
        let text = format!("another drive is there: {} instead of {serial}", target.serial);
        return Err(Failure::new(Exit::Device, text));
    }
    let locks = Locks { read: Some(false), write: Some(false) };
    let changed = manager::set_locks(&mut sed, &target, &[], locks, lockbox)?;
    holder.reread_partitions();
    Ok((target.serial, changed))
}

#[derive(Serialize)]
struct Unlocked {
    drives: Vec<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    device: String,
    serial: Option<String>,
    ranges: Vec<u16>,
    error: Option<String>,
    advice: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

impl Report for Unlocked {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.drives.is_empty() {
            return writeln!(out, "The lockbox opens no drive yet.");
        }
        let mut table = Table::new(&["DEVICE", "SERIAL", "RANGES", "RESULT"]);
        for drive in &self.drives {
            let ranges: Vec<String> = drive.ranges.iter().map(u16::to_string).collect();
            table.row([
                drive.device.clone(),
                drive.serial.clone().unwrap_or_default(),
                ranges.join(", "),
                if drive.error.is_none() { "unlocked" } else { "failed" }.into(),
            ]);
        }
        table.write(out)
    }
}
