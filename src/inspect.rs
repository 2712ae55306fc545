//! One example through forward and backward, every tensor kept: what each layer makes of it, what it learns from it, and
//! what decides the answer.
//!
//! Activations and their gradients are `[H,W,C]`, cropped in the centre; gradients are of this example's loss, or of the
//! mean loss of a batch that it is the first of, decay not included. Dumps have weights and their gradients in PyTorch's order.

mod explain;
mod inspector;

pub use explain::{Explanation, GradCam, Occlusion, occlusion_sizes};
pub use inspector::Inspector;

use crate::data::Examples;
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::formats::tensor_bytes;
use crate::net::{Network, Parameters};
use crate::program::LayerStatistics;

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
    /// The mean over the batch, whose gradients these are; for an example alone the same.
    pub mean_loss: f32,
    /// Of each class what the last layer gives: with softmax its probability, else its score.
    pub scores: Vec<f32>,
    /// Extremes, means and deviations over the batch, in the order of the network's nodes.
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

    /// All tensors, those of an explanation too, as the bytes of a safetensors file; `metadata` says what they are of.
    ///
    /// # Errors
    /// As [`tensor_bytes`].
    pub fn dump(&self, explanation: Option<&Explanation>, metadata: &serde_json::Value) -> Result<Vec<u8>> {
        let explained = explanation.into_iter().flat_map(Explanation::tensors);
        let tensors: Vec<(&str, &[usize], &[f32])> =
            self.tensors.iter().chain(explained).map(|t| (&t.name[..], &t.shape[..], &t.values[..])).collect();
        tensor_bytes(&tensors, metadata)
    }
}

/// The `count` largest scores with their classes, the largest first; the lower class first where two are equal.
pub fn top(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut classes: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    classes.truncate(count);
    classes
}

/// Runs example `index` forward and backward; an [`Inspector`] for one look.
///
/// # Errors
/// As [`inspect_batch`].
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
    inspect_batch(device, network, parameters, examples, index, 1).await
}

/// Runs the `batch` examples from `index` on forward and backward together: the scores, activations and their gradients
/// of the first, all gradients those of the batch's mean loss.
///
/// # Errors
/// [`Error::Settings`] where there are no such examples, and as [`Inspector::for_batches`] and
/// [`Inspector::inspect_batch`].
///
/// # Panics
/// When the parameters are not those of the network.
pub async fn inspect_batch(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    index: usize,
    batch: usize,
) -> Result<Inspection> {
    check_range(examples, index, batch)?;
    let inspector = Inspector::for_batches(device, network, examples.shape, examples.classes, batch).await?;
    let mut inspector = inspector.with_numbers(&examples.numbers);
    inspector.load(parameters)?;
    let size = examples.shape.iter().product::<usize>();
    let range = index..index + batch;
    inspector.inspect_batch(&examples.pixels[range.start * size..range.end * size], &examples.labels[range]).await
}

/// Finds out what decides about example `index`; an [`Inspector`] for one explanation, [`Inspector::explain`].
///
/// # Errors
/// [`Error::Settings`] where there is no such example, and as [`Inspector::new`] and [`Inspector::explain`].
///
/// # Panics
/// When the parameters are not those of the network.
pub async fn explain(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    index: usize,
    occlusion_size: Option<usize>,
) -> Result<Explanation> {
    check_range(examples, index, 1)?;
    let inspector = Inspector::new(device, network, examples.shape, examples.classes).await?;
    let mut inspector = inspector.with_numbers(&examples.numbers);
    inspector.load(parameters)?;
    inspector.explain(examples.image(index), occlusion_size).await
}

fn check_range(examples: &Examples, index: usize, batch: usize) -> Result<()> {
    let count = examples.len();
    match count.saturating_sub(index) {
        _ if count == 0 => Err(Error::Settings("there are no examples to choose from".into())),
        0 => Err(Error::Settings(format!("there is no example {index}; choose one from 0 to {}", count - 1))),
        left if batch > left => Err(Error::Settings(format!(
            "a batch of {batch} from example {index} on: there are {left} left of {count}; give at most that number"
        ))),
        _ => Ok(()),
    }
}
