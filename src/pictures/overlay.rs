//! Draws a map over the image that it describes.

use super::palette::Palette;
use super::plate::Plate;
use super::tiles::Image;
use crate::inspect::NamedTensor;

/// The approximate length of the longer side after magnification, in pixels.
const SIDE: usize = 280;
/// How much of the image the largest magnitude covers.
const COVER: f32 = 0.8;

/// Draws `map` `[H,W]` over `image` `[H,W,C]`, whose values run from -0.5 for black to 0.5 for white. An image without
/// three channels becomes grey, the mean of its channels. A value covers the image in proportion to its share of the
/// largest magnitude; zero leaves the image unchanged.
///
/// # Panics
/// If their sizes differ.
pub fn overlay(image: &NamedTensor, map: &NamedTensor, palette: Palette) -> Image {
    let &[height, width, channels] = &image.shape[..] else { panic!("{} is no image: {:?}", image.name, image.shape) };
    assert_eq!(map.shape, [height, width], "{} over {}", map.name, image.name);
    let reach = Plate::of_map(map).reach();
    let side = (SIDE / height.max(width)).max(1);
    let mut drawn =
        Image { width: width * side, height: height * side, pixels: vec![0; 3 * width * height * side * side] };
    for (i, (pixel, value)) in image.values.chunks_exact(channels).zip(&map.values).enumerate() {
        let mean = pixel.iter().sum::<f32>() / channels as f32;
        let share = if reach > 0.0 { value / reach } else { 0.0 };
        let (cover, over) = (if share.is_finite() { COVER * share.abs() } else { 1.0 }, palette.color(share));
        let color = std::array::from_fn(|colour| {
            let below = if channels == 3 { pixel[colour] } else { mean };
            let below = (below + 0.5).clamp(0.0, 1.0) * 255.0;
            (below * (1.0 - cover) + f32::from(over[colour]) * cover).round() as u8
        });
        drawn.fill([i / width * side, i % width * side], side, color);
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> NamedTensor {
        NamedTensor { name: "a".into(), shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn the_image_shows_where_the_map_is_zero_and_the_colours_where_it_is_not() {
        let palette = Palette::default();
        let grey = tensor(&[1, 3, 1], &[-0.5, 0.5, 0.0]);
        let drawn = overlay(&grey, &tensor(&[1, 3], &[0.0, 0.0, -2.0]), palette);
        let side = SIDE / 3;
        assert_eq!((drawn.width, drawn.height), (3 * side, side));
        let pixel = |i: usize| &drawn.pixels[3 * (i * side + 1)..][..3];
        assert_eq!([pixel(0), pixel(1)], [[0; 3], [255; 3]]);
        let mixed = palette.color(-1.0).map(|over| (127.5 * (1.0 - COVER) + f32::from(over) * COVER).round() as u8);
        assert_eq!(pixel(2), mixed);
        let colour = tensor(&[1, 1, 3], &[0.5, -0.5, 0.0]);
        let plain = overlay(&colour, &tensor(&[1, 1], &[0.0]), palette);
        assert_eq!(plain.pixels[..3], [255, 0, 128], "nothing reaches anywhere");
    }
}
