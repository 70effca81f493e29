// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots QEMU guests against emulated drives and runs other people's clients in them.
