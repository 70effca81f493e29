// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox range …`.

use std::io::{self, Write};

use opal::host::DataLoss;
use serde::Serialize;

use super::args::{Access, RangeCommand, RangeCreateArgs, RangeEraseArgs, RangeSelection};
use super::confirm;
use super::context::{Context, require_serial};
use super::drive::{Planned, range_table};
use super::exit::{Exit, Failure};
use super::output::Report;
use super::progress::Progress;
use crate::drive::{Drive, DriveError, Locks, RangeReport, RangeSpec, Role};
use crate::manager::{self, Changed, LockboxEscrow, catalogue, plan};

/// Runs a `range` command.
pub(crate) fn run(context: &Context, command: RangeCommand) -> Result<Exit, Failure> {
    match command {
        RangeCommand::Create(args) => create(context, &args),
        RangeCommand::List(args) => list(context, &args.device),
        RangeCommand::Lock(args) => set_locks(context, &args, true),
        RangeCommand::Unlock(args) => set_locks(context, &args, false),
        RangeCommand::Erase(args) => erase(context, &args),
    }
}

fn create(context: &Context, args: &RangeCreateArgs) -> Result<Exit, Failure> {
    let (mut sed, target, holder) = context.device(&args.device)?.sed()?;
    require_serial(&target)?;
    if args.range == 0 {
        return Err(Failure::new(Exit::Usage, "the Global Range exists already")
            .advise("`opalbox drive provision --range global` protects it"));
    }
    let extent = sed.geometry().parse(&args.extent).map_err(DriveError::Extent)?;
    let user = args.user.unwrap_or(args.range);
    let range = RangeSpec { number: args.range, extent: Some(extent), user };
    sed.check(&range)?;
    let lockbox = context.lockbox()?;
    let known = lockbox.credential(&target.owner(), &Role::User(user).to_string())?.is_some();
    if args.erasure.plan {
        context.print(&Planned(plan::further_range(&range, known)))?;
        return Ok(Exit::Done);
    }
    holder.require_apart(lockbox.dir(), &target)?;
    manager::check_conflicts(&target, &[range], &lockbox)?;
    if !catalogue::ranges(&lockbox, &target)?.contains(&range) {
        let losses = plan::losses(&[range]);
        confirm::destruction(&target.serial, &losses, args.erasure.yes_erase.as_deref())?;
    }
    let claim = holder.claim()?;
    let progress = Progress::start();
    let mut step = |what: &str| progress.step(what);
    let ranges = manager::provision(&mut sed, &target, &[range], &lockbox, &mut step)?;
    drop(progress);
    holder.release(claim);
    let block_size = sed.geometry().block_size;
    context.print(&Ranges { serial: target.serial, ranges, block_size })?;
    Ok(Exit::Done)
}

fn list(context: &Context, name: &str) -> Result<Exit, Failure> {
    let lockbox = context.lockbox()?;
    let (mut sed, target, _) = context.device(name)?.sed()?;
    let ranges = sed.ranges(&mut LockboxEscrow::new(&lockbox, &target))?;
    let block_size = sed.geometry().block_size;
    context.print(&Ranges { serial: target.serial, ranges, block_size })?;
    Ok(Exit::Done)
}

fn set_locks(context: &Context, args: &RangeSelection, locked: bool) -> Result<Exit, Failure> {
    let lockbox = context.lockbox()?;
    let (mut sed, target, holder) = context.device(&args.device)?.sed()?;
    let change =
        |which: Access| (args.access == Access::Both || args.access == which).then_some(locked);
    let locks = Locks { read: change(Access::Read), write: change(Access::Write) };
    let changed = manager::set_locks(&mut sed, &target, &args.ranges, locks, &lockbox)?;
    if !locked {
        holder.reread_partitions();
    }
    context.print(&LocksSet { serial: target.serial, locked, changed })?;
    Ok(Exit::Done)
}

fn erase(context: &Context, args: &RangeEraseArgs) -> Result<Exit, Failure> {
    let (mut sed, target, holder) = context.device(&args.device)?.sed()?;
    require_serial(&target)?;
    let plan = plan::erase(args.range);
    if args.erasure.plan {
        context.print(&Planned(plan))?;
        return Ok(Exit::Done);
    }
    let lockbox = context.lockbox()?;
    let claim = holder.claim()?;
    confirm::destruction(&target.serial, &plan.losses, args.erasure.yes_erase.as_deref())?;
    let loss = DataLoss::accepted_for(&target.serial);
    sed.erase_range(args.range, &loss, &mut LockboxEscrow::new(&lockbox, &target))?;
    holder.release(claim);
    context.print(&Erased { serial: target.serial, range: args.range })?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Erased {
    serial: String,
    range: u16,
}

impl Report for Erased {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: range {} has a new media key; what was in it cannot be read any more",
            self.serial, self.range
        )
    }
}

#[derive(Serialize)]
struct Ranges {
    serial: String,
    ranges: Vec<RangeReport>,
    block_size: u32,
}

impl Report for Ranges {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        range_table(out, &self.ranges, self.block_size)
    }
}

#[derive(Serialize)]
struct LocksSet {
    serial: String,
    locked: bool,
    #[serde(flatten)]
    changed: Changed,
}

impl Report for LocksSet {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.locked { "locked" } else { "unlocked" };
        let names: Vec<String> = self.changed.ranges.iter().map(u16::to_string).collect();
        let noun = if names.len() == 1 { "range" } else { "ranges" };
        writeln!(out, "{}: {noun} {} {verb}", self.serial, names.join(", "))
    }
}
