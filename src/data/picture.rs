//! One picture file, PNG or JPEG of any size, as the bytes `[H,W,C]` that a network reads. Decoding is bounded in
//! memory, rotates the picture according to its EXIF data, and blends transparency with white, as viewers do. Fitting
//! cuts out the middle in the wanted proportions and resizes it without distortion. Grey is luma as in ITU-R BT.601,
//! with Pillow's rounding.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView, GrayImage, ImageBuffer, Luma};

use super::Source;
use super::decode::{self, MAX_DECODED, Refusal};
use crate::{Error, Result, reading};

/// The most bytes of a file.
const MAX_FILE: u64 = 256 << 20;

/// The most bytes of unpacked pixels of an uploaded picture, decoded while something else is computed.
const MAX_SENT: usize = 64 << 20;

/// The size in bytes of unpacked pixels, or of a file, above which pictures are read one at a time; one per thread
/// would fill the memory.
const LARGE: u64 = 64 << 20;

/// Antialiased when shrinking, bilinear when enlarging, without overshoot.
const FILTER: FilterType = FilterType::Triangle;

pub(super) const REMEDY: &str = "replace it with a good PNG or JPEG file, or take it out";

/// Why a file cannot be read, with its name and without a remedy.
#[derive(Debug)]
pub(super) enum Problem {
    Io(Error),
    Refused(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Io(error) => error.fmt(f),
            Problem::Refused(why) => f.write_str(why),
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Error {
        match problem {
            Problem::Io(error) => error,
            Problem::Refused(why) => Error::Data(format!("{why}; {REMEDY}")),
        }
    }
}

/// Decodes a file; the content, not the name, determines the format. Transparency becomes white.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] if it is damaged, cut off, too large or neither PNG nor
/// JPEG. Both name the file.
pub fn read<'a>(source: impl Into<Source<'a>>) -> Result<DynamicImage> {
    Ok(Opened::open(source)?.decode()?)
}

/// A file's bytes. While those of a large picture exist, no other large picture is opened, so keep them until the
/// pixels are dropped.
pub(super) struct Opened<'a> {
    source: Source<'a>,
    bytes: Cow<'a, [u8]>,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl<'a> Opened<'a> {
    /// Reads the file; a large picture waits for its turn.
    pub(super) fn open(source: impl Into<Source<'a>>) -> Result<Opened<'a>, Problem> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = || Some(TURN.lock().unwrap_or_else(PoisonError::into_inner));
        let source = source.into();
        let path = match source {
            Source::Bytes(bytes, _) => return Ok(Opened { source, bytes: bytes.into(), _turn: None }),
            Source::File(path) => path,
        };
        let failed = |error: io::Error| match reading::is_refusal(&error) {
            true => Problem::Refused(format!("cannot read {source}: {error}")),
            false => Problem::Io(Error::io("read", path)(error)),
        };
        let (file, size) = reading::open(path, MAX_FILE).map_err(failed)?;
        let mut taken = if size > LARGE { turn() } else { None };
        let mut bytes = Vec::with_capacity(size as usize);
        // The file may grow meanwhile.
        file.take(size).read_to_end(&mut bytes).map_err(failed)?;
        if taken.is_none() && decode::declared(&bytes) > LARGE {
            taken = turn();
        }
        Ok(Opened { source, bytes: bytes.into(), _turn: taken })
    }

    /// The pixels, with transparency as white.
    pub(super) fn decode(&self) -> Result<DynamicImage, Problem> {
        self.decode_on(u8::MAX)
    }

    /// The pixels for a drawing: if nothing is visible on white, transparency becomes black, for light strokes.
    pub(super) fn decode_drawing(&self) -> Result<DynamicImage, Problem> {
        let picture = self.decode()?;
        let (low, high) = range(&strongest(&picture));
        if high - low < CONTRAST { self.decode_on(0) } else { Ok(picture) }
    }

    fn decode_on(&self, ground: u8) -> Result<DynamicImage, Problem> {
        let most = if matches!(self.source, Source::Bytes(..)) { MAX_SENT } else { MAX_DECODED };
        let refused = |refusal: Refusal| Problem::Refused(format!("{} {}", self.source, refusal.describe(most)));
        decode::decode(&self.bytes, ground, most).map_err(refused)
    }
}

/// Luma of a pixel as in ITU-R BT.601, rounded as in Pillow's `convert("L")`, OpenCV and torchvision: 76 for red, 150
/// for green, 29 for blue.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// The picture in grey.
fn grey(picture: &DynamicImage) -> GrayImage {
    match picture {
        DynamicImage::ImageLuma8(grey) => grey.clone(),
        DynamicImage::ImageRgb8(colours) => {
            let pixels = colours.pixels().map(|pixel| luma(pixel.0)).collect();
            ImageBuffer::from_raw(colours.width(), colours.height(), pixels).unwrap_or_default()
        }
        other => grey(&other.to_rgb8().into()),
    }
}

/// Whether a picture is in colour: at least 8 pixels, and one in 10,000, have clearly different channels, or one in
/// eight in a tiny picture. An object of one colour may be a small part of a picture and still be its subject.
pub fn is_coloured(picture: &DynamicImage) -> bool {
    // A grey JPEG saved in colour has chroma of 0 or rounding errors; a tint by 12 levels saved as JPEG is still 10 or
    // more.
    const APART: u8 = 8;
    let DynamicImage::ImageRgb8(colours) = picture else { return false };
    let count = colours.pixels().len();
    let handful = (count / 8).min(8).max(count / 10_000);
    let apart = |pixel: &&image::Rgb<u8>| {
        let [r, g, b] = pixel.0;
        r.max(g).max(b) - r.min(g).min(b) > APART
    };
    colours.pixels().filter(apart).nth(handful).is_some()
}

/// The middle of the picture in the proportions of `shape`, H, W and C, resized to it; `H*W*C` bytes.
///
/// # Panics
/// If C is neither 1 (grey) nor 3 (red, green, blue), or if H or W is 0.
pub fn fit(picture: &DynamicImage, [height, width, channels]: [usize; 3]) -> Vec<u8> {
    assert!(channels == 1 || channels == 3, "pictures have 1 or 3 channels, not {channels}");
    assert!(height > 0 && width > 0, "a picture of {height}x{width}");
    let [left, top, cut_width, cut_height] = middle(picture.width(), picture.height(), width as u64, height as u64);
    let (width, height) = (width as u32, height as u32);
    match picture {
        DynamicImage::ImageRgb8(colours) if channels == 3 => {
            imageops::resize(&*imageops::crop_imm(colours, left, top, cut_width, cut_height), width, height, FILTER)
                .into_raw()
        }
        _ if channels == 3 => fit(&picture.to_rgb8().into(), [height as usize, width as usize, 3]),
        _ => {
            let grey = grey(&picture.crop_imm(left, top, cut_width, cut_height));
            imageops::resize(&grey, width, height, FILTER).into_raw()
        }
    }
}

/// Left, top, width and height of the largest middle part of `w` x `h` pixels in the proportions `to_w` : `to_h`.
fn middle(w: u32, h: u32, to_w: u64, to_h: u64) -> [u32; 4] {
    // Both are at most the corresponding side of the picture.
    let cut_w = (u64::from(h) * to_w / to_h).clamp(1, u64::from(w)) as u32;
    let cut_h = (u64::from(w) * to_h / to_w).clamp(1, u64::from(h)) as u32;
    [(w - cut_w) / 2, (h - cut_h) / 2, cut_w, cut_h]
}

/// Whether a drawing is lighter or darker than its ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    LightOnDark,
    DarkOnLight,
}

/// The picture in grey with a black ground. The picture's border counts as the ground; if it is lighter than halfway
/// between the darkest and the lightest pixel, the picture is inverted.
pub fn light_on_dark(picture: &DynamicImage) -> (GrayImage, Polarity) {
    let mut grey = strongest(picture);
    let (low, high) = range(&grey);
    if 2 * u32::from(border(&grey)) <= u32::from(low) + u32::from(high) {
        return (grey, Polarity::LightOnDark);
    }
    grey.pixels_mut().for_each(|Luma([value])| *value = u8::MAX - *value);
    (grey, Polarity::DarkOnLight)
}

/// The picture in grey; if that has little contrast, as yellow on white, the colour channel with the most.
fn strongest(picture: &DynamicImage) -> GrayImage {
    let span = |grey: &GrayImage| {
        let (low, high) = range(grey);
        high - low
    };
    let grey = grey(picture);
    let DynamicImage::ImageRgb8(colours) = picture else { return grey };
    if span(&grey) >= FAINT {
        return grey;
    }
    let channel =
        |c: usize| GrayImage::from_fn(grey.width(), grey.height(), |x, y| Luma([colours.get_pixel(x, y).0[c]]));
    let most = (0..3).map(channel).max_by_key(&span);
    most.filter(|most| span(most) > span(&grey)).unwrap_or(grey)
}

/// Removes a frame, such as a table around a sheet of paper: lines along the sides that mostly have the border's shade,
/// if the middle of the picture mostly has the other shade and the remaining picture begins with it on all sides. A
/// frame is at most a quarter on each side.
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
    // Only along the middle half, so that the frame's sides do not count for its top.
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

/// The median of the outermost pixels.
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

/// The side of the box that a digit fills.
const DIGIT_BOX: u32 = 20;

/// The share of the full range above which brightness counts as ink; below are shadows and JPEG artefacts.
const INK: f32 = 0.2;

/// The contrast, of 255, below which colour channels are examined.
const FAINT: u8 = 64;

/// The least brightness of ink above its ground, of 255, that is distinguishable from noise.
const CONTRAST: u8 = 24;

/// A digit prepared as in MNIST: the ink's box is scaled so that its longer side has 20 pixels, and placed in 28 x 28
/// by its centre of mass, white on black; `28*28` bytes. A digit that already has that size is not resampled.
///
/// `None` if nothing differs from the ground.
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
        // Thin strokes become pale when a large picture shrinks; MNIST's are white.
        let (_, high) = range(&drawn);
        drawn.iter_mut().for_each(|value| *value = (u32::from(*value) * 255 / u32::from(high.max(1))) as u8);
    }
    Some(centred(&drawn))
}

/// Places a drawing of at most 20 x 20 with its centre of mass in the middle, to the nearest whole pixel.
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
    use image::RgbImage;

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
    fn grey_is_pillows() {
        // Pillow 13.0.0: Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
        let expected = [
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([255; 3], 255),
            ([10, 200, 30], 124),
            ([1, 1, 0], 1),
        ];
        for (colour, luma) in expected {
            let picture: DynamicImage = RgbImage::from_pixel(2, 1, image::Rgb(colour)).into();
            assert_eq!(fit(&picture, [1, 2, 1]), [luma; 2], "{colour:?}");
        }
    }

    #[test]
    fn a_picture_is_in_colour_where_some_pixels_clearly_are() {
        let square = |side: u32, colour: [u8; 3]| {
            let inside = |x, y| (20..20 + side).contains(&x) && (20..20 + side).contains(&y);
            let picture = RgbImage::from_fn(64, 64, |x, y| image::Rgb(if inside(x, y) { colour } else { [128; 3] }));
            is_coloured(&picture.into())
        };
        assert_eq!([square(6, [255, 0, 0]), square(6, [120, 128, 132]), square(3, [0, 0, 255])], [true; 3]);
        assert_eq!([square(2, [255, 0, 0]), square(40, [124, 128, 132])], [false; 2]);
        let textured = |tint: u8| {
            let pixel = |x: u32, y: u32| {
                let value = (x * 37 + y * y * 11) % 200 + 20;
                image::Rgb([value as u8 + tint / 2, value as u8, value as u8 - tint / 2])
            };
            DynamicImage::from(RgbImage::from_fn(64, 64, pixel))
        };
        // As a saved file of any quality.
        for quality in [30, 50, 75, 95] {
            for (tint, expected) in [(0, false), (4, false), (12, true)] {
                let mut bytes = Vec::new();
                let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
                textured(tint).write_with_encoder(encoder).unwrap();
                let saved = decode::decode(&bytes, 255, MAX_DECODED).unwrap();
                assert_eq!(is_coloured(&saved), expected, "quality {quality}, {tint} levels");
            }
        }
        assert_eq!([0, 8, 12].map(|tint| is_coloured(&textured(tint))), [false, false, true]);
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
        // Something that fills most of a picture up to its sides is not a sheet of paper.
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
            let DynamicImage::ImageLuma8(grey) = decode::decode(bytes.get_ref(), ground, MAX_DECODED).unwrap() else {
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
