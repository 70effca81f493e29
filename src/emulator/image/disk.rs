// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`Disk`]: where an image's bytes are kept, and [`FileDisk`], a locked sparse file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};

/// Bytes at offsets, with the one promise that crash safety rests on: what [`Disk::sync`] returned
/// for is still there after a crash; anything later may be there, be missing, or be torn at any
/// byte.
pub trait Disk: Send {
    /// Fills `buffer` from `offset`; what was never written reads as zero.
    ///
    /// # Errors
    /// The medium failed, or `offset` is past the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `data` at `offset`; not durable before [`Disk::sync`].
    ///
    /// # Errors
    /// The medium failed or is full.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes `length` bytes from `offset` read as zero and gives their space back where possible.
    ///
    /// # Errors
    /// The medium failed.
    fn punch(&mut self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The medium failed; what was written since the last sync is in doubt.
    fn sync(&mut self) -> io::Result<()>;
}

/// A sparse file, held under an exclusive lock for as long as this lives.
pub struct FileDisk {
    file: Flock<File>,
}

/// A file that is only looked at, also while another process has it.
pub struct ReadOnlyFile(pub File);

impl Disk for ReadOnlyFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn punch(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileDisk {
    /// Makes a new file of `length` bytes, mode 0600; an existing one is left alone.
    ///
    /// # Errors
    /// The file exists, or the file system refused.
    pub fn create(path: &Path, length: u64) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        file.set_len(length)?;
        file.sync_all()?;
        // The name must outlive a crash as well as the bytes do.
        if let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()?;
        }
        Self::locked(file)
    }

    /// Opens an existing file and locks it against every other user of this program.
    ///
    /// # Errors
    /// No such file, or [`io::ErrorKind::WouldBlock`] when another process holds it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::locked(OpenOptions::new().read(true).write(true).open(path)?)
    }

    fn locked(file: File) -> io::Result<Self> {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { file }),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

impl Disk for FileDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let (Ok(start), Ok(size)) = (i64::try_from(offset), i64::try_from(length)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&*self.file, flags, start, size) {
            Ok(()) => Ok(()),
            // File systems without holes: zeros do as well, only not as cheaply.
            Err(nix::errno::Errno::EOPNOTSUPP) => self.zero(offset, length),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.sync_data()
    }
}

impl FileDisk {
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let zeros = vec![0u8; 1 << 16];
        let mut done = 0;
        while done < length {
            let now = usize::try_from(length - done).unwrap_or(usize::MAX).min(zeros.len());
            self.file.write_all_at(zeros.get(..now).unwrap_or_default(), offset + done)?;
            done += now as u64;
        }
        Ok(())
    }
}
