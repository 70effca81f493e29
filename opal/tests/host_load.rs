// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading images into byte tables: comparing, resuming, renewing sessions, reading back.

#[path = "host_support/local.rs"]
mod local;

use std::time::Duration;

use local::Drive;
use opal::host::{
    Activation, AdminSp, Authority, ByteTable, Host, Load, LoadStep, Loaded, LockingSp,
    WriteOptions,
};
use opal::tper::Profile;
use opal::{Error, Pin, Transport, TransportError};

const ADMIN1: Authority<LockingSp> = Authority::admin(1);
const PIECE: usize = 256 * 1024;

fn owner() -> Pin {
    Pin::new(b"owner").unwrap()
}

/// A drive whose sessions end after a minute without commands, with an active Locking SP.
fn active(granularity: u32) -> Drive {
    let mut profile = Profile::opal2();
    profile.limits.default_session_timeout = 60_000;
    profile.write_granularity = granularity;
    let drive = Drive::new(profile);
    let mut host = drive.host();
    let mut session = host.start::<AdminSp>().open().unwrap();
    let msid = session.msid().unwrap();
    session.authenticate(Authority::SID, &msid).unwrap();
    session.set_pin(Authority::SID, &owner()).unwrap();
    session.activate(&Activation::default()).unwrap();
    session.close().unwrap();
    drive
}

fn host(drive: &Drive) -> Host<local::Path> {
    let mut host = drive.host();
    host.properties().unwrap();
    host
}

fn image(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8 + 1).collect()
}

fn read(drive: &Drive, offset: u64, length: usize) -> Vec<u8> {
    let mut host = host(drive);
    let owner = owner();
    let mut session = host.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    let bytes = session.read(ByteTable::MBR, offset, length, &mut |_| {}).unwrap();
    session.close().unwrap();
    bytes.to_vec()
}

#[test]
fn a_load_writes_reads_back_and_tells_how_far_it_is() {
    let drive = active(1);
    let image = image(PIECE + 1000);
    let mut steps = Vec::new();
    let load = Load { offset: 4096, ..Load::new(ByteTable::MBR, &image) };
    let loaded = host(&drive).load(ADMIN1, &owner(), &load, &mut |step| steps.push(step)).unwrap();
    assert_eq!(loaded, Loaded { written: image.len(), renewed: 0 });
    assert_eq!(read(&drive, 4096, image.len()), image);
    assert_eq!(read(&drive, 0, 4096), [0; 4096]);
    let (one, all) = (PIECE, image.len());
    let expected = [
        LoadStep::Writing(one),
        LoadStep::Writing(all),
        LoadStep::Verifying(one),
        LoadStep::Verifying(all),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn what_is_there_is_not_written_again() {
    let drive = active(1);
    let mut image = image(2 * PIECE);
    let mut host = host(&drive);
    let load = Load { verify: false, ..Load::new(ByteTable::MBR, &image) };
    host.load(ADMIN1, &owner(), &load, &mut |_| {}).unwrap();
    let again = host.load(ADMIN1, &owner(), &load, &mut |_| {}).unwrap();
    assert_eq!(again.written, 0);
    image[PIECE + 5] ^= 1;
    let load = Load::new(ByteTable::MBR, &image);
    let changed = host.load(ADMIN1, &owner(), &load, &mut |_| {}).unwrap();
    assert_eq!(changed.written, PIECE);
    let blindly = Load { compare: false, ..load };
    let blindly = host.load(ADMIN1, &owner(), &blindly, &mut |_| {}).unwrap();
    assert_eq!(blindly.written, image.len());
    assert_eq!(read(&drive, 0, image.len()), image);
}

#[test]
fn c1_a_session_that_ends_in_the_middle_is_opened_anew() {
    let drive = active(1);
    let image = image(3 * PIECE);
    let load = Load::new(ByteTable::MBR, &image);
    let mut late = 0;
    let before = drive.sessions();
    let loaded = host(&drive)
        .load(ADMIN1, &owner(), &load, &mut |_| {
            late += 1;
            if late == 2 || late == 5 {
                drive.idle(Duration::from_secs(61));
            }
        })
        .unwrap();
    assert_eq!(loaded, Loaded { written: image.len(), renewed: 2 });
    assert_eq!(drive.sessions() - before, 3);
    assert_eq!(read(&drive, 0, image.len()), image);
}

#[test]
fn an_interrupted_load_goes_on_where_it_was() {
    let drive = active(1);
    let image = image(3 * PIECE);
    let mut host_ = host(&drive);
    let owner = owner();
    // Two pieces and a bit, then the program dies.
    let mut session = host_.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
    let part = &image[..2 * PIECE + 100];
    session.write(ByteTable::MBR, 0, part, WriteOptions::default(), &mut |_| {}).unwrap();
    drop(session);
    drive.hardware_reset();
    let load = Load::new(ByteTable::MBR, &image);
    let loaded = host(&drive).load(ADMIN1, &owner, &load, &mut |_| {}).unwrap();
    assert_eq!(loaded.written, PIECE);
    assert_eq!(read(&drive, 0, image.len()), image);
}

#[test]
fn bytes_that_do_not_stay_are_noticed() {
    let drive = active(1);
    let image = image(2 * PIECE);
    let load = Load::new(ByteTable::MBR, &image);
    // Somebody else writes into the table once everything is written.
    let spoil = |step: LoadStep| {
        if step == LoadStep::Verifying(PIECE) {
            drive.idle(Duration::from_secs(61));
            let owner = owner();
            let mut other = drive.host();
            let mut session = other.start::<LockingSp>().authority(ADMIN1, &owner).open().unwrap();
            let at = PIECE as u64 + 7;
            session.write(ByteTable::MBR, at, b"x", WriteOptions::default(), &mut |_| {}).unwrap();
            session.close().unwrap();
        }
    };
    let result = host(&drive).load(ADMIN1, &owner(), &load, &mut { spoil });
    assert_eq!(result, Err(Error::Mismatch("other bytes than were written")));
}

#[test]
fn granules_are_filled_up_and_limits_kept() {
    let drive = active(4096);
    let image = image(5000);
    let load = Load::new(ByteTable::MBR, &image);
    let mut host = host(&drive);
    host.load(ADMIN1, &owner(), &load, &mut |_| {}).unwrap();
    assert_eq!(read(&drive, 0, 5000), image);
    assert_eq!(read(&drive, 5000, 3192), [0; 3192]);
    let odd = Load { offset: 512, ..load };
    let odd = host.load(ADMIN1, &owner(), &odd, &mut |_| {});
    assert!(matches!(odd, Err(Error::Usage(_))));
    let far = Load { offset: 0x0800_0000 - 4096, ..load };
    let far = host.load(ADMIN1, &owner(), &far, &mut |_| {});
    assert!(matches!(far, Err(Error::Usage(_))));
    let nothing = Load { image: &[], ..load };
    assert_eq!(host.load(ADMIN1, &owner(), &nothing, &mut |_| {}), Ok(Loaded::default()));
    let wrong = Pin::new(b"wrong").unwrap();
    let refused = host.load(ADMIN1, &wrong, &load, &mut |_| {});
    assert_eq!(refused, Err(Error::NotAuthenticated { authority: ADMIN1.uid() }));
}

/// A drive that never answers is not asked for ever.
#[test]
fn renewals_in_vain_end() {
    let drive = active(1);
    let image = image(100);
    let load = Load::new(ByteTable::MBR, &image);
    let mut host =
        Host::new(Deaf(host(&drive).into_transport(), 0), drive.host().identity().clone());
    let result = host.load(ADMIN1, &owner(), &load, &mut |_| {});
    assert_eq!(result, Err(Error::NoAnswer { method: "Get" }));
    assert!(host.transport().1 < 20, "{} requests", host.transport().1);
}

/// Loses every Get.
struct Deaf(local::Path, u32);

impl Transport for Deaf {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        self.1 += 1;
        let get = [0, 0, 0, 6, 0, 0, 0, 0x16];
        if data.windows(8).any(|w| w == get) {
            return Ok(());
        }
        self.0.if_send(protocol, specific, data)
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        self.0.if_recv(protocol, specific, buffer)
    }

    fn pause(&mut self, duration: Duration) {
        self.0.pause(duration);
    }
}
