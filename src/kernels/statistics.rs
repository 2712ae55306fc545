//! What a tensor looks like: extremes, moments, zeros, non-finite values; weight change; dead units.
//! `shaders/statistics.wgsl` has the layout of counts and values; [`Summary`] reads it.
//!
//! Two passes without barriers: lanes walk the tensor in strides, then one invocation merges them in order.

use super::batch::Header;
use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::{
    Args, Case,
    Element::{F32, U32},
    Kernel, Op, Reference, Scalar, Tensor,
};

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub count: u32,
    /// Where not 0: values of one example; only `header.valid` examples count.
    pub per_example: u32,
    pub lanes: u32,
    pub channels: u32,
}

/// Words of one tensor's (or lane's) counts: finite, non-finite, zeros, 0.
pub const COUNTS: usize = 4;
/// Floats of one tensor's (or lane's) values: min, max, mean, m2, sum |v|, sum v², 0, 0.
pub const VALUES: usize = 8;

/// Stand-in for the extremes of an empty set.
const HUGE: f64 = f32::MAX as f64;

/// Walkers over a tensor of `count` values: about 32 values each, 1,024 at most.
pub fn lanes(count: usize) -> usize {
    count.div_ceil(32).clamp(1, 1024)
}

/// A tensor's statistics as read back.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// Finite values seen; all figures but `non_finite` are over these.
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

/// Reads a figure; JSON knows no infinity and has null instead, which becomes NaN.
pub(crate) fn or_nan<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + From<f32>,
{
    let figure: Option<T> = serde::Deserialize::deserialize(deserializer)?;
    Ok(figure.unwrap_or_else(|| T::from(f32::NAN)))
}

/// Likewise, of a figure that may be absent altogether.
pub(crate) fn some_or_nan<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + From<f32>,
{
    or_nan(deserializer).map(Some)
}

impl Summary {
    /// From the outputs of [`FINISH`].
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

const SOURCE: &str = include_str!("../../shaders/statistics.wgsl");

/// Inputs: header, tensor. Outputs: counts `[lanes, 4]`, values `[lanes, 8]`.
pub static PARTIAL: Kernel = Kernel {
    name: "statistics.partial",
    source: SOURCE,
    entry: "partial",
    inputs: &[U32, F32],
    outputs: &[U32, F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: partial_reference, double: partial_reference },
    cpu: None,
};

/// Inputs: counts `[lanes, 4]`, values `[lanes, 8]`. Outputs: counts `[4]`, values `[8]`.
pub static FINISH: Kernel = Kernel {
    name: "statistics.finish",
    source: SOURCE,
    entry: "finish",
    inputs: &[U32, F32],
    outputs: &[U32, F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 1,
    reference: Reference { single: finish_reference, double: finish_reference },
    cpu: None,
};

/// Inputs: before, after. Outputs: `[lanes, 2]`, sums of (after - before)² and of before².
pub static CHANGE: Kernel = Kernel {
    name: "statistics.change",
    source: SOURCE,
    entry: "change",
    inputs: &[F32, F32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: change_reference, double: change_reference },
    cpu: None,
};

/// Inputs: `[lanes, 2]`. Outputs: `[2]`.
pub static CHANGE_TOTAL: Kernel = Kernel {
    name: "statistics.change_total",
    source: SOURCE,
    entry: "change_total",
    inputs: &[F32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 1,
    reference: Reference { single: change_total_reference, double: change_total_reference },
    cpu: None,
};

/// Inputs: header, y [N, ..., channels]. Outputs: `[channels]`, 1 where a channel is positive nowhere in the batch.
pub static DEAD: Kernel = Kernel {
    name: "statistics.dead",
    source: SOURCE,
    entry: "dead",
    inputs: &[U32, F32],
    outputs: &[U32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: dead_reference, double: dead_reference },
    cpu: None,
};

/// The two operations that summarise `tensor`; `scratch` holds the lanes, `out` the result, each (counts, values).
pub fn summarize(
    header: Tensor,
    tensor: Tensor,
    per_example: usize,
    scratch: (Tensor, Tensor),
    out: (Tensor, Tensor),
) -> [Op; 2] {
    [partial(header, tensor, per_example, scratch), finish(scratch, out)]
}

fn partial(header: Tensor, tensor: Tensor, per_example: usize, out: (Tensor, Tensor)) -> Op {
    let lanes = lanes(tensor.len);
    assert_eq!((header.len, out.0.len, out.1.len), (Header::LEN, lanes * COUNTS, lanes * VALUES), "statistics.partial");
    let params = Params { count: word(tensor.len), per_example: word(per_example), lanes: word(lanes), channels: 0 };
    let groups = [word(lanes.div_ceil(64)), 1, 1];
    Op::new(&PARTIAL, params, &[header, tensor], &[out.0, out.1], groups, 10 * tensor.len)
}

fn finish(lanes: (Tensor, Tensor), out: (Tensor, Tensor)) -> Op {
    let count = lanes.0.len / COUNTS;
    assert_eq!((lanes.1.len, out.0.len, out.1.len), (count * VALUES, COUNTS, VALUES), "statistics.finish");
    let params = Params { count: 0, per_example: 0, lanes: word(count), channels: 0 };
    Op::new(&FINISH, params, &[lanes.0, lanes.1], &[out.0, out.1], [1, 1, 1], 12 * count)
}

/// The two operations that measure how far `after` lies from `before`; `out` is `[2]`.
pub fn change(before: Tensor, after: Tensor, scratch: Tensor, out: Tensor) -> [Op; 2] {
    [change_partial(before, after, scratch), change_total(scratch, out)]
}

fn change_partial(before: Tensor, after: Tensor, out: Tensor) -> Op {
    let lanes = lanes(before.len);
    assert_eq!((after.len, out.len), (before.len, lanes * 2), "statistics.change");
    let params = Params { count: word(before.len), per_example: 0, lanes: word(lanes), channels: 0 };
    let groups = [word(lanes.div_ceil(64)), 1, 1];
    Op::new(&CHANGE, params, &[before, after], &[out], groups, 5 * before.len)
}

fn change_total(lanes: Tensor, out: Tensor) -> Op {
    assert_eq!((lanes.len % 2, out.len), (0, 2), "statistics.change_total");
    let params = Params { count: 0, per_example: 0, lanes: word(lanes.len / 2), channels: 0 };
    Op::new(&CHANGE_TOTAL, params, &[lanes], &[out], [1, 1, 1], lanes.len)
}

/// Which of `flags.len` channels of `y` are dead; `per_example` values of `y` belong to one example.
pub fn dead(header: Tensor, y: Tensor, per_example: usize, flags: Tensor) -> Op {
    assert_eq!((header.len, y.len % per_example, per_example % flags.len), (Header::LEN, 0, 0), "statistics.dead");
    let channels = word(flags.len);
    let params = Params { count: word(y.len), per_example: word(per_example), lanes: 0, channels };
    Op::new(&DEAD, params, &[header, y], &[flags], [channels.div_ceil(64), 1, 1], y.len)
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

fn partial_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, tensor) = (args.words(0), args.real(1));
    let (counts, values) = (args.out_words(0), args.out(1));
    let end = if p.per_example > 0 { tensor.len().min((header[1] * p.per_example) as usize) } else { tensor.len() };
    let outputs = counts.chunks_exact_mut(COUNTS).zip(values.chunks_exact_mut(VALUES));
    for (lane, (counts, values)) in outputs.enumerate() {
        let mut moments = Moments::EMPTY;
        for v in tensor[..end].iter().skip(lane).step_by(p.lanes as usize) {
            moments.add(v.get());
        }
        moments.store(counts, values);
    }
}

fn finish_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (counts, values) = (args.words(0), args.real(1));
    let mut total = Moments::EMPTY;
    for (counts, values) in counts.chunks_exact(COUNTS).zip(values.chunks_exact(VALUES)) {
        total.merge(&Moments::load(counts, values));
    }
    total.store(args.out_words(0), args.out(1));
}

fn change_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let lanes = args.params::<Params>().lanes as usize;
    let (before, after) = (args.real(0), args.real(1));
    for (lane, out) in args.out(0).chunks_exact_mut(2).enumerate() {
        let pairs = || before.iter().zip(after).skip(lane).step_by(lanes).map(|(b, a)| (b.get(), a.get()));
        out[0] = S::of(pairs().map(|(b, a)| (a - b) * (a - b)).sum());
        out[1] = S::of(pairs().map(|(b, _)| b * b).sum());
    }
}

fn change_total_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let lanes = args.real(0);
    for (i, out) in args.out(0).iter_mut().enumerate() {
        *out = S::of(lanes.iter().skip(i).step_by(2).map(|v| v.get()).sum());
    }
}

fn dead_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, y) = (args.words(0), args.real(1));
    let end = y.len().min((header[1] * p.per_example) as usize);
    for (c, flag) in args.out_words(0).iter_mut().enumerate() {
        let alive = y[..end].iter().skip(c).step_by(p.channels as usize).any(|v| v.get() > 0.0);
        *flag = u32::from(!alive);
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // Examples, values of one (0: not per example), valid
    for (n, per_example, valid) in [(1, 1, 1), (20, 63, 20), (20, 65, 13), (3, 40_009, 2), (7, 11, 0)] {
        let shape = format!("[{n}, {per_example}] valid {valid}");
        let mut b = CaseBuilder::default();
        let (header, tensor) = (b.header(Header::evaluation(valid)), b.between(n * per_example, -1.0, 2.0));
        let lanes = lanes(tensor.len);
        let out = (b.out_words(lanes * COUNTS), b.out(lanes * VALUES));
        cases.push(b.case(&shape, partial(header, tensor, per_example, out), Tolerance::sum(tensor.len / lanes, 2.0)));

        let mut b = CaseBuilder::default();
        let (before, after) = (b.real(n * per_example), b.real(n * per_example));
        let op = change_partial(before, after, b.out(2 * lanes));
        cases.push(b.case(&shape, op, Tolerance::sum(tensor.len / lanes + 1, 4.0)));

        let mut b = CaseBuilder::default();
        let op = change_total(b.between(2 * lanes, 0.0, 4.0), b.out(2));
        cases.push(b.case(&shape, op, Tolerance::sum(lanes, 4.0 * (lanes as f64).sqrt())));

        let mut b = CaseBuilder::default();
        let counts = (0..lanes as u32).flat_map(|i| [i % 3 * 17, i % 2, i % 5, 0]).collect();
        let inputs = (b.words(counts), b.real(lanes * VALUES));
        let out = (b.out_words(COUNTS), b.out(VALUES));
        // m2 sums count * deviation² over all lanes.
        let tolerance = Tolerance { atol: 1e-5 * (lanes * 34) as f64, rtol: 1e-5 };
        cases.push(b.case(&shape, finish(inputs, out), tolerance));
    }
    // What belongs to no example counts whole.
    let mut b = CaseBuilder::default();
    let (header, tensor) = (b.header(Header::evaluation(1)), b.between(1009, -1.0, 2.0));
    let own = lanes(tensor.len);
    let out = (b.out_words(own * COUNTS), b.out(own * VALUES));
    let tolerance = Tolerance::sum(tensor.len / own, 2.0);
    cases.push(b.case("[1009] of no example", partial(header, tensor, 0, out), tolerance));
    let mut b = CaseBuilder::default();
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 3.0, -7.5, 1e15];
    let (header, tensor) = (b.header(Header::evaluation(1)), b.reals(special.to_vec()));
    let lanes = lanes(tensor.len);
    let out = (b.out_words(lanes * COUNTS), b.out(lanes * VALUES));
    let op = partial(header, tensor, tensor.len, out);
    cases.push(b.case("NaN, infinities, zeros", op, Tolerance { atol: 1e-6, rtol: 1e-6 }));

    for (n, pixels, channels, valid) in [(1, 1, 1, 1), (20, 9, 8, 20), (5, 1, 65, 3), (3, 7, 63, 3)] {
        let mut b = CaseBuilder::default();
        let header = b.header(Header::evaluation(valid));
        // Channel c lives in example c % (n+2) only, at one pixel: some live nowhere, some beyond `valid`.
        let value = |i: usize| {
            let (example, pixel, c) = (i / (pixels * channels), i / channels % pixels, i % channels);
            if c % (n + 2) == example && c % pixels == pixel { 0.5 } else { [0.0, -1.0][i % 2] }
        };
        let y = b.reals((0..n * pixels * channels).map(value).collect());
        let flags = b.out_words(channels);
        let shape = format!("[{n}, {pixels}, {channels}] valid {valid}");
        cases.push(b.case(shape, dead(header, y, pixels * channels, flags), Tolerance::EXACT));
    }
    // Nothing lives but beyond the valid examples.
    for (n, valid) in [(2, 2), (3, 2)] {
        let mut b = CaseBuilder::default();
        let header = b.header(Header::evaluation(valid));
        let y = b.reals((0..n).flat_map(|example| [if example < valid as usize { -1.0 } else { 1.0 }; 35]).collect());
        let op = dead(header, y, 35, b.out_words(7));
        cases.push(b.case(format_args!("[{n}, 5, 7] valid {valid}, all dead"), op, Tolerance::EXACT));
    }
    cases
}
