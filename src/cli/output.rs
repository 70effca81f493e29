// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a command prints: a table or text for a person, or JSON with `"version": 1`.
//! Results go to standard output, words about them to standard error.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::exit::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and text.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// Version of the JSON documents. Fields are added without raising it, never renamed.
pub(crate) const JSON_VERSION: u32 = 1;

/// A result that prints both ways.
pub(crate) trait Report: Serialize {
    /// Writes the form for a person.
    ///
    /// # Errors
    /// Standard output is gone.
    fn human(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Prints `report`.
///
/// # Errors
/// Standard output is gone, or the report does not serialise.
pub(crate) fn print(format: Format, report: &dyn ErasedReport) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match format {
        Format::Table => report.write_human(&mut out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &versioned(report.value()?))
                .map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Prints a failure: words on standard error, and a JSON document where JSON was asked for.
pub(crate) fn print_failure(format: Format, failure: &Failure) {
    print_words(failure);
    if format == Format::Json {
        let document = versioned(json!({ "error": {
            "what": failure.what,
            "advice": failure.advice,
            "exit": failure.exit as u8,
        }}));
        if let Ok(text) = serde_json::to_string_pretty(&document) {
            let _ = writeln!(io::stdout(), "{text}");
        }
    }
}

/// Prints the words about a failure on standard error.
pub(crate) fn print_words(failure: &Failure) {
    // Nowhere is left to report that the stream itself is gone.
    let _ = writeln!(io::stderr(), "opalbox: {failure}");
}

/// A result with the version of its format in front.
#[derive(Serialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    body: Value,
}

fn versioned(value: Value) -> Document {
    let body = match value {
        object @ Value::Object(_) => object,
        other => json!({ "result": other }),
    };
    Document { version: JSON_VERSION, body }
}

/// [`Report`] as a trait object.
pub(crate) trait ErasedReport {
    /// Writes the form for a person.
    ///
    /// # Errors
    /// Standard output is gone.
    fn write_human(&self, out: &mut dyn Write) -> io::Result<()>;
    /// The JSON value.
    ///
    /// # Errors
    /// The report does not serialise.
    fn value(&self) -> Result<Value, Failure>;
}

impl<T: Report> ErasedReport for T {
    fn write_human(&self, out: &mut dyn Write) -> io::Result<()> {
        self.human(out)
    }
    fn value(&self) -> Result<Value, Failure> {
        serde_json::to_value(self).map_err(|error| io::Error::from(error).into())
    }
}

/// Columns aligned with spaces; the last column is never padded.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    #[must_use]
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|h| (*h).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Writes the table.
    ///
    /// # Errors
    /// `out` is gone.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `512.0 MiB`, `1.9 TiB`: sizes for people. JSON carries bytes.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align() {
        let mut table = Table::new(&["A", "LONGER"]);
        table.row(["wide cell", "x"]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A          LONGER\nwide cell  x\n");
    }

    #[test]
    fn sizes() {
        assert_eq!(size(512), "512 B");
        assert_eq!(size(256 << 20), "256.0 MiB");
        assert_eq!(size(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn json_carries_its_version_first() {
        let text = |value| serde_json::to_string(&versioned(value)).unwrap();
        assert_eq!(text(json!({"a": 1})), r#"{"version":1,"a":1}"#);
        assert_eq!(text(json!([])), r#"{"version":1,"result":[]}"#);
    }
}
