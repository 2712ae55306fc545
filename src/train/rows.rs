//! Reads `metrics.jsonl` line by line. Damage from a power cut, a full disk or an editor is skipped and reported; every
//! complete row is kept, wherever it is.

use crate::{reading, text};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// The fields of every row of a known kind.
#[derive(Debug, Clone, Deserialize)]
struct Place {
    kind: String,
    step: Option<u64>,
    train_seconds: Option<f64>,
    /// The name of a change.
    what: Option<String>,
}

/// A complete row.
#[derive(Debug, Clone)]
pub struct RowText<'a> {
    /// Its line number, from 1.
    pub line: usize,
    /// Its JSON, without the line break.
    pub text: &'a [u8],
    pub kind: String,
    /// The number of updates; for an unknown kind without this field, that of the row before.
    pub step: u64,
    /// The training time so far; for an unknown kind without this field, 0.
    pub train_seconds: f64,
    /// The name of a change.
    pub what: Option<String>,
}

/// The rows of a file in the order of their steps, and the damage to the file.
#[derive(Debug, Clone, Default)]
pub struct Rows<'a> {
    pub rows: Vec<RowText<'a>>,
    pub damage: Damage,
}

/// Line numbers, from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// Lines without a row.
    pub skipped: Vec<usize>,
    /// Lines with a row that repeats another one.
    pub repeated: Vec<usize>,
    /// Lines with a row and other text.
    pub mended: Vec<usize>,
    /// Lines with several rows.
    pub joined: Vec<usize>,
    /// Lines with a row that must move so that the steps are in order; the fewest that suffice.
    pub sorted: Vec<usize>,
}

/// The most line numbers that a message lists.
const LISTED: usize = 8;

/// The largest file of rows that is read, in bytes: some million rows.
pub(crate) const MOST_ROWS: u64 = 4 << 30;

/// How a row begins.
const START: &[u8] = br#"{"kind":"#;

impl Damage {
    /// Whether writing the rows again loses lines.
    pub fn loses(&self) -> bool {
        !(self.skipped.is_empty() && self.mended.is_empty())
    }

    /// The damage in words; `None` if there is none.
    pub fn describe(&self) -> Option<String> {
        let told = [
            (&self.skipped, "is no row and is skipped", "are no rows and are skipped"),
            (&self.repeated, "repeats another row and is skipped", "repeat other rows and are skipped"),
            (&self.mended, "is damaged beside its row, which is kept", "are damaged beside their rows, which are kept"),
            (&self.joined, "holds several rows, which are all kept", "hold several rows, which are all kept"),
            (&self.sorted, "stands out of order and is sorted", "stand out of order and are sorted"),
        ];
        let words: Vec<String> =
            told.into_iter().filter_map(|(lines, one, many)| lines_in_words(lines, one, many)).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// `line 4 WHAT`, or `3 lines WHAT (4, 5 and 9)`.
fn lines_in_words(lines: &[usize], one: &str, many: &str) -> Option<String> {
    let (last, before) = lines.split_last()?;
    if before.is_empty() {
        return Some(format!("line {last} {one}"));
    }
    let mut numbers: Vec<String> = lines.iter().take(LISTED).map(usize::to_string).collect();
    let end =
        if lines.len() > LISTED { format!("{} more", lines.len() - LISTED) } else { numbers.pop().unwrap_or_default() };
    Some(format!("{} lines {many} ({} and {end})", lines.len(), numbers.join(", ")))
}

/// The bytes of the file of rows at `path`, for [`Rows::read`], converted as in [`utf8`].
///
/// # Errors
/// The system's error, or one in words if it is not a regular file or is too large.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    reading::regular(path, MOST_ROWS).map(utf8)
}

/// The bytes of a file of rows, for [`Rows::read`]; converted to UTF-8 if an editor saved it in UTF-16.
pub fn utf8(bytes: Vec<u8>) -> Vec<u8> {
    let wide = matches!(bytes[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..]);
    // Invalid UTF-16 is reported line by line.
    let decoded = wide.then(|| text::decode(&bytes).ok().map(|text| text.into_owned().into_bytes())).flatten();
    decoded.unwrap_or(bytes)
}

impl<'a> Rows<'a> {
    /// Reads the rows of a file. A last line that was cut off is left by a killed run and does not count as damage.
    pub fn read(bytes: &'a [u8]) -> Rows<'a> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let (mut read, mut seen) = (Rows::default(), HashSet::new());
        for (index, raw) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line = index + 1;
            // A power cut may leave zeros if a file system enlarged the file before writing.
            let text = trim(raw);
            if text.is_empty() {
                if raw.contains(&0) {
                    read.damage.skipped.push(line);
                }
                continue;
            }
            let found = whole_rows(text);
            match &found[..] {
                [] if raw.ends_with(b"\n") => read.damage.skipped.push(line),
                [] => {}
                [(row, _)] if row.len() < text.len() || raw.contains(&0) => read.damage.mended.push(line),
                [_] => {}
                [..] => read.damage.joined.push(line),
            }
            found.into_iter().for_each(|(text, place)| read.add(line, text, place, &mut seen));
        }
        read.damage.sorted = out_of_order(&read.rows);
        read.rows.sort_by_key(|row| row.step);
        read
    }

    fn add(&mut self, line: usize, text: &'a [u8], place: Place, seen: &mut HashSet<&'a [u8]>) {
        let step = place.step.unwrap_or_else(|| self.rows.last().map_or(0, |row| row.step));
        if place.kind != "checkpoint" && !seen.insert(text) {
            push_once(&mut self.damage.repeated, line);
            return;
        }
        let (kind, what, train_seconds) = (place.kind, place.what, place.train_seconds.unwrap_or(0.0));
        self.rows.push(RowText { line, text, kind, step, train_seconds, what });
    }
}

/// The lines of the rows outside a longest subsequence with non-decreasing steps. A single row with a step far too
/// large is itself out of order, not all rows after it.
fn out_of_order(rows: &[RowText<'_>]) -> Vec<usize> {
    // Of all subsequences of one length, the one that ends with the smallest step, by the index of its last row
    // (patience sorting).
    let (mut ends, mut before): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), Vec::with_capacity(rows.len()));
    for (index, row) in rows.iter().enumerate() {
        let length = ends.partition_point(|end| rows[*end].step <= row.step);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() { ends.push(index) } else { ends[length] = index }
    }
    let mut stays = vec![false; rows.len()];
    let mut next = ends.last().copied();
    while let Some(index) = next {
        stays[index] = true;
        next = before[index];
    }
    let mut lines = Vec::new();
    rows.iter().zip(stays).filter(|(_, stays)| !stays).for_each(|(row, _)| push_once(&mut lines, row.line));
    lines
}

fn trim(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let start = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !blank(byte)).map_or(start, |end| end + 1);
    &line[start..end]
}

/// The fields of a text that is one complete row.
fn place(text: &[u8]) -> Option<Place> {
    let place: Place = serde_json::from_str(std::str::from_utf8(text).ok()?).ok()?;
    let known = ["step", "epoch", "checkpoint", "change"].contains(&&place.kind[..]);
    let complete = place.step.is_some() && place.train_seconds.is_some();
    let sound = place.train_seconds.is_none_or(|seconds| seconds >= 0.0);
    (sound && (complete || !known)).then_some(place)
}

fn push_once(lines: &mut Vec<usize>, line: usize) {
    if lines.last() != Some(&line) {
        lines.push(line);
    }
}

/// Every complete row of a line. A row may have been appended to another one that was cut off or lost its line break.
fn whole_rows(text: &[u8]) -> Vec<(&[u8], Place)> {
    if let Some(place) = place(text) {
        return vec![(text, place)];
    }
    let (mut rows, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.windows(START.len()).position(|window| window == START) {
        rest = &rest[start..];
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        let end = values.next().and_then(Result::ok).map(|_| values.byte_offset());
        let row = end.and_then(|end| Some((&rest[..end], place(&rest[..end])?)));
        // Text that is not a row may contain the start of one.
        rest = &rest[row.as_ref().map_or(START.len(), |(row, _)| row.len())..];
        rows.extend(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64) -> String {
        format!(r#"{{"kind":"epoch","step":{step},"train_seconds":{step}.5}}"#)
    }

    fn steps(bytes: &[u8]) -> (Vec<u64>, Option<String>) {
        let rows = Rows::read(bytes);
        (rows.rows.iter().map(|row| row.step).collect(), rows.damage.describe())
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn bytes_are_read_as_the_file_that_holds_them_in_whatever_encoding() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let text = format!("{}\n{}\n", row(1), row(2));
        let wide: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        for saved in [text.into_bytes(), wide] {
            std::fs::write(&path, &saved).expect("a file");
            let read = utf8(saved);
            assert_eq!(read, bytes(&path).expect("it is read"));
            assert_eq!(steps(&read), (vec![1, 2], None));
        }
    }

    #[test]
    fn whole_rows_are_kept_around_every_kind_of_damage() {
        let (one, two, three) = (row(1), row(2), row(3));
        let whole =
            |between: &[u8]| [one.as_bytes(), b"\n", between, two.as_bytes(), b"\n", three.as_bytes(), b"\n"].concat();
        assert_eq!(steps(&whole(b"")), (vec![1, 2, 3], None));
        assert_eq!(steps(&whole(b"\n\r\n")), (vec![1, 2, 3], None));
        for damage in [
            &b"garbage\n"[..],
            b"{\"kind\":\"step\",\"st\n",
            b"\xff\xfe\x80\n",
            b"\0\0\0\0\n",
            b"[1]\n",
            b"{\"kind\":\"step\",\"step\":9}\n",
        ] {
            let told = "line 2 is no row and is skipped";
            assert_eq!(steps(&whole(damage)), (vec![1, 2, 3], Some(told.to_string())), "{damage:?}");
        }
        for damage in [&b"\0\0\0"[..], b"{\"kind\":\"step\",\"step\":7,\"tr", b"\x80garbage"] {
            let told = "line 2 is damaged beside its row, which is kept";
            assert_eq!(steps(&whole(damage)), (vec![1, 2, 3], Some(told.to_string())), "{damage:?}");
        }
        // Lost line breaks, and text after a row or between two.
        let lost = format!("{}{}", row(4), row(5));
        let told = "line 2 holds several rows, which are all kept".to_string();
        assert_eq!(
            steps(&whole(lost.as_bytes())),
            (vec![1, 2, 3, 4, 5], Some(format!("{told}; line 2 stands out of order and is sorted")))
        );
        for between in [&b""[..], b" ", b"\0\0", b"junk", b"{\"kind\":\"step\",\"st", b"\xff"] {
            let line = [two.as_bytes(), between, row(3).as_bytes(), b"\n", row(4).as_bytes()].concat();
            assert_eq!(steps(&line), (vec![2, 3, 4], Some(told.replace('2', "1"))), "{between:?}");
        }
        for behind in ["junk", "}", ",", " {\"kind\":\"ch", "\0x", "\"\u{fffd}"] {
            let told = "line 1 is damaged beside its row, which is kept".to_string();
            assert_eq!(steps(format!("{one}{behind}\n{two}\n").as_bytes()), (vec![1, 2], Some(told)), "{behind:?}");
        }
        let repeated = format!("{one}\n");
        assert_eq!(steps(&whole(repeated.as_bytes())).1.as_deref(), Some("line 2 repeats another row and is skipped"));
        assert_eq!(steps(&whole(format!("{three} \n", three = row(5)).as_bytes())).0, [1, 2, 3, 5]);
    }

    #[test]
    fn rows_out_of_order_are_sorted_and_a_cut_end_is_no_damage() {
        let text = format!("\u{feff}{}\n{}\n{}\n{}", row(3), row(1), row(2), &row(4)[..20]);
        assert_eq!(steps(text.as_bytes()), (vec![1, 2, 3], Some("line 1 stands out of order and is sorted".into())));
        let text = format!("{}\n{}\n{}\n{}\n", row(1), row(1 << 60), row(2), row(3));
        assert_eq!(
            steps(text.as_bytes()),
            (vec![1, 2, 3, 1 << 60], Some("line 2 stands out of order and is sorted".into()))
        );
        // Complete except for its line break.
        assert_eq!(steps(row(4).as_bytes()), (vec![4], None));
    }

    #[test]
    fn a_file_saved_in_utf_16_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let text = format!("\u{feff}{}\r\n{}\r\n", row(1), row(2));
        for (order, unit) in [(0, u16::to_le_bytes as fn(u16) -> [u8; 2]), (0, u16::to_be_bytes), (1, u16::to_le_bytes)]
        {
            // With its mark, and without.
            let units: Vec<u8> = text.encode_utf16().skip(order).flat_map(unit).collect();
            std::fs::write(&path, units).expect("a file");
            assert_eq!(steps(&bytes(&path).expect("it is read")), (vec![1, 2], None));
        }
    }

    #[test]
    fn unknown_kinds_are_kept_in_their_place() {
        let text = format!("{}\n{{\"kind\":\"later\"}}\n{}\n", row(1), row(2));
        assert_eq!(steps(text.as_bytes()), (vec![1, 1, 2], None));
    }

    #[test]
    fn many_lines_are_counted() {
        let text = "x\n".repeat(20);
        let told = "20 lines are no rows and are skipped (1, 2, 3, 4, 5, 6, 7, 8 and 12 more)";
        assert_eq!(steps(text.as_bytes()).1.as_deref(), Some(told));
    }
}
