//! A network's training step: the program, and what its stages, inputs and outputs are.
//!
//! `inputs (header, indices, labels) -> batch -> forward -> backward -> update -> unfused -> statistics`. One step serves
//! training and evaluation: the header says which crop, and how many rows of the batch hold examples.

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
    /// What fused operations pass over: tensors that nobody but the statistics and people reads.
    Unfused,
    Statistics,
}

impl Stage {
    pub const ALL: [Stage; 6] =
        [Stage::Batch, Stage::Forward, Stage::Backward, Stage::Update, Stage::Unfused, Stage::Statistics];
}

/// What an instruction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose {
    pub stage: Stage,
    /// The network's node that it serves, where it serves one.
    pub node: Option<usize>,
}

/// The tensors of one node. Activations and their gradients are `[N,H,W,C]`; weights are in our own order.
#[derive(Debug, Clone, Copy)]
pub struct NodeTensors {
    pub activation: Tensor,
    /// Gradient of the mean loss with respect to the activation. A node that nothing but a residual block reads shares that
    /// of the block: a sum hands its gradient on as it is.
    pub activation_gradient: Option<Tensor>,
    pub parameters: Option<ParameterTensors>,
}

/// Slices of the flat parameter and gradient buffers.
#[derive(Debug, Clone, Copy)]
pub struct ParameterTensors {
    pub weight: Tensor,
    pub bias: Tensor,
    /// Weights after the update, before the swap.
    pub weight_next: Option<Tensor>,
    /// Gradient of the mean loss, decay not included.
    pub weight_gradient: Option<Tensor>,
    pub bias_gradient: Option<Tensor>,
    /// Of batch normalisation: running means, then running variances `[2, C]`.
    pub running: Option<Tensor>,
    /// The same after the step, before the swap.
    pub running_next: Option<Tensor>,
    /// The layer's own share of learning rate and decay.
    pub factors: Factors,
}

/// Buffers that the host writes before a step.
#[derive(Debug, Clone, Copy)]
pub struct Inputs {
    /// Header, indices and labels in one, so that a step costs one upload.
    pub all: Tensor,
    pub header: Tensor,
    pub indices: Tensor,
    pub labels: Tensor,
}

/// What a step says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Outputs {
    /// Sum of the valid examples' losses `[1]`.
    pub loss: Tensor,
    /// Correct predictions among the valid examples `[1]`.
    pub correct: Tensor,
    /// Each example's loss `[N]`.
    pub losses: Tensor,
    /// Each example's predicted class `[N]`.
    pub predictions: Tensor,
}

/// The optimizer's flat buffers, as long as weights and biases are; tensors start on multiples of 64.
#[derive(Debug, Clone, Copy)]
pub struct Trainable {
    /// l1, l2, factor of the learning rate and one more for each block of 64 parameters; constant, to be written once.
    pub factors: Tensor,
    pub gradients: Tensor,
    pub state: Option<Tensor>,
    /// The moving average of the parameters, laid out like them, where one is kept.
    pub average: Option<Tensor>,
    /// Takes the updated parameters; between two steps nobody needs what it holds.
    pub parameters_next: Tensor,
}

/// What a network is lowered to. Executors run its program; whoever trains, evaluates or looks inside finds here where the
/// program's inputs and results are, and which of its instructions do what.
#[derive(Debug, Clone)]
pub struct TrainingStep {
    pub program: Arc<Program>,
    /// Examples in a step, at most.
    pub batch: usize,
    /// By instruction of the program; the stages are in order.
    pub purposes: Vec<Purpose>,
    pub nodes: Vec<NodeTensors>,
    /// Nodes that another node's operations compute, with that node. Their own operations wait in [`Stage::Unfused`].
    pub fused: Vec<(usize, usize)>,
    pub inputs: Inputs,
    pub outputs: Outputs,
    pub chunks: [Tensor; CHUNKS],
    pub examples_per_chunk: usize,
    /// What the classes stand for `[256]`, where the network learns that; written once, with the data set.
    pub numbers: Option<Tensor>,
    /// All weights and biases, and behind them the running statistics of batch normalisation.
    pub parameters: Tensor,
    pub trainable: Option<Trainable>,
    pub statistics: StatisticsPlan,
}

impl TrainingStep {
    /// What the loss reads `[N, classes]`: logits, or one number an example.
    pub fn logits(&self) -> Tensor {
        self.before_loss().activation
    }

    /// What the backward pass starts from `[N, classes]`: the gradient of the mean loss with respect to the logits, made in
    /// [`Stage::Forward`]. Nothing later writes it. Whoever overwrites it between the two stages gets gradients of
    /// something else: with a one in place of a logit and zeros elsewhere those of that logit.
    pub fn seed(&self) -> Tensor {
        self.before_loss().activation_gradient.expect("planned for every step")
    }

    fn before_loss(&self) -> NodeTensors {
        self.nodes[self.nodes.len() - 2]
    }

    /// Instructions of one stage.
    pub fn stage(&self, stage: Stage) -> Range<usize> {
        let start = self.purposes.partition_point(|p| (p.stage as usize) < stage as usize);
        let end = self.purposes.partition_point(|p| p.stage as usize <= stage as usize);
        start..end
    }

    /// Instructions of the stages from `first` to `last`.
    pub fn stages(&self, first: Stage, last: Stage) -> Range<usize> {
        self.stage(first).start..self.stage(last).end
    }

    /// The words of [`Inputs::all`] for one step; `indices` and `labels` hold the valid examples only.
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
