//! Tiles side by side, each value a square of pixels.

/// The longest side of a picture, in pixels: browsers and viewers still show it.
pub const MAX_SIDE: usize = 4096;

/// Pixels between tiles.
const GAP: usize = 2;
/// What lies between tiles.
const GROUND: [u8; 3] = [110, 110, 110];
/// What a tile's longer side is magnified to, about, in pixels.
const TILE: usize = 112;

/// Rows of RGB bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// Tiles of one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    pub count: usize,
    /// Tiles in a row; the square root of their number or so where nothing is said.
    pub columns: Option<usize>,
    pub height: usize,
    pub width: usize,
}

impl Tiles {
    /// Pixels of a value's side.
    fn magnification(&self) -> usize {
        (TILE / self.height.max(self.width)).clamp(1, 16)
    }

    /// Draws as many tiles as fit; returns the picture and their number. `color` is that of a tile's value in a row and a
    /// column.
    pub fn draw(&self, color: impl Fn(usize, usize, usize) -> [u8; 3]) -> (Image, usize) {
        let side = self.magnification();
        let [tile_height, tile_width] = [self.height, self.width].map(|size| size * side + GAP);
        let fitting = |tile: usize| ((MAX_SIDE - GAP) / tile).max(1);
        let wanted = self.columns.unwrap_or((self.count as f64).sqrt().ceil() as usize);
        let columns = wanted.clamp(1, self.count.max(1));
        let (shown, rows) = (columns.min(fitting(tile_width)), self.count.div_ceil(columns).min(fitting(tile_height)));
        let (width, height) = (shown * tile_width + GAP, rows * tile_height + GAP);
        let mut image = Image { width, height, pixels: GROUND.repeat(width * height) };
        let mut drawn = 0;
        for (row, column) in (0..rows).flat_map(|row| (0..shown).map(move |column| (row, column))) {
            let tile = row * columns + column;
            if tile >= self.count {
                break;
            }
            drawn += 1;
            let corner = [GAP + row * tile_height, GAP + column * tile_width];
            for (y, x) in (0..self.height).flat_map(|y| (0..self.width).map(move |x| (y, x))) {
                image.fill([corner[0] + y * side, corner[1] + x * side], side, color(tile, y, x));
            }
        }
        (image, drawn)
    }
}

impl Image {
    /// Fills a square.
    fn fill(&mut self, [top, left]: [usize; 2], side: usize, color: [u8; 3]) {
        for y in (top..top + side).take_while(|y| *y < self.height) {
            let start = 3 * (y * self.width + left);
            let end = 3 * (y * self.width + (left + side).min(self.width));
            self.pixels[start..end].chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&color));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixel(image: &Image, y: usize, x: usize) -> [u8; 3] {
        image.pixels[3 * (y * image.width + x)..][..3].try_into().expect("three bytes")
    }

    #[test]
    fn tiles_lie_in_rows_with_gaps_between() {
        let tiles = Tiles { count: 3, columns: Some(2), height: 7, width: 14 };
        let (image, drawn) = tiles.draw(|tile, y, x| [tile as u8, y as u8, x as u8]);
        // 112 / 14 pixels a value.
        assert_eq!((image.width, image.height, drawn), (2 * (112 + 2) + 2, 2 * (56 + 2) + 2, 3));
        assert_eq!(pixel(&image, 0, 0), GROUND);
        assert_eq!([pixel(&image, 2, 2), pixel(&image, 9, 9)], [[0, 0, 0]; 2]);
        assert_eq!(pixel(&image, 2 + 6 * 8, 2 + 114 + 13 * 8), [1, 6, 13]);
        assert_eq!(pixel(&image, 2 + 58, 2), [2, 0, 0]);
        assert_eq!(pixel(&image, 2 + 58, 2 + 114), GROUND, "there is no fourth");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let tiles = Tiles { count: 100_000, columns: None, height: 28, width: 28 };
        let (image, drawn) = tiles.draw(|_, _, _| [0; 3]);
        assert!(image.width <= MAX_SIDE && image.height <= MAX_SIDE);
        assert_eq!(drawn, (image.width / 114) * (image.height / 114));
        let large = Tiles { count: 2, columns: Some(1), height: 5000, width: 3 };
        assert_eq!(large.draw(|_, _, _| [0; 3]).1, 1);
    }
}
