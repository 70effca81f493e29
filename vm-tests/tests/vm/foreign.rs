// SPDX-License-Identifier: MIT OR Apache-2.0
//! Other people's clients against the whole emulated drive: life cycles, not only discovery.

use vm_tests::{Emulator, FrontEnd, Guest, GuestBuilder, Kernel, skip_at_home};

/// A guest with a new drive; `None` where the emulator is not built and that may be (never in CI).
fn guest(name: &str, client: &str, front_end: FrontEnd) -> Option<(Emulator, GuestBuilder)> {
    match Emulator::start(front_end, "64M") {
        Ok(emulator) => {
            let guest = Guest::builder(name)
                .row(client, front_end.words())
                .drive(emulator.drive())
                .module("dm_crypt")
                .module("ext4")
                .file("/vm/psid", emulator.label("psid"))
                .file("/vm/msid", emulator.label("msid"))
                .on_host_call(emulator.host_call());
            Some((emulator, guest))
        }
        Err(error) if skip_at_home(name, &error) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Runs it to a good end.
fn passes(guest: GuestBuilder, script: &str) -> vm_tests::Outcome {
    let outcome = guest.script(script).run().unwrap();
    outcome.assert_passed();
    outcome
}

#[test]
fn discovery_by_every_client_over_nvme() {
    let Some((_emulator, guest)) =
        guest("foreign-discovery", "discovery by all clients", FrontEnd::NvmeTcp)
    else {
        return;
    };
    let outcome = passes(
        guest,
        "
        step 'kernel' nvme sed discover /dev/nvme0n1 --verbose
        step 'sedutil scan' sedutil-cli --scan
        step 'sedutil query' sedutil-cli --query /dev/nvme0
        step 'raw' nvme security-recv /dev/nvme0 --secp=1 --spsp=1 --size=512 --al=512
        ",
    );
    assert!(outcome.output("kernel").contains("Locking Supported"), "{}", outcome.report());
    let query = outcome.output("sedutil query");
    assert!(query.contains("OPAL 2.0 function") && query.contains("TPer Properties"), "{query}");
}

const CRYPTSETUP: &str = r#"
DRIVE=/dev/nvme0n1
printf 'the passphrase' >/tmp/key
printf 'another one' >/tmp/wrong
printf 'the admin pin' >/tmp/admin
FORMAT='cryptsetup luksFormat -q --type luks2 --hw-opal-only --pbkdf pbkdf2 --pbkdf-force-iterations 1000'
step 'luksFormat' sh -c "$FORMAT --key-file /tmp/key $DRIVE </tmp/admin"
step 'luksDump' cryptsetup luksDump $DRIVE
step 'open' cryptsetup open --key-file /tmp/key $DRIVE vault
dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
printf 'SENTINEL-OF-THE-PLAINTEXT' | dd of=/tmp/data conv=notrunc 2>/dev/null
step 'write' dd if=/tmp/data of=/dev/mapper/vault bs=1M seek=8 oflag=direct conv=fsync
step 'read' same_data /tmp/data /dev/mapper/vault 16384
step 'the image holds no plaintext' host absent SENTINEL-OF-THE-PLAINTEXT
step 'close' cryptsetup close vault
refuse 'locked' dd if=$DRIVE of=/dev/null bs=1M skip=30 count=1 iflag=direct
refuse 'wrong passphrase' cryptsetup open --key-file /tmp/wrong $DRIVE vault
step 'open again' cryptsetup open --key-file /tmp/key $DRIVE vault
step 'data is there' same_data /tmp/data /dev/mapper/vault 16384
step 'cut the power' host cut-power
"#;

#[test]
fn cryptsetup_hw_opal_only_over_nvme() {
    let Some((_emulator, guest)) =
        guest("foreign-cryptsetup", "cryptsetup --hw-opal-only", FrontEnd::NvmeTcp)
    else {
        return;
    };
    let outcome = passes(
        guest,
        &format!(
            "{CRYPTSETUP}
            until_true 20 dd if=$DRIVE of=/dev/null bs=4096 count=1 iflag=direct
            refuse 'locked by the cut' dd if=$DRIVE of=/dev/null bs=1M skip=30 count=1 iflag=direct
            try 'close the old mapping' cryptsetup close vault
            step 'open after the cut' cryptsetup open --key-file /tmp/key $DRIVE vault
            step 'data survived' same_data /tmp/data /dev/mapper/vault 16384
            step 'close at last' cryptsetup close vault
            step 'erase' sh -c \"cryptsetup erase -q --hw-opal-factory-reset $DRIVE </vm/psid\"
            step 'factory state' nvme sed discover $DRIVE
            refuse 'no header is left' cryptsetup isLuks $DRIVE
            "
        ),
    );
    assert!(outcome.output("luksDump").contains("hw-opal"), "{}", outcome.report());
}

#[test]
fn cryptsetup_hw_opal_only_on_the_newest_kernel() {
    let name = "foreign-cryptsetup-newest";
    let Some((_emulator, guest)) = guest(name, "cryptsetup --hw-opal-only", FrontEnd::NvmeTcp)
    else {
        return;
    };
    passes(guest.kernel(Kernel::Newest), CRYPTSETUP);
}

fn sedutil(name: &str, front_end: FrontEnd, device: &str, block: &str) {
    let Some((_emulator, guest)) = guest(name, "sedutil-cli", front_end) else { return };
    let script = r#"
        PIN=sedutil-password
        step 'scan' sedutil-cli --scan
        step 'query' sedutil-cli --query $DRIVE
        step 'initialSetup' sedutil-cli --initialSetup $PIN $DRIVE
        step 'list ranges' sedutil-cli --listLockingRanges $PIN $DRIVE
        dd if=/dev/urandom of=/tmp/data bs=1M count=2 2>/dev/null
        step 'write' dd if=/tmp/data of=$BLOCK bs=1M seek=8 oflag=direct conv=fsync
        dd if=/dev/urandom of=/tmp/pba bs=64k count=1 2>/dev/null
        step 'loadPBAimage' sedutil-cli --loadPBAimage $PIN /tmp/pba $DRIVE
        step 'setMBREnable' sedutil-cli --setMBREnable on $PIN $DRIVE
        step 'setMBRDone off' sedutil-cli --setMBRDone off $PIN $DRIVE
        step 'the shadow is shown' same_data /tmp/pba $BLOCK 0
        step 'setMBRDone on' sedutil-cli --setMBRDone on $PIN $DRIVE
        step 'setMBREnable off' sedutil-cli --setMBREnable off $PIN $DRIVE
        step 'enable range 0' sedutil-cli --enableLockingRange 0 $PIN $DRIVE
        step 'lock' sedutil-cli --setLockingRange 0 LK $PIN $DRIVE
        refuse 'locked' dd if=$BLOCK of=/dev/null bs=1M skip=8 count=1 iflag=direct
        try 'wrong PIN' sedutil-cli --setLockingRange 0 RW not-the-password $DRIVE
        refuse 'still locked' dd if=$BLOCK of=/dev/null bs=1M skip=8 count=1 iflag=direct
        step 'unlock' sedutil-cli --setLockingRange 0 RW $PIN $DRIVE
        step 'data is there' same_data /tmp/data $BLOCK 16384
        step 'power cycle' host power-cycle
        until_true 20 sedutil-cli --isValidSED $DRIVE
        refuse 'locked by it' dd if=$BLOCK of=/dev/null bs=1M skip=8 count=1 iflag=direct
        step 'unlock again' sedutil-cli --setLockingRange 0 RW $PIN $DRIVE
        step 'data is still there' same_data /tmp/data $BLOCK 16384
        step 'setSIDPassword' sedutil-cli --setSIDPassword $PIN new-password $DRIVE
        step 'revertNoErase' sedutil-cli --revertNoErase $PIN $DRIVE
        step 'data outlives it' same_data /tmp/data $BLOCK 16384
        # The Locking SP is inactive by now, so there is nothing that a revert would erase.
        step 'revertTPer without ranges' sedutil-cli --revertTPer new-password $DRIVE
        step 'data outlives that too' same_data /tmp/data $BLOCK 16384
        step 'set up again' sedutil-cli --initialSetup $PIN $DRIVE
        step 'revertTPer' sedutil-cli --revertTPer $PIN $DRIVE
        refuse 'data is gone' same_data /tmp/data $BLOCK 16384
        step 'and set up again' sedutil-cli --initialSetup $PIN $DRIVE
        step 'write more' dd if=/tmp/data of=$BLOCK bs=1M seek=8 oflag=direct conv=fsync
        step 'PSID revert' sedutil-cli --yesIreallywanttoERASEALLmydatausingthePSID "$(cat /vm/psid)" $DRIVE
        refuse 'that is gone too' same_data /tmp/data $BLOCK 16384
    "#;
    let head = format!("DRIVE={device}\nBLOCK={block}\nuntil_true 10 test -b $BLOCK\n");
    passes(guest, &format!("{head}{script}"));
}

#[test]
fn sedutil_life_cycle_over_nvme() {
    sedutil("foreign-sedutil-nvme", FrontEnd::NvmeTcp, "/dev/nvme0", "/dev/nvme0n1");
}

#[test]
fn sedutil_life_cycle_over_sas() {
    sedutil("foreign-sedutil-sas", FrontEnd::Scsi, "/dev/sda", "/dev/sda");
}

#[test]
fn sedutil_life_cycle_over_ata() {
    sedutil("foreign-sedutil-ata", FrontEnd::Sat, "/dev/sda", "/dev/sda");
}

#[test]
fn nvme_sed_life_cycle_over_nvme() {
    let Some((_emulator, guest)) = guest("foreign-nvme-sed", "nvme sed", FrontEnd::NvmeTcp) else {
        return;
    };
    let outcome = passes(
        guest.program(env!("CARGO_BIN_EXE_tty-answer")),
        r#"
        DRIVE=/dev/nvme0n1
        printf 'the first key\nthe first key\n' >/tmp/twice
        printf 'the first key\n' >/tmp/once
        printf 'another key\n' >/tmp/wrong
        printf 'y\ny\n%s\n' "$(cat /vm/psid)" >/tmp/psid
        read_it() { dd if=$DRIVE of=/dev/null bs=4096 skip=2048 count=1 iflag=direct; }
        step 'initialize' tty-answer /tmp/twice nvme sed initialize $DRIVE
        step 'discover' nvme sed discover $DRIVE
        dd if=/dev/urandom of=/tmp/data bs=1M count=2 2>/dev/null
        step 'write' dd if=/tmp/data of=$DRIVE bs=1M seek=8 oflag=direct conv=fsync
        step 'lock' tty-answer /tmp/once nvme sed lock --ask-key $DRIVE
        refuse 'locked' read_it
        refuse 'wrong key' tty-answer /tmp/wrong nvme sed unlock --ask-key $DRIVE
        refuse 'still locked' read_it
        step 'unlock' tty-answer /tmp/once nvme sed unlock --ask-key $DRIVE
        step 'data is there' same_data /tmp/data $DRIVE 16384
        step 'power cycle' host power-cycle
        until_true 20 nvme sed discover $DRIVE
        refuse 'locked by it' read_it
        step 'unlock again' tty-answer /tmp/once nvme sed unlock --ask-key $DRIVE
        step 'data is still there' same_data /tmp/data $DRIVE 16384
        step 'revert' tty-answer /tmp/once nvme sed revert $DRIVE
        step 'factory state' nvme sed discover $DRIVE
        step 'initialize again' tty-answer /tmp/twice nvme sed initialize $DRIVE
        step 'PSID revert' tty-answer /tmp/psid nvme sed revert --psid $DRIVE
        step 'factory state again' nvme sed discover $DRIVE
        refuse 'data is gone' same_data /tmp/data $DRIVE 16384
        "#,
    );
    let enabled =
        |step: &str| outcome.output(step).contains("Locking Feature Enabled         : yes");
    assert!(enabled("discover"), "{}", outcome.report());
    assert!(!enabled("factory state") && !enabled("factory state again"), "{}", outcome.report());
}
