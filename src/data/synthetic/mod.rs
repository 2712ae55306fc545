//! Synthetic digits like handwritten ones (28 x 28 x 1, 10 classes), for machines without data and without a network,
//! and coloured shapes (32 x 32 x 3, 10 classes, `shapes.rs`). A skeleton of pen strokes (`glyphs.rs`) is mixed,
//! jittered, sheared and bent here, then inked like MNIST (`render.rs`). Each image depends only on the seed, the split
//! and its index, not on threads or on the number of images.

mod glyphs;
mod render;
mod shapes;

use std::f32::consts::TAU;

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use self::glyphs::{DIGITS, Stroke, Style};
use self::render::{Dab, SIDE};
use super::Examples;

/// Names of the coloured shapes, by label.
pub use self::shapes::NAMES as SHAPES;

const CLASSES: usize = 10;
/// Straight pieces per span of a curve.
const PIECES: usize = 6;

/// The variation among hands. Lengths are in hundredths of the glyph's height, radii in pixels.
struct Hand {
    /// Standard deviation of each control point's position.
    jitter: f32,
    /// Correlation of that deviation with the stroke's previous point.
    drift: f32,
    /// Amplitude of the smooth deformation.
    bend: f32,
    /// Mean and standard deviation of the horizontal shear, x per y; writing leans to the right.
    slant: (f32, f32),
    /// Standard deviation of the rotation, in radians.
    turn: f32,
    /// Standard deviation of the logarithm of width over height.
    stretch: f32,
    /// Mean and standard deviation of the logarithm of the pen's radius, and its bounds.
    pen: (f32, f32),
    pen_range: (f32, f32),
    /// Relative change of the radius along the stroke and with its direction.
    pressure: f32,
    /// Standard deviation of the radius between points, in pixels.
    tremor: f32,
}

const HAND: Hand = Hand {
    jitter: 6.0,
    drift: 0.5,
    bend: 5.0,
    slant: (0.1, 0.25),
    turn: 0.1,
    stretch: 0.2,
    pen: (0.2, 0.33),
    pen_range: (0.6, 2.6),
    pressure: 0.15,
    tremor: 0.12,
};

/// Draws `train` and `test` examples from `seed`: white on black, each digit once in every ten examples.
pub fn generate(train: usize, test: usize, seed: u64) -> (Examples, Examples) {
    let draw = |label, rng: &mut ChaCha8Rng, picture: &mut [u8]| picture.copy_from_slice(&digit(label, rng));
    (split([SIDE, SIDE, 1], train, seed, 0, draw), split([SIDE, SIDE, 1], test, seed, 1, draw))
}

/// Draws `train` and `test` pictures of coloured shapes from `seed`, each shape once in every ten examples.
pub fn generate_pictures(train: usize, test: usize, seed: u64) -> (Examples, Examples) {
    let shape = [shapes::SIDE, shapes::SIDE, 3];
    (split(shape, train, seed, 0, shapes::draw), split(shape, test, seed, 1, shapes::draw))
}

/// Draws both sets; `draw` fills one picture of a class.
fn split(
    shape: [usize; 3],
    count: usize,
    seed: u64,
    split: u64,
    draw: impl Fn(u8, &mut ChaCha8Rng, &mut [u8]) + Sync,
) -> Examples {
    let labels: Vec<u8> = (0..count.div_ceil(CLASSES) as u64)
        .flat_map(|block| {
            let mut ten: [u8; CLASSES] = std::array::from_fn(|digit| digit as u8);
            ten.shuffle(&mut stream(seed, 2 + split, block));
            ten
        })
        .take(count)
        .collect();
    let size = shape.iter().product();
    let mut pixels = vec![0; count * size];
    pixels.par_chunks_mut(size).zip(&labels).enumerate().for_each(|(index, (picture, &label))| {
        draw(label, &mut stream(seed, split, index as u64), picture);
    });
    Examples { shape, classes: CLASSES, pixels, labels, numbers: Vec::new() }
}

/// Independent random numbers for each purpose and index; ChaCha's streams do not overlap.
fn stream(seed: u64, purpose: u64, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose << 48 | index);
    rng
}

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    StandardNormal.sample(rng)
}

/// One picture of `label`, row by row.
fn digit(label: u8, rng: &mut ChaCha8Rng) -> [u8; SIDE * SIDE] {
    let style = choose(DIGITS[label as usize], rng);
    let warp = Warp::new(rng);
    let pen = Pen::new(rng);
    let points = skeleton(style, rng);
    let mut strokes: Vec<Vec<Dab>> = points.iter().map(|s| pen.trace(s, &warp, rng)).collect();
    let picture = render::draw(&mut strokes, rng.random_range(0.9..1.6));
    let strength = 255.0 * rng.random_range(1.0..1.1);
    let grain = rng.random_range(0.0f32..0.05);
    let phase = rng.random_range(0..1u32 << 16);
    std::array::from_fn(|i| {
        let noise = hash(phase.wrapping_add(i as u32)) * grain;
        (picture[i] * strength * (1.0 + noise)).clamp(0.0, 255.0) as u8
    })
}

/// A cheap, well-mixed number in -1..1 per pixel; a ChaCha draw per pixel would cost as much as the drawing.
fn hash(mut x: u32) -> f32 {
    x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    (x ^ x >> 16) as f32 / (1u32 << 31) as f32 - 1.0
}

fn choose<'a>(styles: &'a [Style], rng: &mut ChaCha8Rng) -> &'a Style {
    let mut left = rng.random::<f32>() * styles.iter().map(|s| s.weight).sum::<f32>();
    styles
        .iter()
        .find(|s| {
            left -= s.weight;
            left < 0.0
        })
        .unwrap_or(&styles[0])
}

/// A random mixture of the style's shapes with every control point jittered; corners stay corners.
fn skeleton(style: &Style, rng: &mut ChaCha8Rng) -> Vec<Vec<[f32; 2]>> {
    // Exponential shares make a uniform mixture; their fourth power lets one shape dominate, which preserves variety.
    let shares: Vec<f32> = style.shapes.iter().map(|_| rng.random::<f32>().max(1e-6).ln().powi(4)).collect();
    let total: f32 = shares.iter().sum();
    let mean = |stroke: usize, point: usize, axis: fn(&(i16, i16)) -> i16| -> f32 {
        let values = style.shapes.iter().zip(&shares);
        values.map(|(shape, share)| share * f32::from(axis(&shape[stroke][point]))).sum::<f32>() / total
    };
    let fresh = HAND.jitter * (1.0 - HAND.drift * HAND.drift).sqrt();
    let strokes: &[Stroke] = style.shapes[0];
    (0..strokes.len())
        .map(|s| {
            let mut noise = [0.0; 2].map(|_: f32| HAND.jitter * normal(rng));
            let mut points: Vec<[f32; 2]> = Vec::with_capacity(strokes[s].len());
            for p in 0..strokes[s].len() {
                if p > 0 && strokes[s][p] == strokes[s][p - 1] {
                    points.push(points[p - 1]);
                    continue;
                }
                noise = noise.map(|n| HAND.drift * n + fresh * normal(rng));
                points.push([mean(s, p, |q| q.0) + noise[0], mean(s, p, |q| q.1) + noise[1]]);
            }
            points
        })
        .collect()
}

/// Shear, rotation, stretch and a smooth random displacement made of a few long waves.
struct Warp {
    matrix: [[f32; 2]; 2],
    waves: [Wave; 4],
}

struct Wave {
    frequency: [f32; 2],
    phase: f32,
    push: [f32; 2],
}

impl Warp {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let slant = HAND.slant.0 + HAND.slant.1 * normal(rng);
        let (sin, cos) = (HAND.turn * normal(rng)).sin_cos();
        let stretch = (HAND.stretch * normal(rng)).exp();
        // Rotation after shear after stretch. As y points down, leaning right is a negative x per y.
        let matrix = [[cos * stretch, -cos * slant - sin], [sin * stretch, -sin * slant + cos]];
        let waves = std::array::from_fn(|_| Wave {
            frequency: [0.6 * normal(rng), 0.6 * normal(rng)].map(|f| f * TAU / 100.0),
            phase: rng.random_range(0.0..TAU),
            push: [normal(rng), normal(rng)].map(|a| a * HAND.bend / 2.0),
        });
        Self { matrix, waves }
    }

    fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (mut u, mut v) = (x, y);
        for wave in &self.waves {
            let height = (wave.frequency[0] * x + wave.frequency[1] * y + wave.phase).sin();
            u += wave.push[0] * height;
            v += wave.push[1] * height;
        }
        [self.matrix[0][0] * u + self.matrix[0][1] * v, self.matrix[1][0] * u + self.matrix[1][1] * v]
    }
}

/// A pen of some width with varying pressure and a slightly flat nib.
struct Pen {
    radius: f32,
    wave: (f32, f32, f32),
    nib: (f32, f32),
}

impl Pen {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let radius = (HAND.pen.0 + HAND.pen.1 * normal(rng)).exp().clamp(HAND.pen_range.0, HAND.pen_range.1);
        let wave = (HAND.pressure * normal(rng), rng.random_range(0.1..0.5), rng.random_range(0.0..TAU));
        let nib = (HAND.pressure * rng.random::<f32>(), rng.random_range(0.0..TAU));
        Self { radius, wave, nib }
    }

    /// The dabs along a stroke's smooth curve, warped.
    fn trace(&self, points: &[[f32; 2]], warp: &Warp, rng: &mut ChaCha8Rng) -> Vec<Dab> {
        let mut dabs: Vec<Dab> = Vec::with_capacity((points.len() - 1) * PIECES + 1);
        let last = points.len() - 1;
        for i in 0..last {
            let (b, c) = (points[i], points[i + 1]);
            if b == c {
                continue;
            }
            // At an end, and at a corner, where the neighbour coincides, the tangent is free.
            let a = points[i.saturating_sub(1)];
            let d = points[(i + 2).min(last)];
            let pieces = if i + 1 == last { PIECES + 1 } else { PIECES };
            for k in 0..pieces {
                let [x, y] = warp.apply(catmull_rom(a, b, c, d, k as f32 / PIECES as f32));
                let along = dabs.len() as f32 / PIECES as f32;
                let direction = dabs.last().map_or(0.0, |p| (y - p.y).atan2(x - p.x));
                let pressure = self.wave.0 * (self.wave.1 * TAU * along + self.wave.2).sin();
                let nib = self.nib.0 * (2.0 * (direction - self.nib.1)).cos();
                let radius = (self.radius * (1.0 + pressure + nib) + HAND.tremor * normal(rng)).max(0.3);
                dabs.push(Dab { x, y, radius });
            }
        }
        dabs
    }
}

/// The uniform Catmull-Rom curve from `b` to `c`, `t` from 0 to 1 (Catmull and Rom 1974).
fn catmull_rom(a: [f32; 2], b: [f32; 2], c: [f32; 2], d: [f32; 2], t: f32) -> [f32; 2] {
    std::array::from_fn(|i| {
        let (a, b, c, d) = (a[i], b[i], c[i], d[i]);
        let bend = (3.0 * (b - c) + d - a) * t + 2.0 * a - 5.0 * b + 4.0 * c - d;
        b + 0.5 * t * (c - a + t * bend)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_digits_on_any_number_of_threads() {
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert!(one_thread.install(|| generate(300, 50, 7)) == generate(300, 50, 7));
    }

    #[test]
    fn a_smaller_set_is_a_prefix_of_a_larger_one() {
        let ((small, small_test), (large, large_test)) = (generate(37, 5, 7), generate(100, 23, 7));
        for (small, large) in [(small, large), (small_test, large_test)] {
            assert!(large.pixels.starts_with(&small.pixels));
            assert!(large.labels.starts_with(&small.labels));
        }
    }

    #[test]
    fn seeds_and_splits_draw_different_digits() {
        let (train, test) = generate(50, 50, 1);
        let (other, _) = generate(50, 50, 2);
        assert!(train.pixels != other.pixels);
        assert!(train.pixels != test.pixels);
    }

    #[test]
    fn every_class_is_drawn_equally_often() {
        let (train, _) = generate(200, 0, 3);
        for digit in 0..CLASSES as u8 {
            assert_eq!(train.labels.iter().filter(|&&label| label == digit).count(), 20);
        }
    }

    #[test]
    fn coloured_shapes_repeat_and_differ() {
        let ((small, test), (large, _)) = (generate_pictures(20, 20, 7), generate_pictures(40, 0, 7));
        assert_eq!((small.shape, small.classes), ([32, 32, 3], SHAPES.len()));
        assert!(large.pixels.starts_with(&small.pixels) && small.pixels != test.pixels);
        for index in 0..large.len() {
            let pixels = large.image(index).chunks_exact(3);
            // The grain spreads either colour by at most 12, and the light's gradient spreads the ground's further.
            let spread = (0..3)
                .map(|c| pixels.clone().map(|p| p[c]).max().unwrap() - pixels.clone().map(|p| p[c]).min().unwrap());
            assert!(spread.map(u32::from).sum::<u32>() > 100, "picture {index} shows nothing");
        }
    }

    #[test]
    fn an_empty_set_has_a_shape() {
        let (train, test) = generate(0, 0, 3);
        assert_eq!((train.shape, test.pixels.len()), ([SIDE, SIDE, 1], 0));
    }

    #[test]
    fn every_image_holds_a_plausible_amount_of_ink_within_its_margin() {
        let (train, _) = generate(2000, 0, 5);
        for image in train.pixels.chunks(SIDE * SIDE) {
            let ink = image.iter().map(|&p| f32::from(p)).sum::<f32>() / (255.0 * image.len() as f32);
            assert!((0.01..0.5).contains(&ink), "ink share {ink}");
            assert!(image.contains(&0) && image.iter().any(|&p| p > 100));
        }
        let mean = train.pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / (255.0 * train.pixels.len() as f64);
        assert!((0.10..0.16).contains(&mean), "mean ink share {mean}; handwriting has 0.13");
    }

    #[test]
    fn two_drawings_of_a_digit_differ() {
        let (train, _) = generate(200, 0, 5);
        let mut images: Vec<&[u8]> = train.pixels.chunks(SIDE * SIDE).collect();
        images.sort_unstable();
        images.dedup();
        assert_eq!(images.len(), 200);
    }

    #[test]
    fn the_shapes_of_a_style_have_the_same_strokes_points_and_corners() {
        let structure = |shape: &[Stroke]| -> Vec<Vec<bool>> {
            shape.iter().map(|s| s.windows(2).map(|p| p[0] == p[1]).collect()).collect()
        };
        for (digit, styles) in DIGITS.iter().enumerate() {
            for shape in styles.iter().flat_map(|style| style.shapes.iter().map(move |s| (s, style.shapes[0]))) {
                assert_eq!(structure(shape.0), structure(shape.1), "a shape of {digit}: {:?}", shape.0);
            }
        }
    }
}
