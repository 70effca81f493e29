// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vfio-user front-end alone, with a drive in memory behind it: a PCI NVMe drive to kernels.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use vm_tests::{
    Drive, Error, Firmware, Guest, Kernel, Outcome, Program, Service, boot_from_firmware,
    skip_at_home,
};

const MEBIBYTES: &str = "64";
const LIMIT: Duration = Duration::from_secs(240);

/// A served drive; its sockets go with it.
struct Served {
    _service: Service,
    folder: tempfile::TempDir,
}

impl Served {
    /// `None` where the program is not built and that may be (never in CI).
    fn start(test: &str, image: Option<&Path>) -> Option<Self> {
        let program = match Program::find("vfio_user_drive") {
            Ok(program) => program,
            Err(error) if skip_at_home(test, &error) => return None,
            Err(error) => panic!("{error}"),
        };
        let folder = tempfile::Builder::new().prefix("vfio-").tempdir().unwrap();
        let path = |name| folder.path().join(name).display().to_string();
        let (socket, control) = (path("drive"), path("control"));
        let mut arguments = vec![MEBIBYTES, &socket, &control];
        let image = image.map(|image| image.display().to_string());
        arguments.extend(image.as_deref());
        let service = program.serve(&arguments, "listening on ").unwrap();
        Some(Self { _service: service, folder })
    }

    fn drive(&self) -> Drive {
        Drive::VfioUserNvme(self.folder.path().join("drive"))
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// The resets that the drive saw, once they end so: it learns of a machine's end a moment later.
    fn resets_until(&self, end: &str) -> String {
        let from = Instant::now();
        loop {
            let resets = self.order("resets");
            if resets.ends_with(end) {
                return resets;
            }
            assert!(from.elapsed() < Duration::from_secs(10), "{resets}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn order(&self, words: &str) -> String {
        order(&self.control(), words).unwrap()
    }
}

/// One order to the drive, and its answer.
fn order(control: &Path, words: &str) -> Result<String, String> {
    let ask = || {
        let mut line = UnixStream::connect(control)?;
        writeln!(line, "{words}")?;
        let mut answer = String::new();
        BufReader::new(line).read_line(&mut answer)?;
        std::io::Result::Ok(answer.trim().to_owned())
    };
    ask().map_err(|error| format!("{words}: {error}"))
}

const LIBRARY: &str = "until_true 10 test -b /dev/nvme0n1";

const SCRIPT: &str = r#"
step 'appears' until_true 10 test -b /dev/nvme0n1
step 'controller' nvme id-ctrl /dev/nvme0
step 'namespace' nvme id-ns /dev/nvme0n1
step 'list' nvme list
step 'health' nvme smart-log /dev/nvme0
step 'pci' sh -c 'cat /sys/class/nvme/nvme0/device/vendor /sys/class/nvme/nvme0/device/device'
step 'interrupts' grep nvme0q /proc/interrupts
step 'discovery' nvme security-recv /dev/nvme0 --secp=1 --spsp=1 --size=512 --al=512
step 'discovery, short' nvme security-recv /dev/nvme0n1 --secp=1 --spsp=1 --size=64 --al=64
refuse 'a protocol that is not there' nvme security-recv /dev/nvme0 --secp=0xEE --spsp=1 --size=512 --al=512
step 'size' test "$(cat /sys/block/nvme0n1/size)" = 131072

dd if=/dev/urandom of=/tmp/data bs=1M count=2 2>/dev/null
step 'write' dd if=/tmp/data of=/dev/nvme0n1 bs=1M seek=4 oflag=direct conv=fsync
step 'read back' same_data /tmp/data /dev/nvme0n1 8192
step 'small direct writes' dd if=/tmp/data of=/dev/nvme0n1 bs=512 count=200 oflag=direct
dd if=/tmp/data of=/tmp/small bs=512 count=200 2>/dev/null
step 'small read back' same_data /tmp/small /dev/nvme0n1 0
step 'buffered write' sh -c 'dd if=/tmp/data of=/dev/nvme0n1 bs=64k seek=400 2>/dev/null && sync'
step 'buffered read back' same_data /tmp/data /dev/nvme0n1 51200
step 'discard' blkdiscard -o 4194304 -l 1048576 /dev/nvme0n1
dd if=/dev/zero of=/tmp/zeros bs=1M count=1 2>/dev/null
step 'discarded reads zeros' same_data /tmp/zeros /dev/nvme0n1 8192
step 'write zeroes' nvme write-zeroes /dev/nvme0n1 -n 1 -s 10240 -c 99
refuse 'beyond the end' nvme read /dev/nvme0n1 -s 131072 -c 0 -z 512
step 'file system' mkfs.ext4 -q /dev/nvme0n1
step 'mount' mount -t ext4 /dev/nvme0n1 /mnt
step 'copy' sh -c 'cp /tmp/data /mnt/ && umount /mnt && mount -t ext4 /dev/nvme0n1 /mnt && cmp /tmp/data /mnt/data && umount /mnt'
step 'parallel writers' sh -c '
    for n in 1 2 3 4 5 6; do
        dd if=/tmp/data of=/dev/nvme0n1 bs=256k seek=$((n * 8)) oflag=direct 2>/dev/null &
    done
    wait'
step 'parallel read back' sh -c '
    want=$(md5sum </tmp/data)
    for n in 1 2 3 4 5 6; do
        got=$(dd if=/dev/nvme0n1 bs=256k skip=$((n * 8)) count=8 iflag=direct 2>/dev/null | md5sum)
        [ "$got" = "$want" ] || exit 1
    done'
step 'lock' host lock 8192 12288
refuse 'locked' dd if=/dev/nvme0n1 of=/dev/null bs=512 skip=8192 count=1 iflag=direct
refuse 'locked for writing' dd if=/tmp/data of=/dev/nvme0n1 bs=512 seek=12287 count=1 oflag=direct
step 'beside it' dd if=/dev/nvme0n1 of=/dev/null bs=512 skip=12288 count=1 iflag=direct
step 'unlock' host unlock
step 'readable again' same_data /tmp/data /dev/nvme0n1 8192
step 'controller reset' nvme reset /dev/nvme0
step 'after the reset' same_data /tmp/data /dev/nvme0n1 8192
step 'no drive reset came of it' host resets
step 'function reset' sh -c 'echo 1 >/sys/class/nvme/nvme0/device/reset'
step 'after the function reset' same_data /tmp/data /dev/nvme0n1 8192
step 'resets' host resets
step 'removal' sh -c 'echo 1 >/sys/class/nvme/nvme0/device/remove && sleep 0.2 && ! test -e /dev/nvme0n1'
step 'found again' sh -c 'echo 1 >/sys/bus/pci/rescan'
step 'there again' until_true 10 test -b /dev/nvme0n1
step 'after finding it again' same_data /tmp/data /dev/nvme0n1 8192
"#;

fn served(name: &str, kernel: Kernel) -> Option<Outcome> {
    let served = Served::start(name, None)?;
    let control = served.control();
    let guest = Guest::builder(name).kernel(kernel).drive(served.drive()).module("ext4");
    let guest = guest.on_host_call(move |call| order(&control, call));
    // Two processors, hence two I/O queues.
    let guest = guest.argument("-smp").argument("2").timeout(LIMIT);
    let outcome = guest.script(LIBRARY).script(SCRIPT).run().unwrap();
    outcome.assert_passed();
    assert!(outcome.output("controller").contains("OPALBOX MEMORY DRIVE"));
    assert!(outcome.output("discovery").contains("00 00 00"), "{}", outcome.report());
    assert_eq!(outcome.output("pci").trim(), "0x1af4\n0x10f0");
    assert!(!outcome.console.contains("bogus"), "{}", outcome.report());
    // The machine resets the device before it starts it; nvme reset must add nothing, the
    // function level reset one, and the machine's end is a loss of power.
    let count = |name: &str| {
        let output = outcome.output(name);
        assert!(!output.contains("PowerCycle"), "{output}");
        output.matches("Hardware").count()
    };
    assert!(count("resets") > count("no drive reset came of it"), "{}", outcome.report());
    let resets = served.resets_until("PowerCycle]");
    assert_eq!(resets.matches("PowerCycle").count(), 1, "{resets}");
    Some(outcome)
}

#[test]
fn kernel_6_1_uses_the_drive() {
    served("vfio-nvme-6.1", Kernel::V6_1);
}

#[test]
fn kernel_6_12_uses_the_drive() {
    served("vfio-nvme-6.12", Kernel::V6_12);
}

#[test]
fn newest_kernel_uses_the_drive() {
    served("vfio-nvme-newest", Kernel::Newest);
}

const POWER_CUT: &str = r#"
step 'opal' nvme sed discover /dev/nvme0n1
dd if=/dev/urandom of=/tmp/data bs=512k count=1 2>/dev/null
step 'write' dd if=/tmp/data of=/dev/nvme0n1 bs=512k seek=3 oflag=direct conv=fsync
step 'cut the power' host power-cycle
step 'reset' nvme reset /dev/nvme0
step 'read back' same_data /tmp/data /dev/nvme0n1 3072
step 'resets' host resets
"#;

#[test]
fn a_running_kernel_finds_opal_and_gets_over_a_power_cut() {
    let name = "vfio-nvme-power";
    let Some(served) = Served::start(name, None) else { return };
    let control = served.control();
    let guest = Guest::builder(name).drive(served.drive()).timeout(LIMIT);
    let guest = guest.on_host_call(move |call| order(&control, call));
    let outcome = guest.script(LIBRARY).script(POWER_CUT).run().unwrap();
    outcome.assert_passed();
    assert!(outcome.output("opal").contains("Locking Supported"), "{}", outcome.report());
    assert!(outcome.output("resets").contains("[Hardware, PowerCycle]"), "{}", outcome.report());
}

/// The script runs once more after the reboot and tells by the drive's content which pass it is.
const REBOOT: &str = r#"
if [ "$(head -c 6 /dev/nvme0n1)" = second ]; then
    step 'what was written before is there' sh -c \
        '[ "$(dd if=/dev/nvme0n1 bs=512 skip=2048 count=1024 2>/dev/null | md5sum)" = \
           "$(dd if=/dev/nvme0n1 bs=512 skip=4096 count=1024 2>/dev/null | md5sum)" ]'
    step 'seen after' host resets
else
    dd if=/dev/urandom of=/tmp/data bs=512k count=1 2>/dev/null
    step 'write' dd if=/tmp/data of=/dev/nvme0n1 bs=512 seek=2048
    step 'write again' dd if=/tmp/data of=/dev/nvme0n1 bs=512 seek=4096
    printf second >/tmp/second
    step 'mark' dd if=/tmp/second of=/dev/nvme0n1 conv=fsync
    step 'seen before' host resets
    reboot -f
    sleep 100
fi
"#;

#[test]
fn a_warm_reboot_is_a_hardware_reset_and_keeps_the_data() {
    let name = "vfio-nvme-reboot";
    let Some(served) = Served::start(name, None) else { return };
    let control = served.control();
    let guest = Guest::builder(name).drive(served.drive()).timeout(LIMIT);
    let guest = guest.argument("-action").argument("reboot=reset");
    let guest = guest.on_host_call(move |call| order(&control, call));
    let outcome = guest.script(LIBRARY).script(REBOOT).run().unwrap();
    outcome.assert_passed();
    let (before, after) = (outcome.output("seen before"), outcome.output("seen after"));
    let hardware = |seen: &str| seen.matches("Hardware").count();
    assert!(hardware(after) > hardware(before), "{before} {after}");
    assert!(!after.contains("PowerCycle"), "{after}");
}

/// Talks to QEMU's monitor (QMP); bounded by the caller's patience and the socket's.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn open(path: &Path) -> std::io::Result<Self> {
        let line = UnixStream::connect(path)?;
        line.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut monitor = Self(BufReader::new(line));
        monitor.0.read_line(&mut String::new())?;
        monitor.ask("qmp_capabilities")?;
        Ok(monitor)
    }

    fn ask(&mut self, command: &str) -> std::io::Result<String> {
        writeln!(self.0.get_mut(), r#"{{"execute":"{command}"}}"#)?;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            // Events come in between.
            if line.contains(r#""return""#) || line.contains(r#""error""#) {
                return Ok(line);
            }
        }
    }

    /// Waits for the machine to sleep, does `meanwhile`, wakes it.
    fn through_sleep(path: &Path, meanwhile: impl FnOnce()) -> std::io::Result<()> {
        let mut monitor = Self::open(path)?;
        let from = Instant::now();
        while !monitor.ask("query-status")?.contains("suspended") {
            if from.elapsed() > Duration::from_secs(90) {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        meanwhile();
        monitor.ask("system_wakeup").map(drop)
    }
}

const SLEEP: &str = r#"
dd if=/dev/urandom of=/tmp/data bs=512k count=1 2>/dev/null
step 'write' dd if=/tmp/data of=/dev/nvme0n1 bs=512k seek=3 oflag=direct conv=fsync
step 'seen before' host resets
step 'suspend to RAM is there' sh -c 'echo deep >/sys/power/mem_sleep'
step 'watch' host cut-power-in-sleep
step 'sleep' sh -c 'echo mem >/sys/power/state'
step 'awake' host resets
step 'controller' nvme id-ctrl /dev/nvme0
step 'read back' same_data /tmp/data /dev/nvme0n1 3072
step 'write after' dd if=/tmp/data of=/dev/nvme0n1 bs=512k seek=9 oflag=direct conv=fsync
step 'read that back' same_data /tmp/data /dev/nvme0n1 9216
step 'discovery' nvme security-recv /dev/nvme0 --secp=1 --spsp=1 --size=512 --al=512
"#;

#[test]
fn a_machine_that_sleeps_finds_a_drive_that_lost_power_and_goes_on() {
    let name = "vfio-nvme-s3";
    let Some(served) = Served::start(name, None) else { return };
    let (control, monitor) = (served.control(), served.folder.path().join("monitor"));
    let listen = format!("unix:{},server=on,wait=off", monitor.display());
    let guest = Guest::builder(name).drive(served.drive()).timeout(LIMIT);
    let guest = guest.argument("-qmp").argument(&listen);
    let guest = guest.argument("-global").argument("ICH9-LPC.disable_s3=0");
    let guest = guest.on_host_call(move |call| {
        if call != "cut-power-in-sleep" {
            return order(&control, call);
        }
        let (control, monitor) = (control.clone(), monitor.clone());
        thread::spawn(move || {
            // If either fails, the guest sleeps on and the test ends by its limit.
            let _ = Monitor::through_sleep(&monitor, || {
                let _ = order(&control, "power-cycle");
            });
        });
        Ok("watching".to_owned())
    });
    let outcome = guest.script(LIBRARY).script(SLEEP).run().unwrap();
    outcome.assert_passed();
    assert!(!outcome.output("seen before").contains("PowerCycle"), "{}", outcome.report());
    assert!(outcome.output("awake").contains("PowerCycle"), "{}", outcome.report());
    assert!(outcome.console.contains("PM: suspend exit"), "{}", outcome.report());
}

/// Reads block 7 through the BIOS, writes it to block 9, prints it to the first serial line.
#[rustfmt::skip]
const BOOT_SECTOR: [u8; 86] = [
    0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xD0, // ax = ds = es = ss = 0
    0xBC, 0x00, 0x7C,                               // sp = 7C00h
    0xBE, 0x46, 0x7C,                               // si = the packet at the end
    0xB4, 0x42, 0xCD, 0x13, 0x72, 0x19,             // extended read; on error "!"
    0xC6, 0x06, 0x4E, 0x7C, 0x09,                   // the packet's block = 9
    0xB8, 0x00, 0x43, 0xCD, 0x13, 0x72, 0x0D,       // extended write; on error "!"
    0xBE, 0x00, 0x80,                               // si = 8000h
    0xAC, 0x84, 0xC0, 0x74, 0x0A,                   // next byte; zero ends
    0xE8, 0x0A, 0x00, 0xEB, 0xF6,                   // put, again
    0xB0, 0x21, 0xE8, 0x03, 0x00,                   // put "!"
    0xF4, 0xEB, 0xFD,                               // halt
    0x88, 0xC3, 0xBA, 0xFD, 0x03,                   // put: bl = al; line status
    0xEC, 0xA8, 0x20, 0x74, 0xFB,                   // until it can take a byte
    0x88, 0xD8, 0xBA, 0xF8, 0x03, 0xEE, 0xC3,       // out, return
    16, 0, 1, 0, 0x00, 0x80, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, // one block to 0:8000h from block 7
];

const BOOTED: &str = "read by the firmware from block 7";

fn started(test: &str, firmware: Firmware, expected: &str) -> Option<(Served, String)> {
    let mut image = vec![0; 8 * 512];
    image[..BOOT_SECTOR.len()].copy_from_slice(&BOOT_SECTOR);
    image[510..512].copy_from_slice(&[0x55, 0xAA]);
    image[7 * 512..][..BOOTED.len()].copy_from_slice(BOOTED.as_bytes());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &image).unwrap();
    let served = Served::start(test, Some(file.path()))?;
    let device = format!(
        r#"{{"driver":"vfio-user-pci","bootindex":1,"socket":{{"path":"{}","type":"unix"}}}}"#,
        served.folder.path().join("drive").display()
    );
    match boot_from_firmware(firmware, &["-device", &device], expected, LIMIT) {
        Ok(said) => Some((served, said)),
        Err(Error::TimedOut { log, .. } | Error::GuestDied { log, .. }) => panic!("{log}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn seabios_boots_from_the_drive_and_writes_to_it() {
    let Some((served, _)) = started("vfio-nvme-seabios", Firmware::SeaBios, BOOTED) else { return };
    assert_eq!(served.order("text 9"), BOOTED);
}

#[test]
fn ovmf_lists_the_drive_among_its_boot_devices() {
    let Some((_, said)) = started("vfio-nvme-ovmf", Firmware::Ovmf, "/NVMe(0x1,") else { return };
    assert!(said.contains("\"UEFI OPALBOX MEMORY DRIVE MEM0001 1\""), "{said}");
}
