//! CIFAR-10's binary archive: a tar of six files of records, each a label, then 1024 red, 1024 green, 1024 blue bytes.
//! The archive is read in its place or from bytes, gzipped or plain. Nothing is unpacked to the disk, so a name in the
//! archive cannot write to any path.
//! If it was unpacked, the six files are read.
//! Unknown contents are refused, and no size in the archive is trusted before the bytes are there.

use std::io::{self, BufReader, Read};
use std::path::Path;

use tar::{Archive, EntryType};

use super::catalog::{CIFAR10_BATCHES, CIFAR10_FOLDER as FOLDER};
use super::files::file_in;
use super::idx::{self, damaged, unpack_error};
use super::{DatasetName, Examples, Source};
use crate::{Result, text};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// The bytes of a record: a label and three planes.
const RECORD: usize = 1 + 3 * PLANE;

/// The number of files of the training set, which come first; the last is the test set.
const TRAIN_FILES: usize = 5;
/// The file with the classes' names, one per line.
const NAMES: &str = "batches.meta.txt";
const README: &str = "readme.html";

/// The largest text in the archive; real ones are far shorter.
const MAX_TEXT: u64 = 1 << 16;

/// The most bytes of an archive besides records and texts: headers, of which some formats have several per file, and
/// padding between files.
const MAX_HEADERS: u64 = 1 << 20;

/// The number of records in each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// The number in each of the five files of the training set.
    pub train: usize,
    /// The number in the file of the test set.
    pub test: usize,
}

impl Records {
    /// The published numbers.
    pub const PUBLISHED: Records = Records { train: 10_000, test: 10_000 };

    fn of(self, file: usize) -> usize {
        if file < TRAIN_FILES { self.train } else { self.test }
    }
}

/// Reads the training and the test set, images `[32,32,3]`, from an archive of files with exactly this many records.
/// Errors name the archive, what is wrong with it, and what to do.
pub fn read_archive<'a>(source: impl Into<Source<'a>>, records: Records) -> Result<(Examples, Examples)> {
    let source = source.into();
    let most = (TRAIN_FILES * records.train + records.test) * RECORD;
    let mut archive = Archive::new(idx::open(source)?.take(most as u64 + 2 * MAX_TEXT + MAX_HEADERS));
    let (mut sets, mut texts) = (Sets::new(records), Vec::new());
    let unreadable = |error| unpack_error(source, error);
    // Raw, because names and extensions in separate entries would otherwise be read completely into memory.
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (inner, shown) = (name.strip_prefix("./").unwrap_or(&name), text::cut(format!("{name:?}")));
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader)
            || kind == EntryType::Directory && inner.trim_end_matches('/') == FOLDER
        {
            continue;
        }
        let foreign = || damaged(source, format!("holds {shown}, which is no part of CIFAR-10"));
        let inner = inner.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
        let inner = inner.filter(|_| kind == EntryType::Regular).ok_or_else(foreign)?;
        let size = entry.size();
        if [NAMES, README].contains(&inner) {
            if size > MAX_TEXT || texts.contains(&inner.to_string()) {
                return Err(foreign());
            }
            texts.push(inner.to_string());
            let mut text = Vec::new();
            entry.read_to_end(&mut text).map_err(unreadable)?;
            if inner == NAMES {
                check_names(source, &text)?;
            }
            continue;
        }
        let file = CIFAR10_BATCHES.into_iter().position(|known| inner == known).ok_or_else(foreign)?;
        if sets.filled[file] {
            return Err(foreign());
        }
        let expected = records.of(file);
        if size != (expected * RECORD) as u64 {
            return Err(damaged(source, format!("holds {shown} of {}", other_size(size, expected))));
        }
        let count = sets.read(file, &mut entry, source, &format!(" in {inner}"))?;
        if count < expected {
            return Err(damaged(source, format!("is truncated: {shown} ends after {count} of {expected} records")));
        }
    }
    let missing: Vec<&str> =
        CIFAR10_BATCHES.into_iter().zip(sets.filled).filter(|(_, filled)| !filled).map(|(name, _)| name).collect();
    if !missing.is_empty() {
        return Err(damaged(source, format!("is incomplete: {} missing from it", missing.join(", "))));
    }
    Ok((sets.train, sets.test))
}

/// Reads both sets from an unpacked copy, the six files in `folder`. Errors name the file.
pub fn read_folder(folder: &Path, records: Records) -> Result<(Examples, Examples)> {
    let path = |name: &str| file_in(folder, name).unwrap_or_else(|| folder.join(name));
    let names = path(NAMES);
    if names.is_file() {
        let mut text = Vec::new();
        idx::open((&names).into())?
            .take(MAX_TEXT)
            .read_to_end(&mut text)
            .map_err(|error| unpack_error((&names).into(), error))?;
        check_names((&names).into(), &text)?;
    }
    // Checked before the other files are read in vain.
    for (file, name) in CIFAR10_BATCHES.into_iter().enumerate() {
        let (path, expected) = (path(name), records.of(file));
        let size = path.metadata().map_or(0, |metadata| metadata.len());
        let packed = path.extension().is_some_and(|ending| ending == "gz");
        if path.is_file() && !packed && !is_packed(&path)? && size != (expected * RECORD) as u64 {
            return Err(damaged((&path).into(), format!("has {}", other_size(size, expected))));
        }
    }
    let paths = CIFAR10_BATCHES.map(path);
    read_batches(paths.each_ref().map(Source::from), records)
}

/// Reads both sets from the six files; those of the training set come first. Errors name the file.
pub fn read_batches(files: [Source<'_>; TRAIN_FILES + 1], records: Records) -> Result<(Examples, Examples)> {
    let mut sets = Sets::new(records);
    for (file, source) in files.into_iter().enumerate() {
        let count = sets.read(file, &mut idx::open(source)?.take(idx::MAX_BYTES), source, "")?;
        let expected = records.of(file);
        if count != expected {
            return Err(damaged(source, format!("has {}", other_size((count * RECORD) as u64, expected))));
        }
    }
    Ok((sets.train, sets.test))
}

/// The number of records of an unpacked file, which may be gzipped; its labels are checked.
pub(super) fn count_records(path: &Path) -> Result<usize> {
    let mut sets = Sets::new(Records { train: 0, test: 0 });
    let source = Source::File(path);
    sets.read(0, &mut idx::open(source)?.take(idx::MAX_BYTES), source, "")
}

fn is_packed(path: &Path) -> Result<bool> {
    let mut start = [0; 2];
    let mut file = std::fs::File::open(path).map_err(crate::Error::io("read", path))?;
    let read = fill(&mut file, &mut start).map_err(crate::Error::io("read", path))?;
    Ok(start[..read] == [0x1f, 0x8b])
}

/// A text such as `9999 records; CIFAR-10's files have 10000`.
fn other_size(size: u64, expected: usize) -> String {
    let record = RECORD as u64;
    match size % record {
        0 => format!("{} records; CIFAR-10's files have {expected} each", size / record),
        _ => format!(
            "{size} bytes, no whole number of records of {RECORD}; CIFAR-10's files have {expected} records each"
        ),
    }
}

/// Checks the names of the classes, because the same labels could mean other things.
fn check_names(source: Source<'_>, bytes: &[u8]) -> Result<()> {
    let text = text::decode(bytes).map_err(|why| damaged(source, format!("cannot be used: in {NAMES} {why}")))?;
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if names.eq(DatasetName::Cifar10.class_names().iter().copied()) {
        return Ok(());
    }
    Err(damaged(source, format!("names other classes in {NAMES} than CIFAR-10 has")))
}

/// Both sets, filled record by record, so that nothing else is held in memory.
struct Sets {
    records: Records,
    train: Examples,
    test: Examples,
    filled: [bool; CIFAR10_BATCHES.len()],
}

impl Sets {
    fn new(records: Records) -> Sets {
        let classes = DatasetName::Cifar10.class_names().len();
        let empty = |count: usize| Examples {
            shape: [SIDE, SIDE, 3],
            classes,
            pixels: vec![0; count * 3 * PLANE],
            labels: vec![0; count],
            numbers: Vec::new(),
        };
        let (train, test) = (empty(TRAIN_FILES * records.train), empty(records.test));
        Sets { records, train, test, filled: [false; CIFAR10_BATCHES.len()] }
    }

    /// Reads the records of a file into its place; returns their number, including those beyond its size.
    fn read(&mut self, file: usize, bytes: &mut dyn Read, source: Source<'_>, place: &str) -> Result<usize> {
        let expected = self.records.of(file);
        let (set, first) = if file < TRAIN_FILES { (&mut self.train, file * expected) } else { (&mut self.test, 0) };
        let (mut record, mut count) = ([0; RECORD], 0);
        let mut bytes = BufReader::with_capacity(1 << 16, bytes);
        loop {
            let read = fill(&mut bytes, &mut record).map_err(|error| unpack_error(source, error))?;
            if read == 0 {
                break;
            }
            if read < RECORD {
                let size = (count * RECORD + read) as u64;
                let problem = match place {
                    "" => format!("ends within a record: it has {}", other_size(size, expected)),
                    place => format!("is truncated: it ends{place} within record {count}"),
                };
                return Err(damaged(source, problem));
            }
            let label = usize::from(record[0]);
            if label >= set.classes {
                let last = set.classes - 1;
                let problem = format!("is damaged: label {label} of record {count}{place} is not within 0 to {last}");
                return Err(damaged(source, problem));
            }
            if count < expected {
                set.labels[first + count] = record[0];
                let (red, rest) = record[1..].split_at(PLANE);
                let (green, blue) = rest.split_at(PLANE);
                let pixels = &mut set.pixels[(first + count) * 3 * PLANE..][..3 * PLANE];
                for (((pixel, red), green), blue) in pixels.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
                    pixel.copy_from_slice(&[*red, *green, *blue]);
                }
            }
            count += 1;
        }
        self.filled[file] = true;
        Ok(count)
    }
}

/// Fills `bytes` as far as the reader has any.
fn fill(reader: &mut dyn Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
