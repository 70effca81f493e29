// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox key …`: Key IDs, versions and what they open. Never a value.

use std::io::{self, Write};

use serde::Serialize;

use super::args::KeyCommand;
use super::context::Context;
use super::exit::{Exit, Failure};
use super::output::{Report, Table};
use crate::lockbox::{KeyInfo, VersionState};

/// Runs a `key` command.
pub(crate) fn run(context: &Context, command: KeyCommand) -> Result<Exit, Failure> {
    let KeyCommand::Show { key_id } = command;
    let mut keys = context.lockbox()?.keys()?;
    if let Some(wanted) = &key_id {
        keys.retain(|key| key.key_id.to_string().starts_with(wanted.as_str()));
        if keys.is_empty() {
            return Err(Failure::new(Exit::Lockbox, format!("no Key ID begins with {wanted}"))
                .advise("`opalbox key show` lists them all"));
        }
    }
    context.print(&Keys { keys, detail: key_id.is_some() })?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Keys {
    keys: Vec<KeyInfo>,
    #[serde(skip)]
    detail: bool,
}

impl Report for Keys {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(&["KEY ID", "KIND", "OWNER", "ROLE", "VERSION", "OPENS"]);
        for key in &self.keys {
            let active = key.versions.iter().rev().find(|v| v.state == VersionState::Active);
            table.row([
                key.key_id.to_string(),
                key.kind.map_or("unknown".into(), |kind| kind.to_string()),
                key.owner.clone().unwrap_or_default(),
                key.role.clone().unwrap_or_default(),
                active.map_or("-".into(), |version| version.number.to_string()),
                key.assets.join(", "),
            ]);
        }
        table.write(out)?;
        if !self.detail {
            return Ok(());
        }
        for key in &self.keys {
            writeln!(out, "\nVersions of {}:", key.key_id)?;
            let mut table = Table::new(&["VERSION", "STATE", "ORIGIN"]);
            for version in &key.versions {
                let state = format!("{:?}", version.state).to_lowercase();
                table.row([version.number.to_string(), state, version.origin.to_string()]);
            }
            table.write(out)?;
        }
        Ok(())
    }
}
