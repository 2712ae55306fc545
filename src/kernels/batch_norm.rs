//! Batch normalisation (Ioffe and Szegedy 2015) of x `[M,C]`, M = N*H*W rows of C channels: y = weight * x^ + bias,
//! where x^ = (x - mean) / sqrt(variance + epsilon). While training, mean and variance are those of the batch's valid
//! examples, and running ones follow them as in PyTorch; evaluation uses the running ones.
//! `shaders/batch_norm.wgsl`.
//!
//! Sums over rows are computed chunk by chunk; a chunk is one of `parts` parts of the rows of `unit` examples.

use super::batch::Header;
use super::op::{unit, word};
use super::{
    Adapter, Args, Cpu,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Texture, Variant, per_example, per_unit, whole,
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
    /// Examples whose rows are divided into parts.
    pub unit: u32,
    pub parts: u32,
    pub epsilon: f32,
    /// The share of the batch in the new running statistics.
    pub momentum: f32,
    pub reserved: u32,
}

/// The least number of rows per chunk; merging fewer would not be worthwhile.
const CHUNK_ROWS: usize = 64;
/// The most parts of a unit, unless a part would have more than [`most_rows`]; with 32 units that is enough independent
/// work for a large GPU.
const MAX_PARTS: usize = 32;

/// The lanes of a workgroup on a GPU, and the most steps of one.
const LANES: usize = 256;
/// The most lanes side by side in a row of a workgroup's tile.
const TILE: usize = 32;

/// The number of tiles for a row of `width` lanes.
fn tiles(width: usize) -> usize {
    width.div_ceil(TILE)
}

/// The most rows of a chunk: 256 for each lane of a workgroup. It has 256 lanes, side by side for up to 32 channels,
/// or up to 32 times 4 channels, for which there are never fewer rows at a time.
fn most_rows(channels: usize) -> usize {
    LANES * (LANES / channels.div_ceil(tiles(channels)))
}

impl Params {
    /// The parameters for `n` examples of `pixels` pixels each. `epsilon` is above 0, `momentum` from 0 to 1.
    pub fn new([n, pixels, channels]: [usize; 3], epsilon: f32, momentum: f32) -> Params {
        assert!(epsilon > 0.0 && (0.0..=1.0).contains(&momentum), "batch_norm: epsilon {epsilon}, momentum {momentum}");
        let rows = unit(n) * pixels;
        let parts = (rows / CHUNK_ROWS).clamp(1, MAX_PARTS).max(rows.div_ceil(most_rows(channels)));
        let [n, pixels, channels, unit, parts] = [n, pixels, channels, unit(n), parts].map(word);
        Params { n, pixels, channels, unit, parts, epsilon, momentum, reserved: 0 }
    }

    /// The number of values of x: M * C.
    pub fn len(&self) -> usize {
        [self.n, self.pixels, self.channels].map(|size| size as usize).iter().product()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of statistics: mean, variance and 1 / sqrt(variance + epsilon) of each channel.
    pub fn statistics_len(&self) -> usize {
        3 * self.channels as usize
    }

    /// The number of running statistics: mean and variance of each channel.
    pub fn running_len(&self) -> usize {
        2 * self.channels as usize
    }

    /// The number of partial sums: two for each chunk and channel.
    pub fn partial_len(&self) -> usize {
        self.chunks() * 2 * self.channels as usize
    }

    fn chunks(&self) -> usize {
        (self.n.div_ceil(self.unit) * self.parts) as usize
    }

    /// The rows of a chunk; the first `valid` belong to examples.
    fn rows(&self, chunk: usize, valid: usize) -> Range<usize> {
        let (all, parts) = ((self.unit * self.pixels) as usize, self.parts as usize);
        let (unit, part, span) = (chunk / parts, chunk % parts, all.div_ceil(parts));
        let first = (part * span).min(all);
        let end = (first + span).min(all);
        (unit * all + first).min(valid)..(unit * all + end).min(valid)
    }
}

const HEADER: Operand = whole("header", U32);
pub(crate) const X: Operand = per_example("x", F32);
/// Mean and squared deviations `[chunks, 2, C]`; zeros in evaluation.
const CHUNK_MOMENTS: Operand = per_unit("moments", F32);
/// `[2, C]`.
const RUNNING_STATISTICS: Operand = whole("running", F32);
/// `[3, C]`.
pub(crate) const STATISTICS: Operand = whole("statistics", F32);
pub(crate) const WEIGHT: Operand = whole("weight", F32);
const BIAS: Operand = whole("bias", F32);
const Y: Operand = per_example("y", F32);
const NEXT_RUNNING: Operand = whole("next_running", F32);
pub(crate) const DY: Operand = per_example("dy", F32);
/// Sums of dy and dy * x^ `[chunks, 2, C]`.
pub(crate) const CHUNK_SUMS: Operand = per_unit("sums", F32);
const DWEIGHT: Operand = whole("dweight", F32);
const DBIAS: Operand = whole("dbias", F32);
const DX: Operand = per_example("dx", F32);

const SCALAR: &str = shader!("prelude/header", "prelude/index", "prelude/lanes1", "buffers/batch_norm", "batch_norm");
const VEC4: &str = shader!("prelude/header", "prelude/index", "prelude/lanes4", "buffers/batch_norm", "batch_norm");
const SCALAR_TEXTURES: &str =
    shader!("prelude/header", "prelude/index", "prelude/lanes1", "prelude/texel", "textures/batch_norm", "batch_norm");
const VEC4_TEXTURES: &str =
    shader!("prelude/header", "prelude/index", "prelude/lanes4", "prelude/texel", "textures/batch_norm", "batch_norm");

pub(super) static FAMILY: Family =
    Family { operations: &[&MOMENTS, &FINISH, &FORWARD, &RUNNING, &SUMS, &BACKWARD_WEIGHT, &BACKWARD_INPUT], cases };

/// Computes mean and squared deviations of every chunk.
pub static MOMENTS: Operation = Operation {
    name: "batch_norm.moments",
    inputs: &[HEADER, X],
    outputs: &[CHUNK_MOMENTS],
    params: size_of::<Params>(),
    reference: Reference::new(moments_reference, moments_reference),
    cpu: Cpu::new(moments_cpu),
    gpu: &[
        &MOMENTS_WALK_VEC4.textured("batch_norm.moments_walk_vec4_textures", VEC4_TEXTURES, &[Texture::vectors(X)]),
        &MOMENTS_WALK_VEC4,
        &MOMENTS_WALK.textured("batch_norm.moments_walk_textures", SCALAR_TEXTURES, &[Texture::scalars(X)]),
        &MOMENTS_WALK,
        &MOMENTS_VEC4,
        &MOMENTS_SCALAR,
    ],
};

const MOMENTS_VEC4: Variant =
    Variant { condition: fits_vec4, ..in_tiles("batch_norm.moments_vec4", VEC4, "moments", |op| launch_tiles(op, 4)) };
const MOMENTS_SCALAR: Variant = in_tiles("batch_norm.moments", SCALAR, "moments", |op| launch_tiles(op, 1));
const MOMENTS_WALK_VEC4: Variant = Variant {
    condition: walks_vec4,
    ..Variant::new("batch_norm.moments_walk_vec4", VEC4, "moments_walk", |op| launch_walks(op, 4))
};
const MOMENTS_WALK: Variant = Variant {
    condition: walks,
    ..Variant::new("batch_norm.moments_walk", SCALAR, "moments_walk", |op| launch_walks(op, 1))
};

/// Computes the statistics that the forward pass uses.
pub static FINISH: Operation = Operation {
    name: "batch_norm.finish",
    inputs: &[HEADER, CHUNK_MOMENTS, RUNNING_STATISTICS],
    outputs: &[STATISTICS],
    params: size_of::<Params>(),
    reference: Reference::new(finish_reference, finish_reference),
    cpu: None,
    gpu: &[
        &Variant {
            condition: walks,
            ..Variant::new("batch_norm.finish_walk", SCALAR, "finish_walk", launch_channel_walks)
        },
        &Variant {
            condition: fits_vec4,
            ..in_tiles("batch_norm.finish_vec4", VEC4, "finish", |op| launch_channels(op, 4))
        },
        &in_tiles("batch_norm.finish", SCALAR, "finish", |op| launch_channels(op, 1)),
    ],
};

/// y from x and these statistics.
pub static FORWARD: Operation = Operation {
    name: "batch_norm.forward",
    inputs: &[X, STATISTICS, WEIGHT, BIAS],
    outputs: &[Y],
    params: size_of::<Params>(),
    reference: Reference::new(forward_reference, forward_reference),
    cpu: Cpu::new(forward_cpu),
    gpu: &[
        &FORWARD_VEC4.textured("batch_norm.forward_vec4_textures", VEC4_TEXTURES, &[Texture::vectors(X)]),
        &FORWARD_VEC4,
        &FORWARD_SCALAR.textured("batch_norm.forward_textures", SCALAR_TEXTURES, &[Texture::scalars(X)]),
        &FORWARD_SCALAR,
    ],
};

const FORWARD_VEC4: Variant = Variant {
    condition: fits_vec4,
    ..Variant::new("batch_norm.forward_vec4", VEC4, "forward", |op| launch_values(op, 4))
};
const FORWARD_SCALAR: Variant = Variant::new("batch_norm.forward", SCALAR, "forward", |op| launch_values(op, 1));

/// Computes the running statistics after a step.
pub static RUNNING: Operation = Operation {
    name: "batch_norm.running",
    inputs: &[HEADER, RUNNING_STATISTICS, STATISTICS],
    outputs: &[NEXT_RUNNING],
    params: size_of::<Params>(),
    reference: Reference::new(running_reference, running_reference),
    cpu: None,
    gpu: &[&Variant::new("batch_norm.running", SCALAR, "running", |op| {
        Launch::linear(op.params::<Params>().running_len(), 64)
    })],
};

/// Computes sums of dy and dy * x^ of every chunk.
pub static SUMS: Operation = Operation {
    name: "batch_norm.sums",
    inputs: &[HEADER, X, DY, STATISTICS],
    outputs: &[CHUNK_SUMS],
    params: size_of::<Params>(),
    reference: Reference::new(sums_reference, sums_reference),
    cpu: Cpu::new(sums_cpu),
    gpu: &[
        &SUMS_WALK_VEC4.textured(
            "batch_norm.sums_walk_vec4_textures",
            VEC4_TEXTURES,
            &[Texture::vectors(X), Texture::vectors(DY)],
        ),
        &SUMS_WALK_VEC4,
        &SUMS_WALK.textured(
            "batch_norm.sums_walk_textures",
            SCALAR_TEXTURES,
            &[Texture::scalars(X), Texture::scalars(DY)],
        ),
        &SUMS_WALK,
        &SUMS_VEC4,
        &SUMS_SCALAR,
    ],
};

const SUMS_VEC4: Variant =
    Variant { condition: fits_vec4, ..in_tiles("batch_norm.sums_vec4", VEC4, "sums", |op| launch_tiles(op, 4)) };
const SUMS_SCALAR: Variant = in_tiles("batch_norm.sums", SCALAR, "sums", |op| launch_tiles(op, 1));
const SUMS_WALK_VEC4: Variant = Variant {
    condition: walks_vec4,
    ..Variant::new("batch_norm.sums_walk_vec4", VEC4, "sums_walk", |op| launch_walks(op, 4))
};
const SUMS_WALK: Variant =
    Variant { condition: walks, ..Variant::new("batch_norm.sums_walk", SCALAR, "sums_walk", |op| launch_walks(op, 1)) };

/// Computes the gradients with respect to weight and bias.
pub static BACKWARD_WEIGHT: Operation = Operation {
    name: "batch_norm.backward_weight",
    inputs: &[CHUNK_SUMS],
    outputs: &[DWEIGHT, DBIAS],
    params: size_of::<Params>(),
    reference: Reference::new(backward_weight_reference, backward_weight_reference),
    cpu: None,
    gpu: &[
        &Variant {
            condition: walks,
            ..Variant::new("batch_norm.backward_weight_walk", SCALAR, "backward_weight_walk", launch_channel_walks)
        },
        &Variant {
            condition: fits_vec4,
            ..in_tiles("batch_norm.backward_weight_vec4", VEC4, "backward_weight", |op| launch_channels(op, 4))
        },
        &in_tiles("batch_norm.backward_weight", SCALAR, "backward_weight", |op| launch_channels(op, 1)),
    ],
};

/// Computes the gradient with respect to x.
pub static BACKWARD_INPUT: Operation = Operation {
    name: "batch_norm.backward_input",
    inputs: &[HEADER, X, DY, STATISTICS, WEIGHT, DWEIGHT, DBIAS],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_input_reference, backward_input_reference),
    cpu: Cpu::new(backward_input_cpu),
    gpu: &[
        &BACKWARD_INPUT_VEC4.textured(
            "batch_norm.backward_input_vec4_textures",
            VEC4_TEXTURES,
            &[Texture::vectors(X), Texture::vectors(DY)],
        ),
        &BACKWARD_INPUT_VEC4,
        &BACKWARD_INPUT_SCALAR.textured(
            "batch_norm.backward_input_textures",
            SCALAR_TEXTURES,
            &[Texture::scalars(X), Texture::scalars(DY)],
        ),
        &BACKWARD_INPUT_SCALAR,
    ],
};

const BACKWARD_INPUT_VEC4: Variant = Variant {
    condition: fits_vec4,
    ..Variant::new("batch_norm.backward_input_vec4", VEC4, "backward_input", |op| launch_values(op, 4))
};
const BACKWARD_INPUT_SCALAR: Variant =
    Variant::new("batch_norm.backward_input", SCALAR, "backward_input", |op| launch_values(op, 1));

fn fits_vec4(op: &Op, _: Adapter) -> bool {
    op.params::<Params>().channels.is_multiple_of(4)
}

/// One invocation per `lanes` values of x.
fn launch_values(op: &Op, lanes: usize) -> Launch {
    Launch::linear(op.params::<Params>().len() / lanes, 64)
}

/// A variant whose workgroups merge 256 lanes by a tree.
const fn in_tiles(name: &'static str, source: &'static str, entry: &'static str, launch: fn(&Op) -> Launch) -> Variant {
    Variant::new(name, source, entry, launch).in_workgroups_of(256)
}

/// One workgroup per tile of every chunk, with `lanes` channels in each of its lanes.
fn launch_tiles(op: &Op, lanes: usize) -> Launch {
    let p: Params = op.params();
    Launch::linear(p.chunks() * tiles(p.channels as usize / lanes), 1)
}

/// One workgroup per `lanes` channels.
fn launch_channels(op: &Op, lanes: usize) -> Launch {
    Launch::linear(op.params::<Params>().channels as usize / lanes, 1)
}

/// One invocation per channel.
fn launch_channel_walks(op: &Op) -> Launch {
    Launch::linear(op.params::<Params>().channels as usize, 64)
}

/// On a software adapter one invocation walks over a whole chunk, or over all chunks, because barriers are slow there.
fn walks(_: &Op, adapter: Adapter) -> bool {
    adapter.software
}

fn walks_vec4(op: &Op, adapter: Adapter) -> bool {
    adapter.software && fits_vec4(op, adapter)
}

/// One invocation per `lanes` channels of every chunk.
fn launch_walks(op: &Op, lanes: usize) -> Launch {
    Launch::linear(op.params::<Params>().partial_len() / 2 / lanes, 64)
}

/// The batch's mean and squared deviations, chunk by chunk.
pub fn moments(p: Params, header: Tensor, x: Tensor, partial: Tensor) -> Op {
    assert_eq!((header.len, x.len), (Header::LEN, p.len()), "batch_norm.moments: header, x");
    assert_eq!(partial.len, p.partial_len(), "batch_norm.moments: sums");
    let op = Op::new(&MOMENTS, p, &[(HEADER, header), (X, x)], &[(CHUNK_MOMENTS, partial)], 4 * x.len);
    op.in_pieces(p.unit as usize)
}

/// The statistics that the forward pass uses: the batch's, or the running ones.
pub fn finish(p: Params, header: Tensor, partial: Tensor, running: Tensor, statistics: Tensor) -> Op {
    assert_eq!((header.len, partial.len), (Header::LEN, p.partial_len()), "batch_norm.finish: header, sums");
    let lengths = (running.len, statistics.len);
    assert_eq!(lengths, (p.running_len(), p.statistics_len()), "batch_norm.finish: running, statistics");
    let inputs = [(HEADER, header), (CHUNK_MOMENTS, partial), (RUNNING_STATISTICS, running)];
    Op::new(&FINISH, p, &inputs, &[(STATISTICS, statistics)], 5 * partial.len)
}

pub fn forward(p: Params, x: Tensor, statistics: Tensor, [weight, bias]: [Tensor; 2], y: Tensor) -> Op {
    let channels = p.channels as usize;
    assert_eq!((x.len, y.len, statistics.len), (p.len(), p.len(), p.statistics_len()), "batch_norm.forward: x, y");
    assert_eq!((weight.len, bias.len), (channels, channels), "batch_norm.forward: weight, bias");
    let inputs = [(X, x), (STATISTICS, statistics), (WEIGHT, weight), (BIAS, bias)];
    Op::new(&FORWARD, p, &inputs, &[(Y, y)], 4 * x.len).in_pieces(1)
}

/// The running statistics after a training step; a batch with one value per channel leaves them unchanged.
pub fn running(p: Params, header: Tensor, before: Tensor, statistics: Tensor, after: Tensor) -> Op {
    let len = p.running_len();
    assert_eq!((header.len, before.len, after.len), (Header::LEN, len, len), "batch_norm.running: header, running");
    assert_eq!(statistics.len, p.statistics_len(), "batch_norm.running: statistics");
    let inputs = [(HEADER, header), (RUNNING_STATISTICS, before), (STATISTICS, statistics)];
    Op::new(&RUNNING, p, &inputs, &[(NEXT_RUNNING, after)], 4 * len)
}

/// The sums that the backward pass needs, chunk by chunk.
pub fn sums(p: Params, header: Tensor, x: Tensor, dy: Tensor, statistics: Tensor, partial: Tensor) -> Op {
    assert_eq!((header.len, x.len, dy.len), (Header::LEN, p.len(), p.len()), "batch_norm.sums: header, x, dy");
    let lengths = (statistics.len, partial.len);
    assert_eq!(lengths, (p.statistics_len(), p.partial_len()), "batch_norm.sums: statistics, sums");
    let inputs = [(HEADER, header), (X, x), (DY, dy), (STATISTICS, statistics)];
    Op::new(&SUMS, p, &inputs, &[(CHUNK_SUMS, partial)], 4 * x.len).in_pieces(p.unit as usize)
}

pub fn backward_weight(p: Params, partial: Tensor, dweight: Tensor, dbias: Tensor) -> Op {
    let channels = p.channels as usize;
    assert_eq!(partial.len, p.partial_len(), "batch_norm.backward_weight: sums");
    assert_eq!((dweight.len, dbias.len), (channels, channels), "batch_norm.backward_weight: dweight, dbias");
    let outputs = [(DWEIGHT, dweight), (DBIAS, dbias)];
    Op::new(&BACKWARD_WEIGHT, p, &[(CHUNK_SUMS, partial)], &outputs, partial.len)
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
    let of_batch = [(HEADER, header), (X, x), (DY, dy), (STATISTICS, statistics)];
    let of_layer = [(WEIGHT, weight), (DWEIGHT, dweight), (DBIAS, dbias)];
    let inputs: Vec<(Operand, Tensor)> = of_batch.into_iter().chain(of_layer).collect();
    Op::new(&BACKWARD_INPUT, p, &inputs, &[(DX, dx)], 8 * len).in_pieces(1)
}

/// The number of rows that belong to valid examples.
fn valid_rows(p: &Params, header: &Header) -> usize {
    header.valid as usize * p.pixels as usize
}

fn moments_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, x, out, channels) = (args.header(HEADER), args.real(X), args.out(CHUNK_MOMENTS), p.channels as usize);
    for chunk in 0..p.chunks() {
        let rows = p.rows(chunk, valid_rows(&p, &header));
        for c in 0..channels {
            let values = || rows.clone().map(|row| x[row * channels + c].get());
            let known = header.training && !rows.is_empty();
            let mean = if known { values().sum::<f64>() / rows.len() as f64 } else { 0.0 };
            let squares = if known { values().map(|v| (v - mean) * (v - mean)).sum() } else { 0.0 };
            out[2 * chunk * channels + c] = S::of(mean);
            out[(2 * chunk + 1) * channels + c] = S::of(squares);
        }
    }
}

/// Two passes over the chunks: the mean, then squared deviations from it.
fn finish_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, partial, running) = (args.header(HEADER), args.real(CHUNK_MOMENTS), args.real(RUNNING_STATISTICS));
    let (out, channels) = (args.out(STATISTICS), p.channels as usize);
    let valid = valid_rows(&p, &header);
    for c in 0..channels {
        let chunk = |chunk: usize| {
            let at = 2 * chunk * channels + c;
            (p.rows(chunk, valid).len() as f64, partial[at].get(), partial[at + channels].get())
        };
        // A chunk beyond the valid examples contributes nothing.
        let chunks = || (0..p.chunks()).map(chunk).filter(|(count, ..)| *count > 0.0);
        let count = chunks().map(|(count, ..)| count).sum::<f64>().max(1.0);
        let mean = chunks().map(|(count, mean, _)| count * mean).sum::<f64>() / count;
        let squares = chunks().map(|(count, own, squares)| squares + count * (own - mean) * (own - mean)).sum::<f64>();
        let (mean, variance) = match header.training {
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
    let (x, statistics, weight, bias) = (args.real(X), args.real(STATISTICS), args.real(WEIGHT), args.real(BIAS));
    let channels = p.channels as usize;
    for (i, y) in args.out(Y).iter_mut().enumerate() {
        let c = i % channels;
        let normal = (x[i].get() - statistics[c].get()) * statistics[2 * channels + c].get();
        *y = S::of(weight[c].get() * normal + bias[c].get());
    }
}

fn running_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, before, statistics) = (args.header(HEADER), args.real(RUNNING_STATISTICS), args.real(STATISTICS));
    let (count, momentum) = (valid_rows(&p, &header) as f64, f64::from(p.momentum));
    for (i, after) in args.out(NEXT_RUNNING).iter_mut().enumerate() {
        // The unbiased variance of a sample divides by M - 1; a single value has none.
        let unbiased = if i >= p.channels as usize { count / (count - 1.0) } else { 1.0 };
        let moved = || before[i].get() + momentum * (statistics[i].get() * unbiased - before[i].get());
        *after = if count > 1.0 { S::of(moved()) } else { before[i] };
    }
}

fn sums_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, x, dy, statistics) = (args.header(HEADER), args.real(X), args.real(DY), args.real(STATISTICS));
    let (out, channels) = (args.out(CHUNK_SUMS), p.channels as usize);
    for chunk in 0..p.chunks() {
        let rows = p.rows(chunk, valid_rows(&p, &header));
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
    let (partial, dweight, dbias, channels) =
        (args.real(CHUNK_SUMS), args.out(DWEIGHT), args.out(DBIAS), p.channels as usize);
    for c in 0..channels {
        let sum = |place: usize| (0..p.chunks()).map(|chunk| partial[(2 * chunk + place) * channels + c].get()).sum();
        dbias[c] = S::of(sum(0));
        dweight[c] = S::of(sum(1));
    }
}

fn backward_input_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (header, x, dy, statistics) = (args.header(HEADER), args.real(X), args.real(DY), args.real(STATISTICS));
    let (weight, dweight, dbias, channels) =
        (args.real(WEIGHT), args.real(DWEIGHT), args.real(DBIAS), p.channels as usize);
    let (valid, learns) = (valid_rows(&p, &header), header.training);
    for (i, dx) in args.out(DX).iter_mut().enumerate() {
        let c = i % channels;
        let inverse = statistics[2 * channels + c].get();
        let normal = (x[i].get() - statistics[c].get()) * inverse;
        // The parts of the gradient through mean and variance; constants have none.
        let through = if learns { (dbias[c].get() + normal * dweight[c].get()) / valid.max(1) as f64 } else { 0.0 };
        let value = weight[c].get() * inverse * (dy[i].get() - through);
        *dx = S::of(if i < valid * channels { value } else { 0.0 });
    }
}

/// The approximate number of values per elementwise task.
const TASK: usize = 16_384;

/// The values of an elementwise task, in whole rows.
fn task(p: &Params) -> usize {
    (TASK / p.channels as usize).max(1) * p.channels as usize
}

fn moments_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (header, x, channels) = (args.header(HEADER), args.real(X), p.channels as usize);
    let valid = if header.training { args.valid(&header) * p.pixels as usize } else { 0 };
    let chunks = args.out(CHUNK_MOMENTS).par_chunks_exact_mut(2 * channels).with_min_len(args.least_items());
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
    let (x, statistics, weight, bias) = (args.real(X), args.real(STATISTICS), args.real(WEIGHT), args.real(BIAS));
    let channels = p.channels as usize;
    let (means, inverses) = (&statistics[..channels], &statistics[2 * channels..]);
    let scale: Vec<f32> = weight.iter().zip(inverses).map(|(weight, inverse)| weight * inverse).collect();
    let tasks = args.out(Y).par_chunks_mut(task(&p)).zip(x.par_chunks(task(&p)));
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
    let (header, x, dy, statistics) = (args.header(HEADER), args.real(X), args.real(DY), args.real(STATISTICS));
    let (valid, channels) = (args.valid(&header) * p.pixels as usize, p.channels as usize);
    let chunks = args.out(CHUNK_SUMS).par_chunks_exact_mut(2 * channels).with_min_len(args.least_items());
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
    let (header, x, dy) = (args.header(HEADER), args.real(X), args.real(DY));
    let channels = p.channels as usize;
    let valid = args.valid(&header) * p.pixels as usize * channels;
    let terms = Terms::of(&p, args);
    let dx = args.out(DX);
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
        let (header, statistics, channels) = (args.header(HEADER), args.real(STATISTICS), p.channels as usize);
        let (weight, dweight, dbias) = (args.real(WEIGHT), args.real(DWEIGHT), args.real(DBIAS));
        let (means, inverses) = (&statistics[..channels], &statistics[2 * channels..]);
        let share = if header.training { 1.0 / valid_rows(p, &header).max(1) as f32 } else { 0.0 };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lane_of_a_gpu_takes_more_than_256_rows_or_chunks() {
        for channels in (1..=300).chain([512, 1000, 1 << 20]) {
            for n in [1, 20, 128, 129, 4096, 65_535] {
                for pixels in [1, 9, 64, 1024, 224 * 224, 1 << 20] {
                    let len = n as u64 * pixels as u64 * channels as u64;
                    if len > 1 << 31 {
                        continue;
                    }
                    let p = Params::new([n, pixels, channels], 1e-3, 0.1);
                    let rows = (p.unit as usize * pixels).div_ceil(p.parts as usize);
                    for lanes in [1, 4].into_iter().filter(|lanes| channels.is_multiple_of(*lanes)) {
                        let width = (channels / lanes).div_ceil(tiles(channels / lanes));
                        let steps = rows.div_ceil(LANES / width);
                        assert!(steps <= 256, "{steps} rows of [{n}, {pixels}, {channels}] by {lanes}");
                    }
                    assert!(p.chunks() <= 256 * 256, "{} chunks of [{n}, {pixels}, {channels}]", p.chunks());
                }
            }
        }
    }
}
