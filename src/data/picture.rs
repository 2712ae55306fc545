//! One picture file, PNG or JPEG of any size, as the bytes `[H,W,C]` that a network takes.
//! Decoding is bounded in memory, turns the picture upright by its EXIF note, and lays transparency on white, as
//! viewers do. Fitting cuts the middle out in the wanted proportions and resizes it; nothing is distorted.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{
    DynamicImage, GenericImageView, GrayImage, ImageDecoder, ImageError, ImageReader, Limits, Luma, Pixel, Rgba,
};

use crate::{Error, Result};

/// Bytes of a file, packed. The JPEG decoder holds them all.
const MAX_FILE: u64 = 256 << 20;

/// Pixels on a side.
const MAX_SIDE: u32 = 16_384;

/// Bytes of the pixels, unpacked: 89 million pixels in colour. A file of a few kB may declare far more.
const MAX_DECODED: u64 = 256 << 20;

/// The same, of pictures that come from elsewhere while something else is computed.
const MAX_SENT: u64 = 64 << 20;

/// Antialiased where it shrinks, bilinear where it enlarges, and it never overshoots.
const FILTER: FilterType = FilterType::Triangle;

const REMEDY: &str = "replace it with a good PNG or JPEG file, or take it out";

/// Where a picture comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    File(&'a Path),
    /// A file's bytes from elsewhere, with the name that messages give it.
    Bytes(&'a [u8], &'a str),
}

impl<'a> From<&'a Path> for Source<'a> {
    fn from(path: &'a Path) -> Self {
        Source::File(path)
    }
}

impl std::fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Bytes(_, name) => f.write_str(name),
        }
    }
}

/// Decodes a file: the content decides what it is, not the name. What is transparent becomes white.
///
/// # Errors
/// [`Error::Io`] where it cannot be read, [`Error::Data`] where it is damaged, too large or neither PNG nor JPEG; both
/// name the file.
pub fn read<'a>(source: impl Into<Source<'a>>) -> Result<DynamicImage> {
    read_on(source.into(), u8::MAX)
}

/// [`read`], for pictures of something drawn: where nothing is seen on white, what is transparent becomes black, as under
/// light strokes.
///
/// # Errors
/// As [`read`].
pub fn read_drawing<'a>(source: impl Into<Source<'a>>) -> Result<DynamicImage> {
    let source = source.into();
    let picture = read(source)?;
    let (low, high) = range(&strongest(&picture));
    if high - low < CONTRAST { read_on(source, 0) } else { Ok(picture) }
}

/// With what is transparent laid on a grey `ground`.
fn read_on(source: Source<'_>, ground: u8) -> Result<DynamicImage> {
    let refused = |problem: &str| Error::Data(format!("{source} {problem}; {REMEDY}"));
    let (decoded, most) = match source {
        Source::Bytes(bytes, _) => (decode(Cursor::new(bytes), ground, MAX_SENT), MAX_SENT),
        Source::File(path) => {
            // Opening a pipe would wait for whoever writes to it.
            let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
            if !metadata.is_file() {
                return Err(refused("is no file"));
            }
            let (bytes, file) = (metadata.len(), File::open(path).map_err(Error::io("read", path))?);
            if bytes > MAX_FILE {
                let (has, most) = (bytes >> 20, MAX_FILE >> 20);
                return Err(refused(&format!("has {has} MiB, more than the {most} that are read")));
            }
            (decode(BufReader::new(file), ground, MAX_DECODED), MAX_DECODED)
        }
    };
    decoded.map_err(|error| match (error, source) {
        (ImageError::IoError(error), Source::File(path)) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::io("read", path)(error)
        }
        (ImageError::IoError(_), _) => refused("is truncated"),
        (ImageError::Limits(_), _) => {
            refused(&format!("is too large: at most {MAX_SIDE} pixels a side and {} MiB unpacked are read", most >> 20))
        }
        (ImageError::Unsupported(_), _) => refused("is neither a PNG nor a JPEG that can be read"),
        (error, _) => refused(&format!("is damaged: {error}")),
    })
}

/// Grey pictures stay grey; all others become RGB of 8 bits.
fn decode(file: impl BufRead + Seek, ground: u8, most: u64) -> image::ImageResult<DynamicImage> {
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(most);
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
        (true, true) => {
            let pixel = |x, y| laid_on(ground, picture.get_pixel(x, y)).to_rgb();
            image::RgbImage::from_fn(picture.width(), picture.height(), pixel).into()
        }
        (true, false) => {
            let pixel = |x, y| Luma([laid_on(ground, picture.get_pixel(x, y)).0[0]]);
            GrayImage::from_fn(picture.width(), picture.height(), pixel).into()
        }
        (false, true) => picture.into_rgb8().into(),
        (false, false) => picture.into_luma8().into(),
    })
}

/// Pixel by pixel: the whole picture as RGBA would take four times what one in grey and transparency does.
fn laid_on(ground: u8, pixel: Rgba<u8>) -> Rgba<u8> {
    let mut mixed = Rgba([ground, ground, ground, u8::MAX]);
    mixed.blend(&pixel);
    mixed
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
    let mut grey = strongest(picture);
    let (low, high) = range(&grey);
    if 2 * u32::from(border(&grey)) <= u32::from(low) + u32::from(high) {
        return (grey, Polarity::LightOnDark);
    }
    grey.pixels_mut().for_each(|Luma([value])| *value = u8::MAX - *value);
    (grey, Polarity::DarkOnLight)
}

/// The picture in grey; where that shows little, as yellow on white does, the one of its colours that shows the most.
fn strongest(picture: &DynamicImage) -> GrayImage {
    let span = |grey: &GrayImage| {
        let (low, high) = range(grey);
        high - low
    };
    let grey = picture.to_luma8();
    let DynamicImage::ImageRgb8(colours) = picture else { return grey };
    if span(&grey) >= FAINT {
        return grey;
    }
    let channel =
        |c: usize| GrayImage::from_fn(grey.width(), grey.height(), |x, y| Luma([colours.get_pixel(x, y).0[c]]));
    let most = (0..3).map(channel).max_by_key(&span);
    most.filter(|most| span(most) > span(&grey)).unwrap_or(grey)
}

/// Without a frame, such as a table around a sheet of paper: lines along the sides that are mostly of the border's shade,
/// where the middle of the picture is mostly of the other, and where what is left begins with the other on all sides. No more than a
/// quarter on each side is a frame.
pub fn without_frame(picture: DynamicImage) -> DynamicImage {
    let grey = strongest(&picture);
    let (low, high) = range(&grey);
    let light = |value: u8| 2 * u32::from(value) > u32::from(low) + u32::from(high);
    let frame = light(border(&grey));
    let share = |[left, top, width, height]: [u32; 4]| {
        let part = imageops::crop_imm(&grey, left, top, width, height);
        let framing = part.pixels().filter(|(_, _, Luma([value]))| light(*value) == frame).count();
        framing as f64 / (f64::from(width) * f64::from(height)).max(1.0)
    };
    let (width, height) = grey.dimensions();
    let lines =
        |most: u32, line: &dyn Fn(u32) -> [u32; 4]| (0..most).take_while(|i| share(line(*i)) > 0.5).count() as u32;
    let (across, down) = (width / 4, height / 4);
    if share([across, down, width - 2 * across, height - 2 * down]) > 0.5 {
        return picture;
    }
    // Along the middle half, so that the sides of the frame do not count for its top.
    let left = lines(across, &|i| [i, down, 1, height - 2 * down]);
    let right = lines(across, &|i| [width - 1 - i, down, 1, height - 2 * down]);
    let top = lines(down, &|i| [across, i, width - 2 * across, 1]);
    let bottom = lines(down, &|i| [across, height - 1 - i, width - 2 * across, 1]);
    let (within, high) = (width - left - right, height - top - bottom);
    let sides = [
        [left, top, 1, high],
        [width - right - 1, top, 1, high],
        [left, top, within, 1],
        [left, height - bottom - 1, within, 1],
    ];
    if sides.into_iter().any(|side| share(side) > 0.1) {
        return picture;
    }
    picture.crop_imm(left, top, within, high)
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

/// Differences in brightness, of 255, below which colours are looked at.
const FAINT: u8 = 64;

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

    /// A dark cross on light paper.
    fn cross(x: u32, y: u32) -> bool {
        (18..22).contains(&x) && (8..30).contains(&y) || (18..22).contains(&y) && (10..30).contains(&x)
    }

    #[test]
    fn a_frame_is_no_ground() {
        let paper = GrayImage::from_fn(40, 40, |x, y| Luma([if cross(x, y) { 20 } else { 240 }]));
        let (plain, polarity) = light_on_dark(&paper.clone().into());
        assert_eq!(polarity, Polarity::DarkOnLight);
        for frame in [2, 8] {
            let mut framed = GrayImage::from_pixel(40 + 2 * frame, 40 + 2 * frame, Luma([10]));
            imageops::replace(&mut framed, &paper, frame.into(), frame.into());
            let (seen, polarity) = light_on_dark(&without_frame(framed.into()));
            assert_eq!((seen.dimensions(), polarity), ((40, 40), Polarity::DarkOnLight));
            assert_eq!(digit(&seen), digit(&plain));
        }
        // What fills most of a picture up to its sides is no sheet of paper.
        let bold = GrayImage::from_fn(40, 40, |x, y| Luma([if (x + y) % 32 < 4 || x < 6 || y < 4 { 10 } else { 240 }]));
        assert_eq!(without_frame(bold.clone().into()).into_luma8(), bold);
    }

    #[test]
    fn colours_tell_what_brightness_does_not() {
        let yellow =
            image::RgbImage::from_fn(40, 40, |x, y| image::Rgb(if cross(x, y) { [255, 255, 0] } else { [255; 3] }));
        let black = GrayImage::from_fn(40, 40, |x, y| Luma([if cross(x, y) { 0 } else { 255 }]));
        let [(yellow, polarity), (black, _)] = [yellow.into(), black.into()].map(|p| light_on_dark(&p));
        assert_eq!((digit(&yellow), polarity), (digit(&black), Polarity::DarkOnLight));
    }

    #[test]
    fn grey_and_transparent_pixels_are_mixed_with_the_ground() {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let pixels = vec![100, 0, 100, 255, 0, 51];
        let picture = image::GrayAlphaImage::from_raw(3, 1, pixels).unwrap();
        DynamicImage::from(picture).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        for (ground, expected) in [(255, [255, 100, 204]), (0, [0, 100, 0])] {
            bytes.set_position(0);
            let DynamicImage::ImageLuma8(grey) = decode(&mut bytes, ground, MAX_DECODED).unwrap() else {
                panic!("it is grey")
            };
            assert_eq!(grey.into_raw(), expected);
        }
    }

    #[test]
    fn a_blank_picture_holds_no_digit() {
        assert_eq!(digit(&GrayImage::from_pixel(40, 30, Luma([9]))), None);
        let speck = GrayImage::from_fn(40, 30, |x, y| Luma([if (x, y) == (20, 10) { 200 } else { 0 }]));
        assert_eq!(digit(&speck).unwrap().iter().filter(|&&value| value > 0).count(), 400);
    }
}
