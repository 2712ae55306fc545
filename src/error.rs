//! The library's only error type, for everything that a user, a file, a driver or a machine can cause. A programmer's
//! mistake is an `assert!` instead. Every message says what is wrong and what to do.

use std::path::{Path, PathBuf};

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that a user, a file, a driver or a machine can cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read, write or create something.
    #[error("cannot {action} {}: {source}", crate::text::path(path))]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// A data set is missing, damaged or does not fit the network.
    #[error("{0}")]
    Data(String),
    /// A data set is not where it was searched for.
    #[error("{0}; name the folder that has the data")]
    DataFolder(String),
    /// The data that a run or a model was trained on is no longer in its place, or other data is there now. `why` ends
    /// with the folder to name: a folder of pictures if `pictures` is set, or else one with a data set's files.
    #[error("{why}")]
    DataMoved { why: String, pictures: bool },
    /// A field of [`DataChoice`](crate::train::DataChoice) cannot be used with `dataset`, the data set of a run or the
    /// requested one.
    #[error("{} cannot be used with the data set {dataset}; leave it out", in_words(name))]
    NotOfData { name: &'static str, dataset: String },
    /// A folder of pictures has other classes than the network.
    #[error("{0}; or describe such a network in a TOML file")]
    OtherClasses(String),
    /// This number of test crops needs the network's pad and flip, which are switched off.
    #[error(
        "{0} test crops need the network's pad and flip, which are switched off without augmentation; leave one of the \
         two out"
    )]
    CropsWithoutAugmentation(usize),
    /// `config.toml` names an unknown device.
    #[error("config.toml names an unknown device `{0}`; choose the device")]
    UnknownDevice(String),
    /// A run has neither a checkpoint nor a model yet.
    #[error("{} holds no weights yet; resume the run first", crate::text::path(run))]
    NoWeights { run: PathBuf },
    /// A data set was not found and cannot be downloaded; another one is built in.
    #[error("{why}; name the folder that has the data, or use the built-in data set {built_in}")]
    NotObtained { why: String, built_in: &'static str },
    /// Pictures in a folder cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// A download failed: unreachable, cut off, or wrong bytes.
    #[error("{0}")]
    Download(String),
    /// A network description is wrong, such as an unknown layer or a size that does not fit.
    #[error("{0}")]
    Network(String),
    /// A model or checkpoint file is damaged or belongs to another network.
    #[error("{0}")]
    Model(String),
    /// A setting's value breaks its rule. `name` is the name of a [`Recipe`](crate::net::Recipe) field.
    #[error("{}", self.phrased(in_words))]
    Setting { name: &'static str, value: String, rule: String },
    /// A constant does not belong to the chosen optimizer or schedule; `of` is `optimizer` or `schedule`.
    #[error("{}", self.phrased(in_words))]
    NoEffect { name: &'static str, of: &'static str, chosen: String, having: String },
    /// The file already exists.
    #[error("{} exists; give another name", crate::text::path(path))]
    Exists { path: PathBuf },
    /// The folder for a new run holds a file of another run.
    #[error("{} already holds a run ({file}); resume it, or choose another folder", crate::text::path(path))]
    HoldsRun { path: PathBuf, file: &'static str },
    /// A run has already made more steps than requested.
    #[error("the run is already at step {step}, beyond the requested end at step {end}; choose a later end")]
    PastEnd { step: u64, end: u64 },
    /// A request that is impossible, alone or in combination.
    #[error("{0}")]
    Settings(String),
    /// No adapter, no such adapter, or an adapter that lacks something required.
    #[error("{0}")]
    Adapter(String),
    /// No device, or not the chosen one, can compute products in the requested precision.
    #[error("{0}")]
    Precision(String),
    /// A GPU fails the self-check.
    #[error("{0}")]
    SelfCheck(String),
    /// The device was lost, ran out of memory, or its driver refused a command.
    #[error("{0}")]
    Device(String),
    /// The memory plan does not fit the device.
    #[error("{0}")]
    TooLarge(String),
    /// Training produced an infinity or a NaN.
    #[error(
        "step {step}: {count} non-finite value(s) in the {tensor} of layer {layer}; lower the learning rate or the initial weights"
    )]
    NonFinite { step: u64, layer: String, tensor: String, count: u64 },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The message with the names of settings written by `name`: in words, as options, or as a file's keys.
    pub fn phrased(&self, name: impl Fn(&str) -> String) -> String {
        match self {
            Error::Setting { name: setting, value, rule } => format!("{} must be {rule}, got {value}", name(setting)),
            Error::NoEffect { name: setting, of, chosen, having } => {
                format!(
                    "{} has no effect on the {of} {chosen}; use {} {having}, or leave it out",
                    name(setting),
                    name(of)
                )
            }
            other => other.to_string(),
        }
    }

    /// Makes an [`Error::Io`] with the path, for `map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}

/// Writes `learning_rate` as `learning rate`.
fn in_words(name: &str) -> String {
    name.replace('_', " ")
}
