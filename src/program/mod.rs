//! A network lowered to a flat list of operations over named buffers: what every executor runs.
//!
//! `inputs (header, indices, labels) -> batch -> forward -> backward -> update -> unfused -> statistics`. One program serves
//! training and evaluation: the header says which crop, and how many rows of the batch hold examples.

mod layers;
mod lower;
mod memory;
mod parameters;
mod planner;
mod statistics;

pub use lower::{Options, Source};
pub use memory::{Host, Limits, largest_batch};
pub use planner::{ALIGNMENT, BufferSpec};
pub use statistics::{Entry, LayerStatistics, Quantity, StatisticsPlan, StepStatistics};

use crate::kernels::batch::{CHUNKS, Header};
use crate::kernels::{BufferId, Case, Op, Tensor};
use crate::net::Factors;
use std::ops::Range;

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

/// One operation with its place in the house.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// Layer and direction, as `conv1.forward`.
    pub name: String,
    pub stage: Stage,
    /// The network's node that it serves, where it serves one.
    pub node: Option<usize>,
    pub op: Op,
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

/// The flat list of operations and the buffers it runs over.
#[derive(Debug, Clone)]
pub struct Program {
    pub batch: usize,
    pub buffers: Vec<BufferSpec>,
    pub instructions: Vec<Instruction>,
    /// Pairs that exchange their contents at the end of a step that updated.
    pub swaps: Vec<(BufferId, BufferId)>,
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

impl Program {
    /// The buffer behind an id.
    pub fn buffer(&self, id: BufferId) -> &BufferSpec {
        &self.buffers[id.0 as usize]
    }

    /// The buffer that owns the memory of `id`, and where `id` starts in it, in elements.
    pub fn root(&self, id: BufferId) -> (BufferId, usize) {
        self.buffer(id).parent.unwrap_or((id, 0))
    }

    /// What the loss reads `[N, classes]`: logits, or one number an example.
    pub fn logits(&self) -> Tensor {
        self.before_loss().activation
    }

    /// What the backward pass starts from `[N, classes]`: the gradient of the mean loss with respect to the logits, made in
    /// [`Stage::Forward`]. Nothing later writes it. Whoever overwrites it between the two stages gets gradients of
    /// something else: with a one in place of a logit and zeros elsewhere those of that logit.
    pub fn seed(&self) -> Tensor {
        self.before_loss().activation_gradient.expect("planned for every program")
    }

    fn before_loss(&self) -> NodeTensors {
        self.nodes[self.nodes.len() - 2]
    }

    /// Instructions of one stage.
    pub fn stage(&self, stage: Stage) -> Range<usize> {
        let start = self.instructions.partition_point(|i| (i.stage as usize) < stage as usize);
        let end = self.instructions.partition_point(|i| i.stage as usize <= stage as usize);
        start..end
    }

    /// Instructions of the stages from `first` to `last`.
    pub fn stages(&self, first: Stage, last: Stage) -> Range<usize> {
        self.stage(first).start..self.stage(last).end
    }

    /// A program of one operation over a case's buffers. With `guards`, each lies in a buffer of its own, whose id is
    /// [`Program::around`], behind [`ALIGNMENT`] extra elements and before as many as its guard says.
    pub fn of_case(case: &Case, guards: Option<&[usize]>) -> Program {
        let count = case.buffers.len();
        let guard = |i: usize| guards.map_or(0, |guards| guards[i]);
        let parent = |i: usize| guards.map(|_| (Program::around(case, i), ALIGNMENT));
        let own = case.buffers.iter().enumerate().map(|(i, b)| {
            let (element, len, parent) = (b.element, b.len, parent(i));
            BufferSpec { name: format!("buffer {i}"), element, len, parent, guard: guard(i) }
        });
        let around = case.buffers.iter().enumerate().map(|(i, b)| {
            let (element, len) = (b.element, ALIGNMENT + b.len + guard(i));
            BufferSpec { name: format!("around buffer {i}"), element, len, parent: None, guard: 0 }
        });
        let around = around.take(guards.map_or(0, |_| count));
        let buffers: Vec<BufferSpec> = own.chain(around).collect();
        // A case has no step, so what belongs to steps points at its first buffer and is never used.
        let none = Tensor { id: BufferId(0), element: buffers[0].element, len: 1 };
        let instruction =
            Instruction { name: case.name.clone(), stage: Stage::Forward, node: None, op: case.op.clone() };
        Program {
            batch: 1,
            buffers,
            instructions: vec![instruction],
            swaps: Vec::new(),
            nodes: Vec::new(),
            fused: Vec::new(),
            inputs: Inputs { all: none, header: none, indices: none, labels: none },
            outputs: Outputs { loss: none, correct: none, losses: none, predictions: none },
            chunks: [none; CHUNKS],
            examples_per_chunk: 1,
            numbers: None,
            parameters: none,
            trainable: None,
            statistics: StatisticsPlan::empty(none),
        }
    }

    /// The buffer that has buffer `i` of a case and its guards.
    pub fn around(case: &Case, i: usize) -> BufferId {
        BufferId((case.buffers.len() + i) as u32)
    }

    /// The words of [`Inputs::all`] for one step; `indices` and `labels` hold the valid examples only.
    pub fn input_words(&self, header: Header, indices: &[u32], labels: &[u32]) -> Vec<u32> {
        assert_eq!((indices.len(), labels.len()), (header.valid as usize, header.valid as usize), "a step's examples");
        assert!(indices.len() <= self.batch, "{} examples in a batch of {}", indices.len(), self.batch);
        let offset = |t: Tensor| self.root(t.id).1;
        let mut words = vec![0; self.inputs.all.len];
        words[..Header::LEN].copy_from_slice(&header.words());
        words[offset(self.inputs.indices)..][..indices.len()].copy_from_slice(indices);
        words[offset(self.inputs.labels)..][..labels.len()].copy_from_slice(labels);
        words
    }
}
