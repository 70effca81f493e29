// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opalbox decode`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::Value;

use super::args::DecodeArgs;
use super::context::Context;
use super::exit::{Exit, Failure};
use super::output::ErasedReport;
use crate::decode::{self, Report};

/// Read no more than this and a byte: `decode` refuses what is larger.
const LIMIT: u64 = (16 << 20) + 1;

/// Runs `decode`.
pub(crate) fn run(context: &Context, args: &DecodeArgs) -> Result<Exit, Failure> {
    let input = read(&args.file).map_err(|error| {
        let what = format!("cannot read {}: {error}", args.file.display());
        Failure::new(Exit::Device, what)
    })?;
    let report =
        decode::decode(&input).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    context.print(&Decoded(report))?;
    Ok(Exit::Done)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut input = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(LIMIT).read_to_end(&mut input)?;
    } else {
        File::open(path)?.take(LIMIT).read_to_end(&mut input)?;
    }
    Ok(input)
}

struct Decoded(Report);

impl ErasedReport for Decoded {
    fn write_human(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", self.0)
    }

    fn value(&self) -> Result<Value, Failure> {
        Ok(self.0.to_json())
    }
}
