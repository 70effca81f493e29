// SPDX-License-Identifier: MIT OR Apache-2.0
//! Downloads and unpacks Debian packages of any suite beside the host's own, without root.
//!
//! A private apt configuration with an empty package status stands below the cache folder; nothing
//! is installed and no file of the host's apt is written.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context as _, Error};
use crate::sources;

/// A private apt for one set of suites.
pub(crate) struct Apt {
    cache: PathBuf,
    folder: PathBuf,
}

impl Apt {
    /// Opens the apt of `name`, reading the archive's lists when it is new.
    pub(crate) fn open(cache: &Path, name: &str, suites: &[&str]) -> Result<Self, Error> {
        let apt = Self { cache: cache.to_owned(), folder: cache.join("apt").join(name) };
        let updated = apt.folder.join("updated");
        fs::create_dir_all(&apt.folder).context("creating the apt folder")?;
        let lock = File::create(apt.folder.join("lock")).context("locking apt's folder")?;
        lock.lock().context("waiting for another test to read the archive's lists")?;
        if updated.exists() {
            return Ok(apt);
        }
        for part in ["lists/partial", "archives/partial", "parts", "preferences"] {
            fs::create_dir_all(apt.folder.join(part)).context("creating the apt folders")?;
        }
        let text = sources::with_suites(&sources::read(Path::new("/etc/apt")), suites)
            .ok_or_else(|| apt.failed(name, "no Debian archive is configured in /etc/apt"))?;
        fs::write(apt.folder.join("debian.sources"), text).context("writing the apt sources")?;
        fs::write(apt.folder.join("status"), "").context("writing the apt status")?;
        fs::write(apt.folder.join("apt.conf"), apt.config()).context("writing apt.conf")?;
        apt.get(name, &["update", "-qq", "-o", "APT::Update::Error-Mode=any"], None)?;
        fs::write(updated, "").context("marking the apt lists")?;
        Ok(apt)
    }

    /// Unpacks `packages` and, of what they depend on, whatever `keep` accepts, into `into`.
    pub(crate) fn unpack(
        &self,
        release: Option<&str>,
        packages: &[&str],
        keep: fn(&str) -> bool,
        into: &Path,
    ) -> Result<(), Error> {
        let what = packages.join(" ");
        let mut arguments = vec!["install", "-y", "-s", "-qq"];
        arguments.extend(release.iter().flat_map(|release| ["-t", release]));
        arguments.extend(packages);
        let plan = self.get(&what, &arguments, None)?;
        let wanted: Vec<String> = plan.lines().filter_map(planned).filter(|p| keep(p)).collect();
        if wanted.is_empty() {
            return Err(self.failed(&what, "the archive has no such package"));
        }
        let archives = self.folder.join("archives");
        let scratch = tempfile::tempdir_in(&archives).context("creating a download folder")?;
        let mut arguments = vec!["download", "-qq"];
        arguments.extend(wanted.iter().map(String::as_str));
        self.get(&what, &arguments, Some(scratch.path()))?;
        fs::create_dir_all(into).context("creating the unpack folder")?;
        for entry in fs::read_dir(scratch.path()).context("listing downloads")?.flatten() {
            let output =
                Command::new("dpkg-deb").arg("-x").args([&entry.path(), into]).output().map_err(
                    |error| self.failed(&what, &format!("cannot run dpkg-deb: {error}")),
                )?;
            if !output.status.success() {
                return Err(self.failed(&what, &String::from_utf8_lossy(&output.stderr)));
            }
        }
        Ok(())
    }

    fn get(&self, what: &str, arguments: &[&str], within: Option<&Path>) -> Result<String, Error> {
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(self.folder.join("apt.conf")).args(arguments);
        command.env("LC_ALL", "C").env_remove("APT_CONFIG");
        if let Some(folder) = within {
            command.current_dir(folder);
        }
        let output = command
            .output()
            .map_err(|error| self.failed(what, &format!("cannot run apt-get: {error}")))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(self.failed(what, &String::from_utf8_lossy(&output.stderr)))
        }
    }

    fn failed(&self, what: &str, why: &str) -> Error {
        Error::Artifact {
            what: what.to_owned(),
            why: why.trim().to_owned(),
            cache: self.cache.clone(),
        }
    }

    fn config(&self) -> String {
        let at = |part: &str| self.folder.join(part).display().to_string();
        let mut text = format!(
            "Dir::Etc::sourcelist \"{sources}\";\n\
             Dir::Etc::sourceparts \"{parts}\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"{preferences}\";\n\
             Dir::State::lists \"{lists}\";\n\
             Dir::State::status \"{status}\";\n\
             Dir::State::extended_states \"{extended}\";\n\
             Dir::Cache \"{folder}\";\n\
             Dir::Cache::archives \"{archives}\";\n\
             Dir::Log \"{folder}\";\n\
             APT::Install-Recommends \"false\";\n\
             APT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\n\
             Acquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::AllowInsecureRepositories \"false\";\n\
             Acquire::Retries \"3\";\n\
             APT::Get::AllowUnauthenticated \"false\";\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             #clear DPkg::Post-Invoke;\n\
             #clear DPkg::Pre-Install-Pkgs;\n",
            sources = at("debian.sources"),
            parts = at("parts"),
            preferences = at("preferences"),
            lists = at("lists"),
            status = at("status"),
            extended = at("extended_states"),
            archives = at("archives"),
            folder = self.folder.display(),
        );
        // As root apt would download as another user, who cannot reach this folder.
        if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            text.push_str("APT::Sandbox::User \"root\";\n");
        }
        text
    }
}

/// `name=version` of a line `Inst name (version Suite [arch])` of a simulated installation.
fn planned(line: &str) -> Option<String> {
    let mut words = line.strip_prefix("Inst ")?.split_whitespace();
    let name = words.next()?;
    let version = words.next()?.strip_prefix('(')?;
    Some(format!("{name}={version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_installation_is_read() {
        let line = "Inst nvme-cli (2.13-2 Debian:13.1/stable [amd64])";
        assert_eq!(planned(line).as_deref(), Some("nvme-cli=2.13-2"));
        assert_eq!(planned("Conf nvme-cli (2.13-2 Debian:13.1/stable [amd64])"), None);
        assert_eq!(planned("Inst broken"), None);
    }
}
