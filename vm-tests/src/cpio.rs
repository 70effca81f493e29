// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes `newc` cpio archives, which the kernel unpacks as an initramfs.
//!
//! Several archives one after another are as good as one, so a guest's image is a concatenation of
//! cached parts and a small part of its own. They stay uncompressed: unpacking costs a guest
//! without KVM more than reading.

use std::collections::BTreeSet;
use std::io::{self, Write};

/// An archive under construction. Parent folders are added on their own.
pub(crate) struct Archive<W: Write> {
    out: W,
    inode: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, inode: 0, folders: BTreeSet::new() }
    }

    /// Adds a file; `path` has no leading slash.
    pub(crate) fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, 0o100_000 | mode, (0, 0), data)
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, 0o120_777, (0, 0), target.as_bytes())
    }

    pub(crate) fn character_device(&mut self, path: &str, node: (u32, u32)) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, 0o020_600, node, &[])
    }

    pub(crate) fn folder(&mut self, path: &str) -> io::Result<()> {
        self.parents(path)?;
        if self.folders.insert(path.to_owned()) {
            self.entry(path, 0o040_755, (0, 0), &[])?;
        }
        Ok(())
    }

    /// Ends the archive, padded so that another may follow.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        let ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        for end in ends {
            let parent = path.get(..end).unwrap_or_default();
            if self.folders.insert(parent.to_owned()) {
                self.entry(parent, 0o040_755, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, node: (u32, u32), data: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "too long for cpio");
        let size = u32::try_from(data.len()).map_err(too_long)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_long)?;
        let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, node.0, node.1, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(header.len() + name.len() + 1)?;
        self.out.write_all(data)?;
        self.pad(data.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        let missing = written.next_multiple_of(4) - written;
        self.out.write_all([0; 4].get(..missing).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_folders_come_first() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a/b/c", 0o644, b"12345").unwrap();
        archive.file("a/b/d", 0o755, b"").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let names: Vec<usize> = bytes
            .windows(6)
            .enumerate()
            .filter(|(_, w)| w == b"070701")
            .map(|(at, _)| at)
            .collect();
        assert_eq!(names.len(), 5, "a, a/b, a/b/c, a/b/d and the trailer");
        assert!(names.iter().all(|at| at % 4 == 0));
        assert_eq!(&bytes[110..112], b"a\0");
        // Mode of the first entry: a folder, 0755.
        assert_eq!(&bytes[14..22], b"000041ED");
    }
}
