//! 2-D convolution, NHWC: x `[N,H,W,C]`, weight `[KH,KW,C,O]`, bias `[O]`, y `[N,OH,OW,O]`; `shaders/conv.wgsl`.
//!
//! y`[n,oy,ox,o]` = bias`[o]` + sum over ky,kx,c of x[n, oy*s+ky-pad, ox*s+kx-pad, c] * weight`[ky,kx,c,o]`, x being
//! zero outside (cross-correlation, as in PyTorch and ConvNetJS). K = KH*KW*C is the length of an im2col row. With
//! dilation d the tap is at oy*s+ky*d-pad. With G groups the weight is `[KH,KW,C/G,O]`, and filter o sees the C/G
//! channels from floor(o/(O/G))*(C/G) on.

pub use super::conv_params::Params;
use super::conv_params::{BIAS, DBIAS, DWEIGHT, DX, DY, PARTIAL, WEIGHT, X, Y};
use super::{
    Args, BufferId, Cpu, Family, Launch, Op, Operation, Reference, Scalar, Tensor, Variant, conv_blocked, conv_cpu,
    conv_matrix, conv_tile,
};

mod cases;

pub use cases::cases;

const SOURCE: &str = shader!("prelude/index", "conv");

pub(super) static FAMILY: Family =
    Family { operations: &[&FORWARD, &BACKWARD_INPUT, &BACKWARD_WEIGHT, &SUM_SPLITS], cases };

/// y from x, weight and bias.
pub static FORWARD: Operation = Operation {
    name: "conv.forward",
    inputs: &[X, WEIGHT, BIAS],
    outputs: &[Y],
    params: size_of::<Params>(),
    reference: Reference::new(forward_reference, forward_reference),
    cpu: Cpu::prepared(conv_cpu::forward, conv_cpu::prepare_forward),
    gpu: &[
        &conv_matrix::FORWARD[0],
        &conv_matrix::FORWARD[1],
        &conv_matrix::FORWARD[2],
        &conv_blocked::FORWARD_TEXTURES,
        &conv_blocked::FORWARD,
        &conv_blocked::FORWARD_NARROW_TEXTURES,
        &conv_blocked::FORWARD_NARROW,
        &conv_tile::FORWARD_8,
        &conv_tile::FORWARD_4,
        &conv_tile::FORWARD_NARROW,
        &conv_tile::FORWARD_ANY,
        &Variant::new("conv.forward", SOURCE, "forward", |op| Launch::linear(op.params::<Params>().y_len(), 64)),
    ],
};

/// The gradient with respect to x.
pub static BACKWARD_INPUT: Operation = Operation {
    name: "conv.backward_input",
    inputs: &[DY, WEIGHT],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_input_reference, backward_input_reference),
    cpu: Cpu::prepared(conv_cpu::backward_input, conv_cpu::prepare_backward_input),
    gpu: &[
        &conv_matrix::BACKWARD_INPUT[0],
        &conv_matrix::BACKWARD_INPUT[1],
        &conv_matrix::BACKWARD_INPUT[2],
        &conv_blocked::BACKWARD_INPUT_TEXTURES,
        &conv_blocked::BACKWARD_INPUT,
        &conv_tile::BACKWARD_INPUT_8,
        &conv_tile::BACKWARD_INPUT_4,
        &conv_tile::BACKWARD_INPUT_ANY,
        &Variant::new("conv.backward_input", SOURCE, "backward_input", |op| {
            Launch::linear(op.params::<Params>().x_len(), 64)
        }),
    ],
};

/// The gradients with respect to weight and bias, for each split.
pub static BACKWARD_WEIGHT: Operation = Operation {
    name: "conv.backward_weight",
    inputs: &[X, DY],
    outputs: &[PARTIAL],
    params: size_of::<Params>(),
    reference: Reference::new(backward_weight_reference, backward_weight_reference),
    cpu: Cpu::prepared(conv_cpu::backward_weight, conv_cpu::prepare_backward_weight),
    gpu: &[
        &conv_matrix::BACKWARD_WEIGHT[0],
        &conv_matrix::BACKWARD_WEIGHT[1],
        &conv_matrix::BACKWARD_WEIGHT[2],
        &conv_blocked::BACKWARD_WEIGHT_TEXTURES,
        &conv_blocked::BACKWARD_WEIGHT,
        &conv_blocked::BACKWARD_WEIGHT_NARROW_TEXTURES,
        &conv_blocked::BACKWARD_WEIGHT_NARROW,
        &conv_tile::BACKWARD_WEIGHT_BAND[0],
        &conv_tile::BACKWARD_WEIGHT_BAND[1],
        &conv_tile::BACKWARD_WEIGHT,
        &conv_tile::BACKWARD_WEIGHT_NARROW,
        &conv_tile::BACKWARD_WEIGHT_ANY,
        &conv_tile::BACKWARD_WEIGHT_GROUPED,
        &Variant::new("conv.backward_weight", SOURCE, "backward_weight", |op| {
            Launch::linear(op.params::<Params>().partial_len(), 64)
        }),
    ],
};

/// The sums over all splits.
pub static SUM_SPLITS: Operation = Operation {
    name: "conv.sum_splits",
    inputs: &[PARTIAL],
    outputs: &[DWEIGHT, DBIAS],
    params: size_of::<Params>(),
    reference: Reference::new(sum_splits_reference, sum_splits_reference),
    cpu: Cpu::new(conv_cpu::sum_splits),
    gpu: &[&Variant::new("conv.sum_splits", SOURCE, "sum_splits", |op| {
        let p: Params = op.params();
        Launch::linear((p.k() + 1) * p.o as usize, 64)
    })],
};

pub fn forward(p: Params, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Op {
    assert_eq!((x.len, y.len), (p.x_len(), p.y_len()), "conv.forward: x, y of {p:?}");
    assert_eq!((weight.len, bias.len), (p.k() * p.o as usize, p.o as usize), "conv.forward: weight, bias of {p:?}");
    Op::new(&FORWARD, p, &[(X, x), (WEIGHT, weight), (BIAS, bias)], &[(Y, y)], p.flops()).in_pieces(1)
}

pub fn backward_input(p: Params, dy: Tensor, weight: Tensor, dx: Tensor) -> Op {
    assert_eq!((dx.len, dy.len), (p.x_len(), p.y_len()), "conv.backward_input: dx, dy of {p:?}");
    assert_eq!(weight.len, p.k() * p.o as usize, "conv.backward_input: weight of {p:?}");
    Op::new(&BACKWARD_INPUT, p, &[(DY, dy), (WEIGHT, weight)], &[(DX, dx)], p.flops()).in_pieces(1)
}

pub fn backward_weight(p: Params, x: Tensor, dy: Tensor, partial: Tensor) -> Op {
    assert_eq!((x.len, dy.len), (p.x_len(), p.y_len()), "conv.backward_weight: x, dy of {p:?}");
    assert_eq!(partial.len, p.partial_len(), "conv.backward_weight: partial of {p:?}");
    let op = Op::new(&BACKWARD_WEIGHT, p, &[(X, x), (DY, dy)], &[(PARTIAL, partial)], p.flops());
    match p.examples_per_split() {
        Some(examples) => op.in_pieces(examples),
        None => op,
    }
}

pub fn sum_splits(p: Params, partial: Tensor, dweight: Tensor, dbias: Tensor) -> Op {
    assert_eq!(partial.len, p.partial_len(), "conv.sum_splits: partial of {p:?}");
    assert_eq!((dweight.len, dbias.len), (p.k() * p.o as usize, p.o as usize), "conv.sum_splits of {p:?}");
    Op::new(&SUM_SPLITS, p, &[(PARTIAL, partial)], &[(DWEIGHT, dweight), (DBIAS, dbias)], partial.len)
}

/// The gradient of y that a backward pass reads, if its CPU function may skip the gradient's zeros.
pub fn sparse_gradient(op: &Op) -> Option<BufferId> {
    let backward = [&BACKWARD_INPUT, &BACKWARD_WEIGHT].iter().any(|operation| std::ptr::eq(op.operation, *operation));
    backward.then(|| op.input(DY))
}

/// The share of the zeros in `dy` that the CPU skips in a backward pass, among all values of `dy`, from 0 to 1. `None`
/// if it skips none. `op` is one for which [`sparse_gradient`] returns a buffer, and `dy` what that buffer holds.
pub fn skipped_zeros(op: &Op, dy: &[f32]) -> Option<f64> {
    conv_cpu::skipped_zeros(op, dy)
}

pub(super) fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (x, weight, bias, y) = (args.real(X), args.real(WEIGHT), args.real(BIAS), args.out(Y));
    let (c, o, per_tap) = (p.c as usize, p.o as usize, p.group_inputs() * p.o as usize);
    let mut sums: Vec<f64> = (0..y.len()).map(|i| bias[i % o].get()).collect();
    p.for_each_tap(|at_x, at_y, tap| {
        p.for_each_weight(|channel, filter, at| {
            sums[at_y * o + filter] += x[at_x * c + channel].get() * weight[tap * per_tap + at].get();
        });
    });
    store(y, &sums);
}

pub(super) fn backward_input_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (dy, weight, dx) = (args.real(DY), args.real(WEIGHT), args.out(DX));
    let (c, o, per_tap) = (p.c as usize, p.o as usize, p.group_inputs() * p.o as usize);
    let mut sums = vec![0.0; dx.len()];
    p.for_each_tap(|at_x, at_y, tap| {
        p.for_each_weight(|channel, filter, at| {
            sums[at_x * c + channel] += dy[at_y * o + filter].get() * weight[tap * per_tap + at].get();
        });
    });
    store(dx, &sums);
}

pub(super) fn backward_weight_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (x, dy, partial) = (args.real(X), args.real(DY), args.out(PARTIAL));
    let (c, o, split_rows) = (p.c as usize, p.o as usize, p.pixels_per_split as usize);
    let (stride, per_tap) = ((p.k() + 1) * o, p.group_inputs() * o);
    let mut sums = vec![0.0; partial.len()];
    p.for_each_tap(|at_x, at_y, tap| {
        let base = at_y / split_rows * stride;
        p.for_each_weight(|channel, filter, at| {
            sums[base + tap * per_tap + at] += x[at_x * c + channel].get() * dy[at_y * o + filter].get();
        });
    });
    for (i, dy) in dy.iter().enumerate() {
        sums[i / o / split_rows * stride + p.k() * o + i % o] += dy.get();
    }
    store(partial, &sums);
}

fn sum_splits_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (partial, dweight, dbias) = (args.real(PARTIAL), args.out(DWEIGHT), args.out(DBIAS));
    let stride = (p.k() + 1) * p.o as usize;
    let sum = |i: usize| S::of(partial[i..].iter().step_by(stride).map(|v| v.get()).sum());
    let weights = dweight.len();
    for (i, out) in dweight.iter_mut().chain(dbias.iter_mut()).enumerate() {
        *out = sum(i);
    }
    debug_assert_eq!(weights, p.k() * p.o as usize);
}

fn store<S: Scalar>(out: &mut [S], sums: &[f64]) {
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = S::of(*sum);
    }
}
