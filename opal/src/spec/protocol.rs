// SPDX-License-Identifier: MIT OR Apache-2.0
//! Security protocols and the ComIDs with a fixed meaning.

/// Security Protocol 0: list of supported protocols, certificates.
pub const INFORMATION: u8 = 0x00;
/// Security Protocol 1: ComPackets and Level 0 Discovery.
pub const TCG: u8 = 0x01;
/// Security Protocol 2: ComID management, TPER_RESET, Block SID.
pub const TCG_MANAGEMENT: u8 = 0x02;

/// Level 0 Discovery, protocol 1 (Core 2.01 §3.3.6).
pub const DISCOVERY: u16 = 0x0001;
/// GET_COMID, protocol 2 (Core 2.01 §3.3.4.3.1).
pub const GET_COM_ID: u16 = 0x0000;
/// TPER_RESET, protocol 2 (Opal 2.30 §3.2.3).
pub const TPER_RESET: u16 = 0x0004;
/// Block SID Authentication, protocol 2 (Block SID feature set).
pub const BLOCK_SID: u16 = 0x0005;

/// Request codes of HANDLE_COMID_REQUEST (Core 2.01 §3.3.4.3).
pub mod com_id_request {
    /// VERIFY_COMID_VALID.
    pub const VERIFY: u32 = 1;
    /// STACK_RESET.
    pub const STACK_RESET: u32 = 2;
}
