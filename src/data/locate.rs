//! Where files are searched for: in the requested folder, or else in `GLASSNET_DATA` and then in the user's cache
//! folder. Each of these folders may contain the files itself or in a subfolder named after the data set. CIFAR-10 may
//! be the archive or its files, also in their folder `cifar-10-batches-bin`.

use std::path::{Path, PathBuf};

use super::checksum::owner_of_labels;
use super::files::{cache_folder, file_in};
use super::{DatasetName, Request, catalog};
use crate::{Error, Result};

/// The folder named by the environment variable `GLASSNET_DATA`; an empty value counts as unset.
pub fn environment() -> Option<PathBuf> {
    std::env::var_os("GLASSNET_DATA").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder for a download of `name`: a subfolder named after it, in `data_dir` or else in the user's cache folder.
pub fn download_folder(name: DatasetName, data_dir: Option<&Path>) -> Result<PathBuf> {
    let parent = data_dir.map(Path::to_path_buf).or_else(cache_folder);
    let parent = parent
        .ok_or_else(|| Error::DataFolder("this system has no cache folder, because HOME is not set".to_string()))?;
    Ok(parent.join(name.as_str()))
}

/// The folders that a request allows to search, in order.
pub(super) fn places(request: &Request, cache: Option<PathBuf>) -> Vec<PathBuf> {
    match &request.data_dir {
        Some(folder) => vec![folder.clone()],
        None => request.environment.iter().cloned().chain(cache).collect(),
    }
}

/// The form of `name` that is in `folder`: a complete one, else one with some of its files, else the published one.
pub(super) fn form_in(name: DatasetName, folder: &Path) -> &'static [&'static str] {
    let there = |form: &[&str]| form.iter().filter(|file| file_in(folder, file).is_some()).count();
    let forms = name.forms();
    let whole = forms.iter().find(|form| there(form) == form.len());
    whole.or_else(|| forms.iter().find(|form| there(form) > 0)).copied().unwrap_or(name.files())
}

/// The files of `name` that are missing from `folder`.
pub(super) fn missing_from(name: DatasetName, folder: &Path) -> Vec<&'static str> {
    form_in(name, folder).iter().copied().filter(|file| file_in(folder, file).is_none()).collect()
}

/// The folder at `place` that contains all files of `name`.
pub(super) fn complete_folder(name: DatasetName, place: &Path) -> Option<PathBuf> {
    candidates(name, place).into_iter().find(|folder| missing_from(name, folder).is_empty())
}

/// The folder at `place` that contains some but not all of the files: an incomplete copy.
pub(super) fn incomplete_folder(name: DatasetName, place: &Path) -> Option<PathBuf> {
    candidates(name, place)
        .into_iter()
        .find(|folder| (1..form_in(name, folder).len()).contains(&missing_from(name, folder).len()))
}

/// The folder at `place` to report on: a complete one, else an incomplete one, else `place` itself.
pub(super) fn best_folder(name: DatasetName, place: &Path) -> PathBuf {
    complete_folder(name, place).or_else(|| incomplete_folder(name, place)).unwrap_or_else(|| place.to_path_buf())
}

/// The folders to check, the subfolder first. All sets in MNIST's format share their file names, so files directly in
/// `place` might belong to another set; if their checksum says so, they do not count.
fn candidates(name: DatasetName, place: &Path) -> Vec<PathBuf> {
    let mut folders = vec![place.join(name.as_str())];
    match another_set_in(name, place) {
        None => folders.push(place.to_path_buf()),
        Some(other) => log::info!("the files in {} are {other}, not {name}", place.display()),
    }
    if name == DatasetName::Cifar10 {
        folders =
            folders.into_iter().flat_map(|folder| [folder.clone(), folder.join(catalog::CIFAR10_FOLDER)]).collect();
    }
    folders
}

/// The published set that the files directly in `folder` belong to, if it is not `name`.
pub(super) fn another_set_in(name: DatasetName, folder: &Path) -> Option<DatasetName> {
    let labels = name.files().get(1).and_then(|labels| file_in(folder, labels));
    labels.and_then(|labels| owner_of_labels(&labels)).filter(|&owner| owner != name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::FILES;
    use super::*;

    #[test]
    fn the_subfolder_comes_before_the_folder_itself() {
        let folder = tempfile::tempdir().unwrap();
        for file in FILES {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(complete_folder(DatasetName::Kmnist, folder.path()).unwrap(), folder.path());
        let inner = folder.path().join("kmnist");
        fs::create_dir(&inner).unwrap();
        for file in FILES {
            fs::write(inner.join(file), "").unwrap();
        }
        assert_eq!(complete_folder(DatasetName::Kmnist, folder.path()).unwrap(), inner);
        assert_eq!(complete_folder(DatasetName::Mnist, folder.path()).unwrap(), folder.path());
    }

    #[test]
    fn the_data_dir_hides_the_other_places() {
        let request = Request { environment: Some("env".into()), ..Request::default() };
        assert_eq!(places(&request, Some("cache".into())), [PathBuf::from("env"), PathBuf::from("cache")]);
        let request = Request { data_dir: Some("dir".into()), ..request };
        assert_eq!(places(&request, Some("cache".into())), [PathBuf::from("dir")]);
    }
}
