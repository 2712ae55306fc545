//! Fully connected layer: x `[N,K]`, weight `[K,O]`, bias `[O]`, y `[N,O]` = x*weight + bias; `shaders/fc.wgsl`.

use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::product::{product_tasks, row_major, transposed};
use super::{
    Adapter, Args, Case, Cpu, Element::F32, Family, Launch, Op, Operand, Operation, Prepared, Reference, Scalar,
    Tensor, Texture, Variant, per_example, whole,
};
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

    /// Whether the processor works example by example, because the weights are few enough to be read repeatedly.
    fn is_small(&self) -> bool {
        self.k as usize * self.o as usize <= SMALL
    }

    fn flops(&self) -> u64 {
        2 * self.sizes().iter().map(|size| *size as u64).product::<u64>()
    }
}

/// The most weights that stay in a core's first-level cache.
const SMALL: usize = 8192;

const SCALAR: &str = shader!("prelude/lanes1", "buffers/fc", "fc");
const VEC4: &str = shader!("prelude/lanes4", "buffers/fc", "fc");
const VEC4_TEXTURES: &str = shader!("prelude/lanes4", "prelude/texel", "textures/fc", "fc");

pub(crate) const X: Operand = per_example("x", F32);
const WEIGHT: Operand = whole("weight", F32);
const BIAS: Operand = whole("bias", F32);
const Y: Operand = per_example("y", F32);
pub(crate) const DY: Operand = per_example("dy", F32);
const DX: Operand = per_example("dx", F32);
const DWEIGHT: Operand = whole("dweight", F32);
const DBIAS: Operand = whole("dbias", F32);

pub(super) static FAMILY: Family = Family { operations: &[&FORWARD, &BACKWARD_INPUT, &BACKWARD_WEIGHT], cases };

/// y = x*weight + bias.
pub static FORWARD: Operation = Operation {
    name: "fc.forward",
    inputs: &[X, WEIGHT, BIAS],
    outputs: &[Y],
    params: size_of::<Params>(),
    reference: Reference::new(forward_reference, forward_reference),
    cpu: Cpu::prepared(forward_cpu, prepare),
    gpu: &[
        &FORWARD_VEC4.textured(
            "fc.forward_vec4_textures",
            VEC4_TEXTURES,
            &[Texture::vectors(X), Texture::vectors(WEIGHT), Texture::vectors(BIAS)],
        ),
        &FORWARD_VEC4,
        &FORWARD_SCALAR,
    ],
};

const FORWARD_VEC4: Variant = Variant {
    condition: fits_vec4,
    ..Variant::new("fc.forward_vec4", VEC4, "forward", |op| launch_forward(op, 4)).in_workgroups_of(16)
};
const FORWARD_SCALAR: Variant = Variant::new("fc.forward", SCALAR, "forward", |op| launch_forward(op, 1));

/// The gradient with respect to x.
pub static BACKWARD_INPUT: Operation = Operation {
    name: "fc.backward_input",
    inputs: &[DY, WEIGHT],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_input_reference, backward_input_reference),
    cpu: Cpu::prepared(backward_input_cpu, prepare),
    gpu: &[
        &BACKWARD_INPUT_VEC4.textured(
            "fc.backward_input_vec4_textures",
            VEC4_TEXTURES,
            &[Texture::vectors(DY), Texture::vectors(WEIGHT)],
        ),
        &BACKWARD_INPUT_VEC4,
        &BACKWARD_INPUT_SCALAR,
    ],
};

const BACKWARD_INPUT_VEC4: Variant = Variant {
    condition: fits_vec4,
    ..Variant::new("fc.backward_input_vec4", VEC4, "backward_input", |op| launch_backward_input(op, 4))
};
const BACKWARD_INPUT_SCALAR: Variant =
    Variant::new("fc.backward_input", SCALAR, "backward_input", |op| launch_backward_input(op, 1));

/// The gradients with respect to weight and bias, which is one more column.
pub static BACKWARD_WEIGHT: Operation = Operation {
    name: "fc.backward_weight",
    inputs: &[X, DY],
    outputs: &[DWEIGHT, DBIAS],
    params: size_of::<Params>(),
    reference: Reference::new(backward_weight_reference, backward_weight_reference),
    cpu: Cpu::new(backward_weight_cpu),
    gpu: &[
        &BACKWARD_WEIGHT_VEC4.textured(
            "fc.backward_weight_vec4_textures",
            VEC4_TEXTURES,
            &[Texture::vectors(X), Texture::vectors(DY)],
        ),
        &BACKWARD_WEIGHT_VEC4,
        &BACKWARD_WEIGHT_SCALAR,
    ],
};

const BACKWARD_WEIGHT_VEC4: Variant = Variant {
    condition: fits_vec4,
    ..Variant::new("fc.backward_weight_vec4", VEC4, "backward_weight", |op| launch_backward_weight(op, 4))
};
const BACKWARD_WEIGHT_SCALAR: Variant =
    Variant::new("fc.backward_weight", SCALAR, "backward_weight", |op| launch_backward_weight(op, 1));

fn fits_vec4(op: &Op, _: Adapter) -> bool {
    let p: Params = op.params();
    p.k.is_multiple_of(4) && p.o.is_multiple_of(4)
}

/// Four examples x `lanes` outputs per invocation.
fn launch_forward(op: &Op, lanes: u32) -> Launch {
    let p: Params = op.params();
    Launch::of([(p.o / lanes).div_ceil(64 / lanes), p.n.div_ceil(4), 1])
}

/// Four examples x `lanes` inputs per invocation.
fn launch_backward_input(op: &Op, lanes: u32) -> Launch {
    let p: Params = op.params();
    Launch::of([(p.k / lanes).div_ceil(64), p.n.div_ceil(4), 1])
}

/// `lanes` inputs x four outputs per invocation, or eight outputs as vectors; one more row of invocations for the bias.
fn launch_backward_weight(op: &Op, lanes: u32) -> Launch {
    let p: Params = op.params();
    Launch::of([(p.k / lanes + 1).div_ceil(64), p.o.div_ceil(if lanes == 1 { 4 } else { 8 }), 1])
}

pub fn forward(p: Params, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Op {
    p.assert_shapes("fc.forward", x, y, weight);
    assert_eq!(bias.len, p.o as usize, "fc.forward: bias of {p:?}");
    by_example(p, Op::new(&FORWARD, p, &[(X, x), (WEIGHT, weight), (BIAS, bias)], &[(Y, y)], p.flops()))
}

pub fn backward_input(p: Params, dy: Tensor, weight: Tensor, dx: Tensor) -> Op {
    p.assert_shapes("fc.backward_input", dx, dy, weight);
    by_example(p, Op::new(&BACKWARD_INPUT, p, &[(DY, dy), (WEIGHT, weight)], &[(DX, dx)], p.flops()))
}

fn by_example(p: Params, op: Op) -> Op {
    if p.is_small() { op.in_pieces(1) } else { op }
}

pub fn backward_weight(p: Params, x: Tensor, dy: Tensor, dweight: Tensor, dbias: Tensor) -> Op {
    p.assert_shapes("fc.backward_weight", x, dy, dweight);
    assert_eq!(dbias.len, p.o as usize, "fc.backward_weight: dbias of {p:?}");
    let outputs = [(DWEIGHT, dweight), (DBIAS, dbias)];
    Op::new(&BACKWARD_WEIGHT, p, &[(X, x), (DY, dy)], &outputs, p.flops())
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let [_, k, o] = args.params::<Params>().sizes();
    let (x, weight, bias) = (args.real(X), args.real(WEIGHT), args.real(BIAS));
    for (i, y) in args.out(Y).iter_mut().enumerate() {
        let (n, o_at) = (i / o, i % o);
        let sum: f64 = (0..k).map(|j| x[n * k + j].get() * weight[j * o + o_at].get()).sum();
        *y = S::of(sum + bias[o_at].get());
    }
}

fn backward_input_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let [_, k, o] = args.params::<Params>().sizes();
    let (dy, weight) = (args.real(DY), args.real(WEIGHT));
    for (i, dx) in args.out(DX).iter_mut().enumerate() {
        let (n, k_at) = (i / k, i % k);
        *dx = S::of((0..o).map(|j| dy[n * o + j].get() * weight[k_at * o + j].get()).sum());
    }
}

fn backward_weight_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let [n, k, o] = args.params::<Params>().sizes();
    let (x, dy) = (args.real(X), args.real(DY));
    for (i, dweight) in args.out(DWEIGHT).iter_mut().enumerate() {
        let (k_at, o_at) = (i / o, i % o);
        *dweight = S::of((0..n).map(|j| x[j * k + k_at].get() * dy[j * o + o_at].get()).sum());
    }
    for (i, dbias) in args.out(DBIAS).iter_mut().enumerate() {
        *dbias = S::of((0..n).map(|j| dy[j * o + i].get()).sum());
    }
}

/// The weights `[O,K]`, with the inputs adjacent along a row.
fn prepare(args: &Args<'_, f32>, prepared: &mut Prepared) {
    let [_, k, o] = args.params::<Params>().sizes();
    let rows: &mut Vec<f32> = prepared.get_or_insert_with(|| vec![0.0; k * o]);
    for (output, row) in rows.chunks_exact_mut(k).enumerate() {
        row.iter_mut().zip(args.real(WEIGHT)[output..].iter().step_by(o)).for_each(|(to, from)| *to = *from);
    }
}

fn forward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (x, weight, bias, y) = (args.real(X), args.real(WEIGHT), args.real(BIAS), args.out(Y));
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

/// The number of examples below which a second thread costs more than it saves.
const TASK: usize = 32;

/// Independent partial sums: whole vectors, none of which waits for the one before.
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
    let (dy, weight, dx) = (args.real(DY), args.real(WEIGHT), args.out(DX));
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
    let (x, dy) = (args.real(X), args.real(DY));
    product_tasks([k, n, o], transposed(x, k), row_major(dy, o), args.out(DWEIGHT), false);
    let dbias = args.out(DBIAS);
    dbias.fill(0.0);
    for dy in dy.chunks_exact(o) {
        for (sum, dy) in dbias.iter_mut().zip(dy) {
            *sum += dy;
        }
    }
}

/// N, K, O: size 1, the presets, primes, a workgroup ±1, rows and outputs that do not fill a block.
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

fn cases() -> Vec<Case> {
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
