// SPDX-License-Identifier: MIT OR Apache-2.0
//! The printer: what a person sees of real exchanges, and that no secret is among it.

use insta::assert_snapshot;
use opal::Uid;
use opal::spec::{authority, c_pin, locking, method, protocol, sp, table};
use opal::wire::call::{answer, control_answer};
use opal::wire::packet::Envelope;
use opal::wire::print::Printer;
use opal::wire::{CallBuilder, Encoder, Status};
use proptest::prelude::*;

const COM_ID: u16 = 0x1000;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn session(tokens: &[u8]) -> Vec<u8> {
    Envelope { com_id: COM_ID, tsn: 0x1001, hsn: 1, ..Envelope::default() }.wrap(tokens).to_vec()
}

fn control(tokens: &[u8]) -> Vec<u8> {
    Envelope { com_id: COM_ID, ..Envelope::default() }.wrap(tokens).to_vec()
}

fn call(invoking: Uid, method: Uid, parameters: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    CallBuilder::new(invoking, method).with(parameters).finish().to_vec()
}

fn start_session(pin: &[u8]) -> Vec<u8> {
    control(&call(sp::SESSION_MANAGER, method::START_SESSION, |t| {
        t.uint(1).uid(sp::ADMIN).boolean(true);
        t.named(0, |t| {
            t.bytes(pin);
        });
        t.named(3, |t| {
            t.uid(authority::SID);
        });
    }))
}

fn sync_session() -> Vec<u8> {
    control(&control_answer(method::SYNC_SESSION, Status::SUCCESS, |t| {
        t.uint(1).uint(0x1001);
    }))
}

#[test]
fn a_session_reads_like_a_conversation() {
    let mut printer = Printer::new();
    let mut text = String::new();
    let exchange: &[(bool, Vec<u8>)] = &[
        (true, start_session(b"a very secret SID PIN")),
        (false, sync_session()),
        (
            true,
            session(&call(c_pin::MSID, method::GET, |t| {
                t.list(|t| {
                    t.named(3, |t| {
                        t.uint(3);
                    });
                    t.named(4, |t| {
                        t.uint(3);
                    });
                });
            })),
        ),
        (
            false,
            session(&answer(Status::SUCCESS, |t| {
                t.list(|t| {
                    t.named(3, |t| {
                        t.bytes(b"EXAMPLE-MSID-0123456789ABCDEFGHI");
                    });
                });
            })),
        ),
        (
            true,
            session(&call(locking::range(1), method::SET, |t| {
                t.named(1, |t| {
                    t.list(|t| {
                        t.named(3, |t| {
                            t.uint(2048);
                        });
                        t.named(7, |t| {
                            t.boolean(true);
                        });
                        t.named(9, |t| {
                            t.list(|t| {
                                t.uint(0).uint(3);
                            });
                        });
                    });
                });
            })),
        ),
        (false, session(&answer(Status::NOT_AUTHORIZED, |_| {}))),
        (true, session(&[0xFA])),
        (false, session(&[0xFA])),
        (false, Envelope { com_id: COM_ID, outstanding_data: 1, ..Envelope::default() }.empty()),
    ];
    for (send, data) in exchange {
        let message = if *send {
            printer.sent(protocol::TCG, COM_ID, data)
        } else {
            printer.received(protocol::TCG, COM_ID, data)
        };
        text += &message.to_string();
    }
    assert_snapshot!(text);
}

/// Typed from the reference: Enterprise, string-named parameters.
#[test]
fn enterprise_names_are_understood() {
    let mut printer = Printer::new();
    let get = hex("00000000 07FE0000 00000000 00000000 00000074
        00001001 00000001 00000000 00000000 00000000 0000005C 000000000000 0000 0000004E
        F8 A8 0000080200000001 A8 0000000600000006 F0 F0
        F2 AB 7374617274436F6C756D6E AA 52616E67655374617274 F3
        F2 A9 656E64436F6C756D6E AB 57726974654C6F636B6564 F3
        F1 F1 F9 F0 00 00 00 F1 0000");
    let reply = hex("00000000 07FE0000 00000000 00000000 00000094
        00001001 00000001 00000000 00000000 00000000 0000007C 000000000000 0000 0000006E
        F0 F0 F0 F2 AA 52616E67655374617274 00 F3 F2 AB 52616E67654C656E677468 00 F3
        F2 AF 526561644C6F636B456E61626C6564 01 F3
        F2 D0 10 57726974654C6F636B456E61626C6564 01 F3
        F2 AA 526561644C6F636B6564 00 F3 F2 AB 57726974654C6F636B6564 00 F3
        F1 F1 F1 F9 F0 00 00 00 F1 0000");
    let mut text = printer.sent(1, 0x07FE, &get).to_string();
    text += &printer.received(1, 0x07FE, &reply).to_string();
    assert_snapshot!(text);
}

#[test]
fn an_ace_reads_as_an_expression() {
    let mut printer = Printer::new();
    printer.sent(
        1,
        COM_ID,
        &session(&call(Uid::new(8, 0x3_E001), method::GET, |t| {
            t.list(|_| {});
        })),
    );
    let reply = session(&answer(Status::SUCCESS, |t| {
        t.list(|t| {
            t.named(3, |t| {
                t.list(|t| {
                    t.named_bytes(&[0, 0, 0x0C, 5], |t| {
                        t.uid(authority::ADMINS);
                    });
                    t.named_bytes(&[0, 0, 0x0C, 5], |t| {
                        t.uid(authority::user(2));
                    });
                    t.named_bytes(&[0, 0, 4, 0x0E], |t| {
                        t.uint(1);
                    });
                });
            });
            t.named(4, |t| {
                t.list(|t| {
                    t.uint(7);
                });
            });
        });
    }));
    assert_snapshot!(printer.received(1, COM_ID, &reply).to_string());
}

#[test]
fn the_other_protocols() {
    let mut printer = Printer::new();
    let mut text = String::new();
    for (send, protocol, specific, data) in [
        (false, 0, 0, "0000000000000004 000102EF 00000000"),
        (false, 2, 0, "1002A5C3"),
        (true, 2, 0x1000, "10000000 00000002"),
        (false, 2, 0x1000, "10000000 00000002 0000 0000"),
        (false, 2, 0x1000, "10000000 00000002 0000 0004 00000000"),
        (false, 2, 0x1000, "10000000 00000001 0000 0022 00000003"),
        (true, 2, 4, "00"),
        (true, 2, 5, "0101"),
        (false, 0xEF, 0, "000E 0001 0001 FFFE"),
        (false, 0xEF, 0, "000E 0001 0001 FFFE 0029 000000000000"),
        (true, 0xEF, 1, "0000 68756E74657232"),
    ] {
        let data = hex(data);
        let message = if send {
            printer.sent(protocol, specific, &data)
        } else {
            printer.received(protocol, specific, &data)
        };
        text += &message.to_string();
    }
    assert_snapshot!(text);
    assert!(!text.contains("hunter2"));
}

#[test]
fn what_is_cut_is_shown_as_far_as_it_goes() {
    let properties = control(&control_answer(method::PROPERTIES, Status::SUCCESS, |t| {
        t.list(|t| {
            t.named_bytes(b"MaxComPacketSize", |t| {
                t.uint(66048);
            });
            t.named_bytes(b"MaxVendorThing", |t| {
                t.uint(1);
            });
            t.named_bytes(b"MaxIndTokenSize", |t| {
                t.uint(65540);
            });
        });
    }));
    let mut printer = Printer::new();
    let text: String = [properties.len() - 20, 118, 60, 16, 3]
        .into_iter()
        .map(|cut| printer.received(1, COM_ID, &properties[..cut]).to_string())
        .collect();
    assert_snapshot!(text);
}

/// A name, the call that goes before if the message is an answer, the message.
type Case = (&'static str, Option<Vec<u8>>, Vec<u8>);

/// Messages that carry `secret`.
fn secret_exchanges(secret: &[u8]) -> Vec<Case> {
    let bytes = |t: &mut Encoder| {
        t.bytes(secret);
    };
    let cell = |name: u64| {
        move |t: &mut Encoder| {
            t.named(1, |t| {
                t.list(|t| {
                    t.named(name, |t| {
                        t.bytes(secret);
                    });
                });
            });
        }
    };
    let row_answer = session(&answer(Status::SUCCESS, |t| {
        t.list(|t| {
            t.named(3, bytes);
        });
    }));
    let bytes_answer = session(&answer(Status::SUCCESS, bytes));
    let get = |uid| {
        Some(session(&call(uid, method::GET, |t| {
            t.list(|_| {});
        })))
    };
    vec![
        ("StartSession", None, start_session(secret)),
        (
            "StartSession, Enterprise name",
            None,
            control(&call(sp::SESSION_MANAGER, method::START_SESSION, |t| {
                t.uint(1).uid(sp::ADMIN).boolean(true).named_bytes(b"HostChallenge", bytes);
            })),
        ),
        (
            "Authenticate",
            None,
            session(&call(sp::THIS_SP, method::AUTHENTICATE, |t| {
                t.uid(authority::admin(1)).named(0, bytes);
            })),
        ),
        (
            "Authenticate, Enterprise",
            None,
            session(&call(sp::THIS_SP, method::ENTERPRISE_AUTHENTICATE, |t| {
                t.uid(authority::SID).named_bytes(b"Challenge", bytes);
            })),
        ),
        ("Set C_PIN", None, session(&call(c_pin::SID, method::SET, cell(3)))),
        ("Set C_PIN, wrong column", None, session(&call(c_pin::SID, method::SET, cell(2)))),
        (
            "Set C_PIN, Enterprise",
            None,
            session(&call(Uid::new(0xB, 0x8001), method::ENTERPRISE_SET, |t| {
                t.list(|_| {}).list(|t| {
                    t.list(|t| {
                        t.named_bytes(b"PIN", bytes);
                    });
                });
            })),
        ),
        ("Set of a media key", None, session(&call(locking::key_256(1), method::SET, cell(3)))),
        (
            "Reactivate",
            None,
            session(&call(sp::THIS_SP, method::REACTIVATE, |t| {
                t.named(method::parameter::REACTIVATE_ADMIN1_PIN, bytes);
            })),
        ),
        (
            "Set DataStore",
            None,
            session(&call(table::data_store(1), method::SET, |t| {
                t.named(0, |t| {
                    t.uint(0);
                });
                t.named(1, bytes);
            })),
        ),
        (
            "Set DataStore 5",
            None,
            session(&call(table::data_store(5), method::SET, |t| {
                t.named(1, bytes);
            })),
        ),
        (
            "Set DataStore, Enterprise",
            None,
            session(&call(Uid::new(0x8001, 0), method::ENTERPRISE_SET, |t| {
                t.list(|_| {}).bytes(secret);
            })),
        ),
        ("Get C_PIN", get(c_pin::SID), row_answer.clone()),
        ("Get of a media key", get(locking::key_128(0)), row_answer.clone()),
        ("Get DataStore", get(table::data_store(2)), bytes_answer.clone()),
        ("Get of a vendor table", get(Uid::new(0x7777, 0)), bytes_answer.clone()),
        (
            "Random",
            Some(session(&call(sp::THIS_SP, method::RANDOM, |t| {
                t.uint(32);
            }))),
            bytes_answer,
        ),
        ("a vendor method", None, session(&call(sp::THIS_SP, Uid::new(6, 0xBEEF), bytes))),
        (
            "positional in StartSession",
            None,
            control(&call(sp::SESSION_MANAGER, method::START_SESSION, |t| {
                t.uint(1).uid(sp::ADMIN).boolean(true).bytes(secret);
            })),
        ),
    ]
}

/// Everything a message prints, in both forms.
fn printed(before: Option<&[u8]>, data: &[u8], send: bool) -> String {
    let mut printer = Printer::new();
    if let Some(before) = before {
        printer.sent(1, COM_ID, before);
    }
    let message =
        if send { printer.sent(1, COM_ID, data) } else { printer.received(1, COM_ID, data) };
    format!("{message}{message:?}{printer:?}")
}

/// Whether `text` has `secret` in it in a form a person could undo: text, hex, or numbers.
fn leaks(text: &str, secret: &[u8]) -> bool {
    let window = &secret[..secret.len().min(6)];
    let hex = |separator: &str| {
        window.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(separator)
    };
    // As one-byte integers, on a line each or on one.
    let numbers: Vec<_> = window
        .iter()
        .map(|b| match b {
            0..=0x3F => b.to_string(),
            _ => format!("{:+}", (i32::from(*b) & 0x1F) - (i32::from(*b) & 0x20)),
        })
        .collect();
    let lines: String = text.split_whitespace().collect::<Vec<_>>().join(", ");
    let upper = text.to_uppercase();
    text.contains(&*String::from_utf8_lossy(window))
        || upper.contains(&hex(""))
        || upper.contains(&hex(" "))
        || text.contains(&numbers.join(", "))
        || secret
            .first_chunk::<8>()
            .is_some_and(|eight| text.contains(&u64::from_be_bytes(*eight).to_string()))
        || (window.len() > 4 && lines.contains(&numbers.join(", ")))
}

#[test]
fn no_secret_is_ever_printed() {
    let secrets: [&[u8]; 5] = [
        b"correct horse battery staple 123",
        b"hunter2!",
        b"pass",
        &[0, 0, 0x0B, 0xAD, 0xF0, 0x0D, 0xBE, 0xEF],
        b"sixteen byte PIN",
    ];
    for secret in secrets {
        for (name, before, data) in secret_exchanges(secret) {
            let text = printed(before.as_deref(), &data, before.is_none());
            assert!(!leaks(&text, secret), "{name}: {text}");
            assert!(text.contains("hidden"), "{name}: {text}");
        }
    }
}

/// Also when a message is damaged: cut anywhere, or with any one bit wrong.
#[test]
fn damage_uncovers_no_secret() {
    for secret in [&b"correct horse battery staple 123"[..], b"hunter2!"] {
        for (name, before, data) in secret_exchanges(secret) {
            // A wrong column and a wrong table together make a name of an authority.
            if name == "Set C_PIN, wrong column" {
                continue;
            }
            let send = before.is_none();
            for cut in 0..data.len() {
                let text = printed(before.as_deref(), &data[..cut], send);
                assert!(!leaks(&text, secret), "{name} cut at {cut}: {text}");
            }
            for bit in 0..data.len() * 8 {
                let mut flipped = data.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let text = printed(before.as_deref(), &flipped, send);
                assert!(!leaks(&text, secret), "{name} bit {bit}: {text}");
            }
        }
    }
}

/// An answer whose call was not seen: only what has the length and shape of UIDs, and known names.
#[test]
fn a_lone_answer_hides_what_it_does_not_know() {
    let reply = session(&answer(Status::SUCCESS, |t| {
        t.uid(locking::range(3)).bytes(b"hunter2!").bytes(b"pass").bytes(&[0, 0, 0x0C, 5]);
        t.bytes(b"MaxSessions").bytes(b"some text").bytes(&[0; 32]).uint(7);
        t.named_bytes(b"SecretName", |t| {
            t.uint(1);
        });
    }));
    assert_snapshot!(printed(None, &reply, false).lines().take(14).collect::<Vec<_>>().join("\n"));
}

#[test]
fn answers_are_matched_within_their_session() {
    let mut printer = Printer::new();
    printer.sent(1, COM_ID, &session(&call(locking::range(1), method::GET, |_| {})));
    // The next call replaces it: this answer is the C_PIN's.
    printer.sent(1, COM_ID, &session(&call(c_pin::user(1), method::GET, |_| {})));
    let reply = session(&answer(Status::SUCCESS, |_| {}));
    assert!(printer.received(1, COM_ID, &reply).to_string().contains("answer to C_PIN_User1.Get"));
    assert!(printer.received(1, COM_ID, &reply).to_string().contains("answer: SUCCESS"));
}

#[test]
fn memory_is_bounded() {
    let mut printer = Printer::new();
    let mut many = Vec::new();
    for _ in 0..2000 {
        many.extend(call(locking::range(1), method::GET, |_| {}));
    }
    let text = printer.sent(1, COM_ID, &session(&many)).to_string();
    assert!(text.contains("too many tokens to show"), "{text}");
    assert!(format!("{printer:?}").len() < 100_000);
    let deep = printer.sent(1, COM_ID, &session(&[0xF0; 5000])).to_string();
    assert!(deep.contains("nested too deeply"), "{deep}");
}

proptest! {
    #[test]
    fn any_bytes_print(
        data in proptest::collection::vec(any::<u8>(), 0..300),
        tokens in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(vec![0xF0u8, 0xF1, 0xF2, 0xF3, 0xF8, 0xF9, 0xA8, 0xD0, 0])],
            0..200,
        ),
        protocol in proptest::sample::select(vec![0u8, 1, 2, 3, 0xEF]),
        specific in proptest::sample::select(vec![0u16, 1, 2, 4, 5, 0x1000]),
    ) {
        let mut printer = Printer::new();
        for data in [&data[..], &session(&tokens), &control(&tokens)] {
            prop_assert!(!printer.sent(protocol, specific, data).to_string().is_empty());
            prop_assert!(!printer.received(protocol, specific, data).to_string().is_empty());
        }
    }
}
