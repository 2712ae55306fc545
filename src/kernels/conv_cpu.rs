//! Convolution on the CPU: backward through the nonzero gradients if they are few (`conv_sparse`), direct if the shape
//! suits it (`conv_direct`), channel by channel if filters read only one (`conv_depthwise`), otherwise im2col blocks
//! that stay in a core's cache and the `gemm` crate for the products, with small groups merged (`conv_grouped`).
//!
//! Work is divided by example (or by split, for weight gradients), never by thread, and every sum has a fixed order, so
//! results have the same bits for any number of threads.

use super::conv_params::{BIAS, DBIAS, DWEIGHT, DX, DY, PARTIAL, Params, WEIGHT, X, Y};
use super::conv_sparse::{self, Layout};
use super::product::{product, product_columns, row_major, transposed};
use super::{Args, Op, Prepared, conv, conv_depthwise, conv_direct, conv_grouped};
use multiversion::multiversion;
use rayon::prelude::*;
use std::cell::RefCell;

thread_local! {
    /// This thread's im2col block.
    static COLUMNS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// A gradient of the weights in the order of `conv_sparse`, or of merged groups.
    static FILTERS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Floats of an im2col block: 256 KiB, a fraction of a core's second-level cache.
const BLOCK: usize = 65_536;

/// Calls `f(rows, columns)` with blocks of rows of one example's output and a buffer `[rows, K]` for them.
fn for_blocks(p: &Params, mut f: impl FnMut(std::ops::Range<usize>, &mut [f32])) {
    let rows_per_block = (BLOCK / p.k()).clamp(1, p.rows());
    COLUMNS.with_borrow_mut(|columns| {
        if columns.len() < rows_per_block * p.k() {
            columns.resize(rows_per_block * p.k(), 0.0);
        }
        for first in (0..p.rows()).step_by(rows_per_block) {
            let rows = first..(first + rows_per_block).min(p.rows());
            f(rows.clone(), &mut columns[..rows.len() * p.k()]);
        }
    });
}

/// For output row `row` of an example and a group of channels: calls `f(column, pixel, count)` for runs of `count`
/// contiguous floats, which start at `pixel` in the input and at `column` in the im2col row; the rest of the row is
/// padding.
fn for_runs(p: &Params, group: usize, row: usize, mut f: impl FnMut(usize, usize, usize)) {
    if !p.is_plain() {
        return for_taps(p, row, |tap, pixel| {
            let inputs = p.group_inputs();
            f(tap * inputs, pixel * p.c as usize + group * inputs, inputs);
        });
    }
    let (w, c, kw) = (p.w as usize, p.c as usize, p.kw as usize);
    let (oy, ox) = (row / p.ow as usize, row % p.ow as usize);
    let (x0, pad_x) = (ox * p.stride[1] as usize, p.pad[1] as usize);
    // Taps [k0, k1) fall inside the image.
    let k0 = pad_x.saturating_sub(x0).min(kw);
    let k1 = (w + pad_x).saturating_sub(x0).min(kw).max(k0);
    for ky in 0..p.kh as usize {
        let y = oy * p.stride[0] as usize + ky;
        let inside = y >= p.pad[0] as usize && y - (p.pad[0] as usize) < p.h as usize;
        if inside && k1 > k0 {
            let pixel = (y - p.pad[0] as usize) * w + x0 + k0 - pad_x;
            f((ky * kw + k0) * c, pixel * c, (k1 - k0) * c);
        }
    }
}

/// For output row `row` of an example: calls `f(tap, pixel)` for the taps that read a pixel of the image.
pub(super) fn for_taps(p: &Params, row: usize, mut f: impl FnMut(usize, usize)) {
    let (oy, ox) = (row / p.ow as usize, row % p.ow as usize);
    for ky in 0..p.kh as usize {
        let Some(y) = p.source(0, oy, ky) else { continue };
        for kx in 0..p.kw as usize {
            if let Some(x) = p.source(1, ox, kx) {
                f(ky * p.kw as usize + kx, y * p.w as usize + x);
            }
        }
    }
}

/// Fills `columns` `[rows, K]` with a group's channels of one example `x` `[H,W,C]`.
fn im2col(p: &Params, group: usize, x: &[f32], rows: std::ops::Range<usize>, columns: &mut [f32]) {
    for (row, columns) in rows.zip(columns.chunks_exact_mut(p.k())) {
        let mut filled = 0;
        for_runs(p, group, row, |column, pixel, count| {
            columns[filled..column].fill(0.0);
            copy_short(&mut columns[column..column + count], &x[pixel..pixel + count]);
            filled = column + count;
        });
        columns[filled..].fill(0.0);
    }
}

/// Runs have only a few floats, so a loop is faster than a call to memcpy.
#[inline(always)]
fn copy_short(to: &mut [f32], from: &[f32]) {
    if to.len() > 32 {
        return to.copy_from_slice(from);
    }
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

pub(super) fn prepare_forward(args: &Args<'_, f32>, prepared: &mut Prepared) {
    let p: Params = args.params();
    let packed = prepared.get_or_insert_with(Vec::new);
    if conv_direct::takes(&p) {
        conv_direct::pack(args.real(WEIGHT), p.o as usize, packed);
    } else if let Some(merged) = conv_grouped::merged(&p) {
        conv_grouped::merge(&p, &merged, args.real(WEIGHT), packed);
    }
}

pub(super) fn forward(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (x, weight, bias, y) = (args.real(X), args.real(WEIGHT), args.real(BIAS), args.out(Y));
    let o = p.o as usize;
    let examples = y.par_chunks_exact_mut(p.rows() * o).zip(x.par_chunks_exact(p.example_in()));
    let examples = examples.with_min_len(args.least_items());
    let packed: &Vec<f32> = args.prepared.get();
    if conv_direct::takes(&p) {
        return examples.for_each(|(y, x)| conv_direct::forward(&p, x, packed, Some(bias), y));
    }
    let merged = conv_grouped::merged(&p);
    examples.for_each(|(y, x)| {
        for y in y.chunks_exact_mut(o) {
            y.copy_from_slice(bias);
        }
        if conv_depthwise::takes(&p) {
            return conv_depthwise::forward(&p, x, weight, y);
        }
        match &merged {
            Some(merged) if conv_sparse::all_finite(x) => product_forward(merged, x, packed, y),
            _ => product_forward(&p, x, weight, y),
        }
    });
}

/// One example: adds the products of its im2col rows and the weights to y, which holds the bias.
fn product_forward(p: &Params, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let (k, o, outputs) = (p.k(), p.o as usize, p.group_outputs());
    for group in 0..p.groups as usize {
        for_blocks(p, |rows, columns| {
            let (m, y) = (rows.len(), &mut y[rows.start * o..rows.end * o]);
            im2col(p, group, x, rows, columns);
            let weight = row_major(weight, o).skip_columns(group * outputs);
            product_columns([m, k, outputs], row_major(columns, k), weight, &mut y[group * outputs..], o);
        });
    }
}

/// The ways to compute the input's gradient, with the weights in the form that each of them needs.
struct Backward {
    sparse: Option<Layout>,
    filters: Vec<f32>,
    /// Used if zeros in dy hide nothing.
    finite: bool,
    direct: Option<Params>,
    merged: Option<Params>,
    /// For the direct way, or the merged one.
    packed: Vec<f32>,
}

pub(super) fn prepare_backward_input(args: &Args<'_, f32>, prepared: &mut Prepared) {
    let (p, weight) = (args.params::<Params>(), args.real(WEIGHT));
    let ways = prepared.get_or_insert_with(|| Backward {
        sparse: Layout::new(&p),
        filters: Vec::new(),
        finite: true,
        direct: conv_direct::reversed(&p).filter(conv_direct::takes),
        merged: conv_grouped::merged(&p),
        packed: Vec::new(),
    });
    ways.finite = conv_sparse::all_finite(weight);
    if let Some(frame) = ways.sparse.as_ref().filter(|_| ways.finite) {
        conv_sparse::pack(frame, weight, &mut ways.filters);
    }
    if ways.direct.is_some() {
        conv_direct::pack_reversed(&p, weight, &mut ways.packed);
    } else if let Some(merged) = &ways.merged {
        conv_grouped::merge(&p, merged, weight, &mut ways.packed);
    }
}

pub(super) fn backward_input(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (dy, weight, dx) = (args.real(DY), args.real(WEIGHT), args.out(DX));
    let examples = dx.par_chunks_exact_mut(p.example_in()).zip(dy.par_chunks_exact(p.rows() * p.o as usize));
    let Backward { sparse, filters, finite, direct, merged, packed } = args.prepared.get();
    examples.with_min_len(args.least_items()).for_each(|(dx, dy)| match (sparse, direct) {
        (Some(frame), _) if *finite && frame.suits(dy) => conv_sparse::backward_input(frame, dy, filters, dx),
        (_, Some(reversed)) => conv_direct::forward(reversed, dy, packed, None, dx),
        _ if conv_depthwise::takes(&p) => conv_depthwise::backward_input(&p, dy, weight, dx),
        _ => match merged {
            Some(merged) if conv_sparse::all_finite(dy) => product_backward_input(merged, dy, packed, dx),
            _ => product_backward_input(&p, dy, weight, dx),
        },
    });
}

/// One example: the gradients of all im2col rows by a matrix product, added at the pixels that they came from.
fn product_backward_input(p: &Params, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let (k, o, outputs) = (p.k(), p.o as usize, p.group_outputs());
    dx.fill(0.0);
    for group in 0..p.groups as usize {
        for_blocks(p, |rows, columns| {
            let dy = row_major(&dy[rows.start * o..rows.end * o], o).skip_columns(group * outputs);
            let weight = transposed(&weight[group * outputs..], o);
            product([rows.len(), outputs, k], dy, weight, columns, false);
            for (row, columns) in rows.zip(columns.chunks_exact(k)) {
                for_runs(p, group, row, |column, pixel, count| {
                    for (dx, v) in dx[pixel..pixel + count].iter_mut().zip(&columns[column..column + count]) {
                        *dx += v;
                    }
                });
            }
        });
    }
}

pub(super) fn prepare_backward_weight(args: &Args<'_, f32>, prepared: &mut Prepared) {
    prepared.get_or_insert_with(|| Layout::new(&args.params()));
}

pub(super) fn backward_weight(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    // Only a GPU needs splits of less than an example.
    let Some(per) = p.examples_per_split() else { return (conv::BACKWARD_WEIGHT.reference.single)(args) };
    let (x, dy, partial) = (args.real(X), args.real(DY), args.out(PARTIAL));
    let (k, o) = (p.k(), p.o as usize);
    let examples = x.par_chunks(per * p.example_in()).zip(dy.par_chunks(per * p.rows() * o));
    let sparse: &Option<Layout> = args.prepared.get();
    // The products between groups are discarded, whatever they are.
    let merged = conv_grouped::merged(&p);
    let splits = partial.par_chunks_exact_mut((k + 1) * o).zip(examples).with_min_len(args.least_items());
    splits.for_each(|(partial, (x, dy))| {
        partial.fill(0.0);
        let (dweight, dbias) = partial.split_at_mut(k * o);
        if let Some(merged) = &merged {
            merged_backward_weight(&p, merged, x, dy, dweight);
            return dy.chunks_exact(p.rows() * o).for_each(|dy| add_rows(dy, dbias));
        }
        with_filters(sparse.as_ref(), dweight, |filters, dweight| {
            for (x, dy) in x.chunks_exact(p.example_in()).zip(dy.chunks_exact(p.rows() * o)) {
                match sparse {
                    Some(frame) if frame.suits(dy) && conv_sparse::all_finite(x) => {
                        conv_sparse::backward_weight(frame, x, dy, filters)
                    }
                    _ if conv_depthwise::takes(&p) => conv_depthwise::backward_weight(&p, x, dy, dweight),
                    _ if conv_direct::takes_weight(&p) => conv_direct::backward_weight(&p, x, dy, dweight),
                    _ => product_backward_weight(&p, x, dy, dweight),
                }
                add_rows(dy, dbias);
            }
        });
    });
}

/// The share of the values of dy that the CPU skips in a backward pass because they are zero; `None` if it skips none.
/// Examples that are processed densely skip nothing. Inputs and weights are taken to be finite.
pub(super) fn skipped_zeros(op: &Op, dy: &[f32]) -> Option<f64> {
    let p: Params = op.params();
    let weights = std::ptr::eq(op.operation, &conv::BACKWARD_WEIGHT);
    if weights && (p.examples_per_split().is_none() || conv_grouped::merged(&p).is_some()) {
        return None;
    }
    let layout = Layout::new(&p)?;
    let examples = dy.chunks_exact(p.rows() * p.o as usize).filter(|dy| layout.suits(dy));
    let zeros: usize = examples.map(|dy| dy.iter().filter(|v| **v == 0.0).count()).sum();
    (zeros > 0).then(|| zeros as f64 / dy.len() as f64)
}

/// Calls `f` with a gradient in the order of the sparse way, and adds it to `dweight` afterwards.
fn with_filters(frame: Option<&Layout>, dweight: &mut [f32], f: impl FnOnce(&mut [f32], &mut [f32])) {
    let Some(frame) = frame else { return f(&mut [], dweight) };
    FILTERS.with_borrow_mut(|filters| {
        filters.clear();
        filters.resize(frame.filters(), 0.0);
        f(filters, dweight);
        conv_sparse::unpack(frame, filters, dweight);
    });
}

/// Some examples with merged groups: adds to dweight `[K,O]`.
fn merged_backward_weight(p: &Params, merged: &Params, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    FILTERS.with_borrow_mut(|gradient| {
        gradient.clear();
        gradient.resize(merged.k() * p.o as usize, 0.0);
        for (x, dy) in x.chunks_exact(p.example_in()).zip(dy.chunks_exact(p.rows() * p.o as usize)) {
            product_backward_weight(merged, x, dy, gradient);
        }
        conv_grouped::add_parts(p, merged, gradient, dweight);
    });
}

/// One example: adds to dweight `[K,O]` the product of its im2col columns and dy.
fn product_backward_weight(p: &Params, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let (k, o, outputs) = (p.k(), p.o as usize, p.group_outputs());
    for group in 0..p.groups as usize {
        for_blocks(p, |rows, columns| {
            im2col(p, group, x, rows.clone(), columns);
            let dy = row_major(&dy[rows.start * o..rows.end * o], o).skip_columns(group * outputs);
            let size = [k, rows.len(), outputs];
            product_columns(size, transposed(columns, k), dy, &mut dweight[group * outputs..], o);
        });
    }
}

/// Adds every row of `rows` `[M, O]` to `sums` `[O]`.
#[multiversion(targets("x86_64+avx2+fma"))]
fn add_rows(rows: &[f32], sums: &mut [f32]) {
    /// Independent partial sums, so that one addition need not wait for the previous one.
    const ROWS: usize = 4;
    let columns = sums.len();
    let (blocks, rest) = sums.as_chunks_mut::<8>();
    for (block, sums) in blocks.iter_mut().enumerate() {
        let mut beside = [[0.0; 8]; ROWS];
        for rows in rows.chunks(ROWS * columns) {
            for (row, sums) in rows.chunks_exact(columns).zip(&mut beside) {
                let row: &[f32; 8] = row[block * 8..].first_chunk().expect("a block of the row");
                (0..8).for_each(|i| sums[i] += row[i]);
            }
        }
        (0..8).for_each(|i| sums[i] += (beside[0][i] + beside[1][i]) + (beside[2][i] + beside[3][i]));
    }
    let first = columns - rest.len();
    for row in rows.chunks_exact(columns) {
        rest.iter_mut().zip(&row[first..]).for_each(|(sum, v)| *sum += v);
    }
}

pub(super) fn sum_splits(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let (partial, dweight, dbias) = (args.real(PARTIAL), args.out(DWEIGHT), args.out(DBIAS));
    let (split, biases) = ((p.k() + 1) * p.o as usize, dweight.len());
    dweight.par_chunks_mut(SUMS).enumerate().for_each(|(i, sums)| add_splits(&partial[i * SUMS..], split, sums));
    add_splits(&partial[biases..], split, dbias);
}

/// Sums per task of [`sum_splits`]; they stay in a core's first-level cache.
const SUMS: usize = 4096;

/// The sums over the same position in all splits, which are `split` floats apart.
fn add_splits(partial: &[f32], split: usize, sums: &mut [f32]) {
    let mut splits = partial.chunks(split);
    sums.copy_from_slice(&splits.next().expect("there is at least one split")[..sums.len()]);
    splits.for_each(|split| add_all(&split[..sums.len()], sums));
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn add_all(values: &[f32], sums: &mut [f32]) {
    for (sum, v) in sums.iter_mut().zip(values) {
        *sum += v;
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::CaseBuilder;
    use super::super::{Operation, Slot, SlotMut};
    use super::*;

    /// Both backward passes by `function` of one example whose dy is mostly zero: which of their results are NaN.
    fn nans(x: &[f32], weight: &[f32], function: fn(&Operation) -> fn(&mut Args<'_, f32>)) -> [Vec<bool>; 2] {
        let p = Params::new([1, 4, 4, 8], 8, [3, 3], [1, 1], [1, 1]);
        let dy: Vec<f32> = (0..128).map(|i| if i % 9 == 0 { 1.0 } else { 0.0 }).collect();
        let run = |operation: &'static Operation, first: &[f32], second: &[f32], len: usize| {
            let (mut out, mut prepared) = (vec![0.0; len], Prepared::default());
            let inputs = vec![Slot::Real(first), Slot::Real(second)];
            let mut args = Args::new(operation, bytemuck::bytes_of(&p), inputs, vec![SlotMut::Real(&mut out)]);
            operation.cpu.and_then(|cpu| cpu.prepare).expect("it prepares")(&args, &mut prepared);
            args.prepared = &prepared;
            function(operation)(&mut args);
            drop(args);
            out.iter().map(|v| v.is_nan()).collect()
        };
        [run(&conv::BACKWARD_INPUT, &dy, weight, 128), run(&conv::BACKWARD_WEIGHT, x, &dy, p.partial_len())]
    }

    #[test]
    fn zero_gradients_do_not_hide_an_infinity() {
        let (mut x, mut weight) = (vec![1.0; 128], vec![1.0; 576]);
        (x[50], weight[100]) = (f32::INFINITY, f32::NEG_INFINITY);
        let truth = nans(&x, &weight, |operation| operation.reference.single);
        assert!(truth.iter().all(|nans| nans.contains(&true)));
        // NaN where the reference has one; the direct way may have more, because it also multiplies padding.
        let fast = nans(&x, &weight, |operation| operation.cpu.expect("a fast function").run);
        for (truth, fast) in truth.iter().flatten().zip(fast.iter().flatten()) {
            assert!(*fast || !*truth);
        }
    }

    #[test]
    fn zeros_are_skipped_only_in_examples_with_many_of_them() {
        let p = Params::new([2, 6, 6, 8], 8, [3, 3], [1, 1], [1, 1]);
        let mut b = CaseBuilder::default();
        let (x, dy, weight) = (b.real(p.x_len()), b.real(p.y_len()), b.real(p.k() * 8));
        let (dx, partial) = (b.out(p.x_len()), b.out(p.partial_len()));
        let dense = vec![1.0; p.y_len()];
        // Three quarters of the first example are zero, and a quarter of the second.
        let first = p.y_len() / 2;
        let value = |i: usize| if i.is_multiple_of(4) == (i < first) { 1.0 } else { 0.0 };
        let sparse: Vec<f32> = (0..p.y_len()).map(value).collect();
        // All zeros of the first example, 216 of the 576 values of both; no processor without vectors skips any.
        let expected = Layout::new(&p).map(|_| 0.375);
        for op in [conv::backward_input(p, dy, weight, dx), conv::backward_weight(p, x, dy, partial)] {
            assert_eq!(skipped_zeros(&op, &dense), None);
            assert_eq!(skipped_zeros(&op, &sparse), expected, "{}", op.operation.name);
        }
    }

    #[test]
    fn an_infinity_stays_within_its_group() {
        let p = Params::new([1, 5, 4, 8], 8, [3, 3], [1, 1], [1, 1]).with([1, 1], 4);
        assert!(conv_grouped::merged(&p).is_some());
        let (values, weight, bias) = (vec![1.0; 160], vec![0.5; p.k() * 8], vec![0.0; 8]);
        let mut spoiled = values.clone();
        spoiled[83] = f32::INFINITY;
        let run = |operation: &'static Operation, first: &[f32], more: &[&[f32]], len: usize| {
            [operation.reference.single, operation.cpu.expect("a fast function").run].map(|function| {
                let (mut out, mut prepared) = (vec![0.0; len], Prepared::default());
                let inputs = [&[first], more].concat().into_iter().map(Slot::Real);
                let mut args = Args::new(operation, bytemuck::bytes_of(&p), inputs, vec![SlotMut::Real(&mut out)]);
                operation.cpu.and_then(|cpu| cpu.prepare).expect("it prepares")(&args, &mut prepared);
                args.prepared = &prepared;
                function(&mut args);
                drop(args);
                out
            })
        };
        for x in [&values, &spoiled] {
            let [truth, fast] = run(&conv::FORWARD, x, &[&weight, &bias], 160);
            assert_eq!(truth, fast);
            let [truth, fast] = run(&conv::BACKWARD_INPUT, x, &[&weight], 160);
            assert_eq!(truth, fast);
            let [truth, fast] = run(&conv::BACKWARD_WEIGHT, x, &[&values], p.partial_len());
            assert_eq!(truth, fast);
        }
        let [truth, _] = run(&conv::FORWARD, &spoiled, &[&weight, &bias], 160);
        assert!(truth.iter().any(|v| v.is_infinite()) && truth.iter().any(|v| v.is_finite()));
    }
}
