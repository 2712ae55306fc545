//! Prepares a user's picture for a network, according to the data that the network was trained on.

use super::DatasetName;
use super::Source;
use super::picture::{self, DIGIT_SIDE, Opened, Polarity};
use crate::{Error, Result};
use serde::Serialize;

/// A picture as the network reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `H*W*C` bytes.
    pub pixels: Vec<u8>,
    /// The polarity of the picture; `None` if it is not examined.
    pub polarity: Option<Polarity>,
    /// Whether the picture is in colour but the network has one channel.
    pub colour_dropped: bool,
}

/// The preparation of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// Light on dark; the digit is cut out, scaled to 20 x 20 and centred in 28 x 28 by its centre of mass.
    Digit,
    /// Light on dark; the middle is resized.
    LightOnDark,
    /// The middle is resized.
    Resize,
}

impl Treatment {
    /// The treatment for a model trained on `dataset` with images of `shape`.
    pub fn of(dataset: &str, shape: [usize; 3]) -> Treatment {
        match dataset.parse() {
            Ok(DatasetName::Mnist | DatasetName::Synthetic) if shape == [DIGIT_SIDE, DIGIT_SIDE, 1] => Treatment::Digit,
            Ok(DatasetName::FashionMnist | DatasetName::Kmnist) if shape[2] == 1 => Treatment::LightOnDark,
            _ => Treatment::Resize,
        }
    }

    /// Prepares the picture and brings it to `shape`.
    ///
    /// # Errors
    /// Those of [`picture::read`]; [`Error::Data`] if the picture shows no digit.
    ///
    /// # Panics
    /// Those of [`picture::fit`].
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
            Treatment::Digit => picture::digit(&grey)
                .ok_or_else(|| Error::Data(format!("{source} shows no digit; use a picture with more contrast")))?,
            _ => picture::fit(&grey.into(), shape),
        };
        Ok(Picture { pixels, polarity: Some(polarity), colour_dropped })
    }
}
