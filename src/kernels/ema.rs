//! The exponential moving average of the parameters, which evaluation uses if one is kept; `shaders/ema.wgsl`.
//!
//! After update t, counted from 0: a' = d*a + (1-d)*w', with d = min(decay, (1+t)/(10+t)), the warm-up of TensorFlow's
//! `ExponentialMovingAverage` with `num_updates`. It starts at the initial weights. With d = decay from the start,
//! these would still make up decay^t of the average; with the warm-up they vanish after a few dozen updates, whatever
//! the decay. It covers the whole flat buffer, including everything besides weights and biases.

use super::batch::Header;
use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::optimizer::BLOCK;
use super::{
    Args, Case, Cpu,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Texture, Variant, whole,
};
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    pub decay: f32,
    /// 1 - decay, rounded once; subtracting the rounded 0.9999 from 1 is 1.7e-4 off.
    pub rest: f32,
    pub reserved: u32,
}

const HEADER: Operand = whole("header", U32);
const BEFORE: Operand = whole("before", F32);
const WEIGHTS: Operand = whole("weights", F32);
const AFTER: Operand = whole("after", F32);

pub(super) static FAMILY: Family = Family { operations: &[&AVERAGE], cases };

/// a' from a and w'.
pub static AVERAGE: Operation = Operation {
    name: "ema.average",
    inputs: &[HEADER, BEFORE, WEIGHTS],
    outputs: &[AFTER],
    params: size_of::<Params>(),
    reference: Reference::new(reference, reference),
    cpu: Cpu::new(cpu),
    gpu: &[
        &VARIANT.textured(
            "ema.average_textures",
            shader!("prelude/header", "prelude/index", "prelude/texel", "textures/ema", "ema"),
            &[Texture::vectors(BEFORE), Texture::vectors(WEIGHTS)],
        ),
        &VARIANT,
    ],
};

const VARIANT: Variant =
    Variant::new("ema.average", shader!("prelude/header", "prelude/index", "buffers/ema", "ema"), "average", |op| {
        Launch::linear(op.params::<Params>().count as usize / 4, 64)
    });

/// `after` becomes the average of `before` and `w`, the parameters after the step's update.
pub fn average(decay: f64, header: Tensor, before: Tensor, w: Tensor, after: Tensor) -> Op {
    let count = w.len;
    assert!((0.0..1.0).contains(&decay), "ema.average: a decay of {decay}");
    assert_eq!((header.len, before.len, after.len), (Header::LEN, count, count), "ema.average: header, averages");
    assert!(count.is_multiple_of(BLOCK), "ema.average: {count} values");
    let params = Params { count: word(count), decay: decay as f32, rest: (1.0 - decay) as f32, reserved: 0 };
    let inputs = [(HEADER, header), (BEFORE, before), (WEIGHTS, w)];
    Op::new(&AVERAGE, params, &inputs, &[(AFTER, after)], 3 * count)
}

/// The share of the new weights, 1 - d, after update `t`, counted from 0.
fn share(rest: f32, t: u32) -> f64 {
    f64::from(rest).max(9.0 / (10.0 + f64::from(t)))
}

fn reference<S: Scalar>(args: &mut Args<'_, S>) {
    let rest = share(args.params::<Params>().rest, args.header(HEADER).step);
    let (before, w) = (args.real(BEFORE), args.real(WEIGHTS));
    for ((after, before), w) in args.out(AFTER).iter_mut().zip(before).zip(w) {
        *after = S::of((1.0 - rest) * before.get() + rest * w.get());
    }
}

fn cpu(args: &mut Args<'_, f32>) {
    const TASK: usize = 64 * BLOCK;
    let rest = share(args.params::<Params>().rest, args.header(HEADER).step);
    // If d is near 1, its rounding would change the window.
    let (small, keep, rest) = (rest < 0.5, (1.0 - rest) as f32, rest as f32);
    let (before, w) = (args.real(BEFORE).par_chunks(TASK), args.real(WEIGHTS).par_chunks(TASK));
    args.out(AFTER).par_chunks_mut(TASK).zip(before).zip(w).for_each(|((after, before), w)| {
        for ((after, before), w) in after.iter_mut().zip(before).zip(w) {
            *after = if small { before + rest * (w - before) } else { keep * before + rest * w };
        }
    });
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // The last one needs more than one row of a texture.
    for (blocks, decay, step) in
        [(1, 0.999, 0), (2, 0.0, 5), (3, 0.35, 3), (67, 0.35, 4), (65, 0.9999, 89_989), (1025, 0.999, 1_000_000)]
    {
        let (count, mut b) = (blocks * BLOCK, CaseBuilder::default());
        let header = b.header(Header { step, ..Header::evaluation(1) });
        let (before, w, after) = (b.real(count), b.real(count), b.out(count));
        let op = average(decay, header, before, w, after);
        // Values up to 1; a quotient, two products and a sum round.
        let tolerance = Tolerance { atol: 4e-7, rtol: 0.0 };
        cases.push(b.case(format_args!("count={count} decay={decay} step={step}"), op, tolerance));
    }
    also_split(cases, &["count=65600"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_weights_are_soon_gone_and_the_decay_takes_over() {
        let left: f64 = (0..30).map(|t| 1.0 - share(1e-4, t)).product();
        assert!(left < 1e-8, "{left}");
        assert_eq!([0, 8, 1_000_000].map(|t| share(0.5, t)), [0.9, 0.5, 0.5]);
    }
}
