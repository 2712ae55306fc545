//! Decodes the bytes of a PNG or JPEG file completely or refuses them: a picture with a missing or invented part is an
//! error. The content, not the name, determines the format.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use super::jpeg::{self, Coding, Flaw};
use super::nature;

/// The most pixels per side; a JPEG cannot have more.
pub(super) const MAX_SIDE: usize = 65_535;

/// The most bytes of unpacked pixels: 178,956,970 pixels in colour, the limit at which Pillow also refuses a file as a
/// bomb. A file of a few kB may declare far more.
pub(super) const MAX_DECODED: usize = 512 << 20;

/// Why a file is not a usable picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Empty,
    /// Another format, in words, or `None` if it is unknown.
    Foreign(Option<&'static str>),
    /// An unsupported kind of PNG or JPEG.
    Unsupported(String),
    TooLarge,
    Truncated,
    Damaged(String),
}

impl Refusal {
    /// A description of the file, as the second half of a sentence.
    pub(super) fn describe(&self, most: usize) -> String {
        match self {
            Refusal::Empty => "is empty".into(),
            Refusal::Foreign(None) => "is neither a PNG nor a JPEG".into(),
            Refusal::Foreign(Some(what)) => format!("is {what}, neither a PNG nor a JPEG"),
            Refusal::Unsupported(why) => format!("is a picture of a kind that is not read: {why}"),
            Refusal::TooLarge => {
                format!("is too large: at most {MAX_SIDE} pixels a side and {} MiB unpacked are read", most >> 20)
            }
            Refusal::Truncated => "is truncated".into(),
            Refusal::Damaged(why) => format!("is damaged: {why}"),
        }
    }
}

type Decoded = (DynamicImage, Option<Orientation>);

/// Decodes to grey or RGB of 8 bits, upright, at most `most` bytes of pixels; transparency is blended with a grey
/// `ground`.
pub(super) fn decode(bytes: &[u8], ground: u8, most: usize) -> Result<DynamicImage, Refusal> {
    let (mut picture, orientation) = match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => png(bytes, most)?,
        Ok(ImageFormat::Jpeg) => jpeg(bytes, most)?,
        _ if bytes.is_empty() => return Err(Refusal::Empty),
        _ if bytes.starts_with(b"\x89PNG") => {
            return Err(Refusal::Damaged("its first bytes were changed, as where a file is sent as text".into()));
        }
        _ => return Err(Refusal::Foreign(foreign(bytes))),
    };
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    let laid_on = |value: u8, alpha: u8| {
        let [value, alpha, ground] = [value, alpha, ground].map(u32::from);
        ((value * alpha + ground * (255 - alpha) + 127) / 255) as u8
    };
    Ok(match picture {
        DynamicImage::ImageLumaA8(picture) => {
            let grey = picture.pixels().map(|pixel| laid_on(pixel.0[0], pixel.0[1])).collect();
            GrayImage::from_raw(picture.width(), picture.height(), grey).unwrap_or_default().into()
        }
        DynamicImage::ImageRgba8(picture) => {
            let pixel = |x, y| {
                let [r, g, b, alpha] = picture.get_pixel(x, y).0;
                Rgb([r, g, b].map(|value| laid_on(value, alpha)))
            };
            RgbImage::from_fn(picture.width(), picture.height(), pixel).into()
        }
        picture => picture,
    })
}

/// The number of bytes of a colour picture of the size declared in the header; 0 without a header.
pub(super) fn declared(bytes: &[u8]) -> u64 {
    let size = match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => bytes.get(16..24).map(|size| {
            let side = |at: usize| u64::from(size[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
            (side(0), side(4))
        }),
        Ok(ImageFormat::Jpeg) => jpeg::size(bytes).map(|[width, height]| (width as u64, height as u64)),
        _ => None,
    };
    size.map_or(0, |(width, height)| width.saturating_mul(height).saturating_mul(3))
}

/// A description of another format.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    let all_zeros = || bytes.iter().all(|byte| *byte == 0).then_some("nothing but zeros");
    nature::known(&bytes[..bytes.len().min(512)]).map(|(what, _)| what).or_else(all_zeros)
}

fn check_size(width: usize, height: usize, channels: usize, most: usize) -> Result<usize, Refusal> {
    let bytes = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(channels));
    let fits = width.max(height) <= MAX_SIDE;
    bytes.filter(|bytes| fits && *bytes <= most).ok_or(Refusal::TooLarge)
}

fn picture(format: image::ColorType, width: usize, height: usize, pixels: Vec<u8>) -> Result<DynamicImage, Refusal> {
    let (width, height) = (width as u32, height as u32);
    match format {
        image::ColorType::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        image::ColorType::La8 => image::GrayAlphaImage::from_raw(width, height, pixels).map(DynamicImage::from),
        image::ColorType::Rgba8 => image::RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    }
    .ok_or(Refusal::Truncated)
}

/// Decodes a PNG and checks all checksums; of 16 bits the upper 8 are kept, as in Pillow and OpenCV.
fn png(bytes: &[u8], most: usize) -> Result<Decoded, Refusal> {
    let refused = |error: png::DecodingError| match error {
        png::DecodingError::LimitsExceeded => Refusal::TooLarge,
        png::DecodingError::IoError(_) => Refusal::Truncated,
        error => {
            log::debug!("a PNG is refused: {error}");
            let raw = error.to_string();
            let told = [
                ("CRC error", "a checksum in it is wrong, so bytes were changed or lost"),
                ("deflate", "its packed pixels cannot be unpacked"),
                ("enough data", "it has fewer pixels than its header says"),
                ("palette", "its palette is missing or too short"),
                ("dimensions", "its width or height is 0"),
            ];
            let known = told.into_iter().find(|(part, _)| raw.contains(part));
            Refusal::Damaged(known.map_or("its parts are wrong or in the wrong order", |(_, told)| told).into())
        }
    };
    // Apple's tools use this variant in iOS apps.
    if bytes.get(12..16) == Some(b"CgBI") {
        return Err(Refusal::Unsupported("a PNG with Apple's changes, CgBI".into()));
    }
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: most });
    decoder.ignore_checksums(false);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let header = decoder.read_header_info().map_err(refused)?;
    let (width, height) = (header.width as usize, header.height as usize);
    check_size(width, height, 1, most)?;
    let mut reader = decoder.read_info().map_err(refused)?;
    let format = match reader.output_color_type().0 {
        png::ColorType::Grayscale => image::ColorType::L8,
        png::ColorType::GrayscaleAlpha => image::ColorType::La8,
        png::ColorType::Rgba => image::ColorType::Rgba8,
        _ => image::ColorType::Rgb8,
    };
    let mut pixels = vec![0; check_size(width, height, format.channel_count().into(), most)?];
    reader.next_frame(&mut pixels).map_err(refused)?;
    reader.finish().map_err(refused)?;
    let orientation = reader.info().exif_metadata.as_ref().and_then(|note| Orientation::from_exif_chunk(note));
    Ok((picture(format, width, height, pixels)?, orientation))
}

const ARITHMETIC: &str = "a JPEG that is neither baseline nor progressive, or has arithmetic codes";

fn jpeg(bytes: &[u8], most: usize) -> Result<Decoded, Refusal> {
    use zune_jpeg::errors::DecodeErrors;
    let refused = |error: DecodeErrors| {
        log::debug!("a JPEG is refused: {error}");
        let damaged = |what: &str| Refusal::Damaged(what.into());
        match error {
            DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => Refusal::Truncated,
            DecodeErrors::Unsupported(_) => Refusal::Unsupported(ARITHMETIC.into()),
            DecodeErrors::Format(why) if why.contains("not supported") || why.contains("Unsupported") => {
                Refusal::Unsupported(ARITHMETIC.into())
            }
            DecodeErrors::Format(why) if why.contains("not a power of two(3)") => {
                Refusal::Unsupported("a JPEG with a sampling factor of 3".into())
            }
            DecodeErrors::SofError(why) if why.contains("bits of precision") => {
                Refusal::Unsupported("a JPEG with more or fewer than 8 bits a sample".into())
            }
            DecodeErrors::HuffmanDecode(_) => damaged("its Huffman codes are wrong"),
            DecodeErrors::DqtError(_) => damaged("its quantization tables are wrong"),
            DecodeErrors::SosError(_) => damaged("the header of a scan is wrong"),
            DecodeErrors::SofError(_) => damaged("its frame header is wrong"),
            DecodeErrors::ZeroError => damaged("its width or height is 0"),
            DecodeErrors::MCUError(_) => damaged("its coded data is wrong"),
            _ => damaged("its parts are wrong or in the wrong order"),
        }
    };
    let options = DecoderOptions::default().set_max_width(MAX_SIDE).set_max_height(MAX_SIDE);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options.set_strict_mode(false));
    decoder.decode_headers().map_err(refused)?;
    let (Some((width, height)), Some(colours)) = (decoder.dimensions(), decoder.input_colorspace()) else {
        return Err(Refusal::Damaged("it has no frame".into()));
    };
    let (colours, format) = match colours {
        ColorSpace::Luma => (ColorSpace::Luma, image::ColorType::L8),
        _ => (ColorSpace::RGB, image::ColorType::Rgb8),
    };
    let mut pixels = vec![0; check_size(width, height, format.channel_count().into(), most)?];
    let coding = jpeg::check(bytes).map_err(|flaw| match flaw {
        Flaw::Truncated => Refusal::Truncated,
        Flaw::Damaged(what) => Refusal::Damaged(what.into()),
        Flaw::Unsupported(what) => Refusal::Unsupported(what.into()),
    })?;
    match coding {
        Coding::Usual => {
            decoder.set_options(decoder.options().jpeg_set_out_colorspace(colours));
            decoder.decode_into(&mut pixels).map_err(refused)?;
        }
        // zune-jpeg misreads these and returns noise.
        Coding::Rare => pixels = rare(bytes, pixels.len())?,
    }
    // Unreadable EXIF data rotates nothing.
    let orientation = decoder.exif().and_then(|note| Orientation::from_exif_chunk(note));
    Ok((picture(format, width, height, pixels)?, orientation))
}

/// RGB or grey pixels from another decoder, which is slower and correct on rare codings.
fn rare(bytes: &[u8], length: usize) -> Result<Vec<u8>, Refusal> {
    let decoded = jpeg_decoder::Decoder::new(bytes).decode().map_err(|error| {
        log::debug!("a JPEG is refused: {error}");
        match error {
            jpeg_decoder::Error::Unsupported(_) => {
                Refusal::Unsupported("a JPEG with unusual colours or sampling".into())
            }
            jpeg_decoder::Error::Io(_) => Refusal::Truncated,
            _ => Refusal::Damaged("its coded data is wrong".into()),
        }
    })?;
    if decoded.len() == length { Ok(decoded) } else { Err(Refusal::Unsupported("a JPEG with unusual colours".into())) }
}
