//! Augmented examples: each training example goes through a random affine map around the image's centre, sampled
//! bilinearly in byte units; outside the image is 0. Images `[SH,SW,C]` -> x `[H,W,C]`; `shaders/batch.wgsl`.
//!
//! The draws depend on (seed, step, n) alone and are the same everywhere. The map is computed in f64 here and in f32 in
//! the shader; bilinear sampling is continuous, so that a coordinate's rounding error stays one in the value.

use super::batch::{Params, copy_example, copy_lines, crop, pcg3d, stored_bytes};
use super::{Args, Scalar};
use multiversion::multiversion;
use rayon::prelude::*;
use std::array;

/// How far the map goes at most, either way; all 0: nowhere.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Limits {
    /// Radians, at most [`MAX_ANGLE`].
    pub rotation: f32,
    /// Height and width each change by a factor within 1 ± scale; below 1.
    pub scale: f32,
    /// Radians that columns are slanted by, at most half of [`MAX_ANGLE`].
    pub shear: f32,
    /// Pixels.
    pub shift: f32,
}

/// As far as `sin_cos` goes.
pub const MAX_ANGLE: f32 = std::f32::consts::FRAC_PI_2;

/// Flipped in the seed, so that these draws are neither those of the crops nor each other.
const STREAMS: [u32; 2] = [0x5bd1_e995, 0x9e37_79b9];

/// Taylor's polynomials, off by at most 6e-8 up to [`MAX_ANGLE`]. WGSL promises its own sine to 5e-4 only.
fn sin_cos(angle: f64) -> (f64, f64) {
    const SIN: [f64; 6] = [1.0, -1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0, 1.0 / 362_880.0, -1.0 / 39_916_800.0];
    const COS: [f64; 7] =
        [1.0, -0.5, 1.0 / 24.0, -1.0 / 720.0, 1.0 / 40_320.0, -1.0 / 3_628_800.0, 1.0 / 479_001_600.0];
    let square = angle * angle;
    let series = |terms: &[f64]| terms.iter().rev().fold(0.0, |sum, term| sum * square + term);
    (angle * series(&SIN), series(&COS))
}

/// What is drawn for one example; pairs are (down, right).
#[derive(Debug, Clone, Copy)]
struct Draw {
    rotation: f64,
    shear: f64,
    scale: [f64; 2],
    shift: [f64; 2],
}

impl Draw {
    fn of(limits: &Limits, header: &[u32], n: usize) -> Draw {
        let [first, second] = STREAMS.map(|stream| pcg3d([header[2] ^ stream, header[0], n as u32]));
        // The upper 24 bits, evenly over [-1, 1).
        let even = |word: u32, limit: f32| (f64::from(word >> 8) / f64::from(1 << 23) - 1.0) * f64::from(limit);
        Draw {
            rotation: even(first[0], limits.rotation),
            shear: even(first[1], limits.shear),
            scale: [1.0 + even(first[2], limits.scale), 1.0 + even(second[0], limits.scale)],
            shift: [even(second[1], limits.shift), even(second[2], limits.shift)],
        }
    }
}

/// Where a value of the augmented example lies in its image: row `y[0] + y[1]*v + y[2]*u`, likewise its column by `x`,
/// for the value in row v and column u.
#[derive(Debug, Clone, Copy)]
struct Map {
    y: [f64; 3],
    x: [f64; 3],
}

impl Map {
    /// The inverse of: scale, slant, rotate (clockwise where positive, y pointing down), all around the image's centre,
    /// then shift, then crop at `corner`.
    fn new(p: &Params, corner: (usize, usize), draw: Draw) -> Map {
        let (sin, cos) = sin_cos(draw.rotation);
        let (slant_sin, slant_cos) = sin_cos(draw.shear);
        let slant = slant_sin / slant_cos;
        let [height, width] = draw.scale;
        let (yy, yx) = (cos / height, -sin / height);
        let (xy, xx) = ((sin - slant * cos) / width, (cos + slant * sin) / width);
        let (middle_y, middle_x) = (f64::from(p.source_h - 1) / 2.0, f64::from(p.source_w - 1) / 2.0);
        let from_y = corner.0 as f64 - middle_y - draw.shift[0];
        let from_x = corner.1 as f64 - middle_x - draw.shift[1];
        Map { y: [middle_y + yy * from_y + yx * from_x, yy, yx], x: [middle_x + xy * from_y + xx * from_x, xy, xx] }
    }

    /// Of example `n` in this step.
    fn of(p: &Params, header: &[u32], n: usize) -> Map {
        Map::new(p, crop(p, header, n), Draw::of(&p.limits, header, n))
    }
}

pub(super) fn reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let inputs: Vec<&[u32]> = (0..6).map(|i| args.words(i)).collect();
    for (n, x) in args.out(0).chunks_exact_mut((p.h * p.w * p.c) as usize).enumerate() {
        if varied(inputs[0], n) {
            sample_example(&p, &inputs, n, &Map::of(&p, inputs[0], n), x);
        } else {
            copy_example(&p, &inputs, n, x, |v| S::of(f64::from(v) / 255.0 - 0.5));
        }
    }
}

/// Whether row `n` holds an example, and one to learn from.
fn varied(header: &[u32], n: usize) -> bool {
    header[3] != 0 && n < header[1] as usize
}

fn sample_example<S: Scalar>(p: &Params, args: &[&[u32]], n: usize, map: &Map, x: &mut [S]) {
    let (words, first) = stored_bytes(p, args, n);
    let [height, width, channels] = [p.source_h, p.source_w, p.c].map(i64::from);
    let pixel = |row: i64, column: i64, channel: i64| {
        if !(0..height).contains(&row) || !(0..width).contains(&column) {
            return 0.0;
        }
        let byte = first + ((row * width + column) * channels + channel) as usize;
        f64::from(words[byte / 4] >> (8 * (byte % 4)) & 255)
    };
    let (row, c) = ((p.w * p.c) as usize, p.c as usize);
    for (i, x) in x.iter_mut().enumerate() {
        let (v, u, channel) = ((i / row) as f64, (i % row / c) as f64, (i % c) as i64);
        let [at_y, at_x] = [map.y, map.x].map(|m| m[0] + m[1] * v + m[2] * u);
        let (top, left) = (at_y.floor() as i64, at_x.floor() as i64);
        let (down, right) = (at_y - at_y.floor(), at_x - at_x.floor());
        let line = |row: i64| pixel(row, left, channel) * (1.0 - right) + pixel(row, left + 1, channel) * right;
        *x = S::of((line(top) * (1.0 - down) + line(top + 1) * down) / 255.0 - 0.5);
    }
}

pub(super) fn cpu(args: &mut Args<'_, f32>) {
    // Words hold their first byte lowest, as these processors do.
    if !cfg!(target_endian = "little") {
        return reference(args);
    }
    let p: Params = args.params();
    let inputs: Vec<&[u32]> = (0..6).map(|i| args.words(i)).collect();
    let row = Row::new(&p);
    let examples = args.out(0).par_chunks_exact_mut((p.h * p.w * p.c) as usize).enumerate();
    examples.for_each_init(Scratch::default, |scratch, (n, x)| {
        if varied(inputs[0], n) {
            augment(&p, &inputs, n, &row, &Map::of(&p, inputs[0], n), scratch, x);
        } else {
            copy_lines(&p, &inputs, n, x);
        }
    });
}

/// One example, through the map.
#[multiversion(targets("x86_64+avx2+fma"))]
fn augment(p: &Params, args: &[&[u32]], n: usize, row: &Row, map: &Map, scratch: &mut Scratch, x: &mut [f32]) {
    scratch.read(p, args, n);
    scratch.sample(p, row, map, x);
}

/// Values of a row that are computed at once, for vectors of any width.
const BLOCK: usize = 32;

/// Of each value in a row of x, in blocks of which the last may be cut short: its column and its channel.
struct Row(Vec<([f32; BLOCK], [i32; BLOCK])>);

impl Row {
    fn new(p: &Params) -> Row {
        let block = |b: usize| {
            let value = |i: usize| (b * BLOCK + i) as u32;
            (array::from_fn(|i| (value(i) / p.c) as f32), array::from_fn(|i| (value(i) % p.c) as i32))
        };
        Row((0..(p.w * p.c) as usize).step_by(BLOCK).map(|first| block(first / BLOCK)).collect())
    }
}

/// What one thread needs for an example, allocated once.
#[derive(Default)]
struct Scratch {
    /// `[SH+3,SW+3,C]`: the image in a border of zeros, one row and column before it, two behind; C more zeros.
    padded: Vec<u8>,
    /// `[SH+2,SW+3,C]`: a byte of `padded` with its right, lower and lower right neighbours, from the lowest byte up: one
    /// load for what a sample needs.
    quads: Vec<u32>,
}

impl Scratch {
    /// Makes the quads of example `n`.
    #[inline(always)]
    fn read(&mut self, p: &Params, args: &[&[u32]], n: usize) {
        let (words, first) = stored_bytes(p, args, n);
        let (h, w, c) = (p.source_h as usize, p.source_w as usize, p.c as usize);
        let bytes = &bytemuck::cast_slice::<u32, u8>(words)[first..][..h * w * c];
        let line = (w + 3) * c;
        // The border stays zero from one example to the next.
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

    /// Samples them.
    #[inline(always)]
    fn sample(&self, p: &Params, row: &Row, map: &Map, x: &mut [f32]) {
        let (step_y, step_x) = (map.y[2] as f32, map.x[2] as f32);
        for (v, x) in x.chunks_exact_mut((p.w * p.c) as usize).enumerate() {
            // Counted from the border, so that no place in it is negative.
            let from = [map.y, map.x].map(|m| (m[0] + m[1] * v as f64 + 1.0) as f32);
            for (x, (columns, channels)) in x.chunks_mut(BLOCK).zip(&row.0) {
                let values = self.sample_block(p, from, [step_y, step_x], columns, channels);
                x.copy_from_slice(&values[..x.len()]);
            }
        }
    }

    /// One loop each for coordinates, loads and interpolation: the first and the last run in vectors.
    #[inline(always)]
    fn sample_block(
        &self,
        p: &Params,
        from: [f32; 2],
        step: [f32; 2],
        columns: &[f32; BLOCK],
        channels: &[i32; BLOCK],
    ) -> [f32; BLOCK] {
        let (height, width) = ((p.source_h + 1) as f32, (p.source_w + 1) as f32);
        let (line, c) = (((p.source_w + 3) * p.c) as i32, p.c as i32);
        let (mut places, mut quads) = ([0; BLOCK], [0; BLOCK]);
        let (mut down, mut right, mut values) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        for i in 0..BLOCK {
            let (top, y_share) = split(from[0] + step[0] * columns[i], height);
            let (left, x_share) = split(from[1] + step[1] * columns[i], width);
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

/// The whole and the rest of a coordinate within 0 and `end`; beyond them, where all is zero, it is put onto them.
#[inline(always)]
fn split(at: f32, end: f32) -> (i32, f32) {
    // Comparisons and a sum with 2^23, which has the whole number in its lowest bits, instead of `max`, `min` and `as`:
    // their care for NaN keeps the loop from running in vectors.
    let at = if at > 0.0 { at } else { 0.0 };
    let at = if at < end { at } else { end };
    let whole = at.floor();
    (((whole + 8_388_608.0).to_bits() & 0x7f_ffff) as i32, at - whole)
}

#[cfg(test)]
mod tests {
    use super::super::batch::Header;
    use super::*;

    const STILL: Draw = Draw { rotation: 0.0, shear: 0.0, scale: [1.0; 2], shift: [0.0; 2] };

    /// Whole images of one example in one chunk.
    fn whole(height: u32, width: u32, limits: Limits) -> Params {
        let (source_h, source_w) = (height, width);
        Params { n: 1, h: height, w: width, c: 1, source_h, source_w, examples_per_chunk: 1, reserved: 0, limits }
    }

    /// A picture as both ways of sampling turn it out, in bytes.
    fn turned_out(picture: &[u8], p: &Params, draw: Draw) -> [Vec<f32>; 2] {
        let words: Vec<u32> =
            picture.chunks(4).map(|b| (0..b.len()).map(|i| u32::from(b[i]) << (8 * i)).sum()).collect();
        let header = Header { training: true, ..Header::evaluation(1) }.words();
        let args: [&[u32]; 6] = [&header, &[0], &words, &[], &[], &[]];
        let map = Map::new(p, (0, 0), draw);
        let mut results = [vec![0.0; picture.len()], vec![0.0; picture.len()]];
        sample_example(p, &args, 0, &map, &mut results[0]);
        let mut scratch = Scratch::default();
        scratch.read(p, &args, 0);
        scratch.sample(p, &Row::new(p), &map, &mut results[1]);
        results.map(|values| values.into_iter().map(|v| (v + 0.5) * 255.0).collect())
    }

    /// Holds both ways against `expected`.
    fn assert_turns_out(picture: &[u8], size: [u32; 2], draw: Draw, expected: &[u8]) {
        for values in turned_out(picture, &whole(size[0], size[1], Limits::default()), draw) {
            let near = values.iter().zip(expected).all(|(v, e)| (v - f32::from(*e)).abs() < 0.01);
            assert!(near, "{draw:?}: {values:?} instead of {expected:?}");
        }
    }

    #[test]
    fn a_picture_that_nothing_moves_stays_as_it_is() {
        let picture = [10, 20, 30, 40, 50, 60];
        assert_turns_out(&picture, [2, 3], STILL, &picture);
    }

    #[test]
    fn a_quarter_turn_goes_clockwise() {
        let draw = Draw { rotation: f64::from(MAX_ANGLE), ..STILL };
        assert_turns_out(&[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3], draw, &[7, 4, 1, 8, 5, 2, 9, 6, 3]);
    }

    #[test]
    fn a_shift_goes_down_and_right_and_brings_black() {
        let draw = Draw { shift: [1.0, 0.5], ..STILL };
        assert_turns_out(&[100, 200, 40, 80], [2, 2], draw, &[0, 0, 50, 150]);
        let far = Draw { shift: [-9.0, 70.0], ..STILL };
        assert_turns_out(&[100, 200, 40, 80], [2, 2], far, &[0; 4]);
    }

    #[test]
    fn a_slant_of_half_a_right_angle_moves_each_row_by_its_distance() {
        let draw = Draw { shear: f64::from(MAX_ANGLE) / 2.0, ..STILL };
        // Rows are counted downwards: the lower ones go right.
        assert_turns_out(&[0, 7, 0, 0, 7, 0, 0, 7, 0], [3, 3], draw, &[7, 0, 0, 0, 7, 0, 0, 0, 7]);
    }

    #[test]
    fn twice_the_width_keeps_the_height() {
        let draw = Draw { scale: [1.0, 2.0], ..STILL };
        assert_turns_out(&[0, 8, 0, 0, 8, 0], [2, 3], draw, &[4, 8, 4, 4, 8, 4]);
    }

    #[test]
    fn sine_and_cosine_are_right_as_far_as_they_are_used() {
        for i in -1000..=1000 {
            let angle = f64::from(i) / 1000.0 * f64::from(MAX_ANGLE);
            let (sin, cos) = sin_cos(angle);
            assert!((sin - angle.sin()).abs() < 6e-8 && (cos - angle.cos()).abs() < 6e-8, "{angle}");
        }
    }

    #[test]
    fn draws_cover_their_ranges_evenly_and_apart_from_each_other() {
        const DRAWS: usize = 20_000;
        let limits = Limits { rotation: 1.0, scale: 0.5, shear: 0.5, shift: 4.0 };
        let mut counts = [[0; 10]; 6];
        let mut products = [[0.0; 6]; 6];
        for i in 0..DRAWS {
            let header = Header { step: i as u32 / 100, seed: 5, training: true, ..Header::evaluation(100) }.words();
            let Draw { rotation, shear, scale, shift } = Draw::of(&limits, &header, i % 100);
            let all =
                [rotation, 2.0 * shear, 2.0 * (scale[0] - 1.0), 2.0 * (scale[1] - 1.0), shift[0] / 4.0, shift[1] / 4.0];
            for (a, count) in all.iter().zip(&mut counts) {
                count[((a + 1.0) * 5.0) as usize] += 1;
            }
            for (a, products) in all.iter().zip(&mut products) {
                all.iter().zip(products).for_each(|(b, product)| *product += a * b);
            }
        }
        // 2,000 in each tenth, σ about 42.
        assert!(counts.iter().flatten().all(|c| (1800..2200).contains(c)), "{counts:?}");
        for (i, row) in products.iter().enumerate() {
            for (j, product) in row.iter().enumerate() {
                let correlation = 3.0 * product / DRAWS as f64;
                assert!((correlation - f64::from(i == j)).abs() < 0.05, "{i} {j}: {correlation}");
            }
        }
    }
}
