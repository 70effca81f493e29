// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host sends equals, byte for byte, the exchanges typed from the specification, and it
//! reads the answers there for what they say.

#[path = "host_support/golden.rs"]
mod golden;

use golden::{golden, golden_transfer};
use opal::exchange::com_id::{self, ComIdState};
use opal::exchange::method::{end_session, start_transaction};
use opal::exchange::properties::properties;
use opal::exchange::request::{Activate, SingleUser, StartSession};
use opal::exchange::start_session::start_session;
use opal::exchange::{
    self, Cells, Columns, ComId, Exchange, Request, SessionNumbers, Step, request,
};
use opal::host::{Authority, BooleanExpr, LockingSp, RangeConfig, ResetTypes};
use opal::spec::{ace, authority, c_pin, column, locking, sp, table};
use opal::wire::Status;
use opal::{Error, Pin, Uid};

const COM_ID: ComId = ComId::fixed(0x1000);
const SESSION: SessionNumbers = SessionNumbers { tsn: 0x1001, hsn: 1 };
const MSID: &[u8] = b"EXAMPLE-MSID-0123456789ABCDEFGHI";

/// Sends, checks what was sent, feeds `answer`, and returns what the exchange makes of it.
fn exchanged<T>(mut exchange: Exchange<T>, name: &str, answer: &[u8]) -> Result<T, Error> {
    let Step::Send { protocol: 1, specific: 0x1000, data } = exchange.step() else {
        panic!("{name}: nothing to send")
    };
    assert_eq!(data, golden_transfer(name, "request"), "{name}");
    assert!(matches!(exchange.step(), Step::Receive { protocol: 1, specific: 0x1000, .. }));
    exchange.received(answer);
    match exchange.step() {
        Step::Done(result) => result,
        _ => panic!("{name}: not done"),
    }
}

fn call(name: &str, request: Request) -> Result<exchange::Results, Error> {
    called(name, request, "answer")
}

fn called(name: &str, request: Request, answer: &str) -> Result<exchange::Results, Error> {
    let answer = golden_transfer(name, answer);
    exchanged(exchange::method(COM_ID, SESSION, request), name, &answer)
}

fn cells(name: &str, request: Request) -> Cells {
    call(name, request).unwrap().cells().unwrap()
}

#[test]
fn start_session_as_anybody() {
    let start =
        StartSession { hsn: 1, sp: sp::ADMIN, write: true, credential: None, timeout: None };
    let name = "host_start_session_anybody";
    let answer = golden_transfer(name, "answer");
    assert_eq!(exchanged(start_session(COM_ID, &start), name, &answer), Ok(SESSION));
}

#[test]
fn start_session_as_sid() {
    let pin = Pin::new(MSID).unwrap();
    let credential = Some((authority::SID, &pin));
    let start = StartSession { hsn: 1, sp: sp::ADMIN, write: true, credential, timeout: None };
    let name = "host_start_session_sid";
    let answer = golden_transfer(name, "answer");
    assert_eq!(exchanged(start_session(COM_ID, &start), name, &answer), Ok(SESSION));
    let refused = golden_transfer(name, "refused");
    assert_eq!(
        exchanged(start_session(COM_ID, &start), name, &refused),
        Err(Error::Method { method: "StartSession", status: Status::NOT_AUTHORIZED })
    );
}

#[test]
fn properties_both_ways() {
    let host = [("MaxComPacketSize", 4096), ("MaxPacketSize", 4076), ("MaxIndTokenSize", 4040)];
    let name = "host_properties";
    let answer = golden_transfer(name, "answer");
    let told = exchanged(properties(COM_ID, Some(&host)), name, &answer).unwrap();
    assert_eq!(told.drive.len(), 11);
    assert_eq!(told.of_drive("MaxComPacketSize"), Some(65536));
    assert_eq!(told.of_drive("MaxResponseComPacketSize"), Some(65536));
    assert_eq!(told.of_drive("MaxAuthentications"), Some(2));
    assert_eq!(told.of_drive("DefSessionTimeout"), Some(0));
    assert_eq!(told.of_drive("MaxReadSessions"), None);
    assert_eq!(told.of_host("MaxComPacketSize"), Some(4096));
    assert_eq!(told.host.len(), 6);
}

#[test]
fn end_of_session() {
    let name = "host_end_session";
    let answer = golden_transfer(name, "answer");
    assert_eq!(exchanged(end_session(COM_ID, SESSION), name, &answer), Ok(()));
}

#[test]
fn the_drive_closes_the_session() {
    let close = golden_transfer("host_close_session", "answer");
    let name = "host_get_msid";
    let ask = request::get(c_pin::MSID, column::c_pin::PIN..=column::c_pin::PIN);
    let result = exchanged(exchange::method(COM_ID, SESSION, ask), name, &close);
    assert_eq!(result.err(), Some(Error::SessionClosed));
}

#[test]
fn get_of_the_msid() {
    let pin = column::c_pin::PIN;
    let name = "host_get_msid";
    let ask = || request::get(c_pin::MSID, pin..=pin);
    assert_eq!(cells(name, ask()).pin(pin).unwrap().expose(), MSID);
    let hidden = called(name, ask(), "hidden").unwrap().cells().unwrap();
    assert!(hidden.is_empty());
    assert_eq!(hidden.bytes(pin), Err(Error::NotShown { column: pin }));
}

#[test]
fn set_of_a_pin() {
    let pin = Pin::new(b"new-owner-password").unwrap();
    let ask = || request::set(c_pin::SID, &Columns::new().pin(column::c_pin::PIN, &pin));
    assert!(call("host_set_pin", ask()).is_ok());
    let status = Status::NOT_AUTHORIZED;
    assert_eq!(
        called("host_set_pin", ask(), "refused").err(),
        Some(Error::Method { method: "Set", status })
    );
}

#[test]
fn activate() {
    let plain = request::activate(sp::LOCKING, &Activate::default());
    assert!(call("host_activate", plain).is_ok());
    let single_user = Activate {
        single_user: Some(SingleUser::Ranges(vec![locking::range(1)])),
        admins_own_geometry: Some(true),
        data_store_sizes: None,
    };
    let ask = request::activate(sp::LOCKING, &single_user);
    assert!(call("host_activate_single_user", ask).is_ok());
}

#[test]
fn set_of_ranges() {
    let geometry = RangeConfig {
        start: Some(2048),
        length: Some(0x4000_0000),
        read_lock_enabled: Some(true),
        write_lock_enabled: Some(true),
        ..RangeConfig::default()
    };
    let lock = RangeConfig::locked(true, true);
    let resets = RangeConfig {
        lock_on_reset: Some(ResetTypes::POWER_CYCLE | ResetTypes::PROGRAMMATIC),
        ..RangeConfig::default()
    };
    for (name, range, config) in [
        ("host_set_range", 1, geometry),
        ("host_lock_range", 1, lock),
        ("host_lock_on_reset", 0, resets),
    ] {
        assert!(call(name, request::set(locking::range(range), &config.columns())).is_ok());
    }
}

#[test]
fn get_of_a_range() {
    use column::locking::{ACTIVE_KEY, LOCK_ON_RESET, RANGE_LENGTH, RANGE_START, WRITE_LOCKED};
    let row = cells("host_get_range", request::get(locking::range(1), RANGE_START..=ACTIVE_KEY));
    assert_eq!(row.uint(RANGE_START), Ok(2048));
    assert_eq!(row.uint(RANGE_LENGTH), Ok(0x4000_0000));
    assert_eq!(row.boolean(WRITE_LOCKED), Ok(false));
    assert_eq!(row.uints(LOCK_ON_RESET), Ok(vec![0]));
    assert_eq!(row.uid(ACTIVE_KEY), Ok(locking::key_256(1)));
    assert_eq!(row.columns().collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn set_of_an_ace() {
    let who = BooleanExpr::any_of::<LockingSp>(&[Authority::user(1), Authority::admin(1)]);
    let columns = Columns::new().value(column::ace::BOOLEAN_EXPR, |t| who.write(t));
    let row = ace::locking_sp::locking_set_read_locked(1);
    assert!(call("host_set_ace", request::set(row, &columns)).is_ok());
}

#[test]
fn enable_a_user() {
    let columns = Columns::new().boolean(column::authority::ENABLED, true);
    assert!(call("host_enable_user", request::set(authority::user(1), &columns)).is_ok());
}

#[test]
fn authenticate() {
    let pin = Pin::new(b"secret").unwrap();
    let ask = || request::authenticate(authority::admin(1), &pin);
    assert_eq!(call("host_authenticate", ask()).unwrap().boolean(), Ok(true));
    assert_eq!(called("host_authenticate", ask(), "refused").unwrap().boolean(), Ok(false));
}

#[test]
fn next() {
    let rows = call("host_next", request::next(table::uid(table::LOCKING), None, None)).unwrap();
    let expected: Vec<Uid> = (0..3).map(locking::range).collect();
    assert_eq!(rows.uids(), Ok(expected));
}

#[test]
fn keys_and_reverts() {
    assert!(call("host_gen_key", request::gen_key(locking::key_256(1))).is_ok());
    assert!(call("host_revert_sp", request::revert_sp(true)).is_ok());
    assert!(call("host_revert", request::revert(sp::ADMIN)).is_ok());
}

#[test]
fn random() {
    let answer = golden_transfer("host_read_data_store", "answer");
    let exchange = exchange::method(COM_ID, SESSION, request::random(32));
    let results = exchanged(exchange, "host_random", &answer).unwrap();
    assert_eq!(results.bytes().unwrap().unwrap().len(), 32);
}

#[test]
fn byte_tables() {
    let data: Vec<u8> = (0..32).collect();
    let table = table::data_store(1);
    assert!(call("host_write_data_store", request::write(table, 0x200, &data)).is_ok());
    let read = call("host_read_data_store", request::read(table, 0x200, 0x21F)).unwrap();
    assert_eq!(read.bytes(), Ok(Some(&data[..])));
}

#[test]
fn transaction() {
    let name = "host_start_transaction";
    // The echo looks like the request (Core 2.01 §3.3.7.3).
    let echo = golden_transfer(name, "request");
    assert_eq!(exchanged(start_transaction(COM_ID, SESSION), name, &echo), Ok(()));
}

/// For protocol 2: sends (if there is a request), feeds each answer, expects a wait between them.
fn managed<T>(mut exchange: Exchange<T>, name: &str, answers: &[&str]) -> Result<T, Error> {
    match exchange.step() {
        Step::Send { protocol: 2, data, .. } => {
            assert_eq!(data, golden_transfer(name, "request"));
        }
        Step::Receive { protocol: 2, specific: 0, .. } => {
            exchange.received(&golden(name, "answer"))
        }
        _ => panic!("{name}: nothing to do"),
    }
    let mut answers = answers.iter();
    loop {
        match exchange.step() {
            Step::Receive { protocol: 2, specific: 0x1000, .. } => {
                exchange.received(&golden_transfer(name, answers.next().unwrap()));
            }
            Step::Wait(_) => {}
            Step::Done(result) => return result,
            _ => panic!("{name}: neither waits nor ends"),
        }
    }
}

#[test]
fn com_id_management() {
    let verify = com_id::verify_com_id(COM_ID);
    assert_eq!(managed(verify, "host_verify_com_id", &["answer"]), Ok(ComIdState::Associated));
    let reset = com_id::stack_reset(COM_ID);
    assert_eq!(managed(reset, "host_stack_reset", &["pending", "pending", "answer"]), Ok(()));
    let own = ComId { number: 0x1002, extension: 0xA5C3 };
    assert_eq!(managed(com_id::get_com_id(), "host_get_com_id", &[]), Ok(own));
    assert_eq!(managed(com_id::block_sid(true, false), "host_block_sid", &[]), Ok(()));
}
