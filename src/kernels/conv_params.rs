//! The shape of a convolution, and its operands.

use super::op::{unit, word};
use super::{
    Element::{F32, U32},
    Operand, per_example, per_unit, whole,
};

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
    /// Output pixels of the batch per partial sum of the weight gradient.
    pub pixels_per_split: u32,
    pub dilation: [u32; 2],
    /// The number of groups that C and O are divided into; filters of a group read the channels of that group.
    pub groups: u32,
    /// The window of a max-pooling that the operation also computes, after a ReLU; windows do not overlap. Otherwise 0.
    pub window: [u32; 2],
    pub reserved: u32,
}

impl Params {
    /// `input` is `[N,H,W,C]`; `kernel`, `stride`, `pad` are `[vertical, horizontal]`.
    pub fn new(input: [usize; 4], filters: usize, kernel: [usize; 2], stride: [usize; 2], pad: [usize; 2]) -> Params {
        let out = |i: usize| (input[1 + i] + 2 * pad[i] - kernel[i]) / stride[i] + 1;
        let (oh, ow) = (word(out(0)), word(out(1)));
        let [n, h, w, c] = input.map(word);
        let ([kh, kw], o) = (kernel.map(word), word(filters));
        let (stride, pad) = (stride.map(word), pad.map(word));
        let (dilation, groups, window, reserved) = ([1, 1], 1, [0; 2], 0);
        let p = Params {
            n,
            h,
            w,
            c,
            oh,
            ow,
            o,
            kh,
            kw,
            stride,
            pad,
            pixels_per_split: 1,
            dilation,
            groups,
            window,
            reserved,
        };
        p.split_by_examples()
    }

    /// The same shape with taps `dilation` pixels apart, and with `groups`, which divide C and O.
    pub fn with(self, dilation: [usize; 2], groups: usize) -> Params {
        let p = Params { dilation: dilation.map(word), groups: word(groups), ..self };
        assert!(p.c.is_multiple_of(p.groups) && p.o.is_multiple_of(p.groups), "groups of {p:?}");
        let out = |size: u32, i: usize, k: u32| (size + 2 * p.pad[i] - (k - 1) * p.dilation[i] - 1) / p.stride[i] + 1;
        Params { oh: out(p.h, 0, p.kh), ow: out(p.w, 1, p.kw), ..p }.split_by_examples()
    }

    /// The same shape with splits of whole examples, few enough to be added cheaply.
    fn split_by_examples(self) -> Params {
        Params { pixels_per_split: word(unit(self.n as usize) * self.rows()), ..self }
    }

    /// The number of examples of a split, if it has whole ones.
    pub(super) fn examples_per_split(&self) -> Option<usize> {
        let (pixels, rows) = (self.pixels_per_split as usize, self.rows());
        pixels.is_multiple_of(rows).then(|| pixels / rows)
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
        (self.n as usize * self.rows()).div_ceil(self.pixels_per_split as usize)
    }

    /// The length of `backward_weight`'s output, `[splits, K+1, O]`.
    pub fn partial_len(&self) -> usize {
        // An overflow of 32 bits is more than any device holds.
        self.splits().saturating_mul((self.k() + 1) * self.o as usize)
    }

    /// This shape with a max-pooling of its outputs, after a ReLU, in the same operation.
    pub fn with_pooling(self, window: [usize; 2]) -> Params {
        let p = Params { window: window.map(word), ..self };
        assert!(p.can_pool(window), "pooling of {p:?}");
        p
    }

    /// Whether an operation can also compute a pooling with this window, which does not overlap its neighbours: four or
    /// nine outputs, because an invocation of a GPU computes all of them.
    pub fn can_pool(&self, window: [usize; 2]) -> bool {
        let fits = window[0] <= self.oh as usize && window[1] <= self.ow as usize;
        fits && [4, 9].contains(&(window[0] * window[1])) && self.groups == 1 && self.o.is_multiple_of(4)
    }

    /// Pixels of all examples after the pooling.
    pub(super) fn pooled_pixels(&self) -> usize {
        (self.n * (self.oh / self.window[0]) * (self.ow / self.window[1])) as usize
    }

    pub(super) fn x_len(&self) -> usize {
        self.n as usize * self.example_in()
    }

    pub(super) fn y_len(&self) -> usize {
        self.n as usize * self.rows() * self.o as usize
    }

    pub(super) fn flops(&self) -> u64 {
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
    pub(super) fn for_each_tap(&self, mut f: impl FnMut(usize, usize, usize)) {
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
    pub(super) fn for_each_weight(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (inputs, outputs) = (self.group_inputs(), self.group_outputs());
        for channel in 0..inputs {
            for filter in 0..self.o as usize {
                f(filter / outputs * inputs + channel, filter, channel * self.o as usize + filter);
            }
        }
    }
}

pub(crate) const X: Operand = per_example("x", F32);
pub(crate) const WEIGHT: Operand = whole("weight", F32);
pub(crate) const BIAS: Operand = whole("bias", F32);
pub(crate) const Y: Operand = per_example("y", F32);
pub(crate) const DY: Operand = per_example("dy", F32);
pub(crate) const DX: Operand = per_example("dx", F32);
/// The outputs after the pooling, and their gradient.
pub(crate) const POOLED: Operand = per_example("y", F32);
pub(crate) const DPOOLED: Operand = per_example("dy", F32);
/// As [`pool`](super::pool) writes it with a ReLU.
pub(crate) const WINNER: Operand = per_example("winner", U32);
/// x, the output of a ReLU.
pub(crate) const RECTIFIED: Operand = per_example("x", F32);
/// Sums over the examples of a split, `[splits, K+1, O]`; row K is the bias gradient.
pub(crate) const PARTIAL: Operand = per_unit("partial", F32);
pub(crate) const DWEIGHT: Operand = whole("dweight", F32);
pub(crate) const DBIAS: Operand = whole("dbias", F32);
