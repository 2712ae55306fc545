//! What a file is that is not what was expected, told by its first bytes, in words.

use crate::text;

/// Formats that people have in place of IDX files, by their first bytes.
const STARTS: [(&[u8], &str); 17] = [
    (b"\x1f\x8b", "a gzip file inside a gzip file; unpack it once"),
    (b"PK\x03\x04", "a zip archive (.zip or .npz); unpack it"),
    (b"\xfd7zXZ", "an xz archive; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a rar archive; unpack it"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"MATLAB", "a MATLAB file"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG", "a PNG picture; name a folder of pictures with --images"),
    (b"\xff\xd8\xff", "a JPEG picture; name a folder of pictures with --images"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"version https://git-lfs", "a pointer to a file in Git LFS; run `git lfs pull`"),
];

/// Types of IDX's values by the third byte of its magic number.
const TYPES: [(u8, &str); 6] = [
    (0x08, "unsigned bytes"),
    (0x09, "signed bytes"),
    (0x0b, "16-bit integers"),
    (0x0c, "32-bit integers"),
    (0x0d, "32-bit floats"),
    (0x0e, "64-bit floats"),
];

/// Sizes that are told; the format allows 255.
const MAX_SIZES: usize = 6;

/// What a file is that begins with `start`, as `an HTML page`; of some kinds also what to do, behind a semicolon.
pub(super) fn nature(start: &[u8]) -> String {
    if let Some(idx) = idx_in_words(start) {
        return idx;
    }
    if let Some((_, what)) = STARTS.iter().find(|(known, _)| start.starts_with(known)) {
        return what.to_string();
    }
    if start.get(257..262) == Some(b"ustar") {
        return "a tar archive; unpack it".into();
    }
    if let [3 | 1, 8, 0, 0, ..] = start {
        return "an IDX file with the bytes of its numbers in reverse order; write the largest byte first".into();
    }
    let text = String::from_utf8_lossy(&start[..start.len().min(200)]);
    let trimmed = text.trim_start_matches('\u{feff}').trim_start();
    if trimmed.get(..1) == Some("<") {
        return "an HTML page, as servers send when they do not have the file; download the file itself".into();
    }
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    if start.iter().all(printable)
        && std::str::from_utf8(&start[..start.len().min(64)]).is_ok_and(|text| !text.is_empty())
    {
        let first = trimmed.lines().next().unwrap_or_default();
        let what = if first.contains(',') || first.contains('\t') { "a table of text (CSV)" } else { "text" };
        return format!(
            "{what} that begins with \"{}\"",
            text::cut(first.replace(';', ",").chars().take(30).collect::<String>())
        );
    }
    let bytes: Vec<String> = start.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("no IDX file: it begins with the bytes {}", bytes.join(" "))
}

/// The header of an IDX file of any type, as `an IDX file of 32-bit floats, 600x28x28 (magic number 0x00000d03)`.
fn idx_in_words(start: &[u8]) -> Option<String> {
    let &[0, 0, kind, dimensions, ref rest @ ..] = start else { return None };
    let (_, values) = TYPES.iter().find(|(known, _)| *known == kind)?;
    let count = usize::from(dimensions);
    let sizes: Vec<u32> = rest.as_chunks().0.iter().take(count).map(|size| u32::from_be_bytes(*size)).collect();
    if count == 0 || sizes.len() < count.min(MAX_SIZES) {
        return None;
    }
    let mut shown: Vec<String> = sizes.iter().take(MAX_SIZES).map(u32::to_string).collect();
    if count > MAX_SIZES {
        shown.push("...".into());
    }
    let plural = if count == 1 { "" } else { "s" };
    let qmnist =
        if (kind, &sizes[1..]) == (0x0c, &[8]) { ", QMNIST's table, whose first column is the label" } else { "" };
    Some(format!(
        "an IDX file of {values} in {count} dimension{plural}, {} (magic number {:#010x}){qmnist}",
        shown.join("x"),
        u32::from_be_bytes([0, 0, kind, dimensions])
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_idx_file_is_told_in_words() {
        let head = |magic: u32, sizes: &[u32]| {
            [&[magic], sizes].concat().into_iter().flat_map(u32::to_be_bytes).collect::<Vec<u8>>()
        };
        for (start, expected) in [
            (
                head(0xd03, &[600, 28, 28]),
                "an IDX file of 32-bit floats in 3 dimensions, 600x28x28 (magic number 0x00000d03)",
            ),
            (head(0xc01, &[600]), "an IDX file of 32-bit integers in 1 dimension, 600 (magic number 0x00000c01)"),
            (
                head(0x804, &[600, 28, 28, 1]),
                "an IDX file of unsigned bytes in 4 dimensions, 600x28x28x1 (magic number 0x00000804)",
            ),
            (head(0x903, &[6, 2, 3]), "an IDX file of signed bytes in 3 dimensions, 6x2x3 (magic number 0x00000903)"),
            (
                head(0xc02, &[600, 8]),
                "an IDX file of 32-bit integers in 2 dimensions, 600x8 (magic number 0x00000c02), QMNIST's table, whose first \
                 column is the label",
            ),
        ] {
            assert_eq!(nature(&start), expected);
        }
    }

    #[test]
    fn what_people_have_instead_is_named() {
        let tar = [&[b'x'; 257][..], b"ustar"].concat();
        for (start, expected) in [
            (&b"<!DOCTYPE html><html>"[..], "an HTML page"),
            (b"\xef\xbb\xbf\n <html>", "an HTML page"),
            (b"\x1f\x8b\x08\0", "a gzip file inside a gzip file"),
            (b"PK\x03\x04\x14\0", "a zip archive"),
            (b"label,pixel0,pixel1\n5,0,0", "a table of text (CSV) that begins with \"label,pixel0,pixel1\""),
            (b"5 0 0 0\n", "text that begins with \"5 0 0 0\""),
            (b"\x93NUMPY\x01\0", "a NumPy array"),
            (b"\x03\x08\0\0\x60\xea\0\0", "reverse order"),
            (b"\x01\x02\xff\0\x07", "no IDX file: it begins with the bytes 01 02 ff 00"),
            (&tar, "a tar archive"),
        ] {
            let told = nature(start);
            assert!(told.contains(expected), "{told}");
        }
    }
}
