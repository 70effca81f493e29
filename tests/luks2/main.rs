// SPDX-License-Identifier: MIT OR Apache-2.0
//! LUKS2 volumes: our own promises, power cuts, hostile headers, and cryptsetup as the judge.

mod cryptsetup;
mod header;
mod hostile;
mod keyslots;
mod power_cut;
mod support;
