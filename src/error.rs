//! The one error type: everything that a user, a file, a driver or a machine can cause.
//! A programmer's mistake is an `assert!` instead. Every message says what is wrong and what to do.

use std::path::{Path, PathBuf};

/// Result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a user, a file, a driver or a machine can cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read, write or create something.
    #[error("cannot {action} {}: {source}", crate::text::path(path))]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// A data set is missing, damaged or does not fit the network.
    #[error("{0}")]
    Data(String),
    /// A data set is not where it was looked for.
    #[error("{0}; name the folder that has the data")]
    DataFolder(String),
    /// A data set is nowhere and cannot be downloaded; another one is built in.
    #[error("{why}; name the folder that has the data, or take the built-in data set {built_in}")]
    NotObtained { why: String, built_in: &'static str },
    /// Pictures of a folder cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// A download failed: unreachable, cut off, or the wrong bytes.
    #[error("{0}")]
    Download(String),
    /// A network description is wrong: unknown layer, a size that does not fit.
    #[error("{0}")]
    Network(String),
    /// A model or checkpoint file is damaged or belongs to another network.
    #[error("{0}")]
    Model(String),
    /// A setting whose value breaks its rule. It is named as [`Recipe`](crate::net::Recipe)'s field.
    #[error("{}", self.phrased(in_words))]
    Setting { name: &'static str, value: String, rule: String },
    /// A constant that the optimizer or schedule chosen does not have: `of` is `optimizer` or `schedule`.
    #[error("{}", self.phrased(in_words))]
    NoEffect { name: &'static str, of: &'static str, chosen: String, having: String },
    /// A file is there already.
    #[error("{} exists; give another name", crate::text::path(path))]
    Exists { path: PathBuf },
    /// The folder for a new run holds a file of another run.
    #[error("{} holds a run already ({file}); resume it, or choose another folder", crate::text::path(path))]
    HoldsRun { path: PathBuf, file: &'static str },
    /// A run has made more steps than it is to have.
    #[error("the run is at step {step} already, beyond the end asked for at step {end}; ask for a later end")]
    PastEnd { step: u64, end: u64 },
    /// Something that was asked for cannot be done, or not together with something else.
    #[error("{0}")]
    Settings(String),
    /// No adapter, no such adapter, or one that lacks what is needed.
    #[error("{0}")]
    Adapter(String),
    /// The device was lost, ran out of memory, or its driver refused a command.
    #[error("{0}")]
    Device(String),
    /// The memory plan does not fit the device.
    #[error("{0}")]
    TooLarge(String),
    /// Training met an infinity or a NaN.
    #[error(
        "step {step}: {count} non-finite value(s) in the {tensor} of layer {layer}; lower the learning rate or the initial weights"
    )]
    NonFinite { step: u64, layer: String, tensor: String, count: u64 },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The message, in which `name` writes the names of settings: in words, as options, or as a file's keys.
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

    /// An [`Error::Io`] that names the path: `Error::io("read", path)` suits `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}

/// `learning_rate` as `learning rate`.
fn in_words(name: &str) -> String {
    name.replace('_', " ")
}
