// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opalbox itself in the guest, its keys in the guest's TPM, through the kernel's real drivers.

use std::time::Duration;

use vm_tests::{Emulator, FrontEnd, Guest, GuestBuilder, Kernel, Outcome, Program, skip_at_home};

/// A guest with a new drive, a TPM and Opalbox; `None` where one of our programs is not built and
/// that may be (never in CI).
fn guest(name: &str, client: &str, front_end: FrontEnd) -> Option<(Emulator, GuestBuilder)> {
    let start = || {
        let opalbox = Program::find("opalbox")?;
        let emulator = Emulator::start(front_end, "64M")?;
        let guest = Guest::builder(name)
            .row(client, front_end.words())
            .drive(emulator.drive())
            .program(opalbox.path())
            .module("ext4")
            .tpm()
            .memory(768)
            .timeout(Duration::from_secs(400))
            .file("/vm/psid", emulator.label("psid"))
            .file("/vm/serial", emulator.label("serial"))
            .on_host_call(emulator.host_call());
        Ok((emulator, guest))
    };
    match start() {
        Ok(pair) => Some(pair),
        Err(error) if skip_at_home(name, &error) => None,
        Err(error) => panic!("{error}"),
    }
}

const LIFE: &str = r#"
until_true 10 test -b $BLOCK
SERIAL="$(cat /vm/serial)"
mkdir -p /var/lib
sector() { dd if=$BLOCK of=/dev/null bs=4096 skip=2048 count=1 iflag=direct; }
refuse 'PCRs that any boot loader passes' opalbox lockbox init --pcrs 7
step 'lockbox init' opalbox lockbox init
step 'list' opalbox drive list
step 'doctor, factory' opalbox drive doctor $NODE
refuse 'not confirmed' opalbox drive provision $NODE
refuse 'another serial' opalbox drive provision $NODE --yes-erase WRONG
step 'provision' opalbox drive provision $NODE --yes-erase "$SERIAL"
step 'lockbox check' opalbox lockbox check
step 'partition' sh -c "echo 8192,65536 | /usr/sbin/sfdisk -q $BLOCK"
step 'partition is there' until_true 5 test -b $PART
dd if=/dev/urandom of=/tmp/data bs=1M count=2 2>/dev/null
printf 'SENTINEL-OF-THE-PLAINTEXT' | dd of=/tmp/data conv=notrunc 2>/dev/null
step 'write' dd if=/tmp/data of=$BLOCK bs=1M seek=8 oflag=direct conv=fsync
step 'read' same_data /tmp/data $BLOCK 16384
step 'the image holds no plaintext' host absent SENTINEL-OF-THE-PLAINTEXT
step 'doctor, provisioned' opalbox drive doctor $NODE
step 'power cycle' host power-cycle
step 'the kernel notices' power_is_back
until_true 20 opalbox drive show $NODE
refuse 'locked' sector
refuse 'locked for writing' dd if=/tmp/data of=$BLOCK bs=4096 seek=2048 count=1 oflag=direct
step 'doctor, locked' opalbox drive doctor $NODE
step 'unlock everything' opalbox unlock
step 'data is back' same_data /tmp/data $BLOCK 16384
step 'partition is back' until_true 5 test -b $PART
step 'lock' opalbox range lock $NODE
refuse 'locked again' sector
step 'unlock range' opalbox range unlock $NODE
step 'data is still there' same_data /tmp/data $BLOCK 16384
step 'verify' opalbox drive verify $NODE
step 'file system' sh -c "mkfs.ext4 -q $PART && mount -t ext4 $PART /mnt"
refuse 'mounted' opalbox drive revert $NODE --yes-erase "$SERIAL"
step 'umount' umount /mnt
step 'data survived that' dd if=$PART of=/dev/null bs=4096 count=1 iflag=direct
step 'revert' opalbox drive revert $NODE --yes-erase "$SERIAL"
refuse 'data is gone' same_data /tmp/data $BLOCK 16384
refuse 'so is the partition' test -b $PART
step 'doctor, reverted' opalbox drive doctor $NODE
step 'provision again' opalbox drive provision $NODE --yes-erase "$SERIAL"
step 'PSID revert' opalbox drive revert $NODE --psid --pin-file /vm/psid --yes-erase "$SERIAL"
step 'doctor at last' opalbox drive doctor $NODE
"#;

/// The whole life of a drive; `node` is what Opalbox is told, `block` where the data is.
fn life(name: &str, front_end: FrontEnd, kernel: Kernel, node: &str, block: &str) {
    let Some((_emulator, guest)) = guest(name, &format!("opalbox on {node}"), front_end) else {
        return;
    };
    let part = if block.ends_with(char::is_numeric) { "p1" } else { "1" };
    let back = match front_end {
        // A kernel finds a PCI controller that lost its state only when a command times out.
        FrontEnd::VfioUser => "nvme reset /dev/nvme0",
        _ => "true",
    };
    let head =
        format!("NODE={node}\nBLOCK={block}\nPART={block}{part}\npower_is_back() {{ {back}; }}\n");
    let outcome = guest.kernel(kernel).script(&head).script(LIFE).run().unwrap();
    outcome.assert_passed();
    told(&outcome);
}

/// What Opalbox said, where exit codes do not tell.
fn told(outcome: &Outcome) {
    let says = |step: &str, text: &str| {
        assert!(outcome.output(step).contains(text), "{step}: no {text:?}\n{}", outcome.report());
    };
    says("mounted", "is mounted at /mnt");
    says("not confirmed", "--yes-erase");
    says("doctor, factory", "factory state");
    says("doctor, provisioned", "this lockbox");
    says("doctor, locked", "`opalbox unlock` opens it");
    says("unlock everything", "unlocked");
    says("doctor at last", "factory state");
    assert!(!outcome.log.contains("partition table anew"), "{}", outcome.report());
}

#[test]
fn opalbox_over_nvme_tcp() {
    life("own-nvme", FrontEnd::NvmeTcp, Kernel::V6_12, "/dev/nvme0n1", "/dev/nvme0n1");
}

#[test]
fn opalbox_over_nvme_tcp_by_the_controller() {
    life("own-nvme-controller", FrontEnd::NvmeTcp, Kernel::V6_1, "/dev/nvme0", "/dev/nvme0n1");
}

#[test]
fn opalbox_over_pci_nvme() {
    life("own-vfio", FrontEnd::VfioUser, Kernel::V6_12, "/dev/nvme0n1", "/dev/nvme0n1");
}

#[test]
fn opalbox_over_scsi() {
    life("own-scsi", FrontEnd::Scsi, Kernel::V6_12, "/dev/sda", "/dev/sda");
}

#[test]
fn opalbox_over_scsi_generic() {
    life("own-sg", FrontEnd::Scsi, Kernel::Newest, "/dev/sg0", "/dev/sda");
}

#[test]
fn opalbox_over_ata() {
    life("own-ata", FrontEnd::Sat, Kernel::V6_12, "/dev/sda", "/dev/sda");
}

const SOMEBODY_ELSES: &str = r#"
step 'ours is empty' opalbox lockbox init
step 'doctor, unlocked' opalbox drive doctor $DRIVE
refuse 'not ours to provision' opalbox drive provision $DRIVE --yes-erase "$SERIAL"
refuse 'nor to unlock' opalbox unlock $DRIVE
refuse 'nor to revert' opalbox drive revert $DRIVE --yes-erase "$SERIAL"
step 'its data is untouched' same_data /tmp/data $DATA 16384
"#;

const TAKEN_OVER: &str = r#"
step 'PSID revert' opalbox drive revert $DRIVE --psid --pin-file /vm/psid --yes-erase "$SERIAL"
step 'provision' opalbox drive provision $DRIVE --yes-erase "$SERIAL"
step 'doctor, ours' opalbox drive doctor $DRIVE
step 'verify' opalbox drive verify $DRIVE
"#;

fn somebody_else(name: &str, client: &str, set_up: &str, end: &str) {
    let Some((_emulator, guest)) = guest(name, client, FrontEnd::NvmeTcp) else { return };
    let head = "DRIVE=/dev/nvme0n1\nSERIAL=\"$(cat /vm/serial)\"\nmkdir -p /var/lib\n\
                dd if=/dev/urandom of=/tmp/data bs=1M count=2 2>/dev/null\n";
    let guest = guest.module("dm_crypt").script(head).script(set_up).script(SOMEBODY_ELSES);
    let outcome = guest.script(end).script(TAKEN_OVER).run().unwrap();
    outcome.assert_passed();
    for step in ["doctor, unlocked", "doctor, locked"] {
        let said = outcome.output(step);
        assert!(said.contains("Owner  somebody else"), "{step}: {}", outcome.report());
        assert!(said.contains("--psid"), "{step}: {}", outcome.report());
    }
    assert!(outcome.output("doctor, ours").contains("Owner  this lockbox"));
}

#[test]
fn opalbox_leaves_a_drive_of_cryptsetup_alone() {
    somebody_else(
        "mixed-cryptsetup",
        "cryptsetup, then opalbox",
        r#"
        printf 'the passphrase' >/tmp/key
        printf 'the admin pin' >/tmp/admin
        FORMAT='cryptsetup luksFormat -q --type luks2 --hw-opal-only --pbkdf pbkdf2 --pbkdf-force-iterations 1000'
        step 'luksFormat' sh -c "$FORMAT --key-file /tmp/key $DRIVE </tmp/admin"
        step 'open' cryptsetup open --key-file /tmp/key $DRIVE vault
        DATA=/dev/mapper/vault
        step 'write' dd if=/tmp/data of=$DATA bs=1M seek=8 oflag=direct conv=fsync
        "#,
        r#"
        refuse 'held' opalbox drive revert $DRIVE --psid --pin-file /vm/psid --yes-erase "$SERIAL"
        step 'still open' same_data /tmp/data $DATA 16384
        step 'close' cryptsetup close vault
        step 'doctor, locked' opalbox drive doctor $DRIVE
        "#,
    );
}

#[test]
fn opalbox_leaves_a_drive_of_sedutil_alone() {
    somebody_else(
        "mixed-sedutil",
        "sedutil-cli, then opalbox",
        r#"
        step 'initialSetup' sedutil-cli --initialSetup password /dev/nvme0
        step 'setMBREnable off' sedutil-cli --setMBREnable off password /dev/nvme0
        step 'enable range 0' sedutil-cli --enableLockingRange 0 password /dev/nvme0
        DATA=$DRIVE
        step 'write' dd if=/tmp/data of=$DATA bs=1M seek=8 oflag=direct conv=fsync
        "#,
        r#"
        step 'lock' sedutil-cli --setLockingRange 0 LK password /dev/nvme0
        step 'doctor, locked' opalbox drive doctor $DRIVE
        "#,
    );
}
