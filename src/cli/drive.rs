// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox drive …`.

mod list;
mod provision;
mod revert;
mod show;

pub(super) use provision::{Planned, range_table};

use std::io::{self, Write};

use opal::Transport;
use opal::host::{Host, Identity as HostIdentity};
use opal::wire::discovery::Discovery;
use serde::Serialize;

use super::args::{BlockSidArgs, DriveCommand};
use super::context::{Context, DrivePath};
use super::exit::{Exit, Failure};
use super::output::Report;
use crate::manager::doctor::{self, Diagnosis, Note};
use crate::manager::{self, Target};

/// Runs a `drive` command.
pub(crate) fn run(context: &Context, command: DriveCommand) -> Result<Exit, Failure> {
    match command {
        DriveCommand::List(args) => list::run(context, &args),
        DriveCommand::Show(args) => show::run(context, &args.device),
        DriveCommand::Doctor(args) => examine(context, &args.device),
        DriveCommand::Provision(args) => provision::run(context, &args),
        DriveCommand::Verify(args) => verify(context, &args.device),
        DriveCommand::Revert(args) => revert::run(context, &args),
        DriveCommand::BlockSid(args) => block_sid(context, &args),
    }
}

/// Discovery of a device that may be no self-encrypting drive.
pub(super) fn discovery(transport: &mut DrivePath) -> Result<Option<Discovery>, Failure> {
    let mut host = Host::new(transport as &mut dyn Transport, HostIdentity::default());
    match host.discovery() {
        Ok(discovery) => Ok(Some(discovery)),
        Err(opal::Error::Transport(error))
            if error.kind == opal::TransportErrorKind::Unsupported
                || error.kind == opal::TransportErrorKind::InvalidCommand =>
        {
            Ok(None)
        }
        Err(opal::Error::Transport(error)) => Err(opal::Error::Transport(error).into()),
        Err(_) => Ok(None),
    }
}

fn examine(context: &Context, name: &str) -> Result<Exit, Failure> {
    let mut device = context.device(name)?;
    let found = discovery(&mut device.opened.transport)?;
    let lockbox = context.lockbox_if_any()?;
    let block_size = device.identity.logical_block_size;
    let diagnosis = doctor::examine(found.as_ref(), &device.target, block_size, lockbox.as_ref())?;
    context.print(&Examined::new(&device.target, diagnosis))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Examined {
    device: String,
    serial: String,
    model: String,
    #[serde(flatten)]
    diagnosis: Diagnosis,
}

impl Examined {
    fn new(target: &Target, diagnosis: Diagnosis) -> Self {
        Self {
            device: target.device.clone(),
            serial: target.serial.clone(),
            model: target.model.clone(),
            diagnosis,
        }
    }
}

impl Report for Examined {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let diagnosis = &self.diagnosis;
        let condition = match diagnosis.condition {
            doctor::Condition::NoSecurity => "no TCG security",
            doctor::Condition::Unowned => "factory state: nothing is protected",
            doctor::Condition::Inactive => "owned, but locking is not active: nothing is protected",
            doctor::Condition::Unlocked => "locking is active, nothing is locked now",
            doctor::Condition::Locked => "locked",
        };
        let owner = match diagnosis.owner {
            doctor::Owner::Nobody => "nobody",
            doctor::Owner::ThisLockbox => "this lockbox",
            doctor::Owner::SomebodyElse => "somebody else",
            doctor::Owner::Unknown => "cannot be told without using up an attempt",
        };
        writeln!(out, "Drive  {} {}", self.model, self.serial)?;
        writeln!(out, "State  {condition}")?;
        writeln!(out, "Owner  {owner}")?;
        for Note { problem, what } in &diagnosis.notes {
            writeln!(out, "{}  {what}", if *problem { "WRONG" } else { "Note " })?;
        }
        writeln!(out, "Next   {}", diagnosis.next)
    }
}

fn verify(context: &Context, name: &str) -> Result<Exit, Failure> {
    let lockbox = context.lockbox()?;
    let (mut sed, target, _) = context.device(name)?.sed()?;
    let wrong = manager::verify(&mut sed, &target, &lockbox)?;
    let exit = if wrong.is_empty() { Exit::Done } else { Exit::Partial };
    context.print(&Verified { serial: target.serial, ok: wrong.is_empty(), wrong })?;
    Ok(exit)
}

#[derive(Serialize)]
struct Verified {
    serial: String,
    ok: bool,
    wrong: Vec<String>,
}

impl Report for Verified {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for wrong in &self.wrong {
            writeln!(out, "WRONG  {wrong}")?;
        }
        if self.ok {
            writeln!(out, "{}: every credential is accepted, every setting holds", self.serial)?;
        }
        Ok(())
    }
}

fn block_sid(context: &Context, args: &BlockSidArgs) -> Result<Exit, Failure> {
    let (mut sed, target, _) = context.device(&args.device)?.sed()?;
    sed.block_sid(args.until_hardware_reset)?;
    context.print(&Blocked { serial: target.serial, blocked: true })?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Blocked {
    serial: String,
    blocked: bool,
}

impl Report for Blocked {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: nobody can become its owner until the next power cycle", self.serial)
    }
}
