//! Average pooling, NHWC: x `[N,H,W,C]` -> y `[N,OH,OW,C]`, the mean of each window's elements inside the image;
//! padding is not counted (PyTorch's `count_include_pad=False`). With a window as large as the image it is global
//! average pooling. `shaders/avg_pool.wgsl`. Shapes are those of max-pooling (`pool`).

use super::case::{CaseBuilder, Tolerance, also_split};
use super::pool::Params;
use super::{
    Args, Case, Cpu, Element::F32, Family, Launch, Op, Operand, Operation, Pass, Reference, Scalar, Tensor, Variant,
    per_example,
};
use multiversion::multiversion;
use rayon::prelude::*;

const X: Operand = per_example("x", F32);
const Y: Operand = per_example("y", F32);
const DY: Operand = per_example("dy", F32);
const DX: Operand = per_example("dx", F32);

const SOURCE: &str = shader!("prelude/index", "avg_pool");

pub(super) static FAMILY: Family = Family { operations: &[&FORWARD, &BACKWARD], cases };

/// The mean of each window.
pub static FORWARD: Operation = Operation {
    name: "avg_pool.forward",
    inputs: &[X],
    outputs: &[Y],
    params: size_of::<Params>(),
    reference: Reference::new(forward_reference, forward_reference),
    cpu: Cpu::new(forward_cpu),
    gpu: &[
        &Variant {
            then: &[Pass::new("forward_total", 256, |op| Launch::linear(outputs(op) * tiles(op), 1))],
            scratch: Some(|op| outputs(op) * chunks(op) * op.params::<Params>().c as usize),
            condition: |op, adapter| window(op) > if adapter.software { WALKED } else { SERIAL },
            ..Variant::new("avg_pool.forward_large", SOURCE, "forward_parts", |op| {
                Launch::linear(outputs(op) * tiles(op) * chunks(op), 1)
            })
            .in_workgroups_of(256)
        },
        &Variant::new("avg_pool.forward", SOURCE, "forward", |op| op.params::<Params>().launch_outputs(4)),
    ],
};

/// The largest window that one invocation adds.
const SERIAL: usize = 256;
/// The largest such window on a software adapter, where barriers are slow. llvmpipe ends an invocation's loops after
/// 65,535 iterations together; here they are rows and elements of a window, for four channels.
const WALKED: usize = 8000;

/// The number of elements of a window.
fn window(op: &Op) -> usize {
    let p: Params = op.params();
    p.kh as usize * p.kw as usize
}

/// The number of output pixels of all examples.
fn outputs(op: &Op) -> usize {
    let p: Params = op.params();
    [p.n, p.oh, p.ow].map(|size| size as usize).iter().product()
}

/// The number of tiles of channels.
fn tiles(op: &Op) -> usize {
    op.params::<Params>().c.div_ceil(16) as usize
}

/// The number of chunks of a window: of 32 elements for each lane, or more if a lane of the second pass would have more
/// than 256 chunks.
fn chunks(op: &Op) -> usize {
    let height = 256 / (op.params::<Params>().c as usize).div_ceil(tiles(op));
    let steps = window(op).div_ceil(256 * height * height).max(32);
    window(op).div_ceil(height * steps)
}

/// Each element's share of the gradients of its windows.
pub static BACKWARD: Operation = Operation {
    name: "avg_pool.backward",
    inputs: &[DY],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_reference, backward_reference),
    cpu: Cpu::new(backward_cpu),
    gpu: &[&Variant::new("avg_pool.backward", SOURCE, "backward", |op| op.params::<Params>().launch_inputs(4))],
};

pub fn forward(p: Params, x: Tensor, y: Tensor) -> Op {
    assert_eq!((x.len, y.len), (p.input_len(), p.output_len()), "avg_pool.forward: x and y of {p:?}");
    let flops = flops(&p);
    Op::new(&FORWARD, p, &[(X, x)], &[(Y, y)], flops).in_pieces(1)
}

pub fn backward(p: Params, dy: Tensor, dx: Tensor) -> Op {
    assert_eq!((dx.len, dy.len), (p.input_len(), p.output_len()), "avg_pool.backward: dx and dy of {p:?}");
    let flops = flops(&p);
    Op::new(&BACKWARD, p, &[(DY, dy)], &[(DX, dx)], flops).in_pieces(1)
}

/// Additions: one for each element inside the image of each window.
fn flops(p: &Params) -> u64 {
    let rows: usize = (0..p.oh as usize).map(|oy| p.rows(oy).len()).sum();
    let columns: usize = (0..p.ow as usize).map(|ox| p.columns(ox).len()).sum();
    u64::from(p.n) * u64::from(p.c) * rows as u64 * columns as u64
}

/// Calls `f(output pixel, its elements' pixels)` for every window of an image.
#[inline(always)]
fn for_windows(p: &Params, mut f: impl FnMut(usize, usize, usize)) {
    for oy in 0..p.oh as usize {
        for ox in 0..p.ow as usize {
            for y in p.rows(oy) {
                for x in p.columns(ox) {
                    f(oy * p.ow as usize + ox, y * p.w as usize + x, p.rows(oy).len() * p.columns(ox).len());
                }
            }
        }
    }
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let c = p.c as usize;
    let examples = args.out(Y).chunks_exact_mut(p.example_out()).zip(args.real(X).chunks_exact(p.example_in()));
    for (y, x) in examples {
        let mut sums = vec![0.0; y.len()];
        for_windows(&p, |to, from, count| {
            (0..c).for_each(|i| sums[to * c + i] += x[from * c + i].get() / count as f64);
        });
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y = S::of(sum));
    }
}

fn backward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let c = p.c as usize;
    let examples = args.out(DX).chunks_exact_mut(p.example_in()).zip(args.real(DY).chunks_exact(p.example_out()));
    for (dx, dy) in examples {
        let mut sums = vec![0.0; dx.len()];
        for_windows(&p, |from, to, count| {
            (0..c).for_each(|i| sums[to * c + i] += dy[from * c + i].get() / count as f64);
        });
        dx.iter_mut().zip(sums).for_each(|(dx, sum)| *dx = S::of(sum));
    }
}

fn forward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let examples = args.out(Y).par_chunks_exact_mut(p.example_out()).zip(args.real(X).par_chunks_exact(p.example_in()));
    examples.with_min_len(args.least_items()).for_each(|(y, x)| forward_example(&p, x, y));
}

/// Sums first and divides once.
#[multiversion(targets("x86_64+avx2+fma"))]
fn forward_example(p: &Params, x: &[f32], y: &mut [f32]) {
    let c = p.c as usize;
    for (pixel, y) in y.chunks_exact_mut(c).enumerate() {
        let (rows, columns) = (p.rows(pixel / p.ow as usize), p.columns(pixel % p.ow as usize));
        y.fill(0.0);
        for row in rows.clone() {
            let line = &x[(row * p.w as usize + columns.start) * c..][..columns.len() * c];
            for x in line.chunks_exact(c) {
                y.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
            }
        }
        let count = (rows.len() * columns.len()) as f32;
        y.iter_mut().for_each(|sum| *sum /= count);
    }
}

fn backward_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let examples =
        args.out(DX).par_chunks_exact_mut(p.example_in()).zip(args.real(DY).par_chunks_exact(p.example_out()));
    examples.with_min_len(args.least_items()).for_each(|(dx, dy)| backward_example(&p, dy, dx));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn backward_example(p: &Params, dy: &[f32], dx: &mut [f32]) {
    let c = p.c as usize;
    dx.fill(0.0);
    for (pixel, dy) in dy.chunks_exact(c).enumerate() {
        let (rows, columns) = (p.rows(pixel / p.ow as usize), p.columns(pixel % p.ow as usize));
        let share = 1.0 / (rows.len() * columns.len()) as f32;
        for row in rows {
            let line = &mut dx[(row * p.w as usize + columns.start) * c..][..columns.len() * c];
            for dx in line.chunks_exact_mut(c) {
                dx.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy * share);
            }
        }
    }
}

fn cases() -> Vec<Case> {
    // [N,H,W,C], window, stride, pad
    let shapes = [
        ([1, 1, 1, 1], [1, 1], [1, 1], [0, 0]),
        ([2, 24, 24, 8], [2, 2], [2, 2], [0, 0]),
        ([3, 9, 7, 5], [3, 2], [2, 1], [1, 0]),
        ([2, 5, 6, 3], [4, 5], [1, 3], [3, 4]),
        ([2, 8, 11, 6], [2, 3], [3, 4], [0, 0]),
        ([5, 7, 7, 16], [7, 7], [1, 1], [0, 0]),
        ([1, 13, 5, 65], [13, 5], [1, 1], [0, 0]),
        // Windows of more than 256 elements: of one chunk, of several, of 25 for the 16 lanes that add them. Channels
        // that fill a tile, some tiles, and not quite a tile.
        ([2, 16, 16, 16], [16, 16], [1, 1], [0, 0]),
        ([2, 17, 16, 3], [17, 16], [1, 1], [0, 0]),
        ([2, 32, 33, 17], [32, 33], [1, 1], [0, 0]),
        ([1, 97, 103, 1], [97, 103], [1, 1], [0, 0]),
        ([1, 111, 112, 16], [111, 112], [1, 1], [0, 0]),
        ([2, 23, 25, 5], [18, 21], [2, 3], [9, 2]),
        ([5, 17, 18, 33], [17, 16], [1, 2], [0, 0]),
        ([7, 17, 16, 5], [17, 16], [1, 1], [0, 0]),
    ];
    let mut cases = Vec::new();
    for (input, window, stride, pad) in shapes {
        let p = Params::new(input, window, stride, pad);
        let shape = format!("{input:?} window {window:?} stride {stride:?} pad {pad:?}");
        let (inputs, outputs) = (p.input_len(), p.output_len());
        // A mean is no larger than its largest term.
        let tolerance = Tolerance::sum((p.kh * p.kw) as usize, 1.0 / (p.kh * p.kw) as f64);
        let mut b = CaseBuilder::default();
        let (x, y) = (b.real(inputs), b.out(outputs));
        cases.push(b.case(&shape, forward(p, x, y), tolerance));
        let mut b = CaseBuilder::default();
        let (dy, dx) = (b.real(outputs), b.out(inputs));
        cases.push(b.case(&shape, backward(p, dy, dx), Tolerance::sum((p.kh * p.kw) as usize, 1.0)));
    }
    also_split(cases, &["[2, 24, 24, 8]", "[5, 17, 18, 33]", "[7, 17, 16, 5]"])
}

#[cfg(test)]
mod tests {
    use super::super::{Slot, SlotMut};
    use super::*;

    /// Both functions of an operation on one input.
    fn run(operation: &'static Operation, p: Params, input: &[f32], len: usize) -> [Vec<f32>; 2] {
        [operation.reference.single, operation.cpu.expect("a fast function").run].map(|function| {
            let mut out = vec![f32::NAN; len];
            let (inputs, outputs) = (vec![Slot::Real(input)], vec![SlotMut::Real(&mut out)]);
            function(&mut Args::new(operation, bytemuck::bytes_of(&p), inputs, outputs));
            out
        })
    }

    #[test]
    fn padding_does_not_count() {
        let p = Params::new([1, 2, 2, 1], [2, 2], [1, 1], [1, 1]);
        // Nine windows: four of one element, four of two, one of four.
        assert_eq!(flops(&p), 16);
        for y in run(&FORWARD, p, &[1.0, 3.0, 5.0, 7.0], 9) {
            assert_eq!(y, [1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 5.0, 6.0, 7.0]);
        }
        for dx in run(&BACKWARD, p, &[4.0; 9], 4) {
            // A corner's own window, two of two elements, the one of four.
            assert_eq!(dx, [4.0 + 2.0 + 2.0 + 1.0; 4]);
        }
    }

    #[test]
    fn no_lane_of_a_gpu_takes_more_than_256_elements_or_chunks() {
        // An image has at most 2^28 values, and at most 2^20 in a row or a column.
        for c in (1..=300).chain([512, 1000, 1 << 20]) {
            for side in [17, 24, 32, 64, 100, 224, 1000, 1 << 14] {
                let [h, w] = [side, side].map(|side: usize| side.min((1 << 14) / (c as f64).sqrt().ceil() as usize));
                let op = operation(Params::new([1, h, w, c], [h, w], [1, 1], [0, 0]));
                let height = 256 / c.div_ceil(tiles(&op));
                let steps = (h * w).div_ceil(chunks(&op)).div_ceil(height);
                assert!(steps <= 256 && chunks(&op) <= 256 * height, "{steps} elements of [{h}, {w}, {c}]");
            }
        }
    }

    fn operation(p: Params) -> Op {
        let mut b = CaseBuilder::default();
        let tensor = |b: &mut CaseBuilder, len: usize| super::super::Tensor { len, ..b.out(0) };
        let (x, y) = (tensor(&mut b, p.input_len()), tensor(&mut b, p.output_len()));
        forward(p, x, y)
    }
}
