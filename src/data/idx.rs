//! IDX files, the format of MNIST and similar sets: a big-endian magic number, the sizes, then one byte per value.
//! Images are `[N,H,W]` (magic 0x803), labels `[N]` (magic 0x801). Either may be gzipped, which the first two bytes
//! show. A header is not trusted before the bytes are there: sizes are multiplied with overflow checks, and at most the
//! declared size plus one byte is unpacked.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use super::nature::nature;
use super::{Examples, Source, files};
use crate::{Error, Result, reading, text};

/// The largest unpacked file; the largest set of this family (EMNIST by class) has 0.6 GiB.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// The most bytes reserved at once; larger buffers grow as their bytes arrive.
const MAX_RESERVED: u64 = 64 << 20;

/// The number of bytes at the beginning that identify a file of another kind.
const START: u64 = 512;

/// The most surplus bytes that are counted and unpacked.
const MAX_SURPLUS: u64 = 4096;

/// The expected contents of a file.
struct Kind {
    magic: u32,
    dimensions: usize,
    noun: &'static str,
    /// The name of the format in messages.
    wanted: &'static str,
}

const IMAGES: Kind = Kind {
    magic: 0x803,
    dimensions: 3,
    noun: "image",
    wanted: "IDX files of unsigned bytes in 3 dimensions, count x height x width (magic number 0x00000803), gzipped or plain",
};
const LABELS: Kind = Kind {
    magic: 0x801,
    dimensions: 1,
    noun: "label",
    wanted: "IDX files of unsigned bytes in 1 dimension (magic number 0x00000801), gzipped or plain",
};

/// Images `[N,H,W]` as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// N, H and W.
    pub shape: [usize; 3],
    /// `N*H*W` bytes.
    pub pixels: Vec<u8>,
}

/// Reads a file of images. Errors name the file, what is wrong with it, and what to do.
pub fn read_images<'a>(source: impl Into<Source<'a>>) -> Result<Images> {
    let (sizes, pixels) = read(source.into(), &IMAGES)?;
    Ok(Images { shape: [sizes[0], sizes[1], sizes[2]], pixels })
}

/// Reads a file of labels; every label must be smaller than `classes`.
pub fn read_labels<'a>(source: impl Into<Source<'a>>, classes: usize) -> Result<Vec<u8>> {
    let source = source.into();
    let labels = read_any_labels(source)?;
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(labels),
        Some(index) => {
            let found = LabelRange::of(&labels);
            let remedy = match (found.least, usize::from(found.most)) {
                (1, most) if most == classes => "subtract 1 from each label".to_string(),
                _ => format!("take a data set with at most {classes} classes"),
            };
            Err(unfit(
                source,
                format!(
                    "has {found}; label {} of example {index} is out of range, as labels from 0 to {} are read",
                    labels[index],
                    classes.saturating_sub(1)
                ),
                &remedy,
            ))
        }
    }
}

/// Reads a file of labels without a limit on their values.
pub(super) fn read_any_labels(source: Source<'_>) -> Result<Vec<u8>> {
    read(source, &LABELS).map(|(_, labels)| labels)
}

/// The range of labels in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelRange {
    pub least: u8,
    pub most: u8,
    /// The number of different labels.
    pub different: usize,
}

impl LabelRange {
    /// The range of at least one label.
    pub fn of(labels: &[u8]) -> LabelRange {
        let mut there = [false; 256];
        labels.iter().for_each(|&label| there[usize::from(label)] = true);
        let of = |place: Option<usize>| place.unwrap_or_default() as u8;
        LabelRange {
            least: of(there.iter().position(|there| *there)),
            most: of(there.iter().rposition(|there| *there)),
            different: there.iter().filter(|there| **there).count(),
        }
    }
}

impl fmt::Display for LabelRange {
    /// A text such as `26 different labels from 1 to 26`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.different {
            1 => write!(f, "one label, {}", self.least),
            different => write!(f, "{different} different labels from {} to {}", self.least, self.most),
        }
    }
}

/// Reads images and their labels, which must have the same number; the images have one channel.
pub fn read_examples<'a>(
    images: impl Into<Source<'a>>,
    labels: impl Into<Source<'a>>,
    classes: usize,
) -> Result<Examples> {
    let (images, labels) = (images.into(), labels.into());
    let Images { shape: [count, height, width], pixels } = read_images(images)?;
    let values = read_labels(labels, classes)?;
    if values.len() != count {
        return Err(Error::Data(format!(
            "{images} holds {count} images but {labels} holds {} labels; take both files from the same data set",
            values.len(),
        )));
    }
    Ok(Examples { shape: [height, width, 1], classes, pixels, labels: values, numbers: Vec::new() })
}

/// Reads the sizes in the header, and exactly that many bytes.
fn read(source: Source<'_>, kind: &Kind) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut file = open(source)?;
    let header_length = 4 * (1 + kind.dimensions);
    let start = next_bytes(&mut file, source, START)?;
    let header = &start[..start.len().min(header_length)];
    let words: Vec<u32> = header.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word)).collect();
    check_magic(source, kind, &start, words.first().copied())?;
    if header.len() < header_length {
        let found = header.len();
        return Err(damaged(
            source,
            format!("is truncated: its header has {header_length} bytes, only {found} are there"),
        ));
    }
    let sizes = &words[1..];
    let bytes = declared_bytes(source, kind, sizes)?;
    crate::machine::check_room(&source.to_string(), bytes, "use a smaller data set, or end other programs")?;
    let rest = (bytes + MAX_SURPLUS).saturating_sub(start.len() as u64 - header_length as u64);
    let mut values = Vec::with_capacity(bytes.min(MAX_RESERVED) as usize);
    values.extend_from_slice(&start[header_length..]);
    file.take(rest).read_to_end(&mut values).map_err(|error| unpack_error(source, error))?;
    let found = values.len() as u64;
    if found < bytes {
        let problem =
            format!("is truncated: its header declares {}, but only {found} bytes follow", describe(kind, sizes));
        return Err(damaged(source, problem));
    }
    if found > bytes {
        let surplus = match found - bytes {
            1 => "1 byte follows".to_string(),
            MAX_SURPLUS.. => format!("{MAX_SURPLUS} bytes or more follow"),
            surplus => format!("{surplus} bytes follow"),
        };
        let problem = format!("is too long: {surplus} after the {} that its header declares", describe(kind, sizes));
        return Err(unfit(source, problem, "cut it there, or correct the header"));
    }
    Ok((sizes.iter().map(|&size| size as usize).collect(), values))
}

fn check_magic(source: Source<'_>, kind: &Kind, start: &[u8], magic: Option<u32>) -> Result<()> {
    match magic {
        Some(magic) if magic == kind.magic => Ok(()),
        _ if start.is_empty() => Err(damaged(source, "is empty".to_string())),
        None => Err(damaged(source, format!("is truncated: only {} bytes are there", start.len()))),
        Some(magic) => {
            let other = [&IMAGES, &LABELS].into_iter().find(|other| other.magic == magic);
            let (found, remedy) = nature(start);
            let remedy = match other {
                Some(other) => format!("it holds {}s, so perhaps two files have each other's names", other.noun),
                None => remedy.to_string(),
            };
            Err(unfit(source, format!("is {found}, but {}s are read from {}", kind.noun, kind.wanted), &remedy))
        }
    }
}

/// The product of the sizes; zero, overflow and more than the largest file are errors.
fn declared_bytes(source: Source<'_>, kind: &Kind, sizes: &[u32]) -> Result<u64> {
    let bytes = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(u64::from(size)));
    match bytes {
        Some(0) => Err(damaged(source, format!("declares {}: there is nothing in it", describe(kind, sizes)))),
        Some(bytes) if bytes <= MAX_BYTES => Ok(bytes),
        _ => Err(damaged(
            source,
            format!("declares {}, more than the {} MiB that are accepted", describe(kind, sizes), MAX_BYTES >> 20),
        )),
    }
}

/// A text such as `60000 images of 28x28 bytes` or `10 labels`.
fn describe(kind: &Kind, sizes: &[u32]) -> String {
    let (noun, count) = (kind.noun, sizes[0]);
    let plural = if count == 1 { "" } else { "s" };
    match sizes[1..] {
        [height, width] => format!("{count} {noun}{plural} of {height}x{width} bytes"),
        _ => format!("{count} {noun}{plural}"),
    }
}

/// The unpacked bytes of a source, which may be gzipped or plain.
pub(super) fn open(source: Source<'_>) -> Result<Box<dyn Read + '_>> {
    let path = match source {
        Source::Bytes(bytes, _) => return Ok(unpacked(bytes, bytes)),
        Source::File(path) => path,
    };
    let (file, _) = reading::open(path, u64::MAX).map_err(|error| match reading::is_refusal(&error) {
        true => Error::Data(format!("cannot read {source}: {error}; put a copy of the file in its place")),
        false => Error::io("read", path)(error),
    })?;
    let mut file = BufReader::new(file);
    let start = file.fill_buf().map_err(Error::io("read", path))?.to_vec();
    Ok(unpacked(&start, file))
}

fn unpacked<'a>(start: &[u8], bytes: impl BufRead + 'a) -> Box<dyn Read + 'a> {
    if start.starts_with(&[0x1f, 0x8b]) { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) }
}

/// Reads up to `limit` bytes, fewer if the file ends sooner.
fn next_bytes(file: &mut dyn Read, source: Source<'_>, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(limit.min(MAX_RESERVED) as usize);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| unpack_error(source, error))?;
    Ok(bytes)
}

/// The decoder reports a damaged stream through the same type as a failing disk.
pub(super) fn unpack_error(source: Source<'_>, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => damaged(source, "is truncated: its gzip stream is cut off".to_string()),
        // `tar` gives its own errors the kind `Other`.
        ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::Other => {
            damaged(source, format!("is damaged: {}", text::message(error)))
        }
        _ => match source {
            Source::File(path) => Error::io("read", path)(error),
            Source::Bytes(..) => damaged(source, format!("cannot be read: {}", text::message(error))),
        },
    }
}

/// The error for a file that was damaged during a transfer.
pub(super) fn damaged(source: Source<'_>, problem: String) -> Error {
    unfit(source, problem, "replace it with a good copy")
}

/// The error for a file that cannot be used. The message only suggests deleting it if this program downloaded it.
fn unfit(source: Source<'_>, problem: String, remedy: &str) -> Error {
    let cached = matches!(source, Source::File(path) if files::in_cache(path));
    let remedy = if cached { "delete it and run `glassnet data fetch`" } else { remedy };
    Error::Data(format!("{source} {problem}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_multiplied_without_overflow() {
        let source = Source::Bytes(&[], "x");
        assert_eq!(declared_bytes(source, &IMAGES, &[60_000, 28, 28]).unwrap(), 47_040_000);
        for sizes in [[u32::MAX; 3], [1 << 31, 1 << 31, 4], [1 << 16, 1 << 16, 1]] {
            let message = declared_bytes(source, &IMAGES, &sizes).unwrap_err().to_string();
            assert!(message.contains("more than the 1024 MiB that are accepted"), "{message}");
        }
    }

    #[test]
    fn sizes_are_described_in_words() {
        assert_eq!(describe(&IMAGES, &[2, 28, 27]), "2 images of 28x27 bytes");
        assert_eq!(describe(&LABELS, &[1]), "1 label");
    }
}
