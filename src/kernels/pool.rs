//! Max-pooling, NHWC: x `[N,H,W,C]` -> y `[N,OH,OW,C]` and the winner's place iy*W+ix; `shaders/pool.wgsl`.
//! Padding is skipped, the first maximum in row-major order wins (PyTorch's rule), and a NaN beats every number.
//!
//! With `relu`, x is the input of a ReLU before the pooling: y is the pooling of max(x, 0), and the gradient is that of
//! x. A winner to which the ReLU passes no gradient is marked with [`BLOCKED`]; a backward pass without `relu` ignores
//! the mark.

use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::{
    Adapter, Args, Case, Cpu,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Texture, Variant, per_example,
};
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::Range;

/// The shape of one pooling: output size floor((in + 2*pad - k)/stride) + 1 in each direction.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub n: u32,
    pub h: u32,
    pub w: u32,
    pub c: u32,
    pub oh: u32,
    pub ow: u32,
    pub kh: u32,
    pub kw: u32,
    pub stride: [u32; 2],
    pub pad: [u32; 2],
    /// 1 if a ReLU before the pooling is computed with it.
    pub relu: u32,
    pub reserved: [u32; 3],
}

/// The mark of a winner to which the ReLU before the pooling passes no gradient.
pub const BLOCKED: u32 = 1 << 31;

impl Params {
    /// `input` is `[N,H,W,C]`; `kernel`, `stride`, `pad` are `[vertical, horizontal]`.
    pub fn new(input: [usize; 4], kernel: [usize; 2], stride: [usize; 2], pad: [usize; 2]) -> Params {
        let [n, h, w, c] = input.map(word);
        let out = |i: usize| (input[1 + i] + 2 * pad[i] - kernel[i]) / stride[i] + 1;
        let (oh, ow) = (word(out(0)), word(out(1)));
        let [kh, kw] = kernel.map(word);
        assert!(pad[0] < kernel[0] && pad[1] < kernel[1], "pad {pad:?} must be smaller than the window {kernel:?}");
        let (stride, pad) = (stride.map(word), pad.map(word));
        Params { n, h, w, c, oh, ow, kh, kw, stride, pad, relu: 0, reserved: [0; 3] }
    }

    /// The same shape with the ReLU before the pooling.
    pub fn with_relu(self) -> Params {
        Params { relu: 1, ..self }
    }

    /// Which bits of a winner name its place, and no other winner than with these bits gets a gradient.
    fn place_bits(&self) -> u32 {
        if self.relu == 1 { u32::MAX } else { !BLOCKED }
    }

    /// One invocation per `channels` channels of every output pixel.
    pub(super) fn launch_outputs(&self, channels: u32) -> Launch {
        self.launch(self.oh * self.ow, channels)
    }

    /// One invocation per `channels` channels of every input pixel.
    pub(super) fn launch_inputs(&self, channels: u32) -> Launch {
        self.launch(self.h * self.w, channels)
    }

    fn launch(&self, pixels: u32, channels: u32) -> Launch {
        Launch::linear(self.n as usize * pixels as usize * self.c.div_ceil(channels) as usize, 64)
    }

    pub(super) fn input_len(&self) -> usize {
        self.n as usize * self.example_in()
    }

    pub(super) fn output_len(&self) -> usize {
        self.n as usize * self.example_out()
    }

    pub(super) fn example_in(&self) -> usize {
        self.h as usize * self.w as usize * self.c as usize
    }

    pub(super) fn example_out(&self) -> usize {
        self.oh as usize * self.ow as usize * self.c as usize
    }

    /// The rows of the image that output row `oy` reads, without padding.
    pub(super) fn rows(&self, oy: usize) -> Range<usize> {
        clip(oy, self.stride[0], self.pad[0], self.kh, self.h)
    }

    pub(super) fn columns(&self, ox: usize) -> Range<usize> {
        clip(ox, self.stride[1], self.pad[1], self.kw, self.w)
    }
}

fn clip(o: usize, stride: u32, pad: u32, k: u32, size: u32) -> Range<usize> {
    let first = o * stride as usize;
    first.saturating_sub(pad as usize)..(first + k as usize - pad as usize).min(size as usize)
}

const SCALAR: &str = shader!("prelude/index", "prelude/lanes1", "buffers/pool", "pool");
const VEC4: &str = shader!("prelude/index", "prelude/lanes4", "buffers/pool", "pool");
const SCALAR_TEXTURES: &str = shader!("prelude/index", "prelude/lanes1", "prelude/texel", "textures/pool", "pool");
const VEC4_TEXTURES: &str = shader!("prelude/index", "prelude/lanes4", "prelude/texel", "textures/pool", "pool");

const X: Operand = per_example("x", F32);
const Y: Operand = per_example("y", F32);
const WINNER: Operand = per_example("winner", U32);
const DY: Operand = per_example("dy", F32);
const DX: Operand = per_example("dx", F32);

pub(super) static FAMILY: Family = Family { operations: &[&FORWARD, &BACKWARD], cases };

/// The largest value of each window, and its place.
pub static FORWARD: Operation = Operation {
    name: "pool.forward",
    inputs: &[X],
    outputs: &[Y, WINNER],
    params: size_of::<Params>(),
    reference: Reference::new(forward_reference, forward_reference),
    cpu: Cpu::new(forward_cpu),
    gpu: &[
        &FORWARD_VEC4.textured("pool.forward_vec4_textures", VEC4_TEXTURES, &[Texture::vectors(X)]),
        &FORWARD_VEC4,
        &FORWARD_SCALAR.textured("pool.forward_textures", SCALAR_TEXTURES, &[Texture::scalars(X)]),
        &FORWARD_SCALAR,
    ],
};

const FORWARD_VEC4: Variant = Variant {
    condition: fits_vec4,
    ..Variant::new("pool.forward_vec4", VEC4, "forward", |op| op.params::<Params>().launch_outputs(4))
};
const FORWARD_SCALAR: Variant =
    Variant::new("pool.forward", SCALAR, "forward", |op| op.params::<Params>().launch_outputs(1));

/// Computes, for each element, the sum of the gradients of the windows that it won.
pub static BACKWARD: Operation = Operation {
    name: "pool.backward",
    inputs: &[DY, WINNER],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_reference, backward_reference),
    cpu: Cpu::new(backward_cpu),
    gpu: &[
        &BACKWARD_VEC4.textured(
            "pool.backward_vec4_textures",
            VEC4_TEXTURES,
            &[Texture::vectors(DY), Texture::vectors(WINNER)],
        ),
        &BACKWARD_VEC4,
        &BACKWARD_SCALAR.textured(
            "pool.backward_textures",
            SCALAR_TEXTURES,
            &[Texture::scalars(DY), Texture::scalars(WINNER)],
        ),
        &BACKWARD_SCALAR,
    ],
};

const BACKWARD_VEC4: Variant = Variant {
    condition: fits_vec4,
    ..Variant::new("pool.backward_vec4", VEC4, "backward", |op| op.params::<Params>().launch_inputs(4))
};
const BACKWARD_SCALAR: Variant =
    Variant::new("pool.backward", SCALAR, "backward", |op| op.params::<Params>().launch_inputs(1));

fn fits_vec4(op: &Op, _: Adapter) -> bool {
    op.params::<Params>().c.is_multiple_of(4)
}

pub fn forward(p: Params, x: Tensor, y: Tensor, winner: Tensor) -> Op {
    assert_eq!(x.len, p.input_len(), "pool.forward: x of {p:?}");
    assert_eq!((y.len, winner.len), (p.output_len(), p.output_len()), "pool.forward: y, winner of {p:?}");
    let flops = y.len as u64 * u64::from(p.kh) * u64::from(p.kw) + x.len as u64 * u64::from(p.relu);
    Op::new(&FORWARD, p, &[(X, x)], &[(Y, y), (WINNER, winner)], flops).in_pieces(1)
}

pub fn backward(p: Params, dy: Tensor, winner: Tensor, dx: Tensor) -> Op {
    assert_eq!(dx.len, p.input_len(), "pool.backward: dx of {p:?}");
    assert_eq!((dy.len, winner.len), (p.output_len(), p.output_len()), "pool.backward: dy, winner of {p:?}");
    let flops = dy.len + dx.len * p.relu as usize;
    Op::new(&BACKWARD, p, &[(DY, dy), (WINNER, winner)], &[(DX, dx)], flops).in_pieces(1)
}

pub(super) fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (x, y, winner) = (args.real(X), args.out(Y), args.out_words(WINNER));
    let (w, c) = (p.w as usize, p.c as usize);
    let mut at = 0;
    for n in 0..p.n as usize {
        for oy in 0..p.oh as usize {
            for ox in 0..p.ow as usize {
                for channel in 0..c {
                    let mut best: Option<(f64, usize)> = None;
                    for iy in p.rows(oy) {
                        for ix in p.columns(ox) {
                            let v = x[n * p.example_in() + (iy * w + ix) * c + channel].get();
                            let wins = best.is_none_or(|(b, _)| v > b || (v.is_nan() && !b.is_nan()));
                            if wins {
                                best = Some((v, iy * w + ix));
                            }
                        }
                    }
                    let (value, place) = best.expect("a window holds at least one real element");
                    let (value, place) =
                        if p.relu == 1 { rectified(&p, oy, ox, value, place) } else { (value, place as u32) };
                    y[at] = S::of(value);
                    winner[at] = place;
                    at += 1;
                }
            }
        }
    }
}

/// A window's largest value and its place after a ReLU; if all are zero, the first one wins.
fn rectified(p: &Params, oy: usize, ox: usize, value: f64, place: usize) -> (f64, u32) {
    let first = p.rows(oy).start * p.w as usize + p.columns(ox).start;
    if value > 0.0 {
        (value, place as u32)
    } else if value <= 0.0 {
        (0.0, first as u32 | BLOCKED)
    } else {
        (value, place as u32 | BLOCKED)
    }
}

pub(super) fn backward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (dy, winner, dx) = (args.real(DY), args.words(WINNER), args.out(DX));
    let c = p.c as usize;
    let mut sums = vec![0.0; dx.len()];
    for (o, (dy, winner)) in dy.iter().zip(winner).enumerate() {
        let (n, place) = (o / p.example_out(), winner & p.place_bits());
        if place & BLOCKED == 0 {
            sums[n * p.example_in() + place as usize * c + o % c] += dy.get();
        }
    }
    for (dx, sum) in dx.iter_mut().zip(sums) {
        *dx = S::of(sum);
    }
}

/// All bits set, or none.
fn mask(bits: bool) -> u32 {
    0u32.wrapping_sub(u32::from(bits))
}

/// One example per task; the innermost loop runs over channels, which are adjacent.
fn forward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (x, y, winner) = (args.real(X), args.out(Y), args.out_words(WINNER));
    let outputs = y.par_chunks_mut(p.example_out()).zip(winner.par_chunks_mut(p.example_out()));
    let examples = outputs.zip(x.par_chunks(p.example_in())).with_min_len(args.least_items());
    examples.for_each(|((y, winner), x)| forward_example(&p, x, y, winner));
}

/// Channels that are processed together in a window.
const LANES: usize = 8;

#[multiversion(targets("x86_64+avx2+fma"))]
fn forward_example(p: &Params, x: &[f32], y: &mut [f32], winner: &mut [u32]) {
    let (c, row) = (p.c as usize, (p.ow * p.c) as usize);
    for (oy, (y, winner)) in y.chunks_exact_mut(row).zip(winner.chunks_exact_mut(row)).enumerate() {
        let rows = p.rows(oy);
        for (ox, (y, winner)) in y.chunks_exact_mut(c).zip(winner.chunks_exact_mut(c)).enumerate() {
            let window = Window { rows: rows.clone(), columns: p.columns(ox) };
            let (y, y_rest) = y.as_chunks_mut();
            let (winner, winner_rest) = winner.as_chunks_mut();
            let whole = y.len() * LANES;
            for (i, (y, winner)) in y.iter_mut().zip(winner).enumerate() {
                forward_window::<LANES>(p, x, i * LANES, &window, y, winner);
            }
            let rest = y_rest.as_chunks_mut().0.iter_mut().zip(winner_rest.as_chunks_mut().0);
            for (i, (y, winner)) in rest.enumerate() {
                forward_window::<1>(p, x, whole + i, &window, y, winner);
            }
        }
    }
}

/// The rows and columns of the image that an output reads.
struct Window {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// L channels of one window, from `channel` on. Uses bit masks, because branches would be mispredicted and prevent
/// vectorisation.
#[inline(always)]
fn forward_window<const L: usize>(
    p: &Params,
    x: &[f32],
    channel: usize,
    window: &Window,
    y: &mut [f32; L],
    winner: &mut [u32; L],
) {
    let (w, c) = (p.w as usize, p.c as usize);
    let first = window.rows.start * w + window.columns.start;
    let start: &[f32; L] = x[first * c + channel..].first_chunk().expect("a window lies in the image");
    let (mut best, mut places) = (*start, [first as u32; L]);
    for iy in window.rows.clone() {
        let place = iy * w + window.columns.start;
        // One check per row of the window.
        let row = &x[place * c + channel..][..(window.columns.len() - 1) * c + L];
        for (ix, x) in row.chunks(c).enumerate() {
            let x: &[f32; L] = x.first_chunk().expect("as long as cut");
            let place = (place + ix) as u32;
            for i in 0..L {
                let wins = mask((x[i] > best[i]) | (x[i].is_nan() & !best[i].is_nan()));
                best[i] = f32::from_bits(x[i].to_bits() & wins | best[i].to_bits() & !wins);
                places[i] = place & wins | places[i] & !wins;
            }
        }
    }
    if p.relu == 1 {
        for i in 0..L {
            let (zero, passes) = (mask(best[i] <= 0.0), mask(best[i] > 0.0));
            best[i] = f32::from_bits(best[i].to_bits() & !zero);
            places[i] = first as u32 & zero | places[i] & !zero | BLOCKED & !passes;
        }
    }
    (*y, *winner) = (best, places);
}

/// Scatters within one example, which one task owns; sums are in the order of the outputs.
fn backward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (dy, winner, dx) = (args.real(DY), args.words(WINNER), args.out(DX));
    let inputs = dy.par_chunks(p.example_out()).zip(winner.par_chunks(p.example_out()));
    let examples = dx.par_chunks_mut(p.example_in()).zip(inputs).with_min_len(args.least_items());
    examples.for_each(|(dx, (dy, winner))| backward_example(&p, dy, winner, dx));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn backward_example(p: &Params, dy: &[f32], winner: &[u32], dx: &mut [f32]) {
    let c = p.c as usize;
    if p.stride == [p.kh, p.kw] && p.pad == [0, 0] && c.is_multiple_of(LANES) {
        return backward_apart(p, dy, winner, dx);
    }
    dx.fill(0.0);
    for (dy, winner) in dy.chunks_exact(c).zip(winner.chunks_exact(c)) {
        for (channel, (dy, winner)) in dy.iter().zip(winner).enumerate() {
            let passes = mask(winner & p.place_bits() & BLOCKED == 0);
            dx[(winner & !BLOCKED) as usize * c + channel] += f32::from_bits(dy.to_bits() & passes);
        }
    }
}

/// One example whose windows do not overlap: each position of a window is written once, with its gradient or with zero.
#[inline(always)]
fn backward_apart(p: &Params, dy: &[f32], winner: &[u32], dx: &mut [f32]) {
    let (w, c) = (p.w as usize, p.c as usize);
    let bits = p.place_bits();
    if p.oh * p.kh != p.h || p.ow * p.kw != p.w {
        // Rows and columns at the end that no window reads.
        dx.fill(0.0);
    }
    let mut windows = dy.chunks_exact(c).zip(winner.chunks_exact(c));
    for oy in 0..p.oh as usize {
        for (ox, (dy, winner)) in windows.by_ref().take(p.ow as usize).enumerate() {
            for iy in 0..p.kh as usize {
                let first = (oy * p.kh as usize + iy) * w + ox * p.kw as usize;
                let row = &mut dx[first * c..(first + p.kw as usize) * c];
                for (ix, dx) in row.chunks_exact_mut(c).enumerate() {
                    let place = (first + ix) as u32;
                    let blocks = dy.as_chunks::<LANES>().0.iter().zip(winner.as_chunks::<LANES>().0);
                    for (dx, (dy, winner)) in dx.as_chunks_mut::<LANES>().0.iter_mut().zip(blocks) {
                        for i in 0..LANES {
                            dx[i] = f32::from_bits(dy[i].to_bits() & mask(winner[i] & bits == place));
                        }
                    }
                }
            }
        }
    }
}

/// `[N,H,W,C]`, window, stride, pad.
type Shape = ([usize; 4], [usize; 2], [usize; 2], [usize; 2]);

const SHAPES: &[Shape] = &[
    ([1, 1, 1, 1], [1, 1], [1, 1], [0, 0]),
    ([20, 24, 24, 8], [2, 2], [2, 2], [0, 0]),
    ([3, 12, 12, 16], [3, 3], [3, 3], [0, 0]),
    ([2, 13, 11, 8], [3, 2], [3, 2], [0, 0]),
    ([2, 13, 7, 5], [3, 2], [2, 3], [1, 1]),
    ([1, 11, 17, 3], [5, 3], [2, 1], [4, 2]),
    ([2, 8, 9, 1], [2, 3], [3, 5], [0, 0]),
    ([5, 3, 3, 13], [3, 3], [1, 1], [2, 2]),
    ([7, 6, 5, 13], [3, 3], [2, 1], [1, 2]),
    ([3, 9, 7, 8], [3, 2], [2, 2], [2, 1]),
    ([3, 7, 9, 8], [2, 3], [2, 2], [1, 2]),
    // One window, which is the image, and steps that end within it.
    ([4, 4, 5, 3], [4, 5], [3, 4], [0, 0]),
    ([4, 4, 5, 8], [4, 5], [3, 4], [0, 0]),
    // More than one row of a texture, in both directions.
    ([2, 34, 33, 16], [2, 2], [1, 1], [0, 0]),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let all = SHAPES.iter().flat_map(|shape| [(shape, false), (shape, true)]);
    for (&(input, kernel, stride, pad), relu) in all {
        let p = Params::new(input, kernel, stride, pad);
        let p = if relu { p.with_relu() } else { p };
        let before = if relu { " after a ReLU" } else { "" };
        let shape = format!("{input:?} window {kernel:?} stride {stride:?} pad {pad:?}{before}");
        let mut b = CaseBuilder::default();
        let (x, y, winner) = (b.real(p.input_len()), b.out(p.output_len()), b.out_words(p.output_len()));
        cases.push(b.case(&shape, forward(p, x, y, winner), Tolerance::EXACT));

        let mut b = CaseBuilder::default();
        let places = (0..p.output_len()).map(|i| {
            let pixel = i / p.c as usize;
            let (rows, columns) = (p.rows(pixel / p.ow as usize % p.oh as usize), p.columns(pixel % p.ow as usize));
            // Any element of the window may have won, so a hash of the position chooses one.
            let pick = i.wrapping_mul(2_654_435_761) >> 8;
            let (y, x) = (rows.start + pick % rows.len(), columns.start + pick / 7 % columns.len());
            let blocked = if pick % 3 == 0 { BLOCKED } else { 0 };
            (y * p.w as usize + x) as u32 | blocked
        });
        let winner = places.collect();
        let (dy, winner, dx) = (b.real(p.output_len()), b.words(winner), b.out(p.input_len()));
        let overlap = (p.kh * p.kw) as usize;
        cases.push(b.case(&shape, backward(p, dy, winner, dx), Tolerance::sum(overlap, 1.0)));
    }
    // Ties: the first one wins; values below ConvNetJS's start of -99999; infinities; NaN, first and later.
    let values = vec![
        2.0,
        2.0,
        -0.0,
        0.0,
        -2e5,
        -2e5,
        f32::NEG_INFINITY,
        f32::NEG_INFINITY,
        f32::INFINITY,
        1.0,
        1.0,
        f32::INFINITY,
        f32::NAN,
        3.0,
        f32::INFINITY,
        3.0,
        -1.0,
        -2.0,
        f32::NAN,
        f32::NAN,
        -1.0,
        -0.0,
        0.0,
        -1.0,
    ];
    let plain = Params::new([6, 2, 2, 1], [2, 2], [2, 2], [0, 0]);
    // One channel, then the same as four and as nine: the vector kernels, the processor's whole vectors and a rest.
    for channels in [1, 4, 9] {
        for p in [Params { c: channels, ..plain }, Params { c: channels, ..plain }.with_relu()] {
            let values = values.iter().flat_map(|v| vec![*v; channels as usize]).collect();
            let mut b = CaseBuilder::default();
            let (x, y, winner) = (b.reals(values), b.out(p.output_len()), b.out_words(p.output_len()));
            let what = format!("ties, very negative values, infinities, NaN x{channels}, relu {}", p.relu);
            cases.push(b.case(what, forward(p, x, y, winner), Tolerance::EXACT));
        }
    }
    also_split(cases, &["[7, 6, 5, 13]", "[20, 24, 24, 8]"])
}
