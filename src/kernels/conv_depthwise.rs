//! Convolution on the CPU for filters that read one channel (groups = C): tap by tap, with adjacent channels in
//! vectors.
//!
//! With O/C filters per channel, filter o reads channel o/(O/C). Sums have a fixed order.

use super::conv_cpu::for_taps;
use super::conv_params::Params;
use multiversion::multiversion;

pub(super) fn takes(p: &Params) -> bool {
    p.groups > 1 && p.groups == p.c
}

/// One example: adds to y `[OH,OW,O]`, which holds the bias.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn forward(p: &Params, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let (c, o) = (p.c as usize, p.o as usize);
    for (row, y) in y.chunks_exact_mut(o).enumerate() {
        for_taps(p, row, |tap, pixel| {
            let (x, weight) = (&x[pixel * c..][..c], &weight[tap * o..][..o]);
            if c == o {
                y.iter_mut().zip(x).zip(weight).for_each(|((y, x), w)| *y += x * w);
            } else {
                let filters = y.chunks_exact_mut(o / c).zip(weight.chunks_exact(o / c));
                filters.zip(x).for_each(|((y, w), x)| y.iter_mut().zip(w).for_each(|(y, w)| *y += x * w));
            }
        });
    }
}

/// One example: dx `[H,W,C]` from dy `[OH,OW,O]`.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn backward_input(p: &Params, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let (c, o) = (p.c as usize, p.o as usize);
    dx.fill(0.0);
    for (row, dy) in dy.chunks_exact(o).enumerate() {
        for_taps(p, row, |tap, pixel| {
            let (dx, weight) = (&mut dx[pixel * c..][..c], &weight[tap * o..][..o]);
            if c == o {
                dx.iter_mut().zip(dy).zip(weight).for_each(|((dx, dy), w)| *dx += dy * w);
            } else {
                let filters = dy.chunks_exact(o / c).zip(weight.chunks_exact(o / c));
                filters.zip(dx).for_each(|((dy, w), dx)| dy.iter().zip(w).for_each(|(dy, w)| *dx += dy * w));
            }
        });
    }
}

/// One example: adds to dweight `[KH*KW,O]` the products of x `[H,W,C]` and dy `[OH,OW,O]`.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn backward_weight(p: &Params, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let (c, o) = (p.c as usize, p.o as usize);
    for (row, dy) in dy.chunks_exact(o).enumerate() {
        for_taps(p, row, |tap, pixel| {
            let (x, dweight) = (&x[pixel * c..][..c], &mut dweight[tap * o..][..o]);
            if c == o {
                dweight.iter_mut().zip(dy).zip(x).for_each(|((dw, dy), x)| *dw += dy * x);
            } else {
                let filters = dweight.chunks_exact_mut(o / c).zip(dy.chunks_exact(o / c));
                filters.zip(x).for_each(|((dw, dy), x)| dw.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += dy * x));
            }
        });
    }
}
