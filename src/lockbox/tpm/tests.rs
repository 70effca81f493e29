// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider against a software TPM with its parts in view: what goes over the bus, what a
//! retired slot leaves, and that the digests computed here are the TPM's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, ObjectHandle};
use tss_esapi::interface_types::resource_handles::NvAuth;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, Name, Nonce};

use super::*;
use crate::lockbox::faults::Faults;
use crate::lockbox::provider::{Ask, Notes, Prompt, PromptError};

#[path = "../../../tests/support/swtpm.rs"]
mod swtpm;
use swtpm::{Direction, Swtpm};

const PIN: &[u8] = b"271828";

#[derive(Clone, Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Notes for Memory {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        Ok(self.0.get(name).cloned())
    }

    fn names(&self, prefix: &str) -> Result<Vec<String>, ProviderError> {
        Ok(self.0.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }

    fn write(
        &mut self,
        _: &'static str,
        name: &str,
        value: Option<&[u8]>,
    ) -> Result<(), ProviderError> {
        match value {
            Some(value) => self.0.insert(name.to_owned(), value.to_vec()),
            None => self.0.remove(name),
        };
        Ok(())
    }
}

struct Pin(&'static [u8]);

impl Prompt for Pin {
    fn ask(&self, _: &Ask<'_>) -> Result<Secret, PromptError> {
        Ok(Secret::from_slice(self.0))
    }
}

/// A TPM, a provider on it, and its notes.
struct Bench {
    tpm: Swtpm,
    provider: TpmProvider,
    notes: Memory,
    pin: Pin,
}

impl Bench {
    fn new(admin_pin: bool) -> Option<Self> {
        let tpm = Swtpm::start()?;
        let tcti = tpm.tcti().parse().unwrap();
        let config =
            TpmConfig::choose(tcti, PcrChoice::Default, BootFacts::default(), admin_pin).unwrap();
        let provider = TpmProvider::new(config, TpmRunner::InProcess);
        Some(Self { tpm, provider, notes: Memory::default(), pin: Pin(PIN) })
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut TpmProvider, &mut Place<'_>) -> T) -> T {
        let faults = Faults::none();
        let mut place = Place {
            notes: &mut self.notes,
            prompt: &self.pin,
            faults: &faults,
            dir: Path::new("/"),
        };
        call(&mut self.provider, &mut place)
    }

    fn create(&mut self, epoch: u64) -> Created {
        let label = format!("label {epoch}");
        self.with(|tpm, place| tpm.create(place, &scope(epoch), label.as_bytes())).unwrap()
    }

    fn open(&mut self, epoch: u64, made: &Created) -> Result<Secret, ProviderError> {
        self.with(|tpm, place| tpm.open(place, &scope(epoch), &made.key, &made.blob))
    }

    /// Holds a conversation with the pinned parent.
    fn talk<T>(
        &mut self,
        talk: impl Fn(&mut conversation::Conversation) -> Result<T, TpmError>,
    ) -> T {
        let parent = self.with(|_, place| notes::parent(place)).unwrap().unwrap();
        conversation::hold(&self.provider.config.tcti, &parent, talk).unwrap()
    }

    /// The slot's bytes and the key's answer, read as the provider reads them, or with the
    /// session's encryption left off.
    fn parts(&mut self, made: &Created, encrypted: bool) -> (Vec<u8>, Vec<u8>) {
        let (bound, handle) = self.bound();
        let master = notes::Blob::parse(&made.blob).unwrap();
        let pcrs = self.provider.config.pcrs.clone();
        self.talk(|talk| {
            let index = slot::raw_index(talk, handle)?;
            let key = talk.load(&master, "load")?;
            let hash = talk.suite().hash_algorithm();
            let (session, policy) = talk.policy_session()?;
            let (attributes, mask) = SessionAttributesBuilder::new()
                .with_continue_session(true)
                .with_decrypt(encrypted)
                .with_encrypt(encrypted)
                .build();
            talk.context().tr_sess_set_attributes(session, attributes, mask).unwrap();
            let input = cbor(|e| {
                e.array(3)?.str("opalbox-nek")?.str("drives")?.u64(1)?;
                Ok(())
            });
            policy::satisfy(talk, policy, &pcrs, &bound.borrow())?;
            let mac = talk.context().execute_with_session(Some(session), |context| {
                context.hmac(key.into(), input.clone().try_into().unwrap(), hash).unwrap()
            });
            policy::satisfy(talk, policy, &pcrs, &bound.borrow())?;
            let share = talk.context().execute_with_session(Some(session), |context| {
                context.nv_read(NvAuth::NvIndex(index), index, 32, 0).unwrap()
            });
            talk.end(session)?;
            talk.flush(ObjectHandle::from(key))?;
            Ok((share.value().to_vec(), mac.value().to_vec()))
        })
    }

    fn bound(&mut self) -> (OwnedBound, u32) {
        self.with(|_, place| {
            let parent = notes::parent(place).unwrap().unwrap();
            let enrolment = notes::enrolment(place).unwrap().unwrap();
            let bound = OwnedBound {
                key_name: enrolment.name(parent.suite),
                reference: policy::reference(notes::CLASS, 1),
                approvals: notes::approvals(place, notes::CLASS, 1).unwrap(),
            };
            (bound, notes::slot(place, "drives", 0).unwrap().unwrap().handle)
        })
    }
}

struct OwnedBound {
    key_name: Vec<u8>,
    reference: Vec<u8>,
    approvals: Vec<policy::Approval>,
}

impl OwnedBound {
    fn borrow(&self) -> policy::Bound<'_> {
        policy::Bound {
            key_name: &self.key_name,
            reference: &self.reference,
            approvals: &self.approvals,
        }
    }
}

fn scope(epoch: u64) -> Scope {
    Scope { fleet: [1; 16], node: [2; 16], domain: "drives".into(), epoch }
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn code(error: &ProviderError) -> Option<u32> {
    match error {
        ProviderError::Tpm(error) => error.code(),
        _ => None,
    }
}

#[test]
fn a_label_gives_one_key() {
    let Some(mut bench) = Bench::new(false) else { return };
    assert!(bench.with(|tpm, place| tpm.lookup(place, b"label 1")).unwrap().is_none());
    let made = bench.create(1);
    let again = bench.create(1);
    assert!(made.nek.matches(again.nek.expose()));
    assert_eq!(made.key, again.key);
    let found = bench.with(|tpm, place| tpm.lookup(place, b"label 1")).unwrap();
    assert_eq!(found, Some(made.key.clone()));
    assert!(bench.open(1, &made).unwrap().matches(made.nek.expose()));
    let nonce = b"a registrar's nonce";
    let proof =
        bench.with(|tpm, place| tpm.prove(place, &scope(1), &made.key, &made.blob, nonce)).unwrap();
    assert_eq!(proof, crate::lockbox::EpochKeys::new(scope(1), made.nek).prove(nonce));
}

/// Two slots take turns; a destroyed epoch does not open from any copy taken before.
#[test]
fn a_retired_epoch_opens_nowhere() {
    let Some(mut bench) = Bench::new(false) else { return };
    let one = bench.create(1);
    let before = bench.notes.clone();
    let two = bench.create(2);
    assert!(!one.nek.matches(two.nek.expose()));
    assert!(bench.open(1, &one).unwrap().matches(one.nek.expose()), "both are open meanwhile");
    let full = bench.with(|tpm, place| tpm.create(place, &scope(3), b"label 3"));
    assert!(matches!(full, Err(ProviderError::Tpm(TpmError::NoIdleSlot))));

    let state = |bench: &mut Bench, key| bench.with(|tpm, place| tpm.state(place, key)).unwrap();
    assert_eq!(state(&mut bench, &one.key), KeyState::Active);
    for _ in 0..2 {
        bench.with(|tpm, place| tpm.destroy(place, &one.key, &one.blob)).unwrap();
    }
    assert_eq!(state(&mut bench, &one.key), KeyState::Destroyed);
    assert!(bench.open(1, &one).is_err());
    assert!(bench.open(2, &two).unwrap().matches(two.nek.expose()));

    // Everything the thief has from before: notes, approvals, blobs. The TPM still answers, with
    // another key, which the epoch's tag then refuses.
    let after = std::mem::replace(&mut bench.notes, before);
    let stale = bench.open(1, &one).unwrap();
    assert!(!stale.matches(one.nek.expose()));
    bench.notes = after;
    let three = bench.create(3);
    assert!(bench.open(3, &three).unwrap().matches(three.nek.expose()));
}

/// Nothing that makes the key is on the bus, in provisioning, use, rotation or retirement; and
/// the same scan finds it at once when a session does not encrypt.
#[test]
fn the_bus_carries_no_secret() {
    let Some(mut bench) = Bench::new(true) else { return };
    bench.tpm.take_recording();
    let one = bench.create(1);
    bench.open(1, &one).unwrap();
    bench.with(TpmProvider::enroll).unwrap();
    let (share, mac) = bench.parts(&one, true);
    let two = bench.create(2);
    bench.with(|tpm, place| tpm.destroy(place, &two.key, &two.blob)).unwrap();
    let recording = bench.tpm.take_recording();
    let (owner, lockout) = authorisations(&mut bench);
    assert!(recording.len() > 10_000);
    for (name, secret) in [
        ("share", &share[..]),
        ("key's answer", &mac),
        ("NEK", one.nek.expose()),
        ("owner authorisation", owner.expose()),
        ("lockout authorisation", lockout.expose()),
        ("PIN", PIN),
    ] {
        assert!(!holds(&recording, secret), "{name} is on the bus");
        assert!(!holds(&recording, &secret[..secret.len().min(16)]), "part of {name}");
    }

    bench.tpm.take_recording();
    let (share_again, mac_again) = bench.parts(&one, false);
    assert_eq!((&share_again, &mac_again), (&share, &mac));
    let recording = bench.tpm.take_recording();
    assert!(holds(&recording, &share) && holds(&recording, &mac), "the scan sees what is there");
}

fn authorisations(bench: &mut Bench) -> (Secret, Secret) {
    let config = bench.provider.config.clone();
    bench.with(|_, place| {
        let parent = notes::parent(place).unwrap().unwrap();
        let sealed = notes::admin_box(place).unwrap().unwrap();
        let pin = provision::pin_auth(&Secret::from_slice(PIN));
        provision::open_admin_box(&config, &parent, &sealed, &pin).unwrap()
    })
}

/// A flipped bit in any answer is noticed or harmless: never another key, never a leak, and the
/// next conversation works.
#[test]
fn altered_answers_are_noticed() {
    let Some(mut bench) = Bench::new(false) else { return };
    let made = bench.create(1);
    let (share, mac) = bench.parts(&made, true);
    bench.tpm.take_commands();
    bench.open(1, &made).unwrap();
    let commands = bench.tpm.take_commands();
    assert_eq!(commands.len(), 12);
    let mut noticed = 0;
    for (n, command) in commands.iter().enumerate() {
        for from_end in [1, 20, 70] {
            bench.tpm.take_recording();
            let mut left = n;
            bench.tpm.meddle(move |direction, frame| {
                if direction == Direction::Response {
                    if left == 0 && frame.len() > 10 + from_end {
                        let at = frame.len() - from_end;
                        frame[at] ^= 1;
                    }
                    left = left.wrapping_sub(1);
                }
            });
            let result = bench.open(1, &made);
            bench.tpm.meddle_no_more();
            match &result {
                Ok(nek) => assert!(nek.matches(made.nek.expose()), "{command:#x} -{from_end}"),
                Err(_) => noticed += 1,
            }
            // The HMAC key's answer and the slot's bytes: always noticed, as tampering.
            if matches!(command, 0x155 | 0x14e) {
                let error = result.err().expect("noticed");
                assert_eq!(code(&error), Some(0x7_001b), "{error}");
                assert!(error.advice().contains("tampering"));
            }
            let recording = bench.tpm.take_recording();
            assert!(!holds(&recording, &share) && !holds(&recording, &mac));
            assert!(bench.open(1, &made).unwrap().matches(made.nek.expose()), "{command:#x}");
        }
    }
    assert!(noticed >= 12, "{noticed}");
}

/// An attacker on the bus answers any one command with an error, so that the library drops a
/// session's encryption: no later command leaks.
#[test]
fn forged_errors_leak_nothing() {
    let Some(mut bench) = Bench::new(false) else { return };
    let made = bench.create(1);
    let (share, mac) = bench.parts(&made, true);
    for forged in [0x101_u32, 0x922, 0x128, 0x99d] {
        for n in 0..14_usize {
            bench.tpm.take_recording();
            let mut left = n;
            bench.tpm.meddle(move |direction, frame| {
                if direction == Direction::Response {
                    if left == 0 {
                        *frame = [&[0x80, 1, 0, 0, 0, 10][..], &forged.to_be_bytes()].concat();
                    }
                    left = left.wrapping_sub(1);
                }
            });
            if let Ok(nek) = bench.open(1, &made) {
                assert!(nek.matches(made.nek.expose()));
            }
            bench.tpm.meddle_no_more();
            let recording = bench.tpm.take_recording();
            assert!(!holds(&recording, &share) && !holds(&recording, &mac), "{forged:#x} {n}");
        }
    }
    assert!(bench.open(1, &made).unwrap().matches(made.nek.expose()));
}

/// The public area of another key in the parent's place: its Name is not the pinned one.
#[test]
fn a_swapped_parent_is_refused() {
    let (Some(mut bench), Some(mut other)) = (Bench::new(false), Bench::new(false)) else { return };
    let made = bench.create(1);
    let theirs = other.create(1);
    let captured = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&captured);
    other.tpm.meddle(move |direction, frame| {
        let mut kept = keep.lock().unwrap();
        if direction == Direction::Response && kept.is_empty() {
            kept.clone_from(frame);
        }
    });
    other.open(1, &theirs).unwrap();
    let swapped = captured.lock().unwrap().clone();
    let mut first = true;
    bench.tpm.meddle(move |direction, frame| {
        if direction == Direction::Response && std::mem::take(&mut first) {
            frame.clone_from(&swapped);
        }
    });
    let error = bench.open(1, &made).err().unwrap();
    assert!(matches!(error, ProviderError::Tpm(TpmError::Foreign)), "{error}");
}

/// A Name is kept when an index is undefined and defined anew, the bytes are not.
#[test]
fn a_slot_defined_anew_gives_no_key() {
    let Some(mut bench) = Bench::new(false) else { return };
    let made = bench.create(1);
    let (_, handle) = bench.bound();
    let mut body = 0x4000_0001_u32.to_be_bytes().to_vec();
    body.extend(handle.to_be_bytes());
    body.extend(swtpm::PASSWORD_SESSION);
    bench.tpm.command(0x8002, 0x122, &body);
    let gone = bench.open(1, &made).err().unwrap();
    assert!(matches!(gone, ProviderError::Tpm(TpmError::SlotChanged)), "{gone}");
    let state = bench.with(|tpm, place| tpm.state(place, &made.key)).unwrap();
    assert_eq!(state, KeyState::Destroyed);
}

/// The owner hierarchy of someone else is left alone.
#[test]
fn a_taken_owner_hierarchy_is_refused() {
    let Some(mut bench) = Bench::new(false) else { return };
    let mut body = 0x4000_0001_u32.to_be_bytes().to_vec();
    body.extend(swtpm::PASSWORD_SESSION);
    body.extend([0, 4, b'm', b'i', b'n', b'e']);
    bench.tpm.command(0x8002, 0x129, &body);
    let taken = bench.with(|tpm, place| tpm.create(place, &scope(1), b"label")).err().unwrap();
    assert!(matches!(taken, ProviderError::Tpm(TpmError::OwnerTaken)), "{taken}");
    assert!(bench.notes.0.is_empty());
}

/// The digests computed in software are those of the TPM's own trial sessions.
#[test]
fn digests_are_the_tpms_own() {
    let Some(mut bench) = Bench::new(false) else { return };
    bench.create(1);
    let (bound, _) = bench.bound();
    let name = Name::try_from(bound.key_name.clone()).unwrap();
    let expected = bench.talk(|talk| {
        let suite = talk.suite();
        let trial = talk.session(SessionType::Trial)?;
        let trial = PolicySession::try_from(trial).unwrap();
        let context = talk.context();
        context.execute_with_session(Some(AuthSession::Password), |context| {
            context
                .policy_secret(
                    trial,
                    AuthHandle::Owner,
                    Nonce::default(),
                    Digest::default(),
                    Nonce::default(),
                    None,
                )
                .unwrap()
        });
        let owner = context.policy_get_digest(trial).unwrap();
        assert_eq!(owner.value(), policy::owner_digest(suite));
        Ok(suite)
    });
    let computed = policy::authorize_digest(expected, &bound.key_name, &bound.reference);
    let actual = bench.talk(|talk| {
        let (session, policy) = talk.policy_session()?;
        let pcrs: PcrSelection = "4,7,8,9".parse().unwrap();
        policy::satisfy(talk, policy, &pcrs, &bound.borrow())?;
        let digest = talk.context().policy_get_digest(policy).unwrap();
        talk.end(session)?;
        Ok(digest.value().to_vec())
    });
    assert_eq!(actual, computed);
    assert!(!name.value().is_empty());
}

/// What killed conversations left loaded is swept away on a TPM without a resource manager.
#[test]
fn leftovers_are_swept() {
    let Some(mut bench) = Bench::new(false) else { return };
    let made = bench.create(1);
    for _ in 0..3 {
        // TPM2_StartAuthSession, unsalted: a session each, never flushed.
        let mut body = 0x4000_0007_u32.to_be_bytes().repeat(2);
        body.extend([0, 16]);
        body.extend([7; 16]);
        body.extend([0, 0, 0, 0, 0x10, 0, 0x0b]);
        bench.tpm.command(0x8001, 0x176, &body);
    }
    assert!(bench.open(1, &made).unwrap().matches(made.nek.expose()));
}

/// Busy answers pass; an answer that does not pass ends in a bounded time with its cause.
#[test]
fn a_busy_tpm_is_waited_for_and_not_for_ever() {
    let Some(mut bench) = Bench::new(false) else { return };
    let made = bench.create(1);
    let mut answers = 0;
    bench.tpm.meddle(move |direction, frame| {
        if direction == Direction::Response {
            answers += 1;
            if answers == 4 {
                *frame = vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0x09, 0x20];
            }
        }
    });
    assert!(bench.open(1, &made).is_ok());
    bench.tpm.meddle(|direction, frame| {
        if direction == Direction::Response {
            *frame = vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0x09, 0x20];
        }
    });
    let start = std::time::Instant::now();
    let error = bench.open(1, &made).err().unwrap();
    assert_eq!(code(&error), Some(0x920), "{error}");
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
    assert!(error.advice().contains("Wait"));
}

/// Random bytes for answers: errors, never a panic and never a key.
#[test]
fn garbage_from_the_tpm_is_an_error() {
    let Some(mut bench) = Bench::new(false) else { return };
    let made = bench.create(1);
    for n in 0..30_u8 {
        let mut seed = u32::from(n) + 1;
        bench.tpm.meddle(move |direction, frame| {
            if direction == Direction::Response && !frame.is_empty() {
                for byte in frame.iter_mut().skip(6) {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if seed >> 29 == 0 {
                        *byte ^= (seed >> 16) as u8;
                    }
                }
            }
        });
        if let Ok(nek) = bench.open(1, &made) {
            assert!(nek.matches(made.nek.expose()));
        }
    }
    bench.tpm.meddle_no_more();
    assert!(bench.open(1, &made).is_ok());
}

/// Damaged notes and references are errors, not panics.
#[test]
fn damaged_notes_are_errors() {
    let Some(mut bench) = Bench::new(false) else { return };
    let made = bench.create(1);
    let good = bench.notes.clone();
    for name in good.0.keys() {
        for bad in
            [vec![], vec![0x9f; 40], vec![0xff], good.0[name][..good.0[name].len() / 2].to_vec()]
        {
            bench.notes = good.clone();
            bench.notes.0.insert(name.clone(), bad);
            match bench.open(1, &made) {
                Ok(nek) => assert!(nek.matches(made.nek.expose()), "{name}"),
                Err(error) => assert!(!error.advice().is_empty(), "{name}: {error}"),
            }
        }
    }
    bench.notes = good;
    for bad in [vec![], vec![0x82, 0x61], vec![0xff; 9]] {
        let key = KeyRef(bad.clone());
        assert!(bench.with(|tpm, p| tpm.open(p, &scope(1), &key, &made.blob)).is_err());
        assert!(bench.with(|tpm, p| tpm.open(p, &scope(1), &made.key, &bad)).is_err());
    }
}

/// A TPM that has no P-384 is used with P-256, from end to end.
#[test]
fn the_weaker_suite_works_where_it_must() {
    let Some(mut bench) = Bench::new(false) else { return };
    let mut testing = false;
    let mut refusals = 1;
    bench.tpm.meddle(move |direction, frame| {
        // TPM2_TestParms; the first one asks for P-384.
        if direction == Direction::Command {
            testing = frame[6..10] == [0, 0, 1, 0x8a];
        } else if testing && refusals > 0 {
            refusals -= 1;
            *frame = vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0x01, 0xe6];
        }
    });
    let one = bench.create(1);
    let parent = bench.with(|_, place| notes::parent(place)).unwrap().unwrap();
    assert_eq!(parent.suite, Suite::P256);
    assert!(bench.open(1, &one).unwrap().matches(one.nek.expose()));
    bench.with(TpmProvider::enroll).unwrap();
    bench.tpm.take_recording();
    let (share, mac) = bench.parts(&one, true);
    bench.with(|tpm, place| tpm.destroy(place, &one.key, &one.blob)).unwrap();
    let recording = bench.tpm.take_recording();
    assert!(!holds(&recording, &share) && !holds(&recording, &mac));
}

/// A TPM without TPM2_HMAC is refused before anything is made in it.
#[test]
fn a_tpm_without_hmac_is_refused() {
    let Some(mut bench) = Bench::new(false) else { return };
    let mut asking = false;
    bench.tpm.meddle(move |direction, frame| {
        if direction == Direction::Command {
            asking = frame[6..10] == [0, 0, 1, 0x7a] && frame[10..14] == [0, 0, 0, 2];
        } else if asking {
            // The list now begins with the command after it.
            let last = frame.len() - 1;
            frame[last] += 1;
        }
    });
    let error = bench.with(|tpm, place| tpm.create(place, &scope(1), b"label")).err().unwrap();
    assert!(matches!(error, ProviderError::Tpm(TpmError::Lacks(_))), "{error}");
    assert!(bench.notes.0.is_empty());
}

/// Another program's key at the parent's usual handle is left alone.
#[test]
fn a_foreign_persistent_key_is_left_alone() {
    let Some(mut bench) = Bench::new(false) else { return };
    // A primary of another template, made persistent at the handle the parent would take.
    let foreign = conversation::bare(&bench.provider.config.tcti.clone(), |mut context| {
        let template = Suite::P256.parent().unwrap();
        context.set_sessions((Some(AuthSession::Password), None, None));
        let made = context
            .create_primary(
                tss_esapi::interface_types::resource_handles::Hierarchy::Owner,
                template,
                None,
                None,
                None,
                None,
            )
            .unwrap();
        let handle = tss_esapi::handles::PersistentTpmHandle::new(objects::PARENT_HANDLE).unwrap();
        context
            .evict_control(
                tss_esapi::interface_types::resource_handles::Provision::Owner,
                made.key_handle.into(),
                tss_esapi::interface_types::dynamic_handles::Persistent::Persistent(handle),
            )
            .unwrap();
        Ok(context.tr_get_name(made.key_handle.into()).unwrap().value().to_vec())
    })
    .unwrap();
    let made = bench.create(1);
    let parent = bench.with(|_, place| notes::parent(place)).unwrap().unwrap();
    assert_eq!(parent.handle, objects::PARENT_HANDLE + 1);
    assert_ne!(parent.name, foreign);
    assert!(bench.open(1, &made).is_ok());
}
