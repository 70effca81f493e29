// SPDX-License-Identifier: MIT OR Apache-2.0
//! A host in as few lines as will do, written against the specification and not against our host:
//! a mistake that both sides of `opal` make would show here.

use opal::Uid;
use opal::spec::{method, sp};
use opal::wire::call::{Answer, Call, CallBuilder};
use opal::wire::packet::{ComPacket, Envelope, pad_to_block};
use opal::wire::reader::Reader;
use opal::wire::token::{Encoder, Token};

use crate::emulator::backend::{Backend, CommandStatus};

/// A method's answer: its status (Core 2.01 §5.1.5) and the tokens between the result brackets.
pub(in crate::emulator) type Outcome = Result<(u8, Vec<u8>), CommandStatus>;

/// A regular session.
pub(in crate::emulator) struct Session<'a> {
    drive: &'a dyn Backend,
    tsn: u32,
}

const HSN: u32 = 0x41;
const COM_ID: u16 = 0x1000;

impl<'a> Session<'a> {
    /// StartSession; `Err` holds the status the drive refused with.
    pub(in crate::emulator) fn start(
        drive: &'a dyn Backend,
        provider: Uid,
        who: Option<(Uid, &[u8])>,
    ) -> Result<Self, Result<u8, CommandStatus>> {
        let call = CallBuilder::new(sp::SESSION_MANAGER, method::START_SESSION).with(|t| {
            t.uint(HSN.into()).uid(provider).boolean(true);
            if let Some((authority, pin)) = who {
                t.named(0, |t| {
                    t.bytes(pin);
                });
                t.named(3, |t| {
                    t.uid(authority);
                });
            }
        });
        let tokens = exchange(drive, 0, &call.finish()).map_err(Err)?;
        let mut reader = Reader::new(&tokens);
        let Ok(call) = Call::parse(&mut reader) else { return Err(Ok(0x3F)) };
        if call.status.0 != 0 {
            return Err(Ok(call.status.0));
        }
        let mut parameters = call.parameters;
        assert_eq!(call.method, method::SYNC_SESSION);
        assert_eq!(parameters.uint().unwrap(), u64::from(HSN));
        Ok(Self { drive, tsn: parameters.uint_as().unwrap() })
    }

    /// Calls a method.
    pub(in crate::emulator) fn call(
        &self,
        invoking: Uid,
        method: Uid,
        parameters: impl FnOnce(&mut Encoder),
    ) -> Outcome {
        let call = CallBuilder::new(invoking, method).with(parameters).finish();
        let tokens = exchange(self.drive, self.tsn, &call)?;
        let mut reader = Reader::new(&tokens);
        match Answer::parse(&mut reader) {
            Ok(answer) => Ok((answer.status.0, answer.results.rest().to_vec())),
            // The TPer ended the session instead.
            Err(_) => Ok((0x3F, tokens)),
        }
    }

    /// Set on an object: columns and values.
    pub(in crate::emulator) fn set(&self, row: Uid, values: impl FnOnce(&mut Encoder)) -> Outcome {
        self.call(row, method::SET, |t| {
            t.named(1, |t| {
                t.list(values);
            });
        })
    }

    /// Set on a byte table.
    pub(in crate::emulator) fn write(&self, table: Uid, offset: u64, data: &[u8]) -> Outcome {
        self.call(table, method::SET, |t| {
            t.named(0, |t| {
                t.uint(offset);
            })
            .named(1, |t| {
                t.bytes(data);
            });
        })
    }

    /// Get on a byte table.
    pub(in crate::emulator) fn read(&self, table: Uid, offset: u64, length: u64) -> Vec<u8> {
        let (status, results) = self
            .call(table, method::GET, |t| {
                t.list(|t| {
                    t.named(1, |t| {
                        t.uint(offset);
                    })
                    .named(2, |t| {
                        t.uint(offset + length - 1);
                    });
                });
            })
            .unwrap();
        assert_eq!(status, 0);
        Reader::new(&results).bytes().unwrap().to_vec()
    }

    /// Ends the session.
    pub(in crate::emulator) fn end(self) {
        let mut tokens = Encoder::new();
        tokens.token(Token::EndOfSession);
        let _ = exchange(self.drive, self.tsn, &tokens.finish());
    }
}

fn exchange(drive: &dyn Backend, tsn: u32, tokens: &[u8]) -> Result<Vec<u8>, CommandStatus> {
    let hsn = if tsn == 0 { 0 } else { HSN };
    let envelope = Envelope { com_id: COM_ID, tsn, hsn, ..Envelope::default() };
    drive.if_send(1, COM_ID, &pad_to_block(envelope.wrap(tokens)))?;
    let answer = drive.if_recv(1, COM_ID, 0x1_0000)?;
    let packet = ComPacket::parse_prefix(&answer).unwrap();
    let mut payload = Vec::new();
    for part in packet.packets().flatten() {
        for sub in part.sub_packets().flatten() {
            payload.extend_from_slice(sub.payload());
        }
    }
    Ok(payload)
}
