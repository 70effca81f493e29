// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each fuzz target does with its input. `tests/fuzz_corpus.rs` includes this file and replays
//! the committed corpus with it on a stable toolchain.
//!
//! Every function here takes any bytes, returns, and panics only where the library broke a promise.

use std::cell::RefCell;
use std::time::Duration;

use opal::exchange::ComId;
use opal::host::{
    Activation, AdminSp, Authority, ByteTable, DataLoss, EnterpriseAdminSp, EnterpriseSp, Host,
    Identity, Load, LockingSp, RangeConfig, ResetTypes, Row, Session, Table, WriteOptions,
};
use opal::spec::ace;
use opal::tper::{MemoryPlatform, Pending, Profile, Reset, Tper};
use opal::wire::discovery::Discovery;
use opal::wire::packet::Envelope;
use opal::wire::print::{Direction, Printer};
use opal::wire::{Answer, Call, ComPacket, Encoder, Reader, Tokens};
use opal::{Error, Pin, Transport, TransportError, TransportErrorKind, Uid};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// The names of the targets, which are those of the folders in `corpus/`.
pub const TARGETS: [(&str, Target); 6] = [
    ("tokens", tokens),
    ("packets", packets),
    ("discovery", discovery),
    ("method_answers", method_answers),
    ("tper_input", tper_input),
    ("printer", printer),
];

const COM_ID: u16 = 0x1000;
const SERIAL: &str = "FUZZED-1";
const PSID: &[u8] = b"PSIDPSIDPSIDPSIDPSIDPSIDPSIDPSID";
/// Frames of one input; more is only slower.
const MAX_FRAMES: usize = 64;

/// Tokens: what is read can be written and read again; readers end.
pub fn tokens(data: &[u8]) {
    let mut encoder = Encoder::new();
    let mut read = Vec::new();
    let mut end = 0;
    for spanned in Tokens::new(data) {
        let Ok(spanned) = spanned else { break };
        assert!(spanned.offset >= end, "tokens overlap");
        end = spanned.offset + spanned.size;
        assert!(end <= data.len(), "a token behind the end");
        encoder.token(spanned.token);
        read.push(spanned.token);
    }
    let written = encoder.finish();
    let again: Vec<_> = Tokens::new(&written).map(|t| t.expect("our own token").token).collect();
    assert_eq!(read, again, "reading what was written gives something else");

    let mut reader = Reader::new(data);
    while let Ok(value) = reader.value() {
        assert!(value.rest().len() <= data.len());
    }
    let mut reader = Reader::new(data);
    while let Ok(call) = Call::parse(&mut reader) {
        let _ = call.parameters.peek();
    }
    let _ = Answer::parse(&mut Reader::new(data)).map(|answer| answer.results.at_end());
}

/// ComPackets, whole and cut: parts lie within their parents.
pub fn packets(data: &[u8]) {
    if let Ok(com) = ComPacket::parse(data) {
        assert_eq!(com.missing(), 0, "a whole ComPacket lacks something");
    }
    let Ok(com) = ComPacket::parse_prefix(data) else { return };
    for packet in com.packets() {
        let Ok(packet) = packet else { break };
        for sub in packet.sub_packets() {
            let Ok(sub) = sub else { break };
            assert!(sub.payload().len() <= data.len());
            let _ = (sub.credit(), sub.missing());
            tokens(sub.payload());
        }
    }
}

/// Discovery: the answer is kept byte for byte, and every field of every layout can be shown.
pub fn discovery(data: &[u8]) {
    let Ok(parsed) = Discovery::parse(data) else { return };
    let bytes = parsed.to_bytes();
    assert_eq!(data.get(..bytes.len()), Some(&bytes[..]), "parsing changed the answer");
    assert_eq!(Discovery::parse(&bytes).as_ref(), Ok(&parsed));
    for descriptor in parsed.descriptors() {
        let _ = (descriptor.missing(), descriptor.edition(), descriptor.feature());
        for (name, value) in descriptor.fields() {
            let _ = format!("{name}: {value}");
        }
        let mut same = descriptor.clone();
        same.set_feature(&descriptor.feature());
        let _ = same.feature();
    }
    let _ = (parsed.base_com_id(), parsed.encrypts(), parsed.shadow_mbr(), parsed.sscs().count());
}

/// One step of an input: what to do, and with which bytes. An input is a row of frames, each one
/// byte of operation, two bytes of length, and data; the last may be cut short.
fn frames(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = data;
    let frames = core::iter::from_fn(move || {
        let (&[operation, high, low], behind) = rest.split_first_chunk::<3>()?;
        let length = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (body, behind) = behind.split_at(length);
        rest = behind;
        Some((operation, body))
    });
    frames.take(MAX_FRAMES)
}

/// The printer, which remembers what was asked: any conversation in any order.
pub fn printer(data: &[u8]) {
    let mut printer = Printer::new();
    for (operation, body) in frames(data) {
        let direction = if operation & 0x80 == 0 { Direction::Send } else { Direction::Receive };
        let protocol = [1, 2, 0, 0xEF][usize::from(operation >> 5 & 3)];
        let specific = [COM_ID, 1, 0x07FE, 4, 5][usize::from(operation >> 2 & 7) % 5];
        let message = match (operation & 3, direction) {
            (1, _) => printer.tokens(direction, body),
            (2, _) => printer.fragment(direction, body),
            (_, Direction::Send) => printer.sent(protocol, specific, body),
            (_, Direction::Receive) => printer.received(protocol, specific, body),
        };
        let text = format!("{message}{message:?}");
        // A line for each token at most, each with its indentation.
        assert!(text.len() <= 64 * 1024 + 4096 * (body.len() + 1), "{} bytes of text", text.len());
    }
}

/// A drive that answers with the frames of the input, whatever it is asked.
struct Frames<'a> {
    answers: Vec<(u8, &'a [u8])>,
    next: usize,
    commands: usize,
}

impl Frames<'_> {
    fn count(&mut self) {
        self.commands += 1;
        // Each operation of a host is bounded, and so are the operations below.
        assert!(self.commands < 400_000, "the host does not end");
    }
}

impl Transport for Frames<'_> {
    fn if_send(&mut self, _: u8, _: u16, data: &[u8]) -> Result<(), TransportError> {
        assert_eq!(data.len() % 512, 0, "transfers are whole blocks");
        self.count();
        Ok(())
    }

    fn if_recv(&mut self, _: u8, _: u16, buffer: &mut [u8]) -> Result<usize, TransportError> {
        assert!(buffer.len() <= opal::exchange::MAX_TRANSFER, "a receive without bound");
        self.count();
        buffer.fill(0);
        let Some((operation, answer)) = self.answers.get(self.next) else {
            return Ok(buffer.len());
        };
        self.next += 1;
        let envelope = Envelope { com_id: COM_ID, tsn: 0x1001, hsn: 1, ..Envelope::default() };
        let answer = match operation & 3 {
            0 => answer.to_vec(),
            1 => envelope.wrap(answer).to_vec(),
            2 => Envelope { com_id: COM_ID, ..Envelope::default() }.wrap(answer).to_vec(),
            _ => {
                let kind = match answer.first() {
                    Some(0) => TransportErrorKind::InvalidLength,
                    Some(1) => TransportErrorKind::ProtocolViolation,
                    _ => TransportErrorKind::Failed,
                };
                return Err(TransportError::new(kind, "refused by the input"));
            }
        };
        let length = answer.len().min(buffer.len());
        if let (Some(into), Some(from)) = (buffer.get_mut(..length), answer.get(..length)) {
            into.copy_from_slice(from);
        }
        Ok(if operation & 4 == 0 { buffer.len() } else { length })
    }

    fn pause(&mut self, _: Duration) {
        self.count();
    }
}

/// A host whose drive answers anything. The first byte chooses what the host does, the rest is
/// frames: 0 a transfer, 1 tokens in the session, 2 tokens on the control session, 3 a failure.
pub fn method_answers(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let answers: Vec<_> = frames(rest).collect();
    let identity = Identity { serial: SERIAL.into(), model: "Fuzzed".into() };
    let mut host = Host::new(Frames { answers, next: 0, commands: 0 }, identity);
    if choice & 0x40 != 0 {
        let _ = host.properties();
    }
    host.use_com_id(ComId::fixed(COM_ID));
    let _ = match choice & 0x0F {
        0 => without_session(&mut host),
        1 => reading_admin(&mut host),
        2 => changing_admin(&mut host),
        3 => reading_locking(&mut host),
        4 => changing_locking(&mut host),
        5 => byte_tables(&mut host),
        6 => generic(&mut host),
        7 => single_user(&mut host),
        8 => host.start::<LockingSp>().open().and_then(|mut session| {
            let _ = session.data_stores();
            session.dump().map(drop)
        }),
        9 => enterprise_admin(&mut host),
        10 => enterprise_locking(&mut host),
        11 => users(&mut host),
        12 => host
            .load(Authority::admin(1), &pin(), &Load::new(ByteTable::MBR, &[7; 3000]), &mut |_| {})
            .map(drop),
        _ => host.reactivate(&pin(), None, &Activation::default(), true, &loss()).map(drop),
    };
}

type Fuzzed<'a> = Host<Frames<'a>>;

fn loss() -> DataLoss {
    DataLoss::accepted_for(SERIAL)
}

fn pin() -> Pin {
    Pin::new(b"owner").unwrap_or_default()
}

fn without_session(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let _ = host.discovery();
    let _ = host.supported_protocols();
    let _ = host.properties();
    let _ = host.verify_com_id();
    let _ = host.stack_reset();
    let _ = host.request_com_id();
    let _ = host.tper_reset();
    host.block_sid(true, true)
}

fn reading_admin(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let mut session = host.start::<AdminSp>().open()?;
    let _ = session.msid().map(drop);
    let _ = session.life_cycle(Row::LOCKING_SP);
    let _ = session.c_pin(Authority::SID);
    let _ = session.uid_of(Row::TPER_INFO);
    let _ = session.random(32);
    let _ = session.acl(Uid::NULL, Uid::NULL);
    session.close()
}

fn changing_admin(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let pin = pin();
    let mut session = host.start::<AdminSp>().authority(Authority::SID, &pin).open()?;
    let _ = session.authenticate(Authority::PSID, &pin);
    let _ = session.start_transaction();
    let _ = session.set_pin(Authority::SID, &pin);
    let _ = session.end_transaction(true);
    let _ = session.activate(&Activation::default());
    let _ = session.revert_locking_sp(&loss());
    session.revert(&loss())
}

fn reading_locking(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let mut session = host.start::<LockingSp>().open()?;
    let _ = session.range(1);
    let _ = session.mbr_control();
    let _ = session.locking_info();
    let _ = session.ace(ace::locking_sp::locking_get(1));
    let _ = session.is_enabled(Authority::user(1));
    let _ = session.rows(Table::LOCKING);
    session.close()
}

fn changing_locking(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let mut session = host.start::<LockingSp>().open()?;
    let _ = session.set_range(1, &RangeConfig::locked(true, true));
    let _ = session.set_mbr_control(Some(true), None, Some(ResetTypes::all()));
    let _ = session.erase_range(1, &loss());
    session.revert_sp(true, &loss())
}

fn byte_tables(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let mut session = host.start::<LockingSp>().open()?;
    let _ = session.table_info(ByteTable::MBR);
    let _ = session.read(ByteTable::MBR, 0, 3000, &mut |_| {});
    let _ = session.write(ByteTable::MBR, 0, &[1; 3000], WriteOptions::default(), &mut |_| {});
    session.close()
}

fn generic(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let mut session: Session<'_, LockingSp> = host.start::<LockingSp>().open()?;
    let cells = session.get_row(Row::range(1))?;
    for column in cells.columns() {
        let _ = (cells.uint(column), cells.boolean(column), cells.uid(column));
        let _ = (cells.uints(column), cells.uids(column), cells.bytes(column).map(<[u8]>::len));
    }
    session.close()
}

fn single_user(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let mut session = host.start::<LockingSp>().open()?;
    let _ = session.erase_single_user_range(1, &loss());
    session.reactivate(&Activation::default(), None, &loss())
}

fn enterprise_admin(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let mut session = host.start_enterprise::<EnterpriseAdminSp>().open()?;
    let _ = session.msid().map(drop);
    let _ = session.authenticate(Authority::ENTERPRISE_SID, &pin());
    let _ = session.set_pin_checked(Authority::ENTERPRISE_SID, &pin());
    session.revert(&loss())
}

fn enterprise_locking(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let mut session = host.start_enterprise::<EnterpriseSp>().open()?;
    let _ = session.band(1);
    let _ = session.max_bands();
    let _ = session.read_data_store(0, 100);
    let _ = session.set_band(1, &RangeConfig::locked(true, true));
    let _ = session.erase_band(1, &loss());
    session.close()
}

fn users(host: &mut Fuzzed<'_>) -> Result<(), Error> {
    let mut session = host.start::<LockingSp>().open()?;
    let _ = session.grant_range(1, Authority::user(1));
    let _ = session.revoke_range(1, Authority::user(1));
    let _ = session.grant_data_store(1, Authority::user(2), true);
    session.close()
}

thread_local! {
    /// A new drive and one in use: making them takes longer than most inputs.
    static DRIVES: RefCell<Option<[Drive; 2]>> = const { RefCell::new(None) };
}

type Drive = (Profile, Vec<u8>, MemoryPlatform);

/// A path to a TPer in the same process.
struct Direct<'a>(&'a mut Tper<MemoryPlatform>);

impl Transport for Direct<'_> {
    fn if_send(&mut self, protocol: u8, specific: u16, data: &[u8]) -> Result<(), TransportError> {
        match self.0.if_send(protocol, specific, data) {
            Ok(pending) => own(pending),
            Err(error) => {
                return Err(TransportError::new(TransportErrorKind::Failed, error.to_string()));
            }
        }
        Ok(())
    }

    fn if_recv(
        &mut self,
        protocol: u8,
        specific: u16,
        buffer: &mut [u8],
    ) -> Result<usize, TransportError> {
        let answer = self
            .0
            .if_recv(protocol, specific, buffer.len())
            .map_err(|e| TransportError::new(TransportErrorKind::Failed, e.to_string()))?;
        buffer.fill(0);
        for (to, from) in buffer.iter_mut().zip(&answer) {
            *to = *from;
        }
        Ok(buffer.len())
    }

    fn pause(&mut self, _: Duration) {}
}

fn drives() -> [Drive; 2] {
    let mut profile = Profile::opal2();
    profile.ranges = 2;
    profile.limits.max_sessions = 3;
    profile.features.single_user_mode = true;
    profile.try_limits.others = 5;
    let platform = MemoryPlatform::new(7, PSID);
    let mut tper = Tper::manufacture(profile.clone(), platform).expect("the profile is good");
    let fresh = (profile.clone(), tper.state(), tper.platform().power_cycled());
    activate(&mut tper).expect("a drive can be set up");
    let used = (profile, tper.state(), tper.platform().power_cycled());
    [fresh, used]
}

/// SID and Admin1 get the PIN "owner", User1 may unlock range 1.
fn activate(tper: &mut Tper<MemoryPlatform>) -> Result<(), Error> {
    let identity = Identity { serial: SERIAL.into(), model: "Fuzzed".into() };
    let mut host = Host::new(Direct(tper), identity);
    let mut session = host.start::<AdminSp>().open()?;
    let msid = session.msid()?;
    session.authenticate(Authority::SID, &msid)?;
    session.set_pin(Authority::SID, &pin())?;
    session.activate(&Activation::default())?;
    session.close()?;
    let pin = pin();
    let mut session = host.start::<LockingSp>().authority(Authority::admin(1), &pin).open()?;
    session.set_pin(Authority::user(1), &pin)?;
    session.set_enabled(Authority::user(1), true)?;
    session.set_range(
        1,
        &RangeConfig { start: Some(4096), length: Some(4096), ..RangeConfig::locked(true, true) },
    )?;
    session.close()
}

/// Persists, applies, commits.
fn own(mut pending: Pending<'_, MemoryPlatform>) {
    let effects = pending.effects().to_vec();
    pending.platform().apply(&effects);
    pending.commit();
}

/// Whole sessions with a TPer. The first byte chooses the drive, the rest is frames: 0 a ComPacket
/// transfer, 1 tokens in the newest session, 2 tokens on the control session, 3 ComID management,
/// 4 time passes, 5 a reset, 6 a power cycle, 7 a ComPacket whose effects its owner could not
/// apply.
pub fn tper_input(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let (profile, state, platform) = DRIVES.with_borrow_mut(|drives_| {
        drives_.get_or_insert_with(drives)[usize::from(choice & 1)].clone()
    });
    let mut tper =
        Tper::restore(profile.clone(), platform, &state).expect("a state it wrote itself");
    let mut tsn = 0x1000;
    for (operation, body) in frames(rest) {
        let control = Envelope { com_id: COM_ID, ..Envelope::default() };
        let session = Envelope { tsn, hsn: 1, ..control };
        let sent = match operation & 7 {
            0 | 7 => tper.if_send(1, COM_ID, body),
            1 => tper.if_send(1, COM_ID, &session.wrap(body)),
            2 => tper.if_send(1, COM_ID, &control.wrap(body)),
            3 => tper.if_send(2, [COM_ID, 4, 5][usize::from(operation >> 3) % 3], body),
            4 => Ok(tper.session_timeouts(Duration::from_secs(body.len() as u64))),
            5 => Ok(tper.reset(Reset::Hardware)),
            _ => {
                let (state, platform) = (tper.state(), tper.platform().power_cycled());
                tper = Tper::restore(profile.clone(), platform, &state).expect("its own state");
                tsn = 0x1000;
                continue;
            }
        };
        let _ = sent.map(|pending| if operation & 7 == 7 { drop(pending) } else { own(pending) });
        let answer = tper.if_recv(1, COM_ID, 1 << 20).expect("its own ComID");
        let com = ComPacket::parse(&answer).expect("an answer is a ComPacket");
        for packet in com.packets() {
            for sub in packet.expect("a whole packet").sub_packets() {
                let sub = sub.expect("a whole subpacket");
                assert!(Tokens::new(sub.payload()).all(|t| t.is_ok()), "an answer without sense");
                tsn = opened(sub.payload()).unwrap_or(tsn);
            }
        }
        let _ = tper.if_recv(2, COM_ID, 512);
    }
    let (state, platform) = (tper.state(), tper.platform().power_cycled());
    let restored = Tper::restore(profile, platform, &state).expect("a state it wrote itself");
    assert_eq!(restored.ranges().len(), tper.ranges().len());
}

/// The session number of a SyncSession.
fn opened(tokens: &[u8]) -> Option<u32> {
    let call = Call::parse(&mut Reader::new(tokens)).ok()?;
    let mut parameters = call.parameters;
    let _: u32 = parameters.uint_as().ok()?;
    parameters.uint_as().ok().filter(|_| call.status.is_success())
}
