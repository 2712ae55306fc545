//! Augmented examples: each training example is deformed by a random smooth field and mapped by a random affine map
//! around the image's centre, sampled bilinearly in byte units. It may be mirrored, and may lose a rectangle
//! (`erasing.rs`). Pixels outside the image, including the padding, are 0. Images `[SH,SW,C]` -> x `[H,W,C]`;
//! `shaders/batch.wgsl`.
//!
//! The draws only depend on seed, step and the row in the whole batch, and are the same on every device. Map and field
//! are computed in f64 here and in f32 in the shader; both, and bilinear sampling, are continuous, so that a rounding
//! error of a coordinate only causes a rounding error of the value. Everything else is computed with integers.

use super::augmentation_cpu::{Row, Scratch, augment};
use super::batch::{Header, LABELS, Params, Source, X, copy_example, copy_lines, copy_padded, crop, pcg3d};
use super::erasing::Hole;
use super::{Args, Scalar};
use rayon::prelude::*;
use std::array;

/// The limits of augmentation; all 0 for none.
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
    /// Pixels that each of 7 x 7 control points is moved by.
    pub elastic: f32,
    /// Pixels of 0 around the image, which crops reach into.
    pub pad: u32,
    /// The number of examples, of [`Limits::ALL`], that lose a rectangle.
    pub erase: u32,
    /// A bit for each class whose examples are mirrored half of the time.
    pub flip: [u32; 8],
}

impl Limits {
    /// `erase` for every example.
    pub const ALL: u32 = 1 << 24;

    /// Whether pixels move to fractional positions.
    pub(super) fn moves(&self) -> bool {
        [self.rotation, self.scale, self.shear, self.shift, self.elastic].iter().any(|limit| *limit > 0.0)
    }
}

/// The range of `sin_cos`.
pub const MAX_ANGLE: f32 = std::f32::consts::FRAC_PI_2;

/// A mask to flip bits of the seed with, so that these draws differ from those of the crops and from each other.
const STREAMS: [u32; 2] = [0x5bd1_e995, 0x9e37_79b9];
/// The mask for the control points.
const POINTS_STREAM: u32 = 0x85eb_ca6b;
/// The mask for mirroring.
const FLIP_STREAM: u32 = 0x27d4_eb2f;

/// Cells of the grid of control points along each side of the image. On 28 pixels a cubic B-spline over cells of 7 is
/// as smooth as a Gaussian of σ 4, the width that Simard, Steinkraus and Platt (2003) found best for MNIST.
const CELLS: usize = 4;
/// Control points along each side: a cubic B-spline takes four for every cell.
pub(super) const POINTS: usize = CELLS + 3;

/// The upper 24 bits, evenly over [-1, 1), times the limit.
fn even(word: u32, limit: f32) -> f64 {
    (f64::from(word >> 8) / f64::from(1 << 23) - 1.0) * f64::from(limit)
}

/// Taylor polynomials with errors of at most 6e-8 up to [`MAX_ANGLE`]; WGSL guarantees its own sine only to 5e-4.
fn sin_cos(angle: f64) -> (f64, f64) {
    const SIN: [f64; 6] = [1.0, -1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0, 1.0 / 362_880.0, -1.0 / 39_916_800.0];
    const COS: [f64; 7] =
        [1.0, -0.5, 1.0 / 24.0, -1.0 / 720.0, 1.0 / 40_320.0, -1.0 / 3_628_800.0, 1.0 / 479_001_600.0];
    let square = angle * angle;
    let series = |terms: &[f64]| terms.iter().rev().fold(0.0, |sum, term| sum * square + term);
    (angle * series(&SIN), series(&COS))
}

/// The draws for one example; pairs are (down, right).
#[derive(Debug, Clone, Copy)]
struct Draw {
    rotation: f64,
    shear: f64,
    scale: [f64; 2],
    shift: [f64; 2],
}

impl Draw {
    fn of(limits: &Limits, header: &Header, n: usize) -> Draw {
        let [first, second] = STREAMS.map(|stream| pcg3d([header.seed ^ stream, header.step, header.row(n)]));
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
pub(super) struct Map {
    pub y: [f64; 3],
    pub x: [f64; 3],
}

impl Map {
    /// The inverse of: scale, slant, rotate (clockwise where positive, y pointing down), all around the image's centre,
    /// then shift, then crop at `corner`, counted from that of the padded image.
    fn new(p: &Params, corner: (usize, usize), draw: Draw) -> Map {
        let (sin, cos) = sin_cos(draw.rotation);
        let (slant_sin, slant_cos) = sin_cos(draw.shear);
        let slant = slant_sin / slant_cos;
        let [height, width] = draw.scale;
        let (yy, yx) = (cos / height, -sin / height);
        let (xy, xx) = ((sin - slant * cos) / width, (cos + slant * sin) / width);
        let (middle_y, middle_x) = (f64::from(p.source_h - 1) / 2.0, f64::from(p.source_w - 1) / 2.0);
        let pad = f64::from(p.limits.pad);
        let from_y = corner.0 as f64 - pad - middle_y - draw.shift[0];
        let from_x = corner.1 as f64 - pad - middle_x - draw.shift[1];
        Map { y: [middle_y + yy * from_y + yx * from_x, yy, yx], x: [middle_x + xy * from_y + xx * from_x, xy, xx] }
    }
}

/// A smooth field of displacements (down, right) over the padded image: every control point of a grid is moved by a
/// random amount, and cubic B-splines carry that to the pixels between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bend(pub [[[f64; 2]; POINTS]; POINTS]);

impl Bend {
    fn of(limits: &Limits, header: &Header, n: usize) -> Bend {
        let first = header.row(n).wrapping_mul((POINTS * POINTS) as u32);
        let point = |i: usize| {
            let words = pcg3d([header.seed ^ POINTS_STREAM, header.step, first.wrapping_add(i as u32)]);
            [even(words[0], limits.elastic), even(words[1], limits.elastic)]
        };
        Bend(array::from_fn(|row| array::from_fn(|column| point(row * POINTS + column))))
    }

    /// The displacement of the padded image's pixel in this row and column.
    fn at(&self, p: &Params, row: usize, column: usize) -> [f64; 2] {
        let [height, width] = p.padded();
        let (rows, columns) = (spline(row, height), spline(column, width));
        let mut sum = [0.0; 2];
        for (points, down) in self.0.iter().zip(rows) {
            for (point, right) in points.iter().zip(columns) {
                (0..2).for_each(|i| sum[i] += down * right * point[i]);
            }
        }
        sum
    }
}

/// The share of each control point in the displacement of pixel `at` of `size`; four of them are not zero.
pub(super) fn spline(at: usize, size: u32) -> [f64; POINTS] {
    // at < size, so that the cell is one of the CELLS.
    let (cell, rest) = (at * CELLS / size as usize, at * CELLS % size as usize);
    let t = rest as f64 / f64::from(size);
    let s = 1.0 - t;
    let mut shares = [0.0; POINTS];
    shares[cell] = s * s * s / 6.0;
    shares[cell + 1] = (4.0 - 3.0 * t * t * (2.0 - t)) / 6.0;
    shares[cell + 2] = (4.0 - 3.0 * s * s * (2.0 - s)) / 6.0;
    shares[cell + 3] = t * t * t / 6.0;
    shares
}

/// The geometric transformation of one example.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variation {
    /// Upper left corner of its crop, counted from that of the padded image.
    pub corner: (usize, usize),
    pub map: Map,
    pub bend: Option<Bend>,
}

impl Variation {
    /// The transformation of example `n` in this step; `None` if it is only cropped.
    fn of(p: &Params, header: &Header, n: usize) -> Option<Variation> {
        if !header.training || !p.limits.moves() {
            return None;
        }
        let corner = crop(p, header, n);
        let map = Map::new(p, corner, Draw::of(&p.limits, header, n));
        Some(Variation { corner, map, bend: (p.limits.elastic > 0.0).then(|| Bend::of(&p.limits, header, n)) })
    }
}

/// Whether example `n` is mirrored: by chance if its class may be, or as the header says in evaluation.
fn mirrored(p: &Params, header: &Header, labels: &[u32], n: usize) -> bool {
    if !header.training {
        return header.place.is_some_and(|place| place.mirrored);
    }
    let class = labels[n] as usize;
    let allowed = p.limits.flip[class / 32 % 8] >> (class % 32) & 1 == 1;
    allowed && pcg3d([header.seed ^ FLIP_STREAM, header.step, header.row(n)])[0] >> 31 == 1
}

pub(super) fn reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (source, labels) = (Source::of(args), args.words(LABELS));
    let (header, first, row) = (&source.header, args.first_example(), (p.w * p.c) as usize);
    for (i, x) in args.out(X).chunks_exact_mut(p.h as usize * row).enumerate() {
        let n = first + i;
        if !source.has(n) {
            x.fill(S::of(0.0));
            continue;
        }
        let mirrored = mirrored(&p, header, labels, n);
        match Variation::of(&p, header, n) {
            Some(variation) => sample_example(&p, &source, n, mirrored, &variation, x),
            None => copy_example(&p, &source, n, mirrored, x, |v| S::of(f64::from(v) / 255.0 - 0.5)),
        }
        if let Some(hole) = Hole::of(&p, header, n) {
            hole.cut(x, row, p.c as usize);
        }
    }
}

fn sample_example<S: Scalar>(
    p: &Params,
    source: &Source<'_>,
    n: usize,
    mirrored: bool,
    variation: &Variation,
    x: &mut [S],
) {
    let (words, first) = source.bytes(p, n);
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
        let (v, u, channel) = (i / row, i % row / c, (i % c) as i64);
        let u = if mirrored { p.w as usize - 1 - u } else { u };
        let Variation { corner, map, bend } = variation;
        let [down, right] = bend.map_or([0.0; 2], |bend| bend.at(p, corner.0 + v, corner.1 + u));
        let [at_y, at_x] = [map.y, map.x].map(|m| m[0] + m[1] * (v as f64 + down) + m[2] * (u as f64 + right));
        let (top, left) = (at_y.floor() as i64, at_x.floor() as i64);
        let (down, right) = (at_y - at_y.floor(), at_x - at_x.floor());
        let line = |row: i64| pixel(row, left, channel) * (1.0 - right) + pixel(row, left + 1, channel) * right;
        *x = S::of((line(top) * (1.0 - down) + line(top + 1) * down) / 255.0 - 0.5);
    }
}

pub(super) fn cpu(args: &mut Args<'_, f32>) {
    // The lowest byte of a word comes first, as on these processors.
    if !cfg!(target_endian = "little") {
        return reference(args);
    }
    let p: Params = args.params();
    let (source, labels, row) = (Source::of(args), args.words(LABELS), Row::new(&p));
    let header = &source.header;
    let (width, channels) = ((p.w * p.c) as usize, p.c as usize);
    let (first, examples) = (args.first_example(), args.out(X).par_chunks_exact_mut(p.h as usize * width));
    examples.with_min_len(args.least_items()).enumerate().for_each_init(Scratch::default, |scratch, (i, x)| {
        let n = first + i;
        if !source.has(n) {
            return x.fill(0.0);
        }
        match Variation::of(&p, header, n) {
            Some(variation) => augment(&p, &source, n, &row, &variation, scratch, x),
            None if p.limits.pad > 0 => copy_padded(&p, &source, n, x),
            None => copy_lines(&p, &source, n, x),
        }
        if mirrored(&p, header, labels, n) {
            x.chunks_exact_mut(width).for_each(|row| mirror(row, channels));
        }
        if let Some(hole) = Hole::of(&p, header, n) {
            hole.cut(x, width, channels);
        }
    });
}

/// Reverses a row of pixels.
fn mirror(row: &mut [f32], channels: usize) {
    row.reverse();
    // Pixels now have their channels in reverse order.
    row.chunks_exact_mut(channels).for_each(<[f32]>::reverse);
}

#[cfg(test)]
mod tests {
    use super::super::batch::Header;
    use super::*;

    const STILL: Draw = Draw { rotation: 0.0, shear: 0.0, scale: [1.0; 2], shift: [0.0; 2] };

    /// Whole images of one example in one chunk.
    fn whole(height: u32, width: u32, limits: Limits) -> Params {
        Params::new([1, height, width, 1], [height, width], 1, limits)
    }

    /// A picture as sampled by both ways, in bytes.
    fn turned_out(picture: &[u8], p: &Params, draw: Draw, bend: Option<Bend>) -> [Vec<f32>; 2] {
        let words: Vec<u32> =
            picture.chunks(4).map(|b| (0..b.len()).map(|i| u32::from(b[i]) << (8 * i)).sum()).collect();
        let header = Header { training: true, ..Header::evaluation(1) };
        let source = Source { header, indices: &[0], chunks: [&words, &[], &[], &[]] };
        let variation = Variation { corner: (0, 0), map: Map::new(p, (0, 0), draw), bend };
        let mut results = [vec![0.0; picture.len()], vec![0.0; picture.len()]];
        sample_example(p, &source, 0, false, &variation, &mut results[0]);
        let mut scratch = Scratch::default();
        scratch.read(p, &source, 0);
        scratch.sample(p, &Row::new(p), &variation, &mut results[1]);
        results.map(|values| values.into_iter().map(|v| (v + 0.5) * 255.0).collect())
    }

    /// Compares both ways with `expected`.
    fn assert_turns_out(picture: &[u8], size: [u32; 2], draw: Draw, expected: &[u8]) {
        let values = turned_out(picture, &whole(size[0], size[1], Limits::default()), draw, None);
        assert_near(values, &expected.iter().map(|byte| f64::from(*byte)).collect::<Vec<_>>());
    }

    fn assert_near(both: [Vec<f32>; 2], expected: &[f64]) {
        for values in both {
            let near = values.iter().zip(expected).all(|(v, e)| (f64::from(*v) - e).abs() < 0.01);
            assert!(near && values.len() == expected.len(), "{values:?} instead of {expected:?}");
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

    /// A grid of control points of which those that `moved` names are at (down, right) from their places.
    fn bend(moved: impl Fn(usize, usize) -> [f64; 2]) -> Option<Bend> {
        Some(Bend(array::from_fn(|row| array::from_fn(|column| moved(row, column)))))
    }

    /// Bending as far as whole pixels go, so that `Row` makes its table.
    fn bending(height: u32, width: u32) -> Params {
        whole(height, width, Limits { elastic: 1.0, ..Limits::default() })
    }

    #[test]
    fn control_points_that_all_move_alike_move_the_picture() {
        let picture: Vec<u8> = (1..=36).collect();
        // Every pixel shows what lies one row below and half a column to the left.
        let values = turned_out(&picture, &bending(6, 6), STILL, bend(|_, _| [1.0, -0.5]));
        let pixel = |row: usize, column: usize| if row < 6 { f64::from(picture[row * 6 + column]) } else { 0.0 };
        let left = |row: usize, column: usize| if column > 0 { pixel(row, column - 1) } else { 0.0 };
        let expected = (0..36).map(|i| (pixel(i / 6 + 1, i % 6) + left(i / 6 + 1, i % 6)) / 2.0);
        assert_near(values, &expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_control_point_moves_its_neighbourhood_by_the_spline_and_nothing_else() {
        // A ramp of 10 a column, so that a move by one column to the right shows as 10 more.
        let ramp = |column: f64| 10.0 * column;
        let picture: Vec<u8> = (0..12 * 12).map(|i| ramp((i % 12) as f64) as u8).collect();
        let values = turned_out(
            &picture,
            &bending(12, 12),
            STILL,
            bend(|row, column| match (row, column) {
                (2, 2) => [0.0, 1.0],
                _ => [0.0; 2],
            }),
        );
        // Cells are three pixels wide, and the point lies at row 3 and column 3: B-spline values at 0, 1/3, 2/3, 1,
        // 4/3 and 5/3 cells from it (de Boor).
        let share = |pixels: usize| match pixels {
            0 => 4.0 / 6.0,
            1 => (4.0 - 3.0 / 9.0 * (2.0 - 1.0 / 3.0)) / 6.0,
            2 => (4.0 - 3.0 * 4.0 / 9.0 * (2.0 - 2.0 / 3.0)) / 6.0,
            3..6 => (2.0 - pixels as f64 / 3.0).powi(3) / 6.0,
            _ => 0.0,
        };
        let expected = (0..144).map(|i| {
            let (row, column): (usize, usize) = (i / 12, i % 12);
            ramp(column as f64 + share(row.abs_diff(3)) * share(column.abs_diff(3)))
        });
        assert_near(values, &expected.collect::<Vec<_>>());
    }

    #[test]
    fn control_points_cover_their_range_evenly_and_apart_from_each_other() {
        const DRAWS: usize = 2000;
        let limits = Limits { elastic: 2.0, ..Limits::default() };
        let mut counts = [0; 10];
        let (mut neighbours, mut halves) = (0.0, 0.0);
        for n in 0..DRAWS {
            let header = Header { step: 3, seed: 8, training: true, ..Header::evaluation(DRAWS as u32) };
            let points = Bend::of(&limits, &header, n).0;
            for [down, right] in points.as_flattened() {
                counts[((down / 2.0 + 1.0) * 5.0) as usize] += 1;
                halves += 3.0 * down * right / 4.0;
            }
            let next = Bend::of(&limits, &header, n + 1).0;
            neighbours += 3.0 * points[6][6][0] * next[0][0][0] / 4.0;
        }
        // 9,800 in each tenth, σ about 94; correlations have a σ of 1/√n.
        assert!(counts.iter().all(|count| (9300..10_300).contains(count)), "{counts:?}");
        let all = (DRAWS * POINTS * POINTS) as f64;
        assert!(
            (halves / all).abs() < 5.0 / all.sqrt() && (neighbours / DRAWS as f64).abs() < 5.0 / (DRAWS as f64).sqrt()
        );
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
        let limits = Limits { rotation: 1.0, scale: 0.5, shear: 0.5, shift: 4.0, ..Limits::default() };
        let mut counts = [[0; 10]; 6];
        let mut products = [[0.0; 6]; 6];
        for i in 0..DRAWS {
            let header = Header { step: i as u32 / 100, seed: 5, training: true, ..Header::evaluation(100) };
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

    #[test]
    fn half_of_the_examples_whose_class_allows_it_are_mirrored_and_no_others() {
        const DRAWS: usize = 4000;
        // Classes 0, 33 and 255.
        let flip = [1, 2, 0, 0, 0, 0, 0, 1 << 31];
        let p = whole(2, 2, Limits { flip, ..Limits::default() });
        let mirrored_of = |class: u32, training: bool| {
            let header = Header { step: 9, seed: 4, training, ..Header::evaluation(DRAWS as u32) };
            let labels = [class; DRAWS];
            (0..DRAWS).filter(|n| mirrored(&p, &header, &labels, *n)).count()
        };
        for class in 0..256 {
            // 2,000 of 4,000, σ about 32.
            let expected = if [0, 33, 255].contains(&class) { 1850..2150 } else { 0..1 };
            assert!(expected.contains(&mirrored_of(class, true)), "class {class}: {}", mirrored_of(class, true));
            assert_eq!(mirrored_of(class, false), 0, "in evaluation");
        }
    }

    #[test]
    fn a_mirrored_row_keeps_the_channels_of_its_pixels_in_order() {
        let mut row = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        mirror(&mut row, 2);
        assert_eq!(row, [5.0, 6.0, 3.0, 4.0, 1.0, 2.0]);
    }
}
