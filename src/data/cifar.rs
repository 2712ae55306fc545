//! CIFAR-10's binary archive: a tar of six files of records, each a label, then 1024 red, 1024 green, 1024 blue bytes.
//! It is read where it lies, gzipped or plain: nothing is ever unpacked to the disk, so no name in it can lead anywhere.
//! What the archive is not known to hold is refused, and no size in it is believed before the bytes are there.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use tar::{Archive, EntryType};

use super::idx::{self, damaged, unpack_error};
use super::{DatasetName, Examples};
use crate::Result;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// A label and three planes.
const RECORD: usize = 1 + 3 * PLANE;

/// The one folder in the archive.
const FOLDER: &str = "cifar-10-batches-bin";
const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: &str = "test_batch.bin";
/// The classes' names, one a line.
const NAMES: &str = "batches.meta.txt";
const README: &str = "readme.html";

/// Texts in the archive are far shorter.
const MAX_TEXT: u64 = 1 << 16;

/// Reads training and test set, images `[32,32,3]`. Errors name the archive, what is wrong with it, and what to do.
pub fn read_archive(path: &Path) -> Result<(Examples, Examples)> {
    let files = unpack(path)?;
    let missing: Vec<&str> = TRAIN.into_iter().chain([TEST]).filter(|name| !files.contains_key(*name)).collect();
    if !missing.is_empty() {
        return Err(damaged(path, format!("is incomplete: {} missing from it", missing.join(", "))));
    }
    if let Some(names) = files.get(NAMES) {
        check_names(path, names)?;
    }
    Ok((examples(path, &files, &TRAIN)?, examples(path, &files, &[TEST])?))
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
        let known = TRAIN.into_iter().chain([TEST, NAMES, README]);
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

/// The records of `names`, one file after the other, their planes interleaved.
fn examples(path: &Path, files: &BTreeMap<&'static str, Vec<u8>>, names: &[&str]) -> Result<Examples> {
    let classes = DatasetName::Cifar10.class_names().len();
    let count: usize = names.iter().filter_map(|name| files.get(name)).map(|bytes| bytes.len() / RECORD).sum();
    let (mut pixels, mut labels) = (Vec::with_capacity(count * 3 * PLANE), Vec::with_capacity(count));
    for name in names {
        for (index, record) in files.get(name).into_iter().flat_map(|bytes| bytes.chunks_exact(RECORD)).enumerate() {
            if usize::from(record[0]) >= classes {
                let (label, last) = (record[0], classes - 1);
                let problem =
                    format!("is damaged: label {label} of record {index} in {name} is not within 0 to {last}");
                return Err(damaged(path, problem));
            }
            labels.push(record[0]);
            let planes = &record[1..];
            pixels.extend((0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]));
        }
    }
    Ok(Examples { shape: [SIDE, SIDE, 3], classes, pixels, labels, numbers: Vec::new() })
}
