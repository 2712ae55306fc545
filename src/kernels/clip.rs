//! Clipping the gradient by its norm, that of all parameters' gradients together; `shaders/clip.wgsl`.
//!
//! PyTorch's `clip_grad_norm_`: where the norm n is above the largest one allowed, m, the gradient is multiplied by
//! m / (n + 1e-6), which the update does. Decay is no part of it.

use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::{Args, Case, Element::F32, Kernel, Op, Reference, Scalar, Tensor};
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// Sums that the squares are parted into.
    pub lanes: u32,
    pub largest: f32,
    pub reserved: u32,
}

const SOURCE: &str = include_str!("../../shaders/clip.wgsl");

/// Inputs: gradient. Outputs: `[lanes]`, lane l having the sum of the squares of every value at l, l + lanes, ...
pub static SQUARES: Kernel = Kernel {
    name: "clip.squares",
    entry: "squares",
    reference: Reference { single: squares_reference, double: squares_reference },
    cpu: Some(squares_cpu),
    ..SIGNATURE
};

/// Inputs: `[lanes]`. Outputs: the scale and the norm, `[2]`.
pub static SCALE: Kernel = SIGNATURE;

const SIGNATURE: Kernel = Kernel {
    name: "clip.scale",
    source: SOURCE,
    entry: "scale",
    inputs: &[F32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: scale_reference, double: scale_reference },
    cpu: None,
};

/// The most lanes.
const MOST_LANES: usize = 4096;

/// How many sums the squares of `count` values are parted into.
pub fn lanes(count: usize) -> usize {
    count.div_ceil(16).min(MOST_LANES)
}

/// `sums` holds [`lanes`] values.
pub fn squares(gradient: Tensor, sums: Tensor) -> Op {
    assert_eq!(sums.len, lanes(gradient.len), "clip.squares: sums of {} values", gradient.len);
    let params = Params { count: word(gradient.len), lanes: word(sums.len), largest: 0.0, reserved: 0 };
    Op::new(&SQUARES, params, &[gradient], &[sums], [word(sums.len.div_ceil(64)), 1, 1], 2 * gradient.len)
}

/// `scale` takes two values: the scale, and the norm.
pub fn scale(largest: f32, sums: Tensor, scale: Tensor) -> Op {
    assert_eq!(scale.len, 2, "clip.scale: scale and norm");
    assert!(largest > 0.0, "clip.scale: a largest norm of {largest}");
    let params = Params { count: 0, lanes: word(sums.len), largest, reserved: 0 };
    Op::new(&SCALE, params, &[sums], &[scale], [1, 1, 1], sums.len)
}

fn squares_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (lanes, gradient) = (args.params::<Params>().lanes as usize, args.real(0));
    for (lane, sum) in args.out(0).iter_mut().enumerate() {
        *sum = S::of(gradient[lane..].iter().step_by(lanes).map(|g| g.get() * g.get()).sum());
    }
}

/// Lanes of a task.
const TASK: usize = 512;

fn squares_cpu(args: &mut Args<'_, f32>) {
    let (lanes, gradient) = (args.params::<Params>().lanes as usize, args.real(0));
    args.out(0).par_chunks_mut(TASK).enumerate().for_each(|(task, sums)| {
        sums.fill(0.0);
        for row in gradient.chunks(lanes) {
            let row = row.get(task * TASK..).unwrap_or_default();
            sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += g * g);
        }
    });
}

fn scale_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (largest, sums) = (f64::from(args.params::<Params>().largest), args.real(0));
    let norm = sums.iter().map(|sum| sum.get()).sum::<f64>().sqrt();
    let scale = largest / (norm + 1e-6);
    // Written so that a NaN stays one.
    let scale = if scale > 1.0 { 1.0 } else { scale };
    args.out(0).copy_from_slice(&[S::of(scale), S::of(norm)]);
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in [1, 15, 64, 65, 1009, 4096 * 16 + 1, 300_000] {
        let (mut b, lanes) = (CaseBuilder::default(), lanes(count));
        let (gradient, sums) = (b.real(count), b.out(lanes));
        let tolerance = Tolerance::sum(count.div_ceil(lanes), 1.0);
        cases.push(b.case(format_args!("count={count}"), squares(gradient, sums), tolerance));
    }
    for (lanes, largest) in [(1, 0.5), (3, 100.0), (64, 0.1), (65, 2.5), (4096, 1.0), (4095, 1e6)] {
        let mut b = CaseBuilder::default();
        let (sums, out) = (b.between(lanes, 0.0, 1.0), b.out(2));
        let tolerance = Tolerance { atol: 0.0, rtol: 2e-5 };
        cases.push(b.case(format_args!("lanes={lanes} largest={largest}"), scale(largest, sums, out), tolerance));
    }
    cases
}
