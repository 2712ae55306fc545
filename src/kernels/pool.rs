//! Max-pooling, NHWC: x `[N,H,W,C]` -> y `[N,OH,OW,C]` and the winner's place iy*W+ix; `shaders/pool.wgsl`.
//! Padding is skipped, the first maximum in row-major order wins (PyTorch's rule), and a NaN beats every number.

use super::case::{CaseBuilder, Tolerance};
use super::op::{linear, word};
use super::{
    Args, Case,
    Element::{F32, U32},
    Kernel, Op, Reference, Scalar, Tensor,
};
use rayon::prelude::*;

/// Shape of one pooling: output size floor((in + 2*pad - k)/stride) + 1 in each direction.
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
}

impl Params {
    /// `input` is `[N,H,W,C]`; `kernel`, `stride`, `pad` are `[vertical, horizontal]`.
    pub fn new(input: [usize; 4], kernel: [usize; 2], stride: [usize; 2], pad: [usize; 2]) -> Params {
        let [n, h, w, c] = input.map(word);
        let out = |i: usize| (input[1 + i] + 2 * pad[i] - kernel[i]) / stride[i] + 1;
        let (oh, ow) = (word(out(0)), word(out(1)));
        let [kh, kw] = kernel.map(word);
        assert!(pad[0] < kernel[0] && pad[1] < kernel[1], "pad {pad:?} must be smaller than the window {kernel:?}");
        Params { n, h, w, c, oh, ow, kh, kw, stride: stride.map(word), pad: pad.map(word) }
    }

    /// Workgroups for `pixels` in each example, four channels an invocation.
    fn groups(&self, pixels: u32) -> [u32; 3] {
        linear(self.n as usize * pixels as usize * self.c.div_ceil(4) as usize, 64)
    }

    fn input_len(&self) -> usize {
        self.n as usize * self.example_in()
    }

    fn output_len(&self) -> usize {
        self.n as usize * self.example_out()
    }

    fn example_in(&self) -> usize {
        self.h as usize * self.w as usize * self.c as usize
    }

    fn example_out(&self) -> usize {
        self.oh as usize * self.ow as usize * self.c as usize
    }

    /// Rows of the image that output row `oy` sees, padding clipped away.
    fn rows(&self, oy: usize) -> std::ops::Range<usize> {
        clip(oy, self.stride[0], self.pad[0], self.kh, self.h)
    }

    fn columns(&self, ox: usize) -> std::ops::Range<usize> {
        clip(ox, self.stride[1], self.pad[1], self.kw, self.w)
    }
}

fn clip(o: usize, stride: u32, pad: u32, k: u32, size: u32) -> std::ops::Range<usize> {
    let first = o * stride as usize;
    first.saturating_sub(pad as usize)..(first + k as usize - pad as usize).min(size as usize)
}

const SOURCE: &str = include_str!("../../shaders/pool.wgsl");

/// Inputs: x. Outputs: y, winner.
pub static FORWARD: Kernel = Kernel {
    name: "pool.forward",
    source: SOURCE,
    entry: "forward",
    inputs: &[F32],
    outputs: &[F32, U32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: forward_reference, double: forward_reference },
    cpu: Some(forward_cpu),
};

/// Inputs: dy, winner. Outputs: dx.
pub static BACKWARD: Kernel = Kernel {
    name: "pool.backward",
    source: SOURCE,
    entry: "backward",
    inputs: &[F32, U32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: backward_reference, double: backward_reference },
    cpu: Some(backward_cpu),
};

pub fn forward(p: Params, x: Tensor, y: Tensor, winner: Tensor) -> Op {
    assert_eq!(x.len, p.input_len(), "pool.forward: x of {p:?}");
    assert_eq!((y.len, winner.len), (p.output_len(), p.output_len()), "pool.forward: y, winner of {p:?}");
    let flops = y.len * (p.kh * p.kw) as usize;
    Op::new(&FORWARD, p, &[x], &[y, winner], p.groups(p.oh * p.ow), flops)
}

pub fn backward(p: Params, dy: Tensor, winner: Tensor, dx: Tensor) -> Op {
    assert_eq!(dx.len, p.input_len(), "pool.backward: dx of {p:?}");
    assert_eq!((dy.len, winner.len), (p.output_len(), p.output_len()), "pool.backward: dy, winner of {p:?}");
    Op::new(&BACKWARD, p, &[dy, winner], &[dx], p.groups(p.h * p.w), dy.len)
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (x, y, winner) = (args.real(0), args.out(0), args.out_words(1));
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
                    y[at] = S::of(value);
                    winner[at] = place as u32;
                    at += 1;
                }
            }
        }
    }
}

fn backward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (dy, winner, dx) = (args.real(0), args.words(1), args.out(0));
    let c = p.c as usize;
    let mut sums = vec![0.0; dx.len()];
    for (o, (dy, winner)) in dy.iter().zip(winner).enumerate() {
        let n = o / p.example_out();
        sums[n * p.example_in() + *winner as usize * c + o % c] += dy.get();
    }
    for (dx, sum) in dx.iter_mut().zip(sums) {
        *dx = S::of(sum);
    }
}

/// An example a task; the innermost loop runs over channels, which lie side by side.
fn forward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (x, y, winner) = (args.real(0), args.out(0), args.out_words(1));
    let (w, c, ow) = (p.w as usize, p.c as usize, p.ow as usize);
    let outputs = y.par_chunks_mut(p.example_out()).zip(winner.par_chunks_mut(p.example_out()));
    outputs.zip(x.par_chunks(p.example_in())).for_each(|((y, winner), x)| {
        for oy in 0..p.oh as usize {
            for ox in 0..ow {
                let at = (oy * ow + ox) * c;
                let (y, winner) = (&mut y[at..at + c], &mut winner[at..at + c]);
                let (rows, columns) = (p.rows(oy), p.columns(ox));
                let first = rows.start * w + columns.start;
                y.copy_from_slice(&x[first * c..first * c + c]);
                winner.fill(first as u32);
                for iy in rows {
                    for place in iy * w + columns.start..iy * w + columns.end {
                        let x = &x[place * c..place * c + c];
                        for ((y, winner), x) in y.iter_mut().zip(winner.iter_mut()).zip(x) {
                            // Bitwise and by mask: branches would be mispredicted, and keep the loop scalar.
                            let wins = (*x > *y) | (x.is_nan() & !y.is_nan());
                            let mask = 0u32.wrapping_sub(u32::from(wins));
                            *y = f32::from_bits(x.to_bits() & mask | y.to_bits() & !mask);
                            *winner = place as u32 & mask | *winner & !mask;
                        }
                    }
                }
            }
        }
    });
}

/// Scatters within one example, which one task owns: the order of the sums is that of the outputs.
fn backward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (dy, winner, dx) = (args.real(0), args.words(1), args.out(0));
    let c = p.c as usize;
    let inputs = dy.par_chunks(p.example_out()).zip(winner.par_chunks(p.example_out()));
    dx.par_chunks_mut(p.example_in()).zip(inputs).for_each(|(dx, (dy, winner))| {
        dx.fill(0.0);
        for (dy, winner) in dy.chunks_exact(c).zip(winner.chunks_exact(c)) {
            for (channel, (dy, winner)) in dy.iter().zip(winner).enumerate() {
                dx[*winner as usize * c + channel] += dy;
            }
        }
    });
}

/// `[N,H,W,C]`, window, stride, pad.
type Shape = ([usize; 4], [usize; 2], [usize; 2], [usize; 2]);

const SHAPES: &[Shape] = &[
    ([1, 1, 1, 1], [1, 1], [1, 1], [0, 0]),
    ([20, 24, 24, 8], [2, 2], [2, 2], [0, 0]),
    ([3, 12, 12, 16], [3, 3], [3, 3], [0, 0]),
    ([2, 13, 7, 5], [3, 2], [2, 3], [1, 1]),
    ([1, 11, 17, 3], [5, 3], [2, 1], [4, 2]),
    ([2, 8, 9, 1], [2, 3], [3, 5], [0, 0]),
    ([5, 3, 3, 13], [3, 3], [1, 1], [2, 2]),
    ([1, 2048, 2053, 1], [1, 1], [1, 1], [0, 0]),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(input, kernel, stride, pad) in SHAPES {
        let p = Params::new(input, kernel, stride, pad);
        let shape = format!("{input:?} window {kernel:?} stride {stride:?} pad {pad:?}");
        let mut b = CaseBuilder::default();
        let (x, y, winner) = (b.real(p.input_len()), b.out(p.output_len()), b.out_words(p.output_len()));
        cases.push(b.case(&shape, forward(p, x, y, winner), Tolerance::EXACT));

        let mut b = CaseBuilder::default();
        let places = (0..p.output_len()).map(|i| {
            let pixel = i / p.c as usize;
            let (rows, columns) = (p.rows(pixel / p.ow as usize % p.oh as usize), p.columns(pixel % p.ow as usize));
            // Any element of the window may have won: a hash of the place picks one.
            let pick = i.wrapping_mul(2_654_435_761) >> 8;
            let (y, x) = (rows.start + pick % rows.len(), columns.start + pick / 7 % columns.len());
            (y * p.w as usize + x) as u32
        });
        let winner = places.collect();
        let (dy, winner, dx) = (b.real(p.output_len()), b.words(winner), b.out(p.input_len()));
        let overlap = (p.kh * p.kw) as usize;
        cases.push(b.case(&shape, backward(p, dy, winner, dx), Tolerance::sum(overlap, 1.0)));
    }
    // Ties: the first one wins; values below ConvNetJS's start of -99999; infinities.
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
    ];
    let p = Params::new([3, 2, 2, 1], [2, 2], [2, 2], [0, 0]);
    let mut b = CaseBuilder::default();
    let (x, y, winner) = (b.reals(values), b.out(3), b.out_words(3));
    cases.push(b.case("ties, very negative values, infinities", forward(p, x, y, winner), Tolerance::EXACT));
    cases
}
