//! How a folder of pictures is laid out: where its class folders lie, and which folders are training, validation and test
//! set. Names decide, in any case; folders that only hold another folder are looked through; what systems and programs
//! leave behind is passed over.

use std::fs;
use std::path::{Path, PathBuf};

use super::Division;
use crate::{Error, Result};

/// Endings of the files that are read.
pub(super) const ENDINGS: [&str; 10] = ["png", "jpg", "jpeg", "jfif", "apng", "jpe", "jif", "jfi", "pjpeg", "pjp"];

/// Those that messages name.
pub(super) const ENDINGS_NAMED: &str = ".png, .jpg, .jpeg or .jfif";

/// Endings of pictures that are not read.
const FOREIGN: [&str; 27] = [
    "avif", "bmp", "cr2", "dcm", "dib", "dng", "gif", "heic", "heif", "ico", "j2k", "jp2", "jxl", "nef", "npy", "pbm",
    "pcx", "pgm", "pnm", "ppm", "psd", "raw", "svg", "tga", "tif", "tiff", "webp",
];

/// What Windows, macOS, network drives and editors leave in folders, besides names that begin with a dot; in lower case.
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

/// Folders that are looked through on the way to the classes; a chain of links may have no end.
const DEPTH: usize = 8;

/// A set that a folder's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Training,
    Validation,
    Test,
}

impl Role {
    /// By a folder's name, such as `Train`, `valid` or `test_set`.
    fn of(path: &Path) -> Option<Role> {
        let name = file_name(path).to_lowercase();
        let mut words = name.split(['_', '-', ' ', '.']).filter(|word| {
            !["set", "data", "dataset", "split", "images", "imgs", "pictures", "seg", ""].contains(word)
        });
        let role = match words.next()? {
            "train" | "training" | "trainset" | "traindata" | "trainingset" | "trn" => Role::Training,
            "val" | "valid" | "validate" | "validation" | "valset" | "validset" | "validationset" | "dev" => {
                Role::Validation
            }
            "test" | "tests" | "testing" | "testset" | "testdata" | "testingset" | "tst" => Role::Test,
            _ => return None,
        };
        words.next().is_none().then_some(role)
    }

    fn name(self) -> &'static str {
        match self {
            Role::Training => "training",
            Role::Validation => "validation",
            Role::Test => "test",
        }
    }
}

/// Where the class folders of each set lie.
#[derive(Debug)]
pub(super) struct Layout {
    pub train: PathBuf,
    pub validation: Option<PathBuf>,
    pub test: Option<PathBuf>,
    pub division: Division,
    /// What a user should know of it, in words.
    pub notes: Vec<String>,
}

/// What lies in one folder, without droppings.
struct Inside {
    folders: Vec<PathBuf>,
    /// Pictures in any format.
    pictures: usize,
}

impl Inside {
    fn of(folder: &Path) -> Result<Inside> {
        let (folders, files): (Vec<_>, Vec<_>) = entries(folder)?.into_iter().partition(|path| path.is_dir());
        let pictures = files.iter().filter(|path| is_picture(path) || foreign(path).is_some()).count();
        Ok(Inside { folders, pictures })
    }

    /// The only folder, where it holds folders and no pictures: neither is a class.
    fn wrapped(&self) -> Result<Option<&PathBuf>> {
        let ([folder], 0) = (&self.folders[..], self.pictures) else { return Ok(None) };
        let within = Inside::of(folder)?;
        Ok((within.pictures == 0 && !within.folders.is_empty()).then_some(folder))
    }
}

const EXPECTED: &str = "the layout is CLASS/PICTURE, or train/CLASS/PICTURE with val and test beside train";

impl Layout {
    /// Looks for the class folders in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`] where a folder cannot be read; [`Error::Data`] where no layout fits, with what was found.
    pub fn find(folder: &Path) -> Result<Layout> {
        let mut place = folder.to_path_buf();
        for _ in 0..DEPTH {
            let inside = Inside::of(&place)?;
            let of_role = |role| inside.folders.iter().filter(move |path| Role::of(path) == Some(role));
            for role in [Role::Training, Role::Validation, Role::Test] {
                let same: Vec<String> = of_role(role).map(|path| file_name(path)).collect();
                if let ([first, second, ..], true) = (&same[..], of_role(Role::Training).next().is_some()) {
                    return Err(Error::Data(format!(
                        "{} has both {first} and {second}, and either could be the {} set; keep one of them",
                        place.display(),
                        role.name()
                    )));
                }
            }
            let [train, validation, test] =
                [Role::Training, Role::Validation, Role::Test].map(|role| of_role(role).next());
            match (train, validation.or(test)) {
                (Some(train), Some(_)) => return Layout::split(folder, &inside, train, validation, test),
                (None, Some(_)) if inside.folders.len() > 1 && inside.folders.iter().all(|p| Role::of(p).is_some()) => {
                    let found: Vec<String> = inside.folders.iter().map(|path| file_name(path)).collect();
                    return Err(Error::Data(format!(
                        "{} has {} and no training set; add a folder train with a subfolder for each class",
                        place.display(),
                        found.join(" and ")
                    )));
                }
                _ => {}
            }
            match inside.wrapped()? {
                Some(inner) => place = inner.clone(),
                None if inside.folders.is_empty() && inside.pictures > 0 => {
                    return Err(Error::Data(format!(
                        "{} holds {} and no folders, so nothing says what they show; sort them into a folder for each \
                         class: {EXPECTED}",
                        place.display(),
                        counted(inside.pictures, "picture")
                    )));
                }
                None => break,
            }
        }
        let division = Division { train: below(folder, &place), ..Division::default() };
        Ok(Layout { train: place, validation: None, test: None, division, notes: Vec::new() })
    }

    fn split(
        folder: &Path,
        inside: &Inside,
        train: &Path,
        validation: Option<&PathBuf>,
        test: Option<&PathBuf>,
    ) -> Result<Layout> {
        let mut notes = Vec::new();
        let classes = |set: &Path| -> Result<(PathBuf, Inside)> {
            let mut place = set.to_path_buf();
            for _ in 0..DEPTH {
                match Inside::of(&place)?.wrapped()? {
                    Some(inner) => place = inner.clone(),
                    None => break,
                }
            }
            let inside = Inside::of(&place)?;
            Ok((place, inside))
        };
        let (place, within) = classes(train)?;
        if within.folders.is_empty() {
            let mut found = vec![format!("{} holds {}", file_name(train), counted(within.pictures, "picture"))];
            for set in [validation, test].into_iter().flatten() {
                found.push(format!("{} {}", file_name(set), counted(Inside::of(set)?.pictures, "picture")));
            }
            return Err(Error::Data(format!(
                "in {}, {}, and {} has no class folders, so nothing says what the pictures show; sort them into a folder \
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
        let others: Vec<String> =
            inside.folders.iter().filter(|path| Role::of(path).is_none()).map(|path| file_name(path)).collect();
        if !others.is_empty() {
            notes.push(format!("left out, beside {}: {}", file_name(train), others.join(", ")));
        }
        let named = |place: &Option<PathBuf>| place.as_ref().map(|place| below(folder, place));
        let division = Division { train: below(folder, &place), validation: named(&validation), test: named(&test) };
        Ok(Layout { train: place, validation, test, division, notes })
    }
}

/// `place` as seen from `folder`; empty where they are the same.
fn below(folder: &Path, place: &Path) -> String {
    place.strip_prefix(folder).unwrap_or(place).display().to_string()
}

/// `1 picture`, `2 pictures`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What is in a folder, sorted by name, without hidden files and droppings.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = read.map_err(Error::io("read the folder", folder))?;
    paths.retain(|path| {
        let name = file_name(path);
        !name.starts_with('.') && !DROPPINGS.contains(&&name.to_lowercase()[..])
    });
    paths.sort_unstable();
    Ok(paths)
}

/// Whether a file's ending is one of those that are read.
pub(super) fn is_picture(path: &Path) -> bool {
    ENDINGS.contains(&&ending(path)[..])
}

/// The ending of a picture in another format.
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
