//! One picture file, PNG or JPEG of any size, as the bytes `[H,W,C]` that a network takes.
//! Decoding is bounded in memory, turns the picture upright by its EXIF note, and lays transparency on white, as
//! viewers do. Fitting cuts the middle out in the wanted proportions and resizes it; nothing is distorted.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageDecoder, ImageError, ImageReader, Limits, Luma, Pixel};

use crate::{Error, Result};

/// Bytes of a file, packed. The JPEG decoder holds them all.
const MAX_FILE: u64 = 256 << 20;

/// Pixels on a side.
const MAX_SIDE: u32 = 16_384;

/// Bytes of the pixels, unpacked: 89 million pixels in colour. A file of a few kB may declare far more.
const MAX_DECODED: u64 = 256 << 20;

/// Antialiased where it shrinks, bilinear where it enlarges, and it never overshoots.
const FILTER: FilterType = FilterType::Triangle;

const REMEDY: &str = "replace it with a good PNG or JPEG file, or take it out";

/// Decodes a file: the content decides what it is, not the name.
///
/// # Errors
/// [`Error::Io`] where it cannot be read, [`Error::Data`] where it is damaged, too large or neither PNG nor JPEG; both
/// name the file.
pub fn read(path: &Path) -> Result<DynamicImage> {
    // Opening a pipe would wait for whoever writes to it.
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if !metadata.is_file() {
        return Err(refused(path, "is no file"));
    }
    let (bytes, file) = (metadata.len(), File::open(path).map_err(Error::io("read", path))?);
    if bytes > MAX_FILE {
        return Err(refused(path, &format!("has {} MiB, more than the {} that are read", bytes >> 20, MAX_FILE >> 20)));
    }
    decode(BufReader::new(file)).map_err(|error| match error {
        ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::io("read", path)(error)
        }
        ImageError::IoError(_) => refused(path, "is truncated"),
        ImageError::Limits(_) => refused(
            path,
            &format!("is too large: at most {MAX_SIDE} pixels a side and {} MiB unpacked are read", MAX_DECODED >> 20),
        ),
        ImageError::Unsupported(_) => refused(path, "is neither a PNG nor a JPEG that can be read"),
        error => refused(path, &format!("is damaged: {error}")),
    })
}

fn refused(path: &Path, problem: &str) -> Error {
    Error::Data(format!("{} {problem}; {REMEDY}", path.display()))
}

/// Grey pictures stay grey; all others become RGB of 8 bits.
fn decode(file: impl BufRead + Seek) -> image::ImageResult<DynamicImage> {
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_DECODED);
    let mut reader = ImageReader::new(file).with_guessed_format()?;
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    // A note that cannot be read turns nothing.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(match (picture.color().has_alpha(), picture.color().has_color()) {
        (true, true) => on_white(&picture),
        (true, false) => on_white(&picture).into_luma8().into(),
        (false, true) => picture.into_rgb8().into(),
        (false, false) => picture.into_luma8().into(),
    })
}

fn on_white(picture: &DynamicImage) -> DynamicImage {
    let mut white = image::RgbImage::new(picture.width(), picture.height());
    for (target, source) in white.pixels_mut().zip(picture.to_rgba8().pixels()) {
        let mut mixed = image::Rgba([u8::MAX; 4]);
        mixed.blend(source);
        *target = mixed.to_rgb();
    }
    white.into()
}

/// The middle of the picture in the proportions of `shape`, H, W and C, resized to it; `H*W*C` bytes.
///
/// # Panics
/// Where C is neither 1 (grey) nor 3 (red, green, blue), or H or W is 0.
pub fn fit(picture: &DynamicImage, [height, width, channels]: [usize; 3]) -> Vec<u8> {
    assert!(channels == 1 || channels == 3, "pictures have 1 or 3 channels, not {channels}");
    assert!(height > 0 && width > 0, "a picture of {height}x{width}");
    let [left, top, cut_width, cut_height] = middle(picture.width(), picture.height(), width as u64, height as u64);
    let (width, height) = (width as u32, height as u32);
    let cut = picture.crop_imm(left, top, cut_width, cut_height);
    if channels == 1 {
        imageops::resize(&cut.to_luma8(), width, height, FILTER).into_raw()
    } else {
        imageops::resize(&cut.to_rgb8(), width, height, FILTER).into_raw()
    }
}

/// Left, top, width and height of the largest middle part of `w` x `h` pixels in the proportions `to_w` : `to_h`.
fn middle(w: u32, h: u32, to_w: u64, to_h: u64) -> [u32; 4] {
    // Both are at most the side that they are cut from.
    let cut_w = (u64::from(h) * to_w / to_h).clamp(1, u64::from(w)) as u32;
    let cut_h = (u64::from(w) * to_h / to_w).clamp(1, u64::from(h)) as u32;
    [(w - cut_w) / 2, (h - cut_h) / 2, cut_w, cut_h]
}

/// Whether what was drawn is lighter or darker than the ground it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    LightOnDark,
    DarkOnLight,
}

/// Grey with a black ground, whichever ground it had: the picture's border is taken for the ground, and where that is
/// lighter than halfway between the darkest and the lightest pixel, the picture is inverted.
pub fn light_on_dark(picture: &DynamicImage) -> (GrayImage, Polarity) {
    let mut grey = picture.to_luma8();
    let (low, high) = range(&grey);
    if 2 * u32::from(border(&grey)) <= u32::from(low) + u32::from(high) {
        return (grey, Polarity::LightOnDark);
    }
    grey.pixels_mut().for_each(|Luma([value])| *value = u8::MAX - *value);
    (grey, Polarity::DarkOnLight)
}

/// The middle value, the median, of the outermost pixels.
fn border(grey: &GrayImage) -> u8 {
    let (right, bottom) = (grey.width() - 1, grey.height() - 1);
    let on_border = grey.enumerate_pixels().filter(|(x, y, _)| [0, right].contains(x) || [0, bottom].contains(y));
    let mut values: Vec<u8> = on_border.map(|(_, _, Luma([value]))| *value).collect();
    let half = values.len() / 2;
    *values.select_nth_unstable(half).1
}

fn range(grey: &GrayImage) -> (u8, u8) {
    grey.iter().fold((u8::MAX, 0), |(low, high), &value| (low.min(value), high.max(value)))
}

/// Height and width of a digit's picture in MNIST.
pub const DIGIT_SIDE: usize = 28;

/// Of the box that a digit fills.
const DIGIT_BOX: u32 = 20;

/// What is brighter than this share of the full range is ink; below are shadows and the traces of JPEG.
const INK: f32 = 0.2;

/// Brightness that ink must have over its ground, of 255, to be told from noise.
const CONTRAST: u8 = 24;

/// A digit as MNIST's were made: the ink's box, scaled so that its longer side has 20 pixels, placed in 28 x 28 by its
/// centre of mass, white on black; `28*28` bytes. A digit that is of that size already is not resampled.
///
/// `None` where nothing stands out from the ground.
pub fn digit(grey_on_black: &GrayImage) -> Option<Vec<u8>> {
    let (ground, (_, high)) = (border(grey_on_black), range(grey_on_black));
    if high.saturating_sub(ground) < CONTRAST {
        return None;
    }
    let (ground, span) = (f32::from(ground), f32::from(high) - f32::from(ground));
    let mut ink = grey_on_black.clone();
    ink.iter_mut().for_each(|value| *value = ((f32::from(*value) - ground).max(0.0) / span * 255.0).round() as u8);

    let dark = |value: u8| f32::from(value) < INK * 255.0;
    let (mut left, mut top, mut right, mut bottom) = (u32::MAX, u32::MAX, 0, 0);
    for (x, y, _) in ink.enumerate_pixels().filter(|(_, _, Luma([value]))| !dark(*value)) {
        (left, right) = (left.min(x), right.max(x));
        (top, bottom) = (top.min(y), bottom.max(y));
    }
    let (width, height) = (right - left + 1, bottom - top + 1);
    let longer = width.max(height);
    let mut drawn = imageops::crop_imm(&ink, left, top, width, height).to_image();
    if !(DIGIT_BOX - 2..=DIGIT_BOX).contains(&longer) {
        let scaled = |side: u32| ((side * DIGIT_BOX + longer / 2) / longer).max(1);
        drawn = imageops::resize(&drawn, scaled(width), scaled(height), FILTER);
        // Thin strokes pale where a large picture shrinks; MNIST's are white.
        let (_, high) = range(&drawn);
        drawn.iter_mut().for_each(|value| *value = (u32::from(*value) * 255 / u32::from(high.max(1))) as u8);
    }
    Some(centred(&drawn))
}

/// Places a drawing of at most 20 x 20 so that its centre of mass lies in the middle, to the nearest whole pixel.
fn centred(drawn: &GrayImage) -> Vec<u8> {
    let (mut mass, mut moment_x, mut moment_y) = (0.0, 0.0, 0.0);
    for (x, y, Luma([value])) in drawn.enumerate_pixels() {
        let value = f64::from(*value);
        mass += value;
        moment_x += value * (f64::from(x) + 0.5);
        moment_y += value * (f64::from(y) + 0.5);
    }
    let start = |moment: f64, side: u32| {
        let room = DIGIT_SIDE - side as usize;
        (DIGIT_SIDE as f64 / 2.0 - moment / f64::max(mass, 1.0)).round().clamp(0.0, room as f64) as usize
    };
    let (left, top) = (start(moment_x, drawn.width()), start(moment_y, drawn.height()));
    let mut picture = vec![0; DIGIT_SIDE * DIGIT_SIDE];
    for (row, line) in drawn.rows().enumerate() {
        for (column, Luma([value])) in line.enumerate() {
            picture[(top + row) * DIGIT_SIDE + left + column] = *value;
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;

    #[test]
    fn the_middle_keeps_the_proportions() {
        assert_eq!(middle(100, 50, 1, 1), [25, 0, 50, 50]);
        assert_eq!(middle(50, 100, 2, 1), [0, 37, 50, 25]);
        assert_eq!(middle(16_384, 1, 28, 28), [8191, 0, 1, 1]);
        assert_eq!(middle(1, 1, 24, 32), [0, 0, 1, 1]);
    }

    #[test]
    fn a_picture_of_the_right_size_stays_as_it_is() {
        let pixels: Vec<u8> = (0..4 * 5 * 3).collect();
        let picture: DynamicImage = image::RgbImage::from_raw(5, 4, pixels.clone()).unwrap().into();
        assert_eq!(fit(&picture, [4, 5, 3]), pixels);
        assert_eq!(fit(&picture, [4, 5, 1]).len(), 20);
    }

    #[test]
    fn a_digit_that_is_made_like_mnist_stays_as_it_is() {
        let (digits, _) = synthetic::generate(50, 0, 3);
        for index in 0..digits.len() {
            let image = digits.image(index);
            let grey = GrayImage::from_raw(28, 28, image.to_vec()).unwrap();
            let inverted = GrayImage::from_raw(28, 28, image.iter().map(|value| 255 - value).collect()).unwrap();
            let (back, polarity) = light_on_dark(&inverted.into());
            assert_eq!(
                (light_on_dark(&grey.clone().into()).1, polarity),
                (Polarity::LightOnDark, Polarity::DarkOnLight)
            );
            assert!(back == grey);
            // Faint pixels at the edge may lie outside the box, and the mass then shifts by a pixel at most.
            let made = digit(&grey).unwrap();
            let far = (0..784).filter(|&i| made[i].abs_diff(image[i]) > 60).count();
            assert!(far < 200, "digit {index}: {far} pixels differ");
        }
    }

    #[test]
    fn a_blank_picture_holds_no_digit() {
        assert_eq!(digit(&GrayImage::from_pixel(40, 30, Luma([9]))), None);
        let speck = GrayImage::from_fn(40, 30, |x, y| Luma([if (x, y) == (20, 10) { 200 } else { 0 }]));
        assert_eq!(digit(&speck).unwrap().iter().filter(|&&value| value > 0).count(), 400);
    }
}
