//! The arguments of an operation's functions (`Args`) and the elements of a program (`Op`).
//!
//! Buffers have 4-byte elements, f32 or u32; the f64 reference executor stores its reals as f64.

use super::batch::Header;
use super::{Adapter, Dispatch, Factor, Operand, Operation, Pass, Variant};
use arrayvec::ArrayVec;
use std::any::Any;
use std::ops::Range;

/// A real number type for the generic reference functions.
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

/// The identifier of a buffer in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// A handle to a buffer with the properties that the typed builders assert: element type and length in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    pub id: BufferId,
    pub element: Element,
    pub len: usize,
}

/// One input of an operation's function.
#[derive(Debug, Clone, Copy)]
pub enum Slot<'a, S> {
    Real(&'a [S]),
    Words(&'a [u32]),
}

/// One output of an operation's function.
#[derive(Debug)]
pub enum SlotMut<'a, S> {
    Real(&'a mut [S]),
    Words(&'a mut [u32]),
}

impl<S> SlotMut<'_, S> {
    /// The same output, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> SlotMut<'_, S> {
        match self {
            SlotMut::Real(values) => SlotMut::Real(values),
            SlotMut::Words(words) => SlotMut::Words(words),
        }
    }

    /// The written values, as an input.
    pub fn read(&self) -> Slot<'_, S> {
        match self {
            SlotMut::Real(values) => Slot::Real(values),
            SlotMut::Words(words) => Slot::Words(words),
        }
    }
}

/// Data that all examples of an operation share, prepared on the processor: packed weights, tables. It stays with the
/// operation, so that the next step reuses the memory.
#[derive(Debug, Default)]
pub struct Prepared(Option<Box<dyn Any + Send + Sync>>);

impl Prepared {
    /// The data of an earlier step, or new data.
    pub fn get_or_insert_with<T: Any + Send + Sync>(&mut self, new: impl FnOnce() -> T) -> &mut T {
        let kept = self.0.get_or_insert_with(|| Box::new(new()));
        kept.downcast_mut().expect("an operation prepares one type")
    }

    pub fn get<T: Any>(&self) -> &T {
        self.0.as_ref().and_then(|kept| kept.downcast_ref()).expect("the executor prepares an operation first")
    }
}

/// Prepares data that all examples share, from the inputs that every piece of the batch needs completely.
pub type Prepare<S> = fn(&Args<'_, S>, &mut Prepared);

/// The most inputs, and the most outputs, of an operation; WebGPU guarantees eight buffers in all.
pub const MAX_OPERANDS: usize = 8;

/// A list with one item per operand, without heap memory, because a step makes some for every operation.
pub type PerOperand<T> = ArrayVec<T, MAX_OPERANDS>;

/// The arguments of an operation's function.
#[derive(Debug)]
pub struct Args<'a, S> {
    /// Names the operands.
    pub operation: &'static Operation,
    pub params: &'a [u8],
    pub inputs: PerOperand<Slot<'a, S>>,
    pub outputs: PerOperand<SlotMut<'a, S>>,
    /// The examples in the operands, if an operation with an [`Op::unit`] is called for only some of them.
    pub piece: Option<Range<usize>>,
    /// The data from [`Cpu::prepare`](super::Cpu::prepare); empty if there is nothing to prepare.
    pub prepared: &'a Prepared,
}

impl<'a, S: Scalar> Args<'a, S> {
    /// Arguments for the whole operation, with nothing prepared.
    pub fn new(
        operation: &'static Operation,
        params: &'a [u8],
        inputs: impl IntoIterator<Item = Slot<'a, S>>,
        outputs: impl IntoIterator<Item = SlotMut<'a, S>>,
    ) -> Args<'a, S> {
        let (inputs, outputs) = (inputs.into_iter().collect(), outputs.into_iter().collect());
        Args { operation, params, inputs, outputs, piece: None, prepared: &Prepared(None) }
    }

    /// The fewest items of a parallel loop per task; a piece stays on its thread.
    pub fn least_items(&self) -> usize {
        if self.piece.is_some() { usize::MAX } else { 1 }
    }

    /// The index in the batch of the operands' first example.
    pub fn first_example(&self) -> usize {
        self.piece.as_ref().map_or(0, |piece| piece.start)
    }

    /// The number of the operands' examples that the batch's header declares valid.
    pub fn valid(&self, header: &Header) -> usize {
        let valid = (header.valid as usize).saturating_sub(self.first_example());
        self.piece.as_ref().map_or(valid, |piece| valid.min(piece.len()))
    }

    /// The offset in the whole operand at which this operand of `len` elements starts.
    pub fn offset(&self, len: usize) -> usize {
        self.piece.as_ref().map_or(0, |piece| piece.start * (len / piece.len()))
    }

    /// The operation's `Params`.
    pub fn params<P: bytemuck::AnyBitPattern>(&self) -> P {
        bytemuck::pod_read_unaligned(self.params)
    }

    /// The step's header, from an input.
    pub fn header(&self, operand: Operand) -> Header {
        Header::read(self.words(operand))
    }

    /// An input of reals.
    pub fn real(&self, operand: Operand) -> &'a [S] {
        match self.inputs[place(self.operation.inputs, operand)] {
            Slot::Real(values) => values,
            Slot::Words(_) => panic!("input {} holds words, not reals", operand.name),
        }
    }

    /// An input of words.
    pub fn words(&self, operand: Operand) -> &'a [u32] {
        match self.inputs[place(self.operation.inputs, operand)] {
            Slot::Words(values) => values,
            Slot::Real(_) => panic!("input {} holds reals, not words", operand.name),
        }
    }

    /// Takes an output of reals; taking it again returns an empty one.
    pub fn out(&mut self, operand: Operand) -> &'a mut [S] {
        let place = place(self.operation.outputs, operand);
        match std::mem::replace(&mut self.outputs[place], SlotMut::Real(&mut [])) {
            SlotMut::Real(values) => values,
            SlotMut::Words(_) => panic!("output {} holds words, not reals", operand.name),
        }
    }

    /// Takes an output of words; taking it again returns an empty one.
    pub fn out_words(&mut self, operand: Operand) -> &'a mut [u32] {
        let place = place(self.operation.outputs, operand);
        match std::mem::replace(&mut self.outputs[place], SlotMut::Words(&mut [])) {
            SlotMut::Words(values) => values,
            SlotMut::Real(_) => panic!("output {} holds reals, not words", operand.name),
        }
    }
}

/// The position of an operand in an operation's list.
fn place(operands: &[Operand], operand: Operand) -> usize {
    let place = operands.iter().position(|other| std::ptr::eq(other.name, operand.name) || other.name == operand.name);
    place.unwrap_or_else(|| panic!("the operation has no operand {}", operand.name))
}

/// Arithmetic and memory traffic of one operation, by its definition (no credit for what a cache saves or costs).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Floating-point operations, a multiply-add counting two.
    pub flops: u64,
    /// Bytes of all inputs and outputs, each once.
    pub bytes: u64,
}

/// One operation of a program: what it computes, its parameters and its buffers.
#[derive(Debug, Clone)]
pub struct Op {
    pub operation: &'static Operation,
    pub params: Vec<u8>,
    /// In the order of [`Operation::inputs`].
    pub inputs: Vec<BufferId>,
    pub outputs: Vec<BufferId>,
    /// The number of elements of every input.
    pub lengths: Vec<usize>,
    pub work: Work,
    /// Set if the processor's functions can be called for a piece of the batch: the number of examples that are
    /// computed together. Pieces start at multiples of it.
    pub unit: Option<usize>,
    /// The variant that a GPU runs; `None` means the first that fits the adapter and suits the operation.
    pub variant: Option<&'static Variant>,
    /// The most workgroups in one dimension.
    pub most_workgroups: u32,
}

/// The most workgroups in one dimension that WebGPU promises.
pub const MAX_WORKGROUPS: u32 = 65_535;

impl Op {
    /// Checks the tensors against the operation's operands. `flops` is that of [`Work`]; pass it in 64 bits if it is more
    /// than a few per value, because a `usize` may have 32 bits.
    pub fn new<P: bytemuck::NoUninit>(
        operation: &'static Operation,
        params: P,
        inputs: &[(Operand, Tensor)],
        outputs: &[(Operand, Tensor)],
        flops: impl TryInto<u64>,
    ) -> Op {
        for (what, given, expected) in [("inputs", inputs, operation.inputs), ("outputs", outputs, operation.outputs)] {
            assert!(given.iter().map(|(operand, _)| operand).eq(expected), "{what} of {}", operation.name);
            let is_of_its_kind = |(operand, tensor): &(Operand, Tensor)| operand.element == tensor.element;
            assert!(given.iter().all(is_of_its_kind), "{what} of {}: {given:?}", operation.name);
        }
        assert_eq!(size_of::<P>(), operation.params, "Params of {}", operation.name);
        let words: usize = inputs.iter().chain(outputs).map(|(_, tensor)| tensor.len).sum();
        let ids = |tensors: &[(Operand, Tensor)]| tensors.iter().map(|(_, tensor)| tensor.id).collect();
        Op {
            operation,
            params: bytemuck::bytes_of(&params).to_vec(),
            inputs: ids(inputs),
            outputs: ids(outputs),
            lengths: inputs.iter().map(|(_, tensor)| tensor.len).collect(),
            work: Work { flops: flops.try_into().unwrap_or(u64::MAX), bytes: 4 * words as u64 },
            unit: None,
            variant: None,
            most_workgroups: MAX_WORKGROUPS,
        }
    }

    /// Returns this operation with computation in pieces of `unit` examples if this is worthwhile.
    pub(super) fn in_pieces(self, unit: usize) -> Op {
        Op { unit: Some(unit), ..self }
    }

    /// The operation's `Params`.
    pub fn params<P: bytemuck::AnyBitPattern>(&self) -> P {
        bytemuck::pod_read_unaligned(&self.params)
    }

    /// The buffer of an input.
    pub fn input(&self, operand: Operand) -> BufferId {
        self.inputs[place(self.operation.inputs, operand)]
    }

    /// The number of elements of an input.
    pub fn len(&self, operand: Operand) -> usize {
        self.lengths[place(self.operation.inputs, operand)]
    }

    /// Inputs and outputs with the names of their operands.
    pub fn operands(&self) -> impl Iterator<Item = (Operand, BufferId)> {
        let operands = self.operation.inputs.iter().chain(self.operation.outputs);
        operands.copied().zip(self.inputs.iter().chain(&self.outputs).copied())
    }

    /// Calls the `cpu` executor's preparation once before the pieces.
    pub fn prepare(&self) -> Option<Prepare<f32>> {
        self.unit.and(self.operation.cpu)?.prepare
    }

    /// The variants that support this operation on an adapter, in order of preference.
    pub fn variants(&self, adapter: Adapter) -> impl Iterator<Item = &'static Variant> {
        self.operation.gpu.iter().copied().filter(move |variant| variant.fits(self, adapter))
    }

    /// The variant that a GPU runs.
    pub fn chosen(&self, adapter: Adapter) -> &'static Variant {
        let first = || self.variants(adapter).find(|variant| (variant.suits)(self));
        self.variant.or_else(first).unwrap_or_else(|| panic!("no variant takes {}", self.operation.name))
    }

    /// The type of the factors of products in the operation's own variant.
    pub fn factor(&self) -> Factor {
        self.variant.map_or(Factor::F32, Variant::factor)
    }

    /// The shape in words: the length of every input, then the words of `Params`. With the operation's name, it is the
    /// same for equal work alone.
    pub fn shape(&self) -> String {
        let lengths = self.operation.inputs.iter().zip(&self.lengths);
        let lengths: Vec<String> = lengths.map(|(operand, len)| format!("{} {len}", operand.name)).collect();
        let words =
            self.params.chunks(4).map(|word| word.iter().rev().fold(0u32, |all, byte| all << 8 | u32::from(*byte)));
        let words: Vec<String> = words.map(|word| word.to_string()).collect();
        format!("{}; {}", lengths.join(", "), words.join(" "))
    }

    /// The variant with this name, if this operation has it and it fits the adapter.
    pub fn named(&self, name: &str, adapter: Adapter) -> Option<&'static Variant> {
        self.variants(adapter).find(|variant| variant.name == name)
    }

    /// The dispatches of a variant for this operation, in the order of execution.
    pub fn dispatches(&self, variant: &Variant) -> Vec<Dispatch> {
        let dispatch = |pass: &Pass| {
            let mut launch = (pass.launch)(self);
            let [x, y, z] = launch.workgroups;
            if y == 1 && x > self.most_workgroups {
                let [x, y] = split(x as usize, self.most_workgroups);
                launch.workgroups = [x, y, z];
            }
            let legal = launch.workgroups.iter().all(|groups| (1..=MAX_WORKGROUPS).contains(groups));
            assert!(legal, "{:?} of {}", launch.workgroups, variant.name);
            Dispatch { entry: pass.entry, launch }
        };
        variant.passes().map(dispatch).collect()
    }
}

/// The unit of sums over the batch. A batch up to 128 has at most 16 of them, a larger one at most 32: enough
/// independent work for a GPU or for threads that must finish together, and few enough to be added cheaply.
pub(super) fn unit(examples: usize) -> usize {
    examples.div_ceil(16).min(8).max(examples.div_ceil(32))
}

/// At least `groups` workgroups in x and y, none longer than `limit`.
pub(super) fn split(groups: usize, limit: u32) -> [u32; 2] {
    let y = groups.div_ceil(limit as usize);
    [groups.div_ceil(y) as u32, y as u32]
}

/// A length as the shaders' u32; every index inside a buffer must fit.
pub(super) fn word(value: usize) -> u32 {
    u32::try_from(value).expect("sizes are capped far below 2^32 by the network's shape rules")
}

/// The decimal that a constant was read from, which is the shortest one that rounds to `value`: 0.9 instead of
/// 0.899999976.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
