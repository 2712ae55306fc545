//! ReLU: y = max(x, 0), and dx = dy where y > 0. Elementwise over any shape; `shaders/relu.wgsl`. At x = 0 the gradient
//! is 0, as in PyTorch and ConvNetJS. A NaN is passed on, so that it is noticed.

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

const SCALAR: &str = shader!("prelude/index", "prelude/lanes1", "buffers/relu", "relu");
const VEC4: &str = shader!("prelude/index", "prelude/lanes4", "buffers/relu", "relu");
const SCALAR_TEXTURES: &str = shader!("prelude/index", "prelude/lanes1", "prelude/texel", "textures/relu", "relu");
const VEC4_TEXTURES: &str = shader!("prelude/index", "prelude/lanes4", "prelude/texel", "textures/relu", "relu");

const X: Operand = per_example("x", F32);
const Y: Operand = per_example("y", F32);
const DY: Operand = per_example("dy", F32);
const DX: Operand = per_example("dx", F32);

pub(super) static FAMILY: Family = Family { operations: &[&FORWARD, &BACKWARD], cases };

/// y = max(x, 0).
pub static FORWARD: Operation = Operation {
    name: "relu.forward",
    inputs: &[X],
    outputs: &[Y],
    params: size_of::<Params>(),
    reference: Reference::new(forward_reference, forward_reference),
    cpu: Cpu::new(forward_cpu),
    gpu: &[
        &FORWARD_VEC4.textured("relu.forward_vec4_textures", VEC4_TEXTURES, &[Texture::vectors(X)]),
        &FORWARD_VEC4,
        &FORWARD_SCALAR.textured("relu.forward_textures", SCALAR_TEXTURES, &[Texture::scalars(X)]),
        &FORWARD_SCALAR,
    ],
};

const FORWARD_VEC4: Variant =
    Variant { condition: fits_vec4, ..Variant::new("relu.forward_vec4", VEC4, "forward", |op| launch(op, 4)) };
const FORWARD_SCALAR: Variant = Variant::new("relu.forward", SCALAR, "forward", |op| launch(op, 1));

/// dx = dy if y > 0, otherwise 0.
pub static BACKWARD: Operation = Operation {
    name: "relu.backward",
    inputs: &[Y, DY],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_reference, backward_reference),
    cpu: Cpu::new(backward_cpu),
    gpu: &[
        &BACKWARD_VEC4.textured(
            "relu.backward_vec4_textures",
            VEC4_TEXTURES,
            &[Texture::vectors(Y), Texture::vectors(DY)],
        ),
        &BACKWARD_VEC4,
        &BACKWARD_SCALAR.textured(
            "relu.backward_textures",
            SCALAR_TEXTURES,
            &[Texture::scalars(Y), Texture::scalars(DY)],
        ),
        &BACKWARD_SCALAR,
    ],
};

const BACKWARD_VEC4: Variant =
    Variant { condition: fits_vec4, ..Variant::new("relu.backward_vec4", VEC4, "backward", |op| launch(op, 4)) };
const BACKWARD_SCALAR: Variant = Variant::new("relu.backward", SCALAR, "backward", |op| launch(op, 1));

fn fits_vec4(op: &Op, _: Adapter) -> bool {
    op.params::<Params>().count.is_multiple_of(4)
}

/// One invocation per `values` values.
fn launch(op: &Op, values: usize) -> Launch {
    Launch::linear(op.params::<Params>().count as usize / values, 64)
}

/// The number of elements below which a second thread costs more than it saves.
const PARALLEL_CHUNK: usize = 16_384;

pub fn forward(x: Tensor, y: Tensor) -> Op {
    assert_eq!(x.len, y.len, "relu.forward: x and y");
    let params = Params { count: word(x.len), reserved: [0; 3] };
    Op::new(&FORWARD, params, &[(X, x)], &[(Y, y)], x.len).in_pieces(1)
}

pub fn backward(y: Tensor, dy: Tensor, dx: Tensor) -> Op {
    assert_eq!((y.len, y.len), (dy.len, dx.len), "relu.backward: y, dy, dx");
    let params = Params { count: word(y.len), reserved: [0; 3] };
    Op::new(&BACKWARD, params, &[(Y, y), (DY, dy)], &[(DX, dx)], y.len).in_pieces(1)
}

pub(super) fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    for (y, x) in args.out(Y).iter_mut().zip(args.real(X)) {
        *y = if x.get() <= 0.0 { S::of(0.0) } else { *x };
    }
}

pub(super) fn backward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (y, dy) = (args.real(Y), args.real(DY));
    for (i, dx) in args.out(DX).iter_mut().enumerate() {
        *dx = if y[i].get() > 0.0 { dy[i] } else { S::of(0.0) };
    }
}

fn forward_cpu(args: &mut Args<'_, f32>) {
    let x = args.real(X);
    let chunks = args.out(Y).par_chunks_mut(PARALLEL_CHUNK).zip(x.par_chunks(PARALLEL_CHUNK));
    chunks.with_min_len(args.least_items()).for_each(|(y, x)| rectify(x, y));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn rectify(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = if *x <= 0.0 { 0.0 } else { *x };
    }
}

fn backward_cpu(args: &mut Args<'_, f32>) {
    let (y, dy) = (args.real(Y), args.real(DY));
    let chunks = y.par_chunks(PARALLEL_CHUNK).zip(dy.par_chunks(PARALLEL_CHUNK));
    let chunks = args.out(DX).par_chunks_mut(PARALLEL_CHUNK).zip(chunks).with_min_len(args.least_items());
    chunks.for_each(|(dx, (y, dy))| pass(y, dy, dx));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn pass(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
        // A mask instead of a branch, which would be mispredicted half of the time.
        let mask = 0u32.wrapping_sub(u32::from(*y > 0.0));
        *dx = f32::from_bits(dy.to_bits() & mask);
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // More than one row of a texture, and more than 65,535 workgroups.
    for count in [1, 63, 64, 65, 127, 252, 256, 260, 1009, 1028, 32_772, 65_535 * 64 + 1] {
        let mut b = CaseBuilder::default();
        let (x, y) = (b.real(count), b.out(count));
        cases.push(b.case(format_args!("count={count}"), forward(x, y), Tolerance::EXACT));
        let mut b = CaseBuilder::default();
        let (y, dy, dx) = (b.real(count), b.real(count), b.out(count));
        cases.push(b.case(format_args!("count={count}"), backward(y, dy, dx), Tolerance::EXACT));
    }
    // The extremes of positive numbers, of negative numbers and of NaN.
    let bits = [0, 1, 0x7f7f_ffff, 0x7f80_0000, 0x7f80_0001, 0x7fc0_0000, 0x7fff_ffff];
    let special: Vec<f32> = bits.iter().flat_map(|bits| [*bits, bits | 1 << 31]).map(f32::from_bits).collect();
    // An odd and a whole number of vectors.
    for values in [special.repeat(2), [&special[..], &[1.0]].concat()] {
        let what = format!("zeros, extremes, infinities, NaN, {} of them", values.len());
        let mut b = CaseBuilder::default();
        let (x, y) = (b.reals(values.clone()), b.out(values.len()));
        cases.push(b.case(&what, forward(x, y), Tolerance::EXACT));
        let mut b = CaseBuilder::default();
        let (y, dy, dx) = (b.reals(values.clone()), b.real(values.len()), b.out(values.len()));
        cases.push(b.case(&what, backward(y, dy, dx), Tolerance::EXACT));
    }
    also_split(cases, &["count=1009", "count=1028"])
}
