// SPDX-License-Identifier: MIT OR Apache-2.0
//! cryptsetup as the judge, on plain files: it opens what we make, we open what it makes.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use opalbox::software::luks2::{
    Copies, Format, Kdf, Luks2, Luks2Error, Owner, Policy, restore, write_backup,
};

use crate::support::SECRET;

const ARGON: Kdf = Kdf::Argon2id { time: 4, memory: 1024, cpus: 2 };

/// cryptsetup in a folder of its own, or `None` with a word where it is not installed.
struct Judge {
    folder: tempfile::TempDir,
}

impl Judge {
    fn find() -> Option<Self> {
        let found = Command::new("cryptsetup")
            .env("PATH", Self::path())
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if found.is_ok_and(|it| it.success()) {
            return Some(Self { folder: tempfile::tempdir().unwrap() });
        }
        let ci = std::env::var_os("CI").is_some_and(|it| it == "true");
        assert!(!ci, "cryptsetup is missing: install cryptsetup-bin");
        println!("skipped: cryptsetup is not installed (Debian: cryptsetup-bin)");
        None
    }

    /// Tools for administrators are not on everybody's path.
    fn path() -> std::ffi::OsString {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        path.push(":/usr/sbin:/sbin");
        path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An empty image.
    fn image(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        File::create(&path).unwrap().set_len(20 << 20).unwrap();
        path
    }

    fn secret(&self, name: &str, secret: &[u8]) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, secret).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new("cryptsetup")
            .env("PATH", Self::path())
            .arg("--batch-mode")
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cryptsetup {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether a secret opens an image, in cryptsetup's opinion.
    fn opens(&self, image: &str, secret: &[u8]) -> bool {
        self.secret("tried", secret);
        self.run(&["open", "--test-passphrase", "--key-file", "tried", image]).status.success()
    }

    /// The volume key that cryptsetup finds.
    fn key(&self, image: &str, secret: &[u8]) -> Vec<u8> {
        self.secret("tried", secret);
        let _ = fs::remove_file(self.file("dumped"));
        self.must(&[
            "luksDump",
            "--dump-volume-key",
            "--volume-key-file",
            "dumped",
            "--key-file",
            "tried",
            image,
        ]);
        fs::read(self.file("dumped")).unwrap()
    }
}

fn device(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn open(path: &Path) -> Luks2<File> {
    Luks2::open(device(path), Policy::default()).unwrap()
}

#[test]
fn it_opens_what_we_make() {
    let Some(judge) = Judge::find() else { return };
    for sector_size in [512, 4096] {
        for kdf in [Kdf::for_random_secret(), ARGON] {
            let path = judge.image("ours");
            let format = Format {
                sector_size,
                label: "opalbox test".into(),
                subsystem: "opalbox".into(),
                ..Format::default()
            };
            let (mut header, key) = Luks2::create(device(&path), &format, SECRET, kdf).unwrap();
            header.set_owner(&Owner { key_id: "box/1".into(), keyslots: vec![0] }).unwrap();
            header.add_keyslot(&key, b"recovery", ARGON).unwrap();
            assert!(judge.opens("ours", SECRET));
            assert!(judge.opens("ours", b"recovery"));
            assert!(!judge.opens("ours", b"wrong"));
            assert_eq!(judge.key("ours", SECRET), key.expose());
            let dump = judge.must(&["luksDump", "ours"]);
            for text in [
                header.uuid(),
                "opalbox test",
                "aes-xts-plain64",
                "0: opalbox",
                &format!("sector: {sector_size} [bytes]"),
                "Keyslots area: \t16744448 [bytes]",
            ] {
                assert!(dump.contains(text), "{text:?} is not in\n{dump}");
            }
        }
    }
}

#[test]
fn we_open_what_it_makes() {
    let Some(judge) = Judge::find() else { return };
    judge.secret("first", SECRET);
    let pbkdf2 = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let argon = |kind| ["--pbkdf", kind, "--pbkdf-force-iterations", "4", "--pbkdf-memory", "1024"];
    let mut cases: Vec<(Vec<&str>, u32, usize)> = Vec::new();
    for (sector, size) in [("512", 512), ("4096", 4096)] {
        for kdf in [&pbkdf2[..], &argon("argon2id"), &argon("argon2i")] {
            let mut options = vec!["--sector-size", sector];
            options.extend_from_slice(kdf);
            cases.push((options, size, 64));
        }
    }
    cases.push(([&pbkdf2[..], &["--key-size", "256", "--sector-size", "512"]].concat(), 512, 32));
    for hash in ["sha1", "sha512"] {
        cases.push(([&pbkdf2[..], &["--hash", hash, "--sector-size", "2048"]].concat(), 2048, 64));
    }
    let large = ["--luks2-metadata-size", "64k", "--luks2-keyslots-size", "1m"];
    cases.push(([&pbkdf2[..], &large, &["--sector-size", "512"]].concat(), 512, 64));
    for (options, sector_size, key_size) in cases {
        let path = judge.image("theirs");
        let mut arguments = vec!["luksFormat", "--type", "luks2"];
        arguments.extend_from_slice(&options);
        arguments.extend_from_slice(&["theirs", "first"]);
        judge.must(&arguments);
        let mut header = open(&path);
        assert_eq!(header.copies(), Copies::Whole);
        assert_eq!(header.segment().sector_size, sector_size, "{options:?}");
        let unlocked = header.unlock(SECRET).unwrap();
        assert_eq!(unlocked.key.expose().len(), key_size);
        assert_eq!(judge.key("theirs", SECRET), unlocked.key.expose());
        // And it still opens what we changed.
        let added = header.add_keyslot(&unlocked.key, b"added", Kdf::for_random_secret()).unwrap();
        assert!(judge.opens("theirs", b"added") && judge.opens("theirs", SECRET));
        header.change_secret(added, b"added", b"changed", ARGON).unwrap();
        assert!(judge.opens("theirs", b"changed") && !judge.opens("theirs", b"added"));
        header.remove_keyslot(0).unwrap();
        assert!(!judge.opens("theirs", SECRET) && judge.opens("theirs", b"changed"));
    }
}

#[test]
fn its_changes_to_our_volumes_are_understood() {
    let Some(judge) = Judge::find() else { return };
    let path = judge.image("shared");
    let (_, key) =
        Luks2::create(device(&path), &Format::default(), SECRET, Kdf::for_random_secret()).unwrap();
    judge.secret("first", SECRET);
    judge.secret("second", b"second");
    let cheap = ["--pbkdf", "argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "64"];
    let mut add = vec!["luksAddKey", "--key-file", "first"];
    add.extend_from_slice(&cheap);
    add.extend_from_slice(&["shared", "second"]);
    judge.must(&add);
    judge.must(&["config", "--label", "renamed", "shared"]);
    judge.must(&["config", "--priority", "prefer", "--key-slot", "1", "shared"]);
    judge.must(&[
        "token",
        "add",
        "--key-description",
        "a description",
        "--key-slot",
        "1",
        "shared",
    ]);
    let mut header = open(&path);
    assert_eq!(header.label(), "renamed");
    assert_eq!(header.unlock(b"second").unwrap().keyslot, 1);
    assert!(header.unlock(b"second").unwrap().key.matches(key.expose()));
    header.set_owner(&Owner { key_id: "box/2".into(), keyslots: vec![0] }).unwrap();
    let dump = judge.must(&["luksDump", "shared"]);
    assert!(dump.contains("luks2-keyring") && dump.contains("opalbox"), "{dump}");
    judge.must(&["luksKillSlot", "--key-file", "second", "shared", "0"]);
    let header = open(&path);
    assert!(matches!(header.unlock(SECRET), Err(Luks2Error::WrongSecret)));
    header.unlock(b"second").unwrap();
}

#[test]
fn both_recover_from_the_same_damage() {
    let Some(judge) = Judge::find() else { return };
    let path = judge.image("damaged");
    Luks2::create(device(&path), &Format::default(), SECRET, Kdf::for_random_secret()).unwrap();
    let whole = fs::read(&path).unwrap();
    for copy in [0usize, 0x4000] {
        for at in [0, 20, 450, 4100] {
            let mut bytes = whole.clone();
            bytes[copy + at] ^= 0xff;
            fs::write(&path, &bytes).unwrap();
            let mut header = open(&path);
            assert_ne!(header.copies(), Copies::Whole);
            header.repair().unwrap();
            assert!(judge.opens("damaged", SECRET), "after our repair of {copy} {at}");
            fs::write(&path, &bytes).unwrap();
            // The other way round. cryptsetup repairs while it opens; a first copy without its
            // magic it takes for a device without LUKS.
            if copy + at > 0 {
                assert!(judge.opens("damaged", SECRET), "{copy} {at}");
                assert_eq!(open(&path).copies(), Copies::Whole, "after its repair of {copy} {at}");
            }
        }
    }
}

#[test]
fn backups_are_exchanged() {
    let Some(judge) = Judge::find() else { return };
    let path = judge.image("saved");
    let (mut header, key) =
        Luks2::create(device(&path), &Format::default(), SECRET, Kdf::for_random_secret()).unwrap();
    let mut ours = File::create(judge.file("ours.backup")).unwrap();
    write_backup(&header, &mut ours).unwrap();
    judge.must(&["luksHeaderBackup", "--header-backup-file", "theirs.backup", "saved"]);
    let equal = fs::read(judge.file("ours.backup")).unwrap()
        == fs::read(judge.file("theirs.backup")).unwrap();
    assert!(equal, "the same volume, the same backup");
    header.change_secret(0, SECRET, b"new", Kdf::for_random_secret()).unwrap();
    judge.must(&["luksHeaderRestore", "--header-backup-file", "ours.backup", "saved"]);
    assert!(open(&path).unlock(SECRET).unwrap().key.matches(key.expose()));
    open(&path).change_secret(0, SECRET, b"newer", Kdf::for_random_secret()).unwrap();
    let mut theirs = File::open(judge.file("theirs.backup")).unwrap();
    let header = restore(device(&path), &mut theirs, Policy::default()).unwrap();
    header.unlock(SECRET).unwrap();
    assert!(judge.opens("saved", SECRET) && !judge.opens("saved", b"newer"));
}

#[test]
fn detached_headers_are_exchanged() {
    let Some(judge) = Judge::find() else { return };
    let policy = Policy { detached: true, ..Policy::default() };
    let format = Format { detached: true, ..Format::default() };
    let path = judge.image("header");
    let (header, key) =
        Luks2::create(device(&path), &format, SECRET, Kdf::for_random_secret()).unwrap();
    drop(header);
    assert_eq!(judge.key("header", SECRET), key.expose());
    judge.image("data");
    judge.secret("first", SECRET);
    judge.must(&[
        "luksFormat",
        "--type",
        "luks2",
        "--header",
        "theirs",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--sector-size",
        "4096",
        "data",
        "first",
    ]);
    let header = Luks2::open(device(&judge.file("theirs")), policy).unwrap();
    assert_eq!(header.segment().offset, 0);
    assert_eq!(header.unlock(SECRET).unwrap().key.expose(), judge.key("theirs", SECRET));
}

#[test]
fn what_it_makes_with_other_ciphers_is_refused() {
    let Some(judge) = Judge::find() else { return };
    judge.secret("first", SECRET);
    for options in [
        &["--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"][..],
        &["--cipher", "serpent-xts-plain64"],
        &["--cipher", "aes-xts-plain", "--key-size", "512"],
    ] {
        let path = judge.image("other");
        let mut arguments = vec![
            "luksFormat",
            "--type",
            "luks2",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
        ];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&["other", "first"]);
        if !judge.run(&arguments).status.success() {
            println!("skipped: this kernel has no {options:?}");
            continue;
        }
        let refused = Luks2::open(device(&path), Policy::default());
        assert!(matches!(refused, Err(Luks2Error::Refused(_))), "{refused:?}");
    }
    let path = judge.image("one");
    judge.must(&[
        "luksFormat",
        "--type",
        "luks1",
        "--pbkdf-force-iterations",
        "1000",
        "one",
        "first",
    ]);
    let refused = Luks2::open(device(&path), Policy::default());
    assert!(matches!(refused, Err(Luks2Error::Version(1))), "{refused:?}");
}

#[test]
fn what_we_destroy_it_does_not_know() {
    let Some(judge) = Judge::find() else { return };
    let path = judge.image("gone");
    let (header, _) =
        Luks2::create(device(&path), &Format::default(), SECRET, Kdf::for_random_secret()).unwrap();
    header.destroy().unwrap();
    assert!(!judge.run(&["isLuks", "gone"]).status.success());
    assert!(!judge.opens("gone", SECRET));
}
