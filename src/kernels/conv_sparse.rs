//! Backward passes of a convolution on the CPU through only the nonzero values of dy. After a max-pooling only winners
//! have a gradient, after a ReLU only the values that it passed, so most of dy is zero and contributes nothing.
//!
//! A run is the part of the image that one kernel row reads: KW*C contiguous values, rounded up to whole vectors. The
//! input's gradient adds, pixel by pixel, each value of dy times its filter to the runs under the pixel. The weights'
//! gradient adds, filter by filter, each value of dy times the runs under it. Blocks of R kernel rows x V vectors stay
//! in registers. Whether an example is processed this way depends only on its values, and sums have a fixed order. All
//! values must be finite, because zero times infinity is not zero.

use super::conv_direct::{MOST_PADDING, fills_vectors, in_tasks, vectorize};
use super::conv_params::Params;
use super::nonzero::Nonzero;
use multiversion::multiversion;
use pulp::{Simd, WithSimd};
use std::cell::RefCell;
use std::ops::Range;

/// The share of nonzero values in dy, in percent, above which an example is processed densely. At one half, after a
/// ReLU, this way was faster; the share at which both are equally fast was not measured.
const DENSE: usize = 60;

/// The most vectors that a block keeps in registers.
const BLOCK: usize = 12;

/// The most floats of filters per thread besides the network's own: 64 MiB.
const MOST_FILTERS: usize = 1 << 24;

/// The most floats of the image that the weight gradient reads repeatedly; they stay in a core's first-level cache.
const BAND: usize = 5120;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Working memory of a thread for one example.
#[derive(Default)]
struct Scratch {
    /// The padded example.
    image: Vec<f32>,
    /// Nonzero values of dy, with the offsets of their filters, or of their runs in the image.
    gradients: Nonzero,
}

/// Sizes of a convolution, in floats unless noted otherwise.
#[derive(Debug)]
pub(super) struct Layout {
    p: Params,
    /// KW*C rounded up to whole vectors of eight.
    run: usize,
    /// One row of the padded image, at least as long as a run.
    pitch: usize,
    /// All rows, and the rest of the last run.
    image: usize,
    /// The offsets of each output pixel's runs in the image.
    places: Vec<u32>,
}

impl Layout {
    /// `None` if the shape or the processor does not suit.
    pub(super) fn new(p: &Params) -> Option<Layout> {
        let (w, c) = (p.w as usize + 2 * p.pad[1] as usize, p.c as usize);
        let run = (p.kw as usize * c).next_multiple_of(8);
        let pitch = (w * c).max(run);
        let image = (p.h as usize + 2 * p.pad[0] as usize).saturating_mul(pitch).saturating_add(run);
        let layout = Layout { p: *p, run, pitch, image, places: Vec::new() };
        let short = image <= 4 * (p.example_in() + p.rows() * p.o as usize) + MOST_PADDING;
        let slim = run <= 4 * (p.kw as usize * c) && layout.filters() <= MOST_FILTERS;
        (p.is_plain() && short && slim && image <= u32::MAX as usize && fills_vectors(run))
            .then(|| Layout { places: layout.places(), ..layout })
    }

    /// The length of all filters, `[O, KH, run]`.
    pub(super) fn filters(&self) -> usize {
        self.p.o as usize * self.filter()
    }

    fn filter(&self) -> usize {
        self.p.kh as usize * self.run
    }

    /// Whether this way suits an example's dy: few nonzero values, all of them finite.
    pub(super) fn suits(&self, dy: &[f32]) -> bool {
        // The part of a run beyond KW*C is computed in vain.
        let share = DENSE * self.p.kw as usize * self.p.c as usize / self.run;
        few_nonzero(dy, dy.len() * share / 100)
    }

    /// The offsets of each output pixel's runs in the image.
    fn places(&self) -> Vec<u32> {
        let (pitch, c, [sy, sx]) = (self.pitch as u32, self.p.c, self.p.stride);
        let mut places = Vec::with_capacity(self.p.rows());
        for oy in 0..self.p.oh {
            places.extend((0..self.p.ow).map(|ox| oy * sy * pitch + ox * sx * c));
        }
        places
    }

    /// Calls `f(padded row's values, row)` with each row of the image without its padding.
    fn for_rows(&self, image: &mut [f32], mut f: impl FnMut(&mut [f32], usize)) {
        let [above, left] = self.p.pad.map(|pad| pad as usize);
        let (left, len) = (left * self.p.c as usize, (self.p.w * self.p.c) as usize);
        for row in 0..self.p.h as usize {
            f(&mut image[(row + above) * self.pitch + left..][..len], row);
        }
    }

    /// The blocks that cover a filter of runs of this many vectors.
    #[inline(always)]
    fn blocks(&self, vectors: usize) -> impl Iterator<Item = Block> + use<> {
        let kh = self.p.kh as usize;
        let width = vectors.div_ceil(vectors.div_ceil(BLOCK));
        let (mut row, mut first) = (0, 0);
        std::iter::from_fn(move || {
            if row == kh {
                (row, first) = (0, first + width);
            }
            let width = width.min(vectors.checked_sub(first)?);
            let rows = [5, 3, 2].into_iter().find(|r| r * width <= BLOCK && row + r <= kh).unwrap_or(1);
            let block = Block { row, rows, first, width };
            row += rows;
            (width > 0).then_some(block)
        })
    }
}

/// Kernel rows and vectors of each run that are summed together.
#[derive(Clone, Copy)]
struct Block {
    row: usize,
    rows: usize,
    first: usize,
    width: usize,
}

/// Calls a function with the constants R and V, the sizes of [`Layout::blocks`].
macro_rules! for_size {
    ($block:expr, $R:ident, $V:ident => $call:expr) => {
        for_size!($block, $R, $V => $call; 1 1, 1 2, 1 3, 1 4, 1 5, 1 6, 1 7, 1 8, 1 9, 1 10, 1 11, 1 12,
            2 1, 2 2, 2 3, 2 4, 2 5, 2 6, 3 1, 3 2, 3 3, 3 4, 5 1, 5 2)
    };
    ($block:expr, $R:ident, $V:ident => $call:expr; $($r:literal $v:literal),*) => {
        match ($block.rows, $block.width) {
            $(($r, $v) => {
                const $R: usize = $r;
                const $V: usize = $v;
                $call
            })*
            other => unreachable!("blocks of {other:?}"),
        }
    };
}

#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn all_finite(values: &[f32]) -> bool {
    values.iter().fold(0, |special, v| special | u32::from(!v.is_finite())) == 0
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn few_nonzero(values: &[f32], most: usize) -> bool {
    let (mut nonzero, mut special) = (0u32, 0u32);
    for v in values {
        nonzero += u32::from(*v != 0.0);
        special |= u32::from(!v.is_finite());
    }
    special == 0 && nonzero as usize <= most
}

/// Weights `[KH, KW, C, O]` as filters `[O, KH, run]`; the rest of a run is zero.
pub(super) fn pack(layout: &Layout, weight: &[f32], filters: &mut Vec<f32>) {
    filters.resize(layout.filters(), 0.0);
    let o = layout.p.o as usize;
    in_tasks(filters, SIDE * layout.filter(), |task, filters| {
        filters.fill(0.0);
        for_transposed(layout, task * SIDE..o.min((task + 1) * SIDE), |at, to| filters[to] = weight[at]);
    });
}

/// Adds filters `[O, KH, run]` to dweight `[KH, KW, C, O]`.
pub(super) fn unpack(layout: &Layout, filters: &[f32], dweight: &mut [f32]) {
    assert_eq!(filters.len(), layout.filters());
    for first in (0..layout.p.o as usize).step_by(SIDE) {
        let of_first = first * layout.filter();
        let some = first..(first + SIDE).min(layout.p.o as usize);
        for_transposed(layout, some, |at, from| dweight[at] += filters[of_first + from]);
    }
}

/// The number of filters transposed together, in squares of sixteen, which suits caches.
const SIDE: usize = 16;

/// Calls `f(index in [KH, KW, C, O], index in [filters, KH, run])` for some of the filters.
#[inline(always)]
fn for_transposed(layout: &Layout, filters: Range<usize>, mut f: impl FnMut(usize, usize)) {
    let (o, row) = (layout.p.o as usize, (layout.p.kw * layout.p.c) as usize);
    for ky in 0..layout.p.kh as usize {
        for first in (0..row).step_by(SIDE) {
            for (i_filter, filter) in filters.clone().enumerate() {
                for i in first..(first + SIDE).min(row) {
                    f((ky * row + i) * o + filter, i_filter * layout.filter() + ky * layout.run + i);
                }
            }
        }
    }
}

/// One example: dx `[H,W,C]` from dy `[OH,OW,O]` and packed filters.
pub(super) fn backward_input(layout: &Layout, dy: &[f32], filters: &[f32], dx: &mut [f32]) {
    SCRATCH.with_borrow_mut(|Scratch { image, gradients }| {
        image.clear();
        image.resize(layout.image, 0.0);
        gradients.by_row(dy, layout.p.o as usize, layout.filter() as u32);
        vectorize(layout.run, Input { layout, filters, gradients, image });
        let len = (layout.p.w * layout.p.c) as usize;
        layout.for_rows(image, |from, row| dx[row * len..][..len].copy_from_slice(from));
    });
}

struct Input<'a> {
    layout: &'a Layout,
    filters: &'a [f32],
    gradients: &'a Nonzero,
    image: &'a mut [f32],
}

impl WithSimd for Input<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Input { layout, filters, gradients, image } = self;
        for block in layout.blocks(layout.run / S::F32_LANES) {
            for_size!(block, R, V => scatter::<S, R, V>(simd, layout, block, filters, gradients, image));
        }
    }
}

/// Adds to R x V vectors of the image under each pixel its gradients times their filters.
#[inline(always)]
fn scatter<S: Simd, const R: usize, const V: usize>(
    simd: S,
    layout: &Layout,
    block: Block,
    filters: &[f32],
    gradients: &Nonzero,
    image: &mut [f32],
) {
    let inside = block.row * layout.run + block.first * S::F32_LANES;
    let (span, filter_span) = (span::<S, R, V>(layout.pitch), span::<S, R, V>(layout.run));
    for (pixel, at) in layout.places.iter().enumerate() {
        let list = gradients.list(pixel);
        if list.is_empty() {
            continue;
        }
        let image = &mut image[*at as usize + block.row * layout.pitch + block.first * S::F32_LANES..][..span];
        // SAFETY: the rows are a pitch apart in `image` and a run apart in `filter`, which `span` cut long enough for R
        // of them, each of V vectors. Checks in this loop would take longer than the sums.
        unsafe {
            let mut sums = load::<S, R, V>(image, layout.pitch);
            for (value, place) in gradients.values[list.clone()].iter().zip(&gradients.places[list]) {
                let filter = &filters[*place as usize + inside..][..filter_span];
                add_product(simd, *value, load::<S, R, V>(filter, layout.run), &mut sums);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    let to = image.as_mut_ptr().add(r * layout.pitch + v * S::F32_LANES);
                    to.cast::<S::f32s>().write_unaligned(*sum);
                }
            }
        }
    }
}

/// The number of floats from the first to the last of R rows of V vectors.
#[inline(always)]
fn span<S: Simd, const R: usize, const V: usize>(pitch: usize) -> usize {
    (R - 1) * pitch + V * S::F32_LANES
}

/// R rows of V vectors; `values` must hold [`span`] of them.
#[inline(always)]
unsafe fn load<S: Simd, const R: usize, const V: usize>(values: &[f32], pitch: usize) -> [[S::f32s; V]; R] {
    std::array::from_fn(|r| {
        std::array::from_fn(|v| {
            // SAFETY: the caller's.
            unsafe { values.as_ptr().add(r * pitch + v * S::F32_LANES).cast::<S::f32s>().read_unaligned() }
        })
    })
}

#[inline(always)]
fn add_product<S: Simd, const R: usize, const V: usize>(
    simd: S,
    value: f32,
    row: [[S::f32s; V]; R],
    sums: &mut [[S::f32s; V]; R],
) {
    let value = simd.splat_f32s(value);
    for r in 0..R {
        for v in 0..V {
            sums[r][v] = simd.mul_add_e_f32s(value, row[r][v], sums[r][v]);
        }
    }
}

/// One example: adds to dfilters `[O, KH, run]` the products of x `[H,W,C]` and dy `[OH,OW,O]`.
pub(super) fn backward_weight(layout: &Layout, x: &[f32], dy: &[f32], dfilters: &mut [f32]) {
    SCRATCH.with_borrow_mut(|Scratch { image, gradients }| {
        image.clear();
        image.resize(layout.image, 0.0);
        let len = (layout.p.w * layout.p.c) as usize;
        layout.for_rows(image, |to, row| to.copy_from_slice(&x[row * len..][..len]));
        let (oh, row) = (layout.p.oh as usize, layout.p.ow as usize * layout.p.o as usize);
        let band = (BAND / layout.pitch / layout.p.stride[0] as usize).clamp(1, oh);
        for first in (0..oh).step_by(band) {
            let band = first..(first + band).min(oh);
            let dy = &dy[band.start * row..band.end * row];
            gradients.by_column(dy, layout.p.o as usize, &layout.places[band.start * layout.p.ow as usize..]);
            vectorize(layout.run, Weight { layout, image, gradients, dfilters });
        }
    });
}

struct Weight<'a> {
    layout: &'a Layout,
    image: &'a [f32],
    gradients: &'a Nonzero,
    dfilters: &'a mut [f32],
}

impl WithSimd for Weight<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let layout = self.layout;
        for block in layout.blocks(layout.run / S::F32_LANES) {
            for_size!(block, R, V => self.gather::<S, R, V>(simd, block));
        }
    }
}

impl Weight<'_> {
    /// Adds to R x V vectors of every filter its gradients times the runs under them.
    #[inline(always)]
    fn gather<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, block: Block) {
        let layout = self.layout;
        let image = &self.image[block.row * layout.pitch + block.first * S::F32_LANES..];
        let (span, image_span) = (span::<S, R, V>(layout.run), span::<S, R, V>(layout.pitch));
        let Nonzero { values, places, .. } = self.gradients;
        for filter in 0..layout.p.o as usize {
            let list = self.gradients.list(filter);
            let mut sums = [[simd.splat_f32s(0.0); V]; R];
            for (value, place) in values[list.clone()].iter().zip(&places[list]) {
                let runs = &image[*place as usize..][..image_span];
                // SAFETY: `image_span` holds R rows of V vectors, a pitch apart.
                add_product(simd, *value, unsafe { load::<S, R, V>(runs, layout.pitch) }, &mut sums);
            }
            let at = filter * layout.filter() + block.row * layout.run + block.first * S::F32_LANES;
            let to = &mut self.dfilters[at..][..span];
            for (r, sums) in sums.iter().enumerate() {
                let to: &mut [S::f32s] = bytemuck::cast_slice_mut(&mut to[r * layout.run..][..V * S::F32_LANES]);
                for (to, sum) in to.iter_mut().zip(sums) {
                    *to = simd.add_f32s(*to, *sum);
                }
            }
        }
    }
}
