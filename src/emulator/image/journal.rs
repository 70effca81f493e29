// SPDX-License-Identifier: MIT OR Apache-2.0
//! [`TableWrites`]: what a step does to byte tables, as whole pages that can be written again.

use std::collections::BTreeMap;

use minicbor::decode::Error as DecodeError;
use minicbor::{Decoder, Encoder};

use super::disk::Disk;
use super::error::ImageError;

/// Byte tables are written in pages of this many bytes.
pub(in crate::emulator) const PAGE: usize = 4096;

/// Areas to zero, then pages to write, by their offset in the image. Doing it twice does no harm.
#[derive(Clone, Default)]
pub(in crate::emulator) struct TableWrites {
    wipes: BTreeMap<u64, u64>,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl TableWrites {
    /// Whether there is nothing to do.
    pub(in crate::emulator) fn is_empty(&self) -> bool {
        self.wipes.is_empty() && self.pages.is_empty()
    }

    /// `length` bytes from `offset` read as zero, earlier writes to them included.
    pub(in crate::emulator) fn wipe(&mut self, offset: u64, length: u64) {
        self.pages.retain(|page, _| *page < offset || *page >= offset + length);
        let longest = self.wipes.entry(offset).or_default();
        *longest = length.max(*longest);
    }

    /// What `later` does, after this.
    pub(super) fn extend(&mut self, later: &Self) {
        for (offset, length) in &later.wipes {
            self.wipe(*offset, *length);
        }
        for (offset, page) in &later.pages {
            self.set_page(*offset, page.clone());
        }
    }

    /// Sets the page at `offset`.
    pub(in crate::emulator) fn set_page(&mut self, offset: u64, page: Vec<u8>) {
        self.pages.insert(offset, page);
    }

    /// The page at `offset` if this step changes it; empty for one that is wiped.
    pub(in crate::emulator) fn page(&self, offset: u64) -> Option<&[u8]> {
        if let Some(page) = self.pages.get(&offset) {
            return Some(page);
        }
        let (start, length) = self.wipes.range(..=offset).next_back()?;
        (offset - start < *length).then_some(&[])
    }

    /// Whether everything lies in `from..to`.
    pub(super) fn are_within(&self, from: u64, to: u64) -> bool {
        let within = |offset: u64, length: u64| {
            offset >= from && offset.checked_add(length).is_some_and(|end| end <= to)
        };
        self.wipes.iter().all(|(offset, length)| within(*offset, *length))
            && self.pages.iter().all(|(offset, page)| within(*offset, page.len() as u64))
    }

    /// Does it.
    pub(super) fn apply(&self, disk: &mut dyn Disk) -> Result<(), ImageError> {
        for (offset, length) in &self.wipes {
            disk.punch(*offset, *length)?;
        }
        // Neighbouring pages in one write.
        let mut pages = self.pages.iter().peekable();
        while let Some((offset, page)) = pages.next() {
            let mut run = page.clone();
            while let Some((_, next)) = pages.next_if(|(at, _)| **at == offset + run.len() as u64) {
                run.extend_from_slice(next);
            }
            disk.write_at(*offset, &run)?;
        }
        Ok(())
    }

    /// Bytes that [`TableWrites::encode`] appends at most.
    pub(super) fn encoded_bound(&self) -> usize {
        32 + self.wipes.len() * 20 + self.pages.len() * (PAGE + 16)
    }

    /// Appends `{0: {offset: length}, 1: {offset: page}}`.
    pub(super) fn encode(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        e.map(2)?.u8(0)?.map(self.wipes.len() as u64)?;
        for (offset, length) in &self.wipes {
            e.u64(*offset)?.u64(*length)?;
        }
        e.u8(1)?.map(self.pages.len() as u64)?;
        for (offset, page) in &self.pages {
            e.u64(*offset)?.bytes(page)?;
        }
        Ok(())
    }

    /// Reads what [`TableWrites::encode`] wrote.
    pub(super) fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut writes = Self::default();
        expect(d, 2, 0)?;
        for _ in 0..d.map()?.unwrap_or(0) {
            writes.wipes.insert(d.u64()?, d.u64()?);
        }
        if d.u8()? != 1 {
            return Err(DecodeError::message("table writes without pages"));
        }
        for _ in 0..d.map()?.unwrap_or(0) {
            writes.pages.insert(d.u64()?, d.bytes()?.to_vec());
        }
        Ok(writes)
    }
}

fn expect(d: &mut Decoder<'_>, entries: u64, first: u8) -> Result<(), DecodeError> {
    if d.map()? == Some(entries) && d.u8()? == first {
        return Ok(());
    }
    Err(DecodeError::message("table writes of another shape"))
}
