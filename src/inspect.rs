//! One example through forward and backward, every tensor kept: what each layer makes of it, and what it learns from it.
//!
//! Activations and their gradients are `[H,W,C]`, cropped in the centre; gradients are of this example's loss, decay
//! not included. Dumps have weights and their gradients in PyTorch's order.

mod explain;
mod inspector;

pub use explain::{Explanation, GradCam, Occlusion, occlusion_sizes};
pub use inspector::Inspector;

use crate::data::Examples;
use crate::error::{Error, Result};
use crate::exec::Device;
use crate::formats::write_tensors;
use crate::net::{Network, Parameters};
use crate::program::LayerStatistics;
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

/// Runs example `index` forward and backward; an [`Inspector`] for one look.
///
/// # Errors
/// [`Error::Settings`] where there is no such example, and as [`Inspector::new`] and [`Inspector::inspect`].
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
    if index >= examples.len() {
        return Err(Error::Settings(match examples.len() {
            0 => "there are no examples to choose from".into(),
            count => format!("there is no example {index}; choose one from 0 to {}", count - 1),
        }));
    }
    let inspector = Inspector::new(device, network, examples.shape, examples.classes).await?;
    let mut inspector = inspector.with_numbers(&examples.numbers);
    inspector.load(parameters)?;
    inspector.inspect(examples.image(index), examples.labels[index]).await
}
