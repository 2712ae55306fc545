//! Fully connected layer: x `[N,K]`, weight `[K,O]`, bias `[O]`, y `[N,O]` = x*weight + bias; `shaders/fc.wgsl`.

use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::product::{product_tasks, row_major, transposed};
use super::{Args, Case, Element::F32, Kernel, Op, Prepared, Reference, Scalar, Tensor, Texture};
use multiversion::multiversion;
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub n: u32,
    pub k: u32,
    pub o: u32,
    pub reserved: u32,
}

impl Params {
    pub fn new(examples: usize, inputs: usize, outputs: usize) -> Params {
        Params { n: word(examples), k: word(inputs), o: word(outputs), reserved: 0 }
    }

    fn sizes(&self) -> [usize; 3] {
        [self.n as usize, self.k as usize, self.o as usize]
    }

    fn assert_shapes(&self, name: &str, x: Tensor, y: Tensor, weight: Tensor) {
        let [n, k, o] = self.sizes();
        assert_eq!((x.len, y.len, weight.len), (n * k, n * o, k * o), "{name}: x, y, weight of {self:?}");
    }

    /// Whether the kernels that read four values at a time take this shape.
    fn fits(&self) -> bool {
        self.k.is_multiple_of(4) && self.o.is_multiple_of(4)
    }

    /// Whether the processor goes example by example: the weights are few enough to be read again and again.
    fn is_small(&self) -> bool {
        self.k as usize * self.o as usize <= SMALL
    }

    fn flops(&self) -> u64 {
        2 * self.sizes().iter().map(|size| *size as u64).product::<u64>()
    }
}

/// Weights that stay in a core's first-level cache.
const SMALL: usize = 8192;

const SOURCE: &str = include_str!("../../shaders/fc.wgsl");

/// Inputs: x, weight, bias. Outputs: y.
pub static FORWARD: Kernel = FORWARD_SIGNATURE;

/// The same for K and O multiples of 4.
pub static FORWARD_VEC4: Kernel = Kernel {
    name: "fc.forward_vec4",
    entry: "forward_vec4",
    textures: &[Texture::vectors(0), Texture::vectors(1), Texture::vectors(2)],
    workgroup: 16,
    ..FORWARD_SIGNATURE
};

const FORWARD_SIGNATURE: Kernel = Kernel {
    name: "fc.forward",
    source: SOURCE,
    entry: "forward",
    inputs: &[F32, F32, F32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: forward_reference, double: forward_reference },
    cpu: Some(forward_cpu),
};

/// Inputs: dy, weight. Outputs: dx.
pub static BACKWARD_INPUT: Kernel = BACKWARD_INPUT_SIGNATURE;

/// The same for K and O multiples of 4.
pub static BACKWARD_INPUT_VEC4: Kernel = Kernel {
    name: "fc.backward_input_vec4",
    entry: "backward_input_vec4",
    textures: &[Texture::vectors(0), Texture::vectors(1)],
    ..BACKWARD_INPUT_SIGNATURE
};

const BACKWARD_INPUT_SIGNATURE: Kernel = Kernel {
    name: "fc.backward_input",
    source: SOURCE,
    entry: "backward_input",
    inputs: &[F32, F32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: backward_input_reference, double: backward_input_reference },
    cpu: Some(backward_input_cpu),
};

/// Inputs: x, dy. Outputs: dweight, dbias.
pub static BACKWARD_WEIGHT: Kernel = BACKWARD_WEIGHT_SIGNATURE;

/// The same for K and O multiples of 4.
pub static BACKWARD_WEIGHT_VEC4: Kernel = Kernel {
    name: "fc.backward_weight_vec4",
    entry: "backward_weight_vec4",
    textures: &[Texture::vectors(0), Texture::vectors(1)],
    ..BACKWARD_WEIGHT_SIGNATURE
};

const BACKWARD_WEIGHT_SIGNATURE: Kernel = Kernel {
    name: "fc.backward_weight",
    source: SOURCE,
    entry: "backward_weight",
    inputs: &[F32, F32],
    outputs: &[F32, F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: backward_weight_reference, double: backward_weight_reference },
    cpu: Some(backward_weight_cpu),
};

pub fn forward(p: Params, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Op {
    p.assert_shapes("fc.forward", x, y, weight);
    assert_eq!(bias.len, p.o as usize, "fc.forward: bias of {p:?}");
    let (kernel, columns) = if p.fits() { (&FORWARD_VEC4, p.o / 4) } else { (&FORWARD, p.o) };
    let groups = [columns.div_ceil(kernel.workgroup), p.n.div_ceil(4), 1];
    by_example(p, &[1, 2], Op::new(kernel, p, &[x, weight, bias], &[y], groups, p.flops()))
}

pub fn backward_input(p: Params, dy: Tensor, weight: Tensor, dx: Tensor) -> Op {
    p.assert_shapes("fc.backward_input", dx, dy, weight);
    let (kernel, columns) = if p.fits() { (&BACKWARD_INPUT_VEC4, p.k / 4) } else { (&BACKWARD_INPUT, p.k) };
    let groups = [columns.div_ceil(kernel.workgroup), p.n.div_ceil(4), 1];
    by_example(p, &[1], Op::new(kernel, p, &[dy, weight], &[dx], groups, p.flops()))
}

fn by_example(p: Params, whole: &'static [usize], op: Op) -> Op {
    if p.is_small() { op.in_pieces(whole, 1).prepared_by(prepare) } else { op }
}

pub fn backward_weight(p: Params, x: Tensor, dy: Tensor, dweight: Tensor, dbias: Tensor) -> Op {
    p.assert_shapes("fc.backward_weight", x, dy, dweight);
    assert_eq!(dbias.len, p.o as usize, "fc.backward_weight: dbias of {p:?}");
    // One more column for the bias.
    let (kernel, columns, outputs) =
        if p.fits() { (&BACKWARD_WEIGHT_VEC4, p.k / 4, 8) } else { (&BACKWARD_WEIGHT, p.k, 4) };
    let groups = [(columns + 1).div_ceil(kernel.workgroup), p.o.div_ceil(outputs), 1];
    Op::new(kernel, p, &[x, dy], &[dweight, dbias], groups, p.flops())
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let [_, k, o] = args.params::<Params>().sizes();
    let (x, weight, bias) = (args.real(0), args.real(1), args.real(2));
    for (i, y) in args.out(0).iter_mut().enumerate() {
        let (n, o_at) = (i / o, i % o);
        let sum: f64 = (0..k).map(|j| x[n * k + j].get() * weight[j * o + o_at].get()).sum();
        *y = S::of(sum + bias[o_at].get());
    }
}

fn backward_input_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let [_, k, o] = args.params::<Params>().sizes();
    let (dy, weight) = (args.real(0), args.real(1));
    for (i, dx) in args.out(0).iter_mut().enumerate() {
        let (n, k_at) = (i / k, i % k);
        *dx = S::of((0..o).map(|j| dy[n * o + j].get() * weight[k_at * o + j].get()).sum());
    }
}

fn backward_weight_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let [n, k, o] = args.params::<Params>().sizes();
    let (x, dy) = (args.real(0), args.real(1));
    for (i, dweight) in args.out(0).iter_mut().enumerate() {
        let (k_at, o_at) = (i / o, i % o);
        *dweight = S::of((0..n).map(|j| x[j * k + k_at].get() * dy[j * o + o_at].get()).sum());
    }
    for (i, dbias) in args.out(1).iter_mut().enumerate() {
        *dbias = S::of((0..n).map(|j| dy[j * o + i].get()).sum());
    }
}

/// The weights `[O,K]`: along a row the inputs lie side by side.
fn prepare(args: &Args<'_, f32>, prepared: &mut Prepared) {
    let [_, k, o] = args.params::<Params>().sizes();
    let rows: &mut Vec<f32> = prepared.get_or_insert_with(|| vec![0.0; k * o]);
    for (output, row) in rows.chunks_exact_mut(k).enumerate() {
        row.iter_mut().zip(args.real(1)[output..].iter().step_by(o)).for_each(|(to, from)| *to = *from);
    }
}

fn forward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (x, weight, bias, y) = (args.real(0), args.real(1), args.real(2), args.out(0));
    let [n, k, o] = p.sizes();
    if p.is_small() {
        let rows: &Vec<f32> = args.prepared.get();
        let examples = y.par_chunks_exact_mut(o).zip(x.par_chunks_exact(k)).with_min_len(args.least_items().max(TASK));
        return examples.for_each(|(y, x)| forward_example(x, rows, bias, y));
    }
    for y in y.chunks_exact_mut(o) {
        y.copy_from_slice(bias);
    }
    product_tasks([n, k, o], row_major(x, k), row_major(weight, o), y, true);
}

/// Examples below which a second thread costs more than it brings.
const TASK: usize = 32;

/// Sums beside each other: whole vectors, and none waits for the one before.
const LANES: usize = 64;

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn forward_example(x: &[f32], rows: &[f32], bias: &[f32], y: &mut [f32]) {
    let (blocks, rest) = x.as_chunks::<LANES>();
    for ((y, row), bias) in y.iter_mut().zip(rows.chunks_exact(x.len())).zip(bias) {
        let (row, row_rest) = row.as_chunks::<LANES>();
        let mut sums = [0.0f32; LANES];
        for (x, w) in blocks.iter().zip(row) {
            (0..LANES).for_each(|i| sums[i] += x[i] * w[i]);
        }
        for ((sum, x), w) in sums.iter_mut().zip(rest).zip(row_rest) {
            *sum += x * w;
        }
        let mut width = LANES / 2;
        while width > 0 {
            (0..width).for_each(|i| sums[i] += sums[i + width]);
            width /= 2;
        }
        *y = sums[0] + bias;
    }
}

fn backward_input_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (dy, weight, dx) = (args.real(0), args.real(1), args.out(0));
    let [n, k, o] = p.sizes();
    if p.is_small() {
        let rows: &Vec<f32> = args.prepared.get();
        let examples = dx.par_chunks_exact_mut(k).zip(dy.par_chunks_exact(o));
        let examples = examples.with_min_len(args.least_items().max(TASK));
        return examples.for_each(|(dx, dy)| backward_example(dy, rows, dx));
    }
    product_tasks([n, o, k], row_major(dy, o), transposed(weight, o), dx, false);
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn backward_example(dy: &[f32], rows: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for (dy, row) in dy.iter().zip(rows.chunks_exact(dx.len())) {
        dx.iter_mut().zip(row).for_each(|(dx, w)| *dx += dy * w);
    }
}

fn backward_weight_cpu(args: &mut Args<'_, f32>) {
    let [n, k, o] = args.params::<Params>().sizes();
    let (x, dy) = (args.real(0), args.real(1));
    product_tasks([k, n, o], transposed(x, k), row_major(dy, o), args.out(0), false);
    let dbias = args.out(1);
    dbias.fill(0.0);
    for dy in dy.chunks_exact(o) {
        for (sum, dy) in dbias.iter_mut().zip(dy) {
            *sum += dy;
        }
    }
}

/// N, K, O: size 1, the presets, primes, a workgroup ±1, rows and outputs that fill no block.
const SHAPES: &[[usize; 3]] = &[
    [1, 1, 1],
    [20, 256, 10],
    [128, 3136, 128],
    [7, 13, 11],
    [1, 64, 64],
    [5, 63, 65],
    [3, 65, 63],
    [257, 5, 3],
    [33, 127, 2],
    [1, 4, 4],
    [5, 60, 12],
    [6, 252, 68],
    [3, 260, 60],
    [21, 12, 20],
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &[n, k, o] in SHAPES {
        let p = Params::new(n, k, o);
        let shape = format!("[{n}, {k}] -> {o}");
        let mut b = CaseBuilder::default();
        let (x, weight, bias, y) = (b.real(n * k), b.real(k * o), b.real(o), b.out(n * o));
        cases.push(b.case(&shape, forward(p, x, weight, bias, y), Tolerance::sum(k, 1.0)));
        let mut b = CaseBuilder::default();
        let (dy, weight, dx) = (b.real(n * o), b.real(k * o), b.out(n * k));
        cases.push(b.case(&shape, backward_input(p, dy, weight, dx), Tolerance::sum(o, 1.0)));
        let mut b = CaseBuilder::default();
        let (x, dy, dweight, dbias) = (b.real(n * k), b.real(n * o), b.out(k * o), b.out(o));
        cases.push(b.case(&shape, backward_weight(p, x, dy, dweight, dbias), Tolerance::sum(n, 1.0)));
    }
    cases
}
