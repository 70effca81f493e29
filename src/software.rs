// SPDX-License-Identifier: MIT OR Apache-2.0
//! Software encryption where a drive cannot encrypt: AES-XTS and the LUKS2 format on disk.

pub mod luks2;
pub mod xts;
