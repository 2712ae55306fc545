//! Sums of two tensors, for residual blocks and for the gradients of nodes with several readers. Elementwise over any
//! shape; `shaders/elementwise.wgsl`.

use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::{
    Adapter, Args, Case, Cpu, Element::F32, Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Texture,
    Variant, per_example,
};
use multiversion::multiversion;
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    pub reserved: [u32; 3],
}

const A: Operand = per_example("a", F32);
const B: Operand = per_example("b", F32);
const SUM: Operand = per_example("sum", F32);

const SCALAR: &str = shader!("prelude/index", "prelude/lanes1", "buffers/elementwise", "elementwise");
const VEC4: &str = shader!("prelude/index", "prelude/lanes4", "buffers/elementwise", "elementwise");
const SCALAR_TEXTURES: &str =
    shader!("prelude/index", "prelude/lanes1", "prelude/texel", "textures/elementwise", "elementwise");
const VEC4_TEXTURES: &str =
    shader!("prelude/index", "prelude/lanes4", "prelude/texel", "textures/elementwise", "elementwise");

pub(super) static FAMILY: Family = Family { operations: &[&ADD], cases };

/// sum = a + b.
pub static ADD: Operation = Operation {
    name: "elementwise.add",
    inputs: &[A, B],
    outputs: &[SUM],
    params: size_of::<Params>(),
    reference: Reference::new(reference, reference),
    cpu: Cpu::new(cpu),
    gpu: &[
        &ADD_VEC4.textured("elementwise.add_vec4_textures", VEC4_TEXTURES, &[Texture::vectors(A), Texture::vectors(B)]),
        &ADD_VEC4,
        &ADD_SCALAR.textured("elementwise.add_textures", SCALAR_TEXTURES, &[Texture::scalars(A), Texture::scalars(B)]),
        &ADD_SCALAR,
    ],
};

const ADD_VEC4: Variant =
    Variant { condition: fits_vec4, ..Variant::new("elementwise.add_vec4", VEC4, "add", |op| launch(op, 4)) };
const ADD_SCALAR: Variant = Variant::new("elementwise.add", SCALAR, "add", |op| launch(op, 1));

fn fits_vec4(op: &Op, _: Adapter) -> bool {
    op.params::<Params>().count.is_multiple_of(4)
}

/// One invocation per `values` values.
fn launch(op: &Op, values: usize) -> Launch {
    Launch::linear(op.params::<Params>().count as usize / values, 64)
}

pub fn add(a: Tensor, b: Tensor, sum: Tensor) -> Op {
    assert_eq!((a.len, b.len), (sum.len, sum.len), "elementwise.add: a, b, sum");
    let params = Params { count: word(a.len), reserved: [0; 3] };
    Op::new(&ADD, params, &[(A, a), (B, b)], &[(SUM, sum)], a.len).in_pieces(1)
}

fn reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (a, b) = (args.real(A), args.real(B));
    for (i, sum) in args.out(SUM).iter_mut().enumerate() {
        *sum = S::of(a[i].get() + b[i].get());
    }
}

/// The number of elements below which a second thread costs more than it saves.
const CHUNK: usize = 16_384;

fn cpu(args: &mut Args<'_, f32>) {
    let inputs = args.real(A).par_chunks(CHUNK).zip(args.real(B).par_chunks(CHUNK));
    let chunks = args.out(SUM).par_chunks_mut(CHUNK).zip(inputs).with_min_len(args.least_items());
    chunks.for_each(|(sum, (a, b))| add_up(a, b, sum));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn add_up(a: &[f32], b: &[f32], sum: &mut [f32]) {
    for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
        *sum = a + b;
    }
}

fn cases() -> Vec<Case> {
    // The last one needs more than one row of a texture.
    let counts = [1, 63, 64, 65, 127, 252, 256, 260, 1009, 1028, 32_772];
    let case = |count: usize| {
        let mut b = CaseBuilder::default();
        let op = add(b.real(count), b.real(count), b.out(count));
        // The sum of two values is rounded once on every executor.
        b.case(format_args!("count={count}"), op, Tolerance::EXACT)
    };
    also_split(counts.map(case).into(), &["count=1009", "count=1028"])
}
