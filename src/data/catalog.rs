//! The published data sets: file names, sizes, checksums and servers. Checksums and mirrors are those of torchvision
//! and TensorFlow Datasets. For MNIST the checksums of the unpacked bytes are known too, so a copy that was compressed
//! again still counts as the published one.

use super::DatasetName;

/// The four files of a data set in MNIST's format, by their unpacked names: training images and labels, then test
/// images and labels.
pub const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// CIFAR-10's only file, by its unpacked name.
pub const CIFAR10_FILE: &str = "cifar-10-binary.tar";

/// The folder inside CIFAR-10's archive.
pub const CIFAR10_FOLDER: &str = "cifar-10-batches-bin";

/// The files in that folder, as an unpacked copy has them: five of the training set, then the test set. Their checksums
/// are not published.
pub const CIFAR10_BATCHES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// One published file. Its name is the entry of [`DatasetName::files`] at the same index, followed by `.gz`.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The compressed file's size.
    pub bytes: u64,
    /// The compressed file's SHA-256, in lower-case hexadecimal digits.
    pub packed: &'static str,
    /// The SHA-256 of the unpacked bytes, if known.
    pub unpacked: Option<&'static str>,
}

/// The servers and published files of a data set.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Addresses that end in `/`, tried in this order; a file's name and `.gz` are appended.
    pub mirrors: Vec<String>,
    /// The published files, in the order of [`DatasetName::files`].
    pub files: Vec<Published>,
}

impl Sources {
    /// The published files of a data set; `None` for synthetic sets, which have no files, and for a user's own folder.
    pub fn published(name: DatasetName) -> Option<Sources> {
        let (mirrors, files): (&[&str], &[Published]) = match name {
            DatasetName::Mnist => (&MNIST_MIRRORS, &MNIST),
            DatasetName::FashionMnist => (&FASHION_MNIST_MIRRORS, &FASHION_MNIST),
            DatasetName::Kmnist => (&KMNIST_MIRRORS, &KMNIST),
            DatasetName::Cifar10 => (&CIFAR10_MIRRORS, &CIFAR10),
            DatasetName::Synthetic | DatasetName::SyntheticPictures | DatasetName::Images => return None,
        };
        Some(Sources { mirrors: mirrors.iter().map(|&mirror| mirror.to_string()).collect(), files: files.to_vec() })
    }
}

const MNIST_MIRRORS: [&str; 2] =
    ["https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"];
// These two servers speak only plain http; the checksums protect the download.
const FASHION_MNIST_MIRRORS: [&str; 1] = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"];
const KMNIST_MIRRORS: [&str; 1] = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"];
const CIFAR10_MIRRORS: [&str; 1] = ["https://www.cs.toronto.edu/~kriz/"];

const MNIST: [Published; 4] = [
    Published {
        bytes: 9_912_422,
        packed: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        unpacked: Some("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    },
    Published {
        bytes: 28_881,
        packed: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        unpacked: Some("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    },
    Published {
        bytes: 1_648_877,
        packed: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        unpacked: Some("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    },
    Published {
        bytes: 4_542,
        packed: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        unpacked: Some("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    },
];

const FASHION_MNIST: [Published; 4] = [
    packed(26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    packed(29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    packed(4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    packed(5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
];

const KMNIST: [Published; 4] = [
    packed(18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
    packed(29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
    packed(3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
    packed(5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
];

const CIFAR10: [Published; 1] =
    [packed(170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")];

/// A file whose checksum is published only for the compressed form.
const fn packed(bytes: u64, packed: &'static str) -> Published {
    Published { bytes, packed, unpacked: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_checksum_is_sixty_four_lower_case_digits() {
        for name in DatasetName::ALL {
            for file in Sources::published(name).iter().flat_map(|sources| sources.files.clone()) {
                for sum in [Some(file.packed), file.unpacked].into_iter().flatten() {
                    assert_eq!(sum.len(), 64);
                    assert!(sum.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{sum}");
                }
            }
        }
    }

    #[test]
    fn every_file_has_its_checksum() {
        for name in DatasetName::ALL {
            let checksums = Sources::published(name).map_or(0, |sources| sources.files.len());
            assert_eq!(checksums, name.files().len(), "{name}");
        }
    }

    #[test]
    fn mirrors_end_in_a_slash() {
        let sources = DatasetName::ALL.into_iter().filter_map(Sources::published);
        assert!(sources.flat_map(|sources| sources.mirrors).all(|mirror| mirror.ends_with('/')));
    }
}
