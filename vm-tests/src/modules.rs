// SPDX-License-Identifier: MIT OR Apache-2.0
//! Picks kernel modules with everything they depend on and packs them for a guest's initramfs.
//!
//! Debian's kernel packages carry no `modules.dep` (it is made on installation), so the closure is
//! read from the modules themselves, and the index files that `modprobe` needs are written here.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cpio::Archive;
use crate::error::{Context as _, Error};

/// What guests may load. A kernel that lacks one has it built in or not at all.
pub(crate) const WANTED: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "virtio_rng",
    "sd_mod",
    "sg",
    "nvme",
    "nvme_tcp",
    "ahci",
    "nbd",
    "ublk_drv",
    "target_core_user",
    "tcm_loop",
    "dm_mod",
    "dm_crypt",
    "xts",
    "aesni_intel",
    "algif_skcipher",
    "algif_hash",
    "ext4",
    "loop",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "tpm_crb",
    "tpm_tis",
];

struct Module {
    path: String,
    object: Vec<u8>,
    depends: Vec<String>,
    aliases: Vec<String>,
}

/// Writes `lib/modules/VERSION` for `WANTED` and returns the names that can be loaded.
///
/// `tree` is the unpacked `lib/modules/VERSION`; `busybox` unpacks `.ko.xz`.
pub(crate) fn pack<W: Write>(
    tree: &Path,
    version: &str,
    busybox: &Path,
    archive: &mut Archive<W>,
) -> Result<Vec<String>, Error> {
    let mut files = BTreeMap::new();
    collect(tree, &mut files)?;
    let mut chosen: BTreeMap<String, Module> = BTreeMap::new();
    let mut pending: Vec<String> = WANTED.iter().map(|name| (*name).to_owned()).collect();
    while let Some(name) = pending.pop() {
        let Some(path) = files.get(&name) else { continue };
        if chosen.contains_key(&name) {
            continue;
        }
        let module = read(tree, path, busybox)?;
        pending.extend(module.depends.iter().cloned());
        chosen.insert(name, module);
    }
    let base = format!("usr/lib/modules/{version}");
    let (mut dep, mut alias) = (String::new(), String::new());
    for (name, module) in &chosen {
        let needs: Vec<&str> = needs(&chosen, name)
            .into_iter()
            .filter_map(|name| chosen.get(name).map(|module| module.path.as_str()))
            .collect();
        dep.push_str(&format!("{}: {}\n", module.path, needs.join(" ")));
        for pattern in &module.aliases {
            alias.push_str(&format!("alias {pattern} {name}\n"));
        }
        let write = archive.file(&format!("{base}/{}", module.path), 0o644, &module.object);
        write.context("packing a module")?;
    }
    for (file, text) in [("modules.dep", &dep), ("modules.alias", &alias)] {
        let write = archive.file(&format!("{base}/{file}"), 0o644, text.as_bytes());
        write.context("packing the module index")?;
    }
    Ok(chosen.into_keys().collect())
}

/// Everything `name` needs, nearest first, each once.
fn needs<'a>(chosen: &'a BTreeMap<String, Module>, name: &str) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    let mut pending: Vec<&str> = chosen
        .get(name)
        .map(|m| m.depends.iter().map(String::as_str).collect())
        .unwrap_or_default();
    while let Some(next) = pending.pop() {
        if found.contains(&next) {
            continue;
        }
        if let Some(module) = chosen.get(next) {
            found.push(next);
            pending.extend(module.depends.iter().map(String::as_str));
        }
    }
    found
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).context("listing kernel modules")?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `nvme-tcp.ko.xz` is the module `nvme_tcp`.
fn module_name(path: &Path) -> Option<String> {
    let (name, rest) = path.file_name()?.to_str()?.split_once('.')?;
    matches!(rest, "ko" | "ko.xz").then(|| name.replace('-', "_"))
}

fn read(tree: &Path, path: &Path, busybox: &Path) -> Result<Module, Error> {
    let shown = path.display();
    let object = if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new(busybox)
            .args(["unxz", "-c"])
            .arg(path)
            .output()
            .context(format!("unpacking {shown}"))?;
        output.stdout
    } else {
        fs::read(path).context(format!("reading {shown}"))?
    };
    let broken = || Error::Artifact {
        what: format!("kernel module {shown}"),
        why: "it has no module information; the package may be damaged".to_owned(),
        cache: tree.to_owned(),
    };
    let (depends, aliases) = information(&object).ok_or_else(broken)?;
    let relative = path.strip_prefix(tree).unwrap_or(path).display().to_string();
    let path = relative.trim_end_matches(".xz").to_owned();
    Ok(Module { path, object, depends, aliases })
}

/// Dependencies and aliases; the strings of `.modinfo` are NUL-terminated `name=value`.
fn information(object: &[u8]) -> Option<(Vec<String>, Vec<String>)> {
    let mut depends = None;
    let mut aliases = Vec::new();
    for string in object.split(|byte| *byte == 0) {
        if let Some(list) = string.strip_prefix(b"depends=") {
            let list = String::from_utf8_lossy(list);
            let names = list.split(',').filter(|name| !name.is_empty());
            depends = Some(names.map(|name| name.replace('-', "_")).collect());
        } else if let Some(pattern) = string.strip_prefix(b"alias=") {
            aliases.push(String::from_utf8_lossy(pattern).into_owned());
        }
    }
    Some((depends?, aliases))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_information_is_read() {
        let object = b"\x7fELF\0alias=crypto-xts\0depends=nvme-fabrics,nvme_core\0license=GPL\0";
        let (depends, aliases) = information(object).unwrap();
        assert_eq!(depends, ["nvme_fabrics", "nvme_core"]);
        assert_eq!(aliases, ["crypto-xts"]);
        assert!(information(b"\x7fELF").is_none());
    }

    #[test]
    fn module_names_follow_the_kernel() {
        assert_eq!(module_name(Path::new("a/nvme-tcp.ko.xz")).as_deref(), Some("nvme_tcp"));
        assert_eq!(module_name(Path::new("a/modules.order")), None);
    }
}
