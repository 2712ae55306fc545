//! A program, the flat list of operations over named buffers that every executor runs; and the training step, which
//! networks are lowered to and which contains a program.

mod choices;
mod layers;
mod lower;
mod memory;
mod parameters;
mod pipelines;
mod planner;
mod statistics;
mod step;
mod sums;

pub use choices::{Choices, Lost};
pub use lower::{DeviceClass, Options, Source};
pub use memory::{Host, Limits, largest_batch};
pub use pipelines::PipelineUse;
pub use planner::{ALIGNMENT, BufferSpec};
pub use statistics::{Entry, LayerStatistics, Quantity, StatisticsPlan, StepStatistics};
pub use step::{Inputs, NodeTensors, Outputs, ParameterTensors, Purpose, Stage, Trainable, TrainingStep};

use crate::kernels::{BufferId, Case, Element, Op, Tensor};

/// One operation, with its name.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// Layer and direction, such as `conv1.forward`.
    pub name: String,
    pub op: Op,
}

/// The scratch of a case's variant: the numbers of its words, and of the guard words after them.
#[derive(Debug, Clone, Copy)]
pub struct Scratch {
    pub words: usize,
    pub guard: usize,
}

/// The flat list of operations and the buffers it runs over.
#[derive(Debug, Clone)]
pub struct Program {
    pub buffers: Vec<BufferSpec>,
    pub instructions: Vec<Instruction>,
    /// The scratch of a GPU's variants, in a program that reads it; otherwise the GPU's executor makes a separate
    /// buffer.
    pub scratch: Option<Tensor>,
    /// Pairs that exchange their contents at the end of a step with an update.
    pub swaps: Vec<(BufferId, BufferId)>,
    /// Buffers that no instruction writes, with their contents.
    pub constants: Vec<(BufferId, Vec<u32>)>,
    /// The data that the host writes before each step; a separate buffer.
    pub inputs: Option<Tensor>,
    /// Separate buffers that every step overwrites and the host reads after it. From one step to the next their contents
    /// may be lost, because a device may keep those of every step apart.
    pub results: Vec<BufferId>,
    /// The number of examples in the operands that are computed in pieces; `None` if every operation runs as a whole.
    pub examples: Option<usize>,
}

impl Program {
    /// The buffer with this id.
    pub fn buffer(&self, id: BufferId) -> &BufferSpec {
        &self.buffers[id.0 as usize]
    }

    /// The buffer that owns the memory of `id`, and where `id` starts in it, in elements.
    pub fn root(&self, id: BufferId) -> (BufferId, usize) {
        self.buffer(id).parent.unwrap_or((id, 0))
    }

    /// A program of one operation over a case's buffers. With `guards`, each buffer is inside a separate buffer with
    /// the id [`Program::around`], after [`ALIGNMENT`] extra elements and before its guard's number of elements.
    pub fn of_case(case: &Case, guards: Option<&[usize]>, scratch: Option<Scratch>) -> Program {
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
        let mut buffers: Vec<BufferSpec> = own.chain(around).collect();
        let scratch = scratch.map(|Scratch { words, guard }| {
            let (len, element) = (words, Element::U32);
            let (around, id) = (BufferId(buffers.len() as u32), BufferId(buffers.len() as u32 + 1));
            let name = "around scratch".into();
            buffers.push(BufferSpec { name, element, len: ALIGNMENT + len + guard, parent: None, guard: 0 });
            let parent = Some((around, ALIGNMENT));
            buffers.push(BufferSpec { name: "scratch".into(), element, len, parent, guard });
            Tensor { id, element, len }
        });
        let instructions = vec![Instruction { name: case.name.clone(), op: case.op.clone() }];
        let (swaps, constants, results) = (Vec::new(), Vec::new(), Vec::new());
        Program { buffers, instructions, scratch, swaps, constants, inputs: None, results, examples: None }
    }

    /// The buffer that contains buffer `i` of a case and its guards; the index after the last one means the scratch.
    pub fn around(case: &Case, i: usize) -> BufferId {
        BufferId((case.buffers.len() + i) as u32)
    }
}
