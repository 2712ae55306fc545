//! One example through forward and backward, every tensor kept: what each layer makes of it, and what it learns from it.
//!
//! Activations and their gradients are `[H,W,C]`, cropped in the centre; gradients are of this example's loss, decay
//! not included. Dumps have weights and their gradients in PyTorch's order.

use crate::data::Examples;
use crate::error::{Error, Result};
use crate::exec::{Device, Executor, read_reals, upload_examples, upload_parameters};
use crate::formats::{layout, write_tensors};
use crate::kernels::Tensor;
use crate::kernels::batch::Header;
use crate::net::{Layer, Network, Node, Parameters, Shape};
use crate::program::{LayerStatistics, Options, Program, Source};
use std::path::Path;

/// A tensor of a dump.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// As `conv1.activation_gradient`.
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// What one example does to a network.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The example's class.
    pub label: usize,
    /// The network's loss for this example: with softmax its cross-entropy, in nats.
    pub loss: f32,
    /// Of each class what the last layer gives: with softmax its probability, else its score.
    pub scores: Vec<f32>,
    /// Extremes, means and deviations, in the order of the network's nodes.
    pub layers: Vec<LayerStatistics>,
    /// For every layer `LAYER.activation` and `LAYER.activation_gradient`, `[H,W,C]`, or `[C]` from the first fully
    /// connected layer on; where it has parameters also `.weight`, `.weight_gradient`, `.bias` and `.bias_gradient`, and
    /// behind batch normalisation `.running_mean` and `.running_var`.
    pub tensors: Vec<NamedTensor>,
}

impl Inspection {
    /// The `count` classes with the largest scores, the largest first; the lower class first where two are equal.
    pub fn top(&self, count: usize) -> Vec<(usize, f32)> {
        top(&self.scores, count)
    }

    /// Writes all tensors into a safetensors file, whole or not at all; `metadata` says what they are of.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be written.
    pub fn dump(&self, path: &Path, metadata: &serde_json::Value) -> Result<()> {
        let tensors: Vec<(&str, &[usize], &[f32])> =
            self.tensors.iter().map(|t| (&t.name[..], &t.shape[..], &t.values[..])).collect();
        write_tensors(path, &tensors, metadata)
    }
}

/// The `count` largest scores with their classes, the largest first; the lower class first where two are equal.
pub fn top(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut classes: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    classes.truncate(count);
    classes
}

/// Runs example `index` forward and backward.
///
/// # Errors
/// [`Error::Settings`] where there is no such example, [`Error::Data`] where the examples do not fit the network,
/// [`Error::TooLarge`] where the network does not fit the device, [`Error::Device`] where the device fails.
///
/// # Panics
/// When the parameters are not those of the network.
pub async fn inspect(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    index: usize,
) -> Result<Inspection> {
    let [height, width, channels] = examples.shape;
    network.check_fits(Shape::new(height, width, channels), examples.classes)?;
    let example = single(examples, index)?;
    let source = Source { height, width, channels, examples: 1 };
    let limits = device.limits();
    let options = Options { max_binding: limits.max_binding, ..Options::inspection(1, source) };
    let program = Program::lower(network, &options)?;
    program.check_limits(network, &options, &limits)?;

    let label = example.labels[0];
    let words = program.input_words(Header::evaluation(1), &[0], &[u32::from(label)]);
    let (all, outputs) = (0..program.instructions.len(), program.outputs);
    let mut executor = device.executor(program).await?;
    let executor = &mut *executor;
    upload_parameters(executor, parameters)?;
    upload_examples(executor, &example)?;
    executor.begin_step(&words)?;
    executor.run(all)?;
    executor.end_step(false).await?;

    let loss = read_reals(executor, outputs.losses.id).await?[0];
    let counts = executor.read(executor.program().statistics.counts.id).await?;
    let values = executor.read(executor.program().statistics.values.id).await?;
    let layers = executor.program().statistics.decode(&counts, &values).layers;
    let tensors = read_tensors(executor, network).await?;
    let last = executor.program().nodes.len() - 1;
    let scores = executor.program().nodes[last].activation.id;
    let scores = read_reals(executor, scores).await?;
    Ok(Inspection { label: usize::from(label), loss, scores, layers, tensors })
}

/// The one example, as a data set.
fn single(examples: &Examples, index: usize) -> Result<Examples> {
    if index >= examples.len() {
        return Err(Error::Settings(match examples.len() {
            0 => "there are no examples to choose from".into(),
            count => format!("there is no example {index}; choose one from 0 to {}", count - 1),
        }));
    }
    let (pixels, labels) = (examples.image(index).to_vec(), vec![examples.labels[index]]);
    Ok(Examples { pixels, labels, numbers: examples.numbers.clone(), ..*examples })
}

async fn read_tensors(executor: &mut dyn Executor, network: &Network) -> Result<Vec<NamedTensor>> {
    let nodes = executor.program().nodes.clone();
    let mut tensors = Vec::new();
    let mut flat = false;
    for (node, places) in network.nodes.iter().zip(nodes) {
        flat |= matches!(node.layer, Layer::Fc { .. }) || node.layer.is_loss();
        let activations =
            [("activation", Some(places.activation)), ("activation_gradient", places.activation_gradient)];
        for (what, place) in activations {
            let Some(place) = place else { continue };
            tensors.push(read(executor, node, what, activation_shape(node.output, flat), place).await?);
        }
        let Some(places) = places.parameters else { continue };
        let weight_shape = layout::pytorch_shape(node).unwrap_or_default();
        for (what, place) in [("weight", Some(places.weight)), ("weight_gradient", places.weight_gradient)] {
            let Some(place) = place else { continue };
            let mut tensor = read(executor, node, what, weight_shape.clone(), place).await?;
            tensor.values = layout::to_pytorch(node, &tensor.values);
            tensors.push(tensor);
        }
        for (what, place) in [("bias", Some(places.bias)), ("bias_gradient", places.bias_gradient)] {
            let Some(place) = place else { continue };
            tensors.push(read(executor, node, what, vec![place.len], place).await?);
        }
        if let Some(running) = places.running {
            let mut mean = read(executor, node, "running_mean", vec![running.len / 2], running).await?;
            let variance = mean.values.split_off(running.len / 2);
            let name = format!("{}.running_var", node.name);
            tensors.extend([mean, NamedTensor { name, shape: vec![variance.len()], values: variance }]);
        }
    }
    Ok(tensors)
}

async fn read(
    executor: &mut dyn Executor,
    node: &Node,
    what: &str,
    shape: Vec<usize>,
    place: Tensor,
) -> Result<NamedTensor> {
    let values = read_reals(executor, place.id).await?;
    Ok(NamedTensor { name: format!("{}.{what}", node.name), shape, values })
}

/// `[C]` for a vector behind a fully connected layer, else `[H,W,C]`.
fn activation_shape(shape: Shape, flat: bool) -> Vec<usize> {
    match (shape.height, shape.width, flat) {
        (1, 1, true) => vec![shape.channels],
        (height, width, _) => vec![height, width, shape.channels],
    }
}
