// SPDX-License-Identifier: MIT OR Apache-2.0
//! A report for a person.

use std::fmt::{self, Display, Formatter};

use super::{Part, QueryText, Report, Step};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.drive {
            writeln!(f, "{key}: {}", printable(value))?;
        }
        for part in &self.parts {
            part.fmt(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => message.fmt(f),
            Self::QueryText(query) => query.fmt(f),
            Self::Properties(properties) => write_properties(f, "TPer properties", properties),
            Self::Evidence { key, value } => writeln!(f, "{key}: {}", printable(value)),
            Self::Step(step) => step.fmt(f),
        }
    }
}

impl Display for QueryText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "As another tool printed it (no bytes)")?;
        for feature in &self.features {
            writeln!(f, "    {}", feature.code)?;
            for (name, value) in &feature.fields {
                writeln!(f, "      {} = {}", printable(name), printable(&value.to_string()))?;
            }
        }
        if self.unknown_features > 0 {
            writeln!(f, "    {} features that the tool did not know", self.unknown_features)?;
        }
        write_properties(f, "TPer properties", &self.tper_properties)?;
        write_properties(f, "Host properties", &self.host_properties)
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let flags = match self {
            Self::Action(action) => return writeln!(f, "- {}", printable(action)),
            Self::Locking(flags) => {
                write!(f, "    Locking:")?;
                flags
            }
            Self::Range { number, extent, flags } => {
                write!(f, "    Range {number}:")?;
                if let Some((start, length)) = extent {
                    write!(f, " start {start}, length {length};")?;
                }
                flags
            }
        };
        let set: Vec<_> = flags.iter().filter(|(_, on)| *on).map(|(n, _)| printable(n)).collect();
        writeln!(f, " {}", if set.is_empty() { "no flag set".into() } else { set.join(", ") })
    }
}

fn write_properties(
    f: &mut Formatter<'_>,
    title: &str,
    properties: &[(String, u64)],
) -> fmt::Result {
    if properties.is_empty() {
        return Ok(());
    }
    writeln!(f, "    {title}")?;
    properties
        .iter()
        .try_for_each(|(name, value)| writeln!(f, "      {} = {value}", printable(name)))
}

/// Text from a file, without what could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}
