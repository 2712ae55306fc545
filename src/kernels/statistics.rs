//! Statistics of a tensor: extremes, moments, zeros, non-finite values; weight change; dead units.
//! `shaders/statistics.wgsl` has the layout of counts and values; [`Summary`] reads it.
//!
//! A GPU runs two passes: many workgroups, then one that merges their results, or one for each tile of channels. Within
//! a workgroup, 256 lanes are merged by a tree. An invocation takes at most 256 values or results.

use super::batch::Header;
use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::{
    Adapter, Args, Case,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Pass, Reference, Scalar, Tensor, Variant, whole,
};

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// If not 0, the number of values of one example; only `header.valid` examples count.
    pub per_example: u32,
    /// The most values that a lane of a GPU's first pass takes.
    pub steps: u32,
    pub channels: u32,
}

/// The number of words of one tensor's counts: finite, non-finite, zeros, 0.
pub const COUNTS: usize = 4;
/// The number of floats of one tensor's values: min, max, mean, m2, sum |v|, sum v², 0, 0.
pub const VALUES: usize = 8;

/// The lanes of a workgroup.
const LANES: usize = 256;
/// The number of words that a workgroup of the first pass of [`SUMMARY`] writes for the second.
const PART_WORDS: usize = 9;
/// The most channels in a tile of [`DEAD`]: the bits of a word.
const TILE: usize = 32;

/// The extremes of an empty set: min = HUGE, max = -HUGE.
const HUGE: f64 = f32::MAX as f64;

/// [`Params::steps`] for `count` values: the fewest, from 16 on, of which 1024 workgroups suffice. At most 256, with
/// which even 2^31 values are at most 65,536 parts, 256 for each lane of the second pass.
fn steps(count: usize) -> usize {
    count.div_ceil(LANES * 1024).clamp(16, 256)
}

impl Params {
    fn new(count: usize, per_example: usize, channels: usize) -> Params {
        let [count, per_example, steps, channels] = [count, per_example, steps(count), channels].map(word);
        Params { count, per_example, steps, channels }
    }

    /// The number of workgroups in the first pass of [`SUMMARY`] and [`CHANGE`].
    fn parts(&self) -> usize {
        (self.count as usize).div_ceil(LANES * self.steps as usize)
    }

    /// The number of walkers on a software adapter.
    fn walkers(&self) -> usize {
        (self.count as usize).div_ceil(32).min(1024)
    }

    /// The number of tiles of channels that [`DEAD`] has.
    fn tiles(&self) -> usize {
        (self.channels as usize).div_ceil(TILE)
    }

    /// The number of workgroups in the first pass of [`DEAD`]: one for each tile in each chunk of rows.
    fn dead_parts(&self) -> usize {
        let (rows, width) = ((self.count / self.channels) as usize, (self.channels as usize).div_ceil(self.tiles()));
        rows.div_ceil(LANES / width * self.steps as usize) * self.tiles()
    }
}

/// A tensor's statistics as read back.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// The number of finite values; all figures except `non_finite` are over these.
    pub count: u64,
    pub non_finite: u64,
    pub zeros: u64,
    #[serde(deserialize_with = "or_nan")]
    pub min: f32,
    #[serde(deserialize_with = "or_nan")]
    pub max: f32,
    #[serde(deserialize_with = "or_nan")]
    pub mean: f32,
    /// Population standard deviation, sqrt(mean of squared deviations).
    #[serde(deserialize_with = "or_nan")]
    pub std: f32,
    /// Sum of |v|.
    #[serde(deserialize_with = "or_nan")]
    pub abs_sum: f32,
    /// Sum of v².
    #[serde(deserialize_with = "or_nan")]
    pub square_sum: f32,
}

/// Reads a figure; JSON has null instead of infinities, which becomes NaN.
pub(crate) fn or_nan<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + From<f32>,
{
    let figure: Option<T> = serde::Deserialize::deserialize(deserializer)?;
    Ok(figure.unwrap_or_else(|| T::from(f32::NAN)))
}

/// Reads an optional figure in the same way.
pub(crate) fn some_or_nan<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + From<f32>,
{
    or_nan(deserializer).map(Some)
}

impl Summary {
    /// Reads the outputs of [`SUMMARY`].
    pub fn new(counts: &[u32], values: &[f32]) -> Summary {
        let count = u64::from(counts[0]);
        let empty = |v: f32| if count == 0 { 0.0 } else { v };
        Summary {
            count,
            non_finite: u64::from(counts[1]),
            zeros: u64::from(counts[2]),
            min: empty(values[0]),
            max: empty(values[1]),
            mean: values[2],
            std: if count == 0 { 0.0 } else { (f64::from(values[3]) / count as f64).sqrt() as f32 },
            abs_sum: values[4],
            square_sum: values[5],
        }
    }
}

const SOURCE: &str = shader!("prelude/header", "prelude/index", "statistics");

const HEADER: Operand = whole("header", U32);
const TENSOR: Operand = whole("tensor", F32);
/// `[4]`.
const TOTAL_COUNTS: Operand = whole("counts", U32);
/// `[8]`.
const TOTAL_VALUES: Operand = whole("values", F32);
const BEFORE: Operand = whole("before", F32);
const AFTER: Operand = whole("after", F32);
/// The sums of (after - before)² and of before², `[2]`.
const TOTAL_SUMS: Operand = whole("sums", F32);
/// `[N, ..., channels]`.
const Y: Operand = whole("y", F32);
/// `[channels]`, 1 where a channel is positive nowhere in the batch.
const FLAGS: Operand = whole("flags", U32);

pub(super) static FAMILY: Family = Family { operations: &[&SUMMARY, &CHANGE, &DEAD], cases };

/// Computes counts and moments of a tensor.
pub static SUMMARY: Operation = Operation {
    name: "statistics.summary",
    inputs: &[HEADER, TENSOR],
    outputs: &[TOTAL_COUNTS, TOTAL_VALUES],
    params: size_of::<Params>(),
    reference: Reference::new(summary_reference, summary_reference),
    cpu: None,
    gpu: &[
        &SUMMARY_WALK,
        &Variant {
            then: &[Pass::new("finish", 256, |_| Launch::of([1, 1, 1]))],
            scratch: Some(|op| op.params::<Params>().parts() * PART_WORDS),
            ..Variant::new("statistics.summary", SOURCE, "partial", launch_parts).in_workgroups_of(256)
        },
    ],
};

/// Computes how far a tensor has moved.
pub static CHANGE: Operation = Operation {
    name: "statistics.change",
    inputs: &[BEFORE, AFTER],
    outputs: &[TOTAL_SUMS],
    params: size_of::<Params>(),
    reference: Reference::new(change_reference, change_reference),
    cpu: None,
    gpu: &[
        &CHANGE_WALK,
        &Variant {
            then: &[Pass::new("change_total", 256, |_| Launch::of([1, 1, 1]))],
            scratch: Some(|op| op.params::<Params>().parts() * 2),
            ..Variant::new("statistics.change", SOURCE, "change", launch_parts).in_workgroups_of(256)
        },
    ],
};

/// The dead channels.
pub static DEAD: Operation = Operation {
    name: "statistics.dead",
    inputs: &[HEADER, Y],
    outputs: &[FLAGS],
    params: size_of::<Params>(),
    reference: Reference::new(dead_reference, dead_reference),
    cpu: None,
    gpu: &[
        &DEAD_WALK,
        &Variant {
            then: &[Pass::new("dead_total", 256, |op| Launch::linear(op.params::<Params>().tiles(), 1))],
            scratch: Some(|op| op.params::<Params>().dead_parts()),
            ..Variant::new("statistics.dead", SOURCE, "dead", |op| {
                Launch::linear(op.params::<Params>().dead_parts(), 1)
            })
            .in_workgroups_of(256)
        },
    ],
};

const SUMMARY_WALK: Variant = Variant {
    then: &[Pass::new("finish_walk", 1, |_| Launch::of([1, 1, 1]))],
    scratch: Some(|op| op.params::<Params>().walkers() * PART_WORDS),
    condition: walks,
    ..Variant::new("statistics.summary_walk", SOURCE, "partial_walk", launch_walkers)
};
const CHANGE_WALK: Variant = Variant {
    then: &[Pass::new("change_total_walk", 1, |_| Launch::of([1, 1, 1]))],
    scratch: Some(|op| op.params::<Params>().walkers() * 2),
    condition: walks,
    ..Variant::new("statistics.change_walk", SOURCE, "change_walk", launch_walkers)
};
const DEAD_WALK: Variant = Variant {
    condition: walks_over_rows,
    ..Variant::new("statistics.dead_walk", SOURCE, "dead_walk", |op| {
        Launch::linear(op.params::<Params>().channels as usize, 64)
    })
};

/// llvmpipe ends an invocation's loops after 65,535 iterations.
const MOST_ITERATIONS: usize = 65_534;

/// Walking is up to seven times as fast there: a barrier costs as much as a hundred values.
fn walks(op: &Op, adapter: Adapter) -> bool {
    let p: Params = op.params();
    adapter.software && (p.count as usize).div_ceil(p.walkers()) <= MOST_ITERATIONS
}

/// A walker stops at the first positive value.
fn walks_over_rows(op: &Op, adapter: Adapter) -> bool {
    let p: Params = op.params();
    adapter.software && (p.count / p.channels) as usize <= MOST_ITERATIONS
}

fn launch_parts(op: &Op) -> Launch {
    Launch::of([word(op.params::<Params>().parts()), 1, 1])
}

fn launch_walkers(op: &Op) -> Launch {
    Launch::of([word(op.params::<Params>().walkers().div_ceil(64)), 1, 1])
}

/// Summarises `tensor`. If `per_example` is not 0, it is the number of values of an example, and only valid examples
/// count. `out` is (counts, values).
pub fn summary(header: Tensor, tensor: Tensor, per_example: usize, out: (Tensor, Tensor)) -> Op {
    assert_eq!((header.len, out.0.len, out.1.len), (Header::LEN, COUNTS, VALUES), "statistics.summary");
    let params = Params::new(tensor.len, per_example, 0);
    let (inputs, outputs) = ([(HEADER, header), (TENSOR, tensor)], [(TOTAL_COUNTS, out.0), (TOTAL_VALUES, out.1)]);
    Op::new(&SUMMARY, params, &inputs, &outputs, 10 * tensor.len)
}

/// Measures the difference of `after` from `before`; `out` is `[2]`.
pub fn change(before: Tensor, after: Tensor, out: Tensor) -> Op {
    assert_eq!((after.len, out.len), (before.len, 2), "statistics.change");
    let params = Params::new(before.len, 0, 0);
    let inputs = [(BEFORE, before), (AFTER, after)];
    Op::new(&CHANGE, params, &inputs, &[(TOTAL_SUMS, out)], 5 * before.len)
}

/// Finds the dead ones among the `flags.len` channels of `y`; `per_example` values of `y` belong to one example.
pub fn dead(header: Tensor, y: Tensor, per_example: usize, flags: Tensor) -> Op {
    assert_eq!((header.len, y.len % per_example, per_example % flags.len), (Header::LEN, 0, 0), "statistics.dead");
    let params = Params::new(y.len, per_example, flags.len);
    Op::new(&DEAD, params, &[(HEADER, header), (Y, y)], &[(FLAGS, flags)], y.len)
}

/// Moments of a set of values, in f64.
#[derive(Clone, Copy)]
struct Moments {
    counts: [u32; 3],
    low: f64,
    high: f64,
    mean: f64,
    m2: f64,
    absolute: f64,
    squares: f64,
}

impl Moments {
    const EMPTY: Moments =
        Moments { counts: [0; 3], low: HUGE, high: -HUGE, mean: 0.0, m2: 0.0, absolute: 0.0, squares: 0.0 };

    /// Welford's update.
    fn add(&mut self, v: f64) {
        if !v.is_finite() {
            self.counts[1] += 1;
            return;
        }
        self.counts[0] += 1;
        self.counts[2] += u32::from(v == 0.0);
        (self.low, self.high) = (self.low.min(v), self.high.max(v));
        let delta = v - self.mean;
        self.mean += delta / f64::from(self.counts[0]);
        self.m2 += delta * (v - self.mean);
        self.absolute += v.abs();
        self.squares += v * v;
    }

    fn store<S: Scalar>(&self, counts: &mut [u32], values: &mut [S]) {
        let [finite, odd, zeros] = self.counts;
        counts.copy_from_slice(&[finite, odd, zeros, 0]);
        let all = [self.low, self.high, self.mean, self.m2, self.absolute, self.squares, 0.0, 0.0];
        for (out, v) in values.iter_mut().zip(all) {
            *out = S::of(v);
        }
    }
}

fn summary_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, tensor) = (args.header(HEADER), args.real(TENSOR));
    let end = if p.per_example > 0 { tensor.len().min((header.valid * p.per_example) as usize) } else { tensor.len() };
    let mut total = Moments::EMPTY;
    tensor[..end].iter().for_each(|v| total.add(v.get()));
    total.store(args.out_words(TOTAL_COUNTS), args.out(TOTAL_VALUES));
}

fn change_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let pairs = || args.real(BEFORE).iter().zip(args.real(AFTER)).map(|(b, a)| (b.get(), a.get()));
    let moved = pairs().map(|(b, a)| (a - b) * (a - b)).sum();
    let norm = pairs().map(|(b, _)| b * b).sum();
    args.out(TOTAL_SUMS).copy_from_slice(&[S::of(moved), S::of(norm)]);
}

fn dead_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, y) = (args.header(HEADER), args.real(Y));
    let end = y.len().min((header.valid * p.per_example) as usize);
    for (c, flag) in args.out_words(FLAGS).iter_mut().enumerate() {
        let alive = y[..end].iter().skip(c).step_by(p.channels as usize).any(|v| v.get() > 0.0);
        *flag = u32::from(!alive);
    }
}

/// For sums of values of magnitude `scale` by [`SUMMARY`] and [`CHANGE`]. The reference adds in f64; on a GPU a value
/// passes through the additions of its lane in both passes and of two trees with eight levels, or of its walker and of
/// the invocation that merges walkers.
fn tolerance(count: usize, scale: f64) -> Tolerance {
    let p = Params::new(count, 0, 0);
    let in_trees = p.steps as usize + p.parts().div_ceil(LANES) + 16;
    let in_walks = count.div_ceil(p.walkers()) + p.walkers();
    Tolerance::sum(in_trees.max(in_walks), scale)
}

/// Examples, values of one, valid examples. Workgroups of the first pass take 4096 values, so there are up to 257 of
/// them, one more than the second pass has lanes; some have no valid value, and one has a single one.
const SHAPES: [(usize, usize, u32); 14] = [
    (1, 1, 1),
    (5, 51, 5),
    (2, 128, 2),
    (1, 257, 1),
    (20, 63, 20),
    (20, 65, 13),
    (1, 4095, 1),
    (1, 4096, 1),
    (1, 4097, 1),
    (3, 40_009, 2),
    (4, 4096, 2),
    (7, 11, 0),
    (3, 4099, 0),
    (3, 350_003, 3),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, per_example, valid) in SHAPES {
        let shape = format!("[{n}, {per_example}] valid {valid}");
        let mut b = CaseBuilder::default();
        let (header, tensor) = (b.header(Header::evaluation(valid)), b.between(n * per_example, -1.0, 2.0));
        let out = (b.out_words(COUNTS), b.out(VALUES));
        cases.push(b.case(&shape, summary(header, tensor, per_example, out), tolerance(tensor.len, 2.0)));

        let mut b = CaseBuilder::default();
        let (before, after) = (b.real(n * per_example), b.real(n * per_example));
        let op = change(before, after, b.out(2));
        cases.push(b.case(&shape, op, tolerance(before.len, 4.0)));
    }
    // A tensor that does not belong to examples counts completely.
    let mut b = CaseBuilder::default();
    let (header, tensor) = (b.header(Header::evaluation(1)), b.between(10_007, -1.0, 2.0));
    let out = (b.out_words(COUNTS), b.out(VALUES));
    cases.push(b.case("[10007] of no example", summary(header, tensor, 0, out), tolerance(tensor.len, 2.0)));

    let mut add = |name: &str, values: Vec<f32>, tolerance: Tolerance| {
        let mut b = CaseBuilder::default();
        let (header, tensor) = (b.header(Header::evaluation(1)), b.reals(values));
        let out = (b.out_words(COUNTS), b.out(VALUES));
        cases.push(b.case(name, summary(header, tensor, tensor.len, out), tolerance));
    };
    let near = Tolerance { atol: 1e-5, rtol: 1e-5 };
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 3.0, -7.5, 1e15];
    add("NaN, infinities, zeros", special.to_vec(), Tolerance { atol: 1e-6, rtol: 1e-6 });
    // Lanes without finite values, and others.
    let value = |i: usize| match i % 5 {
        0 => f32::NAN,
        1 => 0.0,
        2 => f32::INFINITY,
        rest => rest as f32 * 0.25 - i as f32 * 0.001,
    };
    add("[110], some finite", (0..110).map(value).collect(), near);
    // Workgroups without finite values before, between and after others; what only the second pass merges.
    let finite = |i: usize| (i % 1000) as f32 * 0.002 - 0.5;
    for (name, in_odd_one) in [
        ("non-finite first", (|i| i < 4096) as fn(usize) -> bool),
        ("non-finite in the middle", |i| (4096..8192).contains(&i)),
        ("non-finite at the end", |i| i >= 8192),
        ("finite in the middle", |i| !(4096..8192).contains(&i)),
        ("one NaN at the end", |i| i == 12_287),
        ("finite nowhere", |_| true),
    ] {
        let odd = |i: usize| [f32::NAN, f32::NEG_INFINITY, f32::INFINITY][i % 3];
        let value = |i: usize| if in_odd_one(i) { odd(i) } else { finite(i) };
        add(&format!("[12288], {name}"), (0..12_288).map(value).collect(), near);
    }
    // The extremes are in the last workgroup, which merges after 256 others.
    let value = |i: usize| {
        if i == 256 * 4096 {
            50.0
        } else if i == 256 * 4096 + 1 {
            -60.0
        } else {
            finite(i)
        }
    };
    add("[1048600], extremes at the end", (0..1_048_600).map(value).collect(), near);
    // The square of such a mean is infinite.
    add("[5000] of 3e19", vec![3e19; 5000], near);

    // N, pixels, channels, valid
    for (n, pixels, channels, valid) in [
        (1, 1, 1, 1),
        (20, 9, 8, 20),
        (5, 1, 65, 3),
        (3, 7, 63, 3),
        // Several chunks of rows: of 4096, 1360, 128, 176 and 128 rows.
        (9, 1021, 1, 8),
        (5, 997, 3, 4),
        (3, 100, 32, 3),
        (7, 59, 65, 7),
        (13, 31, 257, 12),
        // Seven tiles of channels.
        (2, 3, 200, 2),
        // No example is valid.
        (3, 700, 5, 0),
    ] {
        let mut b = CaseBuilder::default();
        let header = b.header(Header::evaluation(valid));
        // Channel c is alive only in example c % (n+2), at one pixel; some are never alive, some only beyond `valid`.
        let value = |i: usize| {
            let (example, pixel, c) = (i / (pixels * channels), i / channels % pixels, i % channels);
            if c % (n + 2) == example && c % pixels == pixel { 0.5 } else { [0.0, -1.0][i % 2] }
        };
        let y = b.reals((0..n * pixels * channels).map(value).collect());
        let flags = b.out_words(channels);
        let shape = format!("[{n}, {pixels}, {channels}] valid {valid}");
        cases.push(b.case(shape, dead(header, y, pixels * channels, flags), Tolerance::EXACT));
    }
    // Alive only beyond the valid examples.
    for (n, valid) in [(2, 2), (3, 2)] {
        let mut b = CaseBuilder::default();
        let header = b.header(Header::evaluation(valid));
        let y = b.reals((0..n).flat_map(|example| [if example < valid as usize { -1.0 } else { 1.0 }; 35]).collect());
        let op = dead(header, y, 35, b.out_words(7));
        cases.push(b.case(format_args!("[{n}, 5, 7] valid {valid}, all dead"), op, Tolerance::EXACT));
    }
    // Chunks of 1360 rows, one more than the second pass has lanes. Each channel is alive in one place; one has a NaN.
    let (rows, alive) = (256 * 1360 + 7, [256 * 1360 + 6, 255 * 1360 + 1359]);
    for (name, last) in [("a NaN", f32::from_bits(0x7f80_0001)), ("alive first", f32::INFINITY)] {
        let value = |i: usize| match (i / 3, i % 3) {
            (row, c @ 0..2) if row == alive[c] => f32::from_bits(1),
            (0, 2) => last,
            _ => -0.0,
        };
        let mut b = CaseBuilder::default();
        let (header, y) = (b.header(Header::evaluation(1)), b.reals((0..3 * rows).map(value).collect()));
        let op = dead(header, y, 3 * rows, b.out_words(3));
        cases.push(b.case(format_args!("[1, {rows}, 3], {name}"), op, Tolerance::EXACT));
    }
    also_split(cases, &["statistics.dead [13, 31, 257]", "statistics.dead [2, 3, 200]"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lane_of_a_gpu_takes_more_than_256_values_or_parts() {
        for channels in (1..=300).chain([512, 1000, 1 << 20]) {
            for count in [1, 100, 4096, 1_000_003, 1 << 22, 1 << 26, (1 << 31) - 1, 1 << 31] {
                let p = Params::new(count - count % channels, 0, channels);
                if p.count == 0 {
                    continue;
                }
                assert!(p.steps <= 256 && p.parts() <= 256 * LANES, "{p:?}");
                assert!(p.dead_parts() / p.tiles() <= 256 * LANES, "{p:?}");
            }
        }
    }
}
