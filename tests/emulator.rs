// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the emulated drive promises to those who run it: the program, its sockets and its file, with
//! the host of `opal` on the other side.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Whence, lseek};
use opal::Pin;
use opal::host::{
    Activation, AdminSp, Authority, DataLoss, Host, Identity, LockingSp, RangeConfig,
};
use opalbox::emulator::control::{Request, ask};
use opalbox::sim_wire::Refusal;
use opalbox::transport::sim::{BlockError, SimTransport};
use serde_json::Value;

const SERIAL: &str = "TEST0001";
const PLAIN: &[u8] = b"attack at dawn, bring sandwiches";

#[test]
fn a_drive_locks_unlocks_and_reverts_through_its_socket() {
    let bench = Bench::new();
    let served = bench.serve();
    let mut host = bench.host();
    let msid = msid(&mut host);
    let (sid, admin, user) = (pin("sid"), pin("admin"), pin("user"));

    let mut owner = host.start::<AdminSp>().authority(Authority::SID, &msid).open().unwrap();
    owner.set_pin(Authority::SID, &sid).unwrap();
    owner.activate(&Activation::default()).unwrap();
    owner.close().unwrap();
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &sid).open().unwrap();
    session.set_pin(Authority::admin(1), &admin).unwrap();
    session.set_pin(Authority::user(1), &user).unwrap();
    session.close().unwrap();
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin).open().unwrap();
    let range = RangeConfig {
        start: Some(2048),
        length: Some(2048),
        read_lock_enabled: Some(true),
        write_lock_enabled: Some(true),
        ..RangeConfig::default()
    };
    session.set_range(1, &range).unwrap();
    session.close().unwrap();

    let mut disk = SimTransport::connect(bench.path("sim")).unwrap();
    let data = PLAIN.repeat(32);
    disk.write(2048, &data).unwrap();
    disk.flush().unwrap();
    let cycles = disk.power_cycle_id().unwrap();
    bench.control(&Request::PowerCycle);
    assert_eq!(disk.power_cycle_id().unwrap(), cycles + 1);
    let mut read = vec![0xEE; data.len()];
    let locked = BlockError::Refused(Refusal::DataProtectionError);
    assert_eq!(disk.read(2048, &mut read), Err(locked.clone()));
    assert_eq!(disk.write(2048, &data), Err(locked));
    let state = bench.control(&Request::State);
    assert_eq!(state["ranges"][1]["read_locked"], true);
    assert_eq!(state["ranges"][1]["key_in_memory"], false);
    assert_eq!(state["ranges"][0]["key_in_memory"], true);

    bench.control(&Request::CountersReset);
    let mut session =
        host.start::<LockingSp>().authority(Authority::admin(1), &admin).open().unwrap();
    session.set_range(1, &RangeConfig::locked(false, false)).unwrap();
    session.close().unwrap();
    disk.read(2048, &mut read).unwrap();
    assert_eq!(read, data);
    let counters = bench.control(&Request::Counters);
    assert_eq!((&counters["if_send"], &counters["sessions"]), (&3.into(), &1.into()));

    // Neither the text nor a PIN is in the file, wherever it is allocated.
    let secrets = [PLAIN, sid.expose(), admin.expose(), user.expose(), bench.psid.as_bytes()];
    assert!(!file_contains(&bench.path("image"), &secrets));
    assert!(file_contains(&bench.path("image"), &[bench.msid.as_bytes()]), "the search works");

    let psid = Pin::new(bench.psid.as_bytes()).unwrap();
    host.psid_revert(&psid, &DataLoss::accepted_for(SERIAL)).unwrap();
    disk.read(2048, &mut read).unwrap();
    assert_ne!(read, data, "the data went with its key");
    let mut owner = host.start::<AdminSp>().authority(Authority::SID, &msid).open().unwrap();
    owner.set_pin(Authority::SID, &sid).unwrap();
    owner.close().unwrap();

    let output = served.terminate();
    assert!(output.status.success());
    assert!(!bench.path("sim").exists() && !bench.path("control").exists());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn killed_at_any_moment_it_keeps_what_it_answered() {
    let bench = Bench::new();
    // The last PIN that was answered, and the one that may have been set.
    let mut known = (Pin::new(bench.msid.as_bytes()).unwrap(), None);
    let mut answers = 0;
    for round in 0..12u64 {
        let served = bench.serve();
        let mut host = bench.host();
        let login = |host: &mut Host<SimTransport>, pin: &Pin| {
            let session = host.start::<AdminSp>().authority(Authority::SID, pin).open();
            session.is_ok_and(|session| session.close().is_ok())
        };
        let holds = [Some(&known.0), known.1.as_ref()];
        let current = holds.into_iter().flatten().find(|pin| login(&mut host, pin)).cloned();
        let current = current.expect("the answered PIN, or the one in flight, opens the drive");
        let progress = Mutex::new((current, None));
        thread::scope(|scope| {
            scope.spawn(|| {
                for change in 0.. {
                    let new = pin(&format!("{round}-{change}"));
                    let old = progress.lock().unwrap().0.clone();
                    progress.lock().unwrap().1 = Some(new.clone());
                    let session = host.start::<AdminSp>().authority(Authority::SID, &old).open();
                    let Ok(mut session) = session else { return };
                    if session.set_pin(Authority::SID, &new).is_err() {
                        return;
                    }
                    *progress.lock().unwrap() = (new, None);
                    if session.close().is_err() {
                        return;
                    }
                }
            });
            thread::sleep(Duration::from_millis(60 + round * 37 % 90));
            served.kill();
        });
        let now = progress.into_inner().unwrap();
        answers += usize::from(!now.0.matches(&known.0));
        known = now;
    }
    assert!(answers > 6, "only {answers} rounds got a PIN through");
}

#[test]
fn an_image_belongs_to_one_process() {
    let bench = Bench::new();
    let served = bench.serve();
    let second = emulator(&["serve", &bench.text("image"), "--sim", &bench.text("other")]);
    assert_eq!(second.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another process"));
    let info = emulator(&["info", &bench.text("image"), "-o", "json"]);
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!((&info["serial"], &info["version"]), (&SERIAL.into(), &1.into()));
    assert_eq!(info["psid"], Value::Null);
    drop(served);
    let again = emulator(&["create", &bench.text("image"), "--size", "8M"]);
    assert_eq!(again.status.code(), Some(4), "an existing file is left alone");
    drop(bench.serve());
}

#[test]
fn what_is_no_image_is_refused_in_words() {
    let bench = Bench::new();
    let serve = |image: &str| emulator(&["serve", image, "--sim", &bench.text("sim")]);
    for (name, bytes) in [("empty", &b""[..]), ("short", b"OPALEMU1"), ("other", &[7; 9000])] {
        std::fs::write(bench.path(name), bytes).unwrap();
        let output = serve(&bench.text(name));
        assert_eq!(output.status.code(), Some(4), "{name}");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(words.contains("not an emulated drive"), "{name}: {words}");
    }
    // Both copies of the state damaged.
    let mut image = File::options().write(true).open(bench.path("image")).unwrap();
    for copy in 0..2 {
        image.seek(SeekFrom::Start((64 << 10) + (copy << 20) + 100)).unwrap();
        image.write_all(b"damage").unwrap();
    }
    let output = serve(&bench.text("image"));
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("both copies"));
}

#[test]
fn nonsense_on_the_sockets_ends_only_its_connection() {
    let bench = Bench::new();
    let _served = bench.serve();
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 64], &[0, 0, 0, 1, 0x77], b"{}\n"] {
        for socket in ["sim", "control"] {
            let mut stream = UnixStream::connect(bench.path(socket)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream.write_all(nonsense).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            // An answer or the end of the connection, in time.
            let _ = stream.read_to_end(&mut answer).unwrap_or_else(|error| {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                0
            });
        }
    }
    let mut control = UnixStream::connect(bench.path("control")).unwrap();
    control.write_all(b"{\"command\":\"explode\"}\n{\"command\":\"counters\"}\n").unwrap();
    let mut lines = BufReader::new(control).lines();
    let refused: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(refused["ok"], false);
    let answered: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&answered["ok"], &answered["version"]), (&true.into(), &1.into()));
    assert!(bench.host().discovery().is_ok());
}

#[test]
fn faults_happen_as_described() {
    let bench = Bench::new();
    let _served = bench.serve();
    let mut disk = SimTransport::connect(bench.path("sim")).unwrap();
    let mut block = vec![0x5A; 512];
    disk.write(0, &block).unwrap();
    let control = |arguments: &[&str]| {
        let socket = bench.text("control");
        let mut all = vec!["control", &socket];
        all.extend(arguments);
        let output = emulator(&all);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };

    control(&["fault", "--command", "read", "--nth", "2", "corrupt", "3", "1"]);
    disk.read(0, &mut block).unwrap();
    assert_eq!(block, [0x5A; 512]);
    disk.read(0, &mut block).unwrap();
    assert_eq!(block[..5], [0x5A, 0x5A, 0x5A, 0x5B, 0x5A]);

    control(&["fault", "--command", "write", "drop"]);
    let failed = BlockError::Refused(Refusal::MediaError);
    assert_eq!(disk.write(0, &[1; 512]), Err(failed.clone()));
    disk.read(0, &mut block).unwrap();
    assert_eq!(block, [1; 512], "carried out, only its answer was lost");

    control(&["fault", "--command", "write", "status", "lba-out-of-range"]);
    assert_eq!(disk.write(0, &[2; 512]), Err(BlockError::Refused(Refusal::LbaOutOfRange)));
    disk.read(0, &mut block).unwrap();
    assert_eq!(block, [1; 512], "not carried out");

    let cycles = disk.power_cycle_id().unwrap();
    control(&["fault", "--command", "write", "power-cut-before"]);
    assert!(disk.write(0, &[3; 512]).is_err());
    control(&["fault", "--command", "flush", "power-cut-after"]);
    assert!(disk.flush().is_err());
    assert_eq!(disk.power_cycle_id().unwrap(), cycles + 2);
    disk.read(0, &mut block).unwrap();
    assert_eq!(block, [1; 512]);

    control(&["fault", "--command", "read", "delay", "300"]);
    let start = Instant::now();
    disk.read(0, &mut block).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300));

    control(&["fail-write", "1"]);
    assert_eq!(disk.write(0, &[4; 512]), Err(failed.clone()));
    assert_eq!(disk.read(0, &mut block), Err(failed), "the drive has stopped");
    assert_eq!(control(&["state"])["failed"], true);
    control(&["power-cycle"]);
    disk.read(0, &mut block).unwrap();
    assert_eq!(block, [1; 512]);
    assert_eq!(control(&["faults"])["armed"], Value::Array(Vec::new()));

    let dump = control(&["dump", "--lba", "0"]);
    let stored = dump["data"].as_str().unwrap();
    assert_eq!(stored.len(), 1024);
    assert_ne!(stored, "01".repeat(512), "a dump is ciphertext");
}

#[test]
fn blocks_move_by_command_line() {
    let bench = Bench::new();
    let _served = bench.serve();
    let content: Vec<u8> = (0..3_000_320u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(bench.path("from"), &content).unwrap();
    let sim = bench.text("sim");
    let (from, to) = (bench.text("from"), bench.text("to"));
    let written = emulator(&["write", &sim, "--lba", "9", "--from", &from]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let read = emulator(&["read", &sim, "--lba", "9", "--blocks", "5860", "--to", &to]);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert!(std::fs::read(&to).unwrap() == content);
    std::fs::remove_file(&to).unwrap();
    let beyond = emulator(&["read", &sim, "--lba", "16384", "--blocks", "1", "--to", &to]);
    assert_eq!(beyond.status.code(), Some(1));
    assert!(!Path::new(&to).exists(), "nothing is left of a read that was refused");
}

/// A drive of 8 MiB in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    msid: String,
    psid: String,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        let made = emulator(&[
            "create",
            image.to_str().unwrap(),
            "--size",
            "8M",
            "--serial",
            SERIAL,
            "--pbkdf2-rounds",
            "10",
            "-o",
            "json",
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let label: Value = serde_json::from_slice(&made.stdout).unwrap();
        let text = |name: &str| label[name].as_str().unwrap().to_owned();
        let (msid, psid) = (text("msid"), text("psid"));
        Self { folder, msid, psid }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn serve(&self) -> Served {
        let child = Command::new(env!("CARGO_BIN_EXE_opal-emulator"))
            .args(["serve", &self.text("image"), "--sim", &self.text("sim")])
            .args(["--control", &self.text("control")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut served = Served { child: Some(child) };
        let out = served.child.as_mut().unwrap().stdout.as_mut().unwrap();
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert!(line.contains(SERIAL), "the drive did not come up: {line}");
        served
    }

    fn host(&self) -> Host<SimTransport> {
        let transport = SimTransport::connect(self.path("sim")).unwrap();
        let identity = Identity { serial: SERIAL.into(), model: "test".into() };
        Host::new(transport, identity)
    }

    fn control(&self, request: &Request) -> Value {
        let answer = ask(&self.path("control"), request).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        answer["result"].clone()
    }
}

/// A running program, killed when dropped.
struct Served {
    child: Option<Child>,
}

impl Served {
    fn terminate(mut self) -> Output {
        let child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        child.wait_with_output().unwrap()
    }

    fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn emulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_opal-emulator")).args(arguments).output().unwrap()
}

fn pin(text: &str) -> Pin {
    Pin::new(format!("{text:-<32}").as_bytes()).unwrap()
}

fn msid(host: &mut Host<SimTransport>) -> Pin {
    let mut session = host.start::<AdminSp>().open().unwrap();
    let msid = session.msid().unwrap();
    session.close().unwrap();
    msid
}

/// Searches what a sparse file really holds.
fn file_contains(path: &Path, needles: &[&[u8]]) -> bool {
    let mut file = File::open(path).unwrap();
    let mut offset = 0;
    while let Ok(start) = lseek(&file, offset, Whence::SeekData) {
        let end = lseek(&file, start, Whence::SeekHole).unwrap();
        let mut bytes = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start as u64)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        if needles.iter().any(|needle| bytes.windows(needle.len()).any(|part| part == *needle)) {
            return true;
        }
        offset = end;
    }
    false
}
