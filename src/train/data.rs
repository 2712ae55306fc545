//! The examples of a run: a data set by its name, a folder of pictures, or what is in memory; always for one network.

use super::Notice;
#[cfg(not(target_arch = "wasm32"))]
use crate::data::ImageFolder;
use crate::data::{self, Dataset, DatasetName, Request};
use crate::net::Network;
use crate::{Error, Result, text};
use std::path::PathBuf;
use std::sync::Arc;

/// Receives what there is to say while a run is prepared.
pub type Notify<'a> = dyn FnMut(Notice) + Send + 'a;

/// The examples to train on.
#[derive(Debug, Clone)]
pub enum DataSource {
    /// Files, which are found, downloaded or drawn.
    Choice(DataChoice),
    /// Examples in memory.
    Loaded(Arc<Dataset>),
}

/// A data set by its name, or a folder of pictures. The default is MNIST, or CIFAR-10 where the network takes colour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataChoice {
    pub dataset: Option<DatasetName>,
    /// The only folder that is looked in for the data set's files.
    pub data_dir: Option<PathBuf>,
    /// A folder of pictures instead.
    pub images: Option<PathBuf>,
    /// Whether pictures that cannot be read are left out.
    pub skip_unreadable: bool,
}

impl DataSource {
    /// Whether `network` can learn from it, as far as that is known before anything is read; see [`DataChoice::check`].
    pub(super) fn check(&self, network: &Network) -> Result<()> {
        match self {
            DataSource::Choice(choice) => choice.check(network),
            DataSource::Loaded(_) => Ok(()),
        }
    }

    pub(super) fn load(&self, network: &Network, notify: &mut Notify<'_>) -> Result<Arc<Dataset>> {
        match self {
            DataSource::Choice(choice) => choice.load(network, notify).map(Arc::new),
            DataSource::Loaded(dataset) => Ok(dataset.clone()),
        }
    }
}

impl DataChoice {
    /// Finds, downloads or draws the data set. Where no name is given and neither set can be had, drawn examples stand in,
    /// and a [`Notice::StandIn`] says so. Pictures are resized to the input of `network`.
    ///
    /// # Errors
    /// As [`data::obtain()`] and [`ImageFolder`]: what was asked for cannot be had, is damaged, or does not fit `network`.
    pub fn load(&self, network: &Network, notify: &mut Notify<'_>) -> Result<Dataset> {
        if let Some(folder) = &self.images {
            return pictures(folder, network, self.skip_unreadable, notify);
        }
        if self.skip_unreadable {
            let dataset = self.dataset.unwrap_or(DatasetName::Mnist).to_string();
            return Err(Error::NotOfData { name: "skip_unreadable", dataset });
        }
        self.check(network)?;
        let preferred = (network.input_shape().channels == 3).then_some(DatasetName::Cifar10);
        let (data_dir, environment) = (self.data_dir.clone(), data::environment());
        let request = Request { name: self.dataset, preferred, data_dir, environment, allow_download: true };
        let dataset = data::obtain(&request, &mut |event| notify(Notice::Data(event)))?;
        if let Some(reason) = dataset.stand_in_reason() {
            notify(Notice::StandIn { dataset: dataset.name, reason: reason.to_string() });
        }
        Ok(dataset)
    }

    /// Whether `network` can learn from it, as far as that is known before 162 MiB are downloaded for nothing, or a device
    /// is opened. A folder of pictures is judged when it is listed.
    ///
    /// # Errors
    /// [`Error::Data`] where the channels or the classes are not the same.
    pub fn check(&self, network: &Network) -> Result<()> {
        if self.images.is_some() {
            return Ok(());
        }
        let (name, channels) = (self.dataset, network.input_shape().channels);
        let other = name.and_then(|name| Some((name, name.channels()?))).filter(|(_, other)| *other != channels);
        if let Some((name, other)) = other {
            return Err(Error::Data(format!(
                "network {} takes images with {}, {name} has {other}; choose another data set or network",
                network.name,
                in_channels(channels)
            )));
        }
        // All sets that have a name have as many.
        let classes = DatasetName::Mnist.class_names().len();
        network.check_fits(network.input_shape(), classes).map_err(|error| self.own_labels(network).unwrap_or(error))
    }

    /// Of files of one's own in MNIST's format, whose labels may be others, what they really are.
    fn own_labels(&self, network: &Network) -> Option<Error> {
        let (name, data_dir, environment) = (self.dataset, self.data_dir.clone(), data::environment());
        let (path, found) = data::labels_here(&Request { name, data_dir, environment, ..Request::default() })?;
        let all = DatasetName::Mnist.class_names().len();
        (found.different != all).then(|| {
            Error::Data(format!(
                "network {} tells {} classes apart, and {} has {found}; files in MNIST's format are read with {all} classes, so \
                 let the layer before its loss give {all} values",
                network.name,
                network.classes(),
                path.display()
            ))
        })
    }
}

/// `1 channel`, `3 channels`.
pub fn in_channels(channels: usize) -> String {
    format!("{channels} channel{}", if channels == 1 { "" } else { "s" })
}

/// A folder of pictures. Whether its classes are those of the network is judged before any picture is read.
#[cfg(not(target_arch = "wasm32"))]
fn pictures(
    folder: &std::path::Path,
    network: &Network,
    skip_unreadable: bool,
    notify: &mut Notify<'_>,
) -> Result<Dataset> {
    let listed = ImageFolder::list(folder)?;
    let found = listed.others.describe().into_iter().chain(listed.notes.iter().cloned()).chain(listed.untested());
    let found: Vec<String> = found.collect();
    if !found.is_empty() {
        notify(Notice::Pictures(format!("{}: {}", folder.display(), found.join("; "))));
    }
    network.check_fits(network.input_shape(), listed.classes.len()).map_err(|error| match error {
        Error::Data(why) => Error::OtherClasses(why),
        other => other,
    })?;
    if network.learns_numbers() {
        notify(Notice::Pictures(numbers_learned(&listed)));
    }
    let crate::net::Shape { height, width, channels } = network.input_shape();
    let shape = [height, width, channels];
    let reading = listed.read(shape, skip_unreadable, &mut |event| notify(Notice::Data(event)))?;
    reading.skipped().into_iter().for_each(|skipped| notify(Notice::Pictures(skipped)));
    if reading.colours_dropped > 0 {
        let of = reading.dataset.train.len() + reading.dataset.test.len();
        notify(Notice::ColoursDropped { pictures: reading.colours_dropped, of, network: network.name.clone() });
    }
    Ok(reading.dataset)
}

#[cfg(target_arch = "wasm32")]
fn pictures(folder: &std::path::Path, _: &Network, _: bool, _: &mut Notify<'_>) -> Result<Dataset> {
    Err(Error::Data(format!("this build cannot read {}", folder.display())))
}

/// What a network that learns numbers learns of a folder.
#[cfg(not(target_arch = "wasm32"))]
fn numbers_learned(listed: &ImageFolder) -> String {
    let numbers = listed.numbers.iter().copied();
    if listed.numbers.is_empty() {
        let last = listed.classes.len() - 1;
        return format!(
            "the class folders' names are not all numbers: learning their places in the sorted list, 0 to {last}"
        );
    }
    let (least, most) = (numbers.clone().fold(f32::INFINITY, f32::min), numbers.fold(f32::NEG_INFINITY, f32::max));
    format!("learning the class folders' names as numbers, {least} to {most}")
}

/// How the classes of a folder differ from those that a model was trained on, in words.
pub fn other_classes(trained: &[String], found: &[String]) -> String {
    let without = |names: &[String], others: &[String]| {
        text::listed(names.iter().filter(|name| !others.contains(name)).map(text::cut), CLASSES_SHOWN)
    };
    let (missing, strange) = (without(trained, found), without(found, trained));
    let counts = format!("{} classes, not {}", found.len(), trained.len());
    match (missing.is_empty(), strange.is_empty()) {
        (true, true) => format!("it has {counts}, or the same in another order"),
        (false, true) => format!("it has {counts}: {missing} missing"),
        (true, false) => format!("it has {counts}: {strange} unknown to the model"),
        (false, false) if found.len() == trained.len() => format!("{missing} missing, {strange} unknown to the model"),
        (false, false) => format!("it has {counts}: {missing} missing, {strange} unknown to the model"),
    }
}

/// Names of classes that a message lists.
const CLASSES_SHOWN: usize = 10;
