//! A folder of pictures as a data set: one subfolder per class, sorted by name, with PNG and JPEG files. `layout.rs`
//! finds the class folders of training, validation and test set. Without a test set, a fifth of every class of the
//! training set is used: the files whose names have the smallest SHA-256, so that a file stays in its set when others
//! are added or removed.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::idx::MAX_BYTES;
use super::layout::{ENDINGS_NAMED, EXPECTED, Layout, counted, entries, file_name, foreign, is_picture};
use super::picture::{self, Opened, Problem};
use super::roles::holds_sets;
use super::{Dataset, DatasetName, Division, Examples, HeldOut, Origin, Progress};
use crate::{Error, Result, text};

/// The most classes, because labels are bytes.
const MAX_CLASSES: usize = 256;

/// The largest magnitude of a class name that counts as a number. The square of a distance between two such numbers is
/// well within f32.
const LARGEST_NUMBER: f32 = 1e6;

/// One in this many files of a class is a test example, if the folder has no test set.
const TEST_SHARE: usize = 5;

/// The most names in a message.
const SHOWN: usize = 10;

/// Files and labels.
type Files = Vec<(PathBuf, u8)>;

/// A folder's files, before any picture is read.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    pub folder: PathBuf,
    pub division: Division,
    /// The classes' names; a label is an index into them.
    pub classes: Vec<String>,
    /// The classes' names as numbers; empty if they are not numbers.
    pub numbers: Vec<f32>,
    /// Files and labels, by class and name.
    pub train: Files,
    /// Empty if the folder has no validation set.
    pub validation: Files,
    pub test: Files,
    /// Everything else in the folder, which is left out.
    pub others: Others,
    /// Remarks on the layout for the user.
    pub notes: Vec<String>,
}

/// The result of reading a folder's pictures.
#[derive(Debug)]
pub struct Reading {
    pub dataset: Dataset,
    /// The problem with each file that was left out, sorted.
    pub unreadable: Vec<String>,
    /// The number of colour pictures that were reduced to grey because the network has one input channel.
    pub colours_dropped: usize,
}

/// Contents of a folder that are not pictures of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// The number of pictures in unsupported formats, by extension.
    pub foreign: BTreeMap<&'static str, usize>,
    /// Files with other extensions.
    pub files: usize,
    /// Folders inside class folders.
    pub folders: usize,
    /// Broken links, pipes and the like.
    pub special: usize,
    /// Pictures next to the class folders.
    pub loose: usize,
    /// The first one found.
    pub example: Option<PathBuf>,
}

impl Others {
    fn count(&mut self, path: &Path) {
        match (path.is_file(), path.is_dir(), foreign(path)) {
            (true, _, Some(ending)) => *self.foreign.entry(ending).or_default() += 1,
            (true, ..) => self.files += 1,
            (_, true, _) => self.folders += 1,
            _ => self.special += 1,
        }
        self.example.get_or_insert_with(|| path.to_path_buf());
    }

    /// A description with an example; `None` if there is nothing.
    pub fn describe(&self) -> Option<String> {
        let several = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let foreign: usize = self.foreign.values().sum();
        let formats: Vec<String> = self.foreign.iter().map(|(ending, count)| format!("{count} .{ending}")).collect();
        let in_formats = format!(
            "{} not read ({}; convert to PNG or JPEG)",
            several(foreign, "picture in a format that is", "pictures in formats that are"),
            formats.join(", ")
        );
        let counts = [
            (foreign, in_formats),
            (self.files, format!("{} {ENDINGS_NAMED}", several(self.files, "file without", "files without"))),
            (self.folders, several(self.folders, "folder inside a class folder", "folders inside class folders")),
            (self.special, several(self.special, "broken link or pipe", "broken links or pipes")),
            (self.loose, several(self.loose, "picture beside the class folders", "pictures beside the class folders")),
        ];
        let told: Vec<String> = counts.into_iter().filter(|(count, _)| *count > 0).map(|(_, what)| what).collect();
        let example = self.example.as_ref()?;
        Some(format!("left out: {}; the first is {}", told.join(", "), example.display()))
    }
}

impl ImageFolder {
    /// Lists the files, without hidden files, files that systems leave behind, and files next to the class folders.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be read. [`Error::Data`] if the layout is unknown, if there are fewer than two
    /// classes or more than 256, if a class has no pictures or a name that is not Unicode, if a class of the test or
    /// validation set is not in the training set, or if there is no test picture.
    pub fn list(folder: &Path) -> Result<ImageFolder> {
        let layout = Layout::find(folder)?;
        let mut others = Others::default();
        let trained = class_files(&layout.train, &mut others)?;
        check_classes(&layout.train, &trained)?;
        let mut notes = layout.notes;
        notes.extend(same_folders(&layout.train, &trained));
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (label, (_, files)) in (0u8..=u8::MAX).zip(&trained) {
            let held_out = if layout.test.is_some() { HashSet::new() } else { test_files(files) };
            for file in files {
                let set = if held_out.contains(file) { &mut test } else { &mut train };
                set.push((file.clone(), label));
            }
        }
        let mut labelled = |place: &Path, set: &mut Files| -> Result<()> {
            for (name, files) in class_files(place, &mut others)? {
                let Some(label) = trained.iter().position(|(known, _)| *known == name) else {
                    return Err(Error::Data(format!(
                        "{} is a class that {} does not have; add it there or take it out",
                        place.join(name).display(),
                        layout.train.display()
                    )));
                };
                set.extend(files.into_iter().map(|file| (file, label as u8)));
            }
            Ok(())
        };
        let mut validation = Vec::new();
        layout.validation.iter().try_for_each(|place| labelled(place, &mut validation))?;
        layout.test.iter().try_for_each(|place| labelled(place, &mut test))?;
        if let (Some(place), true) = (&layout.validation, validation.is_empty()) {
            return Err(Error::Data(format!(
                "{} has no picture to validate on; add some, or move the folder away",
                place.display()
            )));
        }
        if test.is_empty() {
            let (place, remedy) = match &layout.test {
                Some(place) => (&**place, "add some"),
                None => (folder, "give at least one class two pictures"),
            };
            return Err(Error::Data(format!("{} has no picture to test on; {remedy}", place.display())));
        }
        let classes: Vec<String> = trained.into_iter().map(|(name, _)| name).collect();
        let (numbers, division) = (numbers(&classes), layout.division);
        Ok(ImageFolder { folder: folder.into(), division, classes, numbers, train, validation, test, others, notes })
    }

    /// The classes without a test picture, or without a picture in the validation set, in words; `None` if there are
    /// none.
    pub fn untested(&self) -> Option<String> {
        let sets = [("test", &self.test), ("validation", &self.validation)];
        let lacking = sets.into_iter().filter(|(_, files)| !files.is_empty()).filter_map(|(set, files)| {
            let shown: HashSet<u8> = files.iter().map(|(_, label)| *label).collect();
            let names = (0u8..=u8::MAX).zip(&self.classes).filter(|(label, _)| !shown.contains(label));
            let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
            let classes = if names.len() == 1 { "class" } else { "classes" };
            (!names.is_empty()).then(|| format!("no {set} picture shows the {classes} {}", text::listed(&names, SHOWN)))
        });
        let lacking: Vec<String> = lacking.collect();
        (!lacking.is_empty()).then(|| lacking.join("; "))
    }

    /// Whether the pictures are in colour, judged by up to 64 of the training set: more than one in twenty readable
    /// ones must be, so that one class in ten is enough.
    pub fn is_coloured(&self) -> bool {
        const LOOKED_AT: usize = 64;
        let step = self.train.len().div_ceil(LOOKED_AT).max(1);
        let files: Vec<&PathBuf> = self.train.iter().step_by(step).map(|(file, _)| file).collect();
        let read = |file: &&PathBuf| Some(picture::is_coloured(&Opened::open(&***file).ok()?.decode().ok()?));
        let coloured: Vec<bool> = files.par_iter().filter_map(read).collect();
        20 * coloured.iter().filter(|coloured| **coloured).count() > coloured.len()
    }

    /// Reads all pictures, on as many threads as there are processors, and fits each to `shape`, H, W and C. With
    /// `skip`, unreadable ones are left out.
    ///
    /// # Errors
    /// [`Error::Data`] with all unreadable files and the reasons, unless `skip` is set; if a class has no training
    /// picture left, or nothing is left for validation or the test; if C is neither 1 nor 3, or if the pictures would
    /// take more than 1 GiB.
    pub fn read(&self, shape: [usize; 3], skip: bool, progress: &mut dyn FnMut(Progress)) -> Result<Reading> {
        let count = self.train.len() + self.validation.len() + self.test.len();
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
        let what = format!("{folder}, {count} pictures as {}x{}x{}", shape[0], shape[1], shape[2]);
        let bytes = bytes.map_or(u64::MAX, |bytes| bytes as u64);
        crate::machine::check_room(&what, bytes, "take fewer, or a network with a smaller input")?;
        progress(Progress::Reading { folder: self.folder.clone(), pictures: count });
        let mut seen = Seen::default();
        let [train, validation, test] =
            [&self.train, &self.validation, &self.test].map(|files| self.examples(files, shape, &mut seen));
        seen.unreadable.sort();
        match (&seen.unreadable[..], skip) {
            ([], _) => {}
            (problems, true) => self.check_left([&train, &validation, &test], problems.len())?,
            ([problem], false) => {
                let remedy = picture::REMEDY;
                return Err(Error::Unreadable(format!("{problem}; {remedy}")));
            }
            (problems, false) => return Err(Error::Unreadable(all_unreadable(problems, count))),
        }
        let held_out = validation.len();
        let train = joined(train, validation);
        let (folder, division, classes) = (self.folder.clone(), self.division.clone(), self.classes.clone());
        let origin = Origin::Images { folder, division, classes, validation: held_out };
        let dataset = Dataset { name: DatasetName::Images, train, test, origin, held_out: HeldOut::ByClass };
        let colours_dropped = if shape[2] == 1 { seen.coloured } else { 0 };
        Ok(Reading { dataset, unreadable: seen.unreadable, colours_dropped })
    }

    fn examples(&self, files: &[(PathBuf, u8)], shape: [usize; 3], seen: &mut Seen) -> Examples {
        let size = shape.iter().product();
        let mut pixels = vec![0; files.len() * size];
        let results: Vec<Result<bool, Problem>> = pixels
            .par_chunks_mut(size)
            .zip(files)
            .map(|(target, (file, _))| {
                let opened = Opened::open(&**file)?;
                let decoded = opened.decode()?;
                target.copy_from_slice(&picture::fit(&decoded, shape));
                Ok(shape[2] == 1 && picture::is_coloured(&decoded))
            })
            .collect();
        // In the order of the files, whatever the order of the threads.
        let (mut labels, mut kept) = (Vec::with_capacity(files.len()), 0);
        for (index, (result, (_, label))) in results.into_iter().zip(files).enumerate() {
            match result {
                Ok(coloured) => {
                    seen.coloured += usize::from(coloured);
                    pixels.copy_within(index * size..(index + 1) * size, kept * size);
                    kept += 1;
                    labels.push(*label);
                }
                Err(problem) => seen.unreadable.push(problem.to_string()),
            }
        }
        pixels.truncate(kept * size);
        Examples { shape, classes: self.classes.len(), pixels, labels, numbers: self.numbers.clone() }
    }

    /// Checks that the readable pictures still make a data set.
    fn check_left(&self, [train, validation, test]: [&Examples; 3], unreadable: usize) -> Result<()> {
        let lost: Vec<&str> = (0u8..=u8::MAX)
            .zip(&self.classes)
            .filter(|(label, _)| !train.labels.contains(label))
            .map(|(_, name)| name.as_str())
            .collect();
        if !lost.is_empty() {
            return Err(Error::Data(format!(
                "without the {} that cannot be read, no training picture is left of {}; add good ones",
                counted(unreadable, "file"),
                text::listed(&lost, SHOWN)
            )));
        }
        let sets = [("validate", &self.validation, validation), ("test", &self.test, test)];
        match sets.into_iter().find(|(_, listed, left)| !listed.is_empty() && left.is_empty()) {
            Some((what, ..)) => Err(Error::Data(format!(
                "without the {} that cannot be read, no picture is left to {what} on; add good ones",
                counted(unreadable, "file")
            ))),
            None => Ok(()),
        }
    }
}

/// Observations while pictures were read.
#[derive(Default)]
struct Seen {
    unreadable: Vec<String>,
    coloured: usize,
}

/// Two sets joined in order.
fn joined(mut first: Examples, second: Examples) -> Examples {
    first.pixels.extend(second.pixels);
    first.labels.extend(second.labels);
    first
}

impl Reading {
    /// The files that were left out, in words; `None` if all could be read.
    pub fn skipped(&self) -> Option<String> {
        let count = self.dataset.train.len() + self.dataset.test.len() + self.unreadable.len();
        (!self.unreadable.is_empty())
            .then(|| listing(&self.unreadable, &format!("of {count} pictures cannot be read and are left out")))
    }
}

/// The number of unreadable files, and a line for each up to a limit.
fn listing(problems: &[String], what: &str) -> String {
    const LINES: usize = 50;
    let mut text = format!("{} {what}:", problems.len());
    problems.iter().take(LINES).for_each(|problem| text += &format!("\n  {problem}"));
    if problems.len() > LINES {
        text += &format!("\n  and {} more", problems.len() - LINES);
    }
    text
}

fn all_unreadable(problems: &[String], count: usize) -> String {
    listing(problems, &format!("of {count} pictures cannot be read"))
        + "\nreplace them with good PNG or JPEG files or take them out"
}

/// Classes that are the same folder under two names (a link next to its target), in words.
fn same_folders(place: &Path, classes: &[(String, Vec<PathBuf>)]) -> Vec<String> {
    let mut known: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let mut notes = Vec::new();
    for (name, _) in classes {
        let Ok(target) = fs::canonicalize(place.join(name)) else { continue };
        match known.get(&target) {
            Some(other) => notes.push(format!(
                "{other} and {name} are the same folder, so that each of its pictures is learned as either; take one out"
            )),
            None => drop(known.insert(target, name)),
        }
    }
    notes
}

fn check_classes(place: &Path, trained: &[(String, Vec<PathBuf>)]) -> Result<()> {
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
            refuse(format!("{shown} has {count} classes; at most {MAX_CLASSES} are supported"))
        }
        _ => match trained.iter().find(|(_, files)| files.is_empty()) {
            Some((name, _)) => refuse(without_pictures(&place.join(name))?),
            None => Ok(()),
        },
    }
}

/// The contents of a class folder without pictures, and what to do.
fn without_pictures(class: &Path) -> Result<String> {
    let (folders, files): (Vec<_>, Vec<_>) = entries(class)?.into_iter().partition(|path| path.is_dir());
    let shown = class.display();
    let foreign: Vec<&PathBuf> = files.iter().filter(|path| foreign(path).is_some()).collect();
    Ok(match (&foreign[..], &folders[..]) {
        ([first, ..], _) => format!(
            "the class folder {shown} holds no PNG or JPEG file, but {} in other formats, such as {}; convert them to PNG or JPEG",
            counted(foreign.len(), "picture"),
            file_name(first)
        ),
        ([], [_, ..]) => {
            let names: Vec<String> = folders.iter().map(|path| file_name(path)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let found = format!(
                "the class folder {shown} holds no picture itself, only folders ({})",
                text::listed(&names, SHOWN)
            );
            if holds_sets(&folders) {
                format!("{found}: sets inside of a class; put the classes into the sets instead: {EXPECTED}")
            } else {
                format!("{found}, so it is no class; arrange the folders as expected, or name another one: {EXPECTED}")
            }
        }
        _ if files.is_empty() => format!("the class folder {shown} is empty; add pictures, or take the folder out"),
        _ => format!("the class folder {shown} holds no picture; add files that end in {ENDINGS_NAMED}"),
    })
}

/// Class names and their picture files, both sorted; counts other contents in `others`.
fn class_files(folder: &Path, others: &mut Others) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut classes = Vec::new();
    for class in entries(folder)? {
        if !class.is_dir() {
            if is_picture(&class) && class.is_file() {
                others.loose += 1;
                others.example.get_or_insert_with(|| class.clone());
            } else if !class.is_file() {
                // A broken link may have been a class.
                others.count(&class);
            }
            continue;
        }
        // With replacement characters, two names could become one.
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

/// The names as numbers, if all are distinct numbers within [`LARGEST_NUMBER`]; otherwise empty.
fn numbers(names: &[String]) -> Vec<f32> {
    let number = |name: &String| name.parse().ok().filter(|number: &f32| number.abs() <= LARGEST_NUMBER);
    let numbers: Vec<f32> = names.iter().map_while(number).collect();
    let different = numbers.iter().enumerate().all(|(i, number)| !numbers[..i].contains(number));
    if different && numbers.len() == names.len() { numbers } else { Vec::new() }
}

/// A fifth of the files, rounded, but at least one if there are two: those with the smallest hashes of their names.
fn test_files(files: &[PathBuf]) -> HashSet<&PathBuf> {
    let count = ((files.len() + TEST_SHARE / 2) / TEST_SHARE).max(usize::from(files.len() > 1));
    let mut ranked: Vec<&PathBuf> = files.iter().collect();
    ranked.sort_by_cached_key(|path| (<[u8; 32]>::from(Sha256::digest(file_name(path))), path.to_path_buf()));
    ranked.into_iter().take(count).collect()
}
