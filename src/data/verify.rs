//! Compares files with the published ones. [`verify`] reports on the files of one folder, [`list`] on every data set.

use std::path::{Path, PathBuf};

use super::checksum::{Verdict, judge};
use super::files::{cache_folder, file_in};
use super::{DatasetName, Request, Sources, locate};
use crate::Result;

/// One file of a data set.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The published name, without `.gz`.
    pub file: &'static str,
    /// The file found under that name or a variant of it.
    pub path: Option<PathBuf>,
    /// The size on disk.
    pub bytes: u64,
    pub verdict: Verdict,
}

/// Reports on the files in `folder`, or in its subfolder named after the data set. Mismatches are in the report and not
/// an error; only [`Verdict::Verified`] is a success. For synthetic digits, which have no files, the report is empty.
pub fn verify(name: DatasetName, folder: &Path) -> Vec<FileReport> {
    let Some(sources) = Sources::published(name) else { return Vec::new() };
    verify_against(name, &sources, &locate::best_folder(name, folder))
}

pub(super) fn verify_against(name: DatasetName, sources: &Sources, folder: &Path) -> Vec<FileReport> {
    let form = locate::form_in(name, folder);
    let published = |index: usize| if form == name.files() { sources.files.get(index) } else { None };
    let report = |(index, &file): (usize, &&'static str)| {
        let path = file_in(folder, file);
        let bytes = path.as_deref().and_then(|path| path.metadata().ok()).map_or(0, |metadata| metadata.len());
        let verdict = match &path {
            None => Verdict::Missing,
            Some(path) => published(index)
                .map_or_else(|| judge_batch(path), |published| judge(path, published))
                .unwrap_or_else(|error| Verdict::Unreadable(error.to_string())),
        };
        FileReport { file, path, bytes, verdict }
    };
    form.iter().enumerate().map(report).collect()
}

/// One data set, with its folder and its files.
#[derive(Clone, Debug)]
pub struct Listing {
    pub name: DatasetName,
    /// The folder that contains its files; `None` if no searched folder has them all.
    pub folder: Option<PathBuf>,
    /// One report per file of the folder; empty if there is no folder.
    pub files: Vec<FileReport>,
}

/// Reports on every data set that has files, in the folders that [`super::obtain()`] would search; ignores the
/// request's name.
pub fn list(request: &Request) -> Vec<Listing> {
    let named = DatasetName::ALL.into_iter().filter(|name| !name.is_synthetic());
    let listing = |name| {
        let places = locate::places(request, cache_folder());
        let folder = places.iter().find_map(|place| locate::complete_folder(name, place));
        let files = folder.as_deref().map_or(Vec::new(), |folder| verify(name, folder));
        Listing { name, folder, files }
    };
    named.map(listing).collect()
}

/// Checks one of CIFAR-10's unpacked files, whose checksums are not published: whether it can be read and has the
/// published size.
fn judge_batch(path: &Path) -> Result<Verdict> {
    if super::cifar::count_records(path)? == super::cifar::Records::PUBLISHED.train {
        return Ok(Verdict::Unverifiable);
    }
    Ok(Verdict::Differs { sha256: super::checksum::sha256_of_file(path)?.0 })
}
