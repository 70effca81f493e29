// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `tcg_opal_fuzz::discovery`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcg_opal_fuzz::discovery(data));
