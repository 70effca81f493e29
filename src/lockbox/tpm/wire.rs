// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the two processes of a TPM conversation say to each other.
//!
//! A message is two frames, each a 32-bit big-endian length and that many bytes: the first is
//! CBOR and public, the second is one secret or empty. So a secret is read straight into locked
//! memory and passes through no encoder's buffer.

use std::io::{self, Read, Write};

use minicbor::{Decoder, Encoder};

use super::measured::{BootFacts, PcrChoice};
use super::{TpmConfig, TpmError};
use crate::lockbox::encode::{Written, cbor};
use crate::lockbox::epoch::Scope;
use crate::lockbox::provider::{Created, KeyRef, KeyState, ProviderError};
use crate::secret::Secret;

/// Longest frame. Notes are a few kilobytes.
const MAX_FRAME: usize = 1 << 20;
const VERSION: &str = "opalbox-tpm-1";

/// One thing to do with the TPM.
pub(super) enum Call {
    Choose { pcrs: PcrChoice, boot: BootFacts },
    Create { scope: Scope, label: Vec<u8> },
    Open { scope: Scope, key: KeyRef, blob: Vec<u8> },
    State { key: KeyRef },
    Destroy { key: KeyRef },
    Enroll,
    Head,
    Advance { to: u64 },
    ProveOwner,
}

/// What came of it.
pub(super) enum Answer {
    Pcrs(String),
    Created(Created),
    Nek(Secret),
    State(KeyState),
    Head(u64),
    Done,
}

/// What the conversing process asks for meanwhile.
pub(super) enum Wish {
    Read(String),
    Names(String),
    Write(String, Option<Vec<u8>>),
    Ask { new: bool },
}

/// From the conversing process.
pub(super) enum Reply {
    Wish(Wish),
    End(Result<Answer, ProviderError>),
}

/// What a wish gets.
pub(super) enum Grant {
    Value(Option<Vec<u8>>),
    Names(Vec<String>),
    Done,
    Secret(Secret),
    /// The reason stays where it arose.
    Failed,
}

type Decoded<T> = Result<T, minicbor::decode::Error>;

/// Writes one message.
pub(super) fn send(to: &mut impl Write, public: &[u8], secret: Option<&Secret>) -> io::Result<()> {
    for bytes in [public, secret.map_or(&[][..], Secret::expose)] {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(bytes)?;
    }
    to.flush()
}

/// Reads one message.
pub(super) fn receive(from: &mut impl Read) -> io::Result<(Vec<u8>, Secret)> {
    let mut public = vec![0; length(from)?];
    from.read_exact(&mut public)?;
    let mut secret = Secret::zeroed(length(from)?);
    from.read_exact(secret.expose_mut())?;
    Ok((public, secret))
}

fn length(from: &mut impl Read) -> io::Result<usize> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    let length = u32::from_be_bytes(bytes) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    Ok(length)
}

/// Encodes a request.
pub(super) fn request(config: &TpmConfig, call: &Call) -> Result<Vec<u8>, TpmError> {
    let config = json(config)?;
    Ok(cbor(|e| {
        e.array(3)?.str(VERSION)?.str(&config)?;
        encode_call(e, call)
    }))
}

/// Decodes a request.
pub(super) fn parse_request(bytes: &[u8]) -> Option<(TpmConfig, Call)> {
    let mut d = Decoder::new(bytes);
    let mut decode = || -> Decoded<(String, Call)> {
        d.array()?;
        if d.str()? != VERSION {
            return Err(unknown());
        }
        Ok((d.str()?.to_owned(), decode_call(&mut d)?))
    };
    let (config, call) = decode().ok()?;
    Some((serde_json::from_str(&config).ok()?, call))
}

fn encode_call(e: &mut Encoder<&mut Vec<u8>>, call: &Call) -> Written {
    match call {
        Call::Choose { pcrs, boot } => {
            let given = match pcrs {
                PcrChoice::Default => String::new(),
                PcrChoice::Given(selection) => selection.to_string(),
            };
            e.array(3)?.str("choose")?.str(&given)?;
            match boot.secure_boot {
                Some(on) => e.bool(on)?,
                None => e.null()?,
            };
        }
        Call::Create { scope, label } => {
            e.array(3)?.str("create")?.bytes(&scope.encode())?.bytes(label)?;
        }
        Call::Open { scope, key, blob } => {
            e.array(4)?.str("open")?.bytes(&scope.encode())?.bytes(&key.0)?.bytes(blob)?;
        }
        Call::State { key } => {
            e.array(2)?.str("state")?.bytes(&key.0)?;
        }
        Call::Destroy { key } => {
            e.array(2)?.str("destroy")?.bytes(&key.0)?;
        }
        Call::Enroll => {
            e.array(1)?.str("enroll")?;
        }
        Call::Head => {
            e.array(1)?.str("head")?;
        }
        Call::Advance { to } => {
            e.array(2)?.str("advance")?.u64(*to)?;
        }
        Call::ProveOwner => {
            e.array(1)?.str("prove owner")?;
        }
    }
    Ok(())
}

fn decode_call(d: &mut Decoder<'_>) -> Decoded<Call> {
    d.array()?;
    Ok(match d.str()? {
        "choose" => {
            let pcrs = match d.str()? {
                "" => PcrChoice::Default,
                given => PcrChoice::Given(given.parse().map_err(|_| unknown())?),
            };
            let null = d.datatype()? == minicbor::data::Type::Null;
            let secure_boot = if null { d.null().map(|()| None)? } else { Some(d.bool()?) };
            Call::Choose { pcrs, boot: BootFacts { secure_boot } }
        }
        "create" => Call::Create { scope: scope(d.bytes()?)?, label: d.bytes()?.to_vec() },
        "open" => Call::Open {
            scope: scope(d.bytes()?)?,
            key: KeyRef(d.bytes()?.to_vec()),
            blob: d.bytes()?.to_vec(),
        },
        "state" => Call::State { key: KeyRef(d.bytes()?.to_vec()) },
        "destroy" => Call::Destroy { key: KeyRef(d.bytes()?.to_vec()) },
        "enroll" => Call::Enroll,
        "head" => Call::Head,
        "advance" => Call::Advance { to: d.u64()? },
        "prove owner" => Call::ProveOwner,
        _ => return Err(unknown()),
    })
}

fn scope(bytes: &[u8]) -> Decoded<Scope> {
    let mut d = Decoder::new(bytes);
    d.array()?;
    let identifier = |bytes: &[u8]| bytes.try_into().map_err(|_| unknown());
    Ok(Scope {
        fleet: identifier(d.bytes()?)?,
        node: identifier(d.bytes()?)?,
        domain: d.str()?.to_owned(),
        epoch: d.u64()?,
    })
}

impl Reply {
    /// Its public frame and its secret.
    pub(super) fn encode(&self) -> (Vec<u8>, Option<&Secret>) {
        let public = cbor(|e| match self {
            Self::Wish(Wish::Read(name)) => e.array(2)?.str("read")?.str(name).map(drop),
            Self::Wish(Wish::Names(prefix)) => e.array(2)?.str("names")?.str(prefix).map(drop),
            Self::Wish(Wish::Write(name, value)) => {
                e.array(3)?.str("write")?.str(name)?;
                optional(e, value.as_deref())
            }
            Self::Wish(Wish::Ask { new }) => e.array(2)?.str("ask")?.bool(*new).map(drop),
            Self::End(Ok(Answer::Pcrs(pcrs))) => e.array(2)?.str("pcrs")?.str(pcrs).map(drop),
            Self::End(Ok(Answer::Created(made))) => {
                e.array(3)?.str("created")?.bytes(&made.key.0)?.bytes(&made.blob).map(drop)
            }
            Self::End(Ok(Answer::Nek(_))) => e.array(1)?.str("nek").map(drop),
            Self::End(Ok(Answer::State(state))) => {
                e.array(2)?.str("state")?.u8(state_number(*state)).map(drop)
            }
            Self::End(Ok(Answer::Head(value))) => e.array(2)?.str("head")?.u64(*value).map(drop),
            Self::End(Ok(Answer::Done)) => e.array(1)?.str("done").map(drop),
            Self::End(Err(error)) => {
                e.array(3)?.str("error")?;
                match error {
                    ProviderError::Tpm(error) => {
                        e.str("tpm")?.str(&json(error).unwrap_or_default())
                    }
                    ProviderError::WrongPin => e.str("pin")?.str(""),
                    ProviderError::Weak(text) => e.str("weak")?.str(text),
                    other => e.str("other")?.str(&other.to_string()),
                }
                .map(drop)
            }
        });
        let secret = match self {
            Self::End(Ok(Answer::Nek(nek))) => Some(nek),
            Self::End(Ok(Answer::Created(made))) => Some(&made.nek),
            _ => None,
        };
        (public, secret)
    }

    /// `None` if it is not one.
    pub(super) fn decode(public: &[u8], secret: Secret) -> Option<Self> {
        let mut d = Decoder::new(public);
        let decode = || -> Decoded<Self> {
            d.array()?;
            Ok(match d.str()? {
                "read" => Self::Wish(Wish::Read(d.str()?.to_owned())),
                "names" => Self::Wish(Wish::Names(d.str()?.to_owned())),
                "write" => Self::Wish(Wish::Write(d.str()?.to_owned(), value(&mut d)?)),
                "ask" => Self::Wish(Wish::Ask { new: d.bool()? }),
                "pcrs" => Self::End(Ok(Answer::Pcrs(d.str()?.to_owned()))),
                "created" => {
                    let (key, blob) = (KeyRef(d.bytes()?.to_vec()), d.bytes()?.to_vec());
                    Self::End(Ok(Answer::Created(Created { key, blob, nek: secret })))
                }
                "nek" => Self::End(Ok(Answer::Nek(secret))),
                "state" => {
                    let number = d.u8()?;
                    let state = STATES.into_iter().find(|state| state_number(*state) == number);
                    Self::End(Ok(Answer::State(state.ok_or_else(unknown)?)))
                }
                "head" => Self::End(Ok(Answer::Head(d.u64()?))),
                "done" => Self::End(Ok(Answer::Done)),
                "error" => {
                    let (kind, text) = (d.str()?, d.str()?);
                    Self::End(Err(match kind {
                        "tpm" => ProviderError::Tpm(
                            serde_json::from_str(text)
                                .unwrap_or_else(|_| TpmError::Helper(GARBLED.into())),
                        ),
                        "pin" => ProviderError::WrongPin,
                        "weak" => ProviderError::Weak(text.to_owned()),
                        _ => ProviderError::Tpm(TpmError::Helper(format!("failed: {text}"))),
                    }))
                }
                _ => return Err(unknown()),
            })
        };
        decode().ok()
    }
}

impl Grant {
    /// Its public frame and its secret.
    pub(super) fn encode(&self) -> (Vec<u8>, Option<&Secret>) {
        let public = cbor(|e| match self {
            Self::Value(value) => {
                e.array(2)?.str("value")?;
                optional(e, value.as_deref())
            }
            Self::Names(names) => {
                e.array(2)?.str("names")?.array(names.len() as u64)?;
                names.iter().try_for_each(|name| e.str(name).map(drop))
            }
            Self::Done => e.array(1)?.str("done").map(drop),
            Self::Secret(_) => e.array(1)?.str("secret").map(drop),
            Self::Failed => e.array(1)?.str("failed").map(drop),
        });
        let secret = if let Self::Secret(secret) = self { Some(secret) } else { None };
        (public, secret)
    }

    /// `None` if it is not one.
    pub(super) fn decode(public: &[u8], secret: Secret) -> Option<Self> {
        let mut d = Decoder::new(public);
        let decode = || -> Decoded<Self> {
            d.array()?;
            Ok(match d.str()? {
                "value" => Self::Value(value(&mut d)?),
                "names" => {
                    let count = d.array()?.unwrap_or(0);
                    let names = (0..count).map(|_| d.str().map(str::to_owned));
                    Self::Names(names.collect::<Decoded<_>>()?)
                }
                "done" => Self::Done,
                "secret" => Self::Secret(secret),
                "failed" => Self::Failed,
                _ => return Err(unknown()),
            })
        };
        decode().ok()
    }
}

/// Said of a process whose words make no sense.
pub(super) const GARBLED: &str = "gave an answer that makes no sense";

const STATES: [KeyState; 5] = [
    KeyState::Active,
    KeyState::Disabled,
    KeyState::PendingDestroy,
    KeyState::Destroyed,
    KeyState::Unknown,
];

fn state_number(state: KeyState) -> u8 {
    match state {
        KeyState::Active => 0,
        KeyState::Disabled => 1,
        KeyState::PendingDestroy => 2,
        KeyState::Destroyed => 3,
        KeyState::Unknown => 4,
    }
}

fn optional(e: &mut Encoder<&mut Vec<u8>>, value: Option<&[u8]>) -> Written {
    match value {
        Some(value) => e.bytes(value)?,
        None => e.null()?,
    };
    Ok(())
}

fn value(d: &mut Decoder<'_>) -> Decoded<Option<Vec<u8>>> {
    if d.datatype()? == minicbor::data::Type::Null {
        return d.null().map(|()| None);
    }
    Ok(Some(d.bytes()?.to_vec()))
}

fn json(value: &impl serde::Serialize) -> Result<String, TpmError> {
    serde_json::to_string(value).map_err(|error| TpmError::Helper(format!("failed: {error}")))
}

fn unknown() -> minicbor::decode::Error {
    minicbor::decode::Error::message("unknown value")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors arrive as they left, codes and all.
    #[test]
    fn errors_keep_their_codes() {
        let errors = [
            TpmError::Refused { doing: "read a key slot".into(), code: 0x921 },
            TpmError::Unreachable { tcti: "device:/dev/tpmrm0".into(), code: 0xa_000a },
            TpmError::NotApproved { changed: vec![4, 8] },
            TpmError::Lacks("a session".into()),
            TpmError::Foreign,
        ];
        for error in errors {
            let reply = Reply::End(Err(ProviderError::Tpm(error.clone())));
            let (public, secret) = reply.encode();
            assert!(secret.is_none());
            match Reply::decode(&public, Secret::zeroed(0)) {
                Some(Reply::End(Err(ProviderError::Tpm(arrived)))) => assert_eq!(arrived, error),
                _ => panic!("{error} did not arrive"),
            }
        }
    }

    #[test]
    fn a_nek_travels_only_in_the_secret_frame() {
        let nek = [0x5a; 32];
        let reply = Reply::End(Ok(Answer::Nek(Secret::from_slice(&nek))));
        let (public, secret) = reply.encode();
        assert!(!public.windows(4).any(|run| run == [0x5a; 4]));
        let mut bytes = Vec::new();
        send(&mut bytes, &public, secret).unwrap();
        let (public, secret) = receive(&mut &bytes[..]).unwrap();
        match Reply::decode(&public, secret) {
            Some(Reply::End(Ok(Answer::Nek(arrived)))) => assert!(arrived.matches(&nek)),
            _ => panic!("it did not arrive"),
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(receive(&mut &[0xff; 8][..]).is_err());
        assert!(receive(&mut &[0, 0, 0, 9, 1][..]).is_err());
        for bytes in [&b""[..], b"\x81", b"\x81\x61x", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(parse_request(bytes).is_none());
            assert!(Reply::decode(bytes, Secret::zeroed(0)).is_none());
            assert!(Grant::decode(bytes, Secret::zeroed(0)).is_none());
        }
    }
}
