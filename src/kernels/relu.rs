//! ReLU: y = max(x, 0), and dx = dy where y > 0. Elementwise over any shape; `shaders/relu.wgsl`.
//! At x = 0 the gradient is 0, as in PyTorch and ConvNetJS. A NaN passes through, so that it shows.

use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::{linear, word};
use super::{Args, Case, Element::F32, Kernel, Op, Reference, Scalar, Tensor, Texture};
use multiversion::multiversion;
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    pub reserved: [u32; 3],
}

const SOURCE: &str = include_str!("../../shaders/relu.wgsl");

/// Inputs: x. Outputs: y.
pub static FORWARD: Kernel = FORWARD_SIGNATURE;

/// The same, four values an invocation; for a count that is a multiple of 4.
pub static FORWARD_VEC4: Kernel =
    Kernel { name: "relu.forward_vec4", entry: "forward_vec4", textures: &[Texture::vectors(0)], ..FORWARD_SIGNATURE };

/// Inputs: y, dy. Outputs: dx.
pub static BACKWARD: Kernel = BACKWARD_SIGNATURE;

/// The same, four values an invocation; for a count that is a multiple of 4.
pub static BACKWARD_VEC4: Kernel = Kernel {
    name: "relu.backward_vec4",
    entry: "backward_vec4",
    textures: &[Texture::vectors(0), Texture::vectors(1)],
    ..BACKWARD_SIGNATURE
};

const FORWARD_SIGNATURE: Kernel = Kernel {
    name: "relu.forward",
    source: SOURCE,
    entry: "forward",
    inputs: &[F32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: forward_reference, double: forward_reference },
    cpu: Some(forward_cpu),
};

const BACKWARD_SIGNATURE: Kernel = Kernel {
    name: "relu.backward",
    source: SOURCE,
    entry: "backward",
    inputs: &[F32, F32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: backward_reference, double: backward_reference },
    cpu: Some(backward_cpu),
};

/// Elements below which a second thread costs more than it brings.
const PARALLEL_CHUNK: usize = 16_384;

pub fn forward(x: Tensor, y: Tensor) -> Op {
    assert_eq!(x.len, y.len, "relu.forward: x and y");
    let params = Params { count: word(x.len), reserved: [0; 3] };
    let (kernel, vector) = if x.len.is_multiple_of(4) { (&FORWARD_VEC4, 4) } else { (&FORWARD, 1) };
    Op::new(kernel, params, &[x], &[y], linear(x.len / vector, 64), x.len).in_pieces(&[], 1)
}

pub fn backward(y: Tensor, dy: Tensor, dx: Tensor) -> Op {
    assert_eq!((y.len, y.len), (dy.len, dx.len), "relu.backward: y, dy, dx");
    let params = Params { count: word(y.len), reserved: [0; 3] };
    let (kernel, vector) = if y.len.is_multiple_of(4) { (&BACKWARD_VEC4, 4) } else { (&BACKWARD, 1) };
    Op::new(kernel, params, &[y, dy], &[dx], linear(y.len / vector, 64), y.len).in_pieces(&[], 1)
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    for (y, x) in args.out(0).iter_mut().zip(args.real(0)) {
        *y = if x.get() <= 0.0 { S::of(0.0) } else { *x };
    }
}

fn backward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (y, dy) = (args.real(0), args.real(1));
    for (i, dx) in args.out(0).iter_mut().enumerate() {
        *dx = if y[i].get() > 0.0 { dy[i] } else { S::of(0.0) };
    }
}

fn forward_cpu(args: &mut Args<'_, f32>) {
    let x = args.real(0);
    let chunks = args.out(0).par_chunks_mut(PARALLEL_CHUNK).zip(x.par_chunks(PARALLEL_CHUNK));
    chunks.with_min_len(args.least_items()).for_each(|(y, x)| rectify(x, y));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn rectify(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = if *x <= 0.0 { 0.0 } else { *x };
    }
}

fn backward_cpu(args: &mut Args<'_, f32>) {
    let (y, dy) = (args.real(0), args.real(1));
    let chunks = y.par_chunks(PARALLEL_CHUNK).zip(dy.par_chunks(PARALLEL_CHUNK));
    let chunks = args.out(0).par_chunks_mut(PARALLEL_CHUNK).zip(chunks).with_min_len(args.least_items());
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

pub fn cases() -> Vec<Case> {
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
    // Both ends of what is positive, of what is negative, and of what is no number.
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
