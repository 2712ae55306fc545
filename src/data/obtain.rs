//! Turns a user's request into a data set in memory: finds the files, else downloads them, else draws synthetic
//! pictures.
//!
//! A set requested by name is delivered, or the error says where to put the files. Files that are found are read:
//! damaged or incomplete files are an error, and nothing replaces them silently. `--data-dir` is the only folder that
//! is searched if it is given, and nothing is downloaded elsewhere.

use std::path::{Path, PathBuf};

use super::checksum::Verdict;
use super::cifar::Records;
use super::files::{cache_folder, file_in};
use super::verify::{FileReport, verify_against};
use super::{Dataset, DatasetName, Examples, FILES, Origin, Progress, Request, Sources, idx, locate, synthetic};
use crate::{Error, Result, text};

/// The number of synthetic training digits: MNIST's.
const SYNTHETIC_TRAIN: usize = 60_000;
const SYNTHETIC_TEST: usize = 10_000;

/// The number of synthetic training pictures: CIFAR-10's. Both test sets have the same size.
const PICTURES_TRAIN: usize = 50_000;

/// Constant, so that `synthetic` is one data set, as `mnist` is, for every seed of a run.
const SYNTHETIC_SEED: u64 = 1;

/// All sets in MNIST's format have ten classes.
const CLASSES: usize = 10;

/// Finds, downloads or draws the data set that `request` describes.
///
/// Without a name, the preferred set is used if it can be obtained, else a synthetic one, with the reason in the
/// [`Origin`]; the caller should report it prominently. Files whose checksum is not the published one are accepted with
/// a warning in the log, because users have their own data in MNIST's format.
///
/// # Errors
/// If a set requested by name cannot be obtained, or if files exist but are damaged, incomplete or unreadable.
pub fn obtain(request: &Request, progress: &mut dyn FnMut(Progress)) -> Result<Dataset> {
    obtain_with(request, cache_folder(), &Sources::published, progress)
}

/// [`obtain()`] with the cache folder and the servers as arguments.
fn obtain_with(
    request: &Request,
    cache: Option<PathBuf>,
    sources: &dyn Fn(DatasetName) -> Option<Sources>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Dataset> {
    let name = request.name.or(request.preferred).unwrap_or(DatasetName::Mnist);
    let Some(sources) = sources(name) else {
        if name.is_synthetic() {
            return Ok(draw(name, None, progress));
        }
        return Err(Error::Settings(format!("{name} is not a built-in data set; name the folder of the pictures")));
    };
    if let Some(folder) = find(name, request, cache.clone())? {
        return load(name, &folder, &sources);
    }
    let target = cache.map(|cache| cache.join(name.as_str()));
    let reason = match (&request.data_dir, &target) {
        (Some(folder), _) => not_in(name, folder),
        (None, _) if !request.allow_download => "its files were not found, and downloading is turned off".to_string(),
        (None, None) => "its files were not found, and this system has no cache folder to download to".to_string(),
        (None, Some(target)) => match download(name, target, &sources, progress) {
            Ok(()) => return load(name, target, &sources),
            Err(error @ (Error::Download(_) | Error::Io { .. })) => error.to_string(),
            Err(error) => return Err(error),
        },
    };
    if request.name.is_none() {
        return Ok(draw(name.stand_in(), Some(format!("{name} cannot be obtained: {reason}")), progress));
    }
    let folder = request.data_dir.clone().or(target).map_or("a folder".into(), |folder| folder.display().to_string());
    let files: Vec<String> = name.files().iter().map(|file| format!("{file}.gz")).collect();
    let files = files.join(", ");
    let unpacked = if name.forms().len() > 1 { ", or the .bin files in it," } else { "" };
    let why = format!("{name} cannot be obtained: {reason}; put {files} (gzipped or plain){unpacked} into {folder}");
    Err(Error::NotObtained { why, built_in: name.stand_in().as_str() })
}

/// The folder with all files. An incomplete folder is an error, except in the cache, where a download completes it.
fn find(name: DatasetName, request: &Request, cache: Option<PathBuf>) -> Result<Option<PathBuf>> {
    if let Some(folder) = request.data_dir.as_deref().filter(|folder| !folder.is_dir()) {
        return Err(Error::DataFolder(format!("folder {} does not exist", folder.display())));
    }
    for place in locate::places(request, cache.clone()) {
        if let Some(folder) = locate::complete_folder(name, &place) {
            return Ok(Some(folder));
        }
        if Some(&place) == cache.as_ref() {
            continue;
        }
        if let Some(folder) = locate::incomplete_folder(name, &place) {
            let missing = locate::missing_from(name, &folder).join(", ");
            let folder = folder.display();
            return Err(Error::Data(format!(
                "{name} is incomplete: {missing} (gzipped or plain) missing from {folder}; add what is missing"
            )));
        }
        if request.data_dir.is_none() {
            log::warn!("GLASSNET_DATA: {}", not_in(name, &place));
        }
    }
    Ok(None)
}

fn not_in(name: DatasetName, folder: &Path) -> String {
    match locate::another_set_in(name, folder) {
        Some(other) => format!("the files in {} are {other}, not {name}", folder.display()),
        None => format!("none of its files are in {0} or {0}{1}{name}", folder.display(), std::path::MAIN_SEPARATOR),
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn download(name: DatasetName, folder: &Path, sources: &Sources, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    super::fetch(name, folder, sources, progress)
}

#[cfg(target_arch = "wasm32")]
fn download(name: DatasetName, _: &Path, _: &Sources, _: &mut dyn FnMut(Progress)) -> Result<()> {
    Err(Error::Download(format!("this build cannot download {name}")))
}

/// The training labels of a set in MNIST's format if its files are already present; downloads nothing. Problems with
/// the files are reported when the set is read.
pub fn labels_here(request: &Request) -> Option<(PathBuf, idx::LabelRange)> {
    let name = request.name.or(request.preferred).unwrap_or(DatasetName::Mnist);
    let file = name.files().get(1)?;
    let folder = find(name, request, cache_folder()).ok()??;
    let path = file_in(&folder, file)?;
    let labels = idx::read_any_labels((&path).into()).ok()?;
    Some((path, idx::LabelRange::of(&labels)))
}

/// Reads the archive in `folder`, or its unpacked files.
fn read_cifar10(folder: &Path) -> Result<(Examples, Examples)> {
    match locate::form_in(DatasetName::Cifar10, folder) {
        [archive] => {
            let path = file_in(folder, archive).unwrap_or(folder.join(archive));
            super::cifar::read_archive(&path, Records::PUBLISHED)
        }
        _ => super::cifar::read_folder(folder, Records::PUBLISHED),
    }
}

/// Reads the files of `folder`.
fn load(name: DatasetName, folder: &Path, sources: &Sources) -> Result<Dataset> {
    // Missing files were found out before; a file that vanishes now causes a read error.
    let path = |file: &str| file_in(folder, file).unwrap_or_else(|| folder.join(file));
    let read = |images: &str, labels: &str| idx::read_examples(&path(images), &path(labels), CLASSES);
    let both = || match name {
        DatasetName::Cifar10 => read_cifar10(folder),
        _ => {
            let (train, test) = rayon::join(|| read(FILES[0], FILES[1]), || read(FILES[2], FILES[3]));
            Ok((train?, test?))
        }
    };
    // Unpacking and checksums take most of the start of a short run.
    let (both, reports) = rayon::join(both, || verify_against(name, sources, folder));
    let (train, test) = both?;
    if train.shape != test.shape {
        let ([h, w, _], [test_h, test_w, _]) = (train.shape, test.shape);
        let folder = folder.display();
        return Err(Error::Data(format!(
            "{folder}: the training images are {h}x{w} but the test images {test_h}x{test_w}; take both from one set"
        )));
    }
    let differs = |report: &&FileReport| matches!(report.verdict, Verdict::Differs { .. });
    let others: Vec<&str> = reports.iter().filter(differs).map(|report| report.file).collect();
    if !others.is_empty() {
        let folder = text::path(folder);
        log::warn!(
            "{folder} is used as it is, but differs from {name} as published: other bytes in {}",
            others.join(", ")
        );
    }
    Ok(Dataset { name, train, test, origin: Origin::Files(folder.to_path_buf()), held_out: Default::default() })
}

fn draw(name: DatasetName, fallback_reason: Option<String>, progress: &mut dyn FnMut(Progress)) -> Dataset {
    let pictures = name == DatasetName::SyntheticPictures;
    let train = if pictures { PICTURES_TRAIN } else { SYNTHETIC_TRAIN };
    progress(Progress::Drawing { examples: train + SYNTHETIC_TEST });
    let generate = if pictures { synthetic::generate_pictures } else { synthetic::generate };
    let (train, test) = generate(train, SYNTHETIC_TEST, SYNTHETIC_SEED);
    Dataset { name, train, test, origin: Origin::Synthetic { fallback_reason }, held_out: Default::default() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::{TempDir, tempdir};

    use super::*;

    /// A server address at which nothing listens: port 1 is reserved and refuses at once.
    fn unreachable(name: DatasetName) -> Option<Sources> {
        let sources = Sources::published(name)?;
        Some(Sources { mirrors: vec!["http://127.0.0.1:1/".to_string()], ..sources })
    }

    fn obtain_here(request: &Request, cache: &TempDir) -> Result<Dataset> {
        obtain_with(request, Some(cache.path().to_path_buf()), &unreachable, &mut |_| ())
    }

    fn put_files(folder: &Path, test_height: u8) {
        fs::create_dir_all(folder).unwrap();
        let images = |height: u8| {
            [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, height, 0, 0, 0, 1], &vec![9; 2 * height as usize][..]].concat()
        };
        let labels = [0, 0, 8, 1, 0, 0, 0, 2, 3, 4];
        fs::write(folder.join(FILES[0]), images(2)).unwrap();
        fs::write(folder.join(FILES[1]), labels).unwrap();
        fs::write(folder.join(FILES[2]), images(test_height)).unwrap();
        fs::write(folder.join(FILES[3]), labels).unwrap();
    }

    fn request(name: Option<DatasetName>, data_dir: Option<&Path>) -> Request {
        Request {
            name,
            data_dir: data_dir.map(Path::to_path_buf),
            environment: None,
            allow_download: true,
            preferred: None,
        }
    }

    #[test]
    fn files_in_the_data_dir_are_read() {
        let (cache, dir) = (tempdir().unwrap(), tempdir().unwrap());
        put_files(&dir.path().join("kmnist"), 2);
        let dataset = obtain_here(&request(Some(DatasetName::Kmnist), Some(dir.path())), &cache).unwrap();
        assert_eq!(dataset.origin, Origin::Files(dir.path().join("kmnist")));
        assert_eq!((dataset.train.shape, dataset.train.labels), ([2, 1, 1], vec![3, 4]));
    }

    #[test]
    fn the_environment_comes_before_the_cache() {
        let (cache, dir) = (tempdir().unwrap(), tempdir().unwrap());
        put_files(&cache.path().join("mnist"), 2);
        let asked = request(None, None);
        assert_eq!(obtain_here(&asked, &cache).unwrap().origin, Origin::Files(cache.path().join("mnist")));
        put_files(dir.path(), 2);
        let asked = Request { environment: Some(dir.path().to_path_buf()), ..asked };
        assert_eq!(obtain_here(&asked, &cache).unwrap().origin, Origin::Files(dir.path().to_path_buf()));
    }

    #[test]
    fn nothing_named_and_nothing_there_means_synthetic_digits_with_the_reason() {
        let cache = tempdir().unwrap();
        let dataset = obtain_here(&request(None, None), &cache).unwrap();
        let Origin::Synthetic { fallback_reason: Some(reason) } = dataset.origin else {
            panic!("{:?}", dataset.origin)
        };
        assert!(reason.starts_with("mnist cannot be obtained: cannot download"), "{reason}");
        assert_eq!((dataset.name, dataset.train.len(), dataset.test.len()), (DatasetName::Synthetic, 60_000, 10_000));
    }

    #[test]
    fn synthetic_pictures_stand_in_for_colour() {
        let asked = Request { preferred: Some(DatasetName::Cifar10), ..request(None, None) };
        let dataset = obtain_here(&asked, &tempdir().unwrap()).unwrap();
        let Origin::Synthetic { fallback_reason: Some(reason) } = &dataset.origin else {
            panic!("{:?}", dataset.origin)
        };
        assert!(reason.starts_with("cifar10 cannot be obtained: cannot download"), "{reason}");
        assert_eq!((dataset.name, dataset.train.len()), (DatasetName::SyntheticPictures, 50_000));
        assert_eq!((dataset.train.shape, dataset.class_names().len()), ([32, 32, 3], 10));
    }

    #[test]
    fn synthetic_digits_that_were_asked_for_need_no_reason() {
        let dataset = obtain_here(&request(Some(DatasetName::Synthetic), None), &tempdir().unwrap()).unwrap();
        assert_eq!(dataset.origin, Origin::Synthetic { fallback_reason: None });
    }

    #[test]
    fn what_was_named_and_cannot_be_had_is_an_error_that_says_where_to_put_it() {
        let cache = tempdir().unwrap();
        let message = obtain_here(&request(Some(DatasetName::Mnist), None), &cache).unwrap_err().to_string();
        let folder = cache.path().join("mnist").display().to_string();
        for part in FILES.into_iter().chain([folder.as_str(), "the built-in data set synthetic", "127.0.0.1"]) {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn a_named_set_that_is_not_in_the_data_dir_is_not_taken_from_elsewhere() {
        let (cache, dir) = (tempdir().unwrap(), tempdir().unwrap());
        put_files(&cache.path().join("mnist"), 2);
        let asked = request(Some(DatasetName::Mnist), Some(dir.path()));
        let message = obtain_here(&asked, &cache).unwrap_err().to_string();
        assert!(message.contains(&format!("into {}", dir.path().display())), "{message}");
    }

    #[test]
    fn a_data_dir_that_does_not_exist_is_an_error() {
        let asked = request(None, Some(Path::new("/no/such/folder")));
        let message = obtain_here(&asked, &tempdir().unwrap()).unwrap_err().to_string();
        assert_eq!(message, "folder /no/such/folder does not exist; name the folder that has the data");
    }

    #[test]
    fn an_incomplete_folder_is_an_error_that_names_what_is_missing() {
        let dir = tempdir().unwrap();
        put_files(dir.path(), 2);
        fs::remove_file(dir.path().join(FILES[3])).unwrap();
        let message = obtain_here(&request(None, Some(dir.path())), &tempdir().unwrap()).unwrap_err().to_string();
        assert!(
            message.contains("mnist is incomplete: t10k-labels-idx1-ubyte (gzipped or plain) missing"),
            "{message}"
        );
    }

    #[test]
    fn damaged_files_are_an_error_and_never_a_fallback() {
        let cache = tempdir().unwrap();
        put_files(&cache.path().join("mnist"), 2);
        fs::write(cache.path().join("mnist").join(FILES[0]), "rubbish").unwrap();
        assert!(matches!(obtain_here(&request(None, None), &cache), Err(Error::Data(_))));
    }

    #[test]
    fn training_and_test_images_must_have_one_size() {
        let dir = tempdir().unwrap();
        put_files(dir.path(), 3);
        let message = obtain_here(&request(None, Some(dir.path())), &tempdir().unwrap()).unwrap_err().to_string();
        assert!(message.contains("the training images are 2x1 but the test images 3x1"), "{message}");
    }
}
