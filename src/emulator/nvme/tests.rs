// SPDX-License-Identifier: MIT OR Apache-2.0
//! The NVMe command layer against a drive in memory.

use super::*;
use crate::emulator::backend::memory::MemoryDrive;

const BLOCKS: u64 = 1024;

fn drive() -> (Arc<MemoryDrive>, Controller) {
    let drive = Arc::new(MemoryDrive::new(512, BLOCKS));
    let attachment = Attachment::Fabrics { in_capsule: 8192 };
    let controller = Controller::new(drive.clone(), 7, "nqn.test", attachment);
    (drive, controller)
}

fn command(opcode: u8, namespace: u32, dwords: &[(usize, u32)]) -> Command {
    let mut bytes = [0; 64];
    bytes[0] = opcode;
    bytes[2..4].copy_from_slice(&0x1234_u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&namespace.to_le_bytes());
    for (n, value) in dwords {
        bytes[n * 4..n * 4 + 4].copy_from_slice(&value.to_le_bytes());
    }
    Command::new(bytes)
}

fn done(reply: Reply) -> (Status, u64, Vec<u8>) {
    match reply {
        Reply::Done { status, result, data } => (status, result, data),
        Reply::Held => panic!("held"),
    }
}

#[test]
fn security_commands_carry_protocol_and_com_id_as_numbers() {
    struct Probe(Mutex<Vec<(u8, u16, usize)>>, MemoryDrive);
    impl Backend for Probe {
        fn identity(&self) -> DriveIdentity {
            self.1.identity()
        }
        fn if_send(&self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), CommandStatus> {
            self.0.lock().unwrap().push((protocol, specific, data.len()));
            Ok(())
        }
        fn if_recv(&self, p: u8, s: u16, len: usize) -> Result<Vec<u8>, CommandStatus> {
            self.0.lock().unwrap().push((p, s, len));
            Ok(vec![0xAA; 3])
        }
        fn read(&self, _: u64, _: &mut [u8]) -> Result<(), CommandStatus> {
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8]) -> Result<(), CommandStatus> {
            Ok(())
        }
        fn flush(&self) -> Result<(), CommandStatus> {
            Ok(())
        }
        fn discard(&self, _: u64, _: u64) -> Result<(), CommandStatus> {
            Ok(())
        }
        fn reset(&self, _: crate::emulator::backend::ResetKind) {}
    }
    let probe = Arc::new(Probe(Mutex::default(), MemoryDrive::new(512, 8)));
    let attachment = Attachment::Pci { vendor: 1, subsystem_vendor: 2 };
    let controller = Controller::new(probe.clone(), 1, "nqn.test", attachment);
    // SECP 01h, SPSP 07FEh: dword 10 is 0107FE00h; dword 11 the length in bytes.
    let send = command(0x81, 0, &[(10, 0x0107_FE00), (11, 2048)]);
    assert_eq!(send.direction(), Direction::ToController);
    assert_eq!(controller.transfer_length(&send, true), Ok(2048));
    assert_eq!(done(controller.admin(&send, &[0; 2048])).0, Status::SUCCESS);
    let receive = command(0x82, 0, &[(10, 0x0200_0400), (11, 16)]);
    assert_eq!(receive.direction(), Direction::ToHost);
    let (status, _, data) = done(controller.admin(&receive, &[]));
    assert_eq!((status, data), (Status::SUCCESS, [&[0xAA; 3][..], &[0; 13]].concat()));
    assert_eq!(*probe.0.lock().unwrap(), [(1, 0x07FE, 2048), (2, 4, 16)]);
}

#[test]
fn every_refusal_has_its_status() {
    // Reference: transport §7; DNR is bit 14, SCT bits 10:8.
    let table = [
        (CommandStatus::InvalidParameter, 0x4002),
        (CommandStatus::InvalidLength, 0x4002),
        (CommandStatus::ProtocolViolation, 0x400C),
        (CommandStatus::InvalidSecurityState, 0x400C),
        (CommandStatus::DataProtection, 0x4286),
        (CommandStatus::LbaOutOfRange, 0x4080),
    ];
    for (refusal, status) in table {
        assert_eq!(Status::of(refusal, Direction::ToHost), Status(status), "{refusal:?}");
        assert_eq!(Status::of(refusal, Direction::ToController), Status(status), "{refusal:?}");
    }
    assert_eq!(Status::of(CommandStatus::MediaError, Direction::ToHost), Status(0x4281));
    assert_eq!(Status::of(CommandStatus::MediaError, Direction::ToController), Status(0x4280));
}

#[test]
fn identify_controller_announces_security_commands() {
    let (_, controller) = drive();
    let (status, _, page) = done(controller.admin(&command(0x06, 0, &[(10, 1)]), &[]));
    assert_eq!((status, page.len()), (Status::SUCCESS, 4096));
    assert_eq!(&page[4..24], b"MEM0001             ");
    assert_eq!(&page[24..64], b"OPALBOX MEMORY DRIVE                    ");
    assert_eq!(&page[64..72], b"1.0     ");
    assert_eq!(page[78..80], [7, 0]);
    assert_eq!(page[256] & 1, 1);
    assert_eq!((page[512], page[513]), (0x66, 0x44));
    assert_eq!(&page[768..777], b"nqn.test\0");
    assert_eq!(u32::from_le_bytes(page[1792..1796].try_into().unwrap()), (64 + 8192) / 16);
}

#[test]
fn identify_namespace_tells_size_and_block() {
    let (_, controller) = drive();
    let (_, _, page) = done(controller.admin(&command(0x06, 1, &[(10, 0)]), &[]));
    assert_eq!(page[..8], BLOCKS.to_le_bytes());
    assert_eq!(page[128..132], [0, 0, 9, 0]);
    let (_, _, list) = done(controller.admin(&command(0x06, 0, &[(10, 2)]), &[]));
    assert_eq!(list[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    let (_, _, list) = done(controller.admin(&command(0x06, 1, &[(10, 2)]), &[]));
    assert_eq!(list[..8], [0; 8]);
    let (status, ..) = done(controller.admin(&command(0x06, 2, &[(10, 0)]), &[]));
    assert_eq!(status, Status::INVALID_NAMESPACE);
    let (status, ..) = done(controller.admin(&command(0x06, 0, &[(10, 0x1C)]), &[]));
    assert_eq!(status, Status::INVALID_FIELD);
}

#[test]
fn data_goes_out_and_comes_back() {
    let (_, controller) = drive();
    let write = command(0x01, 1, &[(10, 5), (12, 1)]);
    assert_eq!(controller.transfer_length(&write, false), Ok(1024));
    let data: Vec<u8> = (0..1024_u32).map(|n| (n * 7) as u8).collect();
    assert_eq!(controller.io(&write, &data), Reply::result(0));
    assert_eq!(controller.io(&command(0x02, 1, &[(10, 5), (12, 1)]), &[]), Reply::data(data));
    let zero = command(0x08, 1, &[(10, 5), (12, 0)]);
    assert_eq!(controller.io(&zero, &[]), Reply::result(0));
    let read = command(0x02, 1, &[(10, 5), (12, 0)]);
    assert_eq!(controller.io(&read, &[]), Reply::data(vec![0; 512]));
}

#[test]
fn ranges_are_checked_without_overflow() {
    let (_, controller) = drive();
    for (low, high, count) in [(1023, 0, 1), (u32::MAX, u32::MAX, 0), (1024, 0, 0), (0, 1, 0)] {
        for opcode in [0x02, 0x08] {
            let io = command(opcode, 1, &[(10, low), (11, high), (12, count)]);
            let (status, ..) = done(controller.io(&io, &[]));
            assert_eq!(status, Status::LBA_OUT_OF_RANGE, "{opcode:#x} {low:#x} {high:#x}");
        }
    }
    let short = command(0x01, 1, &[(10, 0), (12, 7)]);
    assert_eq!(done(controller.io(&short, &[0; 512])).0, Status::SGL_LENGTH);
    let wrong = command(0x02, 2, &[]);
    assert_eq!(done(controller.io(&wrong, &[])).0, Status::INVALID_NAMESPACE);
}

#[test]
fn locked_blocks_answer_access_denied() {
    let (drive, controller) = drive();
    drive.lock(Some(8..16));
    for (opcode, data) in [(0x02, vec![]), (0x01, vec![0; 512]), (0x08, vec![])] {
        let (status, _, data) = done(controller.io(&command(opcode, 1, &[(10, 15)]), &data));
        assert_eq!((status, data.len()), (Status::ACCESS_DENIED, 0), "{opcode:#x}");
        let data = if opcode == 1 { vec![0; 512] } else { vec![] };
        let (status, ..) = done(controller.io(&command(opcode, 1, &[(10, 16)]), &data));
        assert_eq!(status, Status::SUCCESS, "{opcode:#x}");
    }
}

#[test]
fn deallocate_checks_every_range_first() {
    let (_, controller) = drive();
    let ones = vec![1; 512];
    let _ = controller.io(&command(0x01, 1, &[(10, 3)]), &ones);
    let range = |lba: u64, blocks: u32| {
        let mut range = vec![0; 16];
        range[4..8].copy_from_slice(&blocks.to_le_bytes());
        range[8..].copy_from_slice(&lba.to_le_bytes());
        range
    };
    let manage = command(0x09, 1, &[(10, 1), (11, 4)]);
    assert_eq!(controller.transfer_length(&manage, false), Ok(32));
    let data = [range(3, 1), range(BLOCKS, 1)].concat();
    assert_eq!(done(controller.io(&manage, &data)).0, Status::LBA_OUT_OF_RANGE);
    let read = command(0x02, 1, &[(10, 3)]);
    assert_eq!(controller.io(&read, &[]), Reply::data(ones));
    let data = [range(3, 1), range(9, 2)].concat();
    assert_eq!(controller.io(&manage, &data), Reply::result(0));
    assert_eq!(controller.io(&read, &[]), Reply::data(vec![0; 512]));
    assert_eq!(done(controller.io(&manage, &data[..16])).0, Status::SGL_LENGTH);
}

#[test]
fn features_queues_and_events() {
    let (_, controller) = drive();
    let set = command(0x09, 0, &[(10, 7), (11, 0x0003_0001)]);
    assert_eq!(controller.admin(&set, &[]), Reply::result(0x0003_0001));
    let set = command(0x09, 0, &[(10, 7), (11, 0x00FE_00FE)]);
    assert_eq!(controller.admin(&set, &[]), Reply::result(0x000F_000F));
    let get = command(0x0A, 0, &[(10, 6)]);
    assert_eq!(controller.admin(&get, &[]), Reply::result(1));
    let _ = controller.admin(&command(0x09, 0, &[(10, 6), (11, 0)]), &[]);
    assert_eq!(controller.admin(&get, &[]), Reply::result(0));
    let unknown = command(0x09, 0, &[(10, 0x7D)]);
    assert_eq!(done(controller.admin(&unknown, &[])).0, Status::INVALID_FIELD);
    for _ in 0..MAX_EVENT_REQUESTS {
        assert_eq!(controller.admin(&command(0x0C, 0, &[]), &[]), Reply::Held);
    }
    let (status, ..) = done(controller.admin(&command(0x0C, 0, &[]), &[]));
    assert_eq!(status, Status::EVENT_LIMIT);
    controller.clear();
    assert_eq!(controller.admin(&get, &[]), Reply::result(1));
    assert_eq!(controller.admin(&command(0x0C, 0, &[]), &[]), Reply::Held);
}

#[test]
fn log_pages_are_cut_to_the_length_asked() {
    let (_, controller) = drive();
    let log = |dword10, offset| command(0x02, 0, &[(10, dword10), (12, offset)]);
    let health = log(0x007F_0002, 0);
    assert_eq!(controller.transfer_length(&health, true), Ok(512));
    let (_, _, page) = done(controller.admin(&health, &[]));
    assert_eq!((page.len(), page[3]), (512, 100));
    let (_, _, page) = done(controller.admin(&log(0x0000_0003, 8), &[]));
    assert_eq!(page, b"1.0 ");
    assert_eq!(done(controller.admin(&log(0x0000_0002, 3), &[])).0, Status::INVALID_FIELD);
    assert_eq!(done(controller.admin(&log(0x0000_00C0, 0), &[])).0, Status::INVALID_LOG_PAGE);
}

#[test]
fn no_command_panics_or_asks_for_too_much() {
    let (_, controller) = drive();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..200_000_u32 {
        let mut bytes = [0; 64];
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        // Small fields, so that many commands get past the first check.
        bytes[4..8].copy_from_slice(&(round % 3).to_le_bytes());
        bytes[41..44].fill(0);
        bytes[50..52].fill(0);
        let command = Command::new(bytes);
        for admin in [true, false] {
            let length = controller.transfer_length(&command, admin);
            assert!(length.is_err() || length.is_ok_and(|length| length <= MAX_TRANSFER));
            let data = [0; 64];
            let reply = if admin {
                controller.admin(&command, &data)
            } else {
                controller.io(&command, &data)
            };
            if let Reply::Done { data, .. } = reply {
                assert!(data.len() <= MAX_TRANSFER);
            }
        }
    }
}
