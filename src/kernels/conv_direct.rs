//! Direct convolution on the CPU for channel counts that fill SIMD vectors: no im2col, blocks of results in registers.
//!
//! Forward and backward to the input keep P pixels x N vectors of output channels in registers; every tap broadcasts
//! one input value to each pixel. Backward to the weights keeps P rows of the weight matrix x N vectors and loops over
//! the pixels. Sums have a fixed order. Each function returns `false` if the shape or the processor does not suit it,
//! and the caller then uses the matrix product.

use super::conv_params::Params;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

thread_local! {
    /// This thread's padded example.
    static PADDED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// The offsets of a window's values.
    static OFFSETS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// The most floats of dy that the weight gradient reads repeatedly: half of a core's first-level cache.
const BAND: usize = 4096;

/// Runs `op` with the widest vectors that `channels` fills; not at all on processors without AVX2.
pub(super) fn vectorize(channels: usize, op: impl WithSimd<Output = ()>) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        if channels.is_multiple_of(16)
            && let Some(simd) = pulp::x86::V4::try_new()
        {
            Simd::vectorize(simd, op);
            return true;
        }
        if channels.is_multiple_of(8)
            && let Some(simd) = pulp::x86::V3::try_new()
        {
            Simd::vectorize(simd, op);
            return true;
        }
    }
    let _ = (channels, op);
    false
}

/// Whether [`forward`] can be used for this shape on this processor.
pub(super) fn takes(p: &Params) -> bool {
    // It copies the image with all its padding, which a network may make arbitrarily large.
    let [h, w] = [p.h + 2 * p.pad[0], p.w + 2 * p.pad[1]].map(|side| side as usize);
    let padded = h.saturating_mul(w).saturating_mul(p.c as usize);
    p.is_plain()
        && padded <= 4 * (p.example_in() + p.rows() * p.o as usize) + MOST_PADDING
        && fills_vectors(p.o as usize)
}

/// Padding; its values are never used.
pub(super) const MOST_PADDING: usize = 1 << 16;

/// Whether this many channels fill vectors of this processor.
pub(super) fn fills_vectors(channels: usize) -> bool {
    struct Nothing;
    impl WithSimd for Nothing {
        type Output = ();
        fn with_simd<S: Simd>(self, _: S) {}
    }
    vectorize(channels, Nothing)
}

/// The sizes that the inner loops need: an image `[height, width, c]` already padded, and its output `[oh, ow, o]`.
#[derive(Clone, Copy)]
struct Sizes {
    width: usize,
    c: usize,
    oh: usize,
    ow: usize,
    o: usize,
    kh: usize,
    kw: usize,
    stride: [usize; 2],
    /// The number of values from the first to the last that a window reads, plus one.
    reach: usize,
}

impl Sizes {
    fn new(p: &Params) -> Sizes {
        let width = (p.w + 2 * p.pad[1]) as usize;
        Sizes {
            width,
            reach: ((p.kh as usize - 1) * width + p.kw as usize) * p.c as usize,
            c: p.c as usize,
            oh: p.oh as usize,
            ow: p.ow as usize,
            o: p.o as usize,
            kh: p.kh as usize,
            kw: p.kw as usize,
            stride: p.stride.map(|s| s as usize),
        }
    }

    /// The offsets of a window's K values from its first; each is below `reach`.
    fn offsets(&self, offsets: &mut Vec<usize>) {
        offsets.clear();
        for ky in 0..self.kh {
            offsets.extend((0..self.kw * self.c).map(|i| ky * self.width * self.c + i));
        }
        assert!(offsets.iter().all(|offset| *offset < self.reach));
    }
}

/// Calls `f` with one example `[H,W,C]` surrounded by its padding.
fn with_padding(p: &Params, x: &[f32], f: impl FnOnce(&[f32])) {
    if p.pad == [0, 0] {
        return f(x);
    }
    let (c, [above, left]) = (p.c as usize, p.pad.map(|pad| pad as usize));
    let (row, padded_row) = (p.w as usize * c, (p.w as usize + 2 * left) * c);
    PADDED.with_borrow_mut(|padded| {
        padded.clear();
        padded.resize((p.h as usize + 2 * above) * padded_row, 0.0);
        for (to, from) in padded[above * padded_row..].chunks_exact_mut(padded_row).zip(x.chunks_exact(row)) {
            to[left * c..left * c + row].copy_from_slice(from);
        }
        f(padded);
    });
}

/// Weights `[K, O]` as `[O / block, K, block]`, so that the inner loop reads them in sequence.
pub(super) fn pack(weight: &[f32], o: usize, packed: &mut Vec<f32>) {
    let block = block_channels(o);
    packed.resize(weight.len(), 0.0);
    in_tasks(packed, weight.len() / o * block, |first, packed| {
        for (to, row) in packed.chunks_exact_mut(block).zip(weight.chunks_exact(o)) {
            to.copy_from_slice(&row[first * block..][..block]);
        }
    });
}

/// The number of floats whose packing justifies a task.
const TASK: usize = 8192;

/// Calls `f(index, part)` with parts of this many floats, of which the last may be shorter; on all threads if there are
/// many floats.
pub(super) fn in_tasks(floats: &mut [f32], part: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let parts = floats.par_chunks_mut(part).enumerate();
    parts.with_min_len(TASK.div_ceil(part)).for_each(|(i, part)| f(i, part));
}

/// Weights `[KH, KW, C, O]` packed for the convolution that computes the input's gradient: taps reversed, O and C
/// exchanged.
pub(super) fn pack_reversed(p: &Params, weight: &[f32], packed: &mut Vec<f32>) {
    let (c, o, taps) = (p.c as usize, p.o as usize, (p.kh * p.kw) as usize);
    let block = block_channels(c);
    packed.resize(weight.len(), 0.0);
    // The weights of a tap and a block of channels are a matrix `[block, O]`, which is transposed.
    in_tasks(packed, o * block, |i, packed| {
        let (first, tap) = (i / taps * block, taps - 1 - i % taps);
        let channels = &weight[(tap * c + first) * o..][..block * o];
        for (filter, packed) in packed.chunks_exact_mut(block).enumerate() {
            packed.iter_mut().zip(channels[filter..].iter().step_by(o)).for_each(|(to, from)| *to = *from);
        }
    });
}

/// Output channels of a block: two vectors if they fill two, otherwise one.
fn block_channels(o: usize) -> usize {
    struct Lanes<'a>(&'a mut usize);
    impl WithSimd for Lanes<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            *self.0 = S::F32_LANES;
        }
    }
    let mut lanes = o;
    vectorize(o, Lanes(&mut lanes));
    if o.is_multiple_of(2 * lanes) { 2 * lanes } else { lanes }
}

/// The convolution that computes the input's gradient from the output's, at stride 1 and with at most a whole kernel's
/// padding.
pub(super) fn reversed(p: &Params) -> Option<Params> {
    let pad = [p.kh.checked_sub(p.pad[0] + 1)?, p.kw.checked_sub(p.pad[1] + 1)?];
    let swapped = Params { h: p.oh, w: p.ow, c: p.o, oh: p.h, ow: p.w, o: p.c, pad, ..*p };
    (p.stride == [1, 1]).then_some(swapped)
}

/// One example: y `[OH,OW,O]` from x `[H,W,C]`, packed weights and bias `[O]`.
pub(super) fn forward(p: &Params, x: &[f32], packed: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let sizes = Sizes::new(p);
    OFFSETS.with_borrow_mut(|offsets| {
        sizes.offsets(offsets);
        with_padding(p, x, |x| {
            let done = vectorize(p.o as usize, Forward { sizes, x, offsets, packed, bias, y });
            assert!(done, "asked before");
        });
    });
}

struct Forward<'a> {
    sizes: Sizes,
    x: &'a [f32],
    offsets: &'a [usize],
    packed: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.sizes.o.is_multiple_of(2 * S::F32_LANES) {
            self.run::<S, 6, 2>(simd);
        } else {
            self.run::<S, 8, 1>(simd);
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn run<S: Simd, const P: usize, const N: usize>(self, simd: S) {
        let Sizes { ow, o, kh, kw, c, .. } = self.sizes;
        let pixels = self.sizes.oh * ow;
        let vectors = o / S::F32_LANES;
        let y: &mut [S::f32s] = bytemuck::cast_slice_mut(self.y);
        let weights: &[S::f32s] = bytemuck::cast_slice(self.packed);
        let bias: Option<&[S::f32s]> = self.bias.map(bytemuck::cast_slice);
        for (block, weights) in weights.chunks_exact(kh * kw * c * N).enumerate() {
            let at = block * N;
            let start: [S::f32s; N] = std::array::from_fn(|n| bias.map_or(simd.splat_f32s(0.0), |bias| bias[at + n]));
            let mut first = 0;
            while first < pixels {
                // The last block starts early and computes some pixels twice; a small image is processed pixel by
                // pixel.
                if pixels >= P {
                    first = first.min(pixels - P);
                    let sums = pixel_block::<S, P, N>(simd, &self.sizes, self.x, self.offsets, weights, start, first);
                    for (i, sums) in sums.iter().enumerate() {
                        y[(first + i) * vectors + at..][..N].copy_from_slice(sums);
                    }
                    first += P;
                } else {
                    let [sums] = pixel_block::<S, 1, N>(simd, &self.sizes, self.x, self.offsets, weights, start, first);
                    y[first * vectors + at..][..N].copy_from_slice(&sums);
                    first += 1;
                }
            }
        }
    }
}

/// `start` plus the sums over all taps of the P pixels from `first` on.
#[inline(always)]
fn pixel_block<S: Simd, const P: usize, const N: usize>(
    simd: S,
    sizes: &Sizes,
    x: &[f32],
    offsets: &[usize],
    weights: &[S::f32s],
    start: [S::f32s; N],
    first: usize,
) -> [[S::f32s; N]; P] {
    let (row, step) = (sizes.stride[0] * sizes.width * sizes.c, sizes.stride[1] * sizes.c);
    let (oy, ox) = (first / sizes.ow, first % sizes.ow);
    // Windows start at increasing offsets, so the last one's end decides.
    let mut at = [oy * row + ox * step; P];
    if ox + P <= sizes.ow {
        (0..P).for_each(|i| at[i] += i * step);
    } else {
        (0..P).for_each(|i| at[i] = (first + i) / sizes.ow * row + (first + i) % sizes.ow * step);
    }
    assert!(at[P - 1] + sizes.reach <= x.len());
    // SAFETY: no at[i] is above at[P - 1].
    let windows: [*const f32; P] = std::array::from_fn(|i| unsafe { x.as_ptr().add(at[i]) });
    let mut sums = [start; P];
    for (offset, weights) in offsets.iter().zip(weights.chunks_exact(N)) {
        for i in 0..P {
            // SAFETY: every offset is below `reach`, and therefore inside x. A check would take longer than the sum.
            let value = simd.splat_f32s(unsafe { *windows[i].add(*offset) });
            for n in 0..N {
                sums[i][n] = simd.mul_add_e_f32s(value, weights[n], sums[i][n]);
            }
        }
    }
    sums
}

/// Whether [`backward_weight`] can be used for this shape on this processor.
pub(super) fn takes_weight(p: &Params) -> bool {
    p.stride == [1, 1] && takes(p)
}

/// One example: adds to dweight `[K,O]` the products of x `[H,W,C]` and dy `[OH,OW,O]`.
pub(super) fn backward_weight(p: &Params, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    with_planes(p, x, |planes| {
        let sizes = Sizes::new(p);
        let height = (p.h + 2 * p.pad[0]) as usize;
        let done = vectorize(p.o as usize, Weight { sizes, plane: height * sizes.width, planes, dy, dweight });
        assert!(done, "asked before");
    });
}

/// Calls `f` with one example `[H,W,C]` as planes `[C,H,W]`, surrounded by their padding: the values of one channel are
/// adjacent along a row.
fn with_planes(p: &Params, x: &[f32], f: impl FnOnce(&[f32])) {
    let (w, c, [above, left]) = (p.w as usize, p.c as usize, p.pad.map(|pad| pad as usize));
    let (height, width) = (p.h as usize + 2 * above, w + 2 * left);
    PADDED.with_borrow_mut(|planes| {
        planes.clear();
        planes.resize(c * height * width, 0.0);
        for (y, row) in x.chunks_exact(w * c).enumerate() {
            for channel in 0..c {
                let to = &mut planes[(channel * height + y + above) * width + left..][..w];
                for (to, from) in to.iter_mut().zip(row[channel..].iter().step_by(c)) {
                    *to = *from;
                }
            }
        }
        f(planes);
    });
}

struct Weight<'a> {
    sizes: Sizes,
    /// Values per plane.
    plane: usize,
    planes: &'a [f32],
    dy: &'a [f32],
    dweight: &'a mut [f32],
}

impl WithSimd for Weight<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.sizes.o.is_multiple_of(2 * S::F32_LANES) {
            self.run::<S, 6, 2>(simd);
        } else {
            self.run::<S, 9, 1>(simd);
        }
    }
}

impl Weight<'_> {
    #[inline(always)]
    fn run<S: Simd, const P: usize, const N: usize>(self, simd: S) {
        let sizes = self.sizes;
        let o = sizes.o;
        let vectors = o / S::F32_LANES;
        let rows = sizes.kh * sizes.kw * sizes.c;
        let dy: &[S::f32s] = bytemuck::cast_slice(self.dy);
        let dweight: &mut [S::f32s] = bytemuck::cast_slice_mut(self.dweight);
        let band = (BAND / (sizes.ow * o)).clamp(1, sizes.oh);
        for band in (0..sizes.oh).step_by(band).map(|first| first..(first + band).min(sizes.oh)) {
            for first in (0..rows).step_by(P) {
                // The offset of the row's first value in the planes; beyond the last row, some values are summed in
                // vain.
                let at: [usize; P] = std::array::from_fn(|i| {
                    let row = (first + i).min(rows - 1);
                    let (tap, channel) = (row / sizes.c, row % sizes.c);
                    channel * self.plane + tap / sizes.kw * sizes.width + tap % sizes.kw
                });
                for block in (0..vectors).step_by(N) {
                    let dy = &dy[block..];
                    let sums = row_block::<S, P, N>(simd, &sizes, self.planes, dy, vectors, at, band.clone());
                    for (sums, row) in sums.iter().zip(first..rows) {
                        for (n, sum) in sums.iter().enumerate() {
                            let to = &mut dweight[row * vectors + block + n];
                            *to = simd.add_f32s(*to, *sum);
                        }
                    }
                }
            }
        }
    }
}

/// Sums over the pixels of a band of rows: for P rows of the weight matrix, which start at `at` in the planes, and N
/// vectors of `dy`.
#[inline(always)]
fn row_block<S: Simd, const P: usize, const N: usize>(
    simd: S,
    sizes: &Sizes,
    planes: &[f32],
    dy: &[S::f32s],
    vectors: usize,
    at: [usize; P],
    band: Range<usize>,
) -> [[S::f32s; N]; P] {
    let mut sums = [[simd.splat_f32s(0.0); N]; P];
    for oy in band {
        let dy = &dy[oy * sizes.ow * vectors..][..(sizes.ow - 1) * vectors + N];
        let rows: [&[f32]; P] = std::array::from_fn(|i| &planes[at[i] + oy * sizes.width..][..sizes.ow]);
        for ox in 0..sizes.ow {
            // SAFETY: ox is below ow, the length of every row, and ox * vectors + N is at most that of dy, as cut
            // above. Checks in this loop would displace the sums from their registers.
            let (dy, values) = unsafe {
                let dy: [S::f32s; N] = std::array::from_fn(|n| *dy.get_unchecked(ox * vectors + n));
                (dy, rows.map(|row| *row.get_unchecked(ox)))
            };
            for i in 0..P {
                let value = simd.splat_f32s(values[i]);
                for n in 0..N {
                    sums[i][n] = simd.mul_add_e_f32s(value, dy[n], sums[i][n]);
                }
            }
        }
    }
    sums
}
