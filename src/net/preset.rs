//! The built-in networks, each described in a file under `data/presets/`.

use super::Network;
use crate::{Error, Result, words};

/// The name and description of every preset; the first is the default.
pub const PRESETS: [(&str, &str); 7] = [
    ("convnetjs-mnist", include_str!("../../data/presets/convnetjs-mnist.toml")),
    ("fast-mnist", include_str!("../../data/presets/fast-mnist.toml")),
    ("best-mnist", include_str!("../../data/presets/best-mnist.toml")),
    ("vgg-mnist", include_str!("../../data/presets/vgg-mnist.toml")),
    ("resnet-mnist", include_str!("../../data/presets/resnet-mnist.toml")),
    ("convnetjs-cifar10", include_str!("../../data/presets/convnetjs-cifar10.toml")),
    ("resnet-cifar10", include_str!("../../data/presets/resnet-cifar10.toml")),
];

impl Network {
    /// Returns the preset called `name`, or an [`Error::Network`] that lists the known names.
    pub fn preset(name: &str) -> Result<Network> {
        match PRESETS.iter().find(|(known, _)| words::same(known, name)) {
            Some((known, text)) => Network::from_toml(text, &format!("preset {known}")),
            None => {
                let known: Vec<&str> = PRESETS.iter().map(|(known, _)| *known).collect();
                Err(Error::Network(format!(
                    "unknown preset `{}`; known are {}",
                    crate::text::cut(name),
                    known.join(", ")
                )))
            }
        }
    }
}
