//! Batch normalisation (Ioffe and Szegedy 2015) of x `[M,C]`, M = N*H*W rows of C channels: y = weight * x^ + bias, where
//! x^ = (x - mean) / sqrt(variance + epsilon). While training, mean and variance are those of the batch's valid examples, and
//! running ones follow them as PyTorch's do; in evaluation the running ones stand in. `shaders/batch_norm.wgsl`.
//!
//! Sums over rows are made chunk by chunk: a chunk is one of `parts` parts of the rows of `unit` examples.

use super::batch::Header;
use super::op::{linear, unit, word};
use super::{
    Args,
    Element::{F32, U32},
    Kernel, Op, Reference, Scalar, Tensor, Texture,
};
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::Range;

mod cases;

pub use cases::cases;

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub n: u32,
    /// H * W.
    pub pixels: u32,
    pub channels: u32,
    /// Examples whose rows are cut into parts.
    pub unit: u32,
    pub parts: u32,
    pub epsilon: f32,
    /// The share of the batch in the next running statistics.
    pub momentum: f32,
    pub reserved: u32,
}

/// Rows of a chunk, at least: fewer would not be worth merging.
const CHUNK_ROWS: usize = 64;
/// Parts of a unit, at most: with 32 units that is enough independent work for a large GPU.
const MAX_PARTS: usize = 32;

impl Params {
    /// For `n` examples of `pixels` pixels each. `epsilon` is above 0, `momentum` from 0 to 1.
    pub fn new([n, pixels, channels]: [usize; 3], epsilon: f32, momentum: f32) -> Params {
        assert!(epsilon > 0.0 && (0.0..=1.0).contains(&momentum), "batch_norm: epsilon {epsilon}, momentum {momentum}");
        let parts = (unit(n) * pixels / CHUNK_ROWS).clamp(1, MAX_PARTS);
        let [n, pixels, channels, unit, parts] = [n, pixels, channels, unit(n), parts].map(word);
        Params { n, pixels, channels, unit, parts, epsilon, momentum, reserved: 0 }
    }

    /// Values of x: M * C.
    pub fn len(&self) -> usize {
        [self.n, self.pixels, self.channels].map(|size| size as usize).iter().product()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values of statistics: mean, variance and 1 / sqrt(variance + epsilon) of each channel.
    pub fn statistics_len(&self) -> usize {
        3 * self.channels as usize
    }

    /// Values of running statistics: mean and variance of each channel.
    pub fn running_len(&self) -> usize {
        2 * self.channels as usize
    }

    /// Values of partial sums: two for each chunk and channel.
    pub fn partial_len(&self) -> usize {
        self.chunks() * 2 * self.channels as usize
    }

    fn chunks(&self) -> usize {
        (self.n.div_ceil(self.unit) * self.parts) as usize
    }

    /// The rows of a chunk, of which the first `valid` hold examples.
    fn rows(&self, chunk: usize, valid: usize) -> Range<usize> {
        let (all, parts) = ((self.unit * self.pixels) as usize, self.parts as usize);
        let (unit, part, span) = (chunk / parts, chunk % parts, all.div_ceil(parts));
        let first = (part * span).min(all);
        let end = (first + span).min(all);
        (unit * all + first).min(valid)..(unit * all + end).min(valid)
    }

    fn workgroups(&self, invocations: usize) -> [u32; 3] {
        linear(invocations / self.vector(), 64)
    }

    /// Channels that an invocation of the `_vec4` kernels takes.
    fn vector(&self) -> usize {
        if self.channels.is_multiple_of(4) { 4 } else { 1 }
    }

    fn choose(&self, vector: &'static Kernel, scalar: &'static Kernel) -> &'static Kernel {
        if self.vector() == 4 { vector } else { scalar }
    }
}

const fn kernel(name: &'static str, entry: &'static str, reference: Reference) -> Kernel {
    Kernel {
        name,
        source: include_str!("../../shaders/batch_norm.wgsl"),
        entry,
        inputs: &[],
        outputs: &[F32],
        textures: &[],
        params: size_of::<Params>(),
        workgroup: 64,
        reference,
        cpu: None,
    }
}

/// Inputs: header, x. Outputs: mean and squared deviations `[chunks, 2, C]`; zeros in evaluation.
pub static MOMENTS: Kernel = Kernel {
    inputs: &[U32, F32],
    cpu: Some(moments_cpu),
    ..kernel("batch_norm.moments", "moments", Reference { single: moments_reference, double: moments_reference })
};

/// The same, four channels an invocation; for channels that are a multiple of 4.
pub static MOMENTS_VEC4: Kernel = Kernel {
    name: "batch_norm.moments_vec4",
    entry: "moments_vec4",
    textures: &[Texture::vectors(1)],
    inputs: &[U32, F32],
    cpu: Some(moments_cpu),
    ..kernel("", "", Reference { single: moments_reference, double: moments_reference })
};

/// Inputs: header, moments, running. Outputs: statistics `[3, C]`.
pub static FINISH: Kernel = Kernel {
    inputs: &[U32, F32, F32],
    ..kernel("batch_norm.finish", "finish", Reference { single: finish_reference, double: finish_reference })
};

const FORWARD_SIGNATURE: Kernel = Kernel {
    inputs: &[F32, F32, F32, F32],
    cpu: Some(forward_cpu),
    ..kernel("batch_norm.forward", "forward", Reference { single: forward_reference, double: forward_reference })
};

/// Inputs: x, statistics, weight, bias. Outputs: y.
pub static FORWARD: Kernel = FORWARD_SIGNATURE;

/// The same, four channels an invocation; for channels that are a multiple of 4.
pub static FORWARD_VEC4: Kernel = Kernel {
    name: "batch_norm.forward_vec4",
    entry: "forward_vec4",
    textures: &[Texture::vectors(0)],
    ..FORWARD_SIGNATURE
};

/// Inputs: header, running, statistics. Outputs: running'.
pub static RUNNING: Kernel = Kernel {
    inputs: &[U32, F32, F32],
    ..kernel("batch_norm.running", "running", Reference { single: running_reference, double: running_reference })
};

const SUMS_SIGNATURE: Kernel = Kernel {
    inputs: &[U32, F32, F32, F32],
    cpu: Some(sums_cpu),
    ..kernel("batch_norm.sums", "sums", Reference { single: sums_reference, double: sums_reference })
};

/// Inputs: header, x, dy, statistics. Outputs: sums of dy and dy * x^ `[chunks, 2, C]`.
pub static SUMS: Kernel = SUMS_SIGNATURE;

/// The same, four channels an invocation; for channels that are a multiple of 4.
pub static SUMS_VEC4: Kernel = Kernel {
    name: "batch_norm.sums_vec4",
    entry: "sums_vec4",
    textures: &[Texture::vectors(1), Texture::vectors(2)],
    ..SUMS_SIGNATURE
};

/// Inputs: sums. Outputs: dweight, dbias.
pub static BACKWARD_WEIGHT: Kernel = Kernel {
    inputs: &[F32],
    outputs: &[F32, F32],
    ..kernel(
        "batch_norm.backward_weight",
        "backward_weight",
        Reference { single: backward_weight_reference, double: backward_weight_reference },
    )
};

const BACKWARD_INPUT_SIGNATURE: Kernel = Kernel {
    inputs: &[U32, F32, F32, F32, F32, F32, F32],
    cpu: Some(backward_input_cpu),
    ..kernel(
        "batch_norm.backward_input",
        "backward_input",
        Reference { single: backward_input_reference, double: backward_input_reference },
    )
};

/// Inputs: header, x, dy, statistics, weight, dweight, dbias. Outputs: dx.
pub static BACKWARD_INPUT: Kernel = BACKWARD_INPUT_SIGNATURE;

/// The same, four channels an invocation; for channels that are a multiple of 4.
pub static BACKWARD_INPUT_VEC4: Kernel = Kernel {
    name: "batch_norm.backward_input_vec4",
    entry: "backward_input_vec4",
    textures: &[Texture::vectors(1), Texture::vectors(2)],
    ..BACKWARD_INPUT_SIGNATURE
};

/// The batch's mean and squared deviations, chunk by chunk.
pub fn moments(p: Params, header: Tensor, x: Tensor, partial: Tensor) -> Op {
    assert_eq!((header.len, x.len), (Header::LEN, p.len()), "batch_norm.moments: header, x");
    assert_eq!(partial.len, p.partial_len(), "batch_norm.moments: sums");
    let kernel = p.choose(&MOMENTS_VEC4, &MOMENTS);
    let op = Op::new(kernel, p, &[header, x], &[partial], p.workgroups(partial.len / 2), 4 * x.len);
    op.in_pieces(&[0], p.unit as usize).summing()
}

/// The statistics that the forward pass takes: the batch's, or the running ones.
pub fn finish(p: Params, header: Tensor, partial: Tensor, running: Tensor, statistics: Tensor) -> Op {
    assert_eq!((header.len, partial.len), (Header::LEN, p.partial_len()), "batch_norm.finish: header, sums");
    let lengths = (running.len, statistics.len);
    assert_eq!(lengths, (p.running_len(), p.statistics_len()), "batch_norm.finish: running, statistics");
    let inputs = [header, partial, running];
    Op::new(&FINISH, p, &inputs, &[statistics], linear(p.channels as usize, 1), 5 * partial.len)
}

pub fn forward(p: Params, x: Tensor, statistics: Tensor, [weight, bias]: [Tensor; 2], y: Tensor) -> Op {
    let channels = p.channels as usize;
    assert_eq!((x.len, y.len, statistics.len), (p.len(), p.len(), p.statistics_len()), "batch_norm.forward: x, y");
    assert_eq!((weight.len, bias.len), (channels, channels), "batch_norm.forward: weight, bias");
    let kernel = p.choose(&FORWARD_VEC4, &FORWARD);
    let inputs = [x, statistics, weight, bias];
    Op::new(kernel, p, &inputs, &[y], p.workgroups(x.len), 4 * x.len).in_pieces(&[1, 2, 3], 1)
}

/// What the running statistics are after a training step; a batch of one value a channel leaves them as they are.
pub fn running(p: Params, header: Tensor, before: Tensor, statistics: Tensor, after: Tensor) -> Op {
    let len = p.running_len();
    assert_eq!((header.len, before.len, after.len), (Header::LEN, len, len), "batch_norm.running: header, running");
    assert_eq!(statistics.len, p.statistics_len(), "batch_norm.running: statistics");
    Op::new(&RUNNING, p, &[header, before, statistics], &[after], linear(len, 64), 4 * len)
}

/// The sums that the backward pass needs, chunk by chunk.
pub fn sums(p: Params, header: Tensor, x: Tensor, dy: Tensor, statistics: Tensor, partial: Tensor) -> Op {
    assert_eq!((header.len, x.len, dy.len), (Header::LEN, p.len(), p.len()), "batch_norm.sums: header, x, dy");
    let lengths = (statistics.len, partial.len);
    assert_eq!(lengths, (p.statistics_len(), p.partial_len()), "batch_norm.sums: statistics, sums");
    let kernel = p.choose(&SUMS_VEC4, &SUMS);
    let inputs = [header, x, dy, statistics];
    let op = Op::new(kernel, p, &inputs, &[partial], p.workgroups(partial.len / 2), 4 * x.len);
    op.in_pieces(&[0, 3], p.unit as usize).summing()
}

pub fn backward_weight(p: Params, partial: Tensor, dweight: Tensor, dbias: Tensor) -> Op {
    let channels = p.channels as usize;
    assert_eq!(partial.len, p.partial_len(), "batch_norm.backward_weight: sums");
    assert_eq!((dweight.len, dbias.len), (channels, channels), "batch_norm.backward_weight: dweight, dbias");
    Op::new(&BACKWARD_WEIGHT, p, &[partial], &[dweight, dbias], linear(channels, 1), partial.len)
}

/// `gradients` are dweight and dbias.
#[allow(clippy::too_many_arguments)]
pub fn backward_input(
    p: Params,
    header: Tensor,
    x: Tensor,
    dy: Tensor,
    statistics: Tensor,
    weight: Tensor,
    gradients: [Tensor; 2],
    dx: Tensor,
) -> Op {
    let (len, channels) = (p.len(), p.channels as usize);
    assert_eq!((header.len, statistics.len), (Header::LEN, p.statistics_len()), "batch_norm.backward_input: header");
    assert_eq!((x.len, dy.len, dx.len), (len, len, len), "batch_norm.backward_input: x, dy, dx");
    let [dweight, dbias] = gradients;
    assert_eq!([weight, dweight, dbias].map(|t| t.len), [channels; 3], "batch_norm.backward_input: weight, gradients");
    let kernel = p.choose(&BACKWARD_INPUT_VEC4, &BACKWARD_INPUT);
    let inputs = [header, x, dy, statistics, weight, dweight, dbias];
    let op = Op::new(kernel, p, &inputs, &[dx], p.workgroups(len), 8 * len);
    op.in_pieces(&[0, 3, 4, 5, 6], 1)
}

/// Whether this step learns.
fn training(header: &[u32]) -> bool {
    header[3] != 0
}

/// How many of all rows hold valid examples.
fn valid_rows(p: &Params, header: &[u32]) -> usize {
    header[1] as usize * p.pixels as usize
}

fn moments_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, x, out, channels) = (args.words(0), args.real(1), args.out(0), p.channels as usize);
    for chunk in 0..p.chunks() {
        let rows = p.rows(chunk, valid_rows(&p, header));
        for c in 0..channels {
            let values = || rows.clone().map(|row| x[row * channels + c].get());
            let known = training(header) && !rows.is_empty();
            let mean = if known { values().sum::<f64>() / rows.len() as f64 } else { 0.0 };
            let squares = if known { values().map(|v| (v - mean) * (v - mean)).sum() } else { 0.0 };
            out[2 * chunk * channels + c] = S::of(mean);
            out[(2 * chunk + 1) * channels + c] = S::of(squares);
        }
    }
}

/// By two passes over the chunks: mean, then squared deviations from it.
fn finish_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, partial, running) = (args.words(0), args.real(1), args.real(2));
    let (out, channels) = (args.out(0), p.channels as usize);
    let valid = valid_rows(&p, header);
    for c in 0..channels {
        let chunk = |chunk: usize| {
            let at = 2 * chunk * channels + c;
            (p.rows(chunk, valid).len() as f64, partial[at].get(), partial[at + channels].get())
        };
        // A chunk beyond the valid examples has nothing to say.
        let chunks = || (0..p.chunks()).map(chunk).filter(|(count, ..)| *count > 0.0);
        let count = chunks().map(|(count, ..)| count).sum::<f64>().max(1.0);
        let mean = chunks().map(|(count, mean, _)| count * mean).sum::<f64>() / count;
        let squares = chunks().map(|(count, own, squares)| squares + count * (own - mean) * (own - mean)).sum::<f64>();
        let (mean, variance) = match training(header) {
            true => (mean, squares / count),
            false => (running[c].get(), running[channels + c].get()),
        };
        out[c] = S::of(mean);
        out[channels + c] = S::of(variance);
        out[2 * channels + c] = S::of(1.0 / (variance + f64::from(p.epsilon)).sqrt());
    }
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (x, statistics, weight, bias) = (args.real(0), args.real(1), args.real(2), args.real(3));
    let channels = p.channels as usize;
    for (i, y) in args.out(0).iter_mut().enumerate() {
        let c = i % channels;
        let normal = (x[i].get() - statistics[c].get()) * statistics[2 * channels + c].get();
        *y = S::of(weight[c].get() * normal + bias[c].get());
    }
}

fn running_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, before, statistics) = (args.words(0), args.real(1), args.real(2));
    let (count, momentum) = (valid_rows(&p, header) as f64, f64::from(p.momentum));
    for (i, after) in args.out(0).iter_mut().enumerate() {
        // The sample's variance estimates that of what it was drawn from by dividing by M - 1; of one value there is none.
        let unbiased = if i >= p.channels as usize { count / (count - 1.0) } else { 1.0 };
        let moved = || before[i].get() + momentum * (statistics[i].get() * unbiased - before[i].get());
        *after = if count > 1.0 { S::of(moved()) } else { before[i] };
    }
}

fn sums_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, x, dy, statistics) = (args.words(0), args.real(1), args.real(2), args.real(3));
    let (out, channels) = (args.out(0), p.channels as usize);
    for chunk in 0..p.chunks() {
        let rows = p.rows(chunk, valid_rows(&p, header));
        for c in 0..channels {
            let (mean, inverse) = (statistics[c].get(), statistics[2 * channels + c].get());
            let at = |row: usize| row * channels + c;
            let scaled = |row: usize| dy[at(row)].get() * (x[at(row)].get() - mean) * inverse;
            out[2 * chunk * channels + c] = S::of(rows.clone().map(|row| dy[at(row)].get()).sum());
            out[(2 * chunk + 1) * channels + c] = S::of(rows.clone().map(scaled).sum());
        }
    }
}

fn backward_weight_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (partial, dweight, dbias, channels) = (args.real(0), args.out(0), args.out(1), p.channels as usize);
    for c in 0..channels {
        let sum = |place: usize| (0..p.chunks()).map(|chunk| partial[(2 * chunk + place) * channels + c].get()).sum();
        dbias[c] = S::of(sum(0));
        dweight[c] = S::of(sum(1));
    }
}

fn backward_input_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, x, dy, statistics) = (args.words(0), args.real(1), args.real(2), args.real(3));
    let (weight, dweight, dbias, channels) = (args.real(4), args.real(5), args.real(6), p.channels as usize);
    let (valid, learns) = (valid_rows(&p, header), training(header));
    for (i, dx) in args.out(0).iter_mut().enumerate() {
        let c = i % channels;
        let inverse = statistics[2 * channels + c].get();
        let normal = (x[i].get() - statistics[c].get()) * inverse;
        // What mean and variance take of the gradient; constants take none.
        let through = if learns { (dbias[c].get() + normal * dweight[c].get()) / valid.max(1) as f64 } else { 0.0 };
        let value = weight[c].get() * inverse * (dy[i].get() - through);
        *dx = S::of(if i < valid * channels { value } else { 0.0 });
    }
}

/// Values of an elementwise task, about.
const TASK: usize = 16_384;

/// An elementwise task's values: whole rows.
fn task(p: &Params) -> usize {
    (TASK / p.channels as usize).max(1) * p.channels as usize
}

fn moments_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (header, x, channels) = (args.words(0), args.real(1), p.channels as usize);
    let valid = if training(header) { args.valid(header) * p.pixels as usize } else { 0 };
    let chunks = args.out(0).par_chunks_exact_mut(2 * channels).with_min_len(args.least_items());
    chunks.enumerate().for_each(|(chunk, out)| {
        let rows = p.rows(chunk, valid);
        let (mean, squares) = out.split_at_mut(channels);
        spread(&x[rows.start * channels..rows.end * channels], mean, squares);
    });
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma"))]
fn spread(rows: &[f32], mean: &mut [f32], squares: &mut [f32]) {
    let channels = mean.len();
    let count = (rows.len() / channels).max(1) as f32;
    mean.fill(0.0);
    squares.fill(0.0);
    for row in rows.chunks_exact(channels) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
    }
    mean.iter_mut().for_each(|mean| *mean /= count);
    for row in rows.chunks_exact(channels) {
        for ((square, mean), x) in squares.iter_mut().zip(&*mean).zip(row) {
            *square += (x - mean) * (x - mean);
        }
    }
}

fn forward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (x, statistics, weight, bias) = (args.real(0), args.real(1), args.real(2), args.real(3));
    let channels = p.channels as usize;
    let (means, inverses) = (&statistics[..channels], &statistics[2 * channels..]);
    let scale: Vec<f32> = weight.iter().zip(inverses).map(|(weight, inverse)| weight * inverse).collect();
    let tasks = args.out(0).par_chunks_mut(task(&p)).zip(x.par_chunks(task(&p)));
    tasks.with_min_len(args.least_items()).for_each(|(y, x)| normalise(x, means, &scale, bias, y));
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma"))]
fn normalise(x: &[f32], means: &[f32], scale: &[f32], bias: &[f32], y: &mut [f32]) {
    let channels = means.len();
    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        for ((((y, x), mean), scale), bias) in y.iter_mut().zip(x).zip(means).zip(scale).zip(bias) {
            *y = (x - mean) * scale + bias;
        }
    }
}

fn sums_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (header, x, dy, statistics) = (args.words(0), args.real(1), args.real(2), args.real(3));
    let (valid, channels) = (args.valid(header) * p.pixels as usize, p.channels as usize);
    let chunks = args.out(0).par_chunks_exact_mut(2 * channels).with_min_len(args.least_items());
    chunks.enumerate().for_each(|(chunk, out)| {
        let rows = p.rows(chunk, valid);
        let rows = rows.start * channels..rows.end * channels;
        let (plain, scaled) = out.split_at_mut(channels);
        add_up(&x[rows.clone()], &dy[rows], statistics, plain, scaled);
    });
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma"))]
fn add_up(x: &[f32], dy: &[f32], statistics: &[f32], plain: &mut [f32], scaled: &mut [f32]) {
    let channels = plain.len();
    let (means, inverses) = (&statistics[..channels], &statistics[2 * channels..]);
    plain.fill(0.0);
    scaled.fill(0.0);
    for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
        for ((((plain, scaled), mean), x), dy) in plain.iter_mut().zip(&mut *scaled).zip(means).zip(x).zip(dy) {
            *plain += dy;
            *scaled += dy * (x - mean);
        }
    }
    scaled.iter_mut().zip(inverses).for_each(|(scaled, inverse)| *scaled *= inverse);
}

fn backward_input_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (header, x, dy) = (args.words(0), args.real(1), args.real(2));
    let channels = p.channels as usize;
    let valid = args.valid(header) * p.pixels as usize * channels;
    let terms = Terms::of(&p, args);
    let dx = args.out(0);
    let (learned, masked) = dx.split_at_mut(valid);
    masked.fill(0.0);
    let inputs = x.par_chunks(task(&p)).zip(dy.par_chunks(task(&p)));
    let tasks = learned.par_chunks_mut(task(&p)).zip(inputs).with_min_len(args.least_items());
    tasks.for_each(|(dx, (x, dy))| terms.apply(x, dy, dx));
}

/// dx = scale * dy - shift - slope * (x - mean), channel by channel.
struct Terms<'a> {
    means: &'a [f32],
    scale: Vec<f32>,
    shift: Vec<f32>,
    slope: Vec<f32>,
}

impl<'a> Terms<'a> {
    fn of(p: &Params, args: &Args<'a, f32>) -> Terms<'a> {
        let (header, statistics, channels) = (args.words(0), args.real(3), p.channels as usize);
        let (weight, dweight, dbias) = (args.real(4), args.real(5), args.real(6));
        let (means, inverses) = (&statistics[..channels], &statistics[2 * channels..]);
        let share = if training(header) { 1.0 / valid_rows(p, header).max(1) as f32 } else { 0.0 };
        let scale: Vec<f32> = weight.iter().zip(inverses).map(|(weight, inverse)| weight * inverse).collect();
        let shift = scale.iter().zip(dbias).map(|(scale, dbias)| scale * dbias * share).collect();
        let slopes = scale.iter().zip(dweight).zip(inverses);
        let slope = slopes.map(|((scale, dweight), inverse)| scale * dweight * inverse * share).collect();
        Terms { means, scale, shift, slope }
    }

    fn apply(&self, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        spread_back([x, dy], [self.means, &self.scale, &self.shift, &self.slope], dx);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma"))]
fn spread_back([x, dy]: [&[f32]; 2], [means, scale, shift, slope]: [&[f32]; 4], dx: &mut [f32]) {
    let channels = means.len();
    let rows = dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).zip(dy.chunks_exact(channels));
    for ((dx, x), dy) in rows {
        for (c, dx) in dx.iter_mut().enumerate() {
            *dx = scale[c] * dy[c] - shift[c] - slope[c] * (x[c] - means[c]);
        }
    }
}
