// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox drive show`: what a drive says about itself.

use std::io::{self, Write};

use opal::wire::print::Printer;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Report, size};
use crate::device::Identity;

pub(super) fn run(context: &Context, name: &str) -> Result<Exit, Failure> {
    let mut device = context.device(name)?;
    let discovery = super::discovery(&mut device.opened.transport)?;
    let shown = discovery
        .as_ref()
        .map(|discovery| words(&Printer::new().received(1, 1, &discovery.to_bytes()).to_string()));
    context.print(&Shown {
        device: device.target.device,
        identity: device.identity,
        path: device.opened.route.to_string(),
        level0_hex: discovery.as_ref().map(|discovery| hex(&discovery.to_bytes())),
        discovery: shown,
    })?;
    Ok(Exit::Done)
}

/// A printed message without its own heading, which tells this reader nothing.
fn words(message: &str) -> String {
    let body = message.lines().skip_while(|line| line.starts_with("IF-RECV"));
    let lines: Vec<&str> = body
        .filter(|line| !line.is_empty())
        .map(|line| line.strip_prefix("  ").unwrap_or(line))
        .collect();
    lines.join("\n")
}

#[derive(Serialize)]
struct Shown {
    device: String,
    #[serde(flatten)]
    identity: Identity,
    path: String,
    level0_hex: Option<String>,
    discovery: Option<String>,
}

impl Report for Shown {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let identity = &self.identity;
        writeln!(out, "Device    {} ({}, {})", self.device, identity.interface, self.path)?;
        writeln!(out, "Model     {}", identity.model)?;
        writeln!(out, "Serial    {}", identity.serial)?;
        writeln!(out, "Firmware  {}", identity.firmware)?;
        writeln!(
            out,
            "Capacity  {} in blocks of {} bytes",
            size(identity.capacity),
            identity.logical_block_size
        )?;
        if let Some(cycles) = identity.power_cycles {
            writeln!(out, "Powered   {cycles} times")?;
        }
        match &self.discovery {
            Some(text) => writeln!(out, "\n{text}"),
            None => {
                writeln!(out, "\nNo TCG security: not a self-encrypting drive through this path.")
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
