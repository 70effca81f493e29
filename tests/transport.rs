// SPDX-License-Identifier: MIT OR Apache-2.0
//! Transports against a drive in a thread, and wrappers against each other.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use opal::{Transport, TransportErrorKind as Kind};
use opalbox::sim_wire::{self, Answer, Identity, Interface, Refusal, Reply, Request};
use opalbox::transport::Direction;
use opalbox::transport::count::Count;
use opalbox::transport::fault::{Action, Fault, FaultInjector, When};
use opalbox::transport::record::Record;
use opalbox::transport::replay::Replay;
use opalbox::transport::sim::{BlockError, SimTransport, Timeouts};
use opalbox::transport::trace::Trace;
use zeroize::Zeroizing;

const SECRET: &[u8] = b"0123456789abcdefghijklmnopqrstuv";

/// Serves a fixed behaviour at a socket, one connection after the other, until the test ends.
struct Server {
    directory: tempfile::TempDir,
}

/// What the server does with a request it has read.
enum Act {
    Answer(Vec<u8>),
    Hang,
    Close,
}

impl Server {
    fn start(mut handle: impl FnMut(Request<'_>) -> Act + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("drive")).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&mut stream.unwrap(), &mut handle);
            }
        });
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("drive")
    }

    fn connect(&self) -> SimTransport {
        SimTransport::connect_with(self.path(), short()).unwrap()
    }
}

fn serve(stream: &mut UnixStream, handle: &mut impl FnMut(Request<'_>) -> Act) {
    let mut body = Zeroizing::new(Vec::new());
    while let Ok(true) = sim_wire::read_frame(stream, &mut body) {
        match handle(Request::decode(&body).unwrap()) {
            Act::Answer(answer) => sim_wire::write_frame(stream, &answer).unwrap(),
            Act::Hang => thread::sleep(Duration::from_millis(600)),
            Act::Close => return,
        }
    }
}

fn answer(answer: Answer<'_>) -> Act {
    let mut body = Zeroizing::new(Vec::new());
    sim_wire::encode_answer(&answer, &mut body).unwrap();
    Act::Answer(body.to_vec())
}

fn short() -> Timeouts {
    Timeouts { connect: Duration::from_millis(300), command: Duration::from_millis(300) }
}

fn identity(serial: &str) -> Identity {
    Identity {
        version: sim_wire::VERSION,
        model: "Test drive".into(),
        serial: serial.into(),
        firmware: "1".into(),
        nguid: None,
        wwn: Some([5; 8]),
        interface: Interface::Sata,
        logical_block_size: 512,
        blocks: 4096,
        max_transfer: 4096,
        power_cycle_id: 3,
    }
}

/// Echoes sends back, keeps blocks in memory, refuses block 100 as locked and protocol 0x77.
fn echo_drive() -> impl FnMut(Request<'_>) -> Act + Send {
    let mut sent = Vec::new();
    let mut blocks = vec![0u8; 4096 * 512];
    let at = |lba: u64| lba as usize * 512;
    move |request| match request {
        Request::Identify { .. } => answer(Ok(Reply::Identity(identity("S1")))),
        Request::IfSend { protocol: 0x77, .. } => answer(Err(Refusal::InvalidSecurityProtocol)),
        Request::IfSend { data, .. } => {
            sent = data.to_vec();
            answer(Ok(Reply::Done))
        }
        Request::IfRecv { length, .. } => {
            sent.truncate(length as usize);
            answer(Ok(Reply::Data(&sent)))
        }
        Request::Read { lba: 100, .. } => answer(Err(Refusal::DataProtectionError)),
        Request::Read { lba, blocks: count } => {
            let range = at(lba)..at(lba + u64::from(count));
            match blocks.get(range) {
                Some(data) => answer(Ok(Reply::Data(data))),
                None => answer(Err(Refusal::LbaOutOfRange)),
            }
        }
        Request::Write { lba, data } => {
            blocks[at(lba)..at(lba) + data.len()].copy_from_slice(data);
            answer(Ok(Reply::Done))
        }
        Request::Discard { lba, blocks: count } => {
            blocks[at(lba)..at(lba + u64::from(count))].fill(0);
            answer(Ok(Reply::Done))
        }
        Request::Flush => answer(Ok(Reply::Done)),
        Request::PowerCycleId => answer(Ok(Reply::PowerCycleId(3))),
    }
}

#[test]
fn sim_carries_commands_and_blocks() {
    let server = Server::start(echo_drive());
    let mut sim = server.connect();
    assert_eq!(sim.identity(), &identity("S1"));
    assert_eq!(sim.max_transfer(), 4096);
    assert_eq!(sim.power_cycle_id().unwrap(), 3);

    sim.if_send(1, 0x1000, &[7; 512]).unwrap();
    let mut buffer = [0xEE; 1024];
    assert_eq!(sim.if_recv(1, 0x1000, &mut buffer).unwrap(), 512);
    assert_eq!(buffer[..512], [7; 512]);
    assert_eq!(buffer[512..], [0; 512], "what is not valid is zero");

    // More than one frame's worth.
    let data: Vec<u8> = (0..3000 * 512u32).map(|i| (i / 512) as u8).collect();
    sim.write(8, &data).unwrap();
    sim.flush().unwrap();
    let mut back = vec![0; data.len()];
    // Block 100 is refused only as the start of a read.
    sim.read(8, &mut back).unwrap();
    assert!(back == data);
    sim.discard(8, 1).unwrap();
    sim.read(8, &mut back[..512]).unwrap();
    assert_eq!(back[..512], [0; 512]);

    let refused = sim.read(100, &mut back[..512]).unwrap_err();
    assert_eq!(refused, BlockError::Refused(Refusal::DataProtectionError));
    let refused = sim.read(4096, &mut back[..512]).unwrap_err();
    assert_eq!(refused, BlockError::Refused(Refusal::LbaOutOfRange));
    assert!(matches!(sim.read(0, &mut back[..100]), Err(BlockError::Invalid(_))));
    // A refusal is an answer: the connection goes on.
    assert_eq!(sim.if_send(0x77, 0, &[0; 512]).unwrap_err().kind, Kind::InvalidCommand);
    sim.flush().unwrap();
}

#[test]
fn sim_refusals_become_kinds() {
    let server = Server::start(move |request| match request {
        Request::Identify { .. } => answer(Ok(Reply::Identity(identity("S1")))),
        Request::IfSend { specific, .. } => answer(Err(Refusal::ALL[usize::from(specific)])),
        _ => Act::Close,
    });
    let mut sim = server.connect();
    let kinds: Vec<Kind> =
        (0..10).map(|specific| sim.if_send(1, specific, &[0; 512]).unwrap_err().kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::InvalidCommand,
            Kind::ProtocolViolation,
            Kind::InvalidLength,
            Kind::Failed,
            Kind::Failed,
            Kind::Failed,
            Kind::Failed,
            Kind::InvalidCommand,
            Kind::Unsupported,
            Kind::Failed,
        ]
    );
}

#[test]
fn sim_waits_are_bounded() {
    // A server that reads and never answers.
    let server = Server::start(|request| match request {
        Request::Identify { .. } => answer(Ok(Reply::Identity(identity("S1")))),
        _ => Act::Hang,
    });
    let mut sim = server.connect();
    let start = Instant::now();
    assert_eq!(sim.if_send(1, 1, &[0; 512]).unwrap_err().kind, Kind::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(5));

    // A listener that never accepts: its backlog fills up, and connect must not hang.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deaf");
    let _listener = UnixListener::bind(&path).unwrap();
    let start = Instant::now();
    let mut held = Vec::new();
    for _ in 0..5000 {
        let stream = nix_connect(&path);
        match stream {
            Some(stream) => held.push(stream),
            None => break,
        }
    }
    assert_eq!(SimTransport::connect_with(&path, short()).unwrap_err().kind, Kind::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(20));

    // A peer that trickles one byte at a time stays inside the one deadline too.
    let path = directory.path().join("trickle");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        for byte in [0, 0, 1, 0].into_iter().chain([0; 100]) {
            thread::sleep(Duration::from_millis(50));
            if stream.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    let start = Instant::now();
    assert_eq!(SimTransport::connect_with(&path, short()).unwrap_err().kind, Kind::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(3));
}

/// A connection that does not wait for room in the backlog.
fn nix_connect(path: &Path) -> Option<std::os::fd::OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use std::os::fd::AsRawFd;
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
    connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).ok().map(|()| fd)
}

#[test]
fn sim_comes_back_to_the_same_drive_only() {
    let (serials, next_serial) = mpsc::channel();
    serials.send("S1").unwrap();
    let server = Server::start(move |request| match request {
        Request::Identify { .. } => {
            answer(Ok(Reply::Identity(identity(next_serial.recv().unwrap()))))
        }
        Request::IfSend { specific: 0xDEAD, .. } => Act::Close,
        _ => answer(Ok(Reply::Done)),
    });
    let mut sim = server.connect();
    assert_eq!(sim.if_send(1, 0xDEAD, &[0; 512]).unwrap_err().kind, Kind::Gone);
    serials.send("S1").unwrap();
    sim.if_send(1, 1, &[0; 512]).unwrap();
    assert_eq!(sim.if_send(1, 0xDEAD, &[0; 512]).unwrap_err().kind, Kind::Gone);
    serials.send("S2").unwrap();
    let error = sim.if_send(1, 1, &[0; 512]).unwrap_err();
    assert_eq!(error.kind, Kind::Gone);
    assert!(error.detail.contains("S2"), "{error}");
}

#[test]
fn sim_refuses_what_is_not_an_answer() {
    for bytes in [&[][..], &[0x00], &[0x42], &[0x00, 0x00, 0x00], &[0x00, 0x02, 1, 2, 3]] {
        let server = Server::start(move |request| match request {
            Request::Identify { .. } => answer(Ok(Reply::Identity(identity("S1")))),
            _ => Act::Answer(bytes.to_vec()),
        });
        let mut sim = server.connect();
        assert_eq!(sim.if_send(1, 1, &[0; 512]).unwrap_err().kind, Kind::Failed, "{bytes:?}");
    }
    // A receive longer than asked for.
    let server = Server::start(move |request| match request {
        Request::Identify { .. } => answer(Ok(Reply::Identity(identity("S1")))),
        _ => answer(Ok(Reply::Data(&[1; 1024]))),
    });
    let mut buffer = [0; 512];
    assert_eq!(server.connect().if_recv(1, 1, &mut buffer).unwrap_err().kind, Kind::Failed);
}

#[test]
fn sim_says_what_to_do_when_nobody_serves() {
    let directory = tempfile::tempdir().unwrap();
    let error = SimTransport::connect(directory.path().join("none")).unwrap_err();
    assert_eq!(error.kind, Kind::Gone);
    assert!(error.detail.contains("opal-emulator serve"), "{error}");
}

/// A drive without a socket: answers each receive with what was sent last, reversed.
#[derive(Default)]
struct Mirror {
    last: Vec<u8>,
    log: Vec<(Direction, Vec<u8>)>,
    pauses: Vec<Duration>,
}

impl Transport for Mirror {
    fn if_send(&mut self, protocol: u8, _: u16, data: &[u8]) -> Result<(), opal::TransportError> {
        if protocol == 0x77 {
            return Err(opal::TransportError::new(Kind::InvalidCommand, "no such protocol"));
        }
        self.last = data.iter().rev().copied().collect();
        self.log.push((Direction::Send, data.to_vec()));
        Ok(())
    }
    fn if_recv(&mut self, _: u8, _: u16, buffer: &mut [u8]) -> Result<usize, opal::TransportError> {
        let length = self.last.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.last[..length]);
        buffer[length..].fill(0);
        self.log.push((Direction::Recv, buffer.to_vec()));
        Ok(length)
    }
    fn pause(&mut self, duration: Duration) {
        self.pauses.push(duration);
    }
    fn max_transfer(&self) -> usize {
        2048
    }
}

fn ramp() -> Vec<u8> {
    (0..512u32).map(|i| (i / 2) as u8).collect()
}

/// A sink that the test can look into.
#[derive(Clone, Default)]
struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}
impl std::io::Write for Shared {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Hides the first 32 bytes of what goes to ComID 0x1000.
fn hide_start(
    direction: Direction,
    _: u8,
    specific: u16,
    data: &[u8],
) -> Vec<std::ops::Range<usize>> {
    let hide = direction == Direction::Send && specific == 0x1000 && data.len() >= 32;
    if hide { std::iter::once(0..32).collect() } else { Vec::new() }
}

fn conversation(transport: &mut impl Transport, pin: &[u8]) -> Vec<Result<Vec<u8>, Kind>> {
    let mut said = Vec::new();
    let mut data = ramp();
    data[..32].copy_from_slice(pin);
    said.push(transport.if_send(1, 0x1000, &data).map(|()| Vec::new()).map_err(|e| e.kind));
    transport.pause(Duration::from_secs(3600));
    transport.if_send(1, 0x1001, &ramp()).unwrap();
    let mut buffer = [0x55; 1024];
    let got = transport.if_recv(1, 0x1001, &mut buffer);
    said.push(got.map(|n| buffer[..n].to_vec()).map_err(|e| e.kind));
    said.push(transport.if_send(0x77, 0, &[0; 512]).map(|()| Vec::new()).map_err(|e| e.kind));
    said
}

#[test]
fn a_recording_replays_without_its_secrets() {
    let sink = Shared::default();
    let mut record = Record::new(Mirror::default(), sink.clone(), hide_start);
    let original = conversation(&mut record, SECRET);
    record.finish().unwrap();

    let text = sink.text();
    let hex: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!text.contains(&hex) && !text.contains(&hex[..16]), "a PIN is in the recording");
    assert_eq!(text.lines().count(), 5);

    // Another PIN goes where one was hidden, and an hour's pause takes no time.
    let mut replay = Replay::from_reader(text.as_bytes()).unwrap();
    assert_eq!(replay.max_transfer(), 2048);
    let start = Instant::now();
    assert_eq!(conversation(&mut replay, &[0x41; 32]), original);
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(replay.remaining(), 0);
    assert_eq!(replay.if_send(1, 1, &[0; 512]).unwrap_err().kind, Kind::Gone);

    // A byte that was not hidden must be the same, and so must everything else.
    let mut other = ramp();
    other[32] ^= 1;
    let mut replay = Replay::from_reader(text.as_bytes()).unwrap();
    assert!(replay.if_send(1, 0x1000, &other).unwrap_err().detail.contains("byte 32"));
    assert!(replay.if_send(1, 0x1000, &[0; 1024]).is_err());
    assert!(replay.if_send(1, 0x1002, &ramp()).is_err());
    assert!(replay.if_recv(1, 0x1000, &mut [0; 512]).is_err());
    assert_eq!(replay.remaining(), 4, "a command that does not match is not used up");
}

#[test]
fn a_recording_file_is_new_and_private() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exchanges.jsonl");
    let mut record = Record::create(Mirror::default(), &path).unwrap();
    record.if_send(0, 0, &[1; 512]).unwrap();
    record.finish().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(Replay::open(&path).unwrap().remaining(), 1);
    assert!(Record::create(Mirror::default(), &path).is_err(), "nothing is overwritten");
}

#[test]
fn a_recording_that_is_none_is_refused_with_its_line() {
    let header = r#"{"schema":"opalbox-recording/1","max_transfer":512}"#;
    let cases = [
        (String::new(), "empty"),
        ("{}".into(), "line 1"),
        (r#"{"schema":"opalbox-recording/9","max_transfer":512}"#.into(), "schema"),
        (format!("{header}\nnonsense"), "line 2"),
        (
            format!(
                r#"{header}{}"#,
                "\n{\"dir\":\"recv\",\"protocol\":1,\"specific\":1,\"length\":1,\"valid\":2}"
            ),
            "transfer of 2",
        ),
        (
            format!(
                r#"{header}{}"#,
                "\n{\"dir\":\"send\",\"protocol\":1,\"specific\":1,\"length\":9,\"hex\":\"0g\"}"
            ),
            "hex",
        ),
    ];
    for (text, expected) in cases {
        let error = Replay::from_reader(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_trace_tells_commands_answers_failures_and_no_more() {
    let sink = Shared::default();
    let printer =
        |dir: Direction, _: u8, _: u16, data: &[u8]| format!("{dir} of {} bytes\nend", data.len());
    let mut trace = Trace::new(Mirror::default(), sink.clone(), printer);
    conversation(&mut trace, SECRET);
    trace.finish().unwrap();
    assert_eq!(
        sink.text(),
        "IF-SEND protocol 0x01 ComID 0x1000, 512 bytes\n  IF-SEND of 512 bytes\n  end\n\
         pause 3600000 ms\n\
         IF-SEND protocol 0x01 ComID 0x1001, 512 bytes\n  IF-SEND of 512 bytes\n  end\n\
         IF-RECV protocol 0x01 ComID 0x1001, 1024 bytes\n  IF-RECV of 512 bytes\n  end\n\
         IF-SEND protocol 0x77 ComID 0x0000, 512 bytes\n  IF-SEND of 512 bytes\n  end\n\
         IF-SEND failed\n  no such protocol\n"
    );
}

#[test]
fn a_full_disk_stops_the_record_and_not_the_drive() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut record = Record::new(Mirror::default(), Full, hide_start);
    record.if_send(1, 1, &[0; 512]).unwrap();
    assert!(record.finish().is_err());
    let mut trace = Trace::new(Mirror::default(), Full, |_, _, _, _: &[u8]| String::new());
    trace.if_send(1, 1, &[0; 512]).unwrap();
    assert!(trace.finish().is_err());
}

#[test]
fn counts_are_of_commands_and_bytes() {
    let mut count = Count::new(Mirror::default());
    conversation(&mut count, SECRET);
    let counts = count.take();
    assert_eq!((counts.sends, counts.recvs, counts.failures), (3, 1, 1));
    assert_eq!((counts.sent_bytes, counts.received_bytes, counts.pauses), (1024, 512, 1));
    assert_eq!(count.counts(), Default::default());
}

fn fault(dir: Direction, nth: u64, action: Action) -> Fault {
    Fault { when: When { dir: Some(dir), ..When::default() }, nth, times: 1, action }
}

#[test]
fn faults_meet_the_command_they_name() {
    let data = ramp();
    let mut buffer = [0; 512];

    // Dropped: the drive saw nothing. Answer lost: it saw everything.
    for (action, seen) in [(Action::Drop, 1), (Action::LoseAnswer, 2)] {
        let mut path = FaultInjector::new(Mirror::default(), [fault(Direction::Send, 2, action)]);
        path.if_send(1, 1, &data).unwrap();
        assert_eq!(path.if_send(1, 1, &data).unwrap_err().kind, Kind::TimedOut);
        assert_eq!(path.met(), 1);
        assert_eq!(path.into_inner().log.len(), seen);
    }

    // Cut: nothing gets through any more.
    for (action, seen) in [(Action::Cut, 0), (Action::CutAfter, 1)] {
        let mut path = FaultInjector::new(Mirror::default(), [fault(Direction::Send, 1, action)]);
        for _ in 0..2 {
            assert_eq!(path.if_send(1, 1, &data).unwrap_err().kind, Kind::Gone);
            assert_eq!(path.if_recv(1, 1, &mut buffer).unwrap_err().kind, Kind::Gone);
        }
        assert_eq!(path.into_inner().log.len(), seen);
    }

    // Corrupt and truncate, both ways.
    let mut path = FaultInjector::new(
        Mirror::default(),
        [
            fault(Direction::Send, 1, Action::Corrupt { offset: 3, xor: 0x80 }),
            fault(Direction::Recv, 1, Action::Truncate(10)),
            fault(Direction::Recv, 2, Action::Corrupt { offset: 9999, xor: 1 }),
        ],
    );
    path.if_send(1, 1, &data).unwrap();
    assert_eq!(path.if_recv(1, 1, &mut buffer).unwrap(), 10);
    assert_eq!(buffer[..4], [255, 255, 254, 254]);
    assert_eq!(buffer[10..], [0; 502]);
    path.if_recv(1, 1, &mut buffer).unwrap();
    assert_eq!(path.met(), 3);
    let sent = &path.into_inner().log[0].1;
    assert_eq!(sent[3], data[3] ^ 0x80);
    assert_eq!(sent[4..], data[4..]);

    // Status and delay, and a run of several.
    let mut several = fault(Direction::Recv, 2, Action::Status(Kind::Denied));
    several.times = 2;
    let delay = fault(Direction::Recv, 1, Action::Delay(250));
    let mut path = FaultInjector::new(Mirror::default(), [several, delay]);
    let kinds: Vec<Option<Kind>> =
        (0..4).map(|_| path.if_recv(1, 1, &mut buffer).err().map(|e| e.kind)).collect();
    assert_eq!(kinds, [None, Some(Kind::Denied), Some(Kind::Denied), None]);
    assert_eq!(path.into_inner().pauses, [Duration::from_millis(250)]);
}

#[test]
fn faults_are_data() {
    let text = r#"[
        {"when": {"dir": "send", "protocol": 1, "specific": 4096}, "nth": 3, "action": "cut-after"},
        {"action": {"corrupt": {"offset": 19, "xor": 255}}},
        {"nth": 2, "times": 5, "action": {"status": "protocol-violation"}}
    ]"#;
    let faults: Vec<Fault> = serde_json::from_str(text).unwrap();
    assert_eq!(faults[0].when.specific, Some(0x1000));
    assert_eq!((faults[1].nth, faults[1].times), (1, 1));
    assert_eq!(faults[2].action, Action::Status(Kind::ProtocolViolation));
    assert!(serde_json::from_str::<Fault>(r#"{"action": "drop", "evry": 2}"#).is_err());
    assert!(serde_json::from_str::<Fault>(r#"{"action": {"status": "sulking"}}"#).is_err());
    let back: Vec<Fault> = serde_json::from_str(&serde_json::to_string(&faults).unwrap()).unwrap();
    assert_eq!(back, faults);
}

#[test]
fn wrappers_nest_and_pass_limits_on() {
    let inner: Box<dyn Transport> = Box::new(Mirror::default());
    let counted = Count::new(inner);
    let faulty = FaultInjector::new(counted, []);
    let recorded = Record::new(faulty, Shared::default(), hide_start);
    let mut traced = Trace::new(recorded, Shared::default(), |_, _, _, _: &[u8]| String::new());
    assert_eq!(traced.max_transfer(), 2048);
    traced.if_send(1, 0x1000, &ramp()).unwrap();
}
