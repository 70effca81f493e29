// SPDX-License-Identifier: MIT OR Apache-2.0
//! Probing against kernels and drives made up here, and machines made of files.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opal::{Transport, TransportErrorKind as Kind};
use opalbox::device::open::{Driver, NodeKind, OpenError, locate};
use opalbox::device::probe::{self, Geometry, Probed, Route};
use opalbox::device::{DeviceSpec, Interface, NotSed, System, Use, enumerate, in_use, open_in};
use opalbox::transport::ata::{DataPhase, Form, PassThrough};
use opalbox::transport::passthrough::{
    Attachment, Bus, Cdb, Data, NvmeAdmin, Passthrough, ScsiReply,
};
use opalbox::transport::scsi::LengthUnit;

/// What a made-up device does; each field is one thing that real ones differ in.
#[derive(Clone)]
struct Behaviour {
    vendor: &'static [u8; 8],
    peripheral: u8,
    ata_information: bool,
    /// SECURITY PROTOCOL with INC_512 clear, and set.
    bytes: Answering,
    blocks: Answering,
    /// Pass-through commands, and trusted commands in them.
    sat12: Answering,
    sat16: Answering,
    pio: Answering,
    dma: Answering,
    trusted: bool,
    /// Sense data or errors given once each before anything else.
    first: VecDeque<Trouble>,
    /// Longest receive that the kernel accepts.
    longest: usize,
    /// NVMe.
    oacs: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answering {
    Well,
    /// CHECK CONDITION with this sense.
    Refuses(u8, u8),
    /// The length field is misread: one byte for one block.
    Misreads,
}

#[derive(Clone, Copy)]
enum Trouble {
    Sense(u8, u8, u8),
    Errno(i32),
    Host(u16),
}

use Answering::{Misreads, Refuses, Well};
const NO_OPCODE: Answering = Refuses(0x20, 0);
const INVALID_FIELD: Answering = Refuses(0x24, 0);

impl Behaviour {
    fn sas() -> Self {
        Self {
            vendor: b"SEAGATE ",
            peripheral: 0,
            ata_information: false,
            bytes: Well,
            blocks: Well,
            sat12: NO_OPCODE,
            sat16: NO_OPCODE,
            pio: Well,
            dma: Well,
            trusted: true,
            first: VecDeque::new(),
            longest: usize::MAX,
            oacs: 1,
        }
    }

    /// A SATA drive behind libata: lengths are bytes, and the bit that says otherwise is not seen.
    fn sata() -> Self {
        Self {
            vendor: b"ATA     ",
            ata_information: true,
            blocks: Misreads,
            sat12: Well,
            sat16: Well,
            ..Self::sas()
        }
    }
}

/// A kernel with one device; what it was asked is kept.
#[derive(Clone)]
struct Kernel {
    behaviour: Arc<Mutex<Behaviour>>,
    log: Arc<Mutex<Vec<Vec<u8>>>>,
    waited: Arc<Mutex<Duration>>,
}

impl Kernel {
    fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour: Arc::new(Mutex::new(behaviour)),
            log: Arc::default(),
            waited: Arc::default(),
        }
    }

    fn opcodes(&self) -> Vec<u8> {
        self.log.lock().unwrap().iter().map(|command| command[0]).collect()
    }
}

const PROTOCOL_LIST: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2, 0];

fn sense(key: u8, asc: u8, ascq: u8) -> ScsiReply {
    ScsiReply {
        status: 2,
        driver_status: 8,
        sense: vec![0x72, key, asc, ascq, 0, 0, 0, 0],
        ..ScsiReply::default()
    }
}

fn fill(data: Data<'_>, from: &[u8]) -> usize {
    let Data::In(buffer) = data else { return data.len() };
    let length = from.len().min(buffer.len());
    buffer[..length].copy_from_slice(&from[..length]);
    buffer.len()
}

fn identify_data(trusted: bool) -> Vec<u8> {
    let mut data = vec![0u8; 512];
    let mut text = |word: usize, length: usize, text: &str| {
        for (i, byte) in format!("{text:length$}").bytes().enumerate() {
            data[2 * word + (i ^ 1)] = byte;
        }
    };
    text(10, 20, "         SATA-SERIAL");
    text(23, 8, "FW01");
    text(27, 40, "A drive with a long model name");
    data[0] = 0x40;
    data[96..98].copy_from_slice(&[u8::from(trusted), 0x40]);
    data[120] = 0xFF;
    data
}

impl Passthrough for Kernel {
    fn scsi(&mut self, cdb: &Cdb, data: Data<'_>, _: Duration) -> io::Result<ScsiReply> {
        let cdb = cdb.as_bytes();
        self.log.lock().unwrap().push(cdb.to_vec());
        let mut behaviour = self.behaviour.lock().unwrap();
        match behaviour.first.pop_front() {
            Some(Trouble::Sense(key, asc, ascq)) => return Ok(sense(key, asc, ascq)),
            Some(Trouble::Errno(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Some(Trouble::Host(host_status)) => {
                return Ok(ScsiReply { host_status, ..ScsiReply::default() });
            }
            None => {}
        }
        if data.len() > behaviour.longest {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let length = data.len();
        let good = |transferred| Ok(ScsiReply { transferred, ..ScsiReply::default() });
        let refuse = |answering| match answering {
            Refuses(asc, ascq) => Some(sense(5, asc, ascq)),
            Well | Misreads => None,
        };
        match *cdb {
            [0x12, 0, ..] => {
                let mut inquiry = vec![0; 96];
                inquiry[0] = behaviour.peripheral;
                inquiry[8..16].copy_from_slice(behaviour.vendor);
                inquiry[16..32].copy_from_slice(b"A drive with a l");
                inquiry[32..36].copy_from_slice(b"FW01");
                good(fill(data, &inquiry))
            }
            [0x12, 1, 0x80, ..] => good(fill(data, b"\0\x80\0\x0aSCSI-SER01")),
            [0x12, 1, 0x89, ..] if behaviour.ata_information => {
                let mut page = vec![0; 60];
                page[1] = 0x89;
                page.extend(identify_data(behaviour.trusted));
                good(fill(data, &page))
            }
            [0x12, ..] => Ok(sense(5, 0x24, 0)),
            [0x9E, 0x10, ..] => good(fill(data, &[0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0x10, 0])),
            [0xA2 | 0xB5, _, _, _, unit, ..] => {
                let (answering, count) = match unit {
                    0x80 => (behaviour.blocks, 512),
                    _ => (behaviour.bytes, 1),
                };
                let asked = u32::from_be_bytes(cdb[6..10].try_into().unwrap()) as usize * count;
                assert_eq!(asked, length, "the length field and the transfer differ");
                if let Some(refusal) = refuse(answering) {
                    return Ok(refusal);
                }
                fill(data, if answering == Misreads { &[0] } else { &PROTOCOL_LIST });
                good(if answering == Misreads { length / 512 } else { length })
            }
            [0xA1 | 0x85, ..] => {
                let (form, command, blocks) = match cdb[0] {
                    0xA1 => (behaviour.sat12, cdb[9], [cdb[4], cdb[5]]),
                    _ => (behaviour.sat16, cdb[14], [cdb[6], cdb[8]]),
                };
                if let Some(refusal) = refuse(form) {
                    return Ok(refusal);
                }
                if command == 0xEC {
                    return good(fill(data, &identify_data(behaviour.trusted)));
                }
                assert_eq!(usize::from(u16::from_le_bytes(blocks)) * 512, length);
                let phase = match command {
                    0x5C | 0x5E => behaviour.pio,
                    0x5D | 0x5F => behaviour.dma,
                    other => panic!("command {other:#x}"),
                };
                match refuse(phase) {
                    Some(refusal) => Ok(refusal),
                    None => good(fill(data, &PROTOCOL_LIST)),
                }
            }
            _ => Ok(sense(5, 0x20, 0)),
        }
    }

    fn nvme(&mut self, command: &NvmeAdmin, data: Data<'_>, _: Duration) -> io::Result<u16> {
        self.log.lock().unwrap().push(vec![command.opcode]);
        let mut behaviour = self.behaviour.lock().unwrap();
        match behaviour.first.pop_front() {
            Some(Trouble::Errno(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Some(Trouble::Host(status)) => return Ok(status),
            _ => {}
        }
        if data.len() > behaviour.longest {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        match command.opcode {
            0x06 => {
                let mut identify = vec![0; 4096];
                identify[4..24].copy_from_slice(b"NVME-SERIAL         ");
                identify[24..30].copy_from_slice(b"Model ");
                identify[64..68].copy_from_slice(b"FW02");
                identify[256] = behaviour.oacs;
                fill(data, &identify);
            }
            0x02 => {
                let mut log = vec![0; 512];
                log[112] = 42;
                fill(data, &log);
            }
            0x81 | 0x82 => {
                assert_eq!(command.cdw10[1] as usize, data.len());
                fill(data, &PROTOCOL_LIST);
            }
            _ => return Ok(0x4001),
        }
        Ok(0)
    }

    fn pause(&mut self, duration: Duration) {
        *self.waited.lock().unwrap() += duration;
    }
}

fn at(bus: Bus, allow_tpm: Option<bool>) -> Attachment {
    Attachment { node: "/dev/test".into(), bus, allow_tpm, max_transfer: 65536 }
}

fn probe_scsi(
    behaviour: Behaviour,
    at: Attachment,
) -> (Result<Probed, opal::TransportError>, Kernel) {
    let kernel = Kernel::new(behaviour);
    (probe::scsi(kernel.clone(), at, Geometry::default()), kernel)
}

fn route(behaviour: Behaviour, bus: Bus) -> Result<Route, Kind> {
    let (probed, _) = probe_scsi(behaviour, at(bus, Some(true)));
    probed.map(|probed| probed.route).map_err(|error| error.kind)
}

const fn form(cdb: PassThrough, protocol: DataPhase) -> Route {
    Route::Ata(Form { cdb, protocol })
}

#[test]
fn sas_drives_are_asked_in_the_unit_they_know() {
    let blocks_only = Behaviour { bytes: INVALID_FIELD, ..Behaviour::sas() };
    assert_eq!(route(blocks_only, Bus::Scsi), Ok(Route::Scsi(LengthUnit::Blocks)));
    let bytes_only = Behaviour { blocks: INVALID_FIELD, ..Behaviour::sas() };
    assert_eq!(route(bytes_only, Bus::Scsi), Ok(Route::Scsi(LengthUnit::Bytes)));
    let misread = Behaviour { blocks: Misreads, ..Behaviour::sas() };
    assert_eq!(route(misread, Bus::Scsi), Ok(Route::Scsi(LengthUnit::Bytes)));
    let neither = Behaviour { blocks: NO_OPCODE, bytes: NO_OPCODE, ..Behaviour::sas() };
    let (error, kernel) = probe_scsi(neither, at(Bus::Scsi, None));
    assert_eq!(error.unwrap_err().kind, Kind::Unsupported);
    assert!(!kernel.opcodes().contains(&0x85), "no ATA command goes to a SAS drive");
}

#[test]
fn sata_drives_take_the_scsi_command_before_pass_through() {
    let (probed, kernel) = probe_scsi(Behaviour::sata(), at(Bus::Ata, Some(false)));
    let probed = probed.unwrap();
    assert_eq!(probed.route, Route::Scsi(LengthUnit::Bytes));
    assert!(!kernel.opcodes().contains(&0x85));
    assert_eq!(probed.identity.model, "A drive with a long model name");
    assert_eq!(probed.identity.serial, "SATA-SERIAL");
    assert_eq!(probed.identity.interface, Interface::Sata);
    assert_eq!(probed.identity.logical_block_size, 4096);
    assert_eq!(probed.identity.capacity, 65536 * 4096);

    let through = Behaviour { bytes: NO_OPCODE, ..Behaviour::sata() };
    let pio16 = form(PassThrough::Sat16, DataPhase::Pio);
    assert_eq!(route(through.clone(), Bus::Ata), Ok(pio16));
    let dma = Behaviour { pio: INVALID_FIELD, ..through.clone() };
    assert_eq!(route(dma, Bus::Ata), Ok(form(PassThrough::Sat16, DataPhase::Dma)));
    let twelve = Behaviour { sat16: NO_OPCODE, ..through };
    assert_eq!(route(twelve, Bus::Ata), Ok(form(PassThrough::Sat12, DataPhase::Pio)));
}

#[test]
fn the_kernels_filter_is_named() {
    let filtered = Behaviour {
        bytes: INVALID_FIELD,
        pio: INVALID_FIELD,
        dma: INVALID_FIELD,
        ..Behaviour::sata()
    };
    let (error, _) = probe_scsi(filtered.clone(), at(Bus::Ata, Some(false)));
    let error = error.unwrap_err();
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.detail.contains("libata.allow_tpm=1"), "{error}");
    // With the filter off it is the drive that refuses.
    let (error, _) = probe_scsi(filtered, at(Bus::Ata, Some(true)));
    let error = error.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidCommand);
    assert!(!error.detail.contains("allow_tpm"), "{error}");
}

#[test]
fn bridges_without_a_way_through_are_named() {
    let bridge = Behaviour {
        vendor: b"JMicron ",
        bytes: NO_OPCODE,
        blocks: NO_OPCODE,
        ata_information: false,
        ..Behaviour::sata()
    };
    // ATA pass-through works, and then the drive's own name is known.
    let (probed, _) = probe_scsi(bridge.clone(), at(Bus::Usb, None));
    let probed = probed.unwrap();
    assert_eq!(probed.route, form(PassThrough::Sat16, DataPhase::Pio));
    assert_eq!(
        (&*probed.identity.serial, probed.identity.interface),
        ("SATA-SERIAL", Interface::Usb)
    );
    // It works for IDENTIFY and not for trusted commands; or not at all.
    for bridge in [
        Behaviour { pio: NO_OPCODE, dma: NO_OPCODE, ..bridge.clone() },
        Behaviour { sat12: NO_OPCODE, sat16: NO_OPCODE, ..bridge.clone() },
    ] {
        let (error, _) = probe_scsi(bridge, at(Bus::Usb, None));
        let error = error.unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported);
        assert!(error.detail.contains("bridge"), "{error}");
    }
    // An NVMe bridge that takes SCSI commands needs no ATA.
    let nvme_bridge = Behaviour { vendor: b"JMicron ", ..Behaviour::sas() };
    assert_eq!(route(nvme_bridge, Bus::Usb), Ok(Route::Scsi(LengthUnit::Blocks)));
    // A drive without the feature set says so itself.
    let plain = Behaviour { trusted: false, ..bridge };
    let (error, _) = probe_scsi(plain, at(Bus::Usb, None));
    assert!(error.unwrap_err().detail.contains("Trusted Computing"));
}

#[test]
fn what_is_not_a_disk_is_left_alone() {
    let enclosure = Behaviour { peripheral: 0x0D, ..Behaviour::sas() };
    let (error, kernel) = probe_scsi(enclosure, at(Bus::Scsi, None));
    assert_eq!(error.unwrap_err().kind, Kind::Unsupported);
    assert_eq!(kernel.opcodes(), [0x12]);
}

#[test]
fn fresh_and_busy_devices_are_waited_for_and_not_for_ever() {
    let attention = Trouble::Sense(6, 0x29, 0);
    let waking = Trouble::Sense(2, 0x04, 1);
    let fresh = Behaviour { first: [attention, attention, waking].into(), ..Behaviour::sas() };
    let (probed, kernel) = probe_scsi(fresh, at(Bus::Scsi, None));
    assert!(probed.is_ok());
    assert_eq!(kernel.opcodes()[..4], [0x12; 4]);

    let never = Behaviour { first: vec![waking; 1000].into(), ..Behaviour::sas() };
    let (error, kernel) = probe_scsi(never, at(Bus::Scsi, None));
    assert_eq!(error.unwrap_err().kind, Kind::Failed);
    assert!(*kernel.waited.lock().unwrap() < Duration::from_secs(10));
}

#[test]
fn errors_of_the_kernel_end_the_probe_with_advice() {
    for (trouble, kind, advice) in [
        (Trouble::Errno(libc::EPERM), Kind::Denied, "root"),
        (Trouble::Errno(libc::ENODEV), Kind::Gone, "unplugged"),
        (Trouble::Errno(libc::ENOTTY), Kind::Unsupported, "driver"),
        (Trouble::Host(3), Kind::TimedOut, "power cycle"),
        (Trouble::Host(1), Kind::Gone, "unplugged"),
    ] {
        let behaviour = Behaviour { first: [trouble].into(), ..Behaviour::sas() };
        let (error, kernel) = probe_scsi(behaviour, at(Bus::Scsi, None));
        let error = error.unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(error.detail.contains(advice), "{error}");
        assert_eq!(kernel.opcodes().len(), 1);
    }
}

#[test]
fn a_refused_length_is_halved_for_receives_only() {
    let narrow = Behaviour { longest: 4096, ..Behaviour::sas() };
    let (probed, kernel) = probe_scsi(narrow.clone(), at(Bus::Scsi, None));
    let mut transport = probed.unwrap().transport;
    assert_eq!(transport.max_transfer(), 65536);
    let mut buffer = vec![0xEE; 65536];
    assert_eq!(transport.if_recv(0, 0, &mut buffer).unwrap(), 4096);
    assert_eq!(buffer[..12], PROTOCOL_LIST);
    assert!(buffer[12..].iter().all(|&byte| byte == 0));
    assert_eq!(transport.max_transfer(), 4096);
    let sends = kernel.opcodes().len();
    assert_eq!(transport.if_send(1, 1, &[0; 8192]).unwrap_err().kind, Kind::InvalidLength);
    assert_eq!(kernel.opcodes().len(), sends + 1, "a send is never cut or repeated");

    let kernel = Kernel::new(narrow);
    let probed = probe::nvme(kernel.clone(), at(Bus::Nvme, None), Geometry::default()).unwrap();
    let mut transport = probed.transport;
    assert_eq!(transport.if_recv(0, 0, &mut buffer).unwrap(), 4096);
    // The limit below which a receive is not cut: the error is the answer then.
    kernel.behaviour.lock().unwrap().longest = 1024;
    assert_eq!(transport.if_recv(0, 0, &mut buffer).unwrap_err().kind, Kind::InvalidLength);
}

#[test]
fn a_send_that_was_cut_short_is_an_error() {
    let (probed, kernel) = probe_scsi(Behaviour::sas(), at(Bus::Scsi, None));
    let mut transport = probed.unwrap().transport;
    transport.if_send(1, 0x1000, &[0; 512]).unwrap();
    kernel.behaviour.lock().unwrap().blocks = Misreads;
    assert_eq!(transport.if_send(1, 0x1000, &[0; 512]).unwrap_err().kind, Kind::InvalidLength);
}

#[test]
fn nvme_controllers_say_whether_they_can() {
    let geometry = Geometry { logical_block_size: 512, capacity: 1 << 30 };
    let kernel = Kernel::new(Behaviour::sas());
    let probed = probe::nvme(kernel.clone(), at(Bus::Nvme, None), geometry).unwrap();
    assert_eq!(probed.route, Route::Nvme);
    assert_eq!(probed.identity.serial, "NVME-SERIAL");
    assert_eq!(probed.identity.power_cycles, Some(42));
    assert_eq!(probed.identity.capacity, 1 << 30);
    let mut transport = probed.transport;
    transport.if_send(1, 0x07FE, &[1; 512]).unwrap();
    let mut buffer = [0; 512];
    assert_eq!(transport.if_recv(1, 0x07FE, &mut buffer).unwrap(), 512);
    // Command Interrupted is tried again, unless the drive says not to.
    kernel.behaviour.lock().unwrap().first = [Trouble::Host(0x0021)].into();
    transport.if_recv(1, 0x07FE, &mut buffer).unwrap();
    kernel.behaviour.lock().unwrap().first = [Trouble::Host(0x4021)].into();
    assert!(transport.if_recv(1, 0x07FE, &mut buffer).is_err());

    let kernel = Kernel::new(Behaviour { oacs: 0x06, ..Behaviour::sas() });
    let error = probe::nvme(kernel, at(Bus::Nvme, None), geometry).unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
}

/// A machine made of files.
struct Machine {
    root: tempfile::TempDir,
    system: System,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let system = System { sys: path("sys"), proc: path("proc"), dev: path("dev") };
        let machine = Self { root, system };
        for directory in
            ["sys/class/block", "sys/class/scsi_generic", "sys/dev/block", "sys/dev/char"]
        {
            machine.directory(directory);
        }
        machine.file("proc/self/mountinfo", "1 0 0:1 / / rw - tmpfs none rw\n");
        machine.file("proc/swaps", "Filename Type Size Used Priority\n");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn directory(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn link(&self, name: &str, target: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(self.path(target), path).unwrap();
    }

    /// A block device at `directory` of sysfs, which may have a `device`.
    fn block(&self, name: &str, number: &str, parent: &str, size: u64, device: Option<&str>) {
        let directory = format!("sys/devices/{parent}/{name}");
        self.file(&format!("{directory}/size"), format!("{size}\n"));
        self.file(&format!("{directory}/dev"), format!("{number}\n"));
        self.file(&format!("{directory}/queue/logical_block_size"), "512\n");
        self.link(&format!("{directory}/subsystem"), "sys/class/block");
        self.link(&format!("sys/class/block/{name}"), &directory);
        self.link(&format!("sys/dev/block/{number}"), &directory);
        if let Some(device) = device {
            self.link(&format!("{directory}/device"), &format!("sys/devices/{device}"));
        }
    }

    fn partition(&self, name: &str, number: &str, disk: &str) {
        let directory = format!("sys/devices/{disk}/{name}");
        self.file(&format!("{directory}/partition"), "1\n");
        self.file(&format!("{directory}/dev"), format!("{number}\n"));
        self.directory(&format!("{directory}/holders"));
        self.link(&format!("{directory}/subsystem"), "sys/class/block");
        self.link(&format!("sys/class/block/{name}"), &directory);
        self.link(&format!("sys/dev/block/{number}"), &directory);
    }

    fn scsi(&self, device: &str, vendor: &str, model: &str, kind: u8) {
        let directory = format!("sys/devices/{device}");
        self.file(&format!("{directory}/vendor"), format!("{vendor:8}\n"));
        self.file(&format!("{directory}/model"), format!("{model:16}\n"));
        self.file(&format!("{directory}/rev"), "1.0 \n");
        self.file(&format!("{directory}/type"), format!("{kind}\n"));
        self.file(&format!("{directory}/vpd_pg80"), b"\0\x80\0\x06SER-01");
        self.link(&format!("{directory}/subsystem"), "sys/bus/scsi");
    }

    fn generic(&self, name: &str, number: &str, device: &str) {
        let directory = format!("sys/devices/{device}/scsi_generic/{name}");
        self.directory(&directory);
        self.link(&format!("{directory}/subsystem"), "sys/class/scsi_generic");
        self.link(&format!("{directory}/device"), &format!("sys/devices/{device}"));
        self.link(&format!("sys/class/scsi_generic/{name}"), &directory);
        self.link(&format!("sys/dev/char/{number}"), &directory);
    }

    /// SATA sda with two partitions, USB sdb, NVMe nvme0 with two namespaces, an enclosure, a disk
    /// without a block device, and what is no drive.
    fn full() -> Self {
        let machine = Self::new();
        let sata = "pci0/ata3/host2/target2:0:0/2:0:0:0";
        machine.scsi(sata, "ATA", "Samsung SSD 860", 0);
        machine.block("sda", "8:0", &format!("{sata}/block"), 2048, Some(sata));
        machine.file(&format!("sys/devices/{sata}/block/sda/queue/max_hw_sectors_kb"), "32\n");
        machine.partition("sda1", "8:1", &format!("{sata}/block/sda"));
        machine.partition("sda2", "8:2", &format!("{sata}/block/sda"));
        machine.generic("sg0", "21:0", sata);
        let usb = "pci0/usb2/2-1/host6/target6:0:0/6:0:0:0";
        machine.scsi(usb, "JMicron", "Tech", 0);
        machine.block("sdb", "8:16", &format!("{usb}/block"), 4096, Some(usb));
        let reader = "pci0/usb1/1-1/host7/target7:0:0/7:0:0:0";
        machine.scsi(reader, "Generic", "Card reader", 0);
        machine.block("sdc", "8:32", &format!("{reader}/block"), 0, Some(reader));
        let enclosure = "pci0/host8/target8:0:0/8:0:0:0";
        machine.scsi(enclosure, "LSI", "Expander", 13);
        machine.generic("sg1", "21:1", enclosure);
        let hidden = "pci0/host8/target8:0:1/8:0:1:0";
        machine.scsi(hidden, "SEAGATE", "ST4000", 0);
        machine.generic("sg2", "21:2", hidden);
        let optical = "pci0/ata4/host3/target3:0:0/3:0:0:0";
        machine.scsi(optical, "HL-DT-ST", "DVD", 5);
        machine.block("sr0", "11:0", &format!("{optical}/block"), 100, Some(optical));
        let nvme = "pci0/nvme/nvme0";
        machine.file(&format!("sys/devices/{nvme}/model"), "A\u{1b}[31m drive   \n");
        machine.file(&format!("sys/devices/{nvme}/serial"), "  NV1  \n");
        machine.file(&format!("sys/devices/{nvme}/firmware_rev"), "F1\n");
        machine.link(&format!("sys/devices/{nvme}/subsystem"), "sys/class/nvme");
        machine.link("sys/dev/char/240:0", &format!("sys/devices/{nvme}"));
        machine.block("nvme0n1", "259:0", nvme, 1000, Some(nvme));
        machine.block("nvme0n2", "259:1", nvme, 3000, Some(nvme));
        machine.block("nvme0c0n1", "259:2", nvme, 1000, Some(nvme));
        machine.file(&format!("sys/devices/{nvme}/nvme0c0n1/hidden"), "1\n");
        machine.block("loop0", "7:0", "virtual/block", 10, None);
        machine.block("dm-0", "253:0", "virtual/block", 10, None);
        machine.file("sys/devices/virtio0/x", "");
        machine.link("sys/devices/virtio0/subsystem", "sys/bus/virtio");
        machine.block("vda", "254:0", "virtio0/block", 10, Some("virtio0"));
        machine
    }
}

#[test]
fn every_device_is_listed_with_its_reason() {
    let machine = Machine::full();
    let found = enumerate(&machine.system).unwrap();
    let reasons: Vec<(&str, String)> = found
        .iter()
        .map(|found| {
            let reason = found.not_sed.as_ref().map(NotSed::to_string);
            (found.name.as_str(), reason.unwrap_or_default())
        })
        .collect();
    let expected = [
        ("sda", ""),
        ("sdb", ""),
        ("sdc", "no medium"),
        ("sr0", "an optical drive (SCSI device type 5)"),
        ("vda", "virtio-blk has no security commands"),
        ("dm-0", "a device-mapper volume, not a drive"),
        ("loop0", "a loop device over a file, not a drive"),
        ("nvme0n1", ""),
        ("nvme0n2", ""),
        ("nvme0c0n1", "a path to a namespace that is listed by itself"),
        ("sg1", "an enclosure (SCSI device type 13)"),
        ("sg2", ""),
    ];
    assert_eq!(reasons, expected.map(|(name, reason)| (name, reason.to_owned())));

    let by_name = |name: &str| found.iter().find(|found| found.name == name).unwrap();
    let sda = by_name("sda");
    assert_eq!((&*sda.model, &*sda.serial), ("Samsung SSD 860", "SER-01"));
    assert_eq!((sda.interface, sda.capacity), (Some(Interface::Sata), 2048 * 512));
    assert_eq!(by_name("sdb").interface, Some(Interface::Usb));
    assert_eq!(by_name("sg2").model, "SEAGATE ST4000");
    let nvme = by_name("nvme0n1");
    assert_eq!((&*nvme.model, &*nvme.serial, &*nvme.firmware), ("A[31m drive", "NV1", "F1"));
    assert_eq!(nvme.node, machine.path("dev/nvme0n1"));
    // No block layer at all is an empty machine, not an error.
    let empty = System { sys: machine.path("none"), ..machine.system.clone() };
    assert_eq!(enumerate(&empty).unwrap(), []);
}

#[test]
fn nodes_are_located_by_number() {
    let machine = Machine::full();
    machine.file("sys/module/libata/parameters/allow_tpm", "0\n");
    let find = |kind, number| locate(&machine.system, "/dev/it", kind, number);

    let sda = find(NodeKind::Block, (8, 0)).unwrap();
    assert_eq!((sda.driver, sda.attachment.bus), (Driver::Scsi, Bus::Ata));
    assert_eq!(sda.attachment.allow_tpm, Some(false));
    assert_eq!(sda.attachment.max_transfer, 32 * 1024);
    assert_eq!(sda.geometry, Geometry { logical_block_size: 512, capacity: 2048 * 512 });
    assert_eq!(sda.disks, ["sda"]);
    assert_eq!(find(NodeKind::Block, (8, 16)).unwrap().attachment.bus, Bus::Usb);

    let nvme = find(NodeKind::Block, (259, 0)).unwrap();
    assert_eq!((nvme.driver, nvme.attachment.bus), (Driver::Nvme, Bus::Nvme));
    assert_eq!(nvme.disks, ["nvme0n1", "nvme0n2"], "a drive is all its namespaces");
    let controller = find(NodeKind::Char, (240, 0)).unwrap();
    assert_eq!(controller.disks, ["nvme0n1", "nvme0n2"]);
    assert_eq!(controller.geometry, Geometry::default());

    // sg without a block device, and sg of a disk.
    let sg2 = find(NodeKind::Char, (21, 2)).unwrap();
    assert_eq!((sg2.driver, sg2.disks.len()), (Driver::Scsi, 0));
    assert_eq!(find(NodeKind::Char, (21, 0)).unwrap().disks, ["sda"]);

    let error = find(NodeKind::Block, (8, 1)).unwrap_err();
    assert!(matches!(&error, OpenError::Partition { whole, .. } if whole.ends_with("/dev/sda")));
    for number in [(7, 0), (254, 0), (11, 0), (8, 32), (259, 2)] {
        let error = find(NodeKind::Block, number).unwrap_err();
        assert!(matches!(error, OpenError::NotSed { .. }), "{number:?}: {error}");
    }
    assert!(matches!(find(NodeKind::Char, (21, 1)), Err(OpenError::NotSed { .. })));
    assert!(matches!(find(NodeKind::Block, (99, 9)), Err(OpenError::Io { .. })));
}

#[test]
fn namespaces_with_several_paths_belong_to_their_controllers() {
    let machine = Machine::new();
    let subsystem = "virtual/nvme-subsystem/nvme-subsys0";
    let controller = "pci0/nvme/nvme0";
    machine.file(&format!("sys/devices/{controller}/model"), "M\n");
    machine.link(&format!("sys/devices/{controller}/subsystem"), "sys/class/nvme");
    machine.link("sys/dev/char/240:0", &format!("sys/devices/{controller}"));
    machine.file(&format!("sys/devices/{subsystem}/model"), "M\n");
    machine.link(&format!("sys/devices/{subsystem}/subsystem"), "sys/class/nvme-subsystem");
    machine.link(&format!("sys/devices/{subsystem}/nvme0"), &format!("sys/devices/{controller}"));
    machine.block("nvme0n1", "259:0", subsystem, 1000, Some(subsystem));
    let find = |kind, number| locate(&machine.system, "/dev/it", kind, number).unwrap();
    assert_eq!(find(NodeKind::Char, (240, 0)).disks, ["nvme0n1"]);
    assert_eq!(find(NodeKind::Char, (240, 0)).geometry.capacity, 1000 * 512);
    assert_eq!(find(NodeKind::Block, (259, 0)).disks, ["nvme0n1"]);
    assert_eq!(enumerate(&machine.system).unwrap()[0].model, "M");
}

#[test]
fn uses_are_found_on_disks_and_partitions() {
    let machine = Machine::full();
    let system = &machine.system;
    let disks = ["sda".to_owned()];
    assert_eq!(in_use::in_use(system, &disks).unwrap(), []);

    let swap = machine.path("dev/sda2");
    machine.file("proc/self/mountinfo", "1 0 8:1 / /boot rw - ext4 /dev/sda1 rw\n");
    machine.file("proc/swaps", format!("Filename Type Size\n{} partition 1\n", swap.display()));
    machine.file("sys/devices/pci0/ata3/host2/target2:0:0/2:0:0:0/block/sda/sda2/holders/dm-0", "");
    let uses = in_use::in_use(system, &disks).unwrap();
    assert_eq!(
        uses,
        [
            Use::Mounted { device: "sda1".into(), at: "/boot".into() },
            Use::Swap { device: "sda2".into() },
            Use::Holder { device: "sda2".into(), holder: "dm-0".into() },
        ]
    );
    // The nodes exist here only as files, which can be opened: the uses alone refuse the claim.
    machine.file("dev/sda", "");
    let error = in_use::claim(system, &disks).unwrap_err().to_string();
    assert!(error.contains("sda1 is mounted at /boot") && error.contains("dm-0"), "{error}");
    machine.file("dev/sdb", "");
    assert!(in_use::claim(system, &["sdb".to_owned()]).is_ok());

    // Not knowing is not the same as not used.
    assert!(in_use::in_use(system, &["sdq".to_owned()]).is_err());
    fs::remove_file(machine.path("proc/self/mountinfo")).unwrap();
    assert!(in_use::claim(system, &["sdb".to_owned()]).is_err());
}

#[test]
fn what_is_no_device_is_refused_in_words() {
    let machine = Machine::new();
    machine.file("plain", "");
    let open = |path: &Path| open_in(&machine.system, &DeviceSpec::Node(path.into()));
    let text = |path: &Path| open(path).unwrap_err().to_string();
    assert!(text(&machine.path("plain")).contains("not a device node"));
    assert!(text(&machine.path("absent")).contains("opalbox drive list"));
    assert!(text(Path::new("/dev/null")).contains("null"));
    let _socket = std::os::unix::net::UnixListener::bind(machine.path("socket")).unwrap();
    assert!(text(&machine.path("socket")).contains("sim:SOCKET"));
    let sim = open_in(&machine.system, &DeviceSpec::Sim(machine.path("absent")));
    assert!(matches!(sim.unwrap_err(), OpenError::Path(error) if error.kind == Kind::Gone));
}
