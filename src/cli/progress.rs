// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress of long work on standard error: a spinner on a terminal, nothing elsewhere (`-v` logs).

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows what is going on until it is dropped.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts showing.
    pub(crate) fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self { bar }
    }

    /// Starts showing how many of `total` bytes are done.
    pub(crate) fn bytes(total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(total as u64));
        if let Some(bar) = &bar {
            let template = "{bar:30} {bytes} of {total_bytes}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
        }
        Self { bar }
    }

    /// So many bytes are done.
    pub(crate) fn done(&self, bytes: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes as u64);
        }
    }

    /// Names the step that begins.
    pub(crate) fn step(&self, what: &str) {
        tracing::info!("{what}");
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
