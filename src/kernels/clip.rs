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
use multiversion::multiversion;
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// The most values that a lane of a GPU's first pass takes.
    pub steps: u32,
    pub largest: f32,
    pub reserved: u32,
}

const SOURCE: &str = shader!("clip");

const GRADIENT: Operand = whole("gradient", F32);
/// The scale and the norm, `[2]`.
const SCALE_AND_NORM: Operand = whole("scale", F32);

pub(super) static FAMILY: Family = Family { operations: &[&SCALE], cases };

/// Computes the factor for the gradient, and the gradient's norm.
pub static SCALE: Operation = Operation {
    name: "clip.scale",
    inputs: &[GRADIENT],
    outputs: &[SCALE_AND_NORM],
    params: size_of::<Params>(),
    reference: Reference::new(scale_reference, scale_reference),
    cpu: Cpu::new(scale_cpu),
    gpu: &[&Variant {
        then: &[Pass::new("scale", 256, |_| Launch::of([1, 1, 1]))],
        scratch: Some(|op| 2 * parts(op)),
        ..Variant::new("clip.scale", SOURCE, "squares", |op| Launch::of([word(parts(op)), 1, 1])).in_workgroups_of(256)
    }],
};

/// The lanes of a workgroup.
const LANES: usize = 256;

/// [`Params::steps`] for `count` values: as in `statistics`, at most 256, so that 2^31 values are at most 65,536 parts.
fn steps(count: usize) -> usize {
    count.div_ceil(LANES * 1024).clamp(16, 256)
}

/// The number of workgroups in the first pass.
fn parts(op: &Op) -> usize {
    let p: Params = op.params();
    (p.count as usize).div_ceil(LANES * p.steps as usize)
}

/// Computes the scale and the norm of `gradient` into `scale`, `[2]`.
pub fn scale(largest: f32, gradient: Tensor, scale: Tensor) -> Op {
    assert_eq!(scale.len, 2, "clip.scale: scale and norm");
    assert!(largest > 0.0, "clip.scale: a largest norm of {largest}");
    let params = Params { count: word(gradient.len), steps: word(steps(gradient.len)), largest, reserved: 0 };
    Op::new(&SCALE, params, &[(GRADIENT, gradient)], &[(SCALE_AND_NORM, scale)], 2 * gradient.len)
}

/// Computed in f64, in which no square of an f32 overflows.
fn squares<S: Scalar>(values: &[S]) -> f64 {
    values.iter().map(|v| v.get() * v.get()).sum()
}

fn scale_reference<S: Scalar>(args: &mut Args<'_, S>) {
    finish(args, squares(args.real(GRADIENT)).sqrt());
}

/// Values per task.
const TASK: usize = 16_384;
/// The sums that a task computes side by side, so that additions need not wait for each other.
const SIDE_BY_SIDE: usize = 16;

fn scale_cpu(args: &mut Args<'_, f32>) {
    let tasks: Vec<f64> = args.real(GRADIENT).par_chunks(TASK).map(squares_of_task).collect();
    finish(args, tasks.iter().sum::<f64>().sqrt());
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma"))]
fn squares_of_task(values: &[f32]) -> f64 {
    let mut sums = [0.0; SIDE_BY_SIDE];
    let rows = values.chunks_exact(SIDE_BY_SIDE);
    let rest = squares(rows.remainder());
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v) * f64::from(*v));
    }
    sums.iter().sum::<f64>() + rest
}

fn finish<S: Scalar>(args: &mut Args<'_, S>, norm: f64) {
    let scale = f64::from(args.params::<Params>().largest) / (norm + 1e-6);
    // Written so that a NaN is preserved.
    let scale = if scale > 1.0 { 1.0 } else { scale };
    args.out(SCALE_AND_NORM).copy_from_slice(&[S::of(scale), S::of(norm)]);
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Workgroups of the first pass take 4096 values, so there are up to 257 of them, one more than the second pass has
    // lanes. Norms above and below the largest one.
    for (count, largest) in [
        (1, 0.5),
        (15, 100.0),
        (64, 0.1),
        (65, 2.5),
        (255, 1.0),
        (256, 1.0),
        (257, 1.0),
        (1009, 1e6),
        (4095, 0.1),
        (4096, 1e6),
        (4097, 1.0),
        (300_000, 3.0),
        (256 * 4096 + 1, 1.0),
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
    // A factor that is infinite becomes 1.
    let mut b = CaseBuilder::default();
    let (gradient, out) = (b.reals(vec![0.0]), b.out(2));
    cases.push(b.case("norm=0 largest=1e38", scale(1e38, gradient, out), Tolerance::EXACT));
    // Squares that overflow; NaN and infinity. In one workgroup, then each in its own.
    for (name, values) in [
        ("squares that overflow", [1e20, -3e30, 2e38, 1.0, -2e38, 0.0, 7e12, 1e18]),
        ("around the division", [1e11, 2e12, 1e12, -1.2e12, 1.099_511_7e12, 3.0, 5e9, 8e13]),
        ("a NaN", [1.0, 2.0, f32::NAN, 3.0, 1e30, 0.0, 1.0, 1.0]),
        ("a NaN alone", [1.0, 2.0, 3.0, 1.0, 1.0, 0.0, 1.0, f32::NAN]),
        ("an infinity", [1.0, 2.0, 3.0, f32::NEG_INFINITY, 1.0, 0.0, 1.0, 1.0]),
    ] {
        for apart in [1, 4097] {
            let mut all = vec![0.0; 8 * apart];
            values.into_iter().enumerate().for_each(|(i, value)| all[i * apart] = value);
            let mut b = CaseBuilder::default();
            let (gradient, out) = (b.reals(all), b.out(2));
            let tolerance = Tolerance { atol: 0.0, rtol: 2e-5 };
            cases.push(b.case(format_args!("{name}, {apart} apart"), scale(0.5e3, gradient, out), tolerance));
        }
    }
    // The last value of the last workgroup, which merges after 256 others.
    for (name, value) in [("largest", 3e20), ("NaN", f32::NAN)] {
        let mut b = CaseBuilder::default();
        let mut values = vec![1e-3; 256 * 4096 + 2];
        values[256 * 4096 + 1] = value;
        let (gradient, out) = (b.reals(values), b.out(2));
        let tolerance = Tolerance { atol: 0.0, rtol: 2e-5 };
        cases.push(b.case(format_args!("{name} at the end"), scale(0.5e3, gradient, out), tolerance));
    }
    cases
}
