//! Models and checkpoints as safetensors files.
//!
//! Tensors are f32: `conv1.weight` in PyTorch's shape and order, `conv1.bias`, `norm1.running_mean` and
//! `norm1.running_var`, and for a checkpoint `optimizer.NAME`, flat. Everything else is one JSON document in the
//! metadata: format version, network description, step and seed.

use super::layout::{from_pytorch, pytorch_shape, to_pytorch};
use super::safetensors::{self, Tensors, check_finite, serialize};
use super::{Format, atomic_write};
use crate::data::DatasetName;
use crate::net::{Network, Parameters};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

/// The version of [`Document`]'s format; a file with a higher one is refused.
const FORMAT: u64 = 1;

/// The most bytes of a [`Document`]; parsing some of them takes a hundred bytes of memory each.
const MAX_DOCUMENT: usize = 1 << 22;

/// The prefix of the names of an optimizer's tensors.
const OPTIMIZER: &str = "optimizer.";

/// A network with its weights: everything that evaluation needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub network: Network,
    /// In the order and layout of [`Network::parameters`].
    pub parameters: Vec<Parameters>,
    /// Additional data of the program, such as the data set's name; kept unchanged.
    pub extra: Value,
}

/// A model in the middle of training: everything that resuming needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub model: Model,
    /// The optimizer's state by name; its order is preserved.
    pub optimizer: Vec<(String, Vec<f32>)>,
    /// The number of updates so far.
    pub step: u64,
    pub seed: u64,
    /// Additional data of the training loop; kept unchanged.
    pub extra: Value,
}

/// The metadata. The network is stored as its canonical TOML.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u64,
    network: String,
    extra: Value,
    /// Present in a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<Training>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    step: u64,
    seed: u64,
    /// Names of the optimizer's tensors, in order.
    optimizer: Vec<String>,
    extra: Value,
}

/// Writes a model as a safetensors file atomically; the same model gives the same bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Model`] if a weight is not finite, in which case an older file is kept.
pub fn save_model(path: &Path, model: &Model) -> Result<()> {
    atomic_write(path, &bytes_for(path, model.to_bytes())?)
}

/// Reads a model in the format of its extension, by default a safetensors file, which may be a checkpoint.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, otherwise those of [`Model::from_bytes`] and [`Model::from_convnetjs`].
pub fn load_model(path: &Path) -> Result<Model> {
    (Format::of(path).unwrap_or(&SAFETENSORS).load)(path)
}

/// Glassnet's own format, also for checkpoints.
pub static SAFETENSORS: Format = Format {
    extension: "safetensors",
    media_type: "application/octet-stream",
    to_bytes: Model::to_bytes,
    load: |path| Model::from_bytes(&read_safetensors(path)?, &path.display().to_string()),
};

/// Writes a checkpoint atomically; the same checkpoint gives the same bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Model`] if a value is not finite, in which case an older file is kept.
pub fn save_checkpoint(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    atomic_write(path, &bytes_for(path, checkpoint.to_bytes())?)
}

/// Reads a checkpoint.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, otherwise those of [`Checkpoint::from_bytes`].
pub fn load_checkpoint(path: &Path) -> Result<Checkpoint> {
    Checkpoint::from_bytes(&read_safetensors(path)?, &path.display().to_string())
}

fn read_safetensors(path: &Path) -> Result<Vec<u8>> {
    safetensors::read(path, safetensors::REMEDY)
}

/// Reads [`Model::extra`] of a model or checkpoint without its tensors.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, otherwise those of [`Model::from_bytes`] that concern its header.
pub fn load_extra(path: &Path) -> Result<Value> {
    let source = path.display().to_string();
    let (_, start, size) = safetensors::read_start(path, safetensors::REMEDY)?;
    let tensors = Tensors::of_start(&start, size, &source, safetensors::REMEDY)?;
    parse_document(&tensors).map(|document| document.extra)
}

/// The record of data in a file written by Glassnet; null for any other file.
pub(super) fn own_extra(tensors: &Tensors) -> Value {
    parse_document(tensors).map(|document| document.extra).unwrap_or_default()
}

impl Model {
    /// The classes' names, from the file or from its data set; either one for each class of the network, or none.
    pub fn class_names(&self) -> Vec<String> {
        let recorded: Option<Vec<String>> = serde_json::from_value(self.extra["classes"].clone()).ok();
        let known = || {
            let dataset: DatasetName = self.extra["dataset"].as_str()?.parse().ok()?;
            Some(dataset.class_names().iter().map(|name| name.to_string()).collect())
        };
        let names = recorded
            .or_else(known)
            .filter(|names| self.network.learns_numbers() || names.len() == self.network.classes());
        names.unwrap_or_default()
    }

    /// The model as the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`Error::Model`] with the tensor that is not finite.
    ///
    /// # Panics
    /// If the parameters are not those of the network.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        write(self, &[], None)
    }

    /// Reads only [`Model::extra`] from the bytes of a model or checkpoint; `source` is the file's name for messages.
    ///
    /// # Errors
    /// Those of [`Model::from_bytes`] that concern the header.
    pub fn extra_from_bytes(bytes: &[u8], source: &str) -> Result<Value> {
        parse_document(&Tensors::parse(bytes, source, safetensors::REMEDY)?).map(|document| document.extra)
    }

    /// Reads the bytes of a model or checkpoint; `source` is the file's name for messages.
    ///
    /// # Errors
    /// [`Error::Model`] if they are not a safetensors file, are damaged, contain no network, or have tensors that do
    /// not fit the network.
    pub fn from_bytes(bytes: &[u8], source: &str) -> Result<Model> {
        read(bytes, source).map(|(_, model, _)| model)
    }
}

impl Checkpoint {
    /// The checkpoint as the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`Error::Model`] with the tensor that is not finite.
    ///
    /// # Panics
    /// If the parameters are not those of the network, or if two optimizer tensors share a name.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let training = Training {
            step: self.step,
            seed: self.seed,
            optimizer: self.optimizer.iter().map(|(name, _)| name.clone()).collect(),
            extra: self.extra.clone(),
        };
        write(&self.model, &self.optimizer, Some(training))
    }

    /// Reads the bytes of a checkpoint; `source` is the file's name for messages.
    ///
    /// # Errors
    /// Those of [`Model::from_bytes`], and [`Error::Model`] for a model without the state of its training.
    pub fn from_bytes(bytes: &[u8], source: &str) -> Result<Checkpoint> {
        let (tensors, model, training) = read(bytes, source)?;
        let training = training.ok_or_else(|| {
            tensors.refuse("a model without the state of its training; to resume, give the checkpoint.safetensors")
        })?;
        let state = |name: String| Ok((name.clone(), tensors.values(&format!("{OPTIMIZER}{name}"), None)?));
        let optimizer = training.optimizer.into_iter().map(state).collect::<Result<_>>()?;
        Ok(Checkpoint { model, optimizer, step: training.step, seed: training.seed, extra: training.extra })
    }
}

/// A tensor with its name and shape.
pub(super) type NamedTensor<'a> = (String, Vec<usize>, Cow<'a, [f32]>);

/// The parameters as files store them: `conv1.weight` in PyTorch's shape and order, `conv1.bias`, and so on.
///
/// # Errors
/// [`Error::Model`] with the tensor that is not finite.
///
/// # Panics
/// If the parameters are not those of the network.
pub(super) fn named_tensors(model: &Model) -> Result<Vec<NamedTensor<'_>>> {
    let shapes = model.network.parameters();
    assert_eq!(shapes.len(), model.parameters.len(), "parameters of network {}", model.network.name);
    let mut tensors: Vec<NamedTensor> = Vec::new();
    for (shape, values) in shapes.iter().zip(&model.parameters) {
        let layer = &shape.layer;
        assert_eq!(
            (layer, shape.weight_len(), shape.bias, [shape.running; 2]),
            (
                &values.layer,
                values.weight.len(),
                values.bias.len(),
                [values.running_mean.len(), values.running_variance.len()]
            ),
            "parameters of network {}",
            model.network.name
        );
        let node = &model.network.nodes[shape.node];
        let weight_shape = pytorch_shape(node).unwrap_or_default();
        tensors.push((weight_name(layer), weight_shape, to_pytorch(node, &values.weight).into()));
        tensors.push((bias_name(layer), vec![shape.bias], Cow::from(&values.bias)));
        if shape.running > 0 {
            let [mean, variance] = running_names(layer);
            tensors.push((mean, vec![shape.running], Cow::from(&values.running_mean)));
            tensors.push((variance, vec![shape.running], Cow::from(&values.running_variance)));
        }
    }
    check_all_finite(&tensors)?;
    Ok(tensors)
}

fn check_all_finite(tensors: &[NamedTensor]) -> Result<()> {
    tensors.iter().try_for_each(|(name, _, values)| check_finite(name, values)).map_err(Error::Model)
}

fn write(model: &Model, optimizer: &[(String, Vec<f32>)], training: Option<Training>) -> Result<Vec<u8>> {
    let mut tensors = named_tensors(model)?;
    for (name, values) in optimizer {
        tensors.push((format!("{OPTIMIZER}{name}"), vec![values.len()], Cow::from(values)));
    }
    check_all_finite(&tensors[tensors.len() - optimizer.len()..])?;
    let document = Document { format: FORMAT, network: model.network.to_toml(), extra: model.extra.clone(), training };
    let document = serde_json::to_string(&document).map_err(|error| Error::Model(format!("metadata: {error}")))?;
    let views: Vec<_> = tensors.iter().map(|(name, shape, values)| (&name[..], &shape[..], &values[..])).collect();
    serialize(&views, &document)
}

/// Reads everything except the optimizer's tensors. Allocations do not depend on the description, but on the tensors'
/// own shapes, which are checked against the file's size and must agree with it.
fn read<'a>(bytes: &'a [u8], source: &'a str) -> Result<(Tensors<'a>, Model, Option<Training>)> {
    let tensors = Tensors::parse(bytes, source, safetensors::REMEDY)?;
    let document = parse_document(&tensors)?;
    let network = Network::from_toml(&document.network, "the network in it")
        .map_err(|error| tensors.refuse(&error.to_string()))?;

    let parameters = read_parameters(&network, &tensors, &|name, shape| tensors.values(name, Some(shape)))?;
    let mut known = tensor_names(&network);
    if let Some(training) = &document.training {
        known.extend(training.optimizer.iter().map(|name| format!("{OPTIMIZER}{name}")));
    }
    let count = known.len();
    // An unused tensor means that the description does not belong to the tensors.
    let known: HashSet<String> = known.into_iter().collect();
    if known.len() != count {
        // Each mention would copy the tensor, so that a small file could fill the memory.
        return Err(tensors.refuse("its metadata is damaged: an optimizer tensor is listed twice"));
    }
    if let Some(stranger) = tensors.names().into_iter().find(|name| !known.contains(name)) {
        let stranger = crate::text::cut(stranger);
        return Err(tensors.refuse(&format!("tensor `{stranger}` belongs to no layer of the network in the file")));
    }
    Ok((tensors, Model { network, parameters, extra: document.extra }, document.training))
}

/// The names of all tensors that a network's parameters need, in order.
pub(super) fn tensor_names(network: &Network) -> Vec<String> {
    let mut names = Vec::new();
    for shape in network.parameters() {
        names.extend([weight_name(&shape.layer), bias_name(&shape.layer)]);
        if shape.running > 0 {
            names.extend(running_names(&shape.layer));
        }
    }
    names
}

/// Returns a tensor's values by name and shape.
type Values<'a> = dyn Fn(&str, &[usize]) -> Result<Vec<f32>> + 'a;

/// The parameters of a network, from tensors in PyTorch's order that `values` returns by name and shape.
///
/// # Errors
/// Those of `values`, and one for a negative variance.
pub(super) fn read_parameters(network: &Network, tensors: &Tensors, values: &Values) -> Result<Vec<Parameters>> {
    let mut parameters = Vec::new();
    for shape in network.parameters() {
        let (node, layer) = (&network.nodes[shape.node], shape.layer);
        let weight = values(&weight_name(&layer), &pytorch_shape(node).unwrap_or_default())?;
        let bias = values(&bias_name(&layer), &[shape.bias])?;
        let (mut running_mean, mut running_variance) = (Vec::new(), Vec::new());
        if shape.running > 0 {
            let [mean, variance] = running_names(&layer);
            (running_mean, running_variance) = (values(&mean, &[shape.running])?, values(&variance, &[shape.running])?);
            if let Some(value) = running_variance.iter().find(|value| **value < 0.0) {
                return Err(tensors.refuse(&format!(
                    "tensor `{variance}` holds {value}, but a variance cannot be negative; use another file"
                )));
            }
        }
        let weight = from_pytorch(node, &weight);
        parameters.push(Parameters { layer, weight, bias, running_mean, running_variance });
    }
    Ok(parameters)
}

/// The version of a document, whatever else it contains.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    format: Value,
}

fn parse_document(tensors: &Tensors) -> Result<Document> {
    let text = tensors.document()?;
    let damaged =
        |error: serde_json::Error| tensors.refuse(&format!("its metadata is damaged: {}", crate::text::message(error)));
    if text.len() > MAX_DOCUMENT {
        let length = text.len();
        return Err(
            tensors.refuse(&format!("its metadata has {length} bytes, more than the {MAX_DOCUMENT} that are read"))
        );
    }
    // The version comes first, because a newer document may differ in everything else.
    let version: Version = serde_json::from_str(text).map_err(damaged)?;
    let format = version.format.as_u64().unwrap_or_default();
    if format > FORMAT {
        return Err(tensors.refuse(&format!(
            "written by a newer Glassnet (format {format}, this one reads up to {FORMAT}); update Glassnet"
        )));
    }
    serde_json::from_str(text).map_err(damaged)
}

pub(super) fn weight_name(layer: &str) -> String {
    format!("{layer}.weight")
}

pub(super) fn bias_name(layer: &str) -> String {
    format!("{layer}.bias")
}

/// Mean and variance, as PyTorch calls them.
pub(super) fn running_names(layer: &str) -> [String; 2] {
    ["running_mean", "running_var"].map(|what| format!("{layer}.{what}"))
}

/// Adds the name of the file to be written to an error about its content.
pub(super) fn bytes_for(path: &Path, bytes: Result<Vec<u8>>) -> Result<Vec<u8>> {
    bytes.map_err(|error| match error {
        Error::Model(why) => Error::Model(format!("{} not written: {why}", path.display())),
        other => other,
    })
}
