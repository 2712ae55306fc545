//! The newest weights in a run folder: those that the run ended with, or those of its checkpoint.

use super::{RunFolder, Settings, State, Summary};
use crate::formats::{load_checkpoint, load_model};
use crate::net::{Network, Parameters};
use crate::program::{Options, Source, TrainingStep};
use crate::{Error, Result};
use std::path::Path;

/// The newest weights of a run.
#[derive(Debug, Clone)]
pub struct LatestWeights {
    /// The number of updates that produced them.
    pub step: u64,
    /// The weights that validation and the test use: the moving average if one is kept.
    pub weights: Vec<Parameters>,
    /// The summary of a finished run.
    pub summary: Option<Summary>,
}

impl LatestWeights {
    /// Reads the folder's files.
    ///
    /// # Errors
    /// [`Error::NoWeights`] if it has none yet; [`Error::Model`] if they do not belong to `settings` or are damaged.
    pub fn read(folder: &RunFolder, settings: &Settings) -> Result<LatestWeights> {
        let [model, checkpoint] = ["model.safetensors", "checkpoint.safetensors"].map(|name| folder.path().join(name));
        let summary = folder.read_summary()?;
        if !checkpoint.is_file() {
            let Some(summary) = summary.filter(|_| model.is_file()) else {
                return Err(Error::NoWeights { run: folder.path().to_path_buf() });
            };
            return LatestWeights::of_model(&model, settings, summary);
        }
        let saved = load_checkpoint(&checkpoint)?;
        // An older summary belongs to an earlier, shorter run in this folder.
        if let Some(summary) = summary.filter(|summary| summary.steps == saved.step && model.is_file()) {
            return LatestWeights::of_model(&model, settings, summary);
        }
        check(&checkpoint, &saved.model.network, &settings.network)?;
        let average = saved.optimizer.iter().find(|(name, _)| name == "average").map(|(_, values)| values);
        let weights = match average {
            Some(flat) => split(&settings.network, flat, &checkpoint)?,
            None => saved.model.parameters,
        };
        Ok(LatestWeights { step: saved.step, weights, summary: None })
    }

    fn of_model(path: &Path, settings: &Settings, summary: Summary) -> Result<LatestWeights> {
        let model = load_model(path)?;
        check(path, &model.network, &settings.network)?;
        Ok(LatestWeights { step: summary.steps, weights: model.parameters, summary: Some(summary) })
    }
}

/// The weights in a checkpoint of the run in `folder` that validation and the test use.
pub(super) fn weights_of(state: &State, settings: &Settings, folder: &Path) -> Result<Vec<Parameters>> {
    match state.average.is_empty() {
        true => Ok(state.parameters.clone()),
        false => split(&settings.network, &state.average, &folder.join("checkpoint.safetensors")),
    }
}

fn check(path: &Path, found: &Network, wanted: &Network) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::Model(format!(
        "{}: its network or training settings differ from config.toml; restore the file that was changed",
        path.display()
    )))
}

/// A moving average as a device stores it, divided into layers.
fn split(network: &Network, flat: &[f32], path: &Path) -> Result<Vec<Parameters>> {
    let shape = network.input_shape();
    let source = Source { height: shape.height, width: shape.width, channels: shape.channels, examples: 1 };
    let step = TrainingStep::lower(network, &Options::evaluation(1, source))?;
    if flat.len() != step.parameters.len {
        return Err(Error::Model(format!("{}: its moving average is not that of this network", path.display())));
    }
    Ok(step.split_parameters(network, flat))
}
