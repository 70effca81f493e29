// SPDX-License-Identifier: MIT OR Apache-2.0
//! Length-prefixed frames over any reader and writer.

use std::io::{self, IoSlice, Read, Write};

use zeroize::Zeroizing;

use super::{MAX_FRAME, WireError, bounded, make_room};

/// A frame could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The socket failed, timed out, or closed inside a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not a frame; the connection is of no further use.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Reads one frame into `body`, blocking; `false` when the peer closed between frames.
///
/// What `body` held is overwritten, and wiped before its memory is given back.
///
/// # Errors
/// The reader failed, ended inside a frame, or announced more than [`MAX_FRAME`].
pub fn read_frame(
    reader: &mut impl Read,
    body: &mut Zeroizing<Vec<u8>>,
) -> Result<bool, FrameError> {
    let mut prefix = [0u8; 4];
    loop {
        match reader.read(&mut prefix[..1]) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    reader.read_exact(&mut prefix[1..])?;
    let length = u32::from_be_bytes(prefix) as usize;
    bounded("body", length, MAX_FRAME)?;
    make_room(body, length);
    body.resize(length, 0);
    reader.read_exact(body)?;
    Ok(true)
}

/// Writes one frame, blocking.
///
/// # Errors
/// The writer failed, or `body` is longer than [`MAX_FRAME`].
pub fn write_frame(writer: &mut impl Write, body: &[u8]) -> Result<(), FrameError> {
    bounded("body", body.len(), MAX_FRAME)?;
    let prefix = (body.len() as u32).to_be_bytes();
    // One system call in the common case, so that the peer wakes once per frame.
    let sent = loop {
        match writer.write_vectored(&[IoSlice::new(&prefix), IoSlice::new(body)]) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(sent) => break sent,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    };
    if let Some(rest) = prefix.get(sent..) {
        writer.write_all(rest)?;
    }
    if let Some(rest) = body.get(sent.saturating_sub(prefix.len())..) {
        writer.write_all(rest)?;
    }
    writer.flush()?;
    Ok(())
}
