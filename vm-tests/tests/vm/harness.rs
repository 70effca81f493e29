// SPDX-License-Identifier: MIT OR Apache-2.0
//! The harness itself: every kernel and QEMU boots, the clients answer, failures are told.

use std::time::Duration;

use vm_tests::{Error, Guest, Kernel, QemuRelease};

const CLIENTS: &str = "
step 'nvme' nvme version
step 'cryptsetup' cryptsetup --version
try 'sedutil' sedutil-cli --help
step 'sg3-utils' sh -c 'sg_inq -V 2>&1'
step 'dmsetup' dmsetup version
step 'loopback' ping -c 1 127.0.0.1
step 'network' sh -c 'ip -4 addr show eth0 | grep 10.0.2.15'
";

fn boots(name: &str, kernel: Kernel, release: QemuRelease, series: &str) {
    let guest = Guest::builder(name).kernel(kernel).qemu(release).network();
    let outcome = guest.module("dm_crypt").script(CLIENTS).run().unwrap();
    outcome.assert_passed();
    assert!(outcome.kernel.starts_with(series), "{}", outcome.kernel);
    assert!(outcome.output("nvme").contains("nvme version 2."), "{}", outcome.report());
    assert!(outcome.output("cryptsetup").contains("cryptsetup 2."), "{}", outcome.report());
    assert!(outcome.output("sedutil").contains("--initialSetup"), "{}", outcome.report());
}

#[test]
fn kernel_6_1_boots_with_all_clients() {
    boots("harness-6.1", Kernel::V6_1, QemuRelease::Backports, "6.1.");
}

#[test]
fn kernel_6_12_boots_with_all_clients() {
    boots("harness-6.12", Kernel::V6_12, QemuRelease::Backports, "6.12.");
}

#[test]
fn newest_kernel_boots_with_all_clients() {
    boots("harness-newest", Kernel::Newest, QemuRelease::Backports, "");
}

#[test]
fn stable_qemu_boots_with_all_clients() {
    boots("harness-stable-qemu", Kernel::V6_12, QemuRelease::Stable, "6.12.");
}

#[test]
fn software_encryption_works_in_the_guest() {
    let script = "
        dd if=/dev/zero of=/tmp/image bs=1M count=24 2>/dev/null
        printf secret >/tmp/key
        step format cryptsetup luksFormat -q --key-file /tmp/key --pbkdf pbkdf2 \
            --pbkdf-force-iterations 1000 /tmp/image
        printf wrong >/tmp/wrong
        refuse 'a wrong key' cryptsetup open --key-file /tmp/wrong /tmp/image vault
        step open cryptsetup open --key-file /tmp/key /tmp/image vault
        step 'make a file system' mkfs.ext4 -q /dev/mapper/vault
        step mount mount -t ext4 /dev/mapper/vault /mnt
    ";
    let guest = Guest::builder("harness-dm-crypt").module("dm_crypt").module("loop");
    guest.module("ext4").script(script).run().unwrap().assert_passed();
}

#[test]
fn failures_and_refusals_are_told_apart() {
    let script = "
        step works true
        refuse 'is refused' false
        try 'is tried' sh -c 'echo seen; exit 7'
        refuse 'is not refused' true
        step 'is never reached' true
    ";
    let outcome = Guest::builder("harness-failure").script(script).run().unwrap();
    assert_eq!(outcome.exit, 99, "{}", outcome.report());
    assert!(!outcome.passed());
    let exits: Vec<Option<i32>> = outcome.steps.iter().map(|step| step.exit).collect();
    assert_eq!(exits, [Some(0), Some(1), Some(7), Some(0)]);
    assert_eq!(outcome.output("is tried"), "seen\n");
}

#[test]
fn a_guest_that_hangs_is_killed_in_time() {
    let guest = Guest::builder("harness-hang").timeout(Duration::from_secs(10));
    let error = guest.script("echo before\nstep 'hang' sleep 1000").run().unwrap_err();
    assert!(matches!(&error, Error::TimedOut { log, .. } if log.contains("before")), "{error}");
}

#[test]
fn a_guest_that_dies_is_reported() {
    let guest = Guest::builder("harness-panic");
    let error = guest.script("echo before\necho c >/proc/sysrq-trigger").run().unwrap_err();
    let Error::GuestDied { log, .. } = &error else { panic!("{error}") };
    assert!(log.contains("before") && log.contains("sysrq"), "{log}");
}

#[test]
fn scripts_can_ask_the_host() {
    let script = "
        step 'ask' host power-cycle 1
        refuse 'ask for too much' host explode
    ";
    let guest = Guest::builder("harness-host-call").on_host_call(|call| match call {
        "power-cycle 1" => Ok("done".to_owned()),
        _ => Err("no".to_owned()),
    });
    let outcome = guest.script(script).run().unwrap();
    outcome.assert_passed();
    assert!(outcome.output("ask").contains("done"));
}
