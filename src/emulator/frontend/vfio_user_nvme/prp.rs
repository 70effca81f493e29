// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical region pages: where in the guest's memory a command's data is (NVMe Base 1.4 §4.3).

use super::status;
use crate::emulator::nvme::{Command, Status};

/// Bytes of a memory page; the only size that CAP offers.
pub(super) const PAGE: usize = 4096;
/// Bytes of a list entry.
const ENTRY: usize = 8;

/// A piece of a transfer, within one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) length: usize,
}

/// The pieces of the `length` bytes that a command moves; `read` fetches from a list.
///
/// # Errors
/// An entry has an offset where it must not, or `read`'s error.
pub(super) fn segments(
    command: &Command,
    length: usize,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), Status>,
) -> Result<Vec<Segment>, Status> {
    let (first, second) = (command.qword(6), command.qword(8));
    if length == 0 {
        return Ok(Vec::new());
    }
    if first % 4 != 0 {
        return Err(status::PRP_OFFSET);
    }
    let mut found = vec![Segment { address: first, length: (PAGE - offset(first)).min(length) }];
    let mut left = length.saturating_sub(PAGE - offset(first));
    if left == 0 {
        return Ok(found);
    }
    if left <= PAGE {
        found.push(Segment { address: page(second)?, length: left });
        return Ok(found);
    }
    // A list. It may begin anywhere in its page; the last entry of a full page leads to the next
    // page. Each page but the first holds 511 pages of data, so this ends.
    let mut list = second;
    while left > 0 {
        if list % ENTRY as u64 != 0 {
            return Err(status::PRP_OFFSET);
        }
        let needed = left.div_ceil(PAGE);
        let slots = (PAGE - offset(list)) / ENTRY;
        let mut bytes = vec![0; needed.min(slots) * ENTRY];
        read(list, &mut bytes)?;
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        let mut entries = entries.iter().map(|entry| u64::from_le_bytes(*entry));
        let here = if needed > slots { slots - 1 } else { needed };
        for entry in entries.by_ref().take(here) {
            let length = left.min(PAGE);
            found.push(Segment { address: page(entry)?, length });
            left -= length;
        }
        if let Some(next) = entries.next() {
            list = page(next)?;
        }
    }
    Ok(found)
}

/// An entry that must begin a page.
fn page(entry: u64) -> Result<u64, Status> {
    if offset(entry) == 0 { Ok(entry) } else { Err(status::PRP_OFFSET) }
}

fn offset(address: u64) -> usize {
    // Less than a page, whatever the width of a word.
    (address % PAGE as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(first: u64, second: u64) -> Command {
        let mut bytes = [0; 64];
        bytes[24..32].copy_from_slice(&first.to_le_bytes());
        bytes[32..40].copy_from_slice(&second.to_le_bytes());
        Command::new(bytes)
    }

    fn no_list(_: u64, _: &mut [u8]) -> Result<(), Status> {
        panic!("a list was read")
    }

    fn pairs(segments: &[Segment]) -> Vec<(u64, usize)> {
        segments.iter().map(|segment| (segment.address, segment.length)).collect()
    }

    #[test]
    fn one_and_two_pages_need_no_list() {
        let of = |first, second, length| segments(&command(first, second), length, no_list);
        assert_eq!(of(0x1003, 7, 0).unwrap(), []);
        assert_eq!(pairs(&of(0x1004, 7, 4092).unwrap()), [(0x1004, 4092)]);
        assert_eq!(pairs(&of(0x1E00, 0x9000, 513).unwrap()), [(0x1E00, 512), (0x9000, 1)]);
        assert_eq!(pairs(&of(0x1000, 0x9000, 8192).unwrap()), [(0x1000, 4096), (0x9000, 4096)]);
        assert_eq!(of(0x1002, 0, 512), Err(status::PRP_OFFSET));
        assert_eq!(of(0x1000, 0x9004, 8192), Err(status::PRP_OFFSET));
    }

    #[test]
    fn lists_are_followed_over_pages() {
        // 1 MiB from an offset: 257 pages, with lists of 3 entries, then of 512, chained.
        let entry = |n: u64| 0x10_0000 + n * 4096;
        let read = |at: u64, data: &mut [u8]| {
            for (slot, place) in data.chunks_exact_mut(8).zip((at..).step_by(8)) {
                let value = match place {
                    0x5FE8 => entry(1),
                    0x5FF0 => entry(2),
                    0x5FF8 => 0x7000,
                    0x7000..0x8000 => entry(3 + (place - 0x7000) / 8),
                    _ => panic!("{place:#x}"),
                };
                slot.copy_from_slice(&value.to_le_bytes());
            }
            Ok(())
        };
        let found = segments(&command(0x2800, 0x5FE8), 1 << 20, read).unwrap();
        assert_eq!(found.len(), 257);
        assert_eq!(found.iter().map(|segment| segment.length).sum::<usize>(), 1 << 20);
        assert_eq!(pairs(&found[..3]), [(0x2800, 2048), (entry(1), 4096), (entry(2), 4096)]);
        assert_eq!(pairs(&found[256..]), [(entry(256), 2048)]);
    }

    #[test]
    fn a_list_that_just_fits_has_no_chain() {
        let read = |at: u64, data: &mut [u8]| {
            assert_eq!((at, data.len()), (0x5FF0, 16));
            data.copy_from_slice(
                &[[0, 0x30, 0, 0, 0, 0, 0, 0], [0, 0x40, 0, 0, 0, 0, 0, 0]].concat(),
            );
            Ok(())
        };
        let found = segments(&command(0x1000, 0x5FF0), 3 * 4096, read).unwrap();
        assert_eq!(pairs(&found), [(0x1000, 4096), (0x3000, 4096), (0x4000, 4096)]);
    }

    #[test]
    fn a_list_that_leads_to_itself_ends() {
        let mut reads = 0;
        let read = |_: u64, data: &mut [u8]| {
            reads += 1;
            for slot in data.chunks_exact_mut(8) {
                slot.copy_from_slice(&0x7000_u64.to_le_bytes());
            }
            Ok(())
        };
        // Begins at the last slot of a page: nothing but a chain.
        let found = segments(&command(0x1000, 0x5FF8), 1 << 20, read).unwrap();
        assert_eq!((found.len(), reads), (256, 2));
    }

    #[test]
    fn bad_lists_are_refused() {
        let refused = segments(&command(0x1000, 0x5FF4), 1 << 20, no_list);
        assert_eq!(refused, Err(status::PRP_OFFSET));
        let read = |_: u64, data: &mut [u8]| {
            data.fill(0x11);
            Ok(())
        };
        assert_eq!(segments(&command(0, 0x5000), 1 << 20, read), Err(status::PRP_OFFSET));
        let fails = |_: u64, _: &mut [u8]| Err(status::DATA_TRANSFER);
        assert_eq!(segments(&command(0, 0x5000), 1 << 20, fails), Err(status::DATA_TRANSFER));
    }
}
