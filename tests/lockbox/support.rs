// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared by the lockbox's tests: prompts with fixed answers, quick lockboxes, scans.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use opalbox::lockbox::provider::{Ask, Prompt, PromptError, ProviderConfig};
use opalbox::lockbox::tpm::{BootFacts, PcrChoice, TpmConfig};
use opalbox::lockbox::{FileConfig, InitOptions, Lockbox, OpenOptions};
use opalbox::secret::Secret;

use crate::swtpm::Swtpm;

pub(crate) const PASSPHRASE: &str = "correct horse battery staple";
pub(crate) const PIN: &str = "271828";

/// Answers every question, and counts them.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) passphrase: Option<&'static str>,
    pub(crate) pin: Option<&'static str>,
    pub(crate) asked: AtomicUsize,
}

impl Answers {
    pub(crate) fn right() -> Arc<Self> {
        Arc::new(Self { passphrase: Some(PASSPHRASE), pin: Some(PIN), ..Self::default() })
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Prompt for Answers {
    fn ask(&self, ask: &Ask<'_>) -> Result<Secret, PromptError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = match ask {
            Ask::Passphrase { .. } | Ask::NewPassphrase { .. } => self.passphrase,
            _ => self.pin,
        };
        Ok(Secret::from_slice(answer.ok_or(PromptError::Declined)?.as_bytes()))
    }
}

pub(crate) fn file_provider() -> ProviderConfig {
    ProviderConfig::File(FileConfig { memory_kib: 64, passes: 1, lanes: 1 })
}

pub(crate) fn tpm_provider(tpm: &Swtpm, admin_pin: bool) -> ProviderConfig {
    let tcti = tpm.tcti().parse().unwrap();
    let config =
        TpmConfig::choose(tcti, PcrChoice::Default, BootFacts::default(), admin_pin).unwrap();
    ProviderConfig::Tpm(config)
}

/// A directory that a lockbox may be made in.
pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("box");
    (temp, dir)
}

pub(crate) fn file_box() -> (tempfile::TempDir, Lockbox) {
    let (temp, dir) = place();
    let lockbox = Lockbox::init(&dir, InitOptions::new(file_provider(), Answers::right())).unwrap();
    (temp, lockbox)
}

pub(crate) fn reopen(dir: &Path) -> Lockbox {
    let options = OpenOptions { prompt: Answers::right(), ..OpenOptions::default() };
    Lockbox::open(dir, options).unwrap()
}

/// Whether any file below `dir` holds `needle`.
pub(crate) fn any_file_holds(dir: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            any_file_holds(&path, needle)
        } else {
            holds(&std::fs::read(path).unwrap(), needle)
        }
    })
}

pub(crate) fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

pub(crate) fn pin(n: u8) -> Secret {
    Secret::from_slice(&[b'A' + n % 26; 32])
}
