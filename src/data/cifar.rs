//! CIFAR-10's binary archive: a tar of six files of records, each a label, then 1024 red, 1024 green, 1024 blue bytes.
//! It is read where it lies, gzipped or plain: nothing is ever unpacked to the disk, so no name in it can lead anywhere.
//! Where someone has unpacked it, the six files are read.
//! What the archive is not known to hold is refused, and no size in it is believed before the bytes are there.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use tar::{Archive, EntryType};

use super::catalog::{CIFAR10_BATCHES, CIFAR10_FOLDER as FOLDER};
use super::idx::{self, damaged, unpack_error};
use super::{DatasetName, Examples, locate};
use crate::Result;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// A label and three planes.
const RECORD: usize = 1 + 3 * PLANE;

/// Size of each of the six files as published, without compression.
pub(super) const BATCH_BYTES: usize = 10_000 * RECORD;

/// The files of the training set, and those of the test set.
const SETS: (&[&str], &[&str]) = CIFAR10_BATCHES.split_at(5);
/// The classes' names, one a line.
const NAMES: &str = "batches.meta.txt";
const README: &str = "readme.html";

/// Texts in the archive are far shorter.
const MAX_TEXT: u64 = 1 << 16;

/// Reads training and test set, images `[32,32,3]`. Errors name the archive, what is wrong with it, and what to do.
pub fn read_archive(path: &Path) -> Result<(Examples, Examples)> {
    let files = unpack(path)?;
    let missing: Vec<&str> = CIFAR10_BATCHES.into_iter().filter(|name| !files.contains_key(*name)).collect();
    if !missing.is_empty() {
        return Err(damaged(path, format!("is incomplete: {} missing from it", missing.join(", "))));
    }
    if let Some(names) = files.get(NAMES) {
        check_names(path, names)?;
    }
    for (name, bytes) in files.iter().filter(|(name, _)| CIFAR10_BATCHES.contains(*name)) {
        check_labels(path, bytes, &format!(" in {name}"))?;
    }
    Ok((examples(&files, SETS.0), examples(&files, SETS.1)))
}

/// Reads both sets from the six files in `folder`, which is an unpacked copy. Errors name the file.
pub fn read_folder(folder: &Path) -> Result<(Examples, Examples)> {
    let path = |name: &str| locate::file_in(folder, name).unwrap_or_else(|| folder.join(name));
    let names = path(NAMES);
    if names.is_file() {
        let mut text = Vec::new();
        idx::open(&names)?.take(MAX_TEXT).read_to_end(&mut text).map_err(|error| unpack_error(&names, error))?;
        check_names(&names, &text)?;
    }
    let files = CIFAR10_BATCHES.into_iter().map(|name| Ok((name, read_batch(&path(name))?)));
    let files = files.collect::<Result<BTreeMap<_, _>>>()?;
    Ok((examples(&files, SETS.0), examples(&files, SETS.1)))
}

/// The records of one unpacked file, which may be gzipped.
pub(super) fn read_batch(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = idx::open(path)?.take(idx::MAX_BYTES);
    file.read_to_end(&mut bytes).map_err(|error| unpack_error(path, error))?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(damaged(path, format!("has {} bytes; records have {RECORD}", bytes.len())));
    }
    check_labels(path, &bytes, "")?;
    Ok(bytes)
}

/// The archive's files by name.
fn unpack(path: &Path) -> Result<BTreeMap<&'static str, Vec<u8>>> {
    let mut archive = Archive::new(idx::open(path)?.take(idx::MAX_BYTES));
    let mut files = BTreeMap::new();
    let unreadable = |error| unpack_error(path, error);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let inner = shown.strip_prefix("./").unwrap_or(&shown);
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory && inner.trim_end_matches('/') == FOLDER {
            continue;
        }
        let known = CIFAR10_BATCHES.into_iter().chain([NAMES, README]);
        let name = inner.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
        let name = known.into_iter().find(|known| kind == EntryType::Regular && name == Some(known));
        let Some(name) = name.filter(|name| !files.contains_key(name)) else {
            return Err(damaged(path, format!("holds {shown:?}, which is no part of CIFAR-10")));
        };
        let text = [NAMES, README].contains(&name);
        let size = entry.size();
        if (text && size > MAX_TEXT) || (!text && (size == 0 || !size.is_multiple_of(RECORD as u64))) {
            return Err(damaged(path, format!("holds {shown:?} of {size} bytes; records have {RECORD}")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 != size {
            return Err(damaged(path, format!("is truncated: {shown:?} ends after {} of {size} bytes", bytes.len())));
        }
        files.insert(name, bytes);
    }
    Ok(files)
}

/// The same labels could stand for other things.
fn check_names(path: &Path, text: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(text);
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if names.eq(DatasetName::Cifar10.class_names().iter().copied()) {
        return Ok(());
    }
    Err(damaged(path, format!("names other classes in {NAMES} than CIFAR-10 has")))
}

/// Every record's label must be one of the classes.
fn check_labels(path: &Path, bytes: &[u8], place: &str) -> Result<()> {
    let classes = DatasetName::Cifar10.class_names().len();
    let labels = bytes.iter().step_by(RECORD);
    match labels.enumerate().find(|&(_, &label)| usize::from(label) >= classes) {
        None => Ok(()),
        Some((index, label)) => {
            let last = classes - 1;
            let problem = format!("is damaged: label {label} of record {index}{place} is not within 0 to {last}");
            Err(damaged(path, problem))
        }
    }
}

/// The records of `names`, one file after the other, their planes interleaved.
fn examples(files: &BTreeMap<&'static str, Vec<u8>>, names: &[&str]) -> Examples {
    let classes = DatasetName::Cifar10.class_names().len();
    let count: usize = names.iter().filter_map(|name| files.get(name)).map(|bytes| bytes.len() / RECORD).sum();
    let (mut pixels, mut labels) = (Vec::with_capacity(count * 3 * PLANE), Vec::with_capacity(count));
    for name in names {
        for record in files.get(name).into_iter().flat_map(|bytes| bytes.chunks_exact(RECORD)) {
            labels.push(record[0]);
            let planes = &record[1..];
            pixels.extend((0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]));
        }
    }
    Examples { shape: [SIDE, SIDE, 3], classes, pixels, labels, numbers: Vec::new() }
}
