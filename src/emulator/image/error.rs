// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`ImageError`]: why an image could not be made, opened or written.

use std::io;

/// Why an image could not be made, opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file system or the device under it failed.
    #[error("the image file failed: {0}")]
    Io(#[from] io::Error),
    /// Another process serves this image.
    #[error("another process holds this image; stop it first, an image belongs to one drive")]
    Locked,
    /// The file is not an image of this program.
    #[error("not an emulated drive: {0}; make one with `opal-emulator create`")]
    NotAnImage(&'static str),
    /// A later version of this program made it.
    #[error("image format version {0} is newer than this program; use a newer opal-emulator")]
    Version(u64),
    /// Neither copy of the state is whole.
    #[error("both copies of the drive's state are damaged; the drive is lost, create a new image")]
    NoState,
    /// The state is whole but says something that this program does not understand.
    #[error("the drive's state does not decode ({0}); it may come from a newer opal-emulator")]
    State(String),
    /// The state outgrew its place.
    #[error("the drive's state of {length} bytes does not fit the image")]
    StateTooLarge {
        /// Bytes of the state.
        length: usize,
    },
    /// A parameter of a new image is out of bounds.
    #[error("cannot make such a drive: {0}")]
    Parameter(String),
    /// A write failed earlier; nothing is written until the image is opened again.
    #[error("the image failed earlier; power-cycle the drive to go on from what is on disk")]
    Failed,
    /// The operating system has no randomness to give.
    #[error("no randomness from the operating system; nothing was created or changed")]
    Random,
}
