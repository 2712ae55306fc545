//! 2-D convolution, NHWC: x `[N,H,W,C]`, weight `[KH,KW,C,O]`, bias `[O]`, y `[N,OH,OW,O]`; `shaders/conv.wgsl`.
//!
//! y`[n,oy,ox,o]` = bias`[o]` + sum over ky,kx,c of x[n, oy*s+ky-pad, ox*s+kx-pad, c] * weight`[ky,kx,c,o]`, x being
//! zero outside (cross-correlation, as in PyTorch and ConvNetJS). K = KH*KW*C is the length of an im2col row. With
//! dilation d the tap is at oy*s+ky*d-pad. With G groups the weight is `[KH,KW,C/G,O]`, and filter o sees the C/G
//! channels from floor(o/(O/G))*(C/G) on.

use super::op::{unit, word};
use super::{
    Args, Cpu, Element::F32, Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Variant, conv_blocked,
    conv_cpu, per_example, per_unit, whole,
};

mod cases;

pub use cases::cases;

/// The shape of one convolution: output size floor((in + 2*pad - k)/stride) + 1 in each direction.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub n: u32,
    pub h: u32,
    pub w: u32,
    pub c: u32,
    pub oh: u32,
    pub ow: u32,
    pub o: u32,
    pub kh: u32,
    pub kw: u32,
    pub stride: [u32; 2],
    pub pad: [u32; 2],
    /// Examples per partial sum of the weight gradient.
    pub examples_per_split: u32,
    pub dilation: [u32; 2],
    /// The number of groups that C and O are divided into; filters of a group read the channels of that group.
    pub groups: u32,
    pub reserved: [u32; 3],
}

impl Params {
    /// `input` is `[N,H,W,C]`; `kernel`, `stride`, `pad` are `[vertical, horizontal]`.
    pub fn new(input: [usize; 4], filters: usize, kernel: [usize; 2], stride: [usize; 2], pad: [usize; 2]) -> Params {
        let out = |i: usize| (input[1 + i] + 2 * pad[i] - kernel[i]) / stride[i] + 1;
        let (oh, ow) = (word(out(0)), word(out(1)));
        let examples_per_split = word(unit(input[0]));
        let [n, h, w, c] = input.map(word);
        let ([kh, kw], o) = (kernel.map(word), word(filters));
        let (stride, pad) = (stride.map(word), pad.map(word));
        let (dilation, groups, reserved) = ([1, 1], 1, [0; 3]);
        Params { n, h, w, c, oh, ow, o, kh, kw, stride, pad, examples_per_split, dilation, groups, reserved }
    }

    /// The same shape with taps `dilation` pixels apart, and with `groups`, which divide C and O.
    pub fn with(self, dilation: [usize; 2], groups: usize) -> Params {
        let p = Params { dilation: dilation.map(word), groups: word(groups), ..self };
        assert!(p.c.is_multiple_of(p.groups) && p.o.is_multiple_of(p.groups), "groups of {p:?}");
        let out = |size: u32, i: usize, k: u32| (size + 2 * p.pad[i] - (k - 1) * p.dilation[i] - 1) / p.stride[i] + 1;
        Params { oh: out(p.h, 0, p.kh), ow: out(p.w, 1, p.kw), ..p }
    }

    /// Whether taps are adjacent and every filter reads every channel.
    pub(super) fn is_plain(&self) -> bool {
        self.dilation == [1, 1] && self.groups == 1
    }

    /// Channels that a filter reads.
    pub(super) fn group_inputs(&self) -> usize {
        (self.c / self.groups) as usize
    }

    /// Filters per group.
    pub(super) fn group_outputs(&self) -> usize {
        (self.o / self.groups) as usize
    }

    /// Floats of one example's input.
    pub fn example_in(&self) -> usize {
        self.h as usize * self.w as usize * self.c as usize
    }

    /// Output pixels of one example.
    pub fn rows(&self) -> usize {
        self.oh as usize * self.ow as usize
    }

    /// K, the length of a group's im2col row.
    pub fn k(&self) -> usize {
        self.kh as usize * self.kw as usize * self.group_inputs()
    }

    /// The number of partial sums of the weight gradient.
    pub fn splits(&self) -> usize {
        self.n.div_ceil(self.examples_per_split) as usize
    }

    /// The length of `backward_weight`'s output, `[splits, K+1, O]`.
    pub fn partial_len(&self) -> usize {
        // An overflow of 32 bits is more than any device holds.
        self.splits().saturating_mul((self.k() + 1) * self.o as usize)
    }

    fn x_len(&self) -> usize {
        self.n as usize * self.example_in()
    }

    fn y_len(&self) -> usize {
        self.n as usize * self.rows() * self.o as usize
    }

    fn flops(&self) -> u64 {
        2 * self.y_len() as u64 * self.k() as u64
    }

    /// The input row that output row `o` reads through tap `k`, if it is inside the image.
    pub(super) fn source(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        let tap = o * self.stride[axis] as usize + k * self.dilation[axis] as usize;
        let at = tap.checked_sub(self.pad[axis] as usize)?;
        (at < [self.h, self.w][axis] as usize).then_some(at)
    }

    /// Calls `f(x index without channel, y index without channel, tap)` for every pixel pair that a kernel tap
    /// connects.
    fn for_each_tap(&self, mut f: impl FnMut(usize, usize, usize)) {
        for n in 0..self.n as usize {
            for oy in 0..self.oh as usize {
                for ox in 0..self.ow as usize {
                    let y = (n * self.oh as usize + oy) * self.ow as usize + ox;
                    for ky in 0..self.kh as usize {
                        let Some(iy) = self.source(0, oy, ky) else { continue };
                        for kx in 0..self.kw as usize {
                            let Some(ix) = self.source(1, ox, kx) else { continue };
                            let x = (n * self.h as usize + iy) * self.w as usize + ix;
                            f(x, y, ky * self.kw as usize + kx);
                        }
                    }
                }
            }
        }
    }

    /// Calls `f(channel, filter, place in the tap's weights)` for every channel that a filter reads.
    fn for_each_weight(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (inputs, outputs) = (self.group_inputs(), self.group_outputs());
        for channel in 0..inputs {
            for filter in 0..self.o as usize {
                f(filter / outputs * inputs + channel, filter, channel * self.o as usize + filter);
            }
        }
    }
}

const SOURCE: &str = shader!("prelude/index", "conv");

pub(super) const X: Operand = per_example("x", F32);
pub(super) const WEIGHT: Operand = whole("weight", F32);
pub(super) const BIAS: Operand = whole("bias", F32);
pub(super) const Y: Operand = per_example("y", F32);
pub(super) const DY: Operand = per_example("dy", F32);
pub(super) const DX: Operand = per_example("dx", F32);
/// Sums over the examples of a split, `[splits, K+1, O]`; row K is the bias gradient.
pub(super) const PARTIAL: Operand = per_unit("partial", F32);
pub(super) const DWEIGHT: Operand = whole("dweight", F32);
pub(super) const DBIAS: Operand = whole("dbias", F32);

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
        &conv_blocked::FORWARD_TEXTURES,
        &conv_blocked::FORWARD,
        &conv_blocked::FORWARD_NARROW_TEXTURES,
        &conv_blocked::FORWARD_NARROW,
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
        &conv_blocked::BACKWARD_INPUT_TEXTURES,
        &conv_blocked::BACKWARD_INPUT,
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
        &conv_blocked::BACKWARD_WEIGHT_TEXTURES,
        &conv_blocked::BACKWARD_WEIGHT,
        &conv_blocked::BACKWARD_WEIGHT_NARROW_TEXTURES,
        &conv_blocked::BACKWARD_WEIGHT_NARROW,
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
    op.in_pieces(p.examples_per_split as usize)
}

pub fn sum_splits(p: Params, partial: Tensor, dweight: Tensor, dbias: Tensor) -> Op {
    assert_eq!(partial.len, p.partial_len(), "conv.sum_splits: partial of {p:?}");
    assert_eq!((dweight.len, dbias.len), (p.k() * p.o as usize, p.o as usize), "conv.sum_splits of {p:?}");
    Op::new(&SUM_SPLITS, p, &[(PARTIAL, partial)], &[(DWEIGHT, dweight), (DBIAS, dbias)], partial.len)
}

fn forward_reference<S: Scalar>(args: &mut Args<'_, S>) {
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

fn backward_input_reference<S: Scalar>(args: &mut Args<'_, S>) {
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

fn backward_weight_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (x, dy, partial) = (args.real(X), args.real(DY), args.out(PARTIAL));
    let (c, o, split_rows) = (p.c as usize, p.o as usize, p.rows() * p.examples_per_split as usize);
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
