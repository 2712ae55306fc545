//! IDX files, the format of MNIST and its kin: a big-endian magic number, the sizes, then one byte per value.
//! Images are `[N,H,W]` (magic 0x803), labels `[N]` (magic 0x801); either may be gzipped, told by its first two bytes.
//! Nothing in a header is believed before the bytes are there: sizes are multiplied with a check for overflow, and
//! no more than the declared size plus one byte is ever unpacked.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::Examples;
use crate::{Error, Result};

/// A file that unpacks to more is refused; the largest set of this family (EMNIST by class) has 0.6 GiB.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// Reserved at once; what is larger grows as its bytes arrive.
const MAX_RESERVED: u64 = 64 << 20;

const REMEDY: &str = "replace it with a good copy, or delete it and run `glassnet data fetch`";

/// What a file must hold.
struct Kind {
    magic: u32,
    dimensions: usize,
    noun: &'static str,
}

const IMAGES: Kind = Kind { magic: 0x803, dimensions: 3, noun: "image" };
const LABELS: Kind = Kind { magic: 0x801, dimensions: 1, noun: "label" };

/// Images `[N,H,W]` as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// N, H and W.
    pub shape: [usize; 3],
    /// `N*H*W` bytes.
    pub pixels: Vec<u8>,
}

/// Reads an image file. Errors name the file, what is wrong with it, and what to do.
pub fn read_images(path: &Path) -> Result<Images> {
    let (sizes, pixels) = read(path, &IMAGES)?;
    Ok(Images { shape: [sizes[0], sizes[1], sizes[2]], pixels })
}

/// Reads a label file; every label must be smaller than `classes`.
pub fn read_labels(path: &Path, classes: usize) -> Result<Vec<u8>> {
    let (_, labels) = read(path, &LABELS)?;
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(labels),
        Some(index) => Err(Error::Data(format!(
            "{}: label {} of example {index} is out of range, there are {classes} classes (0 to {}); {REMEDY}",
            path.display(),
            labels[index],
            classes.saturating_sub(1),
        ))),
    }
}

/// Reads images and their labels, which must be equally many; the images have one channel.
pub fn read_examples(images: &Path, labels: &Path, classes: usize) -> Result<Examples> {
    let Images { shape: [count, height, width], pixels } = read_images(images)?;
    let values = read_labels(labels, classes)?;
    if values.len() != count {
        return Err(Error::Data(format!(
            "{} holds {count} images but {} holds {} labels; take both files from the same data set",
            images.display(),
            labels.display(),
            values.len(),
        )));
    }
    Ok(Examples { shape: [height, width, 1], classes, pixels, labels: values, numbers: Vec::new() })
}

/// The sizes that the header declares, and exactly that many bytes.
fn read(path: &Path, kind: &Kind) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut file = open(path)?;
    let header_length = 4 * (1 + kind.dimensions);
    let header = next_bytes(&mut file, path, header_length as u64)?;
    let words: Vec<u32> =
        header.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect();
    check_magic(path, kind, &header, words.first().copied())?;
    if header.len() < header_length {
        let found = header.len();
        return Err(damaged(
            path,
            format!("is truncated: its header has {header_length} bytes, only {found} are there"),
        ));
    }
    let sizes = &words[1..];
    let bytes = declared_bytes(path, kind, sizes)?;
    crate::machine::check_room(&path.display().to_string(), bytes, "use a smaller data set, or end other programs")?;
    let values = next_bytes(&mut file, path, bytes + 1)?;
    let found = values.len() as u64;
    if found < bytes {
        let problem =
            format!("is truncated: its header declares {}, but only {found} bytes follow", describe(kind, sizes));
        return Err(damaged(path, problem));
    }
    if found > bytes {
        let problem =
            format!("is too long: more bytes follow than the {} that its header declares", describe(kind, sizes));
        return Err(damaged(path, problem));
    }
    Ok((sizes.iter().map(|&size| size as usize).collect(), values))
}

fn check_magic(path: &Path, kind: &Kind, header: &[u8], magic: Option<u32>) -> Result<()> {
    let noun = kind.noun;
    match magic {
        Some(magic) if magic == kind.magic => Ok(()),
        _ if header.is_empty() => Err(damaged(path, "is empty".to_string())),
        None => Err(damaged(path, format!("is truncated: only {} bytes are there", header.len()))),
        Some(magic) => {
            let other = [&IMAGES, &LABELS].into_iter().find(|other| other.magic == magic);
            let hint = other.map_or(String::new(), |other| format!(" (it holds {}s)", other.noun));
            let expected = kind.magic;
            let problem =
                format!("is not an IDX {noun} file: it begins with {magic:#010x} instead of {expected:#010x}{hint}");
            Err(damaged(path, problem))
        }
    }
}

/// The product of the sizes; zero, overflow and absurdity are errors.
fn declared_bytes(path: &Path, kind: &Kind, sizes: &[u32]) -> Result<u64> {
    let bytes = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(u64::from(size)));
    match bytes {
        Some(0) => Err(damaged(path, format!("declares {}: there is nothing in it", describe(kind, sizes)))),
        Some(bytes) if bytes <= MAX_BYTES => Ok(bytes),
        _ => Err(damaged(
            path,
            format!("declares {}, more than the {} MiB that are accepted", describe(kind, sizes), MAX_BYTES >> 20),
        )),
    }
}

/// "60000 images of 28x28 bytes", "10 labels".
fn describe(kind: &Kind, sizes: &[u32]) -> String {
    let (noun, count) = (kind.noun, sizes[0]);
    let plural = if count == 1 { "" } else { "s" };
    match sizes[1..] {
        [height, width] => format!("{count} {noun}{plural} of {height}x{width} bytes"),
        _ => format!("{count} {noun}{plural}"),
    }
}

/// The unpacked bytes of a file that may be gzipped or plain.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>> {
    // Opening a pipe would wait for whoever writes to it.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::Data(format!("{} is no regular file; put a copy of the file in its place", path.display())));
    }
    let mut file = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    let start = file.fill_buf().map_err(Error::io("read", path))?;
    if start.starts_with(&[0x1f, 0x8b]) { Ok(Box::new(MultiGzDecoder::new(file))) } else { Ok(Box::new(file)) }
}

/// Up to `limit` bytes: fewer where the file ends sooner.
fn next_bytes(file: &mut dyn Read, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(limit.min(MAX_RESERVED) as usize);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| unpack_error(path, error))?;
    Ok(bytes)
}

/// The decoder reports a damaged stream through the same type as a failing disk.
pub(super) fn unpack_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => damaged(path, "is truncated: its gzip stream is cut off".to_string()),
        // `tar` calls its own complaints `Other`.
        ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::Other => {
            damaged(path, format!("is damaged: {error}"))
        }
        _ => Error::io("read", path)(error),
    }
}

pub(super) fn damaged(path: &Path, problem: String) -> Error {
    Error::Data(format!("{} {problem}; {REMEDY}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_multiplied_without_overflow() {
        let path = Path::new("x");
        assert_eq!(declared_bytes(path, &IMAGES, &[60_000, 28, 28]).unwrap(), 47_040_000);
        for sizes in [[u32::MAX; 3], [1 << 31, 1 << 31, 4], [1 << 16, 1 << 16, 1]] {
            let message = declared_bytes(path, &IMAGES, &sizes).unwrap_err().to_string();
            assert!(message.contains("more than the 1024 MiB that are accepted"), "{message}");
        }
    }

    #[test]
    fn sizes_are_described_in_words() {
        assert_eq!(describe(&IMAGES, &[2, 28, 27]), "2 images of 28x27 bytes");
        assert_eq!(describe(&LABELS, &[1]), "1 label");
    }
}
