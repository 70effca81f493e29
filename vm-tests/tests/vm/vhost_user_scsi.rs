// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vhost-user-scsi front-end alone, with a drive in memory behind it, against the kernel's sd
//! and sg drivers, plain and with ATA translation.

use std::path::PathBuf;

use vm_tests::{Drive, Guest, Kernel, Program, QemuRelease, Service, skip_at_home};

/// A server, the folder of its socket, and the socket.
fn memory_drive(test: &str, front_end: &str) -> Option<(Service, tempfile::TempDir, PathBuf)> {
    let program = match Program::find("memory_drive") {
        Ok(program) => program,
        Err(error) if skip_at_home(test, &error) => return None,
        Err(error) => panic!("{error}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("drive");
    let path = socket.to_str().unwrap();
    let service = program.serve(&["64", front_end, path], "listening on").unwrap();
    Some((service, folder, socket))
}

const SCRIPT: &str = r#"
step 'disk appears' until_true 10 test -b /dev/sda
step 'generic node' test -c /dev/sg0
step 'nothing else appears' sh -c 'test "$(ls -d /sys/class/scsi_device/* | wc -l)" = 1'
step 'size' test "$(cat /sys/block/sda/size)" = 131072
step 'inquiry' sg_inq /dev/sda
step 'pages' sg_vpd -a /dev/sg0
step 'luns' sg_luns /dev/sg0
step 'capacity' sg_readcap -l /dev/sg0
step 'opcodes' sg_opcodes -n /dev/sg0
step 'discovery, INC_512' sg_raw -r 2048 /dev/sg0 a2 01 00 01 80 00 00 00 00 04 00 00
step 'discovery, bytes' sg_raw -r 512 /dev/sda a2 01 00 01 00 00 00 00 02 00 00 00
refuse 'a protocol that is not there' sg_raw -r 512 /dev/sg0 a2 ee 00 01 00 00 00 00 02 00 00 00
step 'sedutil scan' sedutil-cli --scan
try 'sedutil query' sedutil-cli --query /dev/sda

dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null
step 'write' dd if=/tmp/data of=/dev/sda bs=1M seek=4 oflag=direct conv=fsync
step 'read back' same_data /tmp/data /dev/sda 8192
step 'small direct writes' dd if=/tmp/data of=/dev/sda bs=512 count=200 oflag=direct
dd if=/tmp/data of=/tmp/small bs=512 count=200 2>/dev/null
step 'small read back' same_data /tmp/small /dev/sda 0
step 'discard' blkdiscard -o 4194304 -l 1048576 /dev/sda
dd if=/dev/zero of=/tmp/zeros bs=1M count=1 2>/dev/null
step 'discarded reads zeros' same_data /tmp/zeros /dev/sda 8192
step 'zero out' blkdiscard -z -o 8388608 -l 1048576 /dev/sda
step 'file system' mkfs.ext4 -q /dev/sda
step 'mount' mount -t ext4 /dev/sda /mnt
step 'copy' sh -c 'cp /tmp/data /mnt/ && umount /mnt && mount -t ext4 /dev/sda /mnt && test "$(md5sum </tmp/data)" = "$(md5sum </mnt/data)" && umount /mnt'
step 'device reset' sg_reset -d /dev/sg0
step 'after the reset' dd if=/dev/sda of=/dev/null bs=1M count=1 iflag=direct
"#;

const SAT: &str = r#"
step 'identify' sg_sat_identify /dev/sda
step 'ATA information' sg_vpd -p ai /dev/sda
step 'TRUSTED RECEIVE' sg_raw -r 512 /dev/sg0 85 08 0e 00 01 00 01 00 00 00 01 00 00 40 5c 00
step 'TRUSTED RECEIVE DMA' sg_raw -r 512 /dev/sg0 a1 0c 0e 01 01 00 01 00 40 5d 00 00
"#;

fn served(name: &str, front_end: &str, kernel: Kernel, release: QemuRelease, more: &str) {
    let Some((_service, _folder, socket)) = memory_drive(name, front_end) else { return };
    let guest = Guest::builder(name).kernel(kernel).qemu(release).module("ext4");
    let guest = guest.drive(Drive::VhostUserScsi(socket));
    let outcome = guest.script(SCRIPT).script(more).run().unwrap();
    outcome.assert_passed();
    let discovery = outcome.output("discovery, INC_512");
    assert!(discovery.contains("00 00 00 60"), "{}", outcome.report());
    let scan = outcome.output("sedutil scan");
    assert!(scan.lines().any(|line| line.starts_with("/dev/sda    2 ")), "{scan}");
    let (kind, query) = (if more.is_empty() { " SAS " } else { " ATA " }, "sedutil query");
    assert!(outcome.output(query).contains(kind), "{}", outcome.output(query));
}

#[test]
fn kernel_6_1_uses_the_disk() {
    served("scsi-6.1", "vhost-user-scsi", Kernel::V6_1, QemuRelease::Stable, "");
}

#[test]
fn kernel_6_12_uses_the_disk() {
    served("scsi-6.12", "vhost-user-scsi", Kernel::V6_12, QemuRelease::Backports, "");
}

#[test]
fn newest_kernel_uses_the_disk_with_ata_translation() {
    served("sat-newest", "vhost-user-sat", Kernel::Newest, QemuRelease::Backports, SAT);
}

#[test]
fn kernel_6_12_uses_the_disk_with_ata_translation() {
    served("sat-6.12", "vhost-user-sat", Kernel::V6_12, QemuRelease::Stable, SAT);
}
