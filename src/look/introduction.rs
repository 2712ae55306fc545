//! The first message of a run.

use super::Subject;
use super::message::{ExampleCounts, LayerMessage, RunMessage};
use crate::train::Changeable;

/// Commands for any run, and commands only for a run in training, besides changes of its settings.
const LOOKING: [&str; 3] = ["show", "classify", "snapshot"];
const CHANGING: [&str; 5] = ["pause", "resume", "step", "load", "restart"];

/// A run's description, besides its [`Subject`].
#[derive(Debug, Clone)]
pub struct Introduction {
    pub folder: String,
    pub device: String,
    pub training_examples: usize,
    pub validation_examples: usize,
    pub first_step: u64,
}

impl Introduction {
    /// The message at the beginning of a run; `id` must differ for every run.
    pub fn message(&self, subject: &Subject, id: String) -> RunMessage {
        let (settings, dataset) = (&subject.settings, &subject.dataset);
        let network = &settings.network;
        let changeable = Changeable::ALL.iter().filter(|(setting, _)| setting.of(settings).is_some());
        let changing = CHANGING.into_iter().chain(changeable.map(|(_, name)| *name)).filter(|_| subject.trains);
        RunMessage {
            id,
            version: env!("CARGO_PKG_VERSION").into(),
            name: network.name.clone(),
            folder: self.folder.clone(),
            device: self.device.clone(),
            dataset: dataset.name.to_string(),
            image: dataset.train.shape,
            classes: dataset.class_names(),
            learns_numbers: network.learns_numbers(),
            examples: ExampleCounts { train: dataset.train.len(), test: dataset.test.len() },
            training_examples: self.training_examples,
            validation_examples: self.validation_examples,
            first_step: self.first_step,
            batch_size: settings.batch_size,
            optimizer: settings.optimizer.name().into(),
            schedule: settings.schedule.name().to_string(),
            seed: settings.seed,
            network: network.to_toml(),
            layers: LayerMessage::of(network),
            controls: changing.chain(LOOKING).collect(),
        }
    }
}
