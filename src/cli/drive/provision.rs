// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox drive provision`.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::args::ProvisionArgs;
use crate::cli::confirm;
use crate::cli::context::{Context, DrivePath, require_serial};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Report, Table, size};
use crate::cli::progress::Progress;
use crate::drive::sed::Sed;
use crate::drive::{Drive, Protection, RangeReport, RangeSpec};
use crate::manager::plan::{self, Plan};
use crate::manager::{self, catalogue};

pub(super) fn run(context: &Context, args: &ProvisionArgs) -> Result<Exit, Failure> {
    let (mut sed, target, holder) = context.device(&args.device)?.sed()?;
    require_serial(&target)?;
    let ranges = ranges(&sed, args)?;
    ranges.iter().try_for_each(|range| sed.check(range))?;
    if args.erasure.plan {
        context.print(&Planned(plan::provision(&ranges)))?;
        return Ok(Exit::Done);
    }
    let lockbox = context.lockbox()?;
    holder.require_apart(lockbox.dir(), &target)?;
    // Early, so that a lockbox that does not open leaves the drive alone.
    lockbox.unlock()?;
    manager::check_conflicts(&target, &ranges, &lockbox)?;
    let known = catalogue::ranges(&lockbox, &target)?;
    let new: Vec<RangeSpec> =
        ranges.iter().copied().filter(|range| !known.contains(range)).collect();
    let losses = plan::losses(&new);
    let claim = if losses.is_empty() { None } else { Some(holder.claim()?) };
    if !losses.is_empty() {
        confirm::destruction(&target.serial, &losses, args.erasure.yes_erase.as_deref())?;
    }

    let progress = Progress::start();
    let mut step = |what: &str| progress.step(what);
    let reports = manager::provision(&mut sed, &target, &ranges, &lockbox, &mut step)?;
    drop(progress);
    match claim {
        Some(claim) => holder.release(claim),
        None => holder.reread_partitions(),
    }

    let block_size = sed.geometry().block_size;
    let credentials = lockbox.credentials(&target.owner())?;
    context.print(&Provisioned {
        serial: target.serial,
        model: target.model,
        protection: sed.protection(),
        ranges: reports,
        users: ranges.iter().map(Opener::of).collect(),
        credentials: credentials.into_iter().map(|c| c.role).collect(),
        block_size,
    })?;
    Ok(Exit::Done)
}

/// What the options ask for.
fn ranges(sed: &Sed<DrivePath>, args: &ProvisionArgs) -> Result<Vec<RangeSpec>, Failure> {
    if args.no_range {
        return Ok(Vec::new());
    }
    let geometry = sed.geometry();
    Ok(vec![match args.range.as_str() {
        // No user has the Global Range's number; the last one is the least likely to be wanted
        // for a range of its own.
        "global" => {
            RangeSpec { number: 0, extent: None, user: args.user.unwrap_or_else(|| sed.users()) }
        }
        text => {
            let extent = match text {
                "all" => geometry.whole(),
                text => geometry.parse(text).map_err(crate::drive::DriveError::Extent)?,
            };
            RangeSpec { number: 1, extent: Some(extent), user: args.user.unwrap_or(1) }
        }
    }])
}

#[derive(Serialize)]
#[serde(transparent)]
pub(in crate::cli) struct Planned(pub Plan);

impl Report for Planned {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let plan = &self.0;
        for loss in &plan.losses {
            writeln!(out, "LOST  {loss}")?;
        }
        for session in &plan.sessions {
            writeln!(out, "{}", session.with)?;
            for method in &session.methods {
                writeln!(out, "  {method}")?;
            }
        }
        writeln!(
            out,
            "{} round trips in {} session{}. Nothing has been done.",
            plan.round_trips,
            plan.sessions.len(),
            if plan.sessions.len() == 1 { "" } else { "s" }
        )
    }
}

/// Who opens a range.
#[derive(Serialize)]
struct Opener {
    range: u16,
    user: String,
}

impl Opener {
    fn of(range: &RangeSpec) -> Self {
        Self { range: range.number, user: format!("User{}", range.user) }
    }
}

#[derive(Serialize)]
struct Provisioned {
    serial: String,
    model: String,
    protection: Protection,
    ranges: Vec<RangeReport>,
    users: Vec<Opener>,
    credentials: Vec<String>,
    block_size: u32,
}

impl Report for Provisioned {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} {} is provisioned.", self.model, self.serial)?;
        match self.protection {
            Protection::SelfEncrypting => writeln!(out, "The drive encrypts and locks the data.")?,
            Protection::LockingOnly => writeln!(
                out,
                "The drive LOCKS the data but does not promise to encrypt it: whoever reads its \
                 flash chips reads the data."
            )?,
        }
        range_table(out, &self.ranges, self.block_size)?;
        for Opener { range, user } in &self.users {
            let range =
                if *range == 0 { "the Global Range".into() } else { format!("range {range}") };
            writeln!(out, "{user} opens {range}.")?;
        }
        if self.ranges.iter().any(|range| range.read_locked || range.write_locked) {
            writeln!(out, "It is locked now: `opalbox unlock` opens it.")?;
        }
        writeln!(
            out,
            "In the lockbox, each with a PIN of its own: {}.",
            self.credentials.join(", ")
        )
    }
}

/// The ranges as a table.
pub(in crate::cli) fn range_table(
    out: &mut dyn Write,
    ranges: &[RangeReport],
    block_size: u32,
) -> io::Result<()> {
    let mut table =
        Table::new(&["RANGE", "START", "BLOCKS", "SIZE", "READ", "WRITE", "AT POWER-OFF"]);
    for range in ranges {
        let (number, length) = match range.number {
            0 => ("global".to_owned(), "the rest".to_owned()),
            number => (number.to_string(), range.length.to_string()),
        };
        let bytes = match range.number {
            0 => String::new(),
            _ => size(range.length.saturating_mul(u64::from(block_size))),
        };
        table.row([
            number,
            range.start.to_string(),
            length,
            bytes,
            lock(range.read_lock_enabled, range.read_locked).into(),
            lock(range.write_lock_enabled, range.write_locked).into(),
            if range.locks_at_power_off { "locks" } else { "stays" }.into(),
        ]);
    }
    table.write(out)
}

const fn lock(enabled: bool, locked: bool) -> &'static str {
    match (enabled, locked) {
        (false, _) => "not protected",
        (true, false) => "unlocked",
        (true, true) => "LOCKED",
    }
}
