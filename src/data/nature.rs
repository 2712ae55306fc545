//! Describes in words, by its first bytes, a file that is not what was expected.

use crate::text;

/// Formats that occur under wrong names: the first bytes, a description, and what to do if data is expected.
const STARTS: [(&[u8], &str, &str); 25] = [
    (b"\x1f\x8b", "a gzip file", UNPACK),
    (b"PK\x03\x04", "a zip archive (.zip or .npz)", UNPACK),
    (b"\xfd7zXZ", "an xz archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (b"Rar!", "a rar archive", UNPACK),
    (b"\x93NUMPY", "a NumPy array (.npy)", CONVERT),
    (b"\x89HDF", "an HDF5 file", CONVERT),
    (b"MATLAB", "a MATLAB file", CONVERT),
    (b"PAR1", "a Parquet file", CONVERT),
    (b"\x89PNG", "a PNG picture", NAME_FOLDER),
    (b"\xff\xd8\xff", "a JPEG picture", NAME_FOLDER),
    (b"GIF8", "a GIF", CONVERT),
    (b"II*\0", "a TIFF", CONVERT),
    (b"MM\0*", "a TIFF", CONVERT),
    (b"\0\0\x01\0", "an icon", CONVERT),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL", CONVERT),
    (b"\xff\x0a", "a JPEG XL", CONVERT),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000", CONVERT),
    (b"%PDF", "a PDF document", CONVERT),
    (b"\x80\x02", "a Python pickle", CONVERT),
    (b"\x80\x04", "a Python pickle", CONVERT),
    (b"\x80\x05", "a Python pickle", CONVERT),
    (b"version https://git-lfs", "a pointer to a file in Git LFS", "run `git lfs pull`"),
];

const UNPACK: &str = "unpack it";
const CONVERT: &str = "convert it";
const NAME_FOLDER: &str = "name a folder of pictures instead";

/// IDX's value types by the third byte of the magic number.
const TYPES: [(u8, &str); 6] = [
    (0x08, "unsigned bytes"),
    (0x09, "signed bytes"),
    (0x0b, "16-bit integers"),
    (0x0c, "32-bit integers"),
    (0x0d, "32-bit floats"),
    (0x0e, "64-bit floats"),
];

/// The most sizes that a message states; the format allows 255.
const MAX_SIZES: usize = 6;

/// Describes a file of a known format by its first bytes, such as `an HTML page`, with what to do if data is expected.
pub(super) fn known(start: &[u8]) -> Option<(&'static str, &'static str)> {
    if let Some((_, what, remedy)) = STARTS.iter().find(|(first, ..)| start.starts_with(first)) {
        return Some((what, remedy));
    }
    match start {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(("a WebP", CONVERT)),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => Some(("an AVIF", CONVERT)),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(("an HEIC or another of its family", CONVERT)),
        // Two reserved numbers distinguish it from text.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Some(("a BMP", CONVERT)),
        [b'P', b'1'..=b'6', b'\n' | b' ', b'#' | b'0'..=b'9', ..] => Some(("a PPM, PGM or PBM", CONVERT)),
        _ if start.get(257..262) == Some(b"ustar") => Some(("a tar archive", UNPACK)),
        _ => marked_up(start),
    }
}

/// Recognises HTML and XML by their first words, since other text may also begin with `<`.
fn marked_up(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let has = |tags: &[&str]| tags.iter().any(|tag| text.contains(tag));
    match text {
        _ if !text.starts_with('<') => None,
        _ if has(&["<!doctype html", "<html", "<head", "<body", "<title"]) => {
            Some(("an HTML page, as servers send when they do not have the file", "download the file itself"))
        }
        _ if has(&["<svg", "<!doctype svg"]) => Some(("an SVG picture", CONVERT)),
        _ if text.starts_with("<?xml") || text.starts_with("<!") => Some(("an XML file", CONVERT)),
        _ => None,
    }
}

/// Describes a file that should be IDX by its first bytes, with [`known`] or otherwise, and says what to do.
pub(super) fn nature(start: &[u8]) -> (String, &'static str) {
    if let Some(idx) = idx_in_words(start) {
        return (idx, CONVERT);
    }
    // One layer was already unpacked.
    if start.starts_with(b"\x1f\x8b") {
        return ("a gzip file inside a gzip file".into(), "unpack it once");
    }
    if let Some((what, remedy)) = known(start) {
        return (what.into(), remedy);
    }
    if let [3 | 1, 8, 0, 0, ..] = start {
        return ("an IDX file with its numbers in reverse byte order".into(), "write it in big-endian order");
    }
    let text = String::from_utf8_lossy(&start[..start.len().min(200)]);
    let trimmed = text.trim_start_matches('\u{feff}').trim_start();
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    if start.iter().all(printable)
        && std::str::from_utf8(&start[..start.len().min(64)]).is_ok_and(|text| !text.is_empty())
    {
        let first = trimmed.lines().next().unwrap_or_default();
        let what = if first.contains(',') || first.contains('\t') { "a table of text (CSV)" } else { "text" };
        let first = text::cut(first.chars().take(30).collect::<String>());
        return (format!("{what} that begins with \"{first}\""), CONVERT);
    }
    let bytes: Vec<String> = start.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    (format!("not an IDX file (it begins with the bytes {})", bytes.join(" ")), CONVERT)
}

/// The header of an IDX file of any type in words, such as `an IDX file of 32-bit floats, 600x28x28 (magic number
/// 0x00000d03)`.
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
            assert_eq!(nature(&start), (expected.to_string(), CONVERT));
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
            (b"\x03\x08\0\0\x60\xea\0\0", "reverse byte order"),
            (b"\x01\x02\xff\0\x07", "not an IDX file (it begins with the bytes 01 02 ff 00"),
            (&tar, "a tar archive"),
            (b"<?xml version=\"1.0\"?>\n<svg xmlns=", "an SVG picture"),
            (b"<?xml version=\"1.0\"?>\n<note>", "an XML file"),
            (b"<!-- saved --><HTML>", "an HTML page"),
            (b"<5 0 0 0\n", "text that begins with \"<5 0 0 0\""),
            (b"BMI,age\n22,40\n", "a table of text"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP"),
            (b"\0\0\0\x20ftypavif\0\0", "an AVIF"),
            (b"\0\0\0\x18ftypheic\0\0", "an HEIC"),
        ] {
            let (told, remedy) = nature(start);
            assert!(told.contains(expected) && !remedy.is_empty(), "{told}");
        }
    }
}
