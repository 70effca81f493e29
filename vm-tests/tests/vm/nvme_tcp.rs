// SPDX-License-Identifier: MIT OR Apache-2.0
//! The NVMe/TCP front-end alone, with a drive in memory behind it, against the kernel's initiator.

use vm_tests::{Drive, Guest, Kernel, Outcome, Program, Service, skip_at_home};

const SUBSYSTEM: &str = "nqn.2026-01.example:memory";
const READY: &str = "listening on 127.0.0.1:";

/// Serves a drive of 64 MiB; `None` where it is not built and that may be (never in CI).
fn memory_drive(test: &str) -> Option<(Service, Drive)> {
    match Program::find("memory_drive") {
        Ok(program) => {
            let service =
                program.serve(&["64", "nvme-tcp", SUBSYSTEM, "127.0.0.1:0"], READY).unwrap();
            let port = service.ready_line().strip_prefix(READY).unwrap().parse().unwrap();
            Some((service, Drive::NvmeTcp { port, nqn: SUBSYSTEM.to_owned() }))
        }
        Err(error) if skip_at_home(test, &error) => None,
        Err(error) => panic!("{error}"),
    }
}

const SCRIPT: &str = r#"
step 'controller' nvme id-ctrl /dev/nvme0
step 'namespace' nvme id-ns /dev/nvme0n1
step 'list' nvme list
step 'health' nvme smart-log /dev/nvme0
step 'discovery' nvme security-recv /dev/nvme0 --secp=1 --spsp=1 --size=512 --al=512
step 'discovery, short' nvme security-recv /dev/nvme0n1 --secp=1 --spsp=1 --size=64 --al=64
refuse 'a protocol that is not there' nvme security-recv /dev/nvme0 --secp=0xEE --spsp=1 --size=512 --al=512
step 'size' test "$(cat /sys/block/nvme0n1/size)" = 131072

dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null
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
step 'copy' sh -c 'cp /tmp/data /mnt/ && umount /mnt && mount -t ext4 /dev/nvme0n1 /mnt && test "$(md5sum </tmp/data)" = "$(md5sum </mnt/data)" && umount /mnt'
step 'controller reset' nvme reset /dev/nvme0
step 'after the reset' dd if=/dev/nvme0n1 of=/dev/null bs=1M count=1 iflag=direct
step 'disconnect' nvme disconnect -n nqn.2026-01.example:memory
refuse 'gone' test -e /dev/nvme0n1
"#;

fn served(name: &str, kernel: Kernel) -> Option<Outcome> {
    let (_service, drive) = memory_drive(name)?;
    let guest = Guest::builder(name).kernel(kernel).drive(drive).module("ext4");
    let outcome = guest.script(SCRIPT).run().unwrap();
    outcome.assert_passed();
    let discovery = outcome.output("discovery");
    assert!(discovery.contains("00 00 00"), "{}", outcome.report());
    assert!(outcome.output("controller").contains("OPALBOX MEMORY DRIVE"));
    Some(outcome)
}

#[test]
fn kernel_6_1_uses_the_drive() {
    served("nvme-tcp-6.1", Kernel::V6_1);
}

#[test]
fn kernel_6_12_uses_the_drive_and_sees_opal() {
    served("nvme-tcp-6.12", Kernel::V6_12);
}

#[test]
fn newest_kernel_uses_the_drive() {
    served("nvme-tcp-newest", Kernel::Newest);
}

#[test]
fn the_kernel_asks_discovery_through_its_opal_driver() {
    let Some((_service, drive)) = memory_drive("nvme-tcp-opal") else { return };
    let guest = Guest::builder("nvme-tcp-opal").drive(drive);
    let outcome = guest.script("step 'sed' nvme sed discover /dev/nvme0n1").run().unwrap();
    outcome.assert_passed();
    let said = outcome.output("sed");
    assert!(said.contains("Locking Supported"), "{}", outcome.report());
}

#[test]
fn a_drive_that_loses_power_comes_back_on_its_own() {
    let Some((mut service, drive)) = memory_drive("nvme-tcp-power") else { return };
    let Drive::NvmeTcp { port, .. } = &drive else { unreachable!() };
    let address = format!("127.0.0.1:{port}");
    let script = "
        step 'write' dd if=/dev/urandom of=/dev/nvme0n1 bs=64k count=1 oflag=direct
        step 'cut the power' host power-cycle
        step 'read' dd if=/dev/nvme0n1 of=/tmp/after bs=64k count=1 iflag=direct
        dd if=/dev/zero of=/tmp/zeros bs=64k count=1 2>/dev/null
        step 'it is the new one' cmp /tmp/zeros /tmp/after
        step 'discovery' nvme security-recv /dev/nvme0 --secp=1 --spsp=1 --size=512 --al=512
    ";
    let guest = Guest::builder("nvme-tcp-power").drive(drive).on_host_call(move |call| {
        assert_eq!(call, "power-cycle");
        service.kill();
        let program = Program::find("memory_drive").map_err(|error| error.to_string())?;
        service = program
            .serve(&["64", "nvme-tcp", SUBSYSTEM, &address], READY)
            .map_err(|error| error.to_string())?;
        Ok("back".to_owned())
    });
    guest.script(script).run().unwrap().assert_passed();
}

#[test]
fn nobody_listening_is_told() {
    let Some((service, drive)) = memory_drive("nvme-tcp-absent") else { return };
    drop(service);
    let Drive::NvmeTcp { port, nqn } = drive else { unreachable!() };
    let guest = Guest::builder("nvme-tcp-absent").network().module("nvme_tcp");
    let script = format!("refuse 'nobody there' nvme_tcp_connect 10.0.2.2 {port} {nqn}");
    guest.script(&script).run().unwrap().assert_passed();
}
