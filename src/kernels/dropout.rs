//! Inverted dropout: while training, each value is dropped with probability `rate` and the others are divided by 1 -
//! rate, so that evaluation changes nothing (Srivastava et al. 2014). The gradient is treated in the same way.
//! Elementwise over any shape; `shaders/dropout.wgsl`.
//!
//! ConvNetJS's dropout does not scale while training, and multiplies by `rate` when it predicts (1 - `rate` would be
//! right; for 0.5 it is the same).
//!
//! The dropped values only depend on seed, step, layer and the place in the whole batch, and are the same on every
//! device.

use super::batch::{Header, Part, pcg3d};
use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::{decimal, word};
use super::{
    Args, Case, Cpu,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Variant, per_example, whole,
};
use multiversion::multiversion;
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// A mask to flip bits of the seed with, different for each layer.
    pub stream: u32,
    /// A draw of 24 bits below this drops the value.
    pub threshold: u32,
    /// The factor on values that stay: 1 / (1 - rate).
    pub scale: f32,
    /// The factor on every value in evaluation.
    pub evaluation: f32,
    /// The number of values of an example, from which a value's place in the whole batch is computed.
    pub per_example: u32,
    pub reserved: [u32; 2],
}

impl Params {
    /// The parameters of layer `layer` for `n` examples with `per_example` values each; `rate` is at least 0 and below
    /// 1.
    pub fn new([n, per_example]: [usize; 2], rate: f32, layer: usize) -> Params {
        assert!((0.0..1.0).contains(&rate), "dropout: rate {rate}");
        // Odd, so that every layer has another value; the first is none of the streams of `batch`.
        let stream = 0xc2b2_ae35 ^ (layer as u32).wrapping_mul(0x9e37_79b1);
        let threshold = (f64::from(rate) * f64::from(1 << 24)) as u32;
        // Computed from the decimal 0.9: 0.9 in f32 would be 2.4e-7 off, and 0.999 already 1.3e-5.
        let scale = (1.0 / (1.0 - decimal(rate))) as f32;
        let (count, per_example) = (word(n * per_example), word(per_example));
        Params { count, stream, threshold, scale, evaluation: 1.0, per_example, reserved: [0; 2] }
    }

    /// The same parameters, scaled as in ConvNetJS.
    pub fn as_convnetjs(self, rate: f32) -> Params {
        Params { scale: 1.0, evaluation: rate, ..self }
    }

    fn drops(&self, header: &Header, i: usize) -> bool {
        let place = header.row(0).wrapping_mul(self.per_example).wrapping_add(i as u32);
        pcg3d([header.seed ^ self.stream, header.step, place])[0] >> 8 < self.threshold
    }
}

const HEADER: Operand = whole("header", U32);
const X: Operand = per_example("x", F32);
const Y: Operand = per_example("y", F32);

pub(super) static FAMILY: Family = Family { operations: &[&APPLY], cases };

/// y from x forward, dx from dy backward.
pub static APPLY: Operation = Operation {
    name: "dropout.apply",
    inputs: &[HEADER, X],
    outputs: &[Y],
    params: size_of::<Params>(),
    reference: Reference::new(reference, reference),
    cpu: Cpu::new(cpu),
    gpu: &[&Variant::new(
        "dropout.apply",
        shader!("prelude/header", "prelude/random", "prelude/index", "dropout"),
        "apply",
        |op| Launch::linear(op.params::<Params>().count as usize, 64),
    )],
};

/// The values forward, or their gradient backward; the same `params` drop the same places.
pub fn apply(params: Params, header: Tensor, x: Tensor, y: Tensor) -> Op {
    let count = params.count as usize;
    assert_eq!((header.len, x.len, y.len), (Header::LEN, count, count), "dropout.apply: header, x, y");
    Op::new(&APPLY, params, &[(HEADER, header), (X, x)], &[(Y, y)], count).in_pieces(1)
}

fn reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, x) = (args.header(HEADER), args.real(X));
    for (i, y) in args.out(Y).iter_mut().enumerate() {
        *y = match header.training {
            false => S::of(x[i].get() * f64::from(p.evaluation)),
            true if p.drops(&header, i) => S::of(0.0),
            true => S::of(x[i].get() * f64::from(p.scale)),
        };
    }
}

/// The number of elements below which a second thread costs more than it saves.
const CHUNK: usize = 4096;

fn cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (header, x) = (args.header(HEADER), args.real(X));
    let first = args.offset(x.len());
    let chunks = args.out(Y).par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate();
    chunks.with_min_len(args.least_items()).for_each(|(i, (y, x))| match header.training {
        false if p.evaluation == 1.0 => y.copy_from_slice(x),
        false => y.iter_mut().zip(x).for_each(|(y, x)| *y = x * p.evaluation),
        true => thin(&p, &header, first + i * CHUNK, x, y),
    });
}

/// The values from place `first` on.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+fma"))]
fn thin(p: &Params, header: &Header, first: usize, x: &[f32], y: &mut [f32]) {
    for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
        // A mask instead of a branch, which would be unpredictable.
        let mask = u32::from(p.drops(header, first + i)).wrapping_sub(1);
        *y = f32::from_bits((x * p.scale).to_bits() & mask);
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (count, rate, training) in
        [(1, 0.5, true), (63, 0.5, false), (64, 0.0, true), (65, 0.25, true), (1009, 0.9, true), (4097, 0.1, true)]
    {
        cases.push(case([1, count], rate, training, false, None));
    }
    for (count, rate, training) in [(65, 0.3, true), (1009, 0.3, false), (4097, 0.8, false)] {
        cases.push(case([1, count], rate, training, true, None));
    }
    // A part of a batch.
    cases.push(case([5, 13], 0.5, true, false, Some(Part { first_row: 3, global_valid: 8 })));
    also_split(cases, &["count=1009"])
}

fn case(size: [usize; 2], rate: f32, training: bool, convnetjs: bool, part: Option<Part>) -> Case {
    let mut b = CaseBuilder::default();
    let (count, valid) = (size[0] * size[1], size[0] as u32);
    let header = b.header(Header { step: 41, seed: 7, training, part, ..Header::evaluation(valid) });
    let (x, y) = (b.real(count), b.out(count));
    let mode = if training { "training" } else { "evaluation" };
    let params = Params::new(size, rate, 3);
    let op = apply(if convnetjs { params.as_convnetjs(rate) } else { params }, header, x, y);
    // One rounded product.
    let tolerance = Tolerance { atol: 0.0, rtol: 1.2e-7 };
    let exact = if convnetjs { ", as in ConvNetJS" } else { "" };
    let from = part.map_or(String::new(), |part| format!(" from row {} of {}", part.first_row, part.global_valid));
    b.case(format_args!("count={count} rate={rate} {mode}{exact}{from}"), op, tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 50_000;

    fn dropped(rate: f32, layer: usize, step: u32, seed: u32) -> Vec<bool> {
        let header = Header { step, seed, training: true, ..Header::evaluation(1) };
        let p = Params::new([1, COUNT], rate, layer);
        (0..COUNT).map(|i| p.drops(&header, i)).collect()
    }

    fn share(values: impl Iterator<Item = bool>) -> f64 {
        values.map(|hit| f64::from(u8::from(hit))).sum::<f64>() / COUNT as f64
    }

    #[test]
    fn what_stays_is_multiplied_by_the_decimal_that_was_meant() {
        for (rate, scale) in [(0.0, 1.0), (0.5, 2.0), (0.9, 10.0), (0.99, 100.0), (0.999, 1000.0), (0.9999, 10_000.0)] {
            assert_eq!(Params::new([1, 1], rate, 0).scale, scale, "{rate}");
        }
    }

    #[test]
    fn the_rate_is_the_share_that_is_dropped() {
        for rate in [0.0, 0.1, 0.5, 0.9] {
            let found = share(dropped(rate, 2, 5, 6).into_iter());
            // Five standard deviations.
            let slack = 5.0 * (f64::from(rate * (1.0 - rate)) / COUNT as f64).sqrt();
            assert!((found - f64::from(rate)).abs() <= slack + 1e-9, "{found} of {rate}");
        }
    }

    #[test]
    fn steps_seeds_layers_and_neighbours_draw_apart_from_each_other() {
        let first = dropped(0.5, 2, 5, 6);
        let shifted: Vec<bool> = first[1..].iter().chain(&first[..1]).copied().collect();
        for other in [dropped(0.5, 3, 5, 6), dropped(0.5, 2, 6, 6), dropped(0.5, 2, 5, 7), shifted] {
            let equal = share(first.iter().zip(&other).map(|(a, b)| a == b));
            assert!((equal - 0.5).abs() < 5.0 * 0.5 / (COUNT as f64).sqrt(), "{equal}");
        }
        assert_eq!(first, dropped(0.5, 2, 5, 6));
    }

    #[test]
    fn what_stays_keeps_the_mean() {
        let p = Params::new([1, COUNT], 0.75, 1);
        let header = Header { training: true, ..Header::evaluation(1) };
        let mut y = vec![0.0; COUNT];
        thin(&p, &header, 0, &vec![1.0; COUNT], &mut y);
        let mean = y.iter().map(|v| f64::from(*v)).sum::<f64>() / COUNT as f64;
        assert!(y.iter().all(|v| *v == 0.0 || *v == 4.0) && (mean - 1.0).abs() < 0.04, "{mean}");
    }
}
