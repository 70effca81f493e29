// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress of long work on standard error: a spinner on a terminal, nothing elsewhere (`-v` logs).

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::ProgressBar;

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
