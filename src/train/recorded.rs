//! The data and the device that a run began with, from its folder.

use super::data::{DataChoice, DataSource, Notify, other_classes};
use super::{RunConfig, Settings};
use crate::data::{Dataset, DatasetName, Examples, HeldOut};
use crate::exec::{DeviceChoice, ExecutorKind};
use crate::formats::load_extra;
use crate::kernels::Precision;
use crate::{Error, Result, text};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

/// The data of a run, found again.
#[derive(Debug, Clone)]
pub struct RecordedData {
    /// Where the data was found; `None` for examples in memory.
    pub choice: Option<DataChoice>,
    pub dataset: Arc<Dataset>,
    /// Why the data differs from the run's training data, if an earlier version of Glassnet may have read the same
    /// files differently; `None` if the data is the same.
    pub changed: Option<String>,
}

/// Why pictures can differ from a run's training data although nobody has changed the files.
const EARLIER: &str = "an earlier version made this run, and this one reads pictures differently: it uses other folders as \
                       training and validation sets, and other weights for grey; or the pictures have changed";

impl RecordedData {
    /// Finds the data that the run in the folder `run` began with. `given` names the data's folder if that has moved,
    /// or contains the examples.
    ///
    /// # Errors
    /// Those of [`DataChoice::load`]; [`Error::Settings`], [`Error::NotOfData`], [`Error::DataMoved`] or
    /// [`Error::Data`] if the run's checkpoint was trained on other data.
    pub fn find(
        given: &DataSource,
        run: &Path,
        config: &RunConfig,
        settings: &Settings,
        notify: &mut Notify<'_>,
    ) -> Result<RecordedData> {
        let recorded = of_weights(run);
        check_dataset(run, config, &recorded)?;
        let (choice, mut dataset) = match given {
            DataSource::Loaded(dataset) => (None, dataset.clone()),
            DataSource::Choice(given) => {
                let choice = where_data_is(given, run, config)?;
                // Another data set is no way out for a run that has begun.
                let dataset = choice.load(&settings.network, notify).map_err(|error| match error {
                    Error::NotObtained { why, .. } => {
                        Error::DataMoved { why: format!("{why}; give the folder with the run's data"), pictures: false }
                    }
                    error => error,
                })?;
                (Some(choice), Arc::new(dataset))
            }
        };
        if config.validation == HeldOut::AtRandom {
            dataset = Arc::new(Arc::unwrap_or_clone(dataset).held_out_at_random());
        }
        let pictures = config.images.is_some();
        let earlier = config.validation == HeldOut::AtRandom && pictures;
        check_classes(&dataset, &recorded).map_err(|error| match error {
            Error::Data(why) if earlier => Error::Data(format!("{why}; {EARLIER}")),
            error => error,
        })?;
        let other = fingerprint(&dataset.train) != config.data_sha256;
        if other && !earlier {
            let name = dataset.name;
            let why = format!("the {name} data found now differs from this run's training data; give the old folder");
            return Err(Error::DataMoved { why, pictures });
        }
        Ok(RecordedData { choice, dataset, changed: other.then(|| EARLIER.into()) })
    }
}

/// The record of the data in the run's own weights; null before the first weights.
fn of_weights(run: &Path) -> Value {
    let files = ["checkpoint.safetensors", "model.safetensors", "best.safetensors"].map(|name| run.join(name));
    // A damaged file is reported where it is read completely.
    files.iter().find_map(|file| load_extra(file).ok()).unwrap_or_default()
}

/// Compares the data set that `config.toml` names, which anyone can edit, with the record in the weights.
pub fn check_dataset(run: &Path, config: &RunConfig, recorded: &Value) -> Result<()> {
    let Some(own) = recorded["dataset"].as_str() else { return Ok(()) };
    let (name, own) = (own, text::cut(own));
    let images = name == DatasetName::Images.as_str();
    let file = run.join("config.toml");
    if config.dataset != name {
        return Err(Error::Settings(format!(
            "{} names the data set `{}`, but the run was trained on {own}; put dataset = \"{own}\" back",
            file.display(),
            text::cut(&config.dataset)
        )));
    }
    match config.images.is_some() == images {
        true => Ok(()),
        false if images => Err(Error::Settings(format!(
            "{} lacks `images`, the folder of pictures that the run was trained on; put it back",
            file.display()
        ))),
        false => Err(Error::Settings(format!(
            "{} has `images`, but the run was trained on {own}; take that key out",
            file.display()
        ))),
    }
}

/// Compares the classes of the data found with the record in the weights.
fn check_classes(dataset: &Dataset, recorded: &Value) -> Result<()> {
    let found = dataset.provenance();
    let classes: Option<Vec<String>> = serde_json::from_value(recorded["classes"].clone()).ok();
    if let Some(trained) = classes.filter(|trained| *trained != found.classes) {
        return Err(Error::Data(format!(
            "the data found now differs from this run's training data: {}",
            other_classes(&trained, &found.classes)
        )));
    }
    Ok(())
}

/// The place of a run's data: the given folder, or the one in `config.toml`, which must still exist.
fn where_data_is(given: &DataChoice, run: &Path, config: &RunConfig) -> Result<DataChoice> {
    let refuse = |name| Err(Error::NotOfData { name, dataset: config.dataset.clone() });
    let (data_dir, images) = (given.data_dir.clone(), given.images.clone());
    let (dataset, images, data_dir) = match &config.images {
        Some(_) if data_dir.is_some() => return refuse("data_dir"),
        Some(old) => (None, images.or(Some(old.clone())), None),
        None if images.is_some() => return refuse("images"),
        None => (Some(config.dataset.parse()?), None, data_dir.or(config.data_dir.clone())),
    };
    let recorded = given.data_dir.is_none() && given.images.is_none();
    if let Some(folder) = images.as_ref().or(data_dir.as_ref()).filter(|folder| recorded && !folder.is_dir()) {
        let (folder, file) = (text::path(folder), run.join("config.toml"));
        let why = format!(
            "the run's data was in {folder} according to {}, and is no longer there; put it back, or name its new folder",
            file.display()
        );
        return Err(Error::DataMoved { why, pictures: images.is_some() });
    }
    let skip_unreadable = given.skip_unreadable || images.is_some() && config.skip_unreadable;
    Ok(DataChoice { dataset, data_dir, images, skip_unreadable })
}

impl RunConfig {
    /// The device that the run began on, whatever its precision.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] if the folder names an unknown executor.
    pub fn device_choice(&self) -> Result<DeviceChoice> {
        Ok(match ExecutorKind::named(&self.device.executor) {
            Some(ExecutorKind::Cpu) => DeviceChoice::Cpu,
            Some(ExecutorKind::Reference) => DeviceChoice::Reference,
            Some(ExecutorKind::Gpu) => DeviceChoice::Adapter(self.device.name.clone()),
            None => return Err(Error::UnknownDevice(text::cut(&self.device.executor))),
        })
    }

    /// Returns this device in the `precision` that is requested, or else in the run's own; the processor has f32 alone.
    pub fn in_its_precision(&self, device: DeviceChoice, precision: Option<Precision>) -> DeviceChoice {
        let own = if device.is_processor() { Precision::F32 } else { self.precision };
        device.in_precision(precision.unwrap_or(own))
    }
}

/// The SHA-256 of pixels and labels, in hexadecimal.
pub(super) fn fingerprint(examples: &Examples) -> String {
    let mut sum = Sha256::new();
    sum.update(&examples.pixels);
    sum.update(&examples.labels);
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
