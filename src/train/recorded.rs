//! What a run folder says of the data and the device that its run began with.

use super::data::{DataChoice, DataSource, Notify, other_classes};
use super::{RunConfig, Settings};
use crate::data::{Dataset, DatasetName, Examples, HeldOut};
use crate::exec::{DeviceChoice, ExecutorKind};
use crate::formats::load_extra;
use crate::{Error, Result, text};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

/// The data of a run, found again.
#[derive(Debug, Clone)]
pub struct RecordedData {
    /// Where it was found; none of examples in memory.
    pub choice: Option<DataChoice>,
    pub dataset: Arc<Dataset>,
    /// Why it may be other than the run learned from, where that can also be since an earlier version read it.
    pub changed: Option<String>,
}

/// Why pictures are not what a run was trained on, though nobody may have changed them.
const EARLIER: &str = "an earlier version made this run, and this one reads pictures differently: other folders are training \
                       and validation sets, grey has other weights; or the pictures have changed";

impl RecordedData {
    /// The data that the run in the folder `run` began with; `given` may name its folder where that has moved, or be the
    /// examples.
    ///
    /// # Errors
    /// As [`DataChoice::load`]; [`Error::Settings`], [`Error::NotOfData`], [`Error::DataMoved`] and [`Error::Data`] where it
    /// is not what the run's checkpoint was trained on.
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
                let dataset = choice.load(&settings.network, notify)?;
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
            let why = format!("the {name} data found now is not what this run was trained on; give the old folder");
            return Err(Error::DataMoved { why, pictures });
        }
        Ok(RecordedData { choice, dataset, changed: other.then(|| EARLIER.into()) })
    }
}

/// What the run's own weights say of its data; nothing before the first of them.
fn of_weights(run: &Path) -> Value {
    let files = ["checkpoint.safetensors", "model.safetensors", "best.safetensors"].map(|name| run.join(name));
    // A damaged one is told of where it is read as a whole.
    files.iter().find_map(|file| load_extra(file).ok()).unwrap_or_default()
}

/// Holds the data set that `config.toml` names, which anyone can edit, against what the weights were made of.
pub fn check_dataset(run: &Path, config: &RunConfig, recorded: &Value) -> Result<()> {
    let Some(own) = recorded["dataset"].as_str() else { return Ok(()) };
    let (name, own) = (own, text::cut(own));
    let images = name == DatasetName::Images.as_str();
    let file = run.join("config.toml");
    if config.dataset != name {
        return Err(Error::Settings(format!(
            "{} names the data set `{}`, but the run was trained on {own}: put dataset = \"{own}\" back",
            file.display(),
            text::cut(&config.dataset)
        )));
    }
    match config.images.is_some() == images {
        true => Ok(()),
        false if images => Err(Error::Settings(format!(
            "{} lacks `images`, the folder of pictures that the run was trained on: put it back",
            file.display()
        ))),
        false => Err(Error::Settings(format!(
            "{} has `images`, but the run was trained on {own}: take that key out",
            file.display()
        ))),
    }
}

/// Holds the data found against what the weights were made of.
fn check_classes(dataset: &Dataset, recorded: &Value) -> Result<()> {
    let found = dataset.provenance();
    let classes: Option<Vec<String>> = serde_json::from_value(recorded["classes"].clone()).ok();
    if let Some(trained) = classes.filter(|trained| *trained != found.classes) {
        return Err(Error::Data(format!(
            "the data found now is not what this run was trained on: {}",
            other_classes(&trained, &found.classes)
        )));
    }
    Ok(())
}

/// Where a run's data is: in the folder that is given, or in that of `config.toml`, which must still be there.
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
            "the run's data was in {folder}, as {} says, and is not there: put it back, or name its new folder",
            file.display()
        );
        return Err(Error::DataMoved { why, pictures: images.is_some() });
    }
    let skip_unreadable = given.skip_unreadable || images.is_some() && config.skip_unreadable;
    Ok(DataChoice { dataset, data_dir, images, skip_unreadable })
}

impl RunConfig {
    /// The device that the run began on.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] for one that nobody here knows.
    pub fn device_choice(&self) -> Result<DeviceChoice> {
        Ok(match ExecutorKind::named(&self.device.executor) {
            Some(ExecutorKind::Cpu) => DeviceChoice::Cpu,
            Some(ExecutorKind::Reference) => DeviceChoice::Reference,
            Some(ExecutorKind::Gpu) => DeviceChoice::Adapter(self.device.name.clone()),
            None => return Err(Error::UnknownDevice(text::cut(&self.device.executor))),
        })
    }
}

/// SHA-256 of pixels and labels, in hexadecimal.
pub(super) fn fingerprint(examples: &Examples) -> String {
    let mut sum = Sha256::new();
    sum.update(&examples.pixels);
    sum.update(&examples.labels);
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
