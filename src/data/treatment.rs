//! What is done to a user's picture before a network sees it, by what the network was trained on.

use super::DatasetName;
use super::Source;
use super::picture::{self, DIGIT_SIDE, Opened, Polarity};
use crate::{Error, Result};
use serde::Serialize;

/// A picture as a network sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `H*W*C` bytes.
    pub pixels: Vec<u8>,
    /// What the picture was found to have; none where that is not looked at.
    pub polarity: Option<Polarity>,
    /// Whether it is in colour and the network takes one channel.
    pub colour_dropped: bool,
}

/// What is done to a picture before a network sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// Light on dark, the digit cut out, scaled to 20 x 20 and centred in 28 x 28 by its mass.
    Digit,
    /// Light on dark, the middle resized.
    LightOnDark,
    /// The middle resized.
    Resize,
}

impl Treatment {
    /// By the name of the data set that a model was trained on, and the shape of its images.
    pub fn of(dataset: &str, shape: [usize; 3]) -> Treatment {
        match dataset.parse() {
            Ok(DatasetName::Mnist | DatasetName::Synthetic) if shape == [DIGIT_SIDE, DIGIT_SIDE, 1] => Treatment::Digit,
            Ok(DatasetName::FashionMnist | DatasetName::Kmnist) if shape[2] == 1 => Treatment::LightOnDark,
            _ => Treatment::Resize,
        }
    }

    /// The picture as the network sees it, brought to `shape`.
    ///
    /// # Errors
    /// As [`picture::read`]; [`Error::Data`] where no digit is seen in it.
    ///
    /// # Panics
    /// As [`picture::fit`].
    pub fn apply<'a>(self, source: impl Into<Source<'a>>, shape: [usize; 3]) -> Result<Picture> {
        let source = source.into();
        let opened = Opened::open(source)?;
        if self == Treatment::Resize {
            let decoded = opened.decode()?;
            let colour_dropped = shape[2] == 1 && picture::is_coloured(&decoded);
            return Ok(Picture { pixels: picture::fit(&decoded, shape), polarity: None, colour_dropped });
        }
        let mut picture = opened.decode_drawing()?;
        if self == Treatment::Digit {
            picture = picture::without_frame(picture);
        }
        let colour_dropped = picture::is_coloured(&picture);
        let (grey, polarity) = picture::light_on_dark(&picture);
        let pixels = match self {
            Treatment::Digit => picture::digit(&grey).ok_or_else(|| {
                Error::Data(format!("{source} is blank: no digit stands out; give a picture with more contrast"))
            })?,
            _ => picture::fit(&grey.into(), shape),
        };
        Ok(Picture { pixels, polarity: Some(polarity), colour_dropped })
    }
}
