//! Statistics of a tensor: extremes, moments, zeros, non-finite values; weight change; dead units.
//! `shaders/statistics.wgsl` has the layout of counts and values; [`Summary`] reads it.
//!
//! A GPU runs two passes without barriers: lanes walk the tensor in strides, then one invocation merges them in order.

use super::batch::Header;
use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::{
    Args, Case,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Pass, Reference, Scalar, Tensor, Variant, whole,
};

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// If not 0, the number of values of one example; only `header.valid` examples count.
    pub per_example: u32,
    pub lanes: u32,
    pub channels: u32,
}

/// The number of words of one tensor's (or lane's) counts: finite, non-finite, zeros, 0.
pub const COUNTS: usize = 4;
/// The number of floats of one tensor's (or lane's) values: min, max, mean, m2, sum |v|, sum v², 0, 0.
pub const VALUES: usize = 8;

/// The number of words that a lane on a GPU writes for the pass that merges the lanes.
const LANE_WORDS: usize = 9;

/// The extremes of an empty set: min = HUGE, max = -HUGE.
const HUGE: f64 = f32::MAX as f64;

/// The number of lanes for a tensor of `count` values: about 32 values each, at most 1,024.
pub fn lanes(count: usize) -> usize {
    count.div_ceil(32).clamp(1, 1024)
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

const SOURCE: &str = shader!("prelude/header", "statistics");

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
    gpu: &[&Variant {
        then: &[Pass::new("finish", 1, |_| Launch::of([1, 1, 1]))],
        scratch: Some(|op| op.params::<Params>().lanes as usize * LANE_WORDS),
        ..Variant::new("statistics.summary", SOURCE, "partial", launch_lanes)
    }],
};

/// Computes how far a tensor has moved.
pub static CHANGE: Operation = Operation {
    name: "statistics.change",
    inputs: &[BEFORE, AFTER],
    outputs: &[TOTAL_SUMS],
    params: size_of::<Params>(),
    reference: Reference::new(change_reference, change_reference),
    cpu: None,
    gpu: &[&Variant {
        then: &[Pass::new("change_total", 1, |_| Launch::of([1, 1, 1]))],
        scratch: Some(|op| op.params::<Params>().lanes as usize * 2),
        ..Variant::new("statistics.change", SOURCE, "change", launch_lanes)
    }],
};

/// The dead channels.
pub static DEAD: Operation = Operation {
    name: "statistics.dead",
    inputs: &[HEADER, Y],
    outputs: &[FLAGS],
    params: size_of::<Params>(),
    reference: Reference::new(dead_reference, dead_reference),
    cpu: None,
    gpu: &[&Variant::new("statistics.dead", SOURCE, "dead", |op| {
        Launch::of([op.params::<Params>().channels.div_ceil(64), 1, 1])
    })],
};

fn launch_lanes(op: &Op) -> Launch {
    Launch::of([op.params::<Params>().lanes.div_ceil(64), 1, 1])
}

/// Summarises `tensor`. If `per_example` is not 0, it is the number of values of an example, and only valid examples
/// count. `out` is (counts, values).
pub fn summary(header: Tensor, tensor: Tensor, per_example: usize, out: (Tensor, Tensor)) -> Op {
    assert_eq!((header.len, out.0.len, out.1.len), (Header::LEN, COUNTS, VALUES), "statistics.summary");
    let lanes = lanes(tensor.len);
    let params = Params { count: word(tensor.len), per_example: word(per_example), lanes: word(lanes), channels: 0 };
    let (inputs, outputs) = ([(HEADER, header), (TENSOR, tensor)], [(TOTAL_COUNTS, out.0), (TOTAL_VALUES, out.1)]);
    Op::new(&SUMMARY, params, &inputs, &outputs, 10 * tensor.len + 12 * lanes)
}

/// Measures the difference of `after` from `before`; `out` is `[2]`.
pub fn change(before: Tensor, after: Tensor, out: Tensor) -> Op {
    assert_eq!((after.len, out.len), (before.len, 2), "statistics.change");
    let lanes = lanes(before.len);
    let params = Params { count: word(before.len), per_example: 0, lanes: word(lanes), channels: 0 };
    let inputs = [(BEFORE, before), (AFTER, after)];
    Op::new(&CHANGE, params, &inputs, &[(TOTAL_SUMS, out)], 5 * before.len + 2 * lanes)
}

/// Finds the dead ones among the `flags.len` channels of `y`; `per_example` values of `y` belong to one example.
pub fn dead(header: Tensor, y: Tensor, per_example: usize, flags: Tensor) -> Op {
    assert_eq!((header.len, y.len % per_example, per_example % flags.len), (Header::LEN, 0, 0), "statistics.dead");
    let channels = word(flags.len);
    let params = Params { count: word(y.len), per_example: word(per_example), lanes: 0, channels };
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

    /// Chan's merge of two sets.
    fn merge(&mut self, other: &Moments) {
        let (a, b) = (f64::from(self.counts[0]), f64::from(other.counts[0]));
        if b > 0.0 {
            let delta = other.mean - self.mean;
            self.m2 += other.m2 + delta * delta * a * b / (a + b);
            self.mean += delta * b / (a + b);
        }
        for i in 0..3 {
            self.counts[i] += other.counts[i];
        }
        (self.low, self.high) = (self.low.min(other.low), self.high.max(other.high));
        self.absolute += other.absolute;
        self.squares += other.squares;
    }

    fn store<S: Scalar>(&self, counts: &mut [u32], values: &mut [S]) {
        let [finite, odd, zeros] = self.counts;
        counts.copy_from_slice(&[finite, odd, zeros, 0]);
        let all = [self.low, self.high, self.mean, self.m2, self.absolute, self.squares, 0.0, 0.0];
        for (out, v) in values.iter_mut().zip(all) {
            *out = S::of(v);
        }
    }

    fn load<S: Scalar>(counts: &[u32], values: &[S]) -> Moments {
        let v = |i: usize| values[i].get();
        let counts = [counts[0], counts[1], counts[2]];
        Moments { counts, low: v(0), high: v(1), mean: v(2), m2: v(3), absolute: v(4), squares: v(5) }
    }
}

fn summary_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, tensor) = (args.header(HEADER), args.real(TENSOR));
    let end = if p.per_example > 0 { tensor.len().min((header.valid * p.per_example) as usize) } else { tensor.len() };
    let mut total = Moments::EMPTY;
    for lane in 0..p.lanes as usize {
        let mut moments = Moments::EMPTY;
        for v in tensor[..end].iter().skip(lane).step_by(p.lanes as usize) {
            moments.add(v.get());
        }
        // A lane's moments are rounded, as when a GPU stores them in memory.
        let (mut counts, mut values) = ([0; COUNTS], [S::of(0.0); VALUES]);
        moments.store(&mut counts, &mut values);
        total.merge(&Moments::load(&counts, &values));
    }
    total.store(args.out_words(TOTAL_COUNTS), args.out(TOTAL_VALUES));
}

fn change_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let lanes = args.params::<Params>().lanes as usize;
    let (before, after) = (args.real(BEFORE), args.real(AFTER));
    let pairs = |lane: usize| before.iter().zip(after).skip(lane).step_by(lanes).map(|(b, a)| (b.get(), a.get()));
    // A lane's sum is rounded, as when a GPU stores it in memory.
    let total = |sum: &dyn Fn(usize) -> f64| S::of((0..lanes).map(|lane| S::of(sum(lane)).get()).sum());
    let moved = total(&|lane| pairs(lane).map(|(b, a)| (a - b) * (a - b)).sum());
    let norm = total(&|lane| pairs(lane).map(|(b, _)| b * b).sum());
    args.out(TOTAL_SUMS).copy_from_slice(&[moved, norm]);
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

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Examples, values of one (0: not per example), valid
    for (n, per_example, valid) in [(1, 1, 1), (20, 63, 20), (20, 65, 13), (3, 40_009, 2), (7, 11, 0)] {
        let shape = format!("[{n}, {per_example}] valid {valid}");
        let mut b = CaseBuilder::default();
        let (header, tensor) = (b.header(Header::evaluation(valid)), b.between(n * per_example, -1.0, 2.0));
        let (lanes, out) = (lanes(tensor.len), (b.out_words(COUNTS), b.out(VALUES)));
        let tolerance = Tolerance::sum(tensor.len / lanes + lanes, 2.0);
        cases.push(b.case(&shape, summary(header, tensor, per_example, out), tolerance));

        let mut b = CaseBuilder::default();
        let (before, after) = (b.real(n * per_example), b.real(n * per_example));
        let op = change(before, after, b.out(2));
        cases.push(b.case(&shape, op, Tolerance::sum(before.len / lanes + lanes, 4.0)));
    }
    // A tensor that does not belong to examples counts completely.
    let mut b = CaseBuilder::default();
    let (header, tensor) = (b.header(Header::evaluation(1)), b.between(1009, -1.0, 2.0));
    let (own, out) = (lanes(tensor.len), (b.out_words(COUNTS), b.out(VALUES)));
    let tolerance = Tolerance::sum(tensor.len / own + own, 2.0);
    cases.push(b.case("[1009] of no example", summary(header, tensor, 0, out), tolerance));
    let mut b = CaseBuilder::default();
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 3.0, -7.5, 1e15];
    let (header, tensor) = (b.header(Header::evaluation(1)), b.reals(special.to_vec()));
    let out = (b.out_words(COUNTS), b.out(VALUES));
    let op = summary(header, tensor, tensor.len, out);
    cases.push(b.case("NaN, infinities, zeros", op, Tolerance { atol: 1e-6, rtol: 1e-6 }));
    // Lanes without finite values, and others.
    let mut b = CaseBuilder::default();
    let value = |i: usize| match i % 5 {
        0 => f32::NAN,
        1 => 0.0,
        2 => f32::INFINITY,
        rest => rest as f32 * 0.25 - i as f32 * 0.001,
    };
    let (header, tensor) = (b.header(Header::evaluation(2)), b.reals((0..3 * 55).map(value).collect()));
    let out = (b.out_words(COUNTS), b.out(VALUES));
    let op = summary(header, tensor, 55, out);
    cases.push(b.case("[3, 55] valid 2, some finite", op, Tolerance { atol: 1e-5, rtol: 1e-5 }));

    for (n, pixels, channels, valid) in [(1, 1, 1, 1), (20, 9, 8, 20), (5, 1, 65, 3), (3, 7, 63, 3)] {
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
    cases
}
