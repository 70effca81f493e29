// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hex text as people and dump tools write it: plain digits in any grouping, or rows with an
//! offset in front and characters behind (hexdump, xxd, od and the like).

use super::DecodeError;

/// The bytes of a hex text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dump {
    pub(super) bytes: Vec<u8>,
    /// Offset of the first byte, if the rows tell one: not 0 means a piece from the middle.
    pub(super) first_offset: u64,
    pub(super) notes: Vec<String>,
}

/// Squeezed rows of a dump are filled up to this many bytes.
const EXPAND_MAX: u64 = 1 << 20;

pub(super) fn parse(text: &str) -> Result<Dump, DecodeError> {
    let rows: Vec<Row<'_>> =
        text.lines().enumerate().filter_map(|(index, line)| Row::read(index + 1, line)).collect();
    let hex_rows = rows.iter().filter(|row| !row.groups.is_empty()).count();
    if hex_rows == 0 {
        return Err(DecodeError::Hex { line: 1, what: "this text is not hex" });
    }
    if has_offsets(&rows) { with_offsets(&rows) } else { plain(&rows) }
}

/// A line: groups of hex digits up to the first thing that is none.
struct Row<'a> {
    line: usize,
    /// `*`: the row before repeats.
    repeats: bool,
    /// The first group ended in a colon: an offset.
    colon: bool,
    groups: Vec<Group<'a>>,
    /// Something that is no hex follows.
    other: bool,
}

#[derive(Clone, Copy)]
struct Group<'a> {
    digits: &'a str,
    /// Column of its first character.
    column: usize,
    /// Blanks in front of it.
    gap: usize,
}

impl<'a> Row<'a> {
    fn read(line: usize, text: &'a str) -> Option<Self> {
        // Characters columns, comments.
        let text = text.split(['|', '"', ';', '#']).next().unwrap_or_default();
        let mut row = Row { line, repeats: false, colon: false, groups: Vec::new(), other: false };
        if text.trim() == "*" {
            row.repeats = true;
            return Some(row);
        }
        let mut end = 0;
        for word in text.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
            let column = word.as_ptr() as usize - text.as_ptr() as usize;
            let gap = column - end;
            end = column + word.len();
            let first = row.groups.is_empty();
            let (word, colon) = match word.strip_suffix(':') {
                Some(word) if first => (word, true),
                _ => (word, false),
            };
            let digits = word.strip_prefix("0x").or(word.strip_prefix("0X")).unwrap_or(word);
            let digits = digits.strip_suffix('h').unwrap_or(digits);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                row.other = true;
                break;
            }
            row.colon |= colon;
            row.groups.push(Group { digits, column, gap });
        }
        (!row.groups.is_empty() || row.other).then_some(row)
    }

    fn offset(&self) -> Option<u64> {
        u64::from_str_radix(self.groups.first()?.digits, 16).ok()
    }

    /// Groups behind the offset.
    fn data(&self) -> &[Group<'a>] {
        self.groups.get(1..).unwrap_or_default()
    }

    /// Whether this may be a row of a dump with offsets, as far as the row alone tells.
    fn may_have_offset(&self) -> bool {
        let [first, second, ..] = self.groups.as_slice() else { return false };
        self.colon || (first.digits.len() >= 4 && first.digits.len() != second.digits.len())
    }
}

/// A text has offsets if its rows say so by a colon, or if their first groups count the bytes:
/// exactly, or at most where a different width sets them apart, for the characters behind the bytes
/// may look like hex.
fn has_offsets(rows: &[Row<'_>]) -> bool {
    let hex: Vec<_> = rows.iter().filter(|row| !row.groups.is_empty()).collect();
    if hex.iter().any(|row| row.colon) {
        return true;
    }
    let [first, _, ..] = hex.as_slice() else {
        return hex.iter().all(|row| row.may_have_offset() && row.offset() == Some(0));
    };
    let (mut exact, mut most) = (0, 0);
    for pair in hex.windows(2) {
        let [row, next] = pair else { continue };
        let (Some(offset), Some(next)) = (row.offset(), next.offset()) else { continue };
        let bytes = row.data().iter().map(|g| g.digits.len() / 2).sum::<usize>() as u64;
        exact += usize::from(next.checked_sub(offset) == Some(bytes) && bytes > 0);
        most += usize::from(next.checked_sub(offset).is_some_and(|n| (1..=bytes).contains(&n)));
    }
    let pairs = hex.len() - 1;
    let widths = hex.iter().filter(|row| row.may_have_offset()).count();
    let wide = first.groups.first().is_some_and(|group| group.digits.len() >= 4);
    (2 * exact > pairs && (wide || pairs > 1)) || (2 * most > pairs && widths >= pairs)
}

fn with_offsets(rows: &[Row<'_>]) -> Result<Dump, DecodeError> {
    let mut dump = Dump { bytes: Vec::new(), first_offset: 0, notes: Vec::new() };
    let rows: Vec<_> = rows
        .iter()
        .filter(|row| row.repeats || row.colon || !row.data().is_empty() || is_final_offset(row))
        .collect();
    let width = row_width(&rows);
    let end_column = rows
        .iter()
        .filter_map(|row| row.data().get(groups_for(row, width)?.checked_sub(1)?))
        .map(|group| group.column + group.digits.len())
        .max();
    let mut started = false;
    let mut repeat = false;
    for (index, row) in rows.iter().enumerate() {
        if row.repeats {
            repeat = true;
            continue;
        }
        let Some(offset) = row.offset() else { continue };
        if !started {
            dump.first_offset = offset;
            started = true;
        }
        let at = dump.first_offset + dump.bytes.len() as u64;
        if offset > at && repeat && offset - dump.first_offset <= EXPAND_MAX {
            let from = dump.bytes.len().saturating_sub(width.max(1));
            let pattern = dump.bytes.get(from..).unwrap_or_default().to_vec();
            let missing = (offset - at) as usize;
            dump.bytes.extend(pattern.iter().cycle().take(missing));
        } else if offset != at {
            dump.notes.push(format!(
                "line {}: the row says offset {offset:#x}, {at:#x} should follow; the rest of the \
                 dump is left out",
                row.line
            ));
            break;
        }
        repeat = false;
        let next = rows.get(index + 1).filter(|next| !next.repeats).and_then(|next| next.offset());
        let expected = next.and_then(|next| usize::try_from(next.checked_sub(offset)?).ok());
        append(row, expected, width, end_column, &mut dump.bytes)?;
    }
    Ok(dump)
}

/// The last line of hexdump is an offset alone.
fn is_final_offset(row: &Row<'_>) -> bool {
    row.groups.len() == 1 && !row.other && row.groups.iter().all(|g| g.digits.len() >= 6)
}

/// Bytes in a full row: what most offsets step by.
fn row_width(rows: &[&Row<'_>]) -> usize {
    let mut steps: Vec<u64> = rows
        .windows(2)
        .filter_map(|pair| pair.get(1)?.offset()?.checked_sub(pair.first()?.offset()?))
        .filter(|step| (1..=256).contains(step))
        .collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).map_or(0, |step| *step as usize)
}

/// How many groups of `row` make exactly `bytes`.
fn groups_for(row: &Row<'_>, bytes: usize) -> Option<usize> {
    let mut sum = 0;
    for (index, group) in row.data().iter().enumerate() {
        sum += group.digits.len();
        if sum == 2 * bytes {
            return Some(index + 1);
        }
    }
    None
}

fn append(
    row: &Row<'_>,
    expected: Option<usize>,
    width: usize,
    end_column: Option<usize>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    // The next offset tells how many groups are bytes; in a last row, columns and gaps do.
    if let Some(count) = expected.and_then(|bytes| groups_for(row, bytes)) {
        return digits(row, row.data().get(..count).unwrap_or_default(), out);
    }
    let mut taken = 0;
    let mut bytes = 0;
    for group in row.data() {
        let beyond = end_column.is_some_and(|end| group.column >= end);
        let full = width > 0 && bytes >= width;
        let characters = end_column.is_none() && row.colon && taken > 0 && group.gap > 1;
        if beyond || full || (characters && bytes != 8) || group.digits.len() % 2 == 1 {
            break;
        }
        bytes += group.digits.len() / 2;
        taken += 1;
    }
    digits(row, row.data().get(..taken).unwrap_or_default(), out)
}

fn plain(rows: &[Row<'_>]) -> Result<Dump, DecodeError> {
    let mut dump = Dump { bytes: Vec::new(), first_offset: 0, notes: Vec::new() };
    let mut words = String::new();
    let mut skipped = 0;
    let mut line = 1;
    for row in rows {
        // A line of prose may begin with a word like "add".
        if row.repeats || (row.other && row.groups.len() < 4) {
            skipped += 1;
            continue;
        }
        line = row.line;
        row.groups.iter().for_each(|group| words.push_str(group.digits));
    }
    if skipped > 0 {
        dump.notes.push(format!("{skipped} lines that are not hex are left out"));
    }
    if words.is_empty() {
        return Err(DecodeError::Hex { line: 1, what: "this text is not hex" });
    }
    if words.len() % 2 == 1 {
        return Err(DecodeError::Hex { line, what: "an odd number of hex digits" });
    }
    push_digits(&words, &mut dump.bytes);
    Ok(dump)
}

fn digits(row: &Row<'_>, groups: &[Group<'_>], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    for group in groups {
        if group.digits.len() % 2 == 1 {
            return Err(DecodeError::Hex { line: row.line, what: "an odd number of hex digits" });
        }
        push_digits(group.digits, out);
    }
    Ok(())
}

fn push_digits(digits: &str, out: &mut Vec<u8>) {
    let mut values = digits.chars().filter_map(|c| c.to_digit(16));
    while let (Some(high), Some(low)) = (values.next(), values.next()) {
        out.push((high << 4 | low) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        let dump = parse(text).unwrap();
        assert_eq!(dump.notes, [] as [String; 0], "{text}");
        assert_eq!(dump.first_offset, 0);
        dump.bytes
    }

    fn counting(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7 + 0xD4) as u8).collect()
    }

    #[test]
    fn digits_in_any_grouping() {
        for text in [
            "000000D400000001",
            "00 00 00 d4 00 00 00 01\n",
            "000000d4 00000001",
            "0x00, 0x00, 0x00, 0xD4,\n0x00, 0x00, 0x00, 0x01",
            "\n  0000 00D4\t0000 0001  \n\n",
            "00 00 00 D4 ; length\n00 00 00 01 # version",
            "000\n000D400000001",
            // The second row is no offset.
            "00 00 00 D4\n00 00 00 01",
        ] {
            assert_eq!(bytes(text), [0, 0, 0, 0xD4, 0, 0, 0, 1], "{text}");
        }
        assert_eq!(bytes("fa"), [0xFA]);
        // Rows that count by accident: bytes all the same.
        assert_eq!(bytes("00 11 22 33\n03 44 55 66").len(), 8);
    }

    /// Rows as the common tools print them.
    fn layouts(data: &[u8]) -> Vec<String> {
        let mut out = vec![String::new(); 7];
        for (row, chunk) in data.chunks(16).enumerate() {
            let at = row * 16;
            let two: Vec<_> = chunk.iter().map(|b| format!("{b:02x}")).collect();
            let four: Vec<_> = chunk
                .chunks(2)
                .map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>())
                .collect();
            let text: String = chunk
                .iter()
                .map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' })
                .collect();
            let (left, right) = two.split_at(two.len().min(8));
            out[0] +=
                &format!("{at:08x}  {:<23}  {:<23}  |{text}|\n", left.join(" "), right.join(" "));
            out[1] += &format!("{at:08x}: {:<39}  {text}\n", four.join(" "));
            out[2] += &format!("{at:07x} {}\n", two.join(" "));
            out[3] += &format!("{at:04x}: {:<47} \"{text}\"\n", two.join(" "));
            out[4] += &format!("{at:08x} {}  {text}\n", two.join(" ").to_uppercase());
            out[5] += &format!("{at:04X}  {}\n", two.join(" "));
            out[6] += &format!("0x{at:04x}: {}\n", four.join(" "));
        }
        out[0] += &format!("{:08x}\n", data.len());
        out[2] += &format!("{:07x}\n", data.len());
        out[3] = format!("       0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f\n{}", out[3]);
        out
    }

    #[test]
    fn rows_with_offsets_and_characters() {
        for length in [216, 64, 52, 33, 16, 9] {
            // Twice: bytes that are no characters, and bytes whose characters look like hex.
            for data in [counting(length), b"face cafe 12 abcdef00 ".repeat(12)[..length].to_vec()]
            {
                for (number, text) in layouts(&data).iter().enumerate() {
                    assert_eq!(bytes(text), data, "layout {number}, {length} bytes:\n{text}");
                }
            }
        }
    }

    #[test]
    fn squeezed_rows_are_filled() {
        let text = "00000000  00 00 00 d4 00 00 00 01  00 00 00 00 00 00 00 00  |................|\n\
                    00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n\
                    *\n\
                    00000030  00 01 10 0c 11 00 00 00  00 00 00 00 00 00 00 00  |................|\n\
                    00000040\n";
        let data = bytes(text);
        assert_eq!(data.len(), 64);
        assert_eq!(data[48..53], [0x00, 0x01, 0x10, 0x0C, 0x11]);
    }

    #[test]
    fn a_missing_row_is_never_filled_in() {
        let text = "0000: 00 00 00 d4 00 00 00 01\n0010: 00 00 00 00 00 00 00 00\n";
        let dump = parse(text).unwrap();
        assert_eq!(dump.bytes.len(), 8);
        assert!(dump.notes[0].contains("line 2"), "{:?}", dump.notes);
    }

    #[test]
    fn a_piece_from_the_middle() {
        let dump = parse("00000050: d010 4d61\n00000054: 7843 6f6d\n").unwrap();
        assert_eq!((dump.first_offset, dump.bytes.len()), (0x50, 8));
    }

    #[test]
    fn what_is_not_hex() {
        assert!(parse("hello world\n").is_err());
        assert!(parse("12345").is_err());
        assert!(parse("").is_err());
        assert!(parse("0000: 123\n0001: 4").is_ok_and(|dump| dump.bytes.is_empty()));
    }

    #[test]
    fn words_around_the_digits() {
        let text = "NVME Security Receive Command Success:0\n\
                           0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f\n\
                    0000: 00 00 00 00 00 00 00 04 00 01 02 ef 00 00 00 00 \"................\"\n";
        assert_eq!(bytes(text), [0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 2, 0xEF, 0, 0, 0, 0]);
    }
}
