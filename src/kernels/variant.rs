//! Ways to compute an operation on a GPU ([`Variant`]), and what decides between them ([`Adapter`]).

use super::op::{MAX_WORKGROUPS, split};
use super::{Op, Operand};

/// The facts about an adapter that a variant may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adapter {
    /// Whether its driver computes on the processor. Such drivers run a storage-buffer load lane by lane behind a bounds
    /// check, and read a texel some nine times as fast.
    pub software: bool,
}

impl Adapter {
    pub const HARDWARE: Adapter = Adapter { software: false };
    pub const SOFTWARE: Adapter = Adapter { software: true };
    /// One adapter of each sort: every variant fits one of them.
    pub const SORTS: [Adapter; 2] = [Adapter::SOFTWARE, Adapter::HARDWARE];
}

/// One way to compute an operation on a GPU.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// Family and entry point, as `conv_blocked.forward`; unique.
    pub name: &'static str,
    /// The whole WGSL text, preludes included.
    pub source: &'static str,
    /// Its first pass, for most the only one.
    pub first: Pass,
    /// Passes after the first, in this order. All of them see the same bindings.
    pub then: &'static [Pass],
    /// Words that its passes hand to those after them, bound after the outputs. None are expected to hold anything at the
    /// first pass.
    pub scratch: Option<fn(&Op) -> usize>,
    /// Inputs that are bound as textures. A variant with some of them fits software adapters only.
    pub textures: &'static [Texture],
    /// Whether it takes this operation on this adapter; see [`Variant::fits`].
    pub condition: fn(&Op, Adapter) -> bool,
}

impl Variant {
    /// A variant of one pass that takes every shape in workgroups of 64 and reads buffers.
    pub const fn new(
        name: &'static str,
        source: &'static str,
        entry: &'static str,
        launch: fn(&Op) -> Launch,
    ) -> Variant {
        let first = Pass::new(entry, 64, launch);
        Variant { name, source, first, then: &[], scratch: None, textures: &[], condition: always }
    }

    /// The same kernel in workgroups of another size.
    pub const fn in_workgroups_of(self, workgroup: u32) -> Variant {
        Variant { first: Pass { workgroup, ..self.first }, ..self }
    }

    /// All its passes, in their order.
    pub fn passes(&self) -> impl Iterator<Item = &Pass> {
        std::iter::once(&self.first).chain(self.then)
    }

    /// Words of scratch that it needs for an operation.
    pub fn scratch_words(&self, op: &Op) -> usize {
        self.scratch.map_or(0, |words| words(op))
    }

    /// The same kernel with these inputs in textures; `source` is the same body after another prelude.
    pub const fn textured(self, name: &'static str, source: &'static str, textures: &'static [Texture]) -> Variant {
        Variant { name, source, textures, ..self }
    }

    /// Whether it takes this operation on this adapter.
    pub fn fits(&self, op: &Op, adapter: Adapter) -> bool {
        let in_textures =
            || adapter.software && self.textures.iter().all(|texture| texture.holds(op.len(texture.input)));
        (self.textures.is_empty() || in_textures()) && (self.condition)(op, adapter)
    }

    /// The texture that an input is bound as; none where it is bound as a buffer.
    pub fn texture(&self, input: Operand) -> Option<Texture> {
        self.textures.iter().copied().find(|texture| texture.input == input)
    }
}

fn always(_: &Op, _: Adapter) -> bool {
    true
}

/// One dispatch of a variant: a WGSL entry point, and how many workgroups start it.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// Entry point in [`Variant::source`].
    pub entry: &'static str,
    /// Invocations in one workgroup.
    pub workgroup: u32,
    pub launch: fn(&Op) -> Launch,
}

impl Pass {
    pub const fn new(entry: &'static str, workgroup: u32, launch: fn(&Op) -> Launch) -> Pass {
        Pass { entry, workgroup, launch }
    }
}

/// An input as a texture: its elements row by row, [`TEXTURE_WIDTH`] texels in each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Texture {
    /// Which input.
    pub input: Operand,
    /// Elements in a texel: 1, or 4 where the shader reads vectors.
    pub texel: usize,
}

impl Texture {
    /// One element a texel.
    pub const fn scalars(input: Operand) -> Texture {
        Texture { input, texel: 1 }
    }

    /// Four elements a texel; the input's length is a multiple of 4.
    pub const fn vectors(input: Operand) -> Texture {
        Texture { input, texel: 4 }
    }

    /// Whether an input of `len` elements fits.
    fn holds(&self, len: usize) -> bool {
        len.is_multiple_of(self.texel) && len / self.texel <= TEXTURE_WIDTH * TEXTURE_WIDTH
    }
}

/// Texels in a row of a texture, and the most rows: what WebGPU promises.
pub const TEXTURE_WIDTH: usize = 8192;

/// How a GPU starts a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Workgroups in x, y, z, each at most 65,535.
    pub workgroups: [u32; 3],
    /// Pipeline-overridable constants of the shader: what the compiler should know, and not read from `params`.
    pub constants: Vec<(&'static str, u32)>,
}

impl Launch {
    /// `workgroups` in x, y, z.
    pub fn of(workgroups: [u32; 3]) -> Launch {
        Launch { workgroups, constants: Vec::new() }
    }

    /// At least `total` invocations in workgroups of `size`.
    pub fn linear(total: usize, size: u32) -> Launch {
        Launch::of(linear(total, size))
    }

    /// Compiles the shader with these constants.
    pub fn with(self, constants: Vec<(&'static str, u32)>) -> Launch {
        Launch { constants, ..self }
    }
}

/// A pass of a variant as an operation needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    pub entry: &'static str,
    pub launch: Launch,
}

/// `total` invocations in workgroups of `size`, split over x and y where one dimension is too short for them.
pub(super) fn linear(total: usize, size: u32) -> [u32; 3] {
    let [x, y] = split(total.div_ceil(size as usize).max(1), MAX_WORKGROUPS);
    [x, y, 1]
}
