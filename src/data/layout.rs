//! Finds the class folders in a folder of pictures and which folders are the training, validation and test set. Names
//! decide, as in [`super::roles`]. A single folder that contains the sets or the classes is descended into, and files
//! that systems and programs leave behind are ignored.

use std::fs;
use std::path::{Path, PathBuf};

use super::Division;
use super::roles::{Sets, says_nothing};
use crate::{Error, Result};

/// File name extensions of the formats that are read.
pub(super) const ENDINGS: [&str; 10] = ["png", "jpg", "jpeg", "jfif", "apng", "jpe", "jif", "jfi", "pjpeg", "pjp"];

/// The extensions that messages name.
pub(super) const ENDINGS_NAMED: &str = ".png, .jpg, .jpeg or .jfif";

/// File name extensions of picture formats that are not read.
const FOREIGN: [&str; 27] = [
    "avif", "bmp", "cr2", "dcm", "dib", "dng", "gif", "heic", "heif", "ico", "j2k", "jp2", "jxl", "nef", "npy", "pbm",
    "pcx", "pgm", "pnm", "ppm", "psd", "raw", "svg", "tga", "tif", "tiff", "webp",
];

/// Files that Windows, macOS, network drives and editors leave in folders, besides names that begin with a dot; in
/// lower case.
const DROPPINGS: [&str; 11] = [
    "__macosx",
    "__pycache__",
    "@eadir",
    "#recycle",
    "@recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
];

/// The most folders to descend on the way to the classes; a chain of links may be endless.
const DEPTH: usize = 8;

/// The most folders to search for a picture; links may form circles.
const MOST_SEARCHED: usize = 1000;

/// The class folders of each set.
#[derive(Debug)]
pub(super) struct Layout {
    pub train: PathBuf,
    pub validation: Option<PathBuf>,
    pub test: Option<PathBuf>,
    pub division: Division,
    /// Remarks on the layout for the user.
    pub notes: Vec<String>,
}

/// The contents of one folder, without [`DROPPINGS`].
pub(super) struct Inside {
    pub folders: Vec<PathBuf>,
    /// The number of pictures in any format.
    pub pictures: usize,
}

impl Inside {
    pub(super) fn of(folder: &Path) -> Result<Inside> {
        let (folders, files): (Vec<_>, Vec<_>) = entries(folder)?.into_iter().partition(|path| path.is_dir());
        let pictures = files.iter().filter(|path| is_picture(path) || foreign(path).is_some()).count();
        Ok(Inside { folders, pictures })
    }

    /// The only folder with pictures in or below it, unless it is a class. It is not a class if its pictures are in
    /// folders of its own, or if it contains sets.
    fn wrapped(&self) -> Result<Option<&PathBuf>> {
        let mut bearing = Vec::new();
        for folder in &self.folders {
            if bears_pictures(folder) {
                bearing.push(folder);
            }
        }
        let folder = match (&bearing[..], &self.folders[..]) {
            ([folder], _) => *folder,
            ([], [folder]) => folder,
            _ => return Ok(None),
        };
        let within = Inside::of(folder)?;
        let sets = || Ok::<_, Error>(within.folders.len() > 1 && Sets::find(folder, &within)?.is_some());
        Ok((!within.folders.is_empty() && (within.pictures == 0 || sets()?)).then_some(folder))
    }

    /// Everything besides `kept`: folders by name, and the number of pictures.
    fn besides(&self, kept: &[&PathBuf]) -> Vec<String> {
        let folders = self.folders.iter().filter(|path| !kept.contains(path)).map(|path| file_name(path));
        let loose = (self.pictures > 0).then(|| counted(self.pictures, "picture"));
        folders.chain(loose).collect()
    }
}

/// Whether a folder or one below it has pictures. Assumes so for a folder that cannot be read or is too large to
/// search.
fn bears_pictures(folder: &Path) -> bool {
    let (mut open, mut searched) = (vec![folder.to_path_buf()], 0);
    while let Some(place) = open.pop() {
        searched += 1;
        let Ok(entries) = fs::read_dir(&place) else { return true };
        if searched > MOST_SEARCHED {
            return true;
        }
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !is_dropping(path)) {
            if path.is_dir() {
                open.push(path);
            } else if is_picture(&path) || foreign(&path).is_some() {
                return true;
            }
        }
    }
    false
}

pub(super) const EXPECTED: &str =
    "the layout is FOLDER/CLASS/*.png, or FOLDER/train/CLASS/*.png and FOLDER/test/CLASS/*.png";

impl Layout {
    /// Finds the class folders in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be read; [`Error::Data`] if no layout fits, with what was found.
    pub fn find(folder: &Path) -> Result<Layout> {
        let (mut place, mut notes) = (folder.to_path_buf(), Vec::new());
        for _ in 0..DEPTH {
            let inside = Inside::of(&place)?;
            if let Some(sets) = Sets::find(&place, &inside)? {
                return Layout::split(folder, &inside, &sets, notes);
            }
            match inside.wrapped()? {
                Some(inner) => {
                    let others = inside.besides(&[inner]);
                    if !others.is_empty() {
                        notes.push(format!("left out besides {}: {}", file_name(inner), others.join(", ")));
                    }
                    place = inner.clone();
                }
                None if inside.folders.is_empty() && inside.pictures > 0 => {
                    return Err(Error::Data(format!(
                        "{} holds {} and no folders, so the pictures have no classes; sort them into a folder for each \
                         class: {EXPECTED}",
                        place.display(),
                        counted(inside.pictures, "picture")
                    )));
                }
                None => break,
            }
        }
        let division = Division { train: below(folder, &place), ..Division::default() };
        Ok(Layout { train: place, validation: None, test: None, division, notes })
    }

    fn split(folder: &Path, inside: &Inside, sets: &Sets, mut notes: Vec<String>) -> Result<Layout> {
        let &Sets { train, validation, test } = sets;
        let classes = |set: &Path| -> Result<(PathBuf, Inside)> {
            let mut place = set.to_path_buf();
            for _ in 0..DEPTH {
                match Inside::of(&place)?.wrapped()? {
                    Some(inner) => place = inner.clone(),
                    None => break,
                }
            }
            let mut inside = Inside::of(&place)?;
            // Pictures in `train/images` are not in a class either.
            if let ([only], 0) = (&inside.folders[..], inside.pictures)
                && says_nothing(only)
            {
                inside = Inside::of(only)?;
                inside.folders.clear();
            }
            Ok((place, inside))
        };
        let (place, within) = classes(train)?;
        if within.folders.is_empty() {
            let mut found = vec![format!("{} holds {}", file_name(train), counted(within.pictures, "picture"))];
            for set in [validation, test].into_iter().flatten() {
                found.push(format!("{} {}", file_name(set), counted(classes(set)?.1.pictures, "picture")));
            }
            return Err(Error::Data(format!(
                "in {}, {}, and {} has no class folders, so the pictures have no classes; sort them into a folder \
                 for each class: {EXPECTED}",
                train.parent().unwrap_or(folder).display(),
                found.join(", "),
                file_name(train)
            )));
        }
        let mut other = |set: Option<&PathBuf>, instead: &str| -> Result<Option<PathBuf>> {
            let Some(set) = set else { return Ok(None) };
            let (place, within) = classes(set)?;
            if !within.folders.is_empty() {
                return Ok(Some(place));
            }
            let name = file_name(set);
            notes.push(match within.pictures {
                0 => format!("{name} is empty, so {instead}"),
                count => format!(
                    "{name} holds {} and no class folders: they have no labels and are left out, and {instead}",
                    counted(count, "picture")
                ),
            });
            Ok(None)
        };
        let validation = other(validation, "a tenth of the training set is held out for validation")?;
        let test = other(test, "a fifth of each class of the training set is the test set")?;
        let kept: Vec<&PathBuf> = [Some(train), sets.validation, sets.test].into_iter().flatten().collect();
        let others = inside.besides(&kept);
        if !others.is_empty() {
            notes.push(format!("left out besides {}: {}", file_name(train), others.join(", ")));
        }
        let named = |place: &Option<PathBuf>| place.as_ref().map(|place| below(folder, place));
        let division = Division { train: below(folder, &place), validation: named(&validation), test: named(&test) };
        Ok(Layout { train: place, validation, test, division, notes })
    }
}

/// The path of `place` relative to `folder`; empty if they are the same.
fn below(folder: &Path, place: &Path) -> String {
    place.strip_prefix(folder).unwrap_or(place).display().to_string()
}

/// `1 picture`, `2 pictures`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The contents of a folder, sorted by name, without hidden files and [`DROPPINGS`].
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = read.map_err(Error::io("read the folder", folder))?;
    paths.retain(|path| !is_dropping(path));
    paths.sort_unstable();
    Ok(paths)
}

fn is_dropping(path: &Path) -> bool {
    let name = file_name(path);
    name.starts_with('.') || DROPPINGS.contains(&&name.to_lowercase()[..])
}

/// Whether a file's extension is one of those that are read.
pub(super) fn is_picture(path: &Path) -> bool {
    ENDINGS.contains(&&ending(path)[..])
}

/// The extension of a picture in another format.
pub(super) fn foreign(path: &Path) -> Option<&'static str> {
    let ending = ending(path);
    FOREIGN.into_iter().find(|known| *known == ending)
}

fn ending(path: &Path) -> String {
    path.extension().map_or(String::new(), |ending| ending.to_string_lossy().to_ascii_lowercase())
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}
