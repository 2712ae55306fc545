//! Ways to compute an operation on a GPU ([`Variant`]), and the facts that decide between them ([`Adapter`]).

use super::op::{MAX_WORKGROUPS, split};
use super::precision::{Factor, Matrices};
use super::{Op, Operand};

/// The facts about an adapter that a variant may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adapter {
    /// Whether the driver computes on the processor. Such drivers run a storage-buffer load lane by lane behind a
    /// bounds check, and read a texel about nine times as fast.
    pub software: bool,
    /// The cooperative matrices that products may use; `None` unless a
    /// [`Precision`](super::Precision) was chosen that needs them.
    pub matrices: Option<Matrices>,
}

impl Adapter {
    pub const HARDWARE: Adapter = Adapter { software: false, matrices: None };
    pub const SOFTWARE: Adapter = Adapter { software: true, matrices: None };
    /// One adapter of each kind, without cooperative matrices.
    pub const SORTS: [Adapter; 2] = [Adapter::SOFTWARE, Adapter::HARDWARE];

    /// One adapter of every kind; every variant fits one of them.
    pub fn all() -> impl Iterator<Item = Adapter> {
        let with = |matrices| Adapter { matrices: Some(matrices), ..Adapter::HARDWARE };
        Adapter::SORTS.into_iter().chain(Matrices::ALL.map(with))
    }
}

/// A way to compute an operation on a GPU.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// Family and entry point, such as `conv_blocked.forward`; unique.
    pub name: &'static str,
    /// The complete WGSL text, including preludes.
    pub source: &'static str,
    /// The first pass, which is usually the only one.
    pub first: Pass,
    /// The passes after the first, in this order. All of them have the same bindings.
    pub then: &'static [Pass],
    /// The number of words of scratch, which passes write for later passes; bound after the outputs. The first pass
    /// must not rely on its contents.
    pub scratch: Option<fn(&Op) -> usize>,
    /// Inputs that are bound as textures. A variant with any of them only fits software adapters.
    pub textures: &'static [Texture],
    /// The cooperative matrices that the text is written for.
    pub matrices: Option<Matrices>,
    /// Whether the variant supports an operation on an adapter, apart from its textures and matrices; see
    /// [`Variant::fits`].
    pub condition: fn(&Op, Adapter) -> bool,
    /// Whether the variant may be chosen for an operation that it fits where nothing was measured.
    pub suits: fn(&Op) -> bool,
}

impl Variant {
    /// A variant with one pass that supports every shape, in workgroups of 64, and reads buffers.
    pub const fn new(
        name: &'static str,
        source: &'static str,
        entry: &'static str,
        launch: fn(&Op) -> Launch,
    ) -> Variant {
        let first = Pass::new(entry, 64, launch);
        let (textures, matrices) = (&[], None);
        Variant {
            name,
            source,
            first,
            then: &[],
            scratch: None,
            textures,
            matrices,
            condition: always,
            suits: |_| true,
        }
    }

    /// Returns this variant with workgroups of another size.
    pub const fn in_workgroups_of(self, workgroup: u32) -> Variant {
        Variant { first: Pass { workgroup, ..self.first }, ..self }
    }

    /// All passes in order.
    pub fn passes(&self) -> impl Iterator<Item = &Pass> {
        std::iter::once(&self.first).chain(self.then)
    }

    /// The number of words of scratch for an operation.
    pub fn scratch_words(&self, op: &Op) -> usize {
        self.scratch.map_or(0, |words| words(op))
    }

    /// Returns this variant with these inputs in textures; `source` is the same body after another prelude.
    pub const fn textured(self, name: &'static str, source: &'static str, textures: &'static [Texture]) -> Variant {
        Variant { name, source, textures, ..self }
    }

    /// Whether the variant supports this operation on this adapter.
    pub fn fits(&self, op: &Op, adapter: Adapter) -> bool {
        let in_textures =
            || adapter.software && self.textures.iter().all(|texture| texture.holds(op.len(texture.input)));
        let has_matrices = || self.matrices.is_none() || self.matrices == adapter.matrices;
        (self.textures.is_empty() || in_textures()) && has_matrices() && (self.condition)(op, adapter)
    }

    /// The type of the factors of its products.
    pub fn factor(&self) -> Factor {
        self.matrices.map_or(Factor::F32, |matrices| matrices.factor)
    }

    /// The texture that an input is bound as; `None` if the input is bound as a buffer.
    pub fn texture(&self, input: Operand) -> Option<Texture> {
        self.textures.iter().copied().find(|texture| texture.input == input)
    }
}

fn always(_: &Op, _: Adapter) -> bool {
    true
}

/// One dispatch of a variant: a WGSL entry point, and the number of workgroups.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// The entry point in [`Variant::source`].
    pub entry: &'static str,
    /// The number of invocations in a workgroup.
    pub workgroup: u32,
    pub launch: fn(&Op) -> Launch,
}

impl Pass {
    pub const fn new(entry: &'static str, workgroup: u32, launch: fn(&Op) -> Launch) -> Pass {
        Pass { entry, workgroup, launch }
    }
}

/// An input as a texture, with its elements row by row, [`TEXTURE_WIDTH`] texels in each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Texture {
    /// The input.
    pub input: Operand,
    /// The number of elements in a texel: 1, or 4 if the shader reads vectors.
    pub texel: usize,
}

impl Texture {
    /// A texture with one element per texel.
    pub const fn scalars(input: Operand) -> Texture {
        Texture { input, texel: 1 }
    }

    /// A texture with four elements per texel; the input's length is a multiple of 4.
    pub const fn vectors(input: Operand) -> Texture {
        Texture { input, texel: 4 }
    }

    /// Whether the texture can hold an input of `len` elements.
    fn holds(&self, len: usize) -> bool {
        len.is_multiple_of(self.texel) && len / self.texel <= TEXTURE_WIDTH * TEXTURE_WIDTH
    }
}

/// The number of texels in a row of a texture, and the most rows: the limit that WebGPU guarantees.
pub const TEXTURE_WIDTH: usize = 8192;

/// The launch of a pass on a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The number of workgroups in x, y and z, each at most 65,535.
    pub workgroups: [u32; 3],
    /// Pipeline-overridable constants of the shader, for values that the compiler should know instead of reading
    /// `params`.
    pub constants: Vec<(&'static str, u32)>,
}

impl Launch {
    /// A launch of these workgroups in x, y and z.
    pub fn of(workgroups: [u32; 3]) -> Launch {
        Launch { workgroups, constants: Vec::new() }
    }

    /// A launch of at least `total` invocations in workgroups of `size`.
    pub fn linear(total: usize, size: u32) -> Launch {
        Launch::of(linear(total, size))
    }

    /// Returns this launch with constants for the shader.
    pub fn with(self, constants: Vec<(&'static str, u32)>) -> Launch {
        Launch { constants, ..self }
    }
}

/// A pass of a variant with its launch for an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    pub entry: &'static str,
    pub launch: Launch,
}

/// The workgroups of `size` for `total` invocations, split over x and y if one dimension is too short for them.
pub(super) fn linear(total: usize, size: u32) -> [u32; 3] {
    let [x, y] = split(total.div_ceil(size as usize).max(1), MAX_WORKGROUPS);
    [x, y, 1]
}
