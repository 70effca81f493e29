// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox lockbox …`: make, show and check the place where keys are kept.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::args::{LockboxCommand, LockboxInitArgs, Provider};
use super::context::{Context, tpm_runner};
use super::exit::{Exit, Failure};
use super::output::{Report, Table};
use crate::device::System;
use crate::lockbox::provider::ProviderConfig;
use crate::lockbox::tpm::{BootFacts, PcrChoice, TpmConfig};
use crate::lockbox::{self, Check, FileConfig, Finding, InitOptions, Lockbox, Severity, Status};
use crate::manager::separation;

/// Runs a `lockbox` command.
pub(crate) fn run(context: &Context, command: LockboxCommand) -> Result<Exit, Failure> {
    match command {
        LockboxCommand::Init(args) => init(context, args),
        LockboxCommand::Status => {
            context.print(&Shown(context.lockbox()?.status()?))?;
            Ok(Exit::Done)
        }
        LockboxCommand::Enroll(args) => {
            let lockbox = context.lockbox_asking(args.secret)?;
            if args.pcrs || !args.accept_store {
                lockbox.enroll()?;
            }
            if args.accept_store {
                lockbox.accept_store()?;
            }
            context.print(&Shown(lockbox.status()?))?;
            Ok(Exit::Done)
        }
        LockboxCommand::Check => {
            let lockbox = context.lockbox()?;
            let mut check = lockbox.check()?;
            check_place(&lockbox, &mut check);
            let exit = if check.ok { Exit::Done } else { Exit::Lockbox };
            context.print(&Checked(check))?;
            Ok(exit)
        }
    }
}

/// Adds what is to be said about where the store lies. A lockbox that does not open has been found
/// out by then.
fn check_place(lockbox: &Lockbox, check: &mut Check) {
    let Ok(place) = separation::examine(&System::default(), lockbox) else { return };
    for serial in place.opens {
        check.ok = false;
        check.findings.insert(
            0,
            Finding {
                severity: Severity::Error,
                what: format!("the store lies on the drive {serial}, which it opens"),
                advice: "Move it to another device, and name its new place with --store.".into(),
            },
        );
    }
    for what in place.unknown {
        let advice = "Make sure that it is not a drive that this lockbox opens.".into();
        check.findings.push(Finding { severity: Severity::Warning, what, advice });
    }
}

fn init(context: &Context, args: LockboxInitArgs) -> Result<Exit, Failure> {
    let provider = match args.provider {
        Provider::Tpm => {
            let pcrs = args.pcrs.map_or(PcrChoice::Default, PcrChoice::Given);
            let tcti = context.tcti().cloned().unwrap_or_default();
            let boot = BootFacts::probe(Path::new("/sys"));
            let config = TpmConfig::choose_by(&tpm_runner(), tcti, pcrs, boot, args.admin_pin)
                .map_err(|error| lockbox::Error::Provider(error.into()))?;
            ProviderConfig::Tpm(config)
        }
        Provider::File => ProviderConfig::File(FileConfig::default()),
    };
    let mut options = InitOptions::new(provider, context.prompt(args.secret));
    options.domain = args.domain;
    options.runner = tpm_runner();
    let lockbox = Lockbox::init(context.store(), options)?;
    context.print(&Shown(lockbox.status()?))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Status);

impl Report for Shown {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let status = &self.0;
        writeln!(out, "Lockbox     {}", status.directory.display())?;
        match &status.provider {
            ProviderConfig::Tpm(tpm) => {
                writeln!(out, "Protected   by the TPM at {}, PCRs {}", tpm.tcti, tpm.pcrs)?;
                let admin = if tpm.admin_pin { "set" } else { "none" };
                writeln!(out, "Admin PIN   {admin}")?;
            }
            ProviderConfig::File(_) => writeln!(out, "Protected   by a passphrase")?,
        }
        if let Some(tpm) = &status.tpm {
            let states = if tpm.approved_states == 1 { "boot state" } else { "boot states" };
            writeln!(out, "Approved    {} {states}", tpm.approved_states)?;
        }
        if let Some(head) = status.head {
            writeln!(out, "Anchored    change {head}, counted by the TPM")?;
        }
        let mut table = Table::new(&["DOMAIN", "EPOCH", "KEY TAG", "KEYS", "RECORDS", "ASSETS"]);
        for domain in &status.domains {
            table.row([
                domain.name.clone(),
                domain.epoch.to_string(),
                domain.tag.chars().take(16).collect(),
                domain.keys.to_string(),
                domain.records.to_string(),
                domain.assets.to_string(),
            ]);
        }
        table.write(out)?;
        for (owner, role) in &status.unresolved {
            writeln!(out, "Unsettled   {owner} {role}: a change of its PIN was interrupted")?;
        }
        for warning in &status.warnings {
            writeln!(out, "Warning     {warning}")?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Checked(Check);

impl Report for Checked {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let check = &self.0;
        writeln!(
            out,
            "{} records opened, {} rows verified",
            check.records_opened, check.rows_verified
        )?;
        for finding in &check.findings {
            let word = match finding.severity {
                Severity::Error => "ERROR",
                Severity::Warning => "Warning",
            };
            writeln!(out, "{word}: {}", finding.what)?;
            if !finding.advice.is_empty() {
                writeln!(out, "  next: {}", finding.advice)?;
            }
        }
        if check.ok {
            writeln!(out, "The lockbox is sound.")?;
        }
        Ok(())
    }
}
