//! A network's training step: the program with its stages, inputs and outputs.
//!
//! `inputs (header, indices, labels) -> batch -> forward -> backward -> update -> unfused -> statistics`. The same step
//! serves training and evaluation; the header selects the crop, and says how many rows of the batch have examples.

use super::{Program, StatisticsPlan};
use crate::kernels::Tensor;
use crate::kernels::batch::{CHUNKS, Header};
use crate::net::Factors;
use std::ops::Range;
use std::sync::Arc;

/// The stages of a step, in order. Forward includes the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Batch,
    Forward,
    Backward,
    Update,
    /// Tensors that fused operations skip, and that only statistics and inspections read.
    Unfused,
    Statistics,
}

impl Stage {
    pub const ALL: [Stage; 6] =
        [Stage::Batch, Stage::Forward, Stage::Backward, Stage::Update, Stage::Unfused, Stage::Statistics];
}

/// The purpose of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    pub stage: Stage,
    /// The network's node that it belongs to, if any.
    pub node: Option<usize>,
}

/// The tensors of one node. Activations and their gradients are `[N,H,W,C]`; weights are in Glassnet's order.
#[derive(Debug, Clone, Copy)]
pub struct NodeTensors {
    pub activation: Tensor,
    /// The gradient of the mean loss with respect to the activation. A node that only a residual block reads shares the
    /// block's gradient, because a sum passes its gradient on unchanged.
    pub activation_gradient: Option<Tensor>,
    pub parameters: Option<ParameterTensors>,
}

/// Slices of the flat parameter and gradient buffers.
#[derive(Debug, Clone, Copy)]
pub struct ParameterTensors {
    pub weight: Tensor,
    pub bias: Tensor,
    /// The weights after the update, before the swap.
    pub weight_next: Option<Tensor>,
    /// The gradient of the mean loss, without decay.
    pub weight_gradient: Option<Tensor>,
    pub bias_gradient: Option<Tensor>,
    /// For batch normalisation: running means, then running variances `[2, C]`.
    pub running: Option<Tensor>,
    /// `running` after the step, before the swap.
    pub running_next: Option<Tensor>,
    /// Factors on the layer's learning rate and weight decay.
    pub factors: Factors,
}

/// Buffers that the host writes before a step.
#[derive(Debug, Clone, Copy)]
pub struct Inputs {
    /// Header, indices and labels in one buffer, so that a step needs one upload.
    pub all: Tensor,
    pub header: Tensor,
    pub indices: Tensor,
    pub labels: Tensor,
}

/// The results of a step.
#[derive(Debug, Clone, Copy)]
pub struct Outputs {
    /// The sum of the valid examples' losses `[1]`.
    pub loss: Tensor,
    /// The number of correct predictions among the valid examples `[1]`.
    pub correct: Tensor,
    /// Each example's loss `[N]`.
    pub losses: Tensor,
    /// Each example's predicted class `[N]`.
    pub predictions: Tensor,
}

/// The optimizer's flat buffers, with the length and layout of weights and biases; tensors start at multiples of 64.
#[derive(Debug, Clone, Copy)]
pub struct Trainable {
    /// For each block of 64 parameters: l1, l2, the factor on the learning rate, and an unused value. Constant, and
    /// written once.
    pub factors: Tensor,
    pub gradients: Tensor,
    pub state: Option<Tensor>,
    /// The moving average of the parameters in the same layout, if one is kept.
    pub average: Option<Tensor>,
    /// Receives the updated parameters; its contents are not needed between steps.
    pub parameters_next: Tensor,
}

/// The form that a network is lowered to. Executors run its program. Training, evaluation and inspections find the
/// program's inputs, its results and the purposes of its instructions here.
#[derive(Debug, Clone)]
pub struct TrainingStep {
    pub program: Arc<Program>,
    /// The most examples in a step.
    pub batch: usize,
    /// One entry per instruction of the program; the stages are in order.
    pub purposes: Vec<Purpose>,
    pub nodes: Vec<NodeTensors>,
    /// Pairs of a node and the node whose operations compute it. The first one's own operations are in
    /// [`Stage::Unfused`].
    pub fused: Vec<(usize, usize)>,
    pub inputs: Inputs,
    pub outputs: Outputs,
    pub chunks: [Tensor; CHUNKS],
    pub examples_per_chunk: usize,
    /// The numbers of the classes `[256]`, if the network learns numbers; written once, with the data set.
    pub numbers: Option<Tensor>,
    /// All weights and biases, followed by the running statistics of batch normalisation.
    pub parameters: Tensor,
    pub trainable: Option<Trainable>,
    pub statistics: StatisticsPlan,
}

impl TrainingStep {
    /// The input of the loss: logits `[N, classes]`, or one number per example `[N, 1]`.
    pub fn logits(&self) -> Tensor {
        self.before_loss().activation
    }

    /// The start of the backward pass: the gradient of the mean loss with respect to the logits `[N, classes]`, which
    /// [`Stage::Forward`] computes. Nothing later writes it. Overwriting it between the two stages gives gradients of
    /// another quantity, such as those of one logit with a one in its place and zeros elsewhere.
    pub fn seed(&self) -> Tensor {
        self.before_loss().activation_gradient.expect("planned for every step")
    }

    fn before_loss(&self) -> NodeTensors {
        self.nodes[self.nodes.len() - 2]
    }

    /// The instructions of one stage.
    pub fn stage(&self, stage: Stage) -> Range<usize> {
        let start = self.purposes.partition_point(|p| (p.stage as usize) < stage as usize);
        let end = self.purposes.partition_point(|p| p.stage as usize <= stage as usize);
        start..end
    }

    /// The instructions of the stages from `first` to `last`, inclusive.
    pub fn stages(&self, first: Stage, last: Stage) -> Range<usize> {
        self.stage(first).start..self.stage(last).end
    }

    /// The words of [`Inputs::all`] for one step; `indices` and `labels` only have the valid examples.
    ///
    /// # Panics
    /// If `indices` and `labels` do not have `header.valid` entries each, or more than the batch.
    pub fn input_words(&self, header: Header, indices: &[u32], labels: &[u32]) -> Vec<u32> {
        assert_eq!((indices.len(), labels.len()), (header.valid as usize, header.valid as usize), "a step's examples");
        assert!(indices.len() <= self.batch, "{} examples in a batch of {}", indices.len(), self.batch);
        let offset = |t: Tensor| self.program.root(t.id).1;
        let mut words = vec![0; self.inputs.all.len];
        words[..Header::LEN].copy_from_slice(&header.words());
        words[offset(self.inputs.indices)..][..indices.len()].copy_from_slice(indices);
        words[offset(self.inputs.labels)..][..labels.len()].copy_from_slice(labels);
        words
    }
}
