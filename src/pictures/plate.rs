//! A tensor cut into tiles of values, to be drawn here or by a page's script.

use super::palette::Palette;
use super::tiles::{self, Image, Tiles};
use serde::Serialize;

/// A tensor cut into tiles, before colours.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plate {
    /// The tensor's name, such as `conv1.weight_gradient`.
    pub name: String,
    /// The meaning of a tile, such as `one filter's weights for one channel; a row for each filter`.
    pub tile: &'static str,
    /// Tiles per row, among those that are kept.
    pub columns: usize,
    /// The height of a tile, in values.
    pub height: usize,
    /// The width of a tile, in values.
    pub width: usize,
    /// Values per pixel: 1, or 3 for red, green, blue.
    pub colours: usize,
    /// Whether the tensor is an image with values as brightness, -0.5 for black and 0.5 for white.
    pub natural: bool,
    /// The smallest finite value of the whole tensor; 0 if none is finite.
    pub min: f32,
    /// The largest finite value of the whole tensor; 0 if none is finite.
    pub max: f32,
    /// The number of tiles of the whole tensor.
    pub tiles: usize,
    /// The tiles that are kept, row by row: `[kept][height][width][colours]`.
    #[serde(skip)]
    pub values: Vec<f32>,
}

/// How to cut a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub tile: &'static str,
    pub tiles: usize,
    /// Tiles per row; `None` for about the square root of their number.
    pub columns: Option<usize>,
    pub height: usize,
    pub width: usize,
    pub colours: usize,
    pub natural: bool,
}

/// The middle of [`Plate::codes`], and the number of codes on either side of it.
const ZERO: f32 = 128.0;
const SIDE: f32 = 127.0;

impl Plate {
    /// Cuts `tensor` into tiles: `place` gives the index of the value at a tile, a row, a column and a colour. Keeps as
    /// many tiles as a picture can show, and at most `most` values.
    pub(super) fn cut(name: &str, cut: Cut, tensor: &[f32], most: usize, place: impl Fn([usize; 4]) -> usize) -> Plate {
        let Cut { tile, tiles, height, width, colours, natural, .. } = cut;
        let wanted = cut.columns.unwrap_or((tiles as f64).sqrt().ceil() as usize).clamp(1, tiles.max(1));
        let (rows, columns) = kept(tiles, wanted, [height, width], most / (height * width * colours).max(1));
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| row * wanted + column));
        let mut values = Vec::new();
        for tile in places.filter(|tile| *tile < tiles) {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                values.extend((0..colours).map(|colour| tensor[place([tile, y, x, colour])]));
            }
        }
        let [min, max] = extremes(tensor);
        let name = name.to_string();
        Plate { name, tile, columns, height, width, colours, natural, min, max, tiles, values }
    }

    /// The number of tiles that are kept.
    pub fn kept(&self) -> usize {
        self.values.len() / self.tile_len().max(1)
    }

    /// The largest magnitude of a finite value.
    pub fn reach(&self) -> f32 {
        self.max.abs().max(self.min.abs())
    }

    /// One byte per value, in the order of [`Plate::values`]: 0 for non-finite values, 128 for zero, 1 and 255 for
    /// minus the reach and the reach (of an image -0.5 and 0.5).
    pub fn codes(&self) -> Vec<u8> {
        let reach = self.reach();
        let code = |value: &f32| match self.share(*value, reach) {
            share if share.is_nan() => 0,
            share => (ZERO + SIDE * share.clamp(-1.0, 1.0)).round() as u8,
        };
        self.values.iter().map(code).collect()
    }

    /// Draws the tiles that are kept in the palette's colours; images are drawn in their own colours.
    pub fn draw(&self, palette: Palette) -> Image {
        self.draw_with_reach(palette, self.reach())
    }

    /// Draws the tiles with the colours' ends at `reach` and -`reach`, so that several plates can be compared.
    pub fn draw_with_reach(&self, palette: Palette, reach: f32) -> Image {
        let tiles = Tiles { count: self.kept(), columns: self.columns, height: self.height, width: self.width };
        tiles.draw(|tile, y, x| {
            let pixel = &self.values[(tile * self.height * self.width + y * self.width + x) * self.colours..];
            let mut shares = pixel[..self.colours].iter().map(|value| self.share(*value, reach));
            let shade = |share: f32| ((0.5 + share / 2.0).clamp(0.0, 1.0) * 255.0).round() as u8;
            match (self.natural, self.colours) {
                _ if shares.any(f32::is_nan) => palette.color(f32::NAN),
                (_, 3) => std::array::from_fn(|colour| shade(self.share(pixel[colour], reach))),
                (true, _) => [shade(self.share(pixel[0], reach)); 3],
                (false, _) => palette.color(self.share(pixel[0], reach)),
            }
        })
    }

    /// A value as a share of `reach`, or of 0.5 for an image; NaN for values that are not finite.
    fn share(&self, value: f32, reach: f32) -> f32 {
        match (value.is_finite(), if self.natural { 0.5 } else { reach }) {
            (false, _) => f32::NAN,
            (true, reach) if reach > 0.0 => value / reach,
            _ => 0.0,
        }
    }

    /// The number of values in a tile.
    fn tile_len(&self) -> usize {
        self.height * self.width * self.colours
    }
}

/// The rows and columns of tiles to keep, at most `most` tiles and as many as a picture can show: whole rows are left
/// out from below, then columns from the right.
fn kept(tiles: usize, columns: usize, size: [usize; 2], most: usize) -> (usize, usize) {
    let [down, across] = tiles::fitting(size);
    let columns_kept = columns.min(across).min(most);
    let rows = tiles.div_ceil(columns).min(down).min(most / columns_kept.max(1));
    (rows, columns_kept)
}

/// The smallest and the largest finite value.
fn extremes(values: &[f32]) -> [f32; 2] {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (min, max) = (finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max));
    if min > max { [0.0; 2] } else { [min, max] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of tiles with one value each.
    fn plate(values: &[f32], natural: bool) -> Plate {
        let columns = Some(values.len());
        let cut = Cut { tile: "one value", tiles: values.len(), columns, height: 1, width: 1, colours: 1, natural };
        Plate::cut("a", cut, values, usize::MAX, |[tile, ..]| tile)
    }

    fn colours(plate: &Plate, palette: Palette) -> Vec<[u8; 3]> {
        let image = plate.draw(palette);
        // A value takes 16 pixels, and tiles are 2 pixels apart.
        let pixel = |i: usize| &image.pixels[3 * (2 * image.width + 2 + 18 * i)..][..3];
        (0..plate.kept()).map(|i| pixel(i).try_into().expect("three bytes")).collect()
    }

    #[test]
    fn zero_is_the_middle_and_the_largest_magnitude_an_end() {
        let plate = plate(&[-2.0, 0.0, 1.0], false);
        assert_eq!((plate.min, plate.max, plate.reach()), (-2.0, 1.0, 2.0));
        assert_eq!(plate.codes(), [1, 128, 192]);
        for palette in Palette::ALL {
            let name = palette.name();
            assert_eq!(colours(&plate, palette), [-1.0, 0.0, 0.5].map(|share| palette.color(share)), "{name}");
        }
    }

    #[test]
    fn plates_with_one_reach_compare() {
        let palette = Palette::default();
        let image = plate(&[1.0, -4.0], false).draw_with_reach(palette, 4.0);
        let pixel = |i: usize| &image.pixels[3 * (2 * image.width + 2 + 18 * i)..][..3];
        assert_eq!([pixel(0), pixel(1)], [&palette.color(0.25)[..], &palette.color(-1.0)[..]]);
    }

    #[test]
    fn what_is_not_finite_has_a_colour_of_its_own_and_does_not_stretch_the_scale() {
        let palette = Palette::default();
        let odd = plate(&[f32::NAN, f32::INFINITY, 3.0], false);
        assert_eq!((odd.min, odd.max), (3.0, 3.0));
        assert_eq!(odd.codes(), [0, 0, 255]);
        assert_eq!(colours(&odd, palette), [f32::NAN, f32::NAN, 1.0].map(|share| palette.color(share)));
        let empty = plate(&[f32::NAN, 0.0], false);
        assert_eq!((empty.reach(), empty.codes()), (0.0, vec![0, 128]));
    }

    #[test]
    fn an_image_is_as_bright_as_its_values_whatever_they_reach() {
        let image = plate(&[-0.5, 0.0, 0.25], true);
        assert_eq!(image.codes(), [1, 128, 192]);
        assert_eq!(colours(&image, Palette::default()), [[0; 3], [128; 3], [191; 3]]);
    }

    #[test]
    fn rows_go_first_and_columns_then() {
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let cut = |most: usize| {
            let cut = Cut { tile: "", tiles: 6, columns: Some(3), height: 1, width: 2, colours: 1, natural: false };
            Plate::cut("a", cut, &values, most, |[tile, _, x, _]| 2 * tile + x)
        };
        let kept = |most: usize| (cut(most).columns, cut(most).kept(), cut(most).values);
        assert_eq!(kept(12), (3, 6, values.clone()));
        assert_eq!(kept(11), (3, 3, values[..6].to_vec()));
        assert_eq!(kept(5), (2, 2, values[..4].to_vec()));
        assert_eq!(kept(1), (0, 0, vec![]), "not one tile");
        assert_eq!((cut(5).tiles, cut(5).max), (6, 11.0), "of the whole tensor");
    }

    #[test]
    fn columns_that_no_picture_shows_are_left_out_of_every_row() {
        let values: Vec<f32> = (0..600).map(|i| i as f32).collect();
        let cut = Cut { tile: "", tiles: 600, columns: Some(300), height: 1, width: 1, colours: 1, natural: false };
        let plate = Plate::cut("a", cut, &values, usize::MAX, |[tile, ..]| tile);
        let shown = tiles::MAX_SIDE / 18;
        assert_eq!((plate.columns, plate.kept()), (shown, 2 * shown));
        assert_eq!(plate.values[shown - 1..=shown], [shown as f32 - 1.0, 300.0]);
    }
}
