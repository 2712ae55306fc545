//! Bends and maps examples (`augmentation.rs`) fast on the processor. A border of zeros makes checks for pixels outside
//! the image unnecessary; coordinates and interpolation use vectors.

use super::augmentation::{Bend, Map, POINTS, Variation, spline};
use super::batch::{Params, Source};
use multiversion::multiversion;
use std::array;

/// One varied example.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn augment(
    p: &Params,
    source: &Source<'_>,
    n: usize,
    row: &Row,
    variation: &Variation,
    scratch: &mut Scratch,
    x: &mut [f32],
) {
    scratch.read(p, source, n);
    scratch.sample(p, row, variation, x);
}

/// Values of a row that are computed together, for vectors of any width.
const BLOCK: usize = 32;

/// Data that all rows share.
pub(super) struct Row {
    /// For each value in a row of x: its column and its channel, in blocks of which the last may be shorter.
    blocks: Vec<([f32; BLOCK], [i32; BLOCK])>,
    /// For each control point, its share in each value of a padded image's row, and zeros for one more block. Empty if
    /// nothing bends.
    shares: [Vec<f32>; POINTS],
}

impl Row {
    pub fn new(p: &Params) -> Row {
        let block = |b: usize| {
            let value = |i: usize| (b * BLOCK + i) as u32;
            (array::from_fn(|i| (value(i) / p.c) as f32), array::from_fn(|i| (value(i) % p.c) as i32))
        };
        let blocks = (0..(p.w * p.c) as usize).step_by(BLOCK).map(|first| block(first / BLOCK)).collect();
        let mut shares = [const { Vec::new() }; POINTS];
        if p.limits.elastic > 0.0 {
            for value in 0..(p.padded()[1] * p.c) as usize {
                let spline = spline(value / p.c as usize, p.padded()[1]);
                shares.iter_mut().zip(spline).for_each(|(shares, share)| shares.push(share as f32));
            }
            shares.iter_mut().for_each(|shares| shares.resize(shares.len() + BLOCK, 0.0));
        }
        Row { blocks, shares }
    }
}

/// The displacement of one row of a padded image by each of the control points: (down, right) in the image.
fn moved_row(p: &Params, map: &Map, bend: &Bend, row: usize) -> [[f32; POINTS]; 2] {
    let mut moved = [[0.0; POINTS]; 2];
    let shares = spline(row, p.padded()[0]);
    for column in 0..POINTS {
        let sum = |i: usize| bend.0.iter().zip(shares).map(|(points, share)| share * points[column][i]).sum::<f64>();
        let (down, right) = (sum(0), sum(1));
        moved[0][column] = (map.y[1] * down + map.y[2] * right) as f32;
        moved[1][column] = (map.x[1] * down + map.x[2] * right) as f32;
    }
    moved
}

/// Working memory of a thread for an example, allocated once.
#[derive(Default)]
pub(super) struct Scratch {
    /// `[SH+3,SW+3,C]`: the image in a border of zeros, one row and column before it and two after, then C more zeros.
    padded: Vec<u8>,
    /// `[SH+2,SW+3,C]`: a byte of `padded` with its right, lower and lower right neighbours, from the lowest byte up,
    /// so that a sample needs one load.
    quads: Vec<u32>,
}

impl Scratch {
    /// Prepares the quads of example `n`.
    #[inline(always)]
    pub fn read(&mut self, p: &Params, source: &Source<'_>, n: usize) {
        let (words, first) = source.bytes(p, n);
        let (h, w, c) = (p.source_h as usize, p.source_w as usize, p.c as usize);
        let bytes = &bytemuck::cast_slice::<u32, u8>(words)[first..][..h * w * c];
        let line = (w + 3) * c;
        // The border remains zero between examples.
        self.padded.resize((h + 3) * line + c, 0);
        self.quads.resize((h + 2) * line, 0);
        for (to, from) in self.padded.chunks_exact_mut(line).skip(1).zip(bytes.chunks_exact(w * c)) {
            to[c..][..w * c].copy_from_slice(from);
        }
        let (upper, lower) = (&self.padded, &self.padded[line..]);
        let (upper, lower) = (upper.iter().zip(&upper[c..]), lower.iter().zip(&lower[c..]));
        for (quad, ((a, b), (c, d))) in self.quads.iter_mut().zip(upper.zip(lower)) {
            *quad = u32::from(*a) | u32::from(*b) << 8 | u32::from(*c) << 16 | u32::from(*d) << 24;
        }
    }

    /// Samples the quads.
    #[inline(always)]
    pub fn sample(&self, p: &Params, row: &Row, variation: &Variation, x: &mut [f32]) {
        let Variation { corner, map, bend } = variation;
        let step = [map.y[2] as f32, map.x[2] as f32];
        for (v, x) in x.chunks_exact_mut((p.w * p.c) as usize).enumerate() {
            // Counted from the border, so that no coordinate is negative.
            let from = [map.y, map.x].map(|m| (m[0] + m[1] * v as f64 + 1.0) as f32);
            let moved = bend.as_ref().map(|bend| moved_row(p, map, bend, corner.0 + v));
            for (block, (x, (columns, channels))) in x.chunks_mut(BLOCK).zip(&row.blocks).enumerate() {
                let mut at = from.map(|from| [from; BLOCK]);
                for (at, step) in at.iter_mut().zip(step) {
                    (0..BLOCK).for_each(|i| at[i] += step * columns[i]);
                }
                if let Some(moved) = &moved {
                    let first = corner.1 * p.c as usize + block * BLOCK;
                    for (at, moved) in at.iter_mut().zip(moved) {
                        for (moved, shares) in moved.iter().zip(&row.shares) {
                            let shares: &[f32; BLOCK] = shares[first..].first_chunk().expect("a block more than a row");
                            (0..BLOCK).for_each(|i| at[i] += moved * shares[i]);
                        }
                    }
                }
                let values = self.sample_block(p, &at, channels);
                x.copy_from_slice(&values[..x.len()]);
            }
        }
    }

    /// The values at these coordinates. Splitting, loads and interpolation have one loop each; the first and the last
    /// use vectors.
    #[inline(always)]
    fn sample_block(&self, p: &Params, at: &[[f32; BLOCK]; 2], channels: &[i32; BLOCK]) -> [f32; BLOCK] {
        let (height, width) = ((p.source_h + 1) as f32, (p.source_w + 1) as f32);
        let (line, c) = (((p.source_w + 3) * p.c) as i32, p.c as i32);
        let (mut places, mut quads) = ([0; BLOCK], [0; BLOCK]);
        let (mut down, mut right, mut values) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        for i in 0..BLOCK {
            let (top, y_share) = split(at[0][i], height);
            let (left, x_share) = split(at[1][i], width);
            (down[i], right[i]) = (y_share, x_share);
            places[i] = top * line + left * c + channels[i];
        }
        for (quad, place) in quads.iter_mut().zip(places) {
            *quad = self.quads[place as usize];
        }
        for i in 0..BLOCK {
            let corner = |shift: u32| (quads[i] >> shift & 255) as i32 as f32;
            let upper = corner(0) + (corner(8) - corner(0)) * right[i];
            let lower = corner(16) + (corner(24) - corner(16)) * right[i];
            values[i] = (upper + (lower - upper) * down[i]) / 255.0 - 0.5;
        }
        values
    }
}

/// The integer and fractional part of a coordinate within 0 and `end`; coordinates beyond, where all is zero, are
/// clamped.
#[inline(always)]
fn split(at: f32, end: f32) -> (i32, f32) {
    // Comparisons, and a sum with 2^23 that has the integer in its lowest bits, instead of `max`, `min` and `as`, whose
    // handling of NaN would prevent vectorisation.
    let at = if at > 0.0 { at } else { 0.0 };
    let at = if at < end { at } else { end };
    let whole = at.floor();
    (((whole + 8_388_608.0).to_bits() & 0x7f_ffff) as i32, at - whole)
}
