//! Cases of the convolutions that also compute their neighbours.
//!
//! A winner must be the same on every device. So sums are exact: x and weights are multiples of 1/8, and so few that no
//! sum is rounded. Then windows also have ties, where the first maximum wins, and zeros, which a ReLU blocks.

use super::{Gradient, Params, backward_input, backward_weight, forward_pool, forward_relu};
use crate::kernels::Case;
use crate::kernels::case::{CaseBuilder, Tolerance, also_split};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// `[N,H,W,C]`, filters, kernel, stride, pad, dilation, window.
type Shape = ([usize; 4], usize, [usize; 2], [usize; 2], [usize; 2], [usize; 2], [usize; 2]);

/// The presets; outputs that fill no last window; windows of one row and of one column; strides, dilation, padding beyond
/// the kernel; channels that fill a vector and that do not; several workgroups.
const SHAPES: &[Shape] = &[
    ([3, 24, 24, 1], 8, [5, 5], [1, 1], [2, 2], [1, 1], [2, 2]),
    ([5, 12, 12, 8], 16, [5, 5], [1, 1], [2, 2], [1, 1], [3, 3]),
    ([1, 2, 2, 1], 4, [1, 1], [1, 1], [0, 0], [1, 1], [2, 2]),
    ([1, 7, 9, 4], 4, [3, 3], [1, 1], [1, 1], [1, 1], [2, 2]),
    ([2, 13, 11, 3], 20, [3, 2], [1, 1], [0, 1], [1, 1], [3, 3]),
    ([3, 9, 17, 12], 12, [3, 5], [2, 1], [1, 4], [1, 1], [1, 4]),
    ([2, 17, 8, 2], 8, [2, 3], [1, 1], [1, 1], [2, 1], [4, 1]),
    ([2, 12, 10, 16], 36, [1, 1], [1, 1], [0, 0], [1, 1], [2, 2]),
    ([1, 30, 4, 4], 8, [3, 3], [1, 1], [1, 1], [1, 1], [9, 1]),
    ([40, 5, 8, 8], 8, [3, 3], [1, 1], [1, 1], [1, 1], [2, 2]),
    ([40, 5, 8, 16], 16, [3, 3], [1, 1], [1, 1], [1, 1], [2, 2]),
    ([40, 5, 8, 3], 8, [3, 3], [1, 1], [1, 1], [1, 1], [2, 2]),
];

/// Weight gradients by bands of several rows: windows that four pixels share and that they do not, taller and wider than
/// a band; rows and columns in no window; filters in twos and fours.
const BANDS: &[Shape] = &[
    ([34, 8, 7, 1], 12, [5, 5], [1, 1], [2, 2], [1, 1], [2, 2]),
    ([40, 7, 11, 4], 36, [3, 3], [1, 1], [1, 1], [1, 1], [3, 3]),
    ([50, 6, 13, 2], 8, [2, 4], [1, 1], [0, 3], [1, 1], [1, 4]),
    ([24, 12, 6, 1], 8, [5, 3], [1, 1], [2, 1], [1, 1], [4, 1]),
    ([16, 12, 21, 3], 16, [5, 2], [1, 1], [2, 0], [1, 1], [2, 2]),
    ([24, 9, 13, 3], 20, [4, 5], [1, 1], [0, 6], [1, 1], [1, 9]),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (input, filters, kernel, stride, pad, _, window) in BANDS {
        let p = Params::new(*input, *filters, *kernel, *stride, *pad).with_pooling(*window).for_hardware();
        for p in [p, Params { pixels_per_split: 3 * p.pixels_per_split, ..p }] {
            let split = p.pixels_per_split;
            let what =
                format!("{input:?} filters {filters} kernel {kernel:?} pad {pad:?} window {window:?} split {split}");
            cases.push(weight_case(p, &what));
        }
    }
    for shape in SHAPES {
        let (input, filters, kernel, stride, pad, dilation, window) = *shape;
        let what = format!(
            "{input:?} filters {filters} kernel {kernel:?} stride {stride:?} pad {pad:?} dilation {dilation:?} window \
             {window:?}"
        );
        let p = Params::new(input, filters, kernel, stride, pad).with(dilation, 1);
        cases.extend([relu_case(p, &what), pool_case(p.with_pooling(window), &what)]);
        let pooled = p.with_pooling(window);
        cases.extend([weight_case(pooled, &what), weight_case(pooled.for_hardware(), &format!("{what} splits"))]);
        if p.can_rectify() {
            for (p, rectified) in [(p, true), (pooled, false), (pooled, true)] {
                cases.push(input_case(p, rectified, &what));
            }
        }
    }
    // Filters and channels that fill no vector.
    let p = Params::new([3, 6, 7, 3], 5, [2, 3], [1, 1], [1, 1]);
    cases.push(relu_case(p, "[3, 6, 7, 3] filters 5 kernel [2, 3] pad [1, 1]"));
    also_split(cases, &["[40, 5, 8, ", "[34, 8, 7, 1]"])
}

/// Multiples of 1/8 in [-1, 1].
fn eighths(len: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| random.random_range(-8..=8) as f32 / 8.0).collect()
}

fn relu_case(p: Params, what: &str) -> Case {
    let mut b = CaseBuilder::default();
    let (x, weight) = (b.reals(eighths(p.x_len(), 1)), b.reals(eighths(p.k() * p.o as usize, 2)));
    let (bias, y) = (b.reals(eighths(p.o as usize, 3)), b.out(p.y_len()));
    b.case(what, forward_relu(p, x, weight, bias, y), Tolerance::EXACT)
}

fn pool_case(p: Params, what: &str) -> Case {
    let mut b = CaseBuilder::default();
    let (x, weight) = (b.reals(eighths(p.x_len(), 1)), b.reals(eighths(p.k() * p.o as usize, 2)));
    let (bias, len) = (b.reals(eighths(p.o as usize, 3)), p.pooled_pixels() * p.o as usize);
    let out = [b.out(len), b.out_words(len)];
    b.case(what, forward_pool(p, x, weight, bias, out), Tolerance::EXACT)
}

/// A gradient after the pooling, with winners as a forward pass gives them: a place in each window, some blocked.
fn pooled(b: &mut CaseBuilder, p: &Params) -> Gradient {
    let len = p.pooled_pixels() * p.o as usize;
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let [down, across] = [p.oh / p.window[0], p.ow / p.window[1]];
    let winner = |i: usize| {
        let pixel = (i / p.o as usize) as u32;
        let (row, column) = (pixel / across % down * p.window[0], pixel % across * p.window[1]);
        let (y, x) = (row + random.random_range(0..p.window[0]), column + random.random_range(0..p.window[1]));
        let blocked = if random.random_range(0..4) == 0 { 1 << 31 } else { 0 };
        (y * p.ow + x) | blocked
    };
    let winners = (0..len).map(winner).collect();
    Gradient::Pooled(b.real(len), b.words(winners))
}

fn weight_case(p: Params, what: &str) -> Case {
    let mut b = CaseBuilder::default();
    let x = b.real(p.x_len());
    let dy = pooled(&mut b, &p);
    let partial = b.out(p.partial_len());
    b.case(what, backward_weight(p, x, dy, partial), Tolerance::sum(p.pixels_per_split as usize, 1.0))
}

fn input_case(p: Params, rectified: bool, what: &str) -> Case {
    let mut b = CaseBuilder::default();
    let dy = if p.window == [0; 2] { Gradient::Outputs(b.real(p.y_len())) } else { pooled(&mut b, &p) };
    let weight = b.real(p.k() * p.o as usize);
    let special = [f32::NAN, 0.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE];
    let outputs = eighths(p.x_len(), 5).into_iter().map(|v| v.max(0.0));
    let outputs = outputs.enumerate().map(|(i, v)| special.get(i).copied().unwrap_or(v)).collect();
    let rectified = rectified.then(|| b.reals(outputs));
    let dx = b.out(p.x_len());
    let length = (p.kh * p.kw * p.o) as usize;
    b.case(what, backward_input(p, dy, weight, rectified, dx), Tolerance::sum(length, 1.0))
}
