//! Data sets: images as bytes `[N,H,W,C]` with one label each, and how they are chosen for training.
//!
//! [`obtain()`] finds the files, downloads them or draws the synthetic digits; [`split()`] holds out a tenth of the
//! training set for validation, by class; a [`Sampler`] gives the examples of any step's batch. Nothing here depends on
//! networks: pixels stay bytes, and a kernel normalises them.

pub mod catalog;
mod checksum;
pub mod cifar;
#[cfg(not(target_arch = "wasm32"))]
mod decode;
#[cfg(not(target_arch = "wasm32"))]
pub mod fetch;
mod files;
#[cfg(not(target_arch = "wasm32"))]
pub mod folder;
pub mod idx;
#[cfg(not(target_arch = "wasm32"))]
mod jpeg;
#[cfg(not(target_arch = "wasm32"))]
mod layout;
pub mod locate;
mod nature;
pub mod obtain;
#[cfg(not(target_arch = "wasm32"))]
pub mod picture;
#[cfg(not(target_arch = "wasm32"))]
mod roles;
pub mod sampler;
mod source;
pub mod split;
pub mod synthetic;
#[cfg(not(target_arch = "wasm32"))]
mod transfer;
#[cfg(not(target_arch = "wasm32"))]
pub mod treatment;
pub mod verify;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use catalog::{FILES, Published, Sources};
pub use checksum::Verdict;
#[cfg(not(target_arch = "wasm32"))]
pub use fetch::fetch;
pub use files::{cache_folder, in_cache};
#[cfg(not(target_arch = "wasm32"))]
pub use folder::ImageFolder;
pub use locate::{download_folder, environment};
pub use obtain::{labels_here, obtain};
pub use sampler::Sampler;
pub use source::Source;
pub use split::{Split, split};
pub use verify::{FileReport, Listing, list, verify};

use crate::{Error, words};

/// Images `[N,H,W,C]` as bytes (0 is black), one label each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// Height, width and channels of every image.
    pub shape: [usize; 3],
    /// Number of classes; every label is smaller.
    pub classes: usize,
    /// `len() * H * W * C` bytes, one image after another.
    pub pixels: Vec<u8>,
    /// The class of each image.
    pub labels: Vec<u8>,
    /// The number that each class stands for, for networks that learn numbers; empty if it is the class's index.
    pub numbers: Vec<f32>,
}

impl Examples {
    /// The number of examples, N.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The number that `class` stands for.
    pub fn number(&self, class: usize) -> f32 {
        self.numbers.get(class).copied().unwrap_or(class as f32)
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The `H*W*C` bytes of image `index`.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, index: usize) -> &[u8] {
        assert!(index < self.len(), "image {index} of {}", self.len());
        let size = self.shape.iter().product::<usize>();
        &self.pixels[index * size..][..size]
    }
}

/// The data sets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetName {
    /// Handwritten digits, LeCun, Cortes and Burges.
    Mnist,
    /// Articles of clothing, Xiao, Rasul and Vollgraf (2017).
    FashionMnist,
    /// Cursive hiragana, Clanuwat et al. (2018).
    Kmnist,
    /// Small colour photographs of animals and vehicles, Krizhevsky (2009).
    Cifar10,
    /// The digits that [`synthetic`] draws; needs no files.
    Synthetic,
    /// The coloured shapes that [`synthetic`] draws, of CIFAR-10's size.
    SyntheticPictures,
    /// A user's own folder of pictures, read by [`folder`]; it cannot be requested by name.
    Images,
}

impl DatasetName {
    /// Every name that can be requested, in the order of help texts.
    pub const ALL: [DatasetName; 6] = [
        DatasetName::Mnist,
        DatasetName::FashionMnist,
        DatasetName::Kmnist,
        DatasetName::Cifar10,
        DatasetName::Synthetic,
        DatasetName::SyntheticPictures,
    ];

    /// The name that users type and that folders have.
    pub fn as_str(self) -> &'static str {
        match self {
            DatasetName::Mnist => "mnist",
            DatasetName::FashionMnist => "fashion-mnist",
            DatasetName::Kmnist => "kmnist",
            DatasetName::Cifar10 => "cifar10",
            DatasetName::Synthetic => "synthetic",
            DatasetName::SyntheticPictures => "synthetic-pictures",
            DatasetName::Images => "images",
        }
    }

    /// The data set's files by their unpacked names; published files have `.gz` appended. Synthetic sets have none.
    pub fn files(self) -> &'static [&'static str] {
        match self {
            DatasetName::Mnist | DatasetName::FashionMnist | DatasetName::Kmnist => &FILES,
            DatasetName::Cifar10 => &[catalog::CIFAR10_FILE],
            DatasetName::Synthetic | DatasetName::SyntheticPictures | DatasetName::Images => &[],
        }
    }

    /// Lists of files, each of which makes the set complete: the published ones, and CIFAR-10's unpacked ones.
    pub(crate) fn forms(self) -> Vec<&'static [&'static str]> {
        match self {
            DatasetName::Cifar10 => vec![self.files(), &catalog::CIFAR10_BATCHES],
            _ => vec![self.files()],
        }
    }

    /// Whether this program draws it.
    pub fn is_synthetic(self) -> bool {
        matches!(self, DatasetName::Synthetic | DatasetName::SyntheticPictures)
    }

    /// The synthetic set with images of the same shape.
    pub fn stand_in(self) -> DatasetName {
        match self {
            DatasetName::Cifar10 | DatasetName::SyntheticPictures => DatasetName::SyntheticPictures,
            _ => DatasetName::Synthetic,
        }
    }

    /// The number of channels; `None` for a folder of pictures, which fits any network.
    pub fn channels(self) -> Option<usize> {
        match self {
            DatasetName::Images => None,
            name => Some(if name.stand_in() == DatasetName::SyntheticPictures { 3 } else { 1 }),
        }
    }

    /// What a synthetic set shows.
    pub fn drawn(self) -> &'static str {
        if self.stand_in() == DatasetName::SyntheticPictures { "pictures" } else { "digits" }
    }

    /// Names of the classes, from label 0 on; for a folder of pictures they are in its [`Origin`].
    pub fn class_names(self) -> &'static [&'static str] {
        match self {
            DatasetName::Mnist | DatasetName::Synthetic => &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
            DatasetName::FashionMnist => &[
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ],
            DatasetName::Kmnist => &["お", "き", "す", "つ", "な", "は", "ま", "や", "れ", "を"],
            DatasetName::Cifar10 => {
                &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
            }
            DatasetName::SyntheticPictures => &synthetic::SHAPES,
            DatasetName::Images => &[],
        }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DatasetName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|name| words::same(name.as_str(), text)).ok_or_else(|| {
            let known = Self::ALL.map(DatasetName::as_str).join(", ");
            Error::Settings(format!("there is no data set `{}`; choose one of {known}", crate::text::cut(text)))
        })
    }
}

/// The sets below a folder of pictures, as paths relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// The folder with the training set's class folders; empty for the folder itself.
    pub train: String,
    /// The validation set's folder; `None` for a tenth of the training set.
    pub validation: Option<String>,
    /// The test set's folder; `None` for a fifth of each class of the training set, chosen by a hash of the files'
    /// names.
    pub test: Option<String>,
}

impl Division {
    /// The division in words.
    pub fn describe(&self) -> String {
        let Division { train, validation, test } = self;
        let validated = validation
            .as_ref()
            .map_or("a tenth of it the validation set".into(), |folder| format!("{folder} the validation set"));
        match (test, validation) {
            (None, None) => {
                let inside = if train.is_empty() { String::new() } else { format!(" in {train}") };
                format!("a fifth of each class{inside}, chosen by file name, is the test set")
            }
            (Some(test), _) => format!("{train} is the training set, {validated}, {test} the test set"),
            (None, Some(_)) => format!(
                "{train} is the training set, {validated}; there is no test folder, so a fifth of each class of {train}, \
                 chosen by file name, is the test set"
            ),
        }
    }
}

/// The source of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Read from the files in this folder.
    Files(PathBuf),
    /// Drawn by [`synthetic`]; the reason is given if the user did not request it and nothing else could be obtained.
    Synthetic { fallback_reason: Option<String> },
    /// Read from the pictures in this folder, with the names of its classes. If the folder has a validation set, its
    /// pictures are the last `validation` ones of the training set.
    Images { folder: PathBuf, division: Division, classes: Vec<String>, validation: usize },
}

/// How the validation tenth of the training set is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldOut {
    /// A tenth of each class, as in [`split()`].
    #[default]
    ByClass,
    /// Regardless of class, as in former versions, which did not record the choice in a run's settings.
    AtRandom,
}

/// A training set, a test set with images of the same shape, and their source.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub name: DatasetName,
    pub train: Examples,
    pub test: Examples,
    pub origin: Origin,
    /// How validation examples are chosen if [`Dataset::own_validation`] is 0.
    pub held_out: HeldOut,
}

impl Dataset {
    /// The files or the folder of pictures that it was read from; none for synthetic examples.
    pub fn sources(&self) -> Vec<PathBuf> {
        match &self.origin {
            Origin::Synthetic { .. } => Vec::new(),
            Origin::Images { folder, .. } => vec![folder.clone()],
            Origin::Files(folder) => {
                let files = self.name.forms().into_iter().flatten();
                files.filter_map(|file| files::file_in(folder, file)).collect()
            }
        }
    }

    /// Names of the classes, from label 0 on.
    pub fn class_names(&self) -> Vec<String> {
        match &self.origin {
            Origin::Images { classes, .. } => classes.clone(),
            _ => self.name.class_names().iter().map(|name| name.to_string()).collect(),
        }
    }

    /// The number of examples in the set's own validation set, which are the last of the training set; 0 if there is
    /// none.
    pub fn own_validation(&self) -> usize {
        match &self.origin {
            Origin::Images { validation, .. } => *validation,
            _ => 0,
        }
    }

    /// Why synthetic examples replace a data set that could not be obtained; none if they were requested.
    pub fn stand_in_reason(&self) -> Option<&str> {
        match &self.origin {
            Origin::Synthetic { fallback_reason } => fallback_reason.as_deref(),
            Origin::Files(_) | Origin::Images { .. } => None,
        }
    }

    /// The record of this data set for a model file.
    pub fn provenance(&self) -> Provenance {
        Provenance { dataset: self.name.to_string(), classes: self.class_names(), image: self.train.shape }
    }
}

/// A model file's record of its training data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// A [`DatasetName`].
    pub dataset: String,
    /// Names of the classes, from label 0 on.
    pub classes: Vec<String>,
    /// Height, width and channels of an image, before any crop.
    pub image: [usize; 3],
}

/// A user's request for a data set.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `None` for `preferred` if it can be obtained, else a synthetic set, with the reason in [`Origin::Synthetic`].
    pub name: Option<DatasetName>,
    /// The set to use if no name is given; `None` for MNIST.
    pub preferred: Option<DatasetName>,
    /// `--data-dir`: if given, the only folder that is searched.
    pub data_dir: Option<PathBuf>,
    /// The folder that `GLASSNET_DATA` names, see [`environment`].
    pub environment: Option<PathBuf>,
    /// Whether missing files may be downloaded into the user's cache folder.
    pub allow_download: bool,
}

/// The progress of [`obtain()`] and [`fetch()`], for a progress bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process is downloading into the same folder; its result will be used.
    Waiting { folder: PathBuf },
    /// A server is being asked for a file.
    Connecting { file: String, url: String },
    /// Bytes are arriving; both counts include those of an earlier attempt.
    Downloading { file: String, received: u64, total: Option<u64> },
    /// The file is complete under its own name, with a verified checksum.
    Verified { file: String },
    /// A synthetic set is being drawn.
    Drawing { examples: usize },
    /// A folder's pictures are being read.
    Reading { folder: PathBuf, pictures: usize },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Waiting { folder } => {
                write!(f, "another process is downloading into {}; waiting for it", folder.display())
            }
            Progress::Connecting { url, .. } => write!(f, "asking {url}"),
            Progress::Downloading { file, received, .. } => write!(f, "downloading {file}: {received} bytes"),
            Progress::Verified { file } => write!(f, "{file}: verified"),
            Progress::Drawing { examples } => write!(f, "drawing {examples} synthetic examples"),
            Progress::Reading { folder, pictures } => write!(f, "reading {pictures} pictures in {}", folder.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_text_and_serde() {
        for name in DatasetName::ALL {
            assert_eq!(name.to_string().parse::<DatasetName>().unwrap(), name);
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<DatasetName>(&json).unwrap(), name);
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = "cifar".parse::<DatasetName>().unwrap_err().to_string();
        assert_eq!(
            message,
            "there is no data set `cifar`; choose one of mnist, fashion-mnist, kmnist, cifar10, synthetic, synthetic-pictures"
        );
    }

    #[test]
    fn an_image_is_its_slice_of_the_pixels() {
        let examples =
            Examples { shape: [1, 2, 1], classes: 10, pixels: vec![1, 2, 3, 4], labels: vec![7, 8], numbers: vec![] };
        assert_eq!(examples.image(1), [3, 4]);
        assert_eq!(examples.len(), 2);
    }
}
