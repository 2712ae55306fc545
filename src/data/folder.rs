//! A folder of pictures as a data set: one subfolder per class, sorted by name, PNG and JPEG files in each.
//! Where the folder has `train` and `test`, they hold the class folders of either set. Else a fifth of every class is the
//! test set: the files whose names have the smallest SHA-256, so that a file stays on its side when others come or go.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::idx::MAX_BYTES;
use super::{Dataset, DatasetName, Division, Examples, Origin, Progress, picture};
use crate::{Error, Result};

/// Labels are bytes.
const MAX_CLASSES: usize = 256;

/// The largest number, up or down, that a class's name is taken for. The square of a distance between two stays far
/// from what f32 holds.
const LARGEST_NUMBER: f32 = 1e6;

/// One file in so many of a class is a test example, where the folder has no test set of its own.
const TEST_SHARE: usize = 5;

/// Names of classes without a test picture that are told.
const UNTESTED_SHOWN: usize = 10;

/// What counts as a picture.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// A folder's files, before any picture is read.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    pub folder: PathBuf,
    pub division: Division,
    /// Names of the classes; a label is an index into them.
    pub classes: Vec<String>,
    /// The classes' names as numbers; empty where they are none.
    pub numbers: Vec<f32>,
    /// Files and labels, by class and name.
    pub train: Vec<(PathBuf, u8)>,
    pub test: Vec<(PathBuf, u8)>,
    /// What else is there, and is left out.
    pub others: Others,
}

/// What a folder holds that is no picture of a class. Files beside the class folders do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Files with other endings.
    pub files: usize,
    /// Folders inside class folders.
    pub folders: usize,
    /// Links that lead nowhere, pipes and the like.
    pub special: usize,
    /// The first of them.
    pub example: Option<PathBuf>,
}

impl Others {
    fn count(&mut self, path: &Path) {
        let count = match (path.is_file(), path.is_dir()) {
            (true, _) => &mut self.files,
            (_, true) => &mut self.folders,
            _ => &mut self.special,
        };
        *count += 1;
        self.example.get_or_insert_with(|| path.to_path_buf());
    }

    /// In words, with an example; none where there is nothing.
    pub fn describe(&self) -> Option<String> {
        let counts = [
            (self.files, format!("that do not end in .{}", ENDINGS.join(", ."))),
            (self.folders, "that are folders inside class folders".to_string()),
            (self.special, "that are links to nothing, pipes or the like".to_string()),
        ];
        let told: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        let example = self.example.as_ref()?;
        Some(format!("left out are {}; the first is {}", told.join(", "), example.display()))
    }
}

impl ImageFolder {
    /// Lists the files. Names that begin with a dot do not count, nor do files beside the class folders.
    ///
    /// # Errors
    /// [`Error::Io`] where a folder cannot be read. [`Error::Data`] with fewer than two classes or more than 256, with
    /// a class that has no pictures or a name that is not Unicode, with a test class that is not trained, and without any
    /// test picture.
    pub fn list(folder: &Path) -> Result<ImageFolder> {
        let halves = [folder.join("train"), folder.join("test")];
        let mut others = Others::default();
        let divided = halves.iter().all(|half| half.is_dir() && subfolders(half).is_ok_and(|inner| !inner.is_empty()));
        let trained = class_files(if divided { &halves[0] } else { folder }, &mut others)?;
        check_classes(folder, divided, &trained)?;
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (label, (_, files)) in (0u8..=u8::MAX).zip(&trained) {
            let held_out = if divided { HashSet::new() } else { test_files(files) };
            for file in files {
                let set = if held_out.contains(file) { &mut test } else { &mut train };
                set.push((file.clone(), label));
            }
        }
        if divided {
            for (name, files) in class_files(&halves[1], &mut others)? {
                let Some(label) = trained.iter().position(|(known, _)| *known == name) else {
                    let known = halves[0].display();
                    return Err(Error::Data(format!(
                        "{} is a class that {known} does not have; add it there or take it out",
                        halves[1].join(name).display()
                    )));
                };
                test.extend(files.into_iter().map(|file| (file, label as u8)));
            }
        }
        if test.is_empty() {
            let remedy = if divided { "add some to its folder test" } else { "give at least one class two pictures" };
            return Err(Error::Data(format!("{} has no picture to test on; {remedy}", folder.display())));
        }
        let division = if divided { Division::Folders } else { Division::Names };
        let classes: Vec<String> = trained.into_iter().map(|(name, _)| name).collect();
        let numbers = numbers(&classes);
        Ok(ImageFolder { folder: folder.to_path_buf(), division, classes, numbers, train, test, others })
    }

    /// The classes that no test picture shows, in words; none where all are tested.
    pub fn untested(&self) -> Option<String> {
        let tested: HashSet<u8> = self.test.iter().map(|(_, label)| *label).collect();
        let names = (0u8..=u8::MAX).zip(&self.classes).filter(|(label, _)| !tested.contains(label));
        let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
        let more = names.len().saturating_sub(UNTESTED_SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let classes = if names.len() == 1 { "class" } else { "classes" };
        let shown = names.iter().take(UNTESTED_SHOWN).copied().collect::<Vec<_>>().join(", ");
        (!names.is_empty()).then(|| format!("no test picture shows the {classes} {shown}{more}"))
    }

    /// Reads all pictures, in as many threads as there are processors, and fits each to `shape`, H, W and C.
    ///
    /// # Errors
    /// As [`picture::read`] for the first file that cannot be read; [`Error::Data`] where C is neither 1 nor 3, or the
    /// pictures would take more than 1 GiB.
    pub fn read(&self, shape: [usize; 3], progress: &mut dyn FnMut(Progress)) -> Result<Dataset> {
        let count = self.train.len() + self.test.len();
        let folder = self.folder.display();
        if ![1, 3].contains(&shape[2]) {
            return Err(Error::Data(format!(
                "pictures are grey or red, green and blue, but the network takes {} channels; give its input 1 or 3",
                shape[2]
            )));
        }
        let bytes = shape.iter().try_fold(count, |product, &size| product.checked_mul(size));
        if bytes.is_none_or(|bytes| bytes as u64 > MAX_BYTES) {
            let [height, width, channels] = shape;
            return Err(Error::Data(format!(
                "{folder} has {count} pictures; as {height}x{width}x{channels} they take more than the {} MiB that are \
                 accepted; take fewer, or a network with a smaller input",
                MAX_BYTES >> 20
            )));
        }
        progress(Progress::Reading { folder: self.folder.clone(), pictures: count });
        let (train, test) = (self.examples(&self.train, shape)?, self.examples(&self.test, shape)?);
        let origin =
            Origin::Images { folder: self.folder.clone(), division: self.division, classes: self.classes.clone() };
        Ok(Dataset { name: DatasetName::Images, train, test, origin })
    }

    fn examples(&self, files: &[(PathBuf, u8)], shape: [usize; 3]) -> Result<Examples> {
        let mut pixels = vec![0; files.len() * shape.iter().product::<usize>()];
        let results: Vec<Result<()>> = pixels
            .par_chunks_mut(shape.iter().product())
            .zip(files)
            .map(|(target, (file, _))| {
                target.copy_from_slice(&picture::fit(&picture::read(&**file)?, shape));
                Ok(())
            })
            .collect();
        // The first in order, however the threads ran.
        results.into_iter().collect::<Result<()>>()?;
        let labels = files.iter().map(|(_, label)| *label).collect();
        Ok(Examples { shape, classes: self.classes.len(), pixels, labels, numbers: self.numbers.clone() })
    }
}

fn check_classes(folder: &Path, divided: bool, trained: &[(String, Vec<PathBuf>)]) -> Result<()> {
    let place = if divided { folder.join("train") } else { folder.to_path_buf() };
    let shown = place.display();
    let refuse = |why: String| Err(Error::Data(why));
    match trained.len() {
        0 | 1 => {
            let found = trained.first().map_or("none".to_string(), |(name, _)| format!("only `{name}`"));
            refuse(format!(
                "{shown} needs a subfolder for each of at least two classes and has {found}; sort the pictures into \
                 folders named after their classes"
            ))
        }
        count if count > MAX_CLASSES => {
            refuse(format!("{shown} has {count} classes; at most {MAX_CLASSES} are told apart"))
        }
        _ => match trained.iter().find(|(_, files)| files.is_empty()) {
            Some((name, _)) => refuse(format!(
                "{} holds no picture; add files that end in .{}, or remove the folder",
                place.join(name).display(),
                ENDINGS.join(", .")
            )),
            None => Ok(()),
        },
    }
}

/// Class names and their picture files, both sorted; counts what else is there in `others`.
fn class_files(folder: &Path, others: &mut Others) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut classes = Vec::new();
    for class in entries(folder)? {
        if !class.is_dir() {
            // A link that leads nowhere may have been a class.
            if !class.is_file() {
                others.count(&class);
            }
            continue;
        }
        // Written with replacement characters, two names may be one.
        let Some(name) = class.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::Data(format!(
                "the class folder {} has a name that is not Unicode; rename it",
                class.display()
            )));
        };
        let (pictures, rest) = entries(&class)?.into_iter().partition(|path| path.is_file() && is_picture(path));
        let (pictures, rest): (Vec<PathBuf>, Vec<PathBuf>) = (pictures, rest);
        rest.iter().for_each(|path| others.count(path));
        classes.push((name.to_string(), pictures));
    }
    Ok(classes)
}

/// The names as numbers, where all are different ones within [`LARGEST_NUMBER`]; else none.
fn numbers(names: &[String]) -> Vec<f32> {
    let number = |name: &String| name.parse().ok().filter(|number: &f32| number.abs() <= LARGEST_NUMBER);
    let numbers: Vec<f32> = names.iter().map_while(number).collect();
    let different = numbers.iter().enumerate().all(|(i, number)| !numbers[..i].contains(number));
    if different && numbers.len() == names.len() { numbers } else { Vec::new() }
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What is in a folder, sorted by name, without hidden things.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = read.map_err(Error::io("read the folder", folder))?;
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort_unstable();
    Ok(paths)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&&ending[..]))
}

/// A fifth of the files, rounded, at least one as soon as there are two: those with the smallest hashes of their names.
fn test_files(files: &[PathBuf]) -> HashSet<&PathBuf> {
    let count = ((files.len() + TEST_SHARE / 2) / TEST_SHARE).max(usize::from(files.len() > 1));
    let mut ranked: Vec<&PathBuf> = files.iter().collect();
    ranked.sort_by_cached_key(|path| (<[u8; 32]>::from(Sha256::digest(file_name(path))), path.to_path_buf()));
    ranked.into_iter().take(count).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}
