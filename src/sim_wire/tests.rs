// SPDX-License-Identifier: MIT OR Apache-2.0
//! Golden bytes, round trips and bounds of the sim socket's format.

use std::io::{self, Write};

use super::*;
use proptest::prelude::*;

fn sample_identity() -> Identity {
    Identity {
        version: 1,
        model: "Opalbox emulated drive".into(),
        serial: "OB000001".into(),
        firmware: "1.0".into(),
        nguid: Some([0x11; 16]),
        wwn: None,
        interface: Interface::Nvme,
        logical_block_size: 512,
        blocks: 2048,
        max_transfer: 65536,
        power_cycle_id: 7,
    }
}

fn encoded(request: Request<'_>) -> Vec<u8> {
    let mut body = Zeroizing::new(Vec::new());
    request.encode(&mut body).unwrap();
    body.to_vec()
}

fn encoded_answer(answer: &Answer<'_>) -> Vec<u8> {
    let mut body = Zeroizing::new(Vec::new());
    encode_answer(answer, &mut body).unwrap();
    body.to_vec()
}

// Typed from docs/formats/sim.md; a change here is a change of the format.
#[test]
fn golden_requests() {
    assert_eq!(encoded(Request::Identify { version: 1 }), [0x01, 0x00, 0x01]);
    assert_eq!(
        encoded(Request::IfSend { protocol: 1, specific: 0x07FE, data: &[0xAA, 0xBB] }),
        [0x02, 0x01, 0x07, 0xFE, 0xAA, 0xBB]
    );
    assert_eq!(
        encoded(Request::IfRecv { protocol: 2, specific: 0x1004, length: 512 }),
        [0x03, 0x02, 0x10, 0x04, 0x00, 0x00, 0x02, 0x00]
    );
    assert_eq!(
        encoded(Request::Read { lba: 0x0102, blocks: 3 }),
        [0x04, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]
    );
    assert_eq!(
        encoded(Request::Write { lba: 1, data: &[0xCC] }),
        [0x05, 0, 0, 0, 0, 0, 0, 0, 1, 0xCC]
    );
    assert_eq!(encoded(Request::Flush), [0x06]);
    assert_eq!(
        encoded(Request::Discard { lba: 9, blocks: 8 }),
        [0x07, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 8]
    );
    assert_eq!(encoded(Request::PowerCycleId), [0x08]);
}

#[test]
fn golden_answers() {
    assert_eq!(encoded_answer(&Ok(Reply::Done)), [0x00, 0x00]);
    assert_eq!(encoded_answer(&Ok(Reply::Data(&[1, 2]))), [0x00, 0x02, 1, 2]);
    assert_eq!(encoded_answer(&Ok(Reply::PowerCycleId(7))), [0x00, 0x03, 0, 0, 0, 0, 0, 0, 0, 7]);
    for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
        assert_eq!(encoded_answer(&Err(refusal)), [index as u8 + 1]);
    }
    let mut expected = vec![0x00, 0x01, 0x00, 0x01, 0x01, 0, 0, 0x02, 0];
    expected.extend([0, 0, 0, 0, 0, 0, 0x08, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    expected.push(1);
    expected.extend([0x11; 16]);
    expected.push(0);
    expected.push(22);
    expected.extend(b"Opalbox emulated drive");
    expected.push(8);
    expected.extend(b"OB000001");
    expected.push(3);
    expected.extend(b"1.0");
    assert_eq!(encoded_answer(&Ok(Reply::Identity(sample_identity()))), expected);
}

#[test]
fn control_characters_do_not_pass() {
    let mut identity = sample_identity();
    identity.model = "\u{1b}[2J".into();
    let mut body = Zeroizing::new(Vec::new());
    assert_eq!(
        encode_answer(&Ok(Reply::Identity(identity)), &mut body),
        Err(WireError::Text("model"))
    );
}

#[test]
fn frames_are_bounded() {
    let mut body = Zeroizing::new(Vec::new());
    let huge = u32::MAX.to_be_bytes();
    assert!(matches!(
        read_frame(&mut huge.as_slice(), &mut body),
        Err(FrameError::Wire(WireError::TooLong { .. }))
    ));
    assert_eq!(body.capacity(), 0, "nothing is allocated for a frame that is refused");
    assert!(write_frame(&mut Vec::new(), &vec![0; MAX_FRAME + 1]).is_err());
    let data = vec![0; MAX_DATA + 1];
    let request = Request::IfSend { protocol: 1, specific: 1, data: &data };
    assert!(request.encode(&mut body).is_err());
    let recv = [0x03, 1, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF];
    assert!(matches!(Request::decode(&recv), Err(WireError::TooLong { .. })));
}

#[test]
fn end_between_frames_is_an_end_and_inside_a_frame_an_error() {
    let mut body = Zeroizing::new(Vec::new());
    assert!(!read_frame(&mut [].as_slice(), &mut body).unwrap());
    assert!(read_frame(&mut [0, 0].as_slice(), &mut body).is_err());
    assert!(read_frame(&mut [0, 0, 0, 2, 1].as_slice(), &mut body).is_err());
}

#[test]
fn largest_payload_makes_the_trip() {
    let data = vec![0x5A; MAX_DATA];
    let mut body = Zeroizing::new(Vec::new());
    Request::Write { lba: 0, data: &data }.encode(&mut body).unwrap();
    let mut wire = Vec::new();
    write_frame(&mut wire, &body).unwrap();
    let mut back = Zeroizing::new(Vec::new());
    assert!(read_frame(&mut wire.as_slice(), &mut back).unwrap());
    assert_eq!(Request::decode(&back).unwrap(), Request::Write { lba: 0, data: &data });
}

#[test]
fn debug_shows_no_payload() {
    let secret = b"correct horse battery staple 123";
    let send = Request::IfSend { protocol: 1, specific: 0x1000, data: secret };
    assert_eq!(format!("{send:?}"), "IfSend { 0x01, 0x1000, 32 bytes }");
    assert_eq!(format!("{:?}", Reply::Data(secret)), "Data { 32 bytes }");
}

/// A writer that takes one byte a call, as a full socket may.
struct Trickle(Vec<u8>);
impl Write for Trickle {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.extend(data.first());
        Ok(data.len().min(1))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn text() -> impl Strategy<Value = String> {
    "[ -~]{0,64}"
}

prop_compose! {
    fn identity()(
        version: u16, model in text(), serial in text(), firmware in text(),
        nguid: Option<[u8; 16]>, wwn: Option<[u8; 8]>, interface in 1u8..=3,
        logical_block_size: u32, blocks: u64, max_transfer: u32, power_cycle_id: u64,
    ) -> Identity {
        Identity {
            version, model, serial, firmware, nguid, wwn,
            interface: Interface::from_byte(interface).unwrap(),
            logical_block_size, blocks, max_transfer, power_cycle_id,
        }
    }
}

proptest! {
    #[test]
    fn requests_round_trip(
        kind in 0u8..8, protocol: u8, specific: u16, lba: u64, blocks: u32,
        length in 0u32..=MAX_DATA as u32, data in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let request = match kind {
            0 => Request::Identify { version: specific },
            1 => Request::IfSend { protocol, specific, data: &data },
            2 => Request::IfRecv { protocol, specific, length },
            3 => Request::Read { lba, blocks },
            4 => Request::Write { lba, data: &data },
            5 => Request::Flush,
            6 => Request::Discard { lba, blocks },
            _ => Request::PowerCycleId,
        };
        let mut wire = Trickle(Vec::new());
        write_frame(&mut wire, &encoded(request)).unwrap();
        let mut body = Zeroizing::new(Vec::new());
        prop_assert!(read_frame(&mut wire.0.as_slice(), &mut body).unwrap());
        prop_assert_eq!(Request::decode(&body).unwrap(), request);
    }

    #[test]
    fn answers_round_trip(
        kind in 0u8..5, identity in identity(), id: u64, refusal in 0usize..10,
        data in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let answer = match kind {
            0 => Ok(Reply::Done),
            1 => Ok(Reply::Identity(identity)),
            2 => Ok(Reply::Data(&data)),
            3 => Ok(Reply::PowerCycleId(id)),
            _ => Err(Refusal::ALL[refusal]),
        };
        let body = encoded_answer(&answer);
        prop_assert_eq!(decode_answer(&body).unwrap(), answer);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut body = Zeroizing::new(Vec::new());
        let _ = read_frame(&mut bytes.as_slice(), &mut body);
        // What decodes is canonical: it encodes to the same bytes.
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(&encoded(request), &bytes);
        }
        if let Ok(answer) = decode_answer(&bytes) {
            prop_assert_eq!(&encoded_answer(&answer), &bytes);
        }
    }
}
