// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drive as a whole: a life from the factory to the revert, with power cut at every write of
//! every step and the image attacked after each.

mod crash;
mod host;
mod life;
