// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox drive list`: what is there, and why something is no self-encrypting drive.

use std::io::{self, Write};

use opal::wire::discovery::{Discovery, FeatureCode};
use serde::Serialize;

use crate::cli::args::ListArgs;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Report, Table, size};
use crate::device::{self, Found, System};
use crate::manager::{catalogue, doctor};

pub(super) fn run(context: &Context, args: &ListArgs) -> Result<Exit, Failure> {
    let lockbox = context.lockbox_if_any()?;
    let mut names: Vec<String> = args.devices.clone();
    if let Some(lockbox) = &lockbox {
        // Emulated drives are found only through the catalogue.
        for entry in catalogue::entries(lockbox)? {
            let hint = entry.target.device;
            if hint.starts_with("sim:") && !names.contains(&hint) {
                names.push(hint);
            }
        }
    }
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for name in &names {
        match try_look(context, name, lockbox.as_ref()) {
            Ok(row) => rows.push(row),
            // A drive of the catalogue may be elsewhere today.
            Err(_) if !args.devices.contains(name) => {}
            Err(failure) => failures.push(failure),
        }
    }
    for found in device::enumerate(&System::default())? {
        let node = found.node.display().to_string();
        match &found.not_sed {
            Some(reason) if args.all => rows.push(Row {
                device: node,
                model: found.model.clone(),
                serial: found.serial.clone(),
                bytes: found.capacity,
                sed: false,
                security: String::new(),
                state: reason.to_string(),
            }),
            Some(_) => {}
            None => {
                let row = try_look(context, &node, lockbox.as_ref())
                    .unwrap_or_else(|failure| unreadable(&found, failure));
                if row.sed || args.all {
                    rows.push(row);
                }
            }
        }
    }
    let only_failure = if rows.is_empty() { failures.pop() } else { None };
    for failure in &failures {
        output::print_words(failure);
    }
    if let Some(failure) = only_failure {
        return Err(failure);
    }
    context.print(&List { drives: rows, all: args.all })?;
    Ok(if failures.is_empty() { Exit::Done } else { Exit::Partial })
}

/// A device that the kernel lists and that does not answer.
fn unreadable(found: &Found, failure: Failure) -> Row {
    Row {
        device: found.node.display().to_string(),
        model: found.model.clone(),
        serial: found.serial.clone(),
        bytes: found.capacity,
        sed: false,
        security: String::new(),
        state: failure.what,
    }
}

fn try_look(
    context: &Context,
    name: &str,
    lockbox: Option<&crate::lockbox::Lockbox>,
) -> Result<Row, Failure> {
    let mut device = context.device(name)?;
    let discovery = super::discovery(&mut device.opened.transport)?;
    let block_size = device.identity.logical_block_size;
    let diagnosis = doctor::examine(discovery.as_ref(), &device.target, block_size, lockbox)?;
    let sed = diagnosis.condition != doctor::Condition::NoSecurity;
    let state = match (diagnosis.condition, diagnosis.owner) {
        _ if diagnosis.reverted => "UNPROTECTED: reverted elsewhere".into(),
        (doctor::Condition::NoSecurity, _) => "no TCG security".into(),
        (doctor::Condition::Unowned, _) => "unprotected".into(),
        (doctor::Condition::Inactive, owner) => format!("unprotected, owner: {}", words(owner)),
        (doctor::Condition::Unlocked, owner) => format!("unlocked, owner: {}", words(owner)),
        (doctor::Condition::Locked, owner) => format!("locked, owner: {}", words(owner)),
    };
    Ok(Row {
        device: device.target.device,
        model: device.target.model,
        serial: device.target.serial,
        bytes: device.identity.capacity,
        sed,
        security: discovery.as_ref().map(security).unwrap_or_default(),
        state,
    })
}

fn security(discovery: &Discovery) -> String {
    let name = |code: FeatureCode| code.name().map_or_else(|| code.to_string(), str::to_owned);
    let names: Vec<String> = discovery.sscs().map(name).collect();
    names.join(", ")
}

const fn words(owner: doctor::Owner) -> &'static str {
    match owner {
        doctor::Owner::Nobody => "nobody",
        doctor::Owner::ThisLockbox => "this lockbox",
        doctor::Owner::SomebodyElse => "somebody else",
        doctor::Owner::Unknown => "unknown",
    }
}

#[derive(Serialize)]
struct List {
    drives: Vec<Row>,
    #[serde(skip)]
    all: bool,
}

#[derive(Serialize)]
struct Row {
    device: String,
    model: String,
    serial: String,
    bytes: u64,
    sed: bool,
    security: String,
    state: String,
}

impl Report for List {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.drives.is_empty() {
            let more = if self.all { "" } else { "; --all shows the other devices and why" };
            return writeln!(out, "No self-encrypting drive was found{more}.");
        }
        let mut table = Table::new(&["DEVICE", "MODEL", "SERIAL", "SIZE", "SECURITY", "STATE"]);
        for row in &self.drives {
            let bytes = if row.bytes == 0 { String::new() } else { size(row.bytes) };
            table.row([&row.device, &row.model, &row.serial, &bytes, &row.security, &row.state]);
        }
        table.write(out)
    }
}
