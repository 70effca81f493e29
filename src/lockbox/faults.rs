// SPDX-License-Identifier: MIT OR Apache-2.0
//! Named points before and after every durable write, where a test can cut the power.

use core::fmt;
use std::sync::Arc;

/// A hook that is asked at each durable step whether the power fails there. The default never
/// does. It travels with one lockbox: there is no global state, tests run side by side.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Hook>>);

type Hook = dyn Fn(Point) -> bool + Send + Sync;

/// A durable step, and which side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// What is being made durable, in the store or in the TPM.
    pub step: &'static str,
    /// `false` just before the write, `true` just after it.
    pub written: bool,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.written { "after" } else { "before" }, self.step)
    }
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Asks `hook` at every point; `true` stops there. A hook may as well kill the process.
    #[must_use]
    pub fn when(hook: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// Runs one durable write between its two points.
    ///
    /// # Errors
    /// The write's own, or the [`Point`] at which the hook stopped.
    pub(crate) fn around<T, E: From<Point>>(
        &self,
        step: &'static str,
        write: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.pass(Point { step, written: false })?;
        let value = write()?;
        self.pass(Point { step, written: true })?;
        Ok(value)
    }

    fn pass(&self, point: Point) -> Result<(), Point> {
        match &self.0 {
            Some(hook) if hook(point) => Err(point),
            _ => Ok(()),
        }
    }
}
