//! What a kernel's function sees (`Args`) and what a program is made of (`Op`).
//!
//! Buffers hold 4-byte elements, f32 or u32; the f64 reference executor stores its reals as f64.

use super::Kernel;
use std::any::Any;
use std::ops::Range;

/// A real number type that the reference functions are written over.
pub trait Scalar: Copy + Send + Sync + std::fmt::Debug + 'static {
    fn get(self) -> f64;
    fn of(value: f64) -> Self;
}

impl Scalar for f32 {
    fn get(self) -> f64 {
        f64::from(self)
    }
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Scalar for f64 {
    fn get(self) -> f64 {
        self
    }
    fn of(value: f64) -> Self {
        value
    }
}

/// Element type of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    F32,
    U32,
}

/// Names a buffer of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// A handle to a buffer that carries what the typed builders assert: element type and length in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    pub id: BufferId,
    pub element: Element,
    pub len: usize,
}

/// One input of a kernel's function.
#[derive(Debug, Clone, Copy)]
pub enum Slot<'a, S> {
    Real(&'a [S]),
    Words(&'a [u32]),
}

/// One output of a kernel's function.
#[derive(Debug)]
pub enum SlotMut<'a, S> {
    Real(&'a mut [S]),
    Words(&'a mut [u32]),
}

impl<S> SlotMut<'_, S> {
    /// The same output, lent.
    pub fn again(&mut self) -> SlotMut<'_, S> {
        match self {
            SlotMut::Real(values) => SlotMut::Real(values),
            SlotMut::Words(words) => SlotMut::Words(words),
        }
    }

    /// What was written, as an input.
    pub fn read(&self) -> Slot<'_, S> {
        match self {
            SlotMut::Real(values) => Slot::Real(values),
            SlotMut::Words(words) => Slot::Words(words),
        }
    }
}

/// What all examples of an operation share, made on the processor before them: packed weights, tables. It stays with the
/// operation, so that the next step finds the memory.
#[derive(Debug, Default)]
pub struct Prepared(Option<Box<dyn Any + Send + Sync>>);

impl Prepared {
    /// What was made for an earlier step, or a new one.
    pub fn get_or_insert_with<T: Any + Send + Sync>(&mut self, new: impl FnOnce() -> T) -> &mut T {
        let kept = self.0.get_or_insert_with(|| Box::new(new()));
        kept.downcast_mut().expect("an operation prepares one type")
    }

    pub fn get<T: Any>(&self) -> &T {
        self.0.as_ref().and_then(|kept| kept.downcast_ref()).expect("the executor prepares an operation first")
    }
}

/// Makes what all examples share, from the inputs that [`Pieces::whole`] names.
pub type Prepare<S> = fn(&Args<'_, S>, &mut Prepared);

/// Everything a kernel's function sees. Which input is which stands in the kernel's file.
#[derive(Debug)]
pub struct Args<'a, S> {
    pub params: &'a [u8],
    pub inputs: Vec<Slot<'a, S>>,
    pub outputs: Vec<SlotMut<'a, S>>,
    /// The examples that the operands hold, where an operation with [`Op::pieces`] is called for some of them only.
    pub piece: Option<Range<usize>>,
    /// What [`Pieces::prepare`] made; empty where there is nothing to prepare.
    pub prepared: &'a Prepared,
}

impl<'a, S: Scalar> Args<'a, S> {
    /// For the whole operation, with nothing prepared.
    pub fn new(params: &'a [u8], inputs: Vec<Slot<'a, S>>, outputs: Vec<SlotMut<'a, S>>) -> Args<'a, S> {
        Args { params, inputs, outputs, piece: None, prepared: &Prepared(None) }
    }

    /// The fewest items of a parallel loop that are worth a task: a piece stays on the thread that has it.
    pub fn least_items(&self) -> usize {
        if self.piece.is_some() { usize::MAX } else { 1 }
    }

    /// The number that the first example of the operands has in the batch.
    pub fn first_example(&self) -> usize {
        self.piece.as_ref().map_or(0, |piece| piece.start)
    }

    /// How many of the operands' examples the batch's header calls valid.
    pub fn valid(&self, header: &[u32]) -> usize {
        let valid = (header[1] as usize).saturating_sub(self.first_example());
        self.piece.as_ref().map_or(valid, |piece| valid.min(piece.len()))
    }

    /// Where in the whole operand this operand of `len` elements starts.
    pub fn offset(&self, len: usize) -> usize {
        self.piece.as_ref().map_or(0, |piece| piece.start * (len / piece.len()))
    }

    /// The kernel's `Params`.
    pub fn params<P: bytemuck::AnyBitPattern>(&self) -> P {
        bytemuck::pod_read_unaligned(self.params)
    }

    /// Input `i`, which holds reals.
    pub fn real(&self, i: usize) -> &'a [S] {
        match self.inputs[i] {
            Slot::Real(values) => values,
            Slot::Words(_) => panic!("input {i} holds words, not reals"),
        }
    }

    /// Input `i`, which holds words.
    pub fn words(&self, i: usize) -> &'a [u32] {
        match self.inputs[i] {
            Slot::Words(values) => values,
            Slot::Real(_) => panic!("input {i} holds reals, not words"),
        }
    }

    /// Takes output `i`, which holds reals; a second take finds it empty.
    pub fn out(&mut self, i: usize) -> &'a mut [S] {
        match std::mem::replace(&mut self.outputs[i], SlotMut::Real(&mut [])) {
            SlotMut::Real(values) => values,
            SlotMut::Words(_) => panic!("output {i} holds words, not reals"),
        }
    }

    /// Takes output `i`, which holds words; a second take finds it empty.
    pub fn out_words(&mut self, i: usize) -> &'a mut [u32] {
        match std::mem::replace(&mut self.outputs[i], SlotMut::Words(&mut [])) {
            SlotMut::Words(values) => values,
            SlotMut::Real(_) => panic!("output {i} holds reals, not words"),
        }
    }
}

/// Arithmetic and memory traffic of one operation, by its definition (no credit for what a cache saves or costs).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Floating-point operations, a multiply-add counting two.
    pub flops: u64,
    /// Bytes of all inputs and outputs, each once.
    pub bytes: u64,
}

/// How an operation is computed for some examples at a time: each operand holds the examples one after another.
#[derive(Debug, Clone, Copy)]
pub struct Pieces {
    /// Inputs that every piece needs whole, such as weights.
    pub whole: &'static [usize],
    /// Examples that are computed together, the last of the batch being fewer: pieces start at multiples of it.
    pub unit: usize,
    /// Whether the outputs hold one item for each unit, such as a partial sum, and not one for each example.
    pub sums: bool,
    /// What the `cpu` executor calls before the kernel's fast function.
    pub prepare: Option<Prepare<f32>>,
}

/// One operation of a program: a kernel, its parameters and its buffers.
#[derive(Debug, Clone)]
pub struct Op {
    pub kernel: &'static Kernel,
    pub params: Vec<u8>,
    /// Pipeline-overridable constants of the shader: what the compiler should know, and not read from `params`.
    pub constants: Vec<(&'static str, u32)>,
    pub inputs: Vec<BufferId>,
    pub outputs: Vec<BufferId>,
    /// Workgroups in x, y, z, each at most 65,535.
    pub workgroups: [u32; 3],
    pub work: Work,
    /// Whether the kernel's functions on the processor can be called for a piece of the batch, and how.
    pub pieces: Option<Pieces>,
}

/// The most workgroups in one dimension that WebGPU promises.
pub const MAX_WORKGROUPS: u32 = 65_535;

impl Op {
    /// Checks the tensors against the kernel's signature; `flops` as in [`Work`], in 64 bits where they are more than some for
    /// each value: a `usize` may have 32.
    pub(super) fn new<P: bytemuck::NoUninit>(
        kernel: &'static Kernel,
        params: P,
        inputs: &[Tensor],
        outputs: &[Tensor],
        workgroups: [u32; 3],
        flops: impl TryInto<u64>,
    ) -> Op {
        let elements = |tensors: &[Tensor]| tensors.iter().map(|t| t.element).collect::<Vec<_>>();
        assert_eq!(elements(inputs), kernel.inputs, "inputs of {}", kernel.name);
        assert_eq!(elements(outputs), kernel.outputs, "outputs of {}", kernel.name);
        assert_eq!(size_of::<P>(), kernel.params, "Params of {}", kernel.name);
        assert!(workgroups.iter().all(|g| (1..=MAX_WORKGROUPS).contains(g)), "{workgroups:?} of {}", kernel.name);
        let words: usize = inputs.iter().chain(outputs).map(|t| t.len).sum();
        Op {
            kernel,
            params: bytemuck::bytes_of(&params).to_vec(),
            constants: Vec::new(),
            inputs: inputs.iter().map(|t| t.id).collect(),
            outputs: outputs.iter().map(|t| t.id).collect(),
            workgroups,
            work: Work { flops: flops.try_into().unwrap_or(u64::MAX), bytes: 4 * words as u64 },
            pieces: None,
        }
    }

    /// The same, computed in pieces where that pays.
    pub(super) fn in_pieces(self, whole: &'static [usize], unit: usize) -> Op {
        Op { pieces: Some(Pieces { whole, unit, sums: false, prepare: None }), ..self }
    }

    /// The same, with outputs that hold a sum for each unit.
    pub(super) fn summing(self) -> Op {
        Op { pieces: self.pieces.map(|pieces| Pieces { sums: true, ..pieces }), ..self }
    }

    /// The same, prepared by this function.
    pub(super) fn prepared_by(self, prepare: Prepare<f32>) -> Op {
        Op { pieces: self.pieces.map(|pieces| Pieces { prepare: Some(prepare), ..pieces }), ..self }
    }

    /// The same, with its workgroups split over x and y as if one dimension took no more than `limit`: what takes a real
    /// size more memory than a case should need.
    pub(super) fn split_at(self, limit: u32) -> Op {
        let [groups, y, z] = self.workgroups;
        assert_eq!(y, 1, "{} is split already", self.kernel.name);
        let [x, y] = split(groups as usize, limit);
        assert!(y > 1, "{groups} workgroups of {} need no split at {limit}", self.kernel.name);
        Op { workgroups: [x, y, z], ..self }
    }

    /// The same, compiled with these constants.
    pub(super) fn with_constants(self, constants: Vec<(&'static str, u32)>) -> Op {
        Op { constants, ..self }
    }
}

/// The unit of sums over the batch: of a batch up to 128 there are at most 16, of a larger one at most 32, which is enough
/// independent work for a GPU or for threads that must end together, and so few that adding them up is cheap.
pub(super) fn unit(examples: usize) -> usize {
    examples.div_ceil(16).min(8).max(examples.div_ceil(32))
}

/// `total` invocations in workgroups of `size`, split over x and y where one dimension is too short for them.
pub(super) fn linear(total: usize, size: u32) -> [u32; 3] {
    let [x, y] = split(total.div_ceil(size as usize).max(1), MAX_WORKGROUPS);
    [x, y, 1]
}

/// At least `groups` workgroups in x and y, none longer than `limit`.
fn split(groups: usize, limit: u32) -> [u32; 2] {
    let y = groups.div_ceil(limit as usize);
    [groups.div_ceil(y) as u32, y as u32]
}

/// A length as the shaders' u32; every index inside a buffer must fit.
pub(super) fn word(value: usize) -> u32 {
    u32::try_from(value).expect("sizes are capped far below 2^32 by the network's shape rules")
}

/// The decimal that a constant was read from, the shortest one that rounds to `value`: 0.9, and not 0.899999976.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
