//! Clips the gradient by the norm of all parameters' gradients together; `shaders/clip.wgsl`.
//!
//! As in PyTorch's `clip_grad_norm_`: if the norm n exceeds the largest allowed norm m, the update multiplies the
//! gradient by m / (n + 1e-6). Decay is not part of it. Large values are divided by 2^80 before squaring, so that no
//! finite gradient's norm overflows before f32 itself does. A NaN makes the scale NaN; an infinity makes the scale 0,
//! and then NaN when multiplied by it. Both are visible in the weights.

use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::{Args, Case, Cpu, Element::F32, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Variant, whole};
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// The number of partial norms of the gradient.
    pub lanes: u32,
    pub largest: f32,
    pub reserved: u32,
}

const SOURCE: &str = shader!("clip");

const GRADIENT: Operand = whole("gradient", F32);
/// `[lanes]`, lane l having the norm of every value at l, l + lanes, ...
const NORMS_OF_LANES: Operand = whole("norms", F32);
/// The scale and the norm, `[2]`.
const SCALE_AND_NORM: Operand = whole("scale", F32);

/// The norm of every lane.
pub static NORMS: Operation = Operation {
    name: "clip.norms",
    inputs: &[GRADIENT],
    outputs: &[NORMS_OF_LANES],
    params: size_of::<Params>(),
    reference: Reference::new(norms_reference, norms_reference),
    cpu: Cpu::new(norms_cpu),
    gpu: &[&Variant::new("clip.norms", SOURCE, "norms", |op| {
        Launch::of([op.params::<Params>().lanes.div_ceil(64), 1, 1])
    })],
};

/// What the gradient is multiplied by, and its norm.
pub static SCALE: Operation = Operation {
    name: "clip.scale",
    inputs: &[NORMS_OF_LANES],
    outputs: &[SCALE_AND_NORM],
    params: size_of::<Params>(),
    reference: Reference::new(scale_reference, scale_reference),
    cpu: None,
    gpu: &[&Variant::new("clip.scale", SOURCE, "scale", |_| Launch::of([1, 1, 1]))],
};

/// The most lanes.
const MOST_LANES: usize = 4096;

/// How many norms `count` values are parted into.
pub fn lanes(count: usize) -> usize {
    count.div_ceil(16).min(MOST_LANES)
}

/// `norms` holds [`lanes`] values.
pub fn norms(gradient: Tensor, norms: Tensor) -> Op {
    assert_eq!(norms.len, lanes(gradient.len), "clip.norms: norms of {} values", gradient.len);
    let params = Params { count: word(gradient.len), lanes: word(norms.len), largest: 0.0, reserved: 0 };
    Op::new(&NORMS, params, &[(GRADIENT, gradient)], &[(NORMS_OF_LANES, norms)], 2 * gradient.len)
}

/// `scale` takes two values: the scale, and the norm.
pub fn scale(largest: f32, norms: Tensor, scale: Tensor) -> Op {
    assert_eq!(scale.len, 2, "clip.scale: scale and norm");
    assert!(largest > 0.0, "clip.scale: a largest norm of {largest}");
    let params = Params { count: 0, lanes: word(norms.len), largest, reserved: 0 };
    Op::new(&SCALE, params, &[(NORMS_OF_LANES, norms)], &[(SCALE_AND_NORM, scale)], 2 * norms.len)
}

/// In f64, where no square of an f32 overflows.
fn norm_of<'a, S: Scalar>(values: impl Iterator<Item = &'a S>) -> f64 {
    values.map(|v| v.get() * v.get()).sum::<f64>().sqrt()
}

fn norms_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (lanes, gradient) = (args.params::<Params>().lanes as usize, args.real(GRADIENT));
    for (lane, norm) in args.out(NORMS_OF_LANES).iter_mut().enumerate() {
        *norm = S::of(norm_of(gradient[lane..].iter().step_by(lanes)));
    }
}

/// Lanes per task.
const TASK: usize = 512;

fn norms_cpu(args: &mut Args<'_, f32>) {
    let (lanes, gradient) = (args.params::<Params>().lanes as usize, args.real(GRADIENT));
    args.out(NORMS_OF_LANES).par_chunks_mut(TASK).enumerate().for_each(|(task, norms)| {
        let mut sums = [0.0; TASK];
        for row in gradient.chunks(lanes) {
            let row = row.get(task * TASK..).unwrap_or_default();
            sums[..norms.len()].iter_mut().zip(row).for_each(|(sum, g)| *sum += f64::from(*g) * f64::from(*g));
        }
        norms.iter_mut().zip(sums).for_each(|(norm, sum)| *norm = sum.sqrt() as f32);
    });
}

fn scale_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (largest, norm) = (f64::from(args.params::<Params>().largest), norm_of(args.real(NORMS_OF_LANES).iter()));
    let scale = largest / (norm + 1e-6);
    // Written so that a NaN stays one.
    let scale = if scale > 1.0 { 1.0 } else { scale };
    args.out(SCALE_AND_NORM).copy_from_slice(&[S::of(scale), S::of(norm)]);
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in [1, 15, 64, 65, 1009, 4096 * 16 + 1, 300_000] {
        let (mut b, lanes) = (CaseBuilder::default(), lanes(count));
        let (gradient, out) = (b.real(count), b.out(lanes));
        let tolerance = Tolerance::sum(count.div_ceil(lanes), 1.0);
        cases.push(b.case(format_args!("count={count}"), norms(gradient, out), tolerance));
    }
    for (lanes, largest) in [(1, 0.5), (3, 100.0), (64, 0.1), (65, 2.5), (4096, 1.0), (4095, 1e6)] {
        let mut b = CaseBuilder::default();
        let (parts, out) = (b.between(lanes, 0.0, 1.0), b.out(2));
        let tolerance = Tolerance { atol: 0.0, rtol: 2e-5 };
        cases.push(b.case(format_args!("lanes={lanes} largest={largest}"), scale(largest, parts, out), tolerance));
    }
    // The constant that keeps the quotient finite matters if the norm is as small.
    for norm in [0.0, 1e-7, 1e-6] {
        let (mut b, tolerance) = (CaseBuilder::default(), Tolerance { atol: 1e-12, rtol: 2e-5 });
        let (parts, out) = (b.reals(vec![norm]), b.out(2));
        cases.push(b.case(format_args!("norm={norm:e}"), scale(1e-6 / 3.0, parts, out), tolerance));
    }
    // Squares that overflow, alone and beside others; what is no number.
    for (name, values) in [
        ("squares that overflow", [1e20, -3e30, 2e38, 1.0, -2e38, 0.0, 7e12, 1e18]),
        ("around the division", [1e11, 2e12, 1e12, -1.2e12, 1.099_511_7e12, 3.0, 5e9, 8e13]),
        ("a NaN", [1.0, 2.0, f32::NAN, 3.0, 1e30, 0.0, 1.0, 1.0]),
        ("an infinity", [1.0, 2.0, 3.0, f32::NEG_INFINITY, 1.0, 0.0, 1.0, 1.0]),
    ] {
        let tolerance = Tolerance { atol: 0.0, rtol: 2e-5 };
        let mut b = CaseBuilder::default();
        let (gradient, out) = (b.reals(values.repeat(4)), b.out(lanes(32)));
        cases.push(b.case(name, norms(gradient, out), tolerance));
        let mut b = CaseBuilder::default();
        let (parts, out) = (b.reals(values.map(f32::abs).into()), b.out(2));
        cases.push(b.case(name, scale(0.5e3, parts, out), tolerance));
    }
    cases
}
