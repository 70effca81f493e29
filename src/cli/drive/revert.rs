// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox drive revert`.

use std::io::{self, Write};

use opal::Pin;
use opal::host::DataLoss;
use serde::Serialize;

use super::provision::Planned;
use crate::cli::args::RevertArgs;
use crate::cli::confirm;
use crate::cli::context::{Context, require_serial};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Report;
use crate::cli::progress::Progress;
use crate::manager::{self, plan};

pub(super) fn run(context: &Context, args: &RevertArgs) -> Result<Exit, Failure> {
    let (mut sed, target, holder) = context.device(&args.device)?.sed()?;
    require_serial(&target)?;
    let plan = plan::revert(args.psid);
    if args.erasure.plan {
        context.print(&Planned(plan))?;
        return Ok(Exit::Done);
    }
    // With a PSID a drive can be reverted that no lockbox knows.
    let lockbox = if args.psid { context.lockbox_if_any()? } else { Some(context.lockbox()?) };
    let claim = holder.claim()?;
    confirm::destruction(&target.serial, &plan.losses, args.erasure.yes_erase.as_deref())?;
    let psid = if args.psid { Some(psid(args)?) } else { None };

    let progress = Progress::start();
    progress.step("reverting the drive");
    let loss = DataLoss::accepted_for(&target.serial);
    match &lockbox {
        Some(lockbox) => manager::revert(&mut sed, &target, psid.as_ref(), &loss, lockbox)?,
        None => {
            if let Some(psid) = &psid {
                sed.psid_revert(psid, &loss)?;
            }
        }
    }
    drop(progress);
    holder.release(claim);
    context.print(&Reverted { serial: target.serial, forgotten: lockbox.is_some() })?;
    Ok(Exit::Done)
}

/// The PSID as printed on labels: dashes and blanks do not count, letters keep their case, and 32
/// characters are left (quirk C17).
fn psid(args: &RevertArgs) -> Result<Pin, Failure> {
    let typed = args.secret.read("PSID from the drive's label", "opalbox-psid")?;
    let mut kept = zeroize::Zeroizing::new(Vec::with_capacity(typed.expose().len()));
    let significant = |byte: &u8| !matches!(byte, b'-' | b' ' | b'\t' | b'\r' | b'\n');
    kept.extend(typed.expose().iter().copied().filter(significant));
    if kept.len() != opal::pin::MAX_PIN {
        return Err(Failure::new(
            Exit::Secret,
            format!("a PSID has 32 characters beside dashes and blanks, this has {}", kept.len()),
        )
        .advise("copy it from the label again: 0 and O, 1 and I, 8 and B are easily mistaken"));
    }
    Pin::new(&kept).map_err(|error| Failure::new(Exit::Secret, error.to_string()))
}

#[derive(Serialize)]
struct Reverted {
    serial: String,
    forgotten: bool,
}

impl Report for Reverted {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} is in factory state; all data on it is gone.", self.serial)?;
        if self.forgotten {
            writeln!(out, "Its credentials were destroyed in the lockbox.")?;
        }
        Ok(())
    }
}
