//! Allocates a program's buffers: roots that own memory, and slices of them.

use super::{Instruction, Purpose, Stage};
use crate::kernels::{BufferId, Element, Op, Tensor, operations};

/// A buffer with name, type and length. A slice has a parent and owns no memory.
#[derive(Debug, Clone)]
pub struct BufferSpec {
    /// The name, such as `conv1.activation`.
    pub name: String,
    pub element: Element,
    /// The number of elements, of 4 bytes each.
    pub len: usize,
    pub parent: Option<(BufferId, usize)>,
    /// Extra elements after the end, which reveal stray reads and writes; 0 in training.
    pub guard: usize,
}

/// The alignment of slices in elements: 256 bytes, the offset alignment that WebGPU guarantees.
pub const ALIGNMENT: usize = 64;

/// Collects buffers and instructions.
#[derive(Debug, Default)]
pub struct Planner {
    pub buffers: Vec<BufferSpec>,
    pub instructions: Vec<Instruction>,
    /// One entry per instruction.
    pub purposes: Vec<Purpose>,
    /// The contents of buffers that no instruction writes.
    pub constants: Vec<(BufferId, Vec<u32>)>,
}

impl Planner {
    fn push(&mut self, spec: BufferSpec) -> Tensor {
        let tensor = Tensor { id: BufferId(self.buffers.len() as u32), element: spec.element, len: spec.len };
        self.buffers.push(spec);
        tensor
    }

    /// Adds a separate buffer.
    pub fn root(&mut self, name: impl Into<String>, element: Element, len: usize) -> Tensor {
        self.push(BufferSpec { name: name.into(), element, len, parent: None, guard: 0 })
    }

    pub fn real(&mut self, name: impl Into<String>, len: usize) -> Tensor {
        self.root(name, Element::F32, len)
    }

    pub fn words(&mut self, name: impl Into<String>, len: usize) -> Tensor {
        self.root(name, Element::U32, len)
    }

    /// Adds a buffer with fixed contents.
    pub fn constant(&mut self, name: impl Into<String>, words: Vec<u32>) -> Tensor {
        let tensor = self.words(name, words.len());
        self.constants.push((tensor.id, words));
        tensor
    }

    /// `len` elements of `parent` from `offset` on.
    pub fn slice(&mut self, name: impl Into<String>, parent: Tensor, offset: usize, len: usize) -> Tensor {
        assert!(offset.is_multiple_of(ALIGNMENT) && offset + len <= parent.len, "slice {offset}+{len} of {parent:?}");
        assert!(self.buffers[parent.id.0 as usize].parent.is_none(), "a slice of a slice");
        let parent_at = Some((parent.id, offset));
        self.push(BufferSpec { name: name.into(), element: parent.element, len, parent: parent_at, guard: 0 })
    }

    pub fn emit(&mut self, stage: Stage, node: Option<usize>, name: impl Into<String>, op: Op) {
        // Only listed operations have cases that are checked.
        debug_assert!(
            operations().any(|listed| std::ptr::eq(listed, op.operation)),
            "{} is in no family that src/kernels/mod.rs lists",
            op.operation.name
        );
        self.instructions.push(Instruction { name: name.into(), op });
        self.purposes.push(Purpose { stage, node });
    }
}

/// Rounds a length up to the alignment of slices.
pub fn aligned(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT)
}

/// Places tensors one after another at aligned offsets.
#[derive(Debug, Default)]
pub struct Layout {
    pub end: usize,
}

impl Layout {
    /// The offset of the next `len` elements.
    pub fn place(&mut self, len: usize) -> usize {
        let at = self.end;
        self.end += aligned(len);
        at
    }
}
