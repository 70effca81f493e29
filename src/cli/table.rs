// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox mbr …` and `opalbox datastore …`: the drive's byte tables.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use opal::host::MbrControl;
use serde::Serialize;

use super::args::{DatastoreCommand, MbrCommand};
use super::context::{Context, DrivePath, require_serial};
use super::exit::{Exit, Failure};
use super::output::{Report, size};
use super::progress::Progress;
use crate::drive::sed::{Sed, Table};
use crate::lockbox::Lockbox;
use crate::manager::{LockboxEscrow, Target};

/// No table of a drive is larger.
const MAX_TABLE: u64 = 1 << 30;

/// A drive with the lockbox that opens it.
struct Owned {
    lockbox: Lockbox,
    sed: Sed<DrivePath>,
    target: Target,
}

impl Owned {
    fn open(context: &Context, device: &str) -> Result<Self, Failure> {
        let (sed, target, _) = context.device(device)?.sed()?;
        require_serial(&target)?;
        let lockbox = context.lockbox()?;
        lockbox.unlock()?;
        Ok(Self { lockbox, sed, target })
    }

    fn size(&mut self, table: Table) -> Result<u64, Failure> {
        let mut escrow = LockboxEscrow::new(&self.lockbox, &self.target);
        Ok(self.sed.table_size(table, &mut escrow)?)
    }

    fn write(&mut self, table: Table, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let progress = Progress::bytes(data.len());
        let mut escrow = LockboxEscrow::new(&self.lockbox, &self.target);
        let mut told = |done: usize| progress.done(done);
        Ok(self.sed.write_table(table, offset, data, &mut escrow, &mut told)?)
    }

    fn read(&mut self, table: Table, offset: u64, length: Option<u64>) -> Result<Vec<u8>, Failure> {
        let size = self.size(table)?;
        let length = length.unwrap_or(size.saturating_sub(offset));
        if offset.saturating_add(length) > size || length > MAX_TABLE {
            return Err(Failure::new(
                Exit::Usage,
                format!("bytes {offset} to {} lie past the table's {size}", offset + length),
            ));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let progress = Progress::bytes(length);
        let mut escrow = LockboxEscrow::new(&self.lockbox, &self.target);
        let mut told = |done: usize| progress.done(done);
        let mut data = self.sed.read_table(table, offset, length, &mut escrow, &mut told)?;
        Ok(std::mem::take(&mut *data))
    }

    fn control(
        mut self,
        context: &Context,
        enable: Option<bool>,
        done: Option<bool>,
    ) -> Result<Exit, Failure> {
        let mut escrow = LockboxEscrow::new(&self.lockbox, &self.target);
        let control = match (enable, done) {
            (None, None) => self.sed.mbr_control(&mut escrow)?,
            _ => self.sed.set_mbr_control(enable, done, &mut escrow)?,
        };
        let bytes = self.size(Table::Mbr)?;
        context.print(&Shadow::new(self.target.serial, control, bytes))?;
        Ok(Exit::Done)
    }
}

/// Runs an `mbr` command.
pub(crate) fn mbr(context: &Context, command: &MbrCommand) -> Result<Exit, Failure> {
    match command {
        MbrCommand::Show(args) => Owned::open(context, &args.device)?.control(context, None, None),
        MbrCommand::Enable(args) => {
            Owned::open(context, &args.device)?.control(context, Some(true), None)
        }
        MbrCommand::Disable(args) => {
            Owned::open(context, &args.device)?.control(context, Some(false), None)
        }
        MbrCommand::Done(args) => {
            Owned::open(context, &args.device)?.control(context, None, Some(true))
        }
        MbrCommand::Load(args) => {
            let image = load(&args.image)?;
            let mut owned = Owned::open(context, &args.device)?;
            owned.write(Table::Mbr, 0, &image)?;
            moved(context, owned.target.serial, "written to the shadow MBR", image.len())
        }
        MbrCommand::Read(args) => {
            let mut owned = Owned::open(context, &args.device)?;
            let data = owned.read(Table::Mbr, 0, args.length)?;
            save(&args.to, &data)?;
            moved(context, owned.target.serial, "read from the shadow MBR", data.len())
        }
    }
}

/// Runs a `datastore` command.
pub(crate) fn datastore(context: &Context, command: &DatastoreCommand) -> Result<Exit, Failure> {
    match command {
        DatastoreCommand::Read(args) => {
            let mut owned = Owned::open(context, &args.device)?;
            let data = owned.read(Table::DataStore(args.table.max(1)), args.offset, args.length)?;
            save(&args.to, &data)?;
            moved(context, owned.target.serial, "read from the DataStore", data.len())
        }
        DatastoreCommand::Write(args) => {
            let data = load(&args.from)?;
            let mut owned = Owned::open(context, &args.device)?;
            owned.write(Table::DataStore(args.table.max(1)), args.offset, &data)?;
            moved(context, owned.target.serial, "written to the DataStore", data.len())
        }
    }
}

fn load(path: &Path) -> Result<Vec<u8>, Failure> {
    let refuse = |error: io::Error| {
        Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()))
    };
    let mut data = Vec::new();
    File::open(path).map_err(refuse)?.take(MAX_TABLE + 1).read_to_end(&mut data).map_err(refuse)?;
    if data.len() as u64 > MAX_TABLE {
        return Err(Failure::new(Exit::Usage, "no drive has a table of more than a gibibyte"));
    }
    Ok(data)
}

/// A new file, readable by its owner only: a DataStore may hold secrets.
fn save(path: &Path, data: &[u8]) -> Result<(), Failure> {
    let refuse = |error: io::Error| {
        Failure::new(Exit::Busy, format!("cannot make {}: {error}", path.display()))
            .advise("name a file that does not exist yet")
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(refuse)?;
    file.write_all(data).and_then(|()| file.sync_all()).map_err(refuse)
}

fn moved(
    context: &Context,
    serial: String,
    what: &'static str,
    bytes: usize,
) -> Result<Exit, Failure> {
    context.print(&Moved { serial, what, bytes })?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Moved {
    serial: String,
    #[serde(skip)]
    what: &'static str,
    bytes: usize,
}

impl Report for Moved {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: {} {}", self.serial, size(self.bytes as u64), self.what)
    }
}

#[derive(Serialize)]
struct Shadow {
    serial: String,
    enabled: bool,
    done: bool,
    returns_at_power_off: bool,
    bytes: u64,
}

impl Shadow {
    fn new(serial: String, control: MbrControl, bytes: u64) -> Self {
        Self {
            serial,
            enabled: control.enable,
            done: control.done,
            returns_at_power_off: control
                .done_on_reset
                .contains(opal::host::ResetTypes::POWER_CYCLE),
            bytes,
        }
    }
}

impl Report for Shadow {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let state = match (self.enabled, self.done) {
            (false, _) => "off: the drive shows its own blocks",
            (true, false) => "shown in place of the drive's first blocks",
            (true, true) => "done: the drive shows its own blocks until the next power cycle",
        };
        writeln!(out, "{}: shadow MBR of {}, {state}", self.serial, size(self.bytes))
    }
}
