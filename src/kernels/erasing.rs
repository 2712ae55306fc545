//! Random erasing (Zhong, Zheng, Kang, Li and Yang, "Random Erasing Data Augmentation", 2017): a training example loses
//! a rectangle in all channels. `shaders/batch.wgsl`.
//!
//! Area and sides are drawn as integers, so that f32 and f64 cannot disagree about an edge. Erased pixels become
//! [`ERASED`], which is mid-grey.

use super::Scalar;
use super::batch::{Header, Params, pcg3d};
use std::ops::Range;

/// The least and the largest share of the example that is erased, as in the paper's experiments.
pub const SHARES: [f64; 2] = [0.02, 0.4];

/// The value of erased pixels: 0 where pixels are x/255 - 0.5. PyTorch's `RandomErasing` also uses 0, after its
/// `Normalize`.
pub const ERASED: f64 = 0.0;

/// The largest example in pixels; 256 times the largest area must fit 32 bits.
pub const MAX_PIXELS: usize = 1 << 25;

/// A mask to flip bits of the seed with, so that these draws differ from the others.
const STREAMS: [u32; 2] = [0x1656_67b1, 0xd3a2_646c];

/// The least length of the shorter side in 256ths of the longer one: the paper's 0.3. The paper draws height over width
/// evenly from 0.3 to 1/0.3, which makes most rectangles upright; here neither orientation is preferred.
const THINNEST: u32 = 77;

/// The least and the largest area of a rectangle in an example of this many pixels.
pub(super) fn areas(pixels: usize) -> [u32; 2] {
    let [least, most] = SHARES.map(|share| share * pixels as f64);
    // At least one pixel.
    let least = least.ceil().max(1.0) as u32;
    [least, (most.floor() as u32).max(least)]
}

/// The erased rows and columns of an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Hole {
    /// The rectangle of example `n` in this step; `None` in evaluation.
    pub fn of(p: &Params, header: &Header, n: usize) -> Option<Hole> {
        if !header.training {
            return None;
        }
        let [first, second] = STREAMS.map(|stream| pcg3d([header.seed ^ stream, header.step, header.row(n)]));
        if first[0] >> 8 >= p.limits.erase {
            return None;
        }
        let area = p.least + first[1] % (p.most - p.least + 1);
        // Whether the longer side is the height, and the shorter side in 256ths of it.
        let (upright, ratio) = (first[2] >> 31 == 1, THINNEST + (first[2] & 0x7fff_ffff) % (257 - THINNEST));
        let [height, width] =
            if upright { sides(area, ratio, [p.h, p.w]) } else { flip(sides(area, ratio, [p.w, p.h])) };
        let [top, left] = [second[0] % (p.h - height + 1), second[1] % (p.w - width + 1)];
        let range = |start: u32, length: u32| start as usize..(start + length) as usize;
        Some(Hole { rows: range(top, height), columns: range(left, width) })
    }

    /// Erases the rectangle in an example with rows of `row` values and the given number of channels.
    pub fn cut<S: Scalar>(&self, x: &mut [S], row: usize, channels: usize) {
        for x in x.chunks_exact_mut(row).take(self.rows.end).skip(self.rows.start) {
            x[self.columns.start * channels..self.columns.end * channels].fill(S::of(ERASED));
        }
    }
}

/// The sides of a rectangle of this area, rounded down, the longer one first, as close to the ratio as the image's
/// sides allow.
fn sides(area: u32, ratio: u32, image: [u32; 2]) -> [u32; 2] {
    let longer = (area * 256 / ratio).isqrt().clamp(area.div_ceil(image[1]), image[0]);
    [longer, area / longer]
}

fn flip([a, b]: [u32; 2]) -> [u32; 2] {
    [b, a]
}

#[cfg(test)]
mod tests {
    use super::super::augmentation::Limits;
    use super::*;

    const DRAWS: usize = 20_000;

    fn holes(size: [u32; 2], share: f64, training: bool) -> (Params, Vec<Hole>) {
        let erase = (share * f64::from(Limits::ALL)) as u32;
        let p = Params::new([1, size[0], size[1], 1], size, 1, Limits { erase, ..Limits::default() });
        let header = Header { step: 6, seed: 2, training, ..Header::evaluation(DRAWS as u32) };
        let holes = (0..DRAWS).filter_map(|n| Hole::of(&p, &header, n)).collect();
        (p, holes)
    }

    #[test]
    fn as_many_examples_lose_a_rectangle_as_asked_for_and_none_in_evaluation() {
        for share in [0.0, 0.25, 1.0] {
            let (_, holes) = holes([28, 28], share, true);
            // σ is at most 71.
            assert!((holes.len() as f64 - share * DRAWS as f64).abs() < 300.0, "{share}: {}", holes.len());
        }
        assert!(holes([28, 28], 1.0, false).1.is_empty());
    }

    #[test]
    fn a_rectangle_has_its_share_of_the_area_and_lies_in_the_image() {
        for size in [[28, 28], [32, 32], [7, 5], [3, 90], [90, 2], [1, 1], [1, 2]] {
            let (p, holes) = holes(size, 1.0, true);
            for hole in holes {
                let (height, width) = (hole.rows.len(), hole.columns.len());
                assert!(hole.rows.end <= p.h as usize && hole.columns.end <= p.w as usize, "{hole:?} in {size:?}");
                // Whole pixels, so the area may be smaller by less than a side.
                let area = height * width;
                assert!(area > 0 && area <= p.most as usize, "{hole:?} in {size:?}");
                assert!(area + height.max(width) > p.least as usize, "{hole:?} in {size:?}");
            }
        }
    }

    #[test]
    fn areas_and_sides_cover_their_ranges_and_neither_way_is_preferred() {
        let (p, holes) = holes([320, 320], 1.0, true);
        assert_eq!([p.least, p.most], [2048, 40_960]);
        let (mut areas, mut upright, mut ratios) = ([0; 10], 0, [0; 7]);
        for hole in &holes {
            let [height, width] = [&hole.rows, &hole.columns].map(|range| range.len() as f64);
            areas[((height * width - 2048.0).max(0.0) / 38_913.0 * 10.0) as usize] += 1;
            upright += usize::from(height > width);
            // From 0.3 to 1, up to the fraction of a pixel.
            ratios[(((height / width).min(width / height) - 0.3).clamp(0.0, 0.699) * 10.0) as usize] += 1;
        }
        // 2,000 in each tenth, σ about 42; half, σ about 71; a seventh, σ about 50. Rounding takes from the last ones.
        assert!(areas.iter().all(|count| (1700..2300).contains(count)), "{areas:?}");
        assert!((9500..10_500).contains(&upright), "{upright}");
        assert!(ratios.iter().all(|count| (2500..3200).contains(count)), "{ratios:?}");
    }

    #[test]
    fn rectangles_reach_every_edge() {
        let (p, holes) = holes([12, 9], 1.0, true);
        let (h, w) = (p.h as usize, p.w as usize);
        let mut lost = vec![0; h * w];
        for hole in &holes {
            hole.rows.clone().for_each(|y| hole.columns.clone().for_each(|x| lost[y * w + x] += 1));
        }
        assert!(lost.iter().all(|count| *count > 300), "{lost:?}");
        assert!([0, w - 1, (h - 1) * w, h * w - 1].map(|corner| lost[corner]).iter().all(|count| *count < 3000));
    }

    #[test]
    fn all_channels_of_a_lost_pixel_become_mid_grey() {
        let mut x = [1.0f32; 2 * 3 * 2];
        Hole { rows: 1..2, columns: 0..2 }.cut(&mut x, 6, 2);
        assert_eq!(x, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    }
}
