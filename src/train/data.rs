//! The examples of a run: a data set with a name, a folder of pictures, or examples in memory, always for one network.

use super::Notice;
#[cfg(not(target_arch = "wasm32"))]
use crate::data::ImageFolder;
use crate::data::{self, Dataset, DatasetName, Request};
use crate::net::Network;
use crate::{Error, Result, text};
use std::path::PathBuf;
use std::sync::Arc;

/// A function that receives the notices while a run is prepared.
pub type Notify<'a> = dyn FnMut(Notice) + Send + 'a;

/// The examples to train on.
#[derive(Debug, Clone)]
pub enum DataSource {
    /// A data set that is found, downloaded or drawn, or a folder of pictures.
    Choice(DataChoice),
    /// Examples in memory.
    Loaded(Arc<Dataset>),
}

/// A data set with a name, or a folder of pictures. The default is MNIST, or CIFAR-10 if the network has colour input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataChoice {
    pub dataset: Option<DatasetName>,
    /// The only folder that is searched for the data set's files.
    pub data_dir: Option<PathBuf>,
    /// A folder of pictures instead.
    pub images: Option<PathBuf>,
    /// Whether pictures that cannot be read are left out.
    pub skip_unreadable: bool,
}

impl DataSource {
    /// Checks whether `network` can learn from the data, as far as this is known before any data is read; see
    /// [`DataChoice::check`].
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
    /// Finds, downloads or draws the data set. If no name is given and the default set cannot be obtained, synthetic
    /// examples replace it, and a [`Notice::StandIn`] says so. Pictures are resized to the input of `network`.
    ///
    /// # Errors
    /// Those of [`data::obtain()`] and [`ImageFolder`]: the requested data cannot be obtained, is damaged, or does not
    /// fit `network`.
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

    /// Checks whether `network` can learn from the data, as far as this is known before 162 MiB are downloaded in vain
    /// or a device is opened. A folder of pictures is checked when it is listed.
    ///
    /// # Errors
    /// [`Error::Data`] if the numbers of channels or classes differ.
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
        // All sets with a name have the same number of classes.
        let classes = DatasetName::Mnist.class_names().len();
        network.check_fits(network.input_shape(), classes).map_err(|error| self.own_labels(network).unwrap_or(error))
    }

    /// Checks a user's own files in MNIST's format by their actual labels, which may differ.
    fn own_labels(&self, network: &Network) -> Option<Error> {
        let (name, data_dir, environment) = (self.dataset, self.data_dir.clone(), data::environment());
        let (path, found) = data::labels_here(&Request { name, data_dir, environment, ..Request::default() })?;
        let all = DatasetName::Mnist.class_names().len();
        (found.different != all).then(|| {
            Error::Data(format!(
                "network {} has {} classes, but {} has {found}; files in MNIST's format are read with {all} classes, so \
                 give the layer before its loss {all} outputs",
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

/// Reads a folder of pictures. Whether its classes fit the network is checked before any picture is read.
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

/// What a network that learns numbers learns from a folder, in words.
#[cfg(not(target_arch = "wasm32"))]
fn numbers_learned(listed: &ImageFolder) -> String {
    let numbers = listed.numbers.iter().copied();
    if listed.numbers.is_empty() {
        let last = listed.classes.len() - 1;
        return format!(
            "the class folders' names are not all numbers, so their positions in the sorted list, 0 to {last}, are learned"
        );
    }
    let (least, most) = (numbers.clone().fold(f32::INFINITY, f32::min), numbers.fold(f32::NEG_INFINITY, f32::max));
    format!("learning the class folders' names as numbers, {least} to {most}")
}

/// The difference between a folder's classes and those that a model was trained on, in words.
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

/// The most names of classes in a message.
const CLASSES_SHOWN: usize = 10;
