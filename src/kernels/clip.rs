//! Clips the gradient by the norm of all parameters' gradients together; `shaders/clip.wgsl`.
//!
//! As in PyTorch's `clip_grad_norm_`: if the norm n exceeds the largest allowed norm m, the update multiplies the
//! gradient by m / (n + 1e-6). Decay is not part of it. Large values are divided by 2^80 before squaring, so that no
//! finite gradient's norm overflows before f32 itself does. A NaN makes the scale NaN; an infinity makes the scale 0,
//! and then NaN when multiplied by it. Both are visible in the weights.

use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::{
    Args, Case, Cpu, Element::F32, Family, Launch, Op, Operand, Operation, Pass, Reference, Scalar, Tensor, Variant,
    whole,
};
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
/// The scale and the norm, `[2]`.
const SCALE_AND_NORM: Operand = whole("scale", F32);

pub(super) static FAMILY: Family = Family { operations: &[&SCALE], cases };

/// Computes the factor for the gradient, and the gradient's norm. Lane l has the values at l, l + lanes, l + 2 lanes
/// and so on; the norm is that of the lanes' norms.
pub static SCALE: Operation = Operation {
    name: "clip.scale",
    inputs: &[GRADIENT],
    outputs: &[SCALE_AND_NORM],
    params: size_of::<Params>(),
    reference: Reference::new(scale_reference, scale_reference),
    cpu: Cpu::new(scale_cpu),
    gpu: &[&Variant {
        then: &[Pass::new("scale", 64, |_| Launch::of([1, 1, 1]))],
        scratch: Some(|op| op.params::<Params>().lanes as usize),
        ..Variant::new("clip.scale", SOURCE, "norms", |op| Launch::of([op.params::<Params>().lanes.div_ceil(64), 1, 1]))
    }],
};

/// The most lanes.
const MOST_LANES: usize = 4096;

/// The number of partial norms for `count` values.
fn lanes(count: usize) -> usize {
    count.div_ceil(16).min(MOST_LANES)
}

/// Computes the scale and the norm of `gradient` into `scale`, `[2]`.
pub fn scale(largest: f32, gradient: Tensor, scale: Tensor) -> Op {
    assert_eq!(scale.len, 2, "clip.scale: scale and norm");
    assert!(largest > 0.0, "clip.scale: a largest norm of {largest}");
    let lanes = lanes(gradient.len);
    let params = Params { count: word(gradient.len), lanes: word(lanes), largest, reserved: 0 };
    Op::new(&SCALE, params, &[(GRADIENT, gradient)], &[(SCALE_AND_NORM, scale)], 2 * (gradient.len + lanes))
}

/// Computed in f64, in which no square of an f32 overflows.
fn norm_of(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

fn scale_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (lanes, gradient) = (args.params::<Params>().lanes as usize, args.real(GRADIENT));
    let norm = |lane: usize| S::of(norm_of(gradient[lane..].iter().step_by(lanes).map(|g| g.get()))).get();
    finish(args, norm_of((0..lanes).map(norm)));
}

/// Lanes per task.
const TASK: usize = 512;

fn scale_cpu(args: &mut Args<'_, f32>) {
    let (lanes, gradient) = (args.params::<Params>().lanes as usize, args.real(GRADIENT));
    let mut all = [0.0f32; MOST_LANES];
    all[..lanes].par_chunks_mut(TASK).enumerate().for_each(|(task, norms)| {
        let mut sums = [0.0; TASK];
        for row in gradient.chunks(lanes) {
            let row = row.get(task * TASK..).unwrap_or_default();
            sums[..norms.len()].iter_mut().zip(row).for_each(|(sum, g)| *sum += f64::from(*g) * f64::from(*g));
        }
        norms.iter_mut().zip(sums).for_each(|(norm, sum)| *norm = sum.sqrt() as f32);
    });
    finish(args, norm_of(all[..lanes].iter().map(|norm| f64::from(*norm))));
}

fn finish<S: Scalar>(args: &mut Args<'_, S>, norm: f64) {
    let scale = f64::from(args.params::<Params>().largest) / (norm + 1e-6);
    // Written so that a NaN is preserved.
    let scale = if scale > 1.0 { 1.0 } else { scale };
    args.out(SCALE_AND_NORM).copy_from_slice(&[S::of(scale), S::of(norm)]);
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Up to one value fewer, and one more, than one per lane at the most lanes; norms above and below the largest one.
    for (count, largest) in [
        (1, 0.5),
        (15, 100.0),
        (64, 0.1),
        (65, 2.5),
        (1009, 1e6),
        (1025, 0.1),
        (MOST_LANES * 16 - 16, 1e6),
        (MOST_LANES * 16 + 1, 1.0),
        (300_000, 3.0),
    ] {
        let mut b = CaseBuilder::default();
        let (gradient, out) = (b.real(count), b.out(2));
        let tolerance = Tolerance { atol: 0.0, rtol: 2e-5 };
        cases.push(b.case(format_args!("count={count} largest={largest}"), scale(largest, gradient, out), tolerance));
    }
    // The constant that keeps the quotient finite matters if the norm is as small.
    for norm in [0.0, 1e-7, 1e-6] {
        let (mut b, tolerance) = (CaseBuilder::default(), Tolerance { atol: 1e-12, rtol: 2e-5 });
        let (gradient, out) = (b.reals(vec![norm]), b.out(2));
        cases.push(b.case(format_args!("norm={norm:e}"), scale(1e-6 / 3.0, gradient, out), tolerance));
    }
    // Squares that overflow, alone and with others; NaN and infinity. In two lanes, then each in its own lane.
    for (name, values) in [
        ("squares that overflow", [1e20, -3e30, 2e38, 1.0, -2e38, 0.0, 7e12, 1e18]),
        ("around the division", [1e11, 2e12, 1e12, -1.2e12, 1.099_511_7e12, 3.0, 5e9, 8e13]),
        ("a NaN", [1.0, 2.0, f32::NAN, 3.0, 1e30, 0.0, 1.0, 1.0]),
        ("an infinity", [1.0, 2.0, 3.0, f32::NEG_INFINITY, 1.0, 0.0, 1.0, 1.0]),
    ] {
        let tolerance = Tolerance { atol: 0.0, rtol: 2e-5 };
        // Sixteen values of a quarter have the norm of the value.
        let quarters = values.map(|value| value / 4.0);
        for (lanes, values) in [(2, quarters.repeat(4)), (8, quarters.repeat(16))] {
            let mut b = CaseBuilder::default();
            let (gradient, out) = (b.reals(values), b.out(2));
            cases.push(b.case(format_args!("{name}, {lanes} lanes"), scale(0.5e3, gradient, out), tolerance));
        }
    }
    cases
}
