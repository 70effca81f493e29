// SPDX-License-Identifier: MIT OR Apache-2.0
//! `create` and `info`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use opal::Pin;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::image::{Header, ReadOnlyFile};
use super::super::profile::{Choices, NamedProfile, PROFILES, label};
use super::super::{Drive, DriveError};
use super::{CliError, file_error, size};

/// Table or JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs; has a `version`.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The file to make; it must not exist.
    image: PathBuf,
    /// Size of the media: a whole number of megabytes, such as 256M or 4G. Takes space as used.
    #[arg(long, value_parser = size)]
    size: u64,
    /// What kind of drive; `--profile help` lists them.
    #[arg(long, default_value = "opal2")]
    profile: String,
    /// Bytes in a logical block: 512 or 4096.
    #[arg(long, default_value_t = 512)]
    block_size: u32,
    /// Serial number, at most 20 characters; random if left out.
    #[arg(long)]
    serial: Option<String>,
    /// Model, at most 40 characters.
    #[arg(long)]
    model: Option<String>,
    /// MSID, at most 32 characters; random if left out. Not a secret: the drive tells it to anybody.
    #[arg(long)]
    msid: Option<String>,
    /// Work that checking a PIN takes. Fewer rounds make tests faster and weak PINs weaker.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pbkdf2_rounds: u32,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
pub(super) struct Info {
    /// The image file.
    image: PathBuf,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Create {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), CliError> {
        let Some(profile) = NamedProfile::find(&self.profile) else {
            let names: Vec<String> = PROFILES
                .iter()
                .map(|profile| format!("  {:<14} {}", profile.name, profile.about))
                .collect();
            let list = names.join("\n");
            return Err(CliError::Argument(format!(
                "no profile `{}`; there are:\n{list}",
                self.profile
            )));
        };
        let choices = Choices {
            size: self.size,
            block_size: self.block_size,
            serial: self.serial.clone(),
            model: self.model.clone(),
            msid: self.msid.clone(),
        };
        let header = profile.header(&choices)?;
        let psid = Zeroizing::new(label(32)?);
        let pin = Pin::new(psid.as_bytes())
            .map_err(|error| CliError::Argument(format!("PSID: {error}")))?;
        if self.image.exists() {
            let error = std::io::ErrorKind::AlreadyExists.into();
            return Err(file_error(&self.image, error));
        }
        Drive::create(&self.image, &header, &pin, self.pbkdf2_rounds)?;
        match self.output {
            Format::Table => {
                describe(&header, out)?;
                writeln!(out, "PSID          {}", psid.as_str())?;
                writeln!(
                    out,
                    "\nThe PSID is this drive's label. It is shown once and not stored: keep it, it is \
                     the\nonly way to reset a drive whose PINs are lost (the data goes with them)."
                )?;
            }
            Format::Json => {
                let mut object = object(&header);
                object["psid"] = json!(psid.as_str());
                writeln!(out, "{object}")?;
            }
        }
        Ok(())
    }
}

impl Info {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), CliError> {
        let file =
            std::fs::File::open(&self.image).map_err(|error| file_error(&self.image, error))?;
        let header = Header::read(&ReadOnlyFile(file)).map_err(DriveError::Image)?;
        match self.output {
            Format::Table => describe(&header, out)?,
            Format::Json => writeln!(out, "{}", object(&header))?,
        }
        Ok(())
    }
}

fn describe(header: &Header, out: &mut dyn Write) -> Result<(), std::io::Error> {
    let geometry = &header.profile.geometry;
    writeln!(out, "Model         {}", header.model)?;
    writeln!(out, "Serial        {}", header.serial)?;
    writeln!(out, "Firmware      {}", header.firmware)?;
    writeln!(out, "Profile       {}", header.profile_name)?;
    writeln!(
        out,
        "Capacity      {} blocks of {} bytes ({} MiB)",
        header.profile.blocks,
        geometry.block_size,
        (header.profile.blocks * u64::from(geometry.block_size)) >> 20
    )?;
    writeln!(out, "MSID          {}", String::from_utf8_lossy(&header.profile.msid))?;
    Ok(())
}

fn object(header: &Header) -> serde_json::Value {
    json!({
        "version": 1,
        "model": header.model,
        "serial": header.serial,
        "firmware": header.firmware,
        "profile": header.profile_name,
        "block_size": header.profile.geometry.block_size,
        "blocks": header.profile.blocks,
        "wwn": format!("{:016x}", header.wwn),
        "msid": String::from_utf8_lossy(&header.profile.msid),
    })
}
