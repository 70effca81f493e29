// SPDX-License-Identifier: MIT OR Apache-2.0
//! When words on the terminal are coloured.

use std::io::IsTerminal;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether `stream` gets colours.
    pub(crate) fn on(self, stream: &impl IsTerminal) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            // https://no-color.org: set and not empty, whatever its value.
            Self::Auto => {
                let unwanted = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
                stream.is_terminal() && !unwanted
            }
        }
    }
}
