// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's file system: clients with exactly the libraries they load, and a small part per test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cpio::Archive;
use crate::error::{Context as _, Error};

/// Debian packages with the clients under test.
pub(crate) const PACKAGES: &[&str] = &[
    "busybox-static",
    "cryptsetup-bin",
    "dmsetup",
    "e2fsprogs",
    "fdisk",
    "nvme-cli",
    "sedutil",
    "sg3-utils",
    "util-linux",
];

/// Programs taken from them; a trailing `*` takes all that begin so.
pub(crate) const PROGRAMS: &[&str] = &[
    "blkdiscard",
    "cryptsetup",
    "dmsetup",
    "e2fsck",
    "mke2fs",
    "nvme",
    "sedutil-cli",
    "sfdisk",
    "sg_*",
];

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
/// Where programs of the host keep their own loader and libraries in the guest.
const HOST: &str = "opt/host";

/// Writes the part that all guests share.
pub(crate) fn tools(root: &Path, out: &Path) -> Result<(), Error> {
    let file = File::create(out).context("creating the tools image")?;
    let mut archive = Archive::new(BufWriter::new(file));
    write_tools(root, &mut archive)?;
    archive.finish().context("writing the tools image")?;
    Ok(())
}

fn write_tools<W: Write>(root: &Path, archive: &mut Archive<W>) -> Result<(), Error> {
    let packed = "packing the tools image";
    for folder in ["dev", "proc", "sys", "run", "tmp", "mnt", "root", "etc"] {
        archive.folder(folder).context(packed)?;
    }
    for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib64", "usr/lib64")] {
        archive.symlink(link, target).context(packed)?;
    }
    archive.symlink("lib", "usr/lib").context(packed)?;
    // The kernel opens the console before anything mounts devtmpfs.
    archive.character_device("dev/console", (5, 1)).context(packed)?;

    let mut libraries: BTreeSet<PathBuf> = BTreeSet::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    let runner = [root.join(LOADER), root.join(LIBRARIES)];
    for (name, path) in programs(root)? {
        let data = fs::read(&path).context(format!("reading {}", path.display()))?;
        if data.starts_with(b"\x7fELF") {
            libraries.extend(needed(&runner, &path)?);
        }
        archive.file(&format!("usr/sbin/{name}"), 0o755, &data).context(packed)?;
        names.insert(name);
    }
    // Loaded at run time (thread cancellation), so it is in no list of needed libraries.
    libraries.insert(root.join(LIBRARIES).join("libgcc_s.so.1"));
    for library in libraries {
        let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let data = fs::read(&library).context(format!("reading {}", library.display()))?;
        archive.file(&format!("{LIBRARIES}/{name}"), 0o755, &data).context(packed)?;
    }
    let loader = fs::read(root.join(LOADER)).context("reading the loader")?;
    archive.file(LOADER, 0o755, &loader).context(packed)?;

    let busybox = busybox(root);
    let data = fs::read(&busybox).context("reading busybox")?;
    archive.file("usr/bin/busybox", 0o755, &data).context(packed)?;
    let list = Command::new(&busybox).arg("--list").output().context("asking busybox")?;
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        if applet != "busybox" && !names.contains(applet) {
            let link = format!("usr/bin/{applet}");
            archive.symlink(&link, "busybox").context(packed)?;
        }
    }
    archive.symlink("usr/sbin/mkfs.ext4", "mke2fs").context(packed)?;
    archive.symlink("usr/sbin/modprobe", "../bin/busybox").context(packed)
}

/// The busybox among the unpacked tools.
pub(crate) fn busybox(root: &Path) -> PathBuf {
    let usr = root.join("usr/bin/busybox");
    if usr.exists() { usr } else { root.join("bin/busybox") }
}

/// Adds a program built on this host together with its own loader and libraries, so that the
/// guest's C library need not be the host's.
pub(crate) fn host_program<W: Write>(archive: &mut Archive<W>, path: &Path) -> Result<(), Error> {
    let packed = "packing a program of the host";
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    archive.file(&format!("{HOST}/bin/{name}"), 0o755, &stripped(path)?).context(packed)?;
    let mut libraries: BTreeSet<PathBuf> = host_libraries(path)?.into_iter().collect();
    let loaded: Vec<PathBuf> = libraries.iter().filter_map(|library| plugin(library)).collect();
    for plugin in loaded {
        libraries.extend(host_libraries(&plugin)?);
        libraries.insert(plugin);
    }
    for library in libraries {
        let file = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let data = fs::read(&library).context(format!("reading {}", library.display()))?;
        archive.file(&format!("{HOST}/lib/{file}"), 0o755, &data).context(packed)?;
    }
    let wrapper = format!(
        "#!/bin/sh\nexec /{HOST}/lib/ld-linux-x86-64.so.2 --argv0 \"$0\" \
         --library-path /{HOST}/lib /{HOST}/bin/{name} \"$@\"\n"
    );
    archive.file(&format!("usr/local/bin/{name}"), 0o755, wrapper.as_bytes()).context(packed)
}

/// The program without what only debuggers read, which is most of it; the guest has little memory.
fn stripped(path: &Path) -> Result<Vec<u8>, Error> {
    let out = tempfile::NamedTempFile::new().context("creating a stripped program")?;
    let output = Command::new("strip").arg("-o").arg(out.path()).arg(path).output();
    // Not every machine has binutils; the whole program works as well.
    let small = output.is_ok_and(|output| output.status.success());
    let from = if small { out.path() } else { path };
    fs::read(from).context(format!("reading {}", path.display()))
}

/// The libraries that a program or library of the host loads, its loader among them.
fn host_libraries(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let output = Command::new("ldd").arg(path).output().context("running ldd")?;
    Ok(listed(&String::from_utf8_lossy(&output.stdout)))
}

/// The library that `library` loads at run time to reach a TPM of the kernel.
fn plugin(library: &Path) -> Option<PathBuf> {
    let name = library.file_name()?.to_str()?;
    let plugin = library.with_file_name("libtss2-tcti-device.so.0");
    (name.starts_with("libtss2-tctildr.so") && plugin.exists()).then_some(plugin)
}

fn programs(root: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut found = BTreeMap::new();
    for folder in ["usr/bin", "usr/sbin", "bin", "sbin"] {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let wanted = PROGRAMS.iter().any(|program| match program.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == *program,
            });
            if wanted && entry.path().is_file() {
                found.insert(name, entry.path());
            }
        }
    }
    for program in PROGRAMS.iter().filter(|program| !program.ends_with('*')) {
        if !found.contains_key(*program) {
            return Err(Error::Artifact {
                what: (*program).to_owned(),
                why: "no package brought it".to_owned(),
                cache: root.to_owned(),
            });
        }
    }
    Ok(found)
}

/// The libraries that `program` loads, as the unpacked suite's own loader resolves them.
fn needed([loader, library_path]: &[PathBuf; 2], program: &Path) -> Result<Vec<PathBuf>, Error> {
    let output = Command::new(loader)
        .arg("--library-path")
        .arg(library_path)
        .arg("--list")
        .arg(program)
        .output()
        .context("running the unpacked loader")?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || listing.contains("not found") {
        return Err(Error::Artifact {
            what: format!("the libraries of {}", program.display()),
            why: format!("{listing}{}", String::from_utf8_lossy(&output.stderr)),
            cache: library_path.clone(),
        });
    }
    let loader = loader.file_name();
    Ok(listed(&listing).into_iter().filter(|path| path.file_name() != loader).collect())
}

/// Paths in the listing of `ldd` or `ld.so --list`.
fn listed(listing: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let line = line.trim();
        let path = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        let path = path.split(" (0x").next()?.trim();
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    listing.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_listings_are_read() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                       \tlibc.so.6 => /r/lib/libc.so.6 (0x00007f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\
                       \tlibgone.so => not found\n";
        let paths = listed(listing);
        assert_eq!(
            paths,
            [PathBuf::from("/r/lib/libc.so.6"), PathBuf::from("/lib64/ld-linux-x86-64.so.2")]
        );
    }
}
