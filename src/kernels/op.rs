//! What a kernel's function sees (`Args`) and what a program is made of (`Op`).
//!
//! Buffers hold 4-byte elements, f32 or u32; the f64 reference executor stores its reals as f64.

use super::Kernel;

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

/// Everything a kernel's function sees. Which input is which stands in the kernel's file.
#[derive(Debug)]
pub struct Args<'a, S> {
    pub params: &'a [u8],
    pub inputs: Vec<Slot<'a, S>>,
    pub outputs: Vec<SlotMut<'a, S>>,
}

impl<'a, S: Scalar> Args<'a, S> {
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
}

/// The most workgroups in one dimension that WebGPU promises.
pub const MAX_WORKGROUPS: u32 = 65_535;

impl Op {
    /// Checks the tensors against the kernel's signature; `flops` as in [`Work`].
    pub(super) fn new<P: bytemuck::NoUninit>(
        kernel: &'static Kernel,
        params: P,
        inputs: &[Tensor],
        outputs: &[Tensor],
        workgroups: [u32; 3],
        flops: usize,
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
            work: Work { flops: flops as u64, bytes: 4 * words as u64 },
        }
    }

    /// The same, compiled with these constants.
    pub(super) fn with_constants(self, constants: Vec<(&'static str, u32)>) -> Op {
        Op { constants, ..self }
    }
}

/// `total` invocations in workgroups of `size`, split over x and y where one dimension is too short for them.
pub(super) fn linear(total: usize, size: u32) -> [u32; 3] {
    let groups = total.div_ceil(size as usize).max(1);
    let y = groups.div_ceil(MAX_WORKGROUPS as usize);
    [groups.div_ceil(y) as u32, y as u32, 1]
}

/// A length as the shaders' u32; every index inside a buffer must fit.
pub(super) fn word(value: usize) -> u32 {
    u32::try_from(value).expect("sizes are capped far below 2^32 by the network's shape rules")
}
