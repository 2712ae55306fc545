//! Sends one example forward and backward and keeps every tensor: its activations, its gradients, and what decides the
//! network's answer.
//!
//! Activations and their gradients are `[H,W,C]` of the centre crop. Gradients are those of this example's loss, or of
//! the mean loss of a batch that starts with it, without decay. In dumps, weights and their gradients are in PyTorch's
//! order.

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

/// One tensor of a dump.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// The name, such as `conv1.activation_gradient`.
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The result of sending one example through a network.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The example's class.
    pub label: usize,
    /// The network's loss for this example; for softmax its cross-entropy, in nats.
    pub loss: f32,
    /// The mean loss of the batch, from which the gradients are; for a single example the same as `loss`.
    pub mean_loss: f32,
    /// The last layer's output for each class: probabilities for softmax, otherwise scores.
    pub scores: Vec<f32>,
    /// Extremes, means and deviations over the batch, in the order of the network's nodes.
    pub layers: Vec<LayerStatistics>,
    /// For every layer `LAYER.activation` and `LAYER.activation_gradient`, `[H,W,C]`, or `[C]` from the first fully
    /// connected layer on. Layers with parameters also have `.weight`, `.weight_gradient`, `.bias` and
    /// `.bias_gradient`; batch normalisation also has `.running_mean` and `.running_var`.
    pub tensors: Vec<NamedTensor>,
}

impl Inspection {
    /// The `count` classes with the largest scores, the largest first; of equal scores, the lower class comes first.
    pub fn top(&self, count: usize) -> Vec<(usize, f32)> {
        top(&self.scores, count)
    }

    /// All tensors, including those of an explanation, as the bytes of a safetensors file; `metadata` describes their
    /// origin.
    ///
    /// # Errors
    /// Those of [`tensor_bytes`].
    pub fn dump(&self, explanation: Option<&Explanation>, metadata: &serde_json::Value) -> Result<Vec<u8>> {
        let explained = explanation.into_iter().flat_map(Explanation::tensors);
        let tensors: Vec<(&str, &[usize], &[f32])> =
            self.tensors.iter().chain(explained).map(|t| (&t.name[..], &t.shape[..], &t.values[..])).collect();
        tensor_bytes(&tensors, metadata)
    }
}

/// The `count` largest scores with their classes, the largest first; of equal scores, the lower class comes first.
pub fn top(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut classes: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    classes.truncate(count);
    classes
}

/// Runs example `index` forward and backward with an [`Inspector`] made for this one use.
///
/// # Errors
/// Those of [`inspect_batch`].
///
/// # Panics
/// If the parameters are not those of the network.
pub async fn inspect(
    device: &Device,
    network: &Network,
    parameters: &[Parameters],
    examples: &Examples,
    index: usize,
) -> Result<Inspection> {
    inspect_batch(device, network, parameters, examples, index, 1).await
}

/// Runs the `batch` examples from `index` on forward and backward together. Scores, activations and their gradients are
/// those of the first example; all gradients are of the batch's mean loss.
///
/// # Errors
/// [`Error::Settings`] if there are no such examples, and those of [`Inspector::for_batches`] and
/// [`Inspector::inspect_batch`].
///
/// # Panics
/// If the parameters are not those of the network.
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

/// Explains the network's answer to example `index` with an [`Inspector`] made for this one use, see
/// [`Inspector::explain`].
///
/// # Errors
/// [`Error::Settings`] if there is no such example, and those of [`Inspector::new`] and [`Inspector::explain`].
///
/// # Panics
/// If the parameters are not those of the network.
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
        0 => Err(Error::Settings(format!("example {index} does not exist; choose one from 0 to {}", count - 1))),
        left if batch > left => Err(Error::Settings(format!(
            "a batch of {batch} does not fit: from example {index} on, {left} of {count} are left; use a batch of at most {left}"
        ))),
        _ => Ok(()),
    }
}
