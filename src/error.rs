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
    /// A constant that the trainer or schedule chosen does not have: `of` is `trainer` or `schedule`.
    #[error("{}", self.phrased(in_words))]
    NoEffect { name: &'static str, of: &'static str, chosen: String, having: String },
    /// What was asked for, or a combination of it, cannot be.
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
    /// The message, with the settings in it called what `name` makes of their names, as an option or a file's key.
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
