// SPDX-License-Identifier: MIT OR Apache-2.0
//! A software TPM of the test's own, behind a loopback proxy that records and alters.
//!
//! The test process itself holds both ports that the TSS wants (data, and control one above) and
//! talks to `swtpm` over a socket pair: no port is ever free for someone else to take, and swtpm
//! ends by itself when the test does. A power cut is SIGKILL and a new start on the same state.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A running software TPM.
pub(crate) struct Swtpm {
    shared: Arc<Shared>,
    state: PathBuf,
    port: u16,
    threads: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

/// Sees each frame before it is passed on and may change it.
pub(crate) type Meddler = Box<dyn FnMut(Direction, &mut Vec<u8>) + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Command,
    Response,
}

struct Shared {
    backend: Mutex<Option<Backend>>,
    wire: Mutex<Wire>,
    stop: AtomicBool,
}

#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    codes: Vec<u32>,
    meddler: Option<Meddler>,
}

struct Backend {
    child: Child,
    socket: UnixStream,
}

impl Swtpm {
    /// Starts one, or says that the test is skipped. With `CI=true` its absence is a failure.
    pub(crate) fn start() -> Option<Self> {
        if Command::new("swtpm").arg("--version").stdout(Stdio::null()).status().is_err() {
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "swtpm is not installed, and CI=true: install the packages of `make setup`"
            );
            println!("SKIPPED: swtpm is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("tpm");
        std::fs::create_dir(&state).unwrap();
        Some(Self::on(dir, state))
    }

    /// Another TPM with a copy of this one's state, as a thief of its files has it.
    pub(crate) fn cloned(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("tpm");
        self.shared.cut();
        copy_dir(&self.state, &state);
        self.shared.power_on(&self.state);
        Self::on(dir, state)
    }

    fn on(dir: tempfile::TempDir, state: PathBuf) -> Self {
        let (data, control, port) = neighbouring_ports();
        let shared = Arc::new(Shared {
            backend: Mutex::new(None),
            wire: Mutex::new(Wire::default()),
            stop: AtomicBool::new(false),
        });
        shared.power_on(&state);
        let threads = vec![
            accept(data, Arc::clone(&shared), serve_data),
            accept(control, Arc::clone(&shared), |stream, _| serve_control(stream)),
        ];
        Self { shared, state, port, threads, _dir: dir }
    }

    pub(crate) fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// SIGKILL without TPM2_Shutdown, then a new start: a TPM Reset.
    pub(crate) fn power_cut(&self) {
        self.shared.cut();
        self.shared.power_on(&self.state);
    }

    /// Off until [`Swtpm::power_on`].
    pub(crate) fn power_off(&self) {
        self.shared.cut();
    }

    pub(crate) fn power_on(&self) {
        self.shared.power_on(&self.state);
    }

    /// Kills the TPM when the `n`th command from now arrives, before it is carried out.
    pub(crate) fn cut_at_command(&self, n: usize) {
        let mut left = n;
        let shared = Arc::downgrade(&self.shared);
        self.meddle(move |direction, _| {
            if direction == Direction::Command {
                if left == 0
                    && let Some(shared) = shared.upgrade()
                {
                    shared.cut();
                }
                left = left.saturating_sub(1);
            }
        });
    }

    /// Everything that went over the wire, both ways, since the last call.
    pub(crate) fn take_recording(&self) -> Vec<u8> {
        std::mem::take(&mut self.shared.wire.lock().unwrap().bytes)
    }

    /// The command codes since the last call.
    pub(crate) fn take_commands(&self) -> Vec<u32> {
        std::mem::take(&mut self.shared.wire.lock().unwrap().codes)
    }

    /// Lets `meddler` see and change every frame.
    pub(crate) fn meddle(&self, meddler: impl FnMut(Direction, &mut Vec<u8>) + Send + 'static) {
        self.shared.wire.lock().unwrap().meddler = Some(Box::new(meddler));
    }

    pub(crate) fn meddle_no_more(&self) {
        self.shared.wire.lock().unwrap().meddler = None;
    }

    /// Extends a PCR's SHA-256 bank, as a changed boot would.
    pub(crate) fn extend_pcr(&self, pcr: u8) {
        let mut body = u32::from(pcr).to_be_bytes().to_vec();
        body.extend(PASSWORD_SESSION);
        body.extend([0, 0, 0, 1, 0, 0x0b]);
        body.extend([0x5c; 32]);
        self.command(0x8002, 0x182, &body);
    }

    /// Sends one raw command past the recorder; gives the answer's code.
    pub(crate) fn try_command(&self, tag: u16, code: u32, body: &[u8]) -> u32 {
        let answer = self.raw(tag, code, body);
        u32::from_be_bytes(answer[6..10].try_into().unwrap())
    }

    /// Sends one raw command past the recorder; the answer's code must be success.
    pub(crate) fn command(&self, tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
        let answer = self.raw(tag, code, body);
        assert_eq!(answer[6..10], [0; 4], "command {code:#x} failed: {:02x?}", &answer[6..10]);
        answer
    }

    fn raw(&self, tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
        let mut frame = tag.to_be_bytes().to_vec();
        frame.extend((10 + body.len() as u32).to_be_bytes());
        frame.extend(code.to_be_bytes());
        frame.extend(body);
        self.shared.exchange(&frame).unwrap()
    }
}

/// An authorisation area with one empty password.
pub(crate) const PASSWORD_SESSION: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.cut();
        for port in [self.port, self.port + 1] {
            let _ = TcpStream::connect(("127.0.0.1", port));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn power_on(&self, state: &Path) {
        let mut backend = self.backend.lock().unwrap();
        assert!(backend.is_none(), "it is on already");
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(TIMEOUT)).unwrap();
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--server", "type=tcp,fd=0", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        *backend = Some(Backend { child, socket: ours });
    }

    fn cut(&self) {
        if let Some(mut backend) = self.backend.lock().unwrap().take() {
            let _ = backend.child.kill();
            let _ = backend.child.wait();
        }
    }

    fn exchange(&self, command: &[u8]) -> io::Result<Vec<u8>> {
        let mut backend = self.backend.lock().unwrap();
        let backend = backend.as_mut().ok_or_else(|| io::Error::other("the power is off"))?;
        backend.socket.write_all(command)?;
        read_frame(&mut backend.socket)
    }

    fn record(&self, direction: Direction, frame: &mut Vec<u8>) {
        let mut wire = self.wire.lock().unwrap();
        if let Some(mut meddler) = wire.meddler.take() {
            drop(wire);
            meddler(direction, frame);
            wire = self.wire.lock().unwrap();
            wire.meddler.get_or_insert(meddler);
        }
        wire.bytes.extend_from_slice(frame);
        if direction == Direction::Command {
            wire.codes.push(u32::from_be_bytes(frame[6..10].try_into().unwrap()));
        }
    }
}

fn neighbouring_ports() -> (TcpListener, TcpListener, u16) {
    for _ in 0..1000 {
        let data = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = data.local_addr().unwrap().port();
        if port < u16::MAX
            && let Ok(control) = TcpListener::bind(("127.0.0.1", port + 1))
        {
            return (data, control, port);
        }
    }
    panic!("no two neighbouring ports");
}

fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    serve: fn(TcpStream, Arc<Shared>),
) -> JoinHandle<()> {
    thread::spawn(move || {
        // The TSS makes a connection for each command, so accepting must not wait.
        while let Ok((stream, _)) = listener.accept() {
            if shared.stop.load(Ordering::SeqCst) {
                return;
            }
            stream.set_nodelay(true).unwrap();
            let shared = Arc::clone(&shared);
            thread::spawn(move || serve(stream, shared));
        }
    })
}

fn serve_data(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Ok(mut command) = read_frame(&mut stream) {
        shared.record(Direction::Command, &mut command);
        let Ok(mut answer) = shared.exchange(&command) else { return };
        shared.record(Direction::Response, &mut answer);
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

/// The control channel only ever sets the locality; four zero bytes say "done".
fn serve_control(mut stream: TcpStream) {
    let mut request = [0; 5];
    while stream.read_exact(&mut request).is_ok() {
        if stream.write_all(&[0; 4]).is_err() {
            return;
        }
    }
}

fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 10];
    stream.read_exact(&mut frame)?;
    let size = u32::from_be_bytes(frame[2..6].try_into().unwrap()) as usize;
    if !(10..=8192).contains(&size) {
        return Err(io::Error::other("not a TPM frame"));
    }
    frame.resize(size, 0);
    stream.read_exact(&mut frame[10..])?;
    Ok(frame)
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
