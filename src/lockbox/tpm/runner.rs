// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`TpmRunner`]: in which process the TPM library runs.
//!
//! The library leaves copies of what it carries on its heap and prints what it thinks. So the
//! command holds every conversation in a short-lived child process: the copies die with it, its
//! words reach nobody, and a TPM that hangs is given up. The child keeps nothing; notes and
//! questions go back to the parent ([`super::wire`]).

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::wire::{self, Answer, Call, GARBLED, Grant, Reply, Wish};
use super::{TpmConfig, TpmError, perform};
use crate::lockbox::faults::Faults;
use crate::lockbox::provider::{Ask, Notes, Place, Prompt, PromptError, ProviderError};
use crate::lockbox::store::StoreError;
use crate::secret::Secret;

/// The hidden sub-command of a program that can be the child: it calls [`serve_child`].
pub const CHILD_VERB: &str = "tpm-conversation";
/// How long the child may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where conversations with the TPM are held.
#[derive(Clone, Debug, Default)]
pub enum TpmRunner {
    /// In this process. What the TPM library leaves in memory stays until the process ends.
    #[default]
    InProcess,
    /// In a child process for each call.
    Child(ChildProgram),
}

/// A program that serves conversations when it is run with [`CHILD_VERB`].
#[derive(Clone, Debug)]
pub struct ChildProgram {
    program: PathBuf,
    arguments: Vec<OsString>,
    patience: Duration,
}

impl ChildProgram {
    /// This very program.
    #[must_use]
    pub fn this() -> Self {
        Self::new(Path::new("/proc/self/exe"))
    }

    /// Another program.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self { program: program.to_owned(), arguments: vec![CHILD_VERB.into()], patience: PATIENCE }
    }

    /// Waits that long for each of the child's messages; one minute otherwise.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn start(&self) -> io::Result<(Running, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(self.patience))?;
        ours.set_write_timeout(Some(self.patience))?;
        let input = OwnedFd::from(theirs.try_clone()?);
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env("TSS2_LOG", "all+NONE")
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .spawn()?;
        Ok((Running(child), ours))
    }
}

/// Ends with this value, whatever it is doing: it has answered, or is not going to.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl TpmRunner {
    pub(super) fn run(
        &self,
        config: &TpmConfig,
        place: &mut Place<'_>,
        call: Call,
    ) -> Result<Answer, ProviderError> {
        match self {
            Self::InProcess => perform(config, place, call),
            Self::Child(program) => converse(program, config, place, &call),
        }
    }

    /// As [`TpmRunner::run`], for a call that needs neither notes nor answers.
    pub(super) fn run_alone(&self, config: &TpmConfig, call: Call) -> Result<Answer, TpmError> {
        let faults = Faults::none();
        let mut place =
            Place { notes: &mut Nothing, prompt: &Nothing, faults: &faults, dir: Path::new("/") };
        self.run(config, &mut place, call).map_err(|error| match error {
            ProviderError::Tpm(error) => error,
            other => TpmError::Helper(format!("failed: {other}")),
        })
    }
}

/// The parent's side.
fn converse(
    program: &ChildProgram,
    config: &TpmConfig,
    place: &mut Place<'_>,
    call: &Call,
) -> Result<Answer, ProviderError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            TpmError::TimedOut(program.patience.as_secs())
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => TpmError::Helper("ended without an answer".into()),
        _ => TpmError::Helper(format!("cannot be spoken with: {error}")),
    };
    let (_running, mut link) = program
        .start()
        .map_err(|error| TpmError::Helper(format!("could not be started: {error}")))?;
    wire::send(&mut link, &wire::request(config, call)?, None).map_err(failed)?;
    let mut why = None;
    loop {
        let (public, secret) = wire::receive(&mut link).map_err(failed)?;
        let reply =
            Reply::decode(&public, secret).ok_or_else(|| TpmError::Helper(GARBLED.into()))?;
        let wish = match reply {
            Reply::Wish(wish) => wish,
            // What went wrong here is the cause of whatever went wrong there.
            Reply::End(result) => return why.map_or(result, Err),
        };
        let grant = grant(place, wish).unwrap_or_else(|error| {
            why = Some(error);
            Grant::Failed
        });
        let (public, secret) = grant.encode();
        wire::send(&mut link, &public, secret).map_err(failed)?;
    }
}

fn grant(place: &mut Place<'_>, wish: Wish) -> Result<Grant, ProviderError> {
    Ok(match wish {
        Wish::Read(name) => Grant::Value(place.notes.read(&name)?),
        Wish::Names(prefix) => Grant::Names(place.notes.names(&prefix)?),
        Wish::Write(name, value) => {
            place.notes.write("note about the TPM", &name, value.as_deref())?;
            Grant::Done
        }
        Wish::Ask { new } => {
            let dir = place.dir;
            let ask = if new { Ask::NewAdminPin { dir } } else { Ask::AdminPin { dir } };
            Grant::Secret(place.prompt.ask(&ask)?)
        }
    })
}

/// The child's side: reads one request, holds the conversation, answers. The caller has turned
/// off core dumps and ends the process afterwards.
///
/// # Errors
/// The parent is gone, or what it said makes no sense.
pub fn serve_child(
    mut input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    let garbled = || io::Error::new(io::ErrorKind::InvalidData, "not a request");
    let (request, _) = wire::receive(&mut input)?;
    let (config, call) = wire::parse_request(&request).ok_or_else(garbled)?;
    let link = Link(Arc::new(Mutex::new((Box::new(input), Box::new(output)))));
    let (mut notes, faults) = (link.clone(), Faults::none());
    let mut place =
        Place { notes: &mut notes, prompt: &link, faults: &faults, dir: Path::new("/") };
    let end = Reply::End(perform(&config, &mut place, call));
    let (public, secret) = end.encode();
    wire::send(&mut link.lock().1, &public, secret)
}

type Streams = (Box<dyn Read + Send>, Box<dyn Write + Send>);

/// The child's way to the parent's notes and prompt.
#[derive(Clone)]
struct Link(Arc<Mutex<Streams>>);

impl Link {
    fn wish(&self, wish: Wish) -> Option<Grant> {
        let mut streams = self.lock();
        let wish = Reply::Wish(wish);
        wire::send(&mut streams.1, &wish.encode().0, None).ok()?;
        let (public, secret) = wire::receive(&mut streams.0).ok()?;
        Grant::decode(&public, secret)
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes for Link {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        match self.wish(Wish::Read(name.to_owned())) {
            Some(Grant::Value(value)) => Ok(value),
            _ => Err(refused()),
        }
    }

    fn names(&self, prefix: &str) -> Result<Vec<String>, ProviderError> {
        match self.wish(Wish::Names(prefix.to_owned())) {
            Some(Grant::Names(names)) => Ok(names),
            _ => Err(refused()),
        }
    }

    fn write(
        &mut self,
        _: &'static str,
        name: &str,
        value: Option<&[u8]>,
    ) -> Result<(), ProviderError> {
        match self.wish(Wish::Write(name.to_owned(), value.map(<[u8]>::to_vec))) {
            Some(Grant::Done) => Ok(()),
            _ => Err(refused()),
        }
    }
}

impl Prompt for Link {
    fn ask(&self, ask: &Ask<'_>) -> Result<Secret, PromptError> {
        match self.wish(Wish::Ask { new: matches!(ask, Ask::NewAdminPin { .. }) }) {
            Some(Grant::Secret(secret)) => Ok(secret),
            _ => Err(PromptError::Nobody),
        }
    }
}

/// The parent knows why and says it.
fn refused() -> ProviderError {
    ProviderError::Store(StoreError::Other("the parent process refused".into()))
}

/// For calls without notes.
struct Nothing;

impl Notes for Nothing {
    fn read(&self, _: &str) -> Result<Option<Vec<u8>>, ProviderError> {
        Ok(None)
    }

    fn names(&self, _: &str) -> Result<Vec<String>, ProviderError> {
        Ok(Vec::new())
    }

    fn write(&mut self, _: &'static str, _: &str, _: Option<&[u8]>) -> Result<(), ProviderError> {
        Err(refused())
    }
}

impl Prompt for Nothing {
    fn ask(&self, _: &Ask<'_>) -> Result<Secret, PromptError> {
        Err(PromptError::Nobody)
    }
}
