//! Data sets: images as bytes `[N,H,W,C]` with one label each, and the way they are chosen for training.
//!
//! [`obtain()`] finds the files, downloads them or draws the built-in digits; [`split()`] holds a tenth of the training
//! set out for validation, by class; a [`Sampler`] says which examples make up the batch of any step.
//! Nothing here knows of networks: pixels stay bytes, and normalising them is a kernel's business.

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
    /// `len() * H * W * C` bytes, one image after the other.
    pub pixels: Vec<u8>,
    /// The class of each image.
    pub labels: Vec<u8>,
    /// What each class stands for, for a network that learns it as a number; empty where that is the class's index.
    pub numbers: Vec<f32>,
}

impl Examples {
    /// Number of examples, N.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// What class `class` stands for.
    pub fn number(&self, class: usize) -> f32 {
        self.numbers.get(class).copied().unwrap_or(class as f32)
    }

    /// Whether there is no example at all.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The `H*W*C` bytes of image `index`; panics where there is no such image.
    pub fn image(&self, index: usize) -> &[u8] {
        assert!(index < self.len(), "image {index} of {}", self.len());
        let size = self.shape.iter().product::<usize>();
        &self.pixels[index * size..][..size]
    }
}

/// The data sets that can be asked for by name.
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
    /// The digits that [`synthetic`] draws; no file is needed.
    Synthetic,
    /// The coloured shapes that [`synthetic`] draws, of CIFAR-10's size.
    SyntheticPictures,
    /// A user's own folder of pictures, as [`folder`] reads it; nobody can ask for it by name.
    Images,
}

impl DatasetName {
    /// Every name that can be asked for, in the order in which help texts show them.
    pub const ALL: [DatasetName; 6] = [
        DatasetName::Mnist,
        DatasetName::FashionMnist,
        DatasetName::Kmnist,
        DatasetName::Cifar10,
        DatasetName::Synthetic,
        DatasetName::SyntheticPictures,
    ];

    /// The name as users type it, and as folders are called.
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

    /// Its files, unpacked names; published with `.gz` behind them. What is drawn has none.
    pub fn files(self) -> &'static [&'static str] {
        match self {
            DatasetName::Mnist | DatasetName::FashionMnist | DatasetName::Kmnist => &FILES,
            DatasetName::Cifar10 => &[catalog::CIFAR10_FILE],
            DatasetName::Synthetic | DatasetName::SyntheticPictures | DatasetName::Images => &[],
        }
    }

    /// The lists of files of which any one makes it whole: those that are published, and CIFAR-10's unpacked ones.
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

    /// The set that this program draws in the same shape.
    pub fn stand_in(self) -> DatasetName {
        match self {
            DatasetName::Cifar10 | DatasetName::SyntheticPictures => DatasetName::SyntheticPictures,
            _ => DatasetName::Synthetic,
        }
    }

    /// Channels of its images; none is known of a folder of pictures, which any network may take.
    pub fn channels(self) -> Option<usize> {
        match self {
            DatasetName::Images => None,
            name => Some(if name.stand_in() == DatasetName::SyntheticPictures { 3 } else { 1 }),
        }
    }

    /// What a set that this program draws shows.
    pub fn drawn(self) -> &'static str {
        if self.stand_in() == DatasetName::SyntheticPictures { "pictures" } else { "digits" }
    }

    /// What the labels stand for, from 0 on; of a folder of pictures its [`Origin`] tells.
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

/// Which folders below a folder of pictures are its sets; names are relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// Where the class folders of the training set lie; empty for the folder itself.
    pub train: String,
    /// The validation set; `None`: a tenth of the training set.
    pub validation: Option<String>,
    /// The test set; `None`: a fifth of each class of the training set, chosen by a hash of the files' names.
    pub test: Option<String>,
}

impl Division {
    /// In words.
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

/// Where a data set came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Read from the files in this folder.
    Files(PathBuf),
    /// Drawn by [`synthetic`]; the reason is there when nobody asked for it but nothing else could be had.
    Synthetic { fallback_reason: Option<String> },
    /// Read from the pictures in this folder, with the names of its classes. Where the folder has a validation set, its
    /// pictures are the last `validation` ones of the training set.
    Images { folder: PathBuf, division: Division, classes: Vec<String>, validation: usize },
}

/// How the tenth of the training set is chosen that is held out for validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldOut {
    /// Of each class a tenth, as [`split()`] does.
    #[default]
    ByClass,
    /// Without regard to classes, as versions did that wrote nothing of it into a run's settings.
    AtRandom,
}

/// A training set, a test set of the same shape, and where they came from.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub name: DatasetName,
    pub train: Examples,
    pub test: Examples,
    pub origin: Origin,
    /// How the validation examples are chosen where [`Dataset::own_validation`] has none.
    pub held_out: HeldOut,
}

impl Dataset {
    /// The files that it was read from, or the folder of pictures; none of drawn examples.
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

    /// What the labels stand for, from 0 on.
    pub fn class_names(&self) -> Vec<String> {
        match &self.origin {
            Origin::Images { classes, .. } => classes.clone(),
            _ => self.name.class_names().iter().map(|name| name.to_string()).collect(),
        }
    }

    /// Examples of a validation set of its own, which are the last of the training set; 0 where there is none.
    pub fn own_validation(&self) -> usize {
        match &self.origin {
            Origin::Images { validation, .. } => *validation,
            _ => 0,
        }
    }

    /// Why drawn examples stand in for a data set that could not be had; none where they were asked for.
    pub fn stand_in_reason(&self) -> Option<&str> {
        match &self.origin {
            Origin::Synthetic { fallback_reason } => fallback_reason.as_deref(),
            Origin::Files(_) | Origin::Images { .. } => None,
        }
    }

    /// What a model should remember of it.
    pub fn provenance(&self) -> Provenance {
        Provenance { dataset: self.name.to_string(), classes: self.class_names(), image: self.train.shape }
    }
}

/// What a model file remembers of the data that it was trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// A [`DatasetName`].
    pub dataset: String,
    /// What the labels stand for, from 0 on.
    pub classes: Vec<String>,
    /// Height, width and channels of an image, before any crop.
    pub image: [usize; 3],
}

/// What a user asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `None`: `preferred` if it can be had, else what is drawn in its stead, with the reason in [`Origin::Synthetic`].
    pub name: Option<DatasetName>,
    /// Wanted where no name is given; `None`: MNIST.
    pub preferred: Option<DatasetName>,
    /// `--data-dir`: where given, the only folder that is looked in.
    pub data_dir: Option<PathBuf>,
    /// The folder that `GLASSNET_DATA` names, see [`environment`].
    pub environment: Option<PathBuf>,
    /// Whether missing files may be downloaded into the user's cache folder.
    pub allow_download: bool,
}

/// What [`obtain()`] and [`fetch()`] are busy with; a progress bar's food.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process downloads into the same folder; its result will be used.
    Waiting { folder: PathBuf },
    /// A server is asked for a file.
    Connecting { file: String, url: String },
    /// Bytes are coming in; both counts include what an earlier attempt brought.
    Downloading { file: String, received: u64, total: Option<u64> },
    /// The file is there under its own name, its checksum verified.
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
                write!(f, "another process downloads into {}; waiting for it", folder.display())
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
