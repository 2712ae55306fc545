//! Draws tiles side by side, each value as a square of pixels.

/// The longest side of a picture, in pixels, that browsers and viewers still show.
pub const MAX_SIDE: usize = 4096;

/// Pixels between tiles.
const GAP: usize = 2;
/// The colour between tiles.
const GROUND: [u8; 3] = [110, 110, 110];
/// The approximate length of a tile's longer side after magnification, in pixels.
const TILE: usize = 112;

/// Rows of RGB bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// Tiles of the same size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    pub count: usize,
    /// Tiles per row.
    pub columns: usize,
    pub height: usize,
    pub width: usize,
}

/// The side of a value's square in pixels, in a tile of this height and width.
fn magnification([height, width]: [usize; 2]) -> usize {
    (TILE / height.max(width).max(1)).clamp(1, 16)
}

/// The number of tiles of this height and width that fit into a picture vertically and horizontally; at least one each.
pub(super) fn fitting(size: [usize; 2]) -> [usize; 2] {
    size.map(|values| ((MAX_SIDE - GAP) / (values * magnification(size) + GAP)).max(1))
}

impl Tiles {
    /// Draws the tiles; `color` gives the colour of a tile's value at a row and a column.
    pub fn draw(&self, color: impl Fn(usize, usize, usize) -> [u8; 3]) -> Image {
        let side = magnification([self.height, self.width]);
        let [tile_height, tile_width] = [self.height, self.width].map(|size| size * side + GAP);
        let (columns, rows) = (self.columns.max(1), self.count.div_ceil(self.columns.max(1)));
        let (width, height) = (columns * tile_width + GAP, rows * tile_height + GAP);
        let mut image = Image { width, height, pixels: GROUND.repeat(width * height) };
        for tile in 0..self.count {
            let corner = [GAP + tile / columns * tile_height, GAP + tile % columns * tile_width];
            for (y, x) in (0..self.height).flat_map(|y| (0..self.width).map(move |x| (y, x))) {
                image.fill([corner[0] + y * side, corner[1] + x * side], side, color(tile, y, x));
            }
        }
        image
    }
}

impl Image {
    /// Fills a square.
    pub(super) fn fill(&mut self, [top, left]: [usize; 2], side: usize, color: [u8; 3]) {
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
        let tiles = Tiles { count: 3, columns: 2, height: 7, width: 14 };
        let image = tiles.draw(|tile, y, x| [tile as u8, y as u8, x as u8]);
        // Each value takes 112 / 14 pixels.
        assert_eq!((image.width, image.height), (2 * (112 + 2) + 2, 2 * (56 + 2) + 2));
        assert_eq!(pixel(&image, 0, 0), GROUND);
        assert_eq!([pixel(&image, 2, 2), pixel(&image, 9, 9)], [[0, 0, 0]; 2]);
        assert_eq!(pixel(&image, 2 + 6 * 8, 2 + 114 + 13 * 8), [1, 6, 13]);
        assert_eq!(pixel(&image, 2 + 58, 2), [2, 0, 0]);
        assert_eq!(pixel(&image, 2 + 58, 2 + 114), GROUND, "there is no fourth");
    }

    #[test]
    fn a_picture_holds_what_fits_its_longest_side_and_never_nothing() {
        assert_eq!(fitting([28, 28]), [MAX_SIDE / 114; 2]);
        assert_eq!(fitting([7, 14]), [MAX_SIDE / 58, MAX_SIDE / 114]);
        assert_eq!(fitting([5000, 3]), [1, 818]);
    }
}
