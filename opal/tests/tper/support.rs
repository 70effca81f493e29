// SPDX-License-Identifier: MIT OR Apache-2.0
//! A drive on the bench: a TPer in memory, an owner that persists before it commits, and a host
//! that speaks just enough.

use opal::Uid;
use opal::spec::{authority, column, method, sp};
use opal::tper::{MemoryPlatform, Profile, Quirk, Reset, Ssc, Tper};
use opal::wire::packet::Envelope;
use opal::wire::{Answer, Call, CallBuilder, ComPacket, Encoder, Name, Reader, Status, Token};

pub(crate) const MSID: &[u8] = b"EXAMPLE-MSID-0123456789ABCDEFGHI";
pub(crate) const PSID: &[u8] = b"PSID0123456789ABCDEFGHIJKLMNOPQR";
pub(crate) const COM_ID: u16 = 0x1000;
pub(crate) const HSN: u32 = 1;

pub(crate) fn profile() -> Profile {
    let mut profile = Profile::opal2();
    profile.msid = MSID.to_vec();
    profile
}

/// A profile of any SSC, with the MSID of the examples.
pub(crate) fn profile_of(ssc: Ssc) -> Profile {
    let mut profile = Profile::of(ssc);
    profile.msid = MSID.to_vec();
    profile
}

pub(crate) struct Bench {
    pub(crate) tper: Tper<MemoryPlatform>,
    /// What the owner has made durable.
    pub(crate) disk: (Vec<u8>, MemoryPlatform),
}

/// A session as the host knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) tsn: u32,
}

impl Bench {
    pub(crate) fn new(profile: Profile) -> Self {
        let tper = Tper::manufacture(profile, MemoryPlatform::new(7, PSID)).unwrap();
        let disk = (tper.state(), tper.platform().clone());
        Self { tper, disk }
    }

    pub(crate) fn opal2() -> Self {
        Self::new(profile())
    }

    /// A drive with `sid` as the SID's and Admin1's PIN, Locking SP activated.
    pub(crate) fn activated(profile: Profile, sid: &[u8]) -> Self {
        let mut bench = Self::new(profile);
        let session = bench.start(sp::ADMIN, Some((authority::SID, MSID))).unwrap();
        bench.set_pin(session, opal::spec::c_pin::SID, sid).unwrap();
        bench.call(session, sp::LOCKING, method::ACTIVATE, |_| {}).unwrap();
        bench.end(session);
        bench
    }

    /// IF-SEND with an owner that persists what changed and then commits.
    pub(crate) fn send(
        &mut self,
        protocol: u8,
        specific: u16,
        data: &[u8],
    ) -> Result<(), opal::tper::IfError> {
        let mut pending = self.tper.if_send(protocol, specific, data)?;
        let changed = pending.changed();
        let state = pending.state();
        let effects = pending.effects().to_vec();
        pending.platform().apply(&effects);
        pending.commit();
        if changed {
            self.disk = (state, self.tper.platform().clone());
        }
        Ok(())
    }

    pub(crate) fn reset(&mut self, kind: Reset) {
        let pending = self.tper.reset(kind);
        let (changed, state) = (pending.changed(), pending.state());
        pending.commit();
        if changed {
            self.disk = (state, self.tper.platform().clone());
        }
    }

    /// Power off, and on again from what is durable.
    pub(crate) fn power_cycle(&mut self) {
        let profile = self.tper.profile().clone();
        let platform = self.disk.1.power_cycled();
        self.tper = Tper::restore(profile, platform, &self.disk.0).unwrap();
    }

    /// The drive's first ComID.
    pub(crate) fn com_id(&self) -> u16 {
        self.tper.profile().base_com_id
    }

    /// One request and its answer, as bytes.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let com_id = self.com_id();
        self.send(1, com_id, request).unwrap();
        self.tper.if_recv(1, com_id, 65536).unwrap()
    }

    /// Sends tokens in a session and returns the tokens of the answer.
    pub(crate) fn tokens(&mut self, session: (u32, u32), tokens: &[u8]) -> Vec<u8> {
        let (tsn, hsn) = session;
        let com_id = self.com_id();
        let envelope = Envelope { com_id, tsn, hsn, ..Envelope::default() };
        let answer = self.exchange(&envelope.wrap(tokens));
        let packet = ComPacket::parse(&answer).unwrap();
        let Some(packet) = packet.packets().next() else { return Vec::new() };
        let part = packet.unwrap().sub_packets().next().unwrap().unwrap();
        part.payload().to_vec()
    }

    pub(crate) fn start(&mut self, sp: Uid, who: Option<(Uid, &[u8])>) -> Result<Session, Status> {
        self.start_with(sp, |t| {
            if let Some((authority, pin)) = who {
                t.named(0, |t| {
                    t.bytes(pin);
                });
                t.named(3, |t| {
                    t.uid(authority);
                });
            }
        })
    }

    pub(crate) fn start_with(
        &mut self,
        sp: Uid,
        optional: impl FnOnce(&mut Encoder),
    ) -> Result<Session, Status> {
        let call = CallBuilder::new(sp::SESSION_MANAGER, method::START_SESSION)
            .with(|t| {
                t.uint(u64::from(HSN)).uid(sp).boolean(true);
                optional(t);
            })
            .finish();
        let answer = self.tokens((0, 0), &call);
        let mut call = Call::parse(&mut Reader::new(&answer)).unwrap();
        assert_eq!(call.method, method::SYNC_SESSION);
        assert_eq!(call.parameters.uint().unwrap(), u64::from(HSN));
        let tsn: u32 = call.parameters.uint_as().unwrap();
        assert!(call.parameters.at_end().unwrap());
        if call.status.is_success() {
            assert!(tsn >= 4096);
            Ok(Session { tsn })
        } else {
            assert_eq!(tsn, 0);
            Err(call.status)
        }
    }

    pub(crate) fn end(&mut self, session: Session) {
        let answer = self.tokens((session.tsn, HSN), &[0xFA]);
        let filler: &[u8] =
            if self.tper.profile().quirks.has(Quirk::FfFiller) { &[0xFF; 2] } else { &[] };
        assert_eq!(answer, [&[0xFA], filler].concat());
    }

    /// Calls a method; the tokens between the brackets of the results.
    pub(crate) fn call(
        &mut self,
        session: Session,
        invoking: Uid,
        method: Uid,
        parameters: impl FnOnce(&mut Encoder),
    ) -> Result<Vec<u8>, Status> {
        let call = CallBuilder::new(invoking, method).with(parameters).finish();
        let answer = self.tokens((session.tsn, HSN), &call);
        let mut reader = Reader::new(&answer);
        let answer = Answer::parse(&mut reader).unwrap();
        assert!(reader.at_end().unwrap());
        if answer.status.is_success() {
            Ok(answer.results.rest().to_vec())
        } else {
            assert!(answer.results.at_end().unwrap(), "a failure has no results");
            Err(answer.status)
        }
    }

    /// Columns of a row, tokens of each value.
    pub(crate) fn get(
        &mut self,
        session: Session,
        row: Uid,
        columns: std::ops::RangeInclusive<u64>,
    ) -> Result<Vec<(u64, Vec<u8>)>, Status> {
        let results = self.call(session, row, method::GET, |t| {
            t.list(|t| {
                t.named(3, |t| {
                    t.uint(*columns.start());
                });
                t.named(4, |t| {
                    t.uint(*columns.end());
                });
            });
        })?;
        Ok(named(&results))
    }

    /// Every readable column of a row.
    pub(crate) fn get_row(
        &mut self,
        session: Session,
        row: Uid,
    ) -> Result<Vec<(u64, Vec<u8>)>, Status> {
        let results = self.call(session, row, method::GET, |t| {
            t.list(|_| {});
        })?;
        Ok(named(&results))
    }

    pub(crate) fn get_uint(&mut self, session: Session, row: Uid, column: u64) -> u64 {
        let cells = self.get(session, row, column..=column).unwrap();
        assert_eq!(cells.len(), 1, "column {column} of {row} is readable");
        Reader::new(&cells[0].1).uint().unwrap()
    }

    /// Sets columns; `values` writes named values.
    pub(crate) fn set(
        &mut self,
        session: Session,
        row: Uid,
        values: impl FnOnce(&mut Encoder),
    ) -> Result<(), Status> {
        self.call(session, row, method::SET, |t| {
            t.named(1, |t| {
                t.list(values);
            });
        })
        .map(|results| assert!(Reader::new(&results).at_end().unwrap()))
    }

    pub(crate) fn set_uint(
        &mut self,
        session: Session,
        row: Uid,
        columns: &[(u64, u64)],
    ) -> Result<(), Status> {
        self.set(session, row, |t| {
            for (column, value) in columns {
                t.named(*column, |t| {
                    t.uint(*value);
                });
            }
        })
    }

    pub(crate) fn set_pin(
        &mut self,
        session: Session,
        c_pin: Uid,
        pin: &[u8],
    ) -> Result<(), Status> {
        self.set(session, c_pin, |t| {
            t.named(column::c_pin::PIN, |t| {
                t.bytes(pin);
            });
        })
    }

    pub(crate) fn enable(&mut self, session: Session, authority: Uid) -> Result<(), Status> {
        self.set_uint(session, authority, &[(column::authority::ENABLED, 1)])
    }

    pub(crate) fn authenticate(
        &mut self,
        session: Session,
        authority: Uid,
        proof: Option<&[u8]>,
    ) -> Result<bool, Status> {
        let results = self.call(session, sp::THIS_SP, method::AUTHENTICATE, |t| {
            t.uid(authority);
            if let Some(proof) = proof {
                t.named(0, |t| {
                    t.bytes(proof);
                });
            }
        })?;
        Ok(Reader::new(&results).boolean().unwrap())
    }

    /// Sets an ACE's expression to `User or …` over the authorities given.
    pub(crate) fn set_ace(
        &mut self,
        session: Session,
        ace: Uid,
        anyone_of: &[Uid],
    ) -> Result<(), Status> {
        self.set(session, ace, |t| {
            t.named(column::ace::BOOLEAN_EXPR, |t| {
                t.list(|t| expression(t, anyone_of));
            });
        })
    }

    pub(crate) fn read_bytes(
        &mut self,
        session: Session,
        table: Uid,
        first: u64,
        last: u64,
    ) -> Result<Vec<u8>, Status> {
        let results = self.call(session, table, method::GET, |t| {
            t.list(|t| {
                t.named(1, |t| {
                    t.uint(first);
                });
                t.named(2, |t| {
                    t.uint(last);
                });
            });
        })?;
        Ok(Reader::new(&results).bytes().unwrap().to_vec())
    }

    pub(crate) fn write_bytes(
        &mut self,
        session: Session,
        table: Uid,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Status> {
        self.call(session, table, method::SET, |t| {
            t.named(0, |t| {
                t.uint(offset);
            });
            t.named(1, |t| {
                t.bytes(data);
            });
        })
        .map(drop)
    }
}

fn expression(t: &mut Encoder, anyone_of: &[Uid]) {
    for (index, authority) in anyone_of.iter().enumerate() {
        t.named_bytes(&[0, 0, 0x0C, 0x05], |t| {
            t.uid(*authority);
        });
        if index > 0 {
            t.named_bytes(&[0, 0, 0x04, 0x0E], |t| {
                t.uint(1);
            });
        }
    }
}

/// Takes `[ named values ]` apart.
pub(crate) fn named(results: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut reader = Reader::new(results);
    reader.start_list().unwrap();
    let mut cells = Vec::new();
    while let Some(name) = reader.start_name().unwrap() {
        let Name::Number(name) = name else { panic!("a column name that is text") };
        cells.push((name, reader.value().unwrap().rest().to_vec()));
        reader.end_name().unwrap();
    }
    reader.end_list().unwrap();
    assert!(reader.at_end().unwrap());
    cells
}

/// A list of UIDs.
pub(crate) fn uids(results: &[u8]) -> Vec<Uid> {
    let mut reader = Reader::new(results);
    reader.start_list().unwrap();
    let mut uids = Vec::new();
    while !reader.accept(Token::EndList).unwrap() {
        uids.push(reader.uid().unwrap());
    }
    uids
}
