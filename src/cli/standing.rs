//! Where the run in a folder stands, and the weights that it has come to.

use glassnet::formats::{load_checkpoint, load_model};
use glassnet::net::{Network, Parameters};
use glassnet::program::{Options, Source, TrainingStep};
use glassnet::train::{RunFolder, Settings, State, Summary};
use glassnet::{Error, Result};
use std::path::Path;

/// Where a run stands.
pub(super) struct Standing {
    pub step: u64,
    /// Those that validation and the test use.
    pub weights: Vec<Parameters>,
    /// Of a run that has come to its end.
    pub summary: Option<Summary>,
}

impl Standing {
    /// From the folder's files.
    pub fn read(folder: &RunFolder, settings: &Settings) -> Result<Standing> {
        let [model, checkpoint] = ["model.safetensors", "checkpoint.safetensors"].map(|name| folder.path().join(name));
        let summary = folder.read_summary()?;
        if !checkpoint.is_file() {
            let Some(summary) = summary.filter(|_| model.is_file()) else {
                return Err(Error::Settings(format!(
                    "{} holds no weights yet: let the run go on with `glassnet train --resume {0}`",
                    folder.path().display()
                )));
            };
            return Standing::ended(&model, settings, summary);
        }
        let saved = load_checkpoint(&checkpoint)?;
        // An older summary is of an earlier, shorter run in this folder.
        if let Some(summary) = summary.filter(|summary| summary.steps == saved.step && model.is_file()) {
            return Standing::ended(&model, settings, summary);
        }
        check(&checkpoint, &saved.model.network, &settings.network)?;
        let average = saved.optimizer.iter().find(|(name, _)| name == "average").map(|(_, values)| values);
        let weights = match average {
            Some(flat) => split(&settings.network, flat, &checkpoint)?,
            None => saved.model.parameters,
        };
        Ok(Standing { step: saved.step, weights, summary: None })
    }

    fn ended(path: &Path, settings: &Settings, summary: Summary) -> Result<Standing> {
        let model = load_model(path)?;
        check(path, &model.network, &settings.network)?;
        Ok(Standing { step: summary.steps, weights: model.parameters, summary: Some(summary) })
    }
}

/// What validation and the test use of a checkpoint of the run in `folder`.
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
        "{}: the network or the way it is trained is not that of config.toml; one of the two was changed",
        path.display()
    )))
}

/// A moving average as a device holds it, cut into layers.
fn split(network: &Network, flat: &[f32], path: &Path) -> Result<Vec<Parameters>> {
    let shape = network.input_shape();
    let source = Source { height: shape.height, width: shape.width, channels: shape.channels, examples: 1 };
    let step = TrainingStep::lower(network, &Options::evaluation(1, source))?;
    if flat.len() != step.parameters.len {
        return Err(Error::Model(format!("{}: its moving average is not that of this network", path.display())));
    }
    Ok(step.split_parameters(network, flat))
}
