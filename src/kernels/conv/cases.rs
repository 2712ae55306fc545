//! Cases of the convolutions, those of `conv_blocked` among them.

use super::{Params, backward_input, backward_weight, forward, sum_splits};
use crate::kernels::Case;
use crate::kernels::case::{CaseBuilder, Tolerance, also_split};

/// `[N,H,W,C]`, filters, kernel, stride, pad.
type Shape = ([usize; 4], usize, [usize; 2], [usize; 2], [usize; 2]);

/// Size 1; the presets; primes; non-square; stride different from the kernel; padding beyond the kernel, and far
/// beyond; 64±1 rows and channels; channels that fill half a block of eight; kernels as wide as the image, bands of
/// strided rows, runs of 13 and of 30 vectors.
const SHAPES: &[Shape] = &[
    ([1, 1, 1, 1], 1, [1, 1], [1, 1], [0, 0]),
    ([20, 24, 24, 1], 8, [5, 5], [1, 1], [2, 2]),
    ([5, 12, 12, 8], 16, [5, 5], [1, 1], [2, 2]),
    ([3, 14, 14, 32], 64, [3, 3], [1, 1], [1, 1]),
    ([2, 13, 7, 3], 5, [3, 5], [2, 1], [1, 2]),
    ([3, 11, 17, 2], 7, [4, 3], [3, 2], [0, 1]),
    ([1, 9, 8, 5], 11, [2, 2], [3, 3], [0, 0]),
    ([2, 5, 5, 1], 3, [5, 5], [1, 1], [4, 4]),
    ([1, 3, 4, 2], 2, [3, 3], [2, 2], [5, 6]),
    ([1, 9, 7, 63], 65, [1, 1], [1, 1], [0, 0]),
    ([33, 3, 3, 4], 9, [3, 3], [1, 1], [0, 0]),
    ([37, 4, 3, 7], 6, [2, 3], [1, 2], [1, 0]),
    ([2, 13, 7, 4], 4, [3, 5], [2, 1], [1, 2]),
    ([3, 11, 17, 12], 20, [4, 3], [3, 2], [0, 1]),
    ([17, 5, 9, 4], 12, [2, 7], [1, 3], [1, 5]),
    ([19, 6, 5, 3], 4, [3, 4], [1, 2], [2, 3]),
    ([2, 5, 6, 2], 12, [3, 2], [2, 1], [1, 1]),
    ([1, 1, 2, 8], 8, [1, 1], [1, 1], [0, 0]),
    ([1, 5, 6, 48], 44, [3, 3], [1, 1], [1, 1]),
    ([2, 28, 28, 32], 32, [3, 3], [1, 1], [1, 1]),
    ([2, 5, 3, 3], 8, [2, 3], [1, 1], [0, 0]),
    ([1, 40, 40, 16], 8, [3, 3], [2, 2], [1, 1]),
    ([1, 6, 5, 104], 8, [1, 1], [1, 1], [0, 0]),
    ([1, 6, 7, 80], 16, [3, 3], [1, 1], [1, 1]),
    ([1, 3, 4, 2], 8, [3, 3], [2000, 1500], [3000, 2000]),
    // Weights that need more than one row of a texture.
    ([1, 4, 3, 64], 64, [3, 3], [1, 1], [1, 1]),
    // Rows that end within a block of pixels.
    ([2, 5, 29, 3], 8, [3, 3], [1, 1], [1, 1]),
    ([2, 5, 29, 4], 8, [3, 3], [1, 1], [1, 1]),
    // One column; rows of taps of four, five and six, and more than two runs of five; five vectors of filters.
    ([3, 6, 1, 8], 8, [3, 1], [1, 1], [1, 0]),
    ([3, 6, 1, 3], 8, [3, 1], [1, 1], [1, 0]),
    ([2, 6, 9, 4], 20, [2, 6], [1, 1], [0, 2]),
    ([2, 5, 6, 4], 8, [2, 4], [1, 1], [0, 1]),
    ([2, 6, 9, 3], 20, [2, 6], [1, 1], [0, 2]),
    ([3, 7, 8, 3], 20, [3, 5], [1, 2], [1, 2]),
    ([2, 5, 13, 3], 12, [4, 11], [1, 1], [1, 5]),
    // Several workgroups of every kernel.
    ([40, 5, 8, 8], 8, [3, 3], [1, 1], [1, 1]),
    ([40, 5, 8, 16], 16, [3, 3], [1, 1], [1, 1]),
    ([40, 5, 8, 3], 8, [3, 3], [1, 1], [1, 1]),
];

/// Dilation and groups: one of them, both; depthwise, with one filter per channel and with more; channels that do and
/// do not fill vectors; padding beyond the window; small groups, which the CPU merges.
const SPREAD: &[(Shape, [usize; 2], usize)] = &[
    (([2, 9, 8, 3], 5, [3, 3], [1, 1], [2, 2]), [2, 2], 1),
    (([3, 11, 7, 4], 8, [3, 2], [2, 1], [1, 3]), [1, 3], 1),
    (([2, 6, 5, 6], 9, [3, 3], [1, 1], [1, 1]), [1, 1], 3),
    (([19, 5, 6, 16], 16, [3, 3], [1, 1], [1, 1]), [1, 1], 16),
    (([2, 7, 9, 5], 15, [3, 4], [2, 3], [2, 1]), [1, 1], 5),
    (([2, 12, 10, 24], 24, [3, 3], [1, 1], [2, 2]), [2, 2], 24),
    (([2, 8, 8, 16], 32, [3, 3], [2, 2], [1, 1]), [1, 1], 2),
    (([5, 9, 12, 8], 12, [2, 3], [1, 2], [3, 4]), [3, 2], 4),
    (([1, 3, 4, 2], 2, [3, 3], [1, 1], [5, 6]), [4, 3], 2),
    (([3, 7, 6, 32], 48, [3, 2], [1, 1], [1, 0]), [1, 2], 16),
    (([2, 6, 6, 8], 8, [1, 1], [1, 1], [0, 0]), [7, 7], 8),
];

/// Weight gradients by bands of several rows: one and more channels; one row and column of taps to five; filters in twos
/// and fours, in workgroups that share them and do not; rows of whole and of partial groups of four; more padding than
/// the window has taps.
const BANDS: &[Shape] = &[
    ([34, 8, 7, 1], 12, [5, 5], [1, 1], [2, 2]),
    ([30, 6, 9, 3], 4, [1, 1], [1, 1], [0, 0]),
    ([40, 6, 10, 4], 36, [3, 3], [1, 1], [1, 1]),
    ([50, 6, 11, 2], 8, [2, 4], [1, 1], [0, 3]),
    ([12, 24, 6, 1], 8, [5, 3], [1, 1], [4, 1]),
    ([24, 9, 13, 2], 20, [4, 5], [1, 1], [0, 6]),
    ([16, 12, 21, 3], 16, [5, 2], [1, 1], [2, 0]),
    ([20, 8, 18, 1], 64, [3, 3], [1, 1], [0, 0]),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in BANDS {
        let p = params(shape).for_hardware();
        // A split of three bands also begins and ends within an image.
        for p in [p, Params { pixels_per_split: 3 * p.pixels_per_split, ..p }] {
            cases.push(weight_case(p, &format!("{} split {} on hardware", describe(shape), p.pixels_per_split)));
        }
    }
    for shape in SHAPES {
        let (p, what) = (params(shape), describe(shape));
        cases.extend([forward_case(p, &what), weight_case(p, &what), input_case(p, &what), sum_case(p, &what)]);
        cases.extend([sparse_input_case(shape), sparse_weight_case(shape)]);
    }
    // Splits that begin and end within a row, and those that a hardware adapter gets.
    for shape in SHAPES.iter().step_by(3) {
        let p = params(shape);
        let split = |pixels: u32| Params { pixels_per_split: pixels, ..p };
        let whose = [("", split(1 + p.oh * p.ow / 3)), (" again", split(23)), (" on hardware", p.for_hardware())];
        for (which, p) in whose {
            let what = format!("{} split {}{which}", describe(shape), p.pixels_per_split);
            cases.extend([weight_case(p, &what), sum_case(p, &what)]);
        }
    }
    for (shape, dilation, groups) in SPREAD {
        let p = params(shape).with(*dilation, *groups);
        let what = format!("{} dilation {dilation:?} groups {groups}", describe(shape));
        cases.extend([forward_case(p, &what), weight_case(p, &what), input_case(p, &what), sum_case(p, &what)]);
        let p = p.for_hardware();
        cases.push(weight_case(p, &format!("{what} split {} on hardware", p.pixels_per_split)));
    }
    // Several pixels a lane in groups, in several splits and in one.
    let p = Params::new([30, 6, 11, 6], 9, [2, 3], [1, 1], [1, 1]).with([1, 1], 3);
    for pixels in [700, 30 * 7 * 11] {
        let what = format!("[30, 6, 11, 6] filters 9 kernel [2, 3] pad [1, 1] groups 3 split {pixels}");
        cases.push(weight_case(Params { pixels_per_split: pixels, ..p }, &what));
    }
    also_split(cases, &["[40, 5, 8, ", "[34, 8, 7, 1]", "[30, 6, 11, 6]"])
}

fn describe((input, filters, kernel, stride, pad): &Shape) -> String {
    format!("{input:?} filters {filters} kernel {kernel:?} stride {stride:?} pad {pad:?}")
}

fn params((input, filters, kernel, stride, pad): &Shape) -> Params {
    Params::new(*input, *filters, *kernel, *stride, *pad)
}

fn forward_case(p: Params, what: &str) -> Case {
    let mut b = CaseBuilder::default();
    let (x, weight) = (b.real(p.x_len()), b.real(p.k() * p.o as usize));
    let (bias, y) = (b.real(p.o as usize), b.out(p.y_len()));
    b.case(what, forward(p, x, weight, bias, y), Tolerance::sum(p.k(), 1.0))
}

fn input_case(p: Params, what: &str) -> Case {
    let mut b = CaseBuilder::default();
    let (dy, weight, dx) = (b.real(p.y_len()), b.real(p.k() * p.o as usize), b.out(p.x_len()));
    let length = (p.kh * p.kw) as usize * p.group_outputs();
    b.case(what, backward_input(p, dy, weight, dx), Tolerance::sum(length, 1.0))
}

fn weight_case(p: Params, what: &str) -> Case {
    let mut b = CaseBuilder::default();
    let (x, dy, partial) = (b.real(p.x_len()), b.real(p.y_len()), b.out(p.partial_len()));
    let length = p.pixels_per_split as usize;
    b.case(what, backward_weight(p, x, dy, partial), Tolerance::sum(length, 1.0))
}

/// Gradients dy as after a max-pooling, for which the CPU has a separate path.
fn sparse_input_case(shape: &Shape) -> Case {
    let (p, mut b) = (params(shape), CaseBuilder::default());
    let (dy, weight, dx) = (b.sparse(p.y_len()), b.real(p.k() * p.o as usize), b.out(p.x_len()));
    let tolerance = Tolerance::sum((p.kh * p.kw * p.o) as usize, 1.0);
    b.case(format!("{} sparse dy", describe(shape)), backward_input(p, dy, weight, dx), tolerance)
}

fn sparse_weight_case(shape: &Shape) -> Case {
    let (p, mut b) = (params(shape), CaseBuilder::default());
    let (x, dy, partial) = (b.real(p.x_len()), b.sparse(p.y_len()), b.out(p.partial_len()));
    let tolerance = Tolerance::sum(p.pixels_per_split as usize, 1.0);
    b.case(format!("{} sparse dy", describe(shape)), backward_weight(p, x, dy, partial), tolerance)
}

fn sum_case(p: Params, what: &str) -> Case {
    let mut b = CaseBuilder::default();
    let (sums, dweight, dbias) = (b.real(p.partial_len()), b.out(p.k() * p.o as usize), b.out(p.o as usize));
    b.case(what, sum_splits(p, sums, dweight, dbias), Tolerance::sum(p.splits(), 1.0))
}
