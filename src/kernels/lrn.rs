//! Local response normalisation across channels, NHWC or vectors, `[M,C]` with M pixels: s_c = k + alpha/size * the sum
//! of x² over the channels around c, y_c = x_c * s_c^-beta (Krizhevsky et al. 2012, with PyTorch's and ConvNetJS's
//! division by the size). The window of c is c - size/2 to c + (size-1)/2, limited to existing channels.
//! `shaders/lrn.wgsl`.

use super::case::{CaseBuilder, Tolerance, also_split};
use super::op::word;
use super::{
    Args, Case, Cpu, Element::F32, Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Variant,
    per_example,
};
use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::Range;

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// M * C.
    pub count: u32,
    pub channels: u32,
    pub size: u32,
    pub k: f32,
    /// alpha / size.
    pub share: f32,
    pub beta: f32,
    pub reserved: [u32; 2],
}

impl Params {
    /// `count` values with their channels innermost. k is above 0, alpha and beta are at least 0.
    pub fn new(count: usize, channels: usize, size: usize, [k, alpha, beta]: [f32; 3]) -> Params {
        assert!(
            count.is_multiple_of(channels) && size > 0,
            "lrn: {count} values of {channels} channels, window {size}"
        );
        assert!(k > 0.0 && alpha >= 0.0 && beta >= 0.0, "lrn: k {k}, alpha {alpha}, beta {beta}");
        let [count, channels, size] = [count, channels, size].map(word);
        Params { count, channels, size, k, share: alpha / size as f32, beta, reserved: [0; 2] }
    }

    /// The channels in c's sum.
    fn window(&self, c: usize) -> Range<usize> {
        let size = self.size as usize;
        c.saturating_sub(size / 2)..(c + size.div_ceil(2)).min(self.channels as usize)
    }

    /// The channels whose sums include c.
    fn windows_over(&self, c: usize) -> Range<usize> {
        let size = self.size as usize;
        c.saturating_sub((size - 1) / 2)..(c + size / 2 + 1).min(self.channels as usize)
    }

    fn flops(&self) -> u64 {
        u64::from(self.count) * (2 * u64::from(self.size.min(self.channels)) + 10)
    }
}

const X: Operand = per_example("x", F32);
const Y: Operand = per_example("y", F32);
/// The sum s of each value.
const SUMS: Operand = per_example("sums", F32);
const DY: Operand = per_example("dy", F32);
const DX: Operand = per_example("dx", F32);

const SOURCE: &str = shader!("prelude/index", "lrn");

pub(super) static FAMILY: Family = Family { operations: &[&FORWARD, &BACKWARD], cases };

/// y, and the sums that the backward pass needs.
pub static FORWARD: Operation = Operation {
    name: "lrn.forward",
    inputs: &[X],
    outputs: &[Y, SUMS],
    params: size_of::<Params>(),
    reference: Reference::new(forward_reference, forward_reference),
    cpu: Cpu::new(forward_cpu),
    gpu: &[&Variant::new("lrn.forward", SOURCE, "forward", launch)],
};

/// The gradient with respect to x.
pub static BACKWARD: Operation = Operation {
    name: "lrn.backward",
    inputs: &[X, SUMS, DY],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_reference, backward_reference),
    cpu: Cpu::new(backward_cpu),
    gpu: &[&Variant::new("lrn.backward", SOURCE, "backward", launch)],
};

fn launch(op: &Op) -> Launch {
    Launch::linear(op.params::<Params>().count as usize, 64)
}

pub fn forward(p: Params, x: Tensor, y: Tensor, s: Tensor) -> Op {
    let count = p.count as usize;
    assert_eq!((x.len, y.len, s.len), (count, count, count), "lrn.forward: x, y, s");
    Op::new(&FORWARD, p, &[(X, x)], &[(Y, y), (SUMS, s)], p.flops()).in_pieces(1)
}

pub fn backward(p: Params, x: Tensor, s: Tensor, dy: Tensor, dx: Tensor) -> Op {
    let count = p.count as usize;
    assert_eq!((x.len, s.len, dy.len, dx.len), (count, count, count, count), "lrn.backward: x, s, dy, dx");
    Op::new(&BACKWARD, p, &[(X, x), (SUMS, s), (DY, dy)], &[(DX, dx)], 2 * p.flops()).in_pieces(1)
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (x, y, s) = (args.real(X), args.out(Y), args.out(SUMS));
    for i in 0..x.len() {
        let (pixel, c) = (i - i % p.channels as usize, i % p.channels as usize);
        let squares: f64 = p.window(c).map(|j| x[pixel + j].get() * x[pixel + j].get()).sum();
        let sum = f64::from(p.k) + f64::from(p.share) * squares;
        s[i] = S::of(sum);
        y[i] = S::of(x[i].get() * sum.powf(-f64::from(p.beta)));
    }
}

fn backward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (x, s, dy, dx) = (args.real(X), args.real(SUMS), args.real(DY), args.out(DX));
    let (share, beta) = (f64::from(p.share), f64::from(p.beta));
    for i in 0..x.len() {
        let (pixel, c) = (i - i % p.channels as usize, i % p.channels as usize);
        let term = |j: usize| dy[pixel + j].get() * x[pixel + j].get() * s[pixel + j].get().powf(-beta - 1.0);
        let sum: f64 = p.windows_over(c).map(term).sum();
        dx[i] = S::of(dy[i].get() * s[i].get().powf(-beta) - 2.0 * share * beta * x[i].get() * sum);
    }
}

/// The approximate number of values per task.
const TASK: usize = 4096;

/// The values of a task, in whole pixels.
fn task(p: &Params) -> usize {
    (TASK / p.channels as usize).max(1) * p.channels as usize
}

fn forward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (task, x) = (task(&p), args.real(X));
    let outputs = args.out(Y).par_chunks_mut(task).zip(args.out(SUMS).par_chunks_mut(task));
    outputs.zip(x.par_chunks(task)).with_min_len(args.least_items()).for_each(|((y, s), x)| normalise(&p, x, y, s));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn normalise(p: &Params, x: &[f32], y: &mut [f32], s: &mut [f32]) {
    let c = p.channels as usize;
    for (x, s) in x.chunks_exact(c).zip(s.chunks_exact_mut(c)) {
        for (i, s) in s.iter_mut().enumerate() {
            *s = p.k + p.share * x[p.window(i)].iter().map(|v| v * v).sum::<f32>();
        }
    }
    for ((y, x), s) in y.iter_mut().zip(x).zip(s) {
        *y = x * s.powf(-p.beta);
    }
}

fn backward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let task = task(&p);
    let inputs =
        args.real(X).par_chunks(task).zip(args.real(SUMS).par_chunks(task)).zip(args.real(DY).par_chunks(task));
    let tasks = args.out(DX).par_chunks_mut(task).zip(inputs).with_min_len(args.least_items());
    tasks.for_each_init(Vec::new, |terms, (dx, ((x, s), dy))| {
        terms.clear();
        terms.extend(dy.iter().zip(x).zip(s).map(|((dy, x), s)| dy * x * s.powf(-p.beta) / s));
        let c = p.channels as usize;
        for (pixel, terms) in terms.chunks_exact(c).enumerate() {
            for i in 0..c {
                let (at, sum) = (pixel * c + i, terms[p.windows_over(i)].iter().sum::<f32>());
                dx[at] = dy[at] * s[at].powf(-p.beta) - 2.0 * p.share * p.beta * x[at] * sum;
            }
        }
    });
}

fn cases() -> Vec<Case> {
    // Pixels, channels, window, [k, alpha, beta]
    let shapes = [
        (1, 1, 1, [1.0, 0.5, 0.75]),
        (20, 16, 5, [1.0, 1.0, 0.75]),
        (63, 7, 4, [2.0, 0.5, 0.5]),
        (5, 13, 3, [0.5, 2.0, 1.5]),
        (9, 6, 40, [1.0, 4.0, 0.75]),
        (64, 3, 2, [1.0, 0.0, 0.75]),
    ];
    let mut cases = Vec::new();
    for (pixels, channels, size, [k, alpha, beta]) in shapes {
        let (count, p) = (pixels * channels, Params::new(pixels * channels, channels, size, [k, alpha, beta]));
        let shape = format!("[{pixels}, {channels}] window {size} k {k} alpha {alpha} beta {beta}");
        // A power is an exponential of a logarithm, each with an error of a few ULP.
        let tolerance = Tolerance { atol: 1e-5, rtol: 2e-5 };
        let mut b = CaseBuilder::default();
        let (x, y, s) = (b.between(count, -2.0, 2.0), b.out(count), b.out(count));
        cases.push(b.case(&shape, forward(p, x, y, s), tolerance));
        let mut b = CaseBuilder::default();
        let (x, s, dy, dx) = (b.between(count, -2.0, 2.0), b.between(count, 0.5, 3.0), b.real(count), b.out(count));
        cases.push(b.case(&shape, backward(p, x, s, dy, dx), tolerance));
    }
    also_split(cases, &["[20, 16]"])
}
