//! Sums of two tensors: what closes a residual block, and what adds the gradients of several readers up. Elementwise over
//! any shape; `shaders/residual.wgsl`.

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

/// Inputs: a, b. Outputs: a + b.
pub static ADD: Kernel = SIGNATURE;

/// The same, four values an invocation; for a count that is a multiple of 4.
pub static ADD_VEC4: Kernel = Kernel {
    name: "residual.add_vec4",
    entry: "add_vec4",
    textures: &[Texture::vectors(0), Texture::vectors(1)],
    ..SIGNATURE
};

const SIGNATURE: Kernel = Kernel {
    name: "residual.add",
    source: include_str!("../../shaders/residual.wgsl"),
    entry: "add",
    inputs: &[F32, F32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: reference, double: reference },
    cpu: Some(cpu),
};

pub fn add(a: Tensor, b: Tensor, sum: Tensor) -> Op {
    assert_eq!((a.len, b.len), (sum.len, sum.len), "residual.add: a, b, sum");
    let params = Params { count: word(a.len), reserved: [0; 3] };
    let (kernel, vector) = if a.len.is_multiple_of(4) { (&ADD_VEC4, 4) } else { (&ADD, 1) };
    Op::new(kernel, params, &[a, b], &[sum], linear(a.len / vector, 64), a.len).in_pieces(&[], 1)
}

fn reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (a, b) = (args.real(0), args.real(1));
    for (i, sum) in args.out(0).iter_mut().enumerate() {
        *sum = S::of(a[i].get() + b[i].get());
    }
}

/// Elements below which a second thread costs more than it brings.
const CHUNK: usize = 16_384;

fn cpu(args: &mut Args<'_, f32>) {
    let inputs = args.real(0).par_chunks(CHUNK).zip(args.real(1).par_chunks(CHUNK));
    let chunks = args.out(0).par_chunks_mut(CHUNK).zip(inputs).with_min_len(args.least_items());
    chunks.for_each(|(sum, (a, b))| add_up(a, b, sum));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn add_up(a: &[f32], b: &[f32], sum: &mut [f32]) {
    for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
        *sum = a + b;
    }
}

pub fn cases() -> Vec<Case> {
    // The last one takes more than one row of a texture.
    let counts = [1, 63, 64, 65, 127, 252, 256, 260, 1009, 1028, 32_772];
    let case = |count: usize| {
        let mut b = CaseBuilder::default();
        let op = add(b.real(count), b.real(count), b.out(count));
        // The sum of two is rounded once, everywhere.
        b.case(format_args!("count={count}"), op, Tolerance::EXACT)
    };
    also_split(counts.map(case).into(), &["count=1009", "count=1028"])
}
